/* Connections: an echo protocol over socket pairs and real listeners, hand-overs, hang-ups, limits.
 */
#include "net/test_echo.h"

static void lines_come_back(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port), b = pair_to(&f);
    hear(a, "hello\n");
    hear(b, "hello\n");
    say(a, "one\ntwo\nthr");
    hear(a, "one\ntwo\n");
    say(a, "ee\nlocal\n");
    char want[64];
    snprintf(want, sizeof want, "three\nloopback port %d\n", f.port);
    hear(a, want);
    say(b, "x\nquit\n");
    hear(b, "x\nbye\n");
    hear_end(b);
    say(a, "abort\n");
    hear_end(a);
    stop(&f);
}

static void a_half_closed_peer_gets_its_answers(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    say(a, "one\nwait\ntwo\nshort\nthree\n");
    shutdown(a, SHUT_WR);
    hear(a, "hello\none\nresumed\ntwo\nw:three\n");
    hear_end(a);
    stop(&f);
}

/* A worker that reads no input learns of the peer's end. */
static void a_peer_that_leaves_is_noticed(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    say(a, "stay\nlast\n");
    hear(a, "hello\n");
    shutdown(a, SHUT_WR);
    hear(a, "left\nw:last\n");
    hear_end(a);
    stop(&f);
}

static void workers_and_waits(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    hear(a, "hello\n");
    for (int i = 0; i < 50; i++) {
        say(a, "short\na\nheavy\nb\nwait\nearly\n");
        hear(a, "w:a\nw:b\nresumed\nresumed\n");
        say(a, "c\n");
        hear(a, "c\n");
    }
    close(a);
    stop(&f);
}

/* A lane that takes no more is asked again; every session gets its turn and none is lost. */
static void a_full_lane_delays(void **state)
{
    enum { N = 30 };
    struct fixture f = {0};
    int fds[N];
    f.lane_queue = 1;
    start(&f, (struct net_limits){0});
    for (int i = 0; i < N; i++) {
        fds[i] = pair_to(&f);
        hear(fds[i], "hello\n");
    }
    for (int i = 0; i < N; i++)
        say(fds[i], "short\nstop\na\nheavy\nb\n");
    for (int i = 0; i < N; i++) {
        hear(fds[i], "w:a\nw:b\n");
        close(fds[i]);
    }
    stop(&f);
}

/* --- slow readers */

static void a_slow_reader_gets_all(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = pair_to(&f), small = 2048;
    setsockopt(a, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    hear(a, "hello\n");
    say(a, "big 2000\nend\n");
    for (int i = 2000; i > 0; i--) {
        char want[1001];
        snprintf(want, sizeof want, "%0999d\n", i);
        hear(a, want);
    }
    hear(a, "end\n");
    close(a);
    stop(&f);
}

static void a_reader_that_never_reads_is_dropped(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){.stall_ms = 100});
    int a = pair_to(&f), other = dial(f.port);
    hear(a, "hello\n");
    hear(other, "hello\n");
    say(a, "big 100000\n");
    say(other, "served\n");
    hear(other, "served\n");
    while (net_count(f.net) > 1)
        usleep(5000);
    say(other, "still\n");
    hear(other, "still\n");
    close(a);
    close(other);
    stop(&f);
}

static void input_without_an_end_is_dropped(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    char x[8192];
    memset(x, 'x', sizeof x);
    hear(a, "hello\n");
    for (size_t sent = 0; sent < echo.input_max; sent += sizeof x)
        assert_int_equal(send(a, x, sizeof x, MSG_NOSIGNAL), sizeof x);
    hear_end(a);
    stop(&f);
}

/* A long line in small pieces goes through the connection's own buffer. */
static void a_line_in_pieces_is_whole(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    hear(a, "hello\n");
    for (int i = 0; i < 40000; i += 1000) {
        char part[1001];
        snprintf(part, sizeof part, "%01000d", i);
        say(a, part);
        usleep(100);
    }
    say(a, "\nnext\n");
    char want[129];
    snprintf(want, sizeof want, "%0128d", 0);
    hear(a, want); /* the protocol keeps 128 bytes of a line */
    hear(a, "\nnext\n");
    close(a);
    stop(&f);
}

