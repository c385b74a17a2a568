/* crypto: passwords and digests (libsodium), certificates and keys (libcrypto), and signing through
 * the signer process, which alone holds private keys. Everything may be called from any thread. */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include "base/buf.h"

enum { CRYPTO_PASSWORD_MAX = 128 }; /* bytes of a password's hash, with its NUL */

/* Argon2id. Takes `memory` bytes and as long as `ops` passes take. RC_TEMP without memory. */
enum rc crypto_password_hash(struct str password, uint32_t ops, uint64_t memory,
                             char out[CRYPTO_PASSWORD_MAX]);
/* Also of those that come from elsewhere (below). RC_OK, RC_DENIED; RC_CORRUPT: not a hash;
 * RC_TEMP. */
enum rc crypto_password_verify(struct str hash, struct str password);
/* A hash that no password has, made at once: verifying takes as long as with one that was computed
 * with these parameters. */
void crypto_password_decoy(uint32_t ops, uint64_t memory, char out[CRYPTO_PASSWORD_MAX]);

/* Hashes that other programs have made, as in Dovecot's "{SCHEME}text" or as crypt(3) has them:
 * SHA512-CRYPT, SHA256-CRYPT, BLF-CRYPT ($2a, $2b, $2y), CRYPT (these and yescrypt), MD5-CRYPT,
 * SSHA, SSHA256, SSHA512, PBKDF2, Django's pbkdf2_sha256, and ARGON2ID with parameters of others.
 * Puts the form that is kept and verified into `out`. RC_NOTFOUND: no scheme that is taken, such
 * as one without a salt. RC_LIMIT: its rounds or its memory would keep us too long. RC_SYNTAX: not
 * well-formed, so that no password would ever match. */
enum { CRYPTO_FOREIGN_MAX = 256 };
enum rc crypto_foreign_read(struct str text, char out[CRYPTO_FOREIGN_MAX]);
bool crypto_is_foreign(struct str hash); /* not of crypto_password_hash */

void crypto_wipe(void *p, size_t n);              /* never optimised away */
bool crypto_is_equal(struct str a, struct str b); /* in a time that depends on the lengths alone */

enum { CRYPTO_SHA256 = 32 };
void crypto_sha256(struct str s, unsigned char out[CRYPTO_SHA256]);
/* The same in pieces; begun by crypto_sha256_init, over with crypto_sha256_end. */
struct crypto_sha256_state {
    _Alignas(16) unsigned char b[128];
};
void crypto_sha256_init(struct crypto_sha256_state *state);
void crypto_sha256_add(struct crypto_sha256_state *state, struct str s);
void crypto_sha256_end(struct crypto_sha256_state *state, unsigned char out[CRYPTO_SHA256]);
void crypto_hmac_sha256(struct str key, struct str s, unsigned char out[CRYPTO_SHA256]);

/* Of one hash or the other, as SCRAM names them; SHA-1 is for nothing else. RC_TEMP. */
enum crypto_hash { CRYPTO_SHA_1 = 1, CRYPTO_SHA_256 = 2 }; /* stored: the numbers stay */
enum { CRYPTO_HASH_MAX = 32 };
size_t crypto_hash_size(enum crypto_hash hash); /* 20, 32 */
enum rc crypto_digest(enum crypto_hash hash, struct str s, unsigned char out[CRYPTO_HASH_MAX]);
enum rc crypto_hmac(enum crypto_hash hash, struct str key, struct str s,
                    unsigned char out[CRYPTO_HASH_MAX]);
/* One block [RFC8018 5.2]; takes as long as so many rounds take. */
enum rc crypto_pbkdf2(enum crypto_hash hash, struct str password, struct str salt,
                      uint32_t iterations, unsigned char out[CRYPTO_HASH_MAX]);

/* Appends a self-signed certificate and its new P-256 key, in PEM, for these DNS names (the first
 * is the subject too), valid from an hour ago for `days`. Wipe the key's memory after use; the cap
 * must suffice (4 KB and the names). RC_SYNTAX: no names, or one that is none. RC_LIMIT: over a
 * cap. */
enum rc crypto_selfsign(const struct str *names, size_t n, unsigned days, struct buf *cert_pem,
                        struct buf *key_pem);

/* What can be said of the first certificate of a PEM text. RC_SYNTAX: there is none. */
struct crypto_certificate {
    int64_t not_before, not_after;           /* s since 1970 */
    bool is_for_host;                        /* one of its names matches */
    unsigned char key_sha256[CRYPTO_SHA256]; /* of its public key: TLSA 3 1 1 [RFC6698 2.1] */
};
enum rc crypto_certificate_look(struct str chain_pem, const char *host,
                                struct crypto_certificate *out);

/* --- keys that are stored sealed */

/* Anybody can seal with the public half, only who has the secret one can open [libsodium's sealed
 * boxes: X25519, XSalsa20-Poly1305]. */
