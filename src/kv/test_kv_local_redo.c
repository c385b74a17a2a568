/* Messages that come alone: one sync each, and their bodies are there whatever becomes of what was
 * not synced. Faults in each write and sync on this way are the sweep's (tests/crash). */
#include "kv/kv_local_int.h"
#include "kv/test_local.h"

#include "base/mem.h"
#include "base/test.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEGMENT = 1 << 20, SMALL = 1000, BIG = 20000, LARGE = 300 << 10, CRASH_COMMITS = 20 };

/* RocksDB calls these too. */
static _Atomic unsigned syncs;
int fdatasync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}
int fsync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fsync, fd);
}

struct fixture {
    char top[64], dir[80];
    struct ctx ctx;
    struct kv *kv;
};

static enum rc open_store(struct fixture *f, const char *dir, bool is_read_only, struct kv **out)
{
    struct kv_local_conf conf = {.path = dir,
                                 .segment_bytes = SEGMENT,
                                 .memory_bytes = 8 << 20,
                                 .reserve_bytes = 1,
                                 .read_only = is_read_only};
    return kv_local_open(&f->ctx, &conf, out);
}

static void reopen(struct fixture *f, bool is_read_only)
{
    kv_close(&f->kv);
    assert_rc(open_store(f, f->dir, is_read_only, &f->kv), RC_OK);
}

static int set_up(void **state)
{
    struct fixture *f = mem_zero(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->top, sizeof f->top, "%.40s/penfold-redo-XXXXXX", tmp ? tmp : "/tmp");
    f->ctx.clock = &clock_system;
    *state = f;
    if (!mkdtemp(f->top))
        return -1;
    snprintf(f->dir, sizeof f->dir, "%s/data", f->top);
    return open_store(f, f->dir, false, &f->kv) == RC_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    kv_close(&f->kv);
    remove_folder(f->top);
    free(f);
    return 0;
}

/* --- helpers ---------------------------------------------------------------------------------- */

static unsigned syncs_of_storing(struct kv *kv, size_t size)
{
    unsigned before = syncs;
    store_blob(kv, size);
    return syncs - before;
}

static enum rc read_open(struct kv_blob_in *in)
{
    size_t size = (size_t)kv_blob_meta(in).size, got;
    char *bytes = mem_alloc(size);
    enum rc rc = kv_blob_read(in, 0, bytes, size, 0, &got);
    for (size_t i = 0; rc == RC_OK && i < size; i++)
        assert_int_equal(bytes[i], 'x');
    free(bytes);
    return rc;
}

static enum rc read_blob(struct kv *kv, struct kv_blob_id id)
{
    struct kv_blob_in *in;
    TRY(kv_blob_open(kv, id, 0, &in));
    enum rc rc = read_open(in);
    kv_blob_close(&in);
    return rc;
}

static void ignore(struct kv_fsck *fsck, const char *line)
{
}

/* Checks the whole store; its blobs. */
static uint64_t faults(struct kv *kv, uint64_t *out_blobs)
{
    struct kv_fsck fsck = {.report = ignore};
    enum rc rc = kv_fsck(kv, &fsck);
    assert_rc(rc, fsck.faults ? RC_CORRUPT : RC_OK);
    if (out_blobs)
        *out_blobs = fsck.blobs;
    return fsck.faults;
}

static void assert_sound(struct kv *kv, uint64_t blobs)
{
    uint64_t found;
    assert_int_equal(faults(kv, &found), 0);
    assert_int_equal(found, blobs);
}

static enum rc count_row(void *arg, struct str key, const struct redo_row *row)
{
    size_t *n = arg;
    *n += row != NULL;
    return RC_OK;
}

static size_t rows(struct kv *kv)
{
    size_t n = 0;
    assert_rc(local_redo_each(local_of(kv), count_row, &n), RC_OK);
    return n;
}

/* The first segment loses what no sync has reached, if it was not written back by chance: all but
 * its first record. */
static void cut_segment(struct fixture *f, off_t *out_before)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof path, "%s/seg/00000001", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, (off_t)kv_record_bytes(SMALL)), 0);
    *out_before = st.st_size;
}

