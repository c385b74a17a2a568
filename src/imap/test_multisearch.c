/* ESEARCH: one search of many mailboxes [RFC7377 2, 2.1, 2.2, 2.4]. UIDVALIDITY of mailboxes of a
 * new account follow one another. */
#include "imap/test_home.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 1 << 20 };

static void append(int fd, const char *mailbox, const char *subject)
{
    struct buf talk = {.cap = 2000};
    buf_putf(&talk, "a APPEND %s {%zu+}\r\nSubject: %s\r\n\r\ntext\r\n\r\n", mailbox,
             strlen(subject) + 19, subject);
    client_send(fd, buf_str(&talk));
    client_until(fd, STR("a OK"));
    buf_fini(&talk);
}

/* The lines of a dialogue, with every UIDVALIDITY told as "V". */
static void ask(int fd, const char *command, const char *expected)
{
    struct buf got = {.cap = 64 << 10};
    char line[CLIENT_LINE], tag[16];
    client_send(fd, str_of(command));
    client_send(fd, STR("\r\n"));
    (void)snprintf(tag, sizeof tag, "%.*s ", (int)strcspn(command, " "), command);
    struct str here;
    do {
        here = client_line(fd, line, sizeof line);
        ptrdiff_t at = str_find(here, STR("UIDVALIDITY "));
        if (at >= 0) {
            buf_put(&got, str_head(here, (size_t)at));
            buf_put(&got, STR("V"));
            here = str_skip(here, (size_t)at + 12);
            while (here.n && ascii_is_digit(here.p[0]))
                here = str_skip(here, 1);
        }
        buf_put(&got, here);
        buf_truncate(&got, buf_len(&got) - 2);
        buf_put(&got, STR("\n"));
    } while (!str_starts(str_from(line, strlen(tag)), str_of(tag)));
    if (!str_starts(buf_str(&got), str_of(expected)))
        fail_msg("%.*s", STR_ARG(buf_str(&got)));
    buf_fini(&got);
}

static int make(struct home *h)
{
    home_make(h);
    home_start(h);
    int fd = client_login(h);
    client_talk(fd,
                "C: c CREATE a/b/c\nP: c OK\n"
                "C: c CREATE a/d\nP: c OK\n"
                "C: c CREATE a\nP: c OK\n"
                "C: c CREATE \"e f\"\nP: c OK\n"
                "C: c CREATE gone/child\nP: c OK\n"
                "C: c SUBSCRIBE a/d\nP: c OK\n"
                "C: c SUBSCRIBE nowhere\nP: c OK\n",
                AT_ONCE);
    append(fd, "INBOX", "one");
    append(fd, "INBOX", "two");
    append(fd, "a", "one");
    append(fd, "a/b/c", "two one");
    append(fd, "a/d", "three");
    append(fd, "\"e f\"", "one");
    return fd;
}

