/* References in commits: counted at a transaction's turn, with the tags that they stand on.
 *
 * R1. A row of references is only put with a tag that is on the cluster, by a process whose intents
 * were its own all the time while it wrote the blob's chunks, and after it had loaded the head. R2.
 * A row is only removed when the intent to look after its tag is durable. R3. A tag goes when the
 * commit that removed its row is published, or when the one that was to name it has failed for
 * certain; where nobody knows, the sweeper finds out.
 *
 * A blob that was just made, for the partition that now refers to it, has its tag already: then
 * nothing is looked up and nothing waited for but the making. */
#include "rados/blob_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

void refs_key(char *to, struct kv_blob_id id)
{
    to[0] = (char)0xff;
    to[1] = 'b';
    memcpy(to + 2, id.b, sizeof id.b);
}

static bool is_of_blobs(const struct kv_item *item)
{
    return item->kind == KV_ITEM_REF || item->kind == KV_ITEM_DROP;
}

static bool has_refs(const struct kv_txn *txn)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);)
        if (is_of_blobs(&item))
            return true;
    return false;
}

/* --- tags of a transaction -------------------------------------------------------------------- */

static bool is_usable(const struct blobs *b, const struct tag *tag)
{
    return tag->state != TAG_SET || tag->term == b->intents.term;
}

/* The tag that was made with the blob, for this partition, when no commit has named it yet. */
static struct tag *unnamed(const struct blob *blob, struct kv_part part)
{
    struct list *it = blob->tags.next;
    if (it == &blob->tags)
        return NULL;
    struct tag *tag = CONTAINER(it, struct tag, link);
    bool is_it = tag->is_first && !tag->is_done && !tag->is_dropped && !tag->is_doubted &&
                 kv_part_eq(tag->form.part, part);
    return is_it ? tag : NULL;
}

static void use(struct ref *ref, struct tag *tag, bool is_take)
{
    ref->tag = tag;
    ref->is_take = is_take;
    tag->users++;
}

/* The transaction does without its tag: what it took goes again, what it was to drop stays. */
static void unuse(struct blobs *b, struct ref *ref)
{
    struct tag *tag = ref->tag;
    if (!tag)
        return;
    list_remove(&ref->wait_link);
    ref->tag = NULL;
    tag->users--;
    if (tag->users > 0 || tag->is_dropped || tag->is_doubted)
        return;
    if (!ref->is_take || (!tag->is_first && tag->state == TAG_FAILED))
        tag_done(b, tag);
    else if (!tag->is_first) /* a first one stays with its blob, as long as that is in hands */
        tag->is_dropped = true;
}

bool ref_is_ready(const struct ref *ref)
{
    const struct tag *tag = ref->tag;
    if (ref->is_take)
        return tag->state == TAG_SET || tag->state == TAG_FAILED;
    return tag->intent == INTENT_DURABLE || tag->state == TAG_FAILED;
}

void refs_less_pending(struct blobs *b, struct refs *refs)
{
    if (--refs->pending > 0)
        return;
    list_add_tail(&b->wakings, &refs->waking->link);
    refs->waking = NULL;
}

/* --- setting a tag ---------------------------------------------------------------------------- */

struct tagging {
    struct blobs *b;
    struct tag *tag;
};

static void tag_sent(struct link_call *call, enum link_result result, void *arg)
{
    struct tagging *t = arg;
    struct tag *tag = t->tag;
    rad_step(t->b->rad, "blob-tagged");
    blob_lock(t->b);
    tag->rc = link_rc(result);
    blob_note(t->b, tag->blob, result);
    tag->state = result == LINK_OK ? TAG_SET : TAG_FAILED;
    if (result == LINK_UNKNOWN || result == LINK_FENCED)
        tag->is_dropped = true; /* it may be there */
    tag_changed(t->b, tag);
    pthread_cond_broadcast(&t->b->changed);
    blob_leave(t->b, tag->blob);
    blob_unlock(t->b);
    link_call_free(&call);
    free(t);
}

