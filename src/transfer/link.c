/* The end of the wire where the source is: a sink whose calls become frames on a socket.
 *
 * Invariant: while it waits to be able to write it takes what the other side has to tell, so the
 * two never wait for each other. */
#include "transfer/wire_int.h"

#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEND_AT = 256 << 10, BUFFER_MAX = 1 << 20, READ = 64 << 10 };

struct link {
    struct transfer_sink sink; /* first */
    int fd;
    struct seen seen;
    struct buf out, in;
    unsigned n_folders;
    bool is_ready, is_done;
    enum rc ready, done;
};

static struct link *of(struct transfer_sink *sink)
{
    return CONTAINER(sink, struct link, sink);
}

/* --- what the other side says ----------------------------------------------------------------- */

static enum rc take_origins(struct link *l, struct str fields)
{
    for (; fields.n >= TRANSFER_ORIGIN; fields = str_skip(fields, TRANSFER_ORIGIN))
        seen_add(&l->seen, fields.p);
    return fields.n ? RC_CORRUPT : RC_OK;
}

static enum rc take_tell(struct link *l, struct str fields)
{
    struct str label, why;
    bool is_refused;
    TRY(wire_take_tell(fields, &label, &is_refused, &why));
    sink_tell(&l->sink, label, is_refused, why);
    return RC_OK;
}

static enum rc take_counts(struct link *l, struct str fields)
{
    TRY(wire_take_counts(fields, &l->sink.counts));
    sink_moved(&l->sink);
    return RC_OK;
}

static enum rc take(struct link *l, char kind, struct str fields)
{
    switch (kind) {
    case 'O':
        return take_origins(l, fields);
    case 'R':
        l->is_ready = true;
        return wire_take_rc(fields, &l->ready);
    case 'T':
        return take_tell(l, fields);
    case 'C':
        return take_counts(l, fields);
    case 'A':
        l->is_done = true;
        TRY(wire_take_rc(fields, &l->done));
        return l->done;
    default:
        return RC_CORRUPT;
    }
}

static enum rc take_all(struct link *l)
{
    struct str fields;
    size_t used;
    char kind;
    enum rc rc = RC_OK;
    while (rc == RC_OK) {
        rc = wire_next(buf_str(&l->in), &kind, &fields, &used);
        if (rc == RC_OK) {
            rc = take(l, kind, fields);
            buf_consume(&l->in, used);
        }
    }
    return rc == RC_AGAIN ? RC_OK : rc;
}

