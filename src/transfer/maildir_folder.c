/* The messages of one folder of a Maildir.
 *
 * The names of all files are read first (32 bytes and the name for each), put in order, and given
 * the UIDs and unique-ids that Dovecot's or Courier's lists have for them; then the files are
 * opened one after the other, but for those that are in already.
 *
 * The date of a message is its file's, which is where Dovecot and Courier keep it, or the time that
 * its name begins with where that is earlier: then the file has been copied without its date. */
#include "transfer/maildir_source_int.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAMES_MAX = 1 << 30 };

struct entry {
    uint32_t name, uidl; /* where they begin in `text`; uidl 0: none */
    uint32_t uid, time;
    uint16_t n_base, n_name;
    bool is_new, is_uidl_made; /* from the form, when it is wanted */
};

struct reading {
    struct maildir_source *s;
    const struct maildir_folder *f;
    unsigned folder;
    char *text; /* names and unique-ids, each with a NUL */
    size_t n_text, max_text;
    struct entry *entries;
    size_t n, max;
    uint32_t uidvalidity;
    struct str keywords[MAILDIR_LETTERS];
    struct arena arena;
    char path[PATH_MAX];
};

static uint32_t keep_text(struct reading *r, struct str s)
{
    size_t at = r->n_text;
    r->text = mem_array(r->text, &r->max_text, at + s.n + 1, 1);
    memcpy(r->text + at, s.p, s.n);
    r->text[at + s.n] = 0;
    r->n_text = at + s.n + 1;
    return (uint32_t)at;
}

static struct str base_of(const struct reading *r, const struct entry *e)
{
    return str_from(r->text + e->name, e->n_base);
}

/* Below the source: for opening, and as what a person is told. */
static const char *path_of(struct reading *r, const char *folder, const char *name)
{
    int n = snprintf(r->path, sizeof r->path, "%s%s%s%s%s", r->f->path, r->f->path[0] ? "/" : "",
                     folder, folder[0] ? "/" : "", name);
    return n > 0 && n < (int)sizeof r->path ? r->path : "";
}

static enum rc refuse(struct reading *r, const char *folder, const char *name, const char *why)
{
    return transfer_tell(r->s->sink, str_of(path_of(r, folder, name)), true, str_of(why));
}

/* --- names ------------------------------------------------------------------------------------ */

static enum rc add_entry(struct reading *r, const char *folder, const struct dirent *d)
{
    struct maildir_name name;
    struct str file = str_of(d->d_name);
    if (maildir_name_parse(file, &name) != RC_OK)
        return RC_OK;
    if (d->d_type == DT_LNK)
        return refuse(r, folder, d->d_name, why_of_errno(ELOOP));
    if (d->d_type != DT_REG && d->d_type != DT_UNKNOWN)
        return refuse(r, folder, d->d_name, why_of_errno(EISDIR));
    if (r->n_text > NAMES_MAX)
        return refuse(r, folder, d->d_name, "its folder has too many files");
    r->entries = mem_array(r->entries, &r->max, r->n + 1, sizeof *r->entries);
    r->entries[r->n++] = (struct entry){.name = keep_text(r, file),
                                        .n_name = (uint16_t)file.n,
                                        .n_base = (uint16_t)name.base.n,
                                        .time = (uint32_t)name.time,
                                        .is_new = folder[0] == 'n'};
    return RC_OK;
}

static enum rc read_names(struct reading *r, const char *folder)
{
    const char *why;
    struct stat st;
    int fd;
    enum rc rc = open_below(r->s->top, path_of(r, folder, ""), true, &fd, &st, &why);
    if (rc == RC_NOTFOUND)
        return RC_OK;
    if (rc != RC_OK)
        return refuse(r, folder, "", why);
    DIR *dir = fdopendir(fd);
    struct dirent *e;
    if (!dir) {
        close(fd);
        return RC_TEMP;
    }
    while (rc == RC_OK && (e = readdir(dir)))
        rc = add_entry(r, folder, e);
    closedir(dir);
    return rc;
}

