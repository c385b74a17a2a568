/* The cache of resolved addresses: for each the answer, and the versions of the partitions that it
 * was read from: its domain's, and those of the aliases that it went through.
 *
 * An entry holds while these versions are the latest ones known; so a change to a domain drops all
 * of its entries (and those of the few domains in the same partition), by one store to one number.
 * Addresses that have a row of their own are bounded apart from unknown ones and from those that
 * only a detail or a catch-all answers, so that a peer who tries names cannot drive out the ones in
 * use. The mutex is held for a lookup and no longer; the versions need none.
 */
#include "auth/auth_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct map_node node;
    struct list link;
    struct cache_side *side;
    struct answer answer; /* its accounts lie behind the entry */
    size_t n;
    char *text; /* behind the accounts */
    uint64_t accounts[];
};

void auth_cache_init(struct cache *c, size_t max)
{
    pthread_mutex_init(&c->mutex, NULL);
    map_init(&c->map);
    list_init(&c->found.entries);
    list_init(&c->unknown.entries);
    c->found.max = max;
    c->unknown.max = max / 4;
    random_bytes(c->key, sizeof c->key);
}

static void drop(struct cache *c, struct entry *e)
{
    map_remove(&c->map, &e->node);
    list_remove(&e->link);
    e->side->n--;
    free(e);
}

static void drop_all(struct cache *c, struct cache_side *side)
{
    struct list *first;
    while ((first = list_first(&side->entries)))
        drop(c, CONTAINER(first, struct entry, link));
}

void auth_cache_fini(struct cache *c)
{
    drop_all(c, &c->found);
    drop_all(c, &c->unknown);
    map_fini(&c->map);
    pthread_mutex_destroy(&c->mutex);
}

void auth_cache_seen(struct cache *c, struct kv_part part, uint64_t version)
{
    _Atomic uint64_t *latest = &c->versions[part.id];
    uint64_t known = atomic_load(latest);
    while (known < version && !atomic_compare_exchange_weak(latest, &known, version)) {
        /* `known` is read anew by the exchange */
    }
}

static struct entry *find(struct cache *c, struct str text, uint64_t hash)
{
    for (struct map_node *node = map_find(&c->map, hash); node; node = map_next(node)) {
        struct entry *e = CONTAINER(node, struct entry, node);
        if (str_eq(str_from(e->text, e->n), text))
            return e;
    }
    return NULL;
}

static bool holds(struct cache *c, const struct answer *a)
{
    for (size_t i = 0; i < a->n_parts; i++)
        if (a->versions[i] < atomic_load(&c->versions[a->parts[i]]))
            return false;
    return true;
}

static void copy_out(const struct answer *from, struct arena *arena, struct answer *out)
{
    *out = *from;
    if (!from->n)
        return;
    out->accounts = arena_alloc(arena, from->n * sizeof *out->accounts);
    if (out->accounts)
        memcpy(out->accounts, from->accounts, from->n * sizeof *out->accounts);
    else
        out->rc = RC_LIMIT;
}

bool auth_cache_find(struct cache *c, const struct address *a, struct arena *arena,
                     struct answer *out)
{
    uint64_t hash = str_hash(a->whole, c->key);
    bool is_found = false;
    pthread_mutex_lock(&c->mutex);
    struct entry *e = find(c, a->whole, hash);
    if (e && !holds(c, &e->answer)) {
        drop(c, e);
    } else if (e) {
        list_remove(&e->link);
        list_add_head(&e->side->entries, &e->link);
        copy_out(&e->answer, arena, out);
        is_found = true;
    }
    pthread_mutex_unlock(&c->mutex);
    return is_found;
}

static struct entry *entry_of(const struct address *a, const struct answer *answer)
{
    size_t size = answer->n * sizeof(uint64_t);
    struct entry *e = mem_alloc(sizeof *e + size + a->whole.n);
    *e = (struct entry){.answer = *answer, .n = a->whole.n};
    e->text = (char *)(e->accounts + answer->n);
    e->answer.accounts = e->accounts;
    if (answer->n)
        memcpy(e->accounts, answer->accounts, size);
    memcpy(e->text, a->whole.p, a->whole.n);
    return e;
}

void auth_cache_put(struct cache *c, const struct address *a, const struct answer *answer)
{
    if (answer->n_parts > ANSWER_PARTS)
        return;
    bool is_found = answer->is_exact && answer->rc == RC_OK;
    struct cache_side *side = is_found ? &c->found : &c->unknown;
    uint64_t hash = str_hash(a->whole, c->key);
    struct entry *made = entry_of(a, answer);
    made->side = side;
    pthread_mutex_lock(&c->mutex);
    struct entry *old = find(c, a->whole, hash);
    if (old)
        drop(c, old);
    if (side->n >= side->max && side->n)
        drop(c, CONTAINER(side->entries.prev, struct entry, link));
    map_add(&c->map, &made->node, hash);
    list_add_head(&side->entries, &made->link);
    side->n++;
    pthread_mutex_unlock(&c->mutex);
}
