/* Previews of messages. */
#include "base/test.h"
#include "base/utf8.h"
#include "mime/preview.h"
#include "mime/summary.h"

static struct mime_charsets *charsets;

static int make(void **state)
{
    unsigned missing;
    mime_charsets_new(&charsets, &missing);
    return missing != 0;
}

static int unmake(void **state)
{
    mime_charsets_free(&charsets);
    return charsets != NULL;
}

static void preview(struct str message, struct buf *out)
{
    struct mime_tree tree;
    buf_init(out, MIME_PREVIEW_MAX);
    mime_parse(message, NULL, &tree);
    mime_preview(&tree, message, charsets, out);
    mime_tree_fini(&tree);
    assert_false(out->over);
    assert_true(utf8_is_valid(buf_str(out)));
}

static void expect(const char *message, const char *text)
{
    struct buf out;
    preview(str_of(message), &out);
    if (!str_eq(buf_str(&out), str_of(text)))
        fail_msg("%s is '%.*s'", message, STR_ARG(buf_str(&out)));
    buf_fini(&out);
}

static void text_is_one_line(void **state) /* [RFC8970 3.3] */
{
    expect("Subject: x\r\n\r\n  Hello,\r\n\r\n\tworld \r\n", "Hello, world");
    expect("Subject: x\r\n\r\n", "");
    expect("", "");
    expect("Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdf"
           "e\r\n",
           "Gr\xc3\xbc\xc3\x9f"
           "e");
    expect("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
           "R3LDvMOfZQ==\r\n",
           "Gr\xc3\xbc\xc3\x9f"
           "e");
    expect("Content-Type: text/plain; charset=us-ascii\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\n\r\na=20=\r\n  b\r\n",
           "a b");
}

/* Joiners stay within words, and fillers of circulars go, as does what turns text around. */
static void what_cannot_be_seen_goes(void **state)
{
    expect("Content-Type: text/html; charset=utf-8\r\n\r\n"
           "Sale&nbsp;now &zwnj;&nbsp;&zwnj;&nbsp;&#847;&#8203;<p>here\xef\xbb\xbf&shy;.",
           "Sale now here.");
    expect("Content-Type: text/plain; charset=utf-8\r\n\r\n"
           "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb \xe2\x80\xae"
           "evil\x07\r\n",
           "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb evil");
}

static void quotes_come_last(void **state)
{
    expect("A: b\r\n\r\n> what you said\r\nyes\r\n> and\r\nno", "yes no");
    expect("A: b\r\n\r\n> what you said\r\n", "> what you said");
}

#define MIXED "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"

static void the_first_text_counts(void **state)
{
    expect(MIXED "Content-Type: image/png\r\n\r\nAAAA\r\n--b\r\n"
                 "Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nno\r\n--b\r\n"
                 "Content-Type: text/html\r\n\r\n<style>x</style><p>yes</p>\r\n--b--\r\n",
           "yes");
    expect(MIXED "Content-Type: text/plain\r\n\r\n\r\n--b\r\n"
                 "Content-Type: text/html\r\n\r\nhtml\r\n--b--\r\n",
           "html");
    expect(MIXED "Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nforwarded\r\n--b--\r\n",
           "forwarded");
    expect(MIXED "Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n--b--\r\n", "");
}

static void without_meaning_it_is_empty(void **state) /* [RFC8970 3.2] */
{
    expect("Content-Type: multipart/encrypted; boundary=b; protocol=\"application/pgp-encrypted\""
           "\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n"
           "Content-Type: text/plain\r\n\r\nnot for you\r\n--b--\r\n",
           "");
    expect("A: b\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA\r\n", "");
    expect("Content-Type: application/pkcs7-mime\r\n\r\nMIIB\r\n", "");
    expect("Content-Type: image/png\r\n\r\nAAAA\r\n", "");
    expect("Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nM\r\n", "");
}

static size_t count(struct str s)
{
    size_t n = 0;
    for (; s.n; n++)
        utf8_take(&s);
    return n;
}

static void it_has_200_characters(void **state) /* [RFC8970 3.3] */
{
    static const char *const words[] = {"a", "\xf0\x9f\x91\xa9", "\xc3\xa4 ", "ab\r\n"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct buf message = {.cap = 1 << 20}, out;
        buf_put(&message, STR("Content-Type: text/plain; charset=utf-8\r\n\r\n"));
        for (size_t n = 0; n < 5000; n++)
            buf_put(&message, str_of(words[i]));
        preview(buf_str(&message), &out);
        assert_in_range(count(buf_str(&out)), MIME_PREVIEW_CHARACTERS - 1, MIME_PREVIEW_CHARACTERS);
        assert_false(str_ends(buf_str(&out), STR(" ")));
        buf_fini(&out);
        buf_fini(&message);
    }
}

static void a_summary_keeps_it(void **state)
{
    struct buf summary = {.cap = MIME_SUMMARY_MAX}, with = {.cap = MIME_SUMMARY_MAX};
    struct buf again = {.cap = MIME_SUMMARY_MAX};
    struct str a, b, c, d, found;
    assert_rc(
        mime_summary_of(STR("Subject: x\r\nMessage-ID: <a@b.test>\r\n\r\nhello\r\n"), &summary),
        RC_OK);
    assert_false(mime_summary_preview(buf_str(&summary), &found));
    assert_rc(mime_summary_with_preview(buf_str(&summary), STR("hello"), &with), RC_OK);
    assert_true(mime_summary_preview(buf_str(&with), &found));
    assert_str(found, "hello");
    assert_true(mime_summary_read(buf_str(&summary), &a, &b));
    assert_true(mime_summary_read(buf_str(&with), &c, &d));
    assert_true(str_eq(a, c) && str_eq(b, d));
    assert_true(mime_summary_thread(buf_str(&summary), &a));
    assert_true(mime_summary_thread(buf_str(&with), &b));
    assert_true(str_eq(a, b));
    assert_rc(mime_summary_with_preview(buf_str(&with), STR(""), &again), RC_OK);
    assert_true(mime_summary_preview(buf_str(&again), &found));
    assert_true(found.p && !found.n); /* known to be empty */
    assert_rc(mime_summary_with_preview(STR("\x02"), STR("hello"), &again), RC_CORRUPT);
    for (size_t n = 0; n < buf_len(&with); n++)
        assert_false(mime_summary_preview(str_head(buf_str(&with), n), &found));
    buf_fini(&summary);
    buf_fini(&with);
    buf_fini(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_one_line),
        cmocka_unit_test(what_cannot_be_seen_goes),
        cmocka_unit_test(quotes_come_last),
        cmocka_unit_test(the_first_text_counts),
        cmocka_unit_test(without_meaning_it_is_empty),
        cmocka_unit_test(it_has_200_characters),
        cmocka_unit_test(a_summary_keeps_it),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
