/* What is told of a session's messages to who asks later (trace.h): who handed them in, what was
 * checked, what was taken and what was refused. */
#include "smtpd/smtpd_int.h"

#include "trace/trace.h"

enum { PEER = 1024 };

static const char *const ways[SMTPD_ROLES] = {[SMTPD_MX] = "smtp",
                                              [SMTPD_SUBMISSION] = "submission",
                                              [SMTPD_LMTP] = "lmtp",
                                              [SMTPD_LOCAL] = "sendmail"};

static const char *way_of(const struct session *s)
{
    size_t role = 0;
    while (role + 1 < SMTPD_ROLES && s->role != &smtpd_roles[role])
        role++;
    return ways[role];
}

/* What every message of the session has in common. The text in `peer` is the caller's to free. */
static struct trace_event begin(struct session *s, enum trace_what what, struct buf *peer)
{
    const struct transaction *t = s->transaction;
    buf_init(peer, PEER);
    if (s->helo)
        buf_putf(peer, "%.256s ", s->helo);
    buf_putf(peer, "[%.*s] by %s", STR_ARG(net_peer_text(s->conn)), way_of(s));
    return (struct trace_event){.what = what,
                                .id = t ? str_of(t->id) : (struct str){0},
                                .sender = t ? &t->envelope.sender : NULL,
                                .peer = buf_str(peer),
                                .session = str_of(net_id(s->conn)),
                                .login = str_of(s->login),
                                .tls = net_is_secure(s->conn) ? net_tls_text(s->conn)
                                                              : (struct str){0}};
}

/* What was asked before it was taken, with what it came to. */
static void put_checks(const struct session *s, const struct message *m, struct buf *out)
{
    const struct transaction *t = s->transaction;
    size_t n_here = 0;
    for (size_t i = 0; i < t->n_copies; i++)
        n_here += t->copies[i].account != 0;
    bool is_limited = smtpd_limits_apply(s) && t->n_limits;
    if (s->role->is_local)
        buf_putf(out, "sender=%s signed=%s ", smtpd_local_is_trusted(s) ? "trusted" : "own",
                 t->is_vouched ? "yes" : "no");
    else if (s->role->is_submission)
        buf_putf(out, "sender=own author=%s ", s->smtpd->conf.is_any_from ? "any" : "own");
    buf_putf(out, "here=%zu elsewhere=%zu room=yes loop=%s", n_here, t->n_copies - n_here,
             m->is_unparsed ? "unknown, since the server crashed at the header twice" : "no");
    if (s->role->is_submission)
        buf_put(out, is_limited ? STR(" limit=within") : STR(" limit=none"));
}

/* All, or those who get it; in the transaction's memory. */
static const struct str *recipients_of(struct session *s, bool is_settled, size_t *out_n)
{
    struct transaction *t = s->transaction;
    struct str *to = arena_alloc(&t->arena, (t->n_recipients + 1) * sizeof *to);
    *out_n = 0;
    for (size_t i = 0; i < t->n_recipients; i++)
        if (!is_settled || smtpd_handover_result(s, i) == RC_OK)
            to[(*out_n)++] = t->recipients[i].address;
    return to;
}

static void say_refused(struct session *s, struct trace_event *e, enum smtpd_reply reply,
                        struct str words)
{
    struct buf text;
    buf_init(&text, 2048);
    smtpd_reply_put_words(reply, words, &text);
    e->reply = buf_str(&text);
    trace_event(s->smtpd->conf.trace, e);
    buf_fini(&text);
}

/* Where the addresses have led that stand for others: "sales@example.org: a mailbox here,
 * carol@elsewhere.test". */
