/* A Maildir as a sink: Maildir++, with what Dovecot keeps beside the messages (dovecot-uidlist with
 * UIDs and unique-ids, dovecot-keywords, subscriptions) and dovecot-specialuse, so that Dovecot
 * serves it as it is and an import of it gives the same mailbox.
 *
 * Bodies have LF at the ends of lines, as Dovecot writes them. A dot within a level of a name,
 * which parts levels here, is "\2e", as Dovecot's listescape has it.
 *
 * Invariant: all is made in a folder of another name, which gets its own one when everything is on
 * the disk (out_files.c). */
#include "transfer/out_int.h"

#include "base/mem.h"
#include "base/utf7.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LETTERS = 26, NEXT_UID_DIGITS = 10 };

struct folder {
    char *path; /* below the Maildir; "" is the INBOX; malloc'd */
    char *keywords[LETTERS];
    size_t n_keywords;
    uint32_t uidvalidity, uidnext;
    bool is_told; /* that it has more keywords than letters */
};

struct maildir_sink {
    struct transfer_sink sink; /* first */
    struct out_target target;
    struct folder *folders;
    size_t n_folders, max_folders;
    size_t listed; /* folder whose list is open, + 1 */
    FILE *list, *subscriptions;
    uint64_t number;

    /* The message under way. */
    struct folder *folder;
    int fd; /* -1: none */
    char name[NAME_MAX], flags[64];
    uint64_t received, size, wire_size;
    struct buf lf;
    bool was_cr;
    struct str uidl;
    uint32_t uid;
    char uidl_text[STORE_UIDL_MAX + 1];
};

static struct maildir_sink *of(struct transfer_sink *sink)
{
    return CONTAINER(sink, struct maildir_sink, sink);
}

/* --- folders ---------------------------------------------------------------------------------- */

static bool put_level(struct str level, struct buf *out)
{
    struct buf text = {.cap = 4 * STORE_NAME_MAX};
    bool is_fine = utf7_encode(level, &text) == RC_OK;
    for (struct str s = buf_str(&text); s.n; s = str_skip(s, 1))
        buf_put(out, s.p[0] == '.' ? STR("\\2e") : str_head(s, 1));
    buf_fini(&text);
    return is_fine;
}

/* With a NUL. RC_LIMIT: no file can have that name. */
static enum rc path_of(struct str name, struct buf *out)
{
    struct str level;
    if (!str_ieq(name, STR("INBOX")))
        while (str_cut(&name, '/', &level)) {
            buf_put(out, STR("."));
            if (!put_level(level, out))
                return RC_SYNTAX;
        }
    if (buf_len(out) > NAME_MAX)
        return RC_LIMIT;
    return buf_add_byte(out, 0);
}

static enum rc make_folders(struct maildir_sink *s, const char *path)
{
    static const char *const parts[] = {"", "/cur", "/new", "/tmp"};
    char text[PATH_MAX];
    for (size_t i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "%s%s", path[0] ? path : ".", parts[i]);
        if (mkdirat(s->target.fd, text, 0700) != 0 && errno != EEXIST)
            return out_complain(&s->target, text, errno);
    }
    return RC_OK;
}

static FILE *make_file(struct maildir_sink *s, const char *folder, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s%s", folder, folder[0] ? "/" : "", name);
    int fd = openat(s->target.fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file)
        (void)out_complain(&s->target, path, errno); /* NULL says it */
    if (!file && fd >= 0)
        close(fd);
    return file;
}

/* What was buffered may not have been written before. */
static enum rc end_file(struct maildir_sink *s, FILE **file, const char *what)
{
    FILE *f = *file;
    *file = NULL;
    if (!f)
        return RC_OK;
    bool is_bad = ferror(f) != 0;
    if (fclose(f) != 0 || is_bad)
        return out_complain(&s->target, what, errno);
    return RC_OK;
}

