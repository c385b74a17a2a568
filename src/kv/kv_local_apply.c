/* One transaction against the head of the group under way: first all that can fail, then the
 * changes.
 *
 * A1. A transaction that fails leaves the head as it was.
 * A2. Versions are checked in memory: a bounded table of partitions, filled from their version
 * rows.
 *
 * Reads of RocksDB happen here for partitions and blobs not met lately and for asserts on values.
 */
#include "kv/kv_local_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>

enum { PARTS_MAX = 16384 };

/* --- partitions ------------------------------------------------------------------------------- */

void local_parts_init(struct parts *p)
{
    map_init(&p->by_part);
    list_init(&p->lru);
}

static void free_part(struct parts *p, struct part *part)
{
    map_remove(&p->by_part, &part->node);
    list_remove(&part->lru);
    free(part->ops);
    free(part);
}

void local_parts_fini(struct parts *p)
{
    LIST_EACH_SAFE (&p->lru, it)
        free_part(p, CONTAINER(it, struct part, lru));
    map_fini(&p->by_part);
}

void local_parts_shrink(struct parts *p)
{
    while (p->by_part.count > PARTS_MAX)
        free_part(p, CONTAINER(list_first(&p->lru), struct part, lru));
}

static struct part *find_part(struct parts *p, struct kv_part part)
{
    struct map_node *node = map_find(&p->by_part, kv_part_hash(part));
    while (node && !kv_part_eq(CONTAINER(node, struct part, node)->part, part))
        node = map_next(node);
    return node ? CONTAINER(node, struct part, node) : NULL;
}

static enum rc group_part(struct group *g, struct kv_part part, struct part **out)
{
    struct parts *p = &g->local->parts;
    struct part *known = find_part(p, part);
    if (!known) {
        uint64_t version;
        TRY(local_row_version(g->local, part, false, &version));
        known = mem_zero(sizeof *known);
        known->part = part;
        known->now = known->head = version;
        list_init(&known->link);
        map_add(&p->by_part, &known->node, kv_part_hash(part));
    } else {
        list_remove(&known->lru);
    }
    list_add_tail(&p->lru, &known->lru);
    *out = known;
    return RC_OK;
}

/* --- asserts ---------------------------------------------------------------------------------- */

/* What the transaction makes of the row. False: it does not touch it. Absent: deleted. */
static bool txn_value(const struct kv_txn *txn, struct str key, struct str *out_value)
{
    bool is_touched = false;
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        bool is_row = str_eq(item.key, key);
        bool is_trimmed = item.kind == KV_ITEM_TRIM && str_cmp(item.key, key) <= 0 &&
                          str_cmp(key, item.value) < 0;
        if (item.kind == KV_ITEM_PUT && is_row) {
            *out_value = item.value;
            is_touched = true;
        } else if ((item.kind == KV_ITEM_DELETE && is_row) || is_trimmed) {
            *out_value = (struct str){0};
            is_touched = true;
        }
    }
    return is_touched;
}

static enum rc head_value(struct group *g, const struct part *part, struct str key,
                          struct arena *arena, struct str *out_value)
{
    for (size_t i = part->n_ops; i-- > 0;)
        if (txn_value(part->ops[i]->txn, key, out_value))
            return RC_OK;
    struct row_key row;
    local_key_part(&row, part->part, key);
    enum rc rc = local_rocks_get(g->local->rocks, local_family(part->part), row_key_str(&row),
                                 false, arena, out_value);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc check_assert(struct group *g, const struct part *part, const struct kv_item *item)
{
    struct arena arena = {0};
    struct str value;
    enum rc rc = head_value(g, part, item->key, &arena, &value);
    bool holds = item->kind == KV_ITEM_ASSERT_ABSENT
                     ? str_is_null(value)
                     : !str_is_null(value) && str_eq(value, item->value);
    arena_fini(&arena);
    if (rc != RC_OK)
        return rc;
    return holds ? RC_OK : RC_CONFLICT;
}

static enum rc check_asserts(struct group *g, const struct part *part, const struct kv_txn *txn)
{
    if (txn->has_expect && txn->expect != part->head)
        return RC_CONFLICT;
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);)
        if (item.kind == KV_ITEM_ASSERT_VALUE || item.kind == KV_ITEM_ASSERT_ABSENT)
            TRY(check_assert(g, part, &item));
    return RC_OK;
}

