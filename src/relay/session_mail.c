/* A transaction: MAIL, RCPT for each recipient, the message, and what became of each recipient
 * [RFC5321 3.3].
 *
 * The commands have numbers (COMMAND_RSET and so on, then one for DATA); `sent` and `answered` run
 * through them, with PIPELINING many apart, without it one [RFC2920 3.1]. A recipient's outcome is
 * RC_AGAIN until it is decided, and has the code of its RCPT as soon as that is known. A job may
 * take several transactions: where a host takes so many recipients at once and no more (RCPTMAX, or
 * 452 to RCPT), the rest follow in the next one. */
#include "relay/session_int.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

enum {
    WINDOW = 100,           /* commands sent ahead of their answers */
    PIPELINED_BODY = 32768, /* a message up to here goes with its commands where BDAT allows */
    TOO_MANY = 452
};

/* --- outcomes */

void session_outcome(struct relay_session *s, size_t i, const struct relay_outcome *o)
{
    struct relay_outcome *to = &s->job->outcomes[i];
    *to = *o;
    to->text = o->text.n ? arena_dup(s->job->arena, o->text) : STR("");
    to->is_secure = s->facts.is_secure;
}

void session_outcome_all(struct relay_session *s, const struct relay_outcome *o)
{
    struct relay_outcome one = *o;
    one.text = o->text.n ? arena_dup(s->job->arena, o->text) : STR("");
    one.is_secure = s->facts.is_secure;
    for (size_t i = 0; i < s->job->n; i++)
        if (s->job->outcomes[i].rc == RC_AGAIN)
            s->job->outcomes[i] = one;
}

/* Of what this side finds; for good unless the status says otherwise. */
static struct relay_outcome own_words(const char *status, const char *text)
{
    struct relay_outcome o = {.rc = status[0] == '4' ? RC_TEMP : RC_PERM,
                              .stage = RELAY_AT_OURSELVES,
                              .text = str_of(text)};
    snprintf(o.status, sizeof o.status, "%s", status);
    return o;
}

/* Of the answer at hand, which lives in the session. Codes that are neither yes nor no are no
 * answer: later, please. */
static struct relay_outcome of_answer(const struct relay_session *s, enum relay_stage stage)
{
    const struct smtp_answer *a = &s->answer;
    struct relay_outcome o = {.stage = stage, .code = a->code, .text = str_from(a->text, a->n)};
    o.rc = a->code / 100 == 5 ? RC_PERM : a->code / 100 == 2 ? RC_OK : RC_TEMP;
    snprintf(o.status, sizeof o.status, "%s", a->status);
    if (o.rc == RC_TEMP && o.status[0] != '4')
        snprintf(o.status, sizeof o.status, "4.5.0");
    return o;
}

static void all_fail(struct relay_session *s, const char *status, const char *text)
{
    struct relay_outcome o = own_words(status, text);
    session_outcome_all(s, &o);
}

static bool is_pending(const struct relay_session *s, size_t i)
{
    return s->job->outcomes[i].rc == RC_AGAIN;
}

static bool is_accepted(const struct relay_session *s, size_t i)
{
    return is_pending(s, i) && s->job->outcomes[i].code / 100 == 2;
}

static size_t count_pending(const struct relay_session *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->job->n; i++)
        n += is_pending(s, i);
    return n;
}

/* --- what the host must offer */

static bool offers(const struct relay_session *s, unsigned offer)
{
    return s->hello.offers & offer;
}

static bool is_utf8_wanted(const struct relay_session *s)
{
    return (s->job->item->flags & QUEUE_UTF8) || !utf8_is_ascii(s->job->item->sender);
}

/* Whether a message that requires TLS may be here. The hello has seen to it in a session that is
 * for such messages; a report goes out all the same [RFC8689 5]. */
static bool is_safe_enough(const struct relay_session *s)
{
    const struct queue_item *item = s->job->item;
    return !(item->flags & QUEUE_REQUIRETLS) || item->sender.n == 0 || s->target.requires_tls;
}

