/* The thread: verifies what is asked, and has those wait whose key is not here yet.
 *
 * 1. A query is in `asked` (mutex), or in `waiting`, or has been answered.
 * 2. Whoever waits does so for one fetch: when that is over each is answered, whatever came of it.
 * 3. Keys are fetched no more often than every FETCH_LEAST_S seconds. */
#include "token/token_int.h"

#include "base/mem.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUERIES_MAX = 1000,
    POLL_MS = 1000,
    FETCH_LEAST_S = 10, /* between two fetches */
    RENEW_S = 3600,     /* keys are fetched anew, while the old ones serve */
    HOLD_S = 86400,     /* keys count, when nothing newer is to be had */
    AT_ONCE = 2
};

static uint64_t mono_s(const struct token *t)
{
    return clock_mono(t->ctx->clock) / NS_PER_SEC + 1; /* never 0 */
}

/* --- configurations --------------------------------------------------------------------------- */

static void rules_free(struct rules **rules)
{
    if (!*rules)
        return;
    keys_free(&(*rules)->keys);
    arena_fini(&(*rules)->arena);
    free(*rules);
    *rules = NULL;
}

static struct str copy(struct rules *r, struct str text)
{
    return text.n ? arena_dup(&r->arena, text) : (struct str){0};
}

static void copy_conf(struct rules *r, const struct token_conf *conf)
{
    size_t n = conf->n_audiences < TOKEN_AUDIENCES_MAX ? conf->n_audiences : TOKEN_AUDIENCES_MAX;
    struct str *audiences = arena_zero(&r->arena, (n + 1) * sizeof *audiences);
    for (size_t i = 0; i < n; i++)
        audiences[i] = copy(r, conf->audiences[i]);
    r->conf = *conf;
    r->conf.issuer = copy(r, conf->issuer);
    r->conf.keys_url = copy(r, conf->keys_url);
    r->conf.keys = (struct str){0};
    r->conf.audiences = audiences;
    r->conf.n_audiences = n;
    r->conf.claim = copy(r, conf->claim);
    r->conf.ca_pem = copy(r, conf->ca_pem);
}

/* Where the issuer's own document is (OpenID Connect Discovery 1.0, 4). */
static enum rc find_discovery(struct str issuer, struct url *out)
{
    char text[URL_MAX + 1];
    if (str_ends(issuer, STR("/")))
        issuer = str_head(issuer, issuer.n - 1);
    int n = snprintf(text, sizeof text, "%.*s/.well-known/openid-configuration", STR_ARG(issuer));
    return n > 0 && (size_t)n < sizeof text ? url_parse(str_from(text, (size_t)n), out) : RC_SYNTAX;
}

static enum rc rules_new(const struct token_conf *conf, struct rules **out, char why[256])
{
    struct rules *r = mem_zero(sizeof *r);
    const char *what = NULL;
    arena_init(&r->arena, 0);
    copy_conf(r, conf);
    if (!conf->issuer.n)
        ; /* nobody's token is good */
    else if (conf->keys.n)
        what = keys_parse(conf->keys, &r->keys) == RC_OK
                   ? NULL
                   : "the file of keys has none that can be used";
    else if (conf->keys_url.n)
        what = url_parse(conf->keys_url, &r->first) == RC_OK
                   ? NULL
                   : "the address of the keys is neither https:// nor http:// to this machine";
    else if (find_discovery(conf->issuer, &r->first) != RC_OK)
        what = "the issuer is neither https:// nor http:// to this machine";
    *out = r;
    if (!what)
        return RC_OK;
    snprintf(why, 256, "%s", what);
    rules_free(out);
    return RC_SYNTAX;
}

static void rules_take(struct token *t, struct rules *next)
{
    rules_free(&t->rules);
    keys_free(&t->keys);
    t->rules = next;
    t->fetched_s = t->tried_s = 0;
    t->has_failed = false;
    t->fetch.is_stale = true;
    t->fetch.get.ca_pem = &next->conf.ca_pem; /* a request that waits to begin looks at it */
}

/* The mutex is held. */
static void note_issuer(struct token *t, struct str issuer)
{
    t->is_on = issuer.n > 0;
    if (!t->is_on || find_discovery(issuer, &t->discovery) != RC_OK)
        t->discovery = (struct url){.port = 0};
}

/* --- one query -------------------------------------------------------------------------------- */

