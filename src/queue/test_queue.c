#include "queue/queue_int.h"

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

static struct queue_id add_item(struct fixture *f, struct queue_item *item)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    struct waiting w = {
        .op.done = wake, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    assert_rc(kv_blob_finish(&out, &item->blob), RC_OK);
    assert_rc(queue_add(f->queue, item, &w.op), RC_OK);
    pthread_mutex_lock(&w.mutex);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.mutex);
    pthread_mutex_unlock(&w.mutex);
    assert_rc(w.op.rc, RC_OK);
    kv_blob_forget(f->kv, item->blob);
    return w.op.id;
}

static void wishes_are_kept(void **state)
{
    struct fixture *f = *state;
    const uint64_t accounts[] = {7, 8};
    const uint16_t first = 0;
    const struct queue_wish wishes[] = {
        {1, {"a@b", 3}, {0}}, {6, {"c@d", 3}, {"rfc822;x+2By@z", 14}}, /* [RFC3461 5.2.1] */
    };
    struct queue_item item = {.accounts = accounts,
                              .n_accounts = 2,
                              .wishes = wishes,
                              .ret = 2,
                              .flags = QUEUE_UTF8 | QUEUE_UNENDED,
                              .envid = STR("QQ314159"),
                              .summary = STR("\1()")};
    struct queue_id id = add_item(f, &item);
    struct arena arena = {0};
    struct queue_item got;
    assert_rc(queue_done(f->queue, id, &first, 1), RC_OK);
    assert_rc(queue_get(f->queue, id, &arena, &got), RC_OK);
    assert_int_equal(got.ret, 2);
    assert_int_equal(got.flags, QUEUE_UTF8 | QUEUE_UNENDED);
    assert_str(got.envid, "QQ314159");
    assert_str(got.summary, "\1()");
    assert_int_equal(got.wishes[0].notify, 0);
    assert_int_equal(got.wishes[1].notify, 6);
    assert_str(got.wishes[1].address, "c@d");
    assert_str(got.wishes[1].orcpt, "rfc822;x+2By@z");
    item.wishes = NULL;
    id = add_item(f, &item);
    assert_rc(queue_get(f->queue, id, &arena, &got), RC_OK);
    assert_int_equal(got.wishes[1].notify, 0);
    assert_int_equal(got.wishes[1].orcpt.n, 0);
    arena_fini(&arena);
}

