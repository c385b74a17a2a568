/* What becomes of tries: states, times, reports; the feed, leases; and a random model of all that
 * is done to items, against the rows. */
#include "queue/fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One outside recipient is two rows: the item's own, and its entry in the index. */
static void one_recipient_elsewhere_is_two_rows(void **state)
{
    struct fixture *f = *state;
    struct kv_mem_stats before, after;
    struct queue_id id;
    const uint16_t first = 0;
    kv_mem_stats(f->kv, &before);
    assert_rc(add_to(f->kv, f->queue, &far, 1, &id), RC_OK);
    kv_mem_stats(f->kv, &after);
    assert_int_equal(after.keys_written - before.keys_written, 2);
    before = after;
    assert_rc(queue_done(f->queue, id, &first, 1), RC_OK);
    kv_mem_stats(f->kv, &after);
    assert_int_equal(after.keys_written - before.keys_written, 2);
    assert_int_equal(after.commits - before.commits, 1);
    assert_int_equal(queue_number(f->queue, QUEUE_N_REMOTE), 0);
}

static void what_a_try_came_to_is_kept(void **state)
{
    struct fixture *f = *state;
    struct queue_id id;
    struct arena arena = {0};
    const struct queue_recipient to[] = {far, near, {.account = 7}};
    for (size_t n = 1; n <= 3; n += 2) { /* within the item's row, and in rows of their own */
        assert_rc(add_to(f->kv, f->queue, to, n, &id), RC_OK);
        struct queue_recipient now = {.due = 1000,
                                      .tries = 3,
                                      .first_tried = 10,
                                      .last_tried = 20,
                                      .code = 451,
                                      .flags = QUEUE_DELAY_TOLD,
                                      .status = STR("4.7.1"),
                                      .host = STR("mx.far.test[192.0.2.1]"),
                                      .reply = STR("come \x1b[2J later\r\n")};
        const struct queue_change change = {0, &now};
        struct queue_settlement s = {.id = id, .changes = &change, .n_changes = 1};
        assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
        struct queue_entry e = load(f->queue, id, &arena);
        const struct queue_recipient *r = &e.item.recipients[0];
        assert_int_equal(e.item.n_recipients, n);
        assert_str(r->address, "x@far.test");
        assert_str(r->domain, "far.test");
        assert_int_equal(r->due, 1000);
        assert_int_equal(r->tries, 3);
        assert_int_equal(r->code, 451);
        assert_int_equal(r->flags, QUEUE_DELAY_TOLD);
        assert_str(r->status, "4.7.1");
        assert_str(r->host, "mx.far.test[192.0.2.1]");
        assert_str(r->reply, "come ?[2J later??"); /* it reaches terminals */
        assert_int_equal(queue_number(f->queue, QUEUE_N_DEFERRED), 1);
        const struct queue_change all[] = {{0, NULL}, {1, NULL}, {2, NULL}};
        s = (struct queue_settlement){.id = id, .changes = all, .n_changes = 3};
        assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
        assert_rc(queue_settle_wait(f->queue, &s), RC_OK); /* gone already: no error */
    }
    assert_int_equal(
        rows_of(f->kv, 'd') + rows_of(f->kv, 'm') + rows_of(f->kv, 'r') + rows_of(f->kv, 'x'), 0);
    assert_int_equal(queue_number(f->queue, QUEUE_N_DEFERRED), 0);
    arena_fini(&arena);
}

/* A destination that cannot be reached puts off what was not tried: why is kept all the same. */
static void why_it_was_put_off_is_kept(void **state)
{
    struct fixture *f = *state;
    const struct queue_recipient to[] = {far, near};
    for (size_t n = 1; n <= 2; n++) {
        struct queue_id id;
        struct arena arena = {0};
        const struct queue_recipient later = {
            .due = 1000, .status = STR("4.4.1"), .reply = STR("connection refused")};
        const struct queue_change change = {0, &later};
        assert_rc(add_to(f->kv, f->queue, to, n, &id), RC_OK);
        struct queue_entry e = load(f->queue, id, &arena);
        assert_false(queue_is_deferred(&e));
        const struct queue_settlement s = {.id = id, .changes = &change, .n_changes = 1};
        assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
        e = load(f->queue, id, &arena);
        assert_true(queue_is_deferred(&e));
        assert_int_equal(e.item.recipients[0].tries, 0);
        assert_str(e.item.recipients[0].status, "4.4.1");
        assert_str(e.item.recipients[0].reply, "connection refused");
        arena_fini(&arena);
    }
}

