/* VRFY and EXPN: who asks learns nothing about who lives here; RCPT will tell [RFC5321 3.5.3]
 * [RFC5321 7.3]. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_vrfy(struct session *s, struct str args)
{
    smtpd_reply_say(s, SMTPD_NOT_VERIFIED);
    return FLOW_NEXT;
}

enum flow smtpd_cmd_expn(struct session *s, struct str args)
{
    smtpd_reply_say(s, SMTPD_NO_EXPANSION);
    return FLOW_NEXT;
}
