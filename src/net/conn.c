/* A connection: its beginning, its end, and what its session may ask of it. */
#include "net/net_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OUTPUT_CAP_FACTOR = 4 };

struct conn *conn_new(struct net *net, int fd, const struct net_listener *conf,
                      const struct net_addr *peer)
{
    struct conn *c = mem_zero(sizeof *c + conf->proto->session_size);
    c->fd = fd;
    c->conf = conf;
    c->peer = *peer;
    addr_text(peer, c->peer_text);
    uint64_t id = atomic_fetch_add_explicit(&net->next_id, 1, memory_order_relaxed);
    snprintf(c->id, sizeof c->id, "%.16s-%llx", conf->proto->name, (unsigned long long)id);
    list_init(&c->link);
    buf_init(&c->in, conf->proto->input_max);
    buf_init(&c->out, conf->proto->output_high * OUTPUT_CAP_FACTOR);
    c->timer.fn = conn_timer;
    c->phase = PHASE_STEP;
    c->last = NET_READ;
    /* Until a loop has it, only this field says whose it was. */
    c->loop = &net->loops[0];
    return c;
}

void conn_free(struct conn *c)
{
    struct net *net = c->loop->net;
    tls_free(&c->tls);
    layer_free(c);
    free(c->front);
    if (c->may_compress)
        budget_give(&net->compressed, 1);
    buf_wipe(&c->in); /* a line that was cut may be one with a password */
    buf_fini(&c->out);
    if (c->fd >= 0)
        close(c->fd);
    if (c->listener) {
        atomic_fetch_sub(&net->services[c->listener->service].open, 1);
        listener_unref(c->listener); /* before the count below: net_stop waits for that one */
    }
    bool is_ours = c->ours;
    counter_sub(net->ctx->counters, is_ours ? COUNTER_DIALS_OPEN : COUNTER_CONNECTIONS_OPEN, 1);
    conn_give_handshake(c);
    dial_free(c);
    pthread_mutex_lock(&net->mutex);
    if (is_ours)
        limits_give_dial(&net->limits);
    else
        limits_give(&net->limits, &c->peer, c->is_counted);
    pthread_cond_broadcast(&net->changed);
    pthread_mutex_unlock(&net->mutex);
    free(c);
}

void conn_begin(struct loop *l, struct conn *c)
{
    struct net *net = l->net;
    c->loop = l;
    c->slot = slots_take(&l->slots, c, &c->generation);
    if (c->ours && !dial_connect(c)) {
        conn_end(c);
        return;
    }
    if (!c->slot || !loop_watch(c)) {
        conn_log(c, LOG_ERROR, "connection-dropped", "no room in the loop");
        dial_fail(c, NET_FAILED_HERE, "no room in the loop");
        conn_end(c);
        return;
    }
    if (!c->ours)
        c->deadline = loop_now(l) + atomic_load(&net->greeting_ms) * NS_PER_MS;
    if (c->ours) {
        c->phase = PHASE_CONNECT;
    } else if (c->phase == PHASE_PROXY) {
        c->is_readable = true; /* to be looked at once, whether or not an edge has come */
    } else if (c->conf->is_tls) {
        c->phase = PHASE_START_TLS;
    } else {
        c->events = NET_EV_OPEN;
        c->is_open = true;
    }
    if (atomic_load(&net->is_draining))
        c->events |= NET_EV_DRAIN;
    conn_drive(c);
}

void conn_close_session(struct conn *c)
{
    if (!c->is_open)
        return;
    if (c->is_broken)
        dial_fail(c, NET_FAILED_BROKEN, NULL);
    else if (c->is_cut)
        dial_fail(c, NET_FAILED_HERE, "the server is shutting down");
    if (c->ours && !c->ours->is_told)
        counter_add(net_ctx(c)->counters, COUNTER_DIALS_FAILED, 1);
    c->is_open = false;
    c->conf->proto->close(c);
}

void conn_end(struct conn *c)
{
    struct loop *l = c->loop;
    conn_close_session(c);
    loop_unwatch(c);
    timers_cancel(&l->timers, &c->timer);
    if (c->slot)
        slots_give(&l->slots, c->slot);
    conn_free(c);
}

bool conn_take_handshake(struct conn *c)
{
    struct limits *l = &c->loop->net->limits;
    enum rc rc =
        c->ours ? limits_take_dial_handshake(l) : limits_take_handshake(l, &c->peer, c->is_counted);
    c->is_shaking = rc == RC_OK;
    return c->is_shaking;
}

