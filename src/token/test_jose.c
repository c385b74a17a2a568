/* Keys and signatures: the examples of RFC 7515, and what must never pass for one. */
#include "token/test_jwt.h"
#include "token/token_int.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define PAYLOAD                                                                                    \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"                             \
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
/* [RFC7515 A.2] */
#define RSA_TOKEN                                                                                  \
    "eyJhbGciOiJSUzI1NiJ9." PAYLOAD "."                                                            \
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"                             \
    "AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4"                             \
    "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"                             \
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv"                             \
    "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB"                             \
    "p0igcN_IoypGlUPQGe77Rw"
#define RSA_KEY                                                                                    \
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx"          \
    "HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo"   \
    "9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4u"  \
    "DZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb"   \
    "54h4FRWyuXpoQ\",\"e\":\"AQAB\"}"
/* [RFC7515 A.3] */
#define EC_TOKEN                                                                                   \
    "eyJhbGciOiJFUzI1NiJ9." PAYLOAD "."                                                            \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"                             \
    "pmWQxfKTUJqPP3-Kg6NU1Q"
#define EC_KEY                                                                                     \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","     \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"

#define OKP_KEY                                                                                    \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

enum { ALL = (1 << TOKEN_ALGORITHMS) - 1 };

static struct keys *parse(const char *text)
{
    struct keys *keys;
    assert_rc(keys_parse(str_of(text), &keys), RC_OK);
    return keys;
}

/* Of the header, or else of the signature; the payload is dropped. */
static enum rc check(const struct keys *keys, const char *token, unsigned allowed)
{
    struct jws_head head;
    struct buf payload = {.cap = TOKEN_MAX};
    const char *cause;
    enum rc rc = jws_head_read(str_of(token), allowed, &head, &cause);
    if (rc == RC_OK)
        rc = keys_verify(keys, str_of(token), &head, &payload);
    assert_true(rc == RC_OK || !buf_str(&payload).n);
    buf_fini(&payload);
    return rc;
}

static void examples(void **state)
{
    struct keys *keys = parse("{\"keys\":[" RSA_KEY "," EC_KEY "]}");
    struct jws_head head;
    struct buf payload = {.cap = TOKEN_MAX};
    const char *cause;
    assert_int_equal(keys_count(keys), 2);
    assert_rc(check(keys, RSA_TOKEN, ALL), RC_OK);
    assert_rc(jws_head_read(STR(EC_TOKEN), ALL, &head, &cause), RC_OK);
    assert_int_equal(head.algorithm, TOKEN_ES256);
    assert_string_equal(head.kid, "");
    assert_rc(keys_verify(keys, STR(EC_TOKEN), &head, &payload), RC_OK);
    assert_true(str_eq(buf_str(&payload), STR("{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n "
                                              "\"http://example.com/is_root\":true}")));
    buf_fini(&payload);
    keys_free(&keys);
}

/* Every bit counts. */
static void changed_ones(void **state)
{
    struct keys *keys = parse("{\"keys\":[" RSA_KEY "," EC_KEY "]}");
    char token[] = EC_TOKEN;
    for (size_t i = 0; i < sizeof token - 1; i += 3) {
        char old = token[i];
        token[i] = (char)(old == 'A' ? 'Q' : 'A');
        /* The last character has bits that mean nothing. */
        if (i + 2 < sizeof token)
            assert_rc(check(keys, token, ALL), RC_DENIED);
        token[i] = old;
    }
    assert_rc(check(keys, token, ALL), RC_OK);
    keys_free(&keys);
}

static void only_what_is_allowed(void **state)
{
    struct keys *keys = parse("{\"keys\":[" RSA_KEY "," EC_KEY "]}");
    assert_rc(check(keys, RSA_TOKEN, ALL & ~(1U << TOKEN_RS256)), RC_DENIED);
    assert_rc(check(keys, EC_TOKEN, ALL & ~(1U << TOKEN_ES256)), RC_DENIED);
    keys_free(&keys);
}

static void refuse(const struct keys *keys, const char *head, struct str signature)
{
    char *token = jwt_forge(head, "{\"iss\":\"joe\"}", signature);
    assert_rc(check(keys, token, ALL), RC_DENIED);
    free(token);
}

/* No signature at all, in any spelling; and headers that are none. */
static void none_is_none(void **state)
{
    static const char *const heads[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"None\"}",
        "{\"alg\":\"NONE\",\"typ\":\"JWT\"}",
        "{\"alg\":\"\"}",
        "{\"alg\":\"rs256\"}",
        "{}",
        "[]",
        "",
        "{\"alg\":[\"ES256\"]}",
        "{\"alg\":\"ES256\",\"alg\":\"none\"}",
        "{\"alg\":\"none\",\"alg\":\"ES256\"}",
        "{\"alg\":\"ES256\",\"crit\":[\"exp\"]}", /* [RFC7515 4.1.11] */
        "{\"alg\":\"ES256\",\"b64\":false,\"crit\":[\"b64\"]}",
        "{\"alg\":\"ES256\",\"typ\":\"logout+jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":7}",
        "{\"alg\":\"ES256\",\"kid\":\"\"}",
    };
    struct keys *keys = parse("{\"keys\":[" RSA_KEY "," EC_KEY "]}");
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        refuse(keys, heads[i], (struct str){0});
        refuse(keys, heads[i], STR("signature"));
    }
    keys_free(&keys);
}

