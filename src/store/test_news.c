/* What has changed, and what that costs. */
#include "store/fixture.h"

#include "base/buf.h"

#include <stdio.h>

struct told {
    struct arena arena;
    struct store_news *news;
    size_t n;
};

/* All that is new, up to 100; *at moves. */
static void look(struct store_account *a, uint64_t *at, struct told *t)
{
    arena_fini(&t->arena);
    assert_rc(store_news(a, *at, at, &t->arena, &t->news, &t->n), RC_OK);
}

static void nothing_is_told_twice(void **state)
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct told t = {0};
    uint64_t at = store_news_now(a);
    uint32_t inbox = fixture_find(a, "INBOX"), one = 1;
    look(a, &at, &t);
    assert_int_equal(t.n, 0);
    assert_rc(fixture_append(f, a, STR("x"), NULL, NULL), RC_OK);
    look(a, &at, &t);
    assert_int_equal(t.n, 1);
    assert_str(t.news[0].path, "INBOX");
    assert_int_equal(t.news[0].mailbox.id, inbox);
    assert_int_equal(t.news[0].mailbox.exists, 1);
    assert_true(t.news[0].has_counts && t.news[0].has_unseen && t.news[0].is_alone);
    assert_int_equal(at, store_news_now(a));
    look(a, &at, &t);
    assert_int_equal(t.n, 0);
    assert_rc(fixture_flag(a, inbox, 1, STORE_FLAGS_ADD, STORE_FLAGGED), RC_OK);
    look(a, &at, &t);
    assert_int_equal(t.n, 1);
    assert_false(t.news[0].has_counts || t.news[0].has_unseen);
    assert_rc(fixture_flag(a, inbox, 1, STORE_FLAGS_ADD, STORE_SEEN), RC_OK);
    look(a, &at, &t);
    assert_true(t.n == 1 && !t.news[0].has_counts && t.news[0].has_unseen);
    assert_rc(fixture_expunge(a, inbox, &one, 1, NULL), RC_OK);
    assert_rc(fixture_append(f, a, STR("x"), NULL, NULL), RC_OK);
    look(a, &at, &t);
    assert_true(t.n == 1 && t.news[0].has_counts && !t.news[0].is_alone);
    fixture_maintain(a); /* of which clients see nothing */
    look(a, &at, &t);
    assert_int_equal(t.n, 0);
    arena_fini(&t.arena);
    fixture_close(f, &a);
}

static void pages_miss_nothing(void **state)
{
    enum { N = 1203 };
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct told t = {0};
    uint64_t since = store_news_now(a), at = since, last = 0;
    char name[20];
    size_t n = 0;
    for (unsigned i = 0; i < N; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        assert_rc(fixture_create(a, name, STORE_NONE, NULL), RC_OK);
    }
    assert_rc(fixture_remove(a, fixture_find(a, "m7")), RC_OK);
    for (;;) {
        arena_fini(&t.arena);
        assert_rc(store_news(a, since, &at, &t.arena, &t.news, &t.n), RC_OK);
        if (!t.n)
            break;
        assert_true(t.n <= 100);
        for (size_t i = 0; i < t.n; i++) {
            assert_true(t.news[i].modseq > last);
            last = t.news[i].modseq;
        }
        n += t.n;
        if (n == 500) /* it moves to the end, and is told there as it is then */
            assert_rc(fixture_append(f, a, STR("x"),
                                     &(struct store_append){.mailbox = fixture_find(a, "m600")},
                                     NULL),
                      RC_OK);
    }
    assert_int_equal(n, N - 1);
    assert_int_equal(last, store_news_now(a));
    arena_fini(&t.arena);
    fixture_close(f, &a);
}

