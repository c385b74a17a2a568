#include "deliver/deliver_int.h"

#include "base/test.h"
#include "mime/summary.h"
#include "store/test_inbox.h"

#include <pthread.h>
#include <unistd.h>

struct fixture {
    struct ctx ctx;
    struct kv *kv;
    struct store *store;
    struct queue *queue;
    struct task_lane *lane;
    struct deliver *deliver;
    struct counters counters;
    size_t lane_max; /* 0: 1,000 */
    uint8_t flags;   /* of messages */
    struct str summary;
    struct hand *hand;
};

enum { ACCOUNTS = 5 };

static void open_lane(struct fixture *f)
{
    f->lane = task_lane_new("short", 2, f->lane_max ? f->lane_max : 1000);
}

static void open_deliver(struct fixture *f)
{
    open_lane(f);
    const struct deliver_conf conf = {.kv = f->kv,
                                      .store = f->store,
                                      .queue = f->queue,
                                      .lane = f->lane,
                                      .retry_ms = 5,
                                      .retry_max_ms = 20,
                                      .tries = 3,
                                      .hand = f->hand};
    assert_rc(deliver_open(&f->ctx, &conf, &f->deliver), RC_OK);
}

static void close_deliver(struct fixture *f)
{
    deliver_close(&f->deliver);
    task_lane_free(&f->lane);
}

static int setup(void **state)
{
    static struct fixture f;
    struct store_conf store_conf = {0};
    f = (struct fixture){.ctx = {.counters = &f.counters, .clock = &clock_system}};
    f.kv = kv_mem_new(&f.ctx);
    assert_rc(store_open(&f.ctx, f.kv, &store_conf, &f.store), RC_OK);
    assert_rc(queue_open(&f.ctx, f.kv, &f.queue), RC_OK);
    for (uint64_t id = 1; id <= ACCOUNTS; id++)
        assert_rc(store_account_create(f.store, id, (struct store_quota){0}), RC_OK);
    open_deliver(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_deliver(f);
    queue_close(&f->queue);
    store_close(&f->store);
    kv_close(&f->kv);
    return 0;
}

struct answer {
    struct deliver_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void wake(struct deliver_op *op)
{
    struct answer *w = CONTAINER(op, struct answer, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static enum rc deliver(struct fixture *f, struct str text, const uint64_t *accounts, size_t n)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_ACCOUNT, accounts[0]}, 0, 0);
    struct kv_blob_id blob;
    assert_rc(kv_blob_write(out, text), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    struct queue_recipient to[20] = {0};
    for (size_t i = 0; i < n; i++)
        to[i].account = accounts[i];
    struct deliver_message m = {.blob = blob,
                                .size = text.n,
                                .received = clock_wall(&clock_system),
                                .sender = STR("s@example.org"),
                                .id = STR("test"),
                                .recipients = to,
                                .n_recipients = n,
                                .summary = f->summary,
                                .flags = f->flags};
    struct answer w = {
        .op.done = wake, .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    enum rc rc = deliver_message(f->deliver, &m, 0, &w.op);
    if (rc == RC_OK) {
        pthread_mutex_lock(&w.mutex);
        while (!w.is_done)
            pthread_cond_wait(&w.cond, &w.mutex);
        pthread_mutex_unlock(&w.mutex);
        rc = w.op.rc;
    }
    kv_blob_forget(f->kv, blob);
    return rc;
}

static void wait_for_queue(struct fixture *f)
{
    for (int i = 0; i < 10000 && queue_count(f->queue); i++)
        usleep(1000);
    assert_int_equal(queue_count(f->queue), 0);
}

static void one_recipient_needs_no_queue(void **state)
{
    struct fixture *f = *state;
    const uint64_t one[] = {1}, same[] = {2, 2};
    assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), one, 1), RC_OK);
    assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), same, 2), RC_OK);
    assert_int_equal(queue_count(f->queue), 0);
    assert_int_equal(inbox_count(f->store, 1), 1);
    assert_int_equal(inbox_count(f->store, 2), 1);
}

