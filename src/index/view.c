/* Asking: a string's grams are looked up in each block, a slice a gram, and only a column that has
 * all of them may have the string; of several strings, only a message that may have each.
 *
 * Invariant: whatever is missing, damaged or under a key denies no message of its block. Blocks
 * never change while they are named, and their ids are never used again: rows that are gone went
 * since this view was opened. */
#include "index/build_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { DISTANCE = 1 << 28 /* of email ids in one account; beyond it nobody is told anything */ };

struct index_view {
    struct index *ix;
    struct store_account *account;
    struct index_table table;
};

enum rc index_view_open(struct index *ix, struct store_account *account, struct index_view **out)
{
    *out = NULL;
    if (ix->conf.is_off)
        return RC_NOTFOUND;
    struct index_view *v = mem_zero(sizeof *v);
    v->ix = ix;
    v->account = account;
    enum rc rc = index_table_load(ix->conf.kv, store_account_id(account), &v->table);
    if (rc == RC_OK && !v->table.n)
        rc = RC_NOTFOUND;
    if (rc == RC_OK || rc == RC_CORRUPT)
        index_want(ix, account); /* what came since, or all of it anew */
    if (rc == RC_OK)
        *out = v;
    else
        index_view_close(&v);
    return rc == RC_CORRUPT || rc == RC_DENIED ? RC_NOTFOUND : rc;
}

void index_view_close(struct index_view **view)
{
    if (!*view)
        return;
    index_table_fini(&(*view)->table);
    free(*view);
    *view = NULL;
}

/* --- one block -------------------------------------------------------------------------------- */

struct looking {
    struct kv *kv;
    uint64_t account;
    const struct index_block *block;
    struct arena arena; /* of one block's rows */
};

static enum rc row_of(struct looking *l, enum index_kind kind, uint32_t n, struct str *out)
{
    return index_row_read(l->kv, l->account, index_key_row(l->block->id, kind, n), &l->arena, out);
}

static void put_and(unsigned char *to, const char *with, size_t n)
{
    uint64_t a, b;
    size_t i = 0;
    for (; i + sizeof a <= n; i += sizeof a) {
        memcpy(&a, to + i, sizeof a);
        memcpy(&b, with + i, sizeof b);
        a &= b;
        memcpy(to + i, &a, sizeof a);
    }
    for (; i < n; i++)
        to[i] &= (unsigned char)with[i];
}

/* The rows that the probes' slices lie in, each once, read together. */
static enum rc read_slices(struct looking *l, const struct index_probes *p, struct str *out)
{
    const struct index_block *b = l->block;
    struct index_key keys[INDEX_PROBES];
    struct str names[INDEX_PROBES], rows[INDEX_PROBES];
    size_t which[INDEX_PROBES], n = 0;
    for (size_t i = 0; i < p->n; i++) {
        size_t k = 0;
        while (k < i && p->bits[k] / b->slices != p->bits[i] / b->slices)
            k++;
        which[i] = k < i ? which[k] : n;
        if (k < i)
            continue;
        keys[n] = index_key_row(b->id, INDEX_SLICES, p->bits[i] / b->slices);
        names[n] = index_key_str(&keys[n]);
        n++;
    }
    TRY(kv_get(l->kv, index_part(l->account), names, n, 0, &l->arena, rows, NULL));
    for (size_t i = 0; i < n; i++) {
        TRY(str_is_null(rows[i]) ? RC_NOTFOUND : index_row_open(names[i], rows[i], &rows[i]));
        if (rows[i].n != (size_t)b->slices * b->stride)
            return RC_CORRUPT;
    }
    for (size_t i = 0; i < p->n; i++)
        out[i] = str_sub(rows[which[i]], (size_t)(p->bits[i] % b->slices) * b->stride, b->stride);
    return RC_OK;
}

/* --- messages of columns ---------------------------------------------------------------------- */

