/* The signer's protocol, both sides. One message asks, one answers, on a SOCK_SEQPACKET socket:
 *
 *   request   version 1, id 4, key 1, algorithm (length 2, bytes), what is to be signed
 *             key 0: the signer's own, of the certificate. key 1: it comes with the request,
 *             sealed, before the digest (sealed.c); or, for "words", words come so and are the
 *             answer. A signer has one of the two.
 *   answer    version 1, id 4, status 1 (0 signed, 1 refused), the signature
 *
 * The id lets an asker who has given up on an answer know it for an old one when it comes; it
 * starts anywhere, because the socket may outlive either side. */
#include "crypto/crypto_int.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 1, MESSAGE = 4096, SIGNED = 0, REFUSED = 1, KEY_OWN = 0, KEY_SEALED = 1 };

/* --- the signer */

struct crypto_signer {
    struct key *key; /* one of the two; the other is NULL */
    struct vault *vault;
};

enum rc crypto_signer_new(struct str key_pem, struct crypto_signer **out)
{
    struct key *key;
    *out = NULL;
    TRY(key_new(key_pem, &key));
    *out = mem_zero(sizeof **out);
    (*out)->key = key;
    return RC_OK;
}

struct crypto_signer *crypto_signer_new_sealed(const unsigned char secret[CRYPTO_SEAL_KEY])
{
    struct crypto_signer *signer = mem_zero(sizeof *signer);
    signer->vault = vault_new(secret);
    return signer;
}

void crypto_signer_free(struct crypto_signer **signer)
{
    if (!*signer)
        return;
    key_free(&(*signer)->key);
    vault_free(&(*signer)->vault);
    free(*signer);
    *signer = NULL;
}

bool crypto_signer_fits(const struct crypto_signer *signer, struct str chain_pem)
{
    return signer->key && key_fits(signer->key, chain_pem);
}

/* The length of the answer; a request too short to hold an id gets id 0. */
static size_t answer(struct crypto_signer *signer, struct str request, unsigned char out[MESSAGE])
{
    enum { HEAD = 6 };
    struct unpacker r;
    struct packer w;
    size_t n = MESSAGE - HEAD;
    unpack_init(&r, request);
    uint8_t version = unpack_u8(&r);
    uint32_t id = unpack_u32(&r);
    uint8_t key = unpack_u8(&r);
    struct str algorithm = unpack_str16(&r);
    struct str tbs = unpack_bytes(&r, r.n);
    bool is_good = unpack_done(&r) == RC_OK && version == VERSION;
    if (is_good && key == KEY_OWN && signer->key)
        is_good = key_sign(signer->key, algorithm, tbs, out + HEAD, &n) == RC_OK;
    else if (is_good && key == KEY_SEALED && signer->vault)
        is_good = vault_sign(signer->vault, algorithm, tbs, out + HEAD, &n) == RC_OK;
    else
        is_good = false;
    pack_init(&w, out, HEAD);
    pack_u8(&w, VERSION);
    pack_u32(&w, id);
    pack_u8(&w, is_good ? SIGNED : REFUSED);
    return HEAD + (is_good ? n : 0);
}

