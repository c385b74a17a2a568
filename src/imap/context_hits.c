/* Results of searches as they are kept: sets of UIDs, and lists in an order; and how their changes
 * are told [RFC5267 4.3.2]. Pure.
 *
 * Invariant: a set is as long as it has gaps, not as it has messages. */
#include "imap/context_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* --- sets of UIDs ----------------------------------------------------------------------------- */

void imap_uids_fini(struct imap_uids *u)
{
    free(u->at);
    *u = (struct imap_uids){0};
}

/* The first range that ends at the UID or behind it. */
static size_t find(const struct imap_uids *u, uint32_t uid)
{
    size_t from = 0, to = u->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (u->at[mid].to < uid)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

bool imap_uids_have(const struct imap_uids *u, uint32_t uid)
{
    size_t at = find(u, uid);
    return at < u->n && u->at[at].from <= uid;
}

void imap_uids_add(struct imap_uids *u, uint32_t from, uint32_t to)
{
    struct imap_range *last = u->n ? &u->at[u->n - 1] : NULL;
    if (last && from <= last->to + 1) {
        last->to = to > last->to ? to : last->to;
        return;
    }
    u->at = mem_array(u->at, &u->size, u->n + 1, sizeof *u->at);
    u->at[u->n++] = (struct imap_range){from, to};
}

static void replace(struct imap_uids *u, struct imap_uids *by)
{
    imap_uids_fini(u);
    *u = *by;
}

void imap_uids_unite(struct imap_uids *u, const struct imap_uids *more)
{
    struct imap_uids all = {0};
    size_t i = 0, j = 0;
    if (!more->n)
        return;
    while (i < u->n || j < more->n) {
        bool is_first = j == more->n || (i < u->n && u->at[i].from <= more->at[j].from);
        struct imap_range r = is_first ? u->at[i++] : more->at[j++];
        imap_uids_add(&all, r.from, r.to);
    }
    replace(u, &all);
}

void imap_uids_subtract(struct imap_uids *u, const struct imap_uids *less)
{
    struct imap_uids left = {0};
    size_t j = 0;
    if (!less->n)
        return;
    for (size_t i = 0; i < u->n; i++) {
        uint32_t from = u->at[i].from, to = u->at[i].to;
        while (j < less->n && less->at[j].to < from)
            j++;
        for (size_t k = j; k < less->n && less->at[k].from <= to && from <= to; k++) {
            if (less->at[k].from > from)
                imap_uids_add(&left, from, less->at[k].from - 1);
            from = less->at[k].to + 1;
        }
        if (from <= to)
            imap_uids_add(&left, from, to);
    }
    replace(u, &left);
}

/* --- lists in an order ------------------------------------------------------------------------ */

enum { OVERHEAD = 16 /* of allocating */ };

void imap_sorted_fini(struct imap_sorted *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->at[i].key);
    free(s->at);
    *s = (struct imap_sorted){0};
}

static int compare(struct str a, struct str b)
{
    int n = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return n ? n : a.n < b.n ? -1 : a.n > b.n;
}

static struct str key_of(const struct imap_sorted_hit *hit)
{
    return str_from(hit->key, hit->n_key);
}

size_t imap_sorted_place(const struct imap_sorted *s, struct str key)
{
    size_t from = 0, to = s->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (compare(key_of(&s->at[mid]), key) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

void imap_sorted_insert(struct imap_sorted *s, size_t place, uint32_t uid, struct str key)
{
    s->at = mem_array(s->at, &s->size, s->n + 1, sizeof *s->at);
    memmove(&s->at[place + 1], &s->at[place], (s->n - place) * sizeof *s->at);
    s->at[place] = (struct imap_sorted_hit){uid, (uint32_t)key.n, mem_dup(key.p, key.n)};
    s->n++;
    s->bytes += sizeof *s->at + OVERHEAD + key.n;
}

void imap_sorted_add(struct imap_sorted *s, uint32_t uid, struct str key)
{
    imap_sorted_insert(s, s->n, uid, key);
}

static int by_key(const void *a, const void *b)
{
    return compare(key_of(a), key_of(b));
}

void imap_sorted_sort(struct imap_sorted *s)
{
    if (s->n)
        qsort(s->at, s->n, sizeof *s->at, by_key);
}

void imap_sorted_subtract(struct imap_sorted *s, const struct imap_uids *less)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct imap_sorted_hit *hit = &s->at[i];
        if (imap_uids_have(less, hit->uid)) {
            s->bytes -= sizeof *s->at + OVERHEAD + hit->n_key;
            free(hit->key);
        } else {
            s->at[n++] = *hit;
        }
    }
    s->n = n;
}

/* --- what is told ----------------------------------------------------------------------------- */

enum { ITEMS = 500 }; /* in one line */

static void put_range(struct imap_told_set *t)
{
    if (!t->from)
        return;
    imap_put_u64(t->out, t->from);
    if (t->to > t->from) {
        buf_put(t->out, STR(":"));
        imap_put_u64(t->out, t->to);
    }
    t->from = 0;
    t->n_items++;
}

void imap_told_end(struct imap_told_set *t)
{
    put_range(t);
    if (t->n_sets)
        buf_put(t->out, STR(")\r\n"));
    t->n_sets = t->n_items = 0;
}

static void begin_set(struct imap_told_set *t, uint32_t place)
{
    buf_put(t->out, t->n_sets++ ? STR(" ") : t->head);
    imap_put_u64(t->out, place);
    buf_put(t->out, STR(" "));
    t->place = place;
}

/* A range only where numbers go up [RFC5267 3.2]. */
void imap_told_put(struct imap_told_set *t, uint32_t place, struct imap_range numbers, bool is_new)
{
    if (t->from && !is_new && numbers.from == t->to + 1) {
        t->to = numbers.to;
        return;
    }
    bool is_first = !t->n_sets;
    put_range(t);
    if (t->n_items >= ITEMS) {
        imap_told_end(t);
        is_first = true;
    }
    if (is_first || is_new)
        begin_set(t, place);
    else
        buf_put(t->out, STR(","));
    t->from = numbers.from;
    t->to = numbers.to;
}
