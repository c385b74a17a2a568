/* What the tests of kv_local share: blobs of one partition, and a folder that goes with the test.
 * Not part of any library. */
#ifndef KV_TEST_LOCAL_H
#define KV_TEST_LOCAL_H

#include "kv/kv_int.h"

#include "base/mem.h"
#include "base/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct kv_part part = {KV_ACCOUNT, 7};

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline void remove_folder(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct kv_blob_id make_blob(struct kv *kv, size_t size)
{
    struct kv_blob_out *out = kv_blob_new(kv, part, 3, 9);
    struct kv_blob_id id;
    char *bytes = mem_alloc(size);
    memset(bytes, 'x', size);
    assert_rc(kv_blob_write(out, str_from(bytes, size)), RC_OK);
    free(bytes);
    assert_rc(kv_blob_finish(&out, &id), RC_OK);
    return id;
}

static inline enum rc change_ref(struct kv *kv, struct kv_blob_id id, bool is_taken)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(is_taken ? kv_txn_ref(txn, id) : kv_txn_drop(txn, id), RC_OK);
    return kv_commit_wait(kv, txn, NULL);
}

static inline struct kv_blob_id store_blob(struct kv *kv, size_t size)
{
    struct kv_blob_id id = make_blob(kv, size);
    assert_rc(change_ref(kv, id, true), RC_OK);
    kv_blob_forget(kv, id);
    return id;
}

#endif
