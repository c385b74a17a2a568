/* The addresses of a field as they are shown to people [RFC5322 3.4]: with names, groups and
 * routes, for ENVELOPE [RFC3501 7.4.2] [RFC9051 7.5.2].
 *
 * The counterpart of address.c, which is strict because permissions hang on it: this one shows
 * whatever stands there. A list is cut at ',' ';' ':' '<' and '>' outside quotes, comments and
 * domain literals; what is between is words. Words are written without quotes and comments, with
 * one space where white space stood, in addresses none around '.' and '@'. Pure functions. */
#include "mime/mime_int.h"

/* What is more than text, beside white space. Bytes of text are passed in runs. */
static const bool is_mark[256] = {
    ['"'] = true, ['('] = true, ['['] = true, ['\\'] = true, ['@'] = true, ['.'] = true,
    [','] = true, [';'] = true, [':'] = true, ['<'] = true,  ['>'] = true,
};

/* Bytes of plain text at the beginning of s. */
static size_t plain(struct str s)
{
    size_t i = 0;
    while (i < s.n && (unsigned char)s.p[i] > ' ' && !is_mark[(unsigned char)s.p[i]])
        i++;
    return i;
}

/* The length of what begins at s.p[0] and ends with `close`, nested if it is a comment. When it
 * never ends: all of s, but a quotation mark stands for itself then, since addresses may follow.
 * (No other one stands behind it, so that no bytes are looked at more than twice.) */
static size_t enclosed(struct str s, char close)
{
    size_t depth = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == close && i > 0 && (close != ')' || --depth == 0))
            return i + 1;
        else if (s.p[i] == '(')
            depth++;
    }
    return close == '"' ? 1 : s.n;
}

/* The length of the token that s begins with: something enclosed, or one byte. */
static size_t token(struct str s)
{
    size_t n = 1;
    if (s.p[0] == '"')
        n = enclosed(s, '"');
    else if (s.p[0] == '(')
        n = enclosed(s, ')');
    else if (s.p[0] == '[')
        n = enclosed(s, ']');
    else if (s.p[0] == '\\' && s.n > 1)
        n = 2;
    return n;
}

/* Takes what stands before the next byte of `ends`, or before the end. */
static struct str take_until(struct str *s, struct str ends)
{
    size_t i = plain(*s);
    while (i < s->n && str_find_byte(ends, s->p[i]) < 0) {
        i += token(str_skip(*s, i));
        i += plain(str_skip(*s, i));
    }
    struct str words = str_head(*s, i);
    *s = str_skip(*s, i);
    return words;
}

/* ---- Words to text ---- */

struct words {
    size_t begin, n; /* in the text */
    /* From `begin`; n: there is none. */
    size_t at;    /* of the first '@' that is not quoted */
    size_t space; /* of the last space put before it, or of the only one when there is no '@' */
    size_t after; /* of the first space put behind it */
};

/* Appends an enclosed token without its first byte, its last when it is `close`, backslashes and
 * folds. */
static void put_enclosed(struct buf *text, struct str s, char close)
{
    if (s.n == 1) {
        buf_put(text, s);
        return;
    }
    s = str_skip(s, 1);
    if (s.n && s.p[s.n - 1] == close)
        s.n--;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        if (s.p[i] != '\r' && s.p[i] != '\n')
            buf_put(text, str_sub(s, i, 1));
    }
}

static bool joins(char c)
{
    return c == '.' || c == '@';
}

static void put_token(struct buf *text, struct str s)
{
    if (s.p[0] == '"')
        put_enclosed(text, s, '"');
    else if (s.p[0] == '\\')
        buf_put(text, str_skip(s, 1));
    else
        buf_put(text, s);
}

static void put_space(struct buf *text, struct words *w)
{
    size_t here = buf_len(text) - w->begin;
    if (w->at == SIZE_MAX)
        w->space = here;
    else if (w->after == SIZE_MAX)
        w->after = here;
    buf_put(text, STR(" "));
}

static size_t at_most(size_t value, size_t n)
{
    return value < n ? value : n;
}

