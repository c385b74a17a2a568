/* faultfs: the calls that are put in the place of the C library's. Each one asks what is to happen,
 * does the real call, and says what has changed. Files outside of the folder pass straight through.
 */
#include "faultfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The names differ by the size of off_t, which has 64 bits in all of them here. */
#define ALSO(name, other) extern __typeof__(name) other __attribute__((alias(#name)))

static int fail(struct verdict verdict)
{
    errno = verdict.error;
    fault_end(verdict);
    return -1;
}

static bool is_failing(struct verdict verdict)
{
    return verdict.action == ACTION_FAIL;
}

/* --- tracing: "seconds pid tid event fd path n bytes"
 * ---------------------------------------------------------------------- events: write (done, n
 * bytes), sync-begin, sync-end (n: its result), socket (about to be written, with the first bytes)
 */

static void trace_file(const char *event, int fd, long long n)
{
    char path[PATH_MAX];
    if (fault_is_tracing() && fault_fd_path(fd, path))
        fault_trace(event, fd, path, n, "", 0);
}

static void trace_socket(int fd, const void *bytes, size_t n)
{
    struct stat st;
    if (fault_is_tracing() && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        fault_trace("socket", fd, "", (long long)n, bytes, n);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int open_raw(int dir, const char *name, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, dir, name, flags, mode);
}

static bool is_making(int flags)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

static int open_any(int dir, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    if (!fault_path(dir, name, path))
        return open_raw(dir, name, flags, mode);
    if ((flags & O_ACCMODE) == O_RDONLY && !is_making(flags))
        return open_raw(dir, name, flags, mode);
    struct verdict verdict = {ACTION_NONE, 0};
    bool is_nameless = (flags & O_TMPFILE) == O_TMPFILE;
    bool is_new = is_nameless || (is_making(flags) && syscall(SYS_access, path, F_OK) < 0);
    if (is_new)
        verdict = fault_begin(KIND_OPEN, -1, path);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int fd = open_raw(dir, name, flags, mode);
    int error = errno;
    if (fd >= 0)
        fault_opened(fd, is_nameless ? "" : path, is_new);
    if (fd >= 0 && (flags & O_TRUNC))
        fault_truncated(fd, 0);
    errno = error;
    if (is_new)
        fault_end(verdict);
    return fd;
}

int open(const char *name, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = is_making(flags) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_any(AT_FDCWD, name, flags, mode);
}
ALSO(open, open64);

int openat(int dir, const char *name, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = is_making(flags) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_any(dir, name, flags, mode);
}
ALSO(openat, openat64);

int __openat64_2(int dir, const char *name, int flags);
int __openat64_2(int dir, const char *name, int flags)
{
    return open_any(dir, name, flags, 0);
}
ALSO(__openat64_2, __openat_2);

int __open64_2(const char *name, int flags);
int __open64_2(const char *name, int flags)
{
    return open_any(AT_FDCWD, name, flags, 0);
}
ALSO(__open64_2, __open_2);

int close(int fd)
{
    if (fault_is_tracked(fd))
        fault_closed(fd);
    return (int)syscall(SYS_close, fd);
}

/* --- writing ---------------------------------------------------------------------------------- */

enum { AT_POSITION = -1, IOV_SHORT = 64 };

static ssize_t write_raw(int fd, const struct iovec *iov, int n, off_t at)
{
    if (at == AT_POSITION)
        return syscall(SYS_writev, fd, iov, n);
    return syscall(SYS_pwritev, fd, iov, n, (unsigned long)at, 0UL);
}

static ssize_t write_half(int fd, const struct iovec *iov, int n, off_t at)
{
    struct iovec half[IOV_SHORT];
    size_t all = 0;
    int i = 0;
    for (int j = 0; j < n; j++)
        all += iov[j].iov_len;
    size_t left = all / 2;
    for (; i < n && i < IOV_SHORT && left; i++) {
        half[i] = iov[i];
        if (half[i].iov_len > left)
            half[i].iov_len = left;
        left -= half[i].iov_len;
    }
    return write_raw(fd, half, i, at);
}

static ssize_t write_any(int fd, const struct iovec *iov, int n, off_t at)
{
    if (!fault_is_tracked(fd)) {
        if (n)
            trace_socket(fd, iov[0].iov_base, iov[0].iov_len);
        return write_raw(fd, iov, n, at);
    }
    struct verdict verdict = fault_begin(KIND_WRITE, fd, NULL);
    if (is_failing(verdict))
        return fail(verdict);
    bool is_half = verdict.action == ACTION_SHORT || verdict.action == ACTION_TORN;
    ssize_t done = is_half ? write_half(fd, iov, n, at) : write_raw(fd, iov, n, at);
    trace_file("write", fd, done);
    fault_end(verdict);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, n};
    return write_any(fd, &iov, 1, AT_POSITION);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return write_any(fd, iov, n, AT_POSITION);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, n};
    return write_any(fd, &iov, 1, at);
}
ALSO(pwrite, pwrite64);

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    return write_any(fd, iov, n, at);
}
ALSO(pwritev, pwritev64);

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    trace_socket(fd, bytes, n);
    return syscall(SYS_sendto, fd, bytes, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (m->msg_iovlen)
        trace_socket(fd, m->msg_iov[0].iov_base, m->msg_iov[0].iov_len);
    return syscall(SYS_sendmsg, fd, m, flags);
}

