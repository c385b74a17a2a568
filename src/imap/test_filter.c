/* Mailbox specifiers: their grammar, and which mailboxes they mean [RFC5465 6, 8] [RFC7377 2.2]. */
#include "imap/filter_int.h"

#include "base/test.h"

enum { ALL = (1 << (IMAP_FILTER_MAILBOXES + 1)) - 1 };

static struct arena arena;

static bool take(const char *text, unsigned kinds, struct imap_filter *out, struct imap_parse *p)
{
    size_t n_names = 0;
    arena_reset(&arena);
    *p = (struct imap_parse){.rest = str_of(text), .arena = &arena};
    return imap_take_filter(p, kinds, &n_names, out) && imap_take_end(p);
}

static void specifiers_are_read(void **state)
{
    static const struct {
        const char *text;
        enum imap_filter_kind kind;
        size_t n_names;
    } good[] = {
        {"selected", IMAP_FILTER_SELECTED, 0},
        {"Selected-Delayed", IMAP_FILTER_SELECTED_DELAYED, 0},
        {"INBOXES", IMAP_FILTER_INBOXES, 0},
        {"personal", IMAP_FILTER_PERSONAL, 0},
        {"subscribed", IMAP_FILTER_SUBSCRIBED, 0},
        {"subtree a", IMAP_FILTER_SUBTREE, 1},
        {"subtree-one (a/b \"c d\")", IMAP_FILTER_SUBTREE_ONE, 2},
        {"mailboxes (inbox &2D3eAA-)", IMAP_FILTER_MAILBOXES, 2},
        {"mailboxes (a b c d e)", IMAP_FILTER_MAILBOXES, 5},
    };
    static const char *const bad[] = {
        "",          "all",           "selected a",     "subtree",       "subtree ",
        "subtree()", "subtree ()",    "subtree (a",     "mailboxes a b", "mailboxes (a  b)",
        "mailboxes", "mailboxes (a ", "mailboxes (a))", "subtreea",      "mailboxes &ZZ",
    };
    struct imap_filter f;
    struct imap_parse p;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!take(good[i].text, ALL, &f, &p))
            fail_msg("%s was not taken: %s", good[i].text, p.error);
        assert_int_equal(f.kind, good[i].kind);
        assert_int_equal(f.n_names, good[i].n_names);
        assert_false(take(good[i].text, ALL & ~(1u << good[i].kind), &f, &p));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (take(bad[i], ALL, &f, &p))
            fail_msg("%s was taken", bad[i]);
        assert_non_null(p.error);
    }
    arena_fini(&arena);
}

static void names_are_counted(void **state)
{
    struct imap_filter f;
    size_t n_names = IMAP_FILTER_NAMES - 1;
    struct imap_parse p = {.rest = STR("mailboxes (a b)"), .arena = &arena};
    assert_false(imap_take_filter(&p, ALL, &n_names, &f));
    assert_true(p.is_limit);
    arena_fini(&arena);
}

static void specifiers_mean_mailboxes(void **state)
{
    static const struct {
        const char *text, *path;
        bool is_met;
    } cases[] = {
        {"mailboxes (b a)", "a", true},
        {"mailboxes (b a)", "b", true},
        {"mailboxes (b a)", "a/b", false},
        {"mailboxes inbox", "INBOX", true},
        {"mailboxes INBOX/a", "INBOX/a", true},
        {"mailboxes \"*\"", "a", false}, /* no wildcards [RFC5465 6.6] [RFC7377 2.2] */
        {"mailboxes \"*\"", "*", true},
        {"mailboxes a", "A", false},
        {"subtree a", "a", true},
        {"subtree a", "a/b/c", true},
        {"subtree a", "ab", false},
        {"subtree (x a/b)", "a/b/c/d", true},
        {"subtree (x a/b)", "a", false},
        {"subtree a/", "a/b", true},
        {"subtree-one a", "a", true},
        {"subtree-one a", "a/b", true},
        {"subtree-one a", "a/b/c", false},
        {"subtree-one (a/b x)", "a/b/c", true},
        {"personal", "a", true},
        {"inboxes", "a", false},
        {"subscribed", "a", false},
        {"selected", "a", false},
        {"selected-delayed", "a", false},
    };
    struct imap_filter f;
    struct imap_parse p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct imap_filter_place place = {.path = str_of(cases[i].path)};
        assert_true(take(cases[i].text, ALL, &f, &p));
        if (imap_filter_meets(&f, &place) != cases[i].is_met)
            fail_msg("%s and %s", cases[i].text, cases[i].path);
        place = (struct imap_filter_place){place.path, STORE_INBOX, true, true};
        bool by_itself = f.kind <= IMAP_FILTER_SUBSCRIBED;
        assert_int_equal(imap_filter_meets(&f, &place), by_itself || cases[i].is_met);
    }
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specifiers_are_read),
        cmocka_unit_test(names_are_counted),
        cmocka_unit_test(specifiers_mean_mailboxes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
