/* net: event loops, listeners, and the one kind of connection that every protocol runs on, whether
 * it was accepted or is one of ours to another host (net_dial).
 *
 * A protocol is a const table of functions (struct net_proto). For each connection net keeps one
 * session, memory of the size that the protocol asks for, and calls step() whenever there may be
 * something to do. step() looks at the input, writes to the output and says by its result what
 * comes next. It never waits, never touches a socket.
 *
 * ONE OWNER. At any time a session belongs to exactly one: its loop, a worker thread, or whoever
 * will call net_resume(). Only the owner calls or is called with the connection. Everybody else
 * holds a struct net_handle (loop, slot, generation) and sends events through it; they are seen at
 * the next step, and by a worker through net_pending(). A handle of a connection that is gone is
 * harmless. No callback anywhere carries a bare pointer to a session. Only net frees a session, and
 * only when its loop owns it: when the peer hangs up meanwhile, the session stays until it is given
 * back, then close() is called.
 *
 * INPUT arrives in a buffer that belongs to the loop; what step() leaves unread is kept for the
 * connection. No more than net_proto.input_max bytes are offered at once; a step() that returns
 * NET_READ with so many left unread ends the connection. No input is read while output waits for a
 * slow peer. An idle connection holds no buffers.
 *
 * OUTPUT: step() adds to net_out(). Over the high-water mark it should return NET_MORE: it is
 * called again (perhaps with no event at all) when the peer has taken what there was. Output is
 * sent when step() returns, whatever it returns but NET_ABORT. Output that did not fit (buf.over)
 * ends the connection. A peer that takes nothing for net_limits.stall_ms is dropped; while output
 * waits, only NET_EV_TIMEOUT, NET_EV_DRAIN and NET_EV_KICK reach step().
 *
 * TIME: each state of a protocol sets a deadline (net_deadline); when it passes, step() is called
 * with NET_EV_TIMEOUT. A deadline that passes while the session is in other hands is looked at
 * after the step that follows, so that a step which ends a wait can set the next one. There is no
 * connection without a deadline: before the first call, and when step() leaves none, it is
 * net_limits.greeting_ms.
 *
 * Threads: what takes a struct conn is for its owner; what takes a struct net or a struct
 * net_handle is for any thread.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/buf.h"
#include "base/ctx.h"
#include "task/task.h"

#include <netinet/in.h>

struct net;
struct conn;
struct net_tls;

/* --- what a protocol says --------------------------------------------------------------------- */

enum net_step {
    NET_READ,  /* all that could be done is done: call again with more input, an event, or the
                  timeout. After NET_EV_EOF it means NET_CLOSE */
    NET_MORE,  /* there is more to do at once, but the output is over its mark: call again when it
                  has drained */
    NET_WAIT,  /* the session is in other hands until net_resume(); no step before that, whatever
                  happens */
    NET_SHORT, /* call the next step on the short worker lane: net_can_block() is true there */
    NET_HEAVY, /* the same on the heavy lane */
    NET_TLS, /* send the output, then start TLS; bytes that came before the answer was sent end the
                connection */
    NET_COMPRESS, /* send the output; what is behind it is compressed, both ways, and what is in
                     net_in() is so already. net_can_compress() has said yes */
    NET_EXPAND,   /* send the output, which ends the compression; so does what has been read */
    NET_CLOSE,    /* send the output, then close */
    NET_ABORT     /* close now, output unsent */
};

