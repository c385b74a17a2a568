/* Lines, parameters and replies. */
#include "base/test.h"
#include "smtp/smtp.h"

/* Reads lines out of slices of `step` bytes and writes what came as text: the lines, "!" for a
 * faulty one, "#" for a long one. */
static void read_lines(struct str in, size_t step, struct buf *out)
{
    struct smtp_lines l = {.max = 16};
    struct buf pending;
    buf_init(&pending, 256);
    for (size_t i = 0; i < in.n; i += step) {
        buf_put(&pending, str_sub(in, i, step));
        struct str rest = buf_str(&pending), line;
        enum rc rc;
        while ((rc = smtp_line_next(&l, &rest, &line)) != RC_AGAIN) {
            buf_put(out, rc == RC_OK ? line : rc == RC_LIMIT ? STR("#") : STR("!"));
            buf_put(out, STR("|"));
        }
        buf_consume(&pending, buf_len(&pending) - rest.n);
        assert_true(buf_len(&pending) <= 16);
    }
    buf_fini(&pending);
}

static void assert_lines(struct str in, const char *expected)
{
    for (size_t step = 1; step <= in.n; step++) {
        struct buf out;
        buf_init(&out, 256);
        read_lines(in, step, &out);
        assert_int_equal(buf_add_byte(&out, '\0'), RC_OK);
        assert_string_equal(buf_str(&out).p, expected);
        buf_fini(&out);
    }
}

static void only_crlf_ends_a_line(void **state)
{
    assert_lines(STR("NOOP\r\nRSET\r\n"), "NOOP|RSET|");
    assert_lines(STR("NOOP\nRSET\r\nQUIT\r\n"), "!|QUIT|"); /* [RFC5321 2.3.8] */
    assert_lines(STR("NOOP\rRSET\r\nQUIT\r\n"), "!|QUIT|");
    assert_lines(STR("NOOP\r\r\nQUIT\r\n"), "!|QUIT|");
    assert_lines(STR("\n\n\nQUIT\r\nRSET\r\n"), "!|RSET|");
    assert_lines(STR("NO\0OP\r\nQUIT\r\n"), "!|QUIT|");
    assert_lines(STR("\r\n\r\n"), "||");
}

static void long_lines_are_told_once(void **state)
{
    assert_lines(STR("12345678901234\r\nQUIT\r\n"), "12345678901234|QUIT|"); /* with CRLF: 16 */
    assert_lines(STR("123456789012345\r\nQUIT\r\n"), "#|QUIT|");
    assert_lines(STR("1234567890123456\r\nQUIT\r\n"), "#|QUIT|");
    assert_lines(STR("12345678901234567890\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\rx\r\nQUIT\r\n"),
                 "#|QUIT|");
    assert_lines(STR("123456789012345\nx\r\nQUIT\r\n"), "!|QUIT|");
}

static void a_line_has_a_verb_and_the_rest(void **state)
{
    struct str verb, args;
    smtp_line_split(STR("MAIL FROM:<a@b>  SIZE=1 \t"), &verb, &args);
    assert_str(verb, "MAIL");
    assert_str(args, "FROM:<a@b>  SIZE=1");
    smtp_line_split(STR(""), &verb, &args);
    assert_str(verb, "");
    assert_str(args, "");
}

static void a_path_has_a_limit(void **state)
{
    char text[SMTP_PATH_MAX + 64];
    memset(text, 'a', sizeof text);
    text[0] = '<';
    memcpy(text + SMTP_PATH_MAX - 10, "@ab.test>", 9);
    struct str in = {text, SMTP_PATH_MAX - 1};
    struct smtp_path path;
    assert_rc(smtp_path_take(&in, &path), RC_OK);
    memset(text + 1, 'a', sizeof text - 1);
    memcpy(text + SMTP_PATH_MAX, "@ab.test>", 9);
    in = str_from(text, SMTP_PATH_MAX + 9);
    assert_rc(smtp_path_take(&in, &path), RC_LIMIT);
}

static void parameters_are_read(void **state)
{
    struct str args = STR("FROM: <a@b> SIZE=10  BODY=8BITMIME X");
    struct smtp_path path;
    struct smtp_param p;
    assert_false(smtp_keyword_take(&args, STR("TO:")));
    assert_true(smtp_keyword_take(&args, STR("from:")));
    assert_rc(smtp_path_take(&args, &path), RC_OK);
    assert_rc(smtp_param_next(&args, &p), RC_OK);
    assert_str(p.name, "SIZE");
    assert_str(p.value, "10");
    assert_rc(smtp_param_next(&args, &p), RC_OK);
    assert_str(p.value, "8BITMIME");
    assert_rc(smtp_param_next(&args, &p), RC_OK);
    assert_str(p.name, "X");
    assert_true(str_is_null(p.value));
    assert_rc(smtp_param_next(&args, &p), RC_EOF);

    static const char *const bad[] = {"=1",     "SIZE=", "-A=1",   "A=1=2", "A\x80=1",
                                      "A=\x01", "A_B=1", "A=\xc3", "A=\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        args = str_of(bad[i]);
        assert_rc(smtp_param_next(&args, &p), RC_SYNTAX);
    }
}

static void replies_have_the_code_on_every_line(void **state)
{
    struct buf out;
    buf_init(&out, 256);
    smtp_reply_put(&out, 250, "2.1.0", STR("ok"));
    smtp_reply_put(&out, 250, "", STR("one\ntwo\nthree"));
    smtp_reply_put(&out, 220, "", STR(""));
    assert_str(buf_str(&out),
               "250 2.1.0 ok\r\n250-one\r\n250-two\r\n250 three\r\n220 \r\n"); /* [RFC5321 4.2.1] */
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_crlf_ends_a_line),
        cmocka_unit_test(long_lines_are_told_once),
        cmocka_unit_test(a_line_has_a_verb_and_the_rest),
        cmocka_unit_test(a_path_has_a_limit),
        cmocka_unit_test(parameters_are_read),
        cmocka_unit_test(replies_have_the_code_on_every_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
