/* Keys and signatures: libcjose, met in this file alone; why that one says
 * docs/decisions/0194-tokens-by-libcjose.md.
 *
 * Invariants: the header is read here, strictly, before the library sees the token; a signature
 * counts only when its algorithm is allowed, and is one that the key itself is for: of its type and
 * curve, and by its own "use" and "alg" where it has them [RFC7517 4.2] [RFC7517 4.4]. So a public
 * key is never taken for the secret of an HMAC. */
#include "token/token_int.h"

#include "base/base64.h"
#include "base/mem.h"

#include <cjose/cjose.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Of the modulus of an RSA key, in base 64: 2048 bits [RFC7518 3.3] to 8192, and of its exponent.
 */
enum { RSA_LEAST = 342, RSA_MOST = 1366, EXPONENT_MOST = 11 };

static const struct {
    const char *name, *kty, *crv;
} algorithms[TOKEN_ALGORITHMS] = {
    [TOKEN_RS256] = {"RS256", "RSA", NULL},   [TOKEN_RS384] = {"RS384", "RSA", NULL},
    [TOKEN_RS512] = {"RS512", "RSA", NULL},   [TOKEN_PS256] = {"PS256", "RSA", NULL},
    [TOKEN_PS384] = {"PS384", "RSA", NULL},   [TOKEN_PS512] = {"PS512", "RSA", NULL},
    [TOKEN_ES256] = {"ES256", "EC", "P-256"}, [TOKEN_ES384] = {"ES384", "EC", "P-384"},
    [TOKEN_ES512] = {"ES512", "EC", "P-521"},
};

bool token_algorithm_find(struct str name, enum token_algorithm *out)
{
    for (int i = 0; i < TOKEN_ALGORITHMS; i++)
        if (str_eq(name, str_of(algorithms[i].name))) {
            *out = (enum token_algorithm)i;
            return true;
        }
    return false;
}

static struct str member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value))
        return (struct str){0};
    return str_from(json_string_value(value), json_string_length(value));
}

/* --- the header ------------------------------------------------------------------------------- */

/* Base 64 with the other two characters and without padding [RFC7515 2]. */
static enum rc base64url_decode(struct buf *out, struct str s)
{
    struct buf plain = {.cap = TOKEN_MAX + 4};
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+' || c == '/' || c == '=')
            c = '\0'; /* not of this alphabet */
        c = (char)(c == '-' ? '+' : c == '_' ? '/' : c);
        buf_put(&plain, str_from(&c, 1));
    }
    buf_put(&plain, str_head(STR("==="), (4 - s.n % 4) % 4));
    enum rc rc = plain.over ? RC_LIMIT : base64_decode(out, buf_str(&plain));
    buf_fini(&plain);
    return rc;
}

/* The library ends the process at a length that no base 64 has, so it gets none [RFC7515 2]. */
static bool is_base64url(struct str s)
{
    bool is = s.n % 4 != 1;
    for (size_t i = 0; is && i < s.n; i++)
        is = ascii_is_alpha(s.p[i]) || ascii_is_digit(s.p[i]) || s.p[i] == '-' || s.p[i] == '_';
    return is;
}

static bool is_compact(struct str token)
{
    struct str part, rest = token;
    bool is = true;
    while (is && str_cut(&rest, '.', &part))
        is = is_base64url(part);
    return is && is_base64url(rest);
}

/* "JWT" or the like [RFC7519 5.1] [RFC9068 2.1]; absent: nothing is said. */
static bool is_good_type(struct str type)
{
    return str_is_null(type) || str_ieq(type, STR("JWT")) || str_ieq(type, STR("at+jwt")) ||
           str_ieq(type, STR("application/at+jwt"));
}

static const char *fault_of_head(const json_t *head, unsigned allowed, struct jws_head *out)
{
    struct str kid = member(head, "kid");
    if (!json_is_object(head) || kid.n > KID_MAX || (json_object_get(head, "kid") && !kid.n))
        return "malformed";
    if (!token_algorithm_find(member(head, "alg"), &out->algorithm) ||
        !(allowed & 1U << out->algorithm))
        return "algorithm";
    if (json_object_get(head, "crit")) /* none is understood here [RFC7515 4.1.11] */
        return "critical";
    if (!is_good_type(member(head, "typ")))
        return "type";
    if (kid.n)
        memcpy(out->kid, kid.p, kid.n);
    return NULL;
}

enum rc jws_head_read(struct str token, unsigned allowed, struct jws_head *out,
                      const char **out_cause)
{
    struct buf text = {.cap = TOKEN_MAX};
    struct str first, rest = token;
    *out = (struct jws_head){0};
    *out_cause = "malformed";
    if (token.n > TOKEN_MAX || !is_compact(token) || !str_cut(&rest, '.', &first) || !first.n ||
        base64url_decode(&text, first) != RC_OK) {
        buf_fini(&text);
        return RC_DENIED;
    }
    struct str json = buf_str(&text);
    json_t *head = json.n ? json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    *out_cause = fault_of_head(head, allowed, out);
    json_decref(head);
    buf_fini(&text);
    return *out_cause ? RC_DENIED : RC_OK;
}

