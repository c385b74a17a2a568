/* The thread: takes what was asked, hands it to libunbound (or the table), keeps the time.
 *
 * 1. A query is in exactly one place: in `asked` (mutex), or with an ask in `asks`. Answered, it is
 *    its caller's and not touched any more. In `asked` it waits for its turn when `queries` are
 * under way: whoever searches asks many things at once, and is not told that nothing can be known.
 * 2. An ask lives until the library has called back, also when its query has run out of time; so
 *    what the library works on is counted and bounded as well.
 * 3. A resolver that was replaced is freed by the tick, never from a callback of its own, and only
 *    when nothing is pending there.
 *
 * Whether the resolvers pass signatures on is found out here too (dns.h, SECURE): until that is
 * known, or PROBE_MS have passed, questions wait in `asked`.
 */
#include "dns/dns_int.h"

#include "base/mem.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CACHE_BYTES = 16 << 20,
    QUERIES = 1000,
    WAITING = 20000,
    QUERY_MS = 20000,
    TICK_MS = 200,
    PROBE_MS = 5000,
    PROBE_AGAIN_MS = 60000
};

enum probe { PROBE_NONE, PROBE_FIRST, PROBE_AGAIN, PROBE_REST };

struct order { /* something that dns's thread does for another one, which waits */
    void (*run)(struct order *o, struct dns *dns);
    const struct dns_conf *conf;
    struct table *table;
    enum rc rc;
    bool is_done;
    char *why;
};

struct dns {
    const struct ctx *ctx;
    pthread_mutex_t mutex;
    pthread_cond_t done;               /* an order is */
    struct list asked;                 /* (mutex) */
    uint32_t accepted;                 /* (mutex) asked and under way */
    uint32_t max_queries, max_waiting; /* (mutex) */
    struct order *order;               /* (mutex) */
    bool ending;                       /* (mutex) */
    int wake_fd;
    pthread_t thread;

    struct event_base *base;
    struct event *wake, *tick;
    uint32_t under_way;   /* asks */
    struct list asks;     /* with a query, by deadline */
    struct list late;     /* whose query is answered */
    struct dns_conf conf; /* anchors and resolvers are ours */
    struct resolver *resolver;
    struct list retired;
    struct table *table; /* instead of a resolver */

    enum probe probe;
    struct resolver *trial; /* PROBE_AGAIN: the one that may become `resolver` */
    struct dns_query probe_query;
    uint64_t probe_at; /* PROBE_REST: when to try again */
    bool is_stale;     /* the probe under way asks resolvers that were replaced meanwhile */
    bool is_over;      /* the thread ends */
};

static const char *const result_names[] = {"ok", "nodata", "nxdomain", "temp", "bogus"};

const char *dns_result_name(enum dns_result result)
{
    return result_names[result];
}

static const struct {
    enum dns_type type;
    const char *name;
} types[] = {{DNS_A, "A"},     {DNS_CNAME, "CNAME"},   {DNS_PTR, "PTR"},
             {DNS_MX, "MX"},   {DNS_TXT, "TXT"},       {DNS_AAAA, "AAAA"},
             {DNS_SRV, "SRV"}, {DNS_DNSKEY, "DNSKEY"}, {DNS_TLSA, "TLSA"}};

const char *dns_type_name(enum dns_type type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type)
            return types[i].name;
    return "?";
}

void dns_query_fini(struct dns_query *q)
{
    arena_fini(&q->arena);
    q->records = NULL;
    q->n_records = 0;
}

static uint64_t now(const struct dns *dns)
{
    return clock_mono(&clock_system); /* the library keeps real time, so do its limits */
}

static void wake(struct dns *dns)
{
    uint64_t one = 1;
    if (write(dns->wake_fd, &one, sizeof one) != sizeof one)
        abort(); /* an eventfd takes 2^64 - 2 before it refuses */
}

/* --- the end of a query ------------------------------------------------------------------------
 */

void query_fail(struct dns_query *q, enum dns_result result, const char *why)
{
    q->result = result;
    q->records = NULL;
    q->n_records = 0;
    q->ttl = 0;
    size_t n = 0;
    for (; why && *why && n < sizeof q->why - 1; why++)
        q->why[n++] = ascii_is_print(*why) ? *why : '?';
    q->why[n] = '\0';
}

static void query_start(struct dns_query *q)
{
    q->result = DNS_TEMP;
    q->is_secure = false;
    q->ttl = 0;
    q->n_records = 0;
    q->records = NULL;
    q->why[0] = '\0';
    arena_init(&q->arena, ARENA_MAX);
    char name[DNS_NAME_MAX + 2];
    size_t n = 0;
    if (name_clean(q->name, name, &n) == RC_OK)
        q->canonical = arena_dup(&q->arena, str_from(name, n));
}

