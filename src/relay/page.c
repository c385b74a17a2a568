/* From the queue's due index into memory.
 *
 * Invariant: what is due is in memory, or its shard's `from` is not later than its time. So
 * whatever does not fit, comes later or is read again is found by a scan from there on; what is in
 * memory already is known by the scheduler and passed over. An entry is a hint: whether it holds is
 * seen when its item is loaded. */
#include "relay/shell_int.h"

/* SHARE_MS: should nobody tell that a destination which was cut has room again. */
enum { PAGE = 256, ROOM_MS = 100, AGAIN_MS = 1000, SHARE_MS = 60000 };

void page_init(struct relay *relay)
{
    for (size_t i = 0; i < QUEUE_SHARDS; i++)
        relay->shards[i] = (struct shard){0};
}

static void look(struct relay *relay, struct shard *shard, uint64_t from, uint64_t at)
{
    shard->from = from < shard->from ? from : shard->from;
    shard->at = at < shard->at ? at : shard->at;
    relay_wake_at(relay, shard->at);
}

void page_again(struct relay *relay, struct queue_id id, uint64_t at)
{
    look(relay, &relay->shards[queue_shard_of(id)], 0, at);
}

void page_later(struct relay *relay, struct queue_id id, uint64_t due)
{
    look(relay, &relay->shards[queue_shard_of(id)], due, due);
}

void page_entry(struct relay *relay, const struct queue_due *entry, uint64_t now)
{
    enum rc rc = entry->due > now ? RC_EOF : schedule_add(&relay->schedule, entry);
    uint64_t at = rc == RC_EOF     ? entry->due
                  : rc == RC_LIMIT ? now + ROOM_MS * NS_PER_MS
                                   : now + SHARE_MS * NS_PER_MS;
    if (rc == RC_EOF || rc == RC_LIMIT || rc == RC_AGAIN)
        look(relay, &relay->shards[queue_shard_of(entry->id)], entry->due, at);
}

void page_room(struct relay *relay, uint64_t now)
{
    for (size_t i = 0; i < QUEUE_SHARDS; i++)
        if (relay->shards[i].from <= now)
            look(relay, &relay->shards[i], relay->shards[i].from, now);
}

/* A fresh scan only when a good part is free again, not for each one that goes. */
static bool has_room(const struct relay *relay)
{
    const struct schedule *s = &relay->schedule;
    return s->entries.count <= s->limits.entries - s->limits.entries / 4;
}

/* Puts a page into memory. False when that is full: *from is where to go on. */
static bool take_page(struct relay *relay, const struct queue_due_page *page, uint64_t now,
                      uint64_t *from)
{
    bool is_full = false;
    relay_lock(relay);
    for (size_t i = 0; i < page->n && !is_full; i++) {
        const struct queue_due *e = &page->entries[i];
        enum rc rc = schedule_add(&relay->schedule, e);
        if (rc == RC_AGAIN) /* those behind it may have room */
            look(relay, &relay->shards[queue_shard_of(e->id)], e->due, now + SHARE_MS * NS_PER_MS);
        is_full = rc == RC_LIMIT;
        *from = e->due;
    }
    schedule_run(&relay->schedule, now);
    relay_unlock(relay);
    return !is_full;
}

/* One shard from `from` on; *at is where to go on when it is full. */
static enum rc read_shard(struct relay *relay, unsigned shard, uint64_t now, uint64_t *from,
                          uint64_t *at)
{
    struct queue_due after = {.kind = QUEUE_REMOTE, .due = *from};
    struct queue_due_range range = {
        .kind = QUEUE_REMOTE, .shard = shard, .after = &after, .until = now};
    struct queue_due_page page = {.has_more = true};
    struct arena arena = {0};
    enum rc rc = RC_OK;
    bool has_place = true;
    while (rc == RC_OK && page.has_more && has_place) {
        arena_reset(&arena);
        rc = queue_due_scan(relay->conf.queue, &range, PAGE, &arena, &page);
        if (rc != RC_OK)
            break;
        has_place = take_page(relay, &page, now, from);
        if (page.n)
            after = page.entries[page.n - 1];
        after.destination = (struct str){0};
    }
    arena_fini(&arena);
    *at = has_place ? page.next_due : now + ROOM_MS * NS_PER_MS;
    *from = has_place ? page.next_due : *from;
    return rc;
}

/* The mutex is held: whether it is time. What is announced from now on counts on top. The queue
 * tells when a shard becomes ours. */
static bool begin_shard(struct relay *relay, struct shard *shard, uint64_t now, uint64_t *from)
{
    if (shard->at > now || relay->is_ending)
        return false;
    if (!queue_has_shard(relay->conf.queue, (unsigned)(shard - relay->shards))) {
        shard->from = 0;
        shard->at = UINT64_MAX;
        return false;
    }
    if (!has_room(relay)) {
        shard->at = now + ROOM_MS * NS_PER_MS;
        return false;
    }
    *from = shard->from;
    *shard = (struct shard){.from = UINT64_MAX, .at = UINT64_MAX};
    return true;
}

uint64_t page_read(struct relay *relay, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    relay_lock(relay);
    for (unsigned i = 0; i < QUEUE_SHARDS; i++) {
        struct shard *shard = &relay->shards[i];
        uint64_t from, at;
        if (begin_shard(relay, shard, now, &from)) {
            relay_unlock(relay);
            enum rc rc = read_shard(relay, i, now, &from, &at);
            if (rc != RC_OK)
                log_event(relay->ctx.log, LOG_ERROR, "queue-unreadable", "cause", rc_name(rc),
                          NULL);
            relay_lock(relay);
            look(relay, shard, from, rc == RC_OK ? at : now + AGAIN_MS * NS_PER_MS);
        }
        next = shard->at < next ? shard->at : next;
    }
    relay_unlock(relay);
    return next;
}
