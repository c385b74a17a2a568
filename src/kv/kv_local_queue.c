/* The committer: one queue, one thread. It takes what is there, up to GROUP_BYTES or GROUP_WORKS,
 * runs it as one group, completes it in the order of the queue, and takes again: while one group
 * syncs, the next one gathers. */
#include "kv/kv_local_int.h"

#include "base/mem.h"
#include "task/task.h"

#include <stdlib.h>

enum { GROUP_BYTES = 8 << 20, GROUP_WORKS = 512, WORK_COST = 256 };

enum rc local_queue_post(struct local *l, struct work *work)
{
    struct queue *q = &l->queue;
    enum rc rc = RC_OK;
    pthread_mutex_lock(&q->mutex);
    if (q->is_closing || !q->is_running)
        rc = RC_TEMP;
    else if (work->kind == WORK_COMMIT && q->bytes && q->bytes + work->weight > l->conf.queue_bytes)
        rc = RC_LIMIT;
    bool is_waker = rc == RC_OK && q->is_asleep;
    if (rc == RC_OK) {
        list_add_tail(&q->works, &work->link);
        q->bytes += work->weight;
        q->is_asleep = false;
    }
    pthread_mutex_unlock(&q->mutex);
    if (is_waker)
        sem_post(&q->wake);
    return rc;
}

/* What a commit will write, about: its rows and the small blobs that it makes durable. */
static uint64_t weigh(struct local *l, const struct kv_txn *txn)
{
    uint64_t n = WORK_COST + txn->bytes;
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);)
        if (item.kind == KV_ITEM_REF)
            n += local_blob_weight(l, &item.blob);
    return n;
}

enum rc local_commit(struct kv *kv, struct kv_op *op)
{
    struct local *l = local_of(kv);
    if (atomic_load(&l->is_readonly))
        return RC_TEMP;
    struct work *work = mem_zero(sizeof *work);
    work->kind = WORK_COMMIT;
    work->op = op;
    work->weight = weigh(l, op->txn);
    enum rc rc = local_queue_post(l, work);
    if (rc != RC_OK)
        free(work);
    return rc;
}

/* A semaphore, not a condition: what is woken from a condition takes the mutex as one that others
 * wait for, so that each letting go of it is a system call. */
static void sleep_until_woken(struct queue *q)
{
    q->is_asleep = true;
    pthread_mutex_unlock(&q->mutex);
    while (sem_wait(&q->wake) != 0)
        ; /* a signal */
    pthread_mutex_lock(&q->mutex);
}

/* False when the queue is empty and closing. */
static bool take(struct queue *q, struct list *out)
{
    uint64_t bytes = 0;
    size_t n = 0;
    pthread_mutex_lock(&q->mutex);
    while (list_is_empty(&q->works) && !q->is_closing)
        sleep_until_woken(q);
    for (struct list *it; n < GROUP_WORKS && (it = list_first(&q->works)); n++) {
        uint64_t weight = CONTAINER(it, struct work, link)->weight;
        if (n && bytes + weight > GROUP_BYTES)
            break;
        bytes += weight;
        list_remove(it);
        list_add_tail(out, it);
    }
    pthread_mutex_unlock(&q->mutex);
    return n > 0;
}

static void complete(struct local *l, struct list *works)
{
    uint64_t bytes = 0;
    LIST_EACH (works, it)
        bytes += CONTAINER(it, struct work, link)->weight;
    pthread_mutex_lock(&l->queue.mutex);
    l->queue.bytes -= bytes;
    pthread_mutex_unlock(&l->queue.mutex);
    LIST_EACH_SAFE (works, it) {
        struct work *work = CONTAINER(it, struct work, link);
        list_remove(it);
        if (work->kind == WORK_COMMIT) {
            kv_op_complete(&l->kv, work->op);
            free(work);
        } else {
            work->done(work);
        }
    }
}

static void *run(void *arg)
{
    struct local *l = arg;
    struct group g;
    local_group_init(&g, l);
    while (take(&l->queue, &g.works)) {
        local_group_run(&g);
        complete(l, &g.works);
    }
    local_group_fini(&g);
    local_redo_settle(l);
    return NULL;
}

void local_queue_start(struct local *l)
{
    struct queue *q = &l->queue;
    pthread_mutex_init(&q->mutex, NULL);
    sem_init(&q->wake, 0, 0);
    list_init(&q->works);
    if (l->conf.read_only)
        return;
    q->is_running = true;
    q->thread = task_thread("kv-commit", run, l);
}

void local_queue_stop(struct local *l)
{
    struct queue *q = &l->queue;
    pthread_mutex_lock(&q->mutex);
    q->is_closing = true;
    bool is_waker = q->is_asleep;
    q->is_asleep = false;
    pthread_mutex_unlock(&q->mutex);
    if (is_waker)
        sem_post(&q->wake);
    if (q->is_running)
        pthread_join(q->thread, NULL);
    sem_destroy(&q->wake);
    pthread_mutex_destroy(&q->mutex);
}
