/* The public calls: check the arguments, bring ranges into one form, and go to the back end.
 *
 * What is promised for every back end alike (the store's own keys are hidden, lazy commits are for
 * the cache only, sizes and ends of blobs) is kept here and only here. */
#include "kv/kv_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void kv_init(struct kv *kv, const struct kv_backend *backend, const struct ctx *ctx)
{
    kv->backend = backend;
    kv->ctx = ctx;
    pthread_mutex_init(&kv->watches.mutex, NULL);
    map_init(&kv->watches.by_part);
    atomic_init(&kv->watches.count, 0);
}

void kv_fini(struct kv *kv)
{
    map_fini(&kv->watches.by_part);
    pthread_mutex_destroy(&kv->watches.mutex);
}

void kv_close(struct kv **kv)
{
    if (*kv)
        (*kv)->backend->close(*kv);
    *kv = NULL;
}

enum kv_state kv_state(struct kv *kv, const char **out_why)
{
    const char *why = "";
    return kv->backend->state(kv, out_why ? out_why : &why);
}

enum rc kv_room(struct kv *kv, uint64_t bytes)
{
    return kv->backend->room(kv, bytes);
}

uint64_t kv_generation(struct kv *kv)
{
    return kv->backend->generation(kv);
}

enum rc kv_generation_raise(struct kv *kv, uint64_t at_least)
{
    bool is_there = kv->backend->generation(kv) >= at_least;
    return is_there ? RC_OK : kv->backend->generation_set(kv, at_least);
}

/* --- reading --------------------------------------------------------------------------------- */

enum rc kv_version(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version)
{
    return kv->backend->version(kv, part, flags, out_version);
}

enum rc kv_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n, unsigned flags,
               struct arena *arena, struct str *out_values, uint64_t *out_version)
{
    if (n > KV_GET_KEYS)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        out_values[i] = (struct str){0};
        if (keys[i].n == 0 || keys[i].n > KV_KEY_MAX)
            return RC_PERM;
    }
    enum rc rc = kv->backend->get(kv, part, keys, n, flags, arena, out_values, out_version);
    for (size_t i = 0; i < n; i++)
        if (str_starts(keys[i], KV_RESERVED))
            out_values[i] = (struct str){0};
    return rc;
}

enum rc kv_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                unsigned flags, struct arena *arena, struct kv_page *out_page)
{
    *out_page = (struct kv_page){0};
    if (range.from.n > KV_KEY_MAX || range.to.n > KV_KEY_MAX || range.after.n > KV_KEY_MAX)
        return RC_PERM;
    if (str_is_null(range.to) || str_cmp(range.to, KV_RESERVED) > 0)
        range.to = KV_RESERVED;
    if (!str_is_null(range.after) && str_cmp(range.after, range.from) >= 0)
        range.from = (struct str){0};
    else
        range.after = (struct str){0};
    if (str_cmp(range.from, range.to) >= 0 || str_cmp(range.after, range.to) >= 0)
        return kv->backend->version(kv, part, flags, &out_page->version);
    if (max_rows == 0 || max_rows > KV_PAGE_ROWS)
        max_rows = KV_PAGE_ROWS;
    return kv->backend->scan(kv, part, range, max_rows, flags, arena, out_page);
}

/* --- commits --------------------------------------------------------------------------------- */

enum rc kv_commit(struct kv *kv, struct kv_txn *txn, unsigned flags, struct kv_op *op)
{
    op->txn = txn;
    op->flags = flags;
    op->writer = NULL;
    op->backend = NULL;
    op->rc = RC_OK;
    op->version = 0;
    enum rc rc = flags & KV_LAZY && txn->part.class != KV_CACHE ? RC_PERM : RC_OK;
    if (rc == RC_OK)
        rc = kv->backend->commit(kv, op);
    if (rc != RC_OK)
        kv_txn_free(&txn);
    return rc;
}

