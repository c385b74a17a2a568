/* queue: messages that are accepted and not yet at all of their destinations, durable in kv.
 *
 * An item is one message: its envelope and blob in one row, each recipient in a row of its own with
 * its own state. Items are spread over QUEUE_SHARDS partitions of class Q by their id. Adding one
 * is a single commit; so is taking a recipient off. The last recipient's commit removes the item
 * and its reference to the blob. Later: remote destinations.
 *
 * An item waits (the usual state, which needs no row) or is held: nobody tries it until it is
 * released. How often it has failed for good, and why, is kept beside it.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "kv/kv.h"

struct queue;

enum { QUEUE_SHARDS = 64, QUEUE_RECIPIENTS = 1000, QUEUE_SUMMARY_MAX = 8 << 10 };

struct queue_id {
    unsigned char b[16]; /* random; also the delivery id of its copies */
};

enum rc queue_open(const struct ctx *ctx, struct kv *kv, struct queue **out);
void queue_close(struct queue **queue);

/* What the sender of a message said of one recipient, for who writes reports [RFC3461 4]. */
struct queue_wish {
    uint8_t notify;     /* bits of NOTIFY as the protocol's folder has them; 0: not said */
    struct str address; /* as RCPT had it */
    struct str orcpt;   /* the value of ORCPT as it came; absent or empty: not said */
};

/* Flags of an item. */
enum {
    QUEUE_UTF8 = 1,   /* SMTPUTF8 */
    QUEUE_BINARY = 2, /* BODY=BINARYMIME */
    QUEUE_UNENDED = 4 /* does not end with CRLF */
};

struct queue_item {
    struct queue_id id; /* given by queue_add */
    struct kv_blob_id blob;
    uint64_t size, received;
    struct str sender, message_id, log_id;
    const struct str *references;
    size_t n_references;
    const uint64_t
        *accounts; /* recipients here, by account; recipient n of the item is accounts[n] */
    size_t n_accounts;
    const struct queue_wish *wishes; /* one for each of the accounts, or NULL: nothing is known */
    uint8_t ret;                     /* RET, as the protocol's folder has it; 0: not said */
    uint8_t flags;
    struct str envid; /* the value of ENVID as it came; absent or empty: not said */
    struct str
        summary; /* see mime/summary.h; empty: none; over QUEUE_SUMMARY_MAX bytes it is left out */
};

struct queue_op {
    void (*done)(struct queue_op *op); /* exactly once, on a thread of kv; must not block */
    enum rc rc;
    struct queue_id id;  /* of an added item */
    struct queue *queue; /* the queue's, as all below */
    struct kv_op kv_op;
};

/* Both queue one commit: RC_OK means done() will come; otherwise RC_LIMIT, RC_TEMP and it will not.
 */
enum rc queue_add(struct queue *queue, const struct queue_item *item, struct queue_op *op);

/* Takes recipients off, by their numbers; with the last one the item goes. What is gone already is
 * no error. Calls for one item must not overlap. Blocks (a worker's call). */
enum rc queue_done(struct queue *queue, struct queue_id id, const uint16_t *numbers, size_t n);

/* One item with the recipients that are left (accounts[n] is 0 for those that are done).
 * RC_NOTFOUND. Blocks. */
enum rc queue_get(struct queue *queue, struct queue_id id, struct arena *arena,
                  struct queue_item *out);

/* The ids in a shard, in order, after `after` (NULL: from the beginning). Blocks. */
enum rc queue_list(struct queue *queue, unsigned shard, const struct queue_id *after,
                   struct queue_id *out, size_t max, size_t *out_n);

uint64_t queue_count(struct queue *queue); /* items, kept in memory */
uint64_t queue_held(struct queue *queue);  /* those that are held, kept in memory */

/* --- states ----------------------------------------------------------------------------------- */

enum queue_state { QUEUE_WAITING, QUEUE_HELD };

struct queue_status {
    enum queue_state state;
    uint32_t failures; /* for good, since it was added or released */
    uint64_t due;      /* ns since 1970; 0: at once */
    char cause[64];    /* of the last failure, or of the hold; may be empty */
};

/* These block, and may be called for any item at any time. RC_NOTFOUND: there is no such item. An
 * item whose row cannot be read has a state all the same. */
enum rc queue_status_get(struct queue *queue, struct queue_id id, struct queue_status *out);
enum rc queue_status_set(struct queue *queue, struct queue_id id,
                         const struct queue_status *status);
/* Of one that is held already: another cause. What is on its way just now is not called back. */
enum rc queue_hold(struct queue *queue, struct queue_id id, const char *cause);
/* As if it had just been added; the watch is told. RC_CONFLICT: it is not held. */
enum rc queue_release(struct queue *queue, struct queue_id id);
/* Every item, for what was restored from a backup: some of it may have been delivered since. */
enum rc queue_hold_all(struct queue *queue, const char *cause);

/* All that is known of an item: of one that cannot be read, `rc` says why and item is empty. */
struct queue_entry {
    struct queue_status status;
    struct queue_item item;
    enum rc rc;
};
enum rc queue_look(struct queue *queue, struct queue_id id, struct arena *arena,
                   struct queue_entry *out);

/* Told of each release, after its commit, on the thread that released: fn must not block or call
 * back. One for a queue; NULL takes it away, and no call is under way when that returns. */
struct queue_watch {
    void (*released)(struct queue_watch *watch, struct queue_id id);
};
void queue_watch_set(struct queue *queue, struct queue_watch *watch);

/* For copies of a store, see kv.h: the queue's partitions, with n from 0 on (false: there are no
 * more), and the blobs of a row. RC_CORRUPT. */
bool queue_partition(size_t n, struct kv_part *out);
enum rc queue_row_blobs(struct kv_row row, uint32_t out_at[KV_ROW_BLOBS], size_t *out_n);

enum { QUEUE_ID_TEXT = 33 };
void queue_id_text(struct queue_id id, char out[QUEUE_ID_TEXT]); /* 32 hexadecimal digits */
enum rc queue_id_parse(struct str text, struct queue_id *out);   /* RC_SYNTAX */

#endif
