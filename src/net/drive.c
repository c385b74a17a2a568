/* What happens next with a connection: the one place that calls step() and obeys its result.
 *
 * conn_drive is called on the loop's thread whenever anything has happened (readiness, an event, a
 * timer, a hand-back) and does all that can be done; each phase is a function that makes one turn.
 * Invariants:
 *  1. In HANDS_LANE and HANDS_WAIT nothing of the session is read or written here; the way back is
 *     WORD_BACK or NET_EV_RESUME in the slot's word.
 *  2. Whenever a connection is left to its loop, a timer is set that fires no later than the next
 *     thing that is due; a thing that moves away costs nothing, the timer finds out when it fires.
 *  3. Every turn ends in TURN_IDLE only when an edge, an event or the timer will come. */
#include "net/net_int.h"

#include <sys/socket.h>

enum turn { TURN_AGAIN, TURN_IDLE, TURN_GONE };

enum { TURNS = 32, LINGER_MS = 2000, RETRY_MS = 20, RETRIES_PER_MS = 20 };

/* What reaches a session although its output waits. */
enum { URGENT = NET_EV_TIMEOUT | NET_EV_DRAIN | NET_EV_KICK | NET_EV_RESUME };

static enum turn end(struct conn *c)
{
    conn_end(c);
    return TURN_GONE;
}

/* Of a connection of ours the session is told, and says more about it than could be said here. */
static enum turn end_because(struct conn *c, enum net_failure failure, const char *event,
                             const char *cause)
{
    dial_fail(c, failure, cause);
    if (!c->ours)
        conn_log(c, LOG_INFO, event, cause);
    return end(c);
}

static uint64_t from_now(struct conn *c, uint64_t ms)
{
    return loop_now(c->loop) + ms * NS_PER_MS;
}

static void see_kept_input(struct conn *c)
{
    struct str in = buf_str(&c->in);
    c->in_p = in.p;
    c->in_n = in.n;
}

static unsigned take_events(struct conn *c, unsigned mask)
{
    uint32_t sent = slots_peek(&c->loop->slots, c->slot) & mask;
    unsigned own = c->events & mask;
    if (sent)
        slots_clear(&c->loop->slots, c->slot, sent);
    c->is_kicked = c->is_kicked || sent & NET_EV_KICK;
    c->events &= ~mask;
    return sent | own;
}

/* --- workers */

static void give_back(struct conn *c)
{
    loop_post(c->loop, c->slot, c->generation, WORD_BACK); /* c is the loop's from here */
}

static void run_step_on_lane(struct task_job *job)
{
    struct conn *c = CONTAINER(job, struct conn, job);
    c->can_block = true;
    c->last = c->conf->proto->step(c, c->job_events);
    c->can_block = false;
    give_back(c);
}

static void run_handshake_on_lane(struct task_job *job)
{
    struct conn *c = CONTAINER(job, struct conn, job);
    c->handshake = tls_handshake(c->tls, &c->cause);
    give_back(c);
}

/* A lane that is full is asked again soon: the session waits, nothing is lost. */
static enum turn to_lane(struct conn *c, struct task_lane *lane, void (*run)(struct task_job *job))
{
    struct net *net = c->loop->net;
    c->retry_at = 0;
    c->job.run = run;
    c->hands = HANDS_LANE;
    atomic_fetch_add(&net->in_lanes, 1);
    enum rc rc = lane ? task_lane_post(lane, &c->job) : RC_TEMP;
    if (rc == RC_OK)
        return TURN_IDLE;
    atomic_fetch_sub(&net->in_lanes, 1);
    c->hands = HANDS_LOOP;
    if (rc != RC_LIMIT)
        return end_because(c, NET_FAILED_HERE, "connection-dropped", "no worker lane");
    c->retry_at = from_now(c, RETRY_MS);
    return TURN_IDLE;
}

