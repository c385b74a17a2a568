/* Folds under random transactions, against kv_mem as the model: undisturbed; with a process ended
 * at each named step; with two processes that fold at once while answers get lost.
 *
 * Transaction number n of a partition is made from n alone, and none has asserts. So a partition's
 * version says which transactions it has, and the model is brought there before all rows are
 * compared.
 *
 * The process that is ended is this program again: it tells on a pipe what has been acknowledged.
 * With PENFOLD_FULL in the environment there is more of everything. */
#include "rados/fixture.h"
#include "rados/fold_int.h"

#include "base/mem.h"
#include "base/random.h"

#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
    HEAD_ROWS = 30, /* small, so that little work folds much */
    SHARD_ROWS = 60,
    KEYS = 700,
    ITEMS_MAX = 12,
    VALUE_MAX = 40,
    WINDOW = 6, /* commits at once */
    RUN = 120   /* of one process, at most */
};

static const struct kv_part part = {KV_ACCOUNT, 7};

static bool is_full(void)
{
    return getenv("PENFOLD_FULL") != NULL;
}

/* --- transactions ----------------------------------------------------------------------------- */

/* A number made from all before it. */
static uint64_t roll(uint64_t *dice, uint64_t sides)
{
    *dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = (*dice ^ *dice >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % sides;
}

/* Keys have bytes that omaps' keys cannot have. */
static struct str key_at(char to[8], uint64_t k)
{
    to[0] = (char)('a' + k / 256);
    to[1] = (char)(k % 256);
    to[2] = (char)(k % 3);
    return str_from(to, 2 + k % 2);
}

static void add_item(struct kv_txn *txn, uint64_t n, uint64_t *dice)
{
    char key[8];
    char to[8];
    char value[VALUE_MAX];
    uint64_t k = roll(dice, KEYS);
    uint64_t kind = roll(dice, 200);
    size_t size = 8 + roll(dice, VALUE_MAX - 8);
    memset(value, (int)('a' + n % 26), sizeof value);
    memcpy(value, &n, sizeof n);
    if (kind < 130)
        assert_rc(kv_txn_put(txn, key_at(key, k), str_from(value, size)), RC_OK);
    else if (kind < 198)
        assert_rc(kv_txn_delete(txn, key_at(key, k)), RC_OK);
    else if (kind == 198 || roll(dice, 20) > 0)
        assert_rc(kv_txn_trim(txn, key_at(key, k), key_at(to, k + roll(dice, KEYS / 4))), RC_OK);
    else
        assert_rc(kv_txn_trim(txn, (struct str){0}, (struct str){0}), RC_OK);
}

static struct kv_txn *draft(uint64_t n)
{
    struct kv_txn *txn = kv_txn_new(part);
    uint64_t dice = n * 1000003;
    uint64_t items = 1 + roll(&dice, ITEMS_MAX);
    add_item(txn, n, &dice);
    /* Now and then one key is written in every transaction, as an account's first row is. */
    assert_rc(kv_txn_put(txn, STR("hot"), str_from(&n, sizeof n)), RC_OK);
    for (uint64_t i = 1; i < items; i++)
        add_item(txn, n, &dice);
    return txn;
}

/* --- comparing -------------------------------------------------------------------------------- */

static void bring_to(struct kv *model, uint64_t version)
{
    uint64_t n = fixture_version(model, part);
    assert_true(n <= version);
    while (n < version)
        assert_rc(kv_commit_wait(model, draft(n + 1), &n), RC_OK);
}

static void compare_rows(struct kv *kv, struct kv *model)
{
    struct arena arena = {0};
    struct kv_range range = {0};
    struct kv_page page;
    struct kv_page right;
    do {
        assert_rc(kv_scan(kv, part, range, 97, 0, &arena, &page), RC_OK);
        assert_rc(kv_scan(model, part, range, 97, 0, &arena, &right), RC_OK);
        assert_int_equal(page.version, right.version);
        assert_int_equal(page.n, right.n);
        for (size_t i = 0; i < page.n; i++) {
            assert_true(str_eq(page.rows[i].key, right.rows[i].key));
            assert_true(str_eq(page.rows[i].value, right.rows[i].value));
        }
        if (page.n > 0)
            range.after = page.rows[page.n - 1].key;
    } while (page.n > 0);
    arena_fini(&arena);
}

/* The store may be one that has not heard of the last commits yet. */
static void compare_some(struct kv *kv, struct kv *model, uint64_t *dice)
{
    enum { N = 20 };
    struct arena arena = {0};
    char bytes[N][8];
    struct str keys[N];
    struct str found[N];
    struct str right[N];
    uint64_t version;
    uint64_t right_version;
    for (size_t i = 0; i < N; i++)
        keys[i] = key_at(bytes[i], roll(dice, KEYS));
    assert_rc(kv_get(model, part, keys, N, 0, &arena, right, &right_version), RC_OK);
    do
        assert_rc(kv_get(kv, part, keys, N, 0, &arena, found, &version), RC_OK);
    while (version < right_version);
    assert_int_equal(version, right_version);
    for (size_t i = 0; i < N; i++)
        assert_true(str_eq(found[i], right[i]) && str_is_null(found[i]) == str_is_null(right[i]));
    arena_fini(&arena);
}

/* Nobody writes meanwhile. */
static void compare(struct kv *kv, struct kv *model)
{
    uint64_t version = fixture_version(model, part);
    while (fixture_version(kv, part) < version)
        ;
    bring_to(model, fixture_version(kv, part));
    compare_rows(kv, model);
}

/* --- shards ----------------------------------------------------------------------------------- */

struct shards {
    size_t in_map, in_pool, marks;
    uint64_t folds;
};

static enum rc count_shard(void *arg, struct str name)
{
    struct shards *s = arg;
    s->in_pool += str_starts(name, STR("s."));
    return RC_OK;
}

/* By a store that has just been opened, so that no fold is under way. */
static struct shards count_shards(struct kv *kv)
{
    struct rad *rad = rad_of(kv);
    struct shards s = {0};
    (void)fixture_version(kv, part);
    struct rad_part *p = rad_part_get(rad, part);
    pthread_mutex_lock(&p->mutex);
    s.in_map = p->head.shards.n;
    s.marks = p->head.marks.count;
    s.folds = p->head.state.finished;
    pthread_mutex_unlock(&p->mutex);
    rad_part_put(p);
    assert_rc(link_each_object(rad->link, LINK_INDEX, count_shard, &s), RC_OK);
    return s;
}

static void report(struct kv_fsck *fsck, const char *line)
{
    print_error("fsck: %s\n", line);
}

static void check_sound(struct kv *kv)
{
    struct kv_fsck fsck = {.report = report};
    assert_rc(kv_fsck(kv, &fsck), RC_OK);
}

static void make_small(struct kv_rados_conf *conf)
{
    conf->head_rows = HEAD_ROWS;
    conf->shard_rows = SHARD_ROWS;
}

/* --- fences ----------------------------------------------------------------------------------- */

static enum link_result fence(struct kv *kv, uint64_t epoch)
{
    unsigned char row[RAD_FENCE];
    struct link_call *call = link_call_new(rad_of(kv)->link, LINK_INDEX, "fences");
    link_guard_row_below(call, RAD_STATE_KEY, rad_fence_pack(row, epoch));
    link_write_row(call, RAD_STATE_KEY, rad_fence_pack(row, epoch));
    enum link_result result = link_write_wait(call, 0);
    link_call_free(&call);
    return result;
}

/* As RADOS compares them. */
static void fences_grow_as_epochs_do(void **state)
{
    static const uint64_t epochs[] = {1,   9,   10,    127,   128,        255,
                                      256, 511, 32768, 65535, 0x80000000, UINT64_C(1) << 40};
    struct fixture *f = *state;
    struct link_call *call = link_call_new(rad_of(f->kv)->link, LINK_INDEX, "fences");
    assert_int_equal(fence(f->kv, 1), LINK_MISSING);
    link_write_create(call);
    assert_int_equal(link_write_wait(call, 0), LINK_OK);
    link_call_free(&call);
    for (size_t i = 0; i < sizeof epochs / sizeof *epochs; i++) {
        assert_int_equal(fence(f->kv, epochs[i]), LINK_OK);
        for (size_t j = 0; j <= i; j++)
            assert_int_equal(fence(f->kv, epochs[j]), LINK_REFUSED);
    }
}

/* --- undisturbed ------------------------------------------------------------------------------ */

static void rows_in_shards_are_as_rows_in_the_head(void **state)
{
    struct fixture *f = *state;
    struct kv *model = kv_mem_new(&f->ctx);
    uint64_t dice = 1;
    uint64_t version = 0;
    size_t shards = 0;
    make_small(&f->conf);
    fixture_reopen(f);
    while (version < (is_full() ? 3000 : 500)) {
        assert_rc(kv_commit_wait(f->kv, draft(version + 1), &version), RC_OK);
        bring_to(model, version);
        compare_some(f->kv, model, &dice);
        if (version % 50 == 0)
            compare(f->kv, model);
        if (version % 100 == 0)
            fixture_reopen(f);
        struct shards s = version % 100 == 0 ? count_shards(f->kv) : (struct shards){0};
        shards = s.in_map > shards ? s.in_map : shards;
    }
    fixture_reopen(f);
    struct shards s = count_shards(f->kv);
    print_message("%zu shards at most, %" PRIu64 " folds\n", shards, s.folds);
    assert_true(shards > 3);
    assert_true(s.folds > 20);
    assert_true(s.in_pool <= s.in_map + s.marks);
    check_sound(f->kv);
    kv_close(&model);
}

static void what_is_trimmed_leaves_no_shards(void **state)
{
    struct fixture *f = *state;
    make_small(&f->conf);
    fixture_reopen(f);
    uint64_t version = 0;
    for (uint64_t n = 1; n < 100; n++)
        assert_rc(kv_commit_wait(f->kv, draft(n), &version), RC_OK);
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_trim(txn, (struct str){0}, (struct str){0}), RC_OK);
    assert_rc(kv_commit_wait(f->kv, txn, NULL), RC_OK);
    assert_int_equal(fixture_count(f, f->kv, part), 0);
    for (int i = 0; i < 500 && count_shards(f->kv).in_pool > 1; i++) /* a commit: it looks again */
        (void)fixture_put(f->kv, part, STR("k"), STR("v"));
    assert_true(count_shards(f->kv).in_pool <= 1);
    assert_int_equal(fixture_count(f, f->kv, part), 1);
}

