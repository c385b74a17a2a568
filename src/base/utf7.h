/* Modified UTF-7, in which IMAP and Maildirs write names of mailboxes [RFC3501 5.1.3]
 * [RFC9051 A.1]. */
#ifndef BASE_UTF7_H
#define BASE_UTF7_H

#include "base/buf.h"

enum rc utf7_decode(struct str name, struct buf *out); /* RC_SYNTAX, RC_LIMIT */
enum rc utf7_encode(struct str utf8, struct buf *out);

#endif
