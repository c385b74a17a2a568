#include "task/task.h"

#include "base/test.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

struct count_job {
    struct task_job job;
    _Atomic int *total;
    int *last; /* of a serial queue: not atomic on purpose */
    int number;
};

static void count(struct task_job *job)
{
    struct count_job *c = CONTAINER(job, struct count_job, job);
    atomic_fetch_add(c->total, 1);
    if (c->last) {
        assert_int_equal(*c->last, c->number - 1);
        *c->last = c->number;
    }
}

static void every_job_runs_before_the_lane_ends(void **state)
{
    enum { N = 1000 };
    static struct count_job jobs[N];
    _Atomic int total = 0;
    struct task_lane *lane = task_lane_new("test", 3, N);
    for (int i = 0; i < N; i++) {
        jobs[i] = (struct count_job){.job.run = count, .total = &total};
        assert_rc(task_lane_post(lane, &jobs[i].job), RC_OK);
    }
    task_lane_free(&lane);
    assert_int_equal(total, N);
}

struct gate {
    struct task_job job;
    pthread_mutex_t mutex;
};

static void wait_at_gate(struct task_job *job)
{
    struct gate *g = CONTAINER(job, struct gate, job);
    pthread_mutex_lock(&g->mutex);
    pthread_mutex_unlock(&g->mutex);
}

static void a_full_lane_refuses(void **state)
{
    struct gate gates[4];
    struct task_lane *lane = task_lane_new("test", 1, 2);
    int accepted = 0;
    for (int i = 0; i < 4; i++) {
        gates[i].job.run = wait_at_gate;
        pthread_mutex_init(&gates[i].mutex, NULL);
        pthread_mutex_lock(&gates[i].mutex);
    }
    for (int i = 0; i < 4; i++)
        accepted += task_lane_post(lane, &gates[i].job) == RC_OK;
    assert_in_range(accepted, 2, 3); /* two wait; a third when the first has begun */
    for (int i = 0; i < 4; i++)
        pthread_mutex_unlock(&gates[i].mutex);
    task_lane_free(&lane);
}

static void serial_jobs_run_in_order(void **state)
{
    enum { KEYS = 10, N = 500 };
    static struct count_job jobs[KEYS][N];
    struct task_serial serials[KEYS];
    int last[KEYS];
    _Atomic int total = 0;
    struct task_lane *lane = task_lane_new("test", 4, KEYS);
    for (int k = 0; k < KEYS; k++) {
        task_serial_init(&serials[k], lane);
        last[k] = -1;
    }
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < KEYS; k++) {
            jobs[k][i] = (struct count_job){{.run = count}, &total, &last[k], i};
            assert_rc(task_serial_post(&serials[k], &jobs[k][i].job), RC_OK);
        }
    }
    task_lane_free(&lane);
    assert_int_equal(total, KEYS * N);
    for (int k = 0; k < KEYS; k++)
        task_serial_fini(&serials[k]);
}

struct mark {
    struct task_timer timer;
    int number;
    struct marks *all;
};

struct marks {
    struct mark item[4];
    int order[4];
    _Atomic int n;
};

static void write_down(struct task_timer *timer)
{
    struct mark *m = CONTAINER(timer, struct mark, timer);
    m->all->order[atomic_load(&m->all->n)] = m->number; /* one thread runs them */
    atomic_fetch_add(&m->all->n, 1);
}

static void set_all(struct task_timers *t, struct marks *m, const uint64_t *ms)
{
    *m = (struct marks){0};
    for (int i = 0; i < 4; i++) {
        m->item[i] = (struct mark){.timer.run = write_down, .number = i, .all = m};
        task_timer_set(t, &m->item[i].timer, ms[i]);
    }
}

static void wait_for(struct marks *m, int n)
{
    while (atomic_load(&m->n) < n)
        sched_yield();
}

static void timers_run_in_order_of_time(void **state)
{
    static const uint64_t late[] = {3600000, 1800000, 1, 1800000};
    struct task_timers *t = task_timers_new("timers");
    struct marks m;
    set_all(t, &m, late);
    wait_for(&m, 1);
    assert_int_equal(m.order[0], 2);
    task_timers_hurry(t);
    wait_for(&m, 4);
    assert_int_equal(m.order[1], 1);
    assert_int_equal(m.order[2], 3);
    assert_int_equal(m.order[3], 0);
    task_timers_free(&t);
    t = task_timers_new("timers");
    set_all(t, &m, late);
    task_timers_free(&t);
    assert_int_equal(atomic_load(&m.n), 4);
}

struct look {
    struct task_job job;
    int nice;
};

static void look_at_itself(struct task_job *job)
{
    struct look *l = CONTAINER(job, struct look, job);
    l->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
}

static void a_background_lane_steps_back(void **state)
{
    struct look look = {.job.run = look_at_itself};
    int own = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    struct task_lane *lane = task_lane_new_background("test", 1, 1);
    assert_rc(task_lane_post(lane, &look.job), RC_OK);
    task_lane_free(&lane);
    assert_true(look.nice > own || own >= 10);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid)), own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_runs_before_the_lane_ends),
        cmocka_unit_test(a_full_lane_refuses),
        cmocka_unit_test(serial_jobs_run_in_order),
        cmocka_unit_test(timers_run_in_order_of_time),
        cmocka_unit_test(a_background_lane_steps_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
