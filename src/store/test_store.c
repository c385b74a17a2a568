/* The mail model, on both back ends: what goes in comes out, with its numbers. */
#include "store/fixture.h"

static void a_new_account_has_the_standard_mailboxes(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = NULL;
    assert_rc(store_account_open(f->store, 7, 0, &a), RC_NOTFOUND);
    assert_null(a);
    a = fixture_account(f, 7);
    assert_rc(store_account_create(f->store, 7, (struct store_quota){0}), RC_EXISTS);
    struct arena arena;
    struct store_mailbox *list;
    size_t n;
    arena_init(&arena, 0);
    assert_rc(store_mailbox_list(a, &arena, &list, &n), RC_OK);
    assert_int_equal(n, 6);
    assert_str(list[0].name, "INBOX");
    assert_int_equal(list[0].role, STORE_INBOX);
    assert_str(list[3].name, "Junk");
    assert_int_equal(list[3].role, STORE_JUNK);
    assert_int_equal(list[0].uidnext, 1);
    assert_int_equal(list[0].uidvalidity, 1800000000);
    uint32_t id;
    assert_rc(store_mailbox_by_role(a, STORE_TRASH, &id), RC_OK);
    assert_str(list[id - 1].name, "Trash");
    arena_fini(&arena);
    fixture_close(f, &a);
}

static void a_message_comes_out_as_it_went_in(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    struct str text = STR("Subject: one\r\n\r\nHello\r\n");
    assert_rc(fixture_append(f, a, text, NULL, &op), RC_OK);
    assert_int_equal(op.uid, 1);
    assert_int_equal(op.uidvalidity, 1800000000);
    uint64_t first = op.email;
    assert_rc(fixture_append(f, a, STR("two"), &(struct store_append){.flags = STORE_SEEN}, &op),
              RC_OK);
    assert_int_equal(op.uid, 2);
    assert_true(op.email > first);
    fixture_assert_rows(a, 1, "1: 2:S");
    assert_rc(fixture_append(f, a, STR("three"), NULL, &op), RC_OK);
    for (int i = 0; i < 2; i++) {
        fixture_assert_rows(a, 1, "1: 2:S 3:");
        fixture_assert_body(a, first, text);
        fixture_assert_body(a, op.email, STR("three"));
        struct store_mailbox m = fixture_mailbox(a, 1);
        assert_int_equal(m.exists, 3);
        assert_int_equal(m.unseen, 2);
        assert_int_equal(m.uidnext, 4);
        assert_int_equal(m.bytes, text.n + 8);
        assert_int_equal(m.highest_modseq, op.modseq);
        struct store_usage usage;
        store_account_usage(a, &usage);
        assert_int_equal(usage.messages, 3);
        assert_int_equal(usage.bytes, text.n + 8);
        assert_int_equal(usage.modseq, op.modseq);
        fixture_close(f, &a);
        fixture_reopen(f);
        a = fixture_open(f, 1);
    }
    fixture_close(f, &a);
}

static void expunged_messages_go(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    for (int i = 0; i < 5; i++)
        assert_rc(fixture_append(f, a, STR("12345"), NULL, &op), RC_OK);
    uint32_t uids[] = {2, 4, 9};
    assert_rc(fixture_flag(a, 1, 2, STORE_FLAGS_ADD, STORE_DELETED | STORE_SEEN), RC_OK);
    fixture_assert_rows(a, 1, "1: 2:SD 3: 4: 5:");
    assert_rc(fixture_expunge(a, 1, uids, 3, &op), RC_OK);
    assert_int_equal(op.changed, 2);
    fixture_assert_rows(a, 1, "1: 3: 5:");
    assert_rc(fixture_append(f, a, STR("6"), NULL, NULL), RC_OK);
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    fixture_assert_rows(a, 1, "1: 3: 5: 6:");
    struct store_mailbox m = fixture_mailbox(a, 1);
    assert_int_equal(m.exists, 4);
    assert_int_equal(m.unseen, 4);
    assert_int_equal(m.bytes, 16);
    fixture_close(f, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_new_account_has_the_standard_mailboxes),
        ON_BOTH(a_message_comes_out_as_it_went_in),
        ON_BOTH(expunged_messages_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
