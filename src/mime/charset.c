/* Charsets: the table of those that are known, converters for them. The only file that meets iconv.
 *
 * 1. A charset of single bytes is a table of its upper half, made with iconv at the start; UTF-8 is
 * read by hand. Only the others have a handle of iconv each, so that most text never meets it.
 * 2. One handle of each stays open from the start on. It keeps the C library's converter loaded:
 * opening another one touches no file, which the sandbox would forbid.
 * 3. What comes out depends on the bytes alone, not on how they were cut.
 *
 * Names that are not in the table are never handed to iconv. */
#include "mime/charset.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_UTF8, KIND_BYTES, KIND_ICONV };

/* Names without punctuation, in lower case; those of the web for what is mislabelled. */
static const struct {
    const char *names, *iconv;
    enum kind kind;
} rows[] = {
    {"utf8 usascii ascii unknown8bit ansix341968 unicode11utf8", "UTF-8", KIND_UTF8},
    {"windows1252 cp1252 iso88591 latin1 l1 ibm819 cp819 xcp1252", "CP1252", KIND_BYTES},
    {"iso88592 latin2 l2", "ISO-8859-2", KIND_BYTES},
    {"iso88593 latin3 l3", "ISO-8859-3", KIND_BYTES},
    {"iso88594 latin4 l4", "ISO-8859-4", KIND_BYTES},
    {"iso88595 cyrillic", "ISO-8859-5", KIND_BYTES},
    {"iso88596 arabic", "ISO-8859-6", KIND_BYTES},
    {"iso88597 greek", "ISO-8859-7", KIND_BYTES},
    {"iso88598 iso88598i iso88598e hebrew", "ISO-8859-8", KIND_BYTES},
    {"windows1254 cp1254 iso88599 latin5 l5", "CP1254", KIND_BYTES},
    {"iso885910 latin6 l6", "ISO-8859-10", KIND_BYTES},
    {"windows874 cp874 iso885911 tis620", "CP874", KIND_BYTES},
    {"iso885913 latin7", "ISO-8859-13", KIND_BYTES},
    {"iso885914 latin8", "ISO-8859-14", KIND_BYTES},
    {"iso885915 latin9", "ISO-8859-15", KIND_BYTES},
    {"iso885916 latin10", "ISO-8859-16", KIND_BYTES},
    {"windows1250 cp1250 xcp1250", "CP1250", KIND_BYTES},
    {"windows1251 cp1251 xcp1251", "CP1251", KIND_BYTES},
    {"windows1253 cp1253", "CP1253", KIND_BYTES},
    {"windows1255 cp1255", "CP1255", KIND_ICONV},
    {"windows1256 cp1256", "CP1256", KIND_BYTES},
    {"windows1257 cp1257", "CP1257", KIND_BYTES},
    {"windows1258 cp1258", "CP1258", KIND_ICONV},
    {"koi8r koi8", "KOI8-R", KIND_BYTES},
    {"koi8u koi8ru", "KOI8-U", KIND_BYTES},
    {"ibm437 cp437", "CP437", KIND_BYTES},
    {"ibm850 cp850", "CP850", KIND_BYTES},
    {"ibm852 cp852", "CP852", KIND_BYTES},
    {"ibm866 cp866", "CP866", KIND_BYTES},
    {"macintosh mac macroman xmacroman", "MACINTOSH", KIND_BYTES},
    {"gb18030 gb2312 gbk cp936 euccn xgbk", "GB18030", KIND_ICONV},
    {"big5 big5hkscs cp950 xxbig5", "BIG5-HKSCS", KIND_ICONV},
    {"shiftjis sjis xsjis windows31j cp932 mskanji", "CP932", KIND_ICONV},
    {"eucjp xeucjp", "EUC-JP", KIND_ICONV},
    {"iso2022jp", "ISO-2022-JP", KIND_ICONV},
    {"euckr ksc56011987 ksc5601 cp949 windows949 uhc", "CP949", KIND_ICONV},
    {"utf16", "UTF-16", KIND_ICONV},
    {"utf16le", "UTF-16LE", KIND_ICONV},
    {"utf16be", "UTF-16BE", KIND_ICONV},
    {"utf32", "UTF-32", KIND_ICONV},
};

enum { ROWS = sizeof rows / sizeof rows[0], UPPER = 128, BROKEN = 0xfffd };

struct mime_charsets {
    bool is_there[ROWS];
    iconv_t handles[ROWS]; /* kept for what they keep loaded */
    uint16_t tables[ROWS][UPPER];
};

static const iconv_t none = (iconv_t)-1;

/* ---- The table ---- */

