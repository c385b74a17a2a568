/* The addresses of a host: what it is itself, or what DNS says, IPv6 and IPv4 in turn. */
#include "fetch/fetch_int.h"

#include "dns/dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned pending;
};
struct question {
    struct dns_query q;
    struct waiting *waiting;
};

static void answered(struct dns_query *q)
{
    struct waiting *w = CONTAINER(q, struct question, q)->waiting;
    pthread_mutex_lock(&w->mutex);
    w->pending--;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static bool is_avoided(const struct net_addr *a, const struct net_cidr *avoid, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (net_cidr_has(&avoid[i], a))
            return true;
    return false;
}

/* What both answers come to. */
static enum rc choose(struct question q[2], uint16_t port, const struct net_cidr *avoid,
                      size_t n_avoid, struct net_addr *out, size_t *out_n, char *why)
{
    bool is_any_avoided = false;
    for (size_t i = 0; *out_n < FETCH_ADDRESSES; i++) {
        if (i >= q[0].q.n_records && i >= q[1].q.n_records)
            break;
        for (int k = 0; k < 2 && *out_n < FETCH_ADDRESSES; k++) {
            struct net_addr a = {.sa.sin6_family = AF_INET6, .sa.sin6_port = htons(port)};
            if (i >= q[k].q.n_records)
                continue;
            a.sa.sin6_addr = q[k].q.records[i].address;
            if (is_avoided(&a, avoid, n_avoid))
                is_any_avoided = true;
            else
                out[(*out_n)++] = a;
        }
    }
    if (*out_n)
        return RC_OK;
    bool is_temp = q[0].q.result >= DNS_TEMP || q[1].q.result >= DNS_TEMP;
    const char *cause = q[0].q.result >= DNS_TEMP ? q[0].q.why : q[1].q.why;
    if (is_any_avoided)
        snprintf(why, FETCH_TEXT + 1, "its name leads to an address where DNS may not lead");
    else if (is_temp)
        snprintf(why, FETCH_TEXT + 1, "its address cannot be looked up now: %s", cause);
    else
        snprintf(why, FETCH_TEXT + 1, "it has no address");
    return is_any_avoided ? RC_DENIED : is_temp ? RC_TEMP : RC_NOTFOUND;
}

static enum rc ask(struct dns *dns, struct str host, struct question q[2])
{
    struct waiting w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    enum rc rc = RC_OK;
    for (int k = 0; k < 2 && rc == RC_OK; k++) {
        q[k].q.done = answered;
        q[k].q.name = host;
        q[k].q.type = k ? DNS_A : DNS_AAAA;
        q[k].waiting = &w;
        pthread_mutex_lock(&w.mutex);
        w.pending++;
        pthread_mutex_unlock(&w.mutex);
        rc = dns_ask(dns, &q[k].q);
        if (rc != RC_OK)
            answered(&q[k].q);
    }
    pthread_mutex_lock(&w.mutex);
    while (w.pending)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    pthread_cond_destroy(&w.cond);
    pthread_mutex_destroy(&w.mutex);
    return rc;
}

enum rc fetch_resolve(struct dns *dns, struct str host, uint16_t port, const struct net_cidr *avoid,
                      size_t n_avoid, struct net_addr out[FETCH_ADDRESSES], size_t *out_n,
                      char why[FETCH_TEXT + 1])
{
    struct question q[2] = {0};
    *out_n = 0;
    if (net_ip_parse(host, port, &out[0]) == RC_OK) {
        *out_n = 1;
        return RC_OK;
    }
    snprintf(why, FETCH_TEXT + 1, "names cannot be looked up here");
    if (!dns)
        return RC_TEMP;
    enum rc rc = ask(dns, host, q);
    if (rc == RC_OK)
        rc = choose(q, port, avoid, n_avoid, out, out_n, why);
    else
        rc = rc == RC_SYNTAX ? RC_NOTFOUND : RC_TEMP;
    dns_query_fini(&q[0].q);
    dns_query_fini(&q[1].q);
    return rc;
}
