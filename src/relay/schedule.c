/* The scheduler: turns, batches and what comes of them. See schedule_int.h.
 *
 * A turn is one batch: a destination with one message and one with a hundred thousand come along
 * equally often. A batch that its host failed goes back to the front of its destination, whose next
 * turn finds the next host; when all hosts are left alone, what is there goes back to the queue. */
#include "relay/schedule_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum {
    NEAR = 8,                 /* numbers of an item that are passed over in search of its others */
    TICK = 1000,              /* ms until a place is looked for again */
    HOPELESS_ANSWER_MAX = 300 /* seconds that a permanent answer is believed at most */
};

void schedule_init(struct schedule *s, struct schedule_driver *driver,
                   const struct schedule_limits *limits)
{
    memset(s, 0, sizeof *s);
    s->driver = driver;
    s->limits = *limits;
    random_bytes(s->key, sizeof s->key);
    map_init(&s->entries);
    map_init(&s->destinations);
    map_init(&s->peers);
    struct list *lists[] = {&s->turns,         &s->want_place,   &s->want_answers,
                            &s->want_question, &s->want_put_off, &s->resting,
                            &s->idle,          &s->fresh,        &s->unused};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_init(lists[i]);
}

void schedule_limit(struct schedule *s, const struct schedule_limits *limits)
{
    s->limits = *limits;
}

static void free_all_destinations(struct schedule *s)
{
    size_t slot = 0;
    struct map_node *node;
    while ((node = map_each(&s->destinations, &slot, NULL)) != NULL)
        destination_free(s, CONTAINER(node, struct destination, node));
}

void schedule_fini(struct schedule *s)
{
    size_t slot = 0;
    while (s->entries.count)
        entry_free(s, CONTAINER(map_each(&s->entries, &slot, NULL), struct entry, node));
    free_all_destinations(s);
    while (s->blocks) {
        void *block = s->blocks;
        memcpy(&s->blocks, block, sizeof s->blocks); /* its first member */
        free(block);
    }
    map_fini(&s->entries);
    map_fini(&s->destinations);
    map_fini(&s->peers);
}

#define LOOK_AGAIN NS_PER_SEC

/* --- entries come ----------------------------------------------------------------------------- */

/* Left alone no longer, nor are its hosts. What is known of where it is stays, but for a failure.
 */
static void press(struct destination *d)
{
    d->until = 0;
    if (d->state == DESTINATION_FAILED)
        d->answer_until = 0;
    for (size_t i = 0; i < d->n_targets; i++)
        d->peers[i]->until = 0;
}

static size_t share_of(const struct schedule *s)
{
    return s->limits.entries / 2 + 1;
}

enum rc schedule_add(struct schedule *s, const struct queue_due *due)
{
    struct entry *known = entry_find(s, due->id, due->number);
    if (known) {
        known->is_again = known->is_under_way;
        if (due->is_pressing)
            press(known->destination);
        return RC_EXISTS;
    }
    if (s->entries.count >= s->limits.entries)
        return RC_LIMIT;
    struct destination *d = destination_get(s, due->destination, due->tls);
    if (d->n_entries >= share_of(s)) {
        d->is_cut = true;
        return RC_AGAIN;
    }
    struct entry *e = entry_new(s, due->id, due->number);
    e->destination = d;
    list_add_tail(&d->entries, &e->link);
    d->n_entries++;
    if (due->is_pressing)
        press(d);
    destination_rest(s, d);
    if (list_is_empty(&d->turn))
        destination_turn(s, d);
    return RC_OK;
}

/* --- batches ---------------------------------------------------------------------------------- */

static void move_to_batch(struct batch *b, struct entry *e)
{
    struct destination *d = e->destination;
    list_remove(&e->link);
    list_add_tail(&b->entries, &e->link);
    e->is_under_way = true;
    b->was_tried |= e->was_tried;
    d->n_entries--;
    d->n_under_way++;
    b->n++;
}

/* A destination that was cut is looked for again when half of its share is gone. */
static void note_room(struct schedule *s, struct destination *d)
{
    if (!d->is_cut || d->n_entries > share_of(s) / 2)
        return;
    d->is_cut = false;
    s->has_room_again = true;
}

static struct batch *batch_new(struct schedule *s, struct destination *d, enum batch_kind kind)
{
    struct batch *b = mem_zero(sizeof *b);
    b->kind = kind;
    b->destination = d;
    list_init(&b->entries);
    b->id = CONTAINER(list_first(&d->entries), struct entry, link)->id;
    s->n_under_way++;
    LIST_EACH_SAFE (&d->entries, it) {
        struct entry *e = CONTAINER(it, struct entry, link);
        if (b->n == s->limits.recipients || memcmp(e->id.b, b->id.b, sizeof b->id.b) != 0)
            break;
        move_to_batch(b, e);
    }
    note_room(s, d);
    return b;
}

