#include "crypto/crypto.h"

#include "base/test.h"

#include <stdio.h>

/* Of "pass word", made by libxcrypt's own crypt(3) and by Python's hashlib. */
#define SHA512_TEXT                                                                                \
    "$6$igyjO6qw6QFZULoQ$YuumPRU7rpSamIDsTmBjrdZrRqAN9HSd2X9UUcFv5Q6yC."                           \
    "AkgeHNbt/oY/MrjVMDBHbN9iX5mVxeIQNanMP5R."
#define SHA256_TEXT "$5$k0scGc2EmYM9HDi5$jdG8CbtTY7TGVI2W6esF5KhAgzwL7MDxkmwVqMbK6C/"
#define BLF_TAIL    "$04$abcdefghijklmnopqrstuuFcV8WPKEefLKdOWfX8pW1yTVya21P7a"
static const char *const hashes[] = {
    SHA512_TEXT,
    "{SHA512-CRYPT}" SHA512_TEXT,
    "{sha512-crypt}" SHA512_TEXT,
    "{CRYPT}" SHA512_TEXT,
    "$6$rounds=1000$abcdefgh$Hx0YTz9hilqdGZbJe5HWr87s9cbaclpT7Ck2IyJtbpcAVKBYewZH37Ph2D1p3uMNa4q3G"
    "pg6g3Ibs5ngCPYQ5.",
    "{SHA256-CRYPT}" SHA256_TEXT,
    "{BLF-CRYPT}$2b" BLF_TAIL,
    "{BLF-CRYPT}$2y" BLF_TAIL,
    "$2a" BLF_TAIL,
    "$y$j9T$UIwss3pNEiFXSFu/AkFwB/$pV6Grk8PAKmr3dJQOhCRkUtWpc/.dyTEmtopPgNs6A4",
    "$y$j75$2l18Zn4O7Y5FW2M.92LC/.$84qRslj6NskbX6pb0HS/XGA33locF1dBQWtVha6Vq02",
    "{MD5-CRYPT}$1$abcdefgh$yTpYrEJJOuAsO2Aee15/D1",
    "{SSHA}oewIFZdZvn9XmijiFt3PRIG2NplzYWx0c2FsdA==",
    "{ssha}oewIFZdZvn9XmijiFt3PRIG2NplzYWx0c2FsdA==",
    "{SSHA256}wyH/1oqd2vbZrmyr6jI5dCV1irjM4f1s0tIJ/3iUOhpzYWx0c2FsdA==",
    "{SSHA512}f+QAGtsGUWMIVTJY0sEDPxf1V9U5shGRjepmUvr77DmrZXh7jjnP4u+GqSr0gcq/I3pkgrvnfPuzCk98TqJN"
    "fHNhbHRzYWx0",
    "{PBKDF2}$1$salt$5000$e294a0dcbe6fd63fc6980dac37c10311a295e29d",
    "pbkdf2_sha256$1000$salt$Agd1uOGuSlWHYev2RFQv2S9MHkHg5LOpRt1YWETMenw=",
};

static void right_and_wrong(void **state)
{
    char kept[CRYPTO_FOREIGN_MAX], again[CRYPTO_FOREIGN_MAX], long_text[600];
    memset(long_text, 'a', sizeof long_text);
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        assert_rc(crypto_foreign_read(str_of(hashes[i]), kept), RC_OK);
        assert_true(crypto_is_foreign(str_of(kept)));
        assert_rc(crypto_password_verify(str_of(kept), STR("pass word")), RC_OK);
        assert_rc(crypto_password_verify(str_of(kept), STR("pass wor")), RC_DENIED);
        assert_rc(crypto_password_verify(str_of(kept), STR("pass word\0")), RC_DENIED);
        assert_rc(crypto_password_verify(str_of(kept), (struct str){0}), RC_DENIED);
        assert_rc(crypto_password_verify(str_of(kept), str_from(long_text, sizeof long_text)),
                  RC_DENIED);
        assert_rc(crypto_foreign_read(str_of(kept), again), RC_OK); /* what is kept is one, too */
        assert_string_equal(kept, again);
    }
}

static void argon_of_others(void **state)
{
    char ours[CRYPTO_PASSWORD_MAX], named[CRYPTO_FOREIGN_MAX], kept[CRYPTO_FOREIGN_MAX];
    assert_rc(crypto_password_hash(STR("x"), 1, 8192, ours), RC_OK);
    snprintf(named, sizeof named, "{ARGON2ID}%s", ours);
    assert_rc(crypto_foreign_read(str_of(named), kept), RC_OK);
    assert_string_equal(kept, ours);
    assert_false(crypto_is_foreign(str_of(kept)));
    assert_rc(crypto_password_verify(str_of(kept), STR("x")), RC_OK);
}