static off_t segment_size(struct fixture *f)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof path, "%s/seg/00000001", f->dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Runs in a process of its own, which ends without closing. */
static int crash(const char *dir)
{
    struct fixture f = {.ctx = {.clock = &clock_system}};
    if (open_store(&f, dir, false, &f.kv) != RC_OK)
        return 1;
    for (int i = 0; i < CRASH_COMMITS; i++)
        store_blob(f.kv, SMALL);
    _exit(rows(f.kv) == CRASH_COMMITS - 1 ? 0 : 2); /* the first one made the segment */
}

/* The store is closed afterwards, as a crash left it. */
static void run_crash(struct fixture *f)
{
    char name[] = "test", what[] = "crash", path[sizeof f->dir];
    snprintf(path, sizeof path, "%s", f->dir);
    char *const argv[] = {name, what, path, NULL};
    pid_t pid;
    int status;
    kv_close(&f->kv);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* --- rows made and taken away ----------------------------------------------------------------- */

static void a_message_alone_takes_one_sync(void **state)
{
    struct fixture *f = *state;
    store_blob(f->kv, SMALL); /* makes the segment, whose name is synced too */
    assert_int_equal(rows(f->kv), 0);
    assert_int_equal(syncs_of_storing(f->kv, SMALL), 1);
    assert_int_equal(syncs_of_storing(f->kv, 4096), 1);
    assert_int_equal(syncs_of_storing(f->kv, 0), 1);
    assert_int_equal(rows(f->kv), 3);
    assert_sound(f->kv, 4);
}

static void a_body_over_the_limit_takes_two(void **state)
{
    struct fixture *f = *state;
    store_blob(f->kv, SMALL);
    assert_int_equal(syncs_of_storing(f->kv, REDO_BYTES), 2); /* the frame is beyond it */
    assert_int_equal(syncs_of_storing(f->kv, KV_BLOB_SMALL), 2);
    assert_int_equal(rows(f->kv), 0);
    assert_sound(f->kv, 3);
}

static void the_next_sync_takes_the_rows_away(void **state)
{
    struct fixture *f = *state;
    store_blob(f->kv, SMALL);
    struct kv_blob_id id = store_blob(f->kv, SMALL);
    assert_int_equal(rows(f->kv), 1);
    assert_int_equal(syncs_of_storing(f->kv, BIG), 2);
    assert_int_equal(rows(f->kv), 0);
    store_blob(f->kv, SMALL);
    store_blob(f->kv, LARGE); /* is no reason to sync the segment */
    assert_rc(change_ref(f->kv, id, true), RC_OK);
    assert_int_equal(rows(f->kv), 1);
    assert_sound(f->kv, 5);
}

static void there_are_never_more_than_so_many(void **state)
{
    struct fixture *f = *state;
    store_blob(f->kv, SMALL);
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 1; i <= REDO_ROWS; i++) {
            assert_int_equal(syncs_of_storing(f->kv, SMALL), 1);
            assert_int_equal(rows(f->kv), i);
        }
        assert_int_equal(syncs_of_storing(f->kv, SMALL), 2);
        assert_int_equal(rows(f->kv), 0);
    }
    assert_sound(f->kv, 1 + 2 * (REDO_ROWS + 1));
}

/* Several blobs of one transaction are one group. */
static void bodies_of_a_group_count_together(void **state)
{
    struct fixture *f = *state;
    store_blob(f->kv, SMALL);
    for (int round = 0; round < 2; round++) {
        struct kv_blob_id ids[3];
        size_t n = round ? 3 : 2;
        struct kv_txn *txn = kv_txn_new(part);
        for (size_t i = 0; i < n; i++) {
            ids[i] = make_blob(f->kv, 3000);
            assert_rc(kv_txn_ref(txn, ids[i]), RC_OK);
        }
        unsigned before = syncs;
        assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
        assert_int_equal(syncs - before, round ? 2 : 1);
        assert_int_equal(rows(f->kv), round ? 0 : 2);
        for (size_t i = 0; i < n; i++)
            kv_blob_forget(f->kv, ids[i]);
    }
    assert_sound(f->kv, 6);
}

