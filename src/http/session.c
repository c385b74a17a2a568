/* A connection's requests, one after the other: head, answer, what is left of the body.
 *
 * 1. The head stays in the input until its route has run, also when that is on a worker.
 * 2. A request after the first is looked at only when the one before has been answered whole and
 *    its body has been passed over, so that nothing of a body is ever taken for a request.
 * 3. What is not understood is answered once, and the connection closes.
 */
#include "http/http_int.h"

#include "base/mem.h"

#include <string.h>

enum {
    INPUT = 32 << 10, /* more than a head may have */
    OUTPUT_HIGH = 64 << 10,
    PAGE = 32 << 10,
    HEAD_MS = 10000, /* for a head, from its first byte or the connection's begin */
    BODY_MS = 10000, /* for a body that nobody wants */
    IDLE_MS = 60000, /* between requests */
    REQUESTS_MAX = 1000,
    LOOK_BYTES = 4096
};

struct session {
    struct buf answer; /* what is still to be sent */
    struct http_body body;
    uint64_t passed; /* bytes of the body */
    unsigned requests;
    size_t looked; /* bytes of the head under way that hold no new line's end */
    bool has_answer, has_begun, is_last;
};

static void answer(struct conn *c, struct session *s, const struct http_response *r, bool is_head)
{
    struct http_head head = {
        .status = r->status, .type = r->type, .length = buf_len(&r->body), .is_last = s->is_last};
    buf_init(&s->answer, HTTP_RESPONSE_MAX + HTTP_HEAD_MAX);
    http_head_put(&s->answer, &head, clock_wall(net_ctx(c)->clock));
    if (!is_head) /* [RFC9110 9.3.2] */
        buf_put(&s->answer, buf_str(&r->body));
    s->has_answer = true;
    s->requests++;
    counter_add(net_ctx(c)->counters, COUNTER_HTTP_REQUESTS, 1);
}

static void answer_status(struct conn *c, struct session *s, int status, bool is_head)
{
    struct http_response r = {.status = status, .type = "text/plain"};
    buf_init(&r.body, 64);
    buf_putf(&r.body, "%d\n", status);
    answer(c, s, &r, is_head);
    buf_fini(&r.body);
}

static enum net_step refuse(struct conn *c, struct session *s, int status)
{
    s->is_last = true;
    answer_status(c, s, status, false);
    s->body.framing = HTTP_NO_BODY;
    return NET_MORE;
}

static const struct http_route *route_of(const struct http_service *service, struct str path)
{
    for (size_t i = 0; i < service->n_routes; i++)
        if (str_eq(path, str_of(service->routes[i].path)))
            return &service->routes[i];
    return NULL;
}

static void run_route(struct conn *c, struct session *s, const struct http_route *route,
                      const struct http_request *request)
{
    const struct http_service *service = net_app(c);
    struct http_response r = {.status = 200, .type = "text/plain; charset=utf-8"};
    buf_init(&r.body, HTTP_RESPONSE_MAX);
    route->run(service->app, request, &r);
    if (r.body.over)
        answer_status(c, s, 500, request->method == HTTP_HEAD);
    else
        answer(c, s, &r, request->method == HTTP_HEAD);
    buf_fini(&r.body);
}

static enum net_step serve(struct conn *c, struct session *s, const struct http_request *request,
                           size_t used)
{
    const struct http_route *route = route_of(net_app(c), request->path);
    bool is_known = request->method != HTTP_OTHER;
    if (route && is_known && route->lane != HTTP_INLINE && !net_can_block(c))
        return route->lane == HTTP_SHORT ? NET_SHORT : NET_HEAVY;
    /* A client that waits to be told to send its body is not told: it may send it or not, and what
     * comes then cannot be known. */
    s->is_last |= request->is_last || request->expects_continue || s->requests >= REQUESTS_MAX;
    if (!route || !is_known)
        answer_status(c, s, route ? 405 : 404, request->method == HTTP_HEAD);
    else
        run_route(c, s, route, request);
    http_body_init(&s->body, request);
    s->passed = 0;
    net_consume(c, used);
    return NET_MORE;
}

