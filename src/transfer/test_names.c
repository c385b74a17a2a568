/* Names of folders, special ones, and the set of what was seen. */
#include "transfer/transfer_int.h"

#include "base/bytes.h"
#include "base/test.h"

#include <stdio.h>
#include <string.h>

static void names_are_split_or_refused(void **state)
{
    struct str levels[STORE_LEVELS];
    char text[600];
    size_t n;
    assert_null(split_name(STR("a/b c/\xc3\xa4"), levels, &n));
    assert_int_equal(n, 3);
    assert_true(str_eq(levels[1], STR("b c")));
    assert_string_equal(split_name(STR(""), levels, &n), "a level of its name is empty");
    assert_string_equal(split_name(STR("a//b"), levels, &n), "a level of its name is empty");
    assert_string_equal(split_name(STR("a\n"), levels, &n), "its name has control characters");
    assert_string_equal(split_name(STR("\xff"), levels, &n), "its name is not UTF-8");
    memset(text, 'x', sizeof text);
    assert_null(split_name(str_from(text, 255), levels, &n));
    assert_string_equal(split_name(str_from(text, 256), levels, &n),
                        "a level of its name is longer than 255 bytes");
    for (size_t i = 1; i < 41; i += 2)
        text[i] = '/';
    assert_null(split_name(str_from(text, 39), levels, &n));
    assert_string_equal(split_name(str_from(text, 41), levels, &n),
                        "its name has more than 20 levels");
}

static void each_role_goes_to_one_folder(void **state)
{
    struct transfer_folder f[] = {
        {.name = STR("Sent Messages")},
        {.name = STR("Sent Items")},
        {.name = STR("spam")},
        {.name = STR("Lists/Sent")},
        {.name = STR("Bin"), .role = STORE_TRASH},
        {.name = STR("Trash")},
    };
    transfer_roles_by_name(f, 6);
    assert_int_equal(f[0].role, STORE_NONE);
    assert_int_equal(f[1].role, STORE_SENT);
    assert_int_equal(f[2].role, STORE_JUNK);
    assert_int_equal(f[3].role, STORE_NONE);
    assert_int_equal(f[4].role, STORE_TRASH);
    assert_int_equal(f[5].role, STORE_NONE);
    assert_int_equal(transfer_role_of_name(STR("inbox")), STORE_INBOX);
}

static void a_set_knows_what_was_put_into_it(void **state)
{
    enum { N = 5000 };
    struct seen s = {0};
    unsigned char digest[TRANSFER_ORIGIN], zero[TRANSFER_ORIGIN] = {0};
    char text[16];
    for (unsigned i = 0; i < N; i++) {
        snprintf(text, sizeof text, "%u", i);
        struct str part = str_of(text);
        transfer_origin(&part, 1, digest);
        assert_false(seen_has(&s, digest));
        seen_add(&s, digest);
        seen_add(&s, digest);
        assert_true(seen_has(&s, digest));
    }
    assert_int_equal(s.n, N);
    seen_add(&s, zero);
    assert_false(seen_has(&s, zero));
    seen_fini(&s);
    assert_false(seen_has(&s, digest));
}

/* What is cut differently is something else. */
static void origins_keep_their_parts_apart(void **state)
{
    unsigned char a[TRANSFER_ORIGIN], b[TRANSFER_ORIGIN];
    const struct str one[] = {STR("ab"), STR("c")}, other[] = {STR("a"), STR("bc")};
    transfer_origin(one, 2, a);
    transfer_origin(other, 2, b);
    assert_memory_not_equal(a, b, sizeof a);
    transfer_origin(one, 2, b);
    assert_memory_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_split_or_refused),
        cmocka_unit_test(each_role_goes_to_one_folder),
        cmocka_unit_test(a_set_knows_what_was_put_into_it),
        cmocka_unit_test(origins_keep_their_parts_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
