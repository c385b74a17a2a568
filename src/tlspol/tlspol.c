/* The thread: answers from memory, looks at domains when it is time, renews what is kept.
 *
 * 1. A query is in `jobs` (mutex), or waits at its domain's entry, or has been answered.
 * 2. An entry that is being checked, or at which somebody waits, stays in memory; others go when
 *    there are too many of them, the least lately used first. What is forgotten is in the store.
 * 3. A policy is applied only before its time is over [RFC8461 5.1], by the wall clock handed in.
 */
#include "tlspol/tlspol_int.h"

#include "base/mem.h"
#include "base/random.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FETCH_MS = 30000,
    FETCHES = 100, /* a host of policies that stalls holds up only those who wait behind so many */
    DOMAINS = 10000,
    MEMORY_BYTES = 16 << 20,
    POLL_MS = 1000,
    SWEEP_S = 10,
    SWEEP_ROWS = 50,
    SWEEP_CHECKS = 5,
    FLUSH_S = 60
};

uint64_t tlspol_now(const struct tlspol *t)
{
    return clock_wall(t->ctx->clock) / NS_PER_SEC;
}

static uint64_t mono_s(void)
{
    return clock_mono(&clock_system) / NS_PER_SEC;
}

void tlspol_post(struct tlspol *t, struct job *job)
{
    pthread_mutex_lock(&t->mutex);
    list_add_tail(&t->jobs, &job->link);
    pthread_mutex_unlock(&t->mutex);
    fetcher_wake(t->fetcher);
}

/* --- entries -----------------------------------------------------------------------------------
 */

static struct str name_of(const struct entry *e)
{
    return str_from(e->name, e->name_n);
}

static void entry_free(struct tlspol *t, struct entry *e)
{
    map_remove(&t->entries, &e->node);
    list_remove(&e->lru);
    t->bytes -= e->text_n;
    free(e->text);
    free(e->why);
    free(e);
}

static void make_room(struct tlspol *t)
{
    LIST_EACH_SAFE (&t->lru, it) {
        struct entry *e = CONTAINER(it, struct entry, lru);
        if (t->entries.count <= t->conf.domains && t->bytes <= t->conf.memory_bytes)
            return;
        if (!e->check && list_is_empty(&e->waiting))
            entry_free(t, e);
    }
}

void entry_policy(struct tlspol *t, struct entry *e, struct str text, const char *id,
                  uint64_t fetched, uint64_t expires)
{
    t->bytes -= e->text_n;
    free(e->text);
    e->text = str_is_null(text) ? NULL : mem_dup(text.p, text.n);
    e->text_n = text.n;
    t->bytes += e->text_n;
    e->fetched = fetched;
    e->expires = expires;
    strncpy(e->id, id, sizeof e->id - 1);
}

void entry_gap(struct entry *e, enum tlspol_gap gap, const char *why)
{
    free(e->why);
    e->gap = gap;
    e->why = why[0] ? mem_dup(why, strlen(why)) : NULL;
}

static void entry_load(struct tlspol *t, struct entry *e)
{
    struct arena arena;
    struct kept k;
    char id[TLSPOL_ID_MAX + 1] = "";
    arena_init(&arena, 0);
    if (keep_read(t->kv, name_of(e), &arena, &k) == RC_OK) {
        memcpy(id, k.id.p, k.id.n);
        entry_policy(t, e, k.text, id, k.fetched, k.expires);
    }
    arena_fini(&arena);
}

struct entry *entry_get(struct tlspol *t, struct str domain)
{
    uint64_t hash = str_hash(domain, t->key);
    for (struct map_node *n = map_find(&t->entries, hash); n; n = map_next(n)) {
        struct entry *e = CONTAINER(n, struct entry, node);
        if (!str_eq(name_of(e), domain))
            continue;
        list_remove(&e->lru);
        list_add_tail(&t->lru, &e->lru);
        return e;
    }
    make_room(t);
    struct entry *e = mem_zero(sizeof *e + domain.n + 1);
    memcpy(e->name, domain.p, domain.n);
    e->name_n = domain.n;
    list_init(&e->waiting);
    map_add(&t->entries, &e->node, hash);
    list_add_tail(&t->lru, &e->lru);
    entry_load(t, e);
    return e;
}

/* --- queries -----------------------------------------------------------------------------------
 */

static bool is_valid(const struct tlspol *t, const struct entry *e)
{
    return e->text && tlspol_now(t) < e->expires;
}

static void answer(struct tlspol *t, struct entry *e, struct tlspol_query *q)
{
    enum { ARENA = 4 * TLSPOL_TEXT_MAX };
    q->policy = (struct tlspol_policy){0};
    arena_init(&q->arena, ARENA);
    if (e && is_valid(t, e) &&
        tlspol_parse(str_from(e->text, e->text_n), &q->arena, &q->policy) != RC_OK)
        q->policy = (struct tlspol_policy){0};
    q->gap = e ? e->gap : TLSPOL_NO_GAP;
    snprintf(q->why, sizeof q->why, "%s", e && e->why ? e->why : "");
    pthread_mutex_lock(&t->mutex);
    t->n_asked--;
    pthread_mutex_unlock(&t->mutex);
    q->done(q);
}

