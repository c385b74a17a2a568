/* HTML to text. */
#include "base/test.h"
#include "mime/html.h"

static void read_html(struct str html, size_t step, struct buf *out)
{
    struct mime_html h;
    buf_init(out, html.n + 4096);
    mime_html_begin(&h);
    for (; html.n; html = str_skip(html, step))
        assert_rc(mime_html(&h, str_head(html, step), out), RC_OK);
    assert_rc(mime_html_end(&h, out), RC_OK);
}

static void expect(const char *html, const char *text)
{
    struct buf out;
    for (size_t step = 1; step < 20; step++) {
        read_html(str_of(html), step, &out);
        if (!str_eq(buf_str(&out), str_of(text)))
            fail_msg("%s is '%.*s'", html, STR_ARG(buf_str(&out)));
        buf_fini(&out);
    }
}

static void tags_go(void **state) /* [RFC8970 3.3] */
{
    expect("<p>Hello, <b>w</b>orld</p>", " Hello, world ");
    expect("a<br>b<BR/>c<td>d", "a b c d");
    expect("<a href=\"x>y\" title='it\"s>'>link</a>", "link");
    expect("<a href=x>y</a><a href=>z</a><img alt=\"no\">", "yz ");
    expect("<p a=b\"c>text", " text");
    expect("1 < 2 and 3 > 2, a<", "1 < 2 and 3 > 2, a<");
    expect("</>x</ bogus>y<?php z?>w", "xyw");
    expect("<averyveryverylongname>x", " x");
}

static void what_is_no_text_goes(void **state)
{
    expect("<style>p > a { color: red }</style>x", "  x");
    expect("<STYLE type=\"text/css\">a</styles></Style >x", "  x");
    expect("<script>if (a </script>x", "  x");
    expect("<script>\"<</script>x", "  x");
    expect("<title>A page</title>x<template><p>y</template>z", "  x  z");
    expect("a<!-- <p> -- > b -->c<!-->d<!--->e<!--f--->g", "acdeg");
    expect("<!DOCTYPE html>x<![if !mso]>y<![endif]>", "xy");
    expect("<!-x>y", "y");
    expect("</style>x", " x");
}

static void references_are_resolved(void **state)
{
    expect("a&amp;b&lt;c&gt;&quot;&apos;", "a&b<c>\"'");
    expect("&auml;&#228;&#xE4;&#XE4;", "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4");
    expect("&nbsp &euro.", "\xc2\xa0 \xe2\x82\xac.");
    expect("&#150;&#1;&#0;&#xd800;&#x110000;&#99999999999999;",
           "\xe2\x80\x93\x01\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    expect("&unknown;&;&#;&#x;&#12a;R&D &a", "&unknown;&;&#;&#x;&#12a;R&D &a");
    expect("&amp<b>x", "&x");
    expect("&&amp;", "&&");
    expect("&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;",
           "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;");
}

static void names_are_found(void **state)
{
    assert_int_equal(mime_html_character(STR("AElig")), 0xc6);
    assert_int_equal(mime_html_character(STR("zwnj")), 0x200c);
    assert_int_equal(mime_html_character(STR("AMP")), '&');
    assert_int_equal(mime_html_character(STR("zzz")), 0);
    assert_int_equal(mime_html_character(STR("")), 0);
}

/* What never ends takes the rest; what is deep costs no memory; all of it is looked at once. */
static void hostile_html_costs_its_bytes(void **state)
{
    static const char *const ends[] = {"<", "<a href=\"", "<!--", "<style>", "<p ", "&", "</style"};
    enum { N = 4 << 20 };
    struct buf html = {.cap = N + 100}, out;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        buf_put(&html, STR("seen<p>"));
        while (buf_len(&html) < N)
            buf_put(&html, str_of(ends[i]));
        read_html(buf_str(&html), 4096, &out);
        assert_true(buf_len(&out) <= buf_len(&html));
        assert_true(str_starts(buf_str(&out), STR("seen ")));
        buf_fini(&out);
        buf_clear(&html);
    }
    buf_fini(&html);
}

static void without_room_nothing_is_taken(void **state)
{
    struct mime_html h;
    struct buf out = {.cap = MIME_HTML_ENTITY + 2};
    mime_html_begin(&h);
    assert_rc(mime_html(&h, STR("abc"), &out), RC_LIMIT);
    assert_int_equal(buf_len(&out), 0);
    assert_rc(mime_html(&h, STR("ab"), &out), RC_OK);
    assert_rc(mime_html_end(&h, &out), RC_OK);
    assert_str(buf_str(&out), "ab");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_go),
        cmocka_unit_test(what_is_no_text_goes),
        cmocka_unit_test(references_are_resolved),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(hostile_html_costs_its_bytes),
        cmocka_unit_test(without_room_nothing_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
