/* A session with another host: the client's side of SMTP [RFC5321] and LMTP [RFC2033].
 *
 * step() reads all answers that have come, each of which goes to whoever waits for it (`wait`, the
 * state; the table below has its time and name), then sends what may be sent. What the host does
 * wrong (closes, stalls, answers unasked, answers what is no answer) ends the session with one
 * outcome, which everybody gets whose fate is open; there is one way to the end, session_over, when
 * net has closed the connection.
 *
 * Time: each answer has its limit [RFC5321 4.5.3.2], which no part of an answer extends, and each
 * job one of its own, so that a host that keeps every limit just so does not keep us for ever. */
#include "relay/session_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMMAND_MS = 300000,
    INPUT_MAX = 8192,
    OUTPUT_HIGH = 32 << 10,
    JOB_FACTOR = 12 /* times the time of a command, and a second for each KB */
};

/* Times in fifths of the one for a command, which is five minutes. */
static const struct {
    enum relay_stage stage;
    unsigned fifths;
    const char *name;
} waits[WAIT_COUNT] = {
    [WAIT_NOTHING] = {RELAY_AT_MAIL, 5, "the next command"},
    [WAIT_GREETING] = {RELAY_AT_GREETING, 5, "the greeting"}, /* [RFC5321 4.5.3.2.1] */
    [WAIT_EHLO] = {RELAY_AT_HELLO, 5, "EHLO"},
    [WAIT_HELO] = {RELAY_AT_HELLO, 5, "HELO"},
    [WAIT_STARTTLS] = {RELAY_AT_TLS, 5, "STARTTLS"},
    [WAIT_LOGIN] = {RELAY_AT_LOGIN, 5, "the login"},
    [WAIT_NAME] = {RELAY_AT_LOGIN, 5, "the login"},
    [WAIT_PASSWORD] = {RELAY_AT_LOGIN, 5, "the login"},
    [WAIT_COMMAND] = {RELAY_AT_RCPT, 5, "a command"}, /* [RFC5321 4.5.3.2.2] [RFC5321 4.5.3.2.3] */
    [WAIT_END] = {RELAY_AT_END, 10, "the message"},   /* [RFC5321 4.5.3.2.6] */
};

uint64_t session_now(const struct relay_session *s)
{
    return clock_mono(s->house->ctx->clock);
}

/* --- time */

void session_wait(struct conn *c, struct relay_session *s, enum wait wait)
{
    uint64_t ms = s->command_ms * waits[wait].fifths / 5;
    s->wait = wait;
    if (s->job) {
        uint64_t now = session_now(s);
        uint64_t left = s->job_until > now ? (s->job_until - now) / NS_PER_MS + 1 : 1;
        ms = left < ms ? left : ms;
    }
    net_deadline(c, ms);
}

enum relay_stage session_stage(const struct relay_session *s)
{
    if (s->wait == WAIT_COMMAND && s->mail.answered <= COMMAND_MAIL)
        return RELAY_AT_MAIL;
    if (s->wait == WAIT_COMMAND && s->mail.answered >= COMMAND_RCPT + s->mail.n)
        return RELAY_AT_DATA;
    return waits[s->wait].stage;
}

static const char *name_of_wait(const struct relay_session *s)
{
    if (s->wait == WAIT_COMMAND) {
        enum relay_stage stage = session_stage(s);
        return s->mail.answered == COMMAND_RSET ? "RSET"
               : stage == RELAY_AT_MAIL         ? "MAIL"
               : stage == RELAY_AT_DATA         ? "DATA"
                                                : "RCPT";
    }
    if (s->wait == WAIT_EHLO && s->target.protocol == RELAY_LMTP)
        return "LHLO";
    return waits[s->wait].name;
}

/* --- failures */

enum net_step session_fail(struct relay_session *s, const struct relay_outcome *why)
{
    if (!s->has_failed) {
        struct buf text = {.cap = RELAY_TEXT_MAX};
        smtp_clean_put(&text, why->text);
        s->failure = *why;
        memcpy(s->failure_text, buf_str(&text).p ? buf_str(&text).p : "", buf_len(&text));
        s->failure_text[buf_len(&text)] = '\0';
        s->failure.text = str_of(s->failure_text);
        buf_fini(&text);
        s->has_failed = true;
    }
    return NET_ABORT;
}

