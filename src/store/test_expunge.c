/* Expunging many messages at once: what is trimmed is what went and nothing else, whatever lies
 * between; and tombstones as release 0.1.0 wrote them. */
#include "store/fixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { MANY = 600 };

static size_t count_rows(struct fixture *f, char kind)
{
    struct arena arena;
    struct key from = key_of_kind(kind), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    arena_init(&arena, 0);
    assert_rc(kv_scan(f->kv, account_part(1), range, 0, 0, &arena, &page), RC_OK);
    assert_false(page.has_more);
    arena_fini(&arena);
    return page.n;
}

static size_t range(uint32_t *uids, uint32_t first, uint32_t last)
{
    size_t n = 0;
    for (uint32_t uid = first; uid <= last; uid++)
        uids[n++] = uid;
    return n;
}

static void reopen(struct fixture *f, struct store_account **a)
{
    fixture_close(f, a);
    fixture_assert_sound(f, 1);
    fixture_reopen(f);
    *a = fixture_open(f, 1);
    fixture_assert_sound(f, 1);
}

static void many_leave_few_rows(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    struct arena arena;
    uint32_t uids[MANY], *gone;
    size_t n, n_gone;
    fixture_append_many(f, a, MANY);
    uint64_t before = fixture_mailbox(a, 1).highest_modseq;
    size_t log = count_rows(f, 'c');
    n = range(uids, 51, 550);
    assert_rc(fixture_expunge(a, 1, uids, n, &op), RC_OK);
    assert_int_equal(op.changed, 500);
    assert_int_equal(count_rows(f, 'd'), 4);
    assert_int_equal(count_rows(f, 'c'), log + 1);
    assert_int_equal(count_rows(f, 'v'), 1);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(count_rows(f, 'u'), MANY - 500);
        assert_int_equal(count_rows(f, 'e'), MANY - 500);
        assert_int_equal(count_rows(f, 't'), MANY - 500);
        assert_int_equal(fixture_mailbox(a, 1).exists, MANY - 500);
        arena_init(&arena, 0);
        assert_rc(store_vanished(a, 1, before, &arena, &gone, &n_gone), RC_OK);
        assert_int_equal(n_gone, 500);
        assert_memory_equal(gone, uids, sizeof *gone * 500);
        arena_fini(&arena);
        reopen(f, &a);
    }
    fixture_append_many(f, a, 10); /* behind the trims */
    assert_int_equal(fixture_mailbox(a, 1).exists, MANY - 490);
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    assert_int_equal(count_rows(f, 'd'), 0);
    reopen(f, &a);
    fixture_close(f, &a);
}

static bool has_all_since(struct store_account *a, uint64_t modseq)
{
    struct store_reader *reader;
    assert_rc(store_reader_open(a, 1, 0, &reader), RC_OK);
    bool has_all = store_root_has_all_since(store_reader_root(reader), modseq);
    store_reader_close(&reader);
    return has_all;
}

/* Who asks what has vanished need not look into the log when nothing has; what was before the rows
 * were read is not known. */
static void it_is_known_that_nothing_went(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    uint32_t uid = 3;
    assert_true(has_all_since(a, fixture_mailbox(a, 1).highest_modseq));
    uint64_t before = fixture_mailbox(a, 1).highest_modseq;
    fixture_append_many(f, a, 10);
    assert_true(has_all_since(a, before));
    assert_rc(fixture_expunge(a, 1, &uid, 1, &op), RC_OK);
    assert_false(has_all_since(a, before));
    assert_false(has_all_since(a, op.modseq - 1));
    assert_true(has_all_since(a, op.modseq));
    fixture_append_many(f, a, 10);
    assert_false(has_all_since(a, op.modseq - 1));
    assert_true(has_all_since(a, op.modseq));
    reopen(f, &a);
    assert_false(has_all_since(a, op.modseq));
    assert_true(has_all_since(a, fixture_mailbox(a, 1).highest_modseq));
    fixture_close(f, &a);
}