static enum rc put_role(struct maildir_sink *s, const char *path, enum store_role role)
{
    const char *use = out_role(role);
    FILE *file = use ? make_file(s, path, "dovecot-specialuse") : NULL;
    if (!use)
        return RC_OK;
    if (!file)
        return RC_TEMP;
    fprintf(file, "%s\n", use);
    return end_file(s, &file, "dovecot-specialuse");
}

static enum rc subscribe(struct maildir_sink *s, const char *path)
{
    if (!s->subscriptions)
        s->subscriptions = make_file(s, "", "subscriptions");
    if (!s->subscriptions)
        return RC_TEMP;
    fprintf(s->subscriptions, "%s\n", path[0] ? path + 1 : "INBOX");
    return RC_OK;
}

static enum rc add_folder(struct maildir_sink *s, const struct transfer_folder *f, const char *path)
{
    TRY(make_folders(s, path));
    if (path[0]) {
        FILE *mark = make_file(s, path, "maildirfolder");
        TRY(mark ? end_file(s, &mark, "maildirfolder") : RC_TEMP);
        TRY(put_role(s, path, f->role));
    }
    s->folders[s->n_folders - 1].uidvalidity = f->uidvalidity;
    return RC_OK;
}

static enum rc folder(struct transfer_sink *sink, const struct transfer_folder *f, unsigned *out_n)
{
    struct maildir_sink *s = of(sink);
    struct buf path = {.cap = STORE_LEVELS * 4 * STORE_NAME_MAX};
    s->folders = mem_array(s->folders, &s->max_folders, s->n_folders + 1, sizeof *s->folders);
    s->folders[s->n_folders] = (struct folder){.uidnext = 1};
    *out_n = (unsigned)s->n_folders++;
    enum rc rc = path_of(f->name, &path);
    const char *text = buf_str(&path).p;
    if (rc != RC_OK) {
        sink_tell(sink, f->name, true, STR("no file can have its name"));
        rc = RC_OK;
    } else {
        if (!f->is_name_alone)
            s->folders[s->n_folders - 1].path = mem_dup(text, strlen(text));
        if (!f->is_name_alone)
            rc = add_folder(s, f, text);
        if (rc == RC_OK && f->is_subscribed)
            rc = subscribe(s, text);
        s->sink.counts.folders += !f->is_name_alone;
    }
    buf_fini(&path);
    return rc;
}

/* --- the list of UIDs ------------------------------------------------------------------------- */

static enum rc close_list(struct maildir_sink *s)
{
    char text[32];
    if (!s->listed)
        return RC_OK;
    const struct folder *f = &s->folders[s->listed - 1];
    int n = snprintf(text, sizeof text, "3 V%010u N%0*u\n", f->uidvalidity, NEXT_UID_DIGITS,
                     f->uidnext);
    if (s->list && (fflush(s->list) != 0 || pwrite(fileno(s->list), text, (size_t)n, 0) != n))
        return out_complain(&s->target, "dovecot-uidlist", errno);
    s->listed = 0;
    return end_file(s, &s->list, "dovecot-uidlist");
}

static enum rc list(struct maildir_sink *s, const char *base)
{
    size_t number = (size_t)(s->folder - s->folders) + 1;
    if (!s->uid || !s->folder->uidvalidity || s->uid < s->folder->uidnext)
        return RC_OK;
    if (s->listed != number) {
        TRY(close_list(s));
        s->list = make_file(s, s->folder->path, "dovecot-uidlist");
        if (!s->list)
            return RC_TEMP;
        fprintf(s->list, "3 V%010u N%0*u\n", s->folder->uidvalidity, NEXT_UID_DIGITS, 0U);
        s->listed = number;
    }
    fprintf(s->list, "%u %s%s%s:%s\n", s->uid, s->uidl_text[0] ? "P" : "", s->uidl_text,
            s->uidl_text[0] ? " " : "", base);
    s->folder->uidnext = s->uid + 1;
    return RC_OK;
}

