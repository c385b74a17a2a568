/* Domains. The row in the domain's own partition decides; the list in G is only an index, written
 * first and removed last, so that a crash between leaves at most a listed name without a domain,
 * which every reader of the list passes over. */
#include "auth/auth_int.h"

#include "base/mem.h"

struct domain_edit {
    struct edit edit;
    struct key key;
};

static struct domain_edit edit_of(struct auth *auth, struct kv_part part,
                                  enum rc (*make)(struct edit *e, struct kv_txn *txn),
                                  struct str name)
{
    struct domain_edit d = {.edit = {.make = make, .auth = auth, .part = part}};
    auth_key_domain(&d.key, name);
    return d;
}

static enum rc make_listed(struct edit *e, struct kv_txn *txn)
{
    struct domain_edit *d = CONTAINER(e, struct domain_edit, edit);
    struct str value;
    struct record r;
    TRY(auth_edit_get(e, &d->key, 1, &value));
    auth_number_pack(clock_wall(e->auth->ctx->clock), &r);
    return kv_txn_put(txn, auth_key_str(&d->key), auth_record_str(&r));
}

static enum rc make_domain(struct edit *e, struct kv_txn *txn)
{
    struct domain_edit *d = CONTAINER(e, struct domain_edit, edit);
    struct str value;
    struct record r;
    TRY(auth_edit_get(e, &d->key, 1, &value));
    if (!str_is_null(value))
        return RC_EXISTS;
    auth_domain_pack(&(struct domain_record){.created = clock_wall(e->auth->ctx->clock)}, &r);
    return kv_txn_put(txn, auth_key_str(&d->key), auth_record_str(&r));
}

enum rc auth_domain_add(struct auth *auth, struct str domain)
{
    struct domain_name d;
    TRY(auth_domain_parse(domain, &d));
    struct domain_edit listed = edit_of(auth, auth_global_part, make_listed, d.name);
    struct domain_edit made = edit_of(auth, auth_domain_part(d.name), make_domain, d.name);
    pthread_mutex_lock(&auth->domains);
    enum rc rc = auth_edit_run(&listed.edit);
    if (rc == RC_OK)
        rc = auth_edit_run(&made.edit);
    pthread_mutex_unlock(&auth->domains);
    return rc;
}

static enum rc make_removed(struct edit *e, struct kv_txn *txn)
{
    struct domain_edit *d = CONTAINER(e, struct domain_edit, edit);
    struct domain_record record;
    struct str value;
    TRY(auth_edit_get(e, &d->key, 1, &value));
    if (str_is_null(value))
        return RC_NOTFOUND;
    TRY(auth_domain_unpack(value, &record));
    if (record.accounts)
        return RC_CONFLICT;
    return kv_txn_delete(txn, auth_key_str(&d->key));
}

static enum rc make_unlisted(struct edit *e, struct kv_txn *txn)
{
    struct domain_edit *d = CONTAINER(e, struct domain_edit, edit);
    struct str value;
    TRY(auth_edit_get(e, &d->key, 1, &value));
    return kv_txn_delete(txn, auth_key_str(&d->key));
}

enum rc auth_domain_remove(struct auth *auth, struct str domain)
{
    struct domain_name d;
    if (auth_domain_parse(domain, &d) != RC_OK)
        return RC_NOTFOUND;
    struct domain_edit removed = edit_of(auth, auth_domain_part(d.name), make_removed, d.name);
    struct domain_edit unlisted = edit_of(auth, auth_global_part, make_unlisted, d.name);
    pthread_mutex_lock(&auth->domains);
    enum rc rc = auth_edit_run(&removed.edit);
    if (rc == RC_OK)
        rc = auth_edit_run(&unlisted.edit);
    pthread_mutex_unlock(&auth->domains);
    return rc;
}

/* Adds the domain to the array when there is one of that name. */
static enum rc list_one(struct auth *auth, struct str name, struct arena *arena,
                        struct auth_domain *out, size_t *n)
{
    struct key key;
    struct str value;
    struct domain_record d;
    auth_key_domain(&key, name);
    struct str names[1] = {auth_key_str(&key)};
    TRY(kv_get(auth->kv, auth_domain_part(name), names, 1, 0, arena, &value, NULL));
    if (str_is_null(value))
        return RC_OK;
    TRY(auth_domain_unpack(value, &d));
    out[(*n)++] = (struct auth_domain){name, d.accounts, d.created};
    return RC_OK;
}

enum rc auth_domain_list(struct auth *auth, struct arena *arena, struct auth_domain **out,
                         size_t *out_n)
{
    struct kv_range range = {.from = STR("d"), .to = STR("e")};
    struct kv_page page;
    *out = NULL;
    *out_n = 0;
    do {
        TRY(kv_scan(auth->kv, auth_global_part, range, 0, 0, arena, &page));
        struct auth_domain *grown = arena_alloc(arena, (*out_n + page.n + 1) * sizeof *grown);
        if (!grown)
            return RC_LIMIT;
        for (size_t i = 0; i < *out_n; i++)
            grown[i] = (*out)[i];
        *out = grown;
        for (size_t i = 0; i < page.n; i++)
            TRY(list_one(auth, str_skip(page.rows[i].key, 1), arena, *out, out_n));
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    } while (page.has_more);
    return RC_OK;
}
