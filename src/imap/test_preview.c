/* PREVIEW [RFC8970]: what is told, what is kept, and what a client in a hurry gets. */
#include "imap/test_home.h"

#include "imap/fetch_int.h"

#define AT_ONCE (1 << 20)

static void previews_are_told(void **state) /* [RFC8970 3.1, 3.2, 3.3] */
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, "Subject: 1\r\n\r\n  Preview\r\n\ttext!\r\n");
    home_deliver(&h, h.alice, "Subject: 2\r\nContent-Type: image/png\r\n\r\nAAAA\r\n");
    home_deliver(&h, h.alice,
                 "Subject: 3\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n"
                 "<p>Gr\xfc\xdf"
                 "e &amp; \"so\"</p>\r\n");
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a FETCH 1 PREVIEW\n"
                "S: * 1 FETCH (PREVIEW \"Preview text!\")\n"
                "S: a OK FETCH completed\n"
                "C: b FETCH 1:2 (UID PREVIEW FLAGS)\n"
                "S: * 1 FETCH (UID 1 PREVIEW \"Preview text!\" FLAGS ())\n"
                "S: * 2 FETCH (UID 2 PREVIEW \"\" FLAGS ())\n" /* never NIL */
                "S: b OK FETCH completed\n"
                "C: c UID FETCH 3 (PREVIEW)\n"
                "S: * 3 FETCH (UID 3 PREVIEW {14}\n"
                "S: Gr\xc3\xbc\xc3\x9f"
                "e & \"so\")\n"
                "S: c OK UID FETCH completed\n"
                "C: d FETCH 2 (PREVIEW (LAZY) ENVELOPE)\n"
                "P: * 2 FETCH (PREVIEW \"\" ENVELOPE (\n"
                "S: d OK FETCH completed\n"
                "C: e UID FETCH 1:* PREVIEW (CHANGEDSINCE 99999999)\n" /* FETCH's own */
                "P: * OK [HIGHESTMODSEQ \n"
                "P: e OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

static void utf8_is_quoted_for_who_takes_it(void **state) /* [RFC9051 4.3, A] [RFC9586 3.3] */
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice,
                 "Content-Type: text/plain; charset=utf-8\r\n\r\n"
                 "Gr\xc3\xbc\xc3\x9f"
                 "e \"x\"\r\n");
    int fd = client_login(&h);
    client_talk(fd,
                "C: e ENABLE IMAP4rev2 UIDONLY\nS: * ENABLED IMAP4rev2 UIDONLY\nP: e OK\n"
                "C: s SELECT INBOX\n",
                AT_ONCE);
    char line[CLIENT_LINE];
    while (!str_starts(client_line(fd, line, sizeof line), STR("s OK")))
        assert_true(line[0] == '*');
    client_talk(fd,
                "C: a UID FETCH 1 PREVIEW\n"
                "S: * 1 UIDFETCH (PREVIEW \"Gr\xc3\xbc\xc3\x9f"
                "e \\\"x\\\"\")\n"
                "P: a OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    fd = client_select(&h, "SELECT"); /* and for nobody else */
    client_talk(fd,
                "C: a FETCH 1 PREVIEW\n"
                "S: * 1 FETCH (PREVIEW {11}\n"
                "S: Gr\xc3\xbc\xc3\x9f"
                "e \"x\")\n"
                "P: a OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

static void the_grammar_is_checked(void **state) /* [RFC8970 6] */
{
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver(&h, h.alice, "Subject: 1\r\n\r\nx\r\n");
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a FETCH 1 PREVIEW (LAZY LAZY)\n"
                "S: * 1 FETCH (PREVIEW \"x\")\n"
                "P: a OK\n"
                "C: b FETCH 1 (PREVIEW (LAZY SOON))\n"
                "P: b BAD expected LAZY\n"
                "C: c FETCH 1 PREVIEW (LAZY\n"
                "P: c BAD expected the end of (LAZY)\n"
                "C: d FETCH 1 PREVIEW (SOON)\n"
                "P: d BAD expected a modifier\n"
                "C: e FETCH 1 (PREVIEW (SOON))\n"
                "P: e BAD expected\n"
                "C: f FETCH 1 PREVIEW[1]\n"
                "P: f BAD expected\n"
                "C: g UID FETCH 1 PREVIEW (LAZY) (PARTIAL 1:1)\n"
                "S: * 1 FETCH (UID 1 PREVIEW \"x\")\n"
                "P: g OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* Which of the messages have no preview yet: NIL. */
static size_t count_nil(int fd, const char *command)
{
    char line[CLIENT_LINE];
    size_t n = 0;
    client_send(fd, str_of(command));
    for (;;) {
        struct str got = client_line(fd, line, sizeof line);
        if (!str_starts(got, STR("*")))
            return n;
        n += str_find(got, STR("PREVIEW NIL")) >= 0;
    }
}

/* [RFC8970 4.1]: a screenful is made at once, and what has been made is there for all. */
static void who_is_in_a_hurry_gets_what_is_there(void **state)
{
    enum { N = 130 };
    struct home h;
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nhello\r\n"), N);
    int fd = client_select(&h, "SELECT");
    assert_int_equal(count_nil(fd, "a FETCH 1:* PREVIEW (LAZY)\r\n"), N - IMAP_FETCH_LAZY);
    int other = client_select(&h, "EXAMINE");
    assert_int_equal(count_nil(other, "a FETCH 1:* PREVIEW (LAZY)\r\n"), N - 2 * IMAP_FETCH_LAZY);
    assert_int_equal(count_nil(other, "b FETCH 1:* PREVIEW\r\n"), 0); /* [RFC8970 3.2] */
    assert_int_equal(count_nil(fd, "b FETCH 1:* (PREVIEW (LAZY) ENVELOPE)\r\n"), 0);
    client_close(h.net, other);
    client_close(h.net, fd);
    home_end(&h);
}

/* The text is behind a style sheet of half a megabyte, or there is no end of it: what is looked at
 * is bounded, and the message can be fetched as before. */
static void large_messages_are_looked_at_in_part(void **state)
{
    struct home h;
    struct buf message = {.cap = 2 << 20};
    home_make(&h);
    home_start(&h);
    buf_put(&message, STR("Subject: x\r\nContent-Type: text/html\r\n\r\n<p>first</p><style>"));
    while (buf_len(&message) < 600000)
        buf_put(&message, STR("p { color: red }\r\n"));
    buf_put(&message, STR("</style><p>last\r\n"));
    home_deliver_many(&h, h.alice, buf_str(&message), 1);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a FETCH 1 (PREVIEW BODY.PEEK[HEADER])\n"
                "S: * 1 FETCH (PREVIEW \"first\" BODY[HEADER] {39}\n"
                "S: Subject: x\nS: Content-Type: text/html\nS: \nS: )\n"
                "P: a OK\n",
                AT_ONCE);
    buf_fini(&message);
    client_close(h.net, fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(previews_are_told),
        cmocka_unit_test(utf8_is_quoted_for_who_takes_it),
        cmocka_unit_test(the_grammar_is_checked),
        cmocka_unit_test(who_is_in_a_hurry_gets_what_is_there),
        cmocka_unit_test(large_messages_are_looked_at_in_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
