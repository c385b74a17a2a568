/* The tree of mailboxes and subscriptions. */
#include "store/fixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void the_tree_is_found_by_name(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    uint32_t id, inbox;
    assert_rc(fixture_create(a, "work/2026/may", STORE_NONE, &op), RC_OK);
    assert_true(op.mailbox > 6 && op.uidvalidity && op.modseq);
    assert_rc(fixture_create(a, "work/2026/june", STORE_NONE, NULL), RC_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(fixture_find(a, "work/2026/may"), op.mailbox);
        id = fixture_find(a, "work/2026");
        assert_true(fixture_mailbox(a, id).is_placeholder);
        assert_true(fixture_mailbox(a, fixture_find(a, "work")).is_placeholder);
        assert_false(fixture_mailbox(a, op.mailbox).is_placeholder);
        assert_int_equal(fixture_mailbox(a, op.mailbox).parent, id);
        assert_int_equal(fixture_find(a, "Work"), 0);
        assert_int_equal(fixture_find(a, "work/2026/may/1"), 0);
        assert_int_equal(fixture_find(a, "may"), 0);
        struct store_root *root;
        assert_rc(store_mailbox_open(a, id, 0, &root), RC_NOTFOUND);
        assert_rc(fixture_append(f, a, STR("x"), &(struct store_append){.mailbox = id}, NULL),
                  RC_NOTFOUND);
        fixture_close(f, &a);
        fixture_reopen(f);
        a = fixture_open(f, 1);
    }
    /* INBOX in any case [RFC3501 5.1] [RFC9051 5.1], at the top only. */
    inbox = fixture_find(a, "INBOX");
    assert_int_equal(fixture_find(a, "iNbOx"), inbox);
    assert_rc(fixture_create(a, "inbox", STORE_NONE, NULL), RC_EXISTS);
    assert_rc(fixture_create(a, "inbox/INBOX", STORE_NONE, NULL), RC_OK);
    assert_int_equal(fixture_mailbox(a, fixture_find(a, "Inbox/INBOX")).parent, inbox);
    assert_int_equal(fixture_find(a, "INBOX/inbox"), 0);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void a_placeholder_becomes_a_mailbox(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op child, op;
    assert_rc(fixture_create(a, "a/b", STORE_NONE, &child), RC_OK);
    uint32_t id = fixture_find(a, "a"), before = fixture_mailbox(a, id).uidvalidity;
    assert_rc(fixture_create(a, "a/b", STORE_NONE, NULL), RC_EXISTS);
    assert_rc(fixture_create(a, "a", STORE_NONE, &op), RC_OK);
    assert_int_equal(op.mailbox, id);
    assert_true(op.uidvalidity > before && op.uidvalidity > child.uidvalidity);
    assert_int_equal(fixture_mailbox(a, id).uidvalidity, op.uidvalidity);
    assert_false(fixture_mailbox(a, id).is_placeholder);
    assert_rc(fixture_append(f, a, STR("x"), &(struct store_append){.mailbox = id}, NULL), RC_OK);
    assert_rc(fixture_create(a, "a", STORE_NONE, NULL), RC_EXISTS);
    fixture_assert_rows(a, id, "1:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void names_have_rules(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    char longest[STORE_NAME_MAX + 2];
    static const char *const bad[] = {"",
                                      "/",
                                      "a/",
                                      "/a",
                                      "a//b",
                                      "a\x01",
                                      "a\x7f",
                                      "\x80",
                                      "\xc0\xaf",
                                      "\xc2\x85",
                                      "\xed\xa0\x80",
                                      "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_rc(fixture_create(a, bad[i], STORE_NONE, NULL), RC_SYNTAX);
    memset(longest, 'x', sizeof longest);
    longest[STORE_NAME_MAX] = 0;
    assert_rc(fixture_create(a, longest, STORE_NONE, NULL), RC_OK);
    longest[STORE_NAME_MAX] = 'x';
    longest[STORE_NAME_MAX + 1] = 0;
    assert_rc(fixture_create(a, longest, STORE_NONE, NULL), RC_SYNTAX);
    assert_rc(fixture_create(a, "Entw\xc3\xbcrfe/\xe2\x82\xac \\ %*\"", STORE_NONE, NULL), RC_OK);
    assert_rc(
        fixture_create(a, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20", STORE_NONE, NULL),
        RC_OK);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Special uses [RFC6154 5.2]: one mailbox each. */
static void roles_are_given_once(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t id;
    assert_rc(fixture_create(a, "x/Bin", STORE_TRASH, NULL), RC_CONFLICT);
    assert_int_equal(fixture_find(a, "x"), 0);
    assert_rc(fixture_create(a, "x", STORE_INBOX, NULL), RC_PERM);
    assert_rc(store_mailbox_by_role(a, STORE_TRASH, &id), RC_OK);
    assert_int_equal(id, fixture_find(a, "Trash"));
    fixture_close(f, &a);
}

/* A mailbox can be used before it is durable, by those who know its id; others do not see it. */
static void what_is_being_made_can_be_filled(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct waiter w, x;
    struct str levels[] = {STR("new"), STR("box")};
    struct kv_blob_id blob = fixture_blob(f, a, STR("text"));
    for (int fails = 1; fails >= 0; fails--) {
        waiter_init(&w);
        waiter_init(&x);
        kv_mem_hold(f->kv, true);
        if (fails)
            kv_mem_fail(f->kv, RC_FULL);
        assert_rc(store_mailbox_create(a, (struct store_path){levels, 2}, STORE_NONE, 0, &w.op),
                  RC_OK);
        struct store_append append = {.mailbox = w.op.mailbox, .blob = blob, .size = 4};
        assert_rc(store_append(a, &append, 0, &x.op), RC_OK);
        assert_int_equal(fixture_find(a, "new/box"), 0);
        assert_int_equal(fixture_find(a, "new"), 0);
        kv_mem_hold(f->kv, false);
        uint32_t id = w.op.mailbox;
        assert_rc(waiter_wait(&w, RC_OK), fails ? RC_FULL : RC_OK);
        assert_rc(waiter_wait(&x, RC_OK), fails ? RC_CONFLICT : RC_OK);
        assert_int_equal(fixture_find(a, "new/box"), fails ? 0 : id);
        if (!fails)
            fixture_assert_rows(a, id, "1:");
    }
    fixture_forget(f, blob);
    assert_int_equal(a->n_mailboxes, 8); /* what failed is not kept in memory */
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void there_are_only_so_many(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct waiter *w = mem_zero(500 * sizeof *w);
    int made = 6; /* an account's own */
    while (made < STORE_MAILBOXES) {
        int n = STORE_MAILBOXES - made < 500 ? STORE_MAILBOXES - made : 500;
        for (int i = 0; i < n; i++) {
            char name[16];
            int len = snprintf(name, sizeof name, "m%d", made + i);
            struct str level = str_from(name, (size_t)len);
            waiter_init(&w[i]);
            assert_rc(
                store_mailbox_create(a, (struct store_path){&level, 1}, STORE_NONE, 0, &w[i].op),
                RC_OK);
        }
        for (int i = 0; i < n; i++)
            assert_rc(waiter_wait(&w[i], RC_OK), RC_OK);
        made += n;
    }
    free(w);
    assert_rc(fixture_create(a, "over", STORE_NONE, NULL), RC_LIMIT);
    assert_true(fixture_find(a, "m9999") > 0);
    fixture_close(f, &a);
}

/* --- subscriptions ---------------------------------------------------------------------------- */

static enum rc subscribe(struct store_account *a, const char *name, bool is_on)
{
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_subscribe(a, str_of(name), is_on, 0, &w.op));
}

static void assert_subscribed(struct store_account *a, const char *expected)
{
    struct arena arena;
    struct str *names;
    size_t n, at = 0;
    char text[256] = "";
    arena_init(&arena, 0);
    assert_rc(store_subscriptions(a, 0, &arena, &names, &n), RC_OK);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s", i ? "," : "", (int)names[i].n,
                               names[i].p);
    assert_string_equal(text, expected);
    arena_fini(&arena);
}

/* An account's own, from the beginning. */
#define OWN "Archive,Drafts,INBOX,Junk,Sent,Trash"

static void subscriptions_are_names(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct arena arena;
    struct str *names;
    size_t n;
    arena_init(&arena, 0);
    assert_rc(store_subscriptions(a, KV_CACHED, &arena, &names, &n), RC_AGAIN);
    assert_subscribed(a, OWN);
    assert_rc(store_subscriptions(a, KV_CACHED, &arena, &names, &n), RC_OK);
    arena_fini(&arena);
    assert_rc(subscribe(a, "gone/long ago", true),
              RC_OK); /* no such mailbox [RFC3501 6.3.6] [RFC9051 6.3.7] */
    assert_rc(subscribe(a, "inbox", true), RC_OK);
    assert_rc(subscribe(a, "INBOX", true), RC_OK);
    assert_rc(subscribe(a, "Inbox/a", true), RC_OK);
    assert_rc(subscribe(a, "a//b", true), RC_SYNTAX);
    assert_rc(subscribe(a, "never", false), RC_OK);
    assert_subscribed(a, "Archive,Drafts,INBOX,INBOX/a,Junk,Sent,Trash,gone/long ago");
    assert_rc(subscribe(a, "iNBOX/a", false), RC_OK);
    assert_rc(subscribe(a, "Archive", false), RC_OK);
    assert_rc(subscribe(a, "Drafts", false), RC_OK);
    assert_rc(subscribe(a, "Junk", false), RC_OK);
    assert_rc(subscribe(a, "Trash", false), RC_OK);
    assert_subscribed(a, "INBOX,Sent,gone/long ago");
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    assert_subscribed(a, "INBOX,Sent,gone/long ago");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void subscriptions_are_seen_when_durable(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    for (int fails = 1; fails >= 0; fails--) {
        struct waiter w[2];
        waiter_init(&w[0]);
        waiter_init(&w[1]);
        assert_subscribed(a, OWN);
        kv_mem_hold(f->kv, true);
        if (fails)
            kv_mem_fail(f->kv, RC_FULL);
        assert_rc(store_subscribe(a, STR("x"), true, 0, &w[0].op), RC_OK);
        assert_rc(store_subscribe(a, STR("x"), true, 0, &w[1].op), RC_OK); /* nothing to do */
        assert_subscribed(a, OWN);
        kv_mem_hold(f->kv, false);
        assert_rc(waiter_wait(&w[0], RC_OK), fails ? RC_FULL : RC_OK);
        assert_rc(waiter_wait(&w[1], RC_OK), fails ? RC_CONFLICT : RC_OK);
    }
    assert_subscribed(a, OWN ",x");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(the_tree_is_found_by_name),
        ON_BOTH(a_placeholder_becomes_a_mailbox),
        ON_MEM(names_have_rules),
        ON_MEM(roles_are_given_once),
        ON_MEM(what_is_being_made_can_be_filled),
        ON_MEM(there_are_only_so_many),
        ON_BOTH(subscriptions_are_names),
        ON_MEM(subscriptions_are_seen_when_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
