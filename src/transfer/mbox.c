/* mbox files as a source: one, or a folder of them, each of which is a mailbox.
 *
 * In a folder: files that begin as an mbox does, or are empty; what stands beside them (indexes,
 * files that begin with a dot) is passed over. Thunderbird keeps the children of "Lists" in
 * "Lists.sbd". Nothing is followed out of it. */
#include "transfer/mbox_source_int.h"

#include "base/mem.h"
#include "base/utf7.h"
#include "base/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAMES_MAX = 64 << 20 };

struct mbox_file {
    const char *path; /* below the source */
    struct str name;
};

static enum rc tell(struct mbox_source *s, const char *path, bool is_refused, const char *why)
{
    return transfer_tell(s->sink, str_of(path[0] ? path : "."), is_refused, str_of(why));
}

/* --- what there is ---------------------------------------------------------------------------- */

static struct str name_of(struct mbox_source *s, const char *path)
{
    struct buf name = {.cap = 4 * PATH_MAX};
    struct str rest = str_of(path), level;
    while (str_cut(&rest, '/', &level)) {
        size_t before = buf_len(&name);
        if (!str_is_null(rest) && str_ends(level, STR(".sbd")))
            level.n -= 4;
        if (before)
            buf_put(&name, STR("/"));
        size_t from = buf_len(&name);
        if (!utf8_is_ascii(level) || utf7_decode(level, &name) != RC_OK) {
            buf_truncate(&name, from);
            buf_put(&name, level);
        }
    }
    struct str kept = arena_dup(&s->arena, buf_str(&name));
    buf_fini(&name);
    return kept;
}

static enum rc found(struct mbox_source *s, const char *path)
{
    if (s->n_files >= TRANSFER_FOLDERS)
        return tell(s, path, true, "the source has more than 10000 folders");
    s->files = mem_array(s->files, &s->max_files, s->n_files + 1, sizeof *s->files);
    s->files[s->n_files++] =
        (struct mbox_file){arena_dup(&s->arena, str_of(path)).p, name_of(s, path)};
    return RC_OK;
}

static enum rc look_at_file(struct mbox_source *s, const char *path)
{
    const char *why;
    struct stat st;
    int fd;
    if (open_below(s->top, path, false, &fd, &st, &why) != RC_OK)
        return tell(s, path, true, why);
    bool is = mbox_is(fd);
    close(fd);
    return is ? found(s, path) : RC_OK;
}

static enum rc walk(struct mbox_source *s, const char *path, unsigned depth);

static enum rc look_at(struct mbox_source *s, const char *path, const char *name, unsigned depth)
{
    char below[PATH_MAX];
    struct stat st;
    int n = snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "/" : "", name);
    if (n < 0 || n >= (int)sizeof below)
        return tell(s, path, true, "paths below it are too long");
    if (fstatat(s->top, below, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return RC_OK;
    if (S_ISLNK(st.st_mode))
        return tell(s, below, true, why_of_errno(ELOOP));
    if (S_ISREG(st.st_mode))
        return look_at_file(s, below);
    if (!S_ISDIR(st.st_mode))
        return tell(s, below, true, why_of_errno(EISDIR));
    return depth < STORE_LEVELS ? walk(s, below, depth + 1)
                                : tell(s, below, true, "it is deeper than 20 levels");
}

static enum rc walk(struct mbox_source *s, const char *path, unsigned depth)
{
    struct buf names = {.cap = NAMES_MAX};
    const char *why;
    struct stat st;
    struct dirent *e;
    int fd;
    if (open_below(s->top, path, true, &fd, &st, &why) != RC_OK)
        return tell(s, path, true, why);
    DIR *dir = fdopendir(fd);
    while (dir && (e = readdir(dir)))
        if (e->d_name[0] != '.')
            buf_put(&names, str_from(e->d_name, strlen(e->d_name) + 1));
    if (dir)
        closedir(dir);
    enum rc rc = dir ? RC_OK : RC_TEMP;
    if (names.over)
        rc = tell(s, path, true, "there is too much in it");
    for (struct str all = buf_str(&names); rc == RC_OK && all.n;
         all = str_skip(all, strlen(all.p) + 1))
        rc = look_at(s, path, all.p, depth);
    buf_fini(&names);
    return rc;
}

static int compare_files(const void *a, const void *b)
{
    const struct mbox_file *x = a, *y = b;
    bool is_x = str_ieq(x->name, STR("INBOX")), is_y = str_ieq(y->name, STR("INBOX"));
    return is_x != is_y ? is_y - is_x : str_cmp(x->name, y->name);
}

/* --- giving it -------------------------------------------------------------------------------- */

static enum rc pour_one(struct mbox_source *s, int fd, const struct stat *st, struct str label,
                        const struct transfer_folder *folder)
{
    unsigned n;
    TRY(transfer_folder(s->sink, folder, &n));
    return mbox_pour_file(s, fd, st, folder->name, n, label);
}

static enum rc pour_folder(struct mbox_source *s)
{
    const char *why;
    struct stat st;
    int fd;
    enum rc rc = walk(s, "", 0);
    struct transfer_folder *all = mem_zero((s->n_files + 1) * sizeof *all);
    if (s->n_files)
        qsort(s->files, s->n_files, sizeof *s->files, compare_files);
    for (size_t i = 0; i < s->n_files; i++)
        all[i] = (struct transfer_folder){.name = s->files[i].name, .is_subscribed = true};
    transfer_roles_by_name(all, s->n_files);
    if (rc == RC_OK && !s->n_files)
        rc = RC_NOTFOUND;
    for (size_t i = 0; rc == RC_OK && i < s->n_files; i++) {
        const char *path = s->files[i].path;
        if (open_below(s->top, path, false, &fd, &st, &why) != RC_OK) {
            rc = tell(s, path, true, why);
            continue;
        }
        rc = pour_one(s, fd, &st, str_of(path), &all[i]);
        close(fd);
    }
    free(all);
    return rc;
}

static enum rc pour(struct mbox_source *s)
{
    struct stat st;
    if (fstat(s->top, &st) != 0)
        return RC_TEMP;
    if (S_ISDIR(st.st_mode))
        return pour_folder(s);
    if (!S_ISREG(st.st_mode) || !mbox_is(s->top))
        return RC_NOTFOUND;
    const struct transfer_folder folder = {.name = str_is_null(s->mbox->folder) ? STR("INBOX")
                                                                                : s->mbox->folder,
                                           .is_subscribed = true};
    return pour_one(s, s->top, &st, str_of(s->mbox->path), &folder);
}

enum rc transfer_from_mbox(struct transfer_mbox *m, struct transfer_sink *sink)
{
    struct mbox_source *s = mem_zero(sizeof *s);
    s->mbox = m;
    s->sink = sink;
    s->top = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    enum rc rc = s->top >= 0 ? pour(s) : rc_from_errno(errno);
    if (s->top >= 0)
        close(s->top);
    arena_fini(&s->arena);
    free(s->files);
    free(s);
    return rc;
}
