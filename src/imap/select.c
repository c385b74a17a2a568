/* SELECT, EXAMINE and UNSELECT [RFC3501 6.3.1, 6.3.2] [RFC3691]. */
#include "imap/imap_int.h"

struct select {
    struct store_path path;
    bool is_read_only;
};

static void put_ok(struct buf *out, struct str code, uint64_t n, struct str text)
{
    buf_put(out, STR("* OK ["));
    buf_put(out, code);
    imap_put_u64(out, n);
    buf_put(out, STR("] "));
    buf_put(out, text);
    buf_put(out, STR("\r\n"));
}

static void put_state(struct conn *c, struct imap_session *s)
{
    const struct store_root *root = s->view.root;
    const struct store_mailbox *m = store_root_mailbox(root);
    struct buf *out = net_out(c);
    size_t count = store_root_count(root), unseen = store_root_first_unseen(root);
    imap_tell_keywords(c, s, true);
    buf_put(out, STR("* "));
    imap_put_u64(out, count);
    buf_put(out, STR(" EXISTS\r\n* 0 RECENT\r\n"));
    if (unseen < count)
        put_ok(out, STR("UNSEEN "), unseen + 1, STR("the first that is not seen"));
    put_ok(out, STR("UIDVALIDITY "), m->uidvalidity, STR("UIDs are valid"));
    put_ok(out, STR("UIDNEXT "), m->uidnext, STR("the next one is not below"));
}

static enum net_step open_mailbox(struct conn *c, struct imap_session *s)
{
    const struct select *k = s->job;
    uint32_t id;
    imap_view_close(s); /* also when the new one cannot be opened [RFC3501 6.3.1] */
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
    put_state(c, s);
    return imap_finish(c, s, k->is_read_only ? IMAP_SELECTED_READ_ONLY : IMAP_SELECTED_READ_WRITE);
}

static enum net_step select_or_examine(struct conn *c, struct imap_session *s, struct imap_parse *p,
                                       bool is_read_only)
{
    struct select *k = arena_zero(&s->arena, sizeof *k);
    if (!k || !imap_take_mailbox(p, &k->path) || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
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
