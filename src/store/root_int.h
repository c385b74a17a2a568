/* What roots are made of: for root.c, which changes them, and diff.c, which compares them. */
#ifndef STORE_ROOT_INT_H
#define STORE_ROOT_INT_H

#include "store/store_int.h"

enum { CHUNK_ROWS = 256, NODE_CHUNKS = 64, CHUNK_FIRST = 16 };

/* A chunk or node that was copied to change some of its rows, and to take none away, says from
 * which one and where they are, so that comparing the two need not look at the rest. `made` is the
 * modseq of the change that made it, which with its first UID names the rows it began with: roots
 * of failed changes, which may have the same, are never compared. */
struct origin {
    uint32_t changed_from, changed_to; /* rows of a chunk, chunks of a node */
    uint64_t made, came_from;          /* 0: not known */
};

/* `newest`: no row in it has a higher modseq. It may be higher than that of all of them: others may
 * have added rows behind those of a root that is looked at. */
struct chunk {
    _Atomic uint32_t refs;
    uint32_t used, size;
    struct origin origin;
    _Atomic uint64_t newest;
    struct store_row rows[];
};

/* What is below, and which rows it holds: the index of the first one counted from the parent's
 * first, and its UID. */
struct child {
    void *p;
    uint32_t start, first_uid;
    uint32_t n; /* in a table: chunks of this node; not set in a root's last one */
};

struct node {
    _Atomic uint32_t refs;
    uint32_t used, size;
    struct origin origin;    /* not of a table */
    _Atomic uint64_t newest; /* the same */
    struct child children[]; /* chunks; in a table: nodes */
};

struct store_root {
    _Atomic uint32_t refs;
    uint32_t count, n_nodes, last_chunks;
    uint32_t n_unended; /* rows with STORE_UNENDED */
    struct node *table; /* NULL when there are no rows */
    uint64_t since;     /* all rows were in the mailbox at this modseq, or came after it */
    uint64_t gone;      /* no row has left the mailbox after this modseq */
    _Atomic uint32_t first_unseen; /* hint: the mailbox's, and what looking has taught */
    struct store_mailbox info;
    char name[]; /* of the mailbox, which may be gone before its roots are */
};

struct chunk *chunk_new(size_t size);
struct node *node_new(size_t size);
void root_share(_Atomic uint32_t *refs); /* one more reference */
uint64_t root_newest(const _Atomic uint64_t *newest);
void root_note_newest(_Atomic uint64_t *newest, uint64_t modseq); /* raises it */
struct store_root *root_alloc(const struct store_mailbox *info, uint64_t since,
                              uint32_t first_unseen); /* without rows */

/* The rows from an index on that lie in one chunk; n is 0 beyond the end. */
struct span {
    const struct store_row *rows;
    uint32_t n;
    struct chunk *chunk; /* NULL unless it begins here */
    struct node *node;   /* the same */
    uint32_t node_rows, node_chunks;
    const struct child *siblings; /* from the chunk on to the node's last; NULL as the chunk */
    uint32_t n_siblings;
};
struct span root_span(const struct store_root *root, size_t index);

#endif
