/* What was collected is found again when its days are over, and not before. */
#include "store/fixture.h"

#define DAY (86400 * NS_PER_SEC)

static enum rc note(struct store_account *a, const uint32_t *uids, size_t n, uint32_t *out_new)
{
    struct waiter w;
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_collected_note(a, 1, uids, n, 0, &w.op));
    *out_new = w.op.changed;
    return rc;
}

static uint64_t expire(struct store_account *a, uint64_t age)
{
    uint64_t n = 0;
    bool more = true;
    while (more)
        assert_rc(store_collected_expire(a, age, &n, &more), RC_OK);
    return n;
}

static void the_first_time_counts(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t all[] = {1, 2, 3, 4, 5}, two[] = {2, 4}, gone = 4, n;
    fixture_append_many(f, a, 6);
    uint64_t modseq = fixture_mailbox(a, 1).highest_modseq;
    assert_rc(note(a, two, 2, &n), RC_OK);
    assert_int_equal(n, 2);
    f->clock.wall += DAY;
    assert_rc(note(a, all, 5, &n), RC_OK); /* 2 and 4 keep their time */
    assert_int_equal(n, 3);
    assert_rc(note(a, all, 5, &n), RC_OK);
    assert_int_equal(n, 0);
    assert_int_equal(fixture_mailbox(a, 1).highest_modseq, modseq); /* nobody is told */
    assert_int_equal(expire(a, 2 * DAY), 0);
    assert_rc(fixture_expunge(a, 1, &gone, 1, NULL), RC_OK);
    f->clock.wall += DAY;
    assert_int_equal(expire(a, 2 * DAY), 1); /* 2; somebody else was faster with 4 */
    fixture_assert_rows(a, 1, "1: 3: 5: 6:");
    fixture_close(f, &a);
    fixture_reopen(f); /* and it is on the disk */
    a = fixture_open(f, 1);
    f->clock.wall += DAY;
    assert_int_equal(expire(a, 2 * DAY), 3);
    fixture_assert_rows(a, 1, "6:");
    assert_int_equal(expire(a, 0), 0);
    fixture_maintain(a);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void bad_lists_are_refused(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    static uint32_t many[STORE_BATCH + 1];
    uint32_t wrong[] = {2, 2}, n;
    assert_rc(note(a, wrong, 2, &n), RC_PERM);
    assert_rc(note(a, many, STORE_BATCH + 1, &n), RC_LIMIT);
    assert_rc(note(a, NULL, 0, &n), RC_OK);
    fixture_close(f, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(the_first_time_counts),
        ON_MEM(bad_lists_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
