/* kv: what Penfold stores its state in. This header is the contract; every back end keeps it and
 * one conformance suite (test_conform.c) checks all of them. Back ends: kv_mem (tests), kv_local
 * (one machine), kv_rados (a Ceph cluster; in a plug-in of its own, src/rados).
 *
 * PARTITIONS. A partition is the unit of atomicity and order: a class (account, cache, queue,
 * directory, global, jobs) and a number. It holds rows (key -> value, ordered by key bytes) and a
 * version that grows by exactly one with each commit; a partition never written to has version 0
 * and no rows (but see kv_txn_put_cached).
 *
 * TRANSACTIONS touch one partition, all or nothing: asserts, puts, deletes, trims (delete a range),
 * references to blobs taken and dropped. At most KV_TXN_ROWS of these together and KV_TXN_BYTES
 * bytes; beyond that adding answers RC_LIMIT and the caller splits. A transaction without changes
 * is a commit too.
 *
 * KEYS are any bytes, 0x00 and 0xff among them, but the first byte 0xff is the store's own
 * (leases): putting, deleting or asserting such a key is RC_PERM, reading it finds nothing, scans
 * and trims end before it.
 *
 * TWO VIEWS. *Published* is what is durable; it moves in commit order, after the sync. Everybody
 * reads it; completions and watches are told after it has moved. *Head* is published plus what one
 * writer has queued; only that writer sees it (struct kv_writer). When a queued commit fails, all
 * that the writer queued behind it fail with RC_CONFLICT and its head falls back to published.
 *
 * COMMITS are asynchronous: kv_commit queues and returns; kv_op.done is called exactly once, never
 * from inside the call that queued it, on a thread of the back end, and must not block or call back
 * into kv except to queue. Many transactions share one sync. Nothing is acknowledged before it is
 * durable. Only class KV_CACHE may commit lazily.
 *
 * BLOBS are immutable bytes up to any size, streamed in bounded memory, read in part, checksummed
 * on every read. Readable once finished, durable when a commit refers to them. The back end counts
 * references per (blob, partition) in the same commit; the blob is freed when no partition refers
 * to it and it is in nobody's hands (being written, finished and not yet committed, or open for
 * reading). A blob of no bytes is a blob. Every blob carries a codec and a key id (0: clear) that
 * the back end keeps but does not interpret: nobody above the store may assume that a body is
 * readable without the session's key.
 *
 * ERRORS. A failed sync ends all writing for good: kv_state becomes KV_READONLY, every later commit
 * answers RC_TEMP, reads go on, the sync is never tried again. No space: RC_FULL, nothing stored is
 * hurt, and commits work again when there is space.
 *
 * THREADS. Every call may be made from any thread. Calls without KV_CACHED may block on a disk or a
 * network: never on a loop.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include "base/arena.h"
#include "base/ctx.h"
#include "base/list.h"
#include "base/str.h"

#include <pthread.h>

struct kv;
struct kv_txn;

enum {
    /* In a transaction: asserts on rows, puts, deletes, trims, references and drops together. */
    KV_TXN_ROWS = 5000,
    /* Bytes of their keys and values; a blob's id counts 16. */
    KV_TXN_BYTES = 8 << 20,
    /* Bytes of a key; it has at least one, and the first one is not 0xff. */
    KV_KEY_MAX = 256,
    /* Bytes of a lease's name and of its owner's; at least one. */
    KV_LEASE_NAME_MAX = 128,
    /* Bytes of a value; it has at least one, so that "empty" can mean "absent" anywhere. */
    KV_VALUE_MAX = 1 << 20,
    /* Rows a scan gives at once, and about how many bytes of them. */
    KV_PAGE_ROWS = 1024,
    KV_PAGE_BYTES = 512 << 10,
    /* Keys that kv_get takes at once. */
    KV_GET_KEYS = 1000,
    /* Blobs up to here share a commit's sync; larger ones are synced by who wrote them. */
    KV_BLOB_SMALL = 256 << 10
};

