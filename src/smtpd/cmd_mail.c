/* MAIL: begins a transaction [RFC5321 4.1.1.2], with SIZE [RFC1870 4], BODY [RFC6152 2]
 * [RFC3030 3], SMTPUTF8 [RFC6531 3.4], RET and ENVID [RFC3461 4], HOLDFOR and HOLDUNTIL
 * [RFC4865 3], REQUIRETLS [RFC8689 2]. */
#include "smtpd/smtpd_int.h"

#include <stdio.h>

static const uint64_t LATEST_S = UINT64_MAX / NS_PER_SEC; /* that clocks here can tell */

static enum smtpd_reply take_size(struct session *s, struct str value, void *into)
{
    struct envelope *e = into;
    enum rc rc = value.n <= 20 ? str_to_u64(value, &e->declared) : RC_SYNTAX; /* 1*20DIGIT */
    if (rc == RC_SYNTAX)
        return SMTPD_BAD_PARAMETER;
    if (rc != RC_OK || e->declared > s->smtpd->conf.message_size)
        return SMTPD_TOO_BIG; /* [RFC1870 6.1] */
    return SMTPD_OK;
}

static enum smtpd_reply take_body(struct session *s, struct str value, void *into)
{
    struct envelope *e = into;
    e->is_binary = str_ieq(value, STR("BINARYMIME"));
    e->is_8bit = str_ieq(value, STR("8BITMIME"));
    return e->is_binary || e->is_8bit || str_ieq(value, STR("7BIT")) ? SMTPD_OK
                                                                     : SMTPD_BAD_PARAMETER;
}

static enum smtpd_reply take_smtputf8(struct session *s, struct str value, void *into)
{
    struct envelope *e = into;
    e->is_utf8 = true;
    return str_is_null(value) ? SMTPD_OK : SMTPD_BAD_PARAMETER; /* [RFC6531 3.4] */
}

static enum smtpd_reply take_ret(struct session *s, struct str value, void *into)
{
    struct envelope *e = into;
    return smtp_ret_parse(value, &e->ret) == RC_OK ? SMTPD_OK : SMTPD_BAD_PARAMETER;
}

static enum smtpd_reply take_envid(struct session *s, struct str value, void *into)
{
    struct envelope *e = into;
    e->envid = value;
    return smtp_envid_check(value) == RC_OK ? SMTPD_OK : SMTPD_BAD_PARAMETER; /* [RFC3461 5.1] */
}

static bool is_mailbox(struct str text)
{
    struct buf path;
    struct smtp_path unused;
    buf_init(&path, SMTP_PATH_MAX + 2);
    buf_put(&path, STR("<"));
    enum rc rc = smtp_xtext_decode(text, &path);
    buf_put(&path, STR(">"));
    struct str rest = buf_str(&path);
    bool is_good =
        rc == RC_OK && !path.over && smtp_path_take(&rest, &unused) == RC_OK && rest.n == 0;
    buf_fini(&path);
    return is_good;
}

/* Who wrote it first, as another server says, whom nobody has to believe: read, and passed on to
 * nobody [RFC4954 5]. */
static enum smtpd_reply take_auth(struct session *s, struct str value, void *into)
{
    if (!s->role->wants_login)
        return SMTPD_UNKNOWN_PARAMETER;
    return str_eq(value, STR("<>")) || (value.n > 0 && is_mailbox(value)) ? SMTPD_OK
                                                                          : SMTPD_BAD_PARAMETER;
}

static bool may_hold(const struct session *s)
{
    return s->role->bit & ROLE_SUBMISSION && s->smtpd->conf.hold_s;
}

/* One of the two, and no longer than EHLO says; never early [RFC4865 4.2]. */
static enum smtpd_reply hold_until(struct session *s, uint64_t release, const char *how,
                                   struct str value, struct envelope *e)
{
    uint64_t latest = clock_wall(s->smtpd->ctx->clock) + s->smtpd->conf.hold_s * NS_PER_SEC;
    if (e->release || release > latest || value.n >= sizeof e->hold - 8)
        return SMTPD_BAD_PARAMETER;
    e->release = release ? release : 1;
    snprintf(e->hold, sizeof e->hold, "%s;%.*s", how, STR_ARG(value));
    return SMTPD_OK;
}

