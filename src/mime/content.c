/* Structured field values: Content-Type [RFC2045 5.1], Content-Transfer-Encoding [RFC2045 6.1],
 * Content-Disposition [RFC2183 2] and their parameters.
 *
 * Comments and white space may stand between any two words [RFC5322 3.2.2]. More is accepted than
 * the grammar allows: an unquoted value goes on to white space, ';' or a comment, so that
 * boundary=a=b/c is what its writer meant, and a quoted string may lack its closing quote. Pure
 * functions; the views they give lie in the value. */
#include "mime/mime_int.h"

/* The length of the comment that s begins with; an unfinished one goes to the end. */
static size_t comment_length(struct str s)
{
    size_t depth = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '(')
            depth++;
        else if (s.p[i] == ')' && --depth == 0)
            return i + 1;
    }
    return s.n;
}

static void skip_space(struct str *s)
{
    while (s->n) {
        if (mime_is_space(s->p[0]))
            *s = str_skip(*s, 1);
        else if (s->p[0] == '(')
            *s = str_skip(*s, comment_length(*s));
        else
            return;
    }
}

/* Takes the quoted string that *s begins with and gives what is between the quotes. */
static struct str take_quoted(struct str *s)
{
    struct str all = str_skip(*s, 1);
    for (size_t i = 0; i < all.n; i++) {
        if (all.p[i] == '\\') {
            i++;
        } else if (all.p[i] == '"') {
            *s = str_skip(all, i + 1);
            return str_head(all, i);
        }
    }
    *s = str_skip(*s, s->n);
    return all;
}

/* Takes bytes off *s until white space, a comment or one of `ends`. */
static struct str take_word(struct str *s, struct str ends)
{
    size_t i = 0;
    while (i < s->n && !mime_is_space(s->p[i]) && s->p[i] != '(' &&
           str_find_byte(ends, s->p[i]) < 0)
        i++;
    struct str word = str_head(*s, i);
    *s = str_skip(*s, i);
    return word;
}

/* Moves *s behind the next ';' that is in no comment and no quoted string, or to the end. */
static void skip_to_next(struct str *s)
{
    while (s->n) {
        char c = s->p[0];
        if (c == '"')
            take_quoted(s);
        else
            *s = str_skip(*s, c == '(' ? comment_length(*s) : 1);
        if (c == ';')
            return;
    }
}

enum rc mime_type_read(struct str value, struct mime_type *out)
{
    skip_space(&value);
    out->type = take_word(&value, STR("/;\""));
    skip_space(&value);
    if (out->type.n == 0 || value.n == 0 || value.p[0] != '/')
        return RC_SYNTAX;
    value = str_skip(value, 1);
    skip_space(&value);
    out->subtype = take_word(&value, STR("/;\""));
    if (out->subtype.n == 0)
        return RC_SYNTAX;
    skip_to_next(&value);
    out->params = value;
    return RC_OK;
}

enum rc mime_word_read(struct str value, struct str *out_word, struct str *out_params)
{
    skip_space(&value);
    *out_word = take_word(&value, STR(";"));
    if (out_word->n == 0)
        return RC_SYNTAX;
    skip_to_next(&value);
    *out_params = value;
    return RC_OK;
}

/* One parameter of the form name=value at the beginning of *s; RC_SYNTAX: it has another form. */
static enum rc take_param(struct str *s, struct mime_param *out)
{
    out->name = take_word(s, STR("=;\""));
    skip_space(s);
    if (out->name.n == 0 || s->n == 0 || s->p[0] != '=')
        return RC_SYNTAX;
    *s = str_skip(*s, 1);
    skip_space(s);
    out->is_quoted = s->n && s->p[0] == '"';
    out->value = out->is_quoted ? take_quoted(s) : take_word(s, STR(";"));
    return RC_OK;
}

bool mime_param_next(struct str *params, struct mime_param *out)
{
    while (params->n) {
        skip_space(params);
        enum rc rc = take_param(params, out);
        skip_to_next(params);
        if (rc == RC_OK)
            return true;
    }
    return false;
}

enum rc mime_unquote(const struct mime_param *param, struct buf *out)
{
    size_t before = buf_len(out);
    for (size_t i = 0; i < param->value.n; i++) {
        char c = param->value.p[i];
        if (c == '\r' || c == '\n')
            continue;
        if (c == '\\' && param->is_quoted && ++i < param->value.n)
            c = param->value.p[i];
        if (buf_add_byte(out, c) != RC_OK) {
            buf_truncate(out, before);
            return RC_LIMIT;
        }
    }
    return RC_OK;
}
