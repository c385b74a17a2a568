/* Intents of this process: rows in one omap object of its own, written by one thread, the clerk.
 *
 * I1. Every operation on the object compares its owner and the beat, and makes the beat grow: so
 * nothing of ours comes into it after a take-over, and what comes late comes not at all. I2. All
 * that waits goes into one operation, and one is under way at a time. By the beat others see that
 * this process lives. I3. Intents for blobs that are not even begun are kept in reserve, so that
 * making one waits for nothing. I4. Removing an intent is never urgent: one that is there too long
 * costs a sweep, no more.
 *
 * When somebody has taken over, a new term begins, with a new object: what was made before and is
 * not yet named by a commit is given up; what waits for its intent waits for the new one. */
#include "rados/blob_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <time.h>

enum { AT_ONCE = 1000, REMOVE_MS = 200, RETRY_MS = 1000 };

static uint64_t now(struct blobs *b)
{
    return clock_mono(b->rad->kv.ctx->clock);
}

/* --- the object ------------------------------------------------------------------------------- */

static struct link_call *call_own(struct blobs *b)
{
    char object[FORM_OBJECT];
    form_intents_name(object, b->intents.process);
    return link_call_new(b->rad->link, LINK_INDEX, object);
}

static void put_number(struct link_call *call, struct str key, uint64_t number)
{
    unsigned char value[FORM_NUMBER];
    form_number(value, number);
    link_write_row(call, key, str_from(value, sizeof value));
}

static void guard_number(struct link_call *call, struct str key, uint64_t number)
{
    unsigned char value[FORM_NUMBER];
    form_number(value, number);
    link_guard_row(call, key, str_from(value, sizeof value));
}

static enum rc send(struct link_call *call)
{
    enum rc rc = link_rc(link_write_wait(call, 0));
    link_call_free(&call);
    return rc;
}

/* The process is listed before its object is there: so whoever looks through the list finds all. */
static enum rc list_process(struct blobs *b, bool is_there)
{
    char key[FORM_TAG];
    form_process_key(key, b->intents.process);
    struct link_call *call = link_call_new(b->rad->link, LINK_INDEX, FORM_PROCESSES);
    if (is_there)
        link_write_row(call, str_of(key), FORM_HERE);
    else
        link_write_row_remove(call, str_of(key));
    return send(call);
}

static enum rc make_own(struct blobs *b)
{
    struct link_call *call = call_own(b);
    link_write_create(call);
    put_number(call, FORM_OWNER, b->intents.process);
    put_number(call, FORM_BEAT, b->intents.beat);
    return send(call);
}

/* False: it took so long that it may have been swept meanwhile. */
static bool is_begun(struct blobs *b, uint64_t begun, uint64_t number)
{
    blob_lock(b);
    b->intents.proved = number;
    b->intents.good_until = begun + BEATS_GOOD * b->beat_ns;
    bool is_good = intents_are_good(b);
    blob_unlock(b);
    return is_good;
}

/* A name that is taken means that we were away for so long that it was swept: once more. */
static enum rc begin_term(struct blobs *b)
{
    enum rc rc;
    do {
        uint64_t begun = now(b), number = atomic_fetch_add(&b->rad->rounds, 1) + 1;
        b->intents.process = random_u64();
        b->intents.beat = 1;
        rc = list_process(b, true);
        if (rc == RC_OK)
            rc = make_own(b);
        if (rc == RC_OK && !is_begun(b, begun, number))
            rc = RC_EXISTS;
    } while (rc == RC_EXISTS);
    return rc;
}

/* --- wishes ----------------------------------------------------------------------------------- */

void intents_hurry(struct blobs *b)
{
    b->intents.is_urgent = true;
    pthread_cond_signal(&b->intents.wake);
}

void intent_want(struct blobs *b, struct tag *tag)
{
    tag->is_intent_wanted = true;
    if (tag->intent == INTENT_DURABLE)
        list_remove(&tag->intent_link); /* it was to go */
    if (tag->intent != INTENT_NONE || !list_is_empty(&tag->intent_link))
        return;
    list_add_tail(&b->intents.adds, &tag->intent_link);
    pthread_cond_signal(&b->intents.wake);
}

void intent_leave(struct blobs *b, struct tag *tag)
{
    tag->is_intent_wanted = false;
    if (tag->intent == INTENT_NONE)
        list_remove(&tag->intent_link);
    if (tag->intent != INTENT_DURABLE || !list_is_empty(&tag->intent_link))
        return;
    if (list_is_empty(&b->intents.removes))
        pthread_cond_signal(&b->intents.wake);
    list_add_tail(&b->intents.removes, &tag->intent_link);
}

