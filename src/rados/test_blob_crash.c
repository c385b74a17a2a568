/* Crashes of blobs: a process is ended at each named step, the first times that it comes there, and
 * another one sweeps behind it. What was acknowledged must be there, byte for byte; what was
 * dropped must go; nothing may be left in the pool in the end. Then sweepers are ended at their own
 * steps.
 *
 * The process is this program again: it tells on a pipe what has been acknowledged. With
 * PENFOLD_FULL in the environment every time that it comes to a step is tried. */
#include "rados/blob_int.h"
#include "rados/fixture.h"

#include "base/mem.h"
#include "base/random.h"
#include "base/test.h"

#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
    SMALL = 5000,
    LARGE = FORM_CHUNK + 100000, /* two chunks */
    BEAT_SHORT_MS = 50,          /* of who sweeps: it calls others dead after 300 ms */
    BLOBS_MAX = 32,
    WAIT_S = 60
};

static const struct kv_part home = {KV_ACCOUNT, 1}, other = {KV_ACCOUNT, 2}, queue = {KV_QUEUE, 3};

/* --- the process that is ended ---------------------------------------------------------------- */

static unsigned char byte_of(uint64_t seed, uint64_t i)
{
    return (unsigned char)((seed + i) * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

/* One line, at once: what the parent has read was true before the crash. */
static void tell(const char *what, struct kv_blob_id id, struct kv_part part, size_t size)
{
    char text[BLOB_ID_TEXT], line[128];
    kv_blob_id_text(text, &id);
    int n = snprintf(line, sizeof line, "%s %s %c %" PRIu64 " %zu\n", what, text, part.class,
                     part.id, size);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(1);
}

static struct kv_blob_out *begin(struct kv *kv, struct kv_part part, size_t size)
{
    enum { PIECE = 100000 };
    unsigned char *piece = mem_alloc(PIECE);
    struct kv_blob_out *out = kv_blob_new(kv, part, 0, 0);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < PIECE ? size - at : PIECE;
        for (size_t i = 0; i < n; i++)
            piece[i] = byte_of(size, at + i);
        if (kv_blob_write(out, str_from(piece, n)) != RC_OK)
            _exit(1);
        at += n;
    }
    free(piece);
    return out;
}

static struct kv_blob_id make(struct kv *kv, struct kv_part part, size_t size)
{
    struct kv_blob_out *out = begin(kv, part, size);
    struct kv_blob_id id;
    if (kv_blob_finish(&out, &id) != RC_OK)
        _exit(1);
    return id;
}

static void refer(struct kv *kv, struct kv_part part, struct kv_blob_id id, size_t size)
{
    struct kv_txn *txn = kv_txn_new(part);
    tell("maybe", id, part, size);
    if (kv_txn_ref(txn, id) != RC_OK || kv_commit_wait(kv, txn, NULL) != RC_OK)
        _exit(1);
    tell("have", id, part, size);
}

static void drop(struct kv *kv, struct kv_part part, struct kv_blob_id id, size_t size)
{
    struct kv_txn *txn = kv_txn_new(part);
    tell("maybe", id, part, size);
    if (kv_txn_drop(txn, id) != RC_OK || kv_commit_wait(kv, txn, NULL) != RC_OK)
        _exit(1);
    tell("gone", id, part, size);
}

static void ref_and_drop(struct kv *kv, struct kv_blob_id id)
{
    struct kv_txn *txn = kv_txn_new(other);
    if (kv_txn_ref(txn, id) != RC_OK || kv_txn_drop(txn, id) != RC_OK ||
        kv_commit_wait(kv, txn, NULL) != RC_OK)
        _exit(1);
}

static void work(struct kv *kv)
{
    struct kv_blob_id kept = make(kv, home, SMALL), large = make(kv, home, LARGE);
    refer(kv, home, kept, SMALL);
    refer(kv, home, large, LARGE);
    kv_blob_forget(kv, large);
    struct kv_blob_id item = make(kv, queue, SMALL + 1);
    refer(kv, queue, item, SMALL + 1);
    kv_blob_forget(kv, item);
    refer(kv, home, item, SMALL + 1);
    refer(kv, other, item, SMALL + 1);
    drop(kv, queue, item, SMALL + 1);
    struct kv_blob_id brief = make(kv, home, SMALL + 2);
    refer(kv, home, brief, SMALL + 2);
    kv_blob_forget(kv, brief);
    drop(kv, home, brief, SMALL + 2);
    ref_and_drop(kv, kept);
    kv_blob_forget(kv, kept);
    kv_blob_forget(kv, make(kv, home, SMALL + 3)); /* never named */
    struct kv_blob_out *aborted = begin(kv, home, LARGE + 1);
    kv_blob_abort(&aborted);
    struct kv_blob_id large_brief = make(kv, home, LARGE + 2);
    refer(kv, home, large_brief, LARGE + 2);
    kv_blob_forget(kv, large_brief);
    drop(kv, home, large_brief, LARGE + 2);
}

/* Names in the list of processes. */
static size_t processes(struct kv *kv)
{
    struct rad *rad = rad_of(kv);
    struct str key, value;
    size_t n = 0;
    struct link_call *call = link_call_new(rad->link, LINK_INDEX, FORM_PROCESSES);
    link_read_rows(call, (struct str){0}, 1000);
    if (link_read_wait(call, 0) == LINK_OK)
        while (link_got_row(call, &key, &value))
            n++;
    link_call_free(&call);
    return n;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

static bool wait_until_swept(struct kv *kv)
{
    for (int i = 0; i < WAIT_S * 50 && processes(kv) > 1; i++)
        nap();
    return processes(kv) == 1;
}

static struct kv *open_store(const struct ctx *ctx, const char *name, uint32_t beat_ms,
                             const struct kv_rados_hooks *hooks)
{
    struct kv *kv = NULL;
    struct kv_rados_conf conf = {.conf = getenv(FIXTURE_CEPH),
                                 .name = name,
                                 .trust_ms = 1,
                                 .beat_ms = beat_ms,
                                 .hooks = hooks};
    return rad_open(ctx, &conf, &kv) == RC_OK ? kv : NULL;
}

/* Arguments: work or sweep, name of the store, step, time. */
static int child(char **argv)
{
    struct ctx ctx = {.clock = &clock_system};
    struct fixture_crash c = {.hooks.step = fixture_crash_at, .step = argv[3]};
    atomic_init(&c.left, atoi(argv[4]));
    bool is_sweep = strcmp(argv[1], "sweep") == 0;
    struct kv *kv = open_store(&ctx, argv[2], is_sweep ? BEAT_SHORT_MS : 0, &c.hooks);
    if (!kv)
        return 1;
    if (is_sweep && !wait_until_swept(kv))
        return 1;
    if (!is_sweep)
        work(kv);
    kv_close(&kv);
    return 0;
}

/* --- the parent ------------------------------------------------------------------------------- */

struct known {
    struct kv_blob_id id;
    struct kv_part part;
    size_t size;
    char state[8]; /* have, maybe, gone */
};

struct story {
    struct known known[BLOBS_MAX];
    size_t n;
    int status; /* of the process */
};

static void note(struct story *s, const char *line)
{
    char state[8], text[BLOB_ID_TEXT], class;
    struct known k = {0};
    assert_int_equal(
        sscanf(line, "%7s %32s %c %" SCNu64 " %zu", state, text, &class, &k.part.id, &k.size), 5);
    assert_true(kv_blob_id_parse(text, &k.id));
    k.part.class = (enum kv_class) class;
    memcpy(k.state, state, sizeof state);
    for (size_t i = 0; i < s->n; i++) {
        if (kv_blob_id_eq(s->known[i].id, k.id) && kv_part_eq(s->known[i].part, k.part)) {
            s->known[i] = k;
            return;
        }
    }
    assert_true(s->n < BLOBS_MAX);
    s->known[s->n++] = k;
}

static void run_child(const char *what, const char *name, const char *step, int time,
                      struct story *out)
{
    char times[16], line[256];
    int pipe_fds[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    snprintf(times, sizeof times, "%d", time);
    char *argv[] = {mem_dup("test_blob_crash", 15),
                    mem_dup(what, strlen(what)),
                    mem_dup(name, strlen(name)),
                    mem_dup(step, strlen(step)),
                    times,
                    NULL};
    *out = (struct story){0};
    assert_int_equal(pipe(pipe_fds), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipe_fds[0]);
    posix_spawn_file_actions_addclose(&actions, pipe_fds[1]);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[1]);
    FILE *told = fdopen(pipe_fds[0], "r");
    while (fgets(line, sizeof line, told))
        note(out, line);
    fclose(told);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    out->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    for (int i = 0; i < 4; i++)
        free(argv[i]);
}

static void report(struct kv_fsck *fsck, const char *line)
{
    print_error("fsck: %s\n", line);
}

/* Whole and right; or not there. */
static bool is_there(struct kv *kv, const struct known *k)
{
    struct kv_blob_in *in;
    enum rc rc = kv_blob_open(kv, k->id, 0, &in);
    if (rc == RC_NOTFOUND)
        return false;
    assert_rc(rc, RC_OK);
    unsigned char *bytes = mem_alloc(k->size);
    size_t got, same = 0;
    assert_int_equal(kv_blob_meta(in).size, k->size);
    assert_rc(kv_blob_read(in, 0, bytes, k->size, 0, &got), RC_OK);
    while (same < got && bytes[same] == byte_of(k->size, same))
        same++;
    assert_int_equal(same, k->size);
    kv_blob_close(&in);
    free(bytes);
    return true;
}

static bool has_row(struct kv *kv, const struct known *k)
{
    char bytes[REFS_KEY];
    struct str key = {bytes, sizeof bytes}, value;
    struct arena arena = {0};
    refs_key(bytes, k->id);
    assert_rc(rad_get(kv, k->part, &key, 1, 0, &arena, &value, NULL), RC_OK);
    arena_fini(&arena);
    return value.n > 0;
}

static enum rc count_bodies(void *arg, struct str name)
{
    struct kv_blob_id id;
    uint64_t chunk;
    *(size_t *)arg += form_body_parse(name, &id, &chunk);
    return RC_OK;
}

static size_t bodies(struct kv *kv)
{
    size_t n = 0;
    assert_rc(link_each_object(rad_of(kv)->link, LINK_BODY, count_bodies, &n), RC_OK);
    return n;
}

static void drop_all(struct kv *kv, const struct story *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!has_row(kv, &s->known[i]))
            continue;
        struct kv_txn *txn = kv_txn_new(s->known[i].part);
        assert_rc(kv_txn_drop(txn, s->known[i].id), RC_OK);
        assert_rc(kv_commit_wait(kv, txn, NULL), RC_OK);
    }
}

