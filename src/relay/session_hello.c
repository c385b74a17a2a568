/* The beginning of a session, until mail can be sent: greeting, EHLO (HELO where it is not known,
 * LHLO for LMTP), STARTTLS, and a login where the route has one.
 *
 * TLS is tried wherever it is offered; what it must show is the route's to say (relay_tls) and
 * DANE's. Where it must show something, nothing is sent in clear, whatever the host does. A
 * password is said in TLS only, or to this machine itself. A host that is of no use is told so with
 * QUIT [RFC5321 4.1.1.10]. */
#include "relay/session_int.h"

#include "base/base64.h"

#include <stdio.h>
#include <string.h>

/* --- TLS */

bool session_tls_is_needed(const struct relay_session *s)
{
    return s->target.has_dane || s->target.must_tls || s->target.tls == RELAY_TLS_VERIFY ||
           s->target.tls == RELAY_TLS_IMPLICIT;
}

const char *session_tls_status(const struct relay_session *s, const char *usual)
{
    return s->target.requires_tls ? "5.7.10" : usual; /* [RFC8689 4.2.1] */
}

void session_tls_want(const struct relay_session *s, struct net_tls_want *out)
{
    *out = (struct net_tls_want){.name = s->target.name};
    if (s->target.n_tlsa > 0) { /* [RFC7672 2.2] */
        out->level = NET_TLS_DANE;
        out->tlsa = s->tlsa;
        out->n_tlsa = s->target.n_tlsa;
        out->names = s->target.names; /* [RFC7672 3.2.2] */
        out->n_names = s->target.n_names;
    } else if (s->target.tls == RELAY_TLS_VERIFY || s->target.tls == RELAY_TLS_IMPLICIT ||
               (s->target.tries_proof && !s->has_no_proof)) {
        out->level = NET_TLS_NAMED;
    }
}

static enum net_step begin_tls(struct conn *c, struct relay_session *s)
{
    struct net_tls_want want;
    session_tls_want(s, &want);
    enum rc rc = net_tls_expect(c, &want);
    if (rc == RC_NOTFOUND && want.level == NET_TLS_DANE) {
        want.level = NET_TLS_ANY; /* no record is usable: TLS, but without a check [RFC7672 2.2] */
        rc = net_tls_expect(c, &want);
    }
    if (rc != RC_OK)
        return session_fail_text(s, RELAY_AT_TLS, "4.7.5", "TLS cannot be set up here");
    return NET_TLS;
}

/* --- EHLO */

static enum net_step ask(struct conn *c, struct relay_session *s, enum wait wait, const char *text)
{
    buf_put(net_out(c), str_of(text));
    buf_put(net_out(c), STR("\r\n"));
    session_wait(c, s, wait);
    return NET_READ;
}

static enum net_step say_hello(struct conn *c, struct relay_session *s, enum wait wait)
{
    char line[300];
    const char *verb = s->target.protocol == RELAY_LMTP ? "LHLO" /* [RFC2033 4.1] */
                       : wait == WAIT_EHLO              ? "EHLO"
                                                        : "HELO";
    s->hello = (struct smtp_hello){0};
    snprintf(line, sizeof line, "%s %.*s", verb, STR_ARG(s->hostname));
    return ask(c, s, wait, line);
}

/* Nothing that was said in clear counts in TLS [RFC3207 4.2]. */
enum net_step session_hello_begin(struct conn *c, struct relay_session *s)
{
    s->answer = (struct smtp_answer){0};
    return say_hello(c, s, WAIT_EHLO);
}

static enum net_step be_ready(struct relay_session *s)
{
    pthread_mutex_lock(&s->mutex);
    s->is_ready = true;
    pthread_mutex_unlock(&s->mutex);
    s->wait = WAIT_NOTHING;
    s->owner->ready(s->owner, s);
    return NET_READ;
}

/* --- logins [RFC4954 4] */

static enum net_step say_secret(struct conn *c, struct relay_session *s, enum wait wait,
                                const char *before, struct str secret)
{
    struct buf line = {.cap = 2048};
    buf_put(&line, str_of(before));
    enum rc rc = base64_encode(&line, secret);
    buf_put(&line, STR("\r\n"));
    if (rc == RC_OK)
        buf_put(net_out(c), buf_str(&line));
    buf_wipe(&line);
    if (rc != RC_OK)
        return session_fail_text(s, RELAY_AT_LOGIN, "4.7.8", "the name or password is too long");
    session_wait(c, s, wait);
    return NET_READ;
}

