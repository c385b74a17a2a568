/* The cleaner: gives space back, at a bounded rate.
 *
 * C1. A record is moved by the committer, as a compare-and-set of its place: when its blob was
 * dropped or moved meanwhile, nothing happens. The new copy is synced before the row that names it.
 * C2. A segment's row goes first, its file after that is durable. A crash between leaves a file
 * without a row, which the next start finds to be all dead. C3. A record whose sums do not hold is
 * not moved, and its segment is left alone. C4. While somebody holds (a backup, a check), nothing
 * is unlinked.
 *
 * What it looks for: segments below half live; small ones, once there are many of them (each
 * restart begins a new one); large files that nobody refers to, among them, after a start, those
 * that a crash left between link and batch. */
#include "kv/kv_local_int.h"

#include "base/mem.h"
#include "kv/kv_local_file.h"
#include "task/task.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH_MOVES = 32,
    BATCH_BYTES = 2 << 20,
    SMALL_SHARE = 16,
    SMALL_MANY = 16,
    SWEEP_PAUSE = 256
};

struct batch {
    struct work works[BATCH_MOVES];
    struct work_move moves[BATCH_MOVES];
    size_t n, bytes;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    size_t waiting;
};

struct pass {
    struct local *local;
    bool is_limited;
    struct batch *batch;
    size_t swept;
};

/* --- holding ---------------------------------------------------------------------------------- */

void local_cleaner_hold(struct local *l, int change)
{
    struct cleaner *c = &l->cleaner;
    pthread_mutex_lock(&c->mutex);
    while (change > 0 && c->is_unlinking)
        pthread_cond_wait(&c->wake, &c->mutex);
    c->holds += (unsigned)change;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->mutex);
}

/* False when closing, or when a commit failed: rows that were not acknowledged may be there after a
 * restart, and name what nobody seems to need now. Then nothing is unlinked; the next start will.
 */
static bool unlink_begin(struct local *l)
{
    struct cleaner *c = &l->cleaner;
    pthread_mutex_lock(&c->mutex);
    while (c->holds && !c->is_closing)
        pthread_cond_wait(&c->wake, &c->mutex);
    c->is_unlinking = !c->is_closing && !atomic_load(&l->is_readonly);
    pthread_mutex_unlock(&c->mutex);
    return c->is_unlinking;
}

static void unlink_end(struct local *l)
{
    pthread_mutex_lock(&l->cleaner.mutex);
    l->cleaner.is_unlinking = false;
    pthread_cond_broadcast(&l->cleaner.wake);
    pthread_mutex_unlock(&l->cleaner.mutex);
}

static bool is_closing(struct local *l)
{
    pthread_mutex_lock(&l->cleaner.mutex);
    bool is = l->cleaner.is_closing;
    pthread_mutex_unlock(&l->cleaner.mutex);
    return is;
}

/* Sleeps, but not longer than until the store closes. */
static void pause_for(struct local *l, uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    ns += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(ns / NS_PER_SEC);
    until.tv_nsec = (long)(ns % NS_PER_SEC);
    pthread_mutex_lock(&l->cleaner.mutex);
    while (!l->cleaner.is_closing &&
           pthread_cond_timedwait(&l->cleaner.wake, &l->cleaner.mutex, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&l->cleaner.mutex);
}

/* --- moving ----------------------------------------------------------------------------------- */

static void moved(struct work *work)
{
    struct batch *b = work->arg;
    pthread_mutex_lock(&b->mutex);
    if (--b->waiting == 0)
        pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->mutex);
}

static enum rc post_and_wait(struct local *l, struct batch *b)
{
    enum rc rc = RC_OK;
    b->waiting = b->n;
    for (size_t i = 0; i < b->n; i++) {
        struct work *work = &b->works[i];
        work->done = moved;
        work->arg = b;
        enum rc posted = local_queue_post(l, work);
        if (posted != RC_OK) {
            work->rc = posted;
            moved(work);
        }
    }
    pthread_mutex_lock(&b->mutex);
    while (b->waiting)
        pthread_cond_wait(&b->cond, &b->mutex);
    pthread_mutex_unlock(&b->mutex);
    for (size_t i = 0; i < b->n; i++)
        if (b->works[i].rc != RC_OK && b->works[i].rc != RC_NOTFOUND)
            rc = b->works[i].rc;
    return rc;
}

static enum rc flush_moves(struct pass *p)
{
    struct batch *b = p->batch;
    enum rc rc = post_and_wait(p->local, b);
    for (size_t i = 0; i < b->n; i++)
        free(b->moves[i].record);
    if (p->is_limited && b->bytes)
        pause_for(p->local, b->bytes * NS_PER_SEC / p->local->conf.clean_rate);
    b->n = b->bytes = 0;
    return rc == RC_OK && p->is_limited && is_closing(p->local) ? RC_TEMP : rc;
}

