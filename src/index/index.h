/* index: which messages of an account may hold a string, answered without looking at them.
 *
 * A FILTER, and nothing else. What it says is "no" or "maybe", by email id; who searches looks at
 * those that may be and decides as if there were no index. So answers do not depend on it, as long
 * as it never says a wrong "no". A message that is not in it - new, too long, not readable, its
 * rows damaged or under a key - is "maybe".
 *
 * WHAT IS IN IT. Each message's text as TEXT looks at it (mime/text.h), and of its envelope From,
 * To, Cc, Bcc and Subject (mime/fields.h), each as a set of hashed grams: three and four bytes side
 * by side, none of them a blank or a control. A string can only be where all of its grams are.
 * docs/decisions/0170 says how sets become rows, and what they cost.
 *
 * IN THE BACKGROUND. One thread of less weight makes rows from messages that are already published,
 * some at a time, account after account; no delivery, and no answer to one, waits for it or knows
 * of it. Rows lie in the account's cache partition, are committed lazily, and may be lost or thrown
 * away at any time: then they are made again. An account has an index from the first search on that
 * would have had use for one (index_want), so those that are read by POP3 alone cost nothing. After
 * a restart the first search finds what there is, and has the rest made.
 *
 * THREADS: any. What is said to block reads rows. */
#ifndef INDEX_INDEX_H
#define INDEX_INDEX_H

#include "mime/charset.h"
#include "store/store.h"

#include <stdatomic.h>

struct index;

struct index_conf {
    struct store *store;
    struct kv *kv;                        /* the store's */
    const struct mime_charsets *charsets; /* those that searches use */
    uint64_t text_max; /* bytes of one message's text; a longer one is always "maybe". 0: 4 MB */
    bool is_off;       /* nothing is made, nothing is asked; what there is stays */
};

/* The store outlives it. */
void index_open(const struct ctx *ctx, const struct index_conf *conf, struct index **out);
/* The thread that works; without it index_step does. */
void index_start(struct index *ix);
/* Stops at once; what was begun is given up. No view may be open. NULL is fine. */
void index_close(struct index **ix);

/* --- what makes it ---------------------------------------------------------------------------- */

/* An account that has use for an index: it gets one, which is kept up to date as long as the
 * account is in memory. Never blocks; costs next to nothing when it is known already. */
void index_want(struct index *ix, struct store_account *account);

/* Throws away what there is and has it made again. RC_NOTFOUND: no such account; RC_DENIED: it is
 * off. Blocks. */
enum rc index_rebuild(struct index *ix, uint64_t account);

/* One bounded step for an account, as the thread makes them, whether it has an index or not;
 * *out_more: there is more to do. RC_EOF: index_close was called. Blocks. */
enum rc index_step(struct index *ix, uint64_t account, bool *out_more);

struct index_figures {
    uint64_t messages; /* put into indexes since the start */
    uint64_t bytes;    /* of rows written for them */
    uint64_t waiting;  /* messages of accounts in memory that are not in their index yet */
};
void index_figures(struct index *ix, struct index_figures *out);

/* How far an account's is. `exists` false: it has none. Blocks. */
struct index_state {
    bool exists;
    uint64_t next;                      /* email ids below this one are in it, or were gone */
    uint64_t emails, columns, n_blocks; /* see docs/decisions/0170 */
};
enum rc index_look(struct index *ix, struct store_account *account, struct index_state *out);

/* --- asking it -------------------------------------------------------------------------------- */

enum index_field {
    INDEX_TEXT, /* anywhere: for TEXT, BODY and HEADER */
    INDEX_SUBJECT,
    INDEX_FROM,
    INDEX_TO,
    INDEX_CC,
    INDEX_BCC
};

/* All of these strings in one message, each somewhere in the field. Folded (mime_fold). */
struct index_ask {
    enum index_field field;
    const struct str *needles;
    size_t n;
};

/* Whether there is anything in the strings that the index could tell messages by. */
bool index_can_tell(const struct index_ask *ask);

/* What an account's index is at one moment; the account stays open meanwhile. */
struct index_view;
/* RC_NOTFOUND: it has none, or nothing in it. RC_TEMP. Blocks. */
enum rc index_view_open(struct index *ix, struct store_account *account, struct index_view **out);
void index_view_close(struct index_view **view);

/* The answer, by email id: below `from` and from `to` on all may be. */
struct index_maybe {
    uint64_t from, to;
    uint64_t *bits; /* one for each id between */
    size_t at;      /* index's */
};
/* `out` is zeroed before the first call. RC_AGAIN: it is time for others (clock_mono of the system
 * against `until`); call again. RC_LIMIT: ids lie too far apart. Otherwise as index_view_open; what
 * failed to be read is "maybe". Blocks. */
enum rc index_find(struct index_view *view, const struct index_ask *ask, uint64_t until,
                   struct index_maybe *out);
void index_maybe_fini(struct index_maybe *m);

static inline bool index_may(const struct index_maybe *m, uint64_t email)
{
    uint64_t i = email - m->from;
    return email < m->from || email >= m->to || (m->bits[i / 64] >> (i % 64) & 1);
}

#endif