static void set_range(struct index_maybe *m, uint64_t first, uint64_t last)
{
    for (uint64_t i = first - m->from, end = last - m->from; i <= end;) {
        uint64_t bit = i % 64, n = 64 - bit < end - i + 1 ? 64 - bit : end - i + 1;
        uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << bit;
        m->bits[i / 64] |= mask;
        i += n;
    }
}

/* From how many messages of the block come before one to its id: by the gaps between. The numbers
 * ascend. */
struct ranks {
    struct index_gap gaps[INDEX_GAPS_ROW];
    size_t n, at;
    uint32_t row; /* the next one */
    uint64_t passed;
};

static enum rc id_of(struct looking *l, struct ranks *r, uint64_t rank, uint64_t *out_id)
{
    struct str payload;
    for (;;) {
        *out_id = rank + r->passed;
        if (r->at == r->n) {
            if (r->row == l->block->gap_rows)
                break;
            TRY(row_of(l, INDEX_GAPS, r->row++, &payload));
            TRY(index_gaps_get(payload, l->block, r->gaps, &r->n));
            r->at = 0;
            continue;
        }
        if (r->gaps[r->at].from > *out_id)
            break;
        r->passed += r->gaps[r->at++].n;
    }
    *out_id += l->block->first;
    return *out_id <= l->block->last ? RC_OK : RC_CORRUPT;
}

static enum rc set_column(struct looking *l, struct ranks *r, unsigned place, uint64_t rank,
                          struct index_maybe *m)
{
    uint64_t id, first = rank - (place & 1);
    if (rank < (place & 1))
        return RC_CORRUPT;
    for (uint64_t i = first; i < rank + place / 2; i++) {
        TRY(id_of(l, r, i, &id));
        set_range(m, id, id);
    }
    return RC_OK;
}

/* Messages that begin in 64 columns. */
static uint64_t count_begun(const char *places)
{
    uint64_t v, n = 0;
    for (size_t i = 0; i < 64; i += sizeof v) {
        memcpy(&v, places + i, sizeof v);
        v = v >> 1 & UINT64_C(0x0f0f0f0f0f0f0f0f);
        n += v * UINT64_C(0x0101010101010101) >> 56;
    }
    return n;
}

static bool is_none(const unsigned char *columns)
{
    uint64_t v;
    memcpy(&v, columns, sizeof v);
    return !v;
}

static enum rc set_columns(struct looking *l, const unsigned char *columns, struct index_maybe *m)
{
    struct ranks *r = arena_zero(&l->arena, sizeof *r);
    struct str places = {0};
    uint64_t rank = 0;
    for (uint32_t i = 0; r && i < l->block->columns;) {
        uint32_t at = i % INDEX_PLACES_ROW;
        if (!at)
            TRY(row_of(l, INDEX_PLACES, i / INDEX_PLACES_ROW, &places));
        if (at >= places.n)
            return RC_CORRUPT;
        if (i % 64 == 0 && at + 64 <= places.n && is_none(columns + i / 8)) {
            rank += count_begun(places.p + at);
            i += 64;
            continue;
        }
        unsigned place = (unsigned char)places.p[at];
        if (columns[i / 8] >> (i % 8) & 1)
            TRY(set_column(l, r, place, rank, m));
        rank += place / 2;
        i++;
    }
    return rank == l->block->emails ? RC_OK : RC_CORRUPT;
}

/* Ids that had no message: what is under them now, or still, nobody has looked at. */
static enum rc set_gaps(struct looking *l, struct index_maybe *m)
{
    struct index_gap gaps[INDEX_GAPS_ROW];
    struct str payload;
    size_t n;
    for (uint32_t r = 0; r < l->block->gap_rows; r++) {
        TRY(row_of(l, INDEX_GAPS, r, &payload));
        TRY(index_gaps_get(payload, l->block, gaps, &n));
        for (size_t i = 0; i < n; i++) {
            uint64_t from = l->block->first + gaps[i].from;
            if (gaps[i].n)
                set_range(m, from, from + gaps[i].n - 1);
        }
    }
    return RC_OK;
}

/* What one of the strings says of the block: a bit for each id that may have it, in the words of
 * `m` that the block has a part of. */
