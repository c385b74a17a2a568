/* queue: the check of its rows, in both directions.
 *
 * Forward: each item is read whole, and what the indexes must have of it is looked up. Backward:
 * each other row must belong to an item that says the same. Nothing is stopped for it. A difference
 * may be an item that changes between two reads, so it counts only when the shard's version was the
 * same before and after, or when it is still there after LOOKS.
 *
 * What is mended is one commit for each difference, which asserts what was read. Texts of rows are
 * never in a report: it goes to terminals.
 */
#include "queue/queue_int.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOKS = 100, LINE = 256 };

void queue_fault(struct queue_check *k, bool is_mended, const char *format, ...)
{
    char line[LINE];
    size_t n = (size_t)snprintf(line, sizeof line, "queue: shard %u: ", k->shard);
    va_list ap;
    va_start(ap, format);
    vsnprintf(line + n, sizeof line - n, format, ap);
    va_end(ap);
    n = strlen(line);
    if (is_mended)
        snprintf(line + n, sizeof line - n, " (mended)");
    k->fsck->faults++;
    k->fsck->mended += is_mended;
    k->fsck->report(k->fsck, line);
}

static struct kv_part part_of(const struct queue_check *k)
{
    return (struct kv_part){KV_QUEUE, k->shard};
}

static uint64_t version_of(const struct queue_check *k)
{
    uint64_t version;
    return kv_version(k->queue->kv, part_of(k), 0, &version) == RC_OK ? version : 0;
}

/* The value of a row, absent when there is none. */
static enum rc get(const struct queue_check *k, struct str key, struct arena *arena,
                   struct str *out)
{
    return kv_get(k->queue->kv, part_of(k), &key, 1, 0, arena, out, NULL);
}

/* What was read of an item, its recipients too. */
static enum rc assert_all(struct kv_txn *txn, const struct queue_whole *w)
{
    unsigned char key[QUEUE_RECIPIENT_KEY];
    TRY(queue_whole_assert(txn, w));
    for (size_t i = 0; w->recipient_rows && i < w->item.n_recipients; i++)
        TRY(kv_txn_assert_value(txn, queue_recipient_key(w->id, w->item.recipients[i].number, key),
                                w->recipient_rows[i]));
    return RC_OK;
}

/* Takes both; `rc` is of building the transaction. */
static enum rc commit(struct queue_check *k, enum rc rc, struct kv_txn *txn,
                      struct queue_news *news)
{
    uint64_t version = 0;
    if (rc == RC_OK)
        rc = kv_commit_wait(k->queue->kv, txn, &version);
    else
        kv_txn_free(&txn);
    if (rc == RC_OK)
        queue_news_tell(k->queue, &news, version);
    queue_news_free(&news);
    return rc;
}

/* --- forward: what an item must have ---------------------------------------------------------- */

enum flaw { FINE, NOT_READABLE, NO_RECIPIENT, NO_ENTRY, OTHER_ENTRY, NOT_BY_DOMAIN };

static const char *const flaws[] = {
    [NOT_READABLE] = "its rows are damaged: it can be held and removed",
    [NO_RECIPIENT] = "no recipient of it is left: nobody takes it away, remove it",
    [NO_ENTRY] = "it is not in the index by time: nobody tries it",
    [OTHER_ENTRY] = "the index by time says otherwise of it",
    [NOT_BY_DOMAIN] = "it is not found by a domain of its recipients",
};

struct difference {
    enum flaw flaw;
    struct queue_due entry;      /* NO_ENTRY, OTHER_ENTRY: what it must be */
    struct str row;              /* OTHER_ENTRY: what it is */
    const unsigned char *domain; /* NOT_BY_DOMAIN: the hash */
};