/* --- keys ------------------------------------------------------------------------------------- */

struct key {
    cjose_jwk_t *jwk;
    char kid[KID_MAX + 1];
    unsigned algorithms; /* bits: what it is for */
};
struct keys {
    struct key key[KEYS_MAX];
    size_t n;
};

static bool is_good_rsa(const json_t *jwk)
{
    struct str n = member(jwk, "n"), e = member(jwk, "e");
    return n.n >= RSA_LEAST && n.n <= RSA_MOST && e.n && e.n <= EXPONENT_MOST;
}

/* What a key is for; 0: nothing here. */
static unsigned algorithms_of(const json_t *jwk)
{
    struct str kty = member(jwk, "kty"), crv = member(jwk, "crv"), use = member(jwk, "use"),
               alg = member(jwk, "alg");
    unsigned found = 0;
    if (!str_is_null(use) && !str_eq(use, STR("sig")))
        return 0;
    if (str_eq(kty, STR("RSA")) && !is_good_rsa(jwk))
        return 0;
    for (int i = 0; i < TOKEN_ALGORITHMS; i++)
        if (str_eq(kty, str_of(algorithms[i].kty)) &&
            (!algorithms[i].crv || str_eq(crv, str_of(algorithms[i].crv))) &&
            (str_is_null(alg) || str_eq(alg, str_of(algorithms[i].name))))
            found |= 1U << i;
    return found;
}

static bool is_encoded(const json_t *jwk)
{
    static const char *const names[] = {"n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y", "k"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!is_base64url(member(jwk, names[i])))
            return false;
    return true;
}

static void add(struct keys *keys, const json_t *jwk)
{
    cjose_err error;
    struct key *key = &keys->key[keys->n];
    struct str kid = member(jwk, "kid");
    if (keys->n == KEYS_MAX || !json_is_object(jwk) || kid.n > KID_MAX)
        return;
    *key = (struct key){.algorithms = algorithms_of(jwk)};
    char *text = key->algorithms && is_encoded(jwk) ? json_dumps(jwk, JSON_COMPACT) : NULL;
    key->jwk = text ? cjose_jwk_import(text, strlen(text), &error) : NULL;
    free(text);
    if (!key->jwk)
        return;
    if (kid.n)
        memcpy(key->kid, kid.p, kid.n);
    keys->n++;
}

enum rc keys_parse(struct str json, struct keys **out)
{
    json_t *set = json.n ? json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const json_t *list = json_object_get(set, "keys");
    struct keys *keys = mem_zero(sizeof *keys);
    for (size_t i = 0; i < json_array_size(list); i++)
        add(keys, json_array_get(list, i));
    json_decref(set);
    if (!keys->n)
        keys_free(&keys);
    *out = keys;
    return keys ? RC_OK : RC_SYNTAX;
}

void keys_free(struct keys **keys)
{
    if (!*keys)
        return;
    for (size_t i = 0; i < (*keys)->n; i++)
        cjose_jwk_release((*keys)->key[i].jwk);
    free(*keys);
    *keys = NULL;
}

size_t keys_count(const struct keys *keys)
{
    return keys->n;
}

/* --- signatures ------------------------------------------------------------------------------- */

/* The library keeps a token that it has refused once as refused: each key gets its own. */
static bool is_signed(const struct key *key, struct str token, struct buf *out_payload)
{
    cjose_err error;
    uint8_t *payload;
    size_t n;
    cjose_jws_t *jws = cjose_jws_import(token.p, token.n, &error);
    bool is_good = jws && cjose_jws_verify(jws, key->jwk, &error) &&
                   cjose_jws_get_plaintext(jws, &payload, &n, &error) &&
                   buf_add(out_payload, str_from(payload, n)) == RC_OK;
    cjose_jws_release(jws);
    return is_good;
}

enum rc keys_verify(const struct keys *keys, struct str token, const struct jws_head *head,
                    struct buf *out_payload)
{
    enum rc rc = head->kid[0] ? RC_NOTFOUND : RC_DENIED;
    for (size_t i = 0; i < keys->n; i++) {
        const struct key *key = &keys->key[i];
        if (head->kid[0] && key->kid[0] && strcmp(head->kid, key->kid) != 0)
            continue;
        if (strcmp(head->kid, key->kid) == 0)
            rc = RC_DENIED; /* it is known, and may not have signed this */
        if (key->algorithms & 1U << head->algorithm && is_signed(key, token, out_payload))
            return RC_OK;
    }
    return rc;
}
