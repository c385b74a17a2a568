/* Fuzz target: what LIST and LSUB ask for. Aborts when there are more patterns than are allowed, or
 * options that cannot go together. */
#include "fuzz/fuzz.h"
#include "imap/list_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {.cap = 4 << 20};
    struct imap_list list;
    if (!size || size > 4096)
        return 0;
    struct imap_parse p = {
        .rest = str_from(data + 1, size - 1), .arena = &arena, .is_utf8 = data[0] & 1};
    if (data[0] & 2 ? imap_take_lsub(&p, &list) : imap_take_list(&p, &list)) {
        FUZZ_DEMAND(!p.rest.n && list.n_patterns <= IMAP_PATTERNS_MAX);
        FUZZ_DEMAND(!(list.select & IMAP_LIST_RECURSIVE) || list.select & IMAP_LIST_CRITERIA);
        FUZZ_DEMAND(!(list.select & IMAP_LIST_SUBSCRIBED) || list.returns & IMAP_LIST_SUBSCRIBED);
        FUZZ_DEMAND(!(list.returns & IMAP_LIST_STATUS) || list.status);
        for (size_t i = 0; i < list.n_patterns; i++)
            FUZZ_DEMAND(list.patterns[i].p);
        imap_list_matches(&list, STR("INBOX/below"));
    } else {
        FUZZ_DEMAND(p.error);
    }
    arena_fini(&arena);
    return 0;
}