/* A store is opened behind the dead process, and all must be as it was told. */
static void check(const char *name, const struct story *s)
{
    struct ctx ctx = {.clock = &clock_system};
    struct kv *kv = open_store(&ctx, name, BEAT_SHORT_MS, NULL);
    struct kv_fsck fsck = {.report = report};
    assert_non_null(kv);
    assert_true(wait_until_swept(kv));
    assert_rc(kv_fsck(kv, &fsck), RC_OK);
    for (size_t i = 0; i < s->n; i++) {
        const struct known *k = &s->known[i];
        bool is_had = has_row(kv, k);
        if (strcmp(k->state, "maybe") != 0)
            assert_int_equal(is_had, strcmp(k->state, "have") == 0);
        if (is_had)
            assert_true(is_there(kv, k));
    }
    drop_all(kv, s);
    for (int i = 0; i < WAIT_S * 50 && bodies(kv) > 0; i++)
        nap();
    assert_int_equal(bodies(kv), 0);
    kv_close(&kv);
}

static void name_store(char *to, size_t n)
{
    snprintf(to, n, "crash-%" PRIx64, random_u64());
}

/* How often the process comes to a step is for it to say: it ends well when it was not so often. */
static int times(void)
{
    return getenv("PENFOLD_FULL") ? 100 : 2;
}

