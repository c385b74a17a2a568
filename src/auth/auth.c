/* Opening and closing: the defaults, the watches that keep the cache true, the decoy. */
#include "auth/auth_int.h"

#include "base/mem.h"

#include <stdlib.h>

static void changed(struct kv_watch *kv_watch, uint64_t version)
{
    struct watch *watch = CONTAINER(kv_watch, struct watch, kv);
    auth_cache_seen(&watch->auth->cache, kv_watch->part, version);
}

static struct auth_conf with_defaults(const struct auth_conf *conf)
{
    struct auth_conf c = *conf;
    c.hash_ops = c.hash_ops ? c.hash_ops : 3;
    c.hash_memory = c.hash_memory ? c.hash_memory : 64 << 20;
    c.cache_entries = c.cache_entries ? c.cache_entries : 10000;
    c.logins = c.logins ? c.logins : 200;
    return c;
}

enum rc auth_open(const struct ctx *ctx, struct kv *kv, const struct auth_conf *conf,
                  struct auth **out)
{
    struct auth *auth = mem_zero(sizeof *auth);
    auth->ctx = ctx;
    auth->kv = kv;
    auth->conf = with_defaults(conf);
    crypto_password_decoy(auth->conf.hash_ops, auth->conf.hash_memory, auth->decoy);
    auth_cache_init(&auth->cache, auth->conf.cache_entries);
    budget_init(&auth->logins, auth->conf.logins);
    auth_turns_init(&auth->turns);
    pthread_mutex_init(&auth->domains, NULL);
    pthread_mutex_init(&auth->admin, NULL);
    for (size_t i = 0; i < PARTITIONS; i++) {
        struct watch *watch = &auth->watches[i];
        watch->auth = auth;
        watch->kv.changed = changed;
        watch->kv.part = (struct kv_part){KV_DIRECTORY, i};
        kv_watch_add(kv, &watch->kv);
    }
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
    auth_cache_fini(&a->cache);
    auth_turns_fini(&a->turns);
    pthread_mutex_destroy(&a->domains);
    pthread_mutex_destroy(&a->admin);
    free(a);
    *auth = NULL;
}
