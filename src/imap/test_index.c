/* SEARCH with the index says what SEARCH without it says, whatever is searched for and however much
 * of the mailbox is in it. */
#include "imap/search_int.h"
#include "imap/test_home.h"

#include "base/base64.h"
#include "mime/text.h"

#include <stdlib.h>

enum { MESSAGES = 700, NEEDLE = 70, TEXTS = 40 };

struct scene {
    struct home home;
    struct index *index;
    unsigned seed;
    struct buf texts[TEXTS]; /* of some messages, as TEXT looks at them */
    size_t n_texts;
    int fd;
};

static unsigned next_random(struct scene *s)
{
    s->seed = s->seed * 1103515245 + 12345;
    return s->seed >> 16;
}

/* --- messages --------------------------------------------------------------------------------- */

static const char *const words[] = {"the",
                                    "of",
                                    "invoice",
                                    "meeting",
                                    "Zebra",
                                    "quarterly",
                                    "a",
                                    "xylophone",
                                    "report",
                                    ("Gr\xc3\xbc\xc3\x9f"
                                     "e"),
                                    "\xe4\xbd\xa0\xe5\xa5\xbd",
                                    "za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87",
                                    "1234567",
                                    "foo-bar",
                                    "http://example.test/",
                                    "attached",
                                    "and",
                                    "<b>bold</b>",
                                    "=3D"};

static void put_words(struct scene *s, struct buf *b, size_t n, size_t per_line)
{
    char made[16];
    for (size_t i = 0; i < n; i++) {
        const char *word = words[next_random(s) % (sizeof words / sizeof *words)];
        if (next_random(s) % 3 == 0) { /* one that few have */
            snprintf(made, sizeof made, "w%x", next_random(s) % 5000 + 7000);
            word = made;
        }
        buf_put(b, str_of(word));
        buf_put(b, per_line && i % per_line == per_line - 1 ? STR("\r\n") : STR(" "));
    }
}

/* In lines of 76. */
static void put_base64(struct buf *b, struct str bytes)
{
    enum { LINE = 57 };
    for (; bytes.n; bytes = str_skip(bytes, LINE)) {
        assert_rc(base64_encode(b, str_head(bytes, LINE)), RC_OK);
        if (bytes.n >= LINE)
            buf_put(b, STR("\r\n"));
    }
}

static void put_encoded(struct scene *s, struct buf *b)
{
    struct buf text = {.cap = 1000};
    put_words(s, &text, 2, 0);
    buf_put(b, STR("=?UTF-8?B?"));
    put_base64(b, str_head(buf_str(&text), 30));
    buf_put(b, STR("?="));
    buf_fini(&text);
}

static void put_header(struct scene *s, struct buf *b)
{
    buf_putf(b, "From: \"Sender %u\" <sender%u@example.test>\r\n", next_random(s) % 50,
             next_random(s) % 50);
    buf_put(b, STR("To: "));
    if (next_random(s) % 4 == 0) {
        put_encoded(s, b);
        buf_put(b, STR(" "));
    }
    buf_putf(b, "<to%u@example.test>,\r\n\tother@example.test\r\nSubject: ", next_random(s) % 9);
    if (next_random(s) % 3 == 0) {
        put_encoded(s, b);
        buf_put(b, STR("\r\n "));
    }
    put_words(s, b, next_random(s) % 6, 3);
    buf_put(b, STR("\r\n"));
    if (next_random(s) % 5 == 0) /* no blank before the next field: the line ends were in it */
        buf_put(b, STR("Cc: undisclosed:;\r\n"));
    buf_putf(b, "X-Number: n%u\r\n", next_random(s) % 1000);
    if (next_random(s) % 20 == 0)
        buf_put(b, STR("this is no field\r\n"));
}

