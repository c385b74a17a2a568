/* One queue item and its copies for accounts here: loaded, appended, settled.
 *
 * Invariants:
 *   1. A recipient is taken off the queue only after the commit into its account is durable, or
 * when the account is gone for good, or its time is over; what the sender is told of it comes with
 * that commit (settle.c).
 *   2. Each copy is appended under the item's id; the account answers RC_EXISTS to a second one
 * (several recipients of one item that are the same account also meet this, and so get one copy).
 *   3. What may pass is tried again for ever, with growing waits. What fails for good is tried
 * `tries` times, then held with its cause: its body is damaged, its row cannot be read. Counts and
 * the time of the next try are in the queue, so that a restart does not begin anew.
 *
 * Items run on the short lane and in the completions of the store and the queue.
 */
#include "deliver/deliver_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct copy {
    struct store_op op;
    struct item *item;
    struct store_account *account;
    uint64_t account_id;
    struct str address; /* as RCPT had it; may be empty */
    uint16_t number;
    enum rc rc;
    bool is_final;            /* nothing is left to do for this recipient */
    const struct copy *first; /* of the same account: its copy is also this one's; or NULL */
};

struct item {
    struct task_job job;
    struct fanout *fanout;
    struct waiting *waiting;
    struct queue_id id;
    struct arena arena;
    struct queue_item q;
    struct queue_status status;
    unsigned hand; /* its place among the work in hand */
    struct copy *copies;
    size_t n_copies;
    _Atomic size_t pending;
    struct deliver_settle_op settle_op;
    bool has_rest; /* the status says when it is due, or that it is held */
};

uint64_t fanout_wait_after(const struct deliver_conf *conf, unsigned failures)
{
    uint64_t ms = conf->retry_ms;
    for (unsigned i = 1; i < failures && ms < conf->retry_max_ms; i++)
        ms *= 2;
    if (ms > conf->retry_max_ms)
        ms = conf->retry_max_ms;
    uint64_t ns = ms * NS_PER_MS;
    return ns - ns / 4 + random_u64() % (ns / 2 + 1);
}

static const struct deliver_conf *conf_of(const struct item *item)
{
    return fanout_conf(item->fanout);
}

static void item_end(struct item *item, enum fanout_end how)
{
    struct fanout *f = item->fanout;
    struct waiting *w = item->waiting;
    hand_give(conf_of(item)->hand, item->hand);
    arena_fini(&item->arena);
    free(item->copies);
    free(item);
    fanout_ended(f, w, how);
}

static void log_failure(const struct item *item, const char *event, const char *cause)
{
    struct log_line l;
    char id[QUEUE_ID_TEXT];
    queue_id_text(item->id, id);
    log_begin(&l, fanout_ctx(item->fanout)->log, LOG_ERROR, event);
    log_text(&l, "item", id);
    if (item->q.log_id.n)
        log_str(&l, "message", item->q.log_id);
    log_u64(&l, "failures", item->status.failures);
    log_text(&l, "cause", cause);
    log_end(&l);
}

static struct hand_key hand_key_of(struct queue_id id)
{
    struct hand_key key;
    memcpy(key.b, id.b, sizeof key.b);
    return key;
}

/* The server has crashed twice with this item in hand. Held it waits for somebody who looks; once
 * released it is as good as any other. */
static void item_quarantine(struct item *item)
{
    const struct deliver_conf *conf = conf_of(item);
    enum rc rc = queue_hold(conf->queue, item->id, "crash");
    if (rc == RC_OK) {
        log_failure(item, "queue-held", "crash");
        deliver_trace_held(conf, &item->q, "the server crashed at it twice");
        hand_forget(conf->hand, hand_key_of(item->id));
    }
    item_end(item, rc == RC_OK || rc == RC_NOTFOUND ? FANOUT_GONE : FANOUT_AGAIN);
}

/* One more failure that will not pass by itself. */
static void count_failure(struct item *item, enum rc cause)
{
    const struct deliver_conf *conf = conf_of(item);
    struct queue_status *status = &item->status;
    status->failures++;
    status->waits = 0;
    bool is_last = status->failures >= conf->tries;
    status->state = is_last ? QUEUE_HELD : QUEUE_WAITING;
    status->due = is_last ? 0
                          : clock_wall(fanout_ctx(item->fanout)->clock) +
                                fanout_wait_after(conf, status->failures);
    snprintf(status->cause, sizeof status->cause, "%s", rc_name(cause));
}

static void log_counted(const struct item *item)
{
    bool is_held = item->status.state == QUEUE_HELD;
    log_failure(item, is_held ? "queue-held" : "queue-failed", item->status.cause);
    if (is_held)
        deliver_trace_held(conf_of(item), &item->q, item->status.cause);
}

