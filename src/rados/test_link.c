/* The link against a cluster: what guards, parts and bounds of calls do. */
#include "rados/fixture.h"
#include "rados/link_int.h"

#include <semaphore.h>
#include <stdio.h>

static struct link *link_of(struct fixture *f)
{
    return rad_of(f->kv)->link;
}

static struct link_call *call_on(struct fixture *f, const char *object)
{
    return link_call_new(link_of(f), LINK_INDEX, object);
}

static enum link_result write_end(struct link_call *call)
{
    enum link_result result = link_write_wait(call, 0);
    link_call_free(&call);
    return result;
}

#define assert_result(result, expected)                                                            \
    assert_string_equal(link_result_name(result), link_result_name(expected))

static void put_row(struct fixture *f, const char *object, struct str key, struct str value)
{
    struct link_call *call = call_on(f, object);
    link_write_row(call, key, value);
    assert_result(write_end(call), LINK_OK);
}

static void guards_let_through_or_refuse_all(void **state)
{
    struct fixture *f = *state;
    struct link_call *call = call_on(f, "o");
    link_guard_row(call, STR("g"), STR("1"));
    link_write_row(call, STR("k"), STR("v"));
    assert_result(write_end(call), LINK_MISSING);
    put_row(f, "o", STR("g"), STR("1"));
    call = call_on(f, "o");
    link_write_row(call, STR("k"), STR("v")); /* guards count wherever they are added */
    link_guard_row(call, STR("g"), STR("2"));
    assert_result(write_end(call), LINK_REFUSED);
    call = call_on(f, "o");
    link_read_row(call, STR("k"));
    link_guard_row(call, STR("g"), STR("1"));
    struct str key, value;
    assert_result(link_read_wait(call, 0), LINK_OK);
    assert_false(link_got_key(call, &key, &value));
    link_call_free(&call);
    call = call_on(f, "o");
    link_guard_row(call, STR("g"), STR("1"));
    link_guard_row(call, STR("none"), STR(""));
    link_write_row(call, STR("k"), STR("v"));
    assert_result(write_end(call), LINK_OK);
    call = call_on(f, "o");
    link_guard_row(call, STR("g"), STR("2"));
    link_read_rows(call, (struct str){0}, 10);
    assert_result(link_read_wait(call, 0), LINK_REFUSED);
    link_call_free(&call);
}

static void objects_are_made_once_and_removed(void **state)
{
    struct fixture *f = *state;
    struct link_call *call = call_on(f, "o");
    link_write_assert_exists(call);
    link_write_bytes(call, STR("x"));
    assert_result(write_end(call), LINK_MISSING);
    static const enum link_result expected[] = {LINK_OK, LINK_EXISTS};
    for (int i = 0; i < 2; i++) {
        call = call_on(f, "o");
        link_write_create(call);
        link_write_bytes(call, i ? STR("second") : STR("first"));
        assert_result(write_end(call), expected[i]);
    }
    call = call_on(f, "o");
    link_read_bytes(call, 1, 100);
    assert_result(link_read_wait(call, 0), LINK_OK);
    assert_str(link_got_bytes(call), "irst");
    link_call_free(&call);
    call = call_on(f, "o");
    link_write_remove(call);
    assert_result(write_end(call), LINK_OK);
    call = call_on(f, "o");
    link_read_bytes(call, 0, 1);
    assert_result(link_read_wait(call, 0), LINK_MISSING);
    link_call_free(&call);
}

/* Ranges go first, then rows, then rows are set. */
static void rows_come_in_order_and_in_pages(void **state)
{
    enum { ROWS = 1500 };
    struct fixture *f = *state;
    struct link_call *call = call_on(f, "o");
    char name[16];
    for (int i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, "r%05d", i);
        link_write_row(call, str_of(name), STR("v"));
    }
    assert_result(write_end(call), LINK_OK);
    call = call_on(f, "o");
    link_write_row(call, STR("r00005"), STR("w"));
    link_write_row_remove(call, STR("r00100"));
    link_write_range_remove(call, STR("r00000"), STR("r00010"));
    assert_result(write_end(call), LINK_OK);
    struct str key, value, last = {0}, after = {0};
    int n = 0;
    bool has_more = true;
    for (int page = 0; has_more; page++) {
        call = call_on(f, "o");
        link_read_rows(call, after, ROWS);
        assert_result(link_read_wait(call, 0), LINK_OK);
        for (; link_got_row(call, &key, &value); n++, last = key)
            assert_true(n > 0 || (str_eq(key, STR("r00005")) && str_eq(value, STR("w"))));
        has_more = link_got_more(call);
        assert_int_equal(has_more, page == 0);
        after = arena_dup(&f->arena, last);
        link_call_free(&call);
    }
    assert_int_equal(n, ROWS - 10);
}

