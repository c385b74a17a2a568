/* The relay with its threads, over a queue in memory. Where hosts are and what they say is made up
 * here, in the place of where.c and session.c. */
#include "relay/shell_int.h"

#include "base/mem.h"
#include "base/random.h"
#include "base/test.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- a world ---------------------------------------------------------------------------------- */

struct fixture {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct store *store;
    struct queue *queue;
    struct task_lane *lane;
    struct deliver *deliver;
    struct relay *relay;
};

/* What the hosts do: by the first letter of the domain. */
static struct task_lane *stage; /* where they act */
static _Atomic unsigned taken, opened, asked, second_copies;
static _Atomic bool is_down;      /* connections are refused */
static _Atomic bool is_pondering; /* questions are answered later */
static _Atomic uint64_t ahead;    /* the wall clock is, by so many ns */
static _Atomic bool seen[100000]; /* by the number in the recipient's address */

static uint64_t mono_now(const struct clock *c)
{
    return clock_mono(&clock_system);
}

static uint64_t wall_now(const struct clock *c)
{
    return clock_wall(&clock_system) + ahead;
}

static const struct clock clock_of_test = {mono_now, wall_now};

static struct relay_settings *settings(void)
{
    struct relay_settings *s = relay_settings_new();
    s->hostname = STR("us.test");
    s->retry_first_ms = 20;
    s->retry_max_ms = 40;
    s->retry_grey_ms = 10;
    s->idle_ms = 50;
    s->per_connection = 20;
    return s;
}

static void open_relay(struct fixture *f)
{
    const struct deliver_conf deliver = {.kv = f->kv,
                                         .store = f->store,
                                         .queue = f->queue,
                                         .lane = f->lane,
                                         .hostname = STR("us.test")};
    const struct relay_conf conf = {.kv = f->kv, .queue = f->queue};
    assert_rc(deliver_open(&f->ctx, &deliver, &f->deliver), RC_OK);
    struct relay_conf with = conf;
    with.deliver = f->deliver;
    relay_open(&f->ctx, &with, settings(), &f->relay);
}

static void close_relay(struct fixture *f)
{
    relay_close(&f->relay);
    assert_null(f->relay);
    deliver_close(&f->deliver);
}

static void begin(struct fixture *f)
{
    struct store_conf store = {0};
    *f = (struct fixture){.ctx = {.counters = &f->counters, .clock = &clock_of_test}};
    taken = opened = asked = second_copies = 0;
    is_down = is_pondering = false;
    ahead = 0;
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++)
        seen[i] = false;
    stage = task_lane_new("stage", 3, 1 << 20);
    f->kv = kv_mem_new(&f->ctx);
    f->lane = task_lane_new("short", 2, 100000);
    assert_rc(store_open(&f->ctx, f->kv, &store, &f->store), RC_OK);
    assert_rc(queue_open(&f->ctx, f->kv, &f->queue), RC_OK);
    open_relay(f);
}

static void free_sessions(void);

static void end(struct fixture *f)
{
    close_relay(f);
    task_lane_free(&stage);
    free_sessions();
    task_lane_free(&f->lane);
    queue_close(&f->queue);
    store_close(&f->store);
    kv_close(&f->kv);
}

/* --- in the place of where.c ------------------------------------------------------------------ */

struct asking {
    struct task_job job;
    struct relay_where *where;
};

static void answer(struct task_job *job)
{
    struct asking *a = CONTAINER(job, struct asking, job);
    struct relay_where *w = a->where;
    free(a);
    asked++;
    while (is_pondering)
        usleep(1000);
    w->outcome = (struct relay_outcome){.rc = RC_OK};
    w->ttl = 60;
    if (w->domain.p[0] == 'n') {
        w->outcome = (struct relay_outcome){
            .rc = RC_PERM, .status = "5.1.2", .text = STR("there is no such domain")};
    } else {
        w->targets = arena_zero(&w->arena, sizeof *w->targets);
        w->n_targets = 1;
        w->targets[0].host = arena_dup(&w->arena, w->domain);
        w->targets[0].addr.sa.sin6_family = AF_INET6;
    }
    w->done(w);
}

