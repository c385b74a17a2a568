/* Conformance 5: watches, leases, generations. */
#include "kv/conform.h"

#include <time.h>

static const struct kv_part jobs = {KV_JOBS, 1};

/* --- watches ---------------------------------------------------------------------------------- */

struct seen {
    struct kv_watch watch;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint64_t version; /* the largest told */
    uint64_t told;    /* how often */
};

static void changed(struct kv_watch *watch, uint64_t version)
{
    struct seen *s = CONTAINER(watch, struct seen, watch);
    pthread_mutex_lock(&s->mutex);
    s->told++;
    if (version > s->version)
        s->version = version;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mutex);
}

static void seen_add(struct conform *c, struct seen *s, struct kv_part part)
{
    *s = (struct seen){.watch = {.changed = changed, .part = part}};
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->cond, NULL);
    kv_watch_add(c->kv, &s->watch);
}

static void seen_fini(struct seen *s)
{
    pthread_cond_destroy(&s->cond);
    pthread_mutex_destroy(&s->mutex);
}

/* Until told of this version; how often it was told so far. Fails after 10 s. */
static uint64_t seen_wait(struct seen *s, uint64_t version)
{
    struct timespec limit;
    int error = 0;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 10;
    pthread_mutex_lock(&s->mutex);
    while (s->version < version && error == 0)
        error = pthread_cond_timedwait(&s->cond, &s->mutex, &limit);
    uint64_t told = s->told;
    pthread_mutex_unlock(&s->mutex);
    assert_int_equal(error, 0);
    return told;
}

static void t501(void **state)
{
    enum { N = 30 };
    struct conform *c = *state;
    struct seen a, b, other;
    seen_add(c, &a, CONFORM_PART);
    seen_add(c, &b, CONFORM_PART);
    seen_add(c, &other, (struct kv_part){KV_QUEUE, 1});
    for (uint64_t i = 1; i <= N; i++)
        assert_int_equal(conform_put(c, CONFORM_PART, STR("k"), STR("v")), i);
    assert_in_range(seen_wait(&a, N), 1, N);
    assert_in_range(seen_wait(&b, N), 1, N);
    kv_watch_remove(c->kv, &a.watch);
    uint64_t told = seen_wait(&a, N);
    conform_put(c, CONFORM_PART, STR("k"), STR("v"));
    seen_wait(&b, N + 1);
    assert_int_equal(seen_wait(&a, N), told); /* not any more */
    assert_int_equal(seen_wait(&other, 0), 0);
    struct kv_txn *txn = kv_txn_new(other.watch.part);
    kv_txn_expect(txn, 17);
    assert_rc(kv_commit_wait(c->kv, txn, NULL), RC_CONFLICT); /* nothing to tell */
    conform_put(c, other.watch.part, STR("k"), STR("v"));
    assert_int_equal(seen_wait(&other, 1), 1);
    kv_watch_remove(c->kv, &b.watch);
    kv_watch_remove(c->kv, &other.watch);
    seen_fini(&a);
    seen_fini(&b);
    seen_fini(&other);
}

/* --- leases ----------------------------------------------------------------------------------- */

static uint64_t take(struct conform *c, struct str name, struct str owner)
{
    uint64_t epoch = 0;
    assert_rc(kv_lease_take(c->kv, jobs, name, owner, 30 * NS_PER_SEC, &epoch), RC_OK);
    return epoch;
}

static enum rc try_take(struct conform *c, struct str name, struct str owner)
{
    uint64_t epoch;
    return kv_lease_take(c->kv, jobs, name, owner, 30 * NS_PER_SEC, &epoch);
}

static enum rc write_under(struct conform *c, struct str name, uint64_t epoch)
{
    struct kv_txn *txn = kv_txn_new(jobs);
    assert_rc(kv_txn_assert_lease(txn, name, epoch), RC_OK);
    assert_rc(kv_txn_put(txn, STR("k"), STR("v")), RC_OK);
    return kv_commit_wait(c->kv, txn, NULL);
}

static void pass_time(struct conform *c, uint64_t ns)
{
    atomic_fetch_add(&c->clock.wall, ns);
}

