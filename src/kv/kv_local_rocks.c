/* RocksDB through its C API; the only file that knows it.
 *
 * Memory: memory_bytes is the whole of it. Half (at most 32 MB) bounds the write buffers of all
 * families together, the rest is one LRU cache, filled as blocks are read, that also holds index
 * and filter blocks. Opening is fast after an orderly close because close flushes, so that no log
 * is replayed; few table files are opened ahead. After a crash at most WAL_BYTES are replayed.
 * Families: meta (accounts, directory, global, blob and segment rows), queue (short-lived rows,
 * small write buffer), cache. Blob files stay off, and so does track_and_verify_wals (measured
 * faults of 7.8). Recovery is point in time, the default. */
#include "kv/kv_local_rocks.h"

#include "base/mem.h"

#include <limits.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAL_BYTES = 64 << 20,
    WRITE_BUFFERS_MAX = 32 << 20,
    QUEUE_BUFFER = 4 << 20,
    BLOCK_BYTES = 8 << 10,
    ARENA_BLOCK = 256 << 10,
    TABLE_FILES_OPEN = 256,
    CACHE_SHARD_BITS = 2,
    BLOCK_CACHE_TIER = 1,
    MULTI_GET_MAX = 1024
};

/* RocksDB's own log gets its settings at open and nothing afterwards. Where a write to it fails, as
 * on a full disk, Debian's library, which is built with assertions, aborts the process at the next
 * one; what goes wrong reaches our log as the results of calls. */
enum { LOG_HEADERS_ONLY = 5 };

static const char *const family_names[ROCKS_FAMILIES] = {"default", "queue", "cache"};

struct rocks {
    struct ctx ctx;
    rocksdb_t *db;
    rocksdb_options_t *options[ROCKS_FAMILIES];
    rocksdb_column_family_handle_t *family[ROCKS_FAMILIES];
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read, *read_cached;
    rocksdb_writeoptions_t *write_synced, *write_lazy;
    bool is_read_only;
    bool is_failed; /* a write failed: what its log holds is unknown, so it is not touched again */
};

struct rocks_iter {
    struct rocks *rocks;
    rocksdb_readoptions_t *options;
    rocksdb_iterator_t *it;
    struct str to;
    bool is_moved; /* the iterator stands on a row that was given already */
};

/* RocksDB's statuses reach C as text; these are its own prefixes. */
static enum rc classify(const char *error)
{
    static const struct {
        const char *prefix;
        enum rc rc;
    } table[] = {
        {"Result incomplete", RC_AGAIN},
        {"NotFound", RC_NOTFOUND},
        {"Corruption", RC_CORRUPT},
        {"IO error: No space left", RC_FULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strncmp(error, table[i].prefix, strlen(table[i].prefix)))
            return table[i].rc;
    return strstr(error, "No space left") ? RC_FULL : RC_TEMP;
}

/* Consumes the error. */
static enum rc failed(struct rocks *r, const char *what, char *error)
{
    enum rc rc = classify(error);
    if (rc != RC_AGAIN && rc != RC_NOTFOUND)
        log_event(r->ctx.log, LOG_ERROR, "rocksdb-failed", "at", what, "cause", error, NULL);
    rocksdb_free(error);
    return rc;
}

/* --- opening ---------------------------------------------------------------------------------- */

static rocksdb_block_based_table_options_t *table_options(struct rocks *r)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(t, BLOCK_BYTES);
    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    /* In parts: whole, the index and the filter of a large table are about a megabyte each, and a
     * cache of a few megabytes a shard would read them anew for every lookup. */
    rocksdb_block_based_options_set_index_type(
        t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_block_based_options_set_metadata_block_size(t, BLOCK_BYTES);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    return t;
}

/* The settings of the database as a whole are taken from the first family's options. */
static void set_database_options(rocksdb_options_t *o, const struct rocks_conf *conf,
                                 uint64_t write_buffers)
{
    rocksdb_options_set_create_if_missing(o, !conf->read_only);
    rocksdb_options_set_create_missing_column_families(o, !conf->read_only);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_db_write_buffer_size(o, write_buffers);
    rocksdb_options_set_max_total_wal_size(o, WAL_BYTES);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_open_files(o, conf->open_tables ? (int)conf->open_tables
                                                            : TABLE_FILES_OPEN);
    rocksdb_options_set_max_file_opening_threads(o, 1);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
    rocksdb_options_set_bytes_per_sync(o, 1 << 20);
    rocksdb_options_set_info_log_level(o, LOG_HEADERS_ONLY);
    rocksdb_options_set_keep_log_file_num(o, 1);
    rocksdb_options_set_max_manifest_file_size(o, 4 << 20);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
}

static rocksdb_options_t *family_options(struct rocks *r, enum rocks_family family,
                                         const struct rocks_conf *conf, uint64_t write_buffers)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = table_options(r);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
    set_database_options(o, conf, write_buffers);
    rocksdb_options_set_write_buffer_size(o,
                                          family == ROCKS_META ? write_buffers / 2 : QUEUE_BUFFER);
    rocksdb_options_set_arena_block_size(o, ARENA_BLOCK);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.02);
    rocksdb_options_set_memtable_whole_key_filtering(o, 1);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    return o;
}

