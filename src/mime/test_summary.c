/* Envelopes and structures of single cases; test_peer.c has whole mails. */
#include "base/test.h"
#include "mime/summary.h"

#include <stdio.h>

struct made {
    struct buf summary;
    struct str envelope, structure;
};

static void make(struct made *m, struct str message)
{
    buf_init(&m->summary, MIME_SUMMARY_MAX);
    assert_rc(mime_summary_of(message, &m->summary), RC_OK);
    assert_true(mime_summary_read(buf_str(&m->summary), &m->envelope, &m->structure));
}

static void expect_same(struct str got, const char *expected)
{
    if (!str_eq(got, str_of(expected)))
        fail_msg("it is %.*s", STR_ARG(got));
}

static void expect_envelope(const char *message, const char *expected)
{
    struct made m;
    make(&m, str_of(message));
    expect_same(m.envelope, expected);
    buf_fini(&m.summary);
}

static void expect_structure(const char *message, const char *expected, const char *body)
{
    struct made m;
    struct buf out;
    make(&m, str_of(message));
    expect_same(m.structure, expected);
    buf_init(&out, MIME_SUMMARY_MAX);
    assert_rc(mime_structure_to_body(m.structure, &out), RC_OK);
    expect_same(buf_str(&out), body);
    buf_fini(&out);
    buf_fini(&m.summary);
}

