/* Keeping an account small: packs rows, drops what is over.
 *
 * Invariants:
 *   1. What is done in one call is bounded, and so is each transaction.
 *   2. Packing moves rows from `u` to `U` in one commit and changes nothing that anybody sees: no
 *      modseq. It reads what is published while it observes, and gives up for this time when a
 *      change since then touches a UID that it would move.
 *   3. A tombstone goes with the reference to its body, in one commit, and not while a reader that
 *      is older than it is open.
 *   4. The floor of the change log moves in the commit that trims it; `v` rows below the floor go
 *      after. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    PACK_KEEP = 256,     /* UIDs at the end whose rows stay as they are */
    PACK_ABOVE = 512,    /* rows of their own before packing is worth while */
    PACK_GROUPS = 64,    /* packed rows written by one commit */
    TRIM_ROWS = 64,      /* records of tombstones read at once */
    TRIM_MESSAGES = 256, /* tombstones in one commit, two records at least */
    SWEEP_ROWS = 1024    /* rows looked at for one kind */
};
static const uint64_t delivery_ns = 7 * 86400 * NS_PER_SEC;

static enum rc wait_for(struct attempt *t, struct waiter *w)
{
    return waiter_wait(w, attempt_run(t));
}

struct change *change_quiet(struct store_account *a, struct store_op *op)
{
    struct change *c = change_new(a, op);
    c->after.hot.next_modseq--;
    return c;
}

static struct touched *quiet_touch(struct change *c, struct mailbox *m)
{
    struct touched *t = change_touch(c, m);
    t->record.m.highest_modseq = m->head.m.highest_modseq;
    return t;
}

/* --- packing ---------------------------------------------------------------------------------- */

struct group {
    uint32_t number;       /* UID / RECORD_PACK */
    size_t n_own;          /* rows of its own */
    struct store_row *own; /* in the page's order */
    size_t n;
    struct store_row rows[RECORD_PACK]; /* as they are to be packed */
};

struct packing {
    struct attempt attempt;
    struct store_op *op;
    struct mailbox *mailbox;
    struct arena arena;
    struct store_row *own; /* rows of a page that may be packed */
    size_t n_own;
    uint32_t n_left; /* rows of the page that stay, when the page is all there is */
    bool is_all;
    struct group *groups;
    size_t n_groups;
};

/* UIDs below this one may be packed. */
static uint32_t pack_limit(const struct mailbox *m)
{
    uint32_t next = m->published.m.uidnext;
    return next > PACK_KEEP ? (next - PACK_KEEP) / RECORD_PACK * RECORD_PACK : 0;
}

static enum rc read_own(struct packing *p, struct store_account *a, uint32_t limit)
{
    uint32_t id = p->mailbox->id;
    struct key from = key_of('u', id, NULL, 0), to = key_after(key_str(&from), from.n);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_page page;
    uint32_t last_group = 0;
    TRY(kv_scan(a->store->kv, account_part(a->id), range, 0, 0, &p->arena, &page));
    p->own = arena_alloc(&p->arena, page.n * sizeof *p->own + 1);
    p->is_all = !page.has_more;
    for (size_t i = 0; i < page.n; i++) {
        struct store_row *row = &p->own[p->n_own];
        if (page.rows[i].key.n != 9)
            return RC_CORRUPT;
        TRY(row_decode(get_u32(page.rows[i].key.p + 5), page.rows[i].value, row));
        bool is_new = p->n_groups == 0 || row->uid / RECORD_PACK != last_group;
        if (row->uid >= limit || (is_new && p->n_groups == PACK_GROUPS)) {
            p->n_left++;
            continue;
        }
        last_group = row->uid / RECORD_PACK;
        p->n_groups += is_new;
        p->n_own++;
    }
    return RC_OK;
}

enum rc merge_rows(struct str packed_key, struct str packed, const struct store_row *own,
                   size_t n_own, struct store_row *out, size_t *out_n)
{
    struct store_row old[RECORD_PACK];
    size_t n_old = 0, i = 0, j = 0, n = 0;
    if (!str_is_null(packed))
        TRY(packed_decode(packed_key, packed, old, &n_old));
    while (i < n_old || j < n_own) {
        if (j == n_own || (i < n_old && old[i].uid < own[j].uid)) {
            out[n++] = old[i++];
            continue;
        }
        if (i < n_old && old[i].uid == own[j].uid)
            i++;
        if (!(own[j].flags & ROW_GONE))
            out[n++] = own[j];
        j++;
    }
    *out_n = n;
    return RC_OK;
}