static void make_options(struct rocks *r, const struct rocks_conf *conf)
{
    uint64_t write_buffers = conf->memory_bytes / 2;
    if (write_buffers > WRITE_BUFFERS_MAX)
        write_buffers = WRITE_BUFFERS_MAX;
    rocksdb_lru_cache_options_t *lru = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(lru, conf->memory_bytes - write_buffers);
    rocksdb_lru_cache_options_set_num_shard_bits(lru, CACHE_SHARD_BITS);
    r->cache = rocksdb_cache_create_lru_opts(lru);
    rocksdb_lru_cache_options_destroy(lru);
    for (int f = 0; f < ROCKS_FAMILIES; f++)
        r->options[f] = family_options(r, (enum rocks_family)f, conf, write_buffers);
    r->read = rocksdb_readoptions_create();
    r->read_cached = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(r->read_cached, BLOCK_CACHE_TIER);
    r->write_synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->write_synced, 1);
    r->write_lazy = rocksdb_writeoptions_create();
}

static void free_all(struct rocks *r)
{
    for (int f = 0; f < ROCKS_FAMILIES; f++)
        if (r->family[f])
            rocksdb_column_family_handle_destroy(r->family[f]);
    if (r->db)
        rocksdb_close(r->db);
    for (int f = 0; f < ROCKS_FAMILIES; f++)
        rocksdb_options_destroy(r->options[f]);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_readoptions_destroy(r->read_cached);
    rocksdb_writeoptions_destroy(r->write_synced);
    rocksdb_writeoptions_destroy(r->write_lazy);
    rocksdb_cache_destroy(r->cache);
    free(r);
}

enum rc local_rocks_open(const struct ctx *ctx, const struct rocks_conf *conf, struct rocks **out)
{
    struct rocks *r = mem_zero(sizeof *r);
    r->ctx = *ctx;
    r->is_read_only = conf->read_only;
    make_options(r, conf);
    char *error = NULL;
    const rocksdb_options_t *const *options = (const rocksdb_options_t *const *)r->options;
    if (conf->read_only)
        r->db = rocksdb_open_for_read_only_column_families(
            r->options[0], conf->path, ROCKS_FAMILIES, family_names, options, r->family, 0, &error);
    else
        r->db = rocksdb_open_column_families(r->options[0], conf->path, ROCKS_FAMILIES,
                                             family_names, options, r->family, &error);
    if (error) {
        enum rc rc = failed(r, "open", error);
        r->db = NULL;
        memset(r->family, 0, sizeof r->family);
        free_all(r);
        return rc;
    }
    *out = r;
    return RC_OK;
}

static void flush(struct rocks *r)
{
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    for (int f = 0; f < ROCKS_FAMILIES; f++) {
        char *error = NULL;
        rocksdb_flush_cf(r->db, options, r->family[f], &error);
        if (error)
            (void)!failed(r, "flush", error); /* the log still holds it all */
    }
    rocksdb_flushoptions_destroy(options);
}

