/* kv_mem beyond the contract: it counts exactly, holds, fails and goes cold on demand. */
#include "kv/kv.h"

#include "base/test.h"

#include <semaphore.h>
#include <stdio.h>

static const struct ctx ctx = {.clock = &clock_system};
static const struct kv_part part = {KV_ACCOUNT, 1};

static void assert_stats(struct kv *kv, struct kv_mem_stats expected)
{
    struct kv_mem_stats stats;
    kv_mem_stats(kv, &stats);
    assert_int_equal(stats.keys_read, expected.keys_read);
    assert_int_equal(stats.keys_written, expected.keys_written);
    assert_int_equal(stats.scans, expected.scans);
    assert_int_equal(stats.rows_scanned, expected.rows_scanned);
    assert_int_equal(stats.blobs_read, expected.blobs_read);
    assert_int_equal(stats.commits, expected.commits);
}

static void it_counts(void **state)
{
    struct kv *kv = kv_mem_new(&ctx);
    struct arena arena = {0};
    struct str keys[] = {STR("a"), STR("nothing"), STR("c")};
    struct str values[3];
    struct kv_page page;
    assert_stats(kv, (struct kv_mem_stats){0});
    struct kv_txn *txn = kv_txn_new(part);
    for (int i = 0; i < 3; i++)
        assert_rc(kv_txn_put(txn, i ? STR("b") : STR("a"), STR("v")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("c"), STR("v")), RC_OK);
    assert_rc(kv_txn_delete(txn, STR("nothing")), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    assert_stats(kv, (struct kv_mem_stats){.keys_written = 5, .commits = 1});
    assert_rc(kv_get(kv, part, keys, 3, 0, &arena, values, NULL), RC_OK);
    assert_rc(kv_scan(kv, part, (struct kv_range){0}, 2, 0, &arena, &page), RC_OK);
    assert_stats(kv, (struct kv_mem_stats){3, 5, 1, 2, 0, 1});
    txn = kv_txn_new(part);
    assert_rc(kv_txn_assert_absent(txn, STR("x")), RC_OK);
    assert_rc(kv_txn_assert_value(txn, STR("a"), STR("v")), RC_OK);
    assert_rc(kv_txn_trim(txn, STR("b"), (struct str){0}), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    assert_stats(kv, (struct kv_mem_stats){5, 7, 1, 2, 0, 2});
    txn = kv_txn_new(part);
    kv_txn_expect(txn, 77);
    assert_rc(kv_txn_put(txn, STR("a"), STR("w")), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_CONFLICT);
    assert_stats(kv, (struct kv_mem_stats){5, 7, 1, 2, 0, 2});
    arena_fini(&arena);
    kv_close(&kv);
}

static enum rc put(struct kv *kv)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put(txn, STR("k"), STR("v")), RC_OK);
    return kv_commit_wait(kv, txn, NULL);
}

static void it_fails_on_demand(void **state)
{
    struct kv *kv = kv_mem_new(&ctx);
    const char *why = NULL;
    uint64_t version;
    kv_mem_fail(kv, RC_FULL);
    assert_rc(put(kv), RC_FULL);
    assert_int_equal(kv_state(kv, NULL), KV_WRITABLE);
    assert_rc(put(kv), RC_OK);
    kv_mem_fail(kv, RC_TEMP);
    assert_rc(put(kv), RC_TEMP);
    assert_int_equal(kv_state(kv, &why), KV_READONLY);
    assert_true(strlen(why) > 0);
    assert_rc(put(kv), RC_TEMP);
    assert_rc(kv_version(kv, part, 0, &version), RC_OK);
    assert_int_equal(version, 1);
    struct kv_blob_id id;
    struct kv_blob_out *out = kv_blob_new(kv, part, 0, 0);
    assert_rc(kv_blob_finish(&out, &id), RC_TEMP);
    kv_close(&kv);
}