/* --- blobs ------------------------------------------------------------------------------------ */

static struct group_blob *find_blob(struct group *g, const struct kv_blob_id *id)
{
    struct map_node *node = map_find(&g->blobs, get_u64(id->b));
    while (node && !kv_blob_id_eq(CONTAINER(node, struct group_blob, node)->id, *id))
        node = map_next(node);
    return node ? CONTAINER(node, struct group_blob, node) : NULL;
}

/* The blob as it is published: what a new one's writer left needs no read, any other has a row. */
static enum rc load_blob(struct local *l, struct blob *blob, struct blob_row *row,
                         bool *out_had_row)
{
    struct blob now = local_blob_look(l, blob);
    *out_had_row = now.has_row || now.at.place == BLOB_UNKNOWN;
    if (!*out_had_row) {
        *row = (struct blob_row){.at = now.at, .meta = now.meta};
        return RC_OK;
    }
    enum rc rc = local_row_blob_load(l, &blob->id, false, row);
    if (rc == RC_OK)
        local_blob_learn(l, blob, row);
    return rc;
}

static enum rc local_group_blob(struct group *g, const struct kv_blob_id *id,
                                struct group_blob **out)
{
    *out = find_blob(g, id);
    if (*out)
        return RC_OK;
    struct group_blob *gb = mem_zero(sizeof *gb);
    gb->id = *id;
    gb->blob = local_blob_enter(g->local, id);
    enum rc rc = load_blob(g->local, gb->blob, &gb->row, &gb->had_row);
    if (rc != RC_OK) {
        local_blob_release(g->local, gb->blob);
        free(gb->row.refs);
        free(gb);
        return rc;
    }
    map_add(&g->blobs, &gb->node, get_u64(id->b));
    list_add_tail(&g->blob_list, &gb->link);
    *out = gb;
    return RC_OK;
}

static struct blob_ref *find_ref(struct blob_row *row, struct kv_part part)
{
    for (size_t i = 0; i < row->n; i++)
        if (kv_part_eq(row->refs[i].part, part))
            return &row->refs[i];
    return NULL;
}

static enum rc take_ref(struct group_blob *gb, struct kv_part part)
{
    struct blob_row *row = &gb->row;
    struct blob_ref *ref = find_ref(row, part);
    if (ref && ref->count == UINT32_MAX)
        return RC_LIMIT;
    if (!ref) {
        row->refs = mem_array(row->refs, &row->capacity, row->n + 1, sizeof *row->refs);
        ref = &row->refs[row->n++];
        *ref = (struct blob_ref){.part = part};
    }
    ref->count++;
    gb->is_changed = true;
    return RC_OK;
}

static enum rc drop_ref(struct group_blob *gb, struct kv_part part)
{
    struct blob_ref *ref = find_ref(&gb->row, part);
    if (!ref)
        return RC_CORRUPT;
    if (--ref->count == 0)
        *ref = gb->row.refs[--gb->row.n];
    gb->is_changed = true;
    return RC_OK;
}

static enum rc apply_ref(struct group *g, struct kv_part part, const struct kv_item *item)
{
    struct group_blob *gb;
    enum rc rc = local_group_blob(g, &item->blob, &gb);
    if (item->kind == KV_ITEM_DROP)
        return rc == RC_NOTFOUND ? RC_CORRUPT : rc == RC_OK ? drop_ref(gb, part) : rc;
    if (rc != RC_OK)
        return rc;
    if (g->is_short && !gb->had_row)
        return RC_FULL;
    return take_ref(gb, part);
}