static void answer(struct token *t, struct token_query *q, enum rc rc, const char *cause)
{
    q->rc = rc;
    q->cause = cause;
    pthread_mutex_lock(&t->mutex);
    t->n_asked--;
    pthread_mutex_unlock(&t->mutex);
    q->done(q);
}

static void read_claims(struct token *t, struct token_query *q, struct str json)
{
    struct token_claims claims;
    const char *cause;
    uint64_t now = clock_wall(t->ctx->clock) / NS_PER_SEC;
    enum rc rc = token_claims_read(json, &t->rules->conf, now, &claims, &cause);
    if (rc == RC_OK) {
        memcpy(q->address, claims.address, claims.address_n);
        q->address_n = claims.address_n;
        q->expires = claims.expires;
    }
    answer(t, q, rc, cause);
}

static const struct keys *keys_now(const struct token *t)
{
    if (t->rules->keys)
        return t->rules->keys;
    return t->keys && mono_s(t) < t->fetched_s + HOLD_S ? t->keys : NULL;
}

static bool may_fetch(const struct token *t)
{
    return !t->rules->keys && (!t->tried_s || mono_s(t) >= t->tried_s + FETCH_LEAST_S);
}

static void fetch(struct token *t)
{
    if (t->fetch.is_under_way || t->is_ending)
        return;
    t->tried_s = mono_s(t);
    fetch_begin(t);
}

/* No key for it: wait for those that the issuer has now, or be told what is known. */
static void miss(struct token *t, struct token_query *q, bool may_wait)
{
    bool was_seen = t->rules->keys || (t->keys && !t->has_failed);
    if (may_wait && !t->is_ending && (t->fetch.is_under_way || may_fetch(t))) {
        list_add_tail(&t->waiting, &q->link);
        fetch(t);
    } else if (was_seen && keys_now(t)) {
        answer(t, q, RC_DENIED, "unknown-key");
    } else {
        answer(t, q, RC_TEMP, "issuer-unreachable");
    }
}

static void take(struct token *t, struct token_query *q, bool may_wait)
{
    struct buf payload = {.cap = TOKEN_MAX};
    struct jws_head head;
    const char *cause = "no-issuer";
    enum rc rc = t->rules->conf.issuer.n
                     ? jws_head_read(q->text, t->rules->conf.algorithms, &head, &cause)
                     : RC_DENIED;
    if (rc != RC_OK) {
        answer(t, q, RC_DENIED, cause);
        return;
    }
    const struct keys *keys = keys_now(t);
    rc = keys ? keys_verify(keys, q->text, &head, &payload) : RC_NOTFOUND;
    if (rc == RC_OK)
        read_claims(t, q, buf_str(&payload));
    else if (rc == RC_NOTFOUND)
        miss(t, q, may_wait);
    else
        answer(t, q, RC_DENIED, "signature");
    buf_fini(&payload);
    if (t->keys && mono_s(t) >= t->fetched_s + RENEW_S && may_fetch(t))
        fetch(t);
}

static void take_all(struct token *t, struct list *from, bool may_wait)
{
    struct list all;
    list_init(&all);
    list_splice_tail(&all, from);
    while (!list_is_empty(&all)) {
        struct token_query *q = CONTAINER(list_first(&all), struct token_query, link);
        list_remove(&q->link);
        take(t, q, may_wait);
    }
}

void token_fetched(struct token *t, struct keys *keys, const char *why)
{
    bool is_stale = t->fetch.is_stale;
    struct log_line l;
    if (is_stale) {
        keys_free(&keys);
        take_all(t, &t->waiting, true); /* for the new issuer's */
        return;
    }
    t->has_failed = !keys;
    log_begin(&l, t->ctx->log, keys ? LOG_INFO : LOG_WARNING,
              keys ? "issuer-keys" : "issuer-unreachable");
    log_str(&l, "issuer", t->rules->conf.issuer);
    if (keys)
        log_u64(&l, "keys", keys_count(keys));
    else
        log_text(&l, "cause", why);
    log_end(&l);
    if (keys) {
        keys_free(&t->keys);
        t->keys = keys;
        t->fetched_s = mono_s(t);
    }
    take_all(t, &t->waiting, false);
}

/* --- the thread ------------------------------------------------------------------------------- */

void token_post(struct token *t, struct job *job)
{
    pthread_mutex_lock(&t->mutex);
    list_add_tail(&t->jobs, &job->link);
    https_wake(t->https); /* within: who takes the job may be the last to have https */
    pthread_mutex_unlock(&t->mutex);
}

