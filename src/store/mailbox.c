/* Mailboxes as readers see them: lists, roots, keywords, what has vanished.
 *
 * Rows come into memory when somebody opens the mailbox, while changes go on. So a loader
 *   1. observes: from before its first read, every change that is published is kept;
 *   2. reads rows of their own first and packed ones after, because packing moves them that way; of
 *      two rows with one UID, the one of its own is the newer one;
 *   3. waits until all that it may have seen is published here too, and applies what was kept, in
 *      order: a row that changed meanwhile is then what the last change made it;
 *   4. goes on with the changes under way, which gives them and the head their roots. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static bool is_listed(const struct mailbox *m)
{
    return m->published.state == MAILBOX_OPEN || m->published.state == MAILBOX_PLACEHOLDER;
}

static enum rc copy_info(const struct mailbox *m, struct arena *arena, struct store_mailbox *out)
{
    *out = m->published.m;
    out->name = arena_dup(arena, out->name);
    return str_is_null(out->name) ? RC_LIMIT : RC_OK;
}

enum rc store_mailbox_list(struct store_account *a, struct arena *arena, struct store_mailbox **out,
                           size_t *out_n)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&a->mutex);
    size_t n = 0;
    struct store_mailbox *list = arena_alloc(arena, a->n_mailboxes * sizeof *list + 1);
    for (size_t i = 0; list && rc == RC_OK && i < a->n_mailboxes; i++)
        if (is_listed(a->mailboxes[i]))
            rc = copy_info(a->mailboxes[i], arena, &list[n++]);
    *out = list;
    *out_n = n;
    pthread_mutex_unlock(&a->mutex);
    return list ? rc : RC_LIMIT;
}

enum rc store_mailbox_by_role(struct store_account *a, enum store_role role, uint32_t *out_id)
{
    pthread_mutex_lock(&a->mutex);
    *out_id = 0;
    for (size_t i = 0; i < a->n_mailboxes && *out_id == 0; i++) {
        const struct mailbox_record *r = &a->mailboxes[i]->published;
        if (r->state == MAILBOX_OPEN && r->m.role == role)
            *out_id = r->m.id;
    }
    pthread_mutex_unlock(&a->mutex);
    return *out_id ? RC_OK : RC_NOTFOUND;
}

enum rc store_mailbox_get(struct store_account *a, uint32_t id, struct arena *arena,
                          struct store_mailbox *out)
{
    pthread_mutex_lock(&a->mutex);
    const struct mailbox *m = mailbox_any(a, id);
    enum rc rc = m && is_listed(m) ? copy_info(m, arena, out) : RC_NOTFOUND;
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

enum rc store_keywords(struct store_account *a, struct arena *arena,
                       struct str out_names[STORE_KEYWORDS])
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&a->mutex);
    for (unsigned i = 0; i < STORE_KEYWORDS; i++) {
        out_names[i] = (struct str){0};
        if (i >= a->published.n_keywords)
            continue;
        out_names[i] = arena_dup(arena, a->keywords[i]);
        if (str_is_null(out_names[i]))
            rc = RC_LIMIT;
    }
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

unsigned store_keyword_count(struct store_account *a)
{
    pthread_mutex_lock(&a->mutex);
    unsigned n = a->published.n_keywords;
    pthread_mutex_unlock(&a->mutex);
    return n;
}

/* --- loading rows ----------------------------------------------------------------------------- */

struct reading {
    struct rows_reader *reader;
    struct store_row *own;
    size_t n_own, size;
    size_t at; /* of `own`, the next one that was not given */
};

static enum rc keep_own(void *arg, struct kv_row row)
{
    struct reading *r = arg;
    if (row.key.n != 9)
        return RC_CORRUPT;
    r->own = mem_array(r->own, &r->size, r->n_own + 1, sizeof *r->own);
    TRY(row_decode(get_u32(row.key.p + 5), row.value, &r->own[r->n_own]));
    r->n_own++;
    return RC_OK;
}

static void give_own(struct reading *r, uint64_t below)
{
    for (; r->at < r->n_own && r->own[r->at].uid < below; r->at++)
        if (!(r->own[r->at].flags & ROW_GONE))
            r->reader->each(r->reader, &r->own[r->at], 1);
}

/* A packed row, with the rows of their own that are newer. */
static enum rc give_packed(void *arg, struct kv_row row)
{
    struct reading *r = arg;
    struct store_row rows[RECORD_PACK];
    size_t n, n_own = 0;
    if (row.key.n != 9)
        return RC_CORRUPT;
    uint64_t first = (uint64_t)get_u32(row.key.p + 5) * RECORD_PACK, end = first + RECORD_PACK;
    give_own(r, first);
    while (r->at + n_own < r->n_own && r->own[r->at + n_own].uid < end)
        n_own++;
    TRY(merge_rows(row.key, row.value, r->own + r->at, n_own, rows, &n));
    r->at += n_own;
    r->reader->each(r->reader, rows, n);
    r->reader->packed_end = end > UINT32_MAX ? UINT32_MAX : (uint32_t)end;
    return RC_OK;
}

enum rc rows_read(struct store_account *a, uint32_t mailbox, struct rows_reader *reader)
{
    struct reading r = {.reader = reader};
    struct key own = key_of('u', mailbox, NULL, 0), packed = key_of('U', mailbox, NULL, 0);
    reader->packed_end = 0;
    enum rc rc = scan_rows(a, key_str(&own), keep_own, &r, NULL);
    if (rc == RC_OK)
        rc = scan_rows(a, key_str(&packed), give_packed, &r, &reader->version);
    if (rc == RC_OK)
        give_own(&r, UINT64_MAX);
    free(r.own);
    return rc;
}

