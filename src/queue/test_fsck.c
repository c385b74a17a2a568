/* The check of the queue: each kind of damage is made behind its back, is found, is named, and is
 * mended where it can be. */
#include "queue/fixture.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct faults {
    struct kv_fsck kv;
    struct queue_fsck queue;
    char last[256];
};

static void keep(struct queue_fsck *fsck, const char *line)
{
    struct faults *f = CONTAINER(fsck, struct faults, queue);
    snprintf(f->last, sizeof f->last, "%s", line);
}

static void ignore(struct kv_fsck *fsck, const char *line)
{
}

static void see(struct kv_fsck *fsck, struct kv_part part, const struct kv_blob_id *blob,
                uint64_t count)
{
    queue_fsck_reference(&CONTAINER(fsck, struct faults, kv)->queue, part, blob, count);
}

static enum rc run(struct fixture *f, bool mends, struct faults *to)
{
    *to = (struct faults){.kv = {.report = ignore, .reference = see},
                          .queue = {.report = keep, .mends = mends}};
    (void)kv_fsck(f->kv, &to->kv);
    enum rc rc = queue_fsck(f->queue, &to->queue);
    queue_fsck_fini(&to->queue);
    return rc;
}

/* A row is changed by nobody's rules; an absent value deletes it. */
static void damage(struct fixture *f, struct kv_part part, struct str key, struct str value)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(str_is_null(value) ? kv_txn_delete(txn, key) : kv_txn_put(txn, key, value), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

/* All that the store has, but for versions: to be compared after a damage was mended. */
static struct str snapshot(struct fixture *f, struct arena *arena)
{
    struct buf all;
    buf_init(&all, 1 << 20);
    for (unsigned shard = 0; shard < QUEUE_SHARDS; shard++) {
        struct kv_page page;
        struct kv_part part = {KV_QUEUE, shard};
        assert_rc(kv_scan(f->kv, part, (struct kv_range){0}, 0, 0, arena, &page), RC_OK);
        assert_false(page.has_more);
        for (size_t i = 0; i < page.n; i++) {
            buf_put(&all, page.rows[i].key);
            buf_put(&all, page.rows[i].value);
        }
    }
    assert_false(all.over);
    struct str copy = arena_dup(arena, buf_str(&all));
    buf_fini(&all);
    return copy;
}

struct numbers {
    uint64_t n[QUEUE_NUMBERS];
};

static struct numbers numbers_of(struct fixture *f)
{
    struct numbers all;
    for (size_t i = 0; i < QUEUE_NUMBERS; i++)
        all.n[i] = queue_number(f->queue, i);
    return all;
}

/* It is found and named without being touched; then it is mended, and nothing is left of it. The
 * counts are those of a queue that is opened anew. */
static void finds_and_mends(struct fixture *f, const char *what)
{
    struct faults found;
    struct arena arena = {0};
    struct str before = snapshot(f, &arena);
    assert_rc(run(f, false, &found), RC_CORRUPT);
    assert_int_equal(found.queue.faults, 1);
    assert_int_equal(found.queue.mended, 0);
    if (!strstr(found.last, what))
        fail_msg("\"%s\" does not tell of \"%s\"", found.last, what);
    assert_true(str_eq(before, snapshot(f, &arena)));
    arena_fini(&arena);
    queue_close(&f->queue);
    assert_rc(queue_open(&f->ctx, f->kv, &f->queue), RC_OK);
    assert_rc(run(f, true, &found), RC_OK);
    assert_int_equal(found.queue.mended, found.queue.faults);
    assert_non_null(strstr(found.last, "(mended)"));
    assert_rc(run(f, false, &found), RC_OK);
    assert_int_equal(found.queue.faults, 0);
    struct numbers after = numbers_of(f);
    queue_close(&f->queue);
    assert_rc(queue_open(&f->ctx, f->kv, &f->queue), RC_OK);
    struct numbers again = numbers_of(f);
    assert_memory_equal(&after, &again, sizeof after);
}

/* It is named, and stays. */
static void finds(struct fixture *f, const char *what)
{
    struct faults found;
    for (int mends = 0; mends < 2; mends++) {
        assert_rc(run(f, mends, &found), RC_CORRUPT);
        assert_int_equal(found.queue.faults, 1);
        assert_int_equal(found.queue.mended, 0);
        if (!strstr(found.last, what))
            fail_msg("\"%s\" does not tell of \"%s\"", found.last, what);
    }
}

static const struct queue_recipient here = {.account = 7, .address = STR_INIT("a@here.test")};

/* One of each kind: with one recipient, with several here and elsewhere, held, put off. */
static void fill(struct fixture *f, struct queue_id ids[4])
{
    const struct queue_recipient to[] = {far, near, here};
    const struct queue_recipient later = {.due = 1000, .tries = 2, .reply = STR("no")};
    const struct queue_change change = {1, &later};
    for (size_t i = 0; i < 4; i++)
        assert_rc(add_to(f->kv, f->queue, to, i ? 3 : 1, &ids[i]), RC_OK);
    assert_rc(queue_hold(f->queue, ids[2], "test"), RC_OK);
    const struct queue_settlement s = {.id = ids[3], .changes = &change, .n_changes = 1};
    assert_rc(queue_settle_wait(f->queue, &s), RC_OK);
}

static void a_sound_queue_has_no_faults(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4];
    struct faults found;
    assert_rc(run(f, false, &found), RC_OK);
    fill(f, ids);
    for (int mends = 0; mends < 2; mends++) {
        assert_rc(run(f, mends, &found), RC_OK);
        assert_int_equal(found.queue.items, 4);
        assert_int_equal(found.queue.faults, 0);
    }
}

