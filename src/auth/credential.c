/* What the directory says of a name that wants to log in. Whether the name is there or not, as many
 * rows are read, and there is a hash to verify against: time tells nothing. Never looks at a
 * password. */
#include "auth/auth_int.h"

#include <string.h>

/* The label of an app password, and the address without it. */
static enum rc take_label(const struct address *a, struct str label, struct arena *arena,
                          struct credential *out)
{
    size_t n_local = a->local.n - label.n - 1, n = n_local + 1 + a->domain.n;
    char *text = arena_alloc(arena, n);
    out->label = arena_dup(arena, label);
    if (!text || str_is_null(out->label))
        return RC_LIMIT;
    memcpy(text, a->local.p, n_local);
    text[n_local] = '@';
    memcpy(text + n_local + 1, a->domain.p, a->domain.n);
    out->address = str_from(text, n);
    return RC_OK;
}

/* By its time, which stays when the same password is hashed anew. */
static void name_credential(struct auth *auth, const struct secret_record *secret,
                            unsigned char out[AUTH_CREDENTIAL])
{
    unsigned char mark[8];
    put_u64(mark, secret->created);
    auth_verified_credential(&auth->verified, str_from(mark, sizeof mark), out);
    put_u32(out, 0); /* which of the account's it is, see app_login.c */
}

static enum rc fill_in(struct auth *auth, const struct lookup *found, struct str value,
                       struct credential *out)
{
    struct secret_record secret = {0};
    out->facts.account = found->address.account;
    out->facts.settings = auth_lookup_settings(found);
    out->is_open = !found->address.is_disabled && !found->address.is_suspended;
    if (!str_is_null(out->label)) {
        out->cause = "app-password";
    } else if (str_is_null(value)) {
        out->cause = "no-password";
    } else {
        TRY(auth_secret_unpack(value, &secret));
        out->scram = secret.scram;
        out->cause = "password";
        out->is_usable = out->is_open;
    }
    if (!out->is_open)
        out->cause = found->address.is_disabled ? "disabled" : "suspended";
    if (!out->is_usable)
        return RC_OK;
    out->hash = secret.hash;
    out->is_prepared = secret.is_prepared;
    name_credential(auth, &secret, out->facts.credential);
    return RC_OK;
}

enum rc auth_credential_read(struct auth *auth, struct str name, unsigned flags,
                             struct arena *arena, struct credential *out)
{
    struct address a;
    struct lookup found = {0};
    struct key key;
    struct str value, label = {0};
    *out = (struct credential){.hash = str_of(auth->decoy), .cause = "unknown"};
    enum rc rc = auth_address_parse(name, &a);
    if (rc == RC_OK)
        rc = auth_lookup_login(auth, &a, flags, &found, &label);
    if (rc == RC_TEMP || rc == RC_CORRUPT || rc == RC_AGAIN)
        return rc;
    bool is_known = rc == RC_OK;
    auth_key_secret(&key, is_known ? found.address.account : 0, 0);
    struct str names[1] = {auth_key_str(&key)};
    out->part = auth_domain_part(rc == RC_SYNTAX ? STR("") : a.domain);
    TRY(kv_get(auth->kv, out->part, names, 1, flags, arena, &value, NULL));
    out->facts.version = found.version;
    if (!is_known)
        return RC_OK;
    if (!str_is_null(label))
        TRY(take_label(&a, label, arena, out));
    return fill_in(auth, &found, value, out);
}

/* In the place of the number of an app password, which are given from 1 on; then the time. */
#define TOKEN_CREDENTIAL UINT32_MAX

void auth_token_credential(uint64_t expires, unsigned char out[AUTH_CREDENTIAL])
{
    memset(out, 0, AUTH_CREDENTIAL);
    put_u32(out, TOKEN_CREDENTIAL);
    put_u64(out + 4, expires);
}

static bool has_expired(struct auth *auth, const unsigned char credential[AUTH_CREDENTIAL])
{
    uint64_t expires = get_u64(credential + 4);
    return expires && clock_wall(auth->ctx->clock) >= expires;
}

enum rc auth_login_holds(struct auth *auth, struct str name, uint64_t account,
                         const unsigned char credential[AUTH_CREDENTIAL], unsigned flags)
{
    struct arena arena = {0};
    struct credential now;
    enum rc rc = auth_credential_read(auth, name, flags, &arena, &now);
    if (rc == RC_OK && get_u32(credential) == TOKEN_CREDENTIAL) {
        bool holds = now.is_open && now.facts.account == account && !has_expired(auth, credential);
        arena_fini(&arena);
        return holds ? RC_OK : RC_DENIED;
    }
    if (rc == RC_OK && get_u32(credential) && now.facts.account == account) {
        rc = auth_app_holds(auth, &now, credential, flags);
        arena_fini(&arena);
        return rc;
    }
    bool is_same = rc == RC_OK && now.is_usable && now.facts.account == account &&
                   memcmp(now.facts.credential, credential, AUTH_CREDENTIAL) == 0;
    arena_fini(&arena);
    return rc == RC_OK && !is_same ? RC_DENIED : rc;
}
