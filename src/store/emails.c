/* Many `e` records at once, and what a change has made of them. Records of messages that came one
 * after the other stand one behind the other, so one scan finds a mailbox's for a small part of
 * what single reads cost.
 *
 * Ids that do not ascend, or lie far apart, are left to single reads. Nothing is written here. */
#include "store/store_int.h"

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
