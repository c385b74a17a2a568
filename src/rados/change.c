/* What a commit is going to change: a view over a partition; then one operation on its head; then
 * the partition's memory.
 *
 * The operation and the memory are made from the same change by the same rules, so that memory is
 * what a load would give. Deleting leaves a trace, a tombstone or a trim, when a shard may hold the
 * row: when there are shards, or a fold was begun that has not finished and may make some. A trim
 * in the head is no trace of what is deleted after it: a fold may take it away, and put the row
 * there that was in the head before. */
#include "rados/rados_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char TOMBSTONE = RAD_VALUE_TOMBSTONE;

void rad_change_init(struct rad_change *c, struct rad_part *p, struct rad_change *below)
{
    *c = (struct rad_change){.part = p, .below = below};
    list_init(&c->trims);
    if (!below)
        c->state = rad_state_next(p->rad, &p->head.state);
}

void rad_change_fini(struct rad_change *c)
{
    kv_rows_fini(&c->rows);
    kv_rows_fini(&c->leaving);
    kv_rows_fini(&c->marks);
    LIST_EACH_SAFE (&c->trims, it) {
        list_remove(it);
        free(CONTAINER(it, struct rad_trim, link));
    }
    if (c->shards) {
        rad_shards_fini(c->shards);
        free(c->shards);
        c->shards = NULL;
    }
}

/* --- the view --------------------------------------------------------------------------------- */

static void want(struct rad_part *p, struct str key)
{
    p->wanted = mem_array(p->wanted, &p->wanted_capacity, p->n_wanted + 1, sizeof *p->wanted);
    p->wanted[p->n_wanted++] = str_from(mem_dup(key.p, key.n), key.n);
}

enum rc rad_view_get(struct rad_change *c, struct str key, struct str *out_value)
{
    struct rad_part *p = c->part;
    *out_value = (struct str){0};
    for (; c; c = c->below) {
        struct str stored = kv_rows_get(&c->rows, key);
        if (stored.n > 1)
            *out_value = str_skip(stored, 1);
        if (stored.n > 0 || rad_trims_cover(&c->trims, key))
            return RC_OK;
    }
    enum rc rc = rad_rows_get(p, key, out_value);
    if (rc == RC_AGAIN)
        want(p, key);
    return rc;
}

void rad_view_put(struct rad_change *c, struct str key, struct str value)
{
    char small[256];
    char *stored = value.n + 1 > sizeof small ? mem_alloc(value.n + 1) : small;
    stored[0] = RAD_VALUE_ROW;
    memcpy(stored + 1, value.p, value.n);
    kv_rows_put(&c->rows, key, str_from(stored, value.n + 1));
    c->bytes += key.n + value.n + 1;
    if (stored != small)
        free(stored);
}

void rad_view_delete(struct rad_change *c, struct str key)
{
    kv_rows_put(&c->rows, key, str_from(&TOMBSTONE, 1));
    c->bytes += key.n + 1;
}

/* The rows from `from` to before `to`. */
static void delete_range(struct kv_rows *rows, struct str from, struct str to)
{
    struct kv_rows_row *row;
    while ((row = kv_rows_seek(rows, from)) != NULL && str_cmp(row->key, to) < 0)
        kv_rows_delete(rows, row->key);
}

void rad_view_trim(struct rad_change *c, struct str from, struct str to)
{
    struct rad_trim *trim = rad_trim_new(from, to);
    delete_range(&c->rows, from, to);
    list_add_tail(&c->trims, &trim->link);
    c->bytes += from.n + to.n;
}

void rad_change_merge(struct rad_change *to, struct rad_change *from)
{
    LIST_EACH (&from->trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        rad_view_trim(to, trim->from, trim->to);
    }
    for (struct kv_rows_row *row = from->rows.first[0]; row; row = row->next[0]) {
        kv_rows_put(&to->rows, row->key, row->value);
        to->bytes += row->key.n + row->value.n;
    }
}

/* --- the operation ---------------------------------------------------------------------------- */

static bool leaves_traces(const struct rad_change *c)
{
    const struct rad_head *head = &c->part->head;
    const struct rad_shards *shards = c->shards ? c->shards : &head->shards;
    return shards->n > 0 || head->state.epoch != head->state.finished ||
           c->state.epoch != c->state.finished;
}

static bool is_tombstone(struct str stored)
{
    return stored.n == 1;
}

static void call_rows(const struct rad_change *c, struct link_call *call)
{
    bool is_traced = leaves_traces(c);
    struct rad_key key;
    for (struct kv_rows_row *row = c->rows.first[0]; row; row = row->next[0]) {
        rad_key_row(&key, row->key);
        if (is_tombstone(row->value) && !is_traced)
            link_write_row_remove(call, rad_key_str(&key));
        else
            link_write_row(call, rad_key_str(&key), row->value);
    }
    for (struct kv_rows_row *row = c->leaving.first[0]; row; row = row->next[0]) {
        rad_key_row(&key, row->key);
        if (str_is_null(kv_rows_get(&c->rows, row->key)))
            link_write_row_remove(call, rad_key_str(&key));
    }
}

static void call_trims(const struct rad_change *c, struct link_call *call)
{
    bool is_traced = leaves_traces(c);
    unsigned char value[RAD_HEAD_VALUE];
    struct rad_key key, from, to;
    LIST_EACH (&c->part->head.trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        rad_key_trim(&key, trim->number);
        if (trim->number <= c->leaving_trims)
            link_write_row_remove(call, rad_key_str(&key));
    }
    LIST_EACH (&c->trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        rad_key_row(&from, trim->from);
        rad_key_row(&to, trim->to);
        link_write_range_remove(call, rad_key_str(&from), rad_key_str(&to));
        rad_key_trim(&key, trim->number);
        if (is_traced)
            link_write_row(call, rad_key_str(&key), rad_trim_pack(value, trim));
    }
}

