/* The conformance suite: its table of back ends, and what its files share. */
#include "kv/conform.h"

#include "base/mem.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CEPH "PENFOLD_TEST_CEPH" /* path of a throw-away cluster's ceph.conf */

/* --- the back ends ---------------------------------------------------------------------------- */

static struct kv *open_mem(struct conform *c)
{
    return kv_mem_new(&c->ctx);
}

/* Small segments, so that they end and are cleaned within a test. */
static struct kv *open_local(struct conform *c)
{
    struct kv_local_conf conf = {.path = c->dir, .segment_bytes = 256 << 10, .reserve_bytes = 1};
    struct kv *kv = NULL;
    return kv_local_open(&c->ctx, &conf, &kv) == RC_OK ? kv : NULL;
}

/* A namespace of its own for each store, on the cluster whose ceph.conf the environment names. */
static struct kv *open_rados(struct conform *c)
{
    struct kv_rados_conf conf = {
        .plugin = PENFOLD_TEST_PLUGINS "/penfold-rados.so",
        .conf = getenv(CEPH),
        .name = c->dir,
        .trust_ms = 1,
        .head_rows = 50, /* so that what the contract says is true of shards too */
        .shard_rows = 200,
    };
    struct kv *kv = NULL;
    if (kv_rados_open(&c->ctx, &conf, &kv) != RC_OK)
        return NULL;
    /* There is such a folder when kv_backup has made it; the store is filled from it once. */
    enum rc rc = kv_restore(kv, c->dir);
    if (rc != RC_OK && rc != RC_NOTFOUND && rc != RC_EXISTS)
        kv_close(&kv);
    return kv;
}

static const struct conform_backend backends[] = {
    {.name = "mem",
     .open = open_mem,
     .restored = kv_mem_restored,
     .hold = kv_mem_hold,
     .step = kv_mem_step},
    {.name = "local", .open = open_local, .is_persistent = true},
    {.name = "rados", .open = open_rados, .is_persistent = true, .needs = CEPH},
};

/* --- a store for each test -------------------------------------------------------------------- */

static uint64_t real_mono(const struct clock *clock)
{
    return clock_mono(&clock_system);
}

static uint64_t pinned_wall(const struct clock *clock)
{
    const struct conform_clock *c = (const struct conform_clock *)(const void *)clock;
    return atomic_load(&c->wall);
}

static int set_up(void **state)
{
    struct conform *c = mem_zero(sizeof *c);
    const char *tmp = getenv("TMPDIR");
    c->backend = *state;
    c->clock.clock = (struct clock){real_mono, pinned_wall};
    atomic_init(&c->clock.wall, 1800000000 * NS_PER_SEC);
    c->ctx.clock = &c->clock.clock;
    snprintf(c->top, sizeof c->top, "%.40s/penfold-kv-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(c->top))
        return -1;
    snprintf(c->dir, sizeof c->dir, "%s/data", c->top);
    c->kv = c->backend->open(c);
    *state = c;
    return c->kv ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void report(struct kv_fsck *fsck, const char *line)
{
    print_error("fsck: %s\n", line);
}

static int tear_down(void **state)
{
    struct conform *c = *state;
    struct kv_fsck fsck = {.report = report};
    enum rc rc = kv_fsck(c->kv, &fsck);
    kv_close(&c->kv);
    arena_fini(&c->arena);
    nftw(c->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(c);
    return rc == RC_OK && fsck.faults == 0 ? 0 : -1;
}

void conform_reopen(struct conform *c)
{
    kv_close(&c->kv);
    c->kv = c->backend->open(c);
    assert_non_null(c->kv);
}

void conform_restore(struct conform *c)
{
    char copy[sizeof c->dir];
    if (!c->backend->is_persistent) {
        c->backend->restored(c->kv);
        return;
    }
    snprintf(copy, sizeof copy, "%s/copy", c->top);
    assert_rc(kv_backup(c->kv, copy), RC_OK);
    assert_rc(kv_backup(c->kv, copy), RC_EXISTS);
    kv_close(&c->kv);
    memcpy(c->dir, copy, sizeof copy);
    c->kv = c->backend->open(c);
    assert_non_null(c->kv);
}

/* --- rows ------------------------------------------------------------------------------------- */

uint64_t conform_put(struct conform *c, struct kv_part part, struct str key, struct str value)
{
    uint64_t version = 0;
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put(txn, key, value), RC_OK);
    assert_rc(kv_commit_wait(c->kv, txn, &version), RC_OK);
    return version;
}

struct str conform_get(struct conform *c, struct kv_part part, struct str key)
{
    struct str value = {0};
    assert_rc(kv_get(c->kv, part, &key, 1, 0, &c->arena, &value, NULL), RC_OK);
    return value;
}

uint64_t conform_version(struct conform *c, struct kv_part part)
{
    uint64_t version = UINT64_MAX;
    assert_rc(kv_version(c->kv, part, 0, &version), RC_OK);
    return version;
}

struct str conform_key(struct conform *c, const char *format, ...)
{
    char text[KV_KEY_MAX];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return arena_dup(&c->arena, str_from(text, (size_t)n));
}

/* --- commits ---------------------------------------------------------------------------------- */

void conform_ops_init(struct conform_ops *ops)
{
    *ops = (struct conform_ops){0};
    pthread_mutex_init(&ops->mutex, NULL);
    pthread_cond_init(&ops->cond, NULL);
}

void conform_ops_fini(struct conform_ops *ops)
{
    pthread_cond_destroy(&ops->cond);
    pthread_mutex_destroy(&ops->mutex);
}

static void completed(struct kv_op *op)
{
    struct conform_op *o = CONTAINER(op, struct conform_op, op);
    struct conform_ops *ops = o->ops;
    pthread_mutex_lock(&ops->mutex);
    o->order = ++ops->completed;
    o->thread = pthread_self();
    pthread_cond_broadcast(&ops->cond);
    pthread_mutex_unlock(&ops->mutex);
}

void conform_op_init(struct conform_ops *ops, struct conform_op *op)
{
    *op = (struct conform_op){.op.done = completed, .ops = ops};
}

enum rc conform_op_wait(struct conform_op *op)
{
    pthread_mutex_lock(&op->ops->mutex);
    while (op->order == 0)
        pthread_cond_wait(&op->ops->cond, &op->ops->mutex);
    pthread_mutex_unlock(&op->ops->mutex);
    return op->op.rc;
}

bool conform_op_is_done(struct conform_op *op)
{
    pthread_mutex_lock(&op->ops->mutex);
    bool is_done = op->order != 0;
    pthread_mutex_unlock(&op->ops->mutex);
    return is_done;
}

void conform_queue_put(struct kv_writer *writer, struct kv_part part, struct str key,
                       struct str value, struct conform_op *op)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_put(txn, key, value), RC_OK);
    assert_rc(kv_writer_commit(writer, txn, &op->op), RC_OK);
}

