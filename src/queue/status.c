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

/* --- turns: what an administrator, or a failure, makes of an item -------------------------------
 */

struct turn {
    enum queue_action action;
    const struct queue_status *set; /* instead of an action */
    const char *cause;
    uint64_t now;
};

static const uint64_t RELEASED_NS = 3600 * NS_PER_SEC;

static bool is_for(const struct turn *t, const struct queue_whole *w)
{
    bool is_held = w->status.state == QUEUE_HELD;
    if (t->set || t->action == QUEUE_HOLD || t->action == QUEUE_REMOVE || t->action == QUEUE_RETURN)
        return true;
    return t->action == QUEUE_RELEASE ? is_held : !is_held;
}

static struct queue_status status_after(const struct turn *t, const struct queue_status *before)
{
    struct queue_status s = *before;
    if (t->set)
        return *t->set;
    switch (t->action) {
    case QUEUE_HOLD:
        s.state = QUEUE_HELD;
        snprintf(s.cause, sizeof s.cause, "%s", t->cause);
        return s;
    case QUEUE_RETRY:
        s.due = t->now;
        return s;
    case QUEUE_RELEASE:
    case QUEUE_RETURN:
        return (struct queue_status){.due = t->now};
    default:
        return s;
    }
}

/* Those elsewhere are due now, and what was tried stays known; or all of them go. */
static enum rc recipients_after(const struct turn *t, const struct queue_whole *w,
                                struct arena *arena, struct queue_next *out)
{
    size_t n = w->item.n_recipients;
    bool moves = !t->set && t->action != QUEUE_HOLD;
    struct queue_recipient *changed = arena_zero(arena, (n + 1) * sizeof *changed);
    out->recipients = arena_zero(arena, (n + 1) * sizeof(struct queue_recipient *));
    if (!changed || !out->recipients)
        return RC_LIMIT;
    if (!t->set && t->action == QUEUE_REMOVE)
        return RC_OK;
    for (size_t i = 0; i < n; i++) {
        out->recipients[i] = &w->item.recipients[i];
        if (!moves || w->item.recipients[i].account)
            continue;
        changed[i] = w->item.recipients[i];
        changed[i].due = t->now;
        out->recipients[i] = &changed[i];
    }
    return RC_OK;
}

/* Flags and times of the item itself. */
static const struct queue_item *item_after(const struct turn *t, const struct queue_whole *w,
                                           struct queue_item *to)
{
    *to = w->item;
    if (t->set)
        return NULL;
    if (t->action == QUEUE_RETURN) {
        to->flags |= QUEUE_RETURNED;
        return to;
    }
    if (t->action != QUEUE_RELEASE || !to->expires || to->expires > t->now + RELEASED_NS)
        return NULL;
    to->expires = t->now + RELEASED_NS;
    return to;
}

/* One that cannot be understood: what the index has of it is looked for, and there is one entry
 * when it waits, so that somebody finds out again. Recipients' rows and the blob stay when it is
 * removed, since nobody can say what they are. */
static enum rc turn_unknown(struct queue *queue, struct kv_txn *txn, const struct queue_whole *w,
                            const struct turn *t, struct queue_news *news)
{
    unsigned char key[QUEUE_ITEM_KEY];
    const struct queue_status status = status_after(t, &w->status);
    TRY(queue_whole_assert(txn, w));
    TRY(queue_due_sweep(queue, txn, w->id, news));
    if (!t->set && t->action == QUEUE_REMOVE) {
        const struct queue_status none = {0};
        struct str k = queue_item_key(w->id, key);
        queue_news_tick(news, QUEUE_N_ITEMS, -1, k);
        TRY(kv_txn_delete(txn, k));
        return queue_status_put(txn, w, &none, news);
    }
    if (status.state == QUEUE_WAITING) {
        const struct queue_due due = queue_due_local(&w->item, &status);
        TRY(queue_due_put(txn, &due, news));
    }
    return queue_status_put(txn, w, &status, news);
}

