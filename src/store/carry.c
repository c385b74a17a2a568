/* What a copy of the store has to know of it: which partitions are its own, and where in a row the
 * ids of blobs stand. The rows are those of record.c; a new kind that refers to a blob gets its
 * case here, and one with a reference that is left out here is found by kv_fsck of the copy and by
 * the tests of src/migrate.
 *
 * A tombstone that is not its message's last one holds no reference: the id in it is history. */
#include "store/store_int.h"

enum {
    ID = sizeof(struct kv_blob_id),
    ROW = 4 + 6 * 8,    /* what every message's row has behind its format */
    EMAIL_BLOB = 1 + 4, /* behind codec and key id */
    OUTBOX_BLOB = 1 + 1 + 4 + 1 + 8 + 8 + 4
};

bool store_partition(size_t n, struct kv_part *out)
{
    *out = quota_defaults_part;
    return n == 0;
}

bool store_account_partition(uint64_t id, size_t n, struct kv_part *out)
{
    *out = n == 0 ? account_part(id) : (struct kv_part){KV_CACHE, id};
    return n <= 1;
}

static enum rc tombstones_blobs(struct str value, uint32_t *out_at, size_t *out_n)
{
    struct tombstones all;
    struct tombstone d;
    enum rc rc = tombstones_open(value, &all);
    while (rc == RC_OK) {
        size_t at = (size_t)(all.rest.p - (const unsigned char *)value.p);
        at += 1 + (all.is_first_format ? 4 : 0) + 4 + ROW + EMAIL_BLOB;
        rc = tombstones_next(&all, &d);
        if (rc == RC_OK && d.is_last)
            out_at[(*out_n)++] = (uint32_t)at;
    }
    return rc == RC_EOF ? RC_OK : rc;
}

static bool is_zero(struct str id)
{
    size_t i = 0;
    while (i < id.n && id.p[i] == 0)
        i++;
    return i == id.n;
}

enum rc store_row_blobs(struct kv_row row, uint32_t out_at[KV_ROW_BLOBS], size_t *out_n)
{
    _Static_assert((int)KV_ROW_BLOBS >= (int)RECORD_TOMBSTONES, "a record of tombstones");
    char kind = row.key.n ? row.key.p[0] : 0;
    *out_n = 0;
    if (kind == 'd')
        return tombstones_blobs(row.value, out_at, out_n);
    if (kind != 'e' && kind != 'o')
        return RC_OK;
    uint32_t at = kind == 'e' ? 1 + EMAIL_BLOB : OUTBOX_BLOB;
    if (row.value.n < at + ID || row.value.p[0] != RECORD_FORMAT)
        return RC_CORRUPT;
    out_at[0] = at;
    *out_n = kind == 'o' && is_zero(str_sub(row.value, at, ID)) ? 0 : 1;
    return RC_OK;
}
