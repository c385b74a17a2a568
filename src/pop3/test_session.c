#include "pop3/test_home.h"

static void states_and_arguments(void **state) /* [RFC1939 3, 4] */
{
    struct home *h = *state;
    home_start(h);
    talk(h, GREETING "C: STAT\n"
                     "S: -ERR log in first\n"
                     "C: HELO x\n"
                     "S: -ERR there is no such command\n"
                     "C: \n"
                     "S: -ERR there is no such command\n"
                     "C: USER\n"
                     "S: -ERR an argument is missing\n"
                     "C: PASS x\n"
                     "S: -ERR send USER first\n"
                     "C: STLS\n"
                     "S: -ERR TLS is not available here\n"
                     "C: quit now\n"
                     "S: -ERR too many arguments\n"
                     "C: user alice@example.test\n"
                     "S: +OK send PASS\n"
                     "C: pass pass word\n"
                     "S: +OK 0 messages (0 octets)\n"
                     "C: USER alice@example.test\n"
                     "S: -ERR you are logged in already\n"
                     "C: STLS\n"
                     "S: -ERR you are logged in already\n"
                     "C: stat\n"
                     "S: +OK 0 0\n"
                     "C: LIST\n"
                     "S: +OK 0 messages (0 octets)\n"
                     "S: .\n"
                     "C: UIDL\n"
                     "S: +OK 0 messages\n"
                     "S: .\n"
                     "C: LIST 1\n"
                     "S: -ERR there is no such message\n"
                     "C: DELE\n"
                     "S: -ERR an argument is missing\n"
                     "C: TOP 1\n"
                     "S: -ERR an argument is missing\n"
                     "C: NOOP \n"
                     "S: +OK nothing done\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
}

/* [RFC2449 5] [RFC2449 6.7]: EXPIRE varies by user [RFC5034 3]: SASL stays after the login. */
static void capabilities(void **state)
{
    struct home *h = *state;
    h->conf.hostname = "mail.example.test";
    h->conf.version = "0.1.0";
    home_start(h);
    talk(h, "S: +OK mail.example.test Penfold POP3 ready\n"
            "C: CAPA\n"
            "S: +OK capabilities follow\n"
            "S: SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN\n"
            "S: LANG\n"
            "S: TOP\n"
            "S: UIDL\n"
            "S: USER\n"
            "S: UTF8 USER\n"
            "S: RESP-CODES\n"
            "S: AUTH-RESP-CODE\n"
            "S: PIPELINING\n"
            "S: EXPIRE 0 USER\n"
            "S: IMPLEMENTATION Penfold 0.1.0\n"
            "S: .\n" LOGIN "S: +OK 0 messages (0 octets)\n"
            "C: CAPA\n"
            "S: +OK capabilities follow\n"
            "S: SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN\n"
            "S: LANG\n"
            "S: TOP\n"
            "S: UIDL\n"
            "S: USER\n"
            "S: UTF8 USER\n"
            "S: RESP-CODES\n"
            "S: AUTH-RESP-CODE\n"
            "S: PIPELINING\n"
            "S: EXPIRE NEVER\n"
            "S: IMPLEMENTATION Penfold 0.1.0\n"
            "S: .\n"
            "C: QUIT\n"
            "S: +OK goodbye\n");
}

/* Every command in one packet [RFC2449 6.6]. */
static void pipelining(void **state)
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n\r\none\r\n");
    home_start(h);
    talk(h, "C: CAPA x\n"
            "C: USER alice@example.test\n"
            "C: PASS pass word\n"
            "C: STAT\n"
            "C: RETR 1\n"
            "C: LIST 1\n"
            "C: QUIT\n"
            "C: NOOP\n" GREETING "S: -ERR too many arguments\n"
            "S: +OK send PASS\n"
            "S: +OK 1 messages (13 octets)\n"
            "S: +OK 1 13\n"
            "S: +OK 13 octets\n"
            "S: A: b\n"
            "S: \n"
            "S: one\n"
            "S: .\n"
            "S: +OK 1 13\n"
            "S: +OK goodbye\n");
}

