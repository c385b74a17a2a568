/* Operations on aliases. */
#include "admin/admin_int.h"

#include "base/buf.h"

static void explain(struct admin_answer *a, enum rc rc, const struct admin_call *c, size_t bad)
{
    struct str address = c->args[0];
    struct str target = bad + 1 < c->n_args ? c->args[bad + 1] : address;
    switch (rc) {
    case RC_PERM:
        answer_fail(a, rc, "%.*s: there is no such account or alias: add it first",
                    STR_ARG(target));
        break;
    case RC_CONFLICT:
        answer_fail(a, rc, "%.*s: it leads back to %.*s", STR_ARG(target), STR_ARG(address));
        break;
    case RC_LIMIT:
        answer_fail(a, rc, "%.*s: more than %d targets, or aliases nested more than 10 deep",
                    STR_ARG(address), AUTH_ALIAS_MAX);
        break;
    case RC_EXISTS:
        answer_fail(a, rc, "%.*s: there is an account of that name; rename or remove it first",
                    STR_ARG(address));
        break;
    case RC_SYNTAX:
        answer_rc(a, rc, target);
        break;
    default:
        answer_rc(a, rc, address);
    }
}

void admin_alias_add(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    size_t bad;
    enum rc rc = auth_alias_add(admin->auth, c->args[0], c->args + 1, c->n_args - 1, &bad);
    if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: its domain is none of ours: add it with penfold domain add",
                    STR_ARG(c->args[0]));
    else
        explain(a, rc, c, bad);
}

void admin_alias_remove(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    size_t bad;
    enum rc rc = auth_alias_remove(admin->auth, c->args[0], c->args + 1, c->n_args - 1, &bad);
    if (rc == RC_NOTFOUND && bad + 1 < c->n_args)
        answer_fail(a, rc, "%.*s: not a target of %.*s", STR_ARG(c->args[bad + 1]),
                    STR_ARG(c->args[0]));
    else if (rc == RC_NOTFOUND)
        answer_fail(a, rc, "%.*s: there is no such alias", STR_ARG(c->args[0]));
    else
        explain(a, rc, c, bad);
}

static bool put_alias(struct admin_answer *a, const struct auth_alias *alias, struct str wanted)
{
    if (!str_is_null(wanted) && !str_ieq(alias->address, wanted))
        return false;
    for (size_t i = 0; i < alias->n_targets; i++) {
        answer_cell(a, alias->address);
        answer_cell(a, alias->targets[i]);
    }
    return true;
}

static enum rc list_domain(struct admin *admin, struct str domain, struct str wanted,
                           struct admin_answer *a)
{
    struct str after = {0};
    struct auth_alias *aliases;
    size_t n, n_put = 0;
    do {
        TRY(auth_alias_list(admin->auth, domain, after, &a->arena, &aliases, &n));
        for (size_t i = 0; i < n; i++)
            n_put += put_alias(a, &aliases[i], wanted);
        if (n)
            after = aliases[n - 1].address;
    } while (n == AUTH_LIST_MAX);
    return n_put || str_is_null(wanted) ? RC_OK : RC_NOTFOUND;
}

void admin_alias_list(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    static const char *const columns[] = {"alias", "target"};
    struct auth_domain *domains;
    size_t n;
    answer_columns(a, columns, 2);
    if (c->n_args) {
        struct str domain = str_domain(c->args[0]), none = {0};
        bool is_address = !str_is_null(domain);
        answer_rc(
            a,
            list_domain(admin, is_address ? domain : c->args[0], is_address ? c->args[0] : none, a),
            c->args[0]);
        return;
    }
    enum rc rc = auth_domain_list(admin->auth, &a->arena, &domains, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = list_domain(admin, domains[i].name, (struct str){0}, a);
    answer_rc(a, rc, STR("aliases"));
}
