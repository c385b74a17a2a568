/* UTF-8 as RFC 3629 has it: what is well-formed, and characters in and out of it. */
#include "base/utf8.h"

#include "base/test.h"

static void what_is_not_is_refused(void **state)
{
    assert_true(utf8_is_valid(STR("z\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xac")));
    assert_false(utf8_is_valid(STR("\xc0\xaf")));
    assert_false(utf8_is_valid(STR("\xed\xa0\x80")));
    assert_false(utf8_is_valid(STR("\xf4\x90\x80\x80")));
    assert_false(utf8_is_valid(STR("\xe2\x82")));
}

/* [RFC3629 4] */
static void lengths_are_told_early(void **state)
{
    static const struct {
        struct str s;
        size_t length;
    } rows[] = {
        {STR_INIT("a\xff"), 1},
        {STR_INIT("\0"), 1},
        {STR_INIT("\xc2\x80"), 2},
        {STR_INIT("\xc2"), SIZE_MAX},
        {STR_INIT("\xc2\x41"), 0},
        {STR_INIT("\xc1\xbf"), 0},
        {STR_INIT("\x80"), 0},
        {STR_INIT("\xe0\xa0\x80z"), 3},
        {STR_INIT("\xe0\xa0"), SIZE_MAX},
        {STR_INIT("\xe0\x9f"), 0},
        {STR_INIT("\xed\x9f\xbf"), 3},
        {STR_INIT("\xed\xa0"), 0},
        {STR_INIT("\xe1\x80\xc0"), 0},
        {STR_INIT("\xf0\x90\x80\x80"), 4},
        {STR_INIT("\xf0\x8f"), 0},
        {STR_INIT("\xf4\x8f\xbf\xbf"), 4},
        {STR_INIT("\xf4\x8f\xbf"), SIZE_MAX},
        {STR_INIT("\xf4\x90"), 0},
        {STR_INIT("\xf5"), 0},
        {STR_INIT("\xff"), 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(utf8_length(rows[i].s), rows[i].length);
}

static void characters_go_in_and_out(void **state)
{
    static const struct {
        uint32_t character;
        struct str s;
    } rows[] = {
        {0, STR_INIT("\0")},
        {0x7f, STR_INIT("\x7f")},
        {0x80, STR_INIT("\xc2\x80")},
        {0x7ff, STR_INIT("\xdf\xbf")},
        {0x800, STR_INIT("\xe0\xa0\x80")},
        {0x20ac, STR_INIT("\xe2\x82\xac")},
        {0xffff, STR_INIT("\xef\xbf\xbf")},
        {0x10000, STR_INIT("\xf0\x90\x80\x80")},
        {0x10ffff, STR_INIT("\xf4\x8f\xbf\xbf")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char b[UTF8_MAX];
        size_t n = utf8_put(b, rows[i].character);
        struct str s = str_from(b, n);
        assert_true(str_eq(s, rows[i].s));
        assert_int_equal(utf8_length(s), n);
        assert_int_equal(utf8_take(&s), rows[i].character);
        assert_int_equal(s.n, 0);
    }
}

static void ascii_is_counted_to_its_end(void **state)
{
    char text[32];
    memset(text, 'a', sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        assert_int_equal(utf8_ascii_length(str_from(text, n)), n);
        assert_true(utf8_is_ascii(str_from(text, n)));
        for (size_t at = 0; at < n; at++) {
            text[at] = (char)0xc3;
            assert_int_equal(utf8_ascii_length(str_from(text, n)), at);
            assert_false(utf8_is_ascii(str_from(text, n)));
            text[at] = 'a';
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_is_refused),
        cmocka_unit_test(lengths_are_told_early),
        cmocka_unit_test(characters_go_in_and_out),
        cmocka_unit_test(ascii_is_counted_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
