/* Base64 and quoted-printable undone, by a push decoder.
 *
 * 1. Each call writes into room that was reserved beforehand: a byte read yields at most one byte,
 * beside what was held back, so a piece is cut to the room there is.
 * 2. What is held back (bits of a group, white space that may be the end of a line, an escape that
 * is not whole) is bounded; longer runs of white space go out as they are.
 *
 * Never fails on what it reads; `is_damaged` tells. [RFC2045 6.7] [RFC2045 6.8] */
#include "mime/decode.h"

#include <string.h>

enum { ROOM = MIME_HELD + 3, PIECE = 16 << 10 };

static const struct {
    struct str name;
    enum mime_encoding encoding;
} encodings[] = {
    {STR_INIT("7bit"), MIME_IDENTITY},
    {STR_INIT("8bit"), MIME_IDENTITY},
    {STR_INIT("binary"), MIME_IDENTITY},
    {STR_INIT("base64"), MIME_BASE64},
    {STR_INIT("quoted-printable"), MIME_QUOTED_PRINTABLE},
};

enum rc mime_encoding_read(struct str word, enum mime_encoding *out)
{
    *out = MIME_IDENTITY;
    if (word.n == 0)
        return RC_OK;
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++) {
        if (str_ieq(word, encodings[i].name)) {
            *out = encodings[i].encoding;
            return RC_OK;
        }
    }
    return RC_PERM;
}

void mime_decode_begin(struct mime_decoder *d, enum mime_encoding encoding)
{
    d->encoding = encoding;
    d->is_damaged = false;
    d->bits = 0;
    d->n_bits = d->n_held = 0;
}

/* ---- Base64 ---- */

enum { SPACE = 64, PAD = 65, BAD = 66 };

/* clang-format off */
static const uint8_t alphabet[256] = {
#define X8 BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD
#define X64 X8, X8, X8, X8, X8, X8, X8, X8
    BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, SPACE, SPACE, BAD, BAD, SPACE, BAD, BAD, X8, X8,
    SPACE, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD, 62, BAD, BAD, BAD, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, BAD, BAD, BAD, PAD, BAD, BAD,
    BAD, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, BAD, BAD, BAD, BAD, BAD,
    BAD, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, BAD, BAD, BAD, BAD, BAD,
    X64, X64,
#undef X64
#undef X8
};
/* clang-format on */

/* Whole groups at the beginning of s; returns how many bytes of s they are. */
static size_t base64_groups(struct str s, char *to, size_t *written)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0, n = 0;
    for (; i + 4 <= s.n; i += 4) {
        uint8_t a = alphabet[p[i]], b = alphabet[p[i + 1]];
        uint8_t c = alphabet[p[i + 2]], e = alphabet[p[i + 3]];
        if ((a | b | c | e) >= SPACE)
            break;
        to[n++] = (char)(a << 2 | b >> 4);
        to[n++] = (char)(b << 4 | c >> 2);
        to[n++] = (char)(c << 6 | e);
    }
    *written = n;
    return i;
}

/* The end of a group that is not whole: what whole bytes it has. */
static size_t base64_flush(struct mime_decoder *d, char *to)
{
    size_t n = 0;
    if (d->n_bits >= 12)
        to[n++] = (char)(d->bits >> (d->n_bits - 8));
    if (d->n_bits >= 18)
        to[n++] = (char)(d->bits >> (d->n_bits - 16));
    d->n_bits = 0;
    d->bits = 0;
    return n;
}

static size_t base64_byte(struct mime_decoder *d, unsigned char c, char *to)
{
    uint8_t v = alphabet[c];
    if (v == SPACE)
        return 0;
    if (v == PAD) {
        d->is_damaged |= d->n_bits == 6;
        return base64_flush(d, to);
    }
    if (v == BAD) {
        d->is_damaged = true;
        return 0;
    }
    d->bits = d->bits << 6 | v;
    d->n_bits = (uint8_t)(d->n_bits + 6);
    if (d->n_bits < 24)
        return 0;
    to[0] = (char)(d->bits >> 16);
    to[1] = (char)(d->bits >> 8);
    to[2] = (char)d->bits;
    d->n_bits = 0;
    d->bits = 0;
    return 3;
}

static size_t base64_piece(struct mime_decoder *d, struct str s, char *to)
{
    size_t n = 0, written;
    while (s.n) {
        if (d->n_bits == 0) {
            s = str_skip(s, base64_groups(s, to + n, &written));
            n += written;
        }
        if (s.n) {
            n += base64_byte(d, (unsigned char)s.p[0], to + n);
            s = str_skip(s, 1);
        }
    }
    return n;
}

/* ---- Quoted-printable: lower case is not allowed, but meant [RFC2045 6.7] ---- */

static size_t qp_flush(struct mime_decoder *d, char *to)
{
    size_t n = d->n_held;
    memcpy(to, d->held, n);
    d->n_held = 0;
    return n;
}

