/* kv_mem: the contract of kv.h in memory, for tests.
 *
 * Owns partitions, rows, versions and the queue of commits. One thread takes commits in order,
 * applies and completes them, so that commits are as asynchronous as on a disk; one mutex makes
 * every read one published state. Nothing survives kv_close. Beside the contract it counts what is
 * read and written, holds the queue on demand, and fails on demand. */
#include "kv/kv_mem_int.h"

#include "base/mem.h"

#include "task/task.h"

#include <stdlib.h>

enum { QUEUE_BYTES = 64 << 20 };

struct part {
    struct map_node node;
    struct kv_part part;
    uint64_t version;
    struct kv_rows rows;
};

static struct kv_mem *mem_of(struct kv *kv)
{
    return CONTAINER(kv, struct kv_mem, kv);
}

static struct part *find(struct kv_mem *m, struct kv_part part)
{
    struct map_node *node = map_find(&m->parts, kv_part_hash(part));
    for (; node; node = map_next(node)) {
        struct part *p = CONTAINER(node, struct part, node);
        if (kv_part_eq(p->part, part))
            return p;
    }
    return NULL;
}

static struct part *find_or_add(struct kv_mem *m, struct kv_part part)
{
    struct part *p = find(m, part);
    if (!p) {
        p = mem_zero(sizeof *p);
        p->part = part;
        map_add(&m->parts, &p->node, kv_part_hash(part));
    }
    return p;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Begins a read: RC_OK with the mutex held, *out_part NULL for a partition never written to. */
static enum rc read_begin(struct kv_mem *m, struct kv_part part, unsigned flags,
                          struct part **out_part)
{
    pthread_mutex_lock(&m->mutex);
    if (flags & KV_CACHED && m->is_cold) {
        pthread_mutex_unlock(&m->mutex);
        return RC_AGAIN;
    }
    *out_part = find(m, part);
    return RC_OK;
}

/* Under the mutex. */
static enum rc check_readable(const struct kv_mem *m, struct str key)
{
    return str_starts(key, m->unreadable) ? m->fail_reads : RC_OK;
}

static enum rc mem_version(struct kv *kv, struct kv_part part, unsigned flags,
                           uint64_t *out_version)
{
    struct kv_mem *m = mem_of(kv);
    struct part *p;
    TRY(read_begin(m, part, flags, &p));
    *out_version = p ? p->version : 0;
    pthread_mutex_unlock(&m->mutex);
    return RC_OK;
}

static enum rc mem_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n,
                       unsigned flags, struct arena *arena, struct str *out_values,
                       uint64_t *out_version)
{
    struct kv_mem *m = mem_of(kv);
    struct part *p;
    enum rc rc = RC_OK;
    TRY(read_begin(m, part, flags, &p));
    if (out_version)
        *out_version = p ? p->version : 0;
    m->stats.keys_read += n;
    for (size_t i = 0; p && i < n && rc == RC_OK; i++) {
        struct str value = kv_rows_get(&p->rows, keys[i]);
        rc = check_readable(m, keys[i]);
        if (value.n)
            out_values[i] = arena_dup(arena, value);
        if (value.n && !out_values[i].p)
            rc = RC_LIMIT;
    }
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

/* The rows from `row` on, as far as the page and the range go. */
static enum rc fill_page(const struct kv_rows_row *row, struct str to, size_t max_rows,
                         struct arena *arena, struct kv_page *page)
{
    size_t n = 0;
    size_t bytes = 0;
    const struct kv_rows_row *end = row;
    for (; end && str_cmp(end->key, to) < 0; end = end->next[0]) {
        if (n == max_rows || (n > 0 && bytes + end->key.n + end->value.n > KV_PAGE_BYTES)) {
            page->has_more = true;
            break;
        }
        bytes += end->key.n + end->value.n;
        n++;
    }
    page->rows = arena_alloc(arena, n * sizeof *page->rows);
    if (!page->rows)
        return RC_LIMIT;
    for (; row != end; row = row->next[0]) {
        struct kv_row *to_row = &page->rows[page->n++];
        *to_row = (struct kv_row){arena_dup(arena, row->key), arena_dup(arena, row->value)};
        if (!to_row->key.p || !to_row->value.p)
            return RC_LIMIT;
    }
    return RC_OK;
}

static enum rc mem_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                        unsigned flags, struct arena *arena, struct kv_page *out_page)
{
    struct kv_mem *m = mem_of(kv);
    struct part *p;
    enum rc rc = RC_OK;
    TRY(read_begin(m, part, flags, &p));
    m->stats.scans++;
    if (p)
        rc = check_readable(m, range.from);
    if (p && rc == RC_OK) {
        bool is_after = !str_is_null(range.after);
        const struct kv_rows_row *row = kv_rows_seek(&p->rows, is_after ? range.after : range.from);
        if (is_after && row && str_eq(row->key, range.after))
            row = row->next[0];
        out_page->version = p->version;
        rc = fill_page(row, range.to, max_rows, arena, out_page);
        m->stats.rows_scanned += out_page->n;
    }
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

/* --- commits ---------------------------------------------------------------------------------- */

static enum rc check_asserts(struct kv_mem *m, const struct part *p, const struct kv_txn *txn)
{
    struct kv_item item;
    if (txn->has_expect && txn->expect != p->version)
        return RC_CONFLICT;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (item.kind != KV_ITEM_ASSERT_VALUE && item.kind != KV_ITEM_ASSERT_ABSENT)
            continue;
        m->stats.keys_read++;
        struct str value = kv_rows_get(&p->rows, item.key);
        if (!str_eq(value, item.value)) /* no value is empty, so absent equals absent only */
            return RC_CONFLICT;
    }
    return RC_OK;
}

