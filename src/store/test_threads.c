/* Many threads on few accounts: deliveries, flags, expunges, readers, maintenance and failures at
 * the same time. Run under ThreadSanitizer as well. */
#include "store/fixture.h"

#include "base/mem.h"
#include "task/task.h"

#include <stdlib.h>

enum { WRITERS = 6, READERS = 3, ACCOUNTS = 2, DELIVERIES = 150 };

struct shared {
    struct fixture *f;
    atomic_bool is_over;
    _Atomic uint32_t delivered[ACCOUNTS], expunged[ACCOUNTS];
    _Atomic uint32_t failed;
    bool has_failures;
};

struct worker {
    struct shared *s;
    uint64_t account;
    unsigned number;
};

/* cmocka's asserts are for the main thread. */
static void must(bool is_so)
{
    if (!is_so)
        abort();
}

static struct store_account *open_account(struct shared *s, uint64_t id)
{
    struct store_account *a = NULL;
    must(store_account_open(s->f->store, id, 0, &a) == RC_OK);
    return a;
}

static bool passes(struct shared *s, enum rc rc)
{
    if (rc == RC_OK)
        return true;
    must(s->has_failures && (rc == RC_FULL || rc == RC_CONFLICT));
    atomic_fetch_add(&s->failed, 1);
    return false;
}

static enum rc deliver(struct shared *s, struct store_account *a, struct store_op *out)
{
    struct kv_blob_id blob;
    struct kv_blob_out *body = kv_blob_new(s->f->kv, account_part(store_account_id(a)), 0, 0);
    must(kv_blob_write(body, STR("hello")) == RC_OK);
    must(kv_blob_finish(&body, &blob) == RC_OK);
    struct store_append append = {.blob = blob, .size = 5};
    struct waiter w;
    waiter_init(&w);
    enum rc rc = waiter_wait(&w, store_append(a, &append, 0, &w.op));
    kv_blob_forget(s->f->kv, blob);
    *out = w.op;
    return rc;
}

static enum rc flag(struct store_account *a, uint32_t uid)
{
    struct store_flag_change change = {.mailbox = 1,
                                       .uids = &uid,
                                       .n_uids = 1,
                                       .how = STORE_FLAGS_ADD,
                                       .flags = STORE_SEEN,
                                       .unchanged_since = UINT64_MAX};
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_change_flags(a, &change, 0, &w.op));
}

static void *write_mail(void *arg)
{
    struct worker *me = arg;
    struct shared *s = me->s;
    size_t at = (size_t)me->account - 1;
    struct store_op op;
    for (int i = 0; i < DELIVERIES; i++) {
        struct store_account *a = open_account(s, me->account);
        if (passes(s, deliver(s, a, &op))) {
            atomic_fetch_add(&s->delivered[at], 1);
            uint32_t uid = op.uid;
            (void)passes(s, flag(a, uid));
            if (i % 3 == 0) {
                struct waiter w;
                waiter_init(&w);
                if (passes(s, waiter_wait(&w, store_expunge(a, 1, &uid, 1, 0, &w.op))))
                    atomic_fetch_add(&s->expunged[at], 1);
            }
        }
        store_account_close(&a);
    }
    return NULL;
}

/* A root is consistent however it is looked at, and stays as it is. */
static uint64_t sum_root(const struct store_root *root)
{
    uint64_t sum = 0;
    uint32_t last = 0, unseen = 0;
    size_t n = store_root_count(root);
    for (size_t i = 0; i < n; i++) {
        const struct store_row *row = store_root_at(root, i);
        must(row->uid > last && row->email != 0 && row->size == 5);
        must(store_root_find(root, row->uid) == i);
        last = row->uid;
        unseen += !(row->flags & STORE_SEEN);
        sum += row->uid * UINT64_C(31) + row->flags;
    }
    const struct store_mailbox *m = store_root_mailbox(root);
    must(m->exists == n && m->unseen == unseen && m->bytes == n * 5 && last < m->uidnext);
    return sum;
}