/* REQUIRETLS is said only where all that it asks for is given [RFC8689 2]. */
static bool says_requiretls(const struct relay_session *s)
{
    return (s->job->item->flags & QUEUE_REQUIRETLS) && offers(s, SMTP_HAS_REQUIRETLS) &&
           s->facts.proof != NET_PROOF_NONE && s->target.is_trusted;
}

/* Addresses and fields outside ASCII go to hosts that take them [RFC6531 3.5]. */
static void check_utf8(struct relay_session *s)
{
    const char *text = "it or its address is not in ASCII, and the host does not offer SMTPUTF8";
    struct relay_outcome o = own_words("5.6.7", text);
    if (offers(s, SMTP_HAS_SMTPUTF8))
        return;
    if (s->body.has_8bit_header || !utf8_is_ascii(s->job->item->sender))
        session_outcome_all(s, &o);
    for (size_t i = 0; i < s->job->n; i++)
        if (is_pending(s, i) && !utf8_is_ascii(s->job->recipients[i]->address))
            session_outcome(s, i, &o);
}

/* Decides what cannot be passed on as it is. */
static void check_offers(struct relay_session *s)
{
    unsigned flags = s->job->item->flags;
    if (!is_safe_enough(s))
        all_fail(s, "5.7.10", "its sender requires TLS, and the host is not known to give it");
    else if (s->hello.size && session_body_size(s) > s->hello.size) /* [RFC1870 6.1] */
        all_fail(s, "5.3.4", "it is larger than the host takes");
    else if ((flags & QUEUE_BINARY) &&
             !(offers(s, SMTP_HAS_BINARYMIME) && offers(s, SMTP_HAS_CHUNKING)))
        all_fail(s, "5.6.3",
                 "it is binary, and the host does not offer BINARYMIME"); /* [RFC3030 3] */
    else if ((flags & QUEUE_8BIT) && !offers(s, SMTP_HAS_8BITMIME) && s->body.has_8bit)
        all_fail(s, "5.6.3",
                 "it has 8-bit text, and the host does not offer 8BITMIME"); /* [RFC6152 3] */
    else
        check_utf8(s);
}

/* What the host does not offer may not be needed: a look at the bytes tells. */
static bool wants_look(const struct relay_session *s)
{
    unsigned flags = s->job->item->flags;
    return ((flags & QUEUE_8BIT) && !offers(s, SMTP_HAS_8BITMIME)) ||
           ((flags & QUEUE_UTF8) && !offers(s, SMTP_HAS_SMTPUTF8));
}

/* --- who is in it */

static bool is_same_domain(const struct relay_session *s, size_t a, size_t b)
{
    return str_eq(s->job->recipients[a]->domain, s->job->recipients[b]->domain);
}

/* True: there are recipients for another transaction [RFC9422 4.2]. */
static bool choose_members(struct relay_session *s)
{
    struct session_mail *m = &s->mail;
    uint16_t *members = m->members;
    size_t most = s->hello.rcptmax && s->hello.rcptmax < s->job->n ? s->hello.rcptmax : s->job->n;
    if (!members)
        members = arena_alloc(s->job->arena, s->job->n * sizeof *members);
    *m = (struct session_mail){.members = members};
    if (!members) {
        all_fail(s, "4.3.1", "no memory for so many recipients");
        return false;
    }
    for (size_t i = 0; i < s->job->n && m->n < most; i++) {
        if (!is_pending(s, i))
            continue;
        /* One domain at a time is within any limit of domains [RFC9422 4.3]. */
        if (m->n > 0 && s->hello.rcptdomainmax && !is_same_domain(s, m->members[0], i))
            continue;
        m->members[m->n++] = (uint16_t)i;
        s->job->outcomes[i].code = 0;
    }
    return m->n > 0;
}

