/* The fan-out: each queue item goes to each of its accounts exactly once, then leaves the queue.
 *
 * Invariants:
 *   1. A recipient is taken off the queue only after the commit into its account is durable, or
 * when the account is gone for good.
 *   2. Each copy is appended under the item's id; the account answers RC_EXISTS to a second one
 * (several recipients of one item that are the same account also meet this, and so get one copy).
 *   3. At most FANOUT_MAX items are on their way; the others wait in a list of ids, or in the queue
 * alone.
 *   4. An item is on its way at most once at a time: each known id has one struct waiting, from the
 * sweep at the start, its announcement or its release until it has left the queue or is held.
 *   5. What may pass is tried again for ever, with growing waits. What fails for good is tried
 * `tries` times, then held with its cause: its body is damaged, its row cannot be read. The count
 * is in the queue, so that a restart does not begin anew.
 *
 * One thread (the pacer) does what waits: the sweep of what was left over, and the retries. Items
 * themselves run on the short lane and in the completions of the store.
 */
#include "deliver/deliver_int.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fanout {
    struct ctx ctx;
    struct deliver_conf conf;
    struct queue_sink sink;
    pthread_t pacer;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct map known;  /* struct waiting, by id */
    struct list ready; /* struct waiting */
    struct later later;
    size_t running;
    bool ending;
};

struct copy {
    struct store_op op;
    struct item *item;
    struct store_account *account;
    uint64_t account_id;
    uint16_t number;
    enum rc rc;
    bool is_final; /* nothing is left to do for this recipient */
};

struct item {
    struct task_job job;
    struct fanout *fanout;
    struct waiting *waiting;
    struct queue_id id;
    struct arena arena;
    struct queue_item q;
    struct queue_status status;
    unsigned hand; /* its place among the work in hand */
    struct copy *copies;
    size_t n_copies;
    _Atomic size_t pending;
};

/* --- one item --------------------------------------------------------------------------------- */

enum end {
    END_GONE,  /* it has left the queue, or is held: not ours any more */
    END_AGAIN, /* something failed that may pass */
    END_DUE    /* its status says when */
};

/* Doubled with each failure, up to retry_max_ms; up to a quarter less or more, so that what failed
 * together does not come back together. */
static uint64_t wait_after(const struct fanout *f, unsigned failures)
{
    uint64_t ms = f->conf.retry_ms;
    for (unsigned i = 1; i < failures && ms < f->conf.retry_max_ms; i++)
        ms *= 2;
    if (ms > f->conf.retry_max_ms)
        ms = f->conf.retry_max_ms;
    uint64_t ns = ms * NS_PER_MS;
    return ns - ns / 4 + random_u64() % (ns / 2 + 1);
}

/* The clock may have been set meanwhile: never longer than the longest wait. */
static uint64_t wait_until(const struct fanout *f, uint64_t due)
{
    uint64_t now = clock_wall(f->ctx.clock), most = f->conf.retry_max_ms * NS_PER_MS * 2;
    uint64_t wait = due > now ? due - now : 0;
    return wait < most ? wait : most;
}

