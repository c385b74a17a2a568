#include "auth/auth_int.h"

#include "base/test.h"

#include <stdio.h>

struct home {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct auth *auth;
    struct arena arena;
};

static const struct auth_conf cheap = {.hash_ops = 1, .hash_memory = 8192, .cache_entries = 64};

static int set_up(void **state)
{
    static struct home home; /* one test at a time */
    home = (struct home){.ctx = {.counters = &home.counters, .clock = &clock_system}};
    home.kv = kv_mem_new(&home.ctx);
    assert_rc(auth_open(&home.ctx, home.kv, &cheap, &home.auth), RC_OK);
    assert_rc(auth_domain_add(home.auth, STR("a.test")), RC_OK);
    assert_rc(auth_domain_add(home.auth, STR("b.test")), RC_OK);
    *state = &home;
    return 0;
}

static void report(struct auth_fsck *fsck, const char *line)
{
    print_message("%s\n", line);
}

/* Whatever a test did, the rows fit together. */
static int tear_down(void **state)
{
    struct home *h = *state;
    struct auth_fsck fsck = {.report = report};
    assert_rc(auth_fsck(h->auth, &fsck), RC_OK);
    auth_close(&h->auth);
    kv_close(&h->kv);
    arena_fini(&h->arena);
    return 0;
}

static uint64_t add(struct home *h, const char *address)
{
    uint64_t id;
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, str_of(address), STR("secret")), RC_OK);
    return id;
}

static enum rc alias(struct home *h, const char *address, const char *target)
{
    size_t bad;
    struct str targets[1] = {str_of(target)};
    enum rc rc = auth_alias_add(h->auth, str_of(address), targets, 1, &bad);
    if (rc == RC_CONFLICT || rc == RC_DENIED || rc == RC_PERM)
        assert_int_equal(bad, 0);
    return rc;
}

/* Where it leads, as "1,3"; or the name of the result. Asked twice: the store and the cache. */
static const char *leads(struct home *h, const char *address)
{
    static char text[2][64];
    for (int round = 0; round < 2; round++) {
        struct auth_targets t;
        enum rc rc = auth_resolve(h->auth, str_of(address), 0, &h->arena, &t);
        size_t n = (size_t)snprintf(text[round], 64, "%s", rc == RC_OK ? "" : rc_name(rc));
        for (size_t i = 0; rc == RC_OK && i < t.n && n < 64; i++)
            n += (size_t)snprintf(text[round] + n, 64 - n, i ? ",%llu" : "%llu",
                                  (unsigned long long)t.accounts[i]);
    }
    assert_string_equal(text[0], text[1]);
    return text[0];
}
#define LEADS(address, expected) assert_string_equal(leads(h, address), expected)

static void an_alias_leads_to_each_account_once(void **state)
{
    struct home *h = *state;
    add(h, "x@a.test");
    add(h, "y@a.test");
    add(h, "z@b.test");
    assert_rc(alias(h, "Team@a.test", "X@A.test"), RC_OK);
    assert_rc(alias(h, "team@a.test", "z@b.test"), RC_OK);
    LEADS("team@A.TEST", "1,3");
    assert_rc(alias(h, "all@b.test", "team@a.test"), RC_OK); /* nested, in another domain */
    assert_rc(alias(h, "all@b.test", "y@a.test"), RC_OK);
    assert_rc(alias(h, "all@b.test", "x@a.test"), RC_OK);
    LEADS("all@b.test", "1,3,2");
    assert_rc(auth_account_enable(h->auth, STR("z@b.test"), false), RC_OK);
    LEADS("all@b.test", "1,2"); /* a change behind the alias is seen at once */
    assert_rc(auth_account_enable(h->auth, STR("z@b.test"), true), RC_OK);
    LEADS("all@b.test", "1,3,2");
    size_t bad;
    struct str one[1] = {STR("x@a.test")}, none[1] = {STR("q@a.test")};
    assert_rc(auth_alias_remove(h->auth, STR("all@b.test"), none, 1, &bad), RC_NOTFOUND);
    assert_int_equal(bad, 0);
    assert_rc(auth_alias_remove(h->auth, STR("team@a.test"), one, 1, &bad), RC_OK);
    LEADS("team@a.test", "3");
    assert_rc(auth_alias_remove(h->auth, STR("team@a.test"), NULL, 0, &bad), RC_OK);
    LEADS("team@a.test", "notfound");
    LEADS("all@b.test", "2,1"); /* what is left of it */
    assert_rc(auth_alias_remove(h->auth, STR("team@a.test"), NULL, 0, &bad), RC_NOTFOUND);
    assert_rc(auth_alias_remove(h->auth, STR("x@a.test"), NULL, 0, &bad), RC_NOTFOUND);
}

