/* Reading blobs.
 *
 * Opening loads the main object: of a small blob that is all of it, verified once and kept in
 * memory; of a large one the sums. The bytes of a large one are read through a window of a few
 * chunks of the record, each verified as it comes, which belongs to the reader: so a stream costs
 * one operation for each window, and nothing is kept of it in the end. */
#include "rados/blob_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_READ = 64 << 10, /* most main objects whole */
    WINDOW = 4 * RECORD_CHUNK
};

struct in {
    struct kv_blob_in in;
    struct blob *blob; /* a hand of it */
    unsigned char *window;
    uint64_t window_at; /* in the body */
    size_t window_n;    /* 0: nothing is there */
};

/* --- loading ---------------------------------------------------------------------------------- */

/* Who waits for a load. Each is woken by its own, and not by the loads of all others. */
struct reader {
    struct list link; /* blob.readers */
    pthread_cond_t wake;
};

static void wait_for_load(struct blobs *b, struct blob *blob)
{
    struct reader reader;
    if (!blob->is_loading)
        return;
    pthread_cond_init(&reader.wake, NULL);
    list_add_tail(&blob->readers, &reader.link);
    while (blob->is_loading)
        pthread_cond_wait(&reader.wake, &b->mutex);
    list_remove(&reader.link);
    pthread_cond_destroy(&reader.wake);
}

static void wake_readers(struct blob *blob)
{
    LIST_EACH (&blob->readers, it)
        pthread_cond_signal(&CONTAINER(it, struct reader, link)->wake);
}

struct loading {
    struct blobs *b;
    struct blob *blob;
    unsigned char *main;
    size_t got, n;
};

static bool is_sound(const struct blob *blob, const struct record *head, const unsigned char *main)
{
    if (head->size > KV_BLOB_SMALL)
        return true; /* its bytes are verified when they are read */
    return form_sums_hold(str_from(main + RECORD_FRAME, (size_t)head->size),
                          main + form_sums_at(head->size));
}

static void loaded(struct loading *l, enum rc rc)
{
    struct blobs *b = l->b;
    struct blob *blob = l->blob;
    struct record head;
    uint32_t chunk_bytes = 0;
    if (rc == RC_OK)
        rc = form_head_parse(str_from(l->main, l->n), blob->id, &head, &chunk_bytes);
    if (rc == RC_OK && !is_sound(blob, &head, l->main))
        rc = RC_CORRUPT;
    blob_lock(b);
    blob->is_loading = false;
    blob->load_rc = rc;
    if (rc == RC_OK) {
        blob->head = head;
        blob->chunk_bytes = chunk_bytes;
        blob_set_main(blob, l->main, l->n);
        l->main = NULL;
    }
    wake_readers(blob);
    pthread_cond_broadcast(&b->changed);
    blob_leave(b, blob);
    blob_unlock(b);
    free(l->main);
    free(l);
}

static void read_rest(struct loading *l);

/* Takes what came; asks for the rest of it when the frame says that there is more. */
static enum rc take(struct loading *l, struct str bytes, bool *out_has_more)
{
    struct record head;
    uint32_t chunk_bytes;
    if (!l->main) {
        TRY(form_head_parse(bytes, l->blob->id, &head, &chunk_bytes));
        l->n = (size_t)form_main_bytes(head.size);
        l->main = mem_alloc(l->n);
    }
    if (bytes.n == 0 || bytes.n > l->n - l->got)
        return RC_CORRUPT;
    memcpy(l->main + l->got, bytes.p, bytes.n);
    l->got += bytes.n;
    *out_has_more = l->got < l->n;
    return RC_OK;
}

static void load_done(struct link_call *call, enum link_result result, void *arg)
{
    struct loading *l = arg;
    bool has_more = false;
    enum rc rc = link_rc(result);
    if (rc == RC_OK)
        rc = take(l, link_got_bytes(call), &has_more);
    link_call_free(&call);
    if (rc == RC_OK && has_more)
        read_rest(l);
    else
        loaded(l, rc);
}

static void read_rest(struct loading *l)
{
    char object[FORM_OBJECT];
    form_main_name(object, l->blob->id);
    struct link_call *call = link_call_new(l->b->rad->link, LINK_BODY, object);
    link_read_bytes(call, l->got, l->main ? l->n - l->got : FIRST_READ);
    link_read(call, l->b->rad->conf.read_ms, load_done, l);
}