static void a_segment_that_ends_is_synced_first(void **state)
{
    enum { SIZE = 8000, FIT = SEGMENT / 8072 };
    struct fixture *f = *state;
    assert_int_equal(kv_record_bytes(SIZE), 8072);
    for (unsigned i = 0; i < FIT; i++)
        store_blob(f->kv, SIZE);
    assert_true(rows(f->kv) > 0);
    assert_int_equal(syncs_of_storing(f->kv, SIZE), 4); /* both segments, the folder, the log */
    assert_int_equal(rows(f->kv), 0);
    assert_int_equal(syncs_of_storing(f->kv, SIZE), 1);
    assert_sound(f->kv, FIT + 2);
}

static void closing_leaves_none(void **state)
{
    struct fixture *f = *state;
    store_blob(f->kv, SMALL);
    struct kv_blob_id id = store_blob(f->kv, SMALL);
    assert_int_equal(rows(f->kv), 1);
    reopen(f, true);
    assert_int_equal(rows(f->kv), 0);
    assert_rc(read_blob(f->kv, id), RC_OK);
    assert_sound(f->kv, 2);
}

/* --- dropped, moved --------------------------------------------------------------------------- */

static void a_reader_keeps_a_dropped_body(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_in *in;
    store_blob(f->kv, SMALL);
    struct kv_blob_id id = store_blob(f->kv, SMALL);
    assert_rc(kv_blob_open(f->kv, id, 0, &in), RC_OK);
    assert_rc(change_ref(f->kv, id, false), RC_OK);
    assert_rc(read_open(in), RC_OK);
    assert_sound(f->kv, 1);
    assert_rc(change_ref(f->kv, id, true), RC_OK); /* still in hand, so it can be had again */
    kv_blob_close(&in);
    assert_rc(read_blob(f->kv, id), RC_OK);
    assert_rc(change_ref(f->kv, id, false), RC_OK);
    assert_rc(read_blob(f->kv, id), RC_NOTFOUND);
    assert_sound(f->kv, 1);
    reopen(f, false);
    assert_sound(f->kv, 1);
}

static void cleaning_goes_on_beside_them(void **state)
{
    enum { N = 300 };
    struct fixture *f = *state;
    struct kv_blob_id ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = store_blob(f->kv, 8000);
    for (int i = 0; i < N; i++)
        if (i % 10)
            assert_rc(change_ref(f->kv, ids[i], false), RC_OK);
    store_blob(f->kv, SMALL);
    assert_rc(kv_local_clean(f->kv), RC_OK); /* beside the cleaner's own thread */
    store_blob(f->kv, SMALL);
    for (int i = 0; i < N; i++)
        assert_rc(read_blob(f->kv, ids[i]), i % 10 ? RC_NOTFOUND : RC_OK);
    assert_sound(f->kv, N / 10 + 2);
    reopen(f, false);
    assert_sound(f->kv, N / 10 + 2);
}

/* --- after a crash ---------------------------------------------------------------------------- */

static void a_power_cut_takes_nothing(void **state)
{
    struct fixture *f = *state;
    off_t before;
    uint64_t generation = kv_generation(f->kv);
    run_crash(f);
    cut_segment(f, &before);
    assert_rc(open_store(f, f->dir, false, &f->kv), RC_OK);
    assert_int_equal(rows(f->kv), 0);
    assert_int_equal(segment_size(f), before);
    assert_sound(f->kv, CRASH_COMMITS);
    assert_true(kv_generation(f->kv) == generation);
    store_blob(f->kv, SMALL);
    reopen(f, false);
    assert_sound(f->kv, CRASH_COMMITS + 1);
}