/* --- blobs ------------------------------------------------------------------------------------ */

unsigned char conform_byte(uint64_t seed, uint64_t i)
{
    uint64_t x = (seed + i) * 0x9e3779b97f4a7c15U;
    return (unsigned char)(x >> 56 ^ i);
}

struct kv_blob_id conform_blob(struct conform *c, struct kv_part part, uint64_t seed, size_t size)
{
    enum { PIECE = 10007 };
    unsigned char piece[PIECE];
    struct kv_blob_id id;
    struct kv_blob_out *out = kv_blob_new(c->kv, part, 0, 0);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < PIECE ? size - at : PIECE;
        for (size_t i = 0; i < n; i++)
            piece[i] = conform_byte(seed, at + i);
        assert_rc(kv_blob_write(out, str_from(piece, n)), RC_OK);
        at += n;
    }
    assert_int_equal(kv_blob_size(out), size);
    assert_rc(kv_blob_finish(&out, &id), RC_OK);
    assert_null(out);
    return id;
}

enum rc conform_ref(struct conform *c, struct kv_part part, struct kv_blob_id id)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_ref(txn, id), RC_OK);
    return kv_commit_wait(c->kv, txn, NULL);
}

enum rc conform_drop(struct conform *c, struct kv_part part, struct kv_blob_id id)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_drop(txn, id), RC_OK);
    return kv_commit_wait(c->kv, txn, NULL);
}

bool conform_blob_is_there(struct conform *c, struct kv_blob_id id)
{
    struct kv_blob_in *in;
    enum rc rc = kv_blob_open(c->kv, id, 0, &in);
    if (rc == RC_OK)
        kv_blob_close(&in);
    else
        assert_rc(rc, RC_NOTFOUND);
    return rc == RC_OK;
}

/* How often and how long a thing that may take a while is waited for. */
enum { TRIES = 1000 };
static const struct timespec rest = {.tv_nsec = 10 * 1000 * 1000};

void conform_blob_wait_gone(struct conform *c, struct kv_blob_id id)
{
    for (int i = 0; i < TRIES && conform_blob_is_there(c, id); i++)
        nanosleep(&rest, NULL);
    assert_false(conform_blob_is_there(c, id));
}

void conform_fsck_wait_blobs(struct conform *c, uint64_t blobs)
{
    struct kv_fsck fsck = {.report = report};
    for (int i = 0; i < TRIES; i++) {
        assert_rc(kv_fsck(c->kv, &fsck), RC_OK);
        if (fsck.blobs == blobs)
            break;
        nanosleep(&rest, NULL);
    }
    assert_int_equal(fsck.blobs, blobs);
}

/* --- all of it -------------------------------------------------------------------------------- */

static const struct conform_test *const files[] = {
    conform_txn_tests,    conform_read_tests,   conform_writer_tests, conform_blob_tests,
    conform_notice_tests, conform_random_tests, conform_thread_tests,
};

enum { MOST_TESTS = 200 };

static bool has(const struct conform_backend *backend, enum conform_need need)
{
    return need == CONFORM_PERSISTENT ? backend->is_persistent
           : need == CONFORM_HOLD     ? backend->hold != NULL
                                      : true;
}

static int run_backend(const struct conform_backend *backend)
{
    struct CMUnitTest tests[MOST_TESTS];
    char names[MOST_TESTS][128];
    size_t n = 0;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        for (const struct conform_test *t = files[f]; t->name; t++) {
            if (!has(backend, t->need))
                continue;
            snprintf(names[n], sizeof names[n], "%s %s", backend->name, t->name);
            tests[n] = (struct CMUnitTest){names[n], t->run, set_up, tear_down,
                                           (void *)(uintptr_t)backend};
            n++;
        }
    }
    return _cmocka_run_group_tests(backend->name, tests, n, NULL, NULL);
}

/* An argument names the one back end to run; a second one, a pattern, some of its tests. */
int main(int argc, char **argv)
{
    int failed = 0;
    if (argc >= 3)
        cmocka_set_test_filter(argv[2]);
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        const struct conform_backend *backend = &backends[i];
        if (argc >= 2 && strcmp(argv[1], backend->name) != 0)
            continue;
        if (backend->needs && !getenv(backend->needs))
            print_message("%s: skipped, %s is not set\n", backend->name, backend->needs);
        else
            failed += run_backend(backend);
    }
    return failed ? 1 : 0;
}
