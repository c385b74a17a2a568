/* What is told to whom after a try, and that all of it is one commit. Time stands where the test
 * puts it. */
#include "deliver/deliver_int.h"

#include "base/test.h"
#include "smtp/smtp.h"
#include "store/test_inbox.h"

#include <unistd.h>

/* The test sets it while threads read it. */
struct hands {
    struct clock clock;
    _Atomic uint64_t wall;
};

static uint64_t hands_mono(const struct clock *c)
{
    return NS_PER_SEC;
}

static uint64_t hands_wall(const struct clock *c)
{
    return ((const struct hands *)c)->wall;
}

struct fixture {
    struct ctx ctx;
    struct hands clock;
    struct counters counters;
    struct kv *kv;
    struct store *store;
    struct auth *auth;
    struct queue *queue;
    struct task_lane *lane, *hash_lane;
    struct deliver *deliver;
    uint64_t alice;
    struct arena arena;
};

#define NOW  (UINT64_C(1795255200) * NS_PER_SEC)
#define HOUR (3600 * NS_PER_SEC)

static int setup(void **state)
{
    static struct fixture f;
    struct store_conf store_conf = {0};
    f = (struct fixture){.clock = {{hands_mono, hands_wall}, NOW}};
    f.ctx = (struct ctx){.counters = &f.counters, .clock = &f.clock.clock};
    f.kv = kv_mem_new(&f.ctx);
    f.lane = task_lane_new("short", 2, 1000);
    f.hash_lane = task_lane_new("hash", 1, 10);
    struct auth_conf auth_conf = {.hash_lane = f.hash_lane, .hash_ops = 1, .hash_memory = 64 << 10};
    assert_rc(store_open(&f.ctx, f.kv, &store_conf, &f.store), RC_OK);
    assert_rc(auth_open(&f.ctx, f.kv, &auth_conf, &f.auth), RC_OK);
    assert_rc(queue_open(&f.ctx, f.kv, &f.queue), RC_OK);
    assert_rc(auth_domain_add(f.auth, STR("example.org")), RC_OK);
    assert_rc(auth_account_reserve(f.auth, &f.alice), RC_OK);
    assert_rc(store_account_create(f.store, f.alice, (struct store_quota){0}), RC_OK);
    assert_rc(auth_account_add(f.auth, f.alice, STR("alice@example.org"), STR("secret")), RC_OK);
    const struct deliver_conf conf = {.kv = f.kv,
                                      .store = f.store,
                                      .queue = f.queue,
                                      .lane = f.lane,
                                      .retry_ms = 5,
                                      .retry_max_ms = 20,
                                      .auth = f.auth,
                                      .hostname = STR("mail.example.org"),
                                      .delay_notice_ms = 4 * 3600 * 1000};
    assert_rc(deliver_open(&f.ctx, &conf, &f.deliver), RC_OK);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    deliver_close(&f->deliver);
    task_lane_free(&f->lane);
    queue_close(&f->queue);
    auth_close(&f->auth);
    store_close(&f->store);
    kv_close(&f->kv);
    task_lane_free(&f->hash_lane);
    arena_fini(&f->arena);
    return 0;
}

/* --- items ------------------------------------------------------------------------------------ */

static _Atomic int done;

static void count_added(struct queue_op *op)
{
    assert_rc(op->rc, RC_OK);
    done++;
}

static void count_settled(struct deliver_settle_op *op)
{
    done++;
}

static void await_done(void)
{
    for (int i = 0; i < 20000 && !done; i++)
        usleep(1000);
    assert_int_equal(done, 1);
}

#define MESSAGE "Subject: Lunch\r\nMessage-ID: <m@b>\r\n\r\nthe body\r\n"

/* From this sender to these addresses elsewhere, asking for `notify`. */
static struct queue_id add(struct fixture *f, struct str sender, unsigned notify, unsigned flags,
                           size_t n)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    struct queue_recipient to[3] = {0};
    struct queue_item item = {.size = sizeof MESSAGE - 1,
                              .received = NOW,
                              .sender = sender,
                              .log_id = STR("0123456789abcdef"),
                              .message_id = STR("m@b"),
                              .flags = (uint16_t)flags,
                              .recipients = to,
                              .n_recipients = n};
    struct queue_op op = {.done = count_added};
    for (size_t i = 0; i < n; i++) {
        to[i].address = STR("bob@elsewhere.test");
        to[i].domain = STR("elsewhere.test");
        to[i].wish.notify = (uint8_t)notify;
    }
    assert_rc(kv_blob_write(out, STR(MESSAGE)), RC_OK);
    assert_rc(kv_blob_finish(&out, &item.blob), RC_OK);
    done = 0;
    assert_rc(queue_add(f->queue, &item, 1, &op), RC_OK);
    await_done();
    kv_blob_forget(f->kv, item.blob);
    return op.id;
}

