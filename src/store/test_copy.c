/* Copying and moving [RFC3501 6.4.7] [RFC9051 6.4.7] [RFC6851]. */
#include "store/fixture.h"

#include <string.h>

enum { INBOX = 1, DRAFTS, SENT };

static struct store_copy copy_of(uint32_t from, uint32_t to, const uint32_t *uids, size_t n)
{
    return (struct store_copy){.from = from, .to = to, .uids = uids, .n_uids = n};
}

static struct store_usage usage_of(struct store_account *a)
{
    struct store_usage usage;
    store_account_usage(a, &usage);
    return usage;
}

static void a_copy_is_the_same_message(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct str keyword = STR("work");
    struct store_append how = {.flags = STORE_SEEN | STORE_DELETED | STORE_UNENDED,
                               .keywords = &keyword,
                               .n_keywords = 1,
                               .received = 77};
    uint32_t uids[] = {1, 2, 9}, out[3];
    struct store_copy copy = copy_of(INBOX, SENT, uids, 3);
    struct store_root *before, *root;
    struct store_op op;
    copy.out_uids = out;
    assert_rc(fixture_append(f, a, STR("one"), &how, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("three"), NULL, NULL), RC_OK);
    assert_rc(store_mailbox_open(a, INBOX, 0, &before), RC_OK);
    uint64_t modseq = fixture_mailbox(a, INBOX).highest_modseq;
    assert_rc(fixture_copy(a, &copy, &op), RC_OK);
    assert_int_equal(op.changed, 2);
    assert_int_equal(op.uid, 1);
    assert_int_equal(op.uidvalidity, fixture_mailbox(a, SENT).uidvalidity);
    assert_true(out[0] == 1 && out[1] == 2);
    assert_int_equal(fixture_mailbox(a, INBOX).highest_modseq, modseq); /* nothing to see there */
    assert_int_equal(fixture_mailbox(a, SENT).highest_modseq, op.modseq);
    assert_int_equal(usage_of(a).messages, 4);
    assert_int_equal(usage_of(a).bytes, 16);
    assert_rc(store_mailbox_open(a, INBOX, 0, &root), RC_OK);
    struct store_diff d;
    size_t i, j;
    const struct store_row *row;
    uint64_t email = store_root_at(before, 0)->email;
    store_diff_begin(&d, before, root);
    assert_int_equal(store_diff_next(&d, &i, &j, &row), STORE_DIFF_END);
    store_root_release(&root);
    for (int round = 0; round < 2; round++) {
        assert_rc(store_mailbox_open(a, SENT, 0, &root), RC_OK);
        assert_int_equal(store_root_count(root), 2);
        row = store_root_at(root, 0);
        assert_int_equal(row->flags & (ROW_FLAGS | STORE_UNENDED), how.flags);
        assert_int_equal(row->keywords, 1);
        assert_int_equal(row->email, email);
        assert_int_equal(row->received, 77);
        assert_int_equal(row->modseq, op.modseq);
        store_root_release(&root);
        fixture_assert_sound(f, 1);
        fixture_close(f, &a);
        if (round == 0) {
            store_root_release(&before);
            fixture_reopen(f);
            a = fixture_open(f, 1);
        }
    }
}

static void each_place_goes_by_itself(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uid = 1;
    struct store_copy copy = copy_of(INBOX, SENT, &uid, 1);
    struct store_op op;
    assert_rc(fixture_append(f, a, STR("text"), NULL, &op), RC_OK);
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    assert_rc(fixture_expunge(a, INBOX, &uid, 1, NULL), RC_OK);
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    fixture_assert_body(a, op.email, STR("text"));
    assert_int_equal(usage_of(a).messages, 1);
    assert_rc(fixture_expunge(a, SENT, &uid, 1, NULL), RC_OK);
    assert_int_equal(usage_of(a).messages, 0);
    fixture_assert_sound(f, 1);
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    fixture_assert_sound(f, 1);
    struct store_message *m;
    assert_rc(store_message_open(a, op.email, 0, &m), RC_NOTFOUND);
    fixture_close(f, &a);
}

