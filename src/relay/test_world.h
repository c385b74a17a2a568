/* For the tests of the scheduler: a world of its own, with hosts that answer, refuse or never
 * answer, a queue that gives back what was put off, and a clock that jumps from one event to the
 * next. Not part of any library. */
#ifndef RELAY_TEST_WORLD_H
#define RELAY_TEST_WORLD_H

#include "relay/schedule_int.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>

#define MS(n)  ((n)*NS_PER_MS)
#define SEC(n) ((n)*NS_PER_SEC)

/* --- the world -------------------------------------------------------------------------------- */

enum happening { ANSWERED, CONNECTED, SENT, SETTLED, GONE, DUE };

struct event {
    uint64_t at, order;
    enum happening what;
    void *subject;
};

struct waiting { /* in the queue of the world, until it is due */
    struct queue_id id;
    uint16_t number;
    char domain[32];
};

enum temper { LIVE, REFUSING, SILENT, UNWELCOMING, UNSAFE };

struct host {
    enum temper temper;
    uint64_t answers; /* ns for a transaction */
    unsigned most;    /* connections; 0: any number */
    unsigned open, opened, peak;
    enum rc reply; /* to each recipient */
    size_t taken, transactions;
    bool is_stale; /* the next transaction finds the connection closed */
};

enum { HOSTS = 12000 };

struct world {
    struct schedule_driver driver;
    struct schedule s;
    struct event *events; /* a heap, from 1 on */
    size_t n_events, events_size;
    uint64_t now, order, dice;
    struct host *hosts;
    size_t sent, put_off, failed, settled, live_left;
    uint64_t live_done; /* when the last of live_left was sent */
    uint64_t settling;  /* how long that takes of what was sent */
    enum rc dns;
    unsigned mx_per_domain; /* hosts of domain n: n, n + 1, ... */
    unsigned one_host;      /* all domains have this host */
    unsigned max_batch;
    uint64_t retries; /* 0: what is put off stays away */
};

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void push(struct world *w, uint64_t at, enum happening what, void *subject)
{
    w->events = mem_array(w->events, &w->events_size, w->n_events + 2, sizeof *w->events);
    struct event e = {at, w->order++, what, subject};
    size_t i = ++w->n_events;
    for (; i > 1 && is_before(&e, &w->events[i / 2]); i /= 2)
        w->events[i] = w->events[i / 2];
    w->events[i] = e;
}

static struct event pop(struct world *w)
{
    struct event first = w->events[1], last = w->events[w->n_events--];
    size_t i = 1;
    for (size_t c = 2; c <= w->n_events; c = i * 2) {
        c += c < w->n_events && is_before(&w->events[c + 1], &w->events[c]);
        if (!is_before(&w->events[c], &last))
            break;
        w->events[i] = w->events[c];
        i = c;
    }
    w->events[i] = last;
    return first;
}

static struct host *host_of(struct world *w, const struct link *l)
{
    return &w->hosts[ntohs(l->peer->target.addr.sa.sin6_port)];
}

static uint64_t dice(struct schedule_driver *driver)
{
    struct world *w = CONTAINER(driver, struct world, driver);
    return w->dice = w->dice * UINT64_C(6364136223846793005) + 1442695040888963407U;
}

static void ask(struct schedule_driver *driver, struct destination *d)
{
    struct world *w = CONTAINER(driver, struct world, driver);
    unsigned n = (unsigned)atoi(d->name.p + 1);
    struct relay_where *where = &d->where;
    *where = (struct relay_where){.domain = d->name, .tls = d->tls}; /* as relay.c does */
    where->outcome = (struct relay_outcome){.rc = w->dns, .text = STR("the words of DNS")};
    where->n_targets = w->dns == RC_OK ? w->mx_per_domain : 0;
    where->targets = arena_zero(&where->arena, (where->n_targets + 1) * sizeof *where->targets);
    for (unsigned i = 0; i < where->n_targets; i++) {
        struct relay_target *t = &where->targets[i];
        t->host = STR("mx.test");
        t->addr.sa.sin6_family = AF_INET6;
        t->addr.sa.sin6_port = htons((uint16_t)(w->one_host ? w->one_host : n + i));
        t->preference = (uint16_t)i;
        t->requires_tls = d->tls == QUEUE_TLS_REQUIRED;
    }
    where->ttl = 3600;
    push(w, w->now + MS(1), ANSWERED, d);
}

