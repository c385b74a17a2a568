/* EHLO and HELO: the peer says its name and learns what is offered [RFC5321 4.1.1.1]. Both end a
 * transaction [RFC5321 4.1.4]. */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"

static bool always(const struct session *s)
{
    return true;
}

static bool has_tls(const struct session *s)
{
    return net_has_tls(s->conn); /* not within TLS [RFC3207 4.2] */
}

static const struct offer {
    const char *keyword;
    bool (*is_offered)(const struct session *s);
} offers[] = {
    {"PIPELINING", always},          /* [RFC2920 3] */
    {"8BITMIME", always},            /* [RFC6152 2] */
    {"ENHANCEDSTATUSCODES", always}, /* [RFC2034 3] */
    {"STARTTLS", has_tls},           /* [RFC3207 4] */
    {"HELP", always},                /* [RFC5321 4.1.1.8] */
};

/* True when the name is one; it is taken as it is, and never compared with the address
 * [RFC5321 4.1.4]. */
static bool greet(struct session *s, struct str name, bool is_esmtp)
{
    if (str_ends(name, STR("."))) /* "mx.example.org." is common enough */
        name = str_head(name, name.n - 1);
    if (!smtp_is_domain(name) && !smtp_is_literal(name)) {
        smtpd_reply_say(s, SMTPD_BAD_HELO);
        return false;
    }
    smtpd_session_reset(s);
    s->helo = mem_dup(name.p, name.n);
    s->is_esmtp = is_esmtp;
    return true;
}

enum flow smtpd_cmd_ehlo(struct session *s, struct str args)
{
    if (!greet(s, args, true))
        return FLOW_NEXT;
    struct buf text;
    buf_init(&text, 1024);
    buf_putf(&text, "%.*s\nSIZE %llu", STR_ARG(s->smtpd->conf.hostname),
             (unsigned long long)s->smtpd->conf.message_size); /* [RFC1870 3] */
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++)
        if (offers[i].is_offered(s))
            buf_putf(&text, "\n%s", offers[i].keyword);
    smtpd_reply_say_text(s, SMTPD_HELLO, buf_str(&text));
    buf_fini(&text);
    return FLOW_NEXT;
}

enum flow smtpd_cmd_helo(struct session *s, struct str args)
{
    if (greet(s, args, false))
        smtpd_reply_say_text(s, SMTPD_HELLO, s->smtpd->conf.hostname);
    return FLOW_NEXT;
}
