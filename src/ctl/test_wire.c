#include "ctl/ctl_int.h"

#include "base/test.h"

#include <string.h>

static void a_request_survives_the_way(void **state)
{
    const struct str words[] = {STR("account"), STR("add"), STR("alice@example.test")};
    struct admin_request request = {words, 3, STR("p\0w")}, got;
    struct arena arena = {0};
    struct buf b;
    buf_init(&b, CTL_REQUEST_MAX);
    assert_rc(ctl_request_pack(&request, &b), RC_OK);
    for (size_t n = 0; n < buf_len(&b); n++)
        assert_rc(ctl_request_unpack(str_head(buf_str(&b), n), &arena, &got), RC_AGAIN);
    assert_rc(ctl_request_unpack(buf_str(&b), &arena, &got), RC_OK);
    assert_int_equal(got.n_words, 3);
    assert_str(got.words[2], "alice@example.test");
    assert_str(got.password, "p\0w");
    arena_fini(&arena);
    buf_fini(&b);
}

/* An alias with as many targets as it may have, of the longest addresses there are. */
static void the_longest_command_fits(void **state)
{
    char address[AUTH_ADDRESS_MAX];
    struct str words[AUTH_ALIAS_MAX + 3];
    const size_t n = sizeof words / sizeof *words;
    struct admin_request request = {words, n, {0}}, got;
    struct arena arena = {0};
    struct buf b;
    memset(address, 'x', sizeof address);
    for (size_t i = 0; i < n; i++)
        words[i] = str_from(address, sizeof address);
    assert_true(n <= ADMIN_WORDS);
    buf_init(&b, CTL_REQUEST_MAX + 4);
    assert_rc(ctl_request_pack(&request, &b), RC_OK);
    assert_rc(ctl_request_unpack(buf_str(&b), &arena, &got), RC_OK);
    assert_int_equal(got.n_words, n);
    arena_fini(&arena);
    buf_fini(&b);
}

static void an_answer_survives_the_way(void **state)
{
    struct str cells[] = {STR("a"), STR(""), STR("c"), STR("d")};
    struct admin_answer answer = {.rc = RC_EXISTS,
                                  .error = STR("x: there is one already"),
                                  .columns = {STR("one"), STR("two")},
                                  .n_columns = 2,
                                  .cells = cells,
                                  .n_cells = 4},
                        got;
    struct buf b;
    buf_init(&b, 1000);
    assert_rc(ctl_answer_pack(&answer, &b), RC_OK);
    assert_rc(ctl_answer_unpack(buf_str(&b), &got), RC_OK);
    assert_rc(got.rc, RC_EXISTS);
    assert_str(got.error, "x: there is one already");
    assert_int_equal(got.n_cells, 4);
    assert_str(got.cells[3], "d");
    assert_str(got.columns[1], "two");
    admin_answer_fini(&got);
    buf_fini(&b);
}

static void damage_is_refused(void **state)
{
    struct arena arena = {0};
    struct admin_request request;
    struct admin_answer answer;
    assert_rc(ctl_request_unpack(STR("\xff\xff\xff\xff"
                                     "x"),
                                 &arena, &request),
              RC_LIMIT);
    assert_rc(ctl_request_unpack(STR("\0\0\0\x05\x01\0\0\x7f\xff"), &arena, &request), RC_LIMIT);
    assert_rc(ctl_request_unpack(STR("\0\0\0\x09\x01\0\0\0\x01\0\0\0\x09"), &arena, &request),
              RC_CORRUPT);
    assert_rc(ctl_request_unpack(STR("\0\0\0\x05\x02\0\0\0\x01"), &arena, &request), RC_CORRUPT);
    assert_rc(
        ctl_answer_unpack(STR("\0\0\0\x11\x01\0\0\0\0\0\0\0\0\0\0\0\0\x00\xff\xff\xff"), &answer),
        RC_CORRUPT);
    admin_answer_fini(&answer);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_survives_the_way),
        cmocka_unit_test(the_longest_command_fits),
        cmocka_unit_test(an_answer_survives_the_way),
        cmocka_unit_test(damage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