static void what_cannot_be_an_alias(void **state)
{
    struct home *h = *state;
    add(h, "x@a.test");
    assert_rc(alias(h, "x@a.test", "x@a.test"), RC_CONFLICT);
    assert_rc(alias(h, "l@a.test", "nobody@a.test"), RC_PERM);
    assert_rc(alias(h, "l@a.test", "no address"), RC_SYNTAX);
    assert_rc(alias(h, "l@c.test", "x@a.test"), RC_NOTFOUND);
    assert_rc(alias(h, "x@a.test", "x@a.test"), RC_CONFLICT);
    assert_rc(alias(h, "l@a.test", "x@a.test"), RC_OK);
    assert_rc(alias(h, "m@b.test", "l@a.test"), RC_OK);
    assert_rc(alias(h, "l@a.test", "m@b.test"), RC_CONFLICT); /* a circle */
    assert_rc(alias(h, "l@a.test", "l@a.test"), RC_CONFLICT);
    LEADS("m@b.test", "1");
    uint64_t id;
    assert_rc(auth_account_reserve(h->auth, &id), RC_OK);
    assert_rc(auth_account_add(h->auth, id, STR("l@a.test"), STR("p")), RC_EXISTS);
    assert_rc(auth_account_passwd(h->auth, STR("l@a.test"), STR("p")), RC_NOTFOUND);
    assert_rc(auth_account_remove(h->auth, STR("l@a.test"), &id), RC_NOTFOUND);
    struct auth_account shown;
    assert_rc(auth_account_show(h->auth, STR("l@a.test"), &h->arena, &shown), RC_NOTFOUND);
    assert_rc(auth_domain_remove(h->auth, STR("b.test")), RC_CONFLICT); /* it has an alias */
    char text[32];
    for (int i = 1; i <= AUTH_ALIAS_MAX; i++) {
        snprintf(text, sizeof text, "x+%d@a.test", i);
        assert_rc(alias(h, "l@a.test", text), i < AUTH_ALIAS_MAX ? RC_OK : RC_LIMIT);
    }
    LEADS("l@a.test", "1");
}

/* Rows that no check has seen: each alias leads to the next one. */
static void chain(struct home *h, int n, bool is_circle)
{
    char from[32], to[32];
    for (int i = 0; i < n; i++) {
        struct key key;
        struct str value;
        snprintf(from, sizeof from, "c%d", i);
        snprintf(to, sizeof to, "c%d@a.test", is_circle && i == n - 1 ? 0 : i + 1);
        struct str target = str_of(to);
        struct address_record row = {
            .is_alias = true, .created = 1, .targets = &target, .n_targets = 1};
        struct kv_txn *txn = kv_txn_new(auth_domain_part(STR("a.test")));
        auth_key_address(&key, STR("a.test"), str_of(from));
        assert_rc(auth_address_pack(&row, &h->arena, &value), RC_OK);
        assert_rc(kv_txn_put(txn, auth_key_str(&key), value), RC_OK);
        assert_rc(kv_commit_wait(h->kv, txn, NULL), RC_OK);
    }
}

