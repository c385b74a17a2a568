/* Many `e` records at once, what a change has made of them, and the ids of a thread. Records of
 * messages that came one after the other stand one behind the other, so one scan finds a mailbox's
 * for a small part of what single reads cost.
 *
 * Ids that do not ascend, or lie far apart, are left to single reads. Nothing is written here. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SCAN_MIN = 8 };

bool emails_are_run(const uint64_t *ids, size_t n, struct key *out_from, struct key *out_to)
{
    if (n < SCAN_MIN || ids[n - 1] - ids[0] >= 2 * (uint64_t)n)
        return false;
    for (size_t i = 1; i < n; i++)
        if (ids[i - 1] >= ids[i])
            return false;
    *out_from = key_email(ids[0]);
    *out_to = key_email(ids[n - 1] + 1);
    return true;
}

void emails_pick(const struct kv_page *page, const uint64_t *ids, size_t n, struct str *out_values)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        struct key key = key_email(ids[i]);
        int order = 1;
        while (at < page->n && (order = str_cmp(page->rows[at].key, key_str(&key))) < 0)
            at++;
        out_values[i] = at < page->n && order == 0 ? page->rows[at].value : (struct str){0};
    }
}

static enum rc read_part(struct attempt *t, const uint64_t *ids, size_t n, struct str *out_values)
{
    struct key from, to;
    struct kv_page page = {0};
    if (emails_are_run(ids, n, &from, &to)) {
        enum rc rc = head_scan(t, from, to, 2 * n, &page);
        if (rc != RC_OK && rc != RC_CONFLICT)
            return rc;
    }
    emails_pick(&page, ids, n, out_values);
    return RC_OK;
}

enum rc head_emails(struct attempt *t, const uint64_t *ids, size_t n, struct str *out_values)
{
    enum { PART = 256 };
    enum rc rc = RC_OK;
    for (size_t from = 0; from < n; from += PART) {
        enum rc one =
            read_part(t, ids + from, n - from < PART ? n - from : PART, out_values + from);
        if (one == RC_AGAIN) /* look on, to find all that must be read */
            rc = one;
        else
            TRY(one);
    }
    return rc;
}

/* --- what a change has left ------------------------------------------------------------------- */

struct left {
    struct map_node node;
    uint64_t email;
    struct str record;
};

void emails_left_init(struct emails_left *l)
{
    map_init(&l->map);
}

void emails_left_fini(struct emails_left *l)
{
    map_fini(&l->map);
}

static struct left *find_left(const struct emails_left *l, uint64_t email)
{
    struct map_node *node = map_find(&l->map, map_hash_u64(email));
    while (node && CONTAINER(node, struct left, node)->email != email)
        node = map_next(node);
    return node ? CONTAINER(node, struct left, node) : NULL;
}

struct str emails_left_find(const struct emails_left *l, const struct store_row *row)
{
    const struct left *left = row->flags & ROW_SHARED ? find_left(l, row->email) : NULL;
    return left ? left->record : (struct str){0};
}

enum rc emails_left_keep(struct emails_left *l, struct arena *arena, const struct store_row *row,
                         struct str record)
{
    if (!(row->flags & ROW_SHARED)) /* it has no other place */
        return RC_OK;
    struct left *left = find_left(l, row->email);
    struct str copy = arena_dup(arena, record);
    if (!left && (left = arena_alloc(arena, sizeof *left)) != NULL) {
        left->email = row->email;
        map_add(&l->map, &left->node, map_hash_u64(row->email));
    }
    if (!left || str_is_null(copy))
        return RC_LIMIT;
    left->record = copy;
    return RC_OK;
}

/* --- threads ---------------------------------------------------------------------------------- */

enum rc emails_of_thread(struct store_account *a, uint64_t thread, unsigned flags,
                         struct emails_found *out)
{
    struct key from = key_member(thread, 0);
    struct key to = key_after(str_from(from.b, 9), 9);
    const struct kv_range range = {.from = key_str(&from), .to = key_str(&to)};
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    kv_walk_begin(&walk, a->store->kv, account_part(a->id), range, flags & KV_CACHED);
    while ((rc = kv_walk_next(&walk, &row)) == RC_OK && row.key.n == from.n)
        emails_found_add(out, get_u64(row.key.p + 9));
    kv_walk_end(&walk);
    return rc == RC_OK ? RC_CORRUPT : rc == RC_EOF ? RC_OK : rc;
}

void emails_found_add(struct emails_found *f, uint64_t email)
{
    f->ids = mem_array(f->ids, &f->size, f->n + 1, sizeof *f->ids);
    f->ids[f->n++] = email;
}

static int by_id(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

enum rc emails_found_take(struct emails_found *f, struct arena *arena, uint64_t **out,
                          size_t *out_n)
{
    *out = arena_alloc(arena, (f->n + 1) * sizeof **out);
    *out_n = *out ? f->n : 0;
    if (*out && f->n) {
        qsort(f->ids, f->n, sizeof *f->ids, by_id);
        memcpy(*out, f->ids, f->n * sizeof **out);
    }
    free(f->ids);
    *f = (struct emails_found){0};
    return *out ? RC_OK : RC_LIMIT;
}
