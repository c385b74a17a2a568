/* queue's rows. All numbers big-endian; an item is in partition Q(first byte of its id mod
 * QUEUE_SHARDS).
 *
 *   'm' id16      item: format, codec, key id, blob, size, received, sender, message-id, log id,
 *                 references, number of recipients; RET, flags, ENVID; summary; from format 2 on:
 *                 due, expires, release, account, all flags, origin, further domains' hashes, and
 *                 the recipient when there is only one
 *   'r' id16 n2   recipient n of an item with several: format, state, account; NOTIFY, address,
 *                 ORCPT; from format 2 on: domain, flags, due, tries and, when there were some or
 *                 it was put off, the rest of the state. The row is there while the recipient waits
 * What stands behind a semicolon was added later: rows without it are read as if nothing was said.
 *   's' id16      status: format, state, failures, due, cause; waits. No row: has not failed.
 *                 Apart from the item, so that one that cannot be understood can be held
 *   'd' kind due8 id16 n2   the index by time: format, tries, destination; TLS and whether it is
 *                 pressing, when it is not as usual. Kind 'r': recipient n, due as its state has
 *                 it. Kind 'l', n 0xffff: there are recipients here, due as the status has it, or
 *                 else the item. A held item has none
 *   'x' hash3 id16          the item has a recipient in a domain with this hash, which its id does
 *                 not tell
 *   'v'           format of the index; no row: none was made yet
 *
 * An id is: the shard (one byte), the hash of a domain of its recipients (three), random bytes. So
 * what goes to one domain lies together in each shard, and is listed without looking at all else.
 */
#ifndef QUEUE_QUEUE_INT_H
#define QUEUE_QUEUE_INT_H

#include "queue/queue.h"

#include "base/bytes.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    QUEUE_FORMAT_OLD = 1, /* still read */
    QUEUE_FORMAT = 2,
    QUEUE_STATUS_FORMAT = 1,
    QUEUE_DUE_FORMAT = 1,
    QUEUE_DUE_PRESSING = 0x80, /* beside TLS */
    QUEUE_INDEX_FORMAT = 1,
    QUEUE_ITEM_KEY = 17,
    QUEUE_BLOB_AT = 6, /* in an item's row */
    QUEUE_RECIPIENT_KEY = 19,
    QUEUE_DUE_KEY = 28,
    QUEUE_ALSO_KEY = 20,
    QUEUE_STATUS_MAX = 96,
    QUEUE_ATTEMPTS = 10,   /* of a commit that others get in the way of */
    QUEUE_REFERENCES = 16, /* references kept with an item */
    QUEUE_TEXT_MAX = 998,  /* bytes of each text kept with an item */
    QUEUE_RECIPIENT_MAX = 128 + 7 * (QUEUE_TEXT_MAX + 2),
    QUEUE_DUE_MAX = 16 + QUEUE_TEXT_MAX,
    QUEUE_ITEM_MAX = 256 + (QUEUE_REFERENCES + 6) * (QUEUE_TEXT_MAX + 2) + QUEUE_SUMMARY_MAX +
                     3 * QUEUE_RECIPIENTS + QUEUE_RECIPIENT_MAX
};

/* See lease.c. */
struct queue_lease {
    _Atomic uint64_t epoch; /* 0: not ours */
    _Atomic uint64_t until; /* monotonic */
    _Atomic uint64_t round, commits;
    uint64_t next; /* the keeper's: when to take it again */
    uint64_t foreign;
};

struct queue {
    struct ctx ctx;
    struct kv *kv;
    struct queue_tally *tally;
    pthread_mutex_t sinks_mutex; /* held while a sink is called */
    struct queue_sink *sinks[2]; /* local, remote */
    char node[QUEUE_NODE_MAX];
    uint64_t lease_ns;
    bool is_shared;
    _Atomic bool has_leases;
    struct queue_lease leases[QUEUE_SHARDS];
    uint64_t next_look;
    /* The keeper: a thread for what blocks. */
    pthread_t keeper;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    bool ending, is_counting;
    bool is_new;         /* leases are wanted from now on */
    struct list redo;    /* struct queue_op: settlements to be read by the keeper */
    struct map settling; /* struct queue_op, by item: those under way */
};

/* --- record.c: rows as bytes ------------------------------------------------------------------ */

