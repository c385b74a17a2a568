/* Rows: how keys and the store's own values look in RocksDB, and the reading calls.
 *
 * A partition's rows have the key class, id (8 bytes), key; the row with the empty key is its
 * version, and is written with every commit, so one consistent read gives rows and the version that
 * they are of. */
#include "kv/kv_local_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { PART_KEY = 9, BLOB_FIXED = 35, BLOB_REF = 13 };

void local_key_part(struct row_key *to, struct kv_part part, struct str key)
{
    to->b[0] = (char)part.class;
    put_u64(to->b + 1, part.id);
    if (key.n)
        memcpy(to->b + PART_KEY, key.p, key.n);
    to->n = PART_KEY + key.n;
}

void local_key_blob(struct row_key *to, const struct kv_blob_id *id)
{
    to->b[0] = 'b';
    memcpy(to->b + 1, id->b, sizeof id->b);
    to->n = 1 + sizeof id->b;
}

void local_key_segment(struct row_key *to, uint32_t number)
{
    to->b[0] = 's';
    put_u32(to->b + 1, number);
    to->n = 5;
}

void local_key_store(struct row_key *to, char which)
{
    to->b[0] = 'm';
    to->b[1] = which;
    to->n = 2;
}

enum rocks_family local_family(struct kv_part part)
{
    switch (part.class) {
    case KV_QUEUE:
    case KV_JOBS:
        return ROCKS_QUEUE;
    case KV_CACHE:
        return ROCKS_CACHE;
    default:
        return ROCKS_META;
    }
}

/* --- values of the store's own ---------------------------------------------------------------- */

struct str local_row_number(unsigned char *to, uint64_t number)
{
    to[0] = ROW_FORMAT;
    put_u64(to + 1, number);
    return str_from(to, ROW_NUMBER);
}

enum rc local_row_number_parse(struct str row, uint64_t *out)
{
    if (row.n < ROW_NUMBER || row.p[0] != ROW_FORMAT)
        return RC_CORRUPT;
    *out = get_u64(row.p + 1);
    return RC_OK;
}

struct str local_row_segment(unsigned char *to, struct segment_state state)
{
    to[0] = ROW_FORMAT;
    put_u64(to + 1, state.end);
    put_u64(to + 9, state.live);
    return str_from(to, ROW_SEGMENT);
}

enum rc local_row_segment_parse(struct str row, struct segment_state *out)
{
    if (row.n < ROW_SEGMENT || row.p[0] != ROW_FORMAT)
        return RC_CORRUPT;
    *out = (struct segment_state){get_u64(row.p + 1), get_u64(row.p + 9)};
    return out->live <= out->end ? RC_OK : RC_CORRUPT;
}

void local_row_blob(struct buf *to, const struct blob_row *row)
{
    size_t n = BLOB_FIXED + BLOB_REF * row->n;
    char *p = buf_reserve(to, n);
    struct packer w;
    pack_init(&w, p, n);
    pack_u8(&w, ROW_FORMAT);
    pack_u8(&w, (uint8_t)row->at.place);
    pack_u8(&w, row->meta.codec);
    pack_u32(&w, row->meta.key_id);
    pack_u64(&w, row->meta.size);
    pack_u32(&w, row->at.segment);
    pack_u64(&w, row->at.offset);
    pack_u64(&w, row->n);
    for (size_t i = 0; i < row->n; i++) {
        pack_u8(&w, (uint8_t)row->refs[i].part.class);
        pack_u64(&w, row->refs[i].part.id);
        pack_u32(&w, row->refs[i].count);
    }
    buf_commit(to, w.n);
}

enum rc local_row_blob_parse(struct str value, struct blob_row *out)
{
    struct unpacker r;
    unpack_init(&r, value);
    *out = (struct blob_row){0};
    if (unpack_u8(&r) != ROW_FORMAT)
        return RC_CORRUPT;
    out->at.place = (enum blob_place)unpack_u8(&r);
    out->meta.codec = unpack_u8(&r);
    out->meta.key_id = unpack_u32(&r);
    out->meta.size = unpack_u64(&r);
    out->at.segment = unpack_u32(&r);
    out->at.offset = unpack_u64(&r);
    uint64_t n = unpack_u64(&r);
    if (r.failed || n > r.n / BLOB_REF ||
        (out->at.place != BLOB_SEGMENT && out->at.place != BLOB_LARGE))
        return RC_CORRUPT;
    out->n = out->capacity = (size_t)n;
    out->refs = mem_alloc(n * sizeof *out->refs);
    for (size_t i = 0; i < out->n; i++) {
        out->refs[i].part.class = (enum kv_class)unpack_u8(&r);
        out->refs[i].part.id = unpack_u64(&r);
        out->refs[i].count = unpack_u32(&r);
    }
    return RC_OK;
}

