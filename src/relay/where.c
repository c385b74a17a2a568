/* Where a domain's mail goes: the hosts, their addresses, and what TLS each must show, in the order
 * to be tried [RFC5321 5.1].
 *
 * A search runs in rounds of questions, each asked all at once; the last answer of a round starts
 * the next one, on dns's thread:
 *     MX  ->  addresses of the hosts  ->  TLSA  ->  TLSA of their other names  ->  targets
 *
 * 1. What DNS says for good (no such domain, null MX, no address) is permanent; what it could not
 *    say is temporary; one is never taken for the other. A route of the configuration that leads
 *    nowhere is temporary: mail waits until the operator has mended it.
 * 2. A host that is ourselves is dropped with all that are not better than it [RFC5321 5.1]. An
 *    address where DNS may not lead (settings.avoid) is left out: whoever publishes 127.0.0.1 would
 *    have us talk to what else runs on this machine.
 * 3. A host whose addresses could not be looked up is left out when another one can be tried, and
 *    never counts as one that has none.
 */
#include "relay/where_int.h"

#include "base/mem.h"
#include "base/random.h"
#include "smtp/smtp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMTP_PORT = 25, LMTP_PORT = 24, TTL_LEAST = 30, TTL_MOST = 86400, TTL_TEMP = 60 };

/* --- how a search ends without a host ----------------------------------------------------------
 */

enum fault {
    FAULT_NAME,
    FAULT_NXDOMAIN,
    FAULT_NULL_MX,
    FAULT_NO_HOST,
    FAULT_NO_ADDRESS,
    FAULT_LOOP,
    FAULT_AVOIDED,
    FAULT_DNS,
    FAULT_BOGUS,
    FAULT_TLSA,
    FAULT_STS,
    FAULT_REQUIRETLS,
    FAULT_ROUTE
};

/* The first %s is the domain, the second one the cause. */
static const struct {
    enum rc rc;
    const char *status, *words;
} faults[] = {
    [FAULT_NAME] = {RC_PERM, "5.1.2", "\"%s\" is not a domain name"},
    [FAULT_NXDOMAIN] = {RC_PERM, "5.1.2", "there is no domain %s"},
    [FAULT_NULL_MX] = {RC_PERM, "5.1.10", "%s accepts no mail, as its null MX record says"},
    [FAULT_NO_HOST] = {RC_PERM, "5.4.4", "%s has no mail server and no address"},
    [FAULT_NO_ADDRESS] = {RC_PERM, "5.4.4", "none of the mail servers of %s has an address"},
    [FAULT_LOOP] = {RC_PERM, "5.4.6",
                    "mail for %s leads back to this server, which does not hold it"},
    [FAULT_AVOIDED] = {RC_PERM, "5.4.4",
                       "%s names a mail server at an address that belongs to no other host: %s"},
    [FAULT_DNS] = {RC_TEMP, "4.4.3", "the mail servers of %s cannot be looked up: %s"},
    [FAULT_BOGUS] = {RC_TEMP, "4.4.3", "what DNS says of %s is not signed as it must be: %s"},
    [FAULT_TLSA] = {RC_TEMP, "4.4.3",
                    "the TLSA records of the mail servers of %s cannot be looked up: %s"},
    [FAULT_STS] = {RC_TEMP, "4.7.5",
                   "none of the mail servers of %s is named by its MTA-STS policy"},
    [FAULT_REQUIRETLS] =
        {RC_PERM, "5.7.10",
         "REQUIRETLS: neither DNSSEC nor MTA-STS vouches for the mail servers of %s"},
    [FAULT_ROUTE] = {RC_TEMP, "4.3.5", "the route that is set for %s leads nowhere: %s"},
};

static uint64_t ttl_within(const struct finder *f)
{
    uint64_t least = f->where->settings->lookup_least_s;
    least = least ? least : TTL_LEAST;
    return f->ttl < least ? least : f->ttl > TTL_MOST ? TTL_MOST : f->ttl;
}