static bool has_number(const struct rad_shards *shards, uint64_t number)
{
    for (size_t i = 0; i < shards->n; i++)
        if (shards->shard[i].number == number)
            return true;
    return false;
}

static void call_shards(const struct rad_change *c, struct link_call *call)
{
    const struct rad_shards *before = &c->part->head.shards;
    unsigned char value[RAD_HEAD_VALUE];
    struct rad_key key;
    for (size_t i = 0; c->shards && i < before->n; i++) {
        rad_key_shard(&key, before->shard[i].number);
        if (!has_number(c->shards, before->shard[i].number))
            link_write_row_remove(call, rad_key_str(&key));
    }
    for (size_t i = 0; c->shards && i < c->shards->n; i++) {
        rad_key_shard(&key, c->shards->shard[i].number);
        link_write_row(call, rad_key_str(&key), rad_shard_pack(value, &c->shards->shard[i]));
    }
    for (struct kv_rows_row *row = c->marks.first[0]; row; row = row->next[0]) {
        uint64_t number;
        memcpy(&number, row->key.p, sizeof number);
        rad_key_mark(&key, number);
        if (row->value.n)
            link_write_row(call, rad_key_str(&key), row->value);
        else
            link_write_row_remove(call, rad_key_str(&key));
    }
}

/* Numbers that no earlier trim has: they begin with the version, which a trim makes grow. */
static void number_trims(struct rad_change *c)
{
    enum { BITS = 20 };
    uint64_t number = c->state.version << BITS;
    LIST_EACH (&c->trims, it)
        CONTAINER(it, struct rad_trim, link)->number = number++;
}

struct link_call *rad_change_call(struct rad_change *c)
{
    const struct rad_head *head = &c->part->head;
    unsigned char state[RAD_STATE];
    struct link_call *call = link_call_new(c->part->rad->link, LINK_INDEX, c->part->object);
    if (head->exists)
        link_guard_row(call, RAD_STATE_KEY, rad_state_pack(state, &head->state));
    else
        link_write_create(call);
    number_trims(c);
    call_trims(c, call);
    call_rows(c, call);
    call_shards(c, call);
    link_write_row(call, RAD_STATE_KEY, rad_state_pack(state, &c->state));
    return call;
}

/* --- the memory ------------------------------------------------------------------------------- */

static void drop_row(struct rad_part *p, struct str key)
{
    struct str stored = kv_rows_get(&p->head.rows, key);
    if (str_is_null(stored))
        return;
    rad_part_weigh(p, -(ptrdiff_t)rad_row_weight(key, stored));
    kv_rows_delete(&p->head.rows, key);
}

static void publish_trims(struct rad_change *c, bool is_traced)
{
    struct rad_part *p = c->part;
    LIST_EACH_SAFE (&p->head.trims, it) {
        struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        if (trim->number > c->leaving_trims)
            continue;
        list_remove(it);
        free(trim);
    }
    LIST_EACH_SAFE (&c->trims, it) {
        struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        struct kv_rows_row *row;
        while ((row = kv_rows_seek(&p->head.rows, trim->from)) != NULL &&
               str_cmp(row->key, trim->to) < 0)
            drop_row(p, row->key);
        list_remove(it);
        if (!is_traced) {
            free(trim);
            continue;
        }
        trim->stamp = p->stamp;
        list_add_tail(&p->head.trims, &trim->link);
    }
}

static void publish_rows(struct rad_change *c, bool is_traced)
{
    struct rad_part *p = c->part;
    for (struct kv_rows_row *row = c->leaving.first[0]; row; row = row->next[0])
        drop_row(p, row->key);
    for (struct kv_rows_row *row = c->rows.first[0]; row; row = row->next[0]) {
        bool is_gone = is_tombstone(row->value);
        struct str bytes = str_skip(row->value, 1);
        drop_row(p, row->key);
        if (is_gone && !is_traced)
            continue;
        rad_row_put(&p->head.rows, row->key, p->stamp, bytes);
        rad_part_weigh(p,
                       (ptrdiff_t)rad_row_weight(row->key, kv_rows_get(&p->head.rows, row->key)));
    }
}

static void publish_shards(struct rad_change *c)
{
    struct rad_part *p = c->part;
    for (struct kv_rows_row *row = c->marks.first[0]; row; row = row->next[0]) {
        if (row->value.n)
            kv_rows_put(&p->head.marks, row->key, row->value);
        else
            kv_rows_delete(&p->head.marks, row->key);
    }
    if (!c->shards)
        return;
    struct rad_shards before = p->head.shards;
    p->head.shards = *c->shards;
    *c->shards = (struct rad_shards){0};
    rad_part_drop_pages(p, &before);
    rad_shards_fini(&before);
}

void rad_change_publish(struct rad_change *c)
{
    struct rad_part *p = c->part;
    bool is_traced = leaves_traces(c);
    p->stamp++;
    publish_trims(c, is_traced);
    publish_rows(c, is_traced);
    publish_shards(c);
    p->head.state = c->state;
    p->head.exists = true;
    p->checked = clock_mono(p->rad->kv.ctx->clock);
}
