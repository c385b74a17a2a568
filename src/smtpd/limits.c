/* How much an account may send [RFC6409 6.1]: asked at MAIL and at each RCPT, so that a program
 * hears early, and counted when the message is whole. Who has no limits costs one lookup. A user of
 * this machine who is not trusted has what an account has that nothing else is said of: a web
 * application that was taken over sends no more than a stolen password. */
#include "smtpd/smtpd_int.h"

#include "mime/mime.h"

#include <string.h>

static struct limit_rates rates_of(const struct auth_limits *limits)
{
    struct limit_rates r = {{0}};
    _Static_assert((int)AUTH_LIMITS == (int)LIMIT_KINDS, "the same four, in the same order");
    for (size_t i = 0; i < LIMIT_KINDS && limits->is_set; i++)
        r.most[i] = limits->most[i];
    return r;
}

static void look_up_local(struct session *s)
{
    struct transaction *t = s->transaction;
    const struct limit_rates *rates = &s->smtpd->conf.send_limits;
    t->limits[0] = (struct limit_subject){limit_domain(smtpd_local_address(s)), *rates};
    t->n_limits = limit_is_none(rates) ? 0 : 1;
}

/* What limits the login, into the transaction. */
static enum rc look_up(struct session *s, unsigned flags)
{
    const struct smtpd_conf *conf = &s->smtpd->conf;
    struct transaction *t = s->transaction;
    struct auth_sending sending;
    if (s->role->is_local) {
        look_up_local(s);
        return RC_OK;
    }
    TRY(auth_sending(conf->auth, str_of(s->login), flags, &sending));
    const struct limit_rates own =
        sending.account.is_set ? rates_of(&sending.account) : conf->send_limits;
    uint64_t now = clock_wall(s->smtpd->ctx->clock);
    uint64_t age = now > sending.created ? (now - sending.created) / NS_PER_SEC : 0;
    struct str given = str_domain(str_of(s->login));
    char domain[AUTH_ADDRESS_MAX];
    size_t n = 0;
    for (; n < given.n && n < sizeof domain; n++)
        domain[n] = ascii_lower(given.p[n]);
    t->n_limits = 0;
    t->limits[t->n_limits++] =
        (struct limit_subject){s->account, limit_ramp(&own, age, conf->send_ramp_s)};
    if (sending.domain.is_set)
        t->limits[t->n_limits++] =
            (struct limit_subject){limit_domain(str_from(domain, n)), rates_of(&sending.domain)};
    bool is_limited = false;
    for (size_t i = 0; i < t->n_limits; i++)
        is_limited |= !limit_is_none(&t->limits[i].rates);
    if (!is_limited)
        t->n_limits = 0;
    return RC_OK;
}

static void explain(struct session *s, struct str recipient, const struct limit_answer *answer)
{
    static const char *const what[LIMIT_KINDS] = {"messages an hour", "messages a day",
                                                  "recipients an hour", "recipients a day"};
    const struct limit_subject *subject = &s->transaction->limits[answer->subject];
    uint64_t minutes = (answer->wait_s + 59) / 60;
    struct buf text;
    struct log_line l;
    buf_init(&text, 256);
    buf_putf(&text, "sending limit of %s, %u %s, is reached; try again in %llu minute%s",
             answer->subject ? "the domain" : "this account", subject->rates.most[answer->what],
             what[answer->what], (unsigned long long)minutes, minutes == 1 ? "" : "s");
    smtpd_reply_say_text(s, SMTPD_SEND_LIMIT, buf_str(&text));
    smtpd_trace_refused_saying(s, recipient, SMTPD_SEND_LIMIT, buf_str(&text));
    buf_fini(&text);
    smtpd_session_log(s, &l, "send-limit");
    log_text(&l, "limit", what[answer->what]);
    log_u64(&l, "most", subject->rates.most[answer->what]);
    log_u64(&l, "wait", answer->wait_s);
    log_end(&l);
    counter_add(s->smtpd->ctx->counters, COUNTER_SEND_LIMITED, 1);
}

static struct limit_wish wish_of(const struct transaction *t, size_t recipients)
{
    return (struct limit_wish){t->limits, t->n_limits, 1, (uint32_t)recipients};
}

bool smtpd_limits_apply(const struct session *s)
{
    bool is_known = s->login || (s->role->is_local && !smtpd_local_is_trusted(s));
    return s->smtpd->conf.limit && s->role->is_submission && is_known;
}

enum rc smtpd_limits_ask(struct session *s, struct str recipient, unsigned flags)
{
    struct transaction *t = s->transaction;
    struct limit_answer answer;
    if (!smtpd_limits_apply(s))
        return RC_OK;
    if (!recipient.n)
        TRY(look_up(s, flags));
    if (!t->n_limits)
        return RC_OK;
    const struct limit_wish wish = wish_of(t, recipient.n ? t->n_recipients + 1 : 0);
    enum rc rc = limit_ask(s->smtpd->conf.limit, &wish, flags, &answer);
    if (rc == RC_LIMIT)
        explain(s, recipient, &answer);
    return rc;
}

enum rc smtpd_limits_take(struct session *s, unsigned flags)
{
    struct transaction *t = s->transaction;
    struct limit_answer answer;
    if (!smtpd_limits_apply(s) || !t->n_limits || t->is_counted)
        return RC_OK;
    const struct limit_wish wish = wish_of(t, t->n_recipients);
    enum rc rc = limit_take(s->smtpd->conf.limit, &wish, flags, &answer);
    t->is_counted = rc == RC_OK;
    return rc;
}

void smtpd_limits_give(struct session *s)
{
    struct transaction *t = s->transaction;
    if (!t->is_counted)
        return;
    const struct limit_wish wish = wish_of(t, t->n_recipients);
    limit_give(s->smtpd->conf.limit, &wish);
    t->is_counted = false;
}

/* NOTIFY=SUCCESS from another host is a report to whatever address MAIL has named, for each message
 * that is taken: a way to write to strangers, were it not bounded. */
enum rc smtpd_limits_report(struct session *s, unsigned flags)
{
    const struct smtpd_conf *conf = &s->smtpd->conf;
    const struct limit_subject all = {limit_domain(STR("reports of success")),
                                      conf->success_reports};
    const struct limit_wish wish = {.subjects = &all, .n = 1, .messages = 1, .recipients = 1};
    struct limit_answer answer;
    struct log_line l;
    if (!conf->limit || limit_is_none(&conf->success_reports))
        return RC_OK;
    enum rc rc = limit_take(conf->limit, &wish, flags, &answer);
    if (rc != RC_LIMIT)
        return rc;
    smtpd_session_log(s, &l, "no-success-report");
    log_str(&l, "from", s->transaction->envelope.sender);
    log_end(&l);
    return rc;
}
