/* Previews: a part's body -> transfer encoding -> charset -> quoted lines or markup left out ->
 * white space and what cannot be seen left out, until there is enough [RFC8970 3.3].
 *
 * Invariants: work is bounded by the bytes given and PARTS_MAX, memory by the buffers between the
 * steps. What comes out depends on the bytes alone. */
#include "mime/preview.h"

#include "base/utf8.h"
#include "mime/html.h"
#include "mime/text_int.h"

enum {
    STEP = 1 << 10, /* bytes taken at once */
    PARTS_MAX = 8,  /* texts looked at */
    DECODED = STEP + 2 * MIME_HELD,
    CONVERTED = 4 * DECODED + 200,
    SEEN = CONVERTED + MIME_HTML_ENTITY
};

/* --- what is seen ----------------------------------------------------------------------------- */

struct line {
    struct buf *out;
    size_t before; /* of the buffer */
    unsigned left; /* characters */
    bool has_space;
    uint32_t joiner; /* only between two characters */
};

static bool is_blank(uint32_t c)
{
    return c <= 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x2800 || c == 0x3000;
}

/* What fills the room behind the first words of a circular, and what would turn the text of others
 * around. */
static bool is_unseen(uint32_t c)
{
    return c == 0xad || c == 0x34f || c == 0x61c || c == 0x180e || c == 0x200b || c == 0x200e ||
           c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
           c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb);
}

static void put(struct line *l, uint32_t c)
{
    char bytes[UTF8_MAX];
    if (!l->left)
        return;
    buf_put(l->out, str_from(bytes, utf8_put(bytes, c)));
    l->left--;
}

static void see(struct line *l, uint32_t c)
{
    bool is_joiner = c == 0x200c || c == 0x200d;
    if (is_blank(c))
        l->has_space = buf_len(l->out) > l->before;
    if (is_blank(c) || is_joiner)
        l->joiner = is_joiner && !l->has_space && buf_len(l->out) > l->before ? c : 0;
    if (is_blank(c) || is_joiner || is_unseen(c))
        return;
    if (l->has_space && l->left > 1)
        put(l, ' ');
    else if (l->has_space)
        l->left = 0; /* no space at the end */
    else if (l->joiner && l->left > 1)
        put(l, l->joiner);
    l->has_space = false;
    l->joiner = 0;
    put(l, c);
}

/* --- a part's text ---------------------------------------------------------------------------- */

struct body {
    struct mime_decoder decoder;
    struct mime_converter converter;
    struct mime_html html;
    bool is_html;
    bool takes_quotes, has_quotes; /* lines; and there are some that were not taken */
    bool is_in_quote, is_in_line;
    struct buf decoded, utf8, text;
    struct line line;
};

static void leave_quotes(struct body *b, struct str utf8)
{
    while (utf8.n) {
        ptrdiff_t lf = str_find_byte(utf8, '\n');
        struct str line = str_head(utf8, lf < 0 ? utf8.n : (size_t)lf + 1);
        if (!b->is_in_line)
            b->is_in_quote = line.p[0] == '>' && !b->takes_quotes;
        b->is_in_line = lf < 0;
        b->has_quotes = b->has_quotes || b->is_in_quote;
        if (!b->is_in_quote)
            buf_put(&b->text, line);
        utf8 = str_skip(utf8, line.n);
    }
}

static enum rc look(struct body *b)
{
    enum rc rc = RC_OK;
    if (b->is_html)
        rc = mime_html(&b->html, buf_str(&b->utf8), &b->text);
    else
        leave_quotes(b, buf_str(&b->utf8));
    buf_clear(&b->utf8);
    struct str seen = buf_str(&b->text);
    while (seen.n && b->line.left)
        see(&b->line, utf8_take(&seen));
    buf_clear(&b->text);
    return rc;
}

static enum rc convert(struct body *b)
{
    struct str decoded = buf_str(&b->decoded);
    enum rc rc = mime_convert(&b->converter, &decoded, &b->utf8);
    buf_clear(&b->decoded);
    return rc == RC_OK ? look(b) : rc;
}

static enum rc read_end(struct body *b)
{
    TRY(mime_decode_end(&b->decoder, &b->decoded));
    TRY(convert(b));
    TRY(mime_convert_end(&b->converter, &b->utf8));
    TRY(look(b));
    return b->is_html ? mime_html_end(&b->html, &b->text) : RC_OK;
}

