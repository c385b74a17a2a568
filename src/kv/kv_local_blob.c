/* Blobs in somebody's hands: the table of them, writing and reading.
 *
 * B1. A blob that somebody holds has an entry here; the entry says where its bytes are. What nobody
 * holds is known by its row. B2. An entry is made before its row is read, and the committer changes
 * entries when it publishes. So whoever has entered cannot lose the blob: a drop that is published
 * later finds the entry and leaves the bytes. B3. An entry without a row that is let go takes its
 * bytes along: memory is freed, a nameless file vanishes, a named one is doomed (the cleaner
 * unlinks it), a record in a segment becomes dead space.
 *
 * A small blob is built as the record that goes into a segment, so the committer copies nothing and
 * sums nothing. */
#include "kv/kv_local_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/random.h"
#include "kv/kv_local_file.h"

#include <stdlib.h>
#include <string.h>

enum {
    SUMS_MAX = 4 * (KV_BLOB_SMALL / RECORD_CHUNK),
    FIRST_BUFFER = 8 << 10,
    SPACE_STEP = 4 << 20
};

struct doomed {
    struct list link;
    struct kv_blob_id id;
};

void local_blobs_init(struct blobs *b)
{
    pthread_mutex_init(&b->mutex, NULL);
    map_init(&b->by_id);
    list_init(&b->doomed);
}

static uint64_t hash_of(const struct kv_blob_id *id)
{
    return get_u64(id->b); /* random already */
}

static struct blob *find(struct blobs *b, const struct kv_blob_id *id)
{
    struct map_node *node = map_find(&b->by_id, hash_of(id));
    while (node && !kv_blob_id_eq(CONTAINER(node, struct blob, node)->id, *id))
        node = map_next(node);
    return node ? CONTAINER(node, struct blob, node) : NULL;
}

static struct blob *make(struct blobs *b, const struct kv_blob_id *id)
{
    struct blob *blob = mem_zero(sizeof *blob);
    blob->id = *id;
    blob->fd = -1;
    map_add(&b->by_id, &blob->node, hash_of(id));
    return blob;
}

static void free_blob(struct local *l, struct blob *blob)
{
    local_large_close(&l->larges, blob->fd);
    free(blob->record);
    free(blob);
}

void local_blobs_fini(struct local *l)
{
    struct blobs *b = &l->blobs;
    struct map_node *node = NULL;
    size_t slot = 0;
    while ((node = map_each(&b->by_id, &slot, node))) {
        map_remove(&b->by_id, node);
        free_blob(l, CONTAINER(node, struct blob, node));
        node = NULL;
        slot = 0;
    }
    LIST_EACH_SAFE (&b->doomed, it)
        free(CONTAINER(it, struct doomed, link));
    map_fini(&b->by_id);
    pthread_mutex_destroy(&b->mutex);
}

struct blob *local_blob_enter(struct local *l, const struct kv_blob_id *id)
{
    pthread_mutex_lock(&l->blobs.mutex);
    struct blob *blob = find(&l->blobs, id);
    if (!blob)
        blob = make(&l->blobs, id);
    blob->hands++;
    pthread_mutex_unlock(&l->blobs.mutex);
    return blob;
}

struct blob *local_blob_find(struct local *l, const struct kv_blob_id *id)
{
    pthread_mutex_lock(&l->blobs.mutex);
    struct blob *blob = find(&l->blobs, id);
    if (blob)
        blob->hands++;
    pthread_mutex_unlock(&l->blobs.mutex);
    return blob;
}

static void doom(struct blobs *b, const struct kv_blob_id *id)
{
    struct doomed *d = mem_zero(sizeof *d);
    d->id = *id;
    list_add_tail(&b->doomed, &d->link);
}

void local_blob_release(struct local *l, struct blob *blob)
{
    pthread_mutex_lock(&l->blobs.mutex);
    bool is_last = --blob->hands == 0, is_doomed = false;
    if (is_last) {
        map_remove(&l->blobs.by_id, &blob->node);
        is_doomed = !blob->has_row && blob->at.place == BLOB_LARGE && blob->is_linked;
        if (is_doomed)
            doom(&l->blobs, &blob->id);
        if (!blob->has_row && blob->at.place == BLOB_SEGMENT)
            local_segment_hold(&l->segments, blob->at.segment, -1);
    }
    pthread_mutex_unlock(&l->blobs.mutex);
    if (is_last)
        free_blob(l, blob);
    if (is_doomed)
        local_cleaner_kick(l);
}

