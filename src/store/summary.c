/* Summaries: ready-made texts, one row a message, in the account's cache partition.
 *
 * `x` email8: format1 codec1 key4, the text.
 *
 * Invariants:
 *   1. A row comes with its message's own commit or after it, never before: an id whose commit
 * failed is given again, and what was kept under it would be another message's text.
 *   2. Nobody waits for a row alone; each may be missing at any time.
 *   3. It goes in the commit that trims the message's last tombstone, or before the account.
 *
 * Texts of messages that came one after the other stand one behind the other: a scan finds a
 * mailbox's for a small part of what single reads cost. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEAD = 6,            /* bytes before the text */
    RUN_MIN = 4,         /* ids for which a scan is begun */
    RUN_GAP = 3,         /* ids between two of them, whose texts a scan reads in vain */
    CHANGE_MAX = 2 << 20 /* bytes of summaries that one change takes along */
};

static struct kv_part cache_part(uint64_t account)
{
    return (struct kv_part){KV_CACHE, account};
}

static struct key key_summary(uint64_t email)
{
    struct key key = key_email(email);
    key.b[0] = 'x';
    return key;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The value, in `small` or allocated. */
static struct str encode(struct str summary, unsigned char *small, size_t size)
{
    unsigned char *mem = HEAD + summary.n > size ? mem_alloc(HEAD + summary.n) : small;
    memset(mem, 0, HEAD); /* no codec, in clear */
    mem[0] = RECORD_FORMAT;
    if (summary.n)
        memcpy(mem + HEAD, summary.p, summary.n);
    return str_from(mem, HEAD + summary.n);
}

static void release(struct str value, const unsigned char *small)
{
    if (value.p != (const char *)small)
        free((void *)(uintptr_t)value.p);
}

void summary_put(struct change *c, uint64_t email, struct str summary)
{
    unsigned char small[2048];
    struct key key = key_summary(email);
    if (str_is_null(summary) || summary.n > STORE_SUMMARY_MAX ||
        summary.n > CHANGE_MAX - c->summary_bytes)
        return;
    struct str value = encode(summary, small, sizeof small);
    enum rc rc = kv_txn_put_cached(c->txn, key_str(&key), value);
    c->summary_bytes +=
        value.n < CHANGE_MAX - c->summary_bytes ? value.n : CHANGE_MAX - c->summary_bytes;
    if (c->rc == RC_OK)
        c->rc = rc;
    release(value, small);
}

void summary_delete(struct change *c, uint64_t email)
{
    struct key key = key_summary(email);
    enum rc rc = kv_txn_delete_cached(c->txn, key_str(&key));
    if (c->rc == RC_OK)
        c->rc = rc;
}

enum rc summaries_destroy(struct store *s, uint64_t account)
{
    struct kv_txn *txn = kv_txn_new(cache_part(account));
    enum rc rc = kv_txn_trim(txn, STR("x"), STR("y"));
    if (rc == RC_OK)
        rc = kv_txn_trim(txn, STR("i"), STR("j")); /* the search index */
    if (rc == RC_OK)
        return kv_commit_wait(s->kv, txn, NULL);
    kv_txn_free(&txn);
    return rc;
}

static void written(struct kv_op *op)
{
    free(op);
}

enum rc store_summary_put(struct store_account *a, uint64_t email, struct str summary)
{
    unsigned char small[2048];
    struct arena arena;
    struct key key = key_email(email);
    struct str name = key_str(&key), value;
    if (summary.n > STORE_SUMMARY_MAX)
        return RC_LIMIT;
    arena_init(&arena, 0);
    /* Of a message that has gone it would stay for ever. Whoever made this has just read it. */
    enum rc rc =
        kv_get(a->store->kv, account_part(a->id), &name, 1, KV_CACHED, &arena, &value, NULL);
    if (rc == RC_OK && str_is_null(value))
        rc = RC_NOTFOUND;
    arena_fini(&arena);
    TRY(rc);
    struct kv_txn *txn = kv_txn_new(cache_part(a->id));
    key = key_summary(email);
    struct str row = encode(summary, small, sizeof small);
    rc = kv_txn_put(txn, key_str(&key), row);
    release(row, small);
    if (rc != RC_OK) {
        kv_txn_free(&txn);
        return rc;
    }
    struct kv_op *op = mem_zero(sizeof *op);
    op->done = written;
    rc = kv_commit(a->store->kv, txn, KV_LAZY, op);
    if (rc != RC_OK)
        free(op);
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------- */

static enum rc decode(struct str value, struct str *out)
{
    if (value.n < HEAD || value.p[0] != RECORD_FORMAT)
        return RC_CORRUPT;
    if (value.p[1] != 0 || get_u32(value.p + 2) != 0)
        return RC_DENIED; /* sealed: needs its session's key */
    *out = str_from(value.p + HEAD, value.n - HEAD);
    return RC_OK;
}

enum rc summary_check(struct kv_row row, uint64_t next_email)
{
    struct str text;
    bool is_known = row.key.n == 9 && get_u64(row.key.p + 1) < next_email;
    return is_known ? decode(row.value, &text) : RC_CORRUPT;
}

/* How many of the ids from the first on one scan should find. */
static size_t run_length(const uint64_t *ids, size_t n)
{
    size_t i = 1;
    while (i < n && ids[i] > ids[i - 1] && ids[i] - ids[i - 1] <= RUN_GAP + 1)
        i++;
    return i;
}

struct reading {
    struct store_account *account;
    const uint64_t *ids;
    struct str *out;
    unsigned flags;
    struct arena *arena;
};

/* Those of ids[from..to) that are in the page. */
static enum rc pick(const struct reading *r, const struct kv_page *page, size_t *from, size_t to)
{
    for (size_t i = 0; i < page->n && *from < to; i++) {
        struct str key = page->rows[i].key;
        uint64_t id = key.n == 9 ? get_u64(key.p + 1) : 0;
        while (*from < to && r->ids[*from] < id)
            ++*from;
        if (*from < to && r->ids[*from] == id)
            TRY(decode(page->rows[i].value, &r->out[(*from)++]));
    }
    return RC_OK;
}

static enum rc scan_run(const struct reading *r, size_t from, size_t to)
{
    struct key first = key_summary(r->ids[from]), end = key_summary(r->ids[to - 1] + 1);
    struct kv_range range = {.from = key_str(&first), .to = key_str(&end)};
    struct kv_page page = {.has_more = true};
    while (page.has_more && from < to) {
        TRY(kv_scan(r->account->store->kv, cache_part(r->account->id), range, 0, r->flags, r->arena,
                    &page));
        TRY(pick(r, &page, &from, to));
        if (page.n)
            range.after = page.rows[page.n - 1].key;
    }
    return RC_OK;
}

/* `single`: which of the ids are left to be read one by one. */
static enum rc get_singles(const struct reading *r, const size_t *single, size_t n)
{
    struct key *keys = arena_alloc(r->arena, n * sizeof *keys + 1);
    struct str *names = arena_alloc(r->arena, n * sizeof *names + 1),
               *values = arena_alloc(r->arena, n * sizeof *values + 1);
    if (!keys || !names || !values)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++) {
        keys[i] = key_summary(r->ids[single[i]]);
        names[i] = key_str(&keys[i]);
    }
    TRY(kv_get(r->account->store->kv, cache_part(r->account->id), names, n, r->flags, r->arena,
               values, NULL));
    for (size_t i = 0; i < n; i++)
        if (!str_is_null(values[i]))
            TRY(decode(values[i], &r->out[single[i]]));
    return RC_OK;
}

enum rc store_summaries(struct store_account *a, const uint64_t *emails, size_t n, unsigned flags,
                        struct arena *arena, struct str *out)
{
    struct reading r = {a, emails, out, flags & KV_CACHED, arena};
    size_t single[STORE_SUMMARIES], n_single = 0;
    if (n > STORE_SUMMARIES)
        return RC_LIMIT;
    for (size_t i = 0; i < n; i++)
        out[i] = (struct str){0};
    for (size_t i = 0, run; i < n; i += run) {
        run = run_length(emails + i, n - i);
        if (run >= RUN_MIN)
            TRY(scan_run(&r, i, i + run));
        for (size_t k = 0; run < RUN_MIN && k < run; k++)
            single[n_single++] = i + k;
    }
    return n_single ? get_singles(&r, single, n_single) : RC_OK;
}
