/* The pure parts: names, sets, dates, flags, strings, and commands out of pieces. */
#include "imap/imap_int.h"

#include "base/test.h"
#include "base/utf7.h"

#include <stdio.h>
#include <string.h>

static struct arena arena;

static struct imap_parse parse_of(const char *text)
{
    arena_reset(&arena);
    return (struct imap_parse){.rest = str_of(text), .arena = &arena};
}

/* --- names ------------------------------------------------------------------------------------ */

static const struct {
    const char *wire, *utf8; /* utf8 NULL: not a name */
} names[] = {
    {"INBOX", "INBOX"},
    {"~peter/mail/&U,BTFw-/&ZeVnLIqe-",
     "~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/"
     "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"}, /* [RFC3501 5.1.3] [RFC9051 A.1]
                                               */
    {"Entw&APw-rfe", "Entw\xc3\xbcrfe"},
    {"a&-b", "a&b"},
    {"&-", "&"},
    {"&2D3eAA-", "\xf0\x9f\x98\x80"}, /* beyond 16 bits */
    {"&AOQ-&-", "\xc3\xa4&"},
    {"&Jjo!", NULL},
    {"&", NULL},
    {"&U,BTFw", NULL},
    {"&AGE-", NULL},      /* encodes "a" */
    {"&AOQ-&APY-", NULL}, /* should be one */
    {"&2D0-", NULL},      /* half a pair */
    {"&3gA-", NULL},      /* the other half */
    {"&AOR-", NULL},      /* bits left over */
};

static void names_go_both_ways(void **state)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buf out = {.cap = 1000};
        enum rc rc = utf7_decode(str_of(names[i].wire), &out);
        if (!names[i].utf8) {
            assert_rc(rc, RC_SYNTAX);
            buf_fini(&out);
            continue;
        }
        assert_rc(rc, RC_OK);
        assert_true(str_eq(buf_str(&out), str_of(names[i].utf8)));
        buf_clear(&out);
        assert_rc(utf7_encode(str_of(names[i].utf8), &out), RC_OK);
        assert_true(str_eq(buf_str(&out), str_of(names[i].wire)));
        buf_fini(&out);
    }
}

static void mailboxes_have_levels(void **state)
{
    struct store_path path;
    struct imap_parse p = parse_of("\"inbox/Entw&APw-rfe/\" x");
    assert_true(imap_take_mailbox(&p, &path));
    assert_int_equal(path.n, 2);
    assert_true(str_eq(path.levels[0], STR("INBOX"))); /* [RFC3501 5.1] [RFC9051 5.1] */
    assert_true(str_eq(path.levels[1], STR("Entw\xc3\xbcrfe")));
    assert_true(str_eq(p.rest, STR(" x")));
    p = parse_of("\"Entw\xc3\xbcrfe\"");
    assert_true(imap_take_mailbox(&p, &path) && path.levels[0].n == 9);
    p = parse_of("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u");
    assert_false(imap_take_mailbox(&p, &path));
    assert_true(p.is_limit);
    p = parse_of("&U,BTFw");
    assert_false(imap_take_mailbox(&p, &path));
}

/* --- sets, dates, flags ----------------------------------------------------------------------- */

static const struct {
    const char *text;
    const char *ranges; /* NULL: an error */
} sets[] = {
    {"1", "1-1"},
    {"1,3,5", "1-1 3-3 5-5"},
    {"5:2", "2-5"},
    {"1:*", "1-4294967295"},
    {"*", "4294967295-4294967295"},
    {"*:4,7", "4-4294967295 7-7"},
    {"4294967295", "4294967294-4294967294"}, /* not '*' */
    {"0", NULL},
    {"", NULL},
    {"1,", NULL},
    {"1:", NULL},
    {"4294967296", NULL},
    {"a", NULL},
};