static void every_recipient_gets_one_copy(void **state)
{
    struct fixture *f = *state;
    const uint64_t all[] = {1, 2, 3, 4, 5, 3, 1};
    for (int i = 0; i < 20; i++)
        assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), all, 7), RC_OK);
    wait_for_queue(f);
    for (uint64_t id = 1; id <= ACCOUNTS; id++)
        assert_int_equal(inbox_count(f->store, id), 20);
}

/* [RFC9979 4.1, 4.2]: to one account, and through the queue to several. */
static void what_is_attached_is_told_by_a_keyword(void **state)
{
    static const struct str texts[] = {STR_INIT("A: b\r\n\r\nc\r\n"),
                                       STR_INIT("Content-Type: a/b\r\n\r\nc\r\n")};
    struct fixture *f = *state;
    const uint64_t all[] = {1, 2, 3};
    struct str names[STORE_KEYWORDS];
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < 4; i++) {
        struct buf summary = {.cap = 1000};
        assert_rc(mime_summary_of(texts[i % 2], &summary), RC_OK);
        f->summary = i == 3 ? STR("damaged") : buf_str(&summary);
        deliver_set_attachments(f->deliver, i > 0);
        assert_rc(deliver(f, texts[i % 2], all, i % 2 ? 1 : 3), RC_OK);
        wait_for_queue(f);
        buf_fini(&summary);
    }
    struct inbox in = inbox_open(f->store, 1);
    assert_rc(store_keywords(in.account, &arena, names), RC_OK);
    assert_true(str_eq(names[0], STR("$hasattachment")));
    assert_true(str_eq(names[1], STR("$hasnoattachment")));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(store_root_at(in.root, i)->keywords, i < 3 ? i : 0);
    inbox_close(&in);
    in = inbox_open(f->store, 3);
    assert_rc(store_keywords(in.account, &arena, names), RC_OK);
    assert_true(str_eq(names[0], STR("$hasnoattachment")));
    assert_int_equal(store_root_at(in.root, 1)->keywords, 1);
    inbox_close(&in);
    arena_fini(&arena);
}

static _Atomic int appended;

static void count_appended(struct store_op *op)
{
    assert_rc(op->rc, RC_OK);
    appended++;
}

static void append_copy(struct fixture *f, uint64_t id, struct kv_blob_id blob,
                        struct queue_id item)
{
    struct store_account *account;
    struct store_append append = {.blob = blob,
                                  .size = 11,
                                  .received = clock_wall(&clock_system),
                                  .delivery_id = str_from(item.b, sizeof item.b)};
    struct store_op op = {.done = count_appended};
    appended = 0;
    assert_rc(store_account_open(f->store, id, 0, &account), RC_OK);
    assert_rc(store_append(account, &append, 0, &op), RC_OK);
    for (int i = 0; i < 10000 && !appended; i++)
        usleep(1000);
    assert_int_equal(appended, 1);
    store_account_close(&account);
}

static _Atomic int added;

static void count_added(struct queue_op *op)
{
    assert_rc(op->rc, RC_OK);
    added++;
}

/* As after a crash between a commit into an account and the one that takes the recipient off the
 * queue: two of the three accounts have the copy already. */
