/* STORE and UID STORE [RFC3501 6.4.6] [RFC9051 6.4.6]: flags set, added and removed, perhaps only
 * where nobody has changed a message since [RFC7162 3.1.3].
 *
 * The answer tells the flags that each message of the set has now, whoever else has changed them
 * meanwhile; the news that follow are of the same state, so nothing is told twice and nothing is
 * left out. SILENT leaves out what the client can work out itself, and only that: where another
 * session has changed a message too, it is told, and who knows of mod-sequences is told the new
 * one.
 *
 * A message has one mod-sequence for all of its flags. So what the store has left alone, because
 * something about it has changed, is looked at once more: where the flags of the command are what
 * the client knows, it is tried again, and only the rest is MODIFIED [RFC7162 3.1.12]. */
#include "imap/arguments_int.h"

#include <stdlib.h>
#include <string.h>

enum {
    SHOWN_FLAGS = STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT,
    CODE_MAX = 16 << 20
};

struct storing {
    struct imap_change change;
    struct store_flag_change flags;
    bool is_silent, is_conditional;
    bool is_downwards; /* there are more messages: what is told of them begins with the highest */
    uint64_t keywords; /* of the flags; looked up when they are needed */
    /* With UNCHANGEDSINCE. */
    uint64_t since;
    uint32_t *left, *again; /* by the part at hand, and those of it that are tried once more */
    uint32_t *failed;       /* of all parts */
    size_t n_again, n_failed;
    size_t n_seen, n_kept; /* of the failed ones: looked at again, and failed for good */
    uint64_t *modseqs;     /* of the changes made here */
    size_t n_modseqs, modseqs_size;
    /* Telling. */
    struct store_root *newest;
    size_t span, at, n_gone;
    struct imap_uid_set modified;
    struct buf code;
};

static void fini(struct imap_session *s)
{
    struct storing *k = s->job;
    store_root_release(&k->newest);
    buf_fini(&k->modified.text);
    buf_fini(&k->code);
}

/* --- what the client is told ------------------------------------------------------------------ */

static int by_uid(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool has_failed(const struct storing *k, uint32_t uid)
{
    return k->n_failed && bsearch(&uid, k->failed, k->n_failed, sizeof uid, by_uid);
}

/* Whether a message that was so and is so now is what the client expects after SILENT, or has been
 * told. */
static bool is_expected(struct imap_session *s, const struct store_row *before,
                        const struct store_row *now)
{
    const struct storing *k = s->job;
    uint32_t flags = before->flags & SHOWN_FLAGS;
    uint64_t keywords = before->keywords;
    if (has_failed(k, now->uid))
        return true;
    switch (k->flags.how) {
    case STORE_FLAGS_SET:
        flags = k->flags.flags;
        keywords = k->keywords;
        break;
    case STORE_FLAGS_ADD:
        flags |= k->flags.flags;
        keywords |= k->keywords;
        break;
    case STORE_FLAGS_REMOVE:
        flags &= ~k->flags.flags;
        keywords &= ~k->keywords;
        break;
    }
    return (now->flags & SHOWN_FLAGS) == flags && now->keywords == keywords;
}

static void look_up_keywords(struct imap_session *s, struct storing *k)
{
    k->keywords = 0;
    const struct str *names = k->flags.n_keywords ? imap_keywords(s) : NULL;
    for (unsigned bit = 0; names && bit < STORE_KEYWORDS; bit++)
        for (size_t i = 0; i < k->flags.n_keywords; i++)
            if (str_ieq(names[bit], k->flags.keywords[i]))
                k->keywords |= UINT64_C(1) << bit;
}

/* The row of this UID; its index is near `guess`. */
static const struct store_row *find(const struct store_root *root, uint32_t uid, size_t guess)
{
    const struct store_row *row = store_root_at(root, guess);
    if (!row || row->uid != uid)
        row = store_root_at(root, store_root_find(root, uid));
    return row && row->uid == uid ? row : NULL;
}

/* What became of one message. SILENT: only who knows of mod-sequences hears of it, and what he does
 * not expect comes with the news [RFC7162 3.1.3]. */
static void tell_one(struct conn *c, struct imap_session *s, size_t index,
                     const struct store_row *now)
{
    struct storing *k = s->job;
    const struct store_row *before = store_root_at(k->change.root, index);
    if (k->is_conditional && has_failed(k, now->uid)) {
        imap_put_fetch_flags(s, net_out(c), index, now, true);
        imap_uid_set_add(&k->modified, s->is_uid ? now->uid : (uint32_t)index + 1, 1);
    } else if (!k->is_silent) {
        imap_put_fetch_flags(s, net_out(c), index, now, s->is_uid);
    } else if (s->enabled & IMAP_EN_CONDSTORE && is_expected(s, before, now) &&
               (k->is_conditional || now->modseq != before->modseq)) {
        imap_put_fetch_modseq(s, net_out(c), index, now);
    }
}

/* Of UIDs, those that are not there are passed over [RFC3501 6.4.8] [RFC9051 6.4.9]; of numbers,
 * the client has not heard yet that their messages are gone [RFC2180 4.2]. */
static enum net_step finish(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    bool is_gone = k->n_gone && !s->is_uid;
    imap_uid_set_end(&k->modified);
    if (!buf_len(&k->modified.text) || k->modified.text.over)
        return imap_finish(c, s, is_gone ? IMAP_EXPUNGED : IMAP_DONE);
    k->code.cap = CODE_MAX;
    buf_put(&k->code, STR("[MODIFIED "));
    buf_put(&k->code, buf_str(&k->modified.text));
    buf_put(&k->code, STR("] "));
    return imap_finish_code(c, s, is_gone ? IMAP_EXPUNGED : IMAP_MODIFIED, buf_str(&k->code));
}

static enum net_step tell(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    const struct imap_spans *spans = &k->change.spans;
    if (spans->total > IMAP_LOOK_MAX && !net_can_block(c))
        return NET_SHORT;
    for (; k->span < spans->n; k->span++, k->at = 0) {
        const struct imap_span *span =
            &spans->at[k->is_downwards ? spans->n - 1 - k->span : k->span];
        for (; span->from + k->at < span->to; k->at++) {
            if (net_out_is_full(c))
                return NET_MORE;
            size_t index = k->is_downwards ? span->to - 1 - k->at : span->from + k->at;
            uint32_t uid = store_root_at(k->change.root, index)->uid;
            size_t guess = k->is_downwards ? index : index - k->n_gone;
            const struct store_row *now = find(k->newest, uid, guess);
            k->n_gone += !now;
            if (now)
                tell_one(c, s, index, now);
        }
    }
    s->told = spans;
    s->expects = k->is_silent ? is_expected : NULL;
    struct store_root *newest = k->newest;
    k->newest = NULL;
    imap_view_begin(s, newest, s->is_uid);
    return finish(c, s);
}

static enum net_step answer(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    enum rc rc = k->change.rc;
    if (rc == RC_OK)
        rc = imap_newest(c, s, &k->newest);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc != RC_OK) /* what was changed before is among the news */
        return imap_finish_rc(c, s, rc);
    imap_tell_keywords(c, s, false);
    if (k->is_silent)
        look_up_keywords(s, k);
    s->go_on = tell;
    return tell(c, s);
}