enum net_event {
    NET_EV_OPEN = 1 << 0,    /* the first call: send the greeting */
    NET_EV_INPUT = 1 << 1,   /* there is new input */
    NET_EV_EOF = 1 << 2,     /* the peer sends no more (it may still read); told once, net_is_eof()
                                stays. What is unread in net_in() is all there will ever be */
    NET_EV_TIMEOUT = 1 << 3, /* the deadline has passed; it is set no longer */
    NET_EV_DRAIN =
        1 << 4, /* the server is shutting down: finish what is acknowledged and say goodbye */
    NET_EV_KICK = 1 << 5,   /* somebody ends this session; who takes no last words goes without */
    NET_EV_RESUME = 1 << 6, /* what the session waited for has come back */
    NET_EV_TLS = 1 << 7,    /* the TLS handshake that NET_TLS began is complete */
    NET_EV_SECURE = 1 << 8, /* with NET_EV_OPEN: the connection is in TLS from the start */
    NET_EV_WAKE =
        1 << 9, /* from net_wake(): this one to NET_EV_LAST mean what the protocol wants */
    NET_EV_LAST = 1 << 19
};

struct net_proto {
    const char *name;    /* "smtp": in log lines and in session ids */
    size_t session_size; /* zeroed memory for each connection: net_session() */
    size_t input_max; /* most input offered at once, so the longest line and more; 64 KB is good for
                         throughput */
    size_t output_high; /* net_out_is_full() above this; the output's cap is four times as much */
    const char
        *busy; /* sent to a connection over a limit, then it is closed: "421 4.7.0 ...\r\n" */
    enum net_step (*step)(struct conn *c, unsigned events);
    void (*close)(struct conn *c); /* the last call, on the loop: free what the session holds */
};

/* --- what a session may ask of its connection (owner only) ------------------------------------ */

void *net_session(struct conn *c);
void *net_app(struct conn *c); /* the listener's `app` */
struct net *net_of(struct conn *c);

struct str net_in(struct conn *c); /* unread input; valid until this step returns */
void net_consume(struct conn *c, size_t n);
/* Overwrites input that this step has looked at, consumed or not: a password that somebody else has
 * a copy of now. net itself leaves no other copies. */
void net_wipe(struct conn *c, struct str part);
struct buf *net_out(struct conn *c);
bool net_out_is_full(struct conn *c); /* over the high-water mark: return NET_MORE soon */
bool net_is_eof(struct conn *c);
/* The peer has announced its end, whether or not what came before has been read: as of the
 * beginning of this step. It may still read; who works long for it without reading input sends
 * something now and then, and the connection ends when nobody takes it. */
bool net_is_leaving(struct conn *c);
bool net_can_block(struct conn *c); /* on a worker: disks and networks may be waited for */
unsigned net_pending(
    struct conn *c); /* events that came while this step runs; a worker looks between pages */
void net_deadline(struct conn *c,
                  uint64_t ms); /* NET_EV_TIMEOUT that long from now unless set anew */

struct net_addr {
    struct sockaddr_in6 sa; /* IPv4 as ::ffff:a.b.c.d; family AF_INET6, or AF_UNIX (no address) */
};
const struct net_addr *net_peer(struct conn *c);
const struct net_addr *net_local(struct conn *c);
struct str net_peer_text(struct conn *c); /* "192.0.2.1", "2001:db8::1"; no port; "local" on a Unix
                                             socket. As long as c */
/* Who has connected to a Unix socket, as the kernel says. False: not such a connection. */
bool net_peer_uid(struct conn *c, uint32_t *out);
bool net_is_loopback(const struct net_addr *a); /* 127.0.0.0/8, ::1, a Unix socket */
bool net_is_secure(struct conn *c);             /* in TLS */
bool net_has_tls(
    struct conn *c); /* STARTTLS could be offered: there is a certificate, and no TLS yet */
/* What ties a login to this TLS connection and no other [RFC5056]: tls-exporter in TLS 1.3
 * [RFC9266], tls-unique in TLS 1.2 with the extended master secret [RFC5929 3] [RFC7627]. The
 * type's name; NULL: there is none. The bytes cost some microseconds. */
enum { NET_BINDING_MAX = 64 };
struct net_binding {
    const char *type; /* static */
    unsigned char bytes[NET_BINDING_MAX];
    size_t n;
};
const char *net_binding_type(struct conn *c);
enum rc net_channel_binding(struct conn *c,
                            struct net_binding *out); /* RC_NOTFOUND: there is none */