/* What a packed row shall be: what it was, with the rows that have one of their own. */
static enum rc merge_group(struct group *g, struct str value)
{
    struct key key = key_packed(0, g->number * RECORD_PACK);
    return merge_rows(key_str(&key), value, g->own, g->n_own, g->rows, &g->n);
}

static enum rc read_groups(struct packing *p, struct store_account *a)
{
    struct key keys[PACK_GROUPS];
    struct str names[PACK_GROUPS], values[PACK_GROUPS];
    size_t n = 0;
    p->groups = arena_alloc(&p->arena, p->n_groups * sizeof *p->groups + 1);
    for (size_t i = 0; i < p->n_own; i++) {
        uint32_t number = p->own[i].uid / RECORD_PACK;
        if (n == 0 || p->groups[n - 1].number != number) {
            p->groups[n].number = number;
            p->groups[n].own = &p->own[i];
            p->groups[n].n = p->groups[n].n_own = 0;
            keys[n] = key_packed(p->mailbox->id, p->own[i].uid);
            names[n] = key_str(&keys[n]);
            n++;
        }
        p->groups[n - 1].n_own++;
    }
    TRY(kv_get(a->store->kv, account_part(a->id), names, n, 0, &p->arena, values, NULL));
    for (size_t i = 0; i < n; i++)
        TRY(merge_group(&p->groups[i], values[i]));
    return RC_OK;
}

/* Whether a change has touched what is about to be moved. */
static bool is_disturbed(const struct packing *p, struct list *changes)
{
    LIST_EACH (changes, it) {
        const struct change *c = CONTAINER(it, struct change, link);
        for (size_t i = 0; i < c->n_deltas; i++) {
            const struct row_delta *d = &c->deltas[i];
            if (d->mailbox == p->mailbox->id &&
                d->row.uid / RECORD_PACK <= p->groups[p->n_groups - 1].number)
                return true;
        }
    }
    return false;
}

static void put_group(struct change *c, const struct packing *p, const struct group *g)
{
    unsigned char mem[PACKED_MAX];
    uint32_t id = p->mailbox->id;
    struct key key = key_packed(id, g->number * RECORD_PACK);
    if (g->n)
        change_put(c, key, packed_encode(g->rows, g->n, mem, sizeof mem));
    else
        change_delete(c, key);
}

/* The rows that have been packed. They are all that lies between the first and the last of them:
 * the page was read without gaps, and nothing has changed there since. Many go as one range, which
 * later scans step over; a mark for each would be looked at one by one until it is compacted. */
static void drop_own(struct change *c, const struct packing *p)
{
    enum { RANGE_FROM = 64 };
    uint32_t id = p->mailbox->id;
    if (p->n_own >= RANGE_FROM) {
        change_trim(c, key_row(id, p->own[0].uid), key_row(id, p->own[p->n_own - 1].uid + 1));
        return;
    }
    for (size_t i = 0; i < p->n_own; i++)
        change_delete(c, key_row(id, p->own[i].uid));
}

static enum rc run_pack(struct attempt *attempt)
{
    struct packing *p = CONTAINER(attempt, struct packing, attempt);
    struct store_account *a = attempt->account;
    if (p->mailbox->head.state != MAILBOX_OPEN)
        return RC_CONFLICT;
    if (p->n_groups && (is_disturbed(p, &a->kept) || is_disturbed(p, &a->in_flight)))
        return RC_CONFLICT;
    struct change *c = change_quiet(a, p->op);
    struct touched *t = quiet_touch(c, p->mailbox);
    for (size_t i = 0; i < p->n_groups; i++)
        put_group(c, p, &p->groups[i]);
    drop_own(c, p);
    if (p->n_groups) {
        uint32_t end = (p->groups[p->n_groups - 1].number + 1) * RECORD_PACK;
        if (t->record.packed < end)
            t->record.packed = end;
    }
    /* A page that is all there is gives the exact number, but for what has come since. */
    uint32_t published = p->mailbox->published.recent, gone = (uint32_t)p->n_own;
    if (p->is_all)
        t->record.recent =
            p->n_left + (t->record.recent > published ? t->record.recent - published : 0);
    else
        t->record.recent -= gone < t->record.recent ? gone : t->record.recent;
    return change_commit(c);
}

