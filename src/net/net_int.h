/* Private to net/: what the files here share.
 *
 *   net.c     the process: new, start, drain, stop         slot.c   handles and their words of
 * events loop.c    one thread, one event base (libevent)        timers.c one heap of timers for a
 * loop listen.c  listeners and accepting                      limits.c how many, in total and per
 * address conn.c    a connection's life and its accessors        drive.c  what happens next with it
 *   io.c      reading and writing                          tls.c    the TLS layer (OpenSSL)
 *   addr.c    addresses and CIDR blocks                      dial.c   connections to other hosts
 *   tls_client.c the client's side of TLS                 deflate.c compression (zlib)
 *
 * A connection is touched by its loop's thread only, except while `hands` says HANDS_LANE: then the
 * worker has the session, the buffers, the deadline and the TLS object, and the loop only the
 * fields marked (loop). */
#ifndef NET_NET_INT_H
#define NET_NET_INT_H

#include "base/budget.h"
#include "base/list.h"
#include "base/map.h"
#include "net/net.h"

#include <stdatomic.h>

enum {
    SCRATCH = 64 * 1024, /* most that is read at once */
    SCRATCH_HEAD = 4096, /* room before it, for what was left unread */
    PACKED = 16 * 1024,  /* most compressed bytes that are read at once */
    PEER_TEXT = NET_IP_TEXT,
    ID_TEXT = 40
};

/* --- slots: a slot's word holds 40 bits of generation and 24 of events, so that whoever sends an
 * event finds out in one atomic step whether the session is still there. Bits beyond NET_EV_LAST:
 */
enum {
    WORD_BACK = 1 << 22,   /* a worker has given the session back */
    WORD_QUEUED = 1 << 23, /* the slot is in its loop's queue: at most once */
    WORD_BITS = 24,
    WORD_EVENTS = NET_EV_LAST * 2 - 1
};

struct slot {
    _Atomic uint64_t word;
    struct conn *conn; /* (loop) */
    uint32_t next_free;
};

struct slots {
    struct slot *slots; /* from 1; 0 is nobody. Pages that are never used are never there */
    uint32_t n, used, free_head, free_tail;
};

void slots_init(struct slots *s, uint32_t n);
void slots_fini(struct slots *s);
uint32_t slots_take(struct slots *s, struct conn *c, uint64_t *out_generation); /* 0: all taken */
void slots_give(struct slots *s, uint32_t slot);
/* Adds events; true when the slot must be put into the queue of its loop. Any thread. */
bool slots_post(struct slots *s, uint32_t slot, uint64_t generation, uint32_t bits);
struct conn *slots_unqueue(struct slots *s, uint32_t slot); /* NULL when nobody is there any more */
uint32_t slots_peek(struct slots *s, uint32_t slot);
void slots_clear(struct slots *s, uint32_t slot, uint32_t bits);

/* --- timers of one loop */
struct timers {
    struct net_timer **heap; /* from 1 */
    size_t n, size;
};

void timers_fini(struct timers *t);
void timers_set(struct timers *t, struct net_timer *timer, uint64_t at);
void timers_cancel(struct timers *t, struct net_timer *timer);
struct net_timer *timers_first(const struct timers *t);

/* --- limits */
struct limits {
    pthread_mutex_t mutex;
    struct map addresses;
    uint64_t key[2];
    uint32_t total, max_total, max_address; /* under the mutex, as the rest */
    uint32_t handshakes, max_handshakes, max_address_handshakes;
    uint32_t dials, max_dials, dial_handshakes, max_dial_handshakes;
    struct net_cidr *trusted;
    size_t n_trusted;
};

void limits_init(struct limits *l, const struct net_limits *conf);
void limits_fini(struct limits *l);
void limits_set(struct limits *l, const struct net_limits *conf);
uint32_t limits_most(void); /* connections that were accepted that no limit goes beyond */
uint32_t limits_most_dials(void);
/* RC_LIMIT. *out_is_counted: it counts for its address, which limits_give is to be told. */
enum rc limits_take(struct limits *l, const struct net_addr *peer, bool *out_is_counted);
void limits_give(struct limits *l, const struct net_addr *peer, bool is_counted);
/* In two parts, where it is said later whom it counts for: RC_LIMIT, and then what was taken stays.
 */
enum rc limits_take_unnamed(struct limits *l);
enum rc limits_claim(struct limits *l, const struct net_addr *peer, bool *out_is_counted);
uint32_t limits_count(struct limits *l);
/* For a peer that has been taken. Never leaks: given before limits_give. */
enum rc limits_take_handshake(struct limits *l, const struct net_addr *peer,
                              bool is_counted); /* RC_LIMIT */
