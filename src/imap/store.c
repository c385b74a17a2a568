/* STORE and UID STORE [RFC3501 6.4.6]: flags set, added and removed.
 *
 * The answer tells the flags that each message of the set has now, whoever else has changed them
 * meanwhile; the news that follow are of the same state, so nothing is told twice and nothing is
 * left out. SILENT leaves out what the client can work out itself, and only that: where another
 * session has changed a message too, it is told. */
#include "imap/imap_int.h"

enum { SHOWN_FLAGS = STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT };

struct storing {
    struct imap_change change;
    struct store_flag_change flags;
    bool is_silent;
    uint64_t keywords; /* of the flags; looked up for SILENT */
    /* Telling. */
    struct store_root *newest;
    size_t span, at, n_gone;
};

static const struct {
    struct str word;
    enum store_flag_how how;
    bool is_silent;
} items[] = {
    {STR_INIT("FLAGS"), STORE_FLAGS_SET, false},
    {STR_INIT("FLAGS.SILENT"), STORE_FLAGS_SET, true},
    {STR_INIT("+FLAGS"), STORE_FLAGS_ADD, false},
    {STR_INIT("+FLAGS.SILENT"), STORE_FLAGS_ADD, true},
    {STR_INIT("-FLAGS"), STORE_FLAGS_REMOVE, false},
    {STR_INIT("-FLAGS.SILENT"), STORE_FLAGS_REMOVE, true},
};

static void fini(struct imap_session *s)
{
    struct storing *k = s->job;
    store_root_release(&k->newest);
}

/* --- what the client is told ------------------------------------------------------------------ */

/* Whether a message that was so and is so now is what the client expects after SILENT. */
static bool is_expected(struct imap_session *s, const struct store_row *before,
                        const struct store_row *now)
{
    const struct storing *k = s->job;
    uint32_t flags = before->flags & SHOWN_FLAGS;
    uint64_t keywords = before->keywords;
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

static enum net_step tell(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    const struct imap_spans *spans = &k->change.spans;
    if (spans->total > IMAP_LOOK_MAX && !net_can_block(c))
        return NET_SHORT;
    for (; k->span < spans->n; k->span++, k->at = 0) {
        const struct imap_span *span = &spans->at[k->span];
        for (; span->from + k->at < span->to; k->at++) {
            if (net_out_is_full(c))
                return NET_MORE;
            size_t index = span->from + k->at;
            uint32_t uid = store_root_at(k->change.root, index)->uid;
            const struct store_row *now = find(k->newest, uid, index - k->n_gone);
            if (!now)
                k->n_gone++;
            else if (!k->is_silent)
                imap_put_fetch_flags(s, net_out(c), index, now, s->is_uid);
        }
    }
    s->told = spans;
    s->expects = k->is_silent ? is_expected : NULL;
    struct store_root *newest = k->newest;
    k->newest = NULL;
    imap_view_begin(s, newest, s->is_uid);
    /* Of UIDs, those that are not there are passed over [RFC3501 6.4.8]; of numbers, the client
     * has not heard yet that their messages are gone [RFC2180 4.2]. */
    return imap_finish(c, s, k->n_gone && !s->is_uid ? IMAP_EXPUNGED : IMAP_DONE);
}

static enum net_step answer(struct conn *c, struct imap_session *s)
{
    struct storing *k = s->job;
    enum rc rc = k->change.rc;
    if (rc == RC_OK)
        rc = store_mailbox_open(s->account, s->view.mailbox, imap_flags(c), &k->newest);
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

/* --- the command ------------------------------------------------------------------------------ */

static enum rc queue(struct imap_session *s, unsigned flags)
{
    struct storing *k = s->job;
    k->flags.uids = k->change.uids;
    k->flags.n_uids = k->change.n_uids;
    return store_change_flags(s->account, &k->flags, flags, &k->change.op.op);
}

static bool take_item(struct imap_parse *p, struct storing *k)
{
    struct str word;
    if (!imap_take_atom(p, &word))
        return false;
    for (size_t i = 0; i < sizeof items / sizeof *items; i++)
        if (str_ieq(word, items[i].word)) {
            k->flags.how = items[i].how;
            k->is_silent = items[i].is_silent;
            return true;
        }
    return imap_fail(p, "FLAGS, +FLAGS or -FLAGS, perhaps with .SILENT");
}

static bool take_arguments(struct imap_parse *p, struct storing *k, struct imap_set *set)
{
    struct imap_flags *flags = arena_alloc(p->arena, sizeof *flags);
    if (!flags || !imap_take_set(p, set) || !imap_take_sp(p) || !take_item(p, k) ||
        !imap_take_sp(p) || !imap_take_flags(p, false, flags) || !imap_take_end(p))
        return false;
    k->flags.flags = flags->flags;
    k->flags.keywords = flags->keywords;
    k->flags.n_keywords = flags->n_keywords;
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
    k->flags.unchanged_since = UINT64_MAX;
    k->change.root = s->view.root;
    k->change.is_divisible = true;
    k->change.queue = queue;
    k->change.then = answer;
    enum rc rc = imap_set_resolve(&set, s->view.root, s->is_uid, &s->arena, &k->change.spans);
    if (rc == RC_NOTFOUND)
        return imap_finish(c, s, IMAP_NO_MESSAGE);
    if (rc != RC_OK)
        return imap_finish_rc(c, s, rc);
    s->job = k;
    s->job_fini = fini;
    return imap_change_run(c, s);
}