static void unchain(struct home *h, int n)
{
    for (int i = 0; i < n; i++) {
        char local[32];
        struct key key;
        struct kv_txn *txn = kv_txn_new(auth_domain_part(STR("a.test")));
        snprintf(local, sizeof local, "c%d", i);
        auth_key_address(&key, STR("a.test"), str_of(local));
        assert_rc(kv_txn_delete(txn, auth_key_str(&key)), RC_OK);
        assert_rc(kv_commit_wait(h->kv, txn, NULL), RC_OK);
    }
}

static void circles_and_depth_are_survived(void **state)
{
    struct home *h = *state;
    chain(h, 3, true);
    LEADS("c0@a.test", "corrupt");
    LEADS("c2@a.test", "corrupt");
    unchain(h, 3);
    add(h, "x@a.test");
    assert_rc(alias(h, "c10@a.test", "x@a.test"), RC_OK);
    chain(h, 10, false);
    LEADS("c2@a.test", "1");
    LEADS("c0@a.test", "limit");
    unchain(h, 10);
}

static void details_are_kept(void **state) /* [RFC5233 1] */
{
    struct home *h = *state;
    struct auth_targets t;
    add(h, "x@a.test");
    assert_rc(auth_resolve(h->auth, STR("X+Shop@a.test"), 0, &h->arena, &t), RC_OK);
    assert_int_equal(t.accounts[0], 1);
    assert_str(t.detail, "Shop");
    assert_rc(auth_resolve(h->auth, STR("x+shop+2@a.test"), 0, &h->arena, &t), RC_OK);
    assert_str(t.detail, "shop+2");
    assert_rc(auth_resolve(h->auth, STR("x@a.test"), 0, &h->arena, &t), RC_OK);
    assert_true(str_is_null(t.detail));
    LEADS("+x@a.test", "notfound");
    add(h, "x+own@a.test"); /* an address of that name comes first */
    LEADS("x+own@a.test", "2");
    struct auth_domain_change change = {.what = AUTH_SET_DELIMITER, .delimiter = '-'};
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_OK);
    LEADS("x-shop@a.test", "1");
    LEADS("x+shop@a.test", "notfound");
    change.delimiter = 0;
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_OK);
    LEADS("x-shop@a.test", "notfound");
    change.delimiter = '@';
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_SYNTAX);
    assert_rc(alias(h, "l@b.test", "x@a.test"), RC_OK);
    assert_rc(auth_resolve(h->auth, STR("l+list@b.test"), 0, &h->arena, &t), RC_OK);
    assert_str(t.detail, "list");
}

static void catch_all_takes_what_nobody_else_has(void **state)
{
    struct home *h = *state;
    uint64_t id;
    struct auth_domain_change change = {.what = AUTH_SET_CATCH_ALL, .catch_all = STR("q@a.test")};
    add(h, "x@a.test");
    add(h, "y@a.test");
    add(h, "z@a.test");
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_PERM);
    change.catch_all = STR("x@elsewhere.test");
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_DENIED);
    change.catch_all = STR("X@a.test");
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_OK);
    LEADS("anything@a.test", "1");
    LEADS("any+thing@a.test", "1");
    LEADS("anything@b.test", "notfound");
    LEADS("y+thing@a.test", "2");
    /* Never for an address that is closed or can be restored. */
    assert_rc(auth_account_enable(h->auth, STR("y@a.test"), false), RC_OK);
    LEADS("y@a.test", "perm");
    assert_rc(auth_account_remove(h->auth, STR("z@a.test"), &id), RC_OK);
    LEADS("z@a.test", "notfound");
    assert_rc(auth_removed_purge(h->auth, 0, id), RC_OK);
    LEADS("z@a.test", "1");
    /* What it leads to may go; then nobody gets it, and no second catch-all may lead to itself. */
    assert_rc(auth_account_remove(h->auth, STR("x@a.test"), &id), RC_OK);
    LEADS("anything@a.test", "notfound");
    change.catch_all = STR("anything@a.test");
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_PERM);
    change.catch_all = STR("");
    assert_rc(auth_domain_set(h->auth, STR("a.test"), &change), RC_OK);
    LEADS("anything@a.test", "notfound");
}

