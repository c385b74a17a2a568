/* A partition's writer: the head view over any back end.
 *
 * Owns the overlay: what is queued and not yet published, by key. A key in it is answered from it,
 * any other from the published state, which is right because an entry leaves the overlay only after
 * the commit that made it was published.
 *
 * Invariants, under the mutex:
 *   1. expected head = version at the last (re)load + commits queued since, while not failed.
 *   2. Each entry carries the number of the last queued commit that touched it and goes when that
 *      one completes; so does each trim.
 *   3. Once failed, the overlay is not looked at any more and nothing is queued until a reload.
 * The mutex is held across the back end's commit(), which therefore never completes an op itself.
 */
#include "kv/kv_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct map_node node;
    struct list link; /* in writer.entries */
    uint64_t commit;  /* the last one that touched it */
    struct str key;   /* owned, in one piece with the entry */
    struct str value; /* owned; absent: deleted */
};

struct trim {
    struct list link;
    uint64_t commit;
    struct str from, to; /* owned, in one piece with the trim */
};

struct kv_writer {
    struct kv *kv;
    struct kv_part part;
    pthread_mutex_t mutex;
    _Atomic bool has_failed; /* also read and set by the back end, at an op's turn */
    uint64_t head;
    uint64_t queued, completed; /* commits, counted from 1 */
    struct map by_key;          /* struct entry */
    struct list entries;        /* struct entry, the one touched longest ago first */
    struct list trims;          /* struct trim, the oldest first */
    uint64_t hash_key[2];
};

/* --- the overlay ------------------------------------------------------------------------------ */

static struct entry *entry_find(struct kv_writer *w, struct str key, uint64_t hash)
{
    for (struct map_node *node = map_find(&w->by_key, hash); node; node = map_next(node)) {
        struct entry *e = CONTAINER(node, struct entry, node);
        if (str_eq(e->key, key))
            return e;
    }
    return NULL;
}

static void entry_set(struct kv_writer *w, struct str key, struct str value)
{
    uint64_t hash = str_hash(key, w->hash_key);
    struct entry *e = entry_find(w, key, hash);
    if (!e) {
        e = mem_alloc(sizeof *e + key.n);
        memcpy(e + 1, key.p, key.n);
        e->key = str_from(e + 1, key.n);
        e->value = (struct str){0};
        list_init(&e->link);
        map_add(&w->by_key, &e->node, hash);
    }
    free((void *)(uintptr_t)e->value.p);
    e->value = value.n ? str_from(mem_dup(value.p, value.n), value.n) : (struct str){0};
    e->commit = w->queued;
    list_remove(&e->link);
    list_add_tail(&w->entries, &e->link);
}

static void entry_free(struct kv_writer *w, struct entry *e)
{
    list_remove(&e->link);
    map_remove(&w->by_key, &e->node);
    free((void *)(uintptr_t)e->value.p);
    free(e);
}

static bool trim_covers(const struct trim *t, struct str key)
{
    return str_cmp(key, t->from) >= 0 && str_cmp(key, t->to) < 0;
}

/* Remembers the range, and that the queued rows in it are gone. */
static void trim_add(struct kv_writer *w, struct str from, struct str to)
{
    struct trim *t = mem_alloc(sizeof *t + from.n + to.n);
    char *bytes = (char *)(t + 1);
    if (from.n)
        memcpy(bytes, from.p, from.n);
    if (to.n)
        memcpy(bytes + from.n, to.p, to.n);
    t->from = str_from(bytes, from.n);
    t->to = str_from(bytes + from.n, to.n);
    t->commit = w->queued;
    list_add_tail(&w->trims, &t->link);
    LIST_EACH (&w->entries, it) {
        struct entry *e = CONTAINER(it, struct entry, link);
        if (!trim_covers(t, e->key))
            continue;
        free((void *)(uintptr_t)e->value.p);
        e->value = (struct str){0};
    }
}

/* What a transaction changes; w->queued counts it already. */
static void overlay_add(struct kv_writer *w, const struct kv_txn *txn)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (item.kind == KV_ITEM_PUT || item.kind == KV_ITEM_DELETE)
            entry_set(w, item.key, item.value);
        else if (item.kind == KV_ITEM_TRIM)
            trim_add(w, item.key, item.value);
    }
}

/* Lets go of what the commits up to this one did. */
static void overlay_drop(struct kv_writer *w, uint64_t commit)
{
    struct list *it;
    while ((it = list_first(&w->entries)) != NULL) {
        struct entry *e = CONTAINER(it, struct entry, link);
        if (e->commit > commit)
            break;
        entry_free(w, e);
    }
    while ((it = list_first(&w->trims)) != NULL) {
        struct trim *t = CONTAINER(it, struct trim, link);
        if (t->commit > commit)
            break;
        list_remove(&t->link);
        free(t);
    }
}