struct link_call *tag_call(struct blobs *b, const struct blob *blob, struct form_tag form)
{
    char object[FORM_OBJECT], name[FORM_TAG];
    unsigned char change[FORM_NUMBER];
    form_main_name(object, blob->id);
    form_tag_name(name, form);
    form_number(change, form.token);
    struct link_call *call = link_call_new(b->rad->link, LINK_BODY, object);
    link_write_attr(call, name, FORM_HERE);
    link_write_attr(call, FORM_CHANGE, str_from(change, sizeof change));
    return call;
}

void tag_go_on(struct blobs *b, struct tag *tag)
{
    struct blob *blob = tag->blob;
    if (tag->is_first) {
        if (blob->make == MAKE_WAITS)
            blob_make(b, blob);
        return;
    }
    if (blob->make == MAKE_WAITS || blob->make == MAKE_SENT || blob->make == MAKE_STREAM)
        return; /* it is asked again when the blob is made */
    if (tag->is_dropped)
        return; /* nobody wants it any more */
    struct link_call *call = tag_call(b, blob, tag->form);
    link_write_assert_exists(call);
    struct tagging *t = mem_alloc(sizeof *t);
    *t = (struct tagging){b, tag};
    tag->state = TAG_SENT;
    blob->hands++;
    link_write(call, 0, tag_sent, t);
}

/* --- counting --------------------------------------------------------------------------------- */

static struct ref *find_ref(struct refs *refs, struct kv_blob_id id, uint64_t hash)
{
    struct map_node *node = map_find(&refs->by_id, hash);
    while (node && !kv_blob_id_eq(CONTAINER(node, struct ref, node)->blob->id, id))
        node = map_next(node);
    return node ? CONTAINER(node, struct ref, node) : NULL;
}

static struct ref *ref_of(struct blobs *b, struct refs *refs, struct kv_blob_id id)
{
    uint64_t hash;
    memcpy(&hash, id.b, sizeof hash);
    struct ref *ref = find_ref(refs, id, hash);
    if (ref)
        return ref;
    ref = mem_zero(sizeof *ref);
    ref->refs = refs;
    ref->blob = blob_enter(b, id);
    list_init(&ref->wait_link);
    map_add(&refs->by_id, &ref->node, hash);
    return ref;
}

/* What the row says before the transaction. */
static enum rc look_up(struct rad_change *change, const struct refs *refs, struct ref *ref)
{
    char key[REFS_KEY];
    struct str value;
    const struct tag *tag = unnamed(ref->blob, refs->part);
    ref->before = (struct form_refs){0};
    if (tag && (tag->users == 0 || (tag->users == 1 && tag == ref->tag)))
        return RC_OK; /* no commit has named it, nor one before this: there is no row */
    refs_key(key, ref->blob->id);
    TRY(rad_view_get(change, str_from(key, sizeof key), &value));
    return value.n ? form_refs_parse(value, &ref->before) : RC_OK;
}

static enum rc count_one(struct ref *ref, bool is_drop)
{
    if (is_drop) {
        if (ref->now.count == 0)
            return RC_CORRUPT;
        ref->now.count--;
        return RC_OK;
    }
    ref->was_taken = true;
    ref->now.count++;
    return ref->now.count == 0 ? RC_LIMIT : RC_OK;
}

static enum rc count(struct blobs *b, struct rad_change *change, struct refs *refs,
                     const struct kv_txn *txn)
{
    struct kv_item item;
    refs->pass++;
    for (size_t pos = 0; kv_txn_next(txn, &pos, &item);) {
        if (!is_of_blobs(&item))
            continue;
        struct ref *ref = ref_of(b, refs, item.blob);
        if (ref->pass != refs->pass) {
            TRY(look_up(change, refs, ref));
            ref->pass = refs->pass;
            ref->now = ref->before;
            ref->was_taken = false;
        }
        TRY(count_one(ref, item.kind == KV_ITEM_DROP));
    }
    return RC_OK;
}

