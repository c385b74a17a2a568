/* One archive: a tar file in the pax format (libarchive), with all that an import needs to make the
 * same mailbox again.
 *
 *     penfold-archive              "1\n": the format's version
 *     folders/3                    "name=..." "role=..." "subscribed=yes" "uidvalidity=..."
 *     messages/3/12.eml            the bytes as they are; what is known of it is in the attribute
 *                                  user.penfold: "received=..." "flags=..." "uidl=..."
 * "keyword=..."
 *
 * Numbers of folders count from 0; a folder comes before its messages. Other tools see a tar file
 * with a file for each message. Who reads one believes nothing: names that are not of this form are
 * passed over, and nothing is ever written where a name says. */
#include "transfer/archive_int.h"

#include "base/mem.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOTES_MAX = 16 << 10, NEWEST = 1 };
static const char attribute[] = "user.penfold";

/* --- writing ---------------------------------------------------------------------------------- */

struct archive_sink {
    struct transfer_sink sink; /* first */
    struct out_target target;
    struct archive *archive;
    unsigned n_folders;
    uint64_t left, number, size;
    bool is_begun;
    bool has_failed;
};

static struct archive_sink *of(struct transfer_sink *sink)
{
    return CONTAINER(sink, struct archive_sink, sink);
}

static enum rc fail(struct archive_sink *s)
{
    s->has_failed = true;
    return out_complain(&s->target, "", archive_errno(s->archive));
}

static enum rc put_entry(struct archive_sink *s, const char *path, uint64_t size, uint64_t time,
                         struct str notes)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, path);
    archive_entry_set_size(e, (la_int64_t)size);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0600);
    archive_entry_set_mtime(e, (time_t)(time / NS_PER_SEC), (long)(time % NS_PER_SEC));
    if (notes.n)
        archive_entry_xattr_add_entry(e, attribute, notes.p, notes.n);
    int done = archive_write_header(s->archive, e);
    archive_entry_free(e);
    return done == ARCHIVE_OK ? RC_OK : fail(s);
}

static enum rc put_bytes(struct archive_sink *s, struct str bytes)
{
    if (!bytes.n)
        return RC_OK;
    la_ssize_t n = archive_write_data(s->archive, bytes.p, bytes.n);
    return n == (la_ssize_t)bytes.n ? RC_OK : fail(s);
}

static enum rc put_file(struct archive_sink *s, const char *path, struct str text)
{
    TRY(put_entry(s, path, text.n, 0, (struct str){0}));
    return put_bytes(s, text);
}

static enum rc folder(struct transfer_sink *sink, const struct transfer_folder *f, unsigned *out_n)
{
    struct archive_sink *s = of(sink);
    struct buf text = {.cap = NOTES_MAX};
    char path[32];
    *out_n = s->n_folders++;
    snprintf(path, sizeof path, "folders/%u", *out_n);
    archive_notes_of_folder(f, &text);
    enum rc rc = put_file(s, path, buf_str(&text));
    buf_fini(&text);
    s->sink.counts.folders += !f->is_name_alone;
    return rc;
}

static enum rc begin(struct transfer_sink *sink, unsigned n, const struct transfer_message *m)
{
    struct archive_sink *s = of(sink);
    struct buf notes = {.cap = NOTES_MAX};
    char path[64];
    if (n >= s->n_folders || s->is_begun)
        return RC_PERM;
    snprintf(path, sizeof path, "messages/%u/%llu.eml", n,
             (unsigned long long)(m->uid ? m->uid : ++s->number));
    archive_notes_of_message(m, &notes);
    enum rc rc = put_entry(s, path, m->size, m->received, buf_str(&notes));
    buf_fini(&notes);
    s->left = s->size = m->size;
    s->is_begun = true;
    return rc;
}

static enum rc bytes(struct transfer_sink *sink, struct str piece)
{
    struct archive_sink *s = of(sink);
    if (!s->is_begun || piece.n > s->left) /* its size stands in front of it */
        return RC_CORRUPT;
    s->left -= piece.n;
    return put_bytes(s, piece);
}

