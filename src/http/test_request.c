#include "http/http_int.h"

#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>

static int status_of(const char *text)
{
    struct http_request r;
    size_t used;
    int status = 0;
    enum rc rc = http_request_parse(str_of(text), &r, &used, &status);
    return rc == RC_OK ? 200 : rc == RC_AGAIN ? 100 : status;
}

static void a_request_is_taken_apart(void **state)
{
    static const char text[] =
        "GET /a/b?x=1 HTTP/1.1\r\nHost: mail.test:81\r\nX-Y:  two words\t\r\n"
        "x-y: again\r\nempty:\r\n\r\nGET / ";
    struct http_request r;
    size_t used;
    int status;
    for (size_t n = 0; n < sizeof text - 1 - 6; n++)
        assert_rc(http_request_parse(str_from(text, n), &r, &used, &status), RC_AGAIN);
    assert_rc(http_request_parse(str_of(text), &r, &used, &status), RC_OK);
    assert_int_equal(used, sizeof text - 1 - 6);
    assert_int_equal(r.method, HTTP_GET);
    assert_str(r.path, "/a/b");
    assert_str(r.query, "x=1");
    assert_str(r.host, "mail.test:81");
    assert_str(http_request_field(&r, STR("X-y")), "two words");
    assert_true(str_is_null(http_request_field(&r, STR("Z"))));
    assert_int_equal(r.n_fields, 4);
    assert_int_equal(r.framing, HTTP_NO_BODY);
    assert_false(r.is_last || r.expects_continue);
}

