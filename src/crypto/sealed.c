/* Keys that are stored sealed: made, sealed, and opened by the process that signs with them; and
 * words to log in with elsewhere, which it gives out.
 *
 * What is sealed: format 1, algorithm 1, the key (RSA: DER of RSAPrivateKey; Ed25519: its seed); or
 * format 2, the words. Formats are bytes of the sealed text, so that nobody gets a key by calling
 * it words.
 * Who runs the server can seal what he likes, so what is opened is as hostile as any input; that is
 * why the process that opens it holds no other key than these. Opened ones are kept in a table of
 * fixed size, found by the digest of the sealed bytes. */
#include "crypto/crypto_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

enum {
    FORMAT = 1,
    FORMAT_WORDS = 2,
    SLOTS = 512,
    BITS_LEAST = 1024,
    BITS_MOST = 4096,
    ED25519_KEY = 32,
    PRIVATE_MAX = CRYPTO_SEALED_MAX - SEAL_OVERHEAD
};

static const struct {
    const char *name;
    int type;
} algorithms[] = {
    [CRYPTO_RSA_SHA256] = {"rsa-sha256", EVP_PKEY_RSA},
    [CRYPTO_ED25519] = {"ed25519-sha256", EVP_PKEY_ED25519},
};
enum { N_ALGORITHMS = sizeof algorithms / sizeof *algorithms };

const char *crypto_algorithm_name(enum crypto_algorithm algorithm)
{
    return (unsigned)algorithm < N_ALGORITHMS ? algorithms[algorithm].name : NULL;
}

/* --- making ----------------------------------------------------------------------------------- */

enum rc crypto_sealed_take(enum crypto_algorithm algorithm, struct str private_key,
                           const unsigned char public_half[CRYPTO_SEAL_KEY], struct buf *sealed)
{
    unsigned char plain[PRIVATE_MAX];
    struct packer w;
    if (!crypto_algorithm_name(algorithm))
        return RC_SYNTAX;
    pack_init(&w, plain, sizeof plain);
    pack_u8(&w, FORMAT);
    pack_u8(&w, (uint8_t)algorithm);
    pack_bytes(&w, private_key);
    struct str all = pack_done(&w);
    enum rc rc = str_is_null(all) ? RC_LIMIT : seal(all, public_half, sealed);
    crypto_wipe(plain, sizeof plain);
    return rc;
}

/* Of a new key. Both are the caller's to free; the private one to wipe. */
static enum rc halves(EVP_PKEY *key, unsigned char **out_private, size_t *n_private,
                      unsigned char **out_public, size_t *n_public)
{
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA) {
        int n = i2d_PrivateKey(key, out_private), m = i2d_PUBKEY(key, out_public);
        *n_private = n > 0 ? (size_t)n : 0;
        *n_public = m > 0 ? (size_t)m : 0;
        return n > 0 && m > 0 ? RC_OK : RC_TEMP;
    }
    *n_private = *n_public = ED25519_KEY;
    *out_private = OPENSSL_malloc(ED25519_KEY);
    *out_public = OPENSSL_malloc(ED25519_KEY);
    return *out_private && *out_public &&
                   EVP_PKEY_get_raw_private_key(key, *out_private, n_private) == 1 &&
                   EVP_PKEY_get_raw_public_key(key, *out_public, n_public) == 1
               ? RC_OK
               : RC_TEMP;
}

enum rc crypto_sealed_make(enum crypto_algorithm algorithm, unsigned bits,
                           const unsigned char public_half[CRYPTO_SEAL_KEY], struct buf *public_key,
                           struct buf *sealed)
{
    unsigned char *private_bytes = NULL, *public_bytes = NULL;
    size_t n_private = 0, n_public = 0, before = buf_len(public_key);
    if (!crypto_algorithm_name(algorithm))
        return RC_SYNTAX;
    EVP_PKEY *key = algorithm == CRYPTO_ED25519
                        ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                        : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
    enum rc rc = key ? halves(key, &private_bytes, &n_private, &public_bytes, &n_public) : RC_TEMP;
    if (rc == RC_OK)
        rc = buf_add(public_key, str_from(public_bytes, n_public));
    if (rc == RC_OK)
        rc = crypto_sealed_take(algorithm, str_from(private_bytes, n_private), public_half, sealed);
    if (rc != RC_OK)
        buf_truncate(public_key, before);
    OPENSSL_clear_free(private_bytes, n_private);
    OPENSSL_free(public_bytes);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}