static void apply_rows(struct kv_mem *m, struct part *p, const struct kv_txn *txn)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (item.kind == KV_ITEM_PUT) {
            kv_rows_put(&p->rows, item.key, item.value);
            m->stats.keys_written++;
        } else if (item.kind == KV_ITEM_DELETE) {
            kv_rows_delete(&p->rows, item.key);
            m->stats.keys_written++;
        } else if (item.kind == KV_ITEM_TRIM) {
            struct kv_rows_row *row;
            while ((row = kv_rows_seek(&p->rows, item.key)) != NULL &&
                   str_cmp(row->key, item.value) < 0) {
                kv_rows_delete(&p->rows, row->key);
                m->stats.keys_written++;
            }
        }
    }
}

/* The rows of the cache partition beside it. */
static void apply_cached(struct kv_mem *m, const struct kv_txn *txn)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (item.kind != KV_ITEM_PUT_CACHED && item.kind != KV_ITEM_DELETE_CACHED)
            continue;
        struct part *cache = find_or_add(m, (struct kv_part){KV_CACHE, txn->part.id});
        m->stats.keys_written++;
        if (item.kind == KV_ITEM_PUT_CACHED)
            kv_rows_put(&cache->rows, item.key, item.value);
        else
            kv_rows_delete(&cache->rows, item.key);
    }
}

/* The whole transaction or nothing of it. */
static enum rc apply(struct kv_mem *m, struct kv_op *op)
{
    struct part *p = find_or_add(m, op->txn->part);
    enum rc fail = m->is_readonly ? RC_TEMP : m->fail_next;
    m->fail_next = RC_OK;
    m->is_readonly = m->is_readonly || fail == RC_TEMP;
    if (fail != RC_OK)
        return fail;
    TRY(check_asserts(m, p, op->txn));
    TRY(kv_mem_blobs_apply(m, op->txn));
    apply_rows(m, p, op->txn);
    apply_cached(m, op->txn);
    p->version = op->txn->version ? op->txn->version : p->version + 1;
    op->version = p->version;
    m->stats.commits++;
    return RC_OK;
}

/* While the queue is held: the first lazy commit that no held one of its partition precedes. */
static struct kv_op *next_lazy(struct kv_mem *m)
{
    LIST_EACH (&m->queue, it) {
        struct kv_op *op = CONTAINER(it, struct kv_op, link);
        bool is_first = op->flags & KV_LAZY;
        for (struct list *before = m->queue.next; is_first && before != it; before = before->next)
            is_first = !kv_part_eq(CONTAINER(before, struct kv_op, link)->txn->part, op->txn->part);
        if (is_first)
            return op;
    }
    return NULL;
}

static struct kv_op *next_op(struct kv_mem *m)
{
    struct list *first = list_first(&m->queue);
    if (!first)
        return NULL;
    if (!m->is_held || m->steps > 0)
        return CONTAINER(first, struct kv_op, link);
    return next_lazy(m);
}

static void *run(void *arg)
{
    struct kv_mem *m = arg;
    pthread_mutex_lock(&m->mutex);
    for (;;) {
        struct kv_op *op = next_op(m);
        if (!op && m->is_stopping)
            break;
        if (!op) {
            pthread_cond_wait(&m->wake, &m->mutex);
            continue;
        }
        list_remove(&op->link);
        m->steps -= m->steps > 0;
        m->queued_bytes -= buf_len(&op->txn->items);
        enum rc rc = kv_op_is_doomed(op) ? RC_CONFLICT : apply(m, op);
        if (rc != RC_OK)
            kv_op_fail(op, rc);
        pthread_mutex_unlock(&m->mutex);
        if (rc == RC_OK)
            kv_watches_tell(&m->kv, op->txn->part, op->version);
        kv_op_complete(&m->kv, op);
        pthread_mutex_lock(&m->mutex);
    }
    pthread_mutex_unlock(&m->mutex);
    return NULL;
}