static enum link_result write_shard(struct kv *kv, uint64_t number, bool is_made)
{
    char object[RAD_OBJECT];
    rad_name_shard(object, part, number);
    struct link_call *call = link_call_new(rad_of(kv)->link, LINK_INDEX, object);
    if (is_made) {
        link_write_create(call);
        link_write_row(call, RAD_STATE_KEY,
                       STR("\1"
                           "0000000000000001"));
    } else {
        link_write_remove(call);
    }
    enum link_result result = link_write_wait(call, 0);
    link_call_free(&call);
    return result;
}

static void say_nothing(struct kv_fsck *fsck, const char *line)
{
}

static void strays_are_found_and_lost_shards_are_an_error(void **state)
{
    struct fixture *f = *state;
    struct kv_fsck fsck = {.report = say_nothing};
    uint64_t version = 0;
    make_small(&f->conf);
    fixture_reopen(f);
    while (version < 60)
        assert_rc(kv_commit_wait(f->kv, draft(version + 1), &version), RC_OK);
    fixture_reopen(f);
    check_sound(f->kv);
    assert_int_equal(write_shard(f->kv, fold_number(9999, 0), true), LINK_OK);
    assert_rc(kv_fsck(f->kv, &fsck), RC_CORRUPT);
    assert_int_equal(fsck.faults, 1);
    struct rad_part *p = rad_part_get(rad_of(f->kv), part);
    uint64_t first = p->head.shards.shard[0].number;
    rad_part_put(p);
    assert_int_equal(write_shard(f->kv, first, false), LINK_OK);
    fixture_reopen(f);
    struct kv_page page;
    assert_rc(kv_scan(f->kv, part, (struct kv_range){0}, 0, 0, &f->arena, &page), RC_CORRUPT);
}