static enum rc compare_entries(const struct queue_check *k, const struct queue_whole *w,
                               struct arena *arena, struct difference *out)
{
    unsigned char key[QUEUE_DUE_KEY];
    struct queue_due *entries = arena_zero(arena, (w->item.n_recipients + 1) * sizeof *entries);
    size_t n = entries ? queue_whole_entries(w, entries) : 0;
    for (size_t i = 0; i < n; i++) {
        struct queue_due is;
        struct kv_row row = {.key = queue_due_key(&entries[i], key)};
        TRY(get(k, row.key, arena, &row.value));
        *out = (struct difference){OTHER_ENTRY, entries[i], row.value, NULL};
        if (str_is_null(row.value))
            out->flaw = NO_ENTRY;
        else if (queue_due_unpack(row, &is) == RC_OK && is.tls == entries[i].tls &&
                 is.tries == entries[i].tries && str_eq(is.destination, entries[i].destination))
            out->flaw = FINE;
        if (out->flaw != FINE)
            return RC_OK;
    }
    return entries ? RC_OK : RC_LIMIT;
}

static enum rc compare_domains(const struct queue_check *k, const struct queue_whole *w,
                               struct arena *arena, struct difference *out)
{
    unsigned char key[QUEUE_ALSO_KEY];
    for (size_t i = 0; i < w->also.n; i++) {
        struct str value;
        TRY(get(k, queue_also_key(w->also.hashes + 3 * i, w->id, key), arena, &value));
        if (str_is_null(value)) {
            *out = (struct difference){.flaw = NOT_BY_DOMAIN, .domain = w->also.hashes + 3 * i};
            return RC_OK;
        }
    }
    return RC_OK;
}

/* The first thing that is wrong with it. RC_NOTFOUND: it is gone. */
static enum rc compare(const struct queue_check *k, struct queue_id id, struct arena *arena,
                       struct queue_whole *w, struct difference *out)
{
    *out = (struct difference){.flaw = FINE};
    enum rc rc = queue_whole_read(k->queue, id, 0, arena, w);
    if (rc == RC_CORRUPT) {
        out->flaw = NOT_READABLE;
        return RC_OK;
    }
    TRY(rc);
    if (w->item.n_recipients == 0)
        out->flaw = NO_RECIPIENT;
    else
        TRY(compare_entries(k, w, arena, out));
    return out->flaw == FINE ? compare_domains(k, w, arena, out) : RC_OK;
}

static enum rc mend_item(struct queue_check *k, const struct queue_whole *w,
                         const struct difference *d)
{
    unsigned char to[QUEUE_DUE_KEY];
    struct queue_news *news = queue_news_new(k->shard);
    struct kv_txn *txn = kv_txn_new(part_of(k));
    struct queue_due was;
    struct str key = queue_due_key(&d->entry, to);
    enum rc rc = assert_all(txn, w);
    if (rc == RC_OK && d->flaw == NO_ENTRY)
        rc = kv_txn_assert_absent(txn, key);
    else if (rc == RC_OK && d->flaw == OTHER_ENTRY)
        rc = kv_txn_assert_value(txn, key, d->row);
    /* One that cannot be read has not been counted. */
    struct kv_row row = {key, d->row};
    if (rc == RC_OK && d->flaw == OTHER_ENTRY && queue_due_unpack(row, &was) == RC_OK)
        rc = queue_due_delete(txn, &was, news);
    if (rc == RC_OK && d->flaw != NOT_BY_DOMAIN)
        rc = queue_due_put(txn, &d->entry, news);
    else if (rc == RC_OK)
        rc = kv_txn_put(txn, queue_also_key(d->domain, w->id, to), STR("\1"));
    return commit(k, rc, txn, news);
}

/* One look at an item. RC_AGAIN: once more, for what has changed, or was mended. */
static enum rc look_at_item(struct queue_check *k, struct queue_id id, unsigned look)
{
    char text[QUEUE_ID_TEXT];
    struct arena arena = {0};
    struct queue_whole w;
    struct difference d;
    uint64_t before = version_of(k);
    enum rc rc = compare(k, id, &arena, &w, &d);
    if (rc == RC_OK && d.flaw != FINE && look + 1 < LOOKS && version_of(k) != before)
        rc = RC_AGAIN;
    if (rc == RC_OK && d.flaw != FINE) {
        bool can_mend = k->fsck->mends && d.flaw >= NO_ENTRY;
        enum rc mend_rc = can_mend ? mend_item(k, &w, &d) : RC_DENIED;
        queue_id_text(id, text);
        if (mend_rc != RC_CONFLICT)
            queue_fault(k, mend_rc == RC_OK, "message %s: %s", text, flaws[d.flaw]);
        if (mend_rc == RC_OK || mend_rc == RC_CONFLICT)
            rc = RC_AGAIN;
    }
    arena_fini(&arena);
    return rc;
}

