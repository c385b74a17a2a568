/* The text of messages for SEARCH: decoded, in UTF-8, folded so that case does not count; and
 * looking for a string in it [RFC3501 6.4.4] [RFC9051 6.4.4]. */
#ifndef MIME_TEXT_H
#define MIME_TEXT_H

#include "mime/charset.h"
#include "mime/decode.h"
#include "mime/mime.h"

/* ---- Folding ---- */

/* Appends well-formed UTF-8 folded: two strings are the same then when they are for
 * i;unicode-casemap [RFC5051 2] [RFC5255 4.2], and ASCII is in lower case. Characters are folded
 * one by one, so text may come in pieces of whole characters. Bytes that are no UTF-8 stay as they
 * are. RC_LIMIT: it does not fit, and out is as it was. */
enum rc mime_fold(struct str utf8, struct buf *out);

/* Whether a character of folded text is a letter, a mark or a number. */
bool mime_is_letter(uint32_t character);

/* Whether a name in well-formed UTF-8 is one for the network: in normalization form C, its
 * characters assigned, and without controls, ends of lines and of paragraphs, and a byte order mark
 * [RFC5198 2] [RFC9755 3]. */
bool mime_is_net_unicode(struct str utf8);

/* ---- Looking ---- */

enum { MIME_NEEDLE_MAX = 1024 };

/* Looks for a folded string in text that comes in pieces. */
struct mime_match {
    struct str needle;
    size_t n_tail; /* the end of what came before, shorter than the needle */
    bool is_found;
    char tail[2 * MIME_NEEDLE_MAX];
};

/* The needle must be folded, and stay. RC_LIMIT: it is longer than MIME_NEEDLE_MAX. An empty one is
 * found everywhere. */
enum rc mime_match_begin(struct mime_match *m, struct str needle);
void mime_match_again(struct mime_match *m);             /* for another text */
bool mime_match(struct mime_match *m, struct str piece); /* found, here or before */

/* ---- A header field ---- */

/* Appends the field's value decoded and folded: what a key such as SUBJECT is looked for in.
 * RC_LIMIT as above. */
enum rc mime_text_of_value(struct str value, const struct mime_charsets *charsets, struct buf *out);

/* ---- A whole message ---- */

enum mime_text_what {
    MIME_TEXT_BODY, /* all but the message's own header */
    MIME_TEXT_ALL
};

/* A pull of a message's text: of each part its header ("name: value" and LF a field, for BODY not
 * that of the message itself), then its body when that is text: transfer encoding undone, charset
 * converted. Bodies of other types, or of an unknown encoding, are passed over. Between two parts
 * there is an LF. */
struct mime_text {
    const struct mime_tree *tree;
    const struct mime_charsets *charsets;
    uint64_t offset; /* the message's bytes are wanted from here on */
    uint32_t wanted; /* at least so many, all at once, if the message has them */
    enum mime_text_what what;
    uint32_t part;
    uint8_t stage;
    struct mime_decoder decoder;
    struct mime_converter converter;
    struct buf bytes, utf8; /* between the steps */
};

/* The tree and the charsets stay until mime_text_fini, which is needed in any case. */
void mime_text_init(struct mime_text *t, const struct mime_tree *tree,
                    const struct mime_charsets *charsets, enum mime_text_what what);
void mime_text_fini(struct mime_text *t);

/* Appends more of the text to out, whose cap should be some KB at least. `bytes` are those of the
 * message from offset `at` on, as many as are at hand: the whole message and 0, or any window.
 *
 * RC_OK: out is as full as it will be; look at it, clear it, and call again. RC_AGAIN: the window
 * does not have the `wanted` bytes at `offset`; out may have text. RC_EOF: that was all; out may
 * have text. */
enum rc mime_text_next(struct mime_text *t, struct str bytes, uint64_t at, struct buf *out);

#endif
