#include "base/test.h"
#include "mime/test_tree.h"

#include <stdio.h>

/* A tree as text, one line a part: a '.' for each level of depth, the kind (leaf, multipart,
 * message),
 * '!' when opaque, number of fields, and for leaves the body in brackets. */
static void dump(const struct mime_tree *t, struct str m, struct buf *out)
{
    for (uint32_t i = 0; i < t->n_parts; i++) {
        const struct mime_part *p = &t->parts[i];
        buf_putf(out, "%.*s%c%s%u", p->depth, "........", "LMR"[p->kind], p -> is_opaque ? "!" : "",
                 p->n_fields);
        if (p->kind == MIME_LEAF) {
            buf_put(out, STR("["));
            buf_put(out, str_sub(m, p->body_begin, p->body_end - p->body_begin));
            buf_put(out, STR("]"));
        }
        buf_put(out, STR("\n"));
    }
}

/* Parses the message, cut in all ways too, and compares the dump of the tree. */
static void expect_limits(const char *message, const struct mime_limits *limits, uint32_t flags,
                          const char *parts)
{
    struct mime_tree whole, cut;
    struct str m = str_of(message);
    mime_parse(m, limits, &whole);
    for (size_t i = 0; i <= m.n; i++) {
        parse_cut(m, limits, i, i ? m.n : 1, &cut);
        assert_true(tree_is_same(&whole, &cut));
        mime_tree_fini(&cut);
    }
    assert_null(tree_fault(&whole, m, limits ? limits : &mime_limits_default));
    struct buf text;
    buf_init(&text, 10000);
    dump(&whole, m, &text);
    assert_rc(buf_add_byte(&text, '\0'), RC_OK);
    assert_string_equal(buf_str(&text).p, parts);
    assert_int_equal(whole.flags, flags);
    assert_int_equal(whole.size, m.n);
    buf_fini(&text);
    mime_tree_fini(&whole);
}

static void expect(const char *message, uint32_t flags, const char *parts)
{
    expect_limits(message, NULL, flags, parts);
}

#define MIXED "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

static void a_plain_message_is_one_part(void **state)
{
    expect("A: b\r\nC: d\r\n\r\nbody\r\nmore\r\n", 0, "L2[body\r\nmore\r\n]\n");
    expect("A: b\nC: d\n\nbody\nmore", 0, "L2[body\nmore]\n");
    expect("A: b\r\n\r\n", 0, "L1[]\n");
    expect("\r\nbody", 0, "L0[body]\n");
    expect("\r\n", 0, "L0[]\n");
    expect("", 0, "L0[]\n");
    expect("A: b\r\n", 0, "L1[]\n");
    expect("A: b", 0, "L1[]\n");
    expect("A: b\r\n\r\n--b\r\n-\r\n", 0, "L1[--b\r\n-\r\n]\n");
}

static void offsets_and_lines_are_counted(void **state)
{
    struct mime_tree t;
    struct str m = STR("A: b\r\n" MIXED "pre\r\n--b\r\n\r\none\r\ntwo\r\n--b--\r\nepi\n");
    mime_parse(m, NULL, &t);
    assert_int_equal(t.n_parts, 2);
    assert_int_equal(t.lines, 10);
    assert_int_equal(t.bare_lf, 1);
    assert_int_equal(t.parts[0].header_begin, 0);
    assert_int_equal(t.parts[0].header_lines, 3);
    assert_int_equal(t.parts[0].body_lines, 7);
    assert_int_equal(t.parts[0].body_end, m.n);
    assert_int_equal(t.parts[0].parent, MIME_NONE);
    assert_int_equal(t.parts[0].first_child, 1);
    assert_int_equal(t.parts[0].next, MIME_NONE);
    assert_int_equal(t.parts[1].parent, 0);
    assert_int_equal(t.parts[1].header_lines, 1);
    assert_int_equal(t.parts[1].body_lines, 1);
    assert_str(str_sub(m, t.parts[1].body_begin, t.parts[1].body_end - t.parts[1].body_begin),
               "one\r\ntwo");
    mime_tree_fini(&t);
}

static void slices_are_places_in_the_message(void **state)
{
    struct mime_tree t;
    struct str m = STR("X: y\r\nContent-type:\r\n MULTIPART/Mixed;\r\n\tboundary=\"a\\b c \"\r\n"
                       "Content-Transfer-Encoding: 8BIT\r\n\r\n--ab c\r\n\r\nx\r\n--ab c-- \r\n");
    mime_parse(m, NULL, &t);
    assert_int_equal(t.n_parts, 2);
    assert_int_equal(t.flags, 0);
    assert_str(mime_view(m, 0, t.parts[0].type), "MULTIPART");
    assert_str(mime_view(m, 0, t.parts[0].subtype), "Mixed");
    assert_str(mime_view(m, 0, t.parts[0].boundary), "a\\b c ");
    assert_str(mime_view(m, 0, t.parts[0].encoding), "8BIT");
    assert_int_equal(t.parts[1].type.n, 0);
    assert_str(mime_view(str_skip(m, 6), 6, t.parts[0].type), "MULTIPART");
    assert_int_equal(mime_view(str_skip(m, 40), 40, t.parts[0].type).n, 0);
    assert_int_equal(mime_view(str_head(m, 30), 0, t.parts[0].type).n, 0);
    mime_tree_fini(&t);
}