/* The public key, which everybody has, as the secret of an HMAC. */
static void no_confusion_of_keys(void **state)
{
    static const char *const secrets[] = {RSA_KEY, EC_KEY};
    struct keys *keys =
        parse("{\"keys\":[" RSA_KEY "," EC_KEY ",{\"kty\":\"oct\",\"k\":\"AAAA\"}]}");
    assert_int_equal(keys_count(keys), 2);
    for (size_t i = 0; i < 2; i++) {
        unsigned char mac[32];
        unsigned n = sizeof mac;
        char *unsigned_one = jwt_forge("{\"alg\":\"HS256\"}", "{\"iss\":\"joe\"}", (struct str){0});
        assert_non_null(HMAC(EVP_sha256(), secrets[i], (int)strlen(secrets[i]),
                             (unsigned char *)unsigned_one, strlen(unsigned_one) - 1, mac, &n));
        refuse(keys, "{\"alg\":\"HS256\"}", str_from(mac, n));
        free(unsigned_one);
    }
    keys_free(&keys);
}

/* A key is for what it says it is for. */
static void keys_are_for_something(void **state)
{
    static const char *const useless[] = {
        "{\"kty\":\"EC\",\"use\":\"enc\",\"crv\":\"P-256\","
        "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
        "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
        OKP_KEY,
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAA\",\"y\":\"AAAA\"}",
        "{\"kty\":\"RSA\",\"n\":\"A===\",\"e\":\"AQAB\"}",
        "{}",
        "7",
    };
    struct keys *keys;
    for (size_t i = 0; i < sizeof useless / sizeof *useless; i++) {
        char text[1024];
        snprintf(text, sizeof text, "{\"keys\":[%s]}", useless[i]);
        assert_rc(keys_parse(str_of(text), &keys), RC_SYNTAX);
        assert_null(keys);
    }
    assert_rc(keys_parse(STR(""), &keys), RC_SYNTAX);
    assert_rc(keys_parse(STR("{\"keys\":{}}"), &keys), RC_SYNTAX);
    keys = parse("{\"keys\":[{\"kty\":\"EC\",\"alg\":\"ES384\",\"crv\":\"P-384\",\"x\":\"AA\","
                 "\"y\":\"AA\"}," EC_KEY "]}");
    assert_int_equal(keys_count(keys), 1);
    keys_free(&keys);
}

static void the_key_that_is_named(void **state)
{
    cjose_jwk_t *pair[2] = {jwt_key("one", false), jwt_key("two", false)};
    struct buf text = {.cap = 8192};
    jwt_keys(pair, 2, &text);
    struct keys *keys;
    assert_rc(keys_parse(buf_str(&text), &keys), RC_OK);
    const struct {
        int key;
        const char *kid;
        enum rc rc;
    } rows[] = {{0, "one", RC_OK},       {1, "two", RC_OK},        {0, NULL, RC_OK},
                {1, NULL, RC_OK},        {0, "two", RC_DENIED},    {1, "one", RC_DENIED},
                {0, "ONE", RC_NOTFOUND}, {0, "other", RC_NOTFOUND}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *token = jwt_sign(pair[rows[i].key], "ES256", rows[i].kid, "{\"iss\":\"joe\"}");
        assert_rc(check(keys, token, ALL), rows[i].rc);
        free(token);
    }
    keys_free(&keys);
    buf_fini(&text);
    cjose_jwk_release(pair[0]);
    cjose_jwk_release(pair[1]);
}

/* Of all that can be allowed with an RSA key. */
static void algorithms_of_rsa(void **state)
{
    static const char *const names[] = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"};
    cjose_jwk_t *key = jwt_key(NULL, true);
    struct buf text = {.cap = 8192};
    struct keys *keys;
    jwt_keys(&key, 1, &text);
    assert_rc(keys_parse(buf_str(&text), &keys), RC_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        enum token_algorithm algorithm;
        char *token = jwt_sign(key, names[i], NULL, "{}");
        assert_true(token_algorithm_find(str_of(names[i]), &algorithm));
        assert_rc(check(keys, token, 1U << algorithm), RC_OK);
        assert_rc(check(keys, token, ALL & ~(1U << algorithm)), RC_DENIED);
        free(token);
    }
    assert_false(token_algorithm_find(STR("HS256"), &(enum token_algorithm){0}));
    assert_false(token_algorithm_find(STR("none"), &(enum token_algorithm){0}));
    keys_free(&keys);
    buf_fini(&text);
    cjose_jwk_release(key);
}

static void too_long_and_too_short(void **state)
{
    static const char *const rows[] = {
        "", ".", "..", "a.b", "a.b.c", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9.",
        "eyJhbGciOiJFUzI1NiJ9..", "eyJhbGciOiJFUzI1NiJ9.e30.", "eyJhbGciOiJFUzI1NiJ9.e30.AA",
        "eyJhbGciOiJFUzI1NiJ9.e30.AA.AA",
        /* what cjose would end the process at */
        "eyJhbGciOiJFUzI1NiJ9.e30.AAAAA",
        "eyJhbGciOiJFUzI1NiJ9.e30.A===", "eyJhbGciOiJFUzI1NiJ9.e30AA.AAAA",
        "eyJhbGciOiJFUzI1NiJ9.e===.AAAA"};
    struct keys *keys = parse("{\"keys\":[" EC_KEY "]}");
    size_t n = 100000;
    char *giant = malloc(n + 1);
    memset(giant, 'A', n);
    giant[n] = '\0';
    giant[20] = '.';
    assert_rc(check(keys, giant, ALL), RC_DENIED);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_rc(check(keys, rows[i], ALL), RC_DENIED);
    free(giant);
    keys_free(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(changed_ones),
        cmocka_unit_test(only_what_is_allowed),
        cmocka_unit_test(none_is_none),
        cmocka_unit_test(no_confusion_of_keys),
        cmocka_unit_test(keys_are_for_something),
        cmocka_unit_test(the_key_that_is_named),
        cmocka_unit_test(algorithms_of_rsa),
        cmocka_unit_test(too_long_and_too_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