static void batch_free(struct schedule *s, struct batch *b)
{
    s->n_under_way--;
    free(b->failure);
    free(b);
}

static void take_back(struct schedule *s, struct entry *e)
{
    struct destination *d = e->destination;
    list_remove(&e->link);
    list_add_head(&d->entries, &e->link);
    e->is_under_way = e->is_again = false;
    d->n_entries++;
    d->n_under_way--;
    if (list_is_empty(&d->turn))
        destination_turn(s, d);
}

/* Back to the front of their destinations, in their order. */
static void return_entries(struct schedule *s, struct batch *b)
{
    while (!list_is_empty(&b->entries))
        take_back(s, CONTAINER(b->entries.prev, struct entry, link));
}

static void end_batch(struct schedule *s, struct batch *b)
{
    while (!list_is_empty(&b->entries)) {
        struct entry *e = CONTAINER(list_first(&b->entries), struct entry, link);
        struct destination *d = e->destination;
        if (e->is_again) {
            e->was_tried = false;
            take_back(s, e);
            continue;
        }
        entry_free(s, e);
        d->n_under_way--;
        destination_rest(s, d);
    }
    if (b->kind != BATCH_SEND)
        s->n_put_off--;
    batch_free(s, b);
}

/* Back to the queue, one batch a turn: as long as the destination is left alone, or for good. */
static void put_off(struct schedule *s, struct destination *d)
{
    if (s->n_put_off >= s->limits.put_off) {
        destination_wait(d, &s->want_put_off);
        return;
    }
    bool is_hopeless = d->failure->outcome.rc == RC_PERM;
    struct batch *b = batch_new(s, d, is_hopeless ? BATCH_FAIL : BATCH_PUT_OFF);
    failure_copy(&b->failure, d->failure);
    b->not_before = d->until;
    s->n_put_off++;
    if (is_hopeless)
        d->bounced += b->n;
    else
        d->deferred += b->n;
    s->driver->put_off(s->driver, b);
    destination_turn(s, d);
}

/* --- questions -------------------------------------------------------------------------------- */

static void ask(struct schedule *s, struct destination *d)
{
    if (s->n_questions >= s->limits.questions) {
        destination_wait(d, &s->want_question);
        return;
    }
    destination_forget_answer(s, d);
    d->state = DESTINATION_ASKING;
    s->n_questions++;
    s->driver->ask(s->driver, d);
}

static void take_targets(struct schedule *s, struct destination *d, uint64_t now)
{
    const struct relay_where *w = &d->where;
    d->state = DESTINATION_KNOWN;
    d->failures = 0;
    d->answer_until = now + w->ttl * NS_PER_SEC;
    d->peers = mem_alloc((w->n_targets + 1) * sizeof(struct peer *));
    d->n_targets = w->n_targets;
    for (size_t i = 0; i < w->n_targets; i++)
        d->peers[i] = peer_get(s, &w->targets[i]);
}

static void take_refusal(struct schedule *s, struct destination *d, uint64_t now)
{
    uint64_t ttl = d->where.ttl < HOPELESS_ANSWER_MAX ? d->where.ttl : HOPELESS_ANSWER_MAX;
    bool is_hopeless = d->where.outcome.rc == RC_PERM;
    failure_set(&d->failure, &d->where.outcome);
    d->state = DESTINATION_FAILED;
    d->answer_until = now + (ttl ? ttl : 1) * NS_PER_SEC;
    if (is_hopeless)
        return;
    d->failure->outcome.rc = RC_TEMP;
    d->failures++;
    d->until = now + backoff_host(&s->limits.backoff, d->failures, s->driver->random(s->driver));
    d->answer_until = d->until;
}

void schedule_answered(struct schedule *s, struct destination *d, uint64_t now)
{
    s->n_questions--;
    if (d->where.outcome.rc == RC_OK)
        take_targets(s, d, now);
    else
        take_refusal(s, d, now);
    arena_fini(&d->where.arena);
    d->where.targets = NULL;
    d->where.n_targets = 0;
    destination_turn(s, d);
    destination_rest(s, d);
}

/* --- hosts ------------------------------------------------------------------------------------ */

/* The first one that is not left alone. */
static struct peer *first_of(const struct destination *d, uint64_t now)
{
    for (size_t i = 0; i < d->n_targets; i++)
        if (d->peers[i]->until <= now)
            return d->peers[i];
    return NULL;
}

