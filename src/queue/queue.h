/* queue: messages that are accepted and not yet at all of their destinations, durable in kv.
 *
 * An item is one message with one envelope sender: envelope and blob in one row, its recipients
 * each with a state of their own. Items are spread over QUEUE_SHARDS partitions of class Q by their
 * id. Adding is a single commit; so is settling what became of a try, with the reports that this
 * brings about. The last recipient's commit removes the item and its reference to the blob.
 *
 * WHEN. What is to be tried stands in an index by time, of two kinds: recipients elsewhere, one by
 * one, and the copies here, all of an item together. New and changed entries are announced to the
 * kind's sink after their commit, without being read; what an earlier run left is read with
 * queue_due_scan. An entry is a hint: load the item, and look whether it is held, and whether the
 * recipient is still there and due.
 *
 * An item waits (the usual state) or is held: it has no entry, nobody tries it until it is
 * released.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "base/map.h"
#include "kv/kv.h"

struct queue;

enum {
    QUEUE_SHARDS = 64,
    QUEUE_RECIPIENTS = 1000,
    QUEUE_SUMMARY_MAX = 8 << 10,
    QUEUE_REPLY_MAX = 500 /* bytes kept of a remote host's words */
};

struct queue_id {
    unsigned char b[16]; /* also the delivery id of its copies */
};

enum rc queue_open(const struct ctx *ctx, struct kv *kv, struct queue **out);
void queue_close(struct queue **queue); /* nothing may be under way */

/* With leases, a process tries only items of the shards that it holds, under the node's durable
 * name: a restart has them at once, another node when they have run out, or were given back by
 * closing. Without (commands, tests), all shards are everybody's. Takes them in the background. */
enum { QUEUE_LEASE_MS = 120 * 1000, QUEUE_LEASE_MOST_MS = 24 * 3600 * 1000, QUEUE_NODE_MAX = 128 };
struct queue_lease_conf {
    const char *node; /* no two that use the store at once have the same; under QUEUE_NODE_MAX */
    uint64_t
        lease_ms; /* 0: QUEUE_LEASE_MS; at most QUEUE_LEASE_MOST_MS; renewed three times as often */
    bool is_shared; /* other processes may use the store: what they add is looked for */
};
void queue_lease_run(struct queue *queue, const struct queue_lease_conf *conf);

/* --- items ------------------------------------------------------------------------------------ */

/* What the sender of a message said of one recipient, for who writes reports [RFC3461 4]. */
struct queue_wish {
    uint8_t notify; /* bits of NOTIFY as the protocol's folder has them; 0: not said */
    /* As RCPT had it. queue_add: of a recipient that this has led to; otherwise empty, since it is
     * the recipient's own. Loaded: always there. */
    struct str address;
    struct str orcpt; /* the value of ORCPT as it came; absent or empty: not said */
};

/* Flags of a recipient. */
enum {
    QUEUE_DELAY_TOLD = 1, /* the sender has been told that it takes long */
    QUEUE_ALIAS = 2,      /* its address stands for several, and this one tells of its success */
    QUEUE_FORWARD = 4     /* somebody here has set its address; only within deliver_message */
};

struct queue_recipient {
    uint16_t number;    /* among the item's; given by the queue */
    uint64_t account;   /* here; 0: elsewhere */
    struct str address; /* where it goes, in plain form; may be empty for one here */
    struct str domain;  /* elsewhere: lower case, in A-labels, or a literal in brackets */
    struct queue_wish wish;
    uint8_t flags;
    uint64_t due; /* elsewhere: of the next try, ns since 1970; here the item's status says it */
    /* What the tries until now came to: its own, or without one, what has put it off. */
    uint32_t tries;
    uint64_t first_tried, last_tried;
    uint16_t code;     /* of the last reply; 0: there was none */
    struct str status; /* "4.2.0"; may be empty */
    struct str host;   /* who said so: "mx.example.org[192.0.2.1]"; may be empty */
    struct str reply;  /* in whose words: cut at QUEUE_REPLY_MAX, and what is no printable text in
                          it becomes '?' */
};

