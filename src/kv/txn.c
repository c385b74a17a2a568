/* Transactions: items in the order in which they were added, encoded one behind the other.
 *
 * An item is a kind (1 byte), the length of its key (2), the length of its value (4), the key, the
 * value. Limits are checked as items are added, so a transaction that exists can be committed. What
 * is built here never leaves the process in this form. */
#include "kv/kv_int.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD = 1 + 2 + 4 };

struct kv_txn *kv_txn_new(struct kv_part part)
{
    struct kv_txn *txn = mem_zero(sizeof *txn);
    txn->part = part;
    buf_init(&txn->items, KV_TXN_BYTES + KV_TXN_ROWS * HEAD);
    return txn;
}

void kv_txn_free(struct kv_txn **txn)
{
    if (!*txn)
        return;
    buf_fini(&(*txn)->items);
    free(*txn);
    *txn = NULL;
}

size_t kv_txn_rows(const struct kv_txn *txn)
{
    return txn->rows;
}

enum rc kv_txn_add(struct kv_txn *txn, enum kv_item_kind kind, struct str key, struct str value)
{
    if (key.n > KV_KEY_MAX || value.n > KV_VALUE_MAX)
        return RC_PERM;
    if (txn->rows == KV_TXN_ROWS || key.n + value.n > KV_TXN_BYTES - txn->bytes)
        return RC_LIMIT;
    size_t n = HEAD + key.n + value.n;
    char *to = buf_reserve(&txn->items, n);
    if (!to)
        return RC_LIMIT;
    to[0] = (char)kind;
    put_u16(to + 1, (uint16_t)key.n);
    put_u32(to + 3, (uint32_t)value.n);
    if (key.n)
        memcpy(to + HEAD, key.p, key.n);
    if (value.n)
        memcpy(to + HEAD + key.n, value.p, value.n);
    buf_commit(&txn->items, n);
    txn->rows++;
    txn->bytes += key.n + value.n;
    return RC_OK;
}

/* An item about one row of the caller's. */
static enum rc add_row(struct kv_txn *txn, enum kv_item_kind kind, struct str key, struct str value)
{
    if (key.n == 0 || str_starts(key, KV_RESERVED))
        return RC_PERM;
    return kv_txn_add(txn, kind, key, value);
}

void kv_txn_expect(struct kv_txn *txn, uint64_t version)
{
    txn->has_expect = true;
    txn->expect = version;
}

enum rc kv_txn_assert_value(struct kv_txn *txn, struct str key, struct str value)
{
    return value.n ? add_row(txn, KV_ITEM_ASSERT_VALUE, key, value) : RC_PERM;
}

enum rc kv_txn_assert_absent(struct kv_txn *txn, struct str key)
{
    return add_row(txn, KV_ITEM_ASSERT_ABSENT, key, (struct str){0});
}

enum rc kv_txn_put(struct kv_txn *txn, struct str key, struct str value)
{
    return value.n ? add_row(txn, KV_ITEM_PUT, key, value) : RC_PERM;
}

enum rc kv_txn_delete(struct kv_txn *txn, struct str key)
{
    return add_row(txn, KV_ITEM_DELETE, key, (struct str){0});
}

enum rc kv_txn_put_cached(struct kv_txn *txn, struct str key, struct str value)
{
    if (txn->part.class != KV_ACCOUNT || value.n == 0)
        return RC_PERM;
    return add_row(txn, KV_ITEM_PUT_CACHED, key, value);
}

enum rc kv_txn_delete_cached(struct kv_txn *txn, struct str key)
{
    if (txn->part.class != KV_ACCOUNT)
        return RC_PERM;
    return add_row(txn, KV_ITEM_DELETE_CACHED, key, (struct str){0});
}

enum rc kv_txn_trim(struct kv_txn *txn, struct str from, struct str to)
{
    if (to.n > KV_KEY_MAX)
        return RC_PERM;
    if (str_is_null(to) || str_cmp(to, KV_RESERVED) > 0)
        to = KV_RESERVED;
    return kv_txn_add(txn, KV_ITEM_TRIM, from, to);
}

enum rc kv_txn_ref(struct kv_txn *txn, struct kv_blob_id blob)
{
    return kv_txn_add(txn, KV_ITEM_REF, str_from(blob.b, sizeof blob.b), (struct str){0});
}

enum rc kv_txn_drop(struct kv_txn *txn, struct kv_blob_id blob)
{
    return kv_txn_add(txn, KV_ITEM_DROP, str_from(blob.b, sizeof blob.b), (struct str){0});
}

bool kv_txn_next(const struct kv_txn *txn, size_t *pos, struct kv_item *out_item)
{
    struct str rest = str_skip(buf_str(&txn->items), *pos);
    if (rest.n == 0)
        return false;
    *out_item = (struct kv_item){.kind = (enum kv_item_kind)rest.p[0]};
    out_item->key = str_sub(rest, HEAD, get_u16(rest.p + 1));
    out_item->value = str_sub(rest, HEAD + out_item->key.n, get_u32(rest.p + 3));
    if (out_item->kind == KV_ITEM_REF || out_item->kind == KV_ITEM_DROP)
        memcpy(out_item->blob.b, out_item->key.p, sizeof out_item->blob.b);
    *pos += HEAD + out_item->key.n + out_item->value.n;
    return true;
}

bool kv_part_eq(struct kv_part a, struct kv_part b)
{
    return a.class == b.class && a.id == b.id;
}

uint64_t kv_part_hash(struct kv_part part)
{
    return map_hash_u64(part.id * 0x9e3779b97f4a7c15U + (uint64_t)part.class);
}

bool kv_blob_id_eq(struct kv_blob_id a, struct kv_blob_id b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

bool kv_blob_id_is_zero(struct kv_blob_id id)
{
    return kv_blob_id_eq(id, (struct kv_blob_id){{0}});
}
