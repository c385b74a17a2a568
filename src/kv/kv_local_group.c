/* One group: all that was queued, checked in order, then made durable together, then published.
 *
 * G1. Small blobs are in their segment and synced, large ones synced and named and the name synced,
 * before the batch that names them is written. In a small group the small blobs are not synced but
 * also in the batch (kv_local_redo.c). G2. One batch holds all rows of the group: the partitions'
 * rows and versions, blob rows, one row for each segment whose live bytes changed, and the group's
 * number. It is there whole or not at all. G3. A group's number is one more than that
 * of the last durable group, and its records carry it. So a record whose number is two above the
 * last one in RocksDB tells that rows were lost (kv_local_recover.c). Groups of lazy commits alone
 * have none and are not synced. G4. Nothing is completed before the batch is durable. What fails to
 * sync ends all writing. No space in a segment fails the group and nothing else. */
#include "kv/kv_local_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>

enum { BLOB_ROW_MAX = 64 << 20, SHORT_SHARE = 4 };

void local_group_init(struct group *g, struct local *l)
{
    *g = (struct group){.local = l, .batch = local_rocks_batch_new()};
    list_init(&g->works);
    list_init(&g->parts);
    list_init(&g->blob_list);
    map_init(&g->blobs);
    buf_init(&g->row, BLOB_ROW_MAX);
}

void local_group_fini(struct group *g)
{
    local_rocks_batch_free(&g->batch);
    map_fini(&g->blobs);
    buf_fini(&g->row);
}

/* --- checking --------------------------------------------------------------------------------- */

static void apply_commit(struct group *g, struct work *work)
{
    struct kv_op *op = work->op;
    enum rc rc = kv_op_is_doomed(op) ? RC_CONFLICT : local_apply(g, op);
    op->rc = rc;
    if (rc != RC_OK)
        kv_op_fail(op, rc);
}

/* Below the reserve, only what needs no new blob is let through: expunging frees space. Below a
 * quarter, nothing. */
static void look_at_space(struct group *g)
{
    uint64_t space = local_free_space(g->local), reserve = g->local->conf.reserve_bytes;
    g->is_short = space < reserve;
    g->is_full = space < reserve / SHORT_SHARE;
}

static void apply_all(struct group *g)
{
    look_at_space(g);
    LIST_EACH (&g->works, it) {
        struct work *work = CONTAINER(it, struct work, link);
        if (work->kind == WORK_COMMIT)
            apply_commit(g, work);
        else if (work->kind == WORK_MOVE)
            work->rc = g->is_full ? RC_FULL : local_apply_move(g, work->move);
    }
}

/* --- storing ---------------------------------------------------------------------------------- */

static enum rc append(struct group *g, struct group_blob *gb, unsigned char *record,
                      struct record *head)
{
    head->commit = g->commit;
    kv_record_frame(record, head);
    struct segment *segment;
    struct iovec iov = {record, (size_t)kv_record_bytes(head->size)};
    TRY(local_segments_append(&g->local->segments, iov, &segment, &gb->to.offset));
    gb->to.place = BLOB_SEGMENT;
    gb->to.segment = segment->number;
    return RC_OK;
}

static enum rc append_new(struct group *g, struct group_blob *gb)
{
    struct record head = {
        .id = gb->id,
        .part = gb->blob->part,
        .size = gb->row.meta.size,
        .codec = gb->row.meta.codec,
        .key_id = gb->row.meta.key_id,
    };
    counter_add(g->local->ctx.counters, COUNTER_KV_BLOB_BYTES, head.size);
    return append(g, gb, gb->blob->record, &head);
}

static enum rc append_move(struct group *g, struct group_blob *gb)
{
    struct record head;
    TRY(kv_record_parse(gb->move->record, &head));
    TRY(append(g, gb, gb->move->record, &head));
    local_segments_live(&g->local->segments, gb->row.at.segment, -(int64_t)gb->move->bytes);
    return RC_OK;
}

