/* What there is to carry: the partitions that their owners name. A folder that keeps rows in other
 * partitions names them likewise, and gets its line here; the tests compare the number of rows of
 * both stores, which finds one that is not named. */
#include "migrate/migrate_int.h"

#include "queue/queue.h"
#include "remote/remote.h"
#include "store/store.h"
#include "tlspol/tlspol.h"

enum { IDS = 256 };

static bool (*const owners[])(size_t n, struct kv_part *out) = {
    auth_partition, store_partition, queue_partition, tlspol_partition, remote_partition,
};

static enum rc each_fixed(struct plan_walk *walk)
{
    struct kv_part part;
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++)
        for (size_t n = 0; owners[i](n, &part); n++)
            TRY(walk->part(walk, part));
    return RC_OK;
}

static enum rc each_of_account(struct plan_walk *walk, uint64_t id)
{
    struct kv_part part;
    for (size_t n = 0; store_account_partition(id, n, &part); n++)
        TRY(walk->part(walk, part));
    return RC_OK;
}

enum rc plan_each(struct migrate *m, struct plan_walk *walk)
{
    uint64_t ids[IDS], after = 0;
    size_t n = 0;
    for (size_t i = 0; i < m->n_only; i++)
        TRY(each_of_account(walk, m->only[i]));
    if (m->n_only)
        return RC_OK;
    TRY(each_fixed(walk));
    do {
        TRY(auth_account_ids(m->auth, after, ids, IDS, &n));
        for (size_t i = 0; i < n; i++)
            TRY(each_of_account(walk, ids[i]));
        if (n)
            after = ids[n - 1];
    } while (n == IDS);
    return RC_OK;
}

enum rc plan_names(struct migrate *m, struct kv_part part, bool *out_is_named)
{
    struct kv_part named;
    uint64_t id;
    size_t n;
    *out_is_named = false;
    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++)
        for (n = 0; !*out_is_named && owners[i](n, &named); n++)
            *out_is_named = kv_part_eq(part, named);
    if (*out_is_named || part.id == 0)
        return RC_OK;
    TRY(auth_account_ids(m->auth, part.id - 1, &id, 1, &n));
    for (size_t i = 0; n && id == part.id && store_account_partition(id, i, &named); i++)
        *out_is_named = *out_is_named || kv_part_eq(part, named);
    return RC_OK;
}

struct emptiness {
    struct plan_walk walk;
    struct kv *kv;
};

static enum rc check_empty(struct plan_walk *walk, struct kv_part part)
{
    struct emptiness *e = CONTAINER(walk, struct emptiness, walk);
    struct arena arena = {0};
    struct kv_page page;
    enum rc rc = kv_scan(e->kv, part, (struct kv_range){0}, 1, 0, &arena, &page);
    if (rc == RC_OK && page.n)
        rc = RC_EXISTS;
    arena_fini(&arena);
    return rc;
}

enum rc plan_check_empty(struct migrate *m)
{
    struct emptiness e = {.walk.part = check_empty, .kv = m->to};
    return each_fixed(&e.walk);
}
