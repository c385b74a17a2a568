/* Changes: two views, failures, limits, and what the caller is told. */
#include "store/fixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct pending {
    struct waiter waiter;
    struct kv_blob_id blob;
    enum rc queued;
};

static void begin_append(struct fixture *f, struct store_account *a, struct pending *p,
                         unsigned flags)
{
    waiter_init(&p->waiter);
    p->blob = fixture_blob(f, a, STR("text"));
    struct store_append append = {.blob = p->blob, .size = 4};
    p->queued = store_append(a, &append, flags, &p->waiter.op);
}

static enum rc end(struct fixture *f, struct pending *p)
{
    enum rc rc = waiter_wait(&p->waiter, p->queued);
    fixture_forget(f, p->blob);
    return rc;
}

static void nothing_is_seen_before_it_is_durable(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct pending p[20];
    struct store_root *before = NULL;
    assert_rc(fixture_append(f, a, STR("0"), NULL, NULL), RC_OK);
    assert_rc(store_mailbox_open(a, 1, 0, &before), RC_OK);
    kv_mem_hold(f->kv, true);
    for (int i = 0; i < 20; i++) {
        begin_append(f, a, &p[i], 0);
        assert_rc(p[i].queued, RC_OK);
    }
    uint32_t uid = 5;
    struct waiter w, x;
    waiter_init(&w);
    waiter_init(&x);
    struct store_flag_change seen = {.mailbox = 1,
                                     .uids = &uid,
                                     .n_uids = 1,
                                     .how = STORE_FLAGS_ADD,
                                     .flags = STORE_SEEN,
                                     .unchanged_since = UINT64_MAX};
    assert_rc(store_change_flags(a, &seen, KV_CACHED, &w.op), RC_OK); /* a message of the head */
    uid = 7;
    assert_rc(store_expunge(a, 1, &uid, 1, KV_CACHED, &x.op), RC_OK);
    fixture_assert_rows(a, 1, "1:");
    assert_int_equal(fixture_mailbox(a, 1).uidnext, 2);
    struct store_usage usage;
    store_account_usage(a, &usage);
    assert_int_equal(usage.messages, 1);
    kv_mem_hold(f->kv, false);
    for (int i = 0; i < 20; i++) {
        assert_rc(end(f, &p[i]), RC_OK);
        assert_int_equal(p[i].waiter.op.uid, i + 2);
    }
    assert_rc(waiter_wait(&w, RC_OK), RC_OK);
    assert_rc(waiter_wait(&x, RC_OK), RC_OK);
    fixture_assert_rows(a, 1,
                        "1: 2: 3: 4: 5:S 6: 8: 9: 10: 11: 12: 13: 14: 15: 16: 17: 18: 19: 20: 21:");
    assert_int_equal(store_root_count(before), 1);
    assert_int_equal(store_root_mailbox(before)->uidnext, 2);
    store_root_release(&before);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* The rows of a mailbox are loaded while changes to it are under way. */
static void a_mailbox_is_opened_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct pending p[3];
    struct waiter w;
    uint32_t uid = 1;
    for (int i = 0; i < 3; i++)
        assert_rc(fixture_append(f, a, STR("0"), NULL, NULL), RC_OK);
    fixture_close(f, &a);
    fixture_reopen_store(f);
    a = fixture_open(f, 1);
    kv_mem_hold(f->kv, true);
    for (int i = 0; i < 3; i++)
        begin_append(f, a, &p[i], 0);
    waiter_init(&w);
    assert_rc(store_expunge(a, 1, &uid, 1, 0, &w.op), RC_OK);
    struct store_root *root = NULL;
    assert_rc(store_mailbox_open(a, 1, KV_CACHED, &root), RC_AGAIN);
    fixture_assert_rows(a, 1, "1: 2: 3:");
    kv_mem_hold(f->kv, false);
    for (int i = 0; i < 3; i++)
        assert_rc(end(f, &p[i]), RC_OK);
    assert_rc(waiter_wait(&w, RC_OK), RC_OK);
    assert_rc(store_mailbox_open(a, 1, KV_CACHED, &root), RC_OK);
    assert_int_equal(store_root_count(root), 5);
    store_root_release(&root);
    fixture_assert_rows(a, 1, "2: 3: 4: 5: 6:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* A change that finds nothing to do has perhaps seen one that is not on disk yet: it is done no
 * sooner, and not at all when that one fails. */
static void nothing_to_do_waits_for_what_it_has_seen(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    uint32_t uid = 1;
    struct store_flag_change seen = {.mailbox = 1,
                                     .uids = &uid,
                                     .n_uids = 1,
                                     .how = STORE_FLAGS_ADD,
                                     .flags = STORE_SEEN,
                                     .unchanged_since = UINT64_MAX};
    assert_rc(fixture_append(f, a, STR("0"), NULL, NULL), RC_OK);
    for (int fails = 1; fails >= 0; fails--) {
        struct waiter first, again, others[2];
        kv_mem_hold(f->kv, true);
        if (fails)
            kv_mem_fail(f->kv, RC_FULL);
        waiter_init(&first);
        waiter_init(&again);
        assert_rc(store_change_flags(a, &seen, 0, &first.op), RC_OK);
        assert_rc(store_change_flags(a, &seen, 0, &again.op), RC_OK);
        for (int i = 0; i < 2; i++) { /* it is gone already for the second one */
            waiter_init(&others[i]);
            assert_rc(store_expunge(a, 1, &uid, 1, 0, &others[i].op), RC_OK);
        }
        assert_false(first.is_done || again.is_done || others[0].is_done || others[1].is_done);
        kv_mem_hold(f->kv, false);
        assert_rc(waiter_wait(&first, RC_OK), fails ? RC_FULL : RC_OK);
        assert_rc(waiter_wait(&again, RC_OK), fails ? RC_CONFLICT : RC_OK);
        assert_int_equal(again.op.changed, 0);
        assert_rc(waiter_wait(&others[0], RC_OK), fails ? RC_CONFLICT : RC_OK);
        assert_rc(waiter_wait(&others[1], RC_OK), fails ? RC_CONFLICT : RC_OK);
        fixture_assert_rows(a, 1, fails ? "1:" : "");
    }
    fixture_close(f, &a);
}

static void a_failure_takes_what_is_behind_it(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct pending p[4];
    struct str keyword = STR("lost");
    fixture_assert_rows(a, 1, "");
    assert_rc(fixture_append(f, a, STR("0"), NULL, NULL), RC_OK);
    for (int round = 0; round < 3; round++) {
        kv_mem_hold(f->kv, true);
        kv_mem_fail(f->kv, RC_FULL);
        for (int i = 0; i < 4; i++)
            begin_append(f, a, &p[i], 0);
        uint32_t uid = 1;
        struct waiter w;
        waiter_init(&w);
        struct store_flag_change change = {.mailbox = 1,
                                           .uids = &uid,
                                           .n_uids = 1,
                                           .how = STORE_FLAGS_ADD,
                                           .keywords = &keyword,
                                           .n_keywords = 1,
                                           .unchanged_since = UINT64_MAX};
        assert_rc(store_change_flags(a, &change, 0, &w.op), RC_OK);
        kv_mem_hold(f->kv, false);
        assert_rc(end(f, &p[0]), RC_FULL);
        for (int i = 1; i < 4; i++)
            assert_rc(end(f, &p[i]), RC_CONFLICT);
        assert_rc(waiter_wait(&w, RC_OK), RC_CONFLICT);
        struct store_op op;
        assert_rc(fixture_append(f, a, STR("1"), NULL, &op), RC_OK);
        assert_int_equal(op.uid, round + 2);
    }
    fixture_assert_rows(a, 1, "1: 2: 3: 4:");
    struct arena arena;
    struct str names[STORE_KEYWORDS];
    arena_init(&arena, 0);
    assert_rc(store_keywords(a, &arena, names), RC_OK);
    assert_true(str_is_null(names[0]));
    arena_fini(&arena);
    fixture_close(f, &a);
    fixture_reopen_store(f);
    a = fixture_open(f, 1);
    fixture_assert_rows(a, 1, "1: 2: 3: 4:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void a_read_only_store_is_read(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    assert_rc(fixture_append(f, a, STR("kept"), NULL, &op), RC_OK);
    kv_mem_fail(f->kv, RC_TEMP);
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_TEMP);
    for (int i = 0; i < 3; i++) {
        assert_rc(store_account_set_quota(a, (struct store_quota){0}), RC_TEMP);
        assert_rc(fixture_flag(a, 1, 1, STORE_FLAGS_ADD, STORE_SEEN), RC_TEMP);
    }
    fixture_assert_rows(a, 1, "1:");
    fixture_assert_body(a, op.email, STR("kept"));
    fixture_close(f, &a);
}

/* Another writer has come between: the account is loaded anew. */
static void what_others_wrote_is_loaded(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    fixture_assert_rows(a, 1, "");
    unsigned char mem[RECORD_VALUE];
    struct kv_txn *txn = kv_txn_new(account_part(1));
    struct key key = key_hot();
    struct hot hot = a->published.hot;
    hot.next_modseq += 100;
    assert_rc(kv_txn_put(txn, key_str(&key), hot_encode(&hot, mem, sizeof mem)), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    struct store_op op;
    assert_rc(fixture_append(f, a, STR("1"), NULL, &op), RC_CONFLICT);
    assert_rc(fixture_append(f, a, STR("1"), NULL, &op), RC_OK);
    assert_int_equal(op.modseq, hot.next_modseq);
    fixture_assert_rows(a, 1, "1:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void quota_is_exact(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append forced = {.ignore_quota = true};
    uint32_t uid = 1;
    assert_rc(store_account_set_quota(a, (struct store_quota){.bytes = 10}), RC_OK);
    assert_rc(fixture_append(f, a, STR("1234"), NULL, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("1234567"), NULL, NULL), RC_LIMIT);
    assert_rc(fixture_append(f, a, STR("123456"), NULL, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_LIMIT);
    assert_rc(fixture_append(f, a, STR("1"), &forced, NULL), RC_OK);
    assert_rc(fixture_expunge(a, 1, &uid, 1, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("1234"), NULL, NULL), RC_LIMIT);
    assert_rc(fixture_append(f, a, STR("123"), NULL, NULL), RC_OK);
    assert_rc(store_account_set_quota(a, (struct store_quota){.messages = 4}), RC_OK);
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_LIMIT);
    struct store_usage usage;
    store_account_usage(a, &usage);
    assert_int_equal(usage.messages, 4);
    assert_int_equal(usage.bytes, 11);
    assert_int_equal(usage.quota.messages, 4);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Limits that are a group's, each by itself; a change of them holds at once. */
static void quota_is_inherited(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_quota mine = {.bytes = 6, .inherited = STORE_QUOTA_MESSAGES, .group = 7};
    struct store_usage usage;
    assert_rc(store_account_set_quota(a, mine), RC_OK);
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_OK);
    assert_rc(store_default_set(f->store, 7, (struct store_quota){.bytes = 1, .messages = 2}),
              RC_OK);
    assert_rc(store_default_set(f->store, 8, (struct store_quota){.messages = 1}), RC_OK);
    assert_rc(store_account_has_room(a, 0), RC_OK);
    assert_rc(store_account_has_room(a, 6), RC_LIMIT);
    assert_rc(fixture_append(f, a, STR("2"), NULL, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("3"), NULL, NULL), RC_LIMIT);
    assert_rc(store_account_has_room(a, 0), RC_LIMIT);
    store_account_usage(a, &usage);
    assert_true(usage.quota.bytes == 6 && usage.quota.messages == 2);
    fixture_close(f, &a);
    fixture_reopen(f); /* both are stored */
    a = fixture_open(f, 1);
    assert_rc(fixture_append(f, a, STR("3"), NULL, NULL), RC_LIMIT);
    assert_rc(store_default_set(f->store, 7, (struct store_quota){0}), RC_OK);
    assert_rc(fixture_append(f, a, STR("3"), NULL, NULL), RC_OK);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Queued messages count: the head is what quota is checked against. */
static void quota_counts_what_is_queued(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct pending p[4];
    assert_rc(store_account_set_quota(a, (struct store_quota){.messages = 3}), RC_OK);
    kv_mem_hold(f->kv, true);
    for (int i = 0; i < 4; i++)
        begin_append(f, a, &p[i], 0);
    kv_mem_hold(f->kv, false);
    for (int i = 0; i < 3; i++)
        assert_rc(end(f, &p[i]), RC_OK);
    assert_rc(end(f, &p[3]), RC_LIMIT);
    fixture_close(f, &a);
}

static void a_repeated_delivery_is_known(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append how = {.delivery_id = STR("0123456789abcdef")},
                        odd = {.delivery_id = STR("short")};
    assert_rc(fixture_append(f, a, STR("1"), &odd, NULL), RC_PERM);
    assert_rc(fixture_append(f, a, STR("1"), &how, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("1"), &how, NULL), RC_EXISTS);
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    assert_rc(fixture_append(f, a, STR("1"), &how, NULL), RC_EXISTS);
    f->clock.wall += 6 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    assert_rc(fixture_append(f, a, STR("1"), &how, NULL), RC_EXISTS);
    f->clock.wall += 2 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    assert_rc(fixture_append(f, a, STR("1"), &how, NULL), RC_OK);
    fixture_assert_rows(a, 1, "1: 2:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* Nobody says "delivered before" while the first delivery may still fail. */
static void a_delivery_under_way_is_no_delivery(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct kv_blob_id blob = fixture_blob(f, a, STR("x"));
    struct store_append how = {.delivery_id = STR("0123456789abcdef"), .blob = blob, .size = 1};
    struct waiter w, x;
    waiter_init(&w);
    waiter_init(&x);
    kv_mem_hold(f->kv, true);
    kv_mem_fail(f->kv, RC_FULL);
    assert_rc(store_append(a, &how, 0, &w.op), RC_OK);
    assert_rc(store_append(a, &how, 0, &x.op), RC_CONFLICT);
    kv_mem_hold(f->kv, false);
    assert_rc(waiter_wait(&w, RC_OK), RC_FULL);
    assert_rc(waiter_wait(&x, store_append(a, &how, 0, &x.op)), RC_OK);
    fixture_forget(f, blob);
    fixture_assert_rows(a, 1, "1:");
    fixture_close(f, &a);
}

static uint64_t keywords_at(struct store_account *a, size_t index)
{
    struct store_root *root;
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    uint64_t keywords = store_root_at(root, index)->keywords;
    store_root_release(&root);
    return keywords;
}

/* Of the first message. */
static enum rc change_keywords_of(struct store_account *a, enum store_flag_how how,
                                  const struct str *names, size_t n, struct store_op *out)
{
    const uint32_t uid = 1;
    const struct store_flag_change change = {.mailbox = 1,
                                             .uids = &uid,
                                             .n_uids = 1,
                                             .how = how,
                                             .keywords = names,
                                             .n_keywords = n,
                                             .unchanged_since = UINT64_MAX};
    return fixture_flags(a, &change, out);
}

static void keywords_have_names(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct str names[2] = {STR("$Junk"), STR("work")}, other = STR("WORK"), all[STORE_KEYWORDS];
    struct arena arena;
    arena_init(&arena, 0);
    struct store_append how = {.keywords = names, .n_keywords = 2};
    assert_rc(fixture_append(f, a, STR("1"), &how, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 0), 3);
    assert_rc(change_keywords_of(a, STORE_FLAGS_REMOVE, &other, 1, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 0), 1);
    for (int i = 2; i < STORE_KEYWORDS + 2; i++) {
        char text[20];
        snprintf(text, sizeof text, "k%d", i);
        other = str_of(text);
        assert_rc(change_keywords_of(a, STORE_FLAGS_ADD, &other, 1, NULL),
                  i < STORE_KEYWORDS ? RC_OK : RC_LIMIT);
    }
    other = STR("unknown");
    struct store_op op;
    assert_rc(change_keywords_of(a, STORE_FLAGS_REMOVE, &other, 1, &op), RC_OK);
    assert_int_equal(op.changed, 0);
    fixture_close(f, &a);
    fixture_reopen(f);
    a = fixture_open(f, 1);
    assert_rc(store_keywords(a, &arena, all), RC_OK);
    assert_str(all[0], "$Junk");
    assert_str(all[1], "work");
    assert_str(all[63], "k63");
    assert_int_equal(keywords_at(a, 0), UINT64_MAX & ~UINT64_C(2));
    arena_fini(&arena);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* [RFC9979 4, 5]: the later one takes the place of the other one; nothing else is touched. */
static void some_keywords_exclude_one_another(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct str names[4] = {STR("work"), STR("$HasAttachment"), STR("$HASNOATTACHMENT"),
                           STR("$memo")},
               other;
    struct store_append how = {.keywords = names, .n_keywords = 4};
    assert_rc(fixture_append(f, a, STR("1"), &how, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 0), 1 | 2 | 8);
    other = STR("$hasnoattachment");
    assert_rc(change_keywords_of(a, STORE_FLAGS_ADD, &other, 1, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 0), 1 | 4 | 8);
    other = STR("$hasmemo");
    assert_rc(change_keywords_of(a, STORE_FLAGS_ADD, &other, 1, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 0), 1 | 4 | 16);
    other = STR("$memo");
    assert_rc(change_keywords_of(a, STORE_FLAGS_REMOVE, &other, 1, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 0), 1 | 4 | 16);
    assert_rc(change_keywords_of(a, STORE_FLAGS_SET, names, 3, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 0), 1 | 2);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void an_extra_keyword_never_stands_in_the_way(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    char texts[STORE_KEYWORDS][8];
    struct str names[STORE_KEYWORDS], extra = STR("$hasattachment");
    for (int i = 0; i < STORE_KEYWORDS; i++) {
        snprintf(texts[i], sizeof texts[i], "k%d", i);
        names[i] = str_of(texts[i]);
    }
    struct store_append all = {.keywords = names, .n_keywords = STORE_KEYWORDS},
                        one = {.keywords = &extra, .n_keywords = 1};
    assert_rc(fixture_append(f, a, STR("1"), &all, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("2"), &one, NULL), RC_LIMIT);
    one.are_keywords_extra = true;
    assert_rc(fixture_append(f, a, STR("3"), &one, NULL), RC_OK);
    assert_int_equal(keywords_at(a, 1), 0);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void unchanged_since_is_kept(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    uint32_t uids[] = {1, 2}, left[2] = {0};
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("2"), NULL, &op), RC_OK);
    uint64_t then = op.modseq;
    assert_rc(fixture_flag(a, 1, 1, STORE_FLAGS_ADD, STORE_FLAGGED), RC_OK);
    struct store_flag_change change = {.mailbox = 1,
                                       .uids = uids,
                                       .n_uids = 2,
                                       .how = STORE_FLAGS_SET,
                                       .flags = STORE_SEEN,
                                       .unchanged_since = then,
                                       .out_left = left};
    assert_rc(fixture_flags(a, &change, &op), RC_OK);
    assert_int_equal(op.changed, 1);
    assert_int_equal(op.left, 1);
    assert_int_equal(left[0], 1);
    fixture_assert_rows(a, 1, "1:F 2:S");
    uint32_t wrong[] = {2, 1};
    change.uids = wrong;
    assert_rc(fixture_flags(a, &change, NULL), RC_PERM);
    change.n_uids = STORE_BATCH + 1;
    assert_rc(fixture_flags(a, &change, NULL), RC_LIMIT);
    change.mailbox = 99;
    change.n_uids = 0;
    assert_rc(fixture_flags(a, &change, NULL), RC_NOTFOUND);
    fixture_close(f, &a);
}

struct counting_watch {
    struct store_watch watch;
    _Atomic int n;
};

static void count(struct store_watch *watch)
{
    atomic_fetch_add(&CONTAINER(watch, struct counting_watch, watch)->n, 1);
}

static void watches_are_told(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct counting_watch w = {.watch.changed = count};
    store_watch_add(a, &w.watch);
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_OK);
    assert_int_equal(atomic_load(&w.n), 1); /* before the one who asked */
    store_watch_remove(a, &w.watch);
    assert_rc(fixture_append(f, a, STR("1"), NULL, NULL), RC_OK);
    assert_int_equal(atomic_load(&w.n), 1);
    fixture_close(f, &a);
}

static void threads_are_found(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op[5];
    struct str to_a[] = {STR("nowhere@x"), STR("a@x")}, to_b = STR("b@x");
    struct store_append how[] = {
        {.message_id = STR("a@x")},
        {.message_id = STR("b@x"), .references = to_a, .n_references = 2},
        {.message_id = STR("c@x"), .references = &to_b, .n_references = 1},
        {.message_id = STR("d@x")},
        {.message_id = STR("a@x")},
    };
    struct attempt t = {.account = a};
    struct email e[5];
    arena_init(&t.arena, 0);
    for (int i = 0; i < 5; i++) {
        assert_rc(fixture_append(f, a, STR("x"), &how[i], &op[i]), RC_OK);
        assert_rc(head_email(&t, op[i].email, &e[i]), RC_OK);
    }
    arena_fini(&t.arena);
    assert_int_equal(e[0].thread, e[1].thread);
    assert_int_equal(e[0].thread, e[2].thread);
    assert_int_equal(e[0].thread, e[4].thread);
    assert_int_not_equal(e[0].thread, e[3].thread);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

static void make_copy(struct fixture *f, uint64_t id, uint32_t uid)
{
    struct store_account *a = fixture_open(f, id);
    struct store_copy copy = {.from = 1, .to = 2, .uids = &uid, .n_uids = 1};
    assert_rc(fixture_copy(a, &copy, NULL), RC_OK);
    fixture_close(f, &a);
    fixture_reopen_store(f);
    fixture_assert_sound(f, id);
}

/* [RFC8621 4.1.1]: keywords are the message's; \Deleted is the place's. */
static void copies_share_flags_but_not_deleted(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_op op;
    uint32_t uid = 2;
    for (int i = 0; i < 3; i++)
        assert_rc(fixture_append(f, a, STR("text"), NULL, &op), RC_OK);
    fixture_close(f, &a);
    make_copy(f, 1, 2);
    a = fixture_open(f, 1);
    for (int is_loaded = 0; is_loaded < 2; is_loaded++) {
        uint32_t flags = is_loaded ? STORE_FLAGGED : STORE_SEEN;
        assert_rc(fixture_flag(a, 1, 2, STORE_FLAGS_ADD, flags | STORE_DELETED), RC_OK);
        fixture_assert_rows(a, 1, is_loaded ? "1: 2:SFD 3:" : "1: 2:SD 3:");
        fixture_assert_rows(a, 2, is_loaded ? "1:SF" : "1:S");
    }
    assert_int_equal(fixture_mailbox(a, 1).unseen, 2);
    assert_int_equal(fixture_mailbox(a, 2).unseen, 0);
    assert_rc(fixture_flag(a, 2, 1, STORE_FLAGS_SET, STORE_ANSWERED), RC_OK);
    fixture_assert_rows(a, 1, "1: 2:AD 3:");
    fixture_assert_rows(a, 2, "1:A");
    fixture_assert_sound(f, 1);
    assert_rc(fixture_expunge(a, 1, &uid, 1, &op), RC_OK);
    fixture_assert_rows(a, 1, "1: 3:");
    fixture_assert_rows(a, 2, "1:A");
    struct store_usage usage;
    store_account_usage(a, &usage);
    assert_int_equal(usage.messages, 3);
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    fixture_assert_body(a, 2, STR("text")); /* the other place keeps it */
    fixture_assert_sound(f, 1);
    uid = 1;
    assert_rc(fixture_expunge(a, 2, &uid, 1, &op), RC_OK);
    store_account_usage(a, &usage);
    assert_int_equal(usage.messages, 2);
    f->clock.wall += 8 * 86400 * NS_PER_SEC;
    fixture_maintain(a);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* What is no longer \Deleted when its turn comes stays, also when that is still on its way. */
static void expunge_can_ask_for_deleted(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    const uint32_t uids[] = {1, 2, 3};
    struct waiter w, x;
    fixture_append_many(f, a, 3);
    assert_rc(fixture_flag(a, 1, 1, STORE_FLAGS_ADD, STORE_DELETED), RC_OK);
    assert_rc(fixture_flag(a, 1, 3, STORE_FLAGS_ADD, STORE_DELETED), RC_OK);
    waiter_init(&w);
    waiter_init(&x);
    kv_mem_hold(f->kv, true);
    struct store_flag_change kept = {.mailbox = 1,
                                     .uids = uids,
                                     .n_uids = 1,
                                     .how = STORE_FLAGS_REMOVE,
                                     .flags = STORE_DELETED,
                                     .unchanged_since = UINT64_MAX};
    assert_rc(store_change_flags(a, &kept, KV_CACHED, &w.op), RC_OK);
    assert_rc(store_expunge(a, 1, uids, 3, KV_CACHED | STORE_ONLY_DELETED, &x.op), RC_OK);
    kv_mem_hold(f->kv, false);
    assert_rc(waiter_wait(&w, RC_OK), RC_OK);
    assert_rc(waiter_wait(&x, RC_OK), RC_OK);
    assert_int_equal(x.op.changed, 1);
    fixture_assert_rows(a, 1, "1: 2:");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* KV_CACHED never waits: it says so, and the same call without it does the work. */
static void cached_calls_say_again(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append how = {.message_id = STR("m@x"), .delivery_id = STR("0123456789abcdef")};
    struct store_message *m = NULL;
    struct waiter w;
    struct store_op op;
    uint32_t uids[] = {1, 2};
    assert_rc(fixture_append(f, a, STR("text"), NULL, &op), RC_OK);
    kv_mem_cold(f->kv, true);
    waiter_init(&w);
    how.blob = fixture_blob(f, a, STR("more"));
    how.size = 4;
    assert_rc(store_append(a, &how, KV_CACHED, &w.op), RC_AGAIN);
    assert_rc(waiter_wait(&w, store_append(a, &how, 0, &w.op)), RC_OK);
    fixture_forget(f, how.blob);
    waiter_init(&w);
    assert_rc(store_expunge(a, 1, uids, 2, KV_CACHED, &w.op), RC_AGAIN);
    assert_rc(store_message_open(a, op.email, KV_CACHED, &m), RC_AGAIN);
    assert_rc(store_message_open(a, op.email, 0, &m), RC_OK);
    store_message_close(&m);
    assert_rc(waiter_wait(&w, store_expunge(a, 1, uids, 2, 0, &w.op)), RC_OK);
    assert_int_equal(w.op.changed, 2);
    kv_mem_cold(f->kv, false);
    fixture_assert_rows(a, 1, "");
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* A body that is not there is damage, and no reason to say that the recipient is gone. */
static void a_missing_body_is_damage(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct store_append append = {.blob = {{1, 2, 3}}, .size = 1};
    struct waiter w;
    waiter_init(&w);
    assert_rc(waiter_wait(&w, store_append(a, &append, 0, &w.op)), RC_CORRUPT);
    assert_rc(fixture_append(f, a, STR("x"), NULL, NULL), RC_OK);
    fixture_assert_rows(a, 1, "1:");
    fixture_close(f, &a);
}

/* Too much at once is a matter of time, not of the account's limits. */
static void a_full_queue_says_later(void **state)
{
    enum { MORE = CHANGE_QUEUE + 1 };
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct pending *p = mem_zero(MORE * sizeof *p);
    kv_mem_hold(f->kv, true);
    for (int i = 0; i < MORE; i++) {
        begin_append(f, a, &p[i], 0);
        assert_rc(p[i].queued, i < CHANGE_QUEUE ? RC_OK : RC_TEMP);
    }
    kv_mem_hold(f->kv, false);
    for (int i = 0; i < MORE; i++)
        assert_rc(end(f, &p[i]), i < CHANGE_QUEUE ? RC_OK : RC_TEMP);
    assert_int_equal(fixture_mailbox(a, 1).exists, CHANGE_QUEUE);
    fixture_close(f, &a);
    free(p);
}

static void pop3_has_one_lock(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1), *b = fixture_open(f, 1);
    assert_ptr_equal(a, b);
    assert_true(store_pop3_lock(a));
    assert_false(store_pop3_lock(b));
    assert_rc(fixture_append(f, b, STR("meanwhile"), NULL, NULL), RC_OK);
    store_pop3_unlock(a);
    assert_true(store_pop3_lock(b));
    store_pop3_unlock(b);
    fixture_close(f, &a);
    fixture_close(f, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_MEM(nothing_is_seen_before_it_is_durable),
        ON_MEM(a_mailbox_is_opened_meanwhile),
        ON_MEM(nothing_to_do_waits_for_what_it_has_seen),
        ON_MEM(a_failure_takes_what_is_behind_it),
        ON_MEM(a_read_only_store_is_read),
        ON_MEM(what_others_wrote_is_loaded),
        ON_MEM(quota_counts_what_is_queued),
        ON_MEM(a_delivery_under_way_is_no_delivery),
        ON_BOTH(quota_is_exact),
        ON_BOTH(quota_is_inherited),
        ON_BOTH(a_repeated_delivery_is_known),
        ON_BOTH(keywords_have_names),
        ON_BOTH(some_keywords_exclude_one_another),
        ON_BOTH(an_extra_keyword_never_stands_in_the_way),
        ON_BOTH(unchanged_since_is_kept),
        ON_BOTH(watches_are_told),
        ON_BOTH(threads_are_found),
        ON_MEM(copies_share_flags_but_not_deleted),
        ON_MEM(expunge_can_ask_for_deleted),
        ON_MEM(cached_calls_say_again),
        ON_BOTH(a_missing_body_is_damage),
        ON_MEM(a_full_queue_says_later),
        ON_MEM(pop3_has_one_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