struct heard {
    struct queue_sink sink;
    struct queue_due last;
    char destination[32];
    _Atomic size_t n;
};

static void hear(struct queue_sink *sink, const struct queue_due *entries, size_t n)
{
    struct heard *h = CONTAINER(sink, struct heard, sink);
    h->last = entries[n - 1];
    snprintf(h->destination, sizeof h->destination, "%.*s", STR_ARG(h->last.destination));
    h->n += n;
}

/* The item's end and the report's begin are one commit. */
static void a_report_comes_with_the_end(void **state)
{
    struct fixture *f = *state;
    struct queue_id id;
    struct heard local = {.sink.due = hear}, remote = {.sink.due = hear};
    queue_sink_set(f->queue, QUEUE_LOCAL, &local.sink);
    queue_sink_set(f->queue, QUEUE_REMOTE, &remote.sink);
    assert_rc(add_to(f->kv, f->queue, &far, 1, &id), RC_OK);
    assert_int_equal(remote.n, 1);
    assert_string_equal(remote.destination, "far.test");
    const struct queue_recipient to = {.account = 9};
    struct queue_item report = {
        .blob = make_blob(f->kv), .flags = QUEUE_IS_REPORT, .recipients = &to, .n_recipients = 1};
    const struct queue_change change = {0, NULL};
    const struct queue_settlement s = {
        .id = id, .changes = &change, .n_changes = 1, .items = &report, .n_items = 1};
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(queue_settle_wait(f->queue, &s), RC_FULL);
    assert_int_equal(queue_count(f->queue), 1);
    assert_int_equal(local.n, 0);
    assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
    assert_int_equal(queue_count(f->queue), 1);
    assert_int_equal(local.n, 1);
    assert_memory_equal(local.last.id.b, report.id.b, sizeof report.id.b);
    assert_int_equal(queue_shard_of(report.id), queue_shard_of(id));
    assert_rc(queue_settle_wait(f->queue, &s), RC_NOTFOUND); /* a second one is not added */
    assert_int_equal(queue_count(f->queue), 1);
    kv_blob_forget(f->kv, report.blob);
    queue_sink_set(f->queue, QUEUE_LOCAL, NULL);
    queue_sink_set(f->queue, QUEUE_REMOTE, NULL);
}

/* What the sender cares for is told with each entry: from the item's flags, also after a hold and
 * from the index [RFC8689 4]. */
static void an_entry_tells_of_tls(void **state)
{
    static const struct {
        unsigned flags;
        const char *sender;
        enum queue_tls tls;
    } rows[] = {{0, "a@b.test", QUEUE_TLS_AS_USUAL},
                {QUEUE_REQUIRETLS, "a@b.test", QUEUE_TLS_REQUIRED},
                {QUEUE_REQUIRETLS | QUEUE_IS_REPORT, "", QUEUE_TLS_WANTED},
                {QUEUE_TLS_OPTIONAL, "a@b.test", QUEUE_TLS_IF_POSSIBLE}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct heard remote = {.sink.due = hear};
        struct arena arena = {0};
        struct queue_due_page page;
        struct queue_item item = {.blob = make_blob(f->kv),
                                  .sender = str_of(rows[i].sender),
                                  .flags = (uint16_t)rows[i].flags,
                                  .recipients = &far,
                                  .n_recipients = 1};
        struct waited w = WAITED;
        queue_sink_set(f->queue, QUEUE_REMOTE, &remote.sink);
        assert_rc(queue_add(f->queue, &item, 1, &w.op), RC_OK);
        wait_for(&w);
        assert_int_equal(remote.last.tls, rows[i].tls);
        assert_rc(queue_hold(f->queue, item.id, "test"), RC_OK);
        assert_rc(queue_release(f->queue, item.id), RC_OK);
        assert_int_equal(remote.n, 2);
        assert_int_equal(remote.last.tls, rows[i].tls);
        const struct queue_due_range range = {
            .kind = QUEUE_REMOTE, .shard = queue_shard_of(item.id), .until = UINT64_MAX};
        assert_rc(queue_due_scan(f->queue, &range, 10, &arena, &page), RC_OK);
        assert_int_equal(page.n, 1);
        assert_int_equal(page.entries[0].tls, rows[i].tls);
        const uint16_t number = 0;
        assert_rc(queue_done(f->queue, item.id, &number, 1), RC_OK);
        kv_blob_forget(f->kv, item.blob);
        arena_fini(&arena);
        queue_sink_set(f->queue, QUEUE_REMOTE, NULL);
    }
}

