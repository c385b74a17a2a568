/* The lines of password files of other programs: Dovecot's passwd-file, /etc/shadow, `user:hash`.
 * Pure; for admin's own use and for tests. */
#ifndef ADMIN_PASSWD_H
#define ADMIN_PASSWD_H

#include "auth/auth.h"
#include "crypto/crypto.h"

enum { PASSWD_LINE_MAX = 2048 }; /* bytes of a line */

enum passwd_kind {
    PASSWD_HASH,  /* `text` is a hash for auth_account_add_hash */
    PASSWD_PLAIN, /* `text` is the password itself */
    PASSWD_NONE   /* nobody can log in with it: locked, or a system's user */
};
struct passwd_entry {
    enum passwd_kind kind;
    char address[AUTH_ADDRESS_MAX + 1];
    char text[CRYPTO_FOREIGN_MAX]; /* wipe it */
    const char *why;               /* with an error: what is wrong */
};
/* `domain` is put behind names that have none; absent: such names are wrong. RC_NOTFOUND: an empty
 * line, or a comment. RC_SYNTAX: see why; the address is there as far as it was read. */
enum rc passwd_read(struct str line, struct str domain, struct passwd_entry *out);

#endif
