/* kv_local, inside: what its files share. The way through:
 *
 *   kv_local.c          opening and closing, the table of calls, the end of writing
 *   kv_local_rows.c     reading rows; how keys of the store's own look in RocksDB
 *   kv_local_blob.c     blobs in somebody's hands; writing, opening and reading them
 *   kv_local_queue.c    the committer's queue and thread: takes groups, completes them
 *   kv_local_group.c    one group: checked, stored, published
 *   kv_local_apply.c    one transaction: its asserts and changes against the group's head
 *   kv_local_redo.c     rows that stand for records not synced yet, of a message that came alone
 *   kv_local_recover.c  what was there at open
 *   kv_local_clean.c    the cleaner: segments rewritten, files without rows removed
 *   kv_local_fsck.c, kv_local_backup.c
 *   kv_local_segment.c, _large.c, _record.c, _rocks.c, _file.c: what they stand on
 *
 * Locks: blobs.mutex, then segments.mutex; queue.mutex alone. None is held over a read, write or
 * sync of a disk. */
#ifndef KV_KV_LOCAL_INT_H
#define KV_KV_LOCAL_INT_H

#include "kv/kv_int.h"
#include "kv/kv_local_large.h"
#include "kv/kv_local_rocks.h"
#include "kv/kv_local_segment.h"
#include "kv/kv_record.h"

#include <semaphore.h>

struct local;

/* --- rows of the store's own, in family meta (classes of partitions are capitals) ------------- */

enum { ROW_FORMAT = 1, ROW_KEY_MAX = 9 + KV_KEY_MAX };

struct row_key {
    size_t n;
    char b[ROW_KEY_MAX + 1];
};
static inline struct str row_key_str(const struct row_key *key)
{
    return (struct str){key->b, key->n};
}
/* class, id8, key. The row with an empty key holds the partition's version. */
void local_key_part(struct row_key *to, struct kv_part part, struct str key);
void local_key_blob(struct row_key *to, const struct kv_blob_id *id); /* 'b' id16 */
void local_key_segment(struct row_key *to, uint32_t number);          /* 's' number4 */
void local_key_store(struct row_key *to, char which);                 /* 'm' and one of: */
enum { STORE_COMMIT = 'c', STORE_GENERATION = 'g' };
enum rocks_family local_family(struct kv_part part);

enum { ROW_NUMBER = 9, ROW_SEGMENT = 17 };
struct str local_row_number(unsigned char *to, uint64_t number); /* format, number8 */
enum rc local_row_number_parse(struct str row, uint64_t *out);
struct str local_row_segment(unsigned char *to,
                             struct segment_state state); /* format, end8, live8 */
enum rc local_row_segment_parse(struct str row, struct segment_state *out);

/* Where a blob is and who refers to it: format, place, codec, key id4, size8, segment4, offset8,
 * n4, n x (class, id8, count4) */
enum blob_place { BLOB_UNKNOWN, BLOB_SEGMENT, BLOB_LARGE, BLOB_MEMORY /* never in a row */ };
struct blob_at {
    enum blob_place place;
    uint32_t segment;
    uint64_t offset;
};
struct blob_ref {
    struct kv_part part;
    uint32_t count;
};
struct blob_row {
    struct blob_at at;
    struct kv_blob_meta meta;
    struct blob_ref *refs;
    size_t n, capacity;
};
void local_row_blob(struct buf *to, const struct blob_row *row);
enum rc local_row_blob_parse(struct str value,
                             struct blob_row *out); /* out->refs is malloc'd; may be NULL */
/* RC_NOTFOUND, RC_AGAIN, RC_CORRUPT */
enum rc local_row_blob_load(struct local *l, const struct kv_blob_id *id, bool is_cached,
                            struct blob_row *out);
/* n up to KV_BLOBS_AT_ONCE; each has a result of its own. */
void local_row_blob_load_many(struct local *l, const struct kv_blob_id *ids, size_t n,
                              struct blob_row *out, enum rc *out_rcs);

enum rc local_row_version(struct local *l, struct kv_part part, bool is_cached,
                          uint64_t *out_version);

/* kv_local_rows.c, for the table of calls */
enum rc local_version(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version);
enum rc local_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n,
                  unsigned flags, struct arena *arena, struct str *out_values,
                  uint64_t *out_version);
enum rc local_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                   unsigned flags, struct arena *arena, struct kv_page *out_page);

/* --- blobs in hands --------------------------------------------------------------------------- */

/* A blob that somebody holds: who finished it, each open reader, the committer while it is in a
 * group. One that nobody holds is known by its row alone. */
