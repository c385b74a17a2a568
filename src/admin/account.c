/* Operations on accounts. An account is made in this order: its number, its partition in the store,
 * its address in the directory, which makes it visible; a crash in between leaves an unused number
 * and at most an empty partition. It goes in the opposite order: its address when it is removed,
 * the rest when it can be restored no longer. */
#include "admin/admin_int.h"

#include "remote/remote.h"

enum rc account_destroy(struct admin *admin, uint64_t id)
{
    enum rc rc = store_account_destroy(admin->store, id);
    if (rc != RC_OK && rc != RC_NOTFOUND)
        return rc;
    return auth_account_release(admin->auth, id);
}

/* What is left stays in the list of ids without an address; the next sweep takes it away. */
static void log_leftover(struct admin *admin, uint64_t id, enum rc rc)
{
    struct log_line l;
    log_begin(&l, admin->ctx.log, LOG_WARNING, "account-left-over");
    log_u64(&l, "account", id);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

/* --- making ----------------------------------------------------------------------------------- */

static enum rc make_account(struct admin *admin, struct str address, struct str text, bool is_hash,
                            struct store_quota quota)
{
    uint64_t id;
    TRY(auth_account_reserve(admin->auth, &id));
    enum rc rc = store_account_create(admin->store, id, quota);
    if (rc == RC_OK)
        rc = is_hash ? auth_account_add_hash(admin->auth, id, address, text)
                     : auth_account_add(admin->auth, id, address, text);
    if (rc == RC_OK)
        return RC_OK;
    enum rc cleaned = account_destroy(admin, id); /* nobody has seen it */
    if (cleaned != RC_OK)
        log_leftover(admin, id, cleaned);
    return rc;
}

enum rc account_bring(struct admin *admin, struct str address, struct str text, bool is_hash)
{
    const struct store_quota quota = {.inherited = STORE_QUOTA_BYTES | STORE_QUOTA_MESSAGES,
                                      .group = group_of(str_domain(address))};
    pthread_mutex_lock(&admin->accounts);
    enum rc rc = make_account(admin, address, text, is_hash, quota);
    pthread_mutex_unlock(&admin->accounts);
    return rc;
}

static bool is_password(const struct admin_call *c, struct admin_answer *a)
{
    if (c->password.n <= AUTH_PASSWORD_MAX)
        return true;
    answer_fail(a, RC_LIMIT, "password: longer than %d bytes", AUTH_PASSWORD_MAX);
    return false;
}

void admin_account_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct setting s;
    struct auth_account existing;
    if (!read_settings(c, false, &s, a) || !is_password(c, a))
        return;
    s.quota.group = group_of(str_domain(c->args[0]));
    enum rc rc = auth_account_show(admin->auth, c->args[0], &a->arena, &existing);
    if (rc == RC_OK)
        rc = RC_EXISTS;
    if (rc == RC_NOTFOUND) {
        pthread_mutex_lock(&admin->accounts);
        rc = make_account(admin, c->args[0], c->password, false, s.quota);
        pthread_mutex_unlock(&admin->accounts);
    }
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: its domain is none of ours: add it with penfold domain add",
                    STR_ARG(c->args[0]));
    answer_rc(a, rc, c->args[0]);
}

/* --- looking ---------------------------------------------------------------------------------- */

static enum rc list_domain(struct admin *admin, struct str domain, struct admin_answer *a)
{
    struct str after = {0};
    struct auth_account *accounts;
    size_t n = 0;
    do {
        TRY(auth_account_list(admin->auth, domain, after, &a->arena, &accounts, &n));
        for (size_t i = 0; i < n; i++) {
            answer_cell(a, accounts[i].address);
            answer_u64(a, accounts[i].id);
            answer_text(a, accounts[i].is_enabled ? "yes" : "no");
            answer_text(a, accounts[i].is_suspended ? "yes" : "no");
            answer_time(a, accounts[i].created);
        }
        if (n)
            after = accounts[n - 1].address;
    } while (n == AUTH_LIST_MAX);
    return RC_OK;
}

static void list_removed(struct admin *admin, struct str domain, struct admin_answer *a)
{
    static const char *const columns[] = {"address", "id", "removed", "kept_until"};
    struct auth_account *accounts;
    size_t n;
    answer_columns(a, columns, 4);
    enum rc rc = auth_removed_list(admin->auth, domain, &a->arena, &accounts, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        answer_cell(a, accounts[i].address);
        answer_u64(a, accounts[i].id);
        answer_time(a, accounts[i].removed);
        answer_time(a, accounts[i].removed + admin->keep_removed_ns);
    }
    answer_rc(a, rc, STR("removed accounts"));
}

