/* AUTH: who the peer is [RFC4954 4]. Mechanisms, base 64 and what is asked of the directory are
 * auth's; here are the lines, when an exchange may begin and how it ends.
 *
 * 1. From AUTH to its answer the session has a struct exchange, and every line is a response.
 * 2. A line is wiped whatever becomes of it: what is refused may hold a right password.
 * 3. The login is computed elsewhere: the session waits for it, its loop does not.
 */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct exchange {
    struct auth_exchange auth;
    bool is_waiting; /* the next step goes on with it; no line is read */
    struct net *net;
    struct net_handle handle;
};

static struct auth_channel channel_of(const struct session *s)
{
    return auth_channel_of(s->conn, s->smtpd->conf.plaintext_on_loopback);
}

bool smtpd_auth_is_offered(const struct session *s)
{
    struct buf names;
    buf_init(&names, AUTH_CHALLENGE_MAX);
    smtpd_auth_put(s, &names);
    bool is_offered = buf_len(&names) > 1;
    buf_fini(&names);
    return is_offered;
}

void smtpd_auth_put(const struct session *s, struct buf *out)
{
    struct auth_channel channel = channel_of(s);
    buf_put(out, STR(" "));
    auth_mechanisms(s->smtpd->conf.auth, &channel, out);
}

void smtpd_auth_end(struct session *s)
{
    if (s->exchange == NULL)
        return;
    auth_exchange_end(&s->exchange->auth);
    free(s->exchange);
    s->exchange = NULL;
}

void smtpd_auth_forget(struct session *s)
{
    smtpd_auth_end(s);
    auth_session_close(&s->entry);
    free(s->login);
    s->login = NULL;
    s->account = 0;
}

/* The exchange is over without a login. */
static enum flow fail(struct session *s, enum smtpd_reply reply)
{
    smtpd_auth_end(s);
    smtpd_reply_say(s, reply);
    if (++s->login_failures < s->smtpd->conf.login_failures)
        return FLOW_NEXT;
    smtpd_reply_say(s, SMTPD_TOO_MANY_LOGINS);
    return FLOW_CLOSE;
}

/* After too many wrong passwords: this one was not even looked at. */
static enum flow turn_away(struct session *s)
{
    smtpd_auth_end(s);
    smtpd_reply_say(s, SMTPD_LOGIN_LATER);
    smtpd_reply_say(s, SMTPD_TOO_MANY_LOGINS);
    return FLOW_CLOSE;
}

/* --- the login -------------------------------------------------------------------------------- */

static void logged_in(struct auth_login *login)
{
    struct exchange *e = CONTAINER(login, struct exchange, auth.login);
    net_resume(e->net, e->handle); /* the session's owner may free e from here on */
}

static enum flow conclude(struct session *s, struct exchange *e)
{
    const struct auth_login *login = &e->auth.login;
    enum smtpd_reply reply = smtpd_reply_of_login(login->rc);
    if (login->is_blocked)
        return turn_away(s);
    if (reply != SMTPD_LOGGED_IN)
        return fail(s, reply);
    if (auth_session_open(s->smtpd->conf.auth, s->conn, login, &s->entry) != RC_OK) {
        smtpd_auth_end(s);
        smtpd_reply_say(s, SMTPD_TOO_MANY_SESSIONS);
        return FLOW_CLOSE;
    }
    s->account = login->account;
    memcpy(s->credential, login->credential, sizeof s->credential);
    s->login = mem_dup(login->name.p, login->name.n);
    smtpd_auth_end(s);
    smtpd_reply_say(s, reply);
    return FLOW_NEXT;
}

/* --- the exchange ----------------------------------------------------------------------------- */

static enum flow follow(struct session *s, enum auth_next next, struct str challenge)
{
    struct exchange *e = s->exchange;
    e->is_waiting = next == AUTH_WAIT || next == AUTH_SHORT;
    switch (next) {
    case AUTH_ASK:
        smtpd_reply_say_text(s, SMTPD_CHALLENGE, challenge);
        return FLOW_NEXT;
    case AUTH_SHORT:
        return FLOW_BLOCK;
    case AUTH_WAIT:
        return FLOW_WAIT;
    case AUTH_DECIDED:
        return conclude(s, e);
    default:
        return fail(s, smtpd_reply_of_sasl(e->auth.refusal));
    }
}

enum flow smtpd_cmd_auth(struct session *s, struct str args)
{
    struct str mechanism, initial;
    struct buf challenge;
    smtp_line_split(args, &mechanism, &initial);
    if (!s->is_esmtp || s->login) {
        smtpd_reply_say(s, s->login ? SMTPD_AUTH_ALREADY : SMTPD_WANT_HELO); /* [RFC4954 4] */
        return FLOW_NEXT;
    }
    struct exchange *e = mem_zero(sizeof *e);
    *e = (struct exchange){.auth = {.auth = s->smtpd->conf.auth,
                                    .channel = channel_of(s),
                                    .login = {.done = logged_in,
                                              .protocol = "smtp",
                                              .peer = net_peer_text(s->conn),
                                              .session = str_of(net_id(s->conn))}},
                           .net = net_of(s->conn),
                           .handle = net_handle(s->conn)};
    s->exchange = e;
    buf_init(&challenge, AUTH_CHALLENGE_MAX);
    enum auth_next next = auth_exchange_begin(&e->auth, mechanism, initial, &challenge);
    enum flow flow = follow(s, next, buf_str(&challenge));
    buf_fini(&challenge);
    if (flow == FLOW_BLOCK)
        smtpd_auth_end(s); /* the command stays in the input, and begins anew */
    return flow;
}

/* One line, or what the exchange has waited for. */
static enum flow go_on(struct session *s, struct str line)
{
    struct buf challenge;
    struct auth_exchange *x = &s->exchange->auth;
    buf_init(&challenge, AUTH_CHALLENGE_MAX);
    enum auth_next next = s->exchange->is_waiting ? auth_exchange_go_on(x, &challenge)
                                                  : auth_exchange_line(x, line, &challenge);
    enum flow flow = follow(s, next, buf_str(&challenge));
    buf_fini(&challenge);
    s->has_moved = true;
    return flow;
}

enum flow smtpd_auth_step(struct session *s)
{
    if (s->exchange->is_waiting)
        return go_on(s, (struct str){0});
    struct str in = net_in(s->conn), rest = in, line;
    enum rc rc = smtp_line_next(&s->lines, &rest, &line);
    enum flow flow = FLOW_READ;
    if (rc == RC_OK)
        flow = go_on(s, line);
    else if (rc != RC_AGAIN)
        flow = fail(s, rc == RC_LIMIT ? SMTPD_AUTH_LONG : SMTPD_BAD_BASE64);
    if (flow != FLOW_READ)
        net_wipe(s->conn, str_head(in, in.n - rest.n));
    net_consume(s->conn, in.n - rest.n);
    s->has_moved |= flow != FLOW_READ;
    return flow;
}