void entry_checked(struct tlspol *t, struct entry *e)
{
    e->checked = tlspol_now(t);
    while (!list_is_empty(&e->waiting)) {
        struct tlspol_query *q = CONTAINER(list_first(&e->waiting), struct tlspol_query, link);
        list_remove(&q->link);
        answer(t, e, q);
    }
}

static void take_query(struct tlspol *t, struct tlspol_query *q)
{
    struct entry *e = entry_get(t, q->domain);
    bool is_fresh = e->checked > 0 && tlspol_now(t) < e->checked + CHECK_AGAIN_S;
    if (is_valid(t, e) || is_fresh)
        answer(t, e, q);
    else
        list_add_tail(&e->waiting, &q->link);
    if (!is_fresh && !e->check)
        check_start(t, e);
}

struct asking { /* a query in the list of jobs */
    struct job job;
    struct tlspol_query *q;
};

static void run_query(struct tlspol *t, struct job *job)
{
    struct asking *a = CONTAINER(job, struct asking, job);
    struct tlspol_query *q = a->q;
    free(a);
    take_query(t, q);
}

enum rc tlspol_ask(struct tlspol *t, struct tlspol_query *q)
{
    if (!dns_is_host(q->domain))
        return RC_SYNTAX;
    pthread_mutex_lock(&t->mutex);
    enum rc rc = t->ending ? RC_TEMP : t->n_asked >= WAITING_MAX ? RC_LIMIT : RC_OK;
    if (rc == RC_OK)
        t->n_asked++;
    pthread_mutex_unlock(&t->mutex);
    if (rc != RC_OK)
        return rc;
    struct asking *a = mem_zero(sizeof *a);
    a->job.run = run_query;
    a->q = q;
    tlspol_post(t, &a->job);
    return RC_OK;
}

/* --- renewing what is kept ---------------------------------------------------------------------
 */

/* One row; false: there are no more. */
static bool sweep_row(struct tlspol *t, struct arena *arena)
{
    struct kept k = {0};
    struct str after = str_from(t->sweep_after, t->sweep_after_n);
    uint64_t now = tlspol_now(t);
    if (after.n == 0)
        after = (struct str){0};
    enum rc rc = keep_next(t->kv, after, arena, &k);
    if (rc != RC_OK && rc != RC_CORRUPT) {
        t->sweep_after_n = 0;
        return false;
    }
    t->sweep_after_n = k.domain.n < sizeof t->sweep_after ? k.domain.n : 0;
    memcpy(t->sweep_after, k.domain.p, t->sweep_after_n);
    if (rc == RC_CORRUPT || k.expires <= now) {
        rc = keep_delete(t->kv, k.domain);
    } else if (now >= k.fetched + RENEW_S && dns_is_host(k.domain)) {
        struct entry *e = entry_get(t, k.domain);
        if (!e->check && now >= e->checked + CHECK_AGAIN_S)
            check_start(t, e);
    }
    return t->sweep_after_n > 0 && rc != RC_TEMP;
}

static void sweep(struct tlspol *t)
{
    struct arena arena;
    arena_init(&arena, 0);
    for (int i = 0; i < SWEEP_ROWS && t->n_checks < SWEEP_CHECKS && sweep_row(t, &arena); i++)
        arena_reset(&arena);
    arena_fini(&arena);
    make_room(t);
}

/* --- counts ------------------------------------------------------------------------------------
 */

void tlspol_count(struct tlspol *t, const struct tlspol_event *event)
{
    counts_add(t->counts, (uint32_t)(tlspol_now(t) / 86400), event);
}