enum kv_class {
    KV_ACCOUNT = 'A',
    KV_CACHE = 'X',
    KV_QUEUE = 'Q',
    KV_DIRECTORY = 'D',
    KV_GLOBAL = 'G',
    KV_JOBS = 'J',
    KV_LEASES = 'L' /* the store's own */
};

struct kv_part {
    enum kv_class class;
    uint64_t id;
};
bool kv_part_eq(struct kv_part a, struct kv_part b);

struct kv_blob_id {
    unsigned char b[16]; /* random, never reused, never all zero */
};
bool kv_blob_id_eq(struct kv_blob_id a, struct kv_blob_id b);

/* --- the store as a whole -------------------------------------------------------------------- */

/* Commits all that is queued, flushes, then frees. Nothing may be open, nobody may call meanwhile.
 */
void kv_close(struct kv **kv);

enum kv_state { KV_WRITABLE, KV_READONLY };
/* *out_why (may be NULL) names the cause and the file; valid as long as the store. */
enum kv_state kv_state(struct kv *kv, const char **out_why);

/* Whether a new blob of so many bytes could be kept as things are; nothing is reserved, and nothing
 * waits. RC_OK; RC_FULL: too little space; RC_TEMP: nothing is written any more. */
enum rc kv_room(struct kv *kv, uint64_t bytes);

/* A number that is larger after every restore from a backup, and after every recovery that found
 * acknowledged commits missing. Whoever hands out numbers that clients remember (UIDNEXT, modseq)
 * compares it with the one it saw last and jumps. */
uint64_t kv_generation(struct kv *kv);
/* Makes it at least so large, durably, for who copies another store into this one, with the numbers
 * that were given out there. Nobody else may use the store meanwhile. RC_TEMP, RC_FULL. Blocks. */
enum rc kv_generation_raise(struct kv *kv, uint64_t at_least);

/* --- reading: always one published state ----------------------------------------------------- */

enum kv_flags {
    KV_CACHED = 1, /* answer RC_AGAIN instead of waiting for a disk or a network */
    KV_LAZY = 2,   /* commits of class KV_CACHE: published at once, durable with the next sync */
    KV_ONCE = 4    /* kv_scan: what is read will not be wanted again soon, and takes no room in
                      caches */
};

enum rc kv_version(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version);

/* Several rows of one published state. out_values[i] lives in the arena; absent (p == NULL) when
 * there is no such row. out_version may be NULL. RC_OK also when all are absent; RC_AGAIN, RC_TEMP,
 * RC_CORRUPT, RC_LIMIT when the arena is full or there are more than KV_GET_KEYS keys, RC_PERM for
 * a key of a bad length. */
enum rc kv_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n, unsigned flags,
               struct arena *arena, struct str *out_values, uint64_t *out_version);

struct kv_row {
    struct str key, value;
};

struct kv_page {
    struct kv_row *rows; /* in the arena */
    size_t n;
    bool has_more; /* go on from the key after the last row: kv_scan with after = rows[n-1].key */
    uint64_t version; /* of the published state that this page is of; another page may be of a later
                         one */
};

struct kv_range {
    struct str from;  /* first key wanted; absent: from the beginning */
    struct str to;    /* first key not wanted; absent: to the end */
    struct str after; /* when present: only keys greater than this one, whether or not there is such
                         a row */
};

/* The rows in a range, in key order, at most `max_rows` (0 or more than that: KV_PAGE_ROWS) and
 * about KV_PAGE_BYTES bytes, but at least one when there is one. There is no reverse order. Errors
 * as kv_get. */
enum rc kv_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                unsigned flags, struct arena *arena, struct kv_page *out_page);

/* All rows in a range, however many: one page of them is in memory at a time. The bounds of the
 * range stay the caller's; the walk is not moved. */
