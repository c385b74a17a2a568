/* Aliases: addresses that stand for others. One row in the domain's partition has all targets of
 * one. What a target leads to is looked at when it is added; what becomes of it later, resolve.c
 * copes with. */
#include "auth/auth_int.h"

struct alias_edit {
    struct edit edit;
    struct auth_place place;
    struct str *targets; /* in lower case */
    size_t n_targets;
    size_t bad;
    bool is_too_many;
};

static enum rc begin(struct alias_edit *x, struct auth *auth, struct str address)
{
    TRY(auth_place_of(address, &x->place));
    x->edit.auth = auth;
    x->edit.part = x->place.part;
    return RC_OK;
}

enum rc auth_targets_read(struct arena *arena, const struct str *texts, size_t n, struct str **out,
                          size_t *out_bad)
{
    *out = arena_alloc(arena, (n + 1) * sizeof **out);
    for (*out_bad = 0; *out_bad < n; (*out_bad)++) {
        struct address a;
        if (auth_address_parse(texts[*out_bad], &a) != RC_OK || !a.is_plain)
            return RC_SYNTAX;
        (*out)[*out_bad] = arena_dup(arena, a.whole);
    }
    return RC_OK;
}

static enum rc read_targets(struct alias_edit *x, struct arena *arena, const struct str *texts,
                            size_t n)
{
    x->n_targets = n;
    return auth_targets_read(arena, texts, n, &x->targets, &x->bad);
}

static ptrdiff_t index_of(const struct str *list, size_t n, struct str what)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], what))
            return (ptrdiff_t)i;
    return -1;
}

/* The row as it is; one of no alias yet when there is none. */
static enum rc read_alias(struct alias_edit *x, struct domain_record *domain,
                          struct address_record *out)
{
    struct str value;
    *out = (struct address_record){.is_alias = true};
    TRY(auth_edit_domain(&x->edit, &x->place.domain_key, domain));
    TRY(auth_edit_get(&x->edit, &x->place.address_key, 1, &value));
    if (!str_is_null(value))
        TRY(auth_address_unpack(value, &x->edit.arena, out));
    return out->is_alias ? RC_OK : RC_EXISTS;
}

/* --- adding ----------------------------------------------------------------------------------- */

static enum rc make_added(struct edit *e, struct kv_txn *txn)
{
    struct alias_edit *x = CONTAINER(e, struct alias_edit, edit);
    struct domain_record domain;
    struct address_record row;
    TRY(read_alias(x, &domain, &row));
    struct str *all = arena_alloc(&e->arena, (row.n_targets + x->n_targets + 1) * sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < row.n_targets; i++)
        all[n++] = row.targets[i];
    for (size_t i = 0; i < x->n_targets; i++)
        if (index_of(all, n, x->targets[i]) < 0)
            all[n++] = x->targets[i];
    x->is_too_many = n > AUTH_ALIAS_MAX;
    if (x->is_too_many)
        return RC_PERM;
    if (!row.created) {
        row.created = clock_wall(e->auth->ctx->clock);
        domain.aliases++;
        TRY(auth_edit_put_domain(e, txn, &x->place.domain_key, &domain));
    }
    row.targets = all;
    row.n_targets = n;
    return auth_edit_put_address(e, txn, &x->place.address_key, &row);
}

static enum rc check_target(struct auth *auth, struct str whole, struct str target)
{
    struct address a;
    bool exists = false;
    TRY(auth_address_parse(target, &a));
    enum rc rc = auth_resolve_meets(auth, &a, whole, &exists);
    if (rc == RC_DENIED) /* elsewhere: who is there is not ours to know */
        return RC_OK;
    if (rc == RC_OK)
        return RC_CONFLICT;
    if (rc == RC_NOTFOUND)
        return exists ? RC_OK : RC_PERM;
    return rc;
}

enum rc auth_targets_check(struct auth *auth, struct str whole, const struct str *targets, size_t n,
                           size_t *out_bad)
{
    for (*out_bad = 0; *out_bad < n; (*out_bad)++)
        TRY(check_target(auth, whole, targets[*out_bad]));
    return RC_OK;
}

static enum rc add(struct alias_edit *x)
{
    TRY(auth_targets_check(x->edit.auth, x->place.address.whole, x->targets, x->n_targets,
                           &x->bad));
    enum rc rc = auth_edit_run(&x->edit);
    return x->is_too_many ? RC_LIMIT : rc;
}

enum rc auth_alias_add(struct auth *auth, struct str address, const struct str *targets,
                       size_t n_targets, size_t *out_bad)
{
    struct alias_edit x = {.edit.make = make_added};
    struct arena arena = {0};
    *out_bad = n_targets;
    TRY(begin(&x, auth, address));
    enum rc rc = read_targets(&x, &arena, targets, n_targets);
    pthread_mutex_lock(&auth->domains); /* two aliases at once could lead to each other */
    if (rc == RC_OK)
        rc = add(&x);
    pthread_mutex_unlock(&auth->domains);
    *out_bad = x.bad;
    arena_fini(&arena);
    return rc;
}

/* --- removing --------------------------------------------------------------------------------- */

static enum rc make_fewer(struct edit *e, struct kv_txn *txn)
{
    struct alias_edit *x = CONTAINER(e, struct alias_edit, edit);
    struct domain_record domain;
    struct address_record row;
    x->bad = x->n_targets;
    enum rc rc = read_alias(x, &domain, &row);
    if (rc != RC_OK || !row.created)
        return rc == RC_OK || rc == RC_EXISTS ? RC_NOTFOUND : rc;
    for (size_t i = 0; i < x->n_targets; i++) {
        ptrdiff_t at = index_of(row.targets, row.n_targets, x->targets[i]);
        if (at < 0) {
            x->bad = i;
            return RC_NOTFOUND;
        }
        row.targets[at] = row.targets[--row.n_targets];
    }
    if (x->n_targets && row.n_targets)
        return auth_edit_put_address(e, txn, &x->place.address_key, &row);
    domain.aliases -= domain.aliases > 0;
    TRY(auth_edit_put_domain(e, txn, &x->place.domain_key, &domain));
    return kv_txn_delete(txn, auth_key_str(&x->place.address_key));
}

enum rc auth_alias_remove(struct auth *auth, struct str address, const struct str *targets,
                          size_t n_targets, size_t *out_bad)
{
    struct alias_edit x = {.edit.make = make_fewer};
    struct arena arena = {0};
    *out_bad = n_targets;
    TRY(begin(&x, auth, address));
    enum rc rc = read_targets(&x, &arena, targets, n_targets);
    if (rc == RC_OK)
        rc = auth_edit_run(&x.edit);
    *out_bad = x.bad;
    arena_fini(&arena);
    return rc;
}