static enum rc open_link(struct schedule_driver *driver, struct link *l)
{
    struct world *w = CONTAINER(driver, struct world, driver);
    struct host *h = host_of(w, l);
    h->open++;
    h->opened++;
    h->peak = h->open > h->peak ? h->open : h->peak;
    push(w, w->now + (h->temper == SILENT ? SEC(30) : MS(1)), CONNECTED, l);
    return RC_OK;
}

static void close_link(struct schedule_driver *driver, struct link *l)
{
    struct world *w = CONTAINER(driver, struct world, driver);
    host_of(w, l)->open--;
    push(w, w->now, GONE, l);
}

static void send_batch(struct schedule_driver *driver, struct batch *b)
{
    struct world *w = CONTAINER(driver, struct world, driver);
    if (b->link->state != LINK_NEW)
        push(w, w->now + host_of(w, b->link)->answers, SENT, b);
}

static void put_off(struct schedule_driver *driver, struct batch *b)
{
    struct world *w = CONTAINER(driver, struct world, driver);
    assert_non_null(b->failure);
    assert_true(b->failure->outcome.text.n > 0);
    push(w, w->now + MS(2), SETTLED, b);
}

static void world_begin(struct world *w, uint32_t connections)
{
    *w = (struct world){.driver = {dice, ask, open_link, close_link, send_batch, put_off},
                        .now = SEC(1000000),
                        .dice = 7,
                        .mx_per_domain = 1,
                        .settling = MS(2)};
    const struct schedule_limits limits = {.entries = 262144,
                                           .destinations = 20000,
                                           .connections = connections,
                                           .per_host = 20,
                                           .per_connection = 100,
                                           .recipients = 100,
                                           .questions = 500,
                                           .put_off = 64,
                                           .under_way = 100000,
                                           .idle = SEC(5),
                                           .slow = SEC(2),
                                           .backoff = {SEC(300), SEC(14400), SEC(60)}};
    w->hosts = mem_zero(HOSTS * sizeof *w->hosts);
    for (size_t i = 0; i < HOSTS; i++)
        w->hosts[i] = (struct host){.answers = MS(5)};
    schedule_init(&w->s, &w->driver, &limits);
}

static void world_end(struct world *w)
{
    for (size_t i = 1; i <= w->n_events; i++)
        if (w->events[i].what == DUE)
            free(w->events[i].subject);
    schedule_fini(&w->s);
    free(w->events);
    free(w->hosts);
}

/* Item n, its recipient `number`, at domain n. */
static enum rc add_with(struct world *w, unsigned item, uint16_t number, unsigned domain,
                        enum queue_tls tls)
{
    struct queue_id id = {{(unsigned char)item, (unsigned char)(item >> 8),
                           (unsigned char)(item >> 16), (unsigned char)(item >> 24), 1, 2, 3, 4}};
    char name[32];
    snprintf(name, sizeof name, "d%u.test", domain);
    const struct queue_due due = {
        .id = id, .number = number, .destination = str_of(name), .tls = tls};
    return schedule_add(&w->s, &due);
}

static enum rc add(struct world *w, unsigned item, uint16_t number, unsigned domain)
{
    return add_with(w, item, number, domain, QUEUE_TLS_AS_USUAL);
}

/* One that somebody wants to go now. */
static enum rc add_pressing(struct world *w, unsigned char item, const char *domain)
{
    const struct queue_due due = {
        .id = {{item, 0, 0, 0, 1, 2, 3, 4}}, .destination = str_of(domain), .is_pressing = true};
    return schedule_add(&w->s, &due);
}

/* --- what happens ----------------------------------------------------------------------------- */

