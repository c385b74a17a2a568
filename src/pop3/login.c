/* USER, PASS, STLS, and the way from a password to an open maildrop [RFC1939 4, 7] [RFC2595 4].
 *
 * USER is answered alike for every name. Passwords are taken only where they can be sent safely. A
 * login has three parts, each of which may have to wait: the password, the account, the lock.
 */
#include "pop3/pop3_int.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>

enum net_step pop3_user(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    free(s->name);
    s->name = NULL;
    if (a->rest.n > AUTH_ADDRESS_MAX)
        return pop3_bad(c, s, POP3_NAME_TOO_LONG);
    if (!utf8_is_valid(a->rest)) /* [RFC6856 2.2] */
        return pop3_bad(c, s, POP3_NOT_UTF8);
    s->name = mem_dup(a->rest.p, a->rest.n);
    return pop3_ok(c, POP3_SEND_PASS, NULL);
}

static bool is_too_soon(struct pop3_session *s)
{
    struct pop3 *pop3 = s->pop3;
    return !pop3_delays_may_log_in(&pop3->delays, s->auth.login.account,
                                   clock_mono(pop3->ctx->clock),
                                   pop3->conf.login_delay_s * NS_PER_SEC);
}

static enum net_step open_drop(struct conn *c, struct pop3_session *s)
{
    enum rc rc = pop3_drop_open(c, s, s->auth.login.account);
    if (rc == RC_AGAIN)
        return NET_SHORT;
    s->go_on = NULL;
    if (rc != RC_OK) {
        auth_session_close(&s->entry);
        return pop3_err_rc(c, rc);
    }
    if (is_too_soon(s)) { /* [RFC2449 8.1.1] */
        auth_session_close(&s->entry);
        pop3_drop_close(&s->drop);
        return pop3_err(c, POP3_TOO_SOON);
    }
    s->state = POP3_TRANSACTION;
    s->has_progress = true;
    return pop3_ok(c, POP3_SUMMARY, (const uint64_t[]){s->drop.n, s->drop.bytes});
}

static enum net_step checked(struct conn *c, struct pop3_session *s)
{
    enum rc rc = s->auth.login.rc;
    if (rc == RC_OK)
        rc = auth_session_open(s->pop3->conf.auth, c, &s->auth.login, &s->entry);
    s->go_on = NULL;
    if (rc == RC_OK) {
        s->go_on = open_drop;
        return open_drop(c, s);
    }
    if (rc == RC_LIMIT)
        pop3_err(c, POP3_TOO_MANY_SESSIONS);
    else
        pop3_err_rc(c, rc);
    if (s->auth.login.is_blocked) {
        s->end = "blocked";
        return NET_CLOSE;
    }
    /* Those put off count as well: asking again and again keeps others out. */
    if (++s->failures < s->pop3->conf.login_failures)
        return NET_READ;
    s->end = "logins";
    return NET_CLOSE;
}

static void login_done(struct auth_login *login)
{
    struct pop3_session *s = CONTAINER(login, struct pop3_session, auth.login);
    net_resume(s->net, s->handle);
}

struct auth_exchange *pop3_login_begin(struct conn *c, struct pop3_session *s)
{
    auth_exchange_end(&s->auth);
    s->auth = (struct auth_exchange){.auth = s->pop3->conf.auth,
                                     .channel = pop3_channel(c, s),
                                     .login = {.done = login_done,
                                               .protocol = "pop3",
                                               .peer = net_peer_text(c),
                                               .session = str_of(net_id(c))}};
    return &s->auth;
}

static enum pop3_text text_of(enum rc refusal)
{
    static const enum pop3_text table[RC_COUNT] = {
        [RC_NOTFOUND] = POP3_NO_MECHANISM, [RC_PERM] = POP3_NO_MECHANISM,
        [RC_DENIED] = POP3_OTHER_IDENTITY, [RC_CORRUPT] = POP3_NOT_BASE64,
        [RC_SYNTAX] = POP3_NOT_A_RESPONSE, [RC_LIMIT] = POP3_NOT_A_RESPONSE,
        [RC_EOF] = POP3_CANCELLED, /* [RFC5034 4] */
    };
    return table[refusal];
}

static enum net_step waited(struct conn *c, struct pop3_session *s)
{
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    enum auth_next next = auth_exchange_go_on(&s->auth, &challenge);
    enum net_step step = pop3_login_follow(c, s, next, buf_str(&challenge));
    buf_fini(&challenge);
    return step;
}

enum net_step pop3_login_follow(struct conn *c, struct pop3_session *s, enum auth_next next,
                                struct str challenge)
{
    s->is_sasl = next == AUTH_ASK;
    s->go_on = next == AUTH_WAIT || next == AUTH_SHORT ? waited : NULL;
    switch (next) {
    case AUTH_ASK: /* an empty one is just "+ " [RFC5034 4] */
        pop3_put_line(net_out(c), STR("+ "), challenge, NULL);
        return NET_READ;
    case AUTH_SHORT:
        return NET_SHORT;
    case AUTH_WAIT:
        return NET_WAIT;
    case AUTH_DECIDED:
        return checked(c, s);
    default:
        return pop3_bad(c, s, text_of(s->auth.refusal));
    }
}

enum net_step pop3_pass(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (!s->name)
        return pop3_bad(c, s, POP3_USER_FIRST);
    if (!utf8_is_valid(a->rest)) /* [RFC6856 2.2] */
        return pop3_bad(c, s, POP3_NOT_UTF8);
    /* With its spaces [RFC1939 7]. */
    enum auth_next next = auth_exchange_password(pop3_login_begin(c, s), str_of(s->name), a->rest);
    enum net_step step = pop3_login_follow(c, s, next, STR(""));
    net_wipe(c, a->rest);
    free(s->name); /* after a refusal the client starts again with USER [RFC1939 7] */
    s->name = NULL;
    return step;
}

enum net_step pop3_stls(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (net_is_secure(c))
        return pop3_bad(c, s, POP3_TLS_ACTIVE); /* [RFC2595 4] */
    if (!net_has_tls(c))
        return pop3_bad(c, s, POP3_NO_TLS);
    if (s->is_utf8) /* [RFC6856 2.1] */
        return pop3_bad(c, s, POP3_NO_TLS_AFTER_UTF8);
    if (net_in(c).n) { /* it would be taken for what came in TLS */
        pop3_err(c, POP3_INJECTION);
        s->end = "injection";
        return NET_CLOSE;
    }
    pop3_ok(c, POP3_BEGIN_TLS, NULL);
    return NET_TLS;
}
