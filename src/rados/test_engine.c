/* kv_rados beyond the contract: two processes on one store, answers that get lost, heads of many
 * pages, little memory, rows of caches. */
#include "rados/fixture.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static const struct kv_part part = {KV_ACCOUNT, 1};

static struct str key_of(struct fixture *f, unsigned writer, unsigned i)
{
    char key[32];
    int n = snprintf(key, sizeof key, "%u/%06u", writer, i);
    return arena_dup(&f->arena, str_from(key, (size_t)n));
}

/* --- two processes ---------------------------------------------------------------------------- */

static void what_another_process_committed_is_seen_and_told(void **state)
{
    struct fixture *f = *state;
    struct kv *other = fixture_open(f);
    assert_int_equal(fixture_put(f->kv, part, STR("k"), STR("1")), 1);
    fixture_check(f, other, part, STR("k"), STR("1"));
    assert_int_equal(fixture_put(other, part, STR("k"), STR("2")), 2);
    fixture_check(f, f->kv, part, STR("k"), STR("2"));
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_assert_value(txn, STR("k"), STR("1")), RC_OK);
    assert_rc(kv_commit_wait(other, txn, NULL), RC_CONFLICT);
    kv_close(&other);
}

/* Neither of them knows what the other one has just done when it commits. */
static void guards_that_do_not_hold_cost_nothing(void **state)
{
    struct fixture *f = *state;
    struct kv *both[2];
    f->conf.trust_ms = 1000 * 1000;
    both[0] = fixture_open(f);
    both[1] = fixture_open(f);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(fixture_put(both[i % 2], part, key_of(f, 0, i), STR("v")), i + 1);
    assert_int_equal(fixture_count(f, f->kv, part), 10);
    kv_close(&both[0]);
    kv_close(&both[1]);
}

static enum rc writer_put(struct kv_writer *writer, struct kv_op *op)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put(txn, STR("k"), STR("v")), RC_OK);
    return kv_writer_commit(writer, txn, op);
}

struct told {
    struct kv_op op;
    _Atomic bool is_done;
};

static void tell(struct kv_op *op)
{
    atomic_store(&CONTAINER(op, struct told, op)->is_done, true);
}

/* A sweeper fences the partitions of whoever has died, again and again, while they are written to
 * by the process itself or by another one. */
static void fences_fail_no_writer(void **state)
{
    enum { ROUNDS = 20 };
    struct fixture *f = *state;
    struct kv *other = fixture_open(f);
    struct kv_writer *writer;
    struct told told[ROUNDS];
    assert_rc(rad_fence(rad_of(other), part), RC_OK); /* of a partition that is not there yet */
    assert_int_equal(fixture_version(f->kv, part), 0);
    assert_rc(kv_writer_open(f->kv, part, 0, &writer), RC_OK);
    for (unsigned i = 0; i < ROUNDS; i++) {
        told[i] = (struct told){.op.done = tell};
        assert_rc(writer_put(writer, &told[i].op), RC_OK);
        assert_rc(rad_fence(rad_of(i % 2 ? f->kv : other), part), RC_OK);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        while (!atomic_load(&told[i].is_done))
            sched_yield();
        assert_rc(told[i].op.rc, RC_OK);
        assert_int_equal(told[i].op.version, i + 1);
    }
    kv_writer_close(&writer);
    kv_close(&other);
}

struct counting {
    struct kv *kv;
    pthread_t thread;
    int faults;
};

enum { INCREMENTS = 40 };

static void *count_up(void *arg)
{
    struct counting *c = arg;
    for (int won = 0; won < INCREMENTS;) {
        struct arena arena = {0};
        struct str key = STR("counter");
        struct str value;
        uint64_t version;
        unsigned char next[8];
        c->faults += kv_get(c->kv, part, &key, 1, 0, &arena, &value, &version) != RC_OK;
        put_u64(next, value.n == 8 ? get_u64(value.p) + 1 : 1);
        struct kv_txn *txn = kv_txn_new(part);
        kv_txn_expect(txn, version);
        c->faults += kv_txn_put(txn, key, str_from(next, 8)) != RC_OK;
        enum rc rc = kv_commit_wait(c->kv, txn, NULL);
        c->faults += rc != RC_OK && rc != RC_CONFLICT;
        won += rc == RC_OK;
        arena_fini(&arena);
    }
    return NULL;
}