void limits_give_handshake(struct limits *l, const struct net_addr *peer, bool is_counted);
/* The same for connections of ours, which no address bounds here. */
enum rc limits_take_dial(struct limits *l); /* RC_LIMIT */
void limits_give_dial(struct limits *l);
uint32_t limits_dials(struct limits *l);
enum rc limits_take_dial_handshake(struct limits *l); /* RC_LIMIT */
void limits_give_dial_handshake(struct limits *l);

/* --- loops */
enum {
    ASK_LISTEN = 1,
    ASK_OVERDUE = 2,
    ASK_DRAIN = 4,
    ASK_CUT = 8,
    ASK_END = 16
}; /* in this order */

struct loop {
    struct net *net;
    uint32_t index;
    struct event_base *base;
    struct event *wake, *tick;
    int wake_fd;
    uint64_t tick_at; /* when tick fires; 0: it does not */
    pthread_t thread;
    bool ending;
    struct slots slots;
    struct timers timers;

    pthread_mutex_t mutex; /* of the rest */
    bool is_signalled;
    unsigned asked;
    struct list arrivals; /* connections that other threads made */
    uint32_t *queue, *spare;
    size_t queued, queue_size, spare_size;

    struct deflate_machines *machines;
    char scratch[SCRATCH_HEAD + SCRATCH], packed[PACKED];
};

void loop_init(struct loop *l, struct net *net, uint32_t index, uint32_t n_slots);
void loop_fini(struct loop *l);
void loop_start(struct loop *l);
void loop_join(struct loop *l);
void loop_ask(struct loop *l, unsigned what);     /* any thread */
void loop_arrive(struct loop *l, struct conn *c); /* any thread; the loop owns c from here */
void loop_post(struct loop *l, uint32_t slot, uint64_t generation, uint32_t bits); /* any thread */
uint64_t loop_now(const struct loop *l);
void loop_timer(struct loop *l, struct net_timer *t, uint64_t at); /* earlier or later */
bool loop_watch(struct conn *c);
void loop_unwatch(struct conn *c);

/* --- listeners: on the first loop. One lives as long as it is listened on (one reference) or has
 * connections (one each). */
struct listener {
    struct list link;
    struct net_listener conf;
    struct net *net;
    struct event *event;
    struct net_timer retry;
    unsigned service; /* in net.services */
    _Atomic uint32_t refs;
    _Atomic uint64_t replaced_at; /* 0: it is not */
};

void listener_unref(struct listener *listener);
void listeners_replace(struct net *net);    /* by net->next; on the first loop */
void listener_overdue(struct net_timer *t); /* net.overdue has fired */
bool conn_is_overdue(const struct conn *c);

void listener_accept(struct listener *listener);
bool loop_listen(struct loop *l, struct listener *listener);
void loop_listen_pause(struct listener *listener, bool is_paused);
void loop_listen_end(struct listener *listener);

struct service {
    const char *name;
    _Atomic uint32_t open;
};

struct net {
    const struct ctx *ctx;
    struct net_conf conf;
    _Atomic uint64_t greeting_ms, old_ms; /* of the limits; those in conf are of the beginning */
    struct limits limits;
    struct list listeners;
    struct list next; /* what is to come in their place; under the mutex, as has_next */
    bool has_next;
    struct net_timer overdue;              /* when sessions of replaced listeners are to end */
    struct service services[NET_SERVICES]; /* filled from the front, names never change */
    _Atomic unsigned n_services;
    unsigned n_loops;
    struct loop *loops;
    _Atomic unsigned next_loop;
    _Atomic bool is_draining;
    _Atomic uint64_t next_id;
    _Atomic uint32_t in_lanes; /* sessions that workers hold */
    struct budget compressed;  /* connections */
    bool is_started;
    pthread_mutex_t mutex; /* with `changed`: a connection has gone */
    pthread_cond_t changed;
};

/* --- connections */
enum hands { HANDS_LOOP, HANDS_LANE, HANDS_WAIT };

enum phase {
    PHASE_PROXY,     /* a balancer is to say who the client is */
    PHASE_CONNECT,   /* ours, until the other host has taken it */
    PHASE_STEP,      /* the protocol's */
    PHASE_START_TLS, /* the answer to STARTTLS is on its way out; then the peer's first byte and a
                        place among the handshakes are waited for */
    PHASE_HANDSHAKE, /* TLS, on the short lane */
    PHASE_CLOSE,     /* the last output is on its way out */
    PHASE_LINGER     /* what the peer still sends is thrown away, so that it reads our last words */
};

