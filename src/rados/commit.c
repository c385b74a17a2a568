/* A partition's queue: one group after the other.
 *
 * A partition takes its turn on the lane whenever something has come that it waited for: a commit,
 * the end of a load, an answer. In its turn it makes a group of all that is queued, checks it
 * against the state known in memory, and sends it as one operation on the head that holds only
 * while the cluster's state is the same. While that is under way the next group gathers.
 *
 * Invariants, under the partition's mutex:
 *   1. One turn at a time; at most one group. Whatever waits is pinned by what it waits for.
 *   2. Ops are completed in the order of the queue. One that failed when it was checked has its
 *      result from then on, and waits in its place until those before it are complete.
 *   3. A guard that did not hold costs nobody anything: the head is read again and the same ops are
 *      checked again. (Who expected a version fails then.)
 *   4. A group whose answer was lost is not completed before it is known what became of it. */
#include "rados/commit_int.h"

#include <stdlib.h>

enum { PAUSE_MS = 500 /* before what has failed is tried again */ };

/* --- turns ------------------------------------------------------------------------------------ */

static bool is_due(const struct rad_part *p)
{
    return !list_is_empty(&p->ops) || !list_is_empty(&p->works) || p->is_lazy_due;
}

static bool has_work(const struct rad_part *p)
{
    return p->group || p->fold || is_due(p) || p->lazy.count > 0;
}

static void count_busy(struct rad_part *p)
{
    struct rad_parts *parts = &p->rad->parts;
    bool is_busy = has_work(p);
    if (is_busy == p->is_busy)
        return;
    p->is_busy = is_busy;
    pthread_mutex_lock(&parts->mutex);
    parts->busy += is_busy ? 1 : (size_t)-1;
    if (parts->busy == 0)
        pthread_cond_broadcast(&parts->idle);
    pthread_mutex_unlock(&parts->mutex);
}

static bool take_turn(struct rad_part *p);

static void run(struct task_job *job)
{
    struct rad_part *p = CONTAINER(job, struct rad_part, job);
    pthread_mutex_lock(&p->mutex);
    p->is_posted = false;
    p->is_running = true;
    do
        p->is_woken = false;
    while (take_turn(p) || p->is_woken);
    p->is_running = false;
    count_busy(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

void rad_part_wake_locked(struct rad_part *p)
{
    count_busy(p);
    if (!p->group && !is_due(p))
        return;
    p->is_woken = true;
    if (p->is_running || p->is_posted)
        return;
    p->is_posted = true;
    p->job.run = run;
    rad_part_pin(p);
    /* The lane's queue has room for every partition there is, and closes after the last turn. */
    if (task_lane_post(p->rad->lane, &p->job) != RC_OK)
        abort();
}

void rad_part_wake(struct rad_part *p)
{
    pthread_mutex_lock(&p->mutex);
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
}

static void unpause(struct task_timer *timer)
{
    struct rad_part *p = CONTAINER(timer, struct rad_part, pause_timer);
    pthread_mutex_lock(&p->mutex);
    p->is_paused = false;
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

void turns_pause(struct rad_part *p)
{
    p->is_paused = true;
    p->pause_timer.run = unpause;
    rad_part_pin(p);
    task_timer_set(p->rad->timers, &p->pause_timer, PAUSE_MS);
}

/* --- a turn ----------------------------------------------------------------------------------- */

/* Nothing is written any more, or there is no telling what to. */
static void refuse_all(struct rad_part *p, enum rc rc)
{
    atomic_fetch_add(&p->rad->n_groups, 1); /* a backup need not be waited for: nothing changes */
    struct rad_group *g = group_new(p);
    list_splice_tail(&g->ops, &p->ops);
    list_splice_tail(&g->works, &p->works);
    g->lazy_upto = p->lazy_number;
    p->is_lazy_due = false;
    group_fail(g, rc);
}

/* True: there may be more to do. */
static bool take_turn(struct rad_part *p)
{
    if (p->is_paused || (p->group && !p->group->is_answered))
        return false;
    if (p->group) {
        group_answer(p->group);
        return true;
    }
    if (!is_due(p))
        return false;
    if (atomic_load(&p->rad->is_readonly)) {
        refuse_all(p, RC_TEMP);
        return true;
    }
    bool has_failed = p->loads_failed != p->loads_failed_seen;
    p->loads_failed_seen = p->loads_failed;
    p->is_damaged = has_failed && p->load_rc == RC_CORRUPT;
    if (p->is_damaged && !p->is_warm) {
        refuse_all(p, RC_CORRUPT);
        return true;
    }
    if (has_failed && !p->is_damaged) {
        turns_pause(p);
        return false;
    }
    if (!p->is_warm) {
        rad_load_head(p);
        return false;
    }
    if (!group_may_begin(p->rad))
        return false;
    struct rad_group *g = group_gather(p);
    if (g->has_changes) {
        p->group = g;
        group_send(g);
        return false;
    }
    bool is_any = !list_is_empty(&g->ops) || !list_is_empty(&g->works);
    if (is_any)
        group_finish(g, false);
    else
        group_free(g);
    return is_any;
}

/* --- from outside ----------------------------------------------------------------------------- */

void rad_work_post(struct rad_part *p, struct rad_work *work)
{
    pthread_mutex_lock(&p->mutex);
    work->p = rad_part_pin(p);
    work->rc = RC_OK;
    list_add_tail(&p->works, &work->link);
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
}

struct fence {
    struct rad_work work;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
    enum rc rc;
};

static enum rc fence_build(struct rad_work *work, struct rad_change *change)
{
    return RC_OK; /* each operation has an id of its own */
}

static void fence_done(struct rad_work *work, enum rc rc)
{
    struct fence *f = CONTAINER(work, struct fence, work);
    pthread_mutex_lock(&f->mutex);
    f->rc = rc;
    f->is_done = true;
    pthread_cond_signal(&f->done);
    pthread_mutex_unlock(&f->mutex);
}

enum rc rad_fence(struct rad *rad, struct kv_part part)
{
    struct fence f = {.work = {.build = fence_build, .done = fence_done}};
    struct rad_part *p = rad_part_get(rad, part);
    pthread_mutex_init(&f.mutex, NULL);
    pthread_cond_init(&f.done, NULL);
    rad_work_post(p, &f.work);
    rad_part_put(p);
    pthread_mutex_lock(&f.mutex);
    while (!f.is_done)
        pthread_cond_wait(&f.done, &f.mutex);
    pthread_mutex_unlock(&f.mutex);
    pthread_cond_destroy(&f.done);
    pthread_mutex_destroy(&f.mutex);
    return f.rc;
}

enum rc rad_commit(struct kv *kv, struct kv_op *op)
{
    struct rad *rad = rad_of(kv);
    size_t bytes = buf_len(&op->txn->items);
    if (atomic_load(&rad->is_readonly))
        return RC_TEMP;
    size_t before = atomic_fetch_add(&rad->queued_bytes, bytes);
    if (before > 0 && before + bytes > rad->conf.queue_bytes) {
        atomic_fetch_sub(&rad->queued_bytes, bytes);
        return RC_LIMIT;
    }
    struct rad_part *p = rad_part_get(rad, op->txn->part);
    pthread_mutex_lock(&p->mutex);
    list_add_tail(&p->ops, &op->link);
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
    return RC_OK;
}

void rad_commits_drain(struct rad *rad)
{
    struct rad_parts *parts = &rad->parts;
    pthread_mutex_lock(&parts->mutex);
    while (parts->busy > 0)
        pthread_cond_wait(&parts->idle, &parts->mutex);
    pthread_mutex_unlock(&parts->mutex);
}
