/* How many connections there are, and how many of them are in a TLS handshake, in total and from
 * one IPv4 address or IPv6 /64. An address has an entry only while it has connections, so the table
 * is bounded by the total. Connections of ours to other hosts are counted by themselves: whoever
 * fills one of the two counts takes nothing from the other. */
#include "net/net_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    DEFAULT_CONNECTIONS = 20000,
    DEFAULT_PER_ADDRESS = 50,
    DEFAULT_HANDSHAKES = 1000,
    DEFAULT_HANDSHAKES_PER_ADDRESS = 20,
    DEFAULT_DIALS = 1000,
    DEFAULT_DIAL_HANDSHAKES = 200,
    SPARE_FILES = 256,
    MOST_CONNECTIONS = 1000000
};

struct address {
    struct map_node node;
    struct in6_addr prefix;
    uint32_t count, handshakes;
};

static uint32_t files_of_system(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT32_MAX)
        return UINT32_MAX;
    return (uint32_t)limit.rlim_cur;
}

/* A quarter of the files is left to large messages that connections write and read and to
 * connections of ours, which are given half of it at most, and SPARE_FILES to the store itself,
 * which must never find that there are none. */
uint32_t limits_most(void)
{
    uint32_t files = files_of_system(), store = files / 4 + SPARE_FILES;
    if (files < UINT32_MAX)
        files = files > store * 2 ? files - store : files / 2;
    return files < MOST_CONNECTIONS ? files : MOST_CONNECTIONS;
}

uint32_t limits_most_dials(void)
{
    uint32_t files = files_of_system() / 8;
    return files < MOST_CONNECTIONS ? files : MOST_CONNECTIONS;
}

/* The mutex is held, or nobody knows of it yet. */
static void set(struct limits *l, const struct net_limits *conf)
{
    uint32_t most = limits_most();
    l->max_total = conf->connections ? conf->connections : DEFAULT_CONNECTIONS;
    l->max_address = conf->per_address ? conf->per_address : DEFAULT_PER_ADDRESS;
    l->max_handshakes = conf->handshakes ? conf->handshakes : DEFAULT_HANDSHAKES;
    l->max_address_handshakes = conf->handshakes_per_address ? conf->handshakes_per_address
                                                             : DEFAULT_HANDSHAKES_PER_ADDRESS;
    if (l->max_total > most)
        l->max_total = most;
    uint32_t most_dials = limits_most_dials();
    uint32_t dials = most_dials / 2 < DEFAULT_DIALS ? most_dials / 2 : DEFAULT_DIALS;
    l->max_dials = conf->dials ? conf->dials : dials;
    if (l->max_dials > most_dials)
        l->max_dials = most_dials;
    l->max_dial_handshakes =
        conf->dial_handshakes ? conf->dial_handshakes : DEFAULT_DIAL_HANDSHAKES;
    free(l->trusted);
    l->trusted =
        conf->n_trusted ? mem_dup(conf->trusted, conf->n_trusted * sizeof *l->trusted) : NULL;
    l->n_trusted = conf->n_trusted;
}

void limits_set(struct limits *l, const struct net_limits *conf)
{
    pthread_mutex_lock(&l->mutex);
    set(l, conf);
    pthread_mutex_unlock(&l->mutex);
}

void limits_init(struct limits *l, const struct net_limits *conf)
{
    *l = (struct limits){0};
    set(l, conf);
    pthread_mutex_init(&l->mutex, NULL);
    map_init(&l->addresses);
    random_bytes(l->key, sizeof l->key);
}

void limits_fini(struct limits *l)
{
    map_fini(&l->addresses);
    free(l->trusted);
    pthread_mutex_destroy(&l->mutex);
}

static bool counts(const struct limits *l, const struct net_addr *peer)
{
    if (peer->sa.sin6_family != AF_INET6)
        return false;
    for (size_t i = 0; i < l->n_trusted; i++)
        if (net_cidr_has(&l->trusted[i], peer))
            return false;
    return true;
}

static struct in6_addr prefix_of(const struct net_addr *peer)
{
    struct in6_addr prefix = peer->sa.sin6_addr;
    if (!IN6_IS_ADDR_V4MAPPED(&prefix))
        memset(prefix.s6_addr + 8, 0, 8);
    return prefix;
}