static void mailboxes_are_searched(void **state)
{
    struct home h;
    int fd = make(&h);
    ask(fd, "1 ESEARCH IN (personal) SUBJECT one",
        "* ESEARCH (TAG \"1\" MAILBOX INBOX V) UID ALL 1\n"
        "* ESEARCH (TAG \"1\" MAILBOX a V) UID ALL 1\n"
        "* ESEARCH (TAG \"1\" MAILBOX a/b/c V) UID ALL 1\n"
        "* ESEARCH (TAG \"1\" MAILBOX \"e f\" V) UID ALL 1\n"
        "1 OK ESEARCH completed\n");
    ask(fd, "2 ESEARCH IN (subtree a inboxes) RETURN (COUNT MIN) NOT SUBJECT one",
        "* ESEARCH (TAG \"2\" MAILBOX INBOX V) UID MIN 2 COUNT 1\n"
        "* ESEARCH (TAG \"2\" MAILBOX a/d V) UID MIN 1 COUNT 1\n"
        "2 OK ESEARCH completed\n");
    ask(fd, "3 ESEARCH IN (subtree-one a) ALL",
        "* ESEARCH (TAG \"3\" MAILBOX a V) UID ALL 1\n"
        "* ESEARCH (TAG \"3\" MAILBOX a/d V) UID ALL 1\n"
        "3 OK ESEARCH completed\n");
    ask(fd, "4 ESEARCH IN (mailboxes (\"e f\" a/b/c nowhere gone a/%)) ALL", "4 BAD");
    ask(fd, "5 ESEARCH IN (mailboxes (\"e f\" a/b/c nowhere gone \"a/%\")) RETURN () ALL",
        "* ESEARCH (TAG \"5\" MAILBOX a/b/c V) UID ALL 1\n"
        "* ESEARCH (TAG \"5\" MAILBOX \"e f\" V) UID ALL 1\n"
        "5 OK ESEARCH completed\n");
    ask(fd, "6 ESEARCH IN (subscribed) 1:100",
        "* ESEARCH (TAG \"6\" MAILBOX INBOX V) UID ALL 1:2\n"
        "* ESEARCH (TAG \"6\" MAILBOX a/d V) UID ALL 1\n"
        "6 OK ESEARCH completed\n");
    ask(fd, "7 ESEARCH IN (personal) 101:200", "7 OK ESEARCH completed\n");
    ask(fd, "8 ESEARCH IN (inboxes personal mailboxes inbox) RETURN (PARTIAL -1:-1) ALL",
        "* ESEARCH (TAG \"8\" MAILBOX INBOX V) UID PARTIAL (-1:-1 2)\n"
        "* ESEARCH (TAG \"8\" MAILBOX a V) UID PARTIAL (-1:-1 1)\n"
        "* ESEARCH (TAG \"8\" MAILBOX a/b/c V) UID PARTIAL (-1:-1 1)\n"
        "* ESEARCH (TAG \"8\" MAILBOX a/d V) UID PARTIAL (-1:-1 1)\n"
        "* ESEARCH (TAG \"8\" MAILBOX \"e f\" V) UID PARTIAL (-1:-1 1)\n"
        "8 OK ESEARCH completed\n");
    ask(fd, "9 ESEARCH IN (personal) CHARSET x-none TEXT one", "9 NO [BADCHARSET");
    client_close(h.net, fd);
    home_assert_sound(&h, h.alice);
    home_end(&h);
}

/* What needs a selected mailbox, and what is of it alone. */
static void the_selected_one_stays(void **state)
{
    struct home h;
    int fd = make(&h);
    ask(fd, "1 ESEARCH ALL", "1 BAD select a mailbox first\n");
    ask(fd, "2 ESEARCH IN (selected) ALL", "2 BAD select a mailbox first\n");
    ask(fd, "3 ESEARCH IN (personal) RETURN (UPDATE) ALL", "3 BAD select a mailbox first\n");
    client_send(fd, STR("s SELECT a\r\n"));
    client_until(fd, STR("s OK"));
    ask(fd, "4 ESEARCH 1:9",
        "* ESEARCH (TAG \"4\" MAILBOX a V) UID ALL 1\n4 OK ESEARCH completed\n");
    ask(fd, "5 ESEARCH RETURN (COUNT) SUBJECT two", "5 OK ESEARCH completed\n");
    ask(fd, "6 ESEARCH IN (personal) RETURN (SAVE) ALL", "6 BAD SAVE is for");
    ask(fd, "7 ESEARCH IN (selected mailboxes a) RETURN (SAVE) ALL", "7 BAD SAVE is for");
    ask(fd, "8 ESEARCH IN (selected) RETURN (SAVE) ALL", "8 OK ESEARCH completed\n");
    ask(fd, "A ESEARCH IN (personal) $",
        "* ESEARCH (TAG \"A\" MAILBOX a V) UID ALL 1\nA OK ESEARCH completed\n");
    ask(fd, "B ESEARCH IN (mailboxes \"e f\") RETURN (UPDATE) ALL",
        "* ESEARCH (TAG \"B\" MAILBOX \"e f\" V) UID\n"
        "* NO [NOUPDATE \"B\"] the selected mailbox was not searched\nB OK");
    ask(fd, "C ESEARCH IN (personal) RETURN (UPDATE COUNT) SUBJECT new",
        "C OK ESEARCH completed\n");
    ask(fd, "C ESEARCH IN (personal) RETURN (UPDATE COUNT) SUBJECT new", "C BAD");
    append(fd, "a/d", "new");
    append(fd, "a", "old");
    client_talk(fd,
                "C: D APPEND a {14+}\n"
                "C: Subject: new\n"
                "C: \n"
                "S: * 3 EXISTS\n"
                "S: * ESEARCH (TAG \"C\") UID ADDTO (0 3)\n"
                "P: D OK\n",
                AT_ONCE);
    ask(fd, "E SEARCH RETURN (COUNT) 1:3", "* ESEARCH (TAG \"E\") COUNT 3\nE OK");
    ask(fd, "F ESEARCH IN (personal (x)) ALL", "F BAD");
    ask(fd, "G ESEARCH IN (selected-delayed) ALL", "G BAD");
    ask(fd, "H ESEARCH IN () ALL", "H BAD");
    ask(fd, "I ESEARCH IN (personal) ", "I BAD");
    ask(fd, "J ESEARCH IN (personal)ALL", "J BAD");
    client_close(h.net, fd);
    home_end(&h);
}

