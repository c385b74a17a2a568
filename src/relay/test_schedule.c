/* The scheduler in a world of its own: hosts that answer, refuse or never answer, a queue that
 * gives back what was put off, and a clock that jumps from one event to the next. */
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
    where->outcome = (struct relay_outcome){.rc = w->dns, .text = STR("the words of DNS")};
    where->n_targets = w->dns == RC_OK ? w->mx_per_domain : 0;
    where->targets = arena_zero(&where->arena, (where->n_targets + 1) * sizeof *where->targets);
    for (unsigned i = 0; i < where->n_targets; i++) {
        struct relay_target *t = &where->targets[i];
        t->host = STR("mx.test");
        t->addr.sa.sin6_family = AF_INET6;
        t->addr.sa.sin6_port = htons((uint16_t)(w->one_host ? w->one_host : n + i));
        t->preference = (uint16_t)i;
        t->requires_tls = where->tls == QUEUE_TLS_REQUIRED;
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
                        .mx_per_domain = 1};
    const struct schedule_limits limits = {.entries = 262144,
                                           .destinations = 20000,
                                           .connections = connections,
                                           .per_host = 20,
                                           .per_connection = 100,
                                           .recipients = 100,
                                           .questions = 500,
                                           .put_off = 64,
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
    push(w, w->now + MS(2), SETTLED, b);
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

/* --- the tests -------------------------------------------------------------------------------- */

static void a_message_goes_and_its_connection_is_kept_and_closed(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 5), RC_OK);
    assert_rc(add(&w, 1, 0, 5), RC_EXISTS);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[5].taken, 1);
    assert_int_equal(w.hosts[5].open, 1);
    assert_rc(add(&w, 2, 0, 5), RC_OK);
    run_until(&w, w.now + SEC(3));
    assert_int_equal(w.hosts[5].taken, 2);
    assert_int_equal(w.hosts[5].opened, 1);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.hosts[5].open, 0);
    assert_true(schedule_is_quiet(&w.s));
    assert_int_equal(w.s.entries.count, 0);
    world_end(&w);
}

static uint64_t time_of_live(bool with_dead, enum temper temper)
{
    struct world w;
    unsigned item = 0;
    world_begin(&w, 5000);
    w.hosts[0].temper = temper;
    for (unsigned i = 0; with_dead && i < 100000; i++)
        assert_rc(add(&w, item++, 0, 0), RC_OK);
    for (unsigned i = 0; i < 10000; i++)
        assert_rc(add(&w, item++, 0, 1 + i % 100), RC_OK);
    uint64_t begun = w.now;
    w.live_left = 10000;
    run_until(&w, w.now + SEC(120));
    assert_int_equal(w.sent, 10000);
    assert_int_equal(w.put_off, with_dead ? 100000 : 0);
    assert_true(w.hosts[0].opened <= 8); /* nobody insists */
    uint64_t took = w.live_done - begun;
    if (getenv("PENFOLD_FIGURES"))
        printf("%d %d: %.3f s\n", with_dead, temper, (double)took / 1e9);
    world_end(&w);
    return took;
}

static void a_hundred_thousand_for_a_dead_host_delay_nobody(void **state)
{
    uint64_t alone = time_of_live(false, LIVE);
    assert_true(time_of_live(true, REFUSING) <= alone * 105 / 100);
    assert_true(time_of_live(true, SILENT) <= alone * 105 / 100);
}

static uint64_t time_of_many(bool with_dead, enum temper temper)
{
    struct world w;
    world_begin(&w, 1000);
    for (unsigned i = 0; i < 10000; i += 10)
        w.hosts[i].temper = temper;
    size_t live = 0;
    for (unsigned i = 0; i < 100000; i++)
        if (i % 10 || with_dead) {
            assert_rc(add(&w, i, 0, i % 10000), RC_OK);
            live += i % 10 != 0;
        }
    uint64_t begun = w.now;
    w.live_left = live;
    run_until(&w, w.now + SEC(250));
    assert_int_equal(w.sent, live);
    assert_int_equal(w.put_off, with_dead ? 10000 : 0);
    uint64_t took = w.live_done - begun;
    world_end(&w);
    return took;
}

static void a_thousand_dead_of_ten_thousand_delay_nobody(void **state)
{
    uint64_t alone = time_of_many(false, LIVE), refusing = time_of_many(true, REFUSING),
             silent = time_of_many(true, SILENT);
    if (getenv("PENFOLD_FIGURES"))
        printf("alone %.3f s, refusing %.3f, silent %.3f\n", (double)alone / 1e9,
               (double)refusing / 1e9, (double)silent / 1e9);
    assert_true(refusing <= alone * 120 / 100);
    assert_true(silent <= alone + SEC(5)); /* the places of those that are slow are given away */
}

