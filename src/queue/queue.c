/* queue: items and recipients as rows of class Q.
 *
 * Invariants: (1) an item's row exists exactly while at least one recipient row does; (2) the shard
 * holds one reference to the blob of each of its items; (3) both change in the same commit. What is
 * delivered is known by the accounts (delivery ids), so a recipient row that outlives its delivery
 * costs a repeated look and no second copy.
 */
#include "queue/queue_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

struct kv_part queue_part_of(struct queue_id id)
{
    return (struct kv_part){KV_QUEUE, id.b[0] % QUEUE_SHARDS};
}

/* By differences: two changes at once must not leave the older sum. */
static void count_change(struct queue *queue, bool more)
{
    if (more) {
        atomic_fetch_add(&queue->count, 1);
        counter_add(queue->ctx.counters, COUNTER_QUEUE_ITEMS, 1);
    } else {
        atomic_fetch_sub(&queue->count, 1);
        counter_sub(queue->ctx.counters, COUNTER_QUEUE_ITEMS, 1);
    }
}

static enum rc count_all(struct queue *queue)
{
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[256], after;
        size_t n = 0;
        do {
            TRY(queue_list(queue, shard, n ? &after : NULL, ids, 256, &n));
            atomic_fetch_add(&queue->count, n);
            if (n)
                after = ids[n - 1];
        } while (n == 256);
        TRY(queue_count_held(queue, shard));
    }
    counter_set(queue->ctx.counters, COUNTER_QUEUE_ITEMS, atomic_load(&queue->count));
    counter_set(queue->ctx.counters, COUNTER_QUEUE_HELD, atomic_load(&queue->held));
    return RC_OK;
}

enum rc queue_open(const struct ctx *ctx, struct kv *kv, struct queue **out)
{
    struct queue *queue = mem_zero(sizeof *queue);
    queue->ctx = *ctx;
    queue->kv = kv;
    pthread_mutex_init(&queue->mutex, NULL);
    enum rc rc = count_all(queue);
    if (rc != RC_OK)
        queue_close(&queue);
    *out = queue;
    return rc;
}

void queue_close(struct queue **queue)
{
    pthread_mutex_destroy(&(*queue)->mutex);
    free(*queue);
    *queue = NULL;
}

static void added(struct kv_op *kv_op)
{
    struct queue_op *op = CONTAINER(kv_op, struct queue_op, kv_op);
    /* What a commit does not find is the body; callers know RC_NOTFOUND as "no such recipient". */
    op->rc = kv_op->rc == RC_NOTFOUND ? RC_CORRUPT : kv_op->rc;
    if (op->rc == RC_OK)
        count_change(op->queue, true);
    op->done(op);
}

static enum rc put_rows(struct kv_txn *txn, struct queue_id id, const struct queue_item *item)
{
    unsigned char key[QUEUE_RECIPIENT_KEY], row[QUEUE_ITEM_MAX];
    TRY(kv_txn_put(txn, queue_item_key(id, key), queue_item_pack(item, row)));
    for (size_t n = 0; n < item->n_accounts; n++)
        TRY(kv_txn_put(
            txn, queue_recipient_key(id, n, key),
            queue_recipient_pack(item->accounts[n], item->wishes ? &item->wishes[n] : NULL, row)));
    return kv_txn_ref(txn, item->blob);
}

enum rc queue_add(struct queue *queue, const struct queue_item *item, struct queue_op *op)
{
    if (item->n_accounts == 0 || item->n_accounts > QUEUE_RECIPIENTS)
        return RC_LIMIT;
    random_bytes(op->id.b, sizeof op->id.b);
    op->queue = queue;
    op->kv_op = (struct kv_op){.done = added};
    struct kv_txn *txn = kv_txn_new(queue_part_of(op->id));
    enum rc rc = put_rows(txn, op->id, item);
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    rc = kv_commit(queue->kv, txn, 0, &op->kv_op);
    return rc == RC_LIMIT ? RC_TEMP : rc; /* kv has too much queued: nobody's quota */
}

/* The recipient rows of an item, all of them: an item has at most QUEUE_RECIPIENTS, which fits a
 * page. */
static enum rc recipients(struct queue *queue, struct queue_id id, struct arena *arena,
                          struct kv_page *out)
{
    unsigned char from[QUEUE_RECIPIENT_KEY], to[QUEUE_RECIPIENT_KEY];
    struct kv_range range = {.from = queue_recipient_key(id, 0, from),
                             .to = queue_recipient_key(id, UINT16_MAX, to)};
    return kv_scan(queue->kv, queue_part_of(id), range, KV_PAGE_ROWS, 0, arena, out);
}

