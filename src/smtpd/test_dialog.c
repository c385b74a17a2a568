/* Whole dialogs: each is spoken at once, as a pipelining client would, and byte by byte; the
 * answers are the same. */
#include "smtpd/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELLO    "EHLO client.test\r\n"
#define GREETING "220 mx.example.test ESMTP Penfold\r\n"
#define OFFERS                                                                                     \
    "250-mx.example.test\r\n250-SIZE "                                                             \
    "52428800\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n"             \
    "250-SMTPUTF8\r\n250-LIMITS RCPTMAX=100\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n"             \
    "250 HELP\r\n"
#define MAIL "MAIL FROM:<a@b.test>\r\n"
#define RCPT "RCPT TO:<alice@example.test>\r\n"
#define QUIT "QUIT\r\n"
#define BYE  "221 2.0.0 goodbye\r\n"

struct dialog {
    const char *name;
    struct str said;
    const char *heard; /* after the greeting, without the answer to QUIT */
};
#define DIALOG(name, said, heard)                                                                  \
    {                                                                                              \
        name, STR_INIT(said), heard                                                                \
    }

static const struct dialog dialogs[] = {
    DIALOG("a message", HELLO MAIL RCPT "DATA\r\nSubject: x\r\n\r\ny\r\n.\r\n",
           OFFERS "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n250 2.0.0 message * accepted\r\n"),
    DIALOG("HELO", "HELO client.test\r\n" MAIL RCPT "DATA\r\n.\r\n", /* [RFC5321 4.1.1.1] */
           "250 mx.example.test\r\n250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n250 2.0.0 *\r\n"),
    DIALOG("two messages", HELLO MAIL RCPT "DATA\r\n.\r\n" MAIL RCPT "DATA\r\n.\r\n",
           OFFERS "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n250 2.0.0 *\r\n250 2.1.0 *\r\n250 2.1.5 "
                  "*\r\n354 *\r\n250 2.0.0 *\r\n"),
    DIALOG(
        "verbs in any case",
        "ehlo [192.0.2.1]\r\nehlo client.test.\r\nmail from:<> size=10 body=8bitmime\r\nrcpt to: "
        "<ALICE@Example.Test>\r\nrset \r\n",
        OFFERS OFFERS "250 2.1.0 *\r\n250 2.1.5 *\r\n250 2.0.0 *\r\n"),
    DIALOG("small verbs",
           HELLO "NOOP\r\nNOOP x y\r\nVRFY alice\r\nEXPN list\r\nRSET\r\n", /* [RFC5321 3.5.3] */
           OFFERS "250 2.0.0 *\r\n250 2.0.0 *\r\n252 2.5.0 *\r\n550 5.7.2 *\r\n250 2.0.0 *\r\n"),
    DIALOG("out of order",
           MAIL HELLO RCPT "DATA\r\n" MAIL "DATA\r\n" MAIL RCPT MAIL, /* [RFC5321 4.1.4] */
           "503 5.5.1 *\r\n" OFFERS "503 5.5.1 send MAIL *\r\n503 5.5.1 *\r\n250 2.1.0 *\r\n554 "
           "5.5.1 *\r\n503 5.5.1 *\r\n250 2.1.5 *\r\n"
           "503 5.5.1 *\r\n"),
    DIALOG("EHLO ends a transaction", HELLO MAIL RCPT HELLO "DATA\r\n", /* [RFC5321 4.1.4] */
           OFFERS "250 2.1.0 *\r\n250 2.1.5 *\r\n" OFFERS "503 5.5.1 *\r\n"),
    DIALOG("bad arguments",
           "EHLO\r\nEHLO a b\r\nHELO <x>\r\n" HELLO "DATA now\r\nFOO\r\n\r\nRSET x\r\n",
           "501 5.5.4 *\r\n501 5.5.4 *\r\n501 5.5.4 *\r\n" OFFERS
           "503 *\r\n500 5.5.1 *\r\n500 5.5.1 *\r\n501 5.5.4 *\r\n"),
    DIALOG("bad senders",
           HELLO "MAIL\r\nMAIL TO:<a@b.test>\r\nMAIL FROM:a@b.test\r\nMAIL FROM:<a@b\r\nMAIL "
                 "FROM:<\xc3\xa4@b.test>\r\n",
           OFFERS "501 5.5.4 *\r\n501 5.5.4 *\r\n501 5.1.7 *\r\n501 5.1.7 *\r\n550 5.6.7 *\r\n"),
    DIALOG("bad parameters",
           HELLO "MAIL FROM:<> SIZE=x\r\nMAIL FROM:<> SIZE=1 SIZE=1\r\nMAIL FROM:<> BODY=PLAIN\r\n"
                 "MAIL FROM:<> FOO\r\nMAIL FROM:<> SIZE\r\nMAIL FROM:<> =\r\nMAIL FROM:<>\r\nRCPT "
                 "TO:<alice@example.test> NOTIFY=ALWAYS\r\n",
           OFFERS "501 5.5.4 *\r\n501 5.5.4 *\r\n501 5.5.4 *\r\n555 5.5.4 *\r\n501 5.5.4 *\r\n501 "
                  "5.5.4 *\r\n250 *\r\n501 5.5.4 *\r\n"),
    DIALOG("parameters need EHLO", "HELO c\r\nMAIL FROM:<> SIZE=1\r\n", "250 *\r\n555 5.5.4 *\r\n"),
    DIALOG("too big",
           HELLO "MAIL FROM:<> SIZE=52428801\r\nMAIL FROM:<> SIZE=99999999999999999999\r\nMAIL "
                 "FROM:<> SIZE=52428800\r\n",
           OFFERS "552 5.3.4 *\r\n552 5.3.4 *\r\n250 2.1.0 *\r\n"), /* [RFC1870 6.1] */
    DIALOG("recipients",
           HELLO MAIL
           "RCPT TO:<nobody@example.test>\r\nRCPT TO:<alice@elsewhere.test>\r\nRCPT TO:<>\r\n"
           "RCPT TO:<Postmaster>\r\nRCPT TO:<postmaster@example.test>\r\nRCPT "
           "TO:<@relay.test:bob@example.test>\r\n"
           "RCPT TO:<\"alice\"@example.test>\r\nRCPT TO:<alice%elsewhere.test@example.test>\r\n"
           "RCPT TO:<alice@[127.0.0.1]>\r\n" RCPT,
           OFFERS "250 2.1.0 *\r\n550 5.1.1 *\r\n550 5.7.1 *\r\n501 5.1.3 *\r\n250 2.1.5 *\r\n250 "
                  "2.1.5 *\r\n250 2.1.5 *\r\n"
                  "250 2.1.5 *\r\n550 5.1.1 *\r\n550 5.7.1 *\r\n250 2.1.5 *\r\n"),
    DIALOG("no recipient was valid",
           HELLO MAIL "RCPT TO:<nobody@example.test>\r\nDATA\r\nRSET\r\n", /* [RFC5321 3.3] */
           OFFERS "250 2.1.0 *\r\n550 5.1.1 *\r\n554 5.5.1 *\r\n250 2.0.0 *\r\n"),
    DIALOG("bad lines",
           HELLO "NOOP\nNOOP\r\nNOOP\rNOOP\r\nNO\0OP\r\nNOOP\r\n", /* [RFC5321 2.3.8] */
           OFFERS "500 5.5.2 *\r\n500 5.5.2 *\r\n500 5.5.2 *\r\n250 2.0.0 *\r\n"),
    DIALOG("no TLS here", HELLO "STARTTLS\r\nNOOP\r\n", OFFERS "502 5.5.1 *\r\n250 2.0.0 *\r\n"),
    DIALOG("a chunk", HELLO MAIL RCPT "BDAT 17 LAST\r\nSubject: x\r\n\r\ny\r\n", /* [RFC3030 4.1] */
           OFFERS "250 2.1.0 *\r\n250 2.1.5 *\r\n250 2.0.0 message * accepted\r\n"),
    DIALOG("chunks",
           HELLO MAIL RCPT "BDAT 5\r\nSubjeBDAT 0\r\nbdat 8\r\nct: x\r\n\r"
                           "BDAT 2\r\n\nyBDAT 0 last\r\n",
           OFFERS "250 *\r\n250 *\r\n250 2.0.0 5 octets so far\r\n250 2.0.0 5 *\r\n250 2.0.0 13 "
                  "*\r\n250 2.0.0 15 *\r\n250 2.0.0 message *\r\n"),
    DIALOG("two messages in chunks",
           HELLO MAIL RCPT "BDAT 1 LAST\r\nx" MAIL RCPT "BDAT 0 LAST\r\n" MAIL RCPT "DATA\r\n.\r\n",
           OFFERS "250 *\r\n250 *\r\n250 2.0.0 message *\r\n250 *\r\n250 *\r\n250 2.0.0 message "
                  "*\r\n250 *\r\n250 *\r\n354 *\r\n250 2.0.0 message *\r\n"),
    DIALOG("chunks out of order",
           "BDAT 6\r\nQUIT\r\n" HELLO "BDAT 6 LAST\r\nQUIT\r\n" MAIL
           "BDAT 6 LAST\r\nQUIT\r\nRCPT TO:<nobody@example.test>\r\nBDAT 6\r\nQUIT\r\n" RCPT,
           "503 5.5.1 send EHLO*\r\n" OFFERS "503 5.5.1 send MAIL*\r\n250 *\r\n554 5.5.1 *\r\n550 "
           "5.1.1 *\r\n554 5.5.1 *\r\n250 2.1.5 *\r\n"),
    DIALOG("chunks and DATA do not mix",
           HELLO MAIL RCPT "BDAT 2\r\nxxDATA\r\n" RCPT MAIL
                           "BDAT 0 LAST\r\nBDAT 2 LAST\r\nxx", /* [RFC3030 2] */
           OFFERS "250 *\r\n250 *\r\n250 *\r\n503 5.5.1 *\r\n503 5.5.1 *\r\n503 5.5.1 *\r\n250 "
                  "2.0.0 message *\r\n503 5.5.1 *\r\n"),
    DIALOG("RSET between chunks",
           HELLO MAIL RCPT "BDAT 2\r\nxxRSET\r\nBDAT 2 LAST\r\nxx" MAIL RCPT "DATA\r\n.\r\n",
           OFFERS "250 *\r\n250 *\r\n250 *\r\n250 2.0.0 ok\r\n503 *\r\n250 *\r\n250 *\r\n354 "
                  "*\r\n250 2.0.0 message *\r\n"),
    DIALOG("EHLO between chunks", HELLO MAIL RCPT "BDAT 2\r\nxx" HELLO "BDAT 2 LAST\r\nxx" MAIL,
           OFFERS "250 *\r\n250 *\r\n250 *\r\n" OFFERS "503 *\r\n250 *\r\n"),
    DIALOG(
        "a refused chunk refuses the message",
        HELLO MAIL RCPT "BDAT 2\r\nx\nBDAT 3\r\n\r\nyBDAT 1 LAST\r\nz" MAIL,
        OFFERS
        "250 *\r\n250 *\r\n550 5.6.0 *bare LF*\r\n550 5.6.0 *\r\n550 5.6.0 *\r\n250 2.1.0 *\r\n"),
    DIALOG("a CR at the end of the last chunk", HELLO MAIL RCPT "BDAT 2\r\nx\rBDAT 0 LAST\r\n",
           OFFERS "250 *\r\n250 *\r\n250 *\r\n550 5.6.0 *bare CR*\r\n"),
    DIALOG("a marker that is none",
           HELLO MAIL RCPT "BDAT 6 FIRST\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n",
           OFFERS "250 *\r\n250 *\r\n501 5.5.4 *BDAT*\r\n501 5.5.4 *BDAT*\r\n250 *\r\n"),
    DIALOG("binary",
           HELLO "MAIL FROM:<> BODY=BINARYMIME\r\n" RCPT "DATA\r\nBDAT 9 LAST\r\nx\0\n\r\r.\n\xff"
                 "y", /* [RFC3030 3] */
           OFFERS "250 *\r\n250 *\r\n503 5.5.1 BINARYMIME *\r\n250 2.0.0 message *\r\n"),
    DIALOG("UTF-8",
           HELLO "MAIL FROM:<j\xc3\xb6rg@m\xc3\xbcller.test> SMTPUTF8\r\nRCPT "
                 "TO:<\xc3\xa4@example.test>\r\n" RCPT
                 "RCPT TO:<\xc3\xb6@\xc3\xa4.test>\r\n" /* [RFC6531 3.5] */
                 "RSET\r\nMAIL FROM:<\xc3\xa4@b.test>\r\nMAIL FROM:<> SMTPUTF8=1\r\nMAIL "
                 "FROM:<\xc3@b.test> SMTPUTF8\r\n" MAIL "RCPT TO:<\xc3\xa4@example.test>\r\n",
           OFFERS "250 2.1.0 *\r\n550 5.1.1 *\r\n250 2.1.5 *\r\n550 5.7.1 *\r\n250 2.0.0 *\r\n550 "
                  "5.6.7 *\r\n501 5.5.4 *\r\n501 5.1.7 *\r\n250 2.1.0 *\r\n553 5.6.7 *\r\n"),
    DIALOG(
        "wishes for reports",
        HELLO
        "MAIL FROM:<> RET=ALL\r\nMAIL FROM:<> ENVID=a=b\r\nMAIL FROM:<> RET=FULL RET=HDRS\r\nMAIL "
        "FROM:<> RET=hdrs ENVID=QQ314159\r\n" /* [RFC3461 5.1] */
        "RCPT TO:<alice@example.test> NOTIFY=NEVER,DELAY\r\nRCPT TO:<alice@example.test> "
        "ORCPT=alice\r\nRCPT TO:<alice@example.test> NOTIFY=NEVER NOTIFY=NEVER\r\n"
        "RCPT TO:<alice@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alice@example.test\r\n",
        OFFERS "501 5.5.4 *\r\n501 5.5.4 *\r\n501 5.5.4 *\r\n250 2.1.0 *\r\n501 5.5.4 *\r\n501 "
               "5.5.4 *\r\n501 5.5.4 *\r\n250 2.1.5 *\r\n"),
    DIALOG("dots", HELLO MAIL RCPT "DATA\r\n..\r\n...x\r\n.\r\nNOOP\r\n",
           OFFERS "250 *\r\n250 *\r\n354 *\r\n250 2.0.0 message *\r\n250 2.0.0 ok\r\n"),
};

