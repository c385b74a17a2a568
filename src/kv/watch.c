/* Watches, the same over every back end: who wants to be told of which partition.
 *
 * One mutex is held while a watch is told, so that removing one waits until no call is under way.
 * Without watches telling costs one atomic read. */
#include "kv/kv_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct watched {
    struct map_node node;
    struct kv_part part;
    struct list watches;
};

static struct watched *find(struct kv_watches *w, struct kv_part part)
{
    struct map_node *node = map_find(&w->by_part, kv_part_hash(part));
    for (; node; node = map_next(node)) {
        struct watched *watched = CONTAINER(node, struct watched, node);
        if (kv_part_eq(watched->part, part))
            return watched;
    }
    return NULL;
}

void kv_watch_add(struct kv *kv, struct kv_watch *watch)
{
    struct kv_watches *w = &kv->watches;
    pthread_mutex_lock(&w->mutex);
    struct watched *watched = find(w, watch->part);
    if (!watched) {
        watched = mem_zero(sizeof *watched);
        watched->part = watch->part;
        list_init(&watched->watches);
        map_add(&w->by_part, &watched->node, kv_part_hash(watch->part));
    }
    list_add_tail(&watched->watches, &watch->link);
    atomic_fetch_add(&w->count, 1);
    pthread_mutex_unlock(&w->mutex);
}

void kv_watch_remove(struct kv *kv, struct kv_watch *watch)
{
    struct kv_watches *w = &kv->watches;
    pthread_mutex_lock(&w->mutex);
    list_remove(&watch->link);
    struct watched *watched = find(w, watch->part);
    if (list_is_empty(&watched->watches)) {
        map_remove(&w->by_part, &watched->node);
        free(watched);
    }
    atomic_fetch_sub(&w->count, 1);
    pthread_mutex_unlock(&w->mutex);
}

void kv_watches_tell(struct kv *kv, struct kv_part part, uint64_t version)
{
    struct kv_watches *w = &kv->watches;
    if (atomic_load(&w->count) == 0)
        return;
    pthread_mutex_lock(&w->mutex);
    struct watched *watched = find(w, part);
    if (watched)
        LIST_EACH (&watched->watches, it) {
            struct kv_watch *watch = CONTAINER(it, struct kv_watch, link);
            watch->changed(watch, version);
        }
    pthread_mutex_unlock(&w->mutex);
}
