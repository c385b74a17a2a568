/* Passwords: Argon2id through libsodium, in its own text form, which names the parameters; digests,
 * comparing, and sealed boxes. The only file that knows libsodium. */
#include "crypto/crypto_int.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

_Static_assert(CRYPTO_PASSWORD_MAX == crypto_pwhash_STRBYTES, "libsodium's size");

enum rc crypto_password_hash(struct str password, uint32_t ops, uint64_t memory,
                             char out[CRYPTO_PASSWORD_MAX])
{
    if (sodium_init() < 0)
        return RC_TEMP;
    if (crypto_pwhash_str_alg(out, password.p, password.n, ops, memory,
                              crypto_pwhash_ALG_ARGON2ID13) != 0)
        return RC_TEMP;
    return RC_OK;
}

enum rc crypto_password_verify(struct str hash, struct str password)
{
    char text[CRYPTO_PASSWORD_MAX] = {0};
    if (crypto_is_foreign(hash))
        return foreign_verify(hash, password);
    if (hash.n >= sizeof text)
        return RC_CORRUPT;
    memcpy(text, hash.p, hash.n);
    errno = 0;
    if (crypto_pwhash_str_verify(text, password.p ? password.p : "", password.n) == 0)
        return RC_OK;
    return errno == ENOMEM ? RC_TEMP : RC_DENIED;
}

void crypto_password_decoy(uint32_t ops, uint64_t memory, char out[CRYPTO_PASSWORD_MAX])
{
    unsigned char salt[16], hash[32];
    char salt_text[32], hash_text[64];
    randombytes_buf(salt, sizeof salt);
    randombytes_buf(hash, sizeof hash);
    sodium_bin2base64(salt_text, sizeof salt_text, salt, sizeof salt,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    sodium_bin2base64(hash_text, sizeof hash_text, hash, sizeof hash,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    snprintf(out, CRYPTO_PASSWORD_MAX, "$argon2id$v=19$m=%u,t=%u,p=1$%s$%s",
             (unsigned)(memory / 1024), ops, salt_text, hash_text);
}

void crypto_wipe(void *p, size_t n)
{
    sodium_memzero(p, n);
}

bool crypto_is_equal(struct str a, struct str b)
{
    return a.n == b.n && sodium_memcmp(a.p, b.p, a.n) == 0;
}

void crypto_sha256(struct str s, unsigned char out[CRYPTO_SHA256])
{
    crypto_hash_sha256(out, (const unsigned char *)s.p, s.n);
}

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct crypto_sha256_state),
               "libsodium's state fits");

void crypto_sha256_init(struct crypto_sha256_state *state)
{
    crypto_hash_sha256_init((crypto_hash_sha256_state *)state);
}

void crypto_sha256_add(struct crypto_sha256_state *state, struct str s)
{
    crypto_hash_sha256_update((crypto_hash_sha256_state *)state, (const unsigned char *)s.p, s.n);
}

void crypto_sha256_end(struct crypto_sha256_state *state, unsigned char out[CRYPTO_SHA256])
{
    crypto_hash_sha256_final((crypto_hash_sha256_state *)state, out);
}

void crypto_hmac_sha256(struct str key, struct str s, unsigned char out[CRYPTO_SHA256])
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)key.p, key.n);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)s.p, s.n);
    crypto_auth_hmacsha256_final(&state, out);
    crypto_wipe(&state, sizeof state);
}

/* --- sealed boxes: who has the public half can seal and not open ------------------------------ */

_Static_assert(CRYPTO_SEAL_KEY == crypto_box_PUBLICKEYBYTES, "libsodium's size");
_Static_assert(CRYPTO_SEAL_KEY == crypto_box_SECRETKEYBYTES, "libsodium's size");
_Static_assert(SEAL_OVERHEAD == crypto_box_SEALBYTES, "libsodium's size");

enum rc crypto_seal_pair(unsigned char public_half[CRYPTO_SEAL_KEY],
                         unsigned char secret[CRYPTO_SEAL_KEY])
{
    if (sodium_init() < 0)
        return RC_TEMP;
    return crypto_box_keypair(public_half, secret) == 0 ? RC_OK : RC_TEMP;
}

void crypto_seal_public(const unsigned char secret[CRYPTO_SEAL_KEY],
                        unsigned char public_half[CRYPTO_SEAL_KEY])
{
    crypto_scalarmult_base(public_half, secret);
}

enum rc seal(struct str plain, const unsigned char public_half[CRYPTO_SEAL_KEY], struct buf *out)
{
    if (sodium_init() < 0)
        return RC_TEMP;
    char *at = buf_reserve(out, plain.n + SEAL_OVERHEAD);
    if (!at)
        return RC_LIMIT;
    if (crypto_box_seal((unsigned char *)at, (const unsigned char *)plain.p, plain.n,
                        public_half) != 0)
        return RC_TEMP;
    buf_commit(out, plain.n + SEAL_OVERHEAD);
    return RC_OK;
}

enum rc unseal(struct str sealed, const unsigned char secret[CRYPTO_SEAL_KEY],
               const unsigned char public_half[CRYPTO_SEAL_KEY], unsigned char *plain)
{
    if (sealed.n <= SEAL_OVERHEAD)
        return RC_DENIED;
    return crypto_box_seal_open(plain, (const unsigned char *)sealed.p, sealed.n, public_half,
                                secret) == 0
               ? RC_OK
               : RC_DENIED;
}