static const struct queue_item *load(struct fixture *f, struct queue_id id)
{
    struct queue_entry *entry = arena_zero(&f->arena, sizeof *entry);
    enum rc rc = queue_load(f->queue, id, 0, &f->arena, entry);
    return rc == RC_OK ? &entry->item : NULL;
}

static const struct deliver_outcome failed = {.verdict = DELIVER_FAILED,
                                              .stage = DELIVER_AT_RCPT,
                                              .code = 550,
                                              .status = STR_INIT("5.1.1"),
                                              .host = STR_INIT("mx.elsewhere.test[192.0.2.1]"),
                                              .text = STR_INIT("no such user")};
static const struct deliver_outcome deferred = {.verdict = DELIVER_DEFERRED,
                                                .stage = DELIVER_AT_CONNECT,
                                                .status = STR_INIT("4.4.1"),
                                                .text = STR_INIT("connection refused"),
                                                .due = NOW + HOUR};

static enum rc settle_many(struct fixture *f, struct queue_id id, const struct deliver_outcome *o,
                           size_t n)
{
    struct deliver_settle_op op = {.done = count_settled};
    const struct queue_item *item = load(f, id);
    assert_non_null(item);
    done = 0;
    deliver_settle(f->deliver, item, o, n, &op);
    await_done();
    return op.rc;
}

static enum rc settle(struct fixture *f, struct queue_id id, const struct deliver_outcome *o)
{
    return settle_many(f, id, o, 1);
}

/* --- reports ---------------------------------------------------------------------------------- */

/* The reports that are in the queue, for senders elsewhere: how many, and the last one. */
static size_t find_reports(struct fixture *f, const struct queue_item **out)
{
    size_t found = 0;
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct queue_id ids[16];
        size_t n;
        assert_rc(queue_list(f->queue, shard, NULL, ids, 16, &n), RC_OK);
        for (size_t i = 0; i < n; i++) {
            const struct queue_item *item = load(f, ids[i]);
            if (!item || !(item->flags & QUEUE_IS_REPORT))
                continue;
            found++;
            *out = item;
        }
    }
    return found;
}

static struct str bytes_of(struct fixture *f, const struct queue_item *item)
{
    struct kv_blob_in *in;
    size_t got;
    char *p = arena_alloc(&f->arena, item->size + 1);
    assert_rc(kv_blob_open(f->kv, item->blob, 0, &in), RC_OK);
    assert_rc(kv_blob_read(in, 0, p, item->size, 0, &got), RC_OK);
    kv_blob_close(&in);
    assert_int_equal(got, item->size);
    return str_from(p, got);
}

/* There is exactly one, to the sender elsewhere, with this action and status of one recipient. */
static struct str check_report(struct fixture *f, const char *action, const char *status)
{
    const struct queue_item *report = NULL;
    struct report_facts facts;
    assert_int_equal(find_reports(f, &report), 1);
    assert_int_equal(report->sender.n, 0); /* [RFC3461 6.1] */
    assert_int_equal(report->n_recipients, 1);
    assert_str(report->recipients[0].address, "eve@outside.test");
    assert_str(report->recipients[0].domain, "outside.test");
    struct str bytes = bytes_of(f, report);
    assert_rc(report_read(bytes, &f->arena, &facts), RC_OK);
    assert_int_equal(facts.n_recipients, 1);
    assert_true(str_eq(facts.recipients[0].action, str_of(action)));
    assert_true(str_eq(facts.recipients[0].status, str_of(status)));
    assert_str(facts.recipients[0].final, "bob@elsewhere.test");
    return bytes;
}

static size_t no_reports(struct fixture *f)
{
    const struct queue_item *report;
    return find_reports(f, &report);
}

static void await_count(struct fixture *f, uint64_t id, size_t n)
{
    for (int i = 0; i < 20000 && (inbox_count(f->store, id) < n || queue_count(f->queue)); i++)
        usleep(1000);
    assert_int_equal(inbox_count(f->store, id), n);
}