static void envelopes_have_ten_members(void **state) /* [RFC3501 7.4.2] [RFC9051 7.5.2] */
{
    expect_envelope("Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
                    "From: Terry Gray <gray@cac.test>\r\n"
                    "Subject: IMAP4rev1 WG mtg summary and minutes\r\n"
                    "To: imap@cac.test\r\n"
                    "cc: minutes@CNRI.test, John Klensin <KLENSIN@MIT.test>\r\n"
                    "Message-Id: <B27397-0100000@cac.test>\r\n\r\n",
                    "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" "
                    "\"IMAP4rev1 WG mtg summary and minutes\" "
                    "((\"Terry Gray\" NIL \"gray\" \"cac.test\")) "
                    "((\"Terry Gray\" NIL \"gray\" \"cac.test\")) "
                    "((\"Terry Gray\" NIL \"gray\" \"cac.test\")) "
                    "((NIL NIL \"imap\" \"cac.test\")) "
                    "((NIL NIL \"minutes\" \"CNRI.test\")"
                    "(\"John Klensin\" NIL \"KLENSIN\" \"MIT.test\")) NIL NIL "
                    "\"<B27397-0100000@cac.test>\")");
    expect_envelope("", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
}

static void strings_are_quoted_or_literals(void **state) /* [RFC3501 4.3] [RFC9051 4.3] */
{
    expect_envelope("Subject: a \"b\" \\ c\r\n\r\n",
                    "(NIL \"a \\\"b\\\" \\\\ c\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Subject: caf\xc3\xa9\r\n\r\n",
                    "(NIL {5}\r\ncaf\xc3\xa9 NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Subject: a\rb\r\n\r\n", "(NIL {3}\r\na\rb NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_envelope("Subject:  one \r\n\t two\r\nDate:\r\n\r\n",
                    "(\"\" \"one two\" NIL NIL NIL NIL NIL NIL NIL NIL)");
    struct made m; /* a NUL cannot be sent */
    make(&m, STR("Subject: a\0b\0\r\n\r\n"));
    expect_same(m.envelope, "(NIL {2}\r\nab NIL NIL NIL NIL NIL NIL NIL NIL)");
    buf_fini(&m.summary);
}

static void addresses(const char *field, const char *expected)
{
    char message[1000], envelope[1000];
    assert_true(snprintf(message, sizeof message, "To: %s\r\n\r\n", field) < 1000);
    assert_true(snprintf(envelope, sizeof envelope, "(NIL NIL NIL NIL NIL %s NIL NIL NIL NIL)",
                         expected) < 1000);
    expect_envelope(message, envelope);
}

static void groups_have_a_beginning_and_an_end(void **state) /* [RFC3501 7.4.2] [RFC9051 7.5.2] */
{
    addresses("friends: a@b.test, C <c@d.test>;, e@f.test",
              "((NIL NIL \"friends\" NIL)(NIL NIL \"a\" \"b.test\")(\"C\" NIL \"c\" \"d.test\")"
              "(NIL NIL NIL NIL)(NIL NIL \"e\" \"f.test\"))");
    addresses("nobody:;", "((NIL NIL \"nobody\" NIL)(NIL NIL NIL NIL))");
    addresses("open: a@b.test", "((NIL NIL \"open\" NIL)(NIL NIL \"a\" \"b.test\")"
                                "(NIL NIL NIL NIL))");
    addresses(": a@b.test;", "((NIL NIL \"\" NIL)(NIL NIL \"a\" \"b.test\")(NIL NIL NIL NIL))");
}

static void addresses_are_what_they_mean(void **state) /* [RFC5322 3.4] [RFC5322 4.4] */
{
    addresses("a@b.test (A. B.)", "((\"A. B.\" NIL \"a\" \"b.test\"))");
    addresses("\"x, y\" <\"q s\"@b.test>", "((\"x, y\" NIL \"q s\" \"b.test\"))");
    addresses("<@r.test,@s.test:a@b.test>", "((NIL \"@r.test,@s.test\" \"a\" \"b.test\"))");
    addresses("a . b @ (c) d . test", "((\"c\" NIL \"a.b\" \"d.test\"))");
    addresses("a@[127.0.0.1]", "((NIL NIL \"a\" \"[127.0.0.1]\"))");
    addresses("John Q.  Public <j@d.test>", "((\"John Q. Public\" NIL \"j\" \"d.test\"))");
}

static void broken_addresses_are_shown(void **state)
{
    addresses("a", "((NIL NIL \"a\" \"MISSING_DOMAIN\"))");
    addresses("a b", "((\"a b\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))");
    addresses("a b@c.test", "((\"a\" NIL \"b\" \"c.test\"))");
    addresses("b@c.test a b", "((\"a b\" NIL \"b\" \"c.test\"))");
    addresses("A <b@c.test, D <d@e.test>",
              "((\"A\" NIL \"b\" \"c.test\")(\"D\" NIL \"d\" \"e.test\"))");
    addresses("A <b@c.test, d@e.test", "((\"A\" NIL \"b\" \"c.test\")(NIL NIL \"d\" \"e.test\"))");
    addresses("\"A <b@c.test>", "((\"\\\"A\" NIL \"b\" \"c.test\"))");
    addresses("(open comment, a@b.test", "NIL");
    addresses(",, ;> <>", "NIL");
}

static void fields_that_come_twice(void **state)
{
    expect_envelope("To: a@b.test\r\nSubject: 1\r\nto: c@d.test\r\nSubject: 2\r\n\r\n",
                    "(NIL \"1\" NIL NIL NIL ((NIL NIL \"a\" \"b.test\")"
                    "(NIL NIL \"c\" \"d.test\")) NIL NIL NIL NIL)");
}

static void sender_stands_for_itself(void **state) /* [RFC3501 7.4.2] [RFC9051 7.5.2] */
{
    expect_envelope("Reply-To: r@x.test\r\nSender: s@x.test\r\nFrom: f@x.test\r\n\r\n",
                    "(NIL NIL ((NIL NIL \"f\" \"x.test\")) ((NIL NIL \"s\" \"x.test\")) "
                    "((NIL NIL \"r\" \"x.test\")) NIL NIL NIL NIL NIL)");
}

static void parts_are_described(void **state) /* [RFC3501 7.4.2, 9] [RFC9051 7.5.2, 9] */
{
    expect_structure("Content-Type: TEXT/PLAIN; CHARSET=\"US-ASCII\"\r\n\r\n1\r\n2\r\n3",
                     "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7bit\" 7 2 NIL "
                     "NIL NIL NIL)",
                     "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7bit\" 7 2)");
    expect_structure("Content-Type: image/png\r\nContent-ID: <i@d>\r\nContent-Description: a b\r\n"
                     "Content-Transfer-Encoding: base64\r\nContent-MD5: abc=\r\n"
                     "Content-Disposition: inline; filename=\"x y\"\r\n"
                     "Content-Language: en, de\r\nContent-Location: http://x/\r\n\r\nAAAA\r\n",
                     "(\"image\" \"png\" NIL \"<i@d>\" \"a b\" \"base64\" 6 \"abc=\" (\"inline\" "
                     "(\"filename\" \"x y\")) (\"en\" \"de\") \"http://x/\")",
                     "(\"image\" \"png\" NIL \"<i@d>\" \"a b\" \"base64\" 6)");
}

static void parts_hold_parts(void **state) /* [RFC3501 7.4.2, 9] [RFC9051 7.5.2, 9] */
{
    expect_structure(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n"
        "Content-Type: message/rfc822\r\n\r\nSubject: )(\r\n\r\ntwo\r\n--b--\r\n",
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL NIL)"
        "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 18 (NIL \")(\" NIL NIL NIL NIL NIL NIL NIL "
        "NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL NIL) "
        "2 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)",
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0)"
        "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 18 (NIL \")(\" NIL NIL NIL NIL NIL NIL NIL "
        "NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0) 2) \"mixed\")");
}

