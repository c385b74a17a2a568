/* Charsets, encoded words, extended values. */
#include "base/test.h"
#include "mime/charset.h"

#include <stdio.h>
#include <sys/resource.h>

static struct mime_charsets *charsets;

static int make(void **state)
{
    unsigned missing;
    mime_charsets_new(&charsets, &missing);
    return missing != 0;
}

static int unmake(void **state)
{
    mime_charsets_free(&charsets);
    return charsets != NULL;
}

/* Converts in pieces of `step` bytes into a buffer with little room. */
static void convert_cut(struct str name, struct str in, size_t step, struct buf *all)
{
    struct mime_converter c;
    struct buf out;
    buf_init(&out, 100);
    (void)(mime_convert_begin(&c, charsets, name) == RC_OK);
    while (in.n) {
        struct str piece = str_head(in, step);
        in = str_skip(in, step);
        while (mime_convert(&c, &piece, &out) == RC_AGAIN) {
            buf_put(all, buf_str(&out));
            buf_clear(&out);
        }
        buf_put(all, buf_str(&out));
        buf_clear(&out);
    }
    assert_rc(mime_convert_end(&c, &out), RC_OK);
    buf_put(all, buf_str(&out));
    buf_fini(&out);
    mime_convert_fini(&c);
}

static void expect_n(const char *name, struct str in, const char *meant)
{
    for (size_t step = 1; step < 40; step += step < 5 ? 1 : 34) {
        struct buf all;
        buf_init(&all, 10000);
        convert_cut(str_of(name), in, step, &all);
        if (!str_eq(buf_str(&all), str_of(meant)))
            fail_msg("%s in pieces of %zu became '%.*s'", name, step, STR_ARG(buf_str(&all)));
        buf_fini(&all);
    }
}

static void expect(const char *name, const char *in, const char *meant)
{
    expect_n(name, str_of(in), meant);
}

static void each_kind_of_charset(void)
{
    expect("US-ASCII", "plain", "plain");
    expect("utf-8", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x8d", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\x8d");
    expect("ISO-8859-1", "caf\xe9 \x80", "caf\xc3\xa9 \xe2\x82\xac");
    expect("Windows-1252", "\x93q\x94", "\xe2\x80\x9cq\xe2\x80\x9d");
    expect("iso-8859-2", "\xb1", "\xc4\x85");
    expect("ISO_8859-15", "\xa4", "\xe2\x82\xac");
    expect("koi8-r", "\xc1", "\xd0\xb0");
    expect("cp1251", "\xe0", "\xd0\xb0");
    expect("gb2312", "\xc4\xe3\xba\xc3", "\xe4\xbd\xa0\xe5\xa5\xbd");
    expect("GB18030", "\x81\x30\x81\x30", "\xc2\x80");
    expect("Big5", "\xa7\x41", "\xe4\xbd\xa0");
    expect("Shift_JIS", "\x82\xb1\x82\xf1", "\xe3\x81\x93\xe3\x82\x93");
    expect("EUC-JP", "\xa4\xb3\xa4\xf3", "\xe3\x81\x93\xe3\x82\x93");
    expect("ISO-2022-JP", "\x1b$B$3$s\x1b(Bx", "\xe3\x81\x93\xe3\x82\x93x");
    expect("EUC-KR", "\xb0\xa1", "\xea\xb0\x80");
    expect_n("utf-16", STR("\xff\xfe\xe4\0x\0"), "\xc3\xa4x");
    expect_n("UTF-16BE", STR("\0\xe4\0x"), "\xc3\xa4x");
}

static void text_becomes_utf8(void **state) /* [RFC2047 3] */
{
    each_kind_of_charset();
}

static void text_that_lies_is_read_as_well_as_it_can_be(void **state)
{
    expect("utf-8", "caf\xe9 \xc3\xa9", "caf\xc3\xa9 \xc3\xa9");
    expect("us-ascii", "\xe2\x82", "\xc3\xa2\xe2\x80\x9a");
    expect("utf-8", "\xed\xa0\x80\xc0\x80", "\xc3\xad\xc2\xa0\xe2\x82\xac\xc3\x80\xe2\x82\xac");
    expect("no-such-charset", "caf\xe9 \xc3\xa9", "caf\xc3\xa9 \xc3\xa9");
    expect("", "caf\xe9", "caf\xc3\xa9");
    expect("EUC-JP",
           "a\xa4\xff"
           "b\xa4",
           "a\xef\xbf\xbd\xef\xbf\xbd"
           "b\xef\xbf\xbd");
    expect("windows-1253", "\xd2", "\xef\xbf\xbd");
}