bool intent_take(struct blobs *b, struct form_intent *out)
{
    struct intents *in = &b->intents;
    if (in->n_reserve == 0)
        return false;
    *out = in->reserve[--in->n_reserve];
    if (in->n_reserve == INTENTS_RESERVE / 2)
        pthread_cond_signal(&in->wake);
    return true;
}

bool intents_are_good(struct blobs *b)
{
    return now(b) < b->intents.good_until;
}

/* --- one operation ---------------------------------------------------------------------------- */

struct round {
    struct list adds, removes;
    struct form_intent reserve[INTENTS_RESERVE];
    size_t n_reserve;
    uint64_t begun, number;
};

static void take_some(struct list *from, struct list *to, enum intent_state state)
{
    list_init(to);
    for (size_t n = 0; n < AT_ONCE && !list_is_empty(from); n++) {
        struct list *it = list_first(from);
        list_remove(it);
        list_add_tail(to, it);
        CONTAINER(it, struct tag, intent_link)->intent = state;
    }
}

static void add_row(struct link_call *call, struct form_intent intent)
{
    char key[FORM_INTENT];
    form_intent_key(key, intent);
    link_write_row(call, str_of(key), FORM_HERE);
}

static struct form_intent intent_of(const struct tag *tag)
{
    return (struct form_intent){tag->blob->id, tag->form.token};
}

static struct link_call *begin_round(struct blobs *b, struct round *r)
{
    struct intents *in = &b->intents;
    struct link_call *call = call_own(b);
    in->is_urgent = false;
    r->begun = now(b);
    r->number = atomic_fetch_add(&b->rad->rounds, 1) + 1;
    r->n_reserve = in->n_reserve <= INTENTS_RESERVE / 2 ? INTENTS_RESERVE : 0;
    take_some(&in->adds, &r->adds, INTENT_ADDING);
    take_some(&in->removes, &r->removes, INTENT_REMOVING);
    guard_number(call, FORM_OWNER, in->process);
    guard_number(call, FORM_BEAT, in->beat);
    put_number(call, FORM_BEAT, in->beat + 1);
    LIST_EACH (&r->adds, it)
        add_row(call, intent_of(CONTAINER(it, struct tag, intent_link)));
    LIST_EACH (&r->removes, it) {
        char key[FORM_INTENT];
        form_intent_key(key, intent_of(CONTAINER(it, struct tag, intent_link)));
        link_write_row_remove(call, str_of(key));
    }
    for (size_t i = 0; i < r->n_reserve; i++) {
        random_bytes(&r->reserve[i], sizeof r->reserve[i]);
        r->reserve[i].id.b[0] |= 1; /* never all zero */
        add_row(call, r->reserve[i]);
    }
    return call;
}

/* --- what came of it -------------------------------------------------------------------------- */

static void added(struct blobs *b, struct tag *tag)
{
    tag->intent = INTENT_DURABLE;
    if (!tag->is_intent_wanted)
        intent_leave(b, tag);
    tag_changed(b, tag);
    if (tag->state == TAG_WAITS)
        tag_go_on(b, tag);
}

static void removed(struct blobs *b, struct tag *tag)
{
    tag->intent = INTENT_NONE;
    if (tag->is_intent_wanted)
        intent_want(b, tag);
    else if (tag->is_done && tag->users == 0)
        tag_free(b, tag);
}

static void not_added(struct blobs *b, struct tag *tag, enum rc rc)
{
    tag->intent = INTENT_NONE;
    tag->state = TAG_FAILED;
    tag->rc = rc;
    if (tag->is_first) {
        tag->blob->make = MAKE_FAILED;
        tag->blob->make_rc = rc;
    }
    tag_changed(b, tag);
    if (tag->is_done && tag->users == 0)
        tag_free(b, tag);
}

static void wake_for_beat(struct blobs *b)
{
    LIST_EACH_SAFE (&b->intents.beat_waiters, it) {
        list_remove(it);
        refs_less_pending(b, CONTAINER(it, struct refs, beat_link));
    }
}

/* What could not be removed from the cluster is tried again with each beat. */
static void retry_clears(struct blobs *b)
{
    list_splice_tail(&b->clears, &b->retries);
    clear_next(b);
}

