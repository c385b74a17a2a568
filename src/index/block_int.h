/* block.c and writer.c: how blocks are written, for those that make steps. */
#ifndef INDEX_BLOCK_INT_H
#define INDEX_BLOCK_INT_H

#include "index/index_int.h"

/* --- block.c ---------------------------------------------------------------------------------- */

/* The 64 slices of one word of all columns, each `stride` bytes, one behind the other. */
void index_slices_of(const struct index_columns *c, size_t word, uint32_t stride,
                     unsigned char *out);
/* n bits behind `at` bits; what is beyond is zero, and stays so. */
void index_bits_append(unsigned char *to, size_t at, const unsigned char *bits, size_t n);
/* The next runs, at most INDEX_GAPS_ROW; *at is moved on from 0 to n_emails. */
size_t index_gaps_of(const struct index_columns *c, size_t *at, struct index_gap *out);

/* --- table.c ---------------------------------------------------------------------------------- */

/* What an account's index is, as its rows say. */
struct index_table {
    struct index_head head;
    struct index_block *blocks; /* by email id */
    size_t n, size;
    uint64_t emails, columns; /* in all of them */
};
struct kv_part index_part(uint64_t account);
/* RC_NOTFOUND: there is none; RC_CORRUPT: it has to be made again. `out` is to be freed in any
 * case. */
enum rc index_table_load(struct kv *kv, uint64_t account, struct index_table *out);
void index_table_fini(struct index_table *t);
/* A row's payload, in the arena. RC_NOTFOUND. */
enum rc index_row_read(struct kv *kv, uint64_t account, struct index_key key, struct arena *arena,
                       struct str *out);

/* --- writer.c --------------------------------------------------------------------------------- */

/* Rows on their way, in commits of bounded size. Nothing names a block before its last one. */
struct index_writer {
    struct kv *kv;
    uint64_t account;
    struct kv_txn *txn;
    size_t in_txn;
    uint64_t bytes;
    /* A row of slices that is being filled. */
    struct index_block block;
    uint32_t slice;
    unsigned char row[INDEX_HEAD + INDEX_COLUMNS / 8];
    /* One of places. */
    uint32_t n_places;
    unsigned char places[INDEX_HEAD + INDEX_PLACES_ROW];
};
void index_writer_begin(struct index_writer *w, struct kv *kv, uint64_t account);
/* A row whose payload of n bytes stands behind INDEX_HEAD. */
enum rc index_writer_row(struct index_writer *w, struct index_key key, unsigned char *row,
                         size_t n);
/* All slices of w->block, one after the other. */
enum rc index_writer_slice(struct index_writer *w, const unsigned char *slice);
/* All of its places, some at a time; and that there are no more. */
enum rc index_writer_places(struct index_writer *w, struct str places);
enum rc index_writer_places_end(struct index_writer *w);
/* The next row of its gaps: at most INDEX_GAPS_ROW; none is none. */
enum rc index_writer_gaps(struct index_writer *w, const struct index_gap *gaps, size_t n);
/* With the last commit. */
enum rc index_writer_block(struct index_writer *w, const struct index_block *b);
enum rc index_writer_drop(struct index_writer *w, const struct index_block *b);
enum rc index_writer_head(struct index_writer *w, const struct index_head *h);
enum rc index_writer_end(struct index_writer *w);
void index_writer_give_up(struct index_writer *w);

/* --- message.c, merge.c ----------------------------------------------------------------------- */

/* Adds the message. RC_TEMP: not now; RC_EOF: to be stopped. */
enum rc index_message_add(const struct index_conf *conf, struct store_message *message,
                          struct str summary, const atomic_bool *stop, struct index_columns *c);

/* Joins small blocks, if it is time for that: *out_did. RC_EOF: to be stopped. */
enum rc index_merge(struct kv *kv, uint64_t account, struct index_table *t, const atomic_bool *stop,
                    uint64_t *out_bytes, bool *out_did);

#endif
