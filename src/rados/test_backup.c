/* Backups of kv_rados while writing goes on, and what is restored from them. */
#include "rados/fixture.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <ftw.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 12000, LARGE = (4 << 20) + 77777, PAIRS = 8 };

static const struct kv_part big = {KV_ACCOUNT, 77}, first = {KV_ACCOUNT, 1000},
                            second = {KV_QUEUE, 2000};

struct folder {
    char top[64], copy[80];
};

static void folder_make(struct folder *folder)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder->top, sizeof folder->top, "%.40s/penfold-rb-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(folder->top));
    snprintf(folder->copy, sizeof folder->copy, "%s/copy", folder->top);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void folder_remove(struct folder *folder)
{
    nftw(folder->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct kv_blob_id store(struct kv *kv, struct kv_part part, size_t size, unsigned refs)
{
    struct kv_blob_out *out = kv_blob_new(kv, part, 5, 6);
    struct kv_blob_id id;
    char *bytes = mem_zero(size + 1);
    memset(bytes, (int)(size % 251), size);
    assert_rc(kv_blob_write(out, str_from(bytes, size)), RC_OK);
    assert_rc(kv_blob_finish(&out, &id), RC_OK);
    struct kv_txn *txn = kv_txn_new(part);
    for (unsigned i = 0; i < refs; i++)
        assert_rc(kv_txn_ref(txn, id), RC_OK);
    assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    kv_blob_forget(kv, id);
    free(bytes);
    return id;
}

static void check_blob(struct kv *kv, struct kv_blob_id id, size_t size)
{
    struct kv_blob_in *in;
    size_t got, same = 0;
    char *bytes = mem_zero(size + 1);
    assert_rc(kv_blob_open(kv, id, 0, &in), RC_OK);
    assert_int_equal(kv_blob_meta(in).codec, 5);
    assert_int_equal(kv_blob_meta(in).key_id, 6);
    assert_rc(kv_blob_read(in, 0, bytes, size, 0, &got), RC_OK);
    while (same < got && bytes[same] == (char)(size % 251))
        same++;
    assert_int_equal(same, size);
    kv_blob_close(&in);
    free(bytes);
}

static enum rc drop(struct kv *kv, struct kv_part part, struct kv_blob_id id)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_drop(txn, id), RC_OK);
    return kv_commit_wait(kv, txn, NULL);
}

static void fill(struct kv *kv)
{
    for (unsigned i = 0; i < ROWS;) {
        struct kv_txn *txn = kv_txn_new(big);
        for (unsigned n = 0; n < 2000; n++, i++) {
            char key[32];
            int length = snprintf(key, sizeof key, "%06u", i);
            assert_rc(kv_txn_put(txn, str_from(key, (size_t)length), STR("value")), RC_OK);
        }
        assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    }
}

/* Counts up in pairs of partitions: in the first one, then, when that is durable, in the second. */
struct counting {
    struct kv *kv;
    pthread_t thread;
    uint64_t pair;
    _Atomic bool is_stopping;
    _Atomic uint64_t n;
};

static struct kv_part part_of(struct kv_part base, uint64_t pair)
{
    return (struct kv_part){base.class, base.id + pair};
}

static void *count_up(void *arg)
{
    struct counting *c = arg;
    while (!atomic_load(&c->is_stopping)) {
        unsigned char value[8];
        put_u64(value, atomic_fetch_add(&c->n, 1) + 1);
        for (int i = 0; i < 2; i++) {
            struct kv_txn *txn = kv_txn_new(part_of(i ? second : first, c->pair));
            if (kv_txn_put(txn, STR("n"), str_from(value, sizeof value)) != RC_OK ||
                kv_commit_wait(c->kv, txn, NULL) != RC_OK)
                abort();
        }
    }
    return NULL;
}

static uint64_t counted(struct fixture *f, struct kv *kv, struct kv_part part)
{
    struct str key = STR("n"), value = {0};
    assert_rc(kv_get(kv, part, &key, 1, 0, &f->arena, &value, NULL), RC_OK);
    return value.n ? get_u64(value.p) : 0;
}

