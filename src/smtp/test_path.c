/* Addresses in every legal and illegal form. Local parts and domains are rows of their own; each
 * local part is tried with each domain, so that some thousands of addresses come out. */
#include "base/test.h"
#include "smtp/smtp.h"

#include <stdio.h>

#define C250 C50 C50 C50 C50 C50
#define C50  "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"
#define L63  "a23456789-b23456789-c23456789-d23456789-e23456789-f23456789-123"

struct form {
    const char *in;
    const char *out; /* its plainest form; NULL: not allowed */
};
#define SAME(text)                                                                                 \
    {                                                                                              \
        text, text                                                                                 \
    }
#define BAD(text)                                                                                  \
    {                                                                                              \
        text, NULL                                                                                 \
    }

static const struct form locals[] = {
    /* Dot-string [RFC5321 4.1.2] */
    SAME("a"),
    SAME("A"),
    SAME("0"),
    SAME("alice"),
    SAME("alice.smith"),
    SAME("a.b.c.d.e"),
    SAME("alice+tag"),
    SAME("alice-tag"),
    SAME("alice_tag"),
    SAME("a!b"),
    SAME("a#b"),
    SAME("a$b"),
    SAME("a%b"),
    SAME("a&b"),
    SAME("a'b"),
    SAME("a*b"),
    SAME("a/b"),
    SAME("a=b"),
    SAME("a?b"),
    SAME("a^b"),
    SAME("a`b"),
    SAME("a{b}"),
    SAME("a|b"),
    SAME("a~b"),
    SAME("-"),
    SAME("--"),
    SAME("!#$%&'*+-/=?^_`{|}~"),
    SAME("host!user"),
    SAME("a!b!c"),
    SAME("user%other.test"),
    SAME("/C=de/S=name/"),
    SAME("prvs=0123abcd=alice"),
    SAME("SRS0=aa=bb=c.test=d"),
    SAME("bounces+1=x.test"),
    SAME(C50),
    SAME("postmaster"),
    SAME("Postmaster"),
    /* taken although the grammar has no such thing: they occur */
    SAME("a..b"),
    SAME("a."),
    SAME("a.."),
    /* Quoted-string, with quotes only where they are needed [RFC5321 4.1.2] */
    {"\"alice\"", "alice"},
    {"\"a.b\"", "a.b"},
    {"\"\\a\\l\"", "al"},
    {"\"a..b\"", "a..b"},
    SAME("\"\""),
    SAME("\" \""),
    SAME("\"a b\""),
    SAME("\"a@b\""),
    SAME("\"a,b\""),
    SAME("\"a;b\""),
    SAME("\"a:b\""),
    SAME("\"a<b>\""),
    SAME("\"(a)\""),
    SAME("\"[a]\""),
    SAME("\".a\""),
    SAME("\".\""),
    SAME("\"\\\"\""),
    SAME("\"\\\\\""),
    {"\"a\\ b\"", "\"a b\""},
    {"\"a\\@b\"", "\"a@b\""},
    {"\"\\.a\"", "\".a\""},
    SAME("\"a@other.test\""),
    SAME("\"<>\""),
    SAME("\"a\\\\\\\"b\""),
    /* UTF-8 [RFC6531 3.3] */
    SAME("\xc3\xa4"),
    SAME("j\xc3\xb6rg.m\xc3\xbcller"),
    SAME("\xd1\x84\xd1\x91\xd0\xb4\xd0\xbe\xd1\x80"),
    SAME("\xe6\x88\x91\xe8\xb2\xb7"),
    SAME("\xf0\x9f\x93\xa7"),
    {"\"\xc3\xa4\"", "\xc3\xa4"},
    SAME("\"\xc3\xa4 \xc3\xb6\""),
    {"\"\\\xc3\xa4\"", "\xc3\xa4"},
    SAME("a\xef\xbc\xa0"
         "b"), /* a wide "@" is text */
    SAME("\xc2\xa0"),
    /* illegal */
    BAD(""),
    BAD("."),
    BAD(".a"),
    BAD("..a"),
    BAD(" a"),
    BAD("a "),
    BAD("a b"),
    BAD("a\tb"),
    BAD("a,b"),
    BAD("a;b"),
    BAD("a:b"),
    BAD("a<b"),
    BAD("a>b"),
    BAD("a(b)"),
    BAD("(c)a"),
    BAD("[a]"),
    BAD("a\\b"),
    BAD("a\\@b"),
    BAD("a@b"),
    BAD("@"),
    BAD("\""),
    BAD("\"a"),
    BAD("a\""),
    BAD("\"a\"b"),
    BAD("a\"b\""),
    BAD("\"a\".b"),
    BAD("\"a\"\"b\""),
    BAD("\"a\\\""),
    BAD("\"a\"b\""),
    BAD("\"\t\""),
    BAD("\"\\\t\""),
    BAD("\x7f"),
    BAD("a\x01"),
    BAD("\"\x01\""),
    BAD("\"a\x7f\""),
    BAD("<a"),
    BAD("a>"),
    BAD("\xc3"),
    BAD("\xa4"),
    BAD("a\xc3"
        "b"),
    BAD("\xc0\x80"),
    BAD("\xc1\xbf"),
    BAD("\xe0\x80\x80"),
    BAD("\xed\xa0\x80"),
    BAD("\xf4\x90\x80\x80"),
    BAD("\xf8\x88\x80\x80\x80"),
    BAD("\xff"),
    BAD("\xfe"),
    BAD("\"\xc3\""),
    BAD("\xe4"),
    BAD("\xc2\x80"),
    BAD("\xc2\x85"),
    BAD("\xc2\x9f"),
    BAD("\xe2\x82"),
};