/* The entry of an item's recipient, or of the copies here. */
static struct queue_due entry_of(struct fixture *f, struct queue_id id, uint16_t number,
                                 struct arena *arena)
{
    struct queue_entry e = load(f->queue, id, arena);
    if (number == QUEUE_ALL_LOCAL)
        return queue_due_local(&e.item, &e.status);
    for (size_t i = 0; i < e.item.n_recipients; i++)
        if (e.item.recipients[i].number == number)
            return queue_due_remote(&e.item, &e.item.recipients[i]);
    fail_msg("recipient %u is not there", number);
    return (struct queue_due){0};
}

static void entries_that_are_missing(void **state)
{
    struct fixture *f = *state;
    static const struct {
        size_t item;
        uint16_t number;
    } cases[] = {{0, 0}, {1, 0}, {1, 1}, {1, QUEUE_ALL_LOCAL}, {3, 1}};
    struct queue_id ids[4];
    fill(f, ids);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena = {0};
        unsigned char key[QUEUE_DUE_KEY];
        struct queue_id id = ids[cases[i].item];
        struct queue_due e = entry_of(f, id, cases[i].number, &arena);
        damage(f, queue_part_of(id), queue_due_key(&e, key), (struct str){0});
        finds_and_mends(f, "it is not in the index by time: nobody tries it");
        arena_fini(&arena);
    }
}

static void entries_that_say_otherwise(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4];
    struct arena arena = {0};
    unsigned char key[QUEUE_DUE_KEY], row[QUEUE_DUE_MAX];
    fill(f, ids);
    struct queue_due e = entry_of(f, ids[3], 1, &arena), other = e;
    struct kv_part part = queue_part_of(ids[3]);
    other.destination = STR("another.test");
    damage(f, part, queue_due_key(&e, key), queue_due_pack(&other, row));
    finds_and_mends(f, "the index by time says otherwise");
    other = e;
    other.tries = 0;
    damage(f, part, queue_due_key(&e, key), queue_due_pack(&other, row));
    finds_and_mends(f, "the index by time says otherwise");
    damage(f, part, queue_due_key(&e, key), STR("\x1b[2J"));
    finds_and_mends(f, "the index by time says otherwise");
    arena_fini(&arena);
}

