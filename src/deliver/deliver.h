/* deliver: takes an accepted message to the mailboxes of its recipients here.
 *
 * One recipient here: one commit into the account. Several, or one elsewhere: one commit into the
 * queue, which is the acknowledgement, then each account gets its copy, exactly once however often
 * that is interrupted (the queue item's id is remembered by the account). Nothing here knows SMTP.
 *
 * What became of each recipient, here and elsewhere, is settled by deliver_settle, which also
 * writes the reports to senders [RFC3461].
 *
 * Later: routing, Sieve.
 */
#ifndef DELIVER_DELIVER_H
#define DELIVER_DELIVER_H

#include "auth/auth.h"
#include "queue/queue.h"
#include "store/store.h"
#include "task/hand.h"

#include <stdatomic.h>

struct deliver;
struct mime_charsets;
struct trace;

struct deliver_conf {
    struct kv *kv;
    struct store *store;
    struct queue *queue;
    struct task_lane *lane;           /* the short lane: fan-out and what would block */
    struct hand *hand;                /* where items under way are noted; NULL: nowhere */
    uint64_t retry_ms;                /* before the second attempt, doubled each time; 0: 30,000 */
    uint64_t retry_max_ms;            /* no wait is longer, but for a quarter; 0: an hour */
    unsigned tries;                   /* of what fails for good, before it is held; 0: 8 */
    struct auth *auth;                /* who a report's receiver is; NULL: nobody is here */
    struct str hostname;              /* in reports; copied */
    _Atomic uint64_t expire_ms;       /* after which what waits comes back; 0: 5 days */
    _Atomic uint64_t delay_notice_ms; /* after which its sender is told that it waits; 0: never */
    const struct mime_charsets *charsets; /* for the subjects shown in reports; may be NULL */
    struct trace *trace;                  /* what becomes of messages; NULL: nobody asks */
    bool tells_places; /* auth's users get mail about logins from a new place (auth/arrival.h) */
    _Atomic bool tells_attachments; /* by keywords of delivered messages [RFC9979 4] */
};

/* Takes up what the queue still holds from before; the lane and all in conf outlive it. */
enum rc deliver_open(const struct ctx *ctx, const struct deliver_conf *conf, struct deliver **out);
/* Other times from now on, also for what waits already. */
void deliver_set_times(struct deliver *deliver, uint64_t expire_ms, uint64_t delay_notice_ms);
void deliver_set_attachments(struct deliver *deliver, bool tells);
void deliver_close(
    struct deliver **deliver); /* waits for what is under way; the queue keeps the rest */

struct deliver_message {
    struct kv_blob_id blob;       /* finished; the caller forgets it when done() has run */
    uint64_t size;                /* its bytes */
    uint64_t received;            /* ns since 1970 */
    struct str sender;            /* the reverse path, without angle brackets; may be empty */
    struct str id;                /* the message= id of log lines */
    struct str message_id;        /* of the header, without angle brackets; may be absent */
    const struct str *references; /* of In-Reply-To and References, the nearest last */
    size_t n_references;
    /* Where it goes: of those here the account, of those elsewhere address and domain; of all the
     * wish and flags, and as what RCPT had it the address. The same account twice gets one copy. */
    const struct queue_recipient *recipients;
    size_t n_recipients;
    /* A domain of ours: those with QUEUE_FORWARD go on with a sender in it, so that bounces come
     * back here (srs.h). Absent when there are none. */
    struct str forward_domain;
    uint64_t account;  /* who handed it in; 0: nobody from here */
    struct str origin; /* where it came from, for traces; may be empty */
    uint8_t ret;
    uint16_t flags; /* of the queue's item */
    struct str envid;
    struct str summary; /* see mime/summary.h; absent or empty: it is made when somebody asks */
    uint64_t release;   /* not before, ns since 1970 [RFC4865]; 0: at once */
    struct str hold;    /* ... as it was asked for: see struct queue_item */
    /* For one that goes straight into one account's mailbox, otherwise RC_PERM: which mailbox (0:
     * INBOX), which of enum store_flag it has there, and what is noted with it. */
    uint32_t mailbox, mailbox_flags;
    const struct store_note *notes;
    size_t n_notes;
};

struct deliver_op {
    /* The caller's, until done() has run: exactly once, on some thread, where it must not block. */
    void (*done)(struct deliver_op *op);
    enum rc rc; /* RC_OK: durable, may be acknowledged. RC_LIMIT: over quota. RC_FULL, RC_TEMP:
                   later. RC_NOTFOUND: the account or the mailbox is gone. RC_EXISTS: a checked
                   note is not as it should be */
    /* deliver's. */
    struct deliver *deliver;
    uint64_t account_id;
    char id[40]; /* of log lines, cut */
    char *to;    /* the recipient's address, for traces */
    struct store_account *account;
    struct store_op store_op;
    struct queue_op queue_op;
};

