/* NOOP: changes nothing; what stands behind it is ignored [RFC5321 4.1.1.9]. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_noop(struct session *s, struct str args)
{
    smtpd_reply_say(s, SMTPD_OK);
    return FLOW_NEXT;
}
