/* The fan-out: which queue items are on their way to their accounts here, and when.
 *
 * Invariants:
 *   1. At most FANOUT_MAX items are on their way, and at most FANOUT_KNOWN are known; the others
 * wait in the queue alone, whose index says when they are due.
 *   2. An item is on its way at most once at a time: each known id has one struct waiting, until it
 * has left the queue, is held, or the index has the time of its next try.
 *   3. Only what could not be settled (the store does not write, the lane is full) is remembered
 * here for a later try.
 *
 * One thread (the pacer) does what waits: it reads what is due, and starts it. What becomes of an
 * item is in copies.c.
 */
#include "deliver/deliver_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 256, FEED_RETRY_MS = 1000 };
/* The wall clock may be set meanwhile. */
static const uint64_t PACER_WAIT_MAX = 600 * NS_PER_SEC;

struct fanout {
    struct ctx ctx;
    const struct deliver_conf *conf;
    struct queue_sink sink;
    struct queue_feed *feed;
    pthread_t pacer;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct map known; /* struct waiting, by id */
    size_t n_known;
    struct list ready; /* struct waiting */
    struct later later;
    uint64_t feed_due; /* wall clock: when the feed has more */
    unsigned n_back;   /* entries given back to the feed */
    size_t running;
    bool ending;
};

const struct deliver_conf *fanout_conf(const struct fanout *f)
{
    return f->conf;
}

const struct ctx *fanout_ctx(const struct fanout *f)
{
    return &f->ctx;
}

/* --- what is known ---------------------------------------------------------------------------- */

static uint64_t hash_of(struct queue_id id)
{
    uint64_t hash;
    memcpy(&hash, id.b + 8, sizeof hash); /* random as it is */
    return hash;
}

static struct waiting *find(struct fanout *f, struct queue_id id)
{
    struct map_node *node = map_find(&f->known, hash_of(id));
    for (; node; node = map_next(node)) {
        struct waiting *w = CONTAINER(node, struct waiting, node);
        if (memcmp(w->id.b, id.b, sizeof id.b) == 0)
            return w;
    }
    return NULL;
}

static struct waiting *know(struct fanout *f, struct queue_id id)
{
    struct waiting *w = mem_zero(sizeof *w);
    w->id = id;
    map_add(&f->known, &w->node, hash_of(id));
    f->n_known++;
    return w;
}

static void forget(struct fanout *f, struct waiting *w)
{
    map_remove(&f->known, &w->node);
    f->n_known--;
    free(w);
}

void fanout_ended(struct fanout *f, struct waiting *w, enum fanout_end how)
{
    pthread_mutex_lock(&f->mutex);
    w->is_running = false;
    w->failures = how == FANOUT_AGAIN ? w->failures + 1 : 0;
    if (w->is_again) {
        w->is_again = false;
        list_add_tail(&f->ready, &w->link);
    } else if (how == FANOUT_GONE) {
        forget(f, w);
    } else {
        uint64_t wait = fanout_wait_after(f->conf, w->failures);
        later_add(&f->later, w, clock_mono(f->ctx.clock) + wait);
    }
    f->running--;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

/* The mutex is held. */
static void give_back(struct fanout *f, const struct queue_due *entry)
{
    queue_feed_back(f->feed, entry);
    f->n_back++;
    if (entry->due < f->feed_due) {
        f->feed_due = entry->due;
        pthread_cond_broadcast(&f->changed);
    }
}

/* The mutex is held. One that is known already: now rather than later. */
static void add_ready(struct fanout *f, const struct queue_due *entry)
{
    struct waiting *w = find(f, entry->id);
    if (w && w->is_running) {
        w->is_again = true;
        return;
    }
    if (w && !w->place)
        return;
    if (!w && f->n_known >= FANOUT_KNOWN) {
        give_back(f, entry);
        return;
    }
    if (w)
        later_remove(&f->later, w);
    else
        w = know(f, entry->id);
    list_add_tail(&f->ready, &w->link);
    pthread_cond_broadcast(&f->changed);
}

void fanout_due(struct fanout *f, const struct queue_due *entries, size_t n)
{
    uint64_t now = clock_wall(f->ctx.clock);
    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < n; i++) {
        if (entries[i].due > now)
            give_back(f, &entries[i]);
        else
            add_ready(f, &entries[i]);
    }
    pthread_mutex_unlock(&f->mutex);
}

static void told(struct queue_sink *sink, const struct queue_due *entries, size_t n)
{
    fanout_due(CONTAINER(sink, struct fanout, sink), entries, n);
}

