/* The store: which accounts are in memory, and for how long.
 *
 * Invariants:
 *   1. At most one struct store_account an id is in the map; it is loaded once, by whoever asked
 *      first, and the others wait for that.
 *   2. An account's refs count its users and its changes under way. The last one is given back
 *      under store.mutex only; then the account is idle, oldest first in a list that a byte budget
 *      bounds, and only idle accounts leave the memory.
 *   3. A loading that failed leaves the map at once and is freed by the last who waited for it.
 * No disk is waited for under store.mutex. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>

static const struct store_conf defaults = {
    .memory_bytes = 64 << 20,
    .undelete_ns = 7 * 86400 * NS_PER_SEC,
    .changes_ns = 30 * 86400 * NS_PER_SEC,
};

struct kv_part account_part(uint64_t id)
{
    return (struct kv_part){KV_ACCOUNT, id};
}

uint64_t store_now(const struct store *store)
{
    return clock_wall(store->ctx->clock);
}

enum rc store_open(const struct ctx *ctx, struct kv *kv, const struct store_conf *conf,
                   struct store **out)
{
    struct store *s = mem_zero(sizeof *s);
    s->ctx = ctx;
    s->kv = kv;
    s->conf = *conf;
    if (s->conf.memory_bytes == 0)
        s->conf.memory_bytes = defaults.memory_bytes;
    if (s->conf.undelete_ns == 0)
        s->conf.undelete_ns = defaults.undelete_ns;
    if (s->conf.changes_ns == 0)
        s->conf.changes_ns = defaults.changes_ns;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    map_init(&s->accounts);
    list_init(&s->idle);
    enum rc rc = quota_defaults_init(s);
    if (rc == RC_OK)
        *out = s;
    else
        store_close(&s);
    return rc;
}

/* --- the life of an account in memory --------------------------------------------------------- */

static struct store_account *account_new(struct store *s, uint64_t id)
{
    struct store_account *a = mem_zero(sizeof *a);
    a->store = s;
    a->id = id;
    a->state = ACCOUNT_LOADING;
    atomic_init(&a->refs, 1);
    atomic_init(&a->is_locked, false);
    atomic_init(&a->is_brought, false);
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->cond, NULL);
    pthread_mutex_init(&a->watch_mutex, NULL);
    list_init(&a->idle);
    list_init(&a->in_flight);
    list_init(&a->kept);
    list_init(&a->watches);
    list_init(&a->readers);
    news_init(&a->news);
    return a;
}

static void account_free(struct store_account *a)
{
    account_unload(a);
    pthread_mutex_destroy(&a->mutex);
    pthread_cond_destroy(&a->cond);
    pthread_mutex_destroy(&a->watch_mutex);
    free(a);
}

static struct store_account *account_find(struct store *s, uint64_t id)
{
    for (struct map_node *n = map_find(&s->accounts, map_hash_u64(id)); n; n = map_next(n)) {
        struct store_account *a = CONTAINER(n, struct store_account, node);
        if (a->id == id)
            return a;
    }
    return NULL;
}

static uint64_t account_bytes(const struct store_account *a)
{
    uint64_t n = sizeof *a;
    for (size_t i = 0; i < a->n_mailboxes; i++) {
        n += sizeof *a->mailboxes[i] + a->mailboxes[i]->head.m.name.n;
        if (a->mailboxes[i]->root)
            n += root_bytes(a->mailboxes[i]->root);
    }
    return n;
}

/* Takes idle accounts out of memory, the one longest idle first, down to this many bytes. */
static void evict(struct store *s, uint64_t bytes)
{
    while (s->idle_bytes > bytes && !list_is_empty(&s->idle)) {
        struct store_account *a = CONTAINER(list_first(&s->idle), struct store_account, idle);
        list_remove(&a->idle);
        map_remove(&s->accounts, &a->node);
        s->idle_bytes -= a->bytes;
        account_free(a);
    }
}

void account_ref(struct store_account *a)
{
    atomic_fetch_add(&a->refs, 1);
}