static void crash_everywhere(const char *step)
{
    struct story s = {.status = FIXTURE_CRASHED};
    int time = 0;
    while (s.status == FIXTURE_CRASHED && time < times()) {
        char name[64];
        name_store(name, sizeof name);
        run_child("work", name, step, ++time, &s);
        assert_true(s.status == FIXTURE_CRASHED || (s.status == 0 && time > 1));
        check(name, &s);
    }
}

static void a_process_that_lives_leaves_nothing(void **state)
{
    struct story s;
    char name[64];
    name_store(name, sizeof name);
    run_child("work", name, "never", 1, &s);
    assert_int_equal(s.status, 0);
    check(name, &s);
}

static void crash_while_making(void **state)
{
    crash_everywhere("blob-made");
    crash_everywhere("blob-piece");
    crash_everywhere("blob-tagged");
}

static void crash_while_committing(void **state)
{
    crash_everywhere("blob-committed");
    crash_everywhere("intents-write");
    crash_everywhere("intents-written");
}

static void crash_while_clearing(void **state)
{
    crash_everywhere("clear-read");
    crash_everywhere("clear-write");
    crash_everywhere("clear-chunks");
}

/* The sweeper's own crashes, each behind a process that has left much to do. */
static void crash_while_sweeping(void **state)
{
    static const char *const steps[] = {"sweep-take",   "sweep-fence",  "clear-read", "clear-write",
                                        "clear-chunks", "sweep-forget", "sweep-end"};
    struct story s, sweep;
    char name[64];
    name_store(name, sizeof name);
    run_child("work", name, "clear-chunks", 1, &s);
    assert_int_equal(s.status, FIXTURE_CRASHED);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        run_child("sweep", name, steps[i], 1, &sweep);
        assert_true(sweep.status == FIXTURE_CRASHED || sweep.status == 0);
    }
    check(name, &s);
}

int main(int argc, char **argv)
{
    if (argc == 5)
        return child(argv);
    if (!getenv(FIXTURE_CEPH)) {
        print_message("skipped, %s is not set\n", FIXTURE_CEPH);
        return FIXTURE_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_that_lives_leaves_nothing),
        cmocka_unit_test(crash_while_making),
        cmocka_unit_test(crash_while_committing),
        cmocka_unit_test(crash_while_clearing),
        cmocka_unit_test(crash_while_sweeping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
