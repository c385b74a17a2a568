/* Whose password is hashed next. Hashing is slow by design, so that whoever guesses passwords could
 * keep everybody else waiting: logins wait by the network that they come from (an IPv4 address, an
 * IPv6 /64), and the networks take turns. Who comes from a place where the account has been before
 * goes before strangers, but for every fourth turn, so that guessing from very many networks does
 * not keep owners waiting. When there are too many, the network with the most gives up its newest;
 * an owner takes a stranger's place in any case.
 *
 * Invariants: a network is in a list exactly while something of it waits there; the number of
 * networks is bounded by that of logins, so that a list will do.
 */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { STRANGERS_TURN = 4 };

struct network {
    struct list link; /* in the order of their turns */
    struct list turns;
    size_t n;
    struct net_cidr net;
};

void auth_turns_init(struct turns *t)
{
    pthread_mutex_init(&t->mutex, NULL);
    t->n_turns = 0;
    for (int i = 0; i < TURN_CLASSES; i++)
        list_init(&t->networks[i]);
}

void auth_turns_fini(struct turns *t)
{
    pthread_mutex_destroy(&t->mutex);
}

static struct network *find(struct list *networks, const struct net_cidr *net)
{
    LIST_EACH (networks, it) {
        struct network *n = CONTAINER(it, struct network, link);
        if (memcmp(&n->net, net, sizeof *net) == 0)
            return n;
    }
    return NULL;
}

static struct network *longest(struct list *networks)
{
    struct network *most = NULL;
    LIST_EACH (networks, it) {
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

static void add(struct list *networks, const struct net_cidr *net, struct turn *turn)
{
    struct network *n = find(networks, net);
    if (!n) {
        n = mem_zero(sizeof *n);
        n->net = *net;
        list_init(&n->turns);
        list_add_tail(networks, &n->link);
    }
    list_add_tail(&n->turns, &turn->link);
    n->n++;
}

void auth_turns_add(struct turns *t, struct turn *turn, const struct peer *peer,
                    enum turn_class class)
{
    struct net_cidr net = auth_peer_net(peer, REACH_ADDRESS);
    pthread_mutex_lock(&t->mutex);
    add(&t->networks[class], &net, turn);
    pthread_mutex_unlock(&t->mutex);
}

/* The network that has to give one up for another of `net`; NULL: none. */
static struct network *loser(struct turns *t, const struct net_cidr *net, enum turn_class class)
{
    struct network *strangers = longest(&t->networks[TURN_STRANGER]);
    if (class == TURN_OWNER && strangers)
        return strangers;
    struct network *own = find(&t->networks[class], net), *most = longest(&t->networks[class]);
    return most && most->n > (own ? own->n : 0) + 1 ? most : NULL;
}

struct turn *auth_turns_replace(struct turns *t, struct turn *turn, const struct peer *peer,
                                enum turn_class class)
{
    struct net_cidr net = auth_peer_net(peer, REACH_ADDRESS);
    struct turn *out = NULL;
    pthread_mutex_lock(&t->mutex);
    struct network *n = loser(t, &net, class);
    if (n) {
        out = CONTAINER(n->turns.prev, struct turn, link);
        take_out(n, out);
        add(&t->networks[class], &net, turn);
    }
    pthread_mutex_unlock(&t->mutex);
    return out;
}

static struct turn *next_of(struct list *networks)
{
    struct list *first = list_first(networks);
    if (!first)
        return NULL;
    struct network *n = CONTAINER(first, struct network, link);
    struct turn *turn = CONTAINER(list_first(&n->turns), struct turn, link);
    list_remove(first);
    list_add_tail(networks, first);
    take_out(n, turn);
    return turn;
}

struct turn *auth_turns_next(struct turns *t)
{
    pthread_mutex_lock(&t->mutex);
    enum turn_class first = ++t->n_turns % STRANGERS_TURN ? TURN_OWNER : TURN_STRANGER;
    enum turn_class other = first == TURN_OWNER ? TURN_STRANGER : TURN_OWNER;
    struct turn *turn = next_of(&t->networks[first]);
    if (!turn)
        turn = next_of(&t->networks[other]);
    pthread_mutex_unlock(&t->mutex);
    return turn;
}