static const struct form domains[] = {
    /* names [RFC5321 4.1.2] */
    SAME("example.test"),
    SAME("EXAMPLE.Test"),
    SAME("a"),
    SAME("a.b"),
    SAME("localhost"),
    SAME("1.2.test"),
    SAME("123.test"),
    SAME("a-b.test"),
    SAME("a--b.test"),
    SAME("xn--mller-kva.test"),
    SAME("sub_domain.test"),
    SAME(L63 ".test"),
    SAME("a.b.c.d.e.f.g.h.i.j.k"),
    SAME("192.0.2.1"),
    /* literals [RFC5321 4.1.3] */
    SAME("[192.0.2.1]"),
    SAME("[255.255.255.255]"),
    SAME("[0.0.0.0]"),
    SAME("[IPv6:2001:db8::1]"),
    SAME("[IPv6:::]"),
    SAME("[IPv6:::1]"),
    SAME("[ipv6:1:2:3:4:5:6:7:8]"),
    SAME("[IPv6:::ffff:192.0.2.1]"),
    SAME("[x-tag:content]"),
    /* U-labels [RFC6531 3.3] */
    SAME("m\xc3\xbcller.test"),
    SAME("\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.test"),
    SAME("\xe4\xbe\x8b\xe5\xad\x90.\xe6\xb5\x8b\xe8\xaf\x95"),
    SAME("fa\xc3\x9f.test"),
    SAME("a.\xc3\xa4.b"),
    /* illegal */
    BAD(""),
    BAD("."),
    BAD(".test"),
    BAD("test."),
    BAD("a..b"),
    BAD("-a.test"),
    BAD("a-.test"),
    BAD("a.-b"),
    BAD("a b"),
    BAD(" a"),
    BAD("a "),
    BAD("a!b"),
    BAD("a,b"),
    BAD("a/b"),
    BAD("a:25"),
    BAD("a@b"),
    BAD("a\\b"),
    BAD("a%b"),
    BAD("a(b)"),
    BAD("\"a\""),
    BAD("a\x01"),
    BAD("a\x7f"),
    BAD(L63 "4.test"),
    BAD(C250 ".test"),
    BAD("[192.0.2.256]"),
    BAD("[192.0.2]"),
    BAD("[192.0.2.1.1]"),
    BAD("[ 192.0.2.1]"),
    BAD("[192.0.2.1"),
    BAD("192.0.2.1]"),
    BAD("[]"),
    BAD("[a]"),
    BAD("[IPv6:]"),
    BAD("[IPv6:192.0.2.1]"),
    BAD("[IPv6:1:2]"),
    BAD("[IPv6:1:2:3:4:5:6:7:8:9]"),
    BAD("[IPv6:::1::]"),
    BAD("[IPv6:g::]"),
    SAME("[2001:db8::1%eth0]"),
    BAD("[tag:]"),
    BAD("[tag-:x]"),
    BAD("[:x]"),
    BAD("[t g:x]"),
    BAD("[tag:x\\]"),
    BAD("[tag:[x]]"),
    BAD("[192.0.2.1]a"),
    BAD("[192.0.2.1].test"),
    BAD("[[192.0.2.1]]"),
    BAD("[+192.0.2.1]"),
    BAD("[0x7f.0.0.1]"),
    BAD("[127.1]"),
    BAD("\xc3.test"),
    BAD("\xff.test"),
    BAD("\xc3\x84.test"),           /* a capital is no U-label [RFC5890 2.3.2.1] */
    BAD("a\xcc\x88.test"),          /* not composed */
    BAD("\xef\xbd\x85xample.test"), /* wide letters are none */
    BAD("example\xe3\x80\x82test"),
    BAD("example\xef\xbc\x8etest"), /* nor are wide dots dots */
    BAD("\xc2\xad.test"),
    BAD("\xe2\x80\x8b.test"),
    BAD("\xe2\x80\xae"
        "a.test"),
    BAD("\xf0\x9f\x93\xa7.test"),
    BAD("-\xc3\xa4.test"),
    BAD("\xc3\xa4..test"),
    BAD("[\xc3\xa4]"),
};

