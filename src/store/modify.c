/* Changing flags and expunging.
 *
 * Flags and keywords belong to the message and change in all its places; \Deleted belongs to one
 * place [RFC8621 4.1.1]. What is expunged leaves a tombstone that holds the body. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct modifying {
    struct attempt attempt;
    struct store_op *op;
    uint32_t mailbox;
    const uint32_t *uids;
    size_t n_uids;
    const struct store_flag_change *flags;
    uint64_t bits; /* of the change's keywords */
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
        row.keywords |= p->bits;
        break;
    case STORE_FLAGS_REMOVE:
        row.flags &= ~flags;
        row.keywords &= ~p->bits;
        break;
    }
    return row;
}

static void count_unseen(struct mailbox_record *r, uint32_t uid, uint32_t before, uint32_t after)
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

static const struct row_delta *delta_of(const struct change *c, uint32_t mailbox, uint32_t uid)
{
    for (size_t i = 0; i < c->n_deltas; i++)
        if (c->deltas[i].mailbox == mailbox && c->deltas[i].row.uid == uid)
            return &c->deltas[i];
    return NULL;
}

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
    if (rc == RC_NOTFOUND || (rc == RC_OK && row.modseq > p->flags->unchanged_since))
        return RC_OK;
    TRY(rc);
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

static enum rc finish(struct modifying *p, struct change *c, enum rc rc)
{
    if (rc == RC_OK && p->op->changed == 0)
        rc = RC_EOF; /* nothing to do */
    if (rc != RC_OK) {
        change_free(c);
        return rc;
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
    p->op->changed = 0;
    enum rc rc = change_keywords(c, p->flags->keywords, p->flags->n_keywords, is_making, &p->bits);
    for (size_t i = 0; i < p->n_uids && (rc == RC_OK || rc == RC_AGAIN); i++) {
        enum rc one = change_one(p, c, m, p->uids[i]);
        if (one != RC_OK) /* RC_AGAIN: look on, to find all that must be read */
            rc = one;
    }
    return finish(p, c, rc);
}

/* --- expunging -------------------------------------------------------------------------------- */

/* What is written for a message after all rows have been looked at: each kind in a run of its own,
 * in order of key, which costs the engine half of what it costs mixed. */
struct leaving {
    uint64_t email, thread;
    bool is_last;
    struct str tombstone; /* encoded, in the attempt's arena */
};

static struct str make_tombstone(struct modifying *p, const struct change *c,
                                 const struct store_row *row, const struct email *e, bool is_last)
{
    unsigned char mem[RECORD_VALUE];
    struct tombstone d = {.time = c->time,
                          .is_last = is_last,
                          .mailbox = p->mailbox,
                          .row = *row,
                          .email = row->email,
                          .record = *e};
    return arena_dup(&p->attempt.arena, tombstone_encode(&d, mem, sizeof mem));
}

static void put_leaving(struct change *c, const struct leaving *leaving, size_t n)
{
    for (size_t i = 0; i < n; i++)
        change_put(c, key_tombstone(c->modseq, (uint32_t)i), leaving[i].tombstone);
    for (size_t i = 0; i < n; i++)
        if (leaving[i].is_last)
            change_delete(c, key_email(leaving[i].email));
    for (size_t i = 0; i < n; i++)
        if (leaving[i].is_last)
            change_delete(c, key_member(leaving[i].thread, leaving[i].email));
}

/* Takes one place from a message. */
static void remove_place(struct change *c, uint64_t id, struct email *e, struct place gone)
{
    unsigned char mem[RECORD_VALUE];
    size_t n = 0;
    for (size_t i = 0; i < e->n_places; i++)
        if (e->places[i].mailbox != gone.mailbox || e->places[i].uid != gone.uid)
            e->places[n++] = e->places[i];
    e->n_places = (uint32_t)n;
    change_put(c, key_email(id), email_encode(e, mem, sizeof mem));
}

static uint32_t places_left(const struct email *e, struct place gone)
{
    uint32_t n = 0;
    for (size_t i = 0; i < e->n_places; i++)
        n += e->places[i].mailbox != gone.mailbox || e->places[i].uid != gone.uid;
    return n;
}

struct going {
    struct store_row row;
    struct str record; /* its `e`; absent: not read yet */
};

/* The rows of what goes, and their `e` as far as one look finds them. */
static enum rc find_going(struct modifying *p, struct mailbox *m, struct going **out, size_t *out_n)
{
    struct arena *arena = &p->attempt.arena;
    struct going *going = arena_alloc(arena, p->n_uids * sizeof *going + 1);
    uint64_t *ids = arena_alloc(arena, p->n_uids * sizeof *ids + 1);
    struct str *records = arena_alloc(arena, p->n_uids * sizeof *records + 1);
    enum rc result = RC_OK;
    size_t n = 0;
    for (size_t i = 0; i < p->n_uids; i++) {
        enum rc rc = head_row(&p->attempt, m, p->uids[i], &going[n].row);
        if (rc == RC_AGAIN) /* look on, to find all that must be read */
            result = rc;
        else if (rc != RC_OK && rc != RC_NOTFOUND)
            return rc;
        if (rc != RC_OK)
            continue;
        ids[n] = going[n].row.email;
        n++;
    }
    TRY(result);
    TRY(head_emails(&p->attempt, ids, n, records));
    for (size_t i = 0; i < n; i++)
        going[i].record = records[i];
    *out = going;
    *out_n = n;
    return RC_OK;
}

/* The head's `e`, as this change has left it when it took another place of the same message. */
static enum rc email_now(struct modifying *p, const struct change *c, const struct going *going,
                         struct email *out)
{
    const struct store_row *row = &going->row;
    if (str_is_null(going->record))
        TRY(head_email(&p->attempt, row->email, out));
    else
        TRY(email_decode(going->record, out));
    if (!(row->flags & ROW_SHARED))
        return RC_OK;
    size_t n = 0;
    for (size_t i = 0; i < out->n_places; i++)
        if (!delta_of(c, out->places[i].mailbox, out->places[i].uid))
            out->places[n++] = out->places[i];
    out->n_places = (uint32_t)n;
    return RC_OK;
}

static enum rc expunge_one(struct modifying *p, struct change *c, struct mailbox *m,
                           const struct going *going, struct leaving *leaving)
{
    struct store_row row = going->row;
    uint32_t uid = row.uid;
    struct email e;
    enum rc rc = email_now(p, c, going, &e);
    if (rc == RC_NOTFOUND)
        return RC_CORRUPT;
    TRY(rc);
    struct place gone = {p->mailbox, uid};
    bool is_last = places_left(&e, gone) == 0;
    leaving[p->op->changed] =
        (struct leaving){.email = row.email,
                         .thread = e.thread,
                         .is_last = is_last,
                         .tombstone = make_tombstone(p, c, &row, &e, is_last)};
    if (!is_last)
        remove_place(c, row.email, &e, gone);
    c->after.hot.bytes -= row.size;
    c->after.hot.messages--;
    struct touched *t = change_touch(c, m);
    count_unseen(&t->record, uid, row.flags, row.flags | STORE_SEEN);
    t->record.m.exists--;
    t->record.m.bytes -= row.size;
    change_remove_row(c, t, uid);
    change_note(c, CHANGE_EMAIL, is_last ? CHANGE_DESTROYED : CHANGE_UPDATED, row.email);
    p->op->changed++;
    return RC_OK;
}

static void put_vanished(const struct modifying *p, struct change *c)
{
    size_t size = 1 + 8 + 2 + 4 * c->n_deltas;
    unsigned char *mem = mem_alloc(size);
    struct packer w;
    pack_init(&w, mem, size);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, c->time);
    pack_u16(&w, (uint16_t)c->n_deltas);
    for (size_t i = 0; i < c->n_deltas; i++)
        pack_u32(&w, c->deltas[i].row.uid);
    change_put(c, key_vanished(p->mailbox, c->modseq), pack_done(&w));
    free(mem);
}