static void ask_free(struct dns *dns, struct ask *ask)
{
    list_remove(&ask->link);
    free(ask);
    dns->under_way--;
    pthread_mutex_lock(&dns->mutex);
    dns->accepted--;
    bool is_waited_for = !list_is_empty(&dns->asked);
    pthread_mutex_unlock(&dns->mutex);
    if (is_waited_for)
        wake(dns);
}

static const char *rcode_text(int rcode)
{
    static const char *const texts[] = {
        "no error",     "the servers found the question malformed", "the name servers fail",
        "no such name", "the servers do not know such questions",   "the name servers refuse"};
    return rcode >= 0 && rcode < (int)(sizeof texts / sizeof *texts) ? texts[rcode]
                                                                     : "the name servers fail";
}

/* Of a failure that it has kept for a while the library says "no error", and the packet what it
 * was. */
static void query_answer(struct dns_query *q, const struct answer *a)
{
    enum { NOERROR = 0, NXDOMAIN = 3 };
    int rcode = a->rcode ? a->rcode : wire_rcode(a->packet);
    if (a->is_bogus) {
        query_fail(q, DNS_BOGUS, a->why ? a->why : "the signatures do not hold");
    } else if (rcode != NOERROR && rcode != NXDOMAIN) {
        query_fail(q, DNS_TEMP, rcode_text(rcode));
    } else {
        q->is_secure = a->is_secure;
        wire_answer(a->packet, q);
    }
}

void ask_answered(struct ask *ask, const struct answer *answer)
{
    struct dns_query *q = ask->query;
    if (q)
        query_answer(q, answer);
    ask_free(ask->dns, ask);
    if (q)
        q->done(q);
}

/* Without an ask: the table's, or one that never left. */
static void ask_end(struct ask *ask)
{
    struct dns_query *q = ask->query;
    ask_free(ask->dns, ask);
    if (q)
        q->done(q);
}

/* Its query ends now; what the library still has of it is late. */
static void ask_give_up(struct ask *ask, const char *why)
{
    struct dns_query *q = ask->query;
    ask->query = NULL;
    query_fail(q, DNS_TEMP, why);
    if (ask->resolver) {
        list_remove(&ask->link);
        list_add_tail(&ask->dns->late, &ask->link);
    } else {
        ask_free(ask->dns, ask);
    }
    q->done(q);
}

/* --- asking ------------------------------------------------------------------------------------
 */

static void tick_start(struct dns *dns)
{
    struct timeval t = {0, TICK_MS * 1000};
    if (!evtimer_pending(dns->tick, NULL))
        evtimer_add(dns->tick, &t);
}

static void ask_start(struct dns *dns, struct dns_query *q, struct resolver *r, uint64_t ms)
{
    struct ask *ask = mem_zero(sizeof *ask);
    dns->under_way++;
    ask->dns = dns;
    ask->query = q;
    ask->deadline = now(dns) + ms * NS_PER_MS;
    list_add_tail(&dns->asks, &ask->link);
    query_start(q);
    tick_start(dns);
    if (q->type == DNS_NOTHING) {
        q->result = DNS_NODATA;
        ask_end(ask);
        return;
    }
    if (dns->table) {
        if (table_answer(dns->table, q))
            ask_end(ask);
        return;
    }
    const char *name = q->canonical.n ? q->canonical.p : ".";
    if (!resolver_ask(r, name, ask)) {
        query_fail(q, DNS_TEMP, "the resolver takes no questions");
        ask_end(ask);
    }
}

enum rc dns_ask(struct dns *dns, struct dns_query *q)
{
    char name[DNS_NAME_MAX + 2];
    size_t n;
    TRY(name_clean(q->name, name, &n));
    pthread_mutex_lock(&dns->mutex);
    bool is_full = dns->accepted >= dns->max_queries + dns->max_waiting && q->type;
    enum rc rc = dns->ending ? RC_TEMP : is_full ? RC_LIMIT : RC_OK;
    bool is_first = list_is_empty(&dns->asked) || !q->type;
    if (rc == RC_OK) {
        dns->accepted++;
        q->since = now(dns);
        if (q->type)
            list_add_tail(&dns->asked, &q->link);
        else
            list_add_head(&dns->asked, &q->link); /* it takes nobody's place */
    }
    pthread_mutex_unlock(&dns->mutex);
    if (rc == RC_OK && is_first)
        wake(dns);
    return rc;
}

