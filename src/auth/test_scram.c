#include "auth/login_int.h"

#include "base/base64.h"
#include "base/test.h"

#include <stdio.h>

static const struct auth_channel unbound = {.path = AUTH_IN_TLS};
static const struct auth_channel bound = {.path = AUTH_IN_TLS, .binding = "tls-exporter"};

struct exchange {
    struct sasl sasl;
    struct buf challenge;
    struct sasl_record record;
    unsigned char salt[SCRAM_SALT];
};

static void begin(struct exchange *x, const char *mechanism, const struct auth_channel *channel,
                  const char *nonce)
{
    *x = (struct exchange){.challenge = {.cap = AUTH_CHALLENGE_MAX}};
    assert_rc(sasl_begin(&x->sasl, str_of(mechanism), channel, SASL_SCRAM), RC_OK);
    x->sasl.scram.n_own = strlen(nonce);
    memcpy(x->sasl.scram.nonce, nonce, strlen(nonce));
    x->sasl.binding = (struct net_binding){.type = channel->binding, .bytes = "0123", .n = 4};
    x->record.is_usable = true;
    x->record.iterations = 4096;
}

static void set_password(struct exchange *x, const char *salt, struct str password)
{
    struct buf bytes = {.cap = SCRAM_SALT};
    assert_rc(base64_decode(&bytes, str_of(salt)), RC_OK);
    memcpy(x->salt, buf_str(&bytes).p, buf_len(&bytes));
    x->record.salt = str_from(x->salt, buf_len(&bytes));
    buf_fini(&bytes);
    for (unsigned i = 0; i < SCRAM_FORMS; i++)
        assert_rc(auth_scram_keys(x->sasl.hash, password, x->record.salt, 4096, &x->record.keys[i]),
                  RC_OK);
}

static enum sasl_next step(struct exchange *x, struct str response)
{
    buf_clear(&x->challenge);
    enum sasl_next next = sasl_step(&x->sasl, response, &x->challenge);
    return next == SASL_RECORD ? sasl_record(&x->sasl, &x->record, &x->challenge) : next;
}

static void end(struct exchange *x)
{
    static const struct sasl zero;
    sasl_fini(&x->sasl);
    assert_memory_equal(&x->sasl, &zero, sizeof zero);
    buf_fini(&x->challenge);
}

