/* Domains. The row in the domain's own partition decides; the list in G is only an index, written
 * first and removed last, so that a crash between leaves at most a listed name without a domain,
 * which every reader of the list passes over. */
#include "auth/auth_int.h"

#include <string.h>

struct domain_edit {
    struct edit edit;
    struct key key;
    const struct auth_domain_change *change;
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
    TRY(auth_edit_get(e, &d->key, 1, &value));
    if (!str_is_null(value))
        return RC_EXISTS;
    const struct domain_record made = {.created = clock_wall(e->auth->ctx->clock),
                                       .settings.pop3_delete = AUTH_POP3_UNSET,
                                       .delimiter = '+',
                                       .signing = AUTH_SIGNING_ALL};
    return auth_edit_put_domain(e, txn, &d->key, &made);
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
    if (record.accounts || record.removed || record.aliases)
        return RC_CONFLICT;
    TRY(auth_keys_forget(txn, str_skip(auth_key_str(&d->key), 1)));
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

/* --- settings --------------------------------------------------------------------------------- */

static enum rc make_changed(struct edit *e, struct kv_txn *txn)
{
    struct domain_edit *d = CONTAINER(e, struct domain_edit, edit);
    const struct auth_domain_change *c = d->change;
    struct domain_record record;
    TRY(auth_edit_domain(e, &d->key, &record));
    if (c->what & AUTH_SET_POP3)
        record.settings = c->settings;
    if (c->what & AUTH_SET_DELIMITER)
        record.delimiter = c->delimiter;
    if (c->what & AUTH_SET_CATCH_ALL)
        record.catch_all = c->catch_all;
    if (c->what & AUTH_SET_SIGNING)
        record.signing = (uint8_t)c->signing;
    if (c->what & AUTH_SET_LIMITS)
        record.limits = c->limits;
    if (c->what & AUTH_SET_ALL_LIMITS)
        record.all_limits = c->all_limits;
    return auth_edit_put_domain(e, txn, &d->key, &record);
}

/* An account or an alias, and not only what another catch-all would take: that could be this one.
 */
static enum rc check_catch_all(struct auth *auth, struct str text, struct address *out)
{
    struct arena arena = {0};
    struct lookup found;
    if (auth_address_parse(text, out) != RC_OK || !out->is_plain)
        return RC_PERM;
    enum rc rc = auth_lookup_row(auth, out, 0, &arena, &found);
    arena_fini(&arena);
    return rc == RC_NOTFOUND ? RC_PERM : rc;
}

enum rc auth_domain_set(struct auth *auth, struct str domain,
                        const struct auth_domain_change *change)
{
    struct domain_name d;
    struct address catch_all;
    struct auth_domain_change c = *change;
    if (auth_domain_parse(domain, &d) != RC_OK)
        return RC_NOTFOUND;
    if (c.what & AUTH_SET_DELIMITER && c.delimiter && !strchr("!#$%&'*+-/=?^_`{|}~", c.delimiter))
        return RC_SYNTAX;
    if (c.what & AUTH_SET_CATCH_ALL && c.catch_all.n) {
        TRY(check_catch_all(auth, c.catch_all, &catch_all));
        c.catch_all = catch_all.whole;
    }
    struct domain_edit e = edit_of(auth, auth_domain_part(d.name), make_changed, d.name);
    e.change = &c;
    return auth_edit_run(&e.edit);
}

/* --- looking ---------------------------------------------------------------------------------- */

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
    out[(*n)++] = (struct auth_domain){.name = name,
                                       .accounts = d.accounts,
                                       .created = d.created,
                                       .aliases = d.aliases,
                                       .removed = d.removed,
                                       .settings = d.settings,
                                       .delimiter = d.delimiter,
                                       .catch_all = d.catch_all,
                                       .signing = d.signing,
                                       .limits = d.limits,
                                       .all_limits = d.all_limits};
    return RC_OK;
}

enum rc auth_domain_show(struct auth *auth, struct str domain, struct arena *arena,
                         struct auth_domain *out)
{
    struct domain_name d;
    size_t n = 0;
    if (auth_domain_parse(domain, &d) != RC_OK)
        return RC_NOTFOUND;
    struct str name = arena_dup(arena, d.name);
    if (str_is_null(name))
        return RC_LIMIT;
    TRY(list_one(auth, name, arena, out, &n));
    return n ? RC_OK : RC_NOTFOUND;
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
