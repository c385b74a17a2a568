/* The ENVELOPE of a summary, taken apart: what looks into a message's fields without the message.
 *
 * Views of the envelope; nothing is allocated but by the buffers. Pure functions. Each takes its
 * item off the front of *s; false: it is something else, and *s is not to be used. */
#ifndef MIME_FIELDS_H
#define MIME_FIELDS_H

#include "mime/charset.h"

/* A string, where it stands. */
struct mime_raw {
    struct str text; /* absent: NIL */
    bool is_escaped; /* has backslashes that do not count */
};
bool mime_raw_take(struct str *s, struct mime_raw *out);
void mime_raw_put(struct buf *out, struct mime_raw raw); /* as it is meant */

struct mime_address {
    struct mime_raw name, route, mailbox, host;
};
bool mime_address_take(struct str *s, struct mime_address *out);

/* A list of addresses as the text that people look into, appended to `out` unless that is NULL:
 * each as "name <mailbox@host>", a group as "name: addresses;", with ", " between them. Words of
 * RFC 2047 are decoded; what stands in place of a missing host or mailbox is left out. False: it is
 * NIL, which is taken too, or no list, and then *s is absent. */
bool mime_addresses_take(struct str *s, const struct mime_charsets *charsets, struct buf *out);

/* The fields that searches look into, in the order of an ENVELOPE [RFC3501 7.4.2] [RFC9051 7.5.2].
 */
enum mime_in { MIME_IN_SUBJECT, MIME_IN_FROM, MIME_IN_TO, MIME_IN_CC, MIME_IN_BCC, MIME_IN_FIELDS };
/* What the envelope says in these, decoded and folded. Empty: nothing. RC_CORRUPT: it is no
 * envelope; RC_LIMIT: a buffer's cap. */
enum rc mime_fields_read(struct str envelope, const struct mime_charsets *charsets,
                         struct buf out[MIME_IN_FIELDS]);

#endif
