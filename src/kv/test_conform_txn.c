/* Conformance 1: transactions. All or nothing, versions by one, asserts, order within, limits. */
#include "kv/conform.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static void t101(void **state)
{
    struct conform *c = *state;
    uint64_t version = 0;
    assert_int_equal(conform_version(c, CONFORM_PART), 0);
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(conform_put(c, CONFORM_PART, STR("k"), STR("v")), i);
    assert_rc(kv_commit_wait(c->kv, kv_txn_new(CONFORM_PART), &version), RC_OK);
    assert_int_equal(version, 6);
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_assert_absent(txn, STR("k")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_CONFLICT);
    assert_int_equal(conform_version(c, CONFORM_PART), 6);
}

/* A transaction that would change everything, with one thing in it that fails. */
static void check_nothing_happens(struct conform *c,
                                  void (*spoil)(struct kv_txn *, struct conform *),
                                  enum rc expected)
{
    struct kv_blob_id kept = conform_blob(c, CONFORM_PART, 1, 100);
    struct kv_blob_id fresh = conform_blob(c, CONFORM_PART, 2, 100);
    assert_rc(conform_ref(c, CONFORM_PART, kept), RC_OK);
    kv_blob_forget(c->kv, kept);
    conform_put(c, CONFORM_PART, STR("a"), STR("1"));
    conform_put(c, CONFORM_PART, STR("b"), STR("2"));
    uint64_t version = conform_put(c, CONFORM_PART, STR("c"), STR("3"));
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_put(txn, STR("a"), STR("9")), RC_OK);
    assert_rc(kv_txn_delete(txn, STR("b")), RC_OK);
    assert_rc(kv_txn_trim(txn, STR("c"), (struct str){0}), RC_OK);
    assert_rc(kv_txn_put(txn, STR("new"), STR("9")), RC_OK);
    assert_rc(kv_txn_drop(txn, kept), RC_OK);
    assert_rc(kv_txn_ref(txn, fresh), RC_OK);
    spoil(txn, c);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), expected);
    assert_row(c, CONFORM_PART, "a", "1");
    assert_row(c, CONFORM_PART, "b", "2");
    assert_row(c, CONFORM_PART, "c", "3");
    assert_no_row(c, CONFORM_PART, "new");
    assert_int_equal(conform_version(c, CONFORM_PART), version);
    assert_true(conform_blob_is_there(c, kept));
    kv_blob_forget(c->kv, fresh);
    conform_blob_wait_gone(c, fresh);
    assert_rc(conform_drop(c, CONFORM_PART, fresh), RC_CORRUPT);
    assert_rc(conform_drop(c, CONFORM_PART, kept), RC_OK);
}

static void spoil_version(struct kv_txn *txn, struct conform *c)
{
    kv_txn_expect(txn, conform_version(c, CONFORM_PART) + 1);
}

static void spoil_value(struct kv_txn *txn, struct conform *c)
{
    assert_rc(kv_txn_assert_value(txn, STR("a"), STR("9")), RC_OK);
}

static void spoil_absence(struct kv_txn *txn, struct conform *c)
{
    assert_rc(kv_txn_assert_absent(txn, STR("b")), RC_OK);
}

static void spoil_lease(struct kv_txn *txn, struct conform *c)
{
    assert_rc(kv_txn_assert_lease(txn, STR("nobody's"), 1), RC_OK);
}

static void spoil_ref(struct kv_txn *txn, struct conform *c)
{
    assert_rc(kv_txn_ref(txn, (struct kv_blob_id){"unknown to all"}), RC_OK);
}

static void spoil_drop(struct kv_txn *txn, struct conform *c)
{
    assert_rc(kv_txn_drop(txn, (struct kv_blob_id){"unknown to all"}), RC_OK);
}

static void t102(void **state)
{
    check_nothing_happens(*state, spoil_version, RC_CONFLICT);
}

static void t103(void **state)
{
    check_nothing_happens(*state, spoil_value, RC_CONFLICT);
}

static void t104(void **state)
{
    check_nothing_happens(*state, spoil_absence, RC_CONFLICT);
}

