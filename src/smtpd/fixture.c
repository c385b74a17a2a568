/* What smtpd's tests share. */
#include "smtpd/fixture.h"

#include "store/test_inbox.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static uint64_t add_account(struct fixture *f, struct str address)
{
    uint64_t id;
    assert_rc(auth_account_reserve(f->auth, &id), RC_OK);
    assert_rc(store_account_create(f->store, id, (struct store_quota){0}), RC_OK);
    assert_rc(auth_account_add(f->auth, id, address, STR("secret")), RC_OK);
    return id;
}

static void open_store(struct fixture *f)
{
    struct store_conf store = {0};
    struct auth_conf auth = {.hash_lane = f->hash_lane, .hash_ops = 1, .hash_memory = 64 << 10};
    f->kv = kv_mem_new(&f->ctx);
    assert_rc(store_open(&f->ctx, f->kv, &store, &f->store), RC_OK);
    assert_rc(auth_open(&f->ctx, f->kv, &auth, &f->auth), RC_OK);
    assert_rc(queue_open(&f->ctx, f->kv, &f->queue), RC_OK);
    assert_rc(auth_domain_add(f->auth, STR("example.test")), RC_OK);
    f->alice = add_account(f, STR("alice@example.test"));
    f->bob = add_account(f, STR("bob@example.test"));
    struct deliver_conf deliver = {
        .kv = f->kv, .store = f->store, .queue = f->queue, .lane = f->short_lane, .auth = f->auth};
    assert_rc(deliver_open(&f->ctx, &deliver, &f->deliver), RC_OK);
}

void fixture_start(struct fixture *f, const struct smtpd_conf *conf)
{
    memset(f, 0, sizeof *f);
    f->ctx.clock = &clock_system;
    f->ctx.counters = &f->counters;
    f->short_lane = task_lane_new("short", 2, 1000);
    f->heavy_lane = task_lane_new("heavy", 1, 1000);
    f->hash_lane = task_lane_new("hash", 1, 1000);
    open_store(f);
    budget_init(&f->memory, 64 << 20);
    struct smtpd_conf c = conf ? *conf : (struct smtpd_conf){0};
    c.hostname = STR("mx.example.test");
    c.kv = f->kv;
    c.auth = f->auth;
    c.deliver = f->deliver;
    c.memory = &f->memory;
    f->smtpd = smtpd_new(&f->ctx, &c);
    struct net_conf net = {.loops = 2, .short_lane = f->short_lane, .heavy_lane = f->heavy_lane};
    net.limits.drain_ms = PATIENCE_MS;
    f->net = net_new(&f->ctx, &net);
    for (int role = 0; role < SMTPD_ROLES; role++)
        f->listeners[role] = (struct net_listener){
            .fd = -1, .proto = &smtpd_protos[role], .app = smtpd_service(f->smtpd, role)};
    net_start(f->net);
}

void fixture_role(struct fixture *f, enum smtpd_role role)
{
    f->role = role;
}

void fixture_stop(struct fixture *f)
{
    net_stop(f->net);
    assert_int_equal(net_count(f->net), 0);
    deliver_close(&f->deliver);
    task_lane_free(&f->hash_lane);
    task_lane_free(&f->heavy_lane);
    task_lane_free(&f->short_lane);
    net_free(&f->net);
    smtpd_free(&f->smtpd);
    queue_close(&f->queue);
    auth_close(&f->auth);
    store_close(&f->store);
    kv_close(&f->kv);
    assert_int_equal(budget_used(&f->memory), 0);
    assert_int_equal(counter_get(&f->counters, COUNTER_MEMORY_IN_FLIGHT), 0);
}

void fixture_quota(struct fixture *f, uint64_t account, uint64_t bytes)
{
    struct store_account *a;
    assert_rc(store_account_open(f->store, account, 0, &a), RC_OK);
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = bytes}), RC_OK);
    store_account_close(&a);
}

/* --- the client ------------------------------------------------------------------------------- */

int fixture_connect(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_rc(net_adopt(f->net, fds[1], &f->listeners[f->role]), RC_OK);
    return fds[0];
}

int fixture_greeted(struct fixture *f)
{
    int fd = fixture_connect(f);
    say(fd, STR("EHLO client.test\r\n"));
    hear(fd, "220 mx.example.test ESMTP *\r\n250-mx.example.test\r\n250-SIZE "
             "*\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
             "250-BINARYMIME\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n250-LIMITS RCPTMAX=*\r\n250-DSN\r\n"
             "250-ENHANCEDSTATUSCODES\r\n250 HELP\r\n");
    return fd;
}