static bool is_live(struct local *l, const struct record *record, uint32_t segment, uint64_t at)
{
    struct blob_row row;
    enum rc rc = local_row_blob_load(l, &record->id, false, &row);
    free(row.refs);
    return rc == RC_OK && row.at.place == BLOB_SEGMENT && row.at.segment == segment &&
           row.at.offset == at;
}

static enum rc add_move(struct pass *p, struct segment *s, const struct record *record, uint64_t at)
{
    struct batch *b = p->batch;
    size_t bytes = (size_t)kv_record_bytes(record->size);
    unsigned char *copy = mem_alloc(bytes);
    enum rc rc = local_file_read(s->fd, copy, bytes, at, false);
    if (rc == RC_OK && !kv_record_holds(copy, record->size))
        rc = RC_CORRUPT;
    if (rc != RC_OK) {
        free(copy);
        return rc;
    }
    b->moves[b->n] = (struct work_move){record->id, s->number, at, copy, bytes};
    b->works[b->n] = (struct work){.kind = WORK_MOVE, .weight = bytes, .move = &b->moves[b->n]};
    b->n++;
    b->bytes += bytes;
    return b->n == BATCH_MOVES || b->bytes >= BATCH_BYTES ? flush_moves(p) : RC_OK;
}

/* Moves all that is live. RC_CORRUPT: something is not readable and stays. */
static enum rc move_records(struct pass *p, struct segment *s, uint64_t end)
{
    struct record record;
    uint64_t at = 0;
    enum rc rc, damage = RC_OK;
    for (uint64_t from = 0;
         (rc = local_segment_next(s->fd, from, end, true, &record, &at)) == RC_OK;
         from = at + kv_record_bytes(record.size)) {
        if (!is_live(p->local, &record, s->number, at))
            continue;
        rc = add_move(p, s, &record, at);
        if (rc == RC_CORRUPT)
            damage = rc;
        else if (rc != RC_OK)
            break;
    }
    enum rc last = flush_moves(p);
    if (rc != RC_EOF)
        return rc;
    return last == RC_OK ? damage : last;
}

/* --- removing --------------------------------------------------------------------------------- */

static enum rc remove_segment(struct pass *p, uint32_t number)
{
    struct batch *b = p->batch;
    b->works[0] = (struct work){.kind = WORK_REMOVE, .segment = number};
    b->n = 1;
    enum rc rc = post_and_wait(p->local, b);
    b->n = 0;
    if (rc != RC_OK || !unlink_begin(p->local))
        return rc == RC_CONFLICT ? RC_OK : rc; /* somebody holds a record of it: the next pass */
    char name[SEGMENT_NAME];
    local_segment_name(name, number);
    if (unlinkat(p->local->segments.dir, name, 0) < 0 && errno != ENOENT)
        log_event(p->local->ctx.log, LOG_WARNING, "unlink-failed", "segment", name, NULL);
    unlink_end(p->local);
    counter_add(p->local->ctx.counters, COUNTER_KV_SEGMENTS_CLEANED, 1);
    return RC_OK;
}

static enum rc clean_segment(struct pass *p, uint32_t number)
{
    struct segment_log *log = &p->local->segments;
    struct segment *s;
    enum rc rc = local_segment_pin(log, number, &s);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND || rc == RC_CORRUPT ? RC_OK : rc;
    pthread_mutex_lock(&log->mutex);
    struct segment_state now = s->now;
    pthread_mutex_unlock(&log->mutex);
    if (now.live)
        rc = move_records(p, s, now.end);
    pthread_mutex_lock(&log->mutex);
    bool is_damaged = rc == RC_CORRUPT || (rc == RC_OK && s->now.live > 0);
    s->is_damaged = is_damaged;
    pthread_mutex_unlock(&log->mutex);
    local_segment_unpin(log, &s);
    if (is_damaged) {
        char name[SEGMENT_NAME];
        local_segment_name(name, number);
        log_event(p->local->ctx.log, LOG_ERROR, "segment-damaged", "segment", name, NULL);
        return RC_OK;
    }
    return rc == RC_OK ? remove_segment(p, number) : rc;
}

/* The segments worth cleaning. */
static uint32_t *choose(struct segment_log *log, size_t *out_n)
{
    uint32_t *numbers = NULL, *small = NULL;
    size_t n = 0, capacity = 0, n_small = 0, small_capacity = 0;
    pthread_mutex_lock(&log->mutex);
    LIST_EACH (&log->all, it) {
        struct segment *s = CONTAINER(it, struct segment, link);
        if (local_segment_is_sparse(log, s)) {
            numbers = mem_array(numbers, &capacity, n + 1, sizeof *numbers);
            numbers[n++] = s->number;
        } else if (s != log->current && !s->is_damaged && s->now.end < log->limit / SMALL_SHARE) {
            small = mem_array(small, &small_capacity, n_small + 1, sizeof *small);
            small[n_small++] = s->number;
        }
    }
    pthread_mutex_unlock(&log->mutex);
    for (size_t i = 0; n_small >= SMALL_MANY && i < n_small; i++) {
        numbers = mem_array(numbers, &capacity, n + 1, sizeof *numbers);
        numbers[n++] = small[i];
    }
    free(small);
    *out_n = n;
    return numbers;
}

