/* Text of any charset to UTF-8: whole bodies in pieces, words of header fields [RFC2047], extended
 * parameter values [RFC2231].
 *
 * Nothing is refused. What is not of the charset it claims becomes U+FFFD. Where text is, or claims
 * to be, UTF-8 or ASCII, or claims a charset that is unknown, a byte that is not well-formed UTF-8
 * is what it is in Windows-1252, which is what such mail mostly means. UTF-8 that comes out is
 * always well-formed, and each call puts out whole characters. */
#ifndef MIME_CHARSET_H
#define MIME_CHARSET_H

#include "base/buf.h"

/* The charsets that are known. Made once, before the sandbox closes, since the C library reads its
 * converters from files then and never again; used by all threads, never changed. */
struct mime_charsets;

/* *out_missing is how many this machine's C library does not have; they are unknown then. */
void mime_charsets_new(struct mime_charsets **out, unsigned *out_missing);
void mime_charsets_free(struct mime_charsets **charsets);

/* Whether text can claim that charset and be read: for SEARCH's BADCHARSET. Case and punctuation in
 * names are ignored. */
bool mime_charset_is_known(const struct mime_charsets *charsets, struct str name);

enum { MIME_CARRY = 16 };

struct mime_converter {
    const uint16_t *table; /* of a charset of single bytes: its upper half */
    void *handle;          /* of any other but UTF-8 */
    size_t n_carry;
    char carry[MIME_CARRY]; /* of a character that is not whole */
};

/* An empty name is ASCII. RC_NOTFOUND: the charset is unknown; the converter can be used all the
 * same. To be ended, and begun anew, only after mime_convert_fini. */
enum rc mime_convert_begin(struct mime_converter *c, const struct mime_charsets *charsets,
                           struct str name);
/* Takes bytes off *in and appends what they mean. RC_OK: all are taken; RC_AGAIN: out is full (100
 * bytes of room are enough to move on). */
enum rc mime_convert(struct mime_converter *c, struct str *in, struct buf *out);
/* The end of the text: what of a character is held back is broken. RC_AGAIN: no room. */
enum rc mime_convert_end(struct mime_converter *c, struct buf *out);
void mime_convert_fini(struct mime_converter *c);

/* All of s at once, appended. RC_NOTFOUND: the charset is unknown; RC_LIMIT: it does not fit. Out
 * is as it was then. */
enum rc mime_charset_decode(const struct mime_charsets *charsets, struct str name, struct str s,
                            struct buf *out);

/* Appends a field's value as it is meant: unfolded, encoded words decoded [RFC2047 2], white space
 * between two of them left out [RFC2047 6.2]. Characters cut in two by neighbouring words of one
 * charset are put together. RC_LIMIT: it does not fit (100 bytes are needed to spare), and out is
 * as it was. */
enum rc mime_words_decode(struct str value, const struct mime_charsets *charsets, struct buf *out);

/* Appends an extended value such as utf-8'de'%C3%A4 as it is meant [RFC2231 4]. RC_SYNTAX: it has
 * not that form; RC_LIMIT as above. */
enum rc mime_extended_decode(struct str value, const struct mime_charsets *charsets,
                             struct buf *out);

#endif