/* Bytes that are wrong, not missing; and a file that is gone with all but the rows. */
static void what_the_segment_has_does_not_matter(void **state)
{
    struct fixture *f = *state;
    char path[160], junk[RECORD_FRAME + SMALL + 8];
    uint64_t blobs;
    assert_int_equal(sizeof junk, kv_record_bytes(SMALL));
    memset(junk, '?', sizeof junk);
    snprintf(path, sizeof path, "%s/seg/00000001", f->dir);
    run_crash(f);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (int i = 1; i < CRASH_COMMITS; i++)
        assert_int_equal(pwrite(fd, junk, sizeof junk, i * (off_t)sizeof junk), sizeof junk);
    close(fd);
    assert_rc(open_store(f, f->dir, false, &f->kv), RC_OK);
    assert_sound(f->kv, CRASH_COMMITS);
    kv_close(&f->kv);
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_rc(open_store(f, f->dir, false, &f->kv), RC_OK);
    run_crash(f);
    assert_int_equal(unlink(path), 0);
    assert_rc(open_store(f, f->dir, false, &f->kv), RC_OK);
    assert_int_equal(faults(f->kv, &blobs), 1); /* the first one had no row any more */
    assert_int_equal(blobs, CRASH_COMMITS);
}

static void looking_only_reads_bodies_from_rows(void **state)
{
    struct fixture *f = *state;
    off_t before;
    run_crash(f);
    cut_segment(f, &before);
    for (int round = 0; round < 2; round++) {
        assert_rc(open_store(f, f->dir, true, &f->kv), RC_OK);
        assert_int_equal(rows(f->kv), CRASH_COMMITS - 1);
        assert_sound(f->kv, CRASH_COMMITS);
        kv_close(&f->kv);
    }
    assert_int_equal(segment_size(f), kv_record_bytes(SMALL));
    assert_rc(open_store(f, f->dir, false, &f->kv), RC_OK);
    assert_sound(f->kv, CRASH_COMMITS);
}

static void a_backup_has_the_bodies_too(void **state)
{
    struct fixture *f = *state;
    struct kv *other;
    char copy[80];
    off_t before;
    snprintf(copy, sizeof copy, "%s/copy", f->top);
    store_blob(f->kv, SMALL);
    struct kv_blob_id kept = store_blob(f->kv, SMALL), dropped = store_blob(f->kv, SMALL);
    assert_rc(kv_backup(f->kv, copy), RC_OK);
    assert_rc(change_ref(f->kv, dropped, false), RC_OK);
    struct kv_blob_id later = store_blob(f->kv, SMALL);
    kv_close(&f->kv);
    cut_segment(f, &before); /* which the copy shares */
    assert_rc(open_store(f, copy, false, &other), RC_OK);
    assert_sound(other, 3);
    assert_rc(read_blob(other, kept), RC_OK);
    assert_rc(read_blob(other, dropped), RC_OK);
    assert_rc(read_blob(other, later), RC_NOTFOUND);
    kv_close(&other);
    assert_rc(open_store(f, f->dir, false, &f->kv), RC_OK);
    assert_rc(read_blob(f->kv, kept), RC_OK); /* the copy gave the shared file its bytes again */
}

/* --- damage ----------------------------------------------------------------------------------- */

enum change { LOSE, DAMAGE };

struct edit {
    struct local *local;
    enum change change;
};

/* Of the second row; the first one's record is not the last of the file either. */
static enum rc edit_row(void *arg, struct str key, const struct redo_row *row)
{
    struct edit *e = arg;
    if (!row || row->at.offset != 2 * kv_record_bytes(SMALL))
        return RC_OK;
    struct rocks_batch *batch = local_rocks_batch_new();
    char *value = mem_alloc(1 + row->record.n);
    value[0] = 1;
    memcpy(value + 1, row->record.p, row->record.n);
    value[1 + RECORD_FRAME + SMALL / 2] ^= 1;
    local_rocks_delete_once(e->local->rocks, batch, REDO_FAMILY, key);
    if (e->change == DAMAGE)
        local_rocks_put(e->local->rocks, batch, REDO_FAMILY, key,
                        str_from(value, 1 + row->record.n));
    assert_rc(local_rocks_write(e->local->rocks, batch, true), RC_OK);
    local_rocks_batch_free(&batch);
    free(value);
    return RC_EOF;
}

