/* queue: what became of tries, as one commit.
 *
 * A settlement reads its item, asserts what it read and commits. When somebody else has changed the
 * item in between (an administrator, mostly) it reads again. Settlements of one item follow one
 * after the other: which of them takes off the last recipient is seen by none that overlaps with
 * another.
 *
 * The first read is from memory, on the caller's thread; what may block, and what is repeated, is
 * done by the keeper.
 */
#include "queue/queue_int.h"

#include <string.h>

static uint64_t hash_of(struct queue_id id)
{
    return get_u64(id.b + 8); /* random as it is */
}

static struct queue_op *find(struct queue *queue, struct queue_id id)
{
    struct map_node *node = map_find(&queue->settling, hash_of(id));
    for (; node; node = map_next(node)) {
        struct queue_op *op = CONTAINER(node, struct queue_op, node);
        if (memcmp(op->settlement->id.b, id.b, sizeof id.b) == 0)
            return op;
    }
    return NULL;
}

/* True: it is this one's turn. */
static bool enter(struct queue *queue, struct queue_op *op)
{
    pthread_mutex_lock(&queue->mutex);
    struct queue_op *first = find(queue, op->settlement->id);
    if (first)
        list_add_tail(&first->behind, &op->link);
    else
        map_add(&queue->settling, &op->node, hash_of(op->settlement->id));
    pthread_mutex_unlock(&queue->mutex);
    return !first;
}

/* The next one for the same item, which has the turn from here on. */
static struct queue_op *leave(struct queue *queue, struct queue_op *op)
{
    struct queue_op *next = NULL;
    pthread_mutex_lock(&queue->mutex);
    map_remove(&queue->settling, &op->node);
    struct list *first = list_first(&op->behind);
    if (first) {
        next = CONTAINER(first, struct queue_op, link);
        list_remove(first);
        list_splice_tail(&next->behind, &op->behind);
        map_add(&queue->settling, &next->node, hash_of(next->settlement->id));
    }
    pthread_mutex_unlock(&queue->mutex);
    return next;
}

static void finish(struct queue_op *op, enum rc rc)
{
    struct queue *queue = op->queue;
    struct queue_op *next = leave(queue, op);
    op->rc = rc;
    if (rc == RC_OK && op->news)
        queue_news_tell(queue, &op->news, op->kv_op.version);
    queue_news_free(&op->news);
    if (next)
        queue_keeper_redo(queue, next);
    op->done(op);
}

static void settled(struct kv_op *kv_op)
{
    struct queue_op *op = CONTAINER(kv_op, struct queue_op, kv_op);
    if (kv_op->rc == RC_CONFLICT && ++op->attempts < QUEUE_ATTEMPTS) {
        queue_news_free(&op->news);
        queue_keeper_redo(op->queue, op);
        return;
    }
    enum rc rc = kv_op->rc;
    finish(op, rc == RC_CONFLICT ? RC_TEMP : rc == RC_NOTFOUND ? RC_CORRUPT : rc);
}

/* --- building the commit ---------------------------------------------------------------------- */

static size_t index_of(const struct queue_item *item, uint16_t number)
{
    size_t from = 0, to = item->n_recipients;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (item->recipients[middle].number < number)
            from = middle + 1;
        else
            to = middle;
    }
    return from < item->n_recipients && item->recipients[from].number == number
               ? from
               : item->n_recipients;
}

/* A time that has come nearer since the caller has loaded the item is an administrator's wish, and
 * stays; the try knew nothing of it. */
static uint64_t due_after(uint64_t loaded, uint64_t now, uint64_t next)
{
    return now != loaded && now < next ? now : next;
}

/* The state of a recipient as the change says it; who it is stays. */
static struct queue_recipient merged(const struct queue_recipient *loaded,
                                     const struct queue_recipient *old,
                                     const struct queue_recipient *state)
{
    struct queue_recipient r = *state;
    r.number = old->number;
    r.account = old->account;
    r.address = old->address;
    r.domain = old->domain;
    r.wish = old->wish;
    r.due = loaded ? due_after(loaded->due, old->due, r.due) : r.due;
    return r;
}

/* The same for the copies here. One that is held stays held. */
static struct queue_status status_of(const struct queue_whole *w, const struct queue_settlement *s)
{
    struct queue_status status = w->status;
    if (!s->status || w->status.state == QUEUE_HELD)
        return status;
    status = *s->status;
    if (s->loaded && s->loaded->whole && w->status.due)
        status.due = due_after(s->loaded->whole->status.due, w->status.due, status.due);
    return status;
}

static const struct queue_recipient *loaded_of(const struct queue_settlement *s, uint16_t number)
{
    return s->loaded ? queue_recipient_of(s->loaded, number) : NULL;
}