static void within_one_mailbox(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[] = {1, 2, 3, 4};
    struct store_copy copy = copy_of(INBOX, INBOX, uids, 2);
    fixture_append_many(f, a, 2);
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    fixture_assert_rows(a, INBOX, "1: 2: 3: 4:");
    assert_rc(fixture_flag(a, INBOX, 3, STORE_FLAGS_ADD, STORE_SEEN), RC_OK);
    fixture_assert_rows(a, INBOX, "1:S 2: 3:S 4:");
    copy.n_uids = 4; /* two places of one message in one change */
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    fixture_assert_rows(a, INBOX, "1:S 2: 3:S 4: 5:S 6: 7:S 8:");
    copy.is_move = true;
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    fixture_assert_rows(a, INBOX, "5:S 6: 7:S 8: 9:S 10: 11:S 12:");
    assert_int_equal(usage_of(a).messages, 8);
    assert_int_equal(fixture_mailbox(a, INBOX).unseen, 4);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* [RFC6851 3.3] [RFC9051 6.4.8] */
static void a_move_is_one_change(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[] = {1, 3, 700}, *vanished, out[3];
    struct store_copy move = copy_of(INBOX, DRAFTS, uids, 3);
    struct store_reader *reader;
    struct store_message *m;
    struct store_root *root;
    struct arena arena;
    struct store_op op;
    size_t n;
    fixture_append_many(f, a, 800);
    fixture_maintain(a); /* some rows are packed */
    assert_rc(store_reader_open(a, INBOX, 0, &reader), RC_OK);
    uint64_t email = store_root_at(store_reader_root(reader), 2)->email;
    move.is_move = true;
    move.out_uids = out;
    assert_rc(store_account_set_quota(a, (struct store_quota){.messages = 800}), RC_OK);
    assert_rc(fixture_copy(a, &move, &op), RC_OK);
    assert_int_equal(op.changed, 3);
    assert_memory_equal(out, uids, sizeof uids);
    assert_int_equal(usage_of(a).messages, 800);
    assert_int_equal(fixture_mailbox(a, INBOX).exists, 797);
    assert_int_equal(fixture_mailbox(a, INBOX).highest_modseq, op.modseq);
    assert_int_equal(fixture_mailbox(a, DRAFTS).exists, 3);
    arena_init(&arena, 0);
    assert_rc(store_vanished(a, INBOX, op.modseq - 1, &arena, &vanished, &n), RC_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(vanished, uids, sizeof uids);
    arena_fini(&arena);
    /* Whoever reads the mailbox as it was finds it still. */
    assert_rc(store_reader_message(reader, 2, 0, &m), RC_OK);
    store_message_close(&m);
    store_reader_close(&reader);
    assert_rc(fixture_copy(a, &move, &op), RC_OK); /* gone */
    assert_int_equal(op.changed, 0);
    assert_int_equal(op.modseq, 0);
    fixture_assert_sound(f, 1);
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    assert_rc(store_mailbox_open(a, DRAFTS, 0, &root), RC_OK);
    assert_int_equal(store_root_at(root, 1)->email, email);
    assert_int_equal(store_root_at(root, 1)->flags, 0); /* still one place: not shared */
    store_root_release(&root);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void limits_of_copies(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[STORE_BATCH + 1] = {1};
    struct store_copy copy = copy_of(INBOX, SENT, uids, 1);
    fixture_append_many(f, a, 2);
    assert_rc(store_account_set_quota(a, (struct store_quota){.messages = 3}), RC_OK);
    uids[1] = 2;
    copy.n_uids = 2;
    assert_rc(fixture_copy(a, &copy, NULL), RC_LIMIT);
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = 3}), RC_OK);
    assert_rc(fixture_copy(a, &copy, NULL), RC_LIMIT);
    assert_rc(store_account_set_quota(a, (struct store_quota){0}), RC_OK);
    copy.n_uids = 1;
    for (int i = 1; i < RECORD_COPIES; i++)
        assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    assert_rc(fixture_copy(a, &copy, NULL), RC_LIMIT);
    copy.is_move = true;
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    assert_int_equal(fixture_mailbox(a, SENT).exists, RECORD_COPIES);
    copy.to = 99;
    assert_rc(fixture_copy(a, &copy, NULL), RC_NOTFOUND);
    copy.to = SENT;
    copy.n_uids = STORE_BATCH + 1;
    assert_rc(fixture_copy(a, &copy, NULL), RC_LIMIT);
    uids[1] = 1;
    copy.n_uids = 2;
    assert_rc(fixture_copy(a, &copy, NULL), RC_PERM);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void a_full_batch(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[STORE_BATCH];
    struct store_copy copy = copy_of(INBOX, SENT, uids, STORE_BATCH);
    struct store_op op;
    for (uint32_t i = 0; i < STORE_BATCH; i++)
        uids[i] = i + 1;
    fixture_append_many(f, a, STORE_BATCH);
    assert_rc(fixture_copy(a, &copy, &op), RC_OK);
    assert_int_equal(op.changed, STORE_BATCH);
    copy.is_move = true;
    assert_rc(fixture_copy(a, &copy, &op), RC_OK);
    assert_int_equal(op.uid, STORE_BATCH + 1);
    assert_int_equal(fixture_mailbox(a, INBOX).exists, 0);
    assert_int_equal(fixture_mailbox(a, SENT).exists, 2 * STORE_BATCH);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* A failed commit leaves both mailboxes as they were [RFC6851 3.3] [RFC9051 6.4.8]. */
static void a_failed_move_moves_nothing(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uids[] = {1, 2};
    struct store_copy move = copy_of(INBOX, SENT, uids, 2);
    move.is_move = true;
    fixture_append_many(f, a, 2);
    fixture_assert_rows(a, SENT, "");
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(fixture_copy(a, &move, NULL), RC_FULL);
    fixture_assert_rows(a, INBOX, "1: 2:");
    fixture_assert_rows(a, SENT, "");
    assert_rc(fixture_copy(a, &move, NULL), RC_OK);
    fixture_assert_rows(a, INBOX, "");
    fixture_assert_rows(a, SENT, "1: 2:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_copy_is_the_same_message),
        ON_BOTH(each_place_goes_by_itself),
        ON_MEM(within_one_mailbox),
        ON_BOTH(a_move_is_one_change),
        ON_MEM(limits_of_copies),
        ON_BOTH(a_full_batch),
        ON_MEM(a_failed_move_moves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