static void finish(struct finder *f)
{
    struct relay_where *where = f->where;
    dns_query_fini(&f->mx.q);
    dns_query_fini(&f->nothing.q);
    arena_fini(&f->sts.arena);
    for (size_t i = 0; i < f->n_hosts; i++) {
        struct host *h = &f->hosts[i];
        for (int k = 0; k < WHERE_FAMILIES; k++)
            dns_query_fini(&h->address[k].q);
        dns_query_fini(&h->alias.q);
        dns_query_fini(&h->tlsa[0].q);
        dns_query_fini(&h->tlsa[1].q);
    }
    free(f->hosts);
    free(f);
    where->own = NULL;
    where->done(where);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void fail(struct finder *f, enum fault fault, const char *why)
{
    struct relay_outcome *o = &f->where->outcome;
    char domain[300], text[RELAY_TEXT_MAX];
    snprintf(domain, sizeof domain, "%.*s", STR_ARG(str_head(f->where->domain, 255)));
    int n = snprintf(text, sizeof text, faults[fault].words, domain, why);
    *o = (struct relay_outcome){.rc = faults[fault].rc, .stage = RELAY_AT_DNS};
    snprintf(o->status, sizeof o->status, "%s", faults[fault].status);
    o->text = arena_dup(&f->where->arena,
                        str_from(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1));
    f->where->n_targets = 0;
    f->where->ttl = o->rc == RC_TEMP ? TTL_TEMP : ttl_within(f);
    finish(f);
}
#pragma GCC diagnostic pop

static void fail_lookup(struct finder *f, const struct dns_query *q)
{
    fail(f,
         f->route && f->route->host.n ? FAULT_ROUTE
         : q->result == DNS_BOGUS     ? FAULT_BOGUS
                                      : FAULT_DNS,
         q->why);
}

/* --- rounds of questions -----------------------------------------------------------------------
 */

static void round_over(struct finder *f)
{
    if (atomic_fetch_sub(&f->pending, 1) == 1)
        f->next(f);
}

static void on_lookup(struct dns_query *q)
{
    round_over(CONTAINER(q, struct lookup, q)->finder);
}

void finder_begin(struct finder *f, void (*next)(struct finder *f))
{
    f->next = next;
    atomic_store(&f->pending, 1);
}

void finder_end(struct finder *f)
{
    round_over(f);
}

bool finder_ask(struct finder *f, struct lookup *l, struct str prefix, struct str name,
                enum dns_type type)
{
    l->finder = f;
    l->was_asked = true;
    l->q = (struct dns_query){.done = on_lookup, .type = type};
    int n = snprintf(l->name, sizeof l->name, "%.*s%.*s", STR_ARG(prefix), STR_ARG(name));
    enum rc rc = (size_t)n < sizeof l->name ? RC_OK : RC_SYNTAX;
    l->q.name = str_of(l->name);
    atomic_fetch_add(&f->pending, 1);
    if (rc == RC_OK)
        rc = dns_ask(f->house->dns, &l->q);
    if (rc == RC_OK)
        return true;
    l->q.result = rc == RC_SYNTAX ? DNS_NODATA : DNS_TEMP;
    snprintf(l->q.why, sizeof l->q.why, "too many questions are under way");
    atomic_fetch_sub(&f->pending, 1); /* the round itself still counts */
    return false;
}

/* Whether what the domain publishes about TLS counts: not where the operator has decided, nor for
 * who does without [RFC8689 4.2.2]. */
static bool wants_published(const struct finder *f)
{
    bool is_open =
        !f->route || (f->route->tls == RELAY_TLS_OPPORTUNISTIC && f->route->protocol == RELAY_SMTP);
    return is_open && f->where->tls != QUEUE_TLS_IF_POSSIBLE;
}

static void on_sts(struct tlspol_query *q)
{
    round_over(CONTAINER(q, struct finder, sts));
}

/* The policy of the domain whose MX are used, or of a host that stands for it [RFC8461 3.4]. */
static void ask_sts(struct finder *f, struct str domain)
{
    if (!f->house->tlspol || !wants_published(f) || !dns_is_host(domain))
        return;
    f->sts = (struct tlspol_query){.done = on_sts, .domain = domain};
    atomic_fetch_add(&f->pending, 1);
    if (tlspol_ask(f->house->tlspol, &f->sts) != RC_OK)
        atomic_fetch_sub(&f->pending, 1); /* as one that nothing is known of */
}

bool host_has_address(const struct host *h)
{
    return h->address[WHERE_V6].q.n_records > 0 || h->address[WHERE_V4].q.n_records > 0;
}

bool host_is_secure(const struct host *h)
{
    bool is_secure = host_has_address(h);
    for (int k = 0; k < WHERE_FAMILIES; k++)
        if (h->address[k].q.n_records > 0)
            is_secure = is_secure && h->address[k].q.is_secure;
    return is_secure;
}

static void ttl_of(struct finder *f, const struct lookup *l)
{
    if (l->was_asked && l->q.result < DNS_TEMP && l->q.ttl < f->ttl)
        f->ttl = l->q.ttl;
}

/* --- targets -----------------------------------------------------------------------------------
 */

static struct policy policy_of(const struct finder *f, const struct host *h)
{
    struct policy_facts facts = {
        .route = f->route ? f->route->tls : RELAY_TLS_OPPORTUNISTIC,
        .has_route = f->route && f->route->host.n > 0,
        .is_secure_mx = f->is_secure_mx,
        .dane = h->dane,
        .sts = f->sts.policy.mode,
        .sts_matches = tlspol_matches(&f->sts.policy, h->name),
        .tls = f->where->tls,
    };
    return relay_policy(&facts);
}

static void set_source(const struct finder *f, struct relay_target *t)
{
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&t->addr.sa.sin6_addr);
    int family = is_v4 ? 0 : 1; /* as relay.h has them */
    const struct relay_settings *s = f->where->settings;
    if (f->route && f->route->has_source[family])
        t->source = f->route->source[family];
    else if (s->has_source[family])
        t->source = s->source[family];
    else
        return;
    t->has_source = true;
}