enum net_step session_fail_text(struct relay_session *s, enum relay_stage stage, const char *status,
                                const char *text)
{
    struct relay_outcome why = {
        .rc = status[0] == '5' ? RC_PERM : RC_TEMP, .stage = stage, .text = str_of(text)};
    snprintf(why.status, sizeof why.status, "%s", status);
    return session_fail(s, &why);
}

enum net_step session_fail_reply(struct relay_session *s, enum relay_stage stage, bool is_soft,
                                 const char *before)
{
    char text[RELAY_TEXT_MAX + 64];
    const struct smtp_answer *a = &s->answer;
    struct relay_outcome why = {.stage = stage, .code = a->code};
    why.rc = a->code >= 500 && !is_soft ? RC_PERM : RC_TEMP;
    snprintf(why.status, sizeof why.status, "%s", a->status);
    if (why.status[0] != '4' && why.status[0] != '5')
        snprintf(why.status, sizeof why.status, "4.5.0");
    if (why.rc == RC_TEMP)
        why.status[0] = '4';
    snprintf(text, sizeof text, "%s%s", before, a->text);
    why.text = str_of(text);
    return session_fail(s, &why);
}

static enum net_step fail_late(struct relay_session *s)
{
    char text[120];
    if (s->body.is_streaming)
        snprintf(text, sizeof text, "the message took too long");
    else
        snprintf(text, sizeof text, "no answer to %s in time", name_of_wait(s));
    return session_fail_text(s, session_stage(s), "4.4.2", text);
}

/* Net has ended it, or the host has: in which words. */
static void explain(struct relay_session *s)
{
    const struct net_error *e = &s->facts.error;
    char text[NET_ERROR_TEXT + 120];
    switch (e->failure) {
    case NET_FAILED_CONNECT:
    case NET_FAILED_SOURCE:
        snprintf(text, sizeof text, "cannot connect: %s", e->text);
        session_fail_text(s, RELAY_AT_CONNECT, "4.4.1", text);
        return;
    case NET_FAILED_TLS:
    case NET_FAILED_CERTIFICATE:
        snprintf(text, sizeof text, "no TLS: %s", e->text);
        session_fail_text(s, RELAY_AT_TLS, session_tls_status(s, "4.7.5"), text);
        return;
    case NET_FAILED_STALLED:
    case NET_FAILED_HERE:
        session_fail_text(s, session_stage(s), e->failure == NET_FAILED_HERE ? "4.3.2" : "4.4.2",
                          e->text);
        return;
    case NET_FAILED_BROKEN:
    case NET_FAILED_INPUT:
    case NET_FAILED_NOT:
        break;
    }
    snprintf(text, sizeof text, "the connection ended %s%s%s%s",
             s->body.is_streaming ? "while the message was sent" : "before the answer to ",
             s->body.is_streaming ? "" : name_of_wait(s), e->text[0] ? ": " : "", e->text);
    session_fail_text(s, session_stage(s), "4.4.2", text);
}

/* --- jobs */

static void report(const struct relay_session *s, const struct relay_job *job)
{
    if (job->n > 0)
        relay_report_session(s->house, &s->target, &s->facts, job->recipients[0]->domain);
}

static void tell(struct relay_session *s, struct relay_job *job)
{
    bool requires_tls = job->item->flags & QUEUE_REQUIRETLS;
    relay_tls_words(&s->target, &s->facts, requires_tls, job->tls);
    for (size_t i = 0; i < job->n; i++)
        job->outcomes[i].tls = str_of(job->tls);
    if (!job->is_stale)
        report(s, job);
    job->done(job);
}

void session_job_done(struct relay_session *s)
{
    struct relay_job *job = s->job;
    bool is_last = s->has_failed || (s->hello.mailmax && s->mails >= s->hello.mailmax);
    session_body_close(s);
    s->mail = (struct session_mail){0};
    s->job = NULL;
    s->was_used = true;
    pthread_mutex_lock(&s->mutex);
    s->is_closing = s->is_closing || is_last;
    job->is_open = !s->is_closing;
    s->is_telling = true;
    s->teller = pthread_self();
    pthread_mutex_unlock(&s->mutex);
    tell(s, job);
    pthread_mutex_lock(&s->mutex);
    s->is_telling = false;
    pthread_mutex_unlock(&s->mutex);
}

