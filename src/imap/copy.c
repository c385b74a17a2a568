/* COPY, MOVE and their UID forms [RFC3501 6.4.7] [RFC9051 6.4.7, 6.4.8] [RFC6851], with COPYUID
 * [RFC4315 3] [RFC9051 7.1].
 *
 * A part of up to STORE_BATCH messages is one change. COPY is all or nothing [RFC3501 6.4.7]
 * [RFC9051 6.4.7]: when a part fails, the copies of those before it are taken back. MOVE is so for
 * each message [RFC6851 3.3] [RFC9051 6.4.8]: nobody ever sees one in both mailboxes or in none,
 * and what was moved before a failure stays moved and is told. A client that hangs up between two
 * parts leaves the parts that are done. */
#include "imap/imap_int.h"

enum { CODE_MAX = 64 << 20 };

struct part {
    uint32_t uid, n; /* what it made */
};

struct copying {
    struct imap_change change;
    struct store_copy copy;
    uint64_t bytes; /* of the part at hand */
    bool is_gone;   /* something was, that was meant by its number */
    struct part *parts;
    size_t n_parts, undone;
    uint32_t uidvalidity;
    struct imap_uid_set from, to;
    struct buf code;
    struct str rest; /* of what is being written */
    enum imap_text answer;
};

static void fini(struct imap_session *s)
{
    struct copying *k = s->job;
    buf_fini(&k->from.text);
    buf_fini(&k->to.text);
    buf_fini(&k->code);
}

/* --- the answer ------------------------------------------------------------------------------- */

/* "[COPYUID 38505 304,319:320 3956:3958] "; absent when nothing was copied. */
static struct str copyuid(struct copying *k)
{
    imap_uid_set_end(&k->from);
    imap_uid_set_end(&k->to);
    if (!buf_len(&k->from.text) || k->from.text.over || k->to.text.over)
        return (struct str){0};
    buf_put(&k->code, STR("[COPYUID "));
    imap_put_u64(&k->code, k->uidvalidity);
    buf_put(&k->code, STR(" "));
    buf_put(&k->code, buf_str(&k->from.text));
    buf_put(&k->code, STR(" "));
    buf_put(&k->code, buf_str(&k->to.text));
    buf_put(&k->code, STR("] "));
    return buf_str(&k->code);
}

static enum net_step tell_moved(struct conn *c, struct imap_session *s)
{
    struct copying *k = s->job;
    imap_put_page(c, &k->rest);
    if (k->rest.n)
        return NET_MORE;
    buf_put(net_out(c), STR("moved\r\n"));
    return imap_finish(c, s, k->answer);
}

/* Before the EXPUNGEs, which come with the news, so that the client knows what has become of what
 * it loses [RFC6851 4.3] [RFC9051 6.4.8]. */
static enum net_step finish_move(struct conn *c, struct imap_session *s)
{
    struct copying *k = s->job;
    k->rest = copyuid(k);
    if (!k->rest.n)
        return imap_finish(c, s, k->answer);
    buf_put(net_out(c), STR("* OK "));
    s->go_on = tell_moved;
    return tell_moved(c, s);
}

/* --- taking back ------------------------------------------------------------------------------ */

static enum net_step undo(struct conn *c, struct imap_session *s);

static enum net_step part_undone(struct conn *c, struct imap_session *s)
{
    struct copying *k = s->job;
    if (!imap_op_again(&k->change.op))
        k->undone++;
    s->go_on = undo;
    return undo(c, s);
}

static enum net_step undo(struct conn *c, struct imap_session *s)
{
    struct copying *k = s->job;
    uint32_t uids[STORE_BATCH];
    while (k->undone < k->n_parts) {
        struct part part = k->parts[k->undone];
        for (uint32_t i = 0; i < part.n; i++)
            uids[i] = part.uid + i;
        imap_op_begin(&k->change.op, s);
        enum rc rc =
            store_expunge(s->account, k->copy.to, uids, part.n, imap_flags(c), &k->change.op.op);
        if (rc == RC_AGAIN && !net_can_block(c))
            return NET_SHORT;
        s->go_on = part_undone;
        if (rc == RC_OK)
            return NET_WAIT;
        k->undone++; /* it cannot be queued: it stays */
    }
    return imap_finish(c, s, k->answer);
}

/* --- parts ------------------------------------------------------------------------------------ */

static enum rc queue(struct imap_session *s, unsigned flags)
{
    struct copying *k = s->job;
    k->copy.uids = k->change.uids;
    k->copy.n_uids = k->change.n_uids;
    return store_copy(s->account, &k->copy, flags, &k->change.op.op);
}

