/* The relay in a process: the scheduler with its lock, its inbox and its keeper. See shell_int.h.
 */
#include "relay/shell_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- settings --------------------------------------------------------------------------------- */

struct relay_settings *relay_settings_new(void)
{
    struct relay_settings *settings = mem_zero(sizeof *settings);
    atomic_init(&settings->refs, 1);
    return settings;
}

void relay_settings_unref(struct relay_settings **settings)
{
    struct relay_settings *s = *settings;
    *settings = NULL;
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    arena_fini(&s->arena);
    free(s);
}

static void or_default(uint32_t *value, uint32_t usual)
{
    *value = *value ? *value : usual;
}

static void or_usual(uint64_t *value, uint64_t usual)
{
    *value = *value ? *value : usual;
}

static void fill_in(struct relay_settings *s)
{
    or_usual(&s->retry_first_ms, 300000);
    or_usual(&s->retry_max_ms, 14400000);
    or_usual(&s->retry_grey_ms, 60000);
    or_default(&s->connections, 1000);
    or_default(&s->per_host, 20);
    or_default(&s->per_connection, 100);
    or_default(&s->recipients, 100);
    or_default(&s->entries, 262144);
    or_usual(&s->connect_ms, 30000);
    or_usual(&s->command_ms, 300000);
}

enum {
    QUESTIONS = 500,      /* of DNS at once */
    PUT_OFF = 64,         /* batches on their way back to the queue at once */
    UNSETTLED = 1024,     /* batches that are sent: two groups of the committer */
    CLOSE_SECONDS = 30,   /* after the last session has ended */
    DESTINATIONS = 20000, /* remembered while they have nothing to do */
    SLOW_MS = 500         /* after which a connection that is being made gives its place away */
};

static struct schedule_limits limits_of(const struct relay_settings *s)
{
    return (struct schedule_limits){.entries = s->entries,
                                    .destinations = DESTINATIONS,
                                    .connections = s->connections,
                                    .per_host = s->per_host,
                                    .per_connection = s->per_connection,
                                    .recipients = s->recipients,
                                    .questions = QUESTIONS,
                                    .put_off = PUT_OFF,
                                    .under_way = s->connections + PUT_OFF + UNSETTLED,
                                    .idle = s->idle_ms * NS_PER_MS,
                                    .slow = SLOW_MS * NS_PER_MS,
                                    .backoff = {.first = s->retry_first_ms * NS_PER_MS,
                                                .most = s->retry_max_ms * NS_PER_MS,
                                                .grey = s->retry_grey_ms * NS_PER_MS}};
}

/* --- the mutex -------------------------------------------------------------------------------- */

static void remember(struct relay *relay)
{
    atomic_store(&relay->holder, (uintptr_t)pthread_self());
}

void relay_lock(struct relay *relay)
{
    pthread_mutex_lock(&relay->mutex);
    remember(relay);
}

static bool try_lock(struct relay *relay)
{
    if (pthread_mutex_trylock(&relay->mutex) != 0)
        return false;
    remember(relay);
    return true;
}

void relay_unlock(struct relay *relay)
{
    atomic_store(&relay->holder, 0);
    pthread_mutex_unlock(&relay->mutex);
}

bool relay_has_lock(struct relay *relay)
{
    return atomic_load(&relay->holder) == (uintptr_t)pthread_self();
}

/* --- the inbox -------------------------------------------------------------------------------- */

void relay_wake_at(struct relay *relay, uint64_t at)
{
    if (at >= relay->keeper_at)
        return;
    relay->keeper_at = at;
    pthread_cond_signal(&relay->changed);
}

/* The mutex is held. False: there was nothing. */
static bool empty_inbox(struct relay *relay)
{
    struct list taken;
    list_init(&taken);
    pthread_mutex_lock(&relay->inbox_mutex);
    list_splice_tail(&taken, &relay->inbox);
    pthread_mutex_unlock(&relay->inbox_mutex);
    bool is_any = !list_is_empty(&taken);
    uint64_t now = clock_wall(relay->ctx.clock);
    while (!list_is_empty(&taken)) {
        struct event *event = CONTAINER(list_first(&taken), struct event, link);
        list_remove(&event->link);
        event->happen(relay, event, now);
    }
    return is_any;
}