struct loading {
    struct rows_reader reader;
    uint32_t removed_below; /* rows of a mailbox that was removed */
    struct store_root *root;
};

static void add_to_root(struct rows_reader *reader, const struct store_row *rows, size_t n)
{
    struct loading *l = CONTAINER(reader, struct loading, reader);
    while (n && rows->uid < l->removed_below) {
        rows++;
        n--;
    }
    root_add(l->root, rows, n);
}

/* What was read, brought to what is published: changes that came meanwhile may be in it already.
 * Its chunks are of no known modseq. */
static void make_roots(struct store_account *a, struct mailbox *m, struct store_root *root)
{
    struct store_mailbox info = m->published.m;
    info.highest_modseq = 0;
    LIST_EACH (&a->kept, it) {
        const struct change *c = CONTAINER(it, struct change, link);
        struct store_root *next = change_root(c, &info, root);
        store_root_release(&root);
        root = next;
    }
    m->root = root_apply(root, &m->published.m, NULL, 0);
    store_root_release(&root);
    m->head_root = root_ref(m->root);
    LIST_EACH (&a->in_flight, it) {
        struct change *c = CONTAINER(it, struct change, link);
        for (size_t i = 0; i < c->n_touched; i++)
            if (c->touched[i].mailbox == m)
                change_move_head(c, &c->touched[i]);
    }
}

/* One try, with the lock, which is not held while it reads. RC_AGAIN: once more. */
static enum rc load_root(struct store_account *a, struct mailbox *m)
{
    struct loading l = {.reader.each = add_to_root,
                        .removed_below = m->published.removed_below,
                        .root = root_new(&(struct store_mailbox){.id = m->id}, NULL, 0)};
    unsigned epoch = a->epoch;
    change_observe(a);
    pthread_mutex_unlock(&a->mutex);
    enum rc rc = rows_read(a, m->id, &l.reader);
    pthread_mutex_lock(&a->mutex);
    while (rc == RC_OK && a->version < l.reader.version && (a->n_in_flight || a->is_reloading))
        pthread_cond_wait(&a->cond, &a->mutex);
    if (rc == RC_OK && (a->epoch != epoch || m->published.removed_below > l.removed_below))
        rc = RC_AGAIN;
    if (rc == RC_OK && a->version < l.reader.version) { /* somebody else has written */
        a->is_stale = true;
        rc = RC_CONFLICT;
    }
    if (rc == RC_OK) {
        make_roots(a, m, l.root);
        l.root = NULL;
    }
    m->is_loading = false;
    change_unobserve(a); /* which may free the mailbox, when it was removed meanwhile */
    store_root_release(&l.root);
    return rc;
}

enum rc store_mailbox_open(struct store_account *a, uint32_t mailbox, unsigned flags,
                           struct store_root **out)
{
    *out = NULL;
    enum rc rc = RC_AGAIN;
    pthread_mutex_lock(&a->mutex);
    while (rc == RC_AGAIN) {
        struct mailbox *m = account_published(a, mailbox); /* anew after each wait */
        if (!m) {
            rc = RC_NOTFOUND;
        } else if (m->root) {
            *out = root_ref(m->root);
            rc = RC_OK;
        } else if (flags & KV_CACHED) {
            break;
        } else if (m->is_loading) {
            pthread_cond_wait(&a->cond, &a->mutex);
        } else {
            m->is_loading = true;
            rc = load_root(a, m);
            pthread_cond_broadcast(&a->cond);
            if (rc == RC_OK)
                rc = RC_AGAIN; /* look again: it may have been removed meanwhile */
        }
    }
    pthread_mutex_unlock(&a->mutex);
    return rc;
}

/* --- what has vanished ------------------------------------------------------------------------ */

struct vanished {
    uint32_t *uids;
    size_t n, size;
};

static enum rc collect(void *arg, struct kv_row row)
{
    struct vanished *v = arg;
    struct unpacker r;
    unpack_init(&r, row.value);
    if (unpack_u8(&r) != RECORD_FORMAT)
        return RC_CORRUPT;
    (void)unpack_u64(&r);
    size_t n = unpack_u16(&r);
    v->uids = mem_array(v->uids, &v->size, v->n + n, sizeof *v->uids);
    for (size_t i = 0; i < n; i++)
        v->uids[v->n++] = unpack_u32(&r);
    return unpack_done(&r);
}

static int compare_uids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

enum rc store_vanished(struct store_account *a, uint32_t mailbox, uint64_t modseq,
                       struct arena *arena, uint32_t **out_uids, size_t *out_n)
{
    struct vanished v = {0};
    struct key from = key_vanished(mailbox, modseq == UINT64_MAX ? modseq : modseq + 1);
    struct key prefix = key_of('v', mailbox, NULL, 0), to = key_after(key_str(&prefix), prefix.n);
    *out_uids = NULL;
    *out_n = 0;
    pthread_mutex_lock(&a->mutex);
    bool is_known = account_published(a, mailbox) && modseq >= a->published.hot.floor;
    pthread_mutex_unlock(&a->mutex);
    if (!is_known)
        return RC_NOTFOUND;
    enum rc rc = scan_between(a, key_str(&from), key_str(&to), collect, &v, NULL);
    if (rc == RC_OK && v.n) {
        qsort(v.uids, v.n, sizeof *v.uids, compare_uids);
        *out_uids = arena_alloc(arena, v.n * sizeof *v.uids);
        if (*out_uids)
            memcpy(*out_uids, v.uids, v.n * sizeof *v.uids);
        *out_n = *out_uids ? v.n : 0;
        rc = *out_uids ? RC_OK : RC_LIMIT;
    }
    free(v.uids);
    return rc;
}
