/* The segment log: appending, syncing, pinning.
 *
 * S1. Bytes before now.end never change. A group that failed leaves bytes after it, which the next
 * group overwrites. S2. No row points beyond now.end: the committer writes rows only after
 * local_segments_sync, or with rows that stand for the bytes (D1, kv_local_redo.c). S3. A segment
 * made by an earlier process is never appended to and never cut: a backup may share its file. S4.
 * Space is taken ahead in steps, without changing the size, so the size of the file tells where
 * writing stopped.
 *
 * Never here: what a record means, who refers to it. */
#include "kv/kv_local_segment.h"

#include "base/mem.h"
#include "kv/kv_local_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALLOCATE_STEP = 16 << 20, OPEN_FILES_MAX = 128 };

void local_segment_name(char *to, uint32_t number)
{
    snprintf(to, SEGMENT_NAME, "%08x", number);
}

bool local_segment_parse_name(const char *name, uint32_t *out)
{
    char again[SEGMENT_NAME];
    unsigned long number = strtoul(name, NULL, 16);
    if (number == 0 || number > UINT32_MAX)
        return false;
    *out = (uint32_t)number;
    local_segment_name(again, *out);
    return !strcmp(name, again);
}

enum rc local_segments_init(struct segment_log *log, const struct ctx *ctx, int parent,
                            bool is_read_only, uint64_t limit)
{
    *log = (struct segment_log){.ctx = *ctx, .dir = -1, .limit = limit, .next_number = 1};
    pthread_mutex_init(&log->mutex, NULL);
    map_init(&log->by_number);
    list_init(&log->all);
    return local_dir_open(parent, "seg", !is_read_only, &log->dir);
}

/* Gives back the space taken ahead, unless a backup shares the file. What has been written is never
 * cut, even beyond the end: a commit whose last step failed may turn out to be there after a
 * restart. */
static void trim(struct segment *s)
{
    struct stat st;
    if (s->fd >= 0 && s->allocated > s->now.end && fstat(s->fd, &st) == 0 && st.st_nlink == 1 &&
        ftruncate(s->fd, st.st_size) == 0)
        s->allocated = s->now.end;
}

