/* What kv_local needs of RocksDB, and the only way to it: rows in three families, one batch at a
 * time written atomically, pinned values, bounded iterators, checkpoints. Every error of RocksDB
 * becomes one of RC_AGAIN (a cache-only read would have waited), RC_NOTFOUND, RC_FULL, RC_CORRUPT
 * or RC_TEMP, and its text is logged. */
#ifndef KV_KV_LOCAL_ROCKS_H
#define KV_KV_LOCAL_ROCKS_H

#include "base/arena.h"
#include "base/ctx.h"
#include "base/str.h"

struct rocks;
struct rocks_batch;
struct rocks_iter;

enum rocks_family { ROCKS_META, ROCKS_QUEUE, ROCKS_CACHE, ROCKS_FAMILIES };

struct rocks_conf {
    const char *path;
    uint64_t memory_bytes; /* block cache and write buffers together */
    unsigned open_tables;  /* table files kept open; 0: TABLE_FILES_OPEN */
    bool read_only;
};

enum rc local_rocks_open(const struct ctx *ctx, const struct rocks_conf *conf, struct rocks **out);
/* Flushes the write buffers first, so that the next open has nothing to replay. */
void local_rocks_close(struct rocks **rocks);

/* Values. `is_cached`: from memory only. */
enum rc local_rocks_get(struct rocks *r, enum rocks_family family, struct str key, bool is_cached,
                        struct arena *arena, struct str *out_value);
/* All of one state, absent ones as absent views. May read from the disk: RocksDB 7.8 does not keep
 * to the memory here when asked to. */
enum rc local_rocks_get_many(struct rocks *r, enum rocks_family family, const struct str *keys,
                             size_t n, struct arena *arena, struct str *out_values);

enum rocks_read {
    ROCKS_KEEP,   /* what is read stays in the cache */
    ROCKS_CACHED, /* only what is in the cache */
    ROCKS_ONCE    /* nothing stays in the cache because of it */
};

/* The rows from `from` on and before `to` (absent: no bound), of one state. `from` and `to` must
 * stay until the iterator is closed. next answers RC_EOF at the end; key and value are valid until
 * the next call. */
enum rc local_rocks_iter_open(struct rocks *r, enum rocks_family family, struct str from,
                              struct str to, enum rocks_read read, struct rocks_iter **out);
enum rc local_rocks_iter_seek(struct rocks_iter *it, struct str from);
enum rc local_rocks_iter_next(struct rocks_iter *it, struct str *out_key, struct str *out_value);
void local_rocks_iter_close(struct rocks_iter **it);

/* Changes, applied in order and all at once. Keys and values are copied. */
struct rocks_batch *local_rocks_batch_new(void);
void local_rocks_batch_free(struct rocks_batch **batch);
void local_rocks_batch_clear(struct rocks_batch *batch);
void local_rocks_put(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                     struct str key, struct str value);
void local_rocks_delete(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                        struct str key);
/* The value is these parts, one behind the other. */
void local_rocks_put_parts(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                           struct str key, const struct str *parts, size_t n);
/* Of a row that was put once since it was last deleted, and only in this way: with both in one
 * write buffer, neither of them reaches a table. */
void local_rocks_delete_once(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                             struct str key);
void local_rocks_delete_range(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                              struct str from, struct str to);
/* Writes and empties the batch; `is_synced`: it is durable when this returns RC_OK. After an error
 * nothing may be written again. */
enum rc local_rocks_write(struct rocks *r, struct rocks_batch *batch, bool is_synced);

/* A copy of the rows in a new folder: hard links and one log. */
enum rc local_rocks_checkpoint(struct rocks *r, const char *dir);

#endif
