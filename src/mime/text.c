/* The text of a message, part by part: bytes -> transfer encoding -> charset -> folding.
 *
 * 1. Each step takes what fits of the one before, so memory is bounded by the two buffers between
 * and a header block, which is read as a whole.
 * 2. `offset` only grows; bytes before it are never wanted again.
 *
 * ASCII text that is not encoded is most of all and goes through the folding alone. [RFC3501 6.4.4]
 * [RFC9051 6.4.4]
 */
#include "mime/text.h"

#include "base/utf8.h"
#include "mime/text_int.h"

enum stage { STAGE_HEADER, STAGE_BODY, STAGE_END_OF_BODY };

enum {
    STEP = 4 << 10,                 /* bytes taken at once */
    BETWEEN = 2 * STEP + MIME_HELD, /* of decoded bytes */
    FOLDED = 12 /* times as long folded text can be: U+FDFA, 3 bytes, becomes 33 */
};

enum rc mime_text_of_value(struct str value, const struct mime_charsets *charsets, struct buf *out)
{
    struct buf utf8;
    buf_init(&utf8, value.n * 4 + 200);
    enum rc rc = mime_words_decode(value, charsets, &utf8);
    if (rc == RC_OK)
        rc = mime_fold(buf_str(&utf8), out);
    buf_fini(&utf8);
    return rc;
}

void mime_text_init(struct mime_text *t, const struct mime_tree *tree,
                    const struct mime_charsets *charsets, enum mime_text_what what)
{
    *t = (struct mime_text){.tree = tree, .charsets = charsets, .what = what};
    buf_init(&t->bytes, BETWEEN);
    buf_init(&t->utf8, SIZE_MAX); /* bounded by the steps */
}

void mime_text_fini(struct mime_text *t)
{
    mime_convert_fini(&t->converter);
    buf_fini(&t->bytes);
    buf_fini(&t->utf8);
}

/* ---- Headers ---- */

bool mime_text_prepare(const struct mime_part *part, struct str header,
                       const struct mime_charsets *charsets, struct mime_decoder *decoder,
                       struct mime_converter *converter)
{
    struct mime_param param = {0};
    struct mime_type type = {0};
    struct str value, charset = {0};
    enum mime_encoding encoding;
    if (part->kind != MIME_LEAF)
        return false;
    if (mime_header_find(header, STR("Content-Type"), &value) &&
        mime_type_read(value, &type) == RC_OK) {
        bool is_text = str_ieq(type.type, STR("text")) || str_ieq(type.type, STR("message")) ||
                       (str_ieq(type.type, STR("multipart")) && part->boundary.n == 0);
        if (!is_text)
            return false;
        while (charset.n == 0 && mime_param_next(&type.params, &param))
            if (str_ieq(param.name, STR("charset")))
                charset = param.value;
    }
    struct str word = {0};
    if (part->encoding.n)
        word = mime_view(header, part->header_begin, part->encoding);
    if (mime_encoding_read(word, &encoding) != RC_OK)
        return false;
    mime_decode_begin(decoder, encoding);
    (void)(mime_convert_begin(converter, charsets, charset) == RC_OK); /* readable anyway */
    return true;
}

static void put_header(struct mime_text *t, struct str header)
{
    struct mime_field field;
    while (mime_header_next(&header, &field)) {
        buf_put(&t->utf8, field.name);
        buf_put(&t->utf8, STR(": "));
        if (mime_words_decode(field.value, t->charsets, &t->utf8) != RC_OK)
            t->utf8.over = true; /* has no cap */
        buf_put(&t->utf8, STR("\n"));
    }
}

static enum rc next_header(struct mime_text *t, struct str bytes, uint64_t at)
{
    const struct mime_part *part = &t->tree->parts[t->part];
    uint64_t n = part->body_begin - part->header_begin;
    t->offset = part->header_begin;
    t->wanted = (uint32_t)n;
    if (at > t->offset || t->offset - at > bytes.n || bytes.n - (t->offset - at) < n)
        return RC_AGAIN;
    struct str header = str_sub(bytes, t->offset - at, n);
    if (t->part > 0 || t->what == MIME_TEXT_ALL)
        put_header(t, header);
    t->offset = part->body_begin;
    bool is_text = mime_text_prepare(part, header, t->charsets, &t->decoder, &t->converter);
    t->stage = is_text ? STAGE_BODY : STAGE_END_OF_BODY;
    return RC_OK;
}

/* ---- Bodies ---- */

/* Decoded bytes, and then their characters, one step on. */
static enum rc convert(struct mime_text *t)
{
    struct str s = buf_str(&t->bytes);
    t->utf8.cap = buf_len(&t->utf8) + s.n * 4 + 200;
    enum rc rc = mime_convert(&t->converter, &s, &t->utf8);
    t->utf8.cap = SIZE_MAX;
    buf_consume(&t->bytes, buf_len(&t->bytes) - s.n);
    return rc;
}

static enum rc next_body(struct mime_text *t, struct str bytes, uint64_t at)
{
    const struct mime_part *part = &t->tree->parts[t->part];
    if (t->offset == part->body_end) {
        t->stage = STAGE_END_OF_BODY;
        TRY(mime_decode_end(&t->decoder, &t->bytes));
        TRY(convert(t));
        return mime_convert_end(&t->converter, &t->utf8);
    }
    t->wanted = 1;
    if (at > t->offset || t->offset - at >= bytes.n)
        return RC_AGAIN;
    uint64_t left = part->body_end - t->offset;
    struct str in = str_head(str_skip(bytes, t->offset - at), left < STEP ? left : STEP);
    size_t n = in.n;
    if (t->decoder.encoding == MIME_IDENTITY) {
        enum rc rc = mime_convert(&t->converter, &in, &t->utf8);
        t->offset += n - in.n;
        return rc;
    }
    TRY(mime_decode(&t->decoder, &in, &t->bytes));
    t->offset += n;
    return convert(t);
}

static void next_part(struct mime_text *t)
{
    mime_convert_fini(&t->converter);
    buf_put(&t->utf8, STR("\n"));
    t->part++;
    t->stage = STAGE_HEADER;
}

/* ---- All of it ---- */

/* Folds as much of what is there as fits for sure, whole characters. */
static enum rc fold_some(struct mime_text *t, struct buf *out)
{
    while (buf_len(&t->utf8)) {
        struct str s = buf_str(&t->utf8);
        size_t left = out->cap - buf_len(out), n = left / FOLDED;
        if (s.n <= left && utf8_is_ascii(s))
            n = s.n;
        n = n < s.n ? n : s.n;
        while (n > 0 && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
            n--;
        if (n == 0 || mime_fold(str_head(s, n), out) != RC_OK)
            return RC_LIMIT;
        buf_consume(&t->utf8, n);
    }
    return RC_OK;
}

enum rc mime_text_next(struct mime_text *t, struct str bytes, uint64_t at, struct buf *out)
{
    for (;;) {
        enum rc rc = RC_OK;
        if (fold_some(t, out) != RC_OK)
            return RC_OK;
        if (t->part == t->tree->n_parts)
            return RC_EOF;
        if (t->stage == STAGE_HEADER)
            rc = next_header(t, bytes, at);
        else if (t->stage == STAGE_BODY)
            rc = next_body(t, bytes, at);
        else
            next_part(t);
        if (rc != RC_OK)
            return rc;
    }
}