static void put_part(struct scene *s, struct buf *b, size_t n)
{
    struct buf text = {.cap = 1 << 20};
    put_words(s, &text, n, next_random(s) % 12);
    switch (next_random(s) % 4) {
    case 0:
        buf_put(b, STR("Content-Type: text/plain; charset=utf-8\r\n"
                       "Content-Transfer-Encoding: base64\r\n\r\n"));
        put_base64(b, buf_str(&text));
        break;
    case 1:
        buf_put(b, STR("Content-Type: text/html; charset=iso-8859-2\r\n\r\n"));
        buf_put(b, buf_str(&text));
        break;
    case 2:
        buf_put(b, STR("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
                       "Content-Disposition: attachment; filename=\"hidden.pdf\"\r\n\r\n"));
        put_base64(b, buf_str(&text));
        break;
    default:
        buf_put(b, STR("\r\n"));
        buf_put(b, buf_str(&text));
    }
    buf_put(b, STR("\r\n"));
    buf_fini(&text);
}

static void put_message(struct scene *s, struct buf *b)
{
    size_t n = next_random(s) % 100 == 0 ? 20000 : next_random(s) % 10 == 0 ? 2000 : 60;
    put_header(s, b);
    unsigned kind = next_random(s) % 5;
    if (kind == 0) {
        buf_put(b, STR("Content-Type: multipart/mixed; boundary=limit\r\n\r\nbefore\r\n"));
        for (int i = 0; i < 3; i++) {
            buf_put(b, STR("--limit\r\n"));
            put_part(s, b, n / 3);
        }
        buf_put(b, STR("--limit--\r\nafter\r\n"));
    } else if (kind == 1) {
        buf_put(b, STR("Content-Type: message/rfc822\r\n\r\n"));
        put_header(s, b);
        put_part(s, b, n);
    } else {
        put_part(s, b, n);
    }
}

/* What TEXT looks at, folded. */
static void keep_text(struct scene *s, struct str message)
{
    struct mime_tree tree;
    struct mime_text text;
    struct buf *b = &s->texts[s->n_texts++];
    b->cap = 8 << 20;
    mime_parse(message, NULL, &tree);
    mime_text_init(&text, &tree, s->home.charsets, MIME_TEXT_ALL);
    assert_rc(mime_text_next(&text, message, 0, b), RC_EOF);
    mime_text_fini(&text);
    mime_tree_fini(&tree);
}

static void deliver(struct scene *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf b = {.cap = 1 << 20};
        put_message(s, &b);
        assert_false(b.over);
        if (s->n_texts < TEXTS)
            keep_text(s, buf_str(&b));
        home_deliver_many(&s->home, s->home.alice, buf_str(&b), 1);
        buf_fini(&b);
    }
}

/* --- questions -------------------------------------------------------------------------------- */

/* Out of a message's text, at any character of it; or of nothing. */
static struct str needle(struct scene *s)
{
    static const struct str others[] = {STR_INIT("zebrafishery"), STR_INIT("e"),
                                        STR_INIT("w1b5"),         STR_INIT("no such"),
                                        STR_INIT("sender4"),      STR_INIT("n12")};
    struct str text = buf_str(&s->texts[next_random(s) % s->n_texts]);
    size_t at = next_random(s) % text.n, n = 1 + next_random(s) % NEEDLE;
    if (next_random(s) % 8 == 0)
        return others[next_random(s) % (sizeof others / sizeof *others)];
    if (next_random(s) % 2)
        n = 3 + n % 10;
    while (at && ((unsigned char)text.p[at] & 0xc0) == 0x80)
        at--;
    while (at + n < text.n && ((unsigned char)text.p[at + n] & 0xc0) == 0x80)
        n++;
    return str_sub(text, at, n);
}

/* Three words of a text, wherever they stand in it [RFC6203 3]. */
static void put_far_words(struct scene *s, struct buf *out)
{
    struct str text = buf_str(&s->texts[next_random(s) % s->n_texts]);
    for (int i = 0; i < 3; i++) {
        struct str rest = str_skip(text, next_random(s) % text.n), word;
        (void)str_cut(&rest, ' ', &word); /* what is left of one */
        if (str_cut(&rest, ' ', &word))
            buf_put(out, word);
        buf_put(out, STR(" "));
    }
}

