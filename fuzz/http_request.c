/* Fuzz target: what an HTTP client sends, heads and bodies, one after the other. The first byte
 * says how it is cut. Aborts when what is understood depends on the cut, when a field has a byte
 * that none may have, or when a piece lies outside the input. */
#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "http/http.h"

static void demand_inside(struct str part, struct str in)
{
    FUZZ_DEMAND(part.n == 0 || (part.p >= in.p && part.p + part.n <= in.p + in.n));
}

static void demand_request(const struct http_request *r, struct str in)
{
    FUZZ_DEMAND(r->n_fields <= HTTP_FIELDS && r->path.n > 0);
    FUZZ_DEMAND(str_find_byte(r->path, ' ') < 0 && str_find_byte(r->path, '?') < 0);
    demand_inside(r->query, in);
    demand_inside(r->host, in);
    for (size_t i = 0; i < r->n_fields; i++) {
        demand_inside(r->field[i].name, in);
        demand_inside(r->field[i].value, in);
        FUZZ_DEMAND(str_find_byte(r->field[i].value, '\n') < 0);
        FUZZ_DEMAND(str_find_byte(r->field[i].name, ' ') < 0);
    }
    bool has_length = !str_is_null(http_request_field(r, STR("Content-Length")));
    bool has_coding = !str_is_null(http_request_field(r, STR("Transfer-Encoding")));
    FUZZ_DEMAND(!(has_length && has_coding));
    FUZZ_DEMAND((r->framing == HTTP_CHUNKED) == has_coding);
}

/* Writes down all that is understood, until the end or the first error. */
struct reading {
    struct str in;
    size_t at, here, step;
    struct buf *out;
};

static bool more(struct reading *r)
{
    if (r->here == r->in.n)
        return false;
    r->here = r->in.n - r->here < r->step ? r->in.n : r->here + r->step;
    return true;
}

static bool read_head(struct reading *r, struct http_request *request)
{
    enum rc rc;
    size_t used;
    int status = 0;
    do {
        struct str unread = str_sub(r->in, r->at, r->here - r->at);
        rc = http_request_parse(unread, request, &used, &status);
        FUZZ_DEMAND(rc != RC_AGAIN || unread.n <= HTTP_HEAD_MAX + 2);
        FUZZ_DEMAND(rc != RC_OK || used <= unread.n);
    } while (rc == RC_AGAIN && more(r));
    if (rc == RC_OK) {
        demand_request(request, r->in);
        buf_putf(r->out, "%d %.*s\n", (int)request->framing, STR_ARG(request->path));
        r->at += used;
    } else if (rc == RC_SYNTAX) {
        FUZZ_DEMAND(status >= 400 && status < 600);
        buf_putf(r->out, "refused\n");
    }
    return rc == RC_OK;
}

static bool read_body(struct reading *r, const struct http_request *request)
{
    struct http_body body;
    struct str piece;
    size_t used;
    enum rc rc;
    http_body_init(&body, request);
    do {
        struct str unread = str_sub(r->in, r->at, r->here - r->at);
        rc = http_body_next(&body, unread, &used, &piece);
        FUZZ_DEMAND(used <= unread.n && (used > 0 || rc != RC_OK));
        demand_inside(piece, unread);
        buf_put(r->out, piece);
        r->at += used;
    } while (rc == RC_OK || (rc == RC_AGAIN && more(r)));
    buf_putf(r->out, "\n%s\n", rc == RC_EOF ? "whole" : rc == RC_AGAIN ? "cut" : "bad");
    return rc == RC_EOF;
}

static void read_cut(struct str in, size_t step, struct buf *out)
{
    struct http_request request;
    struct reading r = {.in = in, .step = step, .out = out};
    while (read_head(&r, &request) && read_body(&r, &request))
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str in = str_from(data + 1, size - 1);
    struct buf whole = {.cap = 16 << 20}, cut = {.cap = 16 << 20};
    read_cut(in, in.n, &whole);
    read_cut(in, data[0] % 64 + 1 + size / 64, &cut); /* a long head is not parsed for each byte */
    FUZZ_DEMAND(!whole.over && str_eq(buf_str(&whole), buf_str(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
    return 0;
}
