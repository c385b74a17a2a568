/* One partition: read, summed, and written into the other store.
 *
 * Invariants: (1) a row and its references come with one commit, so that what a crash leaves can be
 * cleared by the rows alone; (2) the sum depends on rows and on the bytes of blobs, not on blobs'
 * ids, so it is the same in both stores; (3) a blob is in our hands until the commit with its first
 * reference, and at most about HELD_BYTES of small ones are at a time. */
#include "migrate/migrate_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "queue/queue.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 256 << 10, HELD_BYTES = 8 << 20 };

/* A blob that a row of the page refers to. */
struct found {
    size_t row;
    uint32_t at;
    bool is_known; /* to, sum */
    bool is_held;
    struct kv_blob_id from, to;
    unsigned char sum[CRYPTO_SHA256];
};

struct work {
    struct carry *c;
    struct crypto_sha256_state sum;
    struct arena arena;
    struct kv_page page;
    struct found *found; /* of the page, in the order of its rows */
    size_t n_found, room;
    size_t known;     /* of them, from the first on */
    size_t committed; /* the same */
    uint64_t held_bytes;
    struct kv_txn *txn;
    char *piece;
};

/* --- rows ------------------------------------------------------------------------------------- */

enum rc carry_blobs(struct kv_part part, struct kv_row row, uint32_t out_at[KV_ROW_BLOBS],
                    size_t *out_n)
{
    *out_n = 0;
    if (part.class == KV_ACCOUNT)
        return store_row_blobs(row, out_at, out_n);
    return part.class == KV_QUEUE ? queue_row_blobs(row, out_at, out_n) : RC_OK;
}

struct kv_blob_id carry_blob_at(struct kv_row row, uint32_t at)
{
    struct kv_blob_id id;
    memcpy(id.b, row.value.p + at, sizeof id.b);
    return id;
}

enum rc carry_each_row(struct kv *kv, struct kv_part part, struct carry_walk *walk)
{
    struct kv_walk rows;
    struct kv_row row;
    enum rc rc;
    kv_walk_begin(&rows, kv, part, (struct kv_range){0}, KV_ONCE);
    do
        rc = kv_walk_next(&rows, &row);
    while (rc == RC_OK && (rc = walk->row(walk, row)) == RC_OK);
    kv_walk_end(&rows);
    return rc == RC_EOF ? RC_OK : rc;
}

/* Lengths stand before what they are of, so that no two lists of rows are summed alike. */
static void sum_row(struct work *w, struct kv_row row, const struct found *found, size_t n)
{
    unsigned char head[12];
    size_t from = 0;
    put_u32(head, (uint32_t)row.key.n);
    put_u32(head + 4, (uint32_t)row.value.n);
    put_u32(head + 8, (uint32_t)n);
    crypto_sha256_add(&w->sum, str_from(head, sizeof head));
    crypto_sha256_add(&w->sum, row.key);
    for (size_t i = 0; i < n; i++) {
        crypto_sha256_add(&w->sum, str_sub(row.value, from, found[i].at - from));
        crypto_sha256_add(&w->sum, str_from(found[i].sum, sizeof found[i].sum));
        from = found[i].at + sizeof found[i].to.b;
    }
    crypto_sha256_add(&w->sum, str_skip(row.value, from));
}

/* --- blobs ------------------------------------------------------------------------------------ */

static enum rc copy_bytes(struct work *w, struct kv_blob_in *in, struct kv_blob_out *out,
                          unsigned char sum[CRYPTO_SHA256])
{
    struct kv_blob_meta meta = kv_blob_meta(in);
    struct crypto_sha256_state state;
    unsigned char head[13];
    size_t got = 0;
    put_u64(head, meta.size);
    head[8] = meta.codec;
    put_u32(head + 9, meta.key_id);
    crypto_sha256_init(&state);
    crypto_sha256_add(&state, str_from(head, sizeof head));
    for (uint64_t at = 0; at < meta.size; at += got) {
        size_t n = meta.size - at < PIECE ? (size_t)(meta.size - at) : PIECE;
        TRY(kv_blob_read(in, at, w->piece, n, 0, &got));
        if (got != n)
            return RC_CORRUPT;
        crypto_sha256_add(&state, str_from(w->piece, got));
        if (out)
            TRY(kv_blob_write(out, str_from(w->piece, got)));
    }
    crypto_sha256_end(&state, sum);
    w->c->bytes += meta.size;
    return RC_OK;
}

