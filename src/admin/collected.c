/* Mail that goes some days after POP3 collected it: who has that policy, and what is due.
 *
 * The directory is gone through domain by domain, a page of accounts at a time; only the accounts
 * whose policy counts days are opened. The policy is that of this moment, so one that was changed
 * to "client" deletes nothing more. What fails is tried again with the next maintenance. */
#include "admin/admin_int.h"

static const struct auth_settings *effective(const struct auth_account *account,
                                             const struct auth_domain *domain)
{
    bool has_own = account->settings.pop3_delete != AUTH_POP3_UNSET;
    return has_own ? &account->settings : &domain->settings;
}

static void expire(struct admin *admin, uint64_t id, uint32_t days, const _Atomic bool *stop)
{
    struct store_account *account;
    uint64_t expunged = 0, age = days * UINT64_C(86400) * NS_PER_SEC;
    bool has_more = true;
    enum rc rc = store_account_open(admin->store, id, 0, &account);
    if (rc != RC_OK)
        return; /* the maintenance of accounts has told it */
    while (rc == RC_OK && has_more && !atomic_load(stop))
        rc = store_collected_expire(account, age, &expunged, &has_more);
    store_account_close(&account);
    if (rc == RC_OK && !expunged)
        return;
    struct log_line l;
    log_begin(&l, admin->ctx.log, rc == RC_OK ? LOG_INFO : LOG_WARNING, "collected-expired");
    log_u64(&l, "account", id);
    log_u64(&l, "messages", expunged);
    if (rc != RC_OK)
        log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

static enum rc expire_domain(struct admin *admin, const struct auth_domain *domain,
                             const _Atomic bool *stop)
{
    struct arena arena;
    struct auth_account *list;
    struct buf after = {.cap = AUTH_ADDRESS_MAX};
    struct str last = {0}; /* absent: from the beginning */
    size_t n = AUTH_LIST_MAX;
    enum rc rc = RC_OK;
    arena_init(&arena, 0);
    while (rc == RC_OK && n == AUTH_LIST_MAX && !atomic_load(stop)) {
        rc = auth_account_list(admin->auth, domain->name, last, &arena, &list, &n);
        for (size_t i = 0; rc == RC_OK && i < n; i++) {
            const struct auth_settings *k = effective(&list[i], domain);
            if (k->pop3_delete == AUTH_POP3_DAYS)
                expire(admin, list[i].id, k->pop3_days, stop);
        }
        buf_clear(&after);
        if (rc == RC_OK && n)
            buf_put(&after, list[n - 1].address);
        last = buf_str(&after);
        arena_reset(&arena);
    }
    buf_fini(&after);
    arena_fini(&arena);
    return rc == RC_NOTFOUND ? RC_OK : rc; /* removed meanwhile */
}

enum rc admin_expire_collected(struct admin *admin, const _Atomic bool *stop)
{
    struct arena arena;
    struct auth_domain *list;
    size_t n = 0;
    arena_init(&arena, 0);
    enum rc rc = auth_domain_list(admin->auth, &arena, &list, &n);
    for (size_t i = 0; rc == RC_OK && i < n && !atomic_load(stop); i++)
        rc = expire_domain(admin, &list[i], stop);
    arena_fini(&arena);
    return rc;
}
