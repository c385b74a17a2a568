/* Many threads on one account's tree: mailboxes are made, filled, renamed and removed while others
 * list, open and compare them, and maintenance takes away what was removed. Run under
 * ThreadSanitizer as well. */
#include "store/fixture.h"

#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>

enum { WRITERS = 4, READERS = 2, ROUNDS = 60, KEPT = 20 };

struct shared {
    struct fixture *f;
    atomic_bool is_over;
    bool has_failures;
};

struct worker {
    struct shared *s;
    unsigned number;
};

/* cmocka's asserts are for the main thread. */
static void must(bool is_so)
{
    if (!is_so)
        abort();
}

static bool passes(const struct shared *s, enum rc rc)
{
    must(rc == RC_OK || (s->has_failures && (rc == RC_FULL || rc == RC_CONFLICT)));
    return rc == RC_OK;
}

static struct store_account *open_account(struct shared *s)
{
    struct store_account *a = NULL;
    must(store_account_open(s->f->store, 1, 0, &a) == RC_OK);
    return a;
}

static enum rc create(struct store_account *a, unsigned number, uint32_t *out_id)
{
    char name[16];
    struct str levels[] = {STR("shared"), {0}, STR("box")};
    struct waiter w;
    int n = snprintf(name, sizeof name, "of %u", number);
    levels[1] = str_from(name, (size_t)n);
    waiter_init(&w);
    enum rc rc = waiter_wait(
        &w, store_mailbox_create(a, (struct store_path){levels, 3}, STORE_NONE, 0, &w.op));
    *out_id = w.op.mailbox;
    return rc;
}

static enum rc rename_to_top(struct store_account *a, uint32_t id, unsigned number)
{
    char name[16];
    int n = snprintf(name, sizeof name, "top %u", number);
    struct str level = str_from(name, (size_t)n);
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_mailbox_rename(a, id, (struct store_path){&level, 1}, 0, &w.op));
}

static enum rc copy(struct store_account *a, uint32_t from, uint32_t to, bool is_move)
{
    uint32_t uids[KEPT], out[KEPT];
    struct store_copy how = {
        .from = from, .to = to, .uids = uids, .n_uids = KEPT, .is_move = is_move, .out_uids = out};
    struct waiter w;
    for (uint32_t i = 0; i < KEPT; i++)
        uids[i] = i + 1;
    waiter_init(&w);
    return waiter_wait(&w, store_copy(a, &how, 0, &w.op));
}

static enum rc remove_box(struct store_account *a, uint32_t id)
{
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_mailbox_remove(a, id, 0, &w.op));
}

static enum rc subscribe(struct store_account *a, bool is_on)
{
    struct waiter w;
    waiter_init(&w);
    return waiter_wait(&w, store_subscribe(a, STR("shared"), is_on, 0, &w.op));
}

/* Each has one mailbox at a time, through all that can be done to one. */
static void *make_and_remove(void *arg)
{
    struct worker *me = arg;
    struct shared *s = me->s;
    struct store_account *a = open_account(s);
    uint32_t id;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!passes(s, create(a, me->number, &id)))
            continue;
        enum rc rc = copy(a, 1, id, false); /* removed places count until they are taken away */
        (void)(rc == RC_LIMIT || passes(s, rc));
        (void)passes(s, copy(a, id, id, true));
        (void)passes(s, rename_to_top(a, id, me->number));
        (void)passes(s, subscribe(a, i % 2));
        while (!passes(s, remove_box(a, id)))
            ;
    }
    store_account_close(&a);
    return NULL;
}

/* What a session keeps is all that it knew and all that is new. */
static void compare(const struct store_root *old, struct store_root *new_)
{
    struct store_root *kept = store_root_keep(old, new_);
    struct store_diff d;
    const struct store_row *row;
    enum store_diff_kind kind;
    size_t i, j, gone = 0;
    store_diff_begin(&d, kept, new_);
    while ((kind = store_diff_next(&d, &i, &j, &row)) != STORE_DIFF_END) {
        must(kind == STORE_DIFF_GONE);
        gone++;
    }
    must(store_root_count(kept) == store_root_count(new_) + gone);
    must(store_root_first_unseen(new_) <= store_root_count(new_));
    store_root_release(&kept);
}

