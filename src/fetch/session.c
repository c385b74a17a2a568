/* A connection to an account elsewhere: how it is made, its time, and its one end (closed()),
 * whatever was the cause. What is said on it is the driver's (pop3.c, imap.c).
 *
 * An address that cannot be connected to is followed by the next one. */
#include "fetch/fetch_int.h"

#include "base/mem.h"
#include "crypto/crypto.h"
#include "smtp/smtp.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUT_HIGH = 32 << 10 };

uint16_t fetch_port(enum fetch_protocol protocol, enum fetch_tls tls)
{
    if (protocol == FETCH_POP3)
        return tls == FETCH_TLS_IMPLICIT ? 995 : 110;
    return tls == FETCH_TLS_IMPLICIT ? 993 : 143;
}

/* --- its end ---------------------------------------------------------------------------------- */

static enum net_step fail_text(struct fetch_session *s, enum rc rc, struct str text)
{
    struct buf clean = {.cap = FETCH_TEXT};
    if (s->has_failed)
        return NET_ABORT;
    smtp_clean_put(&clean, text);
    s->end.rc = rc;
    memcpy(s->end.text, buf_len(&clean) ? buf_str(&clean).p : "", buf_len(&clean));
    s->end.text[buf_len(&clean)] = '\0';
    s->has_failed = true;
    buf_fini(&clean);
    return NET_ABORT;
}

enum net_step fetch_session_fail(struct fetch_session *s, enum rc rc, const char *format, ...)
{
    char text[2 * FETCH_TEXT];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    return fail_text(s, rc, str_of(text));
}

enum net_step fetch_session_fail_words(struct fetch_session *s, enum rc rc, const char *text,
                                       struct str words)
{
    struct buf all = {.cap = FETCH_LINE + FETCH_TEXT};
    buf_put(&all, str_of(text));
    buf_put(&all, str_head(str_trim(words), FETCH_TEXT));
    fail_text(s, rc, buf_str(&all));
    buf_fini(&all);
    return NET_ABORT;
}

enum net_step fetch_session_fail_owner(struct fetch_session *s, enum rc rc)
{
    return fail_text(s, rc, STR(""));
}

enum net_step fetch_session_done(struct conn *c, struct fetch_session *s, struct str farewell)
{
    buf_put(net_out(c), farewell);
    if (!s->has_failed)
        s->end.rc = RC_OK;
    s->has_failed = true;
    return NET_CLOSE;
}

/* Net has ended it, or the host has. */
static void explain(struct fetch_session *s, const struct net_error *e)
{
    switch (e->failure) {
    case NET_FAILED_CONNECT:
    case NET_FAILED_SOURCE:
        fetch_session_fail(s, RC_TEMP, "cannot connect: %s", e->text);
        break;
    case NET_FAILED_TLS:
    case NET_FAILED_CERTIFICATE:
        fetch_session_fail(s, RC_TEMP, "no TLS: %s", e->text);
        break;
    case NET_FAILED_HERE:
    case NET_FAILED_STALLED:
        fetch_session_fail(s, RC_TEMP, "%s", e->text);
        break;
    default:
        fetch_session_fail(s, RC_TEMP, "the connection ended while waiting for %s%s%s", s->doing,
                           e->text[0] ? ": " : "", e->text);
    }
}

