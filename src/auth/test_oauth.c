/* OAUTHBEARER and XOAUTH2 as pure steps: the examples of RFC 7628, of Google and of Microsoft, and
 * what is none of the two. */
#include "auth/login_int.h"

#include "base/test.h"

static const struct auth_channel in_tls = {.path = AUTH_IN_TLS};

#define TOKEN "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="

static enum sasl_next step(struct sasl *s, const char *mechanism, struct str response)
{
    struct buf challenge = {.cap = 1024};
    assert_rc(sasl_begin(s, str_of(mechanism), &in_tls, SASL_BEARER), RC_OK);
    enum sasl_next next = sasl_step(s, response, &challenge);
    assert_int_equal(buf_len(&challenge), 0);
    buf_fini(&challenge);
    return next;
}

static void take(const char *mechanism, const char *response, const char *name, const char *token)
{
    struct sasl s;
    assert_int_equal(step(&s, mechanism, str_of(response)), SASL_TOKEN);
    assert_true(str_eq(s.name, str_of(name)));
    assert_true(str_eq(s.token, str_of(token)));
    sasl_fini(&s);
}

static void refuse(const char *mechanism, struct str response, enum rc rc)
{
    struct sasl s;
    assert_int_equal(step(&s, mechanism, response), SASL_REFUSED);
    assert_rc(s.rc, rc);
}

static void examples(void **state)
{
    /* [RFC7628 4.1] */
    take("OAUTHBEARER",
         "n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer " TOKEN "\1\1",
         "user@example.com", TOKEN);
    /* [RFC7628 4.3] */
    take("OAUTHBEARER", "n,a=user@example.com,\1host=server.example.com\1port=143\1auth=\1\1",
         "user@example.com", "");
    /* Google's and Microsoft's. */
    take("XOAUTH2",
         "user=someuser@example.com\1auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\1\1",
         "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg");
    take("XOAUTH2",
         "user=test@contoso.onmicrosoft.com\1auth=Bearer "
         "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA\1\1",
         "test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA");
}

static void variants(void **state)
{
    take("OAUTHBEARER", "n,,\1auth=Bearer a\1\1", "", "a");
    take("OAUTHBEARER", "y,,\1auth=bearer a.b-c_d~e+f/g==\1\1", "", "a.b-c_d~e+f/g==");
    take("OAUTHBEARER", "n,a=a=2Cb=3Dc,\1auth=Bearer a\1\1", "a,b=c", "a"); /* [RFC5801 4] */
    take("OAUTHBEARER", "n,,\1unknown=\t x\r\n\1auth=Bearer a\1user=b\1\1", "", "a");
    take("XOAUTH2", "auth=Bearer a\1user=b\1\1", "b", "a");
}

static void without_an_initial_response(void **state)
{
    static const char *const names[] = {"OAUTHBEARER", "XOAUTH2"};
    for (size_t i = 0; i < 2; i++) {
        struct sasl s;
        struct buf challenge = {.cap = 1024};
        assert_int_equal(step(&s, names[i], (struct str){0}), SASL_ASK);
        assert_int_equal(sasl_step(&s, STR("x"), &challenge), SASL_REFUSED);
        buf_fini(&challenge);
    }
}