/* --- what has to be there first --------------------------------------------------------------- */

static struct tag *tag_to_take(struct blobs *b, struct ref *ref)
{
    struct tag *tag = unnamed(ref->blob, ref->refs->part);
    if (tag && tag->users == 0)
        return tag;
    tag = tag_add(ref->blob, (struct form_tag){ref->refs->part, random_u64()});
    tag->term = b->intents.term;
    intent_want(b, tag);
    return tag;
}

static struct tag *tag_to_drop(struct blobs *b, struct ref *ref)
{
    struct tag *tag = tag_find(ref->blob, ref->before.token);
    if (!tag) {
        tag = tag_add(ref->blob, (struct form_tag){ref->refs->part, ref->before.token});
        tag->state = TAG_SET;
    }
    tag->is_done = false;
    intent_want(b, tag);
    return tag;
}

/* The tag that this reference needs, if any, becomes the one that it has. */
static void choose(struct blobs *b, struct ref *ref)
{
    bool is_take = ref->before.count == 0 && ref->was_taken;
    bool is_drop = ref->before.count > 0 && ref->now.count == 0;
    bool fits = ref->tag &&
                (is_take ? ref->is_take && is_usable(b, ref->tag)
                         : is_drop && !ref->is_take && ref->tag->form.token == ref->before.token);
    if (!fits)
        unuse(b, ref);
    if (fits || (!is_take && !is_drop))
        return;
    use(ref, is_take ? tag_to_take(b, ref) : tag_to_drop(b, ref), is_take);
}

static struct ref *next_ref(const struct refs *refs, size_t *slot, struct ref *ref)
{
    struct map_node *node = map_each(&refs->by_id, slot, ref ? &ref->node : NULL);
    return node ? CONTAINER(node, struct ref, node) : NULL;
}

/* Of a large one that was written here: its chunks cannot have been swept while it had no main
 * object. *round grows to the one by which that can be said. */
static enum rc check_whole(struct blobs *b, struct blob *blob, uint64_t *round)
{
    if (blob->chunks == 0 || blob->is_whole)
        return RC_OK;
    if (blob->term != b->intents.term)
        return RC_TEMP;
    blob->is_whole = b->intents.proved > blob->round;
    if (!blob->is_whole && blob->round > *round)
        *round = blob->round;
    return RC_OK;
}

static bool is_proved(struct blobs *b, uint64_t round)
{
    return intents_are_good(b) && b->intents.proved > round;
}

/* RC_OK: everything is there. RC_AGAIN: refs->pending things are awaited. */
static enum rc check(struct blobs *b, const struct rad_part *p, struct refs *refs)
{
    size_t slot = 0;
    bool has_take = false;
    uint64_t round = p->loaded;
    for (struct ref *ref = NULL; (ref = next_ref(refs, &slot, ref)) != NULL;) {
        if (ref->pass != refs->pass)
            continue;
        choose(b, ref);
        if (!ref->tag)
            continue;
        if (ref->is_take && !is_usable(b, ref->tag))
            return RC_TEMP; /* its blob was made when our intents were others' already */
        has_take = has_take || ref->is_take;
        if (ref->is_take)
            TRY(check_whole(b, ref->blob, &round));
        if (!ref_is_ready(ref)) {
            refs->pending++;
            list_add_tail(&ref->tag->waiters, &ref->wait_link);
        } else if (ref->tag->state == TAG_FAILED) {
            return ref->tag->rc;
        }
    }
    if (atomic_load(&b->rad->is_readonly))
        return RC_TEMP;
    if (has_take && refs->pending == 0 && !is_proved(b, round)) {
        refs->pending++;
        list_add_tail(&b->intents.beat_waiters, &refs->beat_link);
        intents_hurry(b);
    }
    return refs->pending ? RC_AGAIN : RC_OK;
}

