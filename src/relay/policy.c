/* Which TLS a host must show: what the route says, DANE, MTA-STS and REQUIRETLS in one decision.
 * Pure.
 *
 * 1. Nothing here is weaker than what the route says, but for "never", which is what the operator
 *    wants for a host of his own, whatever it publishes.
 * 2. DANE comes before MTA-STS: what it demands is not lessened by a policy [RFC8461 2], and a host
 *    that it proves needs no policy to name it.
 * 3. REQUIRETLS makes a certificate mandatory, and a host that is known for sure [RFC8689 4.2.1]; a
 *    report about such a message tries for both, and goes out all the same [RFC8689 5].
 * 4. "TLS-Required: No" leaves out what the domain asks for, and never what the operator does
 *    [RFC8689 4.2.2].
 */
#include "relay/where_int.h"

static bool is_verified(enum relay_tls tls)
{
    return tls == RELAY_TLS_VERIFY || tls == RELAY_TLS_IMPLICIT;
}

static struct policy skip(enum policy_verdict verdict, enum relay_policy_kind kind)
{
    return (struct policy){.verdict = verdict, .kind = kind, .must_tls = true};
}

/* A route that asks for a certificate, or for none at all, has been decided by the operator. */
static struct policy by_route(const struct policy_facts *f)
{
    return (struct policy){.tls = f->route,
                           .kind = f->has_route ? RELAY_BY_ROUTE : RELAY_BY_NONE,
                           .must_tls = is_verified(f->route),
                           .is_trusted = f->has_route || f->is_secure_mx};
}

static struct policy by_sender(const struct policy_facts *f)
{
    struct policy p = by_route(f);
    p.kind = f->has_route ? RELAY_BY_ROUTE : RELAY_BY_SENDER;
    return p;
}

static struct policy by_dane(const struct policy_facts *f)
{
    struct policy p = by_route(f);
    p.kind = RELAY_BY_DANE;
    p.has_dane = true;
    p.must_tls = true;
    return p;
}

static struct policy by_sts(const struct policy_facts *f)
{
    struct policy p = by_route(f);
    p.kind = RELAY_BY_STS;
    if (f->sts == TLSPOL_TESTING) { /* as if there were none, and counted [RFC8461 5] */
        p.tries_proof = true;
        return p;
    }
    if (!f->sts_matches)
        return skip(POLICY_SKIP_STS, RELAY_BY_STS);
    p.tls = RELAY_TLS_VERIFY; /* [RFC8461 4.2] */
    p.must_tls = true;
    p.is_trusted = true;
    return p;
}

static struct policy published(const struct policy_facts *f)
{
    if (f->route == RELAY_TLS_NEVER || is_verified(f->route))
        return by_route(f);
    if (f->tls == QUEUE_TLS_IF_POSSIBLE)
        return by_sender(f);
    if (f->dane == DANE_FAILED) /* [RFC7672 2.1.2] */
        return skip(POLICY_SKIP_DANE, RELAY_BY_DANE);
    if (f->dane == DANE_USABLE)
        return by_dane(f);
    if (f->sts == TLSPOL_ENFORCE || (f->sts == TLSPOL_TESTING && f->dane == DANE_NONE))
        return by_sts(f);
    return f->dane == DANE_UNUSABLE ? by_dane(f) : by_route(f);
}

static struct policy required(const struct policy_facts *f, struct policy p)
{
    if (!p.is_trusted || p.tls == RELAY_TLS_NEVER)
        return skip(POLICY_SKIP_REQUIRETLS, p.kind);
    if (f->dane != DANE_USABLE && p.tls == RELAY_TLS_OPPORTUNISTIC) {
        p.tls = RELAY_TLS_VERIFY;
        p.has_dane = false; /* records of no use prove nothing */
    }
    p.must_tls = p.requires_tls = true;
    p.tries_proof = false;
    return p;
}

struct policy relay_policy(const struct policy_facts *f)
{
    struct policy p = published(f);
    if (p.verdict == POLICY_GO && f->tls == QUEUE_TLS_REQUIRED)
        return required(f, p);
    if (f->tls == QUEUE_TLS_WANTED && p.is_trusted && p.tls == RELAY_TLS_OPPORTUNISTIC)
        p.tries_proof = !p.must_tls;
    return p;
}
