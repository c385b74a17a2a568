/* Rows in memory, in key order, for back ends: a skip list. Not safe for threads. */
#ifndef KV_ROWS_H
#define KV_ROWS_H

#include "base/str.h"

enum { KV_ROWS_LEVELS = 12 };

/* In one piece with its key and value: putting a key again makes another row of it. */
struct kv_rows_row {
    struct str key, value;
    struct kv_rows_row *next[];
};

/* All zeroes: empty. */
struct kv_rows {
    struct kv_rows_row *first[KV_ROWS_LEVELS];
    size_t count, bytes; /* bytes: of keys and values */
    uint64_t dice;       /* from which the next row's height comes */
};

void kv_rows_fini(struct kv_rows *rows);
struct str kv_rows_get(const struct kv_rows *rows, struct str key); /* absent: no row */
void kv_rows_put(struct kv_rows *rows, struct str key, struct str value);
bool kv_rows_delete(struct kv_rows *rows, struct str key); /* false: there was none */
/* The first row whose key is at least `key`; go on by next[0]. */
struct kv_rows_row *kv_rows_seek(const struct kv_rows *rows, struct str key);
/* The last row whose key is at most `key`; NULL: none. */
struct kv_rows_row *kv_rows_floor(const struct kv_rows *rows, struct str key);

#endif
