/* AUTH on a submission listener: each dialog is spoken at once and byte by byte. alice's password
 * is "secret". */
#include "smtpd/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HELLO "EHLO client.test\r\n"
#define OFFERS                                                                                     \
    "250-mx.example.test\r\n250-SIZE "                                                             \
    "*\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250-"                \
    "SMTPUTF8\r\n250-LIMITS *\r\n250-DSN\r\n"                                                      \
    "250-ENHANCEDSTATUSCODES\r\n250-AUTH SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN\r\n250 HELP\r\n"
#define PLAIN "AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=" /* NUL alice@example.test NUL secret */
#define WRONG "AGFsaWNlQGV4YW1wbGUudGVzdABndWVzcw==" /* NUL alice@example.test NUL guess */
#define OTHER                                                                                      \
    "Ym9iAGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=" /* bob NUL alice@example.test NUL secret            \
                                                */
#define NAME "YWxpY2VAZXhhbXBsZS50ZXN0"
#define WORD "c2VjcmV0"
#define MAIL "MAIL FROM:<alice@example.test>\r\n"

struct dialog {
    const char *name;
    struct str said;
    const char *heard; /* after the greeting and the answer to EHLO */
};
#define DIALOG(name, said, heard)                                                                  \
    {                                                                                              \
        name, STR_INIT(said), heard                                                                \
    }

static const struct dialog dialogs[] = {
    DIALOG("PLAIN in one line", "AUTH PLAIN " PLAIN "\r\n" MAIL, /* [RFC4954 4] */
           "235 2.7.0 *\r\n250 2.1.0 *\r\n"),
    DIALOG("PLAIN in two", "auth plain\r\n" PLAIN "\r\n", "334 \r\n235 2.7.0 *\r\n"),
    DIALOG("LOGIN", "AUTH LOGIN\r\n" NAME "\r\n" WORD "\r\n",
           "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 2.7.0 *\r\n"),
    DIALOG("LOGIN with the name at once", "AUTH LOGIN " NAME "\r\n" WORD "\r\n",
           "334 UGFzc3dvcmQ6\r\n235 2.7.0 *\r\n"),
    DIALOG("wrong, then right", "AUTH PLAIN " WRONG "\r\nAUTH PLAIN " PLAIN "\r\n",
           "535 5.7.8 *\r\n235 2.7.0 *\r\n"),
    DIALOG("no login, no mail", MAIL "VRFY alice\r\nEXPN a\r\nNOOP\r\nRSET\r\n", /* [RFC4954 6] */
           "530 5.7.0 *\r\n530 5.7.0 *\r\n530 5.7.0 *\r\n250 *\r\n250 *\r\n"),
    DIALOG("a login outlives EHLO and RSET", "AUTH PLAIN " PLAIN "\r\n" HELLO "RSET\r\n" MAIL,
           "235 2.7.0 *\r\n" OFFERS "250 *\r\n250 2.1.0 *\r\n"),
    DIALOG("only once", "AUTH PLAIN " PLAIN "\r\nAUTH PLAIN " PLAIN "\r\n" MAIL "AUTH LOGIN\r\n",
           "235 2.7.0 *\r\n503 5.5.1 *\r\n250 2.1.0 *\r\n503 5.5.1 *\r\n"), /* [RFC4954 4] */
    DIALOG("cancelled", "AUTH PLAIN\r\n*\r\nAUTH LOGIN\r\n" NAME "\r\n*\r\nNOOP\r\n",
           "334 \r\n501 5.7.0 *\r\n334 *\r\n334 *\r\n501 5.7.0 *\r\n250 *\r\n"),
    DIALOG("nothing in it", "AUTH PLAIN =\r\nAUTH PLAIN\r\n\r\nAUTH LOGIN =\r\n=\r\nNOOP\r\n",
           "501 5.5.2 *\r\n334 \r\n501 5.5.2 *\r\n*\r\n*\r\n250 *\r\n"),
    DIALOG("not base 64", "AUTH PLAIN AGF\r\nAUTH PLAIN\r\n!\r\nAUTH LOGIN a b\r\nNOOP\r\n",
           "501 5.5.2 *\r\n334 \r\n501 5.5.2 *\r\n501 5.5.2 *\r\n250 *\r\n"),
    DIALOG("not UTF-8", "AUTH PLAIN AGH/AHg=\r\nAUTH PLAIN AAAA\r\n", /* [RFC4616 2] */
           "501 5.5.2 *\r\n501 5.5.2 *\r\n"),
    DIALOG("for somebody else", "AUTH PLAIN " OTHER "\r\n", "535 5.7.8 *\r\n"),
    DIALOG("unknown mechanisms", "AUTH CRAM-MD5\r\nAUTH\r\nAUTH \xff\r\nAUTH PLAINER " PLAIN "\r\n",
           "504 5.5.4 *\r\n501 5.5.4 *\r\n504 5.5.4 *\r\n504 5.5.4 *\r\n"),
    DIALOG("a NUL, a bare CR", "AUTH PLAIN\r\nAGF\0c\r\nAUTH PLAIN\r\n" PLAIN "\r*\r\nNOOP\r\n",
           "334 \r\n501 5.5.2 *\r\n334 \r\n501 5.5.2 *\r\n250 *\r\n"),
};

