/* queue: the rows of an item read together, and put and deleted together.
 *
 * Invariants: (1) an item's row exists exactly while something is left of its recipients: their
 * rows or, when there is only one, what the item's row says of it; (2) the shard holds one
 * reference to the blob of each of its items; (3) an item that is not held has an entry for its
 * recipients here, if some are left, and one for each elsewhere, at the time that their states say;
 * a held one has none. All of it changes in the same commit.
 */
#include "queue/queue_int.h"

#include "base/random.h"

#include <string.h>

unsigned queue_shard_of(struct queue_id id)
{
    return id.b[0] % QUEUE_SHARDS;
}

struct kv_part queue_part_of(struct queue_id id)
{
    return (struct kv_part){KV_QUEUE, queue_shard_of(id)};
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The recipient rows of an item, all of them: an item has at most QUEUE_RECIPIENTS, which fits a
 * page; but a page may end before by its bytes. */
static enum rc read_recipients(struct queue *queue, unsigned flags, struct arena *arena,
                               struct queue_whole *w)
{
    unsigned char from[QUEUE_RECIPIENT_KEY], to[QUEUE_RECIPIENT_KEY];
    struct kv_range range = {.from = queue_recipient_key(w->id, 0, from),
                             .to = queue_recipient_key(w->id, UINT16_MAX, to)};
    struct kv_page page = {.has_more = true};
    size_t n = 0, size = w->item.n_added + 1;
    struct queue_recipient *recipients = arena_zero(arena, size * sizeof *recipients);
    w->recipient_rows = arena_zero(arena, size * sizeof *w->recipient_rows);
    if (!recipients || !w->recipient_rows)
        return RC_LIMIT;
    while (page.has_more) {
        TRY(kv_scan(queue->kv, queue_part_of(w->id), range, KV_PAGE_ROWS, flags, arena, &page));
        for (size_t i = 0; i < page.n; i++, n++) {
            struct str key = page.rows[i].key;
            if (key.n != QUEUE_RECIPIENT_KEY || get_u16(key.p + 17) >= w->item.n_added)
                return RC_CORRUPT;
            w->recipient_rows[n] = page.rows[i].value;
            TRY(queue_recipient_unpack(page.rows[i].value, &recipients[n]));
            recipients[n].number = get_u16(key.p + 17);
        }
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    }
    w->item.recipients = recipients;
    w->item.n_recipients = n;
    return RC_OK;
}

enum rc queue_whole_read(struct queue *queue, struct queue_id id, unsigned flags,
                         struct arena *arena, struct queue_whole *out)
{
    unsigned char item_key[QUEUE_ITEM_KEY], status_key[QUEUE_ITEM_KEY];
    const struct str keys[] = {queue_item_key(id, item_key), queue_status_key(id, status_key)};
    struct str rows[2];
    *out = (struct queue_whole){.id = id, .item.id = id};
    TRY(kv_get(queue->kv, queue_part_of(id), keys, 2, flags, arena, rows, NULL));
    if (str_is_null(rows[0]))
        return RC_NOTFOUND;
    out->item_row = rows[0];
    out->status_row = rows[1];
    enum rc status_rc = queue_status_unpack(rows[1], &out->status);
    TRY(queue_item_unpack(rows[0], arena, &out->item, &out->also));
    if (out->item.n_recipients == 0)
        TRY(read_recipients(queue, flags, arena, out));
    return status_rc;
}

enum rc queue_whole_assert(struct kv_txn *txn, const struct queue_whole *w)
{
    unsigned char key[QUEUE_ITEM_KEY];
    TRY(kv_txn_assert_value(txn, queue_item_key(w->id, key), w->item_row));
    struct str k = queue_status_key(w->id, key);
    return str_is_null(w->status_row) ? kv_txn_assert_absent(txn, k)
                                      : kv_txn_assert_value(txn, k, w->status_row);
}

static bool has_local(const struct queue_item *item)
{
    for (size_t i = 0; i < item->n_recipients; i++)
        if (item->recipients[i].account)
            return true;
    return false;
}

/* --- the index by time ------------------------------------------------------------------------ */

struct queue_due queue_due_local(const struct queue_item *item, const struct queue_status *status)
{
    return (struct queue_due){.kind = QUEUE_LOCAL,
                              .due = status->due ? status->due : item->due,
                              .id = item->id,
                              .number = QUEUE_ALL_LOCAL};
}

/* [RFC8689 4.2.1] [RFC8689 4.2.2] [RFC8689 5] */
static enum queue_tls tls_of(const struct queue_item *item)
{
    if (item->flags & QUEUE_REQUIRETLS)
        return item->sender.n ? QUEUE_TLS_REQUIRED : QUEUE_TLS_WANTED;
    return item->flags & QUEUE_TLS_OPTIONAL ? QUEUE_TLS_IF_POSSIBLE : QUEUE_TLS_AS_USUAL;
}

struct queue_due queue_due_remote(const struct queue_item *item, const struct queue_recipient *r)
{
    return (struct queue_due){.kind = QUEUE_REMOTE,
                              .due = r->due,
                              .id = item->id,
                              .number = r->number,
                              .tls = tls_of(item),
                              .tries = r->tries < UINT8_MAX ? (uint8_t)r->tries : UINT8_MAX,
                              .destination = r->domain};
}

size_t queue_whole_entries(const struct queue_whole *w, struct queue_due *out)
{
    size_t n = 0;
    if (w->status.state == QUEUE_HELD)
        return 0;
    for (size_t i = 0; i < w->item.n_recipients; i++)
        if (!w->item.recipients[i].account)
            out[n++] = queue_due_remote(&w->item, &w->item.recipients[i]);
    if (has_local(&w->item))
        out[n++] = queue_due_local(&w->item, &w->status);
    return n;
}

static void tick_entry(struct queue_news *news, const struct queue_due *entry, int by,
                       struct str key)
{
    queue_news_tick(news, entry->kind == QUEUE_LOCAL ? QUEUE_N_LOCAL : QUEUE_N_REMOTE, by, key);
    if (entry->tries)
        queue_news_tick(news, QUEUE_N_DEFERRED, by, key);
}

enum rc queue_due_put(struct kv_txn *txn, const struct queue_due *entry, struct queue_news *news)
{
    unsigned char key[QUEUE_DUE_KEY], row[QUEUE_DUE_MAX];
    struct str k = queue_due_key(entry, key);
    queue_news_entry(news, entry);
    tick_entry(news, entry, 1, k);
    return kv_txn_put(txn, k, queue_due_pack(entry, row));
}

enum rc queue_due_delete(struct kv_txn *txn, const struct queue_due *entry, struct queue_news *news)
{
    unsigned char key[QUEUE_DUE_KEY];
    struct str k = queue_due_key(entry, key);
    tick_entry(news, entry, -1, k);
    return kv_txn_delete(txn, k);
}

static enum rc sweep_page(struct kv_txn *txn, const struct kv_page *page, struct queue_id id,
                          struct queue_news *news)
{
    for (size_t i = 0; i < page->n; i++) {
        struct queue_due entry;
        struct str key = page->rows[i].key;
        if (key.n != QUEUE_DUE_KEY || memcmp(key.p + 10, id.b, sizeof id.b) != 0)
            continue;
        if (queue_due_unpack(page->rows[i], &entry) == RC_OK)
            TRY(queue_due_delete(txn, &entry, news));
        else
            TRY(kv_txn_delete(txn, key));
    }
    return RC_OK;
}

enum rc queue_due_sweep(struct queue *queue, struct kv_txn *txn, struct queue_id id,
                        struct queue_news *news)
{
    unsigned char after[QUEUE_DUE_KEY];
    struct kv_range range = {.from = STR("d"), .to = STR("e")};
    struct arena arena = {0};
    struct kv_page page = {.has_more = true};
    enum rc rc = RC_OK;
    while (rc == RC_OK && page.has_more) {
        arena_reset(&arena);
        rc = kv_scan(queue->kv, queue_part_of(id), range, 0, KV_ONCE, &arena, &page);
        if (rc == RC_OK)
            rc = sweep_page(txn, &page, id, news);
        if (rc == RC_OK && page.n) {
            struct str last = page.rows[page.n - 1].key;
            size_t n = last.n < sizeof after ? last.n : sizeof after;
            memcpy(after, last.p, n);
            range.after = str_from(after, n);
        }
    }
    arena_fini(&arena);
    return rc;
}

/* --- adding ----------------------------------------------------------------------------------- */

static struct str domain_of(const struct queue_recipient *r)
{
    return r->account ? str_domain(r->address) : r->domain;
}

/* Of a recipient elsewhere, if there is one. */
static const struct queue_recipient *leader(const struct queue_item *item)
{
    for (size_t i = 0; i < item->n_recipients; i++)
        if (!item->recipients[i].account)
            return &item->recipients[i];
    return &item->recipients[0];
}

static void make_id(struct queue_item *item, unsigned shard)
{
    random_bytes(item->id.b, sizeof item->id.b);
    item->id.b[0] = (unsigned char)shard;
    queue_domain_hash(domain_of(leader(item)), item->id.b + 1);
}

static bool has_hash(const unsigned char *hashes, size_t n, const unsigned char hash[3])
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(hashes + 3 * i, hash, 3) == 0)
            return true;
    return false;
}

