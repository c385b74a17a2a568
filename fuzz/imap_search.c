/* Fuzz target: what SEARCH returns, and its keys. Aborts when a program is beyond its limits, when
 * many rows at once and one alone are decided differently, or when a program and its opposite are
 * not opposite.
 */
#include "fuzz/fuzz.h"
#include "imap/search_int.h"

enum { ROWS = 70 };

static const struct mime_charsets *the_charsets(void)
{
    static struct mime_charsets *charsets;
    unsigned missing;
    if (!charsets)
        mime_charsets_new(&charsets, &missing);
    return charsets;
}

static unsigned depth_of(const struct imap_search_key *key)
{
    unsigned deepest = 0;
    for (; key; key = key->next) {
        unsigned depth = 1 + depth_of(key->first);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

static void demand_rows(const struct imap_search_key *all)
{
    struct imap_search_key no = {.kind = IMAP_SEARCH_NOT};
    struct imap_search_bits bits, opposite;
    struct imap_search_key copy = *all;
    struct store_row rows[ROWS];
    no.first = &copy;
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = (struct store_row){.uid = (uint32_t)i + 1,
                                     .flags = (uint32_t)i % 32,
                                     .keywords = i % 5,
                                     .size = i * i * i,
                                     .received = i * i * UINT64_C(86400000000000)};
    imap_search_rows(all, rows, ROWS, 0, &bits);
    imap_search_rows(&no, rows, ROWS, 0, &opposite);
    for (size_t i = 0; i < IMAP_SEARCH_ROWS; i++) {
        bool yes = bits.yes[i / 64] >> (i % 64) & 1, may = bits.may[i / 64] >> (i % 64) & 1;
        bool no_yes = opposite.yes[i / 64] >> (i % 64) & 1;
        FUZZ_DEMAND(i < ROWS || (!may && !no_yes));
        FUZZ_DEMAND(!yes || may);
        FUZZ_DEMAND(i >= ROWS || no_yes == !may);
        enum imap_search_answer one = i < ROWS ? imap_search_row(all, &rows[i], i) : IMAP_SEARCH_NO;
        FUZZ_DEMAND(yes == (one == IMAP_SEARCH_YES) && may == (one != IMAP_SEARCH_NO));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {.cap = 4 << 20};
    struct imap_search_program program;
    struct imap_parse p = {.rest = str_from(data, size), .arena = &arena};
    struct imap_return want;
    if (imap_take_return(&p, &want) && imap_take_search(&p, &program)) {
        size_t first, n = 1000;
        FUZZ_DEMAND(want.is_given || (!want.items && !want.is_update));
        if (want.items & IMAP_RETURN_PARTIAL)
            FUZZ_DEMAND(imap_partial_of(&want.partial, n, &first) + first <= n);
        FUZZ_DEMAND(!p.rest.n && !p.error);
        FUZZ_DEMAND(program.n_keys <= IMAP_SEARCH_KEYS && program.n_texts <= IMAP_SEARCH_TEXTS);
        FUZZ_DEMAND(depth_of(program.all) <= IMAP_SEARCH_DEPTH + 1);
        demand_rows(program.all);
        if (imap_search_fold(&program, the_charsets(), &arena) == RC_OK)
            for (size_t i = 0; i < program.n_texts; i++)
                FUZZ_DEMAND(program.texts[i]->text.n <= MIME_NEEDLE_MAX);
    } else {
        FUZZ_DEMAND(p.error);
    }
    arena_fini(&arena);
    return 0;
}