/* Of a held item, at another time, of a recipient that is gone, of a message that is. */
static void entries_that_nothing_has(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4], unknown;
    struct arena arena = {0};
    unsigned char key[QUEUE_DUE_KEY], row[QUEUE_DUE_MAX];
    const uint16_t first = 0;
    fill(f, ids);
    struct queue_due cases[5];
    cases[0] = entry_of(f, ids[2], 0, &arena);
    cases[1] = entry_of(f, ids[0], 0, &arena);
    cases[1].due += 1;
    cases[2] = entry_of(f, ids[1], 0, &arena);
    assert_rc(queue_done(f->queue, ids[1], &first, 1), RC_OK);
    unknown = ids[0];
    unknown.b[15] ^= 1;
    cases[3] = cases[1];
    cases[3].id = unknown;
    cases[3].tries = 1; /* counted as put off */
    cases[4] = entry_of(f, ids[1], QUEUE_ALL_LOCAL, &arena);
    cases[4].due = 1;
    for (size_t i = 0; i < 5; i++) {
        damage(f, queue_part_of(cases[i].id), queue_due_key(&cases[i], key),
               queue_due_pack(&cases[i], row));
        finds_and_mends(f, "an entry of the index by time is left of message");
        damage(f, queue_part_of(cases[i].id), queue_due_key(&cases[i], key), STR("?"));
        finds_and_mends(f, i == 3 ? "which is gone" : "which says otherwise");
    }
    arena_fini(&arena);
}

static void rows_that_belong_to_nothing(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4];
    unsigned char key[QUEUE_DUE_KEY], row[QUEUE_RECIPIENT_MAX], hash[3] = {1, 2, 3};
    const struct queue_status held = {.state = QUEUE_HELD};
    fill(f, ids);
    struct queue_id unknown = ids[0];
    struct kv_part part = queue_part_of(unknown);
    unknown.b[15] ^= 1;
    damage(f, part, queue_recipient_key(unknown, 3, key), queue_recipient_pack(&far, row));
    finds_and_mends(f, "a recipient is left of message");
    damage(f, part, queue_recipient_key(ids[0], 0, key), queue_recipient_pack(&far, row));
    finds_and_mends(f, "a recipient is left of message");
    damage(f, part, queue_status_key(unknown, key), queue_status_pack(&held, row));
    finds_and_mends(f, "a status is left of message");
    damage(f, part, queue_also_key(hash, unknown, key), STR("\1"));
    finds_and_mends(f, "an entry of the index by domain is left of message");
    damage(f, part, queue_also_key(hash, ids[0], key), STR("\1"));
    finds_and_mends(f, "which says otherwise");
}

static void domains_that_are_not_found(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4];
    unsigned char key[QUEUE_ALSO_KEY], hash[3];
    fill(f, ids);
    queue_domain_hash(STR("near.test"), hash);
    damage(f, queue_part_of(ids[1]), queue_also_key(hash, ids[1], key), (struct str){0});
    finds_and_mends(f, "it is not found by a domain of its recipients");
}

/* A recipient elsewhere with a domain that is longer than any. */
static void damage_domain(struct fixture *f, struct queue_id id)
{
    unsigned char key[QUEUE_RECIPIENT_KEY], row[2 * QUEUE_RECIPIENT_MAX];
    char domain[QUEUE_TEXT_MAX + 1];
    struct packer w;
    memset(domain, 'd', sizeof domain);
    pack_init(&w, row, sizeof row);
    pack_u8(&w, QUEUE_FORMAT);
    pack_u8(&w, 0);
    pack_u64(&w, 0);
    pack_u8(&w, 0);
    pack_str16(&w, STR("x@far.test"));
    pack_str16(&w, STR(""));
    pack_str16(&w, str_from(domain, sizeof domain));
    pack_u8(&w, 0);
    pack_u64(&w, 7);
    pack_u32(&w, 0);
    damage(f, queue_part_of(id), queue_recipient_key(id, 0, key), pack_done(&w));
}

