/* Events on their way to the store: two buffers, of which one is filled by whoever has an event
 * while the other is written by a thread.
 *
 * 1. The mutex is held for copying one event, or for changing the buffers over; never for the
 * store.
 * 2. The thread alone knows the file that is being filled, and makes and removes files.
 * 3. What does not fit into memory, or cannot be written, is counted and forgotten. */
#include "trace/trace_int.h"

#include "base/mem.h"
#include "base/random.h"
#include "task/task.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    DAY = 86400,
    GATHER_MS = 5000,    /* after the first event, before it is written */
    LOOK_SECONDS = 3600, /* at rest: whether files have become too old */
    FILES_AT_ONCE = 16,  /* that the room is divided among */
    LOGINS_SHARE = 8     /* of as much room as mail has, logins have one part more */
};

struct trace {
    struct ctx ctx;
    struct kv *kv;
    struct trace_conf conf;
    pthread_t writer;
    pthread_mutex_t mutex;
    pthread_cond_t filled;  /* there is something to write, or much, or somebody waits */
    pthread_cond_t written; /* a round has ended */
    struct buf filling, writing;
    uint64_t rounds_begun, rounds_ended; /* of writing */
    bool is_hurried, is_ending;
    enum rc last; /* what the last round came to */
    enum file_set set;
    /* Of the one of mail, which others know: that of logins, and what gathers them. */
    struct trace *other;
    struct login_sink sink;
    struct logins *logins;
    /* The thread's. */
    struct file file; /* start 0: none yet */
    struct file *old; /* the others, oldest first */
    size_t n_old;
    uint64_t day; /* of the file */
};

/* --- files ------------------------------------------------------------------------------------ */

static uint64_t seconds_now(const struct trace *t)
{
    return clock_wall(t->ctx.clock) / NS_PER_SEC;
}

static enum rc drop_oldest(struct trace *t)
{
    TRY(trace_file_remove(t->kv, &t->old[0]));
    memmove(t->old, t->old + 1, --t->n_old * sizeof *t->old);
    return RC_OK;
}

/* A file ends when the next one of its writer begins, after a day at most. */
static enum rc drop_old(struct trace *t)
{
    uint64_t now = seconds_now(t), bytes = t->file.bytes;
    for (size_t i = 0; i < t->n_old; i++)
        bytes += t->old[i].bytes;
    while (t->n_old) {
        uint64_t age = now > t->old[0].start ? now - t->old[0].start : 0;
        bool is_over = age > DAY && age - DAY > t->conf.keep_ns / NS_PER_SEC;
        if (!is_over && bytes <= t->conf.disk_bytes)
            break;
        bytes -= t->old[0].bytes;
        TRY(drop_oldest(t));
    }
    return RC_OK;
}

/* The files as they are in the store; the last one of ours is gone on with while it is young. */
static enum rc list_files(struct trace *t)
{
    struct file *files;
    size_t n;
    uint64_t now = seconds_now(t);
    TRY(trace_files_list(t->kv, t->set, &files, &n));
    free(t->old);
    t->old = files;
    t->n_old = n;
    for (size_t i = n; i-- > 0 && t->file.start == 0;) {
        bool is_ours = files[i].writer == t->conf.writer && files[i].start / DAY == now / DAY;
        if (!is_ours)
            continue;
        t->file = files[i];
        memmove(files + i, files + i + 1, (n - i - 1) * sizeof *files);
        t->n_old--;
    }
    return RC_OK;
}

static enum rc begin_file(struct trace *t)
{
    uint64_t now = seconds_now(t);
    struct file file = {.set = t->set, .start = (uint32_t)now, .writer = t->conf.writer};
    if (t->file.start >= file.start) /* the clock was set back, or it filled within a second */
        file.start = t->file.start + 1;
    TRY(trace_file_read(t->kv, &file));
    TRY(trace_file_note(t->kv, &file));
    t->file = (struct file){0};
    TRY(list_files(t)); /* with what other nodes have made */
    for (size_t i = 0; i < t->n_old; i++)
        if (t->old[i].start == file.start && t->old[i].writer == file.writer)
            memmove(t->old + i, t->old + i + 1, (--t->n_old - i) * sizeof *t->old);
    t->file = file;
    return RC_OK;
}

