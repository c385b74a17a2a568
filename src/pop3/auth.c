/* AUTH [RFC5034]: a SASL exchange over lines; mechanisms and base 64 are auth's.
 *
 * Invariants: a line is wiped as soon as it has been looked at; whatever ends an exchange early
 * (cancelled, refused, not base 64, a line that is none) leaves the session as it was before AUTH;
 * each refusal counts as an error. */
#include "pop3/pop3_int.h"

static enum net_step list_mechanisms(struct conn *c, struct pop3_session *s)
{
    struct buf names = {.cap = AUTH_CHALLENGE_MAX};
    struct auth_channel channel = pop3_channel(c, s);
    struct str rest, name;
    pop3_ok(c, POP3_MECHANISMS, NULL);
    auth_mechanisms(s->pop3->conf.auth, &channel, &names);
    for (rest = buf_str(&names); str_cut(&rest, ' ', &name);)
        pop3_put_line(net_out(c), STR(""), name, NULL);
    buf_put(net_out(c), STR(".\r\n"));
    buf_fini(&names);
    return NET_READ;
}

enum net_step pop3_auth(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    if (!a->n) /* of no RFC; what Outlook and others ask instead of CAPA */
        return list_mechanisms(c, s);
    struct str line = a->n == 2 ? a->args[1] : (struct str){0};
    enum auth_next next = auth_exchange_begin(pop3_login_begin(c, s), a->args[0], line, &challenge);
    enum net_step step = pop3_login_follow(c, s, next, buf_str(&challenge));
    buf_fini(&challenge);
    return step;
}

enum net_step pop3_auth_response(struct conn *c, struct pop3_session *s, struct str line)
{
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    enum auth_next next = auth_exchange_line(&s->auth, line, &challenge);
    enum net_step step = pop3_login_follow(c, s, next, buf_str(&challenge));
    buf_fini(&challenge);
    return step;
}

enum net_step pop3_auth_abort(struct conn *c, struct pop3_session *s, enum pop3_text text)
{
    auth_exchange_end(&s->auth);
    s->is_sasl = false;
    return pop3_bad(c, s, text);
}
