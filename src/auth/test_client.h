/* A SCRAM client for tests: it computes what RFC 5802 section 3 says, with nothing of scram.c. */
#ifndef AUTH_TEST_CLIENT_H
#define AUTH_TEST_CLIENT_H

#include "auth/login_int.h"

#include "base/base64.h"
#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>

struct test_client {
    enum crypto_hash hash;
    char bare[400], server_first[600], nonce[400], salt_text[100];
    unsigned long iterations;
    unsigned char client_key[CRYPTO_HASH_MAX], server_signature[CRYPTO_HASH_MAX];
};

static inline void test_encode(struct str s, struct buf *out)
{
    buf_clear(out);
    assert_rc(base64_encode(out, s), RC_OK);
}

/* The first line, in base 64. */
static inline void test_client_first(struct test_client *c, enum crypto_hash hash, const char *name,
                                     struct buf *out)
{
    char message[450];
    c->hash = hash;
    snprintf(c->bare, sizeof c->bare, "n=%s,r=clientnonce", name);
    int n = snprintf(message, sizeof message, "n,,%s", c->bare);
    test_encode(str_from(message, (size_t)n), out);
}

static inline void test_client_take_first(struct test_client *c, struct str line)
{
    struct buf text = {.cap = sizeof c->server_first - 1};
    assert_rc(base64_decode(&text, line), RC_OK);
    snprintf(c->server_first, sizeof c->server_first, "%.*s", STR_ARG(buf_str(&text)));
    buf_fini(&text);
    assert_int_equal(sscanf(c->server_first, "r=%399[^,],s=%99[^,],i=%lu", c->nonce, c->salt_text,
                            &c->iterations),
                     3);
}

/* The line that answers the server's first one. */
static inline void test_client_final(struct test_client *c, struct str password, struct buf *out)
{
    unsigned char salted[CRYPTO_HASH_MAX], stored[CRYPTO_HASH_MAX], signature[CRYPTO_HASH_MAX],
        server[CRYPTO_HASH_MAX], proof[CRYPTO_HASH_MAX];
    struct buf message = {.cap = 2048}, salt = {.cap = 64}, final = {.cap = 1024},
               text = {.cap = 64};
    size_t n = crypto_hash_size(c->hash);
    assert_rc(base64_decode(&salt, str_of(c->salt_text)), RC_OK);
    buf_putf(&final, "c=biws,r=%s", c->nonce);
    buf_putf(&message, "%s,%s,%.*s", c->bare, c->server_first, STR_ARG(buf_str(&final)));
    assert_rc(crypto_pbkdf2(c->hash, password, buf_str(&salt), (uint32_t)c->iterations, salted),
              RC_OK);
    assert_rc(crypto_hmac(c->hash, str_from(salted, n), STR("Client Key"), c->client_key), RC_OK);
    assert_rc(crypto_digest(c->hash, str_from(c->client_key, n), stored), RC_OK);
    assert_rc(crypto_hmac(c->hash, str_from(stored, n), buf_str(&message), signature), RC_OK);
    assert_rc(crypto_hmac(c->hash, str_from(salted, n), STR("Server Key"), server), RC_OK);
    assert_rc(crypto_hmac(c->hash, str_from(server, n), buf_str(&message), c->server_signature),
              RC_OK);
    for (size_t i = 0; i < n; i++)
        proof[i] = c->client_key[i] ^ signature[i];
    test_encode(str_from(proof, n), &text);
    buf_putf(&final, ",p=%.*s", STR_ARG(buf_str(&text)));
    test_encode(buf_str(&final), out);
    buf_fini(&message);
    buf_fini(&salt);
    buf_fini(&final);
    buf_fini(&text);
}

/* Whether the server's last line proves that it has the keys. */
static inline bool test_client_knows(const struct test_client *c, struct str line)
{
    struct buf text = {.cap = 100}, expected = {.cap = 64};
    char proof[100];
    assert_rc(base64_decode(&text, line), RC_OK);
    test_encode(str_from(c->server_signature, crypto_hash_size(c->hash)), &expected);
    snprintf(proof, sizeof proof, "v=%.*s", STR_ARG(buf_str(&expected)));
    bool knows = str_eq(buf_str(&text), str_of(proof));
    buf_fini(&text);
    buf_fini(&expected);
    return knows;
}

#endif
