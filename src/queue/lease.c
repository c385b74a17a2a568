/* queue: which shards this process works for. Each has a lease under the node's durable name, so
 * that a restart has them at once, and another node has them when this one is gone for the lease's
 * time.
 *
 * Invariants: (1) a shard is ours only before `until`, counted by our own clock from before the
 * lease was asked for; (2) every settlement asserts the epoch, so what is thought to be ours and is
 * not changes nothing; (3) with each new epoch, and when somebody else has written to the shard,
 * `round` grows: feeds begin anew there.
 *
 * Anybody may add items to any shard; who has none adds to those of others, who see by the
 * partition's version that it has moved without them.
 */
#include "queue/queue_int.h"

#include "base/random.h"

#include <stdio.h>
#include <string.h>

static const uint64_t LOOK_NS = 5 * NS_PER_SEC; /* between two looks at the versions */

struct str queue_lease_name(void)
{
    return STR("queue");
}

void queue_lease_run(struct queue *queue, const struct queue_lease_conf *conf)
{
    pthread_mutex_lock(&queue->mutex);
    snprintf(queue->node, sizeof queue->node, "%s", conf->node);
    queue->lease_ns = (conf->lease_ms ? conf->lease_ms : QUEUE_LEASE_MS) * NS_PER_MS;
    queue->is_shared = conf->is_shared;
    atomic_store(&queue->has_leases, true);
    queue->is_new = true;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

bool queue_has_shard(struct queue *queue, unsigned shard)
{
    struct queue_lease *l = &queue->leases[shard];
    return !atomic_load(&queue->has_leases) ||
           (atomic_load(&l->epoch) && clock_mono(queue->ctx.clock) < atomic_load(&l->until));
}

bool queue_is_ours(struct queue *queue, struct queue_id id)
{
    return queue_has_shard(queue, queue_shard_of(id));
}

uint64_t queue_round(struct queue *queue, unsigned shard)
{
    return atomic_load(&queue->leases[shard].round);
}

bool queue_has_all(struct queue *queue)
{
    for (unsigned i = 0; i < QUEUE_SHARDS; i++)
        if (!queue_has_shard(queue, i))
            return false;
    return true;
}

/* One of ours, so that nobody need tell us of what we add; any when we have none. */
unsigned queue_shard_to_add(struct queue *queue)
{
    unsigned first = (unsigned)(random_u64() % QUEUE_SHARDS);
    for (unsigned i = 0; i < QUEUE_SHARDS; i++)
        if (queue_has_shard(queue, (first + i) % QUEUE_SHARDS))
            return (first + i) % QUEUE_SHARDS;
    return first;
}

enum rc queue_lease_assert(struct queue *queue, struct kv_txn *txn, unsigned shard)
{
    if (!atomic_load(&queue->has_leases))
        return RC_OK;
    if (!queue_has_shard(queue, shard))
        return RC_DENIED;
    return kv_txn_assert_lease(txn, queue_lease_name(), atomic_load(&queue->leases[shard].epoch));
}

void queue_lease_count(struct queue *queue, unsigned shard)
{
    atomic_fetch_add(&queue->leases[shard].commits, 1);
}

/* --- the keeper's work ------------------------------------------------------------------------ */

static void log_change(struct queue *queue, unsigned shard, const char *event)
{
    struct log_line l;
    log_begin(&l, queue->ctx.log, queue->is_shared ? LOG_INFO : LOG_DEBUG, event);
    log_u64(&l, "shard", shard);
    log_u64(&l, "epoch", atomic_load(&queue->leases[shard].epoch));
    log_end(&l);
}

/* What was read of its index is not all. */
static void begin_round(struct queue *queue, unsigned shard)
{
    atomic_fetch_add(&queue->leases[shard].round, 1);
    pthread_mutex_lock(&queue->sinks_mutex);
    for (size_t i = 0; i < 2; i++)
        if (queue->sinks[i] && queue->sinks[i]->again)
            queue->sinks[i]->again(queue->sinks[i], shard);
    pthread_mutex_unlock(&queue->sinks_mutex);
}

/* Takes it, or goes on having it. */
static void take(struct queue *queue, unsigned shard)
{
    struct queue_lease *l = &queue->leases[shard];
    uint64_t epoch = 0, before = clock_mono(queue->ctx.clock);
    bool was_ours = queue_has_shard(queue, shard);
    enum rc rc = kv_lease_take(queue->kv, (struct kv_part){KV_QUEUE, shard}, queue_lease_name(),
                               str_of(queue->node), queue->lease_ns, &epoch);
    l->next = before + queue->lease_ns / 3;
    if (rc == RC_OK) {
        uint64_t old = atomic_exchange(&l->epoch, epoch);
        atomic_store(&l->until, before + queue->lease_ns - queue->lease_ns / 8);
        if (old != epoch || !was_ours) {
            begin_round(queue, shard);
            log_change(queue, shard, "queue-shard-taken");
        }
    } else if (rc == RC_CONFLICT) { /* somebody else has it */
        atomic_store(&l->epoch, 0);
        if (was_ours)
            log_change(queue, shard, "queue-shard-lost");
    }
}

/* Whether others have written to it since the last look. */
static void look(struct queue *queue, unsigned shard)
{
    struct queue_lease *l = &queue->leases[shard];
    uint64_t version, commits = atomic_load(&l->commits);
    if (kv_version(queue->kv, (struct kv_part){KV_QUEUE, shard}, 0, &version) != RC_OK)
        return;
    if (version - commits != l->foreign)
        begin_round(queue, shard); /* also when a commit of ours is being counted: no harm */
    l->foreign = version - commits;
}

uint64_t queue_lease_work(struct queue *queue)
{
    uint64_t now = clock_mono(queue->ctx.clock), next = UINT64_MAX;
    if (!atomic_load(&queue->has_leases))
        return UINT64_MAX;
    for (unsigned i = 0; i < QUEUE_SHARDS; i++) {
        if (queue->leases[i].next <= now) {
            take(queue, i);
            return 0; /* one at a time: others wait for the keeper too */
        }
        next = queue->leases[i].next < next ? queue->leases[i].next : next;
    }
    if (!queue->is_shared)
        return next;
    if (queue->next_look <= now) {
        queue->next_look = now + LOOK_NS;
        for (unsigned i = 0; i < QUEUE_SHARDS; i++)
            if (queue_has_shard(queue, i))
                look(queue, i);
    }
    return queue->next_look < next ? queue->next_look : next;
}

void queue_lease_end(struct queue *queue)
{
    for (unsigned i = 0; i < QUEUE_SHARDS && queue->is_shared; i++)
        if (queue_has_shard(queue, i))
            (void)kv_lease_give(queue->kv, (struct kv_part){KV_QUEUE, i}, queue_lease_name(),
                                str_of(queue->node));
}
