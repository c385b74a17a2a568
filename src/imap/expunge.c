/* EXPUNGE, UID EXPUNGE [RFC4315 2.1] and CLOSE [RFC3501 6.4.2, 6.4.3] [RFC9051 6.4.1, 6.4.3].
 *
 * What is \Deleted is looked for in the newest state of the mailbox, since that is what the command
 * means, whatever this client has been told. The answer is made of the news that every command
 * ends with. */
#include "imap/imap_int.h"

struct expunging {
    struct imap_change change;
    struct imap_set set; /* of UID EXPUNGE */
    bool is_closing;
    struct store_root *newest;
};

static void fini(struct imap_session *s)
{
    struct expunging *k = s->job;
    store_root_release(&k->newest);
}

static enum net_step expunged(struct conn *c, struct imap_session *s)
{
    struct expunging *k = s->job;
    enum rc rc = k->change.rc;
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    if (k->is_closing)
        imap_view_close(s);
    return imap_finish(c, s, IMAP_DONE);
}

/* [RFC7162 3.2.7, 3.2.9]: but CLOSE must not tell [RFC7162 3.2.8]. */
static void part_done(struct imap_session *s)
{
    const struct expunging *k = s->job;
    s->tells_modseq = s->tells_modseq || (k->change.op.op.changed && !k->is_closing);
}

static enum rc queue(struct imap_session *s, unsigned flags)
{
    struct expunging *k = s->job;
    return store_expunge(s->account, s->view.mailbox, k->change.uids, k->change.n_uids,
                         flags | STORE_ONLY_DELETED, &k->change.op.op);
}

/* Of UID EXPUNGE, the highest ones that are \Deleted; EXPUNGE and CLOSE have no limit
 * [RFC9738 3.1]. */
static void limit(struct imap_session *s, struct expunging *k)
{
    struct imap_spans *spans = &k->change.spans;
    size_t most = imap_limit_of(s), n = 0, passed = 0, keep = 0;
    for (size_t i = spans->n; i-- > 0;) {
        for (size_t at = spans->at[i].to; at-- > spans->at[i].from; passed++) {
            if (!(store_root_at(k->newest, at)->flags & STORE_DELETED))
                continue;
            if (n++ == most) {
                imap_limit_cut(s, k->newest, keep, spans);
                return;
            }
            keep = passed + 1;
        }
    }
}

static enum net_step look(struct conn *c, struct imap_session *s)
{
    static const struct imap_range all = {1, UINT32_MAX};
    struct expunging *k = s->job;
    enum rc rc = imap_newest(c, s, &k->newest);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    struct imap_set whole = {.ranges = (struct imap_range *)(uintptr_t)&all, .n = 1};
    if (rc == RC_NOTFOUND &&
        k->is_closing) { /* removed by another session: nothing is left to go */
        imap_view_close(s);
        return imap_finish(c, s, IMAP_DONE);
    }
    if (rc == RC_OK)
        rc = imap_set_resolve(s->is_uid ? &k->set : &whole, k->newest, true, &s->arena,
                              &k->change.spans);
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    if (s->is_uid && k->change.spans.total > imap_limit_of(s)) {
        if (!net_can_block(c)) {
            store_root_release(&k->newest);
            return NET_SHORT;
        }
        limit(s, k);
    }
    k->change.root = k->newest;
    k->change.with_flags = STORE_DELETED;
    k->change.queue = queue;
    k->change.part = part_done;
    k->change.then = expunged;
    return imap_change_run(c, s);
}

static enum net_step begin(struct conn *c, struct imap_session *s, struct expunging *k)
{
    s->job = k;
    s->job_fini = fini;
    s->go_on = look;
    return look(c, s);
}

enum net_step imap_expunge(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct expunging *k = arena_zero(&s->arena, sizeof *k);
    if (!k || (s->is_uid && !imap_take_set(p, &k->set)) || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (s->view.is_read_only)
        return imap_finish(c, s, IMAP_READ_ONLY);
    return begin(c, s, k);
}

/* Nothing is told of what goes, and what was opened with EXAMINE stays as it is [RFC3501 6.4.2]
 * [RFC9051 6.4.1]. */
enum net_step imap_close(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct expunging *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (s->view.is_read_only) {
        imap_view_close(s);
        return imap_finish(c, s, IMAP_DONE);
    }
    k->is_closing = true;
    return begin(c, s, k);
}
