/* kv on one machine's disk: RocksDB for rows, a segment log and single files for blobs, one
 * committer.
 *
 * The folder:
 *   lock        taken while somebody has the store open
 *   db/         RocksDB
 *   seg/        segments: small blobs (kv_local_segment.h)
 *   big/        large blobs, a file each (kv_local_large.h)
 *   restored    only in a backup that has not been opened yet
 *
 * Everything is done relative to the path given; nothing outside of it is written.
 * docs/internals/store.md has the formats, the numbered invariants and what a crash leaves in each
 * state; each file here states those that it keeps. */
#include "kv/kv_local_int.h"

#include "base/mem.h"
#include "kv/kv_local_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SPACE_TO_OPEN = 1 << 20 };

void local_fail_for_good(struct local *l, const char *what, enum rc rc)
{
    pthread_mutex_lock(&l->why_mutex);
    bool is_first = !atomic_load(&l->is_readonly);
    if (is_first) {
        snprintf(l->why, sizeof l->why, "%s failed in %s: %s; nothing is written until a restart",
                 what, l->path, rc_name(rc));
        atomic_store(&l->is_readonly, true);
    }
    pthread_mutex_unlock(&l->why_mutex);
    if (!is_first)
        return;
    counter_set(l->ctx.counters, COUNTER_KV_READONLY, 1);
    log_event(l->ctx.log, LOG_ERROR, "store-readonly", "cause", l->why, NULL);
}

uint64_t local_free_space(struct local *l)
{
    struct statvfs st;
    if (fstatvfs(l->dir, &st) < 0)
        return UINT64_MAX;
    return (uint64_t)st.f_bavail * st.f_frsize;
}

/* --- the table -------------------------------------------------------------------------------- */

static enum kv_state state(struct kv *kv, const char **out_why)
{
    struct local *l = local_of(kv);
    bool is_readonly = atomic_load(&l->is_readonly);
    *out_why = is_readonly ? l->why : "";
    return is_readonly ? KV_READONLY : KV_WRITABLE;
}

/* The file system answers from memory. */
static enum rc room(struct kv *kv, uint64_t bytes)
{
    struct local *l = local_of(kv);
    uint64_t space = local_free_space(l), reserve = l->conf.reserve_bytes;
    if (atomic_load(&l->is_readonly))
        return RC_TEMP;
    return space < reserve || space - reserve < bytes ? RC_FULL : RC_OK;
}

static uint64_t generation(struct kv *kv)
{
    return local_of(kv)->generation;
}

static void close_files(struct local *l)
{
    local_rocks_close(&l->rocks);
    local_blobs_fini(l);
    local_parts_fini(&l->parts);
    local_segments_fini(&l->segments);
    local_larges_fini(&l->larges);
    if (l->lock >= 0)
        close(l->lock);
    if (l->dir >= 0)
        close(l->dir);
    pthread_mutex_destroy(&l->why_mutex);
    free(l->path);
}

static void close_local(struct kv *kv)
{
    struct local *l = local_of(kv);
    local_cleaner_stop(l);
    local_queue_stop(l);
    close_files(l);
    local_cleaner_fini(l);
    kv_fini(kv);
    free(l);
}

static void space(struct kv *kv, struct kv_space *out)
{
    struct local *l = local_of(kv);
    *out = (struct kv_space){.free = local_free_space(l), .reserve = l->conf.reserve_bytes};
}

static const struct kv_backend backend = {
    .name = "local",
    .close = close_local,
    .state = state,
    .room = room,
    .generation = generation,
    .generation_set = local_generation_set,
    .version = local_version,
    .get = local_get,
    .scan = local_scan,
    .commit = local_commit,
    .blob_new = local_blob_new,
    .blob_write = local_blob_write,
    .blob_finish = local_blob_finish,
    .blob_abort = local_blob_abort,
    .blob_forget = local_blob_forget,
    .blob_open = local_blob_open,
    .blob_open_many = local_blob_open_many,
    .blob_read = local_blob_read,
    .blob_close = local_blob_close,
    .fsck = local_fsck,
    .backup = local_backup,
    .each_part = local_each_part,
    .space = space,
};

/* --- opening ---------------------------------------------------------------------------------- */

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

