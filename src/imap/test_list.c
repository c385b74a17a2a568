/* LIST with its options [RFC5258] [RFC5819] [RFC6154]: the grammar, the table of the RFC of what is
 * told when, and accounts with many mailboxes. */
#include "imap/list_int.h"
#include "imap/test_home.h"

static struct arena arena;

static bool take(const char *text, bool is_utf8, struct imap_list *out, struct imap_parse *p)
{
    arena_reset(&arena);
    *p = (struct imap_parse){.rest = str_of(text), .arena = &arena, .is_utf8 = is_utf8};
    return imap_take_list(p, out);
}

static void options_are_read(void **state) /* [RFC5258 3, 6] [RFC9051 6.3.9] */
{
    static const struct {
        const char *text;
        unsigned select, returns;
        size_t patterns;
        bool is_root;
    } good[] = {
        {"\"\" *", 0, 0, 1, false},
        {"\"\" \"\"", 0, 0, 0, true},
        {"() \"\" \"\"", 0, 0, 0, false},
        {"\"\" \"\" RETURN ()", 0, 0, 0, false},
        {"\"\" (\"\" a %)", 0, 0, 2, false},
        {"(subscribed) a {1}\r\nb", 1, 1, 1, false},
        {"(SUBSCRIBED SUBSCRIBED REMOTE) \"\" *", 5, 1, 1, false},
        {"(RECURSIVEMATCH SPECIAL-USE) \"\" * RETURN (CHILDREN SUBSCRIBED)", 10, 19, 1, false},
        {"\"\" * RETURN (STATUS (MESSAGES) SUBSCRIBED)", 0, 33, 1, false},
    };
    static const char *const bad[] = {
        "",
        "\"\"",
        "\"\" ()",
        "\"\" (a",
        "\"\" (a ) x",
        "\"\" * RETURN",
        "\"\" * RETURN SUBSCRIBED",
        "\"\" * RETURN (REMOTE)",
        "\"\" * RETURN (SUBSCRIBED) x",
        "\"\" * RETURN (STATUS)",
        "\"\" * RETURN (STATUS ())",
        "(CHILDREN) \"\" *",
        "( SUBSCRIBED) \"\" *",
        "(SUBSCRIBED)\"\" *",
        "(RECURSIVEMATCH) \"\" *", /* [RFC5258 3.1] [RFC9051 6.3.9.1] */
        "(REMOTE RECURSIVEMATCH) \"\" *",
    };
    struct imap_list l;
    struct imap_parse p;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!take(good[i].text, false, &l, &p))
            fail_msg("%s: %s", good[i].text, p.error);
        assert_int_equal(l.select, good[i].select);
        assert_int_equal(l.returns, good[i].returns);
        assert_int_equal(l.n_patterns, good[i].patterns);
        assert_int_equal(l.is_root, good[i].is_root);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (take(bad[i], false, &l, &p))
            fail_msg("%s was taken", bad[i]);
        assert_non_null(p.error);
    }
    arena_fini(&arena);
}

static void patterns_are_bounded(void **state)
{
    struct buf text = {.cap = 1 << 12};
    struct imap_list l;
    struct imap_parse p;
    buf_put(&text, STR("\"\" (a"));
    for (size_t i = 1; i < IMAP_PATTERNS_MAX; i++)
        buf_put(&text, STR(" b"));
    buf_put(&text, STR(")"));
    buf_put(&text, str_from("", 1));
    assert_true(take(buf_str(&text).p, false, &l, &p));
    assert_int_equal(l.n_patterns, IMAP_PATTERNS_MAX);
    buf_truncate(&text, buf_len(&text) - 2);
    buf_put(&text, STR(" b)"));
    buf_put(&text, str_from("", 1));
    assert_false(take(buf_str(&text).p, false, &l, &p));
    assert_true(p.is_limit);
    buf_fini(&text);
    arena_fini(&arena);
}

static void patterns_have_the_names_of_the_client(
    void **state) /* [RFC3501 5.1.3] [RFC9051 A.1] [RFC9755 3] */
{
    struct imap_list l;
    struct imap_parse p;
    assert_true(take("\"Entw&APw-\" \"rfe/&-*\"", false, &l, &p));
    assert_str(l.patterns[0], "Entw\xc3\xbcrfe/&*");
    assert_true(take("\"Entw&APw-\" \"rfe/&-*\"", true, &l, &p));
    assert_str(l.patterns[0], "Entw&APw-rfe/&-*");
    assert_true(take("\"\" \"Entw\xc3\xbcrfe\"", true, &l, &p));
    assert_str(l.patterns[0], "Entw\xc3\xbcrfe");
    assert_true(take("\"\" \"&bad\"", false, &l, &p)); /* no name: it matches nothing */
    assert_str(l.patterns[0], "");
    arena_fini(&arena);
}

/* [RFC5258 3.5] [RFC9051 6.3.9.6, 7.3.1]: the table of what is there, meets the criteria, and has
 * children that do. */
