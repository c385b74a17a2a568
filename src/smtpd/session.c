/* A session: from the greeting to the last reply, one step at a time.
 *
 * step() looks at the events, then takes from the input as long as something can be done; all
 * replies of a pipelined batch gather in the output and leave in one write [RFC2920 3.2]. What has
 * to wait says so by its flow, and the same command comes again.
 *
 * 1. A command stays in the input until it has been answered.
 * 2. There is a message only within a transaction, a transaction only after EHLO or HELO.
 * 3. When the server stops, a transaction that is under way is answered first, then comes 421.
 */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"

#include <stdlib.h>

static void say_greeting(struct session *s)
{
    struct buf text;
    buf_init(&text, 512);
    buf_putf(&text, "%.*s %s Penfold", STR_ARG(s->smtpd->conf.hostname), /* [RFC5321 4.2] */
             s->role->protocol);
    smtpd_reply_say_text(s, SMTPD_GREETING, buf_str(&text));
    buf_fini(&text);
}

static void session_open(struct session *s, struct conn *c)
{
    s->conn = c;
    const struct smtpd_service *service = net_app(c);
    s->smtpd = service->smtpd;
    s->role = service->role;
    s->lines.max = s->smtpd->conf.command_line;
    if (s->lines.max < s->role->line_max)
        s->lines.max = s->role->line_max;
    s->has_moved = true;
    if (s->role->is_local)
        smtpd_local_open(s);
    say_greeting(s);
}

void smtpd_session_reset(struct session *s)
{
    smtpd_transaction_end(s);
    free(s->helo);
    s->helo = NULL;
    s->is_esmtp = false;
}

void smtpd_session_log(struct session *s, struct log_line *l, const char *event)
{
    struct transaction *t = s->transaction;
    net_log(s->conn, l, LOG_INFO, event);
    log_text(l, "message", t->id);
    log_str(l, "from", t->envelope.sender);
    if (s->login)
        log_text(l, "login", s->login);
}

static enum flow say_goodbye(struct session *s, enum smtpd_reply reply)
{
    smtpd_reply_say(s, reply);
    return FLOW_CLOSE;
}

/* What ends a session between two commands. */
static enum flow look_around(struct session *s)
{
    if (s->errors >= s->smtpd->conf.errors)
        return say_goodbye(s, SMTPD_TOO_MANY_ERRORS);
    if (s->idle_commands > s->smtpd->conf.idle_commands)
        return say_goodbye(s, SMTPD_TOO_IDLE);
    if (s->is_kicked)
        return say_goodbye(s, smtpd_reply_of_ending(auth_session_ending(s->entry)));
    if (s->is_draining && s->transaction == NULL)
        return say_goodbye(s, SMTPD_STOPPING);
    return FLOW_NEXT;
}

/* What the input is at the moment: octets of a chunk, a message, a step of AUTH, or commands. */
static enum flow go_on(struct session *s)
{
    if (s->chunk.is_open)
        return smtpd_intake_chunk(s);
    if (s->message && s->message->stage != MESSAGE_PAUSED)
        return smtpd_message_step(s);
    return s->exchange ? smtpd_auth_step(s) : smtpd_command_step(s);
}

static enum net_step run(struct session *s)
{
    static const enum net_step steps[] = {
        [FLOW_READ] = NET_READ, [FLOW_BLOCK] = NET_SHORT, [FLOW_WAIT] = NET_WAIT,
        [FLOW_TLS] = NET_TLS,   [FLOW_CLOSE] = NET_CLOSE,
    };
    enum flow flow;
    do {
        if (net_out_is_full(s->conn))
            return NET_MORE;
        flow = go_on(s);
        if (flow == FLOW_NEXT)
            flow = look_around(s);
    } while (flow == FLOW_NEXT);
    return steps[flow];
}

/* A deadline for a whole command, not for each byte of it; and one for a message's progress
 * [RFC5321 4.5.3.2]. */
static void set_deadline(struct session *s)
{
    if (s->has_moved)
        auth_session_moved(s->entry);
    if (s->message || s->chunk.is_open)
        net_deadline(s->conn, smtpd_intake_patience(s));
    else if (s->has_moved)
        net_deadline(s->conn, s->smtpd->conf.command_ms);
    s->has_moved = false;
}

/* Who was about to be refused hears why. */
static void say_timeout(struct session *s)
{
    if (s->message && s->message->is_refused)
        smtpd_message_cut(s);
    else
        smtpd_reply_say(s, SMTPD_TIMEOUT);
}

static enum net_step session_step(struct conn *c, unsigned events)
{
    struct session *s = net_session(c);
    if (events & NET_EV_OPEN)
        session_open(s, c);
    if (events & NET_EV_TLS) {
        smtpd_auth_forget(s);
        smtpd_session_reset(s); /* nothing said before TLS counts [RFC3207 4.2] */
        s->has_moved = true;
    }
    if (events & NET_EV_DRAIN)
        s->is_draining = true;
    bool is_answer_due = s->message && s->message->stage >= MESSAGE_COMPLETE;
    if ((events & NET_EV_TIMEOUT) && !is_answer_due) {
        say_timeout(s);
        return NET_CLOSE;
    }
    s->is_kicked |= (events & NET_EV_KICK) != 0;
    if (s->is_kicked && !is_answer_due) {
        smtpd_reply_say(s, smtpd_reply_of_ending(auth_session_ending(s->entry)));
        return NET_CLOSE;
    }
    if (s->is_draining && s->transaction == NULL) {
        smtpd_reply_say(s, SMTPD_STOPPING);
        return NET_CLOSE;
    }
    enum net_step next = run(s);
    if (next == NET_READ || next == NET_MORE)
        set_deadline(s);
    return next;
}

static void session_close(struct conn *c)
{
    struct session *s = net_session(c);
    smtpd_auth_forget(s);
    smtpd_session_reset(s);
}

#define PROTO(proto_name)                                                                          \
    {                                                                                              \
        .name = proto_name, .session_size = sizeof(struct session), .input_max = SMTPD_INPUT,      \
        .output_high = 16 << 10, .busy = "421 4.7.0 too many connections, try again later\r\n",    \
        .step = session_step, .close = session_close                                               \
    }

const struct net_proto smtpd_protos[SMTPD_ROLES] = {
    [SMTPD_MX] = PROTO("smtp"),
    [SMTPD_SUBMISSION] = PROTO("submission"),
    [SMTPD_LMTP] = PROTO("lmtp"),
    [SMTPD_LOCAL] = PROTO("sendmail"),
};
