/* queue: whether an item waits or is held, and how it came to that.
 *
 * Invariant: a status row exists only beside its item. Whoever writes one asserts the item's row,
 * and the commit that removes an item removes its status. The entries of the index go when an item
 * is held and come back when it is released, in the same commit.
 */
#include "queue/queue_int.h"

#include <stdio.h>
#include <string.h>

enum rc queue_status_get(struct queue *queue, struct queue_id id, struct queue_status *out)
{
    struct arena arena = {0};
    struct queue_whole w;
    enum rc rc = queue_whole_read(queue, id, 0, &arena, &w);
    if (rc == RC_CORRUPT)
        rc = queue_status_unpack(w.status_row, &w.status); /* the item's row is not asked for */
    *out = w.status;
    arena_fini(&arena);
    return rc;
}

/* What becomes of an item's status. */
struct turn {
    const struct queue_status *set; /* NULL: the next two */
    const char *hold;               /* the cause; NULL: released */
    bool must_be_held;
};

static void apply(const struct turn *t, uint64_t now, struct queue_status *status)
{
    if (t->set) {
        *status = *t->set;
    } else if (t->hold) {
        status->state = QUEUE_HELD;
        snprintf(status->cause, sizeof status->cause, "%s", t->hold);
    } else {
        *status = (struct queue_status){.due = now};
    }
}

/* Of one released: everybody elsewhere is due at once, and what was tried stays known. */
static enum rc recipients_of(const struct queue_whole *w, bool is_released, uint64_t now,
                             struct arena *arena, struct queue_next *out)
{
    size_t n = w->item.n_recipients;
    struct queue_recipient *changed = arena_zero(arena, (n + 1) * sizeof *changed);
    out->recipients = arena_zero(arena, (n + 1) * sizeof(struct queue_recipient *));
    if (!changed || !out->recipients)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        out->recipients[i] = &w->item.recipients[i];
        if (!is_released || w->item.recipients[i].account)
            continue;
        changed[i] = w->item.recipients[i];
        changed[i].due = now;
        out->recipients[i] = &changed[i];
    }
    return RC_OK;
}

/* One that cannot be understood: what the index has of it is looked for, and there is one entry
 * when it waits, so that somebody finds out again. */
static enum rc change_unknown(struct queue *queue, struct kv_txn *txn, const struct queue_whole *w,
                              const struct queue_status *status, struct queue_news *news)
{
    TRY(queue_whole_assert(txn, w));
    TRY(queue_due_sweep(queue, txn, w->id, news));
    if (status->state == QUEUE_WAITING) {
        const struct queue_due due = queue_due_local(&w->item, status);
        TRY(queue_due_put(txn, &due, news));
    }
    return queue_status_put(txn, w, status, news);
}

static enum rc change_known(struct kv_txn *txn, const struct queue_whole *w, struct arena *arena,
                            struct queue_next *next, bool is_released, uint64_t now,
                            struct queue_news *news)
{
    TRY(recipients_of(w, is_released, now, arena, next));
    return queue_whole_change(txn, w, next, news);
}

/* One attempt: RC_CONFLICT when somebody else has changed the item or its status meanwhile. */
static enum rc turn_once(struct queue *queue, struct queue_id id, const struct turn *t)
{
    struct arena arena = {0};
    struct queue_whole w;
    struct queue_next next;
    uint64_t now = clock_wall(queue->ctx.clock);
    uint64_t version = 0;
    struct queue_news *news = queue_news_new(queue_shard_of(id));
    struct kv_txn *txn = kv_txn_new(queue_part_of(id));
    enum rc rc = queue_whole_read(queue, id, 0, &arena, &w), read_rc = rc;
    if (rc == RC_CORRUPT) {
        rc = RC_OK;
        if (queue_status_unpack(w.status_row, &w.status) != RC_OK)
            w.status.state = QUEUE_HELD; /* damaged: replaced */
    }
    if (rc == RC_OK && t->must_be_held && w.status.state != QUEUE_HELD)
        rc = RC_EXISTS;
    next.status = w.status;
    apply(t, now, &next.status);
    if (rc == RC_OK)
        rc = read_rc == RC_CORRUPT
                 ? change_unknown(queue, txn, &w, &next.status, news)
                 : change_known(txn, &w, &arena, &next, !t->set && !t->hold, now, news);
    if (rc == RC_OK)
        rc = kv_commit_wait(queue->kv, txn, &version);
    else
        kv_txn_free(&txn);
    if (rc == RC_OK)
        queue_news_tell(queue, &news, version);
    queue_news_free(&news);
    arena_fini(&arena);
    return rc;
}

static enum rc turn(struct queue *queue, struct queue_id id, const struct turn *t)
{
    enum rc rc = RC_CONFLICT;
    for (int i = 0; i < QUEUE_ATTEMPTS && rc == RC_CONFLICT; i++)
        rc = turn_once(queue, id, t);
    return rc == RC_CONFLICT ? RC_TEMP : rc;
}

enum rc queue_status_set(struct queue *queue, struct queue_id id, const struct queue_status *status)
{
    const struct turn t = {.set = status};
    return turn(queue, id, &t);
}

enum rc queue_hold(struct queue *queue, struct queue_id id, const char *cause)
{
    const struct turn t = {.hold = cause};
    return turn(queue, id, &t);
}

enum rc queue_release(struct queue *queue, struct queue_id id)
{
    const struct turn t = {.must_be_held = true};
    enum rc rc = turn(queue, id, &t);
    return rc == RC_EXISTS ? RC_CONFLICT : rc;
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
