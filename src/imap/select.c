/* SELECT, EXAMINE and UNSELECT [RFC3501 6.3.1, 6.3.2] [RFC9051 6.3.2, 6.3.3] [RFC3691], and what a
 * client that comes back is told of the time it was away [RFC7162 3.2.5]. */
#include "imap/arguments_int.h"

struct select {
    struct store_path path;
    bool is_read_only;
    struct imap_selecting asked;
    struct imap_vanished vanished;
    struct imap_spans spans; /* messages that it knows, as far as they are there */
    size_t span, index;
};

/* --- what has happened ------------------------------------------------------------------------ */

/* The n-th number in a set, from 0. */
static uint32_t number_at(const struct imap_set *set, uint64_t n)
{
    for (size_t i = 0; i < set->n; i++) {
        uint64_t all = (uint64_t)set->ranges[i].to - set->ranges[i].from + 1;
        if (n < all)
            return set->ranges[i].from + (uint32_t)n;
        n -= all;
    }
    return 0;
}

static uint64_t count_numbers(const struct imap_set *set)
{
    uint64_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        n += (uint64_t)set->ranges[i].to - set->ranges[i].from + 1;
    return n;
}

/* The UID of the last pair that is still right: what went before it, the client knows
 * [RFC7162 3.2.5.2]. Where one is right, so are those before it. */
