#include "auth/auth_int.h"

#include "base/test.h"

#include <stdio.h>

struct home {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
};

static const struct auth_conf cheap = {.hash_ops = 1, .hash_memory = 8192, .cache_entries = 64};

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    home = (struct home){.ctx = {.counters = &home.counters, .clock = &clock_system}};
    home.kv = kv_mem_new(&home.ctx);
    assert_rc(auth_open(&home.ctx, home.kv, &cheap, &home.auth), RC_OK);
    *state = &home;
    return 0;
}

static int tear_down(void **state)
{
    struct home *h = *state;
    auth_close(&h->auth);
    kv_close(&h->kv);
    return 0;
}

static uint64_t add(struct home *h, const char *address)
{
    uint64_t id;
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, str_of(address), STR("secret")), RC_OK);
    return id;
}

/* The one account that an address leads to. */
struct target {
    uint64_t account;
};

static enum rc resolve(struct auth *auth, struct str address, unsigned flags, struct target *out)
{
    struct arena arena = {0};
    struct auth_targets targets;
    enum rc rc = auth_resolve(auth, address, flags, &arena, &targets);
    if (rc == RC_OK) {
        assert_int_equal(targets.n, 1);
        out->account = targets.accounts[0];
    }
    arena_fini(&arena);
    return rc;
}

static uint64_t commits(struct home *h)
{
    struct kv_mem_stats stats;
    kv_mem_stats(h->kv, &stats);
    return stats.commits;
}

static uint64_t keys_read(struct home *h)
{
    struct kv_mem_stats stats;
    kv_mem_stats(h->kv, &stats);
    return stats.keys_read;
}

static void an_account_is_found_by_its_address(void **state)
{
    struct home *h = *state;
    struct target t;
    assert_rc(auth_domain_add(h->auth, STR("Example.Test")), RC_OK);
    uint64_t alice = add(h, "Alice@example.TEST"), bob = add(h, "bob@example.test");
    assert_true(alice != bob);
    assert_rc(resolve(h->auth, STR("ALICE@EXAMPLE.TEST"), 0, &t), RC_OK);
    assert_int_equal(t.account, alice);
    assert_rc(resolve(h->auth, STR("\"bob\"@example.test"), 0, &t), RC_OK);
    assert_int_equal(t.account, bob);
    assert_rc(resolve(h->auth, STR("carol@example.test"), 0, &t), RC_NOTFOUND);
    assert_rc(resolve(h->auth, STR("\"a b\"@example.test"), 0, &t), RC_NOTFOUND);
    assert_rc(resolve(h->auth, STR("alice@elsewhere.test"), 0, &t), RC_DENIED);
    assert_rc(resolve(h->auth, STR("alice"), 0, &t), RC_SYNTAX);
}

static void the_cache_answers_without_the_store(void **state)
{
    struct home *h = *state;
    struct target t;
    assert_rc(auth_domain_add(h->auth, STR("a.test")), RC_OK);
    uint64_t id = add(h, "x@a.test");
    kv_mem_cold(h->kv, true);
    assert_rc(resolve(h->auth, STR("x@a.test"), KV_CACHED, &t), RC_AGAIN);
    assert_rc(resolve(h->auth, STR("x@a.test"), 0, &t), RC_OK);
    assert_rc(resolve(h->auth, STR("y@a.test"), 0, &t), RC_NOTFOUND);
    uint64_t before = keys_read(h);
    for (int i = 0; i < 100; i++) {
        assert_rc(resolve(h->auth, STR("x@a.test"), KV_CACHED, &t), RC_OK);
        assert_int_equal(t.account, id);
        assert_rc(resolve(h->auth, STR("y@a.test"), KV_CACHED, &t), RC_NOTFOUND);
    }
    assert_int_equal(keys_read(h), before);
    /* A change is seen by the very next call, an answer that somebody is unknown included. */
    uint64_t y = add(h, "y@a.test");
    assert_rc(resolve(h->auth, STR("y@a.test"), KV_CACHED, &t), RC_AGAIN);
    assert_rc(resolve(h->auth, STR("y@a.test"), 0, &t), RC_OK);
    assert_int_equal(t.account, y);
    assert_rc(auth_account_enable(h->auth, STR("y@a.test"), false), RC_OK);
    assert_rc(resolve(h->auth, STR("y@a.test"), 0, &t), RC_PERM);
    assert_rc(auth_account_enable(h->auth, STR("y@a.test"), true), RC_OK);
    assert_rc(resolve(h->auth, STR("y@a.test"), 0, &t), RC_OK);
}