void tlspol_flush(struct tlspol *t)
{
    pthread_mutex_lock(&t->mutex);
    uint64_t mine = ++t->wanted;
    fetcher_wake(t->fetcher);
    while (t->flushes < mine)
        pthread_cond_wait(&t->flushed, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

static void flush(struct tlspol *t)
{
    pthread_mutex_lock(&t->mutex);
    uint64_t wanted = t->wanted;
    bool is_wanted = wanted > t->flushes;
    pthread_mutex_unlock(&t->mutex);
    if (!is_wanted && mono_s() < t->flush_at)
        return;
    t->flush_at = mono_s() + FLUSH_S;
    counts_write(t->counts, t);
    pthread_mutex_lock(&t->mutex);
    t->flushes = wanted;
    pthread_cond_broadcast(&t->flushed);
    pthread_mutex_unlock(&t->mutex);
}

/* --- the thread --------------------------------------------------------------------------------
 */

static void conf_take(struct tlspol_conf *to, const struct tlspol_conf *from)
{
    free((void *)(uintptr_t)to->ca_pem.p);
    *to = *from;
    to->fetch_ms = from->fetch_ms ? from->fetch_ms : FETCH_MS;
    to->fetches = from->fetches ? from->fetches : FETCHES;
    to->domains = from->domains ? from->domains : DOMAINS;
    to->memory_bytes = from->memory_bytes ? from->memory_bytes : MEMORY_BYTES;
}

/* What has come in; false: the end. */
static bool take_jobs(struct tlspol *t)
{
    struct list jobs;
    struct tlspol_conf conf;
    list_init(&jobs);
    pthread_mutex_lock(&t->mutex);
    list_splice_tail(&jobs, &t->jobs);
    bool has_next = t->has_next, ending = t->ending;
    t->has_next = false;
    conf = t->next;
    pthread_mutex_unlock(&t->mutex);
    if (has_next)
        conf_take(&t->conf, &conf);
    while (!list_is_empty(&jobs)) {
        struct job *job = CONTAINER(list_first(&jobs), struct job, link);
        list_remove(&job->link);
        job->run(t, job);
    }
    return !ending;
}

/* Whoever waits gets what is known. Questions to DNS that are on their way come back first. */
static void end_all(struct tlspol *t)
{
    size_t slot = 0;
    for (struct map_node *n = map_each(&t->entries, &slot, NULL); n;
         n = map_each(&t->entries, &slot, n))
        entry_checked(t, CONTAINER(n, struct entry, node));
    counts_write(t->counts, t);
}

static size_t asked_of_dns(struct tlspol *t)
{
    size_t n = 0, slot = 0;
    for (struct map_node *m = map_each(&t->entries, &slot, NULL); m;
         m = map_each(&t->entries, &slot, m)) {
        struct entry *e = CONTAINER(m, struct entry, node);
        n += e->check ? e->check->pending : 0;
    }
    return n;
}

static void *thread_main(void *arg)
{
    struct tlspol *t = arg;
    while (take_jobs(t)) {
        if (mono_s() >= t->sweep_at) {
            t->sweep_at = mono_s() + SWEEP_S;
            sweep(t);
        }
        flush(t);
        fetcher_run(t->fetcher, POLL_MS);
    }
    end_all(t);
    while (asked_of_dns(t) > 0) { /* dns bounds how long */
        fetcher_run(t->fetcher, POLL_MS);
        take_jobs(t);
    }
    take_jobs(t);
    return NULL;
}

/* --- the process -------------------------------------------------------------------------------
 */

static void drop(struct tlspol **t)
{
    fetcher_free(&(*t)->fetcher);
    while (!list_is_empty(&(*t)->lru))
        entry_free(*t, CONTAINER(list_first(&(*t)->lru), struct entry, lru));
    map_fini(&(*t)->entries);
    counts_free(&(*t)->counts);
    if ((*t)->has_next)
        free((void *)(uintptr_t)(*t)->next.ca_pem.p);
    free((void *)(uintptr_t)(*t)->conf.ca_pem.p);
    pthread_mutex_destroy(&(*t)->mutex);
    pthread_cond_destroy(&(*t)->flushed);
    free(*t);
    *t = NULL;
}

static struct tlspol_conf own_copy(const struct tlspol_conf *conf)
{
    struct tlspol_conf own = *conf;
    own.ca_pem.p = conf->ca_pem.n ? mem_dup(conf->ca_pem.p, conf->ca_pem.n) : NULL;
    return own;
}

enum rc tlspol_new(const struct ctx *ctx, struct kv *kv, struct dns *dns,
                   const struct tlspol_conf *conf, struct tlspol **out, char why[256])
{
    struct tlspol *t = mem_zero(sizeof *t);
    struct tlspol_conf own = own_copy(conf);
    t->ctx = ctx;
    t->kv = kv;
    t->dns = dns;
    conf_take(&t->conf, &own);
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->flushed, NULL);
    list_init(&t->jobs);
    list_init(&t->lru);
    map_init(&t->entries);
    random_bytes(t->key, sizeof t->key);
    t->counts = counts_new();
    t->flush_at = mono_s() + FLUSH_S;
    enum rc rc = fetcher_new(t, &t->fetcher, why);
    if (rc != RC_OK) {
        drop(&t);
        return rc;
    }
    t->thread = task_thread("tlspol", thread_main, t);
    *out = t;
    return RC_OK;
}

void tlspol_stop(struct tlspol *t)
{
    pthread_mutex_lock(&t->mutex);
    bool is_first = !t->ending;
    t->ending = true;
    pthread_mutex_unlock(&t->mutex);
    if (!is_first)
        return;
    fetcher_wake(t->fetcher);
    pthread_join(t->thread, NULL);
}

void tlspol_free(struct tlspol **t)
{
    if (!*t)
        return;
    tlspol_stop(*t);
    drop(t);
}

void tlspol_reload(struct tlspol *t, const struct tlspol_conf *conf)
{
    struct tlspol_conf own = own_copy(conf);
    pthread_mutex_lock(&t->mutex);
    if (t->has_next)
        free((void *)(uintptr_t)t->next.ca_pem.p);
    t->next = own;
    t->has_next = true;
    pthread_mutex_unlock(&t->mutex);
    fetcher_wake(t->fetcher);
}
