/* Blobs. */
#include "rados/rados_int.h"

#include "base/mem.h"

#include <stdlib.h>

enum rc rad_blobs_apply(struct rad_change *change, struct kv_op *op)
{
    struct kv_item item;
    for (size_t pos = 0; kv_txn_next(op->txn, &pos, &item);)
        if (item.kind == KV_ITEM_REF || item.kind == KV_ITEM_DROP)
            return item.kind == KV_ITEM_REF ? RC_NOTFOUND : RC_CORRUPT;
    return RC_OK;
}

void rad_blobs_committed(struct rad *rad, struct kv_op *op)
{
}

struct kv_blob_out *rad_blob_new(struct kv *kv)
{
    return mem_zero(sizeof(struct kv_blob_out));
}

enum rc rad_blob_write(struct kv_blob_out *out, struct str bytes)
{
    return RC_TEMP;
}

enum rc rad_blob_finish(struct kv_blob_out *out, struct kv_blob_id *out_id)
{
    free(out);
    return RC_TEMP;
}

void rad_blob_abort(struct kv_blob_out *out)
{
    free(out);
}

void rad_blob_forget(struct kv *kv, struct kv_blob_id id)
{
}

enum rc rad_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags, struct kv_blob_in **out)
{
    return RC_NOTFOUND;
}

enum rc rad_blob_read(struct kv_blob_in *in, uint64_t offset, void *to, size_t n, unsigned flags)
{
    return RC_TEMP;
}

void rad_blob_close(struct kv_blob_in *in)
{
}

enum rc rad_fsck(struct kv *kv, struct kv_fsck *fsck)
{
    return RC_OK;
}

enum rc rad_backup(struct kv *kv, const char *dir)
{
    return RC_PERM;
}
