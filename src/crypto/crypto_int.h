/* Private to crypto/: a private key, EC or RSA. */
#ifndef CRYPTO_CRYPTO_INT_H
#define CRYPTO_CRYPTO_INT_H

#include "crypto/crypto.h"

struct key;
enum rc key_new(struct str pem, struct key **out); /* RC_SYNTAX */
void key_free(struct key **key);
bool key_fits(const struct key *key, struct str chain_pem); /* its first certificate's key */

/* RC_SYNTAX: nothing that this key signs. RC_LIMIT: no room. */
enum rc key_sign(struct key *key, struct str algorithm, struct str tbs, unsigned char *out,
                 size_t *n);

/* --- scheme.c */

/* RC_CORRUPT: not a hash that crypto_foreign_read has given. */
enum rc foreign_verify(struct str hash, struct str password);

/* --- password.c */

enum { SEAL_OVERHEAD = 48 };
/* Appends the sealed bytes. RC_LIMIT. */
enum rc seal(struct str plain, const unsigned char public_half[CRYPTO_SEAL_KEY], struct buf *out);
/* plain_n is sealed.n - SEAL_OVERHEAD. RC_DENIED: not sealed for this secret. */
enum rc unseal(struct str sealed, const unsigned char secret[CRYPTO_SEAL_KEY],
               const unsigned char public_half[CRYPTO_SEAL_KEY], unsigned char *plain);

/* --- sealed.c: keys that come with the request */

struct vault;
struct vault *vault_new(const unsigned char secret[CRYPTO_SEAL_KEY]);
void vault_free(struct vault **vault);
#define VAULT_WORDS "words"
/* request: length 2, the sealed key, the digest; with the algorithm VAULT_WORDS sealed words and no
 * digest: the answer is the words. As key_sign; also RC_DENIED. */
enum rc vault_sign(struct vault *vault, struct str algorithm, struct str request,
                   unsigned char *out, size_t *n);
const char *crypto_algorithm_name(enum crypto_algorithm algorithm); /* in the protocol */

#endif
