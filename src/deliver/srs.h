/* Sender addresses for forwarded mail [SRS, the Sender Rewriting Scheme]: the sender's address
 * inside one of ours, so that the next host sees a domain that we may send for, and a bounce finds
 * its way back. Pure functions.
 *
 *   SRS0=HASH=DAY=domain=local@ours      local@domain wrote it; DAY is when we forwarded it
 *   SRS1=HASH=first==rest@ours           the sender was SRS0=rest@first already: a bounce goes
 * there
 *
 * HASH is the beginning of an HMAC over the rest, in base 32; letters count without their case, as
 * some hosts change it. */
#ifndef DELIVER_SRS_H
#define DELIVER_SRS_H

#include "base/buf.h"

enum {
    SRS_DAYS = 21, /* how long a bounce may take */
    SRS_SECRET = 32,
    SRS_LOCAL_MAX = 480 /* bytes of a local part that is made here */
};

/* Appends the address to forward with; today: days since 1970. RC_SYNTAX: the sender's address
 * cannot be put into another one; RC_LIMIT: it is too long. */
enum rc srs_forward(const unsigned char secret[SRS_SECRET], uint64_t today, struct str sender,
                    struct str domain, struct buf *out);

bool srs_is(struct str local); /* whether it looks like one */
/* Appends where a bounce to this local part of ours goes. RC_DENIED: it was not made here, or
 * changed; RC_EOF: it is too old. */
enum rc srs_reverse(const unsigned char secret[SRS_SECRET], uint64_t today, struct str local,
                    struct buf *out);

#endif
