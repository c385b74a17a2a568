/* The sessions of accounts, inside: the list, how it is gone through, who looks whether logins
 * still hold. */
#ifndef AUTH_SESSION_INT_H
#define AUTH_SESSION_INT_H

#include "auth/auth_int.h"
#include "auth/session.h"

struct holder;

enum place_kind { PLACE_ENTRY, PLACE_MARK };
struct place_in_list {
    struct list link;
    uint8_t kind;
};

struct auth_session {
    struct place_in_list place;
    _Atomic uint8_t ending; /* enum auth_ending */
    _Atomic uint32_t moved; /* s, monotonic */
    struct auth *auth;
    struct net *net;
    struct net_handle handle;
    struct holder *holder;
    uint64_t serial; /* no two entries have the same */
    uint64_t account, since;
    uint64_t expires;       /* as in auth_login */
    uint64_t part, version; /* of the directory: the login was seen to hold there */
    unsigned char credential[AUTH_CREDENTIAL];
    const char *protocol;
    struct str id, peer, tls; /* the connection's */
    char *mailbox, *client;   /* NULL: none */
    size_t n_name;
    char name[];
};

static inline struct str session_name(const struct auth_session *e)
{
    return str_from(e->name, e->n_name);
}

/* One way through all entries, oldest first, with the mutex held from begin to end; next lets
 * others in now and then. */
struct walk {
    struct sessions *sessions;
    struct place_in_list mark;
    unsigned n;
};
void auth_walk_begin(struct walk *walk, struct sessions *s);
struct auth_session *auth_walk_next(struct walk *walk); /* NULL: that was the last one */
/* Between the two the mutex is not held, and the entry may go. */
void auth_walk_pause(struct walk *walk);
void auth_walk_resume(struct walk *walk);
/* Whether the entry that next has given last is there still. */
bool auth_walk_is_there(struct walk *walk, const struct auth_session *e, uint64_t serial);
void auth_walk_end(struct walk *walk);

/* Once; with the mutex held. */
void auth_session_end(struct auth_session *e, enum auth_ending why, const char *cause);

#endif
