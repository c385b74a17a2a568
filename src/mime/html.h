/* The text of HTML: what a person would read of it, without its markup. For previews, so neither
 * exact nor for safety: what comes out is text and must be treated as that. Pure. */
#ifndef MIME_HTML_H
#define MIME_HTML_H

#include "base/buf.h"

enum { MIME_HTML_NAME = 12, MIME_HTML_ENTITY = 32 };

/* Where in the markup the next byte is. What comes out does not depend on how the bytes were cut,
 * and nothing grows with them: not with depth, nor with what never ends. */
struct mime_html {
    uint8_t state;
    bool is_end;    /* the tag at hand is "</..." */
    char quote;     /* that ends the attribute's value */
    uint8_t dashes; /* before this byte, in a comment */
    uint8_t raw;    /* the element whose content is passed over, and bytes met of its end tag */
    uint8_t n_raw, n_name, n_entity;
    char name[MIME_HTML_NAME]; /* of the tag, in lower case; longer ones are none of ours */
    char entity[MIME_HTML_ENTITY];
};

void mime_html_begin(struct mime_html *h);

/* Takes UTF-8 and appends what it says: character references resolved; a space for tags that part
 * words; nothing for tags that do not, for comments, style sheets, scripts and the like. No longer
 * than the piece and MIME_HTML_ENTITY bytes. RC_LIMIT: `out` has less room. */
enum rc mime_html(struct mime_html *h, struct str piece, struct buf *out);
/* The end: what was held back. RC_LIMIT as above. */
enum rc mime_html_end(struct mime_html *h, struct buf *out);

/* The character that a reference means, without its '&' and ';': "auml", "#228", "#xe4". 0: it
 * means none. */
uint32_t mime_html_character(struct str reference);

#endif
