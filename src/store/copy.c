/* Copying and moving messages within an account.
 *
 * A copy is one more place of the same message, so what is written for each does not depend on its
 * size: its `e`, the new row, and the old row the first time, which learns that it is shared. A
 * move exchanges one place for another: no tombstone, because nothing goes.
 *
 * Invariants: flags, keywords, date and thread stay [RFC3501 2.3.3] [RFC9051 2.3.3]; the new rows
 * get UIDs that follow one another, in the order of the old ones; a copy leaves the old row's
 * modseq and its mailbox's as they are, for nobody can see a difference. */
#include "store/store_int.h"

struct copying {
    struct attempt attempt;
    struct store_op *op;
    const struct store_copy *copy;
    struct mailbox *from, *to;
    struct store_row *rows; /* in the attempt's arena, as all below */
    struct str *records;
    size_t n;
    struct emails_left left;
};

static enum rc find_rows(struct copying *p)
{
    struct arena *arena = &p->attempt.arena;
    const struct store_copy *copy = p->copy;
    uint64_t *ids = arena_alloc(arena, copy->n_uids * sizeof *ids + 1);
    enum rc result = RC_OK;
    p->rows = arena_alloc(arena, copy->n_uids * sizeof *p->rows + 1);
    p->records = arena_alloc(arena, copy->n_uids * sizeof *p->records + 1);
    p->n = 0;
    for (size_t i = 0; i < copy->n_uids; i++) {
        enum rc rc = head_row(&p->attempt, p->from, copy->uids[i], &p->rows[p->n]);
        if (rc == RC_AGAIN) /* look on, to find all that must be read */
            result = rc;
        else if (rc != RC_OK && rc != RC_NOTFOUND)
            return rc;
        if (rc != RC_OK)
            continue;
        ids[p->n] = p->rows[p->n].email;
        p->n++;
    }
    TRY(result);
    return head_emails(&p->attempt, ids, p->n, p->records);
}

static enum rc check_limits(const struct copying *p)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->n; i++)
        bytes += p->rows[i].size;
    if (p->n > UINT32_MAX - p->to->head.m.uidnext)
        return RC_LIMIT;
    if (p->copy->is_move)
        return RC_OK;
    return quota_check(p->attempt.account->store, &p->attempt.account->head.hot, p->n, bytes);
}

/* --- messages --------------------------------------------------------------------------------- */

static enum rc read_email(struct copying *p, size_t i, struct email *out)
{
    const struct store_row *row = &p->rows[i];
    struct str left = emails_left_find(&p->left, row);
    if (str_is_null(left))
        left = p->records[i];
    enum rc rc =
        str_is_null(left) ? head_email(&p->attempt, row->email, out) : email_decode(left, out);
    return rc == RC_NOTFOUND ? RC_CORRUPT : rc;
}

static enum rc put_email(struct copying *p, struct change *c, const struct store_row *row,
                         const struct email *e)
{
    unsigned char mem[RECORD_VALUE];
    struct str record = email_encode(e, mem, sizeof mem);
    change_put(c, key_email(row->email), record);
    return emails_left_keep(&p->left, &p->attempt.arena, row, record);
}

/* --- rows ------------------------------------------------------------------------------------- */

static void take_old(struct copying *p, struct change *c, const struct store_row *row)
{
    struct touched *t = change_touch(c, p->from);
    count_unseen(&t->record, row->uid, row->flags, row->flags | STORE_SEEN);
    t->record.m.exists--;
    t->record.m.bytes -= row->size;
    if (change_remove_row(c, t, row->uid))
        change_delete(c, key_row(p->from->id, row->uid));
}

static void share_old(struct copying *p, struct change *c, const struct store_row *row)
{
    struct store_row shared = *row;
    if (row->flags & ROW_SHARED)
        return;
    shared.flags |= ROW_SHARED;
    struct touched *t = change_touch(c, p->from);
    if (p->from != p->to)
        t->record.m.highest_modseq = p->from->head.m.highest_modseq;
    change_row(c, t, &shared);
}

