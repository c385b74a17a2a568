/* Arenas: a list of blocks, the newest one being filled. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Blocks double, so that much is had in few; the largest are still ones that malloc gives and takes
 * without asking the kernel or tidying up. */
enum { ALIGN = 16, BLOCK = 4096 - 64, BLOCK_MAX = 32768 - 64 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    size_t padding; /* keeps the bytes behind this header aligned */
};

void arena_init(struct arena *a, size_t cap)
{
    *a = (struct arena){.cap = cap};
}

static void free_from(struct arena_block *block)
{
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_fini(struct arena *a)
{
    free_from(a->blocks);
    *a = (struct arena){.cap = a->cap};
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->blocks;
    if (keep && keep->size <= BLOCK) {
        free_from(keep->next);
        keep->next = NULL;
        keep->used = 0;
        a->used = 0;
    } else {
        arena_fini(a);
    }
}

static size_t next_size(const struct arena_block *newest, size_t n)
{
    size_t size = newest ? newest->size * 2 : BLOCK;
    if (size > BLOCK_MAX)
        size = BLOCK_MAX;
    return n > size ? n : size;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (a->cap && (n > a->cap || a->used > a->cap - n))
        return NULL;
    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < n) {
        size_t size = next_size(b, n);
        b = mem_alloc(sizeof *b + size);
        *b = (struct arena_block){.next = a->blocks, .size = size};
        a->blocks = b;
    }
    void *p = (char *)(b + 1) + b->used;
    b->used += n;
    a->used += n;
    return p;
}

void *arena_zero(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    if (p)
        memset(p, 0, n);
    return p;
}

struct str arena_dup(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (!p)
        return (struct str){0};
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}