struct kv_walk {
    struct kv_page page; /* that the last row is of */
    struct kv *kv;
    struct kv_part part;
    struct kv_range range; /* what is left when the page is over */
    unsigned flags;
    size_t at;
    struct arena arena;
    unsigned char last[KV_KEY_MAX];
};
void kv_walk_begin(struct kv_walk *walk, struct kv *kv, struct kv_part part, struct kv_range range,
                   unsigned flags);
/* The row stays until the next call. RC_EOF: there are no more. Otherwise as kv_scan; then it may
 * be asked again. */
enum rc kv_walk_next(struct kv_walk *walk, struct kv_row *out_row);
void kv_walk_end(struct kv_walk *walk);

/* --- transactions ---------------------------------------------------------------------------- */

struct kv_txn *kv_txn_new(struct kv_part part);
void kv_txn_free(struct kv_txn **txn); /* only one that was not handed to kv_commit */

/* Asserts: the commit fails with RC_CONFLICT, whole, when one does not hold at its turn, that is in
 * the state just before the transaction, wherever in it the assert was added. RC_LIMIT, or RC_PERM
 * for a bad length or a key of the store's own. Of expected versions the last one counts. */
void kv_txn_expect(struct kv_txn *txn, uint64_t version);
enum rc kv_txn_assert_value(struct kv_txn *txn, struct str key, struct str value);
enum rc kv_txn_assert_absent(struct kv_txn *txn, struct str key);
/* See kv_lease_take. */
enum rc kv_txn_assert_lease(struct kv_txn *txn, struct str name, uint64_t epoch);

/* Changes, applied in the order given. Keys and values are copied. RC_LIMIT or RC_PERM as above;
 * the transaction is as it was then. */
enum rc kv_txn_put(struct kv_txn *txn, struct str key, struct str value);
/* Of an absent key: no change, no error. */
enum rc kv_txn_delete(struct kv_txn *txn, struct str key);
/* Of an account's partition: a row of the cache partition of the same id, put or deleted with this
 * commit and unseen before it. That partition's version, asserts and watches know nothing of it.
 * Such a row may be lost, and one that was deleted so be there again: after a crash, and when much
 * has come that could not be written. For what is
 * made from the rows beside it and never changes: dearer would be a commit of its own. RC_PERM for
 * another class. */
enum rc kv_txn_put_cached(struct kv_txn *txn, struct str key, struct str value);
enum rc kv_txn_delete_cached(struct kv_txn *txn, struct str key);
/* All rows with from <= key < to; absent: from the beginning, to the end. */
enum rc kv_txn_trim(struct kv_txn *txn, struct str from, struct str to);

/* One reference of this partition more or less. The first one makes a finished blob durable with
 * this commit. Taking a reference on a blob that does not exist fails the commit with RC_NOTFOUND,
 * dropping one that is not held at that point with RC_CORRUPT. What is freed is decided at the end
 * of the transaction: dropping the last one and taking one again keeps the blob. */
enum rc kv_txn_ref(struct kv_txn *txn, struct kv_blob_id blob);
enum rc kv_txn_drop(struct kv_txn *txn, struct kv_blob_id blob);

size_t kv_txn_rows(const struct kv_txn *txn); /* what counts toward KV_TXN_ROWS */

struct kv_op {
    /* The caller's. done runs exactly once, on a back end's thread; the op is the caller's again
     * from then on. */
    void (*done)(struct kv_op *op);
    /* The result: RC_OK (published and durable), RC_CONFLICT, RC_NOTFOUND, RC_CORRUPT, RC_FULL,
     * RC_TEMP. */
    enum rc rc;
    uint64_t version; /* of the partition after this commit, when RC_OK */
    /* The back end's. */
    struct list link;
    struct kv_txn *txn;
    unsigned flags;
    struct kv_writer *writer;
    void *backend;
};

/* Queues the commit; takes the transaction. RC_OK: op->done will come. Anything else: it will not,
 * and the transaction has been freed: RC_LIMIT when too much is queued (answer "try later"),
 * RC_TEMP when read-only, RC_PERM for KV_LAZY outside KV_CACHE. */
