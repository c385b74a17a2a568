/* queue: how much there is, kept in memory.
 *
 * What was there when the queue was opened is counted from its rows, bit by bit, while items come
 * and go; a shard's rows are counted once, up to a place that moves. Each commit of ours says which
 * rows it changed. A change beyond the place is in a page that is still to be read; one before it
 * is in the page that was read there, or not, which the versions tell: pages and commits have one.
 * A change that becomes known while a page is being read waits until that page has come.
 *
 * With several processes on one store each counts its own changes and those that it found.
 */
#include "queue/queue_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 512 };

struct page_end {
    unsigned char key[QUEUE_DUE_KEY];
    uint8_t n;
    uint64_t version;
};

struct pending {
    struct queue_tick tick;
    uint64_t version;
};

struct shard {
    _Atomic bool is_counted;
    bool is_reading;
    uint64_t version; /* of its newest page */
    struct page_end *pages;
    size_t n_pages, max_pages;
    struct pending *pending;
    size_t n_pending, max_pending;
};

struct queue_tally {
    pthread_mutex_t mutex;
    _Atomic int64_t numbers[QUEUE_NUMBERS];
    struct shard shards[QUEUE_SHARDS];
    unsigned next; /* shard to be counted */
};

struct queue_tally *queue_tally_new(void)
{
    struct queue_tally *tally = mem_zero(sizeof *tally);
    pthread_mutex_init(&tally->mutex, NULL);
    return tally;
}

void queue_tally_free(struct queue_tally **tally)
{
    for (unsigned i = 0; i < QUEUE_SHARDS; i++) {
        free((*tally)->shards[i].pages);
        free((*tally)->shards[i].pending);
    }
    pthread_mutex_destroy(&(*tally)->mutex);
    free(*tally);
    *tally = NULL;
}

uint64_t queue_number(struct queue *queue, enum queue_number which)
{
    int64_t n = atomic_load(&queue->tally->numbers[which]);
    return n > 0 ? (uint64_t)n : 0;
}

/* By differences: two changes at once must not leave the older sum. */
static void add(struct queue *queue, enum queue_number which, int64_t by)
{
    static const enum counter gauges[QUEUE_NUMBERS] = {
        [QUEUE_N_ITEMS] = COUNTER_QUEUE_ITEMS,       [QUEUE_N_HELD] = COUNTER_QUEUE_HELD,
        [QUEUE_N_LOCAL] = COUNTER_QUEUE_LOCAL,       [QUEUE_N_REMOTE] = COUNTER_QUEUE_REMOTE,
        [QUEUE_N_DEFERRED] = COUNTER_QUEUE_DEFERRED,
    };
    atomic_fetch_add(&queue->tally->numbers[which], by);
    if (by > 0)
        counter_add(queue->ctx.counters, gauges[which], (uint64_t)by);
    else
        counter_sub(queue->ctx.counters, gauges[which], (uint64_t)-by);
}

static int compare(const unsigned char *a, size_t a_n, const unsigned char *b, size_t b_n)
{
    return str_cmp(str_from(a, a_n), str_from(b, b_n));
}