/* Under which names a certificate may be for the host [RFC7672 3.2.2]. */
static void set_names(struct finder *f, const struct host *h, struct relay_target *t)
{
    t->name = arena_dup(&f->where->arena, t->has_dane && h->dane_base.n ? h->dane_base : t->host);
    struct str *names = arena_zero(&f->where->arena, 2 * sizeof *names);
    if (!t->has_dane || !f->is_secure_mx || f->where->domain.p[0] == '[')
        return;
    if (!str_eq(f->where->domain, t->name))
        names[t->n_names++] = arena_dup(&f->where->arena, f->where->domain);
    if (f->is_mx && !str_eq(f->expanded, f->where->domain))
        names[t->n_names++] = arena_dup(&f->where->arena, f->expanded);
    t->names = names;
}

static struct relay_target target_of(struct finder *f, const struct host *h, const struct policy *p)
{
    struct relay_target t = {.tls = p->tls,
                             .has_dane = p->has_dane,
                             .must_tls = p->must_tls,
                             .is_trusted = p->is_trusted,
                             .tries_proof = p->tries_proof,
                             .requires_tls = p->requires_tls,
                             .policy = (uint8_t)p->kind,
                             .preference = h->preference};
    t.host = arena_dup(&f->where->arena, h->name);
    if (f->route) {
        t.protocol = f->route->protocol;
        t.login = arena_dup(&f->where->arena, f->route->login);
        t.password = arena_dup(&f->where->arena, f->route->password);
    }
    if (p->has_dane) {
        t.tlsa = h->records;
        t.n_tlsa = h->n_records;
    }
    set_names(f, h, &t);
    return t;
}

static void add_target(struct finder *f, struct relay_target t, const struct in6_addr *address,
                       uint16_t port)
{
    if (f->where->n_targets == TARGETS_MAX)
        return;
    t.addr.sa.sin6_family = AF_INET6;
    t.addr.sa.sin6_addr = *address;
    t.addr.sa.sin6_port = htons(port);
    set_source(f, &t);
    f->where->targets[f->where->n_targets++] = t;
}

static bool is_avoided(const struct finder *f, const struct in6_addr *address)
{
    const struct relay_settings *s = f->where->settings;
    const struct net_addr addr = {.sa.sin6_family = AF_INET6, .sa.sin6_addr = *address};
    if (f->route && f->route->host.n)
        return false;
    for (size_t i = 0; i < s->n_avoid; i++)
        if (net_cidr_has(&s->avoid[i], &addr))
            return true;
    return false;
}

/* IPv6 and IPv4 in turn, so that a host of which one kind is dead is not given up too soon; each
 * begins somewhere else each time. */