static enum rc put_keywords(struct maildir_sink *s, const struct folder *f)
{
    FILE *file = f->n_keywords ? make_file(s, f->path, "dovecot-keywords") : NULL;
    if (!f->n_keywords)
        return RC_OK;
    if (!file)
        return RC_TEMP;
    for (size_t i = 0; i < f->n_keywords; i++)
        fprintf(file, "%zu %s\n", i, f->keywords[i]);
    return end_file(s, &file, "dovecot-keywords");
}

/* --- messages --------------------------------------------------------------------------------- */

/* 0: there is none left. */
static char letter_of(struct maildir_sink *s, struct str keyword, struct str label)
{
    struct folder *f = s->folder;
    for (size_t i = 0; i < f->n_keywords; i++)
        if (str_eq(str_of(f->keywords[i]), keyword))
            return (char)('a' + i);
    if (f->n_keywords < LETTERS) {
        f->keywords[f->n_keywords] = mem_dup(keyword.p, keyword.n);
        return (char)('a' + f->n_keywords++);
    }
    if (!f->is_told)
        sink_tell(&s->sink, label, false,
                  STR("a Maildir's folder has room for 26 keywords: others are left out"));
    f->is_told = true;
    return 0;
}

static int compare_letters(const void *a, const void *b)
{
    return *(const char *)a - *(const char *)b;
}

