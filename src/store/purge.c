/* Taking away the rows of mailboxes that were removed, a few hundred at a time.
 *
 * Nobody sees these rows any more, and they are in no counter; what they still do is to hold their
 * messages. So each that goes leaves a tombstone and its place in `e`, as an expunge does.
 *
 * Invariants:
 *   1. Rows go by groups of RECORD_PACK UIDs, the packed row and those of their own in one commit:
 *      a row that hides a packed one never goes before it.
 *   2. The mailbox's own record tells that there are such rows, until a look from its first UID on
 *      has found none; so a purge that was cut short goes on wherever it was.
 *   3. A row here changes only by maintenance, of which there is one at a time: what was read of it
 *      without the lock is still so. Messages are read at the head. */
#include "store/store_int.h"

#include <string.h>

enum {
    GROUPS = 4, /* in one commit */
    ROWS = GROUPS * RECORD_PACK
};

struct purging {
    struct attempt attempt;
    struct store_op *op;
    struct mailbox *mailbox;
    uint32_t limit; /* UIDs below it */
    struct arena arena;
    uint32_t first;               /* number of the first group */
    struct store_row *own, *rows; /* rows of their own, all rows; GONE ones are only in `own` */
    size_t n_own, n;
    struct group {
        bool is_packed; /* there is a packed row */
        size_t n_kept;  /* rows of it that are not below the limit */
        struct store_row kept[RECORD_PACK];
    } groups[GROUPS];
    struct str *records;
    struct emails_left left;
};

/* --- reading ---------------------------------------------------------------------------------- */

/* The UID behind the kind and the mailbox, or the number of the group. */
static enum rc first_number(struct purging *p, char kind, uint32_t below, uint32_t *out)
{
    struct store_account *a = p->attempt.account;
    unsigned char end[4];
    put_u32(end, below);
    struct key from = key_of(kind, p->mailbox->id, NULL, 0),
               to = key_of(kind, p->mailbox->id, end, sizeof end);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    TRY(kv_scan(a->store->kv, account_part(a->id), range, 1, 0, &p->arena, &page));
    *out = below;
    if (page.n && page.rows[0].key.n != 9)
        return RC_CORRUPT;
    if (page.n)
        *out = get_u32(page.rows[0].key.p + 5);
    return RC_OK;
}

/* RC_EOF: nothing is left. */
static enum rc find_first(struct purging *p)
{
    uint32_t uid, number, end = (p->limit - 1) / RECORD_PACK + 1;
    TRY(first_number(p, 'u', p->limit, &uid));
    TRY(first_number(p, 'U', end, &number));
    if (uid == p->limit && number == end)
        return RC_EOF;
    p->first = uid < p->limit && uid / RECORD_PACK < number ? uid / RECORD_PACK : number;
    return RC_OK;
}

static enum rc read_own(struct purging *p)
{
    struct store_account *a = p->attempt.account;
    uint64_t end = ((uint64_t)p->first + GROUPS) * RECORD_PACK;
    if (end > p->limit)
        end = p->limit;
    struct key from = key_row(p->mailbox->id, p->first * RECORD_PACK),
               to = key_row(p->mailbox->id, (uint32_t)end);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    TRY(kv_scan(a->store->kv, account_part(a->id), range, ROWS, 0, &p->arena, &page));
    p->own = arena_alloc(&p->arena, page.n * sizeof *p->own + 1);
    for (size_t i = 0; i < page.n; i++) {
        if (page.rows[i].key.n != 9)
            return RC_CORRUPT;
        TRY(row_decode(get_u32(page.rows[i].key.p + 5), page.rows[i].value, &p->own[i]));
    }
    p->n_own = page.n;
    return RC_OK;
}

static enum rc read_group(struct purging *p, uint32_t i, struct str packed, size_t *own)
{
    struct group *g = &p->groups[i];
    struct store_row all[RECORD_PACK];
    uint32_t number = p->first + i;
    struct key key = key_packed(p->mailbox->id, number * RECORD_PACK);
    size_t n, n_own = 0;
    while (*own + n_own < p->n_own && p->own[*own + n_own].uid / RECORD_PACK == number)
        n_own++;
    TRY(merge_rows(key_str(&key), packed, p->own + *own, n_own, all, &n));
    *own += n_own;
    g->is_packed = !str_is_null(packed);
    g->n_kept = 0;
    for (size_t k = 0; k < n; k++) {
        if (all[k].uid < p->limit)
            p->rows[p->n++] = all[k];
        else
            g->kept[g->n_kept++] = all[k];
    }
    return RC_OK;
}