static void add_host(struct finder *f, const struct host *h, const struct policy *p)
{
    struct relay_target t = target_of(f, h, p);
    for (size_t i = 0; i < HOST_ADDRESSES_MAX; i++)
        for (int k = 0; k < WHERE_FAMILIES; k++) {
            const struct dns_query *q = &h->address[k].q;
            if (i >= q->n_records)
                continue;
            const struct in6_addr *a = &q->records[(i + h->order) % q->n_records].address;
            if (is_avoided(f, a))
                f->avoided = a;
            else
                add_target(f, t, a, h->port);
        }
}

static void fail_avoided(struct finder *f, const struct in6_addr *address)
{
    char text[NET_IP_TEXT];
    net_ip_text(address, text);
    fail(f, FAULT_AVOIDED, text);
}

/* Why no host is left: the first reason that may pass, or what holds for good. */
static void fail_all(struct finder *f, enum policy_verdict verdict, const struct dns_query *broken)
{
    static const enum fault by_verdict[] = {[POLICY_SKIP_DANE] = FAULT_TLSA,
                                            [POLICY_SKIP_STS] = FAULT_STS,
                                            [POLICY_SKIP_REQUIRETLS] = FAULT_REQUIRETLS};
    bool is_cut = false;
    for (size_t i = 0; i < f->n_hosts; i++)
        is_cut |= f->hosts[i].is_cut;
    if (broken && verdict != POLICY_SKIP_DANE)
        fail_lookup(f, broken);
    else if (verdict != POLICY_GO)
        fail(f, by_verdict[verdict], broken ? broken->why : "no answer");
    else if (f->route && f->route->host.n)
        fail(f, FAULT_ROUTE, is_cut ? "to this server itself" : "its host has no address");
    else if (f->avoided)
        fail_avoided(f, f->avoided);
    else
        fail(f, is_cut ? FAULT_LOOP : f->is_mx ? FAULT_NO_ADDRESS : FAULT_NO_HOST, "");
}

