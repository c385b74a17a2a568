/* Sequence sets [RFC3501 9] [RFC9051 9]: read from a command, and what they mean in a mailbox;
 * places in what ascends. Pure. */
#include "imap/parse_int.h"

#include <stdlib.h>

static bool take_seq_number(struct imap_parse *p, uint32_t *out)
{
    if (imap_take_byte(p, '*')) {
        *out = UINT32_MAX;
        return true;
    }
    if (!imap_take_nz_number(p, out))
        return false;
    if (*out == UINT32_MAX) /* it is not '*', and as little there as the number below it */
        *out = UINT32_MAX - 1;
    return true;
}

static size_t count_ranges(struct str s)
{
    size_t n = 1;
    for (size_t i = 0; i < s.n && s.p[i] != ' '; i++)
        n += s.p[i] == ',';
    return n;
}

bool imap_take_set(struct imap_parse *p, struct imap_set *out)
{
    size_t most = count_ranges(p->rest);
    *out = (struct imap_set){0};
    /* Perhaps of nothing, which is no error [RFC5182 2.1] [RFC9051 6.4.4.1]. */
    if (imap_take_byte(p, '$')) {
        out->is_saved = true;
        out->ranges = p->saved ? p->saved->at : NULL;
        out->n = p->saved ? p->saved->n : 0;
        return true;
    }
    struct imap_range *ranges = NULL;
    if (most <= IMAP_RANGES_MAX)
        ranges = arena_alloc(p->arena, most * sizeof *ranges);
    if (!ranges) {
        p->is_limit = true;
        return imap_fail(p, "fewer ranges");
    }
    out->ranges = ranges;
    do {
        struct imap_range *r = &ranges[out->n++];
        if (!take_seq_number(p, &r->from))
            return false;
        r->to = r->from;
        if (imap_take_byte(p, ':') && !take_seq_number(p, &r->to))
            return false;
        if (r->to < r->from) /* "4:2" and "2:4" are the same [RFC3501 9] [RFC9051 9] */
            *r = (struct imap_range){r->to, r->from};
    } while (imap_take_byte(p, ','));
    return true;
}

/* '*' is the largest number in use; so *:5 may run the other way round. */
static struct imap_range settle(struct imap_range r, uint32_t largest)
{
    r.from = r.from == UINT32_MAX ? largest : r.from;
    r.to = r.to == UINT32_MAX ? largest : r.to;
    return r.from <= r.to ? r : (struct imap_range){r.to, r.from};
}

static struct imap_span span_of_uids(const struct store_root *root, struct imap_range r)
{
    struct imap_span span = {store_root_find(root, r.from), 0};
    span.to = r.to == UINT32_MAX ? store_root_count(root) : store_root_find(root, r.to + 1);
    return span;
}