static bool is_in(uint16_t number, const uint16_t *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

static enum rc number_of(struct str key, uint16_t *out)
{
    if (key.n != QUEUE_RECIPIENT_KEY)
        return RC_CORRUPT;
    *out = get_u16(key.p + 17);
    return RC_OK;
}

static enum rc take_off(struct kv_txn *txn, const struct kv_page *rows, const uint16_t *numbers,
                        size_t n, size_t *out_left)
{
    *out_left = rows->n;
    for (size_t i = 0; i < rows->n; i++) {
        uint16_t number;
        TRY(number_of(rows->rows[i].key, &number));
        if (!is_in(number, numbers, n))
            continue;
        TRY(kv_txn_delete(txn, rows->rows[i].key));
        (*out_left)--;
    }
    return RC_OK;
}

/* The status as it was read must still hold, so that what is counted as held stays exact. */
static enum rc remove_item(struct queue *queue, struct kv_txn *txn, const struct queue_item *item,
                           struct arena *arena, bool *out_was_held)
{
    unsigned char key[QUEUE_ITEM_KEY];
    struct queue_status status;
    struct str k = queue_status_key(item->id, key), row;
    TRY(kv_get(queue->kv, queue_part_of(item->id), &k, 1, 0, arena, &row, NULL));
    *out_was_held = queue_status_unpack(row, &status) == RC_OK && status.state == QUEUE_HELD;
    TRY(str_is_null(row) ? kv_txn_assert_absent(txn, k) : kv_txn_assert_value(txn, k, row));
    TRY(kv_txn_delete(txn, k));
    TRY(kv_txn_delete(txn, queue_item_key(item->id, key)));
    return kv_txn_drop(txn, item->blob);
}

static enum rc read_item(struct queue *queue, struct queue_id id, struct arena *arena,
                         struct queue_item *out)
{
    unsigned char key[QUEUE_ITEM_KEY];
    struct str k = queue_item_key(id, key), row;
    TRY(kv_get(queue->kv, queue_part_of(id), &k, 1, 0, arena, &row, NULL));
    if (str_is_null(row))
        return RC_NOTFOUND;
    out->id = id;
    return queue_item_unpack(row, arena, out);
}

/* RC_CONFLICT: the status has changed meanwhile. */
static enum rc done_once(struct queue *queue, struct queue_id id, const uint16_t *numbers, size_t n)
{
    struct arena arena = {0};
    struct kv_page rows;
    struct queue_item item;
    size_t left = 0;
    bool was_held = false;
    struct kv_txn *txn = kv_txn_new(queue_part_of(id));
    enum rc rc = read_item(queue, id, &arena, &item);
    if (rc == RC_OK)
        rc = recipients(queue, id, &arena, &rows);
    if (rc == RC_OK)
        rc = take_off(txn, &rows, numbers, n, &left);
    if (rc == RC_OK && left == 0)
        rc = remove_item(queue, txn, &item, &arena, &was_held);
    if (rc == RC_OK)
        rc = kv_commit_wait(queue->kv, txn, NULL);
    else
        kv_txn_free(&txn);
    if (rc == RC_OK && left == 0)
        count_change(queue, false);
    if (rc == RC_OK && was_held)
        queue_held_changed(queue, false);
    arena_fini(&arena);
    return rc;
}

enum rc queue_done(struct queue *queue, struct queue_id id, const uint16_t *numbers, size_t n)
{
    if (n == 0)
        return RC_OK; /* not worth a commit */
    enum rc rc = RC_CONFLICT;
    for (int i = 0; i < QUEUE_ATTEMPTS && rc == RC_CONFLICT; i++)
        rc = done_once(queue, id, numbers, n);
    if (rc == RC_NOTFOUND)
        return RC_OK; /* gone already */
    return rc == RC_CONFLICT ? RC_TEMP : rc;
}

enum rc queue_get(struct queue *queue, struct queue_id id, struct arena *arena,
                  struct queue_item *out)
{
    struct kv_page rows;
    TRY(read_item(queue, id, arena, out));
    TRY(recipients(queue, id, arena, &rows));
    uint64_t *accounts = arena_zero(arena, (out->n_accounts + 1) * sizeof *accounts);
    struct queue_wish *wishes = arena_zero(arena, (out->n_accounts + 1) * sizeof *wishes);
    if (!accounts || !wishes)
        return RC_LIMIT;
    for (size_t i = 0; i < rows.n; i++) {
        uint16_t number;
        TRY(number_of(rows.rows[i].key, &number));
        if (number >= out->n_accounts)
            return RC_CORRUPT;
        TRY(queue_recipient_unpack(rows.rows[i].value, &accounts[number], &wishes[number]));
    }
    out->accounts = accounts;
    out->wishes = wishes;
    return RC_OK;
}

enum rc queue_list(struct queue *queue, unsigned shard, const struct queue_id *after,
                   struct queue_id *out, size_t max, size_t *out_n)
{
    struct arena arena = {0};
    struct kv_page page = {0};
    unsigned char key[QUEUE_ITEM_KEY];
    struct kv_range range = {.from = STR("m"), .to = STR("n")};
    if (after)
        range.after = queue_item_key(*after, key);
    enum rc rc =
        kv_scan(queue->kv, (struct kv_part){KV_QUEUE, shard}, range, max, 0, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
        if (page.rows[i].key.n == QUEUE_ITEM_KEY)
            memcpy(out[i].b, page.rows[i].key.p + 1, sizeof out[i].b);
        else
            rc = RC_CORRUPT;
    }
    *out_n = rc == RC_OK ? page.n : 0;
    arena_fini(&arena);
    return rc;
}

uint64_t queue_count(struct queue *queue)
{
    return atomic_load(&queue->count);
}

uint64_t queue_held(struct queue *queue)
{
    return atomic_load(&queue->held);
}
