/* From bytes to lines and from a line to its verb and arguments.
 *
 * Only CRLF ends a line [RFC1939 3]; what ends otherwise is refused as a line of its own, so that a
 * person with a terminal gets an answer. Pure: no session, no connection; the same however the
 * bytes were cut into pieces. Limits: POP3_LINE_MAX with its CRLF.
 */
#include "pop3/pop3_int.h"

#include <string.h>

static enum pop3_input skip(struct str in, bool *is_skipping, size_t *out_used)
{
    ptrdiff_t lf = str_find_byte(in, '\n');
    *is_skipping = lf < 0;
    *out_used = lf < 0 ? in.n : (size_t)lf + 1;
    return POP3_INPUT_NONE;
}

static bool is_clean(struct str s)
{
    return !s.n || (!memchr(s.p, 0, s.n) && !memchr(s.p, '\r', s.n));
}

static enum pop3_input take(struct str in, bool *is_skipping, struct str *out_line,
                            size_t *out_used)
{
    struct str window = str_head(in, POP3_LINE_MAX);
    ptrdiff_t lf = str_find_byte(window, '\n');
    if (lf < 0 && in.n < POP3_LINE_MAX) {
        *out_used = 0;
        return POP3_INPUT_NONE;
    }
    if (lf < 0) {
        *is_skipping = true;
        *out_used = window.n;
        return POP3_INPUT_TOO_LONG;
    }
    *out_used = (size_t)lf + 1;
    struct str line = str_head(in, (size_t)lf);
    if (!str_ends(line, STR("\r")))
        return POP3_INPUT_BARE;
    *out_line = str_head(line, line.n - 1);
    return is_clean(*out_line) ? POP3_INPUT_LINE : POP3_INPUT_BARE;
}

enum pop3_input pop3_input_next(struct str in, bool *is_skipping, struct str *out_line,
                                size_t *out_used)
{
    size_t skipped = 0;
    if (*is_skipping) {
        skip(in, is_skipping, &skipped);
        in = str_skip(in, skipped);
    }
    enum pop3_input result = POP3_INPUT_NONE;
    *out_used = 0;
    if (!*is_skipping && in.n)
        result = take(in, is_skipping, out_line, out_used);
    *out_used += skipped;
    return result;
}

void pop3_args_parse(struct str line, struct pop3_args *out)
{
    *out = (struct pop3_args){0};
    out->rest = line;
    str_cut(&out->rest, ' ', &out->verb);
    struct str rest = str_trim(out->rest), arg;
    if (!rest.n)
        return;
    while (str_cut(&rest, ' ', &arg)) {
        if (!arg.n) /* more than one space between */
            continue;
        if (out->n == POP3_ARGS) {
            out->n = POP3_ARGS + 1;
            return;
        }
        out->args[out->n++] = arg;
    }
}
