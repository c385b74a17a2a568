#include "crypto/crypto.h"

#include "base/test.h"

#include <stdio.h>

static void assert_hex(const unsigned char *p, size_t n, const char *hex)
{
    char text[2 * CRYPTO_HASH_MAX + 1];
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", p[i]);
    assert_string_equal(text, hex);
}

static void hmac_sha1(void **state)
{
    unsigned char out[CRYPTO_HASH_MAX];
    assert_int_equal(crypto_hash_size(CRYPTO_SHA_1), 20);
    assert_rc(crypto_hmac(CRYPTO_SHA_1, STR("Jefe"), STR("what do ya want for nothing?"), out),
              RC_OK); /* [RFC2202 3] */
    assert_hex(out, 20, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    assert_rc(crypto_digest(CRYPTO_SHA_1, STR("abc"), out), RC_OK);
    assert_hex(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void hmac_sha256(void **state)
{
    unsigned char out[CRYPTO_HASH_MAX];
    assert_int_equal(crypto_hash_size(CRYPTO_SHA_256), 32);
    assert_rc(crypto_hmac(CRYPTO_SHA_256, STR("Jefe"), STR("what do ya want for nothing?"), out),
              RC_OK);
    assert_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_rc(crypto_digest(CRYPTO_SHA_256, STR("abc"), out), RC_OK);
    assert_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void pbkdf2(void **state) /* [RFC6070 2], and the same with SHA-256 */
{
    unsigned char out[CRYPTO_HASH_MAX];
    assert_rc(crypto_pbkdf2(CRYPTO_SHA_1, STR("password"), STR("salt"), 4096, out), RC_OK);
    assert_hex(out, 20, "4b007901b765489abead49d926f721d065a429c1");
    assert_rc(crypto_pbkdf2(CRYPTO_SHA_1, STR("password"), STR("salt"), 1, out), RC_OK);
    assert_hex(out, 20, "0c60c80f961f0e71f3a9b524af6012062fe037a6");
    assert_rc(crypto_pbkdf2(CRYPTO_SHA_256, STR("password"), STR("salt"), 4096, out), RC_OK);
    assert_hex(out, 32, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hmac_sha1),
        cmocka_unit_test(hmac_sha256),
        cmocka_unit_test(pbkdf2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