static void roles_are_always_somebody(void **state) /* [RFC5321 4.5.1] [RFC2142 3] */
{
    struct home *h = *state;
    uint64_t id;
    LEADS("abuse@a.test", "notfound"); /* there is nobody at all */
    add(h, "x@b.test");
    LEADS("postmaster@b.test", "1");
    LEADS("Abuse@b.test", "1");
    LEADS("postmaster@a.test", "1"); /* a domain without accounts of its own */
    LEADS("abuse@a.test", "1");
    LEADS("postmaster", "1");
    assert_rc(auth_account_enable(h->auth, STR("x@b.test"), false), RC_OK);
    LEADS("abuse@a.test", "1"); /* whatever its state */
    add(h, "y@b.test");
    assert_rc(alias(h, "abuse@b.test", "y@b.test"), RC_OK);
    LEADS("abuse@b.test", "2");
    assert_rc(auth_account_enable(h->auth, STR("y@b.test"), false), RC_OK);
    LEADS("abuse@b.test", "1");
    assert_rc(auth_account_remove(h->auth, STR("x@b.test"), &id), RC_OK);
    LEADS("postmaster@b.test", "2"); /* passes to who is left, past the alias */
}

static void states_decide_the_answer(void **state)
{
    struct home *h = *state;
    struct auth_account shown;
    add(h, "x@a.test");
    add(h, "y@a.test");
    assert_rc(alias(h, "l@a.test", "x@a.test"), RC_OK);
    assert_rc(alias(h, "l@a.test", "y@a.test"), RC_OK);
    struct auth_account_change change = {.what = AUTH_SET_SUSPENDED | AUTH_SET_REASON,
                                         .is_suspended = true,
                                         .reason = STR("unpaid since May")};
    assert_rc(auth_account_set(h->auth, STR("x@a.test"), &change), RC_OK);
    LEADS("x@a.test", "conflict");
    LEADS("l@a.test", "conflict"); /* its copy would be lost otherwise */
    assert_rc(auth_account_show(h->auth, STR("x@a.test"), &h->arena, &shown), RC_OK);
    assert_true(shown.is_enabled && shown.is_suspended);
    assert_str(shown.reason, "unpaid since May");
    assert_rc(auth_account_enable(h->auth, STR("x@a.test"), false), RC_OK);
    LEADS("x@a.test", "perm"); /* the stronger of both */
    LEADS("l@a.test", "2");
    assert_rc(auth_account_enable(h->auth, STR("x@a.test"), true), RC_OK);
    change = (struct auth_account_change){.what = AUTH_SET_SUSPENDED};
    assert_rc(auth_account_set(h->auth, STR("x@a.test"), &change), RC_OK);
    assert_rc(auth_account_show(h->auth, STR("x@a.test"), &h->arena, &shown), RC_OK);
    assert_int_equal(shown.reason.n, 0); /* it was the state's */
    LEADS("l@a.test", "1,2");
    change = (struct auth_account_change){.what = AUTH_SET_REASON, .reason = STR("two\nlines")};
    assert_rc(auth_account_set(h->auth, STR("x@a.test"), &change), RC_SYNTAX);
}

