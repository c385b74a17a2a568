/* Key records: written, read, and what is none. */
#include "mailauth/mailauth.h"

#include "base/test.h"

#include <string.h>

static void records_are_written_and_read(void **state)
{
    struct buf text;
    struct mailauth_record r;
    buf_init(&text, MAILAUTH_RECORD_MAX);
    assert_rc(mailauth_record_write(CRYPTO_ED25519, STR("0123456789abcdef0123456789abcdef"), &text),
              RC_OK);
    assert_str(buf_str(&text),
               "v=DKIM1; k=ed25519; p=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    assert_rc(mailauth_record_read(buf_str(&text), &r), RC_OK);
    assert_int_equal(r.algorithm, CRYPTO_ED25519);
    assert_str(buf_str(&r.public_key), "0123456789abcdef0123456789abcdef");
    assert_false(r.is_testing || r.is_strict);
    mailauth_record_fini(&r);
    buf_clear(&text);
    text.cap = 20;
    assert_rc(mailauth_record_write(CRYPTO_RSA_SHA256, STR("0123456789"), &text), RC_LIMIT);
    assert_int_equal(buf_len(&text), 0);
    buf_fini(&text);
}

/* [RFC6376 3.6.1] */
static void records_of_others_are_read(void **state)
{
    static const struct {
        const char *text, *key;
        enum rc rc;
        bool is_testing, is_strict;
    } cases[] = {
        {"p=aGVsbG8=", "hello", RC_OK, false, false}, /* RSA unless it says so */
        {"k=rsa; t=y; p=aGVs\r\n bG8=;", "hello", RC_OK, true, false},
        {"v=DKIM1; h=sha1:sha256; s=other : email; t=s:y; n=a note; x_more=1; p=aGVsbG8=", "hello",
         RC_OK, true, true},
        {"v=DKIM1; p=", "", RC_OK, false, false}, /* revoked */
        {"v=DKIM1; k=rsa", "", RC_SYNTAX, false, false},
        {"p=aGVsbG8=; v=DKIM1", "", RC_SYNTAX, false, false}, /* v= comes first */
        {"v=DKIM2; p=aGVsbG8=", "", RC_SYNTAX, false, false},
        {"v=DKIM1; h=sha1; p=aGVsbG8=", "", RC_SYNTAX, false, false}, /* [RFC8301 3.1] */
        {"v=DKIM1; s=tlsrpt; p=aGVsbG8=", "", RC_SYNTAX, false, false},
        {"v=DKIM1; k=dsa; p=aGVsbG8=", "", RC_SYNTAX, false, false},
        {"v=DKIM1; k=ed25519; p=aGVsbG8=", "", RC_SYNTAX, false, false}, /* not 32 bytes */
        {"v=DKIM1; p=aGVsbG8=; p=aGVsbG8=", "", RC_SYNTAX, false, false},
        {"v=DKIM1; p=!!", "", RC_SYNTAX, false, false},
        {"v=DKIM1;; p=aGVsbG8=", "", RC_SYNTAX, false, false},
        {"p", "", RC_SYNTAX, false, false},
        {"", "", RC_SYNTAX, false, false},
        {"v=spf1 -all", "", RC_SYNTAX, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mailauth_record r;
        enum rc rc = mailauth_record_read(str_of(cases[i].text), &r);
        assert_rc(rc, cases[i].rc);
        if (rc == RC_OK) {
            assert_true(str_eq(buf_str(&r.public_key), str_of(cases[i].key)));
            assert_int_equal(r.is_testing, cases[i].is_testing);
            assert_int_equal(r.is_strict, cases[i].is_strict);
        }
        mailauth_record_fini(&r);
    }
    char many[512];
    struct mailauth_record r;
    for (size_t i = 0; i + 4 < sizeof many; i += 4)
        memcpy(many + i, "a=b;", 4);
    assert_rc(mailauth_record_read(str_from(many, 400), &r), RC_LIMIT);
    mailauth_record_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_written_and_read),
        cmocka_unit_test(records_of_others_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