static enum smtpd_reply take_holdfor(struct session *s, struct str value, void *into)
{
    uint64_t seconds, now = clock_wall(s->smtpd->ctx->clock);
    if (!may_hold(s))
        return SMTPD_UNKNOWN_PARAMETER;
    return smtp_holdfor_parse(value, &seconds) == RC_OK
               ? hold_until(s, now + seconds * NS_PER_SEC, "for", value, into)
               : SMTPD_BAD_PARAMETER;
}

static enum smtpd_reply take_holduntil(struct session *s, struct str value, void *into)
{
    uint64_t seconds;
    if (!may_hold(s))
        return SMTPD_UNKNOWN_PARAMETER;
    bool is_time = smtp_holduntil_parse(value, &seconds) == RC_OK && seconds <= LATEST_S;
    return is_time ? hold_until(s, seconds * NS_PER_SEC, "until", value, into)
                   : SMTPD_BAD_PARAMETER;
}

/* Only within TLS, where it is offered [RFC8689 2]. */
static enum smtpd_reply take_requiretls(struct session *s, struct str value, void *into)
{
    struct envelope *e = into;
    if (!net_is_secure(s->conn))
        return SMTPD_UNKNOWN_PARAMETER;
    e->requires_tls = true;
    return str_is_null(value) ? SMTPD_OK : SMTPD_BAD_PARAMETER;
}

static const struct parameter parameters[] = {
    {STR_INIT("SIZE"), take_size},
    {STR_INIT("BODY"), take_body},
    {STR_INIT("SMTPUTF8"), take_smtputf8},
    {STR_INIT("RET"), take_ret},
    {STR_INIT("ENVID"), take_envid},
    {STR_INIT("AUTH"), take_auth},
    {STR_INIT("HOLDFOR"), take_holdfor},
    {STR_INIT("HOLDUNTIL"), take_holduntil},
    {STR_INIT("REQUIRETLS"), take_requiretls},
};

/* Better now than after the message [RFC5321 4.2.5]. */
static enum smtpd_reply check_store(struct session *s, uint64_t size)
{
    enum rc rc = kv_room(s->smtpd->conf.kv, size);
    return rc == RC_OK ? SMTPD_OK : rc == RC_FULL ? SMTPD_NO_SPACE : SMTPD_FAILED;
}

/* Whether the parameters can be met. */
static enum smtpd_reply check(struct session *s, const struct smtp_path *path, struct str args,
                              struct envelope *envelope)
{
    enum smtpd_reply reply = smtpd_parameters_take(
        s, args, parameters, sizeof parameters / sizeof *parameters, envelope);
    if (reply == SMTPD_OK && path->is_utf8 && !envelope->is_utf8)
        reply = SMTPD_UTF8_SENDER; /* [RFC6531 3.5] */
    return reply == SMTPD_OK ? check_store(s, envelope->declared) : reply;
}

static enum smtpd_reply begin(struct session *s, struct str args)
{
    struct smtp_path path;
    struct envelope envelope = {0};
    if (!smtp_keyword_take(&args, STR("FROM:")))
        return SMTPD_BAD_MAIL;
    if (smtp_path_take(&args, &path) != RC_OK)
        return SMTPD_BAD_SENDER;
    struct buf sender;
    buf_init(&sender, 2 * SMTP_PATH_MAX);
    bool is_written = smtp_path_write(&path, &sender) == RC_OK;
    enum smtpd_reply reply = is_written ? check(s, &path, args, &envelope) : SMTPD_BAD_SENDER;
    envelope.sender = buf_str(&sender);
    if (reply == SMTPD_OK) {
        smtpd_transaction_begin(s, &envelope);
        reply = SMTPD_SENDER_OK;
    } else if (is_written) {
        smtpd_trace_no_sender(s, envelope.sender, reply);
    }
    buf_fini(&sender);
    return reply;
}

enum flow smtpd_cmd_mail(struct session *s, struct str args)
{
    enum smtpd_reply reply = begin(s, args);
    if (reply == SMTPD_SENDER_OK && s->role->is_submission)
        return smtpd_submission_sender(s);
    smtpd_reply_say(s, reply);
    return FLOW_NEXT;
}