static enum rc run_expunge(struct attempt *attempt)
{
    struct modifying *p = CONTAINER(attempt, struct modifying, attempt);
    struct mailbox *m = account_mailbox(attempt->account, p->mailbox);
    if (!m)
        return RC_NOTFOUND;
    struct change *c = change_new(attempt->account, p->op);
    struct leaving *leaving = arena_alloc(&attempt->arena, p->n_uids * sizeof *leaving + 1);
    struct going *going = NULL;
    size_t n = 0;
    p->op->changed = 0;
    enum rc rc = find_going(p, m, &going, &n);
    for (size_t i = 0; i < n && (rc == RC_OK || rc == RC_AGAIN); i++) {
        enum rc one = expunge_one(p, c, m, &going[i], leaving);
        if (one != RC_OK)
            rc = one;
    }
    if (rc == RC_OK && c->n_deltas) {
        put_leaving(c, leaving, p->op->changed);
        put_vanished(p, c);
    }
    return finish(p, c, rc);
}

/* --- the calls -------------------------------------------------------------------------------- */

static bool is_sorted(const uint32_t *uids, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (uids[i - 1] >= uids[i])
            return false;
    return true;
}

static enum rc modify(struct modifying *p)
{
    if (p->n_uids > STORE_BATCH)
        return RC_LIMIT;
    if (!is_sorted(p->uids, p->n_uids))
        return RC_PERM;
    enum rc rc = attempt_run(&p->attempt);
    if (rc != RC_EOF)
        return rc;
    p->op->rc = RC_OK;
    p->op->modseq = 0;
    p->op->done(p->op);
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
    return modify(&p);
}

enum rc store_expunge(struct store_account *account, uint32_t mailbox, const uint32_t *uids,
                      size_t n_uids, unsigned flags, struct store_op *op)
{
    struct modifying p = {.attempt = {.run = run_expunge, .account = account, .flags = flags},
                          .op = op,
                          .mailbox = mailbox,
                          .uids = uids,
                          .n_uids = n_uids};
    return modify(&p);
}
