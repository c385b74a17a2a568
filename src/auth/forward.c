/* Where accounts' mail goes on to: the targets stand in the account's row, and are looked at when
 * they are set; what becomes of them later, resolve.c copes with. */
#include "auth/auth_int.h"

struct forward_edit {
    struct edit edit;
    struct auth_place place;
    const struct auth_forward *forward;
    struct str *targets; /* in lower case */
    bool is_none;
};

static enum rc make_forwarding(struct edit *e, struct kv_txn *txn)
{
    struct forward_edit *x = CONTAINER(e, struct forward_edit, edit);
    const struct auth_forward *f = x->forward;
    struct address_record row;
    TRY(auth_edit_account(e, &x->place.address_key, &row));
    if (f->sets_targets) {
        row.keeps_copy |= !row.n_targets;
        row.targets = x->targets;
        row.n_targets = f->n_targets;
    }
    x->is_none = f->sets_copy && !row.n_targets;
    if (x->is_none)
        return RC_PERM;
    if (f->sets_copy)
        row.keeps_copy = f->keeps_copy;
    return auth_edit_put_address(e, txn, &x->place.address_key, &row);
}

static enum rc set(struct forward_edit *x, size_t *out_bad)
{
    struct auth *auth = x->edit.auth;
    const struct auth_forward *f = x->forward;
    if (f->sets_targets)
        TRY(auth_targets_check(auth, x->place.address.whole, x->targets, f->n_targets, out_bad));
    *out_bad = f->n_targets;
    enum rc rc = auth_edit_run(&x->edit);
    return x->is_none ? RC_EXISTS : rc;
}

enum rc auth_account_forward(struct auth *auth, struct str address,
                             const struct auth_forward *forward, size_t *out_bad)
{
    struct forward_edit x = {.edit.make = make_forwarding, .edit.auth = auth, .forward = forward};
    struct arena arena = {0};
    *out_bad = forward->n_targets;
    TRY(auth_place_of(address, &x.place));
    if (forward->n_targets > AUTH_FORWARD_MAX)
        return RC_LIMIT;
    x.edit.part = x.place.part;
    enum rc rc =
        auth_targets_read(&arena, forward->targets, forward->n_targets, &x.targets, out_bad);
    pthread_mutex_lock(&auth->domains); /* two at once could lead to each other */
    if (rc == RC_OK)
        rc = set(&x, out_bad);
    pthread_mutex_unlock(&auth->domains);
    arena_fini(&arena);
    return rc;
}
