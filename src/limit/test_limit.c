/* Rates in sliding windows, with a clock that the test moves. */
#include "limit/limit.h"

#include "base/test.h"

struct home {
    struct counters counters;
    struct clock_fixed clock;
    struct ctx ctx;
    struct kv *kv;
    struct limit *limit;
    struct limit_answer answer;
};

enum { BEGIN_S = 1000000 };
static const struct limit_conf small = {.entries = 4};

static int set_up(void **state)
{
    static struct home h;
    h = (struct home){.ctx = {.counters = &h.counters, .clock = &h.clock.clock}};
    clock_fixed_init(&h.clock, 0, BEGIN_S * NS_PER_SEC);
    h.kv = kv_mem_new(&h.ctx);
    h.limit = limit_open(&h.ctx, h.kv, &small);
    *state = &h;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    limit_close(&h->limit);
    kv_close(&h->kv);
    return 0;
}

static void pass(struct home *h, uint64_t seconds)
{
    h->clock.wall += seconds * NS_PER_SEC;
}

static enum rc take(struct home *h, uint64_t id, const struct limit_rates *rates, uint32_t n)
{
    const struct limit_subject subject = {id, *rates};
    const struct limit_wish wish = {&subject, 1, 1, n};
    return limit_take(h->limit, &wish, 0, &h->answer);
}

static const struct limit_rates three_an_hour = {.most = {[LIMIT_MESSAGES_HOUR] = 3}};

static void an_hour_slides(void **state)
{
    struct home *h = *state;
    for (int i = 0; i < 3; i++)
        assert_rc(take(h, 1, &three_an_hour, 1), RC_OK);
    pass(h, 600);
    assert_rc(take(h, 1, &three_an_hour, 1), RC_LIMIT);
    assert_int_equal(h->answer.what, LIMIT_MESSAGES_HOUR);
    /* All three count as one and a bit less when a third of the next hour has passed. */
    uint64_t wait = h->answer.wait_s;
    assert_in_range(wait, 3000 + 1199, 3000 + 1202);
    pass(h, wait - 5);
    assert_rc(take(h, 1, &three_an_hour, 1), RC_LIMIT);
    pass(h, 5);
    assert_rc(take(h, 1, &three_an_hour, 1), RC_OK);
    assert_rc(take(h, 1, &three_an_hour, 1), RC_LIMIT);
    assert_rc(take(h, 2, &three_an_hour, 1), RC_OK); /* somebody else */
    pass(h, 3 * 3600);
    for (int i = 0; i < 3; i++)
        assert_rc(take(h, 1, &three_an_hour, 1), RC_OK);
}

static void recipients_and_days_count_too(void **state)
{
    struct home *h = *state;
    const struct limit_rates rates = {
        .most = {[LIMIT_RECIPIENTS_HOUR] = 10, [LIMIT_RECIPIENTS_DAY] = 15}};
    uint32_t done[LIMIT_KINDS];
    assert_rc(take(h, 1, &rates, 11), RC_LIMIT); /* more than ever at once */
    assert_rc(take(h, 1, &rates, 10), RC_OK);
    assert_rc(take(h, 1, &rates, 1), RC_LIMIT);
    assert_int_equal(h->answer.what, LIMIT_RECIPIENTS_HOUR);
    pass(h, 3 * 3600);
    assert_rc(take(h, 1, &rates, 6), RC_LIMIT);
    assert_int_equal(h->answer.what, LIMIT_RECIPIENTS_DAY);
    assert_rc(take(h, 1, &rates, 5), RC_OK);
    assert_rc(limit_show(h->limit, 1, done), RC_OK);
    assert_int_equal(done[LIMIT_MESSAGES_DAY], 2); /* counted, though not limited */
    assert_int_equal(done[LIMIT_RECIPIENTS_DAY], 15);
}

