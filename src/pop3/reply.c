/* What the server says: +OK, -ERR, and the one table that turns a result into text with its
 * response code [RFC2449 8] [RFC3206 4]. Never repeats what the client sent. */
#include "pop3/pop3_int.h"

static const char *const texts[RC_COUNT] = {
    [RC_AGAIN] = "[SYS/TEMP] try again later",
    [RC_EOF] = "[SYS/PERM] internal error",
    [RC_LIMIT] = "[SYS/TEMP] the server is busy, try again later",
    [RC_SYNTAX] = "the argument is not a message number",
    [RC_NOTFOUND] = "there is no such message",
    [RC_EXISTS] = "[SYS/PERM] internal error",
    [RC_CONFLICT] = "[IN-USE] another POP3 session has this mailbox open",
    [RC_DENIED] = "[AUTH] name or password is wrong",
    [RC_TEMP] = "[SYS/TEMP] the server cannot do this now, try again later",
    [RC_FULL] = "[SYS/TEMP] the server has no space left, try again later",
    [RC_PERM] = "[SYS/PERM] this cannot be done",
    [RC_CORRUPT] = "[SYS/PERM] stored data is damaged, tell the postmaster",
};

enum net_step pop3_ok(struct conn *c, const char *format, ...)
{
    struct buf *out = net_out(c);
    va_list ap;
    va_start(ap, format);
    buf_put(out, STR("+OK "));
    if (buf_vprintf(out, format, ap) != RC_OK)
        out->over = true;
    buf_put(out, STR("\r\n"));
    va_end(ap);
    return NET_READ;
}

enum net_step pop3_err(struct conn *c, const char *text)
{
    struct buf *out = net_out(c);
    buf_put(out, STR("-ERR "));
    buf_put(out, str_of(text));
    buf_put(out, STR("\r\n"));
    return NET_READ;
}

enum net_step pop3_bad(struct conn *c, struct pop3_session *s, const char *text)
{
    if (++s->errors < s->pop3->conf.errors)
        return pop3_err(c, text);
    s->end = "errors";
    pop3_err(c, "too many errors, goodbye");
    return NET_CLOSE;
}

enum net_step pop3_err_rc(struct conn *c, enum rc rc)
{
    const char *text = (unsigned)rc < RC_COUNT ? texts[rc] : NULL;
    return pop3_err(c, text ? text : texts[RC_PERM]);
}