static void it_goes_cold(void **state)
{
    struct kv *kv = kv_mem_new(&ctx);
    struct arena arena = {0};
    struct str key = STR("k"), value;
    struct kv_page page;
    uint64_t version;
    struct kv_writer *writer;
    kv_mem_cold(kv, true);
    assert_rc(kv_version(kv, part, KV_CACHED, &version), RC_AGAIN);
    assert_rc(kv_get(kv, part, &key, 1, KV_CACHED, &arena, &value, NULL), RC_AGAIN);
    assert_rc(kv_scan(kv, part, (struct kv_range){0}, 0, KV_CACHED, &arena, &page), RC_AGAIN);
    assert_rc(kv_writer_open(kv, part, KV_CACHED, &writer), RC_AGAIN);
    assert_null(writer);
    assert_rc(kv_version(kv, part, 0, &version), RC_OK);
    kv_mem_cold(kv, false);
    assert_rc(kv_version(kv, part, KV_CACHED, &version), RC_OK);
    kv_close(&kv);
}

static void it_fails_to_read(void **state)
{
    struct kv *kv = kv_mem_new(&ctx);
    struct arena arena = {0};
    struct str keys[] = {STR("a"), STR("k")}, values[2];
    struct kv_page page;
    struct kv_range range = {.from = STR("k"), .to = STR("l")};
    assert_rc(put(kv), RC_OK);
    kv_mem_fail_reads(kv, STR("k"), RC_CORRUPT);
    assert_rc(kv_get(kv, part, keys, 2, 0, &arena, values, NULL), RC_CORRUPT);
    assert_rc(kv_get(kv, part, keys, 1, 0, &arena, values, NULL), RC_OK);
    assert_rc(kv_scan(kv, part, range, 0, 0, &arena, &page), RC_CORRUPT);
    kv_mem_fail_reads(kv, STR("k"), RC_OK);
    assert_rc(kv_get(kv, part, keys, 2, 0, &arena, values, NULL), RC_OK);
    assert_true(str_eq(values[1], STR("v")));
    arena_fini(&arena);
    kv_close(&kv);
}

struct count_op {
    struct kv_op op;
    _Atomic int *done;
};

static void count_done(struct kv_op *op)
{
    (*CONTAINER(op, struct count_op, op)->done)++;
}

/* The queue has an end; closing commits what is in it, held or not. */
static void the_queue_has_an_end(void **state)
{
    enum { MOST = 100 };
    static char value[KV_VALUE_MAX];
    struct count_op ops[MOST];
    struct kv *kv = kv_mem_new(&ctx);
    _Atomic int done = 0;
    int queued = 0;
    enum rc rc = RC_OK;
    kv_mem_hold(kv, true);
    for (; rc == RC_OK && queued < MOST; queued++) {
        struct kv_txn *txn = kv_txn_new(part);
        ops[queued] = (struct count_op){{.done = count_done}, &done};
        assert_rc(kv_txn_put(txn, STR("k"), str_from(value, sizeof value)), RC_OK);
        rc = kv_commit(kv, txn, 0, &ops[queued].op);
    }
    assert_rc(rc, RC_LIMIT);
    assert_in_range(queued - 1, 60, 64);
    assert_int_equal(done, 0);
    kv_close(&kv);
    assert_int_equal(done, queued - 1);
}

struct lease_taker {
    struct kv *kv;
    enum rc rc;
    uint64_t epoch;
};

static void *take_lease(void *arg)
{
    struct lease_taker *t = arg;
    t->rc = kv_lease_take(t->kv, part, STR("n"), STR("me"), 30 * NS_PER_SEC, &t->epoch);
    return NULL;
}

struct post_watch {
    struct kv_watch watch;
    sem_t told;
};

static void post(struct kv_watch *watch, uint64_t version)
{
    sem_post(&CONTAINER(watch, struct post_watch, watch)->told);
}