static void work(struct relay *relay)
{
    while (empty_inbox(relay))
        schedule_run(&relay->schedule, clock_wall(relay->ctx.clock));
    if (relay->schedule.has_room_again)
        page_room(relay, clock_wall(relay->ctx.clock));
    relay->schedule.has_room_again = false;
    relay_wake_at(relay, schedule_next(&relay->schedule));
    if (relay->is_ending)
        pthread_cond_signal(&relay->changed);
}

static bool has_mail(struct relay *relay)
{
    pthread_mutex_lock(&relay->inbox_mutex);
    bool is_any = !list_is_empty(&relay->inbox);
    pthread_mutex_unlock(&relay->inbox_mutex);
    return is_any;
}

void relay_tell(struct relay *relay, struct event *event)
{
    atomic_fetch_add(&relay->inside, 1);
    pthread_mutex_lock(&relay->inbox_mutex);
    list_add_tail(&relay->inbox, &event->link);
    pthread_mutex_unlock(&relay->inbox_mutex);
    /* Whoever has the mutex looks again after giving it back. */
    while (has_mail(relay) && try_lock(relay)) {
        work(relay);
        relay_unlock(relay);
    }
    atomic_fetch_sub(&relay->inside, 1); /* the last touch */
}

/* For those who wait for the mutex. */
static void enter(struct relay *relay)
{
    atomic_fetch_add(&relay->inside, 1);
    relay_lock(relay);
}

static void leave(struct relay *relay)
{
    do {
        work(relay);
        relay_unlock(relay);
    } while (has_mail(relay) && try_lock(relay));
    atomic_fetch_sub(&relay->inside, 1);
}

/* --- what the scheduler asks for -------------------------------------------------------------- */

static uint64_t dice(struct schedule_driver *driver)
{
    return random_u64();
}

struct question {
    struct event event;
    struct relay *relay;
    struct destination *destination;
    struct relay_settings *settings;
};

static void take_answer(struct relay *relay, struct event *event, uint64_t now)
{
    struct question *q = CONTAINER(event, struct question, event);
    struct destination *d = q->destination;
    relay_settings_unref(&q->settings);
    free(q);
    d->own = NULL;
    schedule_answered(&relay->schedule, d, now);
}

static void answered(struct relay_where *where)
{
    struct question *q = CONTAINER(where, struct destination, where)->own;
    relay_tell(q->relay, &q->event);
}

static void ask(struct schedule_driver *driver, struct destination *d)
{
    struct relay *relay = CONTAINER(driver, struct relay, driver);
    struct question *q = mem_zero(sizeof *q);
    q->event.happen = take_answer;
    q->relay = relay;
    q->destination = d;
    q->settings = relay->settings;
    atomic_fetch_add(&q->settings->refs, 1);
    d->own = q;
    d->where = (struct relay_where){
        .done = answered, .domain = d->name, .settings = q->settings, .tls = d->tls};
    relay_where(&relay->house, &d->where);
}

/* What a session tells, in the order in which it does. */
struct session_news {
    struct event ready, gone;
    struct relay *relay;
    struct link *link;
};

static void take_ready(struct relay *relay, struct event *event, uint64_t now)
{
    schedule_ready(&relay->schedule, CONTAINER(event, struct session_news, ready)->link);
}

static void take_gone(struct relay *relay, struct event *event, uint64_t now)
{
    struct session_news *news = CONTAINER(event, struct session_news, gone);
    schedule_gone(&relay->schedule, news->link);
    free(news);
}

static void session_ready(struct relay_session_owner *owner, struct relay_session *session)
{
    struct session_news *news = CONTAINER(owner, struct link, owner)->own;
    relay_tell(news->relay, &news->ready);
}

