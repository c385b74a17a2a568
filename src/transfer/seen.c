/* A set of digests: open addressing, at most half full, 32 bytes for each. The digests are what
 * SHA-256 gives, so their own bytes are the hash; one of zeroes alone is nobody's. */
#include "transfer/transfer_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 1024 };

static const unsigned char nobody[TRANSFER_ORIGIN];

static unsigned char *slot_of(const struct seen *s, const void *digest)
{
    size_t at = (size_t)get_u64(digest) & (s->size - 1);
    while (memcmp(s->slots[at], nobody, TRANSFER_ORIGIN) != 0 &&
           memcmp(s->slots[at], digest, TRANSFER_ORIGIN) != 0)
        at = (at + 1) & (s->size - 1);
    return s->slots[at];
}

static void grow(struct seen *s)
{
    struct seen old = *s;
    s->size = old.size ? old.size * 2 : FIRST;
    s->slots = mem_zero(s->size * sizeof *s->slots);
    for (size_t i = 0; i < old.size; i++)
        if (memcmp(old.slots[i], nobody, TRANSFER_ORIGIN) != 0)
            memcpy(slot_of(s, old.slots[i]), old.slots[i], TRANSFER_ORIGIN);
    free(old.slots);
}

void seen_add(struct seen *s, const void *digest)
{
    if (memcmp(digest, nobody, TRANSFER_ORIGIN) == 0)
        return;
    if (s->n * 2 >= s->size)
        grow(s);
    unsigned char *slot = slot_of(s, digest);
    s->n += memcmp(slot, nobody, TRANSFER_ORIGIN) == 0;
    memcpy(slot, digest, TRANSFER_ORIGIN);
}

bool seen_has(const struct seen *s, const void *digest)
{
    return s->size && memcmp(digest, nobody, TRANSFER_ORIGIN) != 0 &&
           memcmp(slot_of(s, digest), digest, TRANSFER_ORIGIN) == 0;
}

bool seen_next(const struct seen *s, size_t *at, unsigned char out[TRANSFER_ORIGIN])
{
    while (*at < s->size && memcmp(s->slots[*at], nobody, TRANSFER_ORIGIN) == 0)
        ++*at;
    if (*at == s->size)
        return false;
    memcpy(out, s->slots[(*at)++], TRANSFER_ORIGIN);
    return true;
}

void seen_fini(struct seen *s)
{
    free(s->slots);
    *s = (struct seen){0};
}