/* Its connections end after some messages, and it gets new ones although as many hosts as may be
 * are silent. */
static void a_host_that_answers_goes_on_beside_silent_ones(void **state)
{
    struct world w;
    world_begin(&w, 100);
    for (unsigned i = 1; i <= 150; i++)
        w.hosts[i].temper = SILENT;
    for (unsigned i = 0; i < 150; i++)
        assert_rc(add(&w, i, 0, i), RC_OK);
    for (unsigned i = 150; i < 50000; i++)
        assert_rc(add(&w, i, 0, 0), RC_OK);
    w.live_left = 50000 - 149;
    uint64_t begun = w.now;
    run_until(&w, w.now + SEC(250));
    assert_int_equal(w.sent, 50000 - 149);
    assert_true(w.live_done - begun < SEC(25)); /* before the first silent one is given up */
    world_end(&w);
}

static void what_was_put_off_goes_when_the_host_is_back(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.retries = 1;
    w.hosts[3].temper = REFUSING;
    for (unsigned i = 0; i < 1000; i++)
        assert_rc(add(&w, i, 0, 3), RC_OK);
    run_until(&w, w.now + SEC(7200));
    unsigned tries = w.hosts[3].opened;
    assert_int_equal(w.sent, 0);
    assert_in_range(tries, 4, 60); /* asked now and then, not once for each message */
    assert_true(w.put_off >= 4000);
    w.hosts[3].temper = LIVE;
    run_until(&w, w.now + SEC(3600));
    assert_int_equal(w.sent, 1000);
    assert_int_equal(w.s.entries.count, 0);
    world_end(&w);
}

static void the_next_host_takes_over(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.mx_per_domain = 2;
    w.hosts[10].temper = SILENT;
    for (unsigned i = 0; i < 50; i++)
        assert_rc(add(&w, i, 0, 10), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.hosts[11].taken, 50);
    assert_int_equal(w.put_off, 0);
    w.hosts[11].temper = REFUSING;
    assert_rc(add(&w, 100, 0, 10), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.put_off, 1);
    assert_int_equal(w.hosts[10].opened, 1); /* still left alone */
    world_end(&w);
}

static void a_busy_better_host_is_waited_for(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.mx_per_domain = 2;
    for (unsigned i = 0; i < 500; i++)
        assert_rc(add(&w, i, 0, 10), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.hosts[10].taken, 500);
    assert_int_equal(w.hosts[11].opened, 0); /* [RFC5321 5.1] */
    world_end(&w);
}

static void a_host_that_serves_nobody_is_believed(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].temper = UNWELCOMING;
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    w.mx_per_domain = 2; /* another may think otherwise */
    w.hosts[1].temper = REFUSING;
    w.hosts[2].temper = UNWELCOMING;
    schedule_renew(&w.s);
    assert_rc(add(&w, 2, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.put_off, 1);
    world_end(&w);
}

/* A message with REQUIRETLS looks at each host, and comes back when none is good enough; others are
 * not held up by it [RFC8689 4.2.1]. */
static void who_requires_tls_has_hosts_of_his_own(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.mx_per_domain = 2;
    w.hosts[1].temper = w.hosts[2].temper = UNSAFE;
    assert_rc(add_with(&w, 1, 0, 1, QUEUE_TLS_REQUIRED), RC_OK);
    assert_rc(add(&w, 2, 0, 1), RC_OK);
    assert_rc(add_with(&w, 3, 0, 1, QUEUE_TLS_IF_POSSIBLE), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.s.destinations.count, 3);
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.hosts[1].taken, 2);
    assert_true(w.hosts[2].opened == 1 && w.hosts[2].taken == 0);
    w.hosts[2].temper = LIVE;
    schedule_renew(&w.s);
    assert_rc(add_with(&w, 4, 0, 1, QUEUE_TLS_REQUIRED), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.hosts[2].taken, 1);
    assert_int_equal(w.failed, 1);
    w.hosts[2].temper = REFUSING; /* it may be good enough when it is back */
    schedule_renew(&w.s);
    assert_rc(add_with(&w, 5, 0, 1, QUEUE_TLS_REQUIRED), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    assert_int_equal(w.put_off, 1);
    world_end(&w);
}

