/* What searches look into, out of an ENVELOPE. */
#include "mime/fields.h"
#include "mime/summary.h"

#include "base/test.h"

static struct mime_charsets *charsets;

static void read_all(struct str message, struct buf out[MIME_IN_FIELDS])
{
    struct buf summary = {.cap = 1 << 16};
    struct str envelope, structure;
    for (size_t i = 0; i < MIME_IN_FIELDS; i++)
        buf_init(&out[i], 1 << 16);
    assert_rc(mime_summary_of(message, &summary), RC_OK);
    assert_true(mime_summary_read(buf_str(&summary), &envelope, &structure));
    assert_rc(mime_fields_read(envelope, charsets, out), RC_OK);
    buf_fini(&summary);
}

static void fini_all(struct buf out[MIME_IN_FIELDS])
{
    for (size_t i = 0; i < MIME_IN_FIELDS; i++)
        buf_fini(&out[i]);
}

/* [RFC3501 6.4.4] [RFC9051 6.4.4] */
static void fields_are_decoded_and_folded(void **state)
{
    struct buf out[MIME_IN_FIELDS];
    read_all(STR("Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n"
                 "From: =?utf-8?Q?J=C3=B6rg?= <Joerg@Example.test>\r\n"
                 "Sender: nobody@example.test\r\n"
                 "Reply-To: others@example.test\r\n"
                 "Subject: Re: \"A\\B\" =?iso-8859-1?Q?caf=E9?=\r\n"
                 "To: Friends: a@b.test, \"C, D\" <c@d.test>;\r\n"
                 "Bcc: x\r\n\r\n"),
             out);
    assert_str(buf_str(&out[MIME_IN_FROM]), "jo\xcc\x88rg <joerg@example.test>, ");
    assert_str(buf_str(&out[MIME_IN_SUBJECT]), "re: \"a\\b\" cafe\xcc\x81");
    assert_str(buf_str(&out[MIME_IN_TO]), "friends: a@b.test, c, d <c@d.test>, ; ");
    assert_str(buf_str(&out[MIME_IN_CC]), "");
    assert_str(buf_str(&out[MIME_IN_BCC]), "x, ");
    fini_all(out);
}

static void what_is_no_envelope_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "(",
                                      "()",
                                      "(NIL)",
                                      "(NIL NIL",
                                      "(NIL NIL (",
                                      "(NIL NIL ((NIL NIL NIL))",
                                      "(NIL {9}\r\nx NIL)",
                                      "(\"x NIL NIL)"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf out[MIME_IN_FIELDS];
        for (size_t k = 0; k < MIME_IN_FIELDS; k++)
            buf_init(&out[k], 1 << 10);
        assert_rc(mime_fields_read(str_of(bad[i]), charsets, out), RC_CORRUPT);
        fini_all(out);
    }
}

static void nothing_is_nothing(void **state)
{
    struct buf out[MIME_IN_FIELDS];
    read_all(STR("X: y\r\n\r\ntext\r\n"), out);
    for (size_t i = 0; i < MIME_IN_FIELDS; i++)
        assert_int_equal(buf_len(&out[i]), 0);
    fini_all(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_decoded_and_folded),
        cmocka_unit_test(what_is_no_envelope_is_refused),
        cmocka_unit_test(nothing_is_nothing),
    };
    unsigned missing;
    mime_charsets_new(&charsets, &missing);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mime_charsets_free(&charsets);
    return failed;
}
