/* Removing tags, and blobs with their last tag.
 *
 * C1. One removal a blob at a time, only while it is in nobody's hands here. C2. Every change of
 * the tags sets attribute `g` to something new and, when it takes away, compares it with what was
 * read: so two who each take away the tag before the last cannot both think that the other's is
 * left, and a blob that was tagged meanwhile is not removed. C3. The main object goes first, then
 * the chunks, the last one first; the intents go after them, so a crash between is found.
 *
 *   clear-read      the tags and the frame are read
 *   clear-write     our tags are removed, or the main object is
 *   clear-chunks    chunk after chunk is removed
 */
#include "rados/blob_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 64, PROBE_MAX = 1 << 20 };

struct clearing {
    struct blobs *b;
    struct blob *blob;
    unsigned char change[FORM_NUMBER]; /* g, as it was read */
    size_t change_n;
    uint64_t *tokens; /* of the tags to be removed that are there */
    struct form_tag *tags;
    size_t n_tags;
    bool has_others, is_removed;
    uint64_t chunks; /* left to be removed */
    bool is_probing; /* nobody knows how many there are: look for the first that is missing */
};

static void read_tags(struct clearing *c);
static void next_chunk(struct clearing *c);

static struct link_call *call_main(struct clearing *c)
{
    char object[FORM_OBJECT];
    form_main_name(object, c->blob->id);
    return link_call_new(c->b->rad->link, LINK_BODY, object);
}

static struct link_call *call_chunk(struct clearing *c, uint64_t n)
{
    char object[FORM_OBJECT];
    form_chunk_name(object, c->blob->id, n);
    return link_call_new(c->b->rad->link, LINK_BODY, object);
}

static void free_clearing(struct clearing *c)
{
    free(c->tags);
    free(c);
}

/* --- the end of it ---------------------------------------------------------------------------- */

static void tags_cleared(struct blobs *b, struct blob *blob, bool is_removed)
{
    LIST_EACH_SAFE (&blob->tags, it) {
        struct tag *tag = CONTAINER(it, struct tag, link);
        if (tag->is_clearing) {
            tag->is_clearing = false;
            if (is_removed)
                tag_done(b, tag);
        }
    }
}

/* It did not work, or something may still come: it is tried again with the next beat, and the
 * intents stay. */
static void end(struct clearing *c, bool is_ok)
{
    struct blobs *b = c->b;
    struct blob *blob = c->blob;
    blob_lock(b);
    is_ok = is_ok && clock_mono(b->rad->kv.ctx->clock) >= blob->unsure_until;
    b->n_clearing--;
    blob->is_gone = blob->is_gone || c->is_removed;
    blob->hands++; /* so that it stays while its tags go */
    blob->clearing = NULL;
    tags_cleared(b, blob, is_ok);
    blob->hands--;
    if (is_ok)
        blob_settle(b, blob);
    else
        list_add_tail(&b->retries, &blob->clear_link);
    pthread_cond_broadcast(&b->changed);
    clear_next(b);
    blob_unlock(b);
    free_clearing(c);
}

/* --- chunks ----------------------------------------------------------------------------------- */

static void probed(struct link_call *call, enum link_result result, void *arg)
{
    struct clearing *c = arg;
    link_call_free(&call);
    if (result == LINK_OK && c->chunks < PROBE_MAX) {
        c->chunks++;
        next_chunk(c);
    } else if (result == LINK_OK || result == LINK_MISSING) {
        c->is_probing = false;
        next_chunk(c);
    } else {
        end(c, false);
    }
}

static void chunk_removed(struct link_call *call, enum link_result result, void *arg)
{
    struct clearing *c = arg;
    link_call_free(&call);
    rad_step(c->b->rad, "clear-chunks");
    if (result != LINK_OK && result != LINK_MISSING) {
        end(c, false);
        return;
    }
    c->chunks--;
    next_chunk(c);
}

static void next_chunk(struct clearing *c)
{
    if (c->is_probing) {
        struct link_call *call = call_chunk(c, c->chunks);
        link_read_bytes(call, 0, 1);
        link_read(call, 0, probed, c);
    } else if (c->chunks) {
        struct link_call *call = call_chunk(c, c->chunks - 1);
        link_write_remove(call);
        link_write(call, 0, chunk_removed, c);
    } else {
        end(c, true);
    }
}

/* --- tags ------------------------------------------------------------------------------------- */