static void sets_are_read(void **state)
{
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct imap_parse p = parse_of(sets[i].text);
        struct imap_set set;
        struct buf out = {.cap = 1000};
        bool is_good = imap_take_set(&p, &set) && imap_take_end(&p);
        assert_int_equal(is_good, sets[i].ranges != NULL);
        for (size_t n = 0; is_good && n < set.n; n++)
            buf_putf(&out, "%s%u-%u", n ? " " : "", set.ranges[n].from, set.ranges[n].to);
        if (is_good)
            assert_true(str_eq(buf_str(&out), str_of(sets[i].ranges)));
        buf_fini(&out);
    }
}

static const struct {
    const char *text;
    int64_t seconds; /* -1: an error */
} dates[] = {
    {"\"17-Jul-1996 02:44:25 -0700\"", 837596665},  {"\" 1-Jan-1970 00:00:00 +0000\"", 0},
    {"\"01-jan-1970 00:00:01 +0000\"", 1},          {"\"31-Dec-1969 23:59:59 +0000\"", 0},
    {"\"01-Jan-9999 00:00:00 +0000\"", 9223372036}, /* the last that ns can tell */
    {"\"29-Feb-2000 12:00:00 +0100\"", 951822000},  {"\"29-Feb-1900 12:00:00 +0100\"", -1},
    {"\"31-Apr-2000 12:00:00 +0100\"", -1},         {"\"17-Jul-1996 02:44:25\"", -1},
    {"\"17-Jux-1996 02:44:25 +0000\"", -1},         {"\"17-Jul-1996 24:44:25 +0000\"", -1},
    {"\"00-Jul-1996 02:44:25 +0000\"", -1},         {"17-Jul-1996 02:44:25 +0000", -1},
};

static void dates_are_read(void **state)
{
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        struct imap_parse p = parse_of(dates[i].text);
        uint64_t ns;
        bool is_good = imap_take_date_time(&p, &ns) && imap_take_end(&p);
        assert_int_equal(is_good, dates[i].seconds >= 0);
        if (is_good)
            assert_int_equal(ns, (uint64_t)dates[i].seconds * NS_PER_SEC);
    }
    int64_t day;
    struct imap_parse p = parse_of("\"1-Feb-1994\" x");
    assert_true(imap_take_date(&p, &day) && day == 8797 && str_eq(p.rest, STR(" x")));
    p = parse_of("01-Feb-1994)");
    assert_true(imap_take_date(&p, &day) && day == 8797 && str_eq(p.rest, STR(")")));
    p = parse_of("\"1-Feb-1994");
    assert_false(imap_take_date(&p, &day));
}

static void flags_are_read(void **state) /* [RFC3501 9] [RFC9051 9] */
{
    struct imap_flags flags;
    struct imap_parse p = parse_of("(\\Seen \\dELETED $Label1 Work $label1)");
    assert_true(imap_take_flags(&p, true, &flags) && imap_take_end(&p));
    assert_int_equal(flags.flags, STORE_SEEN | STORE_DELETED);
    assert_int_equal(flags.n_keywords, 2);
    p = parse_of("()");
    assert_true(imap_take_flags(&p, true, &flags) && imap_take_end(&p));
    p = parse_of("\\Seen \\Flagged");
    assert_true(imap_take_flags(&p, false, &flags) && imap_take_end(&p));
    static const char *const bad[] = {"(\\Recent)", "(\\Foo)", "(a", "(\"a\")", "(a  b)", "\\Seen"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        p = parse_of(bad[i]);
        assert_false(imap_take_flags(&p, true, &flags));
        assert_non_null(p.error);
    }
}

/* --- strings ---------------------------------------------------------------------------------- */

static const struct {
    const char *text, *value; /* value NULL: an error */
} strings[] = {
    {"atom]", "atom]"},
    {"\"a b\"", "a b"},
    {"\"\"", ""},
    {"\"a\\\"b\\\\\"", "a\"b\\"},
    {"{3}\r\na b", "a b"},
    {"{3+}\r\na\"b", "a\"b"},
    {"{0}\r\n", ""},
    {"\"gr\xc3\xbc\xc3\x9f\"", "gr\xc3\xbc\xc3\x9f"},
    {"\"a", NULL},
    {"\"a\\x\"", NULL},
    {"\"\\", NULL},
    {"\"\xff\"", NULL},
    {"{3}\r\nab", NULL},
    {"{x}\r\nab", NULL},
    {"(a", NULL},
    {"a*", NULL}, /* left over */
    {"", NULL},
};