/* Takes a place among the connections that compress, until its end; false: there is none. */
bool net_can_compress(struct conn *c);
bool net_is_compressed(struct conn *c);
struct str net_tls_text(
    struct conn *c); /* "TLSv1.3 TLS_AES_128_GCM_SHA256" for Received; absent without TLS */
/* The SHA-256 of the certificate that the client has shown, when its chain leads to one of the
 * authorities of net_tls_ask and it holds today; false: there is none. */
enum { NET_FINGERPRINT = 32 };
bool net_peer_certificate(struct conn *c, unsigned char out[NET_FINGERPRINT]);
const char *net_id(struct conn *c); /* this session's id for log lines: session=... */
const struct ctx *net_ctx(struct conn *c);
/* log_begin with session= and peer= already in it. */
void net_log(struct conn *c, struct log_line *l, enum log_level level, const char *event);

/* --- handles: from any thread ----------------------------------------------------------------- */

struct net_handle {
    uint32_t loop, slot;
    uint64_t generation;
};
struct net_handle net_handle(struct conn *c); /* owner only */

/* Ends NET_WAIT: exactly once for each NET_WAIT, also when it comes before step() has returned it.
 */
void net_resume(struct net *net, struct net_handle h);

/* Adds events (NET_EV_KICK, NET_EV_WAKE and higher). A hint: many may be seen as one; nothing
 * happens when the session is gone. */
void net_wake(struct net *net, struct net_handle h, unsigned events);

/* --- the process ------------------------------------------------------------------------------ */

struct net_limits {       /* 0 means the default */
    uint32_t connections; /* in total: 20,000, or three quarters of RLIMIT_NOFILE less 256,
                             whichever is less */
    uint32_t per_address; /* from one IPv4 address or IPv6 /64: 50 */
    uint32_t handshakes;  /* TLS handshakes under way, about 46 KB each: 1,000. Over it, or over the
                             next one, a connection waits for its turn until greeting_ms is over;
                             one that has not sent a byte is not under way and holds no TLS memory */
    uint32_t handshakes_per_address; /* of them, from one address as above: 20 */
    uint32_t dials;                  /* connections of ours to other hosts: 1,000, or a sixteenth of
                                        RLIMIT_NOFILE, whichever is less; never more than an eighth of that */
    uint32_t dial_handshakes;        /* TLS handshakes of those under way; the others wait: 200 */
    uint32_t compressed;             /* connections with compression, each up to 64 KB of memory,
                                        while they are idle hardly any: 10,000 */
    uint64_t greeting_ms; /* until a protocol has set its own deadline, and for a TLS handshake:
                             30,000 */
    uint64_t stall_ms;    /* a peer that takes no output: 120,000 */
    uint64_t drain_ms;    /* after net_drain, until what is left is cut off: 10,000 */
    uint64_t old_ms; /* after net_relisten, until sessions of the listeners before get NET_EV_DRAIN:
                        86,400,000 */
    const struct net_cidr *trusted; /* exempt from the limits per address; copied */
    size_t n_trusted;
};

struct net_cidr {
    struct in6_addr net; /* IPv4 as ::ffff:a.b.c.d with bits + 96 */
    unsigned bits;
};
enum rc net_cidr_parse(struct str text, struct net_cidr *out); /* "127.0.0.0/8", "::1"; RC_SYNTAX */
bool net_cidr_has(const struct net_cidr *cidr, const struct net_addr *addr);
enum rc net_addr_parse(struct str text,
                       struct net_addr *out); /* "127.0.0.1:25", "[::1]:25"; RC_SYNTAX */
/* "127.0.0.1", "::1", without brackets; RC_SYNTAX. */
enum rc net_ip_parse(struct str text, uint16_t port, struct net_addr *out);
enum { NET_IP_TEXT = 46 };
/* The other way, IPv4 as what it is. */
void net_ip_text(const struct in6_addr *ip, char out[NET_IP_TEXT]);

