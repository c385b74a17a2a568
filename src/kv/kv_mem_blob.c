/* Blobs in memory: their bytes, who refers to them, in whose hands they are.
 *
 * Invariant: a blob is in the map as long as a partition refers to it, it is in the caller's hands
 * or it is open; each of the three calls let_go when it ends. */
#include "kv/kv_mem_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

struct ref {
    struct list link;
    struct kv_part part;
    uint64_t count;
};

struct out {
    struct kv_blob_out out;
    char *bytes;
    size_t n, capacity;
};

struct in {
    struct kv_blob_in in;
    struct kv_mem_blob *blob;
};

static struct kv_mem *mem_of(struct kv *kv)
{
    return CONTAINER(kv, struct kv_mem, kv);
}

/* Ids are random: any eight bytes of one are a hash of it. */
static uint64_t id_hash(struct kv_blob_id id)
{
    uint64_t hash;
    memcpy(&hash, id.b, sizeof hash);
    return hash;
}

static struct kv_mem_blob *find(struct kv_mem *m, struct kv_blob_id id)
{
    struct map_node *node = map_find(&m->blobs, id_hash(id));
    for (; node; node = map_next(node)) {
        struct kv_mem_blob *blob = CONTAINER(node, struct kv_mem_blob, node);
        if (kv_blob_id_eq(blob->id, id))
            return blob;
    }
    return NULL;
}

static struct ref *find_ref(struct kv_mem_blob *blob, struct kv_part part)
{
    LIST_EACH (&blob->refs, it) {
        struct ref *ref = CONTAINER(it, struct ref, link);
        if (kv_part_eq(ref->part, part))
            return ref;
    }
    return NULL;
}

static void free_blob(struct kv_mem_blob *blob)
{
    LIST_EACH_SAFE (&blob->refs, it)
        free(CONTAINER(it, struct ref, link));
    free(blob->bytes);
    free(blob);
}

/* Frees the blob when nothing keeps it. */
static void let_go(struct kv_mem *m, struct kv_mem_blob *blob)
{
    LIST_EACH_SAFE (&blob->refs, it) {
        struct ref *ref = CONTAINER(it, struct ref, link);
        if (ref->count == 0) {
            list_remove(it);
            free(ref);
        }
    }
    if (!list_is_empty(&blob->refs) || blob->is_in_hands || blob->open_count > 0)
        return;
    map_remove(&m->blobs, &blob->node);
    free_blob(blob);
}

/* --- references ------------------------------------------------------------------------------- */

static enum rc take_ref(struct kv_mem *m, struct kv_part part, struct kv_blob_id id)
{
    struct kv_mem_blob *blob = find(m, id);
    if (!blob)
        return RC_NOTFOUND;
    struct ref *ref = find_ref(blob, part);
    if (!ref) {
        ref = mem_zero(sizeof *ref);
        ref->part = part;
        list_add_tail(&blob->refs, &ref->link);
    }
    ref->count++;
    return RC_OK;
}

static enum rc drop_ref(struct kv_mem *m, struct kv_part part, struct kv_blob_id id)
{
    struct kv_mem_blob *blob = find(m, id);
    struct ref *ref = blob ? find_ref(blob, part) : NULL;
    if (!ref || ref->count == 0)
        return RC_CORRUPT;
    ref->count--;
    return RC_OK;
}

/* Takes back what the items before `end` did. */
static void undo(struct kv_mem *m, const struct kv_txn *txn, size_t end)
{
    struct kv_item item;
    for (size_t pos = 0; pos < end && kv_txn_next(txn, &pos, &item);) {
        if (item.kind != KV_ITEM_REF && item.kind != KV_ITEM_DROP)
            continue;
        struct ref *ref = find_ref(find(m, item.blob), txn->part);
        ref->count += item.kind == KV_ITEM_REF ? (uint64_t)-1 : 1;
    }
}

