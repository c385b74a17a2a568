/* Reading and writing of a connection, plain or through TLS, compressed or not: what goes is
 * compressed first [RFC4978 3].
 *
 * What is read goes to the loop's scratch, behind the few bytes that were left unread before; only
 * what step() leaves unread is copied out of it (io_keep). A read that came back short has emptied
 * the socket, and edges tell when there is more: no second system call. */
#include "net/net_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void note_error(struct conn *c, int error)
{
    c->is_broken = true;
    if (!c->error)
        c->error = error;
}

/* RC_OK with *out_n > 0, RC_AGAIN, RC_EOF: the end, or the connection is broken. */
static enum rc receive_plain(struct conn *c, char *to, size_t n, size_t *out_n)
{
    ssize_t got;
    do
        got = recv(c->fd, to, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        *out_n = (size_t)got;
        if ((size_t)got < n)
            c->is_readable = c->is_closing; /* the announced end is yet to be read */
        return RC_OK;
    }
    c->is_readable = false;
    if (got < 0 && errno == EAGAIN)
        return RC_AGAIN;
    if (got < 0)
        note_error(c, errno);
    return RC_EOF;
}

static enum rc receive_tls(struct conn *c, char *to, size_t n, size_t *out_n)
{
    enum rc rc = RC_OK;
    size_t total = 0, got;
    /* What the handshake's last read said of the socket is out of date: bytes that came since then
     * had their edge while the worker was still busy. */
    tls_read_begin(c->tls);
    while (total < n) {
        rc = tls_read(c->tls, to + total, n - total, &got);
        if (rc != RC_OK)
            break;
        total += got;
        if (tls_is_drained(c->tls)) {
            c->is_readable = c->is_closing;
            break;
        }
    }
    *out_n = total;
    if (total && rc != RC_AGAIN)
        return RC_OK; /* an end will be met again */
    if (rc != RC_OK)
        c->is_readable = false;
    if (rc == RC_CORRUPT)
        note_error(c, tls_errno(c->tls));
    if (total)
        return RC_OK;
    return rc == RC_AGAIN ? RC_AGAIN : RC_EOF;
}

static enum rc receive_bytes(struct conn *c, char *to, size_t n, size_t *out_n)
{
    return c->tls ? receive_tls(c, to, n, out_n) : receive_plain(c, to, n, out_n);
}

/* --- compression ------------------------------------------------------------------------------ */

void layer_open(struct conn *c)
{
    struct loop *l = c->loop;
    struct layer *layer = mem_zero(sizeof *layer);
    if (!l->machines)
        l->machines = deflate_machines_new();
    layer->deflate = deflate_new(l->machines);
    layer->in = c->in; /* sent too early, or not: it is what follows the command [RFC4978 3] */
    layer->in.cap = c->in.cap + PACKED;
    if (c->layer) /* of the login before */
        buf_put(&layer->in, buf_str(&c->layer->in));
    layer_free(c);
    layer->out = c->out;
    layer->out.cap = 2 * c->out.cap;
    buf_init(&c->in, c->in.cap);
    buf_init(&c->out, layer->out.cap / 2);
    c->layer = layer;
    c->is_readable = true;
}

void layer_close(struct conn *c)
{
    struct layer *layer = c->layer;
    size_t cap = c->out.cap;
    deflate_pack(layer->deflate, buf_str(&c->out), true, &layer->out);
    buf_fini(&c->out);
    c->out = layer->out; /* goes as it is */
    c->out.cap = cap;
    layer->out = (struct buf){0};
    layer->is_ending = true;
    c->is_readable = true; /* no edge tells of what is here already */
}

void layer_free(struct conn *c)
{
    if (!c->layer)
        return;
    deflate_free(&c->layer->deflate);
    buf_fini(&c->layer->in);
    buf_fini(&c->layer->out);
    free(c->layer);
    c->layer = NULL;
}

