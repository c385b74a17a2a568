/* What others do to the mailbox while a POP3 session has it, and what they see of the session. */
#include "pop3/test_home.h"

/* As an IMAP session would: without regard to who has the POP3 lock. */
static void expunge(struct home *h, uint64_t id, const uint32_t *uids, size_t n)
{
    inbox_expunge(h->store, id, uids, n);
}

static void maintain(struct home *h, uint64_t id)
{
    struct store_account *account;
    bool more = true;
    assert_rc(store_account_open(h->store, id, 0, &account), RC_OK);
    while (more)
        assert_rc(store_maintain(account, &more), RC_OK);
    store_account_close(&account);
}

static void what_imap_expunges_can_be_retrieved_until_quit(void **state) /* [RFC1939 4] */
{
    struct home *h = *state;
    struct store_conf at_once = {.undelete_ns = UINT64_MAX}; /* gone with the next maintenance */
    store_close(&h->store);
    assert_rc(store_open(&h->ctx, h->kv, &at_once, &h->store), RC_OK);
    h->conf.store = h->store;
    home_deliver(h, h->alice, "A: one\r\n");
    home_deliver(h, h->alice, "A: two\r\n");
    home_deliver(h, h->alice, "A: three\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 3 messages (26 octets)\n");
    client_talk(fd, "C: RETR 1\nS: +OK 8 octets\nS: A: one\nS: .\n", 100);
    expunge(h, h->alice, (const uint32_t[]){1, 2}, 2);
    maintain(h, h->alice);
    client_talk(fd,
                "C: STAT\nS: +OK 3 26\n"
                "C: RETR 2\nS: +OK 8 octets\nS: A: two\nS: .\n"
                "C: TOP 1 0\nS: +OK top of message follows\nS: A: one\nS: .\n"
                "C: RETR 3\nS: +OK 10 octets\nS: A: three\nS: .\n"
                "C: DELE 2\nS: +OK marked, goes at QUIT\n"
                "C: DELE 3\nS: +OK marked, goes at QUIT\n"
                "C: QUIT\nS: +OK goodbye, 1 messages left\n",
                100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 0);
    fd = client_login(h, "S: +OK 0 messages (0 octets)\n");
    close(fd);
}

struct seen {
    struct store_watch watch;
    pthread_mutex_t mutex;
    unsigned n;
};

static void seen(struct store_watch *watch)
{
    struct seen *s = CONTAINER(watch, struct seen, watch);
    pthread_mutex_lock(&s->mutex);
    s->n++;
    pthread_mutex_unlock(&s->mutex);
}

static unsigned seen_count(struct seen *s)
{
    pthread_mutex_lock(&s->mutex);
    unsigned n = s->n;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* Another session of the account is told by its watch, at QUIT and not before, in one change; it
 * finds the UIDs among what has vanished. */
static void deletions_reach_other_sessions_at_quit(void **state)
{
    struct home *h = *state;
    struct store_account *account;
    struct store_usage before, after;
    struct seen s = {.watch.changed = seen};
    struct arena arena;
    uint32_t inbox, *uids;
    size_t n;
    pthread_mutex_init(&s.mutex, NULL);
    for (int i = 0; i < 4; i++)
        home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    assert_rc(store_mailbox_by_role(account, STORE_INBOX, &inbox), RC_OK);
    store_account_usage(account, &before);
    store_watch_add(account, &s.watch);
    int fd = client_login(h, "S: +OK 4 messages (24 octets)\n");
    client_talk(fd,
                "C: DELE 2\nS: +OK marked, goes at QUIT\n"
                "C: DELE 4\nS: +OK marked, goes at QUIT\n",
                100);
    assert_int_equal(seen_count(&s), 0);
    client_talk(fd, "C: QUIT\nS: +OK goodbye, 2 messages left\n", 100);
    client_expect_end(fd);
    while (!seen_count(&s))
        usleep(1000);
    store_watch_remove(account, &s.watch);
    store_account_usage(account, &after);
    assert_int_equal(after.modseq, before.modseq + 1);
    arena_init(&arena, 0);
    assert_rc(store_vanished(account, inbox, before.modseq, &arena, &uids, &n), RC_OK);
    assert_int_equal(n, 2);
    assert_int_equal(uids[0], 2);
    assert_int_equal(uids[1], 4);
    arena_fini(&arena);
    store_account_close(&account);
}

/* Who has read the answer to QUIT can log in again at once [RFC1939 6]. */
static void quit_gives_the_lock_back_before_it_answers(void **state)
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    for (int i = 0; i < 50; i++) {
        int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
        client_talk(fd, "C: QUIT\nS: +OK goodbye\n", 100);
        close(fd);
    }
}