static enum turn step_to_lane(struct conn *c)
{
    const struct net_conf *conf = &c->loop->net->conf;
    if (c->retry_at > loop_now(c->loop))
        return TURN_IDLE;
    see_kept_input(c);
    c->is_leaving = c->is_closing;
    c->job_events = take_events(c, WORD_EVENTS);
    if (c->job_events & NET_EV_EOF)
        c->is_eof_told = true;
    enum turn turn =
        to_lane(c, c->last == NET_SHORT ? conf->short_lane : conf->heavy_lane, run_step_on_lane);
    if (turn == TURN_IDLE && c->hands == HANDS_LOOP)
        c->events |= c->job_events;
    return turn;
}

/* --- the protocol's phase */

static uint64_t handshake_ms(struct conn *c)
{
    return c->ours && c->ours->handshake_ms ? c->ours->handshake_ms
                                            : atomic_load(&c->loop->net->greeting_ms);
}

static enum turn begin_tls(struct conn *c)
{
    if (c->ours ? !c->ours->tls : !net_has_tls(c))
        return end_because(c, NET_FAILED_HERE, "connection-dropped", "no TLS to start");
    /* Bytes that arrived before STARTTLS was answered could be taken for protected ones: they were
     * put there by somebody in between, or the client has guessed [RFC3207 4.2]. So it is with
     * what a server sends behind its answer. */
    if (buf_len(&c->in) > 0 || (c->layer && buf_len(&c->layer->in)) || io_has_early_bytes(c))
        return end_because(c, NET_FAILED_TLS, "starttls-refused",
                           c->ours ? "bytes in clear behind the answer to STARTTLS"
                                   : "bytes before the answer to STARTTLS");
    c->is_readable = c->is_closing; /* an edge tells of the first byte of the handshake */
    c->phase = PHASE_START_TLS;
    c->deadline = from_now(c, handshake_ms(c));
    return TURN_AGAIN;
}

static enum turn begin_close(struct conn *c)
{
    c->phase = PHASE_CLOSE;
    c->deadline = from_now(c, c->is_kicked ? LINGER_MS : c->loop->net->conf.limits.stall_ms);
    return TURN_AGAIN;
}

static enum turn begin_wait(struct conn *c)
{
    enum rc rc = io_flush(c); /* the peer may have a use for the earlier answers meanwhile */
    if (rc == RC_EOF)
        c->is_broken = true;
    if (slots_peek(&c->loop->slots, c->slot) & NET_EV_RESUME)
        return TURN_AGAIN; /* it came before the step returned */
    c->hands = HANDS_WAIT;
    return TURN_IDLE;
}

static enum turn change_layer(struct conn *c)
{
    bool is_on = c->last == NET_COMPRESS;
    if (is_on == net_is_compressed(c) || (is_on && !c->may_compress))
        return end_because(c, NET_FAILED_HERE, "connection-dropped", "no compression to change");
    if (is_on)
        layer_open(c);
    else
        layer_close(c);
    c->last = NET_READ;
    if (buf_len(&c->in)) /* what has come is yet to be looked at */
        c->events |= NET_EV_INPUT;
    return TURN_AGAIN;
}

/* Obeys what step() said. */
static enum turn after_step(struct conn *c)
{
    io_keep(c);
    if (c->is_cut || c->last == NET_ABORT)
        return end(c);
    if (c->out.over)
        return end_because(c, NET_FAILED_HERE, "connection-dropped", "output over its cap");
    if (!c->deadline)
        c->deadline = from_now(c, atomic_load(&c->loop->net->greeting_ms));
    if (c->last == NET_READ && buf_len(&c->in) >= c->conf->proto->input_max)
        return end_because(c, NET_FAILED_INPUT, "connection-dropped",
                           "input that cannot be understood");
    if (c->last == NET_CLOSE || (c->last == NET_READ && c->is_eof_told))
        return begin_close(c);
    if (c->last == NET_WAIT)
        return begin_wait(c);
    if (c->last == NET_TLS)
        return begin_tls(c);
    if (c->last == NET_COMPRESS || c->last == NET_EXPAND)
        return change_layer(c);
    /* A reset may have come together with the input, in one edge that does not tell of it. An
     * answer would find out when it is sent; without one, another read does. */
    if (c->last == NET_READ && buf_len(&c->out) == 0)
        c->is_readable = true;
    return TURN_AGAIN;
}

