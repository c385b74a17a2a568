/* Summaries: kept with a message, found in few scans, gone with it. */
#include "store/fixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct str text_of(uint64_t email, char *mem, size_t size)
{
    int n = snprintf(mem, size, "summary of %llu", (unsigned long long)email);
    return str_from(mem, (size_t)n);
}

/* Lazy writes are queued behind each other; a commit that waits comes after them. */
static void settle(struct fixture *f)
{
    assert_rc(kv_commit_wait(f->kv, kv_txn_new((struct kv_part){KV_CACHE, 999}), NULL), RC_OK);
}

static uint64_t append(struct fixture *f, struct store_account *a, struct str summary)
{
    struct store_append how = {.summary = summary};
    struct store_op op;
    assert_rc(fixture_append(f, a, STR("text"), &how, &op), RC_OK);
    return op.email;
}

static void assert_summary(struct store_account *a, uint64_t email, const char *expected)
{
    struct arena arena;
    struct str found;
    arena_init(&arena, 0);
    assert_rc(store_summaries(a, &email, 1, 0, &arena, &found), RC_OK);
    if (expected)
        assert_true(str_eq(found, str_of(expected)));
    else
        assert_true(str_is_null(found));
    arena_fini(&arena);
}

static void kept_with_the_message(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1), *other = fixture_account(f, 2);
    char *large = mem_zero(STORE_SUMMARY_MAX + 1);
    memset(large, 'x', STORE_SUMMARY_MAX + 1);
    append(f, a, STR("one"));
    append(f, a, (struct str){0});
    append(f, a, STR(""));
    append(f, a, str_from(large, STORE_SUMMARY_MAX));
    append(f, a, str_from(large, STORE_SUMMARY_MAX + 1));
    append(f, other, STR("the other's"));
    settle(f);
    for (int round = 0; round < 2; round++) {
        assert_summary(a, 1, "one");
        assert_summary(a, 2, NULL);
        assert_summary(a, 3, "");
        assert_summary(a, 5, NULL);
        assert_summary(other, 1, "the other's");
        fixture_close(f, &a);
        fixture_close(f, &other);
        fixture_reopen(f);
        a = fixture_open(f, 1);
        other = fixture_open(f, 2);
    }
    large[STORE_SUMMARY_MAX] = 0;
    assert_summary(a, 4, large);
    assert_rc(store_summary_put(a, 2, str_from(large, STORE_SUMMARY_MAX + 1)), RC_LIMIT);
    assert_rc(store_summary_put(a, 2, STR("made later")), RC_OK);
    assert_rc(store_summary_put(a, 99, STR("nobody's")), RC_NOTFOUND);
    settle(f);
    assert_summary(a, 2, "made later");
    assert_summary(a, 99, NULL);
    free(large);
    fixture_close(f, &a);
    fixture_close(f, &other);
    fixture_assert_sound(f, 1);
}

/* Ids in any order, near and far, some without a text: what comes back is each one's own. */
static void each_finds_its_own(void **state)
{
    enum { N = 1500 };
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    char mem[64];
    struct str *out = mem_zero(STORE_SUMMARIES * sizeof *out);
    uint64_t *ids = mem_zero((STORE_SUMMARIES + 1) * sizeof *ids), seed = 7;
    struct arena arena;
    fixture_append_many(f, a, N);
    for (uint64_t id = 1; id <= N; id++)
        if (id % 5)
            assert_rc(store_summary_put(a, id, text_of(id, mem, sizeof mem)), RC_OK);
    settle(f);
    assert_rc(store_summaries(a, ids, STORE_SUMMARIES + 1, 0, NULL, out), RC_LIMIT);
    for (int round = 0; round < 60; round++) {
        size_t n = 0, most = round % 3 ? STORE_SUMMARIES : 10;
        for (uint64_t id = 1; n < most;) {
            seed = seed * 6364136223846793005U + 1442695040888963407U;
            uint64_t step = (seed >> 33) % (1 + (uint64_t)round);
            id = round < 20 ? id + 1 : 1 + (id + step) % (N + 10);
            ids[n++] = id;
        }
        arena_init(&arena, 0);
        assert_rc(store_summaries(a, ids, n, 0, &arena, out), RC_OK);
        for (size_t i = 0; i < n; i++) {
            bool is_there = ids[i] % 5 && ids[i] <= N;
            assert_int_equal(!str_is_null(out[i]), is_there);
            if (is_there)
                assert_true(str_eq(out[i], text_of(ids[i], mem, sizeof mem)));
        }
        arena_fini(&arena);
    }
    free(ids);
    free(out);
    fixture_close(f, &a);
}

