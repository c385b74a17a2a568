/* Composes a report: the frame of multipart/report [RFC6522 3] and its three parts.
 *
 * 1. Lines come from here alone: whatever is put in goes through report_put_safe first, or through
 * quoted-printable, or is the original, which is sent as it is only when it holds nothing that
 * could end its part.
 * 2. The report is plain ASCII, except for an original in 8bit, and where SMTPUTF8 is needed
 * to reach its receiver anyhow [RFC6533 4.5].
 * 3. No memory grows with the number of recipients, but for the text part, which lists the first
 * TEXT_RECIPIENTS alone. */
#include "deliver/report.h"

#include "base/utf8.h"
#include "mime/charset.h"
#include "mime/mime.h"
#include "smtp/smtp.h"

enum {
    TEXT_RECIPIENTS = 100,
    TEXT_MAX = 512 << 10,
    FIELDS_MAX = 8 << 10, /* of the header, or of one recipient */
    COLUMNS = 72
};

enum encoding { AS_7BIT, AS_8BIT, AS_QP };

struct writer {
    const struct report *r;
    struct report_sink *sink;
    struct str original; /* what of it goes along */
    bool is_whole;
    bool is_global; /* some address is outside ASCII: message/global-delivery-status */
    struct buf boundary;
};

bool report_is_utf8(const struct report *r)
{
    return !utf8_is_ascii(r->to) && utf8_is_valid(r->to);
}

/* --- what can go as it is --------------------------------------------------------------------- */

struct look {
    bool is_8bit, is_odd; /* odd: bytes or lines that not everybody passes on as they are */
};

static struct look look_at(struct str s)
{
    struct look look = {0};
    size_t line = 0;
    for (size_t i = 0; i < s.n; i++, line++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_crlf = c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n';
        if (is_crlf) {
            i++;
            line = 0;
        }
        look.is_8bit |= c >= 0x80;
        look.is_odd |= c == 0 || c == '\n' || (c == '\r' && !is_crlf) || line > REPORT_LINE_MAX;
    }
    return look;
}

static bool has_boundary(const struct writer *w, struct str s)
{
    return str_find(s, buf_str(&w->boundary)) >= 0;
}

static enum encoding encoding_of(const struct writer *w, struct str s)
{
    struct look look = look_at(s);
    if (look.is_odd || has_boundary(w, s))
        return AS_QP;
    if (!look.is_8bit)
        return AS_7BIT;
    return report_is_utf8(w->r) && utf8_is_valid(s) ? AS_8BIT : AS_QP; /* [RFC6533 4.5] */
}

/* The header with the empty line that ends it, if there is one. */
static struct str header_of(struct str message)
{
    struct str rest = message;
    struct mime_field field;
    while (mime_header_next(&rest, &field))
        ;
    return str_head(message, (size_t)(rest.p - message.p));
}

static bool is_header_utf8(const struct writer *w)
{
    struct str header = header_of(w->original);
    return !utf8_is_ascii(header) && utf8_is_valid(header);
}

/* message/rfc822 must not be encoded [RFC2046 5.2.1]; message/global may [RFC6532 3.5]. */
static enum encoding encoding_of_whole(const struct writer *w)
{
    if (utf8_is_ascii(w->original))
        return AS_7BIT;
    return is_header_utf8(w) && !report_is_utf8(w->r) ? AS_QP : AS_8BIT; /* [RFC6533 4.5] */
}

static bool is_8bit(const struct writer *w)
{
    return report_is_utf8(w->r) || (w->is_whole && encoding_of_whole(w) == AS_8BIT);
}

/* Whole lines of it. */
static struct str cut_header(struct str header)
{
    if (header.n <= REPORT_HEADER_MAX)
        return header;
    header = str_head(header, REPORT_HEADER_MAX);
    return str_head(header, (size_t)(str_rfind_byte(header, '\n') + 1));
}