static enum rc put_also(struct kv_txn *txn, const struct queue_item *item, unsigned char *hashes,
                        struct queue_also *out)
{
    unsigned char key[QUEUE_ALSO_KEY];
    *out = (struct queue_also){hashes, 0};
    for (size_t i = 0; i < item->n_recipients; i++) {
        unsigned char hash[3];
        queue_domain_hash(domain_of(&item->recipients[i]), hash);
        if (memcmp(hash, item->id.b + 1, 3) == 0 || has_hash(hashes, out->n, hash))
            continue;
        memcpy(hashes + 3 * out->n++, hash, 3);
        TRY(kv_txn_put(txn, queue_also_key(hash, item->id, key), STR("\1")));
    }
    return RC_OK;
}

static enum rc put_recipient(struct kv_txn *txn, const struct queue_item *item,
                             const struct queue_recipient *r, struct queue_news *news)
{
    unsigned char key[QUEUE_RECIPIENT_KEY], row[QUEUE_RECIPIENT_MAX];
    if (item->n_added > 1)
        TRY(kv_txn_put(txn, queue_recipient_key(item->id, r->number, key),
                       queue_recipient_pack(r, row)));
    if (r->account)
        return RC_OK;
    const struct queue_due due = queue_due_remote(item, r);
    return queue_due_put(txn, &due, news);
}