static void what_is_none(void **state)
{
    static const char *const bearer[] = {
        "",
        "\1",
        "n,,",
        "n,,\1",
        "n,,\1\1",
        "n,,\1auth=Bearer a\1",
        "n,,\1auth=Bearer a\1\1x",
        "n,,auth=Bearer a\1\1",
        "n,\1auth=Bearer a\1\1",
        ",,\1auth=Bearer a\1\1",
        "p=tls-exporter,,\1auth=Bearer a\1\1", /* no OAuth mechanism is bound to a channel */
        "n,b=c,\1auth=Bearer a\1\1",
        "n,a=,\1auth=Bearer a\1\1",
        "n,a==2c,\1auth=Bearer a\1\1",
        "n,a=b=,\1auth=Bearer a\1\1",
        "n,a=\xff,\1auth=Bearer a\1\1",
        "n,,\1host=a\1\1",
        "n,,\1auth=Bearer a\1auth=Bearer a\1\1",
        "n,,\1auth\1\1",
        "n,,\1=Bearer a\1\1",
        "n,,\1a1=b\1auth=Bearer a\1\1",
        "n,,\1x=\2\1auth=Bearer a\1\1",
        "n,,\1auth=Bearer\1\1",
        "n,,\1auth=Bearer \1\1",
        "n,,\1auth=MAC a\1\1",
        "n,,\1auth=Bearer a b\1\1",
        "n,,\1auth=Bearer a,b\1\1",
        "n,,\1auth=Bearer ==\1\1",
        "n,,\1auth=Bearer a=b\1\1",
    };
    static const char *const x2[] = {
        "",
        "\1\1",
        "user=a\1\1",
        "auth=Bearer a\1\1",
        "user=\1auth=Bearer a\1\1",
        "user=a\1user=a\1auth=Bearer a\1\1",
        "user=a\1auth=Bearer a\1",
        "user=a\1auth=Bearer a",
        "n,,\1auth=Bearer a\1\1",
        "user=\xff\1auth=Bearer a\1\1",
    };
    for (size_t i = 0; i < sizeof bearer / sizeof *bearer; i++)
        refuse("OAUTHBEARER", str_of(bearer[i]), RC_SYNTAX);
    for (size_t i = 0; i < sizeof x2 / sizeof *x2; i++)
        refuse("XOAUTH2", str_of(x2[i]), RC_SYNTAX);
}

static void limits(void **state)
{
    struct buf text = {.cap = 1 << 20};
    struct sasl s;
    buf_put(&text, STR("n,,\1auth=Bearer "));
    size_t n = buf_len(&text);
    while (buf_len(&text) < n + AUTH_TOKEN_MAX)
        buf_put(&text, STR("a"));
    buf_put(&text, STR("\1\1"));
    assert_int_equal(step(&s, "OAUTHBEARER", buf_str(&text)), SASL_TOKEN);
    assert_int_equal(s.token.n, AUTH_TOKEN_MAX);
    sasl_fini(&s);
    buf_truncate(&text, n + AUTH_TOKEN_MAX);
    buf_put(&text, STR("a\1\1"));
    refuse("OAUTHBEARER", buf_str(&text), RC_LIMIT);
    buf_clear(&text);
    buf_put(&text, STR("n,a="));
    while (buf_len(&text) < 4 + AUTH_SASL_NAME_MAX + 1)
        buf_put(&text, STR("a"));
    buf_put(&text, STR(",\1auth=Bearer a\1\1"));
    refuse("OAUTHBEARER", buf_str(&text), RC_LIMIT);
    buf_fini(&text);
}

static void offered_with_an_issuer_alone(void **state)
{
    struct sasl s;
    struct auth_channel clear = {.path = AUTH_IN_CLEAR};
    assert_rc(sasl_begin(&s, STR("OAUTHBEARER"), &in_tls, 0), RC_NOTFOUND);
    assert_rc(sasl_begin(&s, STR("XOAUTH2"), &in_tls, 0), RC_NOTFOUND);
    assert_rc(sasl_begin(&s, STR("xoauth2"), &clear, SASL_BEARER), RC_PERM);
}

static void errors(void **state)
{
    struct sasl s;
    struct buf text = {.cap = 1024};
    assert_int_equal(step(&s, "OAUTHBEARER", STR("n,,\1auth=\1\1")), SASL_TOKEN);
    sasl_token_error(&s, STR("https://a.test/x"), &text); /* [RFC7628 3.2.2] */
    assert_true(str_eq(
        buf_str(&text),
        STR("{\"status\":\"invalid_token\",\"openid-configuration\":\"https://a.test/x\"}")));
    buf_clear(&text);
    sasl_token_error(&s, (struct str){0}, &text);
    assert_true(str_eq(buf_str(&text), STR("{\"status\":\"invalid_token\"}")));
    buf_fini(&text);
    sasl_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(variants),
        cmocka_unit_test(without_an_initial_response),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(limits),
        cmocka_unit_test(offered_with_an_issuer_alone),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