static int by_name(const void *a, const void *b, void *arg)
{
    const struct reading *r = arg;
    return str_cmp(base_of(r, a), base_of(r, b));
}

static int by_uid(const void *a, const void *b, void *arg)
{
    const struct entry *x = a, *y = b;
    uint32_t p = x->uid - 1, q = y->uid - 1; /* those without come last */
    if (p != q)
        return p < q ? -1 : 1;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return by_name(a, b, arg);
}

/* --- lists ------------------------------------------------------------------------------------ */

static struct entry *find(struct reading *r, struct str base)
{
    size_t from = 0, to = r->n;
    while (from < to) {
        size_t half = from + (to - from) / 2;
        if (str_cmp(base_of(r, &r->entries[half]), base) < 0)
            from = half + 1;
        else
            to = half;
    }
    return from < r->n && str_eq(base_of(r, &r->entries[from]), base) ? &r->entries[from] : NULL;
}

static void keep_courier_uidl(struct reading *r, struct entry *e, const struct maildir_list *list,
                              const struct maildir_listed *l)
{
    char text[40];
    uint32_t validity = l->uidvalidity ? l->uidvalidity : list->uidvalidity;
    snprintf(text, sizeof text, "UID%u-%u", l->uid, validity);
    e->uidl = keep_text(r, l->uid ? str_of(text) : l->base);
}

static void take_listed(struct reading *r, const struct maildir_list *list,
                        const struct maildir_listed *l, bool makes_uidl)
{
    struct entry *e = l->base.n ? find(r, l->base) : NULL;
    if (!e || r->n_text > NAMES_MAX) /* a list may name a file as often as it likes */
        return;
    if (l->is_courier_pop3) {
        keep_courier_uidl(r, e, list, l);
        return;
    }
    e->uid = l->uid;
    e->is_uidl_made = makes_uidl;
    if (l->uidl.n)
        e->uidl = keep_text(r, l->uidl);
}

/* Whether there is such a list. */
static bool read_list(struct reading *r, const char *file, enum maildir_list_kind kind,
                      bool makes_uidl)
{
    struct maildir_list list = {.kind = kind};
    struct maildir_listed listed;
    struct line_reader lines;
    struct str line;
    struct stat st;
    const char *why;
    int fd;
    bool is_told = false;
    if (open_below(r->s->top, path_of(r, "", file), false, &fd, &st, &why) != RC_OK)
        return false;
    lines_open(&lines, fd);
    while (lines_next(&lines, &line)) {
        if (maildir_list_line(&list, line, &listed) == RC_OK)
            take_listed(r, &list, &listed, makes_uidl);
        else if (!is_told)
            is_told = transfer_tell(r->s->sink, str_of(path_of(r, "", file)), false,
                                    STR("lines of it cannot be understood, and are passed over")) ==
                      RC_OK;
    }
    lines_close(&lines);
    if (kind == MAILDIR_LIST_NEW)
        r->uidvalidity = list.uidvalidity;
    return true;
}

static void read_keywords(struct reading *r)
{
    struct line_reader lines;
    struct str line, keyword;
    struct stat st;
    const char *why;
    unsigned letter;
    int fd;
    if (open_below(r->s->top, path_of(r, "", "dovecot-keywords"), false, &fd, &st, &why) != RC_OK)
        return;
    lines_open(&lines, fd);
    while (lines_next(&lines, &line))
        if (maildir_keyword_parse(line, &letter, &keyword) == RC_OK)
            r->keywords[letter] = arena_dup(&r->arena, str_head(keyword, STORE_KEYWORD_MAX + 1));
    lines_close(&lines);
}

/* --- messages --------------------------------------------------------------------------------- */

static uint64_t date_of(const struct stat *st, const struct entry *e)
{
    uint64_t time = st->st_mtim.tv_sec > 0 ? (uint64_t)st->st_mtim.tv_sec : 0;
    if (e->time && (e->time < time || !time))
        return (uint64_t)e->time * NS_PER_SEC;
    return time * NS_PER_SEC + (uint64_t)st->st_mtim.tv_nsec;
}