/* Two at the same time, for the last two recipients: one of them takes the item away. */
static void settlements_of_one_item_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    const struct queue_recipient to[] = {far, near};
    const struct queue_change changes[] = {{0, NULL}, {1, NULL}};
    for (int round = 0; round < 50; round++) {
        struct queue_id id;
        struct waited a = WAITED, b = WAITED;
        assert_rc(add_to(f->kv, f->queue, to, 2, &id), RC_OK);
        const struct queue_settlement first = {.id = id, .changes = &changes[0], .n_changes = 1};
        const struct queue_settlement second = {.id = id, .changes = &changes[1], .n_changes = 1};
        kv_mem_cold(f->kv, round % 2);
        assert_rc(queue_settle(f->queue, &first, &a.op), RC_OK);
        assert_rc(queue_settle(f->queue, &second, &b.op), RC_OK);
        wait_for(&a);
        wait_for(&b);
        kv_mem_cold(f->kv, false);
        assert_rc(a.op.rc, RC_OK);
        assert_rc(b.op.rc, RC_OK);
        assert_int_equal(queue_count(f->queue), 0);
        assert_int_equal(rows_of(f->kv, 'm'), 0);
    }
}

/* What is at hand says nothing of the other recipients: they may have gone since. */
static void the_last_of_several_takes_the_item(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    struct queue_id id;
    const struct queue_recipient to[] = {far, near};
    assert_rc(add_to(f->kv, f->queue, to, 2, &id), RC_OK);
    struct queue_entry e = load(f->queue, id, &arena);
    for (uint16_t i = 0; i < 2; i++) {
        const struct queue_change change = {i, NULL};
        const struct queue_settlement s = {
            .id = id, .loaded = &e.item, .changes = &change, .n_changes = 1};
        assert_int_equal(rows_of(f->kv, 'm'), 1);
        assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
    }
    assert_int_equal(rows_of(f->kv, 'm'), 0);
    arena_fini(&arena);
}

/* A hold that comes between the reading and the commit of a settlement. */
static void a_held_item_has_no_entry(void **state)
{
    struct fixture *f = *state;
    struct queue_id id;
    const struct queue_recipient to[] = {far, near, {.account = 3}};
    assert_rc(add_to(f->kv, f->queue, to, 3, &id), RC_OK);
    assert_int_equal(rows_of(f->kv, 'd'), 3);
    assert_rc(queue_hold(f->queue, id, "test"), RC_OK);
    assert_int_equal(rows_of(f->kv, 'd'), 0);
    const struct queue_recipient later = {.due = 77, .tries = 1, .reply = STR("no")};
    const struct queue_change change = {0, &later};
    const struct queue_settlement s = {.id = id, .changes = &change, .n_changes = 1};
    assert_rc(queue_settle_wait(f->queue, &s), RC_OK); /* it was on its way */
    assert_int_equal(rows_of(f->kv, 'd'), 0);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_int_equal(rows_of(f->kv, 'd'), 3);
    struct arena arena = {0};
    struct queue_entry e = load(f->queue, id, &arena);
    assert_str(e.item.recipients[0].reply, "no");
    assert_true(e.item.recipients[0].due > 77);
    arena_fini(&arena);
}

/* What an administrator wants to go now is told so, and read so from the index; a try that puts it
 * off ends that. */
static void what_is_retried_is_pressing(void **state)
{
    struct fixture *f = *state;
    struct queue_id id;
    size_t n;
    struct heard heard = {.sink.due = hear};
    const struct queue_recipient later = {.due = UINT64_MAX / 2, .tries = 1, .reply = STR("no")};
    const struct queue_change change = {0, &later};
    queue_sink_set(f->queue, QUEUE_REMOTE, &heard.sink);
    assert_rc(add_to(f->kv, f->queue, &far, 1, &id), RC_OK);
    assert_false(heard.last.is_pressing);
    const struct queue_settlement s = {.id = id, .changes = &change, .n_changes = 1};
    const struct queue_due_range range = {
        .kind = QUEUE_REMOTE, .shard = queue_shard_of(id), .until = UINT64_MAX};
    for (int pressed = 0; pressed < 2; pressed++) {
        struct arena arena = {0};
        struct queue_due_page page;
        if (pressed)
            assert_rc(queue_act(f->queue, QUEUE_RETRY, NULL, &id, 1, &n), RC_OK);
        else
            assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
        assert_int_equal(heard.last.is_pressing, pressed);
        assert_rc(queue_due_scan(f->queue, &range, 0, &arena, &page), RC_OK);
        assert_int_equal(page.n, 1);
        assert_int_equal(page.entries[0].is_pressing, pressed);
        assert_str(page.entries[0].destination, "far.test");
        arena_fini(&arena);
    }
    assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
    assert_false(heard.last.is_pressing);
    assert_rc(queue_hold(f->queue, id, "test"), RC_OK);
    assert_rc(queue_release(f->queue, id), RC_OK);
    assert_true(heard.last.is_pressing);
    queue_sink_set(f->queue, QUEUE_REMOTE, NULL);
}

