/* Files below a folder: listed, copied and summed, removed; and how far that has come.
 *
 * Names come from the store or from a manifest; a path is relative, has no "..", and no symbolic
 * link is followed.
 */
#include "ctl/ctl_int.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 8, BLOCK = 256 << 10 };

static enum rc complain(const char *what, int error)
{
    fprintf(stderr, "penfold: %s: %s\n", what, strerror(error));
    return error ? rc_from_errno(error) : RC_PERM;
}

/* --- listing ---------------------------------------------------------------------------------- */

static void add(struct tree *t, const char *path, uint64_t size)
{
    if (t->n == t->max) {
        t->max = t->max ? t->max * 2 : 256;
        t->path = mem_grow(t->path, t->max * sizeof *t->path);
        t->size = mem_grow(t->size, t->max * sizeof *t->size);
    }
    t->path[t->n] = mem_dup(path, strlen(path));
    t->size[t->n++] = size;
    t->bytes += size;
}

static enum rc list_below(int parent, const char *name, const char *path, unsigned depth,
                          struct tree *out);

static enum rc list_entry(int dir, const char *name, const char *path, unsigned depth,
                          struct tree *out)
{
    char below[TREE_PATH];
    struct stat st;
    if (snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "/" : "", name) >=
        (int)sizeof below)
        return complain(name, ENAMETOOLONG);
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return complain(below, errno);
    if (S_ISDIR(st.st_mode))
        return list_below(dir, name, below, depth + 1, out);
    if (S_ISREG(st.st_mode))
        add(out, below, (uint64_t)st.st_size);
    return RC_OK;
}

static enum rc list_below(int parent, const char *name, const char *path, unsigned depth,
                          struct tree *out)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 && depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    enum rc rc = dir ? RC_OK : complain(path[0] ? path : name, errno ? errno : ELOOP);
    for (struct dirent *entry; rc == RC_OK && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = list_entry(fd, entry->d_name, path, depth, out);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return rc;
}

enum rc tree_list(int dir, struct tree *out)
{
    *out = (struct tree){0};
    return list_below(dir, ".", "", 0, out);
}

void tree_free(struct tree *tree)
{
    for (size_t i = 0; i < tree->n; i++)
        free(tree->path[i]);
    free(tree->path);
    free(tree->size);
    *tree = (struct tree){0};
}

/* --- removing --------------------------------------------------------------------------------- */

static enum rc remove_below(int parent, const char *name, unsigned depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 && depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    if (!dir)
        return rc_from_errno(errno ? errno : ELOOP);
    enum rc rc = RC_OK;
    for (struct dirent *entry; rc == RC_OK && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) != 0)
            rc =
                errno == EISDIR ? remove_below(fd, entry->d_name, depth + 1) : rc_from_errno(errno);
    }
    closedir(dir);
    if (rc == RC_OK && unlinkat(parent, name, AT_REMOVEDIR) != 0)
        rc = rc_from_errno(errno);
    return rc;
}

enum rc tree_remove(int parent, const char *name)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
        return RC_OK;
    errno = 0;
    enum rc rc = remove_below(parent, name, 0);
    return rc == RC_OK ? RC_OK : complain(name, errno);
}

/* --- copying ---------------------------------------------------------------------------------- */

static enum rc make_folders(int dir, const char *path)
{
    char folder[TREE_PATH];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t n = (size_t)(slash - path);
        memcpy(folder, path, n);
        folder[n] = '\0';
        if (mkdirat(dir, folder, 0700) != 0 && errno != EEXIST)
            return complain(path, errno);
    }
    return RC_OK;
}

static enum rc write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno != EINTR)
            return rc_from_errno(errno);
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
    }
    return RC_OK;
}

/* `to` -1: only summed. */
static enum rc pump(struct tree_copy *c, int from, int to)
{
    char *block = mem_alloc(BLOCK);
    unsigned char sum[CRYPTO_SHA256];
    struct crypto_sha256_state state;
    enum rc rc = RC_OK;
    errno = 0;
    crypto_sha256_init(&state);
    for (uint64_t left = c->size; rc == RC_OK && left;) {
        ssize_t n = read(from, block, left < BLOCK ? (size_t)left : BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = n < 0 ? rc_from_errno(errno) : RC_CORRUPT;
            break;
        }
        crypto_sha256_add(&state, str_from(block, (size_t)n));
        if (to >= 0)
            rc = write_all(to, block, (size_t)n);
        left -= (uint64_t)n;
    }
    crypto_sha256_end(&state, sum);
    for (size_t i = 0; i < sizeof sum; i++)
        snprintf(c->sum + 2 * i, 3, "%02x", sum[i]);
    free(block);
    if (rc == RC_CORRUPT)
        fprintf(stderr, "penfold: %s: it is shorter than it should be\n", c->path);
    else if (rc != RC_OK)
        return complain(c->path, errno);
    return rc;
}