static void who_may_send(void **state) /* [RFC6409 6.1] */
{
    struct home *h = *state;
    uint64_t x = add(h, "x@a.test"), y = add(h, "y@a.test");
    assert_rc(alias(h, "l@b.test", "x@a.test"), RC_OK);
    assert_rc(auth_may_send(h->auth, x, STR("X@a.test"), 0), RC_OK);
    assert_rc(auth_may_send(h->auth, x, STR("x+shop@a.test"), 0), RC_OK);
    assert_rc(auth_may_send(h->auth, x, STR("l@b.test"), 0), RC_OK);
    assert_rc(auth_may_send(h->auth, y, STR("l@b.test"), 0), RC_DENIED);
    assert_rc(auth_may_send(h->auth, y, STR("x@a.test"), 0), RC_DENIED);
    assert_rc(auth_may_send(h->auth, x, STR("q@a.test"), 0), RC_DENIED);
    assert_rc(auth_may_send(h->auth, x, STR("x@elsewhere.test"), 0), RC_DENIED);
    assert_rc(auth_may_send(h->auth, x, STR("nonsense"), 0), RC_DENIED);
    assert_rc(alias(h, "l@b.test", "y@a.test"), RC_OK);
    struct auth_account_change change = {.what = AUTH_SET_SUSPENDED, .is_suspended = true};
    assert_rc(auth_account_set(h->auth, STR("y@a.test"), &change), RC_OK);
    assert_rc(auth_may_send(h->auth, x, STR("l@b.test"), 0), RC_OK); /* the other one's state */
    kv_mem_cold(h->kv, true);
    assert_rc(auth_may_send(h->auth, x, STR("unread@a.test"), KV_CACHED), RC_AGAIN);
    kv_mem_cold(h->kv, false);
}

/* A clock that makes the next commit fail when it is asked: a rename asks between its two. */
struct trap {
    struct clock clock;
    struct kv *kv;
};

static uint64_t spring(const struct clock *clock)
{
    const struct trap *trap = (const struct trap *)clock; /* its first member */
    kv_mem_fail(trap->kv, RC_FULL);
    return 1;
}

static void note(struct auth_fsck *fsck, const char *line)
{
    assert_non_null(strstr(line, "a rename was cut short, repeat it"));
}

/* Each commit of each step fails in turn: nothing half-made is lost, and the same call completes
 * it. */
static void steps_that_fail_are_taken_up_again(void **state)
{
    struct home *h = *state;
    struct auth_fsck fsck = {.report = report}, half = {.report = note};
    uint64_t id, x = add(h, "x@a.test");
    kv_mem_fail(h->kv, RC_FULL); /* the arrival */
    assert_rc(auth_account_rename(h->auth, STR("x@a.test"), STR("x@b.test"), true, &id), RC_FULL);
    LEADS("x@a.test", "1");
    LEADS("x@b.test", "notfound");
    struct trap trap = {{clock_system.mono, spring}, h->kv};
    h->ctx.clock = &trap.clock; /* the departure: both addresses are its own */
    assert_rc(auth_account_rename(h->auth, STR("x@a.test"), STR("x@b.test"), true, &id), RC_FULL);
    h->ctx.clock = &clock_system;
    LEADS("x@a.test", "1");
    LEADS("x@b.test", "1");
    assert_rc(auth_fsck(h->auth, &half), RC_CORRUPT);
    assert_int_equal(half.faults, 1);
    assert_rc(auth_account_rename(h->auth, STR("x@a.test"), STR("x@b.test"), true, &id), RC_OK);
    assert_int_equal(id, x);
    assert_rc(auth_fsck(h->auth, &fsck), RC_OK);
    LEADS("x@a.test", "1"); /* by the alias */
    /* Its password went with it. */
    assert_rc(auth_account_passwd(h->auth, STR("x@b.test"), STR("other")), RC_OK);
    kv_mem_fail(h->kv, RC_FULL);
    assert_rc(auth_account_remove(h->auth, STR("x@b.test"), &id), RC_FULL);
    LEADS("x@b.test", "1");
    assert_rc(auth_account_remove(h->auth, STR("x@b.test"), &id), RC_OK);
    LEADS("x@b.test", "notfound");
    kv_mem_fail(h->kv, RC_FULL);
    assert_rc(auth_account_restore(h->auth, STR("x@b.test"), 0, &id), RC_FULL);
    LEADS("x@b.test", "notfound");
    assert_rc(auth_fsck(h->auth, &fsck), RC_OK);
    assert_rc(auth_account_restore(h->auth, STR("x@b.test"), 0, &id), RC_OK);
    LEADS("x@b.test", "1");
    assert_rc(auth_account_remove(h->auth, STR("x@b.test"), &id), RC_OK);
    kv_mem_fail(h->kv, RC_FULL);
    assert_rc(auth_removed_purge(h->auth, 0, x), RC_FULL);
    assert_rc(auth_fsck(h->auth, &fsck), RC_OK);
    assert_rc(auth_removed_purge(h->auth, UINT64_MAX, 0), RC_OK);
    assert_rc(auth_account_restore(h->auth, STR("x@b.test"), 0, &id), RC_NOTFOUND);
}

