/* The rows of a fold, written to shards.
 *
 * Every op here carries the fold's fence: it finds the object as this fold has it, or changes
 * nothing. Rows are compared and ordered by their keys as the partition knows them; the escape of
 * omaps keeps that order. */
#include "rados/fold_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    OP_ROWS = 1000, /* of one op; 1,000 take a cluster some 5 ms */
    OP_BYTES = 1 << 20,
    PAGE_ROWS = 1024
};

/* Rows on their way to one shard. */
struct batch {
    struct rad_fold *f;
    const char *step;
    char object[RAD_OBJECT];
    struct link_call *call; /* NULL: nothing waits */
    size_t rows;
};

static struct link_call *call_new(const struct rad_fold *f, const char *object)
{
    return link_call_new(f->rad->link, LINK_INDEX, object);
}

static enum rc write_wait(struct rad_fold *f, struct link_call *call)
{
    return fold_answer(f, &call, link_write_wait(call, f->rad->conf.read_ms));
}

static struct str fence_of(const struct rad_fold *f)
{
    return str_from(f->fence, sizeof f->fence);
}

static struct link_call *batch_call(struct batch *b)
{
    if (!b->call) {
        b->call = call_new(b->f, b->object);
        link_guard_row(b->call, RAD_STATE_KEY, fence_of(b->f));
    }
    return b->call;
}

static enum rc batch_send(struct batch *b)
{
    struct link_call *call = b->call;
    if (!call)
        return RC_OK;
    b->call = NULL;
    b->rows = 0;
    enum rc rc = fold_step(b->f, b->step);
    if (rc == RC_OK)
        return write_wait(b->f, call);
    link_call_free(&call);
    return rc;
}

/* A value as the head has it: a tombstone removes the row. */
static enum rc batch_add(struct batch *b, struct str key, struct str value)
{
    struct rad_key omap_key;
    struct link_call *call = batch_call(b);
    rad_key_row(&omap_key, key);
    if (value.p[0] == RAD_VALUE_ROW)
        link_write_row(call, rad_key_str(&omap_key), value);
    else
        link_write_row_remove(call, rad_key_str(&omap_key));
    bool is_full = ++b->rows == OP_ROWS || link_call_bytes(call) >= OP_BYTES;
    return is_full ? batch_send(b) : RC_OK;
}

static bool is_in(const struct fold_piece *piece, const struct kv_rows_row *row)
{
    return row && (str_is_null(piece->end) || str_cmp(row->key, piece->end) < 0);
}

/* --- a shard that stays ----------------------------------------------------------------------- */

enum rc fold_fence(struct rad_fold *f, const struct fold_piece *piece)
{
    char object[RAD_OBJECT];
    TRY(fold_step(f, "fold-fence"));
    rad_name_shard(object, f->p->part, piece->old->number);
    struct link_call *call = call_new(f, object);
    link_guard_row_below(call, RAD_STATE_KEY, fence_of(f));
    link_write_row(call, RAD_STATE_KEY, fence_of(f));
    return write_wait(f, call);
}

static void add_trims(struct batch *b)
{
    struct rad_key from;
    struct rad_key to;
    LIST_EACH (&b->f->trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        rad_key_row(&from, trim->from);
        rad_key_row(&to, trim->to);
        link_write_range_remove(batch_call(b), rad_key_str(&from), rad_key_str(&to));
    }
}

/* No row is left in it; nobody but this fold can put one there. */
static enum rc is_empty(struct rad_fold *f, const char *object, bool *out_is_empty)
{
    struct str key;
    struct str value;
    TRY(fold_step(f, "fold-read"));
    struct link_call *call = call_new(f, object);
    link_guard_row(call, RAD_STATE_KEY, fence_of(f));
    link_read_rows(call, RAD_STATE_KEY, 1);
    enum link_result result = link_read_wait(call, f->rad->conf.read_ms);
    *out_is_empty = result == LINK_OK && !link_got_row(call, &key, &value);
    return fold_answer(f, &call, result);
}

enum rc fold_write(struct rad_fold *f, struct fold_piece *piece)
{
    struct batch b = {.f = f, .step = "fold-write"};
    const struct kv_rows_row *row = kv_rows_seek(&f->rows, piece->first);
    rad_name_shard(b.object, f->p->part, piece->old->number);
    if (piece->is_trimmed)
        add_trims(&b);
    enum rc rc = RC_OK;
    for (; rc == RC_OK && is_in(piece, row); row = row->next[0])
        rc = batch_add(&b, row->key, row->value);
    if (rc == RC_OK)
        rc = batch_send(&b);
    if (rc == RC_OK && piece->puts == 0)
        rc = is_empty(f, b.object, &piece->is_replaced);
    link_call_free(&b.call);
    return rc;
}

/* --- a shard that is replaced ----------------------------------------------------------------- */

