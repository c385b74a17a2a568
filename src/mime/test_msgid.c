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

/* [RFC5322 3.6.4]: the first of each field counts, and the last ids of the two together. */
static void threads_are_read_from_the_header(void **state)
{
    struct str rest = STR("Message-ID: <m@x>\r\nmessage-id: <other@x>\r\nIn-Reply-To: <c@x>\r\n"
                          "Subject: <no@x>\r\nReferences: <a@x> <b@x>\r\n\t<c@x>\r\n\r\n<body@x>");
    struct mime_thread t = {0};
    struct mime_field field;
    struct arena arena = {0};
    struct str ids[MIME_THREAD_IDS];
    int n = 0;
    while (mime_header_next(&rest, &field))
        n += mime_thread_take(&t, &field);
    assert_int_equal(n, 4);
    assert_true(str_eq(mime_thread_id(&t, &arena), STR("m@x")));
    assert_int_equal(mime_thread_references(&t, &arena, ids), 3);
    assert_true(str_eq(ids[0], STR("a@x")) && str_eq(ids[2], STR("c@x")));
    struct buf many = {.cap = 1 << 16};
    for (int i = 0; i < 40; i++)
        buf_putf(&many, " <%d@x>", i);
    t = (struct mime_thread){.references = buf_str(&many), .in_reply_to = STR("<last@x>")};
    assert_int_equal(mime_thread_references(&t, &arena, ids), MIME_THREAD_IDS);
    assert_true(str_eq(ids[0], STR("25@x")) && str_eq(ids[15], STR("last@x")));
    assert_true(str_is_null(mime_thread_id(&t, &arena)));
    buf_fini(&many);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_come_one_by_one),
        cmocka_unit_test(junk_is_passed_over),
        cmocka_unit_test(a_bare_word_counts_when_it_is_alone),
        cmocka_unit_test(over_long_ids_are_passed_over),
        cmocka_unit_test(threads_are_read_from_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
