/* crypto: passwords and wiping, over libsodium. */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include "base/str.h"

enum { CRYPTO_PASSWORD_MAX = 128 }; /* bytes of a password's hash, with its NUL */

/* Argon2id. Takes `memory` bytes and as long as `ops` passes take. RC_TEMP without memory. */
enum rc crypto_password_hash(struct str password, uint32_t ops, uint64_t memory,
                             char out[CRYPTO_PASSWORD_MAX]);
/* RC_OK, RC_DENIED; RC_CORRUPT: not a hash; RC_TEMP. */
enum rc crypto_password_verify(struct str hash, struct str password);
/* A hash that no password has, made at once: verifying takes as long as with one that was computed
 * with these parameters. */
void crypto_password_decoy(uint32_t ops, uint64_t memory, char out[CRYPTO_PASSWORD_MAX]);

void crypto_wipe(void *p, size_t n); /* never optimised away */

#endif