static void round_done(struct blobs *b, struct round *r)
{
    struct intents *in = &b->intents;
    if (r->begun >= in->next_beat)
        retry_clears(b);
    in->beat++;
    in->proved = r->number;
    in->good_until = r->begun + BEATS_GOOD * b->beat_ns;
    in->next_beat = r->begun + b->beat_ns;
    for (size_t i = 0; i < r->n_reserve; i++)
        in->reserve[in->n_reserve++] = r->reserve[i];
    LIST_EACH_SAFE (&r->adds, it) {
        list_remove(it);
        added(b, CONTAINER(it, struct tag, intent_link));
    }
    LIST_EACH_SAFE (&r->removes, it) {
        list_remove(it);
        removed(b, CONTAINER(it, struct tag, intent_link));
    }
    wake_for_beat(b);
}

/* The removes are asked for again; one that is wanted again is added, it may have gone. */
static void removes_again(struct blobs *b, struct round *r)
{
    LIST_EACH_SAFE (&r->removes, it) {
        struct tag *tag = CONTAINER(it, struct tag, intent_link);
        list_remove(it);
        tag->intent = tag->is_intent_wanted ? INTENT_NONE : INTENT_DURABLE;
        if (tag->is_intent_wanted)
            intent_want(b, tag);
        else
            intent_leave(b, tag);
    }
}

/* Nothing was changed. */
static void round_failed(struct blobs *b, struct round *r, enum rc rc)
{
    LIST_EACH_SAFE (&r->adds, it) {
        list_remove(it);
        not_added(b, CONTAINER(it, struct tag, intent_link), rc);
    }
    removes_again(b, r);
    if (atomic_load(&b->rad->is_readonly))
        wake_for_beat(b);
}

/* Nobody knows whether it was done: once more. Only one of the two can be. */
static void round_again(struct blobs *b, struct round *r)
{
    LIST_EACH_SAFE (&r->adds, it) {
        struct tag *tag = CONTAINER(it, struct tag, intent_link);
        list_remove(it);
        tag->intent = INTENT_NONE;
        list_add_tail(&b->intents.adds,
                      it); /* also when it is not wanted any more: to be removed */
    }
    removes_again(b, r);
}

/* --- a new term ------------------------------------------------------------------------------- */

static struct tag *unwanted_tag(struct blobs *b)
{
    size_t slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&b->by_id, &slot, node)) != NULL;) {
        LIST_EACH (&CONTAINER(node, struct blob, node)->tags, it) {
            struct tag *tag = CONTAINER(it, struct tag, link);
            if (tag->is_done && tag->users == 0 && !tag->is_intent_wanted)
                return tag;
        }
    }
    return NULL;
}

/* All intents are somebody else's now. */
static void forget_term(struct blobs *b)
{
    struct tag *tag;
    size_t slot = 0;
    b->intents.term++;
    b->intents.n_reserve = 0;
    for (struct map_node *node = NULL; (node = map_each(&b->by_id, &slot, node)) != NULL;) {
        LIST_EACH (&CONTAINER(node, struct blob, node)->tags, it) {
            tag = CONTAINER(it, struct tag, link);
            tag->intent = INTENT_NONE;
            list_remove(&tag->intent_link);
            if (tag->state == TAG_WAITS)
                tag->term = b->intents.term;
            if (tag->is_intent_wanted)
                intent_want(b, tag);
        }
    }
    while ((tag = unwanted_tag(b)) != NULL)
        tag_free(b, tag);
}

static void begin_anew(struct blobs *b)
{
    log_event(b->rad->kv.ctx->log, LOG_WARNING, "intents-taken-over", "cause",
              "this process could not reach the cluster for too long", NULL);
    forget_term(b);
    blob_unlock(b);
    enum rc rc = begin_term(b);
    blob_lock(b);
    if (rc == RC_OK)
        wake_for_beat(b);
    else
        b->intents.good_until = 0; /* the next operation finds no object, and it is begun anew */
}

/* Whether the object is still ours: then the beat is taken from it, since an operation of ours was
 * done whose answer we have not had. */
static bool is_own_still(struct blobs *b)
{
    struct str key, value;
    uint64_t owner = 0, beat = 0;
    blob_unlock(b);
    struct link_call *call = call_own(b);
    link_read_row(call, FORM_OWNER);
    link_read_row(call, FORM_BEAT);
    enum link_result result = link_read_wait(call, b->rad->conf.read_ms);
    enum rc rc = link_rc(result);
    while (rc == RC_OK && link_got_key(call, &key, &value))
        rc = form_number_parse(value, str_eq(key, FORM_OWNER) ? &owner : &beat);
    link_call_free(&call);
    blob_lock(b);
    if (rc == RC_OK && owner == b->intents.process)
        b->intents.beat = beat;
    return (rc == RC_OK && owner == b->intents.process) || result == LINK_UNKNOWN;
}

