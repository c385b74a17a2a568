/* From a finished blob to deliver, and from deliver's word to the answer.
 *
 * SMTP gives one answer for all recipients, here and elsewhere, so the message is handed over in
 * one part: one commit. LMTP gives one for each [RFC2033 4.2], so each recipient is a part and a
 * commit of its own: 250 for one means that its copy is in its mailbox, or in the queue when the
 * address leads to several.
 *
 * 1. Each account belongs to one part, that of the first recipient that leads to it, and gets one
 * copy. A recipient's result is that of the parts that its accounts belong to; the worst one
 * counts.
 * 2. Several parts are handed over where it is allowed to wait, so that none is under way while the
 * session moves. The session waits until the last of them is done. */
#include "smtpd/smtpd_int.h"

struct part {
    struct deliver_op op; /* with its result */
    struct message *message;
    size_t first, n; /* copies of the transaction */
};

static void part_by_recipient(struct transaction *t, struct message *m)
{
    m->n_parts = t->n_recipients;
    m->parts = arena_zero(&t->arena, m->n_parts * sizeof *m->parts);
    for (size_t i = 0; i < m->n_parts; i++) {
        m->parts[i].first = t->recipients[i].first;
        m->parts[i].n = t->recipients[i].n;
    }
}

static void part_not(struct transaction *t, struct message *m)
{
    m->n_parts = 1;
    m->parts = arena_zero(&t->arena, sizeof *m->parts);
    m->parts[0].n = t->n_copies;
}

static void delivered(struct deliver_op *op)
{
    struct message *m = CONTAINER(op, struct part, op)->message;
    struct net *net = m->net;
    struct net_handle handle = m->handle;
    if (atomic_fetch_sub(&m->n_pending, 1) == 1)
        net_resume(net, handle); /* the session's owner may free m from here on */
}

static enum rc hand_over(struct session *s, struct message *m, struct part *p, unsigned flags)
{
    struct deliver_message d = m->deliver;
    p->message = m;
    p->op.done = delivered;
    d.recipients += p->first;
    d.n_recipients = p->n;
    atomic_fetch_add(&m->n_pending, 1);
    enum rc rc = deliver_message(s->smtpd->conf.deliver, &d, flags, &p->op);
    if (rc == RC_OK)
        return RC_OK;
    atomic_fetch_sub(&m->n_pending, 1);
    p->op.rc = rc;
    return rc;
}

enum flow smtpd_handover_step(struct session *s, struct message *m)
{
    unsigned flags = net_can_block(s->conn) ? 0 : KV_CACHED;
    if (m->parts == NULL && s->role->answers_each)
        part_by_recipient(s->transaction, m);
    else if (m->parts == NULL)
        part_not(s->transaction, m);
    if (m->n_parts > 1 && flags)
        return FLOW_BLOCK;
    atomic_store(&m->n_pending, 1); /* this call's own */
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].n > 0 && hand_over(s, m, &m->parts[i], flags) == RC_AGAIN && flags)
            return FLOW_BLOCK; /* the only one */
    m->stage = MESSAGE_DELIVERING;
    return atomic_fetch_sub(&m->n_pending, 1) == 1 ? FLOW_NEXT : FLOW_WAIT;
}

/* --- the results ------------------------------------------------------------------------------ */

static const struct part *part_of(const struct message *m, size_t copy)
{
    const struct part *p = m->parts;
    while (copy - p->first >= p->n)
        p++;
    return p;
}

static enum rc result_of(const struct transaction *t, const struct message *m, size_t recipient)
{
    const struct recipient *r = &t->recipients[recipient];
    for (size_t i = 0; i < t->n_copies; i++) {
        uint64_t account = t->copies[i].account;
        bool is_its = i - r->first < r->n || (account && smtpd_recipient_has(r, account));
        if (is_its && part_of(m, i)->op.rc != RC_OK)
            return part_of(m, i)->op.rc;
    }
    return RC_OK;
}

enum rc smtpd_handover_result(const struct session *s, size_t recipient)
{
    const struct message *m = s->message;
    return m->n_parts == 1 ? m->parts[0].op.rc : result_of(s->transaction, m, recipient);
}

void smtpd_handover_answer(struct session *s)
{
    struct transaction *t = s->transaction;
    size_t n = s->role->answers_each ? t->n_recipients : 1;
    uint32_t errors = s->errors;
    for (size_t i = 0; i < n; i++) {
        enum smtpd_reply reply = smtpd_reply_of_delivery(s, smtpd_handover_result(s, i));
        struct buf b;
        buf_init(&b, 64);
        buf_putf(&b, "message %s accepted", t->id);
        if (reply == SMTPD_ACCEPTED)
            smtpd_reply_say_text(s, reply, buf_str(&b));
        else
            smtpd_reply_say(s, reply);
        s->idle_commands = reply == SMTPD_ACCEPTED ? 0 : s->idle_commands;
        buf_fini(&b);
    }
    smtpd_reply_count_once(s, errors);
}

void smtpd_handover_refuse(struct session *s, enum smtpd_reply reply)
{
    size_t n = s->role->answers_each ? s->transaction->n_recipients : 1;
    uint32_t errors = s->errors;
    for (size_t i = 0; i < n; i++)
        smtpd_reply_say(s, reply);
    smtpd_reply_count_once(s, errors);
}
