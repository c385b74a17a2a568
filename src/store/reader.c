/* A session that reads a mailbox as it was when the session began.
 *
 * Invariants:
 *   1. A reader keeps the state it began with, or has gone on to: its root, and `since`, a modseq
 *      at which every row of the root that is gone now was still there.
 *   2. While a reader is open, maintenance leaves every tombstone above `since`; so a message of
 *      the root that is expunged meanwhile, by anybody, from this mailbox or from its last copy
 *      elsewhere, can still be found there and its body is still referred to.
 *   3. A message's blob never changes; what has been looked up once stays true until the reader is
 *      closed.
 *
 * Records are looked up ahead, a batch at once, when messages are read one after the other. Nothing
 * here is written, and nobody waits for a reader. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum { AHEAD_MAX = 64, RECORDS_MAX = 128, GRAVE_ROWS = 64 /* read at once */ };

struct grave { /* a message that has gone */
    struct map_node node;
    uint64_t email, thread;
    struct kv_blob_id blob;
};

struct store_reader {
    struct list link; /* of account.readers */
    struct store_account *account;
    uint64_t since;
    struct store_root *root;
    size_t ahead; /* of the next batch */
    size_t known_from, known_to;
    struct kv_blob_id known[AHEAD_MAX]; /* by index - known_from */
    uint64_t looked;                    /* tombstones up to this modseq are in `graves` */
    struct map graves;                  /* by email */
};

enum rc store_reader_open(struct store_account *a, uint32_t mailbox, unsigned flags,
                          struct store_reader **out)
{
    struct store_reader *r = mem_zero(sizeof *r);
    *out = NULL;
    r->account = a;
    r->ahead = 1;
    map_init(&r->graves);
    pthread_mutex_lock(&a->mutex);
    r->since = r->looked = a->published.hot.next_modseq - 1;
    list_add_tail(&a->readers, &r->link);
    pthread_mutex_unlock(&a->mutex);
    enum rc rc = store_mailbox_open(a, mailbox, flags, &r->root);
    if (rc == RC_OK)
        *out = r;
    else
        store_reader_close(&r);
    return rc;
}

static void forget_graves(struct store_reader *r)
{
    struct map_node *node = NULL;
    size_t slot = 0;
    for (struct map_node *next = map_each(&r->graves, &slot, NULL); (node = next);) {
        next = map_each(&r->graves, &slot, node);
        free(CONTAINER(node, struct grave, node));
    }
    map_fini(&r->graves);
}

void store_reader_close(struct store_reader **reader)
{
    struct store_reader *r = *reader;
    *reader = NULL;
    if (!r)
        return;
    pthread_mutex_lock(&r->account->mutex);
    list_remove(&r->link);
    pthread_mutex_unlock(&r->account->mutex);
    forget_graves(r);
    store_root_release(&r->root);
    free(r);
}

/* Of the mailbox's newest root everything is there now. Of another one it was at that root's own
 * modseq; what is gone of it was there at the reader's already. */
void store_reader_advance(struct store_reader *r, struct store_root *root)
{
    struct store_account *a = r->account;
    struct store_root *before = r->root;
    pthread_mutex_lock(&a->mutex);
    const struct mailbox *m = account_published(a, store_root_mailbox(root)->id);
    bool is_newest = m && m->root == root;
    uint64_t since = is_newest ? a->published.hot.next_modseq - 1 : root_since(root);
    if (since > r->since)
        r->since = since;
    pthread_mutex_unlock(&a->mutex);
    r->root = root_ref(root);
    store_root_release(&before);
    r->known_from = r->known_to = 0;
    r->ahead = 1;
    if (is_newest) {
        forget_graves(r);
        map_init(&r->graves);
        r->looked = r->since;
    }
}

uint64_t reader_limit(struct store_account *a)
{
    uint64_t limit = a->published.hot.next_modseq - 1;
    LIST_EACH (&a->readers, it) {
        const struct store_reader *r = CONTAINER(it, struct store_reader, link);
        if (r->since < limit)
            limit = r->since;
    }
    return limit;
}

const struct store_root *store_reader_root(const struct store_reader *reader)
{
    return reader->root;
}

/* --- what has gone meanwhile ------------------------------------------------------------------ */

static struct grave *find_grave(const struct store_reader *r, uint64_t email)
{
    struct map_node *node = map_find(&r->graves, map_hash_u64(email));
    while (node && CONTAINER(node, struct grave, node)->email != email)
        node = map_next(node);
    return node ? CONTAINER(node, struct grave, node) : NULL;
}

