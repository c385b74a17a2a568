/* daemon, inside: what the supervisor's two files share. */
#ifndef DAEMON_SUPERVISOR_H
#define DAEMON_SUPERVISOR_H

#include "daemon/daemon_int.h"

#include "base/log.h"

enum { RETIRED_MAX = 16 };

/* A process that is to run for as long as the supervisor does. */
struct child {
    const char *name;
    pid_t pid;         /* 0: none */
    uint64_t started;  /* monotonic */
    uint64_t start_at; /* when it is to be started again; 0: not now */
    uint64_t pause_ms; /* before the next start, when it does not stay */
    bool was_told;     /* its end is what we asked for */
};

struct supervisor {
    char *conf_path;
    struct conf *conf;
    struct sockets sockets;
    struct str chain_pem;
    uid_t uid;
    gid_t gid;
    pid_t pid;
    int lock_fd; /* the folder: held by this process alone */
    int life_fd; /* held by all of its processes */
    int signal_fd;
    int signer_fds[2]; /* [0] the server's end, [1] the signer's: kept here, so either can be
                          started again */
    int ready_fd;      /* where the running server says that it is ready; -1 */
    int news_fd;       /* where the running server is told of a new configuration; -1 */
    int dkim_fds[2];   /* the same, of the process that signs mail */
    unsigned char seal[CRYPTO_SEAL_KEY]; /* the public half of the file that it opens keys with */
    bool has_seal;
    struct child server, signer, dkim;
    pid_t retired[RETIRED_MAX];     /* signers of earlier configurations; each ends when the last
                                       session     that may need it has. 0: none; the newest first */
    uint64_t watchdog, watchdog_at; /* ns; 0: not wanted */
    bool is_stopping, was_asked, was_ready, has_failed;
    uint64_t restarts; /* of the server */
    struct hand *hand; /* what the server has in hand */
};

/* --- supervisor.c ----------------------------------------------------------------------------- */

void say(enum log_level level, const char *event, const char *key, const char *value);
enum rc complain(const char *what, const char *why); /* RC_PERM */
void close_fd(int *fd);
enum rc read_chain(const struct conf *conf, struct str *out);
/* RC_OK also when there is nothing to sign with. */
enum rc start_signer(struct supervisor *s);
void restart_server(struct supervisor *s);

/* --- reload.c --------------------------------------------------------------------------------- */

/* HUP: reads the configuration and the certificate again and has the server take them. Something
 * that is not usable changes nothing, and says so. */
void supervisor_reload(struct supervisor *s);

#endif
