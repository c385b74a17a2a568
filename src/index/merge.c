/* Small blocks become large ones, so that a question reads few rows.
 *
 * Eight blocks of one size class are joined into one of the next, so every column is written about
 * once a class. The joined block has the columns of its sources side by side, and its rows are
 * written a row at a time from theirs, each of which is read once. In one last commit the new block
 * is named, and the old ones go. */
#include "index/block_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FANOUT = 8, CLASSES = 4, SOURCES = 64 };

/* Those of the last class are as large as blocks should be. */
static unsigned class_of(const struct index_block *b)
{
    static const uint32_t limits[CLASSES] = {128, 1024, 8192, 65536};
    unsigned class = 0;
    while (class < CLASSES && b->columns >= limits[class])
        class ++;
    return class;
}

/* The blocks at the end up to a class, when there are enough of that one; how many from *from on
 * fit into one. */
static size_t choose(const struct index_table *t, unsigned class, size_t *from)
{
    size_t n = 0, same = 0;
    uint64_t columns = 0;
    *from = t->n;
    while (*from && class_of(&t->blocks[*from - 1]) <= class)
        same += class_of(&t->blocks[--*from]) == class;
    if (same < FANOUT)
        return 0;
    uint64_t first = t->blocks[*from].first;
    while (*from + n < t->n && n < SOURCES) {
        const struct index_block *b = &t->blocks[*from + n];
        columns += b->columns;
        if (columns > INDEX_COLUMNS || b->last - first >= INT32_MAX)
            break;
        n++;
    }
    return n;
}

struct source {
    const struct index_block *block;
    struct arena arena;
    struct str row; /* of slices, the one at hand */
};

struct merge {
    struct kv *kv;
    uint64_t account;
    struct source from[SOURCES];
    size_t n;
    struct index_writer to;
    /* Gaps on their way, as many as one row has. */
    struct index_gap gaps[INDEX_GAPS_ROW];
    size_t n_gaps;
};

static enum rc row_of(struct merge *m, struct source *s, enum index_kind kind, uint32_t n,
                      struct str *out)
{
    arena_reset(&s->arena);
    enum rc rc =
        index_row_read(m->kv, m->account, index_key_row(s->block->id, kind, n), &s->arena, out);
    return rc == RC_NOTFOUND ? RC_CORRUPT : rc;
}

/* --- slices ----------------------------------------------------------------------------------- */

static enum rc join_slice(struct merge *m, uint32_t slice)
{
    unsigned char joined[INDEX_COLUMNS / 8 + 1] = {0};
    size_t at = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct source *s = &m->from[i];
        const struct index_block *b = s->block;
        uint32_t k = slice % b->slices;
        if (!k)
            TRY(row_of(m, s, INDEX_SLICES, slice / b->slices, &s->row));
        if (s->row.n != (size_t)b->slices * b->stride)
            return RC_CORRUPT;
        index_bits_append(joined, at, (const unsigned char *)s->row.p + (size_t)k * b->stride,
                          b->columns);
        at += b->columns;
    }
    return index_writer_slice(&m->to, joined);
}

static enum rc join_slices(struct merge *m, const atomic_bool *stop)
{
    for (uint32_t slice = 0; slice < INDEX_WIDTH; slice++) {
        if (slice % 64 == 0 && atomic_load(stop))
            return RC_EOF;
        TRY(join_slice(m, slice));
    }
    return RC_OK;
}

/* --- places of messages ----------------------------------------------------------------------- */

static enum rc join_places(struct merge *m)
{
    struct str payload;
    for (size_t i = 0; i < m->n; i++) {
        uint32_t left = m->from[i].block->columns;
        for (uint32_t r = 0; left; r++) {
            TRY(row_of(m, &m->from[i], INDEX_PLACES, r, &payload));
            if (payload.n != (left < INDEX_PLACES_ROW ? left : INDEX_PLACES_ROW))
                return RC_CORRUPT;
            TRY(index_writer_places(&m->to, payload));
            left -= (uint32_t)payload.n;
        }
    }
    return index_writer_places_end(&m->to);
}

/* --- gaps ------------------------------------------------------------------------------------- */

static enum rc write_gaps(struct merge *m)
{
    size_t n = m->n_gaps;
    m->n_gaps = 0;
    return index_writer_gaps(&m->to, m->gaps, n);
}

static enum rc add_gap(struct merge *m, uint64_t from, uint64_t to)
{
    if (from == to)
        return RC_OK;
    m->gaps[m->n_gaps++] =
        (struct index_gap){(uint32_t)(from - m->to.block.first), (uint32_t)(to - from)};
    return m->n_gaps == INDEX_GAPS_ROW ? write_gaps(m) : RC_OK;
}

static enum rc join_gaps(struct merge *m)
{
    struct index_gap gaps[INDEX_GAPS_ROW];
    struct str payload;
    size_t n;
    for (size_t i = 0; i < m->n; i++) {
        struct source *s = &m->from[i];
        if (i)
            TRY(add_gap(m, m->from[i - 1].block->last + 1, s->block->first));
        for (uint32_t r = 0; r < s->block->gap_rows; r++) {
            TRY(row_of(m, s, INDEX_GAPS, r, &payload));
            TRY(index_gaps_get(payload, s->block, gaps, &n));
            for (size_t k = 0; k < n; k++)
                TRY(add_gap(m, s->block->first + gaps[k].from,
                            s->block->first + gaps[k].from + gaps[k].n));
        }
    }
    return write_gaps(m);
}

/* --- all of it -------------------------------------------------------------------------------- */

static enum rc join(struct merge *m, struct index_head head, const atomic_bool *stop)
{
    struct index_block *b = &m->to.block;
    *b = (struct index_block){.id = head.next_block++,
                              .first = m->from[0].block->first,
                              .last = m->from[m->n - 1].block->last};
    for (size_t i = 0; i < m->n; i++) {
        b->columns += m->from[i].block->columns;
        b->emails += m->from[i].block->emails;
    }
    index_block_shape(b);
    TRY(join_slices(m, stop));
    TRY(join_places(m));
    TRY(join_gaps(m));
    for (size_t i = 0; i < m->n; i++)
        TRY(index_writer_drop(&m->to, m->from[i].block));
    TRY(index_writer_block(&m->to, b));
    TRY(index_writer_head(&m->to, &head));
    return index_writer_end(&m->to);
}

enum rc index_merge(struct kv *kv, uint64_t account, struct index_table *t, const atomic_bool *stop,
                    uint64_t *out_bytes, bool *out_did)
{
    size_t from = 0, n = 0;
    for (unsigned class = 0; class < CLASSES && n < 2; class ++)
        n = choose(t, class, &from);
    *out_did = n >= 2;
    if (!*out_did)
        return RC_OK;
    struct merge *m = mem_zero(sizeof *m);
    m->kv = kv;
    m->account = account;
    for (size_t i = 0; i < n; i++)
        m->from[m->n++].block = &t->blocks[from + i];
    index_writer_begin(&m->to, kv, account);
    enum rc rc = join(m, t->head, stop);
    *out_bytes += m->to.bytes;
    index_writer_give_up(&m->to);
    for (size_t i = 0; i < n; i++)
        arena_fini(&m->from[i].arena);
    free(m);
    return rc;
}