/* *out_more: rows were moved. The mailbox was observed by who found it. */
static enum rc pack_mailbox(struct store_account *a, struct mailbox *m, uint32_t limit,
                            bool *out_more)
{
    struct waiter w;
    waiter_init(&w);
    struct packing p = {.attempt = {.run = run_pack, .account = a}, .op = &w.op, .mailbox = m};
    arena_init(&p.arena, 0);
    enum rc rc = read_own(&p, a, limit);
    if (rc == RC_OK && p.n_groups)
        rc = read_groups(&p, a);
    rc = rc == RC_OK ? wait_for(&p.attempt, &w) : waiter_wait(&w, rc);
    pthread_mutex_lock(&a->mutex);
    change_unobserve(a);
    pthread_mutex_unlock(&a->mutex);
    arena_fini(&p.arena);
    *out_more = *out_more || (rc == RC_OK && p.n_own);
    return rc == RC_CONFLICT ? RC_OK : rc; /* disturbed: next time */
}

static bool is_pack_due(const struct mailbox *m)
{
    return m->published.state == MAILBOX_OPEN && m->published.recent > PACK_ABOVE;
}

/* The next one by id that is due, observed; NULL: none. */
static struct mailbox *next_due(struct store_account *a, uint32_t after, uint32_t *out_limit)
{
    struct mailbox *found = NULL;
    pthread_mutex_lock(&a->mutex);
    for (size_t i = 0; i < a->n_mailboxes && !found; i++)
        if (a->mailboxes[i]->id > after && is_pack_due(a->mailboxes[i]))
            found = a->mailboxes[i];
    if (found) {
        *out_limit = pack_limit(found);
        change_observe(a);
    }
    pthread_mutex_unlock(&a->mutex);
    return found;
}

static enum rc pack(struct store_account *a, bool *out_more)
{
    enum rc rc = RC_OK;
    uint32_t id = 0, limit;
    struct mailbox *m;
    while (rc == RC_OK && (m = next_due(a, id, &limit)) != NULL) {
        id = m->id; /* it may be gone afterwards */
        rc = pack_mailbox(a, m, limit, out_more);
    }
    return rc;
}

/* --- tombstones ------------------------------------------------------------------------------- */

/* c, d, v and z have the time behind the format. */
static bool is_over(const struct store_account *a, struct str value, uint64_t keep_ns)
{
    uint64_t now = store_now(a->store);
    uint64_t time = value.n >= 9 ? get_u64(value.p + 1) : UINT64_MAX;
    return keep_ns == UINT64_MAX || (time <= now && now - time >= keep_ns);
}

/* The rows of a kind, from the first one on, whose time is over. */
struct over {
    struct kv_page page;
    size_t n; /* rows of the page that are over */
};

static enum rc read_over(struct store_account *a, char kind, size_t max, uint64_t keep_ns,
                         struct arena *arena, struct over *out)
{
    struct key from = key_of_kind(kind), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    out->n = 0;
    TRY(kv_scan(a->store->kv, account_part(a->id), range, max, 0, arena, &out->page));
    while (out->n < out->page.n && is_over(a, out->page.rows[out->n].value, keep_ns))
        out->n++;
    return RC_OK;
}

struct released {
    uint64_t hash;
    struct message_id record;
};

struct trimming {
    struct attempt attempt;
    struct store_op *op;
    struct over over;
    struct released released[TRIM_MESSAGES];
    size_t n_released;
};

/* One message less with this message id. */
static enum rc release_message_id(struct trimming *p, uint64_t hash)
{
    struct str value;
    size_t i = 0;
    if (hash == 0)
        return RC_OK;
    while (i < p->n_released && p->released[i].hash != hash)
        i++;
    struct message_id *m = &p->released[i].record;
    if (i == p->n_released) {
        TRY(head_get(&p->attempt, key_message_id(hash), &value));
        if (str_is_null(value))
            return RC_OK; /* fsck will say so */
        TRY(message_id_decode(value, m));
        p->released[p->n_released++].hash = hash;
    }
    if (m->emails)
        m->emails--;
    return RC_OK;
}

