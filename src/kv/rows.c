/* Rows in key order: a skip list, so that finding, changing and going on from any key cost the
 * logarithm of the rows. Every row is on level 0; a quarter of each level is on the next one. */
#include "kv/rows.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Where a row with this key is or would be hung in, on each level. */
static void find_links(const struct kv_rows *rows, struct str key,
                       struct kv_rows_row **out_links[KV_ROWS_LEVELS])
{
    struct kv_rows_row **links = (struct kv_rows_row **)(uintptr_t)rows->first;
    for (int level = KV_ROWS_LEVELS - 1; level >= 0; level--) {
        while (links[level] && str_cmp(links[level]->key, key) < 0)
            links = links[level]->next;
        out_links[level] = &links[level];
    }
}

struct kv_rows_row *kv_rows_seek(const struct kv_rows *rows, struct str key)
{
    struct kv_rows_row **links[KV_ROWS_LEVELS];
    find_links(rows, key, links);
    return *links[0];
}

struct kv_rows_row *kv_rows_floor(const struct kv_rows *rows, struct str key)
{
    struct kv_rows_row *const *links = rows->first;
    struct kv_rows_row *floor = NULL;
    for (int level = KV_ROWS_LEVELS - 1; level >= 0; level--) {
        while (links[level] && str_cmp(links[level]->key, key) <= 0) {
            floor = links[level];
            links = floor->next;
        }
    }
    return floor;
}

struct str kv_rows_get(const struct kv_rows *rows, struct str key)
{
    const struct kv_rows_row *row = kv_rows_seek(rows, key);
    return row && str_eq(row->key, key) ? row->value : (struct str){0};
}

static int throw_height(struct kv_rows *rows)
{
    uint64_t dice = map_hash_u64(++rows->dice);
    int height = 1;
    for (; height < KV_ROWS_LEVELS && (dice & 3) == 0; dice >>= 2)
        height++;
    return height;
}

static struct kv_rows_row *row_new(int height, struct str key, struct str value)
{
    struct kv_rows_row *row;
    size_t head = sizeof *row + (size_t)height * sizeof row->next[0];
    row = mem_alloc(head + key.n + value.n);
    char *bytes = (char *)row + head;
    row->key = str_from(bytes, key.n);
    row->value = str_from(bytes + key.n, value.n);
    if (key.n)
        memcpy(bytes, key.p, key.n);
    if (value.n)
        memcpy(bytes + key.n, value.p, value.n);
    return row;
}

void kv_rows_put(struct kv_rows *rows, struct str key, struct str value)
{
    struct kv_rows_row **links[KV_ROWS_LEVELS];
    find_links(rows, key, links);
    struct kv_rows_row *old = *links[0];
    bool is_new = !old || !str_eq(old->key, key);
    int height = is_new ? throw_height(rows) : 0;
    while (!is_new && height < KV_ROWS_LEVELS && *links[height] == old)
        height++;
    struct kv_rows_row *row = row_new(height, key, value);
    for (int level = 0; level < height; level++) {
        row->next[level] = is_new ? *links[level] : old->next[level];
        *links[level] = row;
    }
    rows->count += is_new;
    rows->bytes += key.n + value.n - (is_new ? 0 : old->key.n + old->value.n);
    if (!is_new)
        free(old);
}

bool kv_rows_delete(struct kv_rows *rows, struct str key)
{
    struct kv_rows_row **links[KV_ROWS_LEVELS];
    find_links(rows, key, links);
    struct kv_rows_row *row = *links[0];
    if (!row || !str_eq(row->key, key))
        return false;
    for (int level = 0; level < KV_ROWS_LEVELS && *links[level] == row; level++)
        *links[level] = row->next[level];
    rows->bytes -= row->key.n + row->value.n;
    rows->count--;
    free(row);
    return true;
}

void kv_rows_fini(struct kv_rows *rows)
{
    for (struct kv_rows_row *row = rows->first[0], *next; row; row = next) {
        next = row->next[0];
        free(row);
    }
    *rows = (struct kv_rows){0};
}
