/* Conformance 7: many threads at once on one store.
 *
 * Threads do not assert (cmocka's asserts belong to the main thread): they count faults. */
#include "kv/conform.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>

enum { WRITERS = 4, COMMITS = 150, DEPTH = 8, COUNTERS = 3, INCREMENTS = 40, BLOB_ROUNDS = 30 };

struct crowd {
    struct conform *c;
    _Atomic int faults;
    _Atomic int writers_left;
    _Atomic uint64_t told;
};

struct member {
    struct crowd *crowd;
    uint64_t number;
    pthread_t thread;
};

static void expect(struct crowd *crowd, bool claim)
{
    if (!claim)
        atomic_fetch_add(&crowd->faults, 1);
}

static struct kv_part part_of(uint64_t number)
{
    return (struct kv_part){KV_ACCOUNT, 1000 + number};
}

/* Two rows and the version, always the same number. */
static void queue_twins(struct crowd *crowd, struct kv_writer *writer, uint64_t number,
                        struct conform_op *op)
{
    unsigned char value[8];
    struct kv_txn *txn = kv_txn_new(part_of(number));
    put_u64(value, kv_writer_head(writer) + 1);
    expect(crowd, kv_txn_put(txn, STR("a"), str_from(value, 8)) == RC_OK);
    expect(crowd, kv_txn_put(txn, STR("b"), str_from(value, 8)) == RC_OK);
    expect(crowd, kv_writer_commit(writer, txn, &op->op) == RC_OK);
}

static void *write_twins(void *arg)
{
    struct member *me = arg;
    struct conform_ops group;
    struct conform_op *ops = mem_zero(COMMITS * sizeof *ops);
    struct kv_writer *writer;
    conform_ops_init(&group);
    expect(me->crowd, kv_writer_open(me->crowd->c->kv, part_of(me->number), 0, &writer) == RC_OK);
    for (int i = 0; i < COMMITS; i++) {
        if (i >= DEPTH)
            expect(me->crowd, conform_op_wait(&ops[i - DEPTH]) == RC_OK);
        conform_op_init(&group, &ops[i]);
        queue_twins(me->crowd, writer, me->number, &ops[i]);
    }
    for (int i = 0; i < COMMITS; i++)
        expect(me->crowd, conform_op_wait(&ops[i]) == RC_OK && ops[i].order == i + 1);
    kv_writer_close(&writer);
    conform_ops_fini(&group);
    free(ops);
    atomic_fetch_sub(&me->crowd->writers_left, 1);
    return NULL;
}

static void read_twins(struct crowd *crowd, uint64_t number)
{
    const struct str keys[] = {STR("a"), STR("b")};
    struct str values[2];
    struct kv_page page;
    struct arena arena = {0};
    uint64_t version = 0;
    struct kv *kv = crowd->c->kv;
    expect(crowd, kv_get(kv, part_of(number), keys, 2, 0, &arena, values, &version) == RC_OK);
    if (version == 0)
        expect(crowd, !values[0].p && !values[1].p);
    else
        for (int i = 0; i < 2; i++)
            expect(crowd, values[i].n == 8 && get_u64(values[i].p) == version);
    expect(crowd, kv_scan(kv, part_of(number), (struct kv_range){0}, 0, 0, &arena, &page) == RC_OK);
    expect(crowd, page.version >= version && page.n == (page.version ? 2 : 0));
    for (size_t i = 0; i < page.n; i++)
        expect(crowd, get_u64(page.rows[i].value.p) == page.version);
    arena_fini(&arena);
}

static void *read_all(void *arg)
{
    struct member *me = arg;
    while (atomic_load(&me->crowd->writers_left) > 0)
        for (uint64_t i = 0; i < WRITERS; i++)
            read_twins(me->crowd, i);
    return NULL;
}

/* Reads, adds one, commits if nobody was faster; until it has won so often. */
static void *count_up(void *arg)
{
    struct member *me = arg;
    struct kv *kv = me->crowd->c->kv;
    struct kv_part part = {KV_GLOBAL, 1};
    struct str key = STR("counter");
    for (int won = 0; won < INCREMENTS;) {
        struct arena arena = {0};
        struct str value;
        unsigned char next[8];
        uint64_t version;
        expect(me->crowd, kv_get(kv, part, &key, 1, 0, &arena, &value, &version) == RC_OK);
        put_u64(next, value.n == 8 ? get_u64(value.p) + 1 : 1);
        struct kv_txn *txn = kv_txn_new(part);
        kv_txn_expect(txn, version);
        expect(me->crowd, kv_txn_put(txn, key, str_from(next, 8)) == RC_OK);
        enum rc rc = kv_commit_wait(kv, txn, NULL);
        expect(me->crowd, rc == RC_OK || rc == RC_CONFLICT);
        if (rc == RC_OK)
            won++;
        arena_fini(&arena);
    }
    return NULL;
}

