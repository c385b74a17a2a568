/* Replies of other hosts, whole and at every byte; what EHLO offers; words made harmless. */
#include "base/test.h"
#include "smtp/smtp.h"

#include <stdio.h>
#include <stdlib.h>

/* Feeds `step` bytes at a time, as net does; *story gets "code status text|" for each reply. */
static void read_replies(struct str in, size_t step, struct buf *story)
{
    struct smtp_answer a = {0};
    struct str words;
    size_t at = 0, here = 0;
    enum rc rc = RC_AGAIN;
    while (here < in.n && rc != RC_SYNTAX && rc != RC_LIMIT) {
        here = in.n - here < step ? in.n : here + step;
        struct str unread = str_sub(in, at, here - at);
        do {
            rc = smtp_answer_next(&a, &unread, &words);
            if (rc == RC_EOF)
                buf_putf(story, "%u %s %s|", a.code, a.status, a.text);
        } while (rc == RC_OK || rc == RC_EOF);
        at = here - unread.n;
    }
    if (rc != RC_AGAIN)
        buf_putf(story, "%s: %s", rc_name(rc), a.text);
}

static void replies_are_read(void **state)
{
    static const struct {
        const char *in, *story;
    } rows[] = {
        {"220 mx.test ESMTP\r\n", "220 2.0.0 mx.test ESMTP|"},
        {"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n",
         "250 2.1.0 ok|250 2.1.5 ok|354 2.0.0 go|"}, /* [RFC2920 3.1] */
        {"550-5.1.1 no such\r\n550-5.1.1 user\r\n550 5.1.1 here\r\n",
         "550 5.1.1 no such user here|"}, /* [RFC5321 4.2.1] */
        {"250\r\n", "250 2.0.0 |"},
        {"250-\r\n250\r\n", "250 2.0.0 |"},
        {"421 4.3.2\r\n", "421 4.3.2 |"}, /* [RFC2034 4] */
        {"421 bye\n", "421 4.3.2 bye|"},
        {"550 5.1.1x\r\n", "550 5.0.0 5.1.1x|"},
        {"550 4.1.1 other class\r\n", "550 5.0.0 4.1.1 other class|"},
        {"550 5.1234.1 long\r\n", "550 5.0.0 5.1234.1 long|"},
        {"550 5.123.456 most\r\n", "550 5.123.456 most|"},
        {"521 no mail here\r\n", "521 5.3.2 no mail here|"}, /* [RFC7504 2] */
        {"250-first\r\n251 last\r\n", "251 2.0.0 first last|"},
        {"250-first\r\n550 last\r\n", "syntax: 550 last"},
        {"hello\r\n", "syntax: hello"},
        {"\r\n", "syntax: "},
        {"25\r\n", "syntax: 25"},
        {"150 ok\r\n", "syntax: 150 ok"},
        {"650 ok\r\n", "syntax: 650 ok"},
        {"2500 ok\r\n", "syntax: 2500 ok"},
        {"250ok\r\n", "syntax: 250ok"},
        {"250 a\tb\x1b[31m\x7f\x80\xc3\xa4\xc2\x85\xe2\x80\xae\xed\xa0\x80\r\n",
         "250 2.0.0 a b?[31m??\xc3\xa4????????|"},
        {"250 cr\rin\r\n", "250 2.0.0 cr?in|"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step < 80; step++) {
            struct buf story = {.cap = 4096};
            read_replies(str_of(rows[i].in), step, &story);
            if (!str_eq(buf_str(&story), str_of(rows[i].story)))
                fail_msg("%zu, step %zu: \"%.*s\"", i, step, STR_ARG(buf_str(&story)));
            buf_fini(&story);
        }
}

/* The lines of a reply, so that EHLO's can be looked at. */
static void lines_are_told(void **state)
{
    struct smtp_answer a = {0};
    struct str in = STR("250-mx.test\r\n250-SIZE 10\r\n250 HELP\r\nrest"), words;
    assert_rc(smtp_answer_next(&a, &in, &words), RC_OK);
    assert_str(words, "mx.test");
    assert_rc(smtp_answer_next(&a, &in, &words), RC_OK);
    assert_str(words, "SIZE 10");
    assert_rc(smtp_answer_next(&a, &in, &words), RC_EOF);
    assert_str(words, "HELP");
    assert_str(in, "rest");
    assert_rc(smtp_answer_next(&a, &in, &words), RC_AGAIN);
}

static void nothing_is_without_end(void **state)
{
    static char big[1 << 20];
    memset(big, 'x', sizeof big);
    memcpy(big, "250 ", 4);
    struct smtp_answer a = {0};
    struct str in = str_from(big, sizeof big), words;
    assert_rc(smtp_answer_next(&a, &in, &words), RC_LIMIT); /* a line of 1 MB */
    in = str_from(big, SMTP_ANSWER_LINE_MAX - 1);
    a = (struct smtp_answer){0};
    assert_rc(smtp_answer_next(&a, &in, &words), RC_AGAIN);
    a = (struct smtp_answer){0}; /* a reply that never ends */
    enum rc rc = RC_OK;
    size_t lines = 0;
    for (; rc == RC_OK; lines++) {
        in = STR("250-more\r\n");
        rc = smtp_answer_next(&a, &in, &words);
    }
    assert_rc(rc, RC_LIMIT);
    assert_true(lines <= SMTP_ANSWER_TOTAL_MAX / 9);
    /* Words are cut between characters. */
    struct buf long_text = {.cap = 4096};
    buf_put(&long_text, STR("250 x"));
    for (int i = 0; i < 400; i++)
        buf_put(&long_text, STR("\xc3\xa4"));
    buf_put(&long_text, STR("\r\n"));
    a = (struct smtp_answer){0};
    in = buf_str(&long_text);
    assert_rc(smtp_answer_next(&a, &in, &words), RC_EOF);
    assert_int_equal(a.n, SMTP_ANSWER_TEXT - 1);
    assert_int_equal(strlen(a.text), a.n);
    buf_fini(&long_text);
}

static void words_are_cleaned(void **state)
{
    struct buf b = {.cap = 8};
    smtp_clean_put(&b, STR("ab\r\n\xf0\x9f\x98\x80"));
    assert_str(buf_str(&b), "ab??\xf0\x9f\x98\x80");
    buf_clear(&b);
    smtp_clean_put(&b, STR("abcdefg\xc3\xa4h"));
    assert_str(buf_str(&b), "abcdefg");
    buf_fini(&b);
}

static void offers_are_read(void **state)
{
    static const char *const lines[] = {
        "PIPELINING",
        "size 35882577",
        "8BITMIME",
        " CHUNKING ",
        "BINARYMIME",
        "SMTPUTF8",
        "DSN",
        "STARTTLS",
        "REQUIRETLS",
        "AUTH CRAM-MD5 LOGIN PLAIN",
        "ENHANCEDSTATUSCODES",
        "LIMITS RCPTMAX=20 MAILMAX=5 X=1 RCPTDOMAINMAX=1",
        "X-UNKNOWN what",
        "",
    };
    struct smtp_hello h = {0};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        smtp_hello_take(&h, str_of(lines[i]));
    assert_int_equal(h.offers, 4095);
    assert_int_equal(h.size, 35882577);
    assert_int_equal(h.rcptmax, 20); /* [RFC9422 4.2] */
    assert_int_equal(h.mailmax, 5);
    assert_int_equal(h.rcptdomainmax, 1);
    h = (struct smtp_hello){0};
    smtp_hello_take(&h, STR("AUTH=LOGIN"));
    smtp_hello_take(&h, STR("SIZE"));
    smtp_hello_take(&h, STR("STARTTLSX"));
    smtp_hello_take(&h, STR("LIMITS RCPTMAX=0 MAILMAX=-1 RCPTMAX= MAILMAX RCPTMAX=99999999999"));
    assert_int_equal(h.offers, SMTP_HAS_AUTH_LOGIN | SMTP_HAS_SIZE);
    assert_int_equal(h.size, 0);
    assert_int_equal(h.rcptmax, UINT32_MAX);
    assert_int_equal(h.mailmax, 0);
    smtp_hello_take(&h, STR("SIZE 99999999999999999999999"));
    assert_int_equal(h.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_read),       cmocka_unit_test(lines_are_told),
        cmocka_unit_test(nothing_is_without_end), cmocka_unit_test(words_are_cleaned),
        cmocka_unit_test(offers_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
