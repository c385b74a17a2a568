/* Connections from a balancer: what comes first is the header that says who the client is. Until it
 * is there the connection counts for no address, and it says nothing itself.
 *
 * The header is read with exactly its size: what follows, perhaps TLS, stays in the socket. */
#include "net/net_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

bool behind_is_expected(const struct net_listener *listener, const struct net_addr *peer)
{
    for (size_t i = 0; i < listener->n_proxies; i++)
        if (net_cidr_has(&listener->proxies[i], peer))
            return true;
    return false;
}

/* RC_OK: something has come. */
static enum rc receive(struct conn *c, size_t n)
{
    ssize_t got;
    char *to = buf_reserve(&c->in, n);
    do
        got = recv(c->fd, to, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        buf_commit(&c->in, (size_t)got);
        return RC_OK;
    }
    c->is_readable = false;
    return got < 0 && errno == EAGAIN ? RC_AGAIN : RC_EOF;
}

/* Letters, digits and a few signs, as names of versions and suites are made of. */
static void put_name(struct buf *out, struct str name)
{
    for (size_t i = 0; i < name.n && i < 40; i++) {
        bool is_good =
            ascii_is_alpha(name.p[i]) || ascii_is_digit(name.p[i]) || memchr("-_.", name.p[i], 3);
        buf_put(out, is_good ? str_sub(name, i, 1) : STR("?"));
    }
}

static char *tls_words(const struct proxy *p)
{
    struct buf text = {.cap = 120};
    if (!p->is_secure)
        return NULL;
    put_name(&text, p->tls_version.n ? p->tls_version : STR("TLS"));
    if (p->tls_cipher.n)
        buf_put(&text, STR(" "));
    put_name(&text, p->tls_cipher);
    char *words = mem_dup(buf_str(&text).p, buf_len(&text));
    buf_fini(&text);
    return words;
}

static void become(struct conn *c, const struct proxy *p)
{
    if (p->is_local)
        return;
    c->peer = p->from;
    addr_text(&c->peer, c->peer_text);
    c->local = p->to;
    c->has_local = true;
    c->front = tls_words(p);
}

static const char *cause_of(enum rc rc, struct str in)
{
    if (rc == RC_LIMIT)
        return "a PROXY header that is too long";
    if (str_starts(in, STR("PROXY ")) || (in.n < 6 && str_starts(STR("PROXY "), in)))
        return "a header of PROXY version 1: the balancer is to send version 2";
    return "no header of PROXY version 2 from a balancer";
}

enum rc behind_read(struct conn *c, const char **out_cause)
{
    struct proxy proxy;
    size_t size;
    enum rc rc;
    while ((rc = proxy_size(buf_str(&c->in), &size)) == RC_AGAIN)
        TRY(receive(c, size - buf_len(&c->in)));
    if (rc == RC_OK)
        rc = proxy_parse(buf_str(&c->in), &proxy);
    if (rc != RC_OK) {
        *out_cause = cause_of(rc, buf_str(&c->in));
        counter_add(net_ctx(c)->counters, COUNTER_PROXY_REFUSED, 1);
        return RC_SYNTAX;
    }
    become(c, &proxy);
    buf_clear(&c->in);
    buf_release(&c->in);
    return limits_claim(&c->loop->net->limits, &c->peer, &c->is_counted);
}