static void no_password_in_clear_text(void **state)
{
    struct home *h = *state;
    h->conf.plaintext_on_loopback = false;
    home_start(h);
    talk(h, GREETING "C: USER alice@example.test\n"
                     "S: -ERR [AUTH] passwords only in TLS\n"
                     "C: PASS pass word\n"
                     "S: -ERR [AUTH] passwords only in TLS\n"
                     "C: CAPA\n"
                     "S: +OK capabilities follow\n"
                     "S: LANG\n"
                     "S: TOP\n"
                     "S: UIDL\n"
                     "S: UTF8 USER\n"
                     "S: RESP-CODES\n"
                     "S: AUTH-RESP-CODE\n"
                     "S: PIPELINING\n"
                     "S: EXPIRE 0 USER\n"
                     "S: IMPLEMENTATION Penfold\n"
                     "S: .\n"
                     "C: QUIT\n"
                     "S: +OK goodbye\n");
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS), 0);
}

/* No lane: nobody's password is looked at. Who asks again and again has to connect again. */
static void logins_put_off_count_as_well(void **state)
{
    struct home *h = *state;
    struct auth_conf conf = {.hash_ops = 1, .hash_memory = 8192};
    struct auth *own = h->auth;
    assert_rc(auth_open(&h->ctx, h->kv, &conf, &h->conf.auth), RC_OK);
    h->conf.login_failures = 2;
    home_start(h);
    talk(h, GREETING "C: USER alice@example.test\n"
                     "S: +OK send PASS\n"
                     "C: PASS pass word\n"
                     "S: -ERR [SYS/TEMP] the server cannot do this now, try again later\n"
                     "C: USER alice@example.test\n"
                     "S: +OK send PASS\n"
                     "C: PASS pass word\n"
                     "S: -ERR [SYS/TEMP] the server cannot do this now, try again later\n");
    auth_close(&h->conf.auth);
    h->conf.auth = own;
}

/* A refusal is the same, byte for byte, and costs the same one hash, whoever asks. */
static void refusals_do_not_differ(void **state)
{
    struct home *h = *state;
    home_start(h);
    assert_rc(auth_account_enable(h->auth, STR("bob@example.test"), false), RC_OK);
    uint64_t before = counter_get(&h->counters, COUNTER_PASSWORD_HASHES);
    talk(h, GREETING "C: USER alice@example.test\n"
                     "S: +OK send PASS\n"
                     "C: PASS wrong\n"
                     "S: -ERR [AUTH] name or password is wrong\n"
                     "C: USER bob@example.test\n"
                     "S: +OK send PASS\n"
                     "C: PASS pass word\n"
                     "S: -ERR [AUTH] name or password is wrong\n"
                     "C: USER nobody@elsewhere.test\n"
                     "S: +OK send PASS\n"
                     "C: PASS pass word\n"
                     "S: -ERR [AUTH] name or password is wrong\n"
                     "C: PASS pass word\n"
                     "S: -ERR send USER first\n"
                     "C: USER x\n"
                     "S: +OK send PASS\n"
                     "C: PASS x\n"
                     "S: -ERR [AUTH] name or password is wrong\n"
                     "C: USER x\n"
                     "S: +OK send PASS\n"
                     "C: PASS x\n"
                     "S: -ERR [AUTH] name or password is wrong\n"); /* the fifth: closed */
    assert_int_equal(counter_get(&h->counters, COUNTER_PASSWORD_HASHES) - before, 3 * 5);
    assert_int_equal(counter_get(&h->counters, COUNTER_LOGINS_FAILED), 3 * 5);
}