/* --- UNCHANGEDSINCE --------------------------------------------------------------------------- */

static void note_change(struct storing *k)
{
    const struct store_op *op = &k->change.op.op;
    if (op->changed && k->n_modseqs < k->modseqs_size)
        k->modseqs[k->n_modseqs++] = op->modseq;
}

static void part_done(struct imap_session *s)
{
    struct storing *k = s->job;
    size_t n = k->change.op.op.left;
    note_change(k);
    if (n)
        memcpy(k->failed + k->n_failed, k->left, n * sizeof *k->left);
    k->n_failed += n;
}

static int by_modseq(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Whether the change is still what the client wants, although something about the message is not
 * what it was: this command changed a copy of it, or it is something else that has changed. */
static bool is_spurious(const struct storing *k, const struct store_row *before,
                        const struct store_row *now)
{
    if (before->modseq > k->since)
        return false; /* of that the client was told */
    if (k->n_modseqs &&
        bsearch(&now->modseq, k->modseqs, k->n_modseqs, sizeof now->modseq, by_modseq))
        return true;
    return k->flags.how != STORE_FLAGS_SET &&
           ((before->flags ^ now->flags) & k->flags.flags) == 0 &&
           ((before->keywords ^ now->keywords) & k->keywords) == 0;
}

static void choose(struct storing *k)
{
    k->n_again = 0;
    while (k->n_seen < k->n_failed && k->n_again < STORE_BATCH) {
        uint32_t uid = k->failed[k->n_seen++];
        const struct store_row *now = find(k->newest, uid, 0), *before;
        before = store_root_at(k->change.root, store_root_find(k->change.root, uid));
        if (now && is_spurious(k, before, now))
            k->again[k->n_again++] = uid;
        else
            k->failed[k->n_kept++] = uid;
    }
}

static void fail_again(struct storing *k, const uint32_t *uids, size_t n)
{
    if (n)
        memcpy(k->failed + k->n_kept, uids, n * sizeof *uids); /* these were seen before */
    k->n_kept += n;
}

static enum net_step try_again(struct conn *c, struct imap_session *s);

static enum net_step tried_again(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    const struct store_op *op = &k->change.op.op;
    if (op->rc == RC_OK)
        fail_again(k, k->left, op->left);
    else
        fail_again(k, k->again, k->n_again);
    note_change(k);
    k->n_again = 0;
    s->go_on = try_again;
    return try_again(c, s);
}

/* Of rows that are what they were when they were looked at [RFC7162 3.1.12]. */
static enum net_step queue_again(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    k->flags.uids = k->again;
    k->flags.n_uids = k->n_again;
    s->go_on = tried_again; /* before the call: it may come back before the call returns */
    struct store_op *op = imap_op_begin(&k->change.op, s);
    enum rc rc = store_change_flags(s->account, &k->flags, imap_flags(c), op);
    if (rc == RC_OK)
        return NET_WAIT;
    if (rc == RC_AGAIN && !net_can_block(c)) {
        s->go_on = queue_again;
        return NET_SHORT;
    }
    op->rc = rc; /* they stay as they are */
    return tried_again(c, s);
}

static enum net_step try_again(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    while (k->n_seen < k->n_failed) {
        if (k->n_failed > IMAP_LOOK_MAX && !net_can_block(c))
            return NET_SHORT;
        enum rc rc = imap_newest(c, s, &k->newest);
        if (rc == RC_AGAIN && !net_can_block(c))
            return NET_SHORT;
        if (rc != RC_OK)
            return imap_finish_rc(c, s, rc);
        look_up_keywords(s, k);
        choose(k);
        k->flags.unchanged_since = store_root_mailbox(k->newest)->highest_modseq;
        store_root_release(&k->newest);
        if (k->n_again)
            return queue_again(c, s);
    }
    k->n_failed = k->n_kept;
    if (k->n_failed)
        qsort(k->failed, k->n_failed, sizeof *k->failed, by_uid);
    s->go_on = answer;
    return answer(c, s);
}

static enum net_step changed(struct conn *c, struct imap_session *s)
{
    const struct storing *k = s->job;
    s->go_on = k->change.rc == RC_OK && k->n_failed ? try_again : answer;
    return s->go_on(c, s);
}

static bool make_room(struct imap_session *s, struct storing *k)
{
    size_t total = k->change.spans.total, most = total < STORE_BATCH ? total : STORE_BATCH;
    if (!k->is_conditional)
        return true;
    k->modseqs_size = 2 * (total / STORE_BATCH) + 16;
    k->modseqs = arena_alloc(&s->arena, k->modseqs_size * sizeof *k->modseqs);
    k->left = arena_alloc(&s->arena, most * sizeof *k->left + 1);
    k->again = arena_alloc(&s->arena, most * sizeof *k->again + 1);
    k->failed = arena_alloc(&s->arena, total * sizeof *k->failed + 1);
    k->flags.out_left = k->left;
    k->modified.text.cap = CODE_MAX;
    return k->modseqs && k->left && k->again && k->failed;
}

/* --- the command ------------------------------------------------------------------------------ */

static enum rc queue(struct imap_session *s, unsigned flags)
{
    struct storing *k = s->job;
    k->flags.uids = k->change.uids;
    k->flags.n_uids = k->change.n_uids;
    return store_change_flags(s->account, &k->flags, flags, &k->change.op.op);
}

static bool take_arguments(struct imap_parse *p, struct storing *k, struct imap_set *out_set)
{
    struct imap_storing *what = arena_alloc(p->arena, sizeof *what);
    if (!what || !imap_take_storing(p, what))
        return false;
    *out_set = what->set;
    k->is_conditional = what->is_conditional;
    k->since = what->since;
    k->is_silent = what->is_silent;
    k->flags.how = what->how;
    k->flags.flags = what->flags.flags;
    k->flags.keywords = what->flags.keywords;
    k->flags.n_keywords = what->flags.n_keywords;
    return true;
}

enum net_step imap_store(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct storing *k = arena_zero(&s->arena, sizeof *k);
    struct imap_set set;
    if (!k || !take_arguments(p, k, &set))
        return imap_finish_syntax(c, s, p);
    if (s->view.is_read_only)
        return imap_finish(c, s, IMAP_READ_ONLY);
    k->flags.mailbox = s->view.mailbox;
    k->flags.unchanged_since = k->since;
    k->change.root = s->view.root;
    k->change.is_divisible = true;
    k->change.queue = queue;
    k->change.part = k->is_conditional ? part_done : NULL;
    k->change.then = changed;
    enum rc rc = imap_set_resolve(&set, s->view.root, s->is_uid, &s->arena, &k->change.spans);
    if (rc == RC_NOTFOUND)
        return imap_finish(c, s, IMAP_NO_MESSAGE);
    k->is_downwards = rc == RC_OK && k->change.spans.total > imap_limit_of(s);
    if (k->is_downwards) /* [RFC9738 3.1] */
        imap_limit_cut(s, s->view.root, imap_limit_of(s), &k->change.spans);
    if (rc != RC_OK || !make_room(s, k))
        return imap_finish_rc(c, s, rc == RC_OK ? RC_LIMIT : rc);
    if (k->is_conditional)
        imap_enable_condstore(c, s); /* [RFC7162 3.1] */
    s->job = k;
    s->job_fini = fini;
    return imap_change_run(c, s);
}