static enum rc read_groups(struct purging *p)
{
    struct store_account *a = p->attempt.account;
    struct key keys[GROUPS];
    struct str names[GROUPS], values[GROUPS];
    size_t own = 0;
    for (uint32_t i = 0; i < GROUPS; i++) {
        uint64_t uid = ((uint64_t)p->first + i) * RECORD_PACK;
        keys[i] = key_packed(p->mailbox->id, uid < UINT32_MAX ? (uint32_t)uid : UINT32_MAX);
        names[i] = key_str(&keys[i]);
    }
    TRY(kv_get(a->store->kv, account_part(a->id), names, GROUPS, 0, &p->arena, values, NULL));
    p->rows = arena_alloc(&p->arena, ROWS * sizeof *p->rows);
    for (uint32_t i = 0; i < GROUPS; i++) {
        bool is_beyond = ((uint64_t)p->first + i) * RECORD_PACK >= p->limit;
        p->groups[i].is_packed = false;
        if (!is_beyond)
            TRY(read_group(p, i, values[i], &own));
    }
    return RC_OK;
}

/* --- taking away ------------------------------------------------------------------------------ */

/* The message without this place. RC_NOTFOUND: it does not know of it, which fsck says. */
static enum rc remove_place(struct purging *p, size_t i, struct tombstone *d, struct email *left)
{
    const struct store_row *row = &p->rows[i];
    struct str record = emails_left_find(&p->left, row);
    size_t n = 0;
    if (str_is_null(record))
        record = p->records[i];
    TRY(str_is_null(record) ? head_email(&p->attempt, row->email, &d->record)
                            : email_decode(record, &d->record));
    *left = d->record;
    for (size_t k = 0; k < d->record.n_places; k++) {
        struct place at = d->record.places[k];
        if (at.mailbox != p->mailbox->id || at.uid != row->uid)
            left->places[n++] = at;
    }
    left->n_places = (uint32_t)n;
    d->is_last = n == 0;
    d->row = *row;
    return n < d->record.n_places ? RC_OK : RC_NOTFOUND;
}

static enum rc put_message(struct purging *p, struct change *c, const struct tombstone *d,
                           const struct email *left)
{
    unsigned char mem[RECORD_VALUE];
    change_note(c, CHANGE_EMAIL, d->is_last ? CHANGE_DESTROYED : CHANGE_UPDATED, d->row.email);
    if (d->is_last) {
        change_delete(c, key_email(d->row.email));
        change_delete(c, key_member(d->record.thread, d->row.email));
        return RC_OK;
    }
    struct str record = email_encode(left, mem, sizeof mem);
    change_put(c, key_email(d->row.email), record);
    return emails_left_keep(&p->left, &p->attempt.arena, &d->row, record);
}

/* Tombstones, `e` and `t`. */
static enum rc put_messages(struct purging *p, struct change *c)
{
    unsigned char *mem = arena_alloc(&p->attempt.arena, TOMBSTONES_MAX);
    struct packer w;
    struct tombstone d;
    struct email left;
    uint32_t n = 0;
    enum rc rc = RC_OK;
    for (size_t i = 0; i < p->n && (rc == RC_OK || rc == RC_AGAIN); i++) {
        enum rc one = remove_place(p, i, &d, &left);
        if (one == RC_NOTFOUND)
            continue;
        if (one == RC_OK)
            one = put_message(p, c, &d, &left);
        if (one != RC_OK) { /* RC_AGAIN: look on, to find all that must be read */
            rc = one;
            continue;
        }
        if (n % RECORD_TOMBSTONES == 0)
            tombstones_begin(&w, mem, c->time, p->mailbox->id);
        tombstones_add(&w, &d);
        if (++n % RECORD_TOMBSTONES == 0)
            change_put(c, key_tombstone(c->modseq, n / RECORD_TOMBSTONES - 1), pack_done(&w));
    }
    if (rc == RC_OK && n % RECORD_TOMBSTONES)
        change_put(c, key_tombstone(c->modseq, n / RECORD_TOMBSTONES), pack_done(&w));
    return rc;
}

