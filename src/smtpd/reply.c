/* Replies: the table that turns what happened into what is said, and the two that turn result codes
 * into a reply. A 5yz reply counts as an error of the session. */
#include "smtpd/smtpd_int.h"

static const struct row {
    uint16_t code;
    const char *status;
    struct str text;
} rows[] = {
#define REPLY(id, code, status, text) [SMTPD_##id] = {code, status, STR_INIT(text)},
#include "smtpd/replies.def"
#undef REPLY
};

void smtpd_reply_say_text(struct session *s, enum smtpd_reply reply, struct str text)
{
    const struct row *row = &rows[reply];
    smtp_reply_put(net_out(s->conn), row->code, row->status, text);
    s->errors += row->code >= 500;
    if (row->code >= 400)
        counter_add(s->smtpd->ctx->counters, COUNTER_SMTP_REFUSED, 1);
}

void smtpd_reply_say(struct session *s, enum smtpd_reply reply)
{
    smtpd_reply_say_text(s, reply, rows[reply].text);
}

void smtpd_reply_count_once(struct session *s, uint32_t before)
{
    if (s->errors > before)
        s->errors = before + 1;
}

/* A result that is not listed is one that should not come; trying again later loses nothing. */
static enum smtpd_reply look_up(const enum smtpd_reply table[RC_COUNT], enum rc rc)
{
    enum smtpd_reply reply = (unsigned)rc < RC_COUNT ? table[rc] : SMTPD_FAILED;
    return reply != SMTPD_GREETING ? reply : SMTPD_FAILED; /* GREETING is 0: no entry */
}

/* What the directory calls no address has a form that nobody's address here can have. */
enum smtpd_reply smtpd_reply_of_lookup(enum rc rc)
{
    static const enum smtpd_reply table[RC_COUNT] = {
        [RC_OK] = SMTPD_RECIPIENT_OK,    [RC_NOTFOUND] = SMTPD_NO_SUCH_USER,
        [RC_DENIED] = SMTPD_NOT_OURS,    [RC_PERM] = SMTPD_DISABLED,
        [RC_CONFLICT] = SMTPD_SUSPENDED, [RC_SYNTAX] = SMTPD_NO_SUCH_USER,
        [RC_FULL] = SMTPD_NO_SPACE,
    };
    return look_up(table, rc);
}

enum smtpd_reply smtpd_reply_of_sasl(enum rc rc)
{
    static const enum smtpd_reply table[RC_COUNT] = {
        [RC_SYNTAX] = SMTPD_BAD_RESPONSE, [RC_CORRUPT] = SMTPD_BAD_BASE64,
        [RC_EOF] = SMTPD_AUTH_CANCELLED,  [RC_LIMIT] = SMTPD_AUTH_LONG,
        [RC_DENIED] = SMTPD_LOGIN_FAILED, [RC_NOTFOUND] = SMTPD_NO_MECHANISM,
        [RC_PERM] = SMTPD_AUTH_WANTS_TLS, /* [RFC4954 6] */
    };
    return look_up(table, rc);
}

enum smtpd_reply smtpd_reply_of_login(enum rc rc)
{
    static const enum smtpd_reply table[RC_COUNT] = {
        [RC_OK] = SMTPD_LOGGED_IN,      [RC_DENIED] = SMTPD_LOGIN_FAILED,
        [RC_TEMP] = SMTPD_LOGIN_LATER,  [RC_FULL] = SMTPD_LOGIN_LATER,
        [RC_LIMIT] = SMTPD_LOGIN_LATER, [RC_CORRUPT] = SMTPD_LOGIN_LATER,
    };
    return look_up(table, rc);
}

enum smtpd_reply smtpd_reply_of_ending(enum auth_ending why)
{
    return why == AUTH_SESSION_OVER ? SMTPD_LOGIN_ENDED : SMTPD_KICKED;
}

enum smtpd_reply smtpd_reply_of_authors(enum rc rc)
{
    static const enum smtpd_reply table[RC_COUNT] = {
        [RC_OK] = SMTPD_OK,
        [RC_SYNTAX] = SMTPD_BAD_FROM,
        [RC_DENIED] = SMTPD_NOT_YOUR_FROM,
    };
    return look_up(table, rc);
}

enum smtpd_reply smtpd_reply_of_delivery(const struct session *s, enum rc rc)
{
    static const enum smtpd_reply table[RC_COUNT] = {
        [RC_OK] = SMTPD_ACCEPTED,           [RC_LIMIT] = SMTPD_QUOTA,    [RC_FULL] = SMTPD_NO_SPACE,
        [RC_NOTFOUND] = SMTPD_NO_SUCH_USER, [RC_DENIED] = SMTPD_REFUSED, [RC_PERM] = SMTPD_REFUSED,
    };
    enum smtpd_reply reply = look_up(table, rc);
    bool is_final = reply == SMTPD_QUOTA && s->smtpd->conf.over_quota_refuses;
    return is_final ? SMTPD_QUOTA_FINAL : reply;
}

void smtpd_reply_log(struct log_line *l, enum smtpd_reply reply)
{
    struct buf b;
    buf_init(&b, 16);
    buf_putf(&b, "%u %s", rows[reply].code, rows[reply].status);
    log_str(l, "reply", buf_str(&b));
    buf_fini(&b);
}

void smtpd_reply_put_words(enum smtpd_reply reply, struct str words, struct buf *out)
{
    buf_putf(out, "%u %s ", rows[reply].code, rows[reply].status);
    buf_put(out, words.n ? words : rows[reply].text);
}