static void a_failure_is_told_in_the_commit_that_removes_the_recipient(void **state)
{
    struct fixture *f = *state;
    struct kv_mem_stats before, after;
    struct queue_id id = add(f, STR("eve@Outside.TEST"), 0, 0, 1);
    kv_mem_stats(f->kv, &before);
    assert_rc(settle(f, id, &failed), RC_OK);
    kv_mem_stats(f->kv, &after);
    assert_int_equal(after.commits - before.commits, 1);
    assert_null(load(f, id));
    const struct queue_item *report;
    assert_int_equal(find_reports(f, &report), 1);
    struct str bytes = bytes_of(f, report);
    assert_true(str_find(bytes, STR("From: Mail Delivery System <postmaster@mail.example.org>")) >
                0);
    assert_true(str_find(bytes, STR("Subject: Lunch")) > 0);
    assert_true(str_find(bytes, STR("the body")) < 0); /* not asked for */
    assert_int_equal(counter_get(&f->counters, COUNTER_REPORTS), 1);
}

/* A report is guarded as its message was, whatever RET says, and says no more than its header
 * [RFC8689 5]; who did without TLS has reports that do [RFC8689 6]. */
static void a_report_is_guarded_as_its_message_was(void **state)
{
    static const unsigned flags[] = {QUEUE_REQUIRETLS, QUEUE_TLS_OPTIONAL, 0};
    struct fixture *f = *state;
    for (size_t i = 0; i < 3; i++) {
        struct deliver_settle_op op = {.done = count_settled};
        const struct queue_item *report;
        struct queue_id id = add(f, STR("eve@outside.test"), 0, flags[i], 1);
        struct queue_item item = *load(f, id);
        item.ret = SMTP_RET_FULL;
        done = 0;
        deliver_settle(f->deliver, &item, &failed, 1, &op);
        await_done();
        assert_rc(op.rc, RC_OK);
        assert_int_equal(find_reports(f, &report), 1);
        assert_int_equal(report->flags, QUEUE_IS_REPORT | flags[i]);
        struct str bytes = bytes_of(f, report);
        assert_true(str_find(bytes, STR("Subject: Lunch")) > 0);
        assert_int_equal(str_find(bytes, STR("the body")) > 0, flags[i] != QUEUE_REQUIRETLS);
        const uint16_t number = 0;
        assert_rc(queue_done(f->queue, report->id, &number, 1), RC_OK);
    }
}

/* [RFC3461 4.1] [RFC3461 5.2.6] [RFC5321 6.1] */
static void who_wants_none_is_not_told(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct str sender;
        unsigned notify, flags;
    } rows[] = {
        {STR("eve@outside.test"), SMTP_NOTIFY_NEVER, 0},
        {STR("eve@outside.test"), SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY, 0},
        {STR(""), SMTP_NOTIFY_FAILURE, 0},
        {STR("eve@outside.test"), 0, QUEUE_IS_REPORT},
        {STR("nobody@example.org"), 0, 0}, /* ours, and nobody has it */
        {STR("no address"), 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct queue_id id = add(f, rows[i].sender, rows[i].notify, rows[i].flags, 1);
        assert_rc(settle(f, id, &failed), RC_OK);
        assert_null(load(f, id));
        assert_int_equal(queue_count(f->queue), 0);
    }
}

static void one_of_ours_has_it_in_the_mailbox(void **state)
{
    struct fixture *f = *state;
    struct queue_id id = add(f, STR("alice@example.org"), 0, QUEUE_SUBMITTED, 1);
    assert_rc(settle(f, id, &failed), RC_OK);
    await_count(f, f->alice, 1);
}

/* [RFC3461 5.2.5] */
static void a_delay_is_told_once_and_the_end_too(void **state)
{
    struct fixture *f = *state;
    struct queue_id id = add(f, STR("eve@outside.test"), 0, 0, 1);
    assert_rc(settle(f, id, &deferred), RC_OK);
    assert_int_equal(no_reports(f), 0);
    const struct queue_recipient *r = load(f, id)->recipients;
    assert_int_equal(r->tries, 1);
    assert_int_equal(r->due, NOW + HOUR);
    assert_str(r->status, "4.4.1");
    assert_str(r->reply, "connection refused");
    f->clock.wall = NOW + 5 * HOUR;
    struct deliver_outcome untried = {
        .verdict = DELIVER_DEFERRED, .due = NOW + 6 * HOUR, .is_untried = true};
    assert_rc(settle(f, id, &untried), RC_OK);
    check_report(f, "delayed", "4.4.1"); /* of the last try */
    r = load(f, id)->recipients;
    assert_int_equal(r->tries, 1);
    assert_true(r->flags & QUEUE_DELAY_TOLD);
    struct deliver_outcome late = deferred;
    late.due = NOW + 1000 * HOUR;
    assert_rc(settle(f, id, &late), RC_OK);
    check_report(f, "delayed", "4.4.1");                                /* still the only one */
    assert_int_equal(load(f, id)->recipients[0].due, NOW + 120 * HOUR); /* the last try */
    f->clock.wall = NOW + 120 * HOUR;
    assert_rc(settle(f, id, &deferred), RC_OK);
    assert_null(load(f, id));
    const struct queue_item *report;
    assert_int_equal(find_reports(f, &report), 2);
}