enum rc local_row_blob_load(struct local *l, const struct kv_blob_id *id, bool is_cached,
                            struct blob_row *out)
{
    struct row_key key;
    local_key_blob(&key, id);
    struct arena arena = {0};
    struct str value;
    *out = (struct blob_row){0};
    enum rc rc =
        local_rocks_get(l->rocks, ROCKS_META, row_key_str(&key), is_cached, &arena, &value);
    if (rc == RC_OK)
        rc = local_row_blob_parse(value, out);
    arena_fini(&arena);
    return rc;
}

void local_row_blob_load_many(struct local *l, const struct kv_blob_id *ids, size_t n,
                              struct blob_row *out, enum rc *out_rcs)
{
    struct row_key keys[KV_BLOBS_AT_ONCE];
    struct str names[KV_BLOBS_AT_ONCE] = {0}, values[KV_BLOBS_AT_ONCE];
    struct arena arena = {0};
    for (size_t i = 0; i < n; i++) {
        local_key_blob(&keys[i], &ids[i]);
        names[i] = row_key_str(&keys[i]);
        out[i] = (struct blob_row){0};
    }
    enum rc rc = local_rocks_get_many(l->rocks, ROCKS_META, names, n, &arena, values);
    for (size_t i = 0; i < n; i++) {
        out_rcs[i] = rc == RC_OK && str_is_null(values[i]) ? RC_NOTFOUND : rc;
        if (out_rcs[i] == RC_OK)
            out_rcs[i] = local_row_blob_parse(values[i], &out[i]);
    }
    arena_fini(&arena);
}

/* --- the reading calls ------------------------------------------------------------------------ */

static enum rc parse_version(struct str value, uint64_t *out_version)
{
    *out_version = 0;
    return str_is_null(value) ? RC_OK : local_row_number_parse(value, out_version);
}

enum rc local_row_version(struct local *l, struct kv_part part, bool is_cached,
                          uint64_t *out_version)
{
    struct row_key key;
    local_key_part(&key, part, (struct str){0});
    struct arena arena = {0};
    struct str value;
    enum rc rc =
        local_rocks_get(l->rocks, local_family(part), row_key_str(&key), is_cached, &arena, &value);
    if (rc == RC_OK || rc == RC_NOTFOUND)
        rc = parse_version(value, out_version);
    arena_fini(&arena);
    return rc;
}

enum rc local_version(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version)
{
    return local_row_version(local_of(kv), part, flags & KV_CACHED, out_version);
}

/* One row needs no common state with another. */
static enum rc get_one(struct local *l, struct kv_part part, struct str name, bool is_cached,
                       struct arena *arena, struct str *out_value)
{
    struct row_key key;
    local_key_part(&key, part, name);
    enum rc rc = local_rocks_get(l->rocks, local_family(part), row_key_str(&key), is_cached, arena,
                                 out_value);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

/* From memory alone, row by row: of one state because the version is the same before and after. */
static enum rc get_cached(struct local *l, struct kv_part part, const struct str *keys, size_t n,
                          struct arena *arena, struct str *out_values, uint64_t *out_version)
{
    uint64_t before, after;
    TRY(local_row_version(l, part, true, &before));
    for (size_t i = 0; i < n; i++)
        TRY(get_one(l, part, keys[i], true, arena, &out_values[i]));
    TRY(local_row_version(l, part, true, &after));
    if (out_version)
        *out_version = after;
    return before == after ? RC_OK : RC_AGAIN;
}

/* The version is a row, too, and is got along with the others. */
static enum rc get_many(struct local *l, struct kv_part part, const struct str *keys, size_t n,
                        struct arena *arena, struct str *out_values, uint64_t *out_version)
{
    size_t all = n + (out_version ? 1 : 0);
    struct str *full = arena_alloc(arena, (n + 1) * sizeof *full);
    struct str *values = arena_alloc(arena, (n + 1) * sizeof *values);
    if (!full || !values)
        return RC_LIMIT;
    for (size_t i = 0; i < all; i++) {
        struct row_key row;
        local_key_part(&row, part, i < n ? keys[i] : (struct str){0});
        full[i] = arena_dup(arena, row_key_str(&row));
        if (str_is_null(full[i]))
            return RC_LIMIT;
    }
    TRY(local_rocks_get_many(l->rocks, local_family(part), full, all, arena, values));
    if (n)
        memcpy(out_values, values, n * sizeof *values);
    return out_version ? parse_version(values[n], out_version) : RC_OK;
}

enum rc local_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n,
                  unsigned flags, struct arena *arena, struct str *out_values,
                  uint64_t *out_version)
{
    struct local *l = local_of(kv);
    if (n == 1 && !out_version)
        return get_one(l, part, keys[0], flags & KV_CACHED, arena, out_values);
    if (flags & KV_CACHED)
        return get_cached(l, part, keys, n, arena, out_values, out_version);
    return get_many(l, part, keys, n, arena, out_values, out_version);
}

