#include "relay/schedule_int.h"

#include "base/test.h"

enum { MINUTE = 60 };
#define S(n) ((n)*NS_PER_SEC)

static const struct backoff usual = {S(5 * MINUTE), S(240 * MINUTE), S(MINUTE)};

/* The wait without what chance adds or takes. */
static uint64_t middle(uint64_t age, bool is_grey)
{
    uint64_t least = backoff_wait(&usual, age, is_grey, 0);
    return least * 8 / 7;
}

static void waits_double_up_to_the_longest(void **state)
{
    assert_int_equal(middle(0, false) / NS_PER_SEC, 300);
    assert_int_equal(middle(S(5 * MINUTE), false) / NS_PER_SEC, 300);
    assert_int_equal(middle(S(10 * MINUTE), false) / NS_PER_SEC, 600);
    assert_int_equal(middle(S(80 * MINUTE), false) / NS_PER_SEC, 4800);
    assert_int_equal(middle(S(5000 * MINUTE), false) / NS_PER_SEC, 14400);
    assert_int_equal(middle(UINT64_MAX / 2, false) / NS_PER_SEC, 14400);
}

/* [RFC5321 4.5.4.1]: at least 30 minutes apart is the usual advice; a host that wants to see who
 * comes back is met sooner, once. */
static void the_first_after_greylisting_is_short(void **state)
{
    assert_in_range(backoff_wait(&usual, S(1), true, 77), S(52), S(68));
    assert_in_range(backoff_wait(&usual, S(61), true, 77), S(262), S(338));
    assert_in_range(backoff_wait(&usual, S(1), false, 77), S(262), S(338));
}

static void chance_stays_within_an_eighth(void **state)
{
    for (uint64_t r = 0; r < 1000; r++) {
        uint64_t wait = backoff_wait(&usual, 0, false, r * UINT64_C(0x9e3779b97f4a7c15));
        assert_in_range(wait, S(262), S(338));
    }
    assert_int_equal(backoff_wait(&(struct backoff){0}, 0, false, 5), 0); /* nothing to divide by */
}

static void a_host_is_left_alone_longer_each_time(void **state)
{
    static const unsigned minutes[] = {5, 10, 20, 30, 30};
    for (unsigned i = 0; i < 5; i++) {
        uint64_t wait = backoff_host(&usual, i + 1, 0);
        assert_int_equal(wait, S(minutes[i] * MINUTE) - S(minutes[i] * MINUTE) / 8);
    }
    const struct backoff small = {S(1), S(2), S(1)};
    assert_in_range(backoff_host(&small, 1000000, 12345), S(1), S(3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_up_to_the_longest),
        cmocka_unit_test(the_first_after_greylisting_is_short),
        cmocka_unit_test(chance_stays_within_an_eighth),
        cmocka_unit_test(a_host_is_left_alone_longer_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