static void dns_says_never_or_later(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.dns = RC_PERM;
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.failed, 1);
    w.dns = RC_TEMP;
    for (unsigned i = 2; i < 200; i++)
        assert_rc(add(&w, i, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.put_off, 198);
    w.dns = RC_OK;
    run_until(&w, w.now + SEC(400));
    assert_rc(add(&w, 300, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(10));
    assert_int_equal(w.sent, 1);
    world_end(&w);
}

static void the_window_follows_the_host(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].answers = MS(100);
    for (unsigned i = 0; i < 2000; i++)
        assert_rc(add(&w, i, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(100));
    assert_int_equal(w.sent, 2000);
    assert_int_equal(w.hosts[1].peak, 20);
    assert_true(w.hosts[1].opened >= 20); /* a hundred messages each at most */
    w.hosts[2].most = 5;
    w.hosts[2].answers = MS(100);
    for (unsigned i = 0; i < 1000; i++)
        assert_rc(add(&w, 5000 + i, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(200));
    assert_int_equal(w.sent, 3000);
    assert_int_equal(w.put_off, 0);
    world_end(&w);
}

static void turns_are_fair(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.one_host = 7;
    for (unsigned i = 0; i < 10000; i++)
        assert_rc(add(&w, i, 0, 1), RC_OK);
    for (unsigned i = 0; i < 10; i++)
        assert_rc(add(&w, 20000 + i, 0, 2), RC_OK);
    size_t before = 0;
    for (schedule_run(&w.s, w.now); w.n_events;) {
        happen(&w, pop(&w));
        struct destination *small = destination_get(&w.s, STR("d2.test"), QUEUE_TLS_AS_USUAL);
        if (small->sent == 10 && !before)
            before = w.sent;
    }
    assert_int_equal(w.sent, 10010);
    assert_in_range(before, 10, 200);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

static void recipients_of_one_message_go_together(void **state)
{
    struct world w;
    world_begin(&w, 100);
    for (uint16_t n = 0; n < 250; n++)
        assert_rc(add(&w, 1, n, 4), RC_OK);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 250);
    assert_int_equal(w.hosts[4].transactions, 3);
    assert_int_equal(w.max_batch, 100);
    w.one_host = 7; /* other domains, the same host */
    assert_rc(add(&w, 2, 0, 20), RC_OK);
    assert_rc(add(&w, 3, 0, 21), RC_OK);
    assert_rc(add(&w, 4, 0, 22), RC_OK);
    run_until(&w, w.now + SEC(60));
    w.hosts[7].transactions = 0;
    assert_rc(add(&w, 5, 0, 20), RC_OK);
    assert_rc(add(&w, 5, 1, 21), RC_OK);
    assert_rc(add(&w, 5, 4, 22), RC_OK);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.hosts[7].transactions, 1);
    assert_int_equal(w.hosts[7].taken, 6);
    world_end(&w);
}

static void a_connection_that_was_closed_meanwhile_costs_nothing(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(1));
    w.hosts[1].is_stale = true;
    assert_rc(add(&w, 2, 0, 1), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[1].taken, 2);
    assert_int_equal(w.hosts[1].opened, 2);
    assert_int_equal(w.put_off, 0);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

static void memory_is_bounded(void **state)
{
    struct world w;
    world_begin(&w, 10);
    w.s.limits.entries = 100;
    w.s.limits.destinations = 50;
    for (unsigned i = 0; i < 100; i++)
        assert_rc(add(&w, i, 0, i), RC_OK);
    assert_rc(add(&w, 100, 0, 100), RC_LIMIT);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 100);
    assert_int_equal(w.s.destinations.count, 50);
    assert_int_equal(w.s.peers.count, 50);
    assert_rc(add(&w, 100, 0, 100), RC_OK);
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 101);
    world_end(&w);
}

/* A backlog that would fill the memory, of a host that is slow and not dead: the others have the
 * other half, and all of it goes through bit by bit. */
static void a_backlog_leaves_room_for_others(void **state)
{
    enum { BACKLOG = 20000, OTHERS = 400 };
    struct world w;
    unsigned next = 0, others = 0;
    size_t most = 0;
    world_begin(&w, 100);
    w.s.limits.entries = 1000;
    w.hosts[1].answers = SEC(1);
    for (unsigned round = 0; next < BACKLOG || w.s.entries.count; round++) {
        while (next < BACKLOG && add(&w, next, 0, 1) == RC_OK)
            next++;
        if (others < OTHERS) {
            assert_rc(add(&w, BACKLOG + others, 0, 10 + others), RC_OK); /* never kept out */
            others++;
        }
        most = w.s.entries.count > most ? w.s.entries.count : most;
        if (round == OTHERS + 1) /* within moments of being added */
            assert_int_equal(w.sent - w.hosts[1].taken, OTHERS);
        run_until(&w, w.now + SEC(1));
        assert_true(round < 3 * BACKLOG);
    }
    assert_int_equal(w.hosts[1].taken, BACKLOG);
    assert_in_range(most, 500, 1000);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

static void an_idle_connection_makes_room(void **state)
{
    struct world w;
    world_begin(&w, 4);
    for (unsigned i = 0; i < 200; i++)
        assert_rc(add(&w, i, 0, i % 100), RC_OK);
    uint64_t begun = w.now;
    run_until(&w, w.now + SEC(60));
    assert_int_equal(w.sent, 200);
    assert_true(w.hosts[99].opened >= 1);
    assert_true(begun < w.now);
    world_end(&w);
}

static void draining_ends_what_is_begun(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].answers = MS(100);
    for (unsigned i = 0; i < 1000; i++)
        assert_rc(add(&w, i, 0, 1), RC_OK);
    run_until(&w, w.now + MS(500));
    schedule_drain(&w.s);
    size_t before = w.sent;
    run_until(&w, w.now + SEC(10));
    assert_true(schedule_is_quiet(&w.s));
    assert_in_range(w.sent, before, before + 20);
    assert_int_equal(w.hosts[1].open, 0);
    assert_true(w.s.entries.count > 0); /* the queue has them */
    world_end(&w);
}

