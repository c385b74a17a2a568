/* The values of RET, ENVID, NOTIFY and ORCPT, legal and not. */
#include "base/test.h"
#include "smtp/smtp.h"

static void xtext_is_decoded(void **state)
{
    static const struct {
        const char *in, *out; /* out NULL: RC_SYNTAX */
    } rows[] = {
        {"abc", "abc"}, {"a+2Bb+3Dc", "a+b=c"}, {"+20", " "},       {"+E9", "\xe9"},
        {"", ""}, /* [RFC3461 4] */
        {"a b", NULL},  {"a=b", NULL},          {"+", NULL},        {"+2", NULL},
        {"+2b", NULL},  {"+G0", NULL},          {"\xc3\xa4", NULL}, {"a\t", NULL},
        {"+-1", NULL},  {"\x7f", NULL},         {"a+2Bb+3", NULL},  {"++2B", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out;
        buf_init(&out, 100);
        enum rc rc = smtp_xtext_decode(str_of(rows[i].in), &out);
        if ((rc == RC_OK) != (rows[i].out != NULL) ||
            (rc == RC_OK && !str_eq(buf_str(&out), str_of(rows[i].out))))
            fail_msg("%s: %s", rows[i].in, rc_name(rc));
        buf_fini(&out);
    }
    struct buf out;
    buf_init(&out, 2);
    assert_rc(smtp_xtext_decode(STR("abc"), &out), RC_LIMIT);
    buf_fini(&out);
}

static void ret_is_full_or_hdrs(void **state)
{
    enum smtp_ret ret;
    assert_rc(smtp_ret_parse(STR("FULL"), &ret), RC_OK); /* [RFC3461 4.3] */
    assert_int_equal(ret, SMTP_RET_FULL);
    assert_rc(smtp_ret_parse(STR("hdrs"), &ret), RC_OK);
    assert_int_equal(ret, SMTP_RET_HDRS);
    assert_rc(smtp_ret_parse(STR(""), &ret), RC_SYNTAX);
    assert_rc(smtp_ret_parse((struct str){0}, &ret), RC_SYNTAX);
    assert_rc(smtp_ret_parse(STR("FULL,HDRS"), &ret), RC_SYNTAX);
}

static void notify_is_a_list_or_never(void **state)
{
    static const struct {
        const char *in;
        unsigned bits; /* 0: RC_SYNTAX */
    } rows[] = {
        /* [RFC3461 4.1] */
        {"NEVER", SMTP_NOTIFY_NEVER},
        {"Success", SMTP_NOTIFY_SUCCESS},
        {"SUCCESS,FAILURE,DELAY", SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY},
        {"delay,failure", SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY},
        {"NEVER,SUCCESS", 0},
        {"SUCCESS,NEVER", 0},
        {"SUCCESS,SUCCESS", 0},
        {"", 0},
        {",", 0},
        {"SUCCESS,", 0},
        {",SUCCESS", 0},
        {"SUCCESS, FAILURE", 0},
        {"ALWAYS", 0},
        {"SUCCESS;FAILURE", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned bits;
        enum rc rc = smtp_notify_parse(str_of(rows[i].in), &bits);
        if (rc != (rows[i].bits ? RC_OK : RC_SYNTAX) || (rc == RC_OK && bits != rows[i].bits))
            fail_msg("%s: %s", rows[i].in, rc_name(rc));
    }
}

struct orcpt {
    const char *in;
    enum rc ascii, utf8; /* without and with SMTPUTF8 */
};

static const struct orcpt orcpts[] = {
    {"rfc822;alice@example.test", RC_OK, RC_OK}, /* [RFC3461 4.2] */
    {"RFC822;a+2Bb@example.test", RC_OK, RC_OK},
    {"rfc822;+22john+20doe+22@example.test", RC_OK, RC_OK},
    {"x400;/C=de/", RC_SYNTAX, RC_SYNTAX}, /* "=" is not xtext */
    {"x400;/C+3Dde/", RC_OK, RC_OK},
    {"x-unknown;anything", RC_OK, RC_OK},
    {"x=y;a", RC_SYNTAX, RC_SYNTAX},
    {"rfc822;", RC_SYNTAX, RC_SYNTAX},
    {";alice@example.test", RC_SYNTAX, RC_SYNTAX},
    {"alice@example.test", RC_SYNTAX, RC_SYNTAX},
    {"", RC_SYNTAX, RC_SYNTAX},
    {"rfc 822;a", RC_SYNTAX, RC_SYNTAX},
    {"rfc(822);a", RC_SYNTAX, RC_SYNTAX},
    {"rfc822;a+0D+0AMAIL", RC_SYNTAX, RC_SYNTAX}, /* nothing that could break a report's line */
    {"rfc822;a+00", RC_SYNTAX, RC_SYNTAX},
    {"rfc822;a+E9", RC_SYNTAX, RC_SYNTAX},
    {"rfc822;\xc3\xa4@example.test", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4@example.test", RC_SYNTAX, RC_OK}, /* [RFC6533 3] */
    {"utf-8;\\x{E4}@example.test", RC_OK, RC_OK},
    {"UTF-8;a\\x{10FFFF}", RC_OK, RC_OK},
    {"utf-8;a\\x{2B}b", RC_OK, RC_OK},
    {"utf-8;a\\x{0A}b", RC_OK, RC_OK},
    {"utf-8;a\\x{62}b", RC_OK, RC_OK}, /* not unitext, but xtext as any other */
    {"utf-8;\xc3@example.test", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4\\x{62}", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4\\x{D800}", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4\\x{110000}", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4\\x{00E4}", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4\\x{e4}", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4\\x{E4", RC_SYNTAX, RC_SYNTAX},
    {"utf-8;\xc3\xa4+2B", RC_SYNTAX, RC_SYNTAX},
};

static void an_original_recipient_is_checked(void **state)
{
    for (size_t i = 0; i < sizeof orcpts / sizeof *orcpts; i++) {
        const struct orcpt *o = &orcpts[i];
        enum rc ascii = smtp_orcpt_check(str_of(o->in), false),
                utf8 = smtp_orcpt_check(str_of(o->in), true);
        if (ascii != o->ascii || utf8 != o->utf8)
            fail_msg("%s: %s, with SMTPUTF8 %s", o->in, rc_name(ascii), rc_name(utf8));
    }
}

static void values_have_limits(void **state)
{
    char text[SMTP_ORCPT_MAX + 2];
    memset(text, 'x', sizeof text);
    assert_rc(smtp_envid_check(str_from(text, SMTP_ENVID_MAX)), RC_OK); /* [RFC3461 4.4] */
    assert_rc(smtp_envid_check(str_from(text, SMTP_ENVID_MAX + 1)), RC_LIMIT);
    assert_rc(smtp_envid_check(STR("QQ314159+20x")), RC_OK);
    assert_rc(smtp_envid_check(STR("a+0D+0Ab")), RC_SYNTAX);
    assert_rc(smtp_envid_check(STR("")), RC_SYNTAX);
    text[6] = ';';
    assert_rc(smtp_orcpt_check(str_from(text, SMTP_ORCPT_MAX), false), RC_OK); /* [RFC3461 4.2] */
    assert_rc(smtp_orcpt_check(str_from(text, SMTP_ORCPT_MAX + 1), false), RC_LIMIT);
}

/* [RFC4865 3] */
static void release_times_are_read(void **state)
{
    static const struct {
        const char *text;
        enum rc rc;
        uint64_t seconds;
    } cases[] = {
        {"1970-01-01T00:00:10Z", RC_OK, 10},
        {"2026-11-22T10:00:00Z", RC_OK, 1795341600},
        {"2026-11-22t10:00:00.00z", RC_OK, 1795341600},
        {"2026-11-22T10:00:00.25Z", RC_OK, 1795341601},
        {"2026-11-22T10:00:00+00:00", RC_OK, 1795341600},
        {"2026-11-22T11:00:00+01:00", RC_SYNTAX, 0},
        {"2026-11-22T04:30:00-05:30", RC_SYNTAX, 0},
        {"2028-02-29T00:00:00Z", RC_OK, 1835395200},
        {"2027-02-29T00:00:00Z", RC_SYNTAX, 0},
        {"2026-06-31T00:00:00Z", RC_SYNTAX, 0},
        {"2026-13-01T00:00:00Z", RC_SYNTAX, 0},
        {"2026-11-22T24:00:00Z", RC_SYNTAX, 0},
        {"2026-11-22T10:00:00", RC_SYNTAX, 0},
        {"2026-11-22T10:00:00.Z", RC_SYNTAX, 0},
        {"2026-11-22T10:00:00+1:00", RC_SYNTAX, 0},
        {"2026-11-22 10:00:00Z", RC_SYNTAX, 0},
        {"26-11-22T10:00:00Z", RC_SYNTAX, 0},
        {"", RC_SYNTAX, 0},
    };
    uint64_t seconds;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum rc rc = smtp_holduntil_parse(str_of(cases[i].text), &seconds);
        assert_rc(rc, cases[i].rc);
        if (rc == RC_OK)
            assert_int_equal(seconds, cases[i].seconds);
    }
    assert_rc(smtp_holdfor_parse(STR("999999999"), &seconds), RC_OK);
    assert_int_equal(seconds, 999999999);
    assert_rc(smtp_holdfor_parse(STR("1000000000"), &seconds), RC_SYNTAX);
    assert_rc(smtp_holdfor_parse(STR("0"), &seconds), RC_SYNTAX);
    assert_rc(smtp_holdfor_parse(STR("010"), &seconds), RC_SYNTAX);
    assert_rc(smtp_holdfor_parse(STR("-1"), &seconds), RC_SYNTAX);
    assert_rc(smtp_holdfor_parse(STR(""), &seconds), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xtext_is_decoded),
        cmocka_unit_test(ret_is_full_or_hdrs),
        cmocka_unit_test(notify_is_a_list_or_never),
        cmocka_unit_test(an_original_recipient_is_checked),
        cmocka_unit_test(values_have_limits),
        cmocka_unit_test(release_times_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
