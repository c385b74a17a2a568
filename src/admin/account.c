/* Operations on accounts. An account is made in this order: its number, its partition in the store,
 * its address in the directory, which makes it visible; a crash in between leaves an unused number
 * and at most an empty partition. It is removed in the opposite order. */
#include "admin/admin_int.h"

static bool quota_of(const struct admin_request *r, struct admin_answer *a, struct store_quota *out,
                     bool *out_given)
{
    struct str text = option(r, "--quota");
    *out_given = !str_is_null(text);
    if (!*out_given || parse_size(text, &out->bytes))
        return true;
    answer_fail(a, RC_SYNTAX, "--quota %.*s: expected a size such as 2G, or 0 for none",
                STR_ARG(text));
    return false;
}

/* The partition, then the number. */
static enum rc destroy(struct admin *admin, uint64_t id)
{
    enum rc rc = store_account_destroy(admin->store, id);
    if (rc != RC_OK && rc != RC_NOTFOUND)
        return rc;
    return auth_account_release(admin->auth, id);
}

void admin_account_add(struct admin *admin, const struct admin_request *r, struct admin_answer *a)
{
    static const char *const known[] = {"--quota", NULL};
    struct store_quota quota = {0};
    bool given;
    uint64_t id;
    if (!want_words(r, a, 3) || !known_options(r, a, known) || !quota_of(r, a, &quota, &given))
        return;
    struct auth_account existing;
    enum rc rc = auth_account_show(admin->auth, r->words[2], &a->arena, &existing);
    if (rc == RC_OK || rc == RC_SYNTAX || rc == RC_TEMP) {
        answer_rc(a, rc == RC_OK ? RC_EXISTS : rc, r->words[2]);
        return;
    }
    rc = auth_account_reserve(admin->auth, &id);
    if (rc == RC_OK)
        rc = store_account_create(admin->store, id, quota);
    if (rc == RC_OK)
        rc = auth_account_add(admin->auth, id, r->words[2], r->password);
    if (rc == RC_OK)
        return;
    answer_rc(a, rc, r->words[2]);
    rc = destroy(admin,
                 id); /* nobody has seen it; what stays after a failure is an empty partition */
    if (rc != RC_OK)
        log_event(admin->ctx.log, LOG_WARNING, "unused-account-left", "cause", rc_name(rc), NULL);
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

void admin_account_list(struct admin *admin, const struct admin_request *r, struct admin_answer *a)
{
    static const char *const columns[] = {"address", "id", "enabled", "created"};
    struct auth_domain *domains;
    size_t n;
    answer_columns(a, columns, 4);
    if (r->n_words > 2) {
        list_domain(admin, r->words[2], a);
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

void admin_account_show(struct admin *admin, const struct admin_request *r, struct admin_answer *a)
{
    static const char *const columns[] = {"address",  "id",    "enabled", "created",
                                          "messages", "bytes", "quota"};
    struct auth_account info;
    struct store_account *account;
    struct store_usage usage;
    if (!want_words(r, a, 3))
        return;
    enum rc rc = find(admin, r->words[2], a, &info, &account);
    if (rc != RC_OK) {
        answer_rc(a, rc, r->words[2]);
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

void admin_account_set(struct admin *admin, const struct admin_request *r, struct admin_answer *a)
{
    static const char *const known[] = {"--quota", "--enabled", NULL};
    struct store_quota quota = {0};
    struct auth_account info;
    struct store_account *account;
    struct str enabled = option(r, "--enabled");
    bool given, yes = str_eq(enabled, STR("yes"));
    if (!want_words(r, a, 3) || !known_options(r, a, known) || !quota_of(r, a, &quota, &given))
        return;
    if (!str_is_null(enabled) && !yes && !str_eq(enabled, STR("no"))) {
        answer_fail(a, RC_SYNTAX, "--enabled %.*s: expected yes or no", STR_ARG(enabled));
        return;
    }
    enum rc rc = find(admin, r->words[2], a, &info, &account);
    if (rc == RC_OK) {
        if (given)
            rc = store_account_set_quota(account, quota);
        store_account_close(&account);
    }
    if (rc == RC_OK && !str_is_null(enabled))
        rc = auth_account_enable(admin->auth, r->words[2], yes);
    answer_rc(a, rc, r->words[2]);
}

void admin_account_passwd(struct admin *admin, const struct admin_request *r,
                          struct admin_answer *a)
{
    if (want_words(r, a, 3))
        answer_rc(a, auth_account_passwd(admin->auth, r->words[2], r->password), r->words[2]);
}

void admin_account_remove(struct admin *admin, const struct admin_request *r,
                          struct admin_answer *a)
{
    uint64_t id;
    if (!want_words(r, a, 3))
        return;
    enum rc rc = auth_account_remove(admin->auth, r->words[2], &id);
    if (rc == RC_OK)
        rc = destroy(admin, id);
    if (rc == RC_CONFLICT)
        answer_fail(a, rc,
                    "%.*s: the address is gone, its mail is in use and was kept: end the sessions "
                    "and run fsck",
                    STR_ARG(r->words[2]));
    else
        answer_rc(a, rc, r->words[2]);
}
