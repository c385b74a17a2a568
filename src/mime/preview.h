/* The preview of a message: the beginning of what its writer says, as a line of plain text
 * [RFC8970]. Pure. */
#ifndef MIME_PREVIEW_H
#define MIME_PREVIEW_H

#include "mime/charset.h"
#include "mime/mime.h"

enum {
    MIME_PREVIEW_CHARACTERS = 200,                  /* at most [RFC8970 3.3] */
    MIME_PREVIEW_MAX = 4 * MIME_PREVIEW_CHARACTERS, /* bytes */
    MIME_PREVIEW_LOOK = 256 << 10                   /* bytes of a message that are enough */
};

/* Appends it to out, which has room for MIME_PREVIEW_MAX: well-formed UTF-8 without control
 * characters, white space as single spaces. `bytes` are the message, or its beginning, and the tree
 * is of just those.
 *
 * It is made of the first part that has any: text/plain or text/html that is not attached, nor
 * below a multipart/encrypted. Of plain text, lines that quote others come into it only when there
 * are no others. Nothing: there is no such text [RFC8970 3.2]. */
void mime_preview(const struct mime_tree *t, struct str bytes, const struct mime_charsets *charsets,
                  struct buf *out);

#endif
