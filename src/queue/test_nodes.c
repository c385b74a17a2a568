/* Two nodes work on one queue: each with its own connection to the store, its own clock and its own
 * belief about what it holds. On a store in memory and, where PENFOLD_TEST_CEPH names the ceph.conf
 * of a throw-away cluster, on that. */
#include "queue/fixture.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEASE_MS = 2000, ITEMS = 30, SKIPPED = 77 };

struct stopped_clock {
    struct clock clock;
    _Atomic uint64_t stopped; /* monotonic; 0: it goes */
};

struct node {
    const char *name;
    struct stopped_clock clock;
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct queue *queue;
    struct queue_feed *feed;
};

struct nodes {
    bool is_rados;
    char store[64];
    struct ctx ctx;
    struct kv *mem;
    struct node a, b;
    struct queue_id ids[ITEMS];
    unsigned sent[ITEMS];
};

static uint64_t mono(const struct clock *clock)
{
    const struct stopped_clock *c = (const struct stopped_clock *)(const void *)clock;
    uint64_t stopped = atomic_load(&c->stopped);
    return stopped ? stopped : clock_mono(&clock_system);
}

static uint64_t wall(const struct clock *clock)
{
    return clock_wall(&clock_system);
}

static void open_queue(struct node *n)
{
    assert_rc(queue_open(&n->ctx, n->kv, &n->queue), RC_OK);
    n->feed = queue_feed_new(n->queue, QUEUE_REMOTE);
}

static void open_node(struct nodes *s, struct node *n, const char *name)
{
    const struct kv_rados_conf conf = {.plugin = PENFOLD_TEST_PLUGINS "/penfold-rados.so",
                                       .conf = getenv("PENFOLD_TEST_CEPH"),
                                       .name = s->store,
                                       .trust_ms = 1};
    n->name = name;
    n->clock.clock = (struct clock){mono, wall};
    n->ctx = (struct ctx){.clock = &n->clock.clock, .counters = &n->counters};
    n->kv = s->mem;
    if (s->is_rados)
        assert_rc(kv_rados_open(&s->ctx, &conf, &n->kv), RC_OK);
    open_queue(n);
}

/* Gives its shards back, as a node does that ends. */
static void close_queue(struct node *n)
{
    queue_feed_free(&n->feed);
    queue_close(&n->queue);
}

static void close_node(struct nodes *s, struct node *n)
{
    close_queue(n);
    if (s->is_rados)
        kv_close(&n->kv);
}

static int set_up(void **state)
{
    struct nodes *s = mem_zero(sizeof *s);
    s->is_rados = *state != NULL;
    s->ctx.clock = &clock_system;
    snprintf(s->store, sizeof s->store, "test-%016llx", (unsigned long long)random_u64());
    s->mem = s->is_rados ? NULL : kv_mem_new(&s->ctx);
    open_node(s, &s->a, "a");
    open_node(s, &s->b, "b");
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct nodes *s = *state;
    close_node(s, &s->b);
    close_node(s, &s->a);
    if (s->mem)
        kv_close(&s->mem);
    free(s);
    return 0;
}

/* --- what nodes do ---------------------------------------------------------------------------- */

static void work_as_node(struct node *n)
{
    const struct queue_lease_conf conf = {.node = n->name, .lease_ms = LEASE_MS, .is_shared = true};
    queue_lease_run(n->queue, &conf);
}

static size_t held_by(const struct node *n)
{
    size_t held = 0;
    for (unsigned i = 0; i < QUEUE_SHARDS; i++)
        held += queue_has_shard(n->queue, i);
    return held;
}

static void wait_until_it_has(const struct node *n, size_t shards)
{
    for (int i = 0; i < 60000 && held_by(n) != shards; i++)
        usleep(1000);
    assert_int_equal(held_by(n), shards);
}

static void add(struct nodes *s, struct node *n, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        assert_rc(add_to(n->kv, n->queue, i % 2 ? &far : &near, 1, &s->ids[i]), RC_OK);
}

static void count_sent(struct nodes *s, struct queue_id id)
{
    for (size_t i = 0; i < ITEMS; i++)
        s->sent[i] += memcmp(s->ids[i].b, id.b, sizeof id.b) == 0;
}

/* Sends what is due, as a relay does: looks whether it may and whether it is still there, sends,
 * settles. */
static size_t send_all(struct nodes *s, struct node *n)
{
    struct queue_due_page page = {.has_more = true};
    const uint16_t first = 0;
    size_t sent = 0;
    while (page.has_more) {
        struct arena arena = {0};
        assert_rc(queue_feed_next(n->feed, clock_wall(&clock_system), 7, &arena, &page), RC_OK);
        for (size_t i = 0; i < page.n; i++) {
            struct queue_entry e;
            struct queue_id id = page.entries[i].id;
            if (!queue_is_ours(n->queue, id) || queue_load(n->queue, id, 0, &arena, &e) != RC_OK)
                continue;
            count_sent(s, id);
            sent++;
            assert_rc(queue_done(n->queue, id, &first, 1), RC_OK);
        }
        arena_fini(&arena);
    }
    return sent;
}

