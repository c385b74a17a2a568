/* Operations on domains. */
#include "admin/admin_int.h"

void admin_domain_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    answer_rc(a, auth_domain_add(admin->auth, c->args[0]), c->args[0]);
}

void admin_domain_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"domain", "accounts", "created"};
    struct auth_domain *domains;
    size_t n;
    answer_columns(a, columns, 3);
    enum rc rc = auth_domain_list(admin->auth, &a->arena, &domains, &n);
    if (rc != RC_OK) {
        answer_rc(a, rc, STR("domains"));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        answer_cell(a, domains[i].name);
        answer_u64(a, domains[i].accounts);
        answer_time(a, domains[i].created);
    }
}

void admin_domain_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    enum rc rc = auth_domain_remove(admin->auth, c->args[0]);
    if (rc == RC_CONFLICT)
        answer_fail(a, rc, "%.*s: it has accounts; remove them first", STR_ARG(c->args[0]));
    else
        answer_rc(a, rc, c->args[0]);
}
