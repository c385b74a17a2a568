/* How keys, states and fences look in omaps.
 *
 * Keys of omaps are C strings to some calls of librados, so rows' keys are escaped to hold no NUL;
 * the escape keeps their order. Everything stored begins with a format byte. */
#include "rados/rados_int.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void rad_key_row(struct rad_key *to, struct str key)
{
    to->n = 0;
    to->b[to->n++] = 'r';
    for (size_t i = 0; i < key.n && to->n + 2 <= RAD_OMAP_KEY; i++) {
        char c = key.p[i];
        if (c == 0 || c == 1) {
            to->b[to->n++] = 1;
            to->b[to->n++] = (char)(c + 1);
        } else {
            to->b[to->n++] = c;
        }
    }
    to->b[to->n] = '\0';
}

enum rc rad_key_row_parse(struct str omap_key, struct rad_key *out)
{
    out->n = 0;
    if (omap_key.n < 2 || omap_key.n > RAD_OMAP_KEY || omap_key.p[0] != 'r')
        return RC_CORRUPT;
    for (size_t i = 1; i < omap_key.n; i++) {
        char c = omap_key.p[i];
        if (c == 0)
            return RC_CORRUPT;
        if (c == 1) {
            i++;
            if (i == omap_key.n || (omap_key.p[i] != 1 && omap_key.p[i] != 2))
                return RC_CORRUPT;
            c = (char)(omap_key.p[i] - 1);
        }
        out->b[out->n++] = c;
    }
    out->b[out->n] = '\0';
    return out->n <= KV_KEY_MAX ? RC_OK : RC_CORRUPT;
}

struct str rad_state_pack(unsigned char to[RAD_STATE], const struct rad_state *state)
{
    struct packer w;
    pack_init(&w, to, RAD_STATE);
    pack_u8(&w, RAD_FORMAT);
    pack_u64(&w, state->version);
    pack_u64(&w, state->epoch);
    pack_u64(&w, state->finished);
    pack_bytes(&w, str_from(state->ids, sizeof state->ids));
    return pack_done(&w);
}

enum rc rad_state_parse(struct str row, struct rad_state *out)
{
    struct unpacker r;
    unpack_init(&r, row);
    bool is_known = unpack_u8(&r) == RAD_FORMAT;
    out->version = unpack_u64(&r);
    out->epoch = unpack_u64(&r);
    out->finished = unpack_u64(&r);
    struct str ids = unpack_bytes(&r, sizeof out->ids);
    if (!is_known || unpack_done(&r) != RC_OK)
        return RC_CORRUPT;
    memcpy(out->ids, ids.p, sizeof out->ids);
    return RC_OK;
}

