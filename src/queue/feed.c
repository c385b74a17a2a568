/* queue: what is due, read from the index bit by bit, for who tries it.
 *
 * A feed keeps a place and a time for each shard, and no entries: behind the place, nothing is due
 * before that time but what was put there since. Of that the sinks are told; who does not keep such
 * an entry gives it back, which moves the place and the time.
 */
#include "queue/queue_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct place {
    struct queue_due after; /* the last one given */
    bool has_after;
    uint64_t next_due; /* 0: not known yet */
    unsigned changes;  /* gives back, so that a read that overlaps with one is noticed */
    uint64_t round;    /* of the shard's lease */
};

struct queue_feed {
    struct queue *queue;
    enum queue_kind kind;
    pthread_mutex_t mutex;
    struct place places[QUEUE_SHARDS];
};

struct queue_feed *queue_feed_new(struct queue *queue, enum queue_kind kind)
{
    struct queue_feed *feed = mem_zero(sizeof *feed);
    feed->queue = queue;
    feed->kind = kind;
    pthread_mutex_init(&feed->mutex, NULL);
    return feed;
}

void queue_feed_free(struct queue_feed **feed)
{
    if (!*feed)
        return;
    pthread_mutex_destroy(&(*feed)->mutex);
    free(*feed);
    *feed = NULL;
}

void queue_feed_back(struct queue_feed *feed, const struct queue_due *entry)
{
    struct place *p = &feed->places[queue_shard_of(entry->id)];
    pthread_mutex_lock(&feed->mutex);
    p->changes++;
    if (p->has_after && entry->due <= p->after.due) {
        p->after = (struct queue_due){.kind = feed->kind, .due = entry->due};
        p->has_after = entry->due > 0;
    }
    if (entry->due < p->next_due)
        p->next_due = entry->due;
    pthread_mutex_unlock(&feed->mutex);
}

/* With another round the shard is begun anew. Those of others are passed over. */
static bool is_open(struct queue_feed *feed, unsigned shard)
{
    struct place *p = &feed->places[shard];
    uint64_t round = queue_round(feed->queue, shard);
    if (p->round != round) {
        p->round = round;
        p->has_after = false;
        p->next_due = 0;
        p->changes++;
    }
    return queue_has_shard(feed->queue, shard);
}

/* The shard that comes first; its time in *out_due. */
static unsigned first_shard(struct queue_feed *feed, uint64_t *out_due)
{
    unsigned first = 0;
    *out_due = UINT64_MAX;
    for (unsigned i = 0; i < QUEUE_SHARDS; i++) {
        if (is_open(feed, i) && feed->places[i].next_due < *out_due) {
            first = i;
            *out_due = feed->places[i].next_due;
        }
    }
    return first;
}

/* What came back while the page was read may lie before its end. */
static void move(struct place *p, const struct queue_due_page *page, unsigned changes)
{
    if (p->changes != changes)
        return; /* read again from where the place is now; what is given twice is recognised */
    if (page->n) {
        p->after = page->entries[page->n - 1];
        p->after.destination = (struct str){0};
        p->has_after = true;
    }
    p->next_due = page->has_more ? p->after.due : page->next_due;
}

enum rc queue_feed_next(struct queue_feed *feed, uint64_t now, size_t max, struct arena *arena,
                        struct queue_due_page *out)
{
    uint64_t due;
    *out = (struct queue_due_page){0};
    pthread_mutex_lock(&feed->mutex);
    unsigned shard = first_shard(feed, &due);
    struct place *p = &feed->places[shard];
    while (due <= now && out->n == 0) {
        struct queue_due after = p->after;
        unsigned changes = p->changes;
        struct queue_due_range range = {.kind = feed->kind,
                                        .shard = shard,
                                        .after = p->has_after ? &after : NULL,
                                        .until = now};
        pthread_mutex_unlock(&feed->mutex);
        TRY(queue_due_scan(feed->queue, &range, max, arena, out));
        pthread_mutex_lock(&feed->mutex);
        move(p, out, changes);
        shard = first_shard(feed, &due);
        p = &feed->places[shard];
    }
    pthread_mutex_unlock(&feed->mutex);
    out->has_more = due <= now;
    out->next_due = due;
    return RC_OK;
}