static struct address *find(struct limits *l, const struct in6_addr *prefix, uint64_t hash)
{
    struct map_node *node = map_find(&l->addresses, hash);
    for (; node; node = map_next(node)) {
        struct address *a = CONTAINER(node, struct address, node);
        if (memcmp(&a->prefix, prefix, sizeof *prefix) == 0)
            return a;
    }
    return NULL;
}

/* The mutex is held. NULL for one that is not counted. */
static struct address *address_of(struct limits *l, const struct net_addr *peer, bool is_counted)
{
    if (!is_counted)
        return NULL;
    struct in6_addr prefix = prefix_of(peer);
    return find(l, &prefix, str_hash(str_from(&prefix, sizeof prefix), l->key));
}

/* The mutex is held. */
static enum rc take_address(struct limits *l, const struct net_addr *peer)
{
    struct in6_addr prefix = prefix_of(peer);
    uint64_t hash = str_hash(str_from(&prefix, sizeof prefix), l->key);
    struct address *a = find(l, &prefix, hash);
    if (a && a->count >= l->max_address)
        return RC_LIMIT;
    if (!a) {
        a = mem_zero(sizeof *a);
        a->prefix = prefix;
        map_add(&l->addresses, &a->node, hash);
    }
    a->count++;
    return RC_OK;
}

enum rc limits_take(struct limits *l, const struct net_addr *peer, bool *out_is_counted)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&l->mutex);
    *out_is_counted = counts(l, peer);
    if (l->total >= l->max_total)
        rc = RC_LIMIT;
    else if (*out_is_counted)
        rc = take_address(l, peer);
    if (rc == RC_OK)
        l->total++;
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

static enum rc take_one(struct limits *l, uint32_t *count, const uint32_t *max)
{
    pthread_mutex_lock(&l->mutex);
    enum rc rc = *count < *max ? RC_OK : RC_LIMIT;
    *count += rc == RC_OK;
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

enum rc limits_take_unnamed(struct limits *l)
{
    return take_one(l, &l->total, &l->max_total);
}

enum rc limits_claim(struct limits *l, const struct net_addr *peer, bool *out_is_counted)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&l->mutex);
    *out_is_counted = counts(l, peer);
    if (*out_is_counted)
        rc = take_address(l, peer);
    *out_is_counted = *out_is_counted && rc == RC_OK;
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

void limits_give(struct limits *l, const struct net_addr *peer, bool is_counted)
{
    pthread_mutex_lock(&l->mutex);
    l->total--;
    struct address *a = address_of(l, peer, is_counted);
    if (a && --a->count == 0) {
        map_remove(&l->addresses, &a->node);
        free(a);
    }
    pthread_mutex_unlock(&l->mutex);
}

enum rc limits_take_handshake(struct limits *l, const struct net_addr *peer, bool is_counted)
{
    enum rc rc = RC_LIMIT;
    pthread_mutex_lock(&l->mutex);
    struct address *a = address_of(l, peer, is_counted);
    if (l->handshakes < l->max_handshakes && (!a || a->handshakes < l->max_address_handshakes)) {
        rc = RC_OK;
        l->handshakes++;
        if (a)
            a->handshakes++;
    }
    pthread_mutex_unlock(&l->mutex);
    return rc;
}

void limits_give_handshake(struct limits *l, const struct net_addr *peer, bool is_counted)
{
    pthread_mutex_lock(&l->mutex);
    struct address *a = address_of(l, peer, is_counted);
    l->handshakes--;
    if (a)
        a->handshakes--;
    pthread_mutex_unlock(&l->mutex);
}

uint32_t limits_count(struct limits *l)
{
    pthread_mutex_lock(&l->mutex);
    uint32_t n = l->total;
    pthread_mutex_unlock(&l->mutex);
    return n;
}

static void give_one(struct limits *l, uint32_t *count)
{
    pthread_mutex_lock(&l->mutex);
    --*count;
    pthread_mutex_unlock(&l->mutex);
}

enum rc limits_take_dial(struct limits *l)
{
    return take_one(l, &l->dials, &l->max_dials);
}

void limits_give_dial(struct limits *l)
{
    give_one(l, &l->dials);
}

enum rc limits_take_dial_handshake(struct limits *l)
{
    return take_one(l, &l->dial_handshakes, &l->max_dial_handshakes);
}

void limits_give_dial_handshake(struct limits *l)
{
    give_one(l, &l->dial_handshakes);
}

uint32_t limits_dials(struct limits *l)
{
    pthread_mutex_lock(&l->mutex);
    uint32_t n = l->dials;
    pthread_mutex_unlock(&l->mutex);
    return n;
}
