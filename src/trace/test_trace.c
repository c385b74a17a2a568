/* Traces: what is noted is found by Message-ID, address and id, is kept for its time and within its
 * room, and goes on after a restart. */
#include "base/test.h"

#include "trace/trace_int.h"

#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct clock_fixed clock;
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct trace_conf conf;
    struct trace *trace;
    struct arena arena;
    struct trace_found found;
};

enum { DAY = 86400 };
static const uint64_t begin = UINT64_C(1900000000) * NS_PER_SEC;

static void open_trace(struct fixture *f)
{
    assert_rc(trace_open(&f->ctx, f->kv, &f->conf, &f->trace), RC_OK);
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    clock_fixed_init(&f.clock, 0, begin);
    f.ctx = (struct ctx){NULL, &f.counters, &f.clock.clock};
    f.kv = kv_mem_new(&f.ctx);
    open_trace(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    trace_close(&f->trace);
    kv_close(&f->kv);
    arena_fini(&f->arena);
    return 0;
}

static void accept(struct fixture *f, const char *id, const char *message_id, const char *from,
                   const char *to)
{
    const struct str sender = str_of(from), recipient = str_of(to);
    trace_event(f->trace, &(struct trace_event){.what = TRACE_ACCEPTED,
                                                .id = str_of(id),
                                                .message_id = str_of(message_id),
                                                .sender = &sender,
                                                .to = &recipient,
                                                .n_to = 1});
}

static void tried(struct fixture *f, enum trace_what what, const char *id, const char *to)
{
    const struct str recipient = str_of(to);
    trace_event(f->trace, &(struct trace_event){.what = what,
                                                .id = str_of(id),
                                                .to = &recipient,
                                                .n_to = 1,
                                                .host = STR("mx.example.net[192.0.2.1]"),
                                                .reply = STR("said so")});
}

static void find_since(struct fixture *f, const char *what, uint64_t since, size_t max)
{
    const struct trace_query query = {str_of(what), since, max};
    arena_fini(&f->arena);
    assert_rc(trace_find(f->trace, &query, &f->arena, &f->found), RC_OK);
}

static void find(struct fixture *f, const char *what)
{
    find_since(f, what, 0, 0);
}

static void pass(struct fixture *f, uint64_t seconds)
{
    assert_rc(trace_flush(f->trace), RC_OK);
    f->clock.wall += seconds * NS_PER_SEC;
}

static size_t count_files(struct fixture *f)
{
    struct file *files;
    size_t n;
    assert_rc(trace_files_list(f->kv, FILES_OF_MAIL, &files, &n), RC_OK);
    free(files);
    return n;
}

/* --- */

static void a_story_is_found_by_all_its_names(void **state)
{
    static const char *const names[] = {"m1@a.example", "<m1@a.example>", "Alice@A.example",
                                        "bob@b.example", "id1"};
    struct fixture *f = *state;
    accept(f, "id1", "m1@a.example", "alice@a.example", "bob@b.example");
    f->clock.wall += NS_PER_SEC;
    tried(f, TRACE_DEFERRED, "id1", "bob@b.example");
    pass(f, 60);
    tried(f, TRACE_RELAYED, "id1", "bob@b.example");
    accept(f, "id2", "m2@a.example", "carol@a.example", "dave@b.example");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        find(f, names[i]);
        assert_int_equal(f->found.n, 1);
        const struct trace_story *story = &f->found.stories[0];
        assert_str(story->id, "id1");
        assert_int_equal(story->n, 3);
        assert_int_equal(story->events[0].what, TRACE_ACCEPTED);
        assert_int_equal(story->events[1].what, TRACE_DEFERRED);
        assert_int_equal(story->events[2].what, TRACE_RELAYED);
        assert_int_equal(story->events[1].time, begin + NS_PER_SEC);
        assert_str(story->events[2].host, "mx.example.net[192.0.2.1]");
    }
    find(f, "nobody@b.example");
    assert_int_equal(f->found.n, 0);
    find(f, "<bob@b.example>"); /* in brackets it is a Message-ID */
    assert_int_equal(f->found.n, 0);
}