static void strings_are_read(void **state)
{
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        struct imap_parse p = parse_of(strings[i].text);
        struct str s;
        bool is_good = imap_take_astring(&p, &s) && imap_take_end(&p);
        assert_int_equal(is_good, strings[i].value != NULL);
        if (is_good)
            assert_true(str_eq(s, str_of(strings[i].value)));
    }
}

static void strings_are_written(void **state)
{
    struct buf out = {.cap = 1000};
    imap_put_nstring(&out, (struct str){0});
    imap_put_nstring(&out, STR("a \"b\\"));
    imap_put_nstring(&out, STR("gr\xc3\xbc\xc3\x9f"));
    imap_put_astring(&out, STR("atom"));
    imap_put_astring(&out, STR("a b"));
    imap_put_astring(&out, STR("nil"));
    imap_put_astring(&out, STR(""));
    assert_true(str_eq(buf_str(&out), STR("NIL\"a \\\"b\\\\\"{6}\r\ngr\xc3\xbc\xc3\x9f"
                                          "atom\"a b\"\"nil\"\"\"")));
    buf_fini(&out);
}

/* --- commands out of pieces ------------------------------------------------------------------- */

static void note(struct buf *out, const struct imap_gathered *it)
{
    static const char *const kinds[] = {"none", "command", "literal", "bare", "long"};
    buf_putf(out, "%s", kinds[it->kind]);
    if (it->kind == IMAP_INPUT_COMMAND || it->kind == IMAP_INPUT_LITERAL)
        buf_putf(out, "<%.*s>", STR_ARG(it->text));
    buf_put(out, STR("\n"));
}

/* All that comes of some input in pieces of n bytes; literals of more than 9 bytes are refused. */
static void gather_in_pieces(struct str input, size_t n, size_t line_max, struct buf *out)
{
    struct imap_gather g = {.held.cap = 100};
    struct imap_gathered it;
    size_t from = 0, to = 0;
    while (true) {
        imap_gather_next(&g, str_sub(input, from, to - from), line_max, &it);
        if (it.kind != IMAP_INPUT_NONE)
            note(out, &it);
        if (it.kind == IMAP_INPUT_LITERAL && (it.literal.n > 9 || it.literal.is_broken))
            imap_gather_refuse(&g, &it);
        else if (it.kind == IMAP_INPUT_LITERAL)
            imap_gather_accept(&g, &it);
        if (it.kind == IMAP_INPUT_COMMAND)
            imap_gather_reset(&g, true);
        from += it.used;
        if (it.kind == IMAP_INPUT_NONE && to == input.n)
            break;
        if (it.kind == IMAP_INPUT_NONE)
            to = to + n < input.n ? to + n : input.n;
    }
    imap_gather_reset(&g, true);
}

