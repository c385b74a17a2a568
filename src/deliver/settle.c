/* What a try came to, settled: which recipients leave the queue, which wait on, and what is told to
 * the sender [RFC3461 5.2].
 *
 * 1. States, removals and reports are one commit. A report is told of nowhere before, so a crash
 * leaves either all of it or the recipients as they were.
 * 2. Nobody is told about a report, or about a message without a sender [RFC5321 6.1]: what cannot
 * be delivered of these is logged.
 * 3. What the sender has asked for holds [RFC3461 4.1]; without NOTIFY failures and delays are
 * told.
 *
 * Nothing here reads a body or waits: composing reports (settle_report.c) goes to the lane. */
#include "deliver/deliver_int.h"

#include "base/mem.h"
#include "smtp/smtp.h"

#include <stdio.h>
#include <stdlib.h>

void settle_conf(const struct deliver_conf *conf, struct deliver_conf *out)
{
    *out = *conf;
    if (!out->retry_ms)
        out->retry_ms = FANOUT_RETRY_MS;
    if (!out->retry_max_ms)
        out->retry_max_ms = FANOUT_RETRY_MAX_MS;
    if (!out->tries)
        out->tries = FANOUT_TRIES;
    if (!out->expire_ms)
        out->expire_ms = SETTLE_EXPIRE_MS;
    if (str_is_null(out->hostname))
        out->hostname = STR("localhost");
}

/* --- what is told ----------------------------------------------------------------------------- */

/* From when the time counts. */
static uint64_t begin_of(const struct queue_item *item)
{
    return item->release > item->received ? item->release : item->received;
}

static bool is_wanted(const struct queue_recipient *r, enum report_kind kind)
{
    static const unsigned bits[] = {
        [REPORT_FAILED] = SMTP_NOTIFY_FAILURE,
        [REPORT_DELAYED] = SMTP_NOTIFY_DELAY,
        [REPORT_SUCCESS] = SMTP_NOTIFY_SUCCESS,
    };
    if (r->wish.notify == 0)
        return kind != REPORT_SUCCESS; /* [RFC3461 5.2.3] (c), 5.2.5 (b), 5.2.6 (c) */
    return r->wish.notify & bits[kind];
}

static bool has_reader(const struct queue_item *item)
{
    return item->sender.n > 0 && !(item->flags & QUEUE_IS_REPORT); /* [RFC3461 6.1] */
}

/* What is known of earlier tries, when this was none. */
static struct deliver_outcome with_words(const struct deliver_outcome *o,
                                         const struct queue_recipient *r)
{
    struct deliver_outcome with = *o;
    if (!o->code && !o->text.n && !o->status.n) {
        with.code = r->code;
        with.status = r->status.n ? r->status : o->status;
        with.host = r->host;
        with.text = r->reply;
    }
    return with;
}

static void tell(struct settle *s, const struct queue_recipient *r, const struct deliver_outcome *o,
                 enum report_kind kind)
{
    if (!has_reader(s->item) || !is_wanted(r, kind))
        return;
    if (!s->told[kind])
        s->told[kind] = arena_zero(&s->arena, s->n * sizeof *s->told[kind]);
    s->told[kind][s->n_told[kind]++] = (struct report_recipient){
        .address = r->wish.address.n ? r->wish.address : r->address, /* [RFC3464 2.3.2] */
        .orcpt = r->wish.orcpt,
        .outcome = with_words(o, r),
        .is_expired = kind == REPORT_FAILED && o->verdict == DELIVER_DEFERRED,
        .tried = kind == REPORT_SUCCESS ? 0
                 : o->is_untried        ? r->last_tried
                                        : s->now,
    };
}

static void log_failed(const struct settle *s, const struct queue_recipient *r,
                       const struct deliver_outcome *o)
{
    struct log_line l;
    char id[QUEUE_ID_TEXT];
    queue_id_text(s->item->id, id);
    log_begin(&l, s->ctx.log, LOG_WARNING, "undelivered");
    log_text(&l, "item", id);
    log_str(&l, "message", s->item->log_id);
    log_str(&l, "to", r->address);
    if (o->code)
        log_u64(&l, "code", o->code);
    if (o->status.n)
        log_str(&l, "status", o->status);
    if (o->host.n)
        log_str(&l, "host", o->host);
    if (o->verdict == DELIVER_DEFERRED)
        log_text(&l, "cause", "expired");
    if (!has_reader(s->item) || !is_wanted(r, REPORT_FAILED))
        log_text(&l, "report", "nobody wants one");
    log_end(&l);
}

/* --- each outcome ----------------------------------------------------------------------------- */

static void take_success(struct settle *s, const struct queue_recipient *r,
                         const struct deliver_outcome *o)
{
    struct deliver_outcome seen = *o;
    if (r->flags & QUEUE_ALIAS)
        seen.verdict = DELIVER_EXPANDED; /* [RFC3461 5.2.7.3] (c) */
    if (o->verdict != DELIVER_RELAYED || r->flags & QUEUE_ALIAS)
        tell(s, r, &seen, REPORT_SUCCESS); /* [RFC3461 5.2.1]: a host that knows tells itself */
}

