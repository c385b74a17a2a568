/* Expunging: what goes leaves tombstones that hold the bodies.
 *
 * One expunge writes few rows however many messages go: a record of tombstones for each
 * RECORD_TOMBSTONES of them, one row of what vanished, one of the change log. The rows that the
 * messages had in `u`, `e` and `t` are deleted: a run of them by one trim where it is known that
 * nothing else lies between the first and the last, otherwise one by one. Each kind is written in a
 * run of its own, in order of key, which costs the engine half of what it costs mixed.
 *
 * Invariant: a trim covers rows of this expunge and nothing more, now and when it is applied. What
 * the head has is known: UIDs from the root, ids that follow on each other have nothing in between,
 * and threads are looked at. What is queued behind comes after the trim. */
#include "store/store_int.h"

#include <stdlib.h>
#include <string.h>

/* A trim is dear to the engine's later reads, so it must save many rows. */
enum { TRIM_MIN = 128, SPAN_MAX = 16 };

/* Rows of one kind that go. */
struct doomed {
    struct key *keys;
    bool *is_next; /* nothing lies between the key before and this one */
    size_t n;
};

struct expunging {
    struct attempt *attempt;
    uint32_t mailbox;
    const uint32_t *uids;
    size_t n_uids;
    bool only_deleted;
    struct doomed rows, emails, members;
    unsigned char *mem; /* the record of tombstones under way */
    struct packer tombstones;
    size_t n_tombstones; /* all of them */
};

/* An expunge that is a change of its own. */
struct lone {
    struct attempt attempt;
    struct expunging what;
    struct store_op *op;
};

struct going {
    struct store_row row;
    struct str record; /* its `e`; absent: not read yet */
};

/* --- deleting rows ---------------------------------------------------------------------------- */

static bool make_doomed(struct arena *arena, struct doomed *d, size_t n)
{
    d->keys = arena_alloc(arena, n * sizeof *d->keys + 1);
    d->is_next = arena_alloc(arena, n * sizeof *d->is_next + 1);
    d->n = 0;
    return d->keys && d->is_next;
}

static void doom(struct doomed *d, struct key key, bool is_next)
{
    d->is_next[d->n] = is_next;
    d->keys[d->n++] = key;
}

static void delete_run(struct change *c, const struct key *keys, size_t n)
{
    struct key end = keys[n - 1];
    if (n < TRIM_MIN) {
        for (size_t i = 0; i < n; i++)
            change_delete(c, keys[i]);
        return;
    }
    end.b[end.n++] = 0; /* the first key behind the last one */
    change_trim(c, keys[0], end);
}

static void delete_all(struct change *c, const struct doomed *d)
{
    for (size_t from = 0, to; from < d->n; from = to) {
        for (to = from + 1; to < d->n && d->is_next[to]; to++)
            ;
        delete_run(c, d->keys + from, to - from);
    }
}

static int compare_keys(const void *a, const void *b)
{
    return str_cmp(key_str(a), key_str(b));
}

static void sort_keys(struct doomed *d)
{
    for (size_t i = 1; i < d->n; i++)
        if (compare_keys(&d->keys[i - 1], &d->keys[i]) > 0) {
            qsort(d->keys, d->n, sizeof *d->keys, compare_keys);
            return;
        }
}

/* Finds out what lies between these keys. A page that is cut, or a range that what is queued may
 * change, tells of fewer. */
static enum rc look_between(struct attempt *t, const struct key *keys, size_t n, bool *is_next)
{
    struct kv_page page = {0};
    struct key end = keys[n - 1];
    size_t at = 0;
    end.b[end.n++] = 0;
    enum rc rc = head_scan(t, keys[0], end, n, &page);
    if (rc != RC_OK)
        return rc == RC_CONFLICT ? RC_OK : rc;
    for (size_t i = 0; i < n; i++) {
        size_t before = at;
        while (at < page.n && str_cmp(page.rows[at].key, key_str(&keys[i])) < 0)
            at++;
        bool is_there = at < page.n && str_eq(page.rows[at].key, key_str(&keys[i]));
        is_next[i] = i > 0 && is_there && at == before;
        at += is_there;
    }
    return RC_OK;
}

/* Members of threads stand in order of thread, and other messages may be in between. Only where
 * threads are close together is it worth a look. */