static void t502(void **state)
{
    struct conform *c = *state;
    struct str name = STR("trim");
    uint64_t first = take(c, name, STR("a"));
    assert_rc(try_take(c, name, STR("b")), RC_CONFLICT);
    assert_rc(write_under(c, name, first), RC_OK);
    assert_rc(write_under(c, name, first + 1), RC_CONFLICT);
    assert_rc(write_under(c, STR("other"), first), RC_CONFLICT);
    pass_time(c, 20 * NS_PER_SEC);
    assert_int_equal(take(c, name, STR("a")), first); /* renewed */
    pass_time(c, 29 * NS_PER_SEC);
    assert_rc(try_take(c, name, STR("b")), RC_CONFLICT);
    if (c->backend->is_persistent)
        conform_reopen(c);
    assert_rc(try_take(c, name, STR("b")), RC_CONFLICT);
    assert_rc(write_under(c, name, first), RC_OK);
    pass_time(c, NS_PER_SEC);
    uint64_t second = take(c, name, STR("b")); /* the time is over */
    assert_true(second > first);
    assert_rc(write_under(c, name, first), RC_CONFLICT);
    assert_rc(write_under(c, name, second), RC_OK);
    assert_rc(try_take(c, name, STR("a")), RC_CONFLICT);
    assert_rc(kv_lease_give(c->kv, jobs, name, STR("a")), RC_CONFLICT);
    assert_rc(kv_lease_give(c->kv, jobs, name, STR("b")), RC_OK);
    assert_rc(kv_lease_give(c->kv, jobs, name, STR("b")), RC_CONFLICT);
    uint64_t third = take(c, name, STR("a"));
    assert_true(third > second);
    assert_rc(write_under(c, name, second), RC_CONFLICT);
    assert_rc(kv_lease_give(c->kv, jobs, name, STR("a")), RC_OK);
    assert_true(take(c, name, STR("a")) > third); /* given back: not a renewal */
}

static void t503(void **state)
{
    struct conform *c = *state;
    char longest[KV_LEASE_NAME_MAX + 1];
    memset(longest, 0xff, sizeof longest);
    struct str too_long = str_from(longest, sizeof longest);
    struct str name = str_from(longest, KV_LEASE_NAME_MAX);
    assert_rc(try_take(c, too_long, STR("a")), RC_PERM);
    assert_rc(try_take(c, STR(""), STR("a")), RC_PERM);
    assert_rc(try_take(c, STR("n"), too_long), RC_PERM);
    assert_rc(try_take(c, STR("n"), STR("")), RC_PERM);
    struct kv_txn *txn = kv_txn_new(jobs);
    assert_rc(kv_txn_assert_lease(txn, too_long, 1), RC_PERM);
    assert_rc(kv_txn_assert_lease(txn, STR(""), 1), RC_PERM);
    kv_txn_free(&txn);
    assert_rc(write_under(c, name, take(c, name, name)), RC_OK);
    /* Other names, other partitions and classes of the same number are other leases. */
    struct kv_part queue = {KV_QUEUE, 1};
    uint64_t epoch;
    take(c, STR("n"), STR("a"));
    take(c, STR("nn"), STR("b"));
    assert_rc(kv_lease_take(c->kv, queue, STR("n"), STR("c"), NS_PER_SEC, &epoch), RC_OK);
    assert_rc(try_take(c, STR("n"), STR("b")), RC_CONFLICT);
}

/* Renewing does not disturb the holder's writer; a new holder does. */
static void t504(void **state)
{
    struct conform *c = *state;
    struct conform_ops group;
    struct conform_op op;
    struct kv_writer *writer;
    uint64_t epoch = take(c, STR("shard"), STR("a"));
    conform_ops_init(&group);
    conform_op_init(&group, &op);
    assert_rc(kv_writer_open(c->kv, jobs, 0, &writer), RC_OK);
    assert_int_equal(take(c, STR("shard"), STR("a")), epoch);
    struct kv_txn *txn = kv_txn_new(jobs);
    assert_rc(kv_txn_assert_lease(txn, STR("shard"), epoch), RC_OK);
    assert_rc(kv_writer_commit(writer, txn, &op.op), RC_OK);
    assert_rc(conform_op_wait(&op), RC_OK);
    pass_time(c, 31 * NS_PER_SEC);
    assert_true(take(c, STR("shard"), STR("b")) > epoch);
    conform_op_init(&group, &op);
    assert_rc(kv_writer_commit(writer, kv_txn_new(jobs), &op.op), RC_OK);
    assert_rc(conform_op_wait(&op), RC_CONFLICT);
    kv_writer_close(&writer);
    conform_ops_fini(&group);
}

struct taker {
    struct conform *c;
    pthread_t thread;
    char owner[2];
    enum rc rc;
    uint64_t epoch;
};

