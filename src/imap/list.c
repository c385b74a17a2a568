/* LIST and LSUB [RFC3501 6.3.8, 6.3.9], with special uses [RFC6154 2] and children [RFC3348].
 *
 * The tree of mailboxes is taken once, when the command begins, with the whole name of each; then a
 * line after the other goes out. Names are in order of their bytes, INBOX first. */
#include "imap/imap_int.h"

#include <stdlib.h>
#include <string.h>

enum { SORT_MAX = 1000 };

struct entry {
    struct str path;
    const struct store_mailbox *mailbox; /* NULL: only a name */
    bool has_children;
};

struct listing {
    struct str pattern;
    bool is_lsub;
    struct entry *entries;
    size_t n, at;
    struct str *subscribed; /* of LSUB */
    size_t n_subscribed;
    struct str told; /* the ancestor that LSUB told last */
};

/* --- the tree --------------------------------------------------------------------------------- */

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
    struct str x = ((const struct entry *)a)->path, y = ((const struct entry *)b)->path;
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

/* RC_AGAIN: there are so many that putting them in order is nothing for a loop. */
static enum rc take_tree(struct conn *c, struct imap_session *s, struct listing *k)
{
    struct store_mailbox *list;
    size_t n;
    TRY(store_mailbox_list(s->account, &s->arena, &list, &n));
    if (n > SORT_MAX && !net_can_block(c))
        return RC_AGAIN;
    k->entries = arena_zero(&s->arena, n * sizeof *k->entries + 1);
    if (!k->entries)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        k->entries[i].mailbox = &list[i];
        k->entries[i].path = path_of(&s->arena, list, n, &list[i]);
        if (!k->entries[i].path.p)
            return RC_LIMIT;
    }
    for (size_t i = 0; i < n; i++) {
        const struct store_mailbox *parent = find(list, n, list[i].parent);
        if (parent)
            k->entries[parent - list].has_children = true;
    }
    k->n = n;
    qsort(k->entries, n, sizeof *k->entries, by_path);
    return RC_OK;
}

/* --- lines ------------------------------------------------------------------------------------ */

static const struct str roles[] = {
    [STORE_DRAFTS] = STR_INIT(" \\Drafts"),   [STORE_SENT] = STR_INIT(" \\Sent"),
    [STORE_JUNK] = STR_INIT(" \\Junk"),       [STORE_TRASH] = STR_INIT(" \\Trash"),
    [STORE_ARCHIVE] = STR_INIT(" \\Archive"),
};

static void put_line(struct buf *out, const struct listing *k, struct str path,
                     const struct entry *e)
{
    buf_put(out, k->is_lsub ? STR("* LSUB (") : STR("* LIST ("));
    if (!e || e->mailbox->is_placeholder)
        buf_put(out, k->is_lsub ? STR("\\Noselect") : STR("\\NonExistent \\Noselect"));
    if (e && !k->is_lsub) {
        buf_put(out, e->mailbox->is_placeholder ? STR(" ") : STR(""));
        buf_put(out, e->has_children ? STR("\\HasChildren") : STR("\\HasNoChildren"));
        if (e->mailbox->role < sizeof roles / sizeof *roles && roles[e->mailbox->role].p)
            buf_put(out, roles[e->mailbox->role]);
    }
    buf_put(out, STR(") \"/\" "));
    imap_put_name(out, path);
    buf_put(out, STR("\r\n"));
}

static const struct entry *entry_of(const struct listing *k, struct str path)
{
    struct entry key = {.path = path};
    return bsearch(&key, k->entries, k->n, sizeof *k->entries, by_path);
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool is_subscribed(const struct listing *k, struct str path)
{
    return bsearch(&path, k->subscribed, k->n_subscribed, sizeof path, by_bytes);
}

/* A subscribed name; or, when the pattern ends above it, its first ancestor that matches. */
static void put_subscribed(struct buf *out, struct listing *k, struct str path)
{
    static const struct store_mailbox nothing = {.is_placeholder = true};
    static const struct entry absent = {.mailbox = &nothing};
    if (imap_name_matches(path, k->pattern)) {
        const struct entry *e = entry_of(k, path);
        /* A name without a mailbox cannot be selected either. */
        put_line(out, k, path, e ? e : &absent);
        return;
    }
    for (size_t i = 0; i < path.n; i++) {
        struct str above = str_head(path, i);
        if (path.p[i] != '/' || !imap_name_matches(above, k->pattern))
            continue;
        if (!(k->told.p && str_eq(k->told, above)) && !is_subscribed(k, above))
            put_line(out, k, above, NULL); /* [RFC3501 6.3.9] */
        k->told = above;
    }
}

/* --- the commands ----------------------------------------------------------------------------- */

static enum net_step put_lines(struct conn *c, struct imap_session *s)
{
    struct listing *k = s->job;
    size_t n = k->is_lsub ? k->n_subscribed : k->n;
    for (; k->at < n; k->at++) {
        if (net_out_is_full(c))
            return NET_MORE;
        if (k->is_lsub)
            put_subscribed(net_out(c), k, k->subscribed[k->at]);
        else if (imap_name_matches(k->entries[k->at].path, k->pattern))
            put_line(net_out(c), k, k->entries[k->at].path, &k->entries[k->at]);
    }
    return imap_finish(c, s, IMAP_DONE);
}

static enum net_step list(struct conn *c, struct imap_session *s)
{
    struct listing *k = s->job;
    enum rc rc = take_tree(c, s, k);
    if (rc == RC_OK && k->is_lsub)
        rc = store_subscriptions(s->account, imap_flags(c), &s->arena, &k->subscribed,
                                 &k->n_subscribed);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    s->go_on = put_lines;
    return put_lines(c, s);
}

/* The reference goes before the pattern as it is [RFC3501 6.3.8]; a pattern that is no name in
 * modified UTF-7 matches nothing. */
static bool take_pattern(struct imap_session *s, struct imap_parse *p, struct listing *k,
                         bool *out_is_root)
{
    struct str reference, pattern;
    struct buf wire = {.cap = 2 * IMAP_LINE_MAX}, name = {.cap = 8192};
    if (!imap_take_astring(p, &reference) || !imap_take_sp(p) ||
        !imap_take_list_mailbox(p, &pattern) || !imap_take_end(p))
        return false;
    *out_is_root = !pattern.n;
    buf_put(&wire, reference);
    buf_put(&wire, pattern);
    if (!wire.over && imap_utf7_decode(buf_str(&wire), &name) == RC_OK)
        k->pattern = arena_dup(&s->arena, buf_len(&name) ? buf_str(&name) : STR(""));
    else
        k->pattern = STR("");
    buf_fini(&wire);
    buf_fini(&name);
    return true;
}

static enum net_step begin(struct conn *c, struct imap_session *s, struct imap_parse *p,
                           bool is_lsub)
{
    struct listing *k = arena_zero(&s->arena, sizeof *k);
    bool is_root;
    if (!k || !take_pattern(s, p, k, &is_root))
        return imap_finish_syntax(c, s, p);
    k->is_lsub = is_lsub;
    if (is_root) { /* only the separator is asked for, and the root, which is nameless */
        buf_put(net_out(c), is_lsub ? STR("* LSUB") : STR("* LIST"));
        buf_put(net_out(c), STR(" (\\Noselect) \"/\" \"\"\r\n"));
        return imap_finish(c, s, IMAP_DONE);
    }
    s->job = k;
    s->go_on = list;
    return list(c, s);
}

enum net_step imap_list(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return begin(c, s, p, false);
}

enum net_step imap_lsub(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return begin(c, s, p, true);
}
