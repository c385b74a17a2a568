/* Files of large blobs.
 *
 * L1. A file has a name only once its bytes, sums and frame are synced: the writer syncs, the
 * committer links afterwards. L2. A name is durable before a row points to it (local_larges_sync
 * before the batch). L3. A named file never changes. A crash between link and batch leaves a name
 * without a row: swept later.
 *
 * A peer decides how many large blobs are under way at once. A quarter of the process's files is
 * theirs at most: without the last ones RocksDB could not make its next file, and would stop
 * writing for good.
 *
 * The nameless file is made in the folder that it will be linked into, so that a sandbox which
 * forbids moving files between folders allows the link. Needs a file system with O_TMPFILE (ext4,
 * xfs, btrfs, tmpfs) and /proc. */
#include "kv/kv_local_large.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "kv/kv_local_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PUSH_BYTES = 8 << 20, FOLDER_NAME = 4, PATH_TEXT = BLOB_ID_TEXT + 2 };

static void folder_name(char *to, unsigned folder)
{
    snprintf(to, FOLDER_NAME, "%02x", folder & 255);
}

static void path_of(char *to, const struct kv_blob_id *id)
{
    char text[BLOB_ID_TEXT];
    kv_blob_id_text(text, id);
    snprintf(to, PATH_TEXT, "%.2s/%s", text, text + 2);
}

static uint64_t files_allowed(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 4 : 256;
}

enum rc local_larges_init(struct large_files *f, int parent, bool is_read_only)
{
    *f = (struct large_files){.dir = -1, .is_read_only = is_read_only};
    budget_init(&f->open, files_allowed());
    return local_dir_open(parent, "big", !is_read_only, &f->dir);
}

void local_larges_fini(struct large_files *f)
{
    if (f->dir >= 0)
        close(f->dir);
    f->dir = -1;
}

/* --- writing ---------------------------------------------------------------------------------- */

static enum rc open_counted(struct large_files *f, const char *path, int flags, int *out_fd)
{
    if (!budget_take(&f->open, 1))
        return RC_TEMP;
    *out_fd = openat(f->dir, path, flags | O_CLOEXEC, 0600);
    if (*out_fd >= 0)
        return RC_OK;
    enum rc rc = rc_from_errno(errno);
    budget_give(&f->open, 1);
    return rc;
}

void local_large_close(struct large_files *f, int fd)
{
    if (fd < 0)
        return;
    close(fd);
    budget_give(&f->open, 1);
}

enum rc local_large_new(struct large_files *f, const struct record *record, struct large_out *out)
{
    char name[FOLDER_NAME];
    int fd;
    folder_name(name, record->id.b[0]);
    if (mkdirat(f->dir, name, 0700) < 0 && errno != EEXIST)
        return rc_from_errno(errno);
    TRY(open_counted(f, name, O_TMPFILE | O_RDWR, &fd));
    *out = (struct large_out){.fd = fd, .record = *record, .chunk = mem_alloc(RECORD_CHUNK)};
    out->record.size = 0;
    return RC_OK;
}

/* Starts writing to the disk what has piled up, so that the sync at the end finds little left. */
static void push(struct large_out *out)
{
    uint64_t written = out->record.size;
    if (written - out->pushed < PUSH_BYTES)
        return;
    if (sync_file_range(out->fd, (off_t)out->pushed, (off_t)(written - out->pushed),
                        SYNC_FILE_RANGE_WRITE) == 0)
        out->pushed = written;
}

static enum rc put_chunk(struct large_out *out)
{
    if (!out->n)
        return RC_OK;
    struct iovec iov = {out->chunk, out->n};
    TRY(local_file_write(out->fd, &iov, 1, out->record.size));
    out->sums = mem_array(out->sums, &out->sums_capacity, out->n_sums + 4, 1);
    kv_record_sums(out->sums + out->n_sums, str_from(out->chunk, out->n));
    out->n_sums += 4;
    out->record.size += out->n;
    out->n = 0;
    push(out);
    return RC_OK;
}

enum rc local_large_write(struct large_out *out, struct str bytes)
{
    while (bytes.n) {
        struct str part = str_head(bytes, RECORD_CHUNK - out->n);
        memcpy(out->chunk + out->n, part.p, part.n);
        out->n += part.n;
        bytes = str_skip(bytes, part.n);
        if (out->n == RECORD_CHUNK)
            TRY(put_chunk(out));
    }
    return RC_OK;
}

