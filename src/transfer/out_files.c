/* Files and folders that an export makes: never there by half under their own name. */
#include "transfer/out_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char partial_end[] = ".partial";

enum rc out_complain(struct out_target *t, const char *what, int error)
{
    char label[TRANSFER_LABEL];
    const char *why = error == ENOSPC || error == EDQUOT  ? "no space left on the disk"
                      : error == EACCES || error == EPERM ? "it may not be written here"
                      : error == EEXIST                   ? "there is something of that name"
                      : error == ENOENT                   ? "its folder is not there"
                      : error == ENAMETOOLONG             ? "its name is too long"
                                                          : "it cannot be written";
    snprintf(label, sizeof label, "%s/%s", t->path, what);
    sink_tell(t->sink, str_of(what[0] ? label : t->path), true, str_of(why));
    enum rc rc = rc_from_errno(error);
    return rc == RC_OK ? RC_TEMP : rc;
}

static enum rc prepare(struct out_target *t, struct transfer_sink *sink, const char *path)
{
    struct stat st;
    size_t n = strlen(path);
    *t = (struct out_target){.sink = sink, .fd = -1};
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0 || n + sizeof partial_end > sizeof t->path)
        return RC_LIMIT;
    snprintf(t->path, sizeof t->path, "%.*s", (int)n, path);
    snprintf(t->partial, sizeof t->partial, "%.*s%s", (int)n, path, partial_end);
    if (lstat(t->path, &st) == 0)
        return out_complain(t, "", EEXIST);
    if (lstat(t->partial, &st) == 0) {
        sink_tell(sink, str_of(t->partial), true,
                  STR("it is left from an export that was cut short: remove it first"));
        return RC_EXISTS;
    }
    return RC_OK;
}

enum rc out_open_folder(struct out_target *t, struct transfer_sink *sink, const char *path)
{
    TRY(prepare(t, sink, path));
    t->is_folder = true;
    if (mkdir(t->partial, 0700) != 0)
        return out_complain(t, "", errno);
    t->fd = open(t->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return t->fd >= 0 ? RC_OK : out_complain(t, "", errno);
}

enum rc out_open_file(struct out_target *t, struct transfer_sink *sink, const char *path)
{
    TRY(prepare(t, sink, path));
    t->fd = open(t->partial, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return t->fd >= 0 ? RC_OK : out_complain(t, "", errno);
}

enum rc out_write(struct out_target *t, int fd, struct str bytes, const char *what)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno != EINTR)
            return out_complain(t, what, errno);
        bytes = str_skip(bytes, n > 0 ? (size_t)n : 0);
    }
    return RC_OK;
}

static enum rc sync_parent(struct out_target *t)
{
    char path[PATH_MAX] = ".";
    const char *slash = strrchr(t->path, '/');
    if (slash)
        snprintf(path, sizeof path, "%.*s", slash > t->path ? (int)(slash - t->path) : 1, t->path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = fd >= 0 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return is_synced ? RC_OK : out_complain(t, "", error);
}

/* A folder may hold very many files: the whole file system is synced at once. */
enum rc out_publish(struct out_target *t)
{
    if (t->is_published)
        return RC_OK;
    if ((t->is_folder ? syncfs(t->fd) : fsync(t->fd)) != 0 ||
        renameat2(AT_FDCWD, t->partial, AT_FDCWD, t->path, RENAME_NOREPLACE) != 0)
        return out_complain(t, "", errno);
    t->is_published = true;
    return sync_parent(t);
}

void out_close(struct out_target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

void out_lf(bool *was_cr, struct str in, struct buf *out)
{
    while (in.n) {
        if (*was_cr && in.p[0] != '\n')
            buf_put(out, STR("\r"));
        *was_cr = false;
        ptrdiff_t cr = str_find_byte(in, '\r');
        if (cr < 0) {
            buf_put(out, in);
            return;
        }
        buf_put(out, str_head(in, (size_t)cr));
        in = str_skip(in, (size_t)cr + 1);
        *was_cr = true;
    }
}

const char *out_role(enum store_role role)
{
    switch (role) {
    case STORE_DRAFTS:
        return "\\Drafts";
    case STORE_SENT:
        return "\\Sent";
    case STORE_JUNK:
        return "\\Junk";
    case STORE_TRASH:
        return "\\Trash";
    case STORE_ARCHIVE:
        return "\\Archive";
    default:
        return NULL;
    }
}