enum rc kv_mem_blobs_apply(struct kv_mem *m, const struct kv_txn *txn)
{
    struct kv_item item;
    enum rc rc = RC_OK;
    size_t pos = 0;
    for (size_t before = 0; rc == RC_OK && kv_txn_next(txn, &pos, &item); before = pos) {
        if (item.kind == KV_ITEM_REF)
            rc = take_ref(m, txn->part, item.blob);
        else if (item.kind == KV_ITEM_DROP)
            rc = drop_ref(m, txn->part, item.blob);
        if (rc != RC_OK)
            undo(m, txn, before);
    }
    for (pos = 0; kv_txn_next(txn, &pos, &item);) {
        bool is_ref = item.kind == KV_ITEM_REF || item.kind == KV_ITEM_DROP;
        struct kv_mem_blob *blob = is_ref ? find(m, item.blob) : NULL;
        if (blob)
            let_go(m, blob);
    }
    return rc;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct kv_blob_out *kv_mem_blob_new(struct kv *kv)
{
    struct out *o = mem_zero(sizeof *o);
    return &o->out;
}

enum rc kv_mem_blob_write(struct kv_blob_out *out, struct str bytes)
{
    struct out *o = CONTAINER(out, struct out, out);
    o->bytes = mem_array(o->bytes, &o->capacity, o->n + bytes.n, 1);
    memcpy(o->bytes + o->n, bytes.p, bytes.n);
    o->n += bytes.n;
    return RC_OK;
}

void kv_mem_blob_abort(struct kv_blob_out *out)
{
    struct out *o = CONTAINER(out, struct out, out);
    free(o->bytes);
    free(o);
}

enum rc kv_mem_blob_finish(struct kv_blob_out *out, struct kv_blob_id *out_id)
{
    struct out *o = CONTAINER(out, struct out, out);
    struct kv_mem *m = mem_of(out->kv);
    struct kv_mem_blob *blob = mem_zero(sizeof *blob);
    blob->id = out->id;
    while (kv_blob_id_is_zero(blob->id))
        random_bytes(blob->id.b, sizeof blob->id.b);
    blob->meta = out->meta;
    blob->bytes = o->bytes;
    blob->is_in_hands = true;
    list_init(&blob->refs);
    *out_id = blob->id;
    pthread_mutex_lock(&m->mutex);
    bool is_readonly = m->is_readonly;
    if (!is_readonly)
        map_add(&m->blobs, &blob->node, id_hash(blob->id));
    pthread_mutex_unlock(&m->mutex);
    free(o);
    if (is_readonly)
        free_blob(blob);
    return is_readonly ? RC_TEMP : RC_OK;
}

void kv_mem_blob_forget(struct kv *kv, struct kv_blob_id id)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    struct kv_mem_blob *blob = find(m, id);
    if (blob) {
        blob->is_in_hands = false;
        let_go(m, blob);
    }
    pthread_mutex_unlock(&m->mutex);
}

/* --- reading ---------------------------------------------------------------------------------- */

enum rc kv_mem_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags,
                         struct kv_blob_in **out)
{
    struct kv_mem *m = mem_of(kv);
    enum rc rc = RC_OK;
    pthread_mutex_lock(&m->mutex);
    struct kv_mem_blob *blob = find(m, id);
    if (flags & KV_CACHED && m->is_cold)
        rc = RC_AGAIN;
    else if (!blob)
        rc = RC_NOTFOUND;
    if (rc == RC_OK) {
        struct in *i = mem_zero(sizeof *i);
        i->in = (struct kv_blob_in){.kv = kv, .id = id, .meta = blob->meta};
        i->blob = blob;
        blob->open_count++;
        *out = &i->in;
    }
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

enum rc kv_mem_blob_read(struct kv_blob_in *in, uint64_t offset, void *to, size_t n, unsigned flags)
{
    struct in *i = CONTAINER(in, struct in, in);
    struct kv_mem *m = mem_of(in->kv);
    pthread_mutex_lock(&m->mutex);
    m->stats.blobs_read++;
    bool is_cold = flags & KV_CACHED && m->is_cold;
    pthread_mutex_unlock(&m->mutex);
    if (is_cold)
        return RC_AGAIN;
    memcpy(to, i->blob->bytes + offset, n);
    return RC_OK;
}

void kv_mem_blob_close(struct kv_blob_in *in)
{
    struct in *i = CONTAINER(in, struct in, in);
    struct kv_mem *m = mem_of(in->kv);
    pthread_mutex_lock(&m->mutex);
    i->blob->open_count--;
    let_go(m, i->blob);
    pthread_mutex_unlock(&m->mutex);
    free(i);
}

/* --- the whole -------------------------------------------------------------------------------- */

void kv_mem_blobs_fini(struct kv_mem *m)
{
    size_t slot = 0;
    for (struct map_node *node = map_each(&m->blobs, &slot, NULL), *next; node; node = next) {
        next = map_each(&m->blobs, &slot, node);
        free_blob(CONTAINER(node, struct kv_mem_blob, node));
    }
    map_fini(&m->blobs);
}

void kv_mem_blobs_fsck(struct kv_mem *m, struct kv_fsck *fsck)
{
    size_t slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&m->blobs, &slot, node)) != NULL;) {
        const struct kv_mem_blob *blob = CONTAINER(node, struct kv_mem_blob, node);
        fsck->blobs++;
        fsck->bytes += blob->meta.size;
        LIST_EACH (&blob->refs, it) {
            const struct ref *ref = CONTAINER(it, struct ref, link);
            if (fsck->reference)
                fsck->reference(fsck, ref->part, &blob->id, ref->count);
        }
        if (!list_is_empty(&blob->refs) || blob->is_in_hands || blob->open_count > 0)
            continue;
        kv_fsck_fault(fsck, "blob %016llx...: nothing keeps it",
                      (unsigned long long)id_hash(blob->id));
    }
}