static void put_ways(const struct transaction *t, struct buf *out)
{
    for (size_t i = 0; i < t->n_recipients; i++) {
        const struct recipient *r = &t->recipients[i];
        if (r->targets.n_outside == 0 && r->targets.n < 2 && !r->target.n)
            continue;
        buf_putf(out, "%s%.*s goes to ", buf_len(out) ? "; " : "", STR_ARG(r->address));
        if (r->targets.n)
            buf_putf(out, "%zu mailbox%s here", r->targets.n, r->targets.n == 1 ? "" : "es");
        for (size_t k = 0; k < r->targets.n_outside; k++)
            buf_putf(out, "%s%.*s", k || r->targets.n ? ", " : "", STR_ARG(r->targets.outside[k]));
        buf_put(out, r->target);
    }
}

void smtpd_trace_settled(struct session *s, const struct message *m)
{
    struct trace *trace = s->smtpd->conf.trace;
    struct buf peer, checks, led;
    if (!trace)
        return;
    struct trace_event e = begin(s, TRACE_ACCEPTED, &peer);
    buf_init(&checks, 256);
    buf_init(&led, 64 << 10); /* cut by trace; what does not fit is left out */
    put_checks(s, m, &checks);
    put_ways(s->transaction, &led);
    e.message_id = m->deliver.message_id;
    e.time = m->deliver.received; /* before what became of it */
    e.size = m->bytes;
    e.checks = buf_str(&checks);
    e.other = buf_str(&led);
    e.due = m->deliver.release;
    e.to = recipients_of(s, true, &e.n_to);
    if (e.n_to)
        trace_event(trace, &e);
    e.what = TRACE_REFUSED;
    e.time = e.due = 0;
    e.checks = e.other = (struct str){0};
    for (size_t i = 0; i < s->transaction->n_recipients; i++) {
        enum rc rc = smtpd_handover_result(s, i);
        e.to = &s->transaction->recipients[i].address;
        e.n_to = 1;
        if (rc != RC_OK)
            say_refused(s, &e, smtpd_reply_of_delivery(s, rc), (struct str){0});
    }
    buf_fini(&led);
    buf_fini(&checks);
    buf_fini(&peer);
}

void smtpd_trace_refused_saying(struct session *s, struct str to, enum smtpd_reply reply,
                                struct str words)
{
    const struct transaction *t = s->transaction;
    struct buf peer;
    if (!s->smtpd->conf.trace)
        return;
    struct trace_event e = begin(s, TRACE_REFUSED, &peer);
    if (s->message) {
        e.message_id = s->message->deliver.message_id;
        e.size = s->message->bytes;
    }
    if (to.n) {
        e.to = &to;
        e.n_to = 1;
        say_refused(s, &e, reply, words);
    } else if (t->n_recipients == 0) {
        say_refused(s, &e, reply, words);
    }
    for (size_t i = 0; !to.n && i < t->n_recipients; i++) {
        e.to = &t->recipients[i].address;
        e.n_to = 1;
        say_refused(s, &e, reply, words);
    }
    buf_fini(&peer);
}

void smtpd_trace_refused(struct session *s, struct str to, enum smtpd_reply reply)
{
    smtpd_trace_refused_saying(s, to, reply, (struct str){0});
}

void smtpd_trace_incomplete(struct session *s)
{
    struct buf peer;
    if (!s->smtpd->conf.trace)
        return;
    struct trace_event e = begin(s, TRACE_REFUSED, &peer);
    e.message_id = s->message->deliver.message_id;
    e.size = s->message->bytes;
    e.other = STR("the connection ended before the message was complete");
    e.to = recipients_of(s, false, &e.n_to);
    trace_event(s->smtpd->conf.trace, &e);
    buf_fini(&peer);
}

void smtpd_trace_no_sender(struct session *s, struct str sender, enum smtpd_reply reply)
{
    struct buf peer;
    if (!s->smtpd->conf.trace)
        return;
    struct trace_event e = begin(s, TRACE_REFUSED, &peer);
    e.sender = &sender;
    say_refused(s, &e, reply, (struct str){0});
    buf_fini(&peer);
}