static void free_segment(struct segment *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

void local_segments_fini(struct segment_log *log)
{
    LIST_EACH_SAFE (&log->all, it) {
        struct segment *s = CONTAINER(it, struct segment, link);
        if (s == log->current)
            trim(s);
        free_segment(s);
    }
    map_fini(&log->by_number);
    free(log->touched);
    if (log->dir >= 0)
        close(log->dir);
    pthread_mutex_destroy(&log->mutex);
}

struct segment *local_segments_add(struct segment_log *log, uint32_t number,
                                   struct segment_state state)
{
    struct segment *s = mem_zero(sizeof *s);
    s->number = number;
    s->fd = -1;
    s->now = s->head = state;
    s->allocated = state.end;
    pthread_mutex_lock(&log->mutex);
    map_add(&log->by_number, &s->node, map_hash_u64(number));
    list_add_tail(&log->all, &s->link);
    if (log->next_number <= number)
        log->next_number = number + 1;
    pthread_mutex_unlock(&log->mutex);
    return s;
}

static struct segment *find(struct segment_log *log, uint32_t number)
{
    struct map_node *node = map_find(&log->by_number, map_hash_u64(number));
    while (node && CONTAINER(node, struct segment, node)->number != number)
        node = map_next(node);
    return node ? CONTAINER(node, struct segment, node) : NULL;
}

/* --- readers ---------------------------------------------------------------------------------- */

/* Closes the files of segments that nobody uses, when many are open. */
static void close_idle(struct segment_log *log)
{
    if (log->open_files < OPEN_FILES_MAX)
        return;
    LIST_EACH (&log->all, it) {
        struct segment *s = CONTAINER(it, struct segment, link);
        if (s->fd >= 0 && !s->pins && s != log->current && s != log->behind && !s->is_written) {
            close(s->fd);
            s->fd = -1;
            log->open_files--;
        }
    }
}

static enum rc open_file(struct segment_log *log, struct segment *s)
{
    if (s->fd >= 0)
        return RC_OK;
    close_idle(log);
    char name[SEGMENT_NAME];
    local_segment_name(name, s->number);
    s->fd = openat(log->dir, name, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return errno == ENOENT ? RC_CORRUPT : rc_from_errno(errno);
    log->open_files++;
    return RC_OK;
}

enum rc local_segment_pin(struct segment_log *log, uint32_t number, struct segment **out)
{
    pthread_mutex_lock(&log->mutex);
    struct segment *s = find(log, number);
    enum rc rc = s ? open_file(log, s) : RC_NOTFOUND;
    if (rc == RC_OK) {
        s->pins++;
        *out = s;
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

void local_segment_unpin(struct segment_log *log, struct segment **segment)
{
    struct segment *s = *segment;
    *segment = NULL;
    if (!s)
        return;
    pthread_mutex_lock(&log->mutex);
    bool is_last = --s->pins == 0 && s->is_removed;
    if (is_last && s->fd >= 0)
        log->open_files--;
    pthread_mutex_unlock(&log->mutex);
    if (is_last)
        free_segment(s);
}

void local_segment_hold(struct segment_log *log, uint32_t number, int change)
{
    pthread_mutex_lock(&log->mutex);
    struct segment *s = find(log, number);
    if (s)
        s->unreferenced += (unsigned)change;
    pthread_mutex_unlock(&log->mutex);
}

/* --- the committer ---------------------------------------------------------------------------- */

static void touch(struct segment_log *log, struct segment *s)
{
    if (s->is_touched)
        return;
    s->is_touched = true;
    log->touched =
        mem_array(log->touched, &log->touched_capacity, log->n_touched + 1, sizeof(void *));
    log->touched[log->n_touched++] = s;
}

static enum rc make_current(struct segment_log *log)
{
    char name[SEGMENT_NAME];
    local_segment_name(name, log->next_number);
    int fd = openat(log->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return rc_from_errno(errno);
    log->is_dir_changed = true;
    struct segment *s = local_segments_add(log, log->next_number, (struct segment_state){0});
    pthread_mutex_lock(&log->mutex);
    s->fd = fd;
    log->open_files++;
    log->current = s;
    pthread_mutex_unlock(&log->mutex);
    return RC_OK;
}

/* Takes space ahead of the writes. Where the file system cannot, the writes themselves will find
 * out. */
static void allocate(struct segment_log *log, struct segment *s, uint64_t end)
{
    if (end <= s->allocated)
        return;
    uint64_t to = s->allocated + ALLOCATE_STEP;
    if (to > log->limit)
        to = log->limit;
    if (to < end)
        to = end;
    if (fallocate(s->fd, FALLOC_FL_KEEP_SIZE, (off_t)s->allocated, (off_t)(to - s->allocated)) == 0)
        s->allocated = to;
}

enum rc local_segments_write(struct segment_log *log)
{
    if (!log->n_iov)
        return RC_OK;
    struct segment *s = log->current;
    allocate(log, s, s->head.end);
    s->is_written = true;
    int n = log->n_iov;
    log->n_iov = 0;
    return local_file_write(s->fd, log->iov, n, log->iov_at);
}

/* Ends the current segment when the record does not fit into it. */
static enum rc make_room(struct segment_log *log, uint64_t bytes)
{
    struct segment *s = log->current;
    if (s && (s->head.end + bytes <= log->limit || s->head.end == 0))
        return RC_OK;
    if (s) {
        TRY(local_segments_write(log));
        touch(log, s); /* so that the end of the group looks whether it may be cleaned now */
        pthread_mutex_lock(&log->mutex);
        log->current = NULL;
        pthread_mutex_unlock(&log->mutex);
    }
    return make_current(log);
}

enum rc local_segments_append(struct segment_log *log, struct iovec record, struct segment **out,
                              uint64_t *out_offset)
{
    TRY(make_room(log, record.iov_len));
    if (log->n_iov == SEGMENT_IOV)
        TRY(local_segments_write(log));
    struct segment *s = log->current;
    if (!log->n_iov)
        log->iov_at = s->head.end;
    log->iov[log->n_iov++] = record;
    touch(log, s);
    *out = s;
    *out_offset = s->head.end;
    s->head.end += record.iov_len;
    s->head.live += record.iov_len;
    return RC_OK;
}

void local_segments_live(struct segment_log *log, uint32_t number, int64_t change)
{
    pthread_mutex_lock(&log->mutex);
    struct segment *s = find(log, number);
    pthread_mutex_unlock(&log->mutex);
    if (!s)
        return;
    touch(log, s);
    s->head.live += (uint64_t)change;
}

static enum rc sync_file(struct segment_log *log, struct segment *s)
{
    TRY(local_file_sync(s->fd));
    pthread_mutex_lock(&log->mutex);
    s->is_written = false;
    if (log->behind == s)
        log->behind = NULL;
    pthread_mutex_unlock(&log->mutex);
    return RC_OK;
}

enum rc local_segments_settle(struct segment_log *log)
{
    return log->behind ? sync_file(log, log->behind) : RC_OK;
}

uint32_t local_segments_behind(struct segment_log *log)
{
    pthread_mutex_lock(&log->mutex);
    uint32_t number = log->behind ? log->behind->number : 0;
    pthread_mutex_unlock(&log->mutex);
    return number;
}

bool local_segments_may_defer(const struct segment_log *log, uint64_t bytes)
{
    const struct segment *s = log->current;
    return s && s->head.end + bytes <= log->limit && !log->is_dir_changed &&
           (!log->behind || log->behind == s);
}

void local_segments_defer(struct segment_log *log)
{
    pthread_mutex_lock(&log->mutex);
    log->behind = log->current;
    pthread_mutex_unlock(&log->mutex);
}

enum rc local_segments_sync(struct segment_log *log)
{
    bool has_written = false;
    for (size_t i = 0; i < log->n_touched; i++) {
        struct segment *s = log->touched[i];
        if (!s->is_written)
            continue;
        has_written = true;
        TRY(sync_file(log, s));
    }
    if (has_written)
        TRY(local_segments_settle(log));
    if (log->is_dir_changed)
        TRY(local_dir_sync(log->dir));
    log->is_dir_changed = false;
    return RC_OK;
}

bool local_segment_is_sparse(const struct segment_log *log, const struct segment *s)
{
    return s != log->current && !s->is_damaged && s->now.live < s->now.end / 2 + 1;
}

bool local_segments_end_group(struct segment_log *log, bool is_kept)
{
    bool is_sparse = false;
    log->n_iov = 0;
    pthread_mutex_lock(&log->mutex);
    for (size_t i = 0; i < log->n_touched; i++) {
        struct segment *s = log->touched[i];
        if (is_kept)
            s->now = s->head;
        else
            s->head = s->now;
        s->is_touched = s->is_written = false;
        if (s != log->current && s->allocated > s->now.end)
            trim(s);
        is_sparse |= local_segment_is_sparse(log, s);
    }
    pthread_mutex_unlock(&log->mutex);
    log->n_touched = 0;
    return is_sparse;
}

bool local_segments_remove(struct segment_log *log, uint32_t number)
{
    pthread_mutex_lock(&log->mutex);
    struct segment *s = find(log, number);
    bool is_free = s && s != log->current && s != log->behind && !s->is_touched && !s->now.live &&
                   !s->unreferenced;
    bool is_unused = is_free && !s->pins;
    if (is_free) {
        map_remove(&log->by_number, &s->node);
        list_remove(&s->link);
        s->is_removed = true;
    }
    if (is_unused && s->fd >= 0)
        log->open_files--;
    pthread_mutex_unlock(&log->mutex);
    if (is_unused)
        free_segment(s);
    return is_free;
}

enum rc local_segment_next(int fd, uint64_t from, uint64_t to, bool is_resync,
                           struct record *out_record, uint64_t *out_at)
{
    unsigned char frame[RECORD_FRAME];
    for (; from + RECORD_FRAME <= to; from += RECORD_ALIGN) {
        TRY(local_file_read(fd, frame, sizeof frame, from, false));
        *out_at = from;
        if (kv_record_parse(frame, out_record) == RC_OK &&
            kv_record_bytes(out_record->size) <= to - from)
            return RC_OK;
        if (!is_resync)
            break;
    }
    return RC_EOF;
}
