/* The formats of blobs, tags, references and intents, against text and bytes written out by hand.
 */
#include "rados/blob_form.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

static const struct kv_blob_id id = {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc,
                                      0xba, 0x98, 0x76, 0x54, 0x32, 0x10}};
#define ID_TEXT "0123456789abcdeffedcba9876543210"

static void names(void **state)
{
    char object[FORM_OBJECT], tag[FORM_TAG], intent[FORM_INTENT];
    form_main_name(object, id);
    assert_string_equal(object, "b/" ID_TEXT);
    form_chunk_name(object, id, 0x1f);
    assert_string_equal(object, "b/" ID_TEXT ".0000001f");
    form_intents_name(object, 0xab);
    assert_string_equal(object, "i/00000000000000ab");
    form_process_key(object, UINT64_MAX);
    assert_string_equal(object, "ffffffffffffffff");
    form_tag_name(tag, (struct form_tag){{KV_ACCOUNT, 0x12}, 0x34});
    assert_string_equal(tag, "tA0000000000000012.0000000000000034");
    assert_int_equal(strlen(tag) + 1, FORM_TAG);
    form_intent_key(intent, (struct form_intent){id, 0x56});
    assert_string_equal(intent, ID_TEXT ".0000000000000056");
    assert_int_equal(strlen(intent) + 1, FORM_INTENT);
}

static void names_back(void **state)
{
    struct kv_blob_id back;
    struct form_tag tag;
    struct form_intent intent;
    uint64_t n;
    assert_true(form_body_parse(STR("b/" ID_TEXT), &back, &n));
    assert_memory_equal(back.b, id.b, sizeof id.b);
    assert_true(n == UINT64_MAX);
    assert_true(form_body_parse(STR("b/" ID_TEXT ".0000001f"), &back, &n));
    assert_int_equal(n, 0x1f);
    assert_true(form_tag_parse(STR("tQ0000000000000012.0000000000000034"), &tag));
    assert_int_equal(tag.part.class, KV_QUEUE);
    assert_int_equal(tag.part.id, 0x12);
    assert_int_equal(tag.token, 0x34);
    assert_true(form_intent_parse(STR(ID_TEXT ".0000000000000056"), &intent));
    assert_memory_equal(intent.id.b, id.b, sizeof id.b);
    assert_int_equal(intent.token, 0x56);
    assert_true(form_process_parse(STR("00000000000000ff"), &n));
    assert_int_equal(n, 255);
}

/* Whatever else lies in the pools is not taken for ours. */
static void other_names(void **state)
{
    static const struct str bodies[] = {
        STR_INIT(""),
        STR_INIT("b/"),
        STR_INIT("c/" ID_TEXT),
        STR_INIT("b/" ID_TEXT "."),
        STR_INIT("b/" ID_TEXT ".0000001"),
        STR_INIT("b/" ID_TEXT ".0000001f0"),
        STR_INIT("b/" ID_TEXT "x"),
        STR_INIT("b/0123456789ABCDEFfedcba9876543210"),
        STR_INIT("b/0123456789abcdeffedcba987654321"),
        STR_INIT("b/0123456789abcdef\0edcba9876543210"),
    };
    static const struct str tags[] = {
        STR_INIT(""),
        STR_INIT("t"),
        STR_INIT("g"),
        STR_INIT("tA0000000000000012"),
        STR_INIT("tA0000000000000012.000000000000003"),
        STR_INIT("tA0000000000000012.00000000000000340"),
        STR_INIT("t\0"
                 "0000000000000012.0000000000000034"),
    };
    struct kv_blob_id back;
    struct form_tag tag;
    struct form_intent intent;
    uint64_t n;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_false(form_body_parse(bodies[i], &back, &n));
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        assert_false(form_tag_parse(tags[i], &tag));
    assert_false(form_intent_parse(FORM_OWNER, &intent));
    assert_false(form_intent_parse(STR(ID_TEXT), &intent));
    assert_false(form_process_parse(STR("0"), &n));
}

static void values(void **state)
{
    unsigned char refs[FORM_REFS], number[FORM_NUMBER];
    struct form_refs back;
    uint64_t n;
    form_refs(refs, (struct form_refs){258, 0x1122334455667788});
    assert_memory_equal(refs, "\1\0\0\1\2\x11\x22\x33\x44\x55\x66\x77\x88", sizeof refs);
    assert_rc(form_refs_parse(str_from(refs, sizeof refs), &back), RC_OK);
    assert_int_equal(back.count, 258);
    assert_int_equal(back.token, 0x1122334455667788);
    assert_rc(form_refs_parse(str_from(refs, sizeof refs - 1), &back), RC_CORRUPT);
    refs[0] = 2;
    assert_rc(form_refs_parse(str_from(refs, sizeof refs), &back), RC_CORRUPT);
    form_refs(refs, (struct form_refs){0, 1});
    assert_rc(form_refs_parse(str_from(refs, sizeof refs), &back), RC_CORRUPT);
    form_number(number, 0x0102);
    assert_memory_equal(number, "\1\0\0\0\0\0\0\1\2", sizeof number);
    assert_rc(form_number_parse(str_from(number, sizeof number), &n), RC_OK);
    assert_int_equal(n, 0x0102);
    assert_rc(form_number_parse(STR(""), &n), RC_CORRUPT);
}