static void choose_original(struct writer *w)
{
    const struct report *r = w->r;
    struct look look = look_at(r->original);
    bool may_be_whole = r->kind == REPORT_FAILED; /* [RFC3461 6.2] */
    w->is_whole = r->is_whole && may_be_whole && !look.is_odd && !has_boundary(w, r->original);
    w->original = w->is_whole ? r->original : cut_header(header_of(r->original));
}

static void choose_form(struct writer *w)
{
    for (size_t i = 0; i < w->r->n_recipients && !w->is_global; i++) {
        const struct report_recipient *of = &w->r->recipients[i];
        bool is_utf8_orcpt = str_istarts(of->orcpt, STR("utf-8;"));
        w->is_global = is_utf8_orcpt || !utf8_is_ascii(of->address);
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

static enum rc put(struct writer *w, struct str s)
{
    return w->sink->write(w->sink, s);
}

static enum rc put_as(struct writer *w, struct str s, enum encoding encoding)
{
    return encoding == AS_QP ? report_write_qp(w->sink, s) : put(w, s);
}

/* Writes what was put into the buffer, and empties it. */
static enum rc flush(struct writer *w, struct buf *b)
{
    enum rc rc = b->over ? RC_LIMIT : put(w, buf_str(b));
    buf_clear(b);
    return rc;
}

static enum rc begin_part(struct writer *w, const char *type, enum encoding encoding)
{
    static const char *const names[] = {"7bit", "8bit", "quoted-printable"};
    struct buf b;
    buf_init(&b, 512);
    buf_put(&b, STR("\r\n--"));
    buf_put(&b, buf_str(&w->boundary));
    buf_putf(&b, "\r\nContent-Type: %s\r\n", type);
    if (encoding != AS_7BIT)
        buf_putf(&b, "Content-Transfer-Encoding: %s\r\n", names[encoding]);
    buf_put(&b, STR("\r\n"));
    enum rc rc = flush(w, &b);
    buf_fini(&b);
    return rc;
}

/* --- the header of the report ----------------------------------------------------------------- */

static void put_safe(struct buf *b, struct str s, bool is_utf8)
{
    report_put_safe(b, s, REPORT_ADDRESS_MAX, is_utf8);
}

/* So that the report stands beside the message [RFC3834 3.1.5]. */
static void put_reference(const struct report *r, struct buf *b)
{
    struct str value;
    struct buf id;
    buf_init(&id, REPORT_ADDRESS_MAX);
    if (mime_header_find(r->original, STR("Message-ID"), &value) && mime_msgid_next(&value, &id)) {
        buf_put(b, STR("In-Reply-To: <"));
        put_safe(b, buf_str(&id), false);
        buf_put(b, STR(">\r\nReferences: <"));
        put_safe(b, buf_str(&id), false);
        buf_put(b, STR(">\r\n"));
    }
    buf_fini(&id);
}

static void put_fields(const struct writer *w, struct buf *b)
{
    const struct report *r = w->r;
    char date[CLOCK_TEXT];
    clock_rfc5322(date, r->date);
    buf_putf(b, "Return-Path: <>\r\nDate: %s\r\n", date); /* [RFC3461 6.1] */
    buf_put(b, STR("From: Mail Delivery System <postmaster@"));
    put_safe(b, r->from, report_is_utf8(r));
    buf_put(b, STR(">\r\nTo: <"));
    put_safe(b, r->to, report_is_utf8(r));
    buf_put(b, STR(">\r\nSubject: "));
    report_put_subject(r, b);
    buf_put(b, STR("\r\nMessage-ID: <"));
    put_safe(b, r->id, false);
    buf_put(b, STR("@"));
    put_safe(b, r->hostname, false);
    buf_put(b, STR(">\r\n"));
    put_reference(r, b);
    buf_put(b, STR("Auto-Submitted: auto-replied\r\n")); /* [RFC3834 5.1] */
    buf_put(b, STR("MIME-Version: 1.0\r\n"
                   "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                   "\tboundary=\""));
    buf_put(b, buf_str(&w->boundary));
    buf_put(b, STR("\"\r\n"));
    if (is_8bit(w))
        buf_put(b, STR("Content-Transfer-Encoding: 8bit\r\n"));
}

static enum rc write_header(struct writer *w)
{
    struct buf b;
    buf_init(&b, FIELDS_MAX);
    put_fields(w, &b);
    enum rc rc = flush(w, &b);
    buf_fini(&b);
    return rc;
}

/* --- the first part: for people --------------------------------------------------------------- */

static void put_line_of(const struct report *r, const char *name, struct str field, struct buf *b)
{
    struct str value;
    struct buf text;
    buf_init(&text, 2048);
    if (mime_header_find(r->original, field, &value)) {
        enum rc rc =
            r->charsets ? mime_words_decode(value, r->charsets, &text) : mime_unfold(value, &text);
        struct str shown = rc == RC_OK ? buf_str(&text) : str_trim(value);
        buf_put(b, str_of(name));
        report_put_safe(b, shown, 300, true);
        buf_put(b, STR("\r\n"));
    }
    buf_fini(&text);
}

/* So that its reader knows which message it was. */
static void put_message(const struct writer *w, struct buf *b)
{
    put_line_of(w->r, "Subject:    ", STR("Subject"), b);
    put_line_of(w->r, "Written:    ", STR("Date"), b);
    put_line_of(w->r, "To:         ", STR("To"), b);
    put_line_of(w->r, "Message-ID: ", STR("Message-ID"), b);
    buf_put(b, STR("\r\n"));
}

/* Lines of at most COLUMNS, broken at spaces where there are some. */
static void put_wrapped(struct str s, struct buf *b)
{
    while (s.n > 0) {
        size_t n = s.n;
        if (n > COLUMNS) {
            ptrdiff_t space = str_rfind_byte(str_head(s, COLUMNS + 1), ' ');
            n = space > 0 ? (size_t)space : COLUMNS;
        }
        buf_put(b, STR("    "));
        buf_put(b, str_head(s, n));
        buf_put(b, STR("\r\n"));
        s = str_skip(s, n);
        if (str_starts(s, STR(" ")))
            s = str_skip(s, 1);
    }
}

/* "550 5.1.1 no such user" as it came. */
static void put_reply(const struct deliver_outcome *o, struct buf *b)
{
    if (o->code)
        buf_putf(b, "%u", o->code);
    if (o->code && o->status.n) {
        buf_put(b, STR(" "));
        report_put_safe(b, o->status, 12, false);
    }
    if (o->code && o->text.n)
        buf_put(b, STR(" "));
    report_put_safe(b, o->text, REPORT_WORDS_MAX, false);
}

/* "mx.example.org[192.0.2.1]" */
static struct str name_of(struct str host)
{
    ptrdiff_t at = str_ends(host, STR("]")) ? str_rfind_byte(host, '[') : -1;
    return at > 0 ? str_head(host, (size_t)at) : host;
}

static void put_host(struct str host, struct buf *b)
{
    struct str name = name_of(host);
    put_safe(b, name, false);
    if (name.n < host.n) {
        buf_put(b, STR(" "));
        put_safe(b, str_skip(host, name.n), false);
    }
}

static void put_said(const struct report_recipient *of, struct buf *b)
{
    static const char *const where[] = {
        [DELIVER_AT_NOTHING] = "",
        [DELIVER_AT_LOOKUP] = ", looking for its mail server",
        [DELIVER_AT_CONNECT] = ", connecting",
        [DELIVER_AT_GREETING] = ", at the beginning",
        [DELIVER_AT_TLS] = ", starting TLS",
        [DELIVER_AT_LOGIN] = ", logging in",
        [DELIVER_AT_MAIL] = ", about the sender",
        [DELIVER_AT_RCPT] = ", about the recipient",
        [DELIVER_AT_DATA] = ", about the message",
        [DELIVER_AT_MAILBOX] = ", at the mailbox",
        [DELIVER_AT_OURSELVES] = ", before it was sent",
    };
    const struct deliver_outcome *o = &of->outcome;
    struct buf words;
    buf_init(&words, 1024);
    buf_put(b, STR("<"));
    put_safe(b, of->address, true);
    buf_put(b, STR(">"));
    if (o->host.n) {
        buf_put(b, STR(" "));
        put_host(o->host, b);
    }
    buf_put(b, str_of(where[o->stage <= DELIVER_AT_OURSELVES ? o->stage : 0]));
    buf_put(b, STR(":\r\n"));
    put_reply(o, &words);
    put_wrapped(str_trim(buf_str(&words)), b);
    buf_fini(&words);
}

static bool has_words(const struct report_recipient *of)
{
    return of->outcome.code || of->outcome.text.n;
}

static void put_details(const struct writer *w, size_t n, struct buf *b)
{
    const struct report *r = w->r;
    bool is_first = true;
    for (size_t i = 0; i < n; i++) {
        if (!has_words(&r->recipients[i]))
            continue;
        if (is_first)
            buf_put(b, STR("For whoever looks after mail servers, what was said:\r\n"));
        is_first = false;
        put_said(&r->recipients[i], b);
    }
    if (!is_first)
        buf_put(b, STR("\r\n"));
}

static void put_text(const struct writer *w, struct buf *b)
{
    const struct report *r = w->r;
    size_t n = r->n_recipients < TEXT_RECIPIENTS ? r->n_recipients : TEXT_RECIPIENTS;
    report_put_lead(r, b);
    for (size_t i = 0; i < n && r->n_recipients > 1; i++)
        report_put_one(r, &r->recipients[i], b);
    if (n < r->n_recipients)
        buf_putf(b, "And %zu more, in the part for programs.\r\n\r\n", r->n_recipients - n);
    put_message(w, b);
    put_details(w, n, b);
    buf_put(b, STR("This report was written by the mail server "));
    put_safe(b, r->hostname, false);
    buf_put(b, w->is_whole ? STR(".\r\nYour message is attached.\r\n")
                           : STR(".\r\nThe header of your message is attached.\r\n"));
}

static enum rc write_text(struct writer *w)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    put_text(w, &b);
    enum encoding encoding = encoding_of(w, buf_str(&b));
    enum rc rc = begin_part(w, "text/plain; charset=utf-8", encoding);
    if (rc == RC_OK)
        rc = b.over ? RC_LIMIT : put_as(w, buf_str(&b), encoding);
    buf_fini(&b);
    return rc;
}

/* --- the second part: for programs ------------------------------------------------------------ */

static void put_date(const char *name, uint64_t at, struct buf *b)
{
    char date[CLOCK_TEXT];
    clock_rfc5322(date, at);
    buf_putf(b, "%s: %s\r\n", name, date);
}

static void put_decoded(const char *name, struct str type, struct str xtext, struct buf *b)
{
    struct buf text;
    buf_init(&text, REPORT_ADDRESS_MAX);
    bool is_xtext = smtp_xtext_decode(xtext, &text) == RC_OK;
    buf_put(b, str_of(name));
    if (type.n) {
        put_safe(b, type, false);
        buf_put(b, STR("; "));
    }
    put_safe(b, is_xtext ? buf_str(&text) : xtext, false);
    buf_put(b, STR("\r\n"));
    buf_fini(&text);
}

static void put_message_fields(const struct writer *w, struct buf *b)
{
    const struct report *r = w->r;
    bool is_name = str_find_byte(r->hostname, '.') > 0; /* [RFC3461 6.3] (b) */
    buf_put(b, is_name ? STR("Reporting-MTA: dns; ") : STR("Reporting-MTA: x-local-hostname; "));
    put_safe(b, r->hostname, false);
    buf_put(b, STR("\r\n"));
    if (r->envid.n) /* [RFC3461 6.3] (a), [RFC3464 2.2.1] */
        put_decoded("Original-Envelope-Id: ", STR(""), r->envid, b);
    put_date("Arrival-Date", r->arrived, b); /* [RFC4865 5.1.2] */
    if (r->hold.n) {                         /* [RFC4865 5.1.2] */
        buf_put(b, STR("Future-Release-Request: "));
        put_safe(b, r->hold, false);
        buf_put(b, STR("\r\n"));
    }
}

/* An address of type utf-8 is shown as it is meant, others as they came but for xtext
 * [RFC6533 3]. */
static void put_original(struct str orcpt, struct buf *b)
{
    struct str value = orcpt, type;
    struct buf text;
    if (!str_cut(&value, ';', &type) || value.n == 0)
        return;
    if (!str_ieq(type, STR("utf-8"))) {
        put_decoded("Original-Recipient: ", type, value, b); /* [RFC3461 6.3] (d) */
        return;
    }
    buf_init(&text, REPORT_ADDRESS_MAX);
    bool is_unitext = smtp_unitext_decode(value, &text) == RC_OK;
    buf_put(b, STR("Original-Recipient: utf-8; "));
    put_safe(b, is_unitext ? buf_str(&text) : value, true);
    buf_put(b, STR("\r\n"));
    buf_fini(&text);
}

static const char *action_of(const struct report *r, const struct report_recipient *of)
{
    if (r->kind != REPORT_SUCCESS)
        return r->kind == REPORT_FAILED ? "failed" : "delayed";
    if (of->outcome.verdict == DELIVER_DELIVERED)
        return "delivered";
    return of->outcome.verdict == DELIVER_EXPANDED ? "expanded" : "relayed";
}

/* Up to three digits, without zeroes in front [RFC3464 2.3.4]. */
static bool is_detail(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_is_digit(s.p[i]))
            return false;
    return s.n >= 1 && s.n <= 3 && (s.n == 1 || s.p[0] != '0');
}

