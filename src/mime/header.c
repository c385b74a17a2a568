/* Header blocks: what their lines are, fields one after another, unfolding [RFC5322 2.2].
 *
 * mime_line_kind is the only judge of lines, for the parser too, so that both see the same fields
 * and the same end of the block. Pure functions; views into what was given. */
#include "mime/mime_int.h"

static bool is_name_byte(char c)
{
    return c > 0x20 && c < 0x7f && c != ':'; /* [RFC5322 2.2] */
}

enum mime_line mime_line_kind(struct str head, size_t *out_name, size_t *out_colon)
{
    if (head.n == 0)
        return MIME_LINE_OTHER;
    if (head.p[0] == '\n' || (head.p[0] == '\r' && head.n > 1 && head.p[1] == '\n'))
        return MIME_LINE_BLANK;
    if (mime_is_wsp(head.p[0]))
        return MIME_LINE_FOLD;
    size_t i = 0;
    while (i < head.n && is_name_byte(head.p[i]))
        i++;
    *out_name = i;
    while (i < head.n && mime_is_wsp(head.p[i])) /* [RFC5322 4.5] */
        i++;
    *out_colon = i;
    if (*out_name && i < head.n && head.p[i] == ':')
        return MIME_LINE_FIELD;
    if (str_starts(head, STR("From ")) || str_starts(head, STR(">From ")))
        return MIME_LINE_MBOX;
    return MIME_LINE_OTHER;
}

/* The line at the beginning of s with its line end. */
static struct str first_line(struct str s)
{
    ptrdiff_t end = str_find_byte(s, '\n');
    return end < 0 ? s : str_head(s, (size_t)end + 1);
}

static struct str without_line_end(struct str s)
{
    if (s.n && s.p[s.n - 1] == '\n')
        s.n--;
    if (s.n && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

bool mime_header_next(struct str *rest, struct mime_field *out)
{
    size_t name = 0, colon = 0;
    struct str line = first_line(*rest);
    enum mime_line kind = mime_line_kind(str_head(line, MIME_HEAD), &name, &colon);
    if (kind == MIME_LINE_MBOX) {
        *rest = str_skip(*rest, line.n);
        line = first_line(*rest);
        kind = mime_line_kind(str_head(line, MIME_HEAD), &name, &colon);
    }
    if (kind != MIME_LINE_FIELD)
        return false;
    size_t n = line.n;
    while (n < rest->n && mime_is_wsp(rest->p[n]))
        n += first_line(str_skip(*rest, n)).n;
    out->whole = str_head(*rest, n);
    out->name = str_head(out->whole, name);
    out->value = without_line_end(str_skip(out->whole, colon + 1));
    *rest = str_skip(*rest, n);
    return true;
}

bool mime_header_find(struct str header, struct str name, struct str *out_value)
{
    struct mime_field field;
    while (mime_header_next(&header, &field)) {
        if (str_ieq(field.name, name)) {
            *out_value = field.value;
            return true;
        }
    }
    return false;
}

enum rc mime_unfold(struct str value, struct buf *out)
{
    size_t before = buf_len(out);
    value = str_trim(value);
    while (value.n) {
        ptrdiff_t end = str_find_byte(value, '\n');
        struct str line = end < 0 ? value : str_head(value, (size_t)end + 1);
        value = str_skip(value, line.n);
        if (buf_add(out, end < 0 ? line : without_line_end(line)) != RC_OK) {
            buf_truncate(out, before);
            return RC_LIMIT;
        }
    }
    return RC_OK;
}
