/* Answers: +OK and -ERR with a text from the table, in the session's language. */
#include "pop3/pop3_int.h"

#include <string.h>

/* Without printf: this is most of what RETR and DELE cost beside the message. */
char *pop3_put_u64(char *to, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    memcpy(to, digits + at, sizeof digits - at);
    return to + (sizeof digits - at);
}

void pop3_put_line(struct buf *out, struct str start, struct str text, const uint64_t *numbers)
{
    enum { NUMBERS = 2, DIGITS = 20 };
    char *begin = buf_reserve(out, start.n + text.n + NUMBERS * DIGITS + 2), *p = begin;
    if (!p) {
        out->over = true;
        return;
    }
    memcpy(p, start.p, start.n);
    p += start.n;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '#')
            p = pop3_put_u64(p, *numbers++);
        else
            *p++ = text.p[i];
    }
    *p++ = '\r';
    *p++ = '\n';
    buf_commit(out, (size_t)(p - begin));
}

static unsigned column_of(struct conn *c)
{
    return ((const struct pop3_session *)net_session(c))->column;
}

enum net_step pop3_ok(struct conn *c, enum pop3_text text, const uint64_t *numbers)
{
    pop3_put_line(net_out(c), STR("+OK "), pop3_text_line(text, column_of(c)), numbers);
    return NET_READ;
}

enum net_step pop3_err(struct conn *c, enum pop3_text text)
{
    struct buf *out = net_out(c);
    buf_put(out, STR("-ERR "));
    struct str code = pop3_text_code(text);
    pop3_put_line(out, code.n ? code : STR(""), pop3_text_line(text, column_of(c)), NULL);
    return NET_READ;
}

enum net_step pop3_bad(struct conn *c, struct pop3_session *s, enum pop3_text text)
{
    if (++s->errors < s->pop3->conf.errors)
        return pop3_err(c, text);
    s->end = "errors";
    pop3_err(c, POP3_TOO_MANY_ERRORS);
    return NET_CLOSE;
}

enum net_step pop3_err_rc(struct conn *c, enum rc rc)
{
    return pop3_err(c, pop3_text_of_rc(rc));
}