/* [RFC4616 2] */
static enum net_step say_plain(struct conn *c, struct relay_session *s)
{
    struct buf all = {.cap = 1024};
    buf_put(&all, str_from("", 1));
    buf_put(&all, s->target.login);
    buf_put(&all, str_from("", 1));
    buf_put(&all, s->target.password);
    enum net_step next =
        all.over ? session_fail_text(s, RELAY_AT_LOGIN, "4.7.8", "the name or password is too long")
                 : say_secret(c, s, WAIT_LOGIN, "AUTH PLAIN ", buf_str(&all));
    buf_wipe(&all);
    return next;
}

static enum net_step begin_login(struct conn *c, struct relay_session *s)
{
    if (s->target.requires_tls && s->facts.proof == NET_PROOF_NONE) /* [RFC8689 4.2.1] */
        return session_fail_text(s, RELAY_AT_TLS, "5.7.10",
                                 "TLS is required, and the host could not be verified by it");
    if (s->target.requires_tls && !(s->hello.offers & SMTP_HAS_REQUIRETLS))
        return session_fail_text(s, RELAY_AT_TLS, "5.7.30",
                                 "TLS is required all the way, and REQUIRETLS is not offered");
    if (s->target.login.n == 0)
        return be_ready(s);
    if (!net_is_secure(c) && !net_is_loopback(net_peer(c)))
        return session_fail_text(s, RELAY_AT_LOGIN, "4.7.11",
                                 "a password is said in TLS only, and there is none");
    if (s->hello.offers & SMTP_HAS_AUTH_PLAIN)
        return say_plain(c, s);
    if (s->hello.offers & SMTP_HAS_AUTH_LOGIN)
        return ask(c, s, WAIT_NAME, "AUTH LOGIN");
    return session_fail_text(s, RELAY_AT_LOGIN, "4.7.4",
                             "it offers no login that is known here (PLAIN or LOGIN)");
}

/* Whoever runs this server has to do something about it; until then mail waits. */
static enum net_step fail_login(struct relay_session *s)
{
    return session_fail_reply(s, RELAY_AT_LOGIN, true, "the login was refused: ");
}

/* --- answers */

static enum net_step after_ehlo(struct conn *c, struct relay_session *s)
{
    bool is_offered = s->hello.offers & SMTP_HAS_STARTTLS;
    bool is_tried =
        s->target.tls != RELAY_TLS_NEVER && !s->in_clear && !net_is_secure(c) && s->house->tls;
    if (!net_is_secure(c) && is_offered)
        s->facts.has_starttls = true;
    if (is_tried && is_offered)
        return ask(c, s, WAIT_STARTTLS, "STARTTLS"); /* [RFC3207 4] */
    if (session_tls_is_needed(s) && !net_is_secure(c))
        return session_fail_text(s, RELAY_AT_TLS, session_tls_status(s, "4.7.4"),
                                 "TLS is required, and not offered");
    return begin_login(c, s);
}

static enum net_step after_starttls(struct conn *c, struct relay_session *s)
{
    if (s->answer.code == 220)
        return begin_tls(c, s);
    if (session_tls_is_needed(s))
        return session_fail_reply(s, RELAY_AT_TLS, !s->target.requires_tls,
                                  "TLS is required, and STARTTLS was refused: ");
    s->in_clear = true;
    return begin_login(c, s);
}

static enum net_step take_answer(struct conn *c, struct relay_session *s)
{
    unsigned class = s->answer.code / 100;
    switch (s->wait) {
    case WAIT_GREETING:
        if (class != 2)
            return session_fail_reply(s, RELAY_AT_GREETING, false, "");
        return say_hello(c, s, WAIT_EHLO);
    case WAIT_EHLO:
        if (class == 2)
            return after_ehlo(c, s);
        /* [RFC5321 3.2] */
        if (class != 5 || s->target.protocol == RELAY_LMTP || net_is_secure(c))
            return session_fail_reply(s, RELAY_AT_HELLO, false, "");
        return say_hello(c, s, WAIT_HELO);
    case WAIT_HELO:
        return class == 2 ? after_ehlo(c, s) : session_fail_reply(s, RELAY_AT_HELLO, false, "");
    case WAIT_STARTTLS:
        return after_starttls(c, s);
    case WAIT_NAME:
        return class == 3 ? say_secret(c, s, WAIT_PASSWORD, "", s->target.login) : fail_login(s);
    case WAIT_PASSWORD:
        return class == 3 ? say_secret(c, s, WAIT_LOGIN, "", s->target.password) : fail_login(s);
    default:
        return class == 2 ? be_ready(s) : fail_login(s);
    }
}

enum net_step session_hello_answer(struct conn *c, struct relay_session *s)
{
    bool is_before_tls = s->wait == WAIT_STARTTLS && s->answer.code == 220;
    enum net_step next = take_answer(c, s);
    return next == NET_ABORT && !is_before_tls ? session_say_goodbye(c) : next;
}
