/* A call of the link, inside: built by link_call.c, sent by link.c. */
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

#endif