void local_rocks_close(struct rocks **rocks)
{
    struct rocks *r = *rocks;
    if (!r)
        return;
    *rocks = NULL;
    if (!r->is_read_only && !r->is_failed)
        flush(r);
    free_all(r);
}

/* --- reading ---------------------------------------------------------------------------------- */

static rocksdb_readoptions_t *read_options(struct rocks *r, bool is_cached)
{
    return is_cached ? r->read_cached : r->read;
}

/* No stored value is empty. With the cache-only tier RocksDB answers "found" and an empty value
 * when the table file that may hold the key is not open (it serves KeyMayExist so): that means
 * AGAIN. */
static enum rc take_value(rocksdb_pinnableslice_t *slice, bool is_cached, struct arena *arena,
                          struct str *out)
{
    size_t n;
    enum rc rc = is_cached ? RC_AGAIN : RC_CORRUPT;
    const char *p = rocksdb_pinnableslice_value(slice, &n);
    if (n) {
        *out = arena_dup(arena, str_from(p, n));
        rc = str_is_null(*out) ? RC_LIMIT : RC_OK;
    }
    rocksdb_pinnableslice_destroy(slice);
    return rc;
}

enum rc local_rocks_get(struct rocks *r, enum rocks_family family, struct str key, bool is_cached,
                        struct arena *arena, struct str *out_value)
{
    *out_value = (struct str){0};
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(r->db, read_options(r, is_cached),
                                                           r->family[family], key.p, key.n, &error);
    if (error)
        return failed(r, "get", error);
    return slice ? take_value(slice, is_cached, arena, out_value) : RC_NOTFOUND;
}

static enum rc collect(struct rocks *r, rocksdb_pinnableslice_t **slices, char **errors, size_t n,
                       struct arena *arena, struct str *out_values)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < n; i++) {
        out_values[i] = (struct str){0};
        enum rc one = RC_OK;
        if (errors[i])
            one = failed(r, "get", errors[i]);
        else if (slices[i])
            one = take_value(slices[i], false, arena, &out_values[i]);
        if (rc == RC_OK && one != RC_NOTFOUND)
            rc = one;
    }
    return rc;
}

enum rc local_rocks_get_many(struct rocks *r, enum rocks_family family, const struct str *keys,
                             size_t n, struct arena *arena, struct str *out_values)
{
    if (n > MULTI_GET_MAX)
        return RC_LIMIT;
    if (!n)
        return RC_OK;
    const char **list = mem_alloc(n * sizeof *list);
    size_t *sizes = mem_alloc(n * sizeof *sizes);
    rocksdb_pinnableslice_t **slices = mem_zero(n * sizeof(void *));
    char **errors = mem_zero(n * sizeof *errors);
    for (size_t i = 0; i < n; i++) {
        list[i] = keys[i].p;
        sizes[i] = keys[i].n;
    }
    rocksdb_batched_multi_get_cf(r->db, r->read, r->family[family], n, list, sizes, slices, errors,
                                 false);
    enum rc rc = collect(r, slices, errors, n, arena, out_values);
    free(list);
    free(sizes);
    free(slices);
    free(errors);
    return rc;
}

enum rc local_rocks_iter_open(struct rocks *r, enum rocks_family family, struct str from,
                              struct str to, enum rocks_read read, struct rocks_iter **out)
{
    struct rocks_iter *it = mem_zero(sizeof *it);
    it->rocks = r;
    it->to = to;
    it->options = rocksdb_readoptions_create();
    if (read == ROCKS_CACHED)
        rocksdb_readoptions_set_read_tier(it->options, BLOCK_CACHE_TIER);
    rocksdb_readoptions_set_fill_cache(it->options, read == ROCKS_KEEP);
    if (!str_is_null(to))
        rocksdb_readoptions_set_iterate_upper_bound(it->options, to.p, to.n);
    it->it = rocksdb_create_iterator_cf(r->db, it->options, r->family[family]);
    *out = it;
    enum rc rc = local_rocks_iter_seek(it, from);
    if (rc != RC_OK)
        local_rocks_iter_close(out);
    return rc;
}

static enum rc iter_status(struct rocks_iter *it)
{
    char *error = NULL;
    rocksdb_iter_get_error(it->it, &error);
    return error ? failed(it->rocks, "scan", error) : RC_OK;
}