static void send_until(struct nodes *s, struct node *n, size_t count)
{
    size_t sent = 0;
    for (int i = 0; i < 6000 && (sent += send_all(s, n)) < count; i++)
        usleep(10000);
    assert_int_equal(sent, count);
}

static void check_once(const struct nodes *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(s->sent[i], 1);
}

static void fail_with(struct queue_fsck *fsck, const char *line)
{
    print_error("%s\n", line);
}

static void check_rows(const struct node *n)
{
    struct queue_fsck fsck = {.report = fail_with};
    assert_rc(queue_fsck(n->queue, &fsck), RC_OK);
    assert_int_equal(fsck.items, 0);
    assert_int_equal(rows_of(n->kv, 'd') + rows_of(n->kv, 'r') + rows_of(n->kv, 'x'), 0);
}

/* --- tests ------------------------------------------------------------------------------------ */

/* What either adds is sent once, by who holds its shard, while that goes from one to the other. */
static void each_message_is_sent_once(void **state)
{
    struct nodes *s = *state;
    work_as_node(&s->a);
    wait_until_it_has(&s->a, QUEUE_SHARDS);
    work_as_node(&s->b);
    add(s, &s->b, 0, 10); /* of shards that the other one has */
    assert_int_equal(send_all(s, &s->b), 0);
    send_until(s, &s->a, 10);
    add(s, &s->a, 10, 20);
    close_queue(&s->a);
    wait_until_it_has(&s->b, QUEUE_SHARDS);
    send_until(s, &s->b, 10);
    open_queue(&s->a);
    work_as_node(&s->a);
    add(s, &s->a, 20, ITEMS);
    assert_int_equal(send_all(s, &s->a), 0);
    close_queue(&s->b);
    wait_until_it_has(&s->a, QUEUE_SHARDS);
    send_until(s, &s->a, ITEMS - 20);
    open_queue(&s->b);
    check_once(s, ITEMS);
    check_rows(&s->b);
}

/* A node that hangs while its leases run out. What it believes to hold afterwards changes nothing,
 * and all it had is sent by the other one. */
static void a_node_that_hung_changes_nothing(void **state)
{
    struct nodes *s = *state;
    const uint16_t first = 0;
    work_as_node(&s->a);
    wait_until_it_has(&s->a, QUEUE_SHARDS);
    work_as_node(&s->b);
    add(s, &s->a, 0, ITEMS);
    atomic_store(&s->a.clock.stopped, clock_mono(&clock_system));
    wait_until_it_has(&s->b, QUEUE_SHARDS);
    assert_int_equal(held_by(&s->a), QUEUE_SHARDS); /* as it believes */
    for (size_t i = 0; i < ITEMS; i++) {
        enum rc rc = queue_done(s->a.queue, s->ids[i], &first, 1);
        assert_true(rc == RC_TEMP || rc == RC_DENIED);
    }
    send_until(s, &s->b, ITEMS);
    check_once(s, ITEMS);
    atomic_store(&s->a.clock.stopped, 0);
    wait_until_it_has(&s->a, 0);
    assert_rc(queue_done(s->a.queue, s->ids[0], &first, 1), RC_DENIED);
    check_rows(&s->a);
    memset(s->sent, 0, sizeof s->sent);
    add(s, &s->a, 0, 10);
    close_queue(&s->b);
    wait_until_it_has(&s->a, QUEUE_SHARDS);
    send_until(s, &s->a, 10);
    check_once(s, 10);
    open_queue(&s->b);
    check_rows(&s->b);
}

static int run(const char *what, void *is_rados)
{
    struct CMUnitTest tests[] = {
        {"each_message_is_sent_once", each_message_is_sent_once, set_up, tear_down, is_rados},
        {"a_node_that_hung_changes_nothing", a_node_that_hung_changes_nothing, set_up, tear_down,
         is_rados},
    };
    print_message("%s\n", what);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* With "rados": there alone. */
int main(int argc, char **argv)
{
    bool is_only = argc > 1 && strcmp(argv[1], "rados") == 0;
    bool has_cluster = getenv("PENFOLD_TEST_CEPH") != NULL;
    int failed = is_only ? 0 : run("in memory", NULL);
    if (has_cluster)
        failed += run("on a cluster", (void *)(uintptr_t) "rados");
    if (is_only && !has_cluster) {
        print_message("skipped, PENFOLD_TEST_CEPH is not set\n");
        return SKIPPED;
    }
    return failed;
}
