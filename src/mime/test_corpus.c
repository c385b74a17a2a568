/* The parser over stored mails: those of tests/corpus, whose trees stand in tests/corpus/trees.txt,
 * and those of Python's own tests, which have bare line ends. PENFOLD_SOURCE names the sources. */
#include "base/mem.h"
#include "base/test.h"
#include "mime/test_tree.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define PYTHON_MAILS "/usr/lib/python3.11/test/test_email/data"

static struct str read_whole(const char *folder, const char *name)
{
    char path[4096];
    assert_true(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: cannot be opened", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size_t n = (size_t)ftell(f);
    rewind(f);
    char *p = mem_alloc(n + 1);
    assert_int_equal(fread(p, 1, n, f), n);
    p[n] = '\0';
    fclose(f);
    return str_from(p, n);
}

static const char *corpus(char path[4096])
{
    const char *source = getenv("PENFOLD_SOURCE");
    if (!source)
        fail_msg("PENFOLD_SOURCE is not set: run the tests with meson test");
    assert_true(snprintf(path, 4096, "%s/tests/corpus", source) < 4096);
    return path;
}

/* Calls `check` for each file of the folder with that ending, by name; returns how many there were.
 */
static int each_file(const char *folder, const char *ending,
                     void (*check)(const char *, struct str, void *), void *arg)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort), files = 0;
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        if (str_ends(str_of(entries[i]->d_name), str_of(ending))) {
            struct str m = read_whole(folder, entries[i]->d_name);
            check(entries[i]->d_name, m, arg);
            free((void *)(uintptr_t)m.p);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    return files;
}

/* The same tree however the mail comes in pieces, and a right one, under wide and narrow limits. */
static void check_tree(const char *name, struct str m, void *arg)
{
    static const size_t sizes[] = {1, 2, 3, 7, 61, 255, 256, 257, 1000, 4096};
    static const struct mime_limits narrow = {
        .depth = 2, .parts = 3, .header_fields = 8, .header_size = 500, .field_size = 50};
    const struct mime_limits *limits[] = {&mime_limits_default, &narrow};
    for (size_t l = 0; l < 2; l++) {
        struct mime_tree whole, cut;
        mime_parse(m, limits[l], &whole);
        const char *fault = tree_fault(&whole, m, limits[l]);
        if (fault)
            fail_msg("%s: not so: %s", name, fault);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            parse_cut(m, limits[l], 0, sizes[i], &cut);
            if (!tree_is_same(&whole, &cut))
                fail_msg("%s: another tree in pieces of %zu", name, sizes[i]);
            mime_tree_fini(&cut);
        }
        mime_tree_fini(&whole);
    }
}

static void our_mails_make_sound_trees(void **state)
{
    char path[4096];
    assert_true(each_file(corpus(path), ".eml", check_tree, NULL) >= 25);
}

static void pythons_mails_make_sound_trees(void **state)
{
    DIR *d = opendir(PYTHON_MAILS);
    if (!d) {
        print_message("%s: not there (Debian package libpython3.11-testsuite): skipped\n",
                      PYTHON_MAILS);
        skip();
    }
    closedir(d);
    assert_true(each_file(PYTHON_MAILS, ".txt", check_tree, NULL) > 40);
}

static void put_name(struct buf *out, struct str m, struct mime_slice s)
{
    buf_put(out, s.n ? mime_view(m, 0, s) : STR("-"));
}

/* NAME FLAGS(hex), then a line a part: depth, kind, type, offsets, lines of header and body,
 * fields. */
static void dump(const char *name, struct str m, void *arg)
{
    static const char *const kinds[] = {"leaf", "multipart", "message"};
    struct buf *out = arg;
    struct mime_tree t;
    mime_parse(m, NULL, &t);
    buf_putf(out, "%s %x\n", name, t.flags);
    for (uint32_t i = 0; i < t.n_parts; i++) {
        const struct mime_part *p = &t.parts[i];
        buf_putf(out, "  %u %s%s ", p->depth, p->is_opaque ? "opaque " : "", kinds[p->kind]);
        put_name(out, m, p->type);
        buf_put(out, STR("/"));
        put_name(out, m, p->subtype);
        buf_put(out, STR(" "));
        put_name(out, m, p->encoding);
        buf_putf(out, " %llu %llu %llu lines %llu %llu fields %u\n",
                 (unsigned long long)p->header_begin, (unsigned long long)p->body_begin,
                 (unsigned long long)p->body_end, (unsigned long long)p->header_lines,
                 (unsigned long long)p->body_lines, p->n_fields);
    }
    mime_tree_fini(&t);
}

static void our_mails_make_the_trees_written_down(void **state)
{
    char path[4096];
    struct buf made;
    buf_init(&made, 1000 * 1000);
    each_file(corpus(path), ".eml", dump, &made);
    struct str written = read_whole(path, "trees.txt");
    struct str w = written, m = buf_str(&made), written_line = {0}, made_line = {0};
    while (str_cut(&w, '\n', &written_line) && str_cut(&m, '\n', &made_line))
        if (!str_eq(written_line, made_line))
            fail_msg("'%.*s' is written down, but it is '%.*s'", STR_ARG(written_line),
                     STR_ARG(made_line));
    assert_true(str_eq(written, buf_str(&made)));
    free((void *)(uintptr_t)written.p);
    buf_fini(&made);
}

/* 50 MB are read in bounded memory and give right offsets. */
static void a_huge_message_is_fed_in_pieces(void **state)
{
    enum { PIECE = 64 * 1024, PIECES = 800 };
    struct mime_parser p;
    struct mime_tree t;
    char *piece = mem_alloc(PIECE);
    for (size_t i = 0; i < PIECE; i++)
        piece[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : '-';
    struct str head = STR("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"),
               tail = STR("\r\n--b--\r\n");
    mime_init(&p, NULL);
    mime_feed(&p, head);
    for (int i = 0; i < PIECES; i++)
        mime_feed(&p, str_from(piece, PIECE));
    assert_true(buf_len(&p.value) < 100 && p.parts_capacity < 10);
    mime_feed(&p, tail);
    mime_finish(&p, &t);
    mime_fini(&p);
    assert_int_equal(t.n_parts, 2);
    assert_int_equal(t.flags, 0);
    assert_int_equal(t.parts[1].body_end - t.parts[1].body_begin, (uint64_t)PIECE * PIECES);
    assert_int_equal(t.parts[1].body_lines, (uint64_t)PIECE / 64 * PIECES);
    mime_tree_fini(&t);
    free(piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_mails_make_sound_trees),
        cmocka_unit_test(pythons_mails_make_sound_trees),
        cmocka_unit_test(our_mails_make_the_trees_written_down),
        cmocka_unit_test(a_huge_message_is_fed_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