#define H "Host: a\r\n"
static const struct {
    int status;
    const char *text;
} cases[] = {
    {200, "GET / HTTP/1.1\r\n" H "\r\n"},
    {200, "\r\nHEAD / HTTP/1.1\r\n" H "\r\n"}, /* [RFC9112 2.2] */
    {200, "GET / HTTP/1.0\r\n\r\n"},
    {200, "OPTIONS * HTTP/1.1\r\n" H "\r\n"},
    {200, "GET http://b.test/x HTTP/1.1\r\n" H "\r\n"},
    {200, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n"},
    {200, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n"},
    {200, "GET / HTTP/1.1\r\nHost: [::1]:8081\r\n\r\n"},
    /* lines */
    {400, "GET / HTTP/1.1\n" H "\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n" H "\n"},
    {400, "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"},
    /* the first line [RFC9112 3] */
    {400, "GET /\r\n\r\n"},
    {400, "GET  / HTTP/1.1\r\n" H "\r\n"},
    {400, "GET / HTTP/1.1 \r\n" H "\r\n"},
    {400, "GET / x HTTP/1.1\r\n" H "\r\n"},
    {400, " GET / HTTP/1.1\r\n" H "\r\n"},
    {400, "G(T / HTTP/1.1\r\n" H "\r\n"},
    {400, "GET x HTTP/1.1\r\n" H "\r\n"},
    {400, "GET /\x80 HTTP/1.1\r\n" H "\r\n"},
    {400, "GET /#x HTTP/1.1\r\n" H "\r\n"},
    {400, "GET http:///x HTTP/1.1\r\n" H "\r\n"},
    {400, "GET / http/1.1\r\n" H "\r\n"},
    {400, "GET / HTTP/11\r\n" H "\r\n"},
    {505, "GET / HTTP/2.0\r\n" H "\r\n"},
    {501, "CONNECT a:25 HTTP/1.1\r\n" H "\r\n"},
    /* Host [RFC9112 3.2] */
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n" H H "\r\n"},
    {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
    /* fields [RFC9112 5] */
    {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"}, /* [RFC9112 5.2] */
    {400, "GET / HTTP/1.1\r\n " H "\r\n"},
    {400, "GET / HTTP/1.1\r\n" H "no colon\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n" H ": x\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n"},
    /* the body's length [RFC9112 6.3] */
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"},
    {417, "POST / HTTP/1.1\r\n" H "Expect: tea\r\nContent-Length: 1\r\n\r\n"},
};

static void what_is_not_exact_is_refused(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = status_of(cases[i].text);
        if (status != cases[i].status)
            fail_msg("%d, not %d: %s", status, cases[i].status, cases[i].text);
    }
    struct http_request r;
    size_t used;
    int status;
    assert_rc(http_request_parse(str_from("GET /\0 HTTP/1.1\r\n\r\n", 19), &r, &used, &status),
              RC_SYNTAX);
    assert_int_equal(status, 400);
}

static void sizes_are_limited(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_putf(&b, "GET /%08190d", 0);
    assert_rc(buf_add_byte(&b, '\0'), RC_OK);
    assert_int_equal(status_of(buf_str(&b).p), 414);
    buf_clear(&b);
    buf_putf(&b, "GET / HTTP/1.1\r\n" H "X: %08190d", 0);
    assert_rc(buf_add_byte(&b, '\0'), RC_OK);
    assert_int_equal(status_of(buf_str(&b).p), 431);
    buf_clear(&b);
    buf_putf(&b, "GET / HTTP/1.1\r\n" H);
    for (int i = 1; i < HTTP_FIELDS; i++)
        buf_putf(&b, "X: y\r\n");
    size_t n = buf_len(&b);
    buf_putf(&b, "\r\n");
    assert_rc(buf_add_byte(&b, '\0'), RC_OK);
    assert_int_equal(status_of(buf_str(&b).p), 200);
    buf_truncate(&b, n);
    buf_putf(&b, "X: y\r\n\r\n");
    assert_rc(buf_add_byte(&b, '\0'), RC_OK);
    assert_int_equal(status_of(buf_str(&b).p), 431);
    buf_clear(&b);
    buf_putf(&b, "GET / HTTP/1.1\r\n" H);
    for (int i = 0; i < 20; i++)
        buf_putf(&b, "X: %01000d\r\n", 0);
    assert_rc(buf_add_byte(&b, '\0'), RC_OK);
    assert_int_equal(status_of(buf_str(&b).p), 431);
    buf_fini(&b);
}

static void the_connection_ends_when_the_client_says_so(void **state)
{
    static const struct {
        bool is_last;
        const char *text;
    } ends[] = {
        {true, "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n"},
        {true, "GET / HTTP/1.1\r\n" H "Connection: x, Close\r\n\r\n"},
        {true, "GET / HTTP/1.0\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\n" H "Connection: keep-alive\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct http_request r;
        size_t used;
        int status;
        assert_rc(http_request_parse(str_of(ends[i].text), &r, &used, &status), RC_OK);
        assert_int_equal(r.is_last, ends[i].is_last);
    }
}

/* The body in steps of so many bytes; what is behind it stays. */
static enum rc read_body(enum http_framing framing, uint64_t length, const char *text, size_t step,
                         struct buf *out, size_t *out_used)
{
    const struct http_request r = {.framing = framing, .length = length};
    struct str in = str_of(text), piece;
    struct http_body body;
    size_t at = 0, here = 0, used;
    http_body_init(&body, &r);
    for (;;) {
        enum rc rc = http_body_next(&body, str_sub(in, at, here - at), &used, &piece);
        at += used;
        *out_used = at;
        if (rc == RC_OK)
            buf_put(out, piece);
        else if (rc != RC_AGAIN || here == in.n)
            return rc;
        if (rc == RC_AGAIN)
            here = here + step < in.n ? here + step : in.n;
    }
}

static void bodies_come_in_pieces(void **state)
{
    static const char chunks[] =
        "3\r\nabc\r\n0a;x=\"y\"\r\n0123456789\r\n00\r\nTrailer: x\r\n\r\nGET";
    struct buf out;
    size_t used;
    buf_init(&out, 1000);
    for (size_t step = 1; step < 60; step++) {
        assert_rc(read_body(HTTP_CHUNKED, 0, chunks, step, &out, &used), RC_EOF);
        assert_str(buf_str(&out), "abc0123456789");
        assert_int_equal(used, sizeof chunks - 1 - 3);
        buf_clear(&out);
        assert_rc(read_body(HTTP_LENGTH, 5, "12345GET", step, &out, &used), RC_EOF);
        assert_str(buf_str(&out), "12345");
        assert_int_equal(used, 5);
        buf_clear(&out);
    }
    assert_rc(read_body(HTTP_NO_BODY, 0, "x", 1, &out, &used), RC_EOF);
    static const char *const bad[] = {
        "3\nabc\r\n",    "3\rXabc\r\n", "3 \r\nabc\r\n", "x\r\n",          "\r\n",
        "3\r\nabcd\r\n", "3\r\nabc\n0", "-1\r\n",        "0x3\r\nabc\r\n", "1234567890123456\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&out);
        assert_rc(read_body(HTTP_CHUNKED, 0, bad[i], 1, &out, &used), RC_SYNTAX);
    }
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(what_is_not_exact_is_refused),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(the_connection_ends_when_the_client_says_so),
        cmocka_unit_test(bodies_come_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