static void sha1_example(void **state) /* [RFC5802 5] */
{
    struct exchange x;
    begin(&x, "SCRAM-SHA-1", &unbound, "3rfcNHYJY1ZVvWVs7j");
    set_password(&x, "QSXCR+Q6sek8bf92", STR("pencil"));
    assert_int_equal(step(&x, (struct str){0}), SASL_ASK);
    assert_int_equal(buf_len(&x.challenge), 0);
    assert_int_equal(step(&x, STR("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")), SASL_ASK);
    assert_str(x.sasl.name, "user");
    assert_str(buf_str(&x.challenge),
               "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096");
    assert_int_equal(step(&x, STR("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
                                  "p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")),
                     SASL_ASK);
    assert_str(buf_str(&x.challenge), "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    assert_int_equal(step(&x, STR("")), SASL_PROVEN);
    assert_int_equal(x.sasl.n_client_key, 20);
    unsigned char stored[CRYPTO_HASH_MAX];
    assert_rc(crypto_digest(CRYPTO_SHA_1, str_from(x.sasl.client_key, 20), stored), RC_OK);
    assert_memory_equal(stored, x.record.keys[0].stored, 20);
    assert_int_equal(step(&x, STR("")), SASL_REFUSED);
    end(&x);
}

static const char first[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
static const char server_nonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
#define NONCE "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define PROOF "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="

static void begin_example(struct exchange *x)
{
    begin(x, "SCRAM-SHA-256", &unbound, server_nonce);
    set_password(x, "W22ZaJ0SNY7soEsUEjb6gQ==", STR("pencil"));
}

static void sha256_example(void **state) /* [RFC7677 3] */
{
    struct exchange x;
    begin_example(&x);
    assert_int_equal(step(&x, str_of(first)), SASL_ASK);
    assert_str(buf_str(&x.challenge), "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    assert_int_equal(step(&x, STR("c=biws,r=" NONCE "," PROOF)), SASL_ASK);
    assert_str(buf_str(&x.challenge), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_int_equal(step(&x, STR("")), SASL_PROVEN);
    assert_int_equal(x.sasl.n_client_key, 32);
    end(&x);
}

/* The second form of a password is as good; a record that may not be used has no right proof, and
 * neither has the right one when the password has changed since the salt was told. */
static void records(void **state)
{
    struct exchange x;
    begin_example(&x);
    memset(&x.record.keys[0], 1, sizeof x.record.keys[0]);
    assert_int_equal(step(&x, str_of(first)), SASL_ASK);
    assert_int_equal(step(&x, STR("c=biws,r=" NONCE "," PROOF)), SASL_ASK);
    end(&x);
    begin_example(&x);
    x.record.is_usable = false;
    assert_int_equal(step(&x, str_of(first)), SASL_ASK);
    assert_int_equal(step(&x, STR("c=biws,r=" NONCE "," PROOF)), SASL_WRONG);
    assert_int_equal(x.sasl.n_client_key, 0);
    end(&x);
    begin_example(&x);
    assert_int_equal(step(&x, str_of(first)), SASL_ASK);
    set_password(&x, "W22ZaJ0SNY7soEsUEjb6gQ==", STR("pen"));
    assert_int_equal(step(&x, STR("c=biws,r=" NONCE "," PROOF)), SASL_WRONG);
    assert_null(x.sasl.error);
    assert_int_equal(step(&x, STR("c=biws,r=" NONCE "," PROOF)), SASL_REFUSED);
    end(&x);
}

/* Proofs are made as a client does. */
static void put_proof(struct exchange *x, struct str first_bare, struct str without_proof,
                      struct str password, struct buf *out)
{
    unsigned char salted[32], key[32], stored[32], signature[32];
    struct buf message = {.cap = 4096};
    buf_put(&message, first_bare);
    buf_put(&message, STR(","));
    buf_put(&message, buf_str(&x->challenge));
    buf_put(&message, STR(","));
    buf_put(&message, without_proof);
    assert_rc(crypto_pbkdf2(x->sasl.hash, password, x->record.salt, 4096, salted), RC_OK);
    size_t n = crypto_hash_size(x->sasl.hash);
    assert_rc(crypto_hmac(x->sasl.hash, str_from(salted, n), STR("Client Key"), key), RC_OK);
    assert_rc(crypto_digest(x->sasl.hash, str_from(key, n), stored), RC_OK);
    assert_rc(crypto_hmac(x->sasl.hash, str_from(stored, n), buf_str(&message), signature), RC_OK);
    for (size_t i = 0; i < n; i++)
        key[i] ^= signature[i];
    buf_put(out, without_proof);
    buf_put(out, STR(",p="));
    assert_rc(base64_encode(out, str_from(key, n)), RC_OK);
    buf_fini(&message);
}

/* What a client says of channel binding, on a connection that has one or not [RFC5802 6]. */
static void bindings(void **state)
{
    static const struct {
        const char *mechanism;
        const struct auth_channel *channel;
        const char *header; /* the GS2 header */
        const char *data;   /* what the client thinks that the binding's bytes are */
        enum sasl_next at_first, at_final;
        const char *error;
    } cases[] = {
        {"SCRAM-SHA-256-PLUS", &bound, "p=tls-exporter,,", "0123", SASL_ASK, SASL_ASK, NULL},
        {"SCRAM-SHA-1-PLUS", &bound, "p=tls-exporter,,", "0123", SASL_ASK, SASL_ASK, NULL},
        {"SCRAM-SHA-256-PLUS", &bound, "p=tls-exporter,a=user,", "0123", SASL_ASK, SASL_ASK, NULL},
        {"SCRAM-SHA-256-PLUS", &bound, "p=tls-exporter,,", "0124", SASL_ASK, SASL_WRONG,
         "channel-bindings-dont-match"},
        {"SCRAM-SHA-256-PLUS", &bound, "p=tls-exporter,,", "", SASL_ASK, SASL_WRONG,
         "channel-bindings-dont-match"},
        {"SCRAM-SHA-256-PLUS", &bound, "p=tls-exporter,,", "01234", SASL_ASK, SASL_WRONG,
         "channel-bindings-dont-match"},
        {"SCRAM-SHA-256-PLUS", &bound, "p=tls-unique,,", "0123", SASL_WRONG, 0,
         "unsupported-channel-binding-type"},
        {"SCRAM-SHA-256-PLUS", &bound, "n,,", "", SASL_REFUSED, 0, NULL},
        {"SCRAM-SHA-256-PLUS", &bound, "y,,", "", SASL_REFUSED, 0, NULL},
        {"SCRAM-SHA-256", &bound, "n,,", "", SASL_ASK, SASL_ASK, NULL},
        {"SCRAM-SHA-256", &bound, "n,,", "0123", SASL_ASK, SASL_WRONG,
         "channel-bindings-dont-match"},
        {"SCRAM-SHA-256", &bound, "y,,", "", SASL_WRONG, 0, "server-does-support-channel-binding"},
        {"SCRAM-SHA-256", &unbound, "y,,", "", SASL_ASK, SASL_ASK, NULL},
        {"SCRAM-SHA-256", &bound, "p=tls-exporter,,", "0123", SASL_WRONG, 0,
         "channel-binding-not-supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf message = {.cap = 4096}, binding = {.cap = 256}, final = {.cap = 4096};
        const struct str bare = STR("n=user,r=abc");
        struct exchange x;
        begin(&x, cases[i].mechanism, cases[i].channel, "xyz");
        set_password(&x, "W22ZaJ0SNY7soEsUEjb6gQ==", STR("pencil"));
        buf_put(&message, str_of(cases[i].header));
        buf_put(&message, bare);
        assert_int_equal(step(&x, buf_str(&message)), cases[i].at_first);
        if (cases[i].at_first == SASL_ASK) {
            buf_put(&binding, str_of(cases[i].header));
            buf_put(&binding, str_of(cases[i].data));
            buf_clear(&message);
            buf_put(&message, STR("c="));
            assert_rc(base64_encode(&message, buf_str(&binding)), RC_OK);
            buf_put(&message, STR(",r=abcxyz"));
            put_proof(&x, bare, buf_str(&message), STR("pencil"), &final);
            assert_int_equal(step(&x, buf_str(&final)), cases[i].at_final);
        }
        assert_string_equal(x.sasl.error ? x.sasl.error : "", cases[i].error ? cases[i].error : "");
        end(&x);
        buf_fini(&message);
        buf_fini(&binding);
        buf_fini(&final);
    }
}

/* [RFC5802 7] */
static void first_messages(void **state)
{
    static const struct {
        struct str message;
        enum rc rc;       /* RC_OK: it is one */
        const char *name; /* with RC_OK */
    } cases[] = {
        {STR_INIT("n,,n=user,r=x"), RC_OK, "user"},
        {STR_INIT("n,,n=a=2Cb=3D,r=x"), RC_OK, "a,b="},
        {STR_INIT("n,a=us=3Der,n=us=3Der,r=x"), RC_OK, "us=er"},
        {STR_INIT("n,a=USER,n=user,r=x"), RC_OK, "user"},
        {STR_INIT("n,,n=p\xc3\xa4r,r=x,a=b,z=c=d"), RC_OK, "p\xc3\xa4r"},
        {STR_INIT("n,a=other,n=user,r=x"), RC_DENIED, NULL},
        {STR_INIT("n,a=,n=user,r=x"), RC_OK, "user"},
        {STR_INIT("n,user,n=user,r=x"), RC_SYNTAX, NULL},
        {STR_INIT(""), RC_SYNTAX, NULL},
        {STR_INIT(","), RC_SYNTAX, NULL},
        {STR_INIT("n,,"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=user"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=user,r="), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("n,,r=x,n=user"), RC_SYNTAX, NULL},
        {STR_INIT("n,,m=e,n=user,r=x"), RC_SYNTAX, NULL}, /* extensions that must be understood */
        {STR_INIT("n,,n=user,r=x,m=e"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=user,r=x,"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=user,r=x,y"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=user,r=x,1=y"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=us=er,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=user=2,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=us=2cer,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=user,r=x y"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=us\0er,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("n,,n=us\xffr,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("N,,n=user,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("nn,,n=user,r=x"), RC_SYNTAX, NULL},
        {STR_INIT("F,n,,n=user,r=x"), RC_SYNTAX, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exchange x;
        begin_example(&x);
        enum sasl_next next = step(&x, cases[i].message);
        assert_int_equal(next, cases[i].rc == RC_OK ? SASL_ASK : SASL_REFUSED);
        if (next == SASL_ASK)
            assert_true(str_eq(x.sasl.name, str_of(cases[i].name)));
        else
            assert_rc(x.sasl.rc, cases[i].rc);
        end(&x);
    }
}

static void final_messages(void **state)
{
    static const struct {
        struct str message;
        enum sasl_next next;
    } cases[] = {
        {STR_INIT("c=biws,r=" NONCE "," PROOF), SASL_ASK},
        {STR_INIT("c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVA="), SASL_WRONG},
        {STR_INIT("c=biws,r=" NONCE ",a=b," PROOF), SASL_WRONG}, /* it is part of what is proven */
        {STR_INIT("c=biws,r=" NONCE ",m=b," PROOF), SASL_REFUSED},
        {STR_INIT("c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9yg=="), SASL_REFUSED},
        {STR_INIT("c=biws,r=" NONCE ",p=*"), SASL_REFUSED},
        {STR_INIT("c=biws,r=" NONCE ",p="), SASL_REFUSED},
        {STR_INIT("c=biws,r=" NONCE), SASL_REFUSED},
        {STR_INIT("c=biws,r=" NONCE "x," PROOF), SASL_REFUSED},
        {STR_INIT("c=biws,r=rOprNGfwEbeRWgbNEkqO," PROOF), SASL_REFUSED},
        {STR_INIT("r=" NONCE ",c=biws," PROOF), SASL_REFUSED},
        {STR_INIT("c=biw,r=" NONCE "," PROOF), SASL_REFUSED},
        {STR_INIT("c=eSws,r=" NONCE "," PROOF), SASL_WRONG}, /* "y,," */
        {STR_INIT("c=,r=" NONCE "," PROOF), SASL_WRONG},
        {STR_INIT(PROOF), SASL_REFUSED},
        {STR_INIT(""), SASL_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exchange x;
        begin_example(&x);
        assert_int_equal(step(&x, str_of(first)), SASL_ASK);
        assert_int_equal(step(&x, cases[i].message), cases[i].next);
        if (cases[i].next == SASL_ASK)
            assert_int_equal(step(&x, STR("x")), SASL_REFUSED); /* nothing to be said */
        end(&x);
    }
}

static void limits(void **state)
{
    char text[AUTH_SASL_RESPONSE_MAX + 64];
    static const struct {
        size_t name, nonce;
        enum rc rc;
    } cases[] = {
        {AUTH_SASL_NAME_MAX, SCRAM_NONCE_MAX, RC_OK},
        {AUTH_SASL_NAME_MAX + 1, 1, RC_LIMIT},
        {1, SCRAM_NONCE_MAX + 1, RC_LIMIT},
        {1, AUTH_SASL_RESPONSE_MAX, RC_SYNTAX}, /* longer than any message, see sasl.c */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exchange x;
        int n = snprintf(text, sizeof text, "n,,n=%0*d,r=%0*d", (int)cases[i].name, 0,
                         (int)cases[i].nonce, 0);
        begin_example(&x);
        enum sasl_next next = step(&x, str_from(text, (size_t)n));
        assert_int_equal(next, cases[i].rc == RC_OK ? SASL_ASK : SASL_REFUSED);
        if (next == SASL_REFUSED)
            assert_rc(x.sasl.rc, cases[i].rc);
        end(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha1_example),   cmocka_unit_test(sha256_example),
        cmocka_unit_test(records),        cmocka_unit_test(bindings),
        cmocka_unit_test(first_messages), cmocka_unit_test(final_messages),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