static void another_process_s_change_arrives_by_the_watch(void **state)
{
    struct home *h = *state;
    struct auth *other;
    struct target t;
    uint64_t id;
    assert_rc(auth_open(&h->ctx, h->kv, &cheap, &other), RC_OK);
    assert_rc(auth_domain_add(other, STR("a.test")), RC_OK);
    assert_rc(resolve(h->auth, STR("x@a.test"), 0, &t), RC_NOTFOUND);
    assert_rc(auth_account_reserve(other, &id), RC_OK);
    assert_rc(auth_account_add(other, id, STR("x@a.test"), STR("secret")), RC_OK);
    /* The watch is told on a thread of the store, after the commit was. */
    while (resolve(h->auth, STR("x@a.test"), 0, &t) == RC_NOTFOUND)
        sched_yield();
    assert_int_equal(t.account, id);
    auth_close(&other);
}

static void the_cache_is_bounded(void **state)
{
    struct home *h = *state;
    struct target t;
    char address[64];
    assert_rc(auth_domain_add(h->auth, STR("a.test")), RC_OK);
    add(h, "x@a.test");
    assert_rc(resolve(h->auth, STR("x@a.test"), 0, &t), RC_OK);
    for (int i = 0; i < 1000; i++) {
        snprintf(address, sizeof address, "nobody%d@a.test", i);
        assert_rc(resolve(h->auth, str_of(address), 0, &t), RC_NOTFOUND);
    }
    assert_int_equal(h->auth->cache.unknown.n, 16);
    assert_int_equal(h->auth->cache.map.count, 17);
    kv_mem_cold(h->kv, true); /* unknown names did not drive out the known one */
    assert_rc(resolve(h->auth, STR("x@a.test"), KV_CACHED, &t), RC_OK);
}

static void postmaster_is_somebody(void **state) /* [RFC5321 4.5.1] */
{
    struct home *h = *state;
    struct target t;
    uint64_t gone;
    assert_rc(resolve(h->auth, STR("postmaster"), 0, &t), RC_NOTFOUND);
    assert_rc(auth_domain_add(h->auth, STR("a.test")), RC_OK);
    assert_rc(auth_domain_add(h->auth, STR("b.test")), RC_OK);
    assert_rc(resolve(h->auth, STR("postmaster@b.test"), 0, &t), RC_NOTFOUND);
    uint64_t zoe = add(h, "zoe@b.test"), amy = add(h, "amy@b.test");
    assert_rc(resolve(h->auth, STR("Postmaster"), 0, &t), RC_OK);
    assert_int_equal(t.account, zoe);
    assert_rc(resolve(h->auth, STR("POSTMASTER@b.test"), 0, &t), RC_OK);
    assert_int_equal(t.account, zoe);
    uint64_t post = add(h, "postmaster@b.test");
    assert_rc(resolve(h->auth, STR("postmaster@b.test"), 0, &t), RC_OK);
    assert_int_equal(t.account, post);
    assert_rc(auth_account_enable(h->auth, STR("postmaster@b.test"), false), RC_OK);
    assert_rc(resolve(h->auth, STR("postmaster@b.test"), 0, &t), RC_OK);
    assert_int_equal(t.account, zoe);
    assert_rc(auth_account_remove(h->auth, STR("zoe@b.test"), &gone), RC_OK);
    assert_int_equal(gone, zoe);
    assert_rc(resolve(h->auth, STR("postmaster@b.test"), 0, &t), RC_OK);
    assert_int_equal(t.account, amy);
}