/* False: the end. */
static bool take_what_came(struct token *t)
{
    struct list jobs, asked;
    list_init(&jobs);
    list_init(&asked);
    pthread_mutex_lock(&t->mutex);
    list_splice_tail(&jobs, &t->jobs);
    list_splice_tail(&asked, &t->asked);
    struct rules *next = t->next;
    t->next = NULL;
    t->is_ending = t->ending;
    pthread_mutex_unlock(&t->mutex);
    if (next)
        rules_take(t, next);
    while (!list_is_empty(&jobs)) {
        struct job *job = CONTAINER(list_first(&jobs), struct job, link);
        list_remove(&job->link);
        job->run(t, job);
    }
    take_all(t, &asked, !t->is_ending);
    return !t->is_ending;
}

/* Questions to DNS that are on their way come back first; dns bounds how long. */
static void *thread_main(void *arg)
{
    struct token *t = arg;
    while (take_what_came(t))
        https_run(t->https, AT_ONCE, POLL_MS);
    take_all(t, &t->waiting, false);
    while (t->fetch.pending) {
        https_run(t->https, 0, POLL_MS);
        take_what_came(t);
    }
    https_free(&t->https); /* the fetch under way fails */
    return NULL;
}

/* --- from other threads ----------------------------------------------------------------------- */

enum rc token_check(struct token *t, struct token_query *q)
{
    pthread_mutex_lock(&t->mutex);
    enum rc rc = t->ending ? RC_TEMP : t->n_asked >= QUERIES_MAX ? RC_LIMIT : RC_OK;
    if (rc == RC_OK) {
        t->n_asked++;
        list_add_tail(&t->asked, &q->link);
        https_wake(t->https);
    }
    pthread_mutex_unlock(&t->mutex);
    return rc;
}

bool token_is_on(struct token *t)
{
    pthread_mutex_lock(&t->mutex);
    bool is_on = t->is_on && !t->ending;
    pthread_mutex_unlock(&t->mutex);
    return is_on;
}

enum rc token_new(const struct ctx *ctx, const struct token_conf *conf, struct token **out,
                  char why[256])
{
    struct token *t = mem_zero(sizeof *t);
    t->ctx = ctx;
    pthread_mutex_init(&t->mutex, NULL);
    list_init(&t->jobs);
    list_init(&t->asked);
    list_init(&t->waiting);
    note_issuer(t, conf->issuer);
    *out = t;
    enum rc rc = rules_new(conf, &t->rules, why);
    if (rc == RC_OK)
        rc = https_new(&t->https, why);
    if (rc != RC_OK)
        token_free(out);
    return rc;
}

void token_start(struct token *t, struct dns *dns)
{
    t->dns = dns;
    t->started = true;
    t->thread = task_thread("token", thread_main, t);
}

enum rc token_reload(struct token *t, const struct token_conf *conf, char why[256])
{
    struct rules *next;
    TRY(rules_new(conf, &next, why));
    pthread_mutex_lock(&t->mutex);
    rules_free(&t->next);
    t->next = next;
    note_issuer(t, conf->issuer);
    if (!t->ending)
        https_wake(t->https);
    pthread_mutex_unlock(&t->mutex);
    return RC_OK;
}

void token_hurry(struct token *t)
{
    pthread_mutex_lock(&t->mutex);
    if (!t->ending)
        https_wake(t->https);
    t->ending = true;
    pthread_mutex_unlock(&t->mutex);
}

void token_stop(struct token *t)
{
    if (t->has_stopped)
        return;
    token_hurry(t);
    if (t->started)
        pthread_join(t->thread, NULL);
    else
        (void)take_what_came(t);
    t->has_stopped = true;
}

void token_discovery(struct token *t, struct buf *out)
{
    pthread_mutex_lock(&t->mutex);
    buf_put(out, str_of(t->discovery.text));
    pthread_mutex_unlock(&t->mutex);
}

void token_free(struct token **token)
{
    struct token *t = *token;
    if (!t)
        return;
    if (t->https)
        token_stop(t);
    https_free(&t->https); /* that was never started */
    rules_free(&t->next);
    rules_free(&t->rules);
    keys_free(&t->keys);
    buf_fini(&t->fetch.addresses);
    pthread_mutex_destroy(&t->mutex);
    free(t);
    *token = NULL;
}
