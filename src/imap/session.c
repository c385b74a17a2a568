/* The commands that are about the session and not about mail: NOOP, CHECK, CAPABILITY, ID,
 * NAMESPACE, LOGOUT [RFC3501 6.1] [RFC9051 6.1] [RFC2971] [RFC2342]. */
#include "imap/imap_int.h"

#include "base/mem.h"

#include <stdlib.h>

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

enum { ID_FIELDS = 30, ID_NAME = 30, ID_VALUE = 1024, ID_KEPT = 60 }; /* [RFC2971 3.3] */

struct told {
    struct str name, version; /* absent: not told */
};

static bool take_field(struct imap_parse *p, struct told *told)
{
    struct str name, value;
    if (!imap_take_string(p, &name) || !imap_take_sp(p) || !imap_take_nstring(p, &value))
        return false;
    if (name.n > ID_NAME || value.n > ID_VALUE)
        return imap_fail(p, "shorter names and values");
    if (str_ieq(name, STR("name")))
        told->name = str_head(value, ID_KEPT);
    if (str_ieq(name, STR("version")))
        told->version = str_head(value, ID_KEPT);
    return true;
}

static bool take_fields(struct imap_parse *p, struct told *told)
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
        if (!take_field(p, told))
            return false;
    } while (imap_take_byte(p, ' '));
    return imap_take_byte(p, ')') ? imap_take_end(p) : imap_fail(p, "the end of the list");
}

/* For the log once, since anybody can say it, and as often as he likes; and for who asks which
 * sessions there are. */
static void note_client(struct conn *c, struct imap_session *s, const struct told *told)
{
    struct log_line l;
    struct buf text = {.cap = AUTH_CLIENT_MAX};
    bool is_first = !s->has_id;
    s->has_id = true;
    if (is_first) {
        net_log(c, &l, LOG_INFO, "client");
        if (told->name.p)
            log_str(&l, "name", told->name);
        if (told->version.p)
            log_str(&l, "version", told->version);
        log_end(&l);
    }
    if (!told->name.n)
        return;
    buf_put(&text, told->name);
    if (told->version.n && told->version.n + 1 < AUTH_CLIENT_MAX - told->name.n) {
        buf_put(&text, STR(" "));
        buf_put(&text, told->version);
    }
    free(s->client);
    s->client = mem_dup(buf_str(&text).p, buf_len(&text));
    imap_login_name_client(s);
    buf_fini(&text);
}

enum net_step imap_id(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct told told = {0};
    struct buf *out = net_out(c);
    if (!take_fields(p, &told))
        return imap_finish_syntax(c, s, p);
    note_client(c, s, &told);
    const char *version = s->user ? s->imap->conf.version : NULL; /* to those we know */
    buf_put(out, STR("* ID (\"name\" \"Penfold\""));
    if (version) {
        buf_put(out, STR(" \"version\" "));
        imap_put_nstring(out, str_of(version));
    }
    buf_put(out, STR(")\r\n"));
    return imap_finish(c, s, IMAP_DONE);
}
