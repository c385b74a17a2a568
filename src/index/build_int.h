/* build.c and index.c: steps, and who makes them. */
#ifndef INDEX_BUILD_INT_H
#define INDEX_BUILD_INT_H

#include "index/block_int.h"

#include "base/ctx.h"
#include "task/task.h"

enum { INDEX_FORSAKEN = 16 };

struct index {
    const struct ctx *ctx;
    struct index_conf conf;
    atomic_bool stop;
    _Atomic uint64_t messages, bytes;
    pthread_mutex_t work; /* whoever writes rows */
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    bool is_wanted;
    uint64_t forsaken[INDEX_FORSAKEN]; /* accounts; those that have no room are met again */
    size_t n_forsaken;
    struct task_lane *lane; /* NULL: nobody works */
    struct task_job job;
};

void index_log(struct index *ix, uint64_t account, const char *event, enum rc rc);
void index_count(struct index *ix, uint64_t messages, uint64_t bytes);

/* Its rows are damaged: the next step throws them away. Never blocks. */
void index_forsake(struct index *ix, struct store_account *account, enum rc cause);
bool index_is_forsaken(struct index *ix, uint64_t account); /* and is so no more */

/* Somebody holds ix->work. next_block 0: nobody knows. */
enum rc index_wipe(struct index *ix, uint64_t account, uint64_t next_block);
/* The same. RC_EOF: stopped. */
enum rc index_step_account(struct index *ix, struct store_account *account, bool *out_more);

#endif