/* Whether what the tick says is not in what was counted, and never will be. The mutex is held. */
static bool is_news(const struct shard *s, const struct queue_tick *t, uint64_t version)
{
    size_t from = 0, to = s->n_pages;
    while (from < to) { /* the first page that ends at the key or behind it */
        size_t middle = from + (to - from) / 2;
        const struct page_end *p = &s->pages[middle];
        if (compare(p->key, p->n, t->key, t->n) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    if (from < s->n_pages)
        return version > s->pages[from].version;
    return atomic_load(&s->is_counted) && version > s->version;
}

static void hear(struct queue *queue, struct shard *s, const struct queue_tick *t, uint64_t version)
{
    if (is_news(s, t, version)) {
        add(queue, t->which, t->by);
    } else if (s->is_reading) {
        s->pending = mem_array(s->pending, &s->max_pending, s->n_pending + 1, sizeof *s->pending);
        s->pending[s->n_pending++] = (struct pending){*t, version};
    }
}

void queue_tally_hear(struct queue *queue, unsigned shard, const struct queue_tick *ticks, size_t n,
                      uint64_t version)
{
    struct shard *s = &queue->tally->shards[shard];
    if (atomic_load(&s->is_counted) && version > s->version) {
        for (size_t i = 0; i < n; i++)
            add(queue, ticks[i].which, ticks[i].by);
        return;
    }
    pthread_mutex_lock(&queue->tally->mutex);
    for (size_t i = 0; i < n; i++)
        hear(queue, s, &ticks[i], version);
    pthread_mutex_unlock(&queue->tally->mutex);
}

/* --- counting --------------------------------------------------------------------------------- */

static void count_row(struct queue *queue, struct kv_row row)
{
    struct queue_due entry;
    struct queue_status status;
    switch (row.key.p[0]) {
    case 'm':
        add(queue, QUEUE_N_ITEMS, 1);
        break;
    case 's':
        if (queue_status_unpack(row.value, &status) != RC_OK || status.state == QUEUE_HELD)
            add(queue, QUEUE_N_HELD, 1);
        break;
    case 'd':
        if (queue_due_unpack(row, &entry) != RC_OK)
            break;
        add(queue, entry.kind == QUEUE_LOCAL ? QUEUE_N_LOCAL : QUEUE_N_REMOTE, 1);
        if (entry.tries)
            add(queue, QUEUE_N_DEFERRED, 1);
        break;
    default:
        break;
    }
}

/* A page has come: what became known meanwhile and lies in it is news, when it is younger. */
static void take_page(struct queue *queue, struct shard *s, const struct kv_page *page,
                      struct str end)
{
    pthread_mutex_lock(&queue->tally->mutex);
    s->pages = mem_array(s->pages, &s->max_pages, s->n_pages + 1, sizeof *s->pages);
    struct page_end *p = &s->pages[s->n_pages++];
    *p = (struct page_end){.n = (uint8_t)end.n, .version = page->version};
    memcpy(p->key, end.p, end.n);
    s->version = page->version;
    s->is_reading = false;
    for (size_t i = 0; i < s->n_pending; i++)
        if (is_news(s, &s->pending[i].tick, s->pending[i].version))
            add(queue, s->pending[i].tick.which, s->pending[i].tick.by);
    s->n_pending = 0;
    pthread_mutex_unlock(&queue->tally->mutex);
}

/* Recipients' rows lie between items and statuses, and are not counted. */
static struct kv_range rest_of(const struct shard *s)
{
    const struct page_end *last = s->n_pages ? &s->pages[s->n_pages - 1] : NULL;
    if (!last || last->key[0] < 'n')
        return (struct kv_range){
            .from = STR("d"),
            .to = STR("n"),
            .after = last ? str_from(last->key, last->n) : (struct str){0},
        };
    return (struct kv_range){
        .from = STR("s"), .to = STR("t"), .after = str_from(last->key, last->n)};
}

static enum rc count_page(struct queue *queue, unsigned shard, size_t *rows)
{
    struct shard *s = &queue->tally->shards[shard];
    struct arena arena = {0};
    struct kv_page page;
    struct kv_range range = rest_of(s);
    pthread_mutex_lock(&queue->tally->mutex);
    s->is_reading = true;
    pthread_mutex_unlock(&queue->tally->mutex);
    enum rc rc =
        kv_scan(queue->kv, (struct kv_part){KV_QUEUE, shard}, range, PAGE, KV_ONCE, &arena, &page);
    for (size_t i = 0; rc == RC_OK && i < page.n; i++)
        count_row(queue, page.rows[i]);
    if (rc == RC_OK)
        take_page(queue, s, &page, page.has_more ? page.rows[page.n - 1].key : range.to);
    if (rc == RC_OK && !page.has_more && str_eq(range.to, STR("t")))
        atomic_store(&s->is_counted, true);
    *rows += rc == RC_OK ? page.n : 0;
    arena_fini(&arena);
    return rc;
}

enum rc queue_tally_go_on(struct queue *queue, size_t max_rows, bool *out_is_counted)
{
    struct queue_tally *t = queue->tally;
    size_t rows = 0;
    while (rows < max_rows && t->next < QUEUE_SHARDS) {
        TRY(count_page(queue, t->next, &rows));
        if (atomic_load(&t->shards[t->next].is_counted))
            t->next++;
    }
    *out_is_counted = t->next == QUEUE_SHARDS;
    return RC_OK;
}