static void what_waits_too_long_has_failed(void **state)
{
    struct fixture *f = *state;
    struct queue_id id = add(f, STR("eve@outside.test"), SMTP_NOTIFY_FAILURE, 0, 1);
    f->clock.wall = NOW + 120 * HOUR;
    assert_rc(settle(f, id, &deferred), RC_OK);
    struct str bytes = check_report(f, "failed", "4.4.1");
    assert_true(str_find(bytes, STR("could not be reached for 5 days")) > 0);
}

/* [RFC3461 5.2.1] [RFC3461 5.2.2] */
static void success_is_told_by_who_is_the_last_to_know(void **state)
{
    struct fixture *f = *state;
    const struct deliver_outcome relayed = {.verdict = DELIVER_RELAYED, .code = 250},
                                 handed = {.verdict = DELIVER_HANDED, .code = 250};
    struct queue_id id = add(f, STR("eve@outside.test"), SMTP_NOTIFY_SUCCESS, 0, 1);
    assert_rc(settle(f, id, &relayed), RC_OK);
    assert_int_equal(no_reports(f), 0);
    id = add(f, STR("eve@outside.test"), 0, 0, 1);
    assert_rc(settle(f, id, &handed), RC_OK);
    assert_int_equal(no_reports(f), 0);
    id = add(f, STR("eve@outside.test"), SMTP_NOTIFY_SUCCESS, 0, 1);
    assert_rc(settle(f, id, &handed), RC_OK);
    check_report(f, "relayed", "2.0.0");
}

/* Also when a host has taken it that tells of success itself: it has not been asked to
 * [RFC3461 5.2.7.3] (c). */
static void an_alias_elsewhere_tells_that_it_was_expanded(void **state)
{
    struct fixture *f = *state;
    const struct deliver_outcome relayed = {.verdict = DELIVER_RELAYED, .code = 250};
    struct queue_id id = add(f, STR("eve@outside.test"), SMTP_NOTIFY_SUCCESS, QUEUE_FORWARDED, 1);
    struct queue_item item = *load(f, id);
    struct queue_recipient r = item.recipients[0];
    struct deliver_settle_op op = {.done = count_settled};
    r.flags = QUEUE_ALIAS;
    r.wish.address = STR("bob@elsewhere.test");
    r.address = STR("secret@behind.test");
    item.recipients = &r;
    done = 0;
    deliver_settle(f->deliver, &item, &relayed, 1, &op);
    await_done();
    assert_rc(op.rc, RC_OK);
    struct str bytes = check_report(f, "expanded", "2.0.0"); /* names what RCPT had */
    assert_true(str_find(bytes, STR("secret")) < 0);
}

static void recipients_that_end_together_share_a_report(void **state)
{
    struct fixture *f = *state;
    struct deliver_outcome all[3] = {failed, failed, deferred};
    struct report_facts facts;
    const struct queue_item *report;
    struct queue_id id = add(f, STR("eve@outside.test"), 0, 0, 3);
    all[1].number = 1;
    all[2].number = 2;
    assert_rc(settle_many(f, id, all, 3), RC_OK);
    assert_int_equal(load(f, id)->n_recipients, 1);
    assert_int_equal(find_reports(f, &report), 1);
    assert_rc(report_read(bytes_of(f, report), &f->arena, &facts), RC_OK);
    assert_int_equal(facts.n_recipients, 2);
}

