/* Differences and kept rows against plain arrays, and how little is looked at. */
#include "store/root_int.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

enum { LARGE = 1000000 };

static struct store_mailbox info = {.id = 1};
static uint64_t seed = 20261121;

static uint32_t pick(uint32_t n)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % n;
}

static struct store_root *make(uint32_t n, uint32_t flags)
{
    struct store_row *rows = mem_zero((n + 1) * sizeof *rows);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct store_row){.uid = i + 1, .modseq = 1, .flags = flags};
    info.highest_modseq = 1;
    struct store_root *root = root_new(&info, rows, n);
    free(rows);
    return root;
}

/* Each is a change of its own: what is known of a chunk goes by that. */
static void apply(struct store_root **root, const struct row_delta *deltas, size_t n)
{
    info.highest_modseq++;
    struct store_root *next = root_apply(*root, &info, deltas, n);
    store_root_release(root);
    *root = next;
}

static void change(struct store_root **root, uint32_t uid, uint64_t modseq, uint32_t flags)
{
    struct row_delta d = {1, false, {.uid = uid, .modseq = modseq, .flags = flags}};
    apply(root, &d, 1);
}

static void expunge(struct store_root **root, uint32_t uid)
{
    struct row_delta d = {1, true, {.uid = uid}};
    apply(root, &d, 1);
}

/* Says what the difference is by walking both from end to end. */
static void assert_diff(const struct store_root *old, const struct store_root *new_)
{
    size_t i = 0, j = 0, at_old, at_new;
    struct store_diff d;
    const struct store_row *row;
    store_diff_begin(&d, old, new_);
    for (;;) {
        const struct store_row *o = store_root_at(old, i), *n = store_root_at(new_, j);
        if (o && n && o->uid == n->uid && o->modseq == n->modseq) {
            i++;
            j++;
            continue;
        }
        enum store_diff_kind kind = store_diff_next(&d, &at_old, &at_new, &row);
        if (!o && !n) {
            assert_int_equal(kind, STORE_DIFF_END);
            return;
        }
        assert_int_equal(at_old, i);
        assert_int_equal(at_new, j);
        bool is_gone = !n || (o && o->uid < n->uid), is_new = !o || (n && n->uid < o->uid);
        assert_int_equal(kind, is_gone  ? STORE_DIFF_GONE
                               : is_new ? STORE_DIFF_NEW
                                        : STORE_DIFF_CHANGED);
        assert_int_equal(row->uid, is_gone ? o->uid : n->uid);
        assert_int_equal(row->modseq, is_gone ? o->modseq : n->modseq);
        i += !is_new;
        j += !is_gone;
    }
}

/* What store_root_keep shall give: every row of `new_`, and those of `old` that it has not. */
static void assert_kept(const struct store_root *kept, const struct store_root *old,
                        const struct store_root *new_)
{
    size_t at = 0, i = 0, j = 0, unended = 0;
    while (i < store_root_count(old) || j < store_root_count(new_)) {
        const struct store_row *o = store_root_at(old, i), *n = store_root_at(new_, j);
        bool is_old = !n || (o && o->uid < n->uid);
        const struct store_row *expected = is_old ? o : n, *row = store_root_at(kept, at++);
        assert_non_null(row);
        assert_int_equal(row->uid, expected->uid);
        assert_int_equal(row->modseq, expected->modseq);
        assert_int_equal(store_root_find(kept, row->uid), at - 1);
        unended += (row->flags & STORE_UNENDED) != 0;
        i += o && o->uid == expected->uid;
        j += n && n->uid == expected->uid;
    }
    assert_int_equal(store_root_count(kept), at);
    assert_int_equal(store_root_unended(kept), unended);
}

static size_t first_unseen(const struct store_root *root)
{
    size_t i = 0;
    while (i < store_root_count(root) && store_root_at(root, i)->flags & STORE_SEEN)
        i++;
    return i;
}

/* A random change; sometimes one that takes or changes many rows in a run. */
static void change_some(struct store_root **root, uint32_t *uidnext, uint64_t modseq)
{
    struct row_delta *deltas = mem_alloc(3000 * sizeof *deltas);
    size_t n = 0, count = store_root_count(*root);
    uint32_t what = pick(10), every = 1 + pick(500), from = pick(3) ? 0 : pick((uint32_t)count + 1);
    bool is_run = pick(8) == 0;
    if (what < 4)
        for (uint32_t k = 1 + pick(pick(8) ? 3 : 900); k; k--) {
            uint32_t uid = *uidnext;
            *uidnext += 1 + (pick(10) == 0);
            struct store_row row = {.uid = uid, .modseq = modseq, .flags = pick(2)};
            row.flags |= pick(50) ? 0 : STORE_UNENDED;
            deltas[n++] = (struct row_delta){1, false, row};
        }
    for (size_t i = from; what >= 4 && i < count && n < 2000; i++) {
        struct store_row row = *store_root_at(*root, i);
        if (!is_run && pick(every))
            continue;
        row.modseq = modseq;
        row.flags = (row.flags & ~1u) | pick(2);
        deltas[n++] = (struct row_delta){1, what >= 7, row};
    }
    apply(root, deltas, n);
    free(deltas);
}

