/* Hash maps whose links live in the items: the owner computes the hash (str_hash with a random key
 * for bytes from outside) and compares the keys. Not safe for threads; grows by doubling. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_node {
    struct map_node *next;
    uint64_t hash;
};

struct map {
    struct map_node **slots;
    size_t n_slots; /* a power of two, or 0 */
    size_t count;
};

void map_init(struct map *m);
void map_fini(struct map *m); /* frees the table, not the items */

void map_add(struct map *m, struct map_node *node,
             uint64_t hash);                           /* the same hash may be added again */
void map_remove(struct map *m, struct map_node *node); /* it must be in the map */

/* Items with this hash: map_find gives the first, map_next the one after; NULL at the end. */
struct map_node *map_find(const struct map *m, uint64_t hash);
struct map_node *map_next(const struct map_node *node);

/* All items, in no order; start with *slot = 0 and node = NULL. The map must not change meanwhile;
 * but with NULL each time, it goes on behind items that were removed. */
struct map_node *map_each(const struct map *m, size_t *slot, struct map_node *node);

uint64_t map_hash_u64(uint64_t x); /* for keys that no peer chooses */

#endif