struct blob {
    struct map_node node;
    struct kv_blob_id id;
    struct kv_part part;
    struct kv_blob_meta meta;
    struct blob_at at; /* BLOB_UNKNOWN until the row has been read */
    unsigned hands;
    bool has_row;   /* published: some partition refers to it */
    bool is_linked; /* a large file has its name */
    int fd;         /* a large file since it was written; -1 otherwise */
    unsigned char
        *record; /* a small blob since it was written, as it goes into a segment; NULL otherwise */
};

struct blobs {
    pthread_mutex_t mutex;
    struct map by_id;
    struct list doomed; /* large files that nobody refers to or holds; the cleaner unlinks them */
};

void local_blobs_init(struct blobs *b);
void local_blobs_fini(struct local *l);

/* One more hand. local_blob_enter: makes the entry when there is none, with at.place BLOB_UNKNOWN;
 * local_blob_find: NULL then. */
struct blob *local_blob_enter(struct local *l, const struct kv_blob_id *id);
struct blob *local_blob_find(struct local *l, const struct kv_blob_id *id);
void local_blob_release(struct local *l, struct blob *blob);
/* What a row says goes into an entry that knew nothing. */
void local_blob_learn(struct local *l, struct blob *blob, const struct blob_row *row);
/* A copy of what the entry says now. */
struct blob local_blob_look(struct local *l, struct blob *blob);
/* A commit has been published: the blob is at `at`, with or without a row. */
void local_blob_publish(struct local *l, struct blob *blob, struct blob_at at, bool has_row);
size_t local_blob_weight(
    struct local *l,
    const struct kv_blob_id *id); /* bytes that a commit referring to it will write */
void local_blobs_unlink_doomed(struct local *l); /* the cleaner, unless held back */

struct kv_blob_out *local_blob_new(struct kv *kv);
enum rc local_blob_write(struct kv_blob_out *out, struct str bytes);
enum rc local_blob_finish(struct kv_blob_out *out, struct kv_blob_id *out_id);
void local_blob_abort(struct kv_blob_out *out);
void local_blob_forget(struct kv *kv, struct kv_blob_id id);
enum rc local_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags,
                        struct kv_blob_in **out);
void local_blob_open_many(struct kv *kv, const struct kv_blob_id *ids, size_t n,
                          struct kv_blob_in **out, enum rc *out_rcs);
enum rc local_blob_read(struct kv_blob_in *in, uint64_t offset, void *to, size_t n, unsigned flags);
void local_blob_close(struct kv_blob_in *in);

/* --- the committer ---------------------------------------------------------------------------- */

enum work_kind {
    WORK_COMMIT, /* op */
    WORK_MOVE,   /* a record, from where it is to the current segment */
    WORK_REMOVE  /* a segment, when nothing in it is live */
};

/* One thing in the queue. */
struct work {
    struct list link;
    enum work_kind kind;
    uint64_t weight; /* bytes it will write, about */
    struct kv_op *op;
    struct work_move *move;
    uint32_t segment;
    enum rc rc;
    void (*done)(struct work *work); /* moves and removals; a commit completes its op instead */
    void *arg;                       /* done's */
};

struct work_move {
    struct kv_blob_id id;
    uint32_t segment; /* the place it has; elsewhere by now: nothing to do */
    uint64_t offset;
    unsigned char *record; /* the whole record; its frame is rewritten */
    size_t bytes;
};

struct queue {
    pthread_mutex_t mutex;
    sem_t wake;
    struct list works;
    uint64_t bytes;
    bool is_closing, is_running;
    bool is_asleep; /* the committer waits for `wake` */
    pthread_t thread;
};

void local_queue_start(struct local *l);
void local_queue_stop(struct local *l); /* runs all that waits, then ends the thread */
enum rc local_queue_post(struct local *l, struct work *work);
enum rc local_commit(struct kv *kv, struct kv_op *op);

/* A partition as the committer knows it. */
struct part {
    struct map_node node;
    struct list lru;
    struct kv_part part;
    uint64_t now, head; /* versions: published, with the group under way */
    struct list link;   /* in the group's touched ones; its own when not among them */
    struct kv_op **ops; /* applied in this group, in order */
    size_t n_ops, ops_capacity;
};

/* A blob that the group under way has something to do with. */
struct group_blob {
    struct map_node node;
    struct list link; /* in the group, in the order of first use */
    struct kv_blob_id id;
    struct blob *blob;   /* with a hand of the group's */
    struct blob_row row; /* head: references as after this group */
    bool had_row, is_changed;
    struct blob_at to;      /* where it will be after the group */
    struct work_move *move; /* NULL: stays where it is */
};

