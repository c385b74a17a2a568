/* admin, inside: what the operations build their answers with. */
#ifndef ADMIN_ADMIN_INT_H
#define ADMIN_ADMIN_INT_H

#include "admin/admin.h"

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

/* Word n as an argument, or an error about usage. */
bool want_words(const struct admin_request *r, struct admin_answer *a, size_t n);
/* The value behind --name; absent when it was not given. RC_SYNTAX is set for options that are not
 * in `known` (NULL-terminated). */
struct str option(const struct admin_request *r, const char *name);
bool known_options(const struct admin_request *r, struct admin_answer *a, const char *const *known);
/* "2G" into bytes. */
bool parse_size(struct str s, uint64_t *out);

void admin_domain_add(struct admin *admin, const struct admin_request *r, struct admin_answer *a);
void admin_domain_list(struct admin *admin, const struct admin_request *r, struct admin_answer *a);
void admin_domain_remove(struct admin *admin, const struct admin_request *r,
                         struct admin_answer *a);
void admin_account_add(struct admin *admin, const struct admin_request *r, struct admin_answer *a);
void admin_account_list(struct admin *admin, const struct admin_request *r, struct admin_answer *a);
void admin_account_show(struct admin *admin, const struct admin_request *r, struct admin_answer *a);
void admin_account_set(struct admin *admin, const struct admin_request *r, struct admin_answer *a);
void admin_account_passwd(struct admin *admin, const struct admin_request *r,
                          struct admin_answer *a);
void admin_account_remove(struct admin *admin, const struct admin_request *r,
                          struct admin_answer *a);
void admin_stat(struct admin *admin, const struct admin_request *r, struct admin_answer *a);
void admin_fsck(struct admin *admin, const struct admin_request *r, struct admin_answer *a);

#endif