enum {
    CRYPTO_SEAL_KEY = 32,
    CRYPTO_SEALED_MAX = 3000,  /* bytes of a sealed key */
    CRYPTO_SIGNATURE_MAX = 512 /* of a signature: RSA with 4,096 bits */
};
enum rc crypto_seal_pair(unsigned char public_half[CRYPTO_SEAL_KEY],
                         unsigned char secret[CRYPTO_SEAL_KEY]); /* RC_TEMP */
void crypto_seal_public(const unsigned char secret[CRYPTO_SEAL_KEY],
                        unsigned char public_half[CRYPTO_SEAL_KEY]);

enum crypto_algorithm {                        /* stored: the numbers stay */
                        CRYPTO_RSA_SHA256 = 1, /* PKCS #1 1.5 [RFC6376 3.3.1] */
                        CRYPTO_ED25519 = 2     /* of the SHA-256 digest [RFC8463 3] */
};
/* A new key. Appends its public half (RSA: the DER of SubjectPublicKeyInfo; Ed25519: 32 bytes) and
 * its private half, sealed: nowhere else it exists. `bits` is RSA's: 2,048. Takes 100 ms for RSA.
 * RC_SYNTAX: no such algorithm. RC_LIMIT: over a cap. RC_TEMP. */
enum rc crypto_sealed_make(enum crypto_algorithm algorithm, unsigned bits,
                           const unsigned char public_half[CRYPTO_SEAL_KEY], struct buf *public_key,
                           struct buf *sealed);
/* Seals a key that comes from elsewhere: RSA as DER of its RSAPrivateKey, Ed25519 as its seed. */
enum rc crypto_sealed_take(enum crypto_algorithm algorithm, struct str private_key,
                           const unsigned char public_half[CRYPTO_SEAL_KEY], struct buf *sealed);
/* Seals what this server says to others to log in there; the process that signs opens it again when
 * it is asked to, and never anything that is a key. RC_LIMIT: over a cap, or over CRYPTO_WORDS_MAX.
 */
enum { CRYPTO_WORDS_MAX = 1500 };
enum rc crypto_words_seal(struct str words, const unsigned char public_half[CRYPTO_SEAL_KEY],
                          struct buf *sealed);
/* For tests and who checks a record: RC_OK; RC_DENIED: not this key's; RC_SYNTAX: not a key. */
enum rc crypto_signature_verify(enum crypto_algorithm algorithm, struct str public_key,
                                const unsigned char digest[CRYPTO_SHA256], struct str signature);

/* --- the signer process */

/* Holds one private key, EC or RSA, in PEM without a password: key 0 of the protocol. RC_SYNTAX. */
struct crypto_signer;
enum rc crypto_signer_new(struct str key_pem, struct crypto_signer **out);
/* The same for a process that opens sealed keys, and nothing else: key 1 of the protocol. It keeps
 * the last ones open, some hundreds. */
struct crypto_signer *crypto_signer_new_sealed(const unsigned char secret[CRYPTO_SEAL_KEY]);
void crypto_signer_free(struct crypto_signer **signer);
/* Whether the first certificate of this PEM text is the one of the key. */
bool crypto_signer_fits(const struct crypto_signer *signer, struct str chain_pem);

/* Answers requests that come on the SOCK_SEQPACKET socket, one message each, until the other end is
 * closed (RC_OK) or the socket fails (RC_TEMP). What is not well-formed, or nothing that the key
 * signs, is refused. Nothing of a key is ever sent. */
enum rc crypto_signer_serve(struct crypto_signer *signer, int fd);

/* --- who asks: the other end of the socket, which it takes */

struct crypto_signer_client;
struct crypto_signer_client *crypto_signer_client_new(int fd, uint64_t timeout_ms);
void crypto_signer_client_free(struct crypto_signer_client **client);

/* The signature of `tbs` by key number `key`. `algorithm` is "ecdsa" (tbs is a digest, the
 * signature DER), "rsa-pkcs1" (DER of a digest) or "rsa-pss" (an encoded block, as long as the
 * key). *n is the room, then the length. Blocks at most the timeout: RC_TEMP then, and when the
 * signer is gone. RC_DENIED: it has refused. RC_LIMIT: too large. Several threads take turns. */
enum rc crypto_signer_client_sign(struct crypto_signer_client *client, unsigned key,
                                  const char *algorithm, struct str tbs, unsigned char *out,
                                  size_t *n);
/* The signature of a digest by a sealed key; errors as above. RC_DENIED: also when it was sealed
 * for another signer. */
enum rc crypto_sealed_sign(struct crypto_signer_client *client, enum crypto_algorithm algorithm,
                           struct str sealed, const unsigned char digest[CRYPTO_SHA256],
                           unsigned char *out, size_t *n);
/* What crypto_words_seal has sealed; errors as above. The bytes are the caller's to wipe. */
enum rc crypto_words_open(struct crypto_signer_client *client, struct str sealed,
                          unsigned char *out, size_t *n);

#endif
