/* Folds: old rows of a head go to shards, so that the head stays small.
 *
 * docs/internals/rados.md, "Fold and split", is the protocol, tests/model/fold.pml its model; the
 * steps have their names here. A fold runs on a thread of its own lane and waits for each of its
 * ops; one a partition at a time in this process, any number in others. Commits go on meanwhile.
 *
 * Invariants:
 *   1. What is folded is copied in the turn that takes the epoch, from the state that the op is
 *      guarded by. So it is what it was when the head got that epoch, and nothing later.
 *   2. Only rows with stamps up to the cut leave the head. A row that was changed since, or read
 *      again, has a later one.
 *   3. Whatever an op on a shard answers but "done": the fold gives up. It leaves nothing that
 *      anybody has to repair, and the next one has another epoch. */
#include "rados/fold_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    TRIMS_MAX = 64,        /* of a head: every look at a row goes through them */
    BURST = 4,             /* times the rows at which a fold begins: then commits wait for it */
    PAUSE_MS = 300,        /* at least, after a fold that was given up; then twice that, ... */
    PAUSE_DOUBLED = 7,     /* times */
    VAIN_MAX = 3,          /* given up so often in a row: commits do not wait for the next one */
    RESERVED_MAX = 1 << 15 /* new shards of one fold; their numbers have 16 bits for it */
};

size_t fold_shard_rows(const struct rad *rad)
{
    size_t most = rad->conf.shard_rows;
    return most - most / 4;
}

enum rc fold_step(struct rad_fold *f, const char *name)
{
    if (atomic_load(&f->rad->is_closing))
        return RC_CONFLICT;
    f->step = name;
    rad_step(f->rad, name);
    return RC_OK;
}

enum rc fold_answer(struct rad_fold *f, struct link_call **call, enum link_result result)
{
    link_call_free(call);
    if (result == LINK_FENCED)
        rad_fail_for_good(f->rad, "the cluster has shut this client out");
    return result == LINK_OK ? RC_OK : RC_CONFLICT;
}

/* --- changes of the head ---------------------------------------------------------------------- */

static void work_done(struct rad_work *work, enum rc rc)
{
    struct fold_work *w = CONTAINER(work, struct fold_work, work);
    struct rad_fold *f = w->fold;
    pthread_mutex_lock(&f->mutex);
    w->rc = rc;
    w->is_done = true;
    pthread_cond_signal(&f->done);
    pthread_mutex_unlock(&f->mutex);
}

