/* Which account elsewhere is tried when. One thread, the keeper, reads the settings when they have
 * changed, holds the lease, and starts what is due, as far as connections allow; tries run on
 * sessions and end in collect_job_done. */
#include "collect/collect_int.h"

#include "base/random.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LANE_THREADS = 2,
    LANE_QUEUE = 100000,
    LEASE_SECONDS = 120, /* renewed after a third of it */
    LOOK_SECONDS = 60,   /* at least so often everything is looked at */
    FIRST_SECONDS = 30,  /* a first try comes within these, not all at once */
    CLOSE_SECONDS = 30
};

static const struct str lease_name = STR_INIT("collect");

uint64_t collect_now(const struct collect *c)
{
    return clock_wall(c->ctx->clock);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static int compare(const struct job *job, const struct remote *r)
{
    if (job->remote.account != r->account)
        return job->remote.account < r->account ? -1 : 1;
    return job->remote.id < r->id ? -1 : job->remote.id > r->id;
}

static void copy_remote(struct job *job, const struct remote *r)
{
    arena_reset(&job->arena);
    job->remote = *r;
    job->remote.owner = arena_dup(&job->arena, r->owner);
    job->remote.host = arena_dup(&job->arena, r->host);
    job->remote.login = arena_dup(&job->arena, r->login);
    job->remote.sealed = arena_dup(&job->arena, r->sealed);
    job->remote.folders = arena_dup(&job->arena, r->folders);
    job->remote.raw = arena_dup(&job->arena, r->raw);
}

static void job_free(struct job *job)
{
    list_remove(&job->link);
    arena_fini(&job->arena);
    pthread_mutex_destroy(&job->mutex);
    free(job);
}

/* The one with these numbers, or a new one at its place; `at`: where to begin looking. */
static struct job *job_at(struct collect *c, struct list **at, const struct remote *r)
{
    while (*at != &c->jobs && compare(CONTAINER(*at, struct job, link), r) < 0)
        *at = (*at)->next;
    if (*at != &c->jobs && compare(CONTAINER(*at, struct job, link), r) == 0)
        return CONTAINER(*at, struct job, link);
    struct job *job = mem_zero(sizeof *job);
    job->collect = c;
    job->start.run = collect_try_start;
    pthread_mutex_init(&job->mutex, NULL);
    list_add_tail(*at, &job->link);
    copy_remote(job, r);
    return job;
}

/* What the state says of a job that is new here, or has been changed. */
static void schedule(struct job *job, const struct remote *r, const struct remote_state *state)
{
    bool is_first = job->state.due == 0;
    bool was_stopped = state->condition == REMOTE_STOPPED;
    if (is_first) {
        job->state = *state;
        memcpy(job->text, state->text.n ? state->text.p : "", state->text.n);
        job->text[state->text.n] = '\0';
        job->state.text = str_of(job->text);
    }
    uint64_t now = collect_now(job->collect);
    if (is_first && state->due == 0)
        job->state.due = now;
    else if (is_first && state->due < now)
        job->state.due = now + random_u64() % (FIRST_SECONDS * NS_PER_SEC);
    if (r->asked > job->state.asked || (was_stopped && r->credentials != job->state.credentials))
        job->state.due = now;
}

/* So that it goes on with what has been changed. */
static void stop_idling(struct job *job)
{
    pthread_mutex_lock(&job->mutex);
    if (job->is_idling && job->session && !job->is_over)
        fetch_stop(job->session);
    pthread_mutex_unlock(&job->mutex);
}

static enum rc read_job(struct collect *c, struct list **at, const struct remote *r,
                        struct arena *arena)
{
    struct remote_state state;
    TRY(remote_state_get(c->conf.kv, r->account, r->id, arena, &state));
    pthread_mutex_lock(&c->mutex);
    struct job *job = job_at(c, at, r);
    job->is_met = true;
    if (!job->is_running) {
        copy_remote(job, r);
        schedule(job, r, &state);
    } else if (!str_eq(job->remote.raw, r->raw)) {
        job->is_changed = true;
        stop_idling(job);
    }
    pthread_mutex_unlock(&c->mutex);
    return RC_OK;
}

/* Those that are not in the settings any more. */
static void drop_gone(struct collect *c)
{
    LIST_EACH_SAFE (&c->jobs, it) {
        struct job *job = CONTAINER(it, struct job, link);
        bool is_met = job->is_met;
        job->is_met = false;
        if (is_met)
            continue;
        job->is_changed = true; /* it goes when it has ended */
        if (job->is_running)
            stop_idling(job);
        else
            job_free(job);
    }
}

static enum rc read_settings(struct collect *c)
{
    struct arena arena = {0};
    struct remote *all = NULL;
    size_t n = 0;
    struct list *at = c->jobs.next;
    enum rc rc = remote_list(c->conf.kv, 0, &arena, &all, &n);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = read_job(c, &at, &all[i], &arena);
    pthread_mutex_lock(&c->mutex);
    if (rc == RC_OK)
        drop_gone(c);
    pthread_mutex_unlock(&c->mutex);
    arena_fini(&arena);
    return rc;
}

void collect_job_done(struct job *job)
{
    struct collect *c = job->collect;
    pthread_mutex_lock(&c->mutex);
    c->n_running--;
    c->n_idle -= job->is_idling;
    c->is_stale |= job->is_changed || job->is_idling;
    job->is_running = job->is_idling = job->is_changed = false;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

bool collect_may_idle(struct job *job)
{
    struct collect *c = job->collect;
    pthread_mutex_lock(&c->mutex);
    bool may = job->remote.protocol == FETCH_IMAP && c->n_idle < c->conf.settings.idle;
    job->is_idling = may;
    c->n_idle += may;
    pthread_mutex_unlock(&c->mutex);
    return may;
}

/* --- what is due ------------------------------------------------------------------------------ */

static size_t running_of(struct collect *c, uint64_t account)
{
    size_t n = 0;
    LIST_EACH (&c->jobs, it) {
        const struct job *job = CONTAINER(it, struct job, link);
        n += job->is_running && job->remote.account == account;
    }
    return n;
}

static bool is_tried(const struct job *job)
{
    bool is_asked = job->remote.asked > job->state.asked;
    bool is_new = job->remote.credentials != job->state.credentials;
    return !job->is_running && (job->state.condition != REMOTE_STOPPED || is_asked || is_new);
}

/* Starts what is due; the time of the next one. The lock is held. */
static uint64_t start_due(struct collect *c, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    bool may = c->has_lease && !c->is_draining;
    LIST_EACH (&c->jobs, it) {
        struct job *job = CONTAINER(it, struct job, link);
        if (!may || !is_tried(job))
            continue;
        if (job->state.due > now) {
            next = job->state.due < next ? job->state.due : next;
            continue;
        }
        if (c->n_running >= c->conf.settings.connections)
            break; /* one that ends wakes us */
        if (running_of(c, job->remote.account) >= c->conf.settings.per_account)
            continue;
        job->is_running = true;
        job->set = c->conf.settings;
        c->n_running++;
        if (task_lane_post(c->lane, &job->start) != RC_OK) {
            job->is_running = false;
            c->n_running--;
        }
    }
    return next;
}

/* Blocks. */
static void hold_lease(struct collect *c)
{
    uint64_t epoch, now = clock_mono(c->ctx->clock);
    if (c->has_lease && now < c->lease_until)
        return;
    enum rc rc = kv_lease_take(c->conf.kv, remote_states_part, lease_name, c->conf.node,
                               LEASE_SECONDS * NS_PER_SEC, &epoch);
    bool has = rc == RC_OK;
    pthread_mutex_lock(&c->mutex);
    if (has && !c->has_lease) { /* somebody else may have collected since */
        c->is_stale = true;
        LIST_EACH (&c->jobs, it) {
            struct job *job = CONTAINER(it, struct job, link);
            if (!job->is_running) /* else it has its next time when it ends */
                job->state.due = 0;
        }
    }
    c->has_lease = has;
    c->lease_until = now + LEASE_SECONDS / 3 * NS_PER_SEC;
    pthread_mutex_unlock(&c->mutex);
}

static void wait_until(struct collect *c, uint64_t next, uint64_t now)
{
    uint64_t ns = LOOK_SECONDS / 2 * NS_PER_SEC;
    if (next != UINT64_MAX)
        ns = next <= now ? 1 : next - now < ns ? next - now : ns;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    uint64_t end = (uint64_t)at.tv_sec * NS_PER_SEC + (uint64_t)at.tv_nsec + ns;
    at = (struct timespec){(time_t)(end / NS_PER_SEC), (long)(end % NS_PER_SEC)};
    (void)pthread_cond_timedwait(&c->changed, &c->mutex, &at);
}

static void *keeper_main(void *arg)
{
    struct collect *c = arg;
    pthread_mutex_lock(&c->mutex);
    while (!c->is_ending) {
        pthread_mutex_unlock(&c->mutex);
        hold_lease(c);
        pthread_mutex_lock(&c->mutex);
        bool is_stale = c->is_stale;
        c->is_stale = false;
        pthread_mutex_unlock(&c->mutex);
        enum rc rc = is_stale ? read_settings(c) : RC_OK;
        if (rc != RC_OK)
            log_event(c->ctx->log, LOG_WARNING, "collections-not-read", "cause", rc_name(rc), NULL);
        pthread_mutex_lock(&c->mutex);
        uint64_t now = collect_now(c), next = start_due(c, now);
        if (!c->is_ending && (!c->is_stale || rc != RC_OK))
            wait_until(c, next, now);
        c->is_stale |= rc != RC_OK;
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* --- from outside ----------------------------------------------------------------------------- */

static void changed(struct kv_watch *watch, uint64_t version)
{
    struct collect *c = CONTAINER(watch, struct collect, watch);
    pthread_mutex_lock(&c->mutex);
    c->is_stale = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void or_usual(uint64_t *value, uint64_t usual)
{
    *value = *value ? *value : usual;
}

static void or_default(uint32_t *value, uint32_t usual)
{
    *value = *value ? *value : usual;
}

static struct collect_settings settings_of(const struct collect_settings *given)
{
    struct collect_settings s = *given;
    or_usual(&s.interval_ms, 600000);
    or_usual(&s.retry_max_ms, 14400000);
    or_default(&s.per_account, 4);
    or_default(&s.messages, 100000);
    or_usual(&s.message_bytes, 50 << 20);
    or_usual(&s.tell_ms, 86400000);
    return s;
}

static struct str keep(struct str s)
{
    return str_from(mem_dup(s.p, s.n), s.n);
}

void collect_open(const struct ctx *ctx, const struct collect_conf *conf, struct collect **out)
{
    struct collect *c = mem_zero(sizeof *c);
    pthread_condattr_t monotonic;
    c->ctx = ctx;
    c->conf = *conf;
    c->conf.hostname = keep(conf->hostname);
    c->conf.node = keep(conf->node);
    c->conf.avoid = mem_dup(conf->avoid, conf->n_avoid * sizeof *conf->avoid);
    c->conf.settings = settings_of(&conf->settings);
    c->house = (struct fetch_house){ctx, conf->net, conf->tls};
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&c->jobs);
    c->is_stale = true;
    c->lane = task_lane_new("collect", LANE_THREADS, LANE_QUEUE);
    c->watch = (struct kv_watch){.changed = changed, .part = remote_settings_part};
    kv_watch_add(conf->kv, &c->watch);
    c->keeper = task_thread("collect", keeper_main, c);
    *out = c;
}

void collect_set(struct collect *c, const struct collect_settings *settings)
{
    pthread_mutex_lock(&c->mutex);
    c->conf.settings = settings_of(settings);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void collect_drain(struct collect *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mutex);
    c->is_draining = true;
    pthread_mutex_unlock(&c->mutex);
}

/* False: something still runs. */
static bool wait_for_jobs(struct collect *c)
{
    struct timespec end;
    int error = 0;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += CLOSE_SECONDS;
    while (c->n_running && error == 0)
        error = pthread_cond_timedwait(&c->changed, &c->mutex, &end);
    return c->n_running == 0;
}

bool collect_close(struct collect **collect)
{
    struct collect *c = *collect;
    if (!c)
        return true;
    pthread_mutex_lock(&c->mutex);
    c->is_draining = c->is_ending = true;
    pthread_cond_broadcast(&c->changed);
    bool is_over = wait_for_jobs(c);
    pthread_mutex_unlock(&c->mutex);
    if (!is_over)
        return false;
    pthread_join(c->keeper, NULL);
    kv_watch_remove(c->conf.kv, &c->watch);
    task_lane_free(&c->lane);
    if (c->has_lease)
        (void)kv_lease_give(c->conf.kv, remote_states_part, lease_name, c->conf.node);
    while (!list_is_empty(&c->jobs))
        job_free(CONTAINER(list_first(&c->jobs), struct job, link));
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
    free((void *)(uintptr_t)c->conf.hostname.p);
    free((void *)(uintptr_t)c->conf.node.p);
    free((void *)(uintptr_t)c->conf.avoid);
    free(c);
    *collect = NULL;
    return true;
}
