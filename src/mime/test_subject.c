/* Base subjects [RFC5256 2.1], i;unicode-casemap [RFC5051 2], and what a summary says of threads.
 */
#include "base/test.h"
#include "mime/subject.h"
#include "mime/summary.h"

static const struct {
    const char *subject, *base;
    bool is_reply;
} subjects[] = {
    {"", "", false},
    {"hello", "hello", false},
    {"  hello\t\tthere \r\n you  ", "hello there you", false},
    {"Re: hello", "hello", true},
    {"RE : fw: FWD:hello", "hello", true},
    {"re[4]: hello", "hello", true},
    {"re [x] : hello", "hello", true},
    {"Re hello", "Re hello", false},
    {"regards: me", "regards: me", false},
    {"[list] hello", "hello", false},
    {"[a] [b]  hello", "hello", false},
    {"[list] Re: [other] hello", "hello", true},
    {"[list] [other]", "[other]", false},
    {"[list]", "[list]", false},
    {"Re: [list]", "[list]", true},
    {"hello (fwd)", "hello", true},
    {"hello (FWD) (fwd) ", "hello", true},
    {"(fwd)", "", true},
    {"[fwd: hello]", "hello", true},
    {"[Fwd: Re: [fwd: hello (fwd)]]", "hello", true},
    {"[fwd:]", "", true},
    {"[fwd: hello", "[fwd: hello", false},
    {"[a[b] c", "[a[b] c", false},
    {"Re: ", "", true},
    {"Re:Re:re", "re", true},
    {"AW: hello", "AW: hello", false},
};

static void subjects_have_bases(void **state) /* [RFC5256 2.1, 5] */
{
    struct buf out = {.cap = 1000};
    bool is_reply;
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        mime_base_subject(str_of(subjects[i].subject), &out, &is_reply);
        if (!str_eq(buf_str(&out), str_of(subjects[i].base)))
            fail_msg("'%s' became '%.*s'", subjects[i].subject, STR_ARG(buf_str(&out)));
        assert_int_equal(is_reply, subjects[i].is_reply);
    }
    buf_fini(&out);
}

/* A hundred thousand blobs before nothing that they could belong to: a look at all of them for each
 * would take minutes. */
static void bases_cost_what_they_are_long(void **state)
{
    struct buf subject = {.cap = 1 << 20}, out = {.cap = 1 << 20};
    bool is_reply;
    for (int i = 0; i < 100000; i++)
        buf_put(&subject, STR("[a] "));
    mime_base_subject(buf_str(&subject), &out, &is_reply);
    assert_str(buf_str(&out), "[a]");
    buf_put(&subject, STR("re: x"));
    mime_base_subject(buf_str(&subject), &out, &is_reply);
    assert_str(buf_str(&out), "x");
    buf_fini(&subject);
    buf_fini(&out);
}

static void strings_are_mapped(void **state) /* [RFC5051 2] */
{
    static const struct {
        const char *text, *mapped;
    } strings[] = {
        {"Hello_World [9]", "HELLO_WORLD [9]"},
        {"\xc3\xa4", "A\xcc\x88"},
        {"\xc7\x84", "Dz\xcc\x8c"}, /* the RFC's own example */
        {"\xc7\x86", "Dz\xcc\x8c"},
        {"\xc3\x9f", "\xc3\x9f"}, /* sharp s has no title case */
        {"\xef\xac\x81", "fi"},   /* what is decomposed keeps its case */
        {"\xcf\x82", "\xce\xa3"},
        {"\xea\xb0\x80", "\xea\xb0\x80"},
    };
    struct buf out = {.cap = 100};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        buf_clear(&out);
        assert_rc(mime_casemap(str_of(strings[i].text), &out), RC_OK);
        if (!str_eq(buf_str(&out), str_of(strings[i].mapped)))
            fail_msg("'%s' became '%.*s'", strings[i].text, STR_ARG(buf_str(&out)));
    }
    buf_clear(&out);
    assert_rc(mime_casemap(STR("ab\xff"), &out), RC_SYNTAX);
    assert_int_equal(buf_len(&out), 0);
    out.cap = 2;
    assert_rc(mime_casemap(STR("abc"), &out), RC_LIMIT);
    assert_int_equal(buf_len(&out), 0);
    buf_fini(&out);
}

static void expect_thread(const char *header, const char *expected)
{
    struct buf message = {.cap = 1 << 20}, summary = {.cap = MIME_SUMMARY_MAX};
    struct str thread, envelope, structure;
    buf_putf(&message, "%s\r\nbody\r\n", header);
    assert_rc(mime_summary_of(buf_str(&message), &summary), RC_OK);
    assert_true(mime_summary_thread(buf_str(&summary), &thread));
    if (!str_eq(thread, str_of(expected)))
        fail_msg("it is '%.*s'", STR_ARG(thread));
    assert_true(mime_summary_read(buf_str(&summary), &envelope, &structure));
    buf_fini(&message);
    buf_fini(&summary);
}

static void summaries_know_threads(void **state) /* [RFC5256 3] */
{
    expect_thread("Subject: x\r\n", "");
    expect_thread("Message-ID: <a@b>\r\nIn-Reply-To: <c@d> <e@f>\r\n", "a@b c@d");
    expect_thread("Message-ID: <a@b>\r\nReferences: <1@x>\r\n <2@x> (no) <3@x>\r\n"
                  "In-Reply-To: <c@d>\r\n",
                  "a@b 1@x 2@x 3@x");
    expect_thread("References: nothing\r\nIn-Reply-To: yours of today <c@d>\r\n", " c@d");
    expect_thread("Message-ID: <\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>\r\n"
                  "References: <\"a\\\"b\"@x>\r\n",
                  "01KF8JCEOCBS0045PS@xxx.yyy.com a\"b@x");
}

/* What release 0.1 wrote can be read, and has no threads. */
static void the_first_format_is_read(void **state)
{
    struct str envelope, structure, thread, old = STR("\1\0\0\0\2\0\0\0\3()(x)");
    assert_true(mime_summary_read(old, &envelope, &structure));
    assert_str(envelope, "()");
    assert_str(structure, "(x)");
    assert_false(mime_summary_thread(old, &thread));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subjects_have_bases),      cmocka_unit_test(bases_cost_what_they_are_long),
        cmocka_unit_test(strings_are_mapped),       cmocka_unit_test(summaries_know_threads),
        cmocka_unit_test(the_first_format_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