/* Folder after folder, since any of them could be a symbolic link by now. -1: see errno. */
static int open_below(int dir, const char *path)
{
    char name[TREE_PATH];
    const char *slash;
    int at = dir, next = -1;
    while ((slash = strchr(path, '/')) && (size_t)(slash - path) < sizeof name) {
        memcpy(name, path, (size_t)(slash - path));
        name[slash - path] = '\0';
        next = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int error = errno;
        if (at != dir)
            close(at);
        errno = error;
        if (next < 0)
            return -1;
        at = next;
        path = slash + 1;
    }
    int fd = openat(at, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC), error = errno;
    if (at != dir)
        close(at);
    errno = error;
    return fd;
}

/* Another name for the file that is open, whatever its first name means by now. */
static bool link_open(int fd, int to, const char *as)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, to, as, AT_SYMLINK_FOLLOW) == 0;
}

enum rc tree_copy_file(struct tree_copy *c)
{
    const char *as = c->as ? c->as : c->path;
    TRY(make_folders(c->to, as));
    int from = open_below(c->from, c->path), to = -1;
    if (from < 0)
        return complain(c->path, errno);
    bool is_linked = c->may_link && link_open(from, c->to, as);
    if (!is_linked)
        to = openat(c->to, as, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    enum rc rc = is_linked || to >= 0 ? pump(c, from, to) : complain(c->path, errno);
    close(from);
    if (to >= 0 && close(to) != 0 && rc == RC_OK)
        rc = complain(c->path, errno);
    return rc;
}

/* --- owners ----------------------------------------------------------------------------------- */

struct giving {
    uid_t uid;
    gid_t gid;
};

static enum rc give_below(int parent, const char *name, const struct giving *g, unsigned depth);

static enum rc give_entry(int dir, const char *name, const struct giving *g, unsigned depth)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        fchownat(dir, name, g->uid, g->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return complain(name, errno);
    return S_ISDIR(st.st_mode) ? give_below(dir, name, g, depth + 1) : RC_OK;
}

static enum rc give_below(int parent, const char *name, const struct giving *g, unsigned depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 && depth < DEPTH_MAX ? fdopendir(fd) : NULL;
    enum rc rc = dir ? RC_OK : complain(name, errno ? errno : ELOOP);
    for (struct dirent *entry; rc == RC_OK && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = give_entry(fd, entry->d_name, g, depth);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return rc;
}

enum rc tree_give(int dir, uid_t uid, gid_t gid)
{
    const struct giving g = {uid, gid};
    if (fchown(dir, uid, gid) != 0)
        return complain("the data folder", errno);
    return give_below(dir, ".", &g, 0);
}

/* --- progress --------------------------------------------------------------------------------- */

static unsigned percent_of(const struct progress *p)
{
    return p->all_bytes ? (unsigned)(p->bytes * 100 / p->all_bytes) : 100;
}

static void show(struct progress *p)
{
    p->percent = percent_of(p);
    if (p->is_shown)
        fprintf(stderr, "\r%s: %llu of %llu %s, %u %%", p->what, (unsigned long long)p->files,
                (unsigned long long)p->all_files, p->unit, p->percent);
}

void progress_begin(struct progress *p, const char *what, const char *unit, uint64_t files,
                    uint64_t bytes)
{
    *p = (struct progress){.what = what,
                           .unit = unit,
                           .all_files = files,
                           .all_bytes = bytes,
                           .is_shown = isatty(STDERR_FILENO) == 1};
    show(p);
}

void progress_add(struct progress *p, uint64_t bytes)
{
    p->files++;
    p->bytes += bytes;
    show(p);
}

void progress_move(struct progress *p, uint64_t bytes)
{
    p->bytes += bytes;
    if (percent_of(p) != p->percent)
        show(p);
}

void progress_end(struct progress *p)
{
    if (p->is_shown)
        fputc('\n', stderr);
}