static int by_from(const void *a, const void *b)
{
    const struct imap_span *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Ascending and without overlaps. */
static void merge(struct imap_spans *s)
{
    size_t n = 0;
    qsort(s->at, s->n, sizeof *s->at, by_from);
    for (size_t i = 0; i < s->n; i++) {
        if (s->at[i].from >= s->at[i].to)
            continue;
        if (n && s->at[i].from <= s->at[n - 1].to) {
            if (s->at[i].to > s->at[n - 1].to)
                s->at[n - 1].to = s->at[i].to;
            continue;
        }
        s->at[n++] = s->at[i];
    }
    s->n = n;
    s->total = 0;
    for (size_t i = 0; i < n; i++)
        s->total += s->at[i].to - s->at[i].from;
}

/* --- parts ------------------------------------------------------------------------------------ */

bool imap_take_partial(struct imap_parse *p, struct imap_partial *out)
{
    out->is_from_the_end = imap_take_byte(p, '-');
    if (!imap_take_nz_number(p, &out->from) || !imap_take_byte(p, ':') ||
        (out->is_from_the_end && !imap_take_byte(p, '-')) || !imap_take_nz_number(p, &out->to))
        return imap_fail(p, "a range such as 1:100 or -1:-100");
    if (out->to < out->from) { /* 500:400 is the same as 400:500 [RFC9394 4] */
        uint32_t to = out->from;
        out->from = out->to;
        out->to = to;
        out->is_turned = true;
    }
    return true;
}

/* What PARTIAL names of n: from the first one's place on so many, perhaps none. Those from the
 * end come in the same order as all others [RFC9394 3.1]. */
size_t imap_partial_of(const struct imap_partial *p, size_t n, size_t *out_first)
{
    size_t from = p->from - 1, to = p->to < n ? p->to : n;
    size_t here = from < to ? to - from : 0;
    *out_first = p->is_from_the_end ? n - from - here : from;
    if (!here)
        *out_first = 0;
    return here;
}

void imap_spans_cut(struct imap_spans *spans, const struct imap_partial *part)
{
    size_t first, left = imap_partial_of(part, spans->total, &first), n = 0;
    spans->total = left;
    for (size_t i = 0; i < spans->n && left; i++) {
        struct imap_span span = spans->at[i];
        size_t here = span.to - span.from, passed = first < here ? first : here;
        first -= passed;
        span.from += passed;
        if (span.to - span.from > left)
            span.to = span.from + left;
        left -= span.to - span.from;
        if (span.from < span.to)
            spans->at[n++] = span;
    }
    spans->n = n;
}

bool imap_spans_meet(const struct imap_spans *a, const struct imap_spans *b, struct arena *arena,
                     struct imap_spans *out)
{
    struct imap_spans both = {.at = arena_alloc(arena, (a->n + b->n) * sizeof *both.at + 1)};
    if (!both.at)
        return false;
    for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
        struct imap_span x = a->at[i], y = b->at[j];
        size_t from = x.from > y.from ? x.from : y.from, to = x.to < y.to ? x.to : y.to;
        if (from < to) {
            both.at[both.n++] = (struct imap_span){from, to};
            both.total += to - from;
        }
        i += x.to <= y.to;
        j += y.to <= x.to;
    }
    *out = both;
    return true;
}

enum rc imap_set_resolve(const struct imap_set *set, const struct store_root *root, bool is_uid,
                         struct arena *arena, struct imap_spans *out)
{
    size_t count = store_root_count(root);
    is_uid = is_uid || set->is_saved;
    uint32_t largest = (uint32_t)count;
    if (is_uid)
        largest = count ? store_root_at(root, count - 1)->uid : 0;
    *out = (struct imap_spans){.at = arena_alloc(arena, set->n * sizeof *out->at + 1)};
    if (!out->at)
        return RC_LIMIT;
    for (size_t i = 0; i < set->n; i++) {
        struct imap_range r = settle(set->ranges[i], largest);
        if (is_uid) {
            out->at[out->n++] = span_of_uids(root, r);
            continue;
        }
        if (!count && set->ranges[i].to == UINT32_MAX)
            continue; /* "1:*" of nothing is nothing */
        if (set->is_open && r.to > count)
            r.to = (uint32_t)count;
        if (set->is_open && r.from > r.to)
            continue;
        if (!r.from || r.to > count) /* [RFC3501 9] [RFC9051 9] */
            return RC_NOTFOUND;
        out->at[out->n++] = (struct imap_span){r.from - 1, r.to};
    }
    merge(out);
    return RC_OK;
}

size_t imap_spans_find(const struct imap_spans *spans, size_t index)
{
    size_t from = 0, to = spans->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (spans->at[mid].to <= index)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

bool imap_spans_have(const struct imap_spans *spans, size_t index)
{
    size_t at = imap_spans_find(spans, index);
    return at < spans->n && spans->at[at].from <= index;
}

size_t imap_uid_find(const uint32_t *uids, size_t n, uint32_t uid)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (uids[mid] < uid)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}
