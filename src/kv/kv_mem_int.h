/* kv_mem, inside: blobs (kv_mem_blob.c), the store (kv_mem.c). */
#ifndef KV_KV_MEM_INT_H
#define KV_KV_MEM_INT_H

#include "kv/kv_int.h"
#include "kv/rows.h"

/* --- the store -------------------------------------------------------------------------------- */

struct kv_mem_blob {
    struct map_node node; /* by id */
    struct kv_blob_id id;
    struct kv_blob_meta meta;
    char *bytes;         /* owned; immutable */
    struct list refs;    /* struct ref, in kv_mem_blob.c */
    bool is_in_hands;    /* finished and not yet forgotten */
    unsigned open_count; /* readers */
};

struct kv_mem {
    struct kv kv;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t wake;   /* the thread: something may have become its turn */
    pthread_t thread;
    struct map parts; /* struct part, in kv_mem.c */
    struct map blobs; /* struct kv_mem_blob */
    struct list queue;
    size_t queued_bytes;
    size_t steps; /* commits that may go through although the queue is held */
    struct kv_mem_stats stats;
    uint64_t generation;
    bool is_held, is_cold, is_stopping, is_readonly;
    enum rc fail_next;     /* RC_OK: no */
    struct str unreadable; /* keys that begin so, when fail_reads says how they fail */
    enum rc fail_reads;
    uint64_t room; /* kv_room goes by it */
};

/* Takes all references of a transaction and gives them up again as it says, or changes nothing:
 * RC_NOTFOUND, RC_CORRUPT. Under the mutex, as all below. */
enum rc kv_mem_blobs_apply(struct kv_mem *m, const struct kv_txn *txn);
void kv_mem_blobs_fini(struct kv_mem *m);
void kv_mem_blobs_fsck(struct kv_mem *m, struct kv_fsck *fsck);

struct kv_blob_out *kv_mem_blob_new(struct kv *kv);
enum rc kv_mem_blob_write(struct kv_blob_out *out, struct str bytes);
enum rc kv_mem_blob_finish(struct kv_blob_out *out, struct kv_blob_id *out_id);
void kv_mem_blob_abort(struct kv_blob_out *out);
void kv_mem_blob_forget(struct kv *kv, struct kv_blob_id id);
enum rc kv_mem_blob_open(struct kv *kv, struct kv_blob_id id, unsigned flags,
                         struct kv_blob_in **out);
enum rc kv_mem_blob_read(struct kv_blob_in *in, uint64_t offset, void *to, size_t n,
                         unsigned flags);
void kv_mem_blob_close(struct kv_blob_in *in);

#endif