static void qp_hold(struct mime_decoder *d, char c)
{
    d->held[d->n_held++] = c;
}

/* With an escape held: "=" and perhaps more. Returns whether the byte belongs to it. */
static bool qp_escape(struct mime_decoder *d, char c, char *to, size_t *n)
{
    bool has_digit = d->n_held == 2 && ascii_hex(d->held[1]) >= 0;
    bool is_space = c == ' ' || c == '\t' || c == '\r';
    if (c == '\n' && !has_digit) { /* a soft line end, padding before it included */
        d->n_held = 0;
        return true;
    }
    if (has_digit && ascii_hex(c) >= 0) {
        to[(*n)++] = (char)(ascii_hex(d->held[1]) << 4 | ascii_hex(c));
        d->n_held = 0;
        return true;
    }
    if ((d->n_held == 1 && ascii_hex(c) >= 0) ||
        (is_space && !has_digit && d->n_held < MIME_HELD)) {
        qp_hold(d, c);
        return true;
    }
    d->is_damaged = true; /* no escape: it stands for itself */
    *n += qp_flush(d, to + *n);
    return false;
}

/* With white space held, or nothing. */
static void qp_plain(struct mime_decoder *d, char c, char *to, size_t *n)
{
    if (c == '\n') { /* white space before a line end was added on the way [RFC2045 6.7] */
        bool is_crlf = d->n_held && d->held[d->n_held - 1] == '\r';
        d->n_held = 0;
        if (is_crlf)
            to[(*n)++] = '\r';
        to[(*n)++] = '\n';
        return;
    }
    bool is_space = c == ' ' || c == '\t' || c == '\r';
    if (d->n_held && (!is_space || d->n_held == MIME_HELD || d->held[d->n_held - 1] == '\r'))
        *n += qp_flush(d, to + *n);
    if (is_space || c == '=')
        qp_hold(d, c);
    else
        to[(*n)++] = c;
}

static bool is_plain(char c)
{
    return (unsigned char)c > ' ' && c != '=';
}

/* Bytes at the beginning of s that stand for themselves whatever follows: text, and single spaces
 * between words. */
static size_t qp_run(struct str s)
{
    size_t i = 0;
    while (i < s.n && (is_plain(s.p[i]) || (s.p[i] == ' ' && i + 1 < s.n && is_plain(s.p[i + 1]))))
        i++;
    return i;
}

static size_t qp_piece(struct mime_decoder *d, struct str s, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (d->n_held == 0) {
            size_t run = qp_run(str_skip(s, i));
            memcpy(to + n, s.p + i, run);
            n += run;
            i += run;
        }
        if (i == s.n)
            break;
        char c = s.p[i];
        if (d->n_held && d->held[0] == '=' && qp_escape(d, c, to, &n))
            continue;
        qp_plain(d, c, to, &n);
    }
    return n;
}

/* ---- Both ---- */

static size_t piece(struct mime_decoder *d, struct str s, char *to)
{
    switch (d->encoding) {
    case MIME_BASE64:
        return base64_piece(d, s, to);
    case MIME_QUOTED_PRINTABLE:
        return qp_piece(d, s, to);
    case MIME_IDENTITY:
        break;
    }
    memcpy(to, s.p, s.n);
    return s.n;
}

enum rc mime_decode(struct mime_decoder *d, struct str *in, struct buf *out)
{
    while (in->n) {
        size_t left = out->cap - buf_len(out);
        if (left <= ROOM)
            return RC_AGAIN;
        size_t n = in->n < PIECE ? in->n : PIECE;
        if (n > left - ROOM)
            n = left - ROOM;
        char *to = buf_reserve(out, n + ROOM);
        if (!to)
            return RC_AGAIN;
        buf_commit(out, piece(d, str_head(*in, n), to));
        *in = str_skip(*in, n);
    }
    return RC_OK;
}

/* White space at the end of the last line, and a soft line end whose line end is gone, mean
 * nothing.
 */
static size_t qp_end(struct mime_decoder *d, char *to)
{
    struct str held = str_from(d->held, d->n_held);
    bool is_escape = held.n && held.p[0] == '=';
    bool is_space = str_trim(str_skip(held, is_escape)).n == 0;
    if (is_space) {
        d->n_held = 0;
        return 0;
    }
    d->is_damaged = true; /* an escape cut in two */
    return qp_flush(d, to);
}

enum rc mime_decode_end(struct mime_decoder *d, struct buf *out)
{
    char *to = buf_reserve(out, ROOM);
    size_t n = 0;
    if (!to)
        return RC_AGAIN;
    if (d->encoding == MIME_BASE64) {
        d->is_damaged |= d->n_bits > 0;
        n = base64_flush(d, to);
    } else if (d->encoding == MIME_QUOTED_PRINTABLE) {
        n = qp_end(d, to);
    }
    buf_commit(out, n);
    return RC_OK;
}