/* --- the feed --------------------------------------------------------------------------------- */

static size_t feed_all(struct queue_feed *feed, uint64_t now, uint64_t *out_next)
{
    struct queue_due_page page = {.has_more = true};
    size_t n = 0;
    while (page.has_more) {
        struct arena arena = {0};
        assert_rc(queue_feed_next(feed, now, 3, &arena, &page), RC_OK);
        for (size_t i = 0; i < page.n; i++)
            assert_true(page.entries[i].due <= now);
        n += page.n;
        *out_next = page.next_due;
        arena_fini(&arena);
    }
    return n;
}

static void a_feed_gives_each_entry_when_it_is_due(void **state)
{
    struct fixture *f = *state;
    struct queue_feed *feed = queue_feed_new(f->queue, QUEUE_REMOTE);
    uint64_t next;
    struct queue_id ids[100];
    for (size_t i = 0; i < 100; i++) {
        assert_rc(add_to(f->kv, f->queue, &far, 1, &ids[i]), RC_OK);
        const struct queue_recipient later = {.due = 1000 + i, .tries = 1};
        const struct queue_change change = {0, &later};
        const struct queue_settlement s = {.id = ids[i], .changes = &change, .n_changes = 1};
        assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
    }
    assert_int_equal(feed_all(feed, 999, &next), 0);
    assert_int_equal(next, 1000);
    assert_int_equal(feed_all(feed, 1049, &next), 50);
    assert_int_equal(next, 1050);
    assert_int_equal(feed_all(feed, 1049, &next), 0);
    const struct queue_due back = {.kind = QUEUE_REMOTE, .due = 1020, .id = ids[20], .number = 0};
    queue_feed_back(feed, &back);
    assert_true(feed_all(feed, 1049, &next) >= 1); /* and those of its shard behind it, once more */
    assert_int_equal(feed_all(feed, 1099, &next), 50);
    assert_int_equal(next, UINT64_MAX);
    const struct queue_due new = {.kind = QUEUE_REMOTE, .due = 5000, .id = ids[0]};
    queue_feed_back(feed, &new);
    feed_all(feed, 1099, &next);
    assert_int_equal(next, 5000);
    queue_feed_free(&feed);
}

/* --- leases ----------------------------------------------------------------------------------- */

static void wait_until_all(struct queue *queue, bool has)
{
    for (int i = 0; i < 20000 && queue_has_all(queue) != has; i++)
        usleep(1000);
    assert_int_equal(queue_has_all(queue), has);
}

static size_t count_ours(struct queue *queue)
{
    size_t n = 0;
    for (unsigned i = 0; i < QUEUE_SHARDS; i++)
        n += queue_has_shard(queue, i);
    return n;
}

/* Two processes on one store: the second has nothing while the first lives, and all when the first
 * has been gone for the lease's time. What the first thinks it still has changes nothing. */
static void another_node_takes_over(void **state)
{
    struct fixture *f = *state;
    struct queue *second;
    struct queue_id id;
    uint64_t next;
    const uint16_t numbers[] = {0};
    const struct queue_lease_conf a = {.node = "a", .lease_ms = 3000, .is_shared = false};
    const struct queue_lease_conf b = {.node = "b", .lease_ms = 300, .is_shared = true};
    queue_lease_run(f->queue, &a);
    wait_until_all(f->queue, true);
    assert_rc(queue_open(&f->ctx, f->kv, &second), RC_OK);
    queue_lease_run(second, &b);
    struct queue_feed *feed = queue_feed_new(second, QUEUE_REMOTE);
    assert_rc(add_to(f->kv, second, &far, 1, &id),
              RC_OK); /* who has no shard may add all the same */
    assert_int_equal(feed_all(feed, UINT64_MAX - NS_PER_SEC * 10, &next), 0);
    assert_int_equal(count_ours(second), 0);
    assert_rc(queue_done(second, id, numbers, 1), RC_DENIED);
    queue_close(&f->queue); /* without giving anything back: as if killed */
    wait_until_all(second, true);
    assert_int_equal(feed_all(feed, UINT64_MAX - NS_PER_SEC * 10, &next), 1);
    assert_rc(queue_done(second, id, numbers, 1), RC_OK);
    queue_feed_free(&feed);
    queue_close(&second); /* gives back */
    assert_rc(queue_open(&f->ctx, f->kv, &f->queue), RC_OK);
    queue_lease_run(f->queue, &a);
    wait_until_all(f->queue, true);
}

