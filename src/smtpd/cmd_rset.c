/* RSET: forgets the transaction [RFC5321 4.1.1.5]. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_rset(struct session *s, struct str args)
{
    smtpd_transaction_end(s);
    smtpd_reply_say(s, SMTPD_OK);
    return FLOW_NEXT;
}