/* --- opening ---------------------------------------------------------------------------------- */

struct opened {
    unsigned char digest[CRYPTO_SHA256]; /* of the sealed bytes */
    EVP_PKEY *key;                       /* NULL: an empty place */
};

struct vault {
    unsigned char secret[CRYPTO_SEAL_KEY], public_half[CRYPTO_SEAL_KEY];
    struct opened slots[SLOTS];
};

struct vault *vault_new(const unsigned char secret[CRYPTO_SEAL_KEY])
{
    struct vault *v = mem_zero(sizeof *v);
    memcpy(v->secret, secret, sizeof v->secret);
    crypto_seal_public(v->secret, v->public_half);
    return v;
}

void vault_free(struct vault **vault)
{
    struct vault *v = *vault;
    *vault = NULL;
    if (!v)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        EVP_PKEY_free(v->slots[i].key);
    crypto_wipe(v->secret, sizeof v->secret);
    free(v);
}

static EVP_PKEY *read_key(struct str plain)
{
    struct unpacker r;
    unpack_init(&r, plain);
    uint8_t format = unpack_u8(&r), algorithm = unpack_u8(&r);
    struct str bytes = unpack_bytes(&r, r.n);
    const unsigned char *at = (const unsigned char *)bytes.p;
    EVP_PKEY *key = NULL;
    if (unpack_done(&r) != RC_OK || format != FORMAT)
        return NULL;
    if (algorithm == CRYPTO_ED25519 && bytes.n == ED25519_KEY)
        key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, at, bytes.n);
    else if (algorithm == CRYPTO_RSA_SHA256)
        key = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &at, (long)bytes.n);
    int bits = key ? EVP_PKEY_get_bits(key) : 0;
    if (key && algorithm == CRYPTO_RSA_SHA256 && (bits < BITS_LEAST || bits > BITS_MOST)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

/* The vault's; valid until the next call. NULL: not a key, or not for this vault. */
static EVP_PKEY *open_key(struct vault *v, struct str sealed)
{
    unsigned char digest[CRYPTO_SHA256], plain[PRIVATE_MAX];
    crypto_sha256(sealed, digest);
    struct opened *slot = &v->slots[get_u16(digest) % SLOTS];
    if (slot->key && memcmp(slot->digest, digest, sizeof digest) == 0)
        return slot->key;
    if (sealed.n > CRYPTO_SEALED_MAX || unseal(sealed, v->secret, v->public_half, plain) != RC_OK)
        return NULL;
    EVP_PKEY *key = read_key(str_from(plain, sealed.n - SEAL_OVERHEAD));
    crypto_wipe(plain, sizeof plain);
    if (!key)
        return NULL;
    EVP_PKEY_free(slot->key);
    slot->key = key;
    memcpy(slot->digest, digest, sizeof digest);
    return key;
}

static bool sign_rsa(EVP_PKEY *key, struct str digest, unsigned char *out, size_t *n)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool is_good = ctx && EVP_PKEY_sign_init(ctx) == 1 &&
                   EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                   EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
                   EVP_PKEY_sign(ctx, out, n, (const unsigned char *)digest.p, digest.n) == 1;
    EVP_PKEY_CTX_free(ctx);
    return is_good;
}

static bool sign_ed25519(EVP_PKEY *key, struct str digest, unsigned char *out, size_t *n)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_good = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
                   EVP_DigestSign(ctx, out, n, (const unsigned char *)digest.p, digest.n) == 1;
    EVP_MD_CTX_free(ctx);
    return is_good;
}

enum rc crypto_words_seal(struct str words, const unsigned char public_half[CRYPTO_SEAL_KEY],
                          struct buf *sealed)
{
    unsigned char plain[1 + CRYPTO_WORDS_MAX];
    if (words.n > CRYPTO_WORDS_MAX)
        return RC_LIMIT;
    plain[0] = FORMAT_WORDS;
    memcpy(plain + 1, words.n ? words.p : "", words.n);
    enum rc rc = seal(str_from(plain, 1 + words.n), public_half, sealed);
    crypto_wipe(plain, sizeof plain);
    return rc;
}

