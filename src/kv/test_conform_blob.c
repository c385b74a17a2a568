/* Conformance 4: blobs. Any size, any part, as long as somebody needs them and not longer. */
#include "kv/conform.h"

#include "base/mem.h"

#include <stdlib.h>

static const size_t sizes[] = {
    0, 1, 4096, 65535, 65536, 65537, KV_BLOB_SMALL - 1, KV_BLOB_SMALL, KV_BLOB_SMALL + 1, 3 << 20,
};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Reads n bytes at `offset` and compares them; at the end there are fewer. */
static void check_part(struct kv_blob_in *in, uint64_t seed, uint64_t offset, size_t n)
{
    uint64_t size = kv_blob_meta(in).size;
    size_t expected = offset >= size ? 0 : n;
    if (offset < size && n > size - offset)
        expected = (size_t)(size - offset);
    unsigned char *bytes = mem_alloc(n + 1);
    size_t got = SIZE_MAX;
    bytes[n] = 'E';
    assert_rc(kv_blob_read(in, offset, bytes, n, 0, &got), RC_OK);
    assert_int_equal(got, expected);
    assert_int_equal(bytes[n], 'E');
    size_t same = 0;
    while (same < got && bytes[same] == conform_byte(seed, offset + same))
        same++;
    assert_int_equal(same, got);
    free(bytes);
}

static void check_blob(struct conform *c, struct kv_blob_id id, uint64_t seed, size_t size)
{
    static const uint64_t edges[] = {1,      512,    4096,    16384,   32768,   65536,
                                     131072, 262144, 1 << 20, 2 << 20, 3 << 20, 4 << 20};
    struct kv_blob_in *in;
    assert_rc(kv_blob_open(c->kv, id, 0, &in), RC_OK);
    assert_int_equal(kv_blob_meta(in).size, size);
    check_part(in, seed, 0, size);
    check_part(in, seed, 0, size + 100);
    check_part(in, seed, size, 10);
    check_part(in, seed, size + 1, 10);
    check_part(in, seed, UINT64_MAX, 10);
    check_part(in, seed, 0, 0);
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        check_part(in, seed, edges[i] - 1, 1);
        check_part(in, seed, edges[i], 1);
        check_part(in, seed, edges[i] - 1, 2);
        check_part(in, seed, edges[i] - 1, 70000);
        check_part(in, seed, edges[i], 65536);
        if (size > edges[i])
            check_part(in, seed, size - edges[i], edges[i] + 1);
    }
    kv_blob_close(&in);
    assert_null(in);
}

