/* Heads and shards that are damaged: it is said, at once and as what it is, and waited for no more.
 */
#include "rados/fixture.h"

#include <stdio.h>

enum { HEAD_ROWS = 30, SHARD_ROWS = 60, ROWS = 200 };

static const struct kv_part part = {KV_ACCOUNT, 7};

static void write_row(struct kv *kv, const char *object, struct str key, struct str value)
{
    struct link_call *call = link_call_new(rad_of(kv)->link, LINK_INDEX, object);
    if (value.n)
        link_write_row(call, key, value);
    else
        link_write_row_remove(call, key);
    assert_int_equal(link_write_wait(call, 0), LINK_OK);
    link_call_free(&call);
}

static enum rc get_rc(struct fixture *f, struct str key)
{
    struct str value;
    return kv_get(f->kv, part, &key, 1, 0, &f->arena, &value, NULL);
}

static void damage_head(struct fixture *f, struct str key, struct str value)
{
    char object[RAD_OBJECT];
    fixture_put(f->kv, part, STR("k"), STR("v"));
    rad_name_head(object, part);
    write_row(f->kv, object, key, value);
    fixture_reopen(f);
}

static void a_damaged_head_is_an_error(void **state)
{
    struct fixture *f = *state;
    damage_head(f, STR("rz"), STR("\7"));
    assert_rc(get_rc(f, STR("k")), RC_CORRUPT);
    assert_rc(kv_commit_wait(f->kv, kv_txn_new(part), NULL), RC_CORRUPT);
}

/* An operation on it would be refused for ever. */
static void a_head_without_a_state_is_an_error(void **state)
{
    struct fixture *f = *state;
    damage_head(f, RAD_STATE_KEY, STR(""));
    assert_rc(get_rc(f, STR("k")), RC_CORRUPT);
    assert_rc(kv_commit_wait(f->kv, kv_txn_new(part), NULL), RC_CORRUPT);
}

static struct str key_at(char to[8], unsigned n)
{
    return str_from(to, (size_t)snprintf(to, 8, "%06u", n));
}

static void make_shards(struct fixture *f)
{
    char key[8];
    f->conf.head_rows = HEAD_ROWS;
    f->conf.shard_rows = SHARD_ROWS;
    fixture_reopen(f);
    for (unsigned n = 0; n < ROWS; n += 10) {
        struct kv_txn *txn = kv_txn_new(part);
        for (unsigned i = n; i < n + 10; i++)
            assert_rc(kv_txn_put(txn, key_at(key, i), STR("v")), RC_OK);
        assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    }
    fixture_reopen(f);
    assert_int_equal(fixture_count(f, f->kv, part), ROWS);
}

static void a_damaged_row_of_a_shard_is_an_error_of_those_who_need_it(void **state)
{
    struct fixture *f = *state;
    char object[RAD_OBJECT], omap_key[16] = "r", key[8];
    make_shards(f);
    struct rad_part *p = rad_part_get(rad_of(f->kv), part);
    assert_true(p->head.shards.n > 1);
    rad_name_shard(object, part, p->head.shards.shard[0].number);
    rad_part_put(p);
    key_at(omap_key + 1, 0);
    write_row(f->kv, object, str_from(omap_key, 7), STR("\7"));
    fixture_reopen(f);
    assert_rc(get_rc(f, key_at(key, 0)), RC_CORRUPT);
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_assert_value(txn, key_at(key, 0), STR("v")), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_CORRUPT);
    assert_rc(get_rc(f, key_at(key, ROWS - 1)), RC_OK);
    fixture_put(f->kv, part, key_at(key, 0), STR("w")); /* needs nothing of it */
    fixture_check(f, f->kv, part, key_at(key, 0), STR("w"));
}

/* The head grows then; whoever commits does not wait for a fold that cannot be. */
static void commits_go_on_when_a_shard_is_lost(void **state)
{
    struct fixture *f = *state;
    char object[RAD_OBJECT], key[8];
    make_shards(f);
    struct rad_part *p = rad_part_get(rad_of(f->kv), part);
    rad_name_shard(object, part, p->head.shards.shard[0].number);
    rad_part_put(p);
    struct link_call *call = link_call_new(rad_of(f->kv)->link, LINK_INDEX, object);
    link_write_remove(call);
    assert_int_equal(link_write_wait(call, 0), LINK_OK);
    link_call_free(&call);
    for (unsigned round = 0; round < 2; round++) {
        fixture_reopen(f);
        for (unsigned n = 0; n < 2 * ROWS; n++)
            fixture_put(f->kv, part, key_at(key, n / 2), STR("w"));
        fixture_check(f, f->kv, part, key_at(key, 0), STR("w"));
    }
    assert_true(fixture_version(f->kv, part) > 4 * ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(a_damaged_head_is_an_error),
        fixture_test(a_head_without_a_state_is_an_error),
        fixture_test(a_damaged_row_of_a_shard_is_an_error_of_those_who_need_it),
        fixture_test(commits_go_on_when_a_shard_is_lost),
    };
    return fixture_run(tests);
}