void local_blob_learn(struct local *l, struct blob *blob, const struct blob_row *row)
{
    pthread_mutex_lock(&l->blobs.mutex);
    if (blob->at.place == BLOB_UNKNOWN) {
        blob->meta = row->meta;
        blob->at = row->at;
        blob->has_row = true;
        blob->is_linked = row->at.place == BLOB_LARGE;
    }
    pthread_mutex_unlock(&l->blobs.mutex);
}

struct blob local_blob_look(struct local *l, struct blob *blob)
{
    pthread_mutex_lock(&l->blobs.mutex);
    struct blob copy = *blob;
    pthread_mutex_unlock(&l->blobs.mutex);
    return copy;
}

void local_blob_publish(struct local *l, struct blob *blob, struct blob_at at, bool has_row)
{
    pthread_mutex_lock(&l->blobs.mutex);
    bool was_held = !blob->has_row && blob->at.place == BLOB_SEGMENT;
    bool is_held = !has_row && at.place == BLOB_SEGMENT;
    if (was_held)
        local_segment_hold(&l->segments, blob->at.segment, -1);
    if (is_held)
        local_segment_hold(&l->segments, at.segment, 1);
    blob->at = at;
    blob->has_row = has_row;
    pthread_mutex_unlock(&l->blobs.mutex);
}

size_t local_blob_weight(struct local *l, const struct kv_blob_id *id)
{
    pthread_mutex_lock(&l->blobs.mutex);
    struct blob *blob = find(&l->blobs, id);
    size_t n = blob && blob->at.place == BLOB_MEMORY ? (size_t)blob->meta.size : 0;
    pthread_mutex_unlock(&l->blobs.mutex);
    return n;
}