/* What cannot be known any more stays as it is. */
static void what_is_lost_is_named(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4];
    struct arena arena = {0};
    unsigned char key[QUEUE_RECIPIENT_KEY];
    struct str kept, row;
    size_t n;
    fill(f, ids);
    const struct str item = queue_item_key(ids[1], key);
    assert_rc(kv_get(f->kv, queue_part_of(ids[1]), &item, 1, 0, &arena, &kept, NULL), RC_OK);
    damage(f, queue_part_of(ids[1]), item, str_head(kept, kept.n - 1));
    finds(f, "its rows are damaged");
    damage(f, queue_part_of(ids[1]), item, kept);
    const struct str recipient = queue_recipient_key(ids[1], 0, key);
    assert_rc(kv_get(f->kv, queue_part_of(ids[1]), &recipient, 1, 0, &arena, &row, NULL), RC_OK);
    damage_domain(f, ids[1]);
    finds(f, "its rows are damaged");
    damage(f, queue_part_of(ids[1]), recipient, row);
    damage(f, queue_part_of(ids[2]), queue_status_key(ids[2], key), STR("?"));
    finds(f, "its rows are damaged");
    assert_rc(queue_act(f->queue, QUEUE_REMOVE, NULL, &ids[2], 1, &n), RC_OK);
    struct faults found;
    assert_rc(run(f, true, &found), RC_OK); /* its recipients, domains and reference */
    assert_true(found.queue.mended > 0);
    damage(f, queue_part_of(ids[0]), STR("what"), STR("ever"));
    finds(f, "a row that is nothing of the queue's");
    damage(f, queue_part_of(ids[0]), STR("what"), (struct str){0});
    const struct kv_part other = {KV_QUEUE, (queue_shard_of(ids[0]) + 1) % QUEUE_SHARDS};
    damage(f, other, queue_item_key(ids[0], key), kept);
    finds(f, "a row of another shard's message");
    damage(f, other, queue_item_key(ids[0], key), (struct str){0});
    damage(f, other, STR("v"), STR("\x63"));
    finds(f, "a form that this release does not know");
    arena_fini(&arena);
}

static void an_item_without_recipients(void **state)
{
    struct fixture *f = *state;
    struct queue_id id;
    const struct queue_recipient to[] = {here, here};
    unsigned char key[QUEUE_DUE_KEY];
    struct arena arena = {0};
    assert_rc(add_to(f->kv, f->queue, to, 2, &id), RC_OK);
    struct queue_due e = entry_of(f, id, QUEUE_ALL_LOCAL, &arena);
    damage(f, queue_part_of(id), queue_recipient_key(id, 0, key), (struct str){0});
    damage(f, queue_part_of(id), queue_recipient_key(id, 1, key), (struct str){0});
    damage(f, queue_part_of(id), queue_due_key(&e, key), (struct str){0});
    finds(f, "no recipient of it is left");
    size_t n;
    assert_rc(queue_act(f->queue, QUEUE_REMOVE, NULL, &id, 1, &n), RC_OK);
    struct faults found;
    assert_rc(run(f, false, &found), RC_OK);
    arena_fini(&arena);
}

static struct kv_blob_id blob_of(struct fixture *f, struct queue_id id)
{
    struct arena arena = {0};
    struct kv_blob_id blob = load(f->queue, id, &arena).item.blob;
    arena_fini(&arena);
    return blob;
}

