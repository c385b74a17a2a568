/* The session's frame: greeting, commands one after the other, time, shutdown, and its end.
 *
 * One step takes as many commands as there are whole lines, until the output is over its mark or
 * one has to wait [RFC2449 6.6]. The deadline starts anew with each command and each page that went
 * out, not with each byte. Without QUIT nothing is deleted, however a session ends.
 */
#include "pop3/pop3_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct pop3 *pop3_new(const struct ctx *ctx, const struct pop3_conf *conf)
{
    struct pop3 *pop3 = mem_zero(sizeof *pop3);
    struct pop3_conf *k = &pop3->conf;
    pop3->ctx = ctx;
    *k = *conf;
    k->login_ms = k->login_ms ? k->login_ms : 180 * 1000;
    k->idle_ms = k->idle_ms ? k->idle_ms : 600 * 1000; /* at least 10 minutes [RFC1939 3] */
    k->login_failures = k->login_failures ? k->login_failures : 5;
    k->errors = k->errors ? k->errors : 20;
    pop3_delays_init(&pop3->delays);
    return pop3;
}

void pop3_free(struct pop3 **pop3)
{
    if (*pop3)
        pop3_delays_fini(&(*pop3)->delays);
    free(*pop3);
    *pop3 = NULL;
}

unsigned pop3_flags(struct conn *c)
{
    return net_can_block(c) ? 0 : KV_CACHED;
}

static void begin(struct conn *c, struct pop3_session *s)
{
    s->pop3 = net_app(c);
    s->net = net_of(c);
    s->handle = net_handle(c);
    s->state = POP3_AUTHORIZATION;
    const char *name = s->pop3->conf.hostname;
    struct buf *out = net_out(c);
    buf_put(out, STR("+OK "));
    buf_put(out, str_of(name)); /* no timestamp: there is no APOP */
    pop3_put_line(out, name ? STR(" ") : STR(""), pop3_text_line(POP3_READY, 0), NULL);
    net_deadline(c, s->pop3->conf.login_ms);
}

/* [RFC2595 4]: what was said before TLS counts no longer. */
static void begin_again(struct conn *c, struct pop3_session *s)
{
    free(s->name);
    s->name = NULL;
    auth_exchange_end(&s->auth);
    s->is_sasl = false;
    net_deadline(c, s->pop3->conf.login_ms);
}

/* A password does not stay, whatever became of the line that it came in. */
static bool is_secret(const struct pop3_session *s, struct str line)
{
    return s->is_sasl || str_istarts(line, STR("PASS")) || str_istarts(line, STR("AUTH"));
}

static enum net_step run_line(struct conn *c, struct pop3_session *s, struct str line)
{
    bool must_go = is_secret(s, line);
    s->has_progress = true;
    enum net_step next = s->is_sasl ? pop3_auth_response(c, s, line) : pop3_command_run(c, s, line);
    if (must_go)
        net_wipe(c, line);
    return next;
}

static enum net_step no_line(struct conn *c, struct pop3_session *s, enum pop3_text text)
{
    return s->is_sasl ? pop3_auth_abort(c, s, text) : pop3_bad(c, s, text);
}

static enum net_step next_command(struct conn *c, struct pop3_session *s, bool *out_is_idle)
{
    struct str line;
    size_t used;
    enum pop3_input input = pop3_input_next(net_in(c), &s->is_skipping, &line, &used);
    enum net_step next = NET_READ;
    switch (input) {
    case POP3_INPUT_NONE:
        *out_is_idle = true;
        break;
    case POP3_INPUT_LINE:
        /* Consumed first: whatever waits, waits behind this command; the view stays. */
        net_consume(c, used);
        return run_line(c, s, line);
    case POP3_INPUT_BARE:
        next = no_line(c, s, POP3_BARE);
        break;
    case POP3_INPUT_TOO_LONG:
        next = no_line(c, s, POP3_TOO_LONG);
        break;
    }
    net_consume(c, used);
    return next;
}

static enum net_step say_goodbye(struct conn *c, struct pop3_session *s)
{
    s->end = "shutdown";
    pop3_err(c, POP3_SHUTTING_DOWN);
    return NET_CLOSE;
}

static enum net_step run(struct conn *c, struct pop3_session *s)
{
    bool is_idle = false;
    while (!is_idle) {
        enum net_step next;
        if (s->go_on)
            next = s->go_on(c, s);
        else if (s->is_draining)
            return say_goodbye(c, s);
        else if (net_out_is_full(c))
            return NET_MORE;
        else
            next = next_command(c, s, &is_idle);
        if (next != NET_READ)
            return next;
    }
    return NET_READ;
}

static enum net_step kick(struct conn *c, struct pop3_session *s)
{
    bool is_over = auth_session_ending(s->entry) == AUTH_SESSION_OVER;
    s->end = is_over ? "login" : "kicked";
    if (!s->go_on) /* within an answer there is no place for words of our own */
        pop3_err(c, is_over ? POP3_LOGIN_OVER : POP3_KICKED);
    return NET_CLOSE;
}

static enum net_step step(struct conn *c, unsigned events)
{
    struct pop3_session *s = net_session(c);
    if (events & NET_EV_OPEN)
        begin(c, s);
    if (events & NET_EV_TLS)
        begin_again(c, s);
    s->is_draining = s->is_draining || events & NET_EV_DRAIN;
    /* Once QUIT has been taken, the rest of it is done before anything else ends the session. */
    if (events & NET_EV_TIMEOUT && s->state != POP3_UPDATE) {
        s->end = "timeout";
        return NET_ABORT; /* nothing is said and nothing removed [RFC1939 3] */
    }
    if (events & NET_EV_KICK && s->state != POP3_UPDATE)
        return kick(c, s);
    s->has_progress = false;
    enum net_step next = run(c, s);
    if (s->has_progress)
        auth_session_moved(s->entry);
    if (s->state != POP3_AUTHORIZATION && s->has_progress)
        net_deadline(c, s->pop3->conf.idle_ms);
    return next;
}

void pop3_session_end(struct conn *c, struct pop3_session *s)
{
    const struct pop3_drop *d = &s->drop;
    struct log_line l;
    pop3_reading_close(&s->reading);
    if (d->root) {
        net_log(c, &l, LOG_INFO, "collected");
        log_u64(&l, "account", store_account_id(d->account));
        log_u64(&l, "messages", d->n);
        log_u64(&l, "retrieved", d->retrieved);
        log_u64(&l, "bytes", d->bytes_retrieved);
        log_u64(&l, "deleted", d->uids_at);
        log_text(&l, "end", s->end ? s->end : "closed");
        log_end(&l);
    }
    pop3_drop_close(&s->drop);
}

static void closed(struct conn *c)
{
    struct pop3_session *s = net_session(c);
    pop3_session_end(c, s);
    auth_session_close(&s->entry);
    auth_exchange_end(&s->auth);
    free(s->name);
    s->name = NULL;
}

const struct net_proto pop3_proto = {
    .name = "pop3",
    .session_size = sizeof(struct pop3_session),
    .input_max = POP3_INPUT_MAX,
    .output_high = POP3_OUTPUT_HIGH,
    .busy = "-ERR [SYS/TEMP] too many connections, try again later\r\n",
    .step = step,
    .close = closed,
};
