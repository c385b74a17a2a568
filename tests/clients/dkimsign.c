/* Signs files with new keys, for programs that verify them (test_dkim.py).
 *
 *   dkimsign OUT FILE...
 *
 * Prints "SELECTOR RECORD" for each key; writes OUT/N, the Nth file with its signatures in front.
 */
#include "base/list.h"
#include "mailauth/mailauth.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEYS = 2, PIECE = 1000 };

static const struct {
    enum crypto_algorithm algorithm;
    const char *selector;
} kinds[KEYS] = {{CRYPTO_RSA_SHA256, "r"}, {CRYPTO_ED25519, "e"}};

struct home {
    struct mailauth_source source;
    struct mailauth_keys keys;
    struct mailauth_hand hand;
    struct crypto_signer_client *client;
    struct buf sealed[KEYS];
    FILE *in;
    char piece[PIECE];
    int signer_fd;
    struct crypto_signer *signer;
};

static void must(bool is_good, const char *what)
{
    if (is_good)
        return;
    perror(what);
    exit(1);
}

static enum rc next_piece(struct mailauth_source *source, struct str *out)
{
    struct home *h = CONTAINER(source, struct home, source);
    size_t n = fread(h->piece, 1, sizeof h->piece, h->in);
    *out = str_from(h->piece, n);
    return n ? RC_OK : RC_EOF;
}

static enum rc find(struct mailauth_keys *keys, struct str domain, struct arena *arena,
                    struct mailauth_key *out, size_t *out_n)
{
    struct home *h = CONTAINER(keys, struct home, keys);
    for (size_t i = 0; i < KEYS; i++)
        out[i] = (struct mailauth_key){.domain = arena_dup(arena, domain),
                                       .selector = str_of(kinds[i].selector),
                                       .algorithm = kinds[i].algorithm,
                                       .sealed = buf_str(&h->sealed[i])};
    *out_n = KEYS;
    return RC_OK;
}

static enum rc sign(struct mailauth_hand *hand, const struct mailauth_key *key,
                    const unsigned char digest[CRYPTO_SHA256], unsigned char *out, size_t *n)
{
    struct home *h = CONTAINER(hand, struct home, hand);
    return crypto_sealed_sign(h->client, key->algorithm, key->sealed, digest, out, n);
}

static void *serve(void *arg)
{
    struct home *h = arg;
    must(crypto_signer_serve(h->signer, h->signer_fd) == RC_OK, "signer");
    return NULL;
}

static void make_keys(struct home *h)
{
    unsigned char public_half[CRYPTO_SEAL_KEY], secret[CRYPTO_SEAL_KEY];
    struct buf record;
    must(crypto_seal_pair(public_half, secret) == RC_OK, "seal");
    h->signer = crypto_signer_new_sealed(secret);
    for (size_t i = 0; i < KEYS; i++) {
        struct buf public_key;
        buf_init(&public_key, 4096);
        buf_init(&record, MAILAUTH_RECORD_MAX);
        buf_init(&h->sealed[i], CRYPTO_SEALED_MAX);
        must(crypto_sealed_make(kinds[i].algorithm, 2048, public_half, &public_key,
                                &h->sealed[i]) == RC_OK,
             "key");
        must(mailauth_record_write(kinds[i].algorithm, buf_str(&public_key), &record) == RC_OK,
             "record");
        printf("%s %.*s\n", kinds[i].selector, STR_ARG(buf_str(&record)));
        buf_fini(&public_key);
        buf_fini(&record);
    }
}

static void sign_file(struct home *h, const char *path, const char *to)
{
    struct buf fields;
    const struct mailauth_signing signing = {&h->source, &h->keys, &h->hand, 1700000000};
    buf_init(&fields, 64 << 10);
    h->in = fopen(path, "rb");
    must(h->in, path);
    enum rc rc = mailauth_sign(&signing, &fields);
    if (rc != RC_OK)
        fprintf(stderr, "%s: %s\n", path, rc_name(rc));
    rewind(h->in);
    FILE *out = fopen(to, "wb");
    must(out, to);
    fwrite(buf_str(&fields).p, 1, buf_len(&fields), out);
    for (size_t n; (n = fread(h->piece, 1, sizeof h->piece, h->in)) > 0;)
        fwrite(h->piece, 1, n, out);
    must(fclose(out) == 0, to);
    fclose(h->in);
    buf_fini(&fields);
}

int main(int argc, char **argv)
{
    struct home h = {{next_piece}, {find}, {sign}, NULL, {{0}}, NULL, {0}, -1, NULL};
    pthread_t thread;
    int fds[2];
    make_keys(&h);
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0, "sockets");
    h.signer_fd = fds[0];
    h.client = crypto_signer_client_new(fds[1], 60000);
    must(pthread_create(&thread, NULL, serve, &h) == 0, "thread");
    for (int i = 2; i < argc; i++) {
        char to[4096];
        snprintf(to, sizeof to, "%s/%d", argv[1], i - 2);
        sign_file(&h, argv[i], to);
    }
    crypto_signer_client_free(&h.client);
    pthread_join(thread, NULL);
    close(fds[0]);
    crypto_signer_free(&h.signer);
    for (size_t i = 0; i < KEYS; i++)
        buf_fini(&h.sealed[i]);
    return 0;
}
