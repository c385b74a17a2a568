/* `penfold restore DIR`: makes the data folder from a backup.
 *
 * Everything happens in a folder beside it, DATA.restoring: files are copied and compared with the
 * manifest, the store is opened once as its owner, which makes its generation grow (so that no UID
 * or modseq is given twice), and the queue is held. Then one rename puts it in its place. Whatever
 * cuts this short leaves the data folder as it was.
 *
 * Where the store is not in the data folder, the copy of it comes into a folder of its own there,
 * from which the store, which must be empty, is filled (kv_restore).
 */
#include "ctl/ctl_int.h"

#include "crypto/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct restore {
    const struct conf *conf;
    char target[PATH_MAX], beside[PATH_MAX];
    int from, to; /* folders; -1: not open */
    int store;    /* where the copy of the store goes: `to`, or a folder in it */
    struct buf manifest;
    struct str files; /* the lines of the manifest, one for each */
    size_t n_files;
    uid_t uid;
    gid_t gid;
};

static enum rc complain(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
    return RC_PERM;
}

/* --- the manifest ----------------------------------------------------------------------------- */

static enum rc read_manifest(struct restore *r)
{
    int fd = openat(r->from, BACKUP_MANIFEST, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return complain(BACKUP_MANIFEST, errno == ENOENT ? "there is none: this is no whole backup"
                                                         : strerror(errno));
    for (;;) {
        char *at = buf_reserve(&r->manifest, 64 << 10);
        ssize_t n = at ? read(fd, at, 64 << 10) : -1;
        if (n <= 0) {
            close(fd);
            return n == 0 ? RC_OK : complain(BACKUP_MANIFEST, "it cannot be read");
        }
        buf_commit(&r->manifest, (size_t)n);
    }
}

/* Its own sum, its format, its count. */
static enum rc check_manifest(struct restore *r)
{
    struct str all = buf_str(&r->manifest), first, word, count, sum;
    char want[TREE_SUM];
    unsigned char bytes[CRYPTO_SHA256];
    uint64_t n;
    ptrdiff_t end = str_find(all, STR("\nend "));
    if (end < 0)
        return complain(BACKUP_MANIFEST, "it is not whole");
    struct str body = str_head(all, (size_t)end + 1), last = str_skip(all, body.n);
    crypto_sha256(body, bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(want + 2 * i, 3, "%02x", bytes[i]);
    last = str_trim(last);
    if (!str_cut(&last, ' ', &word) || !str_cut(&last, ' ', &count) || !str_cut(&last, ' ', &sum) ||
        !str_eq(sum, str_of(want)) || str_to_u64(count, &n) != RC_OK)
        return complain(BACKUP_MANIFEST, "it is damaged");
    r->n_files = (size_t)n;
    str_cut(&body, '\n', &first);
    if (!str_eq(first, STR(BACKUP_FIRST)))
        return complain(BACKUP_MANIFEST, "it is of another version of Penfold");
    r->files = body;
    return RC_OK;
}

struct entry {
    struct str sum;
    uint64_t size;
    char path[TREE_PATH];
};

static enum rc read_entry(struct str line, struct entry *out)
{
    struct str size;
    if (!str_cut(&line, ' ', &out->sum) || !str_cut(&line, ' ', &size) ||
        str_to_u64(size, &out->size) != RC_OK || line.n == 0 || line.n >= sizeof out->path ||
        line.p[0] == '/' || str_find(line, STR("..")) >= 0 || str_find(line, STR("//")) >= 0)
        return complain(BACKUP_MANIFEST, "it is damaged");
    memcpy(out->path, line.p, line.n);
    out->path[line.n] = '\0';
    return RC_OK;
}

/* --- files ------------------------------------------------------------------------------------ */

static enum rc copy_entry(struct restore *r, int data, const struct entry *e)
{
    struct tree_copy c = {.from = data, .to = r->store, .path = e->path + 5, .size = e->size};
    TRY(tree_copy_file(&c));
    if (!str_eq(e->sum, str_of(c.sum)))
        return complain(e->path, "it is not what the backup wrote: its checksum differs");
    return RC_OK;
}

static enum rc copy_all(struct restore *r)
{
    struct progress p;
    struct str rest = r->files, line;
    size_t n = 0;
    enum rc rc = RC_OK;
    int data = openat(r->from, "data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (data < 0)
        return complain("data", strerror(errno));
    progress_begin(&p, "restore", "files", r->n_files, 0);
    while (rc == RC_OK && str_cut(&rest, '\n', &line) && line.n) {
        struct entry e;
        rc = read_entry(line, &e);
        if (rc == RC_OK && strncmp(e.path, "data/", 5) == 0)
            rc = copy_entry(r, data, &e);
        progress_add(&p, 0);
        n++;
    }
    progress_end(&p);
    close(data);
    return rc == RC_OK && n != r->n_files ? complain(BACKUP_MANIFEST, "it is damaged") : rc;
}

/* --- the folder ------------------------------------------------------------------------------- */

static enum rc choose_owner(struct restore *r)
{
    r->uid = geteuid();
    r->gid = getegid();
    if (r->uid != 0)
        return RC_OK;
    const struct passwd *user = getpwnam(r->conf->user);
    if (!user)
        return complain(r->conf->user, "there is no such user");
    r->uid = user->pw_uid;
    r->gid = user->pw_gid;
    return RC_OK;
}

static enum rc give_away(struct restore *r)
{
    return geteuid() == 0 ? tree_give(r->to, r->uid, r->gid) : RC_OK;
}

static bool is_empty_or_missing(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;
    if (!dir)
        return errno == ENOENT;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n <= 2;
}

static enum rc make_beside(struct restore *r)
{
    size_t n = strlen(r->conf->data);
    while (n > 1 && r->conf->data[n - 1] == '/')
        n--;
    if (n + sizeof ".restoring" > sizeof r->beside)
        return complain(r->conf->data, strerror(ENAMETOOLONG));
    snprintf(r->target, sizeof r->target, "%.*s", (int)n, r->conf->data);
    snprintf(r->beside, sizeof r->beside, "%.*s.restoring", (int)n, r->conf->data);
    if (!is_empty_or_missing(r->target))
        return complain(r->target, "it is not empty: a restore never overwrites; stop the server "
                                   "and move it away");
    TRY(tree_remove(AT_FDCWD, r->beside)); /* of a restore that was cut short */
    if (mkdir(r->beside, 0700) != 0 ||
        (r->to = open(r->beside, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return complain(r->beside, strerror(errno));
    return RC_OK;
}

/* --- a store that is elsewhere ---------------------------------------------------------------- */

static enum rc choose_store(struct restore *r)
{
    r->store = r->to;
    if (ctl_engine_is_local(r->conf))
        return RC_OK;
    if (mkdirat(r->to, ADMIN_SNAPSHOT, 0700) != 0 ||
        (r->store = openat(r->to, ADMIN_SNAPSHOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return complain(ADMIN_SNAPSHOT, strerror(errno));
    return RC_OK;
}

static const char *why_not(enum rc rc)
{
    return rc == RC_EXISTS ? "it is not empty: name another one in store { name }"
           : rc == RC_PERM
               ? "the backup is one of a store in a data folder: restore it there, then "
                 "penfold migrate"
               : admin_sentence(rc);
}

/* In a process of its own: the engine connects, and others are forked later. */
static int fill_store(const struct conf *conf)
{
    struct log *log = log_new(STDERR_FILENO, LOG_WARNING, &clock_system);
    struct ctx ctx = {.log = log, .clock = &clock_system};
    struct kv *kv = NULL;
    char name[512];
    enum rc rc = ctl_enter_data(conf);
    if (rc == RC_OK)
        rc = ctl_engine_open(&ctx, conf, &kv);
    if (rc == RC_OK)
        rc = kv_restore(kv, ADMIN_SNAPSHOT);
    ctl_engine_name(conf, conf->data, name, sizeof name);
    if (rc != RC_OK)
        (void)complain(name, why_not(rc));
    if (kv)
        kv_close(&kv);
    log_free(&log);
    return rc == RC_OK ? 0 : 1;
}

static enum rc fill(struct restore *r, const struct conf *at)
{
    int status = 0;
    if (ctl_engine_is_local(r->conf))
        return RC_OK;
    fprintf(stderr, "restore: the store is being filled\n");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(fill_store(at));
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return RC_PERM; /* it has complained */
    return tree_remove(r->to, ADMIN_SNAPSHOT);
}

/* What is renamed is on the disk. */
static enum rc put_in_place(struct restore *r)
{
    char parent[PATH_MAX + 4];
    if (syncfs(r->to) != 0)
        return complain(r->beside, strerror(errno));
    if (rename(r->beside, r->target) != 0)
        return complain(r->target, strerror(errno));
    snprintf(parent, sizeof parent, "%s/..", r->target);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return is_synced ? RC_OK : complain(parent, strerror(errno));
}

static enum rc run(struct restore *r, const char *dir)
{
    r->from = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->from < 0)
        return complain(dir, strerror(errno));
    TRY(choose_owner(r));
    TRY(read_manifest(r));
    TRY(check_manifest(r));
    TRY(make_beside(r));
    enum rc rc = choose_store(r);
    if (rc == RC_OK)
        rc = copy_all(r);
    if (rc == RC_OK)
        rc = give_away(r);
    struct conf at = *r->conf;
    at.data = r->beside;
    if (rc == RC_OK)
        rc = fill(r, &at);
    if (rc == RC_OK)
        rc = ctl_carry_out_apart(&at, "backup-restored");
    if (rc == RC_OK)
        rc = put_in_place(r);
    if (rc != RC_OK)
        (void)tree_remove(AT_FDCWD, r->beside); /* it has complained already */
    return rc;
}

int ctl_restore(const struct conf *conf, const char *dir)
{
    struct restore r = {.conf = conf, .from = -1, .to = -1, .store = -1};
    buf_init(&r.manifest, BACKUP_MANIFEST_MAX);
    umask(077);
    enum rc rc = run(&r, dir);
    if (rc == RC_OK)
        printf(
            "%s is restored. What was in the queue is held: see penfold queue list, then penfold "
            "queue release.\n",
            r.target);
    if (r.from >= 0)
        close(r.from);
    if (r.store >= 0 && r.store != r.to)
        close(r.store);
    if (r.to >= 0)
        close(r.to);
    buf_fini(&r.manifest);
    return rc == RC_OK ? CTL_DONE : CTL_FAILED;
}