static void expect_names(struct store_account *a, uint64_t *at, const char *expected)
{
    struct arena arena = {0};
    struct buf all = {.cap = 4096};
    struct store_name_news *news;
    size_t n;
    for (;;) {
        assert_rc(store_names_news(a, at, &arena, &news, &n), RC_OK);
        for (size_t i = 0; i < n; i++) {
            buf_putf(&all, "%.*s%s%s", STR_ARG(news[i].path), news[i].is_there ? "" : "-",
                     news[i].has_children ? "+" : "");
            if (news[i].old.p)
                buf_putf(&all, "<%.*s", STR_ARG(news[i].old));
            if (news[i].is_subscription)
                buf_putf(&all, "%s", news[i].is_subscribed ? "!" : "?");
            buf_put(&all, STR(" "));
        }
        if (!n)
            break;
    }
    if (!str_eq(buf_str(&all), str_of(expected)))
        fail_msg("expected %s, got %.*s", expected, STR_ARG(buf_str(&all)));
    buf_fini(&all);
    arena_fini(&arena);
}

static void subscribe(struct store_account *a, const char *name, bool is_on)
{
    struct waiter w;
    waiter_init(&w);
    assert_rc(waiter_wait(&w, store_subscribe(a, str_of(name), is_on, 0, &w.op)), RC_OK);
}

static void names_are_told(void **state) /* [RFC5465 5.4] [RFC5465 5.5] */
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    store_names_watch(a);
    uint64_t at = store_news_now(a);
    assert_rc(fixture_create(a, "a/b/c", STORE_NONE, NULL), RC_OK);
    expect_names(a, &at, "a/b/c a/b-+ ");
    assert_rc(fixture_create(a, "a/b", STORE_NONE, NULL), RC_OK);
    expect_names(a, &at, "a/b+ a-+ ");
    assert_rc(fixture_rename(a, fixture_find(a, "a/b"), "x/y"), RC_OK);
    expect_names(a, &at, "x/y+<a/b ");
    assert_rc(fixture_rename(a, fixture_find(a, "x/y/c"), "c"), RC_OK);
    assert_rc(fixture_remove(a, fixture_find(a, "x/y")), RC_OK);
    expect_names(a, &at, "c<x/y/c x/y- x- ");
    subscribe(a, "c", true);
    subscribe(a, "none/here", true);
    subscribe(a, "c", false);
    expect_names(a, &at, "c! none/here-! c? ");
    assert_rc(fixture_append(f, a, STR("x"), NULL, NULL), RC_OK);
    expect_names(a, &at, "");
    assert_int_equal(at, store_news_now(a));
    store_names_unwatch(a);
    assert_rc(fixture_create(a, "d", STORE_NONE, NULL), RC_OK); /* nobody watches */
    store_names_watch(a);
    struct arena arena = {0};
    struct store_name_news *news;
    size_t n;
    assert_rc(store_names_news(a, &at, &arena, &news, &n), RC_NOTFOUND);
    store_names_unwatch(a);
    arena_fini(&arena);
    fixture_close(f, &a);
}

/* Who does not look is not waited for: what was kept is bounded. */
static void too_many_names_are_forgotten(void **state) /* [RFC5465 5.8] */
{
    struct fixture *f = *state;
    struct store_account *a = fixture_account(f, 1);
    struct arena arena = {0};
    struct store_name_news *news;
    size_t n;
    char name[STORE_NAME_MAX + 1];
    store_names_watch(a);
    uint64_t at = store_news_now(a);
    memset(name, 'x', STORE_NAME_MAX);
    name[STORE_NAME_MAX] = 0;
    for (unsigned i = 0; i < 1500; i++) {
        (void)snprintf(name, 8, "%06u", i);
        name[6] = 'x';
        assert_rc(fixture_create(a, name, STORE_NONE, NULL), RC_OK);
        assert_true(a->news.names_bytes <= 256 << 10);
    }
    assert_rc(store_names_news(a, &at, &arena, &news, &n), RC_NOTFOUND);
    at = store_news_now(a) - 150;
    size_t all = 0;
    do {
        assert_rc(store_names_news(a, &at, &arena, &news, &n), RC_OK);
        all += n;
    } while (n);
    assert_int_equal(all, 150);
    store_names_unwatch(a);
    assert_int_equal(a->news.names_bytes, 0);
    arena_fini(&arena);
    fixture_close(f, &a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(nothing_is_told_twice),
        ON_MEM(pages_miss_nothing),
        ON_BOTH(names_are_told),
        ON_MEM(too_many_names_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
