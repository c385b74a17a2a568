/* Loops: one thread, one libevent base, and what other threads may send to it. The only file that
 * knows libevent, of which only the core is used: readiness, one timer, an eventfd.
 *
 * Other threads reach a loop through three things under its mutex: the queue of slots that have
 * events, the list of connections made for it, and requests (drain, cut, end). The eventfd is
 * written once until the loop has looked, and never read: it is watched edge-triggered, and each
 * write is an edge.
 *
 * Sockets are watched edge-triggered for everything from beginning to end, so that neither a slow
 * peer nor a hand-over costs a system call: the loop remembers what it was told. */
#include "net/net_int.h"

#include "base/mem.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

uint64_t loop_now(const struct loop *l)
{
    return clock_mono(l->net->ctx->clock);
}

static void signal_loop(struct loop *l, bool is_needed)
{
    const uint64_t one = 1;
    if (is_needed && write(l->wake_fd, &one, sizeof one) != sizeof one)
        abort(); /* an eventfd takes 2^64 - 2 before it refuses */
}

/* The mutex is held: whether the eventfd must be written. */
static bool mark_signalled(struct loop *l)
{
    bool is_needed = !l->is_signalled;
    l->is_signalled = true;
    return is_needed;
}

void loop_post(struct loop *l, uint32_t slot, uint64_t generation, uint32_t bits)
{
    if (!slots_post(&l->slots, slot, generation, bits))
        return;
    pthread_mutex_lock(&l->mutex);
    l->queue = mem_array(l->queue, &l->queue_size, l->queued + 1, sizeof *l->queue);
    l->queue[l->queued++] = slot;
    bool is_needed = mark_signalled(l);
    pthread_mutex_unlock(&l->mutex);
    signal_loop(l, is_needed);
}

void loop_arrive(struct loop *l, struct conn *c)
{
    pthread_mutex_lock(&l->mutex);
    list_add_tail(&l->arrivals, &c->link);
    bool is_needed = mark_signalled(l);
    pthread_mutex_unlock(&l->mutex);
    signal_loop(l, is_needed);
}

void loop_ask(struct loop *l, unsigned what)
{
    pthread_mutex_lock(&l->mutex);
    l->asked |= what;
    bool is_needed = mark_signalled(l);
    pthread_mutex_unlock(&l->mutex);
    signal_loop(l, is_needed);
}

static void drain(struct loop *l)
{
    if (l->index == 0)
        LIST_EACH (&l->net->listeners, it)
            loop_listen_end(CONTAINER(it, struct listener, link));
    for (uint32_t i = 1; i <= l->slots.used; i++)
        if (l->slots.slots[i].conn)
            loop_post(l, i, l->slots.slots[i].conn->generation, NET_EV_DRAIN);
}

static void drain_overdue(struct loop *l)
{
    for (uint32_t i = 1; i <= l->slots.used; i++) {
        const struct conn *c = l->slots.slots[i].conn;
        if (c && conn_is_overdue(c))
            loop_post(l, i, c->generation, NET_EV_DRAIN);
    }
}

static void cut(struct loop *l)
{
    for (uint32_t i = 1; i <= l->slots.used; i++)
        if (l->slots.slots[i].conn)
            conn_cut(l->slots.slots[i].conn);
}

static void serve_asked(struct loop *l, unsigned asked)
{
    if (asked & ASK_LISTEN)
        listeners_replace(l->net);
    if (asked & ASK_OVERDUE)
        drain_overdue(l);
    if (asked & ASK_DRAIN)
        drain(l);
    if (asked & ASK_CUT)
        cut(l);
    if (asked & ASK_END) {
        l->ending = true;
        event_base_loopbreak(l->base);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    struct list arrivals;
    list_init(&arrivals);
    pthread_mutex_lock(&l->mutex);
    uint32_t *queue = l->queue;
    size_t n = l->queued, size = l->queue_size;
    l->queue = l->spare;
    l->queue_size = l->spare_size;
    l->queued = 0;
    l->spare = NULL;
    l->spare_size = 0;
    unsigned asked = l->asked;
    l->asked = 0;
    l->is_signalled = false;
    list_splice_tail(&arrivals, &l->arrivals);
    pthread_mutex_unlock(&l->mutex);

    LIST_EACH_SAFE (&arrivals, it) {
        list_remove(it);
        conn_begin(l, CONTAINER(it, struct conn, link));
    }
    for (size_t i = 0; i < n; i++) {
        struct conn *c = slots_unqueue(&l->slots, queue[i]);
        if (c)
            conn_drive(c);
    }
    l->spare = queue;
    l->spare_size = size;
    serve_asked(l, asked);
}

/* --- readiness */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    if (what & (EV_READ | EV_CLOSED))
        c->is_readable = true;
    if (what & EV_CLOSED)
        c->is_closing = true;
    if (what & EV_WRITE)
        c->is_blocked = false;
    conn_drive(c);
}