static void aliases_are_listed(void **state)
{
    struct home *h = *state;
    struct auth_alias *aliases;
    struct auth_account *accounts;
    struct auth_domain domain;
    size_t n;
    add(h, "x@a.test");
    assert_rc(alias(h, "k@a.test", "x@a.test"), RC_OK);
    assert_rc(alias(h, "z@a.test", "x@a.test"), RC_OK);
    assert_rc(auth_alias_list(h->auth, STR("a.test"), (struct str){0}, &h->arena, &aliases, &n),
              RC_OK);
    assert_int_equal(n, 2);
    assert_str(aliases[1].address, "z@a.test");
    assert_str(aliases[1].targets[0], "x@a.test");
    assert_rc(auth_account_list(h->auth, STR("a.test"), (struct str){0}, &h->arena, &accounts, &n),
              RC_OK);
    assert_int_equal(n, 1);
    assert_rc(auth_domain_show(h->auth, STR("A.test"), &h->arena, &domain), RC_OK);
    assert_true(domain.aliases == 2 && domain.accounts == 1 && domain.removed == 0);
    assert_rc(auth_domain_show(h->auth, STR("c.test"), &h->arena, &domain), RC_NOTFOUND);
}

/* --- accounts whose mail goes on -------------------------------------------------------------- */

static enum rc forward(struct home *h, const char *address, const char *target, int keeps)
{
    size_t bad;
    struct str targets[1] = {target ? str_of(target) : STR("")};
    const struct auth_forward f = {.sets_targets = target,
                                   .targets = targets,
                                   .n_targets = target && target[0],
                                   .sets_copy = keeps >= 0,
                                   .keeps_copy = keeps > 0};
    return auth_account_forward(h->auth, str_of(address), &f, &bad);
}
enum { AS_IT_IS = -1 };

static struct str outside_of(struct home *h, const char *address, size_t n)
{
    struct auth_targets t;
    assert_rc(auth_resolve(h->auth, str_of(address), 0, &h->arena, &t), RC_OK);
    assert_int_equal(t.n_outside, n);
    return n ? t.outside[0] : (struct str){0};
}

static void an_account_forwards(void **state)
{
    struct home *h = *state;
    struct auth_account shown;
    uint64_t x = add(h, "x@a.test"), y = add(h, "y@b.test"), id;
    assert_rc(forward(h, "x@a.test", NULL, 1), RC_EXISTS); /* nothing to keep a copy of */
    assert_rc(forward(h, "x@a.test", "Z@Far.test", AS_IT_IS), RC_OK);
    LEADS("x@a.test", "1"); /* unless it is said otherwise a copy is kept */
    assert_str(outside_of(h, "x+shop@a.test", 1), "z@far.test");
    assert_rc(auth_account_show(h->auth, STR("x@a.test"), &h->arena, &shown), RC_OK);
    assert_true(shown.n_forward == 1 && shown.keeps_copy);
    assert_str(shown.forward[0], "z@far.test");
    assert_rc(forward(h, "x@a.test", NULL, 0), RC_OK);
    LEADS("x@a.test", "");
    assert_rc(forward(h, "x@a.test", "y@b.test", AS_IT_IS), RC_OK);
    LEADS("x@a.test", "2"); /* still without a copy */
    assert_rc(auth_may_send(h->auth, x, STR("x@a.test"), 0), RC_OK);
    assert_rc(auth_may_send(h->auth, y, STR("x@a.test"), 0), RC_DENIED);
    assert_rc(auth_account_enable(h->auth, STR("x@a.test"), false), RC_OK);
    LEADS("x@a.test", "perm"); /* a closed account forwards nothing */
    assert_rc(auth_account_enable(h->auth, STR("x@a.test"), true), RC_OK);
    assert_rc(auth_account_rename(h->auth, STR("x@a.test"), STR("w@b.test"), false, &id), RC_OK);
    LEADS("w@b.test", "2");
    assert_rc(auth_account_remove(h->auth, STR("w@b.test"), &id), RC_OK);
    assert_rc(auth_account_restore(h->auth, STR("w@b.test"), 0, &id), RC_OK);
    LEADS("w@b.test", "2");
    assert_rc(forward(h, "w@b.test", "", AS_IT_IS), RC_OK);
    LEADS("w@b.test", "1");
}

