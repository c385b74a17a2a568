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
 *   4. A group whose answer was lost is not completed before it is known what became of it: the
 *      state tells by its ids, after an operation of ours has made sure that it will not come
 *      later. A process has one operation on a head at a time, so its last id is enough. */
#include "rados/rados_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    GROUP_OPS = 512,
    GROUP_BYTES = 4 << 20,
    WRITE_MS = 20000, /* after which an answer counts as lost */
    PAUSE_MS = 500,   /* before what has failed is tried again */
    LAZY_MS = 20000,  /* how long rows of caches wait for others: so long to twice that */
    LAZY_ROWS = 2000  /* and how many wait */
};

enum stage { STAGE_COMMIT, STAGE_READ_BACK, STAGE_CLAIM };

struct rad_group {
    struct rad_part *p; /* pinned */
    struct rad_change change;
    struct list ops, works;
    uint64_t lazy_upto; /* rows of the cache up to this number are in it */
    uint64_t begun;
    bool has_changes;

    enum stage stage;
    struct link_call *call;
    bool is_answered, was_paused;
    enum link_result result;
    struct rad_state claimed;
};

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

static void pause_turns(struct rad_part *p)
{
    p->is_paused = true;
    p->pause_timer.run = unpause;
    rad_part_pin(p);
    task_timer_set(p->rad->timers, &p->pause_timer, PAUSE_MS);
}

/* --- rows of caches that come with commits of the account ------------------------------------- */

static void lazy_due(struct task_timer *timer)
{
    struct rad_part *p = CONTAINER(timer, struct rad_part, lazy_timer);
    pthread_mutex_lock(&p->mutex);
    p->is_lazy_timed = false;
    p->is_lazy_due = p->lazy.count > 0;
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

static bool is_cached_item(const struct kv_item *item)
{
    return item->kind == KV_ITEM_PUT_CACHED || item->kind == KV_ITEM_DELETE_CACHED;
}

static bool has_cached_items(const struct kv_txn *txn)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);)
        if (is_cached_item(&item))
            return true;
    return false;
}

static void lazy_weigh(struct rad_part *p, ptrdiff_t bytes)
{
    p->lazy_bytes += (size_t)bytes;
    rad_part_weigh(p, bytes);
}

static void lazy_delete(struct rad_part *p, struct str key)
{
    struct str stored = kv_rows_get(&p->lazy, key);
    if (str_is_null(stored))
        return;
    lazy_weigh(p, -(ptrdiff_t)rad_row_weight(key, stored));
    kv_rows_delete(&p->lazy, key);
}

static void lazy_put(struct rad_part *p, struct str key, struct str value)
{
    lazy_delete(p, key);
    rad_row_put(&p->lazy, key, ++p->lazy_number, value);
    lazy_weigh(p, (ptrdiff_t)rad_row_weight(key, kv_rows_get(&p->lazy, key)));
}

/* What a transaction that has been published says about the cache beside its partition. */
static void lazy_take(struct rad *rad, const struct kv_txn *txn)
{
    struct kv_item item;
    if (!has_cached_items(txn))
        return;
    struct rad_part *p = rad_part_get(rad, (struct kv_part){KV_CACHE, txn->part.id});
    pthread_mutex_lock(&p->mutex);
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);)
        if (is_cached_item(&item))
            lazy_put(p, item.key, item.value);
    if (p->lazy.count > LAZY_ROWS || atomic_load(&rad->bytes) > rad->conf.memory_bytes)
        p->is_lazy_due = true;
    if (!p->is_lazy_timed) {
        p->is_lazy_timed = true;
        p->lazy_timer.run = lazy_due;
        rad_part_pin(p);
        task_timer_set(rad->timers, &p->lazy_timer, LAZY_MS + random_u64() % LAZY_MS);
    }
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

