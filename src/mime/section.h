/* BODY[section]: which bytes of a message a section is [RFC3501 6.4.5] [RFC9051 6.4.5]. Pure
 * functions over the tree. */
#ifndef MIME_SECTION_H
#define MIME_SECTION_H

#include "mime/mime.h"

enum mime_section {
    MIME_SECTION_WHOLE,  /* of the message: all of it; of a part: its body */
    MIME_SECTION_HEADER, /* the header of the message, or of the message in a message/rfc822 part;
                            also for HEADER.FIELDS and HEADER.FIELDS.NOT: see mime_header_select */
    MIME_SECTION_TEXT,   /* the body of the same */
    MIME_SECTION_MIME    /* the header of a part */
};

/* The part that a path of numbers leads to, which has all that BINARY asks for; n == 0: the message
 * itself. Part 1 of a message that is no multipart is its body: the index is that of the message
 * then. RC_NOTFOUND: there is no such part. */
enum rc mime_part_find(const struct mime_tree *t, const uint32_t *path, size_t n,
                       uint32_t *out_part);

/* The bytes of the section: those from *out_begin to *out_end. RC_NOTFOUND: there is no such part,
 * or the part has no such section. */
enum rc mime_section_find(const struct mime_tree *t, const uint32_t *path, size_t n,
                          enum mime_section section, uint64_t *out_begin, uint64_t *out_end);

/* Appends the fields of a header block that have one of the names (is_not: all others), in their
 * order, with their folds as they stand, and the empty line, also when the block has none. Case is
 * ignored [RFC3501 6.4.5] [RFC9051 6.4.5]. RC_LIMIT: it does not fit, and out is as it was. */
enum rc mime_header_select(struct str header, const struct str *names, size_t n, bool is_not,
                           struct buf *out);

#endif
