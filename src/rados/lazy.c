/* Rows of a cache partition that come with commits of the account beside it: another object than
 * the account's head, so they cannot be in the same operation. They are readable at once, wait for
 * others, and go with whatever the partition commits next. */
#include "rados/commit_int.h"

#include "base/random.h"

enum {
    LAZY_MS = 20000,  /* how long they wait: so long to twice that */
    LAZY_ROWS = 2000, /* and how many */
    /* While nothing can be written: beyond this in one partition, or a share of the store's memory
     * in all, what comes is dropped. Nobody misses it: it can be made again. */
    LAZY_BYTES = 8 << 20,
    LAZY_SHARE = 4
};

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
    atomic_fetch_add(&p->rad->lazy_bytes, (size_t)bytes);
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

static bool is_too_much(const struct rad_part *p)
{
    const struct rad *rad = p->rad;
    return p->lazy_bytes > LAZY_BYTES ||
           atomic_load(&rad->lazy_bytes) > rad->conf.memory_bytes / LAZY_SHARE;
}

/* Without a value: the row is to go. */
static void lazy_put(struct rad_part *p, struct str key, struct str value)
{
    lazy_delete(p, key);
    if (is_too_much(p))
        return;
    rad_row_put(&p->lazy, key, ++p->lazy_number, value);
    lazy_weigh(p, (ptrdiff_t)rad_row_weight(key, kv_rows_get(&p->lazy, key)));
}

/* What a transaction that has been published says about the cache beside its partition. */
void lazy_take(struct rad *rad, const struct kv_txn *txn)
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

void lazy_add(struct rad_group *g)
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
void lazy_drop(struct rad_group *g)
{
    struct kv_rows *lazy = &g->p->lazy;
    for (struct kv_rows_row *row = lazy->first[0], *next; row; row = next) {
        next = row->next[0];
        if (rad_row_stamp(row->value) <= g->lazy_upto)
            lazy_delete(g->p, row->key);
    }
}
