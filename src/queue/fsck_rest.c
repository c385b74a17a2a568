/* queue: the check of what is not in its rows: references to bodies, and leases.
 *
 * References are gathered before the items are read, so both may have changed in between. What
 * differs is decided by the store itself: a commit that drops so many references and takes them
 * again changes nothing, and fails when there are fewer. One that is dropped with its item is gone
 * by then; one that no item has named is not, since bodies get no new items later.
 */
#include "queue/queue_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beyond the longest lease, for clocks of nodes that do not agree. */
static const uint64_t CLOCKS_APART_NS = 3600 * NS_PER_SEC;

struct queue_refs {
    struct queue_nameds shards[QUEUE_SHARDS];
};

void queue_fsck_reference(struct queue_fsck *fsck, struct kv_part part,
                          const struct kv_blob_id *blob, uint64_t count)
{
    if (!fsck->refs)
        fsck->refs = mem_zero(sizeof *fsck->refs);
    if (part.class != KV_QUEUE || part.id >= QUEUE_SHARDS)
        return;
    struct queue_nameds *r = &fsck->refs->shards[part.id];
    r->item = mem_array(r->item, &r->capacity, r->n + 1, sizeof *r->item);
    r->item[r->n++] =
        (struct queue_named){*blob, count < UINT32_MAX ? (uint32_t)count : UINT32_MAX};
}

void queue_fsck_fini(struct queue_fsck *fsck)
{
    for (size_t i = 0; fsck->refs && i < QUEUE_SHARDS; i++)
        free(fsck->refs->shards[i].item);
    free(fsck->refs);
    fsck->refs = NULL;
}

static int compare(const void *a, const void *b)
{
    const struct queue_named *x = a, *y = b;
    return memcmp(x->blob.b, y->blob.b, sizeof x->blob.b);
}

/* In order, each blob once. */
static void sort(struct queue_nameds *l)
{
    size_t n = 0;
    if (l->n)
        qsort(l->item, l->n, sizeof *l->item, compare);
    for (size_t i = 0; i < l->n; i++) {
        if (n && compare(&l->item[n - 1], &l->item[i]) == 0)
            l->item[n - 1].n += l->item[i].n;
        else
            l->item[n++] = l->item[i];
    }
    l->n = n;
}