static void processes_that_count_together_lose_nothing(void **state)
{
    enum { PROCESSES = 3 };
    struct fixture *f = *state;
    struct counting counting[PROCESSES] = {{0}};
    unsigned char all[8];
    for (int i = 0; i < PROCESSES; i++) {
        counting[i].kv = fixture_open(f);
        pthread_create(&counting[i].thread, NULL, count_up, &counting[i]);
    }
    for (int i = 0; i < PROCESSES; i++) {
        pthread_join(counting[i].thread, NULL);
        assert_int_equal(counting[i].faults, 0);
        kv_close(&counting[i].kv);
    }
    put_u64(all, PROCESSES * INCREMENTS);
    fixture_check(f, f->kv, part, STR("counter"), str_from(all, 8));
    assert_int_equal(fixture_version(f->kv, part), PROCESSES * INCREMENTS);
}

/* --- answers that get lost -------------------------------------------------------------------- */

/* Writes to heads of accounts meet their fates in this order, then go on as usual; or by dice. */
struct fates {
    struct kv_rados_hooks hooks;
    const enum kv_rados_fate *fates;
    size_t n;
    _Atomic size_t met;
    uint64_t dice; /* 0: as listed */
};

static enum kv_rados_fate next_fate(const struct kv_rados_hooks *hooks, const char *object)
{
    struct fates *f = (struct fates *)(uintptr_t)hooks;
    if (!str_starts(str_of(object), STR("p.A.")))
        return KV_RADOS_DONE;
    size_t i = atomic_fetch_add(&f->met, 1);
    if (f->dice == 0)
        return i < f->n ? f->fates[i] : KV_RADOS_DONE;
    uint64_t dice = map_hash_u64(f->dice + i);
    return dice % 4 ? KV_RADOS_DONE : (enum kv_rados_fate)(1 + dice / 4 % 3);
}

static struct kv *open_with_fates(struct fixture *f, struct fates *fates)
{
    fates->hooks.fate = next_fate;
    f->conf.hooks = &fates->hooks;
    struct kv *kv = fixture_open(f);
    f->conf.hooks = NULL;
    return kv;
}

/* The first write makes the head, the second one changes it. */
static void a_lost_answer_is_found_out(void **state)
{
    static const enum kv_rados_fate kinds[] = {KV_RADOS_LOST, KV_RADOS_LATE, KV_RADOS_NEVER};
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3; i++) {
        const enum kv_rados_fate listed[] = {kinds[i], KV_RADOS_DONE, kinds[i]};
        struct fates fates = {.fates = listed, .n = 3};
        struct kv_part own = {KV_ACCOUNT, 10 + i};
        struct kv *kv = open_with_fates(f, &fates);
        for (unsigned j = 0; j < 4; j++)
            assert_int_equal(fixture_put(kv, own, key_of(f, i, j), STR("v")), j + 1);
        assert_true(atomic_load(&fates.met) >= 4);
        kv_close(&kv); /* waits for what comes late */
        assert_int_equal(fixture_version(f->kv, own), 4);
        assert_int_equal(fixture_count(f, f->kv, own), 4);
    }
}

/* The operation that makes sure is lost as well; then the next one. */
static void what_makes_sure_may_be_lost_too(void **state)
{
    static const enum kv_rados_fate listed[] = {
        KV_RADOS_DONE, KV_RADOS_NEVER, KV_RADOS_NEVER, KV_RADOS_LATE, KV_RADOS_LOST, KV_RADOS_LATE,
    };
    struct fixture *f = *state;
    struct fates fates = {.fates = listed, .n = sizeof listed / sizeof *listed};
    struct kv *kv = open_with_fates(f, &fates);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(fixture_put(kv, part, key_of(f, 0, i), STR("v")), i + 1);
    kv_close(&kv);
    assert_int_equal(fixture_version(f->kv, part), 5);
    assert_int_equal(fixture_count(f, f->kv, part), 5);
}

struct appending {
    struct fixture *f;
    struct fates fates;
    struct kv *kv;
    unsigned number;
    pthread_t thread;
    unsigned acknowledged, unknown;
};

enum { APPENDS = 60 };