static bool is_file_over(const struct trace *t)
{
    return t->file.start == 0 || t->file.start / DAY < seconds_now(t) / DAY ||
           t->file.bytes > t->conf.disk_bytes / FILES_AT_ONCE;
}

static enum rc write_events(struct trace *t, struct str events)
{
    if (is_file_over(t))
        TRY(begin_file(t));
    enum rc rc = trace_file_append(t->kv, &t->file, events);
    if (rc == RC_CONFLICT) { /* somebody else goes by our number */
        t->conf.writer = (uint8_t)random_u64();
        TRY(begin_file(t));
        rc = trace_file_append(t->kv, &t->file, events);
    }
    return rc;
}

/* --- the thread ------------------------------------------------------------------------------- */

static size_t count_events(struct str events)
{
    struct unpacker r;
    size_t n = 0;
    unpack_init(&r, events);
    for (; r.n && !r.failed; n++)
        unpack_str16(&r);
    return n;
}

static void write_round(struct trace *t)
{
    struct str events = buf_str(&t->writing);
    enum rc rc = events.n ? write_events(t, events) : RC_OK;
    if (rc != RC_OK) {
        counter_add(t->ctx.counters, COUNTER_TRACE_LOST, count_events(events));
        log_event(t->ctx.log, LOG_WARNING, "trace-not-written", "cause", rc_name(rc), NULL);
        t->file = (struct file){0}; /* read it anew */
        (void)!list_files(t);
    }
    enum rc dropped = drop_old(t);
    buf_clear(&t->writing);
    pthread_mutex_lock(&t->mutex);
    t->last = rc != RC_OK ? rc : dropped;
    t->rounds_ended++;
    pthread_cond_broadcast(&t->written);
    pthread_mutex_unlock(&t->mutex);
}

static struct timespec in_ms(uint64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    uint64_t ns = (uint64_t)at.tv_nsec + ms * NS_PER_MS;
    at.tv_sec += (time_t)(ns / NS_PER_SEC);
    at.tv_nsec = (long)(ns % NS_PER_SEC);
    return at;
}

static bool is_much(const struct trace *t)
{
    return buf_len(&t->filling) > t->filling.cap / 2;
}

/* Until there is enough to write, or it has waited long enough. The mutex is held. */
static void await_events(struct trace *t)
{
    struct timespec until = in_ms(LOOK_SECONDS * UINT64_C(1000));
    int error = 0;
    while (!t->is_hurried && !t->is_ending && !error && buf_len(&t->filling) == 0)
        error = pthread_cond_timedwait(&t->filled, &t->mutex, &until);
    until = in_ms(GATHER_MS);
    error = buf_len(&t->filling) == 0;
    while (!t->is_hurried && !t->is_ending && !error && !is_much(t))
        error = pthread_cond_timedwait(&t->filled, &t->mutex, &until);
}

static void *writer_main(void *arg)
{
    struct trace *t = arg;
    bool is_last = false;
    while (!is_last) {
        pthread_mutex_lock(&t->mutex);
        await_events(t);
        is_last = t->is_ending;
        struct buf full = t->filling;
        t->filling = t->writing;
        t->writing = full;
        t->rounds_begun++;
        t->is_hurried = false;
        pthread_mutex_unlock(&t->mutex);
        write_round(t);
    }
    return NULL;
}

/* --- for all ---------------------------------------------------------------------------------- */

static enum rc open_set(const struct ctx *ctx, struct kv *kv, const struct trace_conf *conf,
                        enum file_set set, struct trace **out)
{
    struct trace *t = mem_zero(sizeof *t);
    pthread_condattr_t monotonic;
    t->ctx = *ctx;
    t->kv = kv;
    t->conf = *conf;
    t->set = set;
    enum rc rc = list_files(t);
    if (rc != RC_OK) {
        free(t);
        return rc;
    }
    buf_init(&t->filling, t->conf.memory_bytes / 2);
    buf_init(&t->writing, t->conf.memory_bytes / 2);
    pthread_mutex_init(&t->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->filled, &monotonic);
    pthread_cond_init(&t->written, &monotonic);
    pthread_condattr_destroy(&monotonic);
    t->writer = task_thread("trace", writer_main, t);
    *out = t;
    return RC_OK;
}

