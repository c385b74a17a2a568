/* The check of a store: each reference against each blob against each record, all sums.
 *
 * One pass over one state of family meta, in key order: partitions (rows, version row), then blob
 * rows, then segment rows. The other families hold partitions only. What a blob row says is then
 * read through the ordinary reader, which verifies frame and sums. A blob that was dropped or moved
 * while the check goes on is looked up again before it is called missing. */
#include "kv/kv_local_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PART_KEY = 9, READ_BYTES = RECORD_CHUNK };

struct live {
    struct map_node node;
    uint32_t segment;
    uint64_t bytes;
};

struct check {
    struct local *local;
    struct kv_fsck *fsck;
    struct map live; /* struct live, by segment: what the blob rows add up to */
    unsigned char part[PART_KEY];
    bool has_part;
    char *bytes; /* READ_BYTES */
};

static void blob_fault(struct check *c, const struct kv_blob_id *id, const char *what)
{
    char text[BLOB_ID_TEXT];
    kv_blob_id_text(text, id);
    kv_fsck_fault(c->fsck, "blob %s: %s", text, what);
}

/* --- partitions ------------------------------------------------------------------------------- */

static void check_part_row(struct check *c, struct str key, struct str value)
{
    if (key.n < PART_KEY) {
        kv_fsck_fault(c->fsck, "row: the key is too short for a partition");
        return;
    }
    if (key.n == PART_KEY) {
        uint64_t version;
        memcpy(c->part, key.p, PART_KEY);
        c->has_part = true;
        if (local_row_number_parse(value, &version) != RC_OK || version == 0)
            kv_fsck_fault(c->fsck, "partition %c %llu: the version row is damaged", key.p[0],
                          (unsigned long long)get_u64(key.p + 1));
        return;
    }
    c->fsck->rows++;
    /* A cache partition may have got all its rows by kv_txn_put_cached. */
    if (key.p[0] != KV_CACHE && (!c->has_part || memcmp(c->part, key.p, PART_KEY) != 0)) {
        kv_fsck_fault(c->fsck, "partition %c %llu: rows without a version", key.p[0],
                      (unsigned long long)get_u64(key.p + 1));
        memcpy(c->part, key.p, PART_KEY);
        c->has_part = true;
    }
}

/* --- blobs ------------------------------------------------------------------------------------ */

static void add_live(struct check *c, const struct blob_row *row)
{
    uint64_t hash = map_hash_u64(row->at.segment);
    struct map_node *node = map_find(&c->live, hash);
    while (node && CONTAINER(node, struct live, node)->segment != row->at.segment)
        node = map_next(node);
    if (!node) {
        struct live *live = mem_zero(sizeof *live);
        live->segment = row->at.segment;
        node = &live->node;
        map_add(&c->live, node, hash);
    }
    CONTAINER(node, struct live, node)->bytes += kv_record_bytes(row->meta.size);
}

static enum rc read_all(struct check *c, struct kv_blob_in *in, uint64_t size)
{
    uint64_t at = 0;
    while (at < size) {
        size_t got;
        TRY(kv_blob_read(in, at, c->bytes, READ_BYTES, 0, &got));
        at += got;
        c->fsck->bytes += got;
    }
    return RC_OK;
}

static enum rc read_blob(struct check *c, const struct kv_blob_id *id, const struct blob_row *row)
{
    struct kv_blob_in *in;
    TRY(kv_blob_open(&c->local->kv, *id, 0, &in));
    struct kv_blob_meta meta = kv_blob_meta(in);
    enum rc rc = meta.size == row->meta.size ? read_all(c, in, meta.size) : RC_CORRUPT;
    kv_blob_close(&in);
    return rc;
}

static void check_refs(struct check *c, const struct kv_blob_id *id, const struct blob_row *row)
{
    if (!row->n)
        blob_fault(c, id, "a row without references");
    for (size_t i = 0; i < row->n; i++) {
        uint64_t version;
        enum rc rc = local_row_version(c->local, row->refs[i].part, false, &version);
        if (rc != RC_OK || version == 0)
            blob_fault(c, id, "referred to by a partition that does not exist");
        if (!row->refs[i].count)
            blob_fault(c, id, "a reference that counts nothing");
        if (c->fsck->reference)
            c->fsck->reference(c->fsck, row->refs[i].part, id, row->refs[i].count);
    }
}

static void check_blob_row(struct check *c, struct str key, struct str value)
{
    struct kv_blob_id id;
    struct blob_row row = {0};
    c->fsck->blobs++;
    if (key.n != 1 + sizeof id.b) {
        kv_fsck_fault(c->fsck, "blob: the key has the wrong length");
        return;
    }
    memcpy(id.b, key.p + 1, sizeof id.b);
    if (local_row_blob_parse(value, &row) != RC_OK) {
        blob_fault(c, &id, "the row is damaged");
    } else {
        check_refs(c, &id, &row);
        if (row.at.place == BLOB_SEGMENT)
            add_live(c, &row);
        enum rc rc = read_blob(c, &id, &row);
        if (rc == RC_CORRUPT)
            blob_fault(c, &id, "missing or damaged");
        else if (rc != RC_OK && rc != RC_NOTFOUND) /* not found: dropped since the check began */
            blob_fault(c, &id, "not readable");
    }
    free(row.refs);
}

