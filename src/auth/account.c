/* Accounts: ids in G, addresses and credentials in the domain's partition. Each visible change is
 * one commit there, with the domain's number of accounts in it. Does not know the store. */
#include "auth/auth_int.h"

#include "base/mem.h"

struct account_edit {
    struct edit edit;
    struct address address;
    struct key keys[3]; /* domain, address, secret: the last one when `id` is known */
    uint64_t id;
    bool is_enabled;
    char hash[CRYPTO_PASSWORD_MAX]; /* of the new password */
};
enum { DOMAIN, ADDRESS, SECRET };

typedef enum rc (*make_fn)(struct edit *e, struct kv_txn *txn);

static enum rc edit_address(struct account_edit *a, struct auth *auth, struct str address)
{
    enum rc rc = auth_address_parse(address, &a->address);
    if (rc != RC_OK || !a->address.is_plain)
        return RC_SYNTAX;
    a->edit.auth = auth;
    a->edit.part = auth_domain_part(a->address.domain);
    auth_key_domain(&a->keys[DOMAIN], a->address.domain);
    auth_key_address(&a->keys[ADDRESS], a->address.domain, a->address.local);
    return RC_OK;
}

static enum rc run(struct account_edit *a, make_fn make)
{
    a->edit.make = make;
    enum rc rc = auth_edit_run(&a->edit);
    crypto_wipe(a->hash, sizeof a->hash);
    return rc;
}

static enum rc hash_password(struct account_edit *a, struct str password)
{
    const struct auth_conf *conf = &a->edit.auth->conf;
    if (!password.n)
        return RC_SYNTAX;
    if (password.n > AUTH_PASSWORD_MAX)
        return RC_LIMIT;
    counter_add(a->edit.auth->ctx->counters, COUNTER_PASSWORD_HASHES, 1);
    return crypto_password_hash(password, conf->hash_ops, conf->hash_memory, a->hash);
}

/* --- ids -------------------------------------------------------------------------------------- */

struct id_edit {
    struct edit edit;
    uint64_t id;
};

static const struct key next_id = {{'i'}, 1};

static enum rc make_reserved(struct edit *e, struct kv_txn *txn)
{
    struct id_edit *i = CONTAINER(e, struct id_edit, edit);
    struct str value;
    struct record r;
    struct key key;
    i->id = 1;
    TRY(auth_edit_get(e, &next_id, 1, &value));
    if (!str_is_null(value))
        TRY(auth_number_unpack(value, &i->id));
    auth_key_account(&key, i->id);
    auth_number_pack(clock_wall(e->auth->ctx->clock), &r);
    TRY(kv_txn_put(txn, auth_key_str(&key), auth_record_str(&r)));
    auth_number_pack(i->id + 1, &r);
    return kv_txn_put(txn, auth_key_str(&next_id), auth_record_str(&r));
}

enum rc auth_account_reserve(struct auth *auth, uint64_t *out_id)
{
    struct id_edit i = {.edit = {.make = make_reserved, .auth = auth, .part = auth_global_part}};
    TRY(auth_edit_run(&i.edit));
    *out_id = i.id;
    return RC_OK;
}

static enum rc make_released(struct edit *e, struct kv_txn *txn)
{
    struct id_edit *i = CONTAINER(e, struct id_edit, edit);
    struct str value;
    struct key key;
    auth_key_account(&key, i->id);
    TRY(auth_edit_get(e, &key, 1, &value));
    return kv_txn_delete(txn, auth_key_str(&key));
}

enum rc auth_account_release(struct auth *auth, uint64_t id)
{
    struct id_edit i = {.edit = {.make = make_released, .auth = auth, .part = auth_global_part},
                        .id = id};
    return auth_edit_run(&i.edit);
}

enum rc auth_account_ids(struct auth *auth, uint64_t after, uint64_t *out_ids, size_t max,
                         size_t *out_n)
{
    struct arena arena = {0};
    struct kv_page page;
    struct key from;
    *out_n = 0;
    if (after == UINT64_MAX || !max)
        return RC_OK;
    auth_key_account(&from, after + 1);
    struct kv_range range = {.from = auth_key_str(&from), .to = STR("b")};
    size_t rows = max < KV_PAGE_ROWS ? max : KV_PAGE_ROWS;
    enum rc rc = kv_scan(auth->kv, auth_global_part, range, rows, 0, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
        if (page.rows[i].key.n == from.n)
            out_ids[(*out_n)++] = get_u64(page.rows[i].key.p + 1);
        else
            rc = RC_CORRUPT;
    }
    arena_fini(&arena);
    return rc;
}

