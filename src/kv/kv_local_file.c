/* Whole transfers, syncs and folders. Nothing here tries a failed sync again. */
#include "kv/kv_local_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* Drops `done` bytes from the front of the list. */
static void advance(struct iovec **iov, int *n, size_t done)
{
    while (*n && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*n)--;
    }
    if (*n) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

enum rc local_file_write(int fd, struct iovec *iov, int n, uint64_t offset)
{
    while (n) {
        ssize_t done = pwritev(fd, iov, n < IOV_MAX ? n : IOV_MAX, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return rc_from_errno(errno);
        if (done == 0)
            return RC_TEMP;
        offset += (uint64_t)done;
        advance(&iov, &n, (size_t)done);
    }
    return RC_OK;
}

enum rc local_file_readv(int fd, struct iovec *iov, int n, uint64_t offset, bool is_cached)
{
    advance(&iov, &n, 0);
    while (n) {
        ssize_t got = preadv2(fd, iov, n, (off_t)offset, is_cached ? RWF_NOWAIT : 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EOPNOTSUPP && is_cached)
            return RC_AGAIN;
        if (got < 0)
            return rc_from_errno(errno);
        if (got == 0)
            return RC_EOF;
        offset += (uint64_t)got;
        advance(&iov, &n, (size_t)got);
    }
    return RC_OK;
}

enum rc local_file_read(int fd, void *to, size_t n, uint64_t offset, bool is_cached)
{
    struct iovec iov = {to, n};
    return local_file_readv(fd, &iov, 1, offset, is_cached);
}

enum rc local_file_sync(int fd)
{
    return fdatasync(fd) == 0 ? RC_OK : rc_from_errno(errno);
}

enum rc local_dir_sync(int fd)
{
    return fsync(fd) == 0 ? RC_OK : rc_from_errno(errno);
}

enum rc local_dir_open(int parent, const char *name, bool make, int *out_fd)
{
    if (make && mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return rc_from_errno(errno);
    *out_fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out_fd >= 0 ? RC_OK : rc_from_errno(errno);
}
