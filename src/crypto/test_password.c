#include "crypto/crypto.h"

#include "base/test.h"

static void a_hash_knows_its_password(void **state)
{
    char hash[CRYPTO_PASSWORD_MAX], again[CRYPTO_PASSWORD_MAX];
    struct str odd = str_from("a\0\xff b", 5);
    assert_rc(crypto_password_hash(odd, 1, 8192, hash), RC_OK);
    assert_rc(crypto_password_hash(odd, 1, 8192, again), RC_OK);
    assert_string_not_equal(hash, again); /* salted */
    assert_rc(crypto_password_verify(str_of(hash), odd), RC_OK);
    assert_rc(crypto_password_verify(str_of(hash), str_head(odd, 4)), RC_DENIED);
    assert_rc(crypto_password_verify(str_of(hash), (struct str){0}), RC_DENIED);
}

static void what_is_not_a_hash(void **state)
{
    char long_text[200];
    memset(long_text, 'a', sizeof long_text);
    memcpy(long_text, "$argon2id$", 10);
    assert_rc(crypto_password_verify(STR(""), STR("x")), RC_CORRUPT);
    assert_rc(crypto_password_verify(STR("$1$abc$def"), STR("x")), RC_CORRUPT);
    assert_rc(crypto_password_verify(str_from(long_text, sizeof long_text), STR("x")), RC_CORRUPT);
}

static void nobody_has_the_decoy(void **state)
{
    char decoy[CRYPTO_PASSWORD_MAX];
    crypto_password_decoy(2, 16384, decoy);
    assert_non_null(strstr(decoy, "$m=16,t=2,p=1$"));
    assert_rc(crypto_password_verify(str_of(decoy), STR("")), RC_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hash_knows_its_password),
        cmocka_unit_test(what_is_not_a_hash),
        cmocka_unit_test(nobody_has_the_decoy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
