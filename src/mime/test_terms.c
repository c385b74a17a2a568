/* Words of text, and looking for them [RFC6203 3, 4]. */
#include "mime/terms.h"

#include "base/test.h"

#include <string.h>

static void text_is_split(void **state)
{
    static const struct {
        const char *text, *words; /* with '|' between */
    } cases[] = {
        {"", ""},
        {"imap break", "imap|break"},
        {"  don't-panic 42x ", "don|t|panic|42x"},
        {"cafe\xcc\x81 au lait", "cafe\xcc\x81|au|lait"}, /* an accent is a part of its word */
        {"\xef\xb7\x95\xef\xb7\x98n e", "\xef\xb7\x95\xef\xb7\x98n|e"}, /* a ligature, folded */
        {"\xe6\x97\xa5\xe6\x9c\xac!", "\xe6\x97\xa5|\xe6\x9c\xac"},     /* Han: each by itself */
        {"a\xe6\x97\xa5"
         "b",
         "a|\xe6\x97\xa5|b"},
        {"a\xff\xc3 b\xe2\x82", "a|b"}, /* what is no UTF-8 is no letter */
        {"\xe2\x82\xac"
         "5",
         "5"},
    };
    struct str words[MIME_TERMS];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str rest = str_of(cases[i].words), word;
        size_t n = mime_terms_split(str_of(cases[i].text), words, MIME_TERMS);
        for (size_t k = 0; k < n; k++) {
            assert_true(rest.n && str_cut(&rest, '|', &word));
            assert_true(str_eq(word, words[k]));
        }
        assert_int_equal(rest.n, 0);
    }
    assert_int_equal(mime_terms_split(STR("a b c d"), words, 3), 3);
}

static unsigned score(const char *wanted, const char *text)
{
    struct str words[MIME_TERMS];
    struct mime_terms m;
    size_t n = mime_terms_split(str_of(wanted), words, MIME_TERMS);
    mime_terms_begin(&m, words, n);
    mime_terms_feed(&m, str_of(text));
    return mime_terms_end(&m) ? mime_terms_score(&m) : 0;
}

static void words_are_found(void **state)
{
    assert_true(score("imap break", "Broken: breaking news of IMAP4"));
    assert_true(score("imap break", "break,imap"));
    assert_false(score("imap break", "imap is unbroken"));
    assert_false(score("imap break", "limap break")); /* only a word's beginning */
    assert_false(score("imap", "ima"));
    assert_true(score("a a", "a"));
    assert_true(score("\xe6\x9c\xac\xe6\x97\xa5", "\xe6\x97\xa5\xe6\x9c\xac"));
    assert_false(score("cafe\xcc\x81", "cafe"));
    assert_true(score("cafe", "cafe\xcc\x81"));
}

/* From 1 to 100, all of it in use [RFC6203 4]. */
static void what_fits_better_scores_higher(void **state)
{
    const char *often = "imap break imap break imap break imap break imap break imap break "
                        "imap break imap break imap break";
    unsigned worst = score("imap break", "breaks imaps"), words = score("imap break", "break imap"),
             phrase = score("imap break", "an imap break"), best = score("imap break", often);
    assert_int_equal(worst, 1);
    assert_true(worst < words && words < phrase && phrase < best);
    assert_int_equal(best, 100);
}

/* However it is cut. */
static void pieces_are_one_text(void **state)
{
    static const char text[] =
        "\xc3\xa9t\xc3\xa9 imap\xe2\x82 break \xe6\x97\xa5\xe6\x9c\xac IMAP break";
    static const char wanted[] = "imap break \xe6\x97\xa5 \xc3\xa9t";
    struct str words[MIME_TERMS], all = str_of(text);
    size_t n = mime_terms_split(str_of(wanted), words, MIME_TERMS);
    unsigned whole = score(wanted, text);
    struct mime_terms m;
    assert_true(whole);
    mime_terms_begin(&m, words, n);
    for (size_t step = 1; step < all.n; step++) {
        mime_terms_again(&m);
        for (size_t at = 0; at < all.n; at += step)
            mime_terms_feed(&m, str_sub(all, at, step));
        assert_true(mime_terms_end(&m));
        assert_int_equal(mime_terms_score(&m), whole);
    }
}

/* Words without an end are held as far as they count. */
static void long_words_are_cut(void **state)
{
    enum { LONG = 10000 };
    static char text[LONG + 1], wanted[100 + 1];
    memset(text, 'x', LONG);
    memset(wanted, 'x', 100);
    assert_true(score(wanted, text));
    assert_true(score("x", text));
    wanted[MIME_TERM_MAX - 1] = 'y';
    assert_false(score(wanted, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_split),
        cmocka_unit_test(words_are_found),
        cmocka_unit_test(what_fits_better_scores_higher),
        cmocka_unit_test(pieces_are_one_text),
        cmocka_unit_test(long_words_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
