/* Base 64 [RFC4648 4], strict in what it takes [RFC4648 3.3, 3.5]. */
#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum rc base64_encode(struct buf *out, struct str s)
{
    size_t n = (s.n + 2) / 3 * 4;
    char *at = buf_reserve(out, n);
    if (!at)
        return RC_LIMIT;
    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        uint32_t v = (uint32_t)(unsigned char)s.p[i] << 16;
        if (left > 1)
            v |= (uint32_t)(unsigned char)s.p[i + 1] << 8;
        if (left > 2)
            v |= (unsigned char)s.p[i + 2];
        *at++ = alphabet[v >> 18];
        *at++ = alphabet[v >> 12 & 63];
        *at++ = left > 1 ? alphabet[v >> 6 & 63] : '=';
        *at++ = left > 2 ? alphabet[v & 63] : '=';
    }
    buf_commit(out, n);
    return RC_OK;
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four; *out_n is how many bytes it holds. Only the last group may be padded. */
static enum rc decode_group(const char *p, bool last, char out[3], size_t *out_n)
{
    size_t digits = p[3] != '=' ? 4 : p[2] != '=' ? 3 : 2;
    uint32_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = value_of(p[i]);
        if (d < 0)
            return RC_SYNTAX;
        v |= (uint32_t)d << (18 - 6 * i);
    }
    if (digits < 4 && (!last || v & (digits == 3 ? 0xffU : 0xffffU)))
        return RC_SYNTAX;
    out[0] = (char)(v >> 16);
    out[1] = (char)(v >> 8);
    out[2] = (char)v;
    *out_n = digits - 1;
    return RC_OK;
}

enum rc base64_decode(struct buf *out, struct str s)
{
    if (s.n % 4)
        return RC_SYNTAX;
    for (size_t i = 0; i < s.n; i += 4) {
        char bytes[3];
        size_t n;
        TRY(decode_group(s.p + i, i + 4 == s.n, bytes, &n));
        TRY(buf_add(out, (struct str){bytes, n}));
    }
    return RC_OK;
}