static void put_key(struct scene *s, struct buf *b, unsigned depth)
{
    static const char *const keys[] = {
        "TEXT", "TEXT", "BODY", "HEADER Subject", "HEADER X-Number", "FROM", "SUBJECT",
        "TO",   "CC",   "BCC"};
    unsigned kind = next_random(s) % (depth ? 14 : 10);
    if (kind == 10) {
        buf_put(b, STR("NOT "));
        put_key(s, b, depth - 1);
    } else if (kind > 10) {
        buf_put(b, kind == 11 ? STR("OR (") : STR("OR NOT ("));
        put_key(s, b, depth - 1);
        buf_put(b, STR(") "));
        put_key(s, b, depth - 1);
    } else {
        struct buf text = {.cap = 1 << 16};
        unsigned fuzzy = next_random(s) % 6; /* [RFC6203 3] */
        if (fuzzy)
            buf_put(&text, needle(s));
        else
            put_far_words(s, &text);
        buf_put(b, fuzzy > 1 ? STR("") : STR("FUZZY "));
        buf_putf(b, "%s {%zu+}\r\n", keys[kind], buf_len(&text));
        buf_put(b, buf_str(&text));
        buf_fini(&text);
    }
}

static void ask(struct scene *s, struct str program, struct buf *answer)
{
    char line[CLIENT_LINE];
    struct buf command = {.cap = 1 << 16};
    answer->cap = 1 << 20;
    buf_put(&command, STR("q SEARCH CHARSET UTF-8 "));
    buf_put(&command, program);
    buf_put(&command, STR("\r\n"));
    assert_false(command.over);
    client_send(s->fd, buf_str(&command));
    buf_fini(&command);
    do {
        struct str said = client_line(s->fd, line, sizeof line);
        if (str_starts(said, STR("* SEARCH"))) /* others tell what is new */
            buf_put(answer, said);
        if (str_starts(said, STR("q ")) && !str_starts(said, STR("q OK")))
            fail_msg("%.*s", STR_ARG(said));
        if (str_starts(said, STR("q ")))
            break;
    } while (true);
}

/* The session is told of what others have done. */
static void hear(struct scene *s)
{
    char line[CLIENT_LINE];
    client_send(s->fd, STR("n NOOP\r\n"));
    while (!str_starts(client_line(s->fd, line, sizeof line), STR("n OK")))
        assert_true(line[0] == '*');
}

/* The same with and without. */
static void compare(struct scene *s, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        struct buf program = {.cap = 1 << 16}, with = {0}, without = {0};
        put_key(s, &program, 3);
        s->home.imap->conf.index = s->index;
        ask(s, buf_str(&program), &with);
        s->home.imap->conf.index = NULL;
        ask(s, buf_str(&program), &without);
        if (!str_eq(buf_str(&with), buf_str(&without))) {
            fprintf(stderr, "%.*s\n%.*s\n%.*s\n", STR_ARG(buf_str(&program)),
                    STR_ARG(buf_str(&with)), STR_ARG(buf_str(&without)));
            fail_msg("the first answer is that with the index");
        }
        buf_fini(&program);
        buf_fini(&with);
        buf_fini(&without);
    }
}

/* --- the mailbox ------------------------------------------------------------------------------ */

static void work(struct scene *s)
{
    bool more = true;
    while (more)
        assert_rc(index_step(s->index, s->home.alice, &more), RC_OK);
}

static struct index_state look(struct scene *s)
{
    struct index_state state;
    uint32_t inbox;
    struct store_account *account = home_open(&s->home, s->home.alice, &inbox);
    assert_rc(index_look(s->index, account, &state), RC_OK);
    store_account_close(&account);
    return state;
}

static void expunge(struct scene *s, uint32_t every)
{
    for (uint32_t uid = every; uid < MESSAGES; uid += every)
        home_expunge(&s->home, s->home.alice, uid);
}

static void begin(struct scene *s, unsigned seed)
{
    *s = (struct scene){.seed = seed};
    home_make(&s->home);
    index_open(&s->home.ctx,
               &(struct index_conf){.store = s->home.store,
                                    .kv = s->home.kv,
                                    .charsets = s->home.charsets,
                                    .text_max = 60000},
               &s->index);
    s->home.conf.index = s->index;
    home_start(&s->home);
}

