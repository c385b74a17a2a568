/* queue: items by what they are, for administrators.
 *
 * A domain is looked up by its hash: in each shard the items whose id has it, then those that say
 * so in rows of their own. Anything else looks through the items, some at a time.
 */
#include "queue/queue_int.h"

#include <string.h>

enum part { PART_IDS, PART_ALSO, PARTS };

struct search {
    struct queue *queue;
    const struct queue_filter *filter;
    struct queue_cursor *cursor;
    struct arena *arena;
    size_t max, looked_at;
    struct queue_found *out;
};

static bool has_text(struct str in, struct str what)
{
    for (size_t i = 0; what.n <= in.n && i <= in.n - what.n; i++)
        if (str_ieq(str_sub(in, i, what.n), what))
            return true;
    return false;
}

static bool is_in_domain(const struct queue_recipient *r, struct str domain)
{
    struct str own = str_domain(r->address);
    return str_ieq(r->domain, domain) || (!str_is_null(own) && str_ieq(own, domain));
}

static bool has_state(const struct queue_filter *f, const struct queue_entry *e)
{
    bool is_held = e->status.state == QUEUE_HELD;
    switch (f->which) {
    case QUEUE_ONLY_WAITING:
        return !is_held;
    case QUEUE_ONLY_HELD:
        return is_held;
    case QUEUE_ONLY_DEFERRED:
        return queue_is_deferred(e);
    default:
        return true;
    }
}

static bool has_error(const struct queue_filter *f, const struct queue_entry *e)
{
    bool has = has_text(str_of(e->status.cause), f->error) ||
               (e->rc != RC_OK && has_text(str_of(rc_name(e->rc)), f->error));
    for (size_t i = 0; i < e->item.n_recipients && !has; i++) {
        const struct queue_recipient *r = &e->item.recipients[i];
        has = has_text(r->reply, f->error) || has_text(r->status, f->error) ||
              has_text(r->host, f->error);
    }
    return has;
}

/* What the item's own row tells, so that most need not be read whole. */
static bool may_match(const struct queue_filter *f, const struct queue_item *item)
{
    return (str_is_null(f->sender) || str_ieq(item->sender, f->sender)) &&
           (!f->before || item->received < f->before);
}

static bool matches(const struct queue_filter *f, const struct queue_entry *e)
{
    bool has_domain = str_is_null(f->domain);
    for (size_t i = 0; i < e->item.n_recipients && !has_domain; i++)
        has_domain = is_in_domain(&e->item.recipients[i], f->domain);
    return has_domain && may_match(f, &e->item) && has_state(f, e) &&
           (str_is_null(f->error) || has_error(f, e));
}

static enum rc look(struct search *s, struct queue_id id)
{
    struct queue_entry *entry = &s->out->entries[s->out->n];
    enum rc rc = queue_load(s->queue, id, 0, s->arena, entry);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND ? RC_OK : rc;
    s->out->n += matches(s->filter, entry);
    return RC_OK;
}

static enum rc look_at_row(struct search *s, struct kv_row row)
{
    struct arena arena = {0};
    struct queue_item item;
    struct queue_also also;
    struct queue_id id;
    memcpy(id.b, row.key.p + row.key.n - sizeof id.b, sizeof id.b);
    bool may = row.key.p[0] != 'm' || queue_item_unpack(row.value, &arena, &item, &also) != RC_OK ||
               may_match(s->filter, &item);
    arena_fini(&arena);
    return may ? look(s, id) : RC_OK;
}

/* The rows that the cursor's part of its shard is about. */
static void bounds(const struct search *s, unsigned char from[8], unsigned char to[8],
                   size_t *out_n)
{
    bool is_also = s->cursor->part == PART_ALSO, by_domain = !str_is_null(s->filter->domain);
    size_t n = 0;
    from[n++] = is_also ? 'x' : 'm';
    if (by_domain && !is_also)
        from[n++] = s->cursor->shard;
    if (by_domain) {
        queue_domain_hash(s->filter->domain, from + n);
        n += 3;
    }
    memcpy(to, from, n);
    for (size_t i = n; i-- > 0;)
        if (++to[i] != 0)
            break;
    *out_n = n;
}

static void next_part(struct search *s)
{
    struct queue_cursor *c = s->cursor;
    c->n = 0;
    c->part++;
    if (c->part < PARTS && !str_is_null(s->filter->domain))
        return;
    c->part = PART_IDS;
    c->shard++;
    c->is_at_end = c->shard >= QUEUE_SHARDS;
}

static bool is_enough(const struct search *s)
{
    return s->out->n >= s->max || s->looked_at >= QUEUE_FIND_ROWS;
}

static enum rc look_at_page(struct search *s, const struct kv_page *page)
{
    for (size_t i = 0; i < page->n; i++) {
        struct str key = page->rows[i].key;
        if (is_enough(s))
            return RC_OK;
        s->looked_at++;
        if (key.n != QUEUE_ITEM_KEY && key.n != QUEUE_ALSO_KEY)
            return RC_CORRUPT;
        TRY(look_at_row(s, page->rows[i]));
        memcpy(s->cursor->key, key.p, key.n);
        s->cursor->n = (uint8_t)key.n;
    }
    if (!page->has_more)
        next_part(s);
    return RC_OK;
}

static enum rc find_more(struct search *s)
{
    struct arena arena = {0};
    struct kv_page page;
    unsigned char from[8], to[8];
    size_t n, want = s->max - s->out->n;
    bounds(s, from, to, &n);
    struct kv_range range = {.from = str_from(from, n), .to = str_from(to, n)};
    if (s->cursor->n)
        range.after = str_from(s->cursor->key, s->cursor->n);
    bool is_picky = !str_is_null(s->filter->sender) || !str_is_null(s->filter->error) ||
                    s->filter->before || s->filter->which != QUEUE_ANY;
    if (is_picky || want > QUEUE_FIND_ROWS / 4)
        want = QUEUE_FIND_ROWS / 4;
    enum rc rc = kv_scan(s->queue->kv, (struct kv_part){KV_QUEUE, s->cursor->shard}, range, want,
                         KV_ONCE, &arena, &page);
    if (rc == RC_OK)
        rc = look_at_page(s, &page);
    arena_fini(&arena);
    return rc;
}

enum rc queue_find(struct queue *queue, const struct queue_filter *filter,
                   struct queue_cursor *cursor, size_t max, struct arena *arena,
                   struct queue_found *out)
{
    struct search s = {
        .queue = queue, .filter = filter, .cursor = cursor, .arena = arena, .max = max, .out = out};
    out->n = 0;
    out->entries = arena_zero(arena, (max + 1) * sizeof *out->entries);
    if (!out->entries)
        return RC_LIMIT;
    while (!cursor->is_at_end && !is_enough(&s))
        TRY(find_more(&s));
    return RC_OK;
}