static void multiparts_are_taken_apart(void **state) /* [RFC2046 5.1.1] */
{
    expect(MIXED "pre\r\n--b\r\n\r\none\r\n--b \t\r\nA: "
                 "b\r\n\r\ntwo\r\n\r\n--b--\r\nepi\r\n--b\r\nno part\r\n",
           0, "M1\n.L0[one]\n.L1[two\r\n]\n");
    expect("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n", 0,
           "M1\n.L0[one]\n.L0[two]\n");
    expect(MIXED "--b\r\n\r\n--b\r\n\r\n\r\n--b--", 0, "M1\n.L0[]\n.L0[]\n");
    expect(MIXED "--b--\r\n", 0, "M1\n");
    expect("Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" MIXED
           "--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\n"
           "--o\r\n\r\n3\r\n--o--\r\n",
           0, "M1\n.M1\n..L0[1]\n..L0[2]\n.L0[3]\n");
    expect("Content-Type: text/x\r\nContent-Type: multipart/mixed; "
           "boundary=b\r\n\r\n--b\r\n\r\n--b--\r\n",
           0, "L2[--b\r\n\r\n--b--\r\n]\n");
}

static void broken_multiparts_are_tolerated(void **state)
{
    expect(MIXED "--b\r\n\r\none\r\n", MIME_NO_CLOSE, "M1\n.L0[one\r\n]\n");
    expect(MIXED "--b\r\n\r\none\r\n--b", MIME_NO_CLOSE, "M1\n.L0[one]\n.L0[]\n");
    expect(MIXED "text only\r\n", MIME_NO_CLOSE, "M1\n");
    expect(MIXED, MIME_NO_CLOSE, "M1\n");
    expect("Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" MIXED
           "--b\r\n\r\n1\r\n--o\r\n\r\n2\r\n--b\r\n"
           "--o--\r\n",
           MIME_NO_CLOSE, "M1\n.M1\n..L0[1]\n.L0[2\r\n--b]\n");
    /* No empty line before the text, none at all, a header that a delimiter ends. */
    expect(MIXED "--b\r\nno header\r\n--b\r\nA: b\r\ntext\r\n--b\r\nA: b\r\n--b\r\n--b--\r\n",
           MIME_NO_BLANK, "M1\n.L0[no header]\n.L1[text]\n.L1[]\n.L0[]\n");
    expect("A: b\r\ntext: \xc3\xa4\r\nmy text\r\n", MIME_NO_BLANK, "L2[my text\r\n]\n");
    expect("Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nx\r\n----\r\n", MIME_NO_BOUNDARY,
           "L!1[--\r\n\r\nx\r\n----\r\n]\n");
    expect("Content-Type: multipart/mixed; boundary=\" \"\r\n\r\n-- \r\n", MIME_NO_BOUNDARY,
           "L!1[-- \r\n]\n");
    expect("Content-Type: multipart; boundary=b\r\n\r\n--b\r\n", 0, "L1[--b\r\n]\n");
}

static void boundaries_may_be_prefixes_of_others(void **state)
{
    expect("Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n" MIXED
           "--b\r\n\r\n1\r\n--b--\r\n"
           "--bb\r\n\r\n2\r\n--bb--\r\n",
           0, "M1\n.M1\n..L0[1]\n.L0[2]\n");
    expect(MIXED
           "--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\n1\r\n--bb--\r\n"
           "--b\r\n\r\n2\r\n--b--\r\n",
           0, "M1\n.M1\n..L0[1]\n.L0[2]\n");
    expect(MIXED
           "--b\r\nContent-Type: multipart/mixed; boundary=b--\r\n\r\n--b--\r\n\r\n1\r\n--b----\r\n"
           "--b\r\n\r\n2\r\n--b--\r\n",
           0, "M1\n.M1\n..L0[1]\n.L0[2]\n");
    /* The same twice: the inner one wins until it is closed. */
    expect(MIXED "--b\r\n" MIXED "--b\r\n\r\n1\r\n--b--\r\n--b\r\n\r\n2\r\n--b--\r\n", 0,
           "M1\n.M1\n..L0[1]\n.L0[2]\n");
    /* A beginning is enough. */
    expect(MIXED "--bx y\r\n\r\n1\r\n--b--x\r\n", 0, "M1\n.L0[1]\n");
}

