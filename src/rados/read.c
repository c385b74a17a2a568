/* The reads of kv.h: from memory, loading what is not there.
 *
 * A partition in memory is trusted for conf.trust_ms after it was last known to be the cluster's:
 * by a load, by a commit that its guard let through, by a check. Reads with KV_CACHED always trust
 * it. Every read is made under the partition's mutex, so it is of one published state. */
#include "rados/rados_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    struct rad_part *p; /* pinned and locked */
    bool is_cached;
    uint64_t fresh; /* checked at this time or later is good enough */
    bool is_second; /* a load has found damage, perhaps of what somebody else wants */
};

/* Waits for a load that is under way; it may be over for another reason by then. */
static enum rc wait_for_news(struct reading *r)
{
    if (r->is_cached)
        return RC_AGAIN;
    uint64_t failed = r->p->loads_failed;
    pthread_cond_wait(&r->p->news, &r->p->mutex);
    if (r->p->loads_failed == failed)
        return RC_OK;
    bool is_first = r->p->load_rc == RC_CORRUPT && !r->is_second;
    r->is_second = true;
    return is_first ? RC_OK : r->p->load_rc;
}

/* Warm, and as good as the cluster's. An operation that is under way will tell soon enough. */
static enum rc wait_until_warm(struct reading *r)
{
    struct rad_part *p = r->p;
    for (;;) {
        bool is_fresh = r->is_cached || p->group || p->checked >= r->fresh;
        if (p->is_warm && is_fresh)
            return RC_OK;
        if (!r->is_cached && p->is_warm)
            rad_load_check(p);
        else if (!r->is_cached)
            rad_load_head(p);
        TRY(wait_for_news(r));
    }
}

static enum rc read_begin(struct reading *r, struct kv *kv, struct kv_part part, unsigned flags)
{
    struct rad *rad = rad_of(kv);
    uint64_t now = clock_mono(kv->ctx->clock);
    uint64_t trust = rad->conf.trust_ms * NS_PER_MS;
    r->p = rad_part_get(rad, part);
    r->is_cached = flags & KV_CACHED;
    r->is_second = false;
    r->fresh = now > trust ? now - trust : 0;
    pthread_mutex_lock(&r->p->mutex);
    return wait_until_warm(r);
}

static enum rc read_end(struct reading *r, enum rc rc)
{
    pthread_mutex_unlock(&r->p->mutex);
    rad_part_put(r->p);
    return rc;
}

enum rc rad_version(struct kv *kv, struct kv_part part, unsigned flags, uint64_t *out_version)
{
    struct reading r;
    enum rc rc = read_begin(&r, kv, part, flags);
    if (rc == RC_OK)
        *out_version = r.p->head.state.version;
    return read_end(&r, rc);
}

/* RC_AGAIN: some are not in memory; they are being loaded, unless nothing may wait. */
static enum rc get_all(struct reading *r, const struct str *keys, size_t n, struct arena *arena,
                       struct str *out_values)
{
    struct str *missing = NULL;
    size_t n_missing = 0;
    size_t capacity = 0;
    enum rc rc = RC_OK;
    for (size_t i = 0; i < n; i++) {
        struct str value;
        out_values[i] = (struct str){0};
        if (rad_rows_get(r->p, keys[i], &value) == RC_AGAIN) {
            missing = mem_array(missing, &capacity, n_missing + 1, sizeof *missing);
            missing[n_missing++] = keys[i];
        } else if (value.n && n_missing == 0 && rc == RC_OK) {
            out_values[i] = arena_dup(arena, value);
            rc = out_values[i].p ? RC_OK : RC_LIMIT;
        }
    }
    if (rc == RC_OK && n_missing > 0) {
        if (!r->is_cached)
            rad_load_keys(r->p, missing, n_missing);
        rc = RC_AGAIN;
    }
    free(missing);
    return rc;
}

enum rc rad_get(struct kv *kv, struct kv_part part, const struct str *keys, size_t n,
                unsigned flags, struct arena *arena, struct str *out_values, uint64_t *out_version)
{
    struct reading r;
    enum rc rc = read_begin(&r, kv, part, flags);
    while (rc == RC_OK) {
        rc = get_all(&r, keys, n, arena, out_values);
        if (rc != RC_AGAIN)
            break;
        rc = wait_for_news(&r);
        if (rc == RC_OK)
            rc = wait_until_warm(&r);
    }
    if (rc == RC_OK && out_version)
        *out_version = r.p->head.state.version;
    return read_end(&r, rc);
}

/* Who has got a long page goes on soon: what comes next is loaded meanwhile. */
static void read_ahead(struct rad_part *p, const struct kv_page *page)
{
    struct str next, value;
    if (!page->has_more || page->n < KV_PAGE_ROWS / 2)
        return;
    next = page->rows[page->n - 1].key;
    const struct rad_page *at = rad_page_at(p, next);
    next = at ? at->to : next;
    if (!str_is_null(next) && rad_rows_get(p, next, &value) == RC_AGAIN)
        rad_load_page(p, next);
}

enum rc rad_scan(struct kv *kv, struct kv_part part, struct kv_range range, size_t max_rows,
                 unsigned flags, struct arena *arena, struct kv_page *out_page)
{
    struct reading r;
    char behind[KV_KEY_MAX + 1];
    struct str from = range.from;
    struct str missing;
    if (!str_is_null(range.after)) { /* the first key behind it has one NUL more */
        memcpy(behind, range.after.p, range.after.n);
        behind[range.after.n] = '\0';
        from = str_from(behind, range.after.n + 1);
    }
    enum rc rc = read_begin(&r, kv, part, flags);
    while (rc == RC_OK) {
        rc = rad_rows_scan(r.p, from, range.to, max_rows, arena, out_page, &missing);
        if (rc != RC_AGAIN)
            break;
        if (!r.is_cached)
            rad_load_page(r.p, missing);
        rc = wait_for_news(&r);
        if (rc == RC_OK)
            rc = wait_until_warm(&r);
    }
    if (rc == RC_OK && !r.is_cached)
        read_ahead(r.p, out_page);
    return read_end(&r, rc);
}
