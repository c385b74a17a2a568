#include "base/test.h"
#include "mime/mime.h"

static void fields_come_in_order(void **state) /* [RFC5322 2.2] */
{
    struct str rest =
        STR("From: a@b\r\nSuBJect : one\r\n  two\r\n\tthree\r\nX:\r\n\r\nBody: no\r\n");
    struct mime_field f;
    assert_true(mime_header_next(&rest, &f));
    assert_str(f.name, "From");
    assert_str(f.value, " a@b");
    assert_str(f.whole, "From: a@b\r\n");
    assert_true(mime_header_next(&rest, &f));
    assert_str(f.name, "SuBJect");
    assert_str(f.value, " one\r\n  two\r\n\tthree");
    assert_true(mime_header_next(&rest, &f));
    assert_str(f.name, "X");
    assert_str(f.value, "");
    assert_false(mime_header_next(&rest, &f));
    assert_str(rest, "\r\nBody: no\r\n");
}

static void line_ends_may_be_bare_or_missing(void **state)
{
    struct str rest = STR("A: 1\n 2\nB: 3");
    struct mime_field f;
    assert_true(mime_header_next(&rest, &f));
    assert_str(f.value, " 1\n 2");
    assert_true(mime_header_next(&rest, &f));
    assert_str(f.value, " 3");
    assert_false(mime_header_next(&rest, &f));
}

static void the_block_ends_where_no_field_is(void **state)
{
    static const char *const blocks[] = {
        "\r\nA: b\r\n",
        "\nA: b\n",
        "",
        " fold first\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "two words: x",
        "caf\xc3\xa9: x",
        "\r",
        "From x\r\nFrom y\r\n",
        "From x\r\n y: z\r\n",
    };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        struct str rest = str_of(blocks[i]);
        struct mime_field f;
        assert_false(mime_header_next(&rest, &f));
    }
}

static void an_mbox_line_is_passed_over(void **state)
{
    struct str value;
    assert_true(
        mime_header_find(STR("From a@b Sat Nov 21 10:00:00 2026\nA: b\n"), STR("a"), &value));
    assert_str(value, " b");
    assert_true(mime_header_find(STR(">From a@b\r\nA: b\r\n"), STR("A"), &value));
    assert_str(value, " b");
    assert_true(mime_header_find(STR("From : a@b\r\n"), STR("from"), &value));
    assert_str(value, " a@b");
}

static void a_name_that_never_ends_is_none(void **state)
{
    char line[MIME_HEAD + 10];
    memset(line, 'a', sizeof line);
    line[MIME_HEAD - 1] = ':';
    struct str rest = str_from(line, sizeof line);
    struct mime_field f;
    assert_true(mime_header_next(&rest, &f));
    assert_int_equal(f.name.n, MIME_HEAD - 1);
    line[MIME_HEAD - 1] = 'a';
    line[MIME_HEAD] = ':';
    rest = str_from(line, sizeof line);
    assert_false(mime_header_next(&rest, &f));
}

static void find_gives_the_first_whatever_its_case(void **state)
{
    struct str header = STR("to: x\r\nTO: y\r\nTopic: z\r\n"), value;
    assert_true(mime_header_find(header, STR("To"), &value));
    assert_str(value, " x");
    assert_false(mime_header_find(header, STR("Cc"), &value));
    assert_false(mime_header_find(header, STR("T"), &value));
}

static void unfolding_takes_the_line_ends_only(void **state) /* [RFC5322 2.2.3] */
{
    struct buf out;
    buf_init(&out, 20);
    assert_rc(mime_unfold(STR(" one\r\n  two\n\tthree \r\n"), &out), RC_OK);
    assert_str(buf_str(&out), "one  two\tthree");
    assert_rc(mime_unfold(STR(" 12345\r\n 78"), &out), RC_LIMIT);
    assert_str(buf_str(&out), "one  two\tthree");
    assert_rc(mime_unfold(STR(" \r\n "), &out), RC_OK);
    assert_str(buf_str(&out), "one  two\tthree");
    assert_rc(mime_unfold(STR("a\rb"), &out), RC_OK);
    assert_str(buf_str(&out), "one  two\tthreea\rb");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_in_order),
        cmocka_unit_test(line_ends_may_be_bare_or_missing),
        cmocka_unit_test(the_block_ends_where_no_field_is),
        cmocka_unit_test(an_mbox_line_is_passed_over),
        cmocka_unit_test(a_name_that_never_ends_is_none),
        cmocka_unit_test(find_gives_the_first_whatever_its_case),
        cmocka_unit_test(unfolding_takes_the_line_ends_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