/* Nobody waits any more: the transaction fails, or begins anew. */
static void stop_waiting(struct refs *refs)
{
    size_t slot = 0;
    for (struct ref *ref = NULL; (ref = next_ref(refs, &slot, ref)) != NULL;)
        list_remove(&ref->wait_link);
    list_remove(&refs->beat_link);
    refs->pending = 0;
}

static void put_rows(struct rad_change *change, const struct refs *refs)
{
    size_t slot = 0;
    for (struct ref *ref = NULL; (ref = next_ref(refs, &slot, ref)) != NULL;) {
        char key[REFS_KEY];
        unsigned char value[FORM_REFS];
        if (ref->pass != refs->pass || ref->now.count == ref->before.count)
            continue;
        refs_key(key, ref->blob->id);
        if (ref->tag && ref->is_take)
            ref->now.token = ref->tag->form.token;
        form_refs(value, ref->now);
        if (ref->now.count)
            rad_view_put(change, str_from(key, sizeof key), str_from(value, sizeof value));
        else
            rad_view_delete(change, str_from(key, sizeof key));
    }
}

enum rc rad_blobs_apply(struct rad_change *change, struct kv_op *op)
{
    struct blobs *b = change->part->rad->blobs;
    struct refs *refs = op->backend;
    if (!refs && !has_refs(op->txn))
        return RC_OK;
    if (!refs) {
        refs = mem_zero(sizeof *refs);
        refs->part = op->txn->part;
        map_init(&refs->by_id);
        list_init(&refs->beat_link);
        op->backend = refs;
    }
    refs->is_applied = false;
    blob_lock(b);
    enum rc rc = refs->pending ? RC_AGAIN : count(b, change, refs, op->txn);
    if (rc == RC_OK)
        rc = check(b, change->part, refs);
    if (rc == RC_AGAIN && refs->pending && !refs->waking) {
        refs->waking = mem_zero(sizeof *refs->waking);
        refs->waking->part = rad_part_pin(change->part);
    } else if (rc != RC_AGAIN && rc != RC_OK) {
        stop_waiting(refs);
    }
    blob_unlock_inside(b);
    if (rc == RC_OK)
        put_rows(change, refs);
    refs->is_applied = rc == RC_OK;
    return rc;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void committed(struct blobs *b, struct ref *ref)
{
    struct tag *tag = ref->tag;
    ref->tag = NULL;
    tag->users--;
    if (ref->is_take && ref->now.count) {
        tag_done(b, tag);
        return;
    }
    tag->is_done = false;
    tag->is_dropped = true;
}

static void end_ref(struct blobs *b, struct ref *ref, enum rc rc, bool is_unknown)
{
    if (ref->tag && rc == RC_OK && ref->pass == ref->refs->pass) {
        committed(b, ref);
    } else if (ref->tag && is_unknown && ref->tag->state == TAG_SET) {
        ref->tag->users--;
        tag_doubt(b, ref->tag);
    } else {
        unuse(b, ref);
    }
    list_remove(&ref->wait_link);
    blob_leave(b, ref->blob);
    free(ref);
}

void rad_blobs_committed(struct rad *rad, struct kv_op *op)
{
    struct blobs *b = rad->blobs;
    struct refs *refs = op->backend;
    if (!refs)
        return;
    /* RC_TEMP of one that may have been sent: nobody knows what became of it. */
    bool is_unknown = op->rc == RC_TEMP && refs->is_applied;
    size_t slot = 0;
    rad_step(rad, "blob-committed");
    blob_lock(b);
    stop_waiting(refs);
    for (struct ref *ref = NULL; (ref = next_ref(refs, &slot, NULL)) != NULL; slot = 0) {
        map_remove(&refs->by_id, &ref->node);
        end_ref(b, ref, op->rc, is_unknown);
    }
    blob_unlock(b);
    if (refs->waking) {
        rad_part_put(refs->waking->part);
        free(refs->waking);
    }
    map_fini(&refs->by_id);
    free(refs);
    op->backend = NULL;
}
