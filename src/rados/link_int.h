/* The link, inside: calls are built by link_call.c, sent by link.c, watched by link_watch.c. */
#ifndef RADOS_LINK_INT_H
#define RADOS_LINK_INT_H

#include "rados/link.h"

enum part_kind {
    PART_GUARD_ROW,
    PART_GUARD_ROW_BELOW,
    PART_GUARD_ATTR,
    PART_CREATE,
    PART_ASSERT_EXISTS,
    PART_RANGE_REMOVE,
    PART_ROW_REMOVE,
    PART_ROW,
    PART_ATTR_REMOVE,
    PART_ATTR,
    PART_BYTES,
    PART_PIECE,
    PART_REMOVE,
    PART_READ_ROWS,
    PART_READ_ROW,
    PART_READ_ATTRS,
    PART_READ_BYTES,
    PART_KINDS
};

struct part {
    struct str key, value; /* in the call's arena; names end with NUL */
    uint64_t at, n;
};

struct parts {
    struct part *part;
    size_t n, capacity;
};

struct link_call {
    struct list link;
    struct link *to;
    enum link_pool pool;
    char *object;
    struct arena arena;
    struct parts parts[PART_KINDS];
    size_t bytes;

    link_done *done;
    void *arg;
    uint64_t begun; /* when librados got it, by the monotonic clock */
    uint64_t until; /* by the monotonic clock; 0: for ever */
    bool is_write, is_answered;
    int error; /* of a broken call */
    enum kv_rados_fate fate;
    _Atomic int refs;

    void *write; /* librados' handles, link.c's: an operation, */
    void *read;
    void *rows, *keys; /* and what it got */
    void *attrs;
    unsigned char has_more;
    int unused_result; /* of a part of a read: that of the whole tells all */
    char *data;
    size_t data_n;
};

/* Handles of librados are void * here: only link.c knows what they are. */
struct link {
    const struct ctx *ctx;
    void *cluster;
    void *pools[2]; /* by enum link_pool */
    size_t most;
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* the watchman, before its time */
    struct list waiting, sent, late, broken;
    struct list held; /* answered as unknown, sent later: a test's */
    const struct kv_rados_hooks *hooks;
    size_t n_sent, sent_bytes;
    uint64_t stalled; /* since when, by the monotonic clock; 0: not */
    bool is_closing;
    pthread_t watchman;
};

/* link.c, for the watchman, without the mutex: gives a call to librados; librados is done with it.
 */
void link_submit(struct link_call *call);
void link_complete(struct link_call *call, int error);
void link_call_let_go(struct link_call *call); /* of one reference */
/* link_watch.c: the thread; its argument is the link. */
void *link_watch(void *arg);

#endif
