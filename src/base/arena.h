/* Arenas: memory with the lifetime of a request or a session, freed at once.
 *
 * An arena of zeroes is valid and empty. It grows by blocks, never beyond its cap when it has one
 * (0: none). */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/str.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* bytes handed out */
    size_t cap;                 /* most bytes to hand out; 0: no cap */
};

void arena_init(struct arena *a, size_t cap);
void arena_fini(struct arena *a);  /* frees all; usable again */
void arena_reset(struct arena *a); /* forgets all, keeps one small block for what comes next */

void *arena_alloc(struct arena *a, size_t n); /* aligned for any type; NULL over the cap */
void *arena_zero(struct arena *a, size_t n);
struct str arena_dup(struct arena *a,
                     struct str s); /* a copy with a NUL behind it; absent over the cap */

#endif