static void differences_are_what_a_walk_finds(void **state)
{
    enum { STEPS = 300 };
    struct store_root *root = make(3000, 0), *seen = root_ref(root), *view = root_ref(root);
    uint32_t uidnext = 3001;
    for (uint64_t step = 2; step < STEPS; step++) {
        change_some(&root, &uidnext, step);
        assert_int_equal(store_root_first_unseen(root), first_unseen(root));
        if (pick(3))
            continue;
        assert_diff(seen, root);
        assert_diff(view, root);
        struct store_root *kept = store_root_keep(view, root);
        assert_kept(kept, view, root);
        assert_int_equal(store_root_first_unseen(kept), first_unseen(kept));
        store_root_release(&view);
        store_root_release(&seen);
        seen = root_ref(root);
        view = pick(4) ? root_ref(kept) : root_ref(root); /* kept rows may stay for long */
        assert_diff(view, root);
        store_root_release(&kept);
    }
    store_root_release(&root);
    store_root_release(&seen);
    store_root_release(&view);
}

static size_t looked(const struct store_root *old, const struct store_root *new_, size_t expected)
{
    struct store_diff d;
    size_t i, j, n = 0;
    const struct store_row *row;
    store_diff_begin(&d, old, new_);
    while (store_diff_next(&d, &i, &j, &row) != STORE_DIFF_END)
        n++;
    assert_int_equal(n, expected);
    return d.looked;
}

static void what_is_shared_is_passed_over(void **state)
{
    struct store_root *old = make(LARGE, 0), *root = root_ref(old);
    assert_int_equal(looked(old, root, 0), 0);
    for (uint32_t i = 1; i <= 10; i++)
        change(&root, LARGE + i, 2, 0);
    assert_int_equal(looked(old, root, 10), 10);
    change(&root, 500000, 3, STORE_SEEN);
    assert_int_equal(looked(old, root, 11), 11);
    change(&root, 500001, 3, STORE_SEEN); /* twice copied: which rows have changed is not known */
    assert_true(looked(old, root, 12) <= 10 + CHUNK_ROWS);
    change(&root, 500001, 4, 0);
    change(&root, 500000, 4, 0);
    expunge(&root, 1);
    expunge(&root, 700000);
    assert_true(looked(old, root, 14) <= 10 + 4 * CHUNK_ROWS);
    struct store_root *kept = store_root_keep(old, root);
    assert_int_equal(store_root_count(kept), LARGE + 10);
    assert_true(looked(kept, root, 2) <= 4 * CHUNK_ROWS);
    assert_true(looked(old, kept, 12) <= 10 + 4 * CHUNK_ROWS);
    change(&root, LARGE + 11, 4, 0);
    assert_true(looked(kept, root, 3) <= 1 + 4 * CHUNK_ROWS);
    store_root_release(&old);
    store_root_release(&root);
    store_root_release(&kept);
}

/* Of many changes in many places, each chunk changed once: no other row is looked at. */
static void only_what_was_changed_is_looked_at(void **state)
{
    enum { CHANGES = 64 };
    struct store_root *root = make(LARGE, 0), *old = NULL;
    for (int round = 0; round < 3; round++) {
        store_root_release(&old);
        old = root_ref(root);
        for (uint32_t i = 0; i < CHANGES; i++)
            change(&root, LARGE / CHANGES * i + 7, 10 + (uint64_t)round, 0);
        size_t n = looked(old, root, CHANGES);
        assert_true(round ? n == CHANGES : n <= CHANGES * (size_t)CHUNK_ROWS);
    }
    store_root_release(&old);
    store_root_release(&root);
}

static void assert_changed(const struct store_root *root, uint64_t modseq)
{
    size_t count = store_root_count(root), from = pick((uint32_t)count + 1),
           to = from + pick((uint32_t)(count - from) + 2);
    for (size_t i = from, at = from; i < to; i++) {
        const struct store_row *row = store_root_at(root, i);
        if (row && row->modseq <= modseq)
            continue;
        at = store_root_changed(root, at, to, modseq, NULL);
        assert_int_equal(at, row ? i : to);
        at++;
    }
    assert_int_equal(store_root_changed(root, to, to, modseq, NULL), to);
}