static unsigned read_events(struct conn *c)
{
    if (!c->is_readable || c->is_eof || c->last != NET_READ)
        return 0;
    enum rc rc = io_read(c);
    if (rc == RC_OK)
        return NET_EV_INPUT;
    return rc == RC_EOF ? NET_EV_EOF : 0;
}

/* What another host has sent before the connection broke is looked at all the same, whatever the
 * session was about: it may say why. */
static bool is_over(struct conn *c)
{
    if (!c->is_broken)
        return false;
    dial_fail(c, NET_FAILED_BROKEN, NULL);
    if (!c->ours || !c->is_readable || c->is_eof)
        return true;
    c->last = NET_READ;
    return false;
}

static enum turn turn_step(struct conn *c)
{
    bool is_waiting = io_flush(c) == RC_AGAIN;
    if (is_over(c))
        return end(c);
    if (c->last == NET_SHORT || c->last == NET_HEAVY)
        return step_to_lane(c);
    unsigned events = take_events(c, is_waiting ? URGENT : WORD_EVENTS);
    if (!is_waiting)
        events |= read_events(c);
    if (c->is_broken && !(c->ours && (events & NET_EV_INPUT)))
        return end(c);
    if (!events && (is_waiting || c->last != NET_MORE))
        return TURN_IDLE;
    if (!c->is_in_scratch)
        see_kept_input(c);
    if (events & NET_EV_EOF)
        c->is_eof_told = true;
    c->is_leaving = c->is_closing;
    c->last = c->conf->proto->step(c, events);
    return after_step(c);
}

/* --- TLS */

/* The more connections there are, the longer each waits before it asks again. */
static enum turn wait_for_turn(struct conn *c)
{
    struct net *net = c->loop->net;
    if (!c->retry_at)
        counter_add(net->ctx->counters, COUNTER_TLS_DELAYED, 1);
    c->retry_at = from_now(c, RETRY_MS + limits_count(&net->limits) / RETRIES_PER_MS);
    return TURN_IDLE;
}

static enum turn turn_start_tls(struct conn *c)
{
    enum rc rc = io_flush(c);
    if (rc != RC_OK)
        return rc == RC_AGAIN ? TURN_IDLE : end(c);
    if (!(c->is_readable || c->ours) || c->retry_at > loop_now(c->loop))
        return TURN_IDLE;
    if (!conn_take_handshake(c))
        return wait_for_turn(c);
    c->retry_at = 0;
    c->phase = PHASE_HANDSHAKE;
    if (c->ours) {
        c->tls = c->ours->tls;
        c->ours->tls = NULL;
        c->handshake = HANDSHAKE_WANTS_WRITE; /* the client speaks first */
        return TURN_AGAIN;
    }
    c->handshake = HANDSHAKE_WANTS_READ;
    c->tls = c->conf->tls ? tls_new(c->conf->tls, c) : NULL;
    return c->tls ? TURN_AGAIN
                  : end_because(c, NET_FAILED_HERE, "connection-dropped", "no TLS to start");
}

static enum turn after_handshake(struct conn *c);

/* The session has had its first step. */
static bool is_begun(const struct conn *c)
{
    return c->ours ? c->ours->is_told : c->is_open;
}

/* The flags are cleared before the worker begins: an edge that comes meanwhile sets them again. */
static enum turn turn_handshake(struct conn *c)
{
    bool can_go_on = c->handshake == HANDSHAKE_WANTS_READ ? c->is_readable : !c->is_blocked;
    if (!can_go_on || c->retry_at > loop_now(c->loop))
        return TURN_IDLE;
    bool was_readable = c->is_readable;
    c->is_readable = false;
    c->is_blocked = true;
    if (tls_is_light(c->tls)) {
        c->handshake = tls_handshake(c->tls, &c->cause);
        return after_handshake(c);
    }
    enum turn turn = to_lane(c, c->loop->net->conf.short_lane, run_handshake_on_lane);
    if (turn == TURN_IDLE && c->hands == HANDS_LOOP) {
        c->is_readable = was_readable;
        c->is_blocked = false;
    }
    return turn;
}

