/* The driver of SASL exchanges, which the three protocols call: it takes lines and hands back
 * challenges, and does what a mechanism asks for in between: a password is auth_login's, a token is
 * checked by whom the daemon has handed in, a record is read here, in the cache, or where disks may
 * be waited for.
 *
 * Invariants: the response of a line is decoded into memory that is wiped before the call returns;
 * the name lives until auth_exchange_end; an exchange that was refused or decided takes nothing
 * more. For a name that is not there, or may not log in, the same rows are read and the same is
 * computed, and the same is said. A block is looked for with each record: before the salt is told,
 * and again before the proof is looked at.
 */
#include "auth/login_int.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "mime/precis.h"

#include <stdlib.h>
#include <string.h>

struct auth_channel auth_channel_of(struct conn *c, bool plaintext_on_loopback)
{
    struct auth_channel channel = {.path = AUTH_IN_CLEAR, .conn = c};
    if (net_is_secure(c))
        channel.path = AUTH_IN_TLS;
    else if (plaintext_on_loopback && net_is_loopback(net_peer(c)))
        channel.path = AUTH_ON_LOOPBACK;
    channel.binding = net_binding_type(c);
    return channel;
}

bool auth_channel_is_private(const struct auth_channel *channel)
{
    return channel->path != AUTH_IN_CLEAR;
}

/* To who is not to be asked for a binding the connection has none. */
static struct auth_channel offered_on(const struct auth *auth, const struct auth_channel *channel)
{
    struct auth_channel offered = *channel;
    if (auth->conf.scram != AUTH_SCRAM_BOUND)
        offered.binding = NULL;
    return offered;
}

static unsigned families_of(const struct auth *auth)
{
    bool is_on = auth->conf.scram == AUTH_SCRAM_ON || auth->conf.scram == AUTH_SCRAM_BOUND;
    unsigned families = is_on ? SASL_SCRAM : 0;
    if (auth->bearer && auth->bearer->is_on(auth->bearer))
        families |= SASL_BEARER;
    return families;
}

void auth_mechanisms(struct auth *auth, const struct auth_channel *channel, struct buf *out)
{
    struct auth_channel offered = offered_on(auth, channel);
    sasl_names(&offered, families_of(auth), out);
}

void auth_bearer_set(struct auth *auth, struct auth_bearer *bearer)
{
    auth->bearer = bearer;
}

struct bearer_wait {
    struct auth_bearer_query q;
    struct auth_exchange *x;
    char *token;
    size_t n;
};

