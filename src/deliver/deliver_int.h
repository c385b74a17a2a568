/* deliver, inside: the fan-out of queue items to the accounts of their recipients. */
#ifndef DELIVER_DELIVER_INT_H
#define DELIVER_DELIVER_INT_H

#include "deliver/deliver.h"

#include "base/map.h"
#include "deliver/report.h"

enum {
    FANOUT_MAX = 64,      /* items on their way to their recipients at once */
    FANOUT_KNOWN = 10000, /* items known; the others are in the queue's index alone */
    FANOUT_RETRY_MS = 30000,
    FANOUT_RETRY_MAX_MS = 3600 * 1000,
    FANOUT_TRIES = 8, /* within about an hour */
    SETTLE_EXPIRE_MS = 5 * 86400 * 1000
};

/* Takes items from the queue to their accounts: those that are there when it is opened, and those
 * that are announced. */
struct fanout;
struct fanout *fanout_new(const struct ctx *ctx,
                          const struct deliver_conf *conf); /* with its defaults; outlives it */
void fanout_free(struct fanout **fanout);                   /* waits for the items on their way */
/* Entries of the queue's index, of copies here. Any thread; never blocks. */
void fanout_due(struct fanout *fanout, const struct queue_due *entries, size_t n);

/* --- fanout.c and copies.c, of each other */
struct waiting;
enum fanout_end {
    FANOUT_GONE, /* it has left the queue, is held, or its next try is in the index */
    FANOUT_AGAIN /* what became of it could not be kept: later, once more */
};
const struct deliver_conf *fanout_conf(const struct fanout *fanout);
const struct ctx *fanout_ctx(const struct fanout *fanout);
/* On its way from here on, until fanout_ended. */
void fanout_item_start(struct fanout *fanout, struct waiting *w);
void fanout_ended(struct fanout *fanout, struct waiting *w, enum fanout_end how);
/* Doubled with each failure, up to retry_max_ms; up to a quarter less or more, so that what failed
 * together does not come back together. In ns. */
uint64_t fanout_wait_after(const struct deliver_conf *conf, unsigned failures);

/* --- keywords.c: those of a message that is delivered, by its summary */
void deliver_keywords(const struct deliver_conf *conf, struct store_append *append);

/* --- later.c: ids by the time when they are due, a binary heap */
struct waiting {
    struct map_node node;
    struct list link; /* among the ready */
    size_t place;     /* in the heap; 0: not there */
    uint64_t due;     /* monotonic */
    struct queue_id id;
    unsigned failures; /* one after the other, that may pass */
    bool is_running, is_again;
};

struct later {
    struct waiting **heap; /* from 1 */
    size_t n, size;
};

void later_add(struct later *l, struct waiting *w, uint64_t due);
void later_remove(struct later *l, struct waiting *w);
struct waiting *later_first(const struct later *l); /* NULL: none */
void later_fini(struct later *l);

/* --- settle.c, settle_report.c: what became of recipients, and who is told ----------------------
 */

struct places; /* places.c: owners who are told of logins from a new place */

struct deliver {
    struct ctx ctx;
    struct deliver_conf conf; /* with its defaults */
    struct fanout *fanout;
    struct places *places; /* NULL: nobody is */
};

/* The defaults of what is 0. */
void settle_conf(const struct deliver_conf *conf, struct deliver_conf *out);

struct settle {
    struct ctx ctx;
    const struct deliver_conf *conf;
    const struct queue_item *item;
    const struct deliver_outcome *outcomes;
    size_t n;
    const struct queue_status *status; /* of the copies here; NULL: as it is */
    struct deliver_settle_op *op;
    struct arena arena;
    struct task_job job;
    uint64_t now, expires;
    struct report_recipient *told[3]; /* by enum report_kind */
    size_t n_told[3];
    struct queue_change *changes;
    struct queue_item reports[3];
    enum report_kind kinds[3];
    size_t n_reports;
    struct queue_settlement settlement;
    struct queue_op queue_op;
};

struct settle_try {
    const struct queue_item *item;
    const struct deliver_outcome *outcomes;
    size_t n;
    const struct queue_status *status;
};
void settle_start(const struct ctx *ctx, const struct deliver_conf *conf,
                  const struct settle_try *what, struct deliver_settle_op *op);
/* On a thread that may block: makes the reports, into blobs that are ours until they are
 * forgotten. RC_TEMP, RC_FULL. */
enum rc settle_write_reports(struct settle *s);
void settle_log(const struct settle *s, enum report_kind kind, const char *event,
                struct str report);

/* --- forward.c: what goes on to other hosts in somebody else's name ------------------------------
 */

/* The domain of an address as the DNS has it, in lower case; a literal as it is. RC_SYNTAX. */
enum rc forward_destination(struct str address, struct arena *arena, struct str *out);
/* RC_OK: the domain is ours; RC_DENIED; RC_AGAIN, RC_TEMP and the like. */
enum rc forward_is_ours(const struct deliver_conf *conf, struct str domain, unsigned flags);
/* The sender that a message is forwarded with. */
enum rc forward_sender(const struct ctx *ctx, const struct deliver_conf *conf,
                       const struct deliver_message *m, unsigned flags, struct arena *arena,
                       struct str *out);
/* Whom a report about a forwarded message is for: the first sender again. RC_TEMP. */
enum rc forward_reader(const struct ctx *ctx, const struct deliver_conf *conf, struct str sender,
                       struct arena *arena, struct str *out);

/* --- notice.c: what the server itself writes to its users ---------------------------------------
 */

struct notice {
    struct str to;      /* an address here */
    struct str subject; /* ASCII, as the text */
    struct str text;    /* lines that end with '\n' */
};
enum { NOTICE_ID = 17 };
struct notice_op {
    void (*done)(struct notice_op *op); /* as that of struct deliver_op */
    enum rc rc;
    char id[NOTICE_ID]; /* message= in log lines */
    struct deliver *deliver;
    struct kv_blob_id blob;
    struct deliver_op op;
};
/* Blocks. RC_OK: done() will come, when it is durable. RC_NOTFOUND: the address is nobody's any
 * more. RC_LIMIT, RC_TEMP, RC_FULL. */
enum rc notice_send(struct deliver *deliver, const struct notice *notice, struct notice_op *op);

struct places *places_open(struct deliver *deliver);
void places_close(struct places **places); /* waits for those under way; before all else closes */

/* trace.c: what became of it, for who asks later. Of a copy that is in its mailbox; of all else,
 * once it is settled. */
void deliver_trace(const struct deliver_conf *conf, struct str message, struct str to,
                   uint64_t account, const struct store_op *op);
void settle_trace(const struct settle *s);
/* The server holds it, for that cause. */
void deliver_trace_held(const struct deliver_conf *conf, const struct queue_item *item,
                        const char *cause);

/* How one message reaches one account: what deliver_message and the fan-out have in common. */
void deliver_log(const struct ctx *ctx, struct str message, uint64_t account,
                 const struct store_op *op, enum rc rc);

#endif
