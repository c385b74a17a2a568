/* RETR and TOP [RFC1939 5, 7]: a message in pages, from the store straight into the output.
 *
 * Invariants: +OK goes out only with the first page, so that a message that cannot be read is -ERR;
 * when a later page cannot be read, the connection ends without the line that ends an answer, so
 * that no client takes a part for the whole. At most one page more than the output's mark is in
 * memory, whatever the message's size. On a loop only what is in memory is read; the rest on a
 * worker.
 */
#include "pop3/pop3_int.h"

void pop3_reading_close(struct pop3_reading *reading)
{
    if (reading->message)
        store_message_close(&reading->message);
    *reading = (struct pop3_reading){0};
}

/* Whether what has been sent ends with CRLF: a client may count nothing else as the end of a line
 * [RFC1939 3]. */
static void note_end(struct pop3_reading *r, struct str text)
{
    for (size_t i = text.n > 2 ? text.n - 2 : 0; i < text.n; i++) {
        r->is_crlf = text.p[i] == '\n' && r->is_cr;
        r->is_cr = text.p[i] == '\r';
    }
}

/* Reads a page to the end of the output and doubles its dots. RC_EOF: that was the last one. */
static enum rc put_page(struct conn *c, struct pop3_reading *r)
{
    size_t got, want = POP3_PAGE;
    if (r->size - r->at < want)
        want = (size_t)(r->size - r->at);
    if (!want)
        return RC_EOF;
    char *to = buf_reserve(net_out(c), want + want / 2 + 1); /* if every second byte is a dot */
    if (!to)
        return RC_LIMIT;
    TRY(store_message_read(r->message, r->at, to, want, pop3_flags(c), &got));
    if (!got)
        return RC_CORRUPT;
    r->at += got;
    if (r->is_top)
        got = pop3_top_take(&r->top, str_from(to, got));
    note_end(r, str_from(to, got));
    bool is_start = r->is_start;
    size_t dots = pop3_stuff_count(str_from(to, got), &r->is_start);
    if (dots)
        pop3_stuff(to, got, is_start, dots);
    buf_commit(net_out(c), got + dots);
    return r->at == r->size || r->top.is_done ? RC_EOF : RC_OK;
}

static enum net_step finish(struct conn *c, struct pop3_session *s)
{
    struct pop3_reading *r = &s->reading;
    if (!r->is_crlf) /* came in chunks, see docs/decisions/0021: the dot needs a line of its own */
        buf_put(net_out(c), STR("\r\n"));
    buf_put(net_out(c), STR(".\r\n"));
    if (!r->is_top) {
        s->drop.retrieved++;
        s->drop.bytes_retrieved += r->size;
        pop3_policy_collected(s);
        counter_add(s->pop3->ctx->counters, COUNTER_POP3_RETRIEVED, 1);
    }
    pop3_reading_close(r);
    s->go_on = NULL;
    return NET_READ;
}

static enum net_step send_pages(struct conn *c, struct pop3_session *s)
{
    while (!net_out_is_full(c)) {
        enum rc rc = put_page(c, &s->reading);
        s->has_progress = s->has_progress || rc == RC_OK;
        if (rc == RC_EOF)
            return finish(c, s);
        if (rc == RC_AGAIN && !net_can_block(c))
            return NET_SHORT;
        if (rc != RC_OK) {
            s->end = "unreadable";
            return NET_CLOSE;
        }
    }
    return NET_MORE;
}

/* The first page, with +OK before it when it could be read. */
static enum rc begin(struct conn *c, struct pop3_session *s)
{
    struct pop3_reading *r = &s->reading;
    if (!r->message)
        TRY(store_reader_message(s->drop.reader, r->index, pop3_flags(c), &r->message));
    r->size = store_message_size(r->message);
    r->is_start = r->is_crlf = true;
    if (r->is_top)
        pop3_ok(c, POP3_TOP_FOLLOWS, NULL);
    else
        pop3_ok(c, POP3_OCTETS, (const uint64_t[]){pop3_drop_size(&s->drop, r->index)});
    return put_page(c, r);
}

static enum net_step begin_on(struct conn *c, struct pop3_session *s)
{
    size_t before = buf_len(net_out(c));
    enum rc rc = begin(c, s);
    if (rc == RC_OK || rc == RC_EOF) {
        s->go_on = send_pages;
        return rc == RC_EOF ? finish(c, s) : send_pages(c, s);
    }
    buf_truncate(net_out(c), before);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    s->go_on = NULL;
    pop3_reading_close(&s->reading);
    return pop3_err_rc(c, rc);
}

static enum net_step start(struct conn *c, struct pop3_session *s, struct str number)
{
    size_t index;
    enum rc rc = pop3_drop_find(&s->drop, number, &index);
    if (rc != RC_OK)
        return pop3_err_rc(c, rc);
    s->reading.index = index;
    s->go_on = begin_on;
    return begin_on(c, s);
}

enum net_step pop3_retr(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    s->reading = (struct pop3_reading){0};
    return start(c, s, a->args[0]);
}

enum net_step pop3_top(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    uint64_t lines;
    enum rc rc = str_to_u64(a->args[1], &lines);
    if (rc == RC_LIMIT)
        lines = UINT64_MAX;
    else if (rc != RC_OK)
        return pop3_err(c, POP3_LINES_NOT_A_NUMBER);
    s->reading = (struct pop3_reading){.is_top = true, .top.lines = lines};
    return start(c, s, a->args[0]);
}
