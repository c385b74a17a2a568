/* Logins on their way to their files: the same ones are gathered, and what fails is noted at a
 * bounded rate, so that a flood leaves room for what it wants to hide.
 *
 * Invariants: the first of a kind (what, address, peer, protocol, cause) is noted at once; those
 * that follow within its time are counted, and the count is noted when the next one comes later,
 * when somebody asks, when it gives way to others, or at the end. At most KINDS are remembered. */
#include "trace/trace_int.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KINDS = 4096,
    RATE = 2,     /* failures a second */
    BURST = 2000, /* at once */
    TEXT = TRACE_TEXT_MAX
};

struct kind {
    struct map_node node;
    struct list link; /* the one begun last at the end */
    uint64_t begun, last;
    uint64_t times; /* since it was noted */
    enum trace_what what;
    const char *protocol;
    size_t n_address, n_peer, n_cause;
    char text[]; /* one behind the other */
};

struct logins {
    const struct ctx *ctx;
    struct login_sink *sink;
    pthread_mutex_t mutex;
    struct map map;
    struct list kinds;
    size_t n;
    uint64_t key[2];
    uint64_t tokens, filled; /* failures that may be noted; up to when that was counted, s */
};

struct logins *logins_new(const struct ctx *ctx, struct login_sink *sink)
{
    struct logins *l = mem_zero(sizeof *l);
    l->ctx = ctx;
    l->sink = sink;
    l->tokens = BURST;
    l->filled = clock_mono(ctx->clock) / NS_PER_SEC;
    random_bytes(l->key, sizeof l->key);
    pthread_mutex_init(&l->mutex, NULL);
    map_init(&l->map);
    list_init(&l->kinds);
    return l;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* `times` more of it, or 0: it is the first one. */
static void put(struct logins *l, const struct trace_login *login, uint64_t time, uint64_t times)
{
    char checks[120];
    int n = snprintf(checks, sizeof checks, "protocol=%s", login->protocol ? login->protocol : "?");
    if (login->delay_ms)
        n += snprintf(checks + n, sizeof checks - (size_t)n, " delayed=%llus",
                      (unsigned long long)(login->delay_ms + 999) / 1000);
    if (times)
        snprintf(checks + n, sizeof checks - (size_t)n, " times=%llu", (unsigned long long)times);
    const struct trace_event event = {.what = login->what,
                                      .time = time,
                                      .to = &login->address,
                                      .n_to = 1,
                                      .peer = login->peer,
                                      .session = login->session,
                                      .checks = str_of(checks),
                                      .other = login->cause};
    l->sink->put(l->sink, &event);
}

static void put_rest(struct logins *l, struct kind *k)
{
    struct str text = str_from(k->text, k->n_address + k->n_peer + k->n_cause);
    struct trace_login login = {.what = k->what, .protocol = k->protocol};
    login.address = str_head(text, k->n_address);
    login.peer = str_sub(text, k->n_address, k->n_peer);
    login.cause = str_skip(text, k->n_address + k->n_peer);
    if (k->times)
        put(l, &login, k->last, k->times);
    k->times = 0;
}

static void drop(struct logins *l, struct kind *k)
{
    put_rest(l, k);
    map_remove(&l->map, &k->node);
    list_remove(&k->link);
    l->n--;
    free(k);
}

void logins_flush(struct logins *l)
{
    pthread_mutex_lock(&l->mutex);
    LIST_EACH (&l->kinds, it)
        put_rest(l, CONTAINER(it, struct kind, link));
    pthread_mutex_unlock(&l->mutex);
}

void logins_free(struct logins **logins)
{
    struct logins *l = *logins;
    LIST_EACH_SAFE (&l->kinds, it)
        drop(l, CONTAINER(it, struct kind, link));
    map_fini(&l->map);
    pthread_mutex_destroy(&l->mutex);
    free(l);
    *logins = NULL;
}

/* --- what is the same ------------------------------------------------------------------------- */

static bool is_failure(enum trace_what what)
{
    return what == TRACE_LOGIN_FAILED || what == TRACE_LOGIN_REFUSED;
}

static uint64_t window_of(enum trace_what what)
{
    if (what == TRACE_LOGIN)
        return 3600 * NS_PER_SEC;
    return is_failure(what) ? 60 * NS_PER_SEC : 0;
}

/* A key that nobody knows: what has the same hash is the same. */
static uint64_t hash_of(const struct logins *l, const struct trace_login *login)
{
    uint64_t parts[5] = {(uint64_t)login->what, str_hash(login->address, l->key),
                         str_hash(login->peer, l->key), str_hash(login->cause, l->key),
                         str_hash(str_of(login->protocol ? login->protocol : ""), l->key)};
    return str_hash(str_from(parts, sizeof parts), l->key);
}

static struct kind *add(struct logins *l, const struct trace_login *login, uint64_t hash)
{
    if (l->n >= KINDS)
        drop(l, CONTAINER(list_first(&l->kinds), struct kind, link));
    struct kind *k = mem_zero(sizeof *k + login->address.n + login->peer.n + login->cause.n);
    k->what = login->what;
    k->protocol = login->protocol;
    k->n_address = login->address.n;
    k->n_peer = login->peer.n;
    k->n_cause = login->cause.n;
    struct str parts[] = {login->address, login->peer, login->cause};
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].n)
            memcpy(k->text + at, parts[i].p, parts[i].n);
        at += parts[i].n;
    }
    map_add(&l->map, &k->node, hash);
    list_add_tail(&l->kinds, &k->link);
    l->n++;
    return k;
}

static bool may_note(struct logins *l, enum trace_what what)
{
    uint64_t now = clock_mono(l->ctx->clock) / NS_PER_SEC;
    if (!is_failure(what))
        return true;
    l->tokens += now > l->filled ? (now - l->filled) * RATE : 0;
    l->tokens = l->tokens < BURST ? l->tokens : BURST;
    l->filled = now;
    if (!l->tokens)
        return false;
    l->tokens--;
    return true;
}

void logins_add(struct logins *l, const struct trace_login *given)
{
    struct trace_login login = *given;
    uint64_t now = clock_wall(l->ctx->clock), window = window_of(login.what);
    login.address = str_head(login.address, TEXT);
    login.peer = str_head(login.peer, TEXT);
    login.cause = str_head(login.cause, TEXT);
    uint64_t hash = hash_of(l, &login);
    pthread_mutex_lock(&l->mutex);
    struct map_node *node = window ? map_find(&l->map, hash) : NULL;
    struct kind *k = node ? CONTAINER(node, struct kind, node) : NULL;
    if (k && now - k->begun < window) {
        k->times++;
        k->last = now;
    } else if (!may_note(l, login.what)) {
        counter_add(l->ctx->counters, COUNTER_TRACE_LOGINS_SKIPPED, 1);
    } else {
        if (k)
            drop(l, k);
        if (window)
            add(l, &login, hash)->begun = now;
        put(l, &login, now, 0);
    }
    pthread_mutex_unlock(&l->mutex);
}
