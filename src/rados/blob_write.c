/* Writing blobs.
 *
 * A small one is built as its main object and sent when it is finished: nobody waits for that but
 * the commit that names it. A large one goes out in pieces as it comes, each waited for, and is
 * there when its main object has been written. In both cases the intent is durable before the first
 * byte, and the main object is made with its first tag, for the partition that it is written for:
 * so the delivery of a message costs one operation here. */
#include "rados/blob_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    SUMS_MAX = 4 * (KV_BLOB_SMALL / RECORD_CHUNK),
    FIRST_BUFFER = 8 << 10,
};

struct out {
    struct kv_blob_out out;
    unsigned char *bytes; /* small: the main object; large: the piece that is being filled */
    size_t capacity;
    struct blob *blob; /* large: in the table, one of its hands */
    size_t piece_n;
    uint64_t sent; /* bytes of the body that are on the cluster */
    unsigned char *sums;
    size_t sums_n, sums_capacity;
    uint32_t sum; /* of the chunk of the record that is not full, and its bytes */
    size_t sum_n;
};

struct kv_blob_out *rad_blob_new(struct kv *kv)
{
    struct out *o = mem_zero(sizeof *o);
    return &o->out;
}

static void free_out(struct out *o)
{
    free(o->bytes);
    free(o->sums);
    free(o);
}

static struct record record_of(const struct out *o, struct kv_blob_id id)
{
    return (struct record){
        .id = id,
        .part = o->out.part,
        .size = o->out.meta.size,
        .codec = o->out.meta.codec,
        .key_id = o->out.meta.key_id,
    };
}

static struct form_intent random_intent(void)
{
    struct form_intent intent;
    do
        random_bytes(intent.id.b, sizeof intent.id.b);
    while (kv_blob_id_is_zero(intent.id));
    intent.token = random_u64();
    return intent;
}

/* A blob under a new id, with its first tag and an intent, which need not be durable yet. */
static struct blob *begin(struct blobs *b, const struct kv_blob_out *out, enum make_state make)
{
    struct form_intent intent;
    bool is_copy = !kv_blob_id_is_zero(out->id);
    bool is_durable = !is_copy && intent_take(b, &intent);
    if (!is_durable)
        intent = random_intent();
    if (is_copy)
        intent.id = out->id;
    struct blob *blob = blob_enter(b, intent.id);
    struct tag *tag = tag_add(blob, (struct form_tag){out->part, intent.token});
    tag->is_first = true;
    tag->term = b->intents.term;
    tag->is_intent_wanted = is_durable;
    tag->intent = is_durable ? INTENT_DURABLE : INTENT_NONE;
    blob->make = make;
    if (!is_durable)
        intent_want(b, tag);
    return blob;
}

static struct tag *first_tag(struct blob *blob)
{
    return CONTAINER(list_first(&blob->tags), struct tag, link);
}

/* --- the main object -------------------------------------------------------------------------- */

static struct link_call *make_call(struct blobs *b, const struct blob *blob, const struct tag *tag,
                                   struct str main)
{
    struct link_call *call = tag_call(b, blob, tag->form);
    link_write_create(call);
    link_write_bytes(call, main);
    return call;
}

/* One that is there already is nobody's whom we know: the id is random. */
static enum rc make_rc(enum link_result result)
{
    return result == LINK_EXISTS ? RC_TEMP : link_rc(result);
}

/* What a failed make has left, if anything, is removed when the blob is in nobody's hands. */
static void made(struct blobs *b, struct blob *blob, enum rc rc)
{
    struct tag *first = first_tag(blob);
    blob->make = rc == RC_OK ? MAKE_DONE : MAKE_FAILED;
    blob->make_rc = first->rc = rc;
    first->state = rc == RC_OK ? TAG_SET : TAG_FAILED;
    if (rc == RC_OK)
        counter_add(b->rad->kv.ctx->counters, COUNTER_KV_BLOB_BYTES, blob->head.size);
    tag_changed(b, first);
    LIST_EACH_SAFE (&blob->tags, it) {
        struct tag *tag = CONTAINER(it, struct tag, link);
        if (!tag->is_first && tag->state == TAG_WAITS && tag->intent == INTENT_DURABLE)
            tag_go_on(b, tag);
    }
    pthread_cond_broadcast(&b->changed);
    blob_settle(b, blob);
}

struct making {
    struct blobs *b;
    struct blob *blob;
};

