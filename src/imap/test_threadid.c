/* THREADID: which messages have the same one, that it never changes, and what it is asked for with
 * [RFC8474 5.2, 5.3, 6, 7]. A new account's threads are numbered from 1 on. */
#include "imap/test_home.h"

enum { AT_ONCE = 1 << 20 };

static void append(int fd, const char *mailbox, const char *id, const char *references)
{
    struct buf text = {.cap = 1000}, talk = {.cap = 2000};
    char line[CLIENT_LINE];
    buf_putf(&text, "Message-ID: <%s@x>\r\n", id);
    if (references)
        buf_putf(&text, "References: %s\r\n", references);
    buf_put(&text, STR("\r\ntext\r\n"));
    buf_putf(&talk, "a APPEND %s {%zu+}\r\n", mailbox, buf_len(&text));
    buf_put(&talk, buf_str(&text));
    buf_put(&talk, STR("\r\n"));
    client_send(fd, buf_str(&talk));
    while (!str_starts(client_line(fd, line, sizeof line), STR("a OK")))
        assert_true(line[0] == '*');
    buf_fini(&text);
    buf_fini(&talk);
}

/* A message that answers others has the thread of the nearest one that was there when it came; one
 * that comes before them begins its own, and never changes it. */
static void answers_have_the_thread_of_what_they_answer(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    int fd = client_select(&h, "SELECT");
    client_talk(fd, "C: c CREATE Other\nP: c OK\n", AT_ONCE);
    append(fd, "INBOX", "one", NULL);
    append(fd, "INBOX", "two", "<one@x>");
    append(fd, "Other", "far", "<two@x>");               /* in another mailbox */
    append(fd, "INBOX", "child", "<root@x> <parent@x>"); /* before its parent */
    append(fd, "INBOX", "parent", "<root@x>");
    append(fd, "INBOX", "grandchild", "<root@x> <parent@x> <child@x>");
    append(fd, "INBOX", "late", "<root@x> <parent@x>");
    append(fd, "INBOX", "one", NULL); /* the same id again */
    client_talk(fd,
                "C: d FETCH 1:* THREADID\n"
                "S: * 1 FETCH (THREADID (T1))\n"
                "S: * 2 FETCH (THREADID (T1))\n"
                "S: * 3 FETCH (THREADID (T2))\n"
                "S: * 4 FETCH (THREADID (T3))\n"
                "S: * 5 FETCH (THREADID (T2))\n"
                "S: * 6 FETCH (THREADID (T3))\n"
                "S: * 7 FETCH (THREADID (T1))\n"
                "S: d OK FETCH completed\n"
                "C: e STATUS Other (MESSAGES)\n"
                "S: * STATUS Other (MESSAGES 1)\n"
                "S: e OK STATUS completed\n"
                "C: f SEARCH THREADID T1\n"
                "S: * SEARCH 1 2 7\n"
                "S: f OK SEARCH completed\n"
                "C: g UID SEARCH OR THREADID T2 THREADID T3 NOT THREADID T1 NOT THREADID T77\n"
                "S: * SEARCH 3 4 5 6\n"
                "S: g OK UID SEARCH completed\n"
                "C: h SEARCH RETURN (COUNT SAVE) THREADID T2\n"
                "S: * ESEARCH (TAG \"h\") COUNT 2\n"
                "S: h OK SEARCH completed\n"
                "C: i FETCH $ (THREADID)\n"
                "S: * 3 FETCH (THREADID (T2))\n"
                "S: * 5 FETCH (THREADID (T2))\n"
                "S: i OK FETCH completed\n"
                "C: j SEARCH THREADID t1\n" /* letters count [RFC8474 7] */
                "S: * SEARCH\n"
                "S: j OK SEARCH completed\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

/* [RFC8474 5.2]: the same for all places of an email; REPLACE makes another email. */
static void copies_have_the_same_thread(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    int fd = client_select(&h, "SELECT"), other = client_select(&h, "SELECT");
    append(fd, "INBOX", "one", NULL);
    append(fd, "INBOX", "two", NULL);
    append(fd, "INBOX", "three", "<one@x>");
    client_talk(other, "C: n NOOP\nS: * 3 EXISTS\nP: n OK\n", AT_ONCE);
    client_talk(fd,
                "C: a CREATE Other\nP: a OK\n"
                "C: b COPY 1 Other\nP: b OK\n"
                "C: c MOVE 1 Other\nP: * OK [COPY\nS: * 1 EXPUNGE\nP: c OK\n"
                "C: d REPLACE 1 INBOX {35+}\n"
                "C: In-Reply-To: <three@x>\n"
                "C: \n"
                "C: instead\n"
                "C: \n"
                "P: * OK [APPENDUID \n"
                "S: * 1 EXPUNGE\n"
                "S: * 2 EXISTS\n"
                "P: d OK\n"
                "C: e FETCH 1:2 (THREADID)\n"
                "S: * 1 FETCH (THREADID (T1))\n"
                "S: * 2 FETCH (THREADID (T1))\n"
                "P: e OK\n",
                AT_ONCE);
    client_talk(other, /* what is gone is still there for it */
                "C: e FETCH 1:3 (THREADID)\n"
                "S: * 1 FETCH (THREADID (T1))\n"
                "S: * 2 FETCH (THREADID (T2))\n"
                "S: * 3 FETCH (THREADID (T1))\n"
                "S: * 4 EXISTS\n"
                "P: e OK\n"
                "C: f SEARCH THREADID T2\n"
                "S: * SEARCH 2\n"
                "P: f OK\n",
                AT_ONCE);
    client_talk(fd,
                "C: f UNSELECT\nP: f OK\n"
                "C: g EXAMINE Other\nP: * FL\nP: * OK [PERM\nS: * 2 EXISTS\nP: * 0 R\n"
                "P: * OK [UNSEEN\nP: * OK [UIDV\nP: * OK [UIDN\nP: * OK [MAILBOXID\nP: g OK\n"
                "C: h UID FETCH 1:2 (EMAILID THREADID)\n"
                "S: * 1 FETCH (UID 1 EMAILID (M1) THREADID (T1))\n"
                "S: * 2 FETCH (UID 2 EMAILID (M1) THREADID (T1))\n"
                "P: h OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    client_close(h.net, other);
    home_assert_sound(&h, h.alice);
    home_end(&h);
}

/* Pages with what else is asked for; keys are counted as those that look at text. */
static void threads_come_in_pages(void **state)
{
    enum { N = 1200 };
    struct home h;
    char line[CLIENT_LINE], expected[100];
    struct buf many = {.cap = 64 << 10};
    home_make(&h);
    home_start(&h);
    home_deliver_many(&h, h.alice, STR("Subject: x\r\n\r\nx\r\n"), N);
    int fd = client_select(&h, "SELECT");
    client_send(fd, STR("a FETCH 1:* (BODY.PEEK[TEXT] THREADID BODY)\r\n"));
    for (unsigned i = 1; i <= N; i++) {
        (void)snprintf(expected, sizeof expected, "* %u FETCH (BODY[TEXT] {3}\r\n", i);
        assert_true(str_eq(client_line(fd, line, sizeof line), str_of(expected)));
        client_line(fd, line, sizeof line);
        (void)snprintf(expected, sizeof expected, " THREADID (T%u) BODY (", i);
        assert_true(str_starts(client_line(fd, line, sizeof line), str_of(expected)));
    }
    client_talk(fd, "P: a OK\n", AT_ONCE);
    buf_put(&many, STR("b SEARCH"));
    for (int i = 0; i < 101; i++)
        buf_put(&many, STR(" THREADID T1"));
    buf_put(&many, STR("\r\n"));
    client_send(fd, buf_str(&many));
    client_talk(fd, "P: b BAD [LIMIT] \n", AT_ONCE);
    buf_fini(&many);
    client_close(h.net, fd);
    home_end(&h);
}

/* What cannot be read is missing, and the session goes on; also where no command has asked
 * [RFC5465 5.2]. */
static void what_cannot_be_read_is_missing(void **state)
{
    struct home h;
    home_make(&h);
    home_start(&h);
    int fd = client_select(&h, "SELECT");
    client_talk(fd,
                "C: a NOTIFY SET (selected (MessageNew (UID THREADID) MessageExpunge))\n"
                "S: a OK NOTIFY completed\n",
                AT_ONCE);
    kv_mem_fail_reads(h.kv, STR("e"), RC_TEMP); /* the records of messages */
    home_deliver(&h, h.alice, "Subject: x\r\n\r\nx\r\n");
    client_talk(fd,
                "S: * 1 EXISTS\n"
                "S: * 1 FETCH (UID 1)\n"
                "C: b NOOP\n"
                "S: b OK NOOP completed\n"
                "C: c FETCH 1 (FLAGS THREADID)\n"
                "S: * 1 FETCH (FLAGS ())\n"
                "P: c NO [UNAVAILABLE] \n",
                AT_ONCE);
    kv_mem_fail_reads(h.kv, STR("e"), RC_OK);
    home_deliver(&h, h.alice, "Subject: x\r\n\r\nx\r\n");
    client_talk(fd,
                "S: * 2 EXISTS\n"
                "S: * 2 FETCH (UID 2 THREADID (T2))\n"
                "C: d FETCH 1 THREADID\n"
                "S: * 1 FETCH (THREADID (T1))\n"
                "P: d OK\n",
                AT_ONCE);
    client_close(h.net, fd);
    home_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_have_the_thread_of_what_they_answer),
        cmocka_unit_test(copies_have_the_same_thread),
        cmocka_unit_test(threads_come_in_pages),
        cmocka_unit_test(what_cannot_be_read_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
