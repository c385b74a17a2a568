/* What SCRAM computes with [RFC5802 2.2, 3] [RFC7677 3]: HMAC and a digest of either hash, and keys
 * derived from a password by PBKDF2. SHA-256 as everywhere by libsodium; SHA-1, which is here for
 * SCRAM-SHA-1 and nothing else, and PBKDF2 by libcrypto. */
#include "crypto/crypto_int.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

enum rc crypto_digest(enum crypto_hash hash, struct str s, unsigned char out[CRYPTO_HASH_MAX])
{
    if (hash == CRYPTO_SHA_256) {
        crypto_sha256(s, out);
        return RC_OK;
    }
    return SHA1((const unsigned char *)s.p, s.n, out) ? RC_OK : RC_TEMP;
}

enum rc crypto_hmac(enum crypto_hash hash, struct str key, struct str s,
                    unsigned char out[CRYPTO_HASH_MAX])
{
    unsigned n = 0;
    if (hash == CRYPTO_SHA_256) {
        crypto_hmac_sha256(key, s, out);
        return RC_OK;
    }
    return HMAC(EVP_sha1(), key.p, (int)key.n, (const unsigned char *)s.p, s.n, out, &n) ? RC_OK
                                                                                         : RC_TEMP;
}

enum rc crypto_pbkdf2(enum crypto_hash hash, struct str password, struct str salt,
                      uint32_t iterations, unsigned char out[CRYPTO_HASH_MAX])
{
    const EVP_MD *md = hash == CRYPTO_SHA_256 ? EVP_sha256() : EVP_sha1();
    return PKCS5_PBKDF2_HMAC(password.p, (int)password.n, (const unsigned char *)salt.p,
                             (int)salt.n, (int)iterations, md, (int)crypto_hash_size(hash),
                             out) == 1
               ? RC_OK
               : RC_TEMP;
}

size_t crypto_hash_size(enum crypto_hash hash)
{
    return hash == CRYPTO_SHA_256 ? CRYPTO_SHA256 : SHA_DIGEST_LENGTH;
}
