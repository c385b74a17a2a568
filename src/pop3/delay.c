/* LOGIN-DELAY [RFC2449 6.5]: who logged in last, when.
 *
 * Invariants: an account is remembered for as long as its next login would be too soon, and no
 * longer; so the memory is bounded by the logins of that time. In memory alone: a restart forgives.
 */
#include "pop3/pop3_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct entry {
    struct map_node node;
    struct list link; /* the oldest first */
    uint64_t account, at;
};

void pop3_delays_init(struct pop3_delays *d)
{
    pthread_mutex_init(&d->mutex, NULL);
    map_init(&d->by_account);
    list_init(&d->by_time);
}

static void forget(struct pop3_delays *d, struct entry *e)
{
    list_remove(&e->link);
    map_remove(&d->by_account, &e->node);
    free(e);
}

void pop3_delays_fini(struct pop3_delays *d)
{
    LIST_EACH_SAFE (&d->by_time, it)
        forget(d, CONTAINER(it, struct entry, link));
    map_fini(&d->by_account);
    pthread_mutex_destroy(&d->mutex);
}

static struct entry *find(struct pop3_delays *d, uint64_t account)
{
    struct map_node *node = map_find(&d->by_account, map_hash_u64(account));
    while (node && CONTAINER(node, struct entry, node)->account != account)
        node = map_next(node);
    return node ? CONTAINER(node, struct entry, node) : NULL;
}

bool pop3_delays_may_log_in(struct pop3_delays *d, uint64_t account, uint64_t now,
                            uint64_t delay_ns)
{
    if (!delay_ns)
        return true;
    pthread_mutex_lock(&d->mutex);
    LIST_EACH_SAFE (&d->by_time, it) {
        struct entry *e = CONTAINER(it, struct entry, link);
        if (now - e->at < delay_ns)
            break;
        forget(d, e);
    }
    bool is_free = !find(d, account);
    if (is_free) {
        struct entry *e = mem_zero(sizeof *e);
        e->account = account;
        e->at = now;
        map_add(&d->by_account, &e->node, map_hash_u64(account));
        list_add_tail(&d->by_time, &e->link);
    }
    pthread_mutex_unlock(&d->mutex);
    return is_free;
}
