/* MAIL: begins a transaction [RFC5321 4.1.1.2], with SIZE [RFC1870 4] and BODY [RFC6152 2]. */
#include "smtpd/smtpd_int.h"

static enum smtpd_reply take_size(struct session *s, struct str value, uint64_t *out_size)
{
    enum rc rc = value.n <= 20 ? str_to_u64(value, out_size) : RC_SYNTAX; /* 1*20DIGIT */
    if (rc == RC_SYNTAX)
        return SMTPD_BAD_PARAMETER;
    if (rc != RC_OK || *out_size > s->smtpd->conf.message_size)
        return SMTPD_TOO_BIG; /* [RFC1870 6.1] */
    return SMTPD_SENDER_OK;
}

static enum smtpd_reply take_body(struct session *s, struct str value, uint64_t *out_size)
{
    bool is_known = str_ieq(value, STR("7BIT")) || str_ieq(value, STR("8BITMIME"));
    return is_known ? SMTPD_SENDER_OK : SMTPD_BAD_PARAMETER;
}

static const struct parameter {
    struct str name;
    enum smtpd_reply (*take)(struct session *s, struct str value, uint64_t *out_size);
} parameters[] = {
    {STR_INIT("SIZE"), take_size},
    {STR_INIT("BODY"), take_body},
};
enum { N_PARAMETERS = sizeof parameters / sizeof *parameters };

static enum smtpd_reply take_parameters(struct session *s, struct str args, uint64_t *out_size)
{
    unsigned seen = 0;
    struct smtp_param p;
    enum rc rc;
    while ((rc = smtp_param_next(&args, &p)) == RC_OK) {
        unsigned i = 0;
        while (i < N_PARAMETERS && !str_ieq(p.name, parameters[i].name))
            i++;
        if (i == N_PARAMETERS || !s->is_esmtp)
            return SMTPD_UNKNOWN_PARAMETER; /* [RFC5321 4.1.1.11] */
        if (seen & 1u << i)
            return SMTPD_BAD_PARAMETER;
        seen |= 1u << i;
        enum smtpd_reply reply = parameters[i].take(s, p.value, out_size);
        if (reply != SMTPD_SENDER_OK)
            return reply;
    }
    return rc == RC_EOF ? SMTPD_SENDER_OK : SMTPD_BAD_MAIL;
}

static enum smtpd_reply begin(struct session *s, struct str args)
{
    struct smtp_path path;
    uint64_t size = 0;
    if (!smtp_keyword_take(&args, STR("FROM:")))
        return SMTPD_BAD_MAIL;
    if (smtp_path_take(&args, &path) != RC_OK)
        return SMTPD_BAD_SENDER;
    enum smtpd_reply reply = take_parameters(s, args, &size);
    if (reply != SMTPD_SENDER_OK)
        return reply;
    if (kv_state(s->smtpd->conf.kv, NULL) == KV_READONLY)
        return SMTPD_FAILED; /* better now than after the message [RFC5321 4.2.5] */
    struct buf sender;
    buf_init(&sender, 2 * SMTP_PATH_MAX);
    if (smtp_path_write(&path, &sender) == RC_OK) {
        smtpd_transaction_begin(s, buf_str(&sender));
        s->transaction->declared = size;
    } else {
        reply = SMTPD_BAD_SENDER;
    }
    buf_fini(&sender);
    return reply;
}

enum flow smtpd_cmd_mail(struct session *s, struct str args)
{
    smtpd_reply_say(s, begin(s, args));
    return FLOW_NEXT;
}