static void end(struct scene *s)
{
    client_close(s->home.net, s->fd);
    for (size_t i = 0; i < s->n_texts; i++)
        buf_fini(&s->texts[i]);
    home_end(&s->home);
    index_close(&s->index); /* nobody worked on it but who called index_step */
}

/* Half of it indexed, more that came since, expunged before and after, all of it, small blocks that
 * were joined, and the same anew. */
static void answers_are_the_same(void **state)
{
    struct scene s;
    begin(&s, 20);
    deliver(&s, MESSAGES / 2);
    s.fd = client_select(&s.home, "SELECT");
    compare(&s, 10); /* there is none */
    expunge(&s, 50); /* seen by the session, and never by the index */
    work(&s);
    assert_true(look(&s).exists);
    compare(&s, 60);
    deliver(&s, MESSAGES / 4);
    hear(&s);
    compare(&s, 40); /* of what came since it knows nothing */
    for (size_t i = 0; i < 20; i++) {
        deliver(&s, MESSAGES / 80);
        work(&s);
    }
    assert_true(look(&s).n_blocks < 20);
    hear(&s);
    compare(&s, 80);
    expunge(&s, 9);
    compare(&s, 20);
    assert_rc(index_rebuild(s.index, s.home.alice), RC_OK);
    compare(&s, 10);
    work(&s);
    compare(&s, 40);
    end(&s);
}

static uint64_t blobs_read(struct scene *s)
{
    struct kv_mem_stats stats;
    kv_mem_stats(s->home.kv, &stats);
    return stats.blobs_read;
}

static uint64_t reads_of(struct scene *s, const char *program)
{
    struct buf answer = {0};
    uint64_t before = blobs_read(s);
    ask(s, str_of(program), &answer);
    buf_fini(&answer);
    return blobs_read(s) - before;
}

/* What the index denies is not opened, and what it denies of a NOT is a hit unseen. */
static void few_messages_are_read(void **state)
{
    static const char *const few[] = {
        "TEXT zebrafishery",     "BODY {8+}\r\nw1b58zzq",  "FROM sender99@",
        "NOT TEXT zebrafishery", "HEADER X-Number n98765", "OR TEXT zebrafishery SUBJECT nonesuch"};
    struct scene s;
    begin(&s, 4);
    deliver(&s, 400);
    s.fd = client_select(&s.home, "SELECT");
    assert_true(reads_of(&s, few[0]) >= 400);
    work(&s);
    for (size_t i = 0; i < sizeof few / sizeof *few; i++)
        if (reads_of(&s, few[i]) > 60)
            fail_msg("%s: too many are read", few[i]);
    s.home.imap->conf.index = NULL;
    assert_true(reads_of(&s, few[0]) >= 400);
    end(&s);
}

static uint64_t made(struct scene *s)
{
    uint32_t inbox;
    struct store_account *account = home_open(&s->home, s->home.alice, &inbox);
    uint64_t next = store_made(account);
    store_account_close(&account);
    return next;
}

/* Neither deliveries nor small mailboxes nor searches by rows ask for an index. */
static void a_large_search_wants_an_index(void **state)
{
    struct scene s;
    begin(&s, 5);
    home_deliver_many(&s.home, s.home.alice, STR("Subject: x\r\n\r\ntext\r\n"), 999);
    s.fd = client_select(&s.home, "SELECT");
    (void)reads_of(&s, "TEXT zebrafishery");
    assert_int_equal(made(&s), 0);
    home_deliver_many(&s.home, s.home.alice, STR("Subject: x\r\n\r\ntext\r\n"), 1);
    hear(&s);
    (void)reads_of(&s, "UNSEEN LARGER 100000 TEXT zebrafishery");
    (void)reads_of(&s, "TEXT xy");
    assert_int_equal(made(&s), 0);
    (void)reads_of(&s, "TEXT zebrafishery");
    assert_int_equal(made(&s), 1);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_same),
        cmocka_unit_test(few_messages_are_read),
        cmocka_unit_test(a_large_search_wants_an_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
