/* The commands that are about the session and not about mail: NOOP, CHECK, CAPABILITY, ID,
 * NAMESPACE, LOGOUT [RFC3501 6.1] [RFC9051 6.1] [RFC2971] [RFC2342]. */
#include "imap/imap_int.h"

static enum net_step nothing(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return imap_take_end(p) ? imap_finish(c, s, IMAP_DONE) : imap_finish_syntax(c, s, p);
}

enum net_step imap_noop(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return nothing(c, s, p);
}

/* Everything that has been answered is on disk already. */
enum net_step imap_check(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return nothing(c, s, p);
}

enum net_step imap_capability(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    buf_put(net_out(c), STR("* CAPABILITY "));
    imap_put_capabilities(c, s, net_out(c));
    buf_put(net_out(c), STR("\r\n"));
    return imap_finish(c, s, IMAP_DONE);
}

enum net_step imap_logout(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    s->end = "logout";
    s->is_logout = true;
    imap_bye(c, (struct str){0}, STR("goodbye"));
    return imap_finish(c, s, IMAP_DONE);
}

/* One namespace, the user's own, with INBOX in it [RFC9051 5.1.2, 6.3.10]. */
enum net_step imap_namespace(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    buf_put(net_out(c), STR("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"));
    return imap_finish(c, s, IMAP_DONE);
}

/* --- ID --------------------------------------------------------------------------------------- */

enum { ID_FIELDS = 30, ID_NAME = 30, ID_VALUE = 1024 }; /* [RFC2971 3.3] */

/* `l` is NULL, or a line to write into. */
static bool take_field(struct imap_parse *p, struct log_line *l)
{
    struct str name, value;
    if (!imap_take_string(p, &name) || !imap_take_sp(p) || !imap_take_nstring(p, &value))
        return false;
    if (name.n > ID_NAME || value.n > ID_VALUE)
        return imap_fail(p, "shorter names and values");
    if (l && str_ieq(name, STR("name")))
        log_str(l, "name", str_head(value, 60));
    if (l && str_ieq(name, STR("version")))
        log_str(l, "version", str_head(value, 60));
    return true;
}

static bool take_fields(struct imap_parse *p, struct log_line *l)
{
    unsigned n = 0;
    if (imap_take_word(p, STR("NIL")))
        return imap_take_end(p);
    if (!imap_take_byte(p, '('))
        return imap_fail(p, "NIL or a list");
    if (imap_take_byte(p, ')'))
        return imap_take_end(p);
    do {
        if (n++ == ID_FIELDS)
            return imap_fail(p, "fewer fields");
        if (!take_field(p, l))
            return false;
    } while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') ? imap_take_end(p) : imap_fail(p, "the end of the list");
}

enum net_step imap_id(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct log_line l;
    struct buf *out = net_out(c);
    bool is_first = !s->has_id; /* anybody can say it, and as often as he likes */
    s->has_id = true;
    if (is_first)
        net_log(c, &l, LOG_INFO, "client");
    bool is_good = take_fields(p, is_first ? &l : NULL);
    if (is_first)
        log_end(&l);
    if (!is_good)
        return imap_finish_syntax(c, s, p);
    const char *version = s->user ? s->imap->conf.version : NULL; /* to those we know */
    buf_put(out, STR("* ID (\"name\" \"Penfold\""));
    if (version) {
        buf_put(out, STR(" \"version\" "));
        imap_put_nstring(out, str_of(version));
    }
    buf_put(out, STR(")\r\n"));
    return imap_finish(c, s, IMAP_DONE);
}
