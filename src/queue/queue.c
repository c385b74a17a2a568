/* queue: opening and closing it, adding, loading, and the ids there are. What the rows are and what
 * holds between them is said in queue_int.h and rows.c.
 *
 * What is delivered here is known by the accounts (delivery ids), so a recipient that outlives its
 * delivery costs a repeated look and no second copy.
 */
#include "queue/queue_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COUNT_AT_ONCE = 2000 }; /* rows that opening waits for */

/* A small queue is counted whole. */
static enum rc count(struct queue *queue)
{
    bool is_counted;
    TRY(queue_tally_go_on(queue, COUNT_AT_ONCE, &is_counted));
    if (!is_counted)
        queue_keeper_count(queue);
    return RC_OK;
}

enum rc queue_open(const struct ctx *ctx, struct kv *kv, struct queue **out)
{
    struct queue *queue = mem_zero(sizeof *queue);
    queue->ctx = *ctx;
    queue->kv = kv;
    pthread_mutex_init(&queue->sinks_mutex, NULL);
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&queue->redo);
    map_init(&queue->settling);
    queue->tally = queue_tally_new();
    queue_keeper_start(queue);
    enum rc rc = queue_index(queue);
    if (rc == RC_OK)
        rc = count(queue);
    if (rc != RC_OK)
        queue_close(&queue);
    *out = queue;
    return rc;
}

void queue_close(struct queue **queue)
{
    queue_keeper_stop(*queue);
    queue_lease_end(*queue);
    queue_tally_free(&(*queue)->tally);
    map_fini(&(*queue)->settling);
    pthread_cond_destroy(&(*queue)->changed);
    pthread_mutex_destroy(&(*queue)->mutex);
    pthread_mutex_destroy(&(*queue)->sinks_mutex);
    free(*queue);
    *queue = NULL;
}

/* --- adding ----------------------------------------------------------------------------------- */

static void added(struct kv_op *kv_op)
{
    struct queue_op *op = CONTAINER(kv_op, struct queue_op, kv_op);
    /* What a commit does not find is the body; callers know RC_NOTFOUND as "no such recipient". */
    op->rc = kv_op->rc == RC_NOTFOUND ? RC_CORRUPT : kv_op->rc;
    if (op->rc == RC_OK)
        queue_news_tell(op->queue, &op->news, kv_op->version);
    queue_news_free(&op->news);
    op->done(op);
}

enum rc queue_add(struct queue *queue, struct queue_item *items, size_t n, struct queue_op *op)
{
    unsigned shard = queue_shard_to_add(queue);
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_QUEUE, shard});
    op->queue = queue;
    op->kv_op = (struct kv_op){.done = added};
    op->news = queue_news_new(shard);
    enum rc rc = n ? queue_items_put(queue, txn, items, n, shard, op->news) : RC_LIMIT;
    if (rc == RC_OK) {
        op->id = items[0].id;
        rc = kv_commit(queue->kv, txn, 0, &op->kv_op);
        rc = rc == RC_LIMIT ? RC_TEMP : rc; /* kv has too much queued: nobody's quota */
    } else {
        kv_txn_free(&txn);
    }
    if (rc != RC_OK)
        queue_news_free(&op->news);
    return rc;
}

enum rc queue_done(struct queue *queue, struct queue_id id, const uint16_t *numbers, size_t n)
{
    struct queue_change changes[QUEUE_RECIPIENTS];
    const struct queue_settlement settlement = {.id = id, .changes = changes, .n_changes = n};
    if (n == 0)
        return RC_OK; /* not worth a commit */
    if (n > QUEUE_RECIPIENTS)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++)
        changes[i] = (struct queue_change){.number = numbers[i]};
    return queue_settle_wait(queue, &settlement);
}

/* --- looking ---------------------------------------------------------------------------------- */

enum rc queue_load(struct queue *queue, struct queue_id id, unsigned flags, struct arena *arena,
                   struct queue_entry *out)
{
    struct queue_whole *w = arena_alloc(arena, sizeof *w);
    *out = (struct queue_entry){.item.id = id};
    if (!w)
        return RC_LIMIT;
    enum rc rc = queue_whole_read(queue, id, flags, arena, w);
    if (rc != RC_OK && rc != RC_CORRUPT)
        return rc;
    out->status = w->status;
    out->rc = rc;
    if (rc == RC_OK) {
        out->item = w->item;
        out->item.whole = w;
    }
    return RC_OK;
}

bool queue_is_deferred(const struct queue_entry *e)
{
    bool is = e->status.failures || e->status.waits;
    for (size_t i = 0; i < e->item.n_recipients && !is; i++) {
        const struct queue_recipient *r = &e->item.recipients[i];
        is = r->tries || r->status.n || r->reply.n;
    }
    return is && e->status.state != QUEUE_HELD;
}

enum rc queue_list(struct queue *queue, unsigned shard, const struct queue_id *after,
                   struct queue_id *out, size_t max, size_t *out_n)
{
    unsigned char key[QUEUE_ITEM_KEY];
    struct kv_range range = {.from = STR("m"), .to = STR("n")};
    struct kv_page page = {.has_more = true};
    enum rc rc = RC_OK;
    size_t n = 0;
    while (rc == RC_OK && page.has_more && n < max) { /* a page may be cut by its bytes */
        struct arena arena = {0};
        if (n || after)
            range.after = queue_item_key(n ? out[n - 1] : *after, key);
        rc =
            kv_scan(queue->kv, (struct kv_part){KV_QUEUE, shard}, range, max - n, 0, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
            if (page.rows[i].key.n == QUEUE_ITEM_KEY)
                memcpy(out[n++].b, page.rows[i].key.p + 1, sizeof out->b);
            else
                rc = RC_CORRUPT;
        }
        arena_fini(&arena);
    }
    *out_n = rc == RC_OK ? n : 0;
    return rc;
}

uint64_t queue_count(struct queue *queue)
{
    return queue_number(queue, QUEUE_N_ITEMS);
}

uint64_t queue_held(struct queue *queue)
{
    return queue_number(queue, QUEUE_N_HELD);
}

void queue_sink_set(struct queue *queue, enum queue_kind kind, struct queue_sink *sink)
{
    pthread_mutex_lock(&queue->sinks_mutex);
    queue->sinks[kind == QUEUE_REMOTE] = sink;
    pthread_mutex_unlock(&queue->sinks_mutex);
}
