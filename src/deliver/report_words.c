/* The plain words of a report: what happened, and what its reader can do about it.
 *
 * One table leads from a status code [RFC3463] to the words: a row for each code that means
 * something to a person, then one for each of its subjects, which catches the rest. A reply without
 * a status code is taken for the one that it most often stands for. */
#include "deliver/report.h"

#include "mime/charset.h"
#include "mime/mime.h"

/* What to do. */
#define CHECK   "Check the address for typing errors and send the message again."
#define DOMAIN  "Check what stands behind the @ for typing errors and send the message again."
#define LATER   "Send it again later, or reach the recipient in another way."
#define ANOTHER "Reach the recipient in another way, and mention this report."
#define SMALLER "Send less at once, or a link to the files instead of the files."
#define OURS    "Show this report to whoever looks after your own mail server."
#define THEIR   "The words of that server below may say why; else ask the recipient in another way."
#define PLAIN                                                                                      \
    "Send it in plain letters, without accents and pictures, or reach the recipient in another "   \
    "way."

static const struct cause {
    struct str detail;     /* the status without its class; "7." is all of 7 */
    enum deliver_stage at; /* DELIVER_AT_NOTHING: wherever it happened */
    const char *failed;    /* %d is the recipient's domain, %s the size of the message */
    const char *lasting;   /* the same of what has failed for some time; NULL: `failed` */
    const char *advice;
} causes[] = {
    /* Where it happened says more than the code. */
    {STR_INIT("7.30"), 0,
     "you have asked for a secure way through to the end (REQUIRETLS), which its mail server "
     "cannot promise",
     NULL, "Send it again without that wish, or reach the recipient in another way."},
    {STR_INIT("7.1"), DELIVER_AT_OURSELVES,
     "whoever looks after this mail server has taken it out of what waits", NULL,
     "Ask whoever looks after your own mail server; this report shows which message it was."},
    {STR_INIT("7."), DELIVER_AT_TLS,
     "no secure connection to its mail server could be made, and nothing else is allowed",
     "no secure connection to its mail server could be made", ANOTHER},
    {STR_INIT("4."), DELIVER_AT_TLS,
     "no secure connection to its mail server could be made, and nothing else is allowed",
     "no secure connection to its mail server could be made", ANOTHER},
    {STR_INIT("7."), DELIVER_AT_LOGIN, "the server that passes our mail on refuses our login", NULL,
     OURS},
    /* Addresses. */
    {STR_INIT("1.1"), 0, "there is no such mailbox", NULL, CHECK},
    {STR_INIT("1.2"), 0, "there is no such domain as %d", "the domain %d could not be found",
     DOMAIN},
    {STR_INIT("1.3"), 0, "its mail server says that this is no valid address", NULL, CHECK},
    {STR_INIT("1.4"), 0, "the address can mean several mailboxes there", NULL, CHECK},
    {STR_INIT("1.6"), 0, "the mailbox has moved away", NULL,
     "Ask the recipient for the new address."},
    {STR_INIT("1.7"), 0, "its mail server does not take your own address as a sender", NULL, OURS},
    {STR_INIT("1.8"), 0, "its mail server does not take your own address as a sender", NULL, OURS},
    {STR_INIT("1.10"), 0, "the domain %d takes no mail at all", NULL, DOMAIN},
    {STR_INIT("1."), 0, "its mail server takes no mail for this address",
     "its mail server took no mail for this address", CHECK},
    /* Mailboxes. */
    {STR_INIT("2.1"), 0, "the mailbox is closed and takes no mail",
     "the mailbox was closed and took no mail", ANOTHER},
    {STR_INIT("2.2"), 0, "the mailbox is full", "the mailbox was full", LATER},
    {STR_INIT("2.3"), 0, "the message is too large for this mailbox (it has %s)", NULL, SMALLER},
    {STR_INIT("2.4"), 0, "the mailing list could not be opened up", NULL, LATER},
    {STR_INIT("2."), 0, "the mailbox takes no mail", "the mailbox took no mail", LATER},
    /* Mail servers. */
    {STR_INIT("3.1"), 0, "the disk of its mail server is full",
     "the disk of its mail server was full", LATER},
    {STR_INIT("3.2"), 0, "its mail server takes no mail now", "its mail server took no mail",
     LATER},
    {STR_INIT("3.3"), 0, "its mail server lacks something that the message needs", NULL, PLAIN},
    {STR_INIT("3.4"), 0, "the message is too large for its mail server (it has %s)", NULL, SMALLER},
    {STR_INIT("3."), 0, "its mail server is in trouble", "its mail server was in trouble", LATER},
    /* The way there. */
    {STR_INIT("4.2"), 0, "the connection to its mail server broke",
     "the connection to its mail server kept breaking", LATER},
    {STR_INIT("4.3"), 0, "it could not be found out where mail for %d goes", NULL, LATER},
    {STR_INIT("4.4"), 0, "there is no way to a mail server for %d",
     "no way to a mail server for %d was found", DOMAIN},
    {STR_INIT("4.5"), 0, "its mail server has too much to do", "its mail server had too much to do",
     LATER},
    {STR_INIT("4.6"), 0, "it went round in circles between mail servers", NULL, OURS},
    {STR_INIT("4.7"), 0, "it was under way for too long", "it could not be passed on", LATER},
    {STR_INIT("4."), 0, "its mail server could not be reached", NULL, LATER},
    /* The protocol, the content. */
    {STR_INIT("5.3"), 0, "it has too many recipients at once", NULL,
     "Send it to fewer recipients at once."},
    {STR_INIT("5."), 0, "its mail server and ours did not understand each other", NULL, OURS},
    {STR_INIT("6.7"), 0, "its mail server takes no addresses with other letters than a to z", NULL,
     "Use addresses in plain letters, or reach the recipient in another way."},
    {STR_INIT("6.8"), 0, "its mail server takes no addresses with other letters than a to z", NULL,
     "Use addresses in plain letters, or reach the recipient in another way."},
    {STR_INIT("6.9"), 0, "its mail server takes no addresses with other letters than a to z", NULL,
     "Use addresses in plain letters, or reach the recipient in another way."},
    {STR_INIT("6.0"), 0, "its mail server does not take what is in the message", NULL, THEIR},
    {STR_INIT("6.1"), 0, "its mail server does not take what is in the message", NULL, THEIR},
    {STR_INIT("6."), 0, "its mail server takes only plain text, and the message is more than that",
     NULL, PLAIN},
    /* Rules. */
    {STR_INIT("7.2"), 0, "the mailing list takes no mail from you", NULL,
     "Ask whoever looks after the list."},
    {STR_INIT("7.8"), 0, "its mail server wants to know who sends it, and was not satisfied", NULL,
     OURS},
    {STR_INIT("7.10"), 0,
     "no secure connection to its mail server could be made, and nothing else is allowed",
     "no secure connection to its mail server could be made", ANOTHER},
    {STR_INIT("7.20"), 0, "its mail server could not see that the message is from you (DKIM)", NULL,
     OURS},
    {STR_INIT("7.21"), 0, "its mail server could not see that the message is from you (DKIM)", NULL,
     OURS},
    {STR_INIT("7.22"), 0, "its mail server could not see that the message is from you (DKIM)", NULL,
     OURS},
    {STR_INIT("7.23"), 0, "its mail server could not see that the message is from you (SPF)", NULL,
     OURS},
    {STR_INIT("7.24"), 0, "its mail server could not see that the message is from you (SPF)", NULL,
     OURS},
    {STR_INIT("7.25"), 0, "its mail server does not trust the network address of ours", NULL, OURS},
    {STR_INIT("7.26"), 0, "its mail server could not see that the message is from you (SPF, DKIM)",
     NULL, OURS},
    {STR_INIT("7.27"), 0, "its mail server does not take your own address as a sender", NULL, OURS},
    {STR_INIT("7.28"), 0, "its mail server finds that too much mail comes", NULL, LATER},
    {STR_INIT("7."), 0, "its mail server refuses the message",
     "its mail server refused the message", THEIR},
    /* Whatever else. */
    {STR_INIT(""), 0, "its mail server did not take the message", NULL, THEIR},
};

