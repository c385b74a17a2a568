/* Partitions in memory: found, pinned, put out when memory is short. */
#include "rados/rados_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* What one partition may keep of its shards however little memory there is: more than any one call
 * needs at once. */
enum { PAGES_LEAST = 32 << 20 };

void rad_parts_init(struct rad_parts *parts)
{
    pthread_mutex_init(&parts->mutex, NULL);
    pthread_cond_init(&parts->idle, NULL);
    map_init(&parts->by_part);
    list_init(&parts->lru);
}

/* --- heads and shards ------------------------------------------------------------------------- */

void rad_shards_fini(struct rad_shards *shards)
{
    for (size_t i = 0; i < shards->n; i++)
        free((void *)(uintptr_t)shards->shard[i].first.p);
    free(shards->shard);
    *shards = (struct rad_shards){0};
}

struct rad_shards rad_shards_copy(const struct rad_shards *shards)
{
    struct rad_shards copy = {.n = shards->n};
    copy.shard = mem_alloc(copy.n * sizeof *copy.shard + 1);
    for (size_t i = 0; i < copy.n; i++) {
        struct str first = shards->shard[i].first;
        copy.shard[i] = shards->shard[i];
        copy.shard[i].first = str_from(mem_dup(first.p, first.n), first.n);
    }
    return copy;
}

void rad_shards_add(struct rad_shards *shards, const struct rad_shard *shard)
{
    size_t i = shards->n++;
    shards->shard = mem_grow(shards->shard, shards->n * sizeof *shards->shard);
    for (; i > 0 && str_cmp(shards->shard[i - 1].first, shard->first) > 0; i--)
        shards->shard[i] = shards->shard[i - 1];
    shards->shard[i] = *shard;
}

const struct rad_shard *rad_shard_of(const struct rad_shards *shards, struct str key)
{
    size_t low = 0;
    size_t high = shards->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(shards->shard[middle].first, key) <= 0)
            low = middle;
        else
            high = middle;
    }
    return shards->n ? &shards->shard[low] : NULL;
}

struct str rad_shard_end(const struct rad_shards *shards, const struct rad_shard *shard)
{
    size_t i = (size_t)(shard - shards->shard) + 1;
    return i < shards->n ? shards->shard[i].first : (struct str){0};
}

struct rad_trim *rad_trim_new(struct str from, struct str to)
{
    struct rad_trim *trim = mem_zero(sizeof *trim + from.n + to.n);
    char *bytes = (char *)(trim + 1);
    if (from.n)
        memcpy(bytes, from.p, from.n);
    if (to.n)
        memcpy(bytes + from.n, to.p, to.n);
    trim->from = str_from(bytes, from.n);
    trim->to = str_from(bytes + from.n, to.n);
    list_init(&trim->link);
    return trim;
}

static void trims_free(struct list *trims)
{
    LIST_EACH_SAFE (trims, it) {
        list_remove(it);
        free(CONTAINER(it, struct rad_trim, link));
    }
}

const struct rad_trim *rad_trim_of(const struct list *trims, struct str key)
{
    LIST_EACH (trims, it) {
        const struct rad_trim *trim = CONTAINER(it, struct rad_trim, link);
        if (str_cmp(key, trim->from) >= 0 && str_cmp(key, trim->to) < 0)
            return trim;
    }
    return NULL;
}

bool rad_trims_cover(const struct list *trims, struct str key)
{
    return rad_trim_of(trims, key) != NULL;
}

void rad_head_init(struct rad_head *head)
{
    *head = (struct rad_head){0};
    list_init(&head->trims);
}

void rad_head_fini(struct rad_head *head)
{
    kv_rows_fini(&head->rows);
    trims_free(&head->trims);
    rad_shards_fini(&head->shards);
    kv_rows_fini(&head->marks);
    rad_head_init(head);
}