static void put_rows(struct purging *p, struct change *c)
{
    unsigned char mem[PACKED_MAX];
    uint32_t id = p->mailbox->id;
    for (size_t i = 0; i < p->n_own; i++)
        change_delete(c, key_row(id, p->own[i].uid));
    for (uint32_t i = 0; i < GROUPS; i++) {
        const struct group *g = &p->groups[i];
        struct key key = key_packed(id, (p->first + i) * RECORD_PACK);
        if (g->is_packed && g->n_kept)
            change_put(c, key, packed_encode(g->kept, g->n_kept, mem, sizeof mem));
        else if (g->is_packed)
            change_delete(c, key);
    }
}

static struct touched *touch(struct purging *p, struct change *c)
{
    struct touched *t = change_touch(c, p->mailbox);
    t->record.m.highest_modseq = p->mailbox->head.m.highest_modseq;
    return t;
}

static enum rc run_rows(struct attempt *attempt)
{
    struct purging *p = CONTAINER(attempt, struct purging, attempt);
    uint64_t *ids = arena_alloc(&attempt->arena, p->n * sizeof *ids + 1);
    p->records = arena_alloc(&attempt->arena, p->n * sizeof *p->records + 1);
    for (size_t i = 0; i < p->n; i++)
        ids[i] = p->rows[i].email;
    TRY(head_emails(attempt, ids, p->n, p->records));
    struct change *c = change_new(attempt->account, p->op);
    struct mailbox_record *r = &touch(p, c)->record;
    r->recent -= p->n_own < r->recent ? (uint32_t)p->n_own : r->recent;
    emails_left_init(&p->left);
    enum rc rc = put_messages(p, c);
    emails_left_fini(&p->left);
    put_rows(p, c);
    if (rc == RC_OK)
        return change_commit(c);
    change_free(c);
    return rc;
}

/* Nothing is left below the limit; unless it has been removed again meanwhile. */
static enum rc run_end(struct attempt *attempt)
{
    struct purging *p = CONTAINER(attempt, struct purging, attempt);
    struct change *c = change_quiet(attempt->account, p->op);
    struct mailbox_record *r = &touch(p, c)->record;
    if (r->removed_below == p->limit) {
        r->removed_below = 0;
        if (r->state == MAILBOX_REMOVED)
            r->state = MAILBOX_NONE;
        attempt->account->needs_reaping = true;
    }
    return change_commit(c);
}

/* --- the call --------------------------------------------------------------------------------- */

/* One that has such rows, observed; NULL: none. */
static struct mailbox *find_removed(struct store_account *a, uint32_t *out_limit)
{
    struct mailbox *found = NULL;
    pthread_mutex_lock(&a->mutex);
    for (size_t i = 0; i < a->n_mailboxes && !found; i++) {
        const struct mailbox_record *r = &a->mailboxes[i]->published;
        if (r->state != MAILBOX_NONE && r->removed_below)
            found = a->mailboxes[i];
    }
    if (found) {
        *out_limit = found->published.removed_below;
        change_observe(a);
    }
    pthread_mutex_unlock(&a->mutex);
    return found;
}

enum rc purge(struct store_account *a, bool *out_more)
{
    struct purging p = {.attempt = {.account = a}};
    struct waiter w;
    p.mailbox = find_removed(a, &p.limit);
    if (!p.mailbox)
        return RC_OK;
    arena_init(&p.arena, 0);
    waiter_init(&w);
    p.op = &w.op;
    enum rc rc = find_first(&p);
    p.attempt.run = rc == RC_EOF ? run_end : run_rows;
    if (rc == RC_OK)
        rc = read_own(&p);
    if (rc == RC_OK)
        rc = read_groups(&p);
    if (rc == RC_OK || rc == RC_EOF)
        rc = attempt_run(&p.attempt);
    rc = waiter_wait(&w, rc);
    pthread_mutex_lock(&a->mutex);
    change_unobserve(a);
    pthread_mutex_unlock(&a->mutex);
    arena_fini(&p.arena);
    *out_more = true;
    return rc;
}
