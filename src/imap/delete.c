/* DELETE [RFC3501 6.3.4] [RFC9051 6.3.5]. */
#include "imap/imap_int.h"

struct deleting {
    struct imap_op op; /* first: imap_op_finish */
    struct store_path path;
    uint32_t mailbox;
};

static enum net_step deleted(struct conn *c, struct imap_session *s)
{
    const struct deleting *m = s->job;
    if (m->op.op.rc == RC_OK && m->mailbox == s->view.mailbox)
        imap_view_close(s);
    return imap_op_finish(c, s);
}

static enum net_step delete_found(struct conn *c, struct imap_session *s)
{
    struct deleting *m = s->job;
    struct store_mailbox info;
    enum rc rc = store_mailbox_find(s->account, m->path, &m->mailbox);
    if (rc == RC_OK)
        rc = store_mailbox_get(s->account, m->mailbox, &s->arena, &info);
    if (rc == RC_NOTFOUND || rc == RC_SYNTAX)
        return imap_finish(c, s, IMAP_NO_MAILBOX);
    if (rc == RC_OK && info.is_placeholder) /* [RFC3501 6.3.4] [RFC9051 6.3.5] */
        return imap_finish(c, s, IMAP_HAS_CHILDREN);
    if (rc == RC_OK)
        rc = store_mailbox_remove(s->account, m->mailbox, imap_flags(c), imap_op_begin(&m->op, s));
    return imap_op_wait(c, s, rc, deleted);
}

enum net_step imap_delete(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct deleting *m = arena_zero(&s->arena, sizeof *m);
    s->job = m;
    if (!m || !imap_take_mailbox(p, &m->path) || !imap_take_end(p))
        return imap_finish_syntax(c, s, p);
    s->go_on = delete_found;
    return delete_found(c, s);
}
