/* relay's scheduler, inside: who waits for what. It knows no clock, no network and no queue: time,
 * chance and all that acts are handed in (struct schedule_driver). All times are nanoseconds since
 * 1970. Not safe for threads: relay.c holds a lock around each call.
 *
 *   entry        a recipient that is due, in memory: ENTRY_BYTES
 *   destination  a domain, for messages whose senders care alike for TLS: its entries, where it is,
 *                or why it cannot be reached
 *   peer         one address of one host: its links, its window, until when it is left alone
 *   link         a session with a peer
 *   batch        entries of one item that are under way together: in a transaction of a link, or on
 *                their way back to the queue
 *
 * INVARIANTS
 *   1. An entry is in exactly one place: its destination's list, or a batch. It leaves memory only
 *      when the queue has taken what became of it, or when it is dropped to be read again later.
 *   2. A destination that has entries and could go on is in exactly one list: of turns, of a peer
 *      that has no room, of those that wait for a place, for slow hosts to answer or be given up,
 *      for a question, or for a commit. One that has been asked about is in none.
 *   3. A link is new, busy or idle; it counts against its peer's window until it is gone.
 *   4. Nothing here waits for an hour: what cannot be sent for a while goes back to the queue.
 */
#ifndef RELAY_SCHEDULE_INT_H
#define RELAY_SCHEDULE_INT_H

#include "base/list.h"
#include "base/map.h"
#include "relay/relay_int.h"

/* --- backoff.c -------------------------------------------------------------------------------- */

struct backoff {
    uint64_t first, most, grey; /* ns */
};

/* How long a message of that age waits; is_grey: its recipient was put off by a 4yz to RCPT. */
uint64_t backoff_wait(const struct backoff *b, uint64_t age, bool is_grey, uint64_t random);
/* How long a host is left alone after so many failures in a row, at least one. */
uint64_t backoff_host(const struct backoff *b, unsigned failures, uint64_t random);

/* --- why a host or a domain cannot be reached ------------------------------------------------- */

enum { FAILURE_HOST = 320 };

struct failure {
    struct relay_outcome outcome; /* its text is the one below */
    char host[FAILURE_HOST];      /* who: "mx.example.org[192.0.2.1]"; may be empty */
    char text[RELAY_TEXT_MAX + 1];
    char tls[RELAY_TLS_TEXT]; /* of the outcome */
};
void failure_set(struct failure **failure, const struct relay_outcome *outcome);
void failure_copy(struct failure **failure, const struct failure *from);

/* --- the parts -------------------------------------------------------------------------------- */

enum { ENTRY_BYTES = 64 };

struct entry {
    struct map_node node; /* of the schedule, by item and number */
    struct list link;
    struct destination *destination;
    struct queue_id id;
    uint16_t number;   /* of the recipient in its item */
    bool is_under_way; /* in a batch */
    bool is_again;  /* it was told of meanwhile: what the batch comes to may be known already, and
                       due again */
    bool was_tried; /* a host was asked for it since it is in memory, and failed as a whole */
};
_Static_assert(sizeof(struct entry) <= ENTRY_BYTES, "what relay { memory } is reckoned with");

enum destination_state {
    DESTINATION_UNKNOWN,
    DESTINATION_ASKING,
    DESTINATION_KNOWN,  /* it has targets */
    DESTINATION_FAILED, /* DNS says why not */
    DESTINATION_STATES
};

struct destination {
    struct map_node node;
    struct list turn;    /* see invariant 2 */
    struct list resting; /* of those that have nothing to do, the longest ago first */
    struct list entries;
    size_t n_entries, n_under_way; /* in the list; in batches */
    bool is_cut;                   /* it has its share of the memory: others of it wait outside */
    enum destination_state state;
    uint64_t answer_until;    /* how long the state holds */
    uint64_t until;           /* left alone before */
    unsigned failures;        /* of questions, in a row */
    struct failure *failure;  /* of DESTINATION_FAILED, or while it is left alone */
    struct relay_where where; /* the question; its arena holds the targets */
    struct peer **peers;      /* of each target, in their order */
    size_t n_targets;
    uint64_t sent, deferred, bounced; /* recipients, since it is known */
    void *own;                        /* the driver's */
    struct str name;
    enum queue_tls tls; /* what the senders of all that is here care for */
};