/* A socket bound to an address, not listening yet: IPv4 as what it is, IPv6 alone, so that both can
 * have the same port. RC_NOTFOUND: this machine has no IPv6, or not even ::1. Otherwise errno tells
 * the cause, and *out_fd is -1. */
enum rc net_bind(const struct net_addr *addr, int *out_fd);

struct net_conf {
    unsigned loops; /* 0: one for each processor */
    struct net_limits limits;
    struct task_lane *short_lane, *heavy_lane; /* the caller's; they outlive net */
};

/* Makes the loops; their threads start with net_start. The context outlives net. */
struct net *net_new(const struct ctx *ctx, const struct net_conf *conf);
/* After net_stop, and after everything is gone that calls net_resume or net_wake: sessions that
 * still wait are closed here. */
void net_free(struct net **net);

/* A socket that is bound and listening already (the supervisor's); net does not close it. */
struct net_listener {
    int fd;
    const char *name; /* of the service, for net_services; outlives net. NULL: the protocol's */
    const struct net_proto *proto;
    void *app;             /* for net_app(): the protocol's shared state; outlives net */
    bool is_tls;           /* TLS from the first byte */
    bool no_tickets;       /* every TLS session is new: for clients that hardly ever come back */
    bool asks_certificate; /* of its clients, when net_tls_ask has said whose count */
    struct net_tls *tls;   /* outlives net; NULL: no TLS and no STARTTLS */
    /* Networks of balancers: what comes from there begins with a header of PROXY version 2 that
     * says who the client is, whose connection it is from then on: net_peer, limits, log. It has
     * to come within greeting_ms. A client that speaks TLS with the balancer is one in TLS
     * (net_is_secure). Live as long as the listener. */
    const struct net_cidr *proxies;
    size_t n_proxies;
    /* NULL, or called when the last session of a listener that has been replaced is gone: app, tls
     * and what else belonged to it alone outlive only that. On any thread; must not block.
     * Listeners that were never replaced are released by net_free. */
    void (*released)(const struct net_listener *listener);
    void *owner; /* for released() */
};
enum rc net_listen(struct net *net,
                   const struct net_listener *listener); /* before net_start; copied */

/* Puts these in the place of all listeners there are, without losing a connection: from when it
 * returns, new ones are theirs; open sessions keep what they began with until they end, or for
 * old_ms. The sockets may be the same ones; those no longer among them may be closed. RC_TEMP while
 * draining: nothing has changed. Not from a loop. */
enum rc net_relisten(struct net *net, const struct net_listener *listeners, size_t n);
/* Other limits from now on, for connections to come; stall_ms and drain_ms stay. Any thread. */
void net_limit(struct net *net, const struct net_limits *limits);

/* One connected socket, as if accepted: for tests and for sockets that arrive otherwise. net closes
 * it, also on failure: RC_LIMIT over the limit of connections, RC_TEMP while draining. `as`
 * outlives net. */
enum rc net_adopt(struct net *net, int fd, const struct net_listener *as);

void net_start(struct net *net);
void net_drain(
    struct net *net); /* accept no more; every session gets NET_EV_DRAIN; returns at once */
void net_stop(struct net *net); /* drains, waits until the last session is gone (or drain_ms), ends
                                   the threads */
size_t net_count(struct net *net); /* open connections that were accepted */
size_t net_dials(struct net *net); /* connections to other hosts, those that are being made too */
bool net_is_draining(struct net *net);

enum { NET_SERVICES = 16 };
struct net_service {
    const char *name;
    uint32_t open; /* connections of all its listeners, replaced ones too */
};
/* The services that are or were listened for; more than NET_SERVICES names are counted as the last
 * one. Any thread. */
size_t net_services(struct net *net, struct net_service out[NET_SERVICES]);

/* --- connections to other hosts --------------------------------------------------------------- */