/* Flags of an item. */
enum {
    QUEUE_UTF8 = 1,    /* SMTPUTF8 */
    QUEUE_BINARY = 2,  /* BODY=BINARYMIME */
    QUEUE_UNENDED = 4, /* does not end with CRLF */
    QUEUE_8BIT = 8,    /* BODY=8BITMIME */
    QUEUE_REQUIRETLS = 16,
    QUEUE_IS_REPORT = 32, /* a delivery status notification: nobody is told of what becomes of it */
    QUEUE_FORWARDED = 64, /* goes on to an address that somebody here has set */
    QUEUE_SUBMITTED = 128,   /* handed in by one of our users */
    QUEUE_RETURNED = 256,    /* an administrator sends it back: no try, a report of failure */
    QUEUE_TLS_OPTIONAL = 512 /* "TLS-Required: No": its sender would rather have it go in clear */
};

/* How much its sender cares for TLS, once a host is looked for [RFC8689 4]. */
enum queue_tls {
    QUEUE_TLS_AS_USUAL,   /* what the hosts' domains ask for is kept to */
    QUEUE_TLS_REQUIRED,   /* verified, all the way */
    QUEUE_TLS_WANTED,     /* the same where it can be had: reports about such messages */
    QUEUE_TLS_IF_POSSIBLE /* whatever those domains ask for */
};

struct queue_item {
    struct queue_id id; /* given by queue_add */
    struct kv_blob_id blob;
    uint64_t size, received;
    uint64_t due;     /* ns since 1970, of the first try; 0: when it is added */
    uint64_t expires; /* ns since 1970; 0: the scheduler's default, counted from `received` */
    uint64_t release; /* FUTURERELEASE: what the sender asked for; 0: not asked for */
    struct str hold;  /* ... in which words: "for;3600", "until;2026-11-22T10:00:00Z"; or empty */
    uint64_t account; /* who handed it in; 0: nobody from here */
    struct str sender, message_id, log_id;
    struct str origin; /* where it came from, for traces; may be empty */
    const struct str *references;
    size_t n_references;
    /* queue_add: all of them, where due, tries and number are not looked at. Loaded: those that are
     * left, in order of their numbers. */
    const struct queue_recipient *recipients;
    size_t n_recipients;
    size_t n_added; /* how many it had at first, when loaded */
    uint8_t ret;    /* RET, as the protocol's folder has it; 0: not said */
    uint16_t flags;
    struct str envid;                /* the value of ENVID as it came; absent or empty: not said */
    const struct queue_whole *whole; /* loaded: its rows, in the same arena; otherwise NULL */
    struct str summary; /* see mime/summary.h; empty: none; over QUEUE_SUMMARY_MAX bytes it is left
                           out, and when no recipient is here */
};

struct queue_op {
    void (*done)(struct queue_op *op); /* exactly once, on a thread of kv or the queue's own; must
                                          not block */
    enum rc rc;
    struct queue_id id;  /* of the first added item */
    struct queue *queue; /* the queue's, as all below */
    struct kv_op kv_op;
    struct queue_news *news;
    const struct queue_settlement *settlement;
    struct map_node node;
    struct list link, behind;
    unsigned attempts;
};

/* Of a loaded item; NULL: it is gone. */
const struct queue_recipient *queue_recipient_of(const struct queue_item *item, uint16_t number);

enum { QUEUE_ITEMS_AT_ONCE = 8 };

/* One commit of up to QUEUE_ITEMS_AT_ONCE items, which come to the same shard. RC_OK means done()
 * will come; otherwise RC_LIMIT (recipients, items), RC_TEMP, and it will not. The items are needed
 * during the call only; their ids are written to them. */
enum rc queue_add(struct queue *queue, struct queue_item *items, size_t n, struct queue_op *op);

