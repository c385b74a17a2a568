/* Who is logged in now: the sessions of this process, whatever their protocol; how many of one
 * account there may be; and ending them.
 *
 * A protocol opens an entry when a login has succeeded and closes it when the login is over; in
 * between the entry is its session's, and only its owner (net.h) calls what takes one. An entry is
 * some 200 bytes. Whoever ends a session from outside posts NET_EV_KICK; the session asks
 * auth_session_ending why, says goodbye in its protocol's words, and closes.
 *
 * A login that holds no longer (auth_login_holds: another password, disabled, suspended, removed,
 * renamed) ends the sessions that it has made, at once: a thread looks at them whenever their part
 * of the directory has changed, here or on another node.
 *
 * Lists and kicks hold the lock for some entries at a time: with any number of sessions nobody
 * waits for them.
 */
#ifndef AUTH_SESSION_H
#define AUTH_SESSION_H

#include "auth/auth.h"

struct auth_session;
struct conn; /* net.h */

enum auth_ending {
    AUTH_SESSION_STAYS,  /* nobody wants it to end */
    AUTH_SESSION_KICKED, /* an administrator does */
    AUTH_SESSION_OVER    /* the login holds no longer */
};

enum { AUTH_CLIENT_MAX = 80, AUTH_MAILBOX_MAX = 200 }; /* bytes that are kept */

/* `login` has succeeded on this connection; its name is there still. RC_LIMIT: the account has as
 * many sessions as it may; counted and logged. Without a server's threads (auth_conf.hash_lane)
 * there is nobody who looks whether the login still holds. */
enum rc auth_session_open(struct auth *auth, struct conn *c, const struct auth_login *login,
                          struct auth_session **out);
void auth_session_close(struct auth_session **session); /* NULL is harmless */

/* For lists. All of them: NULL is harmless. */
void auth_session_moved(struct auth_session *session); /* the client has done something */
void auth_session_mailbox(struct auth_session *session, struct str name); /* absent: none */
void auth_session_client(struct auth_session *session, struct str name);  /* what it calls itself */

enum auth_ending auth_session_ending(const struct auth_session *session); /* after NET_EV_KICK */

/* --- for administrators: any thread; may block -------------------------------------------------
 */

struct auth_session_info { /* texts are in the arena; absent: there is none */
    struct str id, name, peer, tls, mailbox, client;
    const char *protocol;
    uint64_t account;
    uint64_t since;  /* ns since 1970 */
    uint64_t idle_s; /* since it has last done something */
    enum auth_ending ending;
};

/* Those of a mail address, that of an id, or all (absent), oldest first. RC_LIMIT: the arena is
 * full. */
enum rc auth_session_list(struct auth *auth, struct str what, struct arena *arena,
                          struct auth_session_info **out, size_t *out_n);
/* Ends those of a mail address, that of an id, or all (absent): they are told when this returns.
 * RC_NOTFOUND: there is none. */
enum rc auth_session_kick(struct auth *auth, struct str what, size_t *out_n);

#endif