static void *read_mail(void *arg)
{
    struct worker *me = arg;
    struct store_root *held = NULL;
    uint64_t held_sum = 0, modseq = 0;
    struct store_account *a = open_account(me->s, me->account);
    while (!atomic_load(&me->s->is_over)) {
        struct store_root *root = NULL;
        must(store_mailbox_open(a, 1, 0, &root) == RC_OK);
        must(store_root_mailbox(root)->highest_modseq >= modseq);
        modseq = store_root_mailbox(root)->highest_modseq;
        uint64_t sum = sum_root(root);
        must(!held || sum_root(held) == held_sum);
        store_root_release(&held);
        held = root;
        held_sum = sum;
    }
    store_root_release(&held);
    store_account_close(&a);
    return NULL;
}

static void *maintain_mail(void *arg)
{
    struct worker *me = arg;
    while (!atomic_load(&me->s->is_over)) {
        struct store_account *a = open_account(me->s, me->account);
        bool more;
        (void)passes(me->s, store_maintain(a, &more));
        if (me->s->has_failures)
            kv_mem_fail(me->s->f->kv, RC_FULL);
        store_account_close(&a);
    }
    return NULL;
}

static void run(struct fixture *f, bool has_failures)
{
    struct shared *s = mem_zero(sizeof *s);
    enum { ALL = WRITERS + READERS + ACCOUNTS };
    struct worker workers[ALL];
    pthread_t threads[ALL];
    s->f = f;
    s->has_failures = has_failures;
    f->conf.memory_bytes = 1; /* closed accounts leave at once and are loaded again */
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    for (uint64_t id = 1; id <= ACCOUNTS; id++)
        assert_rc(store_account_create(f->store, id, (struct store_quota){0}), RC_OK);
    for (unsigned i = 0; i < ALL; i++)
        workers[i] = (struct worker){s, 1 + i % ACCOUNTS, i};
    for (unsigned i = 0; i < ALL; i++)
        threads[i] = task_thread("test",
                                 i < WRITERS             ? write_mail
                                 : i < WRITERS + READERS ? read_mail
                                                         : maintain_mail,
                                 &workers[i]);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&s->is_over, true);
    for (unsigned i = WRITERS; i < ALL; i++)
        pthread_join(threads[i], NULL);
    kv_mem_fail(f->kv, RC_OK);
    for (uint64_t id = 1; id <= ACCOUNTS; id++) {
        struct store_account *a = fixture_open(f, id);
        uint32_t expected = s->delivered[id - 1] - s->expunged[id - 1];
        assert_int_equal(fixture_mailbox(a, 1).exists, expected);
        fixture_close(f, &a);
        fixture_assert_sound(f, id);
    }
    if (!has_failures)
        assert_int_equal(s->delivered[0] + s->delivered[1], WRITERS * DELIVERIES);
    else
        assert_true(s->failed > 0);
    free(s);
}

static void threads_share_accounts(void **state)
{
    run(*state, false);
}

static void threads_share_accounts_that_fail(void **state)
{
    run(*state, true);
}

/* Flags change under the rows that are being packed, and none of the changes is lost. */
struct packer_world {
    struct fixture *f;
    atomic_bool is_over;
};

static void *pack_all_the_time(void *arg)
{
    struct packer_world *w = arg;
    struct store_account *a = NULL;
    must(store_account_open(w->f->store, 1, 0, &a) == RC_OK);
    while (!atomic_load(&w->is_over)) {
        bool more;
        must(store_maintain(a, &more) == RC_OK);
    }
    store_account_close(&a);
    return NULL;
}

static void packing_loses_no_change(void **state)
{
    enum { MESSAGES = 1000, ROUNDS = 12 };
    struct fixture *f = *state;
    struct packer_world w = {.f = f};
    bool *is_flagged = mem_zero((MESSAGES + 1) * sizeof *is_flagged);
    struct store_account *a = fixture_account(f, 1);
    fixture_append_many(f, a, MESSAGES);
    pthread_t thread = task_thread("test", pack_all_the_time, &w);
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (uint32_t uid = 1 + round % 7; uid <= MESSAGES - 400; uid += 7) {
            is_flagged[uid] = !is_flagged[uid];
            assert_rc(fixture_flag(a, 1, uid,
                                   is_flagged[uid] ? STORE_FLAGS_ADD : STORE_FLAGS_REMOVE,
                                   STORE_FLAGGED),
                      RC_OK);
            if (uid % 50 == 0)
                fixture_append_many(f, a, 40);
        }
    atomic_store(&w.is_over, true);
    pthread_join(thread, NULL);
    fixture_close(f, &a);
    fixture_reopen_store(f);
    a = fixture_open(f, 1);
    struct store_root *root;
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    for (uint32_t uid = 1; uid <= MESSAGES; uid++)
        assert_int_equal(store_root_at(root, uid - 1)->flags, is_flagged[uid] ? STORE_FLAGGED : 0);
    store_root_release(&root);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
    free(is_flagged);
}