enum rc local_large_finish(struct large_out *out)
{
    TRY(put_chunk(out));
    unsigned char frame[RECORD_FRAME];
    kv_record_frame(frame, &out->record);
    struct iovec iov[2] = {{out->sums, out->n_sums}, {frame, sizeof frame}};
    return local_file_write(out->fd, iov, 2, out->record.size);
}

void local_large_fini(struct large_files *f, struct large_out *out, bool with_file)
{
    if (with_file)
        local_large_close(f, out->fd);
    free(out->chunk);
    free(out->sums);
    *out = (struct large_out){.fd = -1};
}

/* --- names ------------------------------------------------------------------------------------ */

enum rc local_large_link(struct large_files *f, int fd, const struct kv_blob_id *id)
{
    char from[40], to[PATH_TEXT];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    path_of(to, id);
    if (linkat(AT_FDCWD, from, f->dir, to, AT_SYMLINK_FOLLOW) < 0)
        return rc_from_errno(errno);
    f->is_changed[id->b[0]] = true;
    return RC_OK;
}

static enum rc sync_folder(struct large_files *f, unsigned folder)
{
    char name[FOLDER_NAME];
    folder_name(name, folder);
    int fd;
    TRY(local_dir_open(f->dir, name, false, &fd));
    enum rc rc = local_dir_sync(fd);
    close(fd);
    return rc;
}

enum rc local_larges_sync(struct large_files *f)
{
    bool has_new_folder = false;
    for (unsigned i = 0; i < 256; i++) {
        if (!f->is_changed[i])
            continue;
        TRY(sync_folder(f, i));
        f->is_changed[i] = false;
        has_new_folder |= !f->is_dir_durable[i];
        f->is_dir_durable[i] = true;
    }
    return has_new_folder ? local_dir_sync(f->dir) : RC_OK;
}

enum rc local_large_open(struct large_files *f, const struct kv_blob_id *id, int *out_fd)
{
    char path[PATH_TEXT];
    path_of(path, id);
    return open_counted(f, path, O_RDONLY, out_fd);
}

enum rc local_large_unlink(struct large_files *f, const struct kv_blob_id *id)
{
    char path[PATH_TEXT];
    path_of(path, id);
    return unlinkat(f->dir, path, 0) == 0 ? RC_OK : rc_from_errno(errno);
}

enum rc local_large_share(struct large_files *f, struct large_files *to,
                          const struct kv_blob_id *id)
{
    char path[PATH_TEXT], folder[FOLDER_NAME];
    path_of(path, id);
    folder_name(folder, id->b[0]);
    if (mkdirat(to->dir, folder, 0700) < 0 && errno != EEXIST)
        return rc_from_errno(errno);
    if (linkat(f->dir, path, to->dir, path, 0) < 0)
        return rc_from_errno(errno);
    to->is_changed[id->b[0]] = true;
    return RC_OK;
}

static enum rc each_in_folder(struct large_files *f, unsigned folder,
                              enum rc (*each)(void *arg, const struct kv_blob_id *id), void *arg)
{
    char name[FOLDER_NAME];
    folder_name(name, folder);
    int fd;
    enum rc rc = local_dir_open(f->dir, name, false, &fd);
    if (rc != RC_OK)
        return rc == RC_NOTFOUND ? RC_OK : rc;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        rc = rc_from_errno(errno);
        close(fd);
        return rc;
    }
    for (struct dirent *entry; rc == RC_OK && (entry = readdir(dir));) {
        char text[BLOB_ID_TEXT + 256];
        snprintf(text, sizeof text, "%s%s", name, entry->d_name);
        struct kv_blob_id id;
        if (kv_blob_id_parse(text, &id))
            rc = each(arg, &id);
    }
    closedir(dir);
    return rc;
}

enum rc local_larges_each(struct large_files *f,
                          enum rc (*each)(void *arg, const struct kv_blob_id *id), void *arg)
{
    for (unsigned i = 0; i < 256; i++)
        TRY(each_in_folder(f, i, each, arg));
    return RC_OK;
}
