/* The rows of a file of events, and finding one there.
 *
 *   `b` number4              a block: events in the order in which they came, each with its length
 *                            in two bytes in front
 *   `i` bucket2 number4      where the hashes of a bucket are, of one commit's events: hash4,
 *                            block1 (counted from number), offset2 of each
 *   `s`                      bytes8, and the number4 of the next block: in every commit
 *
 * Every value starts with a format byte. There are INDEX_BUCKETS buckets by the first bits of a
 * hash: of many events that are written together each bucket gets one row, which costs an event
 * next to nothing; when there is little to do a row holds one place. To find a hash is to read the
 * rows of its bucket, a thousandth of a file's index. Hashes may meet, so what is found has to
 * be looked at. */
#include "trace/trace_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, ENTRY = 7, ROW_KEY = 7 };

struct entry {
    uint64_t hash;
    uint16_t offset;
    uint8_t block;
};

struct index {
    struct entry *entries;
    size_t n_entries, capacity;
    struct buf blocks[INDEX_BLOCKS];
    unsigned n_blocks;
    uint32_t first;
};

static unsigned bucket_of(uint64_t hash)
{
    return (unsigned)(hash >> 54);
}

static struct str block_key(uint32_t number, unsigned char key[5])
{
    key[0] = 'b';
    put_u32(key + 1, number);
    return str_from(key, 5);
}

static struct str bucket_key(unsigned bucket, uint32_t number, unsigned char key[ROW_KEY])
{
    key[0] = 'i';
    put_u16(key + 1, (uint16_t)bucket);
    put_u32(key + 3, number);
    return str_from(key, ROW_KEY);
}

/* --- writing ---------------------------------------------------------------------------------- */

struct index *trace_index_new(uint32_t first_block)
{
    struct index *index = mem_zero(sizeof *index);
    index->first = first_block;
    return index;
}

void trace_index_free(struct index **index)
{
    for (unsigned i = 0; i < (*index)->n_blocks; i++)
        buf_fini(&(*index)->blocks[i]);
    free((*index)->entries);
    free(*index);
    *index = NULL;
}

uint32_t trace_index_next(const struct index *index)
{
    return index->first + index->n_blocks;
}

/* The block that takes another event; NULL: there are enough. */
static struct buf *open_block(struct index *index)
{
    if (index->n_blocks && buf_len(&index->blocks[index->n_blocks - 1]) < INDEX_BLOCK)
        return &index->blocks[index->n_blocks - 1];
    if (index->n_blocks == INDEX_BLOCKS)
        return NULL;
    struct buf *block = &index->blocks[index->n_blocks++];
    buf_init(block, INDEX_BLOCK + TRACE_EVENT_MAX + 16);
    buf_put(block, str_from(&(char){FORMAT}, 1));
    return block;
}

enum rc trace_index_add(struct index *index, struct str event)
{
    uint64_t hashes[EVENT_HASHES];
    unsigned char length[2];
    struct buf *block = open_block(index);
    if (!block)
        return RC_LIMIT;
    uint16_t offset = (uint16_t)buf_len(block);
    put_u16(length, (uint16_t)event.n);
    buf_put(block, str_from(length, sizeof length));
    buf_put(block, event);
    size_t n = trace_event_hashes(event, hashes);
    index->entries =
        mem_array(index->entries, &index->capacity, index->n_entries + n, sizeof *index->entries);
    for (size_t i = 0; i < n; i++)
        index->entries[index->n_entries++] =
            (struct entry){hashes[i], offset, (uint8_t)(index->n_blocks - 1)};
    return RC_OK;
}

static int by_bucket(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = (int)bucket_of(x->hash) - (int)bucket_of(y->hash);
    if (order == 0)
        order = x->block - y->block;
    return order ? order : x->offset - y->offset;
}

static enum rc put_row(struct kv_txn *txn, struct str key, struct str value, uint64_t *bytes)
{
    *bytes += key.n + value.n;
    return kv_txn_put(txn, key, value);
}

static enum rc put_bucket(struct index *index, struct kv_txn *txn, size_t from, size_t to,
                          uint64_t *bytes)
{
    unsigned char key[ROW_KEY];
    struct buf value;
    buf_init(&value, KV_VALUE_MAX);
    buf_put(&value, str_from(&(char){FORMAT}, 1));
    for (size_t i = from; i < to; i++) {
        unsigned char at[ENTRY];
        put_u32(at, (uint32_t)index->entries[i].hash);
        at[4] = index->entries[i].block;
        put_u16(at + 5, index->entries[i].offset);
        buf_put(&value, str_from(at, sizeof at));
    }
    struct str name = bucket_key(bucket_of(index->entries[from].hash), index->first, key);
    enum rc rc = value.over ? RC_LIMIT : put_row(txn, name, buf_str(&value), bytes);
    buf_fini(&value);
    return rc;
}