enum rc fold_commit(struct rad_fold *f, struct fold_work *work,
                    enum rc (*build)(struct rad_work *work, struct rad_change *change))
{
    work->fold = f;
    work->work.build = build;
    work->work.done = work_done;
    rad_work_post(f->p, &work->work);
    pthread_mutex_lock(&f->mutex);
    while (!work->is_done)
        pthread_cond_wait(&f->done, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
    return work->rc;
}

/* --- fold-take -------------------------------------------------------------------------------- */

static int compare_stamps(const void *a, const void *b)
{
    uint64_t x;
    uint64_t y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* The older half of the rows. With trims all of them, since those have to go. */
static uint64_t choose_cut(const struct rad_part *p)
{
    const struct kv_rows *rows = &p->head.rows;
    if (!list_is_empty(&p->head.trims) || rows->count == 0)
        return p->stamp;
    uint64_t *stamps = mem_alloc(rows->count * sizeof *stamps);
    size_t n = 0;
    for (const struct kv_rows_row *row = rows->first[0]; row; row = row->next[0])
        stamps[n++] = rad_row_stamp(row->value);
    qsort(stamps, n, sizeof *stamps, compare_stamps);
    uint64_t cut = stamps[n / 2];
    free(stamps);
    return cut;
}

static void copy_rows(struct rad_fold *f)
{
    const struct kv_rows_row *row = f->p->head.rows.first[0];
    for (; row; row = row->next[0]) {
        struct str bytes = rad_row_bytes(row->value);
        char *value = mem_alloc(1 + bytes.n);
        if (rad_row_stamp(row->value) <= f->cut) {
            value[0] = bytes.n ? RAD_VALUE_ROW : RAD_VALUE_TOMBSTONE;
            if (bytes.n)
                memcpy(value + 1, bytes.p, bytes.n);
            kv_rows_put(&f->rows, row->key, str_from(value, 1 + bytes.n));
        }
        free(value);
    }
}

static void copy_trims(struct rad_fold *f)
{
    LIST_EACH (&f->p->head.trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        if (trim->stamp > f->cut)
            continue;
        struct rad_trim *copy = rad_trim_new(trim->from, trim->to);
        list_add_tail(&f->trims, &copy->link);
        f->upto = trim->number;
    }
}

static void forget_taken(struct rad_fold *f)
{
    kv_rows_fini(&f->rows);
    f->rows = (struct kv_rows){0};
    LIST_EACH_SAFE (&f->trims, it) {
        list_remove(it);
        free(CONTAINER(it, struct rad_trim, link));
    }
    rad_shards_fini(&f->before);
    rad_shards_fini(&f->after);
    f->epoch = f->cut = f->upto = f->reserved = f->made = 0;
}

static bool is_before_end(struct str key, struct str end)
{
    return str_is_null(end) || str_cmp(key, end) < 0;
}

/* What the fold does to the piece; *row is the first of its rows and becomes that of the next. */
static void plan(const struct rad_fold *f, struct fold_piece *piece, const struct kv_rows_row **row)
{
    for (; *row && is_before_end((*row)->key, piece->end); *row = (*row)->next[0]) {
        piece->rows++;
        if ((*row)->value.p[0] == RAD_VALUE_ROW)
            piece->puts += fold_weight((*row)->value);
    }
    LIST_EACH (&f->trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        bool is_from_first = str_cmp(trim->from, piece->first) <= 0;
        bool is_to_end = !str_is_null(piece->end) && str_cmp(trim->to, piece->end) >= 0;
        if (is_before_end(trim->from, piece->end) && str_cmp(trim->to, piece->first) > 0)
            piece->is_trimmed = true;
        piece->is_wiped = piece->is_wiped || (is_from_first && is_to_end);
    }
    size_t most = f->rad->conf.shard_rows;
    piece->is_replaced = piece->is_wiped || (!piece->old && piece->rows > 0) ||
                         (piece->old && piece->puts > 0 && piece->old->rows + piece->puts > most);
}

static bool is_touched(const struct fold_piece *piece)
{
    return piece->rows > 0 || piece->is_trimmed;
}

static struct fold_piece piece_at(const struct rad_fold *f, size_t i)
{
    struct fold_piece piece = {.first = STR("")};
    if (f->before.n == 0)
        return piece;
    piece.old = &f->before.shard[i];
    piece.first = piece.old->first;
    piece.end = rad_shard_end(&f->before, piece.old);
    return piece;
}

static size_t pieces(const struct rad_fold *f)
{
    return f->before.n ? f->before.n : 1;
}

/* At most: shards of the map may have fewer rows than it says. */
static uint64_t count_new(const struct rad_fold *f)
{
    const struct kv_rows_row *row = f->rows.first[0];
    uint64_t n = 0;
    for (size_t i = 0; i < pieces(f); i++) {
        struct fold_piece piece = piece_at(f, i);
        plan(f, &piece, &row);
        uint64_t old = piece.old && !piece.is_wiped ? piece.old->rows : 0;
        if (piece.is_replaced)
            n += (old + piece.puts) / fold_shard_rows(f->rad) + 1;
    }
    return n;
}

static enum rc take(struct rad_work *work, struct rad_change *change)
{
    struct rad_fold *f = CONTAINER(work, struct fold_work, work)->fold;
    const struct rad_head *head = &f->p->head;
    forget_taken(f);
    f->cut = choose_cut(f->p);
    copy_rows(f);
    copy_trims(f);
    f->before = rad_shards_copy(&head->shards);
    f->reserved = count_new(f);
    if ((f->rows.count == 0 && list_is_empty(&f->trims)) || f->reserved > RESERVED_MAX)
        return RC_CONFLICT;
    f->epoch = change->state.epoch = head->state.epoch + 1;
    rad_fence_pack(f->fence, f->epoch);
    for (uint64_t i = 0; i < f->reserved; i++)
        fold_mark(change, fold_number(f->epoch, i), false);
    return RC_OK;
}

/* --- fold-finish ------------------------------------------------------------------------------ */

static bool has_number(const struct rad_shards *shards, uint64_t number)
{
    for (size_t i = 0; i < shards->n; i++)
        if (shards->shard[i].number == number)
            return true;
    return false;
}

static enum rc finish(struct rad_work *work, struct rad_change *change)
{
    struct rad_fold *f = CONTAINER(work, struct fold_work, work)->fold;
    const struct rad_head *head = &f->p->head;
    if (head->state.epoch != f->epoch)
        return RC_CONFLICT;
    f->left = 0;
    for (const struct kv_rows_row *row = f->rows.first[0]; row; row = row->next[0]) {
        struct str stored = kv_rows_get(&head->rows, row->key);
        if (str_is_null(stored) || rad_row_stamp(stored) > f->cut)
            continue;
        kv_rows_put(&change->leaving, row->key, STR("-"));
        f->left++;
    }
    change->leaving_trims = f->upto;
    change->shards = mem_zero(sizeof *change->shards);
    *change->shards = rad_shards_copy(&f->after);
    change->state.finished = f->epoch;
    for (uint64_t i = 0; i < f->reserved; i++)
        fold_unmark(change, fold_number(f->epoch, i));
    for (size_t i = 0; i < f->before.n; i++)
        if (!has_number(&f->after, f->before.shard[i].number))
            fold_mark(change, f->before.shard[i].number, true);
    return RC_OK;
}

/* --- the fold --------------------------------------------------------------------------------- */

static void keep(struct rad_fold *f, const struct fold_piece *piece)
{
    struct rad_shard shard = *piece->old;
    shard.first = str_from(mem_dup(piece->first.p, piece->first.n), piece->first.n);
    if (is_touched(piece)) {
        shard.touched = f->epoch;
        shard.rows += piece->puts;
    }
    rad_shards_add(&f->after, &shard);
}

/* The first shard has the empty key, also when the one that had it is gone. */
static void close_map(struct rad_fold *f)
{
    if (f->after.n > 0)
        f->after.shard[0].first.n = 0;
}

static enum rc fold_shards(struct rad_fold *f)
{
    const struct kv_rows_row *row = f->rows.first[0];
    for (size_t i = 0; i < pieces(f); i++) {
        struct fold_piece piece = piece_at(f, i);
        plan(f, &piece, &row);
        if (piece.old && is_touched(&piece))
            TRY(fold_fence(f, &piece));
        if (piece.is_replaced)
            TRY(fold_replace(f, &piece));
        else if (piece.old && is_touched(&piece))
            TRY(fold_write(f, &piece));
        if (piece.old && !piece.is_replaced)
            keep(f, &piece);
    }
    close_map(f);
    return RC_OK;
}

static enum rc fold(struct rad_fold *f)
{
    struct fold_work taking = {0};
    struct fold_work finishing = {0};
    TRY(fold_step(f, "fold-take"));
    TRY(fold_commit(f, &taking, take));
    TRY(fold_shards(f));
    TRY(fold_step(f, "fold-finish"));
    return fold_commit(f, &finishing, finish);
}

/* Of two who got in each other's way one is back sooner. */
static uint64_t pause_ms(unsigned vain)
{
    return (PAUSE_MS + random_u64() % PAUSE_MS) << (vain < PAUSE_DOUBLED ? vain : PAUSE_DOUBLED);
}

static void again(struct task_timer *timer)
{
    struct rad_part *p = CONTAINER(timer, struct rad_part, fold_timer);
    pthread_mutex_lock(&p->mutex);
    p->is_fold_timed = false;
    rad_fold_consider(p);
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
}

/* Under the mutex. */
static void give_up(const struct rad_fold *f)
{
    struct rad_part *p = f->p;
    log_event(f->rad->kv.ctx->log, LOG_INFO, "fold-given-up", "object", p->object, "step", f->step,
              NULL);
    if (atomic_load(&f->rad->is_closing))
        return;
    p->is_fold_timed = true;
    p->fold_timer.run = again;
    rad_part_pin(p);
    task_timer_set(f->rad->timers, &p->fold_timer, pause_ms(p->fold_vain));
    p->fold_vain++;
}

static bool is_heavy(const struct rad_part *p);

static void run(struct task_job *job)
{
    struct rad_fold *f = CONTAINER(job, struct rad_fold, job);
    struct rad_part *p = f->p;
    pthread_mutex_lock(&p->mutex);
    bool is_due = p->is_warm && is_heavy(p);
    pthread_mutex_unlock(&p->mutex);
    enum rc rc = is_due ? fold(f) : RC_OK;
    if (rc == RC_OK)
        fold_clean(f);
    pthread_mutex_lock(&p->mutex);
    p->fold = NULL;
    /* In vain: the head had to be read again meanwhile. At once it would have to be again. */
    if (rc != RC_OK || (f->rows.count > 0 && f->left == 0)) {
        give_up(f);
    } else {
        p->fold_vain = 0;
        rad_fold_consider(p);
    }
    rad_part_wake_locked(p);
    pthread_mutex_unlock(&p->mutex);
    forget_taken(f);
    pthread_cond_destroy(&f->done);
    pthread_mutex_destroy(&f->mutex);
    free(f);
    rad_part_put(p);
}

/* --- when ------------------------------------------------------------------------------------- */

/* A trim covers a whole shard, which then has no reason to be. */
static bool is_any_wiped(const struct rad_head *head)
{
    LIST_EACH (&head->trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        const struct rad_shard *shard = rad_shard_of(&head->shards, trim->from);
        while (shard && str_cmp(shard->first, trim->from) < 0)
            shard = ++shard < head->shards.shard + head->shards.n ? shard : NULL;
        struct str end = shard ? rad_shard_end(&head->shards, shard) : (struct str){0};
        if (!str_is_null(end) && str_cmp(end, trim->to) <= 0)
            return true;
    }
    return false;
}

static size_t trims_of(const struct rad_head *head)
{
    size_t n = 0;
    LIST_EACH (&head->trims, it)
        n++;
    return n;
}

/* The head has more than `times` what it should have, in rows or in bytes. */
static bool is_beyond(const struct rad_part *p, uint64_t times)
{
    uint64_t rows = times * p->rad->conf.head_rows;
    return p->head.rows.count > rows || p->head.rows.bytes > rows * FOLD_ROW_BYTES;
}

static bool is_heavy(const struct rad_part *p)
{
    const struct rad_head *head = &p->head;
    return is_beyond(p, 1) || trims_of(head) > TRIMS_MAX || is_any_wiped(head);
}

bool rad_fold_is_overdue(const struct rad_part *p)
{
    bool is_coming = (p->fold || p->is_fold_timed) && p->fold_vain < VAIN_MAX;
    return is_coming && !atomic_load(&p->rad->is_closing) && is_beyond(p, BURST);
}

void rad_fold_consider(struct rad_part *p)
{
    struct rad *rad = p->rad;
    if (p->fold || p->is_fold_timed || !p->is_warm || (!is_heavy(p) && !fold_has_garbage(p)) ||
        atomic_load(&rad->is_closing) || atomic_load(&rad->is_readonly))
        return;
    struct rad_fold *f = mem_zero(sizeof *f);
    f->rad = rad;
    f->p = p;
    f->job.run = run;
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->done, NULL);
    list_init(&f->trims);
    rad_part_pin(p);
    p->fold = f;
    if (task_lane_post(rad->folds, &f->job) != RC_OK)
        abort(); /* as the lane of turns */
}
