/* What became of TLS with a host, in the words of TLS-RPT [RFC8460 4.3], for tlspol to add up: once
 * for each transaction that was tried over a connection. Failures of the network are not counted
 * [RFC8460 4.3.4]. */
#include "relay/where_int.h"

#include "tlspol/tlspol.h"

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