struct peer {
    struct map_node node;
    struct list waiting;    /* destinations: it has no room for them */
    struct list idle;       /* links, the last used first */
    unsigned n_refs;        /* destinations that have it as a target */
    unsigned n_new, n_busy; /* links */
    unsigned n_idle;
    unsigned window;   /* links that it may have */
    bool has_answered; /* ever */
    unsigned failures; /* in a row */
    uint64_t until;    /* left alone before */
    struct failure *failure;
    struct relay_target target; /* whose text is behind this struct */
};

enum link_state { LINK_NEW, LINK_BUSY, LINK_IDLE };

struct link {
    struct relay_session_owner owner; /* the driver's */
    struct relay_session *session;    /* the driver's; NULL: it is about to be gone */
    void *own;                        /* the driver's */
    struct peer *peer;
    struct list at;  /* of its peer's idle ones */
    struct list age; /* of the schedule's idle ones, the longest first; of the new ones likewise */
    enum link_state state;
    bool is_slow;    /* new for so long that its place is somebody else's */
    unsigned n_jobs; /* that it has had */
    uint64_t since;  /* idle or new */
    struct batch *batch;
};

enum batch_kind { BATCH_SEND, BATCH_PUT_OFF, BATCH_FAIL };

struct batch {
    enum batch_kind kind;
    struct queue_id id;
    struct destination *destination; /* of the first entry; others may come along */
    struct link *link;               /* of BATCH_SEND, until it is sent */
    struct list entries;
    size_t n;
    bool was_tried;          /* an entry was, see there */
    uint64_t not_before;     /* of BATCH_PUT_OFF: the destination is left alone until then */
    struct failure *failure; /* of BATCH_PUT_OFF and BATCH_FAIL */
    void *own;               /* the driver's */
};

/* What acts. None of these may call the schedule from inside; what comes of them is told by the
 * calls that are named. */
struct schedule_driver {
    uint64_t (*random)(struct schedule_driver *driver);
    /* Where is it: d->where.domain. -> schedule_answered */
    void (*ask)(struct schedule_driver *driver, struct destination *d);
    /* RC_OK: a session is being made. -> schedule_ready or the batch's failure; schedule_gone.
     * RC_LIMIT, RC_TEMP: not now. */
    enum rc (*open)(struct schedule_driver *driver, struct link *link);
    void (*close)(struct schedule_driver *driver, struct link *link); /* -> schedule_gone */
    /* Send it over its link -> schedule_sent, or schedule_dropped when there is nothing to send. */
    void (*send)(struct schedule_driver *driver, struct batch *batch);
    /* Back to the queue with its failure -> schedule_settled or schedule_dropped */
    void (*put_off)(struct schedule_driver *driver, struct batch *batch);
};

struct schedule_limits {
    uint32_t entries, destinations; /* in memory; destinations: that have nothing to do */
    uint32_t connections, per_host, per_connection, recipients;
    uint32_t questions; /* at once */
    uint32_t put_off;   /* batches at once */
    uint32_t under_way; /* batches, also those that are sent and not settled, but for those of slow
                           links: what a crash brings a second copy of, and memory, when the disk is
                           slower than the network */
    uint64_t idle, slow;
    struct backoff backoff;
};

struct schedule {
    struct schedule_driver *driver;
    struct schedule_limits limits;
    struct map entries, destinations, peers;
    uint64_t key[2]; /* of the hashes of names */
    struct list turns, want_place, want_answers, want_question, want_put_off; /* destinations */
    struct list resting;                                                      /* destinations */
    struct list idle, fresh;                                                  /* links */
    struct entry_block *blocks;
    struct list unused; /* entries */
    size_t n_resting, n_questions, n_put_off, n_under_way;
    size_t n_new, n_slow, n_open; /* links; n_new: not those that are slow; n_open: busy and idle */
    uint64_t last_run;
    bool is_draining;
    bool has_room_again; /* for a destination that was cut; whoever sees it takes it back */
};

/* --- destination.c ---------------------------------------------------------------------------- */

