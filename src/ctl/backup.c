/* `penfold backup DIR`: a copy of the store while it works.
 *
 * The server makes a snapshot within the data folder (admin's backup-snapshot); this process, which
 * may write where the server may not, takes it to DIR and removes it. Files that never change again
 * get a second name where that is possible and are copied otherwise; the segment that is still
 * being written to is always copied. The manifest, with the length and SHA-256 of each file, is
 * written last: a folder without it, or whose manifest is not whole, is no backup.
 */
#include "ctl/ctl_int.h"

#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct backup {
    const struct conf *conf;
    const char *conf_path;
    int data, snapshot, to, lock; /* -1: not open */
    struct buf manifest;
    size_t files;
    uint64_t bytes;
};

static enum rc complain(const char *what, const char *why)
{
    fprintf(stderr, "penfold: %s: %s\n", what, why);
    return RC_PERM;
}

enum rc ctl_carry_out_apart(const struct conf *conf, const char *word)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        const struct str words[] = {str_of(word)};
        struct admin_request request = {.words = words, .n_words = 1};
        struct admin_answer answer = {0};
        enum rc rc = ctl_carry_out(conf, &request, &answer);
        if (rc == RC_OK && answer.rc != RC_OK)
            fprintf(stderr, "penfold: %.*s\n", STR_ARG(answer.error));
        rc = rc == RC_OK ? answer.rc : rc;
        admin_answer_fini(&answer);
        _exit(rc == RC_OK ? 0 : 1);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? RC_OK : RC_PERM;
}

/* --- the snapshot ----------------------------------------------------------------------------- */

/* One backup at a time; the lock goes with the process, whatever way it ends. Its file is the data
 * owner's, as all there. */
static enum rc take_lock(struct backup *b)
{
    struct stat st;
    b->lock = openat(b->data, "backup.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (b->lock < 0 || fstat(b->data, &st) != 0 ||
        (geteuid() == 0 && fchown(b->lock, st.st_uid, st.st_gid) != 0))
        return complain("backup.lock", strerror(errno));
    return flock(b->lock, LOCK_EX | LOCK_NB) == 0 ? RC_OK
                                                  : complain("backup", "another one is under way");
}

