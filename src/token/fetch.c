/* The issuer's documents, one after the other: the discovery document where the operator has not
 * said where the keys are, then the keys. Names are looked up by dns, both kinds of addresses;
 * each step comes back to token's thread.
 *
 * Invariant: while `is_under_way`, exactly one of these will come: the answers of `pending`
 * questions, or the end of `get`. */
#include "token/token_int.h"

#include <stdio.h>

enum { ADDRESSES_MAX = 8, ADDRESSES_TEXT = 2048, WHY = 384 };

static void go(struct fetch *f);

static void over(struct fetch *f, struct keys *keys, const char *why)
{
    f->is_under_way = false;
    token_fetched(f->token, keys, why);
}

/* --- documents -------------------------------------------------------------------------------- */

static void take_discovery(struct fetch *f, struct str body)
{
    struct url next;
    enum rc rc = discovery_read(body, f->token->rules->conf.issuer, &next);
    if (rc == RC_OK && next.is_plain && !f->url.is_plain)
        rc = RC_SYNTAX;
    if (rc == RC_DENIED)
        over(f, NULL, "the discovery document is of another issuer");
    else if (rc != RC_OK)
        over(f, NULL, "the discovery document has no jwks_uri that can be used");
    else {
        f->url = next;
        f->is_discovery = false;
        go(f);
    }
}

static void take_keys(struct fetch *f, struct str body)
{
    struct keys *keys = NULL;
    enum rc rc = keys_parse(body, &keys);
    over(f, keys, rc == RC_OK ? "" : "there is no key in it that can be used");
}

static void on_document(struct https_get *g)
{
    struct fetch *f = CONTAINER(g, struct fetch, get);
    char why[WHY];
    if (g->end != HTTPS_ANSWERED) {
        over(f, NULL, g->why);
    } else if (g->status != 200) {
        snprintf(why, sizeof why, "%s answers %ld", f->url.host, g->status);
        over(f, NULL, why);
    } else if (f->is_stale) { /* of an issuer that is none any more */
        over(f, NULL, "");
    } else if (f->is_discovery) {
        take_discovery(f, g->body);
    } else {
        take_keys(f, g->body);
    }
}

static void get(struct fetch *f)
{
    struct token *t = f->token;
    f->get = (struct https_get){.done = on_document,
                                .url = f->url.text,
                                .addresses = f->url.is_address ? NULL : buf_str(&f->addresses).p,
                                .ca_pem = &t->rules->conf.ca_pem,
                                .max = TOKEN_KEYS_TEXT,
                                .ms = t->rules->conf.fetch_ms,
                                .may_be_plain = f->url.is_plain};
    https_add(t->https, &f->get);
}

/* --- names ------------------------------------------------------------------------------------ */

/* "login.example.org:443:192.0.2.1,[2001:db8::1]"; false: there is no address. */
static bool write_addresses(struct fetch *f)
{
    size_t n = 0;
    buf_clear(&f->addresses);
    buf_putf(&f->addresses, "%s:%u:", f->url.host, f->url.port);
    for (int k = 0; k < 2; k++) {
        const struct dns_query *q = &f->lookups[k].q;
        for (size_t i = 0; i < q->n_records && i < ADDRESSES_MAX; i++, n++) {
            char ip[NET_IP_TEXT];
            net_ip_text(&q->records[i].address, ip);
            buf_putf(&f->addresses, n ? ",%s" : "%s", ip);
        }
    }
    buf_put(&f->addresses, str_from("", 1));
    return n > 0 && !f->addresses.over;
}

static void on_address(struct token *t, struct job *job)
{
    struct fetch *f = CONTAINER(job, struct lookup, job)->fetch;
    char why[WHY];
    if (--f->pending)
        return;
    bool has_some = write_addresses(f);
    snprintf(why, sizeof why, "%s has no address: %s", f->url.host,
             dns_result_name(f->lookups[1].q.result));
    for (int k = 0; k < 2; k++)
        dns_query_fini(&f->lookups[k].q);
    if (has_some)
        get(f);
    else
        over(f, NULL, why);
}

/* On dns's thread. */
static void on_answer(struct dns_query *q)
{
    struct lookup *l = CONTAINER(q, struct lookup, q);
    token_post(l->fetch->token, &l->job);
}

static void look_up(struct fetch *f)
{
    static const enum dns_type types[2] = {DNS_AAAA, DNS_A};
    f->pending = 2;
    for (int k = 0; k < 2; k++) {
        struct lookup *l = &f->lookups[k];
        *l = (struct lookup){.fetch = f, .job.run = on_address};
        l->q = (struct dns_query){.done = on_answer, .type = types[k], .name = str_of(f->url.host)};
        if (f->token->dns && dns_ask(f->token->dns, &l->q) == RC_OK)
            continue;
        l->q.result = DNS_TEMP;
        token_post(f->token, &l->job);
    }
}

static void go(struct fetch *f)
{
    if (f->token->is_ending)
        over(f, NULL, "shutting down");
    else if (f->url.is_address)
        get(f);
    else
        look_up(f);
}

void fetch_begin(struct token *t)
{
    struct fetch *f = &t->fetch;
    f->token = t;
    f->url = t->rules->first;
    f->is_discovery = !t->rules->conf.keys_url.n;
    f->is_under_way = true;
    f->is_stale = false;
    f->addresses.cap = ADDRESSES_TEXT;
    go(f);
}