static enum rc link_large(struct group *g, struct group_blob *gb)
{
    struct local *l = g->local;
    if (local_blob_look(l, gb->blob).is_linked)
        return RC_OK;
    TRY(local_large_link(&l->larges, gb->blob->fd, &gb->id));
    counter_add(l->ctx.counters, COUNTER_KV_BLOB_BYTES, gb->row.meta.size);
    pthread_mutex_lock(&l->blobs.mutex);
    gb->blob->is_linked = true;
    pthread_mutex_unlock(&l->blobs.mutex);
    return RC_OK;
}

/* Puts the blob's bytes where the group's batch will say they are. */
static enum rc place_blob(struct group *g, struct group_blob *gb)
{
    struct segment_log *segments = &g->local->segments;
    int64_t bytes = (int64_t)kv_record_bytes(gb->row.meta.size);
    bool has_row = gb->row.n > 0;
    gb->to = gb->row.at;
    if (!gb->is_changed && !gb->move)
        return RC_OK;
    g->is_synced = true;
    if (has_row && gb->row.at.place == BLOB_MEMORY)
        return append_new(g, gb);
    if (has_row && gb->row.at.place == BLOB_LARGE)
        return link_large(g, gb);
    if (has_row && gb->move)
        return append_move(g, gb);
    if (gb->row.at.place == BLOB_SEGMENT && has_row != gb->had_row)
        local_segments_live(segments, gb->row.at.segment, has_row ? bytes : -bytes);
    return RC_OK;
}

static enum rc place_blobs(struct group *g)
{
    LIST_EACH (&g->blob_list, it)
        TRY(place_blob(g, CONTAINER(it, struct group_blob, link)));
    return local_segments_write(&g->local->segments);
}

static void put_blob_row(struct group *g, struct group_blob *gb)
{
    struct row_key key;
    local_key_blob(&key, &gb->id);
    if (gb->row.n) {
        struct blob_row row = gb->row;
        row.at = gb->to;
        buf_clear(&g->row);
        local_row_blob(&g->row, &row);
        local_rocks_put(g->local->rocks, g->batch, ROCKS_META, row_key_str(&key), buf_str(&g->row));
    } else if (gb->had_row) {
        local_rocks_delete(g->local->rocks, g->batch, ROCKS_META, row_key_str(&key));
    }
}

static void put_segment_rows(struct group *g)
{
    struct segment_log *segments = &g->local->segments;
    for (size_t i = 0; i < segments->n_touched; i++) {
        struct row_key key;
        unsigned char value[ROW_SEGMENT];
        local_key_segment(&key, segments->touched[i]->number);
        local_rocks_put(g->local->rocks, g->batch, ROCKS_META, row_key_str(&key),
                        local_row_segment(value, segments->touched[i]->head));
    }
}

static void remove_segments(struct group *g)
{
    LIST_EACH (&g->works, it) {
        struct work *work = CONTAINER(it, struct work, link);
        if (work->kind != WORK_REMOVE)
            continue;
        work->rc = RC_CONFLICT;
        if (!local_segments_remove(&g->local->segments, work->segment))
            continue;
        struct row_key key;
        local_key_segment(&key, work->segment);
        local_rocks_delete(g->local->rocks, g->batch, ROCKS_META, row_key_str(&key));
        work->rc = RC_OK;
        g->n_applied++;
        g->is_synced = true;
    }
}

/* All rows of the store's own that go with the group. */
static void put_rows(struct group *g)
{
    struct row_key key;
    unsigned char number[ROW_NUMBER];
    LIST_EACH (&g->parts, it) {
        struct part *part = CONTAINER(it, struct part, link);
        local_key_part(&key, part->part, (struct str){0});
        local_rocks_put(g->local->rocks, g->batch, local_family(part->part), row_key_str(&key),
                        local_row_number(number, part->head));
    }
    LIST_EACH (&g->blob_list, it) {
        struct group_blob *gb = CONTAINER(it, struct group_blob, link);
        if (gb->is_changed || gb->move)
            put_blob_row(g, gb);
    }
    put_segment_rows(g);
    local_redo_put_rows(g);
    if (!g->is_synced)
        return;
    local_key_store(&key, STORE_COMMIT);
    local_rocks_put(g->local->rocks, g->batch, ROCKS_META, row_key_str(&key),
                    local_row_number(number, g->commit));
}