/* A store that does not answer: the leases run out, and nothing is settled. */
static void a_node_stops_on_doubt(void **state)
{
    struct fixture *f = *state;
    struct queue_id id;
    const uint16_t numbers[] = {0};
    const struct queue_lease_conf a = {.node = "a", .lease_ms = 600};
    queue_lease_run(f->queue, &a);
    wait_until_all(f->queue, true);
    assert_rc(add_to(f->kv, f->queue, &far, 1, &id), RC_OK);
    assert_true(queue_is_ours(f->queue, id));
    kv_mem_hold(f->kv, true);
    for (int i = 0; i < 20000 && queue_is_ours(f->queue, id); i++)
        usleep(1000);
    assert_false(queue_is_ours(f->queue, id));
    kv_mem_hold(f->kv, false);
    wait_until_all(f->queue, true);
    assert_rc(queue_done(f->queue, id, numbers, 1), RC_OK);
}

/* Somebody else's epoch fails the commit, whatever this process believes. */
static void a_settlement_asserts_the_epoch(void **state)
{
    struct fixture *f = *state;
    struct queue_id id;
    uint64_t epoch;
    const uint16_t numbers[] = {0};
    const struct queue_lease_conf a = {.node = "a", .lease_ms = 3600 * 1000};
    queue_lease_run(f->queue, &a);
    wait_until_all(f->queue, true);
    assert_rc(add_to(f->kv, f->queue, &far, 1, &id), RC_OK);
    struct kv_part part = {KV_QUEUE, queue_shard_of(id)};
    assert_rc(kv_lease_give(f->kv, part, STR("queue"), STR("a")), RC_OK);
    assert_rc(kv_lease_take(f->kv, part, STR("queue"), STR("b"), NS_PER_SEC, &epoch), RC_OK);
    assert_true(queue_is_ours(f->queue, id));
    enum rc rc = queue_done(f->queue, id, numbers, 1);
    assert_true(rc == RC_TEMP || rc == RC_DENIED);
    assert_int_equal(queue_count(f->queue), 1);
}

/* --- a random model --------------------------------------------------------------------------- */

enum { ITEMS = 40, MOST = 6 };

struct model_item {
    bool is_there, is_held;
    struct queue_id id;
    struct {
        bool is_there, is_here;
        uint32_t tries;
    } to[MOST];
    size_t n;
};

struct model {
    struct fixture *f;
    struct model_item items[ITEMS];
    unsigned seed;
};

static unsigned pick(struct model *m, unsigned n)
{
    return (unsigned)rand_r(&m->seed) % n;
}

static size_t left_of(const struct model_item *i)
{
    size_t n = 0;
    for (size_t k = 0; k < i->n; k++)
        n += i->to[k].is_there;
    return n;
}

static void model_add(struct model *m, struct model_item *i)
{
    static const char *const domains[] = {"a.test", "b.test", "c.test"};
    struct queue_recipient to[MOST] = {0};
    char addresses[MOST][32];
    *i = (struct model_item){.n = 1 + pick(m, pick(m, 2) ? 1 : MOST)};
    for (size_t k = 0; k < i->n; k++) {
        const char *domain = domains[pick(m, 3)];
        i->to[k].is_there = true;
        i->to[k].is_here = pick(m, 3) == 0;
        snprintf(addresses[k], sizeof addresses[k], "u%zu@%s", k, domain);
        to[k].address = str_of(addresses[k]);
        to[k].account = i->to[k].is_here ? k + 1 : 0;
        to[k].domain = str_of(domain);
    }
    if (pick(m, 10) == 0)
        kv_mem_fail(m->f->kv, RC_FULL);
    i->is_there = add_to(m->f->kv, m->f->queue, to, i->n, &i->id) == RC_OK;
}