/* --- resolvers come and go ---------------------------------------------------------------------
 */

struct retired {
    struct resolver *resolver;
    struct list link;
};

static void retire(struct dns *dns, struct resolver **r)
{
    if (!*r)
        return;
    struct retired *old = mem_zero(sizeof *old);
    old->resolver = *r;
    list_add_tail(&dns->retired, &old->link);
    *r = NULL;
    tick_start(dns);
}

static void free_retired(struct dns *dns, bool all)
{
    LIST_EACH_SAFE (&dns->retired, it) {
        struct retired *old = CONTAINER(it, struct retired, link);
        if (!all && resolver_pending(old->resolver) > 0)
            continue;
        list_remove(&old->link);
        resolver_free(&old->resolver);
        free(old);
    }
}

/* --- do the resolvers pass signatures on? ------------------------------------------------------
 */

static void probe_log(struct dns *dns, enum log_level level, const char *event)
{
    log_event(dns->ctx->log, level, event, "cause", dns->probe_query.why, NULL);
}

/* The first probe failed: from now on answers come without validation. */
static void validate_not(struct dns *dns)
{
    char why[256];
    struct resolver *plain = NULL;
    probe_log(dns, LOG_WARNING, "dns-not-validating");
    if (resolver_new(dns->base, &dns->conf, false, &plain, why) != RC_OK)
        return; /* then all stays bogus, which is safe */
    retire(dns, &dns->resolver);
    dns->resolver = plain;
}

static void probe_new(struct dns *dns);

static void on_probe(struct dns_query *q)
{
    struct dns *dns = CONTAINER(q, struct dns, probe_query);
    dns_query_fini(q);
    if (dns->is_over)
        return;
    wake(dns); /* for those that wait in `asked` */
    tick_start(dns);
    if (dns->is_stale) {
        retire(dns, &dns->trial);
        probe_new(dns);
        return;
    }
    bool is_good = q->is_secure && (q->result == DNS_OK || q->result == DNS_NODATA);
    if (is_good && dns->trial) {
        retire(dns, &dns->resolver);
        dns->resolver = dns->trial;
        dns->trial = NULL;
        probe_log(dns, LOG_INFO, "dns-validating");
    } else if (!is_good && dns->probe == PROBE_FIRST) {
        validate_not(dns);
    }
    retire(dns, &dns->trial);
    dns->probe = is_good ? PROBE_NONE : PROBE_REST;
    dns->probe_at = now(dns) + PROBE_AGAIN_MS * NS_PER_MS;
}

static void probe_start(struct dns *dns, enum probe probe, struct resolver *r)
{
    dns->probe = probe;
    dns->probe_query = (struct dns_query){.done = on_probe, .name = STR("."), .type = DNS_DNSKEY};
    pthread_mutex_lock(&dns->mutex);
    dns->accepted++;
    pthread_mutex_unlock(&dns->mutex);
    ask_start(dns, &dns->probe_query, r, PROBE_MS);
}

/* Of `resolver`, which is new. */
static void probe_new(struct dns *dns)
{
    dns->is_stale = false;
    dns->probe = PROBE_NONE;
    if (dns->resolver && dns->conf.anchors.n && !dns->conf.must_validate)
        probe_start(dns, PROBE_FIRST, dns->resolver);
}

static void probe_again(struct dns *dns)
{
    char why[256];
    dns->probe_at = now(dns) + PROBE_AGAIN_MS * NS_PER_MS;
    if (resolver_new(dns->base, &dns->conf, true, &dns->trial, why) == RC_OK)
        probe_start(dns, PROBE_AGAIN, dns->trial);
}

/* --- the thread --------------------------------------------------------------------------------
 */

/* The next one whose turn it is, or NULL. */
static struct dns_query *next_asked(struct dns *dns)
{
    struct dns_query *q = NULL;
    pthread_mutex_lock(&dns->mutex);
    if (!list_is_empty(&dns->asked))
        q = CONTAINER(list_first(&dns->asked), struct dns_query, link);
    if (q && q->type && dns->under_way >= dns->max_queries)
        q = NULL;
    if (q)
        list_remove(&q->link);
    pthread_mutex_unlock(&dns->mutex);
    return q;
}

static void take_asked(struct dns *dns)
{
    struct dns_query *q;
    while (dns->probe != PROBE_FIRST && (q = next_asked(dns)))
        ask_start(dns, q, dns->resolver, dns->conf.query_ms);
}

static bool has_asked(struct dns *dns)
{
    pthread_mutex_lock(&dns->mutex);
    bool has = !list_is_empty(&dns->asked);
    pthread_mutex_unlock(&dns->mutex);
    return has;
}

