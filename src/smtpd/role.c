/* What one server is to those who talk to it: a row for each role. Which commands a role has stands
 * in cmds.def, which extensions in cmd_ehlo.c; whatever else differs between roles is a member of
 * struct role, never a question for a role's name in the code of a command. */
#include "smtpd/smtpd_int.h"

const struct role smtpd_roles[SMTPD_ROLES] = {
    [SMTPD_MX] = {.bit = ROLE_MX,
                  .protocol = "ESMTP",
                  .utf8_protocol = "UTF8SMTP",
                  .outside = OUTSIDE_ACCEPTED},
    [SMTPD_SUBMISSION] = {.bit = ROLE_SUBMISSION,
                          .protocol = "ESMTP",
                          .utf8_protocol = "UTF8SMTP",
                          .line_max = SMTPD_AUTH_LINE,
                          .wants_login = true,
                          .is_submission = true,
                          .outside = OUTSIDE_ANY},
    [SMTPD_LOCAL] = {.bit = ROLE_LOCAL,
                     .protocol = "ESMTP",
                     .utf8_protocol = "UTF8SMTP",
                     .is_submission = true,
                     .is_local = true,
                     .outside = OUTSIDE_ANY},
    [SMTPD_LMTP] = {.bit = ROLE_LMTP,
                    .protocol = "LMTP",
                    .utf8_protocol = "UTF8LMTP",
                    .answers_each = true},
};
