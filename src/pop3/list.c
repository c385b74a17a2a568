/* STAT, LIST and UIDL [RFC1939 5, 7]. A list goes out in portions: a step ends when the output is
 * over its mark, and the next one goes on from the cursor. Sizes are those of the message as RETR
 * sends it, without the dots that it doubles. */
#include "pop3/pop3_int.h"

#include <string.h>

/* RC_AGAIN: from a worker, then; what was put already is left. */
typedef enum rc (*row_fn)(struct conn *c, struct pop3_drop *drop, size_t index);

enum net_step pop3_stat(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    const struct pop3_drop *d = &s->drop;
    return pop3_ok(c, POP3_NUMBERS,
                   (const uint64_t[]){d->n - d->n_deleted, d->bytes - d->bytes_deleted});
}

static enum rc put_size(struct conn *c, struct pop3_drop *drop, size_t index)
{
    pop3_put_line(net_out(c), STR(""), STR("# #"),
                  (const uint64_t[]){index + 1, pop3_drop_size(drop, index)});
    return RC_OK;
}

/* What came with the message; else its own, see docs/decisions/0011. */
static enum rc put_uid(struct conn *c, struct pop3_drop *drop, size_t index)
{
    enum { DIGITS = 16 };
    const struct store_row *row = store_root_at(drop->root, index);
    uint64_t id = (uint64_t)store_root_mailbox(drop->root)->uidvalidity << 32 | row->uid;
    char text[DIGITS];
    struct str uidl = str_from(text, DIGITS);
    for (size_t i = DIGITS; i--; id >>= 4)
        text[i] = "0123456789abcdef"[id & 15];
    if (row->flags & STORE_HAS_UIDL)
        TRY(pop3_drop_uidl(drop, row->uid, pop3_flags(c), &uidl));
    char line[24 + STORE_UIDL_MAX], *end = pop3_put_u64(line, index + 1);
    *end++ = ' ';
    memcpy(end, uidl.p, uidl.n);
    end += uidl.n;
    pop3_put_line(net_out(c), str_from(line, (size_t)(end - line)), STR(""), NULL);
    return RC_OK;
}

static enum net_step put_all(struct conn *c, struct pop3_session *s, row_fn put)
{
    struct buf *out = net_out(c);
    for (; s->cursor < s->drop.n; s->cursor++) {
        if (net_out_is_full(c))
            return NET_MORE;
        if (pop3_drop_is_deleted(&s->drop, s->cursor))
            continue;
        enum rc rc = put(c, &s->drop, s->cursor);
        if (rc == RC_AGAIN && !net_can_block(c))
            return NET_SHORT;
        if (rc != RC_OK) {
            s->end = "unreadable";
            return NET_CLOSE;
        }
    }
    buf_put(out, STR(".\r\n"));
    s->go_on = NULL;
    return NET_READ;
}

static enum net_step list_on(struct conn *c, struct pop3_session *s)
{
    return put_all(c, s, put_size);
}

static enum net_step uidl_on(struct conn *c, struct pop3_session *s)
{
    return put_all(c, s, put_uid);
}

/* The one at the cursor. */
static enum net_step put_one(struct conn *c, struct pop3_session *s, row_fn put)
{
    size_t before = buf_len(net_out(c));
    buf_put(net_out(c), STR("+OK "));
    enum rc rc = put(c, &s->drop, s->cursor);
    if (rc != RC_OK)
        buf_truncate(net_out(c), before);
    if (rc == RC_AGAIN && !net_can_block(c))
        return NET_SHORT;
    s->go_on = NULL;
    return rc == RC_OK ? NET_READ : pop3_err_rc(c, rc);
}

static enum net_step list_one_on(struct conn *c, struct pop3_session *s)
{
    return put_one(c, s, put_size);
}

static enum net_step uidl_one_on(struct conn *c, struct pop3_session *s)
{
    return put_one(c, s, put_uid);
}

static enum net_step start_one(struct conn *c, struct pop3_session *s, struct str number,
                               enum net_step (*go_on)(struct conn *c, struct pop3_session *s))
{
    enum rc rc = pop3_drop_find(&s->drop, number, &s->cursor);
    if (rc != RC_OK)
        return pop3_err_rc(c, rc);
    s->go_on = go_on;
    return go_on(c, s);
}

enum net_step pop3_list(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (a->n)
        return start_one(c, s, a->args[0], list_one_on);
    const struct pop3_drop *d = &s->drop;
    pop3_ok(c, POP3_SUMMARY, (const uint64_t[]){d->n - d->n_deleted, d->bytes - d->bytes_deleted});
    s->cursor = 0;
    s->go_on = list_on;
    return list_on(c, s);
}

enum net_step pop3_uidl(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (a->n)
        return start_one(c, s, a->args[0], uidl_one_on);
    pop3_ok(c, POP3_COUNT, (const uint64_t[]){s->drop.n - s->drop.n_deleted});
    s->cursor = 0;
    s->go_on = uidl_on;
    return uidl_on(c, s);
}