static bool is_status(struct str s, char class)
{
    struct str first, second;
    return str_cut(&s, '.', &first) && str_cut(&s, '.', &second) && first.n == 1 &&
           first.p[0] == class && is_detail(second) && is_detail(s);
}

/* Of the class that the action has [RFC3464 2.3.4]; of what expired, that of the last try, which
 * was 4. */
static void put_status(const struct report *r, const struct report_recipient *of, struct buf *b)
{
    char class = r->kind == REPORT_SUCCESS                     ? '2'
                 : r->kind == REPORT_DELAYED || of->is_expired ? '4'
                                                               : '5';
    struct str status = of->outcome.status;
    bool can_be = is_status(status, '4') || is_status(status, '5') || is_status(status, '2');
    bool is_same = is_status(status, class);
    if (is_same || (can_be && class == '5' && status.p[0] == '4'))
        buf_putf(b, "Status: %c%.*s\r\n", class, STR_ARG(str_skip(status, 1)));
    else if (of->is_expired)
        buf_put(b, STR("Status: 4.4.7\r\n"));
    else if (r->kind == REPORT_SUCCESS && of->outcome.verdict == DELIVER_DELIVERED)
        buf_put(b, STR("Status: 2.1.5\r\n"));
    else
        buf_putf(b, "Status: %c.0.0\r\n", class); /* [RFC3461 6.3] (g) */
}