void rad_head_move(struct rad_head *to, struct rad_head *from)
{
    rad_head_fini(to);
    *to = *from;
    list_init(&to->trims);
    list_splice_tail(&to->trims, &from->trims);
    rad_head_init(from);
}

/* --- pages ------------------------------------------------------------------------------------ */

static struct rad_page *page_of(const struct kv_rows_row *row)
{
    struct rad_page *page;
    memcpy(&page, row->value.p, sizeof page);
    return page;
}

static void page_free(struct rad_part *p, struct rad_page *page)
{
    kv_rows_delete(&p->pages, page->from);
    list_remove(&page->lru);
    rad_part_weigh(p, -(ptrdiff_t)page->bytes);
    free(page);
}

struct rad_page *rad_page_at(struct rad_part *p, struct str key)
{
    struct kv_rows_row *row = kv_rows_floor(&p->pages, key);
    struct rad_page *page = row ? page_of(row) : NULL;
    if (!page || (!str_is_null(page->to) && str_cmp(key, page->to) >= 0))
        return NULL;
    list_remove(&page->lru);
    list_add_tail(&p->page_lru, &page->lru);
    return page;
}

void rad_page_add(struct rad_part *p, struct rad_page *page)
{
    size_t most = p->rad->conf.memory_bytes / 2;
    struct rad_page *old = rad_page_at(p, page->from);
    if (old)
        page_free(p, old);
    while (p->bytes > (most > PAGES_LEAST ? most : PAGES_LEAST) && !list_is_empty(&p->page_lru))
        page_free(p, CONTAINER(list_first(&p->page_lru), struct rad_page, lru));
    struct kv_rows_row *row;
    while ((row = kv_rows_seek(&p->pages, page->from)) != NULL &&
           (str_is_null(page->to) || str_cmp(row->key, page->to) < 0))
        page_free(p, page_of(row));
    kv_rows_put(&p->pages, page->from, str_from(&page, sizeof(struct rad_page *)));
    list_add_tail(&p->page_lru, &page->lru);
    rad_part_weigh(p, (ptrdiff_t)page->bytes);
}

static bool is_same_shard(const struct rad_shards *shards, const struct rad_shard *shard)
{
    for (size_t i = 0; i < shards->n; i++)
        if (shards->shard[i].number == shard->number)
            return shards->shard[i].touched == shard->touched;
    return false;
}

/* The shards that a page's place was in before; NULL: gone from that map too. */
static const struct rad_shard *shard_numbered(const struct rad_shards *shards, uint64_t number)
{
    for (size_t i = 0; i < shards->n; i++)
        if (shards->shard[i].number == number)
            return &shards->shard[i];
    return NULL;
}

void rad_part_drop_pages(struct rad_part *p, const struct rad_shards *before)
{
    LIST_EACH_SAFE (&p->page_lru, it) {
        struct rad_page *page = CONTAINER(it, struct rad_page, lru);
        const struct rad_shard *shard = shard_numbered(before, page->shard);
        if (!shard || !is_same_shard(&p->head.shards, shard))
            page_free(p, page);
    }
}

void rad_part_cool(struct rad_part *p)
{
    LIST_EACH_SAFE (&p->page_lru, it)
        page_free(p, CONTAINER(it, struct rad_page, lru));
    rad_head_fini(&p->head);
    p->is_warm = false;
    rad_part_weigh(p, -(ptrdiff_t)(p->bytes - p->lazy_bytes - sizeof *p));
}

/* --- finding, pinning, putting out ------------------------------------------------------------ */

static struct rad_part *part_new(struct rad *rad, struct kv_part part)
{
    struct rad_part *p = mem_zero(sizeof *p);
    p->rad = rad;
    p->part = part;
    rad_name_head(p->object, part);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->news, NULL);
    rad_head_init(&p->head);
    list_init(&p->lru);
    list_init(&p->page_lru);
    list_init(&p->loads);
    list_init(&p->ops);
    list_init(&p->works);
    p->bytes = sizeof *p;
    atomic_fetch_add(&rad->bytes, p->bytes);
    map_add(&rad->parts.by_part, &p->node, kv_part_hash(part));
    return p;
}