static void model_act(struct model *m, struct model_item *i);

/* Also with what was loaded before somebody else has changed the item. */
static void model_settle(struct model *m, struct model_item *i)
{
    struct queue_recipient states[MOST];
    struct arena arena = {0};
    bool is_at_hand = pick(m, 2);
    struct queue_entry e = is_at_hand ? load(m->f->queue, i->id, &arena) : (struct queue_entry){0};
    unsigned meanwhile = is_at_hand ? pick(m, 6) : 6;
    if (meanwhile == 0)
        model_act(m, i);
    if (meanwhile == 1)
        model_settle(m, i);
    struct queue_change changes[MOST];
    size_t n = 0;
    struct model_item then = *i;
    for (size_t k = 0; k < i->n; k++) {
        unsigned what = pick(m, 3);
        if (what == 0)
            continue;
        states[n] = (struct queue_recipient){.due = pick(m, 1000), .tries = i->to[k].tries + 1};
        changes[n] = (struct queue_change){(uint16_t)k, what == 1 ? &states[n] : NULL};
        if (what == 1)
            then.to[k].tries++;
        else
            then.to[k].is_there = false;
        n++;
    }
    then.is_there = left_of(&then) > 0;
    const struct queue_settlement s = {
        .id = i->id, .loaded = is_at_hand ? &e.item : NULL, .changes = changes, .n_changes = n};
    if (i->is_there && pick(m, 10) == 0)
        kv_mem_fail(m->f->kv, RC_FULL);
    enum rc rc = queue_settle_wait(m->f->queue, &s);
    if (rc == RC_OK && i->is_there)
        *i = then;
    assert_true(rc == RC_OK || (i->is_there && rc == RC_FULL)); /* gone already: no error */
    arena_fini(&arena);
}

static void model_act(struct model *m, struct model_item *i)
{
    static const enum queue_action actions[] = {QUEUE_HOLD, QUEUE_RELEASE, QUEUE_RETRY,
                                                QUEUE_HOLD, QUEUE_RELEASE, QUEUE_REMOVE};
    enum queue_action action = actions[pick(m, 6)];
    size_t n;
    assert_rc(queue_act(m->f->queue, action, "model", &i->id, 1, &n), RC_OK);
    bool is_for = action == QUEUE_RELEASE ? i->is_held : action != QUEUE_RETRY || !i->is_held;
    assert_int_equal(n, is_for);
    i->is_there = action != QUEUE_REMOVE;
    i->is_held = i->is_there && (action == QUEUE_HOLD || (i->is_held && action != QUEUE_RELEASE));
}

static void check_item(struct model *m, const struct model_item *i, size_t sums[QUEUE_NUMBERS])
{
    struct arena arena = {0};
    struct queue_entry e = load(m->f->queue, i->id, &arena);
    bool has_here = false;
    size_t at = 0;
    assert_int_equal(e.status.state, i->is_held ? QUEUE_HELD : QUEUE_WAITING);
    assert_int_equal(e.item.n_recipients, left_of(i));
    for (size_t k = 0; k < i->n; k++) {
        if (!i->to[k].is_there)
            continue;
        const struct queue_recipient *r = &e.item.recipients[at++];
        assert_int_equal(r->number, k);
        assert_int_equal(r->tries, i->to[k].tries);
        assert_int_equal(r->account != 0, i->to[k].is_here);
        has_here |= i->to[k].is_here;
        sums[QUEUE_N_REMOTE] += !i->is_held && !i->to[k].is_here;
        sums[QUEUE_N_DEFERRED] += !i->is_held && !i->to[k].is_here && i->to[k].tries > 0;
    }
    sums[QUEUE_N_ITEMS]++;
    sums[QUEUE_N_HELD] += i->is_held;
    sums[QUEUE_N_LOCAL] += !i->is_held && has_here;
    arena_fini(&arena);
}