/* The lock goes when the connection does, however it ends; nothing is deleted. */
static void the_lock_goes_with_the_connection(void **state)
{
    struct home *h = *state;
    struct linger reset = {.l_onoff = 1};
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\n", 100);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    client_close(h->net, fd);
    fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    client_send(fd, STR("RETR 1")); /* cut within a command */
    client_close(h->net, fd);
    fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    client_talk(fd, "C: QUIT\nS: +OK goodbye\n", 100);
    client_expect_end(fd);
}

/* 100,000 commands at once: each is answered, in order; what waits is bounded by the output's mark,
 * whatever the client sends ahead [RFC2449 6.6]. */
static void many_commands_at_once(void **state)
{
    struct home *h = *state;
    enum { ROUNDS = 25000 };
    static const char ask[] = "NOOP\r\nRETR 1\r\nTOP 1 0\r\nRETR 2\r\n";
    static const char answer[] = "+OK nothing done\r\n"
                                 "+OK 8 octets\r\nA: b\r\n\r\n.\r\n"
                                 "+OK top of message follows\r\nA: b\r\n\r\n.\r\n"
                                 "-ERR there is no such message\r\n";
    home_deliver(h, h->alice, "A: b\r\n\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (8 octets)\n");
    size_t n_ask = ROUNDS * (sizeof ask - 1), n_answer = ROUNDS * (sizeof answer - 1), sent = 0,
           got = 0;
    char *in = mem_alloc(1 << 16);
    while (got < n_answer) {
        struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < n_ask ? POLLOUT : 0))};
        assert_int_equal(poll(&p, 1, CLIENT_PATIENCE_MS), 1);
        if (p.revents & POLLOUT) {
            size_t at = sent % (sizeof ask - 1);
            ssize_t n = send(fd, ask + at, sizeof ask - 1 - at, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += n > 0 ? (size_t)n : 0;
        }
        if (p.revents & POLLIN) {
            ssize_t n = recv(fd, in, 1 << 16, 0);
            assert_true(n > 0);
            for (ssize_t i = 0; i < n; i++, got++)
                if (in[i] != answer[got % (sizeof answer - 1)])
                    fail_msg("answer differs at octet %zu", got);
        }
    }
    free(in);
    client_talk(fd, "C: QUIT\nS: +OK goodbye\n", 100);
    client_expect_end(fd);
}

/* Numbers of every bad shape [RFC1939 5]. */
static void numbers_that_are_none(void **state)
{
    struct home *h = *state;
    static const char *const bad[] = {"-1", "+1", "1x", "0x1", "1.", "\xd9\xa1", "a"};
    static const char *const none[] = {"0", "2", "4294967297", "18446744073709551617",
                                       "99999999999999999999999999999999999999999999"};
    static const char *const verbs[] = {"RETR %s", "DELE %s", "LIST %s", "UIDL %s", "TOP %s 1"};
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++) {
        char line[256];
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            struct buf text = {.cap = 256};
            struct str parts = str_of(verbs[v]), head;
            str_cut(&parts, '%', &head);
            buf_put(&text, head);
            buf_put(&text, str_of(bad[i]));
            buf_put(&text, str_skip(parts, 1));
            (void)snprintf(line, sizeof line,
                           "C: %.*s\nS: -ERR the argument is not a message number\n",
                           STR_ARG(buf_str(&text)));
            client_talk(fd, line, 100);
            buf_fini(&text);
        }
        for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
            struct buf text = {.cap = 256};
            struct str parts = str_of(verbs[v]), head;
            str_cut(&parts, '%', &head);
            buf_put(&text, head);
            buf_put(&text, str_of(none[i]));
            buf_put(&text, str_skip(parts, 1));
            (void)snprintf(line, sizeof line, "C: %.*s\nS: -ERR there is no such message\n",
                           STR_ARG(buf_str(&text)));
            client_talk(fd, line, 100);
            buf_fini(&text);
        }
    }
    client_talk(fd, "C: LIST 0001\nS: +OK 1 6\n", 100); /* leading zeros do no harm */
    client_talk(fd, "C: TOP 1 -1\nS: -ERR the number of lines is not a number\n", 100);
    client_talk(fd, "C: TOP 1 99999999999999999999\nS: +OK top of message follows\nS: A: b\nS: .\n",
                100);
    close(fd);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, home_set_up, home_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_imap_expunges_can_be_retrieved_until_quit),
        TEST(deletions_reach_other_sessions_at_quit),
        TEST(quit_gives_the_lock_back_before_it_answers),
        TEST(the_lock_goes_with_the_connection),
        TEST(many_commands_at_once),
        TEST(numbers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
