/* http: HTTP/1.1 on net's connections, the server's side [RFC9110] [RFC9112].
 *
 * A service is a table of routes; a listener has `proto` = &http_proto and `app` = a struct
 * http_service. For each request the route of its path is run once, on the lane that it names, and
 * fills a response, which is then sent. A connection serves one request after the other.
 *
 * The grammar is strict, because what two programs on the way of a request read differently is how
 * requests are smuggled: only CRLF ends a line, no folded lines, no space before a colon, one Host,
 * not both Content-Length and Transfer-Encoding, one of each at most [RFC9112 11.2]. What is not
 * exactly that is answered with 400 and the connection closes.
 *
 * A request's head stays in the input until the route has run, and its fields are views of it. A
 * body is taken apart piece by piece as it comes (struct http_body) and never gathered here; no
 * route wants one yet, so up to HTTP_BODY_MAX bytes are passed over. Routes that take bodies, or
 * make long ones, will be given the pieces by a step of their own, on the same reader.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "net/net.h"

enum {
    HTTP_LINE_MAX = 8190,        /* bytes of the request's first line, and of each field's */
    HTTP_HEAD_MAX = 16 << 10,    /* bytes of a head */
    HTTP_FIELDS = 64,            /* fields of a head */
    HTTP_BODY_MAX = 64 << 10,    /* bytes of a body that nobody wants */
    HTTP_RESPONSE_MAX = 16 << 20 /* bytes of a response's body */
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_OTHER };
enum http_framing { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED };

struct http_field {
    struct str name, value;
};

struct http_request {
    enum http_method method;
    struct str path;  /* as it came: absolute, with its escapes, without the query */
    struct str query; /* behind the question mark; absent without one */
    struct str host;  /* with its port; absent only in HTTP/1.0 */
    struct http_field field[HTTP_FIELDS];
    size_t n_fields;
    enum http_framing framing;
    uint64_t length;       /* with HTTP_LENGTH */
    bool is_last;          /* the client wants the connection closed, or speaks HTTP/1.0 */
    bool expects_continue; /* it sends the body only when it is told to */
};

/* The head at the beginning of the input, which the views point into. RC_AGAIN: not all is there.
 * RC_SYNTAX: *out_status is what to answer before closing: 400, 414, 417, 431, 501, 505. */
enum rc http_request_parse(struct str in, struct http_request *out, size_t *out_used,
                           int *out_status);
/* The first field of this name; absent when there is none. */
struct str http_request_field(const struct http_request *request, struct str name);

/* A body as it comes. */
struct http_body {
    enum http_framing framing;
    int state;
    uint64_t left;  /* bytes of the body or chunk */
    size_t trailer; /* bytes of the trailer section */
};
void http_body_init(struct http_body *body, const struct http_request *request);
/* Takes the next piece from the input: *out_used bytes, of which *out_data (perhaps none) are the
 * body's. RC_OK: call again with what follows; RC_AGAIN: more input is needed; RC_EOF: the body is
 * complete, nothing was used; RC_SYNTAX. */
enum rc http_body_next(struct http_body *body, struct str in, size_t *out_used,
                       struct str *out_data);

/* --- the server ------------------------------------------------------------------------------- */

struct http_response {
    int status;       /* 200 at the beginning */
    const char *type; /* of the body: text/plain at the beginning */
    struct buf body;  /* capped; the session's */
};

enum http_lane { HTTP_INLINE, HTTP_SHORT, HTTP_HEAVY };

struct http_route {
    const char *path;
    enum http_lane lane; /* where it runs: inline never waits for anything */
    void (*run)(void *app, const struct http_request *request, struct http_response *response);
};

struct http_service { /* stays as long as the listener is used */
    const struct http_route *routes;
    size_t n_routes;
    void *app; /* for run() */
};

extern const struct net_proto http_proto; /* net_listener.app is a struct http_service */

#endif
