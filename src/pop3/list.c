/* STAT, LIST and UIDL [RFC1939 5, 7]. A list goes out in portions: a step ends when the output is
 * over its mark, and the next one goes on from the cursor. Sizes are those of the message as RETR
 * sends it, without the dots that it doubles. */
#include "pop3/pop3_int.h"

typedef void (*row_fn)(struct buf *out, const struct pop3_drop *drop, size_t index);

enum net_step pop3_stat(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    const struct pop3_drop *d = &s->drop;
    return pop3_ok(c, POP3_NUMBERS,
                   (const uint64_t[]){d->n - d->n_deleted, d->bytes - d->bytes_deleted});
}

static void put_size(struct buf *out, const struct pop3_drop *drop, size_t index)
{
    pop3_put_line(out, STR(""), STR("# #"),
                  (const uint64_t[]){index + 1, pop3_drop_size(drop, index)});
}

static void put_uid(struct buf *out, const struct pop3_drop *drop, size_t index)
{
    enum { DIGITS = 16 };
    uint64_t id = (uint64_t)store_root_mailbox(drop->root)->uidvalidity << 32 |
                  store_root_at(drop->root, index)->uid;
    char text[DIGITS];
    for (size_t i = DIGITS; i--; id >>= 4)
        text[i] = "0123456789abcdef"[id & 15];
    char number[24], *end = pop3_put_u64(number, index + 1);
    *end++ = ' ';
    pop3_put_line(out, str_from(number, (size_t)(end - number)), str_from(text, DIGITS), NULL);
}

static enum net_step put_all(struct conn *c, struct pop3_session *s, row_fn put)
{
    struct buf *out = net_out(c);
    for (; s->cursor < s->drop.n; s->cursor++) {
        if (net_out_is_full(c))
            return NET_MORE;
        if (!pop3_drop_is_deleted(&s->drop, s->cursor))
            put(out, &s->drop, s->cursor);
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

static enum net_step put_one(struct conn *c, struct pop3_session *s, struct str number, row_fn put)
{
    size_t index;
    enum rc rc = pop3_drop_find(&s->drop, number, &index);
    if (rc != RC_OK)
        return pop3_err_rc(c, rc);
    buf_put(net_out(c), STR("+OK "));
    put(net_out(c), &s->drop, index);
    return NET_READ;
}

enum net_step pop3_list(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (a->n)
        return put_one(c, s, a->args[0], put_size);
    const struct pop3_drop *d = &s->drop;
    pop3_ok(c, POP3_SUMMARY, (const uint64_t[]){d->n - d->n_deleted, d->bytes - d->bytes_deleted});
    s->cursor = 0;
    s->go_on = list_on;
    return list_on(c, s);
}

enum net_step pop3_uidl(struct conn *c, struct pop3_session *s, const struct pop3_args *a)
{
    if (a->n)
        return put_one(c, s, a->args[0], put_uid);
    pop3_ok(c, POP3_COUNT, (const uint64_t[]){s->drop.n - s->drop.n_deleted});
    s->cursor = 0;
    s->go_on = uidl_on;
    return uidl_on(c, s);
}