/* Everything is decided, or must be now. */
static enum net_step finish_job(struct relay_session *s)
{
    for (size_t i = 0; i < s->job->n; i++)
        if (is_pending(s, i) && s->job->outcomes[i].code)
            s->job->outcomes[i].rc = RC_TEMP; /* 452, in its words */
    all_fail(s, "4.5.3", "the host takes no more recipients for now");
    s->wait = WAIT_NOTHING;
    session_job_done(s);
    return NET_READ;
}

static void begin_transaction(struct relay_session *s)
{
    s->mail.sent = s->mail.answered = s->needs_reset ? COMMAND_RSET : COMMAND_MAIL;
    s->body.at = s->body.skip;
    s->body.stuff = (struct smtp_stuff){0};
    s->body.is_streaming = s->body.is_end_sent = false;
    /* LMTP answers for each recipient; DATA leaves no doubt how many those are [RFC2033 4.2]. */
    s->body.is_chunk = offers(s, SMTP_HAS_CHUNKING) && s->target.protocol == RELAY_SMTP;
}

/* Opens the message, looks at it where that is needed, and makes up the first transaction. */
static enum net_step begin(struct conn *c, struct relay_session *s)
{
    enum rc rc = s->body.blob ? RC_OK : session_body_open(c, s);
    if (rc == RC_OK && wants_look(s) && !s->body.was_looked_at)
        rc = session_body_look(c, s);
    if (rc == RC_AGAIN)
        return NET_SHORT;
    if (rc != RC_OK) {
        all_fail(s, "4.3.0", "the stored message cannot be read");
        return finish_job(s);
    }
    check_offers(s);
    if (!choose_members(s))
        return finish_job(s);
    begin_transaction(s);
    return NET_READ;
}

/* After a transaction: another one for those whom the host did not take with the others, as long as
 * each gets somewhere. */
static enum net_step next_transaction(struct relay_session *s)
{
    size_t before = s->mail.accepted;
    bool is_last = s->hello.mailmax && s->mails >= s->hello.mailmax; /* [RFC9422 4.1] */
    s->wait = WAIT_NOTHING;
    if (before == 0 || is_last || count_pending(s) == 0 || !choose_members(s))
        return finish_job(s);
    begin_transaction(s);
    return NET_READ;
}

/* --- sending */

static enum rc put_mail(struct conn *c, struct relay_session *s)
{
    const struct queue_item *item = s->job->item;
    struct smtp_mail mail = {
        .sender = item->sender,
        .has_size = offers(s, SMTP_HAS_SIZE),
        .size = session_body_size(s),
        .body = (item->flags & QUEUE_BINARY) ? SMTP_BODY_BINARY
                : (item->flags & (QUEUE_8BIT | QUEUE_UTF8)) && offers(s, SMTP_HAS_8BITMIME)
                    ? SMTP_BODY_8BIT
                    : SMTP_BODY_NONE,
        .is_utf8 = offers(s, SMTP_HAS_SMTPUTF8) && is_utf8_wanted(s),
        .requires_tls = says_requiretls(s),
    };
    if (offers(s, SMTP_HAS_DSN)) { /* handed on as they came [RFC3461 5.2.1] */
        mail.ret = (enum smtp_ret)item->ret;
        mail.envid = item->envid;
    }
    for (size_t i = 0; i < s->mail.n && offers(s, SMTP_HAS_SMTPUTF8) && !mail.is_utf8; i++)
        mail.is_utf8 = !utf8_is_ascii(s->job->recipients[s->mail.members[i]]->address);
    return smtp_mail_put(net_out(c), &mail);
}

/* The address that the sender meant, for those who report later: what RCPT had, here, unless
 * there was an ORCPT [RFC3461 5.2.1] (d). Outside ASCII where the host does not take that it is
 * encoded [RFC6533 3]. */
