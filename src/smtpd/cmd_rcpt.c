/* RCPT: a recipient, looked up at once [RFC5321 4.1.1.3]. Who has a mailbox here must have room in
 * it. Recipients elsewhere are taken as the role allows it: after a login, or for the domains that
 * this host holds mail for; from all others they are refused. NOTIFY and ORCPT are kept for who
 * writes reports [RFC3461 4]. */
#include "smtpd/smtpd_int.h"

/* RCPT commands in one transaction, beyond those that can succeed, before the session is ended. */
enum { OVERSHOOT = 1000 };

static void log_refusal(struct session *s, struct str address, enum smtpd_reply reply)
{
    struct log_line l;
    smtpd_session_log(s, &l, "refused");
    log_str(&l, "to", address);
    smtpd_reply_log(&l, reply);
    log_end(&l);
    smtpd_trace_refused(s, address, reply);
}

static enum flow count_asked(struct session *s)
{
    struct transaction *t = s->transaction;
    if (++t->n_asked <= (size_t)s->smtpd->conf.recipients + OVERSHOOT)
        return FLOW_NEXT;
    smtpd_reply_say(s, SMTPD_TOO_MANY_ERRORS);
    return FLOW_CLOSE;
}

static enum flow answer(struct session *s, enum smtpd_reply reply)
{
    smtpd_reply_say(s, reply);
    return count_asked(s);
}

/* Whether each of the targets has room: a copy that cannot be kept is refused now, while the sender
 * still has the message. */
static enum rc have_room(struct session *s, const struct auth_targets *targets, unsigned flags)
{
    for (size_t i = 0; i < targets->n; i++)
        TRY(deliver_has_room(s->smtpd->conf.deliver, targets->accounts[i],
                             s->transaction->envelope.declared, flags));
    return RC_OK;
}

/* RC_SYNTAX from the directory: nobody here has such a name. Whether the domain is one of ours is
 * told all the same, by somebody who is in each. */
static enum rc resolve(struct session *s, struct str address, unsigned flags,
                       struct auth_targets *out)
{
    struct auth *auth = s->smtpd->conf.auth;
    struct arena *arena = &s->transaction->arena;
    struct buf postmaster;
    enum rc rc = auth_resolve(auth, address, flags, arena, out);
    ptrdiff_t at = str_rfind_byte(address, '@');
    if (rc != RC_SYNTAX || at < 0)
        return rc;
    buf_init(&postmaster, 2 * SMTP_PATH_MAX);
    buf_put(&postmaster, STR("postmaster"));
    buf_put(&postmaster, str_skip(address, (size_t)at));
    rc = auth_resolve(auth, buf_str(&postmaster), flags, arena, out);
    buf_fini(&postmaster);
    return rc == RC_DENIED || rc == RC_AGAIN || rc == RC_TEMP ? rc : RC_NOTFOUND;
}

/* The domain is none of ours. RC_DENIED: and mail for it is not passed on from here. */
static enum rc go_outside(struct session *s, struct str address, struct recipient *recipient)
{
    const struct smtpd_conf *conf = &s->smtpd->conf;
    struct str domain = str_domain(address);
    bool is_taken = s->role->outside == OUTSIDE_ANY && conf->may_send;
    if (s->role->outside == OUTSIDE_ACCEPTED)
        is_taken = smtpd_is_relayed(conf, domain);
    if (!is_taken || domain.n == 0)
        return RC_DENIED;
    char *lower = arena_alloc(&s->transaction->arena, domain.n);
    for (size_t i = 0; i < domain.n; i++)
        lower[i] = ascii_lower(domain.p[i]);
    recipient->targets = (struct auth_targets){0};
    recipient->domain = str_from(lower, domain.n);
    return RC_OK;
}

static enum flow take(struct session *s, struct recipient *recipient)
{
    if (smtpd_transaction_add(s, recipient) == RC_OK)
        return answer(s, SMTPD_RECIPIENT_OK);
    log_refusal(s, recipient->address, SMTPD_TOO_MANY_RECIPIENTS);
    return answer(s, SMTPD_TOO_MANY_RECIPIENTS);
}

/* An address that was made here for the sender of something forwarded: bounces go on to that
 * sender, and nothing else does. */
static enum flow take_bounce(struct session *s, enum rc rc, const struct deliver_bounce *bounce,
                             struct recipient *recipient)
{
    enum smtpd_reply reply = SMTPD_FAILED;
    if (rc == RC_AGAIN && !net_can_block(s->conn))
        return FLOW_BLOCK;
    bool is_known = rc == RC_OK || rc == RC_DENIED || rc == RC_EOF;
    if (rc == RC_OK && s->transaction->envelope.sender.n == 0) {
        recipient->target = bounce->address;
        recipient->domain = bounce->domain;
        return take(s, recipient);
    }
    if (is_known)
        reply = s->transaction->envelope.sender.n ? SMTPD_BOUNCES_ONLY : SMTPD_BAD_BOUNCE;
    log_refusal(s, recipient->address, reply);
    return answer(s, reply);
}

/* What other hosts ask for may be too much: then it is as if only the rest had been said. RC_AGAIN.
 */
