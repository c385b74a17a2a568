/* How blobs, their tags, references and intents look on the cluster: no I/O. The formats are drawn
 * in the header; a change of one gets a new number, and both are read. */
#include "rados/blob_form.h"

#include "base/bytes.h"

#include <string.h>

enum { FORMAT = 1, HEX_U64 = 16, HEX_ID = 32, NO_CHUNK_MAX = 8 };

static const char digits[] = "0123456789abcdef";

static char *put_hex(char *to, uint64_t n, size_t length)
{
    for (size_t i = length; i-- > 0; n >>= 4)
        to[i] = digits[n & 15];
    to[length] = '\0';
    return to + length;
}

/* Lower-case digits only: a number has one name. */
static bool take_hex(struct str *rest, size_t length, uint64_t *out)
{
    *out = 0;
    if (rest->n < length)
        return false;
    for (size_t i = 0; i < length; i++) {
        const char *digit = rest->p[i] ? strchr(digits, rest->p[i]) : NULL;
        if (!digit)
            return false;
        *out = *out << 4 | (uint64_t)(digit - digits);
    }
    *rest = str_skip(*rest, length);
    return true;
}

static bool take_byte(struct str *rest, char c)
{
    bool is_it = rest->n > 0 && rest->p[0] == c;
    if (is_it)
        *rest = str_skip(*rest, 1);
    return is_it;
}

static bool take_id(struct str *rest, struct kv_blob_id *out)
{
    uint64_t high, low;
    if (!take_hex(rest, HEX_U64, &high) || !take_hex(rest, HEX_U64, &low))
        return false;
    put_u64(out->b, high);
    put_u64(out->b + 8, low);
    return true;
}

static char *put_id(char *to, struct kv_blob_id id)
{
    return put_hex(put_hex(to, get_u64(id.b), HEX_U64), get_u64(id.b + 8), HEX_U64);
}

/* --- names ------------------------------------------------------------------------------------ */

void form_main_name(char *to, struct kv_blob_id id)
{
    memcpy(to, "b/", 2);
    put_id(to + 2, id);
}

void form_chunk_name(char *to, struct kv_blob_id id, uint64_t n)
{
    form_main_name(to, id);
    to[2 + HEX_ID] = '.';
    put_hex(to + 2 + HEX_ID + 1, n, NO_CHUNK_MAX);
}

bool form_body_parse(struct str name, struct kv_blob_id *out_id, uint64_t *out_chunk)
{
    *out_chunk = UINT64_MAX;
    if (!take_byte(&name, 'b') || !take_byte(&name, '/') || !take_id(&name, out_id))
        return false;
    if (name.n == 0)
        return true;
    return take_byte(&name, '.') && take_hex(&name, NO_CHUNK_MAX, out_chunk) && name.n == 0;
}

void form_intents_name(char *to, uint64_t process)
{
    memcpy(to, "i/", 2);
    put_hex(to + 2, process, HEX_U64);
}

void form_process_key(char *to, uint64_t process)
{
    put_hex(to, process, HEX_U64);
}

bool form_process_parse(struct str key, uint64_t *out)
{
    return take_hex(&key, HEX_U64, out) && key.n == 0;
}

void form_tag_name(char *to, struct form_tag tag)
{
    to[0] = 't';
    to[1] = (char)tag.part.class;
    to = put_hex(to + 2, tag.part.id, HEX_U64);
    *to++ = '.';
    put_hex(to, tag.token, HEX_U64);
}

bool form_tag_parse(struct str name, struct form_tag *out)
{
    if (!take_byte(&name, 't') || name.n == 0 || !name.p[0])
        return false;
    out->part.class = (enum kv_class)(unsigned char)name.p[0];
    name = str_skip(name, 1);
    return take_hex(&name, HEX_U64, &out->part.id) && take_byte(&name, '.') &&
           take_hex(&name, HEX_U64, &out->token) && name.n == 0;
}

