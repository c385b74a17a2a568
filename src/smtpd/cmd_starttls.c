/* STARTTLS: TLS after the answer [RFC3207 4]. What came before it is forgotten, what came with it
 * ends the connection. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_starttls(struct session *s, struct str args)
{
    if (!net_has_tls(s->conn)) {
        smtpd_reply_say(s, net_is_secure(s->conn) ? SMTPD_TLS_ALREADY : SMTPD_NOT_OFFERED);
        return FLOW_NEXT;
    }
    smtpd_reply_say(s, SMTPD_TLS_READY);
    return FLOW_TLS;
}