/* --- changes ---------------------------------------------------------------------------------- */

static enum rc make_added(struct edit *e, struct kv_txn *txn)
{
    struct account_edit *a = CONTAINER(e, struct account_edit, edit);
    uint64_t now = clock_wall(e->auth->ctx->clock);
    struct domain_record domain;
    struct str values[2];
    struct record r;
    TRY(auth_edit_get(e, a->keys, 2, values));
    if (str_is_null(values[DOMAIN]))
        return RC_NOTFOUND;
    if (!str_is_null(values[ADDRESS]))
        return RC_EXISTS;
    TRY(auth_domain_unpack(values[DOMAIN], &domain));
    domain.accounts++;
    domain.postmaster = domain.postmaster ? domain.postmaster : a->id;
    auth_domain_pack(&domain, &r);
    TRY(kv_txn_put(txn, auth_key_str(&a->keys[DOMAIN]), auth_record_str(&r)));
    auth_address_pack(&(struct address_record){.account = a->id, .created = now}, &r);
    TRY(kv_txn_put(txn, auth_key_str(&a->keys[ADDRESS]), auth_record_str(&r)));
    auth_secret_pack(&(struct secret_record){now, str_of(a->hash)}, &r);
    return kv_txn_put(txn, auth_key_str(&a->keys[SECRET]), auth_record_str(&r));
}

enum rc auth_account_add(struct auth *auth, uint64_t id, struct str address, struct str password)
{
    struct account_edit a = {.id = id};
    TRY(edit_address(&a, auth, address));
    TRY(hash_password(&a, password));
    auth_key_secret(&a.keys[SECRET], id, 0);
    return run(&a, make_added);
}

/* The account's row, as the change that follows will find it. */
static enum rc get_address(struct account_edit *a, struct address_record *out)
{
    struct str value;
    TRY(auth_edit_get(&a->edit, &a->keys[ADDRESS], 1, &value));
    return str_is_null(value) ? RC_NOTFOUND : auth_address_unpack(value, out);
}

static enum rc make_passwd(struct edit *e, struct kv_txn *txn)
{
    struct account_edit *a = CONTAINER(e, struct account_edit, edit);
    struct address_record address;
    struct record r;
    TRY(get_address(a, &address));
    auth_key_secret(&a->keys[SECRET], address.account, 0);
    auth_secret_pack(&(struct secret_record){clock_wall(e->auth->ctx->clock), str_of(a->hash)}, &r);
    return kv_txn_put(txn, auth_key_str(&a->keys[SECRET]), auth_record_str(&r));
}

enum rc auth_account_passwd(struct auth *auth, struct str address, struct str password)
{
    struct account_edit a = {0};
    TRY(edit_address(&a, auth, address));
    TRY(hash_password(&a, password));
    return run(&a, make_passwd);
}

static enum rc make_enabled(struct edit *e, struct kv_txn *txn)
{
    struct account_edit *a = CONTAINER(e, struct account_edit, edit);
    struct address_record address;
    struct record r;
    TRY(get_address(a, &address));
    address.is_disabled = !a->is_enabled;
    auth_address_pack(&address, &r);
    return kv_txn_put(txn, auth_key_str(&a->keys[ADDRESS]), auth_record_str(&r));
}

enum rc auth_account_enable(struct auth *auth, struct str address, bool enabled)
{
    struct account_edit a = {.is_enabled = enabled};
    TRY(edit_address(&a, auth, address));
    return run(&a, make_enabled);
}

/* Of the accounts that stay, the first in order of name; 0 when there is none. */
static enum rc next_postmaster(struct account_edit *a, uint64_t *out_account)
{
    struct key from, to;
    struct kv_page page;
    struct address_record address;
    auth_key_address(&from, a->address.domain, STR(""));
    to = from;
    to.b[to.n - 1]++; /* the 0 behind the domain */
    struct kv_range range = {.from = auth_key_str(&from), .to = auth_key_str(&to)};
    TRY(auth_edit_scan(&a->edit, range, 2, &page));
    *out_account = 0;
    for (size_t i = 0; i < page.n && !*out_account; i++) {
        TRY(auth_address_unpack(page.rows[i].value, &address));
        if (address.account != a->id)
            *out_account = address.account;
    }
    return RC_OK;
}