enum rc local_rocks_iter_seek(struct rocks_iter *it, struct str from)
{
    it->is_moved = false;
    if (str_is_null(from))
        rocksdb_iter_seek_to_first(it->it);
    else
        rocksdb_iter_seek(it->it, from.p, from.n);
    return rocksdb_iter_valid(it->it) ? RC_OK : iter_status(it);
}

enum rc local_rocks_iter_next(struct rocks_iter *it, struct str *out_key, struct str *out_value)
{
    if (it->is_moved && rocksdb_iter_valid(it->it))
        rocksdb_iter_next(it->it);
    it->is_moved = true;
    if (!rocksdb_iter_valid(it->it)) {
        enum rc rc = iter_status(it);
        return rc == RC_OK ? RC_EOF : rc;
    }
    size_t n;
    const char *p = rocksdb_iter_key(it->it, &n);
    *out_key = str_from(p, n);
    p = rocksdb_iter_value(it->it, &n);
    *out_value = str_from(p, n);
    return RC_OK;
}

void local_rocks_iter_close(struct rocks_iter **it)
{
    if (!*it)
        return;
    rocksdb_iter_destroy((*it)->it);
    rocksdb_readoptions_destroy((*it)->options);
    free(*it);
    *it = NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

static rocksdb_writebatch_t *native(struct rocks_batch *batch)
{
    return (rocksdb_writebatch_t *)(void *)batch;
}

struct rocks_batch *local_rocks_batch_new(void)
{
    return (struct rocks_batch *)(void *)rocksdb_writebatch_create();
}

void local_rocks_batch_free(struct rocks_batch **batch)
{
    if (*batch)
        rocksdb_writebatch_destroy(native(*batch));
    *batch = NULL;
}

void local_rocks_batch_clear(struct rocks_batch *batch)
{
    rocksdb_writebatch_clear(native(batch));
}

void local_rocks_put(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                     struct str key, struct str value)
{
    rocksdb_writebatch_put_cf(native(batch), r->family[family], key.p, key.n, value.p, value.n);
}

void local_rocks_delete(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                        struct str key)
{
    rocksdb_writebatch_delete_cf(native(batch), r->family[family], key.p, key.n);
}

void local_rocks_put_parts(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                           struct str key, const struct str *parts, size_t n)
{
    enum { PARTS_MAX = 4 };
    const char *list[PARTS_MAX];
    size_t sizes[PARTS_MAX];
    if (n > PARTS_MAX)
        abort();
    for (size_t i = 0; i < n; i++) {
        list[i] = parts[i].p;
        sizes[i] = parts[i].n;
    }
    rocksdb_writebatch_putv_cf(native(batch), r->family[family], 1, &key.p, &key.n, (int)n, list,
                               sizes);
}

void local_rocks_delete_once(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                             struct str key)
{
    rocksdb_writebatch_singledelete_cf(native(batch), r->family[family], key.p, key.n);
}

void local_rocks_delete_range(struct rocks *r, struct rocks_batch *batch, enum rocks_family family,
                              struct str from, struct str to)
{
    rocksdb_writebatch_delete_range_cf(native(batch), r->family[family], from.p, from.n, to.p,
                                       to.n);
}

enum rc local_rocks_write(struct rocks *r, struct rocks_batch *batch, bool is_synced)
{
    char *error = NULL;
    rocksdb_write(r->db, is_synced ? r->write_synced : r->write_lazy, native(batch), &error);
    rocksdb_writebatch_clear(native(batch));
    if (!error)
        return RC_OK;
    r->is_failed = true;
    return failed(r, "write", error);
}

/* --- keeping ---------------------------------------------------------------------------------- */

enum rc local_rocks_checkpoint(struct rocks *r, const char *dir)
{
    char *error = NULL;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(r->db, &error);
    if (!error)
        rocksdb_checkpoint_create(checkpoint, dir, 0, &error);
    if (checkpoint)
        rocksdb_checkpoint_object_destroy(checkpoint);
    return error ? failed(r, "checkpoint", error) : RC_OK;
}