/* In a store that nobody has open. */
static void edit(struct fixture *f, enum change change)
{
    struct local *l = mem_zero(sizeof *l);
    struct edit e = {l, change};
    char path[120];
    snprintf(path, sizeof path, "%s/db", f->dir);
    struct rocks_conf conf = {.path = path, .memory_bytes = 8 << 20};
    assert_rc(local_rocks_open(&f->ctx, &conf, &l->rocks), RC_OK);
    assert_rc(local_redo_each(l, edit_row, &e), RC_OK);
    local_rocks_close(&l->rocks);
    free(l);
}

static void a_lost_row_is_found_by_what_it_stood_for(void **state)
{
    struct fixture *f = *state;
    off_t before;
    run_crash(f);
    edit(f, LOSE);
    assert_rc(open_store(f, f->dir, true, &f->kv), RC_OK);
    assert_sound(f->kv, CRASH_COMMITS); /* the segment has it, as after most crashes */
    kv_close(&f->kv);
    cut_segment(f, &before);
    for (int round = 0; round < 2; round++) {
        assert_rc(open_store(f, f->dir, !round, &f->kv), RC_OK);
        assert_int_equal(faults(f->kv, NULL), 1);
        kv_close(&f->kv);
    }
}

static void a_damaged_row_is_reported(void **state)
{
    struct fixture *f = *state;
    off_t before;
    run_crash(f);
    edit(f, DAMAGE);
    cut_segment(f, &before);
    assert_rc(open_store(f, f->dir, true, &f->kv), RC_OK);
    assert_int_equal(faults(f->kv, NULL), 2); /* the row, the blob */
    kv_close(&f->kv);
    assert_rc(open_store(f, f->dir, false, &f->kv), RC_OK);
    assert_int_equal(rows(f->kv), 0);
    assert_int_equal(faults(f->kv, NULL), 1); /* the blob; what is around it was written again */
    assert_int_equal(segment_size(f), before);
}

static void rows_are_checked_while_the_store_is_in_use(void **state)
{
    struct fixture *f = *state;
    struct edit e = {local_of(f->kv), DAMAGE};
    for (int i = 0; i < 4; i++)
        store_blob(f->kv, SMALL);
    assert_sound(f->kv, 4);
    assert_rc(local_redo_each(e.local, edit_row, &e), RC_OK);
    assert_int_equal(faults(f->kv, NULL), 1);
    struct rocks_batch *batch = local_rocks_batch_new();
    static const char nowhere[] = "i\0\0\0\x63\0\0\0\0\0\0\0";
    struct row_key key;
    struct str value;
    struct arena arena = {0};
    memcpy(key.b, "i\0\0\0\1\0\0\0\0\0\0", 11);
    key.n = 13;
    key.b[11] = (char)(kv_record_bytes(SMALL) >> 8);
    key.b[12] = (char)kv_record_bytes(SMALL);
    assert_rc(
        local_rocks_get(e.local->rocks, REDO_FAMILY, row_key_str(&key), false, &arena, &value),
        RC_OK);
    local_rocks_put(e.local->rocks, batch, REDO_FAMILY, str_from(nowhere, sizeof nowhere), value);
    assert_rc(local_rocks_write(e.local->rocks, batch, false), RC_OK);
    local_rocks_batch_free(&batch);
    arena_fini(&arena);
    assert_int_equal(faults(f->kv, NULL), 2);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "crash"))
        return crash(argv[2]);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_message_alone_takes_one_sync),
        TEST(a_body_over_the_limit_takes_two),
        TEST(the_next_sync_takes_the_rows_away),
        TEST(there_are_never_more_than_so_many),
        TEST(bodies_of_a_group_count_together),
        TEST(a_segment_that_ends_is_synced_first),
        TEST(closing_leaves_none),
        TEST(a_reader_keeps_a_dropped_body),
        TEST(cleaning_goes_on_beside_them),
        TEST(a_power_cut_takes_nothing),
        TEST(what_the_segment_has_does_not_matter),
        TEST(looking_only_reads_bodies_from_rows),
        TEST(a_backup_has_the_bodies_too),
        TEST(a_lost_row_is_found_by_what_it_stood_for),
        TEST(a_damaged_row_is_reported),
        TEST(rows_are_checked_while_the_store_is_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