static struct str orcpt_of(const struct relay_session *s, const struct queue_recipient *r,
                           char *mem, size_t size)
{
    struct buf text = {.cap = size};
    struct str orcpt = {NULL, 0}, given = r->wish.address.n ? r->wish.address : r->address;
    bool may_be_utf8 = offers(s, SMTP_HAS_SMTPUTF8) && is_utf8_wanted(s);
    if (r->wish.orcpt.n > 0 && (may_be_utf8 || utf8_is_ascii(r->wish.orcpt)))
        return r->wish.orcpt;
    enum rc rc = RC_OK;
    if (r->wish.orcpt.n > 0)
        rc = smtp_unitext_put(&text, r->wish.orcpt);
    else if (!utf8_is_ascii(given) || buf_add(&text, STR("rfc822;")) != RC_OK)
        rc = RC_LIMIT;
    else
        rc = smtp_xtext_put(&text, given);
    if (rc == RC_OK && !text.over) {
        memcpy(mem, buf_str(&text).p, buf_len(&text));
        orcpt = str_from(mem, buf_len(&text));
    }
    buf_fini(&text);
    return orcpt;
}

/* Of an address that stood for several the success has been told here [RFC3461 5.2.7.3] (c). */
static unsigned notify_of(const struct queue_recipient *r)
{
    unsigned rest = r->wish.notify & ~(unsigned)SMTP_NOTIFY_SUCCESS;
    if (!(r->flags & QUEUE_ALIAS) || rest == r->wish.notify)
        return r->wish.notify;
    return rest ? rest : SMTP_NOTIFY_NEVER;
}

static enum rc put_rcpt(struct conn *c, struct relay_session *s, const struct queue_recipient *r)
{
    char orcpt[SMTP_ORCPT_MAX];
    struct smtp_rcpt rcpt = {.address = r->address};
    if (offers(s, SMTP_HAS_DSN)) {
        rcpt.notify = notify_of(r);
        rcpt.orcpt = orcpt_of(s, r, orcpt, sizeof orcpt);
    }
    return smtp_rcpt_put(net_out(c), &rcpt);
}

/* One that cannot be written is none of this transaction any more. */
static void skip_member(struct relay_session *s, size_t at)
{
    struct session_mail *m = &s->mail;
    struct relay_outcome o = own_words("5.1.3", "the address cannot be written in SMTP");
    session_outcome(s, m->members[at], &o);
    m->n--;
    memmove(m->members + at, m->members + at + 1, (m->n - at) * sizeof *m->members);
}

static void send_command(struct conn *c, struct relay_session *s)
{
    struct session_mail *m = &s->mail;
    if (m->sent == COMMAND_RSET) {
        buf_put(net_out(c), STR("RSET\r\n"));
    } else if (m->sent == COMMAND_MAIL) {
        if (put_mail(c, s) != RC_OK) {
            all_fail(s, "5.1.7", "the sender's address cannot be written in SMTP");
            m->is_refused = true;
            return;
        }
        s->needs_reset = true;
        s->mails++;
    } else if (m->sent < COMMAND_RCPT + m->n) {
        size_t at = m->sent - COMMAND_RCPT;
        if (put_rcpt(c, s, s->job->recipients[m->members[at]]) != RC_OK) {
            skip_member(s, at);
            return;
        }
    } else {
        buf_put(net_out(c), STR("DATA\r\n"));
    }
    m->sent++;
}

static bool all_are_sent(const struct session_mail *m)
{
    return m->sent >= COMMAND_RCPT + m->n;
}

/* Whether the next command may go now. DATA is the last of a group [RFC2920 3.1], and goes without
 * a group only when somebody was accepted. */
static bool can_send(struct conn *c, const struct relay_session *s)
{
    const struct session_mail *m = &s->mail;
    bool is_pipelining = offers(s, SMTP_HAS_PIPELINING);
    size_t ahead = m->sent - m->answered;
    if (ahead >= (is_pipelining ? WINDOW : 1) || net_out_is_full(c) || m->is_refused)
        return false;
    if (!all_are_sent(m))
        return m->n > 0;
    if (s->body.is_chunk || m->n == 0 || m->sent > COMMAND_RCPT + m->n)
        return false;
    return ahead > 0 || m->accepted > 0;
}

