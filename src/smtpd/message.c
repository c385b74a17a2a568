/* A message on its way in: from the loop's input into a blob, then to deliver, then the answer.
 *
 * 1. 250 is said only when deliver's done() has brought RC_OK: the message is durable then
 * [RFC5321 6.1]; see handover.c.
 * 2. Whoever holds a blob gives it back: aborted while it is written, forgotten once it is finished
 * and settled.
 *
 * How its bytes come in is intake.c. When the peer is gone before the answer, a message that became
 * durable stays delivered. */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"

#include <stdlib.h>

/* A message may come back some times, forwarded and collected; not for ever. */
enum { OWN_HOPS = 10 };

enum { TRACE_MAX = 4096 }; /* our own fields: names and addresses of at most two lines' length */

/* --- beginning -------------------------------------------------------------------------------- */

/* Only there somebody may ask for its summary. */
static bool has_mailbox(const struct transaction *t)
{
    for (size_t i = 0; i < t->n_copies; i++)
        if (t->copies[i].account)
            return true;
    return false;
}

static enum rc write_trace(struct session *s, struct message *m)
{
    struct buf trace;
    buf_init(&trace, TRACE_MAX);
    smtpd_header_write(s, &trace);
    enum rc rc = trace.over ? RC_LIMIT : kv_blob_write(m->blob, buf_str(&trace));
    if (rc == RC_OK && has_mailbox(s->transaction))
        smtpd_summary_begin(m, buf_str(&trace));
    buf_fini(&trace);
    return rc;
}

/* The blob lies with whoever will refer to it first: the account, or the queue when there are
 * several. */
static struct kv_part part_of(const struct transaction *t)
{
    if (smtpd_transaction_is_direct(t))
        return (struct kv_part){KV_ACCOUNT, t->copies[0].account};
    return (struct kv_part){KV_QUEUE, 0};
}

void smtpd_message_open(struct session *s)
{
    struct transaction *t = s->transaction;
    struct message *m = mem_zero(sizeof *m);
    s->message = m;
    m->data.line_max = s->smtpd->conf.text_line;
    m->begun = clock_mono(s->smtpd->ctx->clock);
    m->net = net_of(s->conn);
    m->handle = net_handle(s->conn);
    smtpd_intake_begin(m);
    /* SIZE reserves nothing: memory is taken as the bytes come. */
    enum rc rc = smtpd_intake_charge(s, m, 1) ? RC_OK : RC_FULL;
    if (rc == RC_OK) {
        m->blob = kv_blob_new(s->smtpd->conf.kv, part_of(t), 0, 0);
        rc = write_trace(s, m);
    }
    if (rc != RC_OK)
        smtpd_intake_refuse(s, m, smtpd_reply_of_delivery(s, rc));
}

/* --- the end of it ---------------------------------------------------------------------------- */

static void log_message(struct session *s, struct log_line *l, const char *event)
{
    const struct transaction *t = s->transaction;
    smtpd_session_log(s, l, event);
    log_str(l, "to", t->recipients[0].address);
    if (t->n_recipients > 1)
        log_u64(l, "recipients", t->n_recipients);
    log_u64(l, "size", s->message->bytes);
}

static void log_other_recipients(struct session *s)
{
    const struct transaction *t = s->transaction;
    for (size_t i = 1; i < t->n_recipients; i++) {
        struct log_line l;
        smtpd_session_log(s, &l, "recipient");
        log_str(&l, "to", t->recipients[i].address);
        if (s->role->answers_each)
            log_text(&l, "rc", rc_name(smtpd_handover_result(s, i)));
        log_end(&l);
    }
}

static void log_refusal(struct session *s, enum smtpd_reply reply)
{
    struct log_line l;
    log_message(s, &l, "refused");
    smtpd_reply_log(&l, reply);
    log_end(&l);
    smtpd_trace_refused(s, (struct str){0}, reply);
}

static enum flow answer_refusal(struct session *s, struct message *m)
{
    smtpd_limits_give(s);
    m->stage = MESSAGE_SETTLED;
    log_refusal(s, m->refusal);
    smtpd_handover_refuse(s, m->refusal);
    smtpd_transaction_end(s);
    s->has_moved = true;
    return FLOW_NEXT;
}

enum flow smtpd_message_cut(struct session *s)
{
    answer_refusal(s, s->message);
    return FLOW_CLOSE;
}

/* What MAIL says comes before what the header does [RFC8689 4.1]. */
static unsigned tls_flag_of(const struct envelope *e, const struct header_facts *facts)
{
    return e->requires_tls ? QUEUE_REQUIRETLS : facts->is_tls_optional ? QUEUE_TLS_OPTIONAL : 0;
}

