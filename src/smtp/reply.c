/* Replies: code, enhanced status and text as lines [RFC5321 4.2] [RFC2034 4]. What a reply says is
 * its sender's business. */
#include "smtp/smtp.h"

void smtp_reply_put(struct buf *out, unsigned code, const char *status, struct str text)
{
    struct str line;
    bool has_more;
    do {
        ptrdiff_t end = str_find_byte(text, '\n');
        has_more = end >= 0;
        line = str_head(text, has_more ? (size_t)end : text.n);
        text = str_skip(text, line.n + 1);
        char head[5] = {(char)('0' + code / 100 % 10), (char)('0' + code / 10 % 10),
                        (char)('0' + code % 10), has_more ? '-' : ' '}; /* [RFC5321 4.2.1] */
        buf_put(out, str_from(head, 4));
        if (*status != '\0') {
            buf_put(out, str_of(status));
            buf_put(out, STR(" "));
        }
        buf_put(out, line);
        buf_put(out, STR("\r\n"));
    } while (has_more);
}