enum rc kv_commit(struct kv *kv, struct kv_txn *txn, unsigned flags, struct kv_op *op);

/* The same and waits: for commands and tests, never on a loop. */
enum rc kv_commit_wait(struct kv *kv, struct kv_txn *txn, uint64_t *out_version);
enum rc kv_commit_lazy_wait(struct kv *kv, struct kv_txn *txn, uint64_t *out_version); /* KV_LAZY */

/* --- a partition's one writer queue ---------------------------------------------------------- */

/* Sees its own queued changes, predicts versions, and so can queue several commits without waiting.
 * One a partition at a time; the caller sees to that (an account's owner); somebody else's commit
 * to the partition makes the next one of the writer fail. Calls on one writer come from one thread
 * at a time. */
struct kv_writer;

enum rc kv_writer_open(struct kv *kv, struct kv_part part, unsigned flags, struct kv_writer **out);
void kv_writer_close(struct kv_writer **writer); /* nothing may be in flight */

uint64_t kv_writer_head(struct kv_writer *writer); /* version of the head view */
enum rc kv_writer_get(struct kv_writer *writer, struct str key, unsigned flags, struct arena *arena,
                      struct str *out_value);

/* kv_scan of the head view. RC_CONFLICT when something queued may change a row in the range, which
 * has both ends: get the rows one by one then. */
enum rc kv_writer_scan(struct kv_writer *writer, struct kv_range range, size_t max_rows,
                       unsigned flags, struct arena *arena, struct kv_page *out_page);

/* kv_commit with kv_txn_expect(head); the transaction is for the writer's partition. Once a commit
 * of the writer has failed, everything is RC_CONFLICT (and get sees the published state) until a
 * reload: whoever caches what it read from the head must load it anew, and kv_writer_is_failed
 * tells so. A commit that was refused at once (RC_LIMIT, RC_TEMP) leaves the writer as it was. */
enum rc kv_writer_commit(struct kv_writer *writer, struct kv_txn *txn, struct kv_op *op);
bool kv_writer_is_failed(struct kv_writer *writer);
/* The head becomes the published state again. RC_AGAIN while something is in flight (or the version
 * is not in memory, with KV_CACHED). */
enum rc kv_writer_reload(struct kv_writer *writer, unsigned flags);

/* --- blobs ----------------------------------------------------------------------------------- */

struct kv_blob_meta {
    uint64_t size;   /* bytes as stored */
    uint8_t codec;   /* 0: as is; the store's business */
    uint32_t key_id; /* 0: clear */
};

/* Writing: new, write*, finish or abort. A blob of up to KV_BLOB_SMALL bytes stays in memory until
 * its commit; a larger one goes to a file as it comes, and finish syncs it (on the caller's thread,
 * so not on a loop). A write is only copied to memory when the blob was not large before it: so ask
 * kv_blob_is_large before each write and before finish. */
struct kv_blob_out;
struct kv_blob_out *kv_blob_new(struct kv *kv, struct kv_part part, uint8_t codec, uint32_t key_id);
/* RC_FULL, RC_TEMP; abort the blob then. */
enum rc kv_blob_write(struct kv_blob_out *out, struct str bytes);
/* Over KV_BLOB_SMALL: writing more or finishing may touch the disk. */
bool kv_blob_is_large(const struct kv_blob_out *out);
uint64_t kv_blob_size(const struct kv_blob_out *out);
/* After RC_OK the blob is in the caller's hands until kv_blob_forget; commits made meanwhile may
 * refer to it. Frees the writer in every case. */
enum rc kv_blob_finish(struct kv_blob_out **out, struct kv_blob_id *out_id);
void kv_blob_abort(struct kv_blob_out **out);
/* The caller is done with a finished blob: all commits that were to refer to it have completed or
 * never will be made. */
void kv_blob_forget(struct kv *kv, struct kv_blob_id id);