static void put_flags(struct maildir_sink *s, const struct transfer_message *m)
{
    static const struct {
        char letter;
        uint32_t flag;
    } flags[] = {{'D', STORE_DRAFT},
                 {'F', STORE_FLAGGED},
                 {'R', STORE_ANSWERED},
                 {'S', STORE_SEEN},
                 {'T', STORE_DELETED}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (m->flags & flags[i].flag)
            s->flags[n++] = flags[i].letter;
    for (size_t i = 0; i < m->n_keywords && n < sizeof s->flags - 1; i++) {
        char letter = str_ieq(m->keywords[i], STR("$Forwarded"))
                          ? 'P'
                          : letter_of(s, m->keywords[i], m->label);
        if (letter)
            s->flags[n++] = letter;
    }
    qsort(s->flags, n, 1, compare_letters);
    s->flags[n] = 0;
}

static enum rc begin(struct transfer_sink *sink, unsigned n, const struct transfer_message *m)
{
    struct maildir_sink *s = of(sink);
    char path[PATH_MAX];
    if (n >= s->n_folders || s->fd >= 0)
        return RC_PERM;
    s->folder = &s->folders[n];
    if (!s->folder->path) {
        sink_tell(sink, m->label, true, STR("its folder could not be made"));
        return RC_OK;
    }
    s->received = m->received;
    s->size = s->wire_size = 0;
    s->was_cr = false;
    s->uid = m->uid;
    snprintf(s->uidl_text, sizeof s->uidl_text, "%.*s", STR_ARG(m->uidl));
    put_flags(s, m);
    snprintf(s->name, sizeof s->name, "%llu.M%06lluQ%llu.penfold",
             (unsigned long long)(m->received / NS_PER_SEC),
             (unsigned long long)(m->received % NS_PER_SEC / 1000),
             (unsigned long long)++s->number);
    snprintf(path, sizeof path, "%s%stmp/%s", s->folder->path, s->folder->path[0] ? "/" : "",
             s->name);
    s->fd = openat(s->target.fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return s->fd >= 0 ? RC_OK : out_complain(&s->target, path, errno);
}

static enum rc flush(struct maildir_sink *s)
{
    enum rc rc = out_write(&s->target, s->fd, buf_str(&s->lf), s->name);
    s->size += buf_len(&s->lf);
    buf_clear(&s->lf);
    return rc;
}

static enum rc bytes(struct transfer_sink *sink, struct str piece)
{
    struct maildir_sink *s = of(sink);
    if (s->fd < 0)
        return RC_OK;
    s->wire_size += piece.n;
    while (piece.n) {
        struct str part = str_head(piece, 64 << 10);
        piece = str_skip(piece, part.n);
        out_lf(&s->was_cr, part, &s->lf);
        if (buf_len(&s->lf) > 64 << 10)
            TRY(flush(s));
    }
    return RC_OK;
}

static enum rc set_date(const struct maildir_sink *s)
{
    const struct timespec at = {.tv_sec = (time_t)(s->received / NS_PER_SEC),
                                .tv_nsec = (long)(s->received % NS_PER_SEC)};
    const struct timespec both[] = {at, at};
    return futimens(s->fd, both) == 0 ? RC_OK : rc_from_errno(errno);
}

static enum rc end(struct transfer_sink *sink, struct str why)
{
    struct maildir_sink *s = of(sink);
    char from[PATH_MAX], to[PATH_MAX], base[NAME_MAX + 64];
    if (s->fd < 0)
        return RC_OK;
    if (s->was_cr)
        buf_put(&s->lf, STR("\r"));
    enum rc rc = flush(s);
    if (rc == RC_OK)
        rc = set_date(s);
    const char *path = s->folder->path, *slash = path[0] ? "/" : "";
    snprintf(base, sizeof base, "%s,S=%llu,W=%llu", s->name, (unsigned long long)s->size,
             (unsigned long long)s->wire_size);
    snprintf(from, sizeof from, "%s%stmp/%s", path, slash, s->name);
    snprintf(to, sizeof to, "%s%scur/%s:2,%s", path, slash, base, s->flags);
    close(s->fd);
    s->fd = -1;
    if (rc != RC_OK)
        return rc;
    if (!str_is_null(why)) {
        sink_tell(sink, str_of(to), true, why);
        return unlinkat(s->target.fd, from, 0) == 0 ? RC_OK : RC_TEMP;
    }
    if (renameat(s->target.fd, from, s->target.fd, to) != 0)
        return out_complain(&s->target, to, errno);
    s->sink.counts.messages++;
    s->sink.counts.bytes += s->wire_size;
    sink_moved(sink);
    return list(s, base);
}

/* --- the end ---------------------------------------------------------------------------------- */

static enum rc finish(struct transfer_sink *sink)
{
    struct maildir_sink *s = of(sink);
    TRY(close_list(s));
    for (size_t i = 0; i < s->n_folders; i++)
        TRY(put_keywords(s, &s->folders[i]));
    TRY(end_file(s, &s->subscriptions, "subscriptions"));
    return out_publish(&s->target);
}

static void free_sink(struct transfer_sink *sink)
{
    struct maildir_sink *s = of(sink);
    for (size_t i = 0; i < s->n_folders; i++) {
        free(s->folders[i].path);
        for (size_t k = 0; k < s->folders[i].n_keywords; k++)
            free(s->folders[i].keywords[k]);
    }
    free(s->folders);
    if (s->fd >= 0)
        close(s->fd);
    if (s->list)
        fclose(s->list);
    if (s->subscriptions)
        fclose(s->subscriptions);
    buf_fini(&s->lf);
    out_close(&s->target);
    free(s);
}

enum rc transfer_to_maildir(const char *path, struct transfer_watch *watch,
                            struct transfer_sink **out)
{
    static const struct transfer_sink_calls calls = {.folder = folder,
                                                     .begin = begin,
                                                     .bytes = bytes,
                                                     .end = end,
                                                     .finish = finish,
                                                     .free = free_sink};
    struct maildir_sink *s = mem_zero(sizeof *s);
    s->sink = (struct transfer_sink){.calls = &calls, .watch = watch};
    s->fd = -1;
    buf_init(&s->lf, 256 << 10);
    enum rc rc = out_open_folder(&s->target, &s->sink, path);
    *out = rc == RC_OK ? &s->sink : NULL;
    if (rc != RC_OK)
        free_sink(&s->sink);
    return rc;
}
