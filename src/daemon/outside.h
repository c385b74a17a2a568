/* daemon, inside: the server's way to other hosts. */
#ifndef DAEMON_OUTSIDE_H
#define DAEMON_OUTSIDE_H

#include "daemon/daemon_int.h"
#include "relay/relay.h"

/* --- secrets: what the files that the configuration names hold -------------------------------- */

struct secret {
    char *path, *text; /* NULL: empty */
    size_t n;
};
struct secrets {
    struct secret *items;
    size_t n, capacity;
};
void secrets_add(struct secrets *s, struct str path, struct str text); /* the first line is kept */
/* The passwords of all routes. On failure *out_path is the file, errno the cause. */
enum rc secrets_read(const struct conf *c, struct secrets *out, const char **out_path);
void secrets_fini(struct secrets *s); /* wipes */

/* --- files.c: what else is read as root, at the start and for each reload --------------------- */

struct outside_files {
    struct str authorities; /* PEM; absent: there are none */
    struct str resolvers;   /* "address:port" a line; absent: nothing was read */
    struct str anchors;     /* records in text; absent: nothing is validated */
};
/* What the configuration names, or the system has. The cause is in `why`. */
enum rc outside_files_read(const struct conf *c, struct outside_files *out, char why[256]);
void outside_files_fini(struct outside_files *files);

struct login_files {
    struct str keys;        /* a JWKS; absent: the issuer's are fetched, or there is no issuer */
    struct str authorities; /* PEM, to fetch them with */
};
enum rc login_files_read(const struct conf *c, struct login_files *out, char why[256]);
void login_files_fini(struct login_files *files);
/* Whether keys are fetched from other hosts. */
bool login_files_connect(const struct conf *c);

/* --- outside.c -------------------------------------------------------------------------------- */

struct outside;
struct outside_house { /* all of it outlives outside_close */
    struct kv *kv;
    struct queue *queue;
    struct deliver *deliver;
    struct net *net;
    struct auth *auth;
    struct token *token;               /* asks dns for its issuer; started and stopped here */
    struct crypto_signer_client *dkim; /* NULL: nothing is signed */
    struct store *store;
    struct str node; /* who this is for those that share the store */
};

/* Before the sandbox closes: reads what the configuration names; the cause of a failure is logged.
 * To be freed in any case. */
enum rc outside_prepare(const struct ctx *ctx, const struct conf *c, struct outside **out);
/* Begins to send; after net_start. */
enum rc outside_open(struct outside *o, const struct outside_house *house, const struct conf *c,
                     const struct secrets *secrets);
/* Whether the files can be used; the cause is in `why`. Changes nothing. */
enum rc outside_check(const struct outside *o, const struct outside_files *files, char why[256]);
void outside_reload(struct outside *o, const struct conf *c, const struct secrets *secrets,
                    const struct outside_files *files);
struct relay *outside_relay(struct outside *o); /* NULL before outside_open */
/* Both may be NULL. Drain: nothing new is sent; before net_stop. Close: after it; waits until
 * nothing is under way. */
void outside_drain(struct outside *o);
void outside_close(struct outside *o);
bool outside_is_closed(const struct outside *o); /* false: something still waits for the store */
void outside_free(struct outside **outside);     /* after net_free */

#endif
