/* daemon, inside: logins by tokens of an issuer. */
#ifndef DAEMON_BEARER_H
#define DAEMON_BEARER_H

#include "daemon/outside.h"

#include "auth/auth.h"
#include "token/token.h"

#include <stdatomic.h>

struct bearer {
    struct auth_bearer auth; /* what auth asks */
    struct token *token;
    _Atomic bool ends_sessions;
};
/* Before sessions come; token_start follows. The cause of a failure is in `why`. */
enum rc bearer_open(struct bearer *b, const struct ctx *ctx, const struct conf *c,
                    const struct login_files *files, char why[256]);
/* Whether a configuration can be used. Changes nothing. */
enum rc bearer_check(const struct ctx *ctx, const struct conf *c, const struct login_files *files,
                     char why[256]);
void bearer_reload(struct bearer *b, const struct ctx *ctx, const struct conf *c,
                   const struct login_files *files);

#endif
