/* kv_local beyond the contract: its files, its lock, damage, cleaning, lost logs, little space.
 * What the contract promises is checked by test_conform.c, and what a crash leaves by tests/crash.
 */
#include "kv/kv_local_int.h"
#include "kv/test_local.h"

#include "base/mem.h"
#include "base/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEGMENT = 64 << 10, SMALL = 6000, LARGE = 300 << 10 };

struct fixture {
    char top[64], dir[80];
    struct counters counters;
    struct ctx ctx;
    struct kv *kv;
};

static enum rc open_with(struct fixture *f, struct kv_local_conf conf)
{
    conf.path = f->dir;
    conf.segment_bytes = SEGMENT;
    conf.memory_bytes = 8 << 20;
    return kv_local_open(&f->ctx, &conf, &f->kv);
}

static void reopen(struct fixture *f)
{
    kv_close(&f->kv);
    assert_rc(open_with(f, (struct kv_local_conf){.reserve_bytes = 1}), RC_OK);
}

static int set_up(void **state)
{
    struct fixture *f = mem_zero(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->top, sizeof f->top, "%.40s/penfold-local-XXXXXX", tmp ? tmp : "/tmp");
    f->ctx = (struct ctx){NULL, &f->counters, &clock_system};
    *state = f;
    if (!mkdtemp(f->top))
        return -1;
    snprintf(f->dir, sizeof f->dir, "%s/data", f->top);
    return open_with(f, (struct kv_local_conf){.reserve_bytes = 1}) == RC_OK ? 0 : -1;
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

static enum rc read_blob(struct kv *kv, struct kv_blob_id id)
{
    struct kv_blob_in *in;
    TRY(kv_blob_open(kv, id, 0, &in));
    size_t size = (size_t)kv_blob_meta(in).size, got;
    char *bytes = mem_alloc(size);
    enum rc rc = kv_blob_read(in, 0, bytes, size, 0, &got);
    for (size_t i = 0; rc == RC_OK && i < size; i++)
        assert_int_equal(bytes[i], 'x');
    free(bytes);
    kv_blob_close(&in);
    return rc;
}

static void count_fault(struct kv_fsck *fsck, const char *line)
{
}

static uint64_t faults(struct kv *kv)
{
    struct kv_fsck fsck = {.report = count_fault};
    enum rc rc = kv_fsck(kv, &fsck);
    assert_rc(rc, fsck.faults ? RC_CORRUPT : RC_OK);
    return fsck.faults;
}

/* Names in a folder of the store, of this length or any (0). The last one goes to `out`. */
static size_t list(struct fixture *f, const char *folder, size_t length, char *out, size_t size)
{
    char path[160];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", f->dir, folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (*entry->d_name == '.' || (length && strlen(entry->d_name) != length))
            continue;
        snprintf(out, size, "%s/%s", path, entry->d_name);
        n++;
    }
    closedir(dir);
    return n;
}

static size_t segments(struct fixture *f)
{
    char path[400];
    return list(f, "seg", 8, path, sizeof path);
}