static enum rc write_blob(struct work *w, struct kv_blob_in *in, struct found *f)
{
    struct kv_blob_meta meta = kv_blob_meta(in);
    struct kv_blob_out *out = kv_blob_new(w->c->to, w->c->part, meta.codec, meta.key_id);
    enum rc rc = copy_bytes(w, in, out, f->sum);
    if (rc != RC_OK) {
        kv_blob_abort(&out);
        return rc;
    }
    TRY(kv_blob_finish(&out, &f->to));
    f->is_held = true;
    w->held_bytes += meta.size <= KV_BLOB_SMALL ? meta.size : 0;
    return RC_OK;
}

/* What was copied already is only summed, unless that was done too. */
static enum rc carry_blob(struct work *w, struct kv_blob_in *in, struct found *f)
{
    struct shared *s = w->c->shared;
    bool is_shared = s && shared_is(s, f->from);
    struct shared_blob *blob = is_shared ? shared_find(s, f->from) : NULL;
    if (!w->c->to)
        return copy_bytes(w, in, NULL, f->sum);
    if (!blob)
        TRY(write_blob(w, in, f));
    else if (!blob->has_sum)
        TRY(copy_bytes(w, in, NULL, f->sum));
    if (!blob && is_shared)
        blob = shared_add(s, f->from, f->to);
    if (!blob)
        return RC_OK;
    f->to = blob->to;
    memcpy(blob->has_sum ? f->sum : blob->sum, blob->has_sum ? blob->sum : f->sum, sizeof f->sum);
    blob->has_sum = true;
    return RC_OK;
}

static bool look_up(struct work *w, struct found *f)
{
    struct shared *s = w->c->shared;
    const struct shared_blob *blob = s && shared_is(s, f->from) ? shared_find(s, f->from) : NULL;
    if (!blob || !blob->has_sum)
        return false;
    f->to = blob->to;
    memcpy(f->sum, blob->sum, sizeof f->sum);
    return true;
}

/* The next ones of the page. */
static enum rc know_more(struct work *w)
{
    struct kv_blob_id ids[KV_BLOBS_AT_ONCE];
    struct kv_blob_in *ins[KV_BLOBS_AT_ONCE] = {NULL};
    struct found *which[KV_BLOBS_AT_ONCE];
    enum rc rcs[KV_BLOBS_AT_ONCE], rc = RC_OK;
    size_t n = 0;
    for (; w->known < w->n_found && n < KV_BLOBS_AT_ONCE; w->known++) {
        struct found *f = &w->found[w->known];
        if (look_up(w, f))
            continue;
        ids[n] = f->from;
        which[n++] = f;
    }
    kv_blob_open_many(w->c->from, ids, n, 0, ins, rcs);
    for (size_t i = 0; i < n; i++) {
        if (rc == RC_OK)
            rc = rcs[i] == RC_NOTFOUND ? RC_CORRUPT : rcs[i];
        if (rc == RC_OK)
            rc = carry_blob(w, ins[i], which[i]);
        kv_blob_close(&ins[i]);
    }
    return rc;
}

/* --- the page --------------------------------------------------------------------------------- */

static enum rc find_blobs(struct work *w)
{
    uint32_t at[KV_ROW_BLOBS];
    size_t n;
    w->n_found = w->known = w->committed = 0;
    for (size_t i = 0; i < w->page.n; i++) {
        TRY(carry_blobs(w->c->part, w->page.rows[i], at, &n));
        w->found = mem_array(w->found, &w->room, w->n_found + n + 1, sizeof *w->found);
        for (size_t k = 0; k < n; k++)
            w->found[w->n_found++] = (struct found){
                .row = i, .at = at[k], .from = carry_blob_at(w->page.rows[i], at[k])};
    }
    return RC_OK;
}

static void forget(struct work *w, size_t to)
{
    for (; w->committed < to; w->committed++)
        if (w->found[w->committed].is_held)
            kv_blob_forget(w->c->to, w->found[w->committed].to);
}

/* All rows so far, whose blobs are those below `to`. */
static enum rc commit(struct work *w, size_t to)
{
    struct kv_txn *txn = w->txn;
    w->txn = NULL;
    if (!txn)
        return RC_OK;
    TRY(kv_commit_wait(w->c->to, txn, NULL));
    forget(w, to);
    w->held_bytes = 0;
    return RC_OK;
}