struct kv_part queue_part_of(struct queue_id id);
struct str queue_item_key(struct queue_id id, unsigned char to[QUEUE_ITEM_KEY]);
struct str queue_recipient_key(struct queue_id id, size_t n, unsigned char to[QUEUE_RECIPIENT_KEY]);
struct str queue_status_key(struct queue_id id, unsigned char to[QUEUE_ITEM_KEY]);

/* Hashes of domains, three bytes each, beside the one in the id. */
struct queue_also {
    const unsigned char *hashes;
    size_t n;
};

/* The item's row; `to` holds QUEUE_ITEM_MAX bytes. Over-long texts are left out where they are
 * hints only. */
struct str queue_item_pack(const struct queue_item *item, struct queue_also also,
                           unsigned char *to);
/* n_added is set; recipients are when the row has them: when there is only one. RC_CORRUPT. */
enum rc queue_item_unpack(struct str row, struct arena *arena, struct queue_item *out,
                          struct queue_also *out_also);

struct str queue_recipient_pack(const struct queue_recipient *r,
                                unsigned char to[QUEUE_RECIPIENT_MAX]);
/* But for its number. The reply is cleaned once, when it is packed. */
enum rc queue_recipient_unpack(struct str row, struct queue_recipient *out);

struct str queue_status_pack(const struct queue_status *status, unsigned char to[QUEUE_STATUS_MAX]);
enum rc queue_status_unpack(struct str row, struct queue_status *out); /* absent: the usual one */

struct str queue_due_key(const struct queue_due *entry, unsigned char to[QUEUE_DUE_KEY]);
struct str queue_due_pack(const struct queue_due *entry, unsigned char to[QUEUE_DUE_MAX]);
enum rc queue_due_unpack(struct kv_row row, struct queue_due *out); /* texts as in the row */

void queue_domain_hash(struct str domain, unsigned char to[3]);
struct str queue_also_key(const unsigned char hash[3], struct queue_id id,
                          unsigned char to[QUEUE_ALSO_KEY]);

/* --- rows.c: an item's rows together ---------------------------------------------------------- */

/* An item as it was read: what a commit that changes it asserts. */
struct queue_whole {
    struct queue_id id;
    struct str item_row, status_row; /* the latter may be absent */
    struct queue_item item;
    struct queue_also also;
    struct queue_status status;
    struct str *recipient_rows; /* of item.recipients; absent where the item's row has it */
};

/* RC_NOTFOUND; RC_CORRUPT: item_row and status_row are there all the same. */
enum rc queue_whole_read(struct queue *queue, struct queue_id id, unsigned flags,
                         struct arena *arena, struct queue_whole *out);
/* That the item's row and its status are as they were read. */
enum rc queue_whole_assert(struct kv_txn *txn, const struct queue_whole *w);
/* The entry of the copies here, and of one recipient elsewhere. */
struct queue_due queue_due_local(const struct queue_item *item, const struct queue_status *status);
struct queue_due queue_due_remote(const struct queue_item *item, const struct queue_recipient *r);

/* All that the index must have of it: up to n_recipients + 1, in `out`. */
size_t queue_whole_entries(const struct queue_whole *w, struct queue_due *out);

/* A row that counts, more or less; see tally.c. */
struct queue_tick {
    enum queue_number which;
    int8_t by;
    uint8_t n;
    unsigned char key[QUEUE_DUE_KEY];
};

/* What a commit changes beyond its rows, applied when it is done: entries for the sinks, counts.
 * Most are small, and need no memory of their own for the lists. */
enum { QUEUE_NEWS_FEW = 2, QUEUE_NEWS_TICKS = 4, QUEUE_NEWS_TEXT = 128 };
struct queue_news {
    unsigned shard;
    struct queue_due *entries, *more_entries;
    size_t n, capacity;
    struct queue_tick *ticks, *more_ticks;
    size_t n_ticks, ticks_capacity;
    struct arena arena; /* texts of the entries that do not fit below */
    size_t text_used;
    struct queue_due few_entries[QUEUE_NEWS_FEW];
    struct queue_tick few_ticks[QUEUE_NEWS_TICKS];
    char text[QUEUE_NEWS_TEXT];
};
struct queue_news *queue_news_new(unsigned shard);
void queue_news_free(struct queue_news **news);
void queue_news_entry(struct queue_news *news, const struct queue_due *entry);
void queue_news_tick(struct queue_news *news, enum queue_number which, int by, struct str key);
/* Applies them and frees. `version` is the commit's. */
void queue_news_tell(struct queue *queue, struct queue_news **news, uint64_t version);

