/* The commands as data: where each is allowed and what it takes; the dispatcher, which checks that,
 * so that handlers need not; and CAPA, made from the same table [RFC2449 5]. */
#include "pop3/pop3_int.h"

enum { BEFORE = POP3_AUTHORIZATION, AFTER = POP3_TRANSACTION };

static const struct pop3_command commands[] = {
    {"CAPA", BEFORE | AFTER, 0, 0, 0, pop3_capa, NULL, "[RFC2449 5]"},
    {"DELE", AFTER, 0, 1, 1, pop3_dele, NULL, "[RFC1939 5]"},
    {"LIST", AFTER, 0, 0, 1, pop3_list, NULL, "[RFC1939 5]"},
    {"NOOP", AFTER, 0, 0, 0, pop3_noop, NULL, "[RFC1939 5]"},
    {"PASS", BEFORE, POP3_SECURE | POP3_RAW, 1, 1, pop3_pass, NULL, "[RFC1939 7]"},
    {"QUIT", BEFORE | AFTER, 0, 0, 0, pop3_quit, NULL, "[RFC1939 6]"},
    {"RETR", AFTER, 0, 1, 1, pop3_retr, NULL, "[RFC1939 5]"},
    {"RSET", AFTER, 0, 0, 0, pop3_rset, NULL, "[RFC1939 5]"},
    {"STAT", AFTER, 0, 0, 0, pop3_stat, NULL, "[RFC1939 5]"},
    {"STLS", BEFORE, POP3_CLEAR, 0, 0, pop3_stls, "STLS", "[RFC2595 4]"},
    {"TOP", AFTER, 0, 2, 2, pop3_top, "TOP", "[RFC2449 6.1]"},
    {"UIDL", AFTER, 0, 0, 1, pop3_uidl, "UIDL", "[RFC2449 6.8]"},
    {"USER", BEFORE, POP3_SECURE | POP3_RAW, 1, 1, pop3_user, "USER", "[RFC2449 6.2]"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

/* Capabilities that are no commands. */
static const char *const properties[] = {
    "RESP-CODES",             /* [RFC2449 6.4] */
    "AUTH-RESP-CODE",         /* [RFC3206 6] */
    "PIPELINING",             /* [RFC2449 6.6] */
    "EXPIRE NEVER",           /* [RFC2449 6.7] */
    "IMPLEMENTATION Penfold", /* [RFC2449 6.9] */
};

bool pop3_can_secure(struct conn *c, const struct pop3_session *s)
{
    if (net_is_secure(c))
        return true;
    return s->pop3->conf.plaintext_on_loopback && net_is_loopback(net_peer(c));
}

static bool is_offered(struct conn *c, const struct pop3_session *s, const struct pop3_command *cmd)
{
    if (cmd->flags & POP3_SECURE)
        return pop3_can_secure(c, s);
    if (cmd->flags & POP3_CLEAR) /* permitted in the current state [RFC2595 4] */
        return s->state == POP3_AUTHORIZATION && net_has_tls(c);
    return true;
}

enum net_step pop3_capa(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    struct buf *out = net_out(c);
    pop3_ok(c, "capabilities follow");
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (commands[i].capability && is_offered(c, s, &commands[i]))
            buf_putf(out, "%s\r\n", commands[i].capability);
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
        buf_putf(out, "%s\r\n", properties[i]);
    buf_put(out, STR(".\r\n"));
    return NET_READ;
}

static const struct pop3_command *find(struct str verb)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (str_ieq(verb, str_of(commands[i].verb)))
            return &commands[i];
    return NULL;
}

enum net_step pop3_command_run(struct conn *c, struct pop3_session *s, struct str line)
{
    struct pop3_args a;
    pop3_args_parse(line, &a);
    const struct pop3_command *cmd = find(a.verb);
    if (!cmd)
        return pop3_bad(c, s, "there is no such command");
    if (!(cmd->states & s->state))
        return pop3_bad(
            c, s, s->state == POP3_AUTHORIZATION ? "log in first" : "you are logged in already");
    if (cmd->flags & POP3_SECURE && !pop3_can_secure(c, s))
        return pop3_bad(c, s,
                        net_has_tls(c) ? "[AUTH] passwords only in TLS: use STLS first"
                                       : "[AUTH] passwords only in TLS");
    size_t n = cmd->flags & POP3_RAW ? a.rest.n > 0 : a.n;
    if (n < cmd->args_min)
        return pop3_bad(c, s, "an argument is missing");
    if (n > cmd->args_max)
        return pop3_bad(c, s, "too many arguments");
    return cmd->run(c, s, &a);
}