bool loop_watch(struct conn *c)
{
    const short what = EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;
    c->event = event_new(c->loop->base, c->fd, what, on_ready, c);
    return c->event && event_add(c->event, NULL) == 0;
}

void loop_unwatch(struct conn *c)
{
    if (c->event)
        event_free(c->event);
    c->event = NULL;
}

/* --- timers */

static void tick_set(struct loop *l, uint64_t now)
{
    struct net_timer *first = timers_first(&l->timers);
    if (!first || (l->tick_at && l->tick_at <= first->at))
        return; /* an earlier tick finds out by itself */
    uint64_t wait = first->at > now ? first->at - now : 0;
    const struct timeval tv = {(time_t)(wait / NS_PER_SEC),
                               (suseconds_t)((wait % NS_PER_SEC + 999) / 1000)};
    l->tick_at = first->at ? first->at : 1;
    evtimer_add(l->tick, &tv);
}

void loop_timer(struct loop *l, struct net_timer *t, uint64_t at)
{
    timers_set(&l->timers, t, at);
    tick_set(l, loop_now(l));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    uint64_t now = loop_now(l);
    l->tick_at = 0;
    for (;;) {
        struct net_timer *first = timers_first(&l->timers);
        if (!first || first->at > now)
            break;
        timers_cancel(&l->timers, first);
        first->fn(first);
    }
    tick_set(l, now);
}

/* --- listeners */

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
    listener_accept(arg);
}

bool loop_listen(struct loop *l, struct listener *listener)
{
    listener->event =
        event_new(l->base, listener->conf.fd, EV_READ | EV_PERSIST, on_connection, listener);
    return listener->event && event_add(listener->event, NULL) == 0;
}

void loop_listen_pause(struct listener *listener, bool is_paused)
{
    if (!listener->event)
        return;
    if (is_paused)
        event_del(listener->event);
    else
        event_add(listener->event, NULL);
}

void loop_listen_end(struct listener *listener)
{
    timers_cancel(&listener->net->loops[0].timers, &listener->retry);
    if (listener->event)
        event_free(listener->event);
    listener->event = NULL;
}

/* --- life */

static void fail(const char *what)
{
    fprintf(stderr, "penfold: %s: cannot make an event loop\n", what);
    abort();
}

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;
    if (!config)
        return NULL;
    /* No timer of the kernel: setting it would be a system call for each wait, and on_tick minds an
     * early one. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    if (event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

void loop_init(struct loop *l, struct net *net, uint32_t index, uint32_t n_slots)
{
    l->net = net;
    l->index = index;
    pthread_mutex_init(&l->mutex, NULL);
    list_init(&l->arrivals);
    slots_init(&l->slots, n_slots);
    l->base = base_new();
    if (!l->base)
        fail("libevent");
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        fail("eventfd");
    l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_ET | EV_PERSIST, on_wake, l);
    l->tick = evtimer_new(l->base, on_tick, l);
    if (!l->wake || !l->tick || event_add(l->wake, NULL) != 0)
        fail("event");
}

void loop_fini(struct loop *l)
{
    LIST_EACH_SAFE (&l->arrivals, it) {
        list_remove(it);
        conn_close_session(CONTAINER(it, struct conn, link));
        conn_free(CONTAINER(it, struct conn, link));
    }
    for (uint32_t i = 1; i <= l->slots.used; i++)
        if (l->slots.slots[i].conn)
            conn_end(l->slots.slots[i].conn);
    event_free(l->wake);
    event_free(l->tick);
    event_base_free(l->base);
    close(l->wake_fd);
    timers_fini(&l->timers);
    slots_fini(&l->slots);
    free(l->queue);
    free(l->spare);
    deflate_machines_free(&l->machines);
    pthread_mutex_destroy(&l->mutex);
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    while (!l->ending)
        event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

void loop_start(struct loop *l)
{
    l->thread = task_thread("loop", loop_main, l);
}

void loop_join(struct loop *l)
{
    pthread_join(l->thread, NULL);
}