static enum rc end(struct transfer_sink *sink, struct str why)
{
    struct archive_sink *s = of(sink);
    s->is_begun = false;
    if (s->left || !str_is_null(why)) {
        sink_tell(sink, str_of(s->target.path), true,
                  str_is_null(why) ? STR("it is too short") : why);
        return RC_CORRUPT;
    }
    s->sink.counts.messages++;
    s->sink.counts.bytes += s->size;
    sink_moved(sink);
    return RC_OK;
}

static enum rc finish(struct transfer_sink *sink)
{
    struct archive_sink *s = of(sink);
    if (archive_write_close(s->archive) != ARCHIVE_OK)
        return fail(s);
    return out_publish(&s->target);
}

static void free_sink(struct transfer_sink *sink)
{
    struct archive_sink *s = of(sink);
    if (s->archive && s->target.is_published)
        archive_write_free(s->archive);
    else if (s->archive) {
        archive_write_fail(s->archive); /* no end is written to what is not whole */
        archive_write_free(s->archive);
    }
    out_close(&s->target);
    free(s);
}

static enum rc begin_archive(struct archive_sink *s, struct str path)
{
    s->archive = archive_write_new();
    archive_write_set_format_pax(s->archive);
    if (str_ends(path, STR(".gz")) || str_ends(path, STR(".tgz")))
        archive_write_add_filter_gzip(s->archive);
    else if (str_ends(path, STR(".zst")))
        archive_write_add_filter_zstd(s->archive);
    archive_write_set_bytes_in_last_block(s->archive, 1);
    if (archive_write_open_fd(s->archive, s->target.fd) != ARCHIVE_OK)
        return fail(s);
    return put_file(s, ARCHIVE_MARK, STR("1\n"));
}

enum rc transfer_to_archive(const char *path, struct transfer_watch *watch,
                            struct transfer_sink **out)
{
    static const struct transfer_sink_calls calls = {.folder = folder,
                                                     .begin = begin,
                                                     .bytes = bytes,
                                                     .end = end,
                                                     .finish = finish,
                                                     .free = free_sink};
    struct archive_sink *s = mem_zero(sizeof *s);
    s->sink = (struct transfer_sink){.calls = &calls, .watch = watch};
    enum rc rc = out_open_file(&s->target, &s->sink, path);
    if (rc == RC_OK)
        rc = begin_archive(s, str_of(path));
    *out = rc == RC_OK ? &s->sink : NULL;
    if (rc != RC_OK)
        free_sink(&s->sink);
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reading {
    struct transfer_archive *a;
    struct transfer_sink *sink;
    struct archive *archive;
    unsigned numbers[TRANSFER_FOLDERS]; /* of the archive's folders in the sink */
    uint32_t validities[TRANSFER_FOLDERS];
    unsigned char names[TRANSFER_FOLDERS][TRANSFER_ORIGIN]; /* digests */
    unsigned n_folders;
    bool has_mark;
    char page[64 << 10];
    struct arena arena;
};

/* A small file, whole. RC_LIMIT: it is none. */
static enum rc read_text(struct reading *r, struct str *out)
{
    la_ssize_t n = 0;
    size_t at = 0;
    while (at < NOTES_MAX && (n = archive_read_data(r->archive, r->page + at, NOTES_MAX - at)) > 0)
        at += (size_t)n;
    *out = str_from(r->page, at);
    return n < 0 ? RC_CORRUPT : at == NOTES_MAX ? RC_LIMIT : RC_OK;
}

static enum rc read_folder(struct reading *r, struct str path)
{
    struct transfer_folder f;
    struct str text;
    TRY(read_text(r, &text));
    if (r->n_folders == TRANSFER_FOLDERS || archive_read_folder(text, &f) != RC_OK)
        return transfer_tell(r->sink, path, true, STR("it says nothing of a folder"));
    transfer_origin(&f.name, 1, r->names[r->n_folders]);
    r->validities[r->n_folders] = f.uidvalidity;
    return transfer_folder(r->sink, &f, &r->numbers[r->n_folders++]);
}

static struct str notes_of(struct archive_entry *e)
{
    const char *name;
    const void *value;
    size_t n;
    archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &name, &value, &n) == ARCHIVE_OK)
        if (strcmp(name, attribute) == 0)
            return str_from(value, n < NOTES_MAX ? n : 0);
    return STR("");
}