static void set_conf(struct local *l, const struct kv_local_conf *conf)
{
    enum { MB = 1 << 20 };
    l->conf = *conf;
    l->conf.segment_bytes = or_default(conf->segment_bytes, 256 * MB);
    l->conf.memory_bytes = or_default(conf->memory_bytes, 64 * MB);
    l->conf.queue_bytes = or_default(conf->queue_bytes, 64 * MB);
    l->conf.clean_rate = or_default(conf->clean_rate, 16 * MB);
    l->conf.reserve_bytes = or_default(conf->reserve_bytes, 64 * MB);
    l->path = mem_dup(conf->path, strlen(conf->path));
    l->conf.path = l->path;
}

/* A folder that was made is entered durably in its parent. */
static enum rc open_folder(struct local *l, bool *out_is_made)
{
    *out_is_made = !l->conf.read_only && mkdir(l->path, 0700) == 0;
    if (!l->conf.read_only && !*out_is_made && errno != EEXIST)
        return rc_from_errno(errno);
    TRY(local_dir_open(AT_FDCWD, l->path, false, &l->dir));
    if (!*out_is_made)
        return RC_OK;
    int parent;
    TRY(local_dir_open(l->dir, "..", false, &parent));
    enum rc rc = local_dir_sync(parent);
    close(parent);
    return rc;
}

/* flock: gone with the process, whatever way it ends. A reader of a broken disk may find no file
 * and be unable to make one. */
static enum rc take_lock(struct local *l)
{
    int flags = l->conf.read_only ? O_RDONLY : O_RDWR | O_CREAT;
    l->lock = openat(l->dir, "lock", flags | O_CLOEXEC, 0600);
    if (l->lock < 0)
        return l->conf.read_only && errno == ENOENT ? RC_OK : rc_from_errno(errno);
    if (flock(l->lock, (l->conf.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
        return RC_OK;
    return errno == EWOULDBLOCK ? RC_CONFLICT : rc_from_errno(errno);
}

/* RocksDB writes a little at every open, and does not survive that failing everywhere. */
static enum rc open_rocks(struct local *l)
{
    if (!l->conf.read_only && local_free_space(l) < SPACE_TO_OPEN)
        return RC_FULL;
    size_t n = strlen(l->path) + sizeof "/db";
    char *path = mem_alloc(n);
    snprintf(path, n, "%s/db", l->path);
    struct rocks_conf conf = {
        .path = path, .memory_bytes = l->conf.memory_bytes, .read_only = l->conf.read_only};
    enum rc rc = local_rocks_open(&l->ctx, &conf, &l->rocks);
    free(path);
    return rc;
}

static enum rc open_all(struct local *l, const char **out_step)
{
    bool is_made;
    *out_step = "folder";
    TRY(open_folder(l, &is_made));
    *out_step = "lock";
    TRY(take_lock(l));
    *out_step = "segments";
    TRY(local_segments_init(&l->segments, &l->ctx, l->dir, l->conf.read_only,
                            l->conf.segment_bytes));
    *out_step = "large blobs";
    TRY(local_larges_init(&l->larges, l->dir, l->conf.read_only));
    *out_step = "rows";
    TRY(open_rocks(l));
    *out_step = "recovery";
    TRY(local_recover(l));
    *out_step = "folder";
    return l->conf.read_only ? RC_OK : local_dir_sync(l->dir);
}

enum rc kv_local_open(const struct ctx *ctx, const struct kv_local_conf *conf, struct kv **out)
{
    *out = NULL;
    struct local *l = mem_zero(sizeof *l);
    l->ctx = *ctx;
    l->dir = l->lock = l->larges.dir = l->segments.dir = -1;
    set_conf(l, conf);
    list_init(&l->segments.all);
    pthread_mutex_init(&l->why_mutex, NULL);
    local_blobs_init(&l->blobs);
    local_parts_init(&l->parts);
    const char *step;
    enum rc rc = open_all(l, &step);
    if (rc != RC_OK) {
        log_event(ctx->log, LOG_ERROR, "store-open-failed", "path", l->path, "at", step, "cause",
                  rc_name(rc), NULL);
        close_files(l);
        free(l);
        return rc;
    }
    kv_init(&l->kv, &backend, &l->ctx);
    local_cleaner_init(l);
    local_queue_start(l);
    if (l->conf.read_only) {
        snprintf(l->why, sizeof l->why, "%s was opened to be read only", l->path);
        atomic_store(&l->is_readonly, true);
    } else {
        local_cleaner_start(l);
    }
    *out = &l->kv;
    return RC_OK;
}

enum rc kv_local_clean(struct kv *kv)
{
    struct local *l = local_of(kv);
    return atomic_load(&l->is_readonly) ? RC_TEMP : local_clean_pass(l, false);
}
