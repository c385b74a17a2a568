/* UTF-8 [RFC3629]. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/str.h"

enum { UTF8_MAX = 4 }; /* bytes of a character */

/* Whether the whole view is well-formed: no overlong forms, no surrogates, nothing above U+10FFFF
 * [RFC3629 3]. */
bool utf8_is_valid(struct str s);
bool utf8_is_ascii(struct str s);

/* Bytes of ASCII at the beginning of s. */
size_t utf8_ascii_length(struct str s);
/* The length of the character that s, which is not empty, begins with. 0: it is none; SIZE_MAX: it
 * may be the beginning of one, and more bytes are needed to tell. */
size_t utf8_length(struct str s);

/* Takes the first character off *s, which is well-formed and not empty. */
uint32_t utf8_take(struct str *s);
/* Writes a character, at most UTF8_MAX bytes, and returns how many. It is no surrogate, and not
 * above U+10FFFF. */
size_t utf8_put(char *to, uint32_t character);

#endif
