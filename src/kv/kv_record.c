/* Frames and sums of stored blobs: pure functions over bytes, no I/O. The format is drawn in the
 * header; a change of it gets a new number and both are read. */
#include "kv/kv_record.h"

#include "base/bytes.h"

#include <string.h>

static const unsigned char magic[4] = {'P', 'f', 'B', '1'};

uint64_t kv_record_chunks(uint64_t size)
{
    return size / RECORD_CHUNK + (size % RECORD_CHUNK != 0);
}

uint64_t kv_record_bytes(uint64_t size)
{
    uint64_t n = RECORD_FRAME + size + 4 * kv_record_chunks(size);
    return (n + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
}

void kv_record_frame(unsigned char *to, const struct record *record)
{
    memset(to, 0, RECORD_FRAME);
    memcpy(to, magic, sizeof magic);
    to[4] = RECORD_FORMAT;
    to[5] = record->codec;
    to[6] = (unsigned char)record->part.class;
    memcpy(to + 8, record->id.b, sizeof record->id.b);
    put_u64(to + 24, record->part.id);
    put_u64(to + 32, record->commit);
    put_u64(to + 40, record->size);
    put_u32(to + 48, record->key_id);
    put_u32(to + 60, crc32c(0, str_from(to, 60)));
}

enum rc kv_record_parse(const unsigned char *from, struct record *out)
{
    if (memcmp(from, magic, sizeof magic) != 0 || from[4] != RECORD_FORMAT)
        return RC_CORRUPT;
    if (get_u32(from + 60) != crc32c(0, str_from(from, 60)))
        return RC_CORRUPT;
    *out = (struct record){
        .part = {(enum kv_class)from[6], get_u64(from + 24)},
        .commit = get_u64(from + 32),
        .size = get_u64(from + 40),
        .codec = from[5],
        .key_id = get_u32(from + 48),
    };
    memcpy(out->id.b, from + 8, sizeof out->id.b);
    return out->size > INT64_MAX / 2 ? RC_CORRUPT : RC_OK;
}

void kv_record_sums(unsigned char *to, struct str body)
{
    for (; body.n; to += 4, body = str_skip(body, RECORD_CHUNK))
        put_u32(to, crc32c(0, str_head(body, RECORD_CHUNK)));
}

bool kv_record_holds(const unsigned char *record, uint64_t size)
{
    const unsigned char *body = record + RECORD_FRAME, *sum = body + size;
    struct str rest = str_from(body, (size_t)size);
    for (; rest.n; rest = str_skip(rest, RECORD_CHUNK), sum += 4)
        if (get_u32(sum) != crc32c(0, str_head(rest, RECORD_CHUNK)))
            return false;
    return true;
}

void kv_blob_id_text(char *to, const struct kv_blob_id *id)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof id->b; i++) {
        to[2 * i] = digits[id->b[i] >> 4];
        to[2 * i + 1] = digits[id->b[i] & 15];
    }
    to[BLOB_ID_TEXT - 1] = '\0';
}

/* Lower case only: an id has one text. */
static int hex_digit(char c)
{
    return c == ascii_lower(c) ? ascii_hex(c) : -1;
}

bool kv_blob_id_parse(const char *text, struct kv_blob_id *out)
{
    if (strlen(text) != BLOB_ID_TEXT - 1)
        return false;
    for (size_t i = 0; i < sizeof out->b; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out->b[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}