static enum rc look_at_members(struct expunging *p)
{
    struct doomed *d = &p->members;
    enum rc rc = RC_OK;
    sort_keys(d);
    for (size_t from = 0, to; from < d->n; from = to) {
        for (to = from + 1;
             to < d->n && get_u64(d->keys[to].b + 1) - get_u64(d->keys[to - 1].b + 1) <= SPAN_MAX;
             to++)
            ;
        if (to - from < TRIM_MIN)
            continue;
        enum rc one = look_between(p->attempt, d->keys + from, to - from, d->is_next + from);
        if (one != RC_OK && one != RC_AGAIN)
            return one;
        if (one == RC_AGAIN) /* look on, to find all that must be read */
            rc = one;
    }
    return rc;
}

/* --- what goes -------------------------------------------------------------------------------- */

/* The rows of what goes, and their `e` as far as one look finds them. */
static enum rc find_going(struct expunging *p, struct mailbox *m, struct going **out, size_t *out_n)
{
    struct arena *arena = &p->attempt->arena;
    struct going *going = arena_alloc(arena, p->n_uids * sizeof *going + 1);
    uint64_t *ids = arena_alloc(arena, p->n_uids * sizeof *ids + 1);
    struct str *records = arena_alloc(arena, p->n_uids * sizeof *records + 1);
    enum rc result = RC_OK;
    size_t n = 0;
    if (!going || !ids || !records)
        return RC_LIMIT;
    for (size_t i = 0; i < p->n_uids; i++) {
        enum rc rc = head_row(p->attempt, m, p->uids[i], &going[n].row);
        if (rc == RC_AGAIN) /* look on, to find all that must be read */
            result = rc;
        else if (rc != RC_OK && rc != RC_NOTFOUND)
            return rc;
        if (rc != RC_OK || (p->only_deleted && !(going[n].row.flags & STORE_DELETED)))
            continue;
        ids[n] = going[n].row.email;
        n++;
    }
    TRY(result);
    TRY(head_emails(p->attempt, ids, n, records));
    for (size_t i = 0; i < n; i++)
        going[i].record = records[i];
    *out = going;
    *out_n = n;
    return RC_OK;
}

/* The head's `e`, as this change has left it when it took another place of the same message. */
static enum rc email_now(struct expunging *p, struct change *c, const struct going *going,
                         struct email *out)
{
    const struct store_row *row = &going->row;
    if (str_is_null(going->record))
        TRY(head_email(p->attempt, row->email, out));
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

static void put_tombstones(struct expunging *p, struct change *c)
{
    size_t number = p->n_tombstones / RECORD_TOMBSTONES;
    change_put(c, key_tombstone(c->modseq, (uint32_t)number), pack_done(&p->tombstones));
}

static void bury(struct expunging *p, struct change *c, const struct tombstone *d)
{
    if (p->n_tombstones % RECORD_TOMBSTONES == 0)
        tombstones_begin(&p->tombstones, p->mem, c->time, p->mailbox);
    tombstones_add(&p->tombstones, d);
    if ((p->n_tombstones + 1) % RECORD_TOMBSTONES == 0)
        put_tombstones(p, c);
    p->n_tombstones++;
}

static bool is_next_email(const struct doomed *d, uint64_t email)
{
    return d->n && get_u64(d->keys[d->n - 1].b + 1) + 1 == email;
}

/* Nothing in the mailbox lies between the row that went before and this one. */
static bool is_next_row(const struct doomed *d, const struct mailbox *m, uint32_t uid)
{
    if (d->n == 0)
        return false;
    uint32_t before = get_u32(d->keys[d->n - 1].b + 5);
    if (uid == before + 1)
        return true;
    const struct store_root *root = m->head_root;
    return root && store_root_find(root, before) + 1 == store_root_find(root, uid);
}

static void remove_row(struct expunging *p, struct change *c, struct mailbox *m,
                       const struct store_row *row)
{
    struct touched *t = change_touch(c, m);
    count_unseen(&t->record, row->uid, row->flags, row->flags | STORE_SEEN);
    t->record.m.exists--;
    t->record.m.bytes -= row->size;
    if (change_remove_row(c, t, row->uid))
        doom(&p->rows, key_row(p->mailbox, row->uid), is_next_row(&p->rows, m, row->uid));
}

static enum rc expunge_one(struct expunging *p, struct change *c, struct mailbox *m,
                           const struct going *going)
{
    struct tombstone d = {.row = going->row};
    uint64_t id = going->row.email;
    enum rc rc = email_now(p, c, going, &d.record);
    if (rc == RC_NOTFOUND)
        return RC_CORRUPT;
    TRY(rc);
    struct place gone = {p->mailbox, going->row.uid};
    d.is_last = places_left(&d.record, gone) == 0;
    bury(p, c, &d);
    c->after.hot.bytes -= going->row.size;
    c->after.hot.messages--;
    if (d.is_last) {
        doom(&p->emails, key_email(id), is_next_email(&p->emails, id));
        doom(&p->members, key_member(d.record.thread, id), false);
    } else {
        remove_place(c, id, &d.record, gone);
    }
    remove_row(p, c, m, &going->row);
    change_note(c, CHANGE_EMAIL, d.is_last ? CHANGE_DESTROYED : CHANGE_UPDATED, id);
    return RC_OK;
}

static void put_vanished(const struct expunging *p, struct change *c)
{
    unsigned char mem[1 + 8 + 2 + 4 * STORE_BATCH];
    struct packer w;
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, c->time);
    pack_u16(&w, (uint16_t)c->n_deltas);
    for (size_t i = 0; i < c->n_deltas; i++)
        pack_u32(&w, c->deltas[i].row.uid);
    change_put(c, key_vanished(p->mailbox, c->modseq), pack_done(&w));
}