/* The pointer dies now, under the mutex; this may be inside a call of ours that has it. */
static void session_gone(struct relay_session_owner *owner, struct relay_session *session)
{
    struct link *l = CONTAINER(owner, struct link, owner);
    struct session_news *news = l->own;
    struct relay *relay = news->relay;
    bool is_inside = relay_has_lock(relay);
    if (!is_inside)
        relay_lock(relay);
    l->session = NULL;
    if (!is_inside)
        relay_unlock(relay);
    relay_tell(relay, &news->gone);
}

static enum rc open_session(struct schedule_driver *driver, struct link *l)
{
    struct relay *relay = CONTAINER(driver, struct relay, driver);
    struct session_news *news = mem_zero(sizeof *news);
    *news = (struct session_news){{.happen = take_ready}, {.happen = take_gone}, relay, l};
    l->own = news;
    l->owner = (struct relay_session_owner){.ready = session_ready, .gone = session_gone};
    enum rc rc = relay_session_open(&relay->house, relay->settings, &l->peer->target, &l->owner,
                                    &l->session);
    if (rc != RC_OK)
        free(news);
    return rc;
}

static void close_session(struct schedule_driver *driver, struct link *l)
{
    if (l->session)
        relay_session_close(l->session);
}

static void begin(struct schedule_driver *driver, struct batch *b)
{
    delivery_begin(CONTAINER(driver, struct relay, driver), b);
}

/* --- what the queue says ---------------------------------------------------------------------- */

struct announcement {
    struct event event;
    struct arena arena;
    struct queue_due *entries;
    size_t n;
};

static void take_announcement(struct relay *relay, struct event *event, uint64_t now)
{
    struct announcement *a = CONTAINER(event, struct announcement, event);
    for (size_t i = 0; i < a->n; i++)
        page_entry(relay, &a->entries[i], now);
    arena_fini(&a->arena);
    free(a);
}

static void announced(struct queue_sink *sink, const struct queue_due *entries, size_t n)
{
    struct relay *relay = CONTAINER(sink, struct relay, sink);
    struct announcement *a = mem_zero(sizeof *a);
    a->event.happen = take_announcement;
    a->entries = arena_alloc(&a->arena, n * sizeof *a->entries);
    a->n = n;
    for (size_t i = 0; i < n; i++) {
        a->entries[i] = entries[i];
        a->entries[i].destination = arena_dup(&a->arena, entries[i].destination);
    }
    relay_tell(relay, &a->event);
}

struct new_round {
    struct event event;
    unsigned shard;
};

static void take_round(struct relay *relay, struct event *event, uint64_t now)
{
    struct new_round *r = CONTAINER(event, struct new_round, event);
    const struct queue_id any = {{(unsigned char)r->shard}};
    page_again(relay, any, now);
    free(r);
}

/* The shard has become ours, or others have added to it. */
static void again(struct queue_sink *sink, unsigned shard)
{
    struct relay *relay = CONTAINER(sink, struct relay, sink);
    struct new_round *r = mem_zero(sizeof *r);
    r->event.happen = take_round;
    r->shard = shard;
    relay_tell(relay, &r->event);
}

/* --- the keeper ------------------------------------------------------------------------------- */

/* The mutex is held. */
static void sleep_until(struct relay *relay, uint64_t at)
{
    struct timespec until;
    uint64_t now = clock_wall(relay->ctx.clock);
    uint64_t wait = at > now ? at - now : 0;
    if (wait > 60 * NS_PER_SEC) /* the wall clock may be set */
        wait = 60 * NS_PER_SEC;
    clock_gettime(CLOCK_MONOTONIC, &until);
    wait += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(wait / NS_PER_SEC);
    until.tv_nsec = (long)(wait % NS_PER_SEC);
    atomic_store(&relay->holder, 0);
    pthread_cond_timedwait(&relay->changed, &relay->mutex, &until);
    remember(relay);
}