static void a_repeated_fan_out_delivers_nothing_twice(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    assert_rc(kv_blob_write(out, STR("A: b\r\n\r\nc\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    close_deliver(f); /* nobody takes it off the queue now */
    const struct queue_recipient to[] = {{.account = 1}, {.account = 2}, {.account = 3}};
    struct queue_item item = {.blob = blob,
                              .size = 11,
                              .received = clock_wall(&clock_system),
                              .recipients = to,
                              .n_recipients = 3};
    struct queue_op op = {.done = count_added};
    added = 0;
    assert_rc(queue_add(f->queue, &item, 1, &op), RC_OK);
    for (int i = 0; i < 10000 && !added; i++)
        usleep(1000);
    append_copy(f, 1, blob, op.id);
    append_copy(f, 3, blob, op.id);
    kv_blob_forget(f->kv, blob);
    open_deliver(f);
    wait_for_queue(f);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(inbox_count(f->store, id), 1);
}

/* Puts one item for these accounts into the queue, without a word to the fan-out. */
static struct queue_id add_item(struct fixture *f, const uint64_t *accounts, size_t n,
                                uint8_t flags)
{
    struct kv_blob_id blob;
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    assert_rc(kv_blob_write(out, STR("A: b\r\n\r\nc\r\n")), RC_OK);
    assert_rc(kv_blob_finish(&out, &blob), RC_OK);
    struct queue_recipient to[ACCOUNTS] = {0};
    for (size_t i = 0; i < n; i++)
        to[i].account = accounts[i];
    struct queue_item item = {.blob = blob,
                              .size = 11,
                              .received = clock_wall(&clock_system),
                              .recipients = to,
                              .n_recipients = n,
                              .flags = flags};
    struct queue_op op = {.done = count_added};
    added = 0;
    assert_rc(queue_add(f->queue, &item, 1, &op), RC_OK);
    for (int i = 0; i < 10000 && !added; i++)
        usleep(1000);
    assert_int_equal(added, 1);
    kv_blob_forget(f->kv, blob);
    return op.id;
}

/* By itself, over the queue, and from what the queue had when the process began. */
static void how_a_message_ends_is_delivered_with_it(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2};
    f->flags = QUEUE_UNENDED | QUEUE_BINARY;
    assert_rc(deliver(f, STR("A: b\r\n\r\nc"), some, 1), RC_OK);
    assert_rc(deliver(f, STR("A: b\r\n\r\nc"), some, 2), RC_OK);
    wait_for_queue(f);
    f->flags = QUEUE_BINARY;
    assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), some, 1), RC_OK);
    assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), some, 2), RC_OK);
    wait_for_queue(f);
    close_deliver(f);
    add_item(f, some, 2, QUEUE_UNENDED);
    add_item(f, some, 2, QUEUE_BINARY);
    open_deliver(f);
    wait_for_queue(f);
    assert_int_equal(inbox_count(f->store, 1), 6);
    assert_int_equal(inbox_count_unended(f->store, 1), 3);
    assert_int_equal(inbox_count(f->store, 2), 4);
    assert_int_equal(inbox_count_unended(f->store, 2), 2);
}

/* The first commit of the fan-out fails, whichever it is: an account's, or the queue's own. */
static void a_failed_commit_is_tried_again(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2, 3};
    for (int round = 1; round <= 10; round++) {
        close_deliver(f);
        add_item(f, some, 3, 0);
        kv_mem_fail(f->kv, RC_FULL);
        open_deliver(f);
        wait_for_queue(f);
        for (uint64_t id = 1; id <= 3; id++)
            assert_int_equal(inbox_count(f->store, id), round);
    }
    assert_int_equal(counter_get(&f->counters, COUNTER_QUEUE_ITEMS), 0);
}

static void a_store_that_stops_writing_keeps_the_queue(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2};
    close_deliver(f);
    struct queue_id id = add_item(f, some, 2, 0);
    kv_mem_fail(f->kv, RC_TEMP); /* read-only from there on */
    open_deliver(f);
    usleep(50000); /* several attempts */
    assert_int_equal(queue_count(f->queue), 1);
    struct arena arena = {0};
    struct queue_entry entry;
    assert_rc(queue_load(f->queue, id, 0, &arena, &entry), RC_OK);
    arena_fini(&arena);
}

static void a_full_lane_only_delays(void **state)
{
    struct fixture *f = *state;
    const uint64_t all[] = {1, 2, 3, 4, 5};
    enum { ITEMS = 100 };
    close_deliver(f);
    for (int i = 0; i < ITEMS; i++)
        add_item(f, all, ACCOUNTS, 0);
    f->lane_max = 1; /* two run, one waits, the others of FANOUT_MAX find no place */
    open_deliver(f);
    wait_for_queue(f);
    for (uint64_t id = 1; id <= ACCOUNTS; id++)
        assert_int_equal(inbox_count(f->store, id), ITEMS);
}

static void a_recipient_that_is_gone_holds_nothing_up(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 99, 2};
    close_deliver(f);
    add_item(f, some, 3, 0);
    assert_rc(store_account_destroy(f->store, 2), RC_OK);
    open_deliver(f);
    wait_for_queue(f);
    assert_int_equal(inbox_count(f->store, 1), 1);
}

