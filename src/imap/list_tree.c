/* The names that LIST goes through: the account's mailboxes, the names that are subscribed without
 * a mailbox, and the names above those, each once and in order [RFC5258 3.3].
 *
 * A mailbox of this account is never \NoInferiors or \Remote. */
#include "imap/list_int.h"

#include <stdlib.h>
#include <string.h>

enum { SORT_MAX = 1000 };

static int by_id(const void *a, const void *b)
{
    const struct store_mailbox *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static const struct store_mailbox *find(const struct store_mailbox *list, size_t n, uint32_t id)
{
    struct store_mailbox key = {.id = id};
    return id ? bsearch(&key, list, n, sizeof *list, by_id) : NULL;
}

static struct str path_of(struct arena *arena, const struct store_mailbox *list, size_t n,
                          const struct store_mailbox *m)
{
    struct str levels[STORE_LEVELS + 1];
    size_t at = STORE_LEVELS + 1;
    for (; m && at; m = find(list, n, m->parent))
        levels[--at] = m->name;
    return imap_join_path(arena, (struct store_path){levels + at, STORE_LEVELS + 1 - at});
}

/* '/' before all other bytes, so that what is below a mailbox follows it; INBOX first. */
static int by_path(const void *a, const void *b)
{
    struct str x = ((const struct imap_list_entry *)a)->path;
    struct str y = ((const struct imap_list_entry *)b)->path;
    bool is_x = str_eq(x, STR("INBOX")), is_y = str_eq(y, STR("INBOX"));
    if (is_x != is_y)
        return is_x ? -1 : 1;
    for (size_t i = 0; i < x.n && i < y.n; i++) {
        unsigned char p = (unsigned char)x.p[i], q = (unsigned char)y.p[i];
        if (p != q)
            return (p == '/' ? 0 : p) < (q == '/' ? 0 : q) ? -1 : 1;
    }
    return x.n < y.n ? -1 : x.n > y.n;
}

struct imap_list_entry *imap_list_find(const struct imap_list_tree *tree, struct str path)
{
    struct imap_list_entry key = {.path = path};
    return bsearch(&key, tree->at, tree->n, sizeof *tree->at, by_path);
}

bool imap_list_matches(const struct imap_list *list, struct str path)
{
    for (size_t i = 0; i < list->n_patterns; i++)
        if (imap_name_matches(path, list->patterns[i]))
            return true;
    return false;
}

/* --- names ------------------------------------------------------------------------------------ */

static size_t count_levels(struct str path)
{
    size_t n = 1;
    for (size_t i = 0; i < path.n; i++)
        n += path.p[i] == '/';
    return n;
}

/* RC_AGAIN: there are so many that putting them in order is nothing for a loop. */
static enum rc take_mailboxes(struct conn *c, struct imap_session *s, size_t more,
                              struct imap_list_tree *tree)
{
    struct store_mailbox *list;
    size_t n;
    TRY(store_mailbox_list(s->account, &s->arena, &list, &n));
    if (n + more > SORT_MAX && !net_can_block(c))
        return RC_AGAIN;
    tree->at = arena_zero(&s->arena, (n + more) * sizeof *tree->at + 1);
    if (!tree->at)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        tree->at[i].mailbox = &list[i];
        tree->at[i].path = path_of(&s->arena, list, n, &list[i]);
        if (!tree->at[i].path.p)
            return RC_LIMIT;
    }
    for (size_t i = 0; i < n; i++) {
        const struct store_mailbox *parent = find(list, n, list[i].parent);
        if (parent)
            tree->at[parent - list].has_children = true;
    }
    tree->n = n;
    return RC_OK;
}

/* Each subscribed name, and those above it where they could be told. */
static size_t add_subscribed(const struct imap_list *list, struct imap_list_tree *tree)
{
    size_t n = tree->n;
    for (size_t i = 0; i < tree->n_subscribed; i++) {
        struct str path = tree->subscribed[i];
        tree->at[n++] = (struct imap_list_entry){.path = path, .is_subscribed = true};
        for (size_t at = 1; list->select & IMAP_LIST_RECURSIVE && at < path.n; at++)
            if (path.p[at] == '/')
                tree->at[n++] = (struct imap_list_entry){.path = str_head(path, at)};
    }
    return n;
}

