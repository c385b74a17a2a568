/* What is submitted: by whom, to whom, and how it looks when it has arrived. */
#include "smtpd/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PLAIN "AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=" /* NUL alice@example.test NUL secret */
#define FROM  "From: Alice <alice@example.test>\r\n"
#define DATE  "Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
#define ID    "Message-ID: <one@client.test>\r\n"

static void start(struct fixture *f, bool is_any_from)
{
    struct smtpd_conf conf = {.plaintext_on_loopback = true, .is_any_from = is_any_from};
    fixture_start(f, &conf);
    fixture_role(f, SMTPD_SUBMISSION);
}

static int logged_in(struct fixture *f)
{
    return fixture_logged_in(f, "secret-host.test");
}

/* Submits to bob; `heard` is the answer to the message. */
static void submit(int fd, struct str message, const char *heard, size_t step)
{
    say(fd, STR("MAIL FROM:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"));
    hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n");
    say_slowly(fd, message, step);
    say(fd, STR(".\r\n"));
    hear(fd, heard);
}

/* --- what arrives ----------------------------------------------------------------------------- */

/* '*' in `after` stands for one line's rest; it is compared with what follows the trace fields. */
static void arrives_from_as(bool is_any_from, const char *message, const char *after)
{
    struct fixture f;
    struct buf got;
    start(&f, is_any_from);
    buf_init(&got, 1 << 20);
    for (size_t i = 0; i < 2; i++) {
        int fd = logged_in(&f);
        submit(fd, str_of(message), "250 2.0.0 message *\r\n", i ? 1 : 100000);
        close(fd);
        fixture_await(&f, f.bob, i + 1);
        buf_clear(&got);
        fixture_read(&f, f.bob, i, &got);
        ptrdiff_t end = str_find(buf_str(&got), STR("+0000\r\n")); /* of Received */
        assert_true(end > 0);
        struct str rest = str_skip(buf_str(&got), (size_t)end + 7);
        char *text = malloc(rest.n + 1);
        memcpy(text, rest.p, rest.n);
        text[rest.n] = '\0';
        if (!hear_matches(text, after))
            fail_msg("%s\narrived as:\n%s\ninstead of:\n%s", message, text, after);
        free(text);
        struct str trace = str_head(buf_str(&got), (size_t)end);
        assert_true(str_starts(trace, STR("Return-Path: <alice@example.test>\r\nReceived: from "
                                          "client.invalid (authenticated)\r\n\tby ")));
        assert_true(str_find(trace, STR(" with ESMTPA\r\n")) > 0); /* [RFC3848] */
        assert_true(str_find(buf_str(&got), STR("secret-host")) < 0);
        assert_true(str_find(trace, STR("local")) < 0);
    }
    buf_fini(&got);
    fixture_stop(&f);
}

static void arrives_as(const char *message, const char *after)
{
    arrives_from_as(false, message, after);
}

static void what_is_missing_is_added(void **state) /* [RFC6409 8.2] [RFC6409 8.3] */
{
    arrives_as(FROM DATE ID "\r\ntext\r\n", FROM DATE ID "\r\ntext\r\n");
    arrives_as(FROM ID "\r\ntext\r\n", "Date: *\r\n" FROM ID "\r\ntext\r\n");
    arrives_as(FROM "date: today\r\n\r\ntext\r\n",
               "Message-ID: <*@mx.example.test>\r\n" FROM "date: today\r\n\r\ntext\r\n");
    arrives_as(FROM "\r\nDate: of the text\r\n",
               "Date: *\r\nMessage-ID: <*>\r\n" FROM "\r\nDate: of the text\r\n");
    arrives_as(FROM "Subject: no text\r\n",
               "Date: *\r\nMessage-ID: <*>\r\n" FROM "Subject: no text\r\n");
}

/* Text without a header does not become a part of the fields that are added. */
static void text_alone_stays_text(void **state)
{
    static const char added[] = "Date: *\r\nMessage-ID: <*>\r\n\r\n";
    static const char *const texts[] = {"no field\r\nat all\r\n", " From: bob@example.test\r\n",
                                        "\tfolded\r\n\r\nmore\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char after[256];
        snprintf(after, sizeof after, "%s%s", added, texts[i]);
        arrives_from_as(true, texts[i], after);
    }
    arrives_from_as(true, "\r\ntext\r\n", "Date: *\r\nMessage-ID: <*>\r\n\r\ntext\r\n");
    arrives_from_as(true, "Subject: x\r\n", "Date: *\r\nMessage-ID: <*>\r\nSubject: x\r\n");
}

