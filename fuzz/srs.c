/* Fuzz target: addresses that bounces of forwarded mail come to. Aborts when one is taken that was
 * not made here, or when one that is made here does not lead back. */
#include "deliver/srs.h"
#include "fuzz/fuzz.h"

static const unsigned char secret[SRS_SECRET] = "an example of thirty-two bytes..";

enum { TODAY = 20778 };

static void demand_way_back(struct str sender)
{
    struct buf to = {.cap = 4096}, back = {.cap = 4096};
    if (srs_forward(secret, TODAY, sender, STR("ours.test"), &to) == RC_OK) {
        struct str address = buf_str(&to);
        struct str local = str_head(address, (size_t)str_rfind_byte(address, '@'));
        struct str given = str_head(sender, (size_t)str_rfind_byte(sender, '@'));
        FUZZ_DEMAND(srs_is(local) && local.n < SRS_LOCAL_MAX + 20);
        enum rc rc = srs_reverse(secret, TODAY, local, &back);
        FUZZ_DEMAND(rc == RC_OK || srs_is(given)); /* somebody else's nonsense */
        FUZZ_DEMAND(rc != RC_OK || srs_is(given) || str_eq(buf_str(&back), sender));
    }
    buf_fini(&to);
    buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_from(data, size);
    struct buf back = {.cap = 4096};
    enum rc rc = srs_reverse(secret, TODAY, input, &back);
    FUZZ_DEMAND(rc == RC_OK || rc == RC_DENIED || rc == RC_EOF || rc == RC_LIMIT);
    FUZZ_DEMAND(rc != RC_OK || str_find_byte(buf_str(&back), '@') > 0);
    buf_fini(&back);
    demand_way_back(input);
    return 0;
}
