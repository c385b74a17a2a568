#include "auth/login_int.h"

#include "base/test.h"

static const struct auth_channel in_tls = {.path = AUTH_IN_TLS};

struct exchange {
    struct sasl sasl;
    struct buf challenge;
};

static void begin(struct exchange *x, const char *mechanism)
{
    *x = (struct exchange){.challenge = {.cap = 64}};
    assert_rc(sasl_begin(&x->sasl, str_of(mechanism), &in_tls, SASL_SCRAM), RC_OK);
}

/* RC_AGAIN: a challenge came. */
static enum rc step(struct exchange *x, struct str response)
{
    buf_clear(&x->challenge);
    enum sasl_next next = sasl_step(&x->sasl, response, &x->challenge);
    if (next == SASL_REFUSED)
        return x->sasl.rc;
    return next == SASL_ASK ? RC_AGAIN : RC_OK;
}

static void end(struct exchange *x)
{
    static const struct sasl zero;
    sasl_fini(&x->sasl);
    assert_memory_equal(&x->sasl, &zero, sizeof zero);
    buf_fini(&x->challenge);
}

static void what_is_offered(void **state)
{
    static const struct {
        struct auth_channel channel;
        unsigned families;
        const char *names;
    } cases[] = {
        {{.path = AUTH_IN_CLEAR}, SASL_SCRAM, ""},
        {{.path = AUTH_ON_LOOPBACK}, SASL_SCRAM, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
        {{.path = AUTH_IN_TLS}, SASL_SCRAM, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
        {{.path = AUTH_IN_TLS, .binding = "tls-exporter"},
         SASL_SCRAM,
         "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
        {{.path = AUTH_IN_TLS, .binding = "tls-exporter"}, 0, "PLAIN LOGIN"},
    };
    struct buf out = {.cap = 256};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&out);
        sasl_names(&cases[i].channel, cases[i].families, &out);
        assert_true(str_eq(buf_str(&out), str_of(cases[i].names)));
    }
    buf_fini(&out);
}

static void mechanisms_by_name(void **state)
{
    const struct auth_channel in_clear = {.path = AUTH_IN_CLEAR};
    const struct str unknown[] = {STR(""), STR("PLAI"), STR("PLAINX"), STR("CRAM-MD5"),
                                  STR("PLAIN\0")};
    struct sasl s;
    assert_rc(sasl_begin(&s, STR("plain"), &in_tls, SASL_SCRAM), RC_OK);
    assert_rc(sasl_begin(&s, STR("plain"), &in_clear, SASL_SCRAM), RC_PERM);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_rc(sasl_begin(&s, unknown[i], &in_tls, SASL_SCRAM), RC_NOTFOUND);
    assert_int_equal(sasl_step(&s, STR("x"), NULL), SASL_REFUSED);
    assert_rc(s.rc, RC_SYNTAX);
    sasl_fini(&s);
}

/* The lines of all three protocols [RFC4954 4] [RFC4959 3] [RFC5034 4]. */
static void lines(void **state)
{
    static const struct {
        const char *mechanism, *initial, *line; /* initial NULL: none, as "" */
        enum rc rc;
    } cases[] = {
        {"PLAIN", "AHRpbQBzZWNyZXQ=", NULL, RC_OK},
        {"PLAIN", NULL, "AHRpbQBzZWNyZXQ=", RC_OK},
        {"PLAIN", "", "AHRpbQBzZWNyZXQ=", RC_OK},
        {"PLAIN", "=", NULL, RC_SYNTAX}, /* there, and empty */
        {"PLAIN", NULL, "=", RC_CORRUPT},
        {"PLAIN", NULL, "", RC_SYNTAX},
        {"PLAIN", NULL, "*", RC_EOF},
        {"PLAIN", "*", NULL, RC_CORRUPT},
        {"PLAIN", "AHRpbQBzZWNyZXQ", NULL, RC_CORRUPT},
        {"LOGIN", "dGlt", "*", RC_EOF},
        {"LOGIN", "dGlt", "c2VjcmV0", RC_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf response = {.cap = 64}, challenge = {.cap = 64};
        struct sasl s;
        assert_rc(sasl_begin(&s, str_of(cases[i].mechanism), &in_tls, SASL_SCRAM), RC_OK);
        enum sasl_next next = sasl_line(&s, str_of(cases[i].initial), true, &response, &challenge);
        if (cases[i].line) {
            assert_int_equal(next, SASL_ASK);
            next = sasl_line(&s, str_of(cases[i].line), false, &response, &challenge);
        }
        assert_int_equal(next, cases[i].rc == RC_OK ? SASL_PASSWORD : SASL_REFUSED);
        if (next == SASL_PASSWORD)
            assert_str(s.password, "secret");
        else
            assert_rc(s.rc, cases[i].rc);
        sasl_fini(&s);
        buf_fini(&response);
        buf_fini(&challenge);
    }
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
        cmocka_unit_test(lines),
        cmocka_unit_test(plain_with_and_without_initial_response),
        cmocka_unit_test(login_with_and_without_initial_response),
        cmocka_unit_test(refused_messages),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
