/* LIST and LSUB [RFC3501 6.3.8, 6.3.9] [RFC9051 6.3.9], LIST with its options [RFC5258], special
 * uses [RFC6154 2], children [RFC3348] and STATUS of what is listed [RFC5819].
 *
 * The tree of mailboxes is taken once, when the command begins, with the whole name of each; then a
 * line after the other goes out. Names are in order of their bytes, INBOX first. */
#include "imap/list_int.h"
#include "imap/status_int.h"

#include <stdlib.h>

struct listing {
    struct imap_list list;
    struct imap_list_tree tree;
    bool is_lsub;
    size_t at;
    struct str told; /* the ancestor that LSUB told last */
};

/* --- LIST ------------------------------------------------------------------------------------- */

/* Only with RECURSIVEMATCH [RFC5258 3.5] [RFC9051 6.3.9.6]. */
static void put_childinfo(struct buf *out, const struct imap_list *list)
{
    bool is_subscribed = list->select & IMAP_LIST_SUBSCRIBED;
    bool is_special = list->select & IMAP_LIST_SPECIAL_USE;
    buf_put(out, STR(" (\"CHILDINFO\" ("));
    buf_put(out, is_subscribed ? STR("\"SUBSCRIBED\"") : STR(""));
    buf_put(out, is_subscribed && is_special ? STR(" ") : STR(""));
    buf_put(out, is_special ? STR("\"SPECIAL-USE\"") : STR(""));
    buf_put(out, STR("))"));
}

static bool is_there(const struct imap_list_entry *e)
{
    return e->mailbox && !e->mailbox->is_placeholder;
}

/* [RFC3501 5.1.1, 7.2.2] [RFC9051 5.1.1, 7.3.1] */
static void put_words(struct imap_session *s, struct buf *out, const struct imap_list_entry *e,
                      bool is_selectable)
{
    struct str use = imap_special_use(e->mailbox);
    buf_put(out, STR("* LIST ("));
    /* The second is what the first implies, for who does not know it [RFC5258 3] [RFC9051 7.3.1].
     */
    buf_put(out, is_selectable ? STR("") : STR("\\NonExistent \\Noselect "));
    buf_put(out, e->has_children ? STR("\\HasChildren")
                                 : STR("\\HasNoChildren")); /* [RFC5258 4] [RFC9051 6.3.9.5] */
    buf_put(out, use.p ? use : STR(""));
    if (e->is_subscribed)
        buf_put(out, STR(" \\Subscribed")); /* [RFC5258 3.2] [RFC9051 6.3.9.2] */
    buf_put(out, STR(") \"/\" "));
    imap_put_name(s, out, e->path);
}

static void put_line(struct imap_session *s, struct buf *out, const struct imap_list *list,
                     const struct imap_list_entry *e, bool is_selectable)
{
    put_words(s, out, e, is_selectable);
    if (e->has_wanted_below)
        put_childinfo(out, list);
    buf_put(out, STR("\r\n"));
}

/* False: on a worker. What has been removed meanwhile is told as such, without numbers; where they
 * cannot be had, the line comes alone [RFC5819 2] [RFC9051 6.3.9.2]. */
static bool put_entry(struct conn *c, struct imap_session *s, const struct imap_list *list,
                      const struct imap_list_entry *e)
{
    struct imap_numbers numbers;
    /* Of what is told only for what is below it, there are none [RFC5819 3] [RFC9051 6.3.9.2]. */
    bool has_numbers = list->returns & IMAP_LIST_STATUS && e->is_wanted && is_there(e);
    enum rc rc = RC_OK;
    if (!e->is_wanted && !(e->has_hidden_below && imap_list_matches(list, e->path)))
        return true;
    if (has_numbers)
        rc = imap_status_look(c, s, e->mailbox->id, list->status, &numbers);
    if (rc == RC_AGAIN && !net_can_block(c))
        return false;
    put_line(s, net_out(c), list, e, is_there(e) && rc != RC_NOTFOUND);
    if (has_numbers && rc == RC_OK && !numbers.mailbox.is_placeholder)
        imap_put_status(s, net_out(c), e->path, &numbers, list->status);
    return true;
}

/* --- one line for other commands -------------------------------------------------------------- */

