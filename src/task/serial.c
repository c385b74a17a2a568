/* Serial queues. Invariant: while there are jobs, exactly one of them runs or the pump waits on the
 * lane. */
#include "task/task.h"

/* Runs one job, then goes to the end of the lane, so that a busy key does not keep others waiting.
 */
static void pump(struct task_job *job)
{
    struct task_serial *s = CONTAINER(job, struct task_serial, pump);
    for (;;) {
        pthread_mutex_lock(&s->mutex);
        struct list *first = list_first(&s->jobs);
        if (!first)
            s->is_running = false;
        else
            list_remove(first);
        pthread_mutex_unlock(&s->mutex);
        if (!first)
            return; /* s may be gone from here on: whoever posted next restarted it, or nobody needs
                       it */
        struct task_job *next = CONTAINER(first, struct task_job, link);
        next->run(next);
        if (task_lane_post(s->lane, &s->pump) == RC_OK)
            return;
        /* The lane is full or ending: these jobs were accepted, so they run here. */
    }
}

void task_serial_init(struct task_serial *s, struct task_lane *lane)
{
    pthread_mutex_init(&s->mutex, NULL);
    s->lane = lane;
    list_init(&s->jobs);
    s->pump.run = pump;
    s->is_running = false;
}

void task_serial_fini(struct task_serial *s)
{
    pthread_mutex_destroy(&s->mutex);
}

enum rc task_serial_post(struct task_serial *s, struct task_job *job)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&s->mutex);
    list_add_tail(&s->jobs, &job->link);
    if (!s->is_running) {
        rc = task_lane_post(s->lane, &s->pump);
        if (rc == RC_OK)
            s->is_running = true;
        else
            list_remove(&job->link);
    }
    pthread_mutex_unlock(&s->mutex);
    return rc;
}
