/* Operations on domains. The default quota of a domain is the store's, all else the directory's. */
#include "admin/admin_int.h"

void admin_domain_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    enum rc rc = auth_domain_add(admin->auth, c->args[0]);
    answer_rc(a, rc, c->args[0]);
    if (rc != RC_OK)
        return;
    /* The domain is there in any case; keys that it lacks are made later. */
    rc = admin_keys_make(admin, c->args[0]);
    if (rc == RC_OK && admin->has_seal)
        answer_keys(admin, c->args[0], 0, a);
    else if (rc != RC_OK)
        answer_fail(a, rc, "%.*s: added, but without keys to sign its mail: %s",
                    STR_ARG(c->args[0]), admin_sentence(rc));
}

void admin_domain_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"domain", "accounts", "aliases", "created"};
    struct auth_domain *domains;
    size_t n;
    answer_columns(a, columns, 4);
    enum rc rc = auth_domain_list(admin->auth, &a->arena, &domains, &n);
    if (rc != RC_OK) {
        answer_rc(a, rc, STR("domains"));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        answer_cell(a, domains[i].name);
        answer_u64(a, domains[i].accounts);
        answer_u64(a, domains[i].aliases);
        answer_time(a, domains[i].created);
    }
}

void admin_domain_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {
        "domain",         "accounts",       "aliases",   "removed",   "quota",
        "quota_messages", "pop3_delete",    "catch_all", "delimiter", "dkim",
        "send_limit",     "send_limit_all", "created"};
    struct auth_domain d;
    enum rc rc = auth_domain_show(admin->auth, c->args[0], &a->arena, &d);
    if (rc != RC_OK) {
        answer_rc(a, rc, c->args[0]);
        return;
    }
    struct store_quota quota = store_default(admin->store, group_of(d.name));
    answer_columns(a, columns, 13);
    answer_cell(a, d.name);
    answer_u64(a, d.accounts);
    answer_u64(a, d.aliases);
    answer_u64(a, d.removed);
    answer_u64(a, quota.bytes);
    answer_u64(a, quota.messages);
    answer_pop3(a, &d.settings);
    answer_cell(a, d.catch_all.n ? d.catch_all : STR("none"));
    answer_delimiter(a, d.delimiter);
    answer_signing(a, d.signing);
    answer_limits(a, &d.limits);
    answer_limits(a, &d.all_limits);
    answer_time(a, d.created);
}

/* --- changing --------------------------------------------------------------------------------- */

/* Accounts that release 0.1.0 made have no group; what they have no limit of becomes inherited. */
static enum rc adopt(struct admin *admin, uint64_t id, uint64_t group)
{
    struct store_account *account;
    struct store_usage usage;
    enum rc rc = store_account_open(admin->store, id, 0, &account);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND ? RC_OK : rc;
    store_account_usage(account, &usage);
    if (!usage.quota.group) {
        usage.quota.group = group;
        usage.quota.inherited = (usage.quota.bytes ? 0 : STORE_QUOTA_BYTES) |
                                (usage.quota.messages ? 0 : STORE_QUOTA_MESSAGES);
        rc = store_account_set_quota(account, usage.quota);
    }
    store_account_close(&account);
    return rc;
}

static enum rc adopt_all(struct admin *admin, struct str domain, uint64_t group)
{
    uint64_t *ids;
    size_t n;
    TRY(accounts_of_domain(admin, domain, &ids, &n));
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = adopt(admin, ids[i], group);
    ids_free(&ids);
    return rc;
}

static enum rc set_default(struct admin *admin, struct str domain, const struct setting *s)
{
    struct auth_domain d;
    struct arena arena = {0};
    enum rc rc = auth_domain_show(admin->auth, domain, &arena, &d);
    if (rc == RC_OK) {
        struct store_quota quota = store_default(admin->store, group_of(d.name));
        merge_quota(s, &quota);
        rc = adopt_all(admin, d.name, group_of(d.name));
        if (rc == RC_OK)
            rc = store_default_set(admin->store, group_of(d.name), quota);
    }
    arena_fini(&arena);
    return rc;
}

static void explain(struct admin_answer *a, enum rc rc, struct str domain, const struct setting *s)
{
    if (rc == RC_SYNTAX)
        answer_fail(a, RC_PERM, "--delimiter %c: expected one of !#$%%&'*+-/=?^_`{|}~",
                    s->delimiter);
    else if (rc == RC_PERM)
        answer_fail(a, rc, "--catch-all %.*s: there is no such account or alias: add it first",
                    STR_ARG(s->catch_all));
    else if (rc == RC_DENIED)
        answer_fail(a, rc,
                    "--catch-all %.*s: its domain is none of ours, and this release does not "
                    "relay: name an address of this server",
                    STR_ARG(s->catch_all));
    else
        answer_rc(a, rc, domain);
}

void admin_domain_set(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct setting s;
    if (!read_settings(c, true, &s, a))
        return;
    if (!s.what && !s.has_quota) {
        answer_fail(a, RC_SYNTAX, "domain set: nothing to set; see penfold domain set --help");
        return;
    }
    const struct auth_domain_change change = {s.what,    s.settings, s.delimiter, s.catch_all,
                                              s.signing, s.limits,   s.all_limits};
    enum rc rc = auth_domain_set(admin->auth, c->args[0], &change);
    if (rc == RC_OK && s.what & AUTH_SET_SIGNING)
        rc = admin_keys_make(admin, c->args[0]);
    if (rc == RC_OK && s.has_quota)
        rc = set_default(admin, c->args[0], &s);
    explain(a, rc, c->args[0], &s);
}

static void say_what_it_has(struct admin_answer *a, struct str name, const struct auth_domain *d)
{
    if (d->accounts)
        answer_fail(a, RC_CONFLICT, "%.*s: it has accounts; remove them first", STR_ARG(name));
    if (d->aliases)
        answer_fail(a, RC_CONFLICT, "%.*s: it has aliases; remove them first", STR_ARG(name));
    answer_fail(a, RC_CONFLICT,
                "%.*s: it has removed accounts that can still be restored; give them up with "
                "penfold account remove ADDRESS --now (penfold account list --removed)",
                STR_ARG(name));
}

void admin_domain_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct auth_domain d;
    enum rc rc = auth_domain_show(admin->auth, c->args[0], &a->arena, &d);
    if (rc == RC_OK)
        rc = auth_domain_remove(admin->auth, c->args[0]);
    if (rc == RC_OK)
        rc = store_default_set(admin->store, group_of(d.name), (struct store_quota){0});
    if (rc == RC_CONFLICT)
        say_what_it_has(a, c->args[0], &d);
    else
        answer_rc(a, rc, c->args[0]);
}
