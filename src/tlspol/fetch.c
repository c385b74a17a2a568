/* Policies over HTTPS.
 *
 * What is asked for has one form, https://mta-sts.DOMAIN/.well-known/mta-sts.txt; the addresses
 * come from our own DNS. Nothing but HTTPS with a certificate that holds, and no redirects
 * [RFC8461 3.3]: see https.h. */
#include "tlspol/tlspol_int.h"

#include "base/mem.h"
#include "https/https.h"

#include <stdio.h>
#include <stdlib.h>

enum { ADDRESSES_MAX = 8, URL_MAX = DNS_NAME_MAX + 64, HTTPS_PORT = 443, ADDRESSES_TEXT = 2048 };

struct fetcher {
    struct tlspol *tlspol;
    struct https *https;
};

struct fetch {
    struct https_get get;
    struct check *check;
    struct buf addresses;
    char url[URL_MAX + 16];
};

enum rc fetcher_new(struct tlspol *t, struct fetcher **out, char why[256])
{
    struct fetcher *f = mem_zero(sizeof *f);
    f->tlspol = t;
    enum rc rc = https_new(&f->https, why);
    if (rc == RC_OK)
        *out = f;
    else
        free(f);
    return rc;
}

void fetcher_free(struct fetcher **f)
{
    if (!*f)
        return;
    https_free(&(*f)->https);
    free(*f);
    *f = NULL;
}

/* "mta-sts.example.org:443:192.0.2.1,[2001:db8::1]"; false: there is no address. */
static bool addresses_of(const struct check *c, const char *host, unsigned port, struct buf *out)
{
    size_t n = 0;
    buf_putf(out, "%s:%u:", host, port);
    for (int k = 0; k < 2; k++) {
        const struct dns_query *q = &c->address[k].q;
        for (size_t i = 0; i < q->n_records && i < ADDRESSES_MAX; i++, n++) {
            char ip[NET_IP_TEXT];
            net_ip_text(&q->records[i].address, ip);
            buf_putf(out, n ? ",%s" : "%s", ip);
        }
    }
    buf_put(out, str_from("", 1));
    return n > 0;
}

static void over(struct fetch *fetch, enum tlspol_result result, struct str text, const char *why)
{
    struct check *c = fetch->check;
    check_fetched(c, result, text, why);
    buf_fini(&fetch->addresses);
    free(fetch);
}

static void on_done(struct https_get *g)
{
    struct fetch *fetch = CONTAINER(g, struct fetch, get);
    char why[64];
    if (g->end == HTTPS_DROPPED) {
        check_drop(fetch->check);
        buf_fini(&fetch->addresses);
        free(fetch);
    } else if (g->end != HTTPS_ANSWERED) {
        over(fetch,
             g->end == HTTPS_UNTRUSTED ? TLSPOL_STS_WEBPKI_INVALID : TLSPOL_STS_POLICY_FETCH_ERROR,
             (struct str){0}, g->why);
    } else if (g->status != 200) { /* nor redirects [RFC8461 3.3] */
        snprintf(why, sizeof why, "the policy host answers %ld", g->status);
        over(fetch, TLSPOL_STS_POLICY_FETCH_ERROR, (struct str){0}, why);
    } else if (!str_ieq(g->type, STR("text/plain"))) { /* [RFC8461 3.2] */
        over(fetch, TLSPOL_STS_POLICY_INVALID, (struct str){0}, "the policy is not text/plain");
    } else {
        over(fetch, TLSPOL_SUCCESS, g->body, "");
    }
}

void fetcher_add(struct fetcher *f, struct check *c)
{
    const struct tlspol *t = f->tlspol;
    unsigned port = t->conf.https_port ? t->conf.https_port : HTTPS_PORT;
    char host[DNS_NAME_MAX + 16], suffix[8] = "";
    struct fetch *fetch = mem_zero(sizeof *fetch);
    fetch->check = c;
    buf_init(&fetch->addresses, ADDRESSES_TEXT);
    snprintf(host, sizeof host, "mta-sts.%s", c->entry->name);
    if (port != HTTPS_PORT)
        snprintf(suffix, sizeof suffix, ":%u", port);
    snprintf(fetch->url, sizeof fetch->url, "https://%s%s/.well-known/mta-sts.txt", host, suffix);
    if (!addresses_of(c, host, port, &fetch->addresses)) {
        over(fetch, TLSPOL_STS_POLICY_FETCH_ERROR, (struct str){0},
             "the policy host has no address");
        return;
    }
    fetch->get = (struct https_get){.done = on_done,
                                    .url = fetch->url,
                                    .addresses = buf_str(&fetch->addresses).p,
                                    .ca_pem = &t->conf.ca_pem,
                                    .max = TLSPOL_TEXT_MAX,
                                    .ms = t->conf.fetch_ms};
    https_add(f->https, &fetch->get);
}

void fetcher_run(struct fetcher *f, int ms)
{
    https_run(f->https, f->tlspol->conf.fetches, ms);
}

void fetcher_wake(struct fetcher *f)
{
    https_wake(f->https);
}