static void come_back(struct world *w, const struct batch *b)
{
    LIST_EACH (&b->entries, it) {
        const struct entry *e = CONTAINER(it, struct entry, link);
        struct waiting *due = mem_zero(sizeof *due);
        due->id = e->id;
        due->number = e->number;
        memcpy(due->domain, e->destination->name.p, e->destination->name.n);
        uint64_t jitter = dice(&w->driver) % SEC(30);
        push(w, (b->not_before > w->now ? b->not_before : w->now) + jitter, DUE, due);
    }
}

static void link_failed(struct world *w, struct link *l, enum relay_stage stage, enum rc rc)
{
    const struct relay_outcome outcome = {.rc = rc, .stage = stage, .text = STR("not today")};
    const struct batch_result result = {.host = &outcome};
    host_of(w, l)->open--;
    if (l->batch)
        assert_false(schedule_sent(&w->s, l->batch, &result, w->now));
    push(w, w->now, GONE, l);
}

static void connected(struct world *w, struct link *l)
{
    struct host *h = host_of(w, l);
    if (h->temper == SILENT || h->temper == REFUSING) {
        link_failed(w, l, RELAY_AT_CONNECT, RC_TEMP);
    } else if (h->temper == UNWELCOMING) {
        link_failed(w, l, RELAY_AT_GREETING, RC_PERM);
    } else if (h->temper == UNSAFE && l->peer->target.requires_tls) {
        link_failed(w, l, RELAY_AT_TLS, RC_PERM);
    } else if (h->most && h->open > h->most) {
        link_failed(w, l, RELAY_AT_GREETING, RC_TEMP);
    } else {
        schedule_ready(&w->s, l);
        if (l->batch)
            push(w, w->now + h->answers, SENT, l->batch);
    }
}

static void sent(struct world *w, struct batch *b)
{
    struct link *l = b->link;
    struct host *h = host_of(w, l);
    struct batch_result result = {.is_open = true, .n_sent = b->n};
    if (h->is_stale) {
        h->is_stale = false;
        h->open--;
        result = (struct batch_result){.is_stale = true};
        assert_false(schedule_sent(&w->s, b, &result, w->now));
        push(w, w->now, GONE, l);
        return;
    }
    w->max_batch = b->n > w->max_batch ? (unsigned)b->n : w->max_batch;
    w->sent += b->n;
    h->taken += b->n;
    h->transactions++;
    if (w->live_left && (w->live_left -= b->n) == 0)
        w->live_done = w->now;
    assert_true(schedule_sent(&w->s, b, &result, w->now));
    push(w, w->now + w->settling, SETTLED, b);
}

static void settled(struct world *w, struct batch *b)
{
    w->settled += b->n;
    w->put_off += b->kind == BATCH_PUT_OFF ? b->n : 0;
    w->failed += b->kind == BATCH_FAIL ? b->n : 0;
    if (b->kind == BATCH_PUT_OFF && w->retries)
        come_back(w, b);
    schedule_settled(&w->s, b);
}

static void due(struct world *w, struct waiting *one)
{
    const struct queue_due entry = {
        .id = one->id, .number = one->number, .destination = str_of(one->domain)};
    (void)schedule_add(&w->s, &entry);
    free(one);
}

static void happen(struct world *w, struct event e)
{
    w->now = e.at;
    switch (e.what) {
    case ANSWERED:
        schedule_answered(&w->s, e.subject, w->now);
        break;
    case CONNECTED:
        connected(w, e.subject);
        break;
    case SENT:
        sent(w, e.subject);
        break;
    case SETTLED:
        settled(w, e.subject);
        break;
    case GONE:
        schedule_gone(&w->s, e.subject);
        break;
    case DUE:
        due(w, e.subject);
        break;
    }
    schedule_run(&w->s, w->now);
}

/* Until nothing happens any more, or the time is over. */
static void run_until(struct world *w, uint64_t end)
{
    schedule_run(&w->s, w->now);
    for (;;) {
        uint64_t next = schedule_next(&w->s), at = w->n_events ? w->events[1].at : UINT64_MAX;
        if (next > end && at > end)
            break;
        if (at <= next) {
            happen(w, pop(w));
        } else {
            w->now = next;
            schedule_run(&w->s, w->now);
        }
    }
    w->now = end;
}

#endif
