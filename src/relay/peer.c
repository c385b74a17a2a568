/* Peers: addresses of hosts, and the links to them.
 *
 * A peer is known by all that matters to a session: address, name, protocol, TLS, login and where
 * the connection comes from; destinations with equal targets share it, and its links. Its window is
 * how many links it may have: few at first, one more for each success as long as all are in use,
 * fewer when it refuses one. With no link left that works, it is left alone for a time.
 *
 * Places: links that have been answered take one of `connections`. New ones have as many of their
 * own, and one that is not answered within limits.slow gives its place away. As many again may be
 * so slow; when they are, only hosts that have answered before get new ones, so that hosts which
 * never answer do not hold up those which do. */
#include "relay/schedule_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_FIRST = 5 }; /* once the first link has been answered */

/* --- who is who ------------------------------------------------------------------------------- */

static bool same_address(const struct net_addr *a, const struct net_addr *b)
{
    return a->sa.sin6_family == b->sa.sin6_family && a->sa.sin6_port == b->sa.sin6_port &&
           memcmp(&a->sa.sin6_addr, &b->sa.sin6_addr, sizeof a->sa.sin6_addr) == 0;
}

static bool same_tlsa(const struct relay_target *a, const struct relay_target *b)
{
    if (a->n_tlsa != b->n_tlsa)
        return false;
    for (size_t i = 0; i < a->n_tlsa; i++) {
        const struct relay_tlsa *x = &a->tlsa[i], *y = &b->tlsa[i];
        if (x->usage != y->usage || x->selector != y->selector || x->matching != y->matching ||
            !str_eq(x->data, y->data))
            return false;
    }
    return true;
}

static bool same_names(const struct relay_target *a, const struct relay_target *b)
{
    if (a->n_names != b->n_names)
        return false;
    for (size_t i = 0; i < a->n_names; i++)
        if (!str_eq(a->names[i], b->names[i]))
            return false;
    return true;
}

/* What TLS must show, and what is counted of it. */
static bool same_policy(const struct relay_target *a, const struct relay_target *b)
{
    return a->tls == b->tls && a->has_dane == b->has_dane && a->must_tls == b->must_tls &&
           a->is_trusted == b->is_trusted && a->tries_proof == b->tries_proof &&
           a->requires_tls == b->requires_tls && a->policy == b->policy && same_tlsa(a, b) &&
           same_names(a, b);
}

static bool same_target(const struct relay_target *a, const struct relay_target *b)
{
    return same_address(&a->addr, &b->addr) && str_eq(a->host, b->host) &&
           a->protocol == b->protocol && same_policy(a, b) && str_eq(a->name, b->name) &&
           str_eq(a->login, b->login) && str_eq(a->password, b->password) &&
           a->has_source == b->has_source &&
           (!a->has_source || same_address(&a->source, &b->source));
}

static uint64_t hash_of(const struct schedule *s, const struct relay_target *t)
{
    uint64_t address =
        str_hash(str_from(&t->addr.sa.sin6_addr, sizeof t->addr.sa.sin6_addr), s->key);
    return address ^ str_hash(t->host, s->key) ^ t->addr.sa.sin6_port;
}

void peer_text(const struct peer *p, char out[FAILURE_HOST])
{
    char ip[NET_IP_TEXT] = "";
    const struct sockaddr_in6 *sa = &p->target.addr.sa;
    struct str host = str_head(p->target.host, FAILURE_HOST - sizeof ip - 2);
    if (sa->sin6_family == AF_INET6)
        net_ip_text(&sa->sin6_addr, ip);
    snprintf(out, FAILURE_HOST, ip[0] ? "%.*s[%s]" : "%.*s", STR_ARG(host), ip);
}

/* --- lifetime --------------------------------------------------------------------------------- */

static char *keep(char *to, struct str *text)
{
    if (text->n)
        memcpy(to, text->p, text->n);
    text->p = to;
    return to + text->n;
}

static struct peer *peer_new(const struct relay_target *t)
{
    size_t n = t->host.n + t->name.n + t->login.n + t->password.n;
    for (size_t i = 0; i < t->n_tlsa; i++)
        n += t->tlsa[i].data.n;
    for (size_t i = 0; i < t->n_names; i++)
        n += t->names[i].n;
    struct peer *p =
        mem_zero(sizeof *p + t->n_tlsa * sizeof *t->tlsa + t->n_names * sizeof *t->names + n);
    struct relay_tlsa *tlsa = (struct relay_tlsa *)(p + 1);
    struct str *names = (struct str *)(tlsa + t->n_tlsa);
    char *to = (char *)(names + t->n_names);
    p->target = *t;
    p->target.tlsa = tlsa;
    p->target.names = names;
    to = keep(to, &p->target.host);
    to = keep(to, &p->target.name);
    to = keep(to, &p->target.login);
    to = keep(to, &p->target.password);
    for (size_t i = 0; i < t->n_tlsa; i++) {
        tlsa[i] = t->tlsa[i];
        to = keep(to, &tlsa[i].data);
    }
    for (size_t i = 0; i < t->n_names; i++) {
        names[i] = t->names[i];
        to = keep(to, &names[i]);
    }
    list_init(&p->waiting);
    list_init(&p->idle);
    p->window = 1;
    return p;
}

struct peer *peer_get(struct schedule *s, const struct relay_target *target)
{
    uint64_t hash = hash_of(s, target);
    struct map_node *node = map_find(&s->peers, hash);
    for (; node; node = map_next(node)) {
        struct peer *known = CONTAINER(node, struct peer, node);
        if (!same_target(&known->target, target))
            continue;
        known->n_refs++;
        return known;
    }
    struct peer *p = peer_new(target);
    p->n_refs = 1;
    map_add(&s->peers, &p->node, hash);
    return p;
}

