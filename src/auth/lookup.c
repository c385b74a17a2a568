/* Where mail for an address goes: from the cache, or from the two rows of the directory that decide
 * it, read at once. Never changes the directory. [RFC5321 4.5.1]: postmaster is always somebody. */
#include "auth/auth_int.h"

#include "base/buf.h"

enum { DOMAINS_TRIED = 64 }; /* for a postmaster without domain */

enum rc auth_lookup_address(struct auth *auth, const struct address *a, unsigned flags,
                            struct lookup *out)
{
    struct key keys[2];
    struct str values[2];
    struct arena arena = {0};
    auth_key_domain(&keys[0], a->domain);
    auth_key_address(&keys[1], a->domain, a->local);
    struct str names[2] = {auth_key_str(&keys[0]), auth_key_str(&keys[1])};
    *out = (struct lookup){0};
    enum rc rc = kv_get(auth->kv, auth_domain_part(a->domain), names, 2, flags, &arena, values,
                        &out->version);
    if (rc == RC_OK)
        rc = str_is_null(values[0]) ? RC_DENIED : auth_domain_unpack(values[0], &out->domain);
    if (rc == RC_OK)
        rc = str_is_null(values[1]) || !a->is_plain ? RC_NOTFOUND
                                                    : auth_address_unpack(values[1], &out->address);
    arena_fini(&arena);
    if (rc == RC_CORRUPT) {
        struct log_line l;
        log_begin(&l, auth->ctx->log, LOG_ERROR, "directory-corrupt");
        log_str(&l, "address", a->whole);
        log_end(&l);
    }
    return rc;
}

static enum rc resolve(struct auth *auth, const struct address *a, unsigned flags,
                       uint64_t *out_version, uint64_t *out_account)
{
    struct lookup found;
    enum rc rc = auth_lookup_address(auth, a, flags, &found);
    *out_version = found.version;
    *out_account = found.address.account;
    if (rc == RC_OK && found.address.is_disabled)
        rc = RC_PERM;
    if ((rc == RC_NOTFOUND || rc == RC_PERM) && str_eq(a->local, STR("postmaster")) &&
        found.domain.postmaster) {
        *out_account = found.domain.postmaster;
        rc = RC_OK;
    }
    return rc;
}

/* The first domain, in order of name, that has an account. */
static enum rc resolve_bare_postmaster(struct auth *auth, unsigned flags, uint64_t *out_account)
{
    struct arena arena = {0};
    struct kv_page page;
    struct kv_range all = {.from = STR("d"), .to = STR("e")};
    enum rc rc = kv_scan(auth->kv, auth_global_part, all, DOMAINS_TRIED, flags, &arena, &page);
    enum rc result = rc == RC_OK ? RC_NOTFOUND : rc;
    for (size_t i = 0; rc == RC_OK && result == RC_NOTFOUND && i < page.n; i++) {
        struct buf address = {.cap = 2 * AUTH_ADDRESS_MAX};
        buf_put(&address, STR("postmaster@"));
        buf_put(&address, str_skip(page.rows[i].key, 1));
        struct address a;
        uint64_t version;
        if (auth_address_parse(buf_str(&address), &a) == RC_OK)
            result = resolve(auth, &a, flags, &version, out_account);
        if (result == RC_DENIED) /* listed, but its making was cut short */
            result = RC_NOTFOUND;
        buf_fini(&address);
    }
    arena_fini(&arena);
    return result;
}

static enum rc resolve_one(struct auth *auth, struct str address, unsigned flags,
                           uint64_t *out_account)
{
    struct address a;
    enum rc rc;
    uint64_t version;
    if (str_ieq(address, STR("postmaster")))
        return resolve_bare_postmaster(auth, flags, out_account);
    TRY(auth_address_parse(address, &a));
    if (a.is_plain && auth_cache_find(&auth->cache, &a, &rc, out_account))
        return rc;
    rc = resolve(auth, &a, flags, &version, out_account);
    bool is_answer = rc == RC_OK || rc == RC_NOTFOUND || rc == RC_DENIED || rc == RC_PERM;
    if (a.is_plain && is_answer)
        auth_cache_put(&auth->cache, &a, version, rc, *out_account);
    return rc;
}

enum rc auth_resolve(struct auth *auth, struct str address, unsigned flags, struct arena *arena,
                     struct auth_targets *out)
{
    uint64_t account;
    *out = (struct auth_targets){0};
    TRY(resolve_one(auth, address, flags, &account));
    uint64_t *accounts = arena_alloc(arena, sizeof *accounts);
    if (!accounts)
        return RC_LIMIT;
    *accounts = account;
    out->accounts = accounts;
    out->n = 1;
    return RC_OK;
}

enum rc auth_may_send(struct auth *auth, uint64_t account, struct str address, unsigned flags)
{
    uint64_t found;
    enum rc rc = resolve_one(auth, address, flags, &found);
    if (rc == RC_OK)
        return found == account ? RC_OK : RC_DENIED;
    return rc == RC_AGAIN || rc == RC_TEMP || rc == RC_CORRUPT ? rc : RC_DENIED;
}
