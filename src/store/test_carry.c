/* Where the ids of blobs stand in rows: exactly where the encoders put them. */
#include "store/store_int.h"

#include "base/test.h"

static struct kv_blob_id blob_of(unsigned char n)
{
    struct kv_blob_id id;
    memset(id.b, n, sizeof id.b);
    return id;
}

static void check(struct key key, struct str value, const unsigned char *blobs, size_t n)
{
    uint32_t at[KV_ROW_BLOBS];
    size_t got;
    assert_rc(store_row_blobs((struct kv_row){key_str(&key), value}, at, &got), RC_OK);
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++) {
        struct kv_blob_id id = blob_of(blobs[i]);
        assert_true(at[i] + sizeof id.b <= value.n);
        assert_memory_equal(value.p + at[i], id.b, sizeof id.b);
    }
}

static struct email email_of(unsigned char n)
{
    return (struct email){
        .codec = 3, .key_id = 77, .blob = blob_of(n), .size = n, .created = 1, .n_places = 2};
}

static void messages(void **state)
{
    unsigned char mem[RECORD_VALUE];
    struct email e = email_of(5);
    check(key_email(1), email_encode(&e, mem, sizeof mem), (const unsigned char[]){5}, 1);
}

static void tombstones(void **state)
{
    static unsigned char mem[TOMBSTONES_MAX];
    struct packer w;
    tombstones_begin(&w, mem, 1, 2);
    for (unsigned char i = 0; i < RECORD_TOMBSTONES; i++) {
        struct tombstone d = {.is_last = i % 3 != 0, .row = {.uid = i + 1u}, .record = email_of(i)};
        d.record.n_places = 1 + i % 4;
        tombstones_add(&w, &d);
    }
    unsigned char expected[RECORD_TOMBSTONES];
    size_t n = 0;
    for (unsigned char i = 0; i < RECORD_TOMBSTONES; i++)
        if (i % 3 != 0)
            expected[n++] = i;
    check(key_tombstone(1, 0), pack_done(&w), expected, n);
}

/* time8 last1 mailbox4 uid4 row email: as release 0.1.0 wrote it. */
static void tombstone_of_the_first_format(void **state)
{
    unsigned char mem[256], one[RECORD_VALUE];
    struct packer w;
    struct email e = email_of(9);
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, 1);
    pack_u8(&w, true);
    pack_u32(&w, 2);
    pack_u32(&w, 3);
    pack_bytes(&w, str_skip(row_encode(&(struct store_row){.uid = 3}, one, sizeof one), 1));
    pack_bytes(&w, str_skip(email_encode(&e, one, sizeof one), 1));
    check(key_tombstone(1, 0), pack_done(&w), (const unsigned char[]){9}, 1);
}

static void outboxes(void **state)
{
    unsigned char mem[RECORD_VALUE];
    const struct str to[] = {STR("a@example.org")};
    struct outbox o = {
        .kind = OUTBOX_REDIRECT, .codec = 1, .blob = blob_of(7), .to = to, .n_to = 1};
    check(key_outbox(1), outbox_encode(&o, mem, sizeof mem), (const unsigned char[]){7}, 1);
    o.blob = blob_of(0);
    check(key_outbox(1), outbox_encode(&o, mem, sizeof mem), NULL, 0);
}

static void what_is_damaged(void **state)
{
    uint32_t at[KV_ROW_BLOBS];
    size_t n;
    static const char *const keys[] = {"e", "d", "o"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct kv_row row = {str_of(keys[i]), STR("\1\0\0")};
        assert_rc(store_row_blobs(row, at, &n), RC_CORRUPT);
        row.value = STR("\377................................................................");
        assert_rc(store_row_blobs(row, at, &n), RC_CORRUPT);
    }
    struct kv_row other = {STR("s"), STR("x")};
    assert_rc(store_row_blobs(other, at, &n), RC_OK);
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(tombstones),
        cmocka_unit_test(tombstone_of_the_first_format),
        cmocka_unit_test(outboxes),
        cmocka_unit_test(what_is_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