static void close_set(struct trace *t)
{
    pthread_mutex_lock(&t->mutex);
    t->is_ending = true;
    pthread_cond_signal(&t->filled);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->writer, NULL);
    pthread_cond_destroy(&t->filled);
    pthread_cond_destroy(&t->written);
    pthread_mutex_destroy(&t->mutex);
    buf_fini(&t->filling);
    buf_fini(&t->writing);
    free(t->old);
    free(t);
}

static void put_login(struct login_sink *sink, const struct trace_event *event)
{
    trace_event(CONTAINER(sink, struct trace, sink)->other, event);
}

enum rc trace_open(const struct ctx *ctx, struct kv *kv, const struct trace_conf *conf,
                   struct trace **out)
{
    struct trace_conf mail = *conf, logins;
    struct trace *t;
    if (!mail.keep_ns)
        mail.keep_ns = 30 * DAY * NS_PER_SEC;
    if (!mail.disk_bytes)
        mail.disk_bytes = 1 << 30;
    if (!mail.memory_bytes)
        mail.memory_bytes = 4 << 20;
    logins = mail;
    logins.disk_bytes = mail.disk_bytes / LOGINS_SHARE;
    logins.memory_bytes = mail.memory_bytes / LOGINS_SHARE + 2 * (TRACE_EVENT_MAX + 2);
    TRY(open_set(ctx, kv, &mail, FILES_OF_MAIL, &t));
    enum rc rc = open_set(ctx, kv, &logins, FILES_OF_LOGINS, &t->other);
    if (rc != RC_OK) {
        close_set(t);
        return rc;
    }
    t->sink.put = put_login;
    t->logins = logins_new(&t->ctx, &t->sink);
    *out = t;
    return RC_OK;
}

void trace_close(struct trace **trace)
{
    struct trace *t = *trace;
    if (!t)
        return;
    logins_flush(t->logins);
    logins_free(&t->logins);
    close_set(t->other);
    close_set(t);
    *trace = NULL;
}

void trace_login(struct trace *trace, const struct trace_login *login)
{
    if (trace)
        logins_add(trace->logins, login);
}

void trace_event(struct trace *trace, const struct trace_event *event)
{
    unsigned char mem[2 + TRACE_EVENT_MAX];
    if (!trace)
        return;
    struct trace_event e = *event;
    if (!e.time)
        e.time = clock_wall(trace->ctx.clock);
    struct str packed = trace_event_pack(&e, mem + 2);
    put_u16(mem, (uint16_t)packed.n);
    pthread_mutex_lock(&trace->mutex);
    bool was_little = !is_much(trace), was_empty = buf_len(&trace->filling) == 0;
    enum rc rc = buf_add(&trace->filling, str_from(mem, 2 + packed.n));
    if (was_empty || (was_little && is_much(trace)))
        pthread_cond_signal(&trace->filled);
    pthread_mutex_unlock(&trace->mutex);
    counter_add(trace->ctx.counters, rc == RC_OK ? COUNTER_TRACE_EVENTS : COUNTER_TRACE_LOST, 1);
}

/* A round under way may have begun before what is wanted was noted: the next one counts. */
static enum rc flush_set(struct trace *trace)
{
    pthread_mutex_lock(&trace->mutex);
    uint64_t wanted = trace->rounds_begun + 1;
    trace->is_hurried = true;
    pthread_cond_signal(&trace->filled);
    while (trace->rounds_ended < wanted)
        pthread_cond_wait(&trace->written, &trace->mutex);
    enum rc rc = trace->last;
    pthread_mutex_unlock(&trace->mutex);
    return rc;
}

enum rc trace_flush(struct trace *trace)
{
    logins_flush(trace->logins);
    enum rc rc = flush_set(trace), other = flush_set(trace->other);
    return rc != RC_OK ? rc : other;
}

enum rc trace_find(struct trace *trace, const struct trace_query *query, struct arena *arena,
                   struct trace_found *out)
{
    (void)!trace_flush(trace); /* what cannot be written is not told, the rest is */
    TRY(find_stories(trace->kv, query, arena, out));
    return find_logins(trace->kv, query, arena, out);
}
