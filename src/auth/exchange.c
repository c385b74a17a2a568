/* The driver of SASL exchanges, which the three protocols call: it takes lines and hands back
 * challenges, and does what a mechanism asks for in between.
 *
 * Invariants: the response of a line is decoded into memory that is wiped before the call returns;
 * the name lives until auth_exchange_end; an exchange that was refused or decided takes nothing
 * more. Never waits: what does is auth_login's.
 */
#include "auth/login_int.h"

#include "base/base64.h"
#include "base/mem.h"

#include <stdlib.h>

struct auth_channel auth_channel_of(struct conn *c, bool plaintext_on_loopback)
{
    struct auth_channel channel = {.path = AUTH_IN_CLEAR};
    if (net_is_secure(c))
        channel.path = AUTH_IN_TLS;
    else if (plaintext_on_loopback && net_is_loopback(net_peer(c)))
        channel.path = AUTH_ON_LOOPBACK;
    return channel;
}

bool auth_channel_is_private(const struct auth_channel *channel)
{
    return channel->path != AUTH_IN_CLEAR;
}

void auth_mechanisms(struct auth *auth, const struct auth_channel *channel, struct buf *out)
{
    sasl_names(channel, out);
}

static void forget(struct auth_exchange *x)
{
    if (x->sasl)
        sasl_fini(x->sasl);
    free(x->sasl);
    x->sasl = NULL;
}

static enum auth_next refuse(struct auth_exchange *x, enum rc rc)
{
    auth_exchange_end(x);
    x->refusal = rc;
    return AUTH_REFUSED;
}

/* The session goes by the account's address, whatever the name was. */
static enum auth_next decided(struct auth_exchange *x)
{
    if (x->login.rc == RC_OK && x->login.address[0])
        x->login.name = str_of(x->login.address);
    return AUTH_DECIDED;
}

/* The name is copied and stays; the password is not, and auth_login has its copy. */
static enum auth_next log_in(struct auth_exchange *x, struct str name, struct str password)
{
    enum auth_next next = AUTH_WAIT;
    x->name = mem_dup(name.p, name.n);
    x->login.name = str_from(x->name, name.n);
    x->login.password = password;
    if (auth_login_now(x->auth, &x->login))
        next = decided(x);
    else
        auth_login(x->auth, &x->login); /* done() may have run already, on another thread */
    x->login.password = (struct str){0};
    forget(x);
    return next;
}

static enum auth_next follow(struct auth_exchange *x, enum sasl_next next)
{
    switch (next) {
    case SASL_ASK:
        return AUTH_ASK;
    case SASL_PASSWORD:
        return log_in(x, x->sasl->name, x->sasl->password);
    default:
        return refuse(x, x->sasl->rc);
    }
}

static enum auth_next take(struct auth_exchange *x, struct str line, bool is_initial,
                           struct buf *challenge)
{
    struct buf response = {.cap = AUTH_SASL_RESPONSE_MAX + 3}, text = {.cap = AUTH_CHALLENGE_MAX};
    enum sasl_next step = sasl_line(x->sasl, line, is_initial, &response, &text);
    enum rc rc = step == SASL_ASK ? base64_encode(challenge, buf_str(&text)) : RC_OK;
    enum auth_next next = rc == RC_OK ? follow(x, step) : refuse(x, rc);
    buf_wipe(&response);
    buf_fini(&text);
    return next;
}

enum auth_next auth_exchange_begin(struct auth_exchange *x, struct str mechanism, struct str line,
                                   struct buf *challenge)
{
    x->sasl = mem_zero(sizeof *x->sasl);
    enum rc rc = sasl_begin(x->sasl, mechanism, &x->channel);
    return rc == RC_OK ? take(x, line, true, challenge) : refuse(x, rc);
}

enum auth_next auth_exchange_line(struct auth_exchange *x, struct str line, struct buf *challenge)
{
    return x->sasl ? take(x, line, false, challenge) : refuse(x, RC_SYNTAX);
}

enum auth_next auth_exchange_go_on(struct auth_exchange *x, struct buf *challenge)
{
    return decided(x);
}

enum auth_next auth_exchange_password(struct auth_exchange *x, struct str name, struct str password)
{
    if (name.n > AUTH_ADDRESS_MAX)
        return refuse(x, RC_LIMIT);
    return log_in(x, name, password);
}

void auth_exchange_end(struct auth_exchange *x)
{
    forget(x);
    free(x->name);
    x->name = NULL;
    x->login.name = x->login.password = (struct str){0};
}
