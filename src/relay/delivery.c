/* One delivery: a batch of the scheduler from the queue to a host and back.
 *
 *   load    on a worker: the item and the recipients that are still due; signed there too
 *   send    by its session
 *   settle  what became of each recipient, in one commit; only then the batch is over
 *
 * Invariant: what a host has taken is never given back to the scheduler before the queue knows it.
 * A commit that fails is tried again until it is through; a relay that ends meanwhile leaves the
 * recipients as they were, and they get a second copy [RFC5321 6.1]. */
#include "relay/shell_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_AGAIN_MS = 1000, LOAD_AGAIN_MS = 60000, SIGNATURES_MAX = 64 << 10 };

struct delivery {
    struct event event;
    struct task_job task;
    struct list link; /* of the unsettled */
    struct relay *relay;
    struct batch *batch;
    struct relay_settings *settings;
    struct arena arena;
    struct queue_entry entry;
    struct buf signatures;
    struct relay_job job;
    struct deliver_outcome *outcomes; /* of each recipient of the job */
    struct deliver_settle_op op;
    char host[FAILURE_HOST]; /* who answers */
    bool is_lmtp;
    bool is_again;  /* what was dropped is still due */
    uint64_t later; /* the first of the batch that is not due after all; 0: all are */
    size_t n_sent, n_deferred, n_bounced;
};

static void delivery_free(struct delivery *d)
{
    relay_settings_unref(&d->settings);
    buf_fini(&d->signatures);
    arena_fini(&d->arena);
    free(d);
}

static void post(struct delivery *d, void (*run)(struct task_job *))
{
    d->task.run = run;
    if (task_lane_post(d->relay->lane, &d->task) != RC_OK)
        run(&d->task); /* the lane is full: this thread does it */
}

static void tell(struct delivery *d, void (*happen)(struct relay *, struct event *, uint64_t))
{
    d->event.happen = happen;
    relay_tell(d->relay, &d->event);
}

/* --- settling --------------------------------------------------------------------------------- */

static void log_outcome(const struct delivery *d, size_t i)
{
    static const char *const events[] = {
        [DELIVER_DELIVERED] = "relayed", [DELIVER_RELAYED] = "relayed",
        [DELIVER_HANDED] = "relayed",    [DELIVER_EXPANDED] = "relayed",
        [DELIVER_DEFERRED] = "deferred", [DELIVER_FAILED] = "bounced"};
    const struct deliver_outcome *o = &d->outcomes[i];
    struct log_line l;
    char reply[RELAY_TEXT_MAX + 32];
    bool is_sent = o->verdict != DELIVER_DEFERRED && o->verdict != DELIVER_FAILED;
    log_begin(&l, d->relay->ctx.log, is_sent ? LOG_INFO : LOG_WARNING, events[o->verdict]);
    log_str(&l, "message", d->entry.item.log_id);
    log_str(&l, "to", d->job.recipients[i]->address);
    if (o->host.n)
        log_str(&l, "host", o->host);
    if (o->code)
        snprintf(reply, sizeof reply, "%u %.*s %.*s", o->code, STR_ARG(o->status),
                 STR_ARG(o->text));
    else
        snprintf(reply, sizeof reply, "%.*s %.*s", STR_ARG(o->status), STR_ARG(o->text));
    log_text(&l, "reply", reply);
    log_end(&l);
}

/* The entries leave memory; what is not due by the clock as it is now comes back. */
static void note_later(struct relay *relay, const struct delivery *d)
{
    if (d->later)
        page_later(relay, d->batch->id, d->later);
}

static void ended(struct relay *relay, struct event *event, uint64_t now)
{
    struct delivery *d = CONTAINER(event, struct delivery, event);
    note_later(relay, d);
    schedule_settled(&relay->schedule, d->batch);
    delivery_free(d);
}