static size_t keywords_of(const struct reading *r, const struct maildir_name *name,
                          struct str out[MAILDIR_LETTERS + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < MAILDIR_LETTERS; i++)
        if (name->letters & 1U << i && r->keywords[i].n)
            out[n++] = r->keywords[i];
    if (name->is_forwarded)
        out[n++] = STR("$Forwarded");
    return n;
}

static enum rc put_uidl(struct reading *r, const struct entry *e, struct buf *out)
{
    if (r->f->path[0])
        return RC_OK; /* POP3 knows the INBOX alone */
    if (e->uidl)
        return buf_add(out, str_of(r->text + e->uidl));
    if (!e->is_uidl_made)
        return RC_OK;
    return maildir_uidl(r->s->form, e->uid, r->uidvalidity, base_of(r, e), out);
}

static enum rc give_file(struct reading *r, const struct entry *e, struct str origin, int fd,
                         const struct stat *st)
{
    struct str keywords[MAILDIR_LETTERS + 1];
    struct maildir_name name;
    struct buf uidl = {.cap = 4 * STORE_UIDL_MAX};
    enum rc rc = maildir_name_parse(str_from(r->text + e->name, e->n_name), &name);
    if (rc == RC_OK)
        rc = put_uidl(r, e, &uidl);
    const struct transfer_message m = {.label = str_of(r->path),
                                       .origin = origin,
                                       .received = date_of(st, e),
                                       .size = (uint64_t)st->st_size,
                                       .flags = name.flags,
                                       .keywords = keywords,
                                       .n_keywords = keywords_of(r, &name, keywords),
                                       .uidl = buf_str(&uidl),
                                       .uid = e->uid};
    if (rc == RC_OK)
        rc = transfer_begin(r->s->sink, r->folder, &m);
    if (rc == RC_OK)
        rc = pour_file(&r->s->pour, fd, r->s->sink);
    buf_fini(&uidl);
    return rc;
}

static enum rc give(struct reading *r, const struct entry *e)
{
    unsigned char origin[TRANSFER_ORIGIN];
    const struct str parts[] = {STR("maildir"), str_of(r->f->path), base_of(r, e)};
    const char *folder = e->is_new ? "new" : "cur", *name = r->text + e->name, *why;
    struct stat st;
    int fd;
    transfer_origin(parts, 3, origin);
    struct str key = str_from(origin, sizeof origin);
    if (transfer_has(r->s->sink, key)) {
        r->s->maildir->known++;
        return RC_OK;
    }
    if (open_below(r->s->top, path_of(r, folder, name), false, &fd, &st, &why) != RC_OK)
        return refuse(r, folder, name, why);
    enum rc rc = give_file(r, e, key, fd, &st);
    close(fd);
    return rc;
}

static enum rc read_folder(struct reading *r)
{
    TRY(read_names(r, "cur"));
    TRY(read_names(r, "new"));
    if (r->n)
        qsort_r(r->entries, r->n, sizeof *r->entries, by_name, r);
    if (!read_list(r, "dovecot-uidlist", MAILDIR_LIST_NEW, true)) {
        read_list(r, "courierimapuiddb", MAILDIR_LIST_NEW, false);
        if (!r->f->path[0])
            read_list(r, "courierpop3dsizelist", MAILDIR_LIST_SIZES, false);
    }
    read_keywords(r);
    if (r->n)
        qsort_r(r->entries, r->n, sizeof *r->entries, by_uid, r);
    for (size_t i = 0; i < r->n; i++)
        TRY(give(r, &r->entries[i]));
    return RC_OK;
}

enum rc maildir_pour_folder(struct maildir_source *s, const struct maildir_folder *f, unsigned n)
{
    struct reading r = {.s = s, .f = f, .folder = n};
    keep_text(&r, STR("")); /* so that nothing begins at 0 */
    enum rc rc = read_folder(&r);
    arena_fini(&r.arena);
    free(r.text);
    free(r.entries);
    return rc;
}