void account_unref(struct store_account *a)
{
    uint32_t refs = atomic_load(&a->refs);
    while (refs > 1)
        if (atomic_compare_exchange_weak(&a->refs, &refs, refs - 1))
            return;
    struct store *s = a->store;
    pthread_mutex_lock(&s->mutex);
    if (atomic_fetch_sub(&a->refs, 1) == 1) {
        s->n_used--;
        if (a->state == ACCOUNT_READY) {
            a->bytes = account_bytes(a);
            s->idle_bytes += a->bytes;
            list_add_tail(&s->idle, &a->idle);
            evict(s, s->conf.memory_bytes);
        } else {
            account_free(a);
        }
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
}

/* One more user of an account that is in the map. */
static void account_use(struct store_account *a)
{
    if (atomic_fetch_add(&a->refs, 1) == 0) {
        list_remove(&a->idle);
        a->store->idle_bytes -= a->bytes;
        a->store->n_used++;
    }
}

void store_close(struct store **store)
{
    struct store *s = *store;
    *store = NULL;
    if (!s)
        return;
    pthread_mutex_lock(&s->mutex);
    while (s->n_used) /* the last change of an account is just being told */
        pthread_cond_wait(&s->changed, &s->mutex);
    evict(s, 0);
    pthread_mutex_unlock(&s->mutex);
    map_fini(&s->accounts);
    quota_defaults_fini(s);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->changed);
    free(s);
}

/* Loads a new account, which is in the map already; s->mutex is held, but not meanwhile. */
static void load(struct store *s, struct store_account *a)
{
    pthread_mutex_unlock(&s->mutex);
    enum rc rc = account_load(a);
    pthread_mutex_lock(&s->mutex);
    a->load_rc = rc;
    a->state = rc == RC_OK ? ACCOUNT_READY : ACCOUNT_FAILED;
    if (rc != RC_OK)
        map_remove(&s->accounts, &a->node);
    pthread_cond_broadcast(&s->changed);
}

enum rc store_account_open(struct store *s, uint64_t id, unsigned flags, struct store_account **out)
{
    *out = NULL;
    pthread_mutex_lock(&s->mutex);
    struct store_account *a = account_find(s, id);
    bool is_there = a && a->state == ACCOUNT_READY;
    if (!is_there && flags & KV_CACHED) {
        pthread_mutex_unlock(&s->mutex);
        return RC_AGAIN;
    }
    if (a) {
        account_use(a);
        while (a->state == ACCOUNT_LOADING)
            pthread_cond_wait(&s->changed, &s->mutex);
    } else {
        a = account_new(s, id);
        s->n_used++;
        map_add(&s->accounts, &a->node, map_hash_u64(id));
        load(s, a);
    }
    enum rc rc = a->load_rc;
    pthread_mutex_unlock(&s->mutex);
    if (rc == RC_OK)
        *out = a;
    else
        account_unref(a);
    return rc;
}

void store_account_close(struct store_account **account)
{
    if (*account)
        account_unref(*account);
    *account = NULL;
}

enum rc store_hold(struct store *s, uint64_t id, struct store_account **out)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&s->mutex);
    struct store_account *a = account_find(s, id);
    if (a && atomic_load(&a->refs)) {
        rc = RC_CONFLICT;
    } else {
        if (a) {
            list_remove(&a->idle);
            map_remove(&s->accounts, &a->node);
            s->idle_bytes -= a->bytes;
            account_free(a);
        }
        *out = account_new(s, id);
        s->n_used++;
        map_add(&s->accounts, &(*out)->node, map_hash_u64(id));
    }
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

void store_unhold(struct store_account *a)
{
    struct store *s = a->store;
    pthread_mutex_lock(&s->mutex);
    a->state = ACCOUNT_FAILED;
    a->load_rc = RC_NOTFOUND;
    map_remove(&s->accounts, &a->node);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    account_unref(a);
}

/* --- small things ----------------------------------------------------------------------------- */

uint64_t store_account_id(const struct store_account *account)
{
    return account->id;
}

void store_account_usage(struct store_account *a, struct store_usage *out)
{
    pthread_mutex_lock(&a->mutex);
    const struct hot *h = &a->published.hot;
    *out = (struct store_usage){.bytes = h->bytes,
                                .messages = h->messages,
                                .quota = quota_in_force(a->store, h),
                                .modseq = h->next_modseq - 1};
    pthread_mutex_unlock(&a->mutex);
}

bool store_pop3_lock(struct store_account *account)
{
    return !atomic_exchange(&account->is_locked, true);
}

void store_pop3_unlock(struct store_account *account)
{
    atomic_store(&account->is_locked, false);
}

bool store_bring_lock(struct store_account *account)
{
    return !atomic_exchange(&account->is_brought, true);
}

void store_bring_unlock(struct store_account *account)
{
    atomic_store(&account->is_brought, false);
}

void store_watch_add(struct store_account *a, struct store_watch *watch)
{
    pthread_mutex_lock(&a->watch_mutex);
    list_add_tail(&a->watches, &watch->link);
    pthread_mutex_unlock(&a->watch_mutex);
}

void store_watch_remove(struct store_account *a, struct store_watch *watch)
{
    pthread_mutex_lock(&a->watch_mutex);
    list_remove(&watch->link);
    pthread_mutex_unlock(&a->watch_mutex);
}
