/* The end of the wire where the account is: frames go in, answers come out, whoever carries them
 * (a session of the control socket, or a process with a store at rest).
 *
 * Invariant: the answers hold at most the origins of an account and what is told of one piece of
 * input; whoever feeds takes them before the next piece. */
#include "transfer/wire_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum { ANSWERS_MAX = 1 << 30 };

struct transfer_feed {
    struct transfer_watch watch;
    struct transfer_sink *sink;
    struct buf out;
};

static void told(struct transfer_watch *watch, struct str label, bool is_refused, struct str why)
{
    wire_put_tell(&CONTAINER(watch, struct transfer_feed, watch)->out, label, is_refused, why);
}

static void moved(struct transfer_watch *watch, const struct transfer_counts *so_far)
{
    wire_put_counts(&CONTAINER(watch, struct transfer_feed, watch)->out, so_far);
}

static void put_origins(struct transfer_feed *f, const struct seen *seen)
{
    unsigned char page[WIRE_ORIGINS][TRANSFER_ORIGIN];
    size_t n = 0, at = 0;
    while (seen_next(seen, &at, page[n])) {
        if (++n < WIRE_ORIGINS)
            continue;
        wire_put_origins(&f->out, page, n);
        n = 0;
    }
    if (n)
        wire_put_origins(&f->out, page, n);
}

struct transfer_feed *transfer_feed_new(const struct transfer_into *into)
{
    struct transfer_feed *f = mem_zero(sizeof *f);
    struct transfer_into with = *into;
    f->watch = (struct transfer_watch){told, moved};
    with.watch = &f->watch;
    buf_init(&f->out, ANSWERS_MAX);
    enum rc rc = transfer_into_account(&with, &f->sink);
    if (rc == RC_OK)
        put_origins(f, account_sink_seen(f->sink));
    wire_put_ready(&f->out, rc);
    return f;
}

struct transfer_feed *transfer_feed_refuse(enum rc rc)
{
    struct transfer_feed *f = mem_zero(sizeof *f);
    buf_init(&f->out, ANSWERS_MAX);
    wire_put_ready(&f->out, rc);
    return f;
}

struct buf *transfer_feed_answers(struct transfer_feed *f)
{
    return &f->out;
}

static enum rc take(struct transfer_feed *f, char kind, struct str fields)
{
    enum rc rc = wire_give(f->sink, kind, fields);
    if (rc == RC_NOTFOUND)
        return RC_CORRUPT;
    if (rc == RC_OK)
        return RC_OK;
    struct transfer_counts c;
    transfer_counts(f->sink, &c);
    wire_put_counts(&f->out, &c);
    wire_put_done(&f->out, rc == RC_EOF ? RC_OK : rc);
    return rc == RC_EOF ? RC_OK : rc;
}

enum rc transfer_feed_take(struct transfer_feed *f, struct str in, size_t *out_used)
{
    struct str fields;
    size_t used;
    char kind;
    enum rc rc = f->sink ? RC_OK : RC_PERM;
    *out_used = 0;
    while (rc == RC_OK) {
        rc = wire_next(str_skip(in, *out_used), &kind, &fields, &used);
        if (rc == RC_AGAIN)
            return RC_OK;
        if (rc == RC_OK)
            rc = take(f, kind, fields);
        if (rc == RC_OK)
            *out_used += used;
    }
    return rc;
}

void transfer_feed_free(struct transfer_feed **feed)
{
    struct transfer_feed *f = *feed;
    if (!f)
        return;
    transfer_sink_free(&f->sink);
    buf_fini(&f->out);
    free(f);
    *feed = NULL;
}