/* Of every alignment that a pool can ask for: pieces fit it, chunks are whole pieces. */
static void pieces(void **state)
{
    static const uint64_t alignments[] = {0, 1, 4096, 8192, 12288, 20480, 65536, 300000, 5 << 20};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        uint64_t a = alignments[i] ? alignments[i] : 1;
        uint32_t piece = form_piece_bytes(alignments[i]), chunk = form_chunk_bytes(alignments[i]);
        assert_int_equal(piece % a, 0);
        assert_int_equal(chunk % piece, 0);
        assert_true(piece > 0 && (piece <= FORM_PIECE || piece == a));
        assert_true(chunk <= FORM_CHUNK || chunk == piece);
    }
    assert_int_equal(form_piece_bytes(1), 262144);
    assert_int_equal(form_chunk_bytes(1), 4194304);
    assert_int_equal(form_piece_bytes(12288), 258048);
}

static void sizes(void **state)
{
    assert_int_equal(form_main_bytes(0), 64);
    assert_int_equal(form_main_bytes(1), 64 + 1 + 4);
    assert_int_equal(form_main_bytes(65537), 64 + 65537 + 8);
    assert_int_equal(form_main_bytes(KV_BLOB_SMALL), 64 + 262144 + 16);
    assert_int_equal(form_main_bytes(KV_BLOB_SMALL + 1), 64 + 5 + 20);
    assert_int_equal(form_chunks(KV_BLOB_SMALL, FORM_CHUNK), 0);
    assert_int_equal(form_chunks(KV_BLOB_SMALL + 1, FORM_CHUNK), 1);
    assert_int_equal(form_chunks(FORM_CHUNK, FORM_CHUNK), 1);
    assert_int_equal(form_chunks(FORM_CHUNK + 1, FORM_CHUNK), 2);
}

static void heads(void **state)
{
    unsigned char head[RECORD_FRAME + FORM_LARGE];
    struct record record = {
        .id = id, .part = {KV_ACCOUNT, 9}, .size = 5000, .codec = 2, .key_id = 3};
    struct record back;
    uint32_t chunk;
    form_head(head, &record, 4096);
    struct str all = str_from(head, sizeof head);
    assert_rc(form_head_parse(all, id, &back, &chunk), RC_OK);
    assert_int_equal(back.size, 5000);
    assert_int_equal(back.codec, 2);
    assert_int_equal(back.key_id, 3);
    assert_int_equal(chunk, 0); /* small */
    assert_rc(form_head_parse(str_head(all, RECORD_FRAME - 1), id, &back, &chunk), RC_CORRUPT);
    struct kv_blob_id other = id;
    other.b[15]++;
    assert_rc(form_head_parse(all, other, &back, &chunk), RC_CORRUPT);
    record.size = 1 << 20;
    form_head(head, &record, 4096);
    assert_rc(form_head_parse(all, id, &back, &chunk), RC_OK);
    assert_int_equal(chunk, 4096);
    assert_rc(form_head_parse(str_head(all, RECORD_FRAME), id, &back, &chunk), RC_CORRUPT);
    record.size = UINT64_C(1) << 41; /* more sums than any object holds */
    form_head(head, &record, 4096);
    assert_rc(form_head_parse(all, id, &back, &chunk), RC_CORRUPT);
    record.size = 1 << 20;
    form_head(head, &record, 0); /* would divide by it */
    assert_rc(form_head_parse(all, id, &back, &chunk), RC_CORRUPT);
    head[10] ^= 1;
    assert_rc(form_head_parse(all, id, &back, &chunk), RC_CORRUPT);
}

static void sums(void **state)
{
    enum { N = 2 * RECORD_CHUNK + 100 };
    unsigned char *bytes = mem_zero(N), sum[12];
    kv_record_sums(sum, str_from(bytes, N));
    assert_true(form_sums_hold(str_from(bytes, N), sum));
    assert_true(form_sums_hold(str_from(bytes + RECORD_CHUNK, RECORD_CHUNK), sum + 4));
    assert_true(form_sums_hold(STR(""), sum));
    bytes[N - 1] ^= 1;
    assert_false(form_sums_hold(str_from(bytes, N), sum));
    assert_true(form_sums_hold(str_from(bytes, 2 * RECORD_CHUNK), sum));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),  cmocka_unit_test(names_back), cmocka_unit_test(other_names),
        cmocka_unit_test(values), cmocka_unit_test(pieces),     cmocka_unit_test(sizes),
        cmocka_unit_test(heads),  cmocka_unit_test(sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
