/* QUIT: the answer, then the end [RFC5321 4.1.1.10]. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_quit(struct session *s, struct str args)
{
    smtpd_reply_say(s, SMTPD_BYE);
    return FLOW_CLOSE;
}