static void put_recipient(const struct report *r, const struct report_recipient *of, struct buf *b)
{
    const struct deliver_outcome *o = &of->outcome;
    buf_put(b, STR("\r\n"));
    put_original(of->orcpt, b);
    /* As it came, also in the case of its letters [RFC3464 2.3.2]. */
    buf_put(b, utf8_is_ascii(of->address) ? STR("Final-Recipient: rfc822; ")
                                          : STR("Final-Recipient: utf-8; "));
    put_safe(b, of->address, true);
    buf_putf(b, "\r\nAction: %s\r\n", action_of(r, of)); /* [RFC3464 2.3.3] */
    put_status(r, of, b);
    if (o->host.n) { /* [RFC3461 6.3] (h), [RFC3464 2.3.5] */
        buf_put(b, STR("Remote-MTA: dns; "));
        put_safe(b, name_of(o->host), false);
        buf_put(b, STR("\r\n"));
    }
    if (o->code || (o->text.n && r->kind != REPORT_SUCCESS)) { /* [RFC3461 6.3] (i), 9.2 */
        buf_put(b, o->code ? STR("Diagnostic-Code: smtp; ") : STR("Diagnostic-Code: x-penfold; "));
        put_reply(o, b);
        buf_put(b, STR("\r\n"));
    }
    if (of->tried) /* [RFC3464 2.3.7] */
        put_date("Last-Attempt-Date", of->tried, b);
    if (r->log_id.n) {
        buf_put(b, STR("Final-Log-ID: "));
        put_safe(b, r->log_id, false);
        buf_put(b, STR("\r\n"));
    }
    if (r->kind == REPORT_DELAYED) /* [RFC3464 2.3.9] */
        put_date("Will-Retry-Until", r->retry_until, b);
}

