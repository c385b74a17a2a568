/* From bytes to whole commands: lines, and the literals between them [RFC3501 4.3, 7.5]
 * [RFC9051 4.3, 7.6] [RFC7888].
 *
 * Only CRLF ends a line. A command without literals is a view into the input; one with literals is
 * held until it is whole. Each literal is announced to the caller, who accepts it, refuses it, or
 * reads its bytes himself. What follows a refused literal that the client does not wait for is
 * passed over up to the end of the command, so that no byte of it is taken for a command. Pure, and
 * the same however the bytes were cut into pieces. */
#include "imap/parse_int.h"

#include <string.h>

enum { LITERAL_TAIL = 32 }; /* no announcement is longer */

static bool is_clean(struct str s)
{
    return !s.n || (!memchr(s.p, 0, s.n) && !memchr(s.p, '\r', s.n));
}

bool imap_literal_at_end(struct str line, struct imap_literal *out)
{
    *out = (struct imap_literal){.is_sync = true};
    ptrdiff_t open = str_rfind_byte(line, '{');
    if (!str_ends(line, STR("}")) || open < 0)
        return false;
    struct str size = str_sub(line, (size_t)open + 1, line.n - (size_t)open - 2);
    if (str_ends(size, STR("+"))) {
        out->is_sync = false;
        size.n--;
    }
    out->is_binary = open > 0 && line.p[open - 1] == '~';
    out->is_broken = str_to_u64(size, &out->n) != RC_OK;
    return true;
}

/* What could be the announcement of a literal stays in the input until it can be read whole. */
bool imap_gather_skip(struct imap_gather *g, struct str in, size_t *used)
{
    while (g->is_skipping) {
        if (g->skip) {
            size_t n = g->skip < in.n - *used ? (size_t)g->skip : in.n - *used;
            *used += n;
            g->skip -= n;
            if (g->skip)
                return false;
        }
        struct str rest = str_skip(in, *used);
        ptrdiff_t lf = str_find_byte(rest, '\n');
        if (lf < 0) {
            *used += rest.n > LITERAL_TAIL ? rest.n - LITERAL_TAIL : 0;
            return false;
        }
        struct imap_literal literal;
        struct str line = str_head(rest, (size_t)lf);
        if (str_ends(line, STR("\r")))
            line.n--;
        *used += (size_t)lf + 1;
        g->is_skipping =
            imap_literal_at_end(line, &literal) && !literal.is_sync && !literal.is_broken;
        g->skip = g->is_skipping ? literal.n : 0;
    }
    return true;
}

/* The bytes of a literal go to what is held. True: it is whole. */
static bool fill(struct imap_gather *g, struct str in, size_t *used)
{
    struct str part = str_head(str_skip(in, *used), g->left < in.n ? (size_t)g->left : in.n);
    if (part.n && buf_add(&g->held, part) != RC_OK)
        return false; /* accepted literals fit under the cap */
    *used += part.n;
    g->left -= part.n;
    return !g->left;
}

static enum imap_input_kind give_up(struct imap_gather *g, enum imap_input_kind kind)
{
    imap_gather_reset(g, true);
    g->is_skipping = kind == IMAP_INPUT_TOO_LONG;
    return kind;
}

/* The same once the end of the line has been seen. A literal that it announces comes all the same,
 * and is no command. */
static enum imap_input_kind give_up_line(struct imap_gather *g, enum imap_input_kind kind,
                                         struct str line)
{
    struct imap_literal literal;
    give_up(g, kind);
    if (str_ends(line, STR("\r")))
        line.n--;
    g->is_skipping = imap_literal_at_end(line, &literal) && !literal.is_sync && !literal.is_broken;
    g->skip = g->is_skipping ? literal.n : 0;
    return kind;
}

static enum imap_input_kind take_line(struct imap_gather *g, struct str in, size_t line_max,
                                      struct imap_gathered *out)
{
    struct str rest = str_skip(in, out->used);
    ptrdiff_t lf = str_find_byte(str_head(rest, line_max), '\n');
    if (lf < 0)
        return rest.n < line_max ? IMAP_INPUT_NONE : give_up(g, IMAP_INPUT_TOO_LONG);
    out->used += (size_t)lf + 1;
    struct str line = str_head(rest, (size_t)lf);
    if (!str_ends(line, STR("\r")) || !is_clean(str_head(line, line.n - 1)))
        return give_up_line(g, IMAP_INPUT_BARE, line);
    line.n--;
    bool has_literal = imap_literal_at_end(line, &out->literal);
    out->text = line;
    if (buf_len(&g->held)) {
        struct str whole = has_literal ? str_head(rest, (size_t)lf + 1) : line;
        if (buf_add(&g->held, whole) != RC_OK)
            return give_up_line(g, IMAP_INPUT_TOO_LONG, line);
        out->text = buf_str(&g->held);
        if (has_literal)
            out->text.n -= 2;
    }
    return has_literal ? IMAP_INPUT_LITERAL : IMAP_INPUT_COMMAND;
}

void imap_gather_next(struct imap_gather *g, struct str in, size_t line_max,
                      struct imap_gathered *out)
{
    *out = (struct imap_gathered){.kind = IMAP_INPUT_NONE};
    if (g->is_skipping && !imap_gather_skip(g, in, &out->used))
        return;
    if (g->left && !fill(g, in, &out->used))
        return;
    out->kind = take_line(g, in, line_max, out);
}

void imap_gather_accept(struct imap_gather *g, const struct imap_gathered *it)
{
    if (!buf_len(&g->held)) { /* else it is there already, with its CRLF */
        buf_put(&g->held, it->text);
        buf_put(&g->held, STR("\r\n"));
    }
    g->left = it->literal.n;
}

void imap_gather_refuse(struct imap_gather *g, const struct imap_gathered *it)
{
    imap_gather_reset(g, true);
    g->is_skipping = !it->literal.is_sync && !it->literal.is_broken;
    g->skip = g->is_skipping ? it->literal.n : 0;
}

void imap_gather_reset(struct imap_gather *g, bool is_secret)
{
    size_t cap = g->held.cap;
    if (is_secret)
        buf_wipe(&g->held);
    buf_fini(&g->held);
    *g = (struct imap_gather){.held.cap = cap};
}