void relay_where(const struct relay_house *house, struct relay_where *where)
{
    struct asking *a = mem_zero(sizeof *a);
    a->where = where;
    a->job.run = answer;
    assert_rc(task_lane_post(stage, &a->job), RC_OK);
}

/* --- in the place of session.c ---------------------------------------------------------------- */

struct relay_session {
    struct relay_session *next; /* of all there were */
    struct task_serial serial;  /* its loop */
    struct task_job open, ending;
    struct relay_session_owner *owner;
    char host[64];
    unsigned jobs;
    bool is_refused, was_ready;
};

static struct relay_session *_Atomic sessions;

static void free_sessions(void)
{
    for (struct relay_session *s = atomic_exchange(&sessions, NULL), *next; s; s = next) {
        next = s->next;
        task_serial_fini(&s->serial);
        free(s);
    }
}

struct sending {
    struct task_job job;
    struct relay_session *session;
    struct relay_job *what;
};

static void end_session(struct task_job *job)
{
    struct relay_session *s = CONTAINER(job, struct relay_session, ending);
    s->owner->gone(s->owner, s); /* freed at the end: its serial queue still looks at itself */
}

static void is_connected(struct task_job *job)
{
    struct relay_session *s = CONTAINER(job, struct relay_session, open);
    s->is_refused = is_down;
    s->was_ready = !s->is_refused;
    if (s->was_ready)
        s->owner->ready(s->owner, s);
}

enum rc relay_session_open(const struct relay_house *house, const struct relay_settings *settings_,
                           const struct relay_target *target, struct relay_session_owner *owner,
                           struct relay_session **out)
{
    struct relay_session *s = mem_zero(sizeof *s);
    task_serial_init(&s->serial, stage);
    snprintf(s->host, sizeof s->host, "%.*s", STR_ARG(target->host));
    s->owner = owner;
    s->open.run = is_connected;
    s->ending.run = end_session;
    s->next = atomic_exchange(&sessions, s); /* one caller at a time */
    opened++;
    *out = s;
    return task_serial_post(&s->serial, &s->open);
}

static struct relay_outcome outcome_of(const struct relay_session *s, struct str address)
{
    char number[16];
    struct str local = str_head(address, (size_t)str_find_byte(address, '@'));
    snprintf(number, sizeof number, "%.*s", (int)local.n - 1, local.p + 1);
    unsigned n = (unsigned)atoi(number);
    if (s->host[0] == 'g' && !atomic_exchange(&seen[n], true)) /* greylisting */
        return (struct relay_outcome){.rc = RC_TEMP,
                                      .stage = RELAY_AT_RCPT,
                                      .code = 451,
                                      .status = "4.7.1",
                                      .text = STR("come back later")};
    if (s->host[0] != 'g' && atomic_exchange(&seen[n], true))
        second_copies++;
    taken++;
    return (struct relay_outcome){
        .stage = RELAY_AT_END, .code = 250, .status = "2.0.0", .text = STR("taken")};
}

static void say(struct task_job *job)
{
    struct sending *x = CONTAINER(job, struct sending, job);
    struct relay_session *s = x->session;
    struct relay_job *what = x->what;
    free(x);
    what->is_open = !s->is_refused;
    what->is_stale = s->jobs > 0 && random_u64() % 50 == 0;
    if (what->is_stale)
        what->is_open = false;
    for (size_t i = 0; i < what->n && !what->is_stale; i++)
        what->outcomes[i] = s->is_refused
                                ? (struct relay_outcome){.rc = RC_TEMP,
                                                         .stage = RELAY_AT_CONNECT,
                                                         .text = STR("connection refused")}
                                : outcome_of(s, what->recipients[i]->address);
    s->jobs++;
    bool is_over = !what->is_open;
    what->done(what);
    if (is_over)
        assert_rc(task_serial_post(&s->serial, &s->ending), RC_OK);
}