static void play(const struct dialog *d, size_t step)
{
    struct fixture f;
    char heard[4096];
    fixture_start(&f, NULL);
    int fd = fixture_connect(&f);
    say_slowly(fd, d->said, step);
    say_slowly(fd, STR(QUIT), step);
    snprintf(heard, sizeof heard, "%s%s%s", GREETING, d->heard, BYE);
    print_message("%s\n", d->name);
    hear(fd, heard);
    hear_end(fd);
    fixture_stop(&f);
}

/* [RFC2033 4.1] [RFC2033 4.2] */
static const char lmtp_said[] =
    "EHLO client.test\r\nHELO client.test\r\n" MAIL "LHLO client.test\r\n" RCPT "DATA\r\n" MAIL
    "DATA\r\nEXPN list\r\nQUIT\r\n";
static const char lmtp_heard[] =
    "220 mx.example.test LMTP Penfold\r\n500 5.5.1 *\r\n500 5.5.1 *\r\n503 5.5.1 send "
    "LHLO*\r\n" OFFERS "503 5.5.1 send MAIL*\r\n503 5.5.1 *\r\n250 2.1.0 *\r\n503 5.5.1 "
    "*\r\n500 5.5.1 *\r\n" BYE;

static void lmtp_has_commands_of_its_own(void **state)
{
    for (size_t step = 1; step < sizeof lmtp_said; step += sizeof lmtp_said - 2) {
        struct fixture f;
        fixture_start(&f, NULL);
        fixture_role(&f, SMTPD_LMTP);
        int fd = fixture_connect(&f);
        say_slowly(fd, str_of(lmtp_said), step);
        hear(fd, lmtp_heard);
        hear_end(fd);
        fixture_stop(&f);
    }
}