/* The session has nothing to say about it but that it is over. */
static void give_back(struct relay_session *s, struct relay_job *job, bool is_stale)
{
    job->is_open = false;
    job->is_stale = is_stale;
    for (size_t i = 0; i < job->n; i++) {
        job->outcomes[i] = s->failure;
        job->outcomes[i].text = arena_dup(job->arena, s->failure.text);
    }
    tell(s, job);
}

static bool take_job(struct conn *c, struct relay_session *s)
{
    pthread_mutex_lock(&s->mutex);
    s->job = s->is_ready ? s->next : NULL;
    if (s->job)
        s->next = NULL;
    pthread_mutex_unlock(&s->mutex);
    if (!s->job)
        return false;
    s->is_answered = false;
    s->job->is_stale = false;
    s->job_until = session_now(s) + (s->command_ms * JOB_FACTOR + s->job->item->size) * NS_PER_MS;
    for (size_t i = 0; i < s->job->n; i++)
        s->job->outcomes[i] = (struct relay_outcome){.rc = RC_AGAIN};
    return true;
}

/* --- steps */

/* Nobody has asked for it: a farewell, or nonsense. */
static enum net_step answer_unasked(struct relay_session *s)
{
    return session_fail_reply(s, s->body.is_streaming ? RELAY_AT_DATA : session_stage(s), true,
                              s->answer.code == 421 ? "" : "it spoke out of turn: ");
}

static enum net_step take_answer(struct conn *c, struct relay_session *s)
{
    if (s->job && s->answer.code != 421)
        s->is_answered = true;
    if (s->answer.code == 421) /* at any time [RFC5321 3.8] */
        return session_fail_reply(s, session_stage(s), false, "");
    switch (s->wait) {
    case WAIT_NOTHING:
    case WAIT_COUNT:
        return answer_unasked(s);
    case WAIT_COMMAND:
        return session_mail_answer(c, s);
    case WAIT_END:
        return session_mail_end(c, s);
    default:
        return session_hello_answer(c, s);
    }
}

static enum net_step take_answers(struct conn *c, struct relay_session *s)
{
    for (;;) {
        struct str in = net_in(c), words;
        size_t before = in.n;
        bool is_first = s->answer.is_whole || s->answer.code == 0;
        enum rc rc = smtp_answer_next(&s->answer, &in, &words);
        net_consume(c, before - in.n);
        if (rc == RC_AGAIN)
            return NET_READ;
        if (rc == RC_SYNTAX || rc == RC_LIMIT)
            return session_fail_reply(s, session_stage(s), true,
                                      rc == RC_LIMIT ? "an answer without end: " : "no SMTP: ");
        if (s->wait == WAIT_EHLO && !is_first && s->answer.code / 100 == 2)
            smtp_hello_take(&s->hello, words);
        enum net_step next = rc == RC_EOF ? take_answer(c, s) : NET_READ;
        if (next != NET_READ)
            return next;
    }
}

enum net_step session_say_goodbye(struct conn *c)
{
    buf_put(net_out(c), STR("QUIT\r\n")); /* its answer is not waited for */
    return NET_CLOSE;
}

static bool is_wanted(struct relay_session *s)
{
    pthread_mutex_lock(&s->mutex);
    bool is_wanted = !s->is_closing || s->next;
    pthread_mutex_unlock(&s->mutex);
    return is_wanted;
}

/* What can be done without the host. */
static enum net_step go_on(struct conn *c, struct relay_session *s)
{
    enum net_step next = NET_READ;
    while (next == NET_READ && (s->job || take_job(c, s))) {
        next = session_mail_more(c, s);
        if (s->job)
            return next;
    }
    if (next != NET_READ)
        return next;
    if (!is_wanted(s))
        return session_say_goodbye(c);
    if (s->wait == WAIT_NOTHING)
        session_wait(c, s, WAIT_NOTHING);
    return NET_READ;
}

static enum net_step begin(struct conn *c, struct relay_session *s)
{
    pthread_mutex_lock(&s->mutex);
    s->handle = net_handle(c);
    s->has_handle = true;
    pthread_mutex_unlock(&s->mutex);
    s->facts.is_connected = true;
    session_wait(c, s, WAIT_GREETING);
    return NET_READ;
}

static void note_tls(struct conn *c, struct relay_session *s)
{
    s->facts.is_secure = true;
    s->facts.proof = net_tls_proof(c);
    snprintf(s->facts.tls, sizeof s->facts.tls, "%.*s", STR_ARG(net_tls_text(c)));
}