/* The feed begins the shard anew. */
static void again(struct queue_sink *sink, unsigned shard)
{
    struct fanout *f = CONTAINER(sink, struct fanout, sink);
    pthread_mutex_lock(&f->mutex);
    f->n_back++;
    f->feed_due = 0;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

/* --- the pacer -------------------------------------------------------------------------------- */

/* The mutex is held; a place is free. */
static void start_item(struct fanout *f, struct waiting *w)
{
    w->is_running = true;
    f->running++;
    pthread_mutex_unlock(&f->mutex);
    fanout_item_start(f, w);
    pthread_mutex_lock(&f->mutex);
}

static void log_unread(struct fanout *f, enum rc rc)
{
    struct log_line l;
    log_begin(&l, f->ctx.log, LOG_ERROR, "queue-unreadable");
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

/* The mutex is held, but for the reading. What came back meanwhile may be due before what the feed
 * said. */
static void read_feed(struct fanout *f)
{
    struct arena arena = {0};
    struct queue_due_page page = {0};
    unsigned n_back = f->n_back;
    uint64_t now = clock_wall(f->ctx.clock);
    pthread_mutex_unlock(&f->mutex);
    enum rc rc = queue_feed_next(f->feed, now, PAGE, &arena, &page);
    if (rc == RC_OK)
        fanout_due(f, page.entries, page.n);
    else
        log_unread(f, rc);
    pthread_mutex_lock(&f->mutex);
    if (rc != RC_OK)
        f->feed_due = now + FEED_RETRY_MS * NS_PER_MS;
    else
        f->feed_due = f->n_back != n_back || page.has_more ? 0 : page.next_due;
    arena_fini(&arena);
}

/* Moves what is due to the ready list; the monotonic time of the next one that waits here. */
static uint64_t wake_due(struct fanout *f)
{
    uint64_t now = clock_mono(f->ctx.clock);
    for (struct waiting *w = later_first(&f->later); w; w = later_first(&f->later)) {
        if (w->due > now)
            return w->due;
        later_remove(&f->later, w);
        list_add_tail(&f->ready, &w->link);
    }
    return UINT64_MAX;
}

static bool has_room(const struct fanout *f)
{
    return f->n_known < FANOUT_KNOWN - PAGE;
}

/* Until something is told, or `until`, or the feed has more. */
static void wait_for_change(struct fanout *f, uint64_t until)
{
    struct timespec at;
    uint64_t mono = clock_mono(f->ctx.clock), wall = clock_wall(f->ctx.clock);
    uint64_t wait = until == UINT64_MAX ? UINT64_MAX : until > mono ? until - mono : 0;
    if (has_room(f) && f->feed_due != UINT64_MAX) {
        uint64_t feed_wait = f->feed_due > wall ? f->feed_due - wall : 0;
        wait = feed_wait < wait ? feed_wait : wait;
    }
    if (wait == UINT64_MAX) {
        pthread_cond_wait(&f->changed, &f->mutex);
        return;
    }
    if (wait > PACER_WAIT_MAX)
        wait = PACER_WAIT_MAX;
    clock_gettime(CLOCK_MONOTONIC, &at);
    wait += (uint64_t)at.tv_nsec;
    at.tv_sec += (time_t)(wait / NS_PER_SEC);
    at.tv_nsec = (long)(wait % NS_PER_SEC);
    pthread_cond_timedwait(&f->changed, &f->mutex, &at);
}

static void *pacer_main(void *arg)
{
    struct fanout *f = arg;
    pthread_mutex_lock(&f->mutex);
    while (!f->ending) {
        uint64_t until = wake_due(f);
        struct list *first = list_first(&f->ready);
        if (first && f->running < FANOUT_MAX) {
            list_remove(first);
            start_item(f, CONTAINER(first, struct waiting, link));
        } else if (!first && has_room(f) && f->feed_due <= clock_wall(f->ctx.clock)) {
            read_feed(f);
        } else {
            wait_for_change(f, until);
        }
    }
    while (f->running)
        pthread_cond_wait(&f->changed, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
    return NULL;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void fanout_init(struct fanout *f, const struct ctx *ctx, const struct deliver_conf *conf)
{
    pthread_condattr_t monotonic;
    f->ctx = *ctx;
    f->conf = conf;
    pthread_mutex_init(&f->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&f->ready);
    map_init(&f->known);
}

struct fanout *fanout_new(const struct ctx *ctx, const struct deliver_conf *conf)
{
    struct fanout *f = mem_zero(sizeof *f);
    fanout_init(f, ctx, conf);
    f->feed = queue_feed_new(f->conf->queue, QUEUE_LOCAL);
    f->sink.due = told;
    f->sink.again = again;
    queue_sink_set(f->conf->queue, QUEUE_LOCAL, &f->sink);
    f->pacer = task_thread("fanout", pacer_main, f);
    return f;
}

void fanout_free(struct fanout **fanout)
{
    struct fanout *f = *fanout;
    if (!f)
        return;
    queue_sink_set(f->conf->queue, QUEUE_LOCAL, NULL);
    pthread_mutex_lock(&f->mutex);
    f->ending = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    pthread_join(f->pacer, NULL);
    LIST_EACH_SAFE (&f->ready, it)
        free(CONTAINER(it, struct waiting, link));
    for (struct waiting *w = later_first(&f->later); w; w = later_first(&f->later)) {
        later_remove(&f->later, w);
        free(w);
    }
    later_fini(&f->later);
    map_fini(&f->known);
    queue_feed_free(&f->feed);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
    free(f);
    *fanout = NULL;
}