static void part_free(struct rad_part *p)
{
    rad_part_cool(p);
    kv_rows_fini(&p->lazy);
    kv_rows_fini(&p->pages);
    free(p->wanted);
    atomic_fetch_sub(&p->rad->bytes, sizeof *p);
    pthread_cond_destroy(&p->news);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

static struct rad_part *find(struct rad *rad, struct kv_part part)
{
    struct map_node *node = map_find(&rad->parts.by_part, kv_part_hash(part));
    for (; node; node = map_next(node)) {
        struct rad_part *p = CONTAINER(node, struct rad_part, node);
        if (kv_part_eq(p->part, part))
            return p;
    }
    return NULL;
}

struct rad_part *rad_part_get(struct rad *rad, struct kv_part part)
{
    pthread_mutex_lock(&rad->parts.mutex);
    struct rad_part *p = find(rad, part);
    if (!p)
        p = part_new(rad, part);
    p->pins++;
    list_remove(&p->lru);
    pthread_mutex_unlock(&rad->parts.mutex);
    return p;
}

struct rad_part *rad_part_pin(struct rad_part *p)
{
    pthread_mutex_lock(&p->rad->parts.mutex);
    p->pins++;
    list_remove(&p->lru);
    pthread_mutex_unlock(&p->rad->parts.mutex);
    return p;
}

/* Takes one that nobody has pinned out of the table when memory is short; NULL otherwise. */
static struct rad_part *take_out(struct rad *rad)
{
    struct list *it = list_first(&rad->parts.lru);
    if (!it || atomic_load(&rad->bytes) <= rad->conf.memory_bytes)
        return NULL;
    struct rad_part *p = CONTAINER(it, struct rad_part, lru);
    list_remove(it);
    map_remove(&rad->parts.by_part, &p->node);
    return p;
}

void rad_part_put(struct rad_part *p)
{
    struct rad *rad = p->rad;
    pthread_mutex_lock(&rad->parts.mutex);
    if (--p->pins == 0)
        list_add_tail(&rad->parts.lru, &p->lru);
    while ((p = take_out(rad)) != NULL) {
        pthread_mutex_unlock(&rad->parts.mutex);
        part_free(p);
        pthread_mutex_lock(&rad->parts.mutex);
    }
    pthread_mutex_unlock(&rad->parts.mutex);
}

void rad_part_weigh(struct rad_part *p, ptrdiff_t bytes)
{
    p->bytes += (size_t)bytes;
    atomic_fetch_add(&p->rad->bytes, (size_t)bytes);
}

void rad_parts_wake(struct rad_parts *parts)
{
    size_t n = 0, slot = 0;
    pthread_mutex_lock(&parts->mutex);
    struct rad_part **all = mem_alloc((parts->by_part.count + 1) * sizeof(struct rad_part *));
    for (struct map_node *node = NULL; (node = map_each(&parts->by_part, &slot, node)) != NULL;) {
        struct rad_part *p = CONTAINER(node, struct rad_part, node);
        p->pins++;
        list_remove(&p->lru);
        all[n++] = p;
    }
    pthread_mutex_unlock(&parts->mutex);
    for (size_t i = 0; i < n; i++) {
        rad_part_wake(all[i]);
        rad_part_put(all[i]);
    }
    free(all);
}

void rad_parts_fini(struct rad_parts *parts)
{
    struct list *it;
    while ((it = list_first(&parts->lru)) != NULL) {
        struct rad_part *p = CONTAINER(it, struct rad_part, lru);
        list_remove(it);
        map_remove(&parts->by_part, &p->node);
        part_free(p);
    }
    map_fini(&parts->by_part);
    pthread_cond_destroy(&parts->idle);
    pthread_mutex_destroy(&parts->mutex);
}
