#include "base/test.h"
#include "mime/section.h"

/* The example of the RFC, made small: 1 text, 2 octets, 3 a message with 3.1 text and 3.2 octets,
 * 4 a multipart with 4.1 image and 4.2 a message with 4.2.1 text and 4.2.2 a multipart of two. */
static const char nested[] = "Subject: outer\r\n"
                             "Content-Type: multipart/mixed; boundary=A\r\n"
                             "\r\n"
                             "--A\r\n"
                             "\r\n"
                             "one\r\n"
                             "--A\r\n"
                             "Content-Type: application/octet-stream\r\n"
                             "\r\n"
                             "two\r\n"
                             "--A\r\n"
                             "Content-Type: message/rfc822\r\n"
                             "\r\n"
                             "Subject: three\r\n"
                             "Content-Type: multipart/mixed; boundary=B\r\n"
                             "\r\n"
                             "--B\r\n"
                             "\r\n"
                             "three.one\r\n"
                             "--B\r\n"
                             "Content-Type: x/y\r\n"
                             "\r\n"
                             "three.two\r\n"
                             "--B--\r\n"
                             "--A\r\n"
                             "Content-Type: multipart/mixed; boundary=C\r\n"
                             "\r\n"
                             "--C\r\n"
                             "Content-Type: image/gif\r\n"
                             "\r\n"
                             "four.one\r\n"
                             "--C\r\n"
                             "Content-Type: message/rfc822\r\n"
                             "\r\n"
                             "Subject: plain\r\n"
                             "\r\n"
                             "four.two\r\n"
                             "--C--\r\n"
                             "--A--\r\n";

static struct str section(struct str m, const char *path, enum mime_section kind, enum rc expected)
{
    struct mime_tree t;
    uint32_t numbers[10];
    size_t n = 0;
    uint64_t begin = 0, end = 0, number;
    struct str rest = str_of(path), part;
    while (path[0] && str_cut(&rest, '.', &part)) {
        assert_rc(str_to_u64(part, &number), RC_OK);
        numbers[n++] = (uint32_t)number;
    }
    mime_parse(m, NULL, &t);
    assert_rc(mime_section_find(&t, numbers, n, kind, &begin, &end), expected);
    mime_tree_fini(&t);
    return str_sub(m, begin, end - begin);
}

static void expect(const char *path, enum mime_section kind, const char *text)
{
    struct str got = section(str_of(nested), path, kind, RC_OK);
    if (!str_eq(got, str_of(text)))
        fail_msg("section %s is '%.*s'", path, STR_ARG(got));
}

static void expect_none(const char *path, enum mime_section kind)
{
    section(str_of(nested), path, kind, RC_NOTFOUND);
}

static void the_message_has_sections(void **state) /* [RFC3501 6.4.5] [RFC9051 6.4.5] */
{
    struct str m = str_of(nested);
    expect("", MIME_SECTION_WHOLE, nested);
    expect("", MIME_SECTION_HEADER,
           "Subject: outer\r\nContent-Type: multipart/mixed; boundary=A\r\n\r\n");
    assert_true(str_starts(section(m, "", MIME_SECTION_TEXT, RC_OK), STR("--A\r\n\r\none")));
    expect_none("", MIME_SECTION_MIME);
}

static void parts_have_numbers(void **state) /* [RFC3501 6.4.5] [RFC9051 6.4.5] */
{
    expect("1", MIME_SECTION_WHOLE, "one");
    expect("2", MIME_SECTION_WHOLE, "two");
    expect("3.1", MIME_SECTION_WHOLE, "three.one");
    expect("3.2", MIME_SECTION_WHOLE, "three.two");
    expect("4.1", MIME_SECTION_WHOLE, "four.one");
    expect("4.2", MIME_SECTION_WHOLE, "Subject: plain\r\n\r\nfour.two");
    expect("4.2.1", MIME_SECTION_WHOLE, "four.two");
    static const char *const missing[] = {"0", "5", "1.1", "3.3", "4.0", "4.2.2", "4.2.1.1", "2.1"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        expect_none(missing[i], MIME_SECTION_WHOLE);
}

static void messages_in_parts_have_header_and_text(
    void **state) /* [RFC3501 6.4.5] [RFC9051 6.4.5] */
{
    expect("3", MIME_SECTION_HEADER,
           "Subject: three\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n");
    expect("4.2", MIME_SECTION_HEADER, "Subject: plain\r\n\r\n");
    expect("4.2", MIME_SECTION_TEXT, "four.two");
    expect("3.2", MIME_SECTION_MIME, "Content-Type: x/y\r\n\r\n");
    expect("4", MIME_SECTION_MIME, "Content-Type: multipart/mixed; boundary=C\r\n\r\n");
    expect_none("1", MIME_SECTION_HEADER);
    expect_none("4", MIME_SECTION_TEXT);
    expect_none("4.2.1", MIME_SECTION_HEADER);
}

static void a_plain_message_has_one_part(void **state) /* [RFC3501 6.4.5] [RFC9051 6.4.5] */
{
    struct str m = STR("Subject: x\r\n\r\nbody\r\n");
    assert_str(section(m, "1", MIME_SECTION_WHOLE, RC_OK), "body\r\n");
    assert_str(section(m, "1", MIME_SECTION_MIME, RC_OK), "Subject: x\r\n\r\n");
    section(m, "2", MIME_SECTION_WHOLE, RC_NOTFOUND);
    section(m, "1.1", MIME_SECTION_WHOLE, RC_NOTFOUND);
    section(m, "1", MIME_SECTION_TEXT, RC_NOTFOUND);
    m = STR("Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody");
    assert_str(section(m, "1", MIME_SECTION_WHOLE, RC_OK), "Subject: in\r\n\r\nbody");
    assert_str(section(m, "1", MIME_SECTION_HEADER, RC_OK), "Subject: in\r\n\r\n");
    assert_str(section(m, "1.1", MIME_SECTION_WHOLE, RC_OK), "body");
}

static void fields_are_selected(void **state) /* [RFC3501 6.4.5] [RFC9051 6.4.5] */
{
    struct str header = STR("From: a\r\nTo: b,\r\n\tc\r\nX-Y : d\r\nto: e\r\n\r\n");
    struct str names[] = {STR_INIT("TO"), STR_INIT("Nothing")};
    struct buf out;
    buf_init(&out, 50);
    assert_rc(mime_header_select(header, names, 2, false, &out), RC_OK);
    assert_str(buf_str(&out), "To: b,\r\n\tc\r\nto: e\r\n\r\n");
    buf_clear(&out);
    assert_rc(mime_header_select(header, names, 2, true, &out), RC_OK);
    assert_str(buf_str(&out), "From: a\r\nX-Y : d\r\n\r\n");
    assert_rc(mime_header_select(header, names, 0, true, &out), RC_LIMIT);
    assert_str(buf_str(&out), "From: a\r\nX-Y : d\r\n\r\n");
    buf_clear(&out);
    assert_rc(mime_header_select(STR("a: b\nc: d"), names, 0, true, &out), RC_OK);
    assert_str(buf_str(&out), "a: b\nc: d\r\n\r\n");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_message_has_sections),
        cmocka_unit_test(parts_have_numbers),
        cmocka_unit_test(messages_in_parts_have_header_and_text),
        cmocka_unit_test(a_plain_message_has_one_part),
        cmocka_unit_test(fields_are_selected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