/* RC_AGAIN, because something was mended, gives it all its looks again: an item has no more faults
 * than rows. */
static enum rc check_item(struct queue_check *k, struct queue_id id)
{
    enum rc rc = RC_AGAIN;
    for (unsigned look = 0; rc == RC_AGAIN && look < LOOKS; look++) {
        uint64_t mended = k->fsck->mended;
        rc = look_at_item(k, id, look);
        if (k->fsck->mended != mended)
            look = 0;
    }
    return rc == RC_NOTFOUND || rc == RC_AGAIN ? RC_OK : rc;
}

static void note_blob(struct queue_check *k, struct kv_row row)
{
    uint32_t at[KV_ROW_BLOBS];
    size_t n;
    struct queue_named named = {.n = 1};
    if (queue_row_blobs(row, at, &n) != RC_OK || n != 1) {
        k->has_unknown = true;
        return;
    }
    memcpy(named.blob.b, row.value.p + at[0], sizeof named.blob.b);
    k->named.item =
        mem_array(k->named.item, &k->named.capacity, k->named.n + 1, sizeof *k->named.item);
    k->named.item[k->named.n++] = named;
}

/* --- backward: what a row belongs to ---------------------------------------------------------- */

/* Where a row's key has its item. */
static size_t id_at(struct str key)
{
    static const struct {
        char first;
        uint8_t n, id_at;
    } kinds[] = {{'d', QUEUE_DUE_KEY, 10},
                 {'m', QUEUE_ITEM_KEY, 1},
                 {'r', QUEUE_RECIPIENT_KEY, 1},
                 {'s', QUEUE_ITEM_KEY, 1},
                 {'x', QUEUE_ALSO_KEY, 4}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (key.p[0] == kinds[i].first && key.n == kinds[i].n)
            return kinds[i].id_at;
    return 0;
}

static bool has_entry(const struct queue_whole *w, struct str key, struct arena *arena)
{
    unsigned char to[QUEUE_DUE_KEY];
    struct queue_due *entries = arena_zero(arena, (w->item.n_recipients + 1) * sizeof *entries);
    size_t n = entries ? queue_whole_entries(w, entries) : 0;
    bool has = !entries;
    for (size_t i = 0; i < n && !has; i++)
        has = str_eq(queue_due_key(&entries[i], to), key);
    return has;
}

/* Whether the item has such a row. One that cannot be read may have any. */
static bool has_row(const struct queue_whole *w, enum rc read_rc, struct str key,
                    struct arena *arena)
{
    if (read_rc == RC_CORRUPT)
        return true;
    if (read_rc != RC_OK)
        return false;
    if (key.p[0] == 'd')
        return has_entry(w, key, arena);
    for (size_t i = 0; key.p[0] == 'x' && i < w->also.n; i++)
        if (memcmp(w->also.hashes + 3 * i, key.p + 1, 3) == 0)
            return true;
    if (key.p[0] == 'x')
        return false;
    return key.p[0] != 'r' || w->recipient_rows;
}

static enum rc mend_row(struct queue_check *k, const struct queue_whole *w, enum rc read_rc,
                        struct kv_row row)
{
    unsigned char key[QUEUE_ITEM_KEY];
    struct queue_news *news = queue_news_new(k->shard);
    struct kv_txn *txn = kv_txn_new(part_of(k));
    struct queue_due entry;
    enum rc rc = read_rc == RC_OK ? assert_all(txn, w)
                                  : kv_txn_assert_absent(txn, queue_item_key(w->id, key));
    struct queue_status status;
    bool is_held = row.key.p[0] == 's' &&
                   (queue_status_unpack(row.value, &status) != RC_OK || status.state == QUEUE_HELD);
    if (is_held)
        queue_news_tick(news, QUEUE_N_HELD, -1, row.key);
    if (rc == RC_OK)
        rc = kv_txn_assert_value(txn, row.key, row.value);
    if (rc == RC_OK && row.key.p[0] == 'd' && queue_due_unpack(row, &entry) == RC_OK)
        rc = queue_due_delete(txn, &entry, news);
    else if (rc == RC_OK)
        rc = kv_txn_delete(txn, row.key);
    return commit(k, rc, txn, news);
}

static const char *kind_of(char first)
{
    return first == 'd'   ? "an entry of the index by time"
           : first == 'x' ? "an entry of the index by domain"
           : first == 's' ? "a status"
                          : "a recipient";
}

/* One look at a row that nothing seems to own. RC_AGAIN: once more. */
static enum rc look_at_row(struct queue_check *k, struct str key, unsigned look)
{
    char text[QUEUE_ID_TEXT];
    struct arena arena = {0};
    struct queue_whole w;
    struct str value;
    struct queue_id id;
    memcpy(id.b, key.p + id_at(key), sizeof id.b);
    uint64_t before = version_of(k);
    enum rc rc = get(k, key, &arena, &value);
    enum rc read_rc = queue_whole_read(k->queue, id, 0, &arena, &w);
    if (rc == RC_OK && read_rc != RC_OK && read_rc != RC_CORRUPT && read_rc != RC_NOTFOUND)
        rc = read_rc;
    bool is_fine = rc == RC_OK && (str_is_null(value) || has_row(&w, read_rc, key, &arena));
    if (rc == RC_OK && !is_fine && look + 1 < LOOKS && version_of(k) != before)
        rc = RC_AGAIN;
    if (rc == RC_OK && !is_fine) {
        enum rc mend_rc =
            k->fsck->mends ? mend_row(k, &w, read_rc, (struct kv_row){key, value}) : RC_DENIED;
        rc = mend_rc == RC_CONFLICT ? RC_AGAIN : RC_OK;
        queue_id_text(id, text);
        if (rc == RC_OK)
            queue_fault(k, mend_rc == RC_OK, "%s is left of message %s, which %s",
                        kind_of(key.p[0]), text, read_rc == RC_OK ? "says otherwise" : "is gone");
    }
    arena_fini(&arena);
    return rc;
}

static enum rc check_row(struct queue_check *k, struct kv_row row)
{
    struct queue_id id;
    size_t at = id_at(row.key);
    enum rc rc = RC_AGAIN;
    if (row.key.n == 1 && row.key.p[0] == 'v') {
        if (row.value.n != 1 || row.value.p[0] != QUEUE_INDEX_FORMAT)
            queue_fault(k, false, "the index is of a form that this release does not know");
        return RC_OK;
    }
    if (!at) {
        queue_fault(k, false, "a row that is nothing of the queue's");
        return RC_OK;
    }
    memcpy(id.b, row.key.p + at, sizeof id.b);
    if (queue_shard_of(id) != k->shard) {
        queue_fault(k, false, "a row of another shard's message");
        return RC_OK;
    }
    if (row.key.p[0] == 'm') {
        k->fsck->items++;
        note_blob(k, row);
        return check_item(k, id);
    }
    for (unsigned look = 0; rc == RC_AGAIN && look < LOOKS; look++)
        rc = look_at_row(k, row.key, look);
    return rc == RC_AGAIN ? RC_OK : rc;
}

/* --- all of it -------------------------------------------------------------------------------- */

static enum rc check_shard(struct queue_check *k)
{
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    kv_walk_begin(&walk, k->queue->kv, part_of(k), (struct kv_range){0}, KV_ONCE);
    while ((rc = kv_walk_next(&walk, &row)) == RC_OK && (rc = check_row(k, row)) == RC_OK)
        ;
    kv_walk_end(&walk);
    return rc == RC_EOF ? RC_OK : rc;
}

enum rc queue_fsck(struct queue *queue, struct queue_fsck *fsck)
{
    enum rc rc = RC_OK;
    for (unsigned shard = 0; rc == RC_OK && shard < QUEUE_SHARDS; shard++) {
        struct queue_check k = {.queue = queue, .fsck = fsck, .shard = shard};
        rc = check_shard(&k);
        if (rc == RC_OK)
            rc = queue_check_references(&k);
        if (rc == RC_OK)
            rc = queue_check_lease(&k);
        free(k.named.item);
    }
    return rc == RC_OK && fsck->faults > fsck->mended ? RC_CORRUPT : rc;
}