/* --- time */

static void deadlines_pass(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    hear(a, "hello\n");
    say(a, "hold 50\n");
    hear(a, "held\n");
    hear(a, "timeout\n");
    hear_end(a);
    stop(&f);
}

/* Whether a command that follows at once keeps a session alive beyond the deadline that it had: "x"
 * comes back, or it was too late for that (a busy machine) and nothing is known. */
static bool is_moved_away(struct fixture *f, unsigned ms)
{
    char command[32], got[2];
    int fd = dial(f->port);
    hear(fd, "hello\n");
    snprintf(command, sizeof command, "hold %u\n", ms);
    say(fd, command);
    hear(fd, "held\n"); /* so that "x" comes in a step of its own */
    say(fd, "x\n");
    assert_int_equal(recv(fd, got, sizeof got, MSG_WAITALL), sizeof got);
    bool is_in_time = memcmp(got, "x\n", sizeof got) == 0;
    if (is_in_time) {
        usleep((ms + 30) * 1000);
        say(fd, "y\n");
        hear(fd, "y\n");
    }
    close(fd);
    return is_in_time;
}

static void a_command_moves_the_deadline_away(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    for (unsigned ms = 50; !is_moved_away(&f, ms); ms *= 2)
        assert_true(ms < 20000);
    stop(&f);
}

static void a_session_without_a_deadline_gets_one(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){.greeting_ms = 50});
    int a = dial(f.port);
    hear(a, "hello\n");
    hear(a, "timeout\n");
    hear_end(a);
    stop(&f);
}

static _Atomic int ticks;

static void on_tick(struct net_timer *t)
{
    ticks++;
}

static void timers_fire_once_and_in_order(void **state)
{
    struct fixture f = {0};
    struct net_timer timers[50] = {0};
    f.ctx.clock = &clock_system;
    struct net_conf conf = {.loops = 1};
    f.net = net_new(&f.ctx, &conf);
    ticks = 0;
    for (int i = 0; i < 50; i++) {
        timers[i].fn = on_tick;
        net_timer_set(f.net, &timers[i], (uint64_t)(i * 7 % 50));
    }
    for (int i = 0; i < 50; i += 5)
        net_timer_cancel(f.net, &timers[i]);
    net_timer_set(f.net, &timers[1], 3); /* again: moved, not doubled */
    net_start(f.net);
    while (ticks < 40)
        usleep(1000);
    net_stop(f.net);
    assert_int_equal(ticks, 40);
    net_free(&f.net);
}

/* --- limits */

static void limits_hold(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){.connections = 6, .per_address = 3});
    int fds[6];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(f.port);
        hear(fds[i], "hello\n");
    }
    for (int i = 0; i < 20; i++) {
        int more = dial(f.port);
        hear(more, "busy\n");
        hear_end(more);
    }
    assert_int_equal(net_count(f.net), 3);
    for (int i = 3; i < 6; i++) { /* no address, so only the total counts */
        fds[i] = pair_to(&f);
        hear(fds[i], "hello\n");
    }
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_rc(net_adopt(f.net, pair[1], &f.listener), RC_LIMIT);
    hear(pair[0], "busy\n");
    hear_end(pair[0]);
    say(fds[0], "quit\n");
    hear(fds[0], "bye\n");
    hear_end(fds[0]);
    while (net_count(f.net) > 5)
        usleep(1000);
    fds[0] = dial(f.port);
    hear(fds[0], "hello\n");
    assert_int_equal(counter_get(&f.counters, COUNTER_CONNECTIONS_REFUSED), 21);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    stop(&f);
}