/* --- syncing ---------------------------------------------------------------------------------- */

static int sync_any(int fd, long call)
{
    char path[PATH_MAX];
    if (!fault_fd_path(fd, path))
        return (int)syscall(call, fd);
    struct verdict verdict = fault_begin(KIND_SYNC, fd, NULL);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = 0;
    if (!fault_is_nosync(fd)) {
        trace_file("sync-begin", fd, 0);
        rc = (int)syscall(call, fd);
        if (rc == 0)
            fault_synced(fd);
        trace_file("sync-end", fd, rc);
    }
    fault_end(verdict);
    return rc;
}

int fsync(int fd)
{
    return sync_any(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_any(fd, SYS_fdatasync);
}

int sync_file_range(int fd, off_t at, off_t n, unsigned flags)
{
    if (!fault_is_tracked(fd))
        return (int)syscall(SYS_sync_file_range, fd, at, n, flags);
    struct verdict verdict = fault_begin(KIND_RANGE, fd, NULL);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = (int)syscall(SYS_sync_file_range, fd, at, n, flags); /* makes nothing durable */
    fault_end(verdict);
    return rc;
}

/* --- space ------------------------------------------------------------------------------------ */

int fallocate(int fd, int mode, off_t at, off_t n)
{
    if (!fault_is_tracked(fd))
        return (int)syscall(SYS_fallocate, fd, mode, at, n);
    struct verdict verdict = fault_begin(KIND_ALLOC, fd, NULL);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = (int)syscall(SYS_fallocate, fd, mode, at, n);
    fault_end(verdict);
    return rc;
}
ALSO(fallocate, fallocate64);

int ftruncate(int fd, off_t size)
{
    if (!fault_is_tracked(fd))
        return (int)syscall(SYS_ftruncate, fd, size);
    struct verdict verdict = fault_begin(KIND_TRUNCATE, fd, NULL);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0)
        fault_truncated(fd, size);
    fault_end(verdict);
    return rc;
}
ALSO(ftruncate, ftruncate64);

/* --- names ------------------------------------------------------------------------------------ */

static int rename_any(int from_dir, const char *from, int to_dir, const char *to)
{
    char a[PATH_MAX], b[PATH_MAX];
    bool is_from = fault_path(from_dir, from, a), is_to = fault_path(to_dir, to, b);
    if (!is_from || !is_to)
        return (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
    struct verdict verdict = fault_begin(KIND_RENAME, -1, b);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = fault_rename(a, b);
    fault_end(verdict);
    return rc;
}

int rename(const char *from, const char *to)
{
    return rename_any(AT_FDCWD, from, AT_FDCWD, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return rename_any(from_dir, from, to_dir, to);
}

/* "/proc/self/fd/N" gives a nameless file its name. */
static int link_any(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    char a[PATH_MAX], b[PATH_MAX];
    int fd = -1;
    if (!fault_path(to_dir, to, b))
        return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    if (sscanf(from, "/proc/self/fd/%d", &fd) != 1)
        fault_path(from_dir, from, a);
    else
        a[0] = '\0';
    struct verdict verdict = fault_begin(KIND_LINK, -1, b);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    if (rc == 0)
        fault_linked(fd, a, b);
    fault_end(verdict);
    return rc;
}

int link(const char *from, const char *to)
{
    return link_any(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return link_any(from_dir, from, to_dir, to, flags);
}

int unlinkat(int dir, const char *name, int flags)
{
    char path[PATH_MAX];
    if ((flags & AT_REMOVEDIR) || !fault_path(dir, name, path))
        return (int)syscall(SYS_unlinkat, dir, name, flags);
    struct verdict verdict = fault_begin(KIND_UNLINK, -1, path);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = fault_unlink(path);
    fault_end(verdict);
    return rc;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    if (!fault_path(dir, name, path))
        return (int)syscall(SYS_mkdirat, dir, name, mode);
    struct verdict verdict = fault_begin(KIND_MKDIR, -1, path);
    if (is_failing(verdict) || verdict.action == ACTION_SHORT)
        return fail(verdict);
    int rc = (int)syscall(SYS_mkdirat, dir, name, mode);
    if (rc == 0)
        fault_made_dir(path);
    fault_end(verdict);
    return rc;
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}