static enum rc fail_for_good(struct group *g, const char *what, enum rc rc)
{
    local_fail_for_good(g->local, what, rc);
    return RC_TEMP;
}

static enum rc store(struct group *g)
{
    struct local *l = g->local;
    g->commit = l->commit + 1;
    g->is_deferred = local_redo_will_do(g);
    enum rc rc = place_blobs(g);
    if (rc != RC_OK)
        return rc == RC_FULL ? RC_FULL : RC_TEMP;
    if (g->is_deferred)
        local_segments_defer(&l->segments);
    else
        rc = local_segments_sync(&l->segments);
    if (rc != RC_OK)
        return fail_for_good(g, "sync of a segment", rc);
    rc = local_larges_sync(&l->larges);
    if (rc != RC_OK)
        return fail_for_good(g, "sync of a folder of large blobs", rc);
    remove_segments(g);
    put_rows(g);
    rc = local_rocks_write(l->rocks, g->batch, g->is_synced);
    return rc == RC_OK ? RC_OK : fail_for_good(g, "commit of rows", rc);
}

/* --- publishing ------------------------------------------------------------------------------- */

static void publish(struct group *g)
{
    struct local *l = g->local;
    if (g->is_synced)
        l->commit = g->commit;
    l->redo.n = g->n_redo;
    if (local_segments_end_group(&l->segments, true))
        local_cleaner_kick(l);
    LIST_EACH (&g->blob_list, it) {
        struct group_blob *gb = CONTAINER(it, struct group_blob, link);
        if (gb->is_changed || gb->move)
            local_blob_publish(l, gb->blob, gb->to, gb->row.n > 0);
    }
    LIST_EACH (&g->parts, it) {
        struct part *part = CONTAINER(it, struct part, link);
        part->now = part->head;
        kv_watches_tell(&l->kv, part->part, part->now);
    }
    counter_add(l->ctx.counters, COUNTER_KV_GROUPS, 1);
}

static void fail_all(struct group *g, enum rc rc)
{
    local_segments_end_group(&g->local->segments, false);
    local_rocks_batch_clear(g->batch);
    LIST_EACH (&g->parts, it) {
        struct part *part = CONTAINER(it, struct part, link);
        part->head = part->now;
    }
    LIST_EACH (&g->works, it) {
        struct work *work = CONTAINER(it, struct work, link);
        if (work->kind == WORK_COMMIT && work->op->rc == RC_OK)
            kv_op_fail(work->op, rc);
        else if (work->kind != WORK_COMMIT)
            work->rc = rc;
    }
}

static void let_go(struct group *g)
{
    LIST_EACH_SAFE (&g->blob_list, it) {
        struct group_blob *gb = CONTAINER(it, struct group_blob, link);
        list_remove(&gb->link);
        map_remove(&g->blobs, &gb->node);
        local_blob_release(g->local, gb->blob);
        free(gb->row.refs);
        free(gb);
    }
    LIST_EACH_SAFE (&g->parts, it) {
        struct part *part = CONTAINER(it, struct part, link);
        list_remove(&part->link);
        part->n_ops = 0;
    }
    local_parts_shrink(&g->local->parts);
}

static bool has_removals(struct group *g)
{
    LIST_EACH (&g->works, it)
        if (CONTAINER(it, struct work, link)->kind == WORK_REMOVE)
            return true;
    return false;
}

void local_group_run(struct group *g)
{
    g->n_applied = 0;
    g->is_synced = false;
    if (atomic_load(&g->local->is_readonly)) {
        fail_all(g, RC_TEMP);
        return;
    }
    apply_all(g);
    if (g->n_applied || has_removals(g)) {
        uint64_t begun = clock_mono(g->local->ctx.clock);
        enum rc rc = store(g);
        histogram_add(g->local->ctx.counters, HISTOGRAM_KV_GROUP_TIME,
                      clock_mono(g->local->ctx.clock) - begun);
        histogram_add(g->local->ctx.counters, HISTOGRAM_KV_GROUP_SIZE, g->n_applied);
        if (rc == RC_OK)
            publish(g);
        else
            fail_all(g, rc);
    }
    let_go(g);
}
