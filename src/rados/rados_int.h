/* kv_rados, inside: what its files share. The protocol is docs/internals/rados.md; the contract is
 * kv.h. Names begin with rad_, since librados has taken rados_. The way through:
 *
 *   link.c     the cluster: the one file that knows librados
 *   store.c    opening and closing, the table of calls, the end of writing
 *   key.c      how keys, values and the state of a partition look in omaps
 *   part.c     partitions in memory: found, pinned, put out when memory is short
 *   load.c     from the cluster to memory: heads, pages and rows of shards
 *   rows.c     one partition's rows in memory, out of head, trims and pages: get and scan
 *   read.c     the reads of kv.h: from memory, loading what is not there
 *   change.c   what a commit is going to change: a view over a partition, an operation on its head
 *   commit.c   a partition's queue and its turns; group.c: what is queued, checked and told;
 *              answer.c: at the cluster, resolved when unknown; lazy.c: rows of caches
 *   fold.c     rows from heads to shards, shards that split (fold_shard.c, fold_clean.c)
 *   blob.c     blobs
 *
 * OBJECTS of the index pool (all in the store's namespace): the store's own, one head a partition,
 * shards. A head's omap holds "a" the state, "d..." trims, "m..." the map of shards, "r..." rows,
 * "x..." marks: shards to be removed. A shard's holds "a" the fence and "r..." rows.
 *
 * THE STATE ROW is the guard of every operation on a head: each one compares the whole row with
 * what is known and replaces it, with an id that no other operation has. So a row that compares
 * equal means: nothing has happened since. It holds the last id of each of the processes that were
 * the last to change it, by which one whose answer got lost finds out what became of its operation.
 *
 * WHAT A PARTITION'S ROWS ARE: a row of the head counts (a tombstone: there is none); otherwise,
 * when a trim covers the key, there is none; otherwise what the shard says.
 *
 * LOCKS, in this order: a partition's mutex, the mutex of all partitions, the link's. None is held
 * over a call that waits, nor while somebody outside is told anything. */
#ifndef RADOS_RADOS_INT_H
#define RADOS_RADOS_INT_H

#include "kv/kv_int.h"
#include "kv/rows.h"

#include "rados/link.h"

#include "task/task.h"

struct rad;
struct rad_part;
struct rad_change;

/* --- keys, values, states (key.c) ------------------------------------------------------------ */

enum {
    RAD_FORMAT = 1,
    RAD_RING = 16,                           /* processes that a state remembers */
    RAD_OMAP_KEY = 1 + 2 * (KV_KEY_MAX + 1), /* of a row, or of the place right behind one */
    RAD_OBJECT = 64,                         /* bytes of an object's name */
    RAD_STATE = 1 + 8 + 8 + 8 + 16 * RAD_RING
};

struct rad_key {
    size_t n;
    char b[RAD_OMAP_KEY + 1];
};
static inline struct str rad_key_str(const struct rad_key *key)
{
    return (struct str){key->b, key->n};
}
/* "r" and the key without NUL: 00 is 01 01 and 01 is 01 02, which keeps the order. */
void rad_key_row(struct rad_key *to, struct str key);
/* Back; RC_CORRUPT when it is no row's. *out has no "r". */
enum rc rad_key_row_parse(struct str omap_key, struct rad_key *out);

#define RAD_STATE_KEY STR("a") /* of a head: its state; of a shard: its fence */

/* Values of rows: a byte that says what it is, the bytes. */
enum rad_value_kind { RAD_VALUE_ROW = 1, RAD_VALUE_TOMBSTONE = 2 };

/* Of an operation on a head: of the process, by which the first half is the same; random. */
struct rad_id {
    unsigned char b[16];
};
enum { RAD_ID_PROCESS = 8 };
struct rad_state {
    uint64_t version;
    uint64_t epoch;    /* of the fold that began last; 0: none */
    uint64_t finished; /* of the one that ended last */
    /* The last operation of each of the processes that changed the head last, the latest one first;
     * zeroes at the end. */
    struct rad_id ids[RAD_RING];
};
struct str rad_state_pack(unsigned char to[RAD_STATE], const struct rad_state *state);
enum rc rad_state_parse(struct str row, struct rad_state *out);
bool rad_id_eq(const struct rad_id *a, const struct rad_id *b);
bool rad_id_is_none(const struct rad_id *id);
bool rad_id_is_of(const struct rad_id *a, const struct rad_id *b); /* the same process */
/* The state after one more operation. */
struct rad_state rad_state_next(struct rad *rad, const struct rad_state *state);