static void item_end(struct item *item, enum end how)
{
    struct fanout *f = item->fanout;
    struct waiting *w = item->waiting;
    uint64_t due = item->status.due;
    hand_give(f->conf.hand, item->hand);
    arena_fini(&item->arena);
    free(item->copies);
    free(item);
    pthread_mutex_lock(&f->mutex);
    w->is_running = false;
    w->failures = how == END_AGAIN ? w->failures + 1 : 0;
    if (w->is_again) {
        w->is_again = false;
        list_add_tail(&f->ready, &w->link);
    } else if (how == END_GONE) {
        map_remove(&f->known, &w->node);
        free(w);
    } else {
        uint64_t wait = how == END_DUE ? wait_until(f, due) : wait_after(f, w->failures);
        later_add(&f->later, w, clock_mono(f->ctx.clock) + wait);
    }
    f->running--;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static void log_failure(const struct item *item, const char *event, const char *cause)
{
    struct log_line l;
    char id[QUEUE_ID_TEXT];
    queue_id_text(item->id, id);
    log_begin(&l, item->fanout->ctx.log, LOG_ERROR, event);
    log_text(&l, "item", id);
    if (item->q.log_id.n)
        log_str(&l, "message", item->q.log_id);
    log_u64(&l, "failures", item->status.failures);
    log_text(&l, "cause", cause);
    log_end(&l);
}

static struct hand_key hand_key_of(struct queue_id id)
{
    struct hand_key key;
    memcpy(key.b, id.b, sizeof key.b);
    return key;
}

/* The server has crashed twice with this item in hand. Held it waits for somebody who looks; once
 * released it is as good as any other. */
static void item_quarantine(struct item *item)
{
    const struct deliver_conf *conf = &item->fanout->conf;
    enum rc rc = queue_hold(conf->queue, item->id, "crash");
    if (rc == RC_OK) {
        log_failure(item, "queue-held", "crash");
        hand_forget(conf->hand, hand_key_of(item->id));
    }
    item_end(item, rc == RC_OK || rc == RC_NOTFOUND ? END_GONE : END_AGAIN);
}

/* On the lane: one more failure that will not pass by itself. */
static void item_failed(struct item *item, enum rc cause)
{
    struct fanout *f = item->fanout;
    struct queue_status *status = &item->status;
    status->failures++;
    bool is_last = status->failures >= f->conf.tries;
    status->state = is_last ? QUEUE_HELD : QUEUE_WAITING;
    status->due = is_last ? 0 : clock_wall(f->ctx.clock) + wait_after(f, status->failures);
    snprintf(status->cause, sizeof status->cause, "%s", rc_name(cause));
    enum rc rc = queue_status_set(f->conf.queue, item->id, status);
    if (rc == RC_OK)
        log_failure(item, is_last ? "queue-held" : "queue-failed", rc_name(cause));
    if (rc == RC_NOTFOUND || (rc == RC_OK && is_last))
        item_end(item, END_GONE);
    else
        item_end(item, rc == RC_OK ? END_DUE : END_AGAIN);
}

/* Trying again without any change elsewhere cannot help. */
static bool is_for_good(enum rc rc)
{
    return rc == RC_CORRUPT || rc == RC_PERM || rc == RC_NOTFOUND || rc == RC_SYNTAX ||
           rc == RC_DENIED;
}

/* On the lane, when every copy has its answer: one commit takes off all that is final. The item has
 * failed for good when nothing is left of it that may still pass. */
static void item_finish(struct task_job *job)
{
    struct item *item = CONTAINER(job, struct item, job);
    uint16_t *numbers = mem_alloc((item->n_copies + 1) * sizeof *numbers);
    size_t n = 0, n_bad = 0;
    enum rc cause = RC_OK;
    for (size_t i = 0; i < item->n_copies; i++) {
        if (item->copies[i].is_final) {
            numbers[n++] = item->copies[i].number;
        } else if (is_for_good(item->copies[i].rc)) {
            cause = item->copies[i].rc;
            n_bad++;
        }
    }
    enum rc rc = queue_done(item->fanout->conf.queue, item->id, numbers, n);
    free(numbers);
    if (rc == RC_OK && n_bad > 0 && n + n_bad == item->n_copies)
        item_failed(item, cause);
    else
        item_end(item, rc != RC_OK || n < item->n_copies ? END_AGAIN : END_GONE);
}

static void item_post(struct item *item, void (*run)(struct task_job *))
{
    item->job.run = run;
    if (task_lane_post(item->fanout->conf.lane, &item->job) != RC_OK)
        item_end(item, END_AGAIN); /* the lane is full or ending: the queue still has it */
}

static void copy_answered(struct copy *copy, enum rc rc)
{
    struct item *item = copy->item;
    copy->rc = rc;
    copy->is_final |= rc == RC_OK || rc == RC_EXISTS;
    if (rc != RC_EXISTS)
        deliver_log(&item->fanout->ctx, item->q.log_id, copy->account_id, &copy->op, rc);
    if (copy->account)
        store_account_close(&copy->account);
    if (atomic_fetch_sub(&item->pending, 1) == 1)
        item_post(item, item_finish);
}

static void copy_appended(struct store_op *op)
{
    struct copy *copy = CONTAINER(op, struct copy, op);
    copy_answered(copy, op->rc);
}

static void copy_start(struct copy *copy)
{
    const struct queue_item *q = &copy->item->q;
    struct store_append append = {
        .blob = q->blob,
        .size = q->size,
        .received = q->received,
        .flags = q->flags & QUEUE_UNENDED ? STORE_UNENDED : 0,
        .message_id = q->message_id,
        .references = q->references,
        .n_references = q->n_references,
        .delivery_id = str_from(q->id.b, sizeof q->id.b),
        .summary = q->summary,
    };
    copy->op.done = copy_appended;
    enum rc rc =
        store_account_open(copy->item->fanout->conf.store, copy->account_id, 0, &copy->account);
    copy->is_final = rc == RC_NOTFOUND; /* the account is gone for good */
    if (rc == RC_OK)
        rc = store_append(copy->account, &append, 0, &copy->op);
    if (rc != RC_OK)
        copy_answered(copy, rc);
}

/* The same account twice among the recipients: the first one's copy is everybody's. */
static bool is_repeated(const struct queue_item *q, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (q->recipients[i].account == q->recipients[n].account)
            return true;
    return false;
}

/* What the queue says of it; whether it is to be tried now. */
static bool item_look(struct item *item)
{
    struct fanout *f = item->fanout;
    struct queue_entry entry;
    enum rc rc = queue_load(f->conf.queue, item->id, 0, &item->arena, &entry);
    if (rc == RC_OK) {
        item->status = entry.status;
        item->q = entry.item;
        if (!item->status.due)
            item->status.due = item->q.due;
    }
    if (rc == RC_NOTFOUND || (rc == RC_OK && entry.status.state == QUEUE_HELD))
        item_end(item, END_GONE); /* somebody has taken it off, or holds it */
    else if (rc != RC_OK)
        item_end(item, END_AGAIN);
    else if (wait_until(f, item->status.due) > 0)
        item_end(item, END_DUE);
    else if (hand_is_suspect(f->conf.hand, hand_key_of(item->id)))
        item_quarantine(item);
    else if (entry.rc != RC_OK)
        item_failed(item, entry.rc);
    else
        return true;
    return false;
}

static void item_run(struct task_job *job)
{
    struct item *item = CONTAINER(job, struct item, job);
    if (!item_look(item))
        return;
    item->hand = hand_take(item->fanout->conf.hand, hand_key_of(item->id));
    item->copies = mem_zero((item->q.n_recipients + 1) * sizeof *item->copies);
    for (size_t i = 0; i < item->q.n_recipients; i++) {
        const struct queue_recipient *r = &item->q.recipients[i];
        if (!r->account)
            continue;
        struct copy *copy = &item->copies[item->n_copies++];
        copy->item = item;
        copy->number = r->number;
        copy->account_id = r->account;
        copy->is_final = is_repeated(&item->q, i);
        copy->rc = copy->is_final ? RC_EXISTS : RC_TEMP;
    }
    size_t n = item->n_copies;
    atomic_store(&item->pending,
                 n + 1); /* one for this loop, so that the last answer cannot come before its end */
    for (size_t i = 0; i < n; i++) {
        if (item->copies[i].rc == RC_EXISTS)
            atomic_fetch_sub(&item->pending, 1);
        else
            copy_start(&item->copies[i]);
    }
    if (atomic_fetch_sub(&item->pending, 1) == 1)
        item_finish(&item->job);
}

/* --- the pacer -------------------------------------------------------------------------------- */

/* The mutex is held; a place is free. */
static void start_item(struct fanout *f, struct waiting *w)
{
    struct item *item = mem_zero(sizeof *item);
    item->fanout = f;
    item->waiting = w;
    item->id = w->id;
    w->is_running = true;
    f->running++;
    pthread_mutex_unlock(&f->mutex);
    item_post(item, item_run);
    pthread_mutex_lock(&f->mutex);
}

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
    return w;
}

