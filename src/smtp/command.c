/* Commands as a client writes them [RFC5321 4.1.1]. Every part was checked when it came in; what
 * could break out of its line is refused here all the same, since a line that is two is a command
 * of somebody else. */
#include "smtp/smtp.h"

/* Appends "keyword<address>"; what stands between the brackets must be a path, and nothing more. */
static void put_path(struct buf *out, struct str keyword, struct str address, bool *is_good)
{
    struct smtp_path path;
    size_t at = buf_len(out) + keyword.n;
    buf_put(out, keyword);
    buf_put(out, STR("<"));
    buf_put(out, address);
    buf_put(out, STR(">"));
    struct str written = str_skip(buf_str(out), at);
    if (!out->over && (smtp_path_take(&written, &path) != RC_OK || written.n > 0))
        *is_good = false;
}

static void put_value(struct buf *out, struct str name, struct str value, bool *is_good)
{
    if (value.n == 0)
        return;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] == 0x7f || (unsigned char)value.p[i] <= ' ')
            *is_good = false;
    buf_put(out, name);
    buf_put(out, value);
}

/* Ends the line, or takes back what was written of it. */
static enum rc finish(struct buf *out, size_t from, bool was_over, bool is_good)
{
    buf_put(out, STR("\r\n"));
    if (is_good && !out->over)
        return RC_OK;
    enum rc rc = is_good ? RC_LIMIT : RC_SYNTAX;
    buf_truncate(out, from);
    out->over = was_over;
    return rc;
}

enum rc smtp_mail_put(struct buf *out, const struct smtp_mail *mail)
{
    static const struct str bodies[] = {
        [SMTP_BODY_NONE] = {NULL, 0},
        [SMTP_BODY_8BIT] = STR_INIT("8BITMIME"),     /* [RFC6152 2] */
        [SMTP_BODY_BINARY] = STR_INIT("BINARYMIME"), /* [RFC3030 3] */
    };
    static const struct str rets[] = {
        [SMTP_RET_NONE] = {NULL, 0},
        [SMTP_RET_FULL] = STR_INIT("FULL"), /* [RFC3461 4.3] */
        [SMTP_RET_HDRS] = STR_INIT("HDRS"),
    };
    size_t from = buf_len(out);
    bool was_over = out->over, is_good = true;
    out->over = false;
    put_path(out, STR("MAIL FROM:"), mail->sender, &is_good);
    if (mail->has_size) {
        buf_put(out, STR(" SIZE=")); /* [RFC1870 5] */
        if (!out->over && buf_add_u64(out, mail->size) != RC_OK)
            out->over = true;
    }
    put_value(out, STR(" BODY="), bodies[mail->body], &is_good);
    if (mail->is_utf8)
        buf_put(out, STR(" SMTPUTF8")); /* [RFC6531 3.4] */
    if (mail->requires_tls)
        buf_put(out, STR(" REQUIRETLS")); /* [RFC8689 2] */
    put_value(out, STR(" RET="), rets[mail->ret], &is_good);
    put_value(out, STR(" ENVID="), mail->envid, &is_good); /* [RFC3461 4.4] */
    return finish(out, from, was_over, is_good);
}

/* [RFC3461 4.1] */
static void put_notify(struct buf *out, unsigned notify)
{
    static const struct {
        unsigned bit;
        struct str word;
    } rows[] = {{SMTP_NOTIFY_NEVER, STR_INIT("NEVER")},
                {SMTP_NOTIFY_SUCCESS, STR_INIT("SUCCESS")},
                {SMTP_NOTIFY_FAILURE, STR_INIT("FAILURE")},
                {SMTP_NOTIFY_DELAY, STR_INIT("DELAY")}};
    struct str before = STR(" NOTIFY=");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!(notify & rows[i].bit))
            continue;
        buf_put(out, before);
        buf_put(out, rows[i].word);
        before = STR(",");
    }
}

enum rc smtp_rcpt_put(struct buf *out, const struct smtp_rcpt *rcpt)
{
    size_t from = buf_len(out);
    bool was_over = out->over, is_good = rcpt->address.n > 0;
    out->over = false;
    put_path(out, STR("RCPT TO:"), rcpt->address, &is_good);
    put_notify(out, rcpt->notify);
    put_value(out, STR(" ORCPT="), rcpt->orcpt, &is_good); /* [RFC3461 4.2] */
    return finish(out, from, was_over, is_good);
}

enum rc smtp_bdat_put(struct buf *out, uint64_t size, bool is_last)
{
    size_t from = buf_len(out);
    bool was_over = out->over;
    out->over = false;
    buf_put(out, STR("BDAT "));
    if (!out->over && buf_add_u64(out, size) != RC_OK)
        out->over = true;
    if (is_last)
        buf_put(out, STR(" LAST"));
    return finish(out, from, was_over, true);
}

enum rc smtp_xtext_put(struct buf *out, struct str text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c > ' ' && c < 0x7f && c != '+' && c != '=') {
            TRY(buf_add_byte(out, (char)c));
            continue;
        }
        const char hex[] = {'+', digits[c >> 4], digits[c & 15]};
        TRY(buf_add(out, str_from(hex, sizeof hex)));
    }
    return RC_OK;
}
