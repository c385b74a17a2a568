/* Conformance 3: the two views. What a writer has queued is seen by it alone; what fails takes
 * all behind it along. */
#include "kv/conform.h"

static struct str head_get(struct conform *c, struct kv_writer *writer, struct str key)
{
    struct str value = STR("not set");
    assert_rc(kv_writer_get(writer, key, 0, &c->arena, &value), RC_OK);
    return value;
}

static void t301(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op ops[4];
    struct kv_writer *writer;
    conform_ops_init(&group);
    for (int i = 0; i < 4; i++)
        conform_op_init(&group, &ops[i]);
    conform_put(c, CONFORM_PART, STR("a"), STR("old"));
    conform_put(c, CONFORM_PART, STR("t1"), STR("old"));
    assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
    assert_int_equal(kv_writer_head(writer), 2);
    conform_queue_put(writer, CONFORM_PART, STR("a"), STR("1"), &ops[0]);
    assert_str(head_get(c, writer, STR("a")), "1");
    conform_queue_put(writer, CONFORM_PART, STR("a"), STR("2"), &ops[1]);
    assert_str(head_get(c, writer, STR("a")), "2");
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_delete(txn, STR("a")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("t2"), STR("new")), RC_OK);
    assert_rc(kv_txn_trim(txn, STR("t"), STR("u")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("t3"), STR("new")), RC_OK);
    assert_rc(kv_writer_commit(writer, txn, &ops[2].op), RC_OK);
    assert_int_equal(kv_writer_head(writer), 5);
    assert_null(head_get(c, writer, STR("a")).p);
    assert_null(head_get(c, writer, STR("t1")).p);
    assert_null(head_get(c, writer, STR("t2")).p);
    assert_str(head_get(c, writer, STR("t3")), "new");
    conform_queue_put(writer, CONFORM_PART, STR("t1"), STR("again"), &ops[3]);
    assert_str(head_get(c, writer, STR("t1")), "again");
    for (uint64_t i = 0; i < 4; i++) {
        assert_rc(conform_op_wait(&ops[i]), RC_OK);
        assert_int_equal(ops[i].op.version, 3 + i);
    }
    assert_int_equal(kv_writer_head(writer), 6);
    assert_null(head_get(c, writer, STR("a")).p);
    assert_str(head_get(c, writer, STR("t1")), "again");
    assert_null(head_get(c, writer, STR("t2")).p);
    assert_no_row(c, CONFORM_PART, "a");
    assert_row(c, CONFORM_PART, "t1", "again");
    assert_row(c, CONFORM_PART, "t3", "new");
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

