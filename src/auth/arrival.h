/* Logins from a new place: a network (an IPv4 /24, an IPv6 /48) where an account has not logged in
 * within 60 days. Never those from trusted networks, nor an account's first login of all.
 *
 * Each is an event (event=login-new-place) and, when somebody listens, an arrival for which the
 * owner is to be told: once for a place, however many connections come from there, and at most
 * auth_guard_conf.new_place_mails times a day. Only when the owner has been told does the place
 * count as known: a crash in between tells him a second time at worst.
 */
#ifndef AUTH_ARRIVAL_H
#define AUTH_ARRIVAL_H

#include "auth/auth.h"

struct auth_arrival { /* auth's, until auth_arrival_told */
    struct str name;  /* the account's address */
    struct str peer;  /* "192.0.2.7" */
    const char *protocol;
    uint64_t account;
    uint64_t time; /* ns since 1970 */
};

struct auth_listener {
    /* On a thread that computes logins; must not block. auth_arrival_told has to come. */
    void (*arrived)(struct auth_listener *listener, const struct auth_arrival *arrival);
};
/* One, or NULL: no call is under way when this returns. */
void auth_listen(struct auth *auth, struct auth_listener *listener);

/* Once for each arrival: RC_OK: the owner has been told, durably. Otherwise he is told when there
 * is another login from there; RC_LIMIT and RC_NOTFOUND: he cannot be, and the place is known now.
 * Blocks, but not with RC_TEMP. Frees the arrival. */
void auth_arrival_told(struct auth *auth, const struct auth_arrival *arrival, enum rc rc);

#endif