/* --- the clerk -------------------------------------------------------------------------------- */

static void work(struct blobs *b)
{
    struct round *r = mem_alloc(sizeof *r);
    struct link_call *call = begin_round(b, r);
    blob_unlock(b);
    rad_step(b->rad, "intents-write");
    enum link_result result = link_write_wait(call, 0);
    link_call_free(&call);
    rad_step(b->rad, "intents-written");
    if (result == LINK_FENCED)
        rad_fail_for_good(b->rad, "this client has been shut out of the cluster");
    blob_lock(b);
    if (result == LINK_OK)
        round_done(b, r);
    else if ((result == LINK_REFUSED && is_own_still(b)) || result == LINK_UNKNOWN)
        round_again(b, r);
    else if (result == LINK_REFUSED || result == LINK_MISSING)
        begin_anew(b);
    else
        round_failed(b, r, link_rc(result));
    if (result != LINK_OK)
        b->intents.next_beat = now(b) + RETRY_MS * NS_PER_MS;
    pthread_cond_broadcast(&b->changed);
    free(r);
}

/* When the next operation is due; 0: now. */
static uint64_t due(const struct blobs *b, uint64_t removes_since)
{
    const struct intents *in = &b->intents;
    if (!list_is_empty(&in->adds) || in->is_urgent || in->n_reserve <= INTENTS_RESERVE / 2)
        return 0;
    uint64_t removes = removes_since + REMOVE_MS * NS_PER_MS;
    return removes_since && removes < in->next_beat ? removes : in->next_beat;
}

static void wait_until(struct blobs *b, uint64_t at)
{
    struct timespec until = {(time_t)(at / NS_PER_SEC), (long)(at % NS_PER_SEC)};
    pthread_cond_timedwait(&b->intents.wake, &b->mutex, &until);
}

static void *run(void *arg)
{
    struct blobs *b = arg;
    uint64_t removes_since = 0, not_before = 0;
    blob_lock(b);
    while (!b->intents.is_stopping) {
        uint64_t time = now(b), at;
        if (list_is_empty(&b->intents.removes))
            removes_since = 0;
        else if (!removes_since)
            removes_since = time;
        at = due(b, removes_since);
        at = at > not_before ? at : not_before;
        if (at > time) {
            wait_until(b, at);
        } else {
            uint64_t beat = b->intents.beat;
            work(b);
            not_before = b->intents.beat == beat ? now(b) + RETRY_MS * NS_PER_MS : 0;
            removes_since = 0;
        }
        blob_unlock(b); /* tells whom it has woken */
        blob_lock(b);
    }
    blob_unlock(b);
    return NULL;
}

enum rc intents_open(struct blobs *b)
{
    struct intents *in = &b->intents;
    pthread_condattr_t attr;
    list_init(&in->adds);
    list_init(&in->removes);
    list_init(&in->beat_waiters);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&in->wake, &attr);
    pthread_condattr_destroy(&attr);
    in->term = 1;
    enum rc rc = begin_term(b);
    if (rc != RC_OK) {
        pthread_cond_destroy(&in->wake);
        return rc;
    }
    in->clerk = task_thread("kv-intents", run, b);
    return RC_OK;
}

static bool has_tags(struct blobs *b)
{
    size_t slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&b->by_id, &slot, node)) != NULL;)
        LIST_EACH (&CONTAINER(node, struct blob, node)->tags, it)
            if (!CONTAINER(it, struct tag, link)->is_done)
                return true;
    return false;
}

/* Leaves the object to the next sweeper, which need not wait for our beats to end. */
static enum rc leave_own(struct blobs *b)
{
    struct link_call *call = call_own(b);
    guard_number(call, FORM_OWNER, b->intents.process);
    put_number(call, FORM_OWNER, 0);
    return send(call);
}

static enum rc remove_own(struct blobs *b)
{
    struct link_call *call = call_own(b);
    guard_number(call, FORM_OWNER, b->intents.process);
    link_write_remove(call);
    TRY(send(call));
    return list_process(b, false);
}

void intents_stop(struct blobs *b)
{
    blob_lock(b);
    b->intents.is_stopping = true;
    pthread_cond_signal(&b->intents.wake);
    blob_unlock(b);
    pthread_join(b->intents.clerk, NULL);
}

void intents_close(struct blobs *b)
{
    enum rc rc = has_tags(b) ? leave_own(b) : remove_own(b);
    if (rc != RC_OK)
        log_event(b->rad->kv.ctx->log, LOG_WARNING, "intents-left", "cause", rc_name(rc), NULL);
    pthread_cond_destroy(&b->intents.wake);
}
