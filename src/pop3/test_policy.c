/* What QUIT does for an account's policy: the client decides, once collected, days after. */
#include "pop3/test_home.h"

static struct home home; /* one test at a time */

static int set_up(void **state)
{
    home_make(&home);
    *state = &home;
    for (int i = 0; i < 4; i++)
        home_deliver(&home, home.alice, "A: b\r\n");
    return 0;
}

static int tear_down(void **state)
{
    home_end(*state);
    return 0;
}

static void set_policy(struct home *h, enum auth_pop3_delete how, uint32_t days)
{
    struct auth_account_change change = {.what = AUTH_SET_POP3,
                                         .settings = {.pop3_delete = how, .pop3_days = days}};
    assert_rc(auth_account_set(h->auth, STR("alice@example.test"), &change), RC_OK);
}

#define FOUR    "S: +OK 4 messages (24 octets)\n"
#define RETR(n) "C: RETR " n "\nS: +OK 6 octets\nS: A: b\nS: .\n"
#define TOP(n)  "C: TOP " n " 0\nS: +OK top of message follows\nS: A: b\nS: .\n"

static void expect_expire(int fd, const char *line)
{
    char text[512];
    client_talk(fd, "C: CAPA\nS: +OK capabilities follow\n", 100);
    bool is_told = false;
    for (struct str got; !str_eq(got = client_line(fd, text, sizeof text), STR(".\r\n"));)
        is_told = is_told || str_eq(got, str_of(line));
    assert_true(is_told);
}

static uint64_t expire(struct home *h, uint64_t age_ns)
{
    struct store_account *account;
    uint64_t n = 0;
    bool more = true;
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    while (more)
        assert_rc(store_collected_expire(account, age_ns, &n, &more), RC_OK);
    store_account_close(&account);
    return n;
}

static void the_client_decides(void **state)
{
    struct home *h = *state;
    home_start(h);
    int fd = client_login(h, FOUR);
    expect_expire(fd, "EXPIRE NEVER\r\n");
    client_talk(fd, RETR("1") "C: QUIT\nS: +OK goodbye\n", 100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 4);
    assert_int_equal(expire(h, 0), 0);
}

/* [RFC2449 6.7] EXPIRE 0: what RETR has sent whole goes at QUIT; TOP does not count, RSET does not
 * save it, DELE adds to it; without QUIT nothing goes. */
static void once_collected(void **state)
{
    struct home *h = *state;
    set_policy(h, AUTH_POP3_COLLECTED, 0);
    home_start(h);
    int fd = client_login(h, FOUR);
    client_talk(fd, RETR("1") RETR("2"), 100);
    client_close(h->net, fd);
    assert_int_equal(home_count(h, h->alice), 4);
    fd = client_login(h, FOUR);
    expect_expire(fd, "EXPIRE 0\r\n");
    client_talk(fd,
                TOP("4") RETR("1") "C: RSET\n" FOUR "C: DELE 3\nS: +OK marked, goes at QUIT\n" RETR(
                    "1") "C: QUIT\nS: +OK goodbye, 2 messages left\n",
                100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 2);
}

/* RETR and QUIT in one packet from a client that is gone before it reads: the message is too large
 * for what the system takes, so nothing of it counts. */
static void an_aborted_retr_does_not_count(void **state)
{
    struct home *h = *state;
    size_t size = 16 << 20;
    char *mail = mem_alloc(size);
    memset(mail, 'x', size);
    for (size_t i = 78; i < size; i += 80)
        memcpy(mail + i - 2, "\r\n", 2);
    memcpy(mail + size - 2, "\r\n", 2);
    home_deliver_many(h, h->alice, str_from(mail, size), 1);
    set_policy(h, AUTH_POP3_COLLECTED, 0);
    home_start(h);
    int fd = client_login(h, "S: +OK 5 messages (16777240 octets)\n");
    client_send(fd, STR("RETR 5\r\nQUIT\r\n"));
    char text[4096];
    assert_int_equal(client_read(fd, text, sizeof text), sizeof text);
    client_close(h->net, fd);
    assert_int_equal(home_count(h, h->alice), 5);
    free(mail);
}

static void days_after_collection(void **state)
{
    struct home *h = *state;
    set_policy(h, AUTH_POP3_DAYS, 7);
    home_start(h);
    int fd = client_login(h, FOUR);
    expect_expire(fd, "EXPIRE 7\r\n");
    client_talk(fd,
                RETR("1") RETR("3") "C: DELE 3\nS: +OK marked, goes at QUIT\n" TOP(
                    "2") "C: QUIT\nS: +OK goodbye, 3 messages left\n",
                100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 3);
    assert_int_equal(expire(h, 3600 * NS_PER_SEC), 0);
    fd = client_login(h, "S: +OK 3 messages (18 octets)\n"); /* collected again, noted once */
    client_talk(fd, RETR("1") "C: QUIT\nS: +OK goodbye\n", 100);
    client_expect_end(fd);
    assert_int_equal(expire(h, 0), 1);
    assert_int_equal(home_count(h, h->alice), 2);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_client_decides),
        TEST(once_collected),
        TEST(an_aborted_retr_does_not_count),
        TEST(days_after_collection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