/* A snapshot that is there already is left over from a backup that was cut short. */
static enum rc make_snapshot(struct backup *b)
{
    TRY(take_lock(b));
    TRY(tree_remove(b->data, ADMIN_SNAPSHOT));
    TRY(ctl_carry_out_apart(b->conf, "backup-snapshot"));
    b->snapshot = openat(b->data, ADMIN_SNAPSHOT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return b->snapshot >= 0 ? RC_OK : complain(ADMIN_SNAPSHOT, strerror(errno));
}

/* --- files ------------------------------------------------------------------------------------ */

static void note(struct backup *b, const char *folder, const struct tree_copy *c)
{
    buf_putf(&b->manifest, "%s %llu %s/%s\n", c->sum, (unsigned long long)c->size, folder, c->path);
    b->files++;
    b->bytes += c->size;
}

static const char *largest_segment(const struct tree *t)
{
    const char *found = "";
    for (size_t i = 0; i < t->n; i++)
        if (strncmp(t->path[i], "seg/", 4) == 0 && strcmp(t->path[i], found) > 0)
            found = t->path[i];
    return found;
}

/* Tables of rows, bodies of their own, and segments that are no longer written to. */
static bool is_final(const char *path, const char *current)
{
    size_t n = strlen(path);
    bool is_rows = strncmp(path, "db/", 3) == 0;
    if (is_rows)
        return n > 4 && strcmp(path + n - 4, ".sst") == 0;
    return strchr(path, '/') && strcmp(path, current) != 0;
}

static enum rc copy_data(struct backup *b)
{
    struct tree t;
    struct progress p;
    enum rc rc = tree_list(b->snapshot, &t);
    const char *current = largest_segment(&t);
    int to = -1;
    if (rc == RC_OK && (mkdirat(b->to, "data", 0700) != 0 ||
                        (to = openat(b->to, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0))
        rc = complain("data", strerror(errno));
    progress_begin(&p, "backup", "files", t.n, t.bytes);
    for (size_t i = 0; rc == RC_OK && i < t.n; i++) {
        struct tree_copy c = {.from = b->snapshot,
                              .to = to,
                              .path = t.path[i],
                              .size = t.size[i],
                              .may_link = is_final(t.path[i], current)};
        rc = tree_copy_file(&c);
        note(b, "data", &c);
        progress_add(&p, t.size[i]);
    }
    progress_end(&p);
    if (to >= 0)
        close(to);
    tree_free(&t);
    return rc;
}

/* A file of the configuration, from wherever it is, under a name of its own. Certificates are often
 * symbolic links to the one that is valid now. */
static enum rc copy_setting(struct backup *b, int to, const char *path, const char *name)
{
    struct stat st;
    if (!path[0])
        return RC_OK; /* there is no certificate */
    char *folder = realpath(path, NULL), *slash = folder ? strrchr(folder, '/') : NULL;
    if (!slash)
        return complain(path, strerror(errno));
    *slash = '\0';
    int from = open(slash > folder ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct tree_copy c = {.from = from, .to = to, .path = slash + 1, .as = name};
    enum rc rc = RC_OK;
    if (from < 0 || fstatat(from, c.path, &st, 0) != 0)
        rc = complain(path, strerror(errno));
    else
        c.size = (uint64_t)st.st_size;
    if (rc == RC_OK)
        rc = tree_copy_file(&c);
    if (from >= 0)
        close(from);
    c.path = name;
    note(b, "config", &c);
    free(folder);
    return rc;
}

static enum rc copy_settings(struct backup *b)
{
    int to = -1;
    if (mkdirat(b->to, "config", 0700) != 0 ||
        (to = openat(b->to, "config", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return complain("config", strerror(errno));
    enum rc rc = copy_setting(b, to, b->conf_path, "penfold.conf");
    if (rc == RC_OK)
        rc = copy_setting(b, to, b->conf->tls.certificate, "certificate.pem");
    if (rc == RC_OK)
        rc = copy_setting(b, to, b->conf->tls.key, "key.pem");
    if (rc == RC_OK && access(b->conf->dkim.key, F_OK) == 0)
        rc = copy_setting(b, to, b->conf->dkim.key, "dkim.key");
    close(to);
    return rc;
}

/* --- the manifest ----------------------------------------------------------------------------- */

static enum rc write_manifest(struct backup *b)
{
    unsigned char sum[CRYPTO_SHA256];
    crypto_sha256(buf_str(&b->manifest), sum);
    buf_putf(&b->manifest, "end %zu ", b->files);
    for (size_t i = 0; i < sizeof sum; i++)
        buf_putf(&b->manifest, "%02x", sum[i]);
    buf_put(&b->manifest, STR("\n"));
    if (b->manifest.over)
        return complain("backup", "too many files");
    if (syncfs(b->to) != 0) /* all that it names, before it */
        return complain("sync", strerror(errno));
    int fd = openat(b->to, BACKUP_MANIFEST ".new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct str text = buf_str(&b->manifest);
    bool is_good = fd >= 0;
    while (is_good && text.n) {
        ssize_t n = write(fd, text.p, text.n);
        is_good = n > 0 || (n < 0 && errno == EINTR);
        text = str_skip(text, n > 0 ? (size_t)n : 0);
    }
    is_good = is_good && fsync(fd) == 0 &&
              renameat(b->to, BACKUP_MANIFEST ".new", b->to, BACKUP_MANIFEST) == 0 &&
              fsync(b->to) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return is_good ? RC_OK : complain(BACKUP_MANIFEST, strerror(error));
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum rc open_folders(struct backup *b, const char *dir)
{
    b->data = open(b->conf->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->data < 0)
        return complain(b->conf->data, strerror(errno));
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return complain(dir, strerror(errno));
    b->to = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->to < 0)
        return complain(dir, strerror(errno));
    struct tree t;
    enum rc rc = tree_list(b->to, &t);
    bool is_empty = t.n == 0 && faccessat(b->to, "data", F_OK, 0) != 0;
    tree_free(&t);
    return rc == RC_OK && !is_empty
               ? complain(dir, "it is not empty: a backup needs a folder of its own")
               : rc;
}

static enum rc run(struct backup *b, const char *dir)
{
    TRY(open_folders(b, dir));
    TRY(make_snapshot(b));
    TRY(copy_data(b));
    TRY(copy_settings(b));
    return write_manifest(b);
}

int ctl_backup(const char *conf_path, const struct conf *conf, const char *dir)
{
    struct backup b = {
        .conf = conf, .conf_path = conf_path, .data = -1, .snapshot = -1, .to = -1, .lock = -1};
    buf_init(&b.manifest, BACKUP_MANIFEST_MAX);
    buf_put(&b.manifest, STR(BACKUP_FIRST "\n"));
    umask(077);
    enum rc rc = run(&b, dir);
    if (b.snapshot >= 0 && tree_remove(b.data, ADMIN_SNAPSHOT) != RC_OK)
        rc = RC_PERM;
    if (rc == RC_OK)
        printf("%s: %zu files, %llu bytes\n", dir, b.files, (unsigned long long)b.bytes);
    const int fds[] = {b.data, b.snapshot, b.to, b.lock};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    buf_fini(&b.manifest);
    return rc == RC_OK ? CTL_DONE : CTL_FAILED;
}