static enum rc receive(struct link *l)
{
    char *at = buf_reserve(&l->in, READ);
    if (!at)
        return RC_CORRUPT;
    ssize_t n = read(l->fd, at, READ);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return RC_OK;
    if (n <= 0)
        return RC_TEMP; /* it has ended */
    buf_commit(&l->in, (size_t)n);
    return take_all(l);
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Until something can be written, when `events` say so, or has come. */
static enum rc wait_for(struct link *l, short events, short *out_events)
{
    struct pollfd p = {.fd = l->fd, .events = events};
    if (poll(&p, 1, -1) < 0)
        return errno == EINTR ? RC_OK : rc_from_errno(errno);
    *out_events = p.revents;
    if (p.revents & (POLLIN | POLLHUP | POLLERR))
        return receive(l);
    return RC_OK;
}

static enum rc send_all(struct link *l)
{
    if (l->out.over)
        return RC_LIMIT;
    while (buf_len(&l->out)) {
        short events = 0;
        TRY(wait_for(l, POLLIN | POLLOUT, &events));
        if (!(events & POLLOUT))
            continue;
        struct str s = buf_str(&l->out);
        ssize_t n = send(l->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return RC_TEMP;
        if (n > 0)
            buf_consume(&l->out, (size_t)n);
    }
    return RC_OK;
}

static enum rc send_much(struct link *l)
{
    return buf_len(&l->out) >= SEND_AT ? send_all(l) : RC_OK;
}

/* --- the sink --------------------------------------------------------------------------------- */

static enum rc folder(struct transfer_sink *sink, const struct transfer_folder *f, unsigned *out_n)
{
    struct link *l = of(sink);
    *out_n = l->n_folders++;
    wire_put_folder(&l->out, f);
    return send_much(l);
}

static bool has(const struct transfer_sink *sink, struct str origin)
{
    const struct link *l = (const struct link *)sink; /* its first member */
    return origin.n == TRANSFER_ORIGIN && seen_has(&l->seen, origin.p);
}

static enum rc begin(struct transfer_sink *sink, unsigned n, const struct transfer_message *m)
{
    struct link *l = of(sink);
    if (m->origin.n == TRANSFER_ORIGIN)
        seen_add(&l->seen, m->origin.p);
    wire_put_message(&l->out, n, m);
    return send_much(l);
}

static enum rc bytes(struct transfer_sink *sink, struct str piece)
{
    struct link *l = of(sink);
    while (piece.n) {
        wire_put_bytes(&l->out, str_head(piece, SEND_AT));
        piece = str_skip(piece, SEND_AT);
        TRY(send_much(l));
    }
    return RC_OK;
}

static enum rc end(struct transfer_sink *sink, struct str why)
{
    struct link *l = of(sink);
    wire_put_end(&l->out, str_is_null(why) || why.n ? why : STR("it could not be read"));
    return send_much(l);
}

static enum rc tell(struct transfer_sink *sink, struct str label, bool is_refused, struct str why)
{
    struct link *l = of(sink);
    wire_put_tell(&l->out, label, is_refused, why);
    return send_much(l);
}

static enum rc finish(struct transfer_sink *sink)
{
    struct link *l = of(sink);
    short events;
    wire_put_finish(&l->out);
    l->is_done = false;
    TRY(send_all(l));
    while (!l->is_done)
        TRY(wait_for(l, POLLIN, &events));
    return l->done;
}

static void free_link(struct transfer_sink *sink)
{
    struct link *l = of(sink);
    close(l->fd);
    seen_fini(&l->seen);
    buf_fini(&l->out);
    buf_fini(&l->in);
    free(l);
}

static const struct transfer_sink_calls calls = {.folder = folder,
                                                 .has = has,
                                                 .begin = begin,
                                                 .bytes = bytes,
                                                 .end = end,
                                                 .finish = finish,
                                                 .tell = tell,
                                                 .free = free_link};

enum rc transfer_link(int fd, struct transfer_watch *watch, struct transfer_sink **out)
{
    struct link *l = mem_zero(sizeof *l);
    short events;
    enum rc rc = RC_OK;
    l->sink = (struct transfer_sink){.calls = &calls, .watch = watch};
    l->fd = fd;
    buf_init(&l->out, BUFFER_MAX);
    buf_init(&l->in, BUFFER_MAX);
    while (rc == RC_OK && !l->is_ready)
        rc = wait_for(l, POLLIN, &events);
    rc = rc == RC_OK ? l->ready : rc;
    *out = rc == RC_OK ? &l->sink : NULL;
    if (rc != RC_OK)
        free_link(&l->sink);
    return rc;
}

/* --- the other way: what comes goes to a sink ---------------------------------------------------
 */

static enum rc give_all(struct buf *in, struct transfer_sink *sink)
{
    struct str fields;
    size_t used;
    char kind;
    enum rc rc;
    while ((rc = wire_next(buf_str(in), &kind, &fields, &used)) == RC_OK) {
        enum rc ready = RC_OK;
        rc = kind == 'R' ? wire_take_rc(fields, &ready) : wire_give(sink, kind, fields);
        if (rc != RC_OK || ready != RC_OK)
            return rc == RC_OK ? ready : rc;
        buf_consume(in, used);
    }
    return rc == RC_AGAIN ? RC_OK : rc;
}

enum rc transfer_receive(int fd, struct transfer_sink *sink)
{
    struct buf in = {.cap = BUFFER_MAX};
    enum rc rc = RC_OK;
    while (rc == RC_OK) {
        char *at = buf_reserve(&in, READ);
        ssize_t n = at ? read(fd, at, READ) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = RC_TEMP;
            break;
        }
        buf_commit(&in, (size_t)n);
        rc = give_all(&in, sink);
    }
    buf_fini(&in);
    return rc == RC_EOF ? RC_OK : rc;
}
