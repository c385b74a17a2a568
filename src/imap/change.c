/* Changing many messages: in parts of at most STORE_BATCH, one after the other, each durable before
 * the next one begins.
 *
 * Invariants: messages are named by their UIDs, taken from a root that does not change, so whatever
 * others do meanwhile no other message is ever meant; what is gone is passed over by the store. A
 * part that failed only because a change of somebody else before it did is tried again, one that
 * was too much for the store in halves, where the command says so. When a part fails for good,
 * those before it stay. */
#include "imap/imap_int.h"

#include <string.h>

/* Looks for the UIDs of the next part. RC_AGAIN: too many rows to look at here. */
static enum rc look(struct conn *c, struct imap_change *k)
{
    size_t looked = 0;
    for (; k->span < k->spans.n; k->span++, k->at = 0) {
        const struct imap_span *span = &k->spans.at[k->span];
        for (; span->from + k->at < span->to; k->at++) {
            if (k->n_room == STORE_BATCH)
                return RC_OK;
            if (looked++ == IMAP_LOOK_MAX && !net_can_block(c))
                return RC_AGAIN;
            const struct store_row *row = store_root_at(k->root, span->from + k->at);
            if ((row->flags & k->with_flags) == k->with_flags)
                k->room[k->n_room++] = row->uid;
        }
    }
    return RC_OK;
}

/* The part at hand is what `room` still has, but no more than the store takes at once. */
static enum rc fill(struct conn *c, struct imap_change *k)
{
    if (!k->is_filled)
        TRY(look(c, k));
    k->is_filled = true;
    k->uids = k->room + k->n_done;
    k->n_uids = k->n_room - k->n_done < k->most ? k->n_room - k->n_done : k->most;
    return RC_OK;
}

static void part_is_over(struct imap_change *k)
{
    k->n_done += k->n_uids;
    if (k->n_done < k->n_room)
        return;
    k->n_done = k->n_room = 0;
    k->is_filled = false;
}

static enum net_step next_part(struct conn *c, struct imap_session *s);

static enum net_step over(struct conn *c, struct imap_session *s, enum rc rc)
{
    struct imap_change *k = s->job;
    k->rc = rc;
    if (rc != RC_OK) /* who knows how far it came */
        s->limited = (struct imap_limited){0};
    s->go_on = k->then;
    return k->then(c, s);
}

static uint64_t now(void)
{
    return clock_mono(&clock_system);
}

/* Of messages that are asked for: without those that are looked at and have nothing to change. */
static void tell_progress(struct conn *c, struct imap_session *s, struct imap_change *k)
{
    k->n_before += k->n_uids;
    if (now() - k->said < s->imap->conf.progress_ms * NS_PER_MS)
        return;
    k->said = now();
    imap_put_progress(c, s, k->n_before, k->spans.total);
}

static enum net_step part_done(struct conn *c, struct imap_session *s)
{
    struct imap_change *k = s->job;
    if (imap_op_again(&k->op))
        return next_part(c, s); /* the same one */
    if (k->op.op.rc != RC_OK)
        return over(c, s, k->op.op.rc);
    if (k->part)
        k->part(s);
    tell_progress(c, s, k);
    part_is_over(k);
    return next_part(c, s);
}

static enum net_step next_part(struct conn *c, struct imap_session *s)
{
    struct imap_change *k = s->job;
    s->go_on = next_part;
    if (!k->op.tries && fill(c, k) == RC_AGAIN)
        return NET_SHORT;
    if (!k->n_uids)
        return over(c, s, RC_OK);
    s->go_on = part_done; /* before the call: it may come back before the call returns */
    imap_op_begin(&k->op, s);
    enum rc rc = k->queue(s, imap_flags(c));
    if (rc == RC_OK)
        return NET_WAIT;
    bool is_too_much = rc == RC_LIMIT && k->is_divisible && k->n_uids > 1;
    if (is_too_much) /* what is shared with many copies changes with all of them */
        k->most = k->n_uids / 2;
    if ((is_too_much || rc == RC_AGAIN) && !net_can_block(c)) {
        s->go_on = next_part;
        return NET_SHORT;
    }
    return is_too_much ? next_part(c, s) : over(c, s, rc);
}

enum net_step imap_change_run(struct conn *c, struct imap_session *s)
{
    struct imap_change *k = s->job;
    size_t most = k->spans.total < STORE_BATCH ? k->spans.total : STORE_BATCH;
    k->span = k->at = k->n_uids = 0;
    k->most = STORE_BATCH;
    k->n_before = 0;
    k->said = now();
    k->uids = k->room = arena_alloc(&s->arena, most * sizeof *k->room + 1);
    return k->room ? next_part(c, s) : over(c, s, RC_LIMIT);
}

/* --- what several commands ask ---------------------------------------------------------------- */

enum imap_text imap_change_target(struct imap_session *s, struct store_path path, uint32_t *out_id)
{
    struct store_mailbox mailbox;
    enum rc rc = store_mailbox_find(s->account, path, out_id);
    if (rc == RC_OK)
        rc = store_mailbox_get(s->account, *out_id, &s->arena, &mailbox);
    if (rc == RC_NOTFOUND || (rc == RC_OK && mailbox.is_placeholder))
        return IMAP_NO_MAILBOX_TRYCREATE; /* [RFC3501 6.3.11, 6.4.7] [RFC9051 6.3.12, 6.4.7] */
    return rc == RC_OK ? IMAP_DONE : rc == RC_SYNTAX ? IMAP_NO_MAILBOX : imap_text_of_rc(rc);
}

enum imap_text imap_change_limit(struct imap_session *s, uint64_t messages, uint64_t bytes)
{
    struct store_usage u;
    store_account_usage(s->account, &u);
    bool is_over = (u.quota.bytes && u.bytes + bytes > u.quota.bytes) ||
                   (u.quota.messages && u.messages + messages > u.quota.messages);
    return is_over ? IMAP_OVER_QUOTA : IMAP_LIMIT;
}

size_t imap_change_gone(const struct imap_change *k, const struct store_root *newest)
{
    size_t gone = 0;
    for (size_t i = 0; newest != k->root && i < k->spans.n; i++) {
        const struct imap_span *span = &k->spans.at[i];
        for (size_t at = span->from; at < span->to; at++) {
            uint32_t uid = store_root_at(k->root, at)->uid;
            const struct store_row *now = store_root_at(newest, store_root_find(newest, uid));
            gone += !now || now->uid != uid;
        }
    }
    return gone;
}

/* --- UIDs in answers -------------------------------------------------------------------------- */

void imap_uid_set_end(struct imap_uid_set *set)
{
    if (!set->from)
        return;
    buf_put(&set->text, buf_len(&set->text) ? STR(",") : STR(""));
    imap_put_u64(&set->text, set->from);
    buf_put(&set->text, set->to > set->from ? STR(":") : STR(""));
    if (set->to > set->from)
        imap_put_u64(&set->text, set->to);
    set->from = 0;
}

void imap_uid_set_add(struct imap_uid_set *set, uint32_t first, uint32_t n)
{
    if (!set->from || set->to + 1 != first) {
        imap_uid_set_end(set);
        set->from = first;
    }
    set->to = first + (n - 1);
}