/* Reading. Open pins the blob: its bytes stay readable until close, whatever is dropped meanwhile.
 * RC_NOTFOUND, RC_AGAIN, RC_TEMP, RC_CORRUPT. */
struct kv_blob_in;
enum rc kv_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags, struct kv_blob_in **out);
/* The same for several at once (at most KV_BLOBS_AT_ONCE), so that what has to be looked up is
 * looked up together: for reading many one after the other. Each has a result of its own; out is
 * NULL where it is not RC_OK. */
enum { KV_BLOBS_AT_ONCE = 64 };
void kv_blob_open_many(struct kv *kv, const struct kv_blob_id *ids, size_t n, unsigned flags,
                       struct kv_blob_in **out, enum rc *out_rcs);
struct kv_blob_meta kv_blob_meta(const struct kv_blob_in *in);
/* Up to n bytes from `offset` to `to`; *out_got < n only at the end. RC_CORRUPT when the checksum
 * of a chunk that was touched does not hold (nothing is given then), RC_AGAIN with KV_CACHED when
 * the bytes are not in memory. */
enum rc kv_blob_read(struct kv_blob_in *in, uint64_t offset, void *to, size_t n, unsigned flags,
                     size_t *out_got);
void kv_blob_close(struct kv_blob_in **in);

/* --- watches and leases ---------------------------------------------------------------------- */

/* Told after a commit to the partition was published: at least once, several commits may be told as
 * one, on a thread of the back end. A hint: the truth is the version. */
struct kv_watch {
    void (*changed)(struct kv_watch *watch, uint64_t version); /* must not block or call into kv */
    struct kv_part part; /* the caller's, set before kv_watch_add */
    /* The store's. */
    struct list link;
};
void kv_watch_add(struct kv *kv, struct kv_watch *watch);
/* No call is under way when this returns. Not from inside `changed`. */
void kv_watch_remove(struct kv *kv, struct kv_watch *watch);

/* Leases, for queue shards and jobs. The holder counts its time from before it asked, by its own
 * clock, and stops on doubt; every transaction that relies on it asserts the epoch, which is larger
 * with each new holder. Taking again under the same owner renews and keeps the epoch, unless it was
 * given back.
 *
 * A new holder's take is a commit to the partition, so it also fails what an earlier holder's
 * writer still has queued; take the lease before kv_writer_open. Renewing and giving are not.
 * Whether the time is over is judged by the store's wall clock. Both block. RC_CONFLICT: somebody
 * else's time is not over, or another taker was faster (take), it is not this owner's (give).
 * RC_PERM for a bad length; RC_TEMP and RC_FULL as commits. */
enum rc kv_lease_take(struct kv *kv, struct kv_part part, struct str name, struct str owner,
                      uint64_t ttl_ns, uint64_t *out_epoch);
enum rc kv_lease_give(struct kv *kv, struct kv_part part, struct str name, struct str owner);

/* Who has it, for administrators. RC_NOTFOUND: nobody ever; RC_CORRUPT: its rows are damaged, and
 * nobody can take it. */
struct kv_lease_state {
    uint64_t until; /* ns since 1970; 0: given back */
    char owner[KV_LEASE_NAME_MAX + 1];
};
enum rc kv_lease_look(struct kv *kv, struct kv_part part, struct str name,
                      struct kv_lease_state *out);
/* As if it had been given back, whoever has it and whatever its rows hold: for a damaged one. Who
 * had it finds its commits refused. */
enum rc kv_lease_reset(struct kv *kv, struct kv_part part, struct str name);

/* --- keeping --------------------------------------------------------------------------------- */

/* Compares every reference with every blob, reads every blob and checks its sums. report() gets a
 * line for each fault ("blob ...: ..."). RC_OK: sound; RC_CORRUPT: faults were reported; *out_*
 * (may be NULL) say what was looked at. */