static void bury(struct store_reader *r, const struct tombstone *d)
{
    if (!d->is_last || find_grave(r, d->row.email))
        return;
    struct grave *g = mem_zero(sizeof *g);
    g->email = d->row.email;
    g->thread = d->record.thread;
    g->blob = d->record.blob;
    map_add(&r->graves, &g->node, map_hash_u64(g->email));
}

static enum rc bury_all(struct store_reader *r, struct kv_row row)
{
    struct tombstones all;
    struct tombstone d;
    if (row.key.n != 13)
        return RC_CORRUPT;
    enum rc rc = tombstones_open(row.value, &all);
    while (rc == RC_OK && (rc = tombstones_next(&all, &d)) == RC_OK)
        bury(r, &d);
    return rc == RC_EOF ? RC_OK : rc;
}

/* Reads the tombstones that have come since the last time. */
static enum rc look_for_graves(struct store_reader *r, unsigned flags)
{
    struct arena arena;
    struct kv_page page = {.has_more = true};
    struct key from = key_tombstone(r->looked + 1, 0), kind = key_of_kind('d'),
               to = key_after(key_str(&kind), 1);
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    enum rc rc = RC_OK;
    arena_init(&arena, 0);
    while (rc == RC_OK && page.has_more) {
        rc = kv_scan(r->account->store->kv, account_part(r->account->id), range, GRAVE_ROWS,
                     flags & KV_CACHED, &arena, &page);
        for (size_t i = 0; rc == RC_OK && i < page.n; i++)
            rc = bury_all(r, page.rows[i]);
        if (rc == RC_OK && page.n) {
            range.after = page.rows[page.n - 1].key;
            r->looked = get_u64(range.after.p + 1) - page.has_more;
        }
    }
    arena_fini(&arena);
    return rc;
}

/* The record was not there: the message has gone, or it never was. */
static enum rc grave_of(struct store_reader *r, uint64_t email, unsigned flags,
                        const struct grave **out)
{
    *out = find_grave(r, email);
    if (!*out) {
        TRY(look_for_graves(r, flags));
        *out = find_grave(r, email);
    }
    return *out ? RC_OK : RC_CORRUPT;
}

static enum rc blob_of_gone(struct store_reader *r, uint64_t email, unsigned flags,
                            struct kv_blob_id *out)
{
    const struct grave *g;
    TRY(grave_of(r, email, flags, &g));
    *out = g->blob;
    return RC_OK;
}

/* --- looking ahead ---------------------------------------------------------------------------- */

/* One scan for all. RC_NOTFOUND: they are not in a row. */
static enum rc scan_emails(struct store_reader *r, const uint64_t *ids, size_t n,
                           struct arena *arena, unsigned flags, struct str *out_values)
{
    struct key from, to;
    struct kv_page page;
    if (!emails_are_run(ids, n, &from, &to))
        return RC_NOTFOUND;
    struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    TRY(kv_scan(r->account->store->kv, account_part(r->account->id), range, 2 * n, flags, arena,
                &page));
    if (page.has_more) /* much in each of them */
        return RC_NOTFOUND;
    emails_pick(&page, ids, n, out_values);
    return RC_OK;
}

/* The records of up to RECORDS_MAX messages; absent where there is none. */
static enum rc read_records(struct store_reader *r, const uint64_t *ids, size_t n,
                            struct arena *arena, unsigned flags, struct str *out_values)
{
    struct key keys[RECORDS_MAX];
    struct str names[RECORDS_MAX];
    enum rc rc = scan_emails(r, ids, n, arena, flags & KV_CACHED, out_values);
    if (rc != RC_NOTFOUND)
        return rc;
    for (size_t i = 0; i < n; i++) {
        keys[i] = key_email(ids[i]);
        names[i] = key_str(&keys[i]);
    }
    return kv_get(r->account->store->kv, account_part(r->account->id), names, n, flags & KV_CACHED,
                  arena, out_values, NULL);
}

