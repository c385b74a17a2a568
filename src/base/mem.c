/* Memory that is there or the process ends. */
#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p, size_t n)
{
    if (!p) {
        fprintf(stderr, "penfold: out of memory: %zu bytes\n", n);
        abort();
    }
    return p;
}

void *mem_alloc(size_t n)
{
    return checked(malloc(n ? n : 1), n);
}

void *mem_zero(size_t n)
{
    return checked(calloc(1, n ? n : 1), n);
}

void *mem_grow(void *p, size_t n)
{
    return checked(realloc(p, n ? n : 1), n);
}

void *mem_dup(const void *p, size_t n)
{
    char *copy = mem_alloc(n + 1);
    if (n)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

void *mem_array(void *p, size_t *capacity, size_t need, size_t item)
{
    if (need <= *capacity)
        return p;
    size_t want = *capacity ? *capacity * 2 : 8;
    if (want < need)
        want = need;
    size_t bytes;
    if (__builtin_mul_overflow(want, item, &bytes))
        checked(NULL, SIZE_MAX);
    *capacity = want;
    return mem_grow(p, bytes);
}