/* RC_OK: done() will come. RC_AGAIN with KV_CACHED: call again from a worker without it. RC_LIMIT,
 * RC_TEMP, ...: refused, done() will not come. The message and what it points to are needed only
 * during the call. */
enum rc deliver_message(struct deliver *deliver, const struct deliver_message *message,
                        unsigned flags, struct deliver_op *op);

/* --- what became of a recipient --------------------------------------------------------------- */

enum deliver_verdict {
    DELIVER_DELIVERED, /* it is in the mailbox: here, or with an LMTP server */
    DELIVER_RELAYED,   /* a host has taken it that offers DSN and was told the wishes */
    DELIVER_HANDED,    /* a host has taken it that does not: nobody tells what becomes of it */
    DELIVER_EXPANDED,  /* the address stands for others, which it has gone to */
    DELIVER_DEFERRED,  /* to be tried again at `due` */
    DELIVER_FAILED     /* for good */
};

/* What was under way when it ended so. */
enum deliver_stage {
    DELIVER_AT_NOTHING, /* not said */
    DELIVER_AT_LOOKUP,  /* the DNS was asked */
    DELIVER_AT_CONNECT,
    DELIVER_AT_GREETING, /* or EHLO */
    DELIVER_AT_TLS,
    DELIVER_AT_LOGIN, /* at a smarthost */
    DELIVER_AT_MAIL,
    DELIVER_AT_RCPT,
    DELIVER_AT_DATA,     /* or BDAT, and what is said at the end */
    DELIVER_AT_MAILBOX,  /* here */
    DELIVER_AT_OURSELVES /* before anything was sent: what this server has found, or was told */
};

/* Texts are those of the remote host and need not be harmless: whoever shows them sees to that. */
struct deliver_outcome {
    enum deliver_verdict verdict;
    enum deliver_stage stage;
    uint16_t number;   /* of the item's recipient */
    uint16_t code;     /* of the reply; 0: there was none */
    struct str status; /* "5.1.1"; absent: the reply had none */
    struct str host;   /* who said so: "mx.example.org[192.0.2.1]"; absent: nobody was asked */
    struct str text;   /* its words, without code and status; or our own about what went wrong */
    struct str tls;    /* which TLS it went over, how verified or why not; absent: there was no
                          connection */
    uint64_t due;      /* with DELIVER_DEFERRED: of the next try, ns since 1970 */
    bool is_untried;   /* with DELIVER_DEFERRED: nobody was asked for this recipient now, since its
                          host could not be reached a moment ago; it is no try that counts */
};

struct deliver_settle_op {
    /* Exactly once, on some thread, perhaps from inside deliver_settle; must not block. */
    void (*done)(struct deliver_settle_op *op);
    /* RC_OK: it is in the queue, or the item is gone. Otherwise (RC_TEMP, RC_FULL, ...) nothing has
     * changed, and the outcomes are still to be settled: call again later. What was relayed and is
     * not settled is relayed a second time after a restart. */
    enum rc rc;
    struct settle *own; /* deliver's */
};

/* What a try has come to for some of an item's recipients, each at most once: in ONE commit they
 * leave the queue or wait for their next try there, and the reports that are due for it come into
 * the queue. So there is one report for each event, whatever crashes when. The item is as
 * queue_load gave it; it and the outcomes stay until done(). Never blocks.
 *
 * Who is told what: docs/ops/reports.md. What waits beyond the item's time (its `expires`, or else
 * expire_ms) has failed. */
void deliver_settle(struct deliver *deliver, const struct queue_item *item,
                    const struct deliver_outcome *outcomes, size_t n, struct deliver_settle_op *op);

/* Where mail for an address goes that was made here for the sender of forwarded mail (srs.h): to
 * that sender, who is elsewhere; only bounces may. RC_NOTFOUND: it is no such address, or not of a
 * domain of ours. RC_DENIED: it was not made here; RC_EOF: it is too old. RC_AGAIN with KV_CACHED;
 * RC_TEMP. Both are in the arena. */
struct deliver_bounce {
    struct str address, domain;
};
enum rc deliver_bounce(struct deliver *deliver, struct str address, unsigned flags,
                       struct arena *arena, struct deliver_bounce *out);

/* Whether an account has room for a message of `size` bytes (0: not known yet), to be asked for
 * each recipient before a message is accepted; deliver_message asks again. No quota is ever
 * exceeded: when what the queue has taken finds a mailbox that has become full in between, this
 * copy waits in the queue, tried again with growing waits, until there is room. RC_OK; RC_LIMIT:
 * over quota; RC_AGAIN with KV_CACHED; RC_NOTFOUND, RC_TEMP. */
enum rc deliver_has_room(struct deliver *deliver, uint64_t account, uint64_t size, unsigned flags);

#endif
