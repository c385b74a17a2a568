/* Commands as a client writes them. */
#include "base/test.h"
#include "smtp/smtp.h"

static void mail_is_written(void **state)
{
    struct buf b = {.cap = 1024};
    struct smtp_mail m = {.sender = STR("a@b.test")};
    assert_rc(smtp_mail_put(&b, &m), RC_OK);
    assert_str(buf_str(&b), "MAIL FROM:<a@b.test>\r\n");
    buf_clear(&b);
    m = (struct smtp_mail){.has_size = true,
                           .size = 5000000000,
                           .body = SMTP_BODY_BINARY,
                           .is_utf8 = true,
                           .requires_tls = true,
                           .ret = SMTP_RET_HDRS,
                           .envid = STR("QQ+2B314159")};
    assert_rc(smtp_mail_put(&b, &m), RC_OK); /* [RFC3461 4.3] [RFC6531 3.4] [RFC8689 2] */
    assert_str(buf_str(&b), "MAIL FROM:<> SIZE=5000000000 BODY=BINARYMIME SMTPUTF8 REQUIRETLS "
                            "RET=HDRS ENVID=QQ+2B314159\r\n");
    buf_clear(&b);
    m = (struct smtp_mail){.sender = STR("\"a>b c\"@b.test"), .body = SMTP_BODY_8BIT};
    assert_rc(smtp_mail_put(&b, &m), RC_OK);
    assert_str(buf_str(&b), "MAIL FROM:<\"a>b c\"@b.test> BODY=8BITMIME\r\n");
    buf_fini(&b);
}

static void rcpt_is_written(void **state)
{
    struct buf b = {.cap = 1024};
    struct smtp_rcpt r = {.address = STR("c@d.test"),
                          .notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY,
                          .orcpt = STR("rfc822;c+2B@d.test")};
    assert_rc(smtp_rcpt_put(&b, &r), RC_OK); /* [RFC3461 4.1] [RFC3461 4.2] */
    assert_str(buf_str(&b), "RCPT TO:<c@d.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+2B@d.test\r\n");
    buf_clear(&b);
    r = (struct smtp_rcpt){.address = STR("postmaster"), .notify = SMTP_NOTIFY_NEVER};
    assert_rc(smtp_rcpt_put(&b, &r), RC_OK);
    assert_rc(smtp_bdat_put(&b, 86, false), RC_OK);
    assert_rc(smtp_bdat_put(&b, 0, true), RC_OK); /* [RFC3030 2] */
    assert_str(buf_str(&b), "RCPT TO:<postmaster> NOTIFY=NEVER\r\nBDAT 86\r\nBDAT 0 LAST\r\n");
    buf_fini(&b);
}

/* Whatever an address or a value holds, a line stays one line. */
static void nothing_breaks_out(void **state)
{
    static const struct str addresses[] = {
        STR_INIT("a@b.test>\r\nRCPT TO:<c@d.test"),
        STR_INIT("a@b.test> X"),
        STR_INIT("a\r@b.test"),
        STR_INIT("a@b.test\n"),
        STR_INIT("a\0b@c.test"),
        STR_INIT("a b@c.test"),
        STR_INIT("a@"),
        STR_INIT("@b.test:a"),
        STR_INIT("\"a@b.test"),
    };
    struct buf b = {.cap = 1024};
    buf_put(&b, STR("before"));
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        assert_rc(smtp_mail_put(&b, &(struct smtp_mail){.sender = addresses[i]}), RC_SYNTAX);
        assert_rc(smtp_rcpt_put(&b, &(struct smtp_rcpt){.address = addresses[i]}), RC_SYNTAX);
    }
    assert_rc(smtp_rcpt_put(&b, &(struct smtp_rcpt){.address = STR("")}), RC_SYNTAX);
    struct smtp_mail m = {.sender = STR("a@b.test"), .envid = STR("a b")};
    assert_rc(smtp_mail_put(&b, &m), RC_SYNTAX);
    struct smtp_rcpt r = {.address = STR("a@b.test"), .orcpt = STR("rfc822;a\r\nDATA")};
    assert_rc(smtp_rcpt_put(&b, &r), RC_SYNTAX);
    assert_str(buf_str(&b), "before");
    b.cap = 20;
    r.orcpt = STR("");
    assert_rc(smtp_rcpt_put(&b, &r), RC_LIMIT);
    assert_str(buf_str(&b), "before");
    assert_false(b.over);
    buf_fini(&b);
}

static void xtext_is_written(void **state)
{
    struct buf b = {.cap = 64}, back = {.cap = 64};
    const struct str text = STR("a+b=c d\xc3\xa4\x7f~!");
    assert_rc(smtp_xtext_put(&b, text), RC_OK); /* [RFC3461 4] */
    assert_str(buf_str(&b), "a+2Bb+3Dc+20d+C3+A4+7F~!");
    assert_rc(smtp_xtext_decode(buf_str(&b), &back), RC_OK);
    assert_true(str_eq(buf_str(&back), text));
    buf_fini(&b);
    buf_fini(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_is_written),
        cmocka_unit_test(rcpt_is_written),
        cmocka_unit_test(nothing_breaks_out),
        cmocka_unit_test(xtext_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
