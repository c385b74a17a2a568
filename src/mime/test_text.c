/* Folding, looking, and the text of whole messages. */
#include "base/test.h"
#include "mime/text.h"

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

static void expect_fold(const char *text, const char *folded)
{
    struct buf out;
    buf_init(&out, 10000);
    assert_rc(mime_fold(str_of(text), &out), RC_OK);
    if (!str_eq(buf_str(&out), str_of(folded)))
        fail_msg("'%s' became '%.*s'", text, STR_ARG(buf_str(&out)));
    buf_fini(&out);
}

static void case_does_not_count(void **state) /* [RFC5051 2] */
{
    expect_fold("Hello, WORLD @[`{ and all of THE OTHERS 0123456789!",
                "hello, world @[`{ and all of the others 0123456789!");
    expect_fold("\xc3\x84", "a\xcc\x88"); /* A with dots, decomposed */
    expect_fold("\xc3\xa4", "a\xcc\x88"); /* and a */
    expect_fold("Stra\xc3\x9f"
                "e \xe1\xba\x9e",
                "stra\xc3\x9f"
                "e \xe1\xba\x9e"); /* sharp s, small and capital, has no title case */
    expect_fold("\xce\xa3\xcf\x83\xcf\x82", "\xce\xa3\xce\xa3\xce\xa3"); /* three sigmas */
    expect_fold("\xef\xac\x81", "\xef\xb7\x95\xef\xb7\x98"); /* a ligature is not its letters */
    expect_fold("\xc7\x86", "d\xef\xb7\xa9\xcc\x8c");        /* the RFC's own example */
    expect_fold("\xef\xbc\xa1", "a");                        /* a full-width letter */
    expect_fold("\xd0\xb6", "\xd0\x96");
    expect_fold("\xea\xb0\x80", "\xea\xb0\x80"); /* Hangul stays as it is */
    expect_fold("a\xff\xc3Z", "a\xff\xc3z");     /* no UTF-8 */
}

static void folding_keeps_to_the_cap(void **state)
{
    struct buf out;
    buf_init(&out, 5);
    buf_put(&out, STR("x"));
    assert_rc(mime_fold(STR("ABCD\xc3\x84"), &out), RC_LIMIT);
    assert_str(buf_str(&out), "x");
    assert_rc(mime_fold(STR("ABCD"), &out), RC_OK);
    assert_str(buf_str(&out), "xabcd");
    buf_fini(&out);
}

static bool is_found(const char *needle, const char *text, size_t step)
{
    struct mime_match m;
    struct str rest = str_of(text);
    bool found = false;
    assert_rc(mime_match_begin(&m, str_of(needle)), RC_OK);
    for (; rest.n; rest = str_skip(rest, step))
        found = mime_match(&m, str_head(rest, step));
    return found || m.is_found;
}

static void strings_are_found_across_pieces(void **state) /* [RFC3501 6.4.4] [RFC9051 6.4.4] */
{
    for (size_t step = 1; step < 12; step++) {
        assert_true(is_found("needle", "a neneedle", step));
        assert_true(is_found("needle", "needle and", step));
        assert_true(is_found("aab", "aaaaaaab", step));
        assert_false(is_found("needle", "need le", step));
        assert_false(is_found("needle", "needl", step));
        assert_true(is_found("x", "yyyx", step));
        assert_true(is_found("", "", step));
    }
    struct mime_match m;
    char needle[MIME_NEEDLE_MAX + 1];
    memset(needle, 'n', sizeof needle);
    assert_rc(mime_match_begin(&m, str_from(needle, sizeof needle)), RC_LIMIT);
    assert_rc(mime_match_begin(&m, str_from(needle, MIME_NEEDLE_MAX)), RC_OK);
    assert_false(mime_match(&m, str_from(needle, MIME_NEEDLE_MAX - 1)));
    assert_true(mime_match(&m, str_from(needle, 1)));
    mime_match_again(&m);
    assert_false(mime_match(&m, str_from(needle, 1)));
}

/* The text, read through windows of `window` bytes and pulled through a cap of `cap`. */
static void read_text(struct str message, enum mime_text_what what, size_t window, size_t cap,
                      struct buf *all)
{
    struct mime_tree tree;
    struct mime_text t;
    struct buf out;
    enum rc rc = RC_OK;
    uint64_t at = 0;
    mime_parse(message, NULL, &tree);
    mime_text_init(&t, &tree, charsets, what);
    buf_init(&out, cap);
    while (rc != RC_EOF) {
        size_t n = window > t.wanted ? window : t.wanted;
        rc = mime_text_next(&t, str_head(str_skip(message, at), n), at, &out);
        at = t.offset;
        buf_put(all, buf_str(&out));
        buf_clear(&out);
    }
    mime_text_fini(&t);
    mime_tree_fini(&tree);
    buf_fini(&out);
}

static void expect_text(const char *message, enum mime_text_what what, const char *text)
{
    for (size_t window = 1; window < 3000; window += window < 10 ? 1 : 700) {
        struct buf all;
        buf_init(&all, 100000);
        read_text(str_of(message), what, window, window * 13 + 60, &all);
        if (!str_eq(buf_str(&all), str_of(text)))
            fail_msg("through windows of %zu: '%.*s'", window, STR_ARG(buf_str(&all)));
        buf_fini(&all);
    }
}