/* The message follows its commands at once where nothing stands between them: BDAT is taken
 * whatever became of them, and small enough to be sent for nothing [RFC3030 4.2]. The time in which
 * a lost answer means a second copy begins with the commands then: a round trip is worth that. */
static bool can_begin_body(const struct relay_session *s)
{
    const struct session_mail *m = &s->mail;
    if (s->body.is_streaming || s->body.is_end_sent || !all_are_sent(m) || m->is_refused ||
        m->n == 0)
        return false;
    if (!s->body.is_chunk)
        return m->is_data_taken;
    if (m->answered == m->sent)
        return m->accepted > 0;
    return offers(s, SMTP_HAS_PIPELINING) && session_body_size(s) <= PIPELINED_BODY;
}

static enum net_step stream(struct conn *c, struct relay_session *s)
{
    enum rc rc = session_body_more(c, s);
    if (rc == RC_LIMIT)
        return s->job_until > session_now(s)
                   ? NET_MORE
                   : session_fail_text(s, RELAY_AT_DATA, "4.4.2", "the message took too long");
    if (rc == RC_AGAIN)
        return NET_SHORT;
    if (rc == RC_OK)
        return NET_READ;
    if (s->body.stuff.faults) {
        struct relay_outcome why = own_words("5.6.0", "it has a bare CR or LF in it, with which it "
                                                      "cannot be sent");
        return session_fail(s, &why);
    }
    return session_fail_text(s, RELAY_AT_OURSELVES, "4.3.0", "the stored message cannot be read");
}

/* All commands are answered, and there is nobody to send the message for. */
static bool is_over(const struct relay_session *s)
{
    const struct session_mail *m = &s->mail;
    return m->answered == m->sent && !s->body.is_streaming && !s->body.is_end_sent &&
           (m->is_refused || (all_are_sent(m) && m->accepted == 0));
}

enum net_step session_mail_more(struct conn *c, struct relay_session *s)
{
    if (!s->mail.members) {
        enum net_step next = begin(c, s);
        if (next != NET_READ || !s->job)
            return next;
    }
    if (is_over(s))
        return next_transaction(s);
    size_t before = s->mail.sent;
    while (can_send(c, s))
        send_command(c, s);
    if (is_over(s)) /* nothing of it could be written */
        return next_transaction(s);
    bool begins = can_begin_body(s);
    if (begins)
        session_body_begin(c, s);
    if (s->wait != WAIT_END && (s->mail.sent != before || begins))
        session_wait(c, s, s->mail.answered < s->mail.sent ? WAIT_COMMAND : WAIT_END);
    return s->body.is_streaming ? stream(c, s) : NET_READ;
}

/* --- answers */

static void take_mail(struct relay_session *s)
{
    struct relay_outcome o = of_answer(s, RELAY_AT_MAIL);
    if (o.rc == RC_OK)
        return;
    s->mail.is_refused = true;
    s->needs_reset = false;
    session_outcome_all(s, &o);
}

/* [RFC5321 4.5.3.1.10]: 552 without more words is an old form of 452. */
static bool is_too_many(const struct smtp_answer *a)
{
    return a->code == TOO_MANY || (a->code == 552 && !a->has_status);
}

static void take_rcpt(struct relay_session *s, size_t i)
{
    struct relay_outcome o = of_answer(s, RELAY_AT_RCPT);
    if (s->mail.is_refused || !is_pending(s, i))
        return; /* MAIL has said why */
    if (is_too_many(&s->answer)) {
        o.rc = RC_AGAIN;
        if (s->answer.code != TOO_MANY)
            snprintf(o.status, sizeof o.status, "4.5.3");
    } else if (o.rc == RC_OK) {
        o.rc = RC_AGAIN;
        s->mail.accepted++;
    }
    session_outcome(s, i, &o);
}