enum rc trace_index_put(struct index *index, struct kv_txn *txn, uint64_t *out_bytes)
{
    unsigned char key[5];
    *out_bytes = 0;
    for (unsigned i = 0; i < index->n_blocks; i++)
        TRY(put_row(txn, block_key(index->first + i, key), buf_str(&index->blocks[i]), out_bytes));
    if (index->n_entries)
        qsort(index->entries, index->n_entries, sizeof *index->entries, by_bucket);
    for (size_t from = 0, to; from < index->n_entries; from = to) {
        unsigned bucket = bucket_of(index->entries[from].hash);
        for (to = from + 1; to < index->n_entries; to++)
            if (bucket_of(index->entries[to].hash) != bucket)
                break;
        TRY(put_bucket(index, txn, from, to, out_bytes));
    }
    return RC_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct places {
    struct place *at;
    size_t n, capacity;
};

static enum rc take_row(struct kv_row row, uint32_t hash, struct places *to)
{
    if (row.key.n != ROW_KEY || row.value.n == 0 || row.value.p[0] != FORMAT)
        return RC_CORRUPT;
    uint32_t first = get_u32(row.key.p + 3);
    for (struct str rest = str_skip(row.value, 1); rest.n >= ENTRY; rest = str_skip(rest, ENTRY)) {
        if (get_u32(rest.p) != hash)
            continue;
        to->at = mem_array(to->at, &to->capacity, to->n + 1, sizeof *to->at);
        to->at[to->n++] = (struct place){first + (unsigned char)rest.p[4], get_u16(rest.p + 5)};
    }
    return RC_OK;
}

static enum rc find_all(struct kv *kv, struct kv_part part, const struct wanted *wanted,
                        struct places *to)
{
    unsigned bucket = bucket_of(wanted->hash);
    unsigned char from[ROW_KEY], end[ROW_KEY], last[ROW_KEY];
    uint32_t first = wanted->from > INDEX_BLOCKS ? wanted->from - INDEX_BLOCKS : 0;
    struct kv_range range = {.from = bucket_key(bucket, first, from),
                             .to = bucket_key(bucket + 1, 0, end)};
    struct kv_page page;
    enum rc rc;
    do {
        struct arena arena = {0};
        rc = kv_scan(kv, part, range, 0, 0, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++)
            rc = take_row(page.rows[i], (uint32_t)wanted->hash, to);
        if (rc == RC_OK && page.has_more) {
            memcpy(last, page.rows[page.n - 1].key.p, sizeof last);
            range.after = str_from(last, sizeof last);
        }
        arena_fini(&arena);
    } while (rc == RC_OK && page.has_more);
    return rc;
}

enum rc trace_index_find(struct kv *kv, struct kv_part part, const struct wanted *wanted,
                         struct arena *arena, struct place **out, size_t *out_n)
{
    struct places found = {0};
    size_t max = wanted->max;
    enum rc rc = find_all(kv, part, wanted, &found);
    size_t n = found.n < max ? found.n : max;
    *out_n = 0;
    *out = arena_alloc(arena, n * sizeof **out + 1);
    if (rc == RC_OK && !*out)
        rc = RC_LIMIT;
    if (rc == RC_OK && n) {
        memcpy(*out, found.at + found.n - n, n * sizeof **out);
        *out_n = n;
    }
    free(found.at);
    return rc;
}

static enum rc load_block(struct kv *kv, struct kv_part part, uint32_t number,
                          struct block_cache *cache, struct arena *arena)
{
    unsigned char name[5];
    struct str key = block_key(number, name), value;
    if (cache->bytes.p && cache->number == number && kv_part_eq(cache->part, part))
        return RC_OK;
    cache->bytes = (struct str){0};
    TRY(kv_get(kv, part, &key, 1, 0, arena, &value, NULL));
    if (str_is_null(value))
        return RC_NOTFOUND;
    if (value.p[0] != FORMAT)
        return RC_CORRUPT;
    *cache = (struct block_cache){part, number, value};
    return RC_OK;
}

enum rc trace_index_event(struct kv *kv, struct kv_part part, struct place at,
                          struct block_cache *cache, struct arena *arena, struct str *out)
{
    struct unpacker r;
    TRY(load_block(kv, part, at.block, cache, arena));
    unpack_init(&r, str_skip(cache->bytes, at.offset));
    *out = unpack_str16(&r);
    return unpack_done(&r);
}