/* Every entry of the index leads to an item that says the same. */
static size_t check_index(struct model *m, enum queue_kind kind)
{
    size_t n = 0;
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct arena arena = {0};
        struct queue_due_page page;
        const struct queue_due_range range = {.kind = kind, .shard = shard, .until = UINT64_MAX};
        assert_rc(queue_due_scan(m->f->queue, &range, 0, &arena, &page), RC_OK);
        for (size_t i = 0; i < page.n; i++) {
            struct queue_entry e = load(m->f->queue, page.entries[i].id, &arena);
            bool is_right = false;
            for (size_t k = 0; k < e.item.n_recipients && kind == QUEUE_REMOTE; k++)
                is_right |= e.item.recipients[k].number == page.entries[i].number &&
                            e.item.recipients[k].due == page.entries[i].due &&
                            str_eq(e.item.recipients[k].domain, page.entries[i].destination);
            if (kind == QUEUE_LOCAL)
                is_right = page.entries[i].due == (e.status.due ? e.status.due : e.item.due);
            assert_true(is_right);
        }
        n += page.n;
        arena_fini(&arena);
    }
    return n;
}

static void check_model(struct model *m)
{
    size_t sums[QUEUE_NUMBERS] = {0};
    for (size_t i = 0; i < ITEMS; i++)
        if (m->items[i].is_there)
            check_item(m, &m->items[i], sums);
    for (size_t i = 0; i < QUEUE_NUMBERS; i++)
        assert_int_equal(queue_number(m->f->queue, i), sums[i]);
    assert_int_equal(check_index(m, QUEUE_LOCAL), sums[QUEUE_N_LOCAL]);
    assert_int_equal(check_index(m, QUEUE_REMOTE), sums[QUEUE_N_REMOTE]);
    assert_int_equal(rows_of(m->f->kv, 'm'), sums[QUEUE_N_ITEMS]);
}

/* Those of a domain, by the index, against all of them. */
static void check_find(struct model *m, const char *domain)
{
    size_t n[2] = {0};
    for (int by_index = 0; by_index < 2; by_index++) {
        struct queue_filter filter = {.domain = by_index ? str_of(domain) : (struct str){0}};
        struct queue_cursor cursor = {0};
        while (!cursor.is_at_end) {
            struct arena arena = {0};
            struct queue_found found;
            assert_rc(queue_find(m->f->queue, &filter, &cursor, 3, &arena, &found), RC_OK);
            for (size_t i = 0; i < found.n; i++) {
                const struct queue_item *item = &found.entries[i].item;
                bool has = false;
                for (size_t k = 0; k < item->n_recipients; k++)
                    has |= str_ends(item->recipients[k].address, str_of(domain));
                n[by_index] += has;
                assert_true(has || !by_index);
            }
            arena_fini(&arena);
        }
    }
    assert_int_equal(n[0], n[1]);
}

static void all_that_may_happen_keeps_rows_and_index_in_step(void **state)
{
    static struct model m;
    m = (struct model){.f = *state, .seed = 20261121};
    for (int step = 1; step <= 2000; step++) {
        struct model_item *i = &m.items[pick(&m, ITEMS)];
        if (!i->is_there)
            model_add(&m, i);
        else if (pick(&m, 2))
            model_settle(&m, i);
        else
            model_act(&m, i);
        if (step % 100 == 0)
            check_model(&m);
        if (step % 500 == 0) { /* as after a crash */
            queue_close(&m.f->queue);
            assert_rc(queue_open(&m.f->ctx, m.f->kv, &m.f->queue), RC_OK);
            check_model(&m);
            check_find(&m, "a.test");
            check_find(&m, "c.test");
        }
    }
    for (size_t i = 0; i < ITEMS; i++) {
        size_t n;
        if (m.items[i].is_there)
            assert_rc(queue_act(m.f->queue, QUEUE_REMOVE, NULL, &m.items[i].id, 1, &n), RC_OK);
    }
    for (char c = 'a'; c < 'v'; c++)
        assert_int_equal(rows_of(m.f->kv, c), 0);
    assert_int_equal(rows_of(m.f->kv, 'x'), 0);
}

/* Counted bit by bit, while items come and go. */
static void what_was_there_is_counted_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct queue_id id, last;
    const uint16_t numbers[] = {0};
    for (int i = 0; i < 200; i++)
        assert_rc(add_to(f->kv, f->queue, &far, 1, &id), RC_OK);
    queue_tally_free(&f->queue->tally);
    f->queue->tally = queue_tally_new();
    bool is_counted = false;
    for (int i = 0; !is_counted; i++) {
        assert_rc(queue_tally_go_on(f->queue, 1, &is_counted), RC_OK);
        assert_rc(add_to(f->kv, f->queue, &near, 1, &last), RC_OK);
        if (i % 3 == 0)
            assert_rc(queue_done(f->queue, last, numbers, 1), RC_OK);
    }
    assert_int_equal(queue_count(f->queue), rows_of(f->kv, 'm'));
    assert_int_equal(queue_number(f->queue, QUEUE_N_REMOTE), rows_of(f->kv, 'd'));
}

