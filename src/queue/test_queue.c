#include "queue/fixture.h"

static void add_and_wait(struct fixture *f, struct queue_item *item, struct waited *w)
{
    *w = (struct waited)WAITED;
    assert_rc(queue_add(f->queue, item, 1, &w->op), RC_OK);
    wait_for(w);
    assert_rc(w->op.rc, RC_OK);
    kv_blob_forget(f->kv, item->blob);
}

static struct queue_id add(struct fixture *f, const uint64_t *accounts, size_t n,
                           struct kv_blob_id *out_blob)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    assert_rc(kv_blob_write(out, STR("Subject: x\r\n\r\nhello\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, out_blob), RC_OK);
    const struct str references[] = {STR("a@b"), STR("c@d")};
    struct queue_recipient recipients[10] = {0};
    for (size_t i = 0; i < n; i++)
        recipients[i].account = accounts[i];
    struct queue_item item = {.blob = *out_blob,
                              .size = 21,
                              .received = 42,
                              .sender = STR("s@example.org"),
                              .message_id = STR("m@example.org"),
                              .log_id = STR("abc"),
                              .references = references,
                              .n_references = 2,
                              .recipients = recipients,
                              .n_recipients = n};
    struct waited w;
    add_and_wait(f, &item, &w);
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
    struct queue_entry entry;
    assert_rc(queue_load(f->queue, id, 0, &arena, &entry), RC_OK);
    struct queue_item item = entry.item;
    assert_int_equal(item.n_added, 3);
    assert_int_equal(item.n_recipients, 1);
    assert_int_equal(item.recipients[0].number, 1);
    assert_int_equal(item.recipients[0].account, 8);
    assert_int_equal(item.size, 21);
    assert_str(item.sender, "s@example.org");
    assert_str(item.message_id, "m@example.org");
    assert_str(item.references[1], "c@d");
    struct kv_blob_in *in;
    assert_rc(kv_blob_open(f->kv, blob, 0, &in), RC_OK);
    kv_blob_close(&in);

    assert_rc(queue_done(f->queue, id, second, 1), RC_OK);
    assert_rc(queue_done(f->queue, id, second, 1), RC_OK); /* repeated after a crash: no error */
    assert_rc(queue_load(f->queue, id, 0, &arena, &entry), RC_NOTFOUND);
    assert_rc(kv_blob_open(f->kv, blob, 0, &in), RC_NOTFOUND);
    assert_int_equal(queue_count(f->queue), 0);
    arena_fini(&arena);
}

static struct queue_id add_item(struct fixture *f, struct queue_item *item)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    struct waited w;
    assert_rc(kv_blob_finish(&out, &item->blob), RC_OK);
    add_and_wait(f, item, &w);
    return w.op.id;
}

static void wishes_are_kept(void **state)
{
    struct fixture *f = *state;
    const uint16_t first = 0;
    struct queue_recipient recipients[] = {
        {.account = 7, .address = STR("a@b"), .wish.notify = 1},
        {.account = 8, .address = STR("c@d"), .wish = {6, {0}, STR("rfc822;x+2By@z")}},
    }; /* [RFC3461 5.2.1] */
    struct queue_item item = {.recipients = recipients,
                              .n_recipients = 2,
                              .ret = 2,
                              .flags = QUEUE_UTF8 | QUEUE_UNENDED,
                              .envid = STR("QQ314159"),
                              .hold = STR("for;3600"),
                              .summary = STR("\1()")};
    struct queue_id id = add_item(f, &item);
    struct arena arena = {0};
    struct queue_entry got;
    assert_rc(queue_done(f->queue, id, &first, 1), RC_OK);
    assert_rc(queue_load(f->queue, id, 0, &arena, &got), RC_OK);
    assert_int_equal(got.item.ret, 2);
    assert_int_equal(got.item.flags, QUEUE_UTF8 | QUEUE_UNENDED);
    assert_str(got.item.envid, "QQ314159");
    assert_str(got.item.hold, "for;3600");
    assert_str(got.item.summary, "\1()");
    assert_int_equal(got.item.n_recipients, 1);
    assert_int_equal(got.item.recipients[0].wish.notify, 6);
    assert_str(got.item.recipients[0].address, "c@d");
    assert_str(got.item.recipients[0].wish.address, "c@d");
    assert_str(got.item.recipients[0].wish.orcpt, "rfc822;x+2By@z");
    arena_fini(&arena);
}

/* What release 0.1.0 wrote: nothing behind the references, nothing behind the account. */
static void rows_of_older_releases_are_read(void **state)
{
    static const char item_row[] =
        "\1\0\0\0\0\0"                                       /* format, codec, key id */
        "0123456789abcdef\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\x2a" /* blob, size, received */
        "\0\1\0\3a@b\0\0\0\2id\1\0\3c@d" /* recipients, sender, message-id, log id, references */
        "\1\4\0\1x\0\2\1y";              /* RET, flags, ENVID; summary */
    const struct str whole = str_from(item_row, sizeof item_row - 1);
    struct arena arena = {0};
    struct queue_also also;
    struct queue_item got = {0};
    assert_rc(queue_item_unpack(whole, &arena, &got, &also), RC_OK);
    assert_str(got.envid, "x");
    assert_int_equal(got.flags, QUEUE_UNENDED);
    assert_int_equal(got.summary.n, 2);
    assert_int_equal(got.due, 42);
    assert_int_equal(got.n_added, 1);
    assert_int_equal(got.n_recipients, 0); /* it has a row */
    assert_rc(queue_item_unpack(str_head(whole, whole.n - 4), &arena, &got, &also), RC_OK);
    assert_true(str_is_null(got.summary));
    assert_rc(queue_item_unpack(str_head(whole, whole.n - 9), &arena, &got, &also), RC_OK);
    assert_int_equal(got.ret, 0);
    assert_int_equal(got.envid.n, 0);
    assert_str(got.sender, "a@b");
    assert_str(got.references[0], "c@d");
    assert_rc(queue_item_unpack(str_head(whole, whole.n - 10), &arena, &got, &also), RC_CORRUPT);

    static const char row[] = "\1\0\0\0\0\0\0\0\0\x4d\6\0\3e@f\0\0";
    struct queue_recipient r;
    assert_rc(queue_recipient_unpack(str_from(row, sizeof row - 1), &r), RC_OK);
    assert_int_equal(r.account, 77);
    assert_int_equal(r.wish.notify, 6);
    assert_str(r.address, "e@f");
    assert_rc(queue_recipient_unpack(str_from(row, 10), &r), RC_OK);
    assert_int_equal(r.account, 77);
    assert_int_equal(r.wish.notify, 0);
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
    static struct queue_recipient recipients[QUEUE_RECIPIENTS + 1];
    struct queue_item item = {.recipients = recipients, .n_recipients = QUEUE_RECIPIENTS + 1};
    struct queue_op op = {.done = wake};
    assert_rc(queue_add(f->queue, &item, 1, &op), RC_LIMIT);
}

struct told {
    struct queue_sink sink;
    struct queue_id id;
    int times;
};

static void tell(struct queue_sink *sink, const struct queue_due *entries, size_t n)
{
    struct told *told = CONTAINER(sink, struct told, sink);
    assert_int_equal(n, 1);
    told->id = entries->id;
    told->times++;
}

static void an_item_is_held_until_released(void **state)
{
    struct fixture *f = *state;
    const uint64_t account = 7;
    struct kv_blob_id blob;
    struct told told = {.sink.due = tell};
    struct queue_status status;
    queue_sink_set(f->queue, QUEUE_LOCAL, &told.sink);
    struct queue_id id = add(f, &account, 1, &blob);
    assert_int_equal(told.times, 1);
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

    assert_int_equal(told.times, 1);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_int_equal(told.times, 2);
    assert_memory_equal(told.id.b, id.b, sizeof id.b);
    assert_int_equal(queue_held(f->queue), 0);
    queue_sink_set(f->queue, QUEUE_LOCAL, NULL);
    assert_rc(queue_hold(f->queue, id, "again"), RC_OK);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_int_equal(told.times, 2);
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
    assert_int_equal(page.n, 1); /* that there is an index */
    assert_str(page.rows[0].key, "v");
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
    assert_rc(queue_load(f->queue, id, 0, &arena, &entry), RC_OK);
    assert_rc(entry.rc, RC_CORRUPT);
    assert_int_equal(entry.status.state, QUEUE_WAITING);
    assert_int_equal(entry.status.failures, 3);
    assert_int_equal(entry.status.due, 42);
    assert_rc(queue_hold(f->queue, id, "corrupt"), RC_OK);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_rc(queue_load(f->queue, id, 0, &arena, &entry), RC_OK);
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

/* A try puts it off that began before somebody wanted it to go now: the wish is the later word. */
static void a_retry_during_a_try_is_kept(void **state)
{
    struct fixture *f = *state;
    const struct queue_recipient to[] = {far, {.account = 3}, near};
    const struct queue_recipient later = {
        .due = UINT64_MAX / 2, .tries = 1, .reply = STR("not today")};
    const struct queue_status failed = {.failures = 1, .due = UINT64_MAX / 2};
    const struct queue_change change = {0, &later};
    for (size_t n = 1; n <= 3; n += 2) { /* in the item's row, and in rows of their own */
        struct arena arena = {0};
        struct queue_id id;
        size_t changed;
        assert_rc(add_to(f->kv, f->queue, to, n, &id), RC_OK);
        const struct queue_entry before = load(f->queue, id, &arena);
        assert_rc(queue_act(f->queue, QUEUE_RETRY, NULL, &id, 1, &changed), RC_OK);
        const struct queue_settlement s = {.id = id,
                                           .loaded = &before.item,
                                           .changes = &change,
                                           .n_changes = 1,
                                           .status = &failed};
        assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
        struct queue_entry after = load(f->queue, id, &arena);
        assert_true(after.item.recipients[0].due <= clock_wall(&clock_system));
        assert_int_equal(after.item.recipients[0].tries, 1);
        assert_str(after.item.recipients[0].reply, "not today");
        assert_true(after.status.due <= clock_wall(&clock_system));
        assert_int_equal(after.status.failures, 1);
        const struct queue_settlement again = {
            .id = id, .loaded = &after.item, .changes = &change, .n_changes = 1, .status = &failed};
        assert_rc(queue_settle_wait(f->queue, &again), RC_OK);
        const struct queue_entry last = load(f->queue, id, &arena);
        assert_true(last.item.recipients[0].due == later.due);
        assert_true(last.status.due == failed.due);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_retry_during_a_try_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_lives_until_its_last_recipient, setup, teardown),
        cmocka_unit_test_setup_teardown(wishes_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_of_older_releases_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_queue_finds_all_items, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_is_held_until_released, setup, teardown),
        cmocka_unit_test_setup_teardown(a_held_item_may_go, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_that_cannot_be_read_can_be_held, setup, teardown),
        cmocka_unit_test(ids_are_written_and_read),
        cmocka_unit_test_setup_teardown(too_many_recipients_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