/* Who reads on finds all bodies, in whatever record they are. */
static void readers_find_what_went(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_reader *reader;
    uint32_t uids[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        char text[16];
        int n = snprintf(text, sizeof text, "body %u", i);
        assert_rc(fixture_append(f, a, str_from(text, (size_t)n), NULL, NULL), RC_OK);
    }
    assert_rc(store_reader_open(a, 1, 0, &reader), RC_OK);
    assert_rc(fixture_expunge(a, 1, uids, range(uids, 3, 400), NULL), RC_OK);
    assert_rc(fixture_expunge(a, 1, uids, range(uids, 401, 402), NULL), RC_OK);
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    for (uint32_t i = 0; i < 450; i++) {
        char text[16], got[16];
        struct store_message *m;
        size_t n = (size_t)snprintf(text, sizeof text, "body %u", i), n_got;
        assert_rc(store_reader_message(reader, i, 0, &m), RC_OK);
        assert_rc(store_message_read(m, 0, got, sizeof got, 0, &n_got), RC_OK);
        assert_int_equal(n_got, n);
        assert_memory_equal(got, text, n);
        store_message_close(&m);
    }
    store_reader_close(&reader);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* --- what lies between ------------------------------------------------------------------------ */

static uint64_t seed;

static uint32_t pick(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

/* Into either mailbox; some answer earlier ones, so that threads have members far apart. */
static void append_some(struct fixture *f, struct store_account *a, uint32_t *next, uint32_t n)
{
    static struct waiter w[1000];
    static struct kv_blob_id blobs[1000];
    for (uint32_t i = 0; i < n; i++, ++*next) {
        char id[16], parent[16];
        snprintf(id, sizeof id, "m%u@x", *next);
        snprintf(parent, sizeof parent, "m%u@x", pick(2) ? pick(*next) : *next - pick(40) % *next);
        struct str reference = str_of(parent);
        struct store_append how = {.mailbox = pick(30) ? 1 : 2,
                                   .blob = blobs[i] = fixture_blob(f, a, STR("x")),
                                   .size = 1,
                                   .message_id = str_of(id),
                                   .references = &reference,
                                   .n_references = pick(20) == 0};
        waiter_init(&w[i]);
        assert_rc(store_append(a, &how, 0, &w[i].op), RC_OK);
    }
    for (uint32_t i = 0; i < n; i++) {
        assert_rc(waiter_wait(&w[i], RC_OK), RC_OK);
        fixture_forget(f, blobs[i]);
    }
}

/* A long run of what is there, with a few that stay. */
static size_t choose(struct store_account *a, uint32_t mailbox, uint32_t *uids)
{
    struct store_root *root;
    assert_rc(store_mailbox_open(a, mailbox, 0, &root), RC_OK);
    size_t count = store_root_count(root), n = 0, from = count ? pick((uint32_t)count) / 2 : 0;
    uint32_t holes = pick(3) ? 0 : 1 + pick(200);
    for (size_t i = from; i < count && n < STORE_BATCH && n < 150 + from; i++)
        if (!holes || pick(holes))
            uids[n++] = store_root_at(root, i)->uid;
    store_root_release(&root);
    return n;
}

static void assert_numbers(struct fixture *f, struct store_account *a, uint32_t n)
{
    assert_int_equal(fixture_mailbox(a, 1).exists + fixture_mailbox(a, 2).exists, n);
    fixture_assert_sound(f, 1);
}

static void what_lies_between_stays(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[STORE_BATCH], next = 1, there = 0;
    seed = 20261121;
    for (int round = 0; round < 12; round++) {
        struct store_op op;
        uint32_t n = 150 + pick(250), mailbox = pick(5) ? 1 : 2;
        append_some(f, a, &next, n);
        there += n;
        size_t k = choose(a, mailbox, uids);
        assert_rc(fixture_expunge(a, mailbox, uids, k, &op), RC_OK);
        assert_int_equal(op.changed, k);
        there -= (uint32_t)k;
        assert_numbers(f, a, there);
        if (pick(3) == 0)
            reopen(f, &a);
        if (pick(4) == 0)
            fixture_maintain(a); /* packs, so that some have no row of their own */
    }
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    assert_numbers(f, a, there);
    fixture_close(f, &a);
}

/* The expunge is queued behind appends whose rows nobody can see yet, and before others. */
static void what_is_queued_stays(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    static struct waiter w[2 * MANY], expunge;
    static struct kv_blob_id blobs[2 * MANY];
    struct str reference = STR("first@x");
    struct store_append first = {.message_id = STR("first@x")};
    uint32_t uids[MANY];
    assert_rc(fixture_append(f, a, STR("x"), &first, NULL), RC_OK);
    fixture_append_many(f, a, MANY / 2);
    kv_mem_hold(f->kv, true);
    for (uint32_t i = 0; i < 2 * MANY; i++) {
        struct store_append how = {.blob = blobs[i] = fixture_blob(f, a, STR("x")),
                                   .size = 1,
                                   .references = &reference,
                                   .n_references = i % 7 == 0};
        waiter_init(&w[i]);
        if (i == MANY) {
            waiter_init(&expunge);
            assert_rc(store_expunge(a, 1, uids, range(uids, 1, MANY), 0, &expunge.op), RC_OK);
        }
        if (i < 800)
            assert_rc(store_append(a, &how, 0, &w[i].op), RC_OK);
    }
    kv_mem_hold(f->kv, false);
    for (uint32_t i = 0; i < 2 * MANY; i++) {
        assert_rc(i < 800 ? waiter_wait(&w[i], RC_OK) : RC_OK, RC_OK);
        fixture_forget(f, blobs[i]);
    }
    assert_rc(waiter_wait(&expunge, RC_OK), RC_OK);
    assert_int_equal(fixture_mailbox(a, 1).exists, 1 + MANY / 2 + 800 - MANY);
    reopen(f, &a);
    fixture_close(f, &a);
}

/* --- the first format ------------------------------------------------------------------------- */

static void put_old(struct kv_txn *txn, uint64_t modseq, uint32_t number, uint64_t time,
                    const struct tombstone *d)
{
    unsigned char mem[RECORD_VALUE], part[RECORD_VALUE];
    struct packer w;
    struct key key = key_tombstone(modseq, number);
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, time);
    pack_u8(&w, d->is_last);
    pack_u32(&w, 1);
    pack_u32(&w, d->row.uid);
    pack_bytes(&w, str_skip(row_encode(&d->row, part, sizeof part), 1));
    pack_bytes(&w, str_skip(email_encode(&d->record, part, sizeof part), 1));
    assert_rc(kv_txn_put(txn, key_str(&key), pack_done(&w)), RC_OK);
}

/* Writes the only record of tombstones anew, one message a record. */
static void make_old(struct fixture *f)
{
    struct arena arena;
    struct key from = key_of_kind('d'), to = key_after(key_str(&from), 1);
    struct kv_range all = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    struct tombstones found;
    struct tombstone d;
    struct kv_txn *txn = kv_txn_new(account_part(1));
    arena_init(&arena, 0);
    assert_rc(kv_scan(f->kv, account_part(1), all, 0, 0, &arena, &page), RC_OK);
    assert_int_equal(page.n, 1);
    assert_rc(tombstones_open(page.rows[0].value, &found), RC_OK);
    for (uint32_t i = 0; tombstones_next(&found, &d) == RC_OK; i++)
        put_old(txn, get_u64(page.rows[0].key.p + 1), i, found.time, &d);
    arena_fini(&arena);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
}

static void tombstones_of_release_0_1_0_are_known(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++) {
        struct store_account *a = fixture_account(f, 1);
        uint32_t uids[100];
        for (int i = 0; i < 100; i++) {
            struct store_append how = {.message_id = i % 2 ? STR("odd@x") : STR("even@x")};
            assert_rc(fixture_append(f, a, STR("x"), &how, NULL), RC_OK);
        }
        assert_rc(fixture_expunge(a, 1, uids, range(uids, 1, 100), NULL), RC_OK);
        fixture_close(f, &a);
        fixture_reopen_store(f);
        make_old(f);
        assert_int_equal(count_rows(f, 'd'), 100);
        fixture_assert_sound(f, 1);
        if (round == 0) {
            assert_rc(store_account_destroy(f->store, 1), RC_OK);
            continue;
        }
        a = fixture_open(f, 1);
        f->clock.wall += 8 * 86400 * NS_PER_SEC;
        fixture_maintain(a);
        assert_int_equal(count_rows(f, 'd'), 0);
        assert_int_equal(count_rows(f, 'i'), 0);
        fixture_close(f, &a);
        fixture_assert_sound(f, 1);
    }
    struct kv_fsck fsck = {.report = NULL};
    assert_rc(kv_fsck(f->kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(many_leave_few_rows),    ON_BOTH(it_is_known_that_nothing_went),
        ON_BOTH(readers_find_what_went), ON_BOTH(what_lies_between_stays),
        ON_MEM(what_is_queued_stays),    ON_BOTH(tombstones_of_release_0_1_0_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
