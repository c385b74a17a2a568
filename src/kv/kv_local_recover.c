/* Opening: which segments there are, the last commit, and whether acknowledged commits are missing.
 *
 * R1. The records of group N + 1 are written only after the batch of group N was synced. So, with C
 * the number of the last batch that RocksDB has: a record of group C + 1 behind a segment's end is
 * the remains of a commit that nobody was told of; a record of group C + 2 or later proves that
 * batches are missing. That is logged and makes the generation grow. R2. The generation grows too,
 * once, when the folder is a copy made by a backup. It never repeats: it is at least the time in
 * seconds, because one backup may be restored twice. R3. Only what lies behind the end of a segment
 * is read, so opening does not depend on how much is stored. R4. Before the files are looked at,
 * records that a power cut may have taken are written again (kv_local_redo.c). */
#include "kv/kv_local_int.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "kv/kv_local_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIM_SLACK = 64 << 10, STAT_BLOCK = 512 };

struct found {
    uint32_t number;
    bool has_row, has_file;
    struct segment_state state;
};

struct recovery {
    struct local *local;
    struct found *found;
    size_t n, capacity;
    uint64_t last_seen; /* largest number of a group in a record */
};

static struct found *found_get(struct recovery *r, uint32_t number)
{
    for (size_t i = r->n; i-- > 0;)
        if (r->found[i].number == number)
            return &r->found[i];
    r->found = mem_array(r->found, &r->capacity, r->n + 1, sizeof *r->found);
    r->found[r->n] = (struct found){.number = number};
    return &r->found[r->n++];
}

static enum rc read_number(struct local *l, char which, uint64_t *out)
{
    struct row_key key;
    local_key_store(&key, which);
    struct arena arena = {0};
    struct str value;
    enum rc rc = local_rocks_get(l->rocks, ROCKS_META, row_key_str(&key), false, &arena, &value);
    if (rc == RC_OK)
        rc = local_row_number_parse(value, out);
    arena_fini(&arena);
    return rc == RC_NOTFOUND ? RC_OK : rc;
}

static enum rc read_segment_rows(struct recovery *r)
{
    struct rocks_iter *it;
    TRY(local_rocks_iter_open(r->local->rocks, ROCKS_META, STR("s"), STR("t"), ROCKS_ONCE, &it));
    struct str key, value;
    enum rc rc;
    while ((rc = local_rocks_iter_next(it, &key, &value)) == RC_OK) {
        struct found f = {.has_row = true};
        rc = key.n == 5 ? local_row_segment_parse(value, &f.state) : RC_CORRUPT;
        if (rc != RC_OK)
            break;
        f.number = get_u32(key.p + 1);
        r->found = mem_array(r->found, &r->capacity, r->n + 1, sizeof *r->found);
        r->found[r->n++] = f;
    }
    local_rocks_iter_close(&it);
    return rc == RC_EOF ? RC_OK : rc;
}

static void log_segment(struct local *l, const char *event, uint32_t number)
{
    char name[SEGMENT_NAME];
    local_segment_name(name, number);
    log_event(l->ctx.log, LOG_ERROR, event, "segment", name, NULL);
}

/* Records behind the end: their group numbers. */
static enum rc scan_tail(struct recovery *r, int fd, uint64_t from, uint64_t to)
{
    struct record record;
    uint64_t at;
    enum rc rc;
    for (; (rc = local_segment_next(fd, from, to, false, &record, &at)) == RC_OK;
         from = at + kv_record_bytes(record.size))
        if (record.commit > r->last_seen)
            r->last_seen = record.commit;
    return rc == RC_EOF ? RC_OK : rc;
}

static enum rc look_at_file(struct recovery *r, const char *name, struct found *f)
{
    struct local *l = r->local;
    struct stat st;
    int fd = openat(l->segments.dir, name, (l->conf.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0)
        return rc_from_errno(errno);
    enum rc rc = fstat(fd, &st) == 0 ? RC_OK : rc_from_errno(errno);
    uint64_t size = rc == RC_OK ? (uint64_t)st.st_size : 0;
    f->has_file = true;
    if (rc == RC_OK && size < f->state.end && size < local_redo_begin(l, f->number))
        log_segment(l, "segment-short", f->number);
    if (rc == RC_OK && size > f->state.end)
        rc = scan_tail(r, fd, f->state.end, size);
    if (size > f->state.end)
        f->state.end = size;
    /* Space that was taken ahead is given back, unless a backup shares the file. */
    bool has_slack = rc == RC_OK && (uint64_t)st.st_blocks * STAT_BLOCK > size + TRIM_SLACK;
    if (has_slack && st.st_nlink == 1 && !l->conf.read_only && ftruncate(fd, st.st_size) < 0)
        rc = rc_from_errno(errno);
    close(fd);
    return rc;
}

static enum rc read_segment_files(struct recovery *r)
{
    int fd;
    TRY(local_dir_open(r->local->segments.dir, ".", false, &fd));
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return RC_TEMP;
    }
    enum rc rc = RC_OK;
    for (struct dirent *entry; rc == RC_OK && (entry = readdir(dir));) {
        uint32_t number;
        if (local_segment_parse_name(entry->d_name, &number))
            rc = look_at_file(r, entry->d_name, found_get(r, number));
    }
    closedir(dir);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const struct found *)a)->number, y = ((const struct found *)b)->number;
    return x < y ? -1 : x > y;
}

