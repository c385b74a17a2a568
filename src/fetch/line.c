/* Lines, and the text of multi-line answers [RFC1939 3]: pure functions over what has come. */
#include "fetch/fetch_int.h"

#include <string.h>

enum rc fetch_line(struct str *in, size_t max, struct str *out)
{
    struct str head = str_head(*in, max + 2);
    ptrdiff_t lf = str_find_byte(head, '\n');
    if (lf < 0)
        return in->n > max + 1 ? RC_LIMIT : RC_AGAIN;
    *out = str_head(head, (size_t)lf);
    if (str_ends(*out, STR("\r")))
        out->n--;
    if (out->n > max)
        return RC_LIMIT;
    *in = str_skip(*in, (size_t)lf + 1);
    return RC_OK;
}

/* --- dots ------------------------------------------------------------------------------------- */

/* Within a line, or at its beginning without a dot: up to the next line that begins with a dot, or
 * ends without a CR. Those are rare, so a piece is most of the input. */
static struct str take_lines(struct fetch_dots *d, struct str *in)
{
    const char *p = in->p, *end = in->p + in->n;
    while (p < end) {
        if (d->at == DOTS_BEGIN && *p == '.')
            break;
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        if (!lf) {
            d->at = end[-1] == '\r' ? DOTS_CR : DOTS_LINE;
            p = d->at == DOTS_CR ? end - 1 : end;
            break;
        }
        if (lf == p || lf[-1] != '\r') {
            p = lf;
            d->at = DOTS_LINE;
            break;
        }
        p = lf + 1;
        d->at = DOTS_BEGIN;
    }
    struct str piece = str_head(*in, (size_t)(p - in->p));
    *in = str_skip(*in, piece.n);
    return piece;
}

/* The byte or two that decide; false: they are a part of a line. */
static enum rc decide(struct fetch_dots *d, struct str *in, struct str *out)
{
    char c = in->p[0];
    switch (d->at) {
    case DOTS_BEGIN: /* a dot */
        d->at = DOTS_DOT;
        break;
    case DOTS_DOT:
        if (c == '\r') {
            d->at = DOTS_DOT_CR;
            break;
        }
        d->at = c == '\n' ? DOTS_END : DOTS_LINE;
        if (c == '\n')
            break;
        return RC_OK; /* it was a stuffed one */
    case DOTS_DOT_CR:
        if (c == '\n') {
            d->at = DOTS_END;
            break;
        }
        d->at = DOTS_LINE; /* a stuffed dot, and a line that begins with a lone CR */
        *out = STR("\r");
        return RC_OK;
    case DOTS_CR: /* a CR that was the last byte there was, and is still to be given */
        *in = str_skip(*in, 1);
        d->at = DOTS_LINE;
        if (in->n && in->p[0] == '\n') {
            *in = str_skip(*in, 1);
            d->at = DOTS_BEGIN;
            *out = STR("\r\n");
        } else {
            *out = STR("\r");
        }
        return RC_OK;
    case DOTS_LINE: /* a lone LF */
        d->at = DOTS_BEGIN;
        *out = STR("\r\n");
        break;
    case DOTS_END:
        break;
    }
    *in = str_skip(*in, 1);
    return d->at == DOTS_END ? RC_EOF : RC_OK;
}

enum rc fetch_dots_next(struct fetch_dots *d, struct str *in, struct str *out)
{
    *out = STR("");
    if (d->at == DOTS_END)
        return RC_EOF;
    if (in->n == 0)
        return RC_AGAIN;
    if (d->at == DOTS_CR)
        return in->n < 2 ? RC_AGAIN : decide(d, in, out);
    bool is_line = d->at == DOTS_LINE ? in->p[0] != '\n' : d->at == DOTS_BEGIN && in->p[0] != '.';
    if (!is_line)
        return decide(d, in, out);
    *out = take_lines(d, in);
    return RC_OK;
}

/* --- words ------------------------------------------------------------------------------------ */

enum rc fetch_pop3_listing(struct str line, uint32_t *out_number, struct str *out_rest)
{
    struct str word;
    uint64_t number;
    str_cut(&line, ' ', &word);
    if (str_to_u64(word, &number) != RC_OK || number == 0 || number > UINT32_MAX)
        return RC_SYNTAX;
    *out_number = (uint32_t)number;
    *out_rest = str_trim(line);
    return out_rest->n ? RC_OK : RC_SYNTAX;
}

unsigned fetch_pop3_capability(struct str line)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {{"STLS", POP3_STLS},
                 {"UIDL", POP3_UIDL},
                 {"PIPELINING", POP3_PIPELINING},
                 {"RESP-CODES", POP3_RESP_CODES},
                 {"AUTH-RESP-CODE", POP3_AUTH_CODES}};
    struct str word;
    unsigned found = 0;
    str_cut(&line, ' ', &word);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(word, str_of(names[i].name)))
            return names[i].bit;
    if (!str_ieq(word, STR("SASL"))) /* [RFC5034 3] */
        return 0;
    while (str_cut(&line, ' ', &word))
        found |= str_ieq(word, STR("PLAIN")) ? POP3_PLAIN : 0;
    return found;
}

/* [RFC3206 4]: with codes, what has none is no matter of name and password. Without them a refusal
 * is taken for what it nearly always is. */
enum rc fetch_pop3_refusal(struct str words, unsigned capabilities)
{
    struct str rest = str_trim(words);
    if (str_istarts(rest, STR("[AUTH]")))
        return RC_DENIED;
    if (str_istarts(rest, STR("[SYS/PERM]")))
        return RC_DENIED;
    if (str_istarts(rest, STR("[SYS/")) || str_istarts(rest, STR("[IN-USE]")) ||
        str_istarts(rest, STR("[LOGIN-DELAY]"))) /* [RFC2449 8.1] */
        return RC_TEMP;
    return capabilities & POP3_AUTH_CODES ? RC_TEMP : RC_DENIED;
}