/* The ones that have waited for their turn all of their time. */
static void expire_asked(struct dns *dns, uint64_t t)
{
    struct list over;
    list_init(&over);
    pthread_mutex_lock(&dns->mutex);
    LIST_EACH_SAFE (&dns->asked, it) {
        struct dns_query *q = CONTAINER(it, struct dns_query, link);
        if (q->since + dns->conf.query_ms * NS_PER_MS > t)
            break;
        list_remove(&q->link);
        list_add_tail(&over, &q->link);
        dns->accepted--;
    }
    pthread_mutex_unlock(&dns->mutex);
    while (!list_is_empty(&over)) {
        struct dns_query *q = CONTAINER(list_first(&over), struct dns_query, link);
        list_remove(&q->link);
        query_start(q);
        query_fail(q, DNS_TEMP, "too many questions are under way");
        q->done(q);
    }
}

static void take_order(struct dns *dns)
{
    pthread_mutex_lock(&dns->mutex);
    struct order *o = dns->order;
    dns->order = NULL;
    pthread_mutex_unlock(&dns->mutex);
    if (!o)
        return;
    o->run(o, dns);
    pthread_mutex_lock(&dns->mutex);
    o->is_done = true;
    pthread_cond_broadcast(&dns->done);
    pthread_mutex_unlock(&dns->mutex);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct dns *dns = arg;
    uint64_t n;
    if (read(fd, &n, sizeof n) != sizeof n)
        return;
    take_order(dns);
    take_asked(dns);
    pthread_mutex_lock(&dns->mutex);
    bool ending = dns->ending;
    pthread_mutex_unlock(&dns->mutex);
    if (ending)
        event_base_loopbreak(dns->base);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct dns *dns = arg;
    uint64_t t = now(dns);
    LIST_EACH_SAFE (&dns->asks, it) {
        struct ask *ask = CONTAINER(it, struct ask, link);
        if (ask->deadline <= t)
            ask_give_up(ask, "the name servers did not answer in time");
    }
    expire_asked(dns, t);
    free_retired(dns, false);
    if (dns->probe == PROBE_REST && dns->probe_at <= t)
        probe_again(dns);
    if (!list_is_empty(&dns->asks) || !list_is_empty(&dns->retired) || dns->probe == PROBE_REST ||
        has_asked(dns))
        tick_start(dns);
}

/* Queries end before the resolvers go: the library answers what it has left while it goes itself,
 * and nobody may make or replace a resolver then. */
static void end_all(struct dns *dns)
{
    static const char why[] = "the server is shutting down";
    dns->is_over = true;
    while (!list_is_empty(&dns->asks))
        ask_give_up(CONTAINER(list_first(&dns->asks), struct ask, link), why);
    while (!list_is_empty(&dns->asked)) { /* nobody asks any more */
        struct dns_query *q = CONTAINER(list_first(&dns->asked), struct dns_query, link);
        list_remove(&q->link);
        query_start(q);
        query_fail(q, DNS_TEMP, why);
        q->done(q);
    }
    resolver_free(&dns->trial);
    resolver_free(&dns->resolver);
    free_retired(dns, true);
    while (!list_is_empty(&dns->late))
        ask_free(dns, CONTAINER(list_first(&dns->late), struct ask, link));
}

static void *thread_main(void *arg)
{
    struct dns *dns = arg;
    probe_new(dns);
    event_base_loop(dns->base, EVLOOP_NO_EXIT_ON_EMPTY);
    end_all(dns);
    return NULL;
}

/* --- the process -------------------------------------------------------------------------------
 */

static void conf_fini(struct dns_conf *conf)
{
    free((void *)(uintptr_t)conf->resolvers);
    free((void *)(uintptr_t)conf->anchors.p);
    *conf = (struct dns_conf){0};
}

static void conf_copy(const struct dns_conf *from, struct dns_conf *to)
{
    *to = *from;
    to->resolvers = mem_dup(from->resolvers, from->n_resolvers * sizeof *from->resolvers);
    to->anchors.p = mem_dup(from->anchors.p, from->anchors.n);
    to->cache_bytes = from->cache_bytes ? from->cache_bytes : CACHE_BYTES;
    to->queries = from->queries ? from->queries : QUERIES;
    to->waiting = from->waiting ? from->waiting : WAITING;
    to->query_ms = from->query_ms ? from->query_ms : QUERY_MS;
}