static enum rc next_of(const struct queue_whole *w, const struct queue_settlement *s,
                       struct arena *arena, struct queue_next *out)
{
    size_t n = w->item.n_recipients;
    out->recipients = arena_zero(arena, (n + 1) * sizeof(struct queue_recipient *));
    struct queue_recipient *changed = arena_zero(arena, (n + 1) * sizeof *changed);
    if (!out->recipients || !changed)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++)
        out->recipients[i] = &w->item.recipients[i];
    for (size_t i = 0; i < s->n_changes; i++) {
        size_t at = index_of(&w->item, s->changes[i].number);
        if (at == n)
            continue; /* gone already */
        if (s->changes[i].state)
            changed[at] = merged(loaded_of(s, s->changes[i].number), &w->item.recipients[at],
                                 s->changes[i].state);
        out->recipients[at] = s->changes[i].state ? &changed[at] : NULL;
    }
    out->status = status_of(w, s);
    out->item = NULL;
    out->is_pressing = false;
    return RC_OK;
}

/* What the caller has loaded is as good as read now, since the commit asserts it: but only where
 * that covers all recipients, and once. */
static enum rc whole_of(struct queue_op *op, unsigned flags, struct arena *arena,
                        struct queue_whole *out)
{
    const struct queue_item *loaded = op->settlement->loaded;
    if (loaded && loaded->whole && !loaded->whole->recipient_rows && op->attempts == 0) {
        *out = *loaded->whole;
        return RC_OK;
    }
    return queue_whole_read(op->queue, op->settlement->id, flags, arena, out);
}

static enum rc build(struct queue_op *op, unsigned flags, struct kv_txn *txn)
{
    const struct queue_settlement *s = op->settlement;
    struct arena arena = {0};
    struct queue_whole w;
    struct queue_next next;
    enum rc rc = whole_of(op, flags, &arena, &w);
    if (rc == RC_OK)
        rc = next_of(&w, s, &arena, &next);
    if (rc == RC_OK)
        rc = queue_whole_change(txn, &w, &next, op->news);
    if (rc == RC_OK && s->n_items)
        rc = queue_items_put(op->queue, txn, s->items, s->n_items, queue_shard_of(s->id), op->news);
    arena_fini(&arena);
    if (rc == RC_OK && s->n_items)
        op->id = s->items[0].id;
    return rc;
}

/* RC_OK: settled() will come. */
static enum rc try_once(struct queue_op *op, unsigned flags)
{
    struct kv_txn *txn = kv_txn_new(queue_part_of(op->settlement->id));
    op->news = queue_news_new(queue_shard_of(op->settlement->id));
    op->kv_op = (struct kv_op){.done = settled};
    enum rc rc = queue_lease_assert(op->queue, txn, queue_shard_of(op->settlement->id));
    if (rc == RC_OK)
        rc = build(op, flags, txn);
    if (rc == RC_OK)
        rc = kv_commit(op->queue->kv, txn, 0, &op->kv_op);
    else
        kv_txn_free(&txn);
    if (rc != RC_OK)
        queue_news_free(&op->news);
    return rc;
}

void queue_settle_again(struct queue_op *op)
{
    enum rc rc = try_once(op, 0);
    if (rc == RC_OK)
        return;
    if (rc == RC_NOTFOUND && !op->settlement->n_items)
        rc = RC_OK; /* gone already */
    finish(op, rc == RC_LIMIT || rc == RC_AGAIN ? RC_TEMP : rc);
}

enum rc queue_settle(struct queue *queue, const struct queue_settlement *settlement,
                     struct queue_op *op)
{
    if (settlement->n_items > QUEUE_ITEMS_AT_ONCE || settlement->n_changes > QUEUE_RECIPIENTS)
        return RC_LIMIT;
    op->queue = queue;
    op->settlement = settlement;
    op->news = NULL;
    op->attempts = 0;
    list_init(&op->link);
    list_init(&op->behind);
    if (enter(queue, op) && try_once(op, KV_CACHED) != RC_OK)
        queue_keeper_redo(queue, op);
    return RC_OK;
}

/* --- waited for ------------------------------------------------------------------------------- */

struct awaited {
    struct queue_op op;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done;
};

static void wake(struct queue_op *op)
{
    struct awaited *a = CONTAINER(op, struct awaited, op);
    pthread_mutex_lock(&a->mutex);
    a->is_done = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->mutex);
}

enum rc queue_settle_wait(struct queue *queue, const struct queue_settlement *settlement)
{
    struct awaited a = {
        .op.done = wake, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    TRY(queue_settle(queue, settlement, &a.op));
    pthread_mutex_lock(&a.mutex);
    while (!a.is_done)
        pthread_cond_wait(&a.changed, &a.mutex);
    pthread_mutex_unlock(&a.mutex);
    return a.op.rc;
}
