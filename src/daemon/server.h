/* The server process, inside: what its own files share. */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "daemon/bearer.h"
#include "daemon/daemon_int.h"
#include "daemon/outside.h"

#include "mime/charset.h"

#include <pthread.h>
#include <stdatomic.h>

struct server {
    const struct server_start *start;
    struct ctx ctx;
    struct counters counters;
    struct log *log;
    struct task_lane *short_lane, *heavy_lane, *hash_lane;
    struct admin admin; /* kv, store, auth, queue */
    struct deliver *deliver;
    struct budget memory;
    struct net *net;
    struct outside *outside;        /* NULL: nothing is sent to other hosts */
    struct secrets secrets;         /* until it is open */
    struct bearer bearer;           /* tokens of an issuer */
    struct login_files login_files; /* until it is open */
    struct relay *_Atomic relay;    /* outside's; a request may look before it is there */
    struct web *web;
    struct mime_charsets *charsets;
    struct users users;
    struct limit *limit;
    char node[QUEUE_NODE_MAX]; /* who this is for those that share the store */
    struct generation_house house;
    struct generation *generation; /* what new sessions get */
    struct sockets sockets;
    struct crypto_signer_client *dkim; /* NULL: mail is not signed */
    uint64_t started;                  /* wall clock */
    int statm_fd;
    pthread_t keeper;
    pthread_mutex_t mutex;
    pthread_cond_t ending;
    _Atomic bool stop;
    bool has_keeper;
};

/* Networks that the limits of addresses and of logins leave alone. */
struct trusted {
    struct net_cidr net[CONF_LIST_MAX];
    size_t n;
};

/* --- server_conf.c: the configuration as the parts of the server want to hear it -------------- */

enum log_level server_log_level(const char *name);
enum rc server_trusted(struct server *s, const struct conf *c, struct trusted *out); /* RC_SYNTAX */
struct auth_guard_conf server_guard_conf(const struct conf *c, const struct trusted *trusted);
struct net_limits server_net_limits(const struct conf *c, const struct trusted *trusted);

/* --- server_reload.c -------------------------------------------------------------------------- */

/* Takes in what the supervisor sends after a HUP, and answers it. */
void server_reload(struct server *s);

#endif
