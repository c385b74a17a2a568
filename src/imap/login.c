/* LOGIN, AUTHENTICATE, STARTTLS, UNAUTHENTICATE, and the way from a password to an open account
 * [RFC3501 6.2] [RFC9051 6.2] [RFC4959] [RFC8437].
 *
 * Passwords are taken only where they can be sent safely, and live in the input, which is wiped,
 * until auth has a copy. The memory of a login is there only while one is under way. */
#include "imap/imap_int.h"
#include "imap/news_int.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { CHECK_SECONDS = 10 };

struct imap_login {
    struct auth_exchange auth;
    struct imap_session *session;
};

static void login_done(struct auth_login *login)
{
    struct imap_session *s = CONTAINER(login, struct imap_login, auth.login)->session;
    net_resume(s->net, s->handle);
}

static struct auth_exchange *login_begin(struct conn *c, struct imap_session *s)
{
    imap_login_end(s);
    s->login = mem_zero(sizeof *s->login);
    s->login->session = s;
    s->login->auth = (struct auth_exchange){.auth = s->imap->conf.auth,
                                            .channel = imap_channel(c, s),
                                            .login = {.done = login_done,
                                                      .protocol = "imap",
                                                      .peer = net_peer_text(c),
                                                      .session = str_of(net_id(c))}};
    return &s->login->auth;
}

void imap_login_end(struct imap_session *s)
{
    if (!s->login)
        return;
    auth_exchange_end(&s->login->auth);
    free(s->login);
    s->login = NULL;
}

void imap_login_forget(struct imap_session *s)
{
    imap_notify_forget(s);
    imap_view_close(s);
    if (s->account)
        store_account_close(&s->account);
    auth_session_close(&s->entry);
    free(s->user);
    s->user = NULL;
}

/* --- once the password is right --------------------------------------------------------------- */

static void remember(struct conn *c, struct imap_session *s)
{
    const struct auth_login *login = &s->login->auth.login;
    struct str name = login->name;
    s->user = mem_zero(sizeof *s->user + name.n);
    s->user->account = login->account;
    memcpy(s->user->credential, login->credential, AUTH_CREDENTIAL);
    s->user->checked = clock_mono(s->imap->ctx->clock);
    s->user->n_name = name.n;
    memcpy(s->user->name, name.p, name.n);
    s->state = IMAP_AUTHENTICATED;
    s->has_progress = true;
    imap_login_name_client(s);
}

static enum net_step welcome(struct conn *c, struct imap_session *s)
{
    struct buf code = {.cap = 2048};
    buf_put(&code, STR("[CAPABILITY "));
    imap_put_capabilities(c, s, &code);
    buf_put(&code, STR("] "));
    struct str kept = arena_dup(&s->arena, buf_str(&code));
    buf_fini(&code);
    return imap_finish_code(c, s, IMAP_LOGGED_IN, kept);
}

static enum net_step open_account(struct conn *c, struct imap_session *s)
{
    enum rc rc = store_account_open(s->imap->conf.store, s->login->auth.login.account,
                                    imap_flags(c), &s->account);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_OK)
        remember(c, s);
    imap_login_end(s);
    if (rc == RC_OK)
        return welcome(c, s);
    auth_session_close(&s->entry);
    return imap_finish_rc(c, s, rc == RC_NOTFOUND ? RC_CORRUPT : rc == RC_AGAIN ? RC_TEMP : rc);
}

static enum net_step refused(struct conn *c, struct imap_session *s, enum rc rc)
{
    bool is_blocked = s->login->auth.login.is_blocked;
    imap_login_end(s);
    /* Those put off count as well: asking again and again keeps others out. */
    if (++s->failures >= s->imap->conf.login_failures || is_blocked) {
        s->end = is_blocked ? "blocked" : "logins";
        s->bye = "too many logins that failed";
        s->is_logout = true;
    }
    if (is_blocked)
        return imap_finish(c, s, IMAP_AUTH_BLOCKED);
    if (rc == RC_LIMIT) /* the password is right, it is just too much [RFC5530 3] */
        return imap_finish(c, s, IMAP_TOO_MANY_SESSIONS);
    return imap_finish(c, s, rc == RC_DENIED ? IMAP_AUTH_FAILED : IMAP_AUTH_BUSY);
}

static enum net_step checked(struct conn *c, struct imap_session *s)
{
    const struct auth_login *login = &s->login->auth.login;
    enum rc rc = login->rc;
    if (rc == RC_OK)
        rc = auth_session_open(s->imap->conf.auth, c, login, &s->entry);
    if (rc != RC_OK)
        return refused(c, s, rc);
    s->go_on = open_account;
    return open_account(c, s);
}

/* --- the exchange ----------------------------------------------------------------------------- */

static enum net_step refuse(struct conn *c, struct imap_session *s, enum imap_text text)
{
    imap_login_end(s);
    return imap_finish(c, s, text);
}

static enum imap_text text_of(enum rc refusal)
{
    static const enum imap_text table[RC_COUNT] = {
        [RC_NOTFOUND] = IMAP_NO_MECHANISM, [RC_PERM] = IMAP_PRIVACY,
        [RC_DENIED] = IMAP_OTHER_IDENTITY, [RC_CORRUPT] = IMAP_NOT_BASE64,
        [RC_SYNTAX] = IMAP_NOT_A_RESPONSE, [RC_LIMIT] = IMAP_NOT_A_RESPONSE,
        [RC_EOF] = IMAP_CANCELLED, /* [RFC3501 6.2.2] [RFC9051 6.2.2] */
    };
    return table[refusal];
}

