/* What others have said, made fit for a report: no byte of it can end a line, begin a field or be a
 * delimiter, and none moves a terminal's cursor. */
#include "deliver/report.h"

#include "base/utf8.h"

/* --- printable -------------------------------------------------------------------------------- */

/* The length of the UTF-8 character at s[i], or 0: not one that is shown. */
static size_t character_at(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.p[i];
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    struct str one = str_sub(s, i, n);
    if (c < 0xc2 || one.n < n || !utf8_is_valid(one))
        return 0;
    bool is_control = c == 0xc2 && (unsigned char)one.p[1] < 0xa0;
    /* What turns the direction of text, or ends a line: U+2028 to U+202E, U+2066 to U+2069. */
    uint32_t last = n == 3 ? (unsigned char)one.p[2] : 0;
    bool is_e280 = n == 3 && c == 0xe2 && (unsigned char)one.p[1] == 0x80;
    bool is_e281 = n == 3 && c == 0xe2 && (unsigned char)one.p[1] == 0x81;
    bool turns =
        (is_e280 && last >= 0xa8 && last <= 0xae) || (is_e281 && last >= 0xa6 && last <= 0xa9);
    return is_control || turns ? 0 : n;
}

void report_put_safe(struct buf *out, struct str s, size_t max, bool is_utf8)
{
    s = str_head(s, max);
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t n = c >= 0x80 && is_utf8 ? character_at(s, i) : 0;
        if (n > 0)
            buf_put(out, str_sub(s, i, n));
        else if (ascii_is_print((char)c))
            buf_put(out, str_sub(s, i, 1));
        else
            buf_put(out, c < 0x20 || c == 0x7f ? STR(" ") : STR("?"));
        i += n > 0 ? n : 1;
    }
}

/* --- quoted-printable ------------------------------------------------------------------------- */

enum { QP_LINE = 76 };

static bool ends_line(struct str s, size_t i)
{
    return i == s.n || (s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] == '\n');
}

/* Whether s[i] stands for itself; `column` is where it comes to stand. */
static bool is_literal(struct str s, size_t i, size_t column)
{
    char c = s.p[i];
    if (c == ' ' || c == '\t')
        return !ends_line(s, i + 1);             /* [RFC2045 6.7] rule 3 */
    bool is_delimiter = column == 0 && c == '-'; /* of another part [RFC2046 5.1.1] */
    bool is_from = column == 0 && str_starts(str_skip(s, i), STR("From ")); /* an mbox's */
    return ascii_is_print(c) && c != '=' && !is_delimiter && !is_from;
}

enum rc report_write_qp(struct report_sink *sink, struct str s)
{
    struct buf out;
    size_t column = 0;
    buf_init(&out, 4 * s.n + 16);
    for (size_t i = 0; i < s.n; i++) {
        if (ends_line(s, i)) {
            buf_put(&out, STR("\r\n"));
            column = 0;
            i++;
            continue;
        }
        bool literal = is_literal(s, i, column);
        size_t n = literal ? 1 : 3;
        if (column + n > QP_LINE - 1) {
            buf_put(&out, STR("=\r\n"));
            column = 0;
            literal = is_literal(s, i, column);
            n = literal ? 1 : 3;
        }
        if (literal)
            buf_put(&out, str_sub(s, i, 1));
        else
            buf_putf(&out, "=%02X", (unsigned char)s.p[i]);
        column += n;
    }
    enum rc rc = out.over ? RC_LIMIT : sink->write(sink, buf_str(&out));
    buf_fini(&out);
    return rc;
}
