/* queue: what a commit changes beyond its rows: entries that the sinks are told of, and numbers.
 * Collected while the commit is built, told when it is done, forgotten when it fails.
 */
#include "queue/queue_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct queue_news *queue_news_new(unsigned shard)
{
    struct queue_news *news = mem_alloc(sizeof *news);
    memset(news, 0, offsetof(struct queue_news, few_entries));
    news->shard = shard;
    news->entries = news->few_entries;
    news->ticks = news->few_ticks;
    return news;
}

void queue_news_free(struct queue_news **news)
{
    if (!*news)
        return;
    arena_fini(&(*news)->arena);
    free((*news)->more_entries);
    free((*news)->more_ticks);
    free(*news);
    *news = NULL;
}

static struct str keep_text(struct queue_news *news, struct str text)
{
    if (text.n > sizeof news->text - news->text_used)
        return arena_dup(&news->arena, text);
    char *at = news->text + news->text_used;
    memcpy(at, text.p, text.n);
    news->text_used += text.n;
    return str_from(at, text.n);
}

void queue_news_entry(struct queue_news *news, const struct queue_due *entry)
{
    if (news->n >= QUEUE_NEWS_FEW) {
        bool is_first = !news->more_entries;
        news->more_entries =
            mem_array(news->more_entries, &news->capacity, news->n + 1, sizeof *news->more_entries);
        news->entries = news->more_entries;
        if (is_first)
            memcpy(news->more_entries, news->few_entries, sizeof news->few_entries);
    }
    struct queue_due *copy = &news->entries[news->n++];
    *copy = *entry;
    if (entry->destination.n)
        copy->destination = keep_text(news, entry->destination);
}

void queue_news_tick(struct queue_news *news, enum queue_number which, int by, struct str key)
{
    if (news->n_ticks >= QUEUE_NEWS_TICKS) {
        bool is_first = !news->more_ticks;
        news->more_ticks = mem_array(news->more_ticks, &news->ticks_capacity, news->n_ticks + 1,
                                     sizeof *news->more_ticks);
        news->ticks = news->more_ticks;
        if (is_first)
            memcpy(news->more_ticks, news->few_ticks, sizeof news->few_ticks);
    }
    struct queue_tick *t = &news->ticks[news->n_ticks++];
    t->which = which;
    t->by = (int8_t)by;
    t->n = (uint8_t)key.n;
    memcpy(t->key, key.p, key.n);
}

static void tell(struct queue *queue, enum queue_kind kind, const struct queue_due *entries,
                 size_t n)
{
    struct queue_sink *sink = queue->sinks[kind == QUEUE_REMOTE];
    if (sink)
        sink->due(sink, entries, n);
}

void queue_news_tell(struct queue *queue, struct queue_news **news, uint64_t version)
{
    struct queue_news *s = *news;
    queue_lease_count(queue, s->shard);
    queue_tally_hear(queue, s->shard, s->ticks, s->n_ticks, version);
    if (s->n)
        pthread_mutex_lock(&queue->sinks_mutex);
    for (size_t i = 0, n; i < s->n; i += n) {
        for (n = 1; i + n < s->n && s->entries[i + n].kind == s->entries[i].kind;)
            n++;
        tell(queue, s->entries[i].kind, &s->entries[i], n);
    }
    if (s->n)
        pthread_mutex_unlock(&queue->sinks_mutex);
    queue_news_free(news);
}
