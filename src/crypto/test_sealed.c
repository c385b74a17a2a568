/* Sealed keys: only the signer that they were sealed for signs with them. */
#include "crypto/crypto_int.h"

#include "base/bytes.h"
#include "base/test.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct made {
    struct buf public_key, sealed;
};

static void make(struct made *m, enum crypto_algorithm algorithm,
                 const unsigned char public_half[CRYPTO_SEAL_KEY])
{
    buf_init(&m->public_key, 4096);
    buf_init(&m->sealed, 4096);
    assert_rc(crypto_sealed_make(algorithm, 2048, public_half, &m->public_key, &m->sealed), RC_OK);
    assert_in_range(buf_len(&m->sealed), 1, CRYPTO_SEALED_MAX);
}

static void made_fini(struct made *m)
{
    buf_fini(&m->public_key);
    buf_fini(&m->sealed);
}

static void *serve(void *arg)
{
    struct crypto_signer *signer = ((void **)arg)[0];
    int *fd = ((void **)arg)[1];
    assert_rc(crypto_signer_serve(signer, *fd), RC_OK);
    return NULL;
}

static void sealed_keys_sign(void **state)
{
    unsigned char public_half[CRYPTO_SEAL_KEY], secret[CRYPTO_SEAL_KEY], again[CRYPTO_SEAL_KEY];
    unsigned char other_half[CRYPTO_SEAL_KEY], other[CRYPTO_SEAL_KEY];
    unsigned char digest[CRYPTO_SHA256], out[CRYPTO_SIGNATURE_MAX];
    int fds[2];
    pthread_t thread;
    assert_rc(crypto_seal_pair(public_half, secret), RC_OK);
    assert_rc(crypto_seal_pair(other_half, other), RC_OK);
    crypto_seal_public(secret, again);
    assert_memory_equal(again, public_half, sizeof again);
    crypto_sha256(STR("a message"), digest);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    struct crypto_signer *signer = crypto_signer_new_sealed(secret);
    void *arg[2] = {signer, &fds[0]};
    assert_int_equal(pthread_create(&thread, NULL, serve, arg), 0);
    struct crypto_signer_client *client = crypto_signer_client_new(fds[1], 60000);
    for (enum crypto_algorithm a = CRYPTO_RSA_SHA256; a <= CRYPTO_ED25519; a++) {
        struct made m, foreign;
        make(&m, a, public_half);
        make(&foreign, a, other_half);
        for (int i = 0; i < 3; i++) {
            size_t n = sizeof out;
            assert_rc(crypto_sealed_sign(client, a, buf_str(&m.sealed), digest, out, &n), RC_OK);
            assert_rc(crypto_signature_verify(a, buf_str(&m.public_key), digest, str_from(out, n)),
                      RC_OK);
            out[0] ^= 1;
            assert_rc(crypto_signature_verify(a, buf_str(&m.public_key), digest, str_from(out, n)),
                      RC_DENIED);
        }
        size_t n = sizeof out;
        assert_rc(crypto_sealed_sign(client, a, buf_str(&foreign.sealed), digest, out, &n),
                  RC_DENIED);
        /* An algorithm that is not the key's. */
        enum crypto_algorithm wrong = a == CRYPTO_ED25519 ? CRYPTO_RSA_SHA256 : CRYPTO_ED25519;
        assert_rc(crypto_sealed_sign(client, wrong, buf_str(&m.sealed), digest, out, &n),
                  RC_DENIED);
        /* Not even a bit of it may be another. */
        m.sealed.mem[m.sealed.from + 60] ^= 1;
        assert_rc(crypto_sealed_sign(client, a, buf_str(&m.sealed), digest, out, &n), RC_DENIED);
        made_fini(&m);
        made_fini(&foreign);
    }
    /* It has no key of a certificate. */
    size_t n = sizeof out;
    assert_rc(crypto_signer_client_sign(client, 0, "ecdsa", STR("01234567890123456789"), out, &n),
              RC_DENIED);
    crypto_signer_client_free(&client);
    pthread_join(thread, NULL);
    close(fds[0]);
    crypto_signer_free(&signer);
}