static bool is_in_limits(const struct queue_item *item)
{
    bool fits = item->n_recipients > 0 && item->n_recipients <= QUEUE_RECIPIENTS &&
                item->sender.n <= QUEUE_TEXT_MAX;
    for (size_t i = 0; fits && i < item->n_recipients; i++) {
        const struct queue_recipient *r = &item->recipients[i];
        fits = r->account || (r->address.n <= QUEUE_TEXT_MAX && r->domain.n <= QUEUE_TEXT_MAX &&
                              r->address.n > 0 && r->domain.n > 0);
    }
    return fits;
}

static struct queue_recipient fresh(const struct queue_item *item, size_t n)
{
    struct queue_recipient r = item->recipients[n];
    r.number = (uint16_t)n;
    r.tries = 0;
    r.due = r.account ? 0 : item->due;
    return r;
}

static enum rc put_item(struct kv_txn *txn, const struct queue_item *given, struct queue_news *news)
{
    unsigned char key[QUEUE_ITEM_KEY], row[QUEUE_ITEM_MAX], hashes[3 * QUEUE_RECIPIENTS];
    struct queue_item item = *given;
    struct queue_also also;
    struct queue_status usual = {0};
    struct queue_recipient one = fresh(&item, 0);
    item.n_added = item.n_recipients;
    TRY(put_also(txn, &item, hashes, &also));
    for (size_t i = 0; i < item.n_recipients; i++) {
        const struct queue_recipient r = fresh(&item, i);
        TRY(put_recipient(txn, &item, &r, news));
    }
    bool is_here = has_local(&item);
    if (item.n_recipients == 1)
        item.recipients = &one;
    if (!is_here)
        item.summary = (struct str){0};
    struct str k = queue_item_key(item.id, key);
    TRY(kv_txn_put(txn, k, queue_item_pack(&item, also, row)));
    queue_news_tick(news, QUEUE_N_ITEMS, 1, k);
    if (is_here) {
        const struct queue_due due = queue_due_local(&item, &usual);
        TRY(queue_due_put(txn, &due, news));
    }
    return kv_txn_ref(txn, item.blob);
}

