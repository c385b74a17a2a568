/* index, inside: grams, columns, blocks, rows, and who makes and asks them.
 *
 * gram.c turns text into bits; columns.c collects columns; block.c turns columns into rows and
 * joins blocks; rows.c is what one row holds; these four are pure. message.c reads a message into
 * columns; build.c makes steps; index.c has the thread; view.c asks. */
#ifndef INDEX_INDEX_INT_H
#define INDEX_INDEX_INT_H

#include "index/index.h"

#include "base/bytes.h"
#include "base/list.h"
#include "base/map.h"

enum {
    INDEX_FORMAT = 1,
    INDEX_WIDTH_LOG = 13,
    INDEX_WIDTH = 1 << INDEX_WIDTH_LOG, /* bits of a column */
    INDEX_WORDS = INDEX_WIDTH / 64,
    INDEX_FULL = INDEX_WIDTH * 45 / 100, /* bits set, above which a column takes no more */
    INDEX_SHARED = 63,                   /* bytes of a text's column that the next one has too */
    INDEX_PROBES = 13,                   /* bits looked at for one question */
    INDEX_TOGETHER = 8,                  /* messages that share a column at most */
    INDEX_COLUMNS = 80 << 10,            /* in one block at most */
    INDEX_BATCH = 8192                   /* columns collected before they are written: 8 MB */
};

/* --- gram.c ----------------------------------------------------------------------------------- */

/* A text on its way: pieces of it may end anywhere. */
struct index_grams {
    enum index_field field;
    uint32_t last, run; /* the last four bytes; how many of them are no blanks */
};
void index_grams_mark(struct index_grams *g, struct str text, uint64_t *bits);

struct index_probes {
    size_t n;
    uint16_t bits[INDEX_PROBES]; /* a column that has all of a string's may have the string */
    uint32_t of[INDEX_PROBES];   /* which string that is, ascending */
};
/* Of all strings that have grams, as far as there is room: one that has no bits may be anywhere. */
void index_probes_of(struct index_probes *p, const struct index_ask *ask);
/* Adds those of the rarest grams, `max` bits or one more; none when the string has no grams. */
void index_probes_add(struct index_probes *p, enum index_field field, struct str needle,
                      size_t max);

/* --- columns.c -------------------------------------------------------------------------------- */

/* Columns of messages, by ascending email id. A column has all of some messages, or a part of one
 * whose text did not fit; a message that is never "no" has a column of ones. */
struct index_columns {
    size_t n, size, max;   /* max: columns that a block can have; a message that would make more is
                              never "no" */
    uint64_t *bits;        /* INDEX_WORDS of each column */
    unsigned char *places; /* how many messages begin in it, times two; plus 1 when the one before
                              goes on in it */
    uint64_t *emails;      /* of all messages, ascending */
    size_t n_emails, size_emails, size_places;
    /* Not closed yet. */
    size_t n_open; /* messages in it */
    bool open_goes_on, is_first, is_too_long;
    uint64_t email;
    uint64_t open[INDEX_WORDS], piece[INDEX_WORDS];
    struct index_grams grams;
    char shared[INDEX_SHARED];
    size_t n_shared, begun; /* begun: closed columns when the message began */
    size_t n_text, step;    /* step: bytes to mark until the next look at how full it is */
    uint64_t text_max;
};
void index_columns_init(struct index_columns *c, uint64_t text_max);
void index_columns_fini(struct index_columns *c);
/* One message; ids ascend. */
void index_columns_begin(struct index_columns *c, uint64_t email);
void index_columns_field(struct index_columns *c, enum index_field field); /* another text begins */
void index_columns_text(struct index_columns *c, struct str text);
/* is_known false: it could not be read, and is never "no". */
void index_columns_end(struct index_columns *c, bool is_known);
void index_columns_drop(struct index_columns *c);  /* instead: it was never begun */
void index_columns_close(struct index_columns *c); /* no more messages come */

/* --- rows.c ----------------------------------------------------------------------------------- */

/* Every row: format1 codec1 key4 crc4 of the row's name and what follows, then that. */
enum { INDEX_HEAD = 10, INDEX_KEY = 16 };

struct index_key {
    char b[INDEX_KEY];
    size_t n;
};
enum index_kind { INDEX_PLACES = 'c', INDEX_GAPS = 'g', INDEX_SLICES = 's' };
struct str index_key_str(const struct index_key *k);
struct index_key index_key_state(void);
struct index_key index_key_block(uint64_t block);
struct index_key index_key_row(uint64_t block, enum index_kind kind, uint32_t n);
struct index_key index_key_rows(uint64_t block); /* what all of its rows begin with */
struct index_key index_key_kind(char kind);      /* the same, of all rows of a kind; 0: of all */
struct index_key index_key_after(struct index_key key);

/* Fills in the head of a row; what follows it stands there already. */
void index_row_seal(struct str key, unsigned char *row, size_t n);
/* RC_CORRUPT: damaged, or of another format; RC_DENIED: under a key that is not there. */
enum rc index_row_open(struct str key, struct str row, struct str *out);

struct index_head { /* of an account's index */
    uint64_t next;  /* emails below this one are in blocks, or were gone when it was made */
    uint64_t next_block;
    uint64_t emails; /* in all blocks: so that one that is missing is missed */
};
enum { INDEX_HEAD_ROW = INDEX_HEAD + 24 };
void index_head_put(const struct index_head *h, unsigned char row[INDEX_HEAD_ROW]);
enum rc index_head_get(struct str row, struct index_head *out);

/* Messages of one stretch of email ids, and how its rows lie. */
struct index_block {
    uint64_t id;
    uint64_t first, last; /* email ids */
    uint32_t columns, emails, gap_rows;
    uint32_t stride, slices; /* bytes of a slice; slices of a row: derived */
};
enum { INDEX_BLOCK_ROW = INDEX_HEAD + 29, INDEX_ROW = 8192, INDEX_PLACES_ROW = 8192 };
void index_block_shape(struct index_block *b); /* what is derived */
void index_block_put(const struct index_block *b, unsigned char row[INDEX_BLOCK_ROW]);
enum rc index_block_get(struct str key, struct str row, struct index_block *out);

/* Email ids without a message between a block's first and last, as runs; in rows that stand for
 * themselves. */
struct index_gap {
    uint32_t from, n; /* from the block's first on */
};
enum { INDEX_GAPS_ROW = 400 };
size_t index_gaps_put(const struct index_gap *gaps, size_t n, unsigned char *payload);
/* Room for INDEX_GAPS_ROW. RC_CORRUPT. */
enum rc index_gaps_get(struct str payload, const struct index_block *b, struct index_gap *out,
                       size_t *out_n);

#endif