static void neighbours_cost_one_scan(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint64_t ids[STORE_SUMMARIES];
    struct str out[STORE_SUMMARIES];
    struct kv_mem_stats before, after;
    struct arena arena;
    fixture_append_many(f, a, STORE_SUMMARIES);
    for (uint64_t i = 0; i < STORE_SUMMARIES; i++) {
        ids[i] = i + 1;
        assert_rc(store_summary_put(a, i + 1, STR("x")), RC_OK);
    }
    settle(f);
    arena_init(&arena, 0);
    kv_mem_stats(f->kv, &before);
    assert_rc(store_summaries(a, ids, STORE_SUMMARIES, KV_CACHED, &arena, out), RC_OK);
    kv_mem_stats(f->kv, &after);
    assert_int_equal(after.scans, before.scans + 1);
    assert_int_equal(after.keys_read, before.keys_read);
    kv_mem_cold(f->kv, true);
    assert_rc(store_summaries(a, ids, 10, KV_CACHED, &arena, out), RC_AGAIN);
    assert_rc(store_summaries(a, ids, 2, KV_CACHED, &arena, out), RC_AGAIN);
    assert_rc(store_summary_put(a, 1, STR("y")), RC_AGAIN);
    kv_mem_cold(f->kv, false);
    arena_fini(&arena);
    fixture_close(f, &a);
}

/* An id whose commit failed is given again: nothing may be kept under it. */
static void nothing_of_a_message_that_failed(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append how = {.summary = STR("of the first")};
    struct store_op op;
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(fixture_append(f, a, STR("text"), &how, &op), RC_FULL);
    assert_int_equal(append(f, a, (struct str){0}), 1);
    settle(f);
    assert_summary(a, 1, NULL);
    fixture_close(f, &a);
}

static void gone_with_the_last_place(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uid = 1;
    struct store_copy copy = {.from = 1, .to = 2, .uids = &uid, .n_uids = 1};
    append(f, a, STR("one"));
    append(f, a, STR("two"));
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    assert_rc(fixture_expunge(a, 1, &uid, 1, NULL), RC_OK);
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    assert_summary(a, 1, "one");
    assert_rc(fixture_expunge(a, 2, &uid, 1, NULL), RC_OK);
    assert_summary(a, 1, "one"); /* sessions may know it still */
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    assert_summary(a, 1, NULL);
    assert_summary(a, 2, "two");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
    /* An account that is made again under the same id has none of the old one's. */
    assert_rc(store_account_destroy(f->store, 1), RC_OK);
    a = fixture_account(f, 1);
    assert_int_equal(append(f, a, (struct str){0}), 1);
    assert_int_equal(append(f, a, (struct str){0}), 2);
    assert_summary(a, 2, NULL);
    fixture_close(f, &a);
}

static void damage_is_said(struct store_fsck *fsck, const char *line)
{
    assert_non_null(strstr(line, "a summary is damaged"));
}

static void fsck_sees_a_summary_of_nobody_yet(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_fsck fsck = {.report = damage_is_said};
    struct key key = key_email(2);
    key.b[0] = 'x';
    append(f, a, STR("one"));
    struct kv_txn *txn = kv_txn_new((struct kv_part){KV_CACHE, 1});
    assert_rc(kv_txn_put(txn, key_str(&key), STR("\1\0\0\0\0\0of the next")), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    fixture_close(f, &a);
    assert_rc(store_fsck(f->store, 1, &fsck), RC_CORRUPT);
    assert_int_equal(fsck.faults, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(kept_with_the_message),    ON_BOTH(each_finds_its_own),
        ON_MEM(neighbours_cost_one_scan),  ON_MEM(nothing_of_a_message_that_failed),
        ON_BOTH(gone_with_the_last_place), ON_MEM(fsck_sees_a_summary_of_nobody_yet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
