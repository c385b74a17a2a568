/* Renaming and removing mailboxes, and what becomes of their messages. */
#include "store/fixture.h"

#include <string.h>

#define WEEK (7 * 86400 * NS_PER_SEC)

static struct store_usage usage_of(struct store_account *a)
{
    struct store_usage usage;
    store_account_usage(a, &usage);
    return usage;
}

static uint32_t make(struct store_account *a, const char *name)
{
    struct store_op op;
    assert_rc(fixture_create(a, name, STORE_NONE, &op), RC_OK);
    return op.mailbox;
}

static void fill(struct fixture *f, struct store_account *a, uint32_t mailbox, int n)
{
    struct store_append how = {.mailbox = mailbox};
    while (n--)
        assert_rc(fixture_append(f, a, STR("text"), &how, NULL), RC_OK);
}

static size_t count_rows(struct fixture *f, const char *kind)
{
    struct arena arena;
    struct key from = key_of_kind(*kind), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    size_t n = 0;
    arena_init(&arena, 0);
    do {
        assert_rc(kv_scan(f->kv, account_part(1), range, 0, 0, &arena, &page), RC_OK);
        n += page.n;
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    } while (page.has_more);
    arena_fini(&arena);
    return n;
}

static void again(struct fixture *f, struct store_account **a)
{
    fixture_close(f, a);
    fixture_reopen(f);
    *a = fixture_open(f, 1);
}

/* --- renaming --------------------------------------------------------------------------------- */