static void unsettled(struct relay *relay, struct event *event, uint64_t now)
{
    struct delivery *d = CONTAINER(event, struct delivery, event);
    if (relay->is_ending) {
        schedule_settled(&relay->schedule, d->batch);
        delivery_free(d);
        return;
    }
    list_add_tail(&relay->unsettled, &d->link);
    relay_wake_at(relay, now + SETTLE_AGAIN_MS * NS_PER_MS);
}

static void settled(struct deliver_settle_op *op)
{
    struct delivery *d = CONTAINER(op, struct delivery, op);
    struct counters *counters = d->relay->ctx.counters;
    if (op->rc != RC_OK) {
        bool is_lost = op->rc == RC_DENIED; /* another node has the shard now, for good */
        log_event(d->relay->ctx.log, LOG_ERROR, "not-settled", "cause", rc_name(op->rc), NULL);
        tell(d, is_lost ? ended : unsettled);
        return;
    }
    for (size_t i = 0; i < d->job.n; i++)
        log_outcome(d, i);
    counter_add(counters, COUNTER_RELAYED, d->n_sent);
    counter_add(counters, COUNTER_DEFERRED, d->n_deferred);
    counter_add(counters, COUNTER_BOUNCED, d->n_bounced);
    tell(d, ended);
}

static void settle(struct delivery *d)
{
    d->op.done = settled;
    deliver_settle(d->relay->conf.deliver, &d->entry.item, d->outcomes, d->job.n, &d->op);
}

void delivery_settle_again(struct relay *relay)
{
    struct list again;
    list_init(&again);
    list_splice_tail(&again, &relay->unsettled);
    LIST_EACH_SAFE (&again, it) {
        struct delivery *d = CONTAINER(it, struct delivery, link);
        list_remove(&d->link);
        settle(d);
    }
}

/* --- what it came to -------------------------------------------------------------------------- */

static enum deliver_stage stage_of(enum relay_stage stage)
{
    static const enum deliver_stage stages[] = {[RELAY_AT_DNS] = DELIVER_AT_LOOKUP,
                                                [RELAY_AT_CONNECT] = DELIVER_AT_CONNECT,
                                                [RELAY_AT_GREETING] = DELIVER_AT_GREETING,
                                                [RELAY_AT_HELLO] = DELIVER_AT_GREETING,
                                                [RELAY_AT_TLS] = DELIVER_AT_TLS,
                                                [RELAY_AT_LOGIN] = DELIVER_AT_LOGIN,
                                                [RELAY_AT_OURSELVES] = DELIVER_AT_OURSELVES,
                                                [RELAY_AT_MAIL] = DELIVER_AT_MAIL,
                                                [RELAY_AT_RCPT] = DELIVER_AT_RCPT,
                                                [RELAY_AT_DATA] = DELIVER_AT_DATA,
                                                [RELAY_AT_END] = DELIVER_AT_DATA};
    return stages[stage];
}

/* When it is tried again; the last time when it expires. */
static uint64_t due_of(const struct delivery *d, const struct relay_outcome *o, uint64_t now,
                       uint64_t random)
{
    const struct queue_item *item = &d->entry.item;
    const struct relay_settings *s = d->settings;
    const struct backoff backoff = {.first = s->retry_first_ms * NS_PER_MS,
                                    .most = s->retry_max_ms * NS_PER_MS,
                                    .grey = s->retry_grey_ms * NS_PER_MS};
    uint64_t begun = item->release > item->received ? item->release : item->received;
    bool is_grey = o->stage == RELAY_AT_RCPT && o->code / 100 == 4;
    uint64_t age = now > begun ? now - begun : 0;
    uint64_t due = now + backoff_wait(&backoff, age, is_grey, random);
    if (d->batch->kind == BATCH_PUT_OFF && due < d->batch->not_before)
        due = d->batch->not_before + random % (backoff.first / 8 + 1);
    return item->expires > now && due > item->expires ? item->expires : due;
}

static enum deliver_verdict verdict_of(const struct delivery *d, const struct relay_outcome *o)
{
    if (o->rc != RC_OK)
        return o->rc == RC_PERM ? DELIVER_FAILED : DELIVER_DEFERRED;
    if (d->is_lmtp)
        return DELIVER_DELIVERED;
    return o->has_dsn ? DELIVER_RELAYED : DELIVER_HANDED;
}