static const struct {
    const char *input, *output;
} gatherings[] = {
    {"a NOOP\r\nb NOOP\r\n", "command<a NOOP>\ncommand<b NOOP>\n"},
    {"a LOGIN {3}\r\nbob {2+}\r\npw\r\nb NOOP\r\n",
     "literal<a LOGIN {3}>\nliteral<a LOGIN {3}\r\nbob {2+}>\n"
     "command<a LOGIN {3}\r\nbob {2+}\r\npw>\ncommand<b NOOP>\n"},
    {"a X {0}\r\n\r\nb NOOP\r\n", "literal<a X {0}>\ncommand<a X {0}\r\n>\ncommand<b NOOP>\n"},
    /* The bytes of a refused literal are no commands, nor is what follows it. */
    {"a X {12+}\r\nb LOGOUT\r\nxx rest {10+}\r\nc LOGOUT\r\nz\r\nd NOOP\r\n",
     "literal<a X {12+}>\ncommand<d NOOP>\n"},
    {"a X {12}\r\nb NOOP\r\n", "literal<a X {12}>\ncommand<b NOOP>\n"},
    {"a X {99999999999999999999+}\r\nb NOOP\r\n",
     "literal<a X {99999999999999999999+}>\ncommand<b NOOP>\n"},
    {"a NOOP\nb NOOP\r\n", "bare\ncommand<b NOOP>\n"},
    {"a \rNOOP\r\nb NOOP\r\n", "bare\ncommand<b NOOP>\n"},
    {"a 0123456789012345678901234567890123456789 {12+}\r\nb LOGOUT\r\nxx\r\nc NOOP\r\n",
     "long\ncommand<c NOOP>\n"},
    /* Nor are those that a line announces which is none, or too much. */
    {"a \rX {10+}\r\nb LOGOUT\r\n\r\nc NOOP\r\n", "bare\ncommand<c NOOP>\n"},
    {"a X {9+}\nb LOGOUT\r\r\nc NOOP\r\n", "bare\ncommand<c NOOP>\n"},
    {"a {9+}\r\n123456789xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx "
     "{9+}\r\n123456789yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy {9+}\r\nb LOGOUT\n\r\n"
     "c NOOP\r\n",
     "literal<a {9+}>\nliteral<a {9+}\r\n123456789xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx {9+}>\n"
     "long\ncommand<c NOOP>\n"},
    {"a ~{2+}\r\n\\\"\r\n", "literal<a ~{2+}>\ncommand<a ~{2+}\r\n\\\">\n"},
};

static void commands_come_whole_however_they_are_cut(void **state)
{
    for (size_t i = 0; i < sizeof gatherings / sizeof *gatherings; i++) {
        struct str input = str_of(gatherings[i].input);
        for (size_t n = 1; n <= input.n; n++) {
            struct buf out = {.cap = 10000};
            gather_in_pieces(input, n, 40, &out);
            if (!str_eq(buf_str(&out), str_of(gatherings[i].output)))
                fail_msg("%zu, pieces of %zu: %.*s", i, n, STR_ARG(buf_str(&out)));
            buf_fini(&out);
        }
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Each code is one that is registered, so that no client takes it for something else
 * [RFC3501 7.1] [RFC9051 7.1]. */
static void response_codes_are_registered(void **state)
{
    static const char registered[] =
        " ALREADYEXISTS AUTHENTICATIONFAILED AUTHORIZATIONFAILED BADCHARSET BADEVENT CANNOT "
        "CLIENTBUG"
        " COMPRESSIONACTIVE CORRUPTION EXPUNGEISSUED HASCHILDREN INUSE LIMIT NONEXISTENT"
        " NOTIFICATIONOVERFLOW NOTSAVED OVERQUOTA PRIVACYREQUIRED READ-ONLY READ-WRITE SERVERBUG"
        " TOOBIG TOOFEW TOOMANY TRYCREATE UIDREQUIRED UNAVAILABLE UNKNOWN-CTE USEATTR ";
    size_t n_codes = 0;
    for (int i = 0; i < IMAP_TEXTS; i++) {
        char word[64];
        struct str code = imap_text_code((enum imap_text)i), name;
        assert_true(imap_text_line((enum imap_text)i).n > 0);
        if (!code.p)
            continue;
        n_codes++;
        assert_true(str_starts(code, STR("[")) && str_ends(code, STR("] ")));
        code = str_sub(code, 1, code.n - 3);
        str_cut(&code, ' ', &name);
        snprintf(word, sizeof word, " %.*s ", STR_ARG(name));
        if (!strstr(registered, word))
            fail_msg("nobody knows%s", word);
    }
    assert_true(n_codes > 30);
}

static int end(void **state)
{
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(mailboxes_have_levels),
        cmocka_unit_test(sets_are_read),
        cmocka_unit_test(dates_are_read),
        cmocka_unit_test(flags_are_read),
        cmocka_unit_test(strings_are_read),
        cmocka_unit_test(strings_are_written),
        cmocka_unit_test(commands_come_whole_however_they_are_cut),
        cmocka_unit_test(response_codes_are_registered),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