static void names_are_known_or_not(void **state)
{
    static const char *const known[] = {"utf-8",      "UTF8",           "us-ascii",
                                        "iso-8859-1", "ISO_8859-1",     "latin1",
                                        "x-sjis",     "KS_C_5601-1987", "big5"};
    static const char *const unknown[] = {"",
                                          "-",
                                          "x",
                                          "utf-9",
                                          "UTF-8//TRANSLIT",
                                          "../../etc/passwd",
                                          "averyveryveryveryverylongnameofacharset"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_true(mime_charset_is_known(charsets, str_of(known[i])));
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_false(mime_charset_is_known(charsets, str_of(unknown[i])));
    struct buf out;
    buf_init(&out, 200);
    assert_rc(mime_charset_decode(charsets, STR("x"), STR("a"), &out), RC_NOTFOUND);
    assert_rc(mime_charset_decode(charsets, STR("latin1"), STR("\xe9"), &out), RC_OK);
    assert_str(buf_str(&out), "\xc3\xa9");
    buf_fini(&out);
}

/* The sandbox forbids files that are not in the data folder: none may be needed. */
static void no_file_is_opened_later(void **state)
{
    struct rlimit before, nothing;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    nothing = before;
    nothing.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &nothing), 0);
    FILE *f = fopen("/dev/null", "r");
    bool is_closed = f == NULL;
    each_kind_of_charset();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(is_closed);
}

static void expect_words(const char *value, const char *meant)
{
    struct buf out;
    buf_init(&out, 1000);
    assert_rc(mime_words_decode(str_of(value), charsets, &out), RC_OK);
    if (!str_eq(buf_str(&out), str_of(meant)))
        fail_msg("'%s' became '%.*s'", value, STR_ARG(buf_str(&out)));
    buf_fini(&out);
}

static void words_are_decoded(
    void **state) /* [RFC2047 2] [RFC2047 4.1] [RFC2047 4.2] [RFC2047 8] */
{
    expect_words("(=?ISO-8859-1?Q?a?=)", "(a)");
    expect_words("(=?ISO-8859-1?Q?a?= b)", "(a b)");
    expect_words("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)");
    expect_words("=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"); /* [RFC2047 6.2] */
    expect_words("=?ISO-8859-1?Q?a_b?=", "a b");
    expect_words("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b");
    expect_words(" =?iso-8859-1?q?Keld_J=F8rn_Simonsen?= <keld@dkuug.test>\r\n",
                 "Keld J\xc3\xb8rn Simonsen <keld@dkuug.test>");
    expect_words("=?UTF-8?B?w6TDtg==?=", "\xc3\xa4\xc3\xb6");
    expect_words("=?utf-8*de?q?=C3=A4?=", "\xc3\xa4"); /* [RFC2231 5] */
    expect_words("=?ISO-2022-JP?B?GyRCJDMkcyRLJEEkTxsoQg==?=",
                 "\xe3\x81\x93\xe3\x82\x93\xe3\x81\xab\xe3\x81\xa1\xe3\x81\xaf");
}

static void words_of_real_mail_are_decoded(void **state)
{
    expect_words("=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "\xc3\xa4");
    expect_words("=?utf-8?b?w6Q?=", "\xc3\xa4");
    expect_words("a=?utf-8?q?b?=c", "abc");
    expect_words("\"=?utf-8?q?quoted?=\"", "\"quoted\"");
    expect_words("=?utf-8?q?with space ?= x", "with space  x");
    expect_words("=?x-none?q?=E9?=", "\xc3\xa9");
    expect_words("=?utf-8?x?a?= =?utf-8?q?b", "=?utf-8?x?a?= =?utf-8?q?b");
    expect_words("=?=?utf-8?q?b?=", "=?b");
    expect_words("=??q?x?= =?", "=??q?x?= =?");
    expect_words("caf\xe9 \xc3\xa9", "caf\xc3\xa9 \xc3\xa9");
    expect_words("", "");
}

static void extended_values_are_decoded(void **state) /* [RFC2231 4] */
{
    struct buf out;
    buf_init(&out, 200);
    assert_rc(mime_extended_decode(STR("us-ascii'en-us'This%20is%20%2A%2a"), charsets, &out),
              RC_OK);
    assert_str(buf_str(&out), "This is **");
    buf_clear(&out);
    assert_rc(mime_extended_decode(STR("iso-8859-1''%e9%zz%4"), charsets, &out), RC_OK);
    assert_str(buf_str(&out), "\xc3\xa9%zz%4");
    assert_rc(mime_extended_decode(STR("no quotes"), charsets, &out), RC_SYNTAX);
    assert_rc(mime_extended_decode(STR("one'quote"), charsets, &out), RC_SYNTAX);
    assert_str(buf_str(&out), "\xc3\xa9%zz%4");
    buf_fini(&out);
}

static void caps_are_kept_to(void **state)
{
    struct buf out;
    buf_init(&out, 110);
    buf_put(&out, STR("x"));
    assert_rc(mime_words_decode(STR("=?utf-8?q?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?="
                                    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
                                charsets, &out),
              RC_LIMIT);
    assert_str(buf_str(&out), "x");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_utf8),
        cmocka_unit_test(text_that_lies_is_read_as_well_as_it_can_be),
        cmocka_unit_test(names_are_known_or_not),
        cmocka_unit_test(no_file_is_opened_later),
        cmocka_unit_test(words_are_decoded),
        cmocka_unit_test(words_of_real_mail_are_decoded),
        cmocka_unit_test(extended_values_are_decoded),
        cmocka_unit_test(caps_are_kept_to),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
