#include "base/test.h"
#include "mime/mime.h"

/* All the ids of a value, joined by '|'. */
static void expect(struct str value, struct str expected)
{
    struct buf id, all;
    buf_init(&id, 40);
    buf_init(&all, 1000);
    while (mime_msgid_next(&value, &id)) {
        if (buf_len(&all))
            buf_put(&all, STR("|"));
        buf_put(&all, buf_str(&id));
    }
    assert_int_equal(value.n, 0);
    assert_false(mime_msgid_next(&value, &id));
    assert_true(str_eq(buf_str(&all), expected));
    buf_fini(&id);
    buf_fini(&all);
}

static void ids_come_one_by_one(void **state) /* [RFC5322 3.6.4] */
{
    expect(STR(" <a@b>"), STR("a@b"));
    expect(STR(" <1@x>\r\n\t<2@x> <3@x><4@x>"), STR("1@x|2@x|3@x|4@x"));
    expect(STR(" <no-at-sign>"), STR("no-at-sign"));
    expect(STR(" <\"a b\"@x>"), STR("\"ab\"@x"));
}

static void junk_is_passed_over(void **state)
{
    expect(STR("Your message of \"Mon, 1 Jan\" <a@b>, and <c@d> too@x"), STR("a@b|c@d"));
    expect(STR("<<a@b>>"), STR("a@b"));
    expect(STR("<lost <a@b> > <c@d"), STR("a@b"));
    expect(STR("<> < > <\r\n> <a@b>"), STR("a@b"));
    expect(STR("<broken\r\n -by-a-fold@x>"), STR("broken-by-a-fold@x"));
    expect(STR(""), STR(""));
    expect(STR("nothing here"), STR(""));
    expect(STR("<<<<"), STR(""));
    expect(STR(">>>>"), STR(""));
}

static void a_bare_word_counts_when_it_is_alone(void **state)
{
    expect(STR(" a@b\r\n"), STR("a@b"));
    expect(STR(" a@b c@d"), STR(""));
    expect(STR("word"), STR(""));
    expect(STR("@x"), STR(""));
}

static void over_long_ids_are_passed_over(void **state)
{
    expect(STR("<0123456789012345678901234567890123456789@x> <a@b>"), STR("a@b"));
    expect(STR("<01234567890123456789012345678901234567@x>"),
           STR("01234567890123456789012345678901234567@x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_come_one_by_one),
        cmocka_unit_test(junk_is_passed_over),
        cmocka_unit_test(a_bare_word_counts_when_it_is_alone),
        cmocka_unit_test(over_long_ids_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