/* What a reply without a status code most often means. */
static const struct meaning {
    uint16_t code;
    enum deliver_stage at; /* DELIVER_AT_NOTHING: any */
    struct str detail;
} meanings[] = {
    {550, DELIVER_AT_RCPT, STR_INIT("1.1")},
    {550, 0, STR_INIT("7.1")},
    {551, 0, STR_INIT("1.6")},
    {552, DELIVER_AT_RCPT, STR_INIT("2.2")},
    {552, 0, STR_INIT("3.4")},
    {553, DELIVER_AT_RCPT, STR_INIT("1.3")},
    {553, 0, STR_INIT("1.7")},
    {554, 0, STR_INIT("7.1")},
    {556, 0, STR_INIT("1.10")},
    {521, 0, STR_INIT("1.10")},
    {530, 0, STR_INIT("7.0")},
    {421, 0, STR_INIT("3.2")},
    {450, 0, STR_INIT("2.0")},
    {451, 0, STR_INIT("3.0")},
    {452, DELIVER_AT_RCPT, STR_INIT("2.2")},
    {452, 0, STR_INIT("3.1")},
};

static struct str detail_of(const struct deliver_outcome *o)
{
    struct str detail = o->status, class;
    if (str_cut(&detail, '.', &class) && !str_is_null(detail) && !str_eq(detail, STR("0.0")))
        return detail;
    for (size_t i = 0; o->code && i < sizeof meanings / sizeof *meanings; i++)
        if (meanings[i].code == o->code && (!meanings[i].at || meanings[i].at == o->stage))
            return meanings[i].detail;
    bool had_no_answer = o->stage == DELIVER_AT_CONNECT || o->stage == DELIVER_AT_GREETING;
    return had_no_answer && o->code == 0 ? STR("4.1") : STR("");
}