/* What release 0.1.0 left: rows of the first format and no index. They get one when the queue is
 * opened, and are found by domain from then on. */
static void items_of_older_releases_are_indexed(void **state)
{
    static const char head[] = "\1\0\0\0\0\0", sizes[] = "\0\0\0\0\0\0\0\xb\0\0\0\0\0\0\0\x2a";
    struct fixture *f = *state;
    struct arena arena = {0};
    unsigned char key[QUEUE_RECIPIENT_KEY];
    char row[128];
    queue_close(&f->queue);
    for (unsigned char n = 1; n <= 2; n++) { /* with one recipient and with two */
        const struct queue_id id = {{200, n}};
        struct kv_txn *txn = kv_txn_new(queue_part_of(id));
        struct kv_blob_id blob = make_blob(f->kv);
        struct packer w;
        pack_init(&w, row, sizeof row);
        pack_bytes(&w, str_from(head, 6));
        pack_bytes(&w, str_from(blob.b, 16));
        pack_bytes(&w, str_from(sizes, 16));
        pack_u16(&w, n);
        pack_str16(&w, STR("a@old.test"));
        pack_u32(&w, 0); /* message-id, log id */
        pack_u8(&w, 0);
        assert_rc(kv_txn_put(txn, queue_item_key(id, key), pack_done(&w)), RC_OK);
        for (uint16_t i = 0; i < n; i++) {
            static const char one[] = "\1\0\0\0\0\0\0\0\0\7\0\0\6b@here\0\0";
            assert_rc(
                kv_txn_put(txn, queue_recipient_key(id, i, key), str_from(one, sizeof one - 1)),
                RC_OK);
        }
        assert_rc(kv_txn_delete(txn, STR("v")), RC_OK);
        assert_rc(kv_txn_ref(txn, blob), RC_OK);
        assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
        kv_blob_forget(f->kv, blob);
    }
    assert_rc(queue_open(&f->ctx, f->kv, &f->queue), RC_OK);
    assert_int_equal(queue_count(f->queue), 2);
    assert_int_equal(queue_number(f->queue, QUEUE_N_LOCAL), 2);
    assert_int_equal(rows_of(f->kv, 'd'), 2);
    assert_int_equal(rows_of(f->kv, 'r'), 2);
    const struct queue_filter filter = {.domain = STR("HERE")};
    struct queue_cursor cursor = {0};
    struct queue_found found;
    size_t n = 0;
    while (!cursor.is_at_end) {
        assert_rc(queue_find(f->queue, &filter, &cursor, 10, &arena, &found), RC_OK);
        for (size_t i = 0; i < found.n; i++) {
            const struct queue_item *item = &found.entries[i].item;
            assert_int_equal(item->n_recipients, item->n_added);
            assert_int_equal(item->received, 42);
            assert_int_equal(item->due, 42);
            assert_str(item->sender, "a@old.test");
            assert_int_equal(item->recipients[item->n_added - 1].account, 7);
            n++;
        }
    }
    assert_int_equal(n, 2);
    const uint16_t numbers[] = {0, 1};
    for (unsigned char i = 1; i <= 2; i++) {
        const struct queue_id id = {{200, i}};
        assert_rc(queue_done(f->queue, id, numbers, 2), RC_OK);
    }
    for (char c = 'a'; c < 'v'; c++)
        assert_int_equal(rows_of(f->kv, c), 0);
    assert_int_equal(rows_of(f->kv, 'x'), 0);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_recipient_elsewhere_is_two_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_try_came_to_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_report_comes_with_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(an_entry_tells_of_tls, setup, teardown),
        cmocka_unit_test_setup_teardown(settlements_of_one_item_wait_for_each_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_last_of_several_takes_the_item, setup, teardown),
        cmocka_unit_test_setup_teardown(a_held_item_has_no_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(why_it_was_put_off_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_retried_is_pressing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_feed_gives_each_entry_when_it_is_due, setup, teardown),
        cmocka_unit_test_setup_teardown(another_node_takes_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_stops_on_doubt, setup, teardown),
        cmocka_unit_test_setup_teardown(a_settlement_asserts_the_epoch, setup, teardown),
        cmocka_unit_test_setup_teardown(all_that_may_happen_keeps_rows_and_index_in_step, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(items_of_older_releases_are_indexed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_there_is_counted_meanwhile, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