static void dialogs_at_once(void **state)
{
    for (size_t i = 0; i < sizeof dialogs / sizeof *dialogs; i++)
        play(&dialogs[i], dialogs[i].said.n);
}

static void dialogs_byte_by_byte(void **state)
{
    for (size_t i = 0; i < sizeof dialogs / sizeof *dialogs; i++)
        play(&dialogs[i], 1);
}

/* Nobody can say where the next command begins: the session ends. */
static void a_chunk_without_a_size_ends_the_session(void **state)
{
    static const char *const arguments[] = {"",   " LAST",  " -1",      " 99999999999999999999",
                                            " x", " 5LAST", " 0x5 LAST"};
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        struct fixture f;
        fixture_start(&f, NULL);
        int fd = fixture_greeted(&f);
        say(fd, STR(MAIL RCPT "BDAT"));
        say(fd, str_of(arguments[i]));
        say(fd, STR("\r\nRSET\r\n" MAIL));
        hear(fd, "250 *\r\n250 *\r\n501 5.5.4 *BDAT*\r\n421 4.7.0 *\r\n");
        hear_end(fd);
        fixture_stop(&f);
    }
}

static void a_long_line_is_told_and_skipped(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_greeted(&f);
    char *line = malloc(200000);
    memset(line, 'x', 200000);
    say(fd, str_from(line, 200000));
    say(fd, STR("\r\nNOOP\r\n"));
    hear(fd, "500 5.5.2 line too long\r\n250 2.0.0 ok\r\n");
    free(line);
    close(fd);
    fixture_stop(&f);
}

