/* Encoded words in header fields [RFC2047], extended parameter values [RFC2231 4], to UTF-8.
 *
 * More is taken than the grammar allows, as real mail needs it: words of any length, words beside
 * other text without white space between, spaces within Q. A word whose encoding is not B or Q
 * stands as it is. */
#include "mime/charset.h"
#include "mime/decode.h"
#include "mime/mime_int.h"

struct word {
    struct str charset, text;
    char encoding; /* 'b' or 'q' */
};

/* The decoder goes through the value with one converter, which goes on through neighbouring words
 * of one charset. */
struct words {
    const struct mime_charsets *charsets;
    struct buf *out;
    struct buf bytes; /* of a word */
    struct mime_converter converter;
    struct str charset; /* of the converter; absent: it is that of plain text */
    bool is_endless;    /* there is no "?=" any more: what is left is not searched again */
};

/* Reads the encoded word that s begins with [RFC2047 2]; returns its length; 0: there is none. */
static size_t word_read(struct words *w, struct str s, struct word *out)
{
    struct str rest = str_skip(s, 2);
    ptrdiff_t q = str_find_byte(rest, '?');
    if (q < 1 || (size_t)q + 3 > rest.n || rest.p[q + 2] != '?')
        return 0;
    out->charset = str_head(rest, (size_t)q);
    out->encoding = ascii_lower(rest.p[q + 1]);
    rest = str_skip(rest, (size_t)q + 3);
    if (w->is_endless || (out->encoding != 'b' && out->encoding != 'q'))
        return 0;
    ptrdiff_t end = str_find(rest, STR("?="));
    w->is_endless = end < 0;
    if (end < 0)
        return 0;
    out->text = str_head(rest, (size_t)end);
    ptrdiff_t star = str_find_byte(out->charset, '*'); /* a language [RFC2231 5] */
    if (star >= 0)
        out->charset.n = (size_t)star;
    return (size_t)(rest.p + end + 2 - s.p);
}

/* Q differs from quoted-printable in '_' and in white space that counts [RFC2047 4.2]. */
static enum rc undo_q(struct str text, struct buf *out)
{
    struct mime_decoder d;
    while (text.n) {
        ptrdiff_t end = str_find_byte(text, '_');
        struct str piece = end < 0 ? text : str_head(text, (size_t)end);
        text = str_skip(text, piece.n + 1);
        struct str tail = piece;
        while (tail.n && mime_is_space(tail.p[tail.n - 1]))
            tail.n--;
        struct str space = str_skip(piece, tail.n);
        mime_decode_begin(&d, MIME_QUOTED_PRINTABLE);
        TRY(mime_decode(&d, &tail, out));
        TRY(mime_decode_end(&d, out));
        TRY(buf_add(out, space));
        if (end >= 0)
            TRY(buf_add_byte(out, ' '));
    }
    return RC_OK;
}

static enum rc undo_b(struct str text, struct buf *out)
{
    struct mime_decoder d;
    mime_decode_begin(&d, MIME_BASE64);
    TRY(mime_decode(&d, &text, out));
    return mime_decode_end(&d, out);
}

/* From here on text is of that charset; absent: what stands there is no word. */
static enum rc charset_set(struct words *w, struct str charset)
{
    if (str_is_null(charset) == str_is_null(w->charset) && str_ieq(charset, w->charset))
        return RC_OK;
    TRY(mime_convert_end(&w->converter, w->out));
    mime_convert_fini(&w->converter);
    w->charset = charset;
    enum rc rc = mime_convert_begin(&w->converter, w->charsets, charset);
    return rc == RC_NOTFOUND ? RC_OK : rc; /* the bytes count as they are */
}

static enum rc put_word(struct words *w, const struct word *word)
{
    buf_clear(&w->bytes);
    TRY(word->encoding == 'b' ? undo_b(word->text, &w->bytes) : undo_q(word->text, &w->bytes));
    TRY(charset_set(w, word->charset));
    struct str bytes = buf_str(&w->bytes);
    return mime_convert(&w->converter, &bytes, w->out);
}

/* Text that is no word, its folds undone. */
static enum rc put_plain(struct words *w, struct str text)
{
    if (text.n == 0)
        return RC_OK;
    TRY(charset_set(w, (struct str){0}));
    while (text.n) {
        ptrdiff_t end = str_find_byte(text, '\n');
        struct str piece = end < 0 ? text : str_head(text, (size_t)end);
        text = str_skip(text, piece.n + 1);
        if (end > 0 && piece.p[piece.n - 1] == '\r')
            piece.n--;
        TRY(mime_convert(&w->converter, &piece, w->out));
    }
    return RC_OK;
}

static enum rc decode(struct words *w, struct str value)
{
    struct word word;
    bool was_word = false;
    while (value.n) {
        ptrdiff_t at = str_find(value, STR("=?"));
        size_t n = 0, plain = at < 0 ? value.n : (size_t)at;
        if (at >= 0 && (n = word_read(w, str_skip(value, plain), &word)) == 0)
            plain += 2; /* "=?" that begins no word */
        struct str before = str_head(value, plain);
        if (n == 0 || !was_word || str_trim(before).n > 0)
            TRY(put_plain(w, before)); /* [RFC2047 6.2] */
        if (n > 0)
            TRY(put_word(w, &word));
        was_word = n > 0;
        value = str_skip(value, plain + n);
    }
    return mime_convert_end(&w->converter, w->out);
}

/* The limit of the output is that of what is between as well. */
static enum rc run(struct words *w, enum rc (*step)(struct words *, struct str), struct str value)
{
    size_t before = buf_len(w->out);
    buf_init(&w->bytes, value.n + MIME_HELD + 4);
    enum rc rc = mime_convert_begin(&w->converter, w->charsets, (struct str){0});
    if (rc == RC_OK)
        rc = step(w, value);
    mime_convert_fini(&w->converter);
    buf_fini(&w->bytes);
    if (rc != RC_OK)
        buf_truncate(w->out, before);
    return rc == RC_AGAIN ? RC_LIMIT : rc;
}

enum rc mime_words_decode(struct str value, const struct mime_charsets *charsets, struct buf *out)
{
    struct words w = {.charsets = charsets, .out = out};
    return run(&w, decode, str_trim(value));
}

/* ---- Extended values ---- */

static enum rc decode_extended(struct words *w, struct str value)
{
    struct str charset, language;
    if (!str_cut(&value, '\'', &charset) || str_is_null(value) ||
        !str_cut(&value, '\'', &language) || str_is_null(value))
        return RC_SYNTAX;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '%' && i + 2 < value.n && ascii_hex(value.p[i + 1]) >= 0 &&
            ascii_hex(value.p[i + 2]) >= 0) {
            c = (char)(ascii_hex(value.p[i + 1]) << 4 | ascii_hex(value.p[i + 2]));
            i += 2;
        }
        TRY(buf_add_byte(&w->bytes, c));
    }
    TRY(charset_set(w, charset));
    struct str bytes = buf_str(&w->bytes);
    TRY(mime_convert(&w->converter, &bytes, w->out));
    return mime_convert_end(&w->converter, w->out);
}

enum rc mime_extended_decode(struct str value, const struct mime_charsets *charsets,
                             struct buf *out)
{
    struct words w = {.charsets = charsets, .out = out};
    return run(&w, decode_extended, value);
}