static void *pack_once(void *arg)
{
    struct packer_world *w = arg;
    struct store_account *a = NULL;
    bool more;
    must(store_account_open(w->f->store, 1, 0, &a) == RC_OK);
    must(store_maintain(a, &more) == RC_OK);
    store_account_close(&a);
    atomic_store(&w->is_over, true);
    return NULL;
}

/* The change is under way, so what packing reads does not know it: nothing may be packed. */
static void what_is_under_way_is_not_packed(void **state)
{
    struct fixture *f = *state;
    struct packer_world w = {.f = f};
    struct store_account *a = fixture_account(f, 1);
    struct waiter waiter;
    uint32_t uid = 5;
    uint64_t untidy;
    struct store_flag_change change = {.mailbox = 1,
                                       .uids = &uid,
                                       .n_uids = 1,
                                       .how = STORE_FLAGS_ADD,
                                       .flags = STORE_FLAGGED,
                                       .unchanged_since = UINT64_MAX};
    fixture_append_many(f, a, 600);
    kv_mem_hold(f->kv, true);
    waiter_init(&waiter);
    assert_rc(store_change_flags(a, &change, 0, &waiter.op), RC_OK);
    pthread_t thread = task_thread("test", pack_once, &w);
    for (unsigned queued = 1; queued == 1 && !atomic_load(&w.is_over);) {
        pthread_mutex_lock(&a->mutex);
        queued = a->n_in_flight;
        pthread_mutex_unlock(&a->mutex);
    }
    kv_mem_hold(f->kv, false);
    pthread_join(thread, NULL);
    assert_rc(waiter_wait(&waiter, RC_OK), RC_OK);
    fixture_maintain(a); /* now it is */
    assert_int_equal(store_untidy(f->store, &untidy, 1), 0);
    fixture_close(f, &a);
    fixture_reopen_store(f);
    a = fixture_open(f, 1);
    struct store_root *root;
    assert_rc(store_mailbox_open(a, 1, 0, &root), RC_OK);
    assert_int_equal(store_root_at(root, 4)->flags, STORE_FLAGGED);
    store_root_release(&root);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

/* --- many changes under way at once ----------------------------------------------------------- */

/* Each thread adds its batches to the same queue of changes before the first one is durable. */
enum { FLIGHT_THREADS = 3, FLIGHT_ROUNDS = 12, FLIGHT_APPENDS = 40, FLIGHT_BATCHES = 6 };

struct flight {
    struct fixture *f;
    unsigned number;
    _Atomic uint32_t *appended, *expunged;
};

struct in_flight {
    struct waiter waiter;
    struct kv_blob_id blob;
    bool has_blob;
};

static void fly_append(struct flight *me, struct store_account *a, struct in_flight *one)
{
    struct kv_blob_out *body = kv_blob_new(me->f->kv, account_part(1), 0, 0);
    must(kv_blob_write(body, STR("hello")) == RC_OK);
    must(kv_blob_finish(&body, &one->blob) == RC_OK);
    one->has_blob = true;
    struct store_append append = {.blob = one->blob, .size = 5};
    waiter_init(&one->waiter);
    must(store_append(a, &append, 0, &one->waiter.op) == RC_OK);
}

/* Every n-th message that the published mailbox has; batches overlap on purpose. */
static void fly_expunge(struct store_account *a, const struct store_root *root, size_t from,
                        size_t step, struct in_flight *one)
{
    uint32_t uids[STORE_BATCH];
    size_t n = 0;
    for (size_t i = from; i < store_root_count(root) && n < STORE_BATCH; i += step)
        uids[n++] = store_root_at(root, i)->uid;
    waiter_init(&one->waiter);
    must(store_expunge(a, 1, uids, n, 0, &one->waiter.op) == RC_OK);
}

static void *fly(void *arg)
{
    struct flight *me = arg;
    struct store_account *a = NULL;
    must(store_account_open(me->f->store, 1, 0, &a) == RC_OK);
    for (unsigned round = 0; round < FLIGHT_ROUNDS; round++) {
        struct in_flight all[FLIGHT_APPENDS + FLIGHT_BATCHES] = {0};
        struct store_root *root = NULL;
        size_t n = 0;
        must(store_mailbox_open(a, 1, 0, &root) == RC_OK);
        for (size_t batch = 0; batch < FLIGHT_BATCHES; batch++) {
            for (size_t i = 0; i < FLIGHT_APPENDS / FLIGHT_BATCHES; i++)
                fly_append(me, a, &all[n++]);
            fly_expunge(a, root, batch, 2 + (me->number + batch) % 5, &all[n++]);
        }
        for (size_t i = 0; i < n; i++) {
            must(waiter_wait(&all[i].waiter, RC_OK) == RC_OK);
            if (all[i].has_blob)
                kv_blob_forget(me->f->kv, all[i].blob);
            atomic_fetch_add(all[i].has_blob ? me->appended : me->expunged,
                             all[i].has_blob ? 1 : all[i].waiter.op.changed);
        }
        store_root_release(&root);
    }
    store_account_close(&a);
    return NULL;
}

static void batches_of_expunges_and_deliveries_in_flight(void **state)
{
    struct fixture *f = *state;
    _Atomic uint32_t appended = 0, expunged = 0;
    struct flight flights[FLIGHT_THREADS];
    pthread_t threads[FLIGHT_THREADS + 1];
    struct packer_world packer = {.f = f};
    f->conf.undelete_ns = UINT64_MAX;
    fixture_reopen_store(f);
    struct store_account *a = fixture_account(f, 1);
    fixture_append_many(f, a, 900); /* more than three chunks of a root */
    threads[FLIGHT_THREADS] = task_thread("test", pack_all_the_time, &packer);
    for (unsigned i = 0; i < FLIGHT_THREADS; i++) {
        flights[i] = (struct flight){f, i, &appended, &expunged};
        threads[i] = task_thread("test", fly, &flights[i]);
    }
    for (unsigned i = 0; i < FLIGHT_THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&packer.is_over, true);
    pthread_join(threads[FLIGHT_THREADS], NULL);
    assert_true(expunged > 900);
    assert_int_equal(fixture_mailbox(a, 1).exists, 900 + appended - expunged);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
}

struct opener {
    struct fixture *f;
    pthread_barrier_t *start;
    struct store_account *account;
};

static void *open_at_once(void *arg)
{
    struct opener *o = arg;
    pthread_barrier_wait(o->start);
    must(store_account_open(o->f->store, 1, 0, &o->account) == RC_OK);
    return NULL;
}

static void an_account_is_loaded_once(void **state)
{
    enum { OPENERS = 8 };
    struct fixture *f = *state;
    struct kv_mem_stats before, after, one, again;
    struct opener openers[OPENERS];
    pthread_t threads[OPENERS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, OPENERS);
    struct store_account *a = fixture_account(f, 1);
    fixture_close(f, &a);
    fixture_reopen_store(f);
    kv_mem_stats(f->kv, &before);
    a = fixture_open(f, 1);
    kv_mem_stats(f->kv, &one);
    fixture_close(f, &a);
    fixture_reopen_store(f);
    kv_mem_stats(f->kv, &again);
    for (int i = 0; i < OPENERS; i++) {
        openers[i] = (struct opener){.f = f, .start = &start};
        threads[i] = task_thread("test", open_at_once, &openers[i]);
    }
    for (int i = 0; i < OPENERS; i++)
        pthread_join(threads[i], NULL);
    kv_mem_stats(f->kv, &after);
    assert_int_equal(after.scans - again.scans, one.scans - before.scans);
    assert_int_equal(after.keys_read - again.keys_read, one.keys_read - before.keys_read);
    for (int i = 1; i < OPENERS; i++)
        assert_ptr_equal(openers[i].account, openers[0].account);
    for (int i = 0; i < OPENERS; i++)
        store_account_close(&openers[i].account);
    pthread_barrier_destroy(&start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_MEM(threads_share_accounts),    ON_MEM(threads_share_accounts_that_fail),
        ON_MEM(packing_loses_no_change),   ON_MEM(what_is_under_way_is_not_packed),
        ON_MEM(an_account_is_loaded_once), ON_BOTH(batches_of_expunges_and_deliveries_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