static void errors_end_the_session(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.errors = 3};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    say(fd, STR("FOO\r\nFOO\r\nNOOP\r\nFOO\r\nNOOP\r\n"));
    hear(fd, "500 *\r\n500 *\r\n250 *\r\n500 *\r\n421 4.7.0 too many errors*\r\n");
    hear_end(fd);
    assert_int_equal(counter_get(&f.counters, COUNTER_SMTP_REFUSED), 4);
    fixture_stop(&f);
}

static void idling_ends_the_session(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.idle_commands = 4};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    say(fd, STR("NOOP\r\nNOOP\r\nNOOP\r\n" MAIL RCPT "DATA\r\n.\r\n" MAIL
                "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n"));
    hear(fd, "250 *\r\n250 *\r\n250 *\r\n250 *\r\n250 *\r\n354 *\r\n250 *\r\n250 2.1.0 *\r\n250 "
             "*\r\n250 *\r\n250 *\r\n250 *\r\n"
             "250 *\r\n421 4.7.0 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

static void recipients_have_a_limit(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.recipients = 2};
    fixture_start(&f, &conf);
    int fd = fixture_greeted(&f);
    say(fd, STR(MAIL RCPT "RCPT TO:<bob@example.test>\r\n" RCPT "DATA\r\n.\r\n"));
    hear(fd,
         "250 *\r\n250 *\r\n250 *\r\n452 4.5.3 *\r\n354 *\r\n250 *\r\n"); /* [RFC5321 4.5.3.1.10] */
    fixture_await(&f, f.alice, 1);
    fixture_await(&f, f.bob, 1);
    close(fd);
    fixture_stop(&f);
}