static void t401(void **state)
{
    struct conform *c = *state;
    struct kv_blob_id ids[SIZES];
    for (size_t i = 0; i < SIZES; i++) {
        ids[i] = conform_blob(c, CONFORM_PART, i, sizes[i]);
        check_blob(c, ids[i], i, sizes[i]); /* readable once finished */
    }
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    for (size_t i = 0; i < SIZES; i++)
        assert_rc(kv_txn_ref(txn, ids[i]), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    for (size_t i = 0; i < SIZES; i++) {
        kv_blob_forget(c->kv, ids[i]);
        check_blob(c, ids[i], i, sizes[i]);
    }
    if (c->backend->is_persistent) {
        conform_reopen(c);
        for (size_t i = 0; i < SIZES; i++)
            check_blob(c, ids[i], i, sizes[i]);
    }
}

static void t402(void **state)
{
    struct conform *c = *state;
    for (size_t i = 0; i < SIZES; i++) {
        struct kv_blob_out *out = kv_blob_new(c->kv, CONFORM_PART, 0, 0);
        char *bytes = mem_zero(sizes[i] + 1);
        assert_rc(kv_blob_write(out, str_from(bytes, sizes[i])), RC_OK);
        assert_rc(kv_blob_write(out, STR("")), RC_OK);
        assert_int_equal(kv_blob_size(out), sizes[i]);
        assert_int_equal(kv_blob_is_large(out), sizes[i] > KV_BLOB_SMALL);
        kv_blob_abort(&out);
        assert_null(out);
        free(bytes);
    }
    conform_fsck_wait_blobs(c, 0);
    for (size_t i = 0; i < SIZES; i++)
        kv_blob_forget(c->kv, conform_blob(c, CONFORM_PART, i, sizes[i]));
    conform_fsck_wait_blobs(c, 0); /* without a reader that comes and goes */
    struct kv_blob_in *in;
    assert_rc(kv_blob_open(c->kv, (struct kv_blob_id){"unknown to all"}, 0, &in), RC_NOTFOUND);
    assert_rc(kv_blob_open(c->kv, (struct kv_blob_id){{0}}, 0, &in), RC_NOTFOUND);
    assert_null(in);
    for (size_t i = 0; i < SIZES; i++) {
        struct kv_blob_id id = conform_blob(c, CONFORM_PART, i, sizes[i]);
        kv_blob_forget(c->kv, id);
        conform_blob_wait_gone(c, id);
        assert_rc(conform_ref(c, CONFORM_PART, id), RC_NOTFOUND);
    }
}

static void t403(void **state)
{
    struct conform *c = *state;
    struct kv_part other = {KV_QUEUE, 1};
    for (size_t i = 1; i < SIZES; i += 4) {
        struct kv_blob_id id = conform_blob(c, CONFORM_PART, i, sizes[i]);
        assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
        assert_rc(conform_ref(c, other, id), RC_OK);
        assert_rc(conform_ref(c, other, id), RC_OK);
        kv_blob_forget(c->kv, id);
        if (c->backend->is_persistent)
            conform_reopen(c);
        assert_rc(conform_drop(c, CONFORM_PART, id), RC_OK);
        check_blob(c, id, i, sizes[i]);
        assert_rc(conform_drop(c, CONFORM_PART, id), RC_CORRUPT); /* the other's are not ours */
        assert_rc(conform_drop(c, other, id), RC_OK);
        check_blob(c, id, i, sizes[i]);
        assert_rc(conform_drop(c, other, id), RC_OK);
        conform_fsck_wait_blobs(c, 0); /* without a reader that comes and goes */
        conform_blob_wait_gone(c, id);
        assert_rc(conform_drop(c, other, id), RC_CORRUPT);
        assert_rc(conform_ref(c, other, id), RC_NOTFOUND);
        if (c->backend->is_persistent)
            conform_reopen(c);
        assert_false(conform_blob_is_there(c, id));
    }
}

static void t404(void **state)
{
    struct conform *c = *state;
    for (size_t i = 1; i < SIZES; i += 4) {
        struct kv_blob_in *in;
        struct kv_blob_id id = conform_blob(c, CONFORM_PART, i, sizes[i]);
        assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
        assert_rc(conform_drop(c, CONFORM_PART, id), RC_OK);
        check_blob(c, id, i, sizes[i]); /* in our hands still */
        assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
        kv_blob_forget(c->kv, id);
        assert_rc(kv_blob_open(c->kv, id, 0, &in), RC_OK);
        assert_rc(conform_drop(c, CONFORM_PART, id), RC_OK);
        check_part(in, i, 0, sizes[i]); /* open */
        kv_blob_close(&in);
        conform_blob_wait_gone(c, id);
    }
}

static void t405(void **state)
{
    struct conform *c = *state;
    struct kv_blob_id id = conform_blob(c, CONFORM_PART, 7, 1000);
    assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
    kv_blob_forget(c->kv, id);
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_drop(txn, id), RC_OK);
    assert_rc(kv_txn_ref(txn, id), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    check_blob(c, id, 7, 1000);
    txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_drop(txn, id), RC_OK);
    assert_rc(kv_txn_drop(txn, id), RC_OK); /* one too many */
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_CORRUPT);
    txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_ref(txn, id), RC_OK);
    assert_rc(kv_txn_drop(txn, id), RC_OK);
    assert_rc(kv_txn_drop(txn, id), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    conform_blob_wait_gone(c, id);
}

static void t406(void **state)
{
    struct conform *c = *state;
    for (size_t i = 1; i < SIZES; i += 4) {
        char *bytes = mem_zero(sizes[i]);
        struct kv_blob_id id;
        struct kv_blob_in *in;
        struct kv_blob_out *out = kv_blob_new(c->kv, CONFORM_PART, 3, 0xfedcba98);
        assert_rc(kv_blob_write(out, str_from(bytes, sizes[i])), RC_OK);
        assert_rc(kv_blob_finish(&out, &id), RC_OK);
        for (int round = 0; round < 2; round++) {
            assert_rc(kv_blob_open(c->kv, id, 0, &in), RC_OK);
            assert_int_equal(kv_blob_meta(in).codec, 3);
            assert_int_equal(kv_blob_meta(in).key_id, 0xfedcba98);
            assert_int_equal(kv_blob_meta(in).size, sizes[i]);
            kv_blob_close(&in);
            if (round == 0) {
                assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
                kv_blob_forget(c->kv, id);
                if (c->backend->is_persistent)
                    conform_reopen(c);
            }
        }
        free(bytes);
    }
}

