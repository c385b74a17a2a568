/* BDAT: a chunk of a message [RFC3030 2]. Its octets follow the line, whatever is said to it; so a
 * refused chunk is read first and answered then, and one whose size cannot be read ends the
 * session: its octets would be taken for commands.
 *
 * The first chunk of a transaction begins the message. A message that is refused stays refused, and
 * says so to each further chunk, until LAST or RSET ends the transaction. */
#include "smtpd/smtpd_int.h"

/* Opens the message with the first chunk; decides what is already known to be wrong. */
static void join_message(struct session *s, const struct smtp_chunk *chunk, enum rc syntax)
{
    if (s->message == NULL)
        smtpd_message_open(s);
    struct message *m = s->message;
    m->stage = MESSAGE_RECEIVING;
    if (m->is_refused)
        return;
    if (syntax != RC_OK)
        smtpd_intake_refuse(s, m, SMTPD_BAD_CHUNK);
    else if (m->bytes > s->smtpd->conf.message_size ||
             chunk->left > s->smtpd->conf.message_size - m->bytes)
        smtpd_intake_refuse(s, m, SMTPD_TOO_BIG); /* [RFC1870 6.3] */
}

enum flow smtpd_cmd_bdat(struct session *s, struct str args)
{
    struct chunk *c = &s->chunk;
    enum rc rc = smtp_chunk_parse(args, &c->at);
    if (rc == RC_LIMIT) {
        smtpd_reply_say(s, SMTPD_BAD_CHUNK);
        smtpd_reply_say(s, SMTPD_OUT_OF_STEP);
        return FLOW_CLOSE;
    }
    c->is_open = true;
    c->is_stray = false;
    c->passed_over = 0;
    c->begun = clock_mono(s->smtpd->ctx->clock);
    c->is_useless = c->at.left == 0 && !c->at.is_last;
    c->refusal = smtpd_command_order(s, STATE_RECIPIENTS | STATE_CHUNKS);
    if (c->refusal != SMTPD_OK)
        c->is_stray = true;
    else
        join_message(s, &c->at, rc);
    return FLOW_NEXT;
}
