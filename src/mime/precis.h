/* Names and passwords in one spelling: what PRECIS [RFC8264] and SASLprep make of them. Nothing is
 * refused here; what cannot be brought into a form stays as it came
 * (docs/decisions/0190-one-spelling-of-names-and-passwords.md). */
#ifndef MIME_PRECIS_H
#define MIME_PRECIS_H

#include "base/buf.h"

enum mime_form {
    MIME_OPAQUE,   /* a password: OpaqueString [RFC8265 4.2]: spaces are one, NFC */
    MIME_SASLPREP, /* a password: [RFC4013 2]: spaces are one, some signs are nothing, NFKC */
    MIME_USERNAME  /* UsernameCaseMapped [RFC8265 3.3]: widths are one, small letters, NFC */
};
/* Appends it. ASCII is copied, but for the case of names. As it came: what is not UTF-8, what
 * would be nothing, or more than `max` bytes. RC_LIMIT: over a cap. */
enum rc mime_prepare(enum mime_form form, struct str text, size_t max, struct buf *out);

#endif