static enum turn after_handshake(struct conn *c)
{
    struct counters *counters = net_ctx(c)->counters;
    if (c->is_cut)
        return end(c);
    if (c->handshake == HANDSHAKE_FAILED) {
        counter_add(counters, c->ours ? COUNTER_DIAL_TLS_FAILURES : COUNTER_TLS_FAILURES, 1);
        if (c->ours)
            tls_client_explain(c->tls, c->cause, &c->ours->error);
        return end_because(c, NET_FAILED_TLS, "tls-failed", c->cause);
    }
    if (c->handshake != HANDSHAKE_DONE)
        return TURN_AGAIN;
    counter_add(counters, c->ours ? COUNTER_DIAL_HANDSHAKES : COUNTER_TLS_HANDSHAKES, 1);
    conn_give_handshake(c);
    c->events |= is_begun(c) ? NET_EV_TLS : NET_EV_OPEN | NET_EV_SECURE;
    c->is_open = c->is_secure = true;
    if (c->ours)
        c->ours->is_told = true;
    c->is_readable = true; /* the first data may have come with the handshake's end */
    c->is_blocked = false;
    c->phase = PHASE_STEP;
    c->last = NET_READ;
    c->deadline = from_now(c, atomic_load(&c->loop->net->greeting_ms));
    return TURN_AGAIN;
}

/* --- the end */

static enum turn turn_close(struct conn *c)
{
    if (c->tls)
        tls_end_follows(c->tls);
    enum rc rc = io_flush(c);
    if (rc == RC_AGAIN)
        return TURN_IDLE;
    if (rc == RC_OK && c->tls)
        tls_bye(c->tls);
    /* Closing a socket with unread input resets the connection, and the reset overtakes the last
     * answer. */
    if (rc != RC_OK || c->is_eof || c->ours || (!c->is_readable && !io_has_early_bytes(c)))
        return end(c);
    conn_close_session(c);
    if (shutdown(c->fd, SHUT_WR) != 0)
        return end(c);
    c->phase = PHASE_LINGER;
    c->deadline = from_now(c, LINGER_MS);
    return TURN_AGAIN;
}

static enum turn turn_linger(struct conn *c)
{
    if (!c->is_readable)
        return TURN_IDLE;
    if (!io_discard(c))
        return end(c);
    return c->is_readable ? TURN_AGAIN : TURN_IDLE;
}

/* --- behind a balancer */

static enum turn refuse_client(struct conn *c)
{
    counter_add(net_ctx(c)->counters, COUNTER_CONNECTIONS_REFUSED, 1);
    if (c->conf->is_tls)
        return end(c);
    buf_put(&c->out, str_of(c->conf->proto->busy));
    return begin_close(c);
}

static enum turn turn_proxy(struct conn *c)
{
    const char *cause;
    if (take_events(c, NET_EV_DRAIN | NET_EV_KICK))
        return end(c);
    enum rc rc = c->is_readable ? behind_read(c, &cause) : RC_AGAIN;
    if (rc == RC_AGAIN)
        return TURN_IDLE;
    if (rc == RC_LIMIT)
        return refuse_client(c);
    if (rc == RC_SYNTAX)
        return end_because(c, NET_FAILED_INPUT, "connection-dropped", cause);
    if (rc != RC_OK)
        return end(c);
    c->phase = c->conf->is_tls ? PHASE_START_TLS : PHASE_STEP;
    c->deadline = from_now(c, atomic_load(&c->loop->net->greeting_ms));
    if (c->conf->is_tls)
        return TURN_AGAIN;
    c->events |= c->front ? NET_EV_OPEN | NET_EV_SECURE : NET_EV_OPEN;
    c->is_open = true;
    return TURN_AGAIN;
}