static void trusted_addresses_are_not_counted(void **state)
{
    struct fixture f = {0};
    struct net_cidr loopback;
    assert_rc(net_cidr_parse(STR("127.0.0.0/8"), &loopback), RC_OK);
    start(&f, (struct net_limits){.per_address = 1, .trusted = &loopback, .n_trusted = 1});
    int a = dial(f.port), b = dial(f.port);
    hear(a, "hello\n");
    hear(b, "hello\n");
    close(a);
    close(b);
    stop(&f);
}

static void ipv6_is_served(void **state)
{
    struct fixture f = {0};
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    start(&f, (struct net_limits){0});
    int port, fd = listen_on(AF_INET6, "::1", &port);
    struct net_listener six = f.listener;
    six.fd = fd;
    stop(&f);
    f = (struct fixture){0};
    f.ctx.clock = &clock_system;
    struct net_conf conf = {.loops = 1};
    six.app = &f;
    f.net = net_new(&f.ctx, &conf);
    assert_rc(net_listen(f.net, &six), RC_OK);
    net_start(f.net);
    sa.sin6_port = htons((uint16_t)port);
    int a = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(connect(a, (void *)&sa, sizeof sa), 0);
    hear(a, "hello\n");
    say(a, "peer\n");
    hear(a, "::1\n");
    close(a);
    net_stop(f.net);
    net_free(&f.net);
    close(fd);
}

/* Without a free file descriptor accepting pauses; the waiting client is served when there is one.
 */
static void no_files_is_survived(void **state)
{
    struct fixture f = {0};
    struct rlimit before, now;
    struct rusage from, to;
    start(&f, (struct net_limits){0});
    int spare = dup(0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)client + 1;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f.port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    close(spare);
    int filler = dup(0);
    assert_int_equal(filler, spare);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    assert_int_equal(connect(client, (void *)&sa, sizeof sa), 0);
    getrusage(RUSAGE_SELF, &from);
    struct pollfd p = {client, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 300), 0); /* nobody answers */
    getrusage(RUSAGE_SELF, &to);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    hear(client, "hello\n");
    long used = (to.ru_stime.tv_sec - from.ru_stime.tv_sec) * 1000000L + to.ru_stime.tv_usec -
                from.ru_stime.tv_usec;
    assert_true(used < 100000); /* it did not spin */
    close(filler);
    close(client);
    stop(&f);
}

/* --- drain */

static void drain_ends_idle_and_waiting_sessions(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){.drain_ms = 300});
    int idle = dial(f.port), waits = dial(f.port), stuck = pair_to(&f);
    hear(idle, "hello\n");
    hear(waits, "hello\n");
    hear(stuck, "hello\n");
    say(waits, "sleep\n"); /* resumed after a while by another thread */
    say(stuck, "forever\nbig 1\n");
    usleep(20000);
    net_drain(f.net);
    hear(idle, "drain\n");
    hear_end(idle);
    hear(waits, "resumed\ndrain\n");
    hear_end(waits);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_rc(net_adopt(f.net, fds[1], &f.listener), RC_TEMP);
    hear(fds[0], "busy\n");
    hear_end(fds[0]);
    stop(&f); /* what waits forever is closed by net_free */
    hear_end(stuck);
}

static void an_unread_end_is_cut(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){.drain_ms = 100});
    int a = pair_to(&f);
    hear(a, "hello\n");
    say(a, "big 100000\n"); /* never read, and stall_ms is far away */
    usleep(20000);
    stop(&f);
    close(a);
}

/* --- events */

static struct net_handle handle_of(struct fixture *f, int fd)
{
    say(fd, "handle\n");
    hear(fd, "handle\n");
    return f->last_handle;
}

