/* A request's body: so many bytes, or chunks [RFC9112 7.1]. Pure; resumable at every byte. */
#include "http/http_int.h"

enum { CHUNK_LINE_MAX = 256, TRAILER_MAX = 4096, SIZE_DIGITS = 15 };
enum state { DATA, CHUNK_SIZE, CHUNK_END, TRAILER, END };

void http_body_init(struct http_body *body, const struct http_request *request)
{
    *body = (struct http_body){.framing = request->framing, .left = request->length};
    body->state = request->framing == HTTP_LENGTH    ? DATA
                  : request->framing == HTTP_CHUNKED ? CHUNK_SIZE
                                                     : END;
}

/* The size, then perhaps extensions, which mean nothing here. */
static enum rc take_size(struct http_body *b, struct str line)
{
    size_t n = 0;
    b->left = 0;
    for (; n < line.n && ascii_hex(line.p[n]) >= 0; n++)
        b->left = b->left << 4 | (uint64_t)ascii_hex(line.p[n]);
    if (n == 0 || n > SIZE_DIGITS || (n < line.n && line.p[n] != ';'))
        return RC_SYNTAX;
    b->state = b->left ? DATA : TRAILER;
    return RC_OK;
}

static enum rc take_line(struct http_body *b, struct str line)
{
    switch ((enum state)b->state) {
    case CHUNK_SIZE:
        return take_size(b, line);
    case CHUNK_END:
        b->state = CHUNK_SIZE;
        return line.n == 0 ? RC_OK : RC_SYNTAX;
    case TRAILER:
        b->trailer += line.n + 2;
        b->state = line.n ? TRAILER : END;
        return b->trailer <= TRAILER_MAX ? RC_OK : RC_SYNTAX;
    case DATA:
    case END:
        break;
    }
    return RC_SYNTAX;
}

static enum rc take_data(struct http_body *b, struct str in, size_t *out_used, struct str *out_data)
{
    if (in.n == 0)
        return RC_AGAIN;
    *out_data = str_head(in, b->left < in.n ? (size_t)b->left : in.n);
    *out_used = out_data->n;
    b->left -= out_data->n;
    if (b->left == 0)
        b->state = b->framing == HTTP_CHUNKED ? CHUNK_END : END;
    return RC_OK;
}

enum rc http_body_next(struct http_body *b, struct str in, size_t *out_used, struct str *out_data)
{
    struct str line;
    *out_used = 0;
    *out_data = STR("");
    if (b->state == END)
        return RC_EOF;
    if (b->state == DATA)
        return take_data(b, in, out_used, out_data);
    enum rc rc = http_line_next(in, CHUNK_LINE_MAX, &line);
    if (rc != RC_OK)
        return rc == RC_AGAIN ? RC_AGAIN : RC_SYNTAX;
    *out_used = line.n + 2;
    return take_line(b, line);
}