enum rc crypto_signer_serve(struct crypto_signer *signer, int fd)
{
    char request[MESSAGE];
    unsigned char out[MESSAGE];
    for (;;) {
        /* MSG_TRUNC tells the real length: what is too long is not read as something shorter. */
        ssize_t got = recv(fd, request, sizeof request, MSG_TRUNC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 || errno == ECONNRESET ? RC_OK : RC_TEMP;
        if ((size_t)got > sizeof request)
            got = 0;
        size_t size = answer(signer, (struct str){request, (size_t)got}, out);
        ssize_t sent = send(fd, out, size, MSG_NOSIGNAL);
        int error = errno;
        crypto_wipe(out, size);
        errno = error;
        if (sent < 0 && errno != EINTR)
            return errno == EPIPE || errno == ECONNRESET ? RC_OK : RC_TEMP;
    }
}

/* --- who asks */

struct crypto_signer_client {
    pthread_mutex_t mutex; /* of one question and its answer */
    int fd;
    uint32_t last_id;
    uint64_t timeout_ms;
};

struct crypto_signer_client *crypto_signer_client_new(int fd, uint64_t timeout_ms)
{
    struct crypto_signer_client *s = mem_zero(sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
    s->fd = fd;
    s->timeout_ms = timeout_ms;
    s->last_id = (uint32_t)random_u64();
    return s;
}

void crypto_signer_client_free(struct crypto_signer_client **client)
{
    if (!*client)
        return;
    close((*client)->fd);
    pthread_mutex_destroy(&(*client)->mutex);
    free(*client);
    *client = NULL;
}

/* Waits for the answer with this id until `end`. */
static enum rc take_answer(struct crypto_signer_client *s, uint32_t id, uint64_t end, char *message,
                           struct str *out)
{
    for (;;) {
        uint64_t now = clock_mono(&clock_system);
        struct pollfd p = {s->fd, POLLIN, 0};
        int ready = now < end ? poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1) : 0;
        if (ready == 0)
            return RC_TEMP;
        ssize_t got = recv(s->fd, message, MESSAGE, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return RC_TEMP; /* the signer is gone; the supervisor brings another */
        struct unpacker r;
        unpack_init(&r, (struct str){message, (size_t)got});
        uint8_t version = unpack_u8(&r);
        uint32_t its_id = unpack_u32(&r);
        uint8_t status = unpack_u8(&r);
        if (unpack_done(&r) != RC_OK || version != VERSION || its_id != id)
            continue; /* to a question that was given up */
        *out = unpack_bytes(&r, r.n);
        return status == SIGNED ? RC_OK : RC_DENIED;
    }
}

static struct timespec wall_after(uint64_t ms)
{
    uint64_t at = clock_wall(&clock_system) + ms * NS_PER_MS;
    return (struct timespec){(time_t)(at / NS_PER_SEC), (long)(at % NS_PER_SEC)};
}

enum rc crypto_signer_client_sign(struct crypto_signer_client *s, unsigned key,
                                  const char *algorithm, struct str tbs, unsigned char *out,
                                  size_t *n)
{
    char message[MESSAGE];
    struct packer w;
    struct str signature = {0};
    uint64_t end = clock_mono(&clock_system) + s->timeout_ms * NS_PER_MS;
    const struct timespec turn = wall_after(s->timeout_ms);
    if (pthread_mutex_timedlock(&s->mutex, &turn) != 0)
        return RC_TEMP;
    uint32_t id = ++s->last_id;
    pack_init(&w, message, sizeof message);
    pack_u8(&w, VERSION);
    pack_u32(&w, id);
    pack_u8(&w, (uint8_t)key);
    pack_str16(&w, str_of(algorithm));
    pack_bytes(&w, tbs);
    struct str request = pack_done(&w);
    enum rc rc = str_is_null(request) || key > UINT8_MAX ? RC_LIMIT : RC_OK;
    if (rc == RC_OK && send(s->fd, request.p, request.n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        rc = RC_TEMP;
    if (rc == RC_OK)
        rc = take_answer(s, id, end, message, &signature);
    pthread_mutex_unlock(&s->mutex);
    if (rc == RC_OK && signature.n > *n)
        rc = RC_LIMIT;
    if (rc == RC_OK) {
        memcpy(out, signature.p, signature.n);
        *n = signature.n;
    }
    crypto_wipe(message, sizeof message);
    return rc;
}

enum rc crypto_sealed_sign(struct crypto_signer_client *client, enum crypto_algorithm algorithm,
                           struct str sealed, const unsigned char digest[CRYPTO_SHA256],
                           unsigned char *out, size_t *n)
{
    unsigned char request[CRYPTO_SEALED_MAX + CRYPTO_SHA256 + 2];
    struct packer w;
    pack_init(&w, request, sizeof request);
    pack_str16(&w, sealed);
    pack_bytes(&w, str_from(digest, CRYPTO_SHA256));
    struct str tbs = pack_done(&w);
    const char *name = crypto_algorithm_name(algorithm);
    if (str_is_null(tbs) || !name)
        return RC_LIMIT;
    return crypto_signer_client_sign(client, KEY_SEALED, name, tbs, out, n);
}

enum rc crypto_words_open(struct crypto_signer_client *client, struct str sealed,
                          unsigned char *out, size_t *n)
{
    unsigned char request[CRYPTO_SEALED_MAX + 2];
    struct packer w;
    pack_init(&w, request, sizeof request);
    pack_str16(&w, sealed);
    struct str tbs = pack_done(&w);
    if (str_is_null(tbs))
        return RC_LIMIT;
    return crypto_signer_client_sign(client, KEY_SEALED, VAULT_WORDS, tbs, out, n);
}