static void an_item_removed_meanwhile_is_no_error(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2};
    const uint16_t numbers[] = {0, 1};
    close_deliver(f);
    open_lane(f);
    const struct deliver_conf some_conf = {
        .kv = f->kv, .store = f->store, .queue = f->queue, .lane = f->lane, .retry_ms = 5};
    struct deliver_conf conf;
    settle_conf(&some_conf, &conf);
    struct queue_id id = add_item(f, some, 2, 0);
    assert_rc(queue_done(f->queue, id, numbers, 0), RC_OK);
    assert_int_equal(queue_count(f->queue), 1);
    assert_rc(queue_done(f->queue, id, numbers, 2), RC_OK);
    struct fanout *fanout = fanout_new(&f->ctx, &conf);
    const struct queue_due gone = {.kind = QUEUE_LOCAL, .id = id, .number = QUEUE_ALL_LOCAL};
    fanout_due(fanout, &gone, 1);
    add_item(f, some, 2, 0); /* behind it, and is not held up */
    wait_for_queue(f);
    fanout_free(&fanout);
    task_lane_free(&f->lane);
    open_deliver(f);
    assert_int_equal(inbox_count(f->store, 1), 1);
    assert_int_equal(inbox_count(f->store, 2), 1);
}

/* A retry that falls due between two looks at the clock must not be slept over. */
static void retries_are_never_slept_over(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2};
    for (int i = 1; i <= 100; i++) {
        kv_mem_fail(f->kv, RC_FULL);
        enum rc rc = deliver(f, STR("A: b\r\n\r\nc\r\n"), some, 2);
        if (rc == RC_FULL)
            assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), some, 2), RC_OK);
        wait_for_queue(f);
        assert_int_equal(inbox_count(f->store, 1), i);
    }
}

static void wait_for_held(struct fixture *f, uint64_t n)
{
    for (int i = 0; i < 10000 && queue_held(f->queue) != n; i++)
        usleep(1000);
    assert_int_equal(queue_held(f->queue), n);
}

static struct queue_status status_of(struct fixture *f, struct queue_id id)
{
    struct queue_status status;
    assert_rc(queue_status_get(f->queue, id, &status), RC_OK);
    return status;
}

static void put_item_row(struct fixture *f, struct queue_id id, struct str row)
{
    unsigned char key[17] = {'m'};
    memcpy(key + 1, id.b, sizeof id.b);
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_QUEUE, id.b[0] % QUEUE_SHARDS});
    assert_rc(kv_txn_put(txn, str_from(key, sizeof key), row), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

static struct str item_row(struct fixture *f, struct queue_id id, struct arena *arena)
{
    unsigned char key[17] = {'m'};
    memcpy(key + 1, id.b, sizeof id.b);
    struct str k = str_from(key, sizeof key), row;
    assert_rc(kv_get(f->kv, (struct kv_part){KV_QUEUE, id.b[0] % QUEUE_SHARDS}, &k, 1, 0, arena,
                     &row, NULL),
              RC_OK);
    return row;
}

/* A row that nobody can read is tried three times, also when the server starts anew meanwhile, then
 * held and told; mended and released it is delivered. */
static void what_fails_for_good_is_held(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2};
    struct arena arena = {0};
    close_deliver(f);
    struct queue_id bad = add_item(f, some, 2, 0), good = add_item(f, some, 2, 0);
    struct str row = item_row(f, bad, &arena);
    put_item_row(f, bad, STR("\x7f"));
    open_deliver(f);
    wait_for_held(f, 1);
    close_deliver(f);
    assert_int_equal(status_of(f, bad).failures, 3);
    assert_string_equal(status_of(f, bad).cause, "corrupt");
    struct queue_status gone;
    assert_rc(queue_status_get(f->queue, good, &gone), RC_NOTFOUND); /* it was not held up */
    assert_int_equal(inbox_count(f->store, 1), 1);
    assert_int_equal(counter_get(&f->counters, COUNTER_QUEUE_HELD), 1);

    put_item_row(f, bad, row);
    open_deliver(f); /* held stays held */
    usleep(50000);
    assert_int_equal(status_of(f, bad).state, QUEUE_HELD);
    assert_rc(queue_release(f->queue, bad), RC_OK);
    wait_for_queue(f);
    assert_int_equal(queue_held(f->queue), 0);
    assert_int_equal(inbox_count(f->store, 1), 2);
    assert_int_equal(inbox_count(f->store, 2), 2);
    arena_fini(&arena);
}

