#include "task/task.h"

#include "base/test.h"

#include <stdatomic.h>
#include <stdlib.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_runs_before_the_lane_ends),
        cmocka_unit_test(a_full_lane_refuses),
        cmocka_unit_test(serial_jobs_run_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
