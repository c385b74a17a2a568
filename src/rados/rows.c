/* One partition's rows in memory.
 *
 * A key has what the first of these says: the rows that came with the account's commits and are not
 * yet written, the head's rows, its trims, the shard's page. A page that is not in memory is never
 * guessed: the answer is RC_AGAIN then. */
#include "rados/rados_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { STAMP = 8 };

uint64_t rad_row_stamp(struct str stored)
{
    uint64_t stamp;
    memcpy(&stamp, stored.p, STAMP);
    return stamp;
}

struct str rad_row_bytes(struct str stored)
{
    return str_skip(stored, STAMP);
}

void rad_row_put(struct kv_rows *rows, struct str key, uint64_t stamp, struct str bytes)
{
    char small[256];
    char *stored = bytes.n + STAMP > sizeof small ? mem_alloc(bytes.n + STAMP) : small;
    memcpy(stored, &stamp, STAMP);
    if (bytes.n)
        memcpy(stored + STAMP, bytes.p, bytes.n);
    kv_rows_put(rows, key, str_from(stored, bytes.n + STAMP));
    if (stored != small)
        free(stored);
}

size_t rad_row_weight(struct str key, struct str bytes)
{
    enum { ROW_COST = 96 };
    return key.n + bytes.n + ROW_COST;
}

/* The first row of the page whose key is at least `key`. */
static size_t page_seek(const struct rad_page *page, struct str key)
{
    size_t low = 0;
    size_t high = page->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(page->rows[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A row that the head, or what is not yet written, knows about: empty when it is deleted. */
static bool known_get(struct rad_part *p, struct str key, struct str *out_value)
{
    struct str stored = kv_rows_get(&p->lazy, key);
    if (str_is_null(stored))
        stored = kv_rows_get(&p->head.rows, key);
    if (str_is_null(stored))
        return false;
    *out_value = rad_row_bytes(stored);
    return true;
}

enum rc rad_rows_get(struct rad_part *p, struct str key, struct str *out_value)
{
    struct str value;
    *out_value = (struct str){0};
    if (known_get(p, key, &value)) {
        if (value.n)
            *out_value = value;
        return RC_OK;
    }
    if (p->head.shards.n == 0 || rad_trims_cover(&p->head.trims, key))
        return RC_OK;
    const struct rad_page *page = rad_page_at(p, key);
    if (!page)
        return RC_AGAIN;
    size_t i = page_seek(page, key);
    if (i < page->n && str_eq(page->rows[i].key, key))
        *out_value = page->rows[i].value;
    return RC_OK;
}

/* --- scanning --------------------------------------------------------------------------------- */

/* Where a scan stands in each of what it merges. */
struct merge {
    struct rad_part *p;
    struct str to;
    const struct kv_rows_row *lazy, *head;
    const struct rad_page *page; /* NULL when there are no shards, and where a trim is */
    size_t at;                   /* in the page */
    struct kv_row *rows;         /* found, views; owned */
    size_t n, capacity, bytes, max;
    bool has_more;
};

static bool is_before(struct str key, struct str end)
{
    return str_is_null(end) || str_cmp(key, end) < 0;
}

/* The smallest key that any of them is at, when it is before `end`. */
static bool merge_key(const struct merge *m, struct str end, struct str *out_key)
{
    struct str keys[3] = {{0}, {0}, {0}};
    bool is_any = false;
    if (m->lazy)
        keys[0] = m->lazy->key;
    if (m->head)
        keys[1] = m->head->key;
    if (m->page && m->at < m->page->n)
        keys[2] = m->page->rows[m->at].key;
    for (int i = 0; i < 3; i++) {
        if (!keys[i].p || (is_any && str_cmp(keys[i], *out_key) >= 0))
            continue;
        *out_key = keys[i];
        is_any = true;
    }
    return is_any && is_before(*out_key, end);
}

/* What the key has; everything that is at it goes on. */
static struct str merge_take(struct merge *m, struct str key)
{
    struct str value = {0};
    if (m->page && m->at < m->page->n && str_eq(m->page->rows[m->at].key, key)) {
        if (!rad_trims_cover(&m->p->head.trims, key))
            value = m->page->rows[m->at].value;
        m->at++;
    }
    if (m->head && str_eq(m->head->key, key)) {
        value = rad_row_bytes(m->head->value);
        m->head = m->head->next[0];
    }
    if (m->lazy && str_eq(m->lazy->key, key)) {
        value = rad_row_bytes(m->lazy->value);
        m->lazy = m->lazy->next[0];
    }
    return value;
}

/* All rows before `end`. False: the page is full. */
static bool merge_until(struct merge *m, struct str end)
{
    struct str key = {0};
    while (merge_key(m, end, &key)) {
        struct str value = merge_take(m, key);
        if (value.n == 0)
            continue;
        size_t bytes = key.n + value.n;
        if (m->n == m->max || (m->n > 0 && m->bytes + bytes > KV_PAGE_BYTES)) {
            m->has_more = true;
            return false;
        }
        m->rows = mem_array(m->rows, &m->capacity, m->n + 1, sizeof *m->rows);
        m->rows[m->n++] = (struct kv_row){key, value};
        m->bytes += bytes;
    }
    return true;
}

/* From page to page; where a trim says that there is nothing, none is needed. RC_AGAIN: that at
 * *out_missing is not in memory. */
static enum rc merge_all(struct merge *m, struct str from, struct str *out_missing)
{
    if (m->p->head.shards.n == 0) {
        merge_until(m, m->to);
        return RC_OK;
    }
    for (struct str at = from; is_before(at, m->to);) {
        const struct rad_trim *trim = rad_trim_of(&m->p->head.trims, at);
        m->page = trim ? NULL : rad_page_at(m->p, at);
        *out_missing = at;
        if (!m->page && !trim)
            return RC_AGAIN;
        struct str end = trim ? trim->to : m->page->to;
        m->at = m->page ? page_seek(m->page, at) : 0;
        bool is_last = !is_before(end.p ? end : m->to, m->to);
        if (!merge_until(m, is_last ? m->to : end) || is_last)
            break;
        at = end;
    }
    return RC_OK;
}

static enum rc merge_copy(const struct merge *m, struct arena *arena, struct kv_page *out)
{
    out->rows = arena_alloc(arena, m->n * sizeof *out->rows);
    if (!out->rows)
        return RC_LIMIT;
    for (size_t i = 0; i < m->n; i++) {
        struct kv_row row = {arena_dup(arena, m->rows[i].key), arena_dup(arena, m->rows[i].value)};
        if (!row.key.p || !row.value.p)
            return RC_LIMIT;
        out->rows[out->n++] = row;
    }
    out->has_more = m->has_more;
    out->version = m->p->head.state.version;
    return RC_OK;
}

enum rc rad_rows_scan(struct rad_part *p, struct str from, struct str to, size_t max,
                      struct arena *arena, struct kv_page *out, struct str *out_missing)
{
    struct merge m = {
        .p = p,
        .to = to,
        .lazy = kv_rows_seek(&p->lazy, from),
        .head = kv_rows_seek(&p->head.rows, from),
        .max = max,
    };
    enum rc rc = merge_all(&m, from, out_missing);
    if (rc == RC_OK)
        rc = merge_copy(&m, arena, out);
    free(m.rows);
    return rc;
}