static struct index_maybe begin_block(const struct looking *l, const struct index_maybe *m)
{
    const struct index_block *b = l->block;
    uint64_t first = (b->first - m->from) / 64, words = (b->last - m->from) / 64 - first + 1;
    struct index_maybe one = {.from = m->from + first * 64, .to = m->from + (first + words) * 64};
    one.bits = mem_zero(words * sizeof *one.bits);
    if (one.from < b->first)
        set_range(&one, one.from, b->first - 1);
    if (one.to - 1 > b->last)
        set_range(&one, b->last + 1, one.to - 1);
    return one;
}

static void narrow(struct index_maybe *m, const struct index_maybe *one)
{
    uint64_t *bits = m->bits + (one->from - m->from) / 64;
    for (uint64_t i = 0; i < (one->to - one->from) / 64; i++)
        bits[i] &= one->bits[i];
}

/* The n slices are those of one string. */
static enum rc look_for(struct looking *l, const struct str *slices, size_t n,
                        struct index_maybe *m)
{
    unsigned char columns[INDEX_COLUMNS / 8 + 8] = {0};
    memset(columns, 0xff, l->block->stride);
    for (size_t i = 0; i < n; i++)
        put_and(columns, slices[i].p, slices[i].n);
    struct index_maybe one = begin_block(l, m);
    enum rc rc = set_columns(l, columns, &one);
    if (rc == RC_OK)
        rc = set_gaps(l, &one);
    if (rc == RC_OK)
        narrow(m, &one);
    index_maybe_fini(&one);
    return rc;
}

/* Each string by itself: a long message may have them in different columns. */
static enum rc look_into(struct looking *l, const struct index_probes *p, struct index_maybe *m)
{
    struct str slices[INDEX_PROBES];
    TRY(read_slices(l, p, slices));
    for (size_t i = 0, end; i < p->n; i = end) {
        for (end = i + 1; end < p->n && p->of[end] == p->of[i];)
            end++;
        TRY(look_for(l, slices + i, end - i, m));
    }
    return RC_OK;
}

/* Rows that a step has taken away meanwhile are no fault. */
static bool is_fault(struct looking *l, enum rc rc)
{
    struct str row;
    struct index_key key = index_key_block(l->block->id);
    return rc == RC_CORRUPT ||
           (rc == RC_NOTFOUND && index_row_read(l->kv, l->account, key, &l->arena, &row) == RC_OK);
}

static void look_into_one(struct index_view *v, size_t at, const struct index_probes *p,
                          struct index_maybe *m)
{
    struct looking l = {.kv = v->ix->conf.kv,
                        .account = store_account_id(v->account),
                        .block = &v->table.blocks[at]};
    enum rc rc = look_into(&l, p, m);
    if (rc != RC_OK && is_fault(&l, rc))
        index_forsake(v->ix, v->account, rc);
    arena_fini(&l.arena);
}

/* --- all of them ------------------------------------------------------------------------------ */

static enum rc begin(struct index_view *v, struct index_maybe *m)
{
    uint64_t from = v->table.blocks[0].first, to = v->table.blocks[v->table.n - 1].last + 1;
    if (to - from > DISTANCE)
        return RC_LIMIT;
    size_t words = (size_t)(to - from) / 64 + 1;
    m->bits = mem_alloc(words * sizeof *m->bits);
    memset(m->bits, 0xff, words * sizeof *m->bits);
    m->from = from;
    m->to = to;
    return RC_OK;
}

enum rc index_find(struct index_view *v, const struct index_ask *ask, uint64_t until,
                   struct index_maybe *out)
{
    struct index_probes p;
    index_probes_of(&p, ask);
    if (!out->bits)
        TRY(begin(v, out));
    while (p.n && out->at < v->table.n) {
        look_into_one(v, out->at++, &p, out);
        if (out->at < v->table.n && clock_mono(&clock_system) >= until)
            return RC_AGAIN;
    }
    return RC_OK;
}

void index_maybe_fini(struct index_maybe *m)
{
    free(m->bits);
    *m = (struct index_maybe){0};
}
