#include "base/bytes.h"
#include "base/test.h"

static void what_is_packed_comes_back(void **state)
{
    char mem[64];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, 1);
    pack_u16(&w, 0x1234);
    pack_u32(&w, 0xdeadbeef);
    pack_u64(&w, UINT64_MAX - 1);
    pack_str16(&w, STR("hello"));
    struct unpacker r;
    unpack_init(&r, pack_done(&w));
    assert_int_equal(unpack_u8(&r), 1);
    assert_int_equal(unpack_u16(&r), 0x1234);
    assert_int_equal(unpack_u32(&r), 0xdeadbeef);
    assert_true(unpack_u64(&r) == UINT64_MAX - 1);
    assert_str(unpack_str16(&r), "hello");
    assert_rc(unpack_done(&r), RC_OK);
    assert_int_equal(unpack_u8(&r), 0);
    assert_rc(unpack_done(&r), RC_CORRUPT);
}

static void overruns_are_noticed(void **state)
{
    char mem[4];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u32(&w, 1);
    pack_u8(&w, 1);
    assert_true(str_is_null(pack_done(&w)));
    struct unpacker r;
    unpack_init(&r, STR("\x00\x05"
                        "abc"));
    assert_true(str_is_null(unpack_str16(&r)));
    assert_rc(unpack_done(&r), RC_CORRUPT);
}

static void keys_sort_as_numbers(void **state)
{
    unsigned char a[8], b[8];
    put_u64(a, 255);
    put_u64(b, 256);
    assert_true(memcmp(a, b, 8) < 0);
    assert_true(get_u64(b) == 256);
}

static void crc_is_castagnoli(void **state)
{
    assert_int_equal(crc32c(0, STR("123456789")), 0xe3069283);
    uint32_t parts = crc32c(crc32c(0, STR("1234")), STR("56789"));
    assert_int_equal(parts, 0xe3069283);
}

/* One byte at a time is the definition; longer pieces take other ways. */
static void crc_of_any_length_is_the_same(void **state)
{
    enum { LONGEST = 5000 };
    unsigned char bytes[LONGEST];
    uint32_t one = 0;
    for (size_t i = 0; i < LONGEST; i++)
        bytes[i] = (unsigned char)(i * i + i / 7);
    for (size_t n = 0; n < LONGEST; n++) {
        assert_int_equal(crc32c(0, str_from(bytes, n)), one);
        one = crc32c(one, str_from(bytes + n, 1));
    }
    assert_int_equal(crc32c(crc32c(0, str_from(bytes, 1700)), str_from(bytes + 1700, 3300)), one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),     cmocka_unit_test(overruns_are_noticed),
        cmocka_unit_test(keys_sort_as_numbers),          cmocka_unit_test(crc_is_castagnoli),
        cmocka_unit_test(crc_of_any_length_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