void conn_give_handshake(struct conn *c)
{
    struct limits *l = &c->loop->net->limits;
    if (c->is_shaking && c->ours)
        limits_give_dial_handshake(l);
    else if (c->is_shaking)
        limits_give_handshake(l, &c->peer, c->is_counted);
    c->is_shaking = false;
}

void conn_cut(struct conn *c)
{
    c->is_cut = true;
    if (c->hands == HANDS_LOOP)
        conn_end(c);
}

void conn_log(struct conn *c, enum log_level level, const char *event, const char *cause)
{
    struct log_line line;
    net_log(c, &line, level, event);
    log_text(&line, "cause", cause);
    log_end(&line);
}

/* --- what a session may ask */

void *net_session(struct conn *c)
{
    return c->session;
}

void *net_app(struct conn *c)
{
    return c->conf->app;
}

struct net *net_of(struct conn *c)
{
    return c->loop->net;
}

struct str net_in(struct conn *c)
{
    return (struct str){c->in_p ? c->in_p : "", c->in_n};
}

void net_consume(struct conn *c, size_t n)
{
    if (n > c->in_n)
        n = c->in_n;
    if (n) {
        c->in_p += n;
        c->in_n -= n;
    }
}

void net_wipe(struct conn *c, struct str part)
{
    /* In net's own buffers. Byte by byte, so that sanitizers see where it writes. */
    volatile char *p = (volatile char *)(uintptr_t)part.p;
    for (size_t i = 0; i < part.n; i++)
        p[i] = 0;
}

struct buf *net_out(struct conn *c)
{
    return &c->out;
}

bool net_out_is_full(struct conn *c)
{
    return buf_len(&c->out) > c->conf->proto->output_high;
}

bool net_is_eof(struct conn *c)
{
    return c->is_eof;
}

bool net_is_leaving(struct conn *c)
{
    return c->is_leaving;
}

bool net_can_block(struct conn *c)
{
    return c->can_block;
}

unsigned net_pending(struct conn *c)
{
    return slots_peek(&c->loop->slots, c->slot) & WORD_EVENTS & ~(unsigned)NET_EV_RESUME;
}

void net_deadline(struct conn *c, uint64_t ms)
{
    c->deadline = loop_now(c->loop) + ms * NS_PER_MS;
}

const struct net_addr *net_peer(struct conn *c)
{
    return &c->peer;
}

struct str net_peer_text(struct conn *c)
{
    return str_of(c->peer_text);
}

bool net_peer_uid(struct conn *c, uint32_t *out)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    if (c->peer.sa.sin6_family != AF_UNIX ||
        getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 || peer.uid == (uid_t)-1)
        return false;
    *out = peer.uid;
    return true;
}

bool net_is_secure(struct conn *c)
{
    return c->is_secure || c->front;
}

bool net_has_tls(struct conn *c)
{
    return c->conf->tls && !net_is_secure(c);
}

bool net_can_compress(struct conn *c)
{
    struct budget *b = &c->loop->net->compressed;
    c->may_compress = c->may_compress || budget_take(b, 1);
    return c->may_compress;
}

bool net_is_compressed(struct conn *c)
{
    return c->layer && !c->layer->is_ending;
}

struct str net_tls_text(struct conn *c)
{
    if (c->is_secure)
        return tls_text(c->tls);
    return c->front ? str_of(c->front) : (struct str){NULL, 0};
}

bool net_peer_certificate(struct conn *c, unsigned char out[NET_FINGERPRINT])
{
    return c->is_secure && tls_fingerprint(c->tls, out);
}

const char *net_binding_type(struct conn *c)
{
    return c->is_secure ? tls_binding_type(c->tls) : NULL;
}

enum rc net_channel_binding(struct conn *c, struct net_binding *out)
{
    *out = (struct net_binding){.type = net_binding_type(c)};
    return out->type ? tls_bind(c->tls, out) : RC_NOTFOUND;
}

const char *net_id(struct conn *c)
{
    return c->id;
}

const struct ctx *net_ctx(struct conn *c)
{
    return c->loop->net->ctx;
}

void net_log(struct conn *c, struct log_line *l, enum log_level level, const char *event)
{
    log_begin(l, net_ctx(c)->log, level, event);
    log_text(l, "session", c->id);
    log_text(l, "peer", c->peer_text);
}

struct net_handle net_handle(struct conn *c)
{
    return (struct net_handle){c->loop->index, c->slot, c->generation};
}