static void t105(void **state)
{
    check_nothing_happens(*state, spoil_lease, RC_CONFLICT);
}

static void t106(void **state)
{
    check_nothing_happens(*state, spoil_ref, RC_NOTFOUND);
}

static void t107(void **state)
{
    check_nothing_happens(*state, spoil_drop, RC_CORRUPT);
}

static void t108(void **state)
{
    struct conform *c = *state;
    conform_put(c, CONFORM_PART, STR("a"), STR("1"));
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    kv_txn_expect(txn, 1);
    assert_rc(kv_txn_assert_value(txn, STR("a"), STR("1")), RC_OK);
    assert_rc(kv_txn_assert_absent(txn, STR("b")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("a"), STR("2")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    assert_row(c, CONFORM_PART, "a", "2");
    /* A value that begins like the asserted one is another value. */
    txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_assert_value(txn, STR("a"), STR("2 ")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_CONFLICT);
    txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_assert_value(txn, STR("nothing"), STR("2")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_CONFLICT);
    txn = kv_txn_new((struct kv_part){KV_QUEUE, 77});
    kv_txn_expect(txn, 0);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
}

static void t109(void **state)
{
    struct conform *c = *state;
    conform_put(c, CONFORM_PART, STR("a"), STR("1"));
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_put(txn, STR("a"), STR("2")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("b"), STR("2")), RC_OK);
    /* Added last, and still about the state before. */
    assert_rc(kv_txn_assert_value(txn, STR("a"), STR("1")), RC_OK);
    assert_rc(kv_txn_assert_absent(txn, STR("b")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    assert_row(c, CONFORM_PART, "a", "2");
}

static void t110(void **state)
{
    struct conform *c = *state;
    conform_put(c, CONFORM_PART, STR("old1"), STR("x"));
    conform_put(c, CONFORM_PART, STR("old2"), STR("x"));
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_put(txn, STR("put twice"), STR("1")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("put twice"), STR("2")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("put then deleted"), STR("1")), RC_OK);
    assert_rc(kv_txn_delete(txn, STR("put then deleted")), RC_OK);
    assert_rc(kv_txn_delete(txn, STR("deleted then put")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("deleted then put"), STR("1")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("old3"), STR("trimmed")), RC_OK);
    assert_rc(kv_txn_trim(txn, STR("old"), STR("old9")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("old2"), STR("after the trim")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    assert_row(c, CONFORM_PART, "put twice", "2");
    assert_no_row(c, CONFORM_PART, "put then deleted");
    assert_row(c, CONFORM_PART, "deleted then put", "1");
    assert_no_row(c, CONFORM_PART, "old1");
    assert_row(c, CONFORM_PART, "old2", "after the trim");
    assert_no_row(c, CONFORM_PART, "old3");
}

static void t111(void **state)
{
    struct conform *c = *state;
    struct kv_part other = {KV_ACCOUNT, 2};
    static const char *const keys[] = {"a", "b", "ba", "c", "\xfe"};
    static const struct {
        const char *from, *to, *left; /* NULL: absent */
    } rows[] = {
        {"b", "c", "a,c,\xfe"},   {"b", "b", "a,b,ba,c,\xfe"}, {"c", "a", "a,b,ba,c,\xfe"},
        {"aa", "bb", "a,c,\xfe"}, {NULL, "b", "b,ba,c,\xfe"},  {"ba", NULL, "a,b"},
        {NULL, NULL, ""},         {"c", "\xff\xff", "a,b,ba"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char left[64] = "";
        struct kv_page page;
        struct kv_txn *txn = kv_txn_new(CONFORM_PART);
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            assert_rc(kv_txn_put(txn, str_of(keys[k]), STR("x")), RC_OK);
            conform_put(c, other, str_of(keys[k]), STR("x"));
        }
        assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
        txn = kv_txn_new(CONFORM_PART);
        assert_rc(kv_txn_trim(txn, str_of(rows[i].from), str_of(rows[i].to)), RC_OK);
        assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
        assert_rc(kv_scan(c->kv, CONFORM_PART, (struct kv_range){0}, 0, 0, &c->arena, &page),
                  RC_OK);
        for (size_t r = 0; r < page.n; r++)
            snprintf(left + strlen(left), sizeof left - strlen(left), "%s%.*s", r ? "," : "",
                     STR_ARG(page.rows[r].key));
        assert_string_equal(left, rows[i].left);
        assert_rc(kv_scan(c->kv, other, (struct kv_range){0}, 0, 0, &c->arena, &page), RC_OK);
        assert_int_equal(page.n, sizeof keys / sizeof *keys);
    }
}

static void t112(void **state)
{
    struct conform *c = *state;
    char key[KV_KEY_MAX + 1];
    char *value = mem_alloc(KV_VALUE_MAX + 1);
    memset(key, 'k', sizeof key);
    memset(value, 'v', KV_VALUE_MAX + 1);
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    assert_rc(kv_txn_put(txn, str_from(key, sizeof key), STR("v")), RC_PERM);
    assert_rc(kv_txn_put(txn, STR(""), STR("v")), RC_PERM);
    assert_rc(kv_txn_put(txn, STR("k"), STR("")), RC_PERM);
    assert_rc(kv_txn_put(txn, STR("k"), str_from(value, KV_VALUE_MAX + 1)), RC_PERM);
    assert_rc(kv_txn_put(txn, STR("\xffmine"), STR("v")), RC_PERM);
    assert_rc(kv_txn_delete(txn, STR("\xff")), RC_PERM);
    assert_rc(kv_txn_delete(txn, STR("")), RC_PERM);
    assert_rc(kv_txn_delete(txn, str_from(key, sizeof key)), RC_PERM);
    assert_rc(kv_txn_assert_value(txn, STR("k"), STR("")), RC_PERM);
    assert_rc(kv_txn_assert_absent(txn, STR("\xff")), RC_PERM);
    assert_int_equal(kv_txn_rows(txn), 0);
    assert_rc(kv_txn_put(txn, str_from(key, KV_KEY_MAX), str_from(value, KV_VALUE_MAX)), RC_OK);
    assert_rc(kv_txn_put(txn, STR("x"), STR("y")), RC_OK);
    assert_int_equal(kv_txn_rows(txn), 2);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    struct str got = conform_get(c, CONFORM_PART, str_from(key, KV_KEY_MAX));
    assert_int_equal(got.n, KV_VALUE_MAX);
    assert_memory_equal(got.p, value, KV_VALUE_MAX);
    assert_row(c, CONFORM_PART, "x", "y");
    free(value);
}

static void t113(void **state)
{
    struct conform *c = *state;
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    char key[16];
    for (int i = 0; i < KV_TXN_ROWS; i++) {
        snprintf(key, sizeof key, "%05d", i);
        assert_rc(kv_txn_put(txn, str_of(key), STR("v")), RC_OK);
    }
    assert_rc(kv_txn_put(txn, STR("one more"), STR("v")), RC_LIMIT);
    assert_rc(kv_txn_delete(txn, STR("one more")), RC_LIMIT);
    assert_rc(kv_txn_ref(txn, (struct kv_blob_id){"x"}), RC_LIMIT);
    assert_int_equal(kv_txn_rows(txn), KV_TXN_ROWS);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    assert_row(c, CONFORM_PART, "00000", "v");
    assert_row(c, CONFORM_PART, "04999", "v");
    assert_no_row(c, CONFORM_PART, "one more");
}

static void t114(void **state)
{
    struct conform *c = *state;
    char *value = mem_zero(KV_VALUE_MAX);
    struct kv_txn *txn = kv_txn_new(CONFORM_PART);
    char key[2] = "0";
    for (; key[0] < '7'; key[0]++)
        assert_rc(kv_txn_put(txn, str_of(key), str_from(value, KV_VALUE_MAX)), RC_OK);
    assert_rc(kv_txn_put(txn, STR("7"), str_from(value, KV_VALUE_MAX)), RC_LIMIT);
    assert_rc(kv_txn_put(txn, STR("7"), str_from(value, KV_VALUE_MAX - 7)), RC_LIMIT);
    assert_rc(kv_txn_put(txn, STR("7"), str_from(value, KV_VALUE_MAX - 8)), RC_OK);
    assert_rc(kv_txn_delete(txn, STR("8")), RC_LIMIT);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    assert_int_equal(conform_get(c, CONFORM_PART, STR("7")).n, KV_VALUE_MAX - 8);
    assert_int_equal(conform_get(c, CONFORM_PART, STR("0")).n, KV_VALUE_MAX);
    free(value);
}

static void t115(void **state)
{
    enum { N = 100 };
    struct conform *c = *state;
    struct conform_op ops[N];
    struct conform_ops group;
    conform_ops_init(&group);
    for (int i = 0; i < N; i++) {
        struct kv_txn *txn = kv_txn_new((struct kv_part){KV_ACCOUNT, (uint64_t)i % 3});
        conform_op_init(&group, &ops[i]);
        assert_rc(kv_commit(c->kv, txn, 0, &ops[i].op), RC_OK);
    }
    for (int i = 0; i < N; i++) {
        assert_rc(conform_op_wait(&ops[i]), RC_OK);
        assert_int_equal(ops[i].op.version, i / 3 + 1);
        assert_false(pthread_equal(ops[i].thread, pthread_self()));
        if (i >= 3)
            assert_true(ops[i].order > ops[i - 3].order);
    }
    conform_ops_fini(&group);
}

static void t116(void **state)
{
    static const enum kv_class classes[] = {KV_ACCOUNT, KV_QUEUE, KV_DIRECTORY, KV_GLOBAL, KV_JOBS};
    struct conform *c = *state;
    struct conform_op op;
    struct conform_ops group;
    conform_ops_init(&group);
    conform_op_init(&group, &op);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        struct kv_part part = {classes[i], 1};
        assert_rc(kv_commit(c->kv, kv_txn_new(part), KV_LAZY, &op.op), RC_PERM);
        assert_int_equal(conform_version(c, part), 0);
    }
    struct kv_part cache = {KV_CACHE, 1};
    struct kv_txn *txn = kv_txn_new(cache);
    assert_rc(kv_txn_put(txn, STR("k"), STR("v")), RC_OK);
    assert_rc(kv_commit(c->kv, txn, KV_LAZY, &op.op), RC_OK);
    assert_rc(conform_op_wait(&op), RC_OK);
    assert_int_equal(op.op.version, 1);
    assert_false(pthread_equal(op.thread, pthread_self()));
    assert_row(c, cache, "k", "v");
    assert_int_equal(conform_put(c, cache, STR("k"), STR("w")), 2);
    if (c->backend->is_persistent) {
        conform_reopen(c);
        assert_row(c, cache, "k", "w");
        assert_int_equal(conform_version(c, cache), 2);
    }
    conform_ops_fini(&group);
}

static void t117(void **state)
{
    enum { N = 50 };
    struct conform *c = *state;
    struct conform_op ops[N];
    struct conform_ops group;
    conform_ops_init(&group);
    for (int i = 0; i < N; i++) {
        struct kv_txn *txn = kv_txn_new(CONFORM_PART);
        conform_op_init(&group, &ops[i]);
        assert_rc(kv_txn_put(txn, conform_key(c, "%03d", i), STR("v")), RC_OK);
        assert_rc(kv_commit(c->kv, txn, 0, &ops[i].op), RC_OK);
    }
    conform_reopen(c);
    assert_int_equal(group.completed, N);
    assert_int_equal(conform_version(c, CONFORM_PART), N);
    for (int i = 0; i < N; i++)
        assert_int_equal(conform_get(c, CONFORM_PART, conform_key(c, "%03d", i)).n, 1);
    conform_ops_fini(&group);
}

/* A chain of commits, each queued by the one before as it completes; then its op is freed. */
struct chain {
    struct conform *c;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int left;
    bool is_broken;
};

struct link {
    struct kv_op op;
    struct chain *chain;
};

static void chain_on(struct kv_op *op);

static enum rc chain_queue(struct chain *chain)
{
    struct link *link = mem_zero(sizeof *link);
    *link = (struct link){.op.done = chain_on, .chain = chain};
    enum rc rc = kv_commit(chain->c->kv, kv_txn_new(CONFORM_PART), 0, &link->op);
    if (rc != RC_OK)
        free(link);
    return rc;
}

static void chain_on(struct kv_op *op)
{
    struct link *link = CONTAINER(op, struct link, op);
    struct chain *chain = link->chain;
    pthread_mutex_lock(&chain->mutex);
    chain->is_broken = chain->is_broken || op->rc != RC_OK;
    if (--chain->left > 0 && chain_queue(chain) != RC_OK)
        chain->is_broken = true;
    pthread_cond_signal(&chain->cond);
    pthread_mutex_unlock(&chain->mutex);
    free(link);
}

static void t118(void **state)
{
    enum { LINKS = 50 };
    struct chain chain = {.c = *state, .left = LINKS};
    pthread_mutex_init(&chain.mutex, NULL);
    pthread_cond_init(&chain.cond, NULL);
    assert_rc(chain_queue(&chain), RC_OK);
    pthread_mutex_lock(&chain.mutex);
    while (chain.left > 0 && !chain.is_broken)
        pthread_cond_wait(&chain.cond, &chain.mutex);
    pthread_mutex_unlock(&chain.mutex);
    assert_false(chain.is_broken);
    assert_int_equal(conform_version(chain.c, CONFORM_PART), LINKS);
    pthread_cond_destroy(&chain.cond);
    pthread_mutex_destroy(&chain.mutex);
}

/* Queued at once, so that a back end may take them together: each still meets what the ones
 * before it did, and nothing of those that failed. */
static void t119(void **state)
{
    enum { N = 7 };
    static const enum rc expected[N] = {RC_OK,      RC_OK, RC_OK,     RC_CONFLICT,
                                        RC_CORRUPT, RC_OK, RC_CORRUPT};
    struct conform *c = *state;
    struct conform_op ops[N];
    struct conform_ops group;
    conform_ops_init(&group);
    for (int round = 0; round < 10; round++) {
        struct kv_blob_id id = conform_blob(c, CONFORM_PART, 1, 100);
        struct kv_txn *txns[N];
        for (int i = 0; i < N; i++)
            txns[i] = kv_txn_new(CONFORM_PART);
        assert_rc(kv_txn_put(txns[0], STR("k"), STR("1")), RC_OK);
        assert_rc(kv_txn_ref(txns[0], id), RC_OK);
        assert_rc(kv_txn_assert_value(txns[1], STR("k"), STR("1")), RC_OK);
        assert_rc(kv_txn_trim(txns[1], STR("a"), STR("z")), RC_OK);
        assert_rc(kv_txn_assert_absent(txns[2], STR("k")), RC_OK);
        assert_rc(kv_txn_put(txns[2], STR("k"), STR("2")), RC_OK);
        assert_rc(kv_txn_assert_value(txns[3], STR("k"), STR("1")), RC_OK);
        for (int i = 0; i < 2; i++)
            assert_rc(kv_txn_ref(txns[4], id), RC_OK);
        assert_rc(kv_txn_drop(txns[4], (struct kv_blob_id){"unknown to all"}), RC_OK);
        assert_rc(kv_txn_drop(txns[5], id), RC_OK);
        assert_rc(kv_txn_drop(txns[6], id), RC_OK);
        for (int i = 0; i < N; i++) {
            conform_op_init(&group, &ops[i]);
            assert_rc(kv_commit(c->kv, txns[i], 0, &ops[i].op), RC_OK);
        }
        for (int i = 0; i < N; i++)
            assert_rc(conform_op_wait(&ops[i]), expected[i]);
        kv_blob_forget(c->kv, id);
        conform_fsck_wait_blobs(c, 0);
        assert_row(c, CONFORM_PART, "k", "2");
    }
    conform_ops_fini(&group);
}

static void t120(void **state)
{
    struct conform *c = *state;
    struct kv_part account = {KV_ACCOUNT, 77}, cache = {KV_CACHE, 77};
    struct kv_txn *txn = kv_txn_new(account);
    assert_rc(kv_txn_put(txn, STR("k"), STR("v")), RC_OK);
    assert_rc(kv_txn_put_cached(txn, STR("k"), STR("beside it")), RC_OK);
    assert_rc(kv_txn_put_cached(txn, STR("l"), STR("")), RC_PERM);
    assert_rc(kv_txn_put_cached(txn, STR("\xff"), STR("v")), RC_PERM);
    assert_rc(kv_txn_put_cached(txn, STR("l"), STR("another")), RC_OK);
    assert_int_equal(kv_txn_rows(txn), 3);
    uint64_t version;
    assert_rc(kv_commit_wait(c->kv, txn, &version), RC_OK);
    assert_int_equal(version, 1);
    assert_row(c, account, "k", "v");
    assert_no_row(c, account, "l");
    assert_row(c, cache, "k", "beside it");
    assert_row(c, cache, "l", "another");
    assert_int_equal(conform_version(c, cache), 0);
    txn = kv_txn_new(account);
    kv_txn_expect(txn, 9);
    assert_rc(kv_txn_put_cached(txn, STR("k"), STR("never")), RC_OK);
    assert_rc(kv_txn_delete_cached(txn, STR("l")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_CONFLICT);
    assert_row(c, cache, "k", "beside it");
    assert_row(c, cache, "l", "another");
    assert_int_equal(conform_put(c, cache, STR("m"), STR("its own")), 1);
    txn = kv_txn_new(account);
    assert_rc(kv_txn_delete_cached(txn, STR("l")), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_OK);
    assert_no_row(c, cache, "l");
    assert_row(c, cache, "m", "its own");
    if (c->backend->is_persistent) {
        conform_reopen(c);
        assert_row(c, cache, "k", "beside it");
        assert_row(c, cache, "m", "its own");
        assert_no_row(c, cache, "l");
    }
    txn = kv_txn_new(cache);
    assert_rc(kv_txn_put_cached(txn, STR("k"), STR("v")), RC_PERM);
    assert_rc(kv_txn_delete_cached(txn, STR("k")), RC_PERM);
    kv_txn_free(&txn);
}

const struct conform_test conform_txn_tests[] = {
    {"101 each commit makes the version larger by one, a failed one does not", t101, CONFORM_ANY},
    {"102 an unexpected version fails all of a transaction", t102, CONFORM_ANY},
    {"103 another value than asserted fails all of it", t103, CONFORM_ANY},
    {"104 a row asserted absent fails all of it", t104, CONFORM_ANY},
    {"105 another lease epoch fails all of it", t105, CONFORM_ANY},
    {"106 a reference to an unknown blob fails all of it", t106, CONFORM_ANY},
    {"107 dropping a reference that is not held fails all of it", t107, CONFORM_ANY},
    {"108 asserts that hold let the transaction through", t108, CONFORM_ANY},
    {"109 asserts are about the state before the transaction", t109, CONFORM_ANY},
    {"110 changes are applied in the order given", t110, CONFORM_ANY},
    {"111 a trim removes from its first to before its last key, in its partition", t111,
     CONFORM_ANY},
    {"112 keys and values have their lengths, and 0xff is the store's", t112, CONFORM_ANY},
    {"113 a transaction has its number of rows", t113, CONFORM_ANY},
    {"114 a transaction has its number of bytes", t114, CONFORM_ANY},
    {"115 completions come in order and never from inside kv_commit", t115, CONFORM_ANY},
    {"116 only the cache may commit lazily", t116, CONFORM_ANY},
    {"117 closing commits all that is queued", t117, CONFORM_PERSISTENT},
    {"118 a completion may queue the next commit and free its own", t118, CONFORM_ANY},
    {"119 commits queued together meet what those before them did", t119, CONFORM_ANY},
    {"120 an account's commit takes rows of its cache along", t120, CONFORM_ANY},
    {0},
};
