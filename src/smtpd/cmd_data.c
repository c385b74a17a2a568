/* DATA: from here on the input is a message [RFC5321 4.1.1.4]. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_data(struct session *s, struct str args)
{
    smtpd_message_begin(s);
    return FLOW_NEXT;
}
