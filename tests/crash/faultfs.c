/* faultfs: faults, and what a power cut would leave. The calls themselves are in faultfs_calls.c.
 *
 * The model. A file's bytes up to its size at the last sync are durable. A change of a folder (a
 * name made, changed, removed) is durable once that folder is synced; until then it can be undone,
 * so removed and replaced files are kept aside. A cut truncates, then undoes in reverse order.
 * Bytes rewritten in place below the synced size are taken as durable: neither the segment log nor
 * RocksDB does that. */
#include "faultfs.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 4096 };

struct object {
    off_t synced;
};

struct name {
    struct name *next;
    char *path;
    struct object *object;
};

enum change_kind { CHANGE_MADE, CHANGE_REMOVED, CHANGE_RENAMED };

/* A change of folders that is not durable yet. */
struct change {
    struct change *older;
    enum change_kind kind;
    char *path;  /* made; removed; the name before a renaming */
    char *path2; /* the name after it */
    char *kept;  /* where a removed or replaced file is kept; NULL: nothing */
};

static struct {
    pthread_once_t once;
    pthread_rwlock_t dying; /* read: a call is under way; write: the end */
    pthread_mutex_t mutex;  /* guards what follows */
    char dir[PATH_MAX], aside[PATH_MAX];
    unsigned long count[KIND_COUNT];
    int fault_kind; /* -1: none */
    unsigned long fault_from, fault_to;
    struct verdict verdict;
    bool is_dropping;
    const char *only, *nosync, *counts;
    struct object *fds[FDS];
    struct name *names;
    struct change *changes; /* newest first */
    unsigned long kept;
    int trace;
} f = {.once = PTHREAD_ONCE_INIT,
       .dying = PTHREAD_RWLOCK_INITIALIZER,
       .mutex = PTHREAD_MUTEX_INITIALIZER,
       .fault_kind = -1,
       .trace = -1};

static const char *const kind_names[KIND_COUNT] = {"write", "sync",   "range", "open",     "rename",
                                                   "link",  "unlink", "alloc", "truncate", "mkdir"};

static const struct {
    const char *name;
    struct verdict verdict;
} actions[] = {
    {"eio", {ACTION_FAIL, EIO}}, {"enospc", {ACTION_FAIL, ENOSPC}}, {"short", {ACTION_SHORT, EIO}},
    {"kill", {ACTION_KILL, 0}},  {"torn", {ACTION_TORN, 0}},        {"after", {ACTION_AFTER, 0}},
};

void *fault_real(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);
    if (!p)
        abort();
    return p;
}

/* --- settings --------------------------------------------------------------------------------- */

static void parse_fault(const char *text)
{
    char kind[16], action[16];
    unsigned long n, times = 1;
    if (sscanf(text, "%15[^:]:%lu:%15[^:]:%lu", kind, &n, action, &times) < 3)
        abort();
    for (int i = 0; i < KIND_COUNT; i++)
        if (!strcmp(kind, kind_names[i]))
            f.fault_kind = i;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(action, actions[i].name))
            f.verdict = actions[i].verdict;
    f.fault_from = n;
    f.fault_to = n + times;
    if (f.fault_kind < 0 || f.verdict.action == ACTION_NONE)
        abort();
}