/* Each name once [RFC5258 3.3]. */
static void put_in_order(struct imap_list_tree *tree, size_t n)
{
    size_t kept = 0;
    qsort(tree->at, n, sizeof *tree->at, by_path);
    for (size_t i = 0; i < n; i++) {
        struct imap_list_entry *last = kept ? &tree->at[kept - 1] : NULL, *e = &tree->at[i];
        if (!last || !str_eq(last->path, e->path)) {
            tree->at[kept++] = *e;
            continue;
        }
        last->mailbox = last->mailbox ? last->mailbox : e->mailbox;
        last->has_children |= e->has_children;
        last->is_subscribed |= e->is_subscribed;
    }
    tree->n = kept;
}

/* --- what is wanted --------------------------------------------------------------------------- */

/* With a backslash, as the grammar wants it also of those that are registered without one
 * [RFC9979 9.2] [RFC9051 9]. */
static const struct str uses[] = {
    [STORE_DRAFTS] = STR_INIT(" \\Drafts"),       [STORE_SENT] = STR_INIT(" \\Sent"),
    [STORE_JUNK] = STR_INIT(" \\Junk"),           [STORE_TRASH] = STR_INIT(" \\Trash"),
    [STORE_ARCHIVE] = STR_INIT(" \\Archive"),     [STORE_MEMOS] = STR_INIT(" \\Memos"),
    [STORE_SCHEDULED] = STR_INIT(" \\Scheduled"), [STORE_SNOOZED] = STR_INIT(" \\Snoozed"),
};

struct str imap_special_use(const struct store_mailbox *mailbox)
{
    return mailbox && mailbox->role < sizeof uses / sizeof *uses ? uses[mailbox->role]
                                                                 : (struct str){0};
}

enum store_role imap_role_of_use(struct str name)
{
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (uses[i].p && str_ieq(name, str_skip(uses[i], STR(" \\").n)))
            return i;
    return STORE_INBOX;
}

/* Every one of the criteria [RFC5258 3] [RFC9051 6.3.9]; without any: what is there. */
static bool meets(const struct imap_list *list, const struct imap_list_entry *e)
{
    if (list->select & IMAP_LIST_SPECIAL_USE && !imap_special_use(e->mailbox).p)
        return false;
    if (list->select & IMAP_LIST_SUBSCRIBED)
        return e->is_subscribed;
    return e->mailbox;
}

/* A name above one that is wanted, or would be if a pattern met it [RFC5258 3.5] [RFC9051 6.3.9.6].
 */
static void tell_above(struct imap_list_tree *tree, const struct imap_list_entry *e)
{
    for (size_t i = 1; i < e->path.n; i++) {
        struct imap_list_entry *above =
            e->path.p[i] == '/' ? imap_list_find(tree, str_head(e->path, i)) : NULL;
        if (!above)
            continue;
        above->has_wanted_below = true;
        above->has_hidden_below |= !e->is_wanted;
    }
}

static void choose(const struct imap_list *list, struct imap_list_tree *tree)
{
    for (size_t i = 0; i < tree->n; i++) {
        struct imap_list_entry *e = &tree->at[i];
        if (!meets(list, e))
            continue;
        e->is_wanted = imap_list_matches(list, e->path);
        if (list->select & IMAP_LIST_RECURSIVE)
            tell_above(tree, e);
    }
}

enum rc imap_list_take_tree(struct conn *c, struct imap_session *s, const struct imap_list *list,
                            bool needs_subscriptions, struct imap_list_tree *out)
{
    size_t more = 0;
    *out = (struct imap_list_tree){0};
    if (needs_subscriptions)
        TRY(store_subscriptions(s->account, imap_flags(c), &s->arena, &out->subscribed,
                                &out->n_subscribed));
    bool is_merged = list->returns & IMAP_LIST_SUBSCRIBED;
    for (size_t i = 0; is_merged && i < out->n_subscribed; i++)
        more += list->select & IMAP_LIST_RECURSIVE ? count_levels(out->subscribed[i]) : 1;
    TRY(take_mailboxes(c, s, more, out));
    put_in_order(out, is_merged ? add_subscribed(list, out) : out->n);
    choose(list, out);
    return RC_OK;
}
