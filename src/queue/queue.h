/* queue: messages that are accepted and not yet at all of their destinations, durable in kv.
 *
 * An item is one message: its envelope and blob in one row, each recipient in a row of its own with
 * its own state. Items are spread over QUEUE_SHARDS partitions of class Q by their id. Adding one
 * is a single commit; so is taking a recipient off. The last recipient's commit removes the item
 * and its reference to the blob. Later: due times, retries, remote destinations.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "kv/kv.h"

struct queue;

enum { QUEUE_SHARDS = 64, QUEUE_RECIPIENTS = 1000 };

struct queue_id {
    unsigned char b[16]; /* random; also the delivery id of its copies */
};

enum rc queue_open(const struct ctx *ctx, struct kv *kv, struct queue **out);
void queue_close(struct queue **queue);

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

#endif
