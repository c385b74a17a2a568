/* relay: takes queued messages to other hosts, and says what became of each recipient.
 *
 * The queue tells of recipients that are due (relay_sink). The scheduler parts them by destination,
 * asks where that is (where.c: routes, DNS), keeps sessions to hosts (session.c: SMTP and LMTP as a
 * client) and gives them messages; what each recipient came to goes back through deliver_settle,
 * which commits new states, removals and reports at once. A message is sent on only while the queue
 * holds it, and leaves the queue only after the other host has said 250: what is interrupted in
 * between is sent again. The one window for a second copy is the time between that 250 and our
 * commit (and a 250 that never arrives); SMTP cannot close it.
 *
 * THE SCHEDULER (schedule.c, destination.c, peer.c) knows no clock, no network and no queue: all of
 * that is handed in, so tests drive days in milliseconds.
 *   - Only what is due is in memory, at most `entries` recipients of 64 bytes each; the rest waits
 *     in the queue's due index and is loaded by pages as there is room.
 *   - Destinations take turns, whatever they have waiting.
 *   - A host has a window of connections, which grows with success and shrinks with failure. One
 *     that cannot be reached is left alone for a while, as a whole: what is for it alone goes back
 *     to the queue with its last error, untried.
 *   - Connections to hosts that have not answered yet have places of their own, so that dead hosts
 *     take none from the living.
 *
 * THREADS: relay_open and relay_close are for the process's start and end; everything else may be
 * called from any thread and does not block.
 */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/ctx.h"
#include "base/str.h"
#include "deliver/deliver.h"
#include "net/net.h"

#include <stdatomic.h>

enum relay_protocol { RELAY_SMTP, RELAY_LMTP };

/* What a host must show before it gets mail. DANE and MTA-STS make it stricter, never weaker. */
enum relay_tls {
    RELAY_TLS_OPPORTUNISTIC, /* STARTTLS when it is offered, whatever the certificate */
    RELAY_TLS_NEVER,
    RELAY_TLS_VERIFY,  /* STARTTLS, and a certificate of that name from an authority of ours */
    RELAY_TLS_IMPLICIT /* the same, in TLS from the start [RFC8314] */
};

/* What the configuration says of a domain. */
struct relay_route {
    struct str domain; /* lower case, A-labels; "*": of all that have no route of their own */
    struct str host;   /* name, address or path of a Unix socket; empty: what DNS says */
    uint16_t port;     /* 0: the protocol's: 25, 24 */
    enum relay_protocol protocol;
    enum relay_tls tls;
    struct str login, password; /* empty: none */
    struct net_addr source[2];  /* IPv4, IPv6: where connections come from; port 0 */
    bool has_source[2];
};

/* Never changed once it is in use; a reload makes another one. Numbers have a default when 0. */
struct relay_settings {
    struct arena arena;    /* what the members point to may live here */
    _Atomic unsigned refs; /* the maker's is the first; the last one frees it */
    struct str hostname;   /* in EHLO */
    const struct relay_route *routes;
    size_t n_routes;
    struct net_addr source[2]; /* of destinations whose route says nothing */
    bool has_source[2];
    const struct net_addr *own; /* where this host listens for SMTP: loops are seen by it */
    size_t n_own;
    const struct net_cidr *avoid; /* where DNS may not lead; routes may */
    size_t n_avoid;
    uint64_t retry_first_ms; /* 300,000; then doubled with the time that has passed */
    uint64_t retry_max_ms;   /* 14,400,000 */
    uint64_t retry_grey_ms;  /* the first one after a 4yz to RCPT: 60,000 */
    uint32_t connections;    /* at once: 1000; as many again that have not been answered yet */
    uint32_t per_host;       /* of them to one address: 20 */
    uint32_t per_connection; /* messages of one connection: 100 */
    uint32_t recipients;     /* of one transaction: 100 [RFC5321 4.5.3.1.8] */
    uint32_t entries;        /* recipients in memory: 262,144 */
    uint64_t idle_ms;        /* how long a connection waits for the next message: 5,000 */
    uint64_t connect_ms;     /* 30,000 */
    uint64_t lookup_least_s; /* an answer of DNS is used at least that long: 30 */
    uint64_t command_ms;     /* 300,000; the others of [RFC5321 4.5.3.2] in proportion */
};
struct relay_settings *relay_settings_new(void);
void relay_settings_unref(struct relay_settings **settings);

/* --- the process ------------------------------------------------------------------------------ */

struct relay;
struct dns;

/* Makes the signatures that are put in front of a message: called on workers, for each transaction.
 */
struct relay_signer {
    /* Appends fields with their CRLF, or nothing. RC_TEMP: not now, the message waits. */
    enum rc (*sign)(struct relay_signer *signer, const struct queue_item *item, struct str hostname,
                    struct buf *out_fields);
};

struct relay_conf { /* all of it outlives the relay */
    struct kv *kv;
    struct queue *queue;
    struct deliver *deliver;
    struct net *net;
    struct net_tls_client *tls; /* with the authorities that are known */
    struct dns *dns;
    struct tlspol *tlspol;       /* NULL: no MTA-STS, and nothing is counted for TLS-RPT */
    struct relay_signer *signer; /* NULL: nothing is signed */
    unsigned workers;            /* threads that read the queue and sign: 0: 2 */
};

/* Takes what is due from the queue from now on. One reference on the settings becomes the relay's.
 */
void relay_open(const struct ctx *ctx, const struct relay_conf *conf,
                struct relay_settings *settings, struct relay **out);
/* Other settings from now on; transactions under way end with the old ones. */
void relay_set(struct relay *relay, struct relay_settings *settings);
/* No new transactions; those under way end, then QUIT. Returns at once. */
void relay_drain(struct relay *relay);
/* Drains, and waits until nothing is under way any more: after net_stop, before net_free. When the
 * store does not answer for long it gives up, and *relay stays. */
void relay_close(struct relay **relay);

/* --- figures ---------------------------------------------------------------------------------- */

struct relay_figures {
    size_t waiting, under_way;               /* recipients that are due and in memory */
    size_t destinations;                     /* known */
    size_t connecting, connected, questions; /* now */
};
void relay_figures(struct relay *relay, struct relay_figures *out);

struct relay_destination {
    char name[256];
    const char *tls; /* of messages whose senders care for TLS: "required", "wanted", "optional";
                        empty: all others */
    size_t waiting;
    uint64_t sent, deferred, bounced; /* since it is known */
    bool is_left_alone;
};
/* The destinations that have most waiting, then those that had most mail: at most n. */
size_t relay_destinations(struct relay *relay, struct relay_destination *out, size_t n);

#endif
