/* RocksDB as kv_local uses it: what is read from memory only agrees with what is read at all, or
 * says that it does not know. Few table files may be open, so most reads meet one that is not. */
#include "kv/kv_local_rocks.h"

#include "base/mem.h"
#include "base/test.h"
#include "task/task.h"

#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEYS = 40, ROUNDS = 6, OPEN_TABLES = 20, VALUE = 200 };

struct fixture {
    char top[64], dir[80];
    struct counters counters;
    struct ctx ctx;
    struct rocks *rocks;
};

static enum rc open_rocks(struct fixture *f)
{
    struct rocks_conf conf = {.path = f->dir, .memory_bytes = 1 << 20, .open_tables = OPEN_TABLES};
    return local_rocks_open(&f->ctx, &conf, &f->rocks);
}

/* What was written becomes a table file in each family. */
static void reopen(struct fixture *f)
{
    local_rocks_close(&f->rocks);
    assert_rc(open_rocks(f), RC_OK);
}

static int set_up(void **state)
{
    struct fixture *f = mem_zero(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->top, sizeof f->top, "%.40s/penfold-rocks-XXXXXX", tmp ? tmp : "/tmp");
    f->ctx = (struct ctx){NULL, &f->counters, &clock_system};
    *state = f;
    if (!mkdtemp(f->top))
        return -1;
    snprintf(f->dir, sizeof f->dir, "%s/db", f->top);
    return open_rocks(f) == RC_OK ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    local_rocks_close(&f->rocks);
    nftw(f->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* --- rows: a key's value begins with the round that wrote it ---------------------------------- */

static struct str key_of(char *to, unsigned n)
{
    return str_from(to, (size_t)snprintf(to, 16, "k%08u", n));
}

static void put(struct fixture *f, struct rocks_batch *batch, enum rocks_family family, unsigned n,
                uint32_t round)
{
    char key[16], value[VALUE] = {0};
    memcpy(value, &round, sizeof round);
    local_rocks_put(f->rocks, batch, family, key_of(key, n), str_from(value, sizeof value));
}

/* RC_OK, RC_NOTFOUND or RC_AGAIN; anything else fails. Absent: round 0. */
static enum rc get(struct fixture *f, enum rocks_family family, unsigned n, bool is_cached,
                   uint32_t *out_round)
{
    char key[16];
    struct arena arena = {0};
    struct str value;
    *out_round = 0;
    enum rc rc = local_rocks_get(f->rocks, family, key_of(key, n), is_cached, &arena, &value);
    if (rc == RC_OK && value.n == VALUE)
        memcpy(out_round, value.p, sizeof *out_round);
    else if (rc == RC_OK)
        rc = RC_SYNTAX;
    arena_fini(&arena);
    return rc;
}

/* Every third key is deleted, every fifth was never there. */
static uint32_t expected(unsigned n, uint32_t round)
{
    return n % 5 == 0 || n % 3 == round % 3 ? 0 : round;
}

static void write_round(struct fixture *f, uint32_t round)
{
    struct rocks_batch *batch = local_rocks_batch_new();
    for (unsigned n = 0; n < KEYS; n++)
        for (int family = 0; family < ROCKS_FAMILIES; family++) {
            char key[16];
            if (expected(n, round))
                put(f, batch, (enum rocks_family)family, n, round);
            else if (n % 5)
                local_rocks_delete(f->rocks, batch, (enum rocks_family)family, key_of(key, n));
        }
    assert_rc(local_rocks_write(f->rocks, batch, true), RC_OK);
    local_rocks_batch_free(&batch);
}

/* How many reads did not know. */
static size_t compare(struct fixture *f, uint32_t round)
{
    size_t unknown = 0;
    for (unsigned n = 0; n < KEYS; n++)
        for (int family = 0; family < ROCKS_FAMILIES; family++) {
            uint32_t cached, is = expected(n, round);
            enum rc rc = get(f, (enum rocks_family)family, n, true, &cached);
            unknown += rc == RC_AGAIN;
            if (rc != RC_AGAIN)
                assert_rc(rc, is ? RC_OK : RC_NOTFOUND);
            assert_true(rc == RC_AGAIN || cached == is);
        }
    return unknown;
}

static void a_table_that_is_not_open_is_not_an_answer(void **state)
{
    struct fixture *f = *state;
    size_t unknown = 0;
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        write_round(f, round);
        (void)compare(f, round); /* what was just written is in memory */
        reopen(f);
        unknown += compare(f, round);
    }
    assert_true(unknown > 0); /* otherwise nothing was tested */
    for (unsigned n = 0; n < KEYS; n++)
        for (int family = 0; family < ROCKS_FAMILIES; family++) {
            uint32_t value;
            enum rc rc = get(f, (enum rocks_family)family, n, false, &value);
            assert_rc(rc, expected(n, ROUNDS) ? RC_OK : RC_NOTFOUND);
            assert_int_equal(value, expected(n, ROUNDS));
        }
}

/* --- while somebody writes, and write buffers become tables ----------------------------------- */

struct writing {
    struct fixture *f;
    atomic_bool is_over;
    _Atomic uint32_t round;
};

static void *write_all_the_time(void *arg)
{
    struct writing *w = arg;
    while (!atomic_load(&w->is_over)) {
        struct rocks_batch *batch = local_rocks_batch_new();
        uint32_t round = atomic_load(&w->round) + 1;
        for (unsigned n = 0; n < KEYS; n++)
            put(w->f, batch, ROCKS_META, n, round);
        for (unsigned n = 0; n < KEYS; n++) /* these make the buffer full */
            put(w->f, batch, ROCKS_META, KEYS + round * KEYS + n, round);
        if (local_rocks_write(w->f->rocks, batch, false) != RC_OK)
            abort();
        local_rocks_batch_free(&batch);
        atomic_store(&w->round, round);
    }
    return NULL;
}

static void reads_agree_while_tables_come_and_go(void **state)
{
    enum { WRITES = 400 };
    struct fixture *f = *state;
    struct writing w = {.f = f};
    write_round(f, 1);
    pthread_t thread = task_thread("test", write_all_the_time, &w);
    while (atomic_load(&w.round) == 0)
        ;
    for (unsigned i = 0; atomic_load(&w.round) < WRITES; i++) {
        uint32_t before, cached, after, old = 1 + i % atomic_load(&w.round);
        assert_rc(get(f, ROCKS_META, i % KEYS, false, &before), RC_OK);
        enum rc rc = get(f, ROCKS_META, i % KEYS, true, &cached);
        assert_rc(get(f, ROCKS_META, i % KEYS, false, &after), RC_OK);
        assert_true(rc == RC_OK || rc == RC_AGAIN);
        assert_true(rc == RC_AGAIN || (before <= cached && cached <= after));
        rc = get(f, ROCKS_META, KEYS + old * KEYS + i % KEYS, true, &cached);
        assert_true(rc == RC_AGAIN || (rc == RC_OK && cached == old));
    }
    atomic_store(&w.is_over, true);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_table_that_is_not_open_is_not_an_answer, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reads_agree_while_tables_come_and_go, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
