/* AUTH: who the peer is [RFC4954 4]. The mechanisms are auth's; here are the lines, their base 64,
 * and when an exchange may begin and how it ends.
 *
 * 1. From AUTH to its answer the session has a struct exchange, and every line is a response.
 * 2. A password is readable only in TLS, or where plaintext is allowed; it is wiped from the
 * decoded response as soon as auth has its copy, and from the line whatever becomes of it: what is
 * refused may hold a right one.
 * 3. The login is computed elsewhere: the session waits for it, its loop does not.
 */
#include "smtpd/smtpd_int.h"

#include "base/base64.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct exchange {
    struct auth_sasl sasl;
    struct auth_login login;
    bool is_login; /* auth has it: the next step is its result */
    struct net *net;
    struct net_handle handle;
};

enum { CHALLENGE_MAX = 256 };

bool smtpd_auth_may_be_plaintext(const struct session *s)
{
    return net_is_secure(s->conn) ||
           (s->smtpd->conf.plaintext_on_loopback && net_is_loopback(net_peer(s->conn)));
}

bool smtpd_auth_is_offered(const struct session *s)
{
    struct buf names;
    buf_init(&names, CHALLENGE_MAX);
    auth_sasl_mechanisms(smtpd_auth_may_be_plaintext(s), &names);
    bool is_offered = buf_len(&names) > 0;
    buf_fini(&names);
    return is_offered;
}

void smtpd_auth_put(const struct session *s, struct buf *out)
{
    buf_put(out, STR(" "));
    auth_sasl_mechanisms(smtpd_auth_may_be_plaintext(s), out);
}

void smtpd_auth_end(struct session *s)
{
    if (s->exchange == NULL)
        return;
    auth_sasl_fini(&s->exchange->sasl);
    free(s->exchange);
    s->exchange = NULL;
}

void smtpd_auth_forget(struct session *s)
{
    smtpd_auth_end(s);
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
    struct exchange *e = CONTAINER(login, struct exchange, login);
    net_resume(e->net, e->handle); /* the session's owner may free e from here on */
}

static enum flow conclude(struct session *s, struct exchange *e)
{
    enum smtpd_reply reply = smtpd_reply_of_login(e->login.rc);
    s->has_moved = true;
    if (e->login.is_blocked)
        return turn_away(s);
    if (reply != SMTPD_LOGGED_IN)
        return fail(s, reply);
    s->account = e->login.account;
    memcpy(s->credential, e->login.credential, sizeof s->credential);
    s->login = mem_dup(e->sasl.name.p, e->sasl.name.n);
    smtpd_auth_end(s);
    smtpd_reply_say(s, reply);
    return FLOW_NEXT;
}

static enum flow log_in(struct session *s, struct exchange *e)
{
    e->net = net_of(s->conn);
    e->handle = net_handle(s->conn);
    e->is_login = true;
    e->login = (struct auth_login){.done = logged_in,
                                   .protocol = "smtp",
                                   .name = e->sasl.name,
                                   .password = e->sasl.password,
                                   .peer = net_peer_text(s->conn),
                                   .session = str_of(net_id(s->conn))};
    if (auth_login_now(s->smtpd->conf.auth, &e->login))
        return conclude(s, e);
    auth_login(s->smtpd->conf.auth, &e->login);
    return FLOW_WAIT;
}

/* --- the exchange ----------------------------------------------------------------------------- */

static void say_challenge(struct session *s, struct str challenge)
{
    struct buf text;
    buf_init(&text, 2 * CHALLENGE_MAX);
    if (base64_encode(&text, challenge) == RC_OK)
        smtpd_reply_say_text(s, SMTPD_CHALLENGE, buf_str(&text));
    else
        smtpd_reply_say(s, SMTPD_LOGIN_LATER);
    buf_fini(&text);
}

/* A step of the exchange with what stands on a line. */
static enum flow take(struct session *s, struct str text, bool is_initial)
{
    struct buf decoded, challenge;
    struct auth_sasl *sasl = &s->exchange->sasl;
    enum flow flow = FLOW_NEXT;
    buf_init(&decoded, SMTPD_AUTH_LINE);
    buf_init(&challenge, CHALLENGE_MAX);
    enum rc rc = is_initial ? smtpd_auth_initial(sasl, text, &decoded, &challenge)
                            : smtpd_auth_response(sasl, text, &decoded, &challenge);
    if (rc == RC_AGAIN)
        say_challenge(s, buf_str(&challenge));
    else if (rc == RC_OK)
        flow = log_in(s, s->exchange);
    else
        flow = fail(s, smtpd_reply_of_sasl(rc));
    buf_wipe(&decoded);
    buf_fini(&challenge);
    return flow;
}

enum flow smtpd_cmd_auth(struct session *s, struct str args)
{
    struct str mechanism, initial;
    smtp_line_split(args, &mechanism, &initial);
    if (!s->is_esmtp || s->login) {
        smtpd_reply_say(s, s->login ? SMTPD_AUTH_ALREADY : SMTPD_WANT_HELO); /* [RFC4954 4] */
        return FLOW_NEXT;
    }
    s->exchange = mem_zero(sizeof *s->exchange);
    if (auth_sasl_begin(&s->exchange->sasl, mechanism) != RC_OK)
        return fail(s, SMTPD_NO_MECHANISM);
    if (s->exchange->sasl.is_plaintext && !smtpd_auth_may_be_plaintext(s))
        return fail(s, SMTPD_AUTH_WANTS_TLS); /* [RFC4954 6] */
    return take(s, initial, true);
}

enum flow smtpd_auth_step(struct session *s)
{
    if (s->exchange->is_login)
        return conclude(s, s->exchange);
    struct str in = net_in(s->conn), rest = in, line;
    enum flow flow = FLOW_READ;
    enum rc rc = smtp_line_next(&s->lines, &rest, &line);
    if (rc == RC_OK)
        flow = take(s, line, false);
    else if (rc != RC_AGAIN)
        flow = fail(s, rc == RC_LIMIT ? SMTPD_AUTH_LONG : SMTPD_BAD_BASE64);
    if (flow != FLOW_READ)
        net_wipe(s->conn, str_head(in, in.n - rest.n));
    net_consume(s->conn, in.n - rest.n);
    s->has_moved |= flow != FLOW_READ;
    return flow;
}