/* Adds what the turn changes to the transaction. RC_EXISTS: it is not for this item. */
static enum rc turn_item(struct queue *queue, struct queue_id id, const struct turn *t,
                         struct kv_txn *txn, struct queue_news *news)
{
    struct arena arena = {0};
    struct queue_whole w;
    struct queue_next next;
    struct queue_item changed;
    enum rc rc = queue_whole_read(queue, id, 0, &arena, &w), read_rc = rc;
    if (rc == RC_CORRUPT) {
        rc = RC_OK;
        if (queue_status_unpack(w.status_row, &w.status) != RC_OK)
            w.status.state = QUEUE_HELD; /* damaged: replaced */
    }
    if (rc == RC_OK && !is_for(t, &w))
        rc = RC_EXISTS;
    if (rc == RC_OK && read_rc == RC_CORRUPT) {
        rc = turn_unknown(queue, txn, &w, t, news);
    } else if (rc == RC_OK) {
        next.status = status_after(t, &w.status);
        next.item = item_after(t, &w, &changed);
        next.is_pressing = !t->set && (t->action == QUEUE_RETRY || t->action == QUEUE_RELEASE);
        rc = recipients_after(t, &w, &arena, &next);
        if (rc == RC_OK)
            rc = queue_whole_change(txn, &w, &next, news);
    }
    arena_fini(&arena);
    return rc;
}

/* All of them in one commit, but for those that it is not for. RC_CONFLICT: somebody else has
 * changed one meanwhile; RC_LIMIT: too many rows. */
static enum rc turn_once(struct queue *queue, const struct turn *t, const struct queue_id *ids,
                         size_t n, size_t *out_n)
{
    uint64_t version = 0;
    unsigned shard = queue_shard_of(ids[0]);
    struct queue_news *news = queue_news_new(shard);
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_QUEUE, shard});
    enum rc rc = RC_OK;
    *out_n = 0;
    for (size_t i = 0; i < n && rc == RC_OK; i++) {
        rc = turn_item(queue, ids[i], t, txn, news);
        *out_n += rc == RC_OK;
        if (n > 1 && (rc == RC_NOTFOUND || rc == RC_EXISTS))
            rc = RC_OK;
    }
    if (rc == RC_OK && *out_n)
        rc = kv_commit_wait(queue->kv, txn, &version);
    else
        kv_txn_free(&txn);
    if (rc == RC_OK)
        queue_news_tell(queue, &news, version);
    queue_news_free(&news);
    return rc;
}

static enum rc turn(struct queue *queue, struct queue_id id, const struct turn *t)
{
    enum rc rc = RC_CONFLICT;
    size_t n;
    for (int i = 0; i < QUEUE_ATTEMPTS && rc == RC_CONFLICT; i++)
        rc = turn_once(queue, t, &id, 1, &n);
    return rc == RC_CONFLICT ? RC_TEMP : rc;
}

enum rc queue_act(struct queue *queue, enum queue_action action, const char *cause,
                  const struct queue_id *ids, size_t n, size_t *out_n)
{
    const struct turn t = {.action = action, .cause = cause, .now = clock_wall(queue->ctx.clock)};
    *out_n = 0;
    if (n == 0)
        return RC_OK;
    enum rc rc = turn_once(queue, &t, ids, n, out_n);
    if (n > 1 && (rc == RC_CONFLICT || rc == RC_LIMIT)) {
        *out_n = 0;
        for (size_t i = 0; i < n; i++) {
            rc = turn(queue, ids[i], &t);
            *out_n += rc == RC_OK;
            if (rc != RC_OK && rc != RC_NOTFOUND && rc != RC_EXISTS)
                return rc;
        }
        return RC_OK;
    }
    return rc == RC_NOTFOUND || rc == RC_EXISTS ? RC_OK : rc;
}

enum rc queue_status_set(struct queue *queue, struct queue_id id, const struct queue_status *status)
{
    const struct turn t = {.set = status};
    return turn(queue, id, &t);
}

enum rc queue_hold(struct queue *queue, struct queue_id id, const char *cause)
{
    const struct turn t = {.action = QUEUE_HOLD, .cause = cause};
    return turn(queue, id, &t);
}

enum rc queue_release(struct queue *queue, struct queue_id id)
{
    const struct turn t = {.action = QUEUE_RELEASE, .now = clock_wall(queue->ctx.clock)};
    enum rc rc = turn(queue, id, &t);
    return rc == RC_EXISTS ? RC_CONFLICT : rc;
}

enum rc queue_hold_all(struct queue *queue, const char *cause)
{
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[QUEUE_ACT_MAX], after;
        size_t n = 0, held;
        do {
            TRY(queue_list(queue, shard, n ? &after : NULL, ids, QUEUE_ACT_MAX, &n));
            TRY(queue_act(queue, QUEUE_HOLD, cause, ids, n, &held));
            if (n)
                after = ids[n - 1];
        } while (n == QUEUE_ACT_MAX);
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
        int digit = c == ascii_lower(c) ? ascii_hex(c) : -1;
        if (digit < 0)
            return RC_SYNTAX;
        out->b[i / 2] = (unsigned char)(i % 2 ? out->b[i / 2] | digit : digit << 4);
    }
    return RC_OK;
}