/* What could not be looked up about a host, NULL: nothing. */
static const struct dns_query *broken_of(const struct host *h)
{
    const struct lookup *all[] = {&h->address[0], &h->address[1], &h->alias, &h->tlsa[0],
                                  &h->tlsa[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->was_asked && all[i]->q.result >= DNS_TEMP)
            return &all[i]->q;
    return NULL;
}

/* Counts it; of several reasons the temporary ones come first. */
static enum policy_verdict skipped(struct finder *f, const struct host *h, enum policy_verdict now,
                                   enum policy_verdict before)
{
    relay_report_skipped(f->house, now, f->where->domain, h->name);
    return before == POLICY_GO || now < before ? now : before;
}

static void build(struct finder *f)
{
    enum policy_verdict verdict = POLICY_GO;
    const struct dns_query *broken = NULL;
    f->where->targets = arena_zero(&f->where->arena, TARGETS_MAX * sizeof *f->where->targets);
    for (size_t i = 0; i < f->n_hosts; i++) {
        struct host *h = &f->hosts[i];
        if (h->is_cut)
            continue;
        dane_decide(f, h);
        if (broken_of(h) && (!host_has_address(h) || h->dane == DANE_FAILED))
            broken = broken ? broken : broken_of(h);
        if (!host_has_address(h))
            continue;
        struct policy p = policy_of(f, h);
        if (p.verdict == POLICY_GO)
            add_host(f, h, &p);
        else
            verdict = skipped(f, h, p.verdict, verdict);
    }
    if (f->where->n_targets == 0) {
        fail_all(f, verdict, broken);
        return;
    }
    f->where->outcome = (struct relay_outcome){.rc = RC_OK};
    f->where->ttl = broken ? TTL_TEMP : ttl_within(f);
    finish(f);
}

/* --- TLSA --------------------------------------------------------------------------------------
 */

static void on_tlsa(struct finder *f)
{
    finder_begin(f, build);
    for (size_t i = 0; i < f->n_hosts; i++)
        dane_ask_again(f, &f->hosts[i]);
    finder_end(f);
}

static void cut_ourselves(struct finder *f)
{
    const struct relay_settings *s = f->where->settings;
    unsigned least = UINT16_MAX + 1u;
    for (size_t i = 0; i < f->n_hosts; i++) {
        struct host *h = &f->hosts[i];
        bool is_own = own_is(s, h->name, h->port);
        for (int k = 0; k < WHERE_FAMILIES; k++)
            for (size_t j = 0; j < h->address[k].q.n_records; j++)
                is_own = is_own || own_has(s, &h->address[k].q.records[j].address, h->port);
        if (is_own && h->preference < least)
            least = h->preference;
    }
    for (size_t i = 0; i < f->n_hosts; i++)
        f->hosts[i].is_cut = f->hosts[i].preference >= least;
}

static void on_addresses(struct finder *f)
{
    cut_ourselves(f);
    for (size_t i = 0; i < f->n_hosts; i++)
        for (int k = 0; k < WHERE_FAMILIES; k++)
            ttl_of(f, &f->hosts[i].address[k]);
    finder_begin(f, on_tlsa);
    for (size_t i = 0; wants_published(f) && i < f->n_hosts; i++)
        dane_ask(f, &f->hosts[i]);
    finder_end(f);
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static uint64_t chance(struct finder *f) /* SplitMix64 */
{
    uint64_t z = f->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) >> 1;
}

static void add_name(struct finder *f, struct str name, uint16_t preference, uint16_t port)
{
    for (size_t i = 0; i < f->n_hosts; i++)
        if (str_eq(f->hosts[i].name, name)) {
            if (preference < f->hosts[i].preference)
                f->hosts[i].preference = preference;
            return;
        }
    f->hosts[f->n_hosts++] =
        (struct host){.name = name, .preference = preference, .order = chance(f), .port = port};
}

static int by_preference(const void *a, const void *b)
{
    const struct host *x = a, *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void ask_addresses(struct finder *f, struct str policy_domain)
{
    qsort(f->hosts, f->n_hosts, sizeof *f->hosts, by_preference);
    if (f->n_hosts > HOSTS_MAX)
        f->n_hosts = HOSTS_MAX;
    finder_begin(f, on_addresses);
    for (size_t i = 0; i < f->n_hosts; i++) {
        struct host *h = &f->hosts[i];
        finder_ask(f, &h->address[WHERE_V6], STR(""), h->name, DNS_AAAA);
        finder_ask(f, &h->address[WHERE_V4], STR(""), h->name, DNS_A);
    }
    ask_sts(f, policy_domain);
    finder_end(f);
}

static void take_mx(struct finder *f)
{
    const struct dns_query *q = &f->mx.q;
    f->is_mx = true;
    if (q->n_records == 1 && q->records[0].name.n == 0) {
        fail(f, FAULT_NULL_MX, ""); /* [RFC7505 3] */
        return;
    }
    f->hosts = mem_zero(q->n_records * sizeof *f->hosts);
    for (size_t i = 0; i < q->n_records; i++)
        if (dns_is_host(q->records[i].name))
            add_name(f, q->records[i].name, q->records[i].preference, SMTP_PORT);
    if (f->n_hosts == 0)
        fail(f, FAULT_NO_ADDRESS, "");
    else
        ask_addresses(f, STR(""));
}

static void on_mx(struct finder *f)
{
    const struct dns_query *q = &f->mx.q;
    ttl_of(f, &f->mx);
    f->is_secure_mx = q->is_secure;
    f->expanded = q->canonical;
    switch (q->result) {
    case DNS_OK:
        take_mx(f);
        return;
    case DNS_NODATA: /* the domain is its own host [RFC5321 5.1] */
        f->hosts = mem_zero(sizeof *f->hosts);
        add_name(f, f->where->domain, 0, SMTP_PORT);
        ask_addresses(f, STR(""));
        return;
    case DNS_NXDOMAIN:
        fail(f, FAULT_NXDOMAIN, "");
        return;
    case DNS_TEMP:
    case DNS_BOGUS:
        fail_lookup(f, q);
    }
}

/* --- without MX --------------------------------------------------------------------------------
 */

static enum rc parse_address(struct str text, uint16_t port, struct net_addr *out)
{
    if (str_istarts(text, STR("IPv6:"))) /* [RFC5321 4.1.3] */
        text = str_skip(text, 5);
    return net_ip_parse(text, port, out);
}

static void take_address(struct finder *f, struct str name, const struct net_addr *addr)
{
    struct host h = {.name = name, .port = ntohs(addr->sa.sin6_port)};
    if (own_has(f->where->settings, &addr->sa.sin6_addr, h.port)) {
        fail(f, f->route ? FAULT_ROUTE : FAULT_LOOP, "to this server itself");
        return;
    }
    if (is_avoided(f, &addr->sa.sin6_addr)) {
        fail_avoided(f, &addr->sa.sin6_addr);
        return;
    }
    struct policy p = policy_of(f, &h);
    if (p.verdict != POLICY_GO) {
        fail(f, FAULT_REQUIRETLS, "");
        return;
    }
    f->where->targets = arena_zero(&f->where->arena, TARGETS_MAX * sizeof *f->where->targets);
    add_target(f, target_of(f, &h, &p), &addr->sa.sin6_addr, h.port);
    f->where->outcome = (struct relay_outcome){.rc = RC_OK};
    f->where->ttl = TTL_MOST;
    finish(f);
}

/* "[192.0.2.1]" */
static void take_literal(struct finder *f)
{
    struct str domain = f->where->domain;
    struct net_addr addr;
    if (!str_ends(domain, STR("]")) ||
        parse_address(str_sub(domain, 1, domain.n - 2), SMTP_PORT, &addr) != RC_OK)
        fail(f, FAULT_NAME, "");
    else
        take_address(f, domain, &addr);
}

/* A host that the configuration names: it is known for sure, and has no MX. */
static void take_route(struct finder *f)
{
    const struct relay_route *r = f->route;
    uint16_t port = r->port ? r->port : r->protocol == RELAY_LMTP ? LMTP_PORT : SMTP_PORT;
    struct net_addr addr;
    f->is_secure_mx = true;
    if (r->host.p[0] == '/') {
        struct host h = {.name = r->host};
        struct policy p = policy_of(f, &h);
        if (p.verdict != POLICY_GO) {
            fail(f, FAULT_REQUIRETLS, "");
            return;
        }
        f->where->targets = arena_zero(&f->where->arena, sizeof *f->where->targets);
        f->where->targets[0] = target_of(f, &h, &p);
        f->where->targets[0].addr.sa.sin6_family = AF_UNIX;
        f->where->n_targets = 1;
        f->where->ttl = TTL_MOST;
        finish(f);
    } else if (parse_address(r->host, port, &addr) == RC_OK) {
        take_address(f, r->host, &addr);
    } else {
        f->hosts = mem_zero(sizeof *f->hosts);
        add_name(f, r->host, 0, port);
        ask_addresses(f, r->host);
    }
}

/* --- the beginning -----------------------------------------------------------------------------
 */

static const struct relay_route *route_of(const struct relay_settings *s, struct str domain)
{
    const struct relay_route *all = NULL;
    for (size_t i = 0; i < s->n_routes; i++) {
        if (str_ieq(s->routes[i].domain, domain))
            return &s->routes[i];
        if (str_eq(s->routes[i].domain, STR("*")))
            all = &s->routes[i];
    }
    return all;
}

static void begin(struct finder *f)
{
    struct relay_where *where = f->where;
    if (f->route && f->route->host.n)
        take_route(f);
    else if (str_starts(where->domain, STR("[")))
        take_literal(f);
    else
        fail(f, FAULT_NAME, "");
}

/* A domain outside ASCII in the form that DNS knows; absent: it has none. */
static struct str to_ascii(struct relay_where *where)
{
    struct buf text;
    struct str out = {0};
    buf_init(&text, DNS_NAME_MAX + 1);
    if (smtp_domain_ascii(where->domain, &text) == RC_OK)
        out = arena_dup(&where->arena, buf_str(&text));
    buf_fini(&text);
    return out;
}

void relay_where(const struct relay_house *house, struct relay_where *where)
{
    struct finder *f = mem_zero(sizeof *f);
    f->house = house;
    f->where = where;
    f->ttl = TTL_MOST;
    f->random = where->seed ? where->seed : random_u64();
    where->own = f;
    where->n_targets = 0;
    where->outcome = (struct relay_outcome){.rc = RC_OK};
    f->route = route_of(where->settings, where->domain);
    struct str ascii = to_ascii(where);
    bool has_host = f->route && f->route->host.n;
    bool asks = !has_host && dns_is_host(ascii);
    finder_begin(f, asks ? on_mx : begin);
    bool waits = false;
    if (asks) {
        where->domain = ascii;
        waits = finder_ask(f, &f->mx, STR(""), ascii, DNS_MX);
        ask_sts(f, ascii);
    }
    if (!waits) /* nothing to wait for, yet done() comes from elsewhere */
        finder_ask(f, &f->nothing, STR(""), STR(""), DNS_NOTHING);
    finder_end(f);
}
