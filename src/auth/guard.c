/* Wrong passwords, counted: per account name, per address and per network. A count raises the delay
 * before a refusal; over its limit it becomes a block that expires. Pure but for its mutex: time is
 * handed in, nothing is looked up, and whether a name exists is not known here, so that what a peer
 * sees cannot depend on it.
 *
 * Invariants: a count drains steadily, `limit` of it in one period; a block lasts one period, and
 * twice as long each time while the last one is not long over; the same name and password again
 * counts a tenth, so that a program with an old password does not shut its owner out. Each scope
 * has a table of its own and a bound; over the bound the least suspicious of the oldest few goes,
 * so that whoever makes many entries drives out his own before a block.
 */
#include "auth/auth_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    POINT = 1000, /* what one wrong password counts */
    AGAIN = 100,  /* the same one again */
    FREE = 2,     /* without a delay */
    DOUBLINGS = 4,
    CANDIDATES = 8,
    PAIRS = 4
};

struct suspect {
    struct map_node node;
    struct list link;       /* in its table, the latest failure first */
    uint64_t level, at;     /* what was counted up to the last failure, and when that was */
    uint64_t blocked_until; /* 0: never was */
    unsigned blocks;        /* one after the other */
    unsigned next_pair;
    uint64_t pairs[PAIRS];
    size_t n_key;
    unsigned char key[];
};

void auth_guard_init(struct guard *g, const struct guard_conf *conf)
{
    *g = (struct guard){.conf = *conf};
    pthread_mutex_init(&g->mutex, NULL);
    random_bytes(g->key, sizeof g->key);
    for (int i = 0; i < GUARD_SCOPES; i++) {
        map_init(&g->tables[i].map);
        list_init(&g->tables[i].suspects);
    }
}

void auth_guard_configure(struct guard *g, const struct guard_conf *conf)
{
    pthread_mutex_lock(&g->mutex);
    g->conf = *conf;
    pthread_mutex_unlock(&g->mutex);
}

static void drop(struct guard_table *t, struct suspect *s)
{
    map_remove(&t->map, &s->node);
    list_remove(&s->link);
    t->n--;
    free(s);
}

void auth_guard_fini(struct guard *g)
{
    struct list *first;
    for (int i = 0; i < GUARD_SCOPES; i++) {
        while ((first = list_first(&g->tables[i].suspects)))
            drop(&g->tables[i], CONTAINER(first, struct suspect, link));
        map_fini(&g->tables[i].map);
    }
    pthread_mutex_destroy(&g->mutex);
}

static uint64_t level_at(const struct guard *g, int scope, const struct suspect *s, uint64_t now)
{
    uint64_t passed_ms = (now - s->at) / NS_PER_MS, period_ms = g->conf.period_ns / NS_PER_MS;
    if (passed_ms >= period_ms)
        return 0;
    uint64_t drained = passed_ms * g->conf.failures[scope] * POINT / period_ms;
    return s->level > drained ? s->level - drained : 0;
}

static bool is_blocked(const struct suspect *s, uint64_t now)
{
    return s->blocked_until > now;
}

/* --- the tables ------------------------------------------------------------------------------- */

/* The views of what an attempt is counted under; absent: not in this scope. */
struct keys {
    struct net_cidr nets[2];
    struct str key[GUARD_SCOPES];
};

static void keys_make(struct keys *k, struct str name, const struct peer *peer)
{
    *k = (struct keys){.key[GUARD_ACCOUNT] = name};
    if (!peer->is_network)
        return;
    k->nets[0] = auth_peer_net(peer, REACH_ADDRESS);
    k->nets[1] = auth_peer_net(peer, REACH_NETWORK);
    k->key[GUARD_ADDRESS] = str_from(&k->nets[0], sizeof k->nets[0]);
    k->key[GUARD_NETWORK] = str_from(&k->nets[1], sizeof k->nets[1]);
}

static struct suspect *find(struct guard *g, int scope, struct str key)
{
    struct map_node *node = map_find(&g->tables[scope].map, str_hash(key, g->key));
    for (; node; node = map_next(node)) {
        struct suspect *s = CONTAINER(node, struct suspect, node);
        if (str_eq(str_from(s->key, s->n_key), key))
            return s;
    }
    return NULL;
}