/* --- when ------------------------------------------------------------------------------------- */

enum queue_kind { QUEUE_LOCAL = 'l', QUEUE_REMOTE = 'r' };
enum { QUEUE_ALL_LOCAL = 0xffff };

struct queue_due {
    enum queue_kind kind;
    uint64_t due; /* ns since 1970 */
    struct queue_id id;
    uint16_t number;        /* of the recipient; QUEUE_ALL_LOCAL */
    uint8_t tries;          /* until now, 255 and more; 0 for those here */
    enum queue_tls tls;     /* as the item's flags and its sender have it */
    struct str destination; /* the recipient's domain; empty for those here */
    bool is_pressing;       /* somebody has said that it be tried now (QUEUE_RETRY, QUEUE_RELEASE),
                               also where its destination is left alone for a while */
};

/* Told of entries after their commit: due now or later, in no order, on a thread that must not be
 * held up: fn must not block or call the queue. The texts are good during the call. */
struct queue_sink {
    void (*due)(struct queue_sink *sink, const struct queue_due *entries, size_t n);
    /* The shard has become ours, or others may have added to it: what was read of its index is not
     * all. A feed sees that when it is asked; may be NULL. */
    void (*again)(struct queue_sink *sink, unsigned shard);
};
/* One for a kind; NULL takes it away, and no call is under way when that returns. */
void queue_sink_set(struct queue *queue, enum queue_kind kind, struct queue_sink *sink);

struct queue_due_range {
    enum queue_kind kind;
    unsigned shard;
    const struct queue_due *after; /* NULL: from the beginning */
    uint64_t until;                /* ns since 1970 */
};
struct queue_due_page {
    struct queue_due *entries; /* due at `until` or before, earliest first; in the arena */
    size_t n;
    bool has_more; /* of them */
    uint64_t
        next_due; /* without more: when the one behind them is due; UINT64_MAX: there is none */
};
/* RC_TEMP, RC_CORRUPT. Blocks. */
enum rc queue_due_scan(struct queue *queue, const struct queue_due_range *range, size_t max,
                       struct arena *arena, struct queue_due_page *out);
unsigned queue_shard_of(struct queue_id id);

/* A scheduler's way through the index: what an earlier run left, and what it has no room for. It
 * keeps a place for each shard and no entries. One thread at a time calls queue_feed_next. */
struct queue_feed;
struct queue_feed *queue_feed_new(struct queue *queue, enum queue_kind kind);
void queue_feed_free(struct queue_feed **feed);
/* Entries that are due at `now`, up to `max` of one shard, earliest shard first, and not given
 * before unless given back; none: nothing is. has_more: more of them; next_due: when to ask again.
 * What the sink was told of may be given once more. Blocks; RC_TEMP, RC_CORRUPT, RC_LIMIT (the
 * arena). */
enum rc queue_feed_next(struct queue_feed *feed, uint64_t now, size_t max, struct arena *arena,
                        struct queue_due_page *out);
/* An entry that the sink was told of, or that was given, and that is not kept: it is given again
 * when it is due. Whoever waits for next_due looks whether this comes before. Any thread, also from
 * the sink; never blocks. */
void queue_feed_back(struct queue_feed *feed, const struct queue_due *entry);

/* --- states ----------------------------------------------------------------------------------- */

enum queue_state { QUEUE_WAITING, QUEUE_HELD };

struct queue_status {
    enum queue_state state;
    uint32_t failures; /* of the copies here, for good, since it was added or released */
    uint64_t due;      /* of the copies here, ns since 1970; 0: as the item's */
    uint32_t waits;    /* of the copies here: failures that may pass, one after the other */
    char cause[64];    /* of the last failure, or of the hold; may be empty */
};