static void what_has_changed_since_is_found(void **state)
{
    enum { STEPS = 300 };
    struct store_root *root = make(3000, 0), *view = root_ref(root);
    uint32_t uidnext = 3001;
    for (uint64_t step = 2; step < STEPS; step++) {
        change_some(&root, &uidnext, step);
        for (int i = 0; i < 3; i++)
            assert_changed(root, step - 1 - pick((uint32_t)(step < 20 ? step - 1 : 20)));
        assert_changed(root, step);
        struct store_root *kept = store_root_keep(view, root);
        assert_changed(kept, step - 1 - pick((uint32_t)(step < 20 ? step - 1 : 20)));
        store_root_release(&view);
        view = pick(4) ? root_ref(kept) : root_ref(root);
        store_root_release(&kept);
    }
    store_root_release(&root);
    store_root_release(&view);
}

/* [RFC7162 3.1.4.1]: of a million, only those near what has changed. */
static void what_has_changed_costs_what_it_is(void **state)
{
    size_t at = 0, n = 0, found = 0;
    struct store_root *root = make(LARGE, 0);
    assert_int_equal(store_root_changed(root, 0, LARGE, 1, &n), LARGE);
    assert_int_equal(n, 0);
    for (uint32_t i = 0; i < 10; i++)
        change(&root, 1 + i * 99999, 2, STORE_SEEN);
    for (uint32_t i = 1; i <= 10; i++)
        change(&root, LARGE + i, 2, 0);
    expunge(&root, 500000);
    while ((at = store_root_changed(root, at, store_root_count(root), 1, &n)) <
           store_root_count(root)) {
        at++;
        found++;
    }
    assert_int_equal(found, 20);
    assert_true(n <= (size_t)11 * CHUNK_ROWS);
    store_root_release(&root);
}

static void without_an_expunge_nothing_is_made(void **state)
{
    struct store_root *old = make(1000, 0), *root = root_ref(old);
    change(&root, 7, 2, STORE_SEEN);
    change(&root, 1001, 3, 0);
    struct store_root *kept = store_root_keep(old, root);
    assert_ptr_equal(kept, root);
    store_root_release(&kept);
    store_root_release(&old);
    store_root_release(&root);
}

static void a_root_keeps_the_name(void **state)
{
    char name[] = "Junk";
    struct store_mailbox named = {.id = 1, .name = str_of(name), .highest_modseq = 7};
    struct store_root *root = root_new(&named, NULL, 0);
    name[0] = 'x';
    assert_str(store_root_mailbox(root)->name, "Junk");
    store_root_release(&root);
}

/* The flags that only the store knows are no difference. */
static void what_clients_cannot_see_is_no_change(void **state)
{
    struct store_root *old = make(10, 0), *root = root_ref(old);
    change(&root, 5, 1, ROW_SHARED);
    looked(old, root, 0);
    store_root_release(&old);
    store_root_release(&root);
}

static void the_first_unseen_is_remembered(void **state)
{
    struct store_root *root = make(LARGE, STORE_SEEN);
    assert_int_equal(store_root_first_unseen(root), LARGE);
    assert_int_equal(root->first_unseen, LARGE + 1);
    change(&root, LARGE + 1, 2, 0); /* goes on from what was learned */
    assert_int_equal(root->first_unseen, LARGE + 1);
    assert_int_equal(store_root_first_unseen(root), LARGE);
    change(&root, 1000, 3, 0);
    assert_int_equal(root->first_unseen, 1000);
    assert_int_equal(store_root_first_unseen(root), 999);
    expunge(&root, 1000);
    assert_int_equal(store_root_first_unseen(root), LARGE - 1);
    store_root_release(&root);
    root = make(0, 0);
    assert_int_equal(store_root_first_unseen(root), 0);
    store_root_release(&root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_what_a_walk_finds),
        cmocka_unit_test(what_is_shared_is_passed_over),
        cmocka_unit_test(only_what_was_changed_is_looked_at),
        cmocka_unit_test(what_has_changed_since_is_found),
        cmocka_unit_test(what_has_changed_costs_what_it_is),
        cmocka_unit_test(without_an_expunge_nothing_is_made),
        cmocka_unit_test(a_root_keeps_the_name),
        cmocka_unit_test(what_clients_cannot_see_is_no_change),
        cmocka_unit_test(the_first_unseen_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
