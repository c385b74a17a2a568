/* How keys and states look in omaps. */
#include "rados/rados_int.h"

#include "base/bytes.h"
#include "base/test.h"

/* In their order. */
static const struct str keys[] = {
    STR_INIT("\0"),   STR_INIT("\0\0"), STR_INIT("\0\1"),   STR_INIT("\0\2"), STR_INIT("\0a"),
    STR_INIT("\1"),   STR_INIT("\1\0"), STR_INIT("\1\1"),   STR_INIT("\1\2"), STR_INIT("\2"),
    STR_INIT("\2\0"), STR_INIT("a"),    STR_INIT("a\0"),    STR_INIT("a\0b"), STR_INIT("a\1"),
    STR_INIT("ab"),   STR_INIT("\xff"), STR_INIT("\xff\0"),
};
enum { KEYS = sizeof keys / sizeof *keys };

static void rows_keep_their_order_and_hold_no_nul(void **state)
{
    struct rad_key last = {0};
    for (size_t i = 0; i < KEYS; i++) {
        struct rad_key key, back;
        rad_key_row(&key, keys[i]);
        assert_int_equal(strlen(key.b), key.n);
        assert_true(i == 0 || str_cmp(rad_key_str(&last), rad_key_str(&key)) < 0);
        assert_rc(rad_key_row_parse(rad_key_str(&key), &back), RC_OK);
        assert_true(str_eq(rad_key_str(&back), keys[i]));
        last = key;
    }
}

static void the_longest_key_fits(void **state)
{
    char longest[KV_KEY_MAX + 1] = {0}; /* and the place behind it */
    struct rad_key key, back;
    rad_key_row(&key, str_from(longest, sizeof longest));
    assert_int_equal(key.n, 1 + 2 * sizeof longest);
    assert_rc(rad_key_row_parse(rad_key_str(&key), &back), RC_CORRUPT); /* no row has it */
    rad_key_row(&key, str_from(longest, KV_KEY_MAX));
    assert_rc(rad_key_row_parse(rad_key_str(&key), &back), RC_OK);
    assert_true(str_eq(rad_key_str(&back), str_from(longest, KV_KEY_MAX)));
}

static void what_is_no_key_is_refused(void **state)
{
    static const struct str bad[] = {STR_INIT(""),     STR_INIT("r"),     STR_INIT("x1"),
                                     STR_INIT("ra\1"), STR_INIT("r\1\3"), STR_INIT("ra\0b")};
    struct rad_key out;
    uint64_t number;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_rc(rad_key_row_parse(bad[i], &out), RC_CORRUPT);
    char long_key[1 + KV_KEY_MAX + 1];
    memset(long_key, 'r', sizeof long_key);
    assert_rc(rad_key_row_parse(str_from(long_key, sizeof long_key - 1), &out), RC_OK);
    assert_rc(rad_key_row_parse(str_from(long_key, sizeof long_key), &out), RC_CORRUPT);
    assert_rc(rad_key_number(STR("d00000000000000fg"), &number), RC_CORRUPT);
    assert_rc(rad_key_number(STR("d0"), &number), RC_CORRUPT);
    assert_rc(rad_key_number(STR("d00000000000000ff"), &number), RC_OK);
    assert_int_equal(number, 255);
}

static void states_come_back(void **state)
{
    unsigned char row[RAD_STATE];
    struct rad rad = {.node = "process"};
    struct rad_state first = {.version = 7, .epoch = 3, .finished = 2}, back;
    struct rad_state second = rad_state_next(&rad, &first);
    struct rad_state third = rad_state_next(&rad, &second);
    assert_rc(rad_state_parse(rad_state_pack(row, &third), &back), RC_OK);
    assert_int_equal(back.version, 7);
    assert_int_equal(back.epoch, 3);
    assert_int_equal(back.finished, 2);
    assert_memory_equal(back.ids, third.ids, sizeof back.ids);
    assert_false(rad_id_eq(&third.ids[0], &second.ids[0])); /* one id for each process */
    assert_true(rad_id_eq(&third.ids[1], &first.ids[0]));
    assert_rc(rad_state_parse(str_from(row, RAD_STATE - 1), &back), RC_CORRUPT);
    row[0]++;
    assert_rc(rad_state_parse(str_from(row, RAD_STATE), &back), RC_CORRUPT);
}

static void a_state_remembers_the_last_id_of_each_process(void **state)
{
    struct rad processes[RAD_RING + 1] = {{.node = {0}}};
    struct rad_state now = {0};
    struct rad_id first = {{0}};
    for (int round = 0; round < 2; round++) {
        for (unsigned char i = 0; i <= RAD_RING; i++) {
            processes[i].node[0] = i + 1;
            now = rad_state_next(&processes[i], &now);
            first = i == 0 ? now.ids[0] : first;
            if (i == RAD_RING - 1)
                assert_true(rad_id_eq(&now.ids[RAD_RING - 1], &first));
        }
        for (size_t i = 0; i < RAD_RING; i++)
            assert_int_equal(now.ids[i].b[0], RAD_RING + 1 - i);
    }
}

static void trims_shards_and_fences_come_back(void **state)
{
    unsigned char row[RAD_HEAD_VALUE];
    unsigned char fence[RAD_FENCE];
    struct rad_trim trim = {.from = STR(""), .to = STR("z\0z")};
    struct rad_shard shard = {.touched = 5, .rows = 6, .first = STR("k")}, back;
    struct str from, to;
    uint64_t epoch;
    assert_rc(rad_trim_parse(rad_trim_pack(row, &trim), &from, &to), RC_OK);
    assert_str(from, "");
    assert_str(to, "z\0z");
    assert_rc(rad_shard_parse(rad_shard_pack(row, &shard), &back), RC_OK);
    assert_int_equal(back.touched, 5);
    assert_int_equal(back.rows, 6);
    assert_str(back.first, "k");
    char long_key[KV_KEY_MAX + 2] = "";
    unsigned char long_row[RAD_HEAD_VALUE + KV_KEY_MAX] = {RAD_FORMAT};
    struct packer w;
    pack_init(&w, long_row + 1, sizeof long_row - 1);
    pack_str16(&w, STR(""));
    pack_str16(&w, str_from(long_key, sizeof long_key));
    assert_rc(rad_trim_parse(str_from(long_row, 1 + pack_done(&w).n), &from, &to), RC_CORRUPT);
    assert_rc(rad_trim_parse(STR("\1\0"), &from, &to), RC_CORRUPT);
    assert_rc(rad_shard_parse(STR("\2"), &back), RC_CORRUPT);
    assert_rc(rad_fence_parse(rad_fence_pack(fence, 9), &epoch), RC_OK);
    assert_int_equal(epoch, 9);
    assert_rc(rad_fence_parse((struct str){0}, &epoch), RC_OK);
    assert_int_equal(epoch, 0);
    assert_rc(rad_fence_parse(STR("9"), &epoch), RC_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_keep_their_order_and_hold_no_nul),
        cmocka_unit_test(the_longest_key_fits),
        cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(states_come_back),
        cmocka_unit_test(a_state_remembers_the_last_id_of_each_process),
        cmocka_unit_test(trims_shards_and_fences_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