enum handshake { HANDSHAKE_WANTS_READ, HANDSHAKE_WANTS_WRITE, HANDSHAKE_DONE, HANDSHAKE_FAILED };

struct conn {
    struct loop *loop;
    uint32_t slot;
    enum hands hands;   /* (loop) */
    enum phase phase;   /* (loop) */
    enum net_step last; /* what step() returned last; a worker writes it before giving back */
    uint64_t generation;
    int fd;
    bool is_readable; /* (loop) there may be something to read */
    bool
        is_closing; /* (loop) the peer's end has been announced: reading goes on until it is seen */
    bool is_leaving;    /* is_closing when this step began */
    bool is_blocked;    /* (loop) the peer takes no more output for now */
    bool is_kicked;     /* NET_EV_KICK was told: its last words are not waited for long */
    bool is_cut;        /* (loop) ends as soon as the loop has it */
    bool is_shaking;    /* (loop) has a place among the handshakes */
    bool is_open;       /* the session is to be closed */
    bool is_eof;        /* read to the end */
    bool is_eof_told;   /* and step() knows */
    bool is_broken;     /* nothing can be sent or received any more */
    bool is_in_scratch; /* where in_p points to: (loop) */
    bool is_secure, can_block, has_local;
    bool is_counted;     /* for its address */
    bool may_compress;   /* has a place among those */
    int error;           /* errno of what broke it; 0: not known */
    struct dialed *ours; /* what only a connection to another host has; NULL: it was accepted */
    struct event *event;
    const struct net_listener *conf;
    struct listener *listener; /* that conf belongs to; NULL when adopted */
    struct tls *tls;
    char *front; /* the TLS between the client and the balancer in front of us; NULL: none */
    struct layer *layer; /* (loop) of compression; NULL: none */

    unsigned events; /* that net adds: open, input, end, timeout */
    unsigned job_events;
    const char *in_p; /* what this step sees: in the scratch, or in `in` */
    size_t in_n;
    struct buf in, out;

    uint64_t deadline;      /* 0: none */
    uint64_t stall_at;      /* (loop) while blocked */
    uint64_t retry_at;      /* (loop) when a full lane is asked again */
    struct net_timer timer; /* (loop) set no later than whatever is due next */
    struct task_job job;
    enum handshake handshake;
    const char *cause; /* of a failed handshake */
    struct list link;  /* in a loop's arrivals */

    struct net_addr peer, local;
    char peer_text[PEER_TEXT], id[ID_TEXT];
    _Alignas(16) char session[];
};

/* conf stands for the listener that there is not. The rest is the owner's. */
struct dialed {
    struct net_listener conf;
    void *arg;
    struct net_addr from;
    uint64_t connect_ms, handshake_ms;
    char *path; /* of a Unix socket, or NULL */
    struct net_tls_client *client;
    struct tls *tls; /* for the handshake to come */
    bool is_told;    /* step() has been called */
    struct net_error error;
};

bool dial_connect(struct conn *c); /* (loop) false: it has failed */
bool dial_finish(struct conn *c);  /* (loop) the system has an outcome; false: it has failed */
/* Of one that was accepted: nothing. The first failure is the one that counts. */
void dial_fail(struct conn *c, enum net_failure failure, const char *cause);
void dial_free(struct conn *c);

struct conn *conn_new(struct net *net, int fd, const struct net_listener *conf,
                      const struct net_addr *peer);
void conn_free(struct conn *c); /* closes the socket; the session has been closed */
void conn_begin(struct loop *l, struct conn *c);
void conn_close_session(struct conn *c);
void conn_end(struct conn *c);   /* close(), then the connection is no more */
void conn_drive(struct conn *c); /* does all that can be done now; c may be gone after it */
void conn_cut(struct conn *c);   /* ends it now, or when it is given back */
void conn_timer(struct net_timer *t);
void conn_log(struct conn *c, enum log_level level, const char *event, const char *cause);

enum rc io_flush(struct conn *c); /* RC_OK: all is sent; RC_AGAIN; RC_EOF: the peer is gone */
enum rc io_read(
    struct conn *c);          /* RC_OK: in_p and in_n have more; RC_AGAIN; RC_EOF: no more comes */
void io_keep(struct conn *c); /* moves what is unread to the connection's own buffer */
bool io_has_early_bytes(struct conn *c); /* in the socket, unread */
bool io_discard(struct conn *c);         /* false: the end was seen */