/* A blob that was finished and never referred to does not outlive the store's closing. */
static void t407(void **state)
{
    struct conform *c = *state;
    struct kv_blob_id ids[SIZES];
    for (size_t i = 0; i < SIZES; i++)
        ids[i] = conform_blob(c, CONFORM_PART, i, sizes[i]);
    conform_reopen(c);
    for (size_t i = 0; i < SIZES; i++)
        conform_blob_wait_gone(c, ids[i]);
}

/* Two are written at a time, in turns, and their bytes do not mix. */
static void t408(void **state)
{
    enum { PIECES = 200, PIECE = 5000 };
    struct conform *c = *state;
    struct kv_blob_out *out[2];
    struct kv_blob_id ids[2];
    unsigned char piece[PIECE];
    for (int i = 0; i < 2; i++)
        out[i] = kv_blob_new(c->kv, CONFORM_PART, 0, 0);
    for (size_t n = 0; n < PIECES; n++) {
        for (size_t i = 0; i < 2; i++) {
            for (size_t b = 0; b < PIECE; b++)
                piece[b] = conform_byte(100 + i, n * PIECE + b);
            assert_rc(kv_blob_write(out[i], str_from(piece, PIECE)), RC_OK);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        assert_rc(kv_blob_finish(&out[i], &ids[i]), RC_OK);
        assert_rc(conform_ref(c, CONFORM_PART, ids[i]), RC_OK);
        kv_blob_forget(c->kv, ids[i]);
    }
    for (size_t i = 0; i < 2; i++)
        check_blob(c, ids[i], 100 + i, PIECES * PIECE);
}

/* Stored ones, one that is only finished, one twice, and two that are none. */
static void t409(void **state)
{
    struct conform *c = *state;
    struct kv_blob_id ids[SIZES + 4];
    struct kv_blob_in *in[SIZES + 4];
    enum rc rcs[SIZES + 4];
    for (size_t i = 0; i < SIZES; i++) {
        ids[i] = conform_blob(c, CONFORM_PART, i, sizes[i]);
        assert_rc(conform_ref(c, CONFORM_PART, ids[i]), RC_OK);
        kv_blob_forget(c->kv, ids[i]);
    }
    if (c->backend->is_persistent)
        conform_reopen(c);
    ids[SIZES] = conform_blob(c, CONFORM_PART, 1, sizes[1]);
    ids[SIZES + 1] = ids[0];
    ids[SIZES + 2] = (struct kv_blob_id){"unknown to all"};
    ids[SIZES + 3] = (struct kv_blob_id){{0}};
    for (size_t n = SIZES + 4; n >= SIZES; n--) { /* with the one that is zero, and without */
        kv_blob_open_many(c->kv, ids, n, 0, in, rcs);
        for (size_t i = 0; i < n; i++) {
            assert_rc(rcs[i], i < SIZES + 2 ? RC_OK : RC_NOTFOUND);
            assert_int_equal(in[i] != NULL, i < SIZES + 2);
            if (!in[i])
                continue;
            size_t seed = i < SIZES ? i : i == SIZES ? 1 : 0;
            check_part(in[i], seed, 0, sizes[seed]);
            kv_blob_close(&in[i]);
        }
    }
    kv_blob_open_many(c->kv, ids, 0, 0, in, rcs);
    kv_blob_forget(c->kv, ids[SIZES]);
}

const struct conform_test conform_blob_tests[] = {
    {"401 blobs of every size are read in every part", t401, CONFORM_ANY},
    {"402 an aborted or forgotten blob is gone", t402, CONFORM_ANY},
    {"403 a blob lives until the last reference of the last partition", t403, CONFORM_ANY},
    {"404 a blob in somebody's hands is not freed", t404, CONFORM_ANY},
    {"405 references are counted in the order given, freed at the end", t405, CONFORM_ANY},
    {"406 codec and key id are kept", t406, CONFORM_ANY},
    {"407 nothing is left of a blob that no commit named", t407, CONFORM_PERSISTENT},
    {"408 blobs written at the same time do not mix", t408, CONFORM_ANY},
    {"409 several opened at once are what each one is", t409, CONFORM_ANY},
    {0},
};