static enum rc put_all(struct expunging *p, struct change *c)
{
    if (p->n_tombstones == 0)
        return RC_OK;
    TRY(look_at_members(p));
    if (p->n_tombstones % RECORD_TOMBSTONES)
        put_tombstones(p, c);
    delete_all(c, &p->rows);
    delete_all(c, &p->emails);
    delete_all(c, &p->members);
    put_vanished(p, c);
    return RC_OK;
}

static enum rc prepare(struct expunging *p)
{
    struct arena *arena = &p->attempt->arena;
    p->n_tombstones = 0;
    p->mem = arena_alloc(arena, TOMBSTONES_MAX);
    bool has_room = p->mem && make_doomed(arena, &p->rows, p->n_uids) &&
                    make_doomed(arena, &p->emails, p->n_uids) &&
                    make_doomed(arena, &p->members, p->n_uids);
    return has_room ? RC_OK : RC_LIMIT;
}

/* Puts all of it into the change, which has no rows yet. */
static enum rc expunge(struct expunging *p, struct mailbox *m, struct change *c)
{
    struct going *going = NULL;
    size_t n = 0;
    enum rc rc = prepare(p);
    if (rc == RC_OK)
        rc = find_going(p, m, &going, &n);
    for (size_t i = 0; i < n && (rc == RC_OK || rc == RC_AGAIN); i++) {
        enum rc one = expunge_one(p, c, m, &going[i]);
        if (one != RC_OK)
            rc = one;
    }
    return rc == RC_OK ? put_all(p, c) : rc;
}

enum rc expunge_within(struct attempt *t, struct change *c, uint32_t mailbox, uint32_t uid)
{
    struct expunging p = {.attempt = t, .mailbox = mailbox, .uids = &uid, .n_uids = 1};
    struct mailbox *m = account_mailbox(t->account, mailbox);
    if (!m)
        return RC_PERM; /* gone with its mailbox */
    TRY(expunge(&p, m, c));
    return p.n_tombstones ? RC_OK : RC_PERM;
}

static enum rc run_expunge(struct attempt *attempt)
{
    struct lone *l = CONTAINER(attempt, struct lone, attempt);
    struct mailbox *m = account_mailbox(attempt->account, l->what.mailbox);
    if (!m)
        return RC_NOTFOUND;
    struct change *c = change_new(attempt->account, l->op);
    enum rc rc = expunge(&l->what, m, c);
    l->op->changed = (uint32_t)l->what.n_tombstones;
    return change_finish(c, rc);
}

enum rc store_expunge(struct store_account *account, uint32_t mailbox, const uint32_t *uids,
                      size_t n_uids, unsigned flags, struct store_op *op)
{
    struct lone l = {.attempt = {.run = run_expunge,
                                 .account = account,
                                 .flags = flags & ~(unsigned)STORE_ONLY_DELETED},
                     .what = {.only_deleted = (flags & STORE_ONLY_DELETED) != 0,
                              .mailbox = mailbox,
                              .uids = uids,
                              .n_uids = n_uids},
                     .op = op};
    l.what.attempt = &l.attempt;
    return modify(&l.attempt, uids, n_uids, op);
}