static void parameters_are_joined(
    void **state) /* [RFC2231 3] [RFC2231 4.1] [RFC2231 6] [RFC9051 7.5.2] */
{
    expect_structure("Content-Type: a/b; n*1=two; n*0=\"one \"; m*0*=utf-8'de'%C3%A4; m*1=\" x\";"
                     " l*2=z\r\n\r\n",
                     "(\"a\" \"b\" (\"n\" \"one two\" \"m*\" \"utf-8'de'%C3%A4%20x\" \"l*2\" "
                     "\"z\") NIL NIL \"7bit\" 0 NIL NIL NIL NIL)",
                     "(\"a\" \"b\" (\"n\" \"one two\" \"m*\" \"utf-8'de'%C3%A4%20x\" \"l*2\" "
                     "\"z\") NIL NIL \"7bit\" 0)");
}

/* [RFC8621 4.1.4] [RFC9979 4.1, 4.2] */
static void what_is_attached_is_noticed(void **state)
{
#define PART(header) "--b\r\n" header "\r\n\r\nx\r\n"
#define OF(kind)     "Content-Type: multipart/" kind "; boundary=b\r\n\r\n"
    static const struct {
        bool is_attached;
        const char *message;
    } cases[] = {
        {false, "Subject: x\r\n\r\nx\r\n"},
        {false, "Content-Type: text/html\r\n\r\nx\r\n"},
        {true, "Content-Type: application/pdf\r\n\r\nx\r\n"},
        {true, "Content-Disposition: ATTACHMENT; filename=x\r\n\r\nx\r\n"},
        {true, "Content-Type: text/plain; name=x.txt\r\n\r\nx\r\n"},
        {true, "Content-Type: text/plain; name*=utf-8''%C3%A4\r\n\r\nx\r\n"},
        {false, OF("alternative") PART("") PART("Content-Type: text/html") "--b--\r\n"},
        {true, OF("mixed") PART("") PART("Content-Type: image/png") "--b--\r\n"},
        {false, OF("mixed") PART("") PART("Content-Type: image/png\r\n"
                                          "Content-Disposition: inline") "--b--\r\n"},
        {false,
         OF("related") PART("Content-Type: text/html") PART("Content-Type: image/png") "--b--\r\n"},
        {true, OF("related") PART("") PART("Content-Disposition: attachment") "--b--\r\n"},
        {false, OF("signed") PART("") PART("Content-Type: application/pgp-signature") "--b--\r\n"},
        {true, OF("mixed") PART("") PART("Content-Type: message/rfc822\r\n\r\n"
                                         "Subject: )(") "--b--\r\n"},
        {false, OF("mixed") "nothing"},
        {true, OF("mixed") "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"
                           "Content-Type: a/b\r\n\r\n--c--\r\n--b--\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made m;
        bool is_attached = !cases[i].is_attached;
        make(&m, str_of(cases[i].message));
        assert_rc(mime_structure_attachment(m.structure, &is_attached), RC_OK);
        if (is_attached != cases[i].is_attached)
            fail_msg("case %zu: %.*s", i, STR_ARG(m.structure));
        for (size_t n = 0; n < m.structure.n; n++)
            assert_rc(mime_structure_attachment(str_head(m.structure, n), &is_attached),
                      RC_CORRUPT);
        buf_fini(&m.summary);
    }
}

static void damaged_texts_are_noticed(void **state)
{
    static const char *const damaged[] = {
        "",
        "(",
        "()",
        "(\"text\")",
        "((\"a\" \"b\" NIL NIL NIL \"7bit\" 1 NIL NIL NIL NIL)",
        "(\"a\" \"b\" NIL NIL NIL \"7bit\" 1 NIL NIL NIL NIL) ",
        "(\"a\" \"b\" NIL NIL NIL {9}\r\n7bit 1 NIL NIL NIL NIL)",
        "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 1 NIL \"x\" 2 NIL NIL NIL NIL)",
    };
    struct str a, b;
    struct buf out;
    buf_init(&out, 1000);
    buf_put(&out, STR("x"));
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++)
        assert_rc(mime_structure_to_body(str_of(damaged[i]), &out), RC_CORRUPT);
    assert_str(buf_str(&out), "x");
    buf_fini(&out);
    assert_false(mime_summary_read(STR(""), &a, &b));
    assert_false(mime_summary_read(STR("\2\0\0\0\1\0\0\0\1()"), &a, &b));
    assert_false(mime_summary_read(STR("\1\0\0\0\1\0\0\0\2()"), &a, &b));
    assert_true(mime_summary_read(STR("\1\0\0\0\1\0\0\0\1()"), &a, &b));
}