/* --- a process is ended ----------------------------------------------------------------------- */

/* Each process lives an hour after the one before: what unfinished folds have left is old then. */
struct late_clock {
    struct clock clock;
    uint64_t later;
};

static uint64_t late_wall(const struct clock *clock)
{
    const struct late_clock *c = (const struct late_clock *)clock;
    return clock_wall(&clock_system) + c->later;
}

static uint64_t late_mono(const struct clock *clock)
{
    return clock_mono(&clock_system);
}

struct committing {
    struct kv_op op;
    pthread_mutex_t *mutex;
    pthread_cond_t *cond;
    bool is_done;
};

static void committed(struct kv_op *op)
{
    struct committing *c = CONTAINER(op, struct committing, op);
    pthread_mutex_lock(c->mutex);
    c->is_done = true;
    pthread_cond_broadcast(c->cond);
    pthread_mutex_unlock(c->mutex);
}

/* One line, at once: what the parent has read was true before the crash. */
static void tell(uint64_t version)
{
    char line[32];
    int n = snprintf(line, sizeof line, "%" PRIu64 "\n", version);
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(1);
}

/* Commits WINDOW at once, in order. */
static void commit_many(struct kv *kv, uint64_t from, uint64_t upto)
{
    struct committing window[WINDOW] = {0};
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    uint64_t sent = from;
    for (uint64_t n = from; n < upto; n++) {
        for (; sent < upto && sent < n + WINDOW; sent++) {
            struct committing *c = &window[sent % WINDOW];
            *c = (struct committing){.op.done = committed, .mutex = &mutex, .cond = &cond};
            if (kv_commit(kv, draft(sent + 1), 0, &c->op) != RC_OK)
                _exit(1);
        }
        struct committing *c = &window[n % WINDOW];
        pthread_mutex_lock(&mutex);
        while (!c->is_done)
            pthread_cond_wait(&cond, &mutex);
        pthread_mutex_unlock(&mutex);
        if (c->op.rc != RC_OK || c->op.version != n + 1)
            _exit(1);
        tell(c->op.version);
    }
}

