/* Several messages in one change [RFC3502]. */
#include "store/fixture.h"

#include <stdio.h>
#include <string.h>

enum { MAX = STORE_APPENDS + 1 };

/* Fills in what all have in common and waits. */
static enum rc append_many(struct fixture *f, struct store_account *a, struct store_append *appends,
                           size_t n, struct store_op *out)
{
    struct waiter w;
    for (size_t i = 0; i < n; i++) {
        char text[16];
        int len = snprintf(text, sizeof text, "text %zu", i);
        appends[i].blob = fixture_blob(f, a, str_from(text, (size_t)len));
        appends[i].size = (uint64_t)len;
    }
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_append_many(a, appends, n, 0, &w.op));
    for (size_t i = 0; i < n; i++)
        fixture_forget(f, appends[i].blob);
    *out = w.op;
    return rc;
}

static uint64_t thread_of(struct store_account *a, uint64_t email)
{
    struct attempt t = {.account = a};
    struct email e;
    arena_init(&t.arena, 0);
    assert_rc(head_email(&t, email, &e), RC_OK);
    arena_fini(&t.arena);
    return e.thread;
}

static void all_come_with_one_modseq(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct str keyword = STR("$Forwarded");
    struct store_append appends[3] = {{.flags = STORE_SEEN, .received = 5},
                                      {.keywords = &keyword, .n_keywords = 1},
                                      {.flags = 4}};
    struct store_op op;
    assert_rc(fixture_append(f, a, STR("x"), NULL, NULL), RC_OK);
    assert_rc(append_many(f, a, appends, 3, &op), RC_OK);
    assert_int_equal(op.uid, 2);
    assert_int_equal(op.changed, 3);
    assert_int_equal(op.uidvalidity, fixture_mailbox(a, 1).uidvalidity);
    for (int round = 0; round < 2; round++) {
        struct store_root *root;
        fixture_assert_rows(a, 1, "1: 2:S 3: 4:F");
        assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
        for (size_t i = 0; i < 3; i++) {
            const struct store_row *row = store_root_at(root, i + 1);
            assert_int_equal(row->modseq, op.modseq);
            assert_int_equal(row->email, op.email + i);
        }
        assert_int_equal(store_root_at(root, 1)->received, 5);
        assert_int_equal(store_root_at(root, 2)->keywords, 1);
        store_root_release(&root);
        fixture_close(f, &a);
        fixture_reopen(f);
        a = fixture_open(f, 1);
    }
    fixture_assert_body(a, op.email + 2, STR("text 2"));
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void all_or_none(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append appends[3] = {{0}};
    struct store_op op;
    /* The limit falls between the second and the third. */
    assert_rc(store_account_set_quota(a, (struct store_quota){.messages = 2}), RC_OK);
    assert_rc(append_many(f, a, appends, 3, &op), RC_LIMIT);
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = 17}), RC_OK);
    assert_rc(append_many(f, a, appends, 3, &op), RC_LIMIT);
    fixture_assert_rows(a, 1, "");
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = 18}), RC_FULL);
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = 18}), RC_OK);
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(append_many(f, a, appends, 3, &op), RC_FULL);
    fixture_assert_rows(a, 1, "");
    assert_rc(append_many(f, a, appends, 3, &op), RC_OK);
    fixture_assert_rows(a, 1, "1: 2: 3:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void what_cannot_be(void **state)
{
    static struct store_append appends[MAX];
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    assert_rc(append_many(f, a, appends, MAX, &op), RC_LIMIT);
    assert_rc(append_many(f, a, appends, MAX - 1, &op), RC_OK);
    assert_int_equal(op.changed, STORE_APPENDS);
    assert_rc(append_many(f, a, appends, 0, &op), RC_PERM);
    appends[1].mailbox = 2;
    assert_rc(append_many(f, a, appends, 2, &op), RC_PERM);
    appends[0].mailbox = 2;
    appends[1].delivery_id = STR("0123456789abcdef");
    assert_rc(append_many(f, a, appends, 2, &op), RC_PERM);
    memset(appends, 0, sizeof appends);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Messages of one change find each other as those of several do. */
static void threads_within_a_change(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct str first = STR("1@x"), old[] = {STR("1@x"), STR("old@x")};
    struct store_append before = {.message_id = STR("old@x")};
    struct store_append appends[] = {
        {.message_id = STR("2@x"), .references = &first, .n_references = 1}, /* comes later */
        {.message_id = STR("1@x")},
        {.message_id = STR("3@x"), .references = &first, .n_references = 1},
        {.message_id = STR("1@x")},                                       /* the same again */
        {.message_id = STR("4@x"), .references = old, .n_references = 2}, /* the nearest is old */
        {.references = &first, .n_references = 1},
    };
    struct store_op op, alone;
    assert_rc(fixture_append(f, a, STR("x"), &before, &alone), RC_OK);
    assert_rc(append_many(f, a, appends, 6, &op), RC_OK);
    uint64_t thread = thread_of(a, op.email + 1);
    assert_true(thread_of(a, op.email) != thread);
    assert_int_equal(thread_of(a, op.email + 2), thread);
    assert_int_equal(thread_of(a, op.email + 3), thread);
    assert_int_equal(thread_of(a, op.email + 4), thread_of(a, alone.email));
    assert_int_equal(thread_of(a, op.email + 5), thread);
    struct store_append later = {.message_id = STR("5@x"), .references = &first, .n_references = 1};
    assert_rc(fixture_append(f, a, STR("x"), &later, &alone), RC_OK);
    assert_int_equal(thread_of(a, alone.email), thread);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* --- instead of another one [RFC8508 3.4] ------------------------------------------------------
 */

static enum rc replace(struct fixture *f, struct store_account *a, struct str text, uint32_t uid,
                       uint32_t to, struct store_op *out)
{
    const struct store_append how = {.mailbox = to,
                                     .replaced_mailbox = 1,
                                     .replaced_uid = uid,
                                     .message_id = STR("draft@x"),
                                     .flags = STORE_DRAFT};
    return fixture_append(f, a, text, &how, out);
}

/* One change: no root has both of them or none. */
static void one_for_another(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append draft = {.message_id = STR("draft@x")};
    struct store_op first, second, third;
    struct store_root *before, *after;
    assert_rc(fixture_append(f, a, STR("other"), NULL, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("draft"), &draft, &first), RC_OK);
    uint64_t thread = thread_of(a, first.email);
    assert_rc(store_mailbox_open(a, 1, 0, &before), RC_OK);
    assert_rc(replace(f, a, STR("the second"), 2, 1, &second), RC_OK);
    assert_int_equal(second.uid, 3);
    assert_int_equal(second.changed, 1);
    assert_true(second.email != first.email);
    assert_int_equal(thread_of(a, second.email), thread); /* of the same message id */
    assert_rc(store_mailbox_open(a, 1, 0, &after), RC_OK);
    assert_int_equal(store_root_count(before), 2);
    assert_int_equal(store_root_count(after), 2);
    assert_int_equal(store_root_at(after, 1)->modseq, second.modseq);
    store_root_release(&before);
    store_root_release(&after);
    fixture_assert_rows(a, 1, "1: 3:R");
    uint32_t sent = 0;
    struct store_op made;
    assert_rc(fixture_create(a, "Outgoing", STORE_NONE, &made), RC_OK);
    sent = made.mailbox;
    assert_rc(replace(f, a, STR("the third"), 3, sent, &third), RC_OK);
    for (int round = 0; round < 2; round++) {
        fixture_assert_rows(a, 1, "1:");
        fixture_assert_rows(a, sent, "1:R");
        fixture_close(f, &a);
        fixture_reopen(f);
        a = fixture_open(f, 1);
    }
    fixture_assert_body(a, third.email, STR("the third"));
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void neither_when_it_cannot_be(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    assert_rc(fixture_append(f, a, STR("12345"), NULL, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("12345"), NULL, NULL), RC_OK);
    assert_rc(replace(f, a, STR("x"), 7, 1, &op), RC_PERM); /* gone */
    assert_rc(replace(f, a, STR("x"), 1, 9, &op), RC_NOTFOUND);
    const struct store_append of_no_mailbox = {
        .mailbox = 1, .replaced_mailbox = 9, .replaced_uid = 1};
    assert_rc(fixture_append(f, a, STR("x"), &of_no_mailbox, &op), RC_PERM);
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(replace(f, a, STR("x"), 1, 1, &op), RC_FULL);
    fixture_assert_rows(a, 1, "1: 2:");
    /* Only the difference counts: what is full has room for one that is no larger. */
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = 10, .messages = 2}), RC_OK);
    assert_rc(replace(f, a, STR("123456"), 1, 1, &op), RC_LIMIT);
    fixture_assert_rows(a, 1, "1: 2:");
    assert_rc(replace(f, a, STR("54321"), 1, 1, &op), RC_OK);
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = 5, .messages = 1}), RC_OK);
    assert_rc(replace(f, a, STR("4321"), 3, 1, &op), RC_OK);
    fixture_assert_rows(a, 1, "2: 4:R");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(all_come_with_one_modseq),
        ON_MEM(all_or_none),
        ON_MEM(what_cannot_be),
        ON_BOTH(threads_within_a_change),
        ON_BOTH(one_for_another),
        ON_MEM(neither_when_it_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