static void forget(struct auth_exchange *x)
{
    if (x->bearer) {
        crypto_wipe(x->bearer->token, x->bearer->n);
        free(x->bearer->token);
    }
    free(x->bearer);
    x->bearer = NULL;
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

static unsigned flags_of(const struct auth_exchange *x)
{
    return x->channel.conn && !net_can_block(x->channel.conn) ? KV_CACHED : 0;
}

/* One spelling of what is not ASCII [RFC8265 3.3]; an address is compared without case anyway. */
static void keep_name(struct auth_exchange *x, struct str name)
{
    struct buf prepared = {.cap = AUTH_SASL_NAME_MAX};
    if (!utf8_is_ascii(name) &&
        mime_prepare(MIME_USERNAME, name, AUTH_SASL_NAME_MAX, &prepared) == RC_OK)
        name = buf_str(&prepared);
    free(x->name);
    x->name = mem_dup(name.p, name.n);
    x->login.name = str_from(x->name, name.n);
    buf_fini(&prepared);
}

/* --- how it ends ------------------------------------------------------------------------------ */

static struct told told_of(const struct auth_exchange *x)
{
    const struct auth_login *l = &x->login;
    return (struct told){l->protocol, l->name, l->peer, l->session, l->mechanism, 0};
}

static enum auth_next decide(struct auth_exchange *x, struct verdict v)
{
    struct told told = told_of(x);
    auth_conclude(x->auth, &told, &v, &x->login);
    forget(x);
    return decided(x);
}

static enum auth_next fail(struct auth_exchange *x, enum rc rc)
{
    return decide(x, auth_verdict_failure(rc));
}

/* A proof that is wrong. No two are the same, not even of the same wrong password. */
static enum auth_next deny(struct auth_exchange *x)
{
    struct sasl *s = x->sasl;
    struct who who;
    struct told told = told_of(x);
    struct verdict v = {.rc = RC_DENIED, .cause = s->cause};
    auth_who_init(&who, x->auth, x->login.name, x->login.peer);
    struct str proof = str_from(s->scram.proof, sizeof s->scram.proof);
    uint64_t ms = told.delay_ms = auth_count_failure(x->auth, &who, &told, proof);
    auth_conclude(x->auth, &told, &v, &x->login);
    forget(x);
    if (!ms)
        return AUTH_DECIDED;
    auth_tell_later(x->auth, &x->login, ms); /* done() may have run when this returns */
    return AUTH_WAIT;
}

/* Not a guess: somebody is between the client and us, or it is mistaken. It is told, and then
 * answers [RFC5802 5]. */
static enum auth_next object(struct auth_exchange *x, struct buf *text)
{
    struct told told = told_of(x);
    struct verdict v = {.rc = RC_DENIED, .cause = "channel-binding"};
    auth_conclude(x->auth, &told, &v, &x->login);
    x->is_over = true;
    buf_put(text, STR("e="));
    buf_put(text, str_of(x->sasl->error));
    return AUTH_ASK;
}

/* Where it comes from is noted once a day, where disks may be waited for. */
static enum rc note_place(struct auth_exchange *x)
{
    struct who who;
    struct told told = told_of(x);
    uint64_t account = x->sasl->facts.account;
    bool is_noted = false;
    auth_who_init(&who, x->auth, x->login.name, x->login.peer);
    struct net_cidr place = auth_peer_net(&who.peer, REACH_NETWORK);
    if (who.is_trusted)
        return RC_OK;
    enum rc rc = auth_place_is_noted(x->auth, account, &place, flags_of(x), &is_noted);
    if (is_noted || (rc != RC_OK && rc != RC_AGAIN))
        return RC_OK; /* it is a help, no more */
    if (flags_of(x))
        return RC_AGAIN;
    told.name = x->sasl->address[0] ? str_of(x->sasl->address) : who.name;
    auth_place_arrive(x->auth, &who, &told, account);
    return RC_OK;
}

static enum auth_next approve(struct auth_exchange *x)
{
    struct sasl *s = x->sasl;
    if (note_place(x) == RC_AGAIN || (s->app.number && flags_of(x))) {
        x->pending = SASL_PROVEN;
        return AUTH_SHORT;
    }
    if (s->app.number)
        auth_app_note(x->auth, s->facts.account, &s->app, x->login.protocol, x->login.peer);
    memcpy(x->login.client_key, s->client_key, s->n_client_key);
    x->login.n_client_key = s->n_client_key;
    struct verdict v = {.rc = RC_OK, .facts = s->facts, .app = s->app};
    if (s->expires)
        v.app.expires = s->expires;
    memcpy(v.address, s->address, sizeof v.address);
    return decide(x, v);
}

/* The name is copied and stays; the password is not, and auth_login has its copy. */
static enum auth_next log_in(struct auth_exchange *x, struct str name, struct str password)
{
    enum auth_next next = AUTH_WAIT;
    keep_name(x, name);
    x->login.password = password;
    if (auth_login_now(x->auth, &x->login))
        next = decided(x);
    else
        auth_login(x->auth, &x->login); /* done() may have run already, on another thread */
    x->login.password = (struct str){0};
    forget(x);
    return next;
}

/* --- the record of a name --------------------------------------------------------------------- */

/* The account's keys, or what looks like some. */
static enum rc read_record(struct auth_exchange *x, const struct who *who,
                           unsigned char salt[SCRAM_SALT], struct sasl_record *out)
{
    unsigned flags = flags_of(x);
    struct sasl *s = x->sasl;
    struct arena arena = {0};
    struct credential c;
    TRY(auth_scram_salt(x->auth, who->name, flags, salt));
    const struct app_attempt attempt = {.protocol = x->login.protocol, .peer = &who->peer};
    enum rc rc = auth_credential_read(x->auth, x->login.name, flags, &arena, &c);
    if (rc == RC_OK)
        rc = auth_app_scram(x->auth, &c, &attempt, flags);
    out->salt = str_from(salt, SCRAM_SALT);
    out->iterations = x->auth->conf.scram_iterations;
    for (unsigned i = 0; i < SCRAM_FORMS; i++)
        out->keys[i] = x->auth->scram_decoy;
    if (rc == RC_OK && c.scram.iterations) {
        out->iterations = c.scram.iterations;
        memcpy(salt, c.scram.salt, SCRAM_SALT);
        for (unsigned i = 0; i < SCRAM_FORMS; i++)
            out->keys[i] = c.scram.keys[s->hash - 1][i < c.scram.n_forms ? i : 0];
    }
    out->is_usable = c.is_usable && c.scram.iterations;
    s->facts = c.facts;
    s->app = c.app;
    memset(s->address, 0, sizeof s->address);
    if (c.address.n)
        memcpy(s->address, c.address.p, c.address.n);
    s->cause = c.is_usable && !out->is_usable ? "no-scram-keys" : c.cause;
    crypto_wipe(&c.scram, sizeof c.scram);
    arena_fini(&arena);
    return rc;
}

/* RC_DENIED: blocked, for *out_cause. */
static enum rc look_up(struct auth_exchange *x, unsigned char salt[SCRAM_SALT],
                       struct sasl_record *out, const char **out_cause)
{
    struct who who;
    if (!x->name)
        keep_name(x, x->sasl->name);
    auth_who_init(&who, x->auth, x->login.name, x->login.peer);
    TRY(auth_may_try(x->auth, &who, flags_of(x), out_cause));
    enum rc rc = read_record(x, &who, salt, out);
    return rc == RC_DENIED ? RC_CORRUPT : rc;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void on_checked(struct auth_bearer_query *q)
{
    struct auth_login *login = &CONTAINER(q, struct bearer_wait, q)->x->login;
    login->done(login);
}

/* Not good, or nobody's here. Nobody guesses signatures: it counts as no wrong password. The client
 * is told in the mechanism's words, and then answers [RFC7628 3.2.3]. */
static enum auth_next reject(struct auth_exchange *x, const char *cause, struct buf *text)
{
    struct told told = told_of(x);
    struct verdict v = {.rc = RC_DENIED, .cause = cause};
    struct buf discovery = {.cap = AUTH_CHALLENGE_MAX / 2};
    x->auth->bearer->discovery(x->auth->bearer, &discovery);
    auth_conclude(x->auth, &told, &v, &x->login);
    x->is_over = true;
    sasl_token_error(x->sasl, discovery.over ? (struct str){0} : buf_str(&discovery), text);
    buf_fini(&discovery);
    return AUTH_ASK;
}

static enum auth_next ask_of_token(struct auth_exchange *x, struct buf *text)
{
    struct sasl *s = x->sasl;
    struct auth_bearer *bearer = x->auth->bearer;
    if (s->name.n)
        keep_name(x, s->name);
    if (!s->token.n)
        return reject(x, "no-token", text);
    struct bearer_wait *w = mem_zero(sizeof *w);
    *w = (struct bearer_wait){
        .q.done = on_checked, .x = x, .token = mem_dup(s->token.p, s->token.n), .n = s->token.n};
    w->q.token = str_from(w->token, w->n);
    s->token = (struct str){0};
    x->bearer = w;
    x->pending = SASL_TOKEN;
    enum rc rc = bearer->check(bearer, &w->q); /* done() may have run when this returns */
    return rc == RC_OK ? AUTH_WAIT : fail(x, RC_TEMP);
}

static bool is_same_address(struct str a, struct str b)
{
    struct address one, other;
    return auth_address_parse(a, &one) == RC_OK && auth_address_parse(b, &other) == RC_OK &&
           str_eq(one.whole, other.whole);
}

/* The account of the token's address: as with a password, but for the password. */
static enum rc read_holder(struct auth_exchange *x, struct credential *c, const char **out_cause)
{
    struct who who;
    struct arena arena = {0};
    auth_who_init(&who, x->auth, x->login.name, x->login.peer);
    TRY(auth_may_try(x->auth, &who, flags_of(x), out_cause));
    enum rc rc = auth_credential_read(x->auth, x->login.name, flags_of(x), &arena, c);
    bool is_exact = str_is_null(c->label);
    arena_fini(&arena);
    if (rc != RC_OK)
        return rc == RC_DENIED ? RC_CORRUPT : rc;
    if (c->is_open && !is_exact) {
        c->is_open = false; /* a name of an app password */
        c->cause = "unknown";
    }
    return RC_OK;
}

static enum auth_next take_holder(struct auth_exchange *x, struct buf *text)
{
    struct sasl *s = x->sasl;
    struct auth_bearer *bearer = x->auth->bearer;
    struct credential c;
    const char *cause;
    enum rc rc = read_holder(x, &c, &cause);
    if (rc == RC_AGAIN)
        return AUTH_SHORT;
    if (rc == RC_DENIED)
        return decide(x, auth_verdict_blocked(cause));
    if (rc != RC_OK)
        return fail(x, rc);
    if (!c.is_open)
        return reject(x, c.cause, text);
    s->facts = c.facts;
    s->expires = bearer->ends_sessions(bearer) ? x->bearer->q.expires : 0;
    auth_token_credential(s->expires, s->facts.credential);
    crypto_wipe(&c.scram, sizeof c.scram);
    return approve(x);
}

static enum auth_next take_answer(struct auth_exchange *x, struct buf *text)
{
    const struct auth_bearer_query *q = &x->bearer->q;
    struct str address = str_from(q->address, q->address_n);
    if (q->rc == RC_TEMP)
        return decide(x, (struct verdict){.rc = RC_TEMP, .cause = q->cause});
    if (q->rc != RC_OK)
        return reject(x, q->cause, text);
    if (x->name && !is_same_address(x->login.name, address))
        return reject(x, "another-address", text);
    if (!x->name)
        keep_name(x, address);
    return take_holder(x, text);
}

/* --- steps ------------------------------------------------------------------------------------ */

static enum auth_next follow(struct auth_exchange *x, enum sasl_next next, struct buf *text);

static enum auth_next give_record(struct auth_exchange *x, struct buf *text)
{
    unsigned char salt[SCRAM_SALT];
    struct sasl_record record;
    const char *cause;
    enum auth_next next;
    enum rc rc = look_up(x, salt, &record, &cause);
    if (rc == RC_OK)
        next = follow(x, sasl_record(x->sasl, &record, text), text);
    else if (rc == RC_DENIED)
        next = decide(x, auth_verdict_blocked(cause));
    else
        next = rc == RC_AGAIN ? AUTH_SHORT : fail(x, rc);
    if (next == AUTH_SHORT)
        x->pending = SASL_RECORD;
    crypto_wipe(&record, sizeof record);
    return next;
}

static enum auth_next follow(struct auth_exchange *x, enum sasl_next next, struct buf *text)
{
    switch (next) {
    case SASL_ASK:
        return AUTH_ASK;
    case SASL_PASSWORD:
        return log_in(x, x->sasl->name, x->sasl->password);
    case SASL_RECORD:
        return give_record(x, text);
    case SASL_TOKEN:
        return x->bearer ? take_answer(x, text) : ask_of_token(x, text);
    case SASL_PROVEN:
        return approve(x);
    case SASL_WRONG:
        if (!x->name)
            keep_name(x, x->sasl->name);
        return x->sasl->error ? object(x, text) : deny(x);
    default:
        return refuse(x, x->sasl->rc);
    }
}

/* What follows, with its challenge in base 64. */
static enum auth_next go(struct auth_exchange *x, enum sasl_next step, struct buf *text,
                         struct buf *challenge)
{
    enum auth_next next = follow(x, step, text);
    enum rc rc = next == AUTH_ASK ? base64_encode(challenge, buf_str(text)) : RC_OK;
    return rc == RC_OK ? next : refuse(x, rc);
}

static enum auth_next take(struct auth_exchange *x, struct str line, bool is_initial,
                           struct buf *challenge)
{
    struct buf response = {.cap = AUTH_TOKEN_RESPONSE_MAX + 3}, text = {.cap = AUTH_CHALLENGE_MAX};
    enum sasl_next step = sasl_line(x->sasl, line, is_initial, &response, &text);
    enum auth_next next = go(x, step, &text, challenge);
    buf_wipe(&response);
    buf_fini(&text);
    return next;
}

static enum rc begin(struct auth_exchange *x, struct str mechanism)
{
    struct sasl *s = x->sasl = mem_zero(sizeof *s);
    unsigned char noise[SCRAM_NONCE / 4 * 3];
    struct buf nonce = {.cap = SCRAM_NONCE};
    struct auth_channel offered = offered_on(x->auth, &x->channel);
    TRY(sasl_begin(s, mechanism, &offered, families_of(x->auth)));
    x->login.mechanism = s->mechanism_name;
    if (s->is_bound)
        TRY(net_channel_binding(x->channel.conn, &s->binding));
    random_bytes(noise, sizeof noise);
    enum rc rc = base64_encode(&nonce, str_from(noise, sizeof noise));
    s->scram.n_own = buf_len(&nonce);
    if (rc == RC_OK)
        memcpy(s->scram.nonce, buf_str(&nonce).p, s->scram.n_own);
    buf_fini(&nonce);
    return rc;
}

enum auth_next auth_exchange_begin(struct auth_exchange *x, struct str mechanism, struct str line,
                                   struct buf *challenge)
{
    enum rc rc = begin(x, mechanism);
    return rc == RC_OK ? take(x, line, true, challenge) : refuse(x, rc);
}

enum auth_next auth_exchange_line(struct auth_exchange *x, struct str line, struct buf *challenge)
{
    if (x->is_over)
        return AUTH_DECIDED;
    return x->sasl ? take(x, line, false, challenge) : refuse(x, RC_SYNTAX);
}

enum auth_next auth_exchange_go_on(struct auth_exchange *x, struct buf *challenge)
{
    struct buf text = {.cap = AUTH_CHALLENGE_MAX};
    if (!x->sasl)
        return decided(x);
    enum auth_next next = go(x, (enum sasl_next)x->pending, &text, challenge);
    buf_fini(&text);
    return next;
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
    x->is_over = false;
    x->login.name = x->login.password = (struct str){0};
    crypto_wipe(x->login.client_key, sizeof x->login.client_key);
    x->login.n_client_key = 0;
}