void rad_name_head(char to[RAD_OBJECT], struct kv_part part); /* p.A.<id> */
bool rad_name_head_parse(struct str name, struct kv_part *out);
bool rad_name_shard_parse(struct str name, struct kv_part *out, uint64_t *out_number);
void rad_name_shard(char to[RAD_OBJECT], struct kv_part part, uint64_t number); /* s.A.<id>.<n> */
/* A fence: format, epoch in 16 hex digits: RADOS compares signed characters. Absent: 0. */
enum { RAD_FENCE = 17 };
struct str rad_fence_pack(unsigned char to[RAD_FENCE], uint64_t epoch);
enum rc rad_fence_parse(struct str row, uint64_t *out_epoch);

/* Keys and values of a head beside the state and the rows of the partition. */
enum { RAD_HEAD_VALUE = 1 + 8 + 8 + 2 * (2 + KV_KEY_MAX + 1) };
struct rad_trim;
struct rad_shard;
void rad_key_trim(struct rad_key *to, uint64_t number);
void rad_key_shard(struct rad_key *to, uint64_t number);
void rad_key_mark(struct rad_key *to, uint64_t number);
enum rc rad_key_number(struct str omap_key, uint64_t *out);
/* Trims: format, from, to. Shards of the map: format, touched8, rows8, first. What is parsed are
 * views. */
struct str rad_trim_pack(unsigned char to[RAD_HEAD_VALUE], const struct rad_trim *trim);
enum rc rad_trim_parse(struct str row, struct str *out_from, struct str *out_to);
struct str rad_shard_pack(unsigned char to[RAD_HEAD_VALUE], const struct rad_shard *shard);
enum rc rad_shard_parse(struct str row, struct rad_shard *out);

/* --- a partition in memory (part.c, rows.c) -------------------------------------------------- */

/* A range of keys that was removed; hides what shards hold of it. */
struct rad_trim {
    struct list link;
    uint64_t number;     /* its row is "d" and this in hex; larger than that of every earlier one */
    uint64_t stamp;      /* as a row's */
    struct str from, to; /* owned, in one piece with the trim */
};

/* A shard, as the map in the head has it. The shards of a partition are in key order and cover all
 * keys, or there are none. */
struct rad_shard {
    uint64_t number;  /* of its object and its row in the map; never used again in the partition */
    uint64_t touched; /* the finished fold that changed it last: what was read before is void */
    uint64_t rows;    /* at most; a large one counts for several, by fold_weight */
    struct str first; /* owned; the first shard's is empty */
};

struct rad_shards {
    struct rad_shard *shard; /* owned */
    size_t n;
};

/* What a head holds. */
struct rad_head {
    bool exists; /* there is such an object */
    struct rad_state state;
    struct kv_rows rows; /* key -> stamp8 (host order), bytes; without bytes: a tombstone */
    struct list trims;   /* struct rad_trim, by number */
    struct rad_shards shards;
    struct kv_rows marks; /* rows "x": number8 -> the value as it is stored */
};

/* Rows of a shard as they were read: all from `from` to before `to`. */
struct rad_page {
    struct list lru;     /* in the partition */
    struct str from, to; /* `to` absent: to the end */
    uint64_t shard;      /* its number */
    size_t bytes;
    size_t n;
    struct kv_row rows[]; /* all in one piece with the page */
};

/* Where the work on a partition stands. */
struct rad_work;

struct rad_part {
    struct map_node node; /* rad.parts */
    struct list lru;      /* rad.parts, when not pinned */
    struct rad *rad;
    struct kv_part part;
    char object[RAD_OBJECT];
    unsigned pins; /* under the mutex of all partitions */

    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t news;   /* a load has ended */

    bool is_warm;         /* the head is in memory */
    uint64_t told;        /* the last version that watches were told of */
    uint64_t checked;     /* when it was last known to be the cluster's, monotonic */
    uint64_t loaded;      /* rad.rounds when it was read from the cluster */
    uint64_t stamp;       /* of the last change to it in memory; rows carry that of their change */
    struct rad_head head; /* published; empty while cold */
    struct kv_rows pages; /* from -> struct rad_page * */
    struct list page_lru; /* the one read longest ago first */
    size_t bytes;         /* of all this, about; rad.bytes counts it */

    /* Rows of a cache partition that came with commits of the account beside it, readable and not
     * yet written: key -> number8, bytes; without bytes: deleted. They count before the head. */
    struct kv_rows lazy;
    uint64_t lazy_number;
    size_t lazy_bytes;
    struct task_timer lazy_timer;
    bool is_lazy_timed, is_lazy_due;

