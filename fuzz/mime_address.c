/* Fuzz target: the addresses of a field. Aborts when one is empty, has no '@' with something before
 * it, or holds a control character outside quotes; when reading does not move on; or when an
 * address written by itself is read as something else. */
#include "fuzz/fuzz.h"
#include "mime/mime.h"

enum { ADDRESS_MAX = 300 };

static void demand_same(struct str address)
{
    struct buf again;
    buf_init(&again, ADDRESS_MAX);
    struct str rest = address;
    FUZZ_DEMAND(mime_address_next(&rest, &again) == RC_OK);
    FUZZ_DEMAND(str_eq(buf_str(&again), address) && rest.n == 0);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from(data, size);
    struct buf address;
    size_t before = rest.n + 1;
    buf_init(&address, ADDRESS_MAX);
    while (mime_address_next(&rest, &address) == RC_OK) {
        FUZZ_DEMAND(rest.n < before);
        before = rest.n;
        FUZZ_DEMAND(str_find_byte(buf_str(&address), '@') > 0);
        demand_same(buf_str(&address));
    }
    buf_fini(&address);
    return 0;
}
