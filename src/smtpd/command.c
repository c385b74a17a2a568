/* The commands: their table, and the one place where it is checked whether a command may come now
 * and has the argument that it needs. Handlers assume both. */
#include "smtpd/smtpd_int.h"

const struct command smtpd_commands[] = {
#define CMD(verb, roles, states, argument, is_useful, handler, rfc)                                \
    {STR_INIT(verb), roles, states, argument, is_useful, smtpd_cmd_##handler, rfc},
#include "smtpd/cmds.def"
#undef CMD
};
const size_t smtpd_n_commands = sizeof smtpd_commands / sizeof *smtpd_commands;

/* One that this role does not have is as unknown as one that nobody has. */
static const struct command *find_command(const struct role *role, struct str verb)
{
    for (size_t i = 0; i < smtpd_n_commands; i++)
        if ((smtpd_commands[i].roles & role->bit) && str_ieq(verb, smtpd_commands[i].verb))
            return &smtpd_commands[i];
    return NULL;
}

static enum state state_of(const struct session *s)
{
    if (s->helo == NULL)
        return STATE_START;
    if (s->transaction == NULL)
        return STATE_READY;
    if (s->message)
        return STATE_CHUNKS;
    return s->transaction->n_recipients == 0 ? STATE_SENDER : STATE_RECIPIENTS;
}

/* What is missing, or too much, for a command that is not allowed in this state. */
static enum smtpd_reply out_of_order(const struct role *role, enum state state)
{
    switch (state) {
    case STATE_START:
        return role->bit == ROLE_LMTP ? SMTPD_WANT_LHLO : SMTPD_WANT_HELO; /* [RFC5321 4.1.4] */
    case STATE_READY:
        return SMTPD_WANT_MAIL;
    case STATE_SENDER:
        /* [RFC5321 3.3] [RFC2033 4.2] */
        return role->bit == ROLE_LMTP ? SMTPD_WANT_RCPT : SMTPD_NO_RECIPIENTS;
    default:
        return SMTPD_NESTED;
    }
}

enum smtpd_reply smtpd_command_order(const struct session *s, unsigned states)
{
    enum state state = state_of(s);
    if (states & state)
        return SMTPD_OK;
    return (states & STATE_ANY) == STATE_READY && state == STATE_SENDER
               ? SMTPD_NESTED
               : out_of_order(s->role, state);
}

static enum smtpd_reply check_command(const struct session *s, const struct command *command,
                                      struct str args)
{
    if (command == NULL)
        return SMTPD_UNKNOWN;
    enum smtpd_reply reply = smtpd_command_order(s, command->states);
    if (reply != SMTPD_OK)
        return reply;
    if ((command->states & AFTER_LOGIN) && s->role->wants_login && s->login == NULL)
        return smtpd_auth_is_offered(s) ? SMTPD_WANT_AUTH : SMTPD_WANT_TLS;
    if (command->argument == ARG_NONE && args.n > 0)
        return SMTPD_ARGUMENT;
    if (command->argument == ARG_REQUIRED && args.n == 0)
        return SMTPD_NO_ARGUMENT;
    return SMTPD_OK;
}

static enum flow run_line(struct session *s, struct str line)
{
    struct str verb, args;
    smtp_line_split(line, &verb, &args);
    const struct command *command = find_command(s->role, verb);
    enum smtpd_reply reply = check_command(s, command, args);
    enum flow flow = FLOW_NEXT;
    if (reply == SMTPD_OK) {
        s->idle_commands += !command->is_useful;
        flow = command->run(s, args);
    } else {
        smtpd_reply_say(s, reply);
    }
    if (str_ieq(verb, STR("AUTH"))) /* also where it is no command: it may hold a password */
        net_wipe(s->conn, args);
    return flow;
}

enum flow smtpd_command_step(struct session *s)
{
    struct str in = net_in(s->conn), rest = in, line;
    enum flow flow = FLOW_NEXT;
    enum rc rc = smtp_line_next(&s->lines, &rest, &line);
    if (rc == RC_OK)
        flow = run_line(s, line);
    else if (rc == RC_AGAIN)
        flow = FLOW_READ;
    else
        smtpd_reply_say(s, rc == RC_LIMIT ? SMTPD_LINE_LONG : SMTPD_LINE_BAD);
    if (flow == FLOW_BLOCK)
        return flow;
    net_consume(s->conn, in.n - rest.n);
    s->has_moved |= flow != FLOW_READ;
    return flow;
}
