/* A group: what is queued for a partition, checked in order against its state and what those before
 * it do, and, in the end, told.
 *
 * What fails when it is checked has its result from then on and waits in its place. What is not in
 * memory is asked for, and ends the group before it; so the next turn finds it. */
#include "rados/commit_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum { GROUP_OPS = 512, GROUP_BYTES = 4 << 20 };

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

/* But for the first n. */
static void forget_wanted(struct rad_part *p, size_t n)
{
    while (p->n_wanted > n)
        free((void *)(uintptr_t)p->wanted[--p->n_wanted].p);
}

/* RC_AGAIN: it has to wait, and so have those behind it. */
static enum rc add_op(struct rad_group *g, struct kv_op *op)
{
    if (op->rc == RC_OK) { /* else: failed at an earlier turn */
        size_t wanted = g->p->n_wanted;
        enum rc rc = apply(&g->change, op);
        if (rc == RC_AGAIN && g->p->is_damaged && g->p->n_wanted > wanted) {
            forget_wanted(g->p, wanted);
            rc = RC_CORRUPT; /* it waits for what will not come */
        }
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
    forget_wanted(p, 0);
}

struct rad_group *group_new(struct rad_part *p)
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
struct rad_group *group_gather(struct rad_part *p)
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
bool group_may_begin(struct rad *rad)
{
    atomic_fetch_add(&rad->n_groups, 1);
    if (!atomic_load(&rad->is_held))
        return true;
    atomic_fetch_sub(&rad->n_groups, 1);
    return false;
}

void group_free(struct rad_group *g)
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
void group_finish(struct rad_group *g, bool is_published)
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

void group_publish(struct rad_group *g)
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
    group_finish(g, true);
}

void group_fail(struct rad_group *g, enum rc rc)
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
    group_finish(g, false);
}

/* Back into the queue, before what has come since. */
void group_put_back(struct rad_group *g)
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