static void limits_are_kept_to(void **state)
{
    struct mime_limits narrow = mime_limits_default;
    struct mime_parser p;
    struct mime_tree t;
    struct buf out;
    struct str envelope, structure;
    narrow.kept = 30;
    mime_init(&p, &narrow);
    mime_keep(&p);
    mime_feed(&p, STR("Subject: too long to be kept\r\n with its fold\r\nDate: today\r\n"
                      "X: y\r\nContent-Type: image/gif\r\n\r\n"));
    mime_finish(&p, &t);
    mime_fini(&p);
    assert_int_equal(t.flags, MIME_OVER_KEPT);
    buf_init(&out, 20);
    buf_put(&out, STR("x"));
    assert_rc(mime_summary(&t, &out), RC_LIMIT);
    assert_str(buf_str(&out), "x");
    buf_fini(&out);
    buf_init(&out, MIME_SUMMARY_MAX);
    assert_rc(mime_summary(&t, &out), RC_OK);
    assert_true(mime_summary_read(buf_str(&out), &envelope, &structure));
    expect_same(envelope, "(\"today\" NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    expect_same(structure, "(\"application\" \"octet-stream\" NIL NIL NIL \"7bit\" 0 NIL NIL NIL "
                           "NIL)");
    buf_fini(&out);
    mime_tree_fini(&t);
}

/* A header full of addresses, each of two bytes, makes a bounded summary. */
static void many_addresses_are_cut_off(void **state)
{
    struct buf message;
    struct made m;
    buf_init(&message, 300000);
    for (int i = 0; i < 100; i++) {
        buf_put(&message, i % 2 ? STR("From: ") : STR("To: g:"));
        for (int k = 0; k < 1000; k++)
            buf_put(&message, STR("a,"));
        buf_put(&message, STR("\r\n"));
    }
    make(&m, buf_str(&message));
    assert_true(m.envelope.n < 1500000);
    assert_true(str_ends(m.envelope, STR(" NIL NIL NIL NIL)")));
    buf_fini(&m.summary);
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelopes_have_ten_members),
        cmocka_unit_test(strings_are_quoted_or_literals),
        cmocka_unit_test(groups_have_a_beginning_and_an_end),
        cmocka_unit_test(addresses_are_what_they_mean),
        cmocka_unit_test(broken_addresses_are_shown),
        cmocka_unit_test(fields_that_come_twice),
        cmocka_unit_test(sender_stands_for_itself),
        cmocka_unit_test(parts_are_described),
        cmocka_unit_test(parts_hold_parts),
        cmocka_unit_test(parameters_are_joined),
        cmocka_unit_test(what_is_attached_is_noticed),
        cmocka_unit_test(damaged_texts_are_noticed),
        cmocka_unit_test(limits_are_kept_to),
        cmocka_unit_test(many_addresses_are_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
