/* Changes: the account's one writer.
 *
 * Invariants, under account.mutex:
 *   1. in_flight holds the changes that kv has taken, in that order; head is published plus these.
 *   2. A change is published when kv says that it is durable, in order: numbers, roots, then
 *      watches, then its caller. Nothing else moves the published view.
 *   3. When one fails, all behind it fail; is_stale keeps new ones out until nothing is in flight
 *      and the head is again what is published. The published view was never wrong meanwhile.
 *   4. A change says what it does to rows (deltas) also when no rows are in memory, so that whoever
 *      loads them meanwhile can bring them up to date.
 *   5. One modseq a change; every change with rows or mailboxes writes one `c`. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { RUNS_CACHED = 4, RUNS = 100, WARM = 256 };

/* --- one change after the other --------------------------------------------------------------- */

/* The lock is held, but not while it loads. */
static enum rc reload(struct store_account *a)
{
    a->is_reloading = true;
    pthread_mutex_unlock(&a->mutex);
    enum rc rc = account_reload(a);
    pthread_mutex_lock(&a->mutex);
    a->is_reloading = false;
    if (rc == RC_OK)
        a->is_stale = false;
    pthread_cond_broadcast(&a->cond);
    return rc;
}

/* Takes the account's mutex when there may be a change. RC_AGAIN with KV_CACHED. */
static enum rc lock(struct store_account *a, unsigned flags)
{
    pthread_mutex_lock(&a->mutex);
    enum rc rc = RC_OK;
    while (rc == RC_OK && (a->is_stale || a->is_reloading || a->is_paused)) {
        if (flags & KV_CACHED)
            rc = RC_AGAIN;
        else if (a->is_stale && !a->is_reloading && !a->is_paused && a->n_in_flight == 0)
            rc = reload(a);
        else
            pthread_cond_wait(&a->cond, &a->mutex);
    }
    if (rc != RC_OK)
        pthread_mutex_unlock(&a->mutex);
    return rc;
}

static enum rc warm_scans(struct attempt *t)
{
    for (size_t i = 0; i < t->n_missed_scans; i++) {
        const struct missed_scan *s = &t->missed_scans[i];
        struct kv_range range = {.from = key_str(&s->from), .to = key_str(&s->to)};
        struct kv_page page = {0};
        arena_reset(&t->arena);
        TRY(kv_scan(t->account->store->kv, account_part(t->account->id), range, s->max_rows, 0,
                    &t->arena, &page));
    }
    return RC_OK;
}

static enum rc warm(struct attempt *t)
{
    struct str names[WARM], values[WARM];
    for (size_t from = 0; from < t->n_missed; from += WARM) {
        size_t n = t->n_missed - from < WARM ? t->n_missed - from : WARM;
        for (size_t i = 0; i < n; i++)
            names[i] = key_str(&t->missed[from + i]);
        arena_reset(&t->arena);
        TRY(kv_get(t->account->store->kv, account_part(t->account->id), names, n, 0, &t->arena,
                   values, NULL));
    }
    return warm_scans(t);
}

enum rc attempt_run(struct attempt *t)
{
    enum rc rc = RC_AGAIN;
    arena_init(&t->arena, 0);
    while (rc == RC_AGAIN && t->n_runs < RUNS) {
        t->n_missed = t->n_missed_scans = 0;
        rc = lock(t->account, t->flags);
        if (rc != RC_OK)
            break;
        rc = t->run(t);
        pthread_mutex_unlock(&t->account->mutex);
        t->n_runs++;
        if (rc != RC_AGAIN || t->flags & KV_CACHED)
            break;
        enum rc warmed = warm(t);
        if (warmed != RC_OK)
            rc = warmed;
        arena_reset(&t->arena);
    }
    arena_fini(&t->arena);
    free(t->missed);
    free(t->missed_scans);
    return rc == RC_AGAIN && !(t->flags & KV_CACHED) ? RC_TEMP : rc;
}

/* --- the head --------------------------------------------------------------------------------- */

static unsigned head_flags(const struct attempt *t)
{
    return t->n_runs < RUNS_CACHED ? KV_CACHED : t->flags;
}