/* A connection that we make runs on the same machinery and under the same rules; what is different:
 * its session begins with net_dial. The first step() is NET_EV_OPEN, when it is connected, or with
 * NET_EV_SECURE when it is in TLS from the start (`secure`). If it fails, at whatever time, there
 * is no step any more, but close() as always, once; net_error() says there what was wrong. What the
 * peer sent before that is offered to step() nevertheless. */

struct net_tls_client;
struct net_tls_want;

struct net_dial {
    struct net_addr to;
    const char *path;     /* or a Unix socket: `to` says nothing then; NULL: none */
    struct net_addr from; /* source address, with port 0; of zeroes: the system's choice */
    const struct net_proto *proto;
    void *app;                         /* for net_app() */
    void *arg;                         /* for net_arg(): what this session is for */
    uint64_t connect_ms;               /* until it is connected: 30,000 when 0 */
    uint64_t handshake_ms;             /* for a TLS handshake: greeting_ms when 0 */
    struct net_tls_client *tls;        /* outlives net; NULL: no TLS */
    const struct net_tls_want *secure; /* NULL, or TLS from the first byte */
    unsigned loop;                     /* 1 for the first, and so on; 0: all in turn */
};

/* From any thread. RC_OK: close() will be called. Otherwise nothing will: RC_LIMIT over the limit
 * of such connections, RC_TEMP while draining or when the system has no socket, RC_SYNTAX (a
 * path that is too long), RC_SYNTAX or RC_NOTFOUND from net_tls_expect. */
enum rc net_dial(struct net *net, const struct net_dial *dial);
void *net_arg(struct conn *c); /* NULL for one that was accepted */

/* Why a connection of ours has ended. */
enum net_failure {
    NET_FAILED_NOT,         /* step() or the peer has ended it */
    NET_FAILED_CONNECT,     /* never connected: refused, unreachable, no answer in time */
    NET_FAILED_SOURCE,      /* the source address cannot be used */
    NET_FAILED_TLS,         /* the handshake */
    NET_FAILED_CERTIFICATE, /* it is not what was wanted */
    NET_FAILED_BROKEN,      /* reset, or given up by the system */
    NET_FAILED_STALLED,     /* the peer took no output for stall_ms */
    NET_FAILED_INPUT,       /* input_max bytes that step() could not use */
    NET_FAILED_HERE         /* this side: shutting down, no room */
};
enum net_certificate_fault { /* what was wrong with a certificate */
                             NET_CERTIFICATE_FINE,
                             NET_CERTIFICATE_UNTRUSTED, /* no chain to an authority that is known */
                             NET_CERTIFICATE_EXPIRED,   /* or not yet valid */
                             NET_CERTIFICATE_NAME,      /* it is for other hosts */
                             NET_CERTIFICATE_TLSA,      /* none of the TLSA records fits */
                             NET_CERTIFICATE_BAD        /* anything else */
};
enum { NET_ERROR_TEXT = 200 };
struct net_error {
    enum net_failure failure;
    enum net_certificate_fault certificate;
    int error;                 /* errno, or 0 */
    char text[NET_ERROR_TEXT]; /* in plain words: "connection refused"; printable ASCII */
};
/* Owner only; also in close(). Of one that was accepted: NET_FAILED_NOT. */
const struct net_error *net_error(struct conn *c);

/* How much TLS must show about the peer. */
enum net_tls_level {
    NET_TLS_ANY,   /* nothing: any certificate, which is not even looked at [RFC7435] */
    NET_TLS_NAMED, /* a chain to an authority of the CA file, and one of the names [RFC6125] */
    NET_TLS_DANE   /* the TLSA records, with DANE-TA one of the names too [RFC7672] */
};
struct net_tlsa { /* [RFC6698 2.1] */
    uint8_t usage, selector, matching;
    struct str data;
};
enum { NET_TLSA_MAX = 32, NET_TLS_NAMES = 8 };
struct net_tls_want {
    enum net_tls_level level;
    struct str name; /* for SNI, and the first of the names that the certificate may be for; with
                        DANE the TLSA base domain. Empty or an address: no SNI */
    const struct str *names; /* others that it may be for; up to NET_TLS_NAMES */
    size_t n_names;
    const struct net_tlsa *tlsa; /* up to NET_TLSA_MAX count */
    size_t n_tlsa;
};
/* Says what the handshake is to be that NET_TLS begins; before step() returns that. Copied.
 * RC_NOTFOUND: none of the TLSA records can be used [RFC7672 2.1]. RC_SYNTAX: a name or nothing to
 * verify by. RC_TEMP: no TLS here. */