static uint32_t last_match(const struct store_root *root, const struct imap_known *k)
{
    uint64_t from = 0, to = k->has_pairs ? count_numbers(&k->numbers) : 0;
    uint32_t best = 0;
    while (from < to) {
        uint64_t mid = from + (to - from) / 2;
        uint32_t uid = number_at(&k->their_uids, mid);
        const struct store_row *row = store_root_at(root, number_at(&k->numbers, mid) - 1);
        if (row && row->uid == uid) {
            best = uid;
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    return best;
}

static enum net_step finish(struct conn *c, struct imap_session *s)
{
    const struct select *k = s->job;
    return imap_finish(c, s, k->is_read_only ? IMAP_SELECTED_READ_ONLY : IMAP_SELECTED_READ_WRITE);
}

static enum net_step put_changed(struct conn *c, struct imap_session *s)
{
    struct select *k = s->job;
    const struct store_root *root = s->view.root;
    for (; k->span < k->spans.n; k->span++) {
        const struct imap_span *span = &k->spans.at[k->span];
        k->index = k->index > span->from ? k->index : span->from;
        while ((k->index = store_root_changed(root, k->index, span->to, k->asked.known.modseq,
                                              NULL)) < span->to) {
            if (net_out_is_full(c))
                return NET_MORE;
            const struct store_row *row = store_root_at(root, k->index);
            imap_put_fetch_flags(s, net_out(c), k->index++, row, true);
        }
    }
    return finish(c, s);
}

static enum net_step put_vanished(struct conn *c, struct imap_session *s)
{
    struct select *k = s->job;
    enum net_step next = imap_vanished_put(c, s, &k->vanished);
    if (next != NET_READ)
        return next;
    s->go_on = put_changed;
    return put_changed(c, s);
}

/* The mailbox is open by now, so when this fails, the client hears of it and not that it is in
 * step. */
static enum net_step look_back(struct conn *c, struct imap_session *s)
{
    static const struct imap_range all = {1, UINT32_MAX};
    struct select *k = s->job;
    struct imap_set whole = {.ranges = (struct imap_range *)(uintptr_t)&all, .n = 1};
    const struct imap_set *uids = k->asked.known.has_uids ? &k->asked.known.uids : NULL;
    uint32_t above = last_match(s->view.root, &k->asked.known);
    enum rc rc = imap_vanished_begin(c, s, &k->vanished, uids, above, k->asked.known.modseq);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_OK)
        rc = imap_set_resolve(uids ? uids : &whole, s->view.root, true, &s->arena, &k->spans);
    if (rc != RC_OK) {
        imap_view_close(s);
        return imap_finish_rc(c, s, rc);
    }
    s->go_on = put_vanished;
    return put_vanished(c, s);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void put_ok(struct buf *out, struct str code, uint64_t n, struct str text)
{
    buf_put(out, STR("* OK ["));
    buf_put(out, code);
    imap_put_u64(out, n);
    buf_put(out, STR("] "));
    buf_put(out, text);
    buf_put(out, STR("\r\n"));
}

/* RECENT and UNSEEN are of IMAP4rev1 alone. */
static void put_rev1(const struct imap_session *s, struct buf *out, size_t count)
{
    size_t unseen = store_root_first_unseen(s->view.root);
    buf_put(out, STR("* 0 RECENT\r\n"));
    if (unseen < count && !(s->enabled & IMAP_EN_UIDONLY)) /* it is a number [RFC9586 3] */
        put_ok(out, STR("UNSEEN "), unseen + 1, STR("the first that is not seen"));
}

/* And LIST is of IMAP4rev2 [RFC9051 6.3.2]. */
static void put_rev2(struct imap_session *s, struct buf *out, struct store_path path)
{
    struct store_mailbox m;
    if (store_mailbox_get(s->account, s->view.mailbox, &s->arena, &m) == RC_OK)
        imap_put_list_line(s, out, imap_join_path(&s->arena, path), &m, (struct str){0});
}

static void put_state(struct conn *c, struct imap_session *s)
{
    const struct select *k = s->job;
    const struct store_root *root = s->view.root;
    const struct store_mailbox *m = store_root_mailbox(root);
    struct buf *out = net_out(c);
    size_t count = store_root_count(root);
    imap_tell_keywords(c, s, true);
    buf_put(out, STR("* "));
    imap_put_u64(out, count);
    buf_put(out, STR(" EXISTS\r\n"));
    if (s->enabled & IMAP_EN_REV2)
        put_rev2(s, out, k->path);
    else
        put_rev1(s, out, count);
    put_ok(out, STR("UIDVALIDITY "), m->uidvalidity, STR("UIDs are valid"));
    put_ok(out, STR("UIDNEXT "), m->uidnext, STR("the next one is not below"));
    buf_put(out, STR("* OK [")); /* [RFC8474 4.2] */
    imap_put_mailbox_id(out, m);
    buf_put(out, STR("] whatever its name\r\n"));
    /* [RFC7162 3.1.2.1]: to who has enabled CONDSTORE. But Thunderbird, which enables UTF8=ACCEPT
     * alone, uses CONDSTORE only where it is told this unasked. */
    if (s->enabled & (IMAP_EN_CONDSTORE | IMAP_EN_UTF8))
        imap_put_highest_modseq(s, out);
}

/* Also when the new one cannot be opened [RFC3501 6.3.1] [RFC9051 6.3.2]. */
static void close_old(struct conn *c, struct imap_session *s)
{
    if (s->state == IMAP_SELECTED)
        buf_put(net_out(c), STR("* OK [CLOSED] the mailbox before\r\n")); /* [RFC7162 3.2.11] */
    imap_view_close(s);
}

static enum net_step open_mailbox(struct conn *c, struct imap_session *s)
{
    const struct select *k = s->job;
    uint32_t id;
    close_old(c, s);
    enum rc rc = store_mailbox_find(s->account, k->path, &id);
    if (rc == RC_OK) {
        rc = imap_view_open(c, s, id, k->is_read_only);
        rc = rc == RC_NOTFOUND ? RC_PERM : rc; /* a placeholder has nothing to open */
    }
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_NOTFOUND || rc == RC_SYNTAX)
        return imap_finish(c, s, IMAP_NO_MAILBOX);
    if (rc == RC_PERM)
        return imap_finish(c, s, IMAP_NOT_SELECTABLE);
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    auth_session_mailbox(s->entry, imap_join_path(&s->arena, k->path));
    put_state(c, s);
    if (k->asked.known.uidvalidity != s->view.uidvalidity) /* [RFC7162 3.2.5] */
        return finish(c, s);
    s->go_on = look_back;
    return look_back(c, s);
}

static enum net_step select_or_examine(struct conn *c, struct imap_session *s, struct imap_parse *p,
                                       bool is_read_only)
{
    struct select *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !imap_take_mailbox(p, &k->path) || !imap_take_selecting(p, &k->asked))
        return imap_finish_syntax(c, s, p);
    if (k->asked.is_qresync && !(s->enabled & IMAP_EN_QRESYNC)) { /* [RFC7162 3.2.5] */
        imap_fail(p, "ENABLE QRESYNC first");
        return imap_finish_syntax(c, s, p);
    }
    if (k->asked.known.has_pairs && s->enabled & IMAP_EN_UIDONLY) /* [RFC9586 3.7] */
        return imap_finish(c, s, IMAP_UID_REQUIRED);
    if (k->asked.is_condstore) /* for the mailbox that is to be opened, which tells HIGHESTMODSEQ */
        s->enabled |= IMAP_EN_CONDSTORE;
    k->is_read_only = is_read_only;
    s->job = k;
    s->go_on = open_mailbox;
    return open_mailbox(c, s);
}

enum net_step imap_select(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return select_or_examine(c, s, p, false);
}

enum net_step imap_examine(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return select_or_examine(c, s, p, true);
}

enum net_step imap_unselect(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    if (!imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    imap_view_close(s);
    return imap_finish(c, s, IMAP_DONE);
}
