/* Fuzz target: the header of a balancer. Aborts when what is told of it depends on how much of it
 * has come, when views lie outside, or when its size is not kept to. */
#include "fuzz/fuzz.h"
#include "net/net_int.h"

static void demand_inside(struct str part, struct str whole)
{
    if (part.n)
        FUZZ_DEMAND(part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_from(data, size);
    struct proxy p, again;
    size_t n, part_n;
    enum rc rc = proxy_size(in, &n);
    FUZZ_DEMAND(n >= PROXY_HEAD);
    for (size_t i = 0; i < size && i < 64; i++) {
        enum rc part = proxy_size(str_head(in, i), &part_n);
        FUZZ_DEMAND(part == RC_AGAIN || part == rc || (rc == RC_AGAIN && part == RC_OK));
        FUZZ_DEMAND(part != RC_OK || part_n <= i);
    }
    enum rc parsed = proxy_parse(in, &p);
    FUZZ_DEMAND(rc == RC_OK || parsed == rc);
    if (parsed != RC_OK)
        return 0;
    FUZZ_DEMAND(n <= size && n <= PROXY_MAX);
    FUZZ_DEMAND(proxy_parse(str_head(in, n), &again) == RC_OK);
    FUZZ_DEMAND(again.is_local == p.is_local && again.is_secure == p.is_secure);
    demand_inside(p.tls_version, in);
    demand_inside(p.tls_cipher, in);
    return 0;
}
