/* The cache of resolved addresses: for each the answer, and the version of the domain's partition
 * that it was read from.
 *
 * An entry holds while that version is the latest one known; so a change to a domain drops all of
 * its entries (and those of the few domains in the same partition), by one store to one number.
 * Found and unknown addresses are bounded apart, so that a peer who tries names cannot drive out
 * the ones in use. The mutex is held for a lookup and no longer; the versions need none.
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
    uint64_t version, account;
    enum rc rc;
    size_t n;
    char text[];
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

bool auth_cache_find(struct cache *c, const struct address *a, enum rc *out_rc,
                     uint64_t *out_account)
{
    uint64_t latest = atomic_load(&c->versions[auth_domain_part(a->domain).id]);
    uint64_t hash = str_hash(a->whole, c->key);
    bool is_found = false;
    pthread_mutex_lock(&c->mutex);
    struct entry *e = find(c, a->whole, hash);
    if (e && e->version < latest) {
        drop(c, e);
    } else if (e) {
        list_remove(&e->link);
        list_add_head(&e->side->entries, &e->link);
        *out_rc = e->rc;
        *out_account = e->account;
        is_found = true;
    }
    pthread_mutex_unlock(&c->mutex);
    return is_found;
}

void auth_cache_put(struct cache *c, const struct address *a, uint64_t version, enum rc rc,
                    uint64_t account)
{
    struct cache_side *side = rc == RC_OK ? &c->found : &c->unknown;
    uint64_t hash = str_hash(a->whole, c->key);
    struct entry *made = mem_alloc(sizeof *made + a->whole.n);
    *made = (struct entry){
        .side = side, .version = version, .account = account, .rc = rc, .n = a->whole.n};
    memcpy(made->text, a->whole.p, a->whole.n);
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
