/* Lanes: a queue under one mutex and threads that take from it. Invariant: a job is in the queue or
 * with one thread. */
#include "task/task.h"

#include "base/mem.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BACKGROUND_NICE = 10 };

struct task_lane {
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    struct list jobs;
    size_t waiting, max_queue;
    bool ending, is_background;
    unsigned n_threads;
    pthread_t threads[];
};

struct start {
    char name[16];
    void *(*main)(void *);
    void *arg;
};

static void *thread_main(void *p)
{
    struct start start = *(struct start *)p;
    free(p);
    pthread_setname_np(pthread_self(), start.name);
    return start.main(start.arg);
}

pthread_t task_thread(const char *name, void *(*main)(void *), void *arg)
{
    struct start *start = mem_zero(sizeof *start);
    strncpy(start->name, name, sizeof start->name - 1);
    start->main = main;
    start->arg = arg;
    sigset_t all, before; /* signals belong to the loop that asked for them */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        fprintf(stderr, "penfold: thread %s: %s\n", name, strerror(error));
        abort();
    }
    return thread;
}

/* Of the calling thread alone, as Linux has it. Where it is not allowed the lane works all the
 * same. */
static void step_back(void)
{
    const struct sched_param none = {0};
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), BACKGROUND_NICE);
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

static void *lane_main(void *arg)
{
    struct task_lane *lane = arg;
    if (lane->is_background)
        step_back();
    pthread_mutex_lock(&lane->mutex);
    for (;;) {
        struct list *first = list_first(&lane->jobs);
        if (!first && lane->ending)
            break;
        if (!first) {
            pthread_cond_wait(&lane->wanted, &lane->mutex);
            continue;
        }
        list_remove(first);
        lane->waiting--;
        pthread_mutex_unlock(&lane->mutex);
        struct task_job *job = CONTAINER(first, struct task_job, link);
        job->run(job);
        pthread_mutex_lock(&lane->mutex);
    }
    pthread_mutex_unlock(&lane->mutex);
    return NULL;
}

static struct task_lane *lane_new(const char *name, unsigned threads, size_t max_queue,
                                  bool is_background)
{
    struct task_lane *lane = mem_zero(sizeof *lane + threads * sizeof *lane->threads);
    pthread_mutex_init(&lane->mutex, NULL);
    pthread_cond_init(&lane->wanted, NULL);
    list_init(&lane->jobs);
    lane->max_queue = max_queue;
    lane->n_threads = threads;
    lane->is_background = is_background;
    for (unsigned i = 0; i < threads; i++)
        lane->threads[i] = task_thread(name, lane_main, lane);
    return lane;
}

struct task_lane *task_lane_new(const char *name, unsigned threads, size_t max_queue)
{
    return lane_new(name, threads, max_queue, false);
}

struct task_lane *task_lane_new_background(const char *name, unsigned threads, size_t max_queue)
{
    return lane_new(name, threads, max_queue, true);
}

void task_lane_free(struct task_lane **lane)
{
    struct task_lane *l = *lane;
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->ending = true;
    pthread_cond_broadcast(&l->wanted);
    pthread_mutex_unlock(&l->mutex);
    for (unsigned i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i], NULL);
    pthread_cond_destroy(&l->wanted);
    pthread_mutex_destroy(&l->mutex);
    free(l);
    *lane = NULL;
}

enum rc task_lane_post(struct task_lane *lane, struct task_job *job)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&lane->mutex);
    if (lane->ending) {
        rc = RC_TEMP;
    } else if (lane->waiting >= lane->max_queue) {
        rc = RC_LIMIT;
    } else {
        list_add_tail(&lane->jobs, &job->link);
        lane->waiting++;
        pthread_cond_signal(&lane->wanted);
    }
    pthread_mutex_unlock(&lane->mutex);
    return rc;
}