static void a_story_goes_on_over_days_and_restarts(void **state)
{
    struct fixture *f = *state;
    accept(f, "id1", "m1@a.example", "alice@a.example", "bob@b.example");
    for (int day = 0; day < 4; day++) {
        pass(f, DAY);
        tried(f, TRACE_DEFERRED, "id1", "bob@b.example");
        if (day == 1) {
            trace_close(&f->trace);
            open_trace(f);
        }
    }
    find(f, "m1@a.example");
    assert_int_equal(f->found.n, 1);
    assert_int_equal(f->found.stories[0].n, 5);
    assert_int_equal(count_files(f), 5);
    find_since(f, "bob@b.example", f->clock.wall, 0); /* whole, however late one looks */
    assert_int_equal(f->found.stories[0].n, 5);
    find_since(f, "bob@b.example", f->clock.wall + 1, 0);
    assert_int_equal(f->found.n, 0);
}

/* A restart goes on with the file of the day. */
static void a_restart_begins_no_file(void **state)
{
    struct fixture *f = *state;
    char id[8];
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "id%d", i);
        accept(f, id, id, "alice@a.example", "bob@b.example");
        f->clock.wall += NS_PER_MS;
        trace_close(&f->trace);
        open_trace(f);
    }
    assert_int_equal(count_files(f), 1);
    find(f, "alice@a.example");
    assert_int_equal(f->found.n, 5);
    assert_str(f->found.stories[0].id, "id0");
}

static void the_latest_come_first_when_there_are_many(void **state)
{
    struct fixture *f = *state;
    char id[16];
    for (int i = 0; i < 3000; i++) {
        snprintf(id, sizeof id, "id%04d", i);
        accept(f, id, id, "alice@a.example", "bob@b.example");
        f->clock.wall += NS_PER_MS;
    }
    find_since(f, "alice@a.example", 0, 10);
    assert_int_equal(f->found.n, 10);
    assert_true(f->found.has_more);
    assert_str(f->found.stories[0].id, "id2990");
    assert_str(f->found.stories[9].id, "id2999");
    find(f, "id0003");
    assert_int_equal(f->found.n, 1);
    assert_int_equal(f->found.stories[0].n, 1);
}

static void a_report_belongs_to_both_messages(void **state)
{
    struct fixture *f = *state;
    const struct str alice = STR("alice@a.example");
    accept(f, "id1", "m1@a.example", "alice@a.example", "bob@b.example");
    trace_event(f->trace, &(struct trace_event){.what = TRACE_REPORTED,
                                                .id = STR("id1"),
                                                .to = &alice,
                                                .n_to = 1,
                                                .other = STR("id2")});
    tried(f, TRACE_DELIVERED, "id2", "alice@a.example");
    find(f, "id1");
    assert_int_equal(f->found.stories[0].n, 2);
    find(f, "id2");
    assert_int_equal(f->found.n, 2); /* the report's own story, and whose report it is */
    find(f, "alice@a.example");
    assert_int_equal(f->found.n, 2);
}

static void what_is_old_goes(void **state)
{
    struct fixture *f = *state;
    trace_close(&f->trace);
    f->conf.keep_ns = 3 * DAY * NS_PER_SEC;
    open_trace(f);
    for (int day = 0; day < 10; day++) {
        accept(f, "id", "m1@a.example", "alice@a.example", "bob@b.example");
        pass(f, DAY);
    }
    assert_rc(trace_flush(f->trace), RC_OK);
    assert_in_range(count_files(f), 4, 5);
    find(f, "id");
    assert_in_range(f->found.stories[0].n, 3, 5);
}