static enum rc put_row(struct work *w, struct kv_row row, const struct found *found, size_t n)
{
    char *value = mem_dup(row.value.p, row.value.n);
    enum rc rc = RC_OK;
    if (!w->txn)
        w->txn = kv_txn_new(w->c->part);
    for (size_t i = 0; i < n && rc == RC_OK; i++) {
        memcpy(value + found[i].at, found[i].to.b, sizeof found[i].to.b);
        rc = kv_txn_ref(w->txn, found[i].to);
    }
    if (rc == RC_OK)
        rc = kv_txn_put(w->txn, row.key, str_from(value, row.value.n));
    free(value);
    return rc;
}

static enum rc carry_row(struct work *w, size_t i, size_t *at)
{
    struct kv_row row = w->page.rows[i];
    size_t first = *at, end = first;
    while (end < w->n_found && w->found[end].row == i)
        end++;
    *at = end;
    while (w->known < end)
        TRY(know_more(w));
    sum_row(w, row, w->found + first, end - first);
    w->c->rows++;
    w->c->blobs += end - first;
    if (w->c->watch && w->c->watch->moved)
        w->c->watch->moved(w->c->watch, 1 + end - first);
    if (!w->c->to)
        return RC_OK;
    if (w->held_bytes > HELD_BYTES ||
        (w->txn && kv_txn_rows(w->txn) + 1 + end - first > KV_TXN_ROWS))
        TRY(commit(w, first));
    return put_row(w, row, w->found + first, end - first);
}

static enum rc carry_page(struct work *w)
{
    size_t at = 0;
    TRY(find_blobs(w));
    for (size_t i = 0; i < w->page.n; i++)
        TRY(carry_row(w, i, &at));
    return commit(w, w->n_found);
}

enum rc carry_run(struct carry *c)
{
    struct work w = {.c = c, .piece = mem_alloc(PIECE)};
    char key[KV_KEY_MAX];
    struct kv_range range = {0};
    enum rc rc;
    crypto_sha256_init(&w.sum);
    do {
        arena_reset(&w.arena);
        rc = kv_scan(c->from, c->part, range, 0, KV_ONCE, &w.arena, &w.page);
        if (rc == RC_OK)
            rc = carry_page(&w);
        if (rc == RC_OK && w.page.n) {
            struct str last = w.page.rows[w.page.n - 1].key;
            memcpy(key, last.p, last.n);
            range.after = str_from(key, last.n);
        }
    } while (rc == RC_OK && w.page.has_more);
    crypto_sha256_end(&w.sum, c->sum);
    if (rc != RC_OK)
        forget(&w, w.known);
    if (w.txn)
        kv_txn_free(&w.txn);
    arena_fini(&w.arena);
    free(w.found);
    free(w.piece);
    return rc;
}

/* --- clearing --------------------------------------------------------------------------------- */

struct clearing {
    struct carry_walk walk;
    struct kv *kv;
    struct kv_part part;
    struct kv_txn *txn;
};

static enum rc clear_commit(struct clearing *k)
{
    struct kv_txn *txn = k->txn;
    k->txn = NULL;
    return txn ? kv_commit_wait(k->kv, txn, NULL) : RC_OK;
}

static enum rc clear_row(struct carry_walk *walk, struct kv_row row)
{
    struct clearing *k = CONTAINER(walk, struct clearing, walk);
    uint32_t at[KV_ROW_BLOBS];
    size_t n;
    TRY(carry_blobs(k->part, row, at, &n));
    if (k->txn && kv_txn_rows(k->txn) + 1 + n > KV_TXN_ROWS)
        TRY(clear_commit(k));
    if (!k->txn)
        k->txn = kv_txn_new(k->part);
    for (size_t i = 0; i < n; i++)
        TRY(kv_txn_drop(k->txn, carry_blob_at(row, at[i])));
    return kv_txn_delete(k->txn, row.key);
}

enum rc carry_clear(struct kv *kv, struct kv_part part)
{
    struct clearing k = {.walk.row = clear_row, .kv = kv, .part = part};
    enum rc rc = carry_each_row(kv, part, &k.walk);
    if (rc == RC_OK)
        return clear_commit(&k);
    if (k.txn)
        kv_txn_free(&k.txn);
    return rc;
}
