/* mbox files as a sink: a folder with a file for each mailbox, mboxrd, LF at the ends of lines.
 *
 * Children of "Lists" are in "Lists.sbd", as Thunderbird has them. Flags, keywords and POP3's
 * unique-ids are in Status, X-Status, X-Keywords and X-UIDL, where mutt and Dovecot look for them.
 */
#include "transfer/mbox_int.h"
#include "transfer/out_int.h"

#include "base/mem.h"
#include "base/utf7.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HOLD = 8 << 10, PAGE = 64 << 10 };

struct mbox_sink {
    struct transfer_sink sink; /* first */
    struct out_target target;
    char **paths;                    /* of folders; NULL: it could not be made */
    size_t n_paths, max_paths, open; /* number of the folder whose file is open, + 1 */
    int fd;
    bool is_begun;    /* a message */
    bool is_start;    /* the next byte begins a line */
    struct buf start; /* of a line, until it is known whether it is to be quoted */
    struct buf out;
    bool was_cr;
    uint64_t size, before; /* of the file, when the message began */
};

static struct mbox_sink *of(struct transfer_sink *sink)
{
    return CONTAINER(sink, struct mbox_sink, sink);
}

/* --- folders ---------------------------------------------------------------------------------- */

static bool put_level(struct str level, struct buf *out)
{
    size_t before = buf_len(out);
    bool is_fine = utf7_encode(level, out) == RC_OK && level.n && level.p[0] != '.' &&
                   buf_len(out) - before + sizeof ".sbd" <= NAME_MAX;
    return is_fine;
}

/* With the folders on the way, and a NUL. */
static enum rc make_path(struct mbox_sink *s, struct str name, struct buf *out)
{
    struct str level;
    if (str_ieq(name, STR("INBOX")))
        name = STR("INBOX");
    while (str_cut(&name, '/', &level)) {
        if (!put_level(level, out))
            return RC_SYNTAX;
        if (str_is_null(name))
            break;
        buf_put(out, STR(".sbd"));
        TRY(buf_add_byte(out, 0));
        if (mkdirat(s->target.fd, buf_str(out).p, 0700) != 0 && errno != EEXIST)
            return out_complain(&s->target, buf_str(out).p, errno);
        buf_truncate(out, buf_len(out) - 1);
        buf_put(out, STR("/"));
    }
    return buf_add_byte(out, 0);
}

static enum rc open_file(struct mbox_sink *s, size_t n)
{
    if (s->open == n + 1)
        return RC_OK;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = openat(s->target.fd, s->paths[n], O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    s->open = s->fd >= 0 ? n + 1 : 0;
    if (s->fd < 0)
        return out_complain(&s->target, s->paths[n], errno);
    off_t size = lseek(s->fd, 0, SEEK_END);
    s->size = size > 0 ? (uint64_t)size : 0;
    return RC_OK;
}

static enum rc folder(struct transfer_sink *sink, const struct transfer_folder *f, unsigned *out_n)
{
    struct mbox_sink *s = of(sink);
    struct buf path = {.cap = PATH_MAX};
    s->paths = mem_array(s->paths, &s->max_paths, s->n_paths + 1, sizeof *s->paths);
    s->paths[s->n_paths] = NULL;
    *out_n = (unsigned)s->n_paths++;
    enum rc rc = f->is_name_alone ? RC_EOF : make_path(s, f->name, &path);
    if (rc == RC_OK) {
        s->paths[*out_n] = mem_dup(buf_str(&path).p, buf_len(&path));
        rc = open_file(s, *out_n);
        s->sink.counts.folders++;
    }
    buf_fini(&path);
    if (rc != RC_SYNTAX && rc != RC_LIMIT)
        return rc == RC_EOF ? RC_OK : rc;
    sink_tell(sink, f->name, true, STR("no file can have its name"));
    return RC_OK;
}

/* --- messages --------------------------------------------------------------------------------- */

static void put_head(struct mbox_sink *s, const struct transfer_message *m)
{
    struct buf *out = &s->out;
    time_t at = (time_t)(m->received / NS_PER_SEC);
    struct tm tm;
    char date[64];
    if (!gmtime_r(&at, &tm) || !strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm))
        snprintf(date, sizeof date, "Thu Jan  1 00:00:00 1970");
    buf_putf(out, "From MAILER-DAEMON %s\n", date);
    buf_putf(out, "Status: %sO\n", m->flags & STORE_SEEN ? "R" : "");
    if (m->flags & ~(uint32_t)STORE_SEEN)
        buf_putf(out, "X-Status: %s%s%s%s\n", m->flags & STORE_ANSWERED ? "A" : "",
                 m->flags & STORE_FLAGGED ? "F" : "", m->flags & STORE_DELETED ? "D" : "",
                 m->flags & STORE_DRAFT ? "T" : "");
    for (size_t i = 0; i < m->n_keywords; i++)
        buf_putf(out, "%s%.*s%s", i ? " " : "X-Keywords: ", STR_ARG(m->keywords[i]),
                 i + 1 < m->n_keywords ? "" : "\n");
    if (m->uidl.n)
        buf_putf(out, "X-UIDL: %.*s\n", STR_ARG(m->uidl));
}

