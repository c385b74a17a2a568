#include "pop3/test_home.h"

static struct home home; /* one test at a time */

static int set_up(void **state)
{
    home_make(&home);
    *state = &home;
    return 0;
}

static int tear_down(void **state)
{
    kv_mem_hold(home.kv, false);
    home_end(*state);
    return 0;
}

static const char looking[] = "C: STAT\n"
                              "S: +OK 3 55\n"
                              "C: LIST\n"
                              "S: +OK 3 messages (55 octets)\n"
                              "S: 1 37\n"
                              "S: 2 14\n"
                              "S: 3 4\n"
                              "S: .\n"
                              "C: LIST 2\n"
                              "S: +OK 2 14\n"
                              "C: LIST 4\n"
                              "S: -ERR there is no such message\n"
                              "C: LIST 0\n"
                              "S: -ERR there is no such message\n"
                              "C: LIST 99999999999999999999999\n"
                              "S: -ERR there is no such message\n"
                              "C: LIST -1\n"
                              "S: -ERR the argument is not a message number\n"
                              "C: RETR 1\n"
                              "S: +OK 37 octets\n"
                              "S: Subject: a\n"
                              "S: \n"
                              "S: one\n"
                              "S: ..\n"
                              "S: ...two\n"
                              "S: \n"
                              "S: four\n"
                              "S: .\n"
                              "C: RETR 3\n"
                              "S: +OK 4 octets\n"
                              "S: ..c\n"
                              "S: .\n"
                              "C: TOP 1 0\n"
                              "S: +OK top of message follows\n"
                              "S: Subject: a\n"
                              "S: \n"
                              "S: .\n"
                              "C: TOP 1 2\n"
                              "S: +OK top of message follows\n"
                              "S: Subject: a\n"
                              "S: \n"
                              "S: one\n"
                              "S: ..\n"
                              "S: .\n"
                              "C: TOP 2 1000000000000000000000000\n"
                              "S: +OK top of message follows\n"
                              "S: Subject: b\n"
                              "S: \n"
                              "S: .\n"
                              "C: TOP 1 x\n"
                              "S: -ERR the number of lines is not a number\n";

static const char marking[] = "C: DELE 2\n"
                              "S: +OK marked, goes at QUIT\n"
                              "C: DELE 2\n"
                              "S: -ERR there is no such message\n"
                              "C: RETR 2\n"
                              "S: -ERR there is no such message\n"
                              "C: LIST\n"
                              "S: +OK 2 messages (41 octets)\n"
                              "S: 1 37\n"
                              "S: 3 4\n"
                              "S: .\n"
                              "C: STAT\n"
                              "S: +OK 2 41\n"
                              "C: RSET\n"
                              "S: +OK 3 messages (55 octets)\n"
                              "C: DELE 1\n"
                              "S: +OK marked, goes at QUIT\n";

static void what_a_client_does(void **state) /* [RFC1939 5, 7, 10] */
{
    struct home *h = *state;
    home_deliver(h, h->alice, "Subject: a\r\n\r\none\r\n.\r\n..two\r\n\r\nfour\r\n");
    home_deliver(h, h->alice, "Subject: b\r\n\r\n");
    home_deliver(h, h->alice, ".c\r\n");
    home_start(h);
    for (int round = 0; round < 3; round++) {
        kv_mem_cold(h->kv, round == 2);
        int fd = client_login(h, "S: +OK 3 messages (55 octets)\n");
        size_t at_once = round == 1 ? 1 : 1 << 20;
        client_talk(fd, looking, at_once);
        client_talk(fd, marking, at_once);
        client_close(h->net, fd); /* without QUIT nothing goes */
    }
    kv_mem_cold(h->kv, false);
    assert_int_equal(home_count(h, h->alice), 3);
    assert_int_equal(counter_get(&h->counters, COUNTER_POP3_RETRIEVED), 6);
    assert_int_equal(counter_get(&h->counters, COUNTER_POP3_DELETED), 0);
}