static void lazy_add(struct rad_group *g)
{
    struct rad_part *p = g->p;
    for (struct kv_rows_row *row = p->lazy.first[0]; row; row = row->next[0]) {
        struct str bytes = rad_row_bytes(row->value);
        if (bytes.n)
            rad_view_put(&g->change, row->key, bytes);
        else
            rad_view_delete(&g->change, row->key);
        g->has_changes = true;
    }
    g->lazy_upto = p->lazy_number;
    p->is_lazy_due = false;
}

/* Those that the group took are in the head now, or lost. */
static void lazy_drop(struct rad_group *g)
{
    struct kv_rows *lazy = &g->p->lazy;
    for (struct kv_rows_row *row = lazy->first[0], *next; row; row = next) {
        next = row->next[0];
        if (rad_row_stamp(row->value) <= g->lazy_upto)
            lazy_delete(g->p, row->key);
    }
}

/* --- checking --------------------------------------------------------------------------------- */

static enum rc check_asserts(struct rad_change *c, const struct kv_txn *txn)
{
    struct kv_item item;
    bool is_missing = false;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        struct str value;
        if (item.kind != KV_ITEM_ASSERT_VALUE && item.kind != KV_ITEM_ASSERT_ABSENT)
            continue;
        if (rad_view_get(c, item.key, &value) == RC_AGAIN)
            is_missing = true;
        else if (!str_eq(value, item.value)) /* no value is empty: absent equals absent only */
            return RC_CONFLICT;
    }
    return is_missing ? RC_AGAIN : RC_OK;
}

static enum rc apply_blobs(struct rad_change *c, struct kv_op *op)
{
    struct rad_change inner;
    rad_change_init(&inner, c->part, c);
    enum rc rc = rad_blobs_apply(&inner, op);
    if (rc == RC_OK)
        rad_change_merge(c, &inner);
    rad_change_fini(&inner);
    return rc;
}

static void apply_rows(struct rad_change *c, const struct kv_txn *txn)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (item.kind == KV_ITEM_PUT)
            rad_view_put(c, item.key, item.value);
        else if (item.kind == KV_ITEM_DELETE)
            rad_view_delete(c, item.key);
        else if (item.kind == KV_ITEM_TRIM && str_cmp(item.key, item.value) < 0)
            rad_view_trim(c, item.key, item.value);
    }
}

/* The whole transaction becomes part of the change, or nothing of it. */
static enum rc apply(struct rad_change *c, struct kv_op *op)
{
    if (kv_op_is_doomed(op) || (op->txn->has_expect && op->txn->expect != c->state.version))
        return RC_CONFLICT;
    TRY(check_asserts(c, op->txn));
    TRY(apply_blobs(c, op));
    apply_rows(c, op->txn);
    c->state.version = op->txn->version ? op->txn->version : c->state.version + 1;
    op->version = c->state.version;
    return RC_OK;
}

/* RC_AGAIN: it has to wait, and so have those behind it. */
static enum rc add_op(struct rad_group *g, struct kv_op *op)
{
    if (op->rc == RC_OK) { /* else: failed at an earlier turn */
        enum rc rc = apply(&g->change, op);
        if (rc == RC_AGAIN)
            return rc;
        if (rc != RC_OK) {
            kv_op_fail(op, rc);
            g->p->checked = 0; /* perhaps by what is not so any more: the next read makes sure */
        }
        g->has_changes = g->has_changes || rc == RC_OK;
    }
    list_remove(&op->link);
    list_add_tail(&g->ops, &op->link);
    return RC_OK;
}

static void add_ops(struct rad_group *g)
{
    size_t n = 0;
    struct list *it;
    while (n++ < GROUP_OPS && g->change.bytes < GROUP_BYTES && (it = list_first(&g->p->ops)))
        if (add_op(g, CONTAINER(it, struct kv_op, link)) == RC_AGAIN)
            break;
}

