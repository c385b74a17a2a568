/* A store with everything in it, carried: whole, cut short at every commit, twice, damaged. */
#include "migrate/migrate_int.h"

#include "base/mem.h"
#include "base/test.h"
#include "queue/queue.h"
#include "store/fixture.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

struct home {
    struct fixture *f; /* the first store */
    struct counters counters;
    struct auth *auth;
    struct queue *queue;
    uint64_t accounts[4];
    struct kv *to;
    struct migrate m;
    unsigned differences;
    struct migrate_watch watch;
};

/* --- a store with everything in it ------------------------------------------------------------ */

struct waiting {
    union {
        struct store_op store;
        struct queue_op queue;
    } op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void wake(struct waiting *w)
{
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static void store_done(struct store_op *op)
{
    wake(CONTAINER(op, struct waiting, op.store));
}

static void queue_done_op(struct queue_op *op)
{
    wake(CONTAINER(op, struct waiting, op.queue));
}

static void wait_for(struct waiting *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->is_done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

#define WAITING                                                                                    \
    {                                                                                              \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER                       \
    }

/* The same blob in every account, and in the queue: once held, once waiting. */
static void deliver_to_all(struct home *h)
{
    struct store_account *first = fixture_open(h->f, h->accounts[0]);
    struct kv_blob_id blob = fixture_blob(h->f, first, STR("Subject: to all\r\n\r\nx\r\n"));
    fixture_close(h->f, &first);
    for (size_t i = 0; i < 3; i++) {
        struct store_account *a = fixture_open(h->f, h->accounts[i]);
        struct store_append append = {.blob = blob,
                                      .size = 22,
                                      .received = 1,
                                      .message_id = STR("all@example.org"),
                                      .delivery_id = STR("0123456789abcdef"),
                                      .summary = STR("a summary")};
        struct waiting w = WAITING;
        w.op.store.done = store_done;
        assert_rc(store_append(a, &append, 0, &w.op.store), RC_OK);
        wait_for(&w);
        assert_rc(w.op.store.rc, RC_OK);
        fixture_close(h->f, &a);
    }
    const struct queue_recipient to[] = {
        {.account = h->accounts[0]}, {.account = h->accounts[1]}, {.account = h->accounts[2]}};
    for (size_t i = 0; i < 2; i++) {
        struct queue_item item = {.blob = blob,
                                  .size = 22,
                                  .received = 1,
                                  .sender = STR("s@example.org"),
                                  .recipients = to,
                                  .n_recipients = 3};
        struct waiting w = WAITING;
        w.op.queue.done = queue_done_op;
        assert_rc(queue_add(h->queue, &item, 1, &w.op.queue), RC_OK);
        wait_for(&w);
        assert_rc(w.op.queue.rc, RC_OK);
        if (i)
            assert_rc(queue_hold(h->queue, w.op.queue.id, "because"), RC_OK);
    }
    kv_blob_forget(h->f->kv, blob);
}

/* Flags, keywords, a folder, copies, tombstones of both kinds, a body in a file of its own. */
static void fill_account(struct home *h, uint64_t id)
{
    static const char *const folders[] = {"work", "work/old"};
    struct store_account *a = fixture_account(h->f, id);
    struct store_op op;
    const struct str keywords[] = {STR("$Important")};
    struct store_append marked = {
        .flags = STORE_SEEN | STORE_FLAGGED, .keywords = keywords, .n_keywords = 1};
    char *large = mem_zero(KV_BLOB_SMALL + 1000);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        assert_rc(fixture_create(a, folders[i], STORE_NONE, &op), RC_OK);
    fixture_append_many(h->f, a, 40);
    assert_rc(fixture_append(h->f, a, STR("marked"), &marked, NULL), RC_OK);
    assert_rc(fixture_append(h->f, a, str_from(large, KV_BLOB_SMALL + 1000), NULL, NULL), RC_OK);
    free(large);
    const uint32_t some[] = {1, 2, 3, 41, 42};
    struct store_copy copy = {.from = 1, .to = fixture_find(a, "work"), .uids = some, .n_uids = 5};
    uint32_t uids[5];
    copy.out_uids = uids;
    assert_rc(fixture_copy(a, &copy, &op), RC_OK);
    const uint32_t gone[] = {2, 4, 5};
    assert_rc(fixture_expunge(a, 1, gone, 3, &op), RC_OK);
    fixture_close(h->f, &a);
}

static void fill(struct home *h)
{
    static const char *const addresses[] = {"alice@example.test", "bob@example.test",
                                            "carol@example.test"};
    size_t bad;
    const struct str target = STR("alice@example.test");
    assert_rc(auth_domain_add(h->auth, STR("example.test")), RC_OK);
    assert_rc(store_default_set(h->f->store, 1, (struct store_quota){.bytes = 1 << 30}), RC_OK);
    for (size_t i = 0; i < 4; i++) {
        assert_rc(auth_account_reserve(h->auth, &h->accounts[i]), RC_OK);
        if (i < 3)
            fill_account(h, h->accounts[i]);
        if (i < 3)
            assert_rc(
                auth_account_add(h->auth, h->accounts[i], str_of(addresses[i]), STR("secret 1")),
                RC_OK);
    }
    assert_rc(auth_account_remove(h->auth, STR("carol@example.test"), &h->accounts[2]), RC_OK);
    assert_rc(auth_alias_add(h->auth, STR("info@example.test"), &target, 1, &bad), RC_OK);
    deliver_to_all(h);
}

/* --- the way there ---------------------------------------------------------------------------- */

static void count_difference(struct migrate_watch *watch, struct kv_part part)
{
    CONTAINER(watch, struct home, watch)->differences++;
}

static void plan(struct home *h)
{
    h->watch = (struct migrate_watch){.differs = count_difference};
    h->differences = 0;
    h->m = (struct migrate){.from = h->f->kv,
                            .to = h->to,
                            .auth = h->auth,
                            .source = "the first store",
                            .watch = &h->watch};
}

static enum rc run(struct home *h)
{
    plan(h);
    enum rc rc = migrate_run(&h->m);
    if (rc != RC_OK)
        print_message("%s: %s\n", rc_name(rc), h->m.why);
    return rc;
}

static enum rc compare(struct home *h)
{
    plan(h);
    return migrate_compare(&h->m);
}

static int set_up(void **state)
{
    struct home *h = mem_zero(sizeof *h);
    if (fixture_set_up(state))
        return -1;
    h->f = *state;
    h->f->ctx.counters = &h->counters;
    const struct auth_conf auth = {.hash_ops = 1, .hash_memory = 8192};
    assert_rc(auth_open(&h->f->ctx, h->f->kv, &auth, &h->auth), RC_OK);
    assert_rc(queue_open(&h->f->ctx, h->f->kv, &h->queue), RC_OK);
    h->to = kv_mem_new(&h->f->ctx);
    fill(h);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    void *fixture = h->f;
    kv_close(&h->to);
    queue_close(&h->queue);
    auth_close(&h->auth);
    int status = fixture_tear_down(&fixture);
    free(h);
    return status;
}

static void report(struct kv_fsck *fsck, const char *line)
{
    print_message("%s\n", line);
}

static size_t rows_of_record(struct kv *kv)
{
    struct kv_page page;
    struct arena arena = {0};
    assert_rc(kv_scan(kv, migrate_part, (struct kv_range){0}, 0, 0, &arena, &page), RC_OK);
    arena_fini(&arena);
    return page.n;
}

/* Every row that the first store has, in whatever partition, and as many blobs. */
static void assert_whole(struct home *h)
{
    struct kv_fsck from = {.report = report}, to = {.report = report};
    assert_rc(kv_fsck(h->f->kv, &from), RC_OK);
    assert_rc(kv_fsck(h->to, &to), RC_OK);
    assert_int_equal(from.rows, to.rows - rows_of_record(h->to));
    assert_int_equal(from.blobs, to.blobs);
    assert_int_equal(from.bytes, to.bytes);
    assert_rc(compare(h), RC_OK);
    assert_int_equal(h->differences, 0);
}

static void ignore(struct store_fsck *fsck, const char *line)
{
    print_message("%s\n", line);
}

/* Opened by those who own the rows. */
static void assert_sound(struct home *h)
{
    struct store *store;
    struct queue *queue;
    assert_rc(store_open(&h->f->ctx, h->to, &h->f->conf, &store), RC_OK);
    assert_rc(queue_open(&h->f->ctx, h->to, &queue), RC_OK);
    for (size_t i = 0; i < 3; i++) {
        struct store_fsck fsck = {.report = ignore};
        assert_rc(store_fsck(store, h->accounts[i], &fsck), RC_OK);
        assert_int_equal(fsck.messages, 41);
    }
    assert_int_equal(store_default(store, 1).bytes, 1 << 30);
    assert_int_equal(queue_count(queue), 2);
    assert_int_equal(queue_held(queue), 1);
    queue_close(&queue);
    store_close(&store);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void everything_is_carried(void **state)
{
    struct home *h = *state;
    struct migrate_status status;
    char why[MIGRATE_WHY];
    assert_rc(run(h), RC_OK);
    assert_true(h->m.blobs > 3 * 42);
    assert_rc(migrate_look(h->to, &status), RC_OK);
    assert_int_equal(status.state, MIGRATE_COMPLETE);
    assert_string_equal(status.source, "the first store");
    assert_whole(h);
    assert_sound(h);
    /* Then it is a store like others, and nothing is carried into it any more. */
    assert_rc(migrate_admit(h->to, why), RC_OK);
    assert_int_equal(rows_of_record(h->to), 0);
    assert_rc(migrate_admit(h->to, why), RC_OK);
    assert_rc(run(h), RC_EXISTS);
    assert_non_null(strstr(h->m.why, "a store of its own"));
}

static void nothing_is_carried_twice(void **state)
{
    struct home *h = *state;
    assert_rc(run(h), RC_OK);
    uint64_t all = h->m.partitions;
    assert_rc(run(h), RC_OK);
    assert_int_equal(h->m.partitions, 0);
    assert_in_range(h->m.kept, all, 100000);
    assert_whole(h);
    /* New mail: this account, and nothing else but the queue's account of it. */
    struct store_account *a = fixture_open(h->f, h->accounts[1]);
    assert_rc(fixture_append(h->f, a, STR("new"), NULL, NULL), RC_OK);
    fixture_close(h->f, &a);
    assert_rc(compare(h), RC_CORRUPT);
    assert_rc(run(h), RC_OK);
    assert_in_range(h->m.partitions, 1, 2);
    assert_whole(h);
    /* What the copy was given is taken away again. */
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_ACCOUNT, h->accounts[0]});
    assert_rc(kv_txn_put(txn, STR("k\377"), STR("planted")), RC_OK);
    assert_rc(kv_commit_wait(h->to, txn, NULL), RC_OK);
    assert_rc(compare(h), RC_CORRUPT);
    assert_int_equal(h->differences, 1);
    assert_rc(run(h), RC_OK);
    assert_int_equal(h->m.partitions, 1);
    assert_whole(h);
    /* An account that is gone. */
    assert_rc(store_account_destroy(h->f->store, h->accounts[2]), RC_OK);
    assert_rc(auth_removed_purge(h->auth, 0, h->accounts[2]), RC_OK);
    assert_rc(auth_account_release(h->auth, h->accounts[2]), RC_OK);
    assert_rc(run(h), RC_OK);
    assert_whole(h);
}

static void some_accounts_first(void **state)
{
    struct home *h = *state;
    struct migrate_status status;
    char why[MIGRATE_WHY];
    plan(h);
    h->m.only = &h->accounts[1];
    h->m.n_only = 1;
    assert_rc(migrate_run(&h->m), RC_OK);
    assert_in_range(h->m.partitions, 1, 2);
    assert_rc(migrate_look(h->to, &status), RC_OK);
    assert_int_equal(status.state, MIGRATE_COPYING);
    assert_rc(migrate_admit(h->to, why), RC_DENIED);
    assert_non_null(strstr(why, "half a copy of the first store"));
    assert_rc(run(h), RC_OK);
    assert_in_range(h->m.kept, 1, 1000);
    assert_whole(h);
    assert_sound(h);
}

struct trial {
    struct home *h;
    enum rc rc;
    _Atomic bool is_over;
};

static void *try_it(void *arg)
{
    struct trial *a = arg;
    a->rc = run(a->h);
    atomic_store(&a->is_over, true);
    return NULL;
}

static uint64_t commits(struct kv *kv)
{
    struct kv_mem_stats stats;
    kv_mem_stats(kv, &stats);
    return stats.commits;
}

/* n commits go through, the next one fails. False: it did not need so many. */
static bool cut_short(struct home *h, size_t n, enum rc fail)
{
    struct trial a = {.h = h};
    pthread_t thread;
    uint64_t before = commits(h->to);
    kv_mem_hold(h->to, true);
    kv_mem_step(h->to, n);
    assert_int_equal(pthread_create(&thread, NULL, try_it, &a), 0);
    while (commits(h->to) < before + n && !atomic_load(&a.is_over))
        sched_yield();
    bool is_over = atomic_load(&a.is_over);
    if (!is_over)
        kv_mem_fail(h->to, fail);
    kv_mem_hold(h->to, false);
    pthread_join(thread, NULL);
    kv_mem_fail(h->to, RC_OK);
    return a.rc != RC_OK;
}

static void cut_short_at_every_commit(void **state)
{
    struct home *h = *state;
    size_t n = 0;
    while (cut_short(h, n, RC_FULL)) {
        char why[MIGRATE_WHY];
        assert_rc(migrate_admit(h->to, why), n ? RC_DENIED : RC_OK);
        assert_rc(run(h), RC_OK);
        assert_whole(h);
        kv_close(&h->to);
        h->to = kv_mem_new(&h->f->ctx);
        n++;
    }
    assert_in_range(n, 12, 1000);
    assert_whole(h);
    /* And one that is never let to its end: each attempt gets one commit further. */
    kv_close(&h->to);
    h->to = kv_mem_new(&h->f->ctx);
    for (n = 2; n < 200 && cut_short(h, n, RC_FULL); n++)
        ;
    assert_in_range(n, 2, 199);
    assert_whole(h);
    assert_sound(h);
}

/* A body that is another one, in a row that is the same but for the blob's id. */
static void another_body_is_found(void **state)
{
    struct home *h = *state;
    struct kv_part part = {KV_ACCOUNT, h->accounts[0]};
    struct arena arena = {0};
    struct kv_page page;
    struct kv_range range = {.from = STR("e"), .to = STR("f")};
    struct kv_blob_id id;
    assert_rc(run(h), RC_OK);
    assert_rc(kv_scan(h->to, part, range, 1, 0, &arena, &page), RC_OK);
    struct kv_blob_out *out = kv_blob_new(h->to, part, 0, 0);
    assert_rc(kv_blob_write(out, STR("y")), RC_OK);
    assert_rc(kv_blob_finish(&out, &id), RC_OK);
    struct kv_row row = page.rows[0];
    struct kv_blob_id old = carry_blob_at(row, 6);
    char *value = mem_dup(row.value.p, row.value.n);
    memcpy(value + 6, id.b, sizeof id.b);
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put(txn, row.key, str_from(value, row.value.n)), RC_OK);
    assert_rc(kv_txn_ref(txn, id), RC_OK);
    assert_rc(kv_txn_drop(txn, old), RC_OK);
    assert_rc(kv_commit_wait(h->to, txn, NULL), RC_OK);
    kv_blob_forget(h->to, id);
    free(value);
    arena_fini(&arena);
    assert_rc(compare(h), RC_CORRUPT);
    assert_int_equal(h->differences, 1);
    assert_rc(run(h), RC_OK);
    assert_whole(h);
}

static void a_store_in_use_is_refused(void **state)
{
    struct home *h = *state;
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_DIRECTORY, 7});
    assert_rc(kv_txn_put(txn, STR("d"), STR("x")), RC_OK);
    assert_rc(kv_commit_wait(h->to, txn, NULL), RC_OK);
    assert_rc(run(h), RC_EXISTS);
    assert_int_equal(rows_of_record(h->to), 0);
}

