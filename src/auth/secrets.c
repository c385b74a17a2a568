/* The memory that passwords wait in: one mapping of a fixed number of slots, locked where the
 * system lets us, left out of core dumps and not inherited by a child. A slot is wiped when it
 * comes back.
 *
 * Invariant: a slot is in the list of free ones or with one login. */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct slot {
    struct slot *next; /* while it is free */
    char bytes[AUTH_PASSWORD_MAX];
};

void auth_secrets_init(struct secrets *s, size_t n)
{
    pthread_mutex_init(&s->mutex, NULL);
    s->size = n * sizeof(struct slot);
    s->slots = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->slots == MAP_FAILED) {
        fprintf(stderr, "penfold: no memory for passwords\n");
        abort();
    }
    s->is_locked = mlock(s->slots, s->size) == 0; /* RLIMIT_MEMLOCK decides */
    (void)madvise(s->slots, s->size, MADV_DONTDUMP);
    (void)madvise(s->slots, s->size, MADV_WIPEONFORK);
    s->free = NULL;
    for (size_t i = n; i-- > 0;) {
        s->slots[i].next = s->free;
        s->free = &s->slots[i];
    }
}

void auth_secrets_fini(struct secrets *s)
{
    munmap(s->slots, s->size);
    pthread_mutex_destroy(&s->mutex);
}

char *auth_secrets_take(struct secrets *s)
{
    pthread_mutex_lock(&s->mutex);
    struct slot *slot = s->free;
    if (slot)
        s->free = slot->next;
    pthread_mutex_unlock(&s->mutex);
    return slot ? slot->bytes : NULL;
}

void auth_secrets_give(struct secrets *s, char *bytes)
{
    struct slot *slot = CONTAINER(bytes, struct slot, bytes);
    crypto_wipe(bytes, AUTH_PASSWORD_MAX);
    pthread_mutex_lock(&s->mutex);
    slot->next = s->free;
    s->free = slot;
    pthread_mutex_unlock(&s->mutex);
}
