/* The sweeper: looks after what nobody else looks after any more.
 *
 * W1. Another process is dead when its beat has stood still for BEATS_DEAD beats in which we could
 * see it all the time, by our clock; nobody's clocks are compared. It is taken over by an operation
 * that compares owner and beat: so it fails if the process lives after all, and from then on all of
 * that process's own fail. W2. Whether a row stands for a tag is asked after a commit of our own to
 * the partition: then no commit that was made before, and is only late, can come any more. W3. A
 * tag is judged only by its own intent. Other tags of the same blob are none of our business.
 *
 * The steps, each of which can be repeated by anybody:
 *   sweep-take      owner of the object of intents = we
 *   sweep-fence     the head of the tag's partition gets another id, then the tag's row is read
 *   (clear-*        the tag is removed, perhaps the blob)
 *   sweep-forget    the intents go, page after page
 *   sweep-end       the object goes, then the process from the list
 */
#include "rados/blob_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 256 };

/* Another process, as it was last seen. */
struct other {
    struct list link;
    uint64_t process;
    bool has_object, is_listed;
    uint64_t owner, beat;
    uint64_t since, seen; /* when this was first and last so */
};

static uint64_t now(struct blobs *b)
{
    return clock_mono(b->rad->kv.ctx->clock);
}

static struct link_call *call_process(struct blobs *b, uint64_t process)
{
    char object[FORM_OBJECT];
    form_intents_name(object, process);
    return link_call_new(b->rad->link, LINK_INDEX, object);
}

static enum rc send(struct link_call *call)
{
    enum rc rc = link_rc(link_write_wait(call, 0));
    link_call_free(&call);
    return rc;
}

/* --- judging a tag ---------------------------------------------------------------------------- */

/* Whether the partition has a row that this tag stands for, now and with whatever is still under
 * way. */
static enum rc judge(struct blobs *b, struct kv_blob_id id, struct form_tag form, bool *out_stands)
{
    struct kv *kv = &b->rad->kv;
    char bytes[REFS_KEY];
    struct str key = {bytes, sizeof bytes}, value = {0};
    struct form_refs row;
    struct arena arena = {0};
    *out_stands = false;
    TRY(rad_fence(b->rad, form.part));
    rad_step(b->rad, "sweep-fence");
    refs_key(bytes, id);
    enum rc rc = rad_get(kv, form.part, &key, 1, 0, &arena, &value, NULL);
    if (rc == RC_OK && value.n)
        rc = form_refs_parse(value, &row);
    if (rc == RC_OK && value.n)
        *out_stands = row.token == form.token;
    arena_fini(&arena);
    return rc;
}

/* Our own: commits of which nobody knows what became. */
static void judge_one(struct blobs *b, struct tag *tag)
{
    struct blob *blob = tag->blob;
    struct form_tag form = tag->form;
    bool stands;
    blob->hands++;
    blob_unlock(b);
    enum rc rc = judge(b, blob->id, form, &stands);
    blob_lock(b);
    if (!tag->is_doubted || tag->is_dropped || tag->users > 0) {
        /* somebody else has found out, or has removed the row since */
    } else if (rc != RC_OK) {
        list_remove(&tag->doubt_link);
        list_add_tail(&b->doubts, &tag->doubt_link); /* with the next beat */
    } else if (stands) {
        tag_done(b, tag);
    } else {
        tag->is_doubted = false;
        tag->is_dropped = true;
    }
    blob_leave(b, blob);
}

static void judge_doubts(struct blobs *b)
{
    struct list mine, *it;
    list_init(&mine);
    list_splice_tail(&mine, &b->doubts);
    b->is_doubt_new = false;
    while (!b->is_sweep_stopping && (it = list_first(&mine)) != NULL) {
        list_remove(it);
        judge_one(b, CONTAINER(it, struct tag, doubt_link));
    }
    list_splice_tail(&b->doubts, &mine);
}