static void another_source_is_refused(void **state)
{
    struct home *h = *state;
    assert_rc(run(h), RC_OK);
    plan(h);
    h->m.source = "another store";
    assert_rc(migrate_run(&h->m), RC_EXISTS);
    assert_string_equal(h->m.why,
                        "it holds what was carried from the first store, not from another store");
    kv_mem_restored(h->f->kv);
    assert_rc(run(h), RC_EXISTS);
    assert_non_null(strstr(h->m.why, "restored from a backup"));
}

static uint32_t next_uid(struct home *h, struct kv *kv)
{
    struct store *store;
    struct store_account *a;
    assert_rc(store_open(&h->f->ctx, kv, &h->f->conf, &store), RC_OK);
    assert_rc(store_account_open(store, h->accounts[0], 0, &a), RC_OK);
    uint32_t uid = fixture_mailbox(a, 1).uidnext;
    store_account_close(&a);
    store_close(&store);
    return uid;
}

/* Nothing is lost, so nothing jumps; but what had to jump in the first store does so in the second:
 * it was restored from a backup, and nobody has opened the account since. */
static void numbers_jump_where_they_had_to(void **state)
{
    struct home *h = *state;
    uint32_t uid = next_uid(h, h->f->kv);
    assert_rc(run(h), RC_OK);
    assert_int_equal(next_uid(h, h->to), uid);
    kv_close(&h->to);
    h->to = kv_mem_new(&h->f->ctx);
    kv_mem_restored(h->f->kv);
    assert_rc(run(h), RC_OK);
    assert_int_equal(kv_generation(h->to), kv_generation(h->f->kv));
    assert_true(next_uid(h, h->to) > uid);
}