static void *take_once(void *arg)
{
    struct taker *t = arg;
    t->rc =
        kv_lease_take(t->c->kv, jobs, STR("race"), str_of(t->owner), 30 * NS_PER_SEC, &t->epoch);
    return NULL;
}

/* Of several who ask at the same time at most one gets it, and epochs grow from race to race. */
static void t505(void **state)
{
    enum { TAKERS = 4, RACES = 20 };
    struct conform *c = *state;
    struct taker takers[TAKERS];
    uint64_t last = 0;
    for (int race = 0; race < RACES; race++) {
        int winners = 0;
        for (int i = 0; i < TAKERS; i++) {
            takers[i] = (struct taker){.c = c, .owner = {(char)('a' + i)}};
            pthread_create(&takers[i].thread, NULL, take_once, &takers[i]);
        }
        for (int i = 0; i < TAKERS; i++) {
            pthread_join(takers[i].thread, NULL);
            if (takers[i].rc != RC_OK) {
                assert_rc(takers[i].rc, RC_CONFLICT);
                continue;
            }
            winners++;
            /* Who held it when the last race ended may have renewed it. */
            assert_true(takers[i].epoch >= last);
            last = takers[i].epoch;
            assert_rc(write_under(c, STR("race"), last), RC_OK);
        }
        assert_int_equal(winners, 1);
        pass_time(c, 31 * NS_PER_SEC);
    }
}

/* --- generations ------------------------------------------------------------------------------ */

static void t506(void **state)
{
    struct conform *c = *state;
    struct kv_blob_id id = conform_blob(c, CONFORM_PART, 1, 1000);
    struct kv_blob_id large = conform_blob(c, CONFORM_PART, 2, KV_BLOB_SMALL + 1);
    assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
    assert_rc(conform_ref(c, CONFORM_PART, large), RC_OK);
    kv_blob_forget(c->kv, id);
    kv_blob_forget(c->kv, large);
    conform_put(c, CONFORM_PART, STR("k"), STR("v"));
    uint64_t generation = kv_generation(c->kv);
    if (c->backend->is_persistent) {
        conform_reopen(c);
        assert_int_equal(kv_generation(c->kv), generation);
    }
    conform_restore(c);
    uint64_t restored = kv_generation(c->kv);
    assert_true(restored > generation);
    assert_row(c, CONFORM_PART, "k", "v");
    assert_true(conform_blob_is_there(c, id));
    assert_true(conform_blob_is_there(c, large));
    assert_int_equal(conform_put(c, CONFORM_PART, STR("k"), STR("w")), 4);
    if (c->backend->is_persistent) {
        conform_reopen(c);
        assert_int_equal(kv_generation(c->kv), restored);
    }
}

static void t507(void **state)
{
    struct conform *c = *state;
    const char *why = NULL;
    assert_int_equal(kv_state(c->kv, &why), KV_WRITABLE);
    assert_int_equal(kv_state(c->kv, NULL), KV_WRITABLE);
    struct kv_fsck fsck = {0};
    struct kv_blob_id id = conform_blob(c, CONFORM_PART, 1, 1000);
    assert_rc(conform_ref(c, CONFORM_PART, id), RC_OK);
    kv_blob_forget(c->kv, id);
    conform_put(c, CONFORM_PART, STR("k"), STR("v"));
    assert_rc(kv_fsck(c->kv, &fsck), RC_OK);
    assert_int_equal(fsck.faults, 0);
    assert_int_equal(fsck.blobs, 1);
    assert_int_equal(fsck.bytes, 1000);
    assert_int_equal(fsck.rows, 1);
}

struct told {
    struct kv_fsck fsck;
    struct kv_blob_id ids[2];
    uint64_t counts[2][2]; /* by blob and partition */
    size_t others;
};

static const struct kv_part second = {KV_QUEUE, 7};

static void note_reference(struct kv_fsck *fsck, struct kv_part part, const struct kv_blob_id *blob,
                           uint64_t count)
{
    struct told *t = CONTAINER(fsck, struct told, fsck);
    bool is_known = false;
    for (size_t i = 0; i < 2; i++) {
        if (!kv_blob_id_eq(*blob, t->ids[i]))
            continue;
        is_known = kv_part_eq(part, CONFORM_PART) || kv_part_eq(part, second);
        t->counts[i][kv_part_eq(part, second)] += count;
    }
    t->others += !is_known;
}