static void kicks_and_wakes_arrive(void **state)
{
    struct fixture f = {0};
    start(&f, (struct net_limits){0});
    int a = dial(f.port);
    hear(a, "hello\n");
    struct net_handle h = handle_of(&f, a);
    net_wake(f.net, h, NET_EV_WAKE);
    hear(a, "woken\n");
    net_wake(f.net, h, NET_EV_KICK);
    hear(a, "kicked\n");
    hear_end(a);
    int b = dial(f.port);
    hear(b, "hello\n");
    net_wake(f.net, h, NET_EV_KICK); /* of one that is gone: whoever has its place is not touched */
    net_wake(f.net, (struct net_handle){99, 99, 99}, NET_EV_KICK);
    net_wake(f.net, (struct net_handle){0, UINT32_MAX, 0}, NET_EV_KICK);
    say(b, "x\n");
    hear(b, "x\n");
    close(b);
    stop(&f);
}

/* Clients that do everything at once and hang up in the middle, while wakes rain on all slots. */
struct stormer {
    struct fixture *f;
    pthread_t thread;
    unsigned seed;
    _Atomic bool *ending;
};

static void *wake_storm(void *arg)
{
    struct stormer *s = arg;
    while (!*s->ending) {
        for (uint32_t slot = 0; slot < 40; slot++)
            for (uint64_t generation = 0; generation < 30; generation++)
                net_wake(s->f->net, (struct net_handle){slot & 1, slot / 2, generation},
                         NET_EV_WAKE);
        usleep(200);
    }
    return NULL;
}

static void *client_storm(void *arg)
{
    static const char *const lines[] = {"x\n",     "short\ny\n", "heavy\nz\n", "wait\n", "early\n",
                                        "sleep\n", "big 30\n",   "quit\n",     "abort\n"};
    struct stormer *s = arg;
    for (int i = 0; i < 60; i++) {
        int fd = rand_r(&s->seed) % 2 ? dial(s->f->port) : pair_to(s->f);
        int n = rand_r(&s->seed) % 12;
        for (int k = 0; k < n; k++) {
            const char *line = lines[rand_r(&s->seed) % (sizeof lines / sizeof *lines)];
            if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
                break;
        }
        if (rand_r(&s->seed) % 2) { /* read to the end, or hang up as things stand */
            char sink[4096];
            shutdown(fd, SHUT_WR);
            while (recv(fd, sink, sizeof sink, 0) > 0)
                continue;
        }
        close(fd);
    }
    return NULL;
}

static void storms_are_survived(void **state)
{
    enum { CLIENTS = 6 };
    struct fixture f = {0};
    struct stormer clients[CLIENTS], waker;
    _Atomic bool ending = false;
    start(&f, (struct net_limits){0});
    waker = (struct stormer){.f = &f, .ending = &ending};
    assert_int_equal(pthread_create(&waker.thread, NULL, wake_storm, &waker), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct stormer){.f = &f, .seed = i + 1};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_storm, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    for (int i = 0; net_count(f.net) > 0 && i < 10000; i++)
        usleep(1000);
    ending = true;
    pthread_join(waker.thread, NULL);
    assert_int_equal(net_count(f.net), 0);
    assert_int_equal(f.opened, CLIENTS * 60);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_back),
        cmocka_unit_test(a_half_closed_peer_gets_its_answers),
        cmocka_unit_test(a_peer_that_leaves_is_noticed),
        cmocka_unit_test(workers_and_waits),
        cmocka_unit_test(a_full_lane_delays),
        cmocka_unit_test(a_slow_reader_gets_all),
        cmocka_unit_test(a_reader_that_never_reads_is_dropped),
        cmocka_unit_test(input_without_an_end_is_dropped),
        cmocka_unit_test(a_line_in_pieces_is_whole),
        cmocka_unit_test(deadlines_pass),
        cmocka_unit_test(a_command_moves_the_deadline_away),
        cmocka_unit_test(a_session_without_a_deadline_gets_one),
        cmocka_unit_test(timers_fire_once_and_in_order),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(trusted_addresses_are_not_counted),
        cmocka_unit_test(ipv6_is_served),
        cmocka_unit_test(no_files_is_survived),
        cmocka_unit_test(drain_ends_idle_and_waiting_sessions),
        cmocka_unit_test(an_unread_end_is_cut),
        cmocka_unit_test(kicks_and_wakes_arrive),
        cmocka_unit_test(storms_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
