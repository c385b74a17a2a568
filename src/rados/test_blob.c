/* Blobs of kv_rados beyond the contract: an erasure-coded pool, what is kept in memory, intents
 * that somebody else takes over, commits whose answers get lost, and what the check finds. */
#include "rados/blob_int.h"
#include "rados/fixture.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_S = 60, LARGE = FORM_CHUNK + 300000 };

static const struct kv_part home = {KV_ACCOUNT, 1}, other = {KV_ACCOUNT, 2};

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
}

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761U >> 24);
}

static struct kv_blob_id make(struct kv *kv, struct kv_part part, size_t size)
{
    struct kv_blob_out *out = kv_blob_new(kv, part, 0, 0);
    struct kv_blob_id id;
    unsigned char *bytes = mem_alloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(i);
    assert_rc(kv_blob_write(out, str_from(bytes, size)), RC_OK);
    assert_rc(kv_blob_finish(&out, &id), RC_OK);
    free(bytes);
    return id;
}

static enum rc refer(struct kv *kv, struct kv_part part, struct kv_blob_id id)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_ref(txn, id), RC_OK);
    return kv_commit_wait(kv, txn, NULL);
}

static enum rc drop(struct kv *kv, struct kv_part part, struct kv_blob_id id)
{
    struct kv_txn *txn = kv_txn_new(part);
    assert_rc(kv_txn_drop(txn, id), RC_OK);
    return kv_commit_wait(kv, txn, NULL);
}

/* Made, named, and let go of. */
static struct kv_blob_id store(struct kv *kv, size_t size)
{
    struct kv_blob_id id = make(kv, home, size);
    assert_rc(refer(kv, home, id), RC_OK);
    kv_blob_forget(kv, id);
    return id;
}

static enum rc open_rc(struct kv *kv, struct kv_blob_id id, unsigned flags)
{
    struct kv_blob_in *in;
    enum rc rc = kv_blob_open(kv, id, flags, &in);
    if (rc == RC_OK)
        kv_blob_close(&in);
    return rc;
}

static void check_bytes(struct kv *kv, struct kv_blob_id id, size_t size)
{
    struct kv_blob_in *in;
    size_t got, same = 0;
    unsigned char *bytes = mem_alloc(size + 1);
    assert_rc(kv_blob_open(kv, id, 0, &in), RC_OK);
    assert_rc(kv_blob_read(in, 0, bytes, size, 0, &got), RC_OK);
    while (same < got && bytes[same] == byte_at(same))
        same++;
    assert_int_equal(same, size);
    kv_blob_close(&in);
    free(bytes);
}

static enum rc count_bodies(void *arg, struct str name)
{
    struct kv_blob_id id;
    uint64_t chunk;
    *(size_t *)arg += form_body_parse(name, &id, &chunk);
    return RC_OK;
}

static void wait_for_bodies(struct kv *kv, size_t expected)
{
    size_t n = SIZE_MAX;
    for (int i = 0; i < WAIT_S * 100 && n != expected; i++) {
        nap();
        n = 0;
        assert_rc(link_each_object(rad_of(kv)->link, LINK_BODY, count_bodies, &n), RC_OK);
    }
    assert_int_equal(n, expected);
}

/* --- pools ------------------------------------------------------------------------------------ */

