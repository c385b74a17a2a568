/* Which mailboxes a client means: see filter_int.h.
 *
 * Names are taken as they are: whether there are such mailboxes is asked when a mailbox is held
 * against the filter, so that one that comes later is met too. */
#include "imap/filter_int.h"

#include <stdlib.h>

static const struct {
    struct str name;
    enum imap_filter_kind kind;
    bool has_names;
} kinds[] = {
    {STR_INIT("SELECTED"), IMAP_FILTER_SELECTED, false},
    {STR_INIT("SELECTED-DELAYED"), IMAP_FILTER_SELECTED_DELAYED, false},
    {STR_INIT("INBOXES"), IMAP_FILTER_INBOXES, false},
    {STR_INIT("PERSONAL"), IMAP_FILTER_PERSONAL, false},
    {STR_INIT("SUBSCRIBED"), IMAP_FILTER_SUBSCRIBED, false},
    {STR_INIT("SUBTREE"), IMAP_FILTER_SUBTREE, true},
    {STR_INIT("SUBTREE-ONE"), IMAP_FILTER_SUBTREE_ONE, true},
    {STR_INIT("MAILBOXES"), IMAP_FILTER_MAILBOXES, true},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static bool take_name(struct imap_parse *p, size_t *n_names, size_t *size, struct imap_filter *out)
{
    struct store_path path;
    if (++*n_names > IMAP_FILTER_NAMES) {
        p->is_limit = true;
        return imap_fail(p, "fewer mailboxes");
    }
    if (!imap_take_mailbox(p, &path))
        return false;
    if (out->n_names == *size) {
        size_t more = *size ? *size * 2 : 1;
        struct str *names = arena_alloc(p->arena, more * sizeof *names);
        for (size_t i = 0; names && i < out->n_names; i++)
            names[i] = out->names[i];
        out->names = names;
        *size = more;
    }
    struct str joined = out->names ? imap_join_path(p->arena, path) : (struct str){0};
    p->is_limit = !joined.p;
    if (p->is_limit)
        return imap_fail(p, "fewer mailboxes");
    out->names[out->n_names++] = joined;
    return true;
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* one-or-more-mailbox [RFC5465 8] */
static bool take_names(struct imap_parse *p, size_t *n_names, struct imap_filter *out)
{
    size_t size = 0;
    if (!imap_take_sp(p))
        return false;
    if (!imap_take_byte(p, '('))
        return take_name(p, n_names, &size, out);
    do
        if (!take_name(p, n_names, &size, out))
            return false;
    while (imap_take_byte(p, ' '));
    qsort(out->names, out->n_names, sizeof *out->names, by_bytes);
    return imap_take_byte(p, ')') || imap_fail(p, "the end of the mailboxes");
}

bool imap_take_filter(struct imap_parse *p, unsigned allowed, size_t *n_names,
                      struct imap_filter *out)
{
    *out = (struct imap_filter){0};
    for (size_t i = 0; i < N_KINDS; i++) {
        if (!(allowed >> kinds[i].kind & 1) || !imap_take_word(p, kinds[i].name))
            continue;
        out->kind = kinds[i].kind;
        return !kinds[i].has_names || take_names(p, n_names, out);
    }
    return imap_fail(p, "which mailboxes");
}

/* --- what they mean --------------------------------------------------------------------------- */

static bool has_name(const struct imap_filter *f, struct str path)
{
    return f->n_names && bsearch(&path, f->names, f->n_names, sizeof *f->names, by_bytes);
}

/* The mailbox above, so many levels at most; absent: there is none. */
static bool is_below(const struct imap_filter *f, struct str path, unsigned levels)
{
    for (size_t i = path.n; levels && i--;) {
        if (path.p[i] != '/')
            continue;
        if (has_name(f, str_head(path, i)))
            return true;
        levels--;
    }
    return false;
}

bool imap_filter_meets(const struct imap_filter *f, const struct imap_filter_place *place)
{
    switch (f->kind) {
    case IMAP_FILTER_SELECTED:
    case IMAP_FILTER_SELECTED_DELAYED:
        return place->is_selected;
    case IMAP_FILTER_INBOXES:
        return place->role == STORE_INBOX;
    case IMAP_FILTER_PERSONAL:
        return true;
    case IMAP_FILTER_SUBSCRIBED:
        return place->is_subscribed;
    case IMAP_FILTER_SUBTREE:
        return has_name(f, place->path) || is_below(f, place->path, STORE_LEVELS);
    case IMAP_FILTER_SUBTREE_ONE:
        return has_name(f, place->path) || is_below(f, place->path, 1);
    case IMAP_FILTER_MAILBOXES:
        return has_name(f, place->path);
    }
    return false;
}
