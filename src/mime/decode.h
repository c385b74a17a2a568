/* Content-Transfer-Encodings undone, in pieces of any size [RFC2045 6]. Pure, and without memory of
 * its own: what is decoded depends on the bytes alone, never on how they were cut. */
#ifndef MIME_DECODE_H
#define MIME_DECODE_H

#include "base/buf.h"

enum mime_encoding {
    MIME_IDENTITY, /* 7bit, 8bit, binary: the bytes as they stand */
    MIME_BASE64,
    MIME_QUOTED_PRINTABLE
};

/* What a Content-Transfer-Encoding's word means; an empty one is 7bit [RFC2045 6.1]. RC_PERM: it is
 * unknown, and so are the bytes [RFC2045 6.4]. */
enum rc mime_encoding_read(struct str word, enum mime_encoding *out);

enum { MIME_HELD = 128 };

struct mime_decoder {
    enum mime_encoding encoding;
    bool is_damaged; /* so far: what was decoded is not all of the form that the RFC wants */
    uint32_t bits;   /* base64: of a group that is not whole */
    uint8_t n_bits;
    uint8_t n_held; /* quoted-printable: white space, or an escape that is not whole */
    char held[MIME_HELD];
};

void mime_decode_begin(struct mime_decoder *d, enum mime_encoding encoding);

/* Takes bytes off *in and appends what they mean. RC_OK: all are taken. RC_AGAIN: out is full; what
 * is left in *in is for the next call (out needs room for MIME_HELD + 3 bytes to move at all).
 *
 * Broken input is decoded as far as it makes sense: in base64, bytes outside the alphabet are
 * passed over [RFC2045 6.8]; in quoted-printable, an escape that is none stands as it is
 * [RFC2045 6.7]. */
enum rc mime_decode(struct mime_decoder *d, struct str *in, struct buf *out);

/* The end of the bytes: appends what was held back. RC_AGAIN: out has no room for MIME_HELD + 3. */
enum rc mime_decode_end(struct mime_decoder *d, struct buf *out);

#endif