/* What cannot be expanded ends the connection: nothing behind it has a meaning. */
static enum rc refuse_packed(struct conn *c, enum rc rc)
{
    conn_log(c, LOG_INFO, "connection-dropped",
             rc == RC_LIMIT ? "what came compressed grows without end"
                            : "what came is not compressed as was agreed");
    c->is_broken = true;
    return RC_EOF;
}

/* One piece, read before or now, as far as there is room. */
static enum rc expand_piece(struct conn *c, char *to, size_t n, size_t *out_n)
{
    struct layer *layer = c->layer;
    struct str piece = buf_str(&layer->in);
    size_t used, got;
    bool is_kept = piece.n || deflate_has_more(layer->deflate);
    if (!is_kept) {
        enum rc rc = receive_bytes(c, c->loop->packed, PACKED, &got);
        if (rc != RC_OK)
            return rc;
        piece = str_from(c->loop->packed, got);
    }
    enum rc rc = deflate_expand(layer->deflate, piece, &used, to, n, out_n);
    if (rc != RC_OK)
        return refuse_packed(c, rc);
    if (is_kept)
        buf_consume(&layer->in, used);
    else
        buf_put(&layer->in, str_skip(piece, used));
    buf_release(&layer->in);
    return RC_OK;
}

enum { PIECES = 4 }; /* in one turn, when nothing comes out of them */

/* RC_OK with nothing at all: the peer flushes without end; others come first, then more of it. */
static enum rc receive_packed(struct conn *c, char *to, size_t n, size_t *out_n)
{
    struct layer *layer = c->layer;
    enum rc rc = RC_OK;
    *out_n = 0;
    for (int i = 0; i < PIECES && rc == RC_OK && !*out_n; i++)
        rc = deflate_is_over(layer->deflate) ? RC_EOF : expand_piece(c, to, n, out_n);
    /* No edge tells of what is here already. */
    if (rc == RC_OK && (!*out_n || buf_len(&layer->in) || deflate_has_more(layer->deflate) ||
                        deflate_is_over(layer->deflate)))
        c->is_readable = true;
    return rc;
}

/* Behind the last flush what comes is plain: it need not have come together with the words. RC_OK
 * with nothing at all: it has not come yet, and others come first. */
static enum rc receive_last(struct conn *c, char *to, size_t n, size_t *out_n)
{
    struct layer *layer = c->layer;
    enum rc rc = RC_OK;
    *out_n = 0;
    for (int i = 0; i < PIECES && rc == RC_OK && !*out_n && !deflate_is_flushed(layer->deflate);
         i++)
        rc = expand_piece(c, to, n, out_n);
    if (rc == RC_OK && *out_n) /* it was to be the last */
        rc = refuse_packed(c, RC_SYNTAX);
    if (rc != RC_OK)
        return rc;
    c->is_readable = true;
    if (!deflate_is_flushed(layer->deflate))
        return RC_OK;
    struct str rest = str_head(buf_str(&layer->in), n);
    if (rest.n)
        memcpy(to, rest.p, rest.n);
    *out_n = rest.n;
    buf_consume(&layer->in, rest.n);
    if (!buf_len(&layer->in))
        layer_free(c);
    return *out_n ? RC_OK : receive_bytes(c, to, n, out_n);
}

/* What there is to send now: all the output of the session, compressed. */
static struct buf *packed_output(struct conn *c)
{
    struct layer *layer = c->layer;
    if (layer->is_ending)
        return &c->out;
    if (!buf_len(&layer->out) && buf_len(&c->out)) {
        deflate_pack(layer->deflate, buf_str(&c->out), false, &layer->out);
        buf_clear(&c->out);
        buf_release(&c->out);
        c->is_broken = c->is_broken || layer->out.over;
    }
    return &layer->out;
}

/* --- both ------------------------------------------------------------------------------------- */

static enum rc receive(struct conn *c, char *to, size_t n, size_t *out_n)
{
    if (!c->layer)
        return receive_bytes(c, to, n, out_n);
    return c->layer->is_ending ? receive_last(c, to, n, out_n) : receive_packed(c, to, n, out_n);
}

