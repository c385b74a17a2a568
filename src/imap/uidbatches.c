/* UIDBATCHES [RFC10022]: UIDs that part the mailbox into batches of so many messages, the newest
 * ones first.
 *
 * Ranges meet without a gap, and the last one ends with 1; so whatever was in the mailbox is in one
 * of them. Each costs a look at one message, whatever its size. The same question is answered again
 * only when there is another answer [RFC10022 3.1.1, 6]. */
#include "imap/arguments_int.h"

enum { SIZE_MIN = 500, SPAN_MAX = 100000 }; /* [RFC10022 3.1.3.2, 3.1.5] */

struct batching {
    uint32_t size, at, to; /* batches, from 1 on */
    bool has_one;          /* is told */
};

static uint32_t last_uid(const struct store_root *root)
{
    size_t n = store_root_count(root);
    return n ? store_root_at(root, n - 1)->uid : 0;
}

/* The lowest UID of a batch that is there. */
static uint32_t lowest(const struct store_root *root, uint32_t size, uint32_t batch)
{
    uint64_t behind = (uint64_t)size * batch, count = store_root_count(root);
    return behind < count ? store_root_at(root, (size_t)(count - behind))->uid : 1;
}

static enum net_step put_batches(struct conn *c, struct imap_session *s)
{
    struct batching *k = s->job;
    const struct store_root *root = s->view.root;
    uint64_t n = ((uint64_t)store_root_count(root) + k->size - 1) / k->size;
    for (; k->at <= k->to && k->at <= n; k->at++) {
        struct buf *out = net_out(c);
        if (net_out_is_full(c))
            return NET_MORE;
        buf_put(out, k->has_one ? STR(",") : STR(" "));
        k->has_one = true;
        imap_put_u64(out, k->at == 1 ? last_uid(root) : lowest(root, k->size, k->at - 1) - 1);
        buf_put(out, STR(":"));
        imap_put_u64(out, lowest(root, k->size, k->at));
    }
    buf_put(net_out(c), STR("\r\n"));
    return imap_finish(c, s, IMAP_DONE);
}

/* Whether as much as half a batch has come or gone since the same was asked. */
static bool has_changed(const struct imap_view *v, const struct imap_batches *asked)
{
    const struct imap_batches *b = &v->batches;
    size_t count = store_root_count(v->root);
    if (b->size != asked->size || b->from != asked->from || b->to != asked->to)
        return true;
    size_t come = count - store_root_find(v->root, b->uidnext), gone = b->count + come - count;
    return 2 * come > b->size || 2 * gone > b->size;
}

bool imap_take_batches(struct imap_parse *p, struct imap_batches *out)
{
    *out = (struct imap_batches){.from = 1, .to = UINT32_MAX};
    if (!imap_take_nz_number(p, &out->size))
        return false;
    if (imap_take_byte(p, ' ') && (!imap_take_nz_number(p, &out->from) || !imap_take_byte(p, ':') ||
                                   !imap_take_nz_number(p, &out->to)))
        return imap_fail(p, "batches such as 1:10");
    return imap_take_end(p);
}

static enum imap_text check(const struct imap_view *v, const struct imap_batches *asked)
{
    bool is_all = asked->to == UINT32_MAX;
    if (asked->from > asked->to)
        return IMAP_WRONG_ORDER; /* [RFC10022 3.1.5] */
    if (asked->size < SIZE_MIN)
        return IMAP_TOO_FEW;
    if (!is_all && ((uint64_t)asked->to - asked->from + 1) * asked->size > SPAN_MAX &&
        asked->to > asked->from)
        return IMAP_TOO_MANY;
    return has_changed(v, asked) ? IMAP_DONE : IMAP_TOO_OFTEN;
}

enum net_step imap_uidbatches(struct conn *c, struct imap_session *s, struct imap_parse *p)
{
    struct batching *k = arena_zero(&s->arena, sizeof *k);
    struct imap_batches asked;
    if (!k || !imap_take_batches(p, &asked))
        return imap_finish_syntax(c, s, p);
    enum imap_text text = check(&s->view, &asked);
    if (text != IMAP_DONE)
        return imap_finish(c, s, text);
    asked.uidnext = store_root_mailbox(s->view.root)->uidnext;
    asked.count = (uint32_t)store_root_count(s->view.root);
    s->view.batches = asked;
    *k = (struct batching){.size = asked.size, .at = asked.from, .to = asked.to};
    buf_put(net_out(c), STR("* UIDBATCHES (TAG \"")); /* [RFC10022 3.1.2] */
    buf_put(net_out(c), str_from(s->tag, s->tag_n));
    buf_put(net_out(c), STR("\")"));
    s->job = k;
    s->go_on = put_batches;
    return put_batches(c, s);
}
