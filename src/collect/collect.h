/* collect: fetches mail from accounts elsewhere into mailboxes here, on a schedule.
 *
 * What is to be collected stands in the store (remote.h); changes there are seen at once. One
 * process of those that share a store collects, the one that has the lease. Each try is one session
 * (fetch.h).
 *
 * NEVER LOST, NEVER DOUBLED: a message and the note that it is in are one commit of the account,
 * and only behind it the message is deleted elsewhere. So a crash at any moment leaves messages
 * that are not in, which are fetched, and some that are in and not yet deleted, which are deleted
 * next time.
 *
 * What goes wrong is temporary (tried again, at growing intervals) unless the host refuses name and
 * password: then nothing is tried until there is another password. The owner is told by mail, at
 * once of a refused password, else after a day.
 */
#ifndef COLLECT_COLLECT_H
#define COLLECT_COLLECT_H

#include "auth/auth.h"
#include "deliver/deliver.h"
#include "net/net.h"

struct collect;
struct dns;

struct collect_settings {            /* 0: the default */
    uint64_t interval_ms;            /* between tries: 600,000 */
    uint64_t retry_max_ms;           /* no interval is longer after failures: 14,400,000 */
    uint32_t connections;            /* at once; 0: nothing is collected */
    uint32_t per_account;            /* of them, of one account here: 4 */
    uint32_t idle;                   /* of them, that wait to be told of new mail: 10 */
    uint32_t messages;               /* in one mailbox elsewhere: 100,000 */
    uint64_t message_bytes;          /* larger ones stay there: 50 MB */
    uint64_t connect_ms, command_ms; /* as fetch_limits */
    uint64_t tell_ms;                /* of failures, before the owner is told: 86,400,000 */
};

struct collect_conf { /* all of it outlives collect_close */
    struct kv *kv;
    struct store *store;
    struct auth *auth;
    struct deliver *deliver;
    struct net *net;
    struct net_tls_client *tls;
    struct dns *dns;                     /* NULL: hosts are addresses */
    struct crypto_signer_client *signer; /* NULL: no password can be opened */
    struct str hostname;                 /* in Received; copied */
    struct str node;                     /* who has the lease; copied */
    const struct net_cidr *avoid;        /* where DNS may not lead; copied */
    size_t n_avoid;
    struct collect_settings settings;
};

/* Begins to collect. The context outlives it. */
void collect_open(const struct ctx *ctx, const struct collect_conf *conf, struct collect **out);
/* Other settings from now on, for tries to come. */
void collect_set(struct collect *collect, const struct collect_settings *settings);
/* Begins nothing new: before net_stop. May be NULL, as below. */
void collect_drain(struct collect *collect);
/* After net_stop: waits until what has been fetched is in. False: it has given up waiting for the
 * store, and still uses what is in conf. */
bool collect_close(struct collect **collect);

#endif
