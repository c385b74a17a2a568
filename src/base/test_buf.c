#include "base/buf.h"
#include "base/test.h"

static void the_cap_holds(void **state)
{
    struct buf b;
    buf_init(&b, 10);
    assert_rc(buf_add(&b, STR("12345678")), RC_OK);
    assert_rc(buf_add(&b, STR("abc")), RC_LIMIT);
    assert_str(buf_str(&b), "12345678");
    buf_consume(&b, 6);
    assert_rc(buf_add(&b, STR("abcdefgh")), RC_OK);
    assert_str(buf_str(&b), "78abcdefgh");
    buf_fini(&b);
}

static void a_long_stream_stays_small(void **state)
{
    struct buf b;
    buf_init(&b, 1000);
    for (int i = 0; i < 10000; i++) {
        assert_rc(buf_printf(&b, "line %d\r\n", i), RC_OK);
        if (buf_len(&b) > 500)
            buf_consume(&b, buf_len(&b) - 7);
    }
    assert_true(b.size <= 2048);
    buf_clear(&b);
    buf_release(&b);
    assert_null(b.mem);
}

static void printing_and_numbers(void **state)
{
    struct buf b;
    buf_init(&b, 64);
    assert_rc(buf_add_u64(&b, UINT64_MAX), RC_OK);
    assert_rc(buf_add_byte(&b, ' '), RC_OK);
    assert_rc(buf_add_u64(&b, 0), RC_OK);
    assert_str(buf_str(&b), "18446744073709551615 0");
    buf_truncate(&b, 2);
    assert_rc(buf_printf(&b, "%s", "x"), RC_OK);
    assert_str(buf_str(&b), "18x");
    buf_fini(&b);
}

static void what_is_wiped_can_be_used_again(void **state)
{
    struct buf b = {.cap = 10}, empty = {.cap = 10};
    assert_rc(buf_add(&b, STR("secret")), RC_OK);
    buf_wipe(&b);
    buf_wipe(&empty);
    assert_null(b.mem);
    assert_int_equal(buf_len(&b), 0);
    assert_rc(buf_add(&b, STR("0123456789")), RC_OK);
    assert_rc(buf_add(&b, STR("x")), RC_LIMIT);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cap_holds),
        cmocka_unit_test(a_long_stream_stays_small),
        cmocka_unit_test(printing_and_numbers),
        cmocka_unit_test(what_is_wiped_can_be_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
