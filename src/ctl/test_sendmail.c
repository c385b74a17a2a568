/* What the sendmail command makes of texts that scripts write. */
#include "ctl/ctl_int.h"

#include "base/test.h"

#include <stdlib.h>

static void bare_names_get_the_hosts(void **state)
{
    static const char *const cases[][2] = {
        {" root", " root@h.test"},
        {" root (Cron Daemon)", " root@h.test (Cron Daemon)"},
        {" \"a, b\" <root>, x@y.test", " \"a, b\" <root@h.test>, x@y.test"},
        {" Cron <root>", " Cron <root@h.test>"},
        {"a,b , c (d, e)", "a@h.test,b@h.test , c@h.test (d, e)"},
        {" undisclosed-recipients:;", " undisclosed-recipients:;"},
        {" <>", " <>"},
        {" ", " "},
        {"", ""},
        {" x@y", " x@y"},
        {"\"unclosed", "\"unclosed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, 1000);
        sendmail_qualify(&out, str_of(cases[i][0]), STR("h.test"));
        assert_true(str_eq(buf_str(&out), str_of(cases[i][1])));
        buf_fini(&out);
    }
}

static enum rc prepare(struct sendmail *m, const char *text, struct buf *out)
{
    struct buf in;
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    assert_non_null(file);
    assert_rc(sendmail_read(file, true, &in), RC_OK);
    fclose(file);
    m->host = STR("h.test");
    m->from = STR("me@h.test");
    enum rc rc = sendmail_prepare(m, buf_str(&in), out);
    buf_fini(&in);
    return rc;
}

static void sendmail_fini(struct sendmail *m)
{
    for (size_t i = 0; i < m->n_recipients; i++)
        free(m->recipients[i]);
    free(m->recipients);
}

static void what_cron_writes(void **state)
{
    struct sendmail m = {0};
    struct buf out;
    assert_rc(prepare(&m,
                      "From: root (Cron Daemon)\nTo: root\nSubject: Cron\n\nline\n.\nnot this\n",
                      &out),
              RC_OK);
    assert_str(buf_str(&out), "From: root@h.test (Cron Daemon)\r\nTo: root@h.test\r\n"
                              "Subject: Cron\r\n\r\nline\r\n");
    assert_int_equal(m.n_recipients, 0); /* without -t */
    buf_fini(&out);
}

static void recipients_of_the_header(void **state)
{
    struct sendmail m = {.takes_header = true, .full_name = "A \"B\" C"};
    struct buf out;
    assert_rc(prepare(&m, "To: a,\n b <b@x.test>\nBcc: c\nSubject: s\n\n", &out), RC_OK);
    assert_str(buf_str(&out), "From: \"A B C\" <me@h.test>\r\nTo: a@h.test,\r\n b <b@x.test>\r\n"
                              "Bcc: c@h.test\r\nSubject: s\r\n\r\n");
    assert_int_equal(m.n_recipients, 3);
    assert_string_equal(m.recipients[0], "a@h.test");
    assert_string_equal(m.recipients[1], "b@x.test");
    assert_string_equal(m.recipients[2], "c@h.test");
    buf_fini(&out);
    sendmail_fini(&m);
    struct sendmail bad = {.takes_header = true};
    assert_rc(prepare(&bad, "To: a@b, <c@d\n\n", &out), RC_SYNTAX);
    buf_fini(&out);
    sendmail_fini(&bad);
}

static void what_is_sent_on_goes_to_others(void **state)
{
    struct sendmail m = {.takes_header = true};
    struct buf out;
    assert_rc(prepare(&m, "Resent-To: a, a\nFrom: x@y.test\nTo: b\n\n", &out), RC_OK);
    assert_str(buf_str(&out), "Resent-To: a@h.test, a@h.test\r\nFrom: x@y.test\r\n"
                              "To: b@h.test\r\n\r\n");
    assert_int_equal(m.n_recipients, 1); /* once */
    assert_string_equal(m.recipients[0], "a@h.test");
    buf_fini(&out);
    sendmail_fini(&m);
}

static void senders_as_options_have_them(void **state)
{
    static const char *const cases[][2] = {{"a@b.test", "a@b.test"},
                                           {"<a@b.test>", "a@b.test"},
                                           {" A B <a@b.test> ", "a@b.test"},
                                           {"<>", ""},
                                           {"", ""},
                                           {">a<", ">a<"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(str_eq(sendmail_path(str_of(cases[i][0])), str_of(cases[i][1])));
}

/* A log in one line, or with what programs write between records, is sent all the same. */
static void output_that_is_no_text(void **state)
{
    enum { LONG = 130000 };
    char *text = malloc(LONG + 8);
    struct buf in, out;
    assert_non_null(text);
    memset(text, 'x', LONG);
    memcpy(text, "\n\0a", 3);
    FILE *file = fmemopen(text, LONG, "r");
    assert_rc(sendmail_read(file, false, &in), RC_OK);
    fclose(file);
    struct sendmail m = {.host = STR("h.test"), .from = STR("me@h.test")};
    assert_rc(sendmail_prepare(&m, buf_str(&in), &out), RC_OK);
    assert_true(str_find_byte(buf_str(&out), '\0') < 0 &&
                str_find(buf_str(&out), STR("\n ax")) > 0);
    size_t lines = 0;
    for (struct str rest = buf_str(&out), line; str_cut(&rest, '\n', &line); lines++)
        assert_true(line.n < 64000);
    assert_int_equal(lines, 6); /* From, an empty one twice, three pieces; the last is whole */
    buf_fini(&in);
    buf_fini(&out);
    free(text);
}

static void texts_without_a_header(void **state)
{
    struct sendmail m = {0};
    struct buf out;
    assert_rc(prepare(&m, "just text\r\nmore \r here", &out), RC_OK);
    assert_str(buf_str(&out), "From: me@h.test\r\n\r\njust text\r\nmore   here\r\n");
    buf_fini(&out);
    struct sendmail empty = {0};
    assert_rc(prepare(&empty, "\n", &out), RC_OK);
    assert_str(buf_str(&out), "From: me@h.test\r\n\r\n");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bare_names_get_the_hosts),
        cmocka_unit_test(what_cron_writes),
        cmocka_unit_test(recipients_of_the_header),
        cmocka_unit_test(what_is_sent_on_goes_to_others),
        cmocka_unit_test(senders_as_options_have_them),
        cmocka_unit_test(output_that_is_no_text),
        cmocka_unit_test(texts_without_a_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