void admin_account_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"address", "id", "enabled", "suspended", "created"};
    struct auth_domain *domains;
    struct str none = {0};
    size_t n;
    if (c->flags[0]) {
        list_removed(admin, c->n_args ? c->args[0] : none, a);
        return;
    }
    answer_columns(a, columns, 5);
    if (c->n_args) {
        answer_rc(a, list_domain(admin, c->args[0], a), c->args[0]);
        return;
    }
    enum rc rc = auth_domain_list(admin->auth, &a->arena, &domains, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = list_domain(admin, domains[i].name, a);
    answer_rc(a, rc, STR("accounts"));
}

/* The account of an address, open. */
static enum rc find(struct admin *admin, struct str address, struct admin_answer *a,
                    struct auth_account *out, struct store_account **out_account)
{
    TRY(auth_account_show(admin->auth, address, &a->arena, out));
    return store_account_open(admin->store, out->id, 0, out_account);
}

/* Messages in its search index, also those that have gone since. */
static uint64_t count_indexed(struct admin *admin, struct store_account *account)
{
    struct index_state state = {0};
    if (admin->index && index_look(admin->index, account, &state) != RC_OK)
        return 0; /* damaged: it will be made anew */
    return state.emails;
}

void admin_account_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {
        "address",     "id",         "enabled", "suspended", "reason",         "created",
        "messages",    "bytes",      "quota",   "quota_own", "quota_messages", "quota_messages_own",
        "pop3_delete", "send_limit", "modseq",  "forward",   "keeps_copy",     "indexed"};
    struct auth_account info;
    struct store_account *account;
    struct store_usage usage;
    enum rc rc = find(admin, c->args[0], a, &info, &account);
    if (rc != RC_OK) {
        answer_rc(a, rc, c->args[0]);
        return;
    }
    store_account_usage(account, &usage);
    uint64_t indexed = count_indexed(admin, account);
    store_account_close(&account);
    answer_columns(a, columns, sizeof columns / sizeof *columns);
    answer_cell(a, info.address);
    answer_u64(a, info.id);
    answer_text(a, info.is_enabled ? "yes" : "no");
    answer_text(a, info.is_suspended ? "yes" : "no");
    answer_cell(a, info.reason);
    answer_time(a, info.created);
    answer_u64(a, usage.messages);
    answer_u64(a, usage.bytes);
    answer_u64(a, usage.quota.bytes);
    answer_text(a, usage.quota.inherited & STORE_QUOTA_BYTES ? "no" : "yes");
    answer_u64(a, usage.quota.messages);
    answer_text(a, usage.quota.inherited & STORE_QUOTA_MESSAGES ? "no" : "yes");
    answer_pop3(a, &info.settings);
    answer_limits(a, &info.limits);
    answer_u64(a, usage.modseq);
    answer_forward(a, &info);
    answer_u64(a, indexed);
}

void admin_account_reindex(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct auth_account info;
    enum rc rc = auth_account_show(admin->auth, c->args[0], &a->arena, &info);
    if (rc == RC_OK && !admin->index)
        answer_fail(a, RC_PERM, "account reindex: only a running server makes the index");
    if (rc == RC_OK && admin->index)
        rc = index_rebuild(admin->index, info.id);
    if (rc == RC_DENIED)
        answer_fail(a, rc, "account reindex: the configuration says store { index = off }");
    answer_rc(a, rc, c->args[0]);
}

/* --- changing --------------------------------------------------------------------------------- */

static enum rc set_quota(struct admin *admin, struct store_account *account, struct str address,
                         const struct setting *s)
{
    struct store_usage usage;
    store_account_usage(account, &usage);
    merge_quota(s, &usage.quota);
    usage.quota.group = group_of(str_domain(address));
    return store_account_set_quota(account, usage.quota);
}

