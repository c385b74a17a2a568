/* Frames and sums of stored blobs, against bytes written out by hand. */
#include "kv/kv_record.h"

#include "kv/kv_int.h"

#include "base/bytes.h"
#include "base/test.h"

static const struct record example = {
    .id = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
    .part = {KV_ACCOUNT, 0x1122334455667788},
    .commit = 0x0102030405060708,
    .size = 0x20001,
    .codec = 7,
    .key_id = 0xaabbccdd,
};

static void a_frame_is_as_drawn(void **state)
{
    static const unsigned char drawn[60] = {
        'P',  'f',  'B',  '1',  1,    7,    'A',  0,                                  /* 0 */
        0,    1,    2,    3,    4,    5,    6,    7,    8, 9, 10, 11, 12, 13, 14, 15, /* 8 */
        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,                               /* 24 */
        1,    2,    3,    4,    5,    6,    7,    8,                                  /* 32 */
        0,    0,    0,    0,    0,    2,    0,    1,                                  /* 40 */
        0xaa, 0xbb, 0xcc, 0xdd, 0,    0,    0,    0,                                  /* 48 */
    };
    unsigned char frame[RECORD_FRAME];
    kv_record_frame(frame, &example);
    assert_memory_equal(frame, drawn, sizeof drawn);
    assert_int_equal(get_u32(frame + 60), crc32c(0, str_from(drawn, sizeof drawn)));
    struct record back;
    assert_rc(kv_record_parse(frame, &back), RC_OK);
    assert_true(kv_blob_id_eq(back.id, example.id));
    assert_int_equal(back.part.class, KV_ACCOUNT);
    assert_true(back.part.id == example.part.id && back.commit == example.commit &&
                back.size == example.size);
    assert_true(back.codec == 7 && back.key_id == 0xaabbccdd);
}

static void a_frame_with_any_bit_changed_is_none(void **state)
{
    unsigned char frame[RECORD_FRAME];
    struct record back;
    kv_record_frame(frame, &example);
    for (size_t bit = 0; bit < sizeof frame * 8; bit++) {
        frame[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_rc(kv_record_parse(frame, &back), RC_CORRUPT);
        frame[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    assert_rc(kv_record_parse(frame, &back), RC_OK);
}

static void sizes_are_counted_in_chunks(void **state)
{
    static const struct {
        uint64_t size, chunks, bytes;
    } table[] = {
        {0, 0, 64},        {1, 1, 72},        {4, 1, 72},          {5, 1, 80},
        {65536, 1, 65608}, {65537, 2, 65616}, {262144, 4, 262224},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(kv_record_chunks(table[i].size), table[i].chunks);
        assert_int_equal(kv_record_bytes(table[i].size), table[i].bytes);
    }
}

static void each_chunk_has_its_sum(void **state)
{
    static unsigned char body[RECORD_CHUNK + 3];
    unsigned char sums[8];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (unsigned char)(i * 7);
    kv_record_sums(sums, str_from(body, sizeof body));
    assert_int_equal(get_u32(sums), crc32c(0, str_from(body, RECORD_CHUNK)));
    assert_int_equal(get_u32(sums + 4), crc32c(0, str_from(body + RECORD_CHUNK, 3)));
}

static void ids_are_written_as_hex(void **state)
{
    char text[BLOB_ID_TEXT];
    struct kv_blob_id back;
    kv_blob_id_text(text, &example.id);
    assert_string_equal(text, "000102030405060708090a0b0c0d0e0f");
    assert_true(kv_blob_id_parse(text, &back) && kv_blob_id_eq(back, example.id));
    assert_false(kv_blob_id_parse("000102030405060708090a0b0c0d0e0", &back));
    assert_false(kv_blob_id_parse("000102030405060708090a0b0c0d0e0F", &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_as_drawn),
        cmocka_unit_test(a_frame_with_any_bit_changed_is_none),
        cmocka_unit_test(sizes_are_counted_in_chunks),
        cmocka_unit_test(each_chunk_has_its_sum),
        cmocka_unit_test(ids_are_written_as_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
