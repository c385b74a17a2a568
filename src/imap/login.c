/* LOGIN, AUTHENTICATE, STARTTLS, UNAUTHENTICATE, and the way from a password to an open account
 * [RFC3501 6.2] [RFC9051 6.2] [RFC4959] [RFC8437].
 *
 * Passwords are taken only where they can be sent safely, and live in the input, which is wiped,
 * until auth has a copy. The memory of a login is there only while one is under way. */
#include "imap/imap_int.h"
#include "imap/news_int.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { CHECK_SECONDS = 10 };

struct imap_login {
    struct auth_login login;
    struct imap_session *session;
    struct auth_sasl sasl;
    struct buf name;
};

static struct imap_login *login_begin(struct imap_session *s)
{
    imap_login_end(s);
    s->login = mem_zero(sizeof *s->login);
    s->login->session = s;
    s->login->name.cap = AUTH_ADDRESS_MAX;
    return s->login;
}

void imap_login_end(struct imap_session *s)
{
    if (!s->login)
        return;
    auth_sasl_fini(&s->login->sasl);
    buf_fini(&s->login->name);
    free(s->login);
    s->login = NULL;
}

void imap_login_forget(struct imap_session *s)
{
    imap_notify_forget(s);
    imap_view_close(s);
    if (s->account)
        store_account_close(&s->account);
    free(s->user);
    s->user = NULL;
}

/* --- once the password is right --------------------------------------------------------------- */

static void remember(struct conn *c, struct imap_session *s)
{
    const struct imap_login *l = s->login;
    struct str name = buf_str(&l->name);
    s->user = mem_zero(sizeof *s->user + name.n);
    s->user->account = l->login.account;
    memcpy(s->user->credential, l->login.credential, AUTH_CREDENTIAL);
    s->user->checked = clock_mono(s->imap->ctx->clock);
    s->user->n_name = name.n;
    memcpy(s->user->name, name.p, name.n);
    s->state = IMAP_AUTHENTICATED;
    s->has_progress = true;
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
    enum rc rc = store_account_open(s->imap->conf.store, s->login->login.account, imap_flags(c),
                                    &s->account);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_OK)
        remember(c, s);
    imap_login_end(s);
    if (rc == RC_OK)
        return welcome(c, s);
    return imap_finish_rc(c, s, rc == RC_NOTFOUND ? RC_CORRUPT : rc == RC_AGAIN ? RC_TEMP : rc);
}

static enum net_step refused(struct conn *c, struct imap_session *s)
{
    enum rc rc = s->login->login.rc;
    bool is_blocked = s->login->login.is_blocked;
    imap_login_end(s);
    /* Those put off count as well: asking again and again keeps others out. */
    if (++s->failures >= s->imap->conf.login_failures || is_blocked) {
        s->end = is_blocked ? "blocked" : "logins";
        s->bye = "too many logins that failed";
        s->is_logout = true;
    }
    if (is_blocked)
        return imap_finish(c, s, IMAP_AUTH_BLOCKED);
    return imap_finish(c, s, rc == RC_DENIED ? IMAP_AUTH_FAILED : IMAP_AUTH_BUSY);
}

static enum net_step checked(struct conn *c, struct imap_session *s)
{
    if (s->login->login.rc != RC_OK)
        return refused(c, s);
    s->go_on = open_account;
    return open_account(c, s);
}

static void login_done(struct auth_login *login)
{
    struct imap_session *s = CONTAINER(login, struct imap_login, login)->session;
    net_resume(s->net, s->handle);
}

/* Both are copied. */
static enum net_step check(struct conn *c, struct imap_session *s, struct str name,
                           struct str password)
{
    struct imap_login *l = s->login;
    if (buf_add(&l->name, name) != RC_OK || !utf8_is_valid(name) || !utf8_is_valid(password)) {
        imap_login_end(s);
        return imap_finish(c, s, IMAP_AUTH_FAILED); /* nobody's */
    }
    l->login = (struct auth_login){.done = login_done,
                                   .protocol = "imap",
                                   .name = name,
                                   .password = password,
                                   .peer = net_peer_text(c),
                                   .session = str_of(net_id(c))};
    if (auth_login_now(s->imap->conf.auth, &l->login))
        return checked(c, s);
    s->go_on = checked;
    auth_login(s->imap->conf.auth, &l->login);
    return NET_WAIT;
}

