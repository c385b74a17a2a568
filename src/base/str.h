/* Byte views: a pointer and a length that own nothing. All text of protocols and storage is one of
 * these; there is no terminating NUL and any byte may occur. An absent view has p == NULL and n ==
 * 0. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include "base/rc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *p;
    size_t n;
};

/* A view of a string literal. */
#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
/* The same as an initialiser, for tables. */
#define STR_INIT(literal)                                                                          \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }
/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, (s).p

struct str str_of(const char *text); /* a NUL-terminated string; NULL gives the absent view */
struct str str_from(const void *p, size_t n);

bool str_is_null(struct str s); /* absent, as opposed to empty */
bool str_eq(struct str a, struct str b);
bool str_ieq(struct str a, struct str b); /* ASCII case is ignored */
int str_cmp(struct str a, struct str b);  /* bytewise, as memcmp; a prefix sorts first */
bool str_starts(struct str s, struct str prefix);
bool str_istarts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);

/* Index of the first such byte or text, or -1. */
ptrdiff_t str_find_byte(struct str s, char c);
ptrdiff_t str_rfind_byte(struct str s, char c);
ptrdiff_t str_find(struct str s, struct str what);

/* Parts; a position beyond the end counts as the end. */
struct str str_head(struct str s, size_t n);
struct str str_skip(struct str s, size_t n);
/* The domain of a mail address: what stands behind the last @; absent: there is none. */
struct str str_domain(struct str address);
struct str str_sub(struct str s, size_t from, size_t n);
struct str str_trim(struct str s); /* without spaces, tabs, CR and LF at both ends */

/* Takes the next part of *rest up to `sep` into *out_part and moves *rest beyond it. False when
 * *rest is absent, which it becomes with the last part. "a,b," has three parts, the last one empty.
 */
bool str_cut(struct str *rest, char sep, struct str *out_part);

/* The whole view as an unsigned number without sign, spaces or overflow: RC_SYNTAX or RC_LIMIT
 * otherwise. */
enum rc str_to_u64(struct str s, uint64_t *out);

/* ASCII only, whatever the locale. */
char ascii_lower(char c);
char ascii_upper(char c);
bool ascii_is_digit(char c);
bool ascii_is_alpha(char c);
bool ascii_is_print(char c); /* 0x20 to 0x7e */
int ascii_hex(char c);       /* of a hexadecimal digit in either case; -1: it is none */

/* A hash for tables, keyed so that a peer cannot choose collisions (SipHash-1-3). */
uint64_t str_hash(struct str s, const uint64_t key[2]);

#endif