static const char mail[] = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
                           " Again\r\n"
                           "Content-Type: multipart/mixed; boundary=b\r\n"
                           "\r\n"
                           "preamble\r\n"
                           "--b\r\n"
                           "Content-Type: text/plain; charset=iso-8859-1\r\n"
                           "Content-Transfer-Encoding: quoted-printable\r\n"
                           "\r\n"
                           "Caf=E9 soft=\r\n"
                           "LINE\r\n"
                           "--b\r\n"
                           "Content-Type: image/gif\r\n"
                           "Content-Transfer-Encoding: base64\r\n"
                           "\r\n"
                           "AAAA\r\n"
                           "--b\r\n"
                           "Content-Type: message/rfc822\r\n"
                           "\r\n"
                           "Subject: Inner\r\n"
                           "Content-Transfer-Encoding: base64\r\n"
                           "Content-Type: text/html; charset=utf-8\r\n"
                           "\r\n"
                           "w4RCQ8O\r\n"
                           "k\r\n"
                           "--b--\r\n";

#define INNER                                                                                      \
    "\ncontent-type: text/plain; charset=iso-8859-1\n"                                             \
    "content-transfer-encoding: quoted-printable\n"                                                \
    "cafe\xcc\x81 softline"                                                                        \
    "\ncontent-type: image/gif\ncontent-transfer-encoding: base64\n"                               \
    "\ncontent-type: message/rfc822\n"                                                             \
    "\nsubject: inner\ncontent-transfer-encoding: base64\n"                                        \
    "content-type: text/html; charset=utf-8\n"                                                     \
    "a\xcc\x88"                                                                                    \
    "bca\xcc\x88\n"

static void messages_have_text(void **state) /* [RFC3501 6.4.4] [RFC9051 6.4.4] */
{
    expect_text(mail, MIME_TEXT_BODY, INNER);
    expect_text(mail, MIME_TEXT_ALL,
                "subject: gru\xcc\x88\xc3\x9f"
                "e again\ncontent-type: multipart/mixed; boundary=b\n" INNER);
}

static void what_cannot_be_read_is_passed_over(void **state)
{
    expect_text("Content-Transfer-Encoding: x-uuencode\r\n\r\nBEGIN\r\n", MIME_TEXT_BODY, "\n");
    expect_text("Content-Type: application/pdf\r\n\r\nBEGIN\r\n", MIME_TEXT_BODY, "\n");
    expect_text("Content-Type: text/plain; charset=unknown\r\n\r\nCAF\xe9", MIME_TEXT_BODY,
                "cafe\xcc\x81\n");
    expect_text("\r\nBEGIN\xc3", MIME_TEXT_BODY, "begina\xcc\x83\n");
    expect_text("", MIME_TEXT_ALL, "\n");
}

static void values_are_decoded_and_folded(void **state)
{
    struct buf out;
    buf_init(&out, 100);
    assert_rc(mime_text_of_value(STR(" =?utf-8?b?w4Q=?=\r\n B"), charsets, &out), RC_OK);
    assert_str(buf_str(&out), "a\xcc\x88 b");
    buf_fini(&out);
}

/* Characters that become much longer. */
static void long_foldings_fit(void **state)
{
    struct buf message, all;
    buf_init(&message, 100000);
    buf_init(&all, 1000000);
    buf_put(&message, STR("\r\n"));
    for (int i = 0; i < 5000; i++)
        buf_put(&message, STR("\xef\xb7\xba"));
    read_text(buf_str(&message), MIME_TEXT_BODY, 100000, 1000, &all);
    assert_int_equal(buf_len(&all), 5000 * 33 + 1);
    buf_fini(&all);
    buf_fini(&message);
}

static void names_for_the_network(void **state) /* [RFC5198 2] [RFC9755 3] */
{
    static const char *const good[] = {
        "", "plain name", "Entw\xc3\xbcrfe", "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x93\xac",
    };
    static const char *const bad[] = {
        "tab\t",
        "del\x7f",
        "u\xcc\x88",        /* two characters for one */
        "\xe2\x84\xab",     /* the sign of the angstrom is a letter */
        "nel\xc2\x85",      /* a control of the upper half */
        "\xe2\x80\xa8",     /* the end of a line */
        "a\xe2\x80\xa9",    /* and of a paragraph */
        "\xef\xbb\xbfmark", /* a byte order mark */
        "\xcd\xb8",         /* not assigned */
        "broken\xc3",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!mime_is_net_unicode(str_of(good[i])))
            fail_msg("%zu was refused", i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mime_is_net_unicode(str_of(bad[i])))
            fail_msg("%zu was taken", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_does_not_count),
        cmocka_unit_test(folding_keeps_to_the_cap),
        cmocka_unit_test(strings_are_found_across_pieces),
        cmocka_unit_test(messages_have_text),
        cmocka_unit_test(what_cannot_be_read_is_passed_over),
        cmocka_unit_test(values_are_decoded_and_folded),
        cmocka_unit_test(long_foldings_fit),
        cmocka_unit_test(names_for_the_network),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