static enum rc pour(struct reading *r, unsigned folder, const struct transfer_message *m)
{
    la_ssize_t n;
    TRY(transfer_begin(r->sink, folder, m));
    while ((n = archive_read_data(r->archive, r->page, sizeof r->page)) > 0)
        TRY(transfer_bytes(r->sink, str_from(r->page, (size_t)n)));
    if (n == 0)
        return transfer_end(r->sink);
    TRY(transfer_give_up(r->sink, STR("the archive is damaged here")));
    return RC_CORRUPT;
}

static enum rc read_message(struct reading *r, struct archive_entry *e, struct str path,
                            unsigned folder)
{
    unsigned char origin[TRANSFER_ORIGIN];
    struct transfer_message m = {.label = path,
                                 .received = (uint64_t)archive_entry_mtime(e) * NS_PER_SEC +
                                             (uint64_t)archive_entry_mtime_nsec(e)};
    arena_reset(&r->arena);
    if (archive_read_message(notes_of(e), &r->arena, &m) != RC_OK)
        return transfer_tell(r->sink, path, true, STR("what should be known of it cannot be read"));
    m.size = archive_entry_size(e) > 0 ? (uint64_t)archive_entry_size(e) : 0;
    const struct str parts[] = {STR("archive"), str_from(r->names[folder], TRANSFER_ORIGIN),
                                str_from((const char *)&r->validities[folder], 4),
                                str_sub(path, 9, path.n)};
    transfer_origin(parts, 4, origin);
    m.origin = str_from(origin, sizeof origin);
    if (transfer_has(r->sink, m.origin)) {
        r->a->known++;
        return RC_OK;
    }
    return pour(r, r->numbers[folder], &m);
}

static enum rc read_entry(struct reading *r, struct archive_entry *e)
{
    const char *name = archive_entry_pathname(e);
    struct str path = str_of(name), rest = path, word;
    uint64_t folder;
    if (!name || archive_entry_filetype(e) != AE_IFREG)
        return RC_OK;
    if (str_eq(path, STR(ARCHIVE_MARK))) {
        TRY(read_text(r, &rest));
        r->has_mark = str_eq(rest, STR("1\n"));
        return r->has_mark ? RC_OK : RC_NOTFOUND;
    }
    if (!r->has_mark)
        return RC_NOTFOUND;
    if (str_starts(path, STR("folders/")))
        return read_folder(r, path);
    if (!str_cut(&rest, '/', &word) || !str_eq(word, STR("messages")) ||
        !str_cut(&rest, '/', &word) || str_to_u64(word, &folder) != RC_OK || folder >= r->n_folders)
        return transfer_tell(r->sink, path, true, STR("it is no message of a folder"));
    return read_message(r, e, path, (unsigned)folder);
}

static enum rc read_all(struct reading *r)
{
    struct archive_entry *e;
    int got;
    while ((got = archive_read_next_header(r->archive, &e)) == ARCHIVE_OK || got == ARCHIVE_WARN)
        TRY(read_entry(r, e));
    if (got == ARCHIVE_EOF)
        return r->has_mark ? RC_OK : RC_NOTFOUND;
    if (!r->has_mark)
        return RC_NOTFOUND;
    return RC_CORRUPT;
}

enum rc transfer_from_archive(struct transfer_archive *a, struct transfer_sink *sink)
{
    int fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return rc_from_errno(errno);
    struct reading *r = mem_zero(sizeof *r);
    r->a = a;
    r->sink = sink;
    r->archive = archive_read_new();
    archive_read_support_format_tar(r->archive);
    archive_read_support_filter_gzip(r->archive);
    archive_read_support_filter_zstd(r->archive);
    enum rc rc =
        archive_read_open_fd(r->archive, fd, 64 << 10) == ARCHIVE_OK ? read_all(r) : RC_NOTFOUND;
    if (rc == RC_CORRUPT)
        rc = transfer_tell(
            sink, str_of(a->path), true,
            STR("the archive is damaged, or was cut short: what comes behind is lost"));
    archive_read_free(r->archive);
    arena_fini(&r->arena);
    close(fd);
    free(r);
    return rc;
}