/* is_address: no spaces around what joins. */
static struct words put_words(struct buf *text, struct str s, bool is_address)
{
    struct words w = {buf_len(text), 0, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    bool is_apart = false;
    char last = '@'; /* no space in front */
    while (s.n) {
        size_t n = plain(s);
        if (n == 0)
            n = token(s);
        struct str t = str_head(s, n);
        s = str_skip(s, n);
        if (mime_is_space(t.p[0]) || t.p[0] == '(') {
            is_apart = true;
            continue;
        }
        bool is_joined = is_address && (joins(last) || joins(t.p[0]));
        if (is_apart && !is_joined && buf_len(text) > w.begin)
            put_space(text, &w);
        if (t.p[0] == '@' && w.at == SIZE_MAX)
            w.at = buf_len(text) - w.begin;
        put_token(text, t);
        last = t.p[0];
        is_apart = false;
    }
    w.n = buf_len(text) - w.begin;
    w.at = at_most(w.at, w.n);
    w.space = at_most(w.space, w.n);
    w.after = at_most(w.after, w.n);
    return w;
}

/* The last comment of s, as text. */
static struct words put_comment(struct buf *text, struct str s)
{
    struct words w = {.begin = buf_len(text)};
    struct str found = {0};
    while (s.n) {
        size_t n = token(s);
        if (s.p[0] == '(')
            found = str_head(s, n);
        s = str_skip(s, n);
    }
    if (found.n)
        put_enclosed(text, found, ')');
    w.n = buf_len(text) - w.begin;
    return w;
}

/* ---- Addresses ---- */

static struct str text_of(const struct buf *text, size_t begin, size_t n)
{
    return n ? str_sub(buf_str(text), begin, n) : (struct str){0};
}

/* "a@b", "name a@b", "a@b name", "a" or "a name", from w. What stands beside the address becomes
 * the name unless there is one. */
static void set_address(const struct buf *text, struct words w, struct mime_mailbox *out)
{
    bool has_at = w.at < w.n;
    size_t local = w.space < w.at ? w.space + 1 : 0, end = w.after;
    struct str name = {0};
    if (!has_at && local > 0) { /* a name alone */
        name = text_of(text, w.begin, w.n);
    } else {
        out->mailbox = text_of(text, w.begin + local, w.at - local);
        if (local > 1)
            name = text_of(text, w.begin, local - 1);
        else if (end < w.n)
            name = text_of(text, w.begin + end + 1, w.n - end - 1);
        if (has_at)
            out->host = text_of(text, w.begin + w.at + 1, end - w.at - 1);
    }
    if (out->name.n == 0)
        out->name = name;
}

/* "words <@route:a@b>"; *rest begins with '<'. */
static void take_angle(struct mime_mailboxes *l, struct str phrase, struct mime_mailbox *out)
{
    struct words name = put_words(l->text, phrase, false);
    l->rest = str_skip(l->rest, 1);
    struct str all = l->rest, inner = take_until(&l->rest, STR("<>"));
    if (!str_starts(l->rest, STR(">"))) { /* never closed */
        l->rest = all;
        inner = take_until(&l->rest, STR(",;"));
    } else {
        l->rest = str_skip(l->rest, 1);
    }
    struct str address = inner, first = take_until(&address, STR(":"));
    struct words route = {0};
    if (address.n && str_starts(str_trim(first), STR("@"))) {
        route = put_words(l->text, first, true);
        inner = str_skip(address, 1);
    }
    struct words w = put_words(l->text, inner, true);
    struct str after = take_until(&l->rest, STR(",;"));
    if (name.n == 0)
        name = put_comment(l->text, after);
    out->name = text_of(l->text, name.begin, name.n);
    out->route = text_of(l->text, route.begin, route.n);
    set_address(l->text, w, out);
}

static void take_plain(struct mime_mailboxes *l, struct str phrase, struct mime_mailbox *out)
{
    struct words w = put_words(l->text, phrase, true);
    struct words name = put_comment(l->text, phrase);
    if (w.n == 0)
        return; /* a comment is no address [RFC5322 4.4] */
    out->name = text_of(l->text, name.begin, name.n);
    set_address(l->text, w, out);
}

/* One item of the list; false: it is empty. */
static bool take_item(struct mime_mailboxes *l, struct mime_mailbox *out)
{
    struct str phrase = str_trim(take_until(&l->rest, STR(",;:<>")));
    char c = l->rest.n ? l->rest.p[0] : ',';
    *out = (struct mime_mailbox){.kind = MIME_MAILBOX_ADDRESS};
    buf_clear(l->text);
    if (c == '<') {
        take_angle(l, phrase, out);
        return out->name.n || out->mailbox.n || out->host.n;
    }
    if (c == ':' && !l->is_in_group) {
        struct words w = put_words(l->text, phrase, false);
        out->kind = MIME_MAILBOX_GROUP;
        out->mailbox = str_sub(buf_str(l->text), w.begin, w.n);
        l->is_in_group = true;
        l->rest = str_skip(l->rest, 1);
        return true;
    }
    if (c == ':' || c == '>')
        l->rest = str_skip(l->rest, 1);
    if (phrase.n == 0)
        return false;
    take_plain(l, phrase, out);
    return out->name.n || out->mailbox.n || out->host.n;
}

bool mime_mailbox_next(struct mime_mailboxes *l, struct mime_mailbox *out)
{
    while (l->rest.n) {
        char c = l->rest.p[0];
        if (c == ';' && l->is_in_group) {
            l->rest = str_skip(l->rest, 1);
            l->is_in_group = false;
            *out = (struct mime_mailbox){.kind = MIME_MAILBOX_GROUP_END};
            return true;
        }
        if (c == ',' || c == ';')
            l->rest = str_skip(l->rest, 1);
        else if (take_item(l, out))
            return true;
    }
    bool was_in_group = l->is_in_group;
    l->is_in_group = false;
    *out = (struct mime_mailbox){.kind = MIME_MAILBOX_GROUP_END};
    return was_in_group;
}