/* --- connections of ours, before there is one */

static enum turn turn_connect(struct conn *c)
{
    if (take_events(c, NET_EV_DRAIN | NET_EV_KICK))
        return end_because(c, NET_FAILED_HERE, "", "the server is shutting down");
    if (c->is_blocked)
        return TURN_IDLE;
    if (!dial_finish(c))
        return end(c);
    if (c->ours->tls) {
        c->phase = PHASE_START_TLS;
        c->deadline = from_now(c, handshake_ms(c));
        return TURN_AGAIN;
    }
    c->phase = PHASE_STEP;
    c->deadline = from_now(c, atomic_load(&c->loop->net->greeting_ms));
    c->events |= NET_EV_OPEN;
    c->ours->is_told = true;
    return TURN_AGAIN;
}

/* --- all of them */

static enum turn (*const turns[])(struct conn *c) = {
    [PHASE_PROXY] = turn_proxy,         [PHASE_CONNECT] = turn_connect,
    [PHASE_STEP] = turn_step,           [PHASE_START_TLS] = turn_start_tls,
    [PHASE_HANDSHAKE] = turn_handshake, [PHASE_CLOSE] = turn_close,
    [PHASE_LINGER] = turn_linger,
};

/* Takes the connection back from other hands when they have given it; TURN_IDLE when not. */
static enum turn take_back(struct conn *c)
{
    uint32_t word = slots_peek(&c->loop->slots, c->slot);
    if (c->hands == HANDS_WAIT && (word & NET_EV_RESUME)) {
        c->hands = HANDS_LOOP;
        return c->is_cut ? end(c) : TURN_AGAIN;
    }
    if (c->hands == HANDS_LANE && (word & WORD_BACK)) {
        slots_clear(&c->loop->slots, c->slot, WORD_BACK);
        atomic_fetch_sub(&c->loop->net->in_lanes, 1);
        c->hands = HANDS_LOOP;
        return c->phase == PHASE_HANDSHAKE ? after_handshake(c) : after_step(c);
    }
    return TURN_IDLE;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return !b || (a && a < b) ? a : b;
}

static void rearm(struct conn *c)
{
    uint64_t due = earlier(c->deadline, earlier(c->stall_at, c->retry_at));
    if (due && (!c->timer.place || due < c->timer.at))
        loop_timer(c->loop, &c->timer, due);
}

void conn_drive(struct conn *c)
{
    enum turn turn = c->hands == HANDS_LOOP ? TURN_AGAIN : take_back(c);
    for (int i = 0; turn == TURN_AGAIN && i < TURNS; i++)
        turn = turns[c->phase](c);
    if (turn == TURN_GONE || c->hands != HANDS_LOOP)
        return;
    if (turn == TURN_AGAIN) /* others first */
        loop_post(c->loop, c->slot, c->generation, 0);
    rearm(c);
}

static void end_late(struct conn *c)
{
    bool is_tls = c->phase == PHASE_START_TLS || c->phase == PHASE_HANDSHAKE;
    if (c->phase == PHASE_CONNECT)
        end_because(c, NET_FAILED_CONNECT, "", "no answer in time");
    else
        end_because(c, is_tls ? NET_FAILED_TLS : NET_FAILED_NOT, "connection-dropped",
                    c->phase == PHASE_PROXY ? "no PROXY header in time" : "no end in time");
}

void conn_timer(struct net_timer *t)
{
    struct conn *c = CONTAINER(t, struct conn, timer);
    if (c->hands != HANDS_LOOP)
        return; /* looked at when it comes back */
    uint64_t now = loop_now(c->loop);
    if (c->stall_at && now >= c->stall_at) {
        end_because(c, NET_FAILED_STALLED, "connection-dropped", "the peer takes no output");
        return;
    }
    if (c->deadline && now >= c->deadline) {
        if (c->phase != PHASE_STEP) {
            end_late(c);
            return;
        }
        c->deadline = 0;
        c->events |= NET_EV_TIMEOUT;
    }
    conn_drive(c);
}
