/* What a token says, once its signature is good. */
#include "token/token_int.h"

#include "base/test.h"

enum { NOW = 1800000000 };
#define ISS  "\"iss\":\"https://login.test\","
#define AUD  "\"aud\":\"mail\","
#define EXP  "\"exp\":1800000100,"
#define MAIL "\"email\":\"a@example.test\""

static const struct str audiences[] = {STR_INIT("mail"), STR_INIT("second")};

static struct token_conf conf_of(const char *claim)
{
    return (struct token_conf){.issuer = STR("https://login.test"),
                               .audiences = audiences,
                               .n_audiences = 2,
                               .claim = str_of(claim),
                               .leeway_s = 60};
}

static void good_ones(void **state)
{
    static const char *const rows[] = {
        "{" ISS AUD EXP MAIL "}",
        "{" ISS "\"aud\":[\"other\",\"second\"]," EXP MAIL "}", /* [RFC7519 4.1.3] */
        "{" ISS AUD EXP MAIL ",\"email_verified\":true}",
        "{" ISS AUD EXP MAIL ",\"email_verified\":\"true\"}",
        "{" ISS AUD "\"exp\":1800000100.5,\"nbf\":1800000060,\"iat\":1799999999," MAIL "}",
    };
    struct token_conf conf = conf_of("email");
    struct token_claims claims;
    const char *cause;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_rc(token_claims_read(str_of(rows[i]), &conf, NOW, &claims, &cause), RC_OK);
        assert_null(cause);
        assert_true(str_eq(str_from(claims.address, claims.address_n), STR("a@example.test")));
        assert_int_equal(claims.expires, 1800000160);
    }
}

static void bad_ones(void **state)
{
    static const struct {
        const char *text, *cause;
    } rows[] = {
        {"", "not-json"},
        {"[]", "not-json"},
        {"{" ISS AUD EXP MAIL, "not-json"},
        {"{" ISS ISS AUD EXP MAIL "}", "not-json"}, /* [RFC7519 4] */
        {"{" AUD EXP MAIL "}", "issuer"},
        {"{\"iss\":\"https://login.test/\"," AUD EXP MAIL "}", "issuer"},
        {"{\"iss\":[\"https://login.test\"]," AUD EXP MAIL "}", "issuer"},
        {"{" ISS EXP MAIL "}", "audience"},
        {"{" ISS "\"aud\":\"other\"," EXP MAIL "}", "audience"},
        {"{" ISS "\"aud\":[]," EXP MAIL "}", "audience"},
        {"{" ISS "\"aud\":[[\"mail\"],{\"mail\":1},7]," EXP MAIL "}", "audience"},
        {"{" ISS AUD MAIL "}", "expired"},
        {"{" ISS AUD "\"exp\":1799999940," MAIL "}", "expired"}, /* [RFC7519 4.1.4] */
        {"{" ISS AUD "\"exp\":\"1800000100\"," MAIL "}", "expired"},
        {"{" ISS AUD "\"exp\":1e300," MAIL "}", "expired"},
        {"{" ISS AUD "\"exp\":-1," MAIL "}", "expired"},
        {"{" ISS AUD EXP "\"nbf\":1800000061," MAIL "}", "not-yet-valid"}, /* [RFC7519 4.1.5] */
        {"{" ISS AUD EXP "\"nbf\":null," MAIL "}", "not-yet-valid"},
        {"{" ISS AUD EXP "\"iat\":1800000061," MAIL "}", "not-yet-valid"}, /* [RFC7519 4.1.6] */
        {"{" ISS AUD EXP "\"name\":\"a\"}", "no-address"},
        {"{" ISS AUD EXP "\"email\":\"\"}", "no-address"},
        {"{" ISS AUD EXP "\"email\":7}", "no-address"},
        {"{" ISS AUD EXP MAIL ",\"email_verified\":false}", "unverified-address"},
        {"{" ISS AUD EXP MAIL ",\"email_verified\":1}", "unverified-address"},
    };
    struct token_conf conf = conf_of("email");
    struct token_claims claims;
    const char *cause;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_rc(token_claims_read(str_of(rows[i].text), &conf, NOW, &claims, &cause), RC_DENIED);
        assert_string_equal(cause, rows[i].cause);
        assert_int_equal(claims.expires, 0);
    }
}

/* Until the leeway is over, and not a second longer. */
static void the_last_second(void **state)
{
    struct token_conf conf = conf_of("email");
    struct token_claims claims;
    const char *cause;
    struct str text = STR("{" ISS AUD "\"exp\":1800000000," MAIL "}");
    assert_rc(token_claims_read(text, &conf, NOW + 59, &claims, &cause), RC_OK);
    assert_rc(token_claims_read(text, &conf, NOW + 60, &claims, &cause), RC_DENIED);
}

/* "email_verified" is about "email"; a claim that the operator has named is as good as the issuer.
 */
static void another_claim(void **state)
{
    struct token_conf conf = conf_of("upn");
    struct token_claims claims;
    const char *cause;
    struct str text = STR("{" ISS AUD EXP MAIL ",\"upn\":\"b@example.test\","
                          "\"email_verified\":false}");
    assert_rc(token_claims_read(text, &conf, NOW, &claims, &cause), RC_OK);
    assert_true(str_eq(str_from(claims.address, claims.address_n), STR("b@example.test")));
}

static void nobody_is_the_issuer_of_nothing(void **state)
{
    struct token_conf conf = conf_of("email");
    struct token_claims claims;
    const char *cause;
    conf.issuer = STR("");
    assert_rc(
        token_claims_read(STR("{\"iss\":\"\"," AUD EXP MAIL "}"), &conf, NOW, &claims, &cause),
        RC_DENIED);
    assert_string_equal(cause, "issuer");
}

static void discovery(void **state)
{
    struct str issuer = STR("https://login.test");
    struct url url;
    assert_rc(discovery_read(STR("{\"issuer\":\"https://login.test\","
                                 "\"jwks_uri\":\"https://keys.test/jwks\"}"),
                             issuer, &url),
              RC_OK);
    assert_string_equal(url.text, "https://keys.test/jwks");
    assert_rc(discovery_read(STR("{\"issuer\":\"https://other.test\","
                                 "\"jwks_uri\":\"https://keys.test/jwks\"}"),
                             issuer, &url),
              RC_DENIED);
    assert_rc(discovery_read(STR("{\"issuer\":\"https://login.test\",\"jwks_uri\":\"file:///x\"}"),
                             issuer, &url),
              RC_SYNTAX);
    assert_rc(discovery_read(STR("<html>"), issuer, &url), RC_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(the_last_second),
        cmocka_unit_test(another_claim),
        cmocka_unit_test(nobody_is_the_issuer_of_nothing),
        cmocka_unit_test(discovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