static void set_up(void)
{
    const char *dir = getenv("PENFOLD_FAULT_DIR"), *fault = getenv("PENFOLD_FAULT"),
               *trace = getenv("PENFOLD_FAULT_TRACE");
    if (dir) {
        snprintf(f.dir, sizeof f.dir, "%s", dir);
        snprintf(f.aside, sizeof f.aside, "%.4000s.aside.%d", dir, (int)getpid());
    }
    f.is_dropping = getenv("PENFOLD_FAULT_DROP") != NULL;
    f.only = getenv("PENFOLD_FAULT_PATH");
    f.nosync = getenv("PENFOLD_FAULT_NOSYNC");
    f.counts = getenv("PENFOLD_FAULT_COUNTS");
    if (fault)
        parse_fault(fault);
    if (trace)
        f.trace = (int)syscall(SYS_openat, AT_FDCWD, trace,
                               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Raw, so as not to meet the layer itself. */
static void write_raw(int fd, const char *text, size_t n)
{
    (void)!syscall(SYS_write, fd, text, n);
}

__attribute__((destructor)) static void tell_counts(void)
{
    if (!f.counts)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, f.counts, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                          0600);
    for (int i = 0; fd >= 0 && i < KIND_COUNT; i++) {
        char line[64];
        write_raw(fd, line,
                  (size_t)snprintf(line, sizeof line, "%s %lu\n", kind_names[i], f.count[i]));
    }
    if (fd >= 0)
        syscall(SYS_close, fd);
}

/* --- paths ------------------------------------------------------------------------------------ */

/* The folder that holds the folder: syncing it makes the folder itself durable. */
static bool is_parent(const char *path)
{
    const char *end = strrchr(f.dir, '/');
    size_t n = end ? (size_t)(end - f.dir) : 0;
    return n && strlen(path) == n && !strncmp(path, f.dir, n);
}

static bool is_inside(const char *path)
{
    size_t n = strlen(f.dir);
    return n && !strncmp(path, f.dir, n) && (path[n] == '/' || path[n] == '\0');
}

bool fault_fd_path(int fd, char *to)
{
    char link[64];
    pthread_once(&f.once, set_up);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlink, link, to, PATH_MAX - 1);
    to[n > 0 ? n : 0] = '\0';
    char *nameless = strstr(to, " (deleted)"); /* what the kernel adds */
    if (nameless)
        *nameless = '\0';
    return n > 0 && (is_inside(to) || is_parent(to));
}

/* Drops "/./" and "//". */
static void tidy(char *path)
{
    char *to = path;
    for (const char *p = path; *p; p++) {
        if (p[0] == '/' && (p[1] == '/' || (p[1] == '.' && (p[2] == '/' || p[2] == '\0')))) {
            p += p[1] == '.';
            continue;
        }
        *to++ = *p;
    }
    *to = '\0';
}

bool fault_path(int dir, const char *name, char *to)
{
    pthread_once(&f.once, set_up);
    char base[PATH_MAX] = "";
    if (!*f.dir)
        return false;
    if (*name != '/' && dir == AT_FDCWD)
        (void)!syscall(SYS_getcwd, base, sizeof base);
    else if (*name != '/')
        fault_fd_path(dir, base);
    int n = *name == '/' ? snprintf(to, PATH_MAX, "%s", name)
                         : snprintf(to, PATH_MAX, "%s/%s", base, name);
    if (n < 0 || n >= PATH_MAX)
        abort();
    tidy(to);
    return is_inside(to);
}

static bool is_in_dir(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return !strncmp(path, dir, n) && path[n] == '/' && !strchr(path + n + 1, '/');
}

/* --- files ------------------------------------------------------------------------------------ */

static struct name *find_name(const char *path)
{
    struct name *name = f.names;
    while (name && strcmp(name->path, path) != 0)
        name = name->next;
    return name;
}

static void set_path(struct name *name, const char *path)
{
    free(name->path);
    name->path = strdup(path);
}

static void forget_name(const char *path)
{
    for (struct name **at = &f.names; *at; at = &(*at)->next) {
        struct name *name = *at;
        if (strcmp(name->path, path) != 0)
            continue;
        *at = name->next;
        free(name->path);
        free(name);
        return;
    }
}

static void add_name(const char *path, struct object *object)
{
    struct name *name = calloc(1, sizeof *name);
    name->path = strdup(path);
    name->object = object;
    name->next = f.names;
    f.names = name;
}

static struct change *add_change(enum change_kind kind, const char *path)
{
    struct change *c = calloc(1, sizeof *c);
    c->kind = kind;
    c->path = strdup(path);
    c->older = f.changes;
    f.changes = c;
    return c;
}

