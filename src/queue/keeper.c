/* queue: its own thread, for what blocks: settlements that have to be read from a disk, or again;
 * leases; counting what was there before.
 *
 * It ends when the queue is closed, and nothing is under way then.
 */
#include "queue/queue_int.h"

#include "task/task.h"

#include <time.h>

void queue_keeper_redo(struct queue *queue, struct queue_op *op)
{
    pthread_mutex_lock(&queue->mutex);
    list_add_tail(&queue->redo, &op->link);
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

void queue_keeper_count(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    queue->is_counting = true;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

/* Where a row cannot be read, the numbers stay what they are. */
static void count(struct queue *queue)
{
    bool is_counted;
    enum rc rc = queue_tally_go_on(queue, 1, &is_counted);
    pthread_mutex_lock(&queue->mutex);
    queue->is_counting = rc == RC_OK && !is_counted;
    pthread_mutex_unlock(&queue->mutex);
}

static void wait_until(struct queue *queue, uint64_t until)
{
    struct timespec at;
    if (until == UINT64_MAX) {
        pthread_cond_wait(&queue->changed, &queue->mutex);
        return;
    }
    uint64_t now = clock_mono(queue->ctx.clock);
    uint64_t wait = until > now ? until - now : 0;
    clock_gettime(CLOCK_MONOTONIC, &at);
    wait += (uint64_t)at.tv_nsec;
    at.tv_sec += (time_t)(wait / NS_PER_SEC);
    at.tv_nsec = (long)(wait % NS_PER_SEC);
    pthread_cond_timedwait(&queue->changed, &queue->mutex, &at);
}

/* What waits most first: settlements, leases, counting. The mutex is held, but for the work. */
static void work_once(struct queue *queue)
{
    struct list *first = list_first(&queue->redo);
    if (first)
        list_remove(first);
    pthread_mutex_unlock(&queue->mutex);
    uint64_t next = first ? 0 : queue_lease_work(queue);
    if (first)
        queue_settle_again(CONTAINER(first, struct queue_op, link));
    else if (next > 0 && queue->is_counting)
        count(queue);
    pthread_mutex_lock(&queue->mutex);
    bool is_idle = next > 0 && !queue->is_counting && list_is_empty(&queue->redo);
    if (is_idle && !queue->ending && !queue->is_new)
        wait_until(queue, next);
    queue->is_new = false;
}

static void *keeper_main(void *arg)
{
    struct queue *queue = arg;
    pthread_mutex_lock(&queue->mutex);
    while (!queue->ending || !list_is_empty(&queue->redo))
        work_once(queue);
    pthread_mutex_unlock(&queue->mutex);
    return NULL;
}

void queue_keeper_start(struct queue *queue)
{
    queue->keeper = task_thread("queue", keeper_main, queue);
}

void queue_keeper_stop(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    queue->ending = true;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
    pthread_join(queue->keeper, NULL);
}
