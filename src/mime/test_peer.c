/* Our ENVELOPE and BODYSTRUCTURE beside those of Dovecot 2.3, over the mails of tests/corpus, of
 * tests/corpus-imap/mails and of Python's own tests. tests/corpus-imap/dovecot.txt has Dovecot's
 * answers, differences.txt each difference with its reason. What differs without being explained
 * fails, and so does an explanation that is not needed any more. [RFC3501 7.4.2] [RFC9051 7.5.2] */
#include "base/mem.h"
#include "base/test.h"
#include "mime/summary.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEXT_MAX = 4 << 20 };

static const char *const folders[] = {"tests/corpus", "tests/corpus-imap/mails",
                                      "/usr/lib/python3.11/test/test_email/data"};

static bool read_file(const char *folder, struct str name, struct buf *out)
{
    char path[4096];
    const char *source = getenv("PENFOLD_SOURCE");
    if (!source)
        fail_msg("PENFOLD_SOURCE is not set: run the tests with meson test");
    assert_true(snprintf(path, sizeof path, "%s%s%s/%.*s", folder[0] == '/' ? "" : source,
                         folder[0] == '/' ? "" : "/", folder, STR_ARG(name)) < 4096);
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_put(out, str_from(piece, n));
    fclose(f);
    assert_false(out->over);
    return true;
}

/* All lines end with CR LF, as those had that Dovecot was asked about. */
static bool read_mail(struct str name, struct buf *out)
{
    struct buf raw;
    bool is_there = false;
    buf_init(&raw, TEXT_MAX);
    for (size_t i = 0; i < 3 && !is_there; i++)
        is_there = read_file(folders[i], name, &raw);
    struct str m = buf_str(&raw);
    for (size_t i = 0; i < m.n; i++) {
        if (m.p[i] == '\n' && (i == 0 || m.p[i - 1] != '\r'))
            buf_put(out, STR("\r"));
        buf_put(out, str_sub(m, i, 1));
    }
    buf_fini(&raw);
    return is_there;
}

/* ---- One form for all texts: each string quoted, bytes that cannot be shown as %xx ---- */

static size_t put_form_of_string(struct str s, struct buf *out)
{
    size_t from = 1, to = 0, end;
    bool is_quoted = s.p[0] == '"';
    if (is_quoted) {
        for (to = 1; to < s.n && s.p[to] != '"'; to++)
            to += s.p[to] == '\\';
        end = to + 1;
    } else {
        size_t n = strtoul(s.p + 1, NULL, 10);
        from = (size_t)str_find_byte(s, '\n') + 1;
        end = to = from + n;
    }
    assert_true(end <= s.n);
    buf_put(out, STR("\""));
    for (size_t i = from; i < to; i++) {
        i += is_quoted && s.p[i] == '\\';
        if (ascii_is_print(s.p[i]) && s.p[i] != '%' && s.p[i] != '"')
            buf_put(out, str_sub(s, i, 1));
        else
            buf_putf(out, "%%%02x", (unsigned char)s.p[i]);
    }
    buf_put(out, STR("\""));
    return end;
}

/* Takes a list off *s in that form. */
static void put_form(struct str *s, struct buf *out)
{
    int depth = 0;
    do {
        size_t n = 1;
        assert_true(s->n > 0);
        depth += (s->p[0] == '(') - (s->p[0] == ')');
        if (s->p[0] == '"' || s->p[0] == '{')
            n = put_form_of_string(*s, out);
        else
            buf_put(out, str_head(*s, 1));
        *s = str_skip(*s, n);
    } while (depth > 0);
}

/* ---- Differences ---- */

struct table {
    struct buf text;
    struct str rest; /* from the first row that is not used yet */
};

/* Takes the row's line "MARK text". */
static struct str take_line(struct str *rest, char mark)
{
    struct str line;
    if (!str_cut(rest, '\n', &line) || line.n < 2 || line.p[0] != mark || line.p[1] != ' ')
        fail_msg("differences.txt: '%c ' is expected at '%.*s'", mark, STR_ARG(line));
    return str_skip(line, 2);
}

