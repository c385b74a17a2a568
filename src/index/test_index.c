/* The index of an account in a store: what it says, how far it is, what happens when rows are lost
 * or damaged, or messages go. The comparison through IMAP is src/imap/test_index.c. */
#include "index/build_int.h"

#include "store/test_inbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ACCOUNT = 7 };

struct fixture {
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
    struct store *store;
    struct mime_charsets *charsets;
    struct index *index;
    struct store_account *account;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    unsigned missing;
    f->ctx = (struct ctx){.counters = &f->counters, .clock = &clock_system};
    f->kv = kv_mem_new(&f->ctx);
    assert_rc(store_open(&f->ctx, f->kv, &(struct store_conf){0}, &f->store), RC_OK);
    mime_charsets_new(&f->charsets, &missing);
    index_open(&f->ctx, &(struct index_conf){f->store, f->kv, f->charsets, 0, false}, &f->index);
    assert_rc(store_account_create(f->store, ACCOUNT, (struct store_quota){0}), RC_OK);
    assert_rc(store_account_open(f->store, ACCOUNT, 0, &f->account), RC_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    index_close(&f->index);
    if (f->account)
        store_account_close(&f->account);
    store_close(&f->store);
    kv_close(&f->kv);
    mime_charsets_free(&f->charsets);
    free(f);
    return 0;
}

static void wait_for(struct fixture *f, uint64_t messages)
{
    struct index_figures figures = {0};
    while (figures.messages < messages) {
        usleep(1000);
        index_figures(f->index, &figures);
    }
}

/* The n-th message has "unique<n>" in its body, "sender<n>" in From, "topic<n>" in Subject. */
static void deliver(struct fixture *f, unsigned from, unsigned n)
{
    char text[300];
    for (unsigned i = from; i < from + n; i++) {
        int size = snprintf(text, sizeof text,
                            "From: \"Name\" <sender%u@example.test>\r\nSubject: topic%u\r\n\r\n"
                            "The text, with unique%u in it.\r\n",
                            i, i, i);
        inbox_fill(f->kv, f->store, ACCOUNT, str_from(text, (size_t)size), 0, 1);
    }
}

static void work(struct fixture *f)
{
    bool more = true;
    while (more)
        assert_rc(index_step(f->index, ACCOUNT, &more), RC_OK);
}

/* How many of the ids from 1 to n may have the word; whether `email` is one. */
static size_t count(struct fixture *f, enum index_field field, const char *word, uint64_t n,
                    uint64_t email)
{
    struct index_view *view;
    struct index_maybe maybe = {0};
    struct str needle = str_of(word);
    const struct index_ask ask = {field, &needle, 1};
    size_t found = 0;
    enum rc rc = index_view_open(f->index, f->account, &view);
    if (rc == RC_NOTFOUND)
        return n;
    assert_rc(rc, RC_OK);
    while ((rc = index_find(view, &ask, 0, &maybe)) == RC_AGAIN)
        ;
    assert_rc(rc, RC_OK);
    for (uint64_t id = 1; id <= n; id++)
        found += index_may(&maybe, id);
    assert_true(!email || index_may(&maybe, email));
    index_maybe_fini(&maybe);
    index_view_close(&view);
    return found;
}

static struct index_state look(struct fixture *f)
{
    struct index_state state;
    assert_rc(index_look(f->index, f->account, &state), RC_OK);
    return state;
}

static void it_says_what_may_be(void **state)
{
    struct fixture *f = *state;
    deliver(f, 1001, 200);
    assert_int_equal(count(f, INDEX_TEXT, "unique1007", 200, 7), 200); /* there is none */
    work(f);
    struct index_state s = look(f);
    assert_true(s.exists && s.emails == 200 && s.next == 201 && s.n_blocks == 1);
    assert_true(count(f, INDEX_TEXT, "unique1007", 200, 7) <= 2 * INDEX_TOGETHER);
    assert_true(count(f, INDEX_FROM, "sender1100@", 200, 100) <= 2 * INDEX_TOGETHER);
    assert_true(count(f, INDEX_SUBJECT, "topic1199", 200, 199) <= 2 * INDEX_TOGETHER);
    assert_true(count(f, INDEX_TEXT, "topic1199", 200, 199) <= 2 * INDEX_TOGETHER);
    assert_int_equal(count(f, INDEX_SUBJECT, "sender1100", 200, 0), 0);
    assert_int_equal(count(f, INDEX_CC, "example", 200, 0), 0);
    assert_int_equal(count(f, INDEX_TEXT, "the text", 200, 1), 200);
    assert_int_equal(count(f, INDEX_TEXT, "xy", 200, 1), 200); /* it has no grams */
    /* What came since may be. */
    deliver(f, 1201, 5);
    assert_int_equal(count(f, INDEX_TEXT, "nosuchword", 205, 205), 5);
}

/* Strings that are far from one another in a long message are in different columns; one that has
 * only some of them is denied still. */
static void all_of_several_strings_may_be(void **state)
{
    enum { WORDS = 20000 };
    struct fixture *f = *state;
    struct buf text = {.cap = 1 << 20};
    struct index_view *view;
    struct str needles[] = {STR_INIT("alphabetical"), STR_INIT("xy"), STR_INIT("middlemost"),
                            STR_INIT("omegatron")};
    const struct index_ask ask = {INDEX_TEXT, needles, 4};
    buf_put(&text, STR("Subject: x\r\n\r\nalphabetical "));
    for (unsigned i = 0; i < WORDS; i++)
        buf_putf(&text, i == WORDS / 2 ? "middlemost%u\r\n" : "w%x\r\n", i * 7919 % 65521);
    buf_put(&text, STR("omegatron\r\n"));
    deliver(f, 1000, 3);
    inbox_fill(f->kv, f->store, ACCOUNT, STR("A: alphabetical\r\n\r\nmiddlemost\r\n"), 0, 1);
    inbox_fill(f->kv, f->store, ACCOUNT, buf_str(&text), 0, 1);
    inbox_fill(f->kv, f->store, ACCOUNT, STR("A: alphabetical\r\n\r\nmiddlemost omegatron\r\n"), 0,
               1);
    work(f);
    assert_true(look(f).columns > 20);
    struct index_maybe maybe = {0};
    assert_rc(index_view_open(f->index, f->account, &view), RC_OK);
    assert_rc(index_find(view, &ask, UINT64_MAX, &maybe), RC_OK);
    assert_true(index_may(&maybe, 5) && index_may(&maybe, 6));
    for (uint64_t id = 1; id < 5; id++)
        assert_false(index_may(&maybe, id));
    index_maybe_fini(&maybe);
    index_view_close(&view);
    buf_fini(&text);
}

static void small_blocks_become_large(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 80; i++) {
        deliver(f, 1000 + i * 9, 9);
        work(f);
    }
    struct index_state s = look(f);
    assert_int_equal(s.emails, 720);
    assert_true(s.n_blocks < 16);
    for (unsigned i = 0; i < 720; i += 31) {
        char word[32];
        snprintf(word, sizeof word, "unique%u", 1000 + i);
        assert_true(count(f, INDEX_TEXT, word, 720, i + 1) <= 4 * INDEX_TOGETHER);
    }
}

