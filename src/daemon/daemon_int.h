/* daemon, inside: the processes of a serving Penfold.
 *
 *   supervisor  started by the operator; binds the ports, opens the data folder, keeps both for as
 * long as it lives; starts the others again when they end. Reads no byte from outside. signer holds
 * the private key of the certificate; answers requests for one signature each. server everything
 * else: unprivileged, in a sandbox, in the data folder.
 */
#ifndef DAEMON_DAEMON_INT_H
#define DAEMON_DAEMON_INT_H

#include "conf/conf.h"
#include "net/net.h"

#include <sys/types.h>

/* --- sockets.c: what the supervisor listens on ------------------------------------------------ */

enum service {
    SERVICE_SMTP,
    SERVICE_SUBMISSION,
    SERVICE_SUBMISSIONS,
    SERVICE_LMTP,
    SERVICE_POP3,
    SERVICE_POP3S,
    SERVICE_CONTROL, /* the last: where it listens is not configured */
    SERVICES
};
enum { SOCKETS_MAX = SERVICES * CONF_LIST_MAX };

struct socket {
    int fd;
    enum service service;
    ino_t file;        /* of a Unix socket that goes when it is closed; 0: none */
    char address[128]; /* as the log shows it: "127.0.0.1:2025", or the path of a Unix socket */
};

struct sockets {
    struct socket item[SOCKETS_MAX];
    size_t n;
};

const char *service_name(enum service service);
/* Where the configuration has it listen; NULL: SERVICE_CONTROL. */
const struct conf_list *service_addresses(enum service service, const struct conf *conf);

/* Binds every address of the configuration and the control socket, which is made in the current
 * folder for `owner`. On failure `why` says which address and the cause, and nothing stays open. */
enum rc sockets_open(const struct conf *conf, uid_t owner, struct sockets *out, char why[256]);
/* For good: also removes the files of Unix sockets. A child that is forked just exits. */
void sockets_close(struct sockets *sockets);

/* --- sandbox.c -------------------------------------------------------------------------------- */

/* Becomes this user, without any group beside its own. Only root can; for others it is checked that
 * they are that user already. */
enum rc sandbox_become(uid_t uid, gid_t gid);

enum sandbox_role { SANDBOX_SERVER, SANDBOX_SIGNER };
/* For good: files only below the current folder (the signer: none at all), no exec, no ptrace, no
 * new sockets, system calls from a short list. *out_why (may be NULL) names what this kernel could
 * not give; RC_PERM when even seccomp failed. Threads made later are inside. */
enum rc sandbox_enter(enum sandbox_role role, const char **out_why);

/* --- server.c --------------------------------------------------------------------------------- */

struct server_start {
    const struct conf *conf;
    const struct sockets *sockets;
    struct str chain_pem; /* the certificate; empty: no TLS */
    int signer_fd;        /* where signatures are asked for */
    int ready_fd;         /* gets one byte when every listener accepts */
    int news_fd; /* before a SIGHUP comes here: one byte with two files, the socket of a new signer
                    and its certificate */
    pid_t supervisor; /* without which it does not run */
    uid_t uid;
    gid_t gid;
    uint64_t restarts; /* how often the supervisor has started it before */
};

/* Runs until SIGTERM; returns the exit status. The current folder is the data folder; signals are
 * blocked. */
int server_run(const struct server_start *start);

/* --- supervisor.c ----------------------------------------------------------------------------- */

/* `penfold serve`. Returns the exit status. */
int supervisor_run(const char *conf_path);

/* The whole file, at most 1 MB, with the errno of a failure; free() the bytes. */
enum rc file_read(const char *path, struct str *out);
enum rc file_read_open(int fd, struct str *out); /* from where it is; fd stays open */

#endif