static void add_works(struct rad_group *g)
{
    LIST_EACH_SAFE (&g->p->works, it) {
        struct rad_work *work = CONTAINER(it, struct rad_work, link);
        work->rc = work->build(work, &g->change);
        if (work->rc == RC_AGAIN)
            continue;
        list_remove(it);
        list_add_tail(&g->works, it);
        g->has_changes = g->has_changes || work->rc == RC_OK;
    }
}

static void load_wanted(struct rad_part *p)
{
    if (p->n_wanted > 0)
        rad_load_keys(p, p->wanted, p->n_wanted);
    for (size_t i = 0; i < p->n_wanted; i++)
        free((void *)(uintptr_t)p->wanted[i].p);
    p->n_wanted = 0;
}

static struct rad_group *group_new(struct rad_part *p)
{
    struct rad_group *g = mem_zero(sizeof *g);
    g->p = p;
    g->begun = clock_mono(p->rad->kv.ctx->clock);
    list_init(&g->ops);
    list_init(&g->works);
    rad_change_init(&g->change, p, NULL);
    return g;
}

/* As much of what is queued as can be decided now. */
static struct rad_group *group_gather(struct rad_part *p)
{
    struct rad_group *g = group_new(p);
    add_works(g);
    if (!rad_fold_is_overdue(p)) {
        lazy_add(g);
        add_ops(g);
    }
    load_wanted(p);
    return g;
}

/* False: a backup needs a moment without any; the turn comes again when it has had it. */
static bool group_may_begin(struct rad *rad)
{
    atomic_fetch_add(&rad->n_groups, 1);
    if (!atomic_load(&rad->is_held))
        return true;
    atomic_fetch_sub(&rad->n_groups, 1);
    return false;
}

static void group_free(struct rad_group *g)
{
    atomic_fetch_sub(&g->p->rad->n_groups, 1);
    link_call_free(&g->call);
    rad_change_fini(&g->change);
    free(g);
}

/* --- the end of a group ----------------------------------------------------------------------- */

/* Without the mutex. */
static void tell_all(struct rad *rad, struct list *ops, struct list *works)
{
    LIST_EACH_SAFE (works, it) {
        struct rad_work *work = CONTAINER(it, struct rad_work, link);
        struct rad_part *p = work->p;
        list_remove(it);
        work->done(work, work->rc);
        rad_part_put(p);
    }
    LIST_EACH_SAFE (ops, it) {
        struct kv_op *op = CONTAINER(it, struct kv_op, link);
        list_remove(it);
        if (op->rc == RC_OK)
            lazy_take(rad, op->txn);
        rad_blobs_committed(rad, op);
        atomic_fetch_sub(&rad->queued_bytes, buf_len(&op->txn->items));
        kv_op_complete(&rad->kv, op);
    }
}

/* All of the group has its result. Lets go of the mutex meanwhile. */
static void finish(struct rad_group *g, bool is_published)
{
    struct rad_part *p = g->p;
    uint64_t version = p->head.state.version;
    bool is_news = is_published && version > p->told;
    if (is_news)
        p->told = version;
    lazy_drop(g);
    p->group = NULL;
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->mutex);
    if (is_news)
        kv_watches_tell(&p->rad->kv, p->part, version);
    tell_all(p->rad, &g->ops, &g->works);
    group_free(g);
    pthread_mutex_lock(&p->mutex);
}

static void publish(struct rad_group *g)
{
    struct counters *counters = g->p->rad->kv.ctx->counters;
    size_t n = 0;
    rad_change_publish(&g->change);
    rad_backup_touch(g->p->rad, g->p->part);
    LIST_EACH (&g->ops, it)
        n += CONTAINER(it, struct kv_op, link)->rc == RC_OK;
    counter_add(counters, COUNTER_KV_GROUPS, 1);
    histogram_add(counters, HISTOGRAM_KV_GROUP_SIZE, n);
    histogram_add(counters, HISTOGRAM_KV_GROUP_TIME,
                  clock_mono(g->p->rad->kv.ctx->clock) - g->begun);
    rad_fold_consider(g->p);
    finish(g, true);
}