/* --- a dead process's intents ----------------------------------------------------------------- */

struct page {
    struct form_intent intents[PAGE];
    bool is_open[PAGE]; /* it could not be decided: the intent stays */
    size_t n;
    char last[FORM_INTENT];
    bool has_more;
};

/* The tag with this token, if the blob has it. */
static enum rc find_tag(struct blobs *b, struct form_intent intent, struct form_tag *out)
{
    char object[FORM_OBJECT];
    struct str name, value;
    form_main_name(object, intent.id);
    struct link_call *call = link_call_new(b->rad->link, LINK_BODY, object);
    link_read_attrs(call);
    enum rc rc = link_rc(link_read_wait(call, b->rad->conf.read_ms));
    bool is_found = false;
    while (rc == RC_OK && !is_found && link_got_attr(call, &name, &value)) {
        struct form_tag form;
        is_found = form_tag_parse(name, &form) && form.token == intent.token;
        if (is_found)
            *out = form;
    }
    link_call_free(&call);
    return rc == RC_OK && !is_found ? RC_NOTFOUND : rc;
}

/* Has the tag removed, and with the last one the blob; waited for elsewhere. */
static void drop(struct blobs *b, struct form_intent intent, struct form_tag form)
{
    blob_lock(b);
    struct blob *blob = blob_enter(b, intent.id);
    if (!tag_find(blob, intent.token)) { /* otherwise we look after it ourselves */
        struct tag *tag = tag_add(blob, form);
        tag->state = TAG_SET;
        tag->is_dropped = tag->is_swept = true;
        b->n_swept++;
    }
    blob_leave(b, blob);
    blob_unlock(b);
}

static enum rc sweep_one(struct blobs *b, struct form_intent intent)
{
    struct form_tag form = {.token = intent.token};
    bool stands = false;
    enum rc rc = find_tag(b, intent, &form);
    if (rc == RC_OK)
        rc = judge(b, intent.id, form, &stands);
    else if (rc == RC_NOTFOUND)
        rc = RC_OK; /* no tag, perhaps no blob: then there may be chunks */
    if (rc == RC_OK && !stands)
        drop(b, intent, form);
    return rc;
}

static bool await_drops(struct blobs *b)
{
    blob_lock(b);
    while (b->n_swept > 0 && !b->is_sweep_stopping)
        pthread_cond_wait(&b->changed, &b->mutex);
    bool is_done = b->n_swept == 0;
    blob_unlock(b);
    return is_done;
}

static enum rc read_page(struct blobs *b, uint64_t process, struct page *p)
{
    struct str key, value;
    struct link_call *call = call_process(b, process);
    link_read_rows(call, str_of(p->last), PAGE);
    enum rc rc = link_rc(link_read_wait(call, b->rad->conf.read_ms));
    p->n = 0;
    p->has_more = rc == RC_OK && link_got_more(call);
    while (rc == RC_OK && p->n < PAGE && link_got_row(call, &key, &value)) {
        memcpy(p->last, key.p, key.n < FORM_INTENT ? key.n : FORM_INTENT - 1);
        p->last[key.n < FORM_INTENT ? key.n : FORM_INTENT - 1] = '\0';
        if (form_intent_parse(key, &p->intents[p->n]))
            p->is_open[p->n++] = false;
    }
    link_call_free(&call);
    return rc;
}

static enum rc forget_page(struct blobs *b, uint64_t process, uint64_t owner, const struct page *p)
{
    unsigned char value[FORM_NUMBER];
    struct link_call *call = call_process(b, process);
    form_number(value, owner);
    link_guard_row(call, FORM_OWNER, str_from(value, sizeof value));
    for (size_t i = 0; i < p->n; i++) {
        char key[FORM_INTENT];
        form_intent_key(key, p->intents[i]);
        if (!p->is_open[i])
            link_write_row_remove(call, str_of(key));
    }
    enum rc rc = send(call);
    rad_step(b->rad, "sweep-forget");
    return rc;
}