static void written(struct link_call *call, enum link_result result, void *arg)
{
    struct clearing *c = arg;
    link_call_free(&call);
    rad_step(c->b->rad, "clear-write");
    if (result == LINK_REFUSED || result == LINK_MISSING)
        read_tags(c); /* it was changed, or removed, since it was read */
    else if (result != LINK_OK)
        end(c, false);
    else
        next_chunk(c);
}

static void write_tags(struct clearing *c)
{
    struct link_call *call = call_main(c);
    link_guard_attr(call, FORM_CHANGE, str_from(c->change, c->change_n));
    if (c->has_others) {
        unsigned char change[FORM_NUMBER];
        form_number(change, random_u64());
        for (size_t i = 0; i < c->n_tags; i++) {
            char name[FORM_TAG];
            form_tag_name(name, c->tags[i]);
            link_write_attr_remove(call, name);
        }
        link_write_attr(call, FORM_CHANGE, str_from(change, sizeof change));
        c->chunks = 0;
        c->is_probing = false;
    } else {
        link_write_remove(call);
        c->is_removed = true;
    }
    link_write(call, 0, written, c);
}

/* Sorts the tags that are there into ours and others'. */
static void take_tags(struct clearing *c, struct link_call *call)
{
    struct str name, value;
    size_t capacity = 0;
    c->n_tags = 0;
    c->change_n = 0;
    c->has_others = false;
    free(c->tags);
    c->tags = NULL;
    while (link_got_attr(call, &name, &value)) {
        struct form_tag form;
        if (str_eq(name, STR(FORM_CHANGE)) && value.n <= sizeof c->change) {
            memcpy(c->change, value.p, value.n);
            c->change_n = value.n;
        }
        if (!form_tag_parse(name, &form))
            continue;
        blob_lock(c->b);
        const struct tag *tag = tag_find(c->blob, form.token);
        /* Of one that could not be judged, since it was not there, the partition is not known. */
        bool is_ours = tag && tag->is_clearing && kv_part_eq(tag->form.part, form.part);
        blob_unlock(c->b);
        c->has_others = c->has_others || !is_ours;
        if (!is_ours)
            continue;
        c->tags = mem_array(c->tags, &capacity, c->n_tags + 1, sizeof *c->tags);
        c->tags[c->n_tags++] = form;
    }
}

static void tags_read(struct link_call *call, enum link_result result, void *arg)
{
    struct clearing *c = arg;
    struct record head;
    uint32_t chunk_bytes;
    rad_step(c->b->rad, "clear-read");
    if (result == LINK_MISSING) {
        link_call_free(&call);
        c->is_removed = true;
        next_chunk(c);
        return;
    }
    if (result == LINK_OK) {
        take_tags(c, call);
        c->is_probing =
            form_head_parse(link_got_bytes(call), c->blob->id, &head, &chunk_bytes) != RC_OK;
        c->chunks = c->is_probing ? 0 : form_chunks(head.size, chunk_bytes);
    }
    link_call_free(&call);
    if (result != LINK_OK)
        end(c, false);
    else if (c->has_others && c->n_tags == 0)
        end(c, true);
    else
        write_tags(c);
}

static void read_tags(struct clearing *c)
{
    struct link_call *call = call_main(c);
    c->is_removed = false;
    link_read_attrs(call);
    link_read_bytes(call, 0, RECORD_FRAME + FORM_LARGE);
    link_read(call, 0, tags_read, c);
}

/* --- beginning -------------------------------------------------------------------------------- */

static void start(struct blobs *b, struct blob *blob)
{
    struct clearing *c = mem_zero(sizeof *c);
    c->b = b;
    c->blob = blob;
    c->chunks = blob->chunks;
    c->is_probing = blob->make == MAKE_ELSEWHERE && !blob->main;
    blob->clearing = c;
    b->n_clearing++;
    LIST_EACH (&blob->tags, it) {
        struct tag *tag = CONTAINER(it, struct tag, link);
        tag->is_clearing = tag->is_dropped && tag->users == 0;
    }
    read_tags(c);
}

void clear_begin(struct blobs *b, struct blob *blob)
{
    if (!list_is_empty(&blob->clear_link))
        return;
    list_add_tail(&b->clears, &blob->clear_link);
    clear_next(b);
}

static bool may_start(const struct blobs *b)
{
    return b->n_clearing < AT_ONCE && b->held == 0;
}

void clear_next(struct blobs *b)
{
    struct list *it;
    while (may_start(b) && (it = list_first(&b->clears)) != NULL) {
        struct blob *blob = CONTAINER(it, struct blob, clear_link);
        list_remove(it);
        if (blob->hands == 0)
            start(b, blob); /* otherwise blob_settle begins anew when it is let go */
    }
}