static enum rc trim_record(struct trimming *p, struct change *c, struct kv_row row)
{
    struct tombstones all;
    struct tombstone d;
    enum rc result = RC_OK, rc = tombstones_open(row.value, &all);
    if (rc == RC_OK)
        rc = kv_txn_delete(c->txn, row.key);
    while (rc == RC_OK && (rc = tombstones_next(&all, &d)) == RC_OK) {
        if (!d.is_last)
            continue;
        TRY(kv_txn_drop(c->txn, d.record.blob));
        summary_delete(c, d.row.email);
        enum rc one = release_message_id(p, d.record.message_id);
        if (one != RC_OK && one != RC_AGAIN)
            return one;
        if (one == RC_AGAIN) /* look on, to find all that must be read */
            result = one;
    }
    return rc == RC_EOF ? result : rc;
}

static enum rc run_trim(struct attempt *attempt)
{
    struct trimming *p = CONTAINER(attempt, struct trimming, attempt);
    struct change *c = change_quiet(attempt->account, p->op);
    unsigned char mem[64];
    enum rc rc = RC_OK;
    p->n_released = 0;
    for (size_t i = 0; i < p->over.n && (rc == RC_OK || rc == RC_AGAIN); i++) {
        enum rc one = trim_record(p, c, p->over.page.rows[i]);
        if (one != RC_OK)
            rc = one;
    }
    for (size_t i = 0; i < p->n_released; i++) {
        struct key key = key_message_id(p->released[i].hash);
        const struct message_id *m = &p->released[i].record;
        if (m->emails)
            change_put(c, key, message_id_encode(m, mem, sizeof mem));
        else
            change_delete(c, key);
    }
    if (rc == RC_OK)
        return change_commit(c);
    change_free(c);
    return rc;
}

/* How many of these records no reader needs (their keys begin with the modseq) and one commit
 * takes. A damaged one stops the commit, as it should. */
static size_t unneeded(const struct over *over, uint64_t limit)
{
    struct tombstones all;
    size_t n = 0, messages = 0;
    while (n < over->n && over->page.rows[n].key.n == 13 &&
           get_u64(over->page.rows[n].key.p + 1) <= limit) {
        if (tombstones_open(over->page.rows[n].value, &all) == RC_OK)
            messages += all.n;
        if (messages > TRIM_MESSAGES)
            break;
        n++;
    }
    return n;
}

static enum rc trim_tombstones(struct store_account *a, bool *out_more)
{
    struct waiter w;
    struct arena arena;
    struct trimming *p = mem_zero(sizeof *p);
    arena_init(&arena, 0);
    p->attempt = (struct attempt){.run = run_trim, .account = a};
    pthread_mutex_lock(&a->mutex);
    uint64_t limit = reader_limit(a); /* before the scan: what comes after it is not looked at */
    pthread_mutex_unlock(&a->mutex);
    enum rc rc = read_over(a, 'd', TRIM_ROWS, a->store->conf.undelete_ns, &arena, &p->over);
    size_t n_over = p->over.n;
    if (rc == RC_OK)
        p->over.n = unneeded(&p->over, limit);
    if (rc == RC_OK && p->over.n) {
        *out_more = *out_more || p->over.n == p->over.page.n || p->over.n < n_over;
        waiter_init(&w);
        p->op = &w.op;
        rc = wait_for(&p->attempt, &w);
    }
    arena_fini(&arena);
    free(p);
    return rc;
}

/* --- the change log, what vanished, deliveries ------------------------------------------------ */

struct deleting {
    struct attempt attempt;
    struct store_op *op;
    struct str *keys;
    size_t n;
    uint64_t floor; /* the log's, when higher */
};

static enum rc run_delete(struct attempt *attempt)
{
    struct deleting *p = CONTAINER(attempt, struct deleting, attempt);
    struct change *c = change_quiet(attempt->account, p->op);
    if (c->after.hot.floor < p->floor)
        c->after.hot.floor = p->floor;
    for (size_t i = 0; i < p->n && c->rc == RC_OK; i++)
        c->rc = kv_txn_delete(c->txn, p->keys[i]);
    return change_commit(c);
}

static enum rc delete_rows(struct store_account *a, struct str *keys, size_t n, uint64_t floor)
{
    struct waiter w;
    if (n == 0)
        return RC_OK;
    waiter_init(&w);
    struct deleting p = {.attempt = {.run = run_delete, .account = a},
                         .op = &w.op,
                         .keys = keys,
                         .n = n,
                         .floor = floor};
    return wait_for(&p.attempt, &w);
}