/* The server drains: what is under way comes to its end. */
static void begin_end(struct relay_session *s)
{
    pthread_mutex_lock(&s->mutex);
    s->is_closing = true;
    pthread_mutex_unlock(&s->mutex);
}

static enum net_step step(struct conn *c, unsigned events)
{
    struct relay_session *s = net_arg(c);
    enum net_step next = NET_READ;
    if (events & (NET_EV_TLS | NET_EV_SECURE))
        note_tls(c, s);
    if (events & NET_EV_OPEN)
        next = begin(c, s);
    if (events & NET_EV_TLS)
        next = session_hello_begin(c, s);
    if (events & NET_EV_DRAIN)
        begin_end(s);
    if (events & NET_EV_KICK)
        return session_fail_text(s, session_stage(s), "4.3.2", "ended by an administrator");
    if (events & NET_EV_TIMEOUT) {
        bool is_moving = s->body.is_streaming && s->job_until > session_now(s);
        if (s->wait == WAIT_NOTHING && !s->job)
            return session_say_goodbye(c);
        if (!is_moving)
            return fail_late(s);
        session_wait(c, s, s->wait);
    }
    if (next == NET_READ)
        next = take_answers(c, s);
    if (next == NET_READ && net_is_eof(c))
        return NET_ABORT; /* session_over has the words */
    return next == NET_READ ? go_on(c, s) : next;
}

/* --- its end */