static void blind_copies_stay_blind(void **state) /* [RFC5322 3.6.3] */
{
    arrives_as("Bcc: carol@example.test,\r\n dave@example.test\r\n" FROM DATE ID "\r\n",
               FROM DATE ID "\r\n");
    arrives_as(FROM "bcc: a@b.test\r\nBCC:\r\n" DATE ID "Bcc: c@d.test\r\n\r\nBcc: text\r\n",
               FROM DATE ID "\r\nBcc: text\r\n");
    arrives_as(FROM DATE ID "Resent-Bcc: c@d.test\r\n", FROM DATE ID);
}

static void a_large_message_is_completed_too(void **state)
{
    enum { LINES = 6000, WIDTH = 72 };
    struct fixture f;
    struct buf message, got;
    start(&f, false);
    buf_init(&message, 1 << 20);
    buf_init(&got, 1 << 20);
    buf_put(&message, STR(FROM "Bcc: x@y.test\r\n" ID "\r\n"));
    for (int i = 0; i < LINES; i++)
        buf_putf(&message, "%0*d\r\n", WIDTH, i);
    int fd = logged_in(&f);
    submit(fd, buf_str(&message), "250 2.0.0 *\r\n", 100000);
    close(fd);
    fixture_await(&f, f.bob, 1);
    fixture_read(&f, f.bob, 0, &got);
    struct str body = str_skip(buf_str(&message), strlen(FROM "Bcc: x@y.test\r\n" ID));
    assert_true(str_ends(buf_str(&got), body));
    assert_true(str_ends(str_head(buf_str(&got), buf_len(&got) - body.n), STR(FROM ID)));
    buf_fini(&message);
    buf_fini(&got);
    fixture_stop(&f);
}

/* --- whose it is ------------------------------------------------------------------------------ */

static const struct {
    const char *header, *heard, *heard_if_any;
} authors[] = {
    {FROM, "250 *\r\n", "250 *\r\n"},
    {"From: \"alice@example.test\" <bob@example.test>\r\n", "550 5.7.1 From *\r\n", "250 *\r\n"},
    {"From: ALICE@Example.Test (bob@example.test)\r\n", "250 *\r\n", "250 *\r\n"},
    {"From: alice@example.test, bob@example.test\r\n", "550 5.7.1 From *\r\n", "250 *\r\n"},
    {"From: ceo@elsewhere.test\r\nSender: alice@example.test\r\n", "550 5.7.1 *\r\n", "250 *\r\n"},
    {FROM "Sender: bob@example.test\r\n", "550 5.7.1 From *\r\n", "250 *\r\n"},
    {FROM "Sender: alice@example.test\r\n", "250 *\r\n", "250 *\r\n"},
    {FROM "From: bob@example.test\r\n", "550 5.7.1 *\r\n", "250 *\r\n"},
    {FROM FROM, "554 5.6.0 *\r\n", "250 *\r\n"},
    {"Subject: x\r\n", "554 5.6.0 *\r\n", "250 *\r\n"},
    {"", "554 5.6.0 *\r\n", "250 *\r\n"},
    {"From:\r\n", "554 5.6.0 *\r\n", "250 *\r\n"},
    {"From: nobody:;\r\n", "554 5.6.0 *\r\n", "250 *\r\n"},
    {"From: alice@example.test bob@example.test\r\n", "554 5.6.0 *\r\n", "250 *\r\n"},
    {"From: bob@example.test <alice@example.test>\r\n", "554 5.6.0 *\r\n", "250 *\r\n"},
    {"From: alice@example.test <alice@example.test>\r\n", "250 *\r\n", "250 *\r\n"},
    {FROM "no field\r\nFrom: bob@example.test\r\n", "554 5.6.0 *\r\n", "250 *\r\n"},
};

