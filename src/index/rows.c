/* What one row holds. Pure.
 *
 *   `i` `h`                    the index: next8 next_block8 emails8
 *   `i` `b` block8             a block: width1 columns4 emails4 gap_rows4 first8 last8
 *   `i` `r` block8 `c` n4      places, of 8,192 columns each, from 8,192 n on: for each column how
 *                              many messages begin in it, times two, plus 1 when the one before
 *                              goes on in it
 *   `i` `r` block8 `g` n4      email ids between first and last without a message: (from4 n4)...
 *   `i` `r` block8 `s` n4      slices, some side by side: a bit for each column
 *
 * Numbers are big-endian. Each value begins with format1 codec1 key4 crc4; the crc is that of the
 * row's key, of what stands before it and of what follows, so that damage, and a row in another's
 * place, are seen. Ids of blocks are never used again, whatever is thrown away: who has read a
 * block's row can only find its own rows, or none. */
#include "index/index_int.h"

#include <string.h>

enum { SUM_AT = INDEX_HEAD - 4 };

struct str index_key_str(const struct index_key *k)
{
    return str_from(k->b, k->n);
}

struct index_key index_key_kind(char kind)
{
    struct index_key k = {.b = {'i', kind}, .n = kind ? 2 : 1};
    return k;
}

struct index_key index_key_state(void)
{
    return index_key_kind('h');
}

static struct index_key key_of(char kind, uint64_t block)
{
    struct index_key k = index_key_kind(kind);
    put_u64(k.b + k.n, block);
    k.n += 8;
    return k;
}

struct index_key index_key_block(uint64_t block)
{
    return key_of('b', block);
}

struct index_key index_key_rows(uint64_t block)
{
    return key_of('r', block);
}

struct index_key index_key_row(uint64_t block, enum index_kind kind, uint32_t n)
{
    struct index_key k = index_key_rows(block);
    k.b[k.n++] = (char)kind;
    put_u32(k.b + k.n, n);
    k.n += 4;
    return k;
}

struct index_key index_key_after(struct index_key key)
{
    while (key.n && (unsigned char)key.b[key.n - 1] == 0xff)
        key.n--;
    if (key.n)
        key.b[key.n - 1]++;
    return key;
}

/* --- heads ------------------------------------------------------------------------------------ */

static uint32_t sum_of(struct str key, const unsigned char *row, size_t n)
{
    uint32_t crc = crc32c(crc32c(0, key), str_from(row, SUM_AT));
    return crc32c(crc, str_from(row + INDEX_HEAD, n - INDEX_HEAD));
}

void index_row_seal(struct str key, unsigned char *row, size_t n)
{
    memset(row, 0, INDEX_HEAD); /* no codec, in clear */
    row[0] = INDEX_FORMAT;
    put_u32(row + SUM_AT, sum_of(key, row, n));
}

enum rc index_row_open(struct str key, struct str row, struct str *out)
{
    *out = (struct str){0};
    if (row.n < INDEX_HEAD || row.p[0] != INDEX_FORMAT)
        return RC_CORRUPT;
    if (get_u32(row.p + SUM_AT) != sum_of(key, (const unsigned char *)row.p, row.n))
        return RC_CORRUPT;
    if (row.p[1] != 0 || get_u32(row.p + 2) != 0)
        return RC_DENIED; /* sealed: needs its session's key */
    *out = str_skip(row, INDEX_HEAD);
    return RC_OK;
}

/* --- the index, and its blocks ---------------------------------------------------------------- */

void index_head_put(const struct index_head *h, unsigned char row[INDEX_HEAD_ROW])
{
    struct index_key key = index_key_state();
    put_u64(row + INDEX_HEAD, h->next);
    put_u64(row + INDEX_HEAD + 8, h->next_block);
    put_u64(row + INDEX_HEAD + 16, h->emails);
    index_row_seal(index_key_str(&key), row, INDEX_HEAD_ROW);
}

enum rc index_head_get(struct str row, struct index_head *out)
{
    struct index_key key = index_key_state();
    struct unpacker u;
    struct str payload;
    TRY(index_row_open(index_key_str(&key), row, &payload));
    unpack_init(&u, payload);
    out->next = unpack_u64(&u);
    out->next_block = unpack_u64(&u);
    out->emails = unpack_u64(&u);
    return unpack_done(&u);
}

void index_block_shape(struct index_block *b)
{
    b->stride = (b->columns + 7) / 8;
    b->slices = 1;
    while (b->slices < INDEX_WIDTH && b->slices * 2 * b->stride <= INDEX_ROW)
        b->slices *= 2;
}

void index_block_put(const struct index_block *b, unsigned char row[INDEX_BLOCK_ROW])
{
    struct index_key key = index_key_block(b->id);
    struct packer w;
    pack_init(&w, row + INDEX_HEAD, INDEX_BLOCK_ROW - INDEX_HEAD);
    pack_u8(&w, INDEX_WIDTH_LOG);
    pack_u32(&w, b->columns);
    pack_u32(&w, b->emails);
    pack_u32(&w, b->gap_rows);
    pack_u64(&w, b->first);
    pack_u64(&w, b->last);
    index_row_seal(index_key_str(&key), row, INDEX_BLOCK_ROW);
}

enum rc index_block_get(struct str key, struct str row, struct index_block *out)
{
    struct unpacker u;
    struct str payload;
    TRY(index_row_open(key, row, &payload));
    unpack_init(&u, payload);
    bool has_width = unpack_u8(&u) == INDEX_WIDTH_LOG && key.n == 10;
    out->columns = unpack_u32(&u);
    out->emails = unpack_u32(&u);
    out->gap_rows = unpack_u32(&u);
    out->first = unpack_u64(&u);
    out->last = unpack_u64(&u);
    if (unpack_done(&u) != RC_OK || !has_width || !out->columns || out->columns > INDEX_COLUMNS ||
        out->last < out->first || out->last - out->first >= INT32_MAX || out->last == UINT64_MAX ||
        out->gap_rows > out->emails / INDEX_GAPS_ROW + 2)
        return RC_CORRUPT;
    out->id = get_u64(key.p + 2);
    index_block_shape(out);
    return RC_OK;
}

/* --- gaps ------------------------------------------------------------------------------------- */

size_t index_gaps_put(const struct index_gap *gaps, size_t n, unsigned char *payload)
{
    for (size_t i = 0; i < n; i++) {
        put_u32(payload + i * 8, gaps[i].from);
        put_u32(payload + i * 8 + 4, gaps[i].n);
    }
    return n * 8;
}

enum rc index_gaps_get(struct str payload, const struct index_block *b, struct index_gap *out,
                       size_t *out_n)
{
    uint64_t ids = b->last - b->first + 1;
    *out_n = 0;
    if (payload.n % 8 || payload.n / 8 > INDEX_GAPS_ROW)
        return RC_CORRUPT;
    for (size_t i = 0; i < payload.n / 8; i++) {
        struct index_gap g = {get_u32(payload.p + i * 8), get_u32(payload.p + i * 8 + 4)};
        if (g.from >= ids || g.n > ids - g.from)
            return RC_CORRUPT;
        out[(*out_n)++] = g;
    }
    return RC_OK;
}
