#include "mime/precis.h"

#include "base/test.h"

enum { MAX = 64 };

static void check(enum mime_form form, struct str text, struct str expected)
{
    struct buf out = {.cap = 4 * MAX};
    assert_rc(mime_prepare(form, text, MAX, &out), RC_OK);
    assert_true(str_eq(buf_str(&out), expected));
    buf_fini(&out);
    buf_init(&out, 4 * MAX); /* once more changes nothing */
    assert_rc(mime_prepare(form, expected, MAX, &out), RC_OK);
    assert_true(str_eq(buf_str(&out), expected));
    buf_fini(&out);
}

static void opaque_strings(void **state) /* [RFC8265 4.3] */
{
    check(MIME_OPAQUE, STR("correct horse battery staple"), STR("correct horse battery staple"));
    check(MIME_OPAQUE, STR("Correct Horse Battery Staple"), STR("Correct Horse Battery Staple"));
    check(MIME_OPAQUE, STR("\u03c0\u00df\u00e5"), STR("\u03c0\u00df\u00e5"));
    check(MIME_OPAQUE, STR("Jack of \u2666s"), STR("Jack of \u2666s"));
    check(MIME_OPAQUE, STR("foo\u1680bar"), STR("foo bar"));
    check(MIME_OPAQUE, STR("pa\u0308ss"), STR("p\u00e4ss"));
    check(MIME_OPAQUE, STR("x\u00b2 \ufb01"), STR("x\u00b2 \ufb01")); /* not NFKC */
    check(MIME_OPAQUE, STR(""), STR(""));
}

static void saslprep(void **state) /* [RFC4013 3] */
{
    check(MIME_SASLPREP, STR("I\u00adX"), STR("IX"));
    check(MIME_SASLPREP, STR("user"), STR("user"));
    check(MIME_SASLPREP, STR("USER"), STR("USER"));
    check(MIME_SASLPREP, STR("\u00aa"), STR("a"));
    check(MIME_SASLPREP, STR("\u2168"), STR("IX"));
    check(MIME_SASLPREP, STR("a\u3000b\u200bc"), STR("a b c"));
    check(MIME_SASLPREP, STR("pa\u0308ss\u2026"), STR("p\u00e4ss..."));
}

/* Whichever of the forms a client sends, its SASLprep form is one. */
static void forms_agree(void **state)
{
    static const struct str texts[] = {STR_INIT("p\u00e4ss\u00b2"), STR_INIT("pa\u0308ss\u00b2"),
                                       STR_INIT("p\u00e4ss2"), STR_INIT("pa\u0308\u00adss2")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check(MIME_SASLPREP, texts[i], STR("p\u00e4ss2"));
}

static void usernames(void **state) /* [RFC8265 3.3] [RFC8265 3.5] */
{
    check(MIME_USERNAME, STR("Juliet@Example.com"), STR("juliet@example.com"));
    check(MIME_USERNAME, STR("\uff21lice@example.com"), STR("alice@example.com"));
    check(MIME_USERNAME, STR("\u03a3"), STR("\u03c3"));
    check(MIME_USERNAME, STR("fussba\u0308ll"), STR("fussb\u00e4ll"));
    check(MIME_USERNAME, STR("\u2163"), STR("\u2173")); /* not to "iv" */
}

static void what_stays_as_it_came(void **state)
{
    static const struct str texts[] = {
        STR_INIT("p\xe4ss"), STR_INIT("\u00ad"), STR_INIT("\xed\xa0\x80"),
        STR_INIT("\ufdfa\ufdfa\ufdfa"), /* 33 bytes each when taken apart */
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check(MIME_SASLPREP, texts[i], texts[i]);
    struct buf out = {.cap = 4};
    assert_rc(mime_prepare(MIME_OPAQUE, STR("too long"), MAX, &out), RC_LIMIT);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opaque_strings),        cmocka_unit_test(saslprep),
        cmocka_unit_test(forms_agree),           cmocka_unit_test(usernames),
        cmocka_unit_test(what_stays_as_it_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