static void assert_text(const struct buf *b, const char *expected)
{
    if (!str_eq(buf_str(b), str_of(expected)))
        fail_msg("%.*s instead of %s", STR_ARG(buf_str(b)), expected);
}

static bool read_path(const char *text, struct smtp_path *path, struct buf *out)
{
    struct str in = str_of(text);
    buf_clear(out);
    if (smtp_path_take(&in, path) != RC_OK)
        return false;
    assert_int_equal(in.n, 0);
    assert_rc(smtp_path_write(path, out), RC_OK);
    return true;
}

static void try_mailbox(const struct form *local, const struct form *domain, struct buf *out)
{
    char text[1024], expected[1024];
    struct smtp_path path;
    snprintf(text, sizeof text, "<%s@%s>", local->in, domain->in);
    if (!read_path(text, &path, out)) {
        if (local->out && domain->out)
            fail_msg("%s was refused", text);
        return;
    }
    if (!local->out || !domain->out)
        fail_msg("%s was taken", text);
    snprintf(expected, sizeof expected, "%s@%s", local->out, domain->out);
    assert_text(out, expected);
    bool is_utf8 = false;
    for (const char *p = text; *p; p++)
        is_utf8 |= (unsigned char)*p >= 0x80;
    assert_int_equal(path.is_utf8, is_utf8);
}

static void every_local_part_with_every_domain(void **state)
{
    struct buf out;
    buf_init(&out, 1024);
    for (size_t i = 0; i < sizeof locals / sizeof *locals; i++)
        for (size_t k = 0; k < sizeof domains / sizeof *domains; k++)
            try_mailbox(&locals[i], &domains[k], &out);
    buf_fini(&out);
}