static void messages_are_descended_into(void **state) /* [RFC2046 5.2.1] */
{
    expect(MIXED
           "--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\nC: d\r\n\r\ninner\r\n--b--\r\n",
           0, "M1\n.R1\n..L2[inner]\n");
    expect("Content-Type: message/global\r\n\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\nx",
           0, "R1\n.R1\n..L1[x]\n");
    expect("Content-Type: message/rfc822\r\n\r\n" MIXED "--b\r\n\r\n1\r\n--b--\r\n", 0,
           "R1\n.M1\n..L0[1]\n");
    /* Empty ones, and such that end where the delimiter begins. */
    expect("Content-Type: message/rfc822\r\n", 0, "R1\n.L0[]\n");
    expect(MIXED "--b\r\nContent-Type: message/rfc822\r\n\r\n--b--\r\n", MIME_NO_BLANK,
           "M1\n.R1\n..L0[]\n");
    expect(MIXED "--b\r\nContent-Type: message/rfc822\r\n--b--\r\n", MIME_NO_BLANK,
           "M1\n.R1\n..L0[]\n");
    expect(MIXED "--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\n--b--\r\n", 0,
           "M1\n.R1\n..L1[]\n");
    expect(MIXED "--b\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n--b--\r\n", MIME_NO_BLANK,
           "M1\n.R1\n..L1[]\n");
    expect("Content-Type: message/rfc822\r\nno blank line", MIME_NO_BLANK,
           "R1\n.L0[no blank line]\n");
    /* Encoded, which is forbidden: left alone. */
    expect("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: BASE64\r\n\r\nQTogYg0K\r\n",
           0, "L!2[QTogYg0K\r\n]\n");
    expect("Content-Type: message/partial\r\n\r\nA: b\r\n\r\n", 0, "L1[A: b\r\n\r\n]\n");
}

static void a_digest_holds_messages(void **state) /* [RFC2046 5.1.5] */
{
    expect("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nA: b\r\n\r\n1\r\n"
           "--b\r\nContent-Type: text/plain\r\n\r\n2\r\n--b--\r\n",
           0, "M1\n.R0\n..L1[1]\n.L1[2]\n");
}

static void mbox_lines_are_passed_over(void **state)
{
    expect("From a@b Sat Nov 21 10:00:00 2026\nA: b\n\nx\n", 0, "L1[x\n]\n");
    expect("A: b\nFrom a@b\n\nx\n", MIME_NO_BLANK, "L1[From a@b\n\nx\n]\n");
}

static void received_fields_are_counted(void **state)
{
    struct mime_parser p;
    struct mime_tree t;
    mime_init(&p, NULL);
    mime_feed(&p,
              STR("Received: by a\r\n ;x\r\nRECEIVED: by b\r\nX-Received: c\r\nReceived: d\r\n"));
    assert_false(mime_is_header_done(&p));
    mime_feed(&p, STR("Content-Type: message/rfc822\r\n\r"));
    assert_false(mime_is_header_done(&p));
    assert_int_equal(mime_received(&p), 3);
    mime_feed(&p, STR("\nReceived: not mine\r\n\r\n"));
    assert_true(mime_is_header_done(&p));
    mime_finish(&p, &t);
    mime_fini(&p);
    assert_int_equal(t.n_received, 3);
    assert_int_equal(t.parts[0].n_fields, 5);
    assert_int_equal(t.parts[1].n_fields, 1);
    mime_tree_fini(&t);
}

static void depth_is_limited(void **state)
{
    struct mime_limits limits = mime_limits_default;
    limits.depth = 1;
    expect_limits(
        MIXED "--b\r\nContent-Type: multipart/x; boundary=c\r\n\r\n--c\r\n\r\n1\r\n--c--\r\n--b\r\n"
              "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n--b--\r\n",
        &limits, MIME_OVER_DEPTH, "M1\n.L!1[--c\r\n\r\n1\r\n--c--]\n.L!1[A: b\r\n]\n");
    limits.depth = 0;
    expect_limits(MIXED "--b\r\n", &limits, MIME_OVER_DEPTH, "L!1[--b\r\n]\n");
}

static void parts_are_limited(void **state)
{
    struct mime_limits limits = mime_limits_default;
    limits.parts = 2;
    expect_limits(MIXED "--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\n", &limits, MIME_OVER_PARTS,
                  "M1\n.L0[1\r\n--b\r\n\r\n2\r\n--b--\r\n]\n");
    expect_limits(MIXED "--b\r\nContent-Type: message/rfc822\r\n\r\n1\r\n--b--\r\n", &limits,
                  MIME_OVER_PARTS, "M1\n.L!1[1]\n");
    expect_limits(MIXED "--b\r\nA: b\r\n--b\r\n\r\n--b--\r\n", &limits,
                  MIME_OVER_PARTS | MIME_NO_BLANK, "M1\n.L1[--b\r\n\r\n--b--\r\n]\n");
    expect_limits(MIXED "--b\r\n\r\n1\r\n--b--\r\n", &limits, 0, "M1\n.L0[1]\n");
}