struct kv_fsck {
    void (*report)(struct kv_fsck *fsck, const char *line);
    /* NULL, or told of how many references each partition holds to each blob, in no order. Must not
     * call kv. */
    void (*reference)(struct kv_fsck *fsck, struct kv_part part, const struct kv_blob_id *blob,
                      uint64_t count);
    uint64_t rows, blobs, bytes, faults; /* results */
};
enum rc kv_fsck(struct kv *kv, struct kv_fsck *fsck);

/* Room on the disk. Looks at it: may block. */
struct kv_space {
    uint64_t free;    /* bytes; UINT64_MAX: not known, or no such limit */
    uint64_t reserve; /* with less than this, commits answer RC_FULL */
};
void kv_space(struct kv *kv, struct kv_space *out);

/* A consistent copy in `dir` (made; must not exist: RC_EXISTS) while writing goes on. A store
 * opened from it has a larger generation. RC_PERM from a back end that keeps nothing. */
enum rc kv_backup(struct kv *kv, const char *dir);

/* Fills the store, which must be empty (RC_EXISTS), with what kv_backup of a back end of the same
 * kind has put into `dir`; its generation becomes larger than that one's. What an interrupted one
 * leaves is not to be used. RC_PERM from back ends whose copies are opened as they are, and for a
 * copy that another kind has made; RC_NOTFOUND: there is none. */
enum rc kv_restore(struct kv *kv, const char *dir);

/* --- copies of a store ------------------------------------------------------------------------ */

/* A store is its partitions; a copy of it in another store has the same rows, but blobs get other
 * ids there. So whoever keeps rows names the partitions (auth_partition, store_partition, ...) and
 * says at which bytes of a value the ids of those blobs stand that the partition holds a reference
 * to for this row: one each, at most KV_ROW_BLOBS (store_row_blobs, ...). */
enum { KV_ROW_BLOBS = 128 };

/* --- the back ends --------------------------------------------------------------------------- */

/* In memory, for tests: the reference of the contract. Counts what is read and written. */
struct kv_mem_stats {
    uint64_t keys_read; /* asked for by kv_get, found or not, and looked up by asserts */
    uint64_t
        keys_written; /* puts, deletes and rows that trims removed; of commits that succeeded */
    uint64_t scans;   /* calls of kv_scan */
    uint64_t rows_scanned; /* rows they gave */
    uint64_t blobs_read;   /* calls of kv_blob_read */
    uint64_t commits;      /* that succeeded */
};

/* Here and below: the context stays the caller's, until kv_close. */
struct kv *kv_mem_new(const struct ctx *ctx);
void kv_mem_stats(struct kv *kv, struct kv_mem_stats *out);
/* True: queued commits wait unpublished until false; lazy ones do not. */
void kv_mem_hold(struct kv *kv, bool hold);
/* The next n of the held commits go through, in order, as far as there are some or when they come.
 */
void kv_mem_step(struct kv *kv, size_t n);
/* True: reads with KV_CACHED answer RC_AGAIN. */
void kv_mem_cold(struct kv *kv, bool cold);
/* The next commit fails so at its turn; RC_TEMP also makes the store read-only. */
void kv_mem_fail(struct kv *kv, enum rc rc);
/* Reads of rows whose key begins so fail so from now on; RC_OK: none does. The prefix stays the
 * caller's. */
void kv_mem_fail_reads(struct kv *kv, struct str prefix, enum rc rc);
/* What kv_room goes by from now on; commits are not held to it. */
void kv_mem_shrink(struct kv *kv, uint64_t room);
/* As if restored from a backup: the generation grows. */
void kv_mem_restored(struct kv *kv);

/* On one machine's disk. Every member has a default when 0. */
struct kv_local_conf {
    const char *path;       /* the data folder; made when missing (its parent must exist) */
    uint64_t segment_bytes; /* size of a segment: 256 MB */
    uint64_t memory_bytes;  /* of RocksDB, caches and write buffers together: 64 MB */
    uint64_t queue_bytes;   /* queued and uncommitted, above which commits are refused: 64 MB */
    uint64_t clean_rate;    /* bytes a second that segment cleaning may copy: 16 MB */
    uint64_t reserve_bytes; /* free space below which all writing answers RC_FULL: 64 MB */
    bool read_only;         /* look, never write: for fsck beside a broken disk */
};
/* Takes the folder's lock: RC_CONFLICT when another process has it open. RC_CORRUPT, RC_DENIED,
 * RC_FULL, RC_TEMP: the cause is logged. */
