/* What folds leave behind: shards that no map names.
 *
 * A row "x" of the head, a mark, names each of them from before it was made, or from the op that
 * took it out of the map. One that was in the map goes at once: it was made long ago, and who still
 * reads it finds no object and looks at the head again. One that an unfinished fold may have made
 * goes when that fold is surely over. Numbers are never used twice, so removing needs no guard. */
#include "rados/fold_int.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

/* Longer than a fold takes, or any op of it. */
static const uint64_t FOLD_NS = 600 * UINT64_C(1000000000);

enum { MARK = 1 + 8, CLEAN_AT_ONCE = 256 };

static struct str number_key(const uint64_t *number)
{
    return str_from(number, sizeof *number);
}

void fold_mark(struct rad_change *change, uint64_t number, bool is_now)
{
    unsigned char value[MARK] = {RAD_FORMAT};
    uint64_t now = clock_wall(change->part->rad->kv.ctx->clock);
    put_u64(value + 1, is_now ? 0 : now + FOLD_NS);
    kv_rows_put(&change->marks, number_key(&number), str_from(value, sizeof value));
}

void fold_unmark(struct rad_change *change, uint64_t number)
{
    kv_rows_put(&change->marks, number_key(&number), STR(""));
}

static bool is_in_map(const struct rad_head *head, uint64_t number)
{
    for (size_t i = 0; i < head->shards.n; i++)
        if (head->shards.shard[i].number == number)
            return true;
    return false;
}

/* Not in the map, and no fold will put it there. */
static bool is_garbage(const struct rad_part *p, const struct kv_rows_row *mark, uint64_t now)
{
    const struct rad_state *state = &p->head.state;
    uint64_t number;
    memcpy(&number, mark->key.p, sizeof number);
    bool is_over = fold_epoch_of(number) < state->epoch || state->finished == state->epoch;
    return mark->value.n == MARK && get_u64(mark->value.p + 1) <= now && is_over &&
           !is_in_map(&p->head, number);
}

static size_t garbage(const struct rad_part *p, uint64_t *numbers, size_t max)
{
    const struct kv_rows_row *mark = p->head.marks.first[0];
    size_t n = 0;
    uint64_t now = mark ? clock_wall(p->rad->kv.ctx->clock) : 0;
    for (; mark && n < max; mark = mark->next[0])
        if (is_garbage(p, mark, now))
            memcpy(&numbers[n++], mark->key.p, sizeof *numbers);
    return n;
}

bool fold_has_garbage(const struct rad_part *p)
{
    uint64_t number;
    return garbage(p, &number, 1) > 0;
}

/* --- strays ----------------------------------------------------------------------------------- */

static bool is_there(struct rad *rad, struct str name)
{
    char object[RAD_OBJECT];
    snprintf(object, sizeof object, "%.*s", STR_ARG(name));
    struct link_call *call = link_call_new(rad->link, LINK_INDEX, object);
    link_read_row(call, RAD_STATE_KEY);
    enum link_result result = link_read_wait(call, rad->conf.read_ms);
    link_call_free(&call);
    return result == LINK_OK;
}

/* A shard has a mark before it is made, so a head that is read after the name was seen names it; or
 * it has been removed since. */
enum rc rad_fold_is_stray(struct rad *rad, struct str name, struct kv_part *out_part,
                          bool *out_is_stray)
{
    uint64_t number;
    uint64_t version;
    *out_is_stray = false;
    if (!rad_name_shard_parse(name, out_part, &number))
        return RC_NOTFOUND;
    struct rad_part *p = rad_part_get(rad, *out_part);
    pthread_mutex_lock(&p->mutex);
    p->checked = 0; /* what is in memory may be older */
    pthread_mutex_unlock(&p->mutex);
    enum rc rc = rad_version(&rad->kv, *out_part, 0, &version);
    pthread_mutex_lock(&p->mutex);
    bool is_named = !p->is_warm || is_in_map(&p->head, number) ||
                    !str_is_null(kv_rows_get(&p->head.marks, number_key(&number)));
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
    *out_is_stray = rc == RC_OK && !is_named && is_there(rad, name);
    return rc;
}

/* --- cleaning --------------------------------------------------------------------------------- */

struct forgetting {
    struct fold_work work;
    uint64_t numbers[CLEAN_AT_ONCE];
    size_t n;
};

static enum rc forget(struct rad_work *work, struct rad_change *change)
{
    struct forgetting *g = CONTAINER(work, struct forgetting, work.work);
    for (size_t i = 0; i < g->n; i++)
        fold_unmark(change, g->numbers[i]);
    return g->n > 0 ? RC_OK : RC_CONFLICT;
}

static enum rc remove_shard(struct rad_fold *f, uint64_t number)
{
    char object[RAD_OBJECT];
    TRY(fold_step(f, "clean-remove"));
    rad_name_shard(object, f->p->part, number);
    struct link_call *call = link_call_new(f->rad->link, LINK_INDEX, object);
    link_write_remove(call);
    enum link_result result = link_write_wait(call, f->rad->conf.read_ms);
    return fold_answer(f, &call, result == LINK_MISSING ? LINK_OK : result);
}

void fold_clean(struct rad_fold *f)
{
    struct forgetting g = {0};
    pthread_mutex_lock(&f->p->mutex);
    size_t n = f->p->is_warm ? garbage(f->p, g.numbers, CLEAN_AT_ONCE) : 0;
    pthread_mutex_unlock(&f->p->mutex);
    while (g.n < n && remove_shard(f, g.numbers[g.n]) == RC_OK)
        g.n++;
    if (g.n > 0 && fold_step(f, "clean-forget") == RC_OK)
        (void)!fold_commit(f, &g.work, forget); /* failed: the next one does it again */
}
