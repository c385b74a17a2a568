/* Quota: what an account may hold, and whether something more has room.
 *
 * A limit is the account's own, in its hot record, or the default of its group (a domain's), in a
 * partition of the store's own, which is read whole when the store is opened: there are few of
 * them, and none is read per account. A changed default holds for the next message of each account.
 *
 * The check is made by the account's writer against its head, so that what is queued counts: two
 * messages at the same moment never pass together. Limits below what is there refuse new mail and
 * touch nothing else. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>

const struct kv_part quota_defaults_part = {KV_GLOBAL, 1};

struct group {
    struct map_node node;
    struct list link;
    uint64_t id;
    struct store_quota quota;
};

static struct key key_of_group(uint64_t id)
{
    struct key key = {.b = {'q'}, .n = 9};
    put_u64(key.b + 1, id);
    return key;
}

static struct group *find(struct quota_defaults *d, uint64_t id)
{
    for (struct map_node *n = map_find(&d->groups, map_hash_u64(id)); n; n = map_next(n))
        if (CONTAINER(n, struct group, node)->id == id)
            return CONTAINER(n, struct group, node);
    return NULL;
}

static void keep(struct quota_defaults *d, uint64_t id, struct store_quota quota)
{
    pthread_mutex_lock(&d->mutex);
    struct group *g = find(d, id);
    if (!g) {
        g = mem_zero(sizeof *g);
        g->id = id;
        map_add(&d->groups, &g->node, map_hash_u64(id));
        list_add_tail(&d->list, &g->link);
    }
    g->quota = quota;
    pthread_mutex_unlock(&d->mutex);
}

static enum rc keep_row(struct quota_defaults *d, const struct kv_row *row)
{
    struct unpacker r;
    unpack_init(&r, row->value);
    if (row->key.n != 9 || unpack_u8(&r) != RECORD_FORMAT)
        return RC_CORRUPT;
    struct store_quota quota = {0};
    quota.bytes = unpack_u64(&r);
    quota.messages = unpack_u64(&r);
    TRY(unpack_done(&r));
    keep(d, get_u64(row->key.p + 1), quota);
    return RC_OK;
}

enum rc quota_defaults_init(struct store *s)
{
    struct quota_defaults *d = &s->defaults;
    const struct kv_range range = {.from = STR("q"), .to = STR("r")};
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    pthread_mutex_init(&d->mutex, NULL);
    map_init(&d->groups);
    list_init(&d->list);
    kv_walk_begin(&walk, s->kv, quota_defaults_part, range, 0);
    do
        rc = kv_walk_next(&walk, &row);
    while (rc == RC_OK && (rc = keep_row(d, &row)) == RC_OK);
    kv_walk_end(&walk);
    return rc == RC_EOF ? RC_OK : rc;
}

void quota_defaults_fini(struct store *s)
{
    LIST_EACH_SAFE (&s->defaults.list, it)
        free(CONTAINER(it, struct group, link));
    map_fini(&s->defaults.groups);
    pthread_mutex_destroy(&s->defaults.mutex);
}

enum rc store_default_set(struct store *store, uint64_t group, struct store_quota quota)
{
    unsigned char mem[32];
    struct packer w;
    struct key key = key_of_group(group);
    struct kv_txn *txn = kv_txn_new(quota_defaults_part);
    pack_init(&w, mem, sizeof mem);
    pack_u8(&w, RECORD_FORMAT);
    pack_u64(&w, quota.bytes);
    pack_u64(&w, quota.messages);
    enum rc rc = quota.bytes || quota.messages ? kv_txn_put(txn, key_str(&key), pack_done(&w))
                                               : kv_txn_delete(txn, key_str(&key));
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    TRY(kv_commit_wait(store->kv, txn, NULL));
    keep(&store->defaults, group, quota);
    return RC_OK;
}

struct store_quota store_default(struct store *store, uint64_t group)
{
    struct quota_defaults *d = &store->defaults;
    struct store_quota quota = {0};
    pthread_mutex_lock(&d->mutex);
    const struct group *g = find(d, group);
    if (g)
        quota = g->quota;
    pthread_mutex_unlock(&d->mutex);
    return quota;
}

struct store_quota quota_in_force(struct store *store, const struct hot *h)
{
    struct store_quota q = h->quota;
    if (!q.inherited)
        return q;
    struct store_quota d = store_default(store, q.group);
    if (q.inherited & STORE_QUOTA_BYTES)
        q.bytes = d.bytes;
    if (q.inherited & STORE_QUOTA_MESSAGES)
        q.messages = d.messages;
    return q;
}

enum rc quota_check(struct store *store, const struct hot *h, uint64_t n, uint64_t bytes)
{
    struct store_quota q = quota_in_force(store, h);
    if (q.messages && (h->messages > q.messages || n > q.messages - h->messages))
        return RC_LIMIT;
    if (q.bytes && (h->bytes > q.bytes || bytes > q.bytes - h->bytes))
        return RC_LIMIT;
    return RC_OK;
}

enum rc store_account_has_room(struct store_account *a, uint64_t size)
{
    pthread_mutex_lock(&a->mutex);
    enum rc rc = quota_check(a->store, &a->head.hot, 1, size ? size : 1);
    pthread_mutex_unlock(&a->mutex);
    return rc;
}
