/* Accounts: making them, and changes to one that is there. Address and credentials lie in the
 * domain's partition; each change is one commit there, with the domain's numbers in it. Does not
 * know the store. */
#include "auth/auth_int.h"

struct account_edit {
    struct edit edit;
    struct auth_place place;
    struct key secret; /* when `id` is known */
    uint64_t id;
    const struct auth_account_change *change;
    /* of the new password */
    char hash[CRYPTO_FOREIGN_MAX];
    bool is_prepared;
    struct scram_record scram;
};
enum { DOMAIN, ADDRESS };

typedef enum rc (*make_fn)(struct edit *e, struct kv_txn *txn);

static enum rc edit_address(struct account_edit *a, struct auth *auth, struct str address)
{
    TRY(auth_place_of(address, &a->place));
    a->edit.auth = auth;
    a->edit.part = a->place.part;
    return RC_OK;
}

static enum rc run(struct account_edit *a, make_fn make)
{
    a->edit.make = make;
    enum rc rc = auth_edit_run(&a->edit);
    crypto_wipe(a->hash, sizeof a->hash);
    crypto_wipe(&a->scram, sizeof a->scram);
    return rc;
}

static enum rc take_password(struct account_edit *a, struct str password)
{
    if (!password.n)
        return RC_SYNTAX;
    if (password.n > AUTH_PASSWORD_MAX)
        return RC_LIMIT;
    TRY(auth_password_hash(a->edit.auth, password, a->hash));
    a->is_prepared = true;
    return auth_scram_make(a->edit.auth, a->place.address.whole, password, &a->scram);
}

static enum rc put_secret(struct account_edit *a, struct kv_txn *txn, uint64_t created)
{
    struct secret_record secret = {.created = created,
                                   .hash = str_of(a->hash),
                                   .is_prepared = a->is_prepared,
                                   .scram = a->scram};
    struct record r;
    auth_secret_pack(&secret, &r);
    return kv_txn_put(txn, auth_key_str(&a->secret), auth_record_str(&r));
}

static enum rc make_added(struct edit *e, struct kv_txn *txn)
{
    struct account_edit *a = CONTAINER(e, struct account_edit, edit);
    uint64_t now = clock_wall(e->auth->ctx->clock);
    struct address_record row = {
        .account = a->id, .created = now, .settings.pop3_delete = AUTH_POP3_UNSET};
    struct domain_record domain;
    struct str values[2];
    const struct key keys[] = {[DOMAIN] = a->place.domain_key, [ADDRESS] = a->place.address_key};
    TRY(auth_edit_get(e, keys, 2, values));
    if (str_is_null(values[DOMAIN]))
        return RC_NOTFOUND;
    if (!str_is_null(values[ADDRESS]))
        return RC_EXISTS;
    TRY(auth_domain_unpack(values[DOMAIN], &domain));
    domain.accounts++;
    domain.postmaster = domain.postmaster ? domain.postmaster : a->id;
    TRY(auth_edit_put_domain(e, txn, &a->place.domain_key, &domain));
    TRY(auth_edit_put_address(e, txn, &a->place.address_key, &row));
    return put_secret(a, txn, now);
}

/* One that comes from elsewhere. */
static enum rc take_hash(struct account_edit *a, struct str hash)
{
    return crypto_foreign_read(hash, a->hash) == RC_OK ? RC_OK : RC_SYNTAX;
}

enum rc auth_account_add(struct auth *auth, uint64_t id, struct str address, struct str password)
{
    struct account_edit a = {.id = id};
    TRY(edit_address(&a, auth, address));
    TRY(take_password(&a, password));
    auth_key_secret(&a.secret, id, 0);
    return run(&a, make_added);
}

enum rc auth_account_add_hash(struct auth *auth, uint64_t id, struct str address, struct str hash)
{
    struct account_edit a = {.id = id};
    TRY(edit_address(&a, auth, address));
    TRY(take_hash(&a, hash));
    auth_key_secret(&a.secret, id, 0);
    return run(&a, make_added);
}

static enum rc make_passwd(struct edit *e, struct kv_txn *txn)
{
    struct account_edit *a = CONTAINER(e, struct account_edit, edit);
    struct address_record address;
    struct secret_record before;
    struct str value;
    uint64_t created = clock_wall(e->auth->ctx->clock);
    TRY(auth_edit_account(e, &a->place.address_key, &address));
    auth_key_secret(&a->secret, address.account, 0);
    TRY(auth_edit_get(e, &a->secret, 1, &value));
    if (!str_is_null(value) && auth_secret_unpack(value, &before) == RC_OK &&
        before.created >= created)
        created = before.created + 1; /* the clock was set back */
    return put_secret(a, txn, created);
}

enum rc auth_account_passwd(struct auth *auth, struct str address, struct str password)
{
    struct account_edit a = {0};
    TRY(edit_address(&a, auth, address));
    TRY(take_password(&a, password));
    return run(&a, make_passwd);
}

enum rc auth_account_set_hash(struct auth *auth, struct str address, struct str hash)
{
    struct account_edit a = {0};
    TRY(edit_address(&a, auth, address));
    TRY(take_hash(&a, hash));
    return run(&a, make_passwd);
}

static enum rc make_changed(struct edit *e, struct kv_txn *txn)
{
    struct account_edit *a = CONTAINER(e, struct account_edit, edit);
    const struct auth_account_change *c = a->change;
    struct address_record row;
    TRY(auth_edit_account(e, &a->place.address_key, &row));
    if (c->what & AUTH_SET_ENABLED)
        row.is_disabled = !c->is_enabled;
    if (c->what & AUTH_SET_SUSPENDED)
        row.is_suspended = c->is_suspended;
    if (c->what & AUTH_SET_REASON)
        row.reason = c->reason;
    else if (!row.is_disabled && !row.is_suspended)
        row.reason = STR("");
    if (c->what & AUTH_SET_POP3)
        row.settings = c->settings;
    if (c->what & AUTH_SET_LIMITS)
        row.limits = c->limits;
    return auth_edit_put_address(e, txn, &a->place.address_key, &row);
}

static enum rc check_reason(struct str reason)
{
    if (reason.n > AUTH_REASON_MAX)
        return RC_LIMIT;
    for (size_t i = 0; i < reason.n; i++)
        if ((unsigned char)reason.p[i] < ' ' || reason.p[i] == 0x7f)
            return RC_SYNTAX;
    return RC_OK;
}

enum rc auth_account_set(struct auth *auth, struct str address,
                         const struct auth_account_change *change)
{
    struct account_edit a = {.change = change};
    TRY(edit_address(&a, auth, address));
    if (change->what & AUTH_SET_REASON)
        TRY(check_reason(change->reason));
    return run(&a, make_changed);
}

enum rc auth_account_enable(struct auth *auth, struct str address, bool enabled)
{
    const struct auth_account_change change = {.what = AUTH_SET_ENABLED, .is_enabled = enabled};
    return auth_account_set(auth, address, &change);
}
