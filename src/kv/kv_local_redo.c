/* Bodies whose segment has not been synced yet, and the rows that stand for them.
 *
 * A message that comes alone would pay for two syncs, its segment's and that of RocksDB's log. So a
 * small group writes its records to the segment as every group does, but leaves that unsynced: its
 * batch holds the records once more, as rows of their own ('i' segment offset). The next group that
 * syncs the segment takes the rows away.
 *
 * D1. A record before its segment's end that has not been synced has a row with the same bytes, in
 * the batch that moved the end beyond it. D2. Rows are deleted in a batch that is written after
 * their segment was synced. D3. There are never more than REDO_ROWS, so they are gone before
 * RocksDB would compact them, and opening stays short. D4. At open all of them are written to their
 * places again and synced before they are deleted. Nothing is read to see whether that is needed:
 * after a write-back that failed, the kernel may give bytes that the disk does not have. S1 holds,
 * since the bytes are those that were there, also where a backup shares the file.
 *
 * The row of a body that was dropped or moved meanwhile stays until the next sync; writing dead
 * space again does no harm. A store that is only looked at keeps the bodies of rows in memory. */
#include "kv/kv_local_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "kv/kv_local_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY = 13, FORMAT = 1 };

static void key_of(struct row_key *to, struct blob_at at)
{
    to->b[0] = 'i';
    put_u32(to->b + 1, at.segment);
    put_u64(to->b + 5, at.offset);
    to->n = KEY;
}

/* --- the committer ---------------------------------------------------------------------------- */

static bool is_new_small(const struct group_blob *gb)
{
    return gb->row.n && gb->row.at.place == BLOB_MEMORY;
}

bool local_redo_will_do(struct group *g)
{
    struct local *l = g->local;
    uint64_t bytes = 0;
    size_t n = 0;
    LIST_EACH (&g->blob_list, it) {
        struct group_blob *gb = CONTAINER(it, struct group_blob, link);
        if (gb->move)
            return false;
        if (is_new_small(gb)) {
            bytes += kv_record_bytes(gb->row.meta.size);
            n++;
        }
    }
    return n && bytes <= REDO_BYTES && l->redo.n + n <= REDO_ROWS &&
           local_segments_may_defer(&l->segments, bytes);
}

static void put_row(struct group *g, const struct group_blob *gb)
{
    static const char format = FORMAT;
    struct str value[] = {
        str_from(&format, 1),
        str_from(gb->blob->record, (size_t)kv_record_bytes(gb->row.meta.size)),
    };
    struct row_key key;
    key_of(&key, gb->to);
    local_rocks_put_parts(g->local->rocks, g->batch, REDO_FAMILY, row_key_str(&key), value, 2);
}

static void delete_rows(struct local *l, struct rocks_batch *batch)
{
    for (size_t i = 0; i < l->redo.n; i++) {
        struct row_key key;
        key_of(&key, l->redo.at[i]);
        local_rocks_delete_once(l->rocks, batch, REDO_FAMILY, row_key_str(&key));
    }
}

void local_redo_put_rows(struct group *g)
{
    struct redo *redo = &g->local->redo;
    g->n_redo = redo->n;
    if (!g->is_deferred && !g->local->segments.behind) {
        delete_rows(g->local, g->batch);
        g->n_redo = 0;
    }
    if (!g->is_deferred)
        return;
    LIST_EACH (&g->blob_list, it) {
        struct group_blob *gb = CONTAINER(it, struct group_blob, link);
        if (!is_new_small(gb))
            continue;
        put_row(g, gb);
        redo->at[g->n_redo++] = gb->to;
    }
}

void local_redo_settle(struct local *l)
{
    if (!l->redo.n || atomic_load(&l->is_readonly))
        return;
    enum rc rc = local_segments_settle(&l->segments);
    if (rc != RC_OK) {
        local_fail_for_good(l, "sync of a segment", rc);
        return;
    }
    struct rocks_batch *batch = local_rocks_batch_new();
    delete_rows(l, batch);
    rc = local_rocks_write(l->rocks, batch, false); /* or they are there at the next start */
    local_rocks_batch_free(&batch);
    if (rc != RC_OK)
        local_fail_for_good(l, "commit of rows", rc);
    else
        l->redo.n = 0;
}

/* --- the rows --------------------------------------------------------------------------------- */

static enum rc parse(struct str key, struct str value, struct redo_row *out)
{
    *out = (struct redo_row){0};
    if (key.n != KEY || value.n < 1 + RECORD_FRAME || value.p[0] != FORMAT)
        return RC_CORRUPT;
    out->at = (struct blob_at){BLOB_SEGMENT, get_u32(key.p + 1), get_u64(key.p + 5)};
    struct str record = str_skip(value, 1);
    const unsigned char *bytes = (const unsigned char *)record.p;
    TRY(kv_record_parse(bytes, &out->head));
    if (out->at.offset > INT64_MAX / 2 || out->head.size > KV_BLOB_SMALL ||
        kv_record_bytes(out->head.size) != record.n || !kv_record_holds(bytes, out->head.size))
        return RC_CORRUPT;
    out->record = record;
    return RC_OK;
}

