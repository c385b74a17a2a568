/* Addresses out of fields: what is taken, and what is not since it could be read in two ways. */
#include "mime/mime.h"

#include "base/test.h"

/* All addresses with a space behind each, or "syntax". */
static void read_as(const char *value, const char *wanted)
{
    struct str rest = str_of(value);
    struct buf one, all;
    buf_init(&one, 300);
    buf_init(&all, 4096);
    enum rc rc;
    while ((rc = mime_address_next(&rest, &one)) == RC_OK) {
        buf_put(&all, buf_str(&one));
        buf_put(&all, STR(" "));
    }
    if (rc != RC_EOF) {
        buf_clear(&all);
        buf_put(&all, rc == RC_SYNTAX ? STR("syntax") : STR("limit"));
    }
    if (!str_eq(buf_str(&all), str_of(wanted)))
        fail_msg("%s\nread as: %.*s\nwanted:  %s", value, STR_ARG(buf_str(&all)), wanted);
    buf_fini(&one);
    buf_fini(&all);
}

static void what_is_taken(void **state) /* [RFC5322 3.4] [RFC5322 4.4] */
{
    static const struct {
        const char *value, *wanted;
    } cases[] = {
        {" a@b.test", "a@b.test "},
        {"Alice Smith <a@b.test>", "a@b.test "},
        {"\"x@y.test, \\\"<z@z.test>\" <a@b.test>", "a@b.test "},
        {"Alice (in (deep) <c@d.test>) <a@b.test> (x)", "a@b.test "},
        {"a@b.test, C <c@d.test>,\r\n\te@[192.0.2.1]", "a@b.test c@d.test e@[192.0.2.1] "},
        {"team: a@b.test, C <c@d.test>;", "a@b.test c@d.test "},
        {"nobody:;", ""},
        {"a@b.test,, ,c@d.test,", "a@b.test c@d.test "},
        {"a . x @ b . test", "a.x@b.test "},
        {"<@r.test,@s.test:a@b.test>", "a@b.test "},
        {"\"a b\"@c.test", "\"a b\"@c.test "},
        {"J. R. Smith <a@b.test>", "a@b.test "},
        {"\xc3\xa4 <\xc3\xa4@b.test>", "\xc3\xa4@b.test "},
        {"a@b.test <A@b.test>", "A@b.test "}, /* some programs write it */
        {"\"x@y.test\" team: a@b.test;", "a@b.test "},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        read_as(cases[i].value, cases[i].wanted);
}

static void what_could_mean_two_things(void **state)
{
    static const char *const cases[] = {
        "Alice",
        "Alice Smith",
        "a@b.test c@d.test",
        "<a@b.test> <c@d.test>",
        "<a@b.test> x",
        "<a@b.test",
        "a@b.test>",
        "\"a@b.test",
        "(a@b.test",
        "<>",
        "<a@b.test,c@d.test>",
        "<a b@c.test>",
        "@b.test",
        "a@b.test <>",
        "a\\b@c.test",
        "[192.0.2.1",
        "\x01@b.test",
        "x <c:a@b.test>",
        "x@y.test <a@b.test>",
        "Boss x@y.test <a@b.test>",
        "x @ y.test (who) <a@b.test>",
        "\"Boss\" @y.test <a@b.test>",
        "x@y.test: a@b.test;",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        read_as(cases[i], "syntax");
}

static void a_long_one_is_told(void **state)
{
    char text[400];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    read_as(text, "limit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken),
        cmocka_unit_test(what_could_mean_two_things),
        cmocka_unit_test(a_long_one_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
