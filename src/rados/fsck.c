/* The check of a store: each row of references against each tag, in both directions, and all sums.
 *
 * Two passes over the pools, the only place where they are listed. The first one goes through the
 * partitions: each row of references must have its tag. The second goes through the blobs: each tag
 * must have its row, each chunk its blob, and every byte its sum. Shards must be named by a head.
 * Nothing is remembered from one to the other, so it takes no memory however large the store is.
 * What looks wrong is looked at again before it is called so: the work goes on meanwhile, and what
 * somebody has an intent for is being looked after.
 *
 * Each look is a trip or some to the cluster, so WORKERS of them are made at once; who lists is
 * held up while QUEUED wait, and a pass ends with its last look. */
#include "rados/blob_int.h"

#include "base/mem.h"
#include "task/task.h"

#include <stdlib.h>
#include <string.h>

enum { WORKERS = 32, QUEUED = 4 * WORKERS };

struct check {
    struct blobs *b;
    struct kv *kv;
    struct task_lane *lane;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t fewer;
    size_t left; /* looks that are queued or being made */
    struct kv_fsck *fsck;
};

static void blob_fault(struct check *c, struct kv_blob_id id, const char *what)
{
    char text[BLOB_ID_TEXT];
    kv_blob_id_text(text, &id);
    pthread_mutex_lock(&c->mutex);
    kv_fsck_fault(c->fsck, "blob %s: %s", text, what);
    pthread_mutex_unlock(&c->mutex);
}

static void part_fault(struct check *c, struct kv_blob_id id, struct kv_part part, const char *what)
{
    char text[BLOB_ID_TEXT];
    kv_blob_id_text(text, &id);
    pthread_mutex_lock(&c->mutex);
    kv_fsck_fault(c->fsck, "blob %s: partition %c %llu: %s", text, part.class,
                  (unsigned long long)part.id, what);
    pthread_mutex_unlock(&c->mutex);
}

/* --- many looks at once ----------------------------------------------------------------------- */

struct look {
    struct task_job job;
    struct check *c;
    void (*at)(struct look *look);
    struct kv_blob_id id;
    struct kv_part part;   /* of a row of references */
    struct form_refs refs; /* what that says, */
    enum rc refs_rc;       /* or why it does not */
    uint64_t chunk;        /* UINT64_MAX: the main object */
};

static void look_run(struct task_job *job)
{
    struct look *look = CONTAINER(job, struct look, job);
    struct check *c = look->c;
    look->at(look);
    free(look);
    pthread_mutex_lock(&c->mutex);
    c->left--;
    pthread_cond_signal(&c->fewer);
    pthread_mutex_unlock(&c->mutex);
}