enum rc local_redo_each(struct local *l,
                        enum rc (*visit)(void *arg, struct str key, const struct redo_row *row),
                        void *arg)
{
    struct rocks_iter *it;
    TRY(local_rocks_iter_open(l->rocks, REDO_FAMILY, STR("i"), STR("j"), ROCKS_ONCE, &it));
    struct str key, value;
    enum rc rc;
    while ((rc = local_rocks_iter_next(it, &key, &value)) == RC_OK) {
        struct redo_row row;
        bool is_sound = parse(key, value, &row) == RC_OK;
        rc = visit(arg, key, is_sound ? &row : NULL);
        if (rc != RC_OK)
            break;
    }
    local_rocks_iter_close(&it);
    return rc == RC_EOF ? RC_OK : rc;
}

/* --- opening ---------------------------------------------------------------------------------- */

struct replay {
    struct local *local;
    struct rocks_batch *batch;
    uint32_t segment; /* whose file is open */
    int fd;
    size_t n;
};

static enum rc end_file(struct replay *r)
{
    if (r->fd < 0)
        return RC_OK;
    enum rc rc = local_file_sync(r->fd);
    close(r->fd);
    r->fd = -1;
    return rc;
}

/* A file that is gone is made again: what can be had of it is here. */
static enum rc begin_file(struct replay *r, uint32_t segment)
{
    if (r->fd >= 0 && r->segment == segment)
        return RC_OK;
    TRY(end_file(r));
    char name[SEGMENT_NAME];
    local_segment_name(name, segment);
    r->fd = openat(r->local->segments.dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    r->segment = segment;
    return r->fd < 0 ? rc_from_errno(errno) : RC_OK;
}

static void say_damaged(struct local *l)
{
    log_event(l->ctx.log, LOG_ERROR, "body-row-damaged", "cause",
              "a body that its segment may not have; see fsck", NULL);
}

static enum rc replay_row(void *arg, struct str key, const struct redo_row *row)
{
    struct replay *r = arg;
    r->n++;
    local_rocks_delete_once(r->local->rocks, r->batch, REDO_FAMILY, key);
    if (!row) {
        say_damaged(r->local);
        return RC_OK;
    }
    TRY(begin_file(r, row->at.segment));
    struct iovec iov = {(void *)(uintptr_t)row->record.p, row->record.n};
    return local_file_write(r->fd, &iov, 1, row->at.offset);
}

static enum rc replay(struct local *l)
{
    struct replay r = {.local = l, .batch = local_rocks_batch_new(), .fd = -1};
    enum rc rc = local_redo_each(l, replay_row, &r);
    enum rc synced = end_file(&r);
    if (rc == RC_OK)
        rc = synced;
    if (rc == RC_OK && r.n)
        rc = local_dir_sync(l->segments.dir);
    if (rc == RC_OK && r.n)
        rc = local_rocks_write(l->rocks, r.batch, false);
    local_rocks_batch_free(&r.batch);
    return rc;
}

/* The hand that is taken here is never let go: the body stays in memory until the store closes. */
static enum rc keep_row(void *arg, struct str key, const struct redo_row *row)
{
    struct local *l = arg;
    if (!row) {
        say_damaged(l);
        return RC_OK;
    }
    if (l->redo.n < REDO_ROWS)
        l->redo.at[l->redo.n++] = row->at;
    struct blob_row blob_row;
    enum rc rc = local_row_blob_load(l, &row->head.id, false, &blob_row);
    bool is_named = rc == RC_OK && blob_row.at.place == BLOB_SEGMENT &&
                    blob_row.at.segment == row->at.segment && blob_row.at.offset == row->at.offset;
    if (is_named) {
        struct blob *blob = local_blob_enter(l, &row->head.id);
        local_blob_learn(l, blob, &blob_row);
        blob->record = mem_alloc(row->record.n);
        memcpy(blob->record, row->record.p, row->record.n);
    }
    free(blob_row.refs);
    return rc == RC_NOTFOUND || rc == RC_CORRUPT ? RC_OK : rc;
}

enum rc local_redo_recover(struct local *l)
{
    return l->conf.read_only ? local_redo_each(l, keep_row, l) : replay(l);
}

uint64_t local_redo_begin(struct local *l, uint32_t segment)
{
    uint64_t begin = UINT64_MAX;
    for (size_t i = 0; l->conf.read_only && i < l->redo.n; i++)
        if (l->redo.at[i].segment == segment && l->redo.at[i].offset < begin)
            begin = l->redo.at[i].offset;
    return begin;
}