/* Ids without a message are "maybe": somebody may still see what was there. */
static void gaps_are_maybe(void **state)
{
    struct fixture *f = *state;
    static const uint32_t gone[] = {3, 4, 10, 50, 51, 52, 99};
    deliver(f, 1000, 100);
    inbox_expunge(f->store, ACCOUNT, gone, sizeof gone / sizeof *gone);
    work(f);
    assert_int_equal(count(f, INDEX_TEXT, "nosuchword", 100, 50), 7);
    /* Also when blocks are joined, and between them. */
    for (unsigned i = 0; i < 24; i++) {
        uint32_t uid = 101 + i * 8;
        deliver(f, 2000 + i * 8, 8);
        inbox_expunge(f->store, ACCOUNT, &uid, 1);
        work(f);
    }
    assert_int_equal(count(f, INDEX_TEXT, "nosuchword", 292, 101), 7 + 24);
}

static void one_that_is_mostly_gone_is_made_anew(void **state)
{
    struct fixture *f = *state;
    deliver(f, 1000, 2500);
    work(f);
    assert_int_equal(look(f).emails, 2500);
    uint32_t *uids = calloc(2450, sizeof *uids);
    for (uint32_t i = 0; i < 2450; i++)
        uids[i] = i + 1;
    for (uint32_t i = 0; i < 2450; i += 490)
        inbox_expunge(f->store, ACCOUNT, uids + i, 490);
    free(uids);
    work(f);
    assert_int_equal(look(f).emails, 50);
    assert_true(count(f, INDEX_TEXT, "unique3499", 2500, 2500) <= 2450 + INDEX_TOGETHER);
}

static void cache_row(struct fixture *f, struct str key, struct str value)
{
    struct kv_txn *txn = kv_txn_new(index_part(ACCOUNT));
    assert_rc(value.n ? kv_txn_put(txn, key, value) : kv_txn_delete(txn, key), RC_OK);
    assert_rc(kv_commit_lazy_wait(f->kv, txn, NULL), RC_OK);
}

/* Each row of the index in turn is lost, or has a bit changed: nothing is denied that is there, and
 * after the next steps all is as it was. */
static void damage_is_mended(void **state)
{
    struct fixture *f = *state;
    static const uint32_t gone[] = {20, 21, 60};
    struct index_key from = index_key_kind(0), to = index_key_after(from);
    deliver(f, 1000, 100);
    inbox_expunge(f->store, ACCOUNT, gone, 3);
    for (size_t which = 0;; which++) {
        struct arena arena = {0};
        struct kv_page page;
        struct kv_range range = {.from = index_key_str(&from), .to = index_key_str(&to)};
        work(f);
        assert_int_equal(look(f).emails, 97);
        assert_rc(kv_scan(f->kv, index_part(ACCOUNT), range, 0, 0, &arena, &page), RC_OK);
        assert_true(page.n >= 5);
        if (which / 2 >= page.n) {
            arena_fini(&arena);
            break;
        }
        struct kv_row row = page.rows[which / 2];
        char *damaged = malloc(row.value.n);
        memcpy(damaged, row.value.p, row.value.n);
        damaged[which % row.value.n] ^= 1;
        cache_row(f, row.key, which % 2 ? str_from(damaged, row.value.n) : (struct str){0});
        free(damaged);
        arena_fini(&arena);
        for (unsigned i = 0; i < 100; i += 9) {
            char word[32];
            snprintf(word, sizeof word, "unique%u", 1000 + i);
            (void)count(f, INDEX_TEXT, word, 100, i + 1);
        }
    }
}

