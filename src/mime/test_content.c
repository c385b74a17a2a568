#include "base/test.h"
#include "mime/mime.h"

/* Reads the parameter, which must be there, and compares what it means. */
static void expect_param(struct str *params, struct str name, struct str meant)
{
    struct mime_param p;
    struct buf out;
    buf_init(&out, 100);
    assert_true(mime_param_next(params, &p));
    assert_true(str_eq(p.name, name));
    assert_rc(mime_unquote(&p, &out), RC_OK);
    assert_true(str_eq(buf_str(&out), meant));
    buf_fini(&out);
}

static void expect_end(struct str params)
{
    struct mime_param p;
    assert_false(mime_param_next(&params, &p));
}

static void types_have_parameters(void **state) /* [RFC2045 5.1] */
{
    struct mime_type t;
    assert_rc(mime_type_read(STR(" text/plain; charset=us-ascii (Plain text)"), &t), RC_OK);
    assert_str(t.type, "text");
    assert_str(t.subtype, "plain");
    expect_param(&t.params, STR("charset"), STR("us-ascii"));
    expect_end(t.params);

    assert_rc(mime_type_read(STR(" Multipart / Mixed;\r\n\tBoundary=\"a b;c\" ; x=1;;y=\"\""), &t),
              RC_OK);
    assert_str(t.type, "Multipart");
    assert_str(t.subtype, "Mixed");
    expect_param(&t.params, STR("Boundary"), STR("a b;c"));
    expect_param(&t.params, STR("x"), STR("1"));
    expect_param(&t.params, STR("y"), STR(""));
    expect_end(t.params);
}

static void comments_stand_anywhere(void **state) /* [RFC5322 3.2.2] */
{
    struct mime_type t;
    assert_rc(
        mime_type_read(STR("(a(b\\)c)d) text (x) / (y) html(z); (;) n (1) = (2) v(3);m=w"), &t),
        RC_OK);
    assert_str(t.type, "text");
    assert_str(t.subtype, "html");
    expect_param(&t.params, STR("n"), STR("v"));
    expect_param(&t.params, STR("m"), STR("w"));
    expect_end(t.params);
}

static void quoted_strings_are_read_as_meant(void **state)
{
    struct str params = STR("a=\"x\\\"y\\\\\"; b=\"fold\r\n ed\"; c=\"open; d=1");
    expect_param(&params, STR("a"), STR("x\"y\\"));
    expect_param(&params, STR("b"), STR("fold ed"));
    expect_param(&params, STR("c"), STR("open; d=1"));
    expect_end(params);
    params = STR("a=\"x\\\"");
    expect_param(&params, STR("a"), STR("x\""));
    params = STR("a=\"x\\");
    expect_param(&params, STR("a"), STR("x\\"));
    params = STR("a=\"");
    expect_param(&params, STR("a"), STR(""));
    params = STR("a=c:\\dir");
    expect_param(&params, STR("a"), STR("c:\\dir"));
}

static void broken_parameters_are_passed_over(void **state)
{
    struct str params = STR("novalue; =noname; \"quoted;\"; a b=c; boundary==_x=/?:y_; z=");
    expect_param(&params, STR("boundary"), STR("=_x=/?:y_"));
    expect_param(&params, STR("z"), STR(""));
    expect_end(params);
}

static void unreadable_types_say_so(void **state) /* [RFC2045 5.2] */
{
    static const char *const values[] = {"",        " ",           "text",      "text; charset=x",
                                         "/plain",  "text/",       "text/;",    "(text/",
                                         "\"a\"/b", ";text/plain", "text plain"};
    struct mime_type t;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_rc(mime_type_read(str_of(values[i]), &t), RC_SYNTAX);
}

static void words_have_parameters(void **state) /* [RFC2183 2] */
{
    struct str word, params;
    assert_rc(mime_word_read(STR(" attachment; filename=\"a;b.txt\"; size=12"), &word, &params),
              RC_OK);
    assert_str(word, "attachment");
    expect_param(&params, STR("filename"), STR("a;b.txt"));
    expect_param(&params, STR("size"), STR("12"));
    expect_end(params);
    assert_rc(mime_word_read(STR("(c)\tBASE64 \r\n"), &word, &params), RC_OK);
    assert_str(word, "BASE64");
    assert_rc(mime_word_read(STR("; x=y"), &word, &params), RC_SYNTAX);
    assert_rc(mime_word_read(STR("(only"), &word, &params), RC_SYNTAX);
}

static void unquoting_keeps_to_the_cap(void **state)
{
    struct mime_param p = {.value = STR("12345"), .is_quoted = true};
    struct buf out;
    buf_init(&out, 6);
    assert_rc(buf_add(&out, STR("ab")), RC_OK);
    assert_rc(mime_unquote(&p, &out), RC_LIMIT);
    assert_str(buf_str(&out), "ab");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_parameters),
        cmocka_unit_test(comments_stand_anywhere),
        cmocka_unit_test(quoted_strings_are_read_as_meant),
        cmocka_unit_test(broken_parameters_are_passed_over),
        cmocka_unit_test(unreadable_types_say_so),
        cmocka_unit_test(words_have_parameters),
        cmocka_unit_test(unquoting_keeps_to_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
