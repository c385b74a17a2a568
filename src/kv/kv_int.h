/* kv, inside: what a back end is, and what all of them share.
 *
 * A back end is a table of functions and a struct that begins with struct kv. The public calls
 * (kv.c) check their arguments once and then go through the table: one hop. What can be written
 * once over any back end is: transactions (txn.c), the writer's head view (writer.c), watches
 * (watch.c), leases (lease.c).
 *
 * THE WAY OF A COMMIT in a back end, in the order of the queue:
 *   1. commit() puts the op into the queue, or refuses it. It never completes it.
 *   2. At its turn: kv_op_is_doomed(op), then the asserts of op->txn against the state just before
 *      it. A failure is said at once by kv_op_fail, which dooms what the same writer queued
 *      behind it.
 *   3. It is made durable (lazy: not yet), then published, op->version set, op->rc RC_OK;
 *      kv_watches_tell.
 *   4. kv_op_complete, on a thread of the back end, holding none of its locks: the writer drops
 *      what is published now, the transaction is freed, the caller is told.
 * Commits of one partition complete in the order in which they were queued.
 */
#ifndef KV_KV_INT_H
#define KV_KV_INT_H

#include "kv/kv.h"

#include "base/buf.h"
#include "base/map.h"

#include <stdatomic.h>

/* --- transactions, encoded ------------------------------------------------------------------ */

struct kv_txn {
    struct kv_part part;
    bool has_expect;
    uint64_t expect;  /* when has_expect */
    uint64_t version; /* of a copy: the partition's version after it; 0: one more than before */
    size_t rows;      /* items */
    size_t bytes;     /* of keys and values */
    struct buf items;
};

enum kv_item_kind {
    KV_ITEM_ASSERT_VALUE,
    KV_ITEM_ASSERT_ABSENT,
    KV_ITEM_PUT,
    KV_ITEM_DELETE,
    KV_ITEM_TRIM, /* key <= rows < value; both present, key may be empty */
    KV_ITEM_REF,
    KV_ITEM_DROP,
    KV_ITEM_PUT_CACHED, /* in the cache partition of the same id */
    KV_ITEM_DELETE_CACHED
};

struct kv_item {
    enum kv_item_kind kind;
    struct str key;   /* views into the transaction */
    struct str value; /* puts, asserted values, the end of a trim */
    struct kv_blob_id blob;
};

/* The items in the order in which they were added, asserts among them (look at those first, all of
 * them). Start with *pos = 0; false at the end. */
bool kv_txn_next(const struct kv_txn *txn, size_t *pos, struct kv_item *out_item);

/* The store's own rows: the checks on lengths and limits, but not on the reserved prefix. */
enum rc kv_txn_add(struct kv_txn *txn, enum kv_item_kind kind, struct str key, struct str value);

/* The first byte of every key of the store's own. No scan or trim of a user reaches it. */
#define KV_RESERVED STR("\xff")

uint64_t kv_part_hash(struct kv_part part); /* for maps; not for storing */
bool kv_blob_id_is_zero(struct kv_blob_id id);