static void one_can_be_thrown_away(void **state)
{
    struct fixture *f = *state;
    deliver(f, 1000, 50);
    assert_rc(index_rebuild(f->index, 99), RC_NOTFOUND);
    work(f);
    assert_rc(index_rebuild(f->index, ACCOUNT), RC_OK);
    assert_int_equal(look(f).emails, 0);
    assert_int_equal(count(f, INDEX_TEXT, "unique1007", 50, 8), 50);
    work(f);
    assert_true(count(f, INDEX_TEXT, "unique1007", 50, 8) < 50);
}

/* A view that was opened before rows went says "maybe" for what it cannot find. */
static void a_view_outlives_its_rows(void **state)
{
    struct fixture *f = *state;
    struct index_view *view;
    struct index_maybe maybe = {0};
    struct str needle = STR("nosuchword");
    const struct index_ask ask = {INDEX_TEXT, &needle, 1};
    deliver(f, 1000, 100);
    work(f);
    assert_rc(index_view_open(f->index, f->account, &view), RC_OK);
    assert_rc(index_rebuild(f->index, ACCOUNT), RC_OK);
    work(f);
    assert_rc(index_find(view, &ask, UINT64_MAX, &maybe), RC_OK);
    for (uint64_t id = 1; id <= 100; id++)
        assert_true(index_may(&maybe, id));
    index_maybe_fini(&maybe);
    index_view_close(&view);
    assert_int_equal(look(f).emails, 100); /* and takes no harm for damage */
}

static bool has_rows(struct fixture *f)
{
    struct index_key from = index_key_kind(0), to = index_key_after(from);
    struct arena arena = {0};
    struct kv_page page;
    struct kv_range range = {.from = index_key_str(&from), .to = index_key_str(&to)};
    assert_rc(kv_scan(f->kv, index_part(ACCOUNT), range, 0, 0, &arena, &page), RC_OK);
    arena_fini(&arena);
    return page.n > 0;
}

static void it_goes_with_the_account(void **state)
{
    struct fixture *f = *state;
    deliver(f, 1000, 30);
    work(f);
    assert_true(has_rows(f));
    store_account_close(&f->account);
    assert_rc(store_account_destroy(f->store, ACCOUNT), RC_OK);
    assert_false(has_rows(f));
}

static void nothing_is_made_or_asked_when_it_is_off(void **state)
{
    struct fixture *f = *state;
    struct index *off;
    struct index_view *view;
    bool more;
    deliver(f, 1000, 30);
    work(f);
    index_open(&f->ctx, &(struct index_conf){f->store, f->kv, f->charsets, 0, true}, &off);
    index_start(off);
    assert_rc(index_view_open(off, f->account, &view), RC_NOTFOUND);
    assert_rc(index_step(off, ACCOUNT, &more), RC_DENIED);
    assert_rc(index_rebuild(off, ACCOUNT), RC_DENIED);
    index_close(&off);
    assert_int_equal(look(f).emails, 30); /* what there is stays */
}

/* Nothing is made when messages come, nor for an account that nobody wants it for; then the thread
 * does it, and stops at once when it is told to. */
static void the_thread_works_for_those_that_want_it(void **state)
{
    struct fixture *f = *state;
    struct index_figures figures;
    index_start(f->index);
    deliver(f, 1000, 100);
    assert_false(has_rows(f));
    index_figures(f->index, &figures);
    assert_true(figures.messages == 0 && figures.waiting == 0);
    index_want(f->index, f->account);
    wait_for(f, 100);
    deliver(f, 2000, 40);
    wait_for(f, 140); /* without being asked */
    index_figures(f->index, &figures);
    assert_true(figures.bytes > 0);
    index_close(&f->index);
    struct index_table table;
    assert_rc(index_table_load(f->kv, ACCOUNT, &table), RC_OK);
    assert_int_equal(table.emails, 140);
    index_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
        TEST(it_says_what_may_be),
        TEST(all_of_several_strings_may_be),
        TEST(small_blocks_become_large),
        TEST(gaps_are_maybe),
        TEST(one_that_is_mostly_gone_is_made_anew),
        TEST(damage_is_mended),
        TEST(one_can_be_thrown_away),
        TEST(a_view_outlives_its_rows),
        TEST(it_goes_with_the_account),
        TEST(nothing_is_made_or_asked_when_it_is_off),
        TEST(the_thread_works_for_those_that_want_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
