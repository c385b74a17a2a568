/* Removing accounts, with a time in which that can be undone.
 *
 * A removed account has a row `r` instead of its address: the address is free at once, and nobody
 * finds the account by it any more. Its credentials and its id stay, and the store keeps its mail,
 * until the row is purged. An address may have been several accounts' one after the other.
 */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct removed_edit {
    struct edit edit;
    struct auth_place place;
    uint64_t id, before; /* of the account; what was removed before that time */
};

static enum rc begin(struct removed_edit *x, struct auth *auth, struct str address)
{
    TRY(auth_place_of(address, &x->place));
    x->edit.auth = auth;
    x->edit.part = x->place.part;
    return RC_OK;
}

/* --- removing --------------------------------------------------------------------------------- */

enum rc auth_edit_next_postmaster(struct edit *e, struct str domain, uint64_t besides,
                                  uint64_t *out_account)
{
    struct key from, to;
    struct kv_page page = {.has_more = true};
    struct address_record row;
    auth_keys_of_domain(domain, &from, &to);
    struct kv_range range = {.from = auth_key_str(&from), .to = auth_key_str(&to)};
    *out_account = 0;
    while (page.has_more && !*out_account) {
        TRY(auth_edit_scan(e, range, 0, &page));
        for (size_t i = 0; i < page.n && !*out_account; i++) {
            TRY(auth_address_unpack(page.rows[i].value, &e->arena, &row));
            if (!row.is_alias && row.account != besides)
                *out_account = row.account;
        }
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    }
    return RC_OK;
}

static enum rc put_removed(struct removed_edit *x, struct kv_txn *txn, struct str row)
{
    struct key key;
    struct str value;
    const struct removed_record record = {x->id, clock_wall(x->edit.auth->ctx->clock),
                                          x->place.address.whole, row};
    TRY(auth_removed_pack(&record, &x->edit.arena, &value));
    auth_key_removed(&key, x->place.address.whole, x->id);
    return kv_txn_put(txn, auth_key_str(&key), value);
}

static enum rc make_removed(struct edit *e, struct kv_txn *txn)
{
    struct removed_edit *x = CONTAINER(e, struct removed_edit, edit);
    struct address_record row;
    struct domain_record domain;
    struct str value;
    TRY(auth_edit_get(e, &x->place.address_key, 1, &value));
    if (str_is_null(value))
        return RC_NOTFOUND;
    TRY(auth_address_unpack(value, &e->arena, &row));
    if (row.is_alias)
        return RC_NOTFOUND;
    TRY(auth_edit_domain(e, &x->place.domain_key, &domain));
    x->id = row.account;
    domain.accounts -= domain.accounts > 0;
    domain.removed++;
    if (domain.postmaster == x->id)
        TRY(auth_edit_next_postmaster(e, x->place.address.domain, x->id, &domain.postmaster));
    TRY(auth_edit_put_domain(e, txn, &x->place.domain_key, &domain));
    TRY(put_removed(x, txn, value));
    return kv_txn_delete(txn, auth_key_str(&x->place.address_key));
}

enum rc auth_account_remove(struct auth *auth, struct str address, uint64_t *out_id)
{
    struct removed_edit x = {.edit.make = make_removed};
    TRY(begin(&x, auth, address));
    TRY(auth_edit_run(&x.edit));
    *out_id = x.id;
    return RC_OK;
}

/* --- restoring -------------------------------------------------------------------------------- */

/* The account that is meant: the one with the id, or the last one that was removed. */
static enum rc find_removed(struct removed_edit *x, uint64_t wanted, struct removed_record *out)
{
    struct key from, to;
    struct kv_page page;
    auth_key_removed(&from, x->place.address.whole, 0);
    auth_key_removed(&to, x->place.address.whole, UINT64_MAX);
    struct kv_range range = {.from = auth_key_str(&from), .to = auth_key_str(&to)};
    TRY(auth_edit_scan(&x->edit, range, 0, &page));
    *out = (struct removed_record){0};
    for (size_t i = 0; i < page.n; i++) {
        struct removed_record r;
        TRY(auth_removed_unpack(&page.rows[i], &r));
        if (!str_eq(r.address, x->place.address.whole) || (wanted && r.account != wanted))
            continue;
        if (!out->account || r.removed >= out->removed)
            *out = r;
    }
    return out->account ? RC_OK : RC_NOTFOUND;
}

static enum rc make_restored(struct edit *e, struct kv_txn *txn)
{
    struct removed_edit *x = CONTAINER(e, struct removed_edit, edit);
    struct removed_record removed;
    struct domain_record domain;
    struct str value;
    struct key key;
    TRY(find_removed(x, x->id, &removed));
    TRY(auth_edit_get(e, &x->place.address_key, 1, &value));
    if (!str_is_null(value))
        return RC_EXISTS;
    TRY(auth_edit_domain(e, &x->place.domain_key, &domain));
    domain.accounts++;
    domain.removed -= domain.removed > 0;
    domain.postmaster = domain.postmaster ? domain.postmaster : removed.account;
    TRY(auth_edit_put_domain(e, txn, &x->place.domain_key, &domain));
    TRY(kv_txn_put(txn, auth_key_str(&x->place.address_key), removed.row));
    auth_key_removed(&key, x->place.address.whole, removed.account);
    x->before = removed.account;
    return kv_txn_delete(txn, auth_key_str(&key));
}