static void add_segments(struct recovery *r)
{
    if (r->n)
        qsort(r->found, r->n, sizeof *r->found, by_number);
    for (size_t i = 0; i < r->n; i++) {
        struct found *f = &r->found[i];
        if (!f->has_file)
            log_segment(r->local, "segment-missing", f->number);
        local_segments_add(&r->local->segments, f->number, f->state);
    }
}

/* --- the generation --------------------------------------------------------------------------- */

static enum rc write_numbers(struct local *l)
{
    struct rocks_batch *batch = local_rocks_batch_new();
    struct row_key key;
    unsigned char value[ROW_NUMBER];
    local_key_store(&key, STORE_GENERATION);
    local_rocks_put(l->rocks, batch, ROCKS_META, row_key_str(&key),
                    local_row_number(value, l->generation));
    local_key_store(&key, STORE_COMMIT);
    local_rocks_put(l->rocks, batch, ROCKS_META, row_key_str(&key),
                    local_row_number(value, l->commit));
    enum rc rc = local_rocks_write(l->rocks, batch, true);
    local_rocks_batch_free(&batch);
    return rc;
}

/* Beside the committer, whose batches never hold this row. */
enum rc local_generation_set(struct kv *kv, uint64_t generation)
{
    struct local *l = local_of(kv);
    struct row_key key;
    unsigned char value[ROW_NUMBER];
    if (atomic_load(&l->is_readonly))
        return RC_TEMP;
    struct rocks_batch *batch = local_rocks_batch_new();
    local_key_store(&key, STORE_GENERATION);
    local_rocks_put(l->rocks, batch, ROCKS_META, row_key_str(&key),
                    local_row_number(value, generation));
    enum rc rc = local_rocks_write(l->rocks, batch, true);
    local_rocks_batch_free(&batch);
    if (rc == RC_OK)
        l->generation = generation;
    else
        local_fail_for_good(l, "writing the generation", rc);
    return rc;
}

static enum rc remove_marker(struct local *l)
{
    if (unlinkat(l->dir, KV_RESTORED, 0) < 0)
        return rc_from_errno(errno);
    return local_dir_sync(l->dir);
}

static enum rc settle_generation(struct recovery *r)
{
    struct local *l = r->local;
    bool is_restored = faccessat(l->dir, KV_RESTORED, F_OK, 0) == 0;
    bool is_cut = !is_restored && r->last_seen > l->commit + 1;
    bool is_new = l->generation == 0;
    if (is_cut) {
        struct log_line line;
        log_begin(&line, l->ctx.log, LOG_ERROR, "commits-missing");
        log_text(&line, "cause",
                 "the log of rows ends before the segments do: acknowledged mail is lost");
        log_u64(&line, "last", l->commit);
        log_u64(&line, "seen", r->last_seen);
        log_end(&line);
    }
    if (is_restored)
        log_event(l->ctx.log, LOG_WARNING, "store-restored", NULL);
    if (!is_cut && !is_restored && !is_new)
        return RC_OK;
    uint64_t now = clock_wall(l->ctx.clock) / NS_PER_SEC;
    l->generation++;
    if (!is_new && l->generation < now)
        l->generation = now;
    if (r->last_seen > l->commit)
        l->commit = r->last_seen;
    if (l->conf.read_only)
        return RC_OK;
    TRY(write_numbers(l));
    return is_restored ? remove_marker(l) : RC_OK;
}

enum rc local_recover(struct local *l)
{
    struct recovery r = {.local = l};
    enum rc rc = local_redo_recover(l);
    if (rc == RC_OK)
        rc = read_number(l, STORE_COMMIT, &l->commit);
    if (rc == RC_OK)
        rc = read_number(l, STORE_GENERATION, &l->generation);
    if (rc == RC_OK)
        rc = read_segment_rows(&r);
    if (rc == RC_OK)
        rc = read_segment_files(&r);
    if (rc == RC_OK) {
        add_segments(&r);
        rc = settle_generation(&r);
    }
    free(r.found);
    return rc;
}