static void attributes_come_and_go(void **state)
{
    struct fixture *f = *state;
    struct link_call *call = call_on(f, "o");
    link_write_attr(call, "one", STR("1"));
    link_write_attr(call, "two", STR("2"));
    assert_result(write_end(call), LINK_OK);
    call = call_on(f, "o");
    link_guard_attr(call, "one", STR("9"));
    link_write_attr_remove(call, "two");
    assert_result(write_end(call), LINK_REFUSED);
    call = call_on(f, "o");
    link_guard_attr(call, "one", STR("1"));
    link_write_attr_remove(call, "two");
    assert_result(write_end(call), LINK_OK);
    struct str name, value;
    call = call_on(f, "o");
    link_read_attrs(call);
    assert_result(link_read_wait(call, 0), LINK_OK);
    assert_true(link_got_attr(call, &name, &value));
    assert_str(name, "one");
    assert_str(value, "1");
    assert_false(link_got_attr(call, &name, &value));
    link_call_free(&call);
}

/* --- bounds ----------------------------------------------------------------------------------- */

struct crowd {
    struct link *link;
    sem_t done;
    _Atomic size_t most;
    _Atomic int failed;
};

static void count(struct link_call *call, enum link_result result, void *arg)
{
    struct crowd *crowd = arg;
    pthread_mutex_lock(&crowd->link->mutex);
    size_t n = crowd->link->n_sent;
    pthread_mutex_unlock(&crowd->link->mutex);
    if (n > atomic_load(&crowd->most))
        atomic_store(&crowd->most, n);
    if (result != LINK_OK)
        atomic_fetch_add(&crowd->failed, 1);
    link_call_free(&call);
    sem_post(&crowd->done);
}

static void no_more_than_allowed_are_sent_at_once(void **state)
{
    enum { CALLS = 300, AT_ONCE = 3 };
    struct fixture *f = *state;
    struct crowd crowd = {.most = 0};
    kv_close(&f->kv);
    f->conf.in_flight = AT_ONCE;
    f->kv = fixture_open(f);
    crowd.link = link_of(f);
    sem_init(&crowd.done, 0, 0);
    for (int i = 0; i < CALLS; i++) {
        char object[16];
        snprintf(object, sizeof object, "o%d", i % 7);
        struct link_call *call = call_on(f, object);
        link_write_row(call, STR("k"), str_of(object));
        link_write(call, 0, count, &crowd);
    }
    for (int i = 0; i < CALLS; i++)
        while (sem_wait(&crowd.done) != 0)
            continue;
    assert_int_equal(atomic_load(&crowd.failed), 0);
    assert_in_range(atomic_load(&crowd.most), 0, AT_ONCE);
    sem_destroy(&crowd.done);
}

/* --- time ------------------------------------------------------------------------------------- */

static enum kv_rados_fate always_late(const struct kv_rados_hooks *hooks, const char *object)
{
    return object[0] == 'o' ? KV_RADOS_LATE : KV_RADOS_DONE;
}

/* Who waited is told that nobody knows; it is done nevertheless, before the link closes. */
static void a_late_write_is_unknown_and_done(void **state)
{
    struct fixture *f = *state;
    struct kv_rados_hooks hooks = {.fate = always_late};
    kv_close(&f->kv);
    f->conf.hooks = &hooks;
    f->kv = fixture_open(f);
    struct link_call *call = call_on(f, "o");
    link_write_bytes(call, STR("late"));
    assert_result(write_end(call), LINK_UNKNOWN);
    f->conf.hooks = NULL;
    fixture_reopen(f);
    call = call_on(f, "o");
    link_read_bytes(call, 0, 100);
    assert_result(link_read_wait(call, 0), LINK_OK);
    assert_str(link_got_bytes(call), "late");
    link_call_free(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(guards_let_through_or_refuse_all),
        fixture_test(objects_are_made_once_and_removed),
        fixture_test(rows_come_in_order_and_in_pages),
        fixture_test(attributes_come_and_go),
        fixture_test(no_more_than_allowed_are_sent_at_once),
        fixture_test(a_late_write_is_unknown_and_done),
    };
    return fixture_run(tests);
}
