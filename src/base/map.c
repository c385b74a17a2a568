/* Hash maps with chains; the load factor stays at or below one. */
#include "base/map.h"

#include "base/mem.h"

#include <stdlib.h>

enum { SMALLEST = 16 };

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_fini(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

static void grow(struct map *m)
{
    size_t n = m->n_slots ? m->n_slots * 2 : SMALLEST;
    struct map_node **slots = mem_zero(n * sizeof *slots);
    for (size_t i = 0; i < m->n_slots; i++) {
        for (struct map_node *node = m->slots[i], *next; node; node = next) {
            next = node->next;
            node->next = slots[node->hash & (n - 1)];
            slots[node->hash & (n - 1)] = node;
        }
    }
    free(m->slots);
    m->slots = slots;
    m->n_slots = n;
}

void map_add(struct map *m, struct map_node *node, uint64_t hash)
{
    if (m->count == m->n_slots)
        grow(m);
    struct map_node **slot = &m->slots[hash & (m->n_slots - 1)];
    *node = (struct map_node){.next = *slot, .hash = hash};
    *slot = node;
    m->count++;
}

void map_remove(struct map *m, struct map_node *node)
{
    struct map_node **at = &m->slots[node->hash & (m->n_slots - 1)];
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    m->count--;
}

static struct map_node *with_hash(struct map_node *node, uint64_t hash)
{
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct map_node *map_find(const struct map *m, uint64_t hash)
{
    return m->n_slots ? with_hash(m->slots[hash & (m->n_slots - 1)], hash) : NULL;
}

struct map_node *map_next(const struct map_node *node)
{
    return with_hash(node->next, node->hash);
}

struct map_node *map_each(const struct map *m, size_t *slot, struct map_node *node)
{
    if (node && node->next)
        return node->next;
    if (node)
        (*slot)++;
    for (; *slot < m->n_slots; (*slot)++)
        if (m->slots[*slot])
            return m->slots[*slot];
    return NULL;
}

uint64_t map_hash_u64(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdU;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53U;
    return x ^ x >> 33;
}
