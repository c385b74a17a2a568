/* ctl: the command line of Penfold, and the control socket on which a running server takes the same
 * commands.
 *
 * A command is words; it is carried out by one of admin's functions. With a server running it goes
 * through the socket `control` in the data folder, else this process opens the store itself, under
 * its lock, as the user that the folder belongs to.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "admin/admin.h"
#include "conf/conf.h"
#include "crypto/crypto.h"
#include "net/net.h"

#define CTL_SOCKET   "control"               /* in the data folder */
#define CTL_SENDMAIL "/run/penfold/sendmail" /* where `sendmail` finds the server by itself */

/* Exit statuses of the program. */
enum { CTL_DONE = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

/* The program. argv[0] is its name; run_server is what `serve` calls, with the configuration file
 * that is meant: the value behind -c, else $PENFOLD_CONF, else /etc/penfold/penfold.conf. Returns
 * the exit status. */
int ctl_main(int argc, char **argv, int (*run_server)(const char *conf_path));

/* Loads a configuration; complains on standard error and returns NULL. */
struct conf *ctl_conf(const char *path);

/* The store of a configuration, whatever its engine: the current folder is the data folder. As
 * kv_local_open and kv_rados_open answer; the cause is logged. The configuration has to live as
 * long as the store. */
enum rc ctl_engine_open(const struct ctx *ctx, const struct conf *conf, struct kv **out);
/* What the engine wants of a process that is confined before it opens the store. */
struct ctl_engine_needs {
    const char *readable[3]; /* files; ends with NULL */
    bool connects;           /* to other machines */
};
/* Takes in what the engine is made of while files can still be read: call it before the process is
 * confined. */
enum rc ctl_engine_load(const struct ctx *ctx, const struct conf *conf,
                        struct ctl_engine_needs *out);

/* The file that the store's signing keys are sealed for (dkim { key }): read by the signer process
 * alone. RC_NOTFOUND, RC_DENIED, RC_TEMP; RC_SYNTAX: not such a file. */
enum rc ctl_seal_read(const char *path, unsigned char secret[CRYPTO_SEAL_KEY]);
/* A new one, readable by its owner. RC_EXISTS. */
enum rc ctl_seal_make(const char *path, unsigned char public_half[CRYPTO_SEAL_KEY]);

/* What keeps the stories of messages, as the configuration has it; NULL: nothing is noted. */
struct trace;
enum rc ctl_trace_open(const struct ctx *ctx, const struct conf *conf, struct kv *kv,
                       struct trace **out);

/* The server's side: a listener on the socket with app = struct admin. */
extern const struct net_proto ctl_proto;

#endif
