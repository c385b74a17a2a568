/* The bytes of a message on their way to another host: the fields that are put in front, then the
 * stored message without the Return-Path that it was stored with [RFC5321 4.4], framed for DATA or
 * BDAT.
 *
 * Bytes go from the store to the output a piece at a time, as far as the output takes them; what is
 * not in memory is read by a worker. A message whose bytes cannot be read any more, or hold what
 * could be taken for its end, is never ended: the connection is. */
#include "relay/session_int.h"

#include <string.h>

enum { PIECE = 16 << 10, HEAD = 1100 };

static unsigned flags_of(struct conn *c)
{
    return net_can_block(c) ? 0 : KV_CACHED;
}

/* Length of a Return-Path field at the beginning, or 0. */
static uint64_t return_path_at(struct str head)
{
    if (!str_istarts(head, STR("Return-Path:")))
        return 0;
    for (size_t i = 0; i + 1 < head.n; i++)
        if (head.p[i] == '\n' && head.p[i + 1] != ' ' && head.p[i + 1] != '\t')
            return i + 1;
    return 0;
}

enum rc session_body_open(struct conn *c, struct relay_session *s)
{
    struct session_body *b = &s->body;
    char head[HEAD];
    size_t got = 0;
    enum rc rc = kv_blob_open(s->house->kv, s->job->item->blob, flags_of(c), &b->blob);
    if (rc != RC_OK)
        return rc;
    rc = kv_blob_read(b->blob, 0, head, sizeof head, flags_of(c), &got);
    if (rc != RC_OK) {
        kv_blob_close(&b->blob);
        return rc;
    }
    b->size = kv_blob_meta(b->blob).size;
    b->skip = return_path_at(str_from(head, got));
    b->at = b->skip;
    return RC_OK;
}

uint64_t session_body_size(const struct relay_session *s)
{
    return s->job->prefix.n + s->body.size - s->body.skip;
}

void session_body_close(struct relay_session *s)
{
    if (s->body.blob)
        kv_blob_close(&s->body.blob);
    s->body = (struct session_body){0};
}

/* --- a look before it is sent */

/* Where the header ends in all that was seen, counted on; `line` is the length of the line at hand.
 */
static void look_at(struct session_body *b, struct str piece, bool *is_header, size_t *line)
{
    for (size_t i = 0; i < piece.n; i++) {
        if ((unsigned char)piece.p[i] >= 0x80) {
            b->has_8bit = true;
            b->has_8bit_header = b->has_8bit_header || *is_header;
        }
        if (piece.p[i] == '\n') {
            *is_header = *is_header && *line > 0;
            *line = 0;
        } else if (piece.p[i] != '\r') {
            ++*line;
        }
    }
}

enum rc session_body_look(struct conn *c, struct relay_session *s)
{
    struct session_body *b = &s->body;
    char piece[PIECE];
    bool is_header = true;
    size_t line = 0, got = PIECE;
    if (!net_can_block(c))
        return RC_AGAIN;
    for (uint64_t at = b->skip; got == PIECE; at += got) {
        TRY(kv_blob_read(b->blob, at, piece, sizeof piece, KV_ONCE, &got));
        look_at(b, str_from(piece, got), &is_header, &line);
    }
    b->was_looked_at = true;
    return RC_OK;
}

/* --- sending */

void session_body_begin(struct conn *c, struct relay_session *s)
{
    struct session_body *b = &s->body;
    if (b->is_chunk && smtp_bdat_put(net_out(c), session_body_size(s), true) != RC_OK)
        net_out(c)->over = true;
    b->is_streaming = true;
    buf_put(net_out(c), s->job->prefix); /* a few fields, which begin with no dot */
}

static void put_stuffed(struct buf *out, struct smtp_stuff *stuff, struct str piece)
{
    struct str part;
    while (smtp_stuff_next(stuff, &piece, &part) == RC_OK)
        buf_put(out, part);
}

/* RC_CORRUPT: it holds what must not be sent so. */
static enum rc put_end(struct conn *c, struct session_body *b)
{
    if (!b->is_chunk)
        buf_put(net_out(c), smtp_stuff_end(&b->stuff));
    if (b->stuff.faults)
        return RC_CORRUPT;
    b->is_streaming = false;
    b->is_end_sent = true;
    return RC_OK;
}

static enum rc put_piece(struct conn *c, struct session_body *b)
{
    char piece[PIECE];
    size_t got = 0;
    TRY(kv_blob_read(b->blob, b->at, piece, sizeof piece, flags_of(c), &got));
    if (got == 0)
        return RC_CORRUPT; /* shorter than it says */
    if (b->is_chunk)
        buf_put(net_out(c), str_from(piece, got));
    else
        put_stuffed(net_out(c), &b->stuff, str_from(piece, got));
    b->at += got;
    return b->stuff.faults ? RC_CORRUPT : RC_OK;
}

enum rc session_body_more(struct conn *c, struct relay_session *s)
{
    struct session_body *b = &s->body;
    while (b->at < b->size) {
        if (net_out_is_full(c))
            return RC_LIMIT;
        TRY(put_piece(c, b));
    }
    return put_end(c, b);
}
