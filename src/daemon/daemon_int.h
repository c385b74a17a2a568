/* daemon, inside: the processes of a serving Penfold.
 *
 *   supervisor  started by the operator; binds the ports, opens the data folder, keeps both for as
 * long as it lives; starts the others again when they end. Reads no byte from outside. signer holds
 * the private key of the certificate; answers requests for one signature each. server everything
 * else: unprivileged, in a sandbox, in the data folder.
 */
#ifndef DAEMON_DAEMON_INT_H
#define DAEMON_DAEMON_INT_H

#include "admin/admin.h"
#include "base/budget.h"
#include "conf/conf.h"
#include "crypto/crypto.h"
#include "deliver/deliver.h"
#include "net/net.h"
#include "smtpd/smtpd.h"
#include "task/hand.h"
#include "web/web.h"

#include <sys/types.h>

/* --- sockets.c: what the supervisor listens on ------------------------------------------------ */

enum service {
    SERVICE_SMTP,
    SERVICE_SUBMISSION,
    SERVICE_SUBMISSIONS,
    SERVICE_LMTP,
    SERVICE_SENDMAIL,
    SERVICE_POP3,
    SERVICE_POP3S,
    SERVICE_IMAP,
    SERVICE_IMAPS,
    SERVICE_ADMIN,
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
bool service_find(struct str name, enum service *out);
/* Where the configuration has it listen; NULL: SERVICE_CONTROL. */
const struct conf_list *service_addresses(enum service service, const struct conf *conf);

/* Binds every address of the configuration and the control socket, which is made in the current
 * folder for `owner`. On failure `why` says which address and the cause, and nothing stays open. */
enum rc sockets_open(const struct conf *conf, uid_t owner, struct sockets *out, char why[256]);
/* The sockets of another configuration: those of `now` that it still wants, and new ones. `now`
 * stays as it is, whatever happens. */
enum rc sockets_change(const struct conf *conf, const struct sockets *now, struct sockets *out,
                       char why[256]);
/* NULL: not among them. */
const struct socket *sockets_find(const struct sockets *sockets, enum service service,
                                  const char *address);
/* For good: also removes the files of Unix sockets. A child that is forked just exits. Those that
 * are also in `kept` (may be NULL) stay open. */
void sockets_close(struct sockets *sockets, const struct sockets *kept);

/* --- news.c: how the supervisor tells the running server, and hears back ---------------------- */

/* A message is a short text and at most one file. */
enum { NEWS_TEXT = 512 };
struct news {
    char text[NEWS_TEXT];
    int fd; /* the receiver's; -1: none */
};
enum rc news_send(int socket, int fd, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* RC_AGAIN: none has come; RC_EOF: the other end is gone; RC_SYNTAX: not a message of ours. */
enum rc news_receive(int socket, struct news *out);

/* --- notify.c: systemd ------------------------------------------------------------------------ */

/* Sends lines such as "READY=1" to the socket that the environment names; nobody there: nothing. */
void notify(const char *state);
void notify_reloading(void);
/* How often WATCHDOG=1 is to be sent, in ns; 0: it is not wanted. */
uint64_t notify_watchdog(void);

/* --- sandbox.c -------------------------------------------------------------------------------- */

/* Becomes this user, without any group beside its own. Only root can; for others it is checked that
 * they are that user already. */
enum rc sandbox_become(uid_t uid, gid_t gid);

/* One that sends mail, or whose store is on other machines, makes connections too. */
enum sandbox_role { SANDBOX_SERVER, SANDBOX_CONNECTING_SERVER, SANDBOX_SIGNER };
/* For good: files only below the current folder (the signer: none at all) and those that `readable`
 * names (ends with NULL, may be NULL), to read; no exec, no ptrace, no new sockets but a connecting
 * server's (TCP, UDP, Unix), on which nobody listens; system calls from a short list. *out_why (may
 * be NULL) names what this kernel could not give; RC_PERM when even seccomp failed. Threads made
 * later are inside. */
enum rc sandbox_enter(enum sandbox_role role, const char *const *readable, const char **out_why);

/* --- users.c: who may hand in mail on this machine ---------------------------------------------
 */

struct users {
    struct smtpd_user *item;
    size_t n;
};
void users_read(struct users *out); /* reads files */
void users_fini(struct users *users);
/* A copy that knows whom the configuration trusts; free() it. The names are the users'. */
struct smtpd_user *users_with_trust(const struct users *users, const struct conf_list *trusted);

/* --- generation.c: what one configuration decides for sessions -------------------------------- */

/* Made anew by each reload and never changed; sessions keep the one that they began with, and the
 * last one frees it. */
struct generation;

struct generation_house { /* what all of them stand on; outlives them */
    const struct ctx *ctx;
    struct admin *admin;
    struct deliver *deliver;
    struct budget *memory;
    struct web *web;
    struct hand *hand;                    /* may be NULL */
    const struct mime_charsets *charsets; /* made before the sandbox closes, as users */
    const struct users *users;
    struct limit *limit;
};

/* Takes conf and signer_fd (-1: none), also on failure, when `why` tells the cause. */
enum rc generation_new(const struct generation_house *house, struct conf *conf,
                       struct str chain_pem, int signer_fd, struct generation **out, char why[256]);
const struct conf *generation_conf(const struct generation *g);
/* The listeners for these sockets, which keep the generation until they are released. */
size_t generation_listeners(struct generation *g, const struct sockets *sockets,
                            struct net_listener out[SOCKETS_MAX]);
void generation_unref(struct generation **g); /* the maker's hold */

/* limits.command_time bounds the waits that have a shorter default of their own as well. */
uint64_t patience_ms(const struct conf *conf, uint64_t usual_ms);

/* --- server.c --------------------------------------------------------------------------------- */

struct server_start {
    struct conf *conf; /* the server's from the start */
    const struct sockets *sockets;
    struct str chain_pem;                /* the certificate; empty: no TLS */
    int signer_fd;                       /* where signatures are asked for; -1: nowhere */
    int dkim_fd;                         /* where those of mail are; -1: mail is not signed */
    unsigned char seal[CRYPTO_SEAL_KEY]; /* what its keys are sealed with */
    int ready_fd;                        /* gets one byte when every listener accepts */
    /* Before a SIGHUP these come here: "signer" and "certificate" with their files, "socket SERVICE
     * ADDRESS" for each that is new, "password FILE" with its text for each that a route names,
     * "resolvers", "anchors" and "authorities" with theirs when mail goes to other hosts,
     * "issuer-keys" or "issuer-authorities" when there is an issuer of tokens, last
     * "configuration FILE" with its text. The answer is "ok", or "refused CAUSE" and nothing has
     * changed. */
    int news_fd;
    pid_t supervisor; /* without which it does not run */
    uid_t uid;
    gid_t gid;
    uint64_t restarts; /* how often the supervisor has started it before */
    struct hand *hand; /* where it notes what it has in hand, for the next one; may be NULL */
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
