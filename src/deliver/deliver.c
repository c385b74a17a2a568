/* deliver: decides between one commit into the account and one commit into the queue, and reports
 * the outcome.
 *
 * Never acknowledges anything itself: op->done with RC_OK comes from the completion of that one
 * commit.
 */
#include "deliver/deliver_int.h"

#include "base/mem.h"
#include "smtp/smtp.h"

#include <stdio.h>
#include <stdlib.h>

enum rc deliver_open(const struct ctx *ctx, const struct deliver_conf *conf, struct deliver **out)
{
    struct deliver *deliver = mem_zero(sizeof *deliver);
    deliver->ctx = *ctx;
    settle_conf(conf, &deliver->conf);
    deliver->conf.hostname = str_from(mem_dup(deliver->conf.hostname.p, deliver->conf.hostname.n),
                                      deliver->conf.hostname.n);
    deliver->fanout = fanout_new(ctx, &deliver->conf);
    if (deliver->conf.tells_places)
        deliver->places = places_open(deliver);
    *out = deliver;
    return RC_OK;
}

void deliver_set_times(struct deliver *deliver, uint64_t expire_ms, uint64_t delay_notice_ms)
{
    atomic_store(&deliver->conf.expire_ms, expire_ms ? expire_ms : SETTLE_EXPIRE_MS);
    atomic_store(&deliver->conf.delay_notice_ms, delay_notice_ms);
}

void deliver_close(struct deliver **deliver)
{
    if (!*deliver)
        return;
    places_close(&(*deliver)->places);
    fanout_free(&(*deliver)->fanout);
    free((void *)(uintptr_t)(*deliver)->conf.hostname.p);
    free(*deliver);
    *deliver = NULL;
}

void deliver_log(const struct ctx *ctx, struct str message, uint64_t account,
                 const struct store_op *op, enum rc rc)
{
    struct log_line l;
    if (rc == RC_OK)
        counter_add(ctx->counters, COUNTER_DELIVERIES, 1);
    log_begin(&l, ctx->log, rc == RC_OK ? LOG_INFO : LOG_WARNING,
              rc == RC_OK ? "delivered" : "not-delivered");
    log_str(&l, "message", message);
    log_u64(&l, "account", account);
    if (rc == RC_OK)
        log_u64(&l, "uid", op->uid);
    else
        log_text(&l, "cause", rc_name(rc));
    log_end(&l);
}

/* --- one recipient ---------------------------------------------------------------------------- */

static void appended(struct store_op *store_op)
{
    struct deliver_op *op = CONTAINER(store_op, struct deliver_op, store_op);
    op->rc = store_op->rc;
    deliver_log(&op->deliver->ctx, str_of(op->id), op->account_id, store_op, op->rc);
    deliver_trace(&op->deliver->conf, str_of(op->id), str_of(op->to), op->account_id, store_op);
    free(op->to);
    store_account_close(&op->account);
    op->done(op);
}

static enum rc to_account(struct deliver *deliver, const struct deliver_message *m, unsigned flags,
                          struct deliver_op *op)
{
    struct store_append append = {.blob = m->blob,
                                  .size = m->size,
                                  .received = m->received,
                                  .mailbox = m->mailbox,
                                  .flags = m->mailbox_flags |
                                           (m->flags & QUEUE_UNENDED ? STORE_UNENDED : 0),
                                  .notes = m->notes,
                                  .n_notes = m->n_notes,
                                  .message_id = m->message_id,
                                  .references = m->references,
                                  .n_references = m->n_references,
                                  .summary = m->summary};
    deliver_keywords(&deliver->conf, &append);
    TRY(store_account_open(deliver->conf.store, m->recipients[0].account, flags, &op->account));
    op->store_op = (struct store_op){.done = appended};
    op->account_id = m->recipients[0].account;
    snprintf(op->id, sizeof op->id, "%.*s", STR_ARG(m->id));
    struct str to = m->recipients[0].address;
    op->to = deliver->conf.trace && to.n ? mem_dup(to.p, to.n) : NULL;
    enum rc rc = store_append(op->account, &append, flags, &op->store_op);
    if (rc != RC_OK) {
        store_account_close(&op->account);
        free(op->to);
    }
    return rc;
}

enum rc deliver_has_room(struct deliver *deliver, uint64_t account, uint64_t size, unsigned flags)
{
    struct store_account *a;
    TRY(store_account_open(deliver->conf.store, account, flags, &a));
    enum rc rc = store_account_has_room(a, size);
    store_account_close(&a);
    return rc;
}

