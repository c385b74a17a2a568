/* What SORT and THREAD compare: base subjects, and strings by i;unicode-casemap. Pure functions. */
#ifndef MIME_SUBJECT_H
#define MIME_SUBJECT_H

#include "base/buf.h"

/* Puts the base subject [RFC5256 2.1] of a decoded subject into `out`, which is cleared first and
 * whose cap is at least subject.n. *out_is_reply: it was one of a reply or a forward
 * [RFC5256 3]. */
void mime_base_subject(struct str subject, struct buf *out, bool *out_is_reply);

/* Appends a string prepared for i;unicode-casemap: compare the results byte by byte [RFC5051 2].
 * RC_SYNTAX: it is no UTF-8, and is compared as it is; RC_LIMIT: it does not fit (12 times its
 * length does). Out is as it was then. */
enum rc mime_casemap(struct str utf8, struct buf *out);

#endif