static enum rc page_row(struct arena *arena, struct str key, struct str value, struct kv_row *out)
{
    out->key = arena_dup(arena, str_skip(key, PART_KEY));
    out->value = arena_dup(arena, value);
    return str_is_null(out->key) || str_is_null(out->value) ? RC_LIMIT : RC_OK;
}

/* Fills the page from where the iterator stands. */
static enum rc fill_page(struct rocks_iter *it, size_t max_rows, struct arena *arena,
                         struct kv_page *page)
{
    size_t capacity = 0, bytes = 0;
    struct kv_row *rows = NULL;
    enum rc rc;
    struct str key, value;
    while ((rc = local_rocks_iter_next(it, &key, &value)) == RC_OK) {
        if (page->n == max_rows || bytes > KV_PAGE_BYTES) {
            page->has_more = true;
            break;
        }
        rows = mem_array(rows, &capacity, page->n + 1, sizeof *rows);
        rc = page_row(arena, key, value, &rows[page->n]);
        if (rc != RC_OK)
            break;
        bytes += key.n + value.n;
        page->n++;
    }
    if (rc == RC_EOF)
        rc = RC_OK;
    if (rc == RC_OK && page->n) {
        page->rows = arena_alloc(arena, page->n * sizeof *rows);
        if (page->rows)
            memcpy(page->rows, rows, page->n * sizeof *rows);
        else
            rc = RC_LIMIT;
    }
    free(rows);
    return rc;
}

/* The version row is the first one of the partition. */
static enum rc page_version(struct rocks_iter *it, struct kv_page *page)
{
    struct str key, value;
    enum rc rc = local_rocks_iter_next(it, &key, &value);
    if (rc == RC_EOF || (rc == RC_OK && key.n != PART_KEY))
        return RC_OK;
    return rc == RC_OK ? parse_version(value, &page->version) : rc;
}

static enum rocks_read how_to_read(unsigned flags)
{
    return flags & KV_CACHED ? ROCKS_CACHED : flags & KV_ONCE ? ROCKS_ONCE : ROCKS_KEEP;
}

enum rc local_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                   unsigned flags, struct arena *arena, struct kv_page *out_page)
{
    struct row_key version, from, to;
    local_key_part(&version, part, (struct str){0});
    /* After a key comes the same with a zero byte; the version row is passed in the same way. */
    bool is_after = !str_is_null(range.after) || range.from.n == 0;
    struct str start = str_is_null(range.after) ? range.from : range.after;
    if (start.n > KV_KEY_MAX || range.to.n > KV_KEY_MAX)
        return RC_PERM;
    local_key_part(&from, part, start);
    if (is_after)
        from.b[from.n++] = '\0';
    local_key_part(&to, part, range.to);
    struct rocks_iter *it;
    TRY(local_rocks_iter_open(local_of(kv)->rocks, local_family(part), row_key_str(&version),
                              row_key_str(&to), how_to_read(flags), &it));
    enum rc rc = page_version(it, out_page);
    if (rc == RC_OK)
        rc = local_rocks_iter_seek(it, row_key_str(&from));
    if (rc == RC_OK)
        rc = fill_page(it, max_rows, arena, out_page);
    local_rocks_iter_close(&it);
    return rc;
}