/* Who can seal can seal anything. */
static void sealed_words_are_opened_and_keys_are_not(void **state)
{
    unsigned char public_half[CRYPTO_SEAL_KEY], secret[CRYPTO_SEAL_KEY], out[CRYPTO_WORDS_MAX];
    unsigned char digest[CRYPTO_SHA256] = {0};
    char large[CRYPTO_WORDS_MAX + 1] = "";
    struct buf sealed = {.cap = 4096};
    struct made m;
    int fds[2];
    pthread_t thread;
    assert_rc(crypto_seal_pair(public_half, secret), RC_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    struct crypto_signer *signer = crypto_signer_new_sealed(secret);
    void *arg[2] = {signer, &fds[0]};
    assert_int_equal(pthread_create(&thread, NULL, serve, arg), 0);
    struct crypto_signer_client *client = crypto_signer_client_new(fds[1], 60000);
    assert_rc(crypto_words_seal(STR("a word"), public_half, &sealed), RC_OK);
    size_t n = sizeof out;
    assert_rc(crypto_words_open(client, buf_str(&sealed), out, &n), RC_OK);
    assert_true(str_eq(str_from(out, n), STR("a word")));
    /* No key is made of words, and no words of a key. */
    n = sizeof out;
    assert_rc(crypto_sealed_sign(client, CRYPTO_ED25519, buf_str(&sealed), digest, out, &n),
              RC_DENIED);
    make(&m, CRYPTO_ED25519, public_half);
    n = sizeof out;
    assert_rc(crypto_words_open(client, buf_str(&m.sealed), out, &n), RC_DENIED);
    made_fini(&m);
    n = 3;
    assert_rc(crypto_words_open(client, buf_str(&sealed), out, &n), RC_LIMIT);
    sealed.mem[sealed.from + 50] ^= 1;
    n = sizeof out;
    assert_rc(crypto_words_open(client, buf_str(&sealed), out, &n), RC_DENIED);
    assert_rc(crypto_words_open(client, STR("short"), out, &n), RC_DENIED);
    buf_clear(&sealed);
    assert_rc(crypto_words_seal(str_from(large, CRYPTO_WORDS_MAX), public_half, &sealed), RC_OK);
    n = sizeof out;
    assert_rc(crypto_words_open(client, buf_str(&sealed), out, &n), RC_OK);
    assert_int_equal(n, CRYPTO_WORDS_MAX);
    assert_rc(crypto_words_seal(str_from(large, sizeof large), public_half, &sealed), RC_LIMIT);
    buf_fini(&sealed);
    crypto_signer_client_free(&client);
    pthread_join(thread, NULL);
    crypto_signer_free(&signer);
    close(fds[0]);
}

static void what_is_opened_may_be_no_key(void **state)
{
    unsigned char public_half[CRYPTO_SEAL_KEY], secret[CRYPTO_SEAL_KEY];
    assert_rc(crypto_seal_pair(public_half, secret), RC_OK);
    const struct str plain[] = {STR(""),
                                STR("\1"),
                                STR("\1\1"),
                                STR("\1\1\x30\x82\xff\xff"),
                                STR("\1\2short"),
                                STR("\1\3"),
                                STR("\2\2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                                STR("\1\1\x30\x00")};
    struct vault *vault = vault_new(secret);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        struct buf sealed, request;
        char length[2];
        unsigned char out[CRYPTO_SIGNATURE_MAX];
        size_t n = sizeof out;
        buf_init(&sealed, 4096);
        buf_init(&request, 4096);
        assert_rc(seal(plain[i], public_half, &sealed), RC_OK);
        put_u16(length, (uint16_t)buf_len(&sealed));
        buf_put(&request, str_from(length, 2));
        buf_put(&request, buf_str(&sealed));
        buf_put(&request, STR("0123456789abcdef0123456789abcdef"));
        assert_rc(vault_sign(vault, STR("rsa-sha256"), buf_str(&request), out, &n), RC_DENIED);
        assert_rc(vault_sign(vault, STR("rsa-sha256"), str_head(buf_str(&request), 20), out, &n),
                  RC_SYNTAX);
        buf_fini(&sealed);
        buf_fini(&request);
    }
    vault_free(&vault);
}

static void keys_that_cannot_be_made(void **state)
{
    unsigned char public_half[CRYPTO_SEAL_KEY], secret[CRYPTO_SEAL_KEY];
    struct buf public_key, sealed;
    assert_rc(crypto_seal_pair(public_half, secret), RC_OK);
    buf_init(&public_key, 4096);
    buf_init(&sealed, 100); /* an RSA key does not fit */
    assert_rc(crypto_sealed_make(CRYPTO_RSA_SHA256, 2048, public_half, &public_key, &sealed),
              RC_LIMIT);
    assert_int_equal(buf_len(&public_key), 0);
    assert_rc(crypto_sealed_make((enum crypto_algorithm)9, 0, public_half, &public_key, &sealed),
              RC_SYNTAX);
    buf_fini(&public_key);
    buf_fini(&sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sealed_keys_sign),
        cmocka_unit_test(sealed_words_are_opened_and_keys_are_not),
        cmocka_unit_test(what_is_opened_may_be_no_key),
        cmocka_unit_test(keys_that_cannot_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
