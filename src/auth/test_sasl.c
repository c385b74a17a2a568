#include "auth/auth_int.h"

#include "base/test.h"

struct exchange {
    struct auth_sasl sasl;
    struct buf challenge;
};

static void begin(struct exchange *x, const char *mechanism)
{
    *x = (struct exchange){.challenge = {.cap = 64}};
    assert_rc(auth_sasl_begin(&x->sasl, str_of(mechanism)), RC_OK);
}

static enum rc step(struct exchange *x, struct str response)
{
    buf_clear(&x->challenge);
    return auth_sasl_step(&x->sasl, response, &x->challenge);
}

static void end(struct exchange *x)
{
    static const struct auth_sasl zero;
    auth_sasl_fini(&x->sasl);
    assert_memory_equal(&x->sasl, &zero, sizeof zero);
    buf_fini(&x->challenge);
}

static void what_is_offered(void **state)
{
    struct buf out = {.cap = 64};
    auth_sasl_mechanisms(true, &out);
    assert_str(buf_str(&out), "PLAIN LOGIN");
    buf_clear(&out);
    auth_sasl_mechanisms(false, &out);
    assert_int_equal(buf_len(&out), 0);
    buf_fini(&out);
}

static void mechanisms_by_name(void **state)
{
    const struct str unknown[] = {STR(""), STR("PLAI"), STR("PLAINX"), STR("CRAM-MD5"),
                                  STR("PLAIN\0")};
    struct auth_sasl s;
    assert_rc(auth_sasl_begin(&s, STR("plain")), RC_OK);
    assert_true(s.is_plaintext);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_rc(auth_sasl_begin(&s, unknown[i]), RC_NOTFOUND);
    assert_rc(auth_sasl_step(&s, STR("x"), NULL), RC_SYNTAX);
    auth_sasl_fini(&s);
}

static void plain_with_and_without_initial_response(void **state)
{
    struct exchange x;
    begin(&x, "PLAIN");
    assert_rc(step(&x, STR("\0tim\0tanstaaftanstaaf")), RC_OK); /* [RFC4616 4] */
    assert_str(x.sasl.name, "tim");
    assert_str(x.sasl.password, "tanstaaftanstaaf");
    assert_rc(step(&x, STR("\0tim\0again")), RC_SYNTAX);
    end(&x);
    begin(&x, "PLAIN");
    assert_rc(step(&x, (struct str){0}), RC_AGAIN);
    assert_int_equal(buf_len(&x.challenge), 0);
    assert_rc(step(&x, STR("tim\0tim\0 pass word ")), RC_OK);
    assert_str(x.sasl.name, "tim");
    assert_str(x.sasl.password, " pass word ");
    end(&x);
}

static void login_with_and_without_initial_response(void **state)
{
    struct exchange x;
    begin(&x, "LOGIN");
    assert_rc(step(&x, (struct str){0}), RC_AGAIN);
    assert_str(buf_str(&x.challenge), "Username:");
    assert_rc(step(&x, STR("tim@example.test")), RC_AGAIN);
    assert_str(buf_str(&x.challenge), "Password:");
    assert_rc(step(&x, STR("secret")), RC_OK);
    assert_str(x.sasl.name, "tim@example.test");
    assert_str(x.sasl.password, "secret");
    end(&x);
    begin(&x, "login");
    assert_rc(step(&x, STR("tim")), RC_AGAIN);
    assert_str(buf_str(&x.challenge), "Password:");
    assert_rc(step(&x, STR("")), RC_SYNTAX);
    end(&x);
}

static void refused_messages(void **state)
{
    static const struct {
        struct str message;
        enum rc rc;
    } plain[] = {
        {STR_INIT(""), RC_SYNTAX},
        {STR_INIT("tim"), RC_SYNTAX},
        {STR_INIT("\0tim"), RC_SYNTAX},
        {STR_INIT("\0\0"), RC_SYNTAX},
        {STR_INIT("\0tim\0"), RC_SYNTAX},    /* passwd = 1*SAFE [RFC4616 2] */
        {STR_INIT("\0\0secret"), RC_SYNTAX}, /* authcid = 1*SAFE [RFC4616 2] */
        {STR_INIT("\0tim\0sec\0ret"), RC_SYNTAX},
        {STR_INIT("\0tim\0secret\0"), RC_SYNTAX},
        {STR_INIT("\0t\xefm\0secret"), RC_SYNTAX},
        {STR_INIT("\0tim\0secr\xe9t"), RC_SYNTAX},
        {STR_INIT("t\xefm\0tim\0secret"), RC_SYNTAX},
        {STR_INIT("tom\0tim\0secret"), RC_DENIED},
        {STR_INIT("tim@a\0tim\0secret"), RC_DENIED},
        {STR_INIT("TIM\0tim\0secret"), RC_OK},
        {STR_INIT("\0t\xc3\xafm\0s\xc3\xa9"), RC_OK},
    };
    struct exchange x;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        begin(&x, "PLAIN");
        assert_rc(step(&x, plain[i].message), plain[i].rc);
        end(&x);
    }
    static const struct str names[] = {STR_INIT(""), STR_INIT("t\0m"), STR_INIT("t\xffm")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        begin(&x, "LOGIN");
        assert_rc(step(&x, names[i]), RC_SYNTAX);
        end(&x);
    }
}

/* [RFC4616 2]: at least 255 octets of each are taken. */
static void limits(void **state)
{
    char text[AUTH_SASL_RESPONSE_MAX + 1];
    struct exchange x;
    const struct {
        size_t authorization, name, password;
        enum rc rc;
    } cases[] = {
        {255, 255, AUTH_PASSWORD_MAX, RC_OK},
        {0, 255, 255, RC_OK},
        {0, 256, 255, RC_LIMIT},
        {0, 255, AUTH_PASSWORD_MAX + 1, RC_LIMIT},
        {256, 255, 255, RC_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(text, 'a', sizeof text);
        text[cases[i].authorization] = 0;
        text[cases[i].authorization + 1 + cases[i].name] = 0;
        begin(&x, "PLAIN");
        size_t n = cases[i].authorization + cases[i].name + cases[i].password + 2;
        assert_rc(step(&x, str_from(text, n)), cases[i].rc);
        end(&x);
    }
    memset(text, 'a', sizeof text);
    begin(&x, "LOGIN");
    assert_rc(step(&x, str_from(text, AUTH_SASL_NAME_MAX + 1)), RC_LIMIT);
    assert_rc(step(&x, STR("tim")), RC_SYNTAX); /* it is over */
    end(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_offered),
        cmocka_unit_test(mechanisms_by_name),
        cmocka_unit_test(plain_with_and_without_initial_response),
        cmocka_unit_test(login_with_and_without_initial_response),
        cmocka_unit_test(refused_messages),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