/* The same message for other destinations whose host this is too goes along [RFC5321 4.5.4.1]. */
static void gather(struct schedule *s, struct batch *b, const struct peer *p, uint64_t now)
{
    uint16_t number = CONTAINER(b->entries.prev, struct entry, link)->number;
    for (unsigned missed = 0; missed < NEAR && b->n < s->limits.recipients; missed++) {
        struct entry *e = entry_find(s, b->id, ++number);
        const struct destination *d = e ? e->destination : NULL;
        if (!e || e->is_under_way || d->state != DESTINATION_KNOWN || d->until > now ||
            first_of(d, now) != p)
            continue;
        move_to_batch(b, e);
        note_room(s, e->destination);
        missed = 0;
    }
}

static void send_next(struct schedule *s, struct destination *d, struct link *l, uint64_t now)
{
    struct batch *b = batch_new(s, d, BATCH_SEND);
    gather(s, b, l->peer, now);
    b->link = l;
    l->batch = b;
    s->driver->send(s->driver, b);
    destination_turn(s, d);
}

/* Every host is left alone: so is the destination, until the first of them is tried again. */
static void leave_alone(struct schedule *s, struct destination *d)
{
    const struct failure *why = NULL;
    d->until = UINT64_MAX;
    for (size_t i = 0; i < d->n_targets; i++) {
        const struct peer *p = d->peers[i];
        if (p->until < d->until)
            d->until = p->until;
        if (!why || (why->outcome.rc == RC_PERM && p->failure->outcome.rc != RC_PERM))
            why = p->failure;
    }
    failure_copy(&d->failure, why);
    destination_turn(s, d);
}

static void wait_for_place(struct schedule *s, struct destination *d, struct peer *p)
{
    struct list *want = link_may_be_slow(s, p) ? &s->want_place : &s->want_answers;
    destination_wait(d, p->n_new || p->n_busy ? &p->waiting : want);
}

static void dispatch(struct schedule *s, struct destination *d, uint64_t now)
{
    struct peer *full = NULL;
    for (size_t i = 0; i < d->n_targets; i++) {
        struct peer *p = d->peers[i];
        if (p->until > now)
            continue;
        if (full && p->target.preference != full->target.preference)
            break; /* the better hosts are only busy */
        struct link *l = link_take(s, p);
        if (l) {
            send_next(s, d, l, now);
            return;
        }
        if (peer_has_room(s, p)) {
            bool is_place = link_is_place(s) && link_may_be_slow(s, p);
            if (is_place && link_open(s, p, now, &l) == RC_OK)
                send_next(s, d, l, now);
            else
                wait_for_place(s, d, p);
            return;
        }
        full = full ? full : p;
    }
    if (full)
        destination_wait(d, &full->waiting);
    else
        leave_alone(s, d);
}

/* --- turns ------------------------------------------------------------------------------------ */

static void take_turn(struct schedule *s, struct destination *d, uint64_t now)
{
    list_remove(&d->turn);
    bool is_known = d->state != DESTINATION_UNKNOWN && d->answer_until > now;
    if (!d->n_entries)
        destination_rest(s, d);
    else if (d->until > now)
        put_off(s, d);
    else if (!is_known)
        ask(s, d);
    else if (d->state == DESTINATION_FAILED)
        put_off(s, d);
    else
        dispatch(s, d, now);
}

static void wake(struct list *waiting, struct list *turns, size_t n)
{
    for (; n && !list_is_empty(waiting); n--)
        destination_wait(CONTAINER(list_first(waiting), struct destination, turn), turns);
}

static void look_at_links(struct schedule *s, uint64_t now)
{
    LIST_EACH_SAFE (&s->fresh, it) {
        struct link *l = CONTAINER(it, struct link, age);
        if (now - l->since < s->limits.slow)
            break;
        list_remove(&l->age);
        l->is_slow = true;
        s->n_new--;
        s->n_slow++;
    }
    LIST_EACH_SAFE (&s->idle, it) {
        struct link *l = CONTAINER(it, struct link, age);
        if (now - l->since < s->limits.idle && !s->is_draining)
            break;
        link_close(s, l);
    }
}

/* What is idle and was wanted by nobody's turn makes room for those that have no place. */
static void make_room(struct schedule *s)
{
    struct list *waiting = s->want_place.next;
    for (; waiting != &s->want_place && !list_is_empty(&s->idle); waiting = waiting->next)
        link_close(s, CONTAINER(list_first(&s->idle), struct link, age));
}

void schedule_run(struct schedule *s, uint64_t now)
{
    s->last_run = now;
    look_at_links(s, now);
    if (s->is_draining)
        return;
    if (link_is_place(s))
        wake(&s->want_place, &s->turns, s->limits.connections - s->n_open - s->n_new);
    if (s->n_slow < s->limits.connections)
        wake(&s->want_answers, &s->turns, s->limits.connections - s->n_slow);
    wake(&s->want_question, &s->turns, s->limits.questions - s->n_questions);
    if (s->n_put_off < s->limits.put_off)
        wake(&s->want_put_off, &s->turns, s->limits.put_off - s->n_put_off);
    /* What waits for a host that does not answer is not sent, and holds up nobody. */
    while (s->n_under_way < s->limits.under_way + s->n_slow && !list_is_empty(&s->turns))
        take_turn(s, CONTAINER(list_first(&s->turns), struct destination, turn), now);
    make_room(s);
}