/* --- compression: a layer between TLS, or the socket, and the session */
struct layer {
    struct deflate *deflate;
    struct buf
        in; /* has come and is not expanded yet: up to PACKED, or what was behind the command */
    struct buf out; /* goes before anything else */
    bool is_ending; /* what goes is plain; what comes is, behind the last flush */
};
void layer_open(struct conn *c);  /* all output and input from here on */
void layer_close(struct conn *c); /* the same; it may stay until that end has come */
void layer_free(struct conn *c);

struct deflate_machines; /* of a loop */
struct deflate_machines *deflate_machines_new(void);
void deflate_machines_free(struct deflate_machines **machines); /* after all that used them */

struct deflate; /* of a connection, both ways */
struct deflate *deflate_new(struct deflate_machines *machines);
void deflate_free(struct deflate **deflate);
/* RC_OK: so much was used, and so much came out, either of which may be nothing. RC_SYNTAX: it is
 * none. RC_LIMIT: a bomb. Not after deflate_is_over. */
enum rc deflate_expand(struct deflate *d, struct str from, size_t *out_used, char *to, size_t room,
                       size_t *out_n);
bool deflate_has_more(const struct deflate *d); /* even without more input */
bool deflate_is_over(const struct deflate *d);  /* the peer's stream has ended */
/* Nothing came, or what came last ends a flush of the peer: what follows may be something else. */
bool deflate_is_flushed(const struct deflate *d);
/* Adds all of it, so that the peer can read it at once. is_last: ends the stream. */
void deflate_pack(struct deflate *d, struct str from, bool is_last, struct buf *out);

/* --- proxy.c, behind.c: clients of a balancer --- */
enum { PROXY_HEAD = 16, PROXY_MAX = 4096 }; /* bytes of a header at least and at most */
struct proxy {
    bool is_local;                      /* nothing about a client: the balancer itself */
    bool is_secure;                     /* the client speaks TLS with the balancer */
    struct net_addr from, to;           /* unless is_local */
    struct str tls_version, tls_cipher; /* views of the header; absent: not said */
};
/* RC_OK: the header is all there. RC_AGAIN: it has *out_n bytes or more. RC_SYNTAX: it is none;
 * RC_LIMIT: too long. */
enum rc proxy_size(struct str in, size_t *out_n);
enum rc proxy_parse(struct str in, struct proxy *out);
bool behind_is_expected(const struct net_listener *listener, const struct net_addr *peer);
/* (loop) RC_OK: from here on the connection is the client's. RC_AGAIN; RC_EOF; RC_SYNTAX with the
 * cause; RC_LIMIT: the client has too many. */
enum rc behind_read(struct conn *c, const char **out_cause);

void addr_text(const struct net_addr *a, char out[PEER_TEXT]);

bool conn_take_handshake(struct conn *c); /* (loop) a place among the handshakes; false: none */
void conn_give_handshake(struct conn *c);

/* --- the TLS layer; a struct tls is one connection's */
struct tls *tls_new(struct net_tls *context, struct conn *c);
void tls_free(struct tls **t);
enum handshake tls_handshake(struct tls *t, const char **out_cause); /* on a worker; may block */
/* Both: RC_AGAIN, RC_EOF, RC_CORRUPT (the connection is broken), or RC_OK with *out_n > 0. */
enum rc tls_read(struct tls *t, char *to, size_t n, size_t *out_n);
enum rc tls_write(struct tls *t, struct str s, size_t *out_n);
void tls_read_begin(struct tls *t);  /* what was known of the socket may be out of date */
bool tls_is_drained(struct tls *t);  /* a read since then took all that the socket had */
bool tls_is_light(struct tls *t);    /* the rest of the handshake neither blocks nor takes long */
void tls_end_follows(struct tls *t); /* what is written from here waits for tls_bye */
void tls_bye(struct tls *t);         /* sends close_notify */
struct str tls_text(struct tls *t);
bool tls_fingerprint(struct tls *t, unsigned char out[NET_FINGERPRINT]);
const char *tls_binding_type(struct tls *t);
enum rc tls_bind(struct tls *t, struct net_binding *out); /* when it has a type */
int tls_errno(struct tls *t); /* of the socket; 0: it was not the socket */

/* RC_NOTFOUND, RC_SYNTAX, RC_TEMP as net_tls_expect says. */
enum rc tls_client_open(struct net_tls_client *client, int fd, const struct net_tls_want *want,
                        struct tls **out);
/* Of a handshake that has failed, for `cause`. */
void tls_client_explain(struct tls *t, const char *cause, struct net_error *out);
enum net_tls_proof tls_client_proof(struct tls *t);

#endif
