/* Changing flags, and what expunging has in common with it.
 *
 * Flags and keywords belong to the message and change in all its places; \Deleted belongs to one
 * place [RFC8621 4.1.1]. */
#include "store/store_int.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

struct modifying {
    struct attempt attempt;
    struct store_op *op;
    uint32_t mailbox;
    const uint32_t *uids;
    size_t n_uids;
    const struct store_flag_change *flags;
    uint64_t bits;   /* of the change's keywords */
    uint64_t rivals; /* that cannot be beside them */
};

/* --- flags ------------------------------------------------------------------------------------ */

static struct store_row changed_row(const struct modifying *p, struct store_row row, uint32_t mask)
{
    uint32_t flags = p->flags->flags & mask;
    switch (p->flags->how) {
    case STORE_FLAGS_SET:
        row.flags = (row.flags & ~mask) | flags;
        row.keywords = p->bits;
        break;
    case STORE_FLAGS_ADD:
        row.flags |= flags;
        row.keywords = (row.keywords & ~p->rivals) | p->bits;
        break;
    case STORE_FLAGS_REMOVE:
        row.flags &= ~flags;
        row.keywords &= ~p->bits;
        break;
    }
    return row;
}

void count_unseen(struct mailbox_record *r, uint32_t uid, uint32_t before, uint32_t after)
{
    if (!((before ^ after) & STORE_SEEN))
        return;
    if (after & STORE_SEEN) {
        r->m.unseen--;
        if (r->m.first_unseen == uid)
            r->m.first_unseen = uid + 1;
        return;
    }
    r->m.unseen++;
    if (uid < r->m.first_unseen)
        r->m.first_unseen = uid;
}

/* --- what a change does to a row already ------------------------------------------------------ */

/* The place in the table where the row's delta is, or would be: its number plus one, or 0. */
static uint32_t *slot_of(struct change *c, uint32_t mailbox, uint32_t uid)
{
    size_t i = map_hash_u64((uint64_t)mailbox << 32 | uid) & (c->n_slots - 1);
    for (; c->slots[i]; i = (i + 1) & (c->n_slots - 1)) {
        const struct row_delta *d = &c->deltas[c->slots[i] - 1];
        if (d->mailbox == mailbox && d->row.uid == uid)
            break;
    }
    return &c->slots[i];
}

const struct row_delta *delta_of(struct change *c, uint32_t mailbox, uint32_t uid)
{
    if (c->n_slots < 2 * c->n_deltas + 2) {
        free(c->slots);
        for (c->n_slots = 64; c->n_slots < 4 * c->n_deltas; c->n_slots *= 2)
            ;
        c->slots = mem_zero(c->n_slots * sizeof *c->slots);
        c->n_known = 0;
    }
    for (; c->n_known < c->n_deltas; c->n_known++) {
        const struct row_delta *d = &c->deltas[c->n_known];
        uint32_t *slot = slot_of(c, d->mailbox, d->row.uid);
        if (!*slot)
            *slot = (uint32_t)c->n_known + 1;
    }
    uint32_t at = *slot_of(c, mailbox, uid);
    return at ? &c->deltas[at - 1] : NULL;
}

/* --- flags and copies ------------------------------------------------------------------------- */

static bool row_differs(const struct store_row *a, const struct store_row *b)
{
    return a->flags != b->flags || a->keywords != b->keywords;
}

static void put_row(struct change *c, struct mailbox *m, const struct store_row *before,
                    struct store_row after)
{
    struct touched *t = change_touch(c, m);
    after.modseq = c->modseq;
    count_unseen(&t->record, after.uid, before->flags, after.flags);
    change_row(c, t, &after);
}

/* The other places of a message get its flags, all but \Deleted. */
static enum rc change_copies(struct modifying *p, struct change *c, uint64_t email, uint32_t uid)
{
    struct email e;
    TRY(head_email(&p->attempt, email, &e));
    for (size_t i = 0; i < e.n_places; i++) {
        struct place at = e.places[i];
        struct mailbox *m = account_mailbox(c->account, at.mailbox);
        struct store_row row;
        bool is_asked = at.mailbox == p->mailbox && at.uid == uid;
        if (!m || is_asked || !place_is_alive(c->account, at) || delta_of(c, at.mailbox, at.uid))
            continue;
        TRY(head_row(&p->attempt, m, at.uid, &row));
        struct store_row after = changed_row(p, row, ROW_FLAGS & ~STORE_DELETED);
        if (row_differs(&row, &after))
            put_row(c, m, &row, after);
    }
    return RC_OK;
}

