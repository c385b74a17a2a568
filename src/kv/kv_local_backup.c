/* A consistent copy while writing goes on, without copying a byte of mail.
 *
 * The order makes it whole: unlinks are held back; RocksDB is checkpointed; then segments and large
 * files get second names. Blobs are durable before the rows that name them, or stand in rows beside
 * them, so all that the checkpoint refers to is there; what came later is dead space in the copy.
 * Sharing files is safe because nothing before a segment's end ever changes and a store never
 * appends to a segment of an earlier process (S1, S3). The marker, made last, makes the copy's
 * generation grow when it is opened. */
#include "kv/kv_local_int.h"

#include "kv/kv_local_file.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct copy {
    struct local *local;
    int dir;
    struct large_files larges;
};

static enum rc copy_rows(struct local *l, const char *dir)
{
    size_t n = strlen(dir) + sizeof "/db";
    char *path = mem_alloc(n);
    snprintf(path, n, "%s/db", dir);
    enum rc rc = local_rocks_checkpoint(l->rocks, path);
    free(path);
    return rc;
}

/* What stands in rows so far is made durable where the copy has it, too: whoever sums the copy's
 * files up may rely on them. A segment that is not in the copy was begun later, after a sync of the
 * one before it. */
static enum rc sync_behind(struct copy *c, int to)
{
    char name[SEGMENT_NAME];
    uint32_t number = local_segments_behind(&c->local->segments);
    if (!number)
        return RC_OK;
    local_segment_name(name, number);
    int fd = openat(to, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? RC_OK : rc_from_errno(errno);
    enum rc rc = local_file_sync(fd);
    close(fd);
    return rc;
}

static enum rc share_segments(struct copy *c)
{
    int from, to;
    TRY(local_dir_open(c->dir, "seg", true, &to));
    enum rc rc = local_dir_open(c->local->segments.dir, ".", false, &from);
    DIR *dir = rc == RC_OK ? fdopendir(from) : NULL;
    for (struct dirent *entry; dir && rc == RC_OK && (entry = readdir(dir));) {
        uint32_t number;
        if (local_segment_parse_name(entry->d_name, &number) &&
            linkat(from, entry->d_name, to, entry->d_name, 0) < 0)
            rc = rc_from_errno(errno);
    }
    if (dir)
        closedir(dir);
    if (rc == RC_OK)
        rc = sync_behind(c, to);
    if (rc == RC_OK)
        rc = local_dir_sync(to);
    close(to);
    return rc;
}

static enum rc share_large(void *arg, const struct kv_blob_id *id)
{
    struct copy *c = arg;
    enum rc rc = local_large_share(&c->local->larges, &c->larges, id);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc share_larges(struct copy *c)
{
    enum rc rc = local_larges_init(&c->larges, c->dir, false);
    if (rc == RC_OK)
        rc = local_larges_each(&c->local->larges, share_large, c);
    if (rc == RC_OK)
        rc = local_larges_sync(&c->larges);
    local_larges_fini(&c->larges);
    return rc;
}

static enum rc put_marker(struct copy *c)
{
    int fd = openat(c->dir, KV_RESTORED, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return rc_from_errno(errno);
    enum rc rc = local_file_sync(fd);
    close(fd);
    return rc == RC_OK ? local_dir_sync(c->dir) : rc;
}

static enum rc copy_all(struct copy *c, const char *dir)
{
    TRY(copy_rows(c->local, dir));
    TRY(share_segments(c));
    TRY(share_larges(c));
    return put_marker(c);
}

enum rc local_backup(struct kv *kv, const char *dir)
{
    struct copy c = {.local = local_of(kv), .dir = -1};
    if (c.local->conf.read_only)
        return RC_DENIED;
    if (mkdir(dir, 0700) < 0)
        return errno == EEXIST ? RC_EXISTS : rc_from_errno(errno);
    TRY(local_dir_open(AT_FDCWD, dir, false, &c.dir));
    local_cleaner_hold(c.local, 1);
    enum rc rc = copy_all(&c, dir);
    local_cleaner_hold(c.local, -1);
    close(c.dir);
    if (rc != RC_OK)
        log_event(c.local->ctx.log, LOG_ERROR, "backup-failed", "dir", dir, "cause", rc_name(rc),
                  NULL);
    return rc;
}

/* --- for copies that are not made of links ---------------------------------------------------- */

enum { PART_KEY = 9 }; /* class, id: the key of a version row */

static enum rc each_in_family(struct local *l, enum rocks_family family,
                              enum rc (*each)(void *arg, struct kv_part part), void *arg)
{
    struct rocks_iter *it;
    struct str key, value;
    TRY(local_rocks_iter_open(l->rocks, family, (struct str){0}, (struct str){0}, ROCKS_ONCE, &it));
    enum rc rc = RC_OK;
    while (rc == RC_OK && (rc = local_rocks_iter_next(it, &key, &value)) == RC_OK) {
        bool is_part = key.n == PART_KEY && key.p[0] >= 'A' && key.p[0] <= 'Z';
        if (is_part)
            rc = each(arg, (struct kv_part){(enum kv_class)key.p[0], get_u64(key.p + 1)});
    }
    local_rocks_iter_close(&it);
    return rc == RC_EOF ? RC_OK : rc;
}

enum rc local_each_part(struct kv *kv, enum rc (*each)(void *arg, struct kv_part part), void *arg)
{
    for (int f = 0; f < ROCKS_FAMILIES; f++)
        TRY(each_in_family(local_of(kv), (enum rocks_family)f, each, arg));
    return RC_OK;
}