static void t302(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op ops[2];
    struct kv_writer *writer;
    conform_ops_init(&group);
    conform_op_init(&group, &ops[0]);
    conform_op_init(&group, &ops[1]);
    conform_put(c, CONFORM_PART, STR("a"), STR("old"));
    assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
    c->backend->hold(c->kv, true);
    conform_queue_put(writer, CONFORM_PART, STR("a"), STR("new"), &ops[0]);
    conform_queue_put(writer, CONFORM_PART, STR("b"), STR("new"), &ops[1]);
    struct kv_page page;
    assert_rc(kv_scan(c->kv, CONFORM_PART, (struct kv_range){0}, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 1);
    assert_int_equal(page.version, 1);
    assert_row(c, CONFORM_PART, "a", "old");
    assert_int_equal(conform_version(c, CONFORM_PART), 1);
    assert_int_equal(kv_writer_head(writer), 3);
    assert_str(head_get(c, writer, STR("a")), "new");
    assert_str(head_get(c, writer, STR("b")), "new");
    assert_rc(kv_writer_reload(writer, 0), RC_AGAIN);
    assert_false(conform_op_is_done(&ops[0]));
    /* A lazy commit to another partition does not wait for it. */
    struct conform_op lazy;
    conform_op_init(&group, &lazy);
    assert_rc(kv_commit(c->kv, kv_txn_new((struct kv_part){KV_CACHE, 1}), KV_LAZY, &lazy.op),
              RC_OK);
    assert_rc(conform_op_wait(&lazy), RC_OK);
    assert_false(conform_op_is_done(&ops[0]));
    c->backend->hold(c->kv, false);
    assert_rc(conform_op_wait(&ops[1]), RC_OK);
    assert_row(c, CONFORM_PART, "a", "new");
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

/* Queues: one that succeeds, one that fails with RC_NOTFOUND, three behind it. */
static void queue_failure(struct conform *c, struct kv_writer *writer, struct conform_op ops[5])
{
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_put(txn, STR("bad"), STR("v")), RC_OK);
    assert_rc(kv_txn_ref(txn, (struct kv_blob_id){"unknown to all"}), RC_OK);
    conform_queue_put(writer, CONFORM_PART, STR("good"), STR("v"), &ops[0]);
    assert_rc(kv_writer_commit(writer, txn, &ops[1].op), RC_OK);
    for (int i = 2; i < 5; i++) {
        txn = kv_txn_new(CONFORM_PART);
        assert_rc(kv_txn_put(txn, STR("behind"), STR("v")), RC_OK);
        enum rc rc = kv_writer_commit(writer, txn, &ops[i].op);
        if (rc != RC_OK) { /* the failure has come back already */
            assert_rc(rc, RC_CONFLICT);
            ops[i].op.rc = rc;
            ops[i].order = -1;
        }
    }
}

static void t303(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op ops[5];
    struct kv_writer *writer;
    conform_ops_init(&group);
    for (int round = 0; round < 20; round++) {
        uint64_t before = conform_version(c, CONFORM_PART);
        for (int i = 0; i < 5; i++)
            conform_op_init(&group, &ops[i]);
        assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
        queue_failure(c, writer, ops);
        assert_rc(conform_op_wait(&ops[0]), RC_OK);
        assert_rc(conform_op_wait(&ops[1]), RC_NOTFOUND);
        for (int i = 2; i < 5; i++)
            assert_rc(conform_op_wait(&ops[i]), RC_CONFLICT);
        assert_true(kv_writer_is_failed(writer));
        assert_no_row(c, CONFORM_PART, "bad");
        assert_no_row(c, CONFORM_PART, "behind");
        assert_null(head_get(c, writer, STR("behind")).p);
        assert_int_equal(conform_version(c, CONFORM_PART), before + 1);
        conform_op_init(&group, &ops[0]);
        assert_rc(kv_writer_commit(writer, kv_txn_new(CONFORM_PART), &ops[0].op), RC_CONFLICT);
        assert_rc(kv_writer_reload(writer, 0), RC_OK);
        assert_false(kv_writer_is_failed(writer));
        assert_int_equal(kv_writer_head(writer), before + 1);
        conform_queue_put(writer, CONFORM_PART, STR("good"), STR("w"), &ops[0]);
        assert_rc(conform_op_wait(&ops[0]), RC_OK);
        assert_int_equal(ops[0].op.version, before + 2);
        kv_writer_close(&writer);
    }
    conform_ops_fini(&group);
}

/* The version happens to be right again, since somebody else committed after the failure: what
 * was queued behind the failure must fail nevertheless. */
static void t304(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op ops[3];
    struct kv_writer *writer;
    conform_ops_init(&group);
    for (int i = 0; i < 3; i++)
        conform_op_init(&group, &ops[i]);
    assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
    c->backend->hold(c->kv, true);
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_assert_value(txn, STR("k"), STR("not there")), RC_OK);
    assert_rc(kv_writer_commit(writer, txn, &ops[0].op), RC_OK);
    assert_rc(kv_commit(c->kv, kv_txn_new(CONFORM_PART), 0, &ops[1].op), RC_OK);
    conform_queue_put(writer, CONFORM_PART, STR("k"), STR("v"), &ops[2]);
    c->backend->hold(c->kv, false);
    assert_rc(conform_op_wait(&ops[0]), RC_CONFLICT);
    assert_rc(conform_op_wait(&ops[1]), RC_OK);
    assert_rc(conform_op_wait(&ops[2]), RC_CONFLICT);
    assert_no_row(c, CONFORM_PART, "k");
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

static void t305(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op op;
    struct kv_writer *writer;
    conform_ops_init(&group);
    conform_op_init(&group, &op);
    assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
    conform_put(c, CONFORM_PART, STR("k"), STR("somebody else's"));
    conform_queue_put(writer, CONFORM_PART, STR("k"), STR("mine"), &op);
    assert_rc(conform_op_wait(&op), RC_CONFLICT);
    assert_row(c, CONFORM_PART, "k", "somebody else's");
    assert_rc(kv_writer_reload(writer, 0), RC_OK);
    assert_str(head_get(c, writer, STR("k")), "somebody else's");
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_ACCOUNT, 2});
    assert_rc(kv_writer_commit(writer, txn, &op.op), RC_PERM);
    assert_false(kv_writer_is_failed(writer));
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