/* The commit is lost: nothing has changed, and the second call makes the one report. */
static void a_lost_commit_tells_nobody(void **state)
{
    struct fixture *f = *state;
    struct queue_id id = add(f, STR("eve@outside.test"), 0, 0, 1);
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(settle(f, id, &failed), RC_FULL);
    assert_int_equal(no_reports(f), 0);
    assert_int_equal(load(f, id)->n_recipients, 1);
    assert_rc(settle(f, id, &failed), RC_OK);
    check_report(f, "failed", "5.1.1");
    assert_int_equal(counter_get(&f->counters, COUNTER_REPORTS), 1);
}

static void an_item_that_was_taken_off_is_told_of_no_more(void **state)
{
    struct fixture *f = *state;
    const uint16_t first = 0;
    struct deliver_settle_op op = {.done = count_settled};
    struct queue_id id = add(f, STR("eve@outside.test"), 0, 0, 1);
    const struct queue_item *item = load(f, id);
    assert_rc(queue_done(f->queue, id, &first, 1), RC_OK);
    done = 0;
    deliver_settle(f->deliver, item, &failed, 1, &op);
    await_done();
    assert_rc(op.rc, RC_OK);
    assert_int_equal(queue_count(f->queue), 0);
}

/* --- mailboxes here --------------------------------------------------------------------------- */

static void queue_for_alice(struct fixture *f, unsigned notify, uint8_t flags)
{
    struct kv_blob_out *out = kv_blob_new(f->kv, (struct kv_part){KV_QUEUE, 0}, 0, 0);
    const struct queue_recipient to = {.account = f->alice,
                                       .address = STR("bob@elsewhere.test"), /* an alias of hers */
                                       .flags = flags,
                                       .wish.notify = (uint8_t)notify};
    struct queue_item item = {.size = sizeof MESSAGE - 1,
                              .received = NOW,
                              .sender = STR("eve@outside.test"),
                              .recipients = &to,
                              .n_recipients = 1};
    struct queue_op op = {.done = count_added};
    assert_rc(kv_blob_write(out, STR(MESSAGE)), RC_OK);
    assert_rc(kv_blob_finish(&out, &item.blob), RC_OK);
    done = 0;
    assert_rc(queue_add(f->queue, &item, 1, &op), RC_OK);
    await_done();
    kv_blob_forget(f->kv, item.blob);
}

static void await_report(struct fixture *f)
{
    for (int i = 0; i < 20000 && no_reports(f) == 0; i++)
        usleep(1000);
}

static void a_mailbox_tells_of_success(void **state)
{
    struct fixture *f = *state;
    queue_for_alice(f, SMTP_NOTIFY_SUCCESS, 0);
    await_report(f);
    check_report(f, "delivered", "2.1.5"); /* [RFC3461 5.2.3] (a) */
    assert_int_equal(inbox_count(f->store, f->alice), 1);
}

static void an_alias_tells_that_it_was_expanded(void **state)
{
    struct fixture *f = *state;
    queue_for_alice(f, SMTP_NOTIFY_SUCCESS, QUEUE_ALIAS);
    await_report(f);
    check_report(f, "expanded", "2.0.0"); /* [RFC3461 5.2.7.3] (c) */
}

static void a_mailbox_that_stays_full_is_told(void **state)
{
    struct fixture *f = *state;
    struct store_account *account;
    assert_rc(store_account_open(f->store, f->alice, 0, &account), RC_OK);
    assert_rc(store_account_set_quota(account, (struct store_quota){.bytes = 10}), RC_OK);
    store_account_close(&account);
    f->clock.wall = NOW + 130 * HOUR;
    queue_for_alice(f, 0, 0);
    await_report(f);
    struct str bytes = check_report(f, "failed", "4.2.2");
    assert_true(str_find(bytes, STR("the mailbox was full for 5 days")) > 0);
    assert_int_equal(inbox_count(f->store, f->alice), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_failure_is_told_in_the_commit_that_removes_the_recipient),
        TEST(a_report_is_guarded_as_its_message_was),
        TEST(who_wants_none_is_not_told),
        TEST(one_of_ours_has_it_in_the_mailbox),
        TEST(a_delay_is_told_once_and_the_end_too),
        TEST(what_waits_too_long_has_failed),
        TEST(success_is_told_by_who_is_the_last_to_know),
        TEST(an_alias_elsewhere_tells_that_it_was_expanded),
        TEST(recipients_that_end_together_share_a_report),
        TEST(a_lost_commit_tells_nobody),
        TEST(an_item_that_was_taken_off_is_told_of_no_more),
        TEST(a_mailbox_tells_of_success),
        TEST(an_alias_tells_that_it_was_expanded),
        TEST(a_mailbox_that_stays_full_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