/* Half a copy is no source; a whole one is, and its record stays behind. */
static void a_copy_of_a_copy(void **state)
{
    struct home *h = *state;
    struct kv *third = kv_mem_new(&h->f->ctx);
    struct auth *auth;
    const struct auth_conf conf = {.hash_ops = 1, .hash_memory = 8192};
    assert_true(cut_short(h, 9, RC_FULL));
    assert_rc(auth_open(&h->f->ctx, h->to, &conf, &auth), RC_OK);
    struct migrate m = {.from = h->to, .to = third, .auth = auth, .source = "the second store"};
    assert_rc(migrate_run(&m), RC_DENIED);
    assert_non_null(strstr(m.why, "half a copy of the first store"));
    assert_rc(run(h), RC_OK);
    assert_rc(migrate_run(&m), RC_OK);
    assert_rc(migrate_compare(&m), RC_OK);
    auth_close(&auth);
    struct kv *second = h->to;
    h->to = third;
    assert_whole(h);
    assert_sound(h);
    kv_close(&second);
}

static void what_is_damaged_is_named(void **state)
{
    struct home *h = *state;
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_ACCOUNT, h->accounts[1]});
    assert_rc(kv_txn_put(txn, STR("e\377"), STR("\1damaged")), RC_OK);
    assert_rc(kv_commit_wait(h->f->kv, txn, NULL), RC_OK);
    assert_rc(run(h), RC_CORRUPT);
    char expected[64];
    snprintf(expected, sizeof expected, "partition A %llu: ", (unsigned long long)h->accounts[1]);
    assert_non_null(strstr(h->m.why, expected));
}

#define TEST(name)                                                                                 \
    {                                                                                              \
#name, name, set_up, tear_down, (void *)(uintptr_t)&fixture_mem                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everything_is_carried),     TEST(nothing_is_carried_twice),
        TEST(some_accounts_first),       TEST(cut_short_at_every_commit),
        TEST(another_body_is_found),     TEST(a_store_in_use_is_refused),
        TEST(another_source_is_refused), TEST(numbers_jump_where_they_had_to),
        TEST(a_copy_of_a_copy),          TEST(what_is_damaged_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
