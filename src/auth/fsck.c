/* Recounts the directory: every account's address must have a domain, a credential and a listed id,
 * also while it is removed; every alias targets; every account one address; every domain a place in
 * the list and the right numbers. Changes by this process wait meanwhile, so that
 * what is read is of one state. It changes nothing. */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum { LINE_MAX_BYTES = 1024 };

struct seen { /* an account that has an address */
    struct map_node node;
    struct list link;
    uint64_t account;
};

struct check {
    struct auth *auth;
    struct map seen;
    struct list all_seen;
    struct auth_fsck *fsck;
    struct kv_part part;
    uint64_t accounts, addresses, removed; /* of this partition's domains */
    struct str domain;                     /* the one being looked at */
    uint64_t in_domain, aliases;
    uint64_t last;     /* the account of the last password */
    uint64_t promised; /* removed accounts that the domains count */
    uint64_t postmaster;
    bool has_postmaster;
};

static void fault(struct check *k, struct str what, const char *text)
{
    struct buf line = {.cap = LINE_MAX_BYTES};
    buf_put(&line, STR("directory: "));
    buf_put(&line, what);
    buf_putf(&line, ": %s", text);
    buf_put(&line, str_from("", 1));
    k->fsck->faults++;
    k->fsck->report(k->fsck, buf_str(&line).p);
    buf_fini(&line);
}

typedef enum rc (*row_fn)(struct check *k, const struct kv_row *row);

/* Calls fn for each row of a range. */
static enum rc each_row(struct check *k, struct str from, struct str to, row_fn fn)
{
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    kv_walk_begin(&walk, k->auth->kv, k->part, (struct kv_range){.from = from, .to = to}, 0);
    do
        rc = kv_walk_next(&walk, &row);
    while (rc == RC_OK && (rc = fn(k, &row)) == RC_OK);
    kv_walk_end(&walk);
    return rc == RC_EOF ? RC_OK : rc;
}

/* Absent when there is no such row; in the arena. */
static enum rc get(struct check *k, struct kv_part part, const struct key *key, struct arena *arena,
                   struct str *out_value)
{
    struct str names[1] = {auth_key_str(key)};
    return kv_get(k->auth->kv, part, names, 1, 0, arena, out_value, NULL);
}

/* The app passwords of an account that has an address. */
static enum rc check_apps(struct check *k, struct str name, uint64_t account)
{
    struct arena arena = {0};
    struct app_keys keys;
    struct kv_page page;
    enum rc rc = kv_scan(k->auth->kv, k->part, auth_app_range(&keys, account), 0, 0, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
        struct app_record app;
        if (auth_app_unpack(&page.rows[i], &app) == RC_CORRUPT)
            fault(k, name, "the record of an app password is damaged: revoke all of its labels");
    }
    if (rc == RC_OK && page.n > AUTH_APPS_MAX)
        fault(k, name, "it has too many app passwords");
    arena_fini(&arena);
    return rc;
}

static enum rc check_references(struct check *k, struct str name, uint64_t account)
{
    struct arena arena = {0};
    struct secret_record secret;
    struct key key;
    struct str value;
    auth_key_secret(&key, account, 0);
    enum rc rc = get(k, k->part, &key, &arena, &value);
    if (rc == RC_OK && str_is_null(value))
        fault(k, name, "an address without a password");
    else if (rc == RC_OK && auth_secret_unpack(value, &secret) != RC_OK)
        fault(k, name, "its password's record is damaged");
    auth_key_account(&key, account);
    if (rc == RC_OK)
        rc = get(k, auth_global_part, &key, &arena, &value);
    if (rc == RC_OK && str_is_null(value))
        fault(k, name, "its account's id is not in the list");
    arena_fini(&arena);
    return rc == RC_OK ? check_apps(k, name, account) : rc;
}

static void check_only(struct check *k, struct str name, uint64_t account)
{
    uint64_t hash = account * 0x9e3779b97f4a7c15U; /* ids are small numbers one after the other */
    for (struct map_node *node = map_find(&k->seen, hash); node; node = map_next(node))
        if (CONTAINER(node, struct seen, node)->account == account)
            fault(k, name, "its account has another address: a rename was cut short, repeat it");
    struct seen *seen = mem_alloc(sizeof *seen);
    seen->account = account;
    map_add(&k->seen, &seen->node, hash);
    list_add_tail(&k->all_seen, &seen->link);
}

static void check_targets(struct check *k, struct str name, const struct address_record *a)
{
    struct address target;
    for (size_t i = 0; i < a->n_targets; i++)
        if (auth_address_parse(a->targets[i], &target) != RC_OK)
            fault(k, name, "what its mail goes on to is no address");
}

static void check_alias(struct check *k, struct str name, const struct address_record *a)
{
    k->aliases++;
    if (!a->n_targets)
        fault(k, name, "an alias without targets");
}

static enum rc check_account(struct check *k, struct str name, const struct address_record *a)
{
    k->in_domain++;
    k->has_postmaster = k->has_postmaster || a->account == k->postmaster;
    check_only(k, name, a->account);
    return check_references(k, name, a->account);
}

static enum rc check_address(struct check *k, const struct kv_row *row)
{
    struct address_record a;
    struct str local = str_skip(row->key, k->domain.n + 2);
    struct buf name = {.cap = LINE_MAX_BYTES};
    struct arena arena = {0};
    buf_put(&name, local);
    buf_put(&name, STR("@"));
    buf_put(&name, k->domain);
    enum rc rc = RC_OK;
    k->addresses++;
    if (auth_address_unpack(row->value, &arena, &a) != RC_OK)
        fault(k, buf_str(&name), "the address's record is damaged");
    else if (a.is_alias)
        check_alias(k, buf_str(&name), &a);
    else
        rc = check_account(k, buf_str(&name), &a);
    check_targets(k, buf_str(&name), &a);
    buf_fini(&name);
    arena_fini(&arena);
    return rc;
}