static void what_cannot_be_made(void **state)
{
    struct home *h = *state;
    uint64_t id, other;
    char password[AUTH_PASSWORD_MAX + 1];
    memset(password, 'p', sizeof password);
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, STR("a@a.test"), STR("x")), RC_NOTFOUND);
    assert_rc(auth_domain_add(h->auth, STR("a.test")), RC_OK);
    assert_rc(auth_domain_add(h->auth, STR("A.test")), RC_EXISTS);
    assert_rc(auth_domain_add(h->auth, STR("a test")), RC_SYNTAX);
    assert_rc(auth_account_add(h->auth, id, STR("a"), STR("x")), RC_SYNTAX);
    assert_rc(auth_account_add(h->auth, id, STR("\"a b\"@a.test"), STR("x")), RC_SYNTAX);
    assert_rc(auth_account_add(h->auth, id, STR("a@a.test"), STR("")), RC_SYNTAX);
    assert_rc(auth_account_add(h->auth, id, STR("a@a.test"), str_from(password, sizeof password)),
              RC_LIMIT);
    assert_rc(auth_account_add(h->auth, id, STR("a@a.test"), STR("x")), RC_OK);
    assert_rc(auth_account_add(h->auth, id, STR("A@a.test"), STR("x")), RC_EXISTS);
    assert_rc(auth_domain_remove(h->auth, STR("a.test")), RC_CONFLICT);
    assert_rc(auth_domain_remove(h->auth, STR("b.test")), RC_NOTFOUND);
    assert_rc(auth_account_passwd(h->auth, STR("b@a.test"), STR("x")), RC_NOTFOUND);
    assert_rc(auth_account_enable(h->auth, STR("b@a.test"), true), RC_NOTFOUND);
    assert_rc(auth_account_remove(h->auth, STR("b@a.test"), &other), RC_NOTFOUND);
    assert_rc(auth_account_remove(h->auth, STR("a@a.test"), &other), RC_OK);
    assert_int_equal(other, id);
    assert_rc(auth_domain_remove(h->auth, STR("a.test")), RC_CONFLICT); /* it can be restored */
    assert_rc(auth_removed_purge(h->auth, 0, id), RC_OK);
    assert_rc(auth_domain_remove(h->auth, STR("a.test")), RC_OK);
    struct target t;
    assert_rc(resolve(h->auth, STR("a@a.test"), 0, &t), RC_DENIED);
}

static void ids_are_never_given_twice(void **state)
{
    struct home *h = *state;
    uint64_t first, second, third, ids[8];
    size_t n;
    assert_rc(auth_account_reserve(h->auth, &first), RC_OK);
    assert_rc(auth_account_reserve(h->auth, &second), RC_OK);
    assert_rc(auth_account_release(h->auth, second), RC_OK);
    assert_rc(auth_account_release(h->auth, second), RC_OK);
    assert_rc(auth_account_reserve(h->auth, &third), RC_OK);
    assert_true(first < second && second < third);
    assert_rc(auth_account_ids(h->auth, 0, ids, 8, &n), RC_OK);
    assert_int_equal(n, 2);
    assert_true(ids[0] == first && ids[1] == third);
    assert_rc(auth_account_ids(h->auth, first, ids, 8, &n), RC_OK);
    assert_true(n == 1 && ids[0] == third);
    assert_rc(auth_account_ids(h->auth, 0, ids, 1, &n), RC_OK);
    assert_true(n == 1 && ids[0] == first);
    assert_rc(auth_account_ids(h->auth, UINT64_MAX, ids, 8, &n), RC_OK);
    assert_int_equal(n, 0);
}