/* All that is known of an item: of one that cannot be read, `rc` says why and item is empty. */
struct queue_entry {
    struct queue_status status;
    struct queue_item item;
    enum rc rc;
};
/* Tried in vain before, or put off without a try since its destination cannot be reached. */
bool queue_is_deferred(const struct queue_entry *entry);
/* Whether this process may try it now: to be asked just before. */
bool queue_is_ours(struct queue *queue, struct queue_id id);
bool queue_has_shard(struct queue *queue, unsigned shard);
/* RC_NOTFOUND: it is gone. RC_AGAIN with KV_CACHED; blocks without. */
enum rc queue_load(struct queue *queue, struct queue_id id, unsigned flags, struct arena *arena,
                   struct queue_entry *out);

/* --- what became of a try --------------------------------------------------------------------- */

struct queue_change {
    uint16_t number;
    const struct queue_recipient *state; /* NULL: nothing is left to do for it. Otherwise what it is
                                            from now on, its account, domain and due too */
};
struct queue_settlement {
    struct queue_id id;
    const struct queue_change *changes;
    size_t n_changes;
    const struct queue_item *loaded;   /* by queue_load, before the try; NULL: it is read. What an
                                          administrator has made due sooner since stays so */
    const struct queue_status *status; /* of the item and its copies here; NULL: as it is. One that
                                          is held stays held */
    struct queue_item *items;          /* new ones, reports for instance, as queue_add */
    size_t n_items;
};
/* One commit: recipients go or have new states, the item goes with its last recipient, the new
 * items come. It reads first, unless the item is at hand and its one row says all of it, from
 * memory or else on the queue's thread, and never blocks the caller. The settlement and what it
 * points to stay until done(). Recipients that are gone already are no error, nor is an item that
 * is (rc is RC_NOTFOUND when there were new items: they have not been added). Several for one item
 * follow one after the other. RC_DENIED: another node has the shard now, and will try it;
 * RC_CORRUPT, RC_TEMP, RC_FULL. The return value RC_OK: done() will come; RC_LIMIT: it will not. */
enum rc queue_settle(struct queue *queue, const struct queue_settlement *settlement,
                     struct queue_op *op);

/* The same, waited for; and one of recipients that are done: a worker's calls. */
enum rc queue_settle_wait(struct queue *queue, const struct queue_settlement *settlement);
enum rc queue_done(struct queue *queue, struct queue_id id, const uint16_t *numbers, size_t n);

/* --- for administrators ----------------------------------------------------------------------- */

/* The ids in a shard, in order, after `after` (NULL: from the beginning). Blocks. */
enum rc queue_list(struct queue *queue, unsigned shard, const struct queue_id *after,
                   struct queue_id *out, size_t max, size_t *out_n);

/* Kept in memory. What was there at the start is counted bit by bit, so they grow for a while after
 * opening a large queue. */
enum queue_number {
    QUEUE_N_ITEMS,
    QUEUE_N_HELD,     /* items that are held */
    QUEUE_N_LOCAL,    /* items that wait for mailboxes here */
    QUEUE_N_REMOTE,   /* recipients elsewhere that wait */
    QUEUE_N_DEFERRED, /* of these, those that were tried before */
    QUEUE_NUMBERS
};
uint64_t queue_number(struct queue *queue, enum queue_number which);
uint64_t queue_count(struct queue *queue); /* QUEUE_N_ITEMS */
uint64_t queue_held(struct queue *queue);  /* QUEUE_N_HELD */

/* These block, and may be called for any item at any time. RC_NOTFOUND: there is no such item. An
 * item whose row cannot be read has a state all the same. */
enum rc queue_status_get(struct queue *queue, struct queue_id id, struct queue_status *out);
enum rc queue_status_set(struct queue *queue, struct queue_id id,
                         const struct queue_status *status);
/* Of one that is held already: another cause. What is on its way just now is not called back. */
enum rc queue_hold(struct queue *queue, struct queue_id id, const char *cause);
/* As if it had just been added; the sinks are told. RC_CONFLICT: it is not held. */
enum rc queue_release(struct queue *queue, struct queue_id id);
/* Every item, for what was restored from a backup: some of it may have been delivered since. */
enum rc queue_hold_all(struct queue *queue, const char *cause);