static void fail(struct rad_group *g, enum rc rc)
{
    LIST_EACH (&g->ops, it) {
        struct kv_op *op = CONTAINER(it, struct kv_op, link);
        if (op->rc == RC_OK)
            kv_op_fail(op, rc);
    }
    LIST_EACH (&g->works, it) {
        struct rad_work *work = CONTAINER(it, struct rad_work, link);
        work->rc = work->rc == RC_OK ? rc : work->rc;
    }
    finish(g, false);
}

/* Back into the queue, before what has come since. */
static void put_back(struct rad_group *g)
{
    struct rad_part *p = g->p;
    list_splice_tail(&g->ops, &p->ops);
    list_splice_tail(&p->ops, &g->ops);
    list_splice_tail(&g->works, &p->works);
    list_splice_tail(&p->works, &g->works);
    p->is_lazy_due = p->is_lazy_due || p->lazy.count > 0;
    p->group = NULL;
    group_free(g);
}

/* --- the cluster's answers -------------------------------------------------------------------- */

static void answered(struct link_call *call, enum link_result result, void *arg)
{
    struct rad_group *g = arg;
    struct rad_part *p = g->p;
    pthread_mutex_lock(&p->mutex);
    g->result = result;
    g->is_answered = true;
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

/* Sends g->call; the partition is pinned until its answer. */
static void send_write(struct rad_group *g)
{
    g->is_answered = false;
    rad_part_pin(g->p);
    link_write(g->call, WRITE_MS, answered, g);
}

static void send_commit(struct rad_group *g)
{
    rad_step(g->p->rad, "commit");
    g->stage = STAGE_COMMIT;
    g->call = rad_change_call(&g->change);
    send_write(g);
}

static void send_read_back(struct rad_group *g)
{
    struct rad_part *p = g->p;
    rad_step(p->rad, "resolve-read");
    g->stage = STAGE_READ_BACK;
    g->call = link_call_new(p->rad->link, LINK_INDEX, p->object);
    link_read_row(g->call, RAD_STATE_KEY);
    g->is_answered = false;
    rad_part_pin(p);
    link_read(g->call, p->rad->conf.read_ms, answered, g);
}

/* Changes nothing but the id: of this one and the lost one only one can be applied. */
static void send_claim(struct rad_group *g)
{
    struct rad_part *p = g->p;
    struct rad_change claim;
    rad_step(p->rad, "resolve-claim");
    g->stage = STAGE_CLAIM;
    rad_change_init(&claim, p, NULL);
    g->claimed = claim.state;
    g->call = rad_change_call(&claim);
    rad_change_fini(&claim);
    send_write(g);
}

/* Where the last id of the same process stands in the state: RAD_RING when none does. */
static size_t find_last(const struct rad_state *state, const struct rad_id *id)
{
    size_t i = 0;
    while (i < RAD_RING && !rad_id_is_of(&state->ids[i], id))
        i++;
    return i;
}

/* No process' id has been dropped from the state to make room. */
static bool is_roomy(const struct rad_state *state)
{
    static const struct rad_id none;
    return rad_id_eq(&state->ids[RAD_RING - 1], &none);
}

/* The lost operation has been applied, and others after it. */
static void accept(struct rad_group *g)
{
    rad_part_cool(g->p);
    finish(g, false);
}

static void start_again(struct rad_group *g)
{
    rad_part_cool(g->p);
    put_back(g);
}

static void give_up(struct rad_group *g)
{
    log_event(g->p->rad->kv.ctx->log, LOG_ERROR, "commit-unknown", "object", g->p->object, "cause",
              "its answer was lost and too much has happened since", NULL);
    rad_part_cool(g->p);
    fail(g, RC_TEMP);
}

/* What became of the lost operation, by the state that was read. */
static void resolve(struct rad_group *g, const struct rad_state *found)
{
    const struct rad_head *head = &g->p->head;
    const struct rad_id *lost = &g->change.state.ids[0];
    size_t at = find_last(found, lost);
    bool is_ours = at < RAD_RING && rad_id_eq(&found->ids[at], lost);
    if (is_ours && at == 0)
        publish(g);
    else if (is_ours)
        accept(g);
    else if (head->exists && rad_id_eq(&found->ids[0], &head->state.ids[0]))
        send_claim(g);
    else if (at < RAD_RING || is_roomy(found))
        start_again(g);
    else
        give_up(g);
}

static void answer_read_back(struct rad_group *g, struct link_call *call)
{
    struct rad_state found = {0};
    struct str key;
    struct str value;
    if (g->result == LINK_MISSING && g->p->head.exists)
        give_up(g);
    else if (g->result == LINK_MISSING)
        send_claim(g);
    else if (!link_got_key(call, &key, &value) || rad_state_parse(value, &found) != RC_OK)
        give_up(g);
    else
        resolve(g, &found);
}

static void answer_claim(struct rad_group *g)
{
    if (g->result != LINK_OK) {
        send_read_back(g);
        return;
    }
    g->p->head.state = g->claimed;
    g->p->head.exists = true;
    put_back(g);
}

static void answer_commit(struct rad_group *g)
{
    switch (g->result) {
    case LINK_OK:
        publish(g);
        break;
    case LINK_REFUSED:
    case LINK_EXISTS:
    case LINK_MISSING:
        start_again(g);
        break;
    case LINK_UNKNOWN:
        send_read_back(g);
        break;
    default:
        fail(g, link_rc(g->result));
    }
}

/* Nothing can be said yet: after a pause the state is read again. */
static bool is_to_be_repeated(struct rad_group *g)
{
    bool is_failed = g->result == LINK_UNKNOWN || g->result == LINK_FAILED;
    return g->stage == STAGE_READ_BACK && is_failed;
}

static void answer(struct rad_group *g)
{
    struct link_call *call = g->call;
    if (is_to_be_repeated(g) && !g->was_paused) {
        g->was_paused = true;
        pause_turns(g->p);
        return;
    }
    g->was_paused = false;
    g->call = NULL;
    if (g->result == LINK_FENCED) {
        rad_fail_for_good(g->p->rad, "the cluster has shut this client out");
        fail(g, RC_TEMP);
    } else if (is_to_be_repeated(g)) {
        send_read_back(g);
    } else if (g->stage == STAGE_COMMIT) {
        answer_commit(g);
    } else if (g->stage == STAGE_READ_BACK) {
        answer_read_back(g, call);
    } else {
        answer_claim(g);
    }
    link_call_free(&call);
}

/* --- a turn ----------------------------------------------------------------------------------- */

/* Nothing is written any more. */
static void refuse_all(struct rad_part *p)
{
    atomic_fetch_add(&p->rad->n_groups, 1); /* a backup need not be waited for: nothing changes */
    struct rad_group *g = group_new(p);
    list_splice_tail(&g->ops, &p->ops);
    list_splice_tail(&g->works, &p->works);
    g->lazy_upto = p->lazy_number;
    p->is_lazy_due = false;
    fail(g, RC_TEMP);
}

/* True: there may be more to do. */
static bool take_turn(struct rad_part *p)
{
    if (p->is_paused || (p->group && !p->group->is_answered))
        return false;
    if (p->group) {
        answer(p->group);
        return true;
    }
    if (!is_due(p))
        return false;
    if (atomic_load(&p->rad->is_readonly)) {
        refuse_all(p);
        return true;
    }
    if (p->loads_failed != p->loads_failed_seen) {
        p->loads_failed_seen = p->loads_failed;
        pause_turns(p);
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
        send_commit(g);
        return false;
    }
    bool is_any = !list_is_empty(&g->ops) || !list_is_empty(&g->works);
    if (is_any)
        finish(g, false);
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