static struct dns *make(const struct ctx *ctx, const struct dns_conf *conf)
{
    struct dns *dns = mem_zero(sizeof *dns);
    dns->ctx = ctx;
    conf_copy(conf, &dns->conf);
    dns->max_queries = dns->conf.queries;
    dns->max_waiting = dns->conf.waiting;
    pthread_mutex_init(&dns->mutex, NULL);
    pthread_cond_init(&dns->done, NULL);
    list_init(&dns->asked);
    list_init(&dns->asks);
    list_init(&dns->late);
    list_init(&dns->retired);
    dns->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    dns->base = event_base_new_with_config(config);
    event_config_free(config);
    if (dns->wake_fd < 0 || !dns->base) {
        fprintf(stderr, "penfold: dns: cannot make an event loop\n");
        abort();
    }
    dns->wake = event_new(dns->base, dns->wake_fd, EV_READ | EV_PERSIST, on_wake, dns);
    dns->tick = evtimer_new(dns->base, on_tick, dns);
    event_add(dns->wake, NULL);
    return dns;
}

static void drop(struct dns **dns)
{
    event_free((*dns)->wake);
    event_free((*dns)->tick);
    event_base_free((*dns)->base);
    close((*dns)->wake_fd);
    table_free(&(*dns)->table);
    conf_fini(&(*dns)->conf);
    pthread_mutex_destroy(&(*dns)->mutex);
    pthread_cond_destroy(&(*dns)->done);
    free(*dns);
    *dns = NULL;
}

enum rc dns_new(const struct ctx *ctx, const struct dns_conf *conf, struct dns **out, char why[256])
{
    struct dns *dns = make(ctx, conf);
    enum rc rc = resolver_new(dns->base, &dns->conf, dns->conf.anchors.n > 0, &dns->resolver, why);
    if (rc != RC_OK) {
        drop(&dns);
        return rc;
    }
    dns->thread = task_thread("dns", thread_main, dns);
    *out = dns;
    return RC_OK;
}

enum rc dns_fixed_new(const struct ctx *ctx, const struct dns_conf *conf, struct str text,
                      struct dns **out, char why[256])
{
    struct table *table;
    TRY(table_new(text, &table, why));
    struct dns *dns = make(ctx, conf);
    dns->table = table;
    dns->thread = task_thread("dns", thread_main, dns);
    *out = dns;
    return RC_OK;
}

void dns_stop(struct dns *dns)
{
    pthread_mutex_lock(&dns->mutex);
    bool is_first = !dns->ending;
    dns->ending = true;
    pthread_mutex_unlock(&dns->mutex);
    if (!is_first)
        return;
    wake(dns);
    pthread_join(dns->thread, NULL);
}

void dns_free(struct dns **dns)
{
    if (!*dns)
        return;
    dns_stop(*dns);
    drop(dns);
}

static enum rc give_order(struct dns *dns, struct order *o)
{
    pthread_mutex_lock(&dns->mutex);
    while (dns->order) /* somebody else's */
        pthread_cond_wait(&dns->done, &dns->mutex);
    dns->order = o;
    wake(dns);
    while (!o->is_done)
        pthread_cond_wait(&dns->done, &dns->mutex);
    pthread_cond_broadcast(&dns->done);
    pthread_mutex_unlock(&dns->mutex);
    return o->rc;
}

static void run_reload(struct order *o, struct dns *dns)
{
    struct dns_conf conf;
    struct resolver *r = NULL;
    conf_copy(o->conf, &conf);
    if (!dns->table)
        o->rc = resolver_new(dns->base, &conf, conf.anchors.n > 0, &r, o->why);
    if (o->rc != RC_OK) {
        conf_fini(&conf);
        return;
    }
    retire(dns, &dns->resolver);
    dns->resolver = r;
    conf_fini(&dns->conf);
    dns->conf = conf;
    pthread_mutex_lock(&dns->mutex);
    dns->max_queries = conf.queries;
    dns->max_waiting = conf.waiting;
    pthread_mutex_unlock(&dns->mutex);
    dns->is_stale = dns->probe == PROBE_FIRST || dns->probe == PROBE_AGAIN;
    if (!dns->is_stale)
        probe_new(dns);
}

enum rc dns_reload(struct dns *dns, const struct dns_conf *conf, char why[256])
{
    struct order o = {.run = run_reload, .conf = conf, .why = why};
    return give_order(dns, &o);
}

static void run_table(struct order *o, struct dns *dns)
{
    table_free(&dns->table);
    dns->table = o->table;
}

enum rc dns_fixed_set(struct dns *dns, struct str text, char why[256])
{
    struct order o = {.run = run_table, .why = why};
    TRY(table_new(text, &o.table, why));
    return give_order(dns, &o);
}