static bool is_delay_due(const struct settle *s, const struct queue_recipient *r)
{
    uint64_t since = begin_of(s->item);
    uint64_t after = atomic_load(&s->conf->delay_notice_ms) * NS_PER_MS;
    return after && !(r->flags & QUEUE_DELAY_TOLD) && s->now > since && s->now - since >= after;
}

/* What it waits with; never beyond its time, so that the last try comes when that is over. */
static struct queue_recipient *wait_on(struct settle *s, const struct queue_recipient *r,
                                       const struct deliver_outcome *o)
{
    struct queue_recipient *next = arena_alloc(&s->arena, sizeof *next);
    struct deliver_outcome with = with_words(o, r);
    *next = *r;
    next->due = o->due < s->expires ? o->due : s->expires;
    next->code = with.code;
    next->status = with.status;
    next->host = with.host;
    next->reply = with.text;
    if (!o->is_untried) {
        next->tries++;
        next->first_tried = r->first_tried ? r->first_tried : s->now;
        next->last_tried = s->now;
    }
    return next;
}

static const struct queue_recipient *take_deferred(struct settle *s,
                                                   const struct queue_recipient *r,
                                                   const struct deliver_outcome *o)
{
    if (s->now >= s->expires) {
        struct deliver_outcome with = with_words(o, r);
        log_failed(s, r, &with);
        tell(s, r, o, REPORT_FAILED);
        return NULL;
    }
    struct queue_recipient *next = wait_on(s, r, o);
    if (is_delay_due(s, r)) {
        tell(s, r, o, REPORT_DELAYED);
        next->flags |= QUEUE_DELAY_TOLD;
    }
    return next;
}

static void take(struct settle *s, const struct deliver_outcome *o)
{
    const struct queue_recipient *r = queue_recipient_of(s->item, o->number), *next = NULL;
    if (!r)
        return;
    if (o->verdict == DELIVER_DEFERRED) {
        next = take_deferred(s, r, o);
    } else if (o->verdict == DELIVER_FAILED) {
        log_failed(s, r, o);
        tell(s, r, o, REPORT_FAILED);
    } else {
        take_success(s, r, o);
    }
    s->changes[s->settlement.n_changes++] = (struct queue_change){o->number, next};
}

/* --- the commit ------------------------------------------------------------------------------- */

static void finish(struct settle *s, enum rc rc)
{
    struct deliver_settle_op *op = s->op;
    for (size_t i = 0; i < s->n_reports; i++) {
        kv_blob_forget(s->conf->kv, s->reports[i].blob);
        if (rc == RC_OK)
            settle_log(s, s->kinds[i], "report", s->reports[i].log_id);
    }
    if (rc == RC_OK)
        counter_add(s->ctx.counters, COUNTER_REPORTS, s->n_reports);
    if (rc == RC_OK)
        settle_trace(s);
    op->rc = rc == RC_NOTFOUND ? RC_OK : rc; /* somebody has taken the item off */
    arena_fini(&s->arena);
    free(s);
    op->done(op);
}

static void settled(struct queue_op *queue_op)
{
    struct settle *s = CONTAINER(queue_op, struct settle, queue_op);
    finish(s, queue_op->rc);
}

static void commit(struct settle *s)
{
    s->settlement.changes = s->changes;
    s->settlement.status = s->status;
    s->settlement.items = s->reports;
    s->settlement.n_items = s->n_reports;
    s->queue_op = (struct queue_op){.done = settled};
    enum rc rc = queue_settle(s->conf->queue, &s->settlement, &s->queue_op);
    if (rc != RC_OK)
        finish(s, rc == RC_LIMIT ? RC_TEMP : rc);
}

static void compose_and_commit(struct task_job *job)
{
    struct settle *s = CONTAINER(job, struct settle, job);
    enum rc rc = settle_write_reports(s);
    if (rc == RC_OK)
        commit(s);
    else
        finish(s, rc);
}

void settle_start(const struct ctx *ctx, const struct deliver_conf *conf,
                  const struct settle_try *what, struct deliver_settle_op *op)
{
    struct settle *s = mem_zero(sizeof *s);
    s->ctx = *ctx;
    s->conf = conf;
    s->item = what->item;
    s->outcomes = what->outcomes;
    s->n = what->n;
    s->status = what->status;
    s->op = op;
    s->now = clock_wall(ctx->clock);
    s->expires = what->item->expires
                     ? what->item->expires
                     : begin_of(what->item) + atomic_load(&conf->expire_ms) * NS_PER_MS;
    s->settlement.id = what->item->id;
    s->settlement.loaded = what->item;
    s->changes = arena_zero(&s->arena, (s->n + 1) * sizeof *s->changes);
    for (size_t i = 0; i < s->n; i++)
        take(s, &s->outcomes[i]);
    s->job.run = compose_and_commit;
    if (!s->n_told[REPORT_FAILED] && !s->n_told[REPORT_DELAYED] && !s->n_told[REPORT_SUCCESS])
        commit(s);
    else if (task_lane_post(conf->lane, &s->job) != RC_OK)
        finish(s, RC_TEMP);
}

void deliver_settle(struct deliver *deliver, const struct queue_item *item,
                    const struct deliver_outcome *outcomes, size_t n, struct deliver_settle_op *op)
{
    const struct settle_try what = {.item = item, .outcomes = outcomes, .n = n};
    settle_start(&deliver->ctx, &deliver->conf, &what, op);
}