/* The mutex is held. One that is known already: now rather than later. */
static void add_ready(struct fanout *f, struct queue_id id)
{
    struct waiting *w = find(f, id);
    if (w && w->is_running) {
        w->is_again = true;
        return;
    }
    if (w && !w->place)
        return;
    if (w)
        later_remove(&f->later, w);
    else
        w = know(f, id);
    list_add_tail(&f->ready, &w->link);
    pthread_cond_broadcast(&f->changed);
}

/* The mutex is held. What is known already says itself when it goes on. */
static void add_later(struct fanout *f, struct queue_id id, uint64_t wait)
{
    if (find(f, id))
        return;
    later_add(&f->later, know(f, id), clock_mono(f->ctx.clock) + wait);
    pthread_cond_broadcast(&f->changed);
}

void fanout_due(struct fanout *f, const struct queue_due *entries, size_t n)
{
    pthread_mutex_lock(&f->mutex);
    for (size_t i = 0; i < n; i++) {
        uint64_t wait = wait_until(f, entries[i].due);
        if (wait)
            add_later(f, entries[i].id, wait);
        else
            add_ready(f, entries[i].id);
    }
    pthread_mutex_unlock(&f->mutex);
}

static void told(struct queue_sink *sink, const struct queue_due *entries, size_t n)
{
    fanout_due(CONTAINER(sink, struct fanout, sink), entries, n);
}

