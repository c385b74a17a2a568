/* Operations on accounts. An account is made in this order: its number, its partition in the store,
 * its address in the directory, which makes it visible; a crash in between leaves an unused number
 * and at most an empty partition. It is removed in the opposite order. */
#include "admin/admin_int.h"

static bool quota_of(struct str text, struct admin_answer *a, struct store_quota *out)
{
    if (str_is_null(text) || parse_size(text, &out->bytes))
        return true;
    answer_fail(a, RC_SYNTAX, "--quota %.*s: expected a size such as 2G, or 0 for none",
                STR_ARG(text));
    return false;
}

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

static enum rc make_account(struct admin *admin, const struct admin_call *c,
                            struct store_quota quota)
{
    uint64_t id;
    TRY(auth_account_reserve(admin->auth, &id));
    enum rc rc = store_account_create(admin->store, id, quota);
    if (rc == RC_OK)
        rc = auth_account_add(admin->auth, id, c->args[0], c->password);
    if (rc == RC_OK)
        return RC_OK;
    enum rc cleaned = account_destroy(admin, id); /* nobody has seen it */
    if (cleaned != RC_OK)
        log_leftover(admin, id, cleaned);
    return rc;
}

void admin_account_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct store_quota quota = {0};
    struct auth_account existing;
    if (!quota_of(c->options[0], a, &quota))
        return;
    if (c->password.n > AUTH_PASSWORD_MAX) {
        answer_fail(a, RC_LIMIT, "password: longer than %d bytes", AUTH_PASSWORD_MAX);
        return;
    }
    enum rc rc = auth_account_show(admin->auth, c->args[0], &a->arena, &existing);
    if (rc == RC_OK)
        rc = RC_EXISTS;
    if (rc == RC_NOTFOUND) {
        pthread_mutex_lock(&admin->accounts);
        rc = make_account(admin, c, quota);
        pthread_mutex_unlock(&admin->accounts);
    }
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: its domain is none of ours: add it with penfold domain add",
                    STR_ARG(c->args[0]));
    answer_rc(a, rc, c->args[0]);
}

static void list_domain(struct admin *admin, struct str domain, struct admin_answer *a)
{
    struct str after = {0};
    struct auth_account *accounts;
    size_t n = 0;
    do {
        enum rc rc = auth_account_list(admin->auth, domain, after, &a->arena, &accounts, &n);
        if (rc != RC_OK) {
            answer_rc(a, rc, domain);
            return;
        }
        for (size_t i = 0; i < n; i++) {
            answer_cell(a, accounts[i].address);
            answer_u64(a, accounts[i].id);
            answer_text(a, accounts[i].is_enabled ? "yes" : "no");
            answer_time(a, accounts[i].created);
        }
        if (n)
            after = accounts[n - 1].address;
    } while (n == AUTH_LIST_MAX);
}

void admin_account_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"address", "id", "enabled", "created"};
    struct auth_domain *domains;
    size_t n;
    answer_columns(a, columns, 4);
    if (c->n_args) {
        list_domain(admin, c->args[0], a);
        return;
    }
    enum rc rc = auth_domain_list(admin->auth, &a->arena, &domains, &n);
    answer_rc(a, rc, STR("domains"));
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        list_domain(admin, domains[i].name, a);
}

/* The account of an address, open. */
static enum rc find(struct admin *admin, struct str address, struct admin_answer *a,
                    struct auth_account *out, struct store_account **out_account)
{
    TRY(auth_account_show(admin->auth, address, &a->arena, out));
    return store_account_open(admin->store, out->id, 0, out_account);
}

void admin_account_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"address",  "id",    "enabled", "created",
                                          "messages", "bytes", "quota"};
    struct auth_account info;
    struct store_account *account;
    struct store_usage usage;
    enum rc rc = find(admin, c->args[0], a, &info, &account);
    if (rc != RC_OK) {
        answer_rc(a, rc, c->args[0]);
        return;
    }
    store_account_usage(account, &usage);
    store_account_close(&account);
    answer_columns(a, columns, 7);
    answer_cell(a, info.address);
    answer_u64(a, info.id);
    answer_text(a, info.is_enabled ? "yes" : "no");
    answer_time(a, info.created);
    answer_u64(a, usage.messages);
    answer_u64(a, usage.bytes);
    answer_u64(a, usage.quota.bytes);
}

void admin_account_set(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct store_quota quota = {0};
    struct auth_account info;
    struct store_account *account;
    struct str enabled = c->options[1];
    bool has_quota = !str_is_null(c->options[0]), yes = str_eq(enabled, STR("yes"));
    if (!quota_of(c->options[0], a, &quota))
        return;
    if (!has_quota && str_is_null(enabled)) {
        answer_fail(a, RC_SYNTAX, "account set: nothing to set; see penfold account set --help");
        return;
    }
    if (!str_is_null(enabled) && !yes && !str_eq(enabled, STR("no"))) {
        answer_fail(a, RC_SYNTAX, "--enabled %.*s: expected yes or no", STR_ARG(enabled));
        return;
    }
    enum rc rc = find(admin, c->args[0], a, &info, &account);
    if (rc == RC_OK) {
        if (has_quota)
            rc = store_account_set_quota(account, quota);
        store_account_close(&account);
    }
    if (rc == RC_OK && !str_is_null(enabled))
        rc = auth_account_enable(admin->auth, c->args[0], yes);
    answer_rc(a, rc, c->args[0]);
}

void admin_account_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    if (c->password.n > AUTH_PASSWORD_MAX)
        answer_fail(a, RC_LIMIT, "password: longer than %d bytes", AUTH_PASSWORD_MAX);
    else
        answer_rc(a, auth_account_passwd(admin->auth, c->args[0], c->password), c->args[0]);
}

/* The account is gone when its address is. Mail that a session still has open goes with the next
 * maintenance. */
void admin_account_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    uint64_t id = 0;
    pthread_mutex_lock(&admin->accounts);
    enum rc rc = auth_account_remove(admin->auth, c->args[0], &id);
    if (rc == RC_OK) {
        rc = account_destroy(admin, id);
        if (rc != RC_OK)
            log_leftover(admin, id, rc);
    }
    pthread_mutex_unlock(&admin->accounts);
    if (rc == RC_CONFLICT && id)
        rc = RC_OK;
    answer_rc(a, rc, c->args[0]);
}