static enum rc open_words(struct vault *v, struct str sealed, unsigned char *out, size_t *n)
{
    unsigned char plain[PRIVATE_MAX];
    if (sealed.n > CRYPTO_SEALED_MAX || sealed.n <= SEAL_OVERHEAD)
        return RC_DENIED;
    enum rc rc = unseal(sealed, v->secret, v->public_half, plain);
    size_t size = sealed.n - SEAL_OVERHEAD - 1;
    if (rc == RC_OK && plain[0] != FORMAT_WORDS)
        rc = RC_DENIED;
    if (rc == RC_OK && size > *n)
        rc = RC_LIMIT;
    if (rc == RC_OK) {
        memcpy(out, plain + 1, size);
        *n = size;
    }
    crypto_wipe(plain, sizeof plain);
    return rc;
}

enum rc vault_sign(struct vault *vault, struct str algorithm, struct str request,
                   unsigned char *out, size_t *n)
{
    struct unpacker r;
    unpack_init(&r, request);
    struct str sealed = unpack_str16(&r);
    struct str digest = unpack_bytes(&r, r.n);
    bool is_words = str_eq(algorithm, STR(VAULT_WORDS));
    if (unpack_done(&r) != RC_OK || digest.n != (is_words ? 0 : CRYPTO_SHA256))
        return RC_SYNTAX;
    if (is_words)
        return open_words(vault, sealed, out, n);
    EVP_PKEY *key = open_key(vault, sealed);
    size_t which = 1;
    while (which < N_ALGORITHMS && !str_eq(algorithm, str_of(algorithms[which].name)))
        which++;
    if (!key || which == N_ALGORITHMS || EVP_PKEY_get_base_id(key) != algorithms[which].type)
        return RC_DENIED;
    if (*n < (size_t)EVP_PKEY_get_size(key))
        return RC_LIMIT;
    bool is_good = which == CRYPTO_RSA_SHA256 ? sign_rsa(key, digest, out, n)
                                              : sign_ed25519(key, digest, out, n);
    ERR_clear_error();
    return is_good ? RC_OK : RC_SYNTAX;
}

/* --- verifying -------------------------------------------------------------------------------- */

static bool verify_rsa(EVP_PKEY *key, struct str digest, struct str signature)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool is_good = ctx && EVP_PKEY_verify_init(ctx) == 1 &&
                   EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                   EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
                   EVP_PKEY_verify(ctx, (const unsigned char *)signature.p, signature.n,
                                   (const unsigned char *)digest.p, digest.n) == 1;
    EVP_PKEY_CTX_free(ctx);
    return is_good;
}

static bool verify_ed25519(EVP_PKEY *key, struct str digest, struct str signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool is_good = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
                   EVP_DigestVerify(ctx, (const unsigned char *)signature.p, signature.n,
                                    (const unsigned char *)digest.p, digest.n) == 1;
    EVP_MD_CTX_free(ctx);
    return is_good;
}

enum rc crypto_signature_verify(enum crypto_algorithm algorithm, struct str public_key,
                                const unsigned char digest[CRYPTO_SHA256], struct str signature)
{
    const unsigned char *at = (const unsigned char *)public_key.p;
    EVP_PKEY *key = algorithm == CRYPTO_ED25519
                        ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, at, public_key.n)
                        : d2i_PUBKEY(NULL, &at, (long)public_key.n);
    struct str tbs = str_from(digest, CRYPTO_SHA256);
    enum rc rc = RC_SYNTAX;
    if (key && crypto_algorithm_name(algorithm) &&
        EVP_PKEY_get_base_id(key) == algorithms[algorithm].type) {
        bool is_good = algorithm == CRYPTO_ED25519 ? verify_ed25519(key, tbs, signature)
                                                   : verify_rsa(key, tbs, signature);
        rc = is_good ? RC_OK : RC_DENIED;
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}