static void *append(void *arg)
{
    struct appending *a = arg;
    for (unsigned i = 0; i < APPENDS; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "%u/%06u", a->number, i);
        struct kv_txn *txn = kv_txn_new(part);
        enum rc rc = kv_txn_put(txn, str_from(key, (size_t)n), STR("v"));
        rc = rc == RC_OK ? kv_commit_wait(a->kv, txn, NULL) : rc;
        a->acknowledged += rc == RC_OK;
        a->unknown += rc == RC_TEMP;
    }
    return NULL;
}

/* Two processes, each losing a quarter of its answers: every commit counts once. */
static void two_processes_losing_answers_do_nothing_twice(void **state)
{
    struct fixture *f = *state;
    struct appending appending[2] = {{.fates.dice = 5}, {.fates.dice = 77}};
    unsigned acknowledged = 0;
    for (unsigned i = 0; i < 2; i++) {
        appending[i].number = i;
        appending[i].kv = open_with_fates(f, &appending[i].fates);
        pthread_create(&appending[i].thread, NULL, append, &appending[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(appending[i].thread, NULL);
        kv_close(&appending[i].kv);
        assert_int_equal(appending[i].unknown, 0);
        acknowledged += appending[i].acknowledged;
    }
    assert_int_equal(acknowledged, 2 * APPENDS);
    assert_int_equal(fixture_version(f->kv, part), acknowledged);
    assert_int_equal(fixture_count(f, f->kv, part), acknowledged);
}

/* Whoever the cluster has shut out writes nothing any more, and still comes to an end. */
static void a_store_that_was_shut_out_is_readonly(void **state)
{
    static const enum kv_rados_fate listed[] = {KV_RADOS_DONE, KV_RADOS_FENCED};
    struct kv_part cold = {KV_ACCOUNT, 2};
    struct fixture *f = *state;
    struct fates fates = {.fates = listed, .n = 2};
    struct kv *kv = open_with_fates(f, &fates);
    const char *why;
    assert_int_equal(fixture_put(kv, part, STR("k"), STR("1")), 1);
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put(txn, STR("k"), STR("2")), RC_OK);
    assert_rc(kv_txn_put_cached(txn, STR("k"), STR("2")), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_TEMP);
    assert_int_equal(kv_state(kv, &why), KV_READONLY);
    assert_true(why[0] != '\0');
    assert_rc(kv_commit_wait(kv, kv_txn_new(cold), NULL), RC_TEMP);
    fixture_check(f, kv, part, STR("k"), STR("1"));
    kv_close(&kv);
    assert_int_equal(fixture_version(f->kv, part), 1);
    assert_int_equal(fixture_version(f->kv, cold), 0);
}

/* --- sizes ------------------------------------------------------------------------------------ */

static void put_many(struct fixture *f, struct kv *kv, struct kv_part own, unsigned n)
{
    for (unsigned i = 0; i < n;) {
        struct kv_txn *txn = kv_txn_new(own);
        for (unsigned end = i + KV_TXN_ROWS; i < n && i < end; i++)
            assert_rc(kv_txn_put(txn, key_of(f, 0, i), STR("value")), RC_OK);
        assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    }
}

static void a_head_of_many_pages_is_read_whole(void **state)
{
    enum { ROWS = 7000 };
    struct fixture *f = *state;
    put_many(f, f->kv, part, ROWS);
    fixture_reopen(f);
    assert_int_equal(fixture_count(f, f->kv, part), ROWS);
    fixture_check(f, f->kv, part, key_of(f, 0, ROWS - 1), STR("value"));
    fixture_check(f, f->kv, part, key_of(f, 0, ROWS), (struct str){0});
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_trim(txn, key_of(f, 0, 10), key_of(f, 0, ROWS - 10)), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    fixture_reopen(f);
    assert_int_equal(fixture_count(f, f->kv, part), 20);
}

/* A whole account may be trimmed: its shards need not be read to say so. */
static void what_is_trimmed_is_not_loaded(void **state)
{
    enum { ROWS = 200 };
    struct fixture *f = *state;
    struct kv_range range = {.from = key_of(f, 0, 2), .to = key_of(f, 0, 5)};
    struct kv_page page;
    f->conf.head_rows = 30;
    f->conf.shard_rows = 60;
    fixture_reopen(f);
    for (unsigned i = 0; i < ROWS; i++)
        fixture_put(f->kv, part, key_of(f, 0, i), STR("value"));
    fixture_reopen(f);
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_trim(txn, range.from, range.to), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    assert_rc(kv_scan(f->kv, part, range, 0, KV_CACHED, &f->arena, &page), RC_OK);
    assert_int_equal(page.n, 0);
    range.to = key_of(f, 0, 6);
    assert_rc(kv_scan(f->kv, part, range, 0, KV_CACHED, &f->arena, &page), RC_AGAIN);
    assert_int_equal(fixture_count(f, f->kv, part), ROWS - 3);
}

/* Rows fifty times as large as usual: shards have as many fewer, and so have pages. */
static void large_rows_make_short_pages(void **state)
{
    enum { ROWS = 100, SIZE = 100000, SHARD_ROWS = 200 };
    struct fixture *f = *state;
    char *value = mem_zero(SIZE);
    f->conf.head_rows = 100;
    f->conf.shard_rows = SHARD_ROWS;
    fixture_reopen(f);
    for (unsigned i = 0; i < ROWS; i++)
        fixture_put(f->kv, part, key_of(f, 0, i), str_from(value, SIZE));
    fixture_reopen(f);
    struct rad_part *p = rad_part_get(rad_of(f->kv), part);
    assert_int_equal(fixture_count(f, f->kv, part), ROWS);
    pthread_mutex_lock(&p->mutex);
    assert_in_range(p->head.rows.count, 0, ROWS / 4);
    assert_in_range(p->head.shards.n, 100 * SIZE / SHARD_ROWS / 2048 / 2, ROWS);
    LIST_EACH (&p->page_lru, it)
        assert_in_range(CONTAINER(it, struct rad_page, lru)->bytes, 1, SHARD_ROWS * 2048);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
    free(value);
}

/* Partitions are put out as soon as nobody holds them. */
static void little_memory_is_enough(void **state)
{
    enum { PARTS = 20, ROUNDS = 3 };
    struct fixture *f = *state;
    kv_close(&f->kv);
    f->conf.memory_bytes = 1;
    f->kv = fixture_open(f);
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < PARTS; i++)
            assert_int_equal(
                fixture_put(f->kv, (struct kv_part){KV_QUEUE, i}, key_of(f, i, round), STR("v")),
                round + 1);
    for (unsigned i = 0; i < PARTS; i++)
        assert_int_equal(fixture_count(f, f->kv, (struct kv_part){KV_QUEUE, i}), ROUNDS);
    uint64_t version;
    assert_rc(kv_version(f->kv, (struct kv_part){KV_QUEUE, 0}, KV_CACHED, &version), RC_AGAIN);
}