/* --- several ---------------------------------------------------------------------------------- */

static void queued(struct queue_op *queue_op)
{
    struct deliver_op *op = CONTAINER(queue_op, struct deliver_op, queue_op);
    op->rc = queue_op->rc;
    op->done(op);
}

static struct queue_item item_of(const struct deliver_message *m)
{
    return (struct queue_item){.blob = m->blob,
                               .size = m->size,
                               .received = m->received,
                               .sender = m->sender,
                               .message_id = m->message_id,
                               .log_id = m->id,
                               .references = m->references,
                               .n_references = m->n_references,
                               .recipients = m->recipients,
                               .n_recipients = m->n_recipients,
                               .account = m->account,
                               .release = m->release,
                               .hold = m->hold,
                               .due = m->release,
                               .origin = m->origin,
                               .ret = m->ret,
                               .flags = m->flags,
                               .envid = m->envid,
                               .summary = m->summary};
}

static size_t pick(const struct deliver_message *m, bool is_forward, struct queue_recipient *to)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_recipients; i++) {
        if (!(m->recipients[i].flags & QUEUE_FORWARD) == is_forward)
            continue;
        to[n] = m->recipients[i];
        to[n++].flags &= (uint8_t)~QUEUE_FORWARD;
    }
    return n;
}

/* What is forwarded is an item of its own, since it has another sender; both are one commit. */
static enum rc add_in_two(struct deliver *deliver, const struct deliver_message *m, unsigned flags,
                          struct arena *arena, struct deliver_op *op)
{
    struct queue_item items[2] = {item_of(m), item_of(m)};
    struct queue_recipient *here = arena_alloc(arena, m->n_recipients * sizeof *here);
    struct queue_recipient *on = arena_alloc(arena, m->n_recipients * sizeof *on);
    TRY(forward_sender(&deliver->ctx, &deliver->conf, m, flags, arena, &items[1].sender));
    items[0].recipients = here;
    items[0].n_recipients = pick(m, false, here);
    items[1].recipients = on;
    items[1].n_recipients = pick(m, true, on);
    items[1].flags |= QUEUE_FORWARDED;
    size_t first = items[0].n_recipients ? 0 : 1, end = items[1].n_recipients ? 2 : 1;
    return queue_add(deliver->conf.queue, items + first, end - first, &op->queue_op);
}

static enum rc add_to_queue(struct deliver *deliver, const struct deliver_message *m,
                            unsigned flags, struct deliver_op *op)
{
    struct arena arena = {0};
    struct queue_item item = item_of(m);
    if (str_is_null(m->forward_domain))
        return queue_add(deliver->conf.queue, &item, 1, &op->queue_op);
    enum rc rc = add_in_two(deliver, m, flags, &arena, op);
    arena_fini(&arena);
    return rc;
}

static enum rc to_queue(struct deliver *deliver, const struct deliver_message *m, unsigned flags,
                        struct deliver_op *op)
{
    op->queue_op = (struct queue_op){.done = queued};
    for (size_t i = 0; i < m->n_recipients; i++) {
        if (!m->recipients[i].account)
            continue;
        enum rc rc = deliver_has_room(deliver, m->recipients[i].account, m->size, flags);
        if (rc == RC_LIMIT) /* RCPT will tell which of them, when the sender tries again */
            return RC_TEMP;
        if (rc != RC_OK && rc != RC_NOTFOUND) /* gone since: the fan-out passes it over */
            return rc;
    }
    return add_to_queue(deliver, m, flags, op);
}

/* One account, and nobody to be told when it is there. */
static bool is_direct(const struct deliver_message *m)
{
    for (size_t i = 0; i < m->n_recipients; i++) {
        const struct queue_recipient *r = &m->recipients[i];
        if (!r->account || r->account != m->recipients[0].account ||
            (r->wish.notify & SMTP_NOTIFY_SUCCESS && m->sender.n))
            return false;
    }
    return true;
}

enum rc deliver_message(struct deliver *deliver, const struct deliver_message *message,
                        unsigned flags, struct deliver_op *op)
{
    op->deliver = deliver;
    if (message->n_recipients == 0)
        return RC_PERM;
    bool is_held = message->release > clock_wall(deliver->ctx.clock);
    if (!is_held && is_direct(message))
        return to_account(deliver, message, flags, op);
    if (message->mailbox || message->mailbox_flags || message->n_notes)
        return RC_PERM;
    return to_queue(deliver, message, flags, op);
}
