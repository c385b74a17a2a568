/* relay, inside: what drives the scheduler in a process.
 *
 * LOCK. The scheduler is worked under one mutex. What happens elsewhere (a session's answer, a
 * commit, an answer of DNS, the queue's announcements) is put into the inbox, and whoever gets the
 * mutex takes out all that is there: nobody waits for it, and under load one thread does the work
 * of many at once. Only that a session has ended is noted under the mutex at once, since its
 * pointer dies; that may happen inside a call to the session, by who has the mutex already.
 *
 * A DELIVERY is a batch of the scheduler with what it needs: loaded and signed on a worker, sent by
 * its session, settled by deliver, and gone when that is durable.
 */
#ifndef RELAY_SHELL_INT_H
#define RELAY_SHELL_INT_H

#include "relay/schedule_int.h"

#include "task/task.h"

/* Something that happened, for under the mutex. */
struct event {
    struct list link;
    void (*happen)(struct relay *relay, struct event *event, uint64_t now);
};

struct shard {
    uint64_t from; /* what is due before is in memory */
    uint64_t at;   /* when to look there */
};

struct relay {
    struct ctx ctx;
    struct relay_conf conf;
    struct relay_house house;
    struct schedule_driver driver;
    struct queue_sink sink;
    struct task_lane *lane;
    pthread_mutex_t mutex;    /* of schedule, settings and shards */
    _Atomic uintptr_t holder; /* the thread that has it; 0: none */
    struct schedule schedule;
    struct relay_settings *settings;
    struct shard shards[QUEUE_SHARDS];
    struct list unsettled; /* deliveries whose commit is to be tried again */
    pthread_mutex_t inbox_mutex;
    struct list inbox;
    _Atomic unsigned inside; /* threads that still look at the relay */
    pthread_t keeper;        /* waits for the time, and reads the due index */
    pthread_cond_t changed;
    uint64_t keeper_at; /* when it looks again */
    bool is_ending;
};

/* --- relay.c ---------------------------------------------------------------------------------- */

void relay_lock(struct relay *relay);
void relay_unlock(struct relay *relay);
bool relay_has_lock(struct relay *relay); /* this thread does */
/* From any thread; also from inside the driver's functions. */
void relay_tell(struct relay *relay, struct event *event);
/* The mutex is held: the keeper looks no later than then. */
void relay_wake_at(struct relay *relay, uint64_t at);

/* --- page.c: from the queue into memory ------------------------------------------------------- */

void page_init(struct relay *relay);
/* The mutex is held. An entry of the queue, announced or read. */
void page_entry(struct relay *relay, const struct queue_due *entry, uint64_t now);
/* The mutex is held. Something of this item was dropped that is still due: look for it then. */
void page_again(struct relay *relay, struct queue_id id, uint64_t at);
/* The mutex is held. Something of this item left memory that is due then. */
void page_later(struct relay *relay, struct queue_id id, uint64_t due);
/* The mutex is held. A destination that had its share of the memory has room again. */
void page_room(struct relay *relay, uint64_t now);
/* Reads what is due and not in memory; without the mutex. When to call again. */
uint64_t page_read(struct relay *relay, uint64_t now);

/* --- delivery.c ------------------------------------------------------------------------------- */

/* The driver's send and put_off: the mutex is held. */
void delivery_begin(struct relay *relay, struct batch *batch);
/* The mutex is held: tries the commits again that failed. */
void delivery_settle_again(struct relay *relay);

#endif
