/* Waiting for a change of the store. */
#include "imap/imap_int.h"
#include "imap/news_int.h"

enum { TRIES = 5 };

static void done(struct store_op *op)
{
    struct imap_session *s = CONTAINER(op, struct imap_op, op)->session;
    imap_notify_own(s, op);
    net_resume(s->net, s->handle);
}

struct store_op *imap_op_begin(struct imap_op *o, struct imap_session *s)
{
    o->op = (struct store_op){.done = done};
    o->session = s;
    s->has_changed = true;
    return &o->op;
}

bool imap_op_again(struct imap_op *o)
{
    bool is_again = o->op.rc == RC_CONFLICT && ++o->tries < TRIES;
    if (!is_again)
        o->tries = 0;
    return is_again;
}

enum net_step imap_op_wait(struct conn *c, struct imap_session *s, enum rc queued, imap_step then)
{
    if (queued == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    if (queued != RC_OK)
        return imap_finish_rc(c, s, queued == RC_AGAIN ? RC_TEMP : queued);
    s->go_on = then;
    return NET_WAIT;
}

enum net_step imap_op_finish(struct conn *c, struct imap_session *s)
{
    const struct imap_op *o = s->job;
    return o->op.rc == RC_OK ? imap_finish(c, s, IMAP_DONE) : imap_finish_rc(c, s, o->op.rc);
}
