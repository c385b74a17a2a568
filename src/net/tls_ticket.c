/* Session tickets: sealed with AES-256-CBC and HMAC-SHA-256 as RFC 5077 (4) recommends, which is
 * the form that OpenSSL asks of a server with keys of its own. A ticket sealed with an older key is
 * replaced. */
#include "net/tls_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 3, LIFE_S = 3600, NAME = 16, IV = 16 };

struct ticket_key {
    unsigned char name[NAME], aes[32], hmac[32];
};

struct tls_tickets {
    pthread_mutex_t mutex;
    const struct clock *clock;
    EVP_CIPHER *cipher;
    uint64_t changed_at;
    size_t n;
    struct ticket_key keys[KEYS]; /* newest first */
};

/* The mutex is held, or nobody else knows of it. */
static void change_keys(struct tls_tickets *t, uint64_t now)
{
    if (t->n && now < t->changed_at + LIFE_S * NS_PER_SEC)
        return;
    memmove(t->keys + 1, t->keys, (KEYS - 1) * sizeof *t->keys);
    random_bytes(t->keys, sizeof *t->keys);
    if (t->n < KEYS)
        t->n++;
    t->changed_at = now;
}

/* A copy of the key to seal with, or of the one with this name: its age in changes, or -1. */
static int find_key(struct tls_tickets *t, const unsigned char *name, struct ticket_key *out)
{
    int found = -1;
    pthread_mutex_lock(&t->mutex);
    change_keys(t, clock_mono(t->clock));
    for (size_t i = 0; i < t->n && found < 0; i++) {
        if (!name || memcmp(name, t->keys[i].name, NAME) == 0) {
            *out = t->keys[i];
            found = (int)i;
        }
    }
    pthread_mutex_unlock(&t->mutex);
    return found;
}

static bool set_hmac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof key->hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* OpenSSL's answers: -1 failed, 0 a full handshake, 1 good, 2 good but make a new ticket. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int is_sealing)
{
    struct tls_tickets *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    int age = find_key(t, is_sealing ? NULL : name, &key), answer = -1;
    if (age < 0)
        return 0;
    if (is_sealing) {
        memcpy(name, key.name, NAME);
        random_bytes(iv, IV);
        if (EVP_EncryptInit_ex(cipher, t->cipher, NULL, key.aes, iv) == 1 && set_hmac(mac, &key))
            answer = 1;
    } else if (EVP_DecryptInit_ex(cipher, t->cipher, NULL, key.aes, iv) == 1 &&
               set_hmac(mac, &key)) {
        answer = age == 0 ? 1 : 2;
    }
    explicit_bzero(&key, sizeof key);
    return answer;
}

struct tls_tickets *tls_tickets_new(const struct clock *clock)
{
    struct tls_tickets *t = mem_zero(sizeof *t);
    pthread_mutex_init(&t->mutex, NULL);
    t->clock = clock;
    t->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (!t->cipher)
        abort();
    change_keys(t, clock_mono(clock));
    return t;
}

void tls_tickets_free(struct tls_tickets **tickets)
{
    struct tls_tickets *t = *tickets;
    if (!t)
        return;
    EVP_CIPHER_free(t->cipher);
    explicit_bzero(t->keys, sizeof t->keys);
    pthread_mutex_destroy(&t->mutex);
    free(t);
    *tickets = NULL;
}

bool tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx)
{
    SSL_CTX_set_timeout(ctx, LIFE_S * (KEYS - 1));
    return SSL_CTX_set_app_data(ctx, tickets) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1;
}
