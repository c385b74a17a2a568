/* Fuzz target: which mailboxes a client means. The input is specifiers with spaces between, a line
 * end, and names to hold against them. Aborts when names are beyond their limit or out of order, or
 * when a mailbox is met although no name is that of it or of one above it, or the other way round.
 */
#include "fuzz/fuzz.h"
#include "imap/filter_int.h"

enum { ALL = (1 << (IMAP_FILTER_MAILBOXES + 1)) - 1 };

/* The plain way. */
static bool is_named(const struct imap_filter *f, struct str path)
{
    for (size_t i = 0; i < f->n_names; i++) {
        struct str name = f->names[i];
        struct str rest = str_skip(path, name.n);
        bool is_same = str_eq(path, name);
        bool is_below = str_starts(path, name) && str_starts(rest, STR("/"));
        bool is_child = is_below && str_find_byte(str_skip(rest, 1), '/') < 0;
        if (is_same || (f->kind == IMAP_FILTER_SUBTREE && is_below) ||
            (f->kind == IMAP_FILTER_SUBTREE_ONE && is_child))
            return true;
    }
    return false;
}

static size_t count_levels(struct str path)
{
    size_t n = 1;
    for (size_t i = 0; i < path.n; i++)
        n += path.p[i] == '/';
    return n;
}

static void check(const struct imap_filter *f, struct str names)
{
    struct str name;
    for (size_t i = 1; i < f->n_names; i++)
        FUZZ_DEMAND(str_cmp(f->names[i - 1], f->names[i]) <= 0);
    while (names.n && str_cut(&names, '\n', &name)) {
        struct imap_filter_place place = {.path = name.p ? name : STR("")};
        if (count_levels(place.path) <= STORE_LEVELS && f->kind >= IMAP_FILTER_SUBTREE)
            FUZZ_DEMAND(imap_filter_meets(f, &place) == is_named(f, place.path));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {.cap = 8 << 20};
    struct str names = str_from(data, size), line;
    size_t n_names = 0;
    struct imap_filter f;
    if (!str_cut(&names, '\n', &line))
        return 0;
    struct imap_parse p = {.rest = line, .arena = &arena};
    bool is_good;
    do {
        is_good = imap_take_filter(&p, ALL, &n_names, &f);
        FUZZ_DEMAND(is_good || p.error);
        if (is_good)
            check(&f, names);
        FUZZ_DEMAND(!is_good || n_names <= IMAP_FILTER_NAMES);
    } while (is_good && imap_take_byte(&p, ' '));
    arena_fini(&arena);
    return 0;
}