enum rc auth_account_restore(struct auth *auth, struct str address, uint64_t id, uint64_t *out_id)
{
    struct removed_edit x = {.edit.make = make_restored, .id = id};
    TRY(begin(&x, auth, address));
    TRY(auth_edit_run(&x.edit));
    *out_id = x.before;
    return RC_OK;
}

/* --- all of them ------------------------------------------------------------------------------ */

typedef enum rc (*removed_fn)(void *user, struct kv_part part, const struct removed_record *r);

static enum rc each_of_partition(struct auth *auth, struct kv_part part, removed_fn fn, void *user)
{
    struct kv_walk walk;
    struct kv_row row;
    struct removed_record r;
    enum rc rc;
    kv_walk_begin(&walk, auth->kv, part, (struct kv_range){.from = STR("r"), .to = STR("s")}, 0);
    do {
        rc = kv_walk_next(&walk, &row);
        if (rc == RC_OK)
            rc = auth_removed_unpack(&row, &r);
        if (rc == RC_OK)
            rc = fn(user, part, &r);
    } while (rc == RC_OK);
    kv_walk_end(&walk);
    return rc == RC_EOF ? RC_OK : rc;
}

struct removed_list {
    struct arena *arena;
    struct str domain; /* absent: all */
    struct auth_account *accounts;
    size_t n, max;
};

static enum rc list_one(void *user, struct kv_part part, const struct removed_record *r)
{
    struct removed_list *l = user;
    struct address_record row;
    if (!str_is_null(l->domain) && !str_eq(str_domain(r->address), l->domain))
        return RC_OK;
    struct str address = arena_dup(l->arena, r->address), copy = arena_dup(l->arena, r->row);
    if (str_is_null(address) || str_is_null(copy))
        return RC_LIMIT;
    TRY(auth_address_unpack(copy, l->arena, &row));
    l->accounts = mem_array(l->accounts, &l->max, l->n + 1, sizeof *l->accounts);
    l->accounts[l->n] = auth_account_of(&row, address);
    l->accounts[l->n++].removed = r->removed;
    return RC_OK;
}

enum rc auth_removed_list(struct auth *auth, struct str domain, struct arena *arena,
                          struct auth_account **out, size_t *out_n)
{
    struct removed_list l = {.arena = arena};
    struct domain_name d = {0};
    enum rc rc = RC_OK;
    bool is_all = str_is_null(domain);
    if (!is_all && auth_domain_parse(domain, &d) != RC_OK)
        return RC_NOTFOUND;
    if (!is_all) {
        l.domain = d.name;
        rc = each_of_partition(auth, auth_domain_part(d.name), list_one, &l);
    }
    for (uint64_t i = 0; is_all && rc == RC_OK && i < PARTITIONS; i++)
        rc = each_of_partition(auth, (struct kv_part){KV_DIRECTORY, i}, list_one, &l);
    *out_n = 0;
    *out = arena_alloc(arena, (l.n + 1) * sizeof **out);
    if (rc == RC_OK && !*out)
        rc = RC_LIMIT;
    for (size_t i = 0; rc == RC_OK && i < l.n; i++)
        (*out)[(*out_n)++] = l.accounts[i];
    free(l.accounts);
    return rc;
}

/* --- purging ---------------------------------------------------------------------------------- */

static enum rc make_purged(struct edit *e, struct kv_txn *txn)
{
    struct removed_edit *x = CONTAINER(e, struct removed_edit, edit);
    struct domain_record domain;
    struct str value;
    struct key row, from, to;
    auth_key_removed(&row, x->place.address.whole, x->id);
    TRY(auth_edit_get(e, &row, 1, &value));
    if (str_is_null(value)) /* restored meanwhile */
        return RC_OK;
    enum rc rc = auth_edit_domain(e, &x->place.domain_key, &domain);
    if (rc == RC_OK) {
        domain.removed -= domain.removed > 0;
        TRY(auth_edit_put_domain(e, txn, &x->place.domain_key, &domain));
    } else if (rc != RC_NOTFOUND) {
        return rc;
    }
    TRY(kv_txn_delete(txn, auth_key_str(&row)));
    auth_key_secret(&from, x->id, 0);
    auth_key_secret(&to, x->id + 1, 0);
    return kv_txn_trim(txn, auth_key_str(&from), auth_key_str(&to));
}

struct purge {
    struct auth *auth;
    uint64_t before, id;
};

static enum rc purge_one(void *user, struct kv_part part, const struct removed_record *r)
{
    const struct purge *p = user;
    bool is_meant = p->id ? r->account == p->id : r->removed < p->before;
    if (!is_meant)
        return RC_OK;
    struct removed_edit x = {.edit.make = make_purged, .id = r->account};
    if (begin(&x, p->auth, r->address) != RC_OK)
        return RC_CORRUPT;
    return auth_edit_run(&x.edit);
}

enum rc auth_removed_purge(struct auth *auth, uint64_t before, uint64_t id)
{
    struct purge p = {auth, before, id};
    for (uint64_t i = 0; i < PARTITIONS; i++)
        TRY(each_of_partition(auth, (struct kv_part){KV_DIRECTORY, i}, purge_one, &p));
    return RC_OK;
}
