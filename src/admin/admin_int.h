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

/* "2G" into bytes. */
bool parse_size(struct str s, uint64_t *out);

void admin_domain_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_domain_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_domain_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_show(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_set(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_passwd(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_account_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_blocked_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_blocked_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_stat(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_hold(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_queue_release(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_backup_snapshot(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_backup_restored(struct admin *admin, const struct admin_call *c, struct admin_answer *a);
void admin_fsck(struct admin *admin, const struct admin_call *c, struct admin_answer *a);

/* The account's partition, then its number. RC_CONFLICT while somebody has it open. */
enum rc account_destroy(struct admin *admin, uint64_t id);

/* The accounts that have an address, by growing id. free() it. */
enum rc addressed_accounts(struct admin *admin, uint64_t **out_ids, size_t *out_n);
bool is_addressed(const uint64_t *ids, size_t n, uint64_t id);

#endif
