/* BDAT's argument and the octets of a chunk; text that comes in chunks. */
#include "base/test.h"
#include "smtp/smtp.h"

struct argument {
    const char *text;
    enum rc rc;
    uint64_t size;
    bool is_last;
};

static const struct argument arguments[] = {
    /* [RFC3030 2] */
    {"0", RC_OK, 0, false},
    {"0 LAST", RC_OK, 0, true},
    {"86 LAST", RC_OK, 86, true},
    {"86   last", RC_OK, 86, true},
    {"000000000000000000000000086", RC_OK, 86, false},
    {"18446744073709551615", RC_OK, UINT64_MAX, false},
    {"18446744073709551616", RC_LIMIT, 0, false},
    {"99999999999999999999 LAST", RC_LIMIT, 0, false},
    {"", RC_LIMIT, 0, false},
    {"LAST", RC_LIMIT, 0, false},
    {"-1", RC_LIMIT, 0, false},
    {"+1", RC_LIMIT, 0, false},
    {"1.0", RC_LIMIT, 0, false},
    {"0x10", RC_LIMIT, 0, false},
    {"1e3", RC_LIMIT, 0, false},
    {"8k", RC_LIMIT, 0, false},
    {"86LAST", RC_LIMIT, 0, false},
    {"86,LAST", RC_LIMIT, 0, false},
    {"\xd9\xa3", RC_LIMIT, 0, false}, /* an Arabic digit */
    {"86 LASTS", RC_SYNTAX, 86, false},
    {"86 FIRST", RC_SYNTAX, 86, false},
    {"86 LAST LAST", RC_SYNTAX, 86, false},
    {"86 87", RC_SYNTAX, 86, false},
};

static void arguments_are_read(void **state)
{
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        const struct argument *a = &arguments[i];
        struct smtp_chunk c;
        enum rc rc = smtp_chunk_parse(str_of(a->text), &c);
        if (rc != a->rc || c.left != a->size || c.is_last != a->is_last)
            fail_msg("\"%s\": %s, %llu%s", a->text, rc_name(rc), (unsigned long long)c.left,
                     c.is_last ? " LAST" : "");
    }
}

static void a_chunk_ends_by_its_size_alone(void **state)
{
    static const char text[] = "a\r\n.\r\nQUIT\r\n\0.\r\nNOOP\r\n";
    for (size_t step = 1; step < sizeof text; step++) {
        struct smtp_chunk c = {.left = 16};
        struct str piece;
        size_t got = 0, fed = 0;
        enum rc rc = RC_AGAIN;
        while (rc == RC_AGAIN) {
            struct str slice = str_sub(str_from(text, sizeof text - 1), fed, step), rest = slice;
            while ((rc = smtp_chunk_next(&c, &rest, &piece)) == RC_OK) {
                assert_ptr_equal(piece.p, text + got);
                got += piece.n;
            }
            fed += slice.n - rest.n;
        }
        assert_rc(rc, RC_EOF);
        assert_int_equal(got, 16);
        assert_int_equal(fed, 16);
    }
}

static unsigned check(struct str text, size_t step, size_t line_max)
{
    struct smtp_data d = {.line_max = line_max};
    for (size_t i = 0; i < text.n; i += step)
        smtp_data_check(&d, str_sub(text, i, step));
    smtp_data_check_end(&d);
    return d.faults;
}

static void text_in_chunks_keeps_the_rules_of_text(void **state)
{
    static const struct {
        struct str text;
        unsigned faults;
    } rows[] = {
        {STR_INIT("a\r\n.\r\nb"), 0},
        {STR_INIT("..a\r\n\r\n\r\n"), 0},
        {STR_INIT("a\nb\r\n"), SMTP_DATA_BARE_LF},
        {STR_INIT("a\rb\r\n"), SMTP_DATA_BARE_CR},
        {STR_INIT("\n"), SMTP_DATA_BARE_LF},
        {STR_INIT("a\r"), SMTP_DATA_BARE_CR},
        {STR_INIT("a\r\r\n"), SMTP_DATA_BARE_CR},
        {STR_INIT("a\n\r"), SMTP_DATA_BARE_CR | SMTP_DATA_BARE_LF},
        {STR_INIT("a\0\r\n"), SMTP_DATA_NUL},
        {STR_INIT("12345678\r\n"), 0},
        {STR_INIT("123456789\r\n"), SMTP_DATA_LONG},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step <= rows[i].text.n; step++)
            assert_int_equal(check(rows[i].text, step, 10), rows[i].faults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_are_read),
        cmocka_unit_test(a_chunk_ends_by_its_size_alone),
        cmocka_unit_test(text_in_chunks_keeps_the_rules_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
