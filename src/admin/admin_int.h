/* admin, inside: what the operations build their answers with. */
#ifndef ADMIN_ADMIN_INT_H
#define ADMIN_ADMIN_INT_H

#include "admin/admin.h"

/* A request that was found to be well-formed. */
struct admin_call {
    const struct admin_command *command;
    struct str args[ADMIN_WORDS];
    size_t n_args;
    struct str options[ADMIN_OPTIONS]; /* as in command->options; absent: not given */
    bool flags[ADMIN_OPTIONS];         /* as in command->flags */
    struct str password;
};

/* --- setting.c: what options say -------------------------------------------------------------- */

struct setting {
    bool is_domain; /* the options are a domain's, which has no "default" above it */
    unsigned what;  /* enum auth_change: which of these were given */
    struct auth_settings settings;
    bool is_enabled, is_suspended;
    struct str reason, catch_all;
    char delimiter;
    unsigned signing;
    struct auth_limits limits, all_limits;
    unsigned has_quota; /* STORE_QUOTA_...: which of these were given */
    struct store_quota quota;
    uint64_t id;
};
/* False: the answer tells what is wrong. */
bool read_settings(const struct admin_call *c, bool is_domain, struct setting *out,
                   struct admin_answer *a);
/* Changes the limits that were given. */
void merge_quota(const struct setting *s, struct store_quota *quota);
void answer_pop3(struct admin_answer *a, const struct auth_settings *s);
void answer_delimiter(struct admin_answer *a, char delimiter);
/* The number under which the store has a domain's default quota. */
uint64_t group_of(struct str domain);

void answer_columns(struct admin_answer *a, const char *const *names, size_t n);
void answer_cell(struct admin_answer *a, struct str value); /* copied */
void answer_text(struct admin_answer *a, const char *value);
void answer_u64(struct admin_answer *a, uint64_t value);
void answer_time(struct admin_answer *a, uint64_t wall);
/* Sets the error; the first one stays. */
void answer_fail(struct admin_answer *a, enum rc rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The common sentence for a result code: "alice@x: there is no such address". */
void answer_rc(struct admin_answer *a, enum rc rc, struct str what);

/* --- forward.c: where an account's mail goes on to */

/* Whether --forward, --keep or --no-keep of `account set` were given. */
bool is_forward_given(const struct admin_call *c);
void set_forward(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void answer_forward(struct admin_answer *a, const struct auth_account *account); /* two cells */

/* --- dkim.c */

/* Those that a domain lacks. RC_OK also when there is nothing to seal them with. */
enum rc admin_keys_make(struct admin *admin, struct str domain);
/* Rows for a domain's keys that were made since; 0: all. */
void answer_keys(struct admin *admin, struct str domain, uint64_t since, struct admin_answer *a);
void answer_limits(struct admin_answer *a, const struct auth_limits *limits);
void answer_signing(struct admin_answer *a, unsigned signing);

/* Expunges what POP3 collected long enough ago, where the policy counts days; collected.c. */
enum rc admin_expire_collected(struct admin *admin, const _Atomic bool *stop);

/* trace.c: what an administrator has done with an item. */
void admin_trace_changed(struct admin *admin, const struct queue_entry *entry,
                         enum queue_action action);

/* "90m", "3d" into ns; a number alone is seconds. */
bool parse_age(struct str s, uint64_t *out_ns);
/* "2026-11-22", "2026-11-22T10:00:00Z" into ns since 1970, UTC. */
bool parse_date(struct str s, uint64_t *out);
/* "2G" into bytes. */
bool parse_size(struct str s, uint64_t *out);

void admin_domain_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_domain_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_domain_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_domain_set(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_domain_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_set(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_rename(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_reindex(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_restore(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_alias_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_alias_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_alias_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_app_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_app_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_app_revoke(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_import_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_blocked_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_blocked_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_sessions_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_sessions_kick(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_stat(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_retry(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_hold(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_release(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_backup_snapshot(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_backup_restored(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_recall(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_dkim_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_dkim_rotate(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_dkim_activate(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_dkim_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_dkim_seal(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_collect_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_collect_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_collect_run(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_collect_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_collect_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_trace(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_fsck(struct admin *admin, const struct admin_call *c, struct admin_answer *a);

/* Makes one with all defaults, of a password or a hash from elsewhere. RC_EXISTS, RC_NOTFOUND (no
 * such domain), RC_SYNTAX. */
enum rc account_bring(struct admin *admin, struct str address, struct str text, bool is_hash);
/* The account's partition, then its number. RC_CONFLICT while somebody has it open. */
enum rc account_destroy(struct admin *admin, uint64_t id);

/* Those of a domain that are not removed. */
enum rc accounts_of_domain(struct admin *admin, struct str domain, uint64_t **out_ids,
                           size_t *out_n);
void ids_free(uint64_t **ids);
/* The accounts that have an address, or had one and can be restored, by growing id. ids_free it. */
enum rc addressed_accounts(struct admin *admin, uint64_t **out_ids, size_t *out_n);
bool is_addressed(const uint64_t *ids, size_t n, uint64_t id);

#endif