struct filling {
    struct rad_fold *f;
    const struct fold_piece *piece;
    const struct kv_rows_row *row; /* the fold's next one */
    struct batch batch;
    struct rad_shard shard; /* being filled; number 0: none */
    bool is_begun;          /* the first one has been made */
};

static enum rc shard_end(struct filling *to)
{
    if (to->shard.number == 0)
        return RC_OK;
    TRY(batch_send(&to->batch));
    rad_shards_add(&to->f->after, &to->shard);
    to->shard = (struct rad_shard){0};
    return RC_OK;
}

static enum rc shard_begin(struct filling *to, struct str first)
{
    struct rad_fold *f = to->f;
    if (f->made == f->reserved)
        return RC_CONFLICT;
    uint64_t number = fold_number(f->epoch, f->made++);
    to->batch = (struct batch){.f = f, .step = "fold-fill"};
    rad_name_shard(to->batch.object, f->p->part, number);
    TRY(fold_step(f, "fold-make"));
    struct link_call *call = call_new(f, to->batch.object);
    link_write_create(call);
    link_write_row(call, RAD_STATE_KEY, fence_of(f));
    TRY(write_wait(f, call));
    to->shard = (struct rad_shard){.number = number,
                                   .touched = f->epoch,
                                   .first = str_from(mem_dup(first.p, first.n), first.n)};
    return RC_OK;
}

/* The next row of what the piece has from now on. */
static enum rc fill(struct filling *to, struct str key, struct str value)
{
    if (value.p[0] != RAD_VALUE_ROW)
        return RC_OK;
    if (to->shard.rows >= fold_shard_rows(to->f->rad))
        TRY(shard_end(to));
    if (to->shard.number == 0)
        TRY(shard_begin(to, to->is_begun ? key : to->piece->first));
    to->is_begun = true;
    to->shard.rows += fold_weight(value);
    return batch_add(&to->batch, key, value);
}

/* The fold's rows with keys before this one. */
static enum rc fill_upto(struct filling *to, struct str key)
{
    for (; is_in(to->piece, to->row) && str_cmp(to->row->key, key) < 0; to->row = to->row->next[0])
        TRY(fill(to, to->row->key, to->row->value));
    return RC_OK;
}

/* A row of the old shard: it is another one now, is gone, or stays as it is. */
static enum rc fill_old(struct filling *to, struct str key, struct str value)
{
    TRY(fill_upto(to, key));
    if (is_in(to->piece, to->row) && str_eq(to->row->key, key)) {
        value = to->row->value;
        to->row = to->row->next[0];
    } else if (rad_trims_cover(&to->f->trims, key)) {
        return RC_OK;
    }
    return fill(to, key, value);
}

static enum rc fill_page(struct filling *to, struct link_call *page, struct rad_key *last)
{
    struct str omap_key;
    struct str value;
    struct rad_key key;
    while (link_got_row(page, &omap_key, &value)) {
        last->n = omap_key.n;
        memcpy(last->b, omap_key.p, omap_key.n);
        last->b[last->n] = '\0';
        if (str_eq(omap_key, RAD_STATE_KEY))
            continue;
        if (rad_key_row_parse(omap_key, &key) != RC_OK || value.n < 2)
            return RC_CONFLICT; /* fsck's business */
        TRY(fill_old(to, rad_key_str(&key), value));
    }
    return RC_OK;
}

static enum rc fill_from_old(struct filling *to)
{
    struct rad_fold *f = to->f;
    struct rad_key last = {0};
    char object[RAD_OBJECT];
    bool has_more = true;
    rad_name_shard(object, f->p->part, to->piece->old->number);
    while (has_more) {
        TRY(fold_step(f, "fold-read"));
        struct link_call *call = call_new(f, object);
        link_guard_row(call, RAD_STATE_KEY, fence_of(f));
        link_read_rows(call, rad_key_str(&last), PAGE_ROWS);
        enum link_result result = link_read_wait(call, f->rad->conf.read_ms);
        enum rc rc = result == LINK_OK ? fill_page(to, call, &last) : RC_OK;
        has_more = link_got_more(call);
        enum rc answer = fold_answer(f, &call, result);
        TRY(answer == RC_OK ? rc : answer);
    }
    return RC_OK;
}

enum rc fold_replace(struct rad_fold *f, const struct fold_piece *piece)
{
    struct filling to = {.f = f, .piece = piece};
    to.row = kv_rows_seek(&f->rows, piece->first);
    enum rc rc = piece->old && !piece->is_wiped ? fill_from_old(&to) : RC_OK;
    for (; rc == RC_OK && is_in(piece, to.row); to.row = to.row->next[0])
        rc = fill(&to, to.row->key, to.row->value);
    if (rc == RC_OK)
        rc = shard_end(&to);
    link_call_free(&to.batch.call);
    free((void *)(uintptr_t)to.shard.first.p);
    return rc;
}
