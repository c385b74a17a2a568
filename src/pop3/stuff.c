/* Multi-line answers: dot-stuffing in place [RFC1939 3], and where TOP ends.
 *
 * A message is read straight into the output; the few lines that begin with a dot are found by
 * memchr from line to line, and only when there are any is the page moved, once, from its end. A LF
 * without CR counts as the end of a line as well: a client that takes it for one must never see an
 * end of the answer inside a message. Pure; works on pages cut anywhere.
 */
#include "pop3/pop3_int.h"

#include <string.h>

size_t pop3_stuff_count(struct str text, bool *is_start)
{
    size_t dots = 0;
    const char *p = text.p, *end = text.p + text.n;
    if (!text.n)
        return 0;
    bool starts = *is_start;
    while (p < end) {
        dots += starts && *p == '.';
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        starts = lf != NULL;
        p = lf ? lf + 1 : end;
    }
    *is_start = starts;
    return dots;
}

/* The last place before `end` where a line begins with a dot; NULL: there is none. */
static char *last_dot(char *p, char *end, bool is_start)
{
    for (;;) {
        char *lf = end > p ? memrchr(p, '\n', (size_t)(end - p)) : NULL;
        if (!lf)
            return is_start && end > p && *p == '.' ? p : NULL;
        if (lf + 1 < end && lf[1] == '.')
            return lf + 1;
        end = lf;
    }
}

void pop3_stuff(char *p, size_t n, bool is_start, size_t dots)
{
    char *end = p + n; /* what is before it has still to be moved, by `dots` bytes */
    while (dots) {
        char *dot = last_dot(p, end, is_start);
        if (!dot)
            return;
        memmove(dot + dots, dot, (size_t)(end - dot));
        dots--;
        dot[dots] = '.';
        end = dot;
    }
}

size_t pop3_top_take(struct pop3_top *top, struct str text)
{
    size_t at = 0;
    while (at < text.n && !top->is_done) {
        if (top->is_body && !top->lines) {
            top->is_done = true;
            break;
        }
        struct str rest = str_skip(text, at);
        ptrdiff_t lf = str_find_byte(rest, '\n');
        size_t n = lf < 0 ? rest.n : (size_t)lf;
        bool is_first_cr = !top->n_line && n == 1 && rest.p[0] == '\r';
        top->is_only_cr = is_first_cr || (!n && top->is_only_cr);
        top->n_line += n;
        at += n;
        if (lf < 0)
            break;
        at++;
        if (top->is_body)
            top->lines--;
        else if (!top->n_line || (top->n_line == 1 && top->is_only_cr))
            top->is_body = true;
        top->n_line = 0;
        top->is_only_cr = false;
    }
    top->is_done = top->is_done || (top->is_body && !top->lines);
    return at;
}