static enum rc bound_notify(struct session *s, struct recipient *recipient, unsigned flags)
{
    bool is_asked = recipient->notify & SMTP_NOTIFY_SUCCESS && s->role->bit == ROLE_MX &&
                    s->transaction->envelope.sender.n;
    enum rc rc = is_asked ? smtpd_limits_report(s, flags) : RC_OK;
    if (rc == RC_OK || rc == RC_AGAIN)
        return rc;
    recipient->notify &= ~(unsigned)SMTP_NOTIFY_SUCCESS;
    if (!recipient->notify)
        recipient->notify = SMTP_NOTIFY_NEVER;
    return RC_OK;
}

static enum flow look_up(struct session *s, struct str address, struct recipient *recipient)
{
    unsigned flags = net_can_block(s->conn) ? 0 : KV_CACHED;
    enum rc limited = smtpd_limits_ask(s, recipient->address, flags);
    if (limited == RC_AGAIN && flags)
        return FLOW_BLOCK;
    if (limited != RC_OK && limited != RC_LIMIT)
        return answer(s, SMTPD_FAILED);
    if (limited == RC_LIMIT) /* and it has said so */
        return count_asked(s);
    struct deliver_bounce bounce;
    enum rc rc =
        deliver_bounce(s->smtpd->conf.deliver, address, flags, &s->transaction->arena, &bounce);
    if (rc != RC_NOTFOUND)
        return take_bounce(s, rc, &bounce, recipient);
    rc = resolve(s, address, flags, &recipient->targets);
    if (rc == RC_DENIED && s->role->is_local)
        rc = smtpd_local_resolve(s, address, flags, &recipient->targets);
    if (rc == RC_DENIED)
        rc = go_outside(s, address, recipient);
    enum smtpd_reply reply = smtpd_reply_of_lookup(rc);
    if (reply == SMTPD_NOT_OURS && s->role->is_submission)
        reply = SMTPD_NOT_SENT;
    if (rc == RC_OK) {
        rc = have_room(s, &recipient->targets, flags);
        if (rc != RC_OK)
            reply = smtpd_reply_of_delivery(s, rc);
    }
    if (rc == RC_OK)
        rc = bound_notify(s, recipient, flags);
    if (rc == RC_AGAIN && flags)
        return FLOW_BLOCK;
    if (rc == RC_OK && (rc = smtpd_transaction_add(s, recipient)) != RC_OK)
        reply = SMTPD_TOO_MANY_RECIPIENTS;
    if (rc != RC_OK)
        log_refusal(s, recipient->address, reply);
    return answer(s, reply);
}

static enum smtpd_reply take_notify(struct session *s, struct str value, void *into)
{
    struct recipient *r = into;
    return smtp_notify_parse(value, &r->notify) == RC_OK ? SMTPD_OK : SMTPD_BAD_PARAMETER;
}

static enum smtpd_reply take_orcpt(struct session *s, struct str value, void *into)
{
    struct recipient *r = into;
    r->orcpt = value;
    enum rc rc = smtp_orcpt_check(value, s->transaction->envelope.is_utf8);
    return rc == RC_OK ? SMTPD_OK : SMTPD_BAD_PARAMETER; /* [RFC3461 5.1] */
}

static const struct parameter parameters[] = {
    {STR_INIT("NOTIFY"), take_notify}, /* [RFC3461 4.1] */
    {STR_INIT("ORCPT"), take_orcpt},   /* [RFC3461 4.2] */
};

/* Checks the command but for whether anybody lives there. */
static enum smtpd_reply read_path(struct session *s, struct str args, struct smtp_path *out,
                                  struct recipient *recipient)
{
    if (!smtp_keyword_take(&args, STR("TO:")))
        return SMTPD_BAD_RCPT;
    if (smtp_path_take(&args, out) != RC_OK || out->local.n == 0)
        return SMTPD_BAD_RECIPIENT;
    enum smtpd_reply reply = smtpd_parameters_take(
        s, args, parameters, sizeof parameters / sizeof *parameters, recipient);
    if (reply != SMTPD_OK)
        return reply;
    if (out->is_utf8 && !s->transaction->envelope.is_utf8)
        return SMTPD_UTF8_RECIPIENT; /* [RFC6531 3.5] */
    if (s->transaction->n_recipients >= s->smtpd->conf.recipients)
        return SMTPD_TOO_MANY_RECIPIENTS; /* [RFC5321 4.5.3.1.10] */
    return SMTPD_OK;
}

enum flow smtpd_cmd_rcpt(struct session *s, struct str args)
{
    struct smtp_path path;
    struct recipient recipient = {0};
    enum smtpd_reply reply = read_path(s, args, &path, &recipient);
    if (reply != SMTPD_OK)
        return answer(s, reply);
    struct buf address, lookup;
    buf_init(&address, 2 * SMTP_PATH_MAX);
    buf_init(&lookup, 2 * SMTP_PATH_MAX);
    bool is_written =
        smtp_path_write(&path, &address) == RC_OK && smtpd_lookup_write(&path, &lookup) == RC_OK;
    recipient.address = buf_str(&address);
    enum flow flow =
        is_written ? look_up(s, buf_str(&lookup), &recipient) : answer(s, SMTPD_BAD_RECIPIENT);
    buf_fini(&address);
    buf_fini(&lookup);
    return flow;
}
