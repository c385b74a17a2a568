/* build.c and index.c: steps, and who makes them. */
#ifndef INDEX_BUILD_INT_H
#define INDEX_BUILD_INT_H

#include "index/block_int.h"

#include "base/ctx.h"
#include "task/task.h"

struct index {
    const struct ctx *ctx;
    struct index_conf conf;
    atomic_bool stop;
    _Atomic uint64_t messages, bytes;
    pthread_mutex_t work; /* whoever writes rows */
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    bool is_wanted;
    struct task_lane *lane; /* NULL: nobody works */
    struct task_job job;
};

void index_log(struct index *ix, uint64_t account, const char *event, enum rc rc);
void index_count(struct index *ix, uint64_t messages, uint64_t bytes);

/* Its rows are damaged: all of them are made anew, by the thread. */
void index_forsake(struct index *ix, struct store_account *account, enum rc cause);

/* Somebody holds ix->work. next_block 0: nobody knows. */
enum rc index_wipe(struct index *ix, uint64_t account, uint64_t next_block);
/* The same. RC_EOF: stopped. */
enum rc index_step_account(struct index *ix, struct store_account *account, bool *out_more);

#endif
