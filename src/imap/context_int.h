/* Contexts, inside: searches whose results are kept up to date [RFC5267 4.3].
 *
 * context.c keeps them, makes and cancels them, and tells what has come and gone; context_look.c
 * finds out what that is; context_hits.c holds results, pure. */
#ifndef IMAP_CONTEXT_INT_H
#define IMAP_CONTEXT_INT_H

#include "imap/fetch_int.h"
#include "imap/sort_int.h"

#include "base/list.h"

enum {
    IMAP_CONTEXT_BYTES = 1 << 20, /* of one: its program and its results */
    IMAP_CONTEXTS_ALL = 64 << 20, /* of those of all sessions together */
    IMAP_CONTEXT_PAGE = 64,       /* summaries read together */
    IMAP_CONTEXT_LOOKS = 16 << 10 /* messages to be looked at for one after one change */
};

/* --- context_hits.c --------------------------------------------------------------------------- */

/* UIDs: ranges that ascend and neither overlap nor touch. Zeroed to begin with. */
struct imap_uids {
    struct imap_range *at;
    size_t n, size;
};
void imap_uids_fini(struct imap_uids *u);
bool imap_uids_have(const struct imap_uids *u, uint32_t uid);
void imap_uids_add(struct imap_uids *u, uint32_t from, uint32_t to); /* above all that are there */
void imap_uids_unite(struct imap_uids *u, const struct imap_uids *more);
void imap_uids_subtract(struct imap_uids *u, const struct imap_uids *less);

/* Results in an order of their own: by keys as imap_sort_key makes them. Zeroed to begin with. */
struct imap_sorted {
    struct imap_sorted_hit {
        uint32_t uid, n_key;
        unsigned char *key;
    } * at;
    size_t n, size, bytes;
};
void imap_sorted_fini(struct imap_sorted *s);
/* Where one with this key belongs; its UID is in the key, so that no two are the same. */
size_t imap_sorted_place(const struct imap_sorted *s, struct str key);
void imap_sorted_insert(struct imap_sorted *s, size_t place, uint32_t uid, struct str key);
/* Behind all that are there. */
void imap_sorted_add(struct imap_sorted *s, uint32_t uid, struct str key);
void imap_sorted_sort(struct imap_sorted *s);
void imap_sorted_subtract(struct imap_sorted *s, const struct imap_uids *less);

/* What is told of a change, in the words of the client: lines as they are. */
struct imap_told_set {
    struct buf *out;
    struct str head;          /* "* ESEARCH (TAG "a") UID ADDTO (" */
    uint32_t place;           /* of the set that has begun */
    uint32_t from, to;        /* of it, not written yet; 0: nothing */
    unsigned n_sets, n_items; /* in the line */
};
/* The next ones of a set at `place` (0: whatever the order is), which begins anew where `is_new`.
 */
void imap_told_put(struct imap_told_set *t, uint32_t place, struct imap_range numbers, bool is_new);
void imap_told_end(struct imap_told_set *t);

/* --- context.c -------------------------------------------------------------------------------- */

struct imap_context {
    struct list link;
    bool is_uid;
    uint8_t tag_n;
    char tag[IMAP_TAG_MAX];
    struct arena arena; /* of the program */
    struct imap_search_program program;
    struct imap_search_text text;
    struct imap_sort_order order;      /* n == 0: that of the mailbox */
    struct imap_fetch_program arrival; /* what is told of new messages; n == 0: nothing */
    uint32_t least; /* a set that goes on to the last message begins there; or 0 */
    struct imap_uids hits;
    struct imap_sorted sorted; /* the same in their order, where they have one */
    size_t bytes;              /* as counted */
    struct str why;            /* it cannot be kept any longer; absent: it can */
    /* By the change that is being told. */
    struct imap_uids gone, come;
    struct imap_sorted added;
};

/* A message that has to be looked at. */
struct imap_context_item {
    uint64_t email;
    uint32_t uid, index; /* of the new root */
    bool is_hit;         /* for sure; what it is sorted by is to be found out */
};

/* All of a session. */
struct imap_contexts {
    struct list all;
    size_t n;
    /* The change that is being told. */
    bool is_telling;          /* it has begun */
    bool is_looked;           /* what has come of it is known, and what went has been told */
    uint32_t next_uid;        /* messages from this one on are new with it */
    struct imap_fetch *fetch; /* what is told of them for `at`, in the session's arena */
    bool is_fetched;
    struct imap_context *at;
    enum net_step (*stage)(struct conn *c, struct imap_session *s, struct imap_contexts *k);
    struct store_diff diff;
    struct imap_context_item *items;
    size_t n_items, items_size, next;
    struct str summaries[IMAP_CONTEXT_PAGE]; /* of the items from page_from on */
    size_t page_from, page_to;
    struct imap_uids gone, come; /* of those that had to be looked at */
    struct imap_sort_values values;
    struct arena scratch;
    struct arena threads; /* of keys that name one */
    bool has_begun;
    unsigned step;   /* of the message at hand */
    struct buf made; /* its summary */
    struct buf text; /* to be sent */
    struct str rest;
};

/* From RETURN (UPDATE), when the hits are known and before the answer. NULL: it cannot be kept, and
 * the client has been told [RFC5267 4.3.1]. `order` is NULL for that of the mailbox. */
struct imap_context *imap_context_new(struct conn *c, struct imap_session *s,
                                      const struct imap_search_program *program,
                                      const struct imap_sort_order *order,
                                      const struct imap_return *want);
/* The untagged NO, for the command under way. */
void imap_context_refuse(struct conn *c, const struct imap_session *s, struct str why);
/* Hits in the order of the mailbox; then keeps it, or tells that it cannot. */
void imap_context_keep(struct conn *c, struct imap_session *s, struct imap_context *context,
                       const uint64_t *hits, size_t count);

/* --- context_look.c --------------------------------------------------------------------------- */

/* What has come and gone between the root that the client knows and the next one, for the context
 * `at`. NET_READ: done, or `why` says that it cannot be kept; others: call again. */
enum net_step imap_context_look(struct conn *c, struct imap_session *s);
void imap_context_look_fini(struct imap_contexts *k);

#endif
