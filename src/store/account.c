/* Making and destroying accounts, and their quota. */
#include "store/store_int.h"

#include "base/random.h"

#include <string.h>

enum { DESTROY_ROWS = 1000 };

static const struct {
    enum store_role role;
    const char *name;
} standard[] = {
    /* [RFC6154 2] */
    {STORE_INBOX, "INBOX"}, {STORE_DRAFTS, "Drafts"}, {STORE_SENT, "Sent"},
    {STORE_JUNK, "Junk"},   {STORE_TRASH, "Trash"},   {STORE_ARCHIVE, "Archive"},
};
enum { N_STANDARD = sizeof standard / sizeof standard[0] };

/* Seconds, as clients expect it to grow when a mailbox is made again [RFC9051 2.3.1.1]. */
static uint32_t new_uidvalidity(const struct store *store)
{
    uint32_t seconds = (uint32_t)(store_now(store) / NS_PER_SEC);
    return seconds ? seconds : 1;
}

/* They are subscribed from the beginning: many clients show nothing else [RFC3501 6.3.9]. */
static enum rc put_standard(struct store *store, struct kv_txn *txn, const struct hot *hot,
                            uint32_t uidvalidity)
{
    unsigned char mem[RECORD_VALUE];
    for (uint32_t i = 0; i < N_STANDARD; i++) {
        struct mailbox_record r = {.generation = kv_generation(store->kv),
                                   .packed = 1,
                                   .m = {.id = i + 1,
                                         .role = standard[i].role,
                                         .name = str_of(standard[i].name),
                                         .uidvalidity = uidvalidity + i,
                                         .uidnext = 1,
                                         .first_unseen = 1,
                                         .highest_modseq = 1}};
        struct key key = key_mailbox(r.m.id);
        TRY(kv_txn_put(txn, key_str(&key), mailbox_encode(&r, mem, sizeof mem)));
        key = key_subscription(r.m.name, hot->hash_key);
        TRY(kv_txn_put(txn, key_str(&key), text_encode(r.m.name, mem, sizeof mem)));
    }
    return RC_OK;
}

enum rc store_account_create(struct store *store, uint64_t id, struct store_quota quota)
{
    unsigned char mem[RECORD_VALUE];
    uint32_t uidvalidity = new_uidvalidity(store);
    struct hot hot = {.generation = kv_generation(store->kv),
                      .next_modseq = 2,
                      .next_email = 1,
                      .next_thread = 1,
                      .next_outbox = 1,
                      .next_mailbox = N_STANDARD + 1,
                      .floor = 1,
                      .last_uidvalidity = uidvalidity + N_STANDARD - 1,
                      .quota = quota};
    random_bytes(hot.hash_key, sizeof hot.hash_key);
    struct kv_txn *txn = kv_txn_new(account_part(id));
    struct key key = key_hot();
    enum rc rc = kv_txn_assert_absent(txn, key_str(&key));
    if (rc == RC_OK)
        rc = kv_txn_put(txn, key_str(&key), hot_encode(&hot, mem, sizeof mem));
    if (rc == RC_OK)
        rc = put_standard(store, txn, &hot, uidvalidity);
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    rc = kv_commit_wait(store->kv, txn, NULL);
    return rc == RC_CONFLICT ? RC_EXISTS : rc;
}

/* --- quota ------------------------------------------------------------------------------------ */

struct setting {
    struct attempt attempt;
    struct store_quota quota;
    struct store_op *op;
};

static enum rc run_quota(struct attempt *attempt)
{
    struct setting *p = CONTAINER(attempt, struct setting, attempt);
    struct change *c = change_new(attempt->account, p->op);
    c->after.hot.quota = p->quota;
    change_note(c, CHANGE_QUOTA, CHANGE_UPDATED, 0);
    return change_commit(c);
}

enum rc store_account_set_quota(struct store_account *account, struct store_quota quota)
{
    struct waiter w;
    waiter_init(&w);
    struct setting p = {
        .attempt = {.run = run_quota, .account = account}, .quota = quota, .op = &w.op};
    return waiter_wait(&w, attempt_run(&p.attempt));
}

/* --- destroying ------------------------------------------------------------------------------- */