static void authors_are_the_login(void **state) /* [RFC6409 6.1] */
{
    for (int any = 0; any < 2; any++) {
        struct fixture f;
        start(&f, any);
        int fd = logged_in(&f);
        for (size_t i = 0; i < sizeof authors / sizeof *authors; i++) {
            char message[1024];
            snprintf(message, sizeof message, "%s\r\ntext\r\n", authors[i].header);
            print_message("%s", authors[i].header);
            submit(fd, str_of(message), any ? authors[i].heard_if_any : authors[i].heard, 100000);
        }
        close(fd);
        fixture_stop(&f);
    }
}

/* Readers differ about a CR alone and about NUL, which only BINARYMIME lets through. */
static void a_binary_header_has_one_author_too(void **state)
{
    static const struct {
        struct str message;
        const char *heard;
    } cases[] = {
        {STR_INIT(FROM "\r\n\0\r\n"), "250 2.0.0 *\r\n"},
        {STR_INIT("X: y\rFrom: bob@example.test\r\n" FROM "\r\n"), "554 5.6.0 *\r\n"},
        {STR_INIT("X: y\nFrom: bob@example.test\r\n" FROM "\r\n"), "550 5.7.1 *\r\n"},
        {STR_INIT("X: y\0From: bob@example.test\r\n" FROM "\r\n"), "554 5.6.0 *\r\n"},
        {STR_INIT("\nFrom: bob@example.test\r\n" FROM "\r\n"), "554 5.6.0 *\r\n"},
        {STR_INIT(FROM "\r"), "554 5.6.0 *\r\n"},
    };
    struct fixture f;
    start(&f, false);
    int fd = logged_in(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[64];
        say(fd, STR("MAIL FROM:<alice@example.test> BODY=BINARYMIME\r\n"
                    "RCPT TO:<bob@example.test>\r\n"));
        hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n");
        snprintf(line, sizeof line, "BDAT %zu LAST\r\n", cases[i].message.n);
        say(fd, str_of(line));
        say(fd, cases[i].message);
        hear(fd, cases[i].heard);
    }
    close(fd);
    fixture_stop(&f);
}

/* What is kept counts, not what came: a Bcc field that goes may have been all that had no end. */
static void how_a_message_ends_is_kept_with_it(void **state)
{
    static const struct {
        struct str message;
        bool is_unended;
    } cases[] = {
        {STR_INIT(FROM "\r\ntext\r\n"), false},
        {STR_INIT(FROM "\r\ntext"), true},
        {STR_INIT(FROM "\r\ntext\n"), true},
        {STR_INIT(FROM "\r\n"), false},
        {STR_INIT(FROM "Subject: x"), true},
        {STR_INIT(FROM "Bcc: x@y.test"), false},
        {STR_INIT("Bcc: x@y.test\r\n" FROM "Subject: x"), true},
    };
    struct fixture f;
    size_t unended = 0;
    start(&f, false);
    int fd = logged_in(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[64];
        say(fd, STR("MAIL FROM:<alice@example.test> BODY=BINARYMIME\r\n"
                    "RCPT TO:<bob@example.test>\r\n"));
        hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n");
        snprintf(line, sizeof line, "BDAT %zu LAST\r\n", cases[i].message.n);
        say(fd, str_of(line));
        say_slowly(fd, cases[i].message, i + 1);
        hear(fd, "250 2.0.0 *\r\n");
        unended += cases[i].is_unended;
        assert_int_equal(fixture_count_unended(&f, f.bob), unended);
    }
    close(fd);
    fixture_stop(&f);
}

static void a_header_has_an_end(void **state)
{
    enum { LINES = 2000 };
    struct fixture f;
    struct buf message;
    start(&f, false);
    buf_init(&message, 1 << 20);
    buf_put(&message, STR(FROM));
    for (int i = 0; i < LINES; i++)
        buf_putf(&message, "X-%d: 0123456789012345678901234567890123456789\r\n", i);
    buf_put(&message, STR("\r\n"));
    int fd = logged_in(&f);
    submit(fd, buf_str(&message), "554 5.6.0 header too long\r\n", 100000);
    submit(fd, STR(FROM "\r\n"), "250 2.0.0 *\r\n", 1);
    buf_fini(&message);
    close(fd);
    fixture_stop(&f);
}

