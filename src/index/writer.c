/* Rows on their way into the account's cache partition.
 *
 * Invariants:
 *   1. A block's rows are there before the row that names it, and go with it: what a crash or a
 * stop leaves unnamed is written over, or stays until the index is made anew.
 *   2. Commits are lazy, and in order: whatever is lost, what is left was the index at some time.
 *   3. No commit is larger than about BYTES. */
#include "index/block_int.h"

#include <string.h>

enum {
    BYTES = 512 << 10,
    TRIM_MIN = 128 /* rows; a trim is dear to the engine's later reads */
};

void index_writer_begin(struct index_writer *w, struct kv *kv, uint64_t account)
{
    w->kv = kv;
    w->account = account;
    w->txn = kv_txn_new(index_part(account));
    w->in_txn = 0;
    w->bytes = 0;
    w->slice = w->n_places = 0;
}

void index_writer_give_up(struct index_writer *w)
{
    if (w->txn)
        kv_txn_free(&w->txn);
}

static enum rc commit(struct index_writer *w)
{
    struct kv_txn *txn = w->txn;
    w->txn = NULL;
    w->in_txn = 0;
    return kv_commit_lazy_wait(w->kv, txn, NULL);
}

enum rc index_writer_end(struct index_writer *w)
{
    return commit(w);
}

enum rc index_writer_row(struct index_writer *w, struct index_key key, unsigned char *row, size_t n)
{
    struct str name = index_key_str(&key);
    index_row_seal(name, row, INDEX_HEAD + n);
    TRY(kv_txn_put(w->txn, name, str_from(row, INDEX_HEAD + n)));
    w->in_txn += name.n + INDEX_HEAD + n;
    w->bytes += name.n + INDEX_HEAD + n;
    if (w->in_txn < BYTES)
        return RC_OK;
    enum rc rc = commit(w);
    w->txn = kv_txn_new(index_part(w->account));
    return rc;
}

enum rc index_writer_slice(struct index_writer *w, const unsigned char *slice)
{
    const struct index_block *b = &w->block;
    uint32_t at = w->slice % b->slices;
    memcpy(w->row + INDEX_HEAD + at * b->stride, slice, b->stride);
    if (++w->slice % b->slices)
        return RC_OK;
    struct index_key key = index_key_row(b->id, INDEX_SLICES, w->slice / b->slices - 1);
    return index_writer_row(w, key, w->row, (size_t)b->slices * b->stride);
}

enum rc index_writer_places_end(struct index_writer *w)
{
    if (!w->n_places)
        return RC_OK;
    uint32_t last = w->n_places - 1;
    struct index_key key = index_key_row(w->block.id, INDEX_PLACES, last / INDEX_PLACES_ROW);
    return index_writer_row(w, key, w->places, last % INDEX_PLACES_ROW + 1);
}

enum rc index_writer_places(struct index_writer *w, struct str places)
{
    while (places.n) {
        uint32_t at = w->n_places % INDEX_PLACES_ROW;
        if (w->n_places && !at)
            TRY(index_writer_places_end(w)); /* it is full, and there are more */
        struct str some = str_head(places, INDEX_PLACES_ROW - at);
        memcpy(w->places + INDEX_HEAD + at, some.p, some.n);
        w->n_places += (uint32_t)some.n;
        places = str_skip(places, some.n);
    }
    return RC_OK;
}

enum rc index_writer_gaps(struct index_writer *w, const struct index_gap *gaps, size_t n)
{
    unsigned char row[INDEX_HEAD + INDEX_GAPS_ROW * 8];
    if (!n)
        return RC_OK;
    struct index_key key = index_key_row(w->block.id, INDEX_GAPS, w->block.gap_rows++);
    return index_writer_row(w, key, row, index_gaps_put(gaps, n, row + INDEX_HEAD));
}

enum rc index_writer_block(struct index_writer *w, const struct index_block *b)
{
    unsigned char row[INDEX_BLOCK_ROW];
    struct index_key key = index_key_block(b->id);
    index_block_put(b, row);
    return kv_txn_put(w->txn, index_key_str(&key), str_from(row, sizeof row));
}

static enum rc drop_rows(struct index_writer *w, const struct index_block *b, enum index_kind kind,
                         uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct index_key key = index_key_row(b->id, kind, i);
        TRY(kv_txn_delete(w->txn, index_key_str(&key)));
    }
    return RC_OK;
}

enum rc index_writer_drop(struct index_writer *w, const struct index_block *b)
{
    struct index_key key = index_key_block(b->id), from = index_key_rows(b->id),
                     to = index_key_after(from);
    uint32_t slices = INDEX_WIDTH / b->slices,
             places = (b->columns + INDEX_PLACES_ROW - 1) / INDEX_PLACES_ROW;
    TRY(kv_txn_delete(w->txn, index_key_str(&key)));
    if (slices + places + b->gap_rows >= TRIM_MIN)
        return kv_txn_trim(w->txn, index_key_str(&from), index_key_str(&to));
    TRY(drop_rows(w, b, INDEX_SLICES, slices));
    TRY(drop_rows(w, b, INDEX_PLACES, places));
    return drop_rows(w, b, INDEX_GAPS, b->gap_rows);
}

enum rc index_writer_head(struct index_writer *w, const struct index_head *h)
{
    unsigned char row[INDEX_HEAD_ROW];
    struct index_key key = index_key_state();
    index_head_put(h, row);
    return kv_txn_put(w->txn, index_key_str(&key), str_from(row, sizeof row));
}
