/* Opening and closing: the defaults, the watches that keep the cache true, the decoy. */
#include "auth/auth_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

/* For logins that come when as many wait as may, and look for one to replace. */
enum { SPARE_SECRETS = 16 };

static void changed(struct kv_watch *kv_watch, uint64_t version)
{
    struct watch *watch = CONTAINER(kv_watch, struct watch, kv);
    auth_cache_seen(&watch->auth->cache, kv_watch->part, version);
    auth_warden_wake(watch->auth);
}

static void heed_places(struct auth *auth, const struct auth_guard_conf *c)
{
    atomic_store(&auth->arrivals.news, (unsigned)c->new_place);
    atomic_store(&auth->arrivals.most_mails, c->new_place_mails ? c->new_place_mails : 3);
}

static uint32_t sessions_of(const struct auth_guard_conf *conf)
{
    return conf->account_sessions ? conf->account_sessions : 100;
}

static struct auth_conf with_defaults(const struct auth_conf *conf)
{
    struct auth_conf c = *conf;
    c.hash_ops = c.hash_ops ? c.hash_ops : 3;
    c.hash_memory = c.hash_memory ? c.hash_memory : 64 << 20;
    c.cache_entries = c.cache_entries ? c.cache_entries : 10000;
    c.logins = c.logins ? c.logins : 200;
    c.delayed = c.delayed ? c.delayed : 1000;
    c.verified_entries = c.verified_entries ? c.verified_entries : 10000;
    c.guard_entries = c.guard_entries ? c.guard_entries : 20000;
    c.scram_iterations = c.scram_iterations ? c.scram_iterations : 20000;
    return c;
}

static struct guard_conf guard_conf(const struct auth *auth, const struct auth_guard_conf *c)
{
    return (struct guard_conf){
        .failures = {[GUARD_ACCOUNT] = c->account_failures ? c->account_failures : 20,
                     [GUARD_ADDRESS] = c->address_failures ? c->address_failures : 10,
                     [GUARD_NETWORK] = c->network_failures ? c->network_failures : 50},
        .period_ns = (c->period ? c->period : 900) * NS_PER_SEC,
        .delay_max_ns = (c->delay_max ? c->delay_max : 15) * NS_PER_SEC,
        .entries = auth->conf.guard_entries};
}

static void trust(struct auth *auth, const struct auth_guard_conf *c)
{
    struct net_cidr *copy = mem_alloc((c->n_trusted + 1) * sizeof *copy);
    if (c->n_trusted)
        memcpy(copy, c->trusted, c->n_trusted * sizeof *copy);
    pthread_rwlock_wrlock(&auth->trusted_lock);
    free(auth->trusted);
    auth->trusted = copy;
    auth->n_trusted = c->n_trusted;
    pthread_rwlock_unlock(&auth->trusted_lock);
}

void auth_guard_reload(struct auth *auth, const struct auth_guard_conf *conf)
{
    struct guard_conf guard = guard_conf(auth, conf);
    auth_guard_configure(&auth->guard, &guard);
    atomic_store(&auth->sessions.most, sessions_of(conf));
    heed_places(auth, conf);
    trust(auth, conf);
}

/* All that logins need besides the directory. */
static void logins_init(struct auth *auth)
{
    struct guard_conf guard = guard_conf(auth, &auth->conf.guard);
    budget_init(&auth->logins, auth->conf.logins);
    budget_init(&auth->delayed, auth->conf.delayed);
    auth_turns_init(&auth->turns);
    auth_secrets_init(&auth->secrets, auth->conf.logins + SPARE_SECRETS);
    auth_verified_init(&auth->verified, auth->conf.verified_entries);
    auth_guard_init(&auth->guard, &guard);
    auth_sessions_init(&auth->sessions, sessions_of(&auth->conf.guard));
    auth_warden_init(auth);
    auth_arrivals_init(&auth->arrivals);
    heed_places(auth, &auth->conf.guard);
    pthread_rwlock_init(&auth->trusted_lock, NULL);
    trust(auth, &auth->conf.guard);
    pthread_mutex_init(&auth->notes_mutex, NULL);
    pthread_cond_init(&auth->notes_done, NULL);
    if (auth->conf.hash_lane)
        auth->timers = task_timers_new("delays");
}

static void logins_fini(struct auth *auth)
{
    task_timers_free(&auth->timers);
    auth_place_wait(auth);
    auth_arrivals_fini(&auth->arrivals);
    pthread_cond_destroy(&auth->notes_done);
    pthread_mutex_destroy(&auth->notes_mutex);
    pthread_rwlock_destroy(&auth->trusted_lock);
    free(auth->trusted);
    auth_guard_fini(&auth->guard);
    auth_verified_fini(&auth->verified);
    auth_secrets_fini(&auth->secrets);
    auth_turns_fini(&auth->turns);
}

enum auth_scram auth_scram_of(const char *word)
{
    if (strcmp(word, "on") == 0)
        return AUTH_SCRAM_ON;
    if (strcmp(word, "bound") == 0)
        return AUTH_SCRAM_BOUND;
    return strcmp(word, "keys") == 0 ? AUTH_SCRAM_KEYS : AUTH_SCRAM_OFF;
}

enum rc auth_open(const struct ctx *ctx, struct kv *kv, const struct auth_conf *conf,
                  struct auth **out)
{
    struct auth *auth = mem_zero(sizeof *auth);
    auth->ctx = ctx;
    auth->kv = kv;
    auth->conf = with_defaults(conf);
    crypto_password_decoy(auth->conf.hash_ops, auth->conf.hash_memory, auth->decoy);
    random_bytes(&auth->scram_decoy, sizeof auth->scram_decoy);
    auth_cache_init(&auth->cache, auth->conf.cache_entries);
    logins_init(auth);
    pthread_mutex_init(&auth->secret_mutex, NULL);
    pthread_mutex_init(&auth->domains, NULL);
    pthread_mutex_init(&auth->admin, NULL);
    for (size_t i = 0; i < PARTITIONS; i++) {
        struct watch *watch = &auth->watches[i];
        watch->auth = auth;
        watch->kv.changed = changed;
        watch->kv.part = (struct kv_part){KV_DIRECTORY, i};
        kv_watch_add(kv, &watch->kv);
    }
    auth_blocks_read(auth);
    if (auth->conf.hash_lane)
        auth_warden_start(auth);
    *out = auth;
    return RC_OK;
}

void auth_close(struct auth **auth)
{
    struct auth *a = *auth;
    if (!a)
        return;
    for (size_t i = 0; i < PARTITIONS; i++)
        kv_watch_remove(a->kv, &a->watches[i].kv);
    auth_warden_fini(a);
    auth_sessions_fini(&a->sessions);
    auth_cache_fini(&a->cache);
    logins_fini(a);
    pthread_mutex_destroy(&a->secret_mutex);
    crypto_wipe(a->secret, sizeof a->secret);
    pthread_mutex_destroy(&a->domains);
    pthread_mutex_destroy(&a->admin);
    free(a);
    *auth = NULL;
}
