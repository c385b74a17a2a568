/* The bytes of a message as they come after 354 [RFC5321 4.5.2].
 *
 * Five states say what the last bytes were; in the middle of a line, which is nearly always, three
 * memchr find what comes next, so that a piece is as long as the input or reaches to the next dot
 * that was put in. The pieces are views: nothing is copied.
 *
 * 1. A message ends at CRLF.CRLF and nowhere else, whatever faults it has: after one the reader
 * goes on to the true end.
 * 2. The CRLF before the final dot belongs to the message.
 * 3. What is dropped although it was text ("." CR before something else than LF) is dropped only
 * together with a fault.
 */
#include "smtp/smtp.h"

#include <string.h>

enum {
    AT_LINE, /* at the beginning of a line, or of the message */
    IN_TEXT,
    AFTER_CR,
    AFTER_DOT,   /* a dot began the line and is held back */
    AFTER_DOT_CR /* that dot, then CR */
};

/* From p[i], in the middle of a line, to behind its first CR, or to the end. */
static size_t scan_text(struct smtp_data *d, const char *p, size_t i, size_t n)
{
    const char *cr = memchr(p + i, '\r', n - i);
    size_t end = cr ? (size_t)(cr - p) : n;
    if (memchr(p + i, '\n', end - i))
        d->faults |= SMTP_DATA_BARE_LF;
    if (memchr(p + i, '\0', end - i))
        d->faults |= SMTP_DATA_NUL;
    d->line += end - i + 2;
    if (d->line_max != 0 && d->line > d->line_max)
        d->faults |= SMTP_DATA_LONG;
    d->line -= 2; /* its CRLF was counted in; d->line goes on without it */
    d->state = cr ? AFTER_CR : IN_TEXT;
    return cr ? end + 1 : n;
}

static void begin_line(struct smtp_data *d)
{
    d->state = AT_LINE;
    d->line = 0;
}

/* One byte behind a CR that is not the final one. True: it was LF and the line has ended. */
static bool after_cr(struct smtp_data *d, char c)
{
    if (c == '\n') {
        begin_line(d);
        return true;
    }
    d->faults |= SMTP_DATA_BARE_CR;
    d->line++;
    d->state = IN_TEXT;
    return false;
}

/* Decides about a dot that is held back. True: the message has ended, and *i is behind it. */
static bool after_dot(struct smtp_data *d, struct str in, size_t *i)
{
    if (d->state == AFTER_DOT) {
        bool is_cr = in.p[*i] == '\r';
        d->state = is_cr ? AFTER_DOT_CR : IN_TEXT; /* the dot was put in by the sender */
        *i += is_cr;
    }
    if (d->state != AFTER_DOT_CR || *i == in.n)
        return false;
    bool is_end = after_cr(d, in.p[*i]);
    *i += is_end;
    return is_end;
}

enum rc smtp_data_next(struct smtp_data *d, struct str *in, struct str *out_piece)
{
    while (in->n > 0) {
        size_t i = 0;
        if (d->state >= AFTER_DOT && after_dot(d, *in, &i)) {
            *in = str_skip(*in, i);
            return RC_EOF;
        }
        size_t begin = i;
        while (i < in->n && d->state < AFTER_DOT) {
            if (d->state == AT_LINE && in->p[i] == '.')
                d->state = AFTER_DOT;
            else if (d->state == AFTER_CR)
                i += after_cr(d, in->p[i]);
            else
                i = scan_text(d, in->p, i, in->n);
        }
        *out_piece = str_sub(*in, begin, i - begin);
        *in = str_skip(*in, i + (d->state == AFTER_DOT && i < in->n));
        if (out_piece->n > 0)
            return RC_OK;
    }
    return RC_AGAIN;
}

void smtp_data_check(struct smtp_data *d, struct str piece)
{
    for (size_t i = 0; i < piece.n;)
        if (d->state == AFTER_CR)
            i += after_cr(d, piece.p[i]);
        else
            i = scan_text(d, piece.p, i, piece.n);
}

void smtp_data_check_end(struct smtp_data *d)
{
    if (d->state == AFTER_CR)
        d->faults |= SMTP_DATA_BARE_CR;
}