static void decide_accepted(struct relay_session *s, const struct relay_outcome *o)
{
    struct relay_outcome one = *o;
    one.text = o->text.n ? arena_dup(s->job->arena, o->text) : STR("");
    one.is_secure = s->facts.is_secure;
    for (size_t k = 0; k < s->mail.n; k++)
        if (is_accepted(s, s->mail.members[k]))
            s->job->outcomes[s->mail.members[k]] = one;
}

static enum net_step take_data(struct conn *c, struct relay_session *s)
{
    struct relay_outcome o = of_answer(s, RELAY_AT_DATA);
    if (s->answer.code / 100 == 3) {
        /* Taken although there is nobody to take it for: ended without a word [RFC2920 3.1]. */
        if (s->mail.accepted == 0 || s->mail.is_refused) {
            buf_put(net_out(c), STR(".\r\n"));
            s->body.is_end_sent = true;
        } else {
            s->mail.is_data_taken = true;
        }
        session_wait(c, s, WAIT_END);
        return NET_READ;
    }
    if (o.rc == RC_OK)
        return session_fail_reply(s, RELAY_AT_DATA, true, "it spoke out of turn: ");
    decide_accepted(s, &o);
    s->mail.is_refused = true;
    return NET_READ;
}

enum net_step session_mail_answer(struct conn *c, struct relay_session *s)
{
    struct session_mail *m = &s->mail;
    size_t at = m->answered;
    if (at >= m->sent)
        return session_fail_reply(s, RELAY_AT_MAIL, true, "it spoke out of turn: ");
    m->answered++;
    if (at == COMMAND_RSET) {
        if (s->answer.code / 100 != 2)
            return session_fail_reply(s, RELAY_AT_MAIL, true, "RSET was refused: ");
        s->needs_reset = false;
    } else if (at == COMMAND_MAIL) {
        take_mail(s);
    } else if (at < COMMAND_RCPT + m->n) {
        take_rcpt(s, m->members[at - COMMAND_RCPT]);
    } else {
        return take_data(c, s);
    }
    bool is_last = m->answered == m->sent;
    session_wait(
        c, s, is_last && (s->body.is_streaming || s->body.is_end_sent) ? WAIT_END : WAIT_COMMAND);
    return NET_READ;
}

/* One answer for all, or in LMTP one for each [RFC2033 4.2]. */
static void take_end(struct relay_session *s)
{
    struct session_mail *m = &s->mail;
    struct relay_outcome o = of_answer(s, RELAY_AT_END);
    size_t nth = 0;
    o.has_dsn = o.rc == RC_OK && offers(s, SMTP_HAS_DSN);
    if (s->target.protocol != RELAY_LMTP) {
        decide_accepted(s, &o);
        m->ended = m->accepted;
        return;
    }
    /* In the order of RCPT; the ones before it are decided already. */
    for (; nth < m->n && !is_accepted(s, m->members[nth]); nth++)
        continue;
    if (nth < m->n)
        session_outcome(s, m->members[nth], &o);
    m->ended++;
}

enum net_step session_mail_end(struct conn *c, struct relay_session *s)
{
    if (!s->body.is_end_sent && s->answer.code < 400)
        return session_fail_reply(s, RELAY_AT_DATA, true, "it spoke out of turn: ");
    if (!s->body.is_end_sent) { /* it has heard enough; what follows would be taken for commands */
        struct relay_outcome o = of_answer(s, RELAY_AT_DATA);
        decide_accepted(s, &o);
        return session_fail_reply(s, RELAY_AT_DATA, true, "");
    }
    if (s->mail.accepted > 0)
        take_end(s);
    if (s->mail.ended < s->mail.accepted) {
        session_wait(c, s, WAIT_END);
        return NET_READ;
    }
    s->needs_reset = false;
    return next_transaction(s);
}