/* From the job's outcomes to those of deliver. */
static void translate(struct delivery *d, uint64_t now)
{
    uint64_t random = random_u64(); /* one for all: what goes together comes back together */
    d->outcomes = arena_zero(&d->arena, d->job.n * sizeof *d->outcomes);
    for (size_t i = 0; i < d->job.n; i++) {
        const struct relay_outcome *from = &d->job.outcomes[i];
        struct deliver_outcome *to = &d->outcomes[i];
        to->verdict = verdict_of(d, from);
        to->stage = stage_of(from->stage);
        to->number = d->job.recipients[i]->number;
        to->code = from->code;
        to->status = str_of(from->status);
        to->host = str_of(d->host);
        to->text = from->text;
        to->tls = from->tls;
        if (to->verdict == DELIVER_DEFERRED)
            to->due = due_of(d, from, now, random);
        to->is_untried = d->batch->kind == BATCH_PUT_OFF && !d->batch->was_tried;
        d->n_deferred += from->rc != RC_OK && from->rc != RC_PERM;
        d->n_bounced += from->rc == RC_PERM;
        d->n_sent += from->rc == RC_OK;
    }
}

static void take_result(struct relay *relay, struct event *event, uint64_t now)
{
    struct delivery *d = CONTAINER(event, struct delivery, event);
    const struct relay_outcome *first = d->job.outcomes;
    struct batch_result result = {.is_open = d->job.is_open, .is_stale = d->job.is_stale};
    bool is_host = !d->job.is_stale;
    for (size_t i = 0; i < d->job.n && !d->job.is_stale; i++) {
        const struct relay_outcome *o = &first[i];
        is_host = is_host && o->rc != RC_OK && o->stage <= RELAY_AT_LOGIN;
        result.is_busy |= o->code == 421 || (o->code == 0 && !d->job.is_open);
    }
    if (is_host)
        result.host = first;
    else if (!d->job.is_stale)
        translate(d, now);
    result.n_sent = d->n_sent;
    result.n_deferred = d->n_deferred;
    result.n_bounced = d->n_bounced;
    if (schedule_sent(&relay->schedule, d->batch, &result, now))
        settle(d);
    else
        delivery_free(d);
}

static void sent(struct relay_job *job)
{
    tell(CONTAINER(job, struct delivery, job), take_result);
}

/* --- loading ---------------------------------------------------------------------------------- */

static void dropped(struct relay *relay, struct event *event, uint64_t now)
{
    struct delivery *d = CONTAINER(event, struct delivery, event);
    if (d->is_again)
        page_again(relay, d->batch->id, now + LOAD_AGAIN_MS * NS_PER_MS);
    note_later(relay, d);
    schedule_dropped(&relay->schedule, d->batch, now);
    delivery_free(d);
}

/* The same for each recipient. */
static void all_alike(struct delivery *d, const struct relay_outcome *outcome)
{
    for (size_t i = 0; i < d->job.n; i++)
        d->job.outcomes[i] = *outcome;
}

/* Those of the batch that are still there and due; a hint may be old, or the clock was set back. */
static void choose_recipients(struct delivery *d, uint64_t now)
{
    const struct batch *b = d->batch;
    d->job.recipients = arena_zero(&d->arena, b->n * sizeof *d->job.recipients);
    d->job.outcomes = arena_zero(&d->arena, b->n * sizeof *d->job.outcomes);
    LIST_EACH (&b->entries, it) {
        const struct entry *e = CONTAINER(it, struct entry, link);
        const struct queue_recipient *r = queue_recipient_of(&d->entry.item, e->number);
        if (!r || r->account)
            continue;
        if (r->due <= now)
            d->job.recipients[d->job.n++] = r;
        else if (!d->later || r->due < d->later)
            d->later = r->due;
    }
}