/* Every buffer has room for what a step makes. */
static enum rc read_body(struct body *b, struct str in)
{
    while (in.n && b->line.left) {
        struct str step = str_head(in, STEP);
        in = str_skip(in, STEP);
        TRY(mime_decode(&b->decoder, &step, &b->decoded));
        TRY(convert(b));
    }
    if (!b->line.left)
        return RC_OK;
    TRY(read_end(b));
    return look(b);
}

/* --- parts ------------------------------------------------------------------------------------ */

static bool is_type(const struct mime_part *p, struct str bytes, struct str type,
                    struct str subtype)
{
    return str_ieq(mime_view(bytes, 0, p->type), type) &&
           str_ieq(mime_view(bytes, 0, p->subtype), subtype);
}

/* [RFC8970 3.2] */
static bool is_encrypted(const struct mime_tree *t, struct str bytes, uint32_t part)
{
    for (; part != MIME_NONE; part = t->parts[part].parent)
        if (is_type(&t->parts[part], bytes, STR("multipart"), STR("encrypted")))
            return true;
    return false;
}

static bool is_attached(struct str header)
{
    struct str value, word, params;
    return mime_header_find(header, STR("Content-Disposition"), &value) &&
           mime_word_read(value, &word, &params) == RC_OK && str_ieq(word, STR("attachment"));
}

struct parts {
    const struct mime_tree *tree;
    struct str bytes;
    const struct mime_charsets *charsets;
    struct buf *out;
    bool takes_quotes, has_quotes;
    unsigned n; /* texts looked at */
};

static bool is_wanted(const struct parts *k, uint32_t part, struct str header, bool is_html)
{
    const struct mime_part *p = &k->tree->parts[part];
    bool is_plain = !p->type.n || is_type(p, k->bytes, STR("text"), STR("plain"));
    return !p->is_opaque && (is_html || is_plain) && !is_attached(header) &&
           !is_encrypted(k->tree, k->bytes, part);
}

static void read_part(struct parts *k, uint32_t part)
{
    const struct mime_part *p = &k->tree->parts[part];
    struct str header = str_sub(k->bytes, p->header_begin, p->body_begin - p->header_begin);
    struct body b = {.takes_quotes = k->takes_quotes,
                     .is_html = is_type(p, k->bytes, STR("text"), STR("html")),
                     .decoded = {.cap = DECODED},
                     .utf8 = {.cap = CONVERTED},
                     .text = {.cap = SEEN},
                     .line = {k->out, buf_len(k->out), MIME_PREVIEW_CHARACTERS, false, 0}};
    if (!is_wanted(k, part, header, b.is_html) ||
        !mime_text_prepare(p, header, k->charsets, &b.decoder, &b.converter))
        return;
    mime_html_begin(&b.html);
    k->n++;
    enum rc rc = read_body(&b, str_sub(k->bytes, p->body_begin, p->body_end - p->body_begin));
    struct str made = str_skip(buf_str(k->out), b.line.before);
    /* Nothing rather than a part of it. */
    if (rc != RC_OK || str_starts(made, STR("-----BEGIN PGP MESSAGE-----")))
        buf_truncate(k->out, b.line.before);
    k->has_quotes = k->has_quotes || b.has_quotes;
    mime_convert_fini(&b.converter);
    buf_fini(&b.decoded);
    buf_fini(&b.utf8);
    buf_fini(&b.text);
}

static void read_parts(struct parts *k)
{
    size_t before = buf_len(k->out);
    k->n = 0;
    for (uint32_t i = 0; i < k->tree->n_parts && k->n < PARTS_MAX && buf_len(k->out) == before; i++)
        read_part(k, i);
}

void mime_preview(const struct mime_tree *t, struct str bytes, const struct mime_charsets *charsets,
                  struct buf *out)
{
    size_t before = buf_len(out);
    struct parts k = {.tree = t, .bytes = bytes, .charsets = charsets, .out = out};
    read_parts(&k);
    if (buf_len(out) > before || !k.has_quotes)
        return;
    k.takes_quotes = true;
    read_parts(&k);
}