static void look(struct store_account *a, const struct store_mailbox *m, struct store_root **held)
{
    struct store_root *root;
    enum rc rc = store_mailbox_open(a, m->id, 0, &root);
    must(rc == RC_OK || rc == RC_NOTFOUND); /* removed meanwhile */
    if (rc != RC_OK)
        return;
    if (*held && store_root_mailbox(*held)->id == m->id)
        compare(*held, root);
    store_root_release(held);
    *held = root;
}

static void *read_all(void *arg)
{
    struct worker *me = arg;
    struct store_account *a = open_account(me->s);
    struct store_root *held = NULL;
    while (!atomic_load(&me->s->is_over)) {
        struct arena arena;
        struct store_mailbox *list;
        struct str *names, level = STR("shared");
        size_t n, n_names;
        uint32_t id;
        arena_init(&arena, 0);
        must(store_mailbox_list(a, &arena, &list, &n) == RC_OK);
        for (size_t i = 0; i < n; i++)
            for (int twice = 0; twice < 2 && !list[i].is_placeholder; twice++)
                look(a, &list[i], &held);
        must(store_subscriptions(a, 0, &arena, &names, &n_names) == RC_OK);
        must(n_names == 6 || n_names == 7); /* an account's own, and the shared one */
        (void)store_mailbox_find(a, (struct store_path){&level, 1}, &id);
        arena_fini(&arena);
    }
    store_root_release(&held);
    store_account_close(&a);
    return NULL;
}

static void *maintain(void *arg)
{
    struct worker *me = arg;
    struct store_account *a = open_account(me->s);
    while (!atomic_load(&me->s->is_over)) {
        bool more;
        (void)passes(me->s, store_maintain(a, &more));
        if (me->s->has_failures)
            kv_mem_fail(me->s->f->kv, RC_FULL);
    }
    store_account_close(&a);
    return NULL;
}

static void run(struct fixture *f, bool has_failures)
{
    struct shared s = {.f = f, .has_failures = has_failures};
    struct worker workers[WRITERS + READERS + 1];
    pthread_t threads[WRITERS + READERS + 1];
    struct store_account *a = fixture_account(f, 1);
    fixture_append_many(f, a, KEPT);
    for (unsigned i = 0; i < WRITERS + READERS + 1; i++) {
        workers[i] = (struct worker){&s, i};
        void *(*what)(void *) = i < WRITERS             ? make_and_remove
                                : i < WRITERS + READERS ? read_all
                                                        : maintain;
        threads[i] = task_thread("test", what, &workers[i]);
    }
    for (unsigned i = 0; i < WRITERS + READERS + 1; i++) {
        if (i == WRITERS)
            atomic_store(&s.is_over, true);
        pthread_join(threads[i], NULL);
    }
    if (has_failures)
        kv_mem_fail(f->kv, RC_OK);
    fixture_maintain(a);
    assert_int_equal(fixture_find(a, "shared"), 0);
    assert_int_equal(fixture_find(a, "top 0"), 0);
    fixture_assert_rows(a, 1,
                        "1: 2: 3: 4: 5: 6: 7: 8: 9: 10: 11: 12: 13: 14: 15: 16: 17: 18: 19: 20:");
    struct store_usage usage;
    store_account_usage(a, &usage);
    assert_int_equal(usage.messages, KEPT);
    fixture_close(f, &a);
    fixture_assert_sound(f, 1);
    a = fixture_open(f, 1);
    assert_int_equal(a->n_mailboxes, 6);
    fixture_close(f, &a);
}

static void a_tree_is_shared(void **state)
{
    run(*state, false);
}

static void a_tree_is_shared_while_commits_fail(void **state)
{
    run(*state, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_tree_is_shared),
        ON_MEM(a_tree_is_shared_while_commits_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