static void make_done(struct link_call *call, enum link_result result, void *arg)
{
    struct making *m = arg;
    rad_step(m->b->rad, "blob-made");
    blob_lock(m->b);
    blob_note(m->b, m->blob, result);
    made(m->b, m->blob, make_rc(result));
    blob_unlock(m->b);
    link_call_free(&call);
    free(m);
}

/* From here on the blob stays, and its first tag and its bytes as they are, until make_done. */
static void begin_make(struct blob *blob)
{
    blob->make = MAKE_SENT;
    first_tag(blob)->state = TAG_SENT;
}

/* With or without the mutex. */
static void send_make(struct blobs *b, struct blob *blob)
{
    struct making *m = mem_alloc(sizeof *m);
    *m = (struct making){b, blob};
    struct link_call *call =
        make_call(b, blob, first_tag(blob), str_from(blob->main, blob->main_n));
    link_write(call, 0, make_done, m);
}

void blob_make(struct blobs *b, struct blob *blob)
{
    begin_make(blob);
    send_make(b, blob);
}

/* --- small ------------------------------------------------------------------------------------ */

static void add_small(struct out *o, struct str bytes)
{
    size_t size = (size_t)o->out.meta.size;
    size_t need = RECORD_FRAME + size + bytes.n + SUMS_MAX;
    if (need > o->capacity) {
        o->capacity = need < FIRST_BUFFER ? FIRST_BUFFER : need + need / 4;
        o->bytes = mem_grow(o->bytes, o->capacity);
    }
    memcpy(o->bytes + RECORD_FRAME + size, bytes.p, bytes.n);
}

static enum rc finish_small(struct blobs *b, struct out *o, struct kv_blob_id *out_id)
{
    size_t size = (size_t)o->out.meta.size;
    add_small(o, STR("")); /* for the frame at least */
    kv_record_sums(o->bytes + RECORD_FRAME + size, str_from(o->bytes + RECORD_FRAME, size));
    blob_lock(b);
    struct blob *blob = begin(b, &o->out, MAKE_WAITS);
    *out_id = blob->id;
    blob->is_finished = true;
    blob->head = record_of(o, blob->id);
    kv_record_frame(o->bytes, &blob->head);
    blob_set_main(blob, o->bytes, (size_t)form_main_bytes(size));
    o->bytes = NULL;
    bool is_durable = first_tag(blob)->intent == INTENT_DURABLE;
    if (is_durable)
        begin_make(blob);
    blob_unlock(b);
    if (is_durable) /* the bytes are copied without the mutex */
        send_make(b, blob);
    free_out(o);
    return RC_OK;
}

/* --- large ------------------------------------------------------------------------------------ */

static void add_sum(struct out *o)
{
    o->sums = mem_array(o->sums, &o->sums_capacity, o->sums_n + 4, 1);
    put_u32(o->sums + o->sums_n, o->sum);
    o->sums_n += 4;
    o->sum = 0;
    o->sum_n = 0;
}

static void add_to_sums(struct out *o, struct str bytes)
{
    while (bytes.n) {
        struct str part = str_head(bytes, RECORD_CHUNK - o->sum_n);
        o->sum = crc32c(o->sum, part);
        o->sum_n += part.n;
        if (o->sum_n == RECORD_CHUNK)
            add_sum(o);
        bytes = str_skip(bytes, part.n);
    }
}

static enum rc send_piece(struct blobs *b, struct out *o)
{
    char object[FORM_OBJECT];
    uint64_t chunk = o->sent / b->chunk_bytes;
    blob_lock(b);
    if (o->sent == 0)
        o->blob->term = b->intents.term;
    o->blob->chunks = chunk + 1;
    blob_unlock(b);
    form_chunk_name(object, o->blob->id, chunk);
    struct link_call *call = link_call_new(b->rad->link, LINK_BODY, object);
    link_write_piece(call, o->sent % b->chunk_bytes, str_from(o->bytes, o->piece_n));
    enum link_result result = link_write_wait(call, 0);
    link_call_free(&call);
    o->sent += o->piece_n;
    o->piece_n = 0;
    rad_step(b->rad, "blob-piece");
    blob_lock(b);
    blob_note(b, o->blob, result);
    blob_unlock(b);
    return link_rc(result);
}

