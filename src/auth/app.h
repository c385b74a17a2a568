/* App passwords: further passwords of an account, one for each program or device, made here and
 * random, so that one can be revoked without the others. Each has a label, may be bound to
 * protocols, to a network and to a time, and tells when it was last used.
 *
 * A login finds the app password by itself (auth_login with the account's address), or is told
 * which one is meant by the name user+label@domain, with the domain's delimiter or a '+'; the name
 * of an address that is there means that address and nothing else. Outside its protocols, network
 * or time an app password is refused as a wrong one is; the log says why. It never administers: no
 * call here takes a login. See docs/decisions/0198-app-passwords.md.
 *
 * What is changed here holds for every login that begins after the call returned; sessions whose
 * app password is gone end as with any login that holds no longer. Everything blocks. Besides what
 * is named: RC_SYNTAX (not an address), RC_NOTFOUND (no such account), RC_TEMP, RC_FULL,
 * RC_CORRUPT. */
#ifndef AUTH_APP_H
#define AUTH_APP_H

#include "auth/auth.h"

enum {
    AUTH_APPS_MAX = 32,      /* of one account */
    AUTH_APP_LABEL_MAX = 32, /* bytes of a label */
    AUTH_APP_PASSWORD = 32,  /* bytes of a password, with its NUL */
    AUTH_APP_PEER_MAX = 64,  /* bytes that are kept of where it was used, */
    AUTH_APP_CLIENT_MAX = 80 /* and of what the client calls itself */
};

enum auth_protocol { /* stored: the numbers stay */
                     AUTH_IMAP = 1,
                     AUTH_POP3 = 2,
                     AUTH_SMTP = 4,
                     AUTH_SIEVE = 8,
                     AUTH_WEB = 16,
                     AUTH_PROTOCOLS = 31
};
/* "imap": its bit; 0: none of these. */
unsigned auth_protocol_of(struct str name);
/* Appends the names of what is in `protocols`, with commas between. */
void auth_protocol_names(unsigned protocols, struct buf *out);

struct auth_app {
    struct str label;   /* letters, digits, '-' and '_', without regard to case */
    unsigned protocols; /* enum auth_protocol */
    uint64_t created;   /* ns since 1970 */
    uint64_t expires;   /* the same; 0: never */
    struct str net;     /* "192.0.2.0/24": the only place it may be used from; absent: everywhere */
    struct {            /* the last time, to within some minutes */
        uint64_t at;    /* 0: never */
        struct str peer, client;
        const char *protocol; /* "imap"; "" */
    } used;
};

/* Makes one of label, protocols, expires and net. A label that is absent becomes "app" with the
 * first number that is free. The password is told here and nowhere else: wipe it. RC_EXISTS: the
 * label is in use. RC_LIMIT: it is too long. RC_PERM: it has other characters, or there are no
 * protocols. RC_CONFLICT: the network is none. RC_DENIED: the account has AUTH_APPS_MAX. */
enum rc auth_app_add(struct auth *auth, struct str address, const struct auth_app *app,
                     char out_password[AUTH_APP_PASSWORD]);
/* All, oldest first, those that have expired too; in the arena. */
enum rc auth_app_list(struct auth *auth, struct str address, struct arena *arena,
                      struct auth_app **out, size_t *out_n);
/* The one of this label, or all (absent). RC_EXISTS: there is none. */
enum rc auth_app_revoke(struct auth *auth, struct str address, struct str label, size_t *out_n);

#endif