static void a_tree_moves_with_one_record(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t top = make(a, "a/top"), below = make(a, "a/top/x/below");
    uint32_t uidvalidity = fixture_mailbox(a, top).uidvalidity;
    fill(f, a, below, 2);
    assert_rc(fixture_rename(a, top, "b/c/Spitze"), RC_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(fixture_find(a, "b/c/Spitze"), top);
        assert_int_equal(fixture_find(a, "b/c/Spitze/x/below"), below);
        assert_true(fixture_mailbox(a, fixture_find(a, "b/c")).is_placeholder);
        assert_int_equal(fixture_find(a, "a"), 0); /* its last child has gone */
        assert_int_equal(fixture_mailbox(a, top).uidvalidity, uidvalidity);
        fixture_assert_rows(a, below, "1: 2:");
        again(f, &a);
    }
    /* To where it was: the placeholders go the other way. */
    assert_rc(fixture_rename(a, top, "a/top"), RC_OK);
    assert_int_equal(fixture_find(a, "b"), 0);
    assert_int_equal(fixture_find(a, "a/top/x/below"), below);
    /* A placeholder is renamed like a mailbox. */
    assert_rc(fixture_rename(a, fixture_find(a, "a"), "z"), RC_OK);
    assert_int_equal(fixture_find(a, "z/top"), top);
    /* One level up, past its own parent. */
    assert_rc(fixture_rename(a, top, "z/z/top"), RC_OK);
    assert_rc(fixture_rename(a, top, "top"), RC_OK);
    assert_int_equal(fixture_find(a, "z"), 0);
    assert_int_equal(a->n_mailboxes, 9); /* the account's own, top, x, below */
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void what_cannot_be_renamed(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t x = make(a, "x"), y = make(a, "x/y"), inbox = fixture_find(a, "INBOX");
    make(a, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20");
    assert_rc(fixture_rename(a, inbox, "other"), RC_PERM);
    assert_rc(fixture_rename(a, x, "x"), RC_EXISTS);
    assert_rc(fixture_rename(a, x, "x/y"), RC_EXISTS);
    assert_rc(fixture_rename(a, x, "x/z"), RC_PERM);
    assert_rc(fixture_rename(a, x, "x/y/z/x"), RC_PERM);
    assert_rc(fixture_rename(a, y, "inbox"), RC_EXISTS);
    assert_rc(fixture_rename(a, y, "Sent"), RC_EXISTS);
    assert_rc(fixture_rename(a, y, "a//b"), RC_SYNTAX);
    assert_rc(fixture_rename(a, 999, "a"), RC_NOTFOUND);
    assert_rc(fixture_rename(a, fixture_find(a, "1/2"), "1a/b/2"), RC_LIMIT);
    assert_rc(fixture_rename(a, fixture_find(a, "1/2"), "1a/2"), RC_OK);
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(fixture_rename(a, y, "n/y"), RC_FULL);
    assert_int_equal(fixture_find(a, "x/y"), y);
    assert_int_equal(fixture_find(a, "n"), 0);
    assert_rc(fixture_rename(a, y, "INBOX/y"), RC_OK);
    assert_int_equal(fixture_mailbox(a, y).parent, inbox);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Release 0.1.0 gave all mailboxes of an account one UIDVALIDITY: another one's name must not bring
 * its UIDs back [RFC3501 2.3.1.1] [RFC9051 2.3.1.1]. */
static void a_shared_uidvalidity_is_changed(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t sent = fixture_find(a, "Sent"), inbox = fixture_find(a, "INBOX");
    for (int shared = 0; shared < 2; shared++) {
        uint32_t before = fixture_mailbox(a, sent).uidvalidity;
        assert_rc(fixture_rename(a, sent, shared ? "b" : "a"), RC_OK);
        uint32_t after = fixture_mailbox(a, sent).uidvalidity;
        assert_true(shared ? after > before : after == before);
        unsigned char mem[RECORD_VALUE];
        struct mailbox_record r = mailbox_any(a, sent)->head;
        r.m.uidvalidity = mailbox_any(a, inbox)->head.m.uidvalidity;
        struct hot hot = a->head.hot;
        hot.last_uidvalidity = 0;
        struct key key = key_mailbox(sent), hot_key = key_hot();
        struct kv_txn *txn = kv_txn_new(account_part(1));
        assert_rc(kv_txn_put(txn, key_str(&key), mailbox_encode(&r, mem, sizeof mem)), RC_OK);
        assert_rc(kv_txn_put(txn, key_str(&hot_key), hot_encode(&hot, mem, sizeof mem)), RC_OK);
        fixture_close(f, &a);
        fixture_reopen_store(f);
        assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
        a = fixture_open(f, 1);
    }
    fixture_close(f, &a);
}

/* --- removing --------------------------------------------------------------------------------- */

static void gone_at_once(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t id = make(a, "x/y");
    struct store_root *held, *root;
    fill(f, a, id, 3);
    fill(f, a, 1, 1);
    assert_rc(store_mailbox_open(a, id, 0, &held), RC_OK);
    assert_rc(fixture_remove(a, id), RC_OK);
    assert_int_equal(fixture_find(a, "x/y"), 0);
    assert_int_equal(fixture_find(a, "x"), 0);
    assert_rc(store_mailbox_open(a, id, 0, &root), RC_NOTFOUND);
    assert_rc(fixture_remove(a, id), RC_NOTFOUND);
    assert_int_equal(usage_of(a).messages, 1);
    assert_int_equal(usage_of(a).bytes, 4);
    assert_int_equal(store_root_count(held), 3);
    assert_str(store_root_mailbox(held)->name, "y");
    fixture_assert_sound(f, 1);
    uint32_t new_ = make(a, "x/y");
    assert_true(new_ != id);
    assert_true(fixture_mailbox(a, new_).uidvalidity > store_root_mailbox(held)->uidvalidity);
    fixture_assert_rows(a, new_, "");
    again(f, &a);
    fixture_assert_rows(a, new_, "");
    fixture_maintain(a);
    fixture_assert_sound(f, 1);
    assert_int_equal(count_rows(f, "u"), 1);
    assert_int_equal(count_rows(f, "e"), 1);
    assert_int_equal(count_rows(f, "m"), 8);
    assert_int_equal(count_rows(f, "d"), 1);
    f->clock.wall += WEEK + NS_PER_SEC;
    fixture_maintain(a);
    assert_int_equal(count_rows(f, "d"), 0);
    assert_str(store_root_mailbox(held)->name, "y"); /* the mailbox is long gone */
    store_root_release(&held);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void what_cannot_be_removed(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t id = make(a, "x/y");
    fill(f, a, id, 1);
    assert_rc(fixture_remove(a, fixture_find(a, "INBOX")), RC_PERM);
    assert_rc(fixture_remove(a, fixture_find(a, "x")),
              RC_PERM); /* [RFC3501 6.3.4] [RFC9051 6.3.5] */
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(fixture_remove(a, id), RC_FULL);
    assert_int_equal(fixture_find(a, "x/y"), id);
    assert_int_equal(usage_of(a).messages, 1);
    fixture_assert_rows(a, id, "1:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* One with children becomes a placeholder; made again, it has none of its old messages. */
static void made_again_under_the_same_id(void **state) /* [RFC3501 2.3.1.1] [RFC9051 2.3.1.1] */
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t id = make(a, "x"), child = make(a, "x/y"), uid = 2;
    struct store_append how = {.mailbox = id};
    struct store_op op;
    fill(f, a, id, 3);
    uint32_t before = fixture_mailbox(a, id).uidvalidity;
    fixture_assert_rows(a, id, "1: 2: 3:");
    assert_rc(fixture_remove(a, id), RC_OK);
    assert_true(fixture_mailbox(a, id).is_placeholder);
    assert_int_equal(usage_of(a).messages, 0);
    fixture_assert_sound(f, 1);
    assert_int_equal(make(a, "x"), id);
    assert_true(fixture_mailbox(a, id).uidvalidity > before);
    for (int round = 0; round < 4; round++) {
        assert_rc(fixture_append(f, a, STR("new"), &how, &op), RC_OK);
        assert_int_equal(op.uid, 4 + round);
        assert_rc(fixture_flag(a, id, uid, STORE_FLAGS_ADD, STORE_SEEN), RC_OK);
        assert_rc(fixture_expunge(a, id, &uid, 1, &op), RC_OK);
        assert_int_equal(op.changed, 0);
        assert_int_equal(usage_of(a).messages, round + 1);
        if (round == 1)
            again(f, &a);
        if (round == 2)
            fixture_maintain(a);
        fixture_assert_sound(f, 1);
    }
    fixture_assert_rows(a, id, "4: 5: 6: 7:");
    assert_int_equal(count_rows(f, "u"), 4);
    /* Removed twice before anything was taken away. */
    assert_rc(fixture_remove(a, id), RC_OK);
    assert_int_equal(make(a, "x"), id);
    fill(f, a, id, 1);
    assert_rc(fixture_remove(a, id), RC_OK);
    assert_rc(fixture_remove(a, child), RC_OK);
    assert_int_equal(fixture_find(a, "x"), 0);
    fixture_maintain(a);
    assert_int_equal(count_rows(f, "u"), 0);
    assert_int_equal(count_rows(f, "m"), 6);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Copies elsewhere stay, whichever of the places were removed. */
static void copies_elsewhere_stay(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t x = make(a, "x"), y = make(a, "y"), uids[] = {1, 2, 3, 4};
    struct store_copy copy = {.from = 1, .to = x, .uids = uids, .n_uids = 4};
    fill(f, a, 1, 4);
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    copy.n_uids = 2;
    copy.to = y;
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    copy.from = copy.to = x;
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK); /* two places of one message in one mailbox */
    assert_rc(fixture_remove(a, x), RC_OK);
    /* Flags of a message are changed in its living places. */
    assert_rc(fixture_flag(a, 1, 1, STORE_FLAGS_ADD, STORE_SEEN), RC_OK);
    fixture_assert_rows(a, y, "1:S 2:");
    assert_rc(fixture_expunge(a, 1, uids + 2, 2, NULL), RC_OK); /* their last living place */
    fixture_assert_sound(f, 1);
    again(f, &a);
    assert_rc(fixture_flag(a, 1, 1, STORE_FLAGS_ADD, STORE_FLAGGED), RC_OK);
    fixture_maintain(a);
    fixture_assert_rows(a, 1, "1:SF 2:");
    fixture_assert_rows(a, y, "1:SF 2:");
    assert_int_equal(count_rows(f, "e"), 2);
    assert_int_equal(usage_of(a).messages, 4);
    f->clock.wall += WEEK + NS_PER_SEC;
    fixture_maintain(a);
    fixture_assert_body(a, 1, STR("text"));
    fixture_assert_body(a, 2, STR("text"));
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Many messages, some packed, some expunged before: taken away in bounded steps, each of which may
 * be the last one before a crash. */
static void a_large_one_goes_in_steps(void **state)
{
    enum { N = 1700 };
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t id = make(a, "x"), uids[STORE_BATCH], out[STORE_BATCH], steps = 0;
    struct store_copy move = {.from = 1, .to = id, .uids = uids, .is_move = true, .out_uids = out};
    struct store_reader *reader;
    struct store_message *m;
    fixture_append_many(f, a, N);
    for (uint32_t from = 0; from < N; from += STORE_BATCH) {
        move.n_uids = N - from < STORE_BATCH ? N - from : STORE_BATCH;
        for (uint32_t i = 0; i < move.n_uids; i++)
            uids[i] = from + i + 1;
        assert_rc(fixture_copy(a, &move, NULL), RC_OK);
    }
    fixture_maintain(a);
    for (uint32_t i = 0; i < 3; i++)
        uids[i] = 127 + i;
    assert_rc(fixture_expunge(a, id, uids, 3, NULL), RC_OK); /* hides packed rows */
    make(a, "x/child");
    assert_rc(store_reader_open(a, id, 0, &reader), RC_OK);
    assert_rc(fixture_remove(a, id), RC_OK);
    assert_int_equal(usage_of(a).messages, 0);
    assert_int_equal(make(a, "x"), id); /* lives on in the group where the old UIDs end */
    fill(f, a, id, 2);
    for (bool more = true; more; steps++) {
        assert_rc(store_maintain(a, &more), RC_OK);
        if (steps % 2) {
            fixture_assert_sound(f, 1);
            fixture_assert_rows(a, id, "1701: 1702:");
        }
        if (steps == 2) { /* whoever reads the mailbox as it was still can */
            assert_rc(store_reader_message(reader, 0, 0, &m), RC_OK);
            store_message_close(&m);
            assert_rc(store_reader_message(reader, 1600, 0, &m), RC_OK);
            store_message_close(&m);
            store_reader_close(&reader);
        }
        if (steps > 2)
            again(f, &a);
    }
    assert_true(steps >= 4);
    assert_int_equal(count_rows(f, "u"), 2);
    assert_int_equal(count_rows(f, "U"), 0);
    assert_int_equal(count_rows(f, "e"), 2);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Whoever makes and removes mailboxes all day leaves nothing in memory. */
static void memory_is_given_back(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t keep = make(a, "keep");
    for (int i = 0; i < 50; i++) {
        uint32_t id = make(a, "x");
        assert_rc(fixture_rename(a, keep, i % 2 ? "keep" : "kept"), RC_OK);
        assert_rc(fixture_remove(a, id), RC_OK);
    }
    assert_int_equal(a->n_mailboxes, 7);
    struct mailbox *m = mailbox_any(a, keep);
    assert_non_null(m->names);
    assert_null(m->names->next);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_tree_moves_with_one_record),
        ON_MEM(what_cannot_be_renamed),
        ON_MEM(a_shared_uidvalidity_is_changed),
        ON_BOTH(gone_at_once),
        ON_MEM(what_cannot_be_removed),
        ON_BOTH(made_again_under_the_same_id),
        ON_BOTH(copies_elsewhere_stay),
        ON_BOTH(a_large_one_goes_in_steps),
        ON_MEM(memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