/* A removed account keeps all that it needs to come back. */
static enum rc check_removed(struct check *k, const struct kv_row *row)
{
    struct removed_record r;
    struct address_record a;
    struct arena arena = {0};
    enum rc rc = RC_OK;
    k->removed++;
    if (auth_removed_unpack(row, &r) != RC_OK || auth_address_unpack(r.row, &arena, &a) != RC_OK ||
        a.account != r.account)
        fault(k, STR("removed"), "a removed account's record is damaged");
    else
        rc = check_references(k, r.address, r.account);
    arena_fini(&arena);
    return rc;
}

static enum rc check_listed(struct check *k)
{
    struct arena arena = {0};
    struct key key;
    struct str value;
    auth_key_domain(&key, k->domain);
    enum rc rc = get(k, auth_global_part, &key, &arena, &value);
    if (rc == RC_OK && str_is_null(value))
        fault(k, k->domain, "a domain that is not in the list");
    arena_fini(&arena);
    return rc;
}

static enum rc check_domain(struct check *k, const struct kv_row *row)
{
    struct domain_record d = {0};
    struct key from, to;
    k->domain = str_skip(row->key, 1);
    k->in_domain = k->aliases = 0;
    bool is_sound = auth_domain_unpack(row->value, &d) == RC_OK;
    k->postmaster = d.postmaster;
    k->has_postmaster = !d.postmaster;
    auth_key_address(&from, k->domain, STR(""));
    to = from;
    to.b[to.n - 1]++;
    TRY(each_row(k, auth_key_str(&from), auth_key_str(&to), check_address));
    k->accounts += k->in_domain;
    k->promised += d.removed;
    if (!is_sound)
        fault(k, k->domain, "the domain's record is damaged");
    else if (d.accounts != k->in_domain)
        fault(k, k->domain, "the number of accounts is wrong");
    else if (d.aliases != k->aliases)
        fault(k, k->domain, "the number of aliases is wrong");
    else if (!k->has_postmaster || (!d.postmaster && d.accounts))
        fault(k, k->domain, "its postmaster is nobody");
    return check_listed(k);
}

/* App passwords follow the account's own one, which was there before them. */
static enum rc count_row(struct check *k, const struct kv_row *row)
{
    bool is_further = row->key.p[0] == 'c' && row->key.n == 13 && get_u32(row->key.p + 9);
    k->in_domain += !is_further;
    if (!is_further)
        k->last = row->key.n == 13 ? get_u64(row->key.p + 1) : 0;
    else if (k->last != get_u64(row->key.p + 1))
        fault(k, STR("stray rows"), "an app password of no account");
    return RC_OK;
}

/* Rows that no domain led to: more of them than there should be. */
static enum rc check_strays(struct check *k, struct str from, struct str to, uint64_t expected,
                            const char *text)
{
    k->in_domain = k->last = 0;
    TRY(each_row(k, from, to, count_row));
    if (k->in_domain > expected)
        fault(k, STR("stray rows"), text);
    return RC_OK;
}

static enum rc check_keys(struct check *k, const struct kv_row *row)
{
    struct arena arena = {0};
    struct key key;
    struct str value;
    struct str domain = str_skip(row->key, 1);
    if (domain.n == 0 || domain.n > DOMAIN_MAX) {
        fault(k, STR("keys"), "a row of keys that names no domain");
        return RC_OK;
    }
    auth_key_domain(&key, domain);
    enum rc rc = get(k, k->part, &key, &arena, &value);
    if (rc == RC_OK && str_is_null(value))
        fault(k, domain, "keys of no domain");
    if (auth_keys_check(row->value) != RC_OK)
        fault(k, domain, "the record of its keys is damaged");
    arena_fini(&arena);
    return rc;
}

static enum rc check_partition(struct check *k)
{
    k->accounts = k->addresses = k->removed = k->promised = 0;
    TRY(each_row(k, STR("d"), STR("e"), check_domain));
    TRY(each_row(k, STR("r"), STR("s"), check_removed));
    TRY(each_row(k, STR("k"), STR("l"), check_keys));
    if (k->removed != k->promised)
        fault(k, STR("removed"), "the number of removed accounts is wrong");
    TRY(check_strays(k, STR("a"), STR("b"), k->addresses, "addresses of no domain"));
    TRY(check_strays(k, STR("c"), STR("d"), k->accounts + k->removed, "passwords of no account"));
    k->fsck->accounts += k->accounts;
    return RC_OK;
}

enum rc auth_fsck(struct auth *auth, struct auth_fsck *fsck)
{
    struct check k = {.auth = auth, .fsck = fsck};
    map_init(&k.seen);
    list_init(&k.all_seen);
    uint64_t before = fsck->faults;
    enum rc rc = RC_OK;
    pthread_mutex_lock(&auth->domains);
    pthread_mutex_lock(&auth->admin);
    for (uint64_t i = 0; rc == RC_OK && i < PARTITIONS; i++) {
        k.part = (struct kv_part){KV_DIRECTORY, i};
        rc = check_partition(&k);
    }
    pthread_mutex_unlock(&auth->admin);
    pthread_mutex_unlock(&auth->domains);
    map_fini(&k.seen);
    LIST_EACH_SAFE (&k.all_seen, it)
        free(CONTAINER(it, struct seen, link));
    return rc == RC_OK && fsck->faults != before ? RC_CORRUPT : rc;
}