/* The load has a hand of its own. */
static void begin_load(struct blobs *b, struct blob *blob)
{
    struct loading *l = mem_zero(sizeof *l);
    l->b = b;
    l->blob = blob;
    blob->is_loading = true;
    blob->hands++;
    read_rest(l);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* A hand more, and the load begun when that is needed; cached: none, and RC_AGAIN when it is. */
static enum rc enter(struct blobs *b, struct kv_blob_id id, bool is_cached, struct blob **out)
{
    struct blob *blob = blob_find(b, id);
    if (is_cached && (!blob || !blob->main || blob->clearing))
        return RC_AGAIN;
    while (blob && blob->clearing) { /* it is being found out whether it goes */
        pthread_cond_wait(&b->changed, &b->mutex);
        blob = blob_find(b, id);
    }
    blob = blob_enter(b, id);
    *out = blob;
    if (!blob->main && !blob->is_gone && !blob->is_loading)
        begin_load(b, blob);
    return RC_OK;
}

/* Waits for the load; RC_OK gives a reader, which has the hand. */
static enum rc attach(struct blobs *b, struct blob *blob, struct kv_blob_in **out)
{
    wait_for_load(b, blob);
    enum rc rc = blob->is_gone ? RC_NOTFOUND : blob->main ? RC_OK : blob->load_rc;
    if (rc != RC_OK) {
        blob_leave(b, blob);
        return rc;
    }
    struct in *in = mem_zero(sizeof *in);
    in->blob = blob;
    in->in = (struct kv_blob_in){
        .kv = &b->rad->kv,
        .id = blob->id,
        .meta = {blob->head.size, blob->head.codec, blob->head.key_id},
    };
    *out = &in->in;
    return RC_OK;
}

enum rc rad_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags, struct kv_blob_in **out)
{
    struct blobs *b = blobs_of(kv);
    struct blob *blob = NULL;
    blob_lock(b);
    enum rc rc = enter(b, id, flags & KV_CACHED, &blob);
    if (rc == RC_OK)
        rc = attach(b, blob, out);
    blob_unlock(b);
    return rc;
}

void rad_blob_open_many(struct kv *kv, const struct kv_blob_id *ids, size_t n,
                        struct kv_blob_in **out, enum rc *out_rcs)
{
    struct blobs *b = blobs_of(kv);
    struct blob *all[KV_BLOBS_AT_ONCE] = {0};
    blob_lock(b);
    for (size_t i = 0; i < n; i++)
        out_rcs[i] = enter(b, ids[i], false, &all[i]);
    for (size_t i = 0; i < n; i++) {
        out[i] = NULL;
        if (out_rcs[i] == RC_OK)
            out_rcs[i] = attach(b, all[i], &out[i]);
    }
    blob_unlock(b);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Bytes of the body of a large one, out of as many chunks as they lie in. */
static enum rc read_body(struct blobs *b, const struct blob *blob, uint64_t at, unsigned char *to,
                         size_t n)
{
    while (n) {
        char object[FORM_OBJECT];
        uint64_t from = at % blob->chunk_bytes;
        size_t part = blob->chunk_bytes - from < n ? (size_t)(blob->chunk_bytes - from) : n;
        form_chunk_name(object, blob->id, at / blob->chunk_bytes);
        struct link_call *call = link_call_new(b->rad->link, LINK_BODY, object);
        link_read_bytes(call, from, part);
        enum rc rc = link_rc(link_read_wait(call, b->rad->conf.read_ms));
        struct str got = rc == RC_OK ? link_got_bytes(call) : (struct str){0};
        if (rc == RC_NOTFOUND || (rc == RC_OK && got.n != part))
            rc = RC_CORRUPT;
        if (rc == RC_OK)
            memcpy(to, got.p, part);
        link_call_free(&call);
        TRY(rc);
        at += part;
        to += part;
        n -= part;
    }
    return RC_OK;
}

/* The window moves to where `offset` is, and what is in it is verified. */
static enum rc move_window(struct in *in, uint64_t offset)
{
    const struct blob *blob = in->blob;
    uint64_t at = offset / WINDOW * WINDOW, left = blob->head.size - at;
    size_t n = left < WINDOW ? (size_t)left : WINDOW;
    if (!in->window)
        in->window = mem_alloc(WINDOW);
    in->window_n = 0;
    TRY(read_body(blobs_of(in->in.kv), blob, at, in->window, n));
    const unsigned char *sums = blob->main + form_sums_at(blob->head.size) + at / RECORD_CHUNK * 4;
    if (!form_sums_hold(str_from(in->window, n), sums))
        return RC_CORRUPT;
    in->window_at = at;
    in->window_n = n;
    return RC_OK;
}

static bool is_in_window(const struct in *in, uint64_t offset)
{
    return offset >= in->window_at && offset - in->window_at < in->window_n;
}

enum rc rad_blob_read(struct kv_blob_in *base, uint64_t offset, void *to, size_t n, unsigned flags)
{
    struct in *in = (struct in *)base;
    if (base->meta.size <= KV_BLOB_SMALL) {
        memcpy(to, in->blob->main + RECORD_FRAME + offset, n);
        return RC_OK;
    }
    while (n) {
        if (!is_in_window(in, offset)) {
            if (flags & KV_CACHED)
                return RC_AGAIN;
            TRY(move_window(in, offset));
        }
        size_t from = (size_t)(offset - in->window_at);
        size_t part = in->window_n - from < n ? in->window_n - from : n;
        memcpy(to, in->window + from, part);
        to = (char *)to + part;
        offset += part;
        n -= part;
    }
    return RC_OK;
}

void rad_blob_close(struct kv_blob_in *base)
{
    struct in *in = (struct in *)base;
    struct blobs *b = blobs_of(base->kv);
    blob_lock(b);
    blob_leave(b, in->blob);
    blob_unlock(b);
    free(in->window);
    free(in);
}
