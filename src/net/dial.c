/* Connections to other hosts: their beginning, and why they have failed.
 *
 * The socket is made at once, so that a lack of sockets is told at once; all else happens on the
 * connection's loop, and whatever fails there is told by close(). What such a connection has beyond
 * one that was accepted is in struct dialed. No name is looked up here. */
#include "net/net_int.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNECT_MS = 30000 };

/* --- failures */

void dial_fail(struct conn *c, enum net_failure failure, const char *cause)
{
    char text[NET_ERROR_TEXT];
    if (!c->ours || c->ours->error.failure != NET_FAILED_NOT || failure == NET_FAILED_NOT)
        return;
    struct net_error *e = &c->ours->error;
    e->failure = failure;
    if (failure == NET_FAILED_CONNECT || failure == NET_FAILED_SOURCE ||
        failure == NET_FAILED_BROKEN)
        e->error = c->error;
    if (!cause)
        cause = e->error ? strerror_r(e->error, text, sizeof text) : "the connection ended";
    if (!e->text[0]) /* TLS has its own words */
        snprintf(e->text, sizeof e->text, "%s%s",
                 failure == NET_FAILED_SOURCE ? "the source address cannot be used: " : "", cause);
}

const struct net_error *net_error(struct conn *c)
{
    static const struct net_error none = {0};
    return c->ours ? &c->ours->error : &none;
}

/* --- connecting */

/* The form in which the system takes an address of this kind of socket. */
static socklen_t to_system(const struct net_addr *a, struct sockaddr_storage *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = a->sa.sin6_port};
    memset(out, 0, sizeof *out);
    if (!IN6_IS_ADDR_V4MAPPED(&a->sa.sin6_addr)) {
        memcpy(out, &a->sa, sizeof a->sa);
        return sizeof a->sa;
    }
    memcpy(&v4.sin_addr, a->sa.sin6_addr.s6_addr + 12, 4);
    memcpy(out, &v4, sizeof v4);
    return sizeof v4;
}

static socklen_t to_path(const char *path, struct sockaddr_storage *out)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path); /* its length was checked */
    memcpy(out, &un, sizeof un);
    return sizeof un;
}

static bool fail(struct conn *c, enum net_failure failure, int error)
{
    c->error = error;
    dial_fail(c, failure, NULL);
    return false;
}

bool dial_connect(struct conn *c)
{
    struct sockaddr_storage sa;
    const int on = 1;
    const struct net_addr *from = &c->ours->from;
    socklen_t n;
    if (c->fd < 0)
        return fail(c, NET_FAILED_CONNECT, EAFNOSUPPORT);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (from->sa.sin6_family == AF_INET6) {
        n = to_system(from, &sa);
        /* The port is chosen when it is known to where: the same one serves many hosts. */
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (const struct sockaddr *)&sa, n) != 0)
            return fail(c, NET_FAILED_SOURCE, errno);
    }
    n = c->ours->path ? to_path(c->ours->path, &sa) : to_system(&c->peer, &sa);
    c->deadline = loop_now(c->loop) + c->ours->connect_ms * NS_PER_MS;
    c->is_blocked = connect(c->fd, (const struct sockaddr *)&sa, n) != 0;
    if (c->is_blocked && errno != EINPROGRESS)
        return fail(c, NET_FAILED_CONNECT, errno);
    return true;
}

bool dial_finish(struct conn *c)
{
    int error = 0;
    socklen_t n = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        error = errno;
    return error ? fail(c, NET_FAILED_CONNECT, error) : true;
}

/* --- life */

static struct dialed *dialed_new(const struct net_dial *d)
{
    struct dialed *ours = mem_zero(sizeof *ours);
    ours->conf.fd = -1;
    ours->conf.proto = d->proto;
    ours->conf.app = d->app;
    ours->arg = d->arg;
    ours->from = d->from;
    ours->connect_ms = d->connect_ms ? d->connect_ms : CONNECT_MS;
    ours->handshake_ms = d->handshake_ms;
    ours->client = d->tls;
    ours->path = d->path ? mem_dup(d->path, strlen(d->path) + 1) : NULL;
    return ours;
}

void dial_free(struct conn *c)
{
    if (!c->ours)
        return;
    tls_free(&c->ours->tls);
    free(c->ours->path);
    free(c->ours);
    c->ours = NULL;
}

/* The connection, in nobody's hands yet; its place in the limits has been taken. */
static enum rc make(struct net *net, const struct net_dial *d, struct conn **out)
{
    const struct net_addr local = {.sa.sin6_family = AF_UNIX};
    int family = d->path ? AF_UNIX : IN6_IS_ADDR_V4MAPPED(&d->to.sa.sin6_addr) ? AF_INET : AF_INET6;
    if (d->path && strlen(d->path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return RC_SYNTAX;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && errno != EAFNOSUPPORT)
        return RC_TEMP;
    /* A machine without IPv6 is no lack of sockets: connecting will fail, and say so. */
    struct dialed *ours = dialed_new(d);
    struct conn *c = conn_new(net, fd, &ours->conf, d->path ? &local : &d->to);
    c->ours = ours;
    enum rc rc = d->secure ? net_tls_expect(c, d->secure) : RC_OK;
    if (rc == RC_OK) {
        *out = c;
        return RC_OK;
    }
    dial_free(c);
    free(c);
    if (fd >= 0)
        close(fd);
    return rc;
}

enum rc net_dial(struct net *net, const struct net_dial *d)
{
    struct conn *c;
    if (atomic_load(&net->is_draining))
        return RC_TEMP;
    TRY(limits_take_dial(&net->limits));
    enum rc rc = make(net, d, &c);
    if (rc != RC_OK) {
        pthread_mutex_lock(&net->mutex);
        limits_give_dial(&net->limits);
        pthread_cond_broadcast(&net->changed);
        pthread_mutex_unlock(&net->mutex);
        return rc;
    }
    counter_add(net->ctx->counters, COUNTER_DIALS, 1);
    counter_add(net->ctx->counters, COUNTER_DIALS_OPEN, 1);
    c->is_open = true;
    unsigned turn =
        d->loop ? d->loop - 1 : atomic_fetch_add_explicit(&net->next_loop, 1, memory_order_relaxed);
    loop_arrive(&net->loops[turn % net->n_loops], c);
    return RC_OK;
}

void *net_arg(struct conn *c)
{
    return c->ours ? c->ours->arg : NULL;
}

/* --- TLS */

enum rc net_tls_expect(struct conn *c, const struct net_tls_want *want)
{
    if (!c->ours || !c->ours->client || c->tls)
        return RC_TEMP;
    tls_free(&c->ours->tls);
    return tls_client_open(c->ours->client, c->fd, want, &c->ours->tls);
}

enum net_tls_proof net_tls_proof(struct conn *c)
{
    return c->ours && c->tls && c->is_secure ? tls_client_proof(c->tls) : NET_PROOF_NONE;
}