static const struct cause *cause_of(const struct deliver_outcome *o)
{
    struct str detail = detail_of(o);
    const struct cause *c = causes;
    for (;; c++) { /* the last row fits all */
        bool is_subject = c->detail.n == 0 || str_ends(c->detail, STR("."));
        bool fits = is_subject ? str_starts(detail, c->detail) : str_eq(detail, c->detail);
        if (fits && (c->at == DELIVER_AT_NOTHING || c->at == o->stage))
            return c;
    }
}

/* --- pieces ----------------------------------------------------------------------------------- */

static void put_address(struct str address, struct buf *out)
{
    report_put_safe(out, address, REPORT_ADDRESS_MAX, true);
}

static void put_domain(struct str address, struct buf *out)
{
    struct str domain = str_domain(address);
    put_address(str_is_null(domain) ? STR("that address") : domain, out);
}

static void put_size(uint64_t size, struct buf *out)
{
    uint64_t kb = (size + 1023) / 1024, tenths = (size * 10 + (1 << 19)) >> 20;
    if (kb < 1024)
        buf_putf(out, "%llu KB", (unsigned long long)kb);
    else
        buf_putf(out, "%llu.%llu MB", (unsigned long long)tenths / 10,
                 (unsigned long long)tenths % 10);
}

static void put_template(const char *text, const struct report *r,
                         const struct report_recipient *of, struct buf *out)
{
    for (; *text; text++) {
        if (*text != '%')
            buf_put(out, str_from(text, 1));
        else if (*++text == 'd')
            put_domain(of->address, out);
        else
            put_size(r->size, out);
    }
}

/* "5 days", to the nearest one */
static void put_time(uint64_t ns, struct buf *out)
{
    static const struct {
        uint64_t seconds;
        const char *one, *many;
    } units[] = {{86400, "a day", "days"}, {3600, "an hour", "hours"}, {60, "a minute", "minutes"}};
    uint64_t seconds = ns / NS_PER_SEC;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t n = (seconds + units[i].seconds / 2) / units[i].seconds;
        if (seconds >= units[i].seconds && n == 1)
            buf_put(out, str_of(units[i].one));
        else if (seconds >= units[i].seconds)
            buf_putf(out, "%llu %s", (unsigned long long)n, units[i].many);
        if (seconds >= units[i].seconds)
            return;
    }
    buf_put(out, STR("a moment"));
}

/* What stands behind the colon, with a full stop. */
static void put_cause(const struct report *r, const struct report_recipient *of, struct buf *out)
{
    const struct cause *c = cause_of(&of->outcome);
    bool lasts = of->is_expired || r->kind == REPORT_DELAYED;
    put_template(lasts && c->lasting ? c->lasting : c->failed, r, of, out);
    if (of->is_expired) {
        buf_put(out, STR(" for "));
        put_time(r->date > r->arrived ? r->date - r->arrived : 0, out);
        buf_put(out, STR(", and it is not tried any more"));
    }
    buf_put(out, STR("."));
}

static void put_advice(const struct report *r, const struct report_recipient *of, struct buf *out)
{
    char until[CLOCK_TEXT];
    clock_rfc5322(until, r->retry_until);
    if (r->kind == REPORT_FAILED)
        buf_put(out, str_of(cause_of(&of->outcome)->advice));
    else if (r->kind == REPORT_DELAYED)
        buf_putf(out, "You need not do anything: it is tried again until %s.", until);
    else
        buf_put(out, STR("You asked to be told; there is nothing to do."));
}