/* Takes back what the items before `end` did. */
static void undo_refs(struct group *g, const struct kv_txn *txn, size_t end)
{
    struct kv_item item;
    for (size_t pos = 0; pos < end && kv_txn_next(txn, &pos, &item) && pos < end;) {
        struct group_blob *gb = find_blob(g, &item.blob);
        if (item.kind == KV_ITEM_REF && gb)
            (void)!drop_ref(gb, txn->part);
        else if (item.kind == KV_ITEM_DROP && gb)
            (void)!take_ref(gb, txn->part);
    }
}

static enum rc apply_refs(struct group *g, const struct kv_txn *txn)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (item.kind != KV_ITEM_REF && item.kind != KV_ITEM_DROP)
            continue;
        enum rc rc = apply_ref(g, txn->part, &item);
        if (rc != RC_OK) {
            undo_refs(g, txn, pos);
            return rc;
        }
    }
    return RC_OK;
}

/* --- rows ------------------------------------------------------------------------------------- */

static void trim_rows(struct group *g, struct kv_part part, const struct kv_item *item)
{
    struct row_key from, to;
    local_key_part(&from, part, item->key);
    if (!item->key.n)
        from.b[from.n++] = '\0'; /* the version row stays */
    local_key_part(&to, part, item->value);
    if (str_cmp(row_key_str(&from), row_key_str(&to)) < 0)
        local_rocks_delete_range(g->local->rocks, g->batch, local_family(part), row_key_str(&from),
                                 row_key_str(&to));
}

static void apply_row(struct group *g, struct kv_part part, bool is_put, const struct kv_item *item)
{
    struct row_key key;
    local_key_part(&key, part, item->key);
    if (is_put)
        local_rocks_put(g->local->rocks, g->batch, local_family(part), row_key_str(&key),
                        item->value);
    else
        local_rocks_delete(g->local->rocks, g->batch, local_family(part), row_key_str(&key));
}

static void apply_rows(struct group *g, const struct kv_txn *txn)
{
    struct kv_part cache = {KV_CACHE, txn->part.id};
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (item.kind == KV_ITEM_TRIM)
            trim_rows(g, txn->part, &item);
        else if (item.kind == KV_ITEM_PUT || item.kind == KV_ITEM_DELETE)
            apply_row(g, txn->part, item.kind == KV_ITEM_PUT, &item);
        else if (item.kind == KV_ITEM_PUT_CACHED || item.kind == KV_ITEM_DELETE_CACHED)
            apply_row(g, cache, item.kind == KV_ITEM_PUT_CACHED, &item);
    }
}

enum rc local_apply(struct group *g, struct kv_op *op)
{
    if (g->is_full)
        return RC_FULL;
    struct part *part;
    TRY(group_part(g, op->txn->part, &part));
    TRY(check_asserts(g, part, op->txn));
    TRY(apply_refs(g, op->txn));
    apply_rows(g, op->txn);
    if (!part->n_ops)
        list_add_tail(&g->parts, &part->link);
    part->ops = mem_array(part->ops, &part->ops_capacity, part->n_ops + 1, sizeof(void *));
    part->ops[part->n_ops++] = op;
    part->head = op->txn->version ? op->txn->version : part->head + 1;
    op->version = part->head;
    if (!(op->flags & KV_LAZY))
        g->is_synced = true;
    g->n_applied++;
    return RC_OK;
}

enum rc local_apply_move(struct group *g, struct work_move *move)
{
    struct group_blob *gb;
    TRY(local_group_blob(g, &move->id, &gb));
    bool is_there = gb->had_row && gb->row.at.place == BLOB_SEGMENT &&
                    gb->row.at.segment == move->segment && gb->row.at.offset == move->offset;
    if (!is_there || gb->move)
        return RC_NOTFOUND;
    gb->move = move;
    g->n_applied++;
    return RC_OK;
}
