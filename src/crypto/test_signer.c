#include "crypto/crypto.h"

#include "base/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void hex(const unsigned char *p, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + i * 2, 3, "%02x", p[i]);
}

static void digests_are_right(void **state)
{
    unsigned char d[CRYPTO_SHA256];
    char text[65];
    crypto_sha256(STR("abc"), d);
    hex(d, sizeof d, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    /* RFC 4231, test case 2 */
    crypto_hmac_sha256(STR("Jefe"), STR("what do ya want for nothing?"), d);
    hex(d, sizeof d, text);
    assert_string_equal(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_true(crypto_is_equal(STR("secret"), STR("secret")));
    assert_false(crypto_is_equal(STR("secret"), STR("secreT")));
    assert_false(crypto_is_equal(STR("secret"), STR("secre")));
    char wiped[4] = "abc";
    crypto_wipe(wiped, sizeof wiped);
    assert_memory_equal(wiped, "\0\0\0", 4);
}

/* --- the signer */

struct server {
    pthread_t thread;
    struct crypto_signer *signer;
    int fd, client;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    assert_rc(crypto_signer_serve(s->signer, s->fd), RC_OK);
    return NULL;
}

static void server_start(struct server *s)
{
    struct buf cert, key;
    int fds[2];
    buf_init(&cert, 8192);
    buf_init(&key, 8192);
    const struct str names[] = {STR("mail.example.test"), STR("smtp.example.test")};
    assert_rc(crypto_selfsign(names, 2, 30, &cert, &key), RC_OK);
    assert_rc(crypto_signer_new(buf_str(&key), &s->signer), RC_OK);
    crypto_wipe(key.mem, key.size);
    buf_fini(&key);
    buf_fini(&cert);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    s->fd = fds[0];
    s->client = fds[1];
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->fd);
    crypto_signer_free(&s->signer);
}

static void *ask_often(void *arg)
{
    for (int i = 0; i < 50; i++) {
        unsigned char out[256];
        size_t n = sizeof out;
        assert_rc(crypto_signer_client_sign(arg, 0, "ecdsa",
                                            STR("0123456789abcdef0123456789abcdef"), out, &n),
                  RC_OK);
        assert_int_equal(out[0], 0x30); /* a DER sequence of two numbers */
        assert_in_range(n, 60, 80);
    }
    return NULL;
}

static void many_threads_get_signatures(void **state)
{
    struct server s;
    pthread_t threads[4];
    server_start(&s);
    struct crypto_signer_client *signer = crypto_signer_client_new(s.client, 5000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, signer), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    crypto_signer_client_free(&signer);
    server_end(&s);
}

static void bad_requests_are_refused(void **state)
{
    struct server s;
    server_start(&s);
    static const struct {
        const char *bytes;
        size_t n;
    } raw[] = {
        {"", 1},                                             /* a version that is none */
        {"\1\0\0\0", 4},                                     /* cut in the id */
        {"\1\0\0\0\7\1\0\5ecdsa01234567890123456789", 33},   /* a key that is not there */
        {"\1\0\0\0\7\0\0\377ecdsa", 13},                     /* a length beyond the end */
        {"\1\0\0\0\7\0\0\5ecdsa0123", 17},                   /* too short for a digest */
        {"\1\0\0\0\7\0\0\7rsa-pss01234567890123456789", 35}, /* not this key's */
        {"\2\0\0\0\7\0\0\5ecdsa01234567890123456789", 33},
    };
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++) {
        char answer[256];
        assert_int_equal(send(s.client, raw[i].bytes, raw[i].n, 0), raw[i].n);
        assert_int_equal(recv(s.client, answer, sizeof answer, 0), 6); /* nothing follows */
        assert_int_equal(answer[5], 1);
    }
    char large[8192] = {1}, answer[256];
    assert_int_equal(send(s.client, large, sizeof large, 0), sizeof large);
    assert_int_equal(recv(s.client, answer, sizeof answer, 0), 6);
    struct crypto_signer_client *signer = crypto_signer_client_new(s.client, 5000);
    unsigned char out[256];
    size_t n = sizeof out;
    assert_rc(crypto_signer_client_sign(signer, 0, "decrypt", STR("01234567890123456789"), out, &n),
              RC_DENIED);
    assert_rc(crypto_signer_client_sign(signer, 300, "ecdsa", STR("01234567890123456789"), out, &n),
              RC_LIMIT);
    n = sizeof out;
    assert_rc(crypto_signer_client_sign(signer, 0, "ecdsa", STR("01234567890123456789"), out, &n),
              RC_OK);
    crypto_signer_client_free(&signer);
    server_end(&s);
}

static void a_silent_signer_is_given_up(void **state)
{
    int fds[2];
    unsigned char out[256];
    size_t n = sizeof out;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    struct crypto_signer_client *signer = crypto_signer_client_new(fds[1], 30);
    assert_rc(crypto_signer_client_sign(signer, 0, "ecdsa", STR("01234567890123456789"), out, &n),
              RC_TEMP);
    /* The late answer to the first question is not taken for one to the second. */
    unsigned char asked[256];
    assert_true(recv(fds[0], asked, sizeof asked, 0) > 5);
    asked[5] = 0; /* the same id, signed */
    assert_int_equal(send(fds[0], asked, 12, 0), 12);
    assert_rc(crypto_signer_client_sign(signer, 0, "ecdsa", STR("01234567890123456789"), out, &n),
              RC_TEMP);
    close(fds[0]);
    assert_rc(crypto_signer_client_sign(signer, 0, "ecdsa", STR("01234567890123456789"), out, &n),
              RC_TEMP);
    crypto_signer_client_free(&signer);
}

static void bad_names_and_keys_are_refused(void **state)
{
    struct buf cert, key, small;
    const struct str bad[] = {STR("a.test,DNS:b.test")}, empty[] = {STR("")},
                     good[] = {STR("a.test")};
    buf_init(&cert, 8192);
    buf_init(&key, 8192);
    buf_init(&small, 100);
    assert_rc(crypto_selfsign(bad, 1, 30, &cert, &key), RC_SYNTAX);
    assert_rc(crypto_selfsign(empty, 1, 30, &cert, &key), RC_SYNTAX);
    assert_rc(crypto_selfsign(good, 0, 30, &cert, &key), RC_SYNTAX);
    assert_rc(crypto_selfsign(good, 1, 30, &cert, &small), RC_LIMIT);
    assert_int_equal(buf_len(&small), 0);
    buf_fini(&cert);
    struct crypto_signer *signer;
    assert_rc(crypto_signer_new(STR("no key"), &signer), RC_SYNTAX);
    assert_null(signer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_right),
        cmocka_unit_test(many_threads_get_signatures),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(a_silent_signer_is_given_up),
        cmocka_unit_test(bad_names_and_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