void relay_session_send(struct relay_session *s, struct relay_job *job)
{
    struct sending *x = mem_zero(sizeof *x);
    x->session = s;
    x->what = job;
    x->job.run = say;
    assert_rc(task_serial_post(&s->serial, &x->job), RC_OK);
}

void relay_session_close(struct relay_session *s)
{
    assert_rc(task_serial_post(&s->serial, &s->ending), RC_OK);
}

/* --- messages --------------------------------------------------------------------------------- */

struct adding {
    struct queue_op op;
    _Atomic bool is_done;
};

static void added(struct queue_op *op)
{
    CONTAINER(op, struct adding, op)->is_done = true;
}

static void add(struct fixture *f, unsigned number, const char *domain, uint64_t due)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    char address[128];
    snprintf(address, sizeof address, "u%u@%s", number, domain);
    struct queue_recipient r = {.address = str_of(address), .domain = str_of(domain)};
    struct queue_item item = {.size = 10,
                              .received = clock_wall(&clock_system),
                              .due = due,
                              .sender = STR("a@us.test"),
                              .log_id = STR("m"),
                              .recipients = &r,
                              .n_recipients = 1};
    struct adding a = {.op = {.done = added}};
    assert_rc(kv_blob_write(out, STR("\r\ntext\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, &item.blob), RC_OK);
    assert_rc(queue_add(f->queue, &item, 1, &a.op), RC_OK);
    while (!a.is_done)
        sched_yield();
    assert_rc(a.op.rc, RC_OK);
    kv_blob_forget(f->kv, item.blob);
}

static void wait_for(const char *what, _Atomic unsigned *counter, unsigned n)
{
    for (int i = 0; *counter < n; i++) {
        if (i > 60000)
            fail_msg("%s: %u of %u", what, *counter, n);
        usleep(1000);
    }
}

static void wait_for_empty(struct fixture *f)
{
    for (int i = 0; queue_count(f->queue) > 0; i++) {
        if (i > 60000)
            fail_msg("%u items are left", (unsigned)queue_count(f->queue));
        usleep(1000);
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static void every_message_goes_once(void **state)
{
    struct fixture f;
    char domain[32];
    begin(&f);
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(domain, sizeof domain, "d%u.test", i % 7);
        add(&f, i, domain, 0);
    }
    wait_for("taken", &taken, 2000);
    wait_for_empty(&f);
    assert_int_equal(second_copies, 0);
    assert_int_equal(taken, 2000);
    assert_int_equal(counter_get(&f.counters, COUNTER_RELAYED), 2000);
    end(&f);
}

static void what_is_put_off_comes_back(void **state)
{
    struct fixture f;
    begin(&f);
    for (unsigned i = 0; i < 200; i++)
        add(&f, i, i % 2 ? "grey.test" : "g2.test", 0);
    wait_for("taken", &taken, 200);
    wait_for_empty(&f);
    assert_int_equal(counter_get(&f.counters, COUNTER_DEFERRED), 200);
    end(&f);
}

static void a_host_that_is_down_comes_back(void **state)
{
    struct fixture f;
    begin(&f);
    is_down = true;
    for (unsigned i = 0; i < 300; i++)
        add(&f, i, "down.test", 0);
    while (counter_get(&f.counters, COUNTER_DEFERRED) < 600)
        usleep(1000);
    assert_int_equal(taken, 0);
    is_down = false;
    wait_for("taken", &taken, 300);
    wait_for_empty(&f);
    assert_int_equal(second_copies, 0);
    end(&f);
}

static void what_waits_is_taken_up_by_the_next(void **state)
{
    struct fixture f;
    begin(&f);
    is_down = true;
    for (unsigned i = 0; i < 100; i++)
        add(&f, i, "d.test", 0);
    close_relay(&f);
    is_down = false;
    open_relay(&f);
    wait_for("taken", &taken, 100);
    wait_for_empty(&f);
    assert_int_equal(second_copies, 0);
    end(&f);
}

static void what_is_for_later_waits(void **state)
{
    struct fixture f;
    begin(&f);
    uint64_t due = clock_wall(&clock_system) + NS_PER_SEC;
    add(&f, 1, "d.test", due);
    wait_for("taken", &taken, 1);
    assert_true(clock_wall(&clock_system) >= due);
    wait_for_empty(&f);
    end(&f);
}

/* It was due when it was taken into memory, and is not any more: it is not forgotten. */
static void a_clock_that_is_set_back_stops_nothing(void **state)
{
    struct fixture f;
    begin(&f);
    is_pondering = true;
    ahead = 2 * NS_PER_SEC;
    add(&f, 1, "d.test", 0);
    wait_for("asked", &asked, 1);
    ahead = 0;
    is_pondering = false;
    wait_for("taken", &taken, 1);
    wait_for_empty(&f);
    end(&f);
}

static void more_than_fits_into_memory_goes_too(void **state)
{
    struct fixture f;
    begin(&f);
    is_down = true;
    struct relay_settings *few = settings();
    few->entries = 50;
    relay_set(f.relay, few);
    for (unsigned i = 0; i < 1000; i++)
        add(&f, i, "d.test", 0);
    is_down = false;
    wait_for("taken", &taken, 1000);
    wait_for_empty(&f);
    assert_int_equal(second_copies, 0);
    end(&f);
}

static void a_domain_that_is_none_bounces(void **state)
{
    struct fixture f;
    begin(&f);
    add(&f, 1, "none.test", 0);
    while (counter_get(&f.counters, COUNTER_BOUNCED) < 1)
        usleep(1000);
    end(&f);
}

/* With a host that answers, and with one that does not. */
static void what_is_sent_back_is_not_tried(void **state)
{
    struct fixture f;
    begin(&f);
    for (unsigned i = 1; i <= 20; i++)
        add(&f, i, "d.test", clock_wall(&clock_system) + 3600 * NS_PER_SEC);
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[20];
        size_t n, changed;
        is_down = shard % 2;
        assert_rc(queue_list(f.queue, shard, NULL, ids, 20, &n), RC_OK);
        assert_rc(queue_act(f.queue, QUEUE_RETURN, NULL, ids, n, &changed), RC_OK);
        assert_int_equal(changed, n);
    }
    is_down = false;
    wait_for_empty(&f);
    while (counter_get(&f.counters, COUNTER_BOUNCED) < 20)
        usleep(1000);
    assert_int_equal(taken, 20); /* the reports */
    for (unsigned i = 1; i <= 20; i++)
        assert_false(seen[i]);
    end(&f);
}

static void figures_name_the_busiest(void **state)
{
    struct fixture f;
    struct relay_destination all[3];
    struct relay_figures figures;
    begin(&f);
    for (unsigned i = 0; i < 60; i++)
        add(&f, i, i < 10 ? "d1.test" : i < 30 ? "d2.test" : i < 59 ? "d3.test" : "d4.test", 0);
    wait_for("taken", &taken, 60);
    wait_for_empty(&f);
    assert_int_equal(relay_destinations(f.relay, all, 3), 3);
    assert_string_equal(all[0].name, "d3.test");
    assert_int_equal(all[0].sent, 29);
    assert_string_equal(all[2].name, "d1.test");
    relay_figures(f.relay, &figures);
    assert_int_equal(figures.destinations, 4);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_goes_once),
        cmocka_unit_test(what_is_put_off_comes_back),
        cmocka_unit_test(a_host_that_is_down_comes_back),
        cmocka_unit_test(what_waits_is_taken_up_by_the_next),
        cmocka_unit_test(what_is_for_later_waits),
        cmocka_unit_test(a_clock_that_is_set_back_stops_nothing),
        cmocka_unit_test(more_than_fits_into_memory_goes_too),
        cmocka_unit_test(a_domain_that_is_none_bounces),
        cmocka_unit_test(what_is_sent_back_is_not_tried),
        cmocka_unit_test(figures_name_the_busiest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