static enum net_step next_response(struct conn *c, struct imap_session *s);
static enum net_step waited(struct conn *c, struct imap_session *s);

static enum net_step follow(struct conn *c, struct imap_session *s, enum auth_next next,
                            struct str challenge)
{
    bool is_waiting = next == AUTH_WAIT || next == AUTH_SHORT;
    s->go_on = next == AUTH_ASK ? next_response : is_waiting ? waited : NULL;
    switch (next) {
    case AUTH_ASK:
        buf_put(net_out(c), STR("+ "));
        buf_put(net_out(c), challenge);
        buf_put(net_out(c), STR("\r\n"));
        return imap_wait(s);
    case AUTH_SHORT:
        return NET_SHORT;
    case AUTH_WAIT:
        return NET_WAIT;
    case AUTH_DECIDED:
        return checked(c, s);
    default:
        return refuse(c, s, text_of(s->login->auth.refusal));
    }
}

static enum net_step waited(struct conn *c, struct imap_session *s)
{
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    enum auth_next next = auth_exchange_go_on(&s->login->auth, &challenge);
    enum net_step step = follow(c, s, next, buf_str(&challenge));
    buf_fini(&challenge);
    return step;
}

static enum net_step next_response(struct conn *c, struct imap_session *s)
{
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    struct str line;
    enum net_step step = imap_read_line(c, s, &line);
    if (step != NET_READ || !line.p)
        return step;
    enum auth_next next = auth_exchange_line(&s->login->auth, line, &challenge);
    step = follow(c, s, next, buf_str(&challenge));
    net_wipe(c, line); /* a line of the input, whatever has become of the command */
    buf_fini(&challenge);
    return step;
}

enum net_step imap_authenticate(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct buf challenge = {.cap = AUTH_CHALLENGE_MAX};
    struct str mechanism;
    if (!imap_take_atom(p, &mechanism) || (p->rest.n && !imap_take_sp(p)))
        return imap_finish_syntax(c, s, p);
    enum auth_next next =
        auth_exchange_begin(login_begin(c, s), mechanism, p->rest, &challenge); /* [RFC4959 3] */
    enum net_step step = follow(c, s, next, buf_str(&challenge));
    buf_fini(&challenge);
    return step;
}

enum net_step imap_login(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct str name, password;
    if (!imap_take_astring(p, &name) || !imap_take_sp(p) || !imap_take_astring(p, &password) ||
        !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (!imap_can_secure(c, s))
        return imap_finish(c, s, IMAP_PRIVACY);
    struct auth_exchange *x = login_begin(c, s);
    if (!utf8_is_valid(name) || !utf8_is_valid(password))
        return refuse(c, s, IMAP_AUTH_FAILED); /* nobody's */
    enum auth_next next = auth_exchange_password(x, name, password);
    if (next == AUTH_REFUSED)
        return refuse(c, s, IMAP_AUTH_FAILED);
    return follow(c, s, next, STR(""));
}

void imap_login_name_client(struct imap_session *s)
{
    if (!s->entry || !s->client)
        return;
    auth_session_client(s->entry, str_of(s->client));
    free(s->client);
    s->client = NULL;
}

void imap_login_over(struct conn *c)
{
    imap_bye(c, STR("[AUTHENTICATIONFAILED] "), STR("the account or its password has changed"));
}

enum net_step imap_login_check(struct conn *c, struct imap_session *s)
{
    struct imap_user *u = s->user;
    uint64_t now = clock_mono(s->imap->ctx->clock);
    if (now - u->checked < CHECK_SECONDS * NS_PER_SEC)
        return NET_READ;
    enum rc rc = auth_login_holds(s->imap->conf.auth, str_from(u->name, u->n_name), u->account,
                                  u->credential, imap_flags(c));
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    u->checked = now; /* when it cannot be found out now, it is asked again */
    if (rc != RC_DENIED)
        return NET_READ;
    s->end = "login";
    imap_login_over(c);
    return NET_CLOSE;
}

/* --- TLS, and back ---------------------------------------------------------------------------- */

enum net_step imap_starttls(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (net_is_secure(c))
        return imap_finish(c, s, IMAP_TLS_ACTIVE);
    if (!net_has_tls(c))
        return imap_finish(c, s, IMAP_NO_TLS);
    if (net_in(c).n) { /* it would be taken for what came in TLS */
        s->end = "injection";
        s->bye = "start again";
        s->is_logout = true;
        return imap_finish(c, s, IMAP_INJECTION);
    }
    imap_finish(c, s, IMAP_BEGIN_TLS);
    return NET_TLS;
}

enum net_step imap_unauthenticate(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    /* As in a new connection, but for TLS [RFC8437 3]. */
    imap_log_session(c, s, "unauthenticate");
    imap_login_forget(s);
    s->enabled = 0;
    s->state = IMAP_NOT_AUTHENTICATED;
    net_deadline(c, s->imap->conf.login_ms);
    enum net_step next = imap_finish(c, s, IMAP_UNAUTHENTICATED); /* tells no news */
    return next == NET_READ && net_is_compressed(c) ? NET_EXPAND : next;
}
