/* A Maildir as a source: which folders it has, which of them are subscribed and special, then one
 * after the other (maildir_folder.c).
 *
 * Both layouts that are in use: Maildir++ (".Lists.C" in the top folder) and folders within each
 * other ("Lists/C"). The top one is the INBOX when it holds messages itself.
 *
 * Invariant: nothing is opened that is not below the source without any symbolic link on the way,
 * and nothing deeper than STORE_LEVELS; what is left out for that is told. */
#include "transfer/maildir_source_int.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAMES_MAX = 64 << 20 };

static const char *const own_folders[] = {"cur", "new", "tmp"};

static bool is_own(const char *name)
{
    for (size_t i = 0; i < 3; i++)
        if (strcmp(name, own_folders[i]) == 0)
            return true;
    return false;
}

static enum rc tell(struct maildir_source *s, const char *path, bool is_refused, const char *why)
{
    return transfer_tell(s->sink, str_of(path[0] ? path : "."), is_refused, str_of(why));
}

/* --- finding folders -------------------------------------------------------------------------- */

static void add_folder(struct maildir_source *s, const char *path, struct str name)
{
    s->folders = mem_array(s->folders, &s->max_folders, s->n_folders + 1, sizeof *s->folders);
    s->folders[s->n_folders++] = (struct maildir_folder){
        .path = arena_dup(&s->arena, str_of(path)).p, .name = arena_dup(&s->arena, name)};
}

static void found(struct maildir_source *s, const char *path)
{
    struct buf name = {.cap = 4 * PATH_MAX};
    if (!path[0])
        buf_put(&name, STR("INBOX"));
    else if (path[0] == '.')
        maildir_folder_name(str_of(path + 1), '.', &name);
    else
        maildir_folder_name(str_of(path), '/', &name);
    add_folder(s, path, buf_str(&name));
    buf_fini(&name);
}

/* Whether it holds messages, and what else is in it: names, one after the other, each with a NUL.
 */