static void what_is_gone_from_the_queue_is_dropped(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    schedule_run(&w.s, w.now);
    happen(&w, pop(&w)); /* the answer: a link is being made */
    struct link *l = CONTAINER(list_first(&w.s.fresh), struct link, age);
    schedule_dropped(&w.s, l->batch, w.now);
    assert_int_equal(w.s.entries.count, 0);
    w.n_events = 0;
    schedule_gone(&w.s, l);
    assert_true(schedule_is_quiet(&w.s));
    world_end(&w);
}

/* The queue tells of the next try before it is heard that this one is over. */
static void what_is_told_meanwhile_is_looked_at_again(void **state)
{
    struct world w;
    world_begin(&w, 100);
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    while (!w.sent)
        run_until(&w, w.now + MS(1));
    assert_rc(add(&w, 1, 0, 1), RC_EXISTS);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.sent, 2);
    assert_int_equal(w.s.entries.count, 0);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

/* Somebody wants it to go now: the host that is left alone is tried at once, and only for the
 * destination that was meant. */
static void what_is_pressing_wakes_its_destination(void **state)
{
    struct world w;
    world_begin(&w, 100);
    w.hosts[1].temper = w.hosts[2].temper = REFUSING;
    assert_rc(add(&w, 1, 0, 1), RC_OK);
    assert_rc(add(&w, 2, 0, 2), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.put_off, 2);
    w.hosts[1].temper = w.hosts[2].temper = LIVE;
    assert_rc(add(&w, 3, 0, 2), RC_OK);
    assert_rc(add_pressing(&w, 1, "d1.test"), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[1].taken, 1);
    assert_int_equal(w.hosts[2].taken, 0);
    assert_int_equal(w.put_off, 3);
    w.dns = RC_TEMP; /* the same where DNS has had no answer */
    assert_rc(add(&w, 9, 0, 5), RC_OK);
    run_until(&w, w.now + SEC(1));
    w.dns = RC_OK;
    assert_rc(add_pressing(&w, 9, "d5.test"), RC_OK);
    run_until(&w, w.now + SEC(1));
    assert_int_equal(w.hosts[5].taken, 1);
    run_until(&w, w.now + SEC(60));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_goes_and_its_connection_is_kept_and_closed),
        cmocka_unit_test(a_hundred_thousand_for_a_dead_host_delay_nobody),
        cmocka_unit_test(a_thousand_dead_of_ten_thousand_delay_nobody),
        cmocka_unit_test(a_host_that_answers_goes_on_beside_silent_ones),
        cmocka_unit_test(what_was_put_off_goes_when_the_host_is_back),
        cmocka_unit_test(the_next_host_takes_over),
        cmocka_unit_test(a_busy_better_host_is_waited_for),
        cmocka_unit_test(a_host_that_serves_nobody_is_believed),
        cmocka_unit_test(who_requires_tls_has_hosts_of_his_own),
        cmocka_unit_test(dns_says_never_or_later),
        cmocka_unit_test(the_window_follows_the_host),
        cmocka_unit_test(turns_are_fair),
        cmocka_unit_test(recipients_of_one_message_go_together),
        cmocka_unit_test(a_connection_that_was_closed_meanwhile_costs_nothing),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_backlog_leaves_room_for_others),
        cmocka_unit_test(an_idle_connection_makes_room),
        cmocka_unit_test(draining_ends_what_is_begun),
        cmocka_unit_test(what_is_told_meanwhile_is_looked_at_again),
        cmocka_unit_test(what_is_gone_from_the_queue_is_dropped),
        cmocka_unit_test(what_is_pressing_wakes_its_destination),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
