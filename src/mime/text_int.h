/* Shared inside mime/: what makes a part's body text. */
#ifndef MIME_TEXT_INT_H
#define MIME_TEXT_INT_H

#include "mime/text.h"

/* Whether the part's body is text, and what it has to go through; `header` is the part's. When it
 * is, the converter is to be ended. */
bool mime_text_prepare(const struct mime_part *part, struct str header,
                       const struct mime_charsets *charsets, struct mime_decoder *decoder,
                       struct mime_converter *converter);

#endif
