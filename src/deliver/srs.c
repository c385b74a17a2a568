/* The Sender Rewriting Scheme: see srs.h. */
#include "deliver/srs.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <stdlib.h>
#include <string.h>

enum { HASH = 8, DAY_DIGITS = 2, DAYS = 1024 };

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static int digit_of(char c)
{
    const char *p = memchr(base32, ascii_upper(c), 32);
    return p ? (int)(p - base32) : -1;
}

static bool is_separator(char c)
{
    return c == '=' || c == '+' || c == '-';
}

static bool is_kind(struct str local, char kind)
{
    return local.n > 5 && str_istarts(local, STR("SRS")) && local.p[3] == kind &&
           is_separator(local.p[4]);
}

bool srs_is(struct str local)
{
    return is_kind(local, '0') || is_kind(local, '1');
}

/* Of "SRS0" or "SRS1", which have different hashes, and what stands behind the hash. */
static void hash_of(const unsigned char secret[SRS_SECRET], char kind, struct str rest,
                    char out[HASH])
{
    unsigned char mac[CRYPTO_SHA256];
    char *text = mem_alloc(rest.n + 1);
    text[0] = kind;
    for (size_t i = 0; i < rest.n; i++)
        text[i + 1] = ascii_lower(rest.p[i]);
    crypto_hmac_sha256(str_from(secret, SRS_SECRET), str_from(text, rest.n + 1), mac);
    uint64_t bits = 0;
    for (size_t i = 0; i < 5; i++)
        bits = bits << 8 | mac[i];
    for (size_t i = HASH; i-- > 0; bits >>= 5)
        out[i] = base32[bits & 31];
    free(text);
}

static enum rc put(const unsigned char secret[SRS_SECRET], char kind, struct str rest,
                   struct str domain, struct buf *out)
{
    char hash[HASH];
    if (rest.n > SRS_LOCAL_MAX)
        return RC_LIMIT;
    hash_of(secret, kind, rest, hash);
    return buf_printf(out, "SRS%c=%.*s=%.*s@%.*s", kind, HASH, hash, STR_ARG(rest),
                      STR_ARG(domain));
}

/* What would not mean the same inside another local part, or end one of its pieces. */
static bool can_be_inside(struct str local, struct str domain)
{
    if (local.n == 0 || domain.n == 0 || local.p[0] == '"' || domain.p[0] == '[')
        return false;
    for (size_t i = 0; i < local.n; i++)
        if ((unsigned char)local.p[i] <= ' ' || memchr("\"\\@<>(),;:[]", local.p[i], 13))
            return false;
    for (size_t i = 0; i < domain.n; i++)
        if ((unsigned char)domain.p[i] <= ' ' || domain.p[i] == 0x7f || domain.p[i] == '=')
            return false;
    return true;
}

enum rc srs_forward(const unsigned char secret[SRS_SECRET], uint64_t today, struct str sender,
                    struct str domain, struct buf *out)
{
    ptrdiff_t at = str_rfind_byte(sender, '@');
    struct buf rest;
    if (at < 1)
        return RC_SYNTAX;
    struct str local = str_head(sender, (size_t)at), from = str_skip(sender, (size_t)at + 1);
    if (!can_be_inside(local, from))
        return RC_SYNTAX;
    buf_init(&rest, 2 * SRS_LOCAL_MAX);
    bool is_first = !srs_is(local);
    if (is_kind(local, '0')) {
        buf_put(&rest, from);
        buf_put(&rest, STR("="));
        buf_put(&rest, str_skip(local, 4)); /* with its separator */
    } else if (is_kind(local, '1')) {
        struct str hash, tail = str_skip(local, 5);
        str_cut(&tail, '=', &hash); /* the hash of who forwarded it last */
        buf_put(&rest, tail);
    } else {
        buf_putf(&rest, "%c%c=%.*s=%.*s", base32[today % DAYS / 32], base32[today % 32],
                 STR_ARG(from), STR_ARG(local));
    }
    enum rc rc = rest.over || buf_len(&rest) == 0
                     ? RC_LIMIT
                     : put(secret, is_first ? '0' : '1', buf_str(&rest), domain, out);
    buf_fini(&rest);
    return rc;
}

/* "DAY=domain=local" */
static enum rc reverse_first(struct str rest, uint64_t today, struct buf *out)
{
    struct str day, domain;
    if (!str_cut(&rest, '=', &day) || !str_cut(&rest, '=', &domain) || rest.n == 0 ||
        day.n != DAY_DIGITS)
        return RC_DENIED;
    int high = digit_of(day.p[0]), low = digit_of(day.p[1]);
    if (high < 0 || low < 0)
        return RC_DENIED;
    uint64_t age = (today + DAYS - (uint64_t)(high * 32 + low)) % DAYS;
    bool is_tomorrow = age == DAYS - 1; /* a clock that was set back a little */
    if (age > SRS_DAYS && !is_tomorrow)
        return RC_EOF;
    return buf_printf(out, "%.*s@%.*s", STR_ARG(rest), STR_ARG(domain));
}

/* "first==rest" */
static enum rc reverse_later(struct str rest, struct buf *out)
{
    struct str domain;
    if (!str_cut(&rest, '=', &domain) || domain.n == 0 || rest.n < 2)
        return RC_DENIED;
    return buf_printf(out, "SRS0%.*s@%.*s", STR_ARG(rest), STR_ARG(domain));
}

enum rc srs_reverse(const unsigned char secret[SRS_SECRET], uint64_t today, struct str local,
                    struct buf *out)
{
    char expected[HASH], given[HASH];
    struct str rest = str_skip(local, 5), hash;
    if (!srs_is(local) || !str_cut(&rest, '=', &hash) || hash.n != HASH || rest.n == 0)
        return RC_DENIED;
    for (size_t i = 0; i < HASH; i++)
        given[i] = ascii_upper(hash.p[i]);
    hash_of(secret, local.p[3], rest, expected);
    if (!crypto_is_equal(str_from(given, HASH), str_from(expected, HASH)))
        return RC_DENIED;
    return local.p[3] == '0' ? reverse_first(rest, today, out) : reverse_later(rest, out);
}