/* RC_AGAIN: something is left for another time. */
static enum rc sweep_pages(struct blobs *b, uint64_t process, uint64_t owner)
{
    struct page *p = mem_zero(sizeof *p);
    bool is_open = false;
    enum rc rc = RC_OK;
    do {
        rc = read_page(b, process, p);
        for (size_t i = 0; rc == RC_OK && i < p->n; i++) {
            p->is_open[i] = sweep_one(b, p->intents[i]) != RC_OK;
            is_open = is_open || p->is_open[i];
        }
        if (rc == RC_OK && !await_drops(b))
            rc = RC_AGAIN;
        if (rc == RC_OK && p->n)
            rc = forget_page(b, process, owner, p);
    } while (rc == RC_OK && p->has_more);
    free(p);
    return rc == RC_OK && is_open ? RC_AGAIN : rc;
}

static enum rc unlist(struct blobs *b, uint64_t process)
{
    char key[FORM_TAG];
    form_process_key(key, process);
    struct link_call *call = link_call_new(b->rad->link, LINK_INDEX, FORM_PROCESSES);
    link_write_row_remove(call, str_of(key));
    return send(call);
}

static enum rc end_process(struct blobs *b, uint64_t process, uint64_t owner)
{
    unsigned char value[FORM_NUMBER];
    struct link_call *call = call_process(b, process);
    form_number(value, owner);
    link_guard_row(call, FORM_OWNER, str_from(value, sizeof value));
    link_write_remove(call);
    TRY(send(call));
    rad_step(b->rad, "sweep-end");
    return unlist(b, process);
}

/* An object that is not there is made: so a process that has only just begun cannot. */
static enum rc take_over(struct blobs *b, const struct other *o, uint64_t owner)
{
    unsigned char value[FORM_NUMBER], seen_owner[FORM_NUMBER], seen_beat[FORM_NUMBER];
    struct link_call *call = call_process(b, o->process);
    form_number(value, owner);
    form_number(seen_owner, o->owner);
    form_number(seen_beat, o->beat);
    if (o->has_object) {
        link_guard_row(call, FORM_OWNER, str_from(seen_owner, sizeof seen_owner));
        link_guard_row(call, FORM_BEAT, str_from(seen_beat, sizeof seen_beat));
    } else {
        link_write_create(call);
        form_number(seen_beat, 0);
        link_write_row(call, FORM_BEAT, str_from(seen_beat, sizeof seen_beat));
    }
    link_write_row(call, FORM_OWNER, str_from(value, sizeof value));
    enum rc rc = send(call);
    rad_step(b->rad, "sweep-take");
    return rc;
}

static void sweep_process(struct blobs *b, struct other *o)
{
    struct log_line line;
    char process[FORM_TAG];
    blob_lock(b);
    uint64_t owner = b->intents.process;
    blob_unlock(b);
    enum rc rc = take_over(b, o, owner);
    if (rc == RC_OK)
        rc = sweep_pages(b, o->process, owner);
    if (rc == RC_OK)
        rc = end_process(b, o->process, owner);
    form_process_key(process, o->process);
    log_begin(&line, b->rad->kv.ctx->log, rc == RC_OK ? LOG_INFO : LOG_WARNING, "intents-swept");
    log_text(&line, "process", process);
    log_text(&line, "result", rc_name(rc));
    log_end(&line);
    o->since = now(b); /* what is left is looked at again as much later */
}

/* --- who is there ----------------------------------------------------------------------------- */

static struct other *find_other(struct list *others, uint64_t process)
{
    LIST_EACH (others, it) {
        struct other *o = CONTAINER(it, struct other, link);
        if (o->process == process)
            return o;
    }
    struct other *o = mem_zero(sizeof *o);
    o->process = process;
    list_add_tail(others, &o->link);
    return o;
}