static void one_failure_for_good_holds_nothing(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2};
    close_deliver(f);
    add_item(f, some, 2, 0);
    kv_mem_fail(f->kv, RC_CORRUPT); /* the first commit, whichever it is */
    open_deliver(f);
    wait_for_queue(f);
    assert_int_equal(inbox_count(f->store, 1), 1);
    assert_int_equal(inbox_count(f->store, 2), 1);
}

/* An account whose rows are damaged: the other recipient has its copy, and the item is held for the
 * rest. */
static void a_bad_recipient_holds_only_itself(void **state)
{
    struct fixture *f = *state;
    const struct kv_part part = {KV_ACCOUNT, 2};
    const uint64_t some[] = {1, 2};
    struct store_conf store_conf = {0};
    struct arena arena = {0};
    struct kv_page page;
    close_deliver(f);
    struct queue_id id = add_item(f, some, 2, 0);
    store_close(&f->store);
    assert_rc(kv_scan(f->kv, part, (struct kv_range){0}, 0, 0, &arena, &page), RC_OK);
    struct kv_txn *txn = kv_txn_new(part);
    for (size_t i = 0; i < page.n; i++)
        assert_rc(kv_txn_put(txn, page.rows[i].key, STR("\x7f")), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    assert_rc(store_open(&f->ctx, f->kv, &store_conf, &f->store), RC_OK);
    open_deliver(f);
    wait_for_held(f, 1);
    assert_int_equal(inbox_count(f->store, 1), 1);
    struct queue_entry entry;
    assert_rc(queue_load(f->queue, id, 0, &arena, &entry), RC_OK);
    assert_string_equal(entry.status.cause, "corrupt");
    assert_int_equal(entry.item.n_recipients, 1);
    assert_int_equal(entry.item.recipients[0].account, 2);
    arena_fini(&arena);
}

/* Ended by a crash twice while an item was in hand. */
static void crash_twice_at(struct hand *hand, struct queue_id id)
{
    struct hand_key key;
    memcpy(key.b, id.b, sizeof key.b);
    for (int i = 0; i < 2; i++) {
        assert_int_not_equal(hand_take(hand, key), 0);
        hand_settle(hand, true);
    }
    assert_true(hand_is_suspect(hand, key));
}

static void an_item_that_crashed_the_server_twice_is_held(void **state)
{
    struct fixture *f = *state;
    const uint64_t some[] = {1, 2};
    close_deliver(f);
    struct queue_id bad = add_item(f, some, 2, 0), good = add_item(f, some, 2, 0);
    f->hand = hand_new();
    crash_twice_at(f->hand, bad);
    open_deliver(f);
    wait_for_held(f, 1);
    assert_string_equal(status_of(f, bad).cause, "crash");
    for (int i = 0; i < 10000 && queue_count(f->queue) > 1; i++)
        usleep(1000);
    struct queue_status gone;
    assert_rc(queue_status_get(f->queue, good, &gone), RC_NOTFOUND);
    assert_int_equal(inbox_count(f->store, 1), 1);
    assert_rc(queue_release(f->queue, bad), RC_OK); /* looked into: it is tried again */
    wait_for_queue(f);
    assert_int_equal(inbox_count(f->store, 1), 2);
    close_deliver(f);
    assert_int_equal(hand_settle(f->hand, true), 0); /* nothing is noted that is not under way */
    hand_free(&f->hand);
    open_deliver(f);
}

/* Released while it is on its way, or before: never twice at the same time, and nothing is lost. */
static void releases_at_any_time_do_no_harm(void **state)
{
    struct fixture *f = *state;
    const uint64_t all[] = {1, 2, 3, 4, 5};
    enum { ITEMS = 50 };
    struct queue_id ids[ITEMS];
    close_deliver(f);
    for (int i = 0; i < ITEMS; i++)
        ids[i] = add_item(f, all, ACCOUNTS, 0);
    open_deliver(f);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < ITEMS; i++) {
            enum rc held = queue_hold(f->queue, ids[i], "test");
            enum rc back = queue_release(f->queue, ids[i]);
            assert_true(held == RC_OK || held == RC_NOTFOUND);
            assert_true(back == RC_OK || back == RC_NOTFOUND);
        }
    }
    wait_for_queue(f);
    assert_int_equal(queue_held(f->queue), 0);
    for (uint64_t id = 1; id <= ACCOUNTS; id++)
        assert_int_equal(inbox_count(f->store, id), ITEMS);
}

