#include "queue/queue.h"

#include "base/test.h"

#include <pthread.h>

struct fixture {
    struct ctx ctx;
    struct kv *kv;
    struct queue *queue;
};

static int setup(void **state)
{
    static struct fixture f;
    f.ctx = (struct ctx){.clock = &clock_system};
    f.kv = kv_mem_new(&f.ctx);
    assert_rc(queue_open(&f.ctx, f.kv, &f.queue), RC_OK);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    queue_close(&f->queue);
    kv_close(&f->kv);
    return 0;
}

struct waiting {
    struct queue_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void wake(struct queue_op *op)
{
    struct waiting *w = CONTAINER(op, struct waiting, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static struct queue_id add(struct fixture *f, const uint64_t *accounts, size_t n,
                           struct kv_blob_id *out_blob)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    assert_rc(kv_blob_write(out, STR("Subject: x\r\n\r\nhello\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, out_blob), RC_OK);
    const struct str references[] = {STR("a@b"), STR("c@d")};
    struct queue_item item = {.blob = *out_blob,
                              .size = 21,
                              .received = 42,
                              .sender = STR("s@example.org"),
                              .message_id = STR("m@example.org"),
                              .log_id = STR("abc"),
                              .references = references,
                              .n_references = 2,
                              .accounts = accounts,
                              .n_accounts = n};
    struct waiting w = {
        .op.done = wake, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    assert_rc(queue_add(f->queue, &item, &w.op), RC_OK);
    pthread_mutex_lock(&w.mutex);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    assert_rc(w.op.rc, RC_OK);
    kv_blob_forget(f->kv, *out_blob);
    return w.op.id;
}

static void an_item_lives_until_its_last_recipient(void **state)
{
    struct fixture *f = *state;
    const uint64_t accounts[] = {7, 8, 9};
    struct kv_blob_id blob;
    struct queue_id id = add(f, accounts, 3, &blob);
    assert_int_equal(queue_count(f->queue), 1);
    const uint16_t first[] = {0, 2}, second[] = {1};
    assert_rc(queue_done(f->queue, id, first, 2), RC_OK);

    struct arena arena = {0};
    struct queue_item item;
    assert_rc(queue_get(f->queue, id, &arena, &item), RC_OK);
    assert_int_equal(item.n_accounts, 3);
    assert_int_equal(item.accounts[0], 0);
    assert_int_equal(item.accounts[1], 8);
    assert_int_equal(item.size, 21);
    assert_str(item.sender, "s@example.org");
    assert_str(item.message_id, "m@example.org");
    assert_str(item.references[1], "c@d");
    struct kv_blob_in *in;
    assert_rc(kv_blob_open(f->kv, blob, 0, &in), RC_OK);
    kv_blob_close(&in);

    assert_rc(queue_done(f->queue, id, second, 1), RC_OK);
    assert_rc(queue_done(f->queue, id, second, 1), RC_OK); /* repeated after a crash: no error */
    assert_rc(queue_get(f->queue, id, &arena, &item), RC_NOTFOUND);
    assert_rc(kv_blob_open(f->kv, blob, 0, &in), RC_NOTFOUND);
    assert_int_equal(queue_count(f->queue), 0);
    arena_fini(&arena);
}

static void a_second_queue_finds_all_items(void **state)
{
    struct fixture *f = *state;
    const uint64_t account = 5;
    struct kv_blob_id blob;
    for (int i = 0; i < 300; i++)
        add(f, &account, 1, &blob);
    struct queue *again;
    assert_rc(queue_open(&f->ctx, f->kv, &again), RC_OK);
    assert_int_equal(queue_count(again), 300);
    size_t seen = 0;
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[3];
        size_t n = 0;
        do {
            struct queue_id after = ids[2];
            assert_rc(queue_list(again, shard, n ? &after : NULL, ids, 3, &n), RC_OK);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(ids[i].b[0] % QUEUE_SHARDS, shard);
            seen += n;
        } while (n == 3);
    }
    assert_int_equal(seen, 300);
    queue_close(&again);
}

static void too_many_recipients_are_refused(void **state)
{
    struct fixture *f = *state;
    static uint64_t accounts[QUEUE_RECIPIENTS + 1];
    struct queue_item item = {.accounts = accounts, .n_accounts = QUEUE_RECIPIENTS + 1};
    struct queue_op op = {.done = wake};
    assert_rc(queue_add(f->queue, &item, &op), RC_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_item_lives_until_its_last_recipient, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_queue_finds_all_items, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_recipients_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