enum rc head_scan(struct attempt *t, struct key from, struct key to, size_t max_rows,
                  struct kv_page *out_page)
{
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    enum rc rc =
        kv_writer_scan(t->account->writer, range, max_rows, head_flags(t), &t->arena, out_page);
    if (rc == RC_AGAIN) {
        t->missed_scans = mem_array(t->missed_scans, &t->size_missed_scans, t->n_missed_scans + 1,
                                    sizeof *t->missed_scans);
        t->missed_scans[t->n_missed_scans++] = (struct missed_scan){from, to, max_rows};
    }
    return rc;
}

enum rc head_get(struct attempt *t, struct key key, struct str *out)
{
    unsigned flags = head_flags(t);
    enum rc rc = kv_writer_get(t->account->writer, key_str(&key), flags, &t->arena, out);
    if (rc == RC_AGAIN) {
        t->missed = mem_array(t->missed, &t->size_missed, t->n_missed + 1, sizeof key);
        t->missed[t->n_missed++] = key;
    }
    return rc;
}

static enum rc packed_find(struct key key, struct str value, uint32_t uid, struct store_row *out)
{
    struct store_row rows[RECORD_PACK];
    size_t n;
    TRY(packed_decode(key_str(&key), value, rows, &n));
    for (size_t i = 0; i < n; i++)
        if (rows[i].uid == uid) {
            *out = rows[i];
            return RC_OK;
        }
    return RC_NOTFOUND;
}

/* Both kinds of rows are read whatever the mailbox is like, so that the cost is always the same. */
enum rc head_row(struct attempt *t, struct mailbox *m, uint32_t uid, struct store_row *out)
{
    if (m->head_root) {
        const struct store_row *row = root_row(m->head_root, uid);
        if (row)
            *out = *row;
        return row ? RC_OK : RC_NOTFOUND;
    }
    if (uid < m->head.removed_below)
        return RC_NOTFOUND;
    struct key packed_key = key_packed(m->id, uid);
    struct str own, packed;
    enum rc rc = head_get(t, key_row(m->id, uid), &own);
    enum rc packed_rc = head_get(t, packed_key, &packed);
    TRY(rc);
    TRY(packed_rc);
    if (!str_is_null(own)) {
        TRY(row_decode(uid, own, out));
        return out->flags & ROW_GONE ? RC_NOTFOUND : RC_OK;
    }
    return str_is_null(packed) ? RC_NOTFOUND : packed_find(packed_key, packed, uid, out);
}

enum rc head_email(struct attempt *t, uint64_t email, struct email *out)
{
    struct str value;
    TRY(head_get(t, key_email(email), &value));
    return str_is_null(value) ? RC_NOTFOUND : email_decode(value, out);
}

/* --- making a change -------------------------------------------------------------------------- */

struct change *change_new(struct store_account *a, struct store_op *user)
{
    struct change *c = mem_zero(sizeof *c);
    list_init(&c->link);
    c->account = a;
    c->user = user;
    c->txn = kv_txn_new(account_part(a->id));
    c->after = a->head;
    c->modseq = c->after.hot.next_modseq++;
    c->time = store_now(a->store);
    c->touched = c->first_touched;
    c->deltas = c->first_deltas;
    c->notes = c->first_notes;
    return c;
}

void change_free(struct change *c)
{
    kv_txn_free(&c->txn);
    for (size_t i = 0; i < c->n_touched; i++)
        store_root_release(&c->touched[i].root);
    if (c->size_touched)
        free(c->touched);
    if (c->size_deltas)
        free(c->deltas);
    if (c->size_notes)
        free(c->notes);
    free(c->slots);
    free((void *)(uintptr_t)c->subscription.p);
    free(c);
}

/* Room for one more item of an array that begins in the change itself. */
static void *grow(void *array, size_t *size, size_t n, size_t first, size_t item)
{
    if (*size)
        return mem_array(array, size, n + 1, item);
    if (n < first)
        return array;
    void *copy = mem_array(NULL, size, n + 1, item);
    memcpy(copy, array, n * item);
    return copy;
}

struct touched *change_touch(struct change *c, struct mailbox *m)
{
    for (size_t i = 0; i < c->n_touched; i++)
        if (c->touched[i].mailbox == m)
            return &c->touched[i];
    c->touched = grow(c->touched, &c->size_touched, c->n_touched, 1, sizeof *c->touched);
    struct touched *t = &c->touched[c->n_touched++];
    *t = (struct touched){.mailbox = m, .record = m->head};
    t->record.m.highest_modseq = c->modseq;
    return t;
}

