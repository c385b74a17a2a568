/* SASL mechanisms as step functions over decoded bytes: PLAIN [RFC4616] and LOGIN, which has no RFC
 * but which old programs insist on. A mechanism is a row of the table at the end: what it asks, and
 * what takes each answer.
 *
 * Invariants: a name and a password that come out of here are not empty, well-formed UTF-8 without
 * NUL, and within their limits; whatever fails ends the exchange. Never keeps a password: it is a
 * view into the caller's response. Never looks anybody up.
 */
#include "auth/auth_int.h"

#include "base/utf8.h"

#include <string.h>

enum { STEPS = 2 };

struct auth_mechanism {
    struct str name;
    bool is_plaintext;
    struct {
        struct str challenge;
        enum rc (*take)(struct auth_sasl *s, struct str response);
    } steps[STEPS]; /* up to the first without take() */
};

/* 1*SAFE [RFC4616 2]. */
static enum rc check(struct str s, size_t max)
{
    if (s.n > max)
        return RC_LIMIT;
    if (!s.n || str_find_byte(s, '\0') >= 0 || !utf8_is_valid(s))
        return RC_SYNTAX;
    return RC_OK;
}

static enum rc take_name(struct auth_sasl *s, struct str response)
{
    TRY(check(response, sizeof s->text));
    memcpy(s->text, response.p, response.n);
    s->name = str_from(s->text, response.n);
    return RC_OK;
}

static enum rc take_password(struct auth_sasl *s, struct str response)
{
    TRY(check(response, AUTH_PASSWORD_MAX));
    s->password = response;
    return RC_OK;
}

/* [authzid] NUL authcid NUL passwd [RFC4616 2]. Nobody may act as somebody else: an authorization
 * identity has to be the name again. */
static enum rc take_plain(struct auth_sasl *s, struct str response)
{
    struct str authorization, name;
    if (!str_cut(&response, '\0', &authorization) || !str_cut(&response, '\0', &name) ||
        str_is_null(response))
        return RC_SYNTAX;
    if (authorization.n)
        TRY(check(authorization, AUTH_SASL_NAME_MAX));
    TRY(take_name(s, name));
    TRY(take_password(s, response));
    return !authorization.n || str_ieq(authorization, name) ? RC_OK : RC_DENIED;
}

static const struct auth_mechanism mechanisms[] = {
    {STR_INIT("PLAIN"), true, {{STR_INIT(""), take_plain}}},
    {STR_INIT("LOGIN"),
     true,
     {{STR_INIT("Username:"), take_name}, {STR_INIT("Password:"), take_password}}},
};
enum { MECHANISMS = sizeof mechanisms / sizeof *mechanisms };

enum rc auth_sasl_begin(struct auth_sasl *s, struct str mechanism)
{
    *s = (struct auth_sasl){0};
    for (size_t i = 0; i < MECHANISMS; i++) {
        if (!str_ieq(mechanisms[i].name, mechanism))
            continue;
        s->mechanism = &mechanisms[i];
        s->is_plaintext = mechanisms[i].is_plaintext;
        return RC_OK;
    }
    return RC_NOTFOUND;
}

static bool is_complete(const struct auth_sasl *s)
{
    return s->at == STEPS || !s->mechanism->steps[s->at].take;
}

static enum rc take(struct auth_sasl *s, struct str response, struct buf *challenge)
{
    if (!s->mechanism || is_complete(s))
        return RC_SYNTAX;
    if (!str_is_null(response)) {
        TRY(s->mechanism->steps[s->at].take(s, response));
        s->at++;
        if (is_complete(s))
            return RC_OK;
    }
    TRY(buf_add(challenge, s->mechanism->steps[s->at].challenge));
    return RC_AGAIN;
}

enum rc auth_sasl_step(struct auth_sasl *s, struct str response, struct buf *challenge)
{
    enum rc rc = take(s, response, challenge);
    if (rc != RC_OK && rc != RC_AGAIN)
        auth_sasl_fini(s);
    return rc;
}

void auth_sasl_fini(struct auth_sasl *s)
{
    crypto_wipe(s, sizeof *s);
}

void auth_sasl_mechanisms(bool may_be_plaintext, struct buf *out)
{
    struct str before = STR("");
    for (size_t i = 0; i < MECHANISMS; i++) {
        if (mechanisms[i].is_plaintext && !may_be_plaintext)
            continue;
        buf_put(out, before);
        buf_put(out, mechanisms[i].name);
        before = STR(" ");
    }
}
