/* Fuzz target: what is kept of a search. The input is the order of a SORT, a line end, and then
 * changes of its results. Aborts when an order is beyond its limits, when a set or a list is not
 * what a plain model says, or when a client that does as it is told comes to another list.
 */
#include "fuzz/fuzz.h"
#include "imap/context_int.h"

#include <string.h>

enum { UIDS = 64 };

static struct store_row row_of(uint32_t uid)
{
    return (struct store_row){
        .uid = uid, .size = uid % 5, .received = uid % 3 * UINT64_C(1000000000)};
}

static void put_key(const struct imap_sort_order *order, uint32_t uid, struct buf *out)
{
    static const char text[] = "\0\0a\0ab\xff";
    struct str values[IMAP_SORT_FIELDS];
    struct store_row row = row_of(uid);
    for (size_t i = 0; i < IMAP_SORT_FIELDS; i++)
        values[i] = str_from(text, (uid + i) % sizeof text);
    buf_clear(out);
    out->cap = 10000;
    imap_sort_key(order, &row, values, out);
}

static struct imap_uids set_of(uint64_t bits)
{
    struct imap_uids u = {0};
    for (uint32_t i = 0; i < UIDS; i++)
        if (bits >> i & 1)
            imap_uids_add(&u, i + 1, i + 1);
    return u;
}

static void demand_set(const struct imap_uids *u, uint64_t bits)
{
    for (uint32_t i = 0; i < UIDS; i++)
        FUZZ_DEMAND(imap_uids_have(u, i + 1) == (bits >> i & 1));
    for (size_t i = 1; i < u->n; i++)
        FUZZ_DEMAND(u->at[i].from > u->at[i - 1].to + 1);
}

static void demand_order(const struct imap_sorted *s, uint64_t bits)
{
    FUZZ_DEMAND(s->n == (size_t)__builtin_popcountll(bits));
    for (size_t i = 0; i < s->n; i++) {
        struct str key = str_from(s->at[i].key, s->at[i].n_key);
        FUZZ_DEMAND(bits >> (s->at[i].uid - 1) & 1);
        FUZZ_DEMAND(imap_sorted_place(s, key) == i);
    }
}

static void change(const struct imap_sort_order *order, struct imap_uids *u, struct imap_sorted *s,
                   uint64_t *bits, uint64_t turned)
{
    struct imap_uids gone = set_of(*bits & turned), come = set_of(~*bits & turned);
    struct buf key = {0};
    imap_uids_subtract(u, &gone);
    imap_sorted_subtract(s, &gone);
    for (uint32_t i = 0; i < UIDS; i++) {
        if (!((~*bits & turned) >> i & 1))
            continue;
        put_key(order, i + 1, &key);
        imap_sorted_insert(s, imap_sorted_place(s, buf_str(&key)), i + 1, buf_str(&key));
    }
    imap_uids_unite(u, &come);
    *bits ^= turned;
    demand_set(u, *bits);
    demand_order(s, *bits);
    buf_fini(&key);
    imap_uids_fini(&gone);
    imap_uids_fini(&come);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_from(data, size), line;
    struct imap_sort_order order;
    if (!str_cut(&rest, '\n', &line))
        return 0;
    struct imap_parse p = {.rest = line};
    if (!imap_take_sort_order(&p, &order)) {
        FUZZ_DEMAND(p.error);
        return 0;
    }
    FUZZ_DEMAND(order.n && order.n <= IMAP_SORT_CRITERIA);
    struct imap_uids u = {0};
    struct imap_sorted s = {0};
    uint64_t bits = 0, turned;
    for (; rest.n >= sizeof turned; rest = str_skip(rest, sizeof turned)) {
        memcpy(&turned, rest.p, sizeof turned);
        change(&order, &u, &s, &bits, turned);
    }
    imap_sorted_subtract(&s, &u);
    FUZZ_DEMAND(!s.n && !s.bytes);
    imap_sorted_fini(&s);
    imap_uids_fini(&u);
    return 0;
}
