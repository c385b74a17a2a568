/* The directory's rows that decide about one address, read from the store: its domain and itself,
 * at once. Where they lead is resolve.c's. Never changes the directory, never looks into the cache.
 */
#include "auth/auth_int.h"

static void log_corrupt(struct auth *auth, const struct address *a)
{
    struct log_line l;
    log_begin(&l, auth->ctx->log, LOG_ERROR, "directory-corrupt");
    log_str(&l, "address", a->whole);
    log_end(&l);
}

enum rc auth_lookup_row(struct auth *auth, const struct address *a, unsigned flags,
                        struct arena *arena, struct lookup *out)
{
    struct key keys[2];
    struct str values[2];
    auth_key_domain(&keys[0], a->domain);
    auth_key_address(&keys[1], a->domain, a->local);
    struct str names[2] = {auth_key_str(&keys[0]), auth_key_str(&keys[1])};
    *out = (struct lookup){0};
    enum rc rc = kv_get(auth->kv, auth_domain_part(a->domain), names, 2, flags, arena, values,
                        &out->version);
    if (rc == RC_OK)
        rc = str_is_null(values[0]) ? RC_DENIED : auth_domain_unpack(values[0], &out->domain);
    if (rc == RC_OK)
        rc = str_is_null(values[1]) || !a->is_plain
                 ? RC_NOTFOUND
                 : auth_address_unpack(values[1], arena, &out->address);
    if (rc == RC_CORRUPT)
        log_corrupt(auth, a);
    return rc;
}

enum rc auth_lookup_address(struct auth *auth, const struct address *a, unsigned flags,
                            struct lookup *out)
{
    struct arena arena = {0};
    enum rc rc = auth_lookup_row(auth, a, flags, &arena, out);
    if (rc == RC_OK && out->address.is_alias)
        rc = RC_NOTFOUND;
    out->domain.catch_all = out->address.reason = (struct str){0};
    out->address.targets = NULL;
    out->address.n_targets = 0;
    arena_fini(&arena);
    return rc;
}

/* Where the detail begins: behind the domain's delimiter or a '+'; 0: there is none. */
static size_t detail_at(const struct address *a, char delimiter)
{
    for (size_t i = 1; i + 1 < a->local.n; i++)
        if (a->local.p[i] == '+' || (delimiter && a->local.p[i] == delimiter))
            return i + 1;
    return 0;
}

enum rc auth_lookup_login(struct auth *auth, const struct address *a, unsigned flags,
                          struct lookup *out, struct str *out_label)
{
    struct lookup base_found;
    *out_label = (struct str){0};
    enum rc rc = auth_lookup_address(auth, a, flags, out);
    size_t at = rc == RC_OK || rc == RC_NOTFOUND ? detail_at(a, out->domain.delimiter) : 0;
    if (!at)
        return rc;
    /* For an address that is there as well: what is read tells nothing. */
    struct address base = *a;
    base.local = str_head(a->local, at - 1);
    enum rc base_rc = auth_lookup_address(auth, &base, flags, &base_found);
    if (rc == RC_OK || out->address.is_alias)
        return base_rc == RC_AGAIN ? base_rc : rc;
    *out = base_found;
    *out_label = str_skip(a->local, at);
    return base_rc;
}

struct auth_settings auth_lookup_settings(const struct lookup *found)
{
    struct auth_settings s = found->address.settings;
    if (s.pop3_delete == AUTH_POP3_UNSET)
        s = found->domain.settings;
    return s.pop3_delete == AUTH_POP3_UNSET ? (struct auth_settings){AUTH_POP3_CLIENT, 0} : s;
}

/* The rows are found by a checksum of the address; the address in them decides. */
enum rc auth_lookup_removed(struct auth *auth, const struct address *a, unsigned flags,
                            struct answer *answer)
{
    struct arena arena = {0};
    struct key from, to;
    struct kv_page page;
    auth_key_removed(&from, a->whole, 0);
    auth_key_removed(&to, a->whole, UINT64_MAX);
    struct kv_range range = {.from = auth_key_str(&from), .to = auth_key_str(&to)};
    struct kv_part part = auth_domain_part(a->domain);
    enum rc rc = kv_scan(auth->kv, part, range, 0, flags, &arena, &page);
    enum rc result = rc == RC_OK ? RC_NOTFOUND : rc;
    for (size_t i = 0; rc == RC_OK && result == RC_NOTFOUND && i < page.n; i++) {
        struct removed_record removed;
        rc = auth_removed_unpack(&page.rows[i], &removed);
        if (rc != RC_OK || str_eq(removed.address, a->whole))
            result = rc;
    }
    if (result == RC_OK || result == RC_NOTFOUND)
        auth_answer_depend(answer, part, page.version);
    arena_fini(&arena);
    return result;
}

enum rc auth_sending(struct auth *auth, struct str name, unsigned flags, struct auth_sending *out)
{
    struct address a;
    struct lookup found;
    if (auth_address_parse(name, &a) != RC_OK)
        return RC_DENIED;
    enum rc rc = auth_lookup_address(auth, &a, flags, &found);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND ? RC_DENIED : rc;
    *out = (struct auth_sending){.account = found.address.limits.is_set ? found.address.limits
                                                                        : found.domain.limits,
                                 .domain = found.domain.all_limits,
                                 .created = found.address.created};
    return RC_OK;
}
