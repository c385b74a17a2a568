/* Issuers for tests: keys, their JWKS, and tokens of all kinds, good and bad. Not part of any
 * library. */
#ifndef TOKEN_TEST_JWT_H
#define TOKEN_TEST_JWT_H

#include "base/test.h"

#include "base/base64.h"
#include "base/buf.h"

#include <cjose/cjose.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline cjose_jwk_t *jwt_key(const char *kid, bool is_rsa)
{
    cjose_err e;
    const uint8_t exponent[] = {1, 0, 1};
    cjose_jwk_t *key = is_rsa ? cjose_jwk_create_RSA_random(2048, exponent, 3, &e)
                              : cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &e);
    assert_non_null(key);
    assert_true(!kid || cjose_jwk_set_kid(key, kid, strlen(kid), &e));
    return key;
}

/* {"keys":[...]} of the public halves. */
static inline void jwt_keys(cjose_jwk_t *const *keys, size_t n, struct buf *out)
{
    cjose_err e;
    buf_clear(out);
    buf_put(out, STR("{\"keys\":["));
    for (size_t i = 0; i < n; i++) {
        char *json = cjose_jwk_to_json(keys[i], false, &e);
        buf_putf(out, "%s%s", i ? "," : "", json);
        free(json);
    }
    buf_put(out, STR("]}"));
}

/* A token of these claims; kid NULL: none is named. To be freed. */
static inline char *jwt_sign(cjose_jwk_t *key, const char *alg, const char *kid, const char *claims)
{
    cjose_err e;
    const char *text;
    cjose_header_t *head = cjose_header_new(&e);
    assert_true(cjose_header_set(head, CJOSE_HDR_ALG, alg, &e));
    assert_true(!kid || cjose_header_set(head, CJOSE_HDR_KID, kid, &e));
    cjose_jws_t *jws = cjose_jws_sign(key, head, (const uint8_t *)claims, strlen(claims), &e);
    assert_non_null(jws);
    assert_true(cjose_jws_export(jws, &text, &e));
    char *copy = strdup(text);
    cjose_jws_release(jws);
    cjose_header_release(head);
    return copy;
}

static inline void jwt_base64url(struct buf *out, struct str s)
{
    struct buf text = {.cap = 1 << 20};
    assert_rc(base64_encode(&text, s), RC_OK);
    struct str got = buf_str(&text);
    for (size_t i = 0; i < got.n && got.p[i] != '='; i++) {
        char c = got.p[i];
        c = (char)(c == '+' ? '-' : c == '/' ? '_' : c);
        buf_put(out, str_from(&c, 1));
    }
    buf_fini(&text);
}

/* "HEAD.CLAIMS." with a signature of one's own. To be freed. */
static inline char *jwt_forge(const char *head, const char *claims, struct str signature)
{
    struct buf out = {.cap = 1 << 20};
    jwt_base64url(&out, str_of(head));
    buf_put(&out, STR("."));
    jwt_base64url(&out, str_of(claims));
    buf_put(&out, STR("."));
    if (signature.n)
        jwt_base64url(&out, signature);
    char *text = strndup(buf_str(&out).p, buf_str(&out).n);
    buf_fini(&out);
    return text;
}

#endif
