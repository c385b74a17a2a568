/* OAUTHBEARER [RFC7628] and XOAUTH2, which has no RFC but which Google and Microsoft document and
 * programs speak: one message, with a token in it, and what is said when that is not good. Pure.
 *
 * Both are pairs of keys and values between bytes of 1; OAUTHBEARER has a GS2 header before them
 * [RFC7628 3.1]. Keys that mean nothing here are passed over [RFC7628 3.1]; of those that do, none
 * may come twice. Invariants: a token that comes out of here is empty (none was sent) or a b64token
 * [RFC6750 2.1] of at most AUTH_TOKEN_MAX bytes, a view into the caller's response; a name is empty
 * or can be one.
 */
#include "auth/login_int.h"

#include <string.h>

#define SEPARATOR '\1'

/* --- pairs ------------------------------------------------------------------------------------ */

/* VCHAR, SP, HTAB, CR, LF [RFC7628 3.1]. */
static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_print(s.p[i]) && !memchr("\t\r\n", s.p[i], 3))
            return false;
    return true;
}

static bool is_key(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_alpha(s.p[i]))
            return false;
    return s.n > 0;
}

struct pairs {
    struct str auth, user; /* absent: they did not come */
};

static enum rc take_pair(struct str pair, struct pairs *out)
{
    struct str key, *to;
    if (!str_cut(&pair, '=', &key) || str_is_null(pair) || !is_key(key))
        return RC_SYNTAX;
    to = str_eq(key, STR("auth")) ? &out->auth : str_eq(key, STR("user")) ? &out->user : NULL;
    /* A name may have letters that are not of ASCII, and is looked at as a name. */
    if (to != &out->user && !is_value(pair))
        return RC_SYNTAX;
    if (!to)
        return RC_OK;
    if (!str_is_null(*to))
        return RC_SYNTAX;
    *to = pair.n ? pair : STR("");
    return RC_OK;
}

/* *kvpair kvsep, each pair with a separator behind it, and nothing after that. */
static enum rc read_pairs(struct str text, struct pairs *out)
{
    *out = (struct pairs){{NULL, 0}, {NULL, 0}};
    while (text.n && text.p[0] != SEPARATOR) {
        ptrdiff_t at = str_find_byte(text, SEPARATOR);
        if (at < 0)
            return RC_SYNTAX;
        TRY(take_pair(str_head(text, (size_t)at), out));
        text = str_skip(text, (size_t)at + 1);
    }
    return text.n == 1 ? RC_OK : RC_SYNTAX;
}

/* --- the token -------------------------------------------------------------------------------- */

/* 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" [RFC6750 2.1] */
static bool is_b64token(struct str s)
{
    size_t n = 0;
    while (n < s.n &&
           (ascii_is_alpha(s.p[n]) || ascii_is_digit(s.p[n]) || memchr("-._~+/", s.p[n], 6)))
        n++;
    bool has_some = n > 0;
    while (n < s.n && s.p[n] == '=')
        n++;
    return has_some && n == s.n;
}

/* "Bearer TOKEN"; empty: the client wants to hear where tokens are from [RFC7628 4.3]. */
static enum rc take_token(struct sasl *s, struct str auth)
{
    static const struct str scheme = STR_INIT("Bearer ");
    s->token = STR("");
    if (!auth.n)
        return RC_OK;
    if (!str_istarts(auth, scheme))
        return RC_SYNTAX;
    struct str token = str_trim(str_skip(auth, scheme.n));
    if (token.n > AUTH_TOKEN_MAX)
        return RC_LIMIT;
    if (!is_b64token(token))
        return RC_SYNTAX;
    s->token = token;
    return RC_OK;
}

static enum sasl_next finish(struct sasl *s, enum rc rc)
{
    return rc == RC_OK ? SASL_TOKEN : sasl_refuse(s, rc);
}

/* --- OAUTHBEARER ------------------------------------------------------------------------------ */

/* "=2C" and "=3D" are the only ones [RFC5801 4]. */
static enum rc take_saslname(struct sasl *s, struct str name)
{
    size_t n = 0;
    while (name.n) {
        char c = name.p[0];
        size_t width = 1;
        if (c == '=') {
            bool is_comma = str_starts(name, STR("=2C"));
            if (!is_comma && !str_starts(name, STR("=3D")))
                return RC_SYNTAX;
            c = (char)(is_comma ? ',' : '=');
            width = 3;
        }
        if (n == sizeof s->text)
            return RC_LIMIT;
        s->text[n++] = c;
        name = str_skip(name, width);
    }
    s->name = str_from(s->text, n);
    return sasl_check_text(s->name, sizeof s->text);
}

/* "n,a=NAME," or "y,,": no channel binding, which no OAuth mechanism has yet [RFC7628 3.1]. */
static enum rc take_header(struct sasl *s, struct str *rest)
{
    struct str flag, name;
    if (!str_cut(rest, ',', &flag) || !str_cut(rest, ',', &name) || str_is_null(*rest))
        return RC_SYNTAX;
    if (!str_eq(flag, STR("n")) && !str_eq(flag, STR("y")))
        return RC_SYNTAX;
    if (name.n && !str_starts(name, STR("a=")))
        return RC_SYNTAX;
    if (name.n)
        TRY(take_saslname(s, str_skip(name, 2)));
    if (!rest->n || rest->p[0] != SEPARATOR)
        return RC_SYNTAX;
    *rest = str_skip(*rest, 1);
    return RC_OK;
}

static enum rc take_bearer(struct sasl *s, struct str response)
{
    struct pairs pairs;
    TRY(take_header(s, &response));
    TRY(read_pairs(response, &pairs));
    return str_is_null(pairs.auth) ? RC_SYNTAX : take_token(s, pairs.auth);
}

enum sasl_next oauth_bearer_step(struct sasl *s, struct str response, struct buf *challenge)
{
    if (str_is_null(response))
        return sasl_ask(s, STR(""), challenge);
    return finish(s, take_bearer(s, response));
}

/* --- XOAUTH2 ---------------------------------------------------------------------------------- */

static enum rc take_xoauth2(struct sasl *s, struct str response)
{
    struct pairs pairs;
    TRY(read_pairs(response, &pairs));
    if (str_is_null(pairs.auth) || str_is_null(pairs.user))
        return RC_SYNTAX;
    TRY(sasl_check_text(pairs.user, sizeof s->text));
    memcpy(s->text, pairs.user.p, pairs.user.n);
    s->name = str_from(s->text, pairs.user.n);
    return take_token(s, pairs.auth);
}

enum sasl_next oauth_x2_step(struct sasl *s, struct str response, struct buf *challenge)
{
    if (str_is_null(response))
        return sasl_ask(s, STR(""), challenge);
    return finish(s, take_xoauth2(s, response));
}

/* --- a token that is not good ----------------------------------------------------------------- */

/* For OAUTHBEARER [RFC7628 3.2.2]; the address has nothing in it that JSON would quote. */
void oauth_bearer_error(struct str discovery, struct buf *out)
{
    buf_put(out, STR("{\"status\":\"invalid_token\""));
    if (discovery.n)
        buf_putf(out, ",\"openid-configuration\":\"%.*s\"", STR_ARG(discovery));
    buf_put(out, STR("}"));
}

/* For XOAUTH2, as its two makers have it. */
void oauth_x2_error(struct str discovery, struct buf *out)
{
    buf_put(out, STR("{\"status\":\"401\",\"schemes\":\"bearer\"}"));
}