/* On the lane: an item whose rows cannot be read. */
static void item_unreadable(struct item *item, enum rc cause)
{
    count_failure(item, cause);
    enum rc rc = queue_status_set(conf_of(item)->queue, item->id, &item->status);
    if (rc == RC_OK)
        log_counted(item);
    item_end(item, rc == RC_OK || rc == RC_NOTFOUND ? FANOUT_GONE : FANOUT_AGAIN);
}

/* --- its end ---------------------------------------------------------------------------------- */

/* Trying again without any change elsewhere cannot help. */
static bool is_for_good(enum rc rc)
{
    return rc == RC_CORRUPT || rc == RC_PERM || rc == RC_NOTFOUND || rc == RC_SYNTAX ||
           rc == RC_DENIED;
}

/* What the rest of the item waits for. The item has failed for good when nothing is left of it that
 * may still pass. */
static void judge_rest(struct item *item)
{
    enum rc bad = RC_OK, passing = RC_OK;
    for (size_t i = 0; i < item->n_copies; i++) {
        const struct copy *copy = &item->copies[i];
        if (!copy->is_final && is_for_good(copy->rc))
            bad = copy->rc;
        else if (!copy->is_final)
            passing = copy->rc;
    }
    if (bad == RC_OK && passing == RC_OK)
        return;
    item->has_rest = true;
    if (passing == RC_OK) {
        count_failure(item, bad);
        return;
    }
    item->status.waits++;
    item->status.due = clock_wall(fanout_ctx(item->fanout)->clock) +
                       fanout_wait_after(conf_of(item), item->status.waits);
    snprintf(item->status.cause, sizeof item->status.cause, "%s", rc_name(passing));
}

static void item_settled(struct deliver_settle_op *op)
{
    struct item *item = CONTAINER(op, struct item, settle_op);
    bool has_failed = item->has_rest && !item->status.waits;
    if (op->rc == RC_OK && has_failed)
        log_counted(item);
    /* RC_DENIED: another node has the shard now. */
    item_end(item, op->rc == RC_OK || op->rc == RC_DENIED ? FANOUT_GONE : FANOUT_AGAIN);
}

/* What is settled of a copy. What fails for good here and may be mended is nobody's business but
 * the administrator's. */
static bool outcome_of(const struct copy *copy, struct deliver_outcome *out)
{
    *out = (struct deliver_outcome){.number = copy->number, .stage = DELIVER_AT_MAILBOX};
    if (copy->rc == RC_OK || copy->rc == RC_EXISTS) {
        out->verdict = DELIVER_DELIVERED;
    } else if (copy->item->q.flags & QUEUE_RETURNED) {
        out->verdict = DELIVER_FAILED;
        out->status = STR("5.7.1");
        out->stage = DELIVER_AT_OURSELVES;
        out->text = STR("the administrator has taken the message out of the queue");
    } else if (copy->is_final) {
        out->verdict = DELIVER_FAILED;
        out->status = STR("5.1.1");
        out->text = STR("the account is gone");
    } else {
        out->verdict = DELIVER_DEFERRED;
        out->status = copy->rc == RC_LIMIT ? STR("4.2.2") : STR("4.3.0");
        out->text = copy->rc == RC_LIMIT ? STR("mailbox full") : STR("trouble with the store");
        out->due = copy->item->status.due;
    }
    return copy->is_final || !is_for_good(copy->rc);
}

static void share_answers(struct item *item)
{
    for (size_t i = 0; i < item->n_copies; i++) {
        struct copy *copy = &item->copies[i];
        copy->rc = copy->first ? copy->first->rc : copy->rc;
        copy->is_final = copy->first ? copy->first->is_final : copy->is_final;
    }
}

/* When every copy has its answer: one commit takes off all that is final, and says when the rest is
 * due. */
static void item_finish(struct item *item)
{
    struct deliver_outcome *outcomes =
        arena_alloc(&item->arena, (item->n_copies + 1) * sizeof *outcomes);
    struct settle_try what = {.item = &item->q, .outcomes = outcomes};
    share_answers(item);
    judge_rest(item);
    what.status = item->has_rest ? &item->status : NULL;
    for (size_t i = 0; i < item->n_copies; i++)
        what.n += outcome_of(&item->copies[i], &outcomes[what.n]);
    item->settle_op.done = item_settled;
    settle_start(fanout_ctx(item->fanout), conf_of(item), &what, &item->settle_op);
}

/* --- its copies ------------------------------------------------------------------------------- */

static void copy_answered(struct copy *copy, enum rc rc)
{
    struct item *item = copy->item;
    copy->rc = rc;
    copy->is_final |= rc == RC_OK || rc == RC_EXISTS;
    if (rc != RC_EXISTS)
        deliver_log(fanout_ctx(item->fanout), item->q.log_id, copy->account_id, &copy->op, rc);
    if (rc == RC_OK)
        deliver_trace(conf_of(item), item->q.log_id, copy->address, copy->account_id, &copy->op);
    if (copy->account)
        store_account_close(&copy->account);
    if (atomic_fetch_sub(&item->pending, 1) == 1)
        item_finish(item);
}

