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
                                .id = str_of(t->id),
                                .sender = &t->envelope.sender,
                                .peer = buf_str(peer),
                                .session = str_of(net_id(s->conn)),
                                .login = str_of(s->login),
                                .tls = net_is_secure(s->conn) ? net_tls_text(s->conn)
                                                              : (struct str){0}};
}

/* What was asked before it was taken, with what it came to. */
static void put_checks(const struct session *s, struct buf *out)
{
    const struct transaction *t = s->transaction;
    size_t n_here = 0;
    for (size_t i = 0; i < t->n_copies; i++)
        n_here += t->copies[i].account != 0;
    if (s->role->is_submission)
        buf_putf(out, "sender=own author=%s ", s->smtpd->conf.is_any_from ? "any" : "own");
    buf_putf(out, "here=%zu elsewhere=%zu room=yes loop=no", n_here, t->n_copies - n_here);
}

/* Those with that result; *out_n of them, in the transaction's memory. */
static const struct str *recipients_with(struct session *s, bool is_ok, size_t *out_n)
{
    struct transaction *t = s->transaction;
    struct str *to = arena_alloc(&t->arena, (t->n_recipients + 1) * sizeof *to);
    *out_n = 0;
    for (size_t i = 0; i < t->n_recipients; i++)
        if ((smtpd_handover_result(s, i) == RC_OK) == is_ok)
            to[(*out_n)++] = t->recipients[i].address;
    return to;
}

static void say_refused(struct session *s, struct trace_event *e, enum smtpd_reply reply)
{
    struct buf text;
    buf_init(&text, 2048);
    smtpd_reply_put_words(reply, &text);
    e->reply = buf_str(&text);
    trace_event(s->smtpd->conf.trace, e);
    buf_fini(&text);
}

void smtpd_trace_settled(struct session *s, const struct message *m)
{
    struct trace *trace = s->smtpd->conf.trace;
    struct buf peer, checks;
    if (!trace)
        return;
    struct trace_event e = begin(s, TRACE_ACCEPTED, &peer);
    buf_init(&checks, 256);
    put_checks(s, &checks);
    e.message_id = m->deliver.message_id;
    e.time = m->deliver.received; /* before what became of it */
    e.size = m->bytes;
    e.checks = buf_str(&checks);
    e.to = recipients_with(s, true, &e.n_to);
    if (e.n_to)
        trace_event(trace, &e);
    e.what = TRACE_REFUSED;
    e.time = 0;
    e.checks = (struct str){0};
    for (size_t i = 0; i < s->transaction->n_recipients; i++) {
        enum rc rc = smtpd_handover_result(s, i);
        e.to = &s->transaction->recipients[i].address;
        e.n_to = 1;
        if (rc != RC_OK)
            say_refused(s, &e, smtpd_reply_of_delivery(s, rc));
    }
    buf_fini(&checks);
    buf_fini(&peer);
}

void smtpd_trace_refused(struct session *s, struct str to, enum smtpd_reply reply)
{
    const struct transaction *t = s->transaction;
    struct buf peer;
    if (!s->smtpd->conf.trace)
        return;
    struct trace_event e = begin(s, TRACE_REFUSED, &peer);
    if (to.n) {
        e.to = &to;
        e.n_to = 1;
        say_refused(s, &e, reply);
    } else if (t->n_recipients == 0) {
        say_refused(s, &e, reply);
    }
    for (size_t i = 0; !to.n && i < t->n_recipients; i++) {
        e.to = &t->recipients[i].address;
        e.n_to = 1;
        say_refused(s, &e, reply);
    }
    buf_fini(&peer);
}