static void senders_and_recipients(void **state)
{
    struct fixture f;
    start(&f, false);
    int fd = logged_in(&f);
    say(fd, STR("MAIL FROM:<bob@example.test>\r\nMAIL FROM:<a@elsewhere.test>\r\nMAIL FROM:<>\r\n"
                "RSET\r\nMAIL FROM:<\"alice\"@EXAMPLE.test>\r\nRCPT TO:<x@elsewhere.test>\r\n"
                "RCPT TO:<nobody@example.test>\r\nRCPT TO:<bob@example.test>\r\nQUIT\r\n"));
    hear(fd, "550 5.7.1 bob@example.test is not an address of alice@example.test\r\n"
             "550 5.7.1 a@elsewhere.test is not an address of alice@example.test\r\n"
             "250 2.1.0 *\r\n250 2.0.0 *\r\n250 2.1.0 *\r\n"
             "550 5.7.1 not a domain of this server, and it does not send to other hosts\r\n"
             "550 5.1.1 *\r\n250 2.1.5 *\r\n221 *\r\n");
    hear_end(fd);
    fixture_stop(&f);
}

static void who_wrote_it_first_is_read(void **state) /* [RFC4954 5] */
{
    struct fixture f;
    start(&f, false);
    int fd = logged_in(&f);
    static const char *const good[] = {"<>", "e+3Dmc2@example.test", "alice@example.test"};
    static const char *const bad[] = {"", "+3", "a+2bb@example.test", "alice", "<a@b.test>"};
    char line[200];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(line, sizeof line, "MAIL FROM:<alice@example.test> AUTH=%s\r\nRSET\r\n", good[i]);
        say(fd, str_of(line));
        hear(fd, "250 2.1.0 *\r\n250 2.0.0 *\r\n");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(line, sizeof line, "MAIL FROM:<alice@example.test> AUTH=%s\r\n", bad[i]);
        say(fd, str_of(line));
        hear(fd, "501 5.5.4 *\r\n");
    }
    fixture_role(&f, SMTPD_MX);
    int mx = fixture_greeted(&f);
    say(mx, STR("MAIL FROM:<a@b.test> AUTH=<>\r\n"));
    hear(mx, "555 5.5.4 *\r\n");
    close(mx);
    close(fd);
    fixture_stop(&f);
}

/* A session does not outlive what it logged in with. */
static void a_login_ends_with_its_account(void **state)
{
    static const struct auth_account_change changes[] = {
        {.what = AUTH_SET_ENABLED, .is_enabled = false},
        {.what = AUTH_SET_ENABLED, .is_enabled = true},
        {.what = AUTH_SET_SUSPENDED, .is_suspended = true},
        {.what = AUTH_SET_SUSPENDED, .is_suspended = false},
    };
    const struct str alice = STR("alice@example.test");
    static const char over[] = "421 4.7.0 the account or its password was changed, *\r\n";
    struct fixture f;
    uint64_t id;
    start(&f, false);
    for (size_t i = 0; i < 4; i += 2) {
        int fd = logged_in(&f);
        assert_rc(auth_account_set(f.auth, alice, &changes[i]), RC_OK);
        hear(fd, over);
        hear_end(fd);
        assert_rc(auth_account_set(f.auth, alice, &changes[i + 1]), RC_OK);
    }
    int fd = logged_in(&f);
    assert_rc(auth_account_passwd(f.auth, alice, STR("another")), RC_OK);
    hear(fd, over);
    hear_end(fd);
    assert_rc(auth_account_passwd(f.auth, alice, STR("secret")), RC_OK);
    fd = logged_in(&f);
    assert_rc(auth_account_rename(f.auth, alice, STR("al@example.test"), true, &id), RC_OK);
    hear(fd, over);
    hear_end(fd);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_is_added),
        cmocka_unit_test(text_alone_stays_text),
        cmocka_unit_test(blind_copies_stay_blind),
        cmocka_unit_test(a_large_message_is_completed_too),
        cmocka_unit_test(authors_are_the_login),
        cmocka_unit_test(a_binary_header_has_one_author_too),
        cmocka_unit_test(how_a_message_ends_is_kept_with_it),
        cmocka_unit_test(a_header_has_an_end),
        cmocka_unit_test(senders_and_recipients),
        cmocka_unit_test(who_wrote_it_first_is_read),
        cmocka_unit_test(a_login_ends_with_its_account),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
