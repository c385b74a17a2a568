/* SASL mechanisms as step functions over decoded bytes: PLAIN [RFC4616] and LOGIN, which has no RFC
 * but which old programs insist on; SCRAM is in scram.c, tokens are in oauth.c. A mechanism is a
 * row of the table at the end: where it is offered, and what takes a response.
 *
 * Invariants: a name and a password that come out of here are not empty, well-formed UTF-8 without
 * NUL, and within their limits; whatever fails ends the exchange. Never keeps a password: it is a
 * view into the caller's response. Never looks anybody up.
 */
#include "auth/login_int.h"

#include "base/base64.h"
#include "base/utf8.h"

#include <string.h>

enum { CLEAR = 1 << AUTH_IN_CLEAR, LOOPBACK = 1 << AUTH_ON_LOOPBACK, TLS = 1 << AUTH_IN_TLS };

struct sasl_mechanism {
    struct str name;
    unsigned paths;  /* where it is offered: bits 1 << enum auth_path */
    unsigned family; /* offered when the configuration has this; 0: always */
    /* One response; absent: there was none with the command. */
    enum sasl_next (*step)(struct sasl *s, struct str response, struct buf *challenge);
    enum sasl_next (*record)(struct sasl *s, const struct sasl_record *record,
                             struct buf *challenge);
    enum crypto_hash hash;
    bool is_bound; /* only where the connection has a channel binding */
    void (*token_error)(struct str discovery, struct buf *out); /* it takes tokens */
};

enum sasl_next sasl_refuse(struct sasl *s, enum rc rc)
{
    sasl_fini(s);
    s->rc = rc;
    return SASL_REFUSED;
}

enum sasl_next sasl_ask(struct sasl *s, struct str text, struct buf *challenge)
{
    s->at++;
    enum rc rc = buf_add(challenge, text);
    return rc == RC_OK ? SASL_ASK : sasl_refuse(s, rc);
}

/* 1*SAFE [RFC4616 2]. */
enum rc sasl_check_text(struct str s, size_t max)
{
    if (s.n > max)
        return RC_LIMIT;
    if (!s.n || str_find_byte(s, '\0') >= 0 || !utf8_is_valid(s))
        return RC_SYNTAX;
    return RC_OK;
}

static enum rc take_name(struct sasl *s, struct str response)
{
    TRY(sasl_check_text(response, sizeof s->text));
    memcpy(s->text, response.p, response.n);
    s->name = str_from(s->text, response.n);
    return RC_OK;
}

static enum rc take_password(struct sasl *s, struct str response)
{
    TRY(sasl_check_text(response, AUTH_PASSWORD_MAX));
    s->password = response;
    return RC_OK;
}

/* [authzid] NUL authcid NUL passwd [RFC4616 2]. Nobody may act as somebody else: an authorization
 * identity has to be the name again. */
static enum rc take_plain(struct sasl *s, struct str response)
{
    struct str authorization, name;
    if (!str_cut(&response, '\0', &authorization) || !str_cut(&response, '\0', &name) ||
        str_is_null(response))
        return RC_SYNTAX;
    if (authorization.n)
        TRY(sasl_check_text(authorization, AUTH_SASL_NAME_MAX));
    TRY(take_name(s, name));
    TRY(take_password(s, response));
    return !authorization.n || str_ieq(authorization, name) ? RC_OK : RC_DENIED;
}

static enum sasl_next step_plain(struct sasl *s, struct str response, struct buf *challenge)
{
    if (str_is_null(response))
        return sasl_ask(s, STR(""), challenge);
    enum rc rc = take_plain(s, response);
    return rc == RC_OK ? SASL_PASSWORD : sasl_refuse(s, rc);
}

static enum sasl_next step_login(struct sasl *s, struct str response, struct buf *challenge)
{
    bool is_named = s->name.n > 0;
    if (str_is_null(response))
        return sasl_ask(s, STR("Username:"), challenge);
    enum rc rc = is_named ? take_password(s, response) : take_name(s, response);
    if (rc != RC_OK)
        return sasl_refuse(s, rc);
    return is_named ? SASL_PASSWORD : sasl_ask(s, STR("Password:"), challenge);
}

/* What there is, where, and in which order it is offered: the strongest first. Nothing in the
 * clear: who listens to SCRAM can try passwords at home. */
