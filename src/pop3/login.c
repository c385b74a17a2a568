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
    return !pop3_delays_may_log_in(&pop3->delays, s->login.account, clock_mono(pop3->ctx->clock),
                                   pop3->conf.login_delay_s * NS_PER_SEC);
}

static enum net_step open_drop(struct conn *c, struct pop3_session *s)
{
    enum rc rc = pop3_drop_open(c, s, s->login.account);
    if (rc == RC_AGAIN)
        return NET_SHORT;
    s->go_on = NULL;
    if (rc != RC_OK)
        return pop3_err_rc(c, rc);
    if (is_too_soon(s)) { /* [RFC2449 8.1.1] */
        pop3_drop_close(&s->drop);
        return pop3_err(c, POP3_TOO_SOON);
    }
    s->state = POP3_TRANSACTION;
    s->has_progress = true;
    return pop3_ok(c, POP3_SUMMARY, (const uint64_t[]){s->drop.n, s->drop.bytes});
}

static enum net_step checked(struct conn *c, struct pop3_session *s)
{
    s->go_on = NULL;
    if (s->login.rc == RC_OK) {
        s->go_on = open_drop;
        return open_drop(c, s);
    }
    pop3_err_rc(c, s->login.rc);
    if (s->login.is_blocked) {
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
    struct pop3_session *s = CONTAINER(login, struct pop3_session, login);
    net_resume(s->net, s->handle);
}

enum net_step pop3_login_begin(struct conn *c, struct pop3_session *s, struct str name,
                               struct str password)
{
    s->login = (struct auth_login){.done = login_done,
                                   .protocol = "pop3",
                                   .name = name,
                                   .password = password,
                                   .peer = net_peer_text(c),
                                   .session = str_of(net_id(c))};
    enum net_step next = NET_WAIT;
    if (auth_login_now(s->pop3->conf.auth, &s->login)) {
        next = checked(c, s);
    } else {
        s->go_on = checked;
        auth_login(s->pop3->conf.auth, &s->login);
    }
    s->login.name = s->login.password = (struct str){0};
    return next;
}

enum net_step pop3_pass(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (!s->name)
        return pop3_bad(c, s, POP3_USER_FIRST);
    if (!utf8_is_valid(a->rest)) /* [RFC6856 2.2] */
        return pop3_bad(c, s, POP3_NOT_UTF8);
    /* With its spaces [RFC1939 7]. */
    enum net_step next = pop3_login_begin(c, s, str_of(s->name), a->rest);
    net_wipe(c, a->rest);
    free(s->name); /* after a refusal the client starts again with USER [RFC1939 7] */
    s->name = NULL;
    return next;
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