static void quit_deletes_and_the_session_saw_the_inbox_of_login(void **state)
{
    struct home *h = *state;
    for (int i = 0; i < 4; i++)
        home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 4 messages (24 octets)\n");
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\n", 100);
    client_talk(fd, "C: DELE 3\nS: +OK marked, goes at QUIT\n", 100);
    home_deliver(h, h->alice, "New: one\r\n");
    client_talk(fd, "C: LIST 5\nS: -ERR there is no such message\n", 100);
    kv_mem_cold(h->kv, true); /* what must be read for it is read on a worker */
    client_talk(fd, "C: QUIT\nS: +OK goodbye, 2 messages left\n", 100);
    client_expect_end(fd);
    kv_mem_cold(h->kv, false);
    assert_int_equal(home_count(h, h->alice), 3);
    assert_int_equal(counter_get(&h->counters, COUNTER_POP3_DELETED), 2);
    while (net_count(h->net))
        usleep(1000);
    fd = client_login(h, "S: +OK 3 messages (22 octets)\n");
    client_talk(fd, "C: RETR 3\nS: +OK 10 octets\nS: New: one\nS: .\n", 100);
    close(fd);
}

/* +OK to QUIT comes when the deletion is durable and not before [RFC1939 6]. */
static void quit_waits_for_the_commit(void **state)
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    kv_mem_hold(h->kv, true);
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\nC: QUIT\n", 100);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 200), 0); /* as long as the commit is held there is no answer */
    kv_mem_hold(h->kv, false);
    client_talk(fd, "S: +OK goodbye, 0 messages left\n", 100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 0);
}

static void a_failed_deletion_is_not_called_done(void **state)
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\n", 100);
    kv_mem_fail(h->kv, RC_FULL);
    client_talk(fd, "C: QUIT\nS: -ERR [SYS/TEMP] some deleted messages were not removed\n", 100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 1);
    assert_int_equal(counter_get(&h->counters, COUNTER_POP3_DELETED), 0);
}

/* A delivery that fails takes the deletion queued behind it along, which is then made again. */
static void a_failed_delivery_does_not_keep_deleted_mail(void **state)
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\n", 100);
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(h->kv, (struct kv_part){KV_ACCOUNT, h->alice}, 0, 0);
    assert_rc(kv_blob_write(out, STR("C: d\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    struct store_account *account;
    assert_rc(store_account_open(h->store, h->alice, 0, &account), RC_OK);
    struct inbox_op o;
    struct store_append append = {.blob = blob, .size = 6, .received = 1};
    inbox_op_init(&o);
    kv_mem_hold(h->kv, true);
    kv_mem_fail(h->kv, RC_FULL);
    assert_rc(store_append(account, &append, 0, &o.op), RC_OK);
    client_talk(fd, "C: QUIT\n", 100);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 200), 0); /* it waits behind the delivery */
    kv_mem_hold(h->kv, false);
    client_talk(fd, "S: +OK goodbye, 0 messages left\n", 100);
    client_expect_end(fd);
    pthread_mutex_lock(&o.mutex);
    while (!o.is_done)
        pthread_cond_wait(&o.cond, &o.mutex);
    pthread_mutex_unlock(&o.mutex);
    assert_rc(o.op.rc, RC_FULL);
    store_account_close(&account);
    kv_blob_forget(h->kv, blob);
    assert_int_equal(home_count(h, h->alice), 0);
}

/* The client goes while its QUIT waits for the disk: the account is free again afterwards. */
static void hang_up_during_quit(void **state)
{
    struct home *h = *state;
    home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 1 messages (6 octets)\n");
    kv_mem_hold(h->kv, true);
    client_talk(fd, "C: DELE 1\nS: +OK marked, goes at QUIT\nC: QUIT\n", 100);
    close(fd);
    kv_mem_hold(h->kv, false);
    while (net_count(h->net))
        usleep(1000);
    fd = home_connect(h);
    client_talk(fd, GREETING LOGIN, 100);
    char line[ANSWER_LINE];
    assert_true(str_starts(client_line(fd, line, sizeof line), STR("+OK ")));
    close(fd);
}

static char *random_mail(size_t n, unsigned seed)
{
    char *text = mem_alloc(n + 3);
    for (size_t i = 0; i < n; i++)
        text[i] = "abcdefg .\xff"[rand_r(&seed) % 10];
    for (size_t at = 0; at + 1 < n; at += 1 + (size_t)rand_r(&seed) % 80)
        memcpy(text + at, "\r\n", 2);
    memcpy(text + n, "\r\n", 3);
    return text;
}

/* Reads a multi-line answer and takes the dots away again. */
static char *client_text(int fd, size_t *out_n)
{
    size_t n = 0, size = 0, at = 0;
    char *text = NULL;
    char page[65536];
    while (n < 3 || memcmp(text + n - 3, ".\r\n", 3) != 0 || (n > 3 && text[n - 4] != '\n')) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, CLIENT_PATIENCE_MS), 1);
        ssize_t got = recv(fd, page, sizeof page, 0);
        assert_true(got > 0);
        text = mem_array(text, &size, n + (size_t)got, 1);
        memcpy(text + n, page, (size_t)got);
        n += (size_t)got;
    }
    n -= 3;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '.' && (!i || text[i - 1] == '\n'))
            i++;
        text[at++] = text[i];
    }
    *out_n = at;
    return text;
}

