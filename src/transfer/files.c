/* Files that somebody else has put there: opened without following anything out of the source, and
 * without waiting for what is no file (a FIFO, a device). */
#include "transfer/files_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { PATH_LEVELS = 64 };

const char *why_of_errno(int error)
{
    switch (error) {
    case ELOOP:
        return "it is a symbolic link, which is not followed: give what it points to as a source";
    case EACCES:
    case EPERM:
        return "it may not be read: run this as a user who may";
    case ENOENT:
        return "it has gone, or has another name now: run this again";
    case ENXIO:
    case EISDIR:
    case ENOTDIR:
        return "it is no regular file";
    case ENAMETOOLONG:
        return "its path is too long";
    case EMFILE:
    case ENFILE:
        return "too many files are open";
    default:
        return "it cannot be read: input/output error";
    }
}

static int open_level(int folder, const char *name, bool is_folder)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = openat(folder, name, is_folder ? flags | O_DIRECTORY : flags);
    struct stat st;
    /* Linux says ENOTDIR of a link to a folder. */
    if (fd < 0 && errno == ENOTDIR && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
    return fd;
}

enum rc open_below(int folder, const char *path, bool is_folder, int *out_fd, struct stat *out_stat,
                   const char **out_why)
{
    char name[NAME_MAX + 1];
    int fd = folder, levels = 0;
    *out_fd = -1;
    *out_why = "its path has too many levels";
    while (levels++ < PATH_LEVELS) {
        size_t n = strcspn(path, "/");
        bool is_last = path[n] == 0;
        if (n > NAME_MAX)
            break;
        memcpy(name, path, n);
        name[n] = 0;
        int next = open_level(fd, n ? name : ".", is_folder || !is_last);
        int error = errno;
        if (fd != folder)
            close(fd);
        fd = next;
        if (fd < 0) {
            *out_why = why_of_errno(error);
            return rc_from_errno(error);
        }
        if (!is_last) {
            path += n + 1;
            continue;
        }
        bool is_fine = fstat(fd, out_stat) == 0 &&
                       (is_folder ? S_ISDIR(out_stat->st_mode) : S_ISREG(out_stat->st_mode));
        if (is_fine) {
            *out_fd = fd;
            return RC_OK;
        }
        *out_why = why_of_errno(EISDIR);
        break;
    }
    if (fd >= 0 && fd != folder)
        close(fd);
    return RC_PERM;
}

/* --- lines ------------------------------------------------------------------------------------ */

void lines_open(struct line_reader *r, int fd)
{
    *r = (struct line_reader){.fd = fd};
    buf_init(&r->in, 2 * LIST_LINE);
}

static void fill(struct line_reader *r)
{
    char *at = buf_reserve(&r->in, LIST_LINE);
    ssize_t n = at ? read(r->fd, at, LIST_LINE) : -1;
    if (n < 0 && errno == EINTR)
        return;
    if (n > 0)
        buf_commit(&r->in, (size_t)n);
    else
        r->is_eof = true;
}

bool lines_next(struct line_reader *r, struct str *out)
{
    for (;;) {
        struct str all = buf_str(&r->in);
        ptrdiff_t lf = str_find_byte(all, '\n');
        if (lf < 0 && !r->is_eof && all.n < LIST_LINE) {
            fill(r);
            continue;
        }
        if (lf < 0 && all.n >= LIST_LINE) {
            buf_clear(&r->in);
            r->is_skipping = true;
            continue;
        }
        size_t n = lf < 0 ? all.n : (size_t)lf;
        if (lf < 0 && !n)
            return false;
        bool was_skipping = r->is_skipping;
        r->is_skipping = false;
        *out = str_head(all, n);
        buf_consume(&r->in, lf < 0 ? n : n + 1); /* which leaves the bytes where they are */
        if (!was_skipping)
            return true;
    }
}

void lines_close(struct line_reader *r)
{
    close(r->fd);
    buf_fini(&r->in);
}

/* --- messages --------------------------------------------------------------------------------- */

void crlf_put(struct crlf *c, struct str in, struct buf *out)
{
    while (in.n) {
        ptrdiff_t lf = str_find_byte(in, '\n');
        size_t n = lf < 0 ? in.n : (size_t)lf;
        bool has_cr = n ? in.p[n - 1] == '\r' : c->was_cr;
        buf_put(out, str_head(in, n));
        c->was_cr = lf < 0 && has_cr;
        if (lf < 0)
            return;
        buf_put(out, has_cr ? STR("\n") : STR("\r\n"));
        in = str_skip(in, n + 1);
    }
}

void pour_init(struct pour *p)
{
    buf_init(&p->out, 2 * sizeof p->in);
}

void pour_fini(struct pour *p)
{
    buf_fini(&p->out);
}

enum rc pour_file(struct pour *p, int fd, struct transfer_sink *sink)
{
    struct crlf crlf = {0};
    for (;;) {
        ssize_t n = read(fd, p->in, sizeof p->in);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return transfer_give_up(sink, str_of(why_of_errno(errno)));
        if (n == 0)
            return transfer_end(sink);
        buf_clear(&p->out);
        crlf_put(&crlf, str_from(p->in, (size_t)n), &p->out);
        TRY(transfer_bytes(sink, buf_str(&p->out)));
    }
}
