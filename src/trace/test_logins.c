/* Logins: what is the same is gathered, what fails is noted at a bounded rate, and neither pushes
 * out the stories of messages. */
#include "base/test.h"

#include "trace/trace_int.h"

#include <stdio.h>

struct fixture {
    struct clock_fixed clock;
    struct counters counters;
    struct ctx ctx;
    struct login_sink sink;
    struct logins *logins;
    size_t n;
    char last[200]; /* checks */
    uint64_t time;
};

static void put(struct login_sink *sink, const struct trace_event *event)
{
    struct fixture *f = CONTAINER(sink, struct fixture, sink);
    f->n++;
    f->time = event->time;
    snprintf(f->last, sizeof f->last, "%.*s", STR_ARG(event->checks));
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.sink.put = put};
    clock_fixed_init(&f.clock, NS_PER_SEC, UINT64_C(1900000000) * NS_PER_SEC);
    f.ctx = (struct ctx){NULL, &f.counters, &f.clock.clock};
    f.logins = logins_new(&f.ctx, &f.sink);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->logins)
        logins_free(&f->logins);
    return 0;
}

static void pass(struct fixture *f, uint64_t seconds)
{
    f->clock.mono += seconds * NS_PER_SEC;
    f->clock.wall += seconds * NS_PER_SEC;
}

static void note(struct fixture *f, enum trace_what what, const char *address, const char *peer)
{
    logins_add(f->logins, &(struct trace_login){.what = what,
                                                .address = str_of(address),
                                                .peer = str_of(peer),
                                                .protocol = "imap",
                                                .cause = STR("password")});
}

static void the_same_ones_are_gathered(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 30; i++) {
        note(f, TRACE_LOGIN_FAILED, "a@x.test", "192.0.2.1");
        pass(f, 1);
    }
    assert_int_equal(f->n, 1);
    note(f, TRACE_LOGIN_FAILED, "a@x.test", "192.0.2.2");
    note(f, TRACE_LOGIN_FAILED, "b@x.test", "192.0.2.1");
    note(f, TRACE_LOGIN, "a@x.test", "192.0.2.1");
    assert_int_equal(f->n, 4);
    logins_flush(f->logins); /* somebody asks */
    assert_int_equal(f->n, 5);
    assert_string_equal(f->last, "protocol=imap times=29");
    logins_flush(f->logins);
    assert_int_equal(f->n, 5);
}

static void a_minute_later_it_is_another_one(void **state)
{
    struct fixture *f = *state;
    note(f, TRACE_LOGIN_FAILED, "a@x.test", "192.0.2.1");
    pass(f, 10);
    note(f, TRACE_LOGIN_FAILED, "a@x.test", "192.0.2.1");
    uint64_t last = f->clock.wall;
    pass(f, 60);
    note(f, TRACE_LOGIN_BLOCKED, "a@x.test", "192.0.2.1");
    assert_int_equal(f->n, 2);
    note(f, TRACE_LOGIN_FAILED, "a@x.test", "192.0.2.1"); /* the rest of the first, and itself */
    assert_int_equal(f->n, 4);
    assert_string_equal(f->last, "protocol=imap");
    note(f, TRACE_LOGIN_FAILED, "a@x.test", "192.0.2.1");
    logins_free(&f->logins);
    assert_int_equal(f->n, 5);
    assert_string_equal(f->last, "protocol=imap times=1");
    assert_true(f->time > last);
}

static void failures_are_noted_at_a_bounded_rate_and_logins_are_not(void **state)
{
    struct fixture *f = *state;
    char peer[40];
    for (int i = 0; i < 10000; i++) {
        snprintf(peer, sizeof peer, "10.%d.%d.1", i / 250, i % 250);
        note(f, TRACE_LOGIN_FAILED, "a@x.test", peer);
    }
    assert_int_equal(f->n, 2000);
    assert_int_equal(counter_get(&f->counters, COUNTER_TRACE_LOGINS_SKIPPED), 8000);
    note(f, TRACE_LOGIN, "a@x.test", "192.0.2.1");
    note(f, TRACE_NEW_PLACE, "a@x.test", "192.0.2.1");
    assert_int_equal(f->n, 2002);
    pass(f, 5);
    for (int i = 0; i < 100; i++) {
        snprintf(peer, sizeof peer, "11.0.%d.1", i);
        note(f, TRACE_LOGIN_REFUSED, "a@x.test", peer);
    }
    assert_int_equal(f->n, 2012);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_ones_are_gathered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_minute_later_it_is_another_one, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_are_noted_at_a_bounded_rate_and_logins_are_not,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
