/* Where an account's mail goes on to: `account set ADDRESS --forward ... --keep`. */
#include "admin/admin_int.h"

enum { FORWARD = 7 };   /* among the options of the command */
enum { KEEP, NO_KEEP }; /* among its flags */
enum { TEXT_MAX = AUTH_FORWARD_MAX * (AUTH_ADDRESS_MAX + 2) };

bool is_forward_given(const struct admin_call *c)
{
    return !str_is_null(c->options[FORWARD]) || c->flags[KEEP] || c->flags[NO_KEEP];
}

/* "a@b, c@d", or "none". False: the answer tells what is wrong. */
static bool read_targets(struct str text, struct str targets[AUTH_FORWARD_MAX],
                         struct auth_forward *out, struct admin_answer *a)
{
    struct str one;
    out->sets_targets = !str_is_null(text);
    out->targets = targets;
    if (!out->sets_targets || str_eq(text, STR("none")))
        return true;
    while (str_cut(&text, ',', &one)) {
        if (out->n_targets == AUTH_FORWARD_MAX) {
            answer_fail(a, RC_SYNTAX, "--forward: at most %d addresses; an alias can have more",
                        AUTH_FORWARD_MAX);
            return false;
        }
        targets[out->n_targets++] = str_trim(one);
    }
    return true;
}

static void explain(struct admin_answer *a, enum rc rc, const struct auth_forward *f, size_t bad,
                    struct str address)
{
    struct str target = bad < f->n_targets ? f->targets[bad] : (struct str){0};
    if (rc == RC_SYNTAX && target.n)
        answer_fail(a, rc, "--forward %.*s: expected an address", STR_ARG(target));
    else if (rc == RC_PERM)
        answer_fail(a, rc, "--forward %.*s: nobody here has this address", STR_ARG(target));
    else if (rc == RC_CONFLICT)
        answer_fail(a, rc, "--forward %.*s: it leads back to %.*s", STR_ARG(target),
                    STR_ARG(address));
    else if (rc == RC_LIMIT)
        answer_fail(a, rc, "--forward %.*s: it leads through too many aliases", STR_ARG(target));
    else if (rc == RC_EXISTS)
        answer_fail(a, RC_PERM, "%.*s: its mail goes nowhere else; say where with --forward",
                    STR_ARG(address));
    else
        answer_rc(a, rc, address);
}

void set_forward(struct admin *admin, const struct admin_call *c, struct admin_answer *a)
{
    struct str targets[AUTH_FORWARD_MAX];
    struct auth_forward f = {.sets_copy = c->flags[KEEP] || c->flags[NO_KEEP],
                             .keeps_copy = c->flags[KEEP]};
    size_t bad;
    if (c->flags[KEEP] && c->flags[NO_KEEP]) {
        answer_fail(a, RC_SYNTAX, "account set: --keep or --no-keep, not both");
        return;
    }
    if (!read_targets(c->options[FORWARD], targets, &f, a))
        return;
    enum rc rc = auth_account_forward(admin->auth, c->args[0], &f, &bad);
    explain(a, rc, &f, bad, c->args[0]);
}

void answer_forward(struct admin_answer *a, const struct auth_account *account)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    for (size_t i = 0; i < account->n_forward; i++) {
        buf_put(&text, i ? STR(", ") : STR(""));
        buf_put(&text, account->forward[i]);
    }
    answer_cell(a, account->n_forward ? buf_str(&text) : STR("none"));
    answer_text(a, !account->n_forward || account->keeps_copy ? "yes" : "no");
    buf_fini(&text);
}
