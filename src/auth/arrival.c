/* Logins from a new place: what is known of an account's places is place.c's; here is who is told
 * of another one, and when.
 *
 * Invariants: of one account and place there is one arrival at a time; at most ARRIVALS are under
 * way, further ones are logged and not told; a place is noted after its owner was told, not before,
 * so that being told is never lost. Where nobody is to be told, it is noted at once.
 */
#include "auth/arrival.h"
#include "auth/login_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { ARRIVALS = 1000 };

struct arrival {
    struct auth_arrival facts;
    struct list link;
    struct net_cidr net;
    char text[]; /* name, peer */
};

void auth_arrivals_init(struct arrivals *a)
{
    *a = (struct arrivals){0};
    pthread_mutex_init(&a->mutex, NULL);
    pthread_rwlock_init(&a->lock, NULL);
    list_init(&a->pending);
}

void auth_arrivals_fini(struct arrivals *a)
{
    pthread_rwlock_destroy(&a->lock);
    pthread_mutex_destroy(&a->mutex);
}

void auth_listen(struct auth *auth, struct auth_listener *listener)
{
    pthread_rwlock_wrlock(&auth->arrivals.lock);
    auth->arrivals.listener = listener;
    pthread_rwlock_unlock(&auth->arrivals.lock);
}

static bool is_same(const struct net_cidr *a, const struct net_cidr *b)
{
    return a->bits == b->bits && memcmp(&a->net, &b->net, sizeof a->net) == 0;
}

/* RC_EXISTS: its owner is being told of this place already. RC_LIMIT: too many are. */
static enum rc add(struct arrivals *a, struct arrival *made)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&a->mutex);
    LIST_EACH (&a->pending, it) {
        const struct arrival *old = CONTAINER(it, struct arrival, link);
        if (old->facts.account == made->facts.account && is_same(&old->net, &made->net))
            rc = RC_EXISTS;
    }
    if (rc == RC_OK && a->n >= ARRIVALS)
        rc = RC_LIMIT;
    if (rc == RC_OK) {
        list_add_tail(&a->pending, &made->link);
        a->n++;
    }
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

static void drop(struct arrivals *a, struct arrival *it)
{
    pthread_mutex_lock(&a->mutex);
    list_remove(&it->link);
    a->n--;
    pthread_mutex_unlock(&a->mutex);
    free(it);
}

static struct arrival *arrival_new(struct auth *auth, const struct who *who,
                                   const struct told *told, uint64_t account)
{
    size_t n = told->name.n;
    struct arrival *a = mem_zero(sizeof *a + n + told->peer.n);
    memcpy(a->text, told->name.p, n);
    memcpy(a->text + n, told->peer.p, told->peer.n);
    a->net = auth_peer_net(&who->peer, REACH_NETWORK);
    a->facts = (struct auth_arrival){.name = str_from(a->text, n),
                                     .peer = str_from(a->text + n, told->peer.n),
                                     .protocol = told->protocol,
                                     .account = account,
                                     .time = clock_wall(auth->ctx->clock)};
    return a;
}

/* False: nobody listens. */
static bool tell(struct arrivals *a, const struct arrival *it)
{
    pthread_rwlock_rdlock(&a->lock);
    struct auth_listener *listener = a->listener;
    if (listener)
        listener->arrived(listener, &it->facts);
    pthread_rwlock_unlock(&a->lock);
    return listener;
}

static void log_place(struct auth *auth, const struct told *told, uint64_t account,
                      const char *mail)
{
    struct log_line l;
    counter_add(auth->ctx->counters, COUNTER_LOGINS_NEW_PLACE, 1);
    log_begin(&l, auth->ctx->log, LOG_INFO, "login-new-place");
    log_str(&l, "session", told->session);
    log_str(&l, "peer", told->peer);
    log_text(&l, "protocol", told->protocol);
    log_str(&l, "address", told->name);
    log_u64(&l, "account", account);
    log_text(&l, "mail", mail);
    log_end(&l);
    auth_note(auth, TRACE_NEW_PLACE, told, told->name, str_of(mail));
}

void auth_place_arrive(struct auth *auth, const struct who *who, const struct told *told,
                       uint64_t account)
{
    struct net_cidr net = auth_peer_net(&who->peer, REACH_NETWORK);
    struct place_state state;
    enum place_news news = (enum place_news)atomic_load(&auth->arrivals.news);
    if (auth_place_look(auth, account, &net, &state) != RC_OK)
        return;
    if (state.is_known || state.is_first || news == PLACE_NEWS_OFF) {
        auth_place_note(auth, account, &net, false);
        return;
    }
    const char *mail = news == PLACE_NEWS_LOG                                   ? "off"
                       : state.mails >= atomic_load(&auth->arrivals.most_mails) ? "enough-today"
                                                                                : NULL;
    struct arrival *a = mail ? NULL : arrival_new(auth, who, told, account);
    enum rc rc = a ? add(&auth->arrivals, a) : RC_OK;
    if (rc == RC_EXISTS) {
        free(a);
        return;
    }
    if (rc == RC_LIMIT) {
        free(a);
        a = NULL;
        mail = "too-many-at-once";
    }
    log_place(auth, told, account, a ? "to-be-sent" : mail);
    if (a && tell(&auth->arrivals, a))
        return;
    if (a)
        drop(&auth->arrivals, a);
    auth_place_note(auth, account, &net, false);
}

void auth_arrival_told(struct auth *auth, const struct auth_arrival *arrival, enum rc rc)
{
    struct arrival *a = CONTAINER((struct auth_arrival *)(uintptr_t)arrival, struct arrival, facts);
    if (rc == RC_OK || rc == RC_LIMIT || rc == RC_NOTFOUND)
        auth_place_note(auth, a->facts.account, &a->net, rc == RC_OK);
    drop(&auth->arrivals, a);
}
