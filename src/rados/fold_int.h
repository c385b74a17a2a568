/* A fold, inside: its plan and steps are fold.c's, its shards' rows fold_shard.c's, what it leaves
 * behind fold_clean.c's. docs/internals/rados.md says what each step keeps. */
#ifndef RADOS_FOLD_INT_H
#define RADOS_FOLD_INT_H

#include "rados/rados_int.h"

/* A change of the head that the fold waits for. */
struct fold_work {
    struct rad_work work;
    struct rad_fold *fold;
    enum rc rc;
    bool is_done;
};

struct rad_fold {
    struct task_job job;
    struct rad *rad;
    struct rad_part *p; /* pinned */
    pthread_mutex_t mutex;
    pthread_cond_t done;

    /* As they were at fold-take, and what is to be folded of them. */
    uint64_t epoch;      /* 0: nothing has been taken */
    uint64_t cut;        /* rows and trims with stamps up to this */
    uint64_t upto;       /* the number of the last trim among them; 0: none */
    struct kv_rows rows; /* key -> the value as a head has it */
    struct list trims;
    struct rad_shards before;

    struct rad_shards after; /* the map from fold-finish on */
    uint64_t reserved;       /* shards that it may make, numbered from fold_number(epoch, 0) on */
    uint64_t made;           /* how many it has */
    unsigned char fence[RAD_FENCE];
    const char *step; /* the last one */
    size_t left;      /* rows that have left the head */
};

/* A range of keys that is in one shard, or in none yet, and what becomes of it. */
struct fold_piece {
    const struct rad_shard *old; /* in `before`; NULL: none */
    struct str first, end;       /* end absent: none */
    size_t rows;                 /* of the fold that are in it */
    uint64_t puts;               /* of these, no tombstones: what they count for */
    bool is_trimmed;             /* in part */
    bool is_wiped;               /* by a trim of all of it */
    bool is_replaced;
};

/* The number of a shard is made of the epoch that makes it. */
static inline uint64_t fold_number(uint64_t epoch, uint64_t n)
{
    return epoch << 16 | n;
}
static inline uint64_t fold_epoch_of(uint64_t number)
{
    return number >> 16;
}

/* RC_OK, or RC_CONFLICT: the fold has to be given up. */
enum rc fold_fence(struct rad_fold *f, const struct fold_piece *piece);
/* The shard stays; but one that has no row any more is replaced, by none. */
enum rc fold_write(struct rad_fold *f, struct fold_piece *piece);
enum rc fold_replace(struct rad_fold *f, const struct fold_piece *piece); /* by some, or none */

/* What a row counts for in a shard, with its value as an omap has it: more than one when it is
 * large, so that shards, and with them pages, are bounded in bytes as well. */
enum { FOLD_ROW_BYTES = 2048 };
static inline uint64_t fold_weight(struct str value)
{
    return 1 + value.n / FOLD_ROW_BYTES;
}
/* How many rows a new shard gets. */
size_t fold_shard_rows(const struct rad *rad);
/* The step is taken now, unless the fold has to end. */
enum rc fold_step(struct rad_fold *f, const char *name);
enum rc fold_answer(struct rad_fold *f, struct link_call **call, enum link_result result);
/* Posts the work and waits for it. */
enum rc fold_commit(struct rad_fold *f, struct fold_work *work,
                    enum rc (*build)(struct rad_work *work, struct rad_change *change));

/* --- what is left behind ---------------------------------------------------------------------- */

/* In a change: the shard is to be removed, now or after the time that a fold may take at most. */
void fold_mark(struct rad_change *change, uint64_t number, bool is_now);
void fold_unmark(struct rad_change *change, uint64_t number);
/* Under the partition's mutex: there is something to remove. */
bool fold_has_garbage(const struct rad_part *p);
void fold_clean(struct rad_fold *f);

#endif
