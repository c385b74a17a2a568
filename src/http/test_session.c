/* Requests and answers over net. */
#include "http/http_int.h"

#include "base/test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void hello(void *app, const struct http_request *request, struct http_response *response)
{
    ++*(_Atomic int *)app;
    response->type = "text/x";
    buf_put(&response->body, STR("hello\n"));
}

static void large(void *app, const struct http_request *request, struct http_response *response)
{
    for (int i = 0; i < 10000; i++)
        buf_putf(&response->body, "%0999d\n", i);
}

static void broken(void *app, const struct http_request *request, struct http_response *response)
{
    response->body.over = true;
}

static const struct http_route routes[] = {
    {"/inline", HTTP_INLINE, hello},  {"/short", HTTP_SHORT, hello},
    {"/heavy", HTTP_HEAVY, hello},    {"/large", HTTP_SHORT, large},
    {"/broken", HTTP_INLINE, broken},
};

struct fixture {
    _Atomic int runs;
    struct http_service service;
    struct counters counters;
    struct ctx ctx;
    struct clock_fixed clock;
    struct task_lane *lane;
    struct net *net;
    struct net_listener listener;
};

static void start(struct fixture *f)
{
    f->ctx = (struct ctx){NULL, &f->counters, &clock_system};
    f->lane = task_lane_new("lane", 2, 100);
    struct net_conf conf = {.loops = 1, .short_lane = f->lane, .heavy_lane = f->lane};
    f->net = net_new(&f->ctx, &conf);
    f->service = (struct http_service){routes, sizeof routes / sizeof *routes, &f->runs};
    f->listener = (struct net_listener){.proto = &http_proto, .app = &f->service};
    net_start(f->net);
}

static void stop(struct fixture *f)
{
    net_stop(f->net);
    net_free(&f->net);
    task_lane_free(&f->lane);
}

static int dial(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_rc(net_adopt(f->net, fds[1], &f->listener), RC_OK);
    return fds[0];
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until the text has come, and throws it away with what was before. */
static void hear(int fd, struct buf *in, const char *text)
{
    for (;;) {
        ptrdiff_t at = str_find(buf_str(in), str_of(text));
        if (at >= 0) {
            buf_consume(in, (size_t)at + strlen(text));
            return;
        }
        struct pollfd p = {fd, POLLIN, 0};
        char *to = buf_reserve(in, 65536);
        assert_non_null(to);
        assert_int_equal(poll(&p, 1, 20000), 1);
        ssize_t n = recv(fd, to, 65536, 0);
        assert_true(n > 0);
        buf_commit(in, (size_t)n);
    }
}

static void hear_end(int fd, struct buf *in)
{
    struct pollfd p = {fd, POLLIN, 0};
    char byte;
    assert_int_equal(buf_len(in), 0);
    assert_int_equal(poll(&p, 1, 20000), 1);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
    buf_fini(in);
}

static void requests_follow_each_other(void **state)
{
    struct fixture f = {0};
    struct buf in;
    buf_init(&in, 1 << 24);
    start(&f);
    int fd = dial(&f);
    say(fd, "GET /inline HTTP/1.1\r\nHost: a\r\n\r\nGET /short?x HTTP/1.1\r\nHost: a\r\n\r\n"
            "HEAD /heavy HTTP/1.1\r\nHost: a\r\n\r\nPOST /short HTTP/1.1\r\nHost: a\r\n"
            "Content-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nPUT /none HTTP/1.1\r\nHost: a\r\n"
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /none HTTP/1.1\r\nHost: "
            "a\r\n\r\n");
    hear(fd, &in, "HTTP/1.1 200 OK\r\nDate: ");
    hear(fd, &in, "Content-Type: text/x\r\n");
    hear(fd, &in, "Content-Length: 6\r\n");
    hear(fd, &in, "\r\n\r\nhello\nHTTP/1.1 200 OK\r\n");
    hear(fd, &in, "\r\n\r\nhello\nHTTP/1.1 200 OK\r\n");
    hear(fd, &in, "Content-Length: 6\r\n");
    hear(fd, &in, "\r\n\r\nHTTP/1.1 405 Method Not Allowed\r\n"); /* nothing behind HEAD's */
    hear(fd, &in, "Allow: GET, HEAD\r\n\r\n405\n");
    hear(fd, &in, "HTTP/1.1 404 Not Found\r\n");
    hear(fd, &in, "\r\n\r\n404\nHTTP/1.1 404 Not Found\r\n");
    hear(fd, &in, "\r\n\r\n404\n");
    assert_int_equal(f.runs, 3);
    say(fd, "GET /inline HTTP/1.0\r\n\r\nGET /inline HTTP/1.1\r\nHost: a\r\n\r\n");
    hear(fd, &in, "Connection: close\r\n\r\nhello\n");
    hear_end(fd, &in);
    stop(&f);
}

static void every_cut_is_the_same(void **state)
{
    static const char text[] = "GET /short HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct fixture f = {0};
    start(&f);
    for (size_t at = 1; at < sizeof text - 1; at += 7) {
        struct buf in;
        buf_init(&in, 1 << 20);
        int fd = dial(&f);
        assert_int_equal(send(fd, text, at, 0), (ssize_t)at);
        usleep(1000);
        say(fd, text + at);
        hear(fd, &in, "\r\n\r\nhello\n");
        hear_end(fd, &in);
    }
    stop(&f);
}

static void a_bad_request_ends_the_connection(void **state)
{
    static const struct {
        const char *text, *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\nGET /inline HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "},
        {"GET / HTTP/9.1\r\n\r\n", "HTTP/1.1 505 "},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 400 "},
        {"GET /broken HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 500 "},
        {"POST /short HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
         "HTTP/1.1 405 "},
    };
    struct fixture f = {0};
    start(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf in;
        buf_init(&in, 1 << 20);
        int fd = dial(&f);
        say(fd, cases[i].text);
        hear(fd, &in, cases[i].answer);
        hear(fd, &in, "Connection: close\r\n\r\n");
        hear(fd, &in, "\n");
        hear_end(fd, &in);
    }
    assert_int_equal(f.runs, 0);
    stop(&f);
}

static void a_long_answer_waits_for_its_reader(void **state)
{
    struct fixture f = {0};
    struct buf in;
    buf_init(&in, 1 << 24);
    start(&f);
    int fd = dial(&f);
    say(fd, "GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /inline HTTP/1.1\r\nHost: a\r\n\r\n");
    hear(fd, &in, "Content-Length: 10000000\r\n");
    hear(fd, &in, "\r\n\r\n");
    hear(fd, &in, "09999\nHTTP/1.1 200");
    hear(fd, &in, "hello\n");
    net_drain(f.net);
    hear_end(fd, &in);
    stop(&f);
}

static void an_endless_body_ends_the_connection(void **state)
{
    struct fixture f = {0};
    struct buf in;
    char block[4096];
    buf_init(&in, 1 << 20);
    start(&f);
    int fd = dial(&f);
    memset(block, 'x', sizeof block);
    say(fd, "GET /inline HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    hear(fd, &in, "hello\n");
    for (int i = 0; i < 10000; i++)
        if (send(fd, block, sizeof block, MSG_NOSIGNAL) < 0)
            break;
    hear_end(fd, &in);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_follow_each_other),
        cmocka_unit_test(every_cut_is_the_same),
        cmocka_unit_test(a_bad_request_ends_the_connection),
        cmocka_unit_test(a_long_answer_waits_for_its_reader),
        cmocka_unit_test(an_endless_body_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