/* Arguments: name of the store, step, time, hours. */
static int child(char **argv)
{
    struct late_clock clock = {{late_mono, late_wall}, strtoull(argv[4], NULL, 10)};
    struct ctx ctx = {.clock = &clock.clock};
    struct fixture_crash c = {.hooks.step = fixture_crash_at, .step = argv[2]};
    struct kv *kv = NULL;
    uint64_t version = 0;
    struct kv_rados_conf conf = {
        .conf = getenv(FIXTURE_CEPH), .name = argv[1], .trust_ms = 1, .hooks = &c.hooks};
    clock.later *= 3600 * NS_PER_SEC;
    atomic_init(&c.left, atoi(argv[3]));
    make_small(&conf);
    if (rad_open(&ctx, &conf, &kv) != RC_OK || kv_version(kv, part, 0, &version) != RC_OK)
        return 1;
    commit_many(kv, version, version + RUN);
    kv_close(&kv);
    return 0;
}

struct life {
    int status;
    uint64_t version; /* the last one that was acknowledged */
};

static struct life run_child(const struct fixture *f, const char *step, int time, int hours)
{
    struct life life = {0};
    char name[64];
    char at[32];
    char times[16];
    char later[16];
    char line[64];
    char program[] = "test_fold";
    char *argv[] = {program, name, at, times, later, NULL};
    int fds[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    snprintf(name, sizeof name, "%s", f->name);
    snprintf(at, sizeof at, "%s", step);
    snprintf(times, sizeof times, "%d", time);
    snprintf(later, sizeof later, "%d", hours);
    assert_int_equal(pipe(fds), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    posix_spawn_file_actions_addclose(&actions, fds[1]);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    FILE *told = fdopen(fds[0], "r");
    while (fgets(line, sizeof line, told))
        life.version = strtoull(line, NULL, 10);
    fclose(told);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    life.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return life;
}

/* Another process opens the store behind the dead one: all that was acknowledged is there, and
 * nothing of what was not begun. */
static uint64_t check_after(struct fixture *f, struct kv *model, struct life life)
{
    fixture_reopen(f);
    uint64_t version = fixture_version(f->kv, part);
    assert_true(version >= life.version && version <= life.version + WINDOW);
    compare(f->kv, model);
    kv_close(&f->kv);
    return version;
}

static void crashes_at_each_step(void **state)
{
    static const char *const steps[] = {"commit",       "fold-take",   "fold-fence", "fold-write",
                                        "fold-read",    "fold-make",   "fold-fill",  "fold-finish",
                                        "clean-remove", "clean-forget"};
    struct fixture *f = *state;
    struct kv *model = kv_mem_new(&f->ctx);
    int hours = 0;
    struct life life = run_child(f, "never", 1, hours++); /* something to fold */
    assert_int_equal(life.status, 0);
    uint64_t version = check_after(f, model, life);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        for (int time = 1; time <= (is_full() ? 12 : 2); time++) {
            life = run_child(f, steps[i], time, hours++);
            life.version = life.version ? life.version : version;
            assert_true(life.status == FIXTURE_CRASHED || (life.status == 0 && time > 2));
            version = check_after(f, model, life);
        }
    }
    life = run_child(f, "never", 1, hours); /* cleans up behind all */
    assert_int_equal(life.status, 0);
    check_after(f, model, life);
    make_small(&f->conf);
    f->kv = fixture_open(f);
    struct shards s = count_shards(f->kv);
    assert_true(s.in_map > 3);
    assert_true(s.in_pool <= s.in_map + s.marks);
    assert_true(s.marks < 10);
    check_sound(f->kv);
    kv_close(&model);
}

/* --- two at once, answers get lost ------------------------------------------------------------ */

struct unlucky {
    struct kv_rados_hooks hooks;
    _Atomic uint64_t dice;
    _Atomic unsigned met;
};

/* Of forty ops on shards one is done late, done without an answer, or not done. */
static enum kv_rados_fate unlucky_fate(const struct kv_rados_hooks *hooks, const char *object)
{
    struct unlucky *u = (struct unlucky *)(uintptr_t)hooks;
    uint64_t dice = atomic_fetch_add(&u->dice, 1);
    uint64_t rolled = roll(&dice, 160);
    if (strncmp(object, "s.", 2) != 0 || rolled > 3)
        return KV_RADOS_DONE;
    atomic_fetch_add(&u->met, 1);
    return rolled == 0 ? KV_RADOS_LOST : rolled == 1 ? KV_RADOS_NEVER : KV_RADOS_LATE;
}

static void two_fold_at_once_and_answers_get_lost(void **state)
{
    struct fixture *f = *state;
    struct kv *model = kv_mem_new(&f->ctx);
    struct unlucky unlucky[2] = {{.dice = 3}, {.dice = 700}};
    struct kv *both[2];
    uint64_t version = 0;
    uint64_t dice = 5;
    make_small(&f->conf);
    for (int i = 0; i < 2; i++) {
        unlucky[i].hooks.fate = unlucky_fate;
        f->conf.hooks = &unlucky[i].hooks;
        both[i] = fixture_open(f);
    }
    while (version < (is_full() ? 3000 : 300)) {
        struct kv *kv = both[roll(&dice, 8) / 4];
        assert_rc(kv_commit_wait(kv, draft(version + 1), &version), RC_OK);
        bring_to(model, version);
        compare_some(both[roll(&dice, 2)], model, &dice);
        if (version % 60 == 0)
            compare(both[version / 60 % 2], model);
    }
    for (int i = 0; i < 2; i++) {
        compare(both[i], model);
        kv_close(&both[i]);
        assert_true(atomic_load(&unlucky[i].met) > 0);
    }
    f->conf.hooks = NULL;
    fixture_reopen(f);
    compare(f->kv, model);
    print_message("%" PRIu64 " folds\n", count_shards(f->kv).folds);
    assert_true(count_shards(f->kv).folds > 5);
    check_sound(f->kv);
    kv_close(&model);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        fixture_test(fences_grow_as_epochs_do),
        fixture_test(rows_in_shards_are_as_rows_in_the_head),
        fixture_test(what_is_trimmed_leaves_no_shards),
        fixture_test(strays_are_found_and_lost_shards_are_an_error),
        fixture_test(crashes_at_each_step),
        fixture_test(two_fold_at_once_and_answers_get_lost),
    };
    return argc > 1 ? child(argv) : fixture_run(tests);
}
