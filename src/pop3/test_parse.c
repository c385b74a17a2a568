#include "pop3/pop3_int.h"

#include "base/buf.h"
#include "base/test.h"

/* What a session sees of the input, written down: "[line]", "!" for a bare one, "L" for a long one.
 * The bytes arrive `step` at a time. */
static void transcript(struct str in, size_t step, struct buf *out)
{
    bool is_skipping = false;
    size_t at = 0, here = step < in.n ? step : in.n;
    for (;;) {
        struct str line;
        size_t used;
        enum pop3_input input =
            pop3_input_next(str_sub(in, at, here - at), &is_skipping, &line, &used);
        at += used;
        assert_true(at <= here);
        if (input == POP3_INPUT_LINE) {
            buf_putf(out, "[%.*s]", STR_ARG(line));
        } else if (input != POP3_INPUT_NONE) {
            buf_put(out, input == POP3_INPUT_BARE ? STR("!") : STR("L"));
        } else if (here == in.n) {
            return;
        } else {
            here = here + step < in.n ? here + step : in.n;
        }
    }
}

static void check(struct str in, const char *expected)
{
    static const size_t steps[] = {1, 2, 3, 7, 1 << 20};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct buf out = {.cap = 1 << 20};
        transcript(in, steps[i], &out);
        assert_true(str_eq(buf_str(&out), str_of(expected)));
        buf_fini(&out);
    }
}

static void lines_end_in_crlf_and_nothing_else(void **state) /* [RFC1939 3] */
{
    check(STR("USER a\r\nPASS  b \r\n\r\nQUI"), "[USER a][PASS  b ][]");
    check(STR("NOOP\nNOOP\r\n"), "![NOOP]");
    check(STR("NO\rOP\r\nNO\0OP\r\nNOOP\r\r\nSTAT\r\n"), "!!![STAT]");
}

static void long_lines_are_told_once(void **state)
{
    struct buf in = {.cap = 1 << 20}, expected = {.cap = 1 << 20};
    for (int i = 0; i < POP3_LINE_MAX - 2; i++) {
        assert_rc(buf_add_byte(&in, 'a'), RC_OK);
    }
    buf_put(&expected, STR("["));
    buf_put(&expected, buf_str(&in));
    buf_put(&expected, STR("]L[x]\0"));
    buf_put(&in, STR("\r\n")); /* the longest */
    for (int i = 0; i < POP3_LINE_MAX - 1; i++) {
        assert_rc(buf_add_byte(&in, 'b'), RC_OK);
    }
    for (int i = 0; i < 5000; i++)
        buf_put(&in, STR("ccc\r"));
    buf_put(&in, STR("\r\nx\r\n"));
    check(buf_str(&in), buf_str(&expected).p);
    buf_fini(&in);
    buf_fini(&expected);
}

static void arguments(void **state)
{
    struct pop3_args a;
    pop3_args_parse(STR("top  3 10 "), &a);
    assert_str(a.verb, "top");
    assert_int_equal(a.n, 2);
    assert_str(a.args[0], "3");
    assert_str(a.args[1], "10");
    pop3_args_parse(STR("PASS  two spaces "), &a);
    assert_str(a.rest, " two spaces ");
    pop3_args_parse(STR("STAT "), &a);
    assert_true(a.n == 0 && a.rest.n == 0 && !str_is_null(a.rest));
    pop3_args_parse(STR("STAT"), &a);
    assert_true(a.n == 0 && str_is_null(a.rest));
    pop3_args_parse(STR("LIST 1 2 3"), &a);
    assert_int_equal(a.n, POP3_ARGS + 1);
    pop3_args_parse(STR(""), &a);
    assert_true(a.n == 0 && a.verb.n == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_in_crlf_and_nothing_else),
        cmocka_unit_test(long_lines_are_told_once),
        cmocka_unit_test(arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
