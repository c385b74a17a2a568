/* Shared inside mime/: what a line of a header block is, in the one place that says so. */
#ifndef MIME_MIME_INT_H
#define MIME_MIME_INT_H

#include "mime/mime.h"

enum mime_line {
    MIME_LINE_BLANK, /* ends the block */
    MIME_LINE_FOLD,  /* goes on with the field before it */
    MIME_LINE_FIELD,
    MIME_LINE_MBOX, /* "From " or ">From ", which mailboxes put before a message */
    MIME_LINE_OTHER /* no header line: the empty line is missing, this is the body */
};

/* `head` is the line with its line end, or its first MIME_HEAD bytes when it is longer. For a field
 * *out_name is the length of the name and *out_colon the place of the colon. */
enum mime_line mime_line_kind(struct str head, size_t *out_name, size_t *out_colon);

static inline bool mime_is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

#endif