static void start(struct fixture *f, bool may_be_plaintext, uint32_t failures)
{
    struct smtpd_conf conf = {.plaintext_on_loopback = may_be_plaintext,
                              .login_failures = failures};
    fixture_start(f, &conf);
    fixture_role(f, SMTPD_SUBMISSION);
}

static void play(const struct dialog *d, size_t step)
{
    struct fixture f;
    start(&f, true, 0);
    int fd = fixture_connect(&f);
    print_message("%s\n", d->name);
    say(fd, STR(HELLO));
    hear(fd, "220 mx.example.test ESMTP Penfold\r\n" OFFERS);
    say_slowly(fd, d->said, step);
    say(fd, STR("QUIT\r\n"));
    hear(fd, d->heard);
    hear(fd, "221 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
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

/* [RFC4954 4]: 12288 octets must fit, and what is longer ends the exchange, not the session. */
static void lines_are_as_long_as_they_may_be(void **state)
{
    enum { LONGEST = 12288 - 2, MORE = 60000 };
    struct fixture f;
    start(&f, true, 0);
    int fd = fixture_connect(&f);
    char *line = malloc(MORE);
    memset(line, 'A', MORE);
    say(fd, STR(HELLO "AUTH PLAIN\r\n"));
    hear(fd, "220 *\r\n" OFFERS "334 \r\n");
    say(fd, str_from(line, LONGEST / 4 * 4));
    say(fd, STR("\r\nAUTH LOGIN\r\n"));
    hear(fd, "50* *\r\n334 *\r\n"); /* whole, and refused by the mechanism */
    say(fd, str_from(line, MORE));
    say(fd, STR("\r\nNOOP\r\n"));
    hear(fd, "500 5.5.6 *\r\n250 *\r\n");
    free(line);
    close(fd);
    fixture_stop(&f);
}

static void without_tls_no_password_is_taken(void **state)
{
    struct fixture f;
    start(&f, false, 0);
    int fd = fixture_connect(&f);
    say(fd, STR(HELLO "AUTH PLAIN " PLAIN "\r\nAUTH LOGIN\r\n" MAIL "QUIT\r\n"));
    hear(fd, "220 *\r\n250-mx.example.test\r\n250-SIZE "
             "*\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250-"
             "SMTPUTF8\r\n250-LIMITS *\r\n250-DSN\r\n"
             "250-ENHANCEDSTATUSCODES\r\n250 HELP\r\n"
             "538 5.7.11 *\r\n538 5.7.11 *\r\n530 5.7.0 Must issue a STARTTLS*\r\n221 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

static void the_mx_has_no_logins(void **state)
{
    struct fixture f;
    fixture_start(&f, &(struct smtpd_conf){.plaintext_on_loopback = true});
    int fd = fixture_greeted(&f);
    say(fd, STR("AUTH PLAIN " PLAIN "\r\nMAIL FROM:<>\r\n"));
    hear(fd, "500 5.5.1 *\r\n250 2.1.0 *\r\n");
    close(fd);
    fixture_stop(&f);
}

static void failures_end_the_session(void **state)
{
    struct fixture f;
    start(&f, true, 2);
    int fd = fixture_connect(&f);
    say(fd, STR(HELLO "AUTH PLAIN " WRONG "\r\nAUTH PLAIN\r\n*\r\nNOOP\r\n"));
    hear(fd, "220 *\r\n" OFFERS "535 5.7.8 *\r\n334 \r\n501 5.7.0 *\r\n421 4.7.0 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

/* Who goes while the login is computed is not waited for, and nothing is left. */
static void a_client_may_go_at_any_time(void **state)
{
    static const char *const said[] = {"AUTH", "AUTH PLAIN\r\n", "AUTH LOGIN\r\n" NAME "\r\n",
                                       "AUTH PLAIN " PLAIN "\r\n"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct fixture f;
        start(&f, true, 0);
        int fd = fixture_connect(&f);
        say(fd, STR(HELLO));
        say(fd, str_of(said[i]));
        close(fd);
        fixture_stop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dialogs_at_once),
        cmocka_unit_test(dialogs_byte_by_byte),
        cmocka_unit_test(lines_are_as_long_as_they_may_be),
        cmocka_unit_test(without_tls_no_password_is_taken),
        cmocka_unit_test(the_mx_has_no_logins),
        cmocka_unit_test(failures_end_the_session),
        cmocka_unit_test(a_client_may_go_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