static void add(struct change *c, enum rc rc)
{
    if (c->rc == RC_OK)
        c->rc = rc;
}

void change_put(struct change *c, struct key key, struct str value)
{
    add(c, kv_txn_put(c->txn, key_str(&key), value));
}

void change_delete(struct change *c, struct key key)
{
    add(c, kv_txn_delete(c->txn, key_str(&key)));
}

void change_trim(struct change *c, struct key from, struct key to)
{
    add(c, kv_txn_trim(c->txn, key_str(&from), key_str(&to)));
}

static void add_delta(struct change *c, const struct row_delta *delta)
{
    c->deltas = grow(c->deltas, &c->size_deltas, c->n_deltas, 1, sizeof *c->deltas);
    c->deltas[c->n_deltas++] = *delta;
}

void change_row(struct change *c, struct touched *t, const struct store_row *row)
{
    unsigned char mem[64];
    uint32_t mailbox = t->record.m.id;
    add_delta(c, &(struct row_delta){.mailbox = mailbox, .row = *row});
    change_put(c, key_row(mailbox, row->uid), row_encode(row, mem, sizeof mem));
    if (row->uid < t->record.packed || row->uid >= t->mailbox->head.m.uidnext)
        t->record.recent++;
}

bool change_remove_row(struct change *c, struct touched *t, uint32_t uid)
{
    unsigned char mem[64];
    uint32_t mailbox = t->record.m.id;
    struct store_row gone = {.uid = uid, .flags = ROW_GONE};
    add_delta(c, &(struct row_delta){.mailbox = mailbox, .is_gone = true, .row = gone});
    if (uid < t->record.packed) {
        change_put(c, key_row(mailbox, uid), row_encode(&gone, mem, sizeof mem));
        t->record.recent++;
        return false;
    }
    if (t->record.recent)
        t->record.recent--;
    return true;
}

void change_note(struct change *c, enum change_kind kind, enum change_what what, uint64_t id)
{
    size_t first = sizeof c->first_notes / sizeof c->first_notes[0];
    c->notes = grow(c->notes, &c->size_notes, c->n_notes, first, sizeof *c->notes);
    c->notes[c->n_notes++] = (struct note){kind, what, id};
}

/* The one that a message cannot have beside this one [RFC9979 4, 5]; absent: there is none. */
static struct str rival_of(struct str name)
{
    static const struct str pairs[][2] = {
        {STR_INIT("$hasattachment"), STR_INIT("$hasnoattachment")},
        {STR_INIT("$memo"), STR_INIT("$hasmemo")}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (size_t j = 0; j < 2; j++)
            if (str_ieq(name, pairs[i][j]))
                return pairs[i][1 - j];
    return (struct str){0};
}

uint64_t change_rivals(const struct change *c, uint64_t bits)
{
    uint64_t rivals = 0;
    for (unsigned bit = 0; bit < c->after.n_keywords && bits >> bit; bit++) {
        struct str rival = bits >> bit & 1 ? rival_of(c->account->keywords[bit]) : (struct str){0};
        for (unsigned i = 0; rival.p && i < c->after.n_keywords; i++)
            if (str_ieq(c->account->keywords[i], rival))
                rivals |= UINT64_C(1) << i;
    }
    return rivals;
}

/* Finds the bit of each name, or gives it the next one. Names beyond the head's number are nobody's
 * yet, so they may be written before the change is queued. */
enum rc change_keywords(struct change *c, const struct str *names, size_t n, bool is_making,
                        uint64_t *out_bits)
{
    struct store_account *a = c->account;
    *out_bits = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned bit = 0;
        if (names[i].n == 0 || names[i].n > STORE_KEYWORD_MAX)
            return RC_LIMIT;
        while (bit < c->after.n_keywords && !str_ieq(a->keywords[bit], names[i]))
            bit++;
        if (bit == c->after.n_keywords && !is_making)
            continue;
        if (bit == STORE_KEYWORDS)
            return RC_LIMIT;
        if (bit == c->after.n_keywords) {
            unsigned char mem[STORE_KEYWORD_MAX + 8];
            free((void *)(uintptr_t)a->keywords[bit].p);
            a->keywords[bit] = str_from(mem_dup(names[i].p, names[i].n), names[i].n);
            change_put(c, key_keyword(bit), text_encode(names[i], mem, sizeof mem));
            c->after.n_keywords++;
        }
        if (!is_making || !(change_rivals(c, *out_bits) >> bit & 1))
            *out_bits |= UINT64_C(1) << bit;
    }
    return RC_OK;
}

