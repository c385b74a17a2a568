/* Timers: one thread that sleeps until the next one is due. Invariant: the list is in order of
 * time. What is set late mostly fires late, so that a place is looked for from the end. */
#include "task/task.h"

#include "base/mem.h"

#include <stdlib.h>
#include <time.h>

struct task_timers {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct list timers;
    bool is_hurried, is_ending;
    pthread_t thread;
};

static uint64_t now_ns(void)
{
    return clock_mono(&clock_system);
}

static void sleep_until(struct task_timers *t, uint64_t at)
{
    struct timespec until = {.tv_sec = (time_t)(at / NS_PER_SEC),
                             .tv_nsec = (long)(at % NS_PER_SEC)};
    pthread_cond_timedwait(&t->changed, &t->mutex, &until);
}

static void *timers_main(void *arg)
{
    struct task_timers *t = arg;
    pthread_mutex_lock(&t->mutex);
    for (;;) {
        struct list *first = list_first(&t->timers);
        if (!first && t->is_ending)
            break;
        if (!first) {
            pthread_cond_wait(&t->changed, &t->mutex);
            continue;
        }
        struct task_timer *timer = CONTAINER(first, struct task_timer, link);
        if (!t->is_hurried && now_ns() < timer->at) {
            sleep_until(t, timer->at);
            continue;
        }
        list_remove(first);
        pthread_mutex_unlock(&t->mutex);
        timer->run(timer);
        pthread_mutex_lock(&t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

struct task_timers *task_timers_new(const char *name)
{
    struct task_timers *t = mem_zero(sizeof *t);
    pthread_condattr_t monotonic;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&t->timers);
    t->thread = task_thread(name, timers_main, t);
    return t;
}

void task_timers_hurry(struct task_timers *t)
{
    pthread_mutex_lock(&t->mutex);
    t->is_hurried = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

void task_timers_free(struct task_timers **timers)
{
    struct task_timers *t = *timers;
    if (!t)
        return;
    pthread_mutex_lock(&t->mutex);
    t->is_hurried = t->is_ending = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->mutex);
    free(t);
    *timers = NULL;
}

void task_timer_set(struct task_timers *t, struct task_timer *timer, uint64_t ms)
{
    timer->at = now_ns() + ms * NS_PER_MS;
    pthread_mutex_lock(&t->mutex);
    struct list *before = t->timers.prev;
    while (before != &t->timers && CONTAINER(before, struct task_timer, link)->at > timer->at)
        before = before->prev;
    list_add_head(before, &timer->link);
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}