static uint16_t flags_of(const struct session *s, const struct message *m,
                         const struct header_facts *facts)
{
    const struct envelope *e = &s->transaction->envelope;
    return (uint16_t)((e->is_utf8 ? QUEUE_UTF8 : 0) | (e->is_binary ? QUEUE_BINARY : 0) |
                      (e->is_8bit ? QUEUE_8BIT : 0) | tls_flag_of(e, facts) |
                      (s->transaction->is_vouched ? QUEUE_SUBMITTED : 0) |
                      (smtpd_intake_is_ended(m) ? 0 : QUEUE_UNENDED));
}

/* Where it came from, for who looks for it later. */
static struct str origin_of(struct session *s)
{
    struct buf text;
    struct str peer = net_peer_text(s->conn);
    buf_init(&text, 512);
    buf_putf(&text, "%s %.*s", s->role->is_submission ? "submission" : "smtp", STR_ARG(peer));
    if (s->login)
        buf_putf(&text, " %s", s->login);
    if (s->role->is_local)
        buf_putf(&text, " uid %u", s->uid);
    struct str origin = arena_dup(&s->transaction->arena, buf_str(&text));
    buf_fini(&text);
    return origin;
}

/* Of the first recipient that is forwarded; absent: none is. */
static struct str forward_domain_of(const struct session *s)
{
    const struct transaction *t = s->transaction;
    for (size_t i = 0; i < t->n_recipients; i++) {
        struct str domain = str_domain(t->recipients[i].address);
        if (t->recipients[i].targets.n_outside)
            return str_is_null(domain) ? s->smtpd->conf.hostname : domain;
    }
    return (struct str){0};
}

/* Writes down for deliver what the envelope and the header tell. */
static void describe(struct session *s, struct message *m, const struct header_facts *facts)
{
    struct transaction *t = s->transaction;
    const struct envelope *e = &t->envelope;
    m->deliver = (struct deliver_message){
        .size = kv_blob_size(m->blob),
        .received = clock_wall(s->smtpd->ctx->clock),
        .sender = t->envelope.sender,
        .id = str_of(t->id),
        .message_id = facts->message_id,
        .references = facts->references,
        .n_references = facts->n_references,
        .recipients = t->copies,
        .n_recipients = t->n_copies,
        .forward_domain = forward_domain_of(s),
        .account = s->role->is_submission ? s->account : 0,
        .origin = smtpd_transaction_is_direct(t) ? (struct str){0} : origin_of(s),
        .ret = (uint8_t)e->ret,
        .flags = flags_of(s, m, facts),
        .envid = e->envid,
        .release = e->release,
        .hold = str_of(e->hold),
        .summary = smtpd_summary_of(m),
    };
}

/* What submission asks of a message that is complete. */
static enum flow check_submitted(struct session *s, struct message *m, struct header_facts *facts)
{
    enum rc rc = smtpd_intake_flush(s, m);
    if (rc != RC_OK) {
        smtpd_intake_refuse(s, m, smtpd_reply_of_delivery(s, rc));
        return FLOW_NEXT;
    }
    rc = smtpd_submission_check(s, buf_str(&m->head), facts);
    if (rc == RC_AGAIN && !net_can_block(s->conn))
        return FLOW_BLOCK;
    if (rc != RC_OK) {
        smtpd_intake_refuse(s, m, smtpd_reply_of_authors(rc));
        return FLOW_NEXT;
    }
    rc = smtpd_limits_take(s, net_can_block(s->conn) ? 0 : KV_CACHED);
    if (rc == RC_AGAIN && !net_can_block(s->conn))
        return FLOW_BLOCK;
    if (rc != RC_OK)
        smtpd_intake_refuse(s, m, rc == RC_LIMIT ? SMTPD_SEND_LIMIT_NOW : SMTPD_FAILED);
    return FLOW_NEXT;
}

/* An address here that forwards has forwarded it before. */
static bool has_been_here(const struct transaction *t, const struct header_facts *facts)
{
    for (size_t i = 0; i < t->n_recipients; i++)
        for (size_t k = 0; t->recipients[i].targets.n_outside && k < facts->n_delivered_to; k++)
            if (str_ieq(t->recipients[i].address, facts->delivered_to[k]))
                return true;
    return false;
}

/* What the header says, and whether the message is refused for it. */
static enum flow examine(struct session *s, struct message *m, struct header_facts *facts)
{
    smtpd_header_read(buf_str(&m->head), s->smtpd->conf.hostname, &s->transaction->arena, facts);
    m->deliver.message_id = facts->message_id; /* should it be refused */
    if (facts->hops > s->smtpd->conf.hops || facts->own_hops > OWN_HOPS ||
        has_been_here(s->transaction, facts))
        smtpd_intake_refuse(s, m, SMTPD_LOOP); /* [RFC5321 6.3] */
    if (!m->is_refused && s->role->is_submission)
        return check_submitted(s, m, facts);
    return FLOW_NEXT;
}

