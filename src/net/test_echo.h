/* For the tests of net/: an echo protocol, a server that speaks it, and a client. */
#ifndef NET_TEST_ECHO_H
#define NET_TEST_ECHO_H

#include "net/net.h"

#include "base/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the protocol: one line a command
 *
 *   short/heavy  the rest of the lines is echoed by a worker
 *   wait         another thread resumes
 *   early        resumed before step() returns
 *   stay         goes on working until the peer has announced its end, then "left"
 *   big N        N lines of 1,000 bytes, by NET_MORE
 *   sleep        like wait, and the other thread takes its time
 *   hold N       "held", and no deadline from here but N ms
 *   handle       tells the test this session's handle
 *   stop         stands still until more has come, for tests of bytes that come early
 *   tls, quit, abort; anything else comes back */

struct fixture {
    struct counters counters;
    struct ctx ctx;
    struct task_lane *short_lane, *heavy_lane, *others;
    struct net *net;
    int port;
    struct net_listener listener;
    _Atomic int closed, opened;
    struct net_handle last_handle;
    size_t lane_queue; /* 0: 1,000 */
};

struct session {
    struct task_job job;
    struct net *net;
    struct net_handle handle;
    struct net_addr peer;
    int big;
    bool is_waiting, wants_lane, is_slow, is_staying;
};

static inline void resume_job(struct task_job *job)
{
    struct session *s = CONTAINER(job, struct session, job);
    struct net *net = s->net;
    struct net_handle h = s->handle;
    if (s->is_slow)
        usleep(50000);
    net_resume(net, h); /* s is not ours from here */
}

static inline enum net_step echo_line(struct conn *c, struct str line)
{
    struct session *s = net_session(c);
    struct fixture *f = net_app(c);
    uint64_t n;
    if (str_eq(line, STR("short")) || str_eq(line, STR("heavy"))) {
        s->wants_lane = true;
        return line.p[0] == 's' ? NET_SHORT : NET_HEAVY;
    }
    if (str_eq(line, STR("wait")) || str_eq(line, STR("early")) || str_eq(line, STR("sleep"))) {
        s->is_slow = line.p[0] == 's';
        s->is_waiting = true;
        s->handle = net_handle(c);
        s->net = net_of(c);
        s->job.run = resume_job;
        if (line.p[0] == 'e')
            net_resume(s->net, s->handle);
        else
            assert_rc(task_lane_post(f->others, &s->job), RC_OK);
        return NET_WAIT;
    }
    s->is_staying = str_eq(line, STR("stay"));
    if (s->is_staying)
        return NET_HEAVY;
    if (str_eq(line, STR("forever")))
        return NET_WAIT;
    if (str_starts(line, STR("big "))) {
        assert_rc(str_to_u64(str_skip(line, 4), &n), RC_OK);
        s->big = (int)n;
        return NET_MORE;
    }
    if (str_eq(line, STR("peer"))) {
        buf_putf(net_out(c), "%.*s\n", STR_ARG(net_peer_text(c)));
        return NET_MORE;
    }
    if (str_eq(line, STR("handle")))
        f->last_handle = net_handle(c);
    if (str_starts(line, STR("hold "))) {
        assert_rc(str_to_u64(str_skip(line, 5), &n), RC_OK);
        net_deadline(c, n);
        buf_put(net_out(c), STR("held\n"));
        return NET_READ;
    }
    if (str_eq(line, STR("local"))) {
        buf_putf(net_out(c), "%s port %d\n",
                 net_is_loopback(net_local(c)) ? "loopback" : "elsewhere",
                 ntohs(net_local(c)->sa.sin6_port));
        return NET_MORE;
    }
    if (str_eq(line, STR("stop"))) {
        usleep(100000);
        return NET_MORE;
    }
    if (str_eq(line, STR("tls"))) {
        buf_put(net_out(c), STR("go ahead\n"));
        return NET_TLS;
    }
    if (str_eq(line, STR("text"))) {
        struct str text = net_tls_text(c);
        buf_putf(net_out(c), "%.*s\n", STR_ARG(text));
        return NET_MORE;
    }
    if (str_eq(line, STR("quit"))) {
        buf_put(net_out(c), STR("bye\n"));
        return NET_CLOSE;
    }
    if (str_eq(line, STR("abort")))
        return NET_ABORT;
    buf_putf(net_out(c), "%s%.*s\n", net_can_block(c) ? "w:" : "", STR_ARG(line));
    return NET_MORE;
}

static inline enum net_step all_lines(struct conn *c)
{
    struct session *s = net_session(c);
    if (s->is_staying && !net_is_leaving(c))
        return NET_HEAVY;
    if (s->is_staying)
        buf_put(net_out(c), STR("left\n"));
    s->is_staying = false;
    for (;;) {
        while (s->big > 0 && !net_out_is_full(c)) {
            buf_putf(net_out(c), "%0999d\n", s->big);
            s->big--;
        }
        if (net_out_is_full(c))
            return NET_MORE;
        ptrdiff_t at = str_find_byte(net_in(c), '\n');
        if (at < 0)
            return NET_READ;
        char line[128];
        size_t n = (size_t)at < sizeof line ? (size_t)at : sizeof line;
        memcpy(line, net_in(c).p, n);
        net_consume(c, (size_t)at + 1);
        enum net_step next = echo_line(c, (struct str){line, n});
        if (next != NET_MORE)
            return next;
    }
}