static void disk_use_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct file *files;
    uint64_t bytes = 0;
    size_t n;
    char id[16];
    trace_close(&f->trace);
    f->conf.disk_bytes = 256 << 10;
    open_trace(f);
    for (int i = 0; i < 20000; i++) {
        snprintf(id, sizeof id, "id%05d", i);
        accept(f, id, id, "alice@a.example", "bob@b.example");
        if (i % 200 == 0)
            pass(f, 1);
    }
    pass(f, 1);
    assert_rc(trace_flush(f->trace), RC_OK);
    assert_rc(trace_files_list(f->kv, FILES_OF_MAIL, &files, &n), RC_OK);
    for (size_t i = 0; i < n; i++)
        bytes += files[i].bytes;
    free(files);
    assert_true(bytes > 128 << 10 && bytes <= (256 << 10) + (64 << 10));
    find(f, "id19999");
    assert_int_equal(f->found.n, 1);
    find(f, "id00001");
    assert_int_equal(f->found.n, 0);
    assert_int_equal(counter_get(&f->counters, COUNTER_TRACE_LOST), 0);
}

/* The store stands still: nobody waits, what does not fit is counted. */
static void nobody_waits_for_the_store(void **state)
{
    struct fixture *f = *state;
    trace_close(&f->trace);
    f->conf.memory_bytes = 64 << 10;
    open_trace(f);
    for (int i = 0; i < 10000; i++)
        accept(f, "id", "m1@a.example", "alice@a.example", "bob@b.example");
    assert_rc(trace_flush(f->trace), RC_OK);
    uint64_t lost = counter_get(&f->counters, COUNTER_TRACE_LOST);
    assert_int_equal(lost + counter_get(&f->counters, COUNTER_TRACE_EVENTS), 10000);
    find(f, "id");
    assert_int_equal(f->found.stories[0].n,
                     TRACE_STORY_EVENTS < 10000 - lost ? TRACE_STORY_EVENTS : 10000 - lost);
}

static void a_failing_store_loses_events_and_no_more(void **state)
{
    struct fixture *f = *state;
    accept(f, "id1", "m1@a.example", "alice@a.example", "bob@b.example");
    assert_rc(trace_flush(f->trace), RC_OK);
    kv_mem_fail(f->kv, RC_FULL);
    accept(f, "id2", "m2@a.example", "alice@a.example", "bob@b.example");
    assert_rc(trace_flush(f->trace), RC_FULL);
    assert_int_equal(counter_get(&f->counters, COUNTER_TRACE_LOST), 1);
    accept(f, "id3", "m3@a.example", "alice@a.example", "bob@b.example");
    find(f, "alice@a.example");
    assert_int_equal(f->found.n, 2);
}

/* Two nodes with one number: each sees that of the other, nothing is mixed. */
static void two_writers_stay_apart(void **state)
{
    struct fixture *f = *state;
    struct trace *other;
    accept(f, "id1", "m1@a.example", "alice@a.example", "bob@b.example");
    assert_rc(trace_flush(f->trace), RC_OK);
    assert_rc(trace_open(&f->ctx, f->kv, &f->conf, &other), RC_OK);
    for (int i = 0; i < 5; i++) {
        tried(f, TRACE_DEFERRED, "id1", "bob@b.example");
        struct trace *mine = f->trace;
        assert_rc(trace_flush(f->trace), RC_OK);
        f->trace = other;
        tried(f, TRACE_RELAYED, "id1", "bob@b.example");
        assert_rc(trace_flush(f->trace), RC_OK);
        f->trace = mine;
    }
    trace_close(&other);
    find(f, "id1");
    assert_int_equal(f->found.stories[0].n, 11);
    assert_int_equal(count_files(f), 2);
}

static void no_trace_is_no_harm(void **state)
{
    trace_event(NULL, &(struct trace_event){.what = TRACE_ACCEPTED});
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_story_is_found_by_all_its_names, setup, teardown),
        cmocka_unit_test_setup_teardown(a_story_goes_on_over_days_and_restarts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_begins_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(the_latest_come_first_when_there_are_many, setup, teardown),
        cmocka_unit_test_setup_teardown(a_report_belongs_to_both_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_old_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(disk_use_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_for_the_store, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_store_loses_events_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(two_writers_stay_apart, setup, teardown),
        cmocka_unit_test(no_trace_is_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