static void lines_that_are_none(void **state)
{
    struct home *h = *state;
    char text[20000];
    memset(text, 'x', sizeof text);
    memcpy(text + sizeof text - 2, "\r\n", 2);
    home_start(h);
    int fd = home_connect(h);
    client_talk(fd, GREETING, 1);
    client_send(fd, str_from(text, sizeof text));
    client_talk(fd, "S: -ERR the line is too long\n", 1);
    client_send(fd, STR("NOOP\nQU\0IT\r\n"));
    client_talk(fd,
                "S: -ERR a line ends in CR LF and has no NUL or CR within\n"
                "S: -ERR a line ends in CR LF and has no NUL or CR within\n",
                1);
    memcpy(text + 300, "\r\n", 2);
    client_send(fd, STR("USER "));
    client_send(fd, str_from(text, 302));
    client_talk(fd, "S: -ERR the name is too long\n", 1);
    for (int i = 5; i < 20; i++)
        client_talk(fd, "C: X\nS: -ERR there is no such command\n", 100);
    client_talk(fd, "C: X\nS: -ERR too many errors, goodbye\n", 100);
    client_expect_end(fd);
}

static void one_session_an_account(void **state)
{
    struct home *h = *state;
    home_start(h);
    int first = client_login(h, "S: +OK 0 messages (0 octets)\n");
    int second = client_login(h, "S: -ERR [IN-USE] another POP3 session has this mailbox open\n");
    int other = home_connect(h);
    client_talk(other,
                GREETING "C: USER bob@example.test\n"
                         "S: +OK send PASS\n"
                         "C: PASS pass word\n"
                         "S: +OK 0 messages (0 octets)\n",
                100);
    home_deliver(h, h->alice, "A: b\r\n"); /* deliveries do not wait */
    client_talk(first, "C: STAT\nS: +OK 0 0\n", 100);
    client_close(h->net, first);
    client_talk(second, LOGIN "S: +OK 1 messages (6 octets)\n", 100);
    close(second);
    close(other);
}

static void time_ends_a_session_without_a_word(void **state) /* [RFC1939 3] */
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n");
    h->conf.idle_ms = 2000;
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\n", 100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 1);
}

static void time_to_log_in_is_limited(void **state)
{
    struct home *h = *state;
    h->conf.login_ms = 1500;
    home_start(h);
    int fd = home_connect(h);
    client_talk(fd, GREETING "C: NOOP\nS: -ERR log in first\n", 1);
    client_expect_end(fd);
}

static void the_log_tells_of_a_session(void **state)
{
    struct home *h = *state;
    char text[8192] = {0};
    home_deliver(h, h->alice, "A: b\r\n");
    home_deliver(h, h->alice, "C: d\r\n\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 2 messages (14 octets)\n");
    client_talk(fd,
                "C: RETR 2\nS: +OK 8 octets\nS: C: d\nS: \nS: .\n"
                "C: DELE 1\nS: +OK marked, goes at QUIT\n"
                "C: QUIT\nS: +OK goodbye, 1 messages left\n",
                100);
    client_expect_end(fd);
    while (net_count(h->net))
        usleep(1000);
    log_flush(h->ctx.log);
    assert_true(pread(fileno(h->log_file), text, sizeof text - 1, 0) > 0);
    assert_non_null(strstr(text, "event=login session="));
    char *line = strstr(text, "event=collected");
    assert_non_null(line);
    assert_non_null(strstr(line, "messages=2 retrieved=1 bytes=8 deleted=1 end=quit"));
    assert_null(strstr(text, "pass word"));
}

static void shutdown_says_goodbye_and_deletes_nothing(void **state)
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\n", 100);
    net_drain(h->net);
    client_talk(fd, "S: -ERR [SYS/TEMP] the server is shutting down\n", 100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, home_set_up, home_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(states_and_arguments),
        TEST(capabilities),
        TEST(pipelining),
        TEST(no_password_in_clear_text),
        TEST(refusals_do_not_differ),
        TEST(logins_put_off_count_as_well),
        TEST(lines_that_are_none),
        TEST(one_session_an_account),
        TEST(time_ends_a_session_without_a_word),
        TEST(time_to_log_in_is_limited),
        TEST(the_log_tells_of_a_session),
        TEST(shutdown_says_goodbye_and_deletes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