static void what_is_not_taken(void **state)
{
    static const struct {
        const char *text;
        enum rc rc;
    } cases[] = {
        {"", RC_SYNTAX},
        {"{}", RC_SYNTAX},
        {"{SSHA", RC_SYNTAX},
        {"x", RC_NOTFOUND},
        {"!" SHA512_TEXT, RC_NOTFOUND},
        {"*", RC_NOTFOUND},
        {"abQ9KY.KfrYrc", RC_NOTFOUND},        /* DES */
        {"{CRYPT}abQ9KY.KfrYrc", RC_NOTFOUND}, /* the same */
        {"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", RC_NOTFOUND},
        {"{PLAIN-MD5}5f4dcc3b5aa765d61d8327deb882cf99", RC_NOTFOUND},
        {"{SCRAM-SHA-256}4096,x,y,z", RC_NOTFOUND},
        {"$3$$8846f7eaee8fb117ad06bdd830b7586c", RC_NOTFOUND},
        {"$2x" BLF_TAIL, RC_NOTFOUND},
        {SHA512_TEXT "a", RC_SYNTAX},
        {"$6$igyjO6qw6QFZULoQ", RC_SYNTAX},
        {"$6$$x", RC_SYNTAX},
        {"$6$rounds=999999999$abcdefgh$Hx0YTz9hilqdGZbJe5HWr87s9cbaclpT7Ck2IyJtbpcAVKBYewZH37Ph2D1"
         "p3uMNa4q3Gpg6g3Ibs5ngCPYQ5.",
         RC_LIMIT},
        {"$6$rounds=-1$a$b", RC_SYNTAX},
        {"$1$rounds=5$a$b", RC_SYNTAX},
        {"$2b$31$abcdefghijklmnopqrstuuFcV8WPKEefLKdOWfX8pW1yTVya21P7a", RC_LIMIT},
        {"$2b$4$abcdefghijklmnopqrstuuFcV8WPKEefLKdOWfX8pW1yTVya21P7a", RC_SYNTAX},
        {"$y$jFT$8WFiu8dv4sMGqfWG/WNAU.$pV6Grk8PAKmr3dJQOhCRkUtWpc/.dyTEmtopPgNs6A4", RC_LIMIT},
        {"$y$j9Tzz$8WFiu8dv4sMGqfWG/WNAU.$pV6Grk8PAKmr3dJQOhCRkUtWpc/.dyTEmtopPgNs6A4", RC_LIMIT},
        {"{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", RC_SYNTAX}, /* no salt */
        {"{SSHA}not base 64", RC_SYNTAX},
        {"{PBKDF2}$1$salt$999999999$e294a0dcbe6fd63fc6980dac37c10311a295e29d", RC_LIMIT},
        {"{PBKDF2}$1$salt$5000$e294", RC_SYNTAX},
        {"{PBKDF2}$1$salt$0$e294a0dcbe6fd63fc6980dac37c10311a295e29d", RC_SYNTAX},
        {"{PBKDF2}$2$salt$5000$e294a0dcbe6fd63fc6980dac37c10311a295e29d", RC_NOTFOUND},
        {"pbkdf2_sha256$1000$salt$Agd1", RC_SYNTAX},
        {"$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHQ$aGFzaA", RC_LIMIT},
        {"$argon2id$v=19$m=65536,t=1000,p=1$c2FsdHNhbHQ$aGFzaA", RC_LIMIT},
        {"$argon2id$v=19$m=65536,t=3$c2FsdHNhbHQ$aGFzaA", RC_SYNTAX},
        {"$argon2i$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$aGFzaA", RC_NOTFOUND},
    };
    char kept[CRYPTO_FOREIGN_MAX], long_text[CRYPTO_FOREIGN_MAX + 8];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_rc(crypto_foreign_read(str_of(cases[i].text), kept), cases[i].rc);
    memset(long_text, 'A', sizeof long_text);
    memcpy(long_text, "{SSHA}", 6);
    assert_rc(crypto_foreign_read(str_from(long_text, sizeof long_text), kept), RC_SYNTAX);
    assert_rc(crypto_foreign_read(str_from(SHA512_TEXT, sizeof SHA512_TEXT), kept), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_and_wrong),
        cmocka_unit_test(argon_of_others),
        cmocka_unit_test(what_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