enum rc queue_items_put(struct queue *queue, struct kv_txn *txn, struct queue_item *items, size_t n,
                        unsigned shard, struct queue_news *news)
{
    uint64_t now = clock_wall(queue->ctx.clock);
    if (n > QUEUE_ITEMS_AT_ONCE)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        if (!is_in_limits(&items[i]))
            return RC_LIMIT;
        make_id(&items[i], shard);
        struct queue_item item = items[i];
        if (!item.due)
            item.due = now;
        TRY(put_item(txn, &item, news));
    }
    return RC_OK;
}

/* --- changing --------------------------------------------------------------------------------- */

static enum rc remove_item(struct kv_txn *txn, const struct queue_whole *w, struct queue_news *news)
{
    unsigned char key[QUEUE_ALSO_KEY];
    for (size_t i = 0; i < w->also.n; i++)
        TRY(kv_txn_delete(txn, queue_also_key(w->also.hashes + 3 * i, w->id, key)));
    struct str k = queue_status_key(w->id, key);
    if (!str_is_null(w->status_row))
        TRY(kv_txn_delete(txn, k));
    if (w->status.state == QUEUE_HELD)
        queue_news_tick(news, QUEUE_N_HELD, -1, k);
    k = queue_item_key(w->id, key);
    TRY(kv_txn_delete(txn, k));
    queue_news_tick(news, QUEUE_N_ITEMS, -1, k);
    return kv_txn_drop(txn, w->item.blob);
}

/* From one entry to another; either may be NULL. */
static enum rc move_entry(struct kv_txn *txn, const struct queue_due *from,
                          const struct queue_due *to, struct queue_news *news)
{
    if (from && to && from->due == to->due && from->tries == to->tries && !to->is_pressing)
        return RC_OK;
    if (from) /* before the new one, which may have the same key */
        TRY(queue_due_delete(txn, from, news));
    return to ? queue_due_put(txn, to, news) : RC_OK;
}

static enum rc change_recipient(struct kv_txn *txn, const struct queue_whole *w, size_t n,
                                const struct queue_next *next, struct queue_news *news)
{
    unsigned char to[QUEUE_RECIPIENT_KEY], row[QUEUE_RECIPIENT_MAX];
    const struct queue_recipient *r = &w->item.recipients[n], *then = next->recipients[n];
    bool had = !r->account && w->status.state == QUEUE_WAITING;
    bool has = !r->account && then && next->status.state == QUEUE_WAITING;
    if (then == r && had == has)
        return RC_OK;
    struct str key = queue_recipient_key(w->id, r->number, to);
    if (w->recipient_rows)
        TRY(kv_txn_assert_value(txn, key, w->recipient_rows[n]));
    if (!then && w->recipient_rows)
        TRY(kv_txn_delete(txn, key));
    const struct queue_due before = queue_due_remote(&w->item, r);
    struct queue_due after = queue_due_remote(&w->item, then ? then : r);
    after.is_pressing = next->is_pressing;
    TRY(move_entry(txn, had ? &before : NULL, has ? &after : NULL, news));
    if (!then || then == r || !w->recipient_rows)
        return RC_OK;
    return kv_txn_put(txn, key, queue_recipient_pack(then, row));
}