/* True when the overlay knows: *out_value is a view into it, absent when the row is deleted. */
static bool overlay_get(struct kv_writer *w, struct str key, struct str *out_value)
{
    *out_value = (struct str){0};
    struct entry *e = entry_find(w, key, str_hash(key, w->hash_key));
    if (e) {
        *out_value = e->value;
        return true;
    }
    LIST_EACH (&w->trims, it)
        if (trim_covers(CONTAINER(it, struct trim, link), key))
            return true;
    return false;
}

/* --- the writer ------------------------------------------------------------------------------- */

enum rc kv_writer_open(struct kv *kv, struct kv_part part, unsigned flags, struct kv_writer **out)
{
    *out = NULL;
    uint64_t head;
    TRY(kv_version(kv, part, flags, &head));
    struct kv_writer *w = mem_zero(sizeof *w);
    w->kv = kv;
    w->part = part;
    w->head = head;
    pthread_mutex_init(&w->mutex, NULL);
    atomic_init(&w->has_failed, false);
    map_init(&w->by_key);
    list_init(&w->entries);
    list_init(&w->trims);
    random_bytes(w->hash_key, sizeof w->hash_key);
    *out = w;
    return RC_OK;
}

void kv_writer_close(struct kv_writer **writer)
{
    struct kv_writer *w = *writer;
    if (!w)
        return;
    overlay_drop(w, w->queued);
    map_fini(&w->by_key);
    pthread_mutex_destroy(&w->mutex);
    free(w);
    *writer = NULL;
}

uint64_t kv_writer_head(struct kv_writer *writer)
{
    return writer->head;
}

enum rc kv_writer_get(struct kv_writer *w, struct str key, unsigned flags, struct arena *arena,
                      struct str *out_value)
{
    struct str value;
    *out_value = (struct str){0};
    pthread_mutex_lock(&w->mutex);
    bool is_known = !atomic_load(&w->has_failed) && overlay_get(w, key, &value);
    if (is_known && value.n)
        *out_value = arena_dup(arena, value);
    bool is_lost = is_known && value.n && !out_value->p;
    pthread_mutex_unlock(&w->mutex);
    if (is_known)
        return is_lost ? RC_LIMIT : RC_OK;
    return kv_get(w->kv, w->part, &key, 1, flags, arena, out_value, NULL);
}

static bool overlay_touches(const struct kv_writer *w, struct kv_range range)
{
    LIST_EACH (&w->entries, it) {
        struct str key = CONTAINER(it, struct entry, link)->key;
        if (str_cmp(key, range.from) >= 0 && str_cmp(key, range.to) < 0)
            return true;
    }
    LIST_EACH (&w->trims, it) {
        const struct trim *t = CONTAINER(it, struct trim, link);
        if (str_cmp(t->from, range.to) < 0 && str_cmp(range.from, t->to) < 0)
            return true;
    }
    return false;
}

enum rc kv_writer_scan(struct kv_writer *w, struct kv_range range, size_t max_rows, unsigned flags,
                       struct arena *arena, struct kv_page *out_page)
{
    pthread_mutex_lock(&w->mutex);
    bool is_touched = !atomic_load(&w->has_failed) && overlay_touches(w, range);
    pthread_mutex_unlock(&w->mutex);
    /* What leaves the overlay from here on was published before, so the scan sees it. */
    return is_touched ? RC_CONFLICT
                      : kv_scan(w->kv, w->part, range, max_rows, flags, arena, out_page);
}

enum rc kv_writer_commit(struct kv_writer *w, struct kv_txn *txn, struct kv_op *op)
{
    op->txn = txn;
    op->flags = 0;
    op->writer = w;
    op->rc = RC_OK;
    op->version = 0;
    pthread_mutex_lock(&w->mutex);
    kv_txn_expect(txn, w->head);
    enum rc rc = kv_part_eq(txn->part, w->part) ? RC_OK : RC_PERM;
    if (rc == RC_OK)
        rc = atomic_load(&w->has_failed) ? RC_CONFLICT : w->kv->backend->commit(w->kv, op);
    if (rc == RC_OK) {
        w->queued++;
        w->head++;
        overlay_add(w, txn);
    }
    pthread_mutex_unlock(&w->mutex);
    if (rc != RC_OK)
        kv_txn_free(&txn);
    return rc;
}

bool kv_writer_is_failed(struct kv_writer *writer)
{
    return atomic_load(&writer->has_failed);
}

enum rc kv_writer_reload(struct kv_writer *w, unsigned flags)
{
    uint64_t head = 0;
    pthread_mutex_lock(&w->mutex);
    bool is_idle = w->completed == w->queued;
    pthread_mutex_unlock(&w->mutex);
    if (!is_idle)
        return RC_AGAIN;
    TRY(kv_version(w->kv, w->part, flags, &head));
    w->head = head;
    atomic_store(&w->has_failed, false);
    return RC_OK;
}

bool kv_writer_has_failure(const struct kv_writer *writer)
{
    return atomic_load(&writer->has_failed);
}

void kv_writer_fail(struct kv_writer *writer)
{
    atomic_store(&writer->has_failed, true);
}

void kv_writer_completed(struct kv_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    w->completed++;
    overlay_drop(w, w->completed);
    pthread_mutex_unlock(&w->mutex);
}
