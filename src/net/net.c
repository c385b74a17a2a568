/* The process's net: its loops and listeners from beginning to end.
 *
 * Ending has three parts, each of which may be the last: sessions are told to finish (drain); after
 * drain_ms those still open are cut; a worker's session is cut when the worker gives it back, which
 * is waited for. What waits in NET_WAIT after that is closed by net_free. */
#include "net/net_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    OLD_MS = 86400000,
    GREETING_MS = 30000,
    STALL_MS = 120000,
    DRAIN_MS = 10000,
    CUT_MS = 500,
    LOOK_MS = 20
};

static void set_default(uint64_t *value, uint64_t otherwise)
{
    if (!*value)
        *value = otherwise;
}

static uint64_t compressed(const struct net_limits *limits)
{
    enum { MOST = 10000 };
    return limits->compressed ? limits->compressed : MOST;
}

struct net *net_new(const struct ctx *ctx, const struct net_conf *conf)
{
    struct net *net = mem_zero(sizeof *net);
    net->ctx = ctx;
    net->conf = *conf;
    set_default(&net->conf.limits.greeting_ms, GREETING_MS);
    set_default(&net->conf.limits.stall_ms, STALL_MS);
    set_default(&net->conf.limits.drain_ms, DRAIN_MS);
    set_default(&net->conf.limits.old_ms, OLD_MS);
    atomic_init(&net->greeting_ms, net->conf.limits.greeting_ms);
    atomic_init(&net->old_ms, net->conf.limits.old_ms);
    net->overdue.fn = listener_overdue;
    limits_init(&net->limits, &net->conf.limits);
    budget_init(&net->compressed, compressed(&net->conf.limits));
    list_init(&net->listeners);
    list_init(&net->next);
    atomic_init(&net->next_id, clock_wall(ctx->clock) / NS_PER_MS << 8);
    pthread_mutex_init(&net->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&net->changed, &attr);
    pthread_condattr_destroy(&attr);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    net->n_loops = conf->loops ? conf->loops : processors > 0 ? (unsigned)processors : 1;
    net->loops = mem_zero(net->n_loops * sizeof *net->loops);
    for (unsigned i = 0; i < net->n_loops; i++)
        loop_init(&net->loops[i], net, i, /* pages that are never used are never there */
                  limits_most() + limits_most_dials());
    return net;
}

void net_start(struct net *net)
{
    net->is_started = true;
    for (unsigned i = 0; i < net->n_loops; i++)
        loop_start(&net->loops[i]);
}

void net_drain(struct net *net)
{
    if (atomic_exchange(&net->is_draining, true))
        return;
    for (unsigned i = 0; i < net->n_loops; i++)
        loop_ask(&net->loops[i], ASK_DRAIN);
}

static bool is_occupied(struct net *net)
{
    return limits_count(&net->limits) > 0 || limits_dials(&net->limits) > 0;
}

/* Waits until no connection is left, or until `ms` have passed and no worker holds one. Looks again
 * now and then, because a hand-back that leaves the connection open wakes nobody here. */
static bool wait_for_end(struct net *net, uint64_t ms, bool also_lanes)
{
    uint64_t end = clock_mono(&clock_system) + ms * NS_PER_MS, now;
    pthread_mutex_lock(&net->mutex);
    while (is_occupied(net)) {
        now = clock_mono(&clock_system);
        if (now >= end && !(also_lanes && atomic_load(&net->in_lanes) > 0))
            break;
        uint64_t until = now + LOOK_MS * NS_PER_MS;
        const struct timespec ts = {(time_t)(until / NS_PER_SEC), (long)(until % NS_PER_SEC)};
        pthread_cond_timedwait(&net->changed, &net->mutex, &ts);
    }
    pthread_mutex_unlock(&net->mutex);
    return !is_occupied(net);
}

void net_stop(struct net *net)
{
    if (!net->is_started)
        return;
    net_drain(net);
    if (!wait_for_end(net, net->conf.limits.drain_ms, false)) {
        for (unsigned i = 0; i < net->n_loops; i++)
            loop_ask(&net->loops[i], ASK_CUT);
        if (!wait_for_end(net, CUT_MS, true))
            log_event(net->ctx->log, LOG_WARNING, "sessions-left-waiting", NULL);
    }
    for (unsigned i = 0; i < net->n_loops; i++)
        loop_ask(&net->loops[i], ASK_END);
    for (unsigned i = 0; i < net->n_loops; i++)
        loop_join(&net->loops[i]);
    net->is_started = false;
}

void net_free(struct net **net)
{
    struct net *n = *net;
    if (!n)
        return;
    LIST_EACH_SAFE (&n->listeners, it) {
        struct listener *listener = CONTAINER(it, struct listener, link);
        list_remove(it);
        loop_listen_end(listener);
        listener_unref(listener);
    }
    for (unsigned i = 0; i < n->n_loops; i++)
        loop_fini(&n->loops[i]);
    limits_fini(&n->limits);
    pthread_cond_destroy(&n->changed);
    pthread_mutex_destroy(&n->mutex);
    free(n->loops);
    free(n);
    *net = NULL;
}

size_t net_count(struct net *net)
{
    return limits_count(&net->limits);
}

size_t net_dials(struct net *net)
{
    return limits_dials(&net->limits);
}

bool net_is_draining(struct net *net)
{
    return atomic_load(&net->is_draining);
}

void net_limit(struct net *net, const struct net_limits *limits)
{
    atomic_store(&net->greeting_ms, limits->greeting_ms ? limits->greeting_ms : GREETING_MS);
    atomic_store(&net->old_ms, limits->old_ms ? limits->old_ms : OLD_MS);
    limits_set(&net->limits, limits);
    budget_limit(&net->compressed, compressed(limits));
}

void net_resume(struct net *net, struct net_handle h)
{
    net_wake(net, h, NET_EV_RESUME);
}

void net_wake(struct net *net, struct net_handle h, unsigned events)
{
    if (h.loop < net->n_loops)
        loop_post(&net->loops[h.loop], h.slot, h.generation, events & WORD_EVENTS);
}

void net_timer_set(struct net *net, struct net_timer *t, uint64_t ms)
{
    loop_timer(&net->loops[0], t, loop_now(&net->loops[0]) + ms * NS_PER_MS);
}

void net_timer_cancel(struct net *net, struct net_timer *t)
{
    timers_cancel(&net->loops[0].timers, t);
}
