/* Work in hand: a page of places and a page of counts, in memory shared by parent and child.
 *
 * Invariants: a place is taken by one thread from `is_taken` to its release; its key is written
 * before is_noted is set, so the parent never counts half a key. Counts are written by the parent
 * while nobody works, and cleared by workers. */
#include "task/hand.h"

#include "base/random.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { PLACES = 256, COUNTS = 256, SUSPECT = 2 };

struct place {
    _Atomic bool is_taken, is_noted;
    struct hand_key key;
};

struct count {
    _Atomic unsigned crashes; /* 0: free */
    struct hand_key key;
};

struct hand {
    uint64_t seed[4];
    _Atomic unsigned suspects;
    unsigned next; /* the count that is given up when all are used */
    struct place places[PLACES];
    struct count counts[COUNTS];
};

struct hand *hand_new(void)
{
    struct hand *hand =
        mmap(NULL, sizeof *hand, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (hand == MAP_FAILED)
        return NULL;
    random_bytes(hand->seed, sizeof hand->seed);
    return hand;
}

void hand_free(struct hand **hand)
{
    if (*hand)
        munmap(*hand, sizeof **hand);
    *hand = NULL;
}

enum { KEY_BYTES = 1024 }; /* of the header: enough to tell one message from another */

struct hand_key hand_key(const struct hand *hand, struct str sender, struct str header)
{
    struct hand_key key = {0};
    if (!hand)
        return key;
    if (header.n > KEY_BYTES)
        header.n = KEY_BYTES;
    const uint64_t mixed[2] = {hand->seed[2] ^ str_hash(sender, hand->seed), hand->seed[3]};
    const uint64_t halves[2] = {str_hash(header, hand->seed), str_hash(header, mixed)};
    memcpy(key.b, halves, sizeof key.b);
    return key;
}

static bool same(const struct hand_key *a, const struct hand_key *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

unsigned hand_take(struct hand *hand, struct hand_key key)
{
    if (!hand)
        return 0;
    for (unsigned i = 0; i < PLACES; i++) {
        struct place *p = &hand->places[(key.b[0] + i) % PLACES];
        if (atomic_load_explicit(&p->is_taken, memory_order_relaxed) ||
            atomic_exchange(&p->is_taken, true))
            continue;
        p->key = key;
        atomic_store(&p->is_noted, true);
        return (unsigned)(p - hand->places) + 1;
    }
    return 0;
}

void hand_give(struct hand *hand, unsigned place)
{
    if (!hand || place == 0)
        return;
    atomic_store(&hand->places[place - 1].is_noted, false);
    atomic_store(&hand->places[place - 1].is_taken, false);
}

static struct count *find(struct hand *hand, const struct hand_key *key)
{
    for (unsigned i = 0; i < COUNTS; i++)
        if (atomic_load(&hand->counts[i].crashes) && same(&hand->counts[i].key, key))
            return &hand->counts[i];
    return NULL;
}

bool hand_is_suspect(const struct hand *hand, struct hand_key key)
{
    if (!hand || atomic_load_explicit(&hand->suspects, memory_order_relaxed) == 0)
        return false;
    for (unsigned i = 0; i < COUNTS; i++)
        if (atomic_load(&hand->counts[i].crashes) >= SUSPECT && same(&hand->counts[i].key, &key))
            return true;
    return false;
}

void hand_forget(struct hand *hand, struct hand_key key)
{
    struct count *c = hand ? find(hand, &key) : NULL;
    if (c && atomic_exchange(&c->crashes, 0) >= SUSPECT)
        atomic_fetch_sub(&hand->suspects, 1);
}

/* A free one, or one that gives way: the oldest that is no suspect, if there is one. */
static struct count *new_count(struct hand *hand, const struct hand_key *key)
{
    struct count *c = NULL;
    for (unsigned i = 0; i < COUNTS && !c; i++)
        if (atomic_load(&hand->counts[i].crashes) == 0)
            c = &hand->counts[i];
    for (unsigned i = 0; i < COUNTS && !c; i++) {
        struct count *next = &hand->counts[hand->next++ % COUNTS];
        if (atomic_load(&next->crashes) < SUSPECT)
            c = next;
    }
    if (!c)
        return NULL;
    c->key = *key;
    atomic_store(&c->crashes, 0);
    return c;
}

/* True when it has become a suspect by this. */
static bool count_crash(struct hand *hand, const struct hand_key *key)
{
    struct count *c = find(hand, key);
    if (!c)
        c = new_count(hand, key);
    if (!c || atomic_fetch_add(&c->crashes, 1) + 1 != SUSPECT)
        return false;
    atomic_fetch_add(&hand->suspects, 1);
    return true;
}

unsigned hand_settle(struct hand *hand, bool was_crash)
{
    unsigned suspects = 0;
    for (unsigned i = 0; hand && i < PLACES; i++) {
        struct place *p = &hand->places[i];
        if (was_crash && atomic_load(&p->is_noted))
            suspects += count_crash(hand, &p->key);
        atomic_store(&p->is_noted, false);
        atomic_store(&p->is_taken, false);
    }
    return suspects;
}
