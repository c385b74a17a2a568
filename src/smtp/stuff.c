/* Dots for DATA [RFC5321 4.5.2]: a line that begins with a dot gets another one in front. The text
 * is given on as views, as long as they can be; only a dot that is put in is a piece of its own.
 *
 * A CR or LF that is not part of CRLF is told: whoever takes it for the end of a line on the other
 * side could find the end of the message behind it. */
#include "smtp/smtp.h"

#include <string.h>

enum { AT_LINE, IN_TEXT, AFTER_CR, AFTER_DOT /* the dot was put in, the line's own comes */ };

/* From p[i] to behind the next LF or to the end. */
static size_t scan_line(struct smtp_stuff *s, const char *p, size_t i, size_t n)
{
    const char *lf = memchr(p + i, '\n', n - i);
    size_t end = lf ? (size_t)(lf - p) : n;
    const char *cr = memchr(p + i, '\r', end - i);
    bool has_cr = end > i ? p[end - 1] == '\r' : s->state == AFTER_CR;
    bool is_bare = (cr && cr + 1 < p + end) || (s->state == AFTER_CR && end > i);
    if (is_bare)
        s->faults |= SMTP_DATA_BARE_CR;
    if (lf && !has_cr)
        s->faults |= SMTP_DATA_BARE_LF;
    if (lf)
        s->state = has_cr ? AT_LINE : IN_TEXT;
    else
        s->state = has_cr ? AFTER_CR : IN_TEXT;
    return lf ? end + 1 : n;
}

enum rc smtp_stuff_next(struct smtp_stuff *s, struct str *in, struct str *out_piece)
{
    size_t i = 0;
    if (in->n == 0)
        return RC_AGAIN;
    if (s->state == AT_LINE && in->p[0] == '.') {
        s->state = AFTER_DOT;
        *out_piece = STR(".");
        return RC_OK;
    }
    do
        i = scan_line(s, in->p, i, in->n);
    while (i < in->n && !(s->state == AT_LINE && in->p[i] == '.'));
    *out_piece = str_head(*in, i);
    *in = str_skip(*in, i);
    return RC_OK;
}

struct str smtp_stuff_end(struct smtp_stuff *s)
{
    if (s->state == AFTER_CR)
        s->faults |= SMTP_DATA_BARE_CR;
    return s->state == AT_LINE ? STR(".\r\n") : STR("\r\n.\r\n");
}