static enum rc add_large(struct blobs *b, struct out *o, struct str bytes)
{
    add_to_sums(o, bytes);
    while (bytes.n) {
        struct str part = str_head(bytes, b->piece_bytes - o->piece_n);
        memcpy(o->bytes + o->piece_n, part.p, part.n);
        o->piece_n += part.n;
        bytes = str_skip(bytes, part.n);
        if (o->piece_n == b->piece_bytes)
            TRY(send_piece(b, o));
    }
    return RC_OK;
}

/* With its intent durable. */
static enum rc enter_large(struct blobs *b, struct out *o)
{
    blob_lock(b);
    o->blob = begin(b, &o->out, MAKE_STREAM);
    struct tag *first = first_tag(o->blob);
    while (first->intent != INTENT_DURABLE && first->state != TAG_FAILED)
        pthread_cond_wait(&b->changed, &b->mutex);
    enum rc rc = first->state == TAG_FAILED ? first->rc : RC_OK;
    blob_unlock(b);
    return rc;
}

static enum rc become_large(struct blobs *b, struct out *o)
{
    size_t size = (size_t)o->out.meta.size;
    TRY(enter_large(b, o));
    unsigned char *small = o->bytes;
    o->bytes = mem_alloc(b->piece_bytes);
    enum rc rc = small ? add_large(b, o, str_from(small + RECORD_FRAME, size)) : RC_OK;
    free(small);
    return rc;
}

static enum rc finish_large(struct blobs *b, struct out *o, struct kv_blob_id *out_id)
{
    struct blob *blob = o->blob;
    if (o->piece_n)
        TRY(send_piece(b, o));
    if (o->sum_n)
        add_sum(o);
    size_t n = RECORD_FRAME + FORM_LARGE + o->sums_n;
    unsigned char *main = mem_alloc(n);
    struct record head = record_of(o, blob->id);
    form_head(main, &head, b->chunk_bytes);
    memcpy(main + RECORD_FRAME + FORM_LARGE, o->sums, o->sums_n);
    blob_lock(b);
    struct link_call *call = make_call(b, blob, first_tag(blob), str_from(main, n));
    blob_unlock(b);
    enum link_result result = link_write_wait(call, 0);
    enum rc rc = make_rc(result);
    link_call_free(&call);
    rad_step(b->rad, "blob-made");
    blob_lock(b);
    blob_note(b, blob, result);
    blob->head = head;
    blob->chunk_bytes = b->chunk_bytes;
    blob_set_main(blob, main, n);
    *out_id = blob->id;
    blob->is_finished = rc == RC_OK;
    blob->round = atomic_load(&b->rad->rounds);
    made(b, blob, rc);
    blob_unlock(b);
    return rc;
}

/* --- what the back end's table names ---------------------------------------------------------- */

enum rc rad_blob_write(struct kv_blob_out *out, struct str bytes)
{
    struct out *o = (struct out *)out;
    struct blobs *b = blobs_of(out->kv);
    if (!o->blob && bytes.n <= KV_BLOB_SMALL - (size_t)out->meta.size) {
        add_small(o, bytes);
        return RC_OK;
    }
    if (atomic_load(&b->rad->is_readonly))
        return RC_TEMP;
    if (!o->blob)
        TRY(become_large(b, o));
    return add_large(b, o, bytes);
}

enum rc rad_blob_finish(struct kv_blob_out *out, struct kv_blob_id *out_id)
{
    struct out *o = (struct out *)out;
    struct blobs *b = blobs_of(out->kv);
    enum rc rc = atomic_load(&b->rad->is_readonly) ? RC_TEMP : RC_OK;
    if (rc == RC_OK && !o->blob)
        return finish_small(b, o, out_id);
    if (rc == RC_OK)
        rc = finish_large(b, o, out_id);
    if (rc != RC_OK) {
        rad_blob_abort(out);
        return rc;
    }
    free_out(o);
    return RC_OK;
}

void rad_blob_abort(struct kv_blob_out *out)
{
    struct out *o = (struct out *)out;
    struct blobs *b = blobs_of(out->kv);
    if (o->blob) {
        blob_lock(b);
        o->blob->make = MAKE_FAILED;
        o->blob->make_rc = RC_NOTFOUND;
        blob_leave(b, o->blob);
        blob_unlock(b);
    }
    free_out(o);
}

void rad_blob_forget(struct kv *kv, struct kv_blob_id id)
{
    struct blobs *b = blobs_of(kv);
    blob_lock(b);
    struct blob *blob = blob_find(b, id);
    if (blob && blob->is_finished) {
        blob->is_finished = false;
        blob_leave(b, blob);
    }
    blob_unlock(b);
}