/* --- what waits ------------------------------------------------------------------------------- */

struct queued {
    struct kv_op op;
    _Atomic int *left;
};

static void count_down(struct kv_op *op)
{
    atomic_fetch_sub(CONTAINER(op, struct queued, op)->left, 1);
}

/* Beyond its bytes nothing more is taken; what was taken is committed. */
static void a_full_queue_says_so(void **state)
{
    enum { MOST = 200 };
    struct fixture *f = *state;
    struct queued queued[MOST];
    _Atomic int left = 0;
    char *value = mem_zero(100000);
    unsigned taken = 0;
    enum rc rc = RC_OK;
    kv_close(&f->kv);
    f->conf.queue_bytes = 1000000;
    f->kv = fixture_open(f);
    for (; taken < MOST && rc == RC_OK; taken += rc == RC_OK) {
        struct kv_txn *txn = kv_txn_new((struct kv_part){KV_QUEUE, taken});
        assert_rc(kv_txn_put(txn, STR("k"), str_from(value, 100000)), RC_OK);
        queued[taken] = (struct queued){.op.done = count_down, .left = &left};
        atomic_fetch_add(&left, 1);
        rc = kv_commit(f->kv, txn, 0, &queued[taken].op);
        if (rc != RC_OK)
            atomic_fetch_sub(&left, 1);
    }
    assert_rc(rc, RC_LIMIT);
    assert_in_range(taken, 9, MOST - 1);
    fixture_reopen(f);
    assert_int_equal(atomic_load(&left), 0);
    for (unsigned i = 0; i < taken; i++)
        assert_int_equal(fixture_version(f->kv, (struct kv_part){KV_QUEUE, i}), 1);
    free(value);
}