static void silence_ends_the_session(void **state)
{
    struct fixture f;
    struct smtpd_conf conf = {.command_ms = 30, .data_ms = 60};
    fixture_start(&f, &conf);
    int idle = fixture_connect(&f);
    hear(idle, GREETING "421 4.4.2 *\r\n"); /* [RFC5321 4.5.3.2.7] */
    hear_end(idle);
    int slow = fixture_in_data(&f);
    say(slow, STR("Subject: never finished\r\n"));
    hear(slow, "421 4.4.2 *\r\n");
    hear_end(slow);
    assert_int_equal(fixture_count(&f, f.alice), 0);
    fixture_stop(&f);
}

static void a_half_closed_client_gets_its_answers(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int fd = fixture_connect(&f);
    say(fd, STR(HELLO MAIL RCPT "DATA\r\nx\r\n.\r\nNOOP\r\nunfinished"));
    shutdown(fd, SHUT_WR);
    hear(fd, GREETING OFFERS "250 *\r\n250 *\r\n354 *\r\n250 2.0.0 message *\r\n250 2.0.0 ok\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

static void draining_says_goodbye_after_the_message(void **state)
{
    struct fixture f;
    fixture_start(&f, NULL);
    int idle = fixture_greeted(&f), busy = fixture_in_data(&f);
    net_drain(f.net);
    hear(idle, "421 4.3.2 *\r\n");
    hear_end(idle);
    say(busy, STR("x\r\n.\r\n"));
    hear(busy, "250 2.0.0 message *\r\n421 4.3.2 *\r\n");
    hear_end(busy);
    assert_int_equal(fixture_count(&f, f.alice), 1);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dialogs_at_once),
        cmocka_unit_test(dialogs_byte_by_byte),
        cmocka_unit_test(lmtp_has_commands_of_its_own),
        cmocka_unit_test(a_chunk_without_a_size_ends_the_session),
        cmocka_unit_test(a_long_line_is_told_and_skipped),
        cmocka_unit_test(errors_end_the_session),
        cmocka_unit_test(idling_ends_the_session),
        cmocka_unit_test(recipients_have_a_limit),
        cmocka_unit_test(silence_ends_the_session),
        cmocka_unit_test(a_half_closed_client_gets_its_answers),
        cmocka_unit_test(draining_says_goodbye_after_the_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