/* The test cluster's second pool, which holds no omap. */
static void bodies_lie_in_an_erasure_coded_pool(void **state)
{
    struct fixture *f = *state;
    kv_close(&f->kv);
    f->conf.body_pool = "penfold-bodies";
    f->kv = fixture_open(f);
    assert_true(link_alignment(rad_of(f->kv)->link, LINK_BODY) > 1);
    static const size_t sizes[] = {0, 1, 70000, KV_BLOB_SMALL, KV_BLOB_SMALL + 1, LARGE};
    struct kv_blob_id ids[sizeof sizes / sizeof *sizes];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ids[i] = store(f->kv, sizes[i]);
        assert_rc(refer(f->kv, other, ids[i]), RC_OK);
    }
    fixture_reopen(f);
    struct kv_fsck fsck = {0};
    assert_rc(kv_fsck(f->kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, sizeof sizes / sizeof *sizes);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_bytes(f->kv, ids[i], sizes[i]);
        assert_rc(drop(f->kv, home, ids[i]), RC_OK);
        check_bytes(f->kv, ids[i], sizes[i]);
        assert_rc(drop(f->kv, other, ids[i]), RC_OK);
    }
    wait_for_bodies(f->kv, 0);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void what_was_read_lately_is_in_memory_within_bounds(void **state)
{
    enum { BLOBS = 40, SIZE = 100000 };
    struct fixture *f = *state;
    struct kv_blob_id ids[BLOBS];
    for (int i = 0; i < BLOBS; i++)
        ids[i] = store(f->kv, SIZE);
    assert_rc(open_rc(f->kv, ids[0], KV_CACHED), RC_OK); /* just written */
    kv_close(&f->kv);
    f->conf.body_bytes = 10 * SIZE;
    f->kv = fixture_open(f);
    assert_rc(open_rc(f->kv, ids[0], KV_CACHED), RC_AGAIN);
    for (int i = 0; i < BLOBS; i++)
        check_bytes(f->kv, ids[i], SIZE);
    struct blobs *b = rad_of(f->kv)->blobs;
    assert_true(b->lru_bytes <= b->cache_bytes);
    assert_true(b->lru_bytes > b->cache_bytes / 2);
    assert_true(b->by_id.count < BLOBS);
    assert_rc(open_rc(f->kv, ids[0], KV_CACHED), RC_AGAIN);
    assert_rc(open_rc(f->kv, ids[BLOBS - 1], KV_CACHED), RC_OK);
    assert_rc(drop(f->kv, home, ids[BLOBS - 1]), RC_OK);
    for (int i = 0; i < WAIT_S * 100 && open_rc(f->kv, ids[BLOBS - 1], 0) == RC_OK; i++)
        nap();
    assert_true(open_rc(f->kv, ids[BLOBS - 1], KV_CACHED) != RC_OK);
}

/* Of a large one only the window is there. */
static void a_large_one_is_read_through_a_window(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id id = store(f->kv, LARGE);
    struct kv_blob_in *in;
    unsigned char byte;
    size_t got;
    assert_rc(kv_blob_open(f->kv, id, 0, &in), RC_OK);
    assert_rc(kv_blob_read(in, FORM_CHUNK, &byte, 1, KV_CACHED, &got), RC_AGAIN);
    assert_rc(kv_blob_read(in, FORM_CHUNK, &byte, 1, 0, &got), RC_OK);
    assert_int_equal(byte, byte_at(FORM_CHUNK));
    assert_rc(kv_blob_read(in, FORM_CHUNK + 100, &byte, 1, KV_CACHED, &got), RC_OK);
    assert_int_equal(byte, byte_at(FORM_CHUNK + 100));
    assert_rc(kv_blob_read(in, 0, &byte, 1, KV_CACHED, &got), RC_AGAIN);
    kv_blob_close(&in);
}

/* --- intents ---------------------------------------------------------------------------------- */

/* The clerk of one store stands still for as long as the test wants. */
struct stall {
    struct kv_rados_hooks hooks;
    _Atomic bool is_on;
};

static void stall_clerk(const struct kv_rados_hooks *hooks, const char *name)
{
    struct stall *s = (struct stall *)(uintptr_t)hooks; /* its first member */
    while (atomic_load(&s->is_on) && strcmp(name, "intents-write") == 0)
        nap();
}

/* A process that was away for so long that another one has swept behind it: what it had in hand is
 * gone, and it must not commit what names that. Then it goes on. */