static void t509(void **state)
{
    struct conform *c = *state;
    struct told told = {.fsck.reference = note_reference};
    for (size_t i = 0; i < 2; i++) {
        told.ids[i] = conform_blob(c, CONFORM_PART, i, 1000);
        for (size_t n = 0; n < 2 + i; n++)
            assert_rc(conform_ref(c, CONFORM_PART, told.ids[i]), RC_OK);
        kv_blob_forget(c->kv, told.ids[i]);
    }
    assert_rc(conform_ref(c, second, told.ids[1]), RC_OK);
    assert_rc(conform_drop(c, CONFORM_PART, told.ids[0]), RC_OK);
    assert_rc(kv_fsck(c->kv, &told.fsck), RC_OK);
    assert_int_equal(told.counts[0][0], 1);
    assert_int_equal(told.counts[0][1], 0);
    assert_int_equal(told.counts[1][0], 3);
    assert_int_equal(told.counts[1][1], 1);
    assert_int_equal(told.others, 0);
}

/* Whose lease it is, what a damaged one is, and how it is made anew. */
static void t510(void **state)
{
    struct conform *c = *state;
    const struct kv_part leases = {KV_LEASES, jobs.id};
    const struct str name = STR("looked"), holder = STR("Jhlooked");
    struct kv_lease_state lease;
    uint64_t first = 0, second_epoch = 0;
    assert_rc(kv_lease_look(c->kv, jobs, name, &lease), RC_NOTFOUND);
    assert_rc(kv_lease_take(c->kv, jobs, name, STR("a"), 30 * NS_PER_SEC, &first), RC_OK);
    assert_rc(kv_lease_look(c->kv, jobs, name, &lease), RC_OK);
    assert_string_equal(lease.owner, "a");
    assert_int_equal(lease.until, clock_wall(c->ctx.clock) + 30 * NS_PER_SEC);
    assert_rc(kv_lease_give(c->kv, jobs, name, STR("a")), RC_OK);
    assert_rc(kv_lease_look(c->kv, jobs, name, &lease), RC_OK);
    assert_int_equal(lease.until, 0);
    assert_rc(kv_lease_take(c->kv, jobs, name, STR("a"), 30 * NS_PER_SEC, &first), RC_OK);
    conform_put(c, leases, holder, STR("?"));
    assert_rc(kv_lease_look(c->kv, jobs, name, &lease), RC_CORRUPT);
    assert_rc(kv_lease_reset(c->kv, jobs, name), RC_OK);
    assert_rc(kv_lease_look(c->kv, jobs, name, &lease), RC_OK);
    assert_rc(write_under(c, name, first), RC_CONFLICT);
    assert_rc(kv_lease_take(c->kv, jobs, name, STR("b"), NS_PER_SEC, &second_epoch), RC_OK);
    assert_true(second_epoch > first);
    assert_rc(write_under(c, name, second_epoch), RC_OK);
}

static void t508(void **state)
{
    struct conform *c = *state;
    uint64_t before = kv_generation(c->kv), far = before + 1000000;
    assert_rc(kv_generation_raise(c->kv, before), RC_OK);
    assert_rc(kv_generation_raise(c->kv, 0), RC_OK);
    assert_int_equal(kv_generation(c->kv), before);
    assert_rc(kv_generation_raise(c->kv, far), RC_OK);
    assert_rc(kv_generation_raise(c->kv, before + 1), RC_OK);
    assert_int_equal(kv_generation(c->kv), far);
    conform_put(c, CONFORM_PART, STR("k"), STR("v"));
    if (c->backend->is_persistent) {
        conform_reopen(c);
        assert_int_equal(kv_generation(c->kv), far);
    }
    conform_restore(c);
    assert_true(kv_generation(c->kv) > far);
}

const struct conform_test conform_notice_tests[] = {
    {"501 a watch is told of what its partition's commits have published", t501, CONFORM_ANY},
    {"502 a lease has one holder at a time, and epochs grow", t502, CONFORM_ANY},
    {"503 leases have names", t503, CONFORM_ANY},
    {"504 renewing a lease disturbs no writer, a new holder does", t504, CONFORM_ANY},
    {"505 of many takers one wins", t505, CONFORM_ANY},
    {"506 a restored store has a larger generation and all that was committed", t506, CONFORM_ANY},
    {"507 a sound store says so", t507, CONFORM_ANY},
    {"508 a generation is raised, never lowered, and lasts", t508, CONFORM_ANY},
    {"509 a check tells of all references", t509, CONFORM_ANY},
    {"510 a lease can be looked at, and made anew", t510, CONFORM_ANY},
    {0},
};