static void make_room(struct guard *g, int scope, uint64_t now)
{
    struct guard_table *t = &g->tables[scope];
    struct suspect *least = NULL;
    struct list *it = t->suspects.prev;
    for (int i = 0; i < CANDIDATES && it != &t->suspects; i++, it = it->prev) {
        struct suspect *s = CONTAINER(it, struct suspect, link);
        uint64_t weight = level_at(g, scope, s, now);
        if (!least || (is_blocked(least, now) && !is_blocked(s, now)) ||
            (is_blocked(least, now) == is_blocked(s, now) &&
             weight < level_at(g, scope, least, now)))
            least = s;
    }
    if (least)
        drop(t, least);
}

static struct suspect *find_or_make(struct guard *g, int scope, struct str key, uint64_t now)
{
    struct guard_table *t = &g->tables[scope];
    struct suspect *s = find(g, scope, key);
    if (s) {
        list_remove(&s->link);
        list_add_head(&t->suspects, &s->link);
        return s;
    }
    if (t->n >= g->conf.entries)
        make_room(g, scope, now);
    s = mem_zero(sizeof *s + key.n);
    s->at = now;
    s->n_key = key.n;
    memcpy(s->key, key.p, key.n);
    map_add(&t->map, &s->node, str_hash(key, g->key));
    list_add_head(&t->suspects, &s->link);
    t->n++;
    return s;
}

/* --- what counts ------------------------------------------------------------------------------ */

static bool is_seen_again(struct suspect *s, uint64_t pair)
{
    for (int i = 0; i < PAIRS; i++)
        if (s->pairs[i] == pair)
            return true;
    s->pairs[s->next_pair++ % PAIRS] = pair;
    return false;
}

static void block(struct guard *g, struct suspect *s, uint64_t now)
{
    uint64_t longest = g->conf.period_ns << DOUBLINGS;
    bool is_long_over = s->blocked_until && now - s->blocked_until > longest;
    s->blocks = is_long_over ? 0 : s->blocks;
    s->blocked_until = now + (g->conf.period_ns << s->blocks);
    s->blocks += s->blocks < DOUBLINGS;
}

/* Seconds 0, 0, 1, 2, 4, 8, ... for the first and the further ones. */
static uint64_t delay_of(const struct guard *g, uint64_t level)
{
    uint64_t failures = (level + POINT / 2) / POINT, most = g->conf.delay_max_ns;
    if (failures <= FREE)
        return 0;
    uint64_t delay = failures - FREE > 20 ? most : NS_PER_SEC << (failures - FREE - 1);
    return delay < most ? delay : most;
}

/* True: a block has begun. */
static bool count_in(struct guard *g, int scope, struct str key, const struct guard_attempt *a,
                     struct guard_answer *out)
{
    struct suspect *s = find_or_make(g, scope, key, a->now);
    /* Half a one less: what has drained away between quick failures does not count. */
    uint64_t limit = (uint64_t)g->conf.failures[scope] * POINT - POINT / 2;
    s->level = level_at(g, scope, s, a->now) + (is_seen_again(s, a->pair) ? AGAIN : POINT);
    s->at = a->now;
    uint64_t delay = scope == GUARD_NETWORK ? 0 : delay_of(g, s->level);
    out->delay_ns = delay > out->delay_ns ? delay : out->delay_ns;
    if (s->level < limit || is_blocked(s, a->now))
        return false;
    block(g, s, a->now);
    out->block_ns[scope] = s->blocked_until - a->now;
    out->n_blocks[scope] = s->blocks;
    return true;
}

void auth_guard_failed(struct guard *g, const struct guard_attempt *a, struct guard_answer *out)
{
    struct keys k;
    *out = (struct guard_answer){0};
    keys_make(&k, a->name, a->peer);
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < GUARD_SCOPES; i++)
        if (k.key[i].n && count_in(g, i, k.key[i], a, out))
            out->blocked |= 1U << i;
    pthread_mutex_unlock(&g->mutex);
}

unsigned auth_guard_check(struct guard *g, struct str name, const struct peer *peer, uint64_t now)
{
    struct keys k;
    unsigned blocked = 0;
    keys_make(&k, name, peer);
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < GUARD_SCOPES; i++) {
        struct suspect *s = k.key[i].n ? find(g, i, k.key[i]) : NULL;
        if (s && is_blocked(s, now))
            blocked |= 1U << i;
    }
    pthread_mutex_unlock(&g->mutex);
    return blocked;
}

uint64_t auth_guard_pair(const struct guard *g, struct str name, struct str password)
{
    const uint64_t key[2] = {str_hash(name, g->key), g->key[1]};
    uint64_t pair = str_hash(password, key);
    return pair ? pair : 1; /* 0 is an empty place */
}

