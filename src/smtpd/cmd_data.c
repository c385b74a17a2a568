/* DATA: from here on the input is a message [RFC5321 4.1.1.4]. */
#include "smtpd/smtpd_int.h"

enum flow smtpd_cmd_data(struct session *s, struct str args)
{
    if (s->transaction->envelope.is_binary) {
        smtpd_reply_say(s, SMTPD_WANT_BDAT); /* [RFC3030 3] */
        return FLOW_NEXT;
    }
    smtpd_message_open(s);
    struct message *m = s->message;
    if (!m->is_refused) {
        smtpd_reply_say(s, SMTPD_SEND_DATA);
        return FLOW_NEXT;
    }
    m->stage = MESSAGE_SETTLED;
    smtpd_reply_say(s, m->refusal);
    smtpd_message_free(s);
    return FLOW_NEXT;
}