enum queue_action {
    QUEUE_HOLD,
    QUEUE_RELEASE, /* held ones; an expired one gets another hour */
    QUEUE_RETRY,   /* those that wait are due now */
    QUEUE_REMOVE,  /* nobody is told */
    QUEUE_RETURN   /* QUEUE_RETURNED, and due now */
};
enum { QUEUE_ACT_MAX = 64 };
/* The same for up to QUEUE_ACT_MAX items of one shard, in one commit where nobody gets in the way.
 * Those that are gone, or that the action is not for, are passed over; *out_n says how many were
 * changed. An item that cannot be read can be held, released and removed; its blob is kept then.
 * Blocks. */
enum rc queue_act(struct queue *queue, enum queue_action action, const char *cause,
                  const struct queue_id *ids, size_t n, size_t *out_n);

/* What to list. */
enum queue_which { QUEUE_ANY, QUEUE_ONLY_WAITING, QUEUE_ONLY_HELD, QUEUE_ONLY_DEFERRED };
struct queue_filter {
    enum queue_which which;
    struct str domain; /* of a recipient that is left; absent: any, as below. Found by an index */
    struct str sender; /* the whole address, in any case; empty: the null sender */
    struct str error;  /* in a recipient's last reply or status, or the item's cause; in any case */
    uint64_t before;   /* received before; 0: at any time */
};
struct queue_cursor { /* all zeroes: from the beginning */
    uint8_t shard, part, n;
    bool is_at_end;
    unsigned char key[20];
};
/* Items that match, up to `max`, whole; looks at no more than QUEUE_FIND_ROWS of them a call: call
 * again until the cursor is at the end. What comes and goes meanwhile is found or not. Blocks. */
enum { QUEUE_FIND_ROWS = 1000 };
struct queue_found {
    struct queue_entry *entries; /* in the arena */
    size_t n;
};
enum rc queue_find(struct queue *queue, const struct queue_filter *filter,
                   struct queue_cursor *cursor, size_t max, struct arena *arena,
                   struct queue_found *out);

/* For copies of a store, see kv.h: the queue's partitions, with n from 0 on (false: there are no
 * more), and the blobs of a row. RC_CORRUPT. */
bool queue_partition(size_t n, struct kv_part *out);
enum rc queue_row_blobs(struct kv_row row, uint32_t out_at[KV_ROW_BLOBS], size_t *out_n);

/* Compares items, recipients, statuses, both indexes, leases and, when they have been told,
 * references to bodies with each other, in both directions. Mail goes on meanwhile: what differs is
 * looked at again before it is called a fault. report() gets a line for each. With `mends` indexes,
 * rows that belong to nothing, references and leases are put right; what an item or a recipient's
 * row has lost cannot be. RC_OK: sound, or all of it mended; RC_CORRUPT: faults are left. Holds 20
 * bytes for each body. Blocks. */
struct queue_refs;
struct queue_fsck {
    void (*report)(struct queue_fsck *fsck, const char *line);
    bool mends;
    uint64_t items, faults, mended; /* results */
    struct queue_refs *refs;        /* the queue's */
};
/* As kv_fsck tells of them, of all partitions, before queue_fsck; without it they are not compared.
 * Calls nothing. */
void queue_fsck_reference(struct queue_fsck *fsck, struct kv_part part,
                          const struct kv_blob_id *blob, uint64_t count);
enum rc queue_fsck(struct queue *queue, struct queue_fsck *fsck);
void queue_fsck_fini(struct queue_fsck *fsck);

enum { QUEUE_ID_TEXT = 33 };
void queue_id_text(struct queue_id id, char out[QUEUE_ID_TEXT]); /* 32 hexadecimal digits */
enum rc queue_id_parse(struct str text, struct queue_id *out);   /* RC_SYNTAX */

#endif
