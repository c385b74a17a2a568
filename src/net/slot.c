/* Slots: which connections a loop has, and the word of events of each.
 *
 * Invariants: a word's generation changes when its slot is given back, so an event for an earlier
 * connection finds another generation and does nothing; WORD_QUEUED is set exactly while the slot
 * stands in the loop's queue, so the queue never holds more than there are slots. Freed slots are
 * taken again in the order of their freeing, which makes 40 bits of generation last. */
#include "net/net_int.h"

#include <stdlib.h>

void slots_init(struct slots *s, uint32_t n)
{
    *s = (struct slots){.n = n};
    s->slots = calloc(n + (size_t)1, sizeof *s->slots);
    if (!s->slots)
        abort();
}

void slots_fini(struct slots *s)
{
    free(s->slots);
    s->slots = NULL;
}

uint32_t slots_take(struct slots *s, struct conn *c, uint64_t *out_generation)
{
    uint32_t i;
    if (s->used < s->n) {
        i = ++s->used;
    } else {
        i = s->free_head;
        if (!i)
            return 0;
        s->free_head = s->slots[i].next_free;
        if (!s->free_head)
            s->free_tail = 0;
    }
    s->slots[i].conn = c;
    *out_generation = atomic_load(&s->slots[i].word) >> WORD_BITS;
    return i;
}

void slots_give(struct slots *s, uint32_t slot)
{
    struct slot *it = &s->slots[slot];
    uint64_t word = atomic_load(&it->word), next;
    do
        next = ((word >> WORD_BITS) + 1) << WORD_BITS | (word & WORD_QUEUED);
    while (!atomic_compare_exchange_weak(&it->word, &word, next));
    it->conn = NULL;
    it->next_free = 0;
    if (s->free_tail)
        s->slots[s->free_tail].next_free = slot;
    else
        s->free_head = slot;
    s->free_tail = slot;
}

bool slots_post(struct slots *s, uint32_t slot, uint64_t generation, uint32_t bits)
{
    if (slot == 0 || slot > s->n)
        return false;
    struct slot *it = &s->slots[slot];
    uint64_t word = atomic_load(&it->word);
    do {
        if (word >> WORD_BITS != generation)
            return false;
    } while (!atomic_compare_exchange_weak(&it->word, &word, word | bits | WORD_QUEUED));
    return !(word & WORD_QUEUED);
}

struct conn *slots_unqueue(struct slots *s, uint32_t slot)
{
    atomic_fetch_and(&s->slots[slot].word, ~(uint64_t)WORD_QUEUED);
    return s->slots[slot].conn;
}

uint32_t slots_peek(struct slots *s, uint32_t slot)
{
    return (uint32_t)atomic_load_explicit(&s->slots[slot].word, memory_order_acquire) &
           ((1u << WORD_BITS) - 1);
}

void slots_clear(struct slots *s, uint32_t slot, uint32_t bits)
{
    atomic_fetch_and(&s->slots[slot].word, ~(uint64_t)bits);
}