/* What an earlier run left behind. */
static enum rc sweep_shard(struct fanout *f, unsigned shard)
{
    struct queue_due last;
    struct queue_due_range range = {.kind = QUEUE_LOCAL, .shard = shard, .until = UINT64_MAX};
    struct queue_due_page page = {.has_more = true};
    enum rc rc = RC_OK;
    while (rc == RC_OK && page.has_more) {
        struct arena arena = {0};
        rc = queue_due_scan(f->conf.queue, &range, 256, &arena, &page);
        if (rc == RC_OK && page.n) {
            fanout_due(f, page.entries, page.n);
            last = page.entries[page.n - 1];
            range.after = &last;
        }
        arena_fini(&arena);
    }
    return rc;
}

static enum rc sweep(struct fanout *f)
{
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++)
        TRY(sweep_shard(f, shard));
    return RC_OK;
}

enum { FOREVER = 0 };

/* Moves what is due to the ready list; the time until the next one is, or FOREVER. */
static uint64_t wake_due(struct fanout *f)
{
    uint64_t now = clock_mono(f->ctx.clock);
    for (struct waiting *w = later_first(&f->later); w; w = later_first(&f->later)) {
        if (w->due > now)
            return w->due - now;
        later_remove(&f->later, w);
        list_add_tail(&f->ready, &w->link);
    }
    return FOREVER;
}

static void wait_for_change(struct fanout *f, uint64_t wait)
{
    struct timespec until;
    if (wait == FOREVER) {
        pthread_cond_wait(&f->changed, &f->mutex);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    wait += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(wait / NS_PER_SEC);
    until.tv_nsec = (long)(wait % NS_PER_SEC);
    pthread_cond_timedwait(&f->changed, &f->mutex, &until);
}

static void *pacer_main(void *arg)
{
    struct fanout *f = arg;
    pthread_mutex_lock(&f->mutex);
    while (!f->ending) {
        uint64_t wait = wake_due(f);
        struct list *first = list_first(&f->ready);
        if (!first || f->running >= FANOUT_MAX) {
            wait_for_change(f, wait);
            continue;
        }
        list_remove(first);
        start_item(f, CONTAINER(first, struct waiting, link));
    }
    while (f->running)
        pthread_cond_wait(&f->changed, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
    return NULL;
}

static void fanout_destroy(struct fanout *f)
{
    LIST_EACH_SAFE (&f->ready, it)
        free(CONTAINER(it, struct waiting, link));
    for (struct waiting *w = later_first(&f->later); w; w = later_first(&f->later)) {
        later_remove(&f->later, w);
        free(w);
    }
    later_fini(&f->later);
    map_fini(&f->known);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

enum rc fanout_new(const struct ctx *ctx, const struct deliver_conf *conf, struct fanout **out)
{
    struct fanout *f = mem_zero(sizeof *f);
    pthread_condattr_t monotonic;
    f->ctx = *ctx;
    f->conf = *conf;
    if (!f->conf.retry_ms)
        f->conf.retry_ms = FANOUT_RETRY_MS;
    if (!f->conf.retry_max_ms)
        f->conf.retry_max_ms = FANOUT_RETRY_MAX_MS;
    if (!f->conf.tries)
        f->conf.tries = FANOUT_TRIES;
    pthread_mutex_init(&f->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&f->ready);
    map_init(&f->known);
    f->sink.due = told;
    queue_sink_set(f->conf.queue, QUEUE_LOCAL, &f->sink);
    enum rc rc = sweep(f);
    if (rc != RC_OK) {
        queue_sink_set(f->conf.queue, QUEUE_LOCAL, NULL);
        fanout_destroy(f);
        return rc;
    }
    f->pacer = task_thread("fanout", pacer_main, f);
    *out = f;
    return RC_OK;
}

void fanout_free(struct fanout **fanout)
{
    struct fanout *f = *fanout;
    if (!f)
        return;
    queue_sink_set(f->conf.queue, QUEUE_LOCAL, NULL);
    pthread_mutex_lock(&f->mutex);
    f->ending = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    pthread_join(f->pacer, NULL);
    fanout_destroy(f);
    *fanout = NULL;
}