/* A message at whose header the server has crashed twice is stored as it is: without a look for
 * loops, without a thread, and not from a login, whose sender could not be checked. */
static void quarantine(struct session *s, struct message *m)
{
    struct log_line l;
    log_message(s, &l, "not-parsed");
    log_text(&l, "cause", "the server crashed at it twice");
    log_end(&l);
    m->is_unparsed = true;
    if (s->role->is_submission)
        smtpd_intake_refuse(s, m, smtpd_reply_of_delivery(s, RC_PERM));
}

static enum flow examine_in_hand(struct session *s, struct message *m, struct header_facts *facts)
{
    struct hand *hand = s->smtpd->conf.hand;
    struct hand_key key = smtpd_summary_key(s, m);
    if (hand_is_suspect(hand, key)) {
        quarantine(s, m);
        return FLOW_NEXT;
    }
    unsigned place = hand_take(hand, key);
    enum flow flow = examine(s, m, facts);
    hand_give(hand, place);
    return flow;
}

/* From the last byte to a finished blob. */
static enum flow complete(struct session *s, struct message *m)
{
    if (m->blob && kv_blob_is_large(m->blob) && !net_can_block(s->conn))
        return FLOW_BLOCK;
    struct header_facts facts = {0};
    if (!m->is_refused)
        smtpd_intake_end(s, m);
    if (!m->is_refused && examine_in_hand(s, m, &facts) == FLOW_BLOCK)
        return FLOW_BLOCK;
    if (m->is_refused)
        return answer_refusal(s, m);
    smtpd_summary_finish(m);
    describe(s, m, &facts);
    enum rc rc = kv_blob_finish(&m->blob, &m->blob_id);
    if (rc != RC_OK) {
        smtpd_intake_refuse(s, m, smtpd_reply_of_delivery(s, rc));
        return answer_refusal(s, m);
    }
    m->deliver.blob = m->blob_id;
    m->stage = MESSAGE_FINISHED;
    return FLOW_NEXT;
}

/* --- afterwards ------------------------------------------------------------------------------- */

/* Counts and logs what came of the message, and lets go of the blob. */
static void settle(struct session *s, struct message *m)
{
    struct counters *counters = s->smtpd->ctx->counters;
    struct log_line l;
    bool is_taken = false;
    for (size_t i = 0; i < s->transaction->n_recipients; i++)
        is_taken |= smtpd_handover_result(s, i) == RC_OK;
    log_message(s, &l, "received");
    log_text(&l, "rc", rc_name(smtpd_handover_result(s, 0)));
    log_end(&l);
    log_other_recipients(s);
    smtpd_trace_settled(s, m);
    if (is_taken) {
        counter_add(counters, COUNTER_SMTP_MESSAGES, 1);
        counter_add(counters, COUNTER_SMTP_BYTES, m->bytes);
    }
    if (!is_taken)
        smtpd_limits_give(s);
    kv_blob_forget(s->smtpd->conf.kv, m->blob_id);
    m->stage = MESSAGE_SETTLED;
}

static enum flow answer(struct session *s)
{
    settle(s, s->message);
    smtpd_handover_answer(s);
    smtpd_transaction_end(s); /* [RFC5321 4.1.1.4] */
    s->has_moved = true;
    return FLOW_NEXT;
}

enum flow smtpd_message_step(struct session *s)
{
    struct message *m = s->message;
    enum flow flow = FLOW_NEXT;
    if (m->stage == MESSAGE_RECEIVING)
        flow = smtpd_intake_data(s, m);
    if (flow == FLOW_CLOSE)
        return smtpd_message_cut(s);
    if (flow == FLOW_NEXT && m->stage == MESSAGE_COMPLETE) {
        flow = complete(s, m);
        if (s->message == NULL)
            return flow;
    }
    if (flow == FLOW_NEXT && m->stage == MESSAGE_FINISHED)
        flow = smtpd_handover_step(s, m);
    if (flow == FLOW_NEXT)
        flow = answer(s);
    return flow;
}

void smtpd_message_free(struct session *s)
{
    struct message *m = s->message;
    if (m == NULL)
        return;
    if (m->stage == MESSAGE_DELIVERING)
        settle(s, m); /* the peer has gone; what is durable stays */
    if (m->stage != MESSAGE_SETTLED) {
        struct log_line l;
        log_message(s, &l, "incomplete");
        log_end(&l);
        smtpd_trace_incomplete(s);
    }
    if (m->stage == MESSAGE_FINISHED)
        kv_blob_forget(s->smtpd->conf.kv, m->blob_id);
    if (m->blob)
        kv_blob_abort(&m->blob);
    smtpd_intake_discharge(s, m);
    smtpd_summary_end(m);
    buf_fini(&m->head);
    free(m);
    s->message = NULL;
}
