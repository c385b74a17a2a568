/* What is refused and what is told: relaying, full mailboxes and disks, VRFY, loops, clients that
 * flood or dawdle; and what the trace says. */
#include "smtpd/fixture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TO_ALICE "MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\n"

/* Every form that some server was once made to relay by. None of these is anybody here. */
static const char *const relays[] = {
    "victim@elsewhere.test",
    "victim%elsewhere.test@example.test",
    "victim%elsewhere.test@mx.example.test",
    "victim%elsewhere.test",
    "victim%elsewhere.test@[127.0.0.1]",
    "victim%elsewhere.test@localhost",
    "\"victim@elsewhere.test\"@example.test",
    "\"victim%elsewhere.test\"@example.test",
    "\"victim@elsewhere.test\"",
    "@example.test:victim@elsewhere.test",
    "@mx.example.test,@example.test:victim@elsewhere.test",
    "@elsewhere.test:victim@elsewhere.test",
    "@[127.0.0.1]:victim@elsewhere.test",
    "elsewhere.test!victim@example.test",
    "elsewhere.test!victim",
    "example.test!victim@elsewhere.test",
    "elsewhere.test!victim@[127.0.0.1]",
    "\"elsewhere.test!victim\"@example.test",
    "victim@elsewhere.test@example.test",
    "victim@example.test@elsewhere.test",
    "alice@example.test@elsewhere.test",
    "alice@example.test,victim@elsewhere.test",
    "alice@example.test:victim@elsewhere.test",
    "alice@example.test\\@elsewhere.test",
    "victim\\@elsewhere.test@example.test",
    "victim@[127.0.0.1]",
    "alice@[127.0.0.1]",
    "alice@[IPv6:::1]",
    "alice@[192.0.2.1]",
    "alice@localhost",
    "alice@127.0.0.1",
    "alice@example.test.elsewhere.test",
    "alice@sub.example.test",
    "alice@elsewhere.example.test",
    "alice@xexample.test",
    "alice@example.tes",
    "alice@test",
    "alice@example_test",
    "alice@mx.example.test",
    "IMCEASMTP-victim+40elsewhere+2Etest@example.test",
    "/O=x/@example.test",
    "|/bin/sh@example.test",
    "\"|/bin/sh\"@example.test",
    "/etc/passwd@example.test",
    "\"/etc/passwd\"@example.test",
    ":include:/etc/passwd@example.test",
    /* look-alikes: a wide "e", Cyrillic letters, a wide dot and a wide "@" */
    "alice@\xef\xbd\x85xample.test",
    "alice@\xd0\xb5xample.test",
    "alice@example\xe3\x80\x82test",
    "alice@example\xef\xbc\x8etest",
    "\xd0\xb0lice@example.test",
    "\xef\xbd\x81lice@example.test",
    "victim\xef\xbc\xa0"
    "elsewhere.test@example.test",
    "alice@example.test\xe2\x80\x8b",
    "alice\xe2\x80\x8b@example.test",
    "\xe2\x80\xae"
    "ecila@example.test",
};

static void this_is_no_open_relay(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.errors = 1000};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    for (size_t i = 0; i < sizeof relays / sizeof *relays; i++) {
        struct buf command;
        buf_init(&command, 1024);
        buf_putf(&command,
                 "MAIL FROM:<alice@example.test> SMTPUTF8\r\nRCPT TO:<%s>\r\nDATA\r\nRSET\r\n",
                 relays[i]);
        print_message("%s\n", relays[i]);
        say(fd, buf_str(&command));
        hear(fd, "250 2.1.0 *\r\n5*\r\n554 5.5.1 *\r\n250 2.0.0 ok\r\n");
        buf_fini(&command);
    }
    close(fd);
    fixture_stop(&f);
    assert_int_equal(counter_get(&f.counters, COUNTER_SMTP_MESSAGES), 0);
}

static void a_full_mailbox_may_be_refused_for_good(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.over_quota_refuses = true};
    fixture_start(&f, &conf);
    fixture_quota(&f, f.alice, 100);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<> SIZE=1000\r\nRCPT TO:<alice@example.test>\r\nRSET\r\n" TO_ALICE
                "DATA\r\n"));
    hear(fd, "250 *\r\n552 5.2.2 mailbox full\r\n250 *\r\n250 *\r\n250 *\r\n354 *\r\n");
    say(fd, STR("this is more than fits into it\r\n.\r\n"));
    hear(fd, "552 5.2.2 mailbox full\r\n");
    close(fd);
    fixture_stop(&f);
}

