/* DELE, RSET, NOOP and QUIT [RFC1939 5, 6].
 *
 * DELE only marks. QUIT expunges what is marked, a batch after the other, waits until each is
 * durable, and says +OK when all are; when one fails it says so and nothing more is tried. The only
 * place where POP3 changes anything in the store.
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
    d->bytes_deleted += store_root_at(d->root, index)->size;
    return pop3_ok(c, "marked, goes at QUIT");
}

enum net_step pop3_rset(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    struct pop3_drop *d = &s->drop;
    free(d->deleted);
    d->deleted = NULL;
    d->n_deleted = 0;
    d->bytes_deleted = 0;
    return pop3_ok(c, "%zu messages (%llu octets)", d->n, (unsigned long long)d->bytes);
}

enum net_step pop3_noop(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    return pop3_ok(c, "nothing done");
}

static void list_uids(struct pop3_drop *d)
{
    d->uids = mem_alloc(d->n_deleted * sizeof *d->uids);
    for (size_t i = 0; i < d->n; i++)
        if (pop3_drop_is_deleted(d, i))
            d->uids[d->n_uids++] = store_root_at(d->root, i)->uid;
}

static void expunge_done(struct store_op *op)
{
    struct pop3_session *s = CONTAINER(op, struct pop3_session, drop.op);
    net_resume(s->net, s->handle);
}

static enum net_step failed(struct conn *c, struct pop3_session *s, enum rc rc)
{
    struct log_line l;
    net_log(c, &l, LOG_ERROR, "expunge-failed");
    log_u64(&l, "account", store_account_id(s->drop.account));
    log_u64(&l, "removed", s->drop.uids_at);
    log_u64(&l, "kept", s->drop.n_uids - s->drop.uids_at);
    log_text(&l, "cause", rc_name(rc));
    log_end(&l);
    s->end = "failed";
    pop3_err(c, "[SYS/TEMP] some deleted messages were not removed"); /* [RFC1939 6] */
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
    if (!n) {
        s->end = "quit";
        pop3_ok(c, "goodbye, %zu messages left", d->n - d->n_uids);
        return NET_CLOSE;
    }
    s->go_on = expunged; /* before the call: it may come back before the call returns */
    d->op = (struct store_op){.done = expunge_done};
    enum rc rc =
        store_expunge(d->account, d->mailbox, d->uids + d->uids_at, n, pop3_flags(c), &d->op);
    if (rc == RC_OK)
        return NET_WAIT;
    s->go_on = expunge_next;
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    return failed(c, s, rc);
}

enum net_step pop3_quit(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (s->state == POP3_AUTHORIZATION || !s->drop.n_deleted) {
        s->end = "quit";
        pop3_ok(c, "goodbye");
        return NET_CLOSE;
    }
    s->state = POP3_UPDATE;
    list_uids(&s->drop);
    return expunge_next(c, s);
}