struct group {
    struct local *local;
    struct list works; /* all that was taken, in order */
    struct list parts; /* touched */
    struct map blobs;  /* struct group_blob */
    struct list blob_list;
    struct rocks_batch *batch;
    struct buf row;  /* one blob row, while it is made */
    uint64_t commit; /* this group's number */
    size_t n_applied;
    bool is_synced;         /* something in it is not lazy */
    bool is_short, is_full; /* little space; next to none */
    bool is_deferred;       /* rows stand for its records; their segment is not synced */
    size_t n_redo;          /* such rows that there will be after it */
};

void local_group_init(struct group *g, struct local *l);
void local_group_fini(struct group *g);
void local_group_run(struct group *g); /* all works have their results, published or failed; the
                                          rest is empty again */

/* The transaction against the head; RC_OK: it is part of the head now. Otherwise nothing has
 * changed. */
enum rc local_apply(struct group *g, struct kv_op *op);
enum rc local_apply_move(struct group *g, struct work_move *move);

struct parts {
    struct map by_part;
    struct list lru; /* oldest first */
};
void local_parts_init(struct parts *p);
void local_parts_fini(struct parts *p);
void local_parts_shrink(struct parts *p); /* between groups */

/* --- records not synced yet ------------------------------------------------------------------- */

#define REDO_FAMILY ROCKS_QUEUE /* short-lived rows */
enum {
    REDO_ROWS = 64,
    REDO_BYTES = 8 << 10 /* of a group's records, above which its segment is synced */
};

/* Places of the records that have a row: the committer's. In a store that is read only, what there
 * was at open. */
struct redo {
    size_t n;
    struct blob_at at[REDO_ROWS];
};

/* A row: 'i' segment4 offset8 -> format, the record as in the segment. */
struct redo_row {
    struct blob_at at;
    struct record head;
    struct str record;
};

bool local_redo_will_do(struct group *g); /* before the group's records are placed */
void local_redo_put_rows(struct group *g);
void local_redo_settle(struct local *l); /* syncs the segment and deletes all rows: at the end */
/* Until visit returns something else than RC_OK, or to the end. row is NULL for one that is
 * damaged. */
enum rc local_redo_each(struct local *l,
                        enum rc (*visit)(void *arg, struct str key, const struct redo_row *row),
                        void *arg);
/* Before the files of segments are looked at. */
enum rc local_redo_recover(struct local *l);
/* In a store that is read only: where the bytes of the segment begin for which there are rows;
 * UINT64_MAX: nowhere, or they have been written. */
uint64_t local_redo_begin(struct local *l, uint32_t segment);

/* --- cleaning, recovery, keeping -------------------------------------------------------------- */

struct cleaner {
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    bool is_running, is_closing, is_kicked, is_unlinking;
    unsigned holds;       /* backups and checks under way: nothing is unlinked */
    pthread_mutex_t pass; /* one pass at a time */
    pthread_t thread;
};
void local_cleaner_init(struct local *l);
void local_cleaner_fini(struct local *l);
void local_cleaner_start(struct local *l);
void local_cleaner_stop(struct local *l);
void local_cleaner_kick(struct local *l);
/* While somebody holds, nothing is unlinked (+1 returns when no unlink is under way; -1 lets go).
 */
void local_cleaner_hold(struct local *l, int change);

/* Reads what was there; finds out whether commits are missing. */
enum rc local_recover(struct local *l);
enum rc local_generation_set(struct kv *kv, uint64_t generation);
/* One pass over all sparse segments, large files without rows, doomed files. */
enum rc local_clean_pass(struct local *l, bool is_limited);
enum rc local_fsck(struct kv *kv, struct kv_fsck *fsck);
enum rc local_backup(struct kv *kv, const char *dir);
enum rc local_each_part(struct kv *kv, enum rc (*each)(void *arg, struct kv_part part), void *arg);

/* --- the store -------------------------------------------------------------------------------- */

struct local {
    struct kv kv;
    struct ctx ctx;
    struct kv_local_conf conf;
    char *path;
    int dir, lock;
    struct rocks *rocks;
    struct segment_log segments;
    struct large_files larges;
    struct blobs blobs;
    struct queue queue;
    struct cleaner cleaner;
    struct parts parts; /* the committer's */
    struct redo redo;
    uint64_t commit; /* the committer's: number of the last durable group */
    uint64_t generation;
    _Atomic bool is_readonly;
    char why[256]; /* set once, before is_readonly */
    pthread_mutex_t why_mutex;
};

static inline struct local *local_of(struct kv *kv)
{
    return (struct local *)kv;
}

/* Ends all writing for good: `what` failed, with this result. */
void local_fail_for_good(struct local *l, const char *what, enum rc rc);
/* Bytes free for the store beyond nothing; UINT64_MAX when unknown. */
uint64_t local_free_space(struct local *l);

#endif
