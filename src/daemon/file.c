/* Small files read whole. */
#include "daemon/daemon_int.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20 };

static enum rc read_from(int fd, struct buf *b)
{
    for (;;) {
        char *at = buf_reserve(b, 4096);
        if (!at)
            return RC_LIMIT;
        ssize_t n = read(fd, at, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rc_from_errno(errno);
        if (n == 0)
            return RC_OK;
        buf_commit(b, (size_t)n);
    }
}

enum rc file_read_open(int fd, struct str *out)
{
    struct buf b;
    buf_init(&b, FILE_MAX);
    enum rc rc = read_from(fd, &b);
    int error = rc == RC_LIMIT ? EFBIG : errno;
    if (rc == RC_OK)
        *out = str_from(mem_dup(buf_str(&b).p, buf_len(&b)), buf_len(&b));
    buf_wipe(&b); /* it may be a key */
    errno = error;
    return rc;
}

enum rc file_read(const char *path, struct str *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rc_from_errno(errno);
    enum rc rc = file_read_open(fd, out);
    int error = errno;
    close(fd);
    errno = error;
    return rc;
}
