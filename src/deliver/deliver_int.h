/* deliver, inside: the fan-out of queue items to the accounts of their recipients. */
#ifndef DELIVER_DELIVER_INT_H
#define DELIVER_DELIVER_INT_H

#include "deliver/deliver.h"

enum {
    FANOUT_MAX = 64,        /* items on their way to their recipients at once */
    FANOUT_RETRY_MS = 30000 /* after a failure that may pass */
};

/* Takes items from the queue to their accounts: those that are there when it is opened, and those
 * that are announced. */
struct fanout;
enum rc fanout_new(const struct ctx *ctx, const struct deliver_conf *conf, struct fanout **out);
void fanout_free(struct fanout **fanout); /* waits for the items on their way */

/* A new item is in the queue. Any thread; never blocks. */
void fanout_announce(struct fanout *fanout, struct queue_id id);

/* How one message reaches one account: what deliver_message and the fan-out have in common. */
void deliver_log(const struct ctx *ctx, struct str message, uint64_t account,
                 const struct store_op *op, enum rc rc);

#endif