bool fault_is_tracked(int fd)
{
    pthread_once(&f.once, set_up);
    return fd >= 0 && fd < FDS && f.fds[fd];
}

bool fault_is_nosync(int fd)
{
    char path[PATH_MAX];
    return f.nosync && fault_fd_path(fd, path) && strstr(path, f.nosync);
}

void fault_opened(int fd, const char *path, bool is_new)
{
    struct stat st;
    if (fd < 0 || fd >= FDS || fstat(fd, &st) < 0)
        return;
    pthread_mutex_lock(&f.mutex);
    struct name *name = *path ? find_name(path) : NULL;
    struct object *object = name ? name->object : NULL;
    if (!object) {
        object = calloc(1, sizeof *object);
        object->synced = is_new || S_ISDIR(st.st_mode) ? 0 : st.st_size;
        if (*path)
            add_name(path, object);
        if (*path && is_new)
            add_change(CHANGE_MADE, path);
    }
    f.fds[fd] = object;
    pthread_mutex_unlock(&f.mutex);
}

void fault_closed(int fd)
{
    pthread_mutex_lock(&f.mutex);
    if (fd >= 0 && fd < FDS)
        f.fds[fd] = NULL; /* objects stay: a name may still lead to them */
    pthread_mutex_unlock(&f.mutex);
}

void fault_truncated(int fd, off_t size)
{
    pthread_mutex_lock(&f.mutex);
    if (f.fds[fd]->synced > size)
        f.fds[fd]->synced = size;
    pthread_mutex_unlock(&f.mutex);
}

/* Changes in this folder are durable now. */
static void settle(const char *dir)
{
    for (struct change **at = &f.changes; *at;) {
        struct change *c = *at;
        if (!is_in_dir(c->path, dir) && !(c->path2 && is_in_dir(c->path2, dir))) {
            at = &c->older;
            continue;
        }
        *at = c->older;
        if (c->kept) {
            syscall(SYS_unlink, c->kept);
            forget_name(c->kept);
        }
        free(c->path);
        free(c->path2);
        free(c->kept);
        free(c);
    }
}

void fault_synced(int fd)
{
    struct stat st;
    char path[PATH_MAX];
    if (fstat(fd, &st) < 0)
        return;
    pthread_mutex_lock(&f.mutex);
    if (S_ISDIR(st.st_mode) && fault_fd_path(fd, path))
        settle(path);
    else if (fd < FDS && f.fds[fd])
        f.fds[fd]->synced = st.st_size;
    pthread_mutex_unlock(&f.mutex);
}

void fault_linked(int fd, const char *from, const char *to)
{
    pthread_mutex_lock(&f.mutex);
    struct name *name = fd < 0 ? find_name(from) : NULL;
    struct object *object = fd >= 0 && fd < FDS ? f.fds[fd] : name ? name->object : NULL;
    if (object)
        add_name(to, object);
    add_change(CHANGE_MADE, to);
    pthread_mutex_unlock(&f.mutex);
}

void fault_made_dir(const char *path)
{
    pthread_mutex_lock(&f.mutex);
    add_change(CHANGE_MADE, path);
    pthread_mutex_unlock(&f.mutex);
}

/* Moves a file out of the way. NULL: there was none. */
static char *keep(const char *path)
{
    char kept[PATH_MAX];
    syscall(SYS_mkdir, f.aside, 0700);
    snprintf(kept, sizeof kept, "%.4000s/%lu", f.aside, f.kept++);
    if (syscall(SYS_rename, path, kept) < 0)
        return NULL;
    struct name *name = find_name(path);
    if (name)
        set_path(name, kept);
    return strdup(kept);
}

int fault_unlink(const char *path)
{
    pthread_mutex_lock(&f.mutex);
    char *kept = keep(path);
    int error = errno;
    if (kept)
        add_change(CHANGE_REMOVED, path)->kept = kept;
    pthread_mutex_unlock(&f.mutex);
    errno = error;
    return kept ? 0 : -1;
}