/* Rows that came with the account's commits: over and over, and beside commits of the cache. */
static void rows_of_a_cache_are_written_at_last(void **state)
{
    enum { ROUNDS = 20 };
    struct kv_part cache = {KV_CACHE, part.id};
    struct fixture *f = *state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct kv_txn *txn = kv_txn_new(part);
        assert_rc(kv_txn_put_cached(txn, key_of(f, 1, i), STR("cached")), RC_OK);
        assert_rc(kv_txn_put_cached(txn, STR("last"), key_of(f, 2, i)), RC_OK);
        if (i > 0)
            assert_rc(kv_txn_delete_cached(txn, key_of(f, 1, i - 1)), RC_OK);
        assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
        fixture_check(f, f->kv, cache, STR("last"), key_of(f, 2, i));
        if (i % 7 == 3)
            assert_int_equal(fixture_put(f->kv, cache, STR("own"), STR("v")), i / 7 + 1);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture_count(f, f->kv, cache), 3);
        fixture_check(f, f->kv, cache, STR("last"), key_of(f, 2, ROUNDS - 1));
        fixture_check(f, f->kv, cache, key_of(f, 1, ROUNDS - 1), STR("cached"));
        assert_int_equal(fixture_version(f->kv, cache), 3);
        fixture_reopen(f);
    }
}

struct deaf {
    struct kv_rados_hooks hooks;
    _Atomic bool is_on;
};

static enum kv_rados_fate caches_are_deaf(const struct kv_rados_hooks *hooks, const char *object)
{
    const struct deaf *d = (const struct deaf *)hooks; /* its first member */
    bool is_cache = str_starts(str_of(object), STR("p.X."));
    return is_cache && atomic_load(&d->is_on) ? KV_RADOS_NEVER : KV_RADOS_DONE;
}

static void put_large_cached(struct fixture *f, unsigned i, struct str value)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put_cached(txn, key_of(f, 3, i), value), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

/* The account goes on, and memory is bounded; what came meanwhile can be made again. */
static void a_cache_that_cannot_be_written_does_not_grow(void **state)
{
    enum { ROWS = 60, SIZE = 500000, MOST = (8 << 20) + 2 * SIZE };
    struct kv_part cache = {KV_CACHE, part.id};
    struct fixture *f = *state;
    struct deaf deaf = {.hooks.fate = caches_are_deaf, .is_on = true};
    char *value = mem_zero(SIZE);
    kv_close(&f->kv);
    f->conf.hooks = &deaf.hooks;
    f->kv = fixture_open(f);
    for (unsigned i = 0; i < ROWS; i++) {
        put_large_cached(f, i, str_from(value, SIZE));
        assert_in_range(atomic_load(&rad_of(f->kv)->lazy_bytes), 1, MOST);
    }
    assert_in_range(fixture_count(f, f->kv, cache), 8, ROWS / 2);
    atomic_store(&deaf.is_on, false);
    fixture_reopen(f); /* writes them */
    put_large_cached(f, ROWS, STR("small"));
    fixture_check(f, f->kv, cache, key_of(f, 3, ROWS), STR("small"));
    assert_in_range(fixture_count(f, f->kv, cache), 9, ROWS / 2);
    kv_close(&f->kv);
    f->conf.hooks = NULL;
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(what_another_process_committed_is_seen_and_told),
        fixture_test(guards_that_do_not_hold_cost_nothing),
        fixture_test(fences_fail_no_writer),
        fixture_test(processes_that_count_together_lose_nothing),
        fixture_test(a_lost_answer_is_found_out),
        fixture_test(what_makes_sure_may_be_lost_too),
        fixture_test(two_processes_losing_answers_do_nothing_twice),
        fixture_test(a_store_that_was_shut_out_is_readonly),
        fixture_test(a_head_of_many_pages_is_read_whole),
        fixture_test(what_is_trimmed_is_not_loaded),
        fixture_test(large_rows_make_short_pages),
        fixture_test(little_memory_is_enough),
        fixture_test(a_full_queue_says_so),
        fixture_test(rows_of_a_cache_are_written_at_last),
        fixture_test(a_cache_that_cannot_be_written_does_not_grow),
    };
    return fixture_run(tests);
}