static void part_done(struct imap_session *s)
{
    struct copying *k = s->job;
    const struct store_op *op = &k->change.op.op;
    k->is_gone = k->is_gone || (!s->is_uid && op->changed < k->change.n_uids);
    if (!op->changed)
        return;
    k->uidvalidity = op->uidvalidity;
    for (uint32_t i = 0; i < op->changed; i++)
        imap_uid_set_add(&k->from, k->copy.out_uids[i], 1);
    imap_uid_set_add(&k->to, op->uid, op->changed);
    k->parts[k->n_parts++] = (struct part){op->uid, op->changed};
}

/* RC_LIMIT came at once, for the part at hand. */
static enum imap_text text_of_limit(struct imap_session *s, const struct copying *k)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < k->change.n_uids; i++) {
        const struct store_root *root = k->change.root;
        bytes += store_root_at(root, store_root_find(root, k->change.uids[i]))->size;
    }
    return imap_change_limit(s, k->change.n_uids, bytes);
}

static enum net_step over(struct conn *c, struct imap_session *s)
{
    struct copying *k = s->job;
    enum rc rc = k->change.rc;
    k->answer = rc == RC_OK ? IMAP_DONE : imap_text_of_rc(rc);
    if (rc == RC_NOTFOUND) /* removed meanwhile */
        k->answer = IMAP_NO_MAILBOX_TRYCREATE;
    if (rc == RC_LIMIT)
        k->answer = text_of_limit(s, k);
    if (rc == RC_OK && k->is_gone)
        k->answer = IMAP_EXPUNGED;
    if (k->copy.is_move)
        return finish_move(c, s);
    if (k->answer == IMAP_DONE)
        return imap_finish_code(c, s, IMAP_DONE, copyuid(k));
    s->go_on = undo;
    return undo(c, s);
}

/* --- the commands ----------------------------------------------------------------------------- */

/* Numbers mean messages, and when some of them are gone, nothing is done: the client learns which,
 * and can ask again [RFC2180 4.4]. */
static enum net_step look(struct conn *c, struct imap_session *s)
{
    struct copying *k = s->job;
    struct store_root *newest;
    if (k->change.spans.total > IMAP_LOOK_MAX && !net_can_block(c))
        return NET_SHORT;
    enum rc rc = imap_newest(c, s, &newest);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    size_t gone = imap_change_gone(&k->change, newest);
    store_root_release(&newest);
    return gone ? imap_finish(c, s, IMAP_EXPUNGED) : imap_change_run(c, s);
}

static bool make_room(struct imap_session *s, struct copying *k)
{
    size_t total = k->change.spans.total, most = total < STORE_BATCH ? total : STORE_BATCH;
    k->from.text.cap = k->to.text.cap = k->code.cap = CODE_MAX;
    k->copy.out_uids = arena_alloc(&s->arena, most * sizeof *k->copy.out_uids + 1);
    k->parts = arena_alloc(&s->arena, (total / STORE_BATCH + 1) * sizeof *k->parts);
    return k->copy.out_uids && k->parts;
}

/* MOVE does what it may, COPY all or nothing [RFC9738 3.1]. */
static bool is_allowed(struct imap_session *s, struct copying *k)
{
    size_t most = k->copy.is_move ? imap_limit_of(s) : imap_limit_of_saving(s);
    if (k->change.spans.total <= most)
        return true;
    imap_limit_cut(s, s->view.root, most, &k->change.spans);
    return k->copy.is_move;
}

static enum net_step run(struct conn *c, struct imap_session *s, struct imap_parse *p, bool is_move)
{
    struct copying *k = arena_zero(&s->arena, sizeof *k);
    struct imap_set set;
    struct store_path to;
    if (!k || !imap_take_set(p, &set) || !imap_take_sp(p) || !imap_take_mailbox(p, &to) ||
        !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (is_move && s->view.is_read_only)
        return imap_finish(c, s, IMAP_READ_ONLY);
    enum rc rc = imap_set_resolve(&set, s->view.root, s->is_uid, &s->arena, &k->change.spans);
    if (rc == RC_NOTFOUND)
        return imap_finish(c, s, IMAP_NO_MESSAGE);
    enum imap_text text = imap_change_target(s, to, &k->copy.to);
    if (text != IMAP_DONE)
        return imap_finish(c, s, text);
    k->copy.is_move = is_move;
    if (rc == RC_OK && !is_allowed(s, k))
        return imap_finish(c, s, IMAP_MESSAGE_LIMIT);
    if (rc != RC_OK || !make_room(s, k))
        return imap_finish(c, s, IMAP_LIMIT);
    k->copy.from = s->view.mailbox;
    k->change.root = s->view.root;
    k->change.queue = queue;
    k->change.part = part_done;
    k->change.then = over;
    s->job = k;
    s->job_fini = fini;
    if (s->is_uid)
        return imap_change_run(c, s);
    s->go_on = look;
    return look(c, s);
}

enum net_step imap_copy(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return run(c, s, p, false);
}

enum net_step imap_move(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    return run(c, s, p, true);
}