static inline enum net_step echo_step(struct conn *c, unsigned events)
{
    struct session *s = net_session(c);
    struct fixture *f = net_app(c);
    if (events & NET_EV_OPEN) {
        f->opened++;
        buf_put(net_out(c), events & NET_EV_SECURE ? STR("hello secure\n") : STR("hello\n"));
    }
    if (events & NET_EV_INPUT)
        net_deadline(c, 20000);
    if (events & NET_EV_RESUME) {
        assert_true(s->is_waiting);
        s->is_waiting = false;
        buf_put(net_out(c), STR("resumed\n"));
    }
    assert_false(s->is_waiting);
    if (events & NET_EV_TIMEOUT) {
        buf_put(net_out(c), STR("timeout\n"));
        return NET_CLOSE;
    }
    if (events & NET_EV_DRAIN) {
        buf_put(net_out(c), STR("drain\n"));
        return NET_CLOSE;
    }
    if (events & NET_EV_KICK) {
        buf_put(net_out(c), STR("kicked\n"));
        return NET_CLOSE;
    }
    if (events & NET_EV_WAKE)
        buf_put(net_out(c), STR("woken\n"));
    return all_lines(c);
}

static inline void echo_close(struct conn *c)
{
    struct fixture *f = net_app(c);
    f->closed++;
}

static const struct net_proto echo = {
    .name = "echo",
    .session_size = sizeof(struct session),
    .input_max = 64 * 1024,
    .output_high = 16 * 1024,
    .busy = "busy\n",
    .step = echo_step,
    .close = echo_close,
};

/* --- the server */

static inline int listen_on(int family, const char *ip, int *out_port)
{
    struct sockaddr_storage sa = {.ss_family = (sa_family_t)family};
    struct sockaddr_in6 *v6 = (void *)&sa;
    struct sockaddr_in *v4 = (void *)&sa;
    socklen_t n = sizeof sa;
    int fd = socket(family, SOCK_STREAM, 0);
    assert_int_equal(
        inet_pton(family, ip, family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr),
        1);
    assert_int_equal(bind(fd, (void *)&sa, family == AF_INET ? sizeof *v4 : sizeof *v6), 0);
    assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (void *)&sa, &n), 0);
    *out_port = ntohs(family == AF_INET ? v4->sin_port : v6->sin6_port);
    return fd;
}

static inline void start(struct fixture *f, struct net_limits limits)
{
    if (!limits.drain_ms)
        limits.drain_ms = 2000;
    size_t queue = f->lane_queue ? f->lane_queue : 1000;
    f->ctx.clock = &clock_system;
    f->ctx.counters = &f->counters;
    f->short_lane = task_lane_new("short", 2, queue);
    f->heavy_lane = task_lane_new("heavy", 1, queue);
    f->others = task_lane_new("others", 2, 1000);
    struct net_conf conf = {2, limits, f->short_lane, f->heavy_lane};
    f->net = net_new(&f->ctx, &conf);
    f->listener.fd = listen_on(AF_INET, "127.0.0.1", &f->port);
    f->listener.proto = &echo;
    f->listener.app = f;
    assert_rc(net_listen(f->net, &f->listener), RC_OK);
    net_start(f->net);
}

static inline void stop(struct fixture *f)
{
    net_stop(f->net);
    task_lane_free(&f->others);
    net_free(&f->net);
    task_lane_free(&f->short_lane);
    task_lane_free(&f->heavy_lane);
    close(f->listener.fd);
    assert_int_equal(f->opened, f->closed);
    assert_int_equal(counter_get(&f->counters, COUNTER_CONNECTIONS_OPEN), 0);
}

/* --- a client */

static inline int dial(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (void *)&sa, sizeof sa), 0);
    return fd;
}

static inline int pair_to(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_rc(net_adopt(f->net, fds[1], &f->listener), RC_OK);
    return fds[0];
}

static inline void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads exactly this text, waiting at most ten seconds for each part. */
static inline void hear(int fd, const char *text)
{
    char got[8192];
    size_t n = 0, want = strlen(text);
    assert_true(want < sizeof got);
    while (n < want) {
        struct pollfd p = {fd, POLLIN, 0};
        assert_int_equal(poll(&p, 1, 10000), 1);
        ssize_t now = recv(fd, got + n, want - n, 0);
        assert_true(now > 0);
        n += (size_t)now;
    }
    got[n] = 0;
    assert_string_equal(got, text);
}

static inline void hear_end(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    char byte;
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

#endif