bool rad_id_eq(const struct rad_id *a, const struct rad_id *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

static struct rad_id id_new(struct rad *rad)
{
    struct rad_id id;
    memcpy(id.b, rad->node, RAD_ID_PROCESS);
    put_u64(id.b + RAD_ID_PROCESS, atomic_fetch_add(&rad->next_id, 1));
    return id;
}

bool rad_id_is_none(const struct rad_id *id)
{
    static const struct rad_id none;
    return rad_id_eq(id, &none);
}

bool rad_id_is_of(const struct rad_id *a, const struct rad_id *b)
{
    return memcmp(a->b, b->b, RAD_ID_PROCESS) == 0;
}

/* The process' last id makes room for the new one, or the oldest of all does. */
struct rad_state rad_state_next(struct rad *rad, const struct rad_state *state)
{
    struct rad_state next = *state;
    struct rad_id id = id_new(rad);
    size_t last = 0;
    while (last < RAD_RING - 1 && !rad_id_is_of(&state->ids[last], &id))
        last++;
    memmove(next.ids + 1, next.ids, last * sizeof next.ids[0]);
    next.ids[0] = id;
    return next;
}

void rad_name_head(char to[RAD_OBJECT], struct kv_part part)
{
    snprintf(to, RAD_OBJECT, "p.%c.%" PRIx64, (char)part.class, part.id);
}

bool rad_name_head_parse(struct str name, struct kv_part *out)
{
    char text[RAD_OBJECT] = "", class, end;
    snprintf(text, sizeof text, "%.*s", STR_ARG(name));
    if (sscanf(text, "p.%c.%" SCNx64 "%c", &class, &out->id, &end) != 2)
        return false;
    out->class = (enum kv_class)(unsigned char)class;
    return true;
}

bool rad_name_shard_parse(struct str name, struct kv_part *out, uint64_t *out_number)
{
    char text[RAD_OBJECT] = "", class, end;
    snprintf(text, sizeof text, "%.*s", STR_ARG(name));
    if (sscanf(text, "s.%c.%" SCNx64 ".%" SCNx64 "%c", &class, &out->id, out_number, &end) != 3)
        return false;
    out->class = (enum kv_class)(unsigned char)class;
    return true;
}

void rad_name_shard(char to[RAD_OBJECT], struct kv_part part, uint64_t number)
{
    snprintf(to, RAD_OBJECT, "s.%c.%" PRIx64 ".%" PRIx64, (char)part.class, part.id, number);
}

static enum rc hex_u64(struct str digits, uint64_t *out)
{
    enum { DIGITS = 16 };
    *out = 0;
    if (digits.n != DIGITS)
        return RC_CORRUPT;
    for (size_t i = 0; i < digits.n; i++) {
        char c = digits.p[i];
        if (!ascii_is_digit(c) && (c < 'a' || c > 'f'))
            return RC_CORRUPT;
        *out = *out << 4 | (uint64_t)(ascii_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    return RC_OK;
}

struct str rad_fence_pack(unsigned char to[RAD_FENCE], uint64_t epoch)
{
    to[0] = RAD_FORMAT;
    char digits[RAD_FENCE];
    snprintf(digits, sizeof digits, "%016" PRIx64, epoch);
    memcpy(to + 1, digits, RAD_FENCE - 1);
    return str_from(to, RAD_FENCE);
}

enum rc rad_fence_parse(struct str row, uint64_t *out_epoch)
{
    *out_epoch = 0;
    if (str_is_null(row))
        return RC_OK;
    if (row.n != RAD_FENCE || row.p[0] != RAD_FORMAT)
        return RC_CORRUPT;
    return hex_u64(str_skip(row, 1), out_epoch);
}

/* --- rows of a head that are not a partition's ------------------------------------------------ */

static void name_row(struct rad_key *to, char first, uint64_t number)
{
    to->n = (size_t)snprintf(to->b, sizeof to->b, "%c%016" PRIx64, first, number);
}

void rad_key_trim(struct rad_key *to, uint64_t number)
{
    name_row(to, 'd', number);
}

void rad_key_shard(struct rad_key *to, uint64_t number)
{
    name_row(to, 'm', number);
}

void rad_key_mark(struct rad_key *to, uint64_t number)
{
    name_row(to, 'x', number);
}

enum rc rad_key_number(struct str omap_key, uint64_t *out)
{
    return hex_u64(str_skip(omap_key, 1), out);
}

struct str rad_trim_pack(unsigned char to[RAD_HEAD_VALUE], const struct rad_trim *trim)
{
    struct packer w;
    pack_init(&w, to, RAD_HEAD_VALUE);
    pack_u8(&w, RAD_FORMAT);
    pack_str16(&w, trim->from);
    pack_str16(&w, trim->to);
    return pack_done(&w);
}

enum rc rad_trim_parse(struct str row, struct str *out_from, struct str *out_to)
{
    struct unpacker r;
    unpack_init(&r, row);
    bool is_known = unpack_u8(&r) == RAD_FORMAT;
    *out_from = unpack_str16(&r);
    *out_to = unpack_str16(&r);
    bool fits = out_from->n <= KV_KEY_MAX + 1 && out_to->n <= KV_KEY_MAX + 1;
    return is_known && fits ? unpack_done(&r) : RC_CORRUPT;
}

struct str rad_shard_pack(unsigned char to[RAD_HEAD_VALUE], const struct rad_shard *shard)
{
    struct packer w;
    pack_init(&w, to, RAD_HEAD_VALUE);
    pack_u8(&w, RAD_FORMAT);
    pack_u64(&w, shard->touched);
    pack_u64(&w, shard->rows);
    pack_str16(&w, shard->first);
    return pack_done(&w);
}

enum rc rad_shard_parse(struct str row, struct rad_shard *out)
{
    struct unpacker r;
    unpack_init(&r, row);
    bool is_known = unpack_u8(&r) == RAD_FORMAT;
    out->touched = unpack_u64(&r);
    out->rows = unpack_u64(&r);
    out->first = unpack_str16(&r);
    return is_known && out->first.n <= KV_KEY_MAX + 1 ? unpack_done(&r) : RC_CORRUPT;
}
