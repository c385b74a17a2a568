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

/* Takes the socket, whatever happens. */
static enum rc admit(struct net *net, int fd, const struct net_listener *conf,
                     const struct net_addr *peer)
{
    enum rc rc = atomic_load(&net->is_draining) ? RC_TEMP : limits_take(&net->limits, peer);
    if (rc != RC_OK) {
        refuse(net, fd, conf);
        return rc;
    }
    counter_add(net->ctx->counters, COUNTER_CONNECTIONS, 1);
    counter_add(net->ctx->counters, COUNTER_CONNECTIONS_OPEN, 1);
    struct conn *c = conn_new(net, fd, conf, peer);
    unsigned turn = atomic_fetch_add_explicit(&net->next_loop, 1, memory_order_relaxed);
    loop_arrive(&net->loops[turn % net->n_loops], c);
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
    return admit(net, fd, as, &peer);
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

void listener_retry(struct net_timer *t)
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
            if (admit(listener->net, fd, &listener->conf, &peer) != RC_OK)
                continue; /* refused, counted and closed */
        } else if (errno == EAGAIN) {
            return;
        } else if (!is_passing(errno)) {
            pause_accepting(listener, errno);
            return;
        } /* else that one connection has failed before it was accepted */
    }
}

enum rc net_listen(struct net *net, const struct net_listener *conf)
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
    list_add_tail(&net->listeners, &listener->link);
    return loop_listen(&net->loops[0], listener) ? RC_OK : RC_TEMP;
}
