/* SORT and THREAD, inside [RFC5256].
 *
 * sort.c is the commands; sort_values.c knows what a message is sorted by; sort_rank.c puts values
 * into an order, once; sort_key.c makes one string of them; thread.c makes trees, pure.
 *
 * What messages are sorted by stays in memory as columns (search_column.c), text with the rank of
 * each value, so that the next SORT compares numbers. */
#ifndef IMAP_SORT_INT_H
#define IMAP_SORT_INT_H

#include "imap/search_int.h"
#include "mime/subject.h"

/* Columns, behind those of SEARCH. */
enum imap_sort_field {
    IMAP_SORT_DATE = IMAP_SEARCH_FIELDS, /* a uint64_t, see imap_sort_time; or nothing */
    IMAP_SORT_SUBJECT,                   /* strings from here on, as i;unicode-casemap has them */
    IMAP_SORT_FROM,
    IMAP_SORT_TO,
    IMAP_SORT_CC,
    IMAP_SORT_DISPLAYFROM,
    IMAP_SORT_DISPLAYTO, /* up to here */
    IMAP_SORT_REPLY,     /* one byte, of a reply or a forward; or nothing */
    IMAP_SORT_IDS,       /* uint64_t: the hash of the message's own id, 0 for none; and of those it
                            refers to */
    IMAP_SORT_END
};
enum {
    IMAP_SORT_FIELDS = IMAP_SORT_END - IMAP_SEARCH_FIELDS,
    IMAP_SORT_CRITERIA = 10 /* there are no more, and one that comes again changes nothing */
};

static inline bool imap_sort_is_text(unsigned field)
{
    return field >= IMAP_SORT_SUBJECT && field <= IMAP_SORT_DISPLAYTO;
}

/* --- sort_values.c ---------------------------------------------------------------------------- */

/* Seconds, so that none is below 0. */
uint64_t imap_sort_time(int64_t since_1970);

struct imap_sort_values {
    unsigned fields; /* that are wanted: 1 << (field - IMAP_SEARCH_FIELDS) */
    const struct mime_charsets *charsets;
    const uint64_t *hash_key; /* of ids: two of them */
    struct buf text[IMAP_SORT_FIELDS];
    struct buf value, work; /* between the steps */
};
/* What one message is sorted by, into `text`; of one that cannot be read: nothing. */
void imap_sort_values_read(struct imap_sort_values *v, struct str summary);
void imap_sort_values_fini(struct imap_sort_values *v);

/* --- sort_key.c ------------------------------------------------------------------------------- */

/* What rows tell, behind the columns. */
enum { IMAP_SORT_ARRIVAL = IMAP_SORT_END, IMAP_SORT_SIZE, IMAP_SORT_RELEVANCY };

/* "(REVERSE DATE SUBJECT)" */
struct imap_sort_order {
    struct imap_sort_criterion {
        unsigned field; /* enum imap_sort_field, or what rows tell */
        bool is_reverse;
    } criteria[IMAP_SORT_CRITERIA];
    size_t n;
    unsigned fields;    /* whose columns it needs: 1 << (field - IMAP_SEARCH_FIELDS) */
    bool has_relevancy; /* which only a search knows [RFC6203 6] */
};
/* With the space behind it. */
bool imap_take_sort_order(struct imap_parse *p, struct imap_sort_order *out);
/* The date that a message is sorted by; `value` is that of its column, or absent. */
uint64_t imap_sort_date(const struct store_row *row, struct str value);
/* Bytes whose order is the order of messages, with ties in that of the mailbox. `values`: of
 * columns, by field - IMAP_SEARCH_FIELDS. Not for an order that has relevancy. */
void imap_sort_key(const struct imap_sort_order *order, const struct store_row *row,
                   const struct str *values, struct buf *out);

/* --- sort_rank.c ------------------------------------------------------------------------------ */

/* Ranks the values of a column whose first n_old are those of `old`, which has ranks. The work is
 * that of the new ones and a walk over all. */
void imap_column_rank(struct imap_column *column, const struct imap_column *old, size_t n_old);

/* Sorts by keys, and leaves those with the same key in their order. `room` is for n more. */
struct imap_sort_pair {
    uint64_t key;
    uint32_t at;
};
void imap_sort_pairs(struct imap_sort_pair *pairs, struct imap_sort_pair *room, size_t n);

/* --- thread.c --------------------------------------------------------------------------------- */

enum imap_thread_kind { IMAP_THREAD_ORDEREDSUBJECT, IMAP_THREAD_REFERENCES, IMAP_THREAD_REFS };

/* A message; in the order of the mailbox. */
struct imap_thread_row {
    uint64_t date;
    uint32_t subject; /* its rank */
    bool has_subject; /* and that is not empty */
    bool is_reply;
    const char *ids; /* as IMAP_SORT_IDS has them, not aligned */
    size_t n_ids;
};
/* A message in an answer: what stands before its number. */
struct imap_thread_step {
    uint32_t at; /* in the rows */
    uint32_t closes : 30;
    uint32_t opens : 2; /* parentheses; neither: a space */
};
struct imap_threads {
    struct imap_thread_step *steps; /* malloc'd */
    size_t n;
    uint32_t closes; /* at the end */
};
/* Each node takes so many bytes while trees are made. There is one for each row, which the caller
 * has counted; for those that messages claim room is taken as they come. */
enum { IMAP_THREAD_NODE = 128 };
struct imap_thread_room {
    bool (*take)(struct imap_thread_room *room, size_t bytes); /* false: there is none */
};
/* False: there was no room. */
bool imap_threads_make(enum imap_thread_kind kind, const struct imap_thread_row *rows, size_t n,
                       struct imap_thread_room *room, struct imap_threads *out);

#endif
