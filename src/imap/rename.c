/* RENAME [RFC3501 6.3.5] [RFC9051 6.3.6]: a mailbox with all that is below it. INBOX stays where it
 * is, and what was in it when the command came moves, in parts. */
#include "imap/imap_int.h"

struct renaming {
    struct imap_op op; /* first: imap_op_finish */
    struct store_path path, to;
    uint32_t mailbox, made;
    struct store_root *root; /* what INBOX held when its rename began */
    size_t moved, n_moving;
    uint32_t uids[STORE_BATCH], copied[STORE_BATCH];
};

static void rename_end(struct imap_session *s)
{
    struct renaming *m = s->job;
    store_root_release(&m->root);
}

static enum net_step moved(struct conn *c, struct imap_session *s);

static enum net_step move_on(struct conn *c, struct imap_session *s)
{
    struct renaming *m = s->job;
    size_t n = 0;
    enum rc rc = RC_OK;
    if (!m->root)
        rc = store_mailbox_open(s->account, m->mailbox, imap_flags(c), &m->root);
    if (rc != RC_OK)
        return imap_op_wait(c, s, rc, NULL);
    while (n < STORE_BATCH && m->moved + n < store_root_count(m->root)) {
        m->uids[n] = store_root_at(m->root, m->moved + n)->uid;
        n++;
    }
    if (!n)
        return imap_finish(c, s, IMAP_DONE);
    struct store_copy copy = {.from = m->mailbox,
                              .to = m->made,
                              .uids = m->uids,
                              .n_uids = n,
                              .is_move = true,
                              .out_uids = m->copied};
    rc = store_copy(s->account, &copy, imap_flags(c), imap_op_begin(&m->op, s));
    m->n_moving = n;
    return imap_op_wait(c, s, rc, moved);
}

static enum net_step moved(struct conn *c, struct imap_session *s)
{
    struct renaming *m = s->job;
    bool is_again = imap_op_again(&m->op); /* half a rename cannot be asked for again */
    if (m->op.op.rc != RC_OK && !is_again)
        return imap_finish_rc(c, s, m->op.op.rc);
    if (!is_again)
        m->moved += m->n_moving;
    s->go_on = move_on;
    return move_on(c, s);
}

static enum net_step inbox_made(struct conn *c, struct imap_session *s)
{
    struct renaming *m = s->job;
    if (m->op.op.rc != RC_OK)
        return imap_finish_rc(c, s, m->op.op.rc);
    m->made = m->op.op.mailbox;
    s->go_on = move_on;
    return move_on(c, s);
}

/* [RFC9051 6.3.6, 6.3.9.7] */
static enum net_step renamed(struct conn *c, struct imap_session *s)
{
    const struct renaming *m = s->job;
    struct store_mailbox now;
    if (m->op.op.rc == RC_OK && s->enabled & IMAP_EN_REV2 &&
        store_mailbox_get(s->account, m->mailbox, &s->arena, &now) == RC_OK && !now.is_placeholder)
        imap_put_list_line(s, net_out(c), imap_join_path(&s->arena, m->to), &now,
                           imap_join_path(&s->arena, m->path));
    return imap_op_finish(c, s);
}

static enum net_step rename_found(struct conn *c, struct imap_session *s)
{
    struct renaming *m = s->job;
    enum rc rc = store_mailbox_find(s->account, m->path, &m->mailbox);
    if (rc == RC_NOTFOUND || rc == RC_SYNTAX)
        return imap_finish(c, s, IMAP_NO_MAILBOX);
    if (rc == RC_OK && m->path.n == 1 && str_eq(m->path.levels[0], STR("INBOX"))) {
        s->job_fini = rename_end;
        rc = store_mailbox_create(s->account, m->to, STORE_NONE, imap_flags(c),
                                  imap_op_begin(&m->op, s));
        return imap_op_wait(c, s, rc, inbox_made);
    }
    if (rc == RC_OK)
        rc = store_mailbox_rename(s->account, m->mailbox, m->to, imap_flags(c),
                                  imap_op_begin(&m->op, s));
    return imap_op_wait(c, s, rc, renamed);
}

enum net_step imap_rename(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct renaming *m = arena_zero(&s->arena, sizeof *m);
    s->job = m;
    if (!m || !imap_take_mailbox(p, &m->path) || !imap_take_sp(p) ||
        !imap_take_mailbox(p, &m->to) || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    if (!imap_name_is_good(p, m->to))
        return imap_finish(c, s, IMAP_CANNOT);
    s->go_on = rename_found;
    return rename_found(c, s);
}