static void what_waits_comes_in_order_of_time(void **state)
{
    struct later later = {0};
    static struct waiting w[200];
    for (size_t i = 0; i < 200; i++)
        later_add(&later, &w[i], i * 7919 % 200);
    for (size_t i = 0; i < 200; i += 3)
        later_remove(&later, &w[i]);
    uint64_t before = 0;
    size_t n = 0;
    for (struct waiting *first = later_first(&later); first; first = later_first(&later)) {
        assert_true(first->due >= before);
        before = first->due;
        later_remove(&later, first);
        n++;
    }
    assert_int_equal(n, 200 - 67);
    later_fini(&later);
}

static void an_unknown_account_is_refused(void **state)
{
    struct fixture *f = *state;
    const uint64_t nobody[] = {99};
    assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), nobody, 1), RC_NOTFOUND);
}

/* No quota is exceeded, and nothing that was accepted is lost: a copy for a mailbox that has become
 * full in between waits in the queue. */
static void a_full_mailbox_is_waited_for(void **state)
{
    struct fixture *f = *state;
    const uint64_t both[] = {1, 2};
    struct store_account *account;
    assert_rc(store_account_open(f->store, 2, 0, &account), RC_OK);
    assert_rc(store_account_set_quota(account, (struct store_quota){.messages = 1}), RC_OK);
    assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), both, 2), RC_OK);
    wait_for_queue(f);
    assert_rc(deliver(f, STR("A: b\r\n\r\nc\r\n"), both, 2), RC_TEMP); /* not taken at all */
    assert_int_equal(inbox_count(f->store, 1), 1);
    assert_rc(store_account_set_quota(account, (struct store_quota){.messages = 2}), RC_OK);
    /* Several were accepted at once for the one place left; each gets in when there is room. */
    enum { SEVERAL = 8 };
    size_t taken = SEVERAL;
    close_deliver(f);
    for (int i = 0; i < SEVERAL; i++)
        add_item(f, both, 2, 0);
    open_deliver(f);
    for (int i = 0; i < 10000 && inbox_count(f->store, 1) < 1 + taken; i++)
        usleep(1000);
    assert_int_equal(inbox_count(f->store, 1), 1 + taken);
    /* The copy is there before the queue has let go of its item. */
    for (int i = 0; i < 10000 && queue_count(f->queue) > taken - 1; i++)
        usleep(1000);
    assert_int_equal(queue_count(f->queue), taken - 1);
    assert_int_equal(inbox_count(f->store, 2), 2);
    assert_rc(store_account_set_quota(account, (struct store_quota){0}), RC_OK);
    wait_for_queue(f);
    assert_int_equal(inbox_count(f->store, 2), 1 + taken);
    store_account_close(&account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_recipient_needs_no_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(every_recipient_gets_one_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_attached_is_told_by_a_keyword, setup, teardown),
        cmocka_unit_test_setup_teardown(a_repeated_fan_out_delivers_nothing_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(how_a_message_ends_is_delivered_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_commit_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_stops_writing_keeps_the_queue, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_lane_only_delays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_recipient_that_is_gone_holds_nothing_up, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_removed_meanwhile_is_no_error, setup, teardown),
        cmocka_unit_test_setup_teardown(retries_are_never_slept_over, setup, teardown),
        cmocka_unit_test_setup_teardown(what_fails_for_good_is_held, setup, teardown),
        cmocka_unit_test_setup_teardown(one_failure_for_good_holds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_recipient_holds_only_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_that_crashed_the_server_twice_is_held, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(releases_at_any_time_do_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_mailbox_is_waited_for, setup, teardown),
        cmocka_unit_test(what_waits_comes_in_order_of_time),
        cmocka_unit_test_setup_teardown(an_unknown_account_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
