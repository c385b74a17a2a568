/* The segment log: where small blobs live. Append-only files "seg/0000002a", each up to a fixed
 * size; records back to back from offset 0 (kv_record.h).
 *
 * The committer alone appends, in groups: append and live only change the head; end_group makes the
 * head the present, or forgets it. A segment is never appended to after a restart. Readers pin a
 * segment: its file stays readable until they let go, even when it has been removed meanwhile. */
#ifndef KV_KV_LOCAL_SEGMENT_H
#define KV_KV_LOCAL_SEGMENT_H

#include "base/ctx.h"
#include "base/list.h"
#include "base/map.h"
#include "kv/kv_record.h"

#include <pthread.h>
#include <sys/uio.h>

enum { SEGMENT_IOV = 512, SEGMENT_NAME = 16 };

struct segment_state {
    uint64_t end;  /* bytes that hold records */
    uint64_t live; /* bytes of records that a blob row points to */
};

struct segment {
    struct map_node node;
    struct list link; /* in the log, by number */
    uint32_t number;
    int fd;                    /* -1: not open */
    unsigned pins;             /* readers */
    unsigned unreferenced;     /* records that no row points to but somebody holds */
    struct segment_state now;  /* durable */
    struct segment_state head; /* with the group under way: the committer's alone */
    uint64_t allocated;        /* space taken ahead of the end */
    bool is_touched;
    bool is_written; /* and not yet synced; of segments that are not current, under the mutex */
    bool is_removed; /* freed with the last pin */
    bool is_damaged; /* left alone by the cleaner, so that what can be read stays */
};

struct segment_log {
    struct ctx ctx;
    int dir;
    uint64_t limit; /* bytes of a segment */
    pthread_mutex_t
        mutex; /* guards the table, pins, fds and `now`; never held over a read, write or sync */
    struct map by_number;
    struct list all;
    unsigned open_files;
    /* The committer's: */
    struct segment *current; /* NULL: the next append makes one */
    uint32_t next_number;
    struct segment *behind; /* holds records before its end that no sync has reached, or NULL */
    struct segment **touched;
    size_t n_touched, touched_capacity;
    bool is_dir_changed;
    struct iovec iov[SEGMENT_IOV]; /* not yet written, one run of bytes of `current` */
    int n_iov;
    uint64_t iov_at;
};

void local_segment_name(char *to, uint32_t number); /* SEGMENT_NAME bytes */
bool local_segment_parse_name(const char *name, uint32_t *out);

enum rc local_segments_init(struct segment_log *log, const struct ctx *ctx, int parent,
                            bool is_read_only, uint64_t limit);
void local_segments_fini(struct segment_log *log);
/* One that was found at open; later ones get larger numbers. */
struct segment *local_segments_add(struct segment_log *log, uint32_t number,
                                   struct segment_state state);

/* Readers. RC_NOTFOUND: it has been removed; look the blob up again. */
enum rc local_segment_pin(struct segment_log *log, uint32_t number, struct segment **out);
void local_segment_unpin(struct segment_log *log, struct segment **segment);
/* A record without a row came into somebody's hands (+1) or was let go (-1). */
void local_segment_hold(struct segment_log *log, uint32_t number, int change);

/* The committer. The record's bytes must stay until local_segments_sync. */
enum rc local_segments_append(struct segment_log *log, struct iovec record, struct segment **out,
                              uint64_t *out_offset);
void local_segments_live(struct segment_log *log, uint32_t number, int64_t change);
/* Writes what was appended and syncs each file and folder written to. A write that fails hurts
 * nothing: what is behind the end is written again. A sync that fails is the end of all writing. */
enum rc local_segments_write(struct segment_log *log);
enum rc local_segments_sync(struct segment_log *log);
/* Instead of the sync, when may_defer said before the first append that these bytes go to the
 * present segment and nothing else is to be synced: they wait for the next group that syncs, or for
 * settle. Somebody else must have them on disk. */
bool local_segments_may_defer(const struct segment_log *log, uint64_t bytes);
void local_segments_defer(struct segment_log *log);
enum rc local_segments_settle(struct segment_log *log);
uint32_t local_segments_behind(struct segment_log *log); /* for any thread; 0: none */
/* True when a segment has become sparse enough to be cleaned. */
bool local_segments_end_group(struct segment_log *log, bool is_kept);
bool local_segment_is_sparse(const struct segment_log *log, const struct segment *s);
/* Takes a segment out of the table when nothing in it is live, held or in the group under way, and
 * it is not the current one. Its file is the caller's to unlink once that is durable. */
bool local_segments_remove(struct segment_log *log, uint32_t number);

/* Reads frames from `from` on. RC_EOF where there is no further one before `to`: with `is_resync`
 * after looking for one at every aligned place, otherwise at once. *at is where the frame is; go on
 * from there plus kv_record_bytes. */
enum rc local_segment_next(int fd, uint64_t from, uint64_t to, bool is_resync,
                           struct record *out_record, uint64_t *out_at);

#endif
