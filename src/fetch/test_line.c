/* Lines, dots and lists of POP3, pieces of IMAP: what real hosts say, and what hostile ones do. */
#include "fetch/fetch_int.h"
#include "fetch/imap_reply.h"

#include "base/test.h"

#include <string.h>

/* The text of a multi-line answer that comes so many bytes at a time. */
static void assert_dots(const char *raw, size_t step, const char *expected, const char *left)
{
    struct fetch_dots d = {0};
    struct buf out = {.cap = 4096};
    struct str all = str_of(raw), piece;
    size_t at = 0, here = 0;
    enum rc rc = RC_AGAIN;
    while (rc == RC_AGAIN && here < all.n) {
        here = here + step < all.n ? here + step : all.n;
        struct str in = str_sub(all, at, here - at);
        while ((rc = fetch_dots_next(&d, &in, &piece)) == RC_OK)
            buf_put(&out, piece);
        at = here - in.n;
    }
    assert_rc(rc, RC_EOF);
    assert_true(str_eq(buf_str(&out), str_of(expected)));
    assert_true(str_starts(str_skip(all, at), str_head(str_of(left), all.n - at)));
    buf_fini(&out);
}

static void dots_are_taken_away(void **state)
{
    for (size_t step = 1; step < 40; step++) {
        assert_dots("a\r\n..b\r\n\r\n.\r\n+OK", step, "a\r\n.b\r\n\r\n", "+OK"); /* [RFC1939 3] */
        assert_dots(".\r\n-ERR", step, "", "-ERR");
        assert_dots("...\r\n. x\r\nq.\r\n.\r\n", step, "..\r\n x\r\nq.\r\n", "");
        assert_dots("lone\nlf\n\n..\n.\n", step, "lone\r\nlf\r\n\r\n.\r\n", "");
        assert_dots("a\rb\r\r\n.\r\n", step, "a\rb\r\r\n", "");
    }
}

static void lines_are_bounded(void **state)
{
    struct str in = STR("abc\r\nd\n"), line;
    assert_rc(fetch_line(&in, 3, &line), RC_OK);
    assert_true(str_eq(line, STR("abc")));
    assert_rc(fetch_line(&in, 3, &line), RC_OK);
    assert_true(str_eq(line, STR("d")));
    assert_rc(fetch_line(&in, 3, &line), RC_AGAIN);
    in = STR("abcd\r\n");
    assert_rc(fetch_line(&in, 3, &line), RC_LIMIT);
    in = STR("abcdefg");
    assert_rc(fetch_line(&in, 3, &line), RC_LIMIT);
}

static void a_refused_login_is_told_from_a_busy_mailbox(void **state)
{
    assert_rc(fetch_pop3_refusal(STR(" [AUTH] no"), 0), RC_DENIED); /* [RFC3206 4] */
    assert_rc(fetch_pop3_refusal(STR(" [AUTH] no"), POP3_AUTH_CODES), RC_DENIED);
    assert_rc(fetch_pop3_refusal(STR(" [IN-USE] x"), 0), RC_TEMP); /* [RFC2449 8.1.2] */
    assert_rc(fetch_pop3_refusal(STR(" [SYS/TEMP] x"), 0), RC_TEMP);
    assert_rc(fetch_pop3_refusal(STR(" [SYS/PERM] x"), POP3_AUTH_CODES), RC_DENIED);
    assert_rc(fetch_pop3_refusal(STR(" go away"), 0), RC_DENIED);
    assert_rc(fetch_pop3_refusal(STR(" go away"), POP3_AUTH_CODES), RC_TEMP);
    assert_rc(fetch_imap_refusal(STR("[AUTHENTICATIONFAILED] no")), RC_DENIED); /* [RFC5530 3] */
    assert_rc(fetch_imap_refusal(STR("[UNAVAILABLE] later")), RC_TEMP);
    assert_rc(fetch_imap_refusal(STR("no")), RC_DENIED);
}

static void dates_are_read(void **state)
{
    assert_true(fetch_imap_date(STR("17-Jul-1996 02:44:25 -0700")) == 837596665 * NS_PER_SEC);
    assert_true(fetch_imap_date(STR(" 1-Jan-1970 00:00:01 +0000")) == NS_PER_SEC);
    assert_true(fetch_imap_date(STR("32-Foo-1996 02:44:25 -0700")) == 0);
    assert_true(fetch_imap_date(STR("")) == 0);
}

static void names_of_folders_are_read(void **state)
{
    static const struct {
        const char *text, *name, *use;
        enum rc rc;
    } cases[] = {
        {"(\\HasNoChildren \\Sent) \".\" \"Sent.a/b\"", "Sent/a_b", "\\Sent", RC_OK},
        {"() NIL inbox", "INBOX", "", RC_OK},
        {"() \"/\" {5}\r\nab cd", "ab cd", "", RC_OK},
        {"() \"/\" \"&AOQ-\"", "\303\244", "", RC_OK},
        {"(\\Noselect) \"/\" x", NULL, NULL, RC_EOF},
        {"() \"/\" \"a\tb\"", NULL, NULL, RC_SYNTAX},
        {"() \"/\" \"\"", NULL, NULL, RC_SYNTAX},
        {"() \"/\" {9}\r\nab", NULL, NULL, RC_SYNTAX},
        {"(((", NULL, NULL, RC_SYNTAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena = {0};
        struct fetch_folder f;
        assert_rc(fetch_imap_listed(str_of(cases[i].text), &arena, &f), cases[i].rc);
        if (cases[i].rc == RC_OK) {
            assert_true(str_eq(f.name, str_of(cases[i].name)));
            assert_true(str_eq(f.use, str_of(cases[i].use)));
        }
        arena_fini(&arena);
    }
}

static void values_are_passed_over(void **state)
{
    struct imap_fetched f;
    assert_rc(fetch_imap_fetched(STR("(ENVELOPE (\"a)\" ((NIL \"x\" {2}\r\n)( NIL))) UID 9 FLAGS "
                                     "(\\Seen $a) X[<1 (2)>] y RFC822.SIZE 3)"),
                                 &f),
              RC_OK);
    assert_int_equal(f.item.number, 9);
    assert_int_equal(f.item.flags, FETCH_SEEN);
    assert_int_equal(f.item.size, 3);
    buf_fini(&f.body);
    char deep[1000];
    memset(deep, '(', sizeof deep);
    assert_rc(fetch_imap_fetched(str_from(deep, sizeof deep), &f), RC_SYNTAX);
    buf_fini(&f.body);
    assert_rc(fetch_imap_fetched(STR("(UID 0)"), &f), RC_SYNTAX);
    buf_fini(&f.body);
    assert_rc(fetch_imap_fetched(STR("(UID 4294967296)"), &f), RC_SYNTAX);
    buf_fini(&f.body);
}

/* What would be a second command is not said. */
static void one_line(void **state)
{
    assert_true(fetch_login_is_line(STR("bob@example.test")));
    assert_true(fetch_login_is_line(STR("with spaces \xc3\xa4")));
    assert_true(fetch_login_is_line(STR("")));
    assert_false(fetch_login_is_line(STR("bob\r\nDELE 1")));
    assert_false(fetch_login_is_line(STR("bob\n")));
    assert_false(fetch_login_is_line(str_from("a\0b", 3)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line),
        cmocka_unit_test(dots_are_taken_away),
        cmocka_unit_test(lines_are_bounded),
        cmocka_unit_test(a_refused_login_is_told_from_a_busy_mailbox),
        cmocka_unit_test(dates_are_read),
        cmocka_unit_test(names_of_folders_are_read),
        cmocka_unit_test(values_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
