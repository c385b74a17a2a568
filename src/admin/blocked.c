/* Operations on the blocks of logins: those of the running server, or those that it has left
 * behind.
 */
#include "admin/admin_int.h"

void admin_blocked_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"scope", "blocked", "failures", "seconds_left"};
    struct auth_blocked *list;
    size_t n;
    answer_columns(a, columns, 4);
    struct str what = c->n_args ? c->args[0] : (struct str){0};
    enum rc rc = auth_blocked_list(admin->auth, what, &a->arena, &list, &n);
    if (rc == RC_SYNTAX)
        answer_fail(a, rc, "%.*s: not a mail address, an IP address or a network", STR_ARG(what));
    if (rc != RC_OK) {
        answer_rc(a, rc, STR("blocks"));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        answer_text(a, list[i].scope);
        answer_cell(a, list[i].what);
        answer_u64(a, list[i].failures);
        answer_u64(a, (list[i].left_ns + NS_PER_SEC - 1) / NS_PER_SEC);
    }
}

void admin_blocked_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct str what = c->n_args ? c->args[0] : (struct str){0};
    size_t n;
    enum rc rc = auth_blocked_remove(admin->auth, what, &n);
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: nothing is blocked there; see penfold blocked list",
                    STR_ARG(what));
    else if (rc == RC_SYNTAX)
        answer_fail(a, rc, "%.*s: not a mail address, an IP address or a network", STR_ARG(what));
    else
        answer_rc(a, rc, what);
}