static void every_byte_comes_back(void **state)
{
    static const size_t sizes[] = {0,     1,     100,       4096,        POP3_PAGE - 2,
                                   16384, 16385, 3 * 16384, 1000 * 1000, 12 * 1000 * 1000};
    enum { N = sizeof sizes / sizeof *sizes };
    struct home *h = *state;
    char *mails[N], line[512];
    for (size_t i = 0; i < N; i++) {
        mails[i] = random_mail(sizes[i], (unsigned)i);
        home_deliver_many(h, h->alice, str_from(mails[i], sizes[i] + 2), 1);
    }
    home_start(h);
    for (int round = 0; round < 2; round++) {
        kv_mem_cold(h->kv, round == 1);
        int fd = home_connect(h);
        client_talk(fd, GREETING LOGIN, 100);
        assert_true(str_starts(client_line(fd, line, sizeof line), STR("+OK 10 ")));
        for (size_t i = 0; i < N; i++) {
            char command[64];
            snprintf(command, sizeof command, "RETR %zu\r\n", i + 1);
            client_send(fd, str_of(command));
            snprintf(command, sizeof command, "+OK %zu octets\r\n", sizes[i] + 2);
            assert_string_equal((client_line(fd, line, sizeof line), line)[0] == '+' ? "+" : line,
                                "+");
            assert_memory_equal(line, command, strlen(command));
            size_t n;
            char *text = client_text(fd, &n);
            assert_int_equal(n, sizes[i] + 2);
            assert_memory_equal(text, mails[i], n);
            free(text);
        }
        client_close(h->net, fd);
    }
    kv_mem_cold(h->kv, false);
    for (size_t i = 0; i < N; i++)
        free(mails[i]);
}

static void uidl_is_the_same_for_ever(void **state) /* [RFC1939 7] */
{
    struct home *h = *state;
    char line[ANSWER_LINE], first[512], third[512];
    for (int i = 0; i < 3; i++)
        home_deliver(h, h->alice, "A: b\r\n");
    home_start(h);
    int fd = client_login(h, "S: +OK 3 messages (18 octets)\n");
    client_talk(fd, "C: UIDL 1\n", 100);
    struct str s = client_line(fd, first, sizeof first);
    assert_int_equal(s.n, strlen("+OK 1 ") + 16 + 2);
    for (size_t i = 6; i < s.n - 2; i++)
        assert_true(s.p[i] >= 0x21 && s.p[i] <= 0x7e);
    client_talk(fd, "C: UIDL 3\n", 100);
    third[client_line(fd, third, sizeof third).n] = 0;
    client_talk(fd, "C: DELE 2\nS: +OK marked, goes at QUIT\nC: QUIT\n", 100);
    client_line(fd, line, sizeof line);
    client_expect_end(fd);
    while (net_count(h->net))
        usleep(1000);
    kv_mem_restored(h->kv); /* numbers jump, but not those of what is there */
    home_deliver(h, h->alice, "A: b\r\n");
    fd = client_login(h, "S: +OK 3 messages (18 octets)\n");
    client_talk(fd, "C: UIDL\nS: +OK 3 messages\n", 100);
    s = client_line(fd, line, sizeof line);
    assert_memory_equal(line, first + 4, s.n);
    s = client_line(fd, line, sizeof line);
    assert_memory_equal(line + 2, third + 6, s.n - 2);
    client_line(fd, line, sizeof line);
    assert_memory_not_equal(line + 2, third + 6, s.n - 2);
    client_talk(fd, "S: .\n", 100);
    close(fd);
}