static enum rc begin(struct transfer_sink *sink, unsigned n, const struct transfer_message *m)
{
    struct mbox_sink *s = of(sink);
    if (n >= s->n_paths || s->is_begun)
        return RC_PERM;
    if (!s->paths[n]) {
        sink_tell(sink, m->label, true, STR("its folder could not be made"));
        return RC_OK;
    }
    TRY(open_file(s, n));
    s->is_begun = s->is_start = true;
    s->was_cr = false;
    s->before = s->size;
    buf_clear(&s->out);
    buf_clear(&s->start);
    put_head(s, m);
    return RC_OK;
}

static enum rc flush(struct mbox_sink *s)
{
    enum rc rc = out_write(&s->target, s->fd, buf_str(&s->out), s->paths[s->open - 1]);
    s->size += buf_len(&s->out);
    buf_clear(&s->out);
    return rc;
}

/* Whether a line that begins so may still turn out to be one that is quoted. */
static bool is_undecided(struct str start)
{
    size_t n = 0;
    while (n < start.n && start.p[n] == '>')
        n++;
    struct str rest = str_skip(start, n);
    return rest.n < 5 && str_starts(STR("From "), rest);
}

static void end_start(struct mbox_sink *s)
{
    if (mbox_needs_quote(buf_str(&s->start)))
        buf_put(&s->out, STR(">"));
    buf_put(&s->out, buf_str(&s->start));
    buf_clear(&s->start);
    s->is_start = false;
}

static void put_lines(struct mbox_sink *s, struct str text)
{
    while (text.n) {
        if (s->is_start) {
            char c = text.p[0];
            buf_put(&s->start, str_head(text, 1));
            text = str_skip(text, 1);
            if (c == '\n' || !is_undecided(buf_str(&s->start)) || buf_len(&s->start) == HOLD)
                end_start(s);
            s->is_start = s->is_start || c == '\n';
            continue;
        }
        ptrdiff_t lf = str_find_byte(text, '\n');
        size_t n = lf < 0 ? text.n : (size_t)lf + 1;
        buf_put(&s->out, str_head(text, n));
        text = str_skip(text, n);
        s->is_start = lf >= 0;
    }
}

static enum rc bytes(struct transfer_sink *sink, struct str piece)
{
    struct mbox_sink *s = of(sink);
    struct buf lf = {.cap = 2 * PAGE};
    enum rc rc = RC_OK;
    for (; s->is_begun && rc == RC_OK && piece.n; piece = str_skip(piece, PAGE)) {
        out_lf(&s->was_cr, str_head(piece, PAGE), &lf);
        put_lines(s, buf_str(&lf));
        buf_clear(&lf);
        if (buf_len(&s->out) > PAGE)
            rc = flush(s);
    }
    buf_fini(&lf);
    return rc;
}

/* What was begun is taken out of the file again. */
static enum rc take_back(struct mbox_sink *s, struct str why)
{
    sink_tell(&s->sink, str_of(s->paths[s->open - 1]), true, why);
    s->size = s->before;
    bool is_cut =
        ftruncate(s->fd, (off_t)s->before) == 0 && lseek(s->fd, (off_t)s->before, SEEK_SET) >= 0;
    return is_cut ? RC_OK : RC_TEMP;
}

static enum rc end(struct transfer_sink *sink, struct str why)
{
    struct mbox_sink *s = of(sink);
    if (!s->is_begun)
        return RC_OK;
    s->is_begun = false;
    if (!str_is_null(why))
        return take_back(s, why);
    if (s->was_cr)
        put_lines(s, STR("\r"));
    if (buf_len(&s->start))
        end_start(s);
    if (!s->is_start) /* the last line has no end of its own */
        buf_put(&s->out, STR("\n"));
    buf_put(&s->out, STR("\n"));
    TRY(flush(s));
    s->sink.counts.messages++;
    s->sink.counts.bytes += s->size - s->before;
    sink_moved(sink);
    return RC_OK;
}

static enum rc finish(struct transfer_sink *sink)
{
    return out_publish(&of(sink)->target);
}

static void free_sink(struct transfer_sink *sink)
{
    struct mbox_sink *s = of(sink);
    for (size_t i = 0; i < s->n_paths; i++)
        free(s->paths[i]);
    free(s->paths);
    if (s->fd >= 0)
        close(s->fd);
    buf_fini(&s->start);
    buf_fini(&s->out);
    out_close(&s->target);
    free(s);
}

enum rc transfer_to_mbox(const char *path, struct transfer_watch *watch, struct transfer_sink **out)
{
    static const struct transfer_sink_calls calls = {.folder = folder,
                                                     .begin = begin,
                                                     .bytes = bytes,
                                                     .end = end,
                                                     .finish = finish,
                                                     .free = free_sink};
    struct mbox_sink *s = mem_zero(sizeof *s);
    s->sink = (struct transfer_sink){.calls = &calls, .watch = watch};
    s->fd = -1;
    buf_init(&s->start, HOLD);
    buf_init(&s->out, 512 << 10);
    enum rc rc = out_open_folder(&s->target, &s->sink, path);
    *out = rc == RC_OK ? &s->sink : NULL;
    if (rc != RC_OK)
        free_sink(&s->sink);
    return rc;
}
