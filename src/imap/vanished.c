/* VANISHED: what is gone, by its UIDs [RFC7162 3.2.10].
 *
 * What went while a client was away is in the store's log, for so long as that reaches back; beyond
 * it, all that is not there any more is told [RFC7162 3.2.6], which costs a look at every message
 * and is never wrong. What has gone since the session looked is told as anything else that is
 * new. */
#include "imap/imap_int.h"

#include <stdlib.h>

enum { RANGES = 500 }; /* in one line */

static void put_range(struct buf *out, struct imap_vanished_line *l)
{
    imap_put_u64(out, l->from);
    if (l->to > l->from) {
        buf_put(out, STR(":"));
        imap_put_u64(out, l->to);
    }
}

void imap_vanished_end(struct buf *out, struct imap_vanished_line *l)
{
    if (!l->from)
        return;
    put_range(out, l);
    buf_put(out, STR("\r\n"));
    *l = (struct imap_vanished_line){.is_earlier = l->is_earlier};
}

void imap_vanished_add(struct buf *out, struct imap_vanished_line *l, uint32_t from, uint32_t to)
{
    if (l->from && l->to + 1 == from) {
        l->to = to;
        return;
    }
    if (l->from && l->n == RANGES)
        imap_vanished_end(out, l);
    if (!l->from) {
        buf_put(out, l->is_earlier ? STR("* VANISHED (EARLIER) ") : STR("* VANISHED "));
    } else {
        put_range(out, l);
        buf_put(out, STR(","));
    }
    l->from = from;
    l->to = to;
    l->n++;
}

/* --- what a client missed --------------------------------------------------------------------- */

static int by_from(const void *a, const void *b)
{
    const struct imap_range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Ascending, disjoint, above the one and up to the other. */
static bool settle(struct imap_session *s, struct imap_vanished *v, const struct imap_set *set,
                   uint32_t above, uint32_t last)
{
    size_t n = 0, all = set ? set->n : 1;
    v->ranges = arena_alloc(&s->arena, all * sizeof *v->ranges + 1);
    if (!v->ranges)
        return false;
    for (size_t i = 0; i < all; i++) {
        struct imap_range r = set ? set->ranges[i] : (struct imap_range){1, last};
        r.to = r.to < last ? r.to : last;
        r.from = r.from > above ? r.from : above + 1;
        if (r.from <= r.to && r.from)
            v->ranges[n++] = r;
    }
    qsort(v->ranges, n, sizeof *v->ranges, by_from);
    v->n = 0;
    for (size_t i = 0; i < n; i++) {
        struct imap_range *before = v->n ? &v->ranges[v->n - 1] : NULL;
        if (!before || v->ranges[i].from > before->to)
            v->ranges[v->n++] = v->ranges[i];
        else if (v->ranges[i].to > before->to)
            before->to = v->ranges[i].to;
    }
    return true;
}

enum rc imap_vanished_begin(struct conn *c, struct imap_session *s, struct imap_vanished *v,
                            const struct imap_set *set, uint32_t above, uint64_t modseq)
{
    const struct store_mailbox *m = store_root_mailbox(s->view.root);
    *v = (struct imap_vanished){.line.is_earlier = true};
    if (store_root_has_all_since(s->view.root, modseq))
        return RC_OK;
    if (!net_can_block(c))
        return RC_AGAIN;
    if (!settle(s, v, set, above, m->uidnext - 1))
        return RC_LIMIT;
    enum rc rc =
        store_vanished(s->account, s->view.mailbox, modseq, &s->arena, &v->gone, &v->n_gone);
    v->is_unknown = rc == RC_NOTFOUND || rc == RC_LIMIT;
    return v->is_unknown ? RC_OK : rc;
}

static bool is_there(const struct store_root *root, uint32_t uid)
{
    const struct store_row *row = store_root_at(root, store_root_find(root, uid));
    return row && row->uid == uid;
}

/* The next one of the log, or on to the next range. */
static void put_known(struct imap_session *s, struct imap_vanished *v, struct buf *out)
{
    const struct imap_range *r = &v->ranges[v->range];
    if (v->at == v->n_gone) {
        v->range = v->n;
        return;
    }
    uint32_t uid = v->gone[v->at];
    if (uid > r->to) {
        v->range++;
        return;
    }
    if (uid >= r->from && !is_there(s->view.root, uid))
        imap_vanished_add(out, &v->line, uid, uid);
    v->at++;
}

/* What is missing before the next message that is there. */
static void put_missing(struct imap_session *s, struct imap_vanished *v, struct buf *out)
{
    const struct imap_range *r = &v->ranges[v->range];
    if (!v->next) {
        v->next = r->from;
        v->at = store_root_find(s->view.root, r->from);
    }
    const struct store_row *row = store_root_at(s->view.root, v->at);
    bool is_last = !row || row->uid >= r->to;
    uint32_t to = row && row->uid <= r->to ? row->uid - 1 : r->to;
    if (v->next <= to)
        imap_vanished_add(out, &v->line, v->next, to);
    v->next = is_last ? 0 : row->uid + 1;
    v->at++;
    v->range += is_last;
}

enum net_step imap_vanished_put(struct conn *c, struct imap_session *s, struct imap_vanished *v)
{
    for (size_t looked = 0; v->range < v->n; looked++) {
        if (net_out_is_full(c))
            return NET_MORE;
        if (looked == IMAP_LOOK_MAX && !net_can_block(c))
            return NET_SHORT;
        if (v->is_unknown)
            put_missing(s, v, net_out(c));
        else
            put_known(s, v, net_out(c));
    }
    imap_vanished_end(net_out(c), &v->line);
    return NET_READ;
}