/* The blobs of the n messages from `index` on come into `known`. */
static enum rc learn(struct store_reader *r, size_t index, size_t n, unsigned flags)
{
    uint64_t ids[AHEAD_MAX];
    struct str values[AHEAD_MAX];
    struct email e;
    struct arena arena;
    for (size_t i = 0; i < n; i++)
        ids[i] = store_root_at(r->root, index + i)->email;
    arena_init(&arena, 0);
    r->known_to = r->known_from = index;
    enum rc rc = read_records(r, ids, n, &arena, flags, values);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        if (str_is_null(values[i])) {
            rc = blob_of_gone(r, ids[i], flags, &r->known[i]);
        } else {
            rc = email_decode(values[i], &e);
            r->known[i] = e.blob;
        }
        r->known_to += rc == RC_OK;
    }
    arena_fini(&arena);
    return r->known_to > index ? RC_OK : rc; /* a damaged one tells when it is asked for */
}

static enum rc know(struct store_reader *r, size_t index, unsigned flags)
{
    size_t left = store_root_count(r->root) - index;
    if (index >= r->known_from && index < r->known_to)
        return RC_OK;
    size_t n = index == r->known_to ? r->ahead : 1;
    if (n > left)
        n = left;
    TRY(learn(r, index, n, flags));
    r->ahead = n * 4 < AHEAD_MAX ? n * 4 : AHEAD_MAX;
    return RC_OK;
}

enum rc store_reader_message(struct store_reader *r, size_t index, unsigned flags,
                             struct store_message **out)
{
    *out = NULL;
    if (index >= store_root_count(r->root))
        return RC_NOTFOUND;
    TRY(know(r, index, flags));
    return message_open_blob(r->account->store, r->known[index - r->known_from], flags, out);
}

void store_reader_messages(struct store_reader *r, const uint32_t *indices, size_t n,
                           struct store_message **out)
{
    struct kv_blob_id ids[STORE_AHEAD] = {0}; /* zero: not known, and never found */
    for (size_t i = 0; i < n; i++)
        if (indices[i] < store_root_count(r->root) && know(r, indices[i], 0) == RC_OK)
            ids[i] = r->known[indices[i] - r->known_from];
    message_open_blobs(r->account->store, ids, n, out);
}

/* --- threads ---------------------------------------------------------------------------------- */

static enum rc thread_of(struct store_reader *r, uint64_t email, struct str record, unsigned flags,
                         uint64_t *out)
{
    struct email e;
    const struct grave *g;
    *out = 0;
    if (str_is_null(record)) {
        TRY(grave_of(r, email, flags, &g));
        *out = g->thread;
        return RC_OK;
    }
    TRY(email_decode(record, &e));
    *out = e.thread;
    return RC_OK;
}

/* Up to RECORDS_MAX of them. */
static enum rc read_threads(struct store_reader *r, const uint32_t *indices, size_t n,
                            unsigned flags, uint64_t *out)
{
    uint64_t ids[RECORDS_MAX];
    struct str values[RECORDS_MAX];
    struct arena arena;
    for (size_t i = 0; i < n; i++)
        ids[i] = store_root_at(r->root, indices[i])->email;
    arena_init(&arena, 0);
    enum rc rc = read_records(r, ids, n, &arena, flags, values);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        rc = thread_of(r, ids[i], values[i], flags, &out[i]);
        if (rc == RC_CORRUPT)
            rc = RC_OK;
    }
    arena_fini(&arena);
    return rc;
}

enum rc store_reader_threads(struct store_reader *r, const uint32_t *indices, size_t n,
                             unsigned flags, uint64_t *out)
{
    for (size_t from = 0; from < n; from += RECORDS_MAX) {
        size_t here = n - from < RECORDS_MAX ? n - from : RECORDS_MAX;
        TRY(read_threads(r, indices + from, here, flags, out + from));
    }
    return RC_OK;
}

enum rc store_reader_thread(struct store_reader *r, uint64_t thread, unsigned flags,
                            struct arena *arena, uint64_t **out, size_t *out_n)
{
    struct emails_found found = {0};
    struct map_node *node = NULL;
    size_t slot = 0;
    *out = NULL;
    enum rc rc = emails_of_thread(r->account, thread, flags, &found);
    if (rc == RC_OK) /* behind the others: what goes meanwhile is in one of them at least */
        rc = look_for_graves(r, flags);
    while (rc == RC_OK && (node = map_each(&r->graves, &slot, node))) {
        const struct grave *g = CONTAINER(node, struct grave, node);
        if (g->thread == thread)
            emails_found_add(&found, g->email);
    }
    enum rc taken = emails_found_take(&found, arena, out, out_n);
    return rc == RC_OK ? taken : rc;
}