static enum rc make_removed(struct edit *e, struct kv_txn *txn)
{
    struct account_edit *a = CONTAINER(e, struct account_edit, edit);
    struct address_record address;
    struct domain_record domain;
    struct str value;
    struct record r;
    struct key end;
    TRY(get_address(a, &address));
    TRY(auth_edit_get(e, &a->keys[DOMAIN], 1, &value));
    if (str_is_null(value))
        return RC_CORRUPT;
    TRY(auth_domain_unpack(value, &domain));
    a->id = address.account;
    domain.accounts -= domain.accounts > 0;
    if (domain.postmaster == a->id)
        TRY(next_postmaster(a, &domain.postmaster));
    auth_domain_pack(&domain, &r);
    TRY(kv_txn_put(txn, auth_key_str(&a->keys[DOMAIN]), auth_record_str(&r)));
    TRY(kv_txn_delete(txn, auth_key_str(&a->keys[ADDRESS])));
    auth_key_secret(&a->keys[SECRET], a->id, 0);
    auth_key_secret(&end, a->id + 1, 0);
    return kv_txn_trim(txn, auth_key_str(&a->keys[SECRET]), auth_key_str(&end));
}

enum rc auth_account_remove(struct auth *auth, struct str address, uint64_t *out_id)
{
    struct account_edit a = {0};
    TRY(edit_address(&a, auth, address));
    TRY(run(&a, make_removed));
    *out_id = a.id;
    return RC_OK;
}

/* --- looking ---------------------------------------------------------------------------------- */

enum rc auth_account_show(struct auth *auth, struct str address, struct arena *arena,
                          struct auth_account *out)
{
    struct address a;
    struct lookup found;
    TRY(auth_address_parse(address, &a));
    enum rc rc = auth_lookup_address(auth, &a, 0, &found);
    if (rc != RC_OK)
        return rc == RC_DENIED ? RC_NOTFOUND : rc;
    *out = (struct auth_account){.id = found.address.account,
                                 .created = found.address.created,
                                 .address = arena_dup(arena, a.whole),
                                 .is_enabled = !found.address.is_disabled};
    return str_is_null(out->address) ? RC_LIMIT : RC_OK;
}

static enum rc domain_exists(struct auth *auth, struct str domain, struct arena *arena)
{
    struct key key;
    struct str value;
    auth_key_domain(&key, domain);
    struct str names[1] = {auth_key_str(&key)};
    TRY(kv_get(auth->kv, auth_domain_part(domain), names, 1, 0, arena, &value, NULL));
    return str_is_null(value) ? RC_NOTFOUND : RC_OK;
}

static enum rc list_row(const struct kv_row *row, struct str domain, struct arena *arena,
                        struct auth_account *out)
{
    struct address_record record;
    TRY(auth_address_unpack(row->value, &record));
    struct str local = str_skip(row->key, domain.n + 2);
    char *text = arena_alloc(arena, local.n + 1 + domain.n);
    if (!text)
        return RC_LIMIT;
    struct packer w;
    pack_init(&w, text, local.n + 1 + domain.n);
    pack_bytes(&w, local);
    pack_u8(&w, '@');
    pack_bytes(&w, domain);
    *out = (struct auth_account){.id = record.account,
                                 .created = record.created,
                                 .address = pack_done(&w),
                                 .is_enabled = !record.is_disabled};
    return RC_OK;
}

enum rc auth_account_list(struct auth *auth, struct str domain, struct str after,
                          struct arena *arena, struct auth_account **out, size_t *out_n)
{
    struct domain_name d;
    struct address a;
    struct key from, to, after_key;
    struct kv_page page;
    if (auth_domain_parse(domain, &d) != RC_OK)
        return RC_NOTFOUND;
    TRY(domain_exists(auth, d.name, arena));
    auth_key_address(&from, d.name, STR(""));
    to = from;
    to.b[to.n - 1]++;
    struct kv_range range = {.from = auth_key_str(&from), .to = auth_key_str(&to)};
    if (!str_is_null(after)) {
        TRY(auth_address_parse(after, &a));
        auth_key_address(&after_key, d.name, a.local);
        range.after = auth_key_str(&after_key);
    }
    TRY(kv_scan(auth->kv, auth_domain_part(d.name), range, AUTH_LIST_MAX, 0, arena, &page));
    *out = arena_alloc(arena, (page.n + 1) * sizeof **out);
    if (!*out)
        return RC_LIMIT;
    for (size_t i = 0; i < page.n; i++)
        TRY(list_row(&page.rows[i], d.name, arena, &(*out)[i]));
    *out_n = page.n;
    return RC_OK;
}
