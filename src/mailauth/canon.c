/* Relaxed canonicalisation [RFC6376 3.4.2] [RFC6376 3.4.4], hashed as it comes.
 *
 * The body goes through in runs of plain bytes. What counts only when something follows - line
 * ends, white space - is kept as numbers, so that a body of any size takes no memory. Only CRLF
 * ends a line; CR or LF alone is a byte like any other. */
#include "mailauth/mailauth_int.h"

#include <string.h>

static bool is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

static void hash(struct crypto_sha256_state *to, struct str s)
{
    if (s.n)
        crypto_sha256_add(to, s);
}

/* --- fields ----------------------------------------------------------------------------------- */

static void hash_name(struct crypto_sha256_state *to, struct str name)
{
    char lower[64];
    while (name.n) {
        struct str part = str_head(name, sizeof lower);
        for (size_t i = 0; i < part.n; i++)
            lower[i] = ascii_lower(part.p[i]);
        hash(to, str_from(lower, part.n));
        name = str_skip(name, part.n);
    }
}

/* Bytes up to white space or a line end. */
static size_t word(struct str s)
{
    size_t i = 0;
    while (i < s.n && !is_wsp(s.p[i]) && s.p[i] != '\r' && s.p[i] != '\n')
        i++;
    return i;
}

/* Line ends inside of a field stand before white space, so both are the same here. */
static void hash_value(struct crypto_sha256_state *to, struct str value)
{
    bool is_first = true;
    for (value = str_trim(value); value.n;) {
        size_t n = word(value);
        if (n && !is_first)
            hash(to, STR(" "));
        is_first = is_first && n == 0;
        hash(to, str_head(value, n));
        value = str_skip(value, n);
        for (n = 0; n < value.n && word(str_sub(value, n, 1)) == 0; n++)
            ;
        value = str_skip(value, n);
    }
}

void mailauth_canon_field(struct crypto_sha256_state *to, struct str name, struct str value,
                          bool is_last)
{
    hash_name(to, name);
    hash(to, STR(":"));
    hash_value(to, value);
    if (!is_last)
        hash(to, STR("\r\n"));
}

/* --- the body --------------------------------------------------------------------------------- */

/* Hashes what has waited for something to follow. */
static void let_go(struct mailauth_sign *s)
{
    static const char ends[] = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";
    const uint64_t most = (sizeof ends - 1) / 2;
    while (s->crlfs) {
        uint64_t n = s->crlfs < most ? s->crlfs : most;
        hash(&s->body, str_from(ends, (size_t)n * 2));
        s->crlfs -= n;
    }
    if (s->has_space)
        hash(&s->body, STR(" "));
    s->has_space = false;
    s->has_body = true;
}

static void hash_text(struct mailauth_sign *s, struct str text)
{
    let_go(s);
    hash(&s->body, text);
}

/* Bytes that stand for themselves, from the beginning of s. A text's words and its single spaces
 * are hashed together: most of a body is that. */
static size_t plain(struct str s)
{
    size_t i = 0;
    for (; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\r' || c == '\t')
            break;
        if (c == ' ' && (i + 1 == s.n || is_wsp(s.p[i + 1]) || s.p[i + 1] == '\r'))
            break;
    }
    return i;
}

/* What stands at the beginning and is not plain: white space, a CR. */
static size_t take_mark(struct mailauth_sign *s, struct str bytes)
{
    if (bytes.p[0] == '\r') {
        s->has_cr = true;
        return 1;
    }
    s->has_space = true;
    return 1;
}

static size_t take_after_cr(struct mailauth_sign *s, struct str bytes)
{
    s->has_cr = false;
    if (bytes.p[0] != '\n') {
        hash_text(s, STR("\r"));
        return 0;
    }
    s->has_space = false;
    s->crlfs++;
    return 1;
}

void mailauth_canon_body(struct mailauth_sign *s, struct str bytes)
{
    while (bytes.n) {
        size_t n;
        if (s->has_cr)
            n = take_after_cr(s, bytes);
        else if (s->has_space && is_wsp(bytes.p[0]))
            n = 1;
        else if ((n = plain(bytes)) > 0)
            hash_text(s, str_head(bytes, n));
        else
            n = take_mark(s, bytes);
        bytes = str_skip(bytes, n);
    }
}

void mailauth_canon_end(struct mailauth_sign *s)
{
    if (s->has_cr)
        hash_text(s, STR("\r"));
    if (s->has_body)
        hash(&s->body, STR("\r\n"));
    crypto_sha256_end(&s->body, s->body_hash);
}