struct waiting {
    struct kv_op op;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void wake(struct kv_op *op)
{
    struct waiting *w = CONTAINER(op, struct waiting, op);
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}

static enum rc commit_wait(struct kv *kv, struct kv_txn *txn, unsigned flags, uint64_t *out_version)
{
    struct waiting w = {.op.done = wake};
    pthread_mutex_init(&w.mutex, NULL);
    pthread_cond_init(&w.cond, NULL);
    enum rc rc = kv_commit(kv, txn, flags, &w.op);
    if (rc == RC_OK) {
        pthread_mutex_lock(&w.mutex);
        while (!w.is_done)
            pthread_cond_wait(&w.cond, &w.mutex);
        pthread_mutex_unlock(&w.mutex);
        rc = w.op.rc;
    }
    if (rc == RC_OK && out_version)
        *out_version = w.op.version;
    pthread_cond_destroy(&w.cond);
    pthread_mutex_destroy(&w.mutex);
    return rc;
}

enum rc kv_commit_wait(struct kv *kv, struct kv_txn *txn, uint64_t *out_version)
{
    return commit_wait(kv, txn, 0, out_version);
}

enum rc kv_commit_lazy_wait(struct kv *kv, struct kv_txn *txn, uint64_t *out_version)
{
    return commit_wait(kv, txn, KV_LAZY, out_version);
}

bool kv_op_is_doomed(const struct kv_op *op)
{
    return op->writer && kv_writer_has_failure(op->writer);
}

void kv_op_fail(struct kv_op *op, enum rc rc)
{
    op->rc = kv_op_is_doomed(op) ? RC_CONFLICT : rc;
    if (op->writer)
        kv_writer_fail(op->writer);
}

void kv_op_complete(struct kv *kv, struct kv_op *op)
{
    counter_add(kv->ctx->counters, op->rc == RC_OK ? COUNTER_KV_COMMITS : COUNTER_KV_FAILED, 1);
    if (op->writer)
        kv_writer_completed(op->writer);
    kv_txn_free(&op->txn);
    op->done(op);
}

/* --- blobs ----------------------------------------------------------------------------------- */

struct kv_blob_out *kv_blob_new(struct kv *kv, struct kv_part part, uint8_t codec, uint32_t key_id)
{
    struct kv_blob_out *out = kv->backend->blob_new(kv);
    out->kv = kv;
    out->part = part;
    out->meta = (struct kv_blob_meta){.codec = codec, .key_id = key_id};
    return out;
}

enum rc kv_blob_write(struct kv_blob_out *out, struct str bytes)
{
    if (bytes.n == 0)
        return RC_OK;
    enum rc rc = out->kv->backend->blob_write(out, bytes);
    if (rc == RC_OK)
        out->meta.size += bytes.n;
    return rc;
}

bool kv_blob_is_large(const struct kv_blob_out *out)
{
    return out->meta.size > KV_BLOB_SMALL;
}

uint64_t kv_blob_size(const struct kv_blob_out *out)
{
    return out->meta.size;
}

enum rc kv_blob_finish(struct kv_blob_out **out, struct kv_blob_id *out_id)
{
    struct kv_blob_out *o = *out;
    *out = NULL;
    return o->kv->backend->blob_finish(o, out_id);
}

void kv_blob_abort(struct kv_blob_out **out)
{
    if (*out)
        (*out)->kv->backend->blob_abort(*out);
    *out = NULL;
}

void kv_blob_forget(struct kv *kv, struct kv_blob_id id)
{
    kv->backend->blob_forget(kv, id);
}

enum rc kv_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags, struct kv_blob_in **out)
{
    *out = NULL;
    return kv_blob_id_is_zero(id) ? RC_NOTFOUND : kv->backend->blob_open(kv, id, flags, out);
}

void kv_blob_open_many(struct kv *kv, const struct kv_blob_id *ids, size_t n, unsigned flags,
                       struct kv_blob_in **out, enum rc *out_rcs)
{
    bool is_together = kv->backend->blob_open_many && !(flags & KV_CACHED);
    for (size_t i = 0; i < n; i++)
        is_together = is_together && !kv_blob_id_is_zero(ids[i]);
    if (is_together) {
        kv->backend->blob_open_many(kv, ids, n, out, out_rcs);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out_rcs[i] = kv_blob_open(kv, ids[i], flags, &out[i]);
}

struct kv_blob_meta kv_blob_meta(const struct kv_blob_in *in)
{
    return in->meta;
}

enum rc kv_blob_read(struct kv_blob_in *in, uint64_t offset, void *to, size_t n, unsigned flags,
                     size_t *out_got)
{
    *out_got = 0;
    if (offset >= in->meta.size || n == 0)
        return RC_OK;
    if (n > in->meta.size - offset)
        n = (size_t)(in->meta.size - offset);
    enum rc rc = in->kv->backend->blob_read(in, offset, to, n, flags);
    if (rc == RC_OK)
        *out_got = n;
    return rc;
}

void kv_blob_close(struct kv_blob_in **in)
{
    if (*in)
        (*in)->kv->backend->blob_close(*in);
    *in = NULL;
}

/* --- keeping --------------------------------------------------------------------------------- */

void kv_fsck_fault(struct kv_fsck *fsck, const char *format, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    fsck->faults++;
    fsck->report(fsck, line);
}

enum rc kv_fsck(struct kv *kv, struct kv_fsck *fsck)
{
    fsck->rows = fsck->blobs = fsck->bytes = fsck->faults = 0;
    return kv->backend->fsck(kv, fsck);
}

void kv_space(struct kv *kv, struct kv_space *out)
{
    *out = (struct kv_space){.free = UINT64_MAX};
    if (kv->backend->space)
        kv->backend->space(kv, out);
}

enum rc kv_backup(struct kv *kv, const char *dir)
{
    return kv->backend->backup(kv, dir);
}

enum rc kv_restore(struct kv *kv, const char *dir)
{
    return kv->backend->restore ? kv->backend->restore(kv, dir) : RC_PERM;
}