static void headers_are_limited(void **state)
{
    struct mime_limits limits = mime_limits_default;
    limits.header_fields = 2;
    expect_limits("A: b\r\nC: d\r\n e\r\n\r\nx", &limits, 0, "L2[x]\n");
    expect_limits("A: b\r\nC: d\r\n e\r\nF: g\r\n\r\nx", &limits, MIME_OVER_FIELDS,
                  "L!2[F: g\r\n\r\nx]\n");
    limits = mime_limits_default;
    limits.header_size = 10;
    expect_limits("A: 56\r\n\r\nx", &limits, 0, "L1[x]\n");
    expect_limits("A: 567\r\n\r\nx", &limits, 0, "L1[x]\n");
    expect_limits("A: 5678\r\n\r\nx", &limits, MIME_OVER_HEADER, "L!1[\r\nx]\n");
    expect_limits("A: 56789abc\r\n\r\nx", &limits, MIME_OVER_HEADER, "L!0[A: 56789abc\r\n\r\nx]\n");
    expect_limits("A: 5\r\n bc\r\n\r\nx", &limits, MIME_OVER_HEADER, "L!1[ bc\r\n\r\nx]\n");
    expect_limits("Received: 5678\r\n\r\n", &limits, MIME_OVER_HEADER,
                  "L!0[Received: 5678\r\n\r\n]\n");
}

static void the_header_limit_takes_back_what_it_cuts(void **state)
{
    /* The second line of the field would break the limit on the header and on the field. */
    char message[1000];
    struct mime_limits limits = mime_limits_default;
    limits.header_size = 400;
    limits.field_size = 300;
    int n =
        snprintf(message, sizeof message, "Content-Type: text/html;\r\n x=%0*d\r\n\r\n", 600, 0);
    struct mime_tree whole, cut;
    mime_parse(str_from(message, (size_t)n), &limits, &whole);
    assert_int_equal(whole.flags, MIME_OVER_HEADER);
    assert_int_equal(whole.parts[0].body_begin, 26);
    assert_int_equal(whole.parts[0].subtype.n, 4);
    for (size_t i = 1; i < 400; i += 7) {
        parse_cut(str_from(message, (size_t)n), &limits, 0, i, &cut);
        assert_true(tree_is_same(&whole, &cut));
        mime_tree_fini(&cut);
    }
    mime_tree_fini(&whole);
}

static void fields_and_boundaries_are_limited(void **state)
{
    char message[1000];
    struct mime_limits limits = mime_limits_default;
    limits.field_size = 50;
    expect_limits("Content-Type: multipart/x; boundary=b;\r\n x=0123456789;\r\n "
                  "y=0123456789\r\n\r\n--b--\r\n",
                  &limits, MIME_OVER_FIELD, "L!1[--b--\r\n]\n");
    for (int n = MIME_BOUNDARY_MAX - 1; n <= MIME_BOUNDARY_MAX + 1; n++) {
        bool fits = n <= MIME_BOUNDARY_MAX;
        struct mime_tree t;
        int size =
            snprintf(message, sizeof message,
                     "Content-Type: multipart/x; boundary=%0*d\r\n\r\n--%0*d--\r\n", n, 0, n, 0);
        mime_parse(str_from(message, (size_t)size), NULL, &t);
        assert_int_equal(t.parts[0].kind, fits ? MIME_MULTIPART : MIME_LEAF);
        assert_int_equal(t.flags, fits ? 0 : MIME_OVER_BOUNDARY);
        mime_tree_fini(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_message_is_one_part),
        cmocka_unit_test(offsets_and_lines_are_counted),
        cmocka_unit_test(slices_are_places_in_the_message),
        cmocka_unit_test(multiparts_are_taken_apart),
        cmocka_unit_test(broken_multiparts_are_tolerated),
        cmocka_unit_test(boundaries_may_be_prefixes_of_others),
        cmocka_unit_test(messages_are_descended_into),
        cmocka_unit_test(a_digest_holds_messages),
        cmocka_unit_test(mbox_lines_are_passed_over),
        cmocka_unit_test(received_fields_are_counted),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(parts_are_limited),
        cmocka_unit_test(headers_are_limited),
        cmocka_unit_test(the_header_limit_takes_back_what_it_cuts),
        cmocka_unit_test(fields_and_boundaries_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
