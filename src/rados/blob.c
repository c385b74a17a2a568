/* Blobs: opening and closing what the other files share, and whether there is room. */
#include "rados/blob_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum rc rad_blobs_open(struct rad *rad)
{
    struct blobs *b = mem_zero(sizeof *b);
    uint64_t alignment = link_alignment(rad->link, LINK_BODY);
    b->rad = rad;
    b->beat_ns = (rad->conf.beat_ms ? rad->conf.beat_ms : BEAT_MS) * NS_PER_MS;
    b->piece_bytes = form_piece_bytes(alignment);
    b->chunk_bytes = form_chunk_bytes(alignment);
    b->cache_bytes = rad->conf.body_bytes;
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->changed, NULL);
    map_init(&b->by_id);
    list_init(&b->lru);
    list_init(&b->wakings);
    list_init(&b->clears);
    list_init(&b->retries);
    list_init(&b->doubts);
    enum rc rc = intents_open(b);
    if (rc != RC_OK) {
        log_event(rad->kv.ctx->log, LOG_ERROR, "intents-refused", "cause", rc_name(rc), NULL);
        pthread_cond_destroy(&b->changed);
        pthread_mutex_destroy(&b->mutex);
        map_fini(&b->by_id);
        free(b);
        return rc;
    }
    rad->blobs = b;
    sweep_open(b);
    return RC_OK;
}

void rad_blobs_end(struct rad *rad)
{
    if (rad->blobs)
        sweep_close(rad->blobs);
}

static struct blob *next_finished(struct blobs *b)
{
    size_t slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&b->by_id, &slot, node)) != NULL;)
        if (CONTAINER(node, struct blob, node)->is_finished)
            return CONTAINER(node, struct blob, node);
    return NULL;
}

/* Something is under way that will tell when it ends. */
static bool is_busy(struct blobs *b)
{
    size_t slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&b->by_id, &slot, node)) != NULL;) {
        const struct blob *blob = CONTAINER(node, struct blob, node);
        if (blob->clearing || blob->hands > 0 || blob->make == MAKE_SENT)
            return true;
    }
    return b->held == 0 && !list_is_empty(&b->clears);
}

static void await_all(struct blobs *b)
{
    blob_lock(b);
    while (is_busy(b))
        pthread_cond_wait(&b->changed, &b->mutex);
    blob_unlock(b);
}

/* What no commit has named is removed now; what cannot be, by the next process's sweeper. */
static void let_all_go(struct blobs *b)
{
    struct blob *blob;
    blob_lock(b);
    while ((blob = next_finished(b)) != NULL) {
        blob->is_finished = false;
        blob_leave(b, blob);
    }
    blob_unlock(b);
    await_all(b);
}

static void free_all(struct blobs *b)
{
    size_t slot = 0;
    for (struct map_node *node, *next = map_each(&b->by_id, &slot, NULL); (node = next) != NULL;) {
        next = map_each(&b->by_id, &slot, node);
        struct blob *blob = CONTAINER(node, struct blob, node);
        LIST_EACH_SAFE (&blob->tags, it)
            free(CONTAINER(it, struct tag, link));
        free(blob->main);
        free(blob);
    }
    map_fini(&b->by_id);
}

void rad_blobs_close(struct rad *rad)
{
    struct blobs *b = rad->blobs;
    if (!b)
        return;
    let_all_go(b);
    intents_stop(b);
    await_all(b); /* the clerk may have tried once more what could not be removed */
    intents_close(b);
    free_all(b);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->mutex);
    free(b);
    rad->blobs = NULL;
}

/* --- room ------------------------------------------------------------------------------------- */

enum {
    COPIES = 3, /* that a byte is counted for: what is usual; an erasure-coded pool takes less */
    FULL_SHARE = 20, /* one part in so many is left when Ceph takes no more: mon_osd_full_ratio */
};

void blobs_look_for_space(struct blobs *b)
{
    uint64_t all, free_bytes;
    if (link_space(b->rad->link, &all, &free_bytes) != RC_OK)
        return;
    atomic_store(&b->free_bytes, free_bytes);
    atomic_store(&b->all_bytes, all);
}

enum rc rad_room(struct kv *kv, uint64_t bytes)
{
    struct rad *rad = rad_of(kv);
    struct blobs *b = rad->blobs;
    struct kv_space space;
    if (atomic_load(&rad->is_readonly))
        return RC_TEMP;
    rad_space(kv, &space);
    if (clock_mono(kv->ctx->clock) < atomic_load(&b->full_until))
        return RC_FULL;
    return space.free < space.reserve || bytes > space.free - space.reserve ? RC_FULL : RC_OK;
}

/* The sweeper looks, with each beat; until it has, nothing is known. */
void rad_space(struct kv *kv, struct kv_space *out)
{
    struct blobs *b = blobs_of(kv);
    uint64_t all = atomic_load(&b->all_bytes);
    *out = (struct kv_space){.free = UINT64_MAX};
    if (!all)
        return;
    out->free = atomic_load(&b->free_bytes) / COPIES;
    out->reserve = all / FULL_SHARE / COPIES;
}

void blobs_hold(struct blobs *b, int by)
{
    blob_lock(b);
    b->held += by;
    clear_next(b);
    blob_unlock(b);
}