static void unlink_doomed(struct local *l)
{
    pthread_mutex_lock(&l->blobs.mutex);
    bool has_doomed = !list_is_empty(&l->blobs.doomed);
    pthread_mutex_unlock(&l->blobs.mutex);
    if (!has_doomed || !unlink_begin(l))
        return;
    local_blobs_unlink_doomed(l);
    unlink_end(l);
}

/* A file of a large blob without a row, in nobody's hands. An id is never used twice, so looking at
 * the hands first and at the row then cannot miss one that is being committed. */
static enum rc sweep_large(void *arg, const struct kv_blob_id *id)
{
    struct pass *p = arg;
    struct local *l = p->local;
    if (p->is_limited && ++p->swept % SWEEP_PAUSE == 0)
        pause_for(l, NS_PER_MS);
    struct blob *held = local_blob_find(l, id);
    if (held) {
        local_blob_release(l, held);
        return RC_OK;
    }
    struct blob_row row;
    enum rc rc = local_row_blob_load(l, id, false, &row);
    free(row.refs);
    if (rc != RC_NOTFOUND)
        return rc;
    if (!unlink_begin(l))
        return RC_TEMP;
    rc = local_large_unlink(&l->larges, id);
    unlink_end(l);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc clean_segments(struct pass *p)
{
    size_t n;
    uint32_t *numbers = choose(&p->local->segments, &n);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < n && rc == RC_OK; i++)
        rc = clean_segment(p, numbers[i]);
    free(numbers);
    return rc;
}

static enum rc pass_run(struct local *l, bool is_limited, bool is_sweeping)
{
    struct batch *b = mem_zero(sizeof *b);
    struct pass p = {.local = l, .is_limited = is_limited, .batch = b};
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->cond, NULL);
    pthread_mutex_lock(&l->cleaner.pass);
    unlink_doomed(l);
    enum rc rc = is_sweeping ? local_larges_each(&l->larges, sweep_large, &p) : RC_OK;
    if (rc == RC_OK)
        rc = clean_segments(&p);
    pthread_mutex_unlock(&l->cleaner.pass);
    pthread_cond_destroy(&b->cond);
    pthread_mutex_destroy(&b->mutex);
    free(b);
    return rc;
}

enum rc local_clean_pass(struct local *l, bool is_limited)
{
    return pass_run(l, is_limited, true);
}

/* --- the thread ------------------------------------------------------------------------------- */

static bool wait_for_kick(struct local *l)
{
    struct cleaner *c = &l->cleaner;
    pthread_mutex_lock(&c->mutex);
    while (!c->is_kicked && !c->is_closing)
        pthread_cond_wait(&c->wake, &c->mutex);
    c->is_kicked = false;
    bool goes_on = !c->is_closing;
    pthread_mutex_unlock(&c->mutex);
    return goes_on;
}

static void *run(void *arg)
{
    struct local *l = arg;
    bool is_first = true;
    do {
        enum rc rc = pass_run(l, true, is_first);
        is_first = false;
        if (rc != RC_OK && !is_closing(l))
            log_event(l->ctx.log, LOG_WARNING, "cleaning-failed", "cause", rc_name(rc), NULL);
    } while (wait_for_kick(l));
    return NULL;
}

void local_cleaner_init(struct local *l)
{
    struct cleaner *c = &l->cleaner;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_mutex_init(&c->pass, NULL);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
}

void local_cleaner_start(struct local *l)
{
    l->cleaner.is_running = true;
    l->cleaner.thread = task_thread("kv-clean", run, l);
}

void local_cleaner_kick(struct local *l)
{
    pthread_mutex_lock(&l->cleaner.mutex);
    l->cleaner.is_kicked = true;
    pthread_cond_broadcast(&l->cleaner.wake);
    pthread_mutex_unlock(&l->cleaner.mutex);
}

void local_cleaner_stop(struct local *l)
{
    pthread_mutex_lock(&l->cleaner.mutex);
    l->cleaner.is_closing = true;
    pthread_cond_broadcast(&l->cleaner.wake);
    pthread_mutex_unlock(&l->cleaner.mutex);
    if (l->cleaner.is_running)
        pthread_join(l->cleaner.thread, NULL);
}

void local_cleaner_fini(struct local *l)
{
    pthread_cond_destroy(&l->cleaner.wake);
    pthread_mutex_destroy(&l->cleaner.pass);
    pthread_mutex_destroy(&l->cleaner.mutex);
}
