/* Dots that are put in, at every cut; and back through the reader of DATA. */
#include "base/test.h"
#include "smtp/smtp.h"

static unsigned stuff(struct str in, size_t step, struct buf *out)
{
    struct smtp_stuff s = {0};
    struct str piece;
    for (size_t at = 0; at < in.n; at += step) {
        struct str part = str_sub(in, at, step);
        while (smtp_stuff_next(&s, &part, &piece) == RC_OK)
            buf_put(out, piece);
    }
    buf_put(out, smtp_stuff_end(&s));
    return s.faults;
}

static void dots_are_put_in(void **state)
{
    static const struct {
        struct str in, out;
        unsigned faults;
    } rows[] = {
        /* [RFC5321 4.5.2] */
        {STR_INIT(""), STR_INIT(".\r\n"), 0},
        {STR_INIT("a\r\n"), STR_INIT("a\r\n.\r\n"), 0},
        {STR_INIT("a"), STR_INIT("a\r\n.\r\n"), 0},
        {STR_INIT(".\r\n"), STR_INIT("..\r\n.\r\n"), 0},
        {STR_INIT(".a\r\n..\r\n\r\n.b.c\r\n"), STR_INIT("..a\r\n...\r\n\r\n..b.c\r\n.\r\n"), 0},
        {STR_INIT("a.\r\n.b"), STR_INIT("a.\r\n..b\r\n.\r\n"), 0},
        {STR_INIT("a\n.\r\n"), STR_INIT("a\n.\r\n.\r\n"), SMTP_DATA_BARE_LF},
        {STR_INIT("a\r.\r\n"), STR_INIT("a\r.\r\n.\r\n"), SMTP_DATA_BARE_CR},
        {STR_INIT("a\r\r\n"), STR_INIT("a\r\r\n.\r\n"), SMTP_DATA_BARE_CR},
        {STR_INIT("a\r"), STR_INIT("a\r\r\n.\r\n"), SMTP_DATA_BARE_CR},
        {STR_INIT("\n"), STR_INIT("\n\r\n.\r\n"), SMTP_DATA_BARE_LF},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step < 24; step++) {
            struct buf out = {.cap = 256};
            unsigned faults = stuff(rows[i].in, step, &out);
            if (!str_eq(buf_str(&out), rows[i].out) || faults != rows[i].faults)
                fail_msg("%zu, step %zu: %u \"%.*s\"", i, step, faults, STR_ARG(buf_str(&out)));
            buf_fini(&out);
        }
}

static void pieces_are_long_views(void **state)
{
    struct smtp_stuff s = {0};
    struct str in = STR("one\r\ntwo\r\n.three\r\nfour\r\n"), piece;
    const char *begin = in.p;
    assert_rc(smtp_stuff_next(&s, &in, &piece), RC_OK);
    assert_str(piece, "one\r\ntwo\r\n");
    assert_ptr_equal(piece.p, begin);
    assert_rc(smtp_stuff_next(&s, &in, &piece), RC_OK);
    assert_str(piece, ".");
    assert_rc(smtp_stuff_next(&s, &in, &piece), RC_OK);
    assert_str(piece, ".three\r\nfour\r\n");
    assert_ptr_equal(piece.p, begin + 10);
    assert_rc(smtp_stuff_next(&s, &in, &piece), RC_AGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dots_are_put_in),
        cmocka_unit_test(pieces_are_long_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