static enum rc trim_log(struct store_account *a, bool *out_more)
{
    struct str keys[SWEEP_ROWS];
    struct arena arena;
    struct over over;
    arena_init(&arena, 0);
    enum rc rc = read_over(a, 'c', SWEEP_ROWS, a->store->conf.changes_ns, &arena, &over);
    for (size_t i = 0; rc == RC_OK && i < over.n; i++)
        keys[i] = over.page.rows[i].key;
    if (rc == RC_OK && over.n && keys[over.n - 1].n == 13) {
        *out_more = *out_more || (over.n == over.page.n && over.page.has_more);
        rc = delete_rows(a, keys, over.n, get_u64(keys[over.n - 1].p + 1));
    }
    arena_fini(&arena);
    return rc;
}

/* A `v` row's modseq is the end of its key; what the log's floor has passed is of no use. */
static bool is_vanished_over(struct store_account *a, struct kv_row row, uint64_t floor)
{
    return row.key.n == 13 && get_u64(row.key.p + 5) <= floor;
}

static bool is_delivery_over(struct store_account *a, struct kv_row row, uint64_t floor)
{
    return is_over(a, row.value, delivery_ns);
}

static bool is_uidls_over(struct store_account *a, struct kv_row row, uint64_t floor)
{
    return uidls_are_over(a, row);
}

/* Looks through the next rows of a kind whose keys are not in order of time; *cursor says how far
 * it came, and is empty at the end. */
static enum rc sweep(struct store_account *a, char kind, struct key *cursor,
                     bool (*is_useless)(struct store_account *, struct kv_row, uint64_t),
                     bool *out_more)
{
    struct str keys[SWEEP_ROWS];
    struct arena arena;
    struct kv_page page;
    struct key from = key_of_kind(kind), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    size_t n = 0;
    pthread_mutex_lock(&a->mutex);
    uint64_t floor = a->published.hot.floor;
    pthread_mutex_unlock(&a->mutex);
    if (cursor->n)
        range.after = key_str(cursor);
    arena_init(&arena, 0);
    enum rc rc = kv_scan(a->store->kv, account_part(a->id), range, SWEEP_ROWS, 0, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++)
        if (is_useless(a, page.rows[i], floor))
            keys[n++] = page.rows[i].key;
    if (rc == RC_OK)
        rc = delete_rows(a, keys, n, 0);
    cursor->n = 0;
    if (rc == RC_OK && page.has_more && page.rows[page.n - 1].key.n <= sizeof cursor->b) {
        cursor->n = page.rows[page.n - 1].key.n;
        memcpy(cursor->b, page.rows[page.n - 1].key.p, cursor->n);
        *out_more = true;
    }
    arena_fini(&arena);
    return rc;
}

enum rc store_maintain(struct store_account *a, bool *out_more)
{
    *out_more = false;
    pthread_mutex_lock(&a->mutex);
    while (a->is_maintained)
        pthread_cond_wait(&a->cond, &a->mutex);
    a->is_maintained = true;
    pthread_mutex_unlock(&a->mutex);
    enum rc rc = purge(a, out_more);
    if (rc == RC_OK)
        rc = pack(a, out_more);
    if (rc == RC_OK)
        rc = trim_tombstones(a, out_more);
    if (rc == RC_OK)
        rc = trim_log(a, out_more);
    if (rc == RC_OK)
        rc = sweep(a, 'v', &a->swept_vanished, is_vanished_over, out_more);
    if (rc == RC_OK)
        rc = sweep(a, 'z', &a->swept_deliveries, is_delivery_over, out_more);
    if (rc == RC_OK)
        rc = sweep(a, 'l', &a->swept_uidls, is_uidls_over, out_more);
    pthread_mutex_lock(&a->mutex);
    a->is_maintained = false;
    pthread_cond_broadcast(&a->cond);
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

/* The account's mutex is held. */
static bool is_untidy(const struct store_account *a)
{
    bool is = false;
    for (size_t i = 0; i < a->n_mailboxes && !is; i++)
        is = is_pack_due(a->mailboxes[i]) || a->mailboxes[i]->published.removed_below;
    return is;
}

size_t store_untidy(struct store *s, uint64_t *out_ids, size_t max)
{
    size_t n = 0, slot = 0;
    pthread_mutex_lock(&s->mutex);
    struct map_node *node = NULL;
    while (n < max && (node = map_each(&s->accounts, &slot, node))) {
        struct store_account *a = CONTAINER(node, struct store_account, node);
        if (a->state != ACCOUNT_READY)
            continue;
        pthread_mutex_lock(&a->mutex);
        if (is_untidy(a))
            out_ids[n++] = a->id;
        pthread_mutex_unlock(&a->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return n;
}
