/* UTF-8 [RFC3629]. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/str.h"

/* Whether the whole view is well-formed: no overlong forms, no surrogates, nothing above U+10FFFF
 * [RFC3629 3]. */
bool utf8_is_valid(struct str s);
bool utf8_is_ascii(struct str s);

#endif