static void forwarding_loses_no_mail(void **state)
{
    struct home *h = *state;
    uint64_t id;
    add(h, "x@a.test");
    add(h, "y@b.test");
    assert_rc(forward(h, "x@a.test", "x@a.test", 0), RC_CONFLICT);
    assert_rc(forward(h, "x@a.test", "nobody@a.test", 0), RC_PERM);
    assert_rc(forward(h, "x@a.test", "no address", 0), RC_SYNTAX);
    assert_rc(forward(h, "nobody@a.test", "y@b.test", 0), RC_NOTFOUND);
    assert_rc(forward(h, "x@a.test", "y@b.test", 0), RC_OK);
    assert_rc(forward(h, "y@b.test", "x@a.test", 0), RC_CONFLICT); /* a circle */
    assert_rc(alias(h, "l@a.test", "x@a.test"), RC_OK);
    assert_rc(forward(h, "y@b.test", "l@a.test", 0), RC_CONFLICT);
    assert_rc(forward(h, "x@a.test", "x+1@a.test", 0), RC_OK); /* one that no check sees */
    LEADS("x@a.test", "1");
    assert_rc(forward(h, "x@a.test", "y@b.test", 0), RC_OK);
    assert_rc(auth_account_remove(h->auth, STR("y@b.test"), &id), RC_OK);
    LEADS("x@a.test", "1"); /* its own mailbox has it when nobody else does */
    size_t bad;
    struct str many[AUTH_FORWARD_MAX + 1];
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        many[i] = STR("z@far.test");
    const struct auth_forward f = {
        .sets_targets = true, .targets = many, .n_targets = AUTH_FORWARD_MAX + 1};
    assert_rc(auth_account_forward(h->auth, STR("x@a.test"), &f, &bad), RC_LIMIT);
}

/* Rows of accounts grew behind their end: each of these was a whole one once. */
static void rows_from_before_are_read(void **state)
{
    struct home *h = *state;
    static const size_t ends[] = {19, 26, 27};
    struct str targets[] = {STR("z@far.test")}, row;
    struct address_record back, account = {.account = 7,
                                           .created = 42,
                                           .settings.pop3_delete = AUTH_POP3_UNSET,
                                           .reason = STR(""),
                                           .targets = targets,
                                           .n_targets = 1};
    assert_rc(auth_address_pack(&account, &h->arena, &row), RC_OK);
    assert_rc(auth_address_unpack(row, &h->arena, &back), RC_OK);
    assert_true(back.n_targets == 1 && !back.keeps_copy);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        assert_rc(auth_address_unpack(str_head(row, ends[i]), &h->arena, &back), RC_OK);
        assert_true(back.account == 7 && back.created == 42 && back.n_targets == 0);
    }
    assert_rc(auth_address_unpack(str_head(row, row.n - 1), &h->arena, &back), RC_CORRUPT);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_alias_leads_to_each_account_once),
        TEST(what_cannot_be_an_alias),
        TEST(circles_and_depth_are_survived),
        TEST(details_are_kept),
        TEST(catch_all_takes_what_nobody_else_has),
        TEST(roles_are_always_somebody),
        TEST(states_decide_the_answer),
        TEST(who_may_send),
        TEST(steps_that_fail_are_taken_up_again),
        TEST(aliases_are_listed),
        TEST(an_account_forwards),
        TEST(forwarding_loses_no_mail),
        TEST(rows_from_before_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