    /* Loads under way (load.c). */
    struct list loads;
    uint64_t loads_failed; /* counted */
    enum rc load_rc;       /* why the last one of these did: RC_TEMP, RC_CORRUPT */
    struct str *wanted;    /* keys that a view has missed (change.c), owned */
    size_t n_wanted, wanted_capacity;

    /* Work on it (commit.c). */
    struct list ops;         /* struct kv_op, queued */
    struct list works;       /* struct rad_work, queued; they come before ops */
    struct rad_group *group; /* at the cluster; NULL: none */
    struct task_job job;
    bool is_posted, is_running, is_woken, is_busy;
    struct task_timer pause_timer;
    bool is_paused;
    uint64_t loads_failed_seen;
    bool is_damaged; /* what could not be loaded for this turn is damaged */

    struct rad_fold *fold; /* under way (fold.c) */
    struct task_timer fold_timer;
    bool is_fold_timed; /* one was given up, and is begun again soon */
    unsigned fold_vain; /* how many have been in a row */
};

/* Pinned: it stays, warm or cold, until it is put back. */
struct rad_part *rad_part_get(struct rad *rad, struct kv_part part);
struct rad_part *rad_part_pin(struct rad_part *p); /* once more */
void rad_part_put(struct rad_part *p);
/* Under its mutex: counts memory taken or given back. */
void rad_part_weigh(struct rad_part *p, ptrdiff_t bytes);
/* Under its mutex: forgets the head and all pages. */
void rad_part_cool(struct rad_part *p);
/* Under its mutex: forgets the pages of shards that are not in the map with this epoch any more. */
void rad_part_drop_pages(struct rad_part *p, const struct rad_shards *before);

void rad_head_init(struct rad_head *head);
void rad_head_move(struct rad_head *to, struct rad_head *from); /* `from` is empty then */
void rad_head_fini(struct rad_head *head);
void rad_shards_fini(struct rad_shards *shards);
void rad_shards_add(struct rad_shards *shards, const struct rad_shard *shard); /* takes `first` */
struct rad_shards rad_shards_copy(const struct rad_shards *shards);
/* The shard that has the key; NULL when there are no shards. */
const struct rad_shard *rad_shard_of(const struct rad_shards *shards, struct str key);
/* The first key beyond it; absent: none. */
struct str rad_shard_end(const struct rad_shards *shards, const struct rad_shard *shard);
/* The page in memory that covers the key; NULL: none. */
struct rad_page *rad_page_at(struct rad_part *p, struct str key);
/* Takes the page; what it covers is forgotten. */
void rad_page_add(struct rad_part *p, struct rad_page *page);
struct rad_trim *rad_trim_new(struct str from, struct str to);
const struct rad_trim *rad_trim_of(const struct list *trims, struct str key); /* that covers it */
bool rad_trims_cover(const struct list *trims, struct str key);

/* A row of the head: its stamp and its bytes (empty: a tombstone). */
uint64_t rad_row_stamp(struct str stored);
struct str rad_row_bytes(struct str stored);
size_t rad_row_weight(struct str key, struct str bytes); /* of a head's row in memory, about */
void rad_row_put(struct kv_rows *rows, struct str key, uint64_t stamp, struct str bytes);

/* One key as published; absent: no row. RC_AGAIN: it is not in memory. Here and below: under the
 * mutex, and the partition is warm; the value is a view. */
enum rc rad_rows_get(struct rad_part *p, struct str key, struct str *out_value);
/* Rows from `from` to before `to`, at most `max`, copied to the arena. RC_AGAIN: the page at
 * *out_missing is not in memory; RC_LIMIT: the arena is full. */
enum rc rad_rows_scan(struct rad_part *p, struct str from, struct str to, size_t max,
                      struct arena *arena, struct kv_page *out, struct str *out_missing);

/* --- from the cluster to memory (load.c); all under the mutex, none waits --------------------- */

/* Each starts what is not under way already; p->news and a turn of the partition come at its end,
 * p->loads_failed tells when it failed. */
void rad_load_head(struct rad_part *p);
void rad_load_check(struct rad_part *p); /* is the state still the cluster's? If not: loads */
void rad_load_page(struct rad_part *p, struct str from); /* of the shard that has `from` */
void rad_load_keys(struct rad_part *p, const struct str *keys, size_t n);