static void damage(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    char c = 0;
    assert_true(fd >= 0 && pread(fd, &c, 1, at) == 1);
    c ^= 1;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

static void path_of_large(struct fixture *f, struct kv_blob_id id, char *to, size_t size)
{
    char text[BLOB_ID_TEXT];
    kv_blob_id_text(text, &id);
    snprintf(to, size, "%s/big/%.2s/%s", f->dir, text, text + 2);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void one_process_has_the_store(void **state)
{
    struct fixture *f = *state;
    struct kv_local_conf conf = {.path = f->dir};
    struct kv *other;
    assert_rc(kv_local_open(&f->ctx, &conf, &other), RC_CONFLICT);
    assert_null(other);
    conf.read_only = true;
    assert_rc(kv_local_open(&f->ctx, &conf, &other), RC_CONFLICT);
}

static void read_only_looks_and_never_writes(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id small = store_blob(f->kv, SMALL), large = store_blob(f->kv, LARGE);
    kv_close(&f->kv);
    assert_rc(open_with(f, (struct kv_local_conf){.read_only = true}), RC_OK);
    assert_rc(read_blob(f->kv, small), RC_OK);
    assert_rc(read_blob(f->kv, large), RC_OK);
    assert_int_equal(faults(f->kv), 0);
    assert_int_equal(kv_state(f->kv, NULL), KV_READONLY);
    assert_rc(kv_room(f->kv, 0), RC_TEMP);
    assert_rc(change_ref(f->kv, small, true), RC_TEMP);
    assert_rc(kv_local_clean(f->kv), RC_TEMP);
}

static void a_relative_path_will_do(void **state)
{
    struct fixture *f = *state;
    char cwd[4096];
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(f->top), 0);
    struct kv_local_conf conf = {.path = "other", .reserve_bytes = 1};
    struct kv *kv;
    assert_rc(kv_local_open(&f->ctx, &conf, &kv), RC_OK);
    struct kv_blob_id id = store_blob(kv, LARGE);
    assert_rc(read_blob(kv, id), RC_OK);
    assert_rc(kv_backup(kv, "copy"), RC_OK);
    kv_close(&kv);
    assert_int_equal(chdir(cwd), 0);
}

static void a_damaged_body_is_never_given(void **state)
{
    struct fixture *f = *state;
    char path[400];
    struct kv_blob_id small = store_blob(f->kv, SMALL), large = store_blob(f->kv, LARGE);
    assert_int_equal(list(f, "seg", 8, path, sizeof path), 1);
    damage(path, RECORD_FRAME + SMALL / 2);
    assert_rc(read_blob(f->kv, small), RC_CORRUPT);
    path_of_large(f, large, path, sizeof path);
    damage(path, LARGE - 1);
    assert_rc(read_blob(f->kv, large), RC_CORRUPT);
    assert_int_equal(faults(f->kv), 2);
    /* What was not touched is still read. */
    struct kv_blob_in *in;
    char byte;
    size_t got;
    assert_rc(kv_blob_open(f->kv, large, 0, &in), RC_OK);
    assert_rc(kv_blob_read(in, 100, &byte, 1, 0, &got), RC_OK);
    assert_true(got == 1 && byte == 'x');
    assert_rc(kv_blob_read(in, LARGE - 2, &byte, 1, 0, &got), RC_CORRUPT);
    assert_int_equal(got, 0);
    kv_blob_close(&in);
}

static void a_missing_file_is_reported(void **state)
{
    struct fixture *f = *state;
    char path[400];
    struct kv_blob_id large = store_blob(f->kv, LARGE);
    path_of_large(f, large, path, sizeof path);
    assert_int_equal(unlink(path), 0);
    assert_rc(read_blob(f->kv, large), RC_CORRUPT);
    assert_int_equal(faults(f->kv), 1);
}

static void cleaning_gives_segments_back(void **state)
{
    enum { N = 60 };
    struct fixture *f = *state;
    struct kv_blob_id ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = store_blob(f->kv, SMALL);
    size_t before = segments(f);
    assert_true(before >= N * SMALL / SEGMENT);
    struct kv_blob_in *in;
    assert_rc(kv_blob_open(f->kv, ids[0], 0, &in), RC_OK); /* in hand all the time */
    for (int i = 0; i < N; i++)
        if (i % 10)
            assert_rc(change_ref(f->kv, ids[i], false), RC_OK);
    assert_rc(kv_local_clean(f->kv), RC_OK);
    assert_true(segments(f) <= before / 2);
    assert_int_equal(faults(f->kv), 0);
    for (int i = 0; i < N; i++)
        assert_rc(read_blob(f->kv, ids[i]), i % 10 ? RC_NOTFOUND : RC_OK);
    char byte;
    size_t got;
    assert_rc(kv_blob_read(in, 5, &byte, 1, 0, &got), RC_OK);
    assert_true(got == 1 && byte == 'x');
    kv_blob_close(&in);
    assert_true(counter_get(&f->counters, COUNTER_KV_SEGMENTS_CLEANED) > 0);
    reopen(f);
    for (int i = 0; i < N; i += 10)
        assert_rc(read_blob(f->kv, ids[i]), RC_OK);
}

static void a_damaged_segment_is_left_alone(void **state)
{
    enum { N = 30 };
    struct fixture *f = *state;
    struct kv_blob_id ids[N];
    char path[400];
    for (int i = 0; i < N; i++)
        ids[i] = store_blob(f->kv, SMALL);
    snprintf(path, sizeof path, "%s/seg/00000001", f->dir);
    damage(path, RECORD_FRAME + 10); /* in the first one */
    for (int i = 1; i < N; i++)
        assert_rc(change_ref(f->kv, ids[i], false), RC_OK);
    assert_rc(kv_local_clean(f->kv), RC_OK);
    assert_int_equal(access(path, F_OK), 0);
    assert_rc(read_blob(f->kv, ids[0]), RC_CORRUPT);
}

static void segments_of_earlier_runs_are_not_appended_to(void **state)
{
    struct fixture *f = *state;
    struct stat before, after;
    char path[400];
    store_blob(f->kv, SMALL);
    kv_close(&f->kv);
    snprintf(path, sizeof path, "%s/seg/00000001", f->dir);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(before.st_size, kv_record_bytes(SMALL));
    assert_rc(open_with(f, (struct kv_local_conf){.reserve_bytes = 1}), RC_OK);
    store_blob(f->kv, SMALL);
    assert_int_equal(segments(f), 2);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
}

static void a_large_file_without_a_row_is_swept(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id held = make_blob(f->kv, LARGE), kept = store_blob(f->kv, LARGE);
    char path[400];
    struct kv_blob_id orphan = {{1, 2, 3}};
    path_of_large(f, orphan, path, sizeof path);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_rc(kv_local_clean(f->kv), RC_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_rc(read_blob(f->kv, kept), RC_OK);
    assert_rc(read_blob(f->kv, held), RC_OK);
    kv_blob_forget(f->kv, held);
}

static void little_space_refuses_and_hurts_nothing(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id id = store_blob(f->kv, SMALL);
    assert_rc(kv_room(f->kv, 1), RC_OK);
    assert_rc(kv_room(f->kv, UINT64_MAX), RC_FULL);
    kv_close(&f->kv);
    assert_rc(open_with(f, (struct kv_local_conf){.reserve_bytes = UINT64_C(1) << 60}), RC_OK);
    assert_rc(kv_room(f->kv, 0), RC_FULL);
    struct kv_blob_id more = make_blob(f->kv, SMALL);
    assert_rc(change_ref(f->kv, more, true), RC_FULL);
    assert_rc(change_ref(f->kv, id, true), RC_FULL);
    kv_blob_forget(f->kv, more);
    struct kv_blob_out *out = kv_blob_new(f->kv, part, 0, 0);
    char *bytes = mem_zero(LARGE);
    assert_rc(kv_blob_write(out, str_from(bytes, LARGE)), RC_FULL);
    free(bytes);
    kv_blob_abort(&out);
    assert_int_equal(kv_state(f->kv, NULL), KV_WRITABLE);
    assert_rc(read_blob(f->kv, id), RC_OK);
    reopen(f);
    assert_rc(change_ref(f->kv, id, true), RC_OK);
    assert_int_equal(faults(f->kv), 0);
}

static void a_full_queue_refuses(void **state)
{
    struct fixture *f = *state;
    kv_close(&f->kv);
    assert_rc(open_with(f, (struct kv_local_conf){.reserve_bytes = 1, .queue_bytes = 1}), RC_OK);
    store_blob(f->kv, SMALL); /* one alone is always taken */
    assert_int_equal(faults(f->kv), 0);
}

static void a_cache_only_read_does_not_wait(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    struct str key = STR("k"), value;
    struct kv_txn *txn = kv_txn_new(part);
    for (char c = 'a'; c <= 'z'; c++) {
        char filler[4096]; /* so that it has a block of its own */
        memset(filler, c, sizeof filler);
        assert_rc(kv_txn_put(txn, str_from(&c, 1), str_from(filler, sizeof filler)), RC_OK);
    }
    assert_rc(kv_txn_put(txn, key, STR("v")), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    assert_rc(kv_get(f->kv, part, &key, 1, KV_CACHED, &arena, &value, NULL), RC_OK);
    reopen(f); /* now it is in a table file that has not been read */
    assert_rc(kv_get(f->kv, part, &key, 1, KV_CACHED, &arena, &value, NULL), RC_AGAIN);
    struct kv_page page;
    struct kv_range range = {.from = key};
    assert_rc(kv_scan(f->kv, part, range, 2, KV_CACHED, &arena, &page), RC_AGAIN);
    assert_rc(kv_get(f->kv, part, &key, 1, 0, &arena, &value, NULL), RC_OK);
    assert_rc(kv_get(f->kv, part, &key, 1, KV_CACHED, &arena, &value, NULL), RC_OK);
    assert_str(value, "v");
    arena_fini(&arena);
}

static void a_backup_shares_files_and_both_live_on(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id small = store_blob(f->kv, SMALL), large = store_blob(f->kv, LARGE);
    char copy[80];
    snprintf(copy, sizeof copy, "%s/copy", f->top);
    uint64_t generation = kv_generation(f->kv);
    assert_rc(kv_backup(f->kv, copy), RC_OK);
    struct kv_blob_id later = store_blob(f->kv, SMALL);
    struct kv_local_conf conf = {.path = copy, .segment_bytes = SEGMENT, .reserve_bytes = 1};
    struct kv *other;
    assert_rc(kv_local_open(&f->ctx, &conf, &other), RC_OK);
    assert_true(kv_generation(other) > generation);
    assert_rc(read_blob(other, small), RC_OK);
    assert_rc(read_blob(other, large), RC_OK);
    assert_rc(read_blob(other, later), RC_NOTFOUND);
    assert_rc(change_ref(other, large, false), RC_OK);
    assert_rc(change_ref(other, small, false), RC_OK);
    assert_rc(kv_local_clean(other), RC_OK);
    assert_int_equal(faults(other), 0);
    generation = kv_generation(other);
    kv_close(&other);
    assert_rc(kv_local_open(&f->ctx, &conf, &other), RC_OK);
    assert_true(kv_generation(other) == generation);
    kv_close(&other);
    assert_rc(read_blob(f->kv, small), RC_OK);
    assert_rc(read_blob(f->kv, large), RC_OK);
    assert_rc(read_blob(f->kv, later), RC_OK);
    assert_int_equal(faults(f->kv), 0);
}

/* --- a log of rows that was cut short --------------------------------------------------------- */

enum { CRASH_COMMITS = 8 };

/* Runs in a process of its own, which ends without closing. */
static int crash(const char *dir)
{
    struct ctx ctx = {.clock = &clock_system};
    struct kv_local_conf conf = {.path = dir, .reserve_bytes = 1};
    struct kv *kv;
    if (kv_local_open(&ctx, &conf, &kv) != RC_OK)
        return 1;
    for (int i = 0; i < CRASH_COMMITS; i++)
        store_blob(kv, SMALL);
    _exit(0);
}

static void run_crash(const char *dir)
{
    char name[] = "test", what[] = "crash", path[400];
    snprintf(path, sizeof path, "%s", dir);
    char *const argv[] = {name, what, path, NULL};
    pid_t pid;
    int status;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void after_a_crash_all_is_there(void **state)
{
    struct fixture *f = *state;
    uint64_t generation = kv_generation(f->kv), version;
    kv_close(&f->kv);
    run_crash(f->dir);
    assert_rc(open_with(f, (struct kv_local_conf){.reserve_bytes = 1}), RC_OK);
    assert_rc(kv_version(f->kv, part, 0, &version), RC_OK);
    assert_int_equal(version, CRASH_COMMITS);
    assert_true(kv_generation(f->kv) == generation);
    assert_int_equal(faults(f->kv), 0);
}

static void a_log_cut_short_is_noticed(void **state)
{
    struct fixture *f = *state;
    uint64_t generation = kv_generation(f->kv), version;
    char path[400];
    struct stat st;
    kv_close(&f->kv);
    run_crash(f->dir);
    assert_int_equal(list(f, "db", 10, path, sizeof path) > 0,
                     true); /* 000012.log: ten bytes, as .sst files */
    char folder[160];
    snprintf(folder, sizeof folder, "%s/db", f->dir);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (strstr(entry->d_name, ".log") && stat(path, &st) == 0)
            assert_int_equal(truncate(path, st.st_size / 2), 0);
    }
    closedir(dir);
    assert_rc(open_with(f, (struct kv_local_conf){.reserve_bytes = 1}), RC_OK);
    assert_rc(kv_version(f->kv, part, 0, &version), RC_OK);
    assert_true(version < CRASH_COMMITS);
    assert_true(kv_generation(f->kv) > generation);
    assert_int_equal(faults(f->kv), 0);
    generation = kv_generation(f->kv);
    reopen(f); /* once */
    assert_true(kv_generation(f->kv) == generation);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "crash"))
        return crash(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_process_has_the_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(read_only_looks_and_never_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_relative_path_will_do, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_body_is_never_given, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_file_is_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cleaning_gives_segments_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_segment_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(segments_of_earlier_runs_are_not_appended_to, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_large_file_without_a_row_is_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(little_space_refuses_and_hurts_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cache_only_read_does_not_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_shares_files_and_both_live_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_crash_all_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_cut_short_is_noticed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
