/* What the directory says of a name that wants to log in. Whether the name is there or not, as many
 * rows are read, and there is a hash to verify against: time tells nothing. Never looks at a
 * password. */
#include "auth/auth_int.h"

#include <string.h>

enum rc auth_credential_read(struct auth *auth, struct str name, unsigned flags,
                             struct arena *arena, struct credential *out)
{
    struct address a;
    struct lookup found = {0};
    struct key key;
    struct str value;
    struct secret_record secret;
    *out = (struct credential){.hash = str_of(auth->decoy), .cause = "unknown"};
    enum rc rc = auth_address_parse(name, &a);
    if (rc == RC_OK)
        rc = auth_lookup_address(auth, &a, flags, &found);
    if (rc == RC_TEMP || rc == RC_CORRUPT || rc == RC_AGAIN)
        return rc;
    bool is_known = rc == RC_OK;
    auth_key_secret(&key, is_known ? found.address.account : 0, 0);
    struct str names[1] = {auth_key_str(&key)};
    struct kv_part part = auth_domain_part(rc == RC_SYNTAX ? STR("") : a.domain);
    TRY(kv_get(auth->kv, part, names, 1, flags, arena, &value, NULL));
    out->facts.version = found.version;
    if (!is_known)
        return RC_OK;
    out->facts.account = found.address.account;
    if (found.address.is_disabled || found.address.is_suspended) {
        out->cause = found.address.is_disabled ? "disabled" : "suspended";
    } else if (str_is_null(value)) {
        out->cause = "no-password";
    } else {
        TRY(auth_secret_unpack(value, &secret));
        out->hash = secret.hash;
        out->cause = "password";
        out->is_usable = true;
        out->facts.settings = auth_lookup_settings(&found);
        auth_verified_credential(&auth->verified, secret.hash, out->facts.credential);
    }
    return RC_OK;
}

enum rc auth_login_holds(struct auth *auth, struct str name, uint64_t account,
                         const unsigned char credential[AUTH_CREDENTIAL], unsigned flags)
{
    struct arena arena = {0};
    struct credential now;
    enum rc rc = auth_credential_read(auth, name, flags, &arena, &now);
    bool is_same = rc == RC_OK && now.is_usable && now.facts.account == account &&
                   memcmp(now.facts.credential, credential, AUTH_CREDENTIAL) == 0;
    arena_fini(&arena);
    return rc == RC_OK && !is_same ? RC_DENIED : rc;
}
