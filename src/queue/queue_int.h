/* queue's rows. All numbers big-endian; an item is in partition Q(first byte of its id mod
 * QUEUE_SHARDS).
 *
 *   'm' id16      item: format, codec, key id, blob, size, received, sender, message-id, log id,
 * references, number of recipients 'r' id16 n2   recipient n: format, state, account; the row is
 * there while the recipient waits
 */
#ifndef QUEUE_QUEUE_INT_H
#define QUEUE_QUEUE_INT_H

#include "queue/queue.h"

#include "base/bytes.h"

enum {
    QUEUE_FORMAT = 1,
    QUEUE_ITEM_KEY = 17,
    QUEUE_RECIPIENT_KEY = 19,
    QUEUE_REFERENCES = 16, /* references kept with an item */
    QUEUE_TEXT_MAX = 998,  /* bytes of each text kept with an item */
    QUEUE_ITEM_MAX = 128 + (QUEUE_REFERENCES + 3) * (QUEUE_TEXT_MAX + 2)
};

struct str queue_item_key(struct queue_id id, unsigned char to[QUEUE_ITEM_KEY]);
struct str queue_recipient_key(struct queue_id id, size_t n, unsigned char to[QUEUE_RECIPIENT_KEY]);

/* The item's row, without the recipients; `to` holds QUEUE_ITEM_MAX bytes. Over-long texts are left
 * out, they are hints only. */
struct str queue_item_pack(const struct queue_item *item, unsigned char *to);
/* n_accounts is set, accounts is not. RC_CORRUPT. */
enum rc queue_item_unpack(struct str row, struct arena *arena, struct queue_item *out);

struct str queue_recipient_pack(uint64_t account, unsigned char to[16]);
enum rc queue_recipient_unpack(struct str row, uint64_t *out_account);

#endif