static void free_unused(struct schedule *s, struct peer *p)
{
    if (p->n_refs || p->n_new || p->n_busy || p->n_idle)
        return;
    peer_wake(s, p, SIZE_MAX);
    map_remove(&s->peers, &p->node);
    free(p->failure);
    explicit_bzero((void *)(uintptr_t)p->target.password.p, p->target.password.n);
    free(p);
}

void peer_unref(struct schedule *s, struct peer *p)
{
    p->n_refs--;
    free_unused(s, p);
}

/* --- the window ------------------------------------------------------------------------------- */

static unsigned links_of(const struct peer *p)
{
    return p->n_new + p->n_busy + p->n_idle;
}

bool peer_has_room(const struct schedule *s, const struct peer *p)
{
    unsigned window = p->window < s->limits.per_host ? p->window : s->limits.per_host;
    return links_of(p) < window;
}

/* One whose entries went along with another's batch wants no link, and uses up no turn. */
void peer_wake(struct schedule *s, struct peer *p, size_t n)
{
    while (n && !list_is_empty(&p->waiting)) {
        struct destination *d = CONTAINER(list_first(&p->waiting), struct destination, turn);
        list_remove(&d->turn);
        n -= d->n_entries > 0;
        destination_turn(s, d);
    }
}

/* With links that work it has refused one more than it wants to have; with none it is gone. */
void peer_failed(struct schedule *s, struct link *l, const struct relay_outcome *why, uint64_t now)
{
    struct peer *p = l->peer;
    unsigned working = p->n_busy + p->n_idle - (l->state != LINK_NEW);
    p->window = working ? working : 1;
    if (working)
        return;
    failure_set(&p->failure, why);
    peer_text(p, p->failure->host);
    if (p->until <= now) { /* others that were under way to it say nothing new */
        p->failures++;
        p->until =
            now + backoff_host(&s->limits.backoff, p->failures, s->driver->random(s->driver));
    }
    peer_wake(s, p, SIZE_MAX);
}

void peer_succeeded(struct schedule *s, struct peer *p)
{
    p->failures = 0;
    p->until = 0;
    if (p->window < s->limits.per_host)
        p->window++;
    peer_wake(s, p, 1);
}

/* --- links ------------------------------------------------------------------------------------ */

bool link_is_place(const struct schedule *s)
{
    return s->n_open + s->n_new < s->limits.connections;
}

bool link_may_be_slow(const struct schedule *s, const struct peer *p)
{
    return s->n_slow < s->limits.connections || (p->has_answered && !p->failures);
}

struct link *link_take(struct schedule *s, struct peer *p)
{
    struct list *first = list_first(&p->idle);
    if (!first)
        return NULL;
    struct link *l = CONTAINER(first, struct link, at);
    list_remove(&l->at);
    list_remove(&l->age);
    p->n_idle--;
    p->n_busy++;
    l->state = LINK_BUSY;
    return l;
}

enum rc link_open(struct schedule *s, struct peer *p, uint64_t now, struct link **out)
{
    struct link *l = mem_zero(sizeof *l);
    l->peer = p;
    l->since = now;
    list_init(&l->at);
    list_init(&l->age);
    enum rc rc = s->driver->open(s->driver, l);
    if (rc != RC_OK) {
        free(l);
        return rc;
    }
    list_add_tail(&s->fresh, &l->age);
    p->n_new++;
    s->n_new++;
    *out = l;
    return RC_OK;
}

void link_idle(struct schedule *s, struct link *l, uint64_t now)
{
    struct peer *p = l->peer;
    p->n_busy--;
    p->n_idle++;
    l->state = LINK_IDLE;
    l->batch = NULL;
    l->since = now;
    list_add_head(&p->idle, &l->at);
    list_add_tail(&s->idle, &l->age);
    peer_wake(s, p, 1);
}

/* It takes no more; it counts until it is gone. */
void link_close(struct schedule *s, struct link *l)
{
    list_remove(&l->at);
    list_remove(&l->age);
    l->peer->n_idle--;
    l->peer->n_busy++;
    l->state = LINK_BUSY;
    s->driver->close(s->driver, l);
}

void schedule_ready(struct schedule *s, struct link *l)
{
    if (l->state != LINK_NEW)
        return;
    list_remove(&l->age);
    l->state = LINK_BUSY;
    l->peer->n_new--;
    l->peer->n_busy++;
    if (l->is_slow)
        s->n_slow--;
    else
        s->n_new--;
    s->n_open++;
    if (l->peer->has_answered)
        return;
    l->peer->has_answered = true;
    l->peer->window = WINDOW_FIRST;
    peer_wake(s, l->peer, WINDOW_FIRST);
}

void schedule_gone(struct schedule *s, struct link *l)
{
    struct peer *p = l->peer;
    list_remove(&l->at);
    list_remove(&l->age);
    if (l->state == LINK_NEW) {
        p->n_new--;
        if (l->is_slow)
            s->n_slow--;
        else
            s->n_new--;
    } else {
        if (l->state == LINK_BUSY)
            p->n_busy--;
        else
            p->n_idle--;
        s->n_open--;
    }
    if (l->batch)
        l->batch->link = NULL;
    free(l);
    /* Whoever was woken may have gone another way; without links nobody wakes the others. */
    peer_wake(s, p, links_of(p) ? 1 : SIZE_MAX);
    free_unused(s, p);
}
