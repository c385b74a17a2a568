/* The parameters of MAIL and RCPT [RFC5321 4.1.2]: each command has a table of those that it knows,
 * whether EHLO has offered them or not. */
#include "smtpd/smtpd_int.h"

enum smtpd_reply smtpd_parameters_take(struct session *s, struct str args,
                                       const struct parameter *rows, size_t n_rows, void *into)
{
    unsigned seen = 0;
    struct smtp_param p;
    enum rc rc;
    while ((rc = smtp_param_next(&args, &p)) == RC_OK) {
        unsigned i = 0;
        while (i < n_rows && !str_ieq(p.name, rows[i].name))
            i++;
        if (i == n_rows || !s->is_esmtp)
            return SMTPD_UNKNOWN_PARAMETER; /* [RFC5321 4.1.1.11] */
        if (seen & 1u << i)
            return SMTPD_BAD_PARAMETER; /* [RFC3461 4.5] */
        seen |= 1u << i;
        enum smtpd_reply reply = rows[i].take(s, p.value, into);
        if (reply != SMTPD_OK)
            return reply;
    }
    return rc == RC_EOF ? SMTPD_OK : SMTPD_BAD_PARAMETER;
}
