/* queue: its own thread, for what blocks: settlements that have to be read from a disk, or again.
 *
 * It ends when the queue is closed, and nothing is under way then.
 */
#include "queue/queue_int.h"

#include "task/task.h"

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

static void *keeper_main(void *arg)
{
    struct queue *queue = arg;
    pthread_mutex_lock(&queue->mutex);
    for (;;) {
        struct list *first = list_first(&queue->redo);
        if (!first && queue->ending)
            break;
        if (!first && !queue->is_counting) {
            pthread_cond_wait(&queue->changed, &queue->mutex);
            continue;
        }
        if (first)
            list_remove(first);
        pthread_mutex_unlock(&queue->mutex);
        if (first)
            queue_settle_again(CONTAINER(first, struct queue_op, link));
        else
            count(queue);
        pthread_mutex_lock(&queue->mutex);
    }
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