uint64_t schedule_next(const struct schedule *s)
{
    uint64_t next = UINT64_MAX, at;
    if (!list_is_empty(&s->idle)) {
        at = CONTAINER(s->idle.next, struct link, age)->since + s->limits.idle;
        next = at;
    }
    if (!list_is_empty(&s->fresh)) {
        at = CONTAINER(s->fresh.next, struct link, age)->since + s->limits.slow;
        next = at < next ? at : next;
    }
    if (!list_is_empty(&s->want_place) && s->last_run + LOOK_AGAIN < next)
        next = s->last_run + LOOK_AGAIN; /* what took the place may not be ours */
    return next;
}

/* --- what came of it -------------------------------------------------------------------------- */

static void host_failed(struct schedule *s, struct link *l, const struct batch_result *result,
                        uint64_t now)
{
    struct relay_outcome outcome = {.stage = RELAY_AT_MAIL,
                                    .status = "4.4.2",
                                    .text = STR("it closes the connection without an answer")};
    if (result->host)
        outcome = *result->host;
    /* Only a greeting can say that nobody is ever served there [RFC5321 3.1], and who requires TLS
     * is told at once that there is none [RFC8689 4.2.1]; all else may be somebody's mistake that
     * will be mended. */
    bool is_refused = outcome.rc == RC_PERM &&
                      (outcome.stage == RELAY_AT_GREETING || outcome.stage == RELAY_AT_TLS);
    outcome.rc = is_refused ? RC_PERM : RC_TEMP;
    peer_failed(s, l, &outcome, now);
}

/* The link after a job. */
static void free_link(struct schedule *s, struct link *l, bool is_open, uint64_t now)
{
    l->batch = NULL;
    l->n_jobs++;
    if (!is_open)
        return; /* schedule_gone tells its end */
    schedule_ready(s, l);
    link_idle(s, l, now);
    if (l->n_jobs >= s->limits.per_connection || s->is_draining)
        link_close(s, l);
}

static void note_tried(struct batch *b, bool is_tried)
{
    LIST_EACH (&b->entries, it)
        CONTAINER(it, struct entry, link)->was_tried |= is_tried;
}

bool schedule_sent(struct schedule *s, struct batch *b, const struct batch_result *result,
                   uint64_t now)
{
    struct link *l = b->link;
    b->link = NULL;
    if (l) {
        bool is_closed_at_once = result->is_stale && !l->n_jobs;
        if (is_closed_at_once || (result->host && !result->is_stale))
            host_failed(s, l, result, now);
        else if (result->is_busy && l->peer->window > 1)
            l->peer->window--;
        else if (!result->is_busy && !result->is_stale)
            peer_succeeded(s, l->peer);
        free_link(s, l, result->is_open, now);
    }
    if (result->is_stale || result->host) {
        note_tried(b, !result->is_stale);
        return_entries(s, b);
        batch_free(s, b);
        return false;
    }
    b->destination->sent += result->n_sent;
    b->destination->deferred += result->n_deferred;
    b->destination->bounced += result->n_bounced;
    return true;
}

void schedule_settled(struct schedule *s, struct batch *b)
{
    end_batch(s, b);
}

void schedule_dropped(struct schedule *s, struct batch *b, uint64_t now)
{
    struct link *l = b->link;
    if (l) { /* it was not used */
        l->batch = NULL;
        b->link = NULL;
        if (l->state == LINK_BUSY)
            link_idle(s, l, now);
        else
            s->driver->close(s->driver, l);
    }
    end_batch(s, b);
}

/* --- the end, and new beginnings -------------------------------------------------------------- */

void schedule_drain(struct schedule *s)
{
    s->is_draining = true;
}

bool schedule_is_quiet(const struct schedule *s)
{
    return !s->n_questions && !s->n_under_way && !s->n_new && !s->n_slow && !s->n_open;
}

void schedule_renew(struct schedule *s)
{
    size_t slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&s->peers, &slot, node)) != NULL;)
        CONTAINER(node, struct peer, node)->until = 0;
    slot = 0;
    for (struct map_node *node = NULL; (node = map_each(&s->destinations, &slot, node)) != NULL;) {
        struct destination *d = CONTAINER(node, struct destination, node);
        d->until = 0;
        d->answer_until = 0;
    }
}
