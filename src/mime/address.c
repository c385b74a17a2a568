/* The addresses of a field such as From or Sender [RFC5322 3.4]: only what says where mail goes,
 * one after the other; display names, comments and the names of groups are passed over.
 *
 * Strict, since permissions hang on what is found here: where two readers could see two different
 * addresses, it is RC_SYNTAX; so is a name that looks like an address without quotes, unless it is
 * the one that follows. Old forms that mean one thing only are taken: routes, empty list
 * elements, white space around '.' and '@' [RFC5322 4.4]. Pure functions. */
#include "mime/mime_int.h"

#include <string.h>

enum { NAME_MAX_SEEN = 320 }; /* no address is longer */

/* Takes a comment off, with those in it. */
static enum rc skip_comment(struct str *s)
{
    size_t depth = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->p[i] == '\\')
            i++;
        else if (s->p[i] == '(')
            depth++;
        else if (s->p[i] == ')' && --depth == 0) {
            *s = str_skip(*s, i + 1);
            return RC_OK;
        }
    }
    return RC_SYNTAX;
}

static enum rc skip_space(struct str *s)
{
    while (s->n && (mime_is_space(s->p[0]) || s->p[0] == '(')) {
        if (s->p[0] == '(')
            TRY(skip_comment(s));
        else
            *s = str_skip(*s, 1);
    }
    return RC_OK;
}

/* A quoted string or a domain literal, with what is around it. */
static enum rc take_enclosed(struct str *s, char end, struct str *out)
{
    for (size_t i = 1; i < s->n; i++) {
        if (s->p[i] == '\\') {
            i++;
        } else if (s->p[i] == end) {
            *out = str_head(*s, i + 1);
            *s = str_skip(*s, i + 1);
            return RC_OK;
        }
    }
    return RC_SYNTAX;
}

static bool is_word_byte(char c)
{
    return (unsigned char)c > 0x20 && c != 0x7f && str_find_byte(STR("()<>[]:;@\\,.\""), c) < 0;
}

/* Takes a word, or one of '.' and '@'. RC_EOF: here is something else, or the end. */
static enum rc take_token(struct str *s, struct str *out)
{
    size_t i = 0;
    if (s->n == 0)
        return RC_EOF;
    if (s->p[0] == '"')
        return take_enclosed(s, '"', out);
    if (s->p[0] == '[')
        return take_enclosed(s, ']', out);
    if (s->p[0] == '.' || s->p[0] == '@')
        i = 1;
    while (i < s->n && is_word_byte(s->p[0]) && is_word_byte(s->p[i]))
        i++;
    *out = str_head(*s, i);
    *s = str_skip(*s, i);
    return i > 0 ? RC_OK : RC_EOF;
}

/* Words up to something else. *out_is_phrase: two stand beside each other without '.' or '@', so it
 * is no address. */
static enum rc take_words(struct str *s, struct buf *out, bool *out_is_phrase)
{
    bool was_word = false;
    struct str token;
    enum rc rc;
    buf_clear(out);
    *out_is_phrase = false;
    for (;;) {
        TRY(skip_space(s));
        if ((rc = take_token(s, &token)) != RC_OK)
            return rc == RC_EOF ? RC_OK : rc;
        bool is_word = token.p[0] != '.' && token.p[0] != '@';
        *out_is_phrase |= is_word && was_word;
        was_word = is_word;
        buf_put(out, token);
        if (out->over)
            return RC_LIMIT;
    }
}

/* What is between '<' and '>'; a route in front of it is passed over [RFC5322 4.4]. */
static enum rc take_angle(struct str *s, struct buf *out)
{
    bool is_phrase;
    *s = str_skip(*s, 1);
    TRY(take_words(s, out, &is_phrase));
    while (s->n && (s->p[0] == ':' || s->p[0] == ',')) {
        bool is_route = buf_len(out) == 0 || buf_str(out).p[0] == '@';
        if (!is_route)
            return RC_SYNTAX;
        *s = str_skip(*s, 1);
        TRY(take_words(s, out, &is_phrase));
    }
    if (s->n == 0 || s->p[0] != '>' || is_phrase)
        return RC_SYNTAX;
    *s = str_skip(*s, 1);
    TRY(skip_space(s));
    return s->n == 0 || s->p[0] == ',' || s->p[0] == ';' ? RC_OK : RC_SYNTAX;
}

/* An address without quotes as a name: "a@b.test <c@d.test>", "a@b.test: c@d.test;". */
static bool looks_like_address(struct str words)
{
    bool is_quoted = false;
    for (size_t i = 0; i < words.n; i++) {
        if (words.p[i] == '"')
            is_quoted = !is_quoted;
        else if (words.p[i] == '\\')
            i++;
        else if (words.p[i] == '@' && !is_quoted)
            return true;
    }
    return false;
}

/* The words before it, which `out` has, are a name. */
static enum rc take_named(struct str *rest, struct buf *out)
{
    char name[NAME_MAX_SEEN];
    bool is_address = looks_like_address(buf_str(out));
    size_t n = buf_len(out);
    if (is_address && n > sizeof name)
        return RC_SYNTAX;
    if (is_address)
        memcpy(name, buf_str(out).p, n);
    TRY(take_angle(rest, out));
    return !is_address || str_ieq(buf_str(out), str_from(name, n)) ? RC_OK : RC_SYNTAX;
}

enum rc mime_address_next(struct str *rest, struct buf *out)
{
    bool is_phrase;
    for (;;) {
        TRY(take_words(rest, out, &is_phrase));
        char c = rest->n ? rest->p[0] : '\0';
        if (c == '<') {
            TRY(take_named(rest, out));
            break;
        }
        if (c == ':' && looks_like_address(buf_str(out)))
            return RC_SYNTAX;
        if (buf_len(out) == 0 && rest->n == 0)
            return RC_EOF;
        if (rest->n && c != ',' && c != ';' && c != ':')
            return RC_SYNTAX;
        *rest = str_skip(*rest, 1);
        if (c == ':') /* the name of a group */
            continue;
        if (buf_len(out) == 0) /* an empty element, or the end of a group */
            continue;
        if (is_phrase)
            return RC_SYNTAX;
        break;
    }
    return str_find_byte(buf_str(out), '@') > 0 ? RC_OK : RC_SYNTAX;
}