static void lists_are_in_order(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct auth_domain *domains;
    struct auth_account *accounts, one;
    size_t n;
    assert_rc(auth_domain_add(h->auth, STR("b.test")), RC_OK);
    assert_rc(auth_domain_add(h->auth, STR("a.test")), RC_OK);
    assert_rc(auth_domain_add(h->auth, STR("a.test.b")), RC_OK);
    add(h, "y@a.test");
    uint64_t x = add(h, "x@a.test");
    add(h, "z@a.test.b");
    assert_rc(auth_domain_list(h->auth, &arena, &domains, &n), RC_OK);
    assert_int_equal(n, 3);
    assert_str(domains[0].name, "a.test");
    assert_int_equal(domains[0].accounts, 2);
    assert_str(domains[2].name, "b.test");
    assert_rc(auth_account_list(h->auth, STR("A.test"), (struct str){0}, &arena, &accounts, &n),
              RC_OK);
    assert_int_equal(n, 2);
    assert_str(accounts[0].address, "x@a.test");
    assert_str(accounts[1].address, "y@a.test");
    assert_int_equal(accounts[0].id, x);
    assert_rc(auth_account_list(h->auth, STR("a.test"), STR("x@a.test"), &arena, &accounts, &n),
              RC_OK);
    assert_int_equal(n, 1);
    assert_str(accounts[0].address, "y@a.test");
    assert_rc(auth_account_list(h->auth, STR("c.test"), (struct str){0}, &arena, &accounts, &n),
              RC_NOTFOUND);
    assert_rc(auth_account_show(h->auth, STR("X@a.test"), &arena, &one), RC_OK);
    assert_true(one.id == x && one.is_enabled && one.created);
    assert_rc(auth_account_show(h->auth, STR("q@a.test"), &arena, &one), RC_NOTFOUND);
    arena_fini(&arena);
}

/* Whatever commit fails, nothing half-made is seen, and the same call works afterwards. */
static void a_commit_that_fails_leaves_nothing_visible(void **state)
{
    struct home *h = *state;
    struct arena arena = {0};
    struct auth_domain *domains;
    struct target t;
    uint64_t id;
    size_t n;
    kv_mem_fail(h->kv, RC_FULL);
    assert_rc(auth_domain_add(h->auth, STR("a.test")), RC_FULL);
    assert_rc(auth_domain_list(h->auth, &arena, &domains, &n), RC_OK);
    assert_int_equal(n, 0);
    uint64_t before = commits(h);
    assert_rc(auth_domain_add(h->auth, STR("a.test")), RC_OK);
    assert_int_equal(commits(h) - before, 2);
    kv_mem_fail(h->kv, RC_FULL);
    assert_rc(auth_account_reserve(h->auth, &id), RC_FULL);
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    kv_mem_fail(h->kv, RC_FULL);
    assert_rc(auth_account_add(h->auth, id, STR("x@a.test"), STR("s")), RC_FULL);
    assert_rc(resolve(h->auth, STR("x@a.test"), 0, &t), RC_NOTFOUND);
    assert_rc(auth_account_add(h->auth, id, STR("x@a.test"), STR("s")), RC_OK);
    assert_rc(resolve(h->auth, STR("x@a.test"), 0, &t), RC_OK);
    kv_mem_fail(h->kv, RC_CONFLICT); /* another node was faster: done again, not reported */
    assert_rc(auth_account_enable(h->auth, STR("x@a.test"), false), RC_OK);
    assert_rc(resolve(h->auth, STR("x@a.test"), 0, &t), RC_PERM);
    arena_fini(&arena);
}

struct faults {
    struct auth_fsck fsck;
    char last[200];
};

static void keep_fault(struct auth_fsck *fsck, const char *line)
{
    snprintf(CONTAINER(fsck, struct faults, fsck)->last, sizeof((struct faults *)0)->last, "%s",
             line);
}

