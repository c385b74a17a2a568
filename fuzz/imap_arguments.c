/* Fuzz target: the arguments of SELECT, STORE, ENABLE, UIDBATCHES, REPLACE, UID FETCH and SORT; the
 * first byte says which, and whether something has been saved for "$". Aborts when something is
 * taken that is beyond its limits or not as it is said to be, or refused without a word. */
#include "fuzz/fuzz.h"
#include "imap/arguments_int.h"
#include "imap/fetch_int.h"
#include "imap/search_int.h"

enum { SAVED = 3 };

static void check_set(const struct imap_set *set, bool is_plain)
{
    FUZZ_DEMAND(set->n <= IMAP_RANGES_MAX && (set->n || set->is_saved));
    FUZZ_DEMAND(!set->n || set->ranges);
    for (size_t i = 0; i < set->n; i++)
        FUZZ_DEMAND(set->ranges[i].from && set->ranges[i].from <= set->ranges[i].to &&
                    (!is_plain || set->ranges[i].to < UINT32_MAX));
}

static uint64_t check_ascending(const struct imap_set *set)
{
    uint64_t n = 0;
    uint32_t last = 0;
    check_set(set, true);
    for (size_t i = 0; i < set->n; i++) {
        FUZZ_DEMAND(set->ranges[i].from > last);
        last = set->ranges[i].to;
        n += (uint64_t)last - set->ranges[i].from + 1;
    }
    return n;
}

static bool take_selecting(struct imap_parse *p)
{
    struct imap_selecting k;
    if (!imap_take_selecting(p, &k))
        return false;
    FUZZ_DEMAND(k.is_qresync || (!k.known.uidvalidity && !k.known.has_uids && !k.known.has_pairs));
    FUZZ_DEMAND(!k.is_qresync || (k.known.uidvalidity && k.known.modseq <= INT64_MAX));
    if (k.known.has_uids)
        check_set(&k.known.uids, true);
    if (k.known.has_pairs)
        FUZZ_DEMAND(check_ascending(&k.known.numbers) == check_ascending(&k.known.their_uids));
    FUZZ_DEMAND(!p->rest.n);
    return true;
}

static bool take_storing(struct imap_parse *p)
{
    const uint32_t all = STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT;
    struct imap_storing k;
    if (!imap_take_storing(p, &k))
        return false;
    check_set(&k.set, false);
    FUZZ_DEMAND(k.is_conditional ? k.since <= INT64_MAX : k.since == UINT64_MAX);
    FUZZ_DEMAND(!(k.flags.flags & ~all) && k.flags.n_keywords <= STORE_KEYWORDS);
    FUZZ_DEMAND(!p->rest.n);
    return true;
}

static bool take_batches(struct imap_parse *p)
{
    struct imap_batches k;
    if (!imap_take_batches(p, &k))
        return false;
    FUZZ_DEMAND(k.size && k.from && k.to && !p->rest.n);
    return true;
}

static bool take_one(struct imap_parse *p)
{
    struct imap_set set;
    if (!imap_take_one(p, &set))
        return false;
    check_set(&set, false);
    FUZZ_DEMAND(set.n == 1 && !set.is_saved && set.ranges->from == set.ranges->to);
    return true;
}

static bool take_enabling(struct imap_parse *p)
{
    uint64_t rows;
    return imap_take_enabling(p, &rows);
}

static void check_partial(const struct imap_partial *part)
{
    for (size_t n = 0; n < 5; n++) {
        size_t first, here = imap_partial_of(part, n, &first);
        FUZZ_DEMAND(first + here <= n && here <= (uint64_t)part->to - part->from + 1);
    }
    FUZZ_DEMAND(part->from && part->from <= part->to);
}

static bool take_fetch(struct imap_parse *p)
{
    struct imap_set set;
    struct imap_fetch_program k;
    if (!imap_take_set(p, &set) || !imap_take_sp(p) || !imap_take_fetch(p, true, &k))
        return false;
    check_set(&set, false);
    FUZZ_DEMAND(!k.has_since || k.since <= INT64_MAX);
    if (k.has_partial)
        check_partial(&k.partial);
    FUZZ_DEMAND(!p->rest.n);
    return true;
}

static bool take_sort(struct imap_parse *p)
{
    struct imap_return want;
    struct imap_search_program k;
    if (!imap_take_return(p, &want) || !imap_take_sort_search(p, &k))
        return false;
    FUZZ_DEMAND(k.n_keys <= IMAP_SEARCH_KEYS && k.charset.n);
    if (want.items & IMAP_RETURN_PARTIAL)
        check_partial(&want.partial);
    FUZZ_DEMAND(!p->rest.n);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool (*const takers[])(struct imap_parse * p) = {
        take_selecting, take_storing, take_enabling, take_batches, take_one, take_fetch, take_sort};
    enum { N = sizeof takers / sizeof *takers };
    struct arena arena = {.cap = 16 << 20};
    if (!size)
        return 0;
    struct imap_saved *saved = arena_zero(&arena, sizeof *saved + SAVED * sizeof *saved->at);
    FUZZ_DEMAND(saved);
    saved->n = SAVED;
    for (uint32_t i = 0; i < SAVED; i++)
        saved->at[i] = (struct imap_range){i * 10 + 1, i * 10 + 5};
    struct imap_parse p = {.rest = str_from(data + 1, size - 1),
                           .arena = &arena,
                           .saved = data[0] & 128 ? saved : NULL};
    bool is_good = takers[data[0] % N](&p);
    FUZZ_DEMAND(is_good == !p.error);
    arena_fini(&arena);
    return 0;
}
