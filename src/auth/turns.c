/* Whose password is hashed next. Hashing is slow by design, so that whoever guesses passwords could
 * keep everybody else waiting: logins wait by the network that they come from (an IPv4 address, an
 * IPv6 /64), and the networks take turns. When there are too many, the network with the most gives
 * up its newest.
 *
 * Invariants: a network is in the list exactly while something of it waits; the number of networks
 * is bounded by that of logins, so that a list will do.
 */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct network {
    struct list link; /* in the order of their turns */
    struct list turns;
    size_t n;
    struct net_cidr net;
};

void auth_turns_init(struct turns *t)
{
    pthread_mutex_init(&t->mutex, NULL);
    list_init(&t->networks);
}

void auth_turns_fini(struct turns *t)
{
    pthread_mutex_destroy(&t->mutex);
}

static struct network *find(struct turns *t, const struct net_cidr *net)
{
    LIST_EACH (&t->networks, it) {
        struct network *n = CONTAINER(it, struct network, link);
        if (memcmp(&n->net, net, sizeof *net) == 0)
            return n;
    }
    return NULL;
}

static struct network *longest(struct turns *t)
{
    struct network *most = NULL;
    LIST_EACH (&t->networks, it) {
        struct network *n = CONTAINER(it, struct network, link);
        if (!most || n->n > most->n)
            most = n;
    }
    return most;
}

static void take_out(struct network *n, struct turn *turn)
{
    list_remove(&turn->link);
    if (--n->n)
        return;
    list_remove(&n->link);
    free(n);
}

static void add(struct turns *t, struct network *n, const struct net_cidr *net, struct turn *turn)
{
    if (!n) {
        n = mem_zero(sizeof *n);
        n->net = *net;
        list_init(&n->turns);
        list_add_tail(&t->networks, &n->link);
    }
    list_add_tail(&n->turns, &turn->link);
    n->n++;
}

void auth_turns_add(struct turns *t, struct turn *turn, const struct peer *peer)
{
    struct net_cidr net = auth_peer_net(peer, REACH_ADDRESS);
    pthread_mutex_lock(&t->mutex);
    add(t, find(t, &net), &net, turn);
    pthread_mutex_unlock(&t->mutex);
}

struct turn *auth_turns_replace(struct turns *t, struct turn *turn, const struct peer *peer)
{
    struct net_cidr net = auth_peer_net(peer, REACH_ADDRESS);
    struct turn *out = NULL;
    pthread_mutex_lock(&t->mutex);
    struct network *own = find(t, &net), *most = longest(t);
    if (most && most->n > (own ? own->n : 0) + 1) {
        out = CONTAINER(most->turns.prev, struct turn, link);
        take_out(most, out);
        add(t, own, &net, turn);
    }
    pthread_mutex_unlock(&t->mutex);
    return out;
}

struct turn *auth_turns_next(struct turns *t)
{
    struct turn *turn = NULL;
    pthread_mutex_lock(&t->mutex);
    struct list *first = list_first(&t->networks);
    if (first) {
        struct network *n = CONTAINER(first, struct network, link);
        turn = CONTAINER(list_first(&n->turns), struct turn, link);
        list_remove(first);
        list_add_tail(&t->networks, first);
        take_out(n, turn);
    }
    pthread_mutex_unlock(&t->mutex);
    return turn;
}