/* Of "mx.example.org[192.0.2.1]" the name. */
static size_t host_end(struct str host)
{
    ptrdiff_t at = str_rfind_byte(host, '[');
    return at > 0 ? (size_t)at : host.n;
}

/* Of what went well: the whole sentence. */
static void put_success(const struct report_recipient *of, struct buf *out)
{
    const struct deliver_outcome *o = &of->outcome;
    if (o->verdict == DELIVER_DELIVERED) {
        buf_put(out, STR("Your message is in the mailbox of "));
        put_address(of->address, out);
    } else if (o->verdict == DELIVER_EXPANDED) {
        buf_put(out, STR("Your message has gone to the addresses that "));
        put_address(of->address, out);
        buf_put(out, STR(" stands for"));
    } else {
        buf_put(out, STR("Your message for "));
        put_address(of->address, out);
        buf_put(out, STR(" was passed on to "));
        if (o->host.n)
            report_put_safe(out, str_head(o->host, host_end(o->host)), REPORT_ADDRESS_MAX, false);
        else
            buf_put(out, STR("another server"));
        buf_put(out, STR(", which does not tell what becomes of it"));
    }
    buf_put(out, STR("."));
}

/* --- the parts that report.c asks for --------------------------------------------------------- */

void report_put_subject(const struct report *r, struct buf *out)
{
    static const char *const words[] = {
        [REPORT_FAILED] = "Not delivered",
        [REPORT_DELAYED] = "Not delivered yet",
        [REPORT_SUCCESS] = "Delivered",
    };
    struct str first = r->recipients[0].address;
    size_t n_delivered = 0;
    for (size_t i = 0; i < r->n_recipients; i++)
        n_delivered += r->recipients[i].outcome.verdict == DELIVER_DELIVERED;
    if (r->kind != REPORT_SUCCESS || n_delivered == r->n_recipients)
        buf_put(out, str_of(words[r->kind]));
    else
        buf_put(out, n_delivered ? STR("Delivered or passed on") : STR("Passed on"));
    if (r->n_recipients > 1)
        buf_putf(out, " to %zu recipients", r->n_recipients);
    for (size_t i = 0; i < first.n; i++)
        if (!ascii_is_print(first.p[i]))
            return;
    if (r->n_recipients == 1 && first.n < 200) {
        buf_put(out, STR(" to "));
        buf_put(out, first);
    }
}

static void put_lead_of_one(const struct report *r, struct buf *out)
{
    const struct report_recipient *of = r->recipients;
    if (r->kind == REPORT_SUCCESS) {
        put_success(of, out);
    } else {
        buf_put(out, r->kind == REPORT_FAILED ? STR("Your message did not reach ")
                                              : STR("Your message has not reached "));
        put_address(of->address, out);
        buf_put(out, r->kind == REPORT_FAILED ? STR(": ") : STR(" yet: "));
        put_cause(r, of, out);
    }
    buf_put(out, STR(" "));
    put_advice(r, of, out);
}

void report_put_lead(const struct report *r, struct buf *out)
{
    if (r->n_recipients == 1)
        put_lead_of_one(r, out);
    else if (r->kind == REPORT_FAILED)
        buf_putf(out,
                 "Your message did not reach %zu of its recipients. What happened to each, and "
                 "what you can do:",
                 r->n_recipients);
    else if (r->kind == REPORT_DELAYED)
        buf_putf(out,
                 "Your message has not reached %zu of its recipients yet. You need not do "
                 "anything: it is tried again.",
                 r->n_recipients);
    else
        buf_putf(out,
                 "This came of your message for %zu recipients. You asked to be told; there is "
                 "nothing to do.",
                 r->n_recipients);
    buf_put(out, STR("\r\n\r\n"));
}

void report_put_one(const struct report *r, const struct report_recipient *of, struct buf *out)
{
    if (r->kind == REPORT_SUCCESS) {
        put_success(of, out);
    } else {
        put_address(of->address, out);
        buf_put(out, STR(": "));
        put_cause(r, of, out);
    }
    if (r->kind == REPORT_FAILED) {
        buf_put(out, STR(" "));
        put_advice(r, of, out);
    }
    buf_put(out, STR("\r\n\r\n"));
}