static enum rc load_item(struct delivery *d, uint64_t now)
{
    if (!queue_is_ours(d->relay->conf.queue, d->batch->id))
        return RC_NOTFOUND; /* another node tries it; should it be ours again, we are told */
    TRY(queue_load(d->relay->conf.queue, d->batch->id, 0, &d->arena, &d->entry));
    TRY(d->entry.rc);
    if (d->entry.status.state == QUEUE_HELD)
        return RC_NOTFOUND;
    choose_recipients(d, now);
    return d->job.n ? RC_OK : RC_NOTFOUND;
}

static enum rc sign(struct delivery *d)
{
    struct relay_signer *signer = d->relay->conf.signer;
    if (!signer)
        return RC_OK;
    buf_init(&d->signatures, SIGNATURES_MAX);
    enum rc rc = signer->sign(signer, &d->entry.item, d->settings->hostname, &d->signatures);
    d->job.prefix = buf_str(&d->signatures);
    return rc;
}

/* The link may have ended meanwhile; under the mutex it does not. */
static void send_over_link(struct relay *relay, struct event *event, uint64_t now)
{
    struct delivery *d = CONTAINER(event, struct delivery, event);
    struct link *l = d->batch->link;
    d->job.done = sent;
    d->job.item = &d->entry.item;
    d->job.arena = &d->arena;
    if (!l || !l->session) {
        d->job.is_stale = true;
        take_result(relay, event, now);
        return;
    }
    const struct relay_target *target = &l->peer->target;
    d->is_lmtp = target->protocol == RELAY_LMTP;
    peer_text(l->peer, d->host);
    relay_session_send(l->session, &d->job);
}

static void give_back(struct delivery *d, const struct relay_outcome *outcome, uint64_t now)
{
    all_alike(d, outcome);
    translate(d, now);
    settle(d);
}

/* An administrator has sent it back: it ends here, and nobody is asked to take it. */
static const struct relay_outcome sent_back = {
    .rc = RC_PERM,
    .stage = RELAY_AT_OURSELVES,
    .status = "5.7.1",
    .text = STR_INIT("the administrator has taken the message out of the queue"),
};

static bool is_sent_back(const struct delivery *d)
{
    return d->entry.item.flags & QUEUE_RETURNED;
}

/* The link that waits for it is as good as before. */
static void return_beside_link(struct relay *relay, struct event *event, uint64_t now)
{
    struct delivery *d = CONTAINER(event, struct delivery, event);
    d->job.is_open = d->batch->link != NULL;
    d->job.is_stale = !d->batch->link;
    take_result(relay, event, now);
}

static void load(struct task_job *task)
{
    struct delivery *d = CONTAINER(task, struct delivery, task);
    uint64_t now = clock_wall(d->relay->ctx.clock);
    enum rc rc = load_item(d, now);
    if (rc == RC_OK && d->batch->kind == BATCH_SEND && !is_sent_back(d))
        rc = sign(d);
    d->is_again = rc != RC_OK && rc != RC_NOTFOUND;
    if (d->is_again)
        log_event(d->relay->ctx.log, LOG_ERROR, "not-loaded", "cause", rc_name(rc), NULL);
    if (rc == RC_OK && is_sent_back(d) && d->batch->kind == BATCH_SEND) {
        all_alike(d, &sent_back);
        tell(d, return_beside_link);
    } else if (rc == RC_OK && is_sent_back(d)) {
        give_back(d, &sent_back, now);
    } else if (rc == RC_OK && d->batch->kind != BATCH_SEND) {
        memcpy(d->host, d->batch->failure->host, sizeof d->host);
        give_back(d, &d->batch->failure->outcome, now);
    } else if (rc == RC_OK) {
        tell(d, send_over_link);
    } else {
        tell(d, dropped);
    }
}

void delivery_begin(struct relay *relay, struct batch *batch)
{
    struct delivery *d = mem_zero(sizeof *d);
    d->relay = relay;
    d->batch = batch;
    d->settings = relay->settings;
    atomic_fetch_add(&d->settings->refs, 1);
    list_init(&d->link);
    post(d, load);
}
