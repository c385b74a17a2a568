/* Listeners: accepting on the first loop, dealing connections out to all loops in turn.
 *
 * A connection over a limit gets the protocol's busy text and is closed at once: nothing of it
 * remains. When the system has no file or memory for another connection, accepting pauses: the
 * socket stays readable, and without the pause the loop would spin. */
#include "net/net_int.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 64, PAUSE_MS = 100 };

/* IPv4 in its mapped form; everything that is not IP has no address. */
static struct net_addr addr_of(const struct sockaddr_storage *from)
{
    struct net_addr to = {.sa.sin6_family = AF_UNIX};
    if (from->ss_family == AF_INET6) {
        memcpy(&to.sa, from, sizeof to.sa);
    } else if (from->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof v4);
        to.sa.sin6_family = AF_INET6;
        to.sa.sin6_port = v4.sin_port;
        to.sa.sin6_addr.s6_addr[10] = to.sa.sin6_addr.s6_addr[11] = 0xff;
        memcpy(to.sa.sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
    }
    return to;
}

const struct net_addr *net_local(struct conn *c)
{
    struct sockaddr_storage sa = {0};
    socklen_t n = sizeof sa;
    if (!c->has_local) {
        if (getsockname(c->fd, (struct sockaddr *)&sa, &n) != 0)
            sa.ss_family = AF_UNSPEC;
        c->local = addr_of(&sa);
        c->has_local = true;
    }
    return &c->local;
}

/* Says that the server is busy; what does not go out at once is not worth waiting for. */
static void refuse(struct net *net, int fd, const struct net_listener *conf)
{
    struct str busy = str_of(conf->proto->busy);
    counter_add(net->ctx->counters, COUNTER_CONNECTIONS_REFUSED, 1);
    if (!conf->is_tls && busy.n && send(fd, busy.p, busy.n, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        shutdown(fd, SHUT_WR);
    close(fd);
}

/* Takes the socket, whatever happens. One that comes from a listener is accepted on the first loop,
 * where every other connection or so can begin without a detour. */
static enum rc admit(struct net *net, int fd, const struct net_listener *as,
                     struct listener *listener, const struct net_addr *peer)
{
    bool is_counted = false, is_behind = behind_is_expected(as, peer);
    enum rc rc = RC_TEMP;
    if (!atomic_load(&net->is_draining))
        rc = is_behind ? limits_take_unnamed(&net->limits)
                       : limits_take(&net->limits, peer, &is_counted);
    if (rc != RC_OK) {
        refuse(net, fd, as);
        return rc;
    }
    counter_add(net->ctx->counters, COUNTER_CONNECTIONS, 1);
    counter_add(net->ctx->counters, COUNTER_CONNECTIONS_OPEN, 1);
    struct conn *c = conn_new(net, fd, as, peer);
    c->is_counted = is_counted;
    c->phase = is_behind ? PHASE_PROXY : c->phase;
    if (listener) {
        c->listener = listener;
        atomic_fetch_add(&listener->refs, 1);
        atomic_fetch_add(&net->services[listener->service].open, 1);
    }
    unsigned turn = atomic_fetch_add_explicit(&net->next_loop, 1, memory_order_relaxed);
    struct loop *l = &net->loops[turn % net->n_loops];
    if (listener && l->index == 0)
        conn_begin(l, c);
    else
        loop_arrive(l, c);
    return RC_OK;
}

enum rc net_adopt(struct net *net, int fd, const struct net_listener *as)
{
    struct sockaddr_storage sa = {0};
    socklen_t n = sizeof sa;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        getpeername(fd, (struct sockaddr *)&sa, &n) != 0) {
        enum rc rc = rc_from_errno(errno);
        close(fd);
        return rc;
    }
    struct net_addr peer = addr_of(&sa);
    return admit(net, fd, as, NULL, &peer);
}

/* False when accepting must pause for lack of something that other connections hold. */
static bool is_passing(int error)
{
    return error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM;
}

static void pause_accepting(struct listener *listener, int error)
{
    struct log_line line;
    log_begin(&line, listener->net->ctx->log, LOG_WARNING, "accept-paused");
    log_text(&line, "listener", listener->conf.proto->name);
    log_text(&line, "cause", strerror(error));
    log_end(&line);
    struct loop *l = &listener->net->loops[0];
    loop_listen_pause(listener, true);
    loop_timer(l, &listener->retry, loop_now(l) + PAUSE_MS * NS_PER_MS);
}

static void listener_retry(struct net_timer *t)
{
    loop_listen_pause(CONTAINER(t, struct listener, retry), false);
}

void listener_accept(struct listener *listener)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage sa = {0};
        socklen_t n = sizeof sa;
        int fd =
            accept4(listener->conf.fd, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            struct net_addr peer = addr_of(&sa);
            if (admit(listener->net, fd, &listener->conf, listener, &peer) != RC_OK)
                continue; /* refused, counted and closed */
        } else if (errno == EAGAIN) {
            return;
        } else if (!is_passing(errno)) {
            pause_accepting(listener, errno);
            return;
        } /* else that one connection has failed before it was accepted */
    }
}

/* --- which listeners there are ---------------------------------------------------------------- */