int fault_rename(const char *from, const char *to)
{
    pthread_mutex_lock(&f.mutex);
    char *kept = keep(to);
    int rc = (int)syscall(SYS_rename, from, to), error = errno;
    if (rc == 0) {
        struct change *c = add_change(CHANGE_RENAMED, from);
        struct name *name = find_name(from);
        c->path2 = strdup(to);
        c->kept = kept;
        if (name)
            set_path(name, to);
    } else if (kept) {
        syscall(SYS_rename, kept, to);
        free(kept);
    }
    pthread_mutex_unlock(&f.mutex);
    errno = error;
    return rc;
}

/* --- the end ---------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)!syscall(type == FTW_DP ? SYS_rmdir : SYS_unlink, path);
    return 0;
}

static void undo(const struct change *c)
{
    if (c->kind == CHANGE_MADE)
        nftw(c->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (c->kind == CHANGE_RENAMED)
        syscall(SYS_rename, c->path2, c->path);
    if (c->kept)
        syscall(SYS_rename, c->kept, c->kind == CHANGE_REMOVED ? c->path : c->path2);
}

static void drop_unsynced(void)
{
    for (struct name *name = f.names; name; name = name->next) {
        struct stat st;
        if (stat(name->path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > name->object->synced)
            (void)!syscall(SYS_truncate, name->path, name->object->synced);
    }
    for (struct change *c = f.changes; c; c = c->older)
        undo(c);
}

static void die(void)
{
    pthread_rwlock_wrlock(&f.dying); /* for ever */
    if (f.is_dropping)
        drop_unsynced();
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static bool is_meant(int fd, const char *path)
{
    char own[PATH_MAX] = "";
    if (!f.only)
        return true;
    if (!path)
        fault_fd_path(fd, own);
    bool is_not = *f.only == '!';
    return !strstr(path ? path : own, f.only + is_not) == is_not;
}

struct verdict fault_begin(enum kind kind, int fd, const char *path)
{
    pthread_once(&f.once, set_up);
    struct verdict verdict = {ACTION_NONE, 0};
    bool counts = is_meant(fd, path);
    pthread_mutex_lock(&f.mutex);
    unsigned long n = counts ? ++f.count[kind] : 0;
    if (counts && f.fault_kind == (int)kind && n >= f.fault_from && n < f.fault_to)
        verdict = f.verdict;
    pthread_mutex_unlock(&f.mutex);
    if (verdict.action == ACTION_KILL)
        die();
    pthread_rwlock_rdlock(&f.dying);
    return verdict;
}

void fault_end(struct verdict verdict)
{
    int error = errno;
    pthread_rwlock_unlock(&f.dying);
    if (verdict.action == ACTION_TORN || verdict.action == ACTION_AFTER)
        die();
    errno = error;
}

/* --- tracing ---------------------------------------------------------------------------------- */

bool fault_is_tracing(void)
{
    pthread_once(&f.once, set_up);
    return f.trace >= 0;
}

void fault_trace(const char *event, int fd, const char *path, long long n, const void *bytes,
                 size_t n_bytes)
{
    char line[PATH_MAX + 512];
    struct timespec now;
    int error = errno;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int at =
        snprintf(line, PATH_MAX + 200, "%lld.%09ld %d %ld %s %d %s %lld ", (long long)now.tv_sec,
                 now.tv_nsec, (int)getpid(), syscall(SYS_gettid), event, fd, *path ? path : "-", n);
    for (size_t i = 0; i < n_bytes && i < 64; i++) {
        unsigned char c = ((const unsigned char *)bytes)[i];
        at += snprintf(line + at, 5, c > ' ' && c < 127 && c != '\\' ? "%c" : "\\x%02x", c);
    }
    line[at++] = '\n';
    write_raw(f.trace, line, (size_t)at);
    errno = error;
}
