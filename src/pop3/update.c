/* DELE, RSET, NOOP and QUIT [RFC1939 5, 6].
 *
 * DELE only marks. QUIT expunges what is marked, and what the account's policy adds to it, a batch
 * after the other, waits until each is durable, and says +OK when all are; when one fails it says
 * so and nothing more is tried. The only place where POP3 changes anything in the store.
 */
#include "pop3/pop3_int.h"

#include "base/mem.h"

#include <stdlib.h>

/* How often a batch is tried that failed only because a change before it did, as a delivery does
 * that finds no space. */
enum { EXPUNGE_TRIES = 5 };

enum net_step pop3_dele(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    struct pop3_drop *d = &s->drop;
    size_t index;
    enum rc rc = pop3_drop_find(d, a->args[0], &index);
    if (rc != RC_OK)
        return pop3_err_rc(c, rc);
    if (!d->deleted)
        d->deleted = mem_zero(d->n / 8 + 1);
    d->deleted[index / 8] |= (unsigned char)(1 << index % 8);
    d->n_deleted++;
    d->bytes_deleted += pop3_drop_size(d, index);
    return pop3_ok(c, POP3_MARKED, NULL);
}

enum net_step pop3_rset(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    struct pop3_drop *d = &s->drop;
    free(d->deleted);
    d->deleted = NULL;
    d->n_deleted = 0;
    d->bytes_deleted = 0;
    return pop3_ok(c, POP3_SUMMARY, (const uint64_t[]){d->n, d->bytes});
}

enum net_step pop3_noop(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    return pop3_ok(c, POP3_NOTHING_DONE, NULL);
}

static void changed(struct store_op *op)
{
    struct pop3_session *s = CONTAINER(op, struct pop3_session, drop.op);
    net_resume(s->net, s->handle);
}

static void log_failure(struct conn *c, struct pop3_session *s, const char *event, enum rc rc)
{
    struct log_line l;
    net_log(c, &l, LOG_ERROR, event);
    log_u64(&l, "account", store_account_id(s->drop.account));
    log_u64(&l, "removed", s->drop.uids_at);
    log_u64(&l, "kept", s->drop.n_uids - s->drop.uids_at);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

static enum net_step goodbye(struct conn *c, struct pop3_session *s)
{
    bool has_removed = s->drop.n_uids > 0;
    uint64_t left = s->drop.n - s->drop.n_uids;
    s->end = "quit";
    pop3_session_end(c, s); /* who reads the answer may come back at once [RFC1939 6] */
    if (has_removed)
        pop3_ok(c, POP3_GOODBYE_LEFT, &left);
    else
        pop3_ok(c, POP3_GOODBYE, NULL);
    return NET_CLOSE;
}

/* --- what was collected ----------------------------------------------------------------------- */

static enum net_step note_next(struct conn *c, struct pop3_session *s);

/* The client has not asked for it, so it is not told when it fails: its mail stays longer. */
static enum net_step noted(struct conn *c, struct pop3_session *s)
{
    struct pop3_drop *d = &s->drop;
    if (d->op.rc != RC_OK)
        log_failure(c, s, "collected-not-noted", d->op.rc);
    size_t left = d->n_noted - d->noted_at;
    d->noted_at += left < STORE_BATCH ? left : STORE_BATCH;
    return note_next(c, s);
}

static enum net_step note_next(struct conn *c, struct pop3_session *s)
{
    struct pop3_drop *d = &s->drop;
    size_t left = d->n_noted - d->noted_at, n = left < STORE_BATCH ? left : STORE_BATCH;
    if (!n)
        return goodbye(c, s);
    s->go_on = noted;
    d->op = (struct store_op){.done = changed};
    enum rc rc = store_collected_note(d->account, d->mailbox, d->noted + d->noted_at, n,
                                      pop3_flags(c), &d->op);
    if (rc == RC_OK)
        return NET_WAIT;
    s->go_on = note_next;
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    d->op.rc = rc;
    return noted(c, s);
}

/* --- what goes -------------------------------------------------------------------------------- */

static enum net_step failed(struct conn *c, struct pop3_session *s, enum rc rc)
{
    log_failure(c, s, "expunge-failed", rc);
    s->end = "failed";
    pop3_session_end(c, s);
    pop3_err(c, POP3_NOT_REMOVED); /* [RFC1939 6] */
    return NET_CLOSE;
}

static enum net_step expunge_next(struct conn *c, struct pop3_session *s);

static enum net_step expunged(struct conn *c, struct pop3_session *s)
{
    struct pop3_drop *d = &s->drop;
    if (d->op.rc == RC_CONFLICT && ++d->n_conflicts < EXPUNGE_TRIES)
        return expunge_next(c, s);
    if (d->op.rc != RC_OK)
        return failed(c, s, d->op.rc);
    d->n_conflicts = 0;
    size_t left = d->n_uids - d->uids_at;
    d->uids_at += left < STORE_BATCH ? left : STORE_BATCH;
    counter_add(s->pop3->ctx->counters, COUNTER_POP3_DELETED, d->op.changed);
    return expunge_next(c, s);
}

static enum net_step expunge_next(struct conn *c, struct pop3_session *s)
{
    struct pop3_drop *d = &s->drop;
    size_t left = d->n_uids - d->uids_at, n = left < STORE_BATCH ? left : STORE_BATCH;
    if (!n)
        return note_next(c, s);
    s->go_on = expunged; /* before the call: it may come back before the call returns */
    d->op = (struct store_op){.done = changed};
    enum rc rc =
        store_expunge(d->account, d->mailbox, d->uids + d->uids_at, n, pop3_flags(c), &d->op);
    if (rc == RC_OK)
        return NET_WAIT;
    s->go_on = expunge_next;
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    return failed(c, s, rc);
}

/* What was sent is on its way to a client that is still there: otherwise a client that sends RETR
 * and QUIT together, and dies, would lose what the policy takes. */
static enum net_step begin_update(struct conn *c, struct pop3_session *s)
{
    if (s->drop.collected && buf_len(net_out(c))) {
        s->go_on = begin_update;
        return NET_MORE;
    }
    s->state = POP3_UPDATE;
    pop3_policy_at_quit(s);
    return expunge_next(c, s);
}

enum net_step pop3_quit(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (s->state == POP3_AUTHORIZATION)
        return goodbye(c, s);
    return begin_update(c, s);
}
