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

#endif