static void t306(void **state)
{
    enum { N = 300, DEPTH = 20 };
    struct conform *c = *state;
    struct conform_ops group;
    static struct conform_op ops[N];
    struct kv_writer *writer;
    conform_ops_init(&group);
    assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
    for (int i = 0; i < N; i++) {
        if (i >= DEPTH) {
            assert_rc(conform_op_wait(&ops[i - DEPTH]), RC_OK);
            /* Done means published: what the completed commit wrote, or something later. */
            struct str seen = conform_get(c, CONFORM_PART, STR("last"));
            assert_true(str_cmp(seen, conform_key(c, "%06d", i - DEPTH)) >= 0);
        }
        if (i > 0)
            assert_true(str_eq(head_get(c, writer, STR("last")), conform_key(c, "%06d", i - 1)));
        conform_op_init(&group, &ops[i]);
        conform_queue_put(writer, CONFORM_PART, STR("last"), conform_key(c, "%06d", i), &ops[i]);
        assert_int_equal(kv_writer_head(writer), i + 1);
    }
    for (int i = 0; i < N; i++) {
        assert_rc(conform_op_wait(&ops[i]), RC_OK);
        assert_int_equal(ops[i].op.version, i + 1);
        assert_int_equal(ops[i].order, i + 1);
    }
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

/* While what is behind a failure is still queued, the failure shows already. */
static void t307(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op ops[5], late;
    struct kv_writer *writer;
    conform_ops_init(&group);
    conform_op_init(&group, &late);
    for (int i = 0; i < 5; i++)
        conform_op_init(&group, &ops[i]);
    assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
    c->backend->hold(c->kv, true);
    queue_failure(c, writer, ops);
    assert_str(head_get(c, writer, STR("bad")), "v");
    c->backend->step(c->kv, 2);
    assert_rc(conform_op_wait(&ops[1]), RC_NOTFOUND);
    assert_false(conform_op_is_done(&ops[2]));
    assert_true(kv_writer_is_failed(writer));
    assert_null(head_get(c, writer, STR("bad")).p);
    assert_null(head_get(c, writer, STR("behind")).p);
    assert_str(head_get(c, writer, STR("good")), "v");
    assert_rc(kv_writer_commit(writer, kv_txn_new(CONFORM_PART), &late.op), RC_CONFLICT);
    assert_rc(kv_writer_reload(writer, 0), RC_AGAIN);
    c->backend->hold(c->kv, false);
    for (int i = 2; i < 5; i++)
        assert_rc(conform_op_wait(&ops[i]), RC_CONFLICT);
    assert_rc(kv_writer_reload(writer, 0), RC_OK);
    assert_int_equal(kv_writer_head(writer), 1);
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

/* --- every state that ever was ---------------------------------------------------------------- */

enum { KEYS = 12, VERSIONS = 400, MOST_BEHIND = 16 };

/* What each key held in each version: 0 is absent. */
struct history {
    struct conform *c;
    struct kv_writer *writer;
    uint64_t dice;
    unsigned char rows[VERSIONS + 1][KEYS];
    struct conform_op ops[VERSIONS + 1];
};

static size_t throw_dice(struct history *h, size_t sides)
{
    h->dice ^= h->dice << 13;
    h->dice ^= h->dice >> 7;
    h->dice ^= h->dice << 17;
    return (size_t)((h->dice >> 11) % sides);
}

static struct str history_key(const size_t *number)
{
    static const char keys[] = "abcdefghijklm";
    return str_from(keys + *number, 1);
}

static void queue_random(struct history *h, uint64_t version)
{
    unsigned char *row = h->rows[version];
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    memcpy(row, h->rows[version - 1], KEYS);
    for (size_t n = throw_dice(h, 4); n-- > 0;) {
        size_t key = throw_dice(h, KEYS);
        size_t end = key + throw_dice(h, KEYS - key) + 1;
        size_t what = throw_dice(h, 8);
        if (what < 4) {
            row[key] = (unsigned char)(throw_dice(h, 255) + 1);
            assert_rc(kv_txn_put(txn, history_key(&key), str_from(&row[key], 1)), RC_OK);
        } else if (what < 6) {
            row[key] = 0;
            assert_rc(kv_txn_delete(txn, history_key(&key)), RC_OK);
        } else {
            memset(row + key, 0, end - key);
            assert_rc(kv_txn_trim(txn, history_key(&key), history_key(&end)), RC_OK);
        }
    }
    assert_rc(kv_writer_commit(h->writer, txn, &h->ops[version].op), RC_OK);
}

/* The head is the newest version, whatever is published; what is published is some version. */
static void check_views(struct history *h, uint64_t head)
{
    struct str keys[KEYS], values[KEYS];
    uint64_t version = 0;
    struct arena *arena = &h->c->arena;
    for (size_t i = 0; i < KEYS; i++) {
        unsigned char expected = h->rows[head][i];
        keys[i] = history_key(&i);
        struct str value = head_get(h->c, h->writer, keys[i]);
        assert_true(str_eq(value, str_from(&expected, expected != 0)));
    }
    assert_rc(kv_get(h->c->kv, CONFORM_PART, keys, KEYS, 0, arena, values, &version), RC_OK);
    assert_true(version <= head);
    for (size_t i = 0; i < KEYS; i++) {
        unsigned char expected = h->rows[version][i];
        assert_true(str_eq(values[i], str_from(&expected, expected != 0)));
    }
    arena_reset(arena);
}

static void t308(void **state)
{
    static struct history h;
    struct conform_ops group;
    uint64_t through = 0;
    h = (struct history){.c = *state, .dice = 308};
    bool can_hold = h.c->backend->hold != NULL;
    conform_ops_init(&group);
    assert_rc(kv_writer_open(h.c->kv, CONFORM_PART, 0, &h.writer), RC_OK);
    if (can_hold)
        h.c->backend->hold(h.c->kv, true);
    for (uint64_t v = 1; v <= VERSIONS; v++) {
        conform_op_init(&group, &h.ops[v]);
        queue_random(&h, v);
        size_t n = throw_dice(&h, 3);
        n = v - through > MOST_BEHIND ? MOST_BEHIND / 2 : n > v - through ? v - through : n;
        if (can_hold)
            h.c->backend->step(h.c->kv, n);
        through += n;
        if (through > 0)
            assert_rc(conform_op_wait(&h.ops[through]), RC_OK);
        check_views(&h, v);
    }
    if (can_hold)
        h.c->backend->hold(h.c->kv, false);
    assert_rc(conform_op_wait(&h.ops[VERSIONS]), RC_OK);
    check_views(&h, VERSIONS);
    kv_writer_close(&h.writer);
    conform_ops_fini(&group);
}

static void t309(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op ops[2];
    struct kv_writer *writer;
    struct kv_page page;
    struct kv_range range = {.from = STR("b"), .to = STR("d")};
    conform_ops_init(&group);
    conform_op_init(&group, &ops[0]);
    conform_op_init(&group, &ops[1]);
    conform_put(c, CONFORM_PART, STR("a"), STR("1"));
    conform_put(c, CONFORM_PART, STR("b"), STR("2"));
    conform_put(c, CONFORM_PART, STR("c"), STR("3"));
    conform_put(c, CONFORM_PART, STR("d"), STR("4"));
    assert_rc(kv_writer_open(c->kv, CONFORM_PART, 0, &writer), RC_OK);
    c->backend->hold(c->kv, true);
    conform_queue_put(writer, CONFORM_PART, STR("d"), STR("new"), &ops[0]);
    assert_rc(kv_writer_scan(writer, range, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 2);
    assert_str(page.rows[0].key, "b");
    assert_str(page.rows[1].value, "3");
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_trim(txn, STR("a"), STR("c")), RC_OK);
    assert_rc(kv_writer_commit(writer, txn, &ops[1].op), RC_OK);
    assert_rc(kv_writer_scan(writer, range, 0, 0, &c->arena, &page), RC_CONFLICT);
    range = (struct kv_range){.from = STR("d"), .to = STR("e")};
    assert_rc(kv_writer_scan(writer, range, 0, 0, &c->arena, &page), RC_CONFLICT);
    range = (struct kv_range){.from = STR("c"), .to = STR("d")};
    assert_rc(kv_writer_scan(writer, range, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 1);
    c->backend->hold(c->kv, false);
    assert_rc(conform_op_wait(&ops[1]), RC_OK);
    range = (struct kv_range){.from = STR("a"), .to = STR("e")};
    assert_rc(kv_writer_scan(writer, range, 0, 0, &c->arena, &page), RC_OK);
    assert_int_equal(page.n, 2);
    assert_str(page.rows[1].value, "new");
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

const struct conform_test conform_writer_tests[] = {
    {"301 a writer sees what it has queued", t301, CONFORM_ANY},
    {"302 what is queued is published only when it is done", t302, CONFORM_HOLD},
    {"303 a commit that fails takes along all behind it, and a reload goes on", t303, CONFORM_ANY},
    {"304 even when the version fits by chance", t304, CONFORM_HOLD},
    {"305 somebody else's commit fails the writer's", t305, CONFORM_ANY},
    {"306 many commits in flight complete in order, each visible when done", t306, CONFORM_ANY},
    {"307 a failure shows before what is behind it has come back", t307, CONFORM_HOLD},
    {"308 the head is always the last queued version, the published one some version", t308,
     CONFORM_ANY},
    {"309 a scan of the head, or none where something is queued", t309, CONFORM_HOLD},
    {0},
};