/* What release 0.1.0 wrote: nothing behind the references, nothing behind the account. */
static void rows_without_wishes_are_read(void **state)
{
    unsigned char to[QUEUE_ITEM_MAX];
    struct arena arena = {0};
    struct queue_item item = {.n_accounts = 1, .ret = 1, .envid = STR("x")}, got;
    struct queue_wish wish = {.notify = 9};
    uint64_t account;
    struct str row = queue_item_pack(&item, to);
    assert_rc(queue_item_unpack(str_head(row, row.n - 2), &arena, &got), RC_OK); /* no summary */
    assert_str(got.envid, "x");
    assert_true(str_is_null(got.summary));
    assert_rc(queue_item_unpack(str_head(row, row.n - 7), &arena, &got), RC_OK);
    assert_int_equal(got.ret, 0);
    assert_int_equal(got.envid.n, 0);
    assert_rc(queue_item_unpack(str_head(row, row.n - 1), &arena, &got), RC_CORRUPT);
    row = queue_recipient_pack(77, NULL, to);
    assert_int_equal(row.n, 10);
    assert_rc(queue_recipient_unpack(row, &account, &wish), RC_OK);
    assert_int_equal(account, 77);
    assert_int_equal(wish.notify, 0);
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

struct told {
    struct queue_watch watch;
    struct queue_id id;
    int times;
};

static void released(struct queue_watch *watch, struct queue_id id)
{
    struct told *told = CONTAINER(watch, struct told, watch);
    told->id = id;
    told->times++;
}

static void an_item_is_held_until_released(void **state)
{
    struct fixture *f = *state;
    const uint64_t account = 7;
    struct kv_blob_id blob;
    struct told told = {.watch.released = released};
    struct queue_status status;
    queue_watch_set(f->queue, &told.watch);
    struct queue_id id = add(f, &account, 1, &blob);
    assert_rc(queue_status_get(f->queue, id, &status), RC_OK);
    assert_int_equal(status.state, QUEUE_WAITING);
    assert_rc(queue_release(f->queue, id), RC_CONFLICT);
    assert_rc(queue_hold(f->queue, id, "restored"), RC_OK);
    assert_rc(queue_hold(f->queue, id, "by hand"), RC_OK);
    assert_int_equal(queue_held(f->queue), 1);

    struct queue *again;
    assert_rc(queue_open(&f->ctx, f->kv, &again), RC_OK);
    assert_int_equal(queue_held(again), 1);
    assert_rc(queue_status_get(again, id, &status), RC_OK);
    assert_int_equal(status.state, QUEUE_HELD);
    assert_string_equal(status.cause, "by hand");
    queue_close(&again);

    assert_int_equal(told.times, 0);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_int_equal(told.times, 1);
    assert_memory_equal(told.id.b, id.b, sizeof id.b);
    assert_int_equal(queue_held(f->queue), 0);
    queue_watch_set(f->queue, NULL);
    assert_rc(queue_hold(f->queue, id, "again"), RC_OK);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_int_equal(told.times, 1);
}

/* The status goes with the item, and none can be written for one that is gone. */
static void a_held_item_may_go(void **state)
{
    struct fixture *f = *state;
    const uint64_t account = 7;
    const uint16_t first[] = {0};
    struct kv_blob_id blob;
    struct queue_id id = add(f, &account, 1, &blob);
    assert_rc(queue_hold_all(f->queue, "restored"), RC_OK);
    assert_rc(queue_done(f->queue, id, first, 1), RC_OK);
    assert_rc(queue_hold(f->queue, id, "late"), RC_NOTFOUND);
    assert_rc(queue_release(f->queue, id), RC_NOTFOUND);
    assert_int_equal(queue_held(f->queue), 0);
    struct arena arena = {0};
    struct kv_page page;
    assert_rc(kv_scan(f->kv, (struct kv_part){KV_QUEUE, id.b[0] % QUEUE_SHARDS},
                      (struct kv_range){0}, 0, 0, &arena, &page),
              RC_OK);
    assert_int_equal(page.n, 0);
    arena_fini(&arena);
}

/* A row of another format can be listed, held and released all the same. */
static void an_item_that_cannot_be_read_can_be_held(void **state)
{
    struct fixture *f = *state;
    const uint64_t account = 7;
    struct kv_blob_id blob;
    struct queue_id id = add(f, &account, 1, &blob);
    unsigned char key[17] = {'m'};
    memcpy(key + 1, id.b, sizeof id.b);
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_QUEUE, id.b[0] % QUEUE_SHARDS});
    assert_rc(kv_txn_put(txn, str_from(key, sizeof key), STR("\x7f")), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    struct arena arena = {0};
    struct queue_entry entry;
    const struct queue_status failed = {.failures = 3, .due = 42, .cause = "corrupt"};
    assert_rc(queue_status_set(f->queue, id, &failed), RC_OK);
    assert_rc(queue_look(f->queue, id, &arena, &entry), RC_OK);
    assert_rc(entry.rc, RC_CORRUPT);
    assert_int_equal(entry.status.state, QUEUE_WAITING);
    assert_int_equal(entry.status.failures, 3);
    assert_int_equal(entry.status.due, 42);
    assert_rc(queue_hold(f->queue, id, "corrupt"), RC_OK);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_rc(queue_look(f->queue, id, &arena, &entry), RC_OK);
    assert_int_equal(entry.status.failures, 0);
    arena_fini(&arena);
}

static void ids_are_written_and_read(void **state)
{
    struct queue_id id = {{0, 1, 0xab, 0xff}}, back;
    char text[QUEUE_ID_TEXT];
    queue_id_text(id, text);
    assert_string_equal(text, "0001abff000000000000000000000000");
    assert_rc(queue_id_parse(str_of(text), &back), RC_OK);
    assert_memory_equal(back.b, id.b, sizeof id.b);
    text[31] = 'G';
    assert_rc(queue_id_parse(str_of(text), &back), RC_SYNTAX);
    assert_rc(queue_id_parse(STR("00"), &back), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_item_lives_until_its_last_recipient, setup, teardown),
        cmocka_unit_test_setup_teardown(wishes_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_without_wishes_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_queue_finds_all_items, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_is_held_until_released, setup, teardown),
        cmocka_unit_test_setup_teardown(a_held_item_may_go, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_that_cannot_be_read_can_be_held, setup, teardown),
        cmocka_unit_test(ids_are_written_and_read),
        cmocka_unit_test_setup_teardown(too_many_recipients_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
