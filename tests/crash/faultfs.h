/* faultfs: a layer between a program and its files, put there by LD_PRELOAD. It lets one chosen
 * call fail, be cut short or kill the process, and knows what of each file has been synced, so that
 * a kill can also take away all that a power cut might. */
/* clang-format off */
/*   PENFOLD_FAULT_DIR=path    the folder whose files are looked after (absolute); nothing else is touched
 *   PENFOLD_FAULT=kind:n:action[:times]
 *                             the nth call of a kind (write sync range open rename link unlink alloc
 *                             truncate mkdir) meets
 *                               eio, enospc    it fails; so do the next times - 1 of its kind
 *                               short          a write does half of its bytes (other kinds: eio)
 *                               kill           SIGKILL before it
 *                               torn           a write does half of its bytes, then SIGKILL
 *                               after          it is done, then SIGKILL
 *   PENFOLD_FAULT_PATH=text   only calls on paths that contain the text (!text: that do not) count and meet it
 *   PENFOLD_FAULT_DROP=1      at the SIGKILL: each file is cut to its last synced size, and names made,
 *                             changed or removed without a sync of their folder are as before
 *   PENFOLD_FAULT_NOSYNC=text syncs of files whose path contains the text do nothing and say they did
 *                             (negative control)
 *   PENFOLD_FAULT_COUNTS=file how many calls of each kind there were, written at the end
 *   PENFOLD_FAULT_TRACE=file  one line for each write, sync and socket write, in order (faultfs_calls.c)
 */
/* clang-format on */

/* A file is known by an object of this layer that its paths and descriptors point to, not by its
 * inode number, which is used again once a file is gone. */
#ifndef CRASH_FAULTFS_H
#define CRASH_FAULTFS_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum kind {
    KIND_WRITE,
    KIND_SYNC,
    KIND_RANGE,
    KIND_OPEN, /* that may make a file */
    KIND_RENAME,
    KIND_LINK,
    KIND_UNLINK,
    KIND_ALLOC,
    KIND_TRUNCATE,
    KIND_MKDIR,
    KIND_COUNT
};

enum action { ACTION_NONE, ACTION_FAIL, ACTION_SHORT, ACTION_KILL, ACTION_TORN, ACTION_AFTER };

/* What is to happen to a call. Every call that changes something runs between fault_begin and
 * fault_end, so that none is under way when the process dies. */
struct verdict {
    enum action action;
    int error; /* errno for ACTION_FAIL */
};
/* path NULL: the descriptor's. */
struct verdict fault_begin(enum kind kind, int fd, const char *path);
void fault_end(struct verdict verdict); /* ACTION_TORN and ACTION_AFTER kill here */

/* The real function of this name. */
void *fault_real(const char *name);

/* Paths: absolute, without "." parts. False: outside of the folder. */
bool fault_path(int dir, const char *name, char *to);
bool fault_fd_path(int fd, char *to);

/* --- what is known of files; called with the change done, inside fault_begin and fault_end ---- */

bool fault_is_tracked(int fd);
bool fault_is_nosync(int fd);
void fault_opened(int fd, const char *path, bool is_new); /* path "": no name yet */
void fault_closed(int fd);
void fault_synced(int fd);
void fault_truncated(int fd, off_t size);
void fault_linked(int fd, const char *from, const char *to); /* by descriptor, or else by name */
void fault_made_dir(const char *path);
/* These two also do the change, because what is lost has to be kept until the folder is synced. */
int fault_unlink(const char *path);
int fault_rename(const char *from, const char *to);

/* --- tracing ---------------------------------------------------------------------------------- */

bool fault_is_tracing(void);
void fault_trace(const char *event, int fd, const char *path, long long n, const void *bytes,
                 size_t n_bytes);

#endif