int fixture_logged_in(struct fixture *f, const char *client)
{
    int fd = fixture_connect(f);
    struct buf hello = {.cap = 200};
    buf_putf(&hello, "EHLO %s\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\n", client);
    say(fd, buf_str(&hello)); /* NUL alice@example.test NUL secret */
    buf_fini(&hello);
    hear_reply(fd, "220");
    hear_reply(fd, "250");
    hear_reply(fd, "235");
    return fd;
}

int fixture_in_data(struct fixture *f)
{
    int fd = fixture_greeted(f);
    say(fd, STR("MAIL FROM:<sender@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"));
    hear(fd, "250 2.1.0 *\r\n250 2.1.5 *\r\n354 *\r\n");
    return fd;
}

void say(int fd, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        assert_true(n > 0);
        bytes = str_skip(bytes, (size_t)n);
    }
}

void say_slowly(int fd, struct str bytes, size_t step)
{
    for (size_t i = 0; i < bytes.n; i += step)
        say(fd, str_sub(bytes, i, step));
}

bool hear_matches(const char *text, const char *pattern)
{
    for (; *pattern; text++, pattern++) {
        if (*pattern == '*') {
            while (*text != '\0' && *text != pattern[1] && *text != '\n')
                text++;
            text--;
        } else if (*text != *pattern) {
            return false;
        }
    }
    return *text == '\0';
}

void hear(int fd, const char *pattern)
{
    char got[16384];
    size_t n = 0, lines = 0;
    for (const char *p = pattern; *p; p++)
        lines += *p == '\n';
    while (lines > 0) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, PATIENCE_MS) != 1 || n + 1 == sizeof got || recv(fd, got + n, 1, 0) != 1) {
            got[n] = '\0';
            fail_msg("heard only:\n%s\ninstead of:\n%s", got, pattern);
        }
        lines -= got[n++] == '\n';
    }
    got[n] = '\0';
    if (!hear_matches(got, pattern))
        fail_msg("heard:\n%s\ninstead of:\n%s", got, pattern);
}

void hear_reply(int fd, const char *code)
{
    char line[1024];
    size_t n;
    do {
        for (n = 0; n == 0 || line[n - 1] != '\n'; n++) {
            struct pollfd p = {fd, POLLIN, 0};
            assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
            assert_true(n + 1 < sizeof line && recv(fd, line + n, 1, 0) == 1);
        }
        line[n] = '\0';
        assert_true(n > 4);
        if (strncmp(line, code, 3) != 0)
            fail_msg("heard: %s", line);
    } while (line[3] == '-');
}

void hear_end(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    char byte;
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

/* --- looking into mailboxes ------------------------------------------------------------------- */

size_t fixture_count(struct fixture *f, uint64_t account)
{
    return inbox_count(f->store, account);
}

size_t fixture_count_unended(struct fixture *f, uint64_t account)
{
    return inbox_count_unended(f->store, account);
}

void fixture_await(struct fixture *f, uint64_t account, size_t count)
{
    for (int i = 0; i < PATIENCE_MS && fixture_count(f, account) < count; i++)
        usleep(1000);
    assert_int_equal(fixture_count(f, account), count);
}

void fixture_read(struct fixture *f, uint64_t account, size_t index, struct buf *out)
{
    struct inbox in = inbox_open(f->store, account);
    struct store_message *m;
    size_t got;
    assert_true(index < store_root_count(in.root));
    const struct store_row *row = store_root_at(in.root, index);
    assert_rc(store_message_open(in.account, row->email, 0, &m), RC_OK);
    assert_int_equal(row->size, store_message_size(m));
    char *to = buf_reserve(out, store_message_size(m) + 1);
    assert_rc(store_message_read(m, 0, to, store_message_size(m) + 1, 0, &got), RC_OK);
    assert_int_equal(got, store_message_size(m));
    buf_commit(out, got);
    store_message_close(&m);
    inbox_close(&in);
}

void fixture_queued(struct fixture *f, struct arena *arena, struct queue_entry *out)
{
    size_t found = 0;
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id id;
        size_t n;
        assert_rc(queue_list(f->queue, shard, NULL, &id, 1, &n), RC_OK);
        if (n)
            assert_rc(queue_load(f->queue, id, 0, arena, out), RC_OK);
        found += n;
    }
    assert_int_equal(found, 1);
    assert_rc(out->rc, RC_OK);
}