static void copy_appended(struct store_op *op)
{
    struct copy *copy = CONTAINER(op, struct copy, op);
    copy_answered(copy, op->rc);
}

static void copy_start(struct copy *copy)
{
    const struct queue_item *q = &copy->item->q;
    struct store_append append = {
        .blob = q->blob,
        .size = q->size,
        .received = q->received,
        .flags = q->flags & QUEUE_UNENDED ? STORE_UNENDED : 0,
        .message_id = q->message_id,
        .references = q->references,
        .n_references = q->n_references,
        .delivery_id = str_from(q->id.b, sizeof q->id.b),
        .summary = q->summary,
    };
    deliver_keywords(conf_of(copy->item), &append);
    copy->op.done = copy_appended;
    if (q->flags & QUEUE_RETURNED) {
        copy->is_final = true;
        copy_answered(copy, RC_PERM);
        return;
    }
    enum rc rc =
        store_account_open(conf_of(copy->item)->store, copy->account_id, 0, &copy->account);
    copy->is_final = rc == RC_NOTFOUND; /* the account is gone for good */
    if (rc == RC_OK)
        rc = store_append(copy->account, &append, 0, &copy->op);
    if (rc != RC_OK)
        copy_answered(copy, rc);
}

/* The same account twice among the recipients: the first one's copy is everybody's. */
static const struct copy *first_of(const struct item *item, uint64_t account)
{
    for (size_t i = 0; i < item->n_copies; i++)
        if (item->copies[i].account_id == account)
            return &item->copies[i];
    return NULL;
}

static void make_copies(struct item *item)
{
    item->copies = mem_zero((item->q.n_recipients + 1) * sizeof *item->copies);
    for (size_t i = 0; i < item->q.n_recipients; i++) {
        const struct queue_recipient *r = &item->q.recipients[i];
        if (!r->account)
            continue;
        struct copy *copy = &item->copies[item->n_copies];
        *copy = (struct copy){.first = first_of(item, r->account),
                              .item = item,
                              .number = r->number,
                              .address = r->address,
                              .account_id = r->account,
                              .rc = RC_TEMP};
        item->n_copies++;
    }
}

/* What the queue says of it; whether it is to be tried now. */
static bool item_look(struct item *item)
{
    const struct deliver_conf *conf = conf_of(item);
    struct queue_entry entry;
    enum rc rc = queue_load(conf->queue, item->id, 0, &item->arena, &entry);
    item->status = entry.status;
    item->q = entry.item;
    uint64_t due = entry.status.due ? entry.status.due : entry.item.due;
    if (rc == RC_NOTFOUND || !queue_is_ours(conf->queue, item->id) ||
        (rc == RC_OK && entry.status.state == QUEUE_HELD))
        item_end(item, FANOUT_GONE); /* somebody has taken it off, or has it, or holds it */
    else if (rc != RC_OK)
        item_end(item, FANOUT_AGAIN);
    else if (due > clock_wall(fanout_ctx(item->fanout)->clock))
        item_end(item, FANOUT_GONE); /* the index has it */
    else if (hand_is_suspect(conf->hand, hand_key_of(item->id)))
        item_quarantine(item);
    else if (entry.rc != RC_OK)
        item_unreadable(item, entry.rc);
    else
        return true;
    return false;
}

static void item_run(struct task_job *job)
{
    struct item *item = CONTAINER(job, struct item, job);
    if (!item_look(item))
        return;
    item->hand = hand_take(conf_of(item)->hand, hand_key_of(item->id));
    make_copies(item);
    size_t n = item->n_copies;
    if (n == 0) { /* all of them have been settled meanwhile */
        item_end(item, FANOUT_GONE);
        return;
    }
    atomic_store(&item->pending,
                 n + 1); /* one for this loop, so that the last answer cannot come before its end */
    for (size_t i = 0; i < n; i++) {
        if (item->copies[i].first)
            atomic_fetch_sub(&item->pending, 1);
        else
            copy_start(&item->copies[i]);
    }
    if (atomic_fetch_sub(&item->pending, 1) == 1)
        item_finish(item);
}

void fanout_item_start(struct fanout *f, struct waiting *w)
{
    struct item *item = mem_zero(sizeof *item);
    item->fanout = f;
    item->waiting = w;
    item->id = w->id;
    item->job.run = item_run;
    if (task_lane_post(fanout_conf(f)->lane, &item->job) != RC_OK)
        item_end(item, FANOUT_AGAIN); /* the lane is full or ending: the queue still has it */
}
