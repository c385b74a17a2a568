/* What submission adds to receiving: senders must be the login's own, and a header that lacks what
 * a message must have is completed [RFC6409 6.1] [RFC6409 8].
 *
 * The header is held back (by intake.c) until it is whole. Then Date and Message-ID are put in
 * front of it where they are missing, and its Bcc fields are left out; nothing else is touched.
 * Whether its From belongs to the login is asked at the end, when the session can wait for the
 * directory. Why so: docs/decisions/0024-what-submission-changes.md. */
#include "smtpd/smtpd_int.h"

#include "mime/mime.h"

enum { FIELDS_MAX = 1024, ADDRESS_CAP = 2 * AUTH_ADDRESS_MAX };

/* --- MAIL ------------------------------------------------------------------------------------- */

static enum flow refuse_sender(struct session *s)
{
    struct buf text;
    struct str sender = str_head(s->transaction->envelope.sender, 200); /* [RFC5321 4.5.3.1.5] */
    buf_init(&text, 2048);
    buf_putf(&text, "%.*s is not an address of %s", STR_ARG(sender), s->login);
    smtpd_reply_say_text(s, SMTPD_NOT_YOUR_ADDRESS, buf_str(&text));
    smtpd_trace_refused_saying(s, (struct str){0}, SMTPD_NOT_YOUR_ADDRESS, buf_str(&text));
    buf_fini(&text);
    smtpd_transaction_end(s);
    return FLOW_NEXT;
}

/* The login was given up by somebody else: by a new password, or an administrator. */
static enum flow end_login(struct session *s)
{
    smtpd_trace_refused(s, (struct str){0}, SMTPD_LOGIN_OVER);
    smtpd_transaction_end(s);
    smtpd_auth_forget(s);
    smtpd_reply_say(s, SMTPD_LOGIN_OVER);
    return FLOW_NEXT;
}

enum flow smtpd_submission_limited(struct session *s)
{
    unsigned flags = net_can_block(s->conn) ? 0 : KV_CACHED;
    enum rc rc = smtpd_limits_ask(s, (struct str){0}, flags);
    if (rc == RC_OK) {
        smtpd_reply_say(s, SMTPD_SENDER_OK);
        return FLOW_NEXT;
    }
    smtpd_transaction_end(s);
    if (rc == RC_AGAIN && flags)
        return FLOW_BLOCK;
    if (rc != RC_LIMIT) /* that has been said */
        smtpd_reply_say(s, SMTPD_FAILED);
    return FLOW_NEXT;
}

enum flow smtpd_submission_sender(struct session *s)
{
    if (s->role->is_local)
        return smtpd_local_sender(s);
    struct auth *auth = s->smtpd->conf.auth;
    struct str sender = s->transaction->envelope.sender;
    unsigned flags = net_can_block(s->conn) ? 0 : KV_CACHED;
    enum rc rc = auth_login_holds(auth, str_of(s->login), s->account, s->credential, flags);
    if (rc == RC_DENIED)
        return end_login(s);
    if (rc == RC_OK && sender.n > 0) /* the null path is for reports [RFC6409 3.2] */
        rc = auth_may_send(auth, s->account, sender, flags);
    if (rc == RC_OK)
        return smtpd_submission_limited(s);
    if (rc == RC_DENIED)
        return refuse_sender(s);
    smtpd_transaction_end(s);
    if (rc == RC_AGAIN && flags)
        return FLOW_BLOCK;
    smtpd_reply_say(s, SMTPD_FAILED);
    return FLOW_NEXT;
}

/* --- the header ------------------------------------------------------------------------------- */

/* The same each time for one message; without brackets. */
static struct str new_id(struct session *s)
{
    struct buf id;
    buf_init(&id, FIELDS_MAX);
    buf_putf(&id, "%s@%.*s", s->transaction->id, STR_ARG(s->smtpd->conf.hostname));
    struct str copy = arena_dup(&s->transaction->arena, buf_str(&id));
    buf_fini(&id);
    return copy;
}

static bool is_blind(struct str name)
{
    return str_ieq(name, STR("Bcc")) || str_ieq(name, STR("Resent-Bcc"));
}

/* What does not begin with a field is text already, or would continue the last one added. */
static bool is_text(struct str header)
{
    struct mime_field field;
    return header.n && !str_starts(header, STR("\r\n")) && !mime_header_next(&header, &field);
}