/* --- segments --------------------------------------------------------------------------------- */

static uint64_t take_live(struct check *c, uint32_t segment)
{
    struct map_node *node = map_find(&c->live, map_hash_u64(segment));
    while (node && CONTAINER(node, struct live, node)->segment != segment)
        node = map_next(node);
    if (!node)
        return 0;
    struct live *live = CONTAINER(node, struct live, node);
    uint64_t bytes = live->bytes;
    map_remove(&c->live, node);
    free(live);
    return bytes;
}

static void check_segment_row(struct check *c, struct str key, struct str value)
{
    struct segment_state state;
    if (key.n != 5 || local_row_segment_parse(value, &state) != RC_OK) {
        kv_fsck_fault(c->fsck, "segment: the row is damaged");
        return;
    }
    uint32_t number = get_u32(key.p + 1);
    uint64_t live = take_live(c, number);
    if (live != state.live)
        kv_fsck_fault(c->fsck, "segment %08x: %llu bytes are referred to, its row says %llu",
                      number, (unsigned long long)live, (unsigned long long)state.live);
    char name[SEGMENT_NAME];
    struct stat st;
    local_segment_name(name, number);
    uint64_t begin = local_redo_begin(c->local, number),
             need = state.end < begin ? state.end : begin;
    if (state.live &&
        (fstatat(c->local->segments.dir, name, &st, 0) < 0 || (uint64_t)st.st_size < need))
        kv_fsck_fault(c->fsck, "segment %08x: the file is missing or cut short", number);
}

static void report_unknown_segments(struct check *c)
{
    struct map_node *node;
    size_t slot = 0;
    while ((node = map_each(&c->live, &slot, NULL))) {
        struct live *live = CONTAINER(node, struct live, node);
        kv_fsck_fault(c->fsck, "segment %08x: referred to, but it has no row", live->segment);
        map_remove(&c->live, node);
        free(live);
        slot = 0;
    }
    map_fini(&c->live);
}

/* --- records that stand in rows --------------------------------------------------------------- */

/* Whether the row of a segment says that there is something at this place. */
static bool is_place(struct check *c, const struct redo_row *row)
{
    struct row_key key;
    struct arena arena = {0};
    struct str value;
    struct segment_state state = {0};
    local_key_segment(&key, row->at.segment);
    if (local_rocks_get(c->local->rocks, ROCKS_META, row_key_str(&key), false, &arena, &value) ==
        RC_OK)
        (void)!local_row_segment_parse(value, &state);
    arena_fini(&arena);
    return row->at.offset + row->record.n <= state.end;
}

/* A row that is gone since the check began is no fault. */
static bool is_still_there(struct check *c, struct str key)
{
    struct arena arena = {0};
    struct str value;
    enum rc rc = local_rocks_get(c->local->rocks, REDO_FAMILY, key, false, &arena, &value);
    arena_fini(&arena);
    return rc != RC_NOTFOUND;
}

static enum rc check_redo_row(void *arg, struct str key, const struct redo_row *row)
{
    struct check *c = arg;
    if (row && is_place(c, row))
        return RC_OK;
    if (is_still_there(c, key))
        kv_fsck_fault(c->fsck, row ? "body: a row for a place that no segment has"
                                   : "body: the row is damaged");
    return RC_OK;
}

/* --- the pass --------------------------------------------------------------------------------- */

static void check_row(struct check *c, struct str key, struct str value)
{
    switch (key.n ? key.p[0] : '\0') {
    case 'b':
        check_blob_row(c, key, value);
        break;
    case 's':
        check_segment_row(c, key, value);
        break;
    case 'm':
    case 'i': /* see check_redo_row */
        break;
    default:
        check_part_row(c, key, value);
    }
}

static enum rc check_family(struct check *c, enum rocks_family family)
{
    struct rocks_iter *it;
    TRY(local_rocks_iter_open(c->local->rocks, family, (struct str){0}, (struct str){0}, ROCKS_ONCE,
                              &it));
    struct str key, value;
    enum rc rc;
    c->has_part = false;
    while ((rc = local_rocks_iter_next(it, &key, &value)) == RC_OK)
        check_row(c, key, value);
    local_rocks_iter_close(&it);
    if (rc != RC_EOF)
        kv_fsck_fault(c->fsck, "rows: reading them failed: %s", rc_name(rc));
    return RC_OK;
}

enum rc local_fsck(struct kv *kv, struct kv_fsck *fsck)
{
    struct check c = {.local = local_of(kv), .fsck = fsck, .bytes = mem_alloc(READ_BYTES)};
    map_init(&c.live);
    local_cleaner_hold(c.local, 1);
    enum rc rc = RC_OK;
    for (int f = 0; f < ROCKS_FAMILIES && rc == RC_OK; f++)
        rc = check_family(&c, (enum rocks_family)f);
    if (rc == RC_OK)
        rc = local_redo_each(c.local, check_redo_row, &c);
    local_cleaner_hold(c.local, -1);
    report_unknown_segments(&c);
    free(c.bytes);
    if (rc != RC_OK)
        return rc;
    return fsck->faults ? RC_CORRUPT : RC_OK;
}
