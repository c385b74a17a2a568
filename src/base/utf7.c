/* Modified UTF-7 [RFC3501 5.1.3] [RFC9051 A.1].
 *
 * Decoding is strict: what encodes printable ASCII, leaves bits over, or makes half a surrogate
 * pair is no name, so that each name has one form. Pure. */
#include "base/utf7.h"

#include "base/utf8.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/* One UTF-16 unit; *high is the first half of a pair, or 0. */
static enum rc put_unit(struct buf *out, uint32_t unit, uint32_t *high)
{
    bool is_low = unit >= 0xdc00 && unit < 0xe000;
    if (is_low != (*high != 0))
        return RC_SYNTAX;
    if (unit >= 0xd800 && unit < 0xdc00) {
        *high = unit;
        return RC_OK;
    }
    if (unit >= 0x20 && unit < 0x7f)
        return RC_SYNTAX; /* stands for itself [RFC3501 5.1.3] [RFC9051 A.1] */
    uint32_t c = is_low ? 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00) : unit;
    char utf8[UTF8_MAX];
    *high = 0;
    return buf_add(out, str_from(utf8, utf8_put(utf8, c)));
}

static enum rc decode_shifted(struct str text, struct buf *out)
{
    uint32_t bits = 0, high = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *at = memchr(alphabet, text.p[i], 64);
        if (!at)
            return RC_SYNTAX;
        bits = bits << 6 | (uint32_t)(at - alphabet);
        n_bits += 6;
        if (n_bits >= 16) {
            n_bits -= 16;
            TRY(put_unit(out, bits >> n_bits & 0xffff, &high));
        }
    }
    if (high || n_bits >= 6 || bits & ((1U << n_bits) - 1))
        return RC_SYNTAX;
    return RC_OK;
}

enum rc utf7_decode(struct str name, struct buf *out)
{
    bool was_shifted = false;
    while (name.n) {
        ptrdiff_t amp = str_find_byte(name, '&');
        struct str plain = amp < 0 ? name : str_head(name, (size_t)amp);
        TRY(buf_add(out, plain));
        if (amp < 0)
            return RC_OK;
        name = str_skip(name, plain.n + 1);
        ptrdiff_t end = str_find_byte(name, '-');
        if (end < 0 || (end && was_shifted && !plain.n)) /* "&..-&..-" could be one */
            return RC_SYNTAX;
        was_shifted = end > 0;
        TRY(end ? decode_shifted(str_head(name, (size_t)end), out) : buf_add_byte(out, '&'));
        name = str_skip(name, (size_t)end + 1);
    }
    return RC_OK;
}

struct shift {
    uint32_t bits;
    unsigned n_bits;
    bool is_open;
};

static void put_bits(struct shift *shift, struct buf *out, uint32_t unit)
{
    shift->bits = shift->bits << 16 | unit;
    for (shift->n_bits += 16; shift->n_bits >= 6; shift->n_bits -= 6) {
        uint64_t all = shift->bits;
        buf_put(out, str_from(&alphabet[all >> (shift->n_bits - 6) & 63], 1));
    }
    shift->bits &= (1U << shift->n_bits) - 1;
}

static void end_shift(struct shift *shift, struct buf *out)
{
    if (!shift->is_open)
        return;
    if (shift->n_bits)
        buf_put(out, str_from(&alphabet[shift->bits << (6 - shift->n_bits) & 63], 1));
    buf_put(out, STR("-"));
    *shift = (struct shift){0};
}

enum rc utf7_encode(struct str utf8, struct buf *out)
{
    struct shift shift = {0};
    if (!utf8_is_valid(utf8))
        return RC_SYNTAX;
    while (utf8.n) {
        uint32_t c = utf8_take(&utf8);
        if (c >= 0x20 && c < 0x7f) {
            end_shift(&shift, out);
            char b = (char)c;
            buf_put(out, c == '&' ? STR("&-") : str_from(&b, 1));
            continue;
        }
        if (!shift.is_open)
            buf_put(out, STR("&"));
        shift.is_open = true;
        if (c >= 0x10000) {
            put_bits(&shift, out, 0xd800 + ((c - 0x10000) >> 10));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        put_bits(&shift, out, c);
    }
    end_shift(&shift, out);
    return out->over ? RC_LIMIT : RC_OK;
}