/* A commit that drops so many references, and takes so many. */
static enum rc move(struct queue_check *k, struct kv_blob_id blob, uint32_t drops, uint32_t takes)
{
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_QUEUE, k->shard});
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < drops && rc == RC_OK; i++)
        rc = kv_txn_drop(txn, blob);
    for (uint32_t i = 0; i < takes && rc == RC_OK; i++)
        rc = kv_txn_ref(txn, blob);
    if (rc == RC_OK)
        return kv_commit_wait(k->queue->kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

static enum {
    FEWER,
    ENOUGH,
    CANNOT_TELL
} holds(struct queue_check *k, struct kv_blob_id blob, uint32_t n)
{
    enum rc rc = n <= QUEUE_ITEMS_AT_ONCE + 1 ? move(k, blob, n, n) : RC_LIMIT;
    return rc == RC_OK ? ENOUGH : rc == RC_CORRUPT || rc == RC_NOTFOUND ? FEWER : CANNOT_TELL;
}

/* Items of the shard that name it now. */
static enum rc count_named(struct queue_check *k, struct kv_blob_id blob, uint32_t *out)
{
    const struct kv_range range = {.from = STR("m"), .to = STR("n")};
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    *out = 0;
    kv_walk_begin(&walk, k->queue->kv, (struct kv_part){KV_QUEUE, k->shard}, range, KV_ONCE);
    while ((rc = kv_walk_next(&walk, &row)) == RC_OK)
        *out += row.value.n >= QUEUE_BLOB_AT + sizeof blob.b &&
                memcmp(row.value.p + QUEUE_BLOB_AT, blob.b, sizeof blob.b) == 0;
    kv_walk_end(&walk);
    return rc == RC_EOF ? RC_OK : rc;
}

static void blob_fault(struct queue_check *k, bool is_mended, struct kv_blob_id blob,
                       const char *what)
{
    char text[2 * sizeof blob.b + 1];
    for (size_t i = 0; i < sizeof blob.b; i++)
        snprintf(text + 2 * i, 3, "%02x", blob.b[i]);
    queue_fault(k, is_mended, "body %s: %s", text, what);
}

/* Fewer references than items that name it, all the time. */
static enum rc is_held_less(struct queue_check *k, struct kv_blob_id blob, bool *out)
{
    uint32_t before, after;
    *out = false;
    TRY(count_named(k, blob, &before));
    if (before == 0 || holds(k, blob, before) != FEWER)
        return RC_OK;
    TRY(count_named(k, blob, &after));
    *out = after >= before;
    return RC_OK;
}

/* More of them, although no item has come that names it. */
static enum rc is_held_more(struct queue_check *k, struct kv_blob_id blob, bool *out)
{
    uint32_t before, after;
    *out = false;
    TRY(count_named(k, blob, &before));
    if (holds(k, blob, before + 1) != ENOUGH)
        return RC_OK;
    TRY(count_named(k, blob, &after));
    *out = after <= before;
    return RC_OK;
}

/* `named` items name it, `held` references were there a while ago. *out_is_mended: by one, and
 * there may be more to mend. */
static enum rc check_body(struct queue_check *k, struct kv_blob_id blob, uint32_t named,
                          uint32_t held, bool *out_is_mended)
{
    bool is_less = held < named, is_wrong;
    *out_is_mended = false;
    if (named == held || (!is_less && k->has_unknown))
        return RC_OK;
    if (holds(k, blob, is_less ? named : named + 1) != (is_less ? FEWER : ENOUGH))
        return RC_OK; /* it has changed meanwhile */
    TRY(is_less ? is_held_less(k, blob, &is_wrong) : is_held_more(k, blob, &is_wrong));
    if (!is_wrong)
        return RC_OK;
    *out_is_mended = k->fsck->mends && move(k, blob, !is_less, is_less) == RC_OK;
    blob_fault(k, *out_is_mended, blob,
               is_less ? "a message in the queue does not hold it: it may be lost"
                       : "it is held for no message of the queue, and takes room");
    return RC_OK;
}

static enum rc mend_body(struct queue_check *k, struct kv_blob_id blob, uint32_t named,
                         uint32_t held)
{
    bool is_mended = true;
    while (is_mended) {
        TRY(check_body(k, blob, named, held, &is_mended));
        held = !is_mended ? held : held < named ? held + 1 : held - 1;
    }
    return RC_OK;
}

enum rc queue_check_references(struct queue_check *k)
{
    if (!k->fsck->refs || kv_state(k->queue->kv, NULL) != KV_WRITABLE)
        return RC_OK;
    struct queue_nameds *named = &k->named, *held = &k->fsck->refs->shards[k->shard];
    sort(named);
    sort(held);
    size_t i = 0, j = 0;
    while (i < named->n || j < held->n) {
        int by = i == named->n ? 1 : j == held->n ? -1 : compare(&named->item[i], &held->item[j]);
        struct kv_blob_id blob = by > 0 ? held->item[j].blob : named->item[i].blob;
        TRY(mend_body(k, blob, by <= 0 ? named->item[i].n : 0, by >= 0 ? held->item[j].n : 0));
        i += by <= 0;
        j += by >= 0;
    }
    return RC_OK;
}

/* Where nobody can take the lease, or somebody has it until some other year, the shard's mail
 * stands still. */
enum rc queue_check_lease(struct queue_check *k)
{
    struct kv_part part = {KV_QUEUE, k->shard};
    struct kv_lease_state lease;
    uint64_t now = clock_wall(k->queue->ctx.clock);
    enum rc rc = kv_lease_look(k->queue->kv, part, queue_lease_name(), &lease);
    if (rc == RC_NOTFOUND)
        return RC_OK;
    if (rc != RC_OK && rc != RC_CORRUPT)
        return rc;
    bool is_far =
        rc == RC_OK && lease.until > now + QUEUE_LEASE_MOST_MS * NS_PER_MS + CLOCKS_APART_NS;
    if (rc == RC_OK && !is_far)
        return RC_OK;
    bool is_mended =
        k->fsck->mends && kv_lease_reset(k->queue->kv, part, queue_lease_name()) == RC_OK;
    queue_fault(k, is_mended, "%s",
                is_far ? "a node has it for longer than any asks for: was a clock wrong?"
                       : "its lease is damaged: no node can work for it");
    return RC_OK;
}