static const struct sasl_mechanism mechanisms[] = {
    {STR_INIT("SCRAM-SHA-256-PLUS"), TLS, SASL_SCRAM, scram_step, scram_record, CRYPTO_SHA_256,
     true, NULL},
    {STR_INIT("SCRAM-SHA-1-PLUS"), TLS, SASL_SCRAM, scram_step, scram_record, CRYPTO_SHA_1, true,
     NULL},
    {STR_INIT("SCRAM-SHA-256"), LOOPBACK | TLS, SASL_SCRAM, scram_step, scram_record,
     CRYPTO_SHA_256, false, NULL},
    {STR_INIT("SCRAM-SHA-1"), LOOPBACK | TLS, SASL_SCRAM, scram_step, scram_record, CRYPTO_SHA_1,
     false, NULL},
    {STR_INIT("PLAIN"), LOOPBACK | TLS, 0, step_plain, NULL, 0, false, NULL},
    {STR_INIT("LOGIN"), LOOPBACK | TLS, 0, step_login, NULL, 0, false, NULL},
    {STR_INIT("OAUTHBEARER"), LOOPBACK | TLS, SASL_BEARER, oauth_bearer_step, NULL, 0, false,
     oauth_bearer_error},
    {STR_INIT("XOAUTH2"), LOOPBACK | TLS, SASL_BEARER, oauth_x2_step, NULL, 0, false,
     oauth_x2_error},
};
enum { MECHANISMS = sizeof mechanisms / sizeof *mechanisms };

static bool exists(const struct sasl_mechanism *m, const struct auth_channel *channel,
                   unsigned families)
{
    return (!m->family || families & m->family) && (!m->is_bound || channel->binding);
}

static bool is_offered(const struct sasl_mechanism *m, const struct auth_channel *channel,
                       unsigned families)
{
    return exists(m, channel, families) && m->paths & 1U << channel->path;
}

enum rc sasl_begin(struct sasl *s, struct str mechanism, const struct auth_channel *channel,
                   unsigned families)
{
    *s = (struct sasl){0};
    for (size_t i = 0; i < MECHANISMS; i++) {
        const struct sasl_mechanism *m = &mechanisms[i];
        if (!str_ieq(m->name, mechanism) || !exists(m, channel, families))
            continue;
        if (!is_offered(m, channel, families))
            return RC_PERM;
        s->mechanism = m;
        s->mechanism_name = m->name;
        s->hash = m->hash;
        s->is_bound = m->is_bound;
        s->can_bind = channel->binding != NULL;
        return RC_OK;
    }
    return RC_NOTFOUND;
}

/* What asks again and again for a response that never comes is refused: an absent one can only be
 * the first. */
enum sasl_next sasl_step(struct sasl *s, struct str response, struct buf *challenge)
{
    if (!s->mechanism || (s->at && str_is_null(response)))
        return sasl_refuse(s, RC_SYNTAX);
    if (!s->mechanism->token_error && response.n > AUTH_SASL_RESPONSE_MAX)
        return sasl_refuse(s, RC_SYNTAX); /* no message is so long */
    enum sasl_next next = s->mechanism->step(s, response, challenge);
    if (next == SASL_PASSWORD || next == SASL_PROVEN || next == SASL_WRONG)
        s->mechanism = NULL;
    return next;
}

enum sasl_next sasl_record(struct sasl *s, const struct sasl_record *record, struct buf *challenge)
{
    enum sasl_next next = s->mechanism->record(s, record, challenge);
    if (next == SASL_WRONG)
        s->mechanism = NULL;
    return next;
}

enum sasl_next sasl_line(struct sasl *s, struct str line, bool is_initial, struct buf *response,
                         struct buf *challenge)
{
    if (is_initial && !line.n)
        return sasl_step(s, (struct str){0}, challenge);
    if (!is_initial && str_eq(line, STR("*")))
        return sasl_refuse(s, RC_EOF);
    buf_clear(response);
    if (!(is_initial && str_eq(line, STR("=")))) {
        enum rc rc = base64_decode(response, line);
        if (rc != RC_OK)
            return sasl_refuse(s,
                               rc == RC_LIMIT ? RC_SYNTAX : RC_CORRUPT); /* no message is so long */
    }
    return sasl_step(s, buf_len(response) ? buf_str(response) : STR(""), challenge);
}

void sasl_token_error(const struct sasl *s, struct str discovery, struct buf *out)
{
    s->mechanism->token_error(discovery, out);
}

void sasl_fini(struct sasl *s)
{
    crypto_wipe(s, sizeof *s);
}

void sasl_names(const struct auth_channel *channel, unsigned families, struct buf *out)
{
    struct str before = STR("");
    for (size_t i = 0; i < MECHANISMS; i++) {
        if (!is_offered(&mechanisms[i], channel, families))
            continue;
        buf_put(out, before);
        buf_put(out, mechanisms[i].name);
        before = STR(" ");
    }
}
