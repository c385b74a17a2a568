/* The parameters of a field as BODYSTRUCTURE shows them [RFC3501 7.4.2] [RFC9051 7.5.2].
 *
 * A value that came in numbered pieces is put together under one name, as servers should
 * [RFC2231 6]; where a piece is encoded, all of the value is, and the name ends with '*'
 * [RFC2231 4.1]. IMAP4rev2 has such a value of a Content-Type decoded, and as UTF-8. All else
 * stands as it is, without quotes. Pieces without a first one stand each for itself. */
#include "mime/charset.h"
#include "mime/mime_int.h"

enum { PARAMS_MAX = 200 }; /* more are left out */

struct piece {
    struct str base; /* the name without number and '*' */
    uint32_t number;
    bool is_piece, is_encoded, is_done;
    struct mime_param param;
};

/* "name*3*": piece 3 of name, encoded [RFC2231 4.1]. */
static void name_read(struct piece *p)
{
    struct str name = p->param.name;
    uint64_t number;
    bool is_encoded = str_ends(name, STR("*"));
    struct str body = str_head(name, name.n - is_encoded);
    ptrdiff_t star = str_rfind_byte(body, '*');
    p->is_piece = false;
    if (star <= 0 || str_to_u64(str_skip(body, (size_t)star + 1), &number) != RC_OK ||
        number >= PARAMS_MAX)
        return;
    p->is_piece = true;
    p->is_encoded = is_encoded;
    p->number = (uint32_t)number;
    p->base = str_head(body, (size_t)star);
}

static struct piece *piece_find(struct piece *all, size_t n, struct str base, uint32_t number)
{
    for (size_t i = 0; i < n; i++)
        if (all[i].is_piece && !all[i].is_done && all[i].number == number &&
            str_ieq(all[i].base, base))
            return &all[i];
    return NULL;
}

/* ---- Writing ---- */

static bool is_attribute_byte(char c) /* [RFC2231 7] */
{
    return (unsigned char)c > ' ' && (unsigned char)c < 0x7f &&
           str_find_byte(STR("*'%()<>@,;:\\\"/[]?="), c) < 0;
}

/* Percent-encodes what has been put behind the first `from` bytes of the text. */
static void encode_from(struct buf *text, size_t from)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = buf_len(text) - from;
    if (!buf_reserve(text, n * 3)) {
        text->over = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        char c = buf_str(text).p[from + i];
        char code[3] = {'%', digits[(unsigned char)c >> 4], digits[(unsigned char)c & 15]};
        buf_put(text, is_attribute_byte(c) ? str_from(&c, 1) : str_from(code, 3));
    }
    /* What was encoded goes; what it became moves there. */
    struct str made = str_skip(buf_str(text), from + n);
    __builtin_memmove(text->mem + text->from + from, made.p, made.n);
    buf_truncate(text, from + made.n);
}

static void put_pair(struct mime_writer *w, struct str name, struct str value, size_t *n)
{
    buf_put(w->out, *n == 0 ? STR("(") : STR(" "));
    mime_put_string(w->out, name);
    buf_put(w->out, STR(" "));
    mime_put_string(w->out, value);
    (*n)++;
}

static void put_text(struct buf *text, const struct mime_param *param)
{
    if (mime_unquote(param, text) != RC_OK)
        text->over = true;
}

/* In UTF-8, when it is encoded, under the name that it has [RFC9051 7.5.2]; as it is when it is not
 * of that form. */
static struct str as_meant(struct mime_writer *w, struct str name, struct str value)
{
    buf_clear(&w->decoded);
    if (!str_ends(name, STR("*")) || mime_extended_decode(value, w->charsets, &w->decoded) != RC_OK)
        return value;
    return buf_str(&w->decoded);
}

/* All pieces from number 0 on, as one. */
static void put_joined(struct mime_writer *w, struct piece *all, size_t n_all, struct piece *first,
                       bool is_meant, size_t *n)
{
    struct piece *p;
    bool is_encoded = false;
    uint32_t last = 0;
    for (; (p = piece_find(all, n_all, first->base, last)) != NULL; last++)
        is_encoded |= p->is_encoded;
    buf_clear(&w->text);
    if (is_encoded && !first->is_encoded)
        buf_put(&w->text, STR("''")); /* neither charset nor language [RFC2231 4] */
    for (uint32_t i = 0; i < last; i++) {
        size_t from = buf_len(&w->text);
        p = piece_find(all, n_all, first->base, i);
        put_text(&w->text, &p->param);
        if (is_encoded && !p->is_encoded)
            encode_from(&w->text, from);
        p->is_done = true;
    }
    size_t value = buf_len(&w->text);
    buf_put(&w->text, first->base);
    if (is_encoded)
        buf_put(&w->text, STR("*"));
    struct str text = buf_str(&w->text), name = str_skip(text, value);
    text = str_head(text, value);
    put_pair(w, name, is_meant ? as_meant(w, name, text) : text, n);
}

static void put_single(struct mime_writer *w, struct piece *p, bool is_meant, size_t *n)
{
    buf_clear(&w->text);
    put_text(&w->text, &p->param);
    struct str name = p->param.name, text = buf_str(&w->text);
    put_pair(w, name, is_meant && !p->is_piece ? as_meant(w, name, text) : text, n);
    p->is_done = true;
}

void mime_put_params(struct mime_writer *w, struct str params, enum mime_params kind)
{
    struct piece all[PARAMS_MAX];
    size_t n_all = 0, n = 0;
    bool has_charset = false, is_meant = w->is_rev2 && kind != MIME_PARAMS_OTHER;
    while (n_all < PARAMS_MAX && mime_param_next(&params, &all[n_all].param)) {
        name_read(&all[n_all]);
        all[n_all].is_done = false;
        has_charset |= str_ieq(all[n_all].param.name, STR("charset"));
        n_all++;
    }
    for (size_t i = 0; i < n_all; i++) {
        struct piece *p = &all[i], *first;
        if (p->is_done)
            continue;
        first = p->is_piece ? piece_find(all, n_all, p->base, 0) : NULL;
        if (first)
            put_joined(w, all, n_all, first, is_meant, &n);
        else
            put_single(w, p, is_meant, &n);
    }
    if (kind == MIME_PARAMS_TEXT && !has_charset)
        put_pair(w, STR("charset"), STR("us-ascii"), &n);
    w->out->over |= w->text.over;
    buf_put(w->out, n > 0 ? STR(")") : STR("NIL"));
}
