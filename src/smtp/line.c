/* Command lines: cutting the input at CRLF and nowhere else.
 *
 * The byte that decides is always the first one that is CR, LF or NUL, or the one at the limit; so
 * the outcome does not depend on how the input was cut into pieces. A faulty line is told when it
 * shows and not when it ends: a client that ends its lines with LF alone would otherwise wait for
 * an answer until its time is over. [RFC5321 2.3.8] */
#include "smtp/smtp.h"

#include <string.h>

/* Passes over the rest of a faulty line. False: its CRLF has not come yet; a CR at the end stays
 * for the next time. */
static bool skip_line(struct smtp_lines *l, struct str *in)
{
    struct str rest = *in;
    for (;;) {
        ptrdiff_t lf = str_find_byte(rest, '\n');
        if (lf < 0)
            break;
        bool is_end = lf > 0 && rest.p[lf - 1] == '\r';
        rest = str_skip(rest, (size_t)lf + 1);
        if (is_end) {
            l->is_skipping = false;
            *in = rest;
            return true;
        }
    }
    size_t keep = rest.n > 0 && rest.p[rest.n - 1] == '\r';
    *in = str_skip(*in, in->n - keep);
    return false;
}

/* Index of the first byte that no line may hold, or n. */
static size_t find_control(struct str s)
{
    size_t i = 0;
    while (i < s.n && s.p[i] != '\r' && s.p[i] != '\n' && s.p[i] != '\0')
        i++;
    return i;
}

static enum rc refuse_line(struct smtp_lines *l, struct str *in, size_t used, enum rc rc)
{
    l->is_skipping = true;
    *in = str_skip(*in, used);
    return rc;
}

enum rc smtp_line_next(struct smtp_lines *l, struct str *in, struct str *out_line)
{
    if (l->is_skipping && !skip_line(l, in))
        return RC_AGAIN;
    struct str window = str_head(*in, l->max);
    size_t i = find_control(window);
    if (i == window.n)
        return window.n < l->max ? RC_AGAIN : refuse_line(l, in, i, RC_LIMIT);
    if (in->p[i] != '\r')
        return refuse_line(l, in, i + 1, RC_SYNTAX);
    if (i + 1 == in->n)
        return RC_AGAIN;
    if (in->p[i + 1] != '\n')
        return refuse_line(l, in, i + 1, RC_SYNTAX);
    *out_line = str_head(*in, i);
    *in = str_skip(*in, i + 2);
    return i + 2 <= l->max ? RC_OK : RC_LIMIT;
}

void smtp_line_split(struct str line, struct str *out_verb, struct str *out_args)
{
    size_t i = 0;
    while (i < line.n && line.p[i] != ' ' && line.p[i] != '\t')
        i++;
    *out_verb = str_head(line, i);
    *out_args =
        str_trim(str_skip(line, i)); /* white space before CRLF is tolerated [RFC5321 4.1.1] */
}