void local_blobs_unlink_doomed(struct local *l)
{
    struct list mine;
    list_init(&mine);
    pthread_mutex_lock(&l->blobs.mutex);
    list_splice_tail(&mine, &l->blobs.doomed);
    pthread_mutex_unlock(&l->blobs.mutex);
    LIST_EACH_SAFE (&mine, it) {
        struct doomed *d = CONTAINER(it, struct doomed, link);
        enum rc rc = local_large_unlink(&l->larges, &d->id);
        if (rc != RC_OK && rc != RC_NOTFOUND)
            log_event(l->ctx.log, LOG_WARNING, "unlink-failed", "cause", rc_name(rc), NULL);
        free(d);
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

struct local_out {
    struct kv_blob_out out;
    unsigned char *record; /* small: frame space, body, later the sums */
    size_t capacity;
    bool is_large;
    struct large_out large;
};

struct kv_blob_out *local_blob_new(struct kv *kv)
{
    struct local_out *o = mem_zero(sizeof *o);
    o->large.fd = -1;
    return &o->out;
}

static void free_out(struct local_out *o, bool with_file)
{
    if (o->is_large)
        local_large_fini(&local_of(o->out.kv)->larges, &o->large, with_file);
    free(o->record);
    free(o);
}

static enum rc check_space(struct local *l)
{
    return local_free_space(l) < l->conf.reserve_bytes ? RC_FULL : RC_OK;
}

/* Before the id is first used. */
static void set_id(struct local_out *o)
{
    while (kv_blob_id_is_zero(o->out.id))
        random_bytes(o->out.id.b, sizeof o->out.id.b);
}

static struct record record_of(const struct local_out *o)
{
    return (struct record){
        .id = o->out.id,
        .part = o->out.part,
        .size = o->out.meta.size,
        .codec = o->out.meta.codec,
        .key_id = o->out.meta.key_id,
    };
}

/* The blob has grown beyond small: what was in memory goes to a file. */
static enum rc become_large(struct local_out *o)
{
    struct local *l = local_of(o->out.kv);
    if (atomic_load(&l->is_readonly))
        return RC_TEMP;
    TRY(check_space(l));
    set_id(o);
    struct record record = record_of(o);
    TRY(local_large_new(&l->larges, &record, &o->large));
    o->is_large = true;
    enum rc rc = RC_OK;
    if (o->record) /* not when the first bytes are more than a small blob holds */
        rc = local_large_write(&o->large,
                               str_from(o->record + RECORD_FRAME, (size_t)o->out.meta.size));
    free(o->record);
    o->record = NULL;
    return rc;
}

static enum rc write_large(struct local_out *o, struct str bytes)
{
    if (!o->is_large)
        TRY(become_large(o));
    uint64_t size = o->out.meta.size;
    if (size / SPACE_STEP != (size + bytes.n) / SPACE_STEP)
        TRY(check_space(local_of(o->out.kv)));
    return local_large_write(&o->large, bytes);
}

enum rc local_blob_write(struct kv_blob_out *out, struct str bytes)
{
    struct local_out *o = (struct local_out *)out;
    size_t size = (size_t)out->meta.size;
    if (o->is_large || bytes.n > KV_BLOB_SMALL - size)
        return write_large(o, bytes);
    size_t need = RECORD_FRAME + size + bytes.n + SUMS_MAX + RECORD_ALIGN;
    if (need > o->capacity) {
        o->capacity = need < FIRST_BUFFER ? FIRST_BUFFER : need + need / 4;
        o->record = mem_grow(o->record, o->capacity);
    }
    memcpy(o->record + RECORD_FRAME + size, bytes.p, bytes.n);
    return RC_OK;
}

/* Sums behind the body, zeroes up to the alignment. */
static void seal_record(struct local_out *o)
{
    size_t size = (size_t)o->out.meta.size, all = (size_t)kv_record_bytes(size);
    if (!o->record)
        o->record = mem_alloc(all);
    unsigned char *end = o->record + RECORD_FRAME + size;
    memset(end, 0, (size_t)(o->record + all - end));
    kv_record_sums(end, str_from(o->record + RECORD_FRAME, size));
}

static enum rc seal_large(struct local *l, struct local_out *o)
{
    TRY(local_large_finish(&o->large));
    enum rc rc = local_file_sync(o->large.fd);
    if (rc != RC_OK) {
        local_fail_for_good(l, "sync of a large blob", rc);
        return RC_TEMP;
    }
    return RC_OK;
}

enum rc local_blob_finish(struct kv_blob_out *out, struct kv_blob_id *out_id)
{
    struct local_out *o = (struct local_out *)out;
    struct local *l = local_of(out->kv);
    if (o->is_large) {
        enum rc rc = seal_large(l, o);
        if (rc != RC_OK) {
            free_out(o, true);
            return rc;
        }
    } else {
        seal_record(o);
    }
    set_id(o);
    pthread_mutex_lock(&l->blobs.mutex);
    struct blob *blob = make(&l->blobs, &o->out.id);
    blob->hands = 1;
    blob->part = out->part;
    blob->meta = out->meta;
    blob->at.place = o->is_large ? BLOB_LARGE : BLOB_MEMORY;
    blob->fd = o->large.fd;
    blob->record = o->record;
    pthread_mutex_unlock(&l->blobs.mutex);
    o->record = NULL;
    *out_id = o->out.id;
    free_out(o, false);
    return RC_OK;
}

void local_blob_abort(struct kv_blob_out *out)
{
    free_out((struct local_out *)out, true);
}

void local_blob_forget(struct kv *kv, struct kv_blob_id id)
{
    struct local *l = local_of(kv);
    struct blob *blob = local_blob_find(l, &id);
    if (!blob)
        return;
    local_blob_release(l, blob);
    local_blob_release(l, blob);
}

/* --- reading ---------------------------------------------------------------------------------- */

struct local_in {
    struct kv_blob_in in;
    struct blob *blob;
    const unsigned char *memory; /* the body, when it is still there */
    struct segment *segment;     /* pinned */
    int fd;
    bool is_fd_own;
    bool is_checked; /* the frame is this blob's */
    uint64_t frame_at, body_at, sums_at;
    unsigned char *chunk; /* the last chunk that was read in part */
    uint64_t chunk_index;
    size_t chunk_n; /* 0: none */
};

static void set_layout(struct local_in *in, const struct blob *b)
{
    uint64_t size = b->meta.size, chunks = kv_record_chunks(size);
    in->body_at = b->at.place == BLOB_SEGMENT ? b->at.offset + RECORD_FRAME : 0;
    in->sums_at = in->body_at + size;
    in->frame_at = b->at.place == BLOB_SEGMENT ? b->at.offset : size + 4 * chunks;
}

/* RC_CONFLICT: the record has been moved meanwhile; look again. */
static enum rc attach(struct local *l, struct local_in *in)
{
    struct blob b = local_blob_look(l, in->blob);
    in->in.meta = b.meta;
    set_layout(in, &b);
    if (b.record) {
        in->memory = b.record + RECORD_FRAME;
        return RC_OK;
    }
    if (b.at.place == BLOB_LARGE) {
        in->fd = b.fd;
        in->is_fd_own = b.fd < 0;
        enum rc rc = b.fd >= 0 ? RC_OK : local_large_open(&l->larges, &b.id, &in->fd);
        return rc == RC_NOTFOUND ? RC_CORRUPT : rc;
    }
    enum rc rc = local_segment_pin(&l->segments, b.at.segment, &in->segment);
    if (rc == RC_OK)
        in->fd = in->segment->fd;
    if (rc != RC_NOTFOUND)
        return rc;
    struct blob again = local_blob_look(l, in->blob);
    return again.at.segment == b.at.segment ? RC_CORRUPT : RC_CONFLICT;
}

static enum rc learn(struct local *l, struct blob *blob, unsigned flags)
{
    if (local_blob_look(l, blob).at.place != BLOB_UNKNOWN)
        return RC_OK;
    struct blob_row row;
    enum rc rc = local_row_blob_load(l, &blob->id, flags & KV_CACHED, &row);
    if (rc == RC_OK)
        local_blob_learn(l, blob, &row);
    free(row.refs);
    return rc;
}

static struct local_in *enter(struct kv *kv, struct kv_blob_id id)
{
    struct local_in *in = mem_zero(sizeof *in);
    in->in.kv = kv;
    in->in.id = id;
    in->fd = -1;
    in->blob = local_blob_enter(local_of(kv), &id);
    return in;
}

/* After what is known of it has been learned, or has not: rc. */
static enum rc finish_open(struct local_in *in, enum rc rc, struct kv_blob_in **out)
{
    if (rc == RC_OK)
        while ((rc = attach(local_of(in->in.kv), in)) == RC_CONFLICT)
            ;
    *out = &in->in;
    if (rc == RC_OK)
        return RC_OK;
    local_blob_close(*out);
    *out = NULL;
    return rc;
}

enum rc local_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags,
                        struct kv_blob_in **out)
{
    struct local_in *in = enter(kv, id);
    return finish_open(in, learn(local_of(kv), in->blob, flags), out);
}

/* As learn(), for all that are not known. */
static void learn_many(struct local *l, struct local_in *const *all, size_t n, enum rc *out_rcs)
{
    struct kv_blob_id ids[KV_BLOBS_AT_ONCE] = {0};
    struct blob_row rows[KV_BLOBS_AT_ONCE];
    enum rc rcs[KV_BLOBS_AT_ONCE];
    size_t which[KV_BLOBS_AT_ONCE], n_unknown = 0;
    for (size_t i = 0; i < n; i++) {
        out_rcs[i] = RC_OK;
        if (local_blob_look(l, all[i]->blob).at.place != BLOB_UNKNOWN)
            continue;
        ids[n_unknown] = all[i]->in.id;
        which[n_unknown++] = i;
    }
    local_row_blob_load_many(l, ids, n_unknown, rows, rcs);
    for (size_t i = 0; i < n_unknown; i++) {
        out_rcs[which[i]] = rcs[i];
        if (rcs[i] == RC_OK)
            local_blob_learn(l, all[which[i]]->blob, &rows[i]);
        free(rows[i].refs);
    }
}

void local_blob_open_many(struct kv *kv, const struct kv_blob_id *ids, size_t n,
                          struct kv_blob_in **out, enum rc *out_rcs)
{
    struct local_in *all[KV_BLOBS_AT_ONCE] = {0};
    for (size_t i = 0; i < n; i++)
        all[i] = enter(kv, ids[i]);
    learn_many(local_of(kv), all, n, out_rcs);
    for (size_t i = 0; i < n; i++)
        out_rcs[i] = finish_open(all[i], out_rcs[i], &out[i]);
}

static bool is_frame_of(const struct local_in *in, const unsigned char *bytes)
{
    struct record record;
    return kv_record_parse(bytes, &record) == RC_OK && kv_blob_id_eq(record.id, in->in.id) &&
           record.size == in->in.meta.size;
}

/* Before the first read: the frame has to be this blob's. */
static enum rc check_frame(struct local_in *in, bool is_cached)
{
    unsigned char bytes[RECORD_FRAME];
    enum rc rc = local_file_read(in->fd, bytes, sizeof bytes, in->frame_at, is_cached);
    if (rc == RC_OK && !is_frame_of(in, bytes))
        rc = RC_CORRUPT;
    in->is_checked = rc == RC_OK;
    return rc == RC_EOF ? RC_CORRUPT : rc;
}

/* A small blob in a segment, all at once: frame, body and sum lie behind each other. */
static enum rc read_whole(struct local_in *in, void *to, bool is_cached)
{
    unsigned char frame[RECORD_FRAME], sum[4];
    size_t n = (size_t)in->in.meta.size;
    struct iovec iov[] = {{frame, sizeof frame}, {to, n}, {sum, sizeof sum}};
    enum rc rc = local_file_readv(in->fd, iov, 3, in->frame_at, is_cached);
    if (rc == RC_OK && (!is_frame_of(in, frame) || get_u32(sum) != crc32c(0, str_from(to, n))))
        rc = RC_CORRUPT;
    return rc == RC_EOF ? RC_CORRUPT : rc;
}

/* A whole chunk, verified. */
static enum rc read_chunk(struct local_in *in, uint64_t index, void *to, size_t n, bool is_cached)
{
    unsigned char sum[4];
    enum rc rc = local_file_read(in->fd, to, n, in->body_at + index * RECORD_CHUNK, is_cached);
    if (rc == RC_OK)
        rc = local_file_read(in->fd, sum, sizeof sum, in->sums_at + 4 * index, is_cached);
    if (rc == RC_OK && get_u32(sum) != crc32c(0, str_from(to, n)))
        rc = RC_CORRUPT;
    return rc == RC_EOF ? RC_CORRUPT : rc;
}

/* The chunk comes into in->chunk, which is kept: the next read often goes on in it. */
static enum rc keep_chunk(struct local_in *in, uint64_t index, size_t n, bool is_cached)
{
    if (in->chunk_n && in->chunk_index == index)
        return RC_OK;
    if (!in->chunk)
        in->chunk =
            mem_alloc(in->in.meta.size < RECORD_CHUNK ? (size_t)in->in.meta.size : RECORD_CHUNK);
    in->chunk_n = 0;
    TRY(read_chunk(in, index, in->chunk, n, is_cached));
    in->chunk_index = index;
    in->chunk_n = n;
    return RC_OK;
}

enum rc local_blob_read(struct kv_blob_in *base, uint64_t offset, void *to, size_t n,
                        unsigned flags)
{
    struct local_in *in = (struct local_in *)base;
    bool is_cached = flags & KV_CACHED;
    if (in->memory) {
        memcpy(to, in->memory + offset, n);
        return RC_OK;
    }
    if (in->segment && n && n == base->meta.size && n <= RECORD_CHUNK)
        return read_whole(in, to, is_cached);
    if (!in->is_checked)
        TRY(check_frame(in, is_cached));
    while (n) {
        uint64_t index = offset / RECORD_CHUNK, left = base->meta.size - index * RECORD_CHUNK;
        size_t from = (size_t)(offset % RECORD_CHUNK),
               all = left < RECORD_CHUNK ? (size_t)left : RECORD_CHUNK;
        size_t part = all - from < n ? all - from : n;
        if (part == all) {
            TRY(read_chunk(in, index, to, all, is_cached));
        } else {
            TRY(keep_chunk(in, index, all, is_cached));
            memcpy(to, in->chunk + from, part);
        }
        to = (char *)to + part;
        offset += part;
        n -= part;
    }
    return RC_OK;
}

void local_blob_close(struct kv_blob_in *base)
{
    struct local_in *in = (struct local_in *)base;
    struct local *l = local_of(base->kv);
    local_segment_unpin(&l->segments, &in->segment);
    if (in->is_fd_own)
        local_large_close(&l->larges, in->fd);
    local_blob_release(l, in->blob);
    free(in->chunk);
    free(in);
}