/* Made when missing. */
struct destination *destination_get(struct schedule *s, struct str name, enum queue_tls tls);
/* It may go on; from wherever it waits to the end of the turns. */
void destination_turn(struct schedule *s, struct destination *d);
void destination_wait(struct destination *d, struct list *where);
/* After each change of what it has: rests when there is nothing left, and old ones go. */
void destination_rest(struct schedule *s, struct destination *d);
void destination_forget_answer(struct schedule *s, struct destination *d);
void destination_free(struct schedule *s, struct destination *d);

struct entry *entry_find(struct schedule *s, struct queue_id id, uint16_t number);
struct entry *entry_new(struct schedule *s, struct queue_id id, uint16_t number);
void entry_free(struct schedule *s, struct entry *e);

/* --- peer.c ----------------------------------------------------------------------------------- */

struct peer *peer_get(struct schedule *s, const struct relay_target *target); /* one reference */
void peer_unref(struct schedule *s, struct peer *p);
bool peer_has_room(const struct schedule *s, const struct peer *p);
/* A link of it was of no use, and is ending. */
void peer_failed(struct schedule *s, struct link *l, const struct relay_outcome *why, uint64_t now);
void peer_succeeded(struct schedule *s, struct peer *p);
void peer_wake(struct schedule *s, struct peer *p, size_t n); /* so many that wait for it */
void peer_text(const struct peer *p, char out[FAILURE_HOST]); /* "mx.example.org[192.0.2.1]" */

struct link *link_take(struct schedule *s, struct peer *p); /* an idle one, busy now; or NULL */
enum rc link_open(struct schedule *s, struct peer *p, uint64_t now, struct link **out);
void link_idle(struct schedule *s, struct link *l, uint64_t now);
void link_close(struct schedule *s, struct link *l); /* an idle one */
bool link_is_place(const struct schedule *s);        /* for one more */
/* For one more that may never be answered. */
bool link_may_be_slow(const struct schedule *s, const struct peer *p);

/* --- schedule.c ------------------------------------------------------------------------------- */

void schedule_init(struct schedule *s, struct schedule_driver *driver,
                   const struct schedule_limits *limits);
void schedule_fini(struct schedule *s); /* no link, question or batch is under way */
void schedule_limit(struct schedule *s, const struct schedule_limits *limits);

/* A recipient that is due. RC_EXISTS: it is known, and looked at again after what is under way with
 * it; RC_LIMIT: there is no room now; RC_AGAIN: for others there is, but this destination has half
 * of it, so that no backlog of one keeps all others out. With is_pressing its destination and the
 * hosts of that are no longer left alone. */
enum rc schedule_add(struct schedule *s, const struct queue_due *due);
/* Does all that can be done now. To be called after any of the others, and at schedule_next(). */
void schedule_run(struct schedule *s, uint64_t now);
uint64_t schedule_next(const struct schedule *s); /* UINT64_MAX: nothing waits for the time */

void schedule_answered(struct schedule *s, struct destination *d, uint64_t now);
void schedule_ready(struct schedule *s, struct link *l);
void schedule_gone(struct schedule *s, struct link *l);

struct batch_result {
    bool is_open, is_stale; /* as in struct relay_job */
    /* Set when the host as a whole failed: nothing that the batch has could change that. */
    const struct relay_outcome *host;
    bool is_busy; /* the host has ended the session for want of room (421) */
    size_t n_sent, n_deferred, n_bounced;
};
/* True: settle it, then schedule_settled. False: its entries wait again, and the batch is gone. */
bool schedule_sent(struct schedule *s, struct batch *b, const struct batch_result *result,
                   uint64_t now);
/* Both end the batch: the queue knows what became of it; or it is no more in the queue, held, or
 * will be read again. */
void schedule_settled(struct schedule *s, struct batch *b);
void schedule_dropped(struct schedule *s, struct batch *b, uint64_t now);

/* No new transactions from now on; idle links close. */
void schedule_drain(struct schedule *s);
/* Nothing that the driver does is still to be heard of. */
bool schedule_is_quiet(const struct schedule *s);
/* Every answer is forgotten, and whatever is left alone is tried again: after a reload. */
void schedule_renew(struct schedule *s);

#endif