/* One fault more: counted, and reported as a line. */
void kv_fsck_fault(struct kv_fsck *fsck, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- a back end ----------------------------------------------------------------------------- */

/* Arguments have been checked. What each must answer is written in kv.h at the call of its name. */
struct kv_backend {
    const char *name;
    void (*close)(struct kv *kv); /* all of it; calls kv_fini */
    enum kv_state (*state)(struct kv *kv, const char **out_why);
    enum rc (*room)(struct kv *kv, uint64_t bytes);
    uint64_t (*generation)(struct kv *kv);
    enum rc (*generation_set)(struct kv *kv, uint64_t generation); /* it is larger */

    enum rc (*version)(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version);
    /* out_values are absent at the start; out_version may be NULL. Reserved keys are read too. */
    enum rc (*get)(struct kv *kv, struct kv_part part, const struct str *keys, size_t n,
                   unsigned flags, struct arena *arena, struct str *out_values,
                   uint64_t *out_version);
    /* Of range.from and range.after at most one is present; range.to always is, and is greater
     * than them. 0 < max_rows <= KV_PAGE_ROWS. *out_page is zeroed. */
    enum rc (*scan)(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                    unsigned flags, struct arena *arena, struct kv_page *out_page);

    /* Queues op: op->txn, flags, writer and done are set. When refused, the op is left alone. */
    enum rc (*commit)(struct kv *kv, struct kv_op *op);

    /* The back end's own struct, beginning with struct kv_blob_out; kv.c fills that in. */
    struct kv_blob_out *(*blob_new)(struct kv *kv);
    /* out->size: before this write. At most KV_BLOB_SMALL: only copy the bytes to memory. */
    enum rc (*blob_write)(struct kv_blob_out *out, struct str bytes);
    enum rc (*blob_finish)(struct kv_blob_out *out, struct kv_blob_id *out_id); /* frees `out` */
    void (*blob_abort)(struct kv_blob_out *out);                                /* frees `out` */
    void (*blob_forget)(struct kv *kv, struct kv_blob_id id);
    /* Fills in all of struct kv_blob_in. */
    enum rc (*blob_open)(struct kv *kv, struct kv_blob_id id, unsigned flags,
                         struct kv_blob_in **out);
    /* Without KV_CACHED; NULL: one by one. */
    void (*blob_open_many)(struct kv *kv, const struct kv_blob_id *ids, size_t n,
                           struct kv_blob_in **out, enum rc *out_rcs);
    /* offset < meta.size; n > 0 and not beyond the end: all of it is read or nothing. */
    enum rc (*blob_read)(struct kv_blob_in *in, uint64_t offset, void *to, size_t n,
                         unsigned flags);
    void (*blob_close)(struct kv_blob_in *in);

    enum rc (*fsck)(struct kv *kv, struct kv_fsck *fsck); /* results are zeroed */
    enum rc (*backup)(struct kv *kv, const char *dir);
    void (*space)(struct kv *kv, struct kv_space *out); /* NULL: no limit */
    enum rc (*restore)(struct kv *kv,
                       const char *dir); /* NULL: its copies are opened as they are */
    /* All partitions that were ever written to, in no order. Cached rows alone may not count. */
    enum rc (*each_part)(struct kv *kv, enum rc (*each)(void *arg, struct kv_part part), void *arg);
};

struct kv_watches {
    pthread_mutex_t mutex; /* held while a watch is told, so that removing one waits */
    struct map by_part;    /* struct watched, in watch.c */
    _Atomic size_t count;
};

/* A back end's struct begins with this one. */
struct kv {
    const struct kv_backend *backend;
    const struct ctx *ctx;
    struct kv_watches watches;
};

void kv_init(struct kv *kv, const struct kv_backend *backend, const struct ctx *ctx);
void kv_fini(struct kv *kv);

/* A back end's blob handles begin with these. */
struct kv_blob_out {
    struct kv *kv;
    struct kv_part part;  /* for which it is written: a hint for its place */
    struct kv_blob_id id; /* of a copy: the id that it gets; all zero: one that nobody has */
    struct kv_blob_meta meta;
};

struct kv_blob_in {
    struct kv *kv;
    struct kv_blob_id id;
    struct kv_blob_meta meta;
};

/* Tells those who watch the partition; after publishing, on a thread of the back end, holding none
 * of its locks. Cheap when nobody watches. */
void kv_watches_tell(struct kv *kv, struct kv_part part, uint64_t version);

/* --- commits -------------------------------------------------------------------------------- */

/* At the op's turn: an earlier commit of its writer has failed, so this one has to. */
bool kv_op_is_doomed(const struct kv_op *op);

/* The op fails for this reason (with RC_CONFLICT when it is doomed already) and so does all that
 * its writer queued behind it. In the order of the queue; completes nothing. */
void kv_op_fail(struct kv_op *op, enum rc rc);

/* The last thing a back end does with an op, once, with op->rc (and op->version) set. */
void kv_op_complete(struct kv *kv, struct kv_op *op);

/* writer.c, for the above. */
void kv_writer_fail(struct kv_writer *writer);
void kv_writer_completed(struct kv_writer *writer);
bool kv_writer_has_failure(const struct kv_writer *writer);

/* The file that a copy in the form of kv_local has in its folder until it is first opened, which
 * makes its generation grow. */
#define KV_RESTORED "restored"

/* --- copies --------------------------------------------------------------------------------- */

/* The partition as it is in `from`, see copy.c. KV_COPY_REFS: `to` is a back end that keeps no rows
 * of references of its own; the partition may be copied again, and in the end kv_copy_settle is
 * called for it. Otherwise the partition must be empty there. */
enum { KV_COPY_REFS = 1 };
enum rc kv_copy_part(struct kv *from, struct kv *to, struct kv_part part, unsigned flags);
/* When nothing is copied into `to` any more: gives up references that it should not have. */
enum rc kv_copy_settle(struct kv *to, struct kv_part part);

/* --- back ends in plug-ins ------------------------------------------------------------------ */

/* A plug-in is a shared object that exports this one symbol, `kv_plugin`. It takes the functions of
 * base, task and kv from the program that loads it and shares the structs of this header with it,
 * so both must be of one version of Penfold. */
struct kv_plugin {
    const char *version; /* PENFOLD_VERSION; stays the first member */
    const char *name;
    enum rc (*open)(const struct ctx *ctx, const struct kv_rados_conf *conf, struct kv **out);
};

#endif
