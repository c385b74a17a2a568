/* Threads that do what a loop must not wait for.
 *
 * A lane is a fixed number of threads that take jobs in order. A serial queue runs the jobs of one
 * key (an account, a partition) one after the other on a lane, without holding a thread while it is
 * empty. Timers run later. A job is the caller's memory, embedded in whatever it works on; it must
 * stay until it has run. Nothing here cancels a job: what it works on lives until the job has come
 * back (the one-owner rule of net.h).
 */
#ifndef TASK_TASK_H
#define TASK_TASK_H

#include "base/ctx.h"
#include "base/list.h"
#include "base/rc.h"

#include <pthread.h>

struct task_job {
    void (*run)(struct task_job *job); /* on a thread of the lane; may free the job */
    struct list link;                  /* the lane's */
};

struct task_lane;

/* `name` is what ps and gdb show (15 bytes). At most `max_queue` jobs wait. Signals are blocked in
 * its threads. */
struct task_lane *task_lane_new(const char *name, unsigned threads, size_t max_queue);

/* The same for work that takes a processor for long and has to leave it to whoever wants it: its
 * threads run with less weight and never push another one aside. */
struct task_lane *task_lane_new_background(const char *name, unsigned threads, size_t max_queue);

/* Takes no more jobs, runs all that wait, ends the threads. */
void task_lane_free(struct task_lane **lane);

/* RC_LIMIT when the queue is full (the caller sheds the work), RC_TEMP once the lane is being
 * freed. Any thread. */
enum rc task_lane_post(struct task_lane *lane, struct task_job *job);

/* Jobs of one key, one at a time and in order, on a shared lane. The caller's storage; zero is not
 * valid. */
struct task_serial {
    pthread_mutex_t mutex;
    struct task_lane *lane;
    struct list jobs;
    struct task_job pump; /* what the lane runs: one job, then itself again */
    bool is_running;
};

void task_serial_init(struct task_serial *s, struct task_lane *lane);
void task_serial_fini(struct task_serial *s); /* it must be empty */
enum rc task_serial_post(struct task_serial *s, struct task_job *job);

/* Timers, run one after the other by one thread: for what has to happen later and must not wait on
 * a lane. A timer is the caller's memory until it has run; it cannot be cancelled. */
struct task_timers;
struct task_timer {
    void (*run)(struct task_timer *timer); /* must not block; may free the timer */
    uint64_t at;                           /* task's */
    struct list link;                      /* task's */
};
struct task_timers *task_timers_new(const char *name);
void task_timer_set(struct task_timers *t, struct task_timer *timer, uint64_t ms);
void task_timers_hurry(struct task_timers *t); /* nothing waits from now on: all run at once */
/* Runs at once all that are set, then ends the thread. Nobody sets one any more. */
void task_timers_free(struct task_timers **timers);

/* Starts a thread with all signals blocked; aborts when the system has none left. Join it with
 * pthread_join. */
pthread_t task_thread(const char *name, void *(*main)(void *), void *arg);

#endif