static bool write_and_read_blob(struct conform *c, uint64_t seed, size_t size)
{
    struct kv_part part = {KV_QUEUE, seed};
    unsigned char *bytes = mem_alloc(size);
    unsigned char *back = mem_alloc(size);
    struct kv_blob_id id;
    struct kv_blob_in *in = NULL;
    struct kv_blob_out *out = kv_blob_new(c->kv, part, 0, 0);
    size_t got = 0;
    for (size_t i = 0; i < size; i++)
        bytes[i] = conform_byte(seed, i);
    bool is_good = kv_blob_write(out, str_from(bytes, size)) == RC_OK;
    is_good = kv_blob_finish(&out, &id) == RC_OK && is_good;
    struct kv_txn *txn = kv_txn_new(part);
    is_good = kv_txn_ref(txn, id) == RC_OK && is_good;
    is_good = kv_commit_wait(c->kv, txn, NULL) == RC_OK && is_good;
    kv_blob_forget(c->kv, id);
    is_good = kv_blob_open(c->kv, id, 0, &in) == RC_OK && is_good;
    txn = kv_txn_new(part);
    is_good = kv_txn_drop(txn, id) == RC_OK && is_good;
    is_good = kv_commit_wait(c->kv, txn, NULL) == RC_OK && is_good;
    is_good = in && kv_blob_read(in, 0, back, size, 0, &got) == RC_OK && is_good;
    is_good = is_good && got == size && memcmp(bytes, back, size) == 0;
    kv_blob_close(&in);
    free(bytes);
    free(back);
    return is_good;
}

static void *move_blobs(void *arg)
{
    static const size_t sizes[] = {1, 20000, 65537, KV_BLOB_SMALL + 1};
    struct member *me = arg;
    for (uint64_t i = 0; i < BLOB_ROUNDS; i++)
        expect(me->crowd, write_and_read_blob(me->crowd->c, me->number * 100 + i, sizes[i % 4]));
    return NULL;
}

struct told {
    struct kv_watch watch;
    struct crowd *crowd;
};

static void count_told(struct kv_watch *watch, uint64_t version)
{
    atomic_fetch_add(&CONTAINER(watch, struct told, watch)->crowd->told, 1);
}

/* Watches come and go; the memory of each is gone as soon as it was removed. */
static void *watch_all(void *arg)
{
    struct member *me = arg;
    while (atomic_load(&me->crowd->writers_left) > 0) {
        for (uint64_t i = 0; i < WRITERS; i++) {
            struct told *told = mem_zero(sizeof *told);
            *told = (struct told){{.changed = count_told, .part = part_of(i)}, me->crowd};
            kv_watch_add(me->crowd->c->kv, &told->watch);
            read_twins(me->crowd, i);
            kv_watch_remove(me->crowd->c->kv, &told->watch);
            free(told);
        }
    }
    return NULL;
}

static void t701(void **state)
{
    static void *(*const roles[])(void *) = {
        write_twins, write_twins, write_twins, write_twins, read_all,   read_all,
        count_up,    count_up,    count_up,    move_blobs,  move_blobs, watch_all,
    };
    enum { CROWD = sizeof roles / sizeof *roles };
    struct crowd crowd = {.c = *state, .writers_left = WRITERS};
    struct member members[CROWD];
    for (uint64_t i = 0; i < CROWD; i++) {
        members[i] = (struct member){.crowd = &crowd, .number = i};
        assert_int_equal(pthread_create(&members[i].thread, NULL, roles[i], &members[i]), 0);
    }
    for (size_t i = 0; i < CROWD; i++)
        pthread_join(members[i].thread, NULL);
    assert_int_equal(crowd.faults, 0);
    for (uint64_t i = 0; i < WRITERS; i++)
        assert_int_equal(conform_version(crowd.c, part_of(i)), COMMITS);
    struct kv_part counters = {KV_GLOBAL, 1};
    struct str counter = conform_get(crowd.c, counters, STR("counter"));
    assert_int_equal(get_u64(counter.p), COUNTERS * INCREMENTS);
    assert_int_equal(conform_version(crowd.c, counters), COUNTERS * INCREMENTS);
}

const struct conform_test conform_thread_tests[] = {
    {"701 writers, readers, counters, blobs and watches at the same time", t701, CONFORM_ANY},
    {0},
};