static enum rc look_at(struct blobs *b, uint64_t process, struct other *out)
{
    struct str key, value;
    struct link_call *call = call_process(b, process);
    link_read_row(call, FORM_OWNER);
    link_read_row(call, FORM_BEAT);
    enum rc rc = link_rc(link_read_wait(call, b->rad->conf.read_ms));
    *out = (struct other){.process = process, .has_object = rc == RC_OK};
    while (rc == RC_OK && link_got_key(call, &key, &value))
        rc = form_number_parse(value, str_eq(key, FORM_OWNER) ? &out->owner : &out->beat);
    link_call_free(&call);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

/* True: it is dead, or has left what it had. */
static bool is_dead(struct blobs *b, struct other *o, const struct other *seen)
{
    uint64_t time = now(b);
    bool is_same = o->has_object == seen->has_object && o->owner == seen->owner &&
                   o->beat == seen->beat && time - o->seen < 3 * b->beat_ns;
    if (!is_same || o->since == 0)
        o->since = time;
    o->has_object = seen->has_object;
    o->owner = seen->owner;
    o->beat = seen->beat;
    o->seen = time;
    o->is_listed = true;
    return (o->has_object && o->owner == 0) || time - o->since >= BEATS_DEAD * b->beat_ns;
}

static void look_at_all(struct blobs *b, struct list *others)
{
    struct str key, value;
    uint64_t process;
    struct link_call *call = link_call_new(b->rad->link, LINK_INDEX, FORM_PROCESSES);
    link_read_rows(call, (struct str){0}, KV_PAGE_ROWS);
    enum link_result result = link_read_wait(call, b->rad->conf.read_ms);
    LIST_EACH (others, it)
        CONTAINER(it, struct other, link)->is_listed = false;
    while (result == LINK_OK && !b->is_sweep_stopping && link_got_row(call, &key, &value)) {
        struct other seen;
        if (!form_process_parse(key, &process) || process == b->intents.process)
            continue;
        struct other *o = find_other(others, process);
        o->is_listed = true;
        if (look_at(b, process, &seen) == RC_OK && is_dead(b, o, &seen))
            sweep_process(b, o);
    }
    link_call_free(&call);
    LIST_EACH_SAFE (others, it) {
        if (!CONTAINER(it, struct other, link)->is_listed && result == LINK_OK) {
            list_remove(it);
            free(CONTAINER(it, struct other, link));
        }
    }
}

/* --- the thread ------------------------------------------------------------------------------- */

static void rest(struct blobs *b)
{
    uint64_t at = now(b) + b->beat_ns;
    struct timespec until = {(time_t)(at / NS_PER_SEC), (long)(at % NS_PER_SEC)};
    while (!b->is_sweep_stopping && !b->is_doubt_new &&
           pthread_cond_timedwait(&b->sweep_wake, &b->mutex, &until) == 0)
        ;
}

static void *run(void *arg)
{
    struct blobs *b = arg;
    struct list others;
    list_init(&others);
    blob_lock(b);
    while (!b->is_sweep_stopping) {
        blob_unlock(b);
        blobs_look_for_space(b);
        look_at_all(b, &others);
        blob_lock(b);
        judge_doubts(b);
        rest(b);
    }
    blob_unlock(b);
    LIST_EACH_SAFE (&others, it)
        free(CONTAINER(it, struct other, link));
    return NULL;
}

void sweep_open(struct blobs *b)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->sweep_wake, &attr);
    pthread_condattr_destroy(&attr);
    b->sweeper = task_thread("kv-sweep", run, b);
}

void sweep_close(struct blobs *b)
{
    blob_lock(b);
    b->is_sweep_stopping = true;
    pthread_cond_signal(&b->sweep_wake);
    pthread_cond_broadcast(&b->changed);
    blob_unlock(b);
    pthread_join(b->sweeper, NULL);
    pthread_cond_destroy(&b->sweep_wake);
}
