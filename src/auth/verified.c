/* Credentials that were verified lately, so that a program that comes every minute costs no hash:
 * for an address a MAC of account, credential and password under a key of this process, never the
 * password. A stored hash's salt is random, so that the digest of its text tells one credential
 * from the next.
 *
 * Invariants: only what a full verification has found right gets in; an entry answers for the exact
 * password, from a network that it was verified from, for IDLE since it was last used and LIFE in
 * all; it holds while the partition's version is the one that it was read from, or after the rows
 * have been read anew. A wrong password is compared with something in every case and finds nothing.
 */
#include "auth/auth_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { PLACES = 4 };

#define IDLE (15 * 60 * NS_PER_SEC)
#define LIFE (12 * 3600 * NS_PER_SEC)

struct entry {
    struct map_node node;
    struct list link; /* the latest used first */
    struct verified facts;
    uint64_t made, used;
    unsigned char mac[CRYPTO_SHA256];
    struct net_cidr places[PLACES];
    unsigned n_places; /* ever noted: they go round */
    size_t n;
    char text[];
};

void auth_verified_init(struct verified_cache *c, size_t max)
{
    pthread_mutex_init(&c->mutex, NULL);
    map_init(&c->map);
    list_init(&c->entries);
    c->n = 0;
    c->max = max;
    random_bytes(c->key, sizeof c->key);
    random_bytes(c->hash_key, sizeof c->hash_key);
}

static void drop(struct verified_cache *c, struct entry *e)
{
    map_remove(&c->map, &e->node);
    list_remove(&e->link);
    c->n--;
    crypto_wipe(e->mac, sizeof e->mac);
    free(e);
}

void auth_verified_fini(struct verified_cache *c)
{
    struct list *first;
    while ((first = list_first(&c->entries)))
        drop(c, CONTAINER(first, struct entry, link));
    map_fini(&c->map);
    crypto_wipe(c->key, sizeof c->key);
    pthread_mutex_destroy(&c->mutex);
}

static struct entry *find(struct verified_cache *c, struct str text)
{
    struct map_node *node = map_find(&c->map, str_hash(text, c->hash_key));
    for (; node; node = map_next(node)) {
        struct entry *e = CONTAINER(node, struct entry, node);
        if (str_eq(str_from(e->text, e->n), text))
            return e;
    }
    return NULL;
}

void auth_verified_credential(const struct verified_cache *c, struct str mark,
                              unsigned char out[VERIFIED_CREDENTIAL])
{
    unsigned char digest[CRYPTO_SHA256];
    crypto_hmac_sha256(str_from(c->key, sizeof c->key), mark, digest);
    memcpy(out, digest, VERIFIED_CREDENTIAL);
}

static void mac_of(const struct verified_cache *c, const struct verified *facts,
                   struct str password, unsigned char out[CRYPTO_SHA256])
{
    unsigned char text[8 + VERIFIED_CREDENTIAL + AUTH_PASSWORD_MAX];
    size_t n = password.n < AUTH_PASSWORD_MAX ? password.n : AUTH_PASSWORD_MAX;
    put_u64(text, facts->account);
    memcpy(text + 8, facts->credential, VERIFIED_CREDENTIAL);
    if (n)
        memcpy(text + 8 + VERIFIED_CREDENTIAL, password.p, n);
    n += 8 + VERIFIED_CREDENTIAL;
    crypto_hmac_sha256(str_from(c->key, sizeof c->key), str_from(text, n), out);
    crypto_wipe(text, n);
}

static bool has_place(const struct entry *e, const struct net_cidr *place)
{
    for (unsigned i = 0; i < PLACES && i < e->n_places; i++)
        if (memcmp(&e->places[i], place, sizeof *place) == 0)
            return true;
    return false;
}

static bool is_fresh(const struct entry *e, uint64_t now)
{
    return now - e->used < IDLE && now - e->made < LIFE;
}

bool auth_verified_find(struct verified_cache *c, const struct verified_question *q,
                        struct verified *out)
{
    unsigned char mac[CRYPTO_SHA256], stored[CRYPTO_SHA256] = {0};
    bool is_there = false;
    *out = (struct verified){0};
    pthread_mutex_lock(&c->mutex);
    struct entry *e = find(c, q->name);
    if (e && is_fresh(e, q->now) && has_place(e, &q->place)) {
        *out = e->facts;
        memcpy(stored, e->mac, sizeof stored);
        is_there = true;
    }
    pthread_mutex_unlock(&c->mutex);
    mac_of(c, out, q->password, mac); /* for nobody as well: a miss does the same work */
    bool is_equal = crypto_is_equal(str_from(mac, sizeof mac), str_from(stored, sizeof stored));
    return is_equal && is_there && q->password.n <= AUTH_PASSWORD_MAX;
}

void auth_verified_renew(struct verified_cache *c, const struct verified_question *q,
                         const struct verified *facts)
{
    pthread_mutex_lock(&c->mutex);
    struct entry *e = find(c, q->name);
    if (e && e->facts.account == facts->account &&
        memcmp(e->facts.credential, facts->credential, VERIFIED_CREDENTIAL) == 0) {
        e->facts = *facts;
        e->used = q->now;
        list_remove(&e->link);
        list_add_head(&c->entries, &e->link);
    }
    pthread_mutex_unlock(&c->mutex);
}

void auth_verified_drop(struct verified_cache *c, struct str name)
{
    pthread_mutex_lock(&c->mutex);
    struct entry *e = find(c, name);
    if (e)
        drop(c, e);
    pthread_mutex_unlock(&c->mutex);
}

static void note_place(struct entry *e, const struct net_cidr *place)
{
    if (!has_place(e, place))
        e->places[e->n_places++ % PLACES] = *place;
}

void auth_verified_put(struct verified_cache *c, const struct verified_question *q,
                       const struct verified *facts)
{
    struct entry *made = mem_zero(sizeof *made + q->name.n);
    made->facts = *facts;
    made->made = made->used = q->now;
    mac_of(c, facts, q->password, made->mac);
    made->n = q->name.n;
    memcpy(made->text, q->name.p, q->name.n);
    pthread_mutex_lock(&c->mutex);
    struct entry *old = find(c, q->name);
    if (old && is_fresh(old, q->now) && memcmp(old->mac, made->mac, sizeof old->mac) == 0) {
        memcpy(made->places, old->places, sizeof made->places);
        made->n_places = old->n_places;
    }
    note_place(made, &q->place);
    if (old)
        drop(c, old);
    if (c->n >= c->max && c->n)
        drop(c, CONTAINER(c->entries.prev, struct entry, link));
    map_add(&c->map, &made->node, str_hash(q->name, c->hash_key));
    list_add_head(&c->entries, &made->link);
    c->n++;
    pthread_mutex_unlock(&c->mutex);
}