static void put_new(struct copying *p, struct change *c, const struct store_row *old,
                    bool is_shared)
{
    struct touched *t = change_touch(c, p->to);
    struct store_row row = *old;
    row.uid = t->record.m.uidnext++;
    row.flags |= is_shared ? ROW_SHARED : 0;
    row.flags &= ~(uint32_t)STORE_HAS_UIDL; /* two of a maildrop would tell the same */
    row.modseq = c->modseq;
    row.saved = c->time;
    t->record.m.exists++;
    t->record.m.unseen += !(row.flags & STORE_SEEN);
    t->record.m.bytes += row.size;
    change_row(c, t, &row);
    if (p->copy->is_move)
        return;
    c->after.hot.messages++;
    c->after.hot.bytes += row.size;
}

static enum rc copy_one(struct copying *p, struct change *c, size_t i)
{
    const struct store_row *row = &p->rows[i];
    struct email e;
    TRY(read_email(p, i, &e));
    struct place new_ = {p->to->id, change_touch(c, p->to)->record.m.uidnext};
    size_t at = e.n_places;
    if (p->copy->is_move) {
        at = 0;
        while (at < e.n_places &&
               (e.places[at].mailbox != p->from->id || e.places[at].uid != row->uid))
            at++;
        if (at == e.n_places)
            return RC_CORRUPT;
    } else if (e.n_places == RECORD_COPIES) {
        return RC_LIMIT;
    }
    e.places[at] = new_;
    e.n_places += at == e.n_places;
    if (p->copy->is_move)
        take_old(p, c, row);
    else
        share_old(p, c, row);
    put_new(p, c, row, e.n_places > 1);
    change_note(c, CHANGE_EMAIL, CHANGE_UPDATED, row->email);
    p->copy->out_uids[i] = row->uid;
    return put_email(p, c, row, &e);
}

/* --- the change ------------------------------------------------------------------------------- */

static void put_vanished(struct copying *p, struct change *c)
{
    size_t size = 1 + 8 + 2 + 4 * p->n;
    unsigned char *mem = arena_alloc(&p->attempt.arena, size);
    struct packer w;
    pack_init(&w, mem, size);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, c->time);
    pack_u16(&w, (uint16_t)p->n);
    for (size_t i = 0; i < p->n; i++)
        pack_u32(&w, p->rows[i].uid);
    change_put(c, key_vanished(p->from->id, c->modseq), pack_done(&w));
}

static enum rc fill(struct copying *p, struct change *c)
{
    enum rc rc = RC_OK;
    emails_left_init(&p->left);
    for (size_t i = 0; i < p->n && (rc == RC_OK || rc == RC_AGAIN); i++) {
        enum rc one = copy_one(p, c, i);
        if (one != RC_OK) /* RC_AGAIN: look on, to find all that must be read */
            rc = one;
    }
    emails_left_fini(&p->left);
    TRY(rc);
    if (p->copy->is_move)
        put_vanished(p, c);
    if (p->copy->is_move && p->from != p->to)
        change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, p->from->id);
    change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, p->to->id);
    return RC_OK;
}

static enum rc run(struct attempt *attempt)
{
    struct copying *p = CONTAINER(attempt, struct copying, attempt);
    struct store_account *a = attempt->account;
    p->from = account_mailbox(a, p->copy->from);
    p->to = account_mailbox(a, p->copy->to);
    if (!p->from || !p->to)
        return RC_NOTFOUND;
    TRY(find_rows(p));
    TRY(check_limits(p));
    p->op->changed = (uint32_t)p->n;
    p->op->uidvalidity = p->to->head.m.uidvalidity;
    p->op->uid = p->to->head.m.uidnext;
    if (p->n == 0)
        return change_nothing(a, p->op);
    struct change *c = change_new(a, p->op);
    enum rc rc = fill(p, c);
    if (rc == RC_OK)
        return change_commit(c);
    change_free(c);
    return rc;
}

enum rc store_copy(struct store_account *a, const struct store_copy *copy, unsigned flags,
                   struct store_op *op)
{
    struct copying p = {
        .attempt = {.run = run, .account = a, .flags = flags}, .op = op, .copy = copy};
    return modify(&p.attempt, copy->uids, copy->n_uids, op);
}