static uint16_t character_of(iconv_t handle, unsigned char byte)
{
    char in[1] = {(char)byte}, *from = in;
    unsigned char out[4];
    char *to = (char *)out;
    size_t n_in = 1, n_out = sizeof out;
    iconv(handle, NULL, NULL, NULL, NULL);
    if (iconv(handle, &from, &n_in, &to, &n_out) == (size_t)-1 || n_out != 2)
        return BROKEN;
    return (uint16_t)(out[0] << 8 | out[1]);
}

static bool row_make(struct mime_charsets *c, unsigned row)
{
    if (rows[row].kind != KIND_BYTES) {
        c->handles[row] = iconv_open("UTF-8", rows[row].iconv);
        return c->handles[row] != none || rows[row].kind == KIND_UTF8;
    }
    iconv_t handle = iconv_open("UTF-16BE", rows[row].iconv);
    if (handle == none)
        return false;
    for (unsigned i = 0; i < UPPER; i++)
        c->tables[row][i] = character_of(handle, (unsigned char)(UPPER + i));
    iconv_close(handle);
    return true;
}

void mime_charsets_new(struct mime_charsets **out, unsigned *out_missing)
{
    struct mime_charsets *c = mem_zero(sizeof *c);
    *out_missing = 0;
    for (unsigned i = 0; i < ROWS; i++) {
        c->handles[i] = none;
        c->is_there[i] = row_make(c, i);
        *out_missing += !c->is_there[i];
    }
    *out = c;
}

void mime_charsets_free(struct mime_charsets **charsets)
{
    if (!*charsets)
        return;
    for (unsigned i = 0; i < ROWS; i++)
        if ((*charsets)->handles[i] != none)
            iconv_close((*charsets)->handles[i]);
    free(*charsets);
    *charsets = NULL;
}

static bool is_listed(const char *names, struct str name)
{
    struct str rest = str_of(names), one;
    while (str_cut(&rest, ' ', &one))
        if (str_eq(one, name))
            return true;
    return false;
}

/* The row of a charset; ROWS: there is none. */
static unsigned row_find(const struct mime_charsets *c, struct str name)
{
    char plain[32];
    size_t n = 0;
    for (size_t i = 0; i < name.n; i++) {
        if (!ascii_is_alpha(name.p[i]) && !ascii_is_digit(name.p[i]))
            continue;
        if (n == sizeof plain)
            return ROWS;
        plain[n++] = ascii_lower(name.p[i]);
    }
    for (unsigned i = 0; i < ROWS && n > 0; i++)
        if (c->is_there[i] && is_listed(rows[i].names, str_from(plain, n)))
            return i;
    return ROWS;
}

bool mime_charset_is_known(const struct mime_charsets *charsets, struct str name)
{
    return row_find(charsets, name) < ROWS;
}

/* ---- Converters ---- */

enum rc mime_convert_begin(struct mime_converter *c, const struct mime_charsets *charsets,
                           struct str name)
{
    unsigned row = name.n ? row_find(charsets, name) : 0;
    c->table = NULL;
    c->handle = NULL;
    c->n_carry = 0;
    if (row == ROWS)
        return RC_NOTFOUND;
    if (rows[row].kind == KIND_BYTES)
        c->table = charsets->tables[row];
    if (rows[row].kind != KIND_ICONV)
        return RC_OK;
    iconv_t handle = iconv_open("UTF-8", rows[row].iconv);
    if (handle == none)
        return RC_NOTFOUND;
    c->handle = handle;
    return RC_OK;
}

void mime_convert_fini(struct mime_converter *c)
{
    if (c->handle)
        iconv_close(c->handle);
    c->handle = NULL;
}

/* ---- UTF-8, or nearly ---- */

/* Windows-1252 where it is not Latin-1. */
static const uint16_t western[32] = {
    0x20ac, BROKEN, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, BROKEN, 0x017d, BROKEN, BROKEN, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, BROKEN, 0x017e, 0x0178,
};

/* Takes one character that is no ASCII off *s; false: more bytes are needed. */
static bool take_upper(struct str *s, char *to, size_t *n)
{
    size_t length = utf8_length(*s);
    if (length == SIZE_MAX)
        return false;
    if (length == 0) {
        unsigned char c = (unsigned char)s->p[0];
        *n += utf8_put(to + *n, c < 0xa0 ? western[c - 0x80] : c);
        length = 1;
    } else {
        memcpy(to + *n, s->p, length);
        *n += length;
    }
    *s = str_skip(*s, length);
    return true;
}

static size_t utf8_piece(struct mime_converter *c, struct str *s, char *to)
{
    size_t n = 0;
    while (s->n) {
        size_t ascii = utf8_ascii_length(*s);
        memcpy(to + n, s->p, ascii);
        n += ascii;
        *s = str_skip(*s, ascii);
        if (s->n && !take_upper(s, to, &n))
            break;
    }
    return n;
}