static void who_was_taken_over_commits_nothing_old(void **state)
{
    struct fixture *f = *state;
    struct stall s = {.hooks.step = stall_clerk};
    f->conf.beat_ms = 50;
    f->conf.hooks = &s.hooks;
    struct kv *away = fixture_open(f);
    f->conf.hooks = NULL;
    struct kv_blob_id kept = store(away, 1000), old = make(away, home, 2000);
    check_bytes(away, old, 2000);
    atomic_store(&s.is_on, true);
    struct kv *sweeper = fixture_open(f);
    for (int i = 0; i < WAIT_S * 100 && open_rc(sweeper, old, 0) == RC_OK; i++)
        nap();
    assert_rc(open_rc(sweeper, old, 0), RC_NOTFOUND);
    check_bytes(sweeper, kept, 1000);
    atomic_store(&s.is_on, false);
    assert_rc(refer(away, home, old), RC_TEMP);
    kv_blob_forget(away, old);
    struct kv_blob_id fresh = store(away, 3000);
    check_bytes(sweeper, fresh, 3000);
    kv_close(&away);
    kv_close(&sweeper);
    struct kv_fsck fsck = {0};
    assert_rc(kv_fsck(f->kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, 2);
}

static struct kv_blob_out *begin_large(struct kv *kv, size_t from, size_t to,
                                       struct kv_blob_out *out)
{
    unsigned char *bytes = mem_alloc(to - from);
    for (size_t i = from; i < to; i++)
        bytes[i - from] = byte_at(i);
    out = out ? out : kv_blob_new(kv, home, 0, 0);
    assert_rc(kv_blob_write(out, str_from(bytes, to - from)), RC_OK);
    free(bytes);
    return out;
}

/* The same in the middle of a large one: the chunks that it had are gone. */
static void who_was_taken_over_while_writing_does_not_commit_the_rest(void **state)
{
    struct fixture *f = *state;
    struct stall s = {.hooks.step = stall_clerk};
    struct kv_blob_id id;
    f->conf.beat_ms = 50;
    f->conf.hooks = &s.hooks;
    struct kv *away = fixture_open(f);
    f->conf.hooks = NULL;
    struct kv_blob_out *out = begin_large(away, 0, FORM_CHUNK + FORM_PIECE, NULL);
    wait_for_bodies(away, 2);
    atomic_store(&s.is_on, true);
    struct kv *sweeper = fixture_open(f);
    wait_for_bodies(sweeper, 0);
    atomic_store(&s.is_on, false);
    begin_large(away, FORM_CHUNK + FORM_PIECE, LARGE, out);
    assert_rc(kv_blob_finish(&out, &id), RC_OK);
    assert_rc(refer(away, other, id), RC_TEMP);
    assert_rc(refer(away, home, id), RC_TEMP);
    kv_blob_forget(away, id);
    wait_for_bodies(away, 0);
    check_bytes(sweeper, store(away, LARGE), LARGE);
    kv_close(&away);
    kv_close(&sweeper);
}

/* The clock of a machine that stands still and does not know. */
struct pause {
    struct clock clock;
    _Atomic uint64_t since, lost;
};

static uint64_t paused_mono(const struct clock *clock)
{
    struct pause *p = (struct pause *)(uintptr_t)clock;
    uint64_t since = atomic_load(&p->since);
    return since ? since : clock_mono(&clock_system) - atomic_load(&p->lost);
}

static uint64_t wall(const struct clock *clock)
{
    return clock_wall(&clock_system);
}

struct told {
    struct kv_op op;
    _Atomic bool is_done;
};

static void tell(struct kv_op *op)
{
    atomic_store(&CONTAINER(op, struct told, op)->is_done, true);
}

static void await(struct told *told, int seconds)
{
    for (int i = 0; i < seconds * 100 && !atomic_load(&told->is_done); i++)
        nap();
}

/* Its clock says that nobody can have taken over yet. */
static void who_stood_still_commits_nothing_old(void **state)
{
    struct fixture *f = *state;
    struct stall s = {.hooks.step = stall_clerk};
    struct pause p = {.clock = {paused_mono, wall}};
    struct ctx ctx = {.clock = &p.clock};
    struct kv *away = NULL;
    struct told told = {.op.done = tell};
    f->conf.beat_ms = 100;
    f->conf.hooks = &s.hooks;
    assert_rc(rad_open(&ctx, &f->conf, &away), RC_OK);
    f->conf.hooks = NULL;
    store(away, 1000);
    struct kv_blob_id old = make(away, home, 2000);
    check_bytes(away, old, 2000);
    atomic_store(&p.since, clock_mono(&clock_system));
    atomic_store(&s.is_on, true);
    struct kv *sweeper = fixture_open(f);
    wait_for_bodies(sweeper, 1);
    atomic_store(&p.lost, clock_mono(&clock_system) - atomic_load(&p.since));
    atomic_store(&p.since, 0);
    struct kv_txn *txn = kv_txn_new(home);
    assert_rc(kv_txn_ref(txn, old), RC_OK);
    assert_rc(kv_commit(away, txn, 0, &told.op), RC_OK);
    await(&told, 1);
    atomic_store(&s.is_on, false);
    await(&told, WAIT_S);
    assert_true(told.is_done);
    assert_rc(told.op.rc, RC_TEMP);
    kv_blob_forget(away, old);
    kv_close(&away);
    kv_close(&sweeper);
}

/* Answers of writes to blobs and intents get lost, come late, or the writes are never done. */
struct losing {
    struct kv_rados_hooks hooks;
    const char *prefix;
    enum kv_rados_fate fate;
    _Atomic int left;
};

static enum kv_rados_fate lose(const struct kv_rados_hooks *hooks, const char *object)
{
    struct losing *l = (struct losing *)(uintptr_t)hooks;
    bool is_it = strncmp(object, l->prefix, strlen(l->prefix)) == 0;
    return is_it && atomic_fetch_sub(&l->left, 1) > 0 ? l->fate : KV_RADOS_DONE;
}

static void try_losing(struct fixture *f, const char *prefix, enum kv_rados_fate fate)
{
    struct losing l = {.hooks.fate = lose, .prefix = prefix, .fate = fate};
    /* What is late comes after half a second: that has to be less than six beats. */
    f->conf.beat_ms = fate == KV_RADOS_LATE ? 1000 : 50;
    f->conf.hooks = &l.hooks;
    struct kv *kv = fixture_open(f);
    struct kv_blob_id shared = store(kv, 1500);
    for (int round = 0; round < 4; round++) {
        atomic_store(&l.left, round);
        struct kv_blob_id id = make(kv, home, 1000);
        enum rc rc = refer(kv, home, id);
        assert_true(rc == RC_OK || rc == RC_TEMP);
        enum rc shared_rc = refer(kv, other, shared);
        assert_true(shared_rc == RC_OK || shared_rc == RC_TEMP);
        kv_blob_forget(kv, id);
        if (rc == RC_OK)
            assert_rc(drop(kv, home, id), RC_OK);
        if (shared_rc == RC_OK)
            assert_rc(drop(kv, other, shared), RC_OK);
        check_bytes(kv, shared, 1500);
    }
    atomic_store(&l.left, 0);
    assert_rc(drop(kv, home, shared), RC_OK);
    wait_for_bodies(kv, 0);
    kv_close(&kv);
    f->conf.hooks = NULL;
}

static void lost_answers_lose_nothing(void **state)
{
    static const char *const prefixes[] = {"b/", "i/"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        try_losing(f, prefixes[i], KV_RADOS_LOST);
        try_losing(f, prefixes[i], KV_RADOS_LATE);
        try_losing(f, prefixes[i], KV_RADOS_NEVER);
    }
}

/* --- the check -------------------------------------------------------------------------------- */

struct finding {
    struct kv_fsck fsck;
    const char *expected;
    bool is_found;
};

static void look_for(struct kv_fsck *fsck, const char *line)
{
    struct finding *found = CONTAINER(fsck, struct finding, fsck);
    found->is_found = found->is_found || strstr(line, found->expected);
}

static void expect_finding(struct kv *kv, const char *text)
{
    struct finding found = {.fsck.report = look_for, .expected = text};
    assert_rc(kv_fsck(kv, &found.fsck), RC_CORRUPT);
    assert_true(found.is_found);
}

static void do_to(struct kv *kv, struct link_call *call)
{
    assert_int_equal(link_write_wait(call, 0), LINK_OK);
    link_call_free(&call);
}

static struct link_call *call_main(struct kv *kv, struct kv_blob_id id)
{
    char object[FORM_OBJECT];
    form_main_name(object, id);
    return link_call_new(rad_of(kv)->link, LINK_BODY, object);
}

static void a_tag_without_a_row_and_a_row_without_a_tag_are_found(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id id = store(f->kv, 100);
    char name[FORM_TAG];
    form_tag_name(name, (struct form_tag){other, 7});
    struct link_call *call = call_main(f->kv, id);
    link_write_attr(call, name, FORM_HERE);
    do_to(f->kv, call);
    fixture_reopen(f); /* the intent for its first tag has gone then */
    expect_finding(f->kv, "partition A 2: a tag that no reference stands for");
    call = call_main(f->kv, id);
    link_write_bytes(call, STR(""));
    do_to(f->kv, call);
    expect_finding(f->kv, "referred to, but missing or damaged");
    call = call_main(f->kv, id);
    link_write_remove(call);
    do_to(f->kv, call);
    fixture_reopen(f);
    expect_finding(f->kv, "referred to, but missing or damaged");
}

static void damaged_bytes_and_lost_chunks_are_found(void **state)
{
    struct fixture *f = *state;
    struct kv_blob_id id = store(f->kv, LARGE);
    char object[FORM_OBJECT];
    form_chunk_name(object, id, 1);
    struct link_call *call = link_call_new(rad_of(f->kv)->link, LINK_BODY, object);
    link_write_piece(call, 10, STR("?"));
    do_to(f->kv, call);
    expect_finding(f->kv, "damaged");
    call = link_call_new(rad_of(f->kv)->link, LINK_BODY, object);
    link_write_remove(call);
    do_to(f->kv, call);
    expect_finding(f->kv, "damaged");
    fixture_reopen(f);
    form_chunk_name(object, id, 2);
    call = link_call_new(rad_of(f->kv)->link, LINK_BODY, object);
    link_write_bytes(call, STR("x"));
    do_to(f->kv, call);
    expect_finding(f->kv, "a chunk that belongs to nothing");
}

/* The check is a process of its own that trusts its memory; another one goes on working. */
static void what_changes_meanwhile_is_no_fault(void **state)
{
    struct fixture *f = *state;
    struct kv_fsck fsck = {0};
    f->conf.trust_ms = 10 * 60 * 1000;
    struct kv_blob_id first = store(f->kv, 1000);
    fixture_reopen(f);
    assert_int_equal(fixture_version(f->kv, home), 1);
    struct kv *worker = fixture_open(f);
    store(worker, 2000);
    kv_close(&worker); /* no intents are left */
    assert_rc(kv_fsck(f->kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, 2);
    worker = fixture_open(f);
    assert_rc(drop(worker, home, first), RC_OK);
    kv_close(&worker);
    assert_rc(kv_fsck(f->kv, &fsck), RC_OK);
    assert_int_equal(fsck.blobs, 1);
}

/* --- the sweeper ------------------------------------------------------------------------------ */

struct counting {
    struct clock clock;
    _Atomic unsigned calls;
};

static uint64_t counting_mono(const struct clock *clock)
{
    struct counting *c = (struct counting *)(uintptr_t)clock; /* its first member */
    atomic_fetch_add(&c->calls, 1);
    return clock_mono(&clock_system);
}

/* What cannot be found out now is left until the next beat. */
static void a_doubt_that_stays_is_no_endless_loop(void **state)
{
    enum { LOOKS = 50, CALLS = 1000 };
    struct fixture *f = *state;
    struct counting counting = {.clock = {counting_mono, wall}};
    struct ctx ctx = {.clock = &counting.clock};
    struct kv *kv = NULL;
    assert_rc(rad_open(&ctx, &f->conf, &kv), RC_OK);
    struct blobs *b = rad_of(kv)->blobs;
    rad_fail_for_good(rad_of(kv), "a test has said so");
    blob_lock(b);
    struct blob *blob = blob_enter(b, (struct kv_blob_id){{1}});
    tag_doubt(b, tag_add(blob, (struct form_tag){home, 1}));
    blob_leave(b, blob);
    blob_unlock(b);
    atomic_store(&counting.calls, 0);
    for (int i = 0; i < LOOKS; i++)
        nap();
    assert_true(atomic_load(&counting.calls) < CALLS);
    kv_close(&kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(bodies_lie_in_an_erasure_coded_pool),
        fixture_test(what_was_read_lately_is_in_memory_within_bounds),
        fixture_test(a_large_one_is_read_through_a_window),
        fixture_test(who_was_taken_over_commits_nothing_old),
        fixture_test(who_was_taken_over_while_writing_does_not_commit_the_rest),
        fixture_test(who_stood_still_commits_nothing_old),
        fixture_test(lost_answers_lose_nothing),
        fixture_test(a_tag_without_a_row_and_a_row_without_a_tag_are_found),
        fixture_test(damaged_bytes_and_lost_chunks_are_found),
        fixture_test(what_changes_meanwhile_is_no_fault),
        fixture_test(a_doubt_that_stays_is_no_endless_loop),
    };
    return fixture_run(tests);
}