/* Puts the entry, and tells of it. */
enum rc queue_due_put(struct kv_txn *txn, const struct queue_due *entry, struct queue_news *news);
enum rc queue_due_delete(struct kv_txn *txn, const struct queue_due *entry,
                         struct queue_news *news);

/* New items, in the shard of the transaction: ids, rows, entries. RC_LIMIT. */
enum rc queue_items_put(struct queue *queue, struct kv_txn *txn, struct queue_item *items, size_t n,
                        unsigned shard, struct queue_news *news);
/* What an item becomes. */
struct queue_next {
    /* One for each of the recipients read: the same pointer when nothing changes, NULL when it
     * goes, or what it is from now on, with the same account, address and domain. */
    const struct queue_recipient **recipients;
    struct queue_status status;
    const struct queue_item *item; /* NULL: the same; otherwise with other flags or times */
    bool is_pressing;              /* as in struct queue_due, of the entries that change */
};
/* An item of an older format becomes one of this format; entries are not touched. */
enum rc queue_whole_upgrade(struct kv_txn *txn, const struct queue_whole *w);
/* Asserts what was read, and changes rows and entries; without recipients left the item goes. */
enum rc queue_whole_change(struct kv_txn *txn, const struct queue_whole *w,
                           const struct queue_next *next, struct queue_news *news);
/* The status alone. */
enum rc queue_status_put(struct kv_txn *txn, const struct queue_whole *w,
                         const struct queue_status *status, struct queue_news *news);

/* Deletes whatever entries the index has of an item, by looking through all of its shard: for items
 * that cannot be understood. */
enum rc queue_due_sweep(struct queue *queue, struct kv_txn *txn, struct queue_id id,
                        struct queue_news *news);

/* --- fsck.c, fsck_rest.c ---------------------------------------------------------------------- */

struct queue_named { /* a blob, and how often it is named or referred to */
    struct kv_blob_id blob;
    uint32_t n;
};
struct queue_nameds {
    struct queue_named *item;
    size_t n, capacity;
};

struct queue_check {
    struct queue *queue;
    struct queue_fsck *fsck;
    unsigned shard;
    struct queue_nameds named; /* by the items of the shard */
    bool has_unknown;          /* an item does not tell which blob it names */
};
void queue_fault(struct queue_check *k, bool is_mended, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* References against what items name; leases. Blocks. */
enum rc queue_check_references(struct queue_check *k);
enum rc queue_check_lease(struct queue_check *k);

/* --- tally.c ---------------------------------------------------------------------------------- */

struct queue_tally *queue_tally_new(void);
void queue_tally_free(struct queue_tally **tally);
/* A commit of this version has changed rows. Any thread. */
void queue_tally_hear(struct queue *queue, unsigned shard, const struct queue_tick *ticks, size_t n,
                      uint64_t version);
/* Counts what was there before; one thread at a time. Blocks. */
enum rc queue_tally_go_on(struct queue *queue, size_t max_rows, bool *out_is_counted);

/* --- lease.c ---------------------------------------------------------------------------------- */

struct str queue_lease_name(void);
bool queue_has_all(struct queue *queue);
/* Grows when what was read of the shard's index may not be all. */
uint64_t queue_round(struct queue *queue, unsigned shard);
unsigned queue_shard_to_add(struct queue *queue);
/* RC_DENIED: it is not ours. */
enum rc queue_lease_assert(struct queue *queue, struct kv_txn *txn, unsigned shard);
void queue_lease_count(struct queue *queue, unsigned shard); /* a commit of ours */
/* The keeper's: takes what is to be taken; when it wants to be called again (monotonic). */
uint64_t queue_lease_work(struct queue *queue);
void queue_lease_end(struct queue *queue);

/* --- settle.c, index.c, keeper.c -------------------------------------------------------------- */

/* On the keeper. */
void queue_settle_again(struct queue_op *op);

/* Makes the index for items that have none, when it was not made before. Blocks. */
enum rc queue_index(struct queue *queue);

void queue_keeper_start(struct queue *queue);
void queue_keeper_stop(struct queue *queue);
/* Opened with more than could be counted at once: goes on with it. */
void queue_keeper_count(struct queue *queue);
void queue_keeper_redo(struct queue *queue, struct queue_op *op);

#endif
