/* queue: the index by time, read; and made for items of releases that had none.
 */
#include "queue/queue_int.h"

#include <string.h>

/* --- reading ---------------------------------------------------------------------------------- */

static enum rc take_page(const struct kv_page *rows, const struct queue_due_range *range,
                         struct arena *arena, struct queue_due_page *out)
{
    out->entries = arena_zero(arena, (rows->n + 1) * sizeof *out->entries);
    if (!out->entries)
        return RC_LIMIT;
    for (size_t i = 0; i < rows->n; i++) {
        struct queue_due *entry = &out->entries[out->n];
        if (rows->rows[i].key.n != QUEUE_DUE_KEY)
            continue;
        /* One bad row must not stand before all others: the item says the rest. */
        if (queue_due_unpack(rows->rows[i], entry) != RC_OK)
            entry->destination = (struct str){0};
        if (entry->due > range->until) {
            out->has_more = false;
            out->next_due = entry->due;
            return RC_OK;
        }
        out->n++;
    }
    return out->has_more && out->n == 0 ? RC_CORRUPT : RC_OK;
}

enum rc queue_due_scan(struct queue *queue, const struct queue_due_range *range, size_t max,
                       struct arena *arena, struct queue_due_page *out)
{
    const char from[] = {'d', (char)range->kind}, to[] = {'d', (char)(range->kind + 1)};
    unsigned char after[QUEUE_DUE_KEY];
    struct kv_range rows = {.from = str_from(from, 2), .to = str_from(to, 2)};
    struct kv_page page;
    *out = (struct queue_due_page){.next_due = UINT64_MAX};
    if (range->after)
        rows.after = queue_due_key(range->after, after);
    TRY(kv_scan(queue->kv, (struct kv_part){KV_QUEUE, range->shard}, rows, max, 0, arena, &page));
    out->has_more = page.has_more;
    return take_page(&page, range, arena, out);
}

/* --- making it -------------------------------------------------------------------------------- */

/* RC_CONFLICT: somebody else has changed the item meanwhile. */
static enum rc index_once(struct queue *queue, struct queue_id id)
{
    struct arena arena = {0};
    struct queue_whole w;
    struct queue_news *news = queue_news_new(queue_shard_of(id));
    struct kv_txn *txn = kv_txn_new(queue_part_of(id));
    enum rc rc = queue_whole_read(queue, id, 0, &arena, &w);
    bool is_readable = rc == RC_OK;
    if (rc == RC_CORRUPT) /* whoever tries it finds that out, and holds it */
        rc = RC_OK;
    if (rc == RC_OK)
        rc = queue_whole_assert(txn, &w);
    if (rc == RC_OK && is_readable && w.item_row.p[0] == QUEUE_FORMAT_OLD)
        rc = queue_whole_upgrade(txn, &w);
    if (rc == RC_OK && w.status.state == QUEUE_WAITING) {
        const struct queue_due due = queue_due_local(&w.item, &w.status);
        rc = queue_due_put(txn, &due, news);
    }
    if (rc == RC_OK)
        rc = kv_commit_wait(queue->kv, txn, NULL);
    else
        kv_txn_free(&txn);
    queue_news_free(&news);
    arena_fini(&arena);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc index_item(struct queue *queue, struct queue_id id)
{
    enum rc rc = RC_CONFLICT;
    for (int i = 0; i < QUEUE_ATTEMPTS && rc == RC_CONFLICT; i++)
        rc = index_once(queue, id);
    return rc;
}

static enum rc index_shard(struct queue *queue, unsigned shard)
{
    struct queue_id ids[256], after;
    size_t n = 0;
    do {
        TRY(queue_list(queue, shard, n ? &after : NULL, ids, 256, &n));
        for (size_t i = 0; i < n; i++)
            TRY(index_item(queue, ids[i]));
        if (n)
            after = ids[n - 1];
    } while (n == 256);
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_QUEUE, shard});
    const char format = QUEUE_INDEX_FORMAT;
    enum rc rc = kv_txn_put(txn, STR("v"), str_from(&format, 1));
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    return kv_commit_wait(queue->kv, txn, NULL);
}

enum rc queue_index(struct queue *queue)
{
    if (kv_state(queue->kv, NULL) != KV_WRITABLE)
        return RC_OK; /* nothing is tried either */
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct arena arena = {0};
        const struct str key = STR("v");
        struct str value;
        enum rc rc =
            kv_get(queue->kv, (struct kv_part){KV_QUEUE, shard}, &key, 1, 0, &arena, &value, NULL);
        bool is_made = rc == RC_OK && !str_is_null(value);
        arena_fini(&arena);
        TRY(rc);
        if (!is_made)
            TRY(index_shard(queue, shard));
    }
    return RC_OK;
}