/* --- queueing --------------------------------------------------------------------------------- */

static void put_notes(struct change *c)
{
    unsigned char mem[256], *more = NULL;
    size_t size = 1 + 8 + 2 + c->n_notes * 10;
    struct packer w;
    if (c->n_notes == 0)
        return;
    if (size > sizeof mem)
        more = mem_alloc(size);
    pack_init(&w, more ? more : mem, size);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, c->time);
    pack_u16(&w, (uint16_t)c->n_notes);
    for (size_t i = 0; i < c->n_notes; i++) {
        pack_u8(&w, (uint8_t)c->notes[i].kind);
        pack_u8(&w, (uint8_t)c->notes[i].what);
        pack_u64(&w, c->notes[i].id);
    }
    change_put(c, key_change(c->modseq, 0), pack_done(&w));
    free(more);
}

static int compare_deltas(const void *a, const void *b)
{
    uint32_t x = ((const struct row_delta *)a)->row.uid, y = ((const struct row_delta *)b)->row.uid;
    return x < y ? -1 : x > y;
}

struct store_root *change_root(const struct change *c, const struct store_mailbox *info,
                               struct store_root *old)
{
    if (c->n_deltas == 1 && c->deltas[0].mailbox == info->id)
        return root_apply(old, info, c->deltas, 1);
    struct row_delta *mine = mem_alloc(c->n_deltas * sizeof *mine + 1);
    size_t n = 0;
    bool is_sorted = true;
    for (size_t i = 0; i < c->n_deltas; i++) {
        if (c->deltas[i].mailbox != info->id)
            continue;
        is_sorted = is_sorted && (n == 0 || mine[n - 1].row.uid < c->deltas[i].row.uid);
        mine[n++] = c->deltas[i];
    }
    if (!is_sorted)
        qsort(mine, n, sizeof *mine, compare_deltas);
    struct store_root *root = root_apply(old, info, mine, n);
    free(mine);
    return root;
}

/* NULL when the rows are not in memory. */
static struct store_root *root_after(const struct change *c, const struct touched *t,
                                     struct store_root *old)
{
    if (!old)
        return NULL;
    if (t->is_emptied)
        return root_new(&t->record.m, NULL, 0);
    return change_root(c, &t->record.m, old);
}

void change_move_head(struct change *c, struct touched *t)
{
    struct mailbox *m = t->mailbox;
    struct store_root *root = root_after(c, t, m->head_root);
    m->head = t->record;
    store_root_release(&m->head_root);
    m->head_root = root;
    t->root = root_ref(root);
}

static void change_done(struct kv_op *op);

enum rc change_commit(struct change *c)
{
    struct store_account *a = c->account;
    unsigned char mem[RECORD_VALUE];
    for (size_t i = 0; i < c->n_touched; i++) {
        const struct mailbox_record *r = &c->touched[i].record;
        if (r->state == MAILBOX_NONE)
            change_delete(c, key_mailbox(r->m.id));
        else
            change_put(c, key_mailbox(r->m.id), mailbox_encode(r, mem, sizeof mem));
    }
    change_put(c, key_hot(), hot_encode(&c->after.hot, mem, sizeof mem));
    put_notes(c);
    if (c->rc == RC_OK && a->n_in_flight >= CHANGE_QUEUE)
        c->rc = RC_TEMP;
    if (c->rc == RC_OK) {
        c->op.done = change_done;
        c->rc = kv_writer_commit(a->writer, c->txn, &c->op);
        c->txn = NULL;
        if (c->rc == RC_LIMIT) /* kv's queue is full: not a limit of this account */
            c->rc = RC_TEMP;
    }
    if (c->rc != RC_OK) {
        enum rc rc = c->rc;
        if (rc == RC_CONFLICT && kv_writer_is_failed(a->writer)) {
            a->is_stale = true;
            rc = RC_AGAIN;
        }
        change_free(c);
        return rc;
    }
    account_ref(a);
    for (size_t i = 0; i < c->n_touched; i++)
        change_move_head(c, &c->touched[i]);
    a->head = c->after;
    list_add_tail(&a->in_flight, &c->link);
    a->n_in_flight++;
    if (c->user) {
        c->user->modseq = c->modseq;
        c->user->rc = RC_OK;
    }
    return RC_OK;
}