static void move_reference(struct fixture *f, struct queue_id id, struct kv_blob_id blob, int by)
{
    struct kv_txn *txn = kv_txn_new(queue_part_of(id));
    assert_rc(by > 0 ? kv_txn_ref(txn, blob) : kv_txn_drop(txn, blob), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

static void references_to_bodies(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4];
    struct kv_blob_in *in;
    fill(f, ids);
    struct kv_blob_id blob = blob_of(f, ids[1]);
    move_reference(f, ids[1], blob, 1);
    finds_and_mends(f, "it is held for no message of the queue");
    struct kv_blob_id nobody = make_blob(f->kv);
    move_reference(f, ids[1], nobody, 1);
    kv_blob_forget(f->kv, nobody);
    finds_and_mends(f, "it is held for no message of the queue");
    assert_rc(kv_blob_open(f->kv, nobody, 0, &in), RC_NOTFOUND);
    assert_rc(kv_blob_open(f->kv, blob, 0, &in), RC_OK); /* keeps it, as an account's copy would */
    move_reference(f, ids[1], blob, -1);
    finds_and_mends(f, "a message in the queue does not hold it");
    kv_blob_close(&in);
    assert_rc(kv_blob_open(f->kv, blob, 0, &in), RC_OK);
    kv_blob_close(&in);
    move_reference(f, ids[0], blob_of(f, ids[0]), -1); /* and with it, the body */
    finds(f, "a message in the queue does not hold it");
}

/* Items that share a body, in one shard, and what comes and goes between the two looks. */
static void references_move_while_they_are_looked_at(void **state)
{
    struct fixture *f = *state;
    struct queue_id ids[4], late;
    const uint16_t first = 0;
    struct faults found = {.kv = {.report = ignore, .reference = see}, .queue.report = keep};
    struct kv_blob_id blob = make_blob(f->kv);
    struct queue_item items[3];
    for (size_t i = 0; i < 3; i++)
        items[i] = (struct queue_item){.blob = blob, .recipients = &far, .n_recipients = 1};
    struct waited w = WAITED;
    assert_rc(queue_add(f->queue, items, 3, &w.op), RC_OK);
    wait_for(&w);
    kv_blob_forget(f->kv, blob);
    fill(f, ids);
    assert_rc(kv_fsck(f->kv, &found.kv), RC_OK);
    assert_rc(queue_done(f->queue, ids[0], &first, 1), RC_OK);
    assert_rc(queue_done(f->queue, items[1].id, &first, 1), RC_OK);
    assert_rc(add_to(f->kv, f->queue, &near, 1, &late), RC_OK);
    assert_rc(queue_fsck(f->queue, &found.queue), RC_OK);
    queue_fsck_fini(&found.queue);
    assert_int_equal(found.queue.faults, 0);
}

struct intruder { /* adds two items with a body that is known, while the check goes on */
    struct faults found;
    struct fixture *fixture;
    struct queue_id beside;
    struct queue_item items[2];
};

static void intrude(struct queue_fsck *fsck, const char *line)
{
    struct intruder *i = CONTAINER(fsck, struct intruder, found.queue);
    const struct queue_settlement s = {.id = i->beside, .items = i->items, .n_items = 2};
    keep(fsck, line);
    assert_rc(queue_settle_wait(i->fixture->queue, &s), RC_OK);
}

/* No body gets items later; should one ever do, what came with them is not taken for what those
 * that have gone have left. */
static void a_body_that_gets_more_items_is_kept(void **state)
{
    struct fixture *f = *state;
    struct intruder i = {.found = {.kv = {.report = ignore, .reference = see}}, .fixture = f};
    struct kv_blob_id blob = make_blob(f->kv);
    const struct queue_item one = {.blob = blob, .recipients = &far, .n_recipients = 1};
    struct queue_item items[3] = {one, one, one};
    const uint16_t first = 0;
    struct waited w = WAITED;
    assert_rc(queue_add(f->queue, items, 3, &w.op), RC_OK);
    wait_for(&w);
    i.items[0] = i.items[1] = one;
    i.beside = items[2].id;
    i.found.queue = (struct queue_fsck){.report = intrude, .mends = true};
    damage(f, queue_part_of(items[2].id), STR("what"), STR("ever")); /* is looked at last */
    assert_rc(kv_fsck(f->kv, &i.found.kv), RC_OK);
    assert_rc(queue_done(f->queue, items[0].id, &first, 1), RC_OK);
    assert_rc(queue_done(f->queue, items[1].id, &first, 1), RC_OK);
    assert_rc(queue_fsck(f->queue, &i.found.queue), RC_CORRUPT);
    queue_fsck_fini(&i.found.queue);
    assert_int_equal(i.found.queue.faults, 1);
    kv_blob_forget(f->kv, blob);
    struct faults found;
    assert_rc(run(f, false, &found), RC_CORRUPT);
    assert_int_equal(found.queue.faults, 1);
}

static struct kv_part leases_of(unsigned shard)
{
    return (struct kv_part){KV_LEASES, shard};
}

/* A lease that nobody could take, or that somebody has for years. */
static void leases(void **state)
{
    struct fixture *f = *state;
    struct faults found;
    uint64_t epoch, again;
    struct kv_part part = {KV_QUEUE, 5};
    const struct str holder = STR("Qhqueue");
    assert_rc(kv_lease_take(f->kv, part, STR("queue"), STR("a"), 120 * NS_PER_SEC, &epoch), RC_OK);
    assert_rc(run(f, false, &found), RC_OK);
    damage(f, leases_of(5), holder, STR("?"));
    assert_rc(kv_lease_take(f->kv, part, STR("queue"), STR("b"), NS_PER_SEC, &again), RC_CORRUPT);
    finds_and_mends(f, "shard 5: its lease is damaged");
    assert_rc(kv_lease_take(f->kv, part, STR("queue"), STR("b"), NS_PER_SEC, &again), RC_OK);
    assert_true(again > epoch);
    damage(f, leases_of(5), holder, (struct str){0}); /* the epoch is ahead of it */
    finds_and_mends(f, "shard 5: its lease is damaged");
    assert_rc(kv_lease_take(f->kv, part, STR("queue"), STR("c"), UINT64_MAX, &epoch), RC_OK);
    assert_true(epoch > again);
    finds_and_mends(f, "a node has it for longer than any asks for");
    assert_rc(kv_lease_take(f->kv, part, STR("queue"), STR("d"), NS_PER_SEC, &again), RC_OK);
    assert_true(again > epoch);
}

/* --- while mail goes -------------------------------------------------------------------------- */

struct traffic {
    struct fixture *f;
    pthread_t thread;
    _Atomic bool is_ending;
    _Atomic unsigned rounds;
};

static void *traffic_main(void *arg)
{
    struct traffic *t = arg;
    const struct queue_recipient to[] = {far, near, here};
    unsigned seed = 7;
    while (!t->is_ending) {
        struct queue_id id;
        size_t n;
        const struct queue_recipient later = {.due = (uint64_t)rand_r(&seed), .tries = 1};
        const struct queue_change changes[] = {{0, &later}, {1, NULL}};
        assert_rc(add_to(t->f->kv, t->f->queue, to, 1 + t->rounds % 3, &id), RC_OK);
        const struct queue_settlement s = {.id = id, .changes = changes, .n_changes = 2};
        assert_rc(queue_settle_wait(t->f->queue, &s), RC_OK);
        for (enum queue_action a = QUEUE_HOLD; a <= QUEUE_REMOVE; a++)
            assert_rc(queue_act(t->f->queue, a, "test", &id, 1, &n), RC_OK);
        t->rounds++;
    }
    return NULL;
}

static void mail_that_goes_meanwhile_is_no_fault(void **state)
{
    struct fixture *f = *state;
    struct traffic traffic[3];
    struct queue_id ids[4];
    unsigned rounds = 0;
    fill(f, ids);
    for (size_t i = 0; i < 3; i++) {
        traffic[i] = (struct traffic){.f = f};
        assert_int_equal(pthread_create(&traffic[i].thread, NULL, traffic_main, &traffic[i]), 0);
    }
    for (int i = 0; i < 20 || rounds < 100; i++) {
        struct faults found;
        enum rc rc = run(f, i % 2, &found);
        if (rc != RC_OK || found.queue.faults)
            fail_msg("%s: %s", rc_name(rc), found.last);
        rounds = traffic[0].rounds + traffic[1].rounds + traffic[2].rounds;
    }
    for (size_t i = 0; i < 3; i++) {
        traffic[i].is_ending = true;
        pthread_join(traffic[i].thread, NULL);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sound_queue_has_no_faults),
        TEST(entries_that_are_missing),
        TEST(entries_that_say_otherwise),
        TEST(entries_that_nothing_has),
        TEST(rows_that_belong_to_nothing),
        TEST(domains_that_are_not_found),
        TEST(what_is_lost_is_named),
        TEST(an_item_without_recipients),
        TEST(references_to_bodies),
        TEST(a_body_that_gets_more_items_is_kept),
        TEST(references_move_while_they_are_looked_at),
        TEST(leases),
        TEST(mail_that_goes_meanwhile_is_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