static void report(struct kv_fsck *fsck, const char *line)
{
    print_error("fsck: %s\n", line);
}

static void check_sound(struct kv *kv, uint64_t blobs)
{
    struct kv_fsck fsck = {.report = report};
    assert_rc(kv_fsck(kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, blobs);
}

/* An empty store under a name of its own. */
static struct kv *open_other(struct fixture *f, const char *suffix)
{
    struct kv_rados_conf conf = f->conf;
    struct kv *kv = NULL;
    char name[100];
    snprintf(name, sizeof name, "%s-%s", f->name, suffix);
    conf.name = arena_dup(&f->arena, str_of(name)).p;
    assert_rc(rad_open(&f->ctx, &conf, &kv), RC_OK);
    return kv;
}

static void a_backup_is_of_one_moment(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    struct counting counting[PAIRS];
    folder_make(&folder);
    fill(f->kv);
    struct kv_blob_id small = store(f->kv, big, 1000, 1), large = store(f->kv, big, LARGE, 3);
    for (uint64_t i = 0; i < PAIRS; i++) {
        counting[i] = (struct counting){.kv = f->kv, .pair = i};
        pthread_create(&counting[i].thread, NULL, count_up, &counting[i]);
    }
    uint64_t version = fixture_version(f->kv, big);
    assert_rc(kv_backup(f->kv, folder.copy), RC_OK);
    uint64_t then[PAIRS];
    for (int i = 0; i < PAIRS; i++)
        then[i] = atomic_load(&counting[i].n);
    while (atomic_load(&counting[0].n) == then[0]) /* it goes on */
        sched_yield();
    for (int i = 0; i < PAIRS; i++)
        atomic_store(&counting[i].is_stopping, true);
    for (int i = 0; i < PAIRS; i++)
        pthread_join(counting[i].thread, NULL);
    assert_rc(kv_backup(f->kv, folder.copy), RC_EXISTS);
    struct kv *restored = open_other(f, "restored");
    assert_rc(kv_restore(restored, folder.copy), RC_OK);
    assert_true(kv_generation(restored) > kv_generation(f->kv));
    for (uint64_t i = 0; i < PAIRS; i++) {
        uint64_t a = counted(f, restored, part_of(first, i));
        uint64_t b = counted(f, restored, part_of(second, i));
        assert_true(a == b || a == b + 1);
        assert_true(a <= then[i]);
    }
    assert_int_equal(fixture_count(f, restored, big), ROWS);
    assert_int_equal(fixture_version(restored, big), version);
    check_blob(restored, small, 1000);
    check_blob(restored, large, LARGE);
    check_sound(restored, 2);
    for (int i = 0; i < 3; i++)
        assert_rc(drop(restored, big, large), RC_OK);
    assert_rc(drop(restored, big, large), RC_CORRUPT);
    assert_rc(kv_restore(restored, folder.copy), RC_EXISTS);
    kv_close(&restored);
    folder_remove(&folder);
}

static enum rc refer(struct kv *kv, struct kv_part part, struct kv_blob_id id, unsigned refs)
{
    struct kv_txn *txn = kv_txn_new(part);
    for (unsigned i = 0; i < refs; i++)
        assert_rc(kv_txn_ref(txn, id), RC_OK);
    return kv_commit_wait(kv, txn, NULL);
}

/* More references than a transaction takes. */
static void many_references_are_copied(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    folder_make(&folder);
    struct kv_blob_id id = store(f->kv, big, 5000, KV_TXN_ROWS - 1);
    assert_rc(refer(f->kv, big, id, KV_TXN_ROWS - 1), RC_OK);
    assert_rc(kv_backup(f->kv, folder.copy), RC_OK);
    struct kv *restored = open_other(f, "restored");
    assert_rc(kv_restore(restored, folder.copy), RC_OK);
    check_blob(restored, id, 5000);
    check_sound(restored, 1);
    for (int i = 0; i < 2; i++) {
        struct kv_txn *txn = kv_txn_new(big);
        for (int n = 0; n < KV_TXN_ROWS - 1; n++)
            assert_rc(kv_txn_drop(txn, id), RC_OK);
        assert_rc(kv_commit_wait(restored, txn, NULL), RC_OK);
    }
    assert_rc(drop(restored, big, id), RC_CORRUPT);
    kv_close(&restored);
    folder_remove(&folder);
}

/* The folder is a store that kv_local opens. */
static void a_backup_is_a_local_store(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    struct kv *local = NULL;
    folder_make(&folder);
    struct kv_blob_id id = store(f->kv, big, 5000, 2);
    fixture_put(f->kv, big, STR("k"), STR("v"));
    assert_rc(kv_backup(f->kv, folder.copy), RC_OK);
    struct kv_local_conf conf = {.path = folder.copy, .reserve_bytes = 1};
    assert_rc(kv_local_open(&f->ctx, &conf, &local), RC_OK);
    assert_true(kv_generation(local) > kv_generation(f->kv));
    fixture_check(f, local, big, STR("k"), STR("v"));
    check_blob(local, id, 5000);
    check_sound(local, 1);
    assert_rc(drop(local, big, id), RC_OK);
    assert_rc(drop(local, big, id), RC_OK);
    assert_rc(drop(local, big, id), RC_CORRUPT);
    kv_close(&local);
    folder_remove(&folder);
}

/* Nobody takes it for a whole one. */
static void what_was_half_restored_is_not_written_to(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    folder_make(&folder);
    fixture_put(f->kv, big, STR("k"), STR("v"));
    assert_rc(kv_backup(f->kv, folder.copy), RC_OK);
    struct kv *half = open_other(f, "half");
    assert_rc(rad_restoring_set(rad_of(half), true, 2), RC_OK);
    kv_close(&half);
    half = open_other(f, "half");
    const char *why = "";
    assert_int_equal(kv_state(half, &why), KV_READONLY);
    assert_non_null(strstr(why, "restored"));
    struct kv_txn *txn = kv_txn_new(big);
    assert_rc(kv_txn_put(txn, STR("k"), STR("v")), RC_OK);
    assert_rc(kv_commit_wait(half, txn, NULL), RC_TEMP);
    assert_rc(kv_restore(half, folder.copy), RC_EXISTS);
    kv_close(&half);
    folder_remove(&folder);
}

static void other_folders_are_not_restored(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    struct kv *local = NULL;
    folder_make(&folder);
    assert_rc(kv_restore(f->kv, folder.copy), RC_NOTFOUND);
    struct kv_local_conf conf = {.path = folder.copy, .reserve_bytes = 1};
    assert_rc(kv_local_open(&f->ctx, &conf, &local), RC_OK);
    assert_rc(kv_restore(local, folder.copy), RC_PERM); /* its copies are opened as they are */
    kv_close(&local);
    assert_rc(kv_restore(f->kv, folder.copy), RC_PERM);
    folder_remove(&folder);
}

/* Copying a partition once more makes the copy the same again. */
static void a_partition_is_copied_again(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    struct kv *local = NULL;
    folder_make(&folder);
    struct kv_local_conf conf = {.path = folder.copy, .reserve_bytes = 1};
    assert_rc(kv_local_open(&f->ctx, &conf, &local), RC_OK);
    struct kv_blob_id gone = store(f->kv, big, 100, 2), more = store(f->kv, big, 200, 1);
    fixture_put(f->kv, big, STR("gone"), STR("1"));
    fixture_put(f->kv, big, STR("kept"), STR("1"));
    assert_rc(kv_copy_part(f->kv, local, big, KV_COPY_REFS), RC_OK);
    struct kv_txn *txn = kv_txn_new(big);
    assert_rc(kv_txn_delete(txn, STR("gone")), RC_OK);
    assert_rc(kv_txn_put(txn, STR("kept"), STR("2")), RC_OK);
    assert_rc(kv_txn_drop(txn, gone), RC_OK);
    assert_rc(kv_txn_drop(txn, gone), RC_OK);
    assert_rc(kv_txn_ref(txn, more), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    struct kv_blob_id new = store(f->kv, big, 300, 1);
    assert_rc(kv_copy_part(f->kv, local, big, KV_COPY_REFS), RC_OK);
    check_blob(local, gone, 100); /* it might have moved to a partition that is copied later */
    assert_rc(kv_copy_settle(local, big), RC_OK);
    fixture_check(f, local, big, STR("gone"), (struct str){0});
    fixture_check(f, local, big, STR("kept"), STR("2"));
    assert_int_equal(fixture_version(local, big), fixture_version(f->kv, big));
    check_blob(local, more, 200);
    check_blob(local, new, 300);
    check_sound(local, 2);
    assert_rc(drop(local, big, more), RC_OK);
    assert_rc(drop(local, big, more), RC_OK);
    assert_rc(drop(local, big, more), RC_CORRUPT);
    kv_close(&local);
    folder_remove(&folder);
}

static void two_at_once_leave_one_folder(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    struct rad *rad = rad_of(f->kv);
    folder_make(&folder);
    atomic_store(&rad->backup.is_under_way, true);
    assert_rc(kv_backup(f->kv, folder.copy), RC_CONFLICT);
    assert_int_equal(access(folder.copy, F_OK), -1);
    atomic_store(&rad->backup.is_under_way, false);
    assert_rc(kv_backup(f->kv, folder.copy), RC_OK);
    folder_remove(&folder);
}

/* Each of its partitions changes while the others are copied. */
enum { RESTLESS = 300 };

struct restless {
    struct kv *kv;
    pthread_t thread;
    _Atomic bool is_stopping;
};

static void *never_rest(void *arg)
{
    struct restless *r = arg;
    for (uint64_t i = 0; !atomic_load(&r->is_stopping); i++)
        fixture_put(r->kv, part_of(first, i % RESTLESS), STR("n"), STR("v"));
    return NULL;
}

static void a_store_that_is_never_quiet_is_copied(void **state)
{
    enum { THREADS = 8 };
    struct fixture *f = *state;
    struct folder folder;
    struct restless restless[THREADS];
    folder_make(&folder);
    for (uint64_t i = 0; i < RESTLESS; i++)
        fixture_put(f->kv, part_of(first, i), STR("n"), STR("v"));
    for (int i = 0; i < THREADS; i++) {
        restless[i] = (struct restless){.kv = f->kv};
        pthread_create(&restless[i].thread, NULL, never_rest, &restless[i]);
    }
    assert_rc(kv_backup(f->kv, folder.copy), RC_OK);
    for (int i = 0; i < THREADS; i++)
        atomic_store(&restless[i].is_stopping, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(restless[i].thread, NULL);
    folder_remove(&folder);
}

/* A commit of which the cluster does not tell what became: everybody else must not wait for it. */
static void a_commit_that_does_not_end_ends_the_backup(void **state)
{
    struct fixture *f = *state;
    struct folder folder;
    struct rad *rad = rad_of(f->kv);
    folder_make(&folder);
    assert_int_equal(fixture_put(f->kv, first, STR("k"), STR("1")), 1);
    atomic_fetch_add(&rad->n_groups, 1);
    assert_rc(kv_backup(f->kv, folder.copy), RC_TEMP);
    assert_int_equal(fixture_put(f->kv, first, STR("k"), STR("2")), 2);
    atomic_fetch_sub(&rad->n_groups, 1);
    folder_remove(&folder);
    assert_rc(kv_backup(f->kv, folder.copy), RC_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(a_backup_is_of_one_moment),
        fixture_test(many_references_are_copied),
        fixture_test(a_backup_is_a_local_store),
        fixture_test(what_was_half_restored_is_not_written_to),
        fixture_test(other_folders_are_not_restored),
        fixture_test(a_partition_is_copied_again),
        fixture_test(two_at_once_leave_one_folder),
        fixture_test(a_store_that_is_never_quiet_is_copied),
        fixture_test(a_commit_that_does_not_end_ends_the_backup),
    };
    return fixture_run(tests);
}
