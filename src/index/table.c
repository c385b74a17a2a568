/* What an account's index is: its head and its blocks, as rows say. Reads only. */
#include "index/block_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct kv_part index_part(uint64_t account)
{
    return (struct kv_part){KV_CACHE, account};
}

void index_table_fini(struct index_table *t)
{
    free(t->blocks);
    *t = (struct index_table){0};
}

enum rc index_row_read(struct kv *kv, uint64_t account, struct index_key key, struct arena *arena,
                       struct str *out)
{
    struct str name = index_key_str(&key), row;
    TRY(kv_get(kv, index_part(account), &name, 1, 0, arena, &row, NULL));
    return str_is_null(row) ? RC_NOTFOUND : index_row_open(name, row, out);
}

static enum rc load_head(struct kv *kv, uint64_t account, struct index_head *out)
{
    struct arena arena = {0};
    struct index_key key = index_key_state();
    struct str name = index_key_str(&key), row;
    enum rc rc = kv_get(kv, index_part(account), &name, 1, 0, &arena, &row, NULL);
    if (rc == RC_OK)
        rc = str_is_null(row) ? RC_NOTFOUND : index_head_get(row, out);
    arena_fini(&arena);
    return rc;
}

static int compare_blocks(const void *a, const void *b)
{
    const struct index_block *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* In order, and no two of one stretch. */
static enum rc put_in_order(struct index_table *t)
{
    if (t->n)
        qsort(t->blocks, t->n, sizeof *t->blocks, compare_blocks);
    for (size_t i = 0; i < t->n; i++) {
        if (i && t->blocks[i].first <= t->blocks[i - 1].last)
            return RC_CORRUPT;
        t->emails += t->blocks[i].emails;
        t->columns += t->blocks[i].columns;
    }
    bool is_before = !t->n || t->blocks[t->n - 1].last < t->head.next;
    return is_before && t->emails == t->head.emails ? RC_OK : RC_CORRUPT;
}

enum rc index_table_load(struct kv *kv, uint64_t account, struct index_table *out)
{
    struct index_key from = index_key_kind('b'), to = index_key_after(from);
    struct kv_range range = {.from = index_key_str(&from), .to = index_key_str(&to)};
    struct kv_walk walk;
    struct kv_row row;
    enum rc rc;
    *out = (struct index_table){0};
    TRY(load_head(kv, account, &out->head));
    kv_walk_begin(&walk, kv, index_part(account), range, 0);
    while ((rc = kv_walk_next(&walk, &row)) == RC_OK) {
        out->blocks = mem_array(out->blocks, &out->size, out->n + 1, sizeof *out->blocks);
        rc = index_block_get(row.key, row.value, &out->blocks[out->n]);
        if (rc != RC_OK)
            break;
        out->n++;
    }
    kv_walk_end(&walk);
    return rc == RC_EOF ? put_in_order(out) : rc;
}
