/* For the tests of sessions: a home with a store, messages and jobs, and a host whose words are a
 * script. Not part of any library. */
#ifndef RELAY_TEST_PEER_H
#define RELAY_TEST_PEER_H

#include "net/test_client.h"
#include "relay/session_int.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>

enum { PEER_RECIPIENTS = 8, PEER_STORY = 8192 };

struct home {
    struct counters counters;
    struct ctx ctx;
    struct task_lane *short_lane, *heavy_lane;
    struct net *net;
    struct kv *kv;
    struct relay_house house;
    struct relay_settings settings;
    struct relay_target target;
    int listener, port;
    struct relay_session_owner owner;
    struct relay_session *session;
    struct relay_facts facts;
    _Atomic int ready, gone;
};

/* A job with its message. */
struct letter {
    struct relay_job job;
    struct queue_item item;
    struct queue_recipient recipients[PEER_RECIPIENTS];
    const struct queue_recipient *pointers[PEER_RECIPIENTS];
    struct relay_outcome outcomes[PEER_RECIPIENTS];
    struct arena arena;
    _Atomic int done;
    struct relay_session *then; /* done() gives it `next` */
    struct letter *next;
};

static inline void home_ready(struct relay_session_owner *owner, struct relay_session *session)
{
    struct home *h = CONTAINER(owner, struct home, owner);
    h->ready++;
}

static inline void home_gone(struct relay_session_owner *owner, struct relay_session *session)
{
    struct home *h = CONTAINER(owner, struct home, owner);
    h->facts = *relay_session_facts(session);
    h->gone++;
}

static inline int home_listen(struct home *h)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t n = sizeof sa;
    char text[32];
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (void *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 100), 0);
    assert_int_equal(getsockname(fd, (void *)&sa, &n), 0);
    h->port = ntohs(sa.sin_port);
    snprintf(text, sizeof text, "127.0.0.1:%d", h->port);
    assert_rc(net_addr_parse(str_of(text), &h->target.addr), RC_OK);
    return fd;
}

static inline void home_begin(struct home *h)
{
    *h = (struct home){.ctx.clock = &clock_system};
    h->ctx.counters = &h->counters;
    h->short_lane = task_lane_new("short", 2, 100);
    h->heavy_lane = task_lane_new("heavy", 1, 100);
    struct net_conf conf = {2, {.drain_ms = 2000}, h->short_lane, h->heavy_lane};
    h->net = net_new(&h->ctx, &conf);
    h->kv = kv_mem_new(&h->ctx);
    h->house =
        (struct relay_house){.ctx = &h->ctx, .net = h->net, .kv = h->kv, .lane = h->short_lane};
    h->settings.hostname = STR("us.test");
    h->target.host = STR("mx.test");
    h->owner = (struct relay_session_owner){home_ready, home_gone};
    h->listener = home_listen(h);
    net_start(h->net);
}

static inline void home_wait_gone(struct home *h)
{
    for (int i = 0; !h->gone; i++) {
        assert_true(i < CLIENT_PATIENCE_MS);
        usleep(1000);
    }
}

static inline void home_end(struct home *h)
{
    net_stop(h->net);
    task_lane_free(&h->short_lane); /* no session is left that could want them */
    task_lane_free(&h->heavy_lane);
    net_free(&h->net);
    kv_close(&h->kv);
    close(h->listener);
}

static inline void home_open(struct home *h)
{
    h->ready = h->gone = 0;
    assert_rc(relay_session_open(&h->house, &h->settings, &h->target, &h->owner, &h->session),
              RC_OK);
}

static inline int home_accept(struct home *h)
{
    struct pollfd p = {.fd = h->listener, .events = POLLIN};
    assert_int_equal(poll(&p, 1, CLIENT_PATIENCE_MS), 1);
    return accept(h->listener, NULL, NULL);
}

/* --- letters */

static inline void letter_done(struct relay_job *job)
{
    struct letter *l = CONTAINER(job, struct letter, job);
    if (l->then)
        relay_session_send(l->then, &l->next->job);
    l->done++;
}

static inline struct kv_blob_id home_store(struct home *h, struct str message)
{
    const struct kv_part part = {KV_QUEUE, 1};
    struct kv_blob_out *out = kv_blob_new(h->kv, part, 0, 0);
    struct kv_blob_id id;
    assert_rc(kv_blob_write(out, message), RC_OK);
    assert_rc(kv_blob_finish(&out, &id), RC_OK);
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_ref(txn, id), RC_OK);
    assert_rc(kv_commit_wait(h->kv, txn, NULL), RC_OK);
    kv_blob_forget(h->kv, id);
    return id;
}

/* `to`: addresses with spaces between them. */
static inline struct letter *letter_new(struct home *h, const char *from, const char *to,
                                        struct str message)
{
    struct letter *l = mem_zero(sizeof *l);
    struct str rest = str_of(to), address, domain;
    l->item = (struct queue_item){.sender = str_of(from), .size = message.n};
    l->item.blob = home_store(h, message);
    while (str_cut(&rest, ' ', &address)) {
        domain = str_skip(address, (size_t)str_find_byte(address, '@') + 1);
        struct queue_recipient *r = &l->recipients[l->job.n];
        *r = (struct queue_recipient){.address = address, .domain = domain};
        l->pointers[l->job.n++] = r;
    }
    l->job.done = letter_done;
    l->job.item = &l->item;
    l->job.recipients = l->pointers;
    l->job.outcomes = l->outcomes;
    l->job.arena = &l->arena;
    return l;
}

static inline void letter_wait(struct letter *l)
{
    for (int i = 0; !l->done; i++) {
        assert_true(i < CLIENT_PATIENCE_MS);
        usleep(1000);
    }
}

/* "ok 10 250 2.0.0 words|...": result, stage, code, status, text of each; then open, closed or
 * stale. */
static inline void letter_story(const struct letter *l, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < l->job.n; i++) {
        const struct relay_outcome *o = &l->outcomes[i];
        n += (size_t)snprintf(out + n, PEER_STORY - n, "%s %d %u %s %.*s|", rc_name(o->rc),
                              (int)o->stage, o->code, o->status, STR_ARG(o->text));
    }
    snprintf(out + n, PEER_STORY - n, "%s",
             l->job.is_stale  ? "stale"
             : l->job.is_open ? "open"
                              : "closed");
}

static inline void letter_free(struct letter **l)
{
    arena_fini(&(*l)->arena);
    free(*l);
    *l = NULL;
}

static inline void letter_expect(struct letter **l, const char *story)
{
    char got[PEER_STORY];
    letter_wait(*l);
    letter_story(*l, got);
    assert_string_equal(got, story);
    letter_free(l);
}

/* --- the host: "S: " is said, `at_once` bytes at a time, "C: " is expected, both with CRLF;
 * "X" closes, "R" resets. */
static inline void peer_play(int fd, const char *script, size_t at_once)
{
    struct str rest = str_of(script), line;
    while (str_cut(&rest, '\n', &line)) {
        struct buf text = {.cap = 1 << 20};
        if (!line.n)
            continue;
        buf_put(&text, str_skip(line, 3));
        buf_put(&text, STR("\r\n"));
        struct str bytes = buf_str(&text);
        if (line.p[0] == 'C')
            client_expect(fd, bytes);
        for (size_t at = 0; line.p[0] == 'S' && at < bytes.n; at += at_once)
            client_send(fd, str_sub(bytes, at, at_once));
        buf_fini(&text);
        if (line.p[0] == 'R') {
            const struct linger reset = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        if (line.p[0] == 'X' || line.p[0] == 'R')
            close(fd);
    }
}

#endif
