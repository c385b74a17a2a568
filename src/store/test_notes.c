/* Notes: they come with the message or not at all, and are checked against all that is queued. */
#include "store/fixture.h"

static enum rc put(struct store_account *a, const struct store_note *notes, size_t n)
{
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_notes_put(a, notes, n, 0, &w.op));
}

static void assert_note(struct store_account *a, struct str key, struct str expected)
{
    struct arena arena = {0};
    struct str value;
    assert_rc(store_notes_get(a, &key, 1, &arena, &value), RC_OK);
    assert_int_equal(str_is_null(value), str_is_null(expected));
    assert_true(str_eq(value, expected));
    arena_fini(&arena);
}

static void come_with_a_message_once(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    const struct store_note note = {.key = STR("rA"), .value = STR("one"), .is_checked = true};
    const struct store_append how = {.notes = &note, .n_notes = 1};
    struct store_op op;
    assert_rc(fixture_append(f, a, STR("x"), &how, &op), RC_OK);
    assert_rc(fixture_append(f, a, STR("x"), &how, &op), RC_EXISTS);
    assert_int_equal(fixture_mailbox(a, 1).exists, 1);
    assert_note(a, STR("rA"), STR("one"));
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    assert_rc(fixture_append(f, a, STR("x"), &how, &op), RC_EXISTS);
    assert_note(a, STR("rA"), STR("one"));
    fixture_assert_sound(f, 1);
}

/* Two appends with the same note, one queued behind the other: the second one sees the first. */
static void are_checked_against_the_head(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    const struct store_note note = {.key = STR("rA"), .value = STR("one"), .is_checked = true};
    struct kv_blob_id blob = fixture_blob(f, a, STR("x"));
    const struct store_append append = {
        .blob = blob, .size = 1, .received = 1, .notes = &note, .n_notes = 1};
    struct waiter w;
    waiter_init(&w);
    enum rc first = store_append(a, &append, 0, &w.op);
    struct store_op never = {0};
    assert_rc(store_append(a, &append, 0, &never), RC_EXISTS);
    assert_rc(waiter_wait(&w, first), RC_OK);
    fixture_forget(f, blob);
}

static void follow_one_another(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_note note = {.key = STR("rU"), .value = STR("5"), .is_checked = true};
    assert_rc(put(a, &note, 1), RC_OK);
    note.value = STR("9");
    assert_rc(put(a, &note, 1), RC_EXISTS);
    note.before = STR("5");
    assert_rc(put(a, &note, 1), RC_OK);
    assert_note(a, STR("rU"), STR("9"));
    note = (struct store_note){.key = STR("rU")};
    assert_rc(put(a, &note, 1), RC_OK);
    assert_note(a, STR("rU"), (struct str){0});
}

static void are_listed_by_their_beginning(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    const struct store_note notes[] = {{.key = STR("qz"), .value = STR("0")},
                                       {.key = STR("ra1"), .value = STR("1")},
                                       {.key = STR("ra2"), .value = STR("2")},
                                       {.key = STR("rb1"), .value = STR("3")}};
    struct arena arena = {0};
    struct kv_page page;
    assert_rc(put(a, notes, 4), RC_OK);
    assert_rc(store_notes_list(a, STR("ra"), (struct str){0}, &arena, &page), RC_OK);
    assert_int_equal(page.n, 2);
    assert_true(str_eq(page.rows[0].key, STR("ra1")) && str_eq(page.rows[1].value, STR("2")));
    assert_rc(store_notes_list(a, STR("ra"), STR("ra1"), &arena, &page), RC_OK);
    assert_int_equal(page.n, 1);
    arena_fini(&arena);
}

static void of_bad_lengths_are_refused(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    char text[STORE_NOTE_VALUE + 1] = "";
    struct store_note note = {.key = str_from(text, STORE_NOTE_KEY + 1), .value = STR("1")};
    assert_rc(put(a, &note, 1), RC_PERM);
    note = (struct store_note){.key = STR(""), .value = STR("1")};
    assert_rc(put(a, &note, 1), RC_PERM);
    note = (struct store_note){.key = STR("r"), .value = str_from(text, sizeof text)};
    assert_rc(put(a, &note, 1), RC_PERM);
    note = (struct store_note){.key = str_from(text, STORE_NOTE_KEY),
                               .value = str_from(text, STORE_NOTE_VALUE)};
    assert_rc(put(a, &note, 1), RC_OK);
    assert_rc(put(a, &note, STORE_NOTES + 1), RC_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(come_with_a_message_once),  ON_BOTH(are_checked_against_the_head),
        ON_MEM(follow_one_another),         ON_BOTH(are_listed_by_their_beginning),
        ON_MEM(of_bad_lengths_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