static size_t table_piece(struct mime_converter *c, struct str *s, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        unsigned char byte = (unsigned char)s->p[i];
        if (byte < UPPER)
            to[n++] = (char)byte;
        else
            n += utf8_put(to + n, c->table[byte - UPPER]);
    }
    *s = str_skip(*s, s->n);
    return n;
}

static size_t iconv_piece(struct mime_converter *c, struct str *s, char *to, size_t room)
{
    char *from = (char *)(uintptr_t)s->p, *at = to;
    size_t n_in = s->n, n_out = room;
    while (n_in > 0) {
        if (iconv(c->handle, &from, &n_in, &at, &n_out) != (size_t)-1 || errno == E2BIG)
            break;
        if (errno == EINVAL && n_in < MIME_CARRY)
            break; /* a character that is not whole */
        if (n_out < 8)
            break;
        at += utf8_put(at, BROKEN);
        n_out -= 3;
        from++;
        n_in--;
    }
    *s = str_skip(*s, s->n - n_in);
    return room - n_out;
}

/* ---- All three ---- */

enum { PIECE = 8 << 10, SMALLEST = 16, SPREAD = 4 };

/* Converts the beginning of s; what it leaves there is not whole, or did not fit. */
static enum rc piece(struct mime_converter *c, struct str *s, struct buf *out)
{
    size_t left = out->cap - buf_len(out), room = s->n * SPREAD + 2 * SMALLEST;
    if (left < room)
        return RC_AGAIN;
    char *to = buf_reserve(out, room);
    if (!to)
        return RC_AGAIN;
    size_t n = c->handle  ? iconv_piece(c, s, to, room)
               : c->table ? table_piece(c, s, to)
                          : utf8_piece(c, s, to);
    buf_commit(out, n);
    return RC_OK;
}

/* How many bytes of the input may be converted into the room there is. */
static size_t portion(const struct buf *out, size_t n)
{
    size_t left = out->cap - buf_len(out);
    size_t most = left < 3 * SMALLEST ? 0 : (left - 2 * SMALLEST) / SPREAD;
    if (n > PIECE)
        n = PIECE;
    return n < most ? n : most;
}

/* Bytes held back, and enough of those that follow to make a character whole. */
static enum rc carry_on(struct mime_converter *c, struct str *in, struct buf *out)
{
    char joined[MIME_CARRY + 1];
    if (portion(out, sizeof joined) < sizeof joined)
        return RC_AGAIN;
    memcpy(joined, c->carry, c->n_carry);
    joined[c->n_carry] = in->p[0];
    struct str s = str_from(joined, c->n_carry + 1);
    *in = str_skip(*in, 1);
    TRY(piece(c, &s, out));
    memmove(c->carry, s.p, s.n);
    c->n_carry = s.n;
    return RC_OK;
}

enum rc mime_convert(struct mime_converter *c, struct str *in, struct buf *out)
{
    while (in->n) {
        if (c->n_carry) {
            TRY(carry_on(c, in, out));
            continue;
        }
        size_t n = portion(out, in->n);
        if (n == 0)
            return RC_AGAIN;
        struct str s = str_head(*in, n);
        TRY(piece(c, &s, out));
        *in = str_skip(*in, n - s.n);
        if (s.n && s.n < MIME_CARRY) {
            memcpy(c->carry, s.p, s.n);
            c->n_carry = s.n;
            *in = str_skip(*in, s.n);
        }
    }
    return RC_OK;
}

enum rc mime_convert_end(struct mime_converter *c, struct buf *out)
{
    struct str s = str_from(c->carry, c->n_carry);
    char *to = buf_reserve(out, MIME_CARRY * 3);
    size_t n = 0;
    if (!to)
        return RC_AGAIN;
    if (c->handle) { /* what the C library holds back */
        char *at = to;
        size_t room = MIME_CARRY * 3 - 3;
        iconv(c->handle, NULL, NULL, &at, &room);
        n = (size_t)(at - to);
    }
    if (c->handle && s.n)
        n += utf8_put(to + n, BROKEN);
    for (; !c->handle && s.n; s = str_skip(s, 1)) { /* as bytes, the first of them is none */
        unsigned char byte = (unsigned char)s.p[0];
        n += utf8_put(to + n, byte < 0xa0 ? western[byte - 0x80] : byte);
    }
    c->n_carry = 0;
    buf_commit(out, n);
    return RC_OK;
}

enum rc mime_charset_decode(const struct mime_charsets *charsets, struct str name, struct str s,
                            struct buf *out)
{
    struct mime_converter c;
    size_t before = buf_len(out);
    enum rc rc = mime_convert_begin(&c, charsets, name);
    if (rc == RC_OK)
        rc = mime_convert(&c, &s, out);
    if (rc == RC_OK)
        rc = mime_convert_end(&c, out);
    mime_convert_fini(&c);
    if (rc != RC_OK)
        buf_truncate(out, before);
    return rc == RC_AGAIN ? RC_LIMIT : rc;
}
