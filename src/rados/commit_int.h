/* A partition's queue, inside: commit.c takes turns, group.c makes groups and ends them, answer.c
 * sends them and finds out what became of them, lazy.c keeps rows of caches. All under the
 * partition's mutex. */
#ifndef RADOS_COMMIT_INT_H
#define RADOS_COMMIT_INT_H

#include "rados/rados_int.h"

enum stage { STAGE_COMMIT, STAGE_READ_BACK, STAGE_CLAIM };

struct rad_group {
    struct rad_part *p; /* pinned */
    struct rad_change change;
    struct list ops, works;
    uint64_t lazy_upto; /* rows of the cache up to this number are in it */
    uint64_t begun;
    bool has_changes;

    enum stage stage;
    struct link_call *call;
    bool is_answered, was_paused;
    enum link_result result;
    struct rad_state claimed;
};

/* Nothing happens for half a second. */
void turns_pause(struct rad_part *p);

/* --- groups (group.c) ------------------------------------------------------------------------- */

/* False: a backup needs a moment without any; the turn comes again when it has had it. Otherwise
 * one has to be made. */
bool group_may_begin(struct rad *rad);
struct rad_group *group_new(struct rad_part *p); /* empty */
/* As much of what is queued as can be decided now. */
struct rad_group *group_gather(struct rad_part *p);
void group_free(struct rad_group *g);
/* These end the group. The first three let go of the mutex while they tell everybody. */
void group_publish(struct rad_group *g); /* it has been committed, and is what memory is based on */
void group_fail(struct rad_group *g, enum rc rc);
void group_finish(struct rad_group *g, bool is_published); /* all of it has its result */
void group_put_back(struct rad_group *g);                  /* into the queue, to be checked again */

/* --- the cluster (answer.c) ------------------------------------------------------------------- */

void group_send(struct rad_group *g);
void group_answer(struct rad_group *g); /* there is an answer: ends the group, or asks further */

/* --- rows of caches (lazy.c) ------------------------------------------------------------------ */

/* What a transaction that has been published says about the cache beside its partition. Without
 * any mutex. */
void lazy_take(struct rad *rad, const struct kv_txn *txn);
void lazy_add(struct rad_group *g);
void lazy_drop(struct rad_group *g); /* those that the group took are in the head now, or lost */

#endif