/* From here on nobody can open it; a destruction that was cut short begins here again. */
static enum rc mark_dying(struct store *store, uint64_t id)
{
    struct arena arena;
    unsigned char mem[RECORD_VALUE];
    struct key key = key_hot();
    struct str name = key_str(&key), value;
    struct hot hot;
    uint64_t version;
    arena_init(&arena, 0);
    enum rc rc = kv_get(store->kv, account_part(id), &name, 1, 0, &arena, &value, &version);
    if (rc == RC_OK)
        rc = str_is_null(value) ? RC_NOTFOUND : hot_decode(value, &hot);
    arena_fini(&arena);
    if (rc != RC_OK || hot.is_dying)
        return rc;
    hot.is_dying = true;
    struct kv_txn *txn = kv_txn_new(account_part(id));
    kv_txn_expect(txn, version);
    rc = kv_txn_put(txn, name, hot_encode(&hot, mem, sizeof mem));
    if (rc == RC_OK)
        return kv_commit_wait(store->kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

static enum rc drop_tombstones(struct kv_txn *txn, struct str value)
{
    struct tombstones all;
    struct tombstone d;
    enum rc rc = tombstones_open(value, &all);
    while (rc == RC_OK && tombstones_next(&all, &d) == RC_OK)
        if (d.is_last)
            rc = kv_txn_drop(txn, d.record.blob);
    return rc == RC_CORRUPT ? RC_OK : rc;
}

/* Drops what a row refers to. Damaged rows are passed over: the account goes anyway. */
static enum rc drop_blob(struct kv_txn *txn, char kind, struct str value, struct arena *arena)
{
    struct email e;
    struct outbox o;
    static const struct kv_blob_id none;
    if (kind == 'e' && email_decode(value, &e) == RC_OK)
        return kv_txn_drop(txn, e.blob);
    if (kind == 'd')
        return drop_tombstones(txn, value);
    if (kind == 'o' && outbox_decode(value, arena, &o) == RC_OK &&
        memcmp(&o.blob, &none, sizeof none) != 0)
        return kv_txn_drop(txn, o.blob);
    return RC_OK;
}

/* Removes a page of rows that refer to blobs. */
static enum rc destroy_some(struct store *store, uint64_t id, char kind, bool *out_more)
{
    struct arena arena;
    struct kv_page page;
    struct key from = key_of_kind(kind), to = key_after(key_str(&from), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    size_t most = kind == 'd' ? DESTROY_ROWS / RECORD_TOMBSTONES : DESTROY_ROWS;
    arena_init(&arena, 0);
    *out_more = false;
    enum rc rc = kv_scan(store->kv, account_part(id), range, most, 0, &arena, &page);
    struct kv_txn *txn = kv_txn_new(account_part(id));
    for (size_t i = 0; rc == RC_OK && i < page.n; i++) {
        rc = drop_blob(txn, kind, page.rows[i].value, &arena);
        if (rc == RC_OK)
            rc = kv_txn_delete(txn, page.rows[i].key);
    }
    if (rc == RC_OK && page.n) {
        *out_more = page.has_more;
        rc = kv_commit_wait(store->kv, txn, NULL);
    } else {
        kv_txn_free(&txn);
    }
    arena_fini(&arena);
    return rc;
}

static enum rc destroy_rest(struct store *store, uint64_t id)
{
    struct kv_txn *txn = kv_txn_new(account_part(id));
    struct str all = {0};
    enum rc rc = kv_txn_trim(txn, all, all);
    if (rc == RC_OK)
        return kv_commit_wait(store->kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

enum rc store_account_destroy(struct store *store, uint64_t id)
{
    struct store_account *held;
    TRY(store_hold(store, id, &held));
    enum rc rc = mark_dying(store, id);
    if (rc == RC_OK)
        rc = summaries_destroy(store, id);
    for (const char *kind = "edo"; rc == RC_OK && *kind; kind++)
        for (bool more = true; rc == RC_OK && more;)
            rc = destroy_some(store, id, *kind, &more);
    if (rc == RC_OK)
        rc = destroy_rest(store, id);
    store_unhold(held);
    return rc;
}
