/* AUTH, LANG, UTF8, LOGIN-DELAY, and the table of texts. */
#include "pop3/test_home.h"

#include "base/utf8.h"

/* NUL alice@example.test NUL pass word */
#define PLAIN "AGFsaWNlQGV4YW1wbGUudGVzdABwYXNzIHdvcmQ="

static void sasl_plain(void **state) /* [RFC5034 4] [RFC5034 6] */
{
    struct home *h = *state;
    home_start(h);
    talk(h, GREETING "C: AUTH PLAIN " PLAIN "\n"
                     "S: +OK 0 messages (0 octets)\n"
                     "C: AUTH PLAIN " PLAIN "\n"
                     "S: -ERR you are logged in already\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
    talk(h, GREETING "C: auth plain\n"
                     "S: + \n"
                     "C: " PLAIN "\n"
                     "S: +OK 0 messages (0 octets)\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
}

static void sasl_login(void **state)
{
    struct home *h = *state;
    home_start(h);
    talk(h, GREETING "C: AUTH LOGIN\n"
                     "S: + VXNlcm5hbWU6\n"
                     "C: YWxpY2VAZXhhbXBsZS50ZXN0\n"
                     "S: + UGFzc3dvcmQ6\n"
                     "C: cGFzcyB3b3Jk\n"
                     "S: +OK 0 messages (0 octets)\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
}

static void sasl_refusals(void **state)
{
    struct home *h = *state;
    home_start(h);
    uint64_t before = counter_get(&h->counters, COUNTER_PASSWORD_HASHES);
    talk(h, GREETING "C: AUTH\n"
                     "S: +OK mechanisms follow\n"
                     "S: SCRAM-SHA-256\n"
                     "S: SCRAM-SHA-1\n"
                     "S: PLAIN\n"
                     "S: LOGIN\n"
                     "S: .\n"
                     "C: AUTH CRAM-MD5\n"
                     "S: -ERR there is no such mechanism\n"
                     "C: AUTH PLAIN\n"
                     "S: + \n"
                     "C: *\n"
                     "S: -ERR cancelled\n"
                     "C: AUTH PLAIN =\n"
                     "S: -ERR the response is not one of this mechanism\n"
                     "C: AUTH PLAIN AGFsaWNl\n"
                     "S: -ERR the response is not one of this mechanism\n"
                     "C: AUTH PLAIN AGFs=aWNl\n"
                     "S: -ERR the response is not base 64\n"
                     "C: AUTH PLAIN\n"
                     "S: + \n"
                     "C: NOOP \n"
                     "S: -ERR the response is not base 64\n"
                     "C: AUTH PLAIN a b\n"
                     "S: -ERR too many arguments\n"
                     "C: AUTH PLAIN Ym9iQGV4YW1wbGUudGVzdABhbGljZUBleGFtcGxlLnRlc3QAcGFzcyB3b3Jk\n"
                     "S: -ERR [AUTH] only your own mailbox\n"
                     "C: AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==\n"
                     "S: -ERR [AUTH] name or password is wrong\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
    assert_int_equal(counter_get(&h->counters, COUNTER_PASSWORD_HASHES) - before, 3);
}

/* A line that is too long, or none, ends the exchange and not the session. */
static void sasl_lines_that_are_none(void **state)
{
    struct home *h = *state;
    char text[POP3_LINE_MAX + 10];
    memset(text, 'A', sizeof text);
    memcpy(text + sizeof text - 2, "\r\n", 2);
    home_start(h);
    int fd = home_connect(h);
    client_talk(fd, GREETING "C: AUTH PLAIN\nS: + \n", 100);
    client_send(fd, str_from(text, sizeof text));
    client_talk(fd, "S: -ERR the line is too long\nC: AUTH PLAIN\nS: + \n", 100);
    client_send(fd, STR("AA\0A\r\n"));
    client_talk(fd,
                "S: -ERR a line ends in CR LF and has no NUL or CR within\n"
                "C: AUTH PLAIN " PLAIN "\nS: +OK 0 messages (0 octets)\n",
                100);
    close(fd);
}

static void languages(void **state) /* [RFC6856 3] */
{
    struct home *h = *state;
    home_start(h);
    talk(h, GREETING "C: LANG\n"
                     "S: +OK languages follow\n"
                     "S: en English\n"
                     "S: de Deutsch\n"
                     "S: i-default English\n"
                     "S: .\n"
                     "C: LANG uga\n"
                     "S: -ERR this language is not spoken here\n"
                     "C: LANG DE-at-1996\n"
                     "S: +OK de ab jetzt auf Deutsch\n"
                     "C: STAT\n"
                     "S: -ERR bitte zuerst anmelden\n"
                     "C: LANG uga\n"
                     "S: -ERR diese Sprache spricht hier niemand\n"
                     "C: USER alice@example.test\n"
                     "S: +OK bitte PASS senden\n"
                     "C: PASS pass word\n"
                     "S: +OK 0 Nachrichten (0 Oktette)\n"
                     "C: RETR 1\n"
                     "S: -ERR diese Nachricht gibt es nicht\n"
                     "C: LANG *\n"
                     "S: +OK en this is English\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
}

static void utf8(void **state) /* [RFC6856 2] */
{
    struct home *h = *state;
    home_start(h);
    talk(h, GREETING "C: UTF8 x\n"
                     "S: -ERR too many arguments\n"
                     "C: UTF8\n"
                     "S: +OK UTF-8 it is\n"
                     "C: USER \xc3\x28\n"
                     "S: -ERR names and passwords are UTF-8\n"
                     "C: USER j\xc3\xb6rg@example.test\n"
                     "S: +OK send PASS\n"
                     "C: PASS \xff\n"
                     "S: -ERR names and passwords are UTF-8\n"
                     "C: PASS \xc3\xb6\n"
                     "S: -ERR [AUTH] name or password is wrong\n" LOGIN
                     "S: +OK 0 messages (0 octets)\n"
                     "C: UTF8\n"
                     "S: -ERR you are logged in already\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
}

static void logins_have_a_distance(void **state) /* [RFC2449 6.5] [RFC2449 8.1.1] */
{
    struct home *h = *state;
    struct pop3_delays d;
    pop3_delays_init(&d);
    assert_true(pop3_delays_may_log_in(&d, 1, 1000, 0));
    assert_true(pop3_delays_may_log_in(&d, 1, 1000, 10));
    assert_false(pop3_delays_may_log_in(&d, 1, 1009, 10));
    assert_true(pop3_delays_may_log_in(&d, 2, 1009, 10));
    assert_true(pop3_delays_may_log_in(&d, 1, 1010, 10));
    assert_int_equal(d.by_account.count, 2);
    assert_true(pop3_delays_may_log_in(&d, 3, 2000, 10));
    assert_int_equal(d.by_account.count, 1); /* the others are forgotten */
    pop3_delays_fini(&d);

    h->conf.login_delay_s = 3600;
    home_start(h);
    int fd = client_login(h, "S: +OK 0 messages (0 octets)\n");
    int second = client_login(h, "S: -ERR [IN-USE] another POP3 session has this mailbox open\n");
    client_talk(fd, "C: QUIT\nS: +OK goodbye\n", 100);
    client_expect_end(fd);
    while (net_count(h->net) > 1)
        usleep(1000);
    client_talk(second,
                LOGIN "S: -ERR [LOGIN-DELAY] too soon after the last login, try again later\n"
                      "C: USER bob@example.test\nS: +OK send PASS\n"
                      "C: PASS pass word\nS: +OK 0 messages (0 octets)\n",
                100);
    close(second);
}

/* Every text in every language: there, valid, short enough, with the same numbers; ASCII where no
 * language was asked for. */
static void texts_are_whole(void **state)
{
    for (int t = 0; t < POP3_TEXTS; t++) {
        size_t numbers[POP3_COLUMNS] = {0};
        struct str code = pop3_text_code(t);
        for (unsigned k = 0; k < POP3_COLUMNS; k++) {
            struct str line = pop3_text_line(t, k);
            assert_true(line.n > 0 && utf8_is_valid(line));
            for (size_t i = 0; i < line.n; i++) {
                assert_true((unsigned char)line.p[i] >= 0x20);
                numbers[k] += line.p[i] == '#';
            }
            assert_true(5 + code.n + line.n + 20 * numbers[k] + 2 <= 512); /* [RFC1939 3] */
            assert_int_equal(numbers[k], numbers[0]);
            assert_true(t < POP3_NO_COMMAND || numbers[k] == 0);
        }
        assert_true(numbers[0] <= 2);
        assert_true(utf8_is_ascii(pop3_text_line(t, 0)));
        assert_true(!code.n || t >= POP3_NO_COMMAND);
    }
    for (int rc = 0; rc < RC_COUNT; rc++)
        assert_true(pop3_text_of_rc(rc) >= POP3_NO_COMMAND);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, home_set_up, home_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sasl_plain),
        TEST(sasl_login),
        TEST(sasl_refusals),
        TEST(sasl_lines_that_are_none),
        TEST(languages),
        TEST(utf8),
        TEST(logins_have_a_distance),
        cmocka_unit_test(texts_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
