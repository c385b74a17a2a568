/* How the directory is changed: read, commit on top of the version that was read, and do it again
 * when another node was faster. In this process changes stand in line (auth->admin), and the cache
 * knows of each before the call returns. */
#include "auth/auth_int.h"

enum { ATTEMPTS = 16, KEYS_MAX = 4 };

/* The oldest read decides: only if nothing was committed since it do all reads hold together. */
static void on_top_of(struct edit *e, uint64_t version)
{
    if (version < e->version)
        e->version = version;
}

enum rc auth_place_of(struct str text, struct auth_place *out)
{
    if (auth_address_parse(text, &out->address) != RC_OK || !out->address.is_plain)
        return RC_SYNTAX;
    out->part = auth_domain_part(out->address.domain);
    auth_key_domain(&out->domain_key, out->address.domain);
    auth_key_address(&out->address_key, out->address.domain, out->address.local);
    return RC_OK;
}

enum rc auth_edit_get(struct edit *e, const struct key *keys, size_t n, struct str *out_values)
{
    struct str names[KEYS_MAX];
    if (n > KEYS_MAX)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++)
        names[i] = auth_key_str(&keys[i]);
    uint64_t version;
    TRY(kv_get(e->auth->kv, e->part, names, n, 0, &e->arena, out_values, &version));
    on_top_of(e, version);
    return RC_OK;
}

enum rc auth_edit_scan(struct edit *e, struct kv_range range, size_t max, struct kv_page *out_page)
{
    TRY(kv_scan(e->auth->kv, e->part, range, max, 0, &e->arena, out_page));
    on_top_of(e, out_page->version);
    return RC_OK;
}

enum rc auth_edit_domain(struct edit *e, const struct key *key, struct domain_record *out)
{
    struct str value;
    TRY(auth_edit_get(e, key, 1, &value));
    return str_is_null(value) ? RC_NOTFOUND : auth_domain_unpack(value, out);
}

enum rc auth_edit_account(struct edit *e, const struct key *key, struct address_record *out)
{
    struct str value;
    TRY(auth_edit_get(e, key, 1, &value));
    if (str_is_null(value))
        return RC_NOTFOUND;
    TRY(auth_address_unpack(value, &e->arena, out));
    return out->is_alias ? RC_NOTFOUND : RC_OK;
}

enum rc auth_edit_put_domain(struct edit *e, struct kv_txn *txn, const struct key *key,
                             const struct domain_record *domain)
{
    struct record r;
    auth_domain_pack(domain, &r);
    return kv_txn_put(txn, auth_key_str(key), auth_record_str(&r));
}

enum rc auth_edit_put_address(struct edit *e, struct kv_txn *txn, const struct key *key,
                              const struct address_record *address)
{
    struct str value;
    TRY(auth_address_pack(address, &e->arena, &value));
    return kv_txn_put(txn, auth_key_str(key), value);
}

static enum rc attempt(struct edit *e)
{
    struct kv_txn *txn = kv_txn_new(e->part);
    e->version = UINT64_MAX;
    enum rc rc = e->make(e, txn);
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    kv_txn_expect(txn, e->version);
    uint64_t version;
    rc = kv_commit_wait(e->auth->kv, txn, &version);
    if (rc == RC_OK && e->part.class == KV_DIRECTORY)
        auth_cache_seen(&e->auth->cache, e->part, version);
    return rc == RC_CONFLICT ? RC_AGAIN : rc;
}

enum rc auth_edit_run(struct edit *e)
{
    enum rc rc = RC_AGAIN;
    pthread_mutex_lock(&e->auth->admin);
    for (int i = 0; i < ATTEMPTS && rc == RC_AGAIN; i++) {
        arena_reset(&e->arena);
        rc = attempt(e);
    }
    pthread_mutex_unlock(&e->auth->admin);
    arena_fini(&e->arena);
    return rc == RC_AGAIN || rc == RC_LIMIT ? RC_TEMP : rc;
}
