/* The commands as data: where each is allowed and what it takes; the dispatcher, which checks that,
 * so that handlers need not; and CAPA, made from the same table [RFC2449 5].
 *
 * APOP is not among them and the greeting has no timestamp [RFC1939 7]: it needs the password
 * itself, and there is only an Argon2id hash (docs/decisions/0040-pop3-has-no-apop.md). */
#include "pop3/pop3_int.h"

enum { BEFORE = POP3_AUTHORIZATION, AFTER = POP3_TRANSACTION };

struct auth_channel pop3_channel(struct conn *c, const struct pop3_session *s)
{
    return auth_channel_of(c, s->pop3->conf.plaintext_on_loopback);
}

static void put_sasl(struct conn *c, const struct pop3_session *s, struct buf *out)
{
    struct auth_channel channel = pop3_channel(c, s);
    buf_put(out, STR(" "));
    auth_mechanisms(s->pop3->conf.auth, &channel, out);
}

static const struct pop3_command commands[] = {
    {"AUTH", BEFORE, POP3_SECURE, 0, 2, pop3_auth, {"SASL", put_sasl}, "[RFC5034 4]"},
    {"CAPA", BEFORE | AFTER, 0, 0, 0, pop3_capa, {0}, "[RFC2449 5]"},
    {"DELE", AFTER, 0, 1, 1, pop3_dele, {0}, "[RFC1939 5]"},
    {"LANG", BEFORE | AFTER, 0, 0, 1, pop3_lang, {"LANG", NULL}, "[RFC6856 3]"},
    {"LIST", AFTER, 0, 0, 1, pop3_list, {0}, "[RFC1939 5]"},
    {"NOOP", AFTER, 0, 0, 0, pop3_noop, {0}, "[RFC1939 5]"},
    {"PASS", BEFORE, POP3_SECURE | POP3_RAW, 1, 1, pop3_pass, {0}, "[RFC1939 7]"},
    {"QUIT", BEFORE | AFTER, 0, 0, 0, pop3_quit, {0}, "[RFC1939 6]"},
    {"RETR", AFTER, 0, 1, 1, pop3_retr, {0}, "[RFC1939 5]"},
    {"RSET", AFTER, 0, 0, 0, pop3_rset, {0}, "[RFC1939 5]"},
    {"STAT", AFTER, 0, 0, 0, pop3_stat, {0}, "[RFC1939 5]"},
    {"STLS", BEFORE, POP3_CLEAR, 0, 0, pop3_stls, {"STLS", NULL}, "[RFC2595 4]"},
    {"TOP", AFTER, 0, 2, 2, pop3_top, {"TOP", NULL}, "[RFC2449 6.1]"},
    {"UIDL", AFTER, 0, 0, 1, pop3_uidl, {"UIDL", NULL}, "[RFC2449 6.8]"},
    {"USER", BEFORE, POP3_SECURE | POP3_RAW, 1, 1, pop3_user, {"USER", NULL}, "[RFC2449 6.2]"},
    {"UTF8", BEFORE, 0, 0, 0, pop3_utf8, {"UTF8 USER", NULL}, "[RFC6856 2]"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void put_delay(struct conn *c, const struct pop3_session *s, struct buf *out)
{
    if (s->pop3->conf.login_delay_s)
        buf_putf(out, "LOGIN-DELAY %u", s->pop3->conf.login_delay_s); /* the same for all users */
}

static void put_version(struct conn *c, const struct pop3_session *s, struct buf *out)
{
    if (s->pop3->conf.version)
        buf_putf(out, " %s", s->pop3->conf.version);
}

/* Capabilities that are no commands. */
static const struct pop3_capability properties[] = {
    {"RESP-CODES", NULL},                    /* [RFC2449 6.4] */
    {"AUTH-RESP-CODE", NULL},                /* [RFC3206 6] */
    {"PIPELINING", NULL},                    /* [RFC2449 6.6] */
    {"EXPIRE", pop3_policy_expire},          /* [RFC2449 6.7] */
    {"", put_delay},                         /* [RFC2449 6.5] */
    {"IMPLEMENTATION Penfold", put_version}, /* [RFC2449 6.9] */
};

static bool can_secure(struct conn *c, const struct pop3_session *s)
{
    struct auth_channel channel = pop3_channel(c, s);
    return auth_channel_is_private(&channel);
}

static bool is_offered(struct conn *c, const struct pop3_session *s, const struct pop3_command *cmd)
{
    if (cmd->flags & POP3_SECURE)
        return can_secure(c, s);
    if (cmd->flags & POP3_CLEAR) /* permitted in the current state [RFC2595 4] */
        return s->state == POP3_AUTHORIZATION && net_has_tls(c);
    return true;
}

/* A line, unless it comes out empty. */
static void put_capability(struct conn *c, struct pop3_session *s, const struct pop3_capability *k)
{
    struct buf *out = net_out(c);
    size_t before = buf_len(out);
    buf_put(out, str_of(k->name));
    if (k->put)
        k->put(c, s, out);
    if (buf_len(out) > before)
        buf_put(out, STR("\r\n"));
}

enum net_step pop3_capa(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    pop3_ok(c, POP3_CAPABILITIES, NULL);
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (commands[i].capability.name && is_offered(c, s, &commands[i]))
            put_capability(c, s, &commands[i].capability);
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
        put_capability(c, s, &properties[i]);
    buf_put(net_out(c), STR(".\r\n"));
    return NET_READ;
}

/* Verbs are told apart by their first letters, in one comparison each: this runs for every message.
 */
static const struct pop3_command *find(struct str verb)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (ascii_upper(verb.n ? verb.p[0] : 0) == commands[i].verb[0] &&
            str_ieq(verb, str_of(commands[i].verb)))
            return &commands[i];
    return NULL;
}

enum net_step pop3_command_run(struct conn *c, struct pop3_session *s, struct str line)
{
    struct pop3_args a;
    pop3_args_parse(line, &a);
    const struct pop3_command *cmd = find(a.verb);
    if (!cmd)
        return pop3_bad(c, s, POP3_NO_COMMAND);
    if (!(cmd->states & s->state))
        return pop3_bad(c, s, s->state == POP3_AUTHORIZATION ? POP3_LOGIN_FIRST : POP3_LOGGED_IN);
    if (cmd->flags & POP3_SECURE && !can_secure(c, s))
        return pop3_bad(c, s, net_has_tls(c) ? POP3_USE_STLS : POP3_TLS_ONLY);
    size_t n = cmd->flags & POP3_RAW ? a.rest.n > 0 : a.n;
    if (n < cmd->args_min)
        return pop3_bad(c, s, POP3_ARGUMENT_MISSING);
    if (n > cmd->args_max)
        return pop3_bad(c, s, POP3_TOO_MANY_ARGUMENTS);
    return cmd->run(c, s, &a);
}
