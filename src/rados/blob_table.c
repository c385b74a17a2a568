/* The table of blobs: those in somebody's hands, with work left to do, or kept in memory.
 *
 * B1. A blob is in the table while it has hands, tags, a removal or a load under way, or its bytes;
 * what nobody holds and nothing is done with is in the LRU, within the budget, or freed.
 * B2. A tag is kept while a transaction uses it, while it has to be removed, and while its intent
 * is or may be on the cluster. B3. Nothing of a blob is removed while it is in somebody's hands or
 * being made. */
#include "rados/blob_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>

/* --- the lock, and who waits ------------------------------------------------------------------ */

void blob_lock(struct blobs *b)
{
    pthread_mutex_lock(&b->mutex);
}

void blob_unlock(struct blobs *b)
{
    struct list mine;
    list_init(&mine);
    list_splice_tail(&mine, &b->wakings);
    pthread_mutex_unlock(&b->mutex);
    LIST_EACH_SAFE (&mine, it) {
        struct waking *w = CONTAINER(it, struct waking, link);
        rad_part_wake(w->part);
        rad_part_put(w->part);
        free(w);
    }
}

void blob_unlock_inside(struct blobs *b)
{
    if (!list_is_empty(&b->wakings))
        intents_hurry(b);
    pthread_mutex_unlock(&b->mutex);
}

/* --- blobs ------------------------------------------------------------------------------------ */

static uint64_t hash_of(struct kv_blob_id id)
{
    return get_u64(id.b); /* random already */
}

struct blob *blob_find(struct blobs *b, struct kv_blob_id id)
{
    struct map_node *node = map_find(&b->by_id, hash_of(id));
    while (node && !kv_blob_id_eq(CONTAINER(node, struct blob, node)->id, id))
        node = map_next(node);
    return node ? CONTAINER(node, struct blob, node) : NULL;
}

/* What it takes to keep it. */
static uint64_t weight(const struct blob *blob)
{
    return blob->main_n + sizeof *blob;
}

static void leave_lru(struct blobs *b, struct blob *blob)
{
    if (list_is_empty(&blob->lru))
        return;
    list_remove(&blob->lru);
    b->lru_bytes -= weight(blob);
}

struct blob *blob_enter(struct blobs *b, struct kv_blob_id id)
{
    struct blob *blob = blob_find(b, id);
    if (!blob) {
        blob = mem_zero(sizeof *blob);
        blob->id = id;
        list_init(&blob->lru);
        list_init(&blob->readers);
        list_init(&blob->tags);
        list_init(&blob->clear_link);
        map_add(&b->by_id, &blob->node, hash_of(id));
    }
    leave_lru(b, blob);
    blob->hands++;
    return blob;
}

void blob_leave(struct blobs *b, struct blob *blob)
{
    blob->hands--;
    blob_settle(b, blob);
}

void blob_set_main(struct blob *blob, unsigned char *main, size_t n)
{
    free(blob->main);
    blob->main = main;
    blob->main_n = n;
}

void blob_note(struct blobs *b, struct blob *blob, enum link_result result)
{
    uint64_t now = clock_mono(b->rad->kv.ctx->clock);
    if (result == LINK_UNKNOWN || result == LINK_FENCED)
        blob->unsure_until = now + BEATS_DEAD * b->beat_ns;
    if (result == LINK_FULL)
        atomic_store(&b->full_until, now + b->beat_ns);
}

static void free_blob(struct blobs *b, struct blob *blob)
{
    leave_lru(b, blob);
    list_remove(&blob->clear_link);
    map_remove(&b->by_id, &blob->node);
    free(blob->main);
    free(blob);
}

static void keep_in_memory(struct blobs *b, struct blob *blob)
{
    list_add_tail(&b->lru, &blob->lru);
    b->lru_bytes += weight(blob);
    while (b->lru_bytes > b->cache_bytes)
        free_blob(b, CONTAINER(list_first(&b->lru), struct blob, lru));
}

/* A first tag that no commit has named, and none will: the blob is in nobody's hands. */
static void drop_unnamed(struct blob *blob)
{
    LIST_EACH (&blob->tags, it) {
        struct tag *tag = CONTAINER(it, struct tag, link);
        if (tag->is_first && !tag->is_done && !tag->is_doubted && tag->users == 0)
            tag->is_dropped = true;
    }
}

static bool has_dropped(const struct blob *blob)
{
    LIST_EACH (&blob->tags, it)
        if (CONTAINER(it, struct tag, link)->is_dropped)
            return true;
    return false;
}

void blob_settle(struct blobs *b, struct blob *blob)
{
    if (blob->hands > 0 || blob->clearing || blob->is_loading || blob->make == MAKE_SENT)
        return;
    if (blob->make == MAKE_WAITS) { /* forgotten before it was begun */
        blob->make = MAKE_FAILED;
        blob->make_rc = RC_NOTFOUND;
    }
    drop_unnamed(blob);
    if (has_dropped(blob)) {
        clear_begin(b, blob);
        return;
    }
    if (!list_is_empty(&blob->tags) || !list_is_empty(&blob->lru))
        return;
    if (blob->main && !blob->is_gone && blob->make != MAKE_FAILED)
        keep_in_memory(b, blob);
    else
        free_blob(b, blob);
}

/* --- tags ------------------------------------------------------------------------------------- */

struct tag *tag_add(struct blob *blob, struct form_tag form)
{
    struct tag *tag = mem_zero(sizeof *tag);
    tag->blob = blob;
    tag->form = form;
    list_init(&tag->waiters);
    list_init(&tag->intent_link);
    list_init(&tag->doubt_link);
    list_add_tail(&blob->tags, &tag->link);
    return tag;
}

struct tag *tag_find(struct blob *blob, uint64_t token)
{
    LIST_EACH (&blob->tags, it) {
        struct tag *tag = CONTAINER(it, struct tag, link);
        if (tag->form.token == token)
            return tag;
    }
    return NULL;
}

void tag_changed(struct blobs *b, struct tag *tag)
{
    LIST_EACH_SAFE (&tag->waiters, it) {
        struct ref *ref = CONTAINER(it, struct ref, wait_link);
        if (!ref_is_ready(ref))
            continue;
        list_remove(&ref->wait_link);
        refs_less_pending(b, ref->refs);
    }
}

void tag_free(struct blobs *b, struct tag *tag)
{
    struct blob *blob = tag->blob;
    list_remove(&tag->link);
    list_remove(&tag->intent_link);
    list_remove(&tag->doubt_link);
    b->n_swept -= tag->is_swept;
    free(tag);
    blob_settle(b, blob);
}

void tag_done(struct blobs *b, struct tag *tag)
{
    tag->is_done = true;
    tag->is_first = false;
    tag->is_dropped = tag->is_doubted = false;
    list_remove(&tag->doubt_link);
    if (tag->users > 0)
        return;
    intent_leave(b, tag);
    if (tag->intent == INTENT_NONE)
        tag_free(b, tag);
}

void tag_doubt(struct blobs *b, struct tag *tag)
{
    tag->is_doubted = true;
    list_remove(&tag->doubt_link);
    list_add_tail(&b->doubts, &tag->doubt_link);
    b->is_doubt_new = true;
    pthread_cond_signal(&b->sweep_wake);
}