static void *keeper_main(void *arg)
{
    struct relay *relay = arg;
    relay_lock(relay);
    while (!relay->is_ending) {
        relay->keeper_at = UINT64_MAX;
        relay_unlock(relay);
        uint64_t next = page_read(relay, clock_wall(relay->ctx.clock));
        enter(relay);
        delivery_settle_again(relay);
        schedule_run(&relay->schedule, clock_wall(relay->ctx.clock));
        relay_wake_at(relay, next);
        leave(relay);
        relay_lock(relay);
        if (!relay->is_ending && relay->keeper_at > clock_wall(relay->ctx.clock))
            sleep_until(relay, relay->keeper_at);
    }
    relay_unlock(relay);
    return NULL;
}

/* --- beginning and end ------------------------------------------------------------------------ */

void relay_open(const struct ctx *ctx, const struct relay_conf *conf,
                struct relay_settings *settings, struct relay **out)
{
    struct relay *relay = mem_zero(sizeof *relay);
    pthread_condattr_t monotonic;
    relay->ctx = *ctx;
    relay->conf = *conf;
    relay->house = (struct relay_house){.ctx = &relay->ctx,
                                        .net = conf->net,
                                        .tls = conf->tls,
                                        .kv = conf->kv,
                                        .dns = conf->dns,
                                        .tlspol = conf->tlspol};
    relay->driver = (struct schedule_driver){dice, ask, open_session, close_session, begin, begin};
    relay->sink.due = announced;
    relay->sink.again = again;
    relay->settings = settings;
    relay->keeper_at = UINT64_MAX;
    fill_in(settings);
    pthread_mutex_init(&relay->mutex, NULL);
    pthread_mutex_init(&relay->inbox_mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&relay->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&relay->inbox);
    list_init(&relay->unsettled);
    const struct schedule_limits limits = limits_of(settings);
    schedule_init(&relay->schedule, &relay->driver, &limits);
    page_init(relay);
    relay->lane = task_lane_new("relay", conf->workers ? conf->workers : 2, 1 << 20);
    relay->house.lane = relay->lane;
    queue_sink_set(conf->queue, QUEUE_REMOTE, &relay->sink);
    relay->keeper = task_thread("relay-keeper", keeper_main, relay);
    *out = relay;
}

void relay_set(struct relay *relay, struct relay_settings *settings)
{
    fill_in(settings);
    const struct schedule_limits limits = limits_of(settings);
    enter(relay);
    struct relay_settings *old = relay->settings;
    relay->settings = settings;
    schedule_limit(&relay->schedule, &limits);
    schedule_renew(&relay->schedule);
    leave(relay);
    relay_settings_unref(&old);
}

void relay_drain(struct relay *relay)
{
    queue_sink_set(relay->conf.queue, QUEUE_REMOTE, NULL);
    enter(relay);
    relay->is_ending = true;
    schedule_drain(&relay->schedule);
    schedule_run(&relay->schedule, clock_wall(relay->ctx.clock));
    pthread_cond_signal(&relay->changed);
    leave(relay);
}

void relay_close(struct relay **relay)
{
    struct relay *r = *relay;
    if (!r)
        return;
    relay_drain(r);
    pthread_join(r->keeper, NULL);
    relay_lock(r);
    bool is_quiet = schedule_is_quiet(&r->schedule);
    uint64_t end = clock_mono(&clock_system) + CLOSE_SECONDS * NS_PER_SEC;
    while (!is_quiet && clock_mono(&clock_system) < end) { /* each delivery that ends wakes it */
        sleep_until(r, clock_wall(r->ctx.clock) + NS_PER_SEC / 10);
        is_quiet = schedule_is_quiet(&r->schedule);
    }
    relay_unlock(r);
    if (!is_quiet)
        return;
    while (atomic_load(&r->inside)) /* somebody is just leaving */
        sched_yield();
    task_lane_free(&r->lane);
    schedule_fini(&r->schedule);
    relay_settings_unref(&r->settings);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->inbox_mutex);
    pthread_mutex_destroy(&r->mutex);
    free(r);
    *relay = NULL;
}
