/* An account under another address.
 *
 * Within a domain that is one commit. Between two domains, which may lie in different partitions,
 * it is two: the account arrives at the new address, with its credentials, then leaves the old one.
 * Cut short in between it has both addresses and may be used by both; the same call again sees that
 * it has arrived and completes the rest. Removing either address meanwhile takes no mail away:
 * the store's partition goes only when no address has the id.
 */
#include "auth/auth_int.h"

struct rename_edit {
    struct edit edit;
    struct auth_place from, to;
    bool keep_alias;
    uint64_t id;
};

/* An alias that leads to the old address only gives its own up: so a rename can be taken back. */
static bool is_own_alias(const struct rename_edit *n, const struct address_record *row)
{
    return row->is_alias && row->n_targets == 1 && str_eq(row->targets[0], n->from.address.whole);
}

/* The old address becomes an alias or goes. */
static enum rc leave(struct rename_edit *n, struct kv_txn *txn, struct domain_record *domain)
{
    if (!n->keep_alias)
        return kv_txn_delete(txn, auth_key_str(&n->from.address_key));
    struct address_record alias = {.is_alias = true,
                                   .created = clock_wall(n->edit.auth->ctx->clock),
                                   .targets = &n->to.address.whole,
                                   .n_targets = 1};
    domain->aliases++;
    return auth_edit_put_address(&n->edit, txn, &n->from.address_key, &alias);
}

/* Whether the account may have the new address, or has it already. */
static enum rc claim(struct rename_edit *n, struct domain_record *domain, bool *out_has_it)
{
    struct address_record row;
    struct str value;
    *out_has_it = false;
    TRY(auth_edit_get(&n->edit, &n->to.address_key, 1, &value));
    if (str_is_null(value))
        return RC_OK;
    TRY(auth_address_unpack(value, &n->edit.arena, &row));
    *out_has_it = !row.is_alias && row.account == n->id;
    if (*out_has_it)
        return RC_OK;
    if (!is_own_alias(n, &row))
        return RC_EXISTS;
    domain->aliases -= domain->aliases > 0;
    return RC_OK;
}

/* The account's row at its old address, read by whom is said. */
static enum rc take_row(struct rename_edit *n, struct str value)
{
    struct address_record row;
    if (str_is_null(value))
        return RC_NOTFOUND;
    TRY(auth_address_unpack(value, &n->edit.arena, &row));
    if (row.is_alias)
        return RC_NOTFOUND;
    n->id = row.account;
    return RC_OK;
}

/* --- within a domain -------------------------------------------------------------------------- */

static enum rc make_renamed(struct edit *e, struct kv_txn *txn)
{
    struct rename_edit *n = CONTAINER(e, struct rename_edit, edit);
    struct domain_record domain;
    struct str value;
    bool has_it;
    TRY(auth_edit_get(e, &n->from.address_key, 1, &value));
    TRY(take_row(n, value));
    TRY(auth_edit_domain(e, &n->from.domain_key, &domain));
    TRY(claim(n, &domain, &has_it));
    if (has_it)
        return RC_EXISTS; /* from and to are the same */
    TRY(kv_txn_put(txn, auth_key_str(&n->to.address_key), value));
    TRY(leave(n, txn, &domain));
    return auth_edit_put_domain(e, txn, &n->from.domain_key, &domain);
}

/* --- between two ------------------------------------------------------------------------------ */

static enum rc copy_secrets(struct rename_edit *n, struct kv_txn *txn)
{
    struct key from, to;
    struct kv_page page;
    if (n->from.part.id == n->to.part.id)
        return RC_OK;
    auth_key_secret(&from, n->id, 0);
    auth_key_secret(&to, n->id + 1, 0);
    struct kv_range range = {.from = auth_key_str(&from), .to = auth_key_str(&to)};
    TRY(kv_scan(n->edit.auth->kv, n->from.part, range, 0, 0, &n->edit.arena, &page));
    for (size_t i = 0; i < page.n; i++)
        TRY(kv_txn_put(txn, page.rows[i].key, page.rows[i].value));
    return RC_OK;
}

static enum rc make_arrived(struct edit *e, struct kv_txn *txn)
{
    struct rename_edit *n = CONTAINER(e, struct rename_edit, edit);
    struct domain_record domain;
    struct str value, names[1] = {auth_key_str(&n->from.address_key)};
    bool has_it;
    TRY(kv_get(e->auth->kv, n->from.part, names, 1, 0, &e->arena, &value, NULL));
    TRY(take_row(n, value));
    TRY(auth_edit_domain(e, &n->to.domain_key, &domain));
    TRY(claim(n, &domain, &has_it));
    if (has_it)
        return RC_OK;
    domain.accounts++;
    domain.postmaster = domain.postmaster ? domain.postmaster : n->id;
    TRY(auth_edit_put_domain(e, txn, &n->to.domain_key, &domain));
    TRY(kv_txn_put(txn, auth_key_str(&n->to.address_key), value));
    return copy_secrets(n, txn);
}

static enum rc make_left(struct edit *e, struct kv_txn *txn)
{
    struct rename_edit *n = CONTAINER(e, struct rename_edit, edit);
    struct domain_record domain;
    struct str value;
    struct key from, to;
    uint64_t id = n->id;
    TRY(auth_edit_get(e, &n->from.address_key, 1, &value));
    TRY(take_row(n, value));
    if (n->id != id)
        return RC_CONFLICT;
    TRY(auth_edit_domain(e, &n->from.domain_key, &domain));
    domain.accounts -= domain.accounts > 0;
    if (domain.postmaster == id)
        TRY(auth_edit_next_postmaster(e, n->from.address.domain, id, &domain.postmaster));
    TRY(leave(n, txn, &domain));
    TRY(auth_edit_put_domain(e, txn, &n->from.domain_key, &domain));
    if (n->from.part.id == n->to.part.id)
        return RC_OK;
    auth_key_secret(&from, id, 0);
    auth_key_secret(&to, id + 1, 0);
    return kv_txn_trim(txn, auth_key_str(&from), auth_key_str(&to));
}

static enum rc run(struct rename_edit *n, struct kv_part part,
                   enum rc (*make)(struct edit *e, struct kv_txn *txn))
{
    n->edit.part = part;
    n->edit.make = make;
    return auth_edit_run(&n->edit);
}

enum rc auth_account_rename(struct auth *auth, struct str from, struct str to, bool keep_alias,
                            uint64_t *out_id)
{
    struct rename_edit n = {.edit.auth = auth, .keep_alias = keep_alias};
    *out_id = 0;
    TRY(auth_place_of(from, &n.from));
    TRY(auth_place_of(to, &n.to));
    pthread_mutex_lock(&auth->domains);
    enum rc rc;
    if (str_eq(n.from.address.domain, n.to.address.domain)) {
        rc = run(&n, n.from.part, make_renamed);
    } else {
        rc = run(&n, n.to.part, make_arrived);
        if (rc == RC_OK)
            rc = run(&n, n.from.part, make_left);
    }
    pthread_mutex_unlock(&auth->domains);
    *out_id = n.id;
    return rc;
}