/* The services' names are few and come before the connections that count for them. */
static unsigned service_of(struct net *net, const struct net_listener *conf)
{
    const char *name = conf->name ? conf->name : conf->proto->name;
    unsigned n = atomic_load(&net->n_services);
    for (unsigned i = 0; i < n; i++)
        if (strcmp(net->services[i].name, name) == 0)
            return i;
    if (n == NET_SERVICES)
        return n - 1;
    net->services[n].name = name;
    atomic_store(&net->n_services, n + 1);
    return n;
}

size_t net_services(struct net *net, struct net_service out[NET_SERVICES])
{
    unsigned n = atomic_load(&net->n_services);
    for (unsigned i = 0; i < n; i++)
        out[i] = (struct net_service){net->services[i].name, atomic_load(&net->services[i].open)};
    return n;
}

static enum rc listener_new(struct net *net, const struct net_listener *conf, struct listener **out)
{
    const int on = 1;
    int flags = fcntl(conf->fd, F_GETFL);
    if (flags < 0 || fcntl(conf->fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return rc_from_errno(errno);
    /* Accepted sockets inherit it: answers are written whole, and Nagle would hold the second of
     * two. On a Unix socket it fails, as it should. */
    if (setsockopt(conf->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 && errno == EBADF)
        return RC_PERM;
    struct listener *listener = mem_zero(sizeof *listener);
    listener->conf = *conf;
    listener->net = net;
    listener->retry.fn = listener_retry;
    listener->service = service_of(net, conf);
    atomic_init(&listener->refs, 1);
    *out = listener;
    return RC_OK;
}

void listener_unref(struct listener *listener)
{
    if (atomic_fetch_sub(&listener->refs, 1) != 1)
        return;
    if (listener->conf.released)
        listener->conf.released(&listener->conf);
    free(listener);
}

enum rc net_listen(struct net *net, const struct net_listener *conf)
{
    struct listener *listener;
    TRY(listener_new(net, conf, &listener));
    list_add_tail(&net->listeners, &listener->link);
    return loop_listen(&net->loops[0], listener) ? RC_OK : RC_TEMP;
}

/* Takes them off again: they were never listened on, so nothing is released. */
static void forget_next(struct list *next)
{
    LIST_EACH_SAFE (next, it)
        free(CONTAINER(it, struct listener, link));
    list_init(next);
}

enum rc net_relisten(struct net *net, const struct net_listener *listeners, size_t n)
{
    struct list next;
    enum rc rc = RC_OK;
    list_init(&next);
    for (size_t i = 0; i < n && rc == RC_OK; i++) {
        struct listener *listener;
        rc = listener_new(net, &listeners[i], &listener);
        if (rc == RC_OK)
            list_add_tail(&next, &listener->link);
    }
    if (rc == RC_OK && atomic_load(&net->is_draining))
        rc = RC_TEMP;
    if (rc != RC_OK) {
        forget_next(&next);
        return rc;
    }
    pthread_mutex_lock(&net->mutex);
    list_splice_tail(&net->next, &next);
    net->has_next = true;
    loop_ask(&net->loops[0], ASK_LISTEN);
    while (net->has_next)
        pthread_cond_wait(&net->changed, &net->mutex);
    pthread_mutex_unlock(&net->mutex);
    return RC_OK;
}

/* The sockets of the old ones stay as they are, what waits in them is accepted by the new ones. */
static void replace(struct net *net, struct list *next)
{
    struct loop *l = &net->loops[0];
    uint64_t now = loop_now(l);
    LIST_EACH_SAFE (&net->listeners, it) {
        struct listener *old = CONTAINER(it, struct listener, link);
        list_remove(it);
        loop_listen_end(old);
        atomic_store(&old->replaced_at, now);
        listener_unref(old);
    }
    LIST_EACH_SAFE (next, it) {
        struct listener *listener = CONTAINER(it, struct listener, link);
        list_remove(it);
        list_add_tail(&net->listeners, it);
        if (!loop_listen(l, listener))
            log_event(net->ctx->log, LOG_ERROR, "not-listening", "service",
                      net->services[listener->service].name, NULL);
    }
    if (!net->overdue.place)
        loop_timer(l, &net->overdue, now + atomic_load(&net->old_ms) * NS_PER_MS);
}

void listeners_replace(struct net *net)
{
    struct list next;
    list_init(&next);
    pthread_mutex_lock(&net->mutex);
    list_splice_tail(&next, &net->next);
    pthread_mutex_unlock(&net->mutex);
    replace(net, &next);
    pthread_mutex_lock(&net->mutex);
    net->has_next = false;
    pthread_cond_broadcast(&net->changed);
    pthread_mutex_unlock(&net->mutex);
}

bool conn_is_overdue(const struct conn *c)
{
    uint64_t at = c->listener ? atomic_load(&c->listener->replaced_at) : 0;
    const struct net *net = c->loop->net;
    return at && loop_now(c->loop) - at >= atomic_load(&net->old_ms) * NS_PER_MS;
}

/* Again after a while: other listeners may have been replaced since. Costs nothing worth saving. */
void listener_overdue(struct net_timer *t)
{
    struct net *net = CONTAINER(t, struct net, overdue);
    struct loop *first = &net->loops[0];
    uint64_t again = atomic_load(&net->old_ms) / 8 + 1000;
    for (unsigned i = 0; i < net->n_loops; i++)
        loop_ask(&net->loops[i], ASK_OVERDUE);
    loop_timer(first, t, loop_now(first) + again * NS_PER_MS);
}
