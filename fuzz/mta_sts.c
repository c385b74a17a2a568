/* Fuzz target: MTA-STS, the policy and the TXT record. Aborts when something was taken that could
 * not be applied: no mode, patterns that no host can have, an id that is none. */
#include "dns/dns.h"
#include "fuzz/fuzz.h"
#include "tlspol/tlspol.h"

static void demand_policy(const struct tlspol_policy *p)
{
    FUZZ_DEMAND(p->mode == TLSPOL_NONE || p->n_mx > 0);
    FUZZ_DEMAND(p->n_mx <= TLSPOL_MX_MAX && p->max_age <= 31557600);
    for (size_t i = 0; i < p->n_mx; i++) {
        struct str mx = p->mx[i];
        struct str host = str_starts(mx, STR("*.")) ? str_skip(mx, 2) : mx;
        FUZZ_DEMAND(dns_is_host(host));
        FUZZ_DEMAND(tlspol_matches(p, host) || host.n != mx.n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size), id = {0};
    struct tlspol_policy policy;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    if (tlspol_parse(text, &arena, &policy) == RC_OK)
        demand_policy(&policy);
    if (tlspol_txt_parse(text, &id) == RC_OK) {
        FUZZ_DEMAND(id.n > 0 && id.n <= TLSPOL_ID_MAX);
        for (size_t i = 0; i < id.n; i++)
            FUZZ_DEMAND(ascii_is_alpha(id.p[i]) || ascii_is_digit(id.p[i]));
    }
    tlspol_matches(&policy, text);
    arena_fini(&arena);
    return 0;
}