static const struct form paths[] = {
    {"<>", ""},                     /* [RFC5321 4.5.5] */
    {"<postmaster>", "postmaster"}, /* [RFC5321 4.1.1.3] */
    {"<POSTmaster>", "POSTmaster"},
    {"<@one.test:a@example.test>", "a@example.test"}, /* [RFC5321 4.1.1.3] */
    {"<@one.test,@two.test:a@example.test>", "a@example.test"},
    {"<@[192.0.2.1]:a@example.test>", "a@example.test"},
    {"<@m\xc3\xbcller.test:a@example.test>", "a@example.test"},
    BAD(""),
    BAD("<"),
    BAD(">"),
    BAD("<<>>"),
    BAD("< >"),
    BAD("<a>"),
    BAD("<abuse>"),
    BAD("<\"postmaster\">"),
    BAD("<@>"),
    BAD("a@example.test"),
    BAD("<a@example.test"),
    BAD("a@example.test>"),
    BAD("<<a@example.test>>"),
    BAD("<a@example.test>>"),
    BAD("<a@example.test>x"),
    BAD("<a@example.test><b@example.test>"),
    BAD("< a@example.test>"),
    BAD("<a@example.test >"),
    BAD("<a @example.test>"),
    BAD("<a@ example.test>"),
    BAD("Alice <a@example.test>"),
    BAD("\"Alice\" <a@example.test>"),
    BAD("<a@example.test>,<b@example.test>"),
    BAD("<a@example.test,b@example.test>"),
    BAD("<mailto:a@example.test>"),
    BAD("<a@one.test@two.test>"),
    BAD("<a@one.test:b@two.test>"),
    BAD("<@one.test>"),
    BAD("<@one.test:>"),
    BAD("<@one.test:a>"),
    BAD("<@one.test,two.test:a@example.test>"),
    BAD("<@one.test,:a@example.test>"),
    BAD("<@one.test@two.test:a@example.test>"),
    BAD("<one.test:a@example.test>"),
    BAD("<@:a@example.test>"),
    BAD("<@one.test;a@example.test>"),
    BAD("<@one.test: a@example.test>"),
    BAD("(x)<a@example.test>"),
    BAD("<a@example.test(x)>"),
    BAD("<a(x)@example.test>"),
};

static void whole_paths(void **state)
{
    struct buf out;
    struct smtp_path path;
    buf_init(&out, 1024);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct str in = str_of(paths[i].in);
        bool is_taken = smtp_path_take(&in, &path) == RC_OK && in.n == 0;
        if (is_taken != (paths[i].out != NULL))
            fail_msg("%s was %s", paths[i].in, is_taken ? "taken" : "refused");
        buf_clear(&out);
        if (!is_taken)
            continue;
        assert_rc(smtp_path_write(&path, &out), RC_OK);
        assert_text(&out, paths[i].out);
    }
    buf_fini(&out);
}

static void a_nul_is_never_part_of_a_path(void **state)
{
    static const char text[] = "<\"a\"@example.test>";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        char copy[sizeof text];
        struct smtp_path path;
        memcpy(copy, text, sizeof text);
        copy[i] = '\0';
        struct str in = {copy, sizeof text - 1};
        assert_rc(smtp_path_take(&in, &path), RC_SYNTAX);
    }
}

/* "<", characters of two octets each, a domain, ">": so many octets in all. */
static enum rc take_long(size_t octets)
{
    char text[SMTP_PATH_MAX + 64] = "<x";
    struct smtp_path path;
    size_t from = octets % 2 ? 2 : 1, end = octets - 9;
    for (size_t i = from; i < end; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    memcpy(text + end, "@ab.test>", 9);
    struct str in = {text, octets};
    return smtp_path_take(&in, &path);
}

static void limits_count_octets(void **state)
{
    assert_rc(take_long(SMTP_PATH_MAX), RC_OK); /* [RFC6531 3.3] */
    assert_rc(take_long(SMTP_PATH_MAX + 1), RC_LIMIT);
}

static void a_domain_has_an_ascii_form(void **state)
{
    static const struct form rows[] = {
        {"example.test", "example.test"},
        {"[192.0.2.1]", "[192.0.2.1]"},
        {"m\xc3\xbcller.test", "xn--mller-kva.test"}, /* [RFC5890 2.3.2.1] */
        {"WWW.m\xc3\xbcller.Test", "www.xn--mller-kva.test"},
        {"fa\xc3\x9f.test", "xn--fa-hia.test"},
        BAD("M\xc3\x9cLLER.test"),
        BAD(""),
        BAD("\xc3"),
        BAD("a b"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out;
        buf_init(&out, SMTP_DOMAIN_MAX);
        enum rc rc = smtp_domain_ascii(str_of(rows[i].in), &out);
        if (rc != (rows[i].out ? RC_OK : RC_SYNTAX))
            fail_msg("%s: %s", rows[i].in, rc_name(rc));
        if (rows[i].out)
            assert_text(&out, rows[i].out);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_local_part_with_every_domain), cmocka_unit_test(whole_paths),
        cmocka_unit_test(a_nul_is_never_part_of_a_path),      cmocka_unit_test(limits_count_octets),
        cmocka_unit_test(a_domain_has_an_ascii_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