static void a_full_disk_is_told_at_mail(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    kv_mem_shrink(f.kv, 1000);
    int fd = fixture_greeted(&f);
    say(fd,
        STR("MAIL FROM:<> SIZE=1001\r\nMAIL FROM:<> SIZE=1000\r\nRSET\r\n")); /* [RFC1870 6.1] */
    hear(fd, "452 4.3.1 *\r\n250 2.1.0 *\r\n250 *\r\n");
    kv_mem_fail(f.kv, RC_TEMP);
    say(fd, STR(TO_ALICE "DATA\r\n.\r\nMAIL FROM:<>\r\n"));
    hear(fd, "250 *\r\n250 *\r\n354 *\r\n451 4.3.0 *\r\n451 4.3.0 *\r\n");
    close(fd);
    fixture_stop(&f);
}

static void vrfy_tells_where_it_may(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.vrfy = true};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    say(fd, STR("VRFY alice@example.test\r\nVRFY <\"alice\"@Example.Test> SMTPUTF8\r\nVRFY "
                "Postmaster\r\n")); /* [RFC5321 3.5.3] */
    hear(fd, "250 2.1.5 <alice@example.test>\r\n250 2.1.5 <alice@Example.Test>\r\n250 2.1.5 "
             "<Postmaster>\r\n");
    say(fd, STR("VRFY nobody@example.test\r\nVRFY alice@elsewhere.test\r\nVRFY alice\r\nVRFY <>\r\n"
                "VRFY <a@example.test> x\r\nEXPN alice@example.test\r\nVRFY \xc3\xa4@example.test "
                "SMTPUTF8\r\n"));
    hear(fd, "550 5.1.1 *\r\n550 5.7.1 *\r\n501 5.1.3 *\r\n501 5.1.3 *\r\n501 5.1.3 *\r\n550 5.7.2 "
             "*\r\n550 5.1.1 *\r\n");
    close(fd);
    fixture_stop(&f);
}

static void what_comes_back_too_often_is_a_loop(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_in_data(&f);
    for (int i = 0; i < 10; i++)
        say(fd, STR("Received: from x by MX.example.test with ESMTP; now\r\nReceived: by "
                    "other.test\r\n"));
    say(fd, STR("Received: from mx.example.test by mx.example.test.other.test\r\n\r\n.\r\n"));
    hear(fd, "250 2.0.0 *\r\n");
    say(fd, STR(TO_ALICE "DATA\r\n"));
    for (int i = 0; i < 11; i++)
        say(fd, STR("Received: from x\r\n\tby mx.example.test; now\r\n"));
    say(fd, STR("\r\n.\r\n"));
    hear(fd, "250 *\r\n250 *\r\n354 *\r\n554 5.4.6 *\r\n"); /* [RFC5321 6.3] */
    close(fd);
    fixture_stop(&f);
}

static void assert_trace(struct fixture *f, size_t index, const char *pattern)
{
    struct buf b;
    buf_init(&b, 4096);
    fixture_read(f, f->alice, index, &b);
    assert_rc(buf_add_byte(&b, '\0'), RC_OK);
    if (strstr(buf_str(&b).p, pattern) == NULL)
        fail_msg("no %s in:\n%s", pattern, buf_str(&b).p);
    buf_fini(&b);
}

static void the_trace_names_the_protocol(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_greeted(&f);
    say(fd, STR("MAIL FROM:<\xc3\xa4@m\xc3\xbcller.test> SMTPUTF8\r\nRCPT "
                "TO:<alice@example.test>\r\nBDAT 0 LAST\r\n"
                "HELO c\r\n" TO_ALICE "DATA\r\n.\r\n"));
    hear(fd,
         "250 *\r\n250 *\r\n250 *\r\n250 mx.example.test\r\n250 *\r\n250 *\r\n354 *\r\n250 *\r\n");
    assert_trace(&f, 0, "Return-Path: <\xc3\xa4@m\xc3\xbcller.test>\r\n"); /* [RFC6531 3.7.3] */
    assert_trace(&f, 0, "by mx.example.test with UTF8SMTP\r\n");           /* [RFC6531 4.3] */
    assert_trace(&f, 1, "by mx.example.test with SMTP\r\n");
    close(fd);
    fixture_stop(&f);
}

