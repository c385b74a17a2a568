/* HELP: the commands, each with the place where it is explained [RFC5321 4.1.1.8]. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_help(struct session *s, struct str args)
{
    struct buf text;
    buf_init(&text, 2048);
    buf_put(&text, STR("Penfold understands:"));
    for (size_t i = 0; i < smtpd_n_commands; i++)
        if (smtpd_commands[i].roles & s->role->bit)
            buf_putf(&text, "\n%s (%s)", smtpd_commands[i].verb.p, smtpd_commands[i].rfc);
    smtpd_reply_say_text(s, SMTPD_HELP, buf_str(&text));
    buf_fini(&text);
    return FLOW_NEXT;
}
