/* DANE for SMTP [RFC7672]: which TLSA records of a host count, and for which names.
 *
 * TLSA records are asked for only where the addresses are secure [RFC7672 2.2.2], since the name
 * servers of unsigned zones may not answer such questions at all. A host that is an alias has two
 * names to look at: the one at the end of the aliases first, its own then [RFC7672 2.2.3]. Hosts
 * from insecure MX records are looked at as well [RFC7672 2.2.1]: what they prove protects the
 * connection, though not the way to them.
 */
#include "relay/where_int.h"

#include <stdio.h>

enum { USAGE_TA = 2, USAGE_EE = 3, SHA256 = 32, SHA512 = 64 };

static void ask_tlsa(struct finder *f, struct host *h, int which, struct str base)
{
    char prefix[32];
    int n = snprintf(prefix, sizeof prefix, "_%u._tcp.", h->port); /* [RFC6698 3] */
    h->base[which] = base;
    finder_ask(f, &h->tlsa[which], str_from(prefix, (size_t)n), base, DNS_TLSA);
}

/* The name at the end of the aliases of an answer with addresses. */
static struct str expanded(const struct host *h)
{
    for (int i = 0; i < WHERE_FAMILIES; i++)
        if (h->address[i].q.result == DNS_OK && h->address[i].q.n_records > 0)
            return h->address[i].q.canonical;
    return h->name;
}

void dane_ask(struct finder *f, struct host *h)
{
    struct str end = expanded(h);
    if (h->is_cut || !host_has_address(h))
        return;
    if (host_is_secure(h))
        ask_tlsa(f, h, 0, end);
    else if (!str_eq(end, h->name) && f->is_secure_mx)
        finder_ask(f, &h->alias, STR(""), h->name, DNS_CNAME); /* [RFC7672 2.1.3] */
}

/* Whether the answer is the end of the search: records, or an error [RFC7672 2.1.2]. */
static bool is_final(const struct lookup *l)
{
    return l->q.result == DNS_TEMP || l->q.result == DNS_BOGUS ||
           (l->q.result == DNS_OK && l->q.is_secure);
}

void dane_ask_again(struct finder *f, struct host *h)
{
    bool is_alias = !str_is_null(h->base[0]) && !str_eq(h->base[0], h->name);
    bool is_secure_alias =
        h->alias.was_asked && h->alias.q.result == DNS_OK && h->alias.q.is_secure;
    if ((is_alias && !is_final(&h->tlsa[0])) || is_secure_alias)
        ask_tlsa(f, h, 1, h->name);
}

bool dane_is_usable(const struct dns_record *r)
{
    if (r->usage != USAGE_TA && r->usage != USAGE_EE)
        return false; /* PKIX-TA and PKIX-EE mean nothing here [RFC7672 3.1.3] */
    if (r->selector > 1)
        return false;
    return (r->matching == 0 && r->data.n > 0) || (r->matching == 1 && r->data.n == SHA256) ||
           (r->matching == 2 && r->data.n == SHA512);
}

static void keep(struct finder *f, struct host *h, const struct dns_query *q)
{
    h->records = arena_zero(&f->where->arena, TLSA_MAX * sizeof *h->records);
    for (size_t i = 0; h->records && i < q->n_records && h->n_records < TLSA_MAX; i++) {
        const struct dns_record *r = &q->records[i];
        if (!dane_is_usable(r))
            continue;
        h->records[h->n_records++] = (struct relay_tlsa){r->usage, r->selector, r->matching,
                                                         arena_dup(&f->where->arena, r->data)};
    }
    h->dane = h->n_records ? DANE_USABLE : DANE_UNUSABLE;
}

void dane_decide(struct finder *f, struct host *h)
{
    if (h->alias.was_asked && h->alias.q.result >= DNS_TEMP)
        h->dane = DANE_FAILED;
    for (int i = 0; h->dane == DANE_NONE && i < 2; i++) {
        const struct dns_query *q = &h->tlsa[i].q;
        if (!h->tlsa[i].was_asked || !is_final(&h->tlsa[i]))
            continue;
        h->dane_base = h->base[i];
        if (q->result == DNS_OK)
            keep(f, h, q);
        else
            h->dane = DANE_FAILED;
    }
}
