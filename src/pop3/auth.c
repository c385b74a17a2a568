/* AUTH [RFC5034]: a SASL exchange over lines in base 64; what the mechanisms are, auth knows.
 *
 * Invariants: a response is decoded into memory that is wiped as soon as it has been looked at;
 * whatever ends an exchange early (cancelled, refused, not base 64, a line that is none) leaves the
 * session as it was before AUTH; each refusal counts as an error. */
#include "pop3/pop3_int.h"

#include "base/base64.h"

static enum net_step refuse(struct conn *c, struct pop3_session *s, enum pop3_text text)
{
    auth_sasl_fini(&s->sasl);
    s->is_sasl = false;
    return pop3_bad(c, s, text);
}

/* "+ " and the challenge; an empty one is just that [RFC5034 4]. */
static enum net_step challenge(struct conn *c, struct str text)
{
    struct buf *out = net_out(c);
    buf_put(out, STR("+ "));
    if (base64_encode(out, text) != RC_OK)
        out->over = true;
    buf_put(out, STR("\r\n"));
    return NET_READ;
}

static enum net_step answer(struct conn *c, struct pop3_session *s, enum rc rc, struct str text)
{
    enum net_step next;
    switch (rc) {
    case RC_AGAIN:
        s->is_sasl = true;
        return challenge(c, text);
    case RC_OK:
        s->is_sasl = false;
        next = pop3_login_begin(c, s, s->sasl.name, s->sasl.password);
        auth_sasl_fini(&s->sasl); /* copied */
        return next;
    case RC_DENIED:
        return refuse(c, s, POP3_OTHER_IDENTITY);
    default:
        return refuse(c, s, POP3_NOT_A_RESPONSE);
    }
}

/* One response; absent: there was none with the command. */
static enum net_step exchange(struct conn *c, struct pop3_session *s, struct str line)
{
    struct buf response = {.cap = AUTH_SASL_RESPONSE_MAX + 3}, text = {.cap = 256};
    struct str decoded = {0};
    if (!str_is_null(line)) {
        if (base64_decode(&response, line) != RC_OK) {
            buf_wipe(&response);
            return refuse(c, s, POP3_NOT_BASE64);
        }
        decoded = response.mem ? buf_str(&response) : STR("");
    }
    enum rc rc = auth_sasl_step(&s->sasl, decoded, &text);
    enum net_step next = answer(c, s, rc, buf_str(&text));
    buf_wipe(&response); /* auth_login has taken its copy */
    net_wipe(c, line);
    buf_fini(&text);
    return next;
}

static enum net_step list_mechanisms(struct conn *c)
{
    struct buf names = {.cap = 256};
    struct str rest, name;
    pop3_ok(c, POP3_MECHANISMS, NULL);
    auth_sasl_mechanisms(true, &names);
    for (rest = buf_str(&names); str_cut(&rest, ' ', &name);)
        pop3_put_line(net_out(c), STR(""), name, NULL);
    buf_put(net_out(c), STR(".\r\n"));
    buf_fini(&names);
    return NET_READ;
}

enum net_step pop3_auth(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (!a->n) /* of no RFC; what Outlook and others ask instead of CAPA */
        return list_mechanisms(c);
    struct str line = a->n == 2 ? a->args[1] : (struct str){0};
    if (auth_sasl_begin(&s->sasl, a->args[0]) != RC_OK)
        return pop3_bad(c, s, POP3_NO_MECHANISM);
    if (str_eq(line, STR("="))) /* there, and empty */
        line = STR("");
    return exchange(c, s, line);
}

enum net_step pop3_auth_response(struct conn *c, struct pop3_session *s, struct str line)
{
    if (str_eq(line, STR("*")))
        return refuse(c, s, POP3_CANCELLED);
    return exchange(c, s, line.p ? line : STR(""));
}

enum net_step pop3_auth_abort(struct conn *c, struct pop3_session *s, enum pop3_text text)
{
    return refuse(c, s, text);
}
