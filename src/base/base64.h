/* Base 64 [RFC4648 4]. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"

enum rc base64_encode(struct buf *out, struct str s);
/* Strict: whole groups, padding where it belongs, nothing else; RC_SYNTAX otherwise. "" decodes to
 * nothing. */
enum rc base64_decode(struct buf *out, struct str s);

#endif
