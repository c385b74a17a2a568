/* Looking at accounts and aliases, one or a domain's worth of them, in order of local part. */
#include "auth/auth_int.h"

enum rc auth_account_show(struct auth *auth, struct str address, struct arena *arena,
                          struct auth_account *out)
{
    struct address a;
    struct lookup found;
    TRY(auth_address_parse(address, &a));
    enum rc rc = auth_lookup_row(auth, &a, 0, arena, &found);
    if (rc == RC_DENIED || (rc == RC_OK && found.address.is_alias))
        rc = RC_NOTFOUND;
    if (rc != RC_OK)
        return rc;
    struct str copy = arena_dup(arena, a.whole);
    if (str_is_null(copy))
        return RC_LIMIT;
    *out = auth_account_of(&found.address, copy);
    return RC_OK;
}

struct auth_account auth_account_of(const struct address_record *row, struct str address)
{
    return (struct auth_account){.id = row->account,
                                 .created = row->created,
                                 .address = address,
                                 .is_enabled = !row->is_disabled,
                                 .is_suspended = row->is_suspended,
                                 .reason = row->reason,
                                 .settings = row->settings,
                                 .limits = row->limits,
                                 .forward = row->targets,
                                 .n_forward = row->n_targets,
                                 .keeps_copy = row->keeps_copy};
}

/* --- lists ------------------------------------------------------------------------------------ */

struct listing {
    struct auth *auth;
    struct arena *arena;
    struct domain_name domain;
    bool is_alias; /* aliases are wanted, else accounts */
    struct auth_account *accounts;
    struct auth_alias *aliases;
    size_t n;
};

static struct str whole_address(struct listing *l, struct str local)
{
    size_t n = local.n + 1 + l->domain.name.n;
    char *text = arena_alloc(l->arena, n);
    struct packer w;
    if (!text)
        return (struct str){0};
    pack_init(&w, text, n);
    pack_bytes(&w, local);
    pack_u8(&w, '@');
    pack_bytes(&w, l->domain.name);
    return pack_done(&w);
}

static enum rc list_row(struct listing *l, const struct kv_row *row)
{
    struct address_record record;
    TRY(auth_address_unpack(row->value, l->arena, &record));
    if (record.is_alias != l->is_alias)
        return RC_OK;
    struct str address = whole_address(l, str_skip(row->key, l->domain.name.n + 2));
    if (str_is_null(address))
        return RC_LIMIT;
    if (l->is_alias)
        l->aliases[l->n++] =
            (struct auth_alias){address, record.targets, record.n_targets, record.created};
    else
        l->accounts[l->n++] = auth_account_of(&record, address);
    return RC_OK;
}

static enum rc domain_exists(struct listing *l)
{
    struct key key;
    struct str value;
    auth_key_domain(&key, l->domain.name);
    struct str names[1] = {auth_key_str(&key)};
    TRY(kv_get(l->auth->kv, auth_domain_part(l->domain.name), names, 1, 0, l->arena, &value, NULL));
    return str_is_null(value) ? RC_NOTFOUND : RC_OK;
}

static enum rc list(struct listing *l, struct str domain, struct str after)
{
    struct address a;
    struct key from, to, after_key;
    struct kv_page page;
    if (auth_domain_parse(domain, &l->domain) != RC_OK)
        return RC_NOTFOUND;
    TRY(domain_exists(l));
    auth_keys_of_domain(l->domain.name, &from, &to);
    struct kv_range range = {.from = auth_key_str(&from), .to = auth_key_str(&to)};
    if (!str_is_null(after)) {
        TRY(auth_address_parse(after, &a));
        auth_key_address(&after_key, l->domain.name, a.local);
        range.after = auth_key_str(&after_key);
    }
    struct kv_part part = auth_domain_part(l->domain.name);
    do {
        TRY(kv_scan(l->auth->kv, part, range, AUTH_LIST_MAX, 0, l->arena, &page));
        for (size_t i = 0; i < page.n && l->n < AUTH_LIST_MAX; i++)
            TRY(list_row(l, &page.rows[i]));
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    } while (page.has_more && l->n < AUTH_LIST_MAX);
    return RC_OK;
}

enum rc auth_account_list(struct auth *auth, struct str domain, struct str after,
                          struct arena *arena, struct auth_account **out, size_t *out_n)
{
    struct listing l = {.auth = auth, .arena = arena};
    *out = l.accounts = arena_alloc(arena, AUTH_LIST_MAX * sizeof **out);
    *out_n = 0;
    if (!l.accounts)
        return RC_LIMIT;
    TRY(list(&l, domain, after));
    *out_n = l.n;
    return RC_OK;
}

enum rc auth_alias_list(struct auth *auth, struct str domain, struct str after, struct arena *arena,
                        struct auth_alias **out, size_t *out_n)
{
    struct listing l = {.auth = auth, .arena = arena, .is_alias = true};
    *out = l.aliases = arena_alloc(arena, AUTH_LIST_MAX * sizeof **out);
    *out_n = 0;
    if (!l.aliases)
        return RC_LIMIT;
    TRY(list(&l, domain, after));
    *out_n = l.n;
    return RC_OK;
}
