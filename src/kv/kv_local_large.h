/* Large blobs: one file each, "big/<first byte>/<the other 15>" in hex, nameless (O_TMPFILE) until
 * the committer links it. */
#ifndef KV_KV_LOCAL_LARGE_H
#define KV_KV_LOCAL_LARGE_H

#include "base/budget.h"
#include "kv/kv_record.h"

struct large_files {
    int dir;            /* "big" */
    struct budget open; /* files that are written or read at the same time */
    bool is_read_only;
    bool is_dir_durable[256]; /* the committer's: the folder's own entry has been synced by this
                                 process */
    bool is_changed[256];     /* the committer's: links to be synced */
};

enum rc local_larges_init(struct large_files *f, int parent, bool is_read_only);
void local_larges_fini(struct large_files *f);

/* A file being written, and summed, as the bytes come. */
struct large_out {
    int fd;
    struct record record;
    unsigned char *chunk; /* RECORD_CHUNK bytes */
    size_t n;             /* in the chunk */
    unsigned char *sums;
    size_t n_sums, sums_capacity; /* bytes */
    uint64_t pushed;              /* bytes whose writing to the disk was begun */
};

/* Both that open a file: RC_TEMP when too many are open. local_large_close gives its place back. */
enum rc local_large_new(struct large_files *f, const struct record *record, struct large_out *out);
enum rc local_large_write(struct large_out *out, struct str bytes);
/* Writes sums and frame. The size is final; out->fd stays open for who takes it, and must still be
 * synced. */
enum rc local_large_finish(struct large_out *out);
void local_large_fini(struct large_files *f, struct large_out *out, bool with_file);

/* The committer: gives the file its name, then makes all names durable. */
enum rc local_large_link(struct large_files *f, int fd, const struct kv_blob_id *id);
enum rc local_larges_sync(struct large_files *f);

enum rc local_large_open(struct large_files *f, const struct kv_blob_id *id,
                         int *out_fd); /* for reading */
void local_large_close(struct large_files *f, int fd);
enum rc local_large_unlink(struct large_files *f, const struct kv_blob_id *id);
/* Gives the file a second name in the folder of a backup. RC_NOTFOUND when it is gone. */
enum rc local_large_share(struct large_files *f, struct large_files *to,
                          const struct kv_blob_id *id);

/* Calls each() for every file there is. Files made or removed meanwhile may be left out. */
enum rc local_larges_each(struct large_files *f,
                          enum rc (*each)(void *arg, const struct kv_blob_id *id), void *arg);

#endif