static void put_missing(struct session *s, struct str header, struct buf *out)
{
    struct str value;
    char date[CLOCK_TEXT];
    clock_rfc5322(date, clock_wall(s->smtpd->ctx->clock));
    if (!mime_header_find(header, STR("Date"), &value)) /* [RFC6409 8.2] */
        buf_putf(out, "Date: %s\r\n", date);
    if (!mime_header_find(header, STR("Message-ID"), &value)) { /* [RFC6409 8.3] */
        struct str id = new_id(s);
        buf_putf(out, "Message-ID: <%.*s>\r\n", STR_ARG(id));
    }
    if (s->role->is_local && !mime_header_find(header, STR("From"), &value)) {
        struct str from = s->transaction->envelope.sender;
        if (from.n == 0)
            from = smtpd_local_address(s);
        buf_putf(out, "From: %.*s\r\n", STR_ARG(from));
    }
    if (is_text(header))
        buf_put(out, STR("\r\n"));
}

enum rc smtpd_submission_write(struct session *s, struct message *m, struct str header)
{
    struct buf fields;
    struct mime_field field;
    struct str kept = header, rest = header;
    buf_init(&fields, FIELDS_MAX);
    put_missing(s, header, &fields);
    enum rc rc = fields.over ? RC_LIMIT : smtpd_intake_write(m, buf_str(&fields));
    buf_fini(&fields);
    /* Runs of fields that stay go out as they are. */
    while (rc == RC_OK && mime_header_next(&rest, &field)) {
        if (!is_blind(field.name)) /* [RFC5322 3.6.3] */
            continue;
        rc = smtpd_intake_write(m, str_head(kept, (size_t)(field.whole.p - kept.p)));
        kept = rest;
    }
    return rc == RC_OK ? smtpd_intake_write(m, kept) : rc;
}

/* --- whose the message is --------------------------------------------------------------------- */

struct author_check {
    struct session *s;
    unsigned flags;
    size_t n_from, n_addresses; /* From fields, addresses in them */
};

static enum rc check_addresses(struct author_check *check, struct str value)
{
    struct session *s = check->s;
    struct buf address;
    buf_init(&address, ADDRESS_CAP);
    enum rc rc;
    while ((rc = mime_address_next(&value, &address)) == RC_OK) {
        check->n_addresses++;
        rc = auth_may_send(s->smtpd->conf.auth, s->account, buf_str(&address), check->flags);
        if (rc != RC_OK)
            break;
    }
    buf_fini(&address);
    return rc == RC_EOF ? RC_OK : rc == RC_LIMIT ? RC_SYNTAX : rc;
}

/* BINARYMIME lets through what some readers take for the end of a line, or of the text. */
static bool is_plain(struct str header)
{
    for (size_t i = 0; i < header.n; i++)
        if (header.p[i] == '\0' ||
            (header.p[i] == '\r' && (i + 1 == header.n || header.p[i + 1] != '\n')))
            return false;
    return true;
}

/* RC_SYNTAX: no header of a message, or not for everybody the same [RFC5322 3.6]; RC_DENIED: not
 * the login's; and what auth_may_send says. */
static enum rc check_authors(struct author_check *check, struct str header)
{
    struct str rest = header;
    struct mime_field field;
    while (mime_header_next(&rest, &field)) {
        bool is_from = str_ieq(field.name, STR("From"));
        check->n_from += is_from;
        if (is_from || str_ieq(field.name, STR("Sender")))
            TRY(check_addresses(check, field.value));
        if (is_from && check->n_addresses == 0)
            return RC_SYNTAX;
    }
    bool is_whole = rest.n == 0 || str_starts(rest, STR("\r\n"));
    return is_whole && is_plain(header) && check->n_from == 1 ? RC_OK : RC_SYNTAX;
}

enum rc smtpd_submission_check(struct session *s, struct str header, struct header_facts *facts)
{
    struct str value;
    struct author_check check = {.s = s, .flags = net_can_block(s->conn) ? 0 : KV_CACHED};
    if (!mime_header_find(header, STR("Message-ID"), &value))
        facts->message_id = new_id(s);
    if (s->role->is_local)
        return smtpd_local_check(s, header, facts);
    enum rc rc = check_authors(&check, header);
    s->transaction->is_vouched = rc == RC_OK;
    return s->smtpd->conf.is_any_from && rc != RC_AGAIN ? RC_OK : rc;
}
