/* The TXT record and the policy of MTA-STS, as they should be and as they should not. */
#include "tlspol/tlspol.h"

#include "base/test.h"

#include <stdio.h>

static void test_txt(void **state)
{
    static const struct {
        const char *record;
        enum rc rc;
        const char *id;
    } cases[] = {
        {"v=STSv1; id=20160831085700Z;", RC_OK, "20160831085700Z"}, /* [RFC8461 3.1] */
        {"v=STSv1;id=1", RC_OK, "1"},
        {"v=STSv1 ; x.y-z_1=a:b ; id=abc ; ", RC_OK, "abc"},
        {"v=STSv1; id=first; id=second", RC_OK, "first"},
        {"v=STSv1; id=12345678901234567890123456789012", RC_OK, "12345678901234567890123456789012"},
        {"v=STSv1; id=123456789012345678901234567890123", RC_SYNTAX, NULL},
        {"v=STSv1; id=", RC_SYNTAX, NULL},
        {"v=STSv1; id=a-b", RC_SYNTAX, NULL},
        {"v=STSv1; id=1; nonsense", RC_SYNTAX, NULL},
        {"v=STSv1; id=1;; x=y", RC_SYNTAX, NULL},
        {"v=STSv1; id=1; x=a=b", RC_SYNTAX, NULL},
        {"v=STSv1; x=y", RC_SYNTAX, NULL},
        {"v=STSv1;", RC_SYNTAX, NULL},
        {"v=STSv1", RC_NOTFOUND, NULL},
        {"v=STSv2; id=1", RC_NOTFOUND, NULL},
        {"v=STSv11; id=1", RC_NOTFOUND, NULL},
        {"V=STSv1; id=1", RC_NOTFOUND, NULL},
        {"v=spf1 -all", RC_NOTFOUND, NULL},
        {"", RC_NOTFOUND, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str id = {0};
        print_message("%s\n", cases[i].record);
        assert_rc(tlspol_txt_parse(str_of(cases[i].record), &id), cases[i].rc);
        if (cases[i].id)
            assert_true(str_eq(id, str_of(cases[i].id)));
    }
}

#define START "version: STSv1\r\nmode: enforce\r\nmax_age: 86400\r\n"

static void test_policies(void **state)
{
    static const struct {
        const char *text;
        enum rc rc;
        enum tlspol_mode mode;
        uint64_t max_age;
        size_t n_mx;
    } cases[] = {
        {"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n"
         "mx: backupmx.example.com\r\nmax_age: 604800\r\n", /* [RFC8461 3.2] */
         RC_OK, TLSPOL_ENFORCE, 604800, 3},
        {"version:STSv1\nmode:testing\nmx:a.b\nmax_age:1", RC_OK, TLSPOL_TESTING, 1, 1},
        {"version: STSv1\nmode: none\nmax_age: 0\n", RC_OK, TLSPOL_NONE, 0, 0},
        {START "mx: a.b \t\r\nwhat-ever: \xc3\xa4 x\r\n", RC_OK, TLSPOL_ENFORCE, 86400, 1},
        {START "mx: a.b\r\nmode: none\r\nmax_age: x\r\n", RC_OK, TLSPOL_ENFORCE, 86400, 1},
        {"version: STSv1\nmode: enforce\nmx: a.b\nmax_age: 9999999999\n", RC_OK, TLSPOL_ENFORCE,
         31557600, 1},
        {START, RC_SYNTAX, TLSPOL_NONE, 0, 0}, /* no mx */
        {START "mx: a b\r\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {START "mx: \r\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {START "mx: *\r\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {START "mx: a.*.b\r\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {START "mx: a.b\r\nnonsense\r\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {START "mx: a.b\r\nx: \x01\r\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"mode: enforce\nmx: a.b\nmax_age: 1\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"version: STSv2\nmode: enforce\nmx: a.b\nmax_age: 1\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"version: STSv1\nmode: Enforce\nmx: a.b\nmax_age: 1\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"version: STSv1\nmx: a.b\nmax_age: 1\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a.b\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a.b\nmax_age: -1\n", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"version: STSv1\nmode: enforce\nmx: a.b\nmax_age: 99999999999\n", RC_SYNTAX, TLSPOL_NONE,
         0, 0},
        {"<html>", RC_SYNTAX, TLSPOL_NONE, 0, 0},
        {"", RC_SYNTAX, TLSPOL_NONE, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena = {0};
        struct tlspol_policy p;
        print_message("%s\n", cases[i].text);
        assert_rc(tlspol_parse(str_of(cases[i].text), &arena, &p), cases[i].rc);
        if (cases[i].rc == RC_OK) {
            assert_int_equal(p.mode, cases[i].mode);
            assert_int_equal(p.max_age, cases[i].max_age);
            assert_int_equal(p.n_mx, cases[i].n_mx);
        }
        arena_fini(&arena);
    }
}

static void test_bounds(void **state)
{
    static char text[TLSPOL_TEXT_MAX + 2];
    struct arena arena = {0};
    struct tlspol_policy p;
    size_t n = (size_t)snprintf(text, sizeof text, START);
    for (int i = 0; i < TLSPOL_MX_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "mx: m%d.example\n", i);
    assert_rc(tlspol_parse(str_from(text, n), &arena, &p), RC_OK);
    assert_int_equal(p.n_mx, TLSPOL_MX_MAX);
    n += (size_t)snprintf(text + n, sizeof text - n, "mx: more.example\n");
    assert_rc(tlspol_parse(str_from(text, n), &arena, &p), RC_LIMIT);
    memset(text, '\n', sizeof text);
    assert_rc(tlspol_parse(str_from(text, TLSPOL_TEXT_MAX + 1), &arena, &p), RC_LIMIT);
    arena_fini(&arena);
}

static void test_matches(void **state)
{
    static const struct str mx[] = {STR_INIT("mail.example.com"), STR_INIT("*.example.net")};
    struct tlspol_policy p = {.mx = mx, .n_mx = 2};
    assert_true(tlspol_matches(&p, STR("mail.example.com")));
    assert_true(tlspol_matches(&p, STR("a.example.net"))); /* [RFC8461 4.1] */
    assert_true(tlspol_matches(&p, STR("A.Example.NET")));
    assert_false(tlspol_matches(&p, STR("example.net")));
    assert_false(tlspol_matches(&p, STR("a.b.example.net")));
    assert_false(tlspol_matches(&p, STR(".example.net")));
    assert_false(tlspol_matches(&p, STR("mail.example.com.evil.test")));
    assert_false(tlspol_matches(&p, STR("xmail.example.com")));
    assert_false(tlspol_matches(&p, STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_txt),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