enum rc io_read(struct conn *c)
{
    size_t kept = buf_len(&c->in), room = c->conf->proto->input_max - kept, got;
    bool is_in_scratch = kept <= SCRATCH_HEAD;
    if (room == 0)
        return RC_AGAIN;
    if (room > SCRATCH)
        room = SCRATCH;
    char *to = is_in_scratch ? c->loop->scratch + SCRATCH_HEAD : buf_reserve(&c->in, room);
    enum rc rc = receive(c, to, room, &got);
    if (rc == RC_EOF)
        c->is_eof = true;
    if (rc != RC_OK)
        return rc;
    if (is_in_scratch) {
        memcpy(to - kept, buf_str(&c->in).p, kept);
        c->in_p = to - kept;
        c->in_n = kept + got;
    } else {
        buf_commit(&c->in, got);
        c->in_p = buf_str(&c->in).p;
        c->in_n = buf_len(&c->in);
    }
    c->is_in_scratch = is_in_scratch;
    return RC_OK;
}

/* A line that came in pieces may be a password: what its pieces leave behind is overwritten. The
 * whole line is the protocol's to wipe. */
static void clear_kept(struct buf *b)
{
    if (b->mem)
        explicit_bzero(b->mem, b->to);
    buf_clear(b);
}

void io_keep(struct conn *c)
{
    if (c->is_in_scratch) {
        clear_kept(&c->in);
        buf_put(&c->in, (struct str){c->in_p, c->in_n}); /* no more than input_max, its cap */
        if (c->in_n)
            explicit_bzero((void *)(uintptr_t)c->in_p, c->in_n);
    } else if (c->in_n == 0) {
        clear_kept(&c->in);
    } else {
        buf_consume(&c->in, buf_len(&c->in) - c->in_n);
    }
    buf_release(&c->in);
    c->is_in_scratch = false;
    c->in_p = NULL;
    c->in_n = 0;
}

static enum rc send_some(struct conn *c, struct str s, size_t *out_n)
{
    if (c->tls) {
        enum rc rc = tls_write(c->tls, s, out_n);
        if (rc == RC_CORRUPT)
            note_error(c, tls_errno(c->tls));
        return rc == RC_OK || rc == RC_AGAIN ? rc : RC_EOF;
    }
    /* The last answer goes in one packet with the end that follows at once. */
    int flags = c->phase == PHASE_CLOSE ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
    ssize_t done;
    do
        done = send(c->fd, s.p, s.n, flags);
    while (done < 0 && errno == EINTR);
    if (done < 0 && errno == EAGAIN)
        return RC_AGAIN;
    if (done < 0)
        note_error(c, errno);
    *out_n = done < 0 ? 0 : (size_t)done;
    return done < 0 ? RC_EOF : RC_OK;
}

enum rc io_flush(struct conn *c)
{
    bool has_progress = false;
    struct buf *out;
    while (buf_len(out = c->layer ? packed_output(c) : &c->out) > 0) {
        size_t n = 0;
        enum rc rc = c->is_broken    ? RC_EOF
                     : c->is_blocked ? RC_AGAIN
                                     : send_some(c, buf_str(out), &n);
        if (rc == RC_AGAIN) {
            c->is_blocked = true;
            if (has_progress || !c->stall_at)
                c->stall_at = loop_now(c->loop) + c->loop->net->conf.limits.stall_ms * NS_PER_MS;
        }
        if (rc == RC_EOF)
            c->is_broken = true;
        if (rc != RC_OK)
            return rc;
        buf_consume(out, n);
        has_progress = true;
    }
    c->stall_at = 0;
    buf_release(out);
    return RC_OK;
}

bool io_has_early_bytes(struct conn *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK) > 0;
}

bool io_discard(struct conn *c)
{
    for (int i = 0; i < 4; i++) {
        ssize_t got = recv(c->fd, c->loop->scratch, sizeof c->loop->scratch, 0);
        if (got > 0)
            continue;
        c->is_readable = false;
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
    return true;
}