/* A take that fails between its two commits is made good by the next one of the same owner. */
static void a_lease_half_taken_is_taken_again(void **state)
{
    struct kv *kv = kv_mem_new(&ctx);
    struct lease_taker taker = {.kv = kv};
    struct post_watch watch = {.watch = {.changed = post, .part = {KV_LEASES, part.id}}};
    pthread_t thread;
    sem_init(&watch.told, 0, 0);
    kv_watch_add(kv, &watch.watch);
    kv_mem_hold(kv, true);
    kv_mem_step(kv, 1);
    pthread_create(&thread, NULL, take_lease, &taker);
    sem_wait(&watch.told);
    kv_mem_fail(kv, RC_FULL);
    kv_mem_hold(kv, false);
    pthread_join(thread, NULL);
    assert_rc(taker.rc, RC_FULL);
    take_lease(&taker);
    assert_rc(taker.rc, RC_OK);
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_assert_lease(txn, STR("n"), taker.epoch), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    kv_watch_remove(kv, &watch.watch);
    sem_destroy(&watch.told);
    kv_close(&kv);
}

/* The row that says who holds the lease is older than the epoch in the partition: as for a taker
 * that slept between its two commits while another one took the lease. */
static void an_overtaken_taker_gets_nothing(void **state)
{
    struct clock_fixed clock;
    const struct ctx fixed = {.clock = &clock.clock};
    clock_fixed_init(&clock, 0, NS_PER_SEC);
    struct kv *kv = kv_mem_new(&fixed);
    struct kv_part leases = {KV_LEASES, part.id};
    struct arena arena = {0};
    struct kv_page old;
    uint64_t first, second, again = 0;
    assert_rc(kv_lease_take(kv, part, STR("n"), STR("a"), NS_PER_SEC, &first), RC_OK);
    assert_rc(kv_scan(kv, leases, (struct kv_range){0}, 0, 0, &arena, &old), RC_OK);
    assert_int_equal(old.n, 1);
    clock.wall += 2 * NS_PER_SEC;
    assert_rc(kv_lease_take(kv, part, STR("n"), STR("b"), NS_PER_SEC, &second), RC_OK);
    struct kv_txn *txn = kv_txn_new(leases);
    assert_rc(kv_txn_put(txn, old.rows[0].key, old.rows[0].value), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    assert_rc(kv_lease_take(kv, part, STR("n"), STR("a"), NS_PER_SEC, &again), RC_CONFLICT);
    txn = kv_txn_new(part);
    assert_rc(kv_txn_assert_lease(txn, STR("n"), second), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    arena_fini(&arena);
    kv_close(&kv);
}

/* What one operation costs does not depend on how many rows there are. */
static void many_rows_are_no_burden(void **state)
{
    enum { ROWS = 200000, BATCH = 5000 };
    struct kv *kv = kv_mem_new(&ctx);
    struct arena arena = {0};
    struct kv_page page;
    char key[16];
    for (int i = 0; i < ROWS; i += BATCH) {
        struct kv_txn *txn = kv_txn_new(part);
        for (int k = 0; k < BATCH; k++) {
            snprintf(key, sizeof key, "%08d", (int)((i + k) * UINT64_C(7919) % ROWS));
            assert_rc(kv_txn_put(txn, str_of(key), str_of(key)), RC_OK);
        }
        assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    }
    struct kv_range range = {.after = STR("00123455")};
    assert_rc(kv_scan(kv, part, range, 3, 0, &arena, &page), RC_OK);
    assert_int_equal(page.n, 3);
    assert_str(page.rows[0].key, "00123456");
    assert_str(page.rows[2].value, "00123458");
    struct kv_fsck fsck = {0};
    assert_rc(kv_fsck(kv, &fsck), RC_OK);
    assert_int_equal(fsck.rows, ROWS);
    arena_fini(&arena);
    kv_close(&kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts),
        cmocka_unit_test(it_fails_on_demand),
        cmocka_unit_test(it_goes_cold),
        cmocka_unit_test(it_fails_to_read),
        cmocka_unit_test(the_queue_has_an_end),
        cmocka_unit_test(a_lease_half_taken_is_taken_again),
        cmocka_unit_test(an_overtaken_taker_gets_nothing),
        cmocka_unit_test(many_rows_are_no_burden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