/* All of them must allow it; nothing counts unless they do. */
static void an_account_and_its_domain(void **state)
{
    struct home *h = *state;
    const struct limit_rates two = {.most = {[LIMIT_MESSAGES_DAY] = 2}};
    const struct limit_subject both[] = {{1, three_an_hour},
                                         {limit_domain(STR("example.test")), two}};
    const struct limit_wish wish = {both, 2, 1, 1};
    uint32_t done[LIMIT_KINDS];
    assert_rc(limit_ask(h->limit, &wish, 0, &h->answer), RC_OK);
    assert_rc(limit_take(h->limit, &wish, 0, &h->answer), RC_OK);
    assert_rc(limit_take(h->limit, &wish, 0, &h->answer), RC_OK);
    assert_rc(limit_take(h->limit, &wish, 0, &h->answer), RC_LIMIT);
    assert_int_equal(h->answer.subject, 1);
    assert_rc(limit_show(h->limit, 1, done), RC_OK);
    assert_int_equal(done[LIMIT_MESSAGES_HOUR], 2);
    limit_give(h->limit, &wish);
    assert_rc(limit_take(h->limit, &wish, 0, &h->answer), RC_OK);
}

static void restarts_forget_nothing(void **state)
{
    struct home *h = *state;
    for (int i = 0; i < 3; i++)
        assert_rc(take(h, 1, &three_an_hour, 1), RC_OK);
    limit_close(&h->limit);
    h->limit = limit_open(&h->ctx, h->kv, &small);
    assert_rc(take(h, 1, &three_an_hour, 1), RC_LIMIT);
    /* A row that cannot be read is one of nothing. */
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_CACHE, 2});
    assert_rc(kv_txn_put(txn, STR("s"), STR("\1short")), RC_OK);
    assert_rc(kv_commit_wait(h->kv, txn, NULL), RC_OK);
    assert_rc(take(h, 2, &three_an_hour, 1), RC_OK);
    /* A clock that was set back opens nothing and shuts nothing for long. */
    h->clock.wall -= 7200 * NS_PER_SEC;
    assert_rc(take(h, 1, &three_an_hour, 1), RC_LIMIT);
    assert_in_range(h->answer.wait_s, 1, 7200);
}

static void memory_is_bounded(void **state)
{
    struct home *h = *state;
    for (uint64_t id = 1; id <= 100; id++)
        for (int i = 0; i < 3; i++)
            assert_rc(take(h, id, &three_an_hour, 1), RC_OK);
    for (uint64_t id = 1; id <= 100; id++)
        assert_rc(take(h, id, &three_an_hour, 1), RC_LIMIT);
}

static void new_accounts_have_less(void **state)
{
    const struct limit_rates rates = {.most = {100, 0, 1000, 5}};
    struct limit_rates r = limit_ramp(&rates, 0, 14);
    assert_int_equal(r.most[0], 10);
    assert_int_equal(r.most[1], 0);
    assert_int_equal(r.most[2], 100);
    assert_int_equal(r.most[3], 1);
    assert_int_equal(limit_ramp(&rates, 7, 14).most[0], 50);
    assert_int_equal(limit_ramp(&rates, 14, 14).most[0], 100);
    assert_int_equal(limit_ramp(&rates, 3, 0).most[0], 100);
    assert_rc(limit_rates_parse(STR("100/h,2000r/d"), &r), RC_OK);
    assert_int_equal(r.most[LIMIT_MESSAGES_HOUR], 100);
    assert_int_equal(r.most[LIMIT_RECIPIENTS_DAY], 2000);
    assert_int_equal(r.most[LIMIT_MESSAGES_DAY], 0);
    assert_rc(limit_rates_parse(STR("none"), &r), RC_OK);
    static const char *const bad[] = {"",    "100", "100/", "/h",   "r/h",
                                      "0/h", "x/h", "1/w",  "1/h,", "1/hour"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_rc(limit_rates_parse(str_of(bad[i]), &r), RC_SYNTAX);
    const struct limit_rates none = {.most = {0}};
    assert_true(limit_is_none(&none));
    assert_false(limit_is_none(&rates));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_hour_slides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(recipients_and_days_count_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_account_and_its_domain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restarts_forget_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_is_bounded, set_up, tear_down),
        cmocka_unit_test(new_accounts_have_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