void form_intent_key(char *to, struct form_intent intent)
{
    to = put_id(to, intent.id);
    *to++ = '.';
    put_hex(to, intent.token, HEX_U64);
}

bool form_intent_parse(struct str key, struct form_intent *out)
{
    return take_id(&key, &out->id) && take_byte(&key, '.') &&
           take_hex(&key, HEX_U64, &out->token) && key.n == 0;
}

/* --- values ----------------------------------------------------------------------------------- */

void form_number(unsigned char *to, uint64_t number)
{
    to[0] = FORMAT;
    put_u64(to + 1, number);
}

enum rc form_number_parse(struct str value, uint64_t *out)
{
    if (value.n < FORM_NUMBER || value.p[0] != FORMAT)
        return RC_CORRUPT;
    *out = get_u64(value.p + 1);
    return RC_OK;
}

void form_refs(unsigned char *to, struct form_refs refs)
{
    to[0] = FORMAT;
    put_u32(to + 1, refs.count);
    put_u64(to + 5, refs.token);
}

enum rc form_refs_parse(struct str value, struct form_refs *out)
{
    if (value.n < FORM_REFS || value.p[0] != FORMAT)
        return RC_CORRUPT;
    *out = (struct form_refs){get_u32(value.p + 1), get_u64(value.p + 5)};
    return out->count ? RC_OK : RC_CORRUPT;
}

/* --- the main object -------------------------------------------------------------------------- */

uint32_t form_piece_bytes(uint64_t alignment)
{
    if (alignment <= 1)
        return FORM_PIECE;
    uint64_t n = FORM_PIECE / alignment * alignment;
    return (uint32_t)(n ? n : alignment);
}

uint32_t form_chunk_bytes(uint64_t alignment)
{
    uint32_t piece = form_piece_bytes(alignment), n = FORM_CHUNK / piece;
    return n ? n * piece : piece;
}

uint64_t form_sums_at(uint64_t size)
{
    return RECORD_FRAME + (size > KV_BLOB_SMALL ? FORM_LARGE : size);
}

uint64_t form_main_bytes(uint64_t size)
{
    return form_sums_at(size) + 4 * kv_record_chunks(size);
}

uint64_t form_chunks(uint64_t size, uint32_t chunk_bytes)
{
    if (size <= KV_BLOB_SMALL)
        return 0;
    return size / chunk_bytes + (size % chunk_bytes != 0);
}

void form_head(unsigned char *to, const struct record *record, uint32_t chunk_bytes)
{
    kv_record_frame(to, record);
    to[RECORD_FRAME] = FORMAT;
    put_u32(to + RECORD_FRAME + 1, chunk_bytes);
}

enum rc form_head_parse(struct str bytes, struct kv_blob_id id, struct record *out,
                        uint32_t *out_chunk_bytes)
{
    *out_chunk_bytes = 0;
    if (bytes.n < RECORD_FRAME)
        return RC_CORRUPT;
    TRY(kv_record_parse((const unsigned char *)bytes.p, out));
    if (memcmp(out->id.b, id.b, sizeof id.b) != 0)
        return RC_CORRUPT;
    if (form_main_bytes(out->size) > FORM_MAIN_MAX)
        return RC_CORRUPT;
    if (out->size <= KV_BLOB_SMALL)
        return RC_OK;
    bytes = str_skip(bytes, RECORD_FRAME);
    if (bytes.n < FORM_LARGE || bytes.p[0] != FORMAT)
        return RC_CORRUPT;
    *out_chunk_bytes = get_u32(bytes.p + 1);
    return *out_chunk_bytes && *out_chunk_bytes <= 16 * FORM_CHUNK ? RC_OK : RC_CORRUPT;
}

bool form_sums_hold(struct str bytes, const unsigned char *sums)
{
    for (; bytes.n; sums += 4, bytes = str_skip(bytes, RECORD_CHUNK))
        if (get_u32(sums) != crc32c(0, str_head(bytes, RECORD_CHUNK)))
            return false;
    return true;
}