/* [RFC9051 6.3.9.7] [RFC5465 5.4] */
static void put_old(struct imap_session *s, struct buf *out, struct str old)
{
    if (!old.p)
        return;
    buf_put(out, STR(" (\"OLDNAME\" ("));
    imap_put_name(s, out, old);
    buf_put(out, STR("))"));
}

void imap_put_list_line(struct imap_session *s, struct buf *out, struct str path,
                        const struct store_mailbox *mailbox, struct str old)
{
    struct str use = imap_special_use(mailbox);
    buf_put(out, STR("* LIST ("));
    buf_put(out, use.p ? str_skip(use, 1) : STR(""));
    buf_put(out, STR(") \"/\" "));
    imap_put_name(s, out, path);
    put_old(s, out, old);
    buf_put(out, STR("\r\n"));
}

void imap_put_list_entry(struct imap_session *s, struct buf *out, const struct imap_list_entry *e,
                         struct str old)
{
    put_words(s, out, e, is_there(e));
    put_old(s, out, old);
    buf_put(out, STR("\r\n"));
}

/* --- LSUB ------------------------------------------------------------------------------------- */

static void put_lsub(struct imap_session *s, struct buf *out, struct str path, bool is_selectable)
{
    buf_put(out, is_selectable ? STR("* LSUB () \"/\" ") : STR("* LSUB (\\Noselect) \"/\" "));
    imap_put_name(s, out, path);
    buf_put(out, STR("\r\n"));
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool is_subscribed(const struct imap_list_tree *t, struct str path)
{
    return bsearch(&path, t->subscribed, t->n_subscribed, sizeof path, by_bytes);
}

/* A subscribed name; or, when the pattern ends above it, its first ancestor that matches. */
static void put_subscribed(struct imap_session *s, struct buf *out, struct listing *k,
                           struct str path)
{
    if (imap_list_matches(&k->list, path)) {
        const struct imap_list_entry *e = imap_list_find(&k->tree, path);
        /* A name without a mailbox cannot be selected either. */
        put_lsub(s, out, path, e && is_there(e));
        return;
    }
    for (size_t i = 0; i < path.n; i++) {
        struct str above = str_head(path, i);
        if (path.p[i] != '/' || !imap_list_matches(&k->list, above))
            continue;
        if (!(k->told.p && str_eq(k->told, above)) && !is_subscribed(&k->tree, above))
            put_lsub(s, out, above, false); /* [RFC3501 6.3.9] */
        k->told = above;
    }
}

/* --- the commands ----------------------------------------------------------------------------- */

static enum net_step put_lines(struct conn *c, struct imap_session *s)
{
    struct listing *k = s->job;
    size_t n = k->is_lsub ? k->tree.n_subscribed : k->tree.n;
    for (; k->at < n; k->at++) {
        if (net_out_is_full(c))
            return NET_MORE;
        if (k->is_lsub)
            put_subscribed(s, net_out(c), k, k->tree.subscribed[k->at]);
        else if (!put_entry(c, s, &k->list, &k->tree.at[k->at]))
            return NET_SHORT;
    }
    return imap_finish(c, s, IMAP_DONE);
}

static enum net_step list(struct conn *c, struct imap_session *s)
{
    struct listing *k = s->job;
    bool needs_subscriptions = k->is_lsub || k->list.returns & IMAP_LIST_SUBSCRIBED;
    enum rc rc = imap_list_take_tree(c, s, &k->list, needs_subscriptions, &k->tree);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    s->go_on = put_lines;
    return put_lines(c, s);
}

static enum net_step begin(struct conn *c, struct imap_session *s, struct imap_parse *p,
                           bool is_lsub)
{
    struct listing *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !(is_lsub ? imap_take_lsub(p, &k->list) : imap_take_list(p, &k->list)))
        return imap_finish_syntax(c, s, p);
    k->is_lsub = is_lsub;
    if (k->list.is_root) { /* only the separator is asked for, and the root, which is nameless */
        buf_put(net_out(c), is_lsub ? STR("* LSUB") : STR("* LIST"));
        buf_put(net_out(c), STR(" (\\Noselect) \"/\" \"\"\r\n"));
        return imap_finish(c, s, IMAP_DONE);
    }
    imap_status_enable(c, s, k->list.status);
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
