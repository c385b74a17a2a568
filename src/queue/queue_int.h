/* queue's rows. All numbers big-endian; an item is in partition Q(first byte of its id mod
 * QUEUE_SHARDS).
 *
 *   'm' id16      item: format, codec, key id, blob, size, received, sender, message-id, log id,
 *                 references, number of recipients; RET, flags, ENVID
 *   'r' id16 n2   recipient n: format, state, account; NOTIFY, address, ORCPT; the row is there
 *                 while the recipient waits
 * What stands behind a semicolon was added later: rows without it are read as if nothing was said.
 *   's' id16      status: format, state, failures, due, cause; no row: waits, has not failed.
 *                 Apart from the item, so that one that cannot be understood can be held
 */
#ifndef QUEUE_QUEUE_INT_H
#define QUEUE_QUEUE_INT_H

#include "queue/queue.h"

#include "base/bytes.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    QUEUE_FORMAT = 1,
    QUEUE_STATUS_FORMAT = 1,
    QUEUE_ITEM_KEY = 17,
    QUEUE_BLOB_AT = 6, /* in an item's row */
    QUEUE_RECIPIENT_KEY = 19,
    QUEUE_STATUS_MAX = 96,
    QUEUE_ATTEMPTS = 10,   /* of a commit that others get in the way of */
    QUEUE_REFERENCES = 16, /* references kept with an item */
    QUEUE_TEXT_MAX = 998,  /* bytes of each text kept with an item */
    QUEUE_ITEM_MAX = 128 + (QUEUE_REFERENCES + 4) * (QUEUE_TEXT_MAX + 2) + QUEUE_SUMMARY_MAX,
    QUEUE_RECIPIENT_MAX = 16 + 2 * (QUEUE_TEXT_MAX + 2)
};

struct queue {
    struct ctx ctx;
    struct kv *kv;
    _Atomic uint64_t count, held;
    pthread_mutex_t mutex; /* of the watch */
    struct queue_watch *watch;
};

struct kv_part queue_part_of(struct queue_id id);
void queue_held_changed(struct queue *queue, bool more);
enum rc queue_count_held(struct queue *queue, unsigned shard);

struct str queue_item_key(struct queue_id id, unsigned char to[QUEUE_ITEM_KEY]);
struct str queue_recipient_key(struct queue_id id, size_t n, unsigned char to[QUEUE_RECIPIENT_KEY]);
struct str queue_status_key(struct queue_id id, unsigned char to[QUEUE_ITEM_KEY]);

/* The item's row, without the recipients; `to` holds QUEUE_ITEM_MAX bytes. Over-long texts are left
 * out, they are hints only. */
struct str queue_item_pack(const struct queue_item *item, unsigned char *to);
/* n_accounts is set, accounts is not. RC_CORRUPT. */
enum rc queue_item_unpack(struct str row, struct arena *arena, struct queue_item *out);

/* wish: NULL when nothing is known; texts longer than QUEUE_TEXT_MAX are left out. */
struct str queue_recipient_pack(uint64_t account, const struct queue_wish *wish,
                                unsigned char to[QUEUE_RECIPIENT_MAX]);
enum rc queue_recipient_unpack(struct str row, uint64_t *out_account, struct queue_wish *out_wish);

struct str queue_status_pack(const struct queue_status *status, unsigned char to[QUEUE_STATUS_MAX]);
enum rc queue_status_unpack(struct str row, struct queue_status *out); /* absent: the usual one */

#endif