static enum rc mem_commit(struct kv *kv, struct kv_op *op)
{
    struct kv_mem *m = mem_of(kv);
    size_t bytes = buf_len(&op->txn->items);
    enum rc rc = RC_OK;
    pthread_mutex_lock(&m->mutex);
    if (m->is_readonly)
        rc = RC_TEMP;
    else if (m->queued_bytes > 0 && bytes > QUEUE_BYTES - m->queued_bytes)
        rc = RC_LIMIT;
    if (rc == RC_OK) {
        list_add_tail(&m->queue, &op->link);
        m->queued_bytes += bytes;
        pthread_cond_signal(&m->wake);
    }
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

/* --- the store -------------------------------------------------------------------------------- */

static enum kv_state mem_state(struct kv *kv, const char **out_why)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    bool is_readonly = m->is_readonly;
    pthread_mutex_unlock(&m->mutex);
    *out_why = is_readonly ? "a commit was made to fail" : "";
    return is_readonly ? KV_READONLY : KV_WRITABLE;
}

static enum rc mem_room(struct kv *kv, uint64_t bytes)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    enum rc rc = m->is_readonly ? RC_TEMP : bytes > m->room ? RC_FULL : RC_OK;
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

static uint64_t mem_generation(struct kv *kv)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    uint64_t generation = m->generation;
    pthread_mutex_unlock(&m->mutex);
    return generation;
}

static enum rc mem_generation_set(struct kv *kv, uint64_t generation)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    enum rc rc = m->is_readonly ? RC_TEMP : RC_OK;
    if (rc == RC_OK)
        m->generation = generation;
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

static enum rc mem_fsck(struct kv *kv, struct kv_fsck *fsck)
{
    struct kv_mem *m = mem_of(kv);
    size_t slot = 0;
    pthread_mutex_lock(&m->mutex);
    for (struct map_node *node = NULL; (node = map_each(&m->parts, &slot, node)) != NULL;)
        fsck->rows += CONTAINER(node, struct part, node)->rows.count;
    kv_mem_blobs_fsck(m, fsck);
    pthread_mutex_unlock(&m->mutex);
    return fsck->faults ? RC_CORRUPT : RC_OK;
}

static enum rc mem_backup(struct kv *kv, const char *dir)
{
    return RC_PERM; /* it keeps nothing */
}

static void mem_close(struct kv *kv)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->is_stopping = true;
    m->is_held = false;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->mutex);
    pthread_join(m->thread, NULL);
    size_t slot = 0;
    for (struct map_node *node = map_each(&m->parts, &slot, NULL), *next; node; node = next) {
        next = map_each(&m->parts, &slot, node);
        struct part *p = CONTAINER(node, struct part, node);
        kv_rows_fini(&p->rows);
        free(p);
    }
    map_fini(&m->parts);
    kv_mem_blobs_fini(m);
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->mutex);
    kv_fini(&m->kv);
    free(m);
}

static const struct kv_backend mem_backend = {
    .name = "mem",
    .close = mem_close,
    .state = mem_state,
    .room = mem_room,
    .generation = mem_generation,
    .generation_set = mem_generation_set,
    .version = mem_version,
    .get = mem_get,
    .scan = mem_scan,
    .commit = mem_commit,
    .blob_new = kv_mem_blob_new,
    .blob_write = kv_mem_blob_write,
    .blob_finish = kv_mem_blob_finish,
    .blob_abort = kv_mem_blob_abort,
    .blob_forget = kv_mem_blob_forget,
    .blob_open = kv_mem_blob_open,
    .blob_read = kv_mem_blob_read,
    .blob_close = kv_mem_blob_close,
    .fsck = mem_fsck,
    .backup = mem_backup,
};

struct kv *kv_mem_new(const struct ctx *ctx)
{
    struct kv_mem *m = mem_zero(sizeof *m);
    kv_init(&m->kv, &mem_backend, ctx);
    pthread_mutex_init(&m->mutex, NULL);
    pthread_cond_init(&m->wake, NULL);
    map_init(&m->parts);
    map_init(&m->blobs);
    list_init(&m->queue);
    m->generation = 1;
    m->room = UINT64_MAX;
    m->thread = task_thread("kv-mem", run, m);
    return &m->kv;
}

void kv_mem_stats(struct kv *kv, struct kv_mem_stats *out)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    *out = m->stats;
    pthread_mutex_unlock(&m->mutex);
}

void kv_mem_hold(struct kv *kv, bool hold)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->is_held = hold;
    m->steps = 0;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->mutex);
}

void kv_mem_step(struct kv *kv, size_t n)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->steps += n;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->mutex);
}

void kv_mem_cold(struct kv *kv, bool cold)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->is_cold = cold;
    pthread_mutex_unlock(&m->mutex);
}

void kv_mem_shrink(struct kv *kv, uint64_t room)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->room = room;
    pthread_mutex_unlock(&m->mutex);
}

void kv_mem_fail(struct kv *kv, enum rc rc)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->fail_next = rc;
    pthread_mutex_unlock(&m->mutex);
}

void kv_mem_fail_reads(struct kv *kv, struct str prefix, enum rc rc)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->unreadable = prefix;
    m->fail_reads = rc;
    pthread_mutex_unlock(&m->mutex);
}

void kv_mem_restored(struct kv *kv)
{
    struct kv_mem *m = mem_of(kv);
    pthread_mutex_lock(&m->mutex);
    m->generation++;
    pthread_mutex_unlock(&m->mutex);
}
