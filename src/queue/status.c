/* queue: whether an item waits or is held, and how it came to that.
 *
 * Invariant: a status row exists only beside its item. Whoever writes one asserts the item's row,
 * and the commit that removes an item removes its status.
 */
#include "queue/queue_int.h"

#include <stdio.h>
#include <string.h>

void queue_held_changed(struct queue *queue, bool more)
{
    if (more) {
        atomic_fetch_add(&queue->held, 1);
        counter_add(queue->ctx.counters, COUNTER_QUEUE_HELD, 1);
    } else {
        atomic_fetch_sub(&queue->held, 1);
        counter_sub(queue->ctx.counters, COUNTER_QUEUE_HELD, 1);
    }
}

enum rc queue_count_held(struct queue *queue, unsigned shard)
{
    struct kv_range range = {.from = STR("s"), .to = STR("t")};
    struct arena arena = {0};
    struct kv_page page = {.has_more = true};
    enum rc rc = RC_OK;
    while (rc == RC_OK && page.has_more) {
        rc = kv_scan(queue->kv, (struct kv_part){KV_QUEUE, shard}, range, 0, 0, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
            struct queue_status status;
            rc = queue_status_unpack(page.rows[i].value, &status);
            atomic_fetch_add(&queue->held, status.state == QUEUE_HELD);
        }
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    }
    arena_fini(&arena);
    return rc;
}

/* The rows of an item and of its status; RC_NOTFOUND without an item. */
static enum rc read_rows(struct queue *queue, struct queue_id id, struct arena *arena,
                         struct str out[2])
{
    unsigned char item_key[QUEUE_ITEM_KEY], status_key[QUEUE_ITEM_KEY];
    const struct str keys[] = {queue_item_key(id, item_key), queue_status_key(id, status_key)};
    TRY(kv_get(queue->kv, queue_part_of(id), keys, 2, 0, arena, out, NULL));
    return str_is_null(out[0]) ? RC_NOTFOUND : RC_OK;
}

enum rc queue_status_get(struct queue *queue, struct queue_id id, struct queue_status *out)
{
    struct arena arena = {0};
    struct str rows[2];
    enum rc rc = read_rows(queue, id, &arena, rows);
    if (rc == RC_OK)
        rc = queue_status_unpack(rows[1], out);
    arena_fini(&arena);
    return rc;
}

static enum rc put_status(struct kv_txn *txn, struct queue_id id, struct str item_row,
                          struct str old, const struct queue_status *status)
{
    unsigned char key[QUEUE_ITEM_KEY], row[QUEUE_STATUS_MAX];
    TRY(kv_txn_assert_value(txn, queue_item_key(id, key), item_row));
    struct str k = queue_status_key(id, key);
    if (str_is_null(old))
        TRY(kv_txn_assert_absent(txn, k));
    else
        TRY(kv_txn_assert_value(txn, k, old));
    if (status->state == QUEUE_WAITING && !status->failures)
        return kv_txn_delete(txn, k);
    return kv_txn_put(txn, k, queue_status_pack(status, row));
}

/* One attempt: RC_CONFLICT when somebody else has changed the item or its status meanwhile. */
static enum rc write_status(struct queue *queue, struct queue_id id,
                            const struct queue_status *status, bool must_be_held)
{
    struct arena arena = {0};
    struct str rows[2];
    struct queue_status before;
    struct kv_txn *txn = kv_txn_new(queue_part_of(id));
    enum rc rc = read_rows(queue, id, &arena, rows);
    if (rc == RC_OK && queue_status_unpack(rows[1], &before) != RC_OK)
        before.state = QUEUE_HELD; /* damaged: replaced */
    if (rc == RC_OK && must_be_held && before.state != QUEUE_HELD)
        rc = RC_EXISTS;
    if (rc == RC_OK)
        rc = put_status(txn, id, rows[0], rows[1], status);
    if (rc == RC_OK)
        rc = kv_commit_wait(queue->kv, txn, NULL);
    else
        kv_txn_free(&txn);
    if (rc == RC_OK && before.state != status->state)
        queue_held_changed(queue, status->state == QUEUE_HELD);
    arena_fini(&arena);
    return rc;
}

static enum rc change_status(struct queue *queue, struct queue_id id,
                             const struct queue_status *status, bool must_be_held)
{
    enum rc rc = RC_CONFLICT;
    for (int i = 0; i < QUEUE_ATTEMPTS && rc == RC_CONFLICT; i++)
        rc = write_status(queue, id, status, must_be_held);
    return rc == RC_CONFLICT ? RC_TEMP : rc;
}

enum rc queue_status_set(struct queue *queue, struct queue_id id, const struct queue_status *status)
{
    return change_status(queue, id, status, false);
}

enum rc queue_hold(struct queue *queue, struct queue_id id, const char *cause)
{
    struct queue_status status;
    enum rc rc = queue_status_get(queue, id, &status);
    if (rc != RC_OK && rc != RC_CORRUPT)
        return rc;
    status.state = QUEUE_HELD;
    snprintf(status.cause, sizeof status.cause, "%s", cause);
    return change_status(queue, id, &status, false);
}

enum rc queue_release(struct queue *queue, struct queue_id id)
{
    const struct queue_status usual = {0};
    enum rc rc = change_status(queue, id, &usual, true);
    if (rc != RC_OK)
        return rc == RC_EXISTS ? RC_CONFLICT : rc;
    pthread_mutex_lock(&queue->mutex);
    if (queue->watch)
        queue->watch->released(queue->watch, id);
    pthread_mutex_unlock(&queue->mutex);
    return RC_OK;
}

enum rc queue_hold_all(struct queue *queue, const char *cause)
{
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[256], after;
        size_t n = 0;
        do {
            TRY(queue_list(queue, shard, n ? &after : NULL, ids, 256, &n));
            for (size_t i = 0; i < n; i++) {
                enum rc rc = queue_hold(queue, ids[i], cause);
                if (rc != RC_OK && rc != RC_NOTFOUND)
                    return rc;
            }
            if (n)
                after = ids[n - 1];
        } while (n == 256);
    }
    return RC_OK;
}

enum rc queue_look(struct queue *queue, struct queue_id id, struct arena *arena,
                   struct queue_entry *out)
{
    *out = (struct queue_entry){0};
    enum rc rc = queue_status_get(queue, id, &out->status);
    if (rc != RC_OK && rc != RC_CORRUPT)
        return rc;
    out->rc = queue_get(queue, id, arena, &out->item);
    if (out->rc == RC_NOTFOUND)
        return RC_NOTFOUND; /* gone meanwhile */
    if (out->rc != RC_OK)
        out->item = (struct queue_item){.id = id};
    else
        out->rc = rc;
    return out->rc == RC_OK || out->rc == RC_CORRUPT ? RC_OK : out->rc;
}

void queue_watch_set(struct queue *queue, struct queue_watch *watch)
{
    pthread_mutex_lock(&queue->mutex);
    queue->watch = watch;
    pthread_mutex_unlock(&queue->mutex);
}

void queue_id_text(struct queue_id id, char out[QUEUE_ID_TEXT])
{
    for (size_t i = 0; i < sizeof id.b; i++)
        snprintf(out + 2 * i, 3, "%02x", id.b[i]);
}

enum rc queue_id_parse(struct str text, struct queue_id *out)
{
    if (text.n != QUEUE_ID_TEXT - 1)
        return RC_SYNTAX;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return RC_SYNTAX;
        out->b[i / 2] = (unsigned char)(i % 2 ? out->b[i / 2] | digit : digit << 4);
    }
    return RC_OK;
}
