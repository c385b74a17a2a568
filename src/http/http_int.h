/* http, inside: what the readers of heads and bodies share. */
#ifndef HTTP_HTTP_INT_H
#define HTTP_HTTP_INT_H

#include "http/http.h"

/* The line at the beginning, without its CRLF. RC_AGAIN: its end has not come; RC_LIMIT: it is
 * longer than max; RC_SYNTAX: a CR or LF by itself, or a NUL. */
enum rc http_line_next(struct str in, size_t max, struct str *out_line);

/* --- response.c ------------------------------------------------------------------------------- */

struct http_head {
    int status;
    const char *type; /* NULL: no body */
    uint64_t length;
    bool is_last;
};
void http_head_put(struct buf *out, const struct http_head *head, uint64_t wall);

#endif