static void session_free(struct relay_session *s)
{
    s->owner->gone(s->owner, s);
    if (s->target.password.n)
        explicit_bzero((void *)(uintptr_t)s->target.password.p, s->target.password.n);
    session_body_close(s);
    arena_fini(&s->memory);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

/* One that could not be made ends when it has told a job so, or is not wanted any more; but not
 * inside the call of somebody who may hold what gone() wants. */
static void run_end(struct task_job *job)
{
    struct relay_session *s = CONTAINER(job, struct relay_session, end);
    session_free(s);
}

static void end_later(struct relay_session *s)
{
    s->end.run = run_end;
    if (task_lane_post(s->house->lane, &s->end) != RC_OK)
        session_free(s); /* a lane of a million places is full */
}

static enum rc dial(struct relay_session *s);

/* Where nothing asks for TLS, a host whose TLS does not work gets mail in clear, over another
 * connection [RFC7435 3]; one whose certificate was only tried for, over TLS without a proof. */
static bool goes_on_in_clear(struct relay_session *s)
{
    bool is_proof = s->facts.error.failure == NET_FAILED_CERTIFICATE ||
                    s->facts.error.failure == NET_FAILED_TLS;
    bool without_proof = is_proof && s->target.tries_proof && !s->has_no_proof && s->house->tls;
    if ((!without_proof && s->facts.error.failure != NET_FAILED_TLS) || s->in_clear ||
        s->is_ready || session_tls_is_needed(s))
        return false;
    s->facts.handshake = s->facts.error;
    s->has_no_proof = true;
    s->in_clear = !without_proof;
    s->wait = WAIT_GREETING;
    s->answer = (struct smtp_answer){0};
    s->hello = (struct smtp_hello){0};
    pthread_mutex_lock(&s->mutex);
    s->has_handle = false;
    pthread_mutex_unlock(&s->mutex);
    return dial(s) == RC_OK;
}

/* A job that nothing had been answered of, on a connection that others had used before it: it was
 * closed for being idle. */
static bool is_stale(const struct relay_session *s)
{
    return s->was_used && !s->is_answered && !s->body.is_end_sent;
}

static void session_over(struct conn *c)
{
    struct relay_session *s = net_arg(c);
    s->facts.error = *net_error(c);
    if (s->facts.error.failure == NET_FAILED_TLS ||
        s->facts.error.failure == NET_FAILED_CERTIFICATE)
        s->facts.handshake = s->facts.error;
    if (!s->has_failed && goes_on_in_clear(s))
        return;
    explain(s);
    if (s->job) {
        s->job->is_stale = is_stale(s);
        session_outcome_all(s, &s->failure);
        session_job_done(s);
    }
    pthread_mutex_lock(&s->mutex);
    struct relay_job *next = s->next;
    bool is_kept = !s->is_ready && !s->was_given && !s->is_closing;
    s->next = NULL;
    s->is_dead = true;
    pthread_mutex_unlock(&s->mutex);
    if (next)
        give_back(s, next, s->was_used);
    if (!is_kept)
        session_free(s);
}

static const struct net_proto proto = {
    .name = "relay",
    .input_max = INPUT_MAX,
    .output_high = OUTPUT_HIGH,
    .step = step,
    .close = session_over,
};

/* --- its beginning */

static enum rc dial(struct relay_session *s)
{
    struct net_tls_want want;
    struct net_dial d = {.to = s->target.addr,
                         .path = s->path,
                         .proto = &proto,
                         .arg = s,
                         .connect_ms = s->connect_ms,
                         .handshake_ms = s->command_ms / 5,
                         .tls = s->house->tls};
    if (s->target.has_source)
        d.from = s->target.source;
    if (s->target.tls == RELAY_TLS_IMPLICIT) {
        session_tls_want(s, &want);
        d.secure = &want;
    }
    return net_dial(s->house->net, &d);
}

static struct str keep(struct relay_session *s, struct str text)
{
    return text.n ? arena_dup(&s->memory, text) : STR("");
}

static void copy_target(struct relay_session *s, const struct relay_target *t)
{
    s->target = *t;
    s->target.host = keep(s, t->host);
    s->target.name = keep(s, t->name.n ? t->name : t->host);
    s->target.login = keep(s, t->login);
    s->target.password = keep(s, t->password);
    s->target.tlsa = NULL;
    struct str *names = arena_zero(&s->memory, (t->n_names + 1) * sizeof *names);
    for (size_t i = 0; i < t->n_names; i++)
        names[i] = keep(s, t->names[i]);
    s->target.names = names;
    s->tlsa = arena_zero(&s->memory, (t->n_tlsa + 1) * sizeof *s->tlsa);
    for (size_t i = 0; i < t->n_tlsa; i++) {
        const struct relay_tlsa *r = &t->tlsa[i];
        s->tlsa[i] = (struct net_tlsa){r->usage, r->selector, r->matching, keep(s, r->data)};
    }
    if (t->addr.sa.sin6_family == AF_UNIX)
        s->path = (char *)(uintptr_t)s->target.host.p; /* arena_dup has put a NUL behind it */
}

enum rc relay_session_open(const struct relay_house *house, const struct relay_settings *settings,
                           const struct relay_target *target, struct relay_session_owner *owner,
                           struct relay_session **out)
{
    struct relay_session *s = mem_zero(sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
    s->house = house;
    s->owner = owner;
    s->wait = WAIT_GREETING;
    s->command_ms = settings->command_ms ? settings->command_ms : COMMAND_MS;
    s->connect_ms = settings->connect_ms;
    s->hostname = keep(s, settings->hostname);
    copy_target(s, target);
    *out = s; /* its owner may be called before this returns */
    enum rc rc = dial(s);
    if (rc == RC_OK)
        return RC_OK;
    *out = NULL;
    arena_fini(&s->memory);
    pthread_mutex_destroy(&s->mutex);
    free(s);
    return rc == RC_LIMIT ? RC_LIMIT : RC_TEMP;
}

const struct relay_facts *relay_session_facts(const struct relay_session *session)
{
    return &session->facts;
}

void relay_session_send(struct relay_session *s, struct relay_job *job)
{
    pthread_mutex_lock(&s->mutex);
    bool is_dead = s->is_dead, is_ready = s->is_ready;
    s->was_given = true;
    if (!is_dead)
        s->next = job;
    /* From inside done() it is found by the step that called that. */
    bool is_seen = s->is_telling && pthread_equal(s->teller, pthread_self());
    if (!is_dead && s->has_handle && !is_seen)
        net_wake(s->house->net, s->handle, NET_EV_WAKE);
    pthread_mutex_unlock(&s->mutex);
    if (!is_dead)
        return;
    give_back(s, job, is_ready);
    if (!is_ready) /* it could not be made, and has waited for a job to say so */
        end_later(s);
}

void relay_session_close(struct relay_session *s)
{
    pthread_mutex_lock(&s->mutex);
    bool is_kept = s->is_dead && !s->is_ready && !s->was_given;
    s->is_closing = true;
    s->was_given = s->was_given || is_kept;
    if (!s->is_dead && s->has_handle)
        net_wake(s->house->net, s->handle, NET_EV_WAKE);
    pthread_mutex_unlock(&s->mutex);
    if (is_kept)
        end_later(s);
}
