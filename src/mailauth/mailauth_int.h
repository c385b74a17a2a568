/* mailauth, inside. */
#ifndef MAILAUTH_MAILAUTH_INT_H
#define MAILAUTH_MAILAUTH_INT_H

#include "mailauth/mailauth.h"

/* --- canon.c: relaxed canonicalisation -------------------------------------------------------- */

/* Hashes a field: name, colon, value, and CRLF unless it is the last one [RFC6376 3.4.2]. */
void mailauth_canon_field(struct crypto_sha256_state *to, struct str name, struct str value,
                          bool is_last);
/* A piece of the body [RFC6376 3.4.4], and its end. */
void mailauth_canon_body(struct mailauth_sign *s, struct str bytes);
void mailauth_canon_end(struct mailauth_sign *s);

/* --- tags.c: tag=value lists [RFC6376 3.2] ---------------------------------------------------- */

/* Takes the next tag off *rest: its name, and its value without white space at both ends. RC_EOF:
 * there are no more. RC_SYNTAX: what stands there is no tag. */
enum rc mailauth_tag_next(struct str *rest, struct str *out_name, struct str *out_value);

#endif