static enum rc look(struct maildir_source *s, const char *path, bool *out_has_mail,
                    struct buf *names)
{
    const char *why;
    struct stat st;
    int fd;
    *out_has_mail = false;
    if (open_below(s->top, path, true, &fd, &st, &why) != RC_OK)
        return tell(s, path, true, why);
    DIR *dir = fdopendir(fd);
    struct dirent *e;
    if (!dir) {
        close(fd);
        return RC_TEMP;
    }
    while ((e = readdir(dir))) {
        bool may_be_folder = e->d_type == DT_DIR || e->d_type == DT_UNKNOWN || e->d_type == DT_LNK;
        if (!may_be_folder || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (is_own(e->d_name))
            *out_has_mail |= strcmp(e->d_name, "tmp") != 0;
        else
            buf_put(names, str_from(e->d_name, strlen(e->d_name) + 1));
    }
    closedir(dir);
    return names->over ? tell(s, path, true, "there is too much in it") : RC_OK;
}

static bool is_folder(struct maildir_source *s, const char *path, bool *out_is_link)
{
    struct stat st;
    bool is_there = fstatat(s->top, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    *out_is_link = is_there && S_ISLNK(st.st_mode) && fstatat(s->top, path, &st, 0) == 0 &&
                   S_ISDIR(st.st_mode);
    return is_there && S_ISDIR(st.st_mode);
}

static enum rc walk(struct maildir_source *s, const char *path, unsigned depth);

static enum rc walk_into(struct maildir_source *s, const char *path, const char *name,
                         unsigned depth)
{
    char below[PATH_MAX];
    bool is_link;
    int n = snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "/" : "", name);
    if (n < 0 || n >= (int)sizeof below)
        return tell(s, path, true, "paths below it are too long");
    if (path[0] && name[0] == '.') /* Maildir++ has all of them in the top folder */
        return RC_OK;
    if (!is_folder(s, below, &is_link))
        return is_link ? tell(s, below, true, why_of_errno(ELOOP)) : RC_OK;
    if (depth == STORE_LEVELS)
        return tell(s, below, true, "it is deeper than 20 levels");
    if (s->n_folders >= TRANSFER_FOLDERS)
        return tell(s, below, true, "the source has more than 10000 folders");
    return walk(s, below, depth + 1);
}

static enum rc walk(struct maildir_source *s, const char *path, unsigned depth)
{
    struct buf names = {.cap = NAMES_MAX};
    bool has_mail;
    enum rc rc = look(s, path, &has_mail, &names);
    if (rc == RC_OK && has_mail)
        found(s, path);
    for (struct str all = buf_str(&names); rc == RC_OK && all.n;
         all = str_skip(all, strlen(all.p) + 1))
        if (path[0] != '.') /* a folder of Maildir++ has none in it */
            rc = walk_into(s, path, all.p, depth);
    buf_fini(&names);
    return rc;
}

static int compare_folders(const void *a, const void *b)
{
    const struct maildir_folder *x = a, *y = b;
    if (!x->path[0] || !y->path[0])
        return !y->path[0] - !x->path[0];
    return strcmp(x->path, y->path);
}

/* --- subscriptions and special folders -------------------------------------------------------- */

static struct maildir_folder *find_folder(struct maildir_source *s, struct str name)
{
    for (size_t i = 0; i < s->n_folders; i++)
        if (str_eq(s->folders[i].name, name))
            return &s->folders[i];
    return NULL;
}

static void subscribe(struct maildir_source *s, struct str line, char separator, bool is_courier)
{
    struct buf name = {.cap = 4 * LIST_LINE};
    if (is_courier && str_starts(line, STR("INBOX.")))
        line = str_skip(line, 6);
    if (separator == '.' && str_find_byte(line, '/') >= 0)
        separator = '/';
    maildir_folder_name(line, separator, &name);
    struct maildir_folder *f = line.n ? find_folder(s, buf_str(&name)) : NULL;
    if (!f && line.n && s->n_folders < TRANSFER_FOLDERS) {
        add_folder(s, "", buf_str(&name));
        f = &s->folders[s->n_folders - 1];
        f->is_name_alone = true;
    }
    if (f)
        f->is_subscribed = true;
    buf_fini(&name);
}

/* Dovecot's is a name a line; or, behind "V\t2" and an empty line, with tabs between levels. */
static void read_subscriptions(struct maildir_source *s, const char *file, bool is_courier)
{
    struct line_reader r;
    struct stat st;
    struct str line;
    const char *why;
    int fd;
    bool is_first = true;
    char separator = s->has_dots ? '.' : '/';
    if (open_below(s->top, file, false, &fd, &st, &why) != RC_OK)
        return;
    s->has_subscriptions = true;
    lines_open(&r, fd);
    while (lines_next(&r, &line)) {
        if (is_first && str_starts(line, STR("V\t2")))
            separator = '\t';
        else
            subscribe(s, line, separator, is_courier);
        is_first = false;
    }
    lines_close(&r);
}

static void read_role(struct maildir_source *s, struct maildir_folder *f)
{
    static const struct {
        const char *use;
        enum store_role role;
    } uses[] = {{"\\Drafts", STORE_DRAFTS},
                {"\\Sent", STORE_SENT},
                {"\\Junk", STORE_JUNK},
                {"\\Trash", STORE_TRASH},
                {"\\Archive", STORE_ARCHIVE}}; /* [RFC6154 2] */
    char path[PATH_MAX];
    struct line_reader r;
    struct stat st;
    struct str line;
    const char *why;
    int fd;
    snprintf(path, sizeof path, "%s%sdovecot-specialuse", f->path, f->path[0] ? "/" : "");
    if (open_below(s->top, path, false, &fd, &st, &why) != RC_OK)
        return;
    lines_open(&r, fd);
    while (lines_next(&r, &line))
        for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
            if (str_ieq(str_trim(line), str_of(uses[i].use)))
                f->role = uses[i].role;
    lines_close(&r);
}

static void find_roles(struct maildir_source *s)
{
    struct transfer_folder *all = mem_zero((s->n_folders + 1) * sizeof *all);
    for (size_t i = 0; i < s->n_folders; i++) {
        struct maildir_folder *f = &s->folders[i];
        if (f->path[0] && !f->is_name_alone)
            read_role(s, f);
        all[i] = (struct transfer_folder){.name = f->name, .role = f->role};
    }
    transfer_roles_by_name(all, s->n_folders);
    for (size_t i = 0; i < s->n_folders; i++)
        s->folders[i].role = s->folders[i].is_name_alone ? STORE_NONE : all[i].role;
    free(all);
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum rc tell_folder(struct maildir_source *s, const struct maildir_folder *f)
{
    unsigned n;
    const struct transfer_folder folder = {.name = f->name,
                                           .role = f->role,
                                           .is_subscribed =
                                               f->is_subscribed || !s->has_subscriptions,
                                           .is_name_alone = f->is_name_alone};
    TRY(transfer_folder(s->sink, &folder, &n));
    return f->is_name_alone ? RC_OK : maildir_pour_folder(s, f, n);
}

static enum rc pour_all(struct maildir_source *s)
{
    TRY(walk(s, "", 0));
    if (!s->n_folders)
        return RC_NOTFOUND;
    qsort(s->folders, s->n_folders, sizeof *s->folders, compare_folders);
    for (size_t i = 0; i < s->n_folders; i++)
        s->has_dots |= s->folders[i].path[0] == '.';
    s->has_dots |= s->n_folders == 1;
    read_subscriptions(s, "subscriptions", false);
    read_subscriptions(s, "courierimapsubscribed", true);
    find_roles(s);
    for (size_t i = 0; i < s->n_folders; i++)
        TRY(tell_folder(s, &s->folders[i]));
    return RC_OK;
}

enum rc transfer_from_maildir(struct transfer_maildir *m, struct transfer_sink *sink)
{
    struct maildir_source *s = mem_zero(sizeof *s);
    s->maildir = m;
    s->sink = sink;
    s->form = str_is_null(m->uidl) ? STR("%08Xu%08Xv") : m->uidl;
    pour_init(&s->pour);
    s->top = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum rc rc = s->top >= 0 ? pour_all(s) : rc_from_errno(errno);
    if (s->top >= 0)
        close(s->top);
    pour_fini(&s->pour);
    arena_fini(&s->arena);
    free(s->folders);
    free(s);
    return rc;
}