static void a_full_mailbox(void **state)
{
    enum { N = 30000 };
    struct home *h = *state;
    struct buf expected = {.cap = 16 << 20};
    char *got;
    size_t n;
    home_deliver_many(h, h->alice, STR("A: b\r\n"), N);
    home_start(h);
    for (size_t i = 1; i <= N; i++)
        buf_putf(&expected, "%zu 6\r\n", i);
    int fd = client_login(h, "S: +OK 30000 messages (180000 octets)\n");
    client_talk(fd, "C: LIST\nS: +OK 30000 messages (180000 octets)\n", 100);
    got = client_text(fd, &n);
    assert_true(str_eq(str_from(got, n), buf_str(&expected)));
    free(got);
    client_talk(fd, "C: UIDL\nS: +OK 30000 messages\n", 100);
    got = client_text(fd, &n);
    assert_int_equal(str_find(str_from(got, n), STR("30000 ")) > 0, 1);
    free(got);
    for (int i = 1; i <= 2500; i++) { /* three batches at QUIT */
        char text[64];
        snprintf(text, sizeof text, "C: DELE %d\nS: +OK marked, goes at QUIT\n", i);
        client_talk(fd, text, 100);
    }
    client_talk(fd, "C: QUIT\nS: +OK goodbye, 27500 messages left\n", 100);
    client_expect_end(fd);
    assert_int_equal(home_count(h, h->alice), 27500);
    assert_int_equal(counter_get(&h->counters, COUNTER_POP3_DELETED), 2500);
    buf_fini(&expected);
}

enum { DELIVERED = 200 };

static void *deliver_all(void *arg)
{
    struct home *h = arg;
    for (int i = 0; i < DELIVERED; i++) {
        char text[64];
        snprintf(text, sizeof text, "%d\r\n\r\n", i);
        home_deliver(h, h->alice, text);
    }
    return NULL;
}

/* Collects and deletes what there is; every second session hangs up instead of QUIT. */
static void collect(struct home *h, int seen[DELIVERED], bool quits)
{
    char line[ANSWER_LINE];
    int numbers[DELIVERED], n = 0;
    int fd = home_connect(h);
    client_talk(fd, GREETING LOGIN, 100);
    assert_int_equal(sscanf(client_line(fd, line, sizeof line).p, "+OK %d messages", &n), 1);
    assert_true(n <= DELIVERED);
    for (int i = 0; i < n; i++) {
        char command[64];
        snprintf(command, sizeof command, "RETR %d\r\nDELE %d\r\n", i + 1, i + 1);
        client_send(fd, str_of(command));
        client_line(fd, line, sizeof line);
        assert_int_equal(sscanf(client_line(fd, line, sizeof line).p, "%d", &numbers[i]), 1);
        client_talk(fd, "S: \nS: .\nS: +OK marked, goes at QUIT\n", 100);
    }
    if (quits) {
        client_send(fd, STR("QUIT\r\n"));
        client_line(fd, line, sizeof line);
        client_expect_end(fd);
        for (int i = 0; i < n; i++)
            seen[numbers[i]]++;
    } else {
        close(fd);
    }
    while (net_count(h->net))
        usleep(1000);
}

/* While mail comes in: every message is deleted by one session, the one that had it. */
static void each_message_is_collected_once(void **state)
{
    struct home *h = *state;
    int seen[DELIVERED] = {0};
    home_start(h);
    pthread_t thread = task_thread("deliver", deliver_all, h);
    for (int i = 0; i < 20; i++)
        collect(h, seen, i % 2);
    pthread_join(thread, NULL);
    collect(h, seen, true);
    for (int i = 0; i < DELIVERED; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(home_count(h, h->alice), 0);
    assert_int_equal(counter_get(&h->counters, COUNTER_POP3_DELETED), DELIVERED);
}

/* It is dropped when its time is over, its message is not counted, and others are served. */
static void a_reader_that_never_reads(void **state)
{
    struct home *h = *state;
    char *mail = random_mail(8 << 20, 1);
    home_deliver_many(h, h->alice, str_from(mail, (8 << 20) + 2), 1);
    h->limits.stall_ms = 300;
    home_start(h);
    int fd = home_connect(h);
    client_talk(fd, GREETING LOGIN "C: RETR 1\n", 100);
    int other = home_connect(h);
    client_talk(other, GREETING "C: QUIT\nS: +OK goodbye\n", 100);
    client_expect_end(other);
    while (net_count(h->net))
        usleep(1000);
    assert_int_equal(counter_get(&h->counters, COUNTER_POP3_RETRIEVED), 0);
    close(fd);
    free(mail);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_client_does),
        TEST(quit_deletes_and_the_session_saw_the_inbox_of_login),
        TEST(quit_waits_for_the_commit),
        TEST(a_failed_deletion_is_not_called_done),
        TEST(a_failed_delivery_does_not_keep_deleted_mail),
        TEST(hang_up_during_quit),
        TEST(every_byte_comes_back),
        TEST(uidl_is_the_same_for_ever),
        TEST(a_full_mailbox),
        TEST(each_message_is_collected_once),
        TEST(a_reader_that_never_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
