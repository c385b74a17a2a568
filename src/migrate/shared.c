/* Blobs that several rows refer to, also in several partitions: a message to many. A copy of each
 * for every row would take more room than the store that is copied. */
#include "migrate/migrate_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    BITS = 1 << 27
}; /* 16 MB each; with ten million blobs one in thirteen is taken for shared */

void shared_init(struct shared *s)
{
    *s = (struct shared){.seen = mem_zero(BITS / 8), .again = mem_zero(BITS / 8)};
    map_init(&s->by_from);
}

void shared_fini(struct shared *s)
{
    size_t slot = 0;
    for (struct map_node *node, *next = map_each(&s->by_from, &slot, NULL); (node = next);) {
        next = map_each(&s->by_from, &slot, node);
        free(CONTAINER(node, struct shared_blob, node));
    }
    map_fini(&s->by_from);
    free(s->seen);
    free(s->again);
}

static bool test_and_set(unsigned char *bits, uint32_t i, bool is_set)
{
    unsigned char bit = (unsigned char)(1u << i % 8);
    bool was = bits[i / 8] & bit;
    if (is_set)
        bits[i / 8] |= bit;
    return was;
}

static uint32_t place_of(struct kv_blob_id id)
{
    return get_u32(id.b + 4) % BITS;
}

void shared_note(struct shared *s, struct kv_blob_id id)
{
    if (test_and_set(s->seen, place_of(id), true))
        test_and_set(s->again, place_of(id), true);
}

bool shared_is(const struct shared *s, struct kv_blob_id id)
{
    return test_and_set(s->again, place_of(id), false);
}

struct shared_blob *shared_find(const struct shared *s, struct kv_blob_id id)
{
    struct map_node *node = map_find(&s->by_from, get_u64(id.b));
    for (; node; node = map_next(node)) {
        struct shared_blob *blob = CONTAINER(node, struct shared_blob, node);
        if (kv_blob_id_eq(blob->from, id))
            return blob;
    }
    return NULL;
}

struct shared_blob *shared_add(struct shared *s, struct kv_blob_id from, struct kv_blob_id to)
{
    struct shared_blob *blob = mem_zero(sizeof *blob);
    blob->from = from;
    blob->to = to;
    map_add(&s->by_from, &blob->node, get_u64(from.b));
    return blob;
}