static void parents_are_told_as_the_table_says(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    int fd = client_login(&h);
    client_talk(fd,
                "C: a CREATE e-nn\nP: a OK\n"
                "C: a CREATE e-yn\nP: a OK\n"
                "C: a CREATE e-ny\nP: a OK\n"
                "C: a CREATE e-yy\nP: a OK\n"
                "C: b SUBSCRIBE e-yn\nP: b OK\n"
                "C: b SUBSCRIBE e-yy\nP: b OK\n"
                "C: b SUBSCRIBE n-yn\nP: b OK\n"
                "C: b SUBSCRIBE n-yy\nP: b OK\n"
                "C: b SUBSCRIBE e-ny/deep/child\nP: b OK\n"
                "C: b SUBSCRIBE e-yy/child\nP: b OK\n"
                "C: b SUBSCRIBE n-ny/child\nP: b OK\n"
                "C: b SUBSCRIBE n-yy/child\nP: b OK\n"
                "C: c LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (e-% n-%)\n"
                "S: * LIST (\\HasNoChildren) \"/\" e-ny (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
                "S: * LIST (\\HasNoChildren \\Subscribed) \"/\" e-yn\n"
                "S: * LIST (\\HasNoChildren \\Subscribed) \"/\" e-yy"
                " (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
                "S: * LIST (\\NonExistent \\Noselect \\HasNoChildren) \"/\" n-ny"
                " (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
                "S: * LIST (\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) \"/\" n-yn\n"
                "S: * LIST (\\NonExistent \\Noselect \\HasNoChildren \\Subscribed) \"/\" n-yy"
                " (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
                "S: c OK LIST completed\n"
                /* Both criteria are named, and a child has to meet both. */
                "C: d LIST (SUBSCRIBED SPECIAL-USE RECURSIVEMATCH) \"\" (e-% Sen%)\n"
                "S: * LIST (\\HasNoChildren \\Sent \\Subscribed) \"/\" Sent\n"
                "S: d OK LIST completed\n"
                "C: e CREATE boxes/kept\nP: e OK\n"
                "C: e RENAME Archive boxes/old\nP: e OK\n"
                "C: e SUBSCRIBE boxes/old\nP: e OK\n"
                "C: f LIST (SUBSCRIBED SPECIAL-USE RECURSIVEMATCH) \"\" b%\n"
                "S: * LIST (\\NonExistent \\Noselect \\HasChildren) \"/\" boxes"
                " (\"CHILDINFO\" (\"SUBSCRIBED\" \"SPECIAL-USE\"))\n"
                "S: f OK LIST completed\n"
                /* Without the option, a pair of attributes says that there is something below. */
                "C: g LIST \"\" b%\n"
                "S: * LIST (\\NonExistent \\Noselect \\HasChildren) \"/\" boxes\n"
                "S: g OK LIST completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

/* [RFC5819 2] [RFC9051 6.3.9.2]: after each line of LIST that of STATUS; and it turns on what
 * STATUS does. */
static void status_follows_each_line(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, "Subject: x\r\n\r\nx\r\n");
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a LIST \"\" INBOX RETURN (STATUS (MESSAGES UNSEEN HIGHESTMODSEQ))\n"
                "P: * OK [HIGHESTMODSEQ \n"
                "S: * LIST (\\HasNoChildren) \"/\" INBOX\n"
                "P: * STATUS INBOX (MESSAGES 1 UNSEEN 1 HIGHESTMODSEQ \n"
                "S: a OK LIST completed\n",
                1 << 20);
    client_close(h.net, fd);
    home_end(&h);
}

/* More than a loop puts in order, and more lines than go out at once. */
static void many_mailboxes_are_listed(void **state)
{
    enum { MANY = 1200 };
    struct home h;
    home_make(&h);
    home_start(&h);
    int fd = client_login(&h);
    for (int i = 0; i < MANY; i++) {
        struct buf command = {.cap = 200};
        buf_putf(&command, "a SUBSCRIBE none/%05d/below\r\n", i);
        client_send(fd, buf_str(&command));
        buf_fini(&command);
        client_expect_line(fd, STR("a OK SUBSCRIBE completed"));
    }
    client_send(fd, STR("b LIST (SUBSCRIBED RECURSIVEMATCH) \"\" none/%\r\n"));
    for (int i = 0; i < MANY; i++) {
        char expected[200];
        snprintf(expected, sizeof expected,
                 "* LIST (\\NonExistent \\Noselect \\HasNoChildren) \"/\" none/%05d"
                 " (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                 i);
        client_expect_line(fd, str_of(expected));
    }
    client_expect_line(fd, STR("b OK LIST completed"));
    client_close(h.net, fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(patterns_are_bounded),
        cmocka_unit_test(patterns_have_the_names_of_the_client),
        cmocka_unit_test(parents_are_told_as_the_table_says),
        cmocka_unit_test(status_follows_each_line),
        cmocka_unit_test(many_mailboxes_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