/* --- what a commit is going to change (change.c) ---------------------------------------------- */

/* Changes over a partition, or over other changes. Rows were changed after trims. */
struct rad_change {
    struct rad_part *part;
    struct rad_change *below; /* NULL: the published state */
    struct kv_rows rows;      /* key -> the value as the head will store it */
    struct list trims;        /* struct rad_trim */
    size_t bytes;             /* of what was added */

    /* Of one that is not over another: the state after it, and what a fold does. */
    struct rad_state state;
    struct kv_rows leaving;    /* keys of head rows that a shard holds now */
    uint64_t leaving_trims;    /* trims up to this number have been folded; 0: none */
    struct rad_shards *shards; /* the map from now on, owned; NULL: as it is */
    struct kv_rows marks;      /* number8 -> the value, or empty: removed */
};

/* What a row is, with these changes. RC_AGAIN: not in memory; it is loaded, and the turn of the
 * partition comes again. The value is a view. */
enum rc rad_view_get(struct rad_change *c, struct str key, struct str *out_value);
void rad_view_put(struct rad_change *c, struct str key, struct str value);
void rad_view_delete(struct rad_change *c, struct str key);
void rad_view_trim(struct rad_change *c, struct str from, struct str to);

void rad_change_init(struct rad_change *c, struct rad_part *p, struct rad_change *below);
void rad_change_fini(struct rad_change *c);
void rad_change_merge(struct rad_change *to, struct rad_change *from); /* from is over to */
/* The operation on the head that makes it so: guarded by the published state. */
struct link_call *rad_change_call(struct rad_change *c);
/* It is so: into the memory of the partition. Under the mutex. */
void rad_change_publish(struct rad_change *c);

/* --- commits (commit.c) ----------------------------------------------------------------------- */

/* A change to a head that is no transaction: a fold's steps. It takes its turn in the partition's
 * queue, before transactions that wait, and is committed with them in one operation. */
struct rad_work {
    struct list link;
    struct rad_part *p; /* this and the next one are commit.c's */
    enum rc rc;
    /* Under the mutex, partition warm: adds to the change. RC_OK; RC_AGAIN: not in memory yet,
     * asked again at the next turn; anything else: done with it. May be asked several times: the
     * state may have become another one. */
    enum rc (*build)(struct rad_work *work, struct rad_change *change);
    /* Once: committed and published, or not. Without the mutex; may free the work. */
    void (*done)(struct rad_work *work, enum rc rc);
};
/* The partition is pinned until done. Without its mutex. */
void rad_work_post(struct rad_part *p, struct rad_work *work);

/* Changes nothing of the partition but the id of its head's last operation: what was sent to it
 * before and is not done by now never will be. Its version stays, so no writer of it fails. Waits.
 */
enum rc rad_fence(struct rad *rad, struct kv_part part);

enum rc rad_commit(struct kv *kv, struct kv_op *op);
/* Something that the partition's turn waited for has come. With or without the mutex of others, but
 * not with its own. */
void rad_part_wake(struct rad_part *p);
/* The same under its mutex. */
void rad_part_wake_locked(struct rad_part *p);
/* Waits until nothing is queued or at the cluster anywhere. */
void rad_commits_drain(struct rad *rad);

/* --- folds (fold.c); under the mutex ---------------------------------------------------------- */

/* Begins a fold when the head has grown too large, or there is something to clean up. */
void rad_fold_consider(struct rad_part *p);
/* So much has come meanwhile that commits have to wait for the fold. */
bool rad_fold_is_overdue(const struct rad_part *p);

/* Whether nothing names the shard, an object of the index pool by this name: not the map, no mark.
 * RC_NOTFOUND: it is no shard. Without the mutex; waits. */
enum rc rad_fold_is_stray(struct rad *rad, struct str name, struct kv_part *out_part,
                          bool *out_is_stray);

/* --- reads (read.c) --------------------------------------------------------------------------- */

enum rc rad_version(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version);
enum rc rad_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n,
                unsigned flags, struct arena *arena, struct str *out_values, uint64_t *out_version);
enum rc rad_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                 unsigned flags, struct arena *arena, struct kv_page *out_page);

/* --- blobs (blob.c) --------------------------------------------------------------------------- */

/* The references of a transaction, as rows of the store's own in the partition: key 0xff 'b' id,
 * value format, count4. Under the partition's mutex, without waiting. RC_AGAIN: something has to be
 * looked up or tagged first and is under way; rad_part_wake comes when it is done.
 * RC_NOTFOUND, RC_CORRUPT as kv_txn_ref and kv_txn_drop say. */
