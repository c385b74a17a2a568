/* Fuzz target: rows of the queue: an item's, a recipient's, a status, an entry of the index. The
 * first byte says which. What can be read can be written, and is the same when read again. */
#include "fuzz/fuzz.h"
#include "queue/queue_int.h"

#include <string.h>

static void recipient(struct str row)
{
    unsigned char to[QUEUE_RECIPIENT_MAX];
    struct queue_recipient r, again;
    if (queue_recipient_unpack(row, &r) != RC_OK)
        return;
    struct str packed = queue_recipient_pack(&r, to);
    FUZZ_DEMAND(packed.n > 0);
    FUZZ_DEMAND(queue_recipient_unpack(packed, &again) == RC_OK);
    FUZZ_DEMAND(again.account == r.account && again.due == r.due && again.tries == r.tries);
    FUZZ_DEMAND(again.reply.n <= QUEUE_REPLY_MAX);
    for (size_t i = 0; i < again.reply.n; i++)
        FUZZ_DEMAND(ascii_is_print(again.reply.p[i]));
}

static void item(struct str row)
{
    static unsigned char to[QUEUE_ITEM_MAX];
    struct arena arena = {0};
    struct queue_item i = {0}, again = {0};
    struct queue_also also, also_again;
    if (queue_item_unpack(row, &arena, &i, &also) == RC_OK && (i.n_added != 1 || i.n_recipients)) {
        struct str packed = queue_item_pack(&i, also, to);
        FUZZ_DEMAND(packed.n > 0);
        FUZZ_DEMAND(queue_item_unpack(packed, &arena, &again, &also_again) == RC_OK);
        FUZZ_DEMAND(again.n_added == i.n_added && again.flags == i.flags && again.due == i.due);
        FUZZ_DEMAND(also_again.n == also.n);
    }
    arena_fini(&arena);
}

static void status(struct str row)
{
    unsigned char to[QUEUE_STATUS_MAX];
    struct queue_status s, again;
    if (queue_status_unpack(row, &s) != RC_OK)
        return;
    FUZZ_DEMAND(memchr(s.cause, '\0', sizeof s.cause) != NULL);
    struct str packed = queue_status_pack(&s, to);
    FUZZ_DEMAND(packed.n > 0);
    FUZZ_DEMAND(queue_status_unpack(packed, &again) == RC_OK);
    FUZZ_DEMAND(again.state == s.state && again.due == s.due && again.waits == s.waits);
}

static void entry(struct str row)
{
    unsigned char key[QUEUE_DUE_KEY], to[QUEUE_DUE_MAX];
    struct queue_due e;
    size_t n = row.n < QUEUE_DUE_KEY ? row.n : QUEUE_DUE_KEY;
    if (queue_due_unpack((struct kv_row){str_head(row, n), str_skip(row, n)}, &e) != RC_OK)
        return;
    struct str packed = queue_due_key(&e, key);
    FUZZ_DEMAND(memcmp(packed.p + 2, row.p + 2, QUEUE_DUE_KEY - 2) == 0);
    FUZZ_DEMAND(queue_due_pack(&e, to).n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct str) = {item, recipient, status, entry};
    if (size > 0)
        readers[data[0] % 4](str_from(data + 1, size - 1));
    return 0;
}