/* --- the result ------------------------------------------------------------------------------- */

static void publish(struct store_account *a, struct change *c)
{
    news_begin(a, c);
    a->published = c->after;
    a->version = c->op.version;
    for (size_t i = 0; i < c->n_touched; i++) {
        struct touched *t = &c->touched[i];
        t->mailbox->published = t->record;
        if (!t->root)
            continue;
        store_root_release(&t->mailbox->root);
        t->mailbox->root = t->root;
        t->root = NULL;
    }
    if (!str_is_null(c->subscription))
        subscriptions_publish(a, c);
    news_end(a, c);
}

static void tell_watches(struct store_account *a)
{
    pthread_mutex_lock(&a->watch_mutex);
    LIST_EACH_SAFE (&a->watches, it) {
        struct store_watch *watch = CONTAINER(it, struct store_watch, link);
        watch->changed(watch);
    }
    pthread_mutex_unlock(&a->watch_mutex);
}

enum rc change_nothing(struct store_account *a, struct store_op *user)
{
    user->rc = RC_OK;
    user->modseq = 0;
    user->changed = 0;
    if (list_is_empty(&a->in_flight))
        return RC_EOF;
    struct change *last = CONTAINER(a->in_flight.prev, struct change, link);
    user->next_ = last->followers;
    last->followers = user;
    return RC_OK;
}

/* What they have found is durable; or it is not so, and they may look again. */
static void tell_followers(struct store_op *first, enum rc rc)
{
    for (struct store_op *op = first, *next; op; op = next) {
        next = op->next_;
        op->rc = rc == RC_OK ? RC_OK : RC_CONFLICT;
        op->done(op);
    }
}

static void change_done(struct kv_op *op)
{
    struct change *c = CONTAINER(op, struct change, op);
    struct store_account *a = c->account;
    struct store_op *user = c->user;
    /* What a commit does not find is a body; callers know RC_NOTFOUND as "no such mailbox". */
    enum rc rc = op->rc == RC_NOTFOUND ? RC_CORRUPT : op->rc;
    pthread_mutex_lock(&a->mutex);
    struct store_op *followers = c->followers;
    c->followers = NULL;
    list_remove(&c->link);
    a->n_in_flight--;
    if (rc == RC_OK)
        publish(a, c);
    else
        a->is_stale = true;
    if (rc == RC_OK && a->n_observers)
        list_add_tail(&a->kept, &c->link);
    else
        change_free(c);
    mailboxes_reap(a);
    pthread_cond_broadcast(&a->cond);
    pthread_mutex_unlock(&a->mutex);
    if (rc == RC_OK)
        tell_watches(a);
    account_unref(a); /* first, so that whoever is told may destroy it */
    if (user) {
        user->rc = rc;
        user->done(user);
    }
    tell_followers(followers, rc);
}

/* --- observers and waiters -------------------------------------------------------------------- */

void change_observe(struct store_account *a)
{
    a->n_observers++;
}

void change_unobserve(struct store_account *a)
{
    if (--a->n_observers)
        return;
    LIST_EACH_SAFE (&a->kept, it) {
        list_remove(it);
        change_free(CONTAINER(it, struct change, link));
    }
    mailboxes_reap(a);
}

static void waiter_done(struct store_op *op)
{
    struct waiter *w = CONTAINER(op, struct waiter, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

void waiter_init(struct waiter *w)
{
    *w = (struct waiter){.op.done = waiter_done};
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->cond, NULL);
}

enum rc waiter_wait(struct waiter *w, enum rc queued)
{
    pthread_mutex_lock(&w->mutex);
    while (queued == RC_OK && !w->is_done)
        pthread_cond_wait(&w->cond, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->mutex);
    return queued == RC_OK ? w->op.rc : queued;
}
