/* EHLO, HELO and LHLO: the peer says its name and learns what is offered [RFC5321 4.1.1.1]
 * [RFC2033 4.1]. Each ends a transaction [RFC5321 4.1.4]. */
#include "smtpd/smtpd_int.h"

#include "base/mem.h"

static bool has_tls(const struct session *s)
{
    return net_has_tls(s->conn); /* not within TLS [RFC3207 4.2] */
}

static bool is_secure(const struct session *s)
{
    return net_is_secure(s->conn);
}

static void put_size(const struct session *s, struct buf *out)
{
    buf_putf(out, " %llu", (unsigned long long)s->smtpd->conf.message_size);
}

/* The commands that have no use beyond it: RCPT in one transaction. */
static void put_limits(const struct session *s, struct buf *out)
{
    buf_putf(out, " RCPTMAX=%u", s->smtpd->conf.recipients); /* [RFC9422 4.2] */
}

static bool may_hold(const struct session *s)
{
    return s->smtpd->conf.hold_s > 0;
}

static void put_hold(const struct session *s, struct buf *out)
{
    char until[CLOCK_TEXT];
    uint64_t now = clock_wall(s->smtpd->ctx->clock);
    clock_rfc3339(until, now - now % NS_PER_SEC + s->smtpd->conf.hold_s * NS_PER_SEC);
    buf_putf(out, " %llu %s", (unsigned long long)s->smtpd->conf.hold_s, until);
}

static const struct offer {
    const char *keyword;
    unsigned roles;
    bool (*is_offered)(const struct session *s);                      /* NULL: always */
    void (*put_parameters)(const struct session *s, struct buf *out); /* each after a space */
} offers[] = {
    {"SIZE", ROLE_ANY, NULL, put_size},                               /* [RFC1870 3] */
    {"PIPELINING", ROLE_ANY, NULL, NULL},                             /* [RFC2920 3] */
    {"8BITMIME", ROLE_ANY, NULL, NULL},                               /* [RFC6152 2] */
    {"BINARYMIME", ROLE_ANY, NULL, NULL},                             /* [RFC3030 3] */
    {"CHUNKING", ROLE_ANY, NULL, NULL},                               /* [RFC3030 2] */
    {"SMTPUTF8", ROLE_ANY, NULL, NULL},                               /* [RFC6531 3.1] */
    {"LIMITS", ROLE_ANY, NULL, put_limits},                           /* [RFC9422 3] */
    {"DSN", ROLE_ANY, NULL, NULL},                                    /* [RFC3461 4] */
    {"ENHANCEDSTATUSCODES", ROLE_ANY, NULL, NULL},                    /* [RFC2034 3] */
    {"STARTTLS", ROLE_ANY, has_tls, NULL},                            /* [RFC3207 4] */
    {"AUTH", ROLE_SUBMISSION, smtpd_auth_is_offered, smtpd_auth_put}, /* [RFC4954 3] */
    {"FUTURERELEASE", ROLE_SUBMISSION, may_hold, put_hold},           /* [RFC4865 4.2] */
    {"REQUIRETLS", ROLE_ANY, is_secure, NULL},                        /* [RFC8689 2] */
    {"HELP", ROLE_ANY, NULL, NULL},                                   /* [RFC5321 4.1.1.8] */
};

static void put_offers(const struct session *s, struct buf *out)
{
    for (const struct offer *o = offers; o < offers + sizeof offers / sizeof *offers; o++) {
        if (!(o->roles & s->role->bit) || (o->is_offered && !o->is_offered(s)))
            continue;
        buf_putf(out, "\n%s", o->keyword);
        if (o->put_parameters)
            o->put_parameters(s, out);
    }
}

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
    buf_put(&text, s->smtpd->conf.hostname);
    put_offers(s, &text);
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