enum rc net_tls_expect(struct conn *c, const struct net_tls_want *want);

enum net_tls_proof { NET_PROOF_NONE, NET_PROOF_NAMED, NET_PROOF_DANE_TA, NET_PROOF_DANE_EE };
enum net_tls_proof net_tls_proof(struct conn *c); /* what the handshake has shown */

/* Runs fn on the first loop after `ms`, once: for periodic work of the process (it posts itself
 * again). */
struct net_timer { /* zeroed, but for fn; outlives net or is cancelled */
    void (*fn)(struct net_timer *t);
    uint64_t at;  /* net's */
    size_t place; /* net's; 0: not set */
};
void net_timer_set(struct net *net, struct net_timer *t,
                   uint64_t ms); /* before net_start or on the first loop */
void net_timer_cancel(struct net *net, struct net_timer *t); /* the same; not set is harmless */

/* --- TLS -------------------------------------------------------------------------------------- */

/* Signs a handshake's digest with the private key that another process holds: writes the signature
 * to out (at most *n bytes, then *n is its length). `algorithm` is "ecdsa" (tbs is the digest, the
 * signature DER), "rsa-pkcs1" (DER of the digest) or "rsa-pss" (the encoded block, as long as the
 * key). Called on workers, by several at a time; may block for a bounded time. crypto_signer_sign
 * is made for it. */
struct net_signer {
    enum rc (*sign)(struct net_signer *s, const char *algorithm, struct str tbs, unsigned char *out,
                    size_t *n);
};

/* The one that asks the signer process (crypto.h) for key number `key`. Takes the socket. */
struct net_signer *net_signer_new(int fd, unsigned key);
void net_signer_free(struct net_signer **signer);

/* A certificate chain in PEM; the key in PEM as well, or absent and a signer (which outlives it).
 * RC_SYNTAX or RC_PERM with the cause in `why`. TLS 1.2 and 1.3, AEAD suites only, P-256 and
 * X25519. Session tickets are sealed with random keys that live in this object alone and change
 * every hour. */
enum rc net_tls_new(struct str chain_pem, struct str key_pem, struct net_signer *signer,
                    struct net_tls **out, char why[256]);

/* Puts another certificate in its place, from any thread; on failure the old one stays. Connections
 * keep what they began with. */
enum rc net_tls_renew(struct net_tls *tls, struct str chain_pem, struct str key_pem,
                      struct net_signer *signer, char why[256]);

/* Clients of listeners that ask for a certificate are asked for one of these authorities, in PEM;
 * one that has none, or another one, is let in all the same: see net_peer_certificate. Before the
 * first connection. RC_SYNTAX with the cause in `why`. */
enum rc net_tls_ask(struct net_tls *tls, struct str ca_pem, char why[256]);

void net_tls_free(struct net_tls **tls); /* after the net that used it */

/* The client's side, for net_dial. TLS 1.2 and 1.3. The authorities in PEM, or absent: then nothing
 * is NET_TLS_NAMED. What is not a certificate in the text is passed over; none at all is RC_SYNTAX
 * with the cause in `why`. Sessions are resumed with hosts of which the same was wanted. */
enum rc net_tls_client_new(struct str ca_pem, struct net_tls_client **out, char why[256]);
/* Other authorities, from any thread; on failure the old ones stay. */
enum rc net_tls_client_renew(struct net_tls_client *tls, struct str ca_pem, char why[256]);
void net_tls_client_free(struct net_tls_client **tls); /* after the net that used it */

#endif
