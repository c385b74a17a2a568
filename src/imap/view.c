/* The selected mailbox as its client knows it.
 *
 * Invariants: a sequence number is an index in `root` plus one, and `root` changes only while the
 * client is being told; what others do to the mailbox is in newer roots, which share with this one
 * what has not changed, so that telling costs what has. */
#include "imap/imap_int.h"
#include "imap/news_int.h"

#include <stdatomic.h>
#include <stdlib.h>

static size_t size_of(const struct imap_saved *saved)
{
    return sizeof *saved + saved->n * sizeof *saved->at;
}

bool imap_view_save(struct imap_session *s, struct imap_saved **saved)
{
    struct imap_view *v = &s->view;
    if (v->saved)
        s->imap->saved -= size_of(v->saved);
    free(v->saved);
    v->saved = NULL;
    if (!*saved)
        return true;
    size_t size = size_of(*saved);
    bool has_room = atomic_fetch_add(&s->imap->saved, size) + size <= IMAP_SAVED_ALL;
    if (has_room) {
        v->saved = *saved;
    } else {
        s->imap->saved -= size;
        free(*saved);
    }
    *saved = NULL;
    return has_room;
}

enum rc imap_view_visit(struct conn *c, struct imap_session *s, uint32_t mailbox,
                        struct imap_view *own)
{
    struct imap_view visited = {.mailbox = mailbox, .is_read_only = true, .own = own};
    TRY(store_reader_open(s->account, mailbox, imap_flags(c), &visited.reader));
    visited.root = store_reader_root(visited.reader);
    visited.uidvalidity = store_root_mailbox(visited.root)->uidvalidity;
    *own = s->view;
    s->view = visited;
    return RC_OK;
}

void imap_view_leave(struct imap_session *s)
{
    if (!s->view.own)
        return;
    store_reader_close(&s->view.reader);
    s->view = *s->view.own;
}

