/* Values into ranks, and numbers into order. Pure. */
#include "imap/sort_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static struct str value_at(const struct imap_column *c, uint32_t i)
{
    uint32_t from = i ? c->ends[i - 1] : 0;
    return str_from(c->text + from, c->ends[i] - from);
}

static int compare(const struct imap_column *c, uint32_t a, uint32_t b)
{
    struct str x = value_at(c, a), y = value_at(c, b);
    int n = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return n ? n : x.n < y.n ? -1 : x.n > y.n;
}

/* Numbers first: mostly the first eight bytes tell. */
struct item {
    uint64_t prefix;
    uint32_t at;
};

static uint64_t prefix_of(struct str s)
{
    unsigned char bytes[8] = {0};
    memcpy(bytes, s.p, s.n < sizeof bytes ? s.n : sizeof bytes);
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        n = n << 8 | bytes[i];
    return n;
}

static int by_value(const void *a, const void *b, void *column)
{
    const struct item *x = a, *y = b;
    if (x->prefix != y->prefix)
        return x->prefix < y->prefix ? -1 : 1;
    int n = compare(column, x->at, y->at);
    return n ? n : x->at < y->at ? -1 : x->at > y->at;
}

/* The old ones in their order, by counting. */
static void place_old(const struct imap_column *old, size_t n, uint32_t *out)
{
    size_t n_ranks = 0;
    for (size_t i = 0; i < n; i++)
        n_ranks = old->ranks[i] >= n_ranks ? (size_t)old->ranks[i] + 1 : n_ranks;
    uint32_t *starts = mem_zero((n_ranks + 1) * sizeof *starts);
    for (size_t i = 0; i < n; i++)
        starts[old->ranks[i] + 1]++;
    for (size_t r = 0; r < n_ranks; r++)
        starts[r + 1] += starts[r];
    for (size_t i = 0; i < n; i++)
        out[starts[old->ranks[i]]++] = (uint32_t)i;
    free(starts);
}

/* Where in the sorted ones a value belongs: behind those that are not greater. */
static size_t place_of(const struct imap_column *c, const uint32_t *sorted, size_t from, size_t to,
                       uint32_t value)
{
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (compare(c, sorted[mid], value) <= 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static void merge(const struct imap_column *c, const uint32_t *sorted, size_t n_sorted,
                  const struct item *added, size_t n_added, uint32_t *out)
{
    size_t at = 0, n = 0;
    for (size_t i = 0; i < n_added; i++) {
        size_t to = place_of(c, sorted, at, n_sorted, added[i].at);
        memcpy(out + n, sorted + at, (to - at) * sizeof *out);
        n += to - at;
        at = to;
        out[n++] = added[i].at;
    }
    memcpy(out + n, sorted + at, (n_sorted - at) * sizeof *out);
}

void imap_column_rank(struct imap_column *column, const struct imap_column *old, size_t n_old)
{
    size_t n = column->n, n_added = n - n_old;
    uint32_t *sorted = mem_alloc((n_old + 1) * sizeof *sorted);
    uint32_t *all = mem_alloc((n + 1) * sizeof *all);
    struct item *added = mem_alloc((n_added + 1) * sizeof *added);
    if (n_old)
        place_old(old, n_old, sorted);
    for (size_t i = 0; i < n_added; i++) {
        uint32_t at = (uint32_t)(n_old + i);
        added[i] = (struct item){prefix_of(value_at(column, at)), at};
    }
    qsort_r(added, n_added, sizeof *added, by_value, column);
    merge(column, sorted, n_old, added, n_added, all);
    column->ranks = mem_alloc((n + 1) * sizeof *column->ranks);
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        bool both_old = i && all[i] < n_old && all[i - 1] < n_old;
        bool is_same = both_old ? old->ranks[all[i]] == old->ranks[all[i - 1]]
                                : i && compare(column, all[i - 1], all[i]) == 0;
        rank += i && !is_same;
        column->ranks[all[i]] = rank;
    }
    free(sorted);
    free(all);
    free(added);
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* Byte by byte from the last one on; bytes that all keys share take no pass. */
void imap_sort_pairs(struct imap_sort_pair *pairs, struct imap_sort_pair *room, size_t n)
{
    struct imap_sort_pair *from = pairs, *to = room;
    uint64_t differ = 0;
    for (size_t i = 1; i < n; i++)
        differ |= pairs[i].key ^ pairs[0].key;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t starts[257] = {0};
        if (!(differ >> shift & 0xff))
            continue;
        for (size_t i = 0; i < n; i++)
            starts[(from[i].key >> shift & 0xff) + 1]++;
        for (size_t i = 1; i < 256; i++)
            starts[i] += starts[i - 1];
        for (size_t i = 0; i < n; i++)
            to[starts[from[i].key >> shift & 0xff]++] = from[i];
        struct imap_sort_pair *was = from;
        from = to;
        to = was;
    }
    if (from != pairs && n)
        memcpy(pairs, from, n * sizeof *pairs);
}