static void session_free(struct fetch_session *s)
{
    if (s->state)
        s->driver->free_(s);
    if (s->place.password.n)
        crypto_wipe((void *)(uintptr_t)s->place.password.p, s->place.password.n);
    arena_fini(&s->memory);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

static enum rc dial(struct fetch_session *s);

static void closed(struct conn *c)
{
    struct fetch_session *s = net_arg(c);
    const struct net_error *e = net_error(c);
    bool is_next = !s->is_connected && e->failure == NET_FAILED_CONNECT && !s->has_failed &&
                   s->at_address + 1 < s->n_addresses && !atomic_load(&s->is_stopping);
    if (is_next) {
        s->at_address++;
        if (dial(s) == RC_OK)
            return;
    }
    pthread_mutex_lock(&s->mutex);
    s->is_over = true;
    pthread_mutex_unlock(&s->mutex);
    if (atomic_load(&s->is_stopping))
        fetch_session_fail(s, RC_AGAIN, "stopped");
    explain(s, e);
    s->end.is_connected = s->is_connected;
    if (s->is_in_message)
        s->owner->drop(s->owner);
    s->owner->over(s->owner, &s->end);
    session_free(s);
}

/* --- time ------------------------------------------------------------------------------------- */

void fetch_session_wait(struct conn *c, struct fetch_session *s, const char *what, uint64_t more_ms)
{
    s->doing = what;
    net_deadline(c, s->limits.command_ms + more_ms);
}

/* --- TLS -------------------------------------------------------------------------------------- */

static struct net_tls_want wanted(const struct fetch_session *s)
{
    return (struct net_tls_want){.level = NET_TLS_NAMED, .name = s->place.host};
}

enum net_step fetch_session_tls(struct conn *c, struct fetch_session *s)
{
    const struct net_tls_want want = wanted(s);
    if (net_tls_expect(c, &want) != RC_OK)
        return fetch_session_fail(s, RC_TEMP, "TLS cannot be set up here");
    s->doing = "TLS";
    return NET_TLS;
}

bool fetch_session_may_say_password(struct conn *c, struct fetch_session *s)
{
    bool is_asked = s->place.tls == FETCH_TLS_NONE && net_is_loopback(net_peer(c));
    if (!fetch_login_is_line(s->place.login) || !fetch_login_is_line(s->place.password)) {
        fetch_session_fail(s, RC_PERM, "the login or the password is not one line of text");
        return false;
    }
    if (net_is_secure(c) || is_asked)
        return true;
    fetch_session_fail(s, RC_PERM, "a password is said in TLS only, and there is none");
    return false;
}

/* --- steps ------------------------------------------------------------------------------------ */

static enum net_step begin(struct conn *c, struct fetch_session *s)
{
    pthread_mutex_lock(&s->mutex);
    s->handle = net_handle(c);
    s->has_handle = true;
    pthread_mutex_unlock(&s->mutex);
    s->is_connected = true;
    return s->driver->begin(c, s);
}

static enum net_step step(struct conn *c, unsigned events)
{
    struct fetch_session *s = net_arg(c);
    enum net_step next = NET_READ;
    if (events & (NET_EV_DRAIN | NET_EV_KICK))
        atomic_store(&s->is_stopping, true);
    if (events & NET_EV_OPEN)
        next = begin(c, s);
    if (next == NET_READ && events & NET_EV_TLS)
        next = s->driver->secure(c, s);
    if (next == NET_READ && events & NET_EV_TIMEOUT)
        next = s->driver->late(c, s);
    if (events & NET_EV_TIMEOUT && next == NET_ABORT)
        return fetch_session_fail(s, RC_TEMP, "no answer in time while waiting for %s", s->doing);
    if (next != NET_READ)
        return next;
    if (atomic_load(&s->is_stopping))
        return fetch_session_fail(s, RC_AGAIN, "stopped");
    bool is_quiet = !net_in(c).n && !(events & (NET_EV_RESUME | NET_EV_WAKE | NET_EV_EOF));
    if (!net_can_block(c))
        return is_quiet ? NET_READ : NET_SHORT;
    next = s->driver->input(c, s);
    if (next == NET_READ && net_is_eof(c))
        return NET_ABORT; /* closed() has the words */
    return next;
}

static const struct net_proto proto = {
    .name = "fetch",
    .session_size = 1,
    .input_max = FETCH_INPUT,
    .output_high = OUTPUT_HIGH,
    .busy = "",
    .step = step,
    .close = closed,
};

/* --- from outside ----------------------------------------------------------------------------- */

static enum rc dial(struct fetch_session *s)
{
    const struct net_tls_want want = wanted(s);
    const struct net_dial d = {.to = s->addresses[s->at_address],
                               .proto = &proto,
                               .arg = s,
                               .connect_ms = s->limits.connect_ms,
                               .tls = s->house.tls,
                               .secure = s->place.tls == FETCH_TLS_IMPLICIT ? &want : NULL};
    s->doing = "the greeting";
    return net_dial(s->house.net, &d);
}

static struct fetch_limits limits_of(const struct fetch_limits *given)
{
    struct fetch_limits l = *given;
    l.connect_ms = l.connect_ms ? l.connect_ms : 30000;
    l.command_ms = l.command_ms ? l.command_ms : 60000;
    l.message_bytes = l.message_bytes ? l.message_bytes : 50 << 20;
    l.messages = l.messages ? l.messages : 100000;
    l.folders = l.folders ? l.folders : 1000;
    return l;
}

enum rc fetch_open(const struct fetch_house *house, const struct fetch_place *place,
                   const struct net_addr *addresses, size_t n, const struct fetch_limits *limits,
                   struct fetch_owner *owner, struct fetch_session **out)
{
    struct fetch_session *s = mem_zero(sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
    s->house = *house;
    s->limits = limits_of(limits);
    s->owner = owner;
    s->place = *place;
    s->place.host = arena_dup(&s->memory, place->host);
    s->place.login = arena_dup(&s->memory, place->login);
    s->place.password = arena_dup(&s->memory, place->password);
    s->n_addresses = n < FETCH_ADDRESSES ? n : FETCH_ADDRESSES;
    memcpy(s->addresses, addresses, s->n_addresses * sizeof *addresses);
    s->driver = place->protocol == FETCH_POP3 ? &fetch_pop3 : &fetch_imap;
    s->end.rc = RC_TEMP;
    s->state = s->driver->new_(s);
    *out = s; /* its owner may be called before this returns */
    enum rc rc = s->n_addresses ? dial(s) : RC_TEMP;
    if (rc == RC_OK)
        return RC_OK;
    *out = NULL;
    session_free(s);
    return rc == RC_LIMIT ? RC_LIMIT : RC_TEMP;
}

void fetch_resume(struct fetch_session *s)
{
    net_resume(s->house.net, s->handle); /* set before any step could ask for a wait */
}

static void wake(struct fetch_session *s)
{
    pthread_mutex_lock(&s->mutex);
    if (s->has_handle && !s->is_over)
        net_wake(s->house.net, s->handle, NET_EV_WAKE);
    pthread_mutex_unlock(&s->mutex);
}

void fetch_stop(struct fetch_session *s)
{
    atomic_store(&s->is_stopping, true);
    wake(s);
}

void fetch_again(struct fetch_session *s)
{
    atomic_store(&s->is_again, true);
    wake(s);
}
