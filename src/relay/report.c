/* What became of TLS with a host, in the words of TLS-RPT [RFC8460 4.3], for tlspol to add up: once
 * for each transaction that was tried over a connection. Failures of the network are not counted
 * [RFC8460 4.3.4]. */
#include "relay/where_int.h"

#include "tlspol/tlspol.h"

#include <stdio.h>

static enum tlspol_result result_of(const struct relay_target *t, const struct relay_facts *f)
{
    static const enum tlspol_result of_certificate[] = {
        [NET_CERTIFICATE_FINE] = TLSPOL_VALIDATION_FAILURE,
        [NET_CERTIFICATE_UNTRUSTED] = TLSPOL_CERTIFICATE_NOT_TRUSTED,
        [NET_CERTIFICATE_EXPIRED] = TLSPOL_CERTIFICATE_EXPIRED,
        [NET_CERTIFICATE_NAME] = TLSPOL_CERTIFICATE_HOST_MISMATCH,
        [NET_CERTIFICATE_TLSA] = TLSPOL_VALIDATION_FAILURE,
        [NET_CERTIFICATE_BAD] = TLSPOL_CERTIFICATE_NOT_TRUSTED,
    };
    if (t->policy == RELAY_BY_NONE && f->is_secure)
        return TLSPOL_SUCCESS; /* nobody has asked for more */
    if (f->handshake.failure == NET_FAILED_CERTIFICATE)
        return of_certificate[f->handshake.certificate];
    if (f->handshake.failure == NET_FAILED_TLS)
        return TLSPOL_VALIDATION_FAILURE;
    if (t->has_dane && t->n_tlsa == 0)
        return TLSPOL_TLSA_INVALID;
    if (!f->is_secure && !f->has_starttls)
        return TLSPOL_STARTTLS_NOT_SUPPORTED;
    return f->is_secure ? TLSPOL_SUCCESS : TLSPOL_VALIDATION_FAILURE;
}

/* --- for people ------------------------------------------------------------------------------- */

static const char *const policies[] = {[RELAY_BY_NONE] = "",
                                       [RELAY_BY_ROUTE] = "the route",
                                       [RELAY_BY_DANE] = "dane",
                                       [RELAY_BY_STS] = "mta-sts"};

/* What the certificate was checked by; of who was not checked, whether somebody asked for it. */
static void put_proof(const struct relay_target *t, const struct relay_facts *f, bool requires_tls,
                      struct buf *out)
{
    bool has_policy = t->policy != RELAY_BY_NONE && t->must_tls;
    if (f->proof == NET_PROOF_NONE)
        buf_putf(out, ", opportunistic, not verified");
    else if (f->proof == NET_PROOF_NAMED)
        buf_putf(out, ", verified by %s", has_policy ? policies[t->policy] : "its name");
    else
        buf_putf(out, ", verified by dane (%s)", f->proof == NET_PROOF_DANE_EE ? "EE" : "TA");
    if (f->proof == NET_PROOF_NONE && t->has_dane && t->n_tlsa == 0)
        buf_put(out, STR(": no TLSA record can be used"));
    if (requires_tls && f->proof != NET_PROOF_NONE)
        buf_put(out, STR(", as REQUIRETLS asks"));
}

static void put_why_not(const struct relay_target *t, const struct relay_facts *f, struct buf *out)
{
    bool is_failed =
        f->handshake.failure == NET_FAILED_TLS || f->handshake.failure == NET_FAILED_CERTIFICATE;
    if (t->protocol == RELAY_LMTP || t->tls == RELAY_TLS_NEVER)
        buf_put(out, STR("no TLS: it is not wanted"));
    else if (is_failed && !t->must_tls) /* otherwise that is what ended it */
        buf_putf(out, "no TLS: %s", f->handshake.text);
    else if (is_failed || f->has_starttls)
        buf_put(out, STR("no TLS"));
    else
        buf_put(out, STR("no TLS: it is not offered"));
    if (t->must_tls)
        buf_putf(out, ", and %s asks for it",
                 t->policy == RELAY_BY_NONE ? "REQUIRETLS" : policies[t->policy]);
}

void relay_tls_words(const struct relay_target *target, const struct relay_facts *facts,
                     bool requires_tls, char out[RELAY_TLS_TEXT])
{
    struct buf b;
    out[0] = '\0';
    if (!facts->is_connected)
        return;
    buf_init(&b, 1024);
    if (facts->is_secure) {
        buf_put(&b, str_of(facts->tls));
        put_proof(target, facts, requires_tls, &b);
        if (facts->handshake.failure != NET_FAILED_NOT)
            buf_putf(&b, ": %s", facts->handshake.text);
    } else {
        put_why_not(target, facts, &b);
    }
    snprintf(out, RELAY_TLS_TEXT, "%.*s", STR_ARG(buf_str(&b)));
    buf_fini(&b);
}

/* --- for TLS-RPT ------------------------------------------------------------------------------ */

static enum tlspol_kind kind_of(uint8_t policy)
{
    return policy == RELAY_BY_DANE  ? TLSPOL_BY_TLSA
           : policy == RELAY_BY_STS ? TLSPOL_BY_STS
                                    : TLSPOL_BY_NONE;
}

void relay_report_session(const struct relay_house *house, const struct relay_target *target,
                          const struct relay_facts *facts, struct str domain)
{
    bool is_ours = target->policy == RELAY_BY_ROUTE || target->policy == RELAY_BY_SENDER ||
                   target->protocol == RELAY_LMTP; /* decided here */
    if (!house->tlspol || !facts->is_connected || is_ours)
        return;
    const struct tlspol_event event = {.domain = domain,
                                       .kind = kind_of(target->policy),
                                       .result = result_of(target, facts),
                                       .host = target->host};
    tlspol_count(house->tlspol, &event);
}

void relay_report_skipped(const struct relay_house *house, enum policy_verdict verdict,
                          struct str domain, struct str host)
{
    if (!house->tlspol || (verdict != POLICY_SKIP_DANE && verdict != POLICY_SKIP_STS))
        return;
    bool is_dane = verdict == POLICY_SKIP_DANE;
    const struct tlspol_event event = {.domain = domain,
                                       .kind = is_dane ? TLSPOL_BY_TLSA : TLSPOL_BY_STS,
                                       .result = is_dane ? TLSPOL_DNSSEC_INVALID
                                                         : TLSPOL_VALIDATION_FAILURE,
                                       .host = host};
    tlspol_count(house->tlspol, &event);
}