/* More than may be [RFC7377 2.4]; and with what is enabled besides. */
static void searches_are_bounded(void **state)
{
    struct home h;
    struct buf many = {.cap = 64 << 10};
    int fd = make(&h);
    h.imap->conf.search_mailboxes = 4;
    ask(fd, "1 ESEARCH IN (personal) ALL", "1 NO [LIMIT]");
    ask(fd, "2 ESEARCH IN (subtree-one a) SUBJECT three",
        "* ESEARCH (TAG \"2\" MAILBOX a/d V) UID ALL 1\n2 OK");
    buf_put(&many, STR("3 ESEARCH IN (personal"));
    for (int i = 0; i < 100; i++)
        buf_put(&many, STR(" inboxes"));
    buf_put(&many, STR(") ALL"));
    buf_put(&many, str_from("", 1));
    ask(fd, buf_str(&many).p, "3 BAD [LIMIT]");
    h.imap->conf.message_limit = 1;
    ask(fd, "4 ESEARCH IN (inboxes) ALL",
        "* ESEARCH (TAG \"4\" MAILBOX INBOX V) UID ALL 2\n4 OK [LIMIT]");
    h.imap->conf.message_limit = 1000;
    client_talk(fd, "C: e ENABLE UIDONLY QRESYNC UTF8=ACCEPT\nP: * EN\nP: e OK\n", AT_ONCE);
    ask(fd, "5 ESEARCH IN (inboxes) 1:*", "5 BAD [UIDREQUIRED]");
    client_send(fd, STR("s SELECT INBOX\r\n"));
    client_until(fd, STR("s OK"));
    home_expunge(&h, h.alice, 1);
    ask(fd, "6 ESEARCH IN (inboxes) RETURN (COUNT) ALL",
        "* ESEARCH (TAG \"6\" MAILBOX INBOX V) UID COUNT 2\n* VANISHED 1\n6 OK [HIGHESTMODSEQ");
    ask(fd, "7 ESEARCH IN (inboxes) RETURN (COUNT) MODSEQ 1",
        "* ESEARCH (TAG \"7\" MAILBOX INBOX V) UID COUNT 1 MODSEQ ");
    buf_fini(&many);
    client_close(h.net, fd);
    home_end(&h);
}

/* A connection that ends in the midst of it, and many mailboxes one after the other. */
static void it_can_be_cut_off(void **state)
{
    enum { N = 120 };
    struct home h;
    struct buf text = {.cap = 1 << 20};
    int fd = make(&h), other;
    for (int i = 0; i < N; i++) {
        buf_clear(&text);
        buf_putf(&text, "c CREATE many/m%d\r\n", i);
        client_send(fd, buf_str(&text));
        client_expect_line(fd, STR("c OK"));
        if (i % 10 == 0) {
            buf_clear(&text);
            buf_putf(&text, "many/m%d", i);
            buf_put(&text, str_from("", 1));
            append(fd, buf_str(&text).p, "here");
        }
    }
    for (int i = 0; i < 20; i++) {
        other = client_select(&h, "SELECT");
        client_send(
            other, STR("x ESEARCH IN (personal) TEXT here\r\ny ESEARCH IN (subtree many) ALL\r\n"));
        client_close(h.net, other);
    }
    client_send(fd, STR("1 ESEARCH IN (subtree many) BODY text UNSEEN\r\n"));
    for (int i = 0; i < N / 10; i++)
        client_expect_line(fd, STR("* ESEARCH (TAG \"1\" MAILBOX many/m"));
    client_expect_line(fd, STR("1 OK"));
    buf_fini(&text);
    client_close(h.net, fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mailboxes_are_searched),
        cmocka_unit_test(the_selected_one_stays),
        cmocka_unit_test(searches_are_bounded),
        cmocka_unit_test(it_can_be_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