/* In 7 bits, unless it is of the kind that holds UTF-8 [RFC3464 2.1], [RFC6533 4.1]. */
static enum rc write_status(struct writer *w)
{
    const struct report *r = w->r;
    enum encoding encoding = !w->is_global ? AS_7BIT : report_is_utf8(r) ? AS_8BIT : AS_QP;
    struct buf b;
    buf_init(&b, FIELDS_MAX);
    enum rc rc = begin_part(
        w, w->is_global ? "message/global-delivery-status" : "message/delivery-status", encoding);
    put_message_fields(w, &b);
    for (size_t i = 0; rc == RC_OK && i <= r->n_recipients; i++) {
        rc = b.over ? RC_LIMIT : put_as(w, buf_str(&b), encoding);
        buf_clear(&b);
        if (i < r->n_recipients)
            put_recipient(r, &r->recipients[i], &b);
    }
    buf_fini(&b);
    return rc;
}

/* --- the third part: the message -------------------------------------------------------------- */

static enum rc write_whole(struct writer *w)
{
    enum encoding encoding = encoding_of_whole(w);
    TRY(begin_part(w, is_header_utf8(w) ? "message/global" : "message/rfc822", encoding));
    return put_as(w, w->original, encoding);
}

static enum rc write_original(struct writer *w)
{
    if (w->is_whole)
        return write_whole(w);
    enum encoding encoding = encoding_of(w, w->original);
    TRY(begin_part(w, is_header_utf8(w) ? "message/global-headers" : "text/rfc822-headers",
                   encoding));
    return put_as(w, w->original, encoding);
}

static enum rc write_all(struct writer *w)
{
    TRY(write_header(w));
    TRY(write_text(w));
    TRY(write_status(w));
    TRY(write_original(w));
    TRY(put(w, STR("\r\n--")));
    TRY(put(w, buf_str(&w->boundary)));
    return put(w, STR("--\r\n"));
}

static void choose(struct writer *w)
{
    buf_init(&w->boundary, 70);              /* [RFC2046 5.1.1] */
    buf_put(&w->boundary, STR("=_report-")); /* no line of quoted-printable holds this */
    buf_put(&w->boundary, str_head(w->r->id, 50));
    choose_original(w);
    choose_form(w);
}

enum rc report_write(const struct report *r, struct report_sink *sink)
{
    struct writer w = {.r = r, .sink = sink};
    choose(&w);
    enum rc rc = write_all(&w);
    buf_fini(&w.boundary);
    return rc;
}

bool report_is_8bit(const struct report *r)
{
    struct writer w = {.r = r};
    choose(&w);
    bool is = is_8bit(&w);
    buf_fini(&w.boundary);
    return is;
}