/* A head is parsed anew when a line of it has ended, or much has come: not for each byte. */
static bool is_worth_a_look(struct conn *c, struct session *s)
{
    struct str in = net_in(c), fresh = str_skip(in, s->looked);
    if (str_find_byte(fresh, '\n') < 0 && fresh.n < LOOK_BYTES && !net_is_eof(c))
        return false;
    s->looked = in.n;
    return true;
}

static enum net_step read_head(struct conn *c, struct session *s)
{
    struct http_request request;
    size_t used;
    int status;
    if (net_in(c).n && !s->has_begun) {
        s->has_begun = true;
        net_deadline(c, HEAD_MS);
    }
    if (!net_can_block(c) && !is_worth_a_look(c, s))
        return NET_READ;
    enum rc rc = http_request_parse(net_in(c), &request, &used, &status);
    if (rc == RC_OK)
        return serve(c, s, &request, used);
    if (rc == RC_SYNTAX)
        return refuse(c, s, status);
    return net_is_eof(c) ? NET_CLOSE : NET_READ;
}

/* NET_MORE: passed over, or none there. */
static enum net_step pass_body(struct conn *c, struct session *s)
{
    struct str piece;
    size_t used;
    enum rc rc;
    while ((rc = http_body_next(&s->body, net_in(c), &used, &piece)) == RC_OK) {
        net_consume(c, used);
        s->passed += used;
        if (s->passed > HTTP_BODY_MAX)
            return NET_CLOSE;
    }
    if (rc == RC_AGAIN)
        return net_is_eof(c) ? NET_CLOSE : NET_READ;
    return rc == RC_EOF ? NET_MORE : NET_CLOSE;
}

/* NET_READ: all is in the output; otherwise what to return. */
static enum net_step send_answer(struct conn *c, struct session *s)
{
    while (buf_len(&s->answer)) {
        if (net_out_is_full(c))
            return NET_MORE;
        struct str page = str_head(buf_str(&s->answer), PAGE);
        if (buf_add(net_out(c), page) != RC_OK)
            return NET_MORE;
        buf_consume(&s->answer, page.n);
    }
    buf_fini(&s->answer);
    if (s->is_last)
        return NET_CLOSE;
    s->has_answer = false;
    s->has_begun = false;
    s->looked = 0;
    net_deadline(c, s->body.framing == HTTP_NO_BODY ? IDLE_MS : BODY_MS);
    return NET_READ;
}

static enum net_step run(struct conn *c, struct session *s)
{
    for (;;) {
        if (s->has_answer) {
            enum net_step next = send_answer(c, s);
            if (next != NET_READ)
                return next;
        }
        if (s->body.framing != HTTP_NO_BODY) {
            enum net_step next = pass_body(c, s);
            if (next != NET_MORE)
                return next;
            s->body.framing = HTTP_NO_BODY;
            net_deadline(c, IDLE_MS);
        }
        enum net_step next = read_head(c, s);
        if (next != NET_MORE)
            return next;
    }
}

static enum net_step step(struct conn *c, unsigned events)
{
    struct session *s = net_session(c);
    if (events & NET_EV_OPEN)
        net_deadline(c, HEAD_MS);
    if (events & NET_EV_KICK)
        return NET_ABORT;
    if (events & NET_EV_DRAIN)
        s->is_last = true;
    bool is_idle = !s->has_answer && net_in(c).n == 0 && s->body.framing == HTTP_NO_BODY;
    if (is_idle && events & (NET_EV_DRAIN | NET_EV_TIMEOUT))
        return NET_CLOSE;
    if (events & NET_EV_TIMEOUT && s->has_answer)
        return NET_ABORT;
    if (events & NET_EV_TIMEOUT && s->body.framing == HTTP_NO_BODY)
        refuse(c, s, 408);
    else if (events & NET_EV_TIMEOUT)
        return NET_CLOSE;
    return run(c, s);
}

static void closed(struct conn *c)
{
    struct session *s = net_session(c);
    buf_fini(&s->answer);
}

const struct net_proto http_proto = {
    .name = "http",
    .session_size = sizeof(struct session),
    .input_max = INPUT,
    .output_high = OUTPUT_HIGH,
    .busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    .step = step,
    .close = closed,
};
