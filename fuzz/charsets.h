/* Converters for targets that need them. */
#ifndef FUZZ_CHARSETS_H
#define FUZZ_CHARSETS_H

#include "mime/charset.h"

/* Made once: opening the converters takes longer than most inputs. */
static inline const struct mime_charsets *charsets_made(void)
{
    static struct mime_charsets *charsets;
    unsigned missing;
    if (!charsets)
        mime_charsets_new(&charsets, &missing);
    return charsets;
}

#endif