enum net_step imap_login(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct str name, password;
    if (!imap_take_astring(p, &name) || !imap_take_sp(p) || !imap_take_astring(p, &password) ||
        !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (!imap_can_secure(c, s))
        return imap_finish(c, s, IMAP_PRIVACY);
    login_begin(s);
    return check(c, s, name, password);
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
    imap_bye(c, STR("[AUTHENTICATIONFAILED] "), STR("the account or its password has changed"));
    return NET_CLOSE;
}

/* --- AUTHENTICATE ----------------------------------------------------------------------------- */

static enum net_step refuse(struct conn *c, struct imap_session *s, enum imap_text text)
{
    imap_login_end(s);
    return imap_finish(c, s, text);
}

static enum net_step next_response(struct conn *c, struct imap_session *s);

static enum net_step challenge(struct conn *c, struct imap_session *s, struct str text)
{
    struct buf *out = net_out(c);
    buf_put(out, STR("+ "));
    if (base64_encode(out, text) != RC_OK)
        out->over = true;
    buf_put(out, STR("\r\n"));
    s->go_on = next_response;
    return imap_wait(s);
}

/* One response; absent: there was none with the command. When it returns, `line` may be freed: a
 * command with literals goes when it ends. */
static enum net_step exchange(struct conn *c, struct imap_session *s, struct str line)
{
    struct buf response = {.cap = AUTH_SASL_RESPONSE_MAX + 3}, text = {.cap = 256};
    struct str decoded = {0};
    enum net_step next;
    enum rc rc = str_is_null(line) ? RC_OK : base64_decode(&response, line);
    if (rc != RC_OK) {
        next = refuse(c, s, IMAP_NOT_BASE64);
    } else {
        if (!str_is_null(line))
            decoded = response.mem ? buf_str(&response) : STR("");
        rc = auth_sasl_step(&s->login->sasl, decoded, &text);
        if (rc == RC_AGAIN)
            next = challenge(c, s, buf_str(&text));
        else if (rc == RC_OK)
            next = check(c, s, s->login->sasl.name, s->login->sasl.password);
        else
            next = refuse(c, s, rc == RC_DENIED ? IMAP_OTHER_IDENTITY : IMAP_NOT_A_RESPONSE);
    }
    buf_wipe(&response);
    buf_fini(&text);
    return next;
}

static enum net_step next_response(struct conn *c, struct imap_session *s)
{
    struct str line;
    enum net_step next = imap_read_line(c, s, &line);
    if (next != NET_READ || !line.p)
        return next;
    s->go_on = NULL;
    if (str_eq(line, STR("*"))) /* [RFC3501 6.2.2] [RFC9051 6.2.2] */
        return refuse(c, s, IMAP_CANCELLED);
    next = exchange(c, s, line);
    net_wipe(c, line); /* a line of the input, whatever has become of the command */
    return next;
}

enum net_step imap_authenticate(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct str mechanism, line = {0};
    if (!imap_take_atom(p, &mechanism) || (p->rest.n && !imap_take_sp(p)))
        return imap_finish_syntax(c, s, p);
    if (p->rest.n)
        line = str_eq(p->rest, STR("=")) ? STR("") : p->rest; /* [RFC4959 3] [RFC9051 6.2.2] */
    if (auth_sasl_begin(&login_begin(s)->sasl, mechanism) != RC_OK)
        return refuse(c, s, IMAP_NO_MECHANISM);
    if (s->login->sasl.is_plaintext && !imap_can_secure(c, s))
        return refuse(c, s, IMAP_PRIVACY);
    return exchange(c, s, line);
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