/* What fsck says first after a row was written (or, with an absent value, deleted) behind our back.
 */
static void damaged(struct home *h, struct kv_part part, const struct key *key, struct str value,
                    const char *expected)
{
    struct faults f = {.fsck.report = keep_fault};
    struct arena arena = {0};
    struct str old, names[1] = {auth_key_str(key)};
    assert_rc(kv_get(h->kv, part, names, 1, 0, &arena, &old, NULL), RC_OK);
    for (int round = 0; round < 2; round++) {
        struct str now = round ? old : value;
        struct kv_txn *txn = kv_txn_new(part);
        assert_rc(str_is_null(now) ? kv_txn_delete(txn, names[0]) : kv_txn_put(txn, names[0], now),
                  RC_OK);
        assert_rc(kv_commit_wait(h->kv, txn, NULL), RC_OK);
        assert_rc(auth_fsck(h->auth, &f.fsck), round ? RC_OK : RC_CORRUPT);
        assert_int_equal(f.fsck.faults, 1);
    }
    assert_string_equal(f.last, expected);
    arena_fini(&arena);
}

static void fsck_finds_what_does_not_fit(void **state)
{
    struct home *h = *state;
    struct faults f = {.fsck.report = keep_fault};
    struct key key;
    struct record r;
    struct str a = STR("a.test"), none = {0};
    assert_rc(auth_domain_add(h->auth, a), RC_OK);
    assert_rc(auth_domain_add(h->auth, STR("empty.test")), RC_OK);
    uint64_t x = add(h, "x@a.test"), y = add(h, "y@a.test"), gone;
    add(h, "z@a.test");
    assert_rc(auth_account_remove(h->auth, STR("z@a.test"), &gone), RC_OK);
    assert_rc(auth_fsck(h->auth, &f.fsck), RC_OK);
    f.fsck.accounts = 0;
    assert_rc(auth_removed_purge(h->auth, 0, gone), RC_OK);
    assert_rc(auth_fsck(h->auth, &f.fsck), RC_OK);
    assert_true(f.fsck.accounts == 2 && f.fsck.faults == 0);
    struct kv_part part = auth_domain_part(a);
    auth_key_secret(&key, y, 0);
    damaged(h, part, &key, none, "directory: y@a.test: an address without a password");
    damaged(h, part, &key, STR("?"), "directory: y@a.test: its password's record is damaged");
    auth_key_secret(&key, 1000, 0);
    damaged(h, part, &key, STR("?"), "directory: stray rows: passwords of no account");
    auth_key_account(&key, x);
    damaged(h, auth_global_part, &key, none,
            "directory: x@a.test: its account's id is not in the list");
    auth_key_domain(&key, a);
    damaged(h, auth_global_part, &key, none, "directory: a.test: a domain that is not in the list");
    damaged(h, part, &key, STR("?"), "directory: a.test: the domain's record is damaged");
    auth_domain_pack(&(struct domain_record){.accounts = 3, .postmaster = x}, &r);
    damaged(h, part, &key, auth_record_str(&r),
            "directory: a.test: the number of accounts is wrong");
    auth_domain_pack(&(struct domain_record){.accounts = 2, .postmaster = gone}, &r);
    damaged(h, part, &key, auth_record_str(&r), "directory: a.test: its postmaster is nobody");
    auth_key_address(&key, STR("b.test"), STR("q"));
    damaged(h, part, &key, STR("?"), "directory: stray rows: addresses of no domain");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_account_is_found_by_its_address),
        TEST(the_cache_answers_without_the_store),
        TEST(another_process_s_change_arrives_by_the_watch),
        TEST(the_cache_is_bounded),
        TEST(postmaster_is_somebody),
        TEST(what_cannot_be_made),
        TEST(ids_are_never_given_twice),
        TEST(lists_are_in_order),
        TEST(a_commit_that_fails_leaves_nothing_visible),
        TEST(fsck_finds_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
