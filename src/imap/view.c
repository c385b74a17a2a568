/* The selected mailbox as its client knows it.
 *
 * Invariants: a sequence number is an index in `root` plus one, and `root` changes only while the
 * client is being told; what others do to the mailbox is in newer roots, which share with this one
 * what has not changed, so that telling costs what has. */
#include "imap/imap_int.h"

void imap_view_close(struct imap_session *s)
{
    struct imap_view *v = &s->view;
    store_root_release(&v->next);
    if (v->reader)
        store_reader_close(&v->reader);
    *v = (struct imap_view){0};
    if (s->state == IMAP_SELECTED)
        s->state = IMAP_AUTHENTICATED;
}

enum rc imap_view_open(struct conn *c, struct imap_session *s, uint32_t mailbox, bool is_read_only)
{
    imap_view_close(s);
    TRY(store_reader_open(s->account, mailbox, imap_flags(c), &s->view.reader));
    s->view.root = store_reader_root(s->view.reader);
    s->view.mailbox = mailbox;
    s->view.uidvalidity = store_root_mailbox(s->view.root)->uidvalidity;
    s->view.is_read_only = is_read_only;
    s->state = IMAP_SELECTED;
    return RC_OK;
}

enum rc imap_view_message(struct conn *c, struct imap_session *s, size_t index,
                          struct store_message **out)
{
    return store_reader_message(s->view.reader, index, imap_flags(c), out);
}

/* --- flags ------------------------------------------------------------------------------------ */

const struct str *imap_keywords(struct imap_session *s)
{
    if (s->keywords)
        return s->keywords;
    struct str *names = arena_alloc(&s->arena, STORE_KEYWORDS * sizeof *names);
    if (!names || store_keywords(s->account, &s->arena, names) != RC_OK)
        return NULL;
    s->keywords = names;
    return names;
}

static const struct {
    uint32_t flag;
    struct str name;
} system_flags[] = {
    {STORE_ANSWERED, STR_INIT("\\Answered")}, {STORE_FLAGGED, STR_INIT("\\Flagged")},
    {STORE_DELETED, STR_INIT("\\Deleted")},   {STORE_SEEN, STR_INIT("\\Seen")},
    {STORE_DRAFT, STR_INIT("\\Draft")},
};
enum { N_SYSTEM_FLAGS = sizeof system_flags / sizeof *system_flags };

void imap_put_flags(struct imap_session *s, struct buf *out, const struct store_row *row)
{
    const struct str *names = row->keywords ? imap_keywords(s) : NULL;
    struct str before = STR("(");
    for (size_t i = 0; i < N_SYSTEM_FLAGS; i++)
        if (row->flags & system_flags[i].flag) {
            buf_put(out, before);
            buf_put(out, system_flags[i].name);
            before = STR(" ");
        }
    for (uint64_t left = row->keywords; left && names; left &= left - 1) {
        struct str name = names[__builtin_ctzll(left)];
        if (!name.n)
            continue;
        buf_put(out, before);
        buf_put(out, name);
        before = STR(" ");
    }
    buf_put(out, before.p[0] == '(' ? STR("()") : STR(")"));
}

void imap_put_fetch_flags(struct imap_session *s, struct buf *out, size_t index,
                          const struct store_row *row, bool has_uid)
{
    buf_put(out, STR("* "));
    imap_put_u64(out, index + 1);
    buf_put(out, STR(" FETCH ("));
    if (has_uid) { /* [RFC3501 6.4.8] */
        buf_put(out, STR("UID "));
        imap_put_u64(out, row->uid);
        buf_put(out, STR(" "));
    }
    buf_put(out, STR("FLAGS "));
    imap_put_flags(s, out, row);
    buf_put(out, STR(")\r\n"));
}

static unsigned count_keywords(const struct str *names)
{
    unsigned n = 0;
    while (n < STORE_KEYWORDS && names[n].p)
        n++;
    return n;
}

static void put_all_flags(struct buf *out, const struct str *names, unsigned n)
{
    buf_put(out, STR("("));
    for (size_t i = 0; i < N_SYSTEM_FLAGS; i++) {
        buf_put(out, i ? STR(" ") : STR(""));
        buf_put(out, system_flags[i].name);
    }
    for (unsigned i = 0; i < n; i++) {
        buf_put(out, STR(" "));
        buf_put(out, names[i]);
    }
}