/* Puts what is explained for `title` into `theirs`. */
static void explain(struct table *t, struct str title, struct buf *theirs)
{
    for (;;) {
        struct str rest = t->rest;
        if (!str_starts(rest, STR("= ")))
            return;
        if (!str_eq(take_line(&rest, '='), title))
            return;
        struct str minus = take_line(&rest, '-'), plus = take_line(&rest, '+'), why, line;
        why = take_line(&rest, '#');
        if (why.n < 10)
            fail_msg("differences.txt: %.*s: no reason is given", STR_ARG(title));
        while (str_starts(rest, STR("# ")) || str_starts(rest, STR("\n")))
            str_cut(&rest, '\n', &line);
        ptrdiff_t at = str_find(buf_str(theirs), minus);
        if (at < 0)
            fail_msg("differences.txt: %.*s: '%.*s' is not there", STR_ARG(title), STR_ARG(minus));
        struct buf made;
        buf_init(&made, TEXT_MAX);
        buf_put(&made, str_head(buf_str(theirs), (size_t)at));
        buf_put(&made, plus);
        buf_put(&made, str_skip(buf_str(theirs), (size_t)at + minus.n));
        buf_fini(theirs);
        *theirs = made;
        t->rest = rest;
    }
}

static bool compare(struct table *t, struct str name, const char *which, struct str ours,
                    struct str *theirs)
{
    struct buf our_form, their_form, title;
    buf_init(&our_form, TEXT_MAX);
    buf_init(&their_form, TEXT_MAX);
    buf_init(&title, 1000);
    buf_putf(&title, "%.*s %s", STR_ARG(name), which);
    put_form(theirs, &their_form);
    if (ours.n) {
        put_form(&ours, &our_form);
        assert_int_equal(ours.n, 0);
    }
    bool was_equal = str_eq(buf_str(&our_form), buf_str(&their_form));
    explain(t, buf_str(&title), &their_form);
    bool is_equal = buf_len(&our_form) == 0 || str_eq(buf_str(&our_form), buf_str(&their_form));
    if (!is_equal)
        fprintf(stderr, "%.*s%s\n- %.*s\n+ %.*s\n", STR_ARG(buf_str(&title)),
                was_equal ? ": explained, but does not differ" : "", STR_ARG(buf_str(&their_form)),
                STR_ARG(buf_str(&our_form)));
    buf_fini(&our_form);
    buf_fini(&their_form);
    buf_fini(&title);
    return is_equal;
}

/* One mail, whose answers *rest begins with; returns whether all is well. */
static bool check_mail(struct table *t, struct str name, struct str *rest)
{
    struct buf mail, summary;
    struct str envelope = {0}, structure = {0}, end;
    buf_init(&mail, TEXT_MAX);
    buf_init(&summary, MIME_SUMMARY_MAX);
    if (read_mail(name, &mail)) {
        assert_rc(mime_summary_of(buf_str(&mail), &summary), RC_OK);
        assert_true(mime_summary_read(buf_str(&summary), &envelope, &structure));
    } else {
        print_message("%.*s: not there (Debian package libpython3.11-testsuite)\n", STR_ARG(name));
    }
    bool ok = compare(t, name, "envelope", envelope, rest);
    assert_true(str_cut(rest, '\n', &end) && end.n == 0);
    ok &= compare(t, name, "structure", structure, rest);
    assert_true(str_cut(rest, '\n', &end) && end.n == 0);
    buf_fini(&mail);
    buf_fini(&summary);
    return ok;
}

static void our_answers_are_dovecots_or_explained(
    void **state) /* [RFC3501 7.4.2] [RFC9051 7.5.2] */
{
    struct buf golden;
    struct table t = {0};
    buf_init(&golden, TEXT_MAX);
    buf_init(&t.text, TEXT_MAX);
    assert_true(read_file("tests/corpus-imap", STR("dovecot.txt"), &golden));
    assert_true(read_file("tests/corpus-imap", STR("differences.txt"), &t.text));
    struct str rest = buf_str(&golden), name;
    int mails = 0, failed = 0;
    t.rest = buf_str(&t.text);
    while (t.rest.n && !str_starts(t.rest, STR("= ")))
        str_cut(&t.rest, '\n', &name);
    while (str_cut(&rest, '\n', &name) && name.n) {
        assert_true(str_starts(name, STR("= ")));
        failed += !check_mail(&t, str_skip(name, 2), &rest);
        mails++;
    }
    if (t.rest.n)
        fail_msg("differences.txt: not used, or not in the order of dovecot.txt: %.*s",
                 STR_ARG(str_head(t.rest, 80)));
    assert_true(mails > 80);
    assert_int_equal(failed, 0);
    buf_fini(&golden);
    buf_fini(&t.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(our_answers_are_dovecots_or_explained)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