static void wait_for(struct check *c, size_t most)
{
    pthread_mutex_lock(&c->mutex);
    while (c->left > most)
        pthread_cond_wait(&c->fewer, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

static void look_later(struct check *c, const struct look *what)
{
    struct look *look = mem_dup(what, sizeof *what);
    look->c = c;
    look->job.run = look_run;
    wait_for(c, QUEUED - 1);
    pthread_mutex_lock(&c->mutex);
    c->left++;
    pthread_mutex_unlock(&c->mutex);
    if (task_lane_post(c->lane, &look->job) != RC_OK)
        look_run(&look->job);
}

/* --- what is on the cluster ------------------------------------------------------------------- */

/* The row of references as it is now. */
static enum rc row_of(struct check *c, struct kv_part part, struct kv_blob_id id,
                      struct form_refs *out)
{
    char bytes[REFS_KEY];
    struct str key = {bytes, sizeof bytes}, value = {0};
    struct arena arena = {0};
    refs_key(bytes, id);
    enum rc rc = rad_get(c->kv, part, &key, 1, 0, &arena, &value, NULL);
    if (rc == RC_OK)
        rc = value.n ? form_refs_parse(value, out) : RC_NOTFOUND;
    arena_fini(&arena);
    return rc;
}

/* What is in memory of it may be older than what else has been read: the next read makes sure. */
static void distrust(struct check *c, struct kv_part part)
{
    struct rad_part *p = rad_part_get(c->b->rad, part);
    pthread_mutex_lock(&p->mutex);
    p->checked = 0;
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

struct main_object {
    struct form_tag *tags; /* owned */
    size_t n, capacity;
    struct record head;
    uint32_t chunk_bytes;
};

static enum rc read_main(struct check *c, struct kv_blob_id id, struct main_object *out)
{
    char object[FORM_OBJECT];
    struct str name, value;
    form_main_name(object, id);
    struct link_call *call = link_call_new(c->b->rad->link, LINK_BODY, object);
    link_read_attrs(call);
    link_read_bytes(call, 0, RECORD_FRAME + FORM_LARGE);
    enum rc rc = link_rc(link_read_wait(call, c->b->rad->conf.read_ms));
    *out = (struct main_object){0};
    while (rc == RC_OK && link_got_attr(call, &name, &value)) {
        out->tags = mem_array(out->tags, &out->capacity, out->n + 1, sizeof *out->tags);
        out->n += form_tag_parse(name, &out->tags[out->n]);
    }
    if (rc == RC_OK)
        rc = form_head_parse(link_got_bytes(call), id, &out->head, &out->chunk_bytes);
    link_call_free(&call);
    return rc;
}

static bool has_tag(const struct main_object *m, struct form_tag tag)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->tags[i].token == tag.token && kv_part_eq(m->tags[i].part, tag.part))
            return true;
    return false;
}

/* Whether this process's intents or somebody else's name the blob. */
static bool is_intended_by(struct check *c, uint64_t process, struct kv_blob_id id)
{
    char object[FORM_OBJECT], after[FORM_INTENT];
    struct form_intent intent = {id, 0};
    struct str key, value;
    form_intents_name(object, process);
    form_intent_key(after, intent);
    after[strlen(after) - 17] = '\0'; /* without token: before all of the blob's */
    struct link_call *call = link_call_new(c->b->rad->link, LINK_INDEX, object);
    link_read_rows(call, str_of(after), 1);
    bool is_it = link_read_wait(call, c->b->rad->conf.read_ms) == LINK_OK &&
                 link_got_row(call, &key, &value) && form_intent_parse(key, &intent) &&
                 kv_blob_id_eq(intent.id, id);
    link_call_free(&call);
    return is_it;
}

static bool is_looked_after(struct check *c, struct kv_blob_id id)
{
    struct str key, value;
    uint64_t process;
    bool is_it = false;
    struct link_call *call = link_call_new(c->b->rad->link, LINK_INDEX, FORM_PROCESSES);
    link_read_rows(call, (struct str){0}, KV_PAGE_ROWS);
    if (link_read_wait(call, c->b->rad->conf.read_ms) == LINK_OK)
        while (!is_it && link_got_row(call, &key, &value))
            is_it = form_process_parse(key, &process) && is_intended_by(c, process, id);
    link_call_free(&call);
    return is_it;
}

/* --- the first pass: rows have tags ----------------------------------------------------------- */

/* RC_EXISTS: the blob is there, without this tag. */
static enum rc look_for_tag(struct check *c, struct kv_blob_id id, struct form_tag tag)
{
    struct main_object m;
    enum rc rc = read_main(c, id, &m);
    if (rc == RC_OK && !has_tag(&m, tag))
        rc = RC_EXISTS;
    free(m.tags);
    return rc;
}

/* What has no tag may have gone since its row was read, or be referred to anew, with another tag.
 */
static void check_refs(struct look *look)
{
    struct check *c = look->c;
    struct kv_blob_id id = look->id;
    struct kv_part part = look->part;
    struct form_tag tag = {.part = part};
    struct form_refs refs = look->refs;
    enum rc rc = RC_OK, row_rc = look->refs_rc;
    do {
        tag.token = refs.token;
        if (row_rc == RC_OK)
            rc = look_for_tag(c, id, tag);
        if (row_rc == RC_NOTFOUND || (row_rc == RC_OK && rc == RC_OK))
            return;
        distrust(c, part);
        row_rc = row_of(c, part, id, &refs);
    } while (row_rc == RC_NOTFOUND || (row_rc == RC_OK && refs.token != tag.token));
    if (row_rc == RC_CORRUPT)
        part_fault(c, id, part, "the row of references is damaged");
    else if (rc == RC_TEMP || row_rc != RC_OK)
        part_fault(c, id, part, "referred to, but not readable");
    else if (rc == RC_EXISTS)
        part_fault(c, id, part, "referred to, but not tagged");
    else
        part_fault(c, id, part, "referred to, but missing or damaged");
}

/* A row of the partition, the store's own among them. */
static void see_row(struct check *c, struct kv_part part, const struct kv_row *row)
{
    struct look look = {.at = check_refs, .part = part};
    if (row->key.n != REFS_KEY || !str_starts(row->key, STR("\xff\x62"))) { /* 0xff, 'b' */
        c->fsck->rows++; /* this thread's alone */
        return;
    }
    memcpy(look.id.b, row->key.p + 2, sizeof look.id.b);
    look.refs_rc = form_refs_parse(row->value, &look.refs);
    if (look.refs_rc == RC_OK && c->fsck->reference)
        c->fsck->reference(c->fsck, part, &look.id, look.refs.count);
    look_later(c, &look);
}

static enum rc check_part(struct check *c, struct kv_part part)
{
    struct arena arena = {0};
    struct kv_range range = {.to = STR("\xff\xff\xff")};
    struct kv_page page = {.has_more = true};
    char after[KV_KEY_MAX];
    enum rc rc = RC_OK;
    while (rc == RC_OK && page.has_more) {
        page = (struct kv_page){0};
        arena_reset(&arena);
        rc = rad_scan(c->kv, part, range, KV_PAGE_ROWS, 0, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++)
            see_row(c, part, &page.rows[i]);
        if (page.n > 0) {
            range.after = page.rows[page.n - 1].key;
            memcpy(after, range.after.p, range.after.n);
            range.after.p = after;
        }
    }
    arena_fini(&arena);
    return rc;
}

static enum rc each_part(void *arg, struct kv_part part)
{
    struct check *c = arg;
    enum rc rc = check_part(c, part);
    pthread_mutex_lock(&c->mutex);
    if (rc != RC_OK)
        kv_fsck_fault(c->fsck, "partition %c %llu: not readable: %s", part.class,
                      (unsigned long long)part.id, rc_name(rc));
    pthread_mutex_unlock(&c->mutex);
    return RC_OK;
}

struct listing {
    enum rc (*each)(void *arg, struct kv_part part);
    void *arg;
};

static enum rc list_one(void *arg, struct str name)
{
    struct listing *l = arg;
    struct kv_part part;
    return rad_name_head_parse(name, &part) ? l->each(l->arg, part) : RC_OK;
}

enum rc rad_each_part(struct kv *kv, enum rc (*each)(void *arg, struct kv_part part), void *arg)
{
    struct listing l = {each, arg};
    return link_each_object(rad_of(kv)->link, LINK_INDEX, list_one, &l);
}

/* --- the second pass: tags have rows, chunks have blobs, bytes have sums ---------------------- */

static enum rc read_all(struct check *c, struct kv_blob_id id, uint64_t *out_bytes)
{
    struct kv_blob_in *in;
    TRY(kv_blob_open(c->kv, id, 0, &in));
    uint64_t size = kv_blob_meta(in).size;
    enum rc rc = RC_OK;
    char *bytes = mem_alloc(RECORD_CHUNK);
    while (rc == RC_OK && *out_bytes < size) {
        size_t got = 0;
        rc = kv_blob_read(in, *out_bytes, bytes, RECORD_CHUNK, 0, &got);
        *out_bytes += got;
    }
    free(bytes);
    kv_blob_close(&in);
    return rc;
}

static bool has_row(struct check *c, struct kv_blob_id id, struct form_tag tag)
{
    struct form_refs refs;
    return row_of(c, tag.part, id, &refs) == RC_OK && refs.token == tag.token;
}

/* First the row, then the intents, then the row again, then the tag: whichever way it is being
 * changed, one of them tells. */
static bool is_tag_stale(struct check *c, struct kv_blob_id id, struct form_tag tag)
{
    struct main_object m;
    if (has_row(c, id, tag) || is_looked_after(c, id))
        return false;
    distrust(c, tag.part);
    if (has_row(c, id, tag))
        return false;
    bool is_there = read_main(c, id, &m) == RC_OK && has_tag(&m, tag);
    free(m.tags);
    return is_there;
}

static void check_main(struct look *look)
{
    struct check *c = look->c;
    struct kv_blob_id id = look->id;
    struct main_object m;
    uint64_t bytes = 0;
    enum rc rc = read_main(c, id, &m);
    if (rc == RC_OK && m.n == 0 && !is_looked_after(c, id))
        blob_fault(c, id, "without a tag");
    for (size_t i = 0; rc == RC_OK && i < m.n; i++)
        if (is_tag_stale(c, id, m.tags[i]))
            part_fault(c, id, m.tags[i].part, "a tag that no reference stands for");
    free(m.tags);
    if (rc == RC_OK)
        rc = read_all(c, id, &bytes);
    pthread_mutex_lock(&c->mutex);
    c->fsck->blobs += rc != RC_NOTFOUND; /* removed since the check began */
    c->fsck->bytes += bytes;
    pthread_mutex_unlock(&c->mutex);
    if (rc == RC_CORRUPT)
        blob_fault(c, id, "damaged");
    else if (rc != RC_OK && rc != RC_NOTFOUND)
        blob_fault(c, id, "not readable");
}

static void check_chunk(struct look *look)
{
    struct check *c = look->c;
    struct kv_blob_id id = look->id;
    uint64_t n = look->chunk;
    struct main_object m;
    enum rc rc = read_main(c, id, &m);
    bool is_part = rc == RC_OK && n < form_chunks(m.head.size, m.chunk_bytes);
    free(m.tags);
    char object[FORM_OBJECT];
    if (is_part || is_looked_after(c, id))
        return;
    form_chunk_name(object, id, n);
    struct link_call *call = link_call_new(c->b->rad->link, LINK_BODY, object);
    link_read_bytes(call, 0, 1);
    if (link_read_wait(call, c->b->rad->conf.read_ms) == LINK_OK)
        blob_fault(c, id, "a chunk that belongs to nothing");
    link_call_free(&call);
}

static enum rc each_body(void *arg, struct str name)
{
    struct look look = {0};
    if (!form_body_parse(name, &look.id, &look.chunk))
        return RC_OK;
    look.at = look.chunk == UINT64_MAX ? check_main : check_chunk;
    look_later(arg, &look);
    return RC_OK;
}

static enum rc each_shard(void *arg, struct str name)
{
    struct check *c = arg;
    struct kv_part part;
    bool is_stray;
    enum rc rc = rad_fold_is_stray(c->b->rad, name, &part, &is_stray);
    if (rc == RC_OK && is_stray)
        kv_fsck_fault(c->fsck, "partition %c %llu: %.*s: a shard that nothing names", part.class,
                      (unsigned long long)part.id, STR_ARG(name));
    else if (rc != RC_OK && rc != RC_NOTFOUND)
        kv_fsck_fault(c->fsck, "%.*s: its partition is not readable: %s", STR_ARG(name),
                      rc_name(rc));
    return RC_OK;
}

enum rc rad_fsck(struct kv *kv, struct kv_fsck *fsck)
{
    struct rad *rad = rad_of(kv);
    struct check c = {.b = rad->blobs, .kv = kv, .fsck = fsck};
    pthread_mutex_init(&c.mutex, NULL);
    pthread_cond_init(&c.fewer, NULL);
    c.lane = task_lane_new("kv-fsck", WORKERS, QUEUED);
    enum rc rc = rad_each_part(kv, each_part, &c);
    wait_for(&c, 0);
    if (rc == RC_OK)
        rc = link_each_object(rad->link, LINK_INDEX, each_shard, &c);
    if (rc == RC_OK)
        rc = link_each_object(rad->link, LINK_BODY, each_body, &c);
    wait_for(&c, 0);
    task_lane_free(&c.lane);
    pthread_cond_destroy(&c.fewer);
    pthread_mutex_destroy(&c.mutex);
    if (rc != RC_OK)
        return rc;
    return fsck->faults ? RC_CORRUPT : RC_OK;
}