static enum rc change_local(struct kv_txn *txn, const struct queue_whole *w,
                            const struct queue_next *next, struct queue_news *news)
{
    bool had = false, has = false;
    for (size_t i = 0; i < w->item.n_recipients; i++) {
        had |= w->item.recipients[i].account != 0;
        has |= w->item.recipients[i].account != 0 && next->recipients[i];
    }
    had = had && w->status.state == QUEUE_WAITING;
    has = has && next->status.state == QUEUE_WAITING;
    const struct queue_due before = queue_due_local(&w->item, &w->status);
    const struct queue_due after = queue_due_local(&w->item, &next->status);
    return move_entry(txn, had ? &before : NULL, has ? &after : NULL, news);
}

/* The item's own row has the recipient when there is only one. */
static enum rc change_item(struct kv_txn *txn, const struct queue_whole *w,
                           const struct queue_next *next)
{
    unsigned char key[QUEUE_ITEM_KEY], row[QUEUE_ITEM_MAX];
    struct queue_item item = next->item ? *next->item : w->item;
    bool has_changed = !w->recipient_rows && next->recipients[0] != &w->item.recipients[0];
    if (!next->item && !has_changed)
        return RC_OK;
    if (w->recipient_rows && item.n_added == 1)
        return RC_OK; /* of an older format, with a recipient's row: stays as it is */
    item.recipients = next->recipients[0];
    return kv_txn_put(txn, queue_item_key(w->id, key), queue_item_pack(&item, w->also, row));
}

enum rc queue_status_put(struct kv_txn *txn, const struct queue_whole *w,
                         const struct queue_status *status, struct queue_news *news)
{
    unsigned char key[QUEUE_ITEM_KEY], row[QUEUE_STATUS_MAX];
    struct str k = queue_status_key(w->id, key), value = queue_status_pack(status, row);
    int by = (status->state == QUEUE_HELD) - (w->status.state == QUEUE_HELD);
    if (by)
        queue_news_tick(news, QUEUE_N_HELD, by, k);
    if (status->state == QUEUE_WAITING && !status->failures && !status->due)
        return str_is_null(w->status_row) ? RC_OK : kv_txn_delete(txn, k);
    return str_eq(w->status_row, value) ? RC_OK : kv_txn_put(txn, k, value);
}

enum rc queue_whole_change(struct kv_txn *txn, const struct queue_whole *w,
                           const struct queue_next *next, struct queue_news *news)
{
    size_t left = 0;
    TRY(queue_whole_assert(txn, w));
    for (size_t i = 0; i < w->item.n_recipients; i++) {
        left += next->recipients[i] != NULL;
        TRY(change_recipient(txn, w, i, next, news));
    }
    TRY(change_local(txn, w, next, news));
    if (left == 0)
        return remove_item(txn, w, news);
    TRY(change_item(txn, w, next));
    return queue_status_put(txn, w, &next->status, news);
}

enum rc queue_whole_upgrade(struct kv_txn *txn, const struct queue_whole *w)
{
    unsigned char key[QUEUE_RECIPIENT_KEY], row[QUEUE_ITEM_MAX], hashes[3 * QUEUE_RECIPIENTS];
    struct queue_also also;
    if (w->item.n_recipients == 0 || w->item.n_recipients > QUEUE_RECIPIENTS)
        return RC_OK; /* damaged: left as it is */
    TRY(put_also(txn, &w->item, hashes, &also));
    if (w->item.n_added == 1)
        TRY(kv_txn_delete(txn, queue_recipient_key(w->id, 0, key)));
    return kv_txn_put(txn, queue_item_key(w->id, key), queue_item_pack(&w->item, also, row));
}