/* --- for the administrator -------------------------------------------------------------------- */

const char *auth_guard_scope(int scope)
{
    static const char *const names[] = {
        [GUARD_ACCOUNT] = "account", [GUARD_ADDRESS] = "address", [GUARD_NETWORK] = "network"};
    return names[scope];
}

static struct net_cidr net_of_suspect(const struct suspect *s)
{
    struct net_cidr net;
    memcpy(&net, s->key, sizeof net);
    return net;
}

static enum rc list_one(const struct guard *g, int scope, const struct suspect *s, uint64_t now,
                        struct arena *arena, struct auth_blocked *out)
{
    char text[AUTH_NET_TEXT];
    struct str what = str_from(s->key, s->n_key);
    if (scope != GUARD_ACCOUNT) {
        struct net_cidr net = net_of_suspect(s);
        what = auth_net_text(&net, text);
    }
    *out = (struct auth_blocked){.scope = auth_guard_scope(scope),
                                 .what = arena_dup(arena, what),
                                 .failures = (level_at(g, scope, s, now) + POINT - 1) / POINT,
                                 .left_ns = s->blocked_until - now};
    return str_is_null(out->what) ? RC_LIMIT : RC_OK;
}

/* Which are meant: of a name, of a network, or all. */
struct meant {
    struct str name;
    const struct net_cidr *net;
    bool all;
};

static bool is_meant(int scope, const struct suspect *s, const struct meant *m)
{
    if (m->all)
        return true;
    if (scope == GUARD_ACCOUNT)
        return m->name.n && str_eq(str_from(s->key, s->n_key), m->name);
    struct net_cidr own = net_of_suspect(s);
    return m->net && auth_nets_overlap(&own, m->net);
}

static enum rc list_scope(const struct guard *g, int scope, const struct meant *m, uint64_t now,
                          struct arena *arena, struct auth_blocked *out, size_t *n)
{
    const struct list *head = &g->tables[scope].suspects;
    for (struct list *it = head->next; it != head && *n < AUTH_LIST_MAX; it = it->next) {
        struct suspect *s = CONTAINER(it, struct suspect, link);
        if (!is_blocked(s, now) || !is_meant(scope, s, m))
            continue;
        TRY(list_one(g, scope, s, now, arena, &out[*n]));
        ++*n;
    }
    return RC_OK;
}

enum rc auth_guard_list(struct guard *g, struct str name, const struct net_cidr *net, uint64_t now,
                        struct arena *arena, struct auth_blocked **out, size_t *out_n)
{
    const struct meant meant = {name, net, !name.n && !net};
    enum rc rc = RC_OK;
    *out_n = 0;
    *out = arena_alloc(arena, AUTH_LIST_MAX * sizeof **out);
    if (!*out)
        return RC_LIMIT;
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < GUARD_SCOPES && rc == RC_OK; i++)
        rc = list_scope(g, i, &meant, now, arena, *out, out_n);
    pthread_mutex_unlock(&g->mutex);
    return rc;
}

size_t auth_guard_remove(struct guard *g, struct str name, const struct net_cidr *net, bool all,
                         uint64_t now)
{
    const struct meant meant = {name, net, all};
    size_t n = 0;
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < GUARD_SCOPES; i++) {
        LIST_EACH_SAFE (&g->tables[i].suspects, it) {
            struct suspect *s = CONTAINER(it, struct suspect, link);
            if (!is_meant(i, s, &meant))
                continue;
            n += is_blocked(s, now);
            drop(&g->tables[i], s);
        }
    }
    pthread_mutex_unlock(&g->mutex);
    return n;
}

/* --- over restarts ---------------------------------------------------------------------------- */

struct str auth_guard_key(int scope, struct str name, const struct net_cidr *net)
{
    return scope == GUARD_ACCOUNT ? name : str_from(net, sizeof *net);
}

bool auth_guard_restore(struct guard *g, int scope, struct str key, const struct guard_block *block,
                        uint64_t now)
{
    uint64_t longest = g->conf.period_ns << DOUBLINGS;
    bool has_room = g->tables[scope].n < g->conf.entries;
    if (!block->left_ns || !has_room)
        return false;
    pthread_mutex_lock(&g->mutex);
    struct suspect *s = find_or_make(g, scope, key, now);
    s->blocked_until = now + (block->left_ns < longest ? block->left_ns : longest);
    s->blocks = block->n < DOUBLINGS ? block->n : DOUBLINGS;
    pthread_mutex_unlock(&g->mutex);
    return true;
}