enum rc kv_local_open(const struct ctx *ctx, const struct kv_local_conf *conf, struct kv **out);

/* Rebuilds the segment's list of live blobs and removes unused segments now, without the rate
 * limit: for tests and `fsck`. */
enum rc kv_local_clean(struct kv *kv);

/* On a Ceph cluster. Every member has a default when NULL or 0. The strings stay the caller's until
 * kv_close. */
struct kv_rados_hooks;
struct kv_rados_conf {
    const char *plugin;     /* path of the plug-in: <libdir>/penfold/penfold-rados.so */
    const char *conf;       /* ceph.conf: where Ceph looks for it itself */
    const char *client;     /* "client.penfold" */
    const char *keyring;    /* what ceph.conf names */
    const char *index_pool; /* replicated; rows live in it: "penfold" */
    const char *body_pool;  /* may be erasure-coded; blobs live in it: the index pool */
    const char *name;       /* namespace in both pools, so that several stores fit: "penfold" */
    uint64_t memory_bytes;  /* of partitions in memory: 256 MB */
    uint64_t body_bytes;    /* of blobs in memory that nobody reads just now: 1 GB, or a quarter of
                               the machine's memory where that is less */
    uint64_t queue_bytes;   /* queued and uncommitted, above which commits are refused: 64 MB */
    uint32_t in_flight;     /* operations at the cluster at once: 512; at most 900 */
    uint32_t threads;       /* that prepare and complete commits: 4 */
    uint32_t connect_ms;    /* after which opening gives up: 30,000 */
    uint32_t read_ms;       /* after which a read answers RC_TEMP: 60,000 */
    uint32_t beat_ms;       /* how often a process tells the others that it lives, which clean up
                               behind one that has not for six times as long: 10,000 */
    uint32_t trust_ms;      /* a partition in memory is compared with the cluster when a call that
                               may wait reads it and it was not for so long: 5,000 */
    uint32_t head_rows;  /* of a partition, above which, or above 2 KB for each of which, rows are
                            folded into shards: 8,192 */
    uint32_t shard_rows; /* of a shard, above which it is split: 32,768; each 2 KB of a large row
                            counts for one */
    const struct kv_rados_hooks *hooks; /* tests' only */
};
/* What a test does to the back end. Either may be NULL. */
enum kv_rados_fate {
    KV_RADOS_DONE,  /* as usual */
    KV_RADOS_LOST,  /* a write is done, and its answer gets lost */
    KV_RADOS_LATE,  /* its answer is lost, and it is done half a second later */
    KV_RADOS_NEVER, /* its answer is lost, and it is not done */
    KV_RADOS_FENCED /* not done: the cluster has shut this client out */
};
struct kv_rados_hooks {
    /* At a named step, on the thread that takes it; may end the process or wait. */
    void (*step)(const struct kv_rados_hooks *hooks, const char *name);
    /* What becomes of a write to the object. */
    enum kv_rados_fate (*fate)(const struct kv_rados_hooks *hooks, const char *object);
};
/* Connects: call it after the last fork. One a process is enough. RC_NOTFOUND: the plug-in (package
 * penfold-rados) or a pool is not there; RC_DENIED, RC_TEMP, RC_CORRUPT, RC_PERM (the plug-in is of
 * another version): the cause is logged. */
enum rc kv_rados_open(const struct ctx *ctx, const struct kv_rados_conf *conf, struct kv **out);
/* Only loads the plug-in, with the same errors: for a process that will not read such files any
 * more when it opens the store. */
enum rc kv_rados_load(const struct ctx *ctx, const struct kv_rados_conf *conf);

#endif