/* The copy of a message that was changed by its other place first: now its own \Deleted. */
static void change_again(struct modifying *p, struct change *c, struct mailbox *m, size_t delta)
{
    struct store_row after = changed_row(p, c->deltas[delta].row, ROW_FLAGS);
    unsigned char mem[64];
    c->deltas[delta].row = after;
    change_put(c, key_row(m->id, after.uid), row_encode(&after, mem, sizeof mem));
}

static enum rc change_one(struct modifying *p, struct change *c, struct mailbox *m, uint32_t uid)
{
    struct store_row row;
    enum rc rc = head_row(&p->attempt, m, uid, &row);
    if (rc == RC_NOTFOUND)
        return RC_OK;
    TRY(rc);
    if (row.modseq > p->flags->unchanged_since) {
        if (p->flags->out_left)
            p->flags->out_left[p->op->left] = uid;
        p->op->left++;
        return RC_OK;
    }
    const struct row_delta *earlier = row.flags & ROW_SHARED ? delta_of(c, p->mailbox, uid) : NULL;
    if (earlier) {
        change_again(p, c, m, (size_t)(earlier - c->deltas));
        p->op->changed++;
        return RC_OK;
    }
    struct store_row after = changed_row(p, row, ROW_FLAGS);
    if (!row_differs(&row, &after))
        return RC_OK;
    put_row(c, m, &row, after);
    change_note(c, CHANGE_EMAIL, CHANGE_UPDATED, row.email);
    p->op->changed++;
    return row.flags & ROW_SHARED ? change_copies(p, c, row.email, uid) : RC_OK;
}

enum rc change_finish(struct change *c, enum rc rc)
{
    struct store_account *a = c->account;
    struct store_op *user = c->user;
    if (rc != RC_OK || !user->changed) {
        change_free(c);
        return rc == RC_OK ? change_nothing(a, user) : rc;
    }
    for (size_t i = 0; i < c->n_touched; i++)
        change_note(c, CHANGE_MAILBOX, CHANGE_UPDATED, c->touched[i].record.m.id);
    return change_commit(c);
}

static enum rc run_flags(struct attempt *attempt)
{
    struct modifying *p = CONTAINER(attempt, struct modifying, attempt);
    struct mailbox *m = account_mailbox(attempt->account, p->mailbox);
    if (!m)
        return RC_NOTFOUND;
    struct change *c = change_new(attempt->account, p->op);
    bool is_making = p->flags->how != STORE_FLAGS_REMOVE;
    p->op->changed = p->op->left = 0;
    enum rc rc = change_keywords(c, p->flags->keywords, p->flags->n_keywords, is_making, &p->bits);
    p->rivals = change_rivals(c, p->bits);
    for (size_t i = 0; i < p->n_uids && (rc == RC_OK || rc == RC_AGAIN); i++) {
        enum rc one = c->rc == RC_OK ? change_one(p, c, m, p->uids[i]) : c->rc;
        if (one != RC_OK) /* RC_AGAIN: look on, to find all that must be read */
            rc = one;
    }
    return change_finish(c, rc);
}

/* --- the calls -------------------------------------------------------------------------------- */

static bool is_sorted(const uint32_t *uids, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (uids[i - 1] >= uids[i])
            return false;
    return true;
}

enum rc modify(struct attempt *t, const uint32_t *uids, size_t n, struct store_op *op)
{
    if (n > STORE_BATCH)
        return RC_LIMIT;
    if (!is_sorted(uids, n))
        return RC_PERM;
    enum rc rc = attempt_run(t);
    if (rc != RC_EOF)
        return rc;
    op->done(op);
    return RC_OK;
}

enum rc store_change_flags(struct store_account *account, const struct store_flag_change *change,
                           unsigned flags, struct store_op *op)
{
    struct modifying p = {.attempt = {.run = run_flags, .account = account, .flags = flags},
                          .op = op,
                          .mailbox = change->mailbox,
                          .uids = change->uids,
                          .n_uids = change->n_uids,
                          .flags = change};
    return modify(&p.attempt, change->uids, change->n_uids, op);
}
