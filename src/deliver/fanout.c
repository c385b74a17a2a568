/* The fan-out: each queue item goes to each of its accounts exactly once, then leaves the queue.
 *
 * Invariants:
 *   1. A recipient is taken off the queue only after the commit into its account is durable, or
 * when the account is gone for good.
 *   2. Each copy is appended under the item's id; the account answers RC_EXISTS to a second one
 * (several recipients of one item that are the same account also meet this, and so get one copy).
 *   3. At most FANOUT_MAX items are on their way; the others wait in a list of ids, or in the queue
 * alone.
 *   4. An item is on its way at most once at a time: an id comes either from the sweep at the
 * start, before anything is announced for it, or from one announcement, or from its own retry.
 *
 * One thread (the pacer) does what waits: the sweep of what was left over, and the retries. Items
 * themselves run on the short lane and in the completions of the store.
 */
#include "deliver/deliver_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct waiting {
    struct list link;
    struct queue_id id;
    uint64_t due; /* monotonic */
};

struct fanout {
    struct ctx ctx;
    struct deliver_conf conf;
    pthread_t pacer;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct list ready,
        later; /* struct waiting; `later` in order of due time, since all wait equally long */
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
    struct queue_id id;
    struct arena arena;
    struct queue_item q;
    struct copy *copies;
    size_t n_copies;
    _Atomic size_t pending;
};

/* --- one item --------------------------------------------------------------------------------- */

static void item_end(struct item *item, bool again)
{
    struct fanout *f = item->fanout;
    struct waiting *w = again ? mem_zero(sizeof *w) : NULL;
    if (w) {
        w->id = item->id;
        w->due = clock_mono(f->ctx.clock) + f->conf.retry_ms * NS_PER_MS;
    }
    arena_fini(&item->arena);
    free(item->copies);
    free(item);
    pthread_mutex_lock(&f->mutex);
    if (w)
        list_add_tail(&f->later, &w->link);
    f->running--;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

/* On the lane, when every copy has its answer: one commit takes off all that is final. */
static void item_finish(struct task_job *job)
{
    struct item *item = CONTAINER(job, struct item, job);
    uint16_t *numbers = mem_alloc((item->n_copies + 1) * sizeof *numbers);
    size_t n = 0;
    for (size_t i = 0; i < item->n_copies; i++)
        if (item->copies[i].is_final)
            numbers[n++] = item->copies[i].number;
    enum rc rc = queue_done(item->fanout->conf.queue, item->id, numbers, n);
    bool again = rc != RC_OK || n < item->n_copies;
    free(numbers);
    item_end(item, again);
}

static void item_post(struct item *item, void (*run)(struct task_job *))
{
    item->job.run = run;
    if (task_lane_post(item->fanout->conf.lane, &item->job) != RC_OK)
        item_end(item, true); /* the lane is full or ending: the queue still has it */
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
        .message_id = q->message_id,
        .references = q->references,
        .n_references = q->n_references,
        .delivery_id = str_from(q->id.b, sizeof q->id.b),
        .ignore_quota = true}; /* the quota was asked before the message was accepted */
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
        if (q->accounts[i] == q->accounts[n])
            return true;
    return false;
}

static void item_run(struct task_job *job)
{
    struct item *item = CONTAINER(job, struct item, job);
    enum rc rc = queue_get(item->fanout->conf.queue, item->id, &item->arena, &item->q);
    if (rc != RC_OK) {
        if (rc != RC_NOTFOUND)
            log_event(item->fanout->ctx.log, LOG_ERROR, "queue-unreadable", "cause", rc_name(rc),
                      NULL);
        item_end(item, rc != RC_NOTFOUND); /* somebody has taken it off */
        return;
    }
    item->copies = mem_zero((item->q.n_accounts + 1) * sizeof *item->copies);
    for (size_t i = 0; i < item->q.n_accounts; i++) {
        if (item->q.accounts[i] == 0)
            continue;
        struct copy *copy = &item->copies[item->n_copies++];
        copy->item = item;
        copy->number = (uint16_t)i;
        copy->account_id = item->q.accounts[i];
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
static void start_item(struct fanout *f, struct queue_id id)
{
    struct item *item = mem_zero(sizeof *item);
    item->fanout = f;
    item->id = id;
    f->running++;
    pthread_mutex_unlock(&f->mutex);
    item_post(item, item_run);
    pthread_mutex_lock(&f->mutex);
}

static void add_ready(struct fanout *f, struct queue_id id)
{
    struct waiting *w = mem_zero(sizeof *w);
    w->id = id;
    list_add_tail(&f->ready, &w->link);
    pthread_cond_broadcast(&f->changed);
}

void fanout_announce(struct fanout *fanout, struct queue_id id)
{
    pthread_mutex_lock(&fanout->mutex);
    add_ready(fanout, id);
    pthread_mutex_unlock(&fanout->mutex);
}

/* The ids that an earlier run left behind. Nothing has been announced yet, so none of them is on
 * its way. */
static enum rc sweep(struct fanout *f)
{
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[64], after;
        size_t n = 0;
        do {
            TRY(queue_list(f->conf.queue, shard, n ? &after : NULL, ids, 64, &n));
            for (size_t i = 0; i < n; i++)
                add_ready(f, ids[i]);
            if (n)
                after = ids[n - 1];
        } while (n == 64);
    }
    return RC_OK;
}

enum { FOREVER = 0 };

/* Moves what is due to the ready list; the time until the next one is, or FOREVER. */
static uint64_t wake_due(struct fanout *f)
{
    uint64_t now = clock_mono(f->ctx.clock);
    for (struct list *first = list_first(&f->later); first; first = list_first(&f->later)) {
        struct waiting *w = CONTAINER(first, struct waiting, link);
        if (w->due > now)
            return w->due - now;
        list_remove(first);
        list_add_tail(&f->ready, first);
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
        struct waiting *w = CONTAINER(first, struct waiting, link);
        struct queue_id id = w->id;
        list_remove(first);
        free(w);
        start_item(f, id);
    }
    while (f->running)
        pthread_cond_wait(&f->changed, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
    return NULL;
}

static void free_list(struct list *l)
{
    LIST_EACH_SAFE (l, it)
        free(CONTAINER(it, struct waiting, link));
}

static void fanout_destroy(struct fanout *f)
{
    free_list(&f->ready);
    free_list(&f->later);
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
    pthread_mutex_init(&f->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&f->ready);
    list_init(&f->later);
    enum rc rc = sweep(f);
    if (rc != RC_OK) {
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
    pthread_mutex_lock(&f->mutex);
    f->ending = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
    pthread_join(f->pacer, NULL);
    fanout_destroy(f);
    *fanout = NULL;
}