void imap_view_close(struct imap_session *s)
{
    struct imap_view *v = &s->view;
    struct imap_saved *nothing = NULL;
    imap_notify_left(s);
    imap_view_save(s, &nothing); /* [RFC5182 2.1] [RFC9051 6.4.4.1] */
    imap_contexts_close(s);      /* [RFC5267 4.3] */
    store_root_release(&v->next);
    if (v->reader)
        store_reader_close(&v->reader);
    if (v->mailbox)
        auth_session_mailbox(s->entry, (struct str){0});
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
    s->view.modseq = store_root_mailbox(s->view.root)->highest_modseq;
    s->state = IMAP_SELECTED;
    imap_notify_selected(s);
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

static unsigned count_keywords(const struct str *names)
{
    unsigned n = 0;
    while (n < STORE_KEYWORDS && names[n].p)
        n++;
    return n;
}

/* Rows may have keywords that had no names yet when this command looked at names first. */
enum rc imap_newest(struct conn *c, struct imap_session *s, struct store_root **out)
{
    TRY(store_mailbox_open(s->account, s->view.mailbox, imap_flags(c), out));
    if (s->keywords && store_keyword_count(s->account) != count_keywords(s->keywords))
        s->keywords = NULL;
    return RC_OK;
}

void imap_put_flags(struct imap_session *s, struct buf *out, const struct store_row *row)
{
    const struct str *names = row->keywords ? imap_keywords(s) : NULL;
    struct str before = STR("(");
    for (size_t i = 0; i < IMAP_SYSTEM_FLAGS; i++)
        if (row->flags & imap_system_flags[i].flag) {
            buf_put(out, before);
            buf_put(out, imap_system_flags[i].name);
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

void imap_put_fetch_begin(struct imap_session *s, struct buf *out, size_t index, uint32_t uid)
{
    bool is_uidonly = s->enabled & IMAP_EN_UIDONLY;
    buf_put(out, STR("* "));
    imap_put_u64(out, is_uidonly ? uid : index + 1);
    buf_put(out, is_uidonly ? STR(" UIDFETCH (") : STR(" FETCH ("));
}

static void put_uid(const struct imap_session *s, struct buf *out, uint32_t uid)
{
    if (s->enabled & IMAP_EN_UIDONLY) /* it has been said */
        return;
    buf_put(out, STR("UID "));
    imap_put_u64(out, uid);
    buf_put(out, STR(" "));
}

static void put_modseq(struct buf *out, uint64_t modseq)
{
    buf_put(out, STR("MODSEQ ("));
    imap_put_u64(out, modseq);
    buf_put(out, STR(")"));
}

/* Who has enabled CONDSTORE gets UID and MODSEQ with whatever it is told [RFC7162 3.1, 3.2.4]. */
void imap_put_fetch_flags(struct imap_session *s, struct buf *out, size_t index,
                          const struct store_row *row, bool has_uid)
{
    bool has_modseq = s->enabled & IMAP_EN_CONDSTORE;
    imap_put_fetch_begin(s, out, index, row->uid);
    /* [RFC3501 6.4.8] [RFC9051 7.5.2] */
    if (has_uid || has_modseq || s->enabled & IMAP_EN_REV2)
        put_uid(s, out, row->uid);
    buf_put(out, STR("FLAGS "));
    imap_put_flags(s, out, row);
    if (has_modseq) {
        buf_put(out, STR(" "));
        put_modseq(out, row->modseq);
    }
    buf_put(out, STR(")\r\n"));
}

void imap_put_fetch_modseq(struct imap_session *s, struct buf *out, size_t index,
                           const struct store_row *row)
{
    imap_put_fetch_begin(s, out, index, row->uid);
    put_uid(s, out, row->uid);
    put_modseq(out, row->modseq);
    buf_put(out, STR(")\r\n"));
}

static void put_all_flags(struct buf *out, const struct str *names, unsigned n)
{
    buf_put(out, STR("("));
    for (size_t i = 0; i < IMAP_SYSTEM_FLAGS; i++) {
        buf_put(out, i ? STR(" ") : STR(""));
        buf_put(out, imap_system_flags[i].name);
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
    v->next = is_expunge_ok ? newest : store_root_keep(v->root, newest);
    v->is_behind = v->next != newest;
    if (!is_expunge_ok)
        store_root_release(&newest);
    v->told_gone = v->told_new = 0;
    v->is_told = false;
    store_diff_begin(&v->diff, v->root, v->next);
}

static enum rc begin_telling(struct conn *c, struct imap_session *s, bool is_expunge_ok)
{
    struct store_root *newest;
    TRY(imap_newest(c, s, &newest));
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
    if (!s->told || !imap_spans_have(s->told, old_index))
        return false;
    return !s->expects || s->expects(s, store_root_at(s->view.root, old_index), now);
}

static void tell_gone(struct imap_session *s, struct buf *out, size_t index, uint32_t uid)
{
    struct imap_view *v = &s->view;
    if (s->enabled & (IMAP_EN_QRESYNC | IMAP_EN_UIDONLY)) { /* [RFC7162 3.2.10] [RFC9586 3.6]
    [RFC9051 6.5] */
        imap_vanished_add(out, &v->vanished, uid, uid);
    } else {
        /* Those before it have moved up already [RFC3501 7.4.1] [RFC9051 7.5.1]. */
        buf_put(out, STR("* "));
        imap_put_u64(out, index + 1 - v->told_gone);
        buf_put(out, STR(" EXPUNGE\r\n"));
    }
    v->told_gone++;
}

static void tell_one(struct imap_session *s, struct buf *out, enum store_diff_kind kind,
                     size_t old_index, size_t new_index, const struct store_row *row)
{
    struct imap_view *v = &s->view;
    switch (kind) {
    case STORE_DIFF_GONE:
        tell_gone(s, out, old_index, row->uid);
        break;
    case STORE_DIFF_CHANGED:
        /* What comes behind it may still be told to go; that does not move it. */
        if (is_told(s, old_index, row))
            break;
        if (s->news != IMAP_NEWS_ALL) {
            v->is_untold = true;
            break;
        }
        imap_vanished_end(out, &v->vanished); /* that would move it */
        imap_put_fetch_flags(s, out, new_index, row, s->is_uid || s->notify); /* [RFC5465 5.1] */
        break;
    case STORE_DIFF_NEW:
        v->told_new++;
        break;
    case STORE_DIFF_END:
        break;
    }
}

static void end_diff(struct imap_session *s, struct buf *out)
{
    struct imap_view *v = &s->view;
    imap_vanished_end(out, &v->vanished);
    /* Also of what is new: an interimap that has put messages here itself would else be told of
     * them again, as changes, the next time [RFC7162 3.2.9]. */
    s->tells_modseq = s->tells_modseq || v->told_gone || v->told_new;
    if (!v->is_behind && !v->is_untold)
        v->modseq = store_root_mailbox(v->next)->highest_modseq;
    if (v->told_new) {
        buf_put(out, STR("* "));
        imap_put_u64(out, store_root_count(v->next));
        buf_put(out, STR(" EXISTS\r\n"));
    }
    v->is_told = true;
}

static void end_telling(struct imap_view *v)
{
    store_reader_advance(v->reader, v->next);
    v->root = store_reader_root(v->reader);
    store_root_release(&v->next);
}

static enum net_step tell_diff(struct conn *c, struct imap_session *s)
{
    struct imap_view *v = &s->view;
    const struct store_row *row;
    size_t old_index, new_index;
    enum store_diff_kind kind;
    if (v->is_told)
        return NET_READ;
    imap_tell_keywords(c, s, false);
    do {
        if (net_out_is_full(c)) {
            imap_vanished_end(net_out(c), &v->vanished); /* other lines may come between */
            return NET_MORE;
        }
        kind = store_diff_next(&v->diff, &old_index, &new_index, &row);
        tell_one(s, net_out(c), kind, old_index, new_index, row);
    } while (kind != STORE_DIFF_END);
    end_diff(s, net_out(c));
    return NET_READ;
}

/* [RFC3501 5.2, 7] [RFC9051 5.2, 7] */
enum net_step imap_view_tell(struct conn *c, struct imap_session *s, bool is_expunge_ok)
{
    struct imap_view *v = &s->view;
    enum net_step next = imap_contexts_tell_come(c, s); /* with the change before this one */
    if (next != NET_READ)
        return next;
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
    next = imap_contexts_tell_gone(c, s);
    if (next == NET_READ)
        next = tell_diff(c, s);
    if (next != NET_READ)
        return next;
    end_telling(v);
    return imap_contexts_tell_come(c, s);
}