enum rc rad_blobs_apply(struct rad_change *change, struct kv_op *op);
/* The op has been committed and published, or has failed (op->rc). Before it is completed, without
 * locks. */
void rad_blobs_committed(struct rad *rad, struct kv_op *op);

struct blobs;                            /* blob_int.h */
enum rc rad_blobs_open(struct rad *rad); /* with the link; logged when it fails */
/* First when closing: makes no commits any more. */
void rad_blobs_end(struct rad *rad);
/* After the last commit: what nobody has named is removed. */
void rad_blobs_close(struct rad *rad);

enum rc rad_room(struct kv *kv, uint64_t bytes);
void rad_space(struct kv *kv, struct kv_space *out);
struct kv_blob_out *rad_blob_new(struct kv *kv);
enum rc rad_blob_write(struct kv_blob_out *out, struct str bytes);
enum rc rad_blob_finish(struct kv_blob_out *out, struct kv_blob_id *out_id);
void rad_blob_abort(struct kv_blob_out *out);
void rad_blob_forget(struct kv *kv, struct kv_blob_id id);
enum rc rad_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags, struct kv_blob_in **out);
void rad_blob_open_many(struct kv *kv, const struct kv_blob_id *ids, size_t n,
                        struct kv_blob_in **out, enum rc *out_rcs);
enum rc rad_blob_read(struct kv_blob_in *in, uint64_t offset, void *to, size_t n, unsigned flags);
void rad_blob_close(struct kv_blob_in *in);

/* --- keeping (fsck.c, backup.c) --------------------------------------------------------------- */

enum rc rad_fsck(struct kv *kv, struct kv_fsck *fsck);
enum rc rad_each_part(struct kv *kv, enum rc (*each)(void *arg, struct kv_part part), void *arg);
enum rc rad_backup(struct kv *kv, const char *dir);
enum rc rad_restore(struct kv *kv, const char *dir);
/* A commit to the partition has been published: it may have to be copied again. */
void rad_backup_touch(struct rad *rad, struct kv_part part);

struct rad_backup {
    _Atomic bool is_under_way, is_on; /* on: changes are noted */
    pthread_mutex_t mutex;
    struct map touched;
};

/* --- the store (store.c) ---------------------------------------------------------------------- */

struct rad_parts {
    pthread_mutex_t mutex;
    struct map by_part;
    struct list lru; /* not pinned; the one put back longest ago first */
    pthread_cond_t idle;
    size_t busy; /* partitions with work queued or under way */
};

void rad_parts_init(struct rad_parts *parts);
void rad_parts_fini(struct rad_parts *parts);
void rad_parts_wake(struct rad_parts *parts); /* each takes a turn, if there is work for it */

struct rad {
    struct kv kv;
    struct kv_rados_conf conf; /* with defaults filled in */
    struct link *link;
    struct task_lane *lane; /* turns of partitions */
    struct task_lane *folds;
    struct task_timers *timers;
    struct rad_parts parts;
    struct blobs *blobs;
    struct rad_backup backup;
    bool is_half;                       /* restored: nothing is written to it any more */
    _Atomic bool is_held;               /* no group is begun: a backup needs a moment */
    _Atomic size_t n_groups;            /* that are at the cluster */
    _Atomic size_t bytes;               /* of partitions in memory */
    _Atomic size_t lazy_bytes;          /* of these: rows of caches, not yet written */
    _Atomic size_t queued_bytes;        /* of transactions not yet completed */
    unsigned char node[RAD_ID_PROCESS]; /* of this opening: the first half of every id */
    _Atomic uint64_t next_id;
    _Atomic uint64_t rounds; /* operations on the process's intents, begun */
    uint64_t generation;
    _Atomic bool is_readonly, is_closing;
    pthread_mutex_t why_mutex;
    char why[256]; /* set once, before is_readonly */
};

static inline struct rad *rad_of(struct kv *kv)
{
    return (struct rad *)kv;
}

enum rc rad_open(const struct ctx *ctx, const struct kv_rados_conf *conf, struct kv **out);
/* Notes in the store whether it is half restored, and its generation. */
enum rc rad_restoring_set(struct rad *rad, bool is_half, uint64_t generation);
/* Ends all writing for good: this client has been shut out. */
void rad_fail_for_good(struct rad *rad, const char *what);
/* Between two steps: where a test can stop or end the process. Names as in the protocol. */
void rad_step(struct rad *rad, const char *name);

#endif