void admin_account_set(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct setting s;
    struct auth_account info;
    struct store_account *account;
    if (!read_settings(c, false, &s, a))
        return;
    if (!s.what && !s.has_quota && !is_forward_given(c)) {
        answer_fail(a, RC_SYNTAX, "account set: nothing to set; see penfold account set --help");
        return;
    }
    const struct auth_account_change change = {s.what,   s.is_enabled, s.is_suspended,
                                               s.reason, s.settings,   s.limits};
    enum rc rc = find(admin, c->args[0], a, &info, &account);
    if (rc != RC_OK) {
        answer_rc(a, rc, c->args[0]);
        return;
    }
    if (is_forward_given(c))
        set_forward(admin, c, a);
    if (a->rc != RC_OK) {
        store_account_close(&account);
        return;
    }
    if (s.what)
        rc = auth_account_set(admin->auth, c->args[0], &change);
    if (rc == RC_LIMIT || rc == RC_SYNTAX)
        answer_fail(a, rc == RC_SYNTAX ? RC_PERM : rc,
                    "--reason: expected one line of at most %d bytes", AUTH_REASON_MAX);
    if (rc == RC_OK && s.has_quota)
        rc = set_quota(admin, account, info.address, &s);
    store_account_close(&account);
    answer_rc(a, rc, c->args[0]);
}

void admin_account_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    if (is_password(c, a))
        answer_rc(a, auth_account_passwd(admin->auth, c->args[0], c->password), c->args[0]);
}

/* The domain's default limits are those of its new domain. */
static enum rc change_group(struct admin *admin, uint64_t id, struct str domain)
{
    struct store_account *account;
    struct store_usage usage;
    TRY(store_account_open(admin->store, id, 0, &account));
    store_account_usage(account, &usage);
    usage.quota.group = group_of(domain);
    enum rc rc = store_account_set_quota(account, usage.quota);
    store_account_close(&account);
    return rc;
}

void admin_account_rename(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    uint64_t id = 0;
    struct str from = c->args[0], to = c->args[1];
    pthread_mutex_lock(&admin->accounts);
    enum rc rc = auth_account_rename(admin->auth, from, to, !c->flags[0], &id);
    if (rc == RC_OK && !str_ieq(str_domain(from), str_domain(to)))
        rc = change_group(admin, id, str_domain(to));
    if (rc == RC_OK)
        rc = remote_rename(admin->kv, id, to);
    pthread_mutex_unlock(&admin->accounts);
    if (rc == RC_NOTFOUND && id)
        answer_fail(a, rc, "%.*s: its domain is none of ours: add it with penfold domain add",
                    STR_ARG(to));
    bool is_to = rc == RC_EXISTS;
    if (rc == RC_SYNTAX) {
        struct auth_account known;
        is_to = auth_account_show(admin->auth, from, &a->arena, &known) != RC_SYNTAX;
    }
    answer_rc(a, rc, is_to ? to : from);
}

/* --- removing --------------------------------------------------------------------------------- */

/* All that was removed under the address, or just now: it can be restored no longer. */
static enum rc purge(struct admin *admin, struct str address, struct admin_answer *a)
{
    struct auth_account *accounts;
    size_t n, found = 0;
    TRY(auth_removed_list(admin->auth, str_domain(address), &a->arena, &accounts, &n));
    for (size_t i = 0; i < n; i++) {
        if (!str_ieq(accounts[i].address, address))
            continue;
        found++;
        TRY(auth_removed_purge(admin->auth, 0, accounts[i].id));
        enum rc rc = account_destroy(admin, accounts[i].id);
        if (rc != RC_OK) /* a session has it open: the next sweep */
            log_leftover(admin, accounts[i].id, rc);
    }
    return found ? RC_OK : RC_NOTFOUND;
}

void admin_account_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    uint64_t id = 0;
    bool is_now = c->flags[0];
    pthread_mutex_lock(&admin->accounts);
    enum rc rc = auth_account_remove(admin->auth, c->args[0], &id);
    if (is_now && (rc == RC_OK || rc == RC_NOTFOUND))
        rc = purge(admin, c->args[0], a);
    pthread_mutex_unlock(&admin->accounts);
    answer_rc(a, rc, c->args[0]);
}

void admin_account_restore(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct setting s;
    uint64_t id;
    if (!read_settings(c, false, &s, a))
        return;
    pthread_mutex_lock(&admin->accounts); /* a sweep may be looking for it in both places */
    enum rc rc = auth_account_restore(admin->auth, c->args[0], s.id, &id);
    pthread_mutex_unlock(&admin->accounts);
    if (rc == RC_EXISTS)
        answer_fail(a, rc,
                    "%.*s: the address has been given away since; rename or remove who has it now, "
                    "then restore",
                    STR_ARG(c->args[0]));
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc,
                    "%.*s: there is no removed account to restore; see penfold account list "
                    "--removed",
                    STR_ARG(c->args[0]));
    answer_rc(a, rc, c->args[0]);
}