void imap_tell_keywords(struct conn *c, struct imap_session *s, bool always)
{
    struct buf *out = net_out(c);
    const struct str *names = imap_keywords(s);
    unsigned n = names ? count_keywords(names) : 0;
    if (!names || (!always && n == s->view.n_keywords))
        return;
    s->view.n_keywords = n;
    buf_put(out, STR("* FLAGS "));
    put_all_flags(out, names, n);
    buf_put(out, STR(")\r\n* OK [PERMANENTFLAGS "));
    if (s->view.is_read_only) {
        buf_put(out, STR("("));
    } else {
        put_all_flags(out, names, n);
        buf_put(out, n < STORE_KEYWORDS ? STR(" \\*") : STR(""));
    }
    buf_put(out, STR(")] can be changed\r\n"));
}

/* --- news ------------------------------------------------------------------------------------- */

void imap_view_begin(struct imap_session *s, struct store_root *newest, bool is_expunge_ok)
{
    struct imap_view *v = &s->view;
    if (newest == v->root) { /* what comes after it, the command has not told */
        s->told = NULL;
        store_root_release(&newest);
        return;
    }
    if (is_expunge_ok) {
        v->next = newest;
    } else {
        v->next = store_root_keep(v->root, newest);
        store_root_release(&newest);
    }
    v->told_gone = v->told_new = 0;
    store_diff_begin(&v->diff, v->root, v->next);
}

static enum rc begin_telling(struct conn *c, struct imap_session *s, bool is_expunge_ok)
{
    struct store_root *newest;
    TRY(store_mailbox_open(s->account, s->view.mailbox, imap_flags(c), &newest));
    /* Removed, and made again where it was: another one, and its UIDs mean other messages. */
    if (store_root_mailbox(newest)->uidvalidity != s->view.uidvalidity) {
        store_root_release(&newest);
        return RC_NOTFOUND;
    }
    imap_view_begin(s, newest, is_expunge_ok);
    return RC_OK;
}

/* Whether the command has told what the row at this index is now, or its client knows. Spans are of
 * the root that was there when the command began. */
static bool is_told(struct imap_session *s, size_t old_index, const struct store_row *now)
{
    const struct imap_spans *told = s->told;
    size_t from = 0, to = told ? told->n : 0;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (told->at[mid].to <= old_index)
            from = mid + 1;
        else
            to = mid;
    }
    if (!told || from == told->n || told->at[from].from > old_index)
        return false;
    return !s->expects || s->expects(s, store_root_at(s->view.root, old_index), now);
}

static void tell_one(struct imap_session *s, struct buf *out, enum store_diff_kind kind,
                     size_t old_index, size_t new_index, const struct store_row *row)
{
    struct imap_view *v = &s->view;
    switch (kind) {
    case STORE_DIFF_GONE:
        /* Those before it have moved up already [RFC3501 7.4.1]. */
        buf_put(out, STR("* "));
        imap_put_u64(out, old_index + 1 - v->told_gone++);
        buf_put(out, STR(" EXPUNGE\r\n"));
        break;
    case STORE_DIFF_CHANGED:
        /* What comes behind it may still be told to go; that does not move it. */
        if (!is_told(s, old_index, row))
            imap_put_fetch_flags(s, out, new_index, row, s->is_uid);
        break;
    case STORE_DIFF_NEW:
        v->told_new++;
        break;
    case STORE_DIFF_END:
        break;
    }
}

static void end_telling(struct imap_session *s, struct buf *out)
{
    struct imap_view *v = &s->view;
    if (v->told_new) {
        buf_put(out, STR("* "));
        imap_put_u64(out, store_root_count(v->next));
        buf_put(out, STR(" EXISTS\r\n"));
    }
    store_reader_advance(v->reader, v->next);
    v->root = store_reader_root(v->reader);
    store_root_release(&v->next);
}

enum net_step imap_view_tell(struct conn *c, struct imap_session *s, bool is_expunge_ok)
{
    struct imap_view *v = &s->view;
    enum rc rc = v->next ? RC_OK : begin_telling(c, s, is_expunge_ok);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (rc == RC_NOTFOUND) { /* removed by another session */
        s->end = "mailbox";
        imap_bye(c, (struct str){0}, STR("the selected mailbox has been removed"));
        return NET_CLOSE;
    }
    if (rc != RC_OK || !v->next)
        return NET_READ; /* next time; or there is nothing new */
    imap_tell_keywords(c, s, false);
    const struct store_row *row;
    size_t old_index, new_index;
    enum store_diff_kind kind;
    do {
        if (net_out_is_full(c))
            return NET_MORE;
        kind = store_diff_next(&v->diff, &old_index, &new_index, &row);
        tell_one(s, net_out(c), kind, old_index, new_index, row);
    } while (kind != STORE_DIFF_END);
    end_telling(s, net_out(c));
    return NET_READ;
}