/* Reads answers until so many lines have come; each must begin like that. */
static void hear_many(int fd, const char *line, size_t count)
{
    size_t n = strlen(line);
    char *expected = malloc(n * 100 + 1);
    for (size_t i = 0; i < 100; i++)
        memcpy(expected + i * n, line, n + 1);
    for (size_t i = 0; i < count; i += 100)
        hear(fd, expected);
    free(expected);
}

static void a_hundred_thousand_commands_at_once(void **state)
{
    enum { ROUNDS = 100, EACH = 1000 };
    struct fixture f;
    struct smtpd_conf conf = {.idle_commands = ROUNDS * EACH + 1};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    struct buf b;
    buf_init(&b, 64 << 10);
    for (int i = 0; i < EACH; i++)
        buf_put(&b, STR("NOOP\r\n"));
    for (int i = 0; i < ROUNDS; i++) {
        say(fd, buf_str(&b)); /* [RFC2920 3.2] */
        hear_many(fd, "250 2.0.0 ok\r\n", EACH);
    }
    buf_fini(&b);
    say(fd, STR("QUIT\r\n"));
    hear(fd, "221 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

/* Before and after RSET, in each state: [RFC5321 4.1.1.5]. */
static void rset_in_every_state(void **state)
{
    static const struct {
        struct str before;
        const char *heard;
    } rows[] = {
        {STR_INIT(""), ""},
        {STR_INIT("EHLO c\r\n"), NULL},
        {STR_INIT("HELO c\r\n"), "250 *\r\n"},
        {STR_INIT("HELO c\r\nMAIL FROM:<>\r\n"), "250 *\r\n250 *\r\n"},
        {STR_INIT("HELO c\r\n" TO_ALICE), "250 *\r\n250 *\r\n250 *\r\n"},
        {STR_INIT("HELO c\r\n" TO_ALICE "DATA\r\nRSET\r\n.\r\n"),
         "250 *\r\n250 *\r\n250 *\r\n354 *\r\n250 *\r\n"},
        {STR_INIT("HELO c\r\n" TO_ALICE "BDAT 6\r\nRSET\r\n"),
         "250 *\r\n250 *\r\n250 *\r\n250 *\r\n"},
        {STR_INIT("HELO c\r\n" TO_ALICE "BDAT 6 LAST\r\nRSET\r\n"),
         "250 *\r\n250 *\r\n250 *\r\n250 *\r\n"},
        {STR_INIT("HELO c\r\n" TO_ALICE "BDAT 1\r\n\nBDAT 1\r\nx"),
         "250 *\r\n250 *\r\n250 *\r\n550 *\r\n550 *\r\n"},
        {STR_INIT("HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\n"),
         "250 *\r\n250 *\r\n550 *\r\n"},
        {STR_INIT("FOO\r\n"), "500 *\r\n"},
    };
    struct fixture f;
    fixture_start(&f, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = rows[i].heard ? fixture_connect(&f) : fixture_greeted(&f);
        if (rows[i].heard) {
            hear(fd, "220 *\r\n");
            say(fd, rows[i].before);
            hear(fd, rows[i].heard);
        }
        say(fd, STR("RSET\r\nRSET\r\nRCPT TO:<alice@example.test>\r\nEHLO c\r\n"));
        hear(fd, "250 2.0.0 ok\r\n250 2.0.0 ok\r\n503 "
                 "*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n250-*\r\n"
                 "250-*\r\n250-*\r\n250-*\r\n250 HELP\r\n");
        say(fd, STR(TO_ALICE "DATA\r\n.\r\nQUIT\r\n"));
        hear(fd, "250 *\r\n250 *\r\n354 *\r\n250 2.0.0 message *\r\n221 *\r\n");
        hear_end(fd);
    }
    fixture_stop(&f);
}

/* Who is refused and goes on and on is told why, and left. */
static void a_slow_refused_message_is_cut(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.data_ms = 50, .message_size = 1000};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    struct buf b;
    buf_init(&b, 4096);
    buf_put(&b, STR(TO_ALICE "DATA\r\n"));
    for (int i = 0; i < 1200; i++)
        buf_put(&b, STR("x"));
    say(fd, buf_str(&b));
    buf_fini(&b);
    hear(fd, "250 *\r\n250 *\r\n354 *\r\n552 5.3.4 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

/* Sends an octet now and then until the server has had enough; what it says then. */
static void trickle(int fd, const char *heard)
{
    enum { MOST = 4000 };
    struct pollfd p = {fd, POLLIN, 0};
    int i = 0;
    while (i < MOST && poll(&p, 1, 5) == 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
        i++;
    assert_true(i < MOST);
    hear(fd, heard);
    hear_end(fd);
}

/* Octets that keep coming are not enough: a message has a time in all, which grows with what came.
 */
static void what_trickles_is_cut(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.data_ms = 60, .data_rate = 1 << 30, .message_size = 1000};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    say(fd, STR(TO_ALICE "DATA\r\nx"));
    hear(fd, "250 *\r\n250 *\r\n354 *\r\n");
    trickle(fd, "421 4.4.2 *\r\n");
    fd = fixture_greeted(&f);
    say(fd, STR(TO_ALICE "BDAT 1000 LAST\r\nx"));
    hear(fd, "250 *\r\n250 *\r\n");
    trickle(fd, "421 4.4.2 *\r\n");
    fd = fixture_greeted(&f);
    say(fd, STR(TO_ALICE "BDAT 1001 LAST\r\nx"));
    hear(fd, "250 *\r\n250 *\r\n");
    trickle(fd, "552 5.3.4 *\r\n");
    fd = fixture_greeted(&f);
    say(fd, STR("BDAT 1000 LAST\r\nx"));
    trickle(fd, "421 4.4.2 *\r\n");
    assert_int_equal(fixture_count(&f, f.alice), 0);
    fixture_stop(&f);
}

/* However much time a message that is wanted would have: `data_rate` gives a second for each octet.
 */
static void what_is_refused_has_less_time(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.data_ms = 100, .data_rate = 1, .message_size = 100000};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    say(fd, STR(TO_ALICE "BDAT 150000 LAST\r\nx"));
    hear(fd, "250 *\r\n250 *\r\n");
    trickle(fd, "552 5.3.4 *\r\n");
    fd = fixture_greeted(&f);
    say(fd, STR("BDAT 150000 LAST\r\nx"));
    trickle(fd, "421 4.4.2 *\r\n");
    fixture_stop(&f);
}

/* Refusals for now are no errors; but nobody asks for ever. */
static void recipients_beyond_the_limit_have_an_end(void **state)
{
    enum { MORE = 1000 };
    struct fixture f;
    struct smtpd_conf conf = {.recipients = 1};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    struct buf b;
    buf_init(&b, 64 << 10);
    for (int i = 0; i < MORE; i++)
        buf_put(&b, STR("RCPT TO:<alice@example.test>\r\n"));
    say(fd, STR(TO_ALICE));
    hear(fd, "250 *\r\n250 *\r\n");
    say(fd, buf_str(&b));
    buf_fini(&b);
    hear_many(fd, "452 4.5.3 too many recipients, send the message again for the others\r\n", MORE);
    say(fd, STR("RCPT TO:<alice@example.test>\r\n"));
    hear(fd, "452 4.5.3 *\r\n421 4.7.0 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_is_no_open_relay),
        cmocka_unit_test(a_full_mailbox_may_be_refused_for_good),
        cmocka_unit_test(a_full_disk_is_told_at_mail),
        cmocka_unit_test(vrfy_tells_where_it_may),
        cmocka_unit_test(what_comes_back_too_often_is_a_loop),
        cmocka_unit_test(the_trace_names_the_protocol),
        cmocka_unit_test(a_hundred_thousand_commands_at_once),
        cmocka_unit_test(rset_in_every_state),
        cmocka_unit_test(a_slow_refused_message_is_cut),
        cmocka_unit_test(what_trickles_is_cut),
        cmocka_unit_test(what_is_refused_has_less_time),
        cmocka_unit_test(recipients_beyond_the_limit_have_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
